"""The figure of the literature's history: the winners of ILSVRC."""

import math
from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from topfive.networks.papers import Winner
from topfive.report.figures.canvas import COLOURS, INK, MUTED, Sheet
from topfive.report.figures.series import (
    decline,
)

EDGE = 8.0  # points


def history(
    winners: Sequence[Winner], human: float | None = None, *, narrow: bool = False, title: str | None = None
) -> Figure:
    """The Top-5 test error of the winners of the ImageNet challenge: shallow and deep told apart, depth on the bars."""
    winners = sorted(winners, key=lambda row: row.year)
    sheet = Sheet(302.0, 92.0 + 30 * len(winners)) if narrow else Sheet(691.0, 330.0)
    top = sheet.heading(decline(winners) if title is None else title, narrow)
    keys = (("shallow: hand-made features", COLOURS["plain"]), ("deep: convolutional", COLOURS["ResNet"]))
    top = sheet.keys(keys, EDGE, top) - 14
    (_lying if narrow else _standing)(sheet, winners, human, top)
    return sheet.figure


def _depth(row: Winner) -> str:
    return f"{row.depth} layers" if row.depth else ""


def _colours(winners: Sequence[Winner]) -> list[str]:
    return [COLOURS["plain"] if row.shallow else COLOURS["ResNet"] for row in winners]


def _lying(sheet: Sheet, winners: Sequence[Winner], human: float | None, top: float) -> None:
    """The winners below each other, for a narrow sheet."""
    right = sheet.width - EDGE
    sheet.write(EDGE, top + 1, "Top-5 error on the test set [%]", 8.5, color=MUTED)
    axes = sheet.axes(EDGE + 30, 8, right, top - 6)
    axes.set_ylim(len(winners) - 0.4, -0.6)
    axes.set_xlim(0, max((row.top5_test for row in winners), default=1))
    values = [row.top5_test for row in winners]
    axes.barh(range(len(winners)), values, height=0.42, color=_colours(winners), align="edge")
    axes.set_yticks([i + 0.05 for i in range(len(winners))], [str(row.year) for row in winners])
    axes.xaxis.set_major_locator(NullLocator())
    axes.spines["bottom"].set_visible(False)
    axes.grid(False)
    for i, row in enumerate(winners):
        base = sheet.at(axes, 0, i)[1] + 4
        sheet.write(EDGE + 31, base, ", ".join(filter(None, (row.entry, _depth(row)))), 8.5)
        sheet.write(right, base, f"{row.top5_test:g}", 9, ha="right", weight="bold")
        if human is not None:
            axes.plot([human, human], [i - 0.03, i + 0.45], color=INK, linewidth=1.2)
    if human is not None:
        sheet.write(right, top + 1, f"| one person: {human:g}", 8.5, ha="right")


def _standing(sheet: Sheet, winners: Sequence[Winner], human: float | None, top: float) -> None:
    """The winners beside each other."""
    sheet.write(EDGE, top, "Top-5 error on the test set [%]", 9, color=MUTED)
    axes = sheet.axes(EDGE + 24, 46, sheet.width - EDGE, top - 7)
    axes.set_xlim(-0.55, len(winners) - 0.45)
    axes.set_ylim(0, 1.1 * max((row.top5_test for row in winners), default=1))
    axes.bar(range(len(winners)), [row.top5_test for row in winners], width=0.62, color=_colours(winners))
    axes.xaxis.set_major_locator(NullLocator())
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    for i, row in enumerate(winners):
        (at_x, at_y), base = sheet.at(axes, i, row.top5_test), sheet.at(axes, i, 0)[1]
        line = sheet.at(axes, i, human)[1] if human is not None else -math.inf
        lifted = line + 4 if at_y < line < at_y + 15 else at_y + 4  # why: the line does not run through the number
        sheet.write(at_x, lifted, f"{row.top5_test:g}", 10, ha="center", weight="bold")
        inside = at_y - base > 24
        lift, colour = (at_y - 14, "#ffffff") if inside else (at_y + 17, MUTED)
        if row.depth:
            sheet.write(at_x, lift, _depth(row), 8.5, ha="center", color=colour)
        sheet.write(at_x, base - 14, str(row.year), 9.5, ha="center", weight="bold")
        room = (sheet.width - 2 * EDGE - 24) / len(winners) - 4
        for n, part in enumerate(sheet.wrap(row.entry, room, 8)[:2]):
            sheet.write(at_x, base - 26 - 11 * n, part, 8, ha="center", color=MUTED)
    if human is not None:
        axes.axhline(human, color=INK, linewidth=1, dashes=(4, 3), zorder=0.8)
        at_x, at_y = sheet.at(axes, len(winners) - 0.45, human)
        sheet.write(at_x, at_y + 4, f"one trained person: {human:g}", 8.5, ha="right")
