"""The figures of one training: its curves, and the course of its recipe before it runs."""

import math
from collections.abc import Container, Mapping, Sequence
from itertools import pairwise

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator

from topfive.report.figures.canvas import COLOURS, DASHES, INK, MUTED, End, Sheet, name_ends
from topfive.report.figures.series import significant
from topfive.results.records import EpochRecord

BLUE = COLOURS["ResNet"]  # of what was validated


def _rate_axis(axes: Axes, rates: Sequence[float], usual_low: float, ticks: int = 5) -> None:
    """The vertical axis of learning rates: logarithmic where they span much, but for a few at the end.

    why: a rate that ends at zero spans more than any axis can show.
    """
    if usual_low > 0 and max(rates) > 50 * usual_low:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(numticks=ticks + 2))
        axes.yaxis.set_minor_locator(NullLocator())
    else:
        axes.set_ylim(0, 1.08 * max(rates))
        axes.yaxis.set_major_locator(MaxNLocator(ticks, steps=[1, 2, 2.5, 5, 10]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def learnt(epochs: Sequence[EpochRecord]) -> str:
    """What `training` shows, in one sentence computed from its rows."""

    def moved(first: float, last: float) -> str:
        return f"{'rises' if last > first else 'falls'} from {first:.1f} to {last:.1f} %"

    scored = [(row, row.top1 or 0.0) for row in epochs if row.top1 is not None]
    if not scored:
        first, last = (100 * epochs[at].train_accuracy for at in (0, -1))
        said = f"is {last:.1f} %" if f"{first:.1f}" == f"{last:.1f}" else moved(first, last)
        return f"Top-1 in training {said}; there is no validation yet"
    (_, first), (row, last) = scored[0], scored[-1]
    said = f"is {last:.1f} % after epoch {row.epoch}" if f"{first:.1f}" == f"{last:.1f}" else moved(first, last)
    best, most = max(scored, key=lambda pair: pair[1])
    if f"{most:.1f}" != f"{last:.1f}":
        return f"Validation Top-1 {said}, with {most:.1f} % at its best in epoch {best.epoch}"
    trained = 100 * row.train_accuracy
    return (
        f"Validation Top-1 {said}, {abs(trained - last):.1f} points {'below' if trained > last else 'above'} training"
    )


def training(
    epochs: Sequence[EpochRecord],
    *,
    narrow: bool = False,
    title: str | None = None,
    marked: Container[int] | None = None,
) -> Figure:
    """Top-1, loss and learning rate after every epoch, one above the other; a line where the images' side changes.

    The validation Top-1 has its interval as a band and, in the `marked` epochs (by default all), a point with a gid.
    """
    width, size = (302.0, 8.5) if narrow else (691.0, 9.0)
    heights = (170.0, 110.0, 62.0) if narrow else (200.0, 125.0, 66.0)
    edge, between, below = 8.0, 40.0, 34.0
    starts = [i for i, row in enumerate(epochs) if i and row.side != epochs[i - 1].side]
    strip = 13.0 if starts else 0.0
    title = learnt(epochs) if title is None else title
    lines = Sheet(width, 100).wrap(title, width - 2 * edge, 11 if narrow else 13, weight="bold") if title else []
    room = 1.38 * (11 if narrow else 13) * len(lines) + 6 * bool(title)
    sheet = Sheet(width, below + sum(heights) + 2 * between + strip + 26 + room)
    top = sheet.heading(title, narrow, 6)
    xs = [row.epoch for row in epochs]
    heads = len(epochs[0].auxiliary_losses)
    losses = [("main" if heads else "training", [row.loss for row in epochs])]
    losses += [(f"auxiliary {n + 1}", [row.auxiliary_losses[n] for row in epochs]) for n in range(heads)]
    beside = max(sheet.measure(name, size)[0] for name in ("validation", "training", *dict(losses))) + 18
    left, right = edge + 34, width - edge - beside

    frames: list[tuple[float, float, float, float]] = []
    at = top - 22 - strip
    what = "Top-1 [%], the 95 % interval shaded", "Loss in training", "Learning rate"
    for height, says in zip(heights, what, strict=True):
        sheet.write(edge, at + 10 + (0 if frames else strip), says, 9, color=MUTED)
        frames.append((left, at - height, right, at))
        at -= height + between
    panels = accuracies, losing, rates = [sheet.axes(*frame) for frame in frames]
    ends = [_accuracies(accuracies, epochs), _losses(losing, xs, losses)]
    learning = [row.lr for row in epochs]
    rates.plot(xs, learning, color=INK, linewidth=1.4, marker=_dot(epochs), markersize=4)
    for panel in panels:
        _epoch_axis(panel, xs, 5 if narrow else 10)
        if panel is not rates:
            panel.tick_params(labelbottom=False)
        for i in starts:
            panel.axvline((xs[i - 1] + xs[i]) / 2, color=MUTED, linewidth=0.8, dashes=(2, 2), zorder=0.8)
    losing.set_ylim(bottom=0)
    low, high = accuracies.get_ylim()
    accuracies.set_ylim(max(low, -2), min(high, 102))
    _rate_axis(rates, learning, sorted(learning)[len(learning) // 5], ticks=3)
    sheet.write(right, below - 28, "epoch", 9, color=MUTED, ha="right")
    if starts:
        edges = [left, *(sheet.at(accuracies, (xs[i - 1] + xs[i]) / 2, 0)[0] for i in starts)]
        _sides(sheet, top - 22 - strip + 4, edges, [epochs[i].side for i in (0, *starts)])
    for row in epochs:
        if row.top1 is not None and (marked is None or row.epoch in marked):
            _point(sheet, sheet.at(accuracies, row.epoch, row.top1), f"point-{row.epoch}")
    for panel, frame, named in zip(panels, frames, ends):
        name_ends(sheet, panel, frame, named, size)
    return sheet.figure


def _point(sheet: Sheet, place: tuple[float, float], gid: str) -> None:
    point = Circle(place, 2.6, facecolor=BLUE, edgecolor=BLUE, transform=sheet.points, zorder=3)
    point.set_gid(gid)
    sheet.figure.add_artist(point)


def _dot(epochs: Sequence[EpochRecord]) -> str:
    """A line of a single epoch is a dot."""
    return "o" if len(epochs) == 1 else ""


def _accuracies(axes: Axes, epochs: Sequence[EpochRecord]) -> list[End]:
    """Top-1 in training, and of the validation images with its interval as a band."""
    xs, trained = [row.epoch for row in epochs], [100 * row.train_accuracy for row in epochs]
    axes.plot(xs, trained, color=MUTED, linewidth=1.4, dashes=DASHES[1][1], marker=_dot(epochs), markersize=4)
    ends = [End(xs[-1], trained[-1], "training", MUTED)]
    scored = [(row.epoch, row.top1, row.interval) for row in epochs if row.top1 is not None and row.interval]
    if scored:
        at, tops, bands = zip(*scored)
        lows, highs = zip(*bands)
        axes.fill_between(at, lows, highs, color=BLUE, alpha=0.16, linewidth=0)
        if len(scored) == 1:  # why: a band needs two
            axes.plot([at[0]] * 2, bands[0], color=BLUE, alpha=0.4, linewidth=4, solid_capstyle="butt")
        axes.plot(at, tops, color=BLUE, linewidth=1.8)
        ends.append(End(at[-1], tops[-1], "validation", BLUE))
    return ends


def _losses(axes: Axes, xs: Sequence[int], losses: Sequence[tuple[str, list[float]]]) -> list[End]:
    for n, (_, values) in enumerate(losses):
        style = {"linestyle": DASHES[(n + 1) % len(DASHES)], "marker": "o" if len(xs) == 1 else "", "markersize": 4}
        axes.plot(xs, values, color=MUTED, linewidth=1.4, **style)
    return [End(xs[-1], values[-1], name, MUTED) for name, values in losses]


def _epoch_axis(axes: Axes, xs: Sequence[int], ticks: int) -> None:
    span = (xs[0], xs[-1]) if len(xs) > 1 else (xs[0] - 0.5, xs[0] + 0.5)
    axes.margins(y=0.06)
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    axes.set_xlim(span[0] - 0.02 * (span[1] - span[0]), span[1] + 0.02 * (span[1] - span[0]))
    several = MaxNLocator(ticks, integer=True, steps=[1, 2, 5, 10])
    axes.xaxis.set_major_locator(several if len(xs) > 1 else FixedLocator(xs))
    axes.autoscale_view()  # why: matplotlib would only settle the limits when it draws


def _sides(sheet: Sheet, y: float, edges: Sequence[float], sides: Sequence[int]) -> None:
    """The side of the images above each stretch of epochs that has one."""
    taken = -math.inf
    for n, (x, side) in enumerate(zip(edges, sides, strict=True)):
        says = f"{side} px" if n else f"images of {side} px"
        if x >= taken:  # why: where stages are short, a number less is better than two on each other
            sheet.write(x + (3 if n else 0), y, says, 8.5, color=MUTED)
            taken = x + sheet.measure(says, 8.5)[0] + 8


def course(points: Sequence[Mapping[str, float]]) -> str:
    """What `schedule` shows, in one sentence computed from its points."""

    def short(value: float) -> str:
        text = significant(value)
        return text.rstrip("0").rstrip(".") if "." in text else text

    rates = [float(point["lr"]) for point in points]
    peak, lowest = max(rates), float(points[-1]["lr_low"])
    top = rates.index(peak)
    said, end = f"is {short(peak)}", short(lowest) if lowest > peak / 1e5 else "0"
    if top:
        epochs = short(float(points[top]["epoch"]))
        said = f"rises from {short(rates[0])} to {short(peak)} in {'an epoch' if epochs == '1' else f'{epochs} epochs'}"
    drops = sum(after < before for before, after in pairwise(rates[top:]))
    if lowest < rates[-1]:
        said += f" until the error stops improving, and {end} at the lowest"
    elif drops:
        said = f"{said}, then falls to {end}" if top else f"falls from {short(peak)} to {end}"
        said += f" in {drops} stages" if 1 < drops < 10 else ""
    elif not top:
        said += " throughout"
    first, last = (100 * float(points[at]["side"]) for at in (0, -1))
    sides = f"; images grow from {first:.0f} to {last:.0f} % of their side" if first != last else ""
    return f"The learning rate {said}{sides}"


def schedule(points: Sequence[Mapping[str, float]], *, narrow: bool = False, title: str | None = None) -> Figure:
    """The learning rate of every step, and below it the side of the images where that changes.

    Where the rate may be lower than `lr`, since the validation error decides, all down to `lr_low` is shaded.
    """
    steps, rates, lows, sides = ([float(point[key]) for point in points] for key in ("step", "lr", "lr_low", "side"))
    width = 302.0 if narrow else 691.0
    below = 92.0 if len(set(sides)) > 1 else 0.0
    edge = 8.0
    sheet = Sheet(width, (250.0 if narrow else 290.0) + below)
    top = sheet.heading(course(points) if title is None else title, narrow, 6)
    left = edge + (44 if narrow else 48)
    right = width - edge - 20  # why: half of the last number below the axis is at the right of it
    sheet.write(edge, top - 12, "Learning rate", 9, color=MUTED)
    open_ended = any(low < rate for low, rate in zip(lows, rates, strict=True))
    if open_ended:
        says = "shaded: where it may be" if narrow else "shaded: where it may be, as the validation error decides"
        sheet.write(right, top - 12, says, 9, color=MUTED, ha="right")
    axes = sheet.axes(left, 36 + below, right, top - 22)
    axes.plot(steps, rates, color=COLOURS["ResNet"], linewidth=1.8, solid_joinstyle="miter", gid="learning-rate")
    if open_ended:
        axes.fill_between(steps, lows, rates, color=COLOURS["ResNet"], alpha=0.16, linewidth=0)
    _rate_axis(axes, rates, sorted(lows)[len(lows) // 10])
    panels = [axes]
    if below:
        sheet.write(edge, 36 + below - 36, "Side of the images [% of the full one]", 9, color=MUTED)
        panels.append(sheet.axes(left, 36, right, 36 + below - 44))
        panels[1].plot(steps, [100 * side for side in sides], color=COLOURS["VGG"], linewidth=1.8, gid="side")
        panels[1].set_ylim(0, 115)
        panels[1].yaxis.set_major_locator(FixedLocator([0, 50, 100]))
    for panel in panels:
        panel.set_xlim(0, max(steps[-1], 1))
        panel.xaxis.set_major_locator(MaxNLocator(4 if narrow else 8, integer=True, steps=[1, 2, 2.5, 5, 10]))
        panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    each = steps[-1] / max(float(points[-1]["epoch"]), 1e-9)
    sheet.write(right, 8, f"step ({each:,.0f} an epoch)", 9, color=MUTED, ha="right")
    return sheet.figure
