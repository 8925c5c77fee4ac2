"""What an evaluation shows: who is taken for whom, how sure the answers are, what more views of an image buy.

Laid out as in `figures`, whose sheet and labels these use.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from topfive.data.check.phrases import shown
from topfive.report.figures.canvas import COLOURS, INK, MUTED, Sheet
from topfive.results.predictions import Bin
from topfive.results.statistics import interval as wilson

WIDE, NARROW, EDGE = 691.0, 302.0, 8.0  # points
RIGHT, WRONG = COLOURS["ResNet"], COLOURS["VGG"]
SHADES = (0.0, 0.02, 0.05, 0.1, 0.2, 0.5)  # shares of a row above which each shade begins
STRENGTHS = (0.14, 0.26, 0.4, 0.56, 0.76, 1.0)
LARGEST, SMALLEST = 58.0, 1.3  # points: a cell where there are few classes, a mark where there are many


def confounded(matrix: NDArray[np.int64], classes: Sequence[str]) -> str:
    """What `confusion` shows, in one sentence computed from its counts."""
    wrong = matrix.copy()
    np.fill_diagonal(wrong, 0)
    if not wrong.any():
        return "No image is misclassified"
    label, answer = map(int, np.unravel_index(int(wrong.argmax()), wrong.shape))
    times, of = int(wrong[label, answer]), int(matrix[label].sum())
    if answer >= len(classes):
        return f"{short(classes[label])} is most often predicted as a class without images here: {times:,} of {of:,}"
    return (
        f"{short(classes[label])} is most often predicted as {short(classes[answer])}: {times:,} of {of:,} images"
        f" ({100 * times / of:.1f} %)"
    )


def confusion(
    matrix: NDArray[np.int64], classes: Sequence[str], *, narrow: bool = False, title: str | None = None
) -> Figure:
    """How many images of each class, a row, are predicted as each, a column; the stronger the larger their share.

    Shapes: `matrix` (k, k), or (k, k + 1) as `predictions.confusion` counts, for the names of k classes. Names and
    numbers stand where they fit.
    """
    k = len(classes)
    columns = k + int(matrix[:, k:].any())
    names = [short(name, 18 if narrow else 26) for name in classes] + ["another class"]
    width = NARROW if narrow else WIDE
    title = confounded(matrix, classes) if title is None else title
    probe = Sheet(width, 100)
    size = 7.5 if narrow else 8.5
    longest = sorted(names[:columns], key=len)[-20:]  # why: measuring a thousand names takes seconds
    widest = max(probe.measure(name, size)[0] for name in longest)
    beside = min(widest + 6, 92.0 if narrow else 150.0)
    cell = min((width - 2 * EDGE - beside - 8) / columns, LARGEST)
    every = math.ceil((size + 2) / cell)  # of how many names one is written
    flat = widest <= cell - 4
    above = size + 6 if flat else beside
    heading = 11.0 if narrow else 13.0
    lines = len(probe.wrap(title, width - 2 * EDGE, heading, weight="bold")) if title else 0
    sheet = Sheet(width, 1.38 * heading * lines + 6 * bool(lines) + 46 + above + k * cell + 10)
    top = sheet.heading(title, narrow, 6)
    _shades(sheet, top - 12, narrow)
    sheet.write(EDGE, top - 30, "Rows: the class; columns: the prediction", 8.5 if narrow else 9, color=MUTED)
    left, high = EDGE + beside, top - 38 - above

    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    mark = max(cell - (0.8 if cell > 4 else 0), SMALLEST)
    for right, colour in ((True, RIGHT), (False, WRONG)):
        for n, strength in enumerate(STRENGTHS):
            above_this = (shares > SHADES[n]) & (shares <= (SHADES[n + 1] if n + 1 < len(SHADES) else 1))
            at = [(i, j) for i, j in np.argwhere(above_this[:, :columns]).tolist() if (i == j) == right]
            if at:
                _cells(sheet, at, left, high, cell, mark, color=colour, alpha=strength)
    frame = [(left, high - k * cell), (left + columns * cell, high)]
    edges = [(frame[0][0], frame[0][1], frame[1][0], frame[0][1]), (frame[0][0], frame[1][1], frame[1][0], frame[1][1])]
    edges += [(x, frame[0][1], x, frame[1][1]) for x in (frame[0][0], frame[1][0])]
    edges += [(left + k * cell, frame[0][1], left + k * cell, frame[1][1])] * (columns > k)
    for x0, y0, x1, y1 in edges:
        sheet.figure.add_artist(Line2D([x0, x1], [y0, y1], color=MUTED, linewidth=0.6, transform=sheet.points))

    for i in range(0, k, every):
        middle = high - (i + 0.5) * cell
        sheet.write(left - 4, middle, names[i], size, ha="right", va="center_baseline")
    for j in [*range(0, k, every), *range(k, columns)]:
        middle = left + (j + 0.5) * cell
        turned = {"ha": "center"} if flat else {"rotation": 90, "ha": "center", "va": "bottom"}
        if j < k or every == 1 or (k - 1) % every:  # why: the last column's name would cover the one before it
            sheet.write(middle, high + 4, names[j], size, **turned)
    if cell >= size + 3 and probe.measure(f"{int(matrix.max()):,}", size)[0] <= cell - 3:
        for i, j in np.argwhere(matrix[:, :columns] > 0).tolist():
            strong = shares[i, j] > SHADES[4]
            place = left + (j + 0.5) * cell, high - (i + 0.5) * cell
            ink = "#ffffff" if strong else INK
            sheet.write(*place, f"{int(matrix[i, j]):,}", size, color=ink, ha="center", va="center_baseline")
    return sheet.figure


def _cells(
    sheet: Sheet, at: Sequence[tuple[int, int]], left: float, high: float, cell: float, side: float, **style: Any
) -> None:
    """The cells (row, column) as squares of `side` points; of one shade they are one path, which keeps a page small."""
    corners, codes = [], []
    for i, j in at:
        x, y = left + (j + 0.5) * cell - side / 2, high - (i + 0.5) * cell - side / 2
        corners += [(x, y), (x + side, y), (x + side, y + side), (x, y + side), (x, y)]
        codes += [Path.MOVETO, Path.LINETO, Path.LINETO, Path.LINETO, Path.CLOSEPOLY]
    patch = PathPatch(Path(np.array(corners), codes), linewidth=0, transform=sheet.points, **style)
    sheet.figure.add_artist(patch)


def _shades(sheet: Sheet, y: float, narrow: bool) -> None:
    """What the shades mean."""
    x = EDGE
    size = 7.5 if narrow else 8.5
    ends = [f"{100 * share:g}" for share in (*SHADES[1:], 1)]
    for what, colour in (("right", RIGHT), ("wrong", WRONG)):
        sheet.write(x, y, what, size, color=MUTED)
        x += sheet.measure(what, size)[0] + 4
        for strength in STRENGTHS:
            _cells(sheet, [(0, 0)], x, y + 8, 9, 8.5, color=colour, alpha=strength)
            x += 9
        x += 8 if narrow else 14
    says = f"up to {', '.join(ends[:-1])}, {ends[-1]} % of the row"
    if sheet.measure(says, size)[0] > sheet.width - EDGE - x:
        says = f"≤ {', '.join(ends)} %"
    sheet.write(x, y, says, size, color=MUTED)


def sureness(bins: Sequence[Bin], error: float) -> str:
    """What `reliability` shows, in one sentence computed from its bins."""
    images = sum(one.images for one in bins)
    sure = 100 * sum(one.images * one.confidence for one in bins) / max(images, 1)
    right = 100 * sum(one.correct1 for one in bins) / max(images, 1)
    how = "Overconfident" if sure > right + 1 else "Underconfident" if sure < right - 1 else "Well calibrated"
    return f"{how}: mean confidence {sure:.1f} %, accuracy {right:.1f} %, calibration error (ECE) {100 * error:.1f} %"


def reliability(bins: Sequence[Bin], error: float, *, narrow: bool = False, title: str | None = None) -> Figure:
    """How often answers are right, against how sure they are; below it how many images there are in each bin.

    `error` is the expected calibration error, a fraction.
    """
    width = NARROW if narrow else 440.0
    heading = 11.0 if narrow else 13.0
    title = sureness(bins, error) if title is None else title
    lines = len(Sheet(width, 100).wrap(title, width - 2 * EDGE, heading, weight="bold")) if title else 0
    left, right = EDGE + 36, width - EDGE - 10
    side = right - left
    below = 72.0
    sheet = Sheet(width, 1.38 * heading * lines + 6 * bool(lines) + 26 + side + 40 + below + 40)
    top = sheet.heading(title, narrow, 6)
    sheet.write(EDGE, top - 12, "Accuracy [%], with 95 % intervals", 9, color=MUTED)
    shares = sheet.axes(left, top - 22 - side, right, top - 22)
    counts = sheet.axes(left, 40, right, 40 + below)
    sheet.write(EDGE, 40 + below + 8, "Images", 9, color=MUTED)
    sheet.write(right + 10, 8, "confidence [%]", 9, color=MUTED, ha="right")

    used = [one for one in bins if one.images]
    shares.plot([0, 100], [0, 100], color=MUTED, linewidth=1, dashes=(4, 3))
    at = [(100 * one.confidence, 100 * one.correct1 / one.images) for one in used]
    gaps = LineCollection([[(x, x), (x, y)] for x, y in at], colors=WRONG, alpha=0.35, linewidths=5, capstyle="butt")
    shares.add_collection(gaps, autolim=False)
    for (x, y), one in zip(at, used, strict=True):
        low, high = (100 * end for end in wilson(one.correct1, one.images))
        shares.plot([x, x], [low, high], color=RIGHT, linewidth=1.2, solid_capstyle="butt")
        shares.plot([x], [y], color=RIGHT, marker="o", markersize=4.5, clip_on=False)
    sheet.write(*sheet.at(shares, 3, 95), "dashed: as sure as right", 8, color=MUTED)
    sheet.write(*sheet.at(shares, 3, 90), "shaded: by how much not", 8, color=MUTED)

    edges = [100 * one.low for one in bins]
    wide = [100 * (one.high - one.low) for one in bins]
    counts.bar(edges, [one.images for one in bins], wide, align="edge", color=RIGHT, edgecolor="white", linewidth=0.5)
    most = max((one.images for one in bins), default=1) or 1
    counts.set_ylim(0, 1.05 * most)
    counts.yaxis.set_major_locator(MaxNLocator(3, integer=True, steps=[1, 2, 5, 10]))
    counts.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    shares.set_ylim(0, 100)
    for axes in (shares, counts):
        axes.set_xlim(0, 100)
        axes.xaxis.set_major_locator(FixedLocator([0, 20, 40, 60, 80, 100]))
    shares.yaxis.set_major_locator(FixedLocator([0, 20, 40, 60, 80, 100]))
    return sheet.figure


def short(name: str, longest: int = 30) -> str:
    name = " ".join(shown(name).split())
    return name if len(name) <= longest else name[: longest - 1] + "…"
