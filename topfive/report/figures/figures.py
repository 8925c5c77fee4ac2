"""Rows to figures: accuracy against operations and memory, the ImageNet winners, training curves.

Every figure is laid out in points from measured text, so that no label covers another. No pyplot and no global state:
a figure is a value that `save` writes and `svg` turns into a piece of a page.
"""

import io
import math
import re
import threading
import warnings
from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import matplotlib.font_manager as fonts
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle
from matplotlib.text import Text
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator
from matplotlib.transforms import Affine2D
from numpy.typing import NDArray

Row = Mapping[str, Any]
Floats = NDArray[np.float64]

INK, MUTED, FAINT = "#1b1b1d", "#6a6a70", "#dadade"
# Okabe and Ito's colours, told apart by the colour-blind; a user's own network is drawn in the colour of the text
COLOURS = {
    "AlexNet": "#e69f00",
    "VGG": "#d55e00",
    "Inception": "#009e73",
    "plain": "#999999",
    "ResNet": "#0072b2",
    "DenseNet": "#cc79a7",
    "compact": "#56b4e9",
    "shallow": MUTED,
    "yours": INK,
}
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.6)), (0, (1.2, 1.4)), (0, (6, 1.6, 1.2, 1.6)), (0, (9, 3)))
DPI = 200
_FONT = "DejaVu Sans"  # why: shipped with matplotlib, so that every machine measures and draws the same letters
# families of other letters that systems have, by how their names begin; those of Chinese, Japanese and Korean first
_OTHERS = (
    "Noto Sans CJK", "Source Han Sans", "Noto Sans KR", "Noto Sans JP", "Noto Sans SC", "Noto Sans TC",
    "Apple SD Gothic", "Hiragino Sans", "PingFang", "Malgun Gothic", "Yu Gothic", "Microsoft YaHei", "NanumGothic",
    "IPAexGothic", "IPAGothic", "TakaoGothic", "WenQuanYi", "SimHei", "MS Gothic", "Droid Sans Fallback",
    "Noto Serif CJK", "Arial Unicode", "Unifont", "Noto Sans",
)  # fmt: skip
_SETTINGS = threading.Lock()
# why: of a letter that no font here has, a box is drawn; a page's reader may have one. Here once, because changing the
# filters at every figure is not safe among threads
warnings.filterwarnings("ignore", message=r"Glyph \d+ ")


# What the rows say


def top1(row: Row) -> float | None:
    """Top-1 accuracy in percent, from a measured row's fraction or from a published row's error."""
    if row.get("top1_accuracy") is not None:
        return 100 * float(row["top1_accuracy"])
    if row.get("top1_error") is not None:
        return 100 - float(row["top1_error"])
    return None


def interval(row: Row) -> tuple[float, float] | None:
    """The 95 % interval of `top1` in percent, where the row has one."""
    if row.get("top1_low") is None or row.get("top1_high") is None:
        return None
    return 100 * float(row["top1_low"]), 100 * float(row["top1_high"])


def pareto(points: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of the (cost, value) points that no other point beats, cheapest first."""
    front: list[int] = []
    best = -math.inf
    for index in sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1])):
        cost, value = points[index]
        if value > best or (front and (cost, value) == points[front[-1]]):
            front.append(index)
            best = value
    return front


def alike(rows: Sequence[Row]) -> list[Row]:
    """The rows of the protocol that most of them have: ten crops are no rival of one."""
    counts = Counter(map(protocol, rows))
    return [row for row in rows if protocol(row) == counts.most_common(1)[0][0]]


def protocol(row: Row) -> str:
    """`1-crop` of `1-crop, val (48,238 non-blacklisted)`."""
    return str(row.get("protocol") or "").split(",")[0]


def ops(row: Row) -> float | None:
    """The operations of a row's one image; None for a shallow baseline, which is not a network of so many."""
    return None if row.get("kind") == "shallow" or not row.get("ops") else float(row["ops"])


def drawn(rows: Iterable[Row]) -> list[Row]:
    """The rows that have a place in `bubbles`: an accuracy, and operations unless they are a baseline without any."""
    placed = (row for row in rows if top1(row) is not None and row.get("drawn", True))
    return [row for row in placed if ops(row) or row.get("kind") == "shallow"]


def gids(rows: Sequence[Row]) -> list[str]:
    """One id per row, made of its name: what its point is called in the SVG."""
    found: list[str] = []
    for row in rows:
        name = re.sub(r"[^A-Za-z0-9._-]", lambda match: f":{ord(match[0]):x}:", str(row["name"]))
        found.append(f"point-{name}" if f"point-{name}" not in found else f"point-{name}:{len(found)}:")
    return found


def significant(value: float, digits: int = 2) -> str:
    """A number for people: `digits` significant digits, never an exponent."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    places = digits - 1 - math.floor(math.log10(abs(value)))
    text = f"{round(value, places):,.{max(places, 0)}f}"
    return text if places > 0 or "." not in text else text.split(".")[0]


def ops_unit(rows: Iterable[Row]) -> tuple[float, str]:
    """The unit in which the rows' operations read best: its size and its name."""
    largest = max((ops(row) or 0.0 for row in rows), default=0.0)
    return (1e6, "M-ops") if 0 < largest < 1e9 else (1e9, "G-ops")


def finding(rows: Sequence[Row]) -> str:
    """What the accuracy-operations figure shows, in one sentence computed from its rows."""
    every = drawn(rows)
    seen = alike(every)
    if not seen:
        return "No network has both an accuracy and a count of operations"
    costed = [row for row in seen if ops(row)]
    best = max(seen, key=lambda row: (top1(row) or 0, -(ops(row) or 0)))
    reached = top1(best) or 0
    if not ops(best):
        return f"No network beats {best['name']}, a baseline without convolutions ({reached:.1f} %)"
    if len(costed) == 1:
        return f"{best['name']}: {reached:.1f} % Top-1"
    band = interval(best)
    if band is None:
        front = [costed[i] for i in pareto([(row["ops"], top1(row) or 0) for row in costed])]
        first, gained = front[0], reached - (top1(front[0]) or 0)
        tested = f" ({protocol(best)})" if len(seen) < len(every) else ""
        if first is best:
            return f"{best['name']} is the most accurate and takes the fewest operations{tested}"
        times = significant(best["ops"] / first["ops"])
        more = f"{gained:.1f} points more for {times} times the operations"
        return f"From {first['name']} to {best['name']}: {more}{tested}"
    cheapest = min((row for row in costed if (top1(row) or 0) >= band[0]), key=lambda row: float(row["ops"]))
    lead = f"{best['name']} is the most accurate ({reached:.1f} %)"
    if cheapest is best:
        return f"{lead}; no network of fewer operations comes within its interval"
    times = significant(best["ops"] / cheapest["ops"])
    return f"{lead}; {cheapest['name']} comes within its interval with {times} times fewer operations"


def decline(winners: Sequence[Row]) -> str:
    """What `history` shows, in one sentence computed from its rows."""
    winners = sorted(winners, key=lambda row: int(row["year"]))
    if not winners:
        return ""
    first, last = winners[0], winners[-1]
    years = int(last["year"]) - int(first["year"])
    said = f"From {first['top5_test']:g} % to {last['top5_test']:g} % in {years} years"
    since = next((i for i in range(len(winners)) if not any(row["shallow"] for row in winners[i:])), len(winners))
    return (
        said if since >= len(winners) - 1 else f"{said}: every winner since {winners[since]['year']} is a deep network"
    )


# Letters


def families(text: str) -> list[str]:
    """The fonts that `text` is drawn with: the one of all machines, and for what it lacks those of this one."""
    return [_FONT] if text.isascii() or _letters().issuperset(map(ord, text)) else [_FONT, *_others()]


@cache
def _letters() -> frozenset[int]:
    return frozenset(fonts.get_font(fonts.findfont(_FONT)).get_charmap())


@cache
def _others() -> list[str]:
    names = sorted({entry.name for entry in fonts.fontManager.ttflist})
    return list(dict.fromkeys(name for start in _OTHERS for name in names if name.startswith(start)))[:20]


# Laying out: everything in points (1/72 inch) from the lower left corner


class Sheet:
    """A figure that is written on in points, and that measures what is written."""

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = width, height
        self.figure = Figure(figsize=(width / 72, height / 72), dpi=DPI, facecolor="white")
        self._renderer = FigureCanvasAgg(self.figure).get_renderer()  # type: ignore[no-untyped-call]
        self.points = Affine2D().scale(1 / 72) + self.figure.dpi_scale_trans

    def write(self, x: float, y: float, text: str, size: float = 9, **style: Any) -> Text:
        style = {"ha": "left", "va": "baseline", "color": INK, "family": families(text), **style}
        return self.figure.text(x, y, text, fontsize=size, transform=self.points, parse_math=False, **style)

    def measure(self, text: str, size: float, **style: Any) -> tuple[float, float]:
        probe = self.write(0, 0, text, size, **style)
        box = probe.get_window_extent(self._renderer)
        probe.remove()
        return box.width * 72 / DPI, box.height * 72 / DPI

    def wrap(self, text: str, width: float, size: float, **style: Any) -> list[str]:
        lines: list[str] = []
        for word in text.split():
            longer = f"{lines[-1]} {word}" if lines else word
            if lines and self.measure(longer, size, **style)[0] <= width:
                lines[-1] = longer
            else:
                lines.append(word)
        return lines

    def paragraph(self, x: float, top: float, text: str, width: float, size: float, **style: Any) -> float:
        """Write wrapped text below `top`; the lower end of it."""
        for line in self.wrap(text, width, size, **style):
            top -= 1.38 * size
            self.write(x, top + 0.28 * size, line, size, **style)
        return top

    def axes(self, left: float, bottom: float, right: float, top: float) -> Axes:
        w, h = self.width, self.height
        axes = self.figure.add_axes((left / w, bottom / h, (right - left) / w, (top - bottom) / h))
        axes.set_axisbelow(True)
        axes.tick_params(colors=MUTED, labelcolor=MUTED, labelsize=8.5, labelfontfamily=_FONT, length=0, pad=5)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.spines["bottom"].set_color(MUTED)
        axes.spines["bottom"].set_linewidth(0.8)
        axes.grid(True, axis="y", color=FAINT, linewidth=0.7)
        return axes

    def at(self, axes: Axes, x: float, y: float) -> tuple[float, float]:
        """Where a point of the data lies on the sheet."""
        place = axes.transData.transform((x, y)) * 72 / DPI
        return float(place[0]), float(place[1])


def _plain_name(row: Row, longest: int = 30) -> str:
    name = " ".join(str(row["name"]).split())
    return name if len(name) <= longest else name[: longest - 1] + "…"


def _colour(row: Row) -> str:
    return COLOURS.get(str(row.get("family")), MUTED)


# Placing labels


class _Choices(NamedTuple):
    """The places a label could take: boxes (x0, y0, x1, y1), leader lines, costs, how the text is aligned."""

    boxes: Floats
    leaders: Floats
    costs: Floats
    aligned: list[str]


_CLASH = 1e4


def around(x: float, y: float, radius: float, width: float, height: float) -> _Choices:
    """Places around a bubble at growing distance; right of it is liked best, far away gets a leader line."""
    boxes, leaders, costs, aligned = [], [], [], []
    for distance in (1.5, 4, 7, 11, 16, 22, 30, 40, 52, 66, 82, 100, 122, 148):
        for angle in np.linspace(0, 2 * math.pi, 24 if distance < 20 else 36, endpoint=False):
            right, up = math.cos(angle), math.sin(angle)
            centre_x = x + (radius + distance) * right + width / 2 * min(max(1.6 * right, -1), 1)
            centre_y = y + (radius + distance) * up + height / 2 * min(max(1.6 * up, -1), 1)
            box = (centre_x - width / 2, centre_y - height / 2, centre_x + width / 2, centre_y + height / 2)
            near_x, near_y = min(max(x, box[0]), box[2]), min(max(y, box[1]), box[3])
            gap = math.hypot(near_x - x, near_y - y) - radius
            far = gap > 5
            edge = radius / max(gap + radius, 1e-9)
            boxes.append(box)
            end = (x + (near_x - x) * edge, y + (near_y - y) * edge) if far else (near_x, near_y)
            leaders.append((near_x, near_y, *end))
            costs.append(0.7 * gap + 1.2 * (1 - right) + 1.5 * abs(up) + (6 if far else 0))
            aligned.append("left" if right > 0.5 else "right" if right < -0.5 else "center")
    return _Choices(np.array(boxes), np.array(leaders), np.array(costs), aligned)


def _along(left: float, right: float, y: float, width: float, height: float) -> _Choices:
    """Places just above and below a horizontal line; its right end is liked best."""
    starts = np.linspace(left, max(right - width, left), 40)
    boxes = [(x, base, x + width, base + height) for x in starts for base in (y + 1.5, y - height - 1.5)]
    costs = [0.05 * (right - box[2]) + (0 if box[1] > y else 3) for box in boxes]
    return _Choices(np.array(boxes), np.zeros((len(boxes), 4)), np.array(costs), ["left"] * len(boxes))


def _overlaps(boxes: Floats, others: Floats, gap: float) -> NDArray[np.bool_]:
    a, b = boxes[:, None, :], others[None, :, :]
    apart = (a[..., 0] - gap >= b[..., 2]) | (b[..., 0] - gap >= a[..., 2])
    return np.asarray(~(apart | (a[..., 1] >= b[..., 3]) | (b[..., 1] >= a[..., 3])))


def _holds(boxes: Floats, points: Floats) -> NDArray[np.bool_]:
    x, y = points[None, :, 0], points[None, :, 1]
    a = boxes[:, None, :]
    return np.asarray((a[..., 0] < x) & (x < a[..., 2]) & (a[..., 1] < y) & (y < a[..., 3]))


def sampled(segments: Floats, number: int) -> Floats:
    """`number` points on each segment (x0, y0, x1, y1)."""
    share = np.linspace(0, 1, number)[None, :, None]
    return np.asarray(segments[:, None, :2] * (1 - share) + segments[:, None, 2:] * share)


def _cross(a: Floats, b: Floats) -> NDArray[np.bool_]:
    """Which of the segments `a` cross which of `b`."""

    def side(p: Floats, q: Floats, r: Floats) -> Floats:
        cross = (q[..., 0] - p[..., 0]) * (r[..., 1] - p[..., 1]) - (q[..., 1] - p[..., 1]) * (r[..., 0] - p[..., 0])
        return np.asarray(np.sign(cross))

    p, q, r, s = a[:, None, :2], a[:, None, 2:], b[None, :, :2], b[None, :, 2:]
    return np.asarray((side(p, q, r) * side(p, q, s) < 0) & (side(r, s, p) * side(r, s, q) < 0))


def place_labels(
    choices: list[_Choices], circles: Floats, strokes: Floats, frame: tuple[float, ...]
) -> list[int | None]:
    """The place that each label takes, or None where every place inside the frame would cover another label.

    The first labels are those of the circles, in the same order; `strokes` are points on lines better left uncovered.

    Each label in turn takes the place that costs least beside the others, until none wants to move; of seven orders in
    which they take turns the best counts.
    """
    kept: list[_Choices] = []
    originals: list[NDArray[np.intp]] = []
    for number, choice in enumerate(choices):
        box, leader = choice.boxes, choice.leaders
        inside = (box[:, 0] >= frame[0]) & (box[:, 1] >= frame[1]) & (box[:, 2] <= frame[2]) & (box[:, 3] <= frame[3])
        which = np.flatnonzero(inside)
        box, leader = box[which], leader[which]
        costs = choice.costs[which].copy()
        if len(which):
            x, y, radius = circles.T
            away = np.hypot(
                np.maximum(np.maximum(box[:, :1] - x, x - box[:, 2:3]), 0),
                np.maximum(np.maximum(box[:, 1:2] - y, y - box[:, 3:]), 0),
            )
            costs += (np.clip(radius - away + 0.5, 0, 12) * 10 + (radius > away) * 25).sum(axis=1)
            if number < len(circles):  # a label nearer to another bubble than to its own would name the wrong one
                gaps = away - radius
                costs += 11 * ((gaps < gaps[:, [number]] + 3).sum(axis=1) - 1)
            costs += 5 * _holds(box, strokes).sum(axis=1)
            on_way = sampled(leader, 12)[:, 1:-1]
            reach = np.hypot(on_way[:, :, None, 0] - x, on_way[:, :, None, 1] - y)
            costs += 14 * (reach < radius - 0.5).any(axis=1).sum(axis=1)
        few = np.sort(np.argsort(costs, kind="stable")[:150])  # why: the dearer ones are never taken, and cost time
        kept.append(_Choices(box[few], leader[few], costs[few], choice.aligned))
        originals.append(which[few])

    middles = np.array([choice.boxes.mean(axis=0)[:2] if len(choice.boxes) else (0, 0) for choice in kept])
    crowd = [int((np.abs(middles - middle) < (90, 30)).all(axis=1).sum()) for middle in middles]
    order = [i for i in sorted(range(len(kept)), key=lambda i: -crowd[i]) if len(kept[i].boxes)]
    taken: dict[int, int] = {}

    def total(i: int) -> Floats:
        others = [j for j in taken if j != i]
        costs = kept[i].costs
        if not others:
            return costs
        boxes = np.array([kept[j].boxes[taken[j]] for j in others])
        leaders = np.array([kept[j].leaders[taken[j]] for j in others])
        costs = costs + _CLASH * _overlaps(kept[i].boxes, boxes, 3).sum(axis=1)
        costs += 60 * _cross(kept[i].leaders, leaders).sum(axis=1)
        costs += 25 * _holds(kept[i].boxes, sampled(leaders, 10).reshape(-1, 2)).sum(axis=1)
        mine = sampled(kept[i].leaders, 10)
        through = _holds(boxes, mine.reshape(-1, 2)).sum(axis=0).reshape(mine.shape[:2])
        return np.asarray(costs + 25 * through.sum(axis=1))

    best: tuple[float, dict[int, int]] = (math.inf, {})
    turns = [order, order[::-1], *(sorted(order, key=lambda i: middles[i][axis]) for axis in (0, 1))]
    turns += [[int(i) for i in np.random.default_rng(seed).permutation(order)] for seed in range(3)]
    for turn in turns:
        taken.clear()
        for _ in range(10):
            moved = False
            for i in turn:
                cheapest = int(np.argmin(total(i)))
                moved |= taken.get(i) != cheapest
                taken[i] = cheapest
            if not moved:
                break
        spent = sum(float(total(i)[taken[i]]) for i in turn)
        if spent < best[0]:
            best = spent, dict(taken)
    taken.clear()
    taken.update(best[1])
    for i in order:  # a label that still covers another goes, so that those that stay are legible
        if total(i)[taken[i]] >= _CLASH:
            del taken[i]
    return [int(originals[i][taken[i]]) if i in taken else None for i in range(len(choices))]


def _covered(box: Floats, circles: Floats) -> int:
    """How many bubbles a label covers by more than a few points."""
    x, y, radius = circles.T
    away = np.hypot(
        np.maximum(np.maximum(box[0] - x, x - box[2]), 0), np.maximum(np.maximum(box[1] - y, y - box[3]), 0)
    )
    return int((radius - away > 4).sum())


# The figures


def bubbles(rows: Sequence[Row], *, narrow: bool = False, title: str | None = None, caption: str = "") -> Figure:
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


def _memory(row: Row, key: str) -> float:
    return float(row.get(key) or 0)


def _bubbles(
    rows: Sequence[Row], width: float, height: float, label_size: float, narrow: bool, title: str | None, caption: str
) -> tuple[Sheet, int, int]:
    """The figure at one height, how many labels found no place, and how many lie far from their bubble."""
    costed = [row for row in rows if ops(row)]
    baselines = [row for row in rows if not ops(row)]
    names = dict(zip(map(id, rows), gids(rows), strict=True))
    unit, unit_name = ops_unit(costed)
    memory = "memory_inference_bytes" if any(row.get("memory_inference_bytes") for row in rows) else "params"
    largest = max((_memory(row, memory) for row in costed), default=0) or 1
    widest = (15 if narrow else 21) * (1 if len(rows) <= 15 else 0.8)  # radius of the largest bubble
    radii = [max(widest * math.sqrt(_memory(row, memory) / largest), 2.0) for row in costed]

    # from above: title, keys, what the vertical axis shows; from below: caption, what the horizontal axis shows
    sheet = Sheet(width, height)
    edge, top, bottom = 8.0, height - 4, 6.0
    heading = finding(rows) if title is None else title
    if heading:
        top = sheet.paragraph(edge, top, heading, width - 2 * edge, 11 if narrow else 13, weight="bold") - 4
    top = _families(sheet, costed, edge, top)
    top = _sizes(sheet, costed, top, memory, largest, widest, narrow)
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
    values = [(top1(row) or 0, radius + 4) for row, radius in zip(costed, radii, strict=True)]
    values += [(end, 4.0) for row in costed for end in interval(row) or ()]
    values += [(end, 6.0) for row in baselines for end in (top1(row) or 0, *(interval(row) or ()))]
    low, high = limits(values, ceiling - floor, least=2.0)
    axes.set_ylim(low, high + (high - low) * 12 / (ceiling - floor))
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}" if 0 <= value <= 100 else ""))
    places = [float(row["ops"]) / unit for row in costed]
    _across(axes, places, radii, right - left)

    points = [sheet.at(axes, x, top1(row) or 0) for x, row in zip(places, costed, strict=True)]
    rivals = set(map(id, alike(costed)))
    joined = [i for i, row in enumerate(costed) if id(row) in rivals]
    front = [joined[i] for i in pareto([(places[i], top1(costed[i]) or 0) for i in joined])]
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
        row, colour = costed[i], _colour(costed[i])
        band = interval(row)
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
        labels.append(_plain_name(row))
        size = sheet.measure(labels[-1], label_size)
        choices.append(around(*points[i], radii[i], size[0] + 1, size[1]))
    for row in baselines:
        level = top1(row) or 0
        band = interval(row)
        if band:
            axes.axhspan(*band, color=MUTED, alpha=0.09, linewidth=0, zorder=0.6)
        axes.axhline(level, color=MUTED, linewidth=1.2, dashes=(5, 3), zorder=1, gid=names[id(row)])
        y = sheet.at(axes, places[0] if places else 1, level)[1]
        segments.append((frame[0], y, frame[2], y))
        labels.append(f"{_plain_name(row)} (no convolutions)")
        size = sheet.measure(labels[-1], label_size, style="italic")
        choices.append(_along(frame[0], frame[2], y, size[0] + 1, size[1]))
    strokes = sampled(np.array(segments).reshape(-1, 4), 120).reshape(-1, 2) if segments else np.zeros((0, 2))
    strokes = strokes[np.sort(np.unique((strokes // 2.5).astype(int), axis=0, return_index=True)[1])]  # evenly thick
    circles = np.array([(*point, radius + 0.6) for point, radius in zip(points, radii, strict=True)]).reshape(-1, 3)
    taken = place_labels(choices, circles, strokes, frame)
    boxes = [choice.boxes[at] for choice, at in zip(choices, taken, strict=True) if at is not None]
    strained = sum(_covered(box, circles) for box in boxes)
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


def _one_view(row: Row) -> bool:
    return str(row.get("protocol") or "1-crop").startswith("1-crop")


def limits(values: Sequence[tuple[float, float]], span: float, least: float) -> tuple[float, float]:
    """Ends of an axis of `span` points on which every (value, points around it) lies; at least `least` apart."""
    low = min((value for value, _ in values), default=0.0)
    high = max((value for value, _ in values), default=1.0)
    if high - low < least:
        low, high = (low + high - least) / 2, (low + high + least) / 2
    for _ in range(12):
        per_point = (high - low) / span
        low = min([low, *(value - around * per_point for value, around in values)])
        high = max([high, *(value + around * per_point for value, around in values)])
    return low, high


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


def _families(sheet: Sheet, rows: Sequence[Row], left: float, top: float) -> float:
    """The families' names, each with a dot of its colour; the lower end of them."""
    size, x, y = 8.5, left, top - 12
    for family in [family for family in COLOURS if any(row.get("family") == family for row in rows)]:
        needed = sheet.measure(family, size)[0] + 24
        if x + needed - 14 > sheet.width - 8:
            x, y = left, y - 13
        dot = Circle((x + 4, y + 3), 3.6, facecolor=COLOURS[family], edgecolor="none", transform=sheet.points)
        sheet.figure.add_artist(dot)
        sheet.write(x + 11, y, family, size, color=MUTED)
        x += needed
    return y - 4 if rows else top


def _sizes(
    sheet: Sheet, rows: Sequence[Row], top: float, memory: str, largest: float, widest: float, narrow: bool
) -> float:
    """The line above the axes: what goes up at the left, what area means at the right; the lower end of it."""
    size = 8.5
    if not rows or largest <= 1:
        sheet.write(8, top - 14, "Top-1 accuracy [%]", size + 0.5, color=MUTED)
        return top - 21
    measured, unit = ("parameters", "M") if memory == "params" else ("memory", "MB")
    lead = f"area: {measured}" if narrow else f"area of a bubble: {measured}"
    if memory != "params" and not narrow:
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
    winners: Sequence[Row], human: float | None = None, *, narrow: bool = False, title: str | None = None
) -> Figure:
    """The Top-5 test error of the winners of the ImageNet challenge: shallow and deep told apart, depth on the bars."""
    winners = sorted(winners, key=lambda row: int(row["year"]))
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
    values = [float(row["top5_test"]) for row in winners]
    colours = [COLOURS["plain"] if row["shallow"] else COLOURS["ResNet"] for row in winners]
    depths = [f"{row['depth']} layers" if row.get("depth") else "" for row in winners]
    highest = max(values, default=1)
    if narrow:
        sheet.write(edge, y - 17, "Top-5 error on the test set [%]", 8.5, color=MUTED)
        axes = sheet.axes(edge + 30, 8, width - edge, y - 24)
        axes.set_ylim(len(winners) - 0.4, -0.6)
        axes.set_xlim(0, highest)
        axes.barh(range(len(winners)), values, height=0.42, color=colours, align="edge")
        axes.set_yticks([i + 0.05 for i in range(len(winners))], [str(row["year"]) for row in winners])
        axes.xaxis.set_major_locator(NullLocator())
        axes.spines["bottom"].set_visible(False)
        axes.grid(False)
        for i, (row, value, depth) in enumerate(zip(winners, values, depths, strict=True)):
            base = sheet.at(axes, 0, i)[1] + 4
            sheet.write(edge + 31, base, f"{row['entry']}{', ' if depth else ''}{depth}", 8.5)
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
        sheet.write(at_x, base - 14, str(row["year"]), 9.5, ha="center", weight="bold")
        room = (width - 2 * edge - 24) / len(winners) - 4
        for line, part in enumerate(sheet.wrap(str(row["entry"]), room, 8)[:2]):
            sheet.write(at_x, base - 26 - 11 * line, part, 8, ha="center", color=MUTED)
    if human is not None:
        axes.axhline(human, color=INK, linewidth=1, dashes=(4, 3), zorder=0.8)
        at_x, at_y = sheet.at(axes, len(winners) - 0.45, human)
        sheet.write(at_x, at_y + 4, f"one trained person: {human:g}", 8.5, ha="right")
    return sheet.figure


def curves(rows: Sequence[Row], *, narrow: bool = False, title: str | None = None) -> Figure:
    """Validation accuracy and training loss after every epoch, one line per network, named at its end."""
    trained = [row for row in rows if row.get("curve")]
    width, size = (302.0, 8.5) if narrow else (691.0, 9.0)
    panel_height = max(250.0, 1.25 * size * len(trained))
    sheet = Sheet(width, 2 * panel_height + 90 if narrow else panel_height + 80)
    edge, top = 8.0, sheet.height - 4
    if title:
        top = sheet.paragraph(edge, top, title, width - 2 * edge, 11 if narrow else 13, weight="bold") - 6
    names = [_plain_name(row, 20) for row in trained]
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
        before = sum(_colour(other) == _colour(row) for other in trained[:i])
        styles[i] = (_colour(row), DASHES[before % len(DASHES)])
    panels = (("Validation accuracy (Top-1) [%]", "accuracy", 100.0), ("Training loss", "loss", 1.0))
    for frame, (what, key, factor) in zip(frames, panels, strict=True):
        sheet.write(frame[0] - 24, frame[3] + 9, what, 9, color=MUTED)
        sheet.write(frame[2], frame[1] - 28, "epoch", 9, color=MUTED, ha="right")
        axes = sheet.axes(*frame)
        ends: list[_End] = []
        for i, row in enumerate(trained):
            steps = [(step["epoch"], factor * step[key]) for step in row["curve"] if _finite(step.get(key))]
            if not steps:
                continue
            colour, dashes = styles[i]
            xs, ys = [step[0] for step in steps], [step[1] for step in steps]
            marker = "o" if len(steps) == 1 else ""
            axes.plot(xs, ys, color=colour, linestyle=dashes, linewidth=1.6, marker=marker, markersize=4)
            gid = gids([row])[0].replace("point-", f"{key}-", 1)
            ends.append(_End(xs[-1], ys[-1], names[i], colour, gid))
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, steps=[1, 2, 5, 10]))
        axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
        axes.margins(x=0.02, y=0.06)
        if key == "loss" and ends:
            axes.set_ylim(bottom=0)
        axes.autoscale_view()  # why: matplotlib would only settle the limits when it draws
        _name_ends(sheet, axes, frame, ends, size)
    return sheet.figure


class _End(NamedTuple):
    """Where a line ends, and what it is called."""

    x: float
    y: float
    name: str
    colour: str
    gid: str | None = None


def _name_ends(sheet: Sheet, axes: Axes, frame: tuple[float, ...], ends: Sequence[_End], size: float) -> None:
    """The lines' names at the right of the frame (left, bottom, right, top), none on another."""
    wanted = [sheet.at(axes, end.x, end.y) for end in ends]
    levels = _spread([y for _, y in wanted], 1.25 * size, frame[1], frame[3])
    for (x, y), level, end in zip(wanted, levels, ends, strict=True):
        leader = Line2D([x + 2, frame[2] + 4, frame[2] + 9], [y, level, level], color=end.colour, linewidth=0.8)
        leader.set_transform(sheet.points)
        sheet.figure.add_artist(leader)
        sheet.write(frame[2] + 12, level, end.name, size, va="center_baseline", gid=end.gid)


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


def learnt(epochs: Sequence[Row]) -> str:
    """What `training` shows, in one sentence computed from its rows."""

    def moved(first: float, last: float) -> str:
        return f"{'rises' if last > first else 'falls'} from {first:.1f} to {last:.1f} %"

    scored = [(row, top1(row) or 0.0) for row in epochs if top1(row) is not None]
    if not scored:
        first, last = (100 * float(epochs[at]["train_top1_accuracy"]) for at in (0, -1))
        said = f"is {last:.1f} %" if f"{first:.1f}" == f"{last:.1f}" else moved(first, last)
        return f"Top-1 in training {said}; nothing was held against it yet"
    (_, first), (row, last) = scored[0], scored[-1]
    said = f"is {last:.1f} % after epoch {row['epoch']}" if f"{first:.1f}" == f"{last:.1f}" else moved(first, last)
    best, most = max(scored, key=lambda pair: pair[1])
    if f"{most:.1f}" != f"{last:.1f}":
        return f"Validation Top-1 {said}, with {most:.1f} % at its best in epoch {best['epoch']}"
    trained = 100 * float(row["train_top1_accuracy"])
    return (
        f"Validation Top-1 {said}, {abs(trained - last):.1f} points {'below' if trained > last else 'above'} training"
    )


def training(
    epochs: Sequence[Row], *, narrow: bool = False, title: str | None = None, marked: Container[int] | None = None
) -> Figure:
    """Top-1, loss and learning rate after every epoch, one above the other; a line where the images' side changes.

    The validation Top-1 has its interval as a band and, in the `marked` epochs (by default all), a point with a gid.
    """
    width, size = (302.0, 8.5) if narrow else (691.0, 9.0)
    heights = (170.0, 110.0, 62.0) if narrow else (200.0, 125.0, 66.0)
    edge, between, below = 8.0, 40.0, 34.0
    starts = [i for i, row in enumerate(epochs) if i and row["side"] != epochs[i - 1]["side"]]
    strip = 13.0 if starts else 0.0
    title = learnt(epochs) if title is None else title
    heading, lines = (11.0 if narrow else 13.0), 0
    if title:
        lines = len(Sheet(width, 100).wrap(title, width - 2 * edge, heading, weight="bold"))
    sheet = Sheet(width, below + sum(heights) + 2 * between + strip + 26 + 1.38 * heading * lines + 6 * bool(title))
    top = sheet.height - 4
    if title:
        top = sheet.paragraph(edge, top, title, width - 2 * edge, heading, weight="bold") - 6
    xs = [int(row["epoch"]) for row in epochs]
    heads = [key for key in epochs[0] if key.startswith("auxiliary_loss_")]
    losses = [("main" if heads else "training", [float(row["loss"]) for row in epochs])]
    losses += [(f"auxiliary {n}", [float(row[key]) for row in epochs]) for n, key in enumerate(heads, 1)]
    names = ["validation", "training", *(name for name, _ in losses)]
    beside = max(sheet.measure(name, size)[0] for name in names) + 18
    left, right = edge + 34, width - edge - beside

    frames: list[tuple[float, float, float, float]] = []
    at = top - 22 - strip
    what = "Top-1 [%], the 95 % interval shaded", "Loss in training", "Learning rate"
    for height, says in zip(heights, what, strict=True):
        sheet.write(edge, at + 10 + (0 if frames else strip), says, 9, color=MUTED)
        frames.append((left, at - height, right, at))
        at -= height + between
    panels = accuracies, losing, rates = [sheet.axes(*frame) for frame in frames]
    dot = "o" if len(xs) == 1 else ""
    trained = [100 * float(row["train_top1_accuracy"]) for row in epochs]
    accuracies.plot(xs, trained, color=MUTED, linewidth=1.4, dashes=DASHES[1][1], marker=dot, markersize=4)
    ends: list[list[_End]] = [[_End(xs[-1], trained[-1], "training", MUTED)], []]
    scored = [(int(row["epoch"]), top1(row) or 0.0, interval(row)) for row in epochs if top1(row) is not None]
    blue = COLOURS["ResNet"]
    if scored:
        bands = [(x, *band) for x, _, band in scored if band]
        edges = [[band[n] for band in bands] for n in range(3)]
        accuracies.fill_between(edges[0], edges[1], edges[2], color=blue, alpha=0.16, linewidth=0)
        if len(bands) == 1:  # why: a band needs two
            accuracies.plot([bands[0][0]] * 2, bands[0][1:], color=blue, alpha=0.4, linewidth=4, solid_capstyle="butt")
        accuracies.plot([x for x, _, _ in scored], [y for _, y, _ in scored], color=blue, linewidth=1.8)
        ends[0].append(_End(scored[-1][0], scored[-1][1], "validation", blue))
    for n, (name, values) in enumerate(losses):
        style = {"linestyle": DASHES[(n + 1) % len(DASHES)], "marker": dot, "markersize": 4}
        losing.plot(xs, values, color=MUTED, linewidth=1.4, **style)
        ends[1].append(_End(xs[-1], values[-1], name, MUTED))
    learning = [float(row["lr"]) for row in epochs]
    rates.plot(xs, learning, color=INK, linewidth=1.4, marker=dot, markersize=4)

    span = (xs[0], xs[-1]) if len(xs) > 1 else (xs[0] - 0.5, xs[0] + 0.5)
    for panel in panels:
        panel.margins(y=0.06)
        panel.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
        panel.set_xlim(span[0] - 0.02 * (span[1] - span[0]), span[1] + 0.02 * (span[1] - span[0]))
        panel.xaxis.set_major_locator(
            MaxNLocator(5 if narrow else 10, integer=True, steps=[1, 2, 5, 10]) if len(xs) > 1 else FixedLocator(xs)
        )
        panel.autoscale_view()  # why: matplotlib would only settle the limits when it draws
        if panel is not rates:
            panel.tick_params(labelbottom=False)
        for i in starts:
            panel.axvline((xs[i - 1] + xs[i]) / 2, color=MUTED, linewidth=0.8, dashes=(2, 2), zorder=0.8)
    losing.set_ylim(bottom=0)
    low, high = accuracies.get_ylim()
    accuracies.set_ylim(max(low, -2), min(high, 102))
    _rate_axis(rates, learning, sorted(learning)[len(learning) // 5], ticks=3)
    sheet.write(right, below - 28, "epoch", 9, color=MUTED, ha="right")

    taken = -math.inf
    for i in [0, *starts] if starts else []:
        x = sheet.at(accuracies, (xs[i - 1] + xs[i]) / 2, 0)[0] if i else left
        says = f"{epochs[i]['side']} px" if i else f"images of {epochs[i]['side']} px"
        if x >= taken:  # why: where stages are short, a number less is better than two on each other
            sheet.write(x + (3 if i else 0), top - 22 - strip + 4, says, 8.5, color=MUTED)
            taken = x + sheet.measure(says, 8.5)[0] + 8
    for x, y, _ in scored:
        if marked is None or x in marked:
            place = sheet.at(accuracies, x, y)
            point = Circle(place, 2.6, facecolor=blue, edgecolor=blue, transform=sheet.points, zorder=3)
            point.set_gid(f"point-{x}")
            sheet.figure.add_artist(point)
    for panel, frame, named in zip(panels, frames, ends):
        _name_ends(sheet, panel, frame, named, size)
    return sheet.figure


def course(points: Sequence[Row]) -> str:
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


def schedule(points: Sequence[Row], *, narrow: bool = False, title: str | None = None) -> Figure:
    """The learning rate of every step, and below it the side of the images where that changes.

    Where the rate may be lower than `lr`, since the validation error decides, all down to `lr_low` is shaded.
    """
    steps, rates, lows, sides = ([float(point[key]) for point in points] for key in ("step", "lr", "lr_low", "side"))
    width = 302.0 if narrow else 691.0
    below = 92.0 if len(set(sides)) > 1 else 0.0
    edge = 8.0
    sheet = Sheet(width, (250.0 if narrow else 290.0) + below)
    title = course(points) if title is None else title
    top = sheet.height - 4
    if title:
        top = sheet.paragraph(edge, top, title, width - 2 * edge, 11 if narrow else 13, weight="bold") - 6
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


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Heights in the order of `wanted`, at least `gap` apart, as near to it and as much between the ends as can be."""
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    groups: list[tuple[list[int], float]] = []  # members from below, and the middle of the block they form
    for i in order:
        members, middle = [i], wanted[i]
        while groups and middle - groups[-1][1] < gap * (len(members) + len(groups[-1][0])) / 2:
            below, at = groups.pop()
            middle = (middle * len(members) + at * len(below)) / (len(members) + len(below))
            members = below + members
        groups.append((members, middle))
    levels = [0.0] * len(wanted)
    for members, middle in groups:
        for k, i in enumerate(members):
            levels[i] = middle + gap * (k - (len(members) - 1) / 2)
    # why: push back inside from above, then from below, so that the ends hold where there is room
    ceiling, floor = high, low
    for i in reversed(order):
        levels[i] = min(levels[i], ceiling)
        ceiling = levels[i] - gap
    for i in order:
        levels[i] = max(levels[i], floor)
        floor = levels[i] + gap
    return levels


# Writing


def save(figure: Figure, path: Path | str) -> list[Path]:
    """Write the figure as PNG for people and SVG for papers; `path` without a suffix, or with either."""
    stem = Path(path)
    stem = stem.with_suffix("") if stem.suffix in (".png", ".svg") else stem
    written = [stem.with_name(f"{stem.name}.png"), stem.with_name(f"{stem.name}.svg")]
    figure.savefig(written[0], dpi=DPI, metadata={"Software": "topfive"})
    figure.savefig(written[1], metadata={"Date": None, "Creator": "topfive"})
    return written


def svg(figure: Figure, prefix: str, label: str, points: Mapping[str, str] | None = None) -> str:
    """The figure as a piece of a page: text as text, ink in the colour of the page's text, every id led by `prefix`.

    `points` gives what the points of some gids say (their `aria-label`); these can then be reached by keyboard.
    """
    written = io.StringIO()
    with _SETTINGS, mpl.rc_context({"svg.fonttype": "none"}):
        figure.savefig(
            written, format="svg", transparent=True, metadata=dict.fromkeys(("Date", "Creator", "Type", "Format"))
        )
    text = written.getvalue()
    body = text[text.index(">", text.index("<svg")) + 1 :]
    for unwanted in (r"<!--.*?-->", r"<metadata>.*?</metadata>", r"<style.*?</style>"):
        body = re.sub(unwanted, "", body, flags=re.DOTALL)
    body = body.replace("xlink:href=", "href=")
    # why: a page gives the letters its own font; ink follows its text, in the light and in the dark
    body = re.sub(r"font: ([^;\"]*?)'[^;\"]*", lambda match: _font(match[1]), body)
    body = re.sub(r"font-family: [^;\"]*;? ?", "", body)
    for ink, strength in ((INK, 1.0), (MUTED, 0.66), (FAINT, 0.16)):
        for use in ("fill", "stroke"):
            body = body.replace(f"{use}: {ink}; {use}-opacity", f"{use}: currentColor; {use}-opacity")
            faded = "" if strength == 1 else f"; {use}-opacity: {strength}"
            body = body.replace(f"{use}: {ink}", f"{use}: currentColor{faded}")
    ids: dict[str, str] = {}
    for found in re.findall(r'\bid="([^"]+)"', body):
        known = found.startswith(("point-", "label-", "front"))
        ids[found] = f"{prefix}-{found}" if known else f"{prefix}-{len(ids)}"
    body = re.sub(r'(\bid="|href="#)([^"]+)"', lambda m: f'{m[1]}{ids[m[2]]}"', body)
    body = re.sub(r"url\(#([^)]+)\)", lambda m: f"url(#{ids[m[1]]})", body)
    for gid, says in (points or {}).items():
        mark = f'id="{prefix}-{gid}"'
        spoken = f'{mark} class="point" data-point="{gid}" tabindex="0" role="img" aria-label="{_attribute(says)}"'
        body = body.replace(mark, spoken)
        name = f'id="{prefix}-{gid.replace("point-", "label-", 1)}"'
        body = body.replace(name, f'{name} data-label="{gid}"')
    width, height = (72 * float(side) for side in figure.get_size_inches())
    role = "group" if points else "img"
    return (
        f'<svg viewBox="6 0 {width - 12:g} {height:g}" role="{role}" aria-label="{_attribute(label)}"'
        f' style="stroke-linejoin: round; stroke-linecap: butt">{body}'
    )


def _font(shorthand: str) -> str:
    """`italic bold 9px ` of a font shorthand as properties of their own, without a family."""
    kept = []
    for word in shorthand.split():
        if word in ("italic", "oblique"):
            kept.append(f"font-style: {word}")
        elif word.endswith("px"):
            kept.append(f"font-size: {word}")
        else:
            kept.append(f"font-weight: {word}")
    return "; ".join(kept)


def _attribute(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")
