"""The curves of several trainings, side by side."""

import math
from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from topfive.report.figures.canvas import DASHES, MUTED, End, Sheet, colour_of, name_ends
from topfive.report.figures.series import (
    gids,
    plain_name,
)
from topfive.results.records import ComparisonRow


def curves(rows: Sequence[ComparisonRow], *, narrow: bool = False, title: str | None = None) -> Figure:
    """Validation accuracy and training loss after every epoch, one line per network, named at its end."""
    trained = [row for row in rows if row.curve]
    width, size = (302.0, 8.5) if narrow else (691.0, 9.0)
    panel_height = max(250.0, 1.25 * size * len(trained))
    sheet = Sheet(width, 2 * panel_height + 90 if narrow else panel_height + 80)
    edge, top = 8.0, sheet.heading(title or "", narrow, 6)
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
