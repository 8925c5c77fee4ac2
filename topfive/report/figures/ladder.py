"""The figure of protocols: what more views of an image buy, and for how many operations."""

import math
from collections.abc import Sequence
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from topfive.data.check.phrases import counted, shown
from topfive.report.figures.canvas import COLOURS, INK, MUTED, Sheet, limits
from topfive.report.figures.evaluation import EDGE, NARROW, WIDE, short
from topfive.report.figures.labels import Label, around, write_labels
from topfive.report.figures.series import gids, ops, ops_unit, significant, times
from topfive.results.records import EvaluationRow

OF_MODELS = (COLOURS["ResNet"], COLOURS["VGG"], COLOURS["Inception"], COLOURS["AlexNet"], COLOURS["DenseNet"],
             COLOURS["compact"], INK)  # fmt: skip


def bought(rows: Sequence[EvaluationRow]) -> str:
    """What `ladder` shows, in one sentence computed from its rows: the best, and the cheapest of the same model."""
    seen = _placed(rows)
    if not seen:
        return "No protocol has both an accuracy and a count of operations"
    best = max(seen, key=lambda row: (row.top1 or 0, -(row.ops or 0)))
    first = min((row for row in seen if row.model == best.model), key=lambda row: row.ops or 0)
    model = f"{short(best.model)}: " if len({row.model for row in seen}) > 1 else ""
    reached = f"{model}{_rung(best)} gets {best.top1:.1f} %"
    if first is best:
        return f"{reached}, and nothing that costs more gets more"
    gained = (best.top1 or 0) - (first.top1 or 0)
    within = (best.interval or (100.0, 0.0))[0] <= (first.top1 or 0)
    end = ", which is within its interval" if within else ""
    return (
        f"{reached}, {gained:.1f} points more than {_rung(first)}, for {times(best, first)} times the operations{end}"
    )


def ladder(rows: Sequence[EvaluationRow], *, narrow: bool = False, title: str | None = None) -> Figure:
    """Top-1 with its 95 % interval against the operations of one image, each point named by protocol and views.

    Several models have a colour each. The sheet grows until every label has a place of its own.
    """
    seen = _placed(rows)
    draw = partial(_ladder, seen, bought(rows) if title is None else title, gids(rows), rows)
    height = (360.0 if narrow else 400.0) * (1 + max(len(seen) - 10, 0) / 14)
    tallest = 1.6 * height
    sheet, unnamed = draw(narrow, height)
    while unnamed and height < tallest:
        height *= 1.15
        sheet, unnamed = draw(narrow, height)
    return sheet.figure


def _placed(rows: Sequence[EvaluationRow]) -> list[EvaluationRow]:
    return [row for row in rows if row.top1 is not None and ops(row)]


def _rung(row: EvaluationRow) -> str:
    return shown(row.key or row.protocol)


def _ladder(
    seen: Sequence[EvaluationRow],
    title: str,
    ids: Sequence[str],
    rows: Sequence[EvaluationRow],
    narrow: bool,
    height: float,
) -> tuple[Sheet, int]:
    """The figure at one height, and how many labels found no place."""
    width = NARROW if narrow else WIDE
    unit, unit_name = ops_unit(seen)
    names = dict(zip(map(id, rows), ids, strict=True))
    models = list(dict.fromkeys(row.model for row in seen))
    colours = {model: OF_MODELS[n % len(OF_MODELS)] for n, model in enumerate(models)}
    sheet = Sheet(width, height)
    top = sheet.heading(title, narrow)
    if len(models) > 1:
        top = sheet.keys([(short(model, 24), colours[model]) for model in models], EDGE, top)
    images = "" if narrow else f" of {max((row.images for row in seen), default=0):,} images"
    sheet.write(EDGE, top - 14, f"Top-1{images} [%], with 95 % intervals", 9, color=MUTED)
    across = f"Operations of one image [{unit_name}]" + ("" if narrow else ", logarithmic")
    sheet.write(width - EDGE, 9, across, 9, color=MUTED, ha="right")
    frame = (EDGE + 26, 38.0, width - EDGE, top - 22)
    axes = sheet.axes(*frame)
    values = [(end, 8.0) for row in seen for end in (row.top1 or 0, *(row.interval or ()))]
    axes.set_ylim(*limits(values, frame[3] - frame[1], least=2.0))
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}" if 0 <= value <= 100 else ""))
    places = [(row.ops or 0) / unit for row in seen]
    _logarithmic(axes, places, frame[2] - frame[0])

    size = 8.0 if narrow else 9.0
    points = [sheet.at(axes, x, row.top1 or 0) for x, row in zip(places, seen, strict=True)]
    segments, labels = [], []
    for row, place, point in zip(seen, places, points, strict=True):
        colour, band = colours[row.model], row.interval
        if band:
            axes.plot([place] * 2, band, color=colour, linewidth=1.3, zorder=2, solid_capstyle="butt", alpha=0.6)
            segments.append((*sheet.at(axes, place, band[0]), *sheet.at(axes, place, band[1])))
        dot = Circle(point, 4, facecolor=colour, edgecolor=colour, transform=sheet.points, zorder=3)
        dot.set_gid(names[id(row)])
        sheet.figure.add_artist(dot)
        text = _label(row, narrow)
        measured = sheet.measure(text, size)
        beside = around(*point, 4, measured[0] + 1, measured[1])
        labels.append(Label(text, beside, names[id(row)].replace("point-", "label-", 1)))
    circles = np.array([(*point, 4.6) for point in points]).reshape(-1, 3)
    inside = (frame[0] + 1, frame[1] + 1, frame[2] - 1, frame[3] - 1)
    return sheet, write_labels(sheet, labels, size, circles, segments, inside)[0]


def _label(row: EvaluationRow, narrow: bool) -> str:
    said = [_rung(row)]
    if row.views is not None:
        said.append(counted(round(row.views), "view"))
    if row.ms is not None and not narrow:
        said.append(f"{significant(row.ms)} ms")
    return ", ".join(said)


def _logarithmic(axes: Axes, places: Sequence[float], span: float) -> None:
    """A horizontal axis for `places` on `span` points, at least half a decade wide."""
    axes.set_xscale("log")
    low, high = limits([(math.log10(x), 14.0) for x in places] or [(0.0, 0.0)], span, least=0.5)
    powers = range(math.floor(low), math.ceil(high) + 1)
    ticks = [step * 10.0**power for power in powers for step in ((1, 2, 5) if high - low < 3 else (1,))]
    axes.set_xlim(10**low, 10**high)
    last = high - 0.02 * (high - low)  # why: half of a number at the very end would lie outside of a page's figure
    axes.xaxis.set_major_locator(FixedLocator([tick for tick in ticks if low <= math.log10(tick) <= last]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
