"""A race: accuracy on the selection images against the seconds of a training, rung by rung."""

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from topfive.report.figures.canvas import DASHES, MUTED, End, Sheet, colour_of, name_ends
from topfive.report.figures.series import significant
from topfive.results.choosing import Contender


def race(contenders: Sequence[Contender], *, narrow: bool = False, title: str | None = None) -> Figure:
    """A line for each network that was trained in the race, which ends where it left; intervals as upright lines."""
    raced = [one for one in contenders if one.scores]
    width, size = (302.0, 8.5) if narrow else (691.0, 9.0)
    sheet = Sheet(width, max(250.0, 1.3 * size * len(raced)) + 80)
    edge, top = 8.0, sheet.heading(title or "", narrow, 6)
    beside = max(sheet.measure(one.name, size)[0] for one in raced) + 16
    frame = (edge + 24, 34, width - edge - beside, top - 22)
    sheet.write(edge, frame[3] + 9, "Top-1 on the selection images [%]", 9, color=MUTED)
    sheet.write(frame[2], frame[1] - 28, "seconds of training", 9, color=MUTED, ha="right")
    axes, ends = sheet.axes(*frame), []
    axes.set_xscale("log")
    for i, one in enumerate(raced):
        before = sum(colour_of(other.family) == colour_of(one.family) for other in raced[:i])
        colour, dashes = colour_of(one.family), DASHES[before % len(DASHES)]
        seconds, tops = [score.seconds for score in one.scores], one.accuracies
        spans: Any = [
            [100 * (score.accuracy - score.low) for score in one.scores],
            [100 * (score.high - score.accuracy) for score in one.scores],
        ]
        axes.plot(seconds, tops, color=colour, linestyle=dashes, linewidth=1.6)
        axes.errorbar(seconds, tops, yerr=spans, color=colour, fmt="o", markersize=4, linewidth=0.8)
        ends.append(End(seconds[-1], tops[-1], one.name, colour, f"race-{i}"))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: significant(value, 2)))
    axes.set_xticks(sorted({score.seconds for one in raced[:1] for score in one.scores}))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.margins(x=0.04, y=0.06)
    axes.autoscale_view()  # why: matplotlib would only settle the limits when it draws
    name_ends(sheet, axes, frame, ends, size)
    return sheet.figure
