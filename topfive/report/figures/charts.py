"""The charts of experiments: lines over numbers, or dots with intervals over names."""

from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from topfive.report.figures.canvas import COLOURS, DASHES, INK, MUTED, End, Sheet, name_ends
from topfive.report.figures.labels import Label, around, write_labels
from topfive.report.figures.series import pareto, significant
from topfive.results.experiments import Chart, Series

PALETTE = [COLOURS[name] for name in ("ResNet", "VGG", "Inception", "AlexNet", "DenseNet", "compact")]
ROW = 2.6  # letters high, of a dot's line


def chart(drawn: Chart, *, narrow: bool = False) -> Figure:
    """One chart, as wide as a page or a narrow screen; its title stands on the page."""
    if drawn.scatter:
        return _scatter(drawn, narrow)
    return _dots(drawn, narrow) if drawn.names else _lines(drawn, narrow)


def _scatter(drawn: Chart, narrow: bool) -> Figure:
    width, size = (302.0, 8.0) if narrow else (691.0, 8.5)
    sheet = Sheet(width, (360.0 if narrow else 330.0) + 4 * len(drawn.series))
    edge, top = 8.0, sheet.heading("", narrow, 6)
    frame = (edge + 26, 34, width - edge, top - 22)
    sheet.write(edge, frame[3] + 9, drawn.y, 9, color=MUTED)
    sheet.write(frame[2], frame[1] - 28, drawn.x, 9, color=MUTED, ha="right")
    axes = sheet.axes(*frame)
    points = [(line.x[0], line.y[0]) for line in drawn.series]
    axes.plot(*zip(*points), "o", color=PALETTE[0], markersize=5)
    best = [points[i] for i in pareto(points)]
    axes.plot(*zip(*best), color=MUTED, linewidth=1.1, zorder=1)
    if max(x for x, _ in points) > 20 * min(x for x, _ in points):
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: significant(value, 3)))
        axes.xaxis.set_minor_locator(NullLocator())
    axes.margins(x=0.1, y=0.1)
    axes.autoscale_view()  # why: matplotlib would only settle the limits when it draws
    places = [sheet.at(axes, *point) for point in points]
    front = [(*sheet.at(axes, *a), *sheet.at(axes, *b)) for a, b in pairwise(best)]
    labels = [
        Label(line.name, around(*place, 2.5, sheet.measure(line.name, size)[0] + 1, size), f"label-{n}")
        for n, (line, place) in enumerate(zip(drawn.series, places))
    ]
    write_labels(sheet, labels, size, np.array([(*place, 3.0) for place in places]), front, frame)
    return sheet.figure


def _lines(drawn: Chart, narrow: bool) -> Figure:
    width, size = (302.0, 8.5) if narrow else (691.0, 9.0)
    names = list(dict.fromkeys(line.name for line in drawn.series))
    sheet = Sheet(width, max(250.0, 1.3 * size * len(names)) + 70)
    edge, top = 8.0, sheet.heading("", narrow, 6)
    beside = max((sheet.measure(name, size)[0] for name in names), default=0) + 16
    frame = (edge + 34, 34, width - edge - beside, top - 22)
    sheet.write(edge, frame[3] + 9, drawn.y, 9, color=MUTED)
    sheet.write(frame[2], frame[1] - 28, drawn.x, 9, color=MUTED, ha="right")
    axes = sheet.axes(*frame)
    ends: list[End] = []
    for line in drawn.series:
        if not line.x:
            continue
        colour = PALETTE[line.group % len(PALETTE)]
        within = [name for name in names if any(one.name == name and one.group == line.group for one in drawn.series)]
        dashes = DASHES[within.index(line.name) % len(DASHES)]
        axes.plot(line.x, line.y, color=colour, linestyle=dashes, linewidth=1.5, marker="o", markersize=2.5)
        if line.low:
            axes.fill_between(line.x, line.low, line.high, color=colour, alpha=0.15, linewidth=0)
        if line.name not in {end.name for end in ends}:
            ends.append(End(line.x[-1], line.y[-1], line.name, colour, f"line-{len(ends)}"))
    if drawn.logarithmic:
        _logarithmic(axes, drawn.series)
    axes.margins(x=0.03, y=0.06)
    axes.autoscale_view()  # why: matplotlib would only settle the limits when it draws
    name_ends(sheet, axes, frame, ends, size)
    return sheet.figure


def _logarithmic(axes: Axes, series: tuple[Series, ...]) -> None:
    """Logarithms along the axis whose values lie far apart."""
    xs = sorted({value for line in series for value in line.x})
    ys = [value for line in series for value in line.y if value > 0]
    if ys and max(ys) > 30 * min(ys):
        axes.set_yscale("log")
    else:
        axes.set_xscale("log")
        axes.set_xticks(xs)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: significant(value, 3)))
        axes.xaxis.set_minor_locator(NullLocator())


def _dots(drawn: Chart, narrow: bool) -> Figure:
    width, size = (302.0, 8.5) if narrow else (691.0, 9.0)
    sheet = Sheet(width, ROW * size * len(drawn.names) + 90)
    edge, top = 8.0, sheet.heading("", narrow, 6)
    beside = max(sheet.measure(name, size)[0] for name in drawn.names) + 10
    frame = (edge + beside, 34, width - edge - 8, top - 12)
    sheet.write(frame[2], frame[1] - 28, drawn.y, 9, color=MUTED, ha="right")
    axes = sheet.axes(*frame)
    rows = range(len(drawn.names))
    for n, series in enumerate(drawn.series):
        spans: Any = [
            [value - low for value, low in zip(series.y, series.low)],
            [high - value for value, high in zip(series.y, series.high)],
        ]
        colour = PALETTE[n % len(PALETTE)]
        axes.errorbar(series.y, rows, xerr=spans if series.low else None, color=colour, fmt="o", linewidth=1.2)
    axes.set_ylim(len(drawn.names) - 0.5, -0.5)
    axes.set_yticks([])
    axes.margins(x=0.06)
    axes.autoscale_view(scaley=False)
    for row, name in zip(rows, drawn.names):
        _, y = sheet.at(axes, axes.get_xlim()[0], row)
        sheet.write(frame[0] - 8, y, name, size, ha="right", va="center_baseline", color=INK)
    return sheet.figure
