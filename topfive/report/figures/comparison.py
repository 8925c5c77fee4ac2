"""The figures of a comparison: accuracy against operations, the literature's history, curves of training."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from topfive.networks.papers import Winner
from topfive.report.figures.canvas import COLOURS, DASHES, INK, MUTED, End, Sheet, colour_of, limits, name_ends
from topfive.report.figures.labels import along, around, covered, place_labels, sampled
from topfive.report.figures.series import (
    Point,
    alike,
    decline,
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


def bubbles(rows: Sequence[Point], *, narrow: bool = False, title: str | None = None, caption: str = "") -> Figure:
    """Top-1 accuracy against the operations of one image, bubble area for memory, a line along the Pareto front.

    The front is that of the commonest protocol's networks alone.

    `title` is computed from the rows unless given ("" for none). The sheet grows until every label has a place of its
    own; in a narrow figure of very many networks the labels that find none are left out, and the caption says how many.
    """
    seen = drawn(rows)
    label_size = 9.0 if len(seen) <= 24 else 8.0
    width, height = (302.0, 375.0) if narrow else (691.0, 415.0)
    height *= 1 + max(len(seen) - 12, 0) / (60 if narrow else 110)
    tallest = height * 1.5
    while True:
        sheet, unnamed, strained = _bubbles(seen, width, height, label_size, narrow, title, caption)
        if not (unnamed or strained) or height > tallest:
            break
        height *= 1.15
    if unnamed:
        caption = f"{caption} {unnamed} of {len(seen)} networks are drawn without their name.".strip()
        sheet = _bubbles(seen, width, height, label_size, narrow, title, caption)[0]
    return sheet.figure


def _area(row: Point) -> int:
    """What the area of a bubble is proportional to."""
    return row.memory_inference_bytes if isinstance(row, ComparisonRow) else row.params


def _bubbles(
    rows: Sequence[Point], width: float, height: float, label_size: float, narrow: bool, title: str | None, caption: str
) -> tuple[Sheet, int, int]:
    """The figure at one height, how many labels found no place, and how many lie far from their bubble."""
    costed = [row for row in rows if ops(row)]
    baselines = [row for row in rows if not ops(row)]
    names = dict(zip(map(id, rows), gids(rows), strict=True))
    unit, unit_name = ops_unit(costed)
    measured = any(isinstance(row, ComparisonRow) for row in rows)
    largest = max(map(_area, costed), default=0) or 1
    widest = (15 if narrow else 21) * (1 if len(rows) <= 15 else 0.8)  # radius of the largest bubble
    radii = [max(widest * math.sqrt(_area(row) / largest), 2.0) for row in costed]

    # from above: title, keys, what the vertical axis shows; from below: caption, what the horizontal axis shows
    sheet = Sheet(width, height)
    edge, top, bottom = 8.0, height - 4, 6.0
    heading = finding(rows) if title is None else title
    if heading:
        top = sheet.paragraph(edge, top, heading, width - 2 * edge, 11 if narrow else 13, weight="bold") - 4
    top = _families(sheet, costed, edge, top)
    top = _sizes(sheet, costed, top, measured, largest, widest, narrow)
    if caption:
        lines = sheet.wrap(caption, width - 2 * edge, 7.5)
        bottom += 1.38 * 7.5 * len(lines)
        sheet.paragraph(edge, bottom, caption, width - 2 * edge, 7.5, color=MUTED)
        bottom += 4
    across = f"Operations of one image [{unit_name}, 2 × multiply-adds]"
    sheet.write(width - edge, bottom + 3, across, 8.5 if narrow else 9, color=MUTED, ha="right")
    left, right, floor, ceiling = edge + 24, width - edge, bottom + 32, top
    axes = sheet.axes(left, floor, right, ceiling)

    # limits wide enough for whole bubbles and a label above the highest
    values = [(row.top1 or 0, radius + 4) for row, radius in zip(costed, radii, strict=True)]
    values += [(end, 4.0) for row in costed for end in row.interval or ()]
    values += [(end, 6.0) for row in baselines for end in (row.top1 or 0, *(row.interval or ()))]
    low, high = limits(values, ceiling - floor, least=2.0)
    axes.set_ylim(low, high + (high - low) * 12 / (ceiling - floor))
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}" if 0 <= value <= 100 else ""))
    places = [(ops(row) or 0) / unit for row in costed]
    _across(axes, places, radii, right - left)

    points = [sheet.at(axes, x, row.top1 or 0) for x, row in zip(places, costed, strict=True)]
    rivals = set(map(id, alike(costed)))
    joined = [i for i, row in enumerate(costed) if id(row) in rivals]
    front = [joined[i] for i in pareto([(places[i], costed[i].top1 or 0) for i in joined])]
    segments = []
    for a, b in pairwise(front):  # from edge to edge of the bubbles
        (x0, y0), (x1, y1) = points[a], points[b]
        length = math.hypot(x1 - x0, y1 - y0)
        if length > radii[a] + radii[b]:
            s, t = radii[a] / length, 1 - radii[b] / length
            segments.append((x0 + (x1 - x0) * s, y0 + (y1 - y0) * s, x0 + (x1 - x0) * t, y0 + (y1 - y0) * t))
            xs, ys = (segments[-1][0], segments[-1][2]), (segments[-1][1], segments[-1][3])
            line = Line2D(xs, ys, color=MUTED, linewidth=1.1, transform=sheet.points, gid=f"front-{a}")
            sheet.figure.add_artist(line)
    several = len({_one_view(row) for row in costed}) > 1
    for i in sorted(range(len(costed)), key=lambda i: -radii[i]):  # small ones on top
        row, colour = costed[i], colour_of(costed[i].family)
        band = row.interval
        if band:
            axes.plot([places[i]] * 2, band, color=colour, linewidth=1.3, zorder=2, solid_capstyle="butt")
            segments.append((*sheet.at(axes, places[i], band[0]), *sheet.at(axes, places[i], band[1])))
        hollow = several and not _one_view(row)
        bubble = Circle(points[i], radii[i], edgecolor=colour, linewidth=1.2, transform=sheet.points, zorder=3)
        bubble.set_facecolor((*mpl.colors.to_rgb(colour), 0.1 if hollow else 0.55))
        bubble.set_gid(names[id(row)])
        sheet.figure.add_artist(bubble)

    frame = (left + 1, floor + 1, right - 1, ceiling - 1)
    choices = []
    labels = []
    for i, row in enumerate(costed):
        labels.append(plain_name(row))
        size = sheet.measure(labels[-1], label_size)
        choices.append(around(*points[i], radii[i], size[0] + 1, size[1]))
    for row in baselines:
        level = row.top1 or 0
        band = row.interval
        if band:
            axes.axhspan(*band, color=MUTED, alpha=0.09, linewidth=0, zorder=0.6)
        axes.axhline(level, color=MUTED, linewidth=1.2, dashes=(5, 3), zorder=1, gid=names[id(row)])
        y = sheet.at(axes, places[0] if places else 1, level)[1]
        segments.append((frame[0], y, frame[2], y))
        labels.append(f"{plain_name(row)} (no convolutions)")
        size = sheet.measure(labels[-1], label_size, style="italic")
        choices.append(along(frame[0], frame[2], y, size[0] + 1, size[1]))
    strokes = sampled(np.array(segments).reshape(-1, 4), 120).reshape(-1, 2) if segments else np.zeros((0, 2))
    strokes = strokes[np.sort(np.unique((strokes // 2.5).astype(int), axis=0, return_index=True)[1])]  # evenly thick
    circles = np.array([(*point, radius + 0.6) for point, radius in zip(points, radii, strict=True)]).reshape(-1, 3)
    taken = place_labels(choices, circles, strokes, frame)
    boxes = [choice.boxes[at] for choice, at in zip(choices, taken, strict=True) if at is not None]
    strained = sum(covered(box, circles) for box in boxes)
    for row, label, choice, place in zip([*costed, *baselines], labels, choices, taken, strict=True):
        if place is None:
            continue
        x0, y0, x1, _ = choice.boxes[place]
        aligned = choice.aligned[place]
        x = {"left": x0, "right": x1, "center": (x0 + x1) / 2}[aligned]
        style = {} if ops(row) else {"style": "italic", "color": MUTED}
        gid = names[id(row)].replace("point-", "label-", 1)
        sheet.write(x, y0, label, label_size, ha=aligned, va="bottom", gid=gid, **style)
        lx0, ly0, lx1, ly1 = choice.leaders[place]
        if (lx0, ly0) != (lx1, ly1):
            leader = Line2D([lx0, lx1], [ly0, ly1], color=MUTED, linewidth=0.6, transform=sheet.points)
            sheet.figure.add_artist(leader)
            strained += math.hypot(lx1 - lx0, ly1 - ly0) > 48
    return sheet, taken.count(None), strained


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


def _families(sheet: Sheet, rows: Sequence[Point], left: float, top: float) -> float:
    """The families' names, each with a dot of its colour; the lower end of them."""
    size, x, y = 8.5, left, top - 12
    for family in [family for family in COLOURS if any(row.family == family for row in rows)]:
        needed = sheet.measure(family, size)[0] + 24
        if x + needed - 14 > sheet.width - 8:
            x, y = left, y - 13
        dot = Circle((x + 4, y + 3), 3.6, facecolor=COLOURS[family], edgecolor="none", transform=sheet.points)
        sheet.figure.add_artist(dot)
        sheet.write(x + 11, y, family, size, color=MUTED)
        x += needed
    return y - 4 if rows else top


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


def history(
    winners: Sequence[Winner], human: float | None = None, *, narrow: bool = False, title: str | None = None
) -> Figure:
    """The Top-5 test error of the winners of the ImageNet challenge: shallow and deep told apart, depth on the bars."""
    winners = sorted(winners, key=lambda row: row.year)
    width = 302.0 if narrow else 691.0
    sheet = Sheet(width, 92.0 + 30 * len(winners) if narrow else 330.0)
    edge, top = 8.0, sheet.height - 4
    title = decline(winners) if title is None else title
    if title:
        top = sheet.paragraph(edge, top, title, width - 2 * edge, 11 if narrow else 13, weight="bold") - 4
    x, y = edge, top - 12
    for text, colour in (("shallow: hand-made features", COLOURS["plain"]), ("deep: convolutional", COLOURS["ResNet"])):
        sheet.figure.add_artist(Circle((x + 4, y + 3), 3.6, facecolor=colour, transform=sheet.points))
        sheet.write(x + 11, y, text, 8.5, color=MUTED)
        x += sheet.measure(text, 8.5)[0] + 24
    values = [row.top5_test for row in winners]
    colours = [COLOURS["plain"] if row.shallow else COLOURS["ResNet"] for row in winners]
    depths = [f"{row.depth} layers" if row.depth else "" for row in winners]
    highest = max(values, default=1)
    if narrow:
        sheet.write(edge, y - 17, "Top-5 error on the test set [%]", 8.5, color=MUTED)
        axes = sheet.axes(edge + 30, 8, width - edge, y - 24)
        axes.set_ylim(len(winners) - 0.4, -0.6)
        axes.set_xlim(0, highest)
        axes.barh(range(len(winners)), values, height=0.42, color=colours, align="edge")
        axes.set_yticks([i + 0.05 for i in range(len(winners))], [str(row.year) for row in winners])
        axes.xaxis.set_major_locator(NullLocator())
        axes.spines["bottom"].set_visible(False)
        axes.grid(False)
        for i, (row, value, depth) in enumerate(zip(winners, values, depths, strict=True)):
            base = sheet.at(axes, 0, i)[1] + 4
            sheet.write(edge + 31, base, f"{row.entry}{', ' if depth else ''}{depth}", 8.5)
            sheet.write(width - edge, base, f"{value:g}", 9, ha="right", weight="bold")
            if human is not None:
                axes.plot([human, human], [i - 0.03, i + 0.45], color=INK, linewidth=1.2)
        if human is not None:
            sheet.write(width - edge, y - 17, f"| one person: {human:g}", 8.5, ha="right")
        return sheet.figure
    sheet.write(edge, y - 18, "Top-5 error on the test set [%]", 9, color=MUTED)
    axes = sheet.axes(edge + 24, 46, width - edge, y - 25)
    axes.set_xlim(-0.55, len(winners) - 0.45)
    axes.set_ylim(0, highest * 1.1)
    axes.bar(range(len(winners)), values, width=0.62, color=colours)
    axes.xaxis.set_major_locator(NullLocator())
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    for i, (row, value, depth) in enumerate(zip(winners, values, depths, strict=True)):
        at_x, at_y = sheet.at(axes, i, value)
        line = sheet.at(axes, i, human)[1] if human is not None else -math.inf
        lifted = line + 4 if at_y < line < at_y + 15 else at_y + 4  # why: the line does not run through the number
        sheet.write(at_x, lifted, f"{value:g}", 10, ha="center", weight="bold")
        if depth:
            room = at_y - sheet.at(axes, i, 0)[1]
            lift = at_y - 14 if room > 24 else at_y + 17
            colour = "#ffffff" if room > 24 else MUTED
            sheet.write(at_x, lift, depth, 8.5, ha="center", color=colour)
        base = sheet.at(axes, i, 0)[1]
        sheet.write(at_x, base - 14, str(row.year), 9.5, ha="center", weight="bold")
        room = (width - 2 * edge - 24) / len(winners) - 4
        for line, part in enumerate(sheet.wrap(row.entry, room, 8)[:2]):
            sheet.write(at_x, base - 26 - 11 * line, part, 8, ha="center", color=MUTED)
    if human is not None:
        axes.axhline(human, color=INK, linewidth=1, dashes=(4, 3), zorder=0.8)
        at_x, at_y = sheet.at(axes, len(winners) - 0.45, human)
        sheet.write(at_x, at_y + 4, f"one trained person: {human:g}", 8.5, ha="right")
    return sheet.figure


def curves(rows: Sequence[ComparisonRow], *, narrow: bool = False, title: str | None = None) -> Figure:
    """Validation accuracy and training loss after every epoch, one line per network, named at its end."""
    trained = [row for row in rows if row.curve]
    width, size = (302.0, 8.5) if narrow else (691.0, 9.0)
    panel_height = max(250.0, 1.25 * size * len(trained))
    sheet = Sheet(width, 2 * panel_height + 90 if narrow else panel_height + 80)
    edge, top = 8.0, sheet.height - 4
    if title:
        top = sheet.paragraph(edge, top, title, width - 2 * edge, 11 if narrow else 13, weight="bold") - 6
    names = [plain_name(row, 20) for row in trained]
    beside = max((sheet.measure(name, size)[0] for name in names), default=0) + 16
    if narrow:
        half = (top + 8) / 2
        frames = [
            (edge + 24, half + 30, width - edge - beside, top - 22),
            (edge + 24, 34, width - edge - beside, half - 26),
        ]
    else:
        panel = (width - 2 * edge - 20) / 2
        frames = [
            (edge + 24, 34, edge + panel - beside, top - 22),
            (edge + panel + 44, 34, width - edge - beside, top - 22),
        ]
    styles: dict[int, tuple[str, Any]] = {}
    for i, row in enumerate(trained):
        before = sum(colour_of(other.family) == colour_of(row.family) for other in trained[:i])
        styles[i] = (colour_of(row.family), DASHES[before % len(DASHES)])
    panels = (("Validation accuracy (Top-1) [%]", "accuracy", 100.0), ("Training loss", "loss", 1.0))
    for frame, (what, key, factor) in zip(frames, panels, strict=True):
        sheet.write(frame[0] - 24, frame[3] + 9, what, 9, color=MUTED)
        sheet.write(frame[2], frame[1] - 28, "epoch", 9, color=MUTED, ha="right")
        axes = sheet.axes(*frame)
        ends: list[End] = []
        for i, row in enumerate(trained):
            steps = [
                (step["epoch"], factor * step[key]) for step in row.curve if math.isfinite(step.get(key, math.nan))
            ]
            if not steps:
                continue
            colour, dashes = styles[i]
            xs, ys = [step[0] for step in steps], [step[1] for step in steps]
            marker = "o" if len(steps) == 1 else ""
            axes.plot(xs, ys, color=colour, linestyle=dashes, linewidth=1.6, marker=marker, markersize=4)
            gid = gids([row])[0].replace("point-", f"{key}-", 1)
            ends.append(End(xs[-1], ys[-1], names[i], colour, gid))
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, steps=[1, 2, 5, 10]))
        axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
        axes.margins(x=0.02, y=0.06)
        if key == "loss" and ends:
            axes.set_ylim(bottom=0)
        axes.autoscale_view()  # why: matplotlib would only settle the limits when it draws
        name_ends(sheet, axes, frame, ends, size)
    return sheet.figure
