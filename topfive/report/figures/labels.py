"""Labels beside points and curves that never overlap."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from topfive.report.figures.canvas import MUTED, Sheet
from topfive.report.figures.series import Floats


class Choices(NamedTuple):
    """The places a label could take: boxes (x0, y0, x1, y1), leader lines, costs, how the text is aligned."""

    boxes: Floats
    leaders: Floats
    costs: Floats
    aligned: list[str]


_CLASH = 1e4


def around(x: float, y: float, radius: float, width: float, height: float) -> Choices:
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
    return Choices(np.array(boxes), np.array(leaders), np.array(costs), aligned)


def along(left: float, right: float, y: float, width: float, height: float) -> Choices:
    """Places just above and below a horizontal line; its right end is liked best."""
    starts = np.linspace(left, max(right - width, left), 40)
    boxes = [(x, base, x + width, base + height) for x in starts for base in (y + 1.5, y - height - 1.5)]
    costs = [0.05 * (right - box[2]) + (0 if box[1] > y else 3) for box in boxes]
    return Choices(np.array(boxes), np.zeros((len(boxes), 4)), np.array(costs), ["left"] * len(boxes))


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
    choices: list[Choices], circles: Floats, strokes: Floats, frame: tuple[float, ...]
) -> list[int | None]:
    """The place that each label takes, or None where every place inside the frame would cover another label.

    The first labels are those of the circles, in the same order; `strokes` are points on lines better left uncovered.

    Each label in turn takes the place that costs least beside the others, until none wants to move.
    """
    if not choices:
        return []
    kept, originals = zip(*(_cheapest(choice, n, circles, strokes, frame) for n, choice in enumerate(choices)))
    taken = _settled(kept)
    return [int(originals[i][taken[i]]) if i in taken else None for i in range(len(choices))]


def _cheapest(
    choice: Choices, number: int, circles: Floats, strokes: Floats, frame: tuple[float, ...]
) -> tuple[Choices, NDArray[np.intp]]:
    """The places inside the frame with what they cost beside bubbles and lines, and which of the choices they are."""
    box = choice.boxes
    inside = (box[:, 0] >= frame[0]) & (box[:, 1] >= frame[1]) & (box[:, 2] <= frame[2]) & (box[:, 3] <= frame[3])
    which = np.flatnonzero(inside)
    box, leader, costs = box[which], choice.leaders[which], choice.costs[which].copy()
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
    return Choices(box[few], leader[few], costs[few], choice.aligned), which[few]


def _beside(kept: Sequence[Choices], taken: Mapping[int, int], i: int) -> Floats:
    """What the places of label `i` cost beside the labels that have theirs."""
    others, mine = [j for j in taken if j != i], kept[i]
    if not others:
        return mine.costs
    boxes = np.array([kept[j].boxes[taken[j]] for j in others])
    leaders = np.array([kept[j].leaders[taken[j]] for j in others])
    costs = mine.costs + _CLASH * _overlaps(mine.boxes, boxes, 3).sum(axis=1)
    costs += 60 * _cross(mine.leaders, leaders).sum(axis=1)
    costs += 25 * _holds(mine.boxes, sampled(leaders, 10).reshape(-1, 2)).sum(axis=1)
    ways = sampled(mine.leaders, 10)
    through = _holds(boxes, ways.reshape(-1, 2)).sum(axis=0).reshape(ways.shape[:2])
    return np.asarray(costs + 25 * through.sum(axis=1))


def _settled(kept: Sequence[Choices]) -> dict[int, int]:
    """The place of each label that has one, by the best of seven orders in which they take turns."""
    middles = np.array([choice.boxes.mean(axis=0)[:2] if len(choice.boxes) else (0, 0) for choice in kept])
    crowd = [int((np.abs(middles - middle) < (90, 30)).all(axis=1).sum()) for middle in middles]
    order = [i for i in sorted(range(len(kept)), key=lambda i: -crowd[i]) if len(kept[i].boxes)]
    turns = [order, order[::-1], *(sorted(order, key=lambda i: middles[i][axis]) for axis in (0, 1))]
    turns += [[int(i) for i in np.random.default_rng(seed).permutation(order)] for seed in range(3)]
    best: tuple[float, dict[int, int]] = (math.inf, {})
    for turn in turns:
        taken: dict[int, int] = {}
        for _ in range(10):
            moved = False
            for i in turn:
                cheapest = int(np.argmin(_beside(kept, taken, i)))
                moved |= taken.get(i) != cheapest
                taken[i] = cheapest
            if not moved:
                break
        spent = sum(float(_beside(kept, taken, i)[taken[i]]) for i in turn)
        if spent < best[0]:
            best = spent, taken
    taken = best[1]
    for i in order:  # a label that still covers another goes, so that those that stay are legible
        if _beside(kept, taken, i)[taken[i]] >= _CLASH:
            del taken[i]
    return taken


class Label(NamedTuple):
    """What is written at one of the places that it could take; `style` is matplotlib's."""

    text: str
    choices: Choices
    gid: str
    style: Mapping[str, str] = {}


def write_labels(
    sheet: Sheet,
    labels: Sequence[Label],
    size: float,
    circles: Floats,
    segments: Sequence[tuple[float, ...]],
    frame: tuple[float, ...],
) -> tuple[int, int]:
    """Write the labels that find a place; how many find none, and how many lie far from their bubble or on another."""
    strokes = sampled(np.array(segments).reshape(-1, 4), 120).reshape(-1, 2)
    strokes = strokes[np.sort(np.unique((strokes // 2.5).astype(int), axis=0, return_index=True)[1])]  # evenly thick
    taken = place_labels([label.choices for label in labels], circles, strokes, frame)
    strained = 0
    for label, place in zip(labels, taken, strict=True):
        if place is None:
            continue
        box, aligned = label.choices.boxes[place], label.choices.aligned[place]
        x = {"left": box[0], "right": box[2], "center": (box[0] + box[2]) / 2}[aligned]
        sheet.write(x, box[1], label.text, size, ha=aligned, va="bottom", gid=label.gid, **label.style)
        x0, y0, x1, y1 = label.choices.leaders[place]
        if (x0, y0) != (x1, y1):
            sheet.figure.add_artist(Line2D([x0, x1], [y0, y1], color=MUTED, linewidth=0.6, transform=sheet.points))
        strained += _covered(box, circles) + (math.hypot(x1 - x0, y1 - y0) > 48)
    return taken.count(None), strained


def _covered(box: Floats, circles: Floats) -> int:
    """How many bubbles a label covers by more than a few points."""
    x, y, radius = circles.T
    away = np.hypot(
        np.maximum(np.maximum(box[0] - x, x - box[2]), 0), np.maximum(np.maximum(box[1] - y, y - box[3]), 0)
    )
    return int((radius - away > 4).sum())
