"""The figures of a comparison: accuracy against operations, the literature's history, curves of training."""

import math
from collections.abc import Sequence
from itertools import pairwise

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from topfive.report.figures.canvas import COLOURS, MUTED, Sheet, colour_of, limits
from topfive.report.figures.labels import Label, along, around, write_labels
from topfive.report.figures.series import (
    Point,
    alike,
    drawn,
    finding,
    gids,
    ops,
    ops_unit,
    pareto,
    plain_name,
    significant,
)
from topfive.results.records import ComparisonRow

EDGE = 8.0  # points


def bubbles(rows: Sequence[Point], *, narrow: bool = False, title: str | None = None, caption: str = "") -> Figure:
    """Top-1 accuracy against the operations of one image, bubble area for memory, a line along the Pareto front.

    The front is that of the commonest protocol's networks alone.

    `title` is computed from the rows unless given ("" for none). The sheet grows until every label has a place of its
    own; in a narrow figure of very many networks the labels that find none are left out, and the caption says how many.
    """
    seen = drawn(rows)
    width, height = (302.0, 375.0) if narrow else (691.0, 415.0)
    height *= 1 + max(len(seen) - 12, 0) / (60 if narrow else 110)
    tallest = height * 1.5
    while True:
        drawing = _Bubbles(seen, width, height, narrow, title, caption)
        unnamed, strained = drawing.draw()
        if not (unnamed or strained) or height > tallest:
            break
        height *= 1.15
    if unnamed:
        caption = f"{caption} {unnamed} of {len(seen)} networks are drawn without their name.".strip()
        drawing = _Bubbles(seen, width, height, narrow, title, caption)
        drawing.draw()
    return drawing.sheet.figure


def _area(row: Point) -> int:
    """What the area of a bubble is proportional to."""
    return row.memory_inference_bytes if isinstance(row, ComparisonRow) else row.params


class _Bubbles:
    """The figure at one height; `draw` says how many labels found no place and how many lie far from their bubble."""

    def __init__(
        self, rows: Sequence[Point], width: float, height: float, narrow: bool, title: str | None, caption: str
    ) -> None:
        self.costed, self.baselines = [row for row in rows if ops(row)], [row for row in rows if not ops(row)]
        self.gids = dict(zip(map(id, rows), gids(rows), strict=True))
        self.label_size = 9.0 if len(rows) <= 24 else 8.0
        unit, unit_name = ops_unit(self.costed)
        largest = max(map(_area, self.costed), default=0) or 1
        widest = (15 if narrow else 21) * (1 if len(rows) <= 15 else 0.8)  # radius of the largest bubble
        self.radii = [max(widest * math.sqrt(_area(row) / largest), 2.0) for row in self.costed]
        # from above: title, keys, what the vertical axis shows; from below: caption, what the horizontal axis shows
        self.sheet = sheet = Sheet(width, height)
        top = sheet.heading(finding(rows) if title is None else title, narrow)
        families = {row.family for row in self.costed}
        top = sheet.keys([(family, colour) for family, colour in COLOURS.items() if family in families], EDGE, top)
        measured = any(isinstance(row, ComparisonRow) for row in rows)
        top = _sizes(sheet, self.costed, top, measured, largest, widest, narrow)
        bottom = 6.0
        if caption:
            bottom += 1.38 * 7.5 * len(sheet.wrap(caption, width - 2 * EDGE, 7.5))
            sheet.paragraph(EDGE, bottom, caption, width - 2 * EDGE, 7.5, color=MUTED)
            bottom += 4
        across = f"Operations of one image [{unit_name}, 2 × multiply-adds]"
        sheet.write(width - EDGE, bottom + 3, across, 8.5 if narrow else 9, color=MUTED, ha="right")
        left, right, floor = EDGE + 24, width - EDGE, bottom + 32
        self.frame = (left + 1, floor + 1, right - 1, top - 1)
        self.axes = sheet.axes(left, floor, right, top)
        self.places = [(ops(row) or 0) / unit for row in self.costed]
        self._limit(top - floor)
        _across(self.axes, self.places, self.radii, right - left)
        self.points = [sheet.at(self.axes, x, row.top1 or 0) for x, row in zip(self.places, self.costed, strict=True)]
        self.segments: list[tuple[float, ...]] = []  # lines that labels had better not cover

    def draw(self) -> tuple[int, int]:
        self._front()
        self._circles()
        labels = [self._label(i, row) for i, row in enumerate(self.costed)] + list(map(self._baseline, self.baselines))
        circles = [(*point, radius + 0.6) for point, radius in zip(self.points, self.radii, strict=True)]
        around_them = np.array(circles).reshape(-1, 3)
        return write_labels(self.sheet, labels, self.label_size, around_them, self.segments, self.frame)

    def _limit(self, span: float) -> None:
        """The vertical axis, wide enough for whole bubbles and a label above the highest."""
        values = [(row.top1 or 0, radius + 4) for row, radius in zip(self.costed, self.radii, strict=True)]
        values += [(end, 4.0) for row in self.costed for end in row.interval or ()]
        measured = [row for row in self.costed if isinstance(row, ComparisonRow)]
        values += [(100 * value, 3.0) for row in measured for value in row.accuracies]
        values += [(end, 6.0) for row in self.baselines for end in (row.top1 or 0, *(row.interval or ()))]
        low, high = limits(values, span, least=2.0)
        self.axes.set_ylim(low, high + (high - low) * 12 / span)
        self.axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
        self.axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}" if 0 <= value <= 100 else ""))

    def _front(self) -> None:
        """The line along the Pareto front, from edge to edge of its bubbles."""
        rivals = {id(row) for row in alike(self.costed) if not isinstance(row, ComparisonRow) or row.trained}
        joined = [i for i, row in enumerate(self.costed) if id(row) in rivals]
        front = [joined[i] for i in pareto([(self.places[i], self.costed[i].top1 or 0) for i in joined])]
        for a, b in pairwise(front):
            (x0, y0), (x1, y1) = self.points[a], self.points[b]
            length = math.hypot(x1 - x0, y1 - y0)
            if length > self.radii[a] + self.radii[b]:
                s, t = self.radii[a] / length, 1 - self.radii[b] / length
                ends = (x0 + (x1 - x0) * s, x0 + (x1 - x0) * t), (y0 + (y1 - y0) * s, y0 + (y1 - y0) * t)
                self.segments.append((ends[0][0], ends[1][0], ends[0][1], ends[1][1]))
                line = Line2D(*ends, color=MUTED, linewidth=1.1, transform=self.sheet.points, gid=f"front-{a}")
                self.sheet.figure.add_artist(line)

    def _circles(self) -> None:
        several = len(set(map(_one_view, self.costed))) > 1
        for i in sorted(range(len(self.costed)), key=lambda i: -self.radii[i]):  # small ones on top
            row, at, x = self.costed[i], self.points[i], self.places[i]
            colour = colour_of(row.family)
            if band := row.interval:
                self.axes.plot([x] * 2, band, color=colour, linewidth=1.3, zorder=2, solid_capstyle="butt")
                self.segments.append((*self.sheet.at(self.axes, x, band[0]), *self.sheet.at(self.axes, x, band[1])))
            if isinstance(row, ComparisonRow) and len(row.accuracies) > 1:
                seeds = [100 * value for value in row.accuracies]
                self.axes.plot([x] * len(seeds), seeds, ".", color=colour, markersize=3.5, markeredgewidth=0, zorder=4)
            bubble = Circle(at, self.radii[i], edgecolor=colour, linewidth=1.2, transform=self.sheet.points, zorder=3)
            hollow = several and not _one_view(row)
            bubble.set_facecolor((*mpl.colors.to_rgb(colour), 0.1 if hollow else 0.55))
            bubble.set_gid(self.gids[id(row)])
            self.sheet.figure.add_artist(bubble)

    def _label(self, i: int, row: Point) -> Label:
        width, height = self.sheet.measure(plain_name(row), self.label_size)
        places = around(*self.points[i], self.radii[i], width + 1, height)
        return Label(plain_name(row), places, self.gids[id(row)].replace("point-", "label-", 1))

    def _baseline(self, row: Point) -> Label:
        """Draw a baseline as a level line."""
        level, gid = row.top1 or 0, self.gids[id(row)]
        if row.interval:
            self.axes.axhspan(*row.interval, color=MUTED, alpha=0.09, linewidth=0, zorder=0.6)
        self.axes.axhline(level, color=MUTED, linewidth=1.2, dashes=(5, 3), zorder=1, gid=gid)
        y = self.sheet.at(self.axes, self.places[0] if self.places else 1, level)[1]
        self.segments.append((self.frame[0], y, self.frame[2], y))
        name = f"{plain_name(row)} (no convolutions)"
        width, height = self.sheet.measure(name, self.label_size, style="italic")
        places = along(self.frame[0], self.frame[2], y, width + 1, height)
        return Label(name, places, gid.replace("point-", "label-", 1), {"style": "italic", "color": MUTED})


def _one_view(row: Point) -> bool:
    return (row.protocol or "1-crop").startswith("1-crop")


def _across(axes: Axes, places: Sequence[float], radii: Sequence[float], span: float) -> None:
    """The horizontal axis: logarithmic where the largest is more than 20 times the smallest."""
    if not places:
        axes.set_xlim(0, 1)
        axes.xaxis.set_major_locator(NullLocator())
        return
    low, high = min(places), max(places)
    if high > 20 * low:
        ends = limits([(math.log10(x), r + 7) for x, r in zip(places, radii, strict=True)], span, least=0.5)
        left, right = 10 ** ends[0], 10 ** ends[1]
        axes.set_xscale("log")
        powers = range(math.floor(ends[0]), math.ceil(ends[1]) + 1)
        steps: tuple[int, ...] = (1, 2, 5) if high < 3000 * low else (1,)
        ticks = [step * 10.0**power for power in powers for step in steps]
        axes.xaxis.set_major_locator(
            FixedLocator([tick for tick in ticks if left <= tick <= right * (left / right) ** 0.02])
        )
        axes.xaxis.set_minor_locator(NullLocator())
    else:
        left, right = limits([(x, r + 7) for x, r in zip(places, radii, strict=True)], span, least=0.2 * high)
        left = 0 if left > 0 and low < 0.35 * high else left
        axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.set_xlim(left, right)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}" if value >= 0 else ""))


def _sizes(
    sheet: Sheet, rows: Sequence[Point], top: float, measured: bool, largest: float, widest: float, narrow: bool
) -> float:
    """The line above the axes: what goes up at the left, what area means at the right; the lower end of it."""
    size = 8.5
    if not rows or largest <= 1:
        sheet.write(8, top - 14, "Top-1 accuracy [%]", size + 0.5, color=MUTED)
        return top - 21
    what, unit = ("memory", "MB") if measured else ("parameters", "M")
    lead = f"area: {what}" if narrow else f"area of a bubble: {what}"
    if measured and not narrow:
        lead += " of one image"
    biggest = largest / 1e6
    # why: the largest round number that is not above the data, and a fifth of it
    power = 10.0 ** math.floor(math.log10(biggest))
    round_one = max(power * factor for factor in (0.5, 1, 2, 5) if power * factor <= biggest * 0.75)
    shown = [
        (f"{significant(value, 1)} {unit}", widest * math.sqrt(value / biggest)) for value in (round_one / 5, round_one)
    ]
    deep = max(18.0, 2 * shown[-1][1] + 4)
    y = top - deep + 3
    sheet.write(8, y, "Top-1 accuracy [%]", size + 0.5, color=MUTED)
    x, middle = sheet.width - 8, y + 3
    middle = max(middle, y - 2 + shown[-1][1])
    for text, radius in reversed(shown):
        x -= sheet.measure(text, size)[0]
        sheet.write(x, middle - 3, text, size, color=MUTED)
        x -= radius + 4
        ring = Circle((x, middle), radius, fill=False, edgecolor=MUTED, linewidth=0.9, transform=sheet.points)
        sheet.figure.add_artist(ring)
        x -= radius + 9
    sheet.write(x, middle - 3, lead, size, color=MUTED, ha="right")
    return y - 5
