"""Where everything of a drawing of a network stands: a tree of boxes, which `drawing.py` turns into SVG.

The network runs downward, in several columns where it is long. A layer is a box: its width grows with the square root
of the side of the maps, its height with the fourth root of the channels, so its area with the fourth root of the
number of activations. Units are SVG pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate, groupby
from math import ceil
from textwrap import wrap
from typing import Literal, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from topfive.networks.costs import Row, count
from topfive.networks.descriptions import describe
from topfive.networks.layers import (
    BatchNorm,
    Chain,
    Concat,
    Dropout,
    Layer,
    Network,
    Relu,
    Residual,
    ResponseNorm,
    Tanh,
    children,
)

Level: TypeAlias = Literal["stages", "rows"]

SIDE, DEPTH = 7.0, 4.0  # pixels of a map of side 1, and of one channel
LETTER, BOLD, LINE = 6.0, 7.2, 15.0  # width of a character at most, and of a bold one; height of a line
GAP, BEND = 6.0, 12.0  # between two boxes; the room of lines that part or join
WIDTH, HEIGHT, MARGIN = 1500.0, 640.0, 20.0  # of all columns, of one before there is a second, around them
HEADER, LEGEND, SUM = 84.0, 860.0, 16.0  # height of title and legend, and their width; room of the sign of a sum
TIMES = "\N{MULTIPLICATION SIGN}"
MINOR = (BatchNorm, Relu, Tanh, ResponseNorm, Dropout)  # drawn with the layer before them at level "stages"


class Box(Struct, frozen=True):
    """A rectangle with everything inside it; `axis` is the x of the line that runs through it from top to bottom.

    A `layer` has its costs in `row` (of all its copies, where it is repeated) and its rectangle in `mark`, centred on
    the axis; the rest of its width is its label. A `wire` is the identity.
    """

    kind: Literal["layer", "wire", "chain", "branches", "residual", "repeat", "stage", "head", "column", "network"]
    width: float
    height: float
    axis: float
    inner: tuple[Box, ...] = ()
    x: float = 0
    y: float = 0
    names: tuple[str, ...] = ()  # of a stage or head, of several stages where minor ones are drawn with it
    label: str = ""
    mark: tuple[float, float] = (0, 0)
    row: Row | None = None

    def walk(self) -> Sequence[Box]:
        """This box and all inside, in the order of the network."""
        return [self, *(box for child in self.inner for box in child.walk())]

    def moved(self, x: float, y: float) -> Box:
        """The same box elsewhere."""
        inner = tuple(box.moved(x, y) for box in self.inner)
        return replace(self, x=self.x + x, y=self.y + y, axis=self.axis + x, inner=inner)


def layout(network: Network, level: Level = "stages", input: tuple[int, int, int] | None = None) -> Box:
    """Where everything of the drawing stands; `input` is (channels, height, width), by default the paper's.

    Level "stages" draws normalisations and activations with their layer, and equal blocks of a stage once; level
    "rows" draws every layer.

    Raises: SizeError where the input does not fit.
    """
    costs = count(network, input)
    build = _Builder({row.name: row for row in (*costs.rows, *costs.head_rows)}, level)
    start = Row("input", "input", costs.input, 0, 0, 0, 0, (1, 1), (1, 1), (0, 0), (1, 1))
    stages = [_stage(("input",), _layer(start, ""), costs.input, [])]
    for names, content in build.stages(network.body):
        heads = [_head(head.name, build.box(head.body, (head.name,))) for head in network.heads if head.after in names]
        output = next(stage.output for stage in costs.stages if stage.name == names[-1])
        stages.append(_stage(names, content, output, heads))
    return _network(stages)


class _Builder:
    """Layers to boxes, each at (0, 0)."""

    def __init__(self, rows: dict[str, Row], level: Level) -> None:
        self.rows, self.folds = rows, level == "stages"

    def stages(self, body: Chain) -> Iterator[tuple[tuple[str, ...], Box]]:
        """The stages with their names; where it folds, minor ones with the one before, and equal modules once."""
        groups: list[list[tuple[str, Layer]]] = []
        for name, layer in body.layers:
            before = groups[-1][-1][1] if groups else None
            if self.folds and before and (isinstance(layer, MINOR) or (layer == before and children(layer))):
                groups[-1].append((name, layer))
            else:
                groups.append([(name, layer)])
        for group in groups:
            yield tuple(name for name, _ in group), self.sequence(group, ("",))

    def box(self, layer: Layer, paths: tuple[str, ...]) -> Box:
        """`paths`: the dotted names of the layer and its copies."""
        match layer:
            case Chain(layers):
                return self.sequence(layers, tuple(f"{path}." for path in paths))
            case Concat(branches):
                return _branches([self.box(branch, _below(paths, name)) for name, branch in branches])
            case Residual(body, shortcut):
                return _residual(self.box(body, _below(paths, "body")), self.box(shortcut, _below(paths, "shortcut")))
            case _:
                name = "" if self.folds or "." not in paths[0] else f"{paths[0].rsplit('.', 1)[1]}: "
                return _layer(_sum([self.rows[path] for path in paths]), name + describe(layer))

    def sequence(self, layers: Sequence[tuple[str, Layer]], prefixes: tuple[str, ...]) -> Box:
        """A chain whose children are called `prefix + name`; equal blocks in a row are one, where it folds."""
        found: list[Box] = []
        waiting: list[Row] = []  # minor layers that no layer stands before
        for _, run in groupby(enumerate(layers), self._fold_key):
            named = [item for _, item in run]
            layer = named[0][1]
            paths = tuple(prefix + name for prefix in prefixes for name, _ in named)
            if self.folds and isinstance(layer, MINOR):
                rows = [self.rows[path] for path in paths]
                if found and (row := found[-1].row):
                    found[-1] = replace(found[-1], row=_sum([*rows, row]))
                else:
                    waiting += rows
                continue
            box = self.box(layer, paths)
            if box.row and waiting:
                box, waiting = replace(box, row=_sum([*waiting, box.row])), []
            found.append(box if len(named) == 1 else _repeat(box, len(named)))
        # why: a rectified linear unit behind a sum costs nothing; a normalisation there does
        found += [_layer(row, row.layer) for row in waiting if row.params]
        return _chain(found)

    def _fold_key(self, item: tuple[int, tuple[str, Layer]]) -> Layer | int:
        index, (_, layer) = item
        return layer if self.folds and children(layer) else index


def _below(paths: tuple[str, ...], name: str) -> tuple[str, ...]:
    return tuple(f"{path}.{name}" for path in paths)


def _sum(rows: Sequence[Row]) -> Row:
    """The last row with the costs of all."""
    return replace(
        rows[-1],
        params=sum(row.params for row in rows),
        weights=sum(row.weights for row in rows),
        macs=sum(row.macs for row in rows),
        activation_bytes=sum(row.activation_bytes for row in rows),
    )


def _layer(row: Row, label: str) -> Box:
    channels, height, width = row.output
    mark = SIDE * (height * width) ** 0.25, DEPTH * channels**0.25
    return Box("layer", mark[0] + GAP + _long(label), max(mark[1], LINE), mark[0] / 2, label=label, mark=mark, row=row)


def _long(text: str) -> float:
    return LETTER * len(text)


def _chain(boxes: Sequence[Box]) -> Box:
    if len(boxes) == 1:
        return boxes[0]
    if not boxes:
        return Box("wire", 2 * GAP, LINE, GAP)
    axis = max(box.axis for box in boxes)
    placed, y = [], 0.0
    for box in boxes:
        placed.append(box.moved(axis - box.axis, y))
        y += box.height + GAP
    return Box("chain", axis + max(box.width - box.axis for box in boxes), y - GAP, axis, tuple(placed))


def _row(boxes: Sequence[Box], y: float, gap: float) -> tuple[Box, ...]:
    """Boxes side by side."""
    xs = accumulate((box.width + gap for box in boxes), initial=0.0)
    return tuple(box.moved(x, y) for x, box in zip(xs, boxes))


def _branches(boxes: Sequence[Box]) -> Box:
    placed = _row(boxes, BEND, 2 * GAP)
    height = 2 * BEND + max(box.height for box in boxes)
    return Box("branches", _right(placed), height, (placed[0].axis + placed[-1].axis) / 2, placed)


def _residual(body: Box, shortcut: Box) -> Box:
    placed = _row((body, shortcut), BEND, GAP)
    height = 2 * BEND + SUM + max(body.height, shortcut.height)
    return Box("residual", body.width + GAP + shortcut.width, height, body.axis, placed)


def _repeat(box: Box, times: int) -> Box:
    label = f"{TIMES} {times}"
    inside = box.moved(GAP, GAP)
    width = box.width + 3 * GAP + BOLD * len(label)
    return Box("repeat", width, box.height + 2 * GAP, inside.axis, (inside,), label=label)


def _head(name: str, content: Box) -> Box:
    inside = content.moved(GAP, LINE)
    width = max(content.width + GAP, inside.axis + GAP + BOLD * len(name))
    return Box("head", width, content.height + LINE, inside.axis, (inside,), names=(name,), label=name)


def _stage(names: tuple[str, ...], content: Box, output: tuple[int, int, int], heads: Sequence[Box]) -> Box:
    joined = " ".join(names)
    lines = wrap(joined, 24) if len(joined) < 60 else [names[0], f"to {names[-1]}"]
    lines += [TIMES.join(map(str, output))]
    left = BOLD * max(map(len, lines)) + 3 * GAP
    placed = tuple(box.moved(left, 0) for box in _row((content, *heads), GAP, 3 * GAP))
    height = 2 * GAP + max(LINE * len(lines), *(box.height for box in placed))
    return Box("stage", _right(placed) + GAP, height, placed[0].axis, placed, names=names, label="\n".join(lines))


def _column(stages: Sequence[Box]) -> Box:
    """Stages one below the other: names at the left, one axis through all."""
    axis = max(stage.axis for stage in stages)
    width = axis + max(stage.width - stage.axis for stage in stages)
    placed, y = [], 0.0
    for stage in stages:
        inner = tuple(box.moved(axis - stage.axis, 0) for box in stage.inner)
        placed.append(replace(stage, width=width, axis=axis, inner=inner).moved(0, y))
        y += stage.height + GAP
    return Box("column", width, y - GAP, axis, tuple(placed))


def _network(stages: Sequence[Box]) -> Box:
    """As many columns as a page has room for, but none that would be low, all about equally high."""
    tallest = max(stage.height for stage in stages)
    number = ceil(_column(stages).height / max(HEIGHT, tallest))
    columns = _balanced(stages, number)
    while len(columns) > 1 and _right(columns) > WIDTH:
        columns = _balanced(stages, len(columns) - 1)
    placed = tuple(column.moved(MARGIN, HEADER) for column in columns)
    height = HEADER + max(column.height for column in placed) + MARGIN
    return Box("network", max(_right(columns), LEGEND) + 2 * MARGIN, height, placed[0].axis, placed)


def _balanced(stages: Sequence[Box], number: int) -> tuple[Box, ...]:
    """At most `number` columns side by side, as low as they can be."""
    limit = sum(stage.height for stage in stages) / number
    while len(groups := _groups(stages, limit)) > number:
        limit *= 1.02
    return _row([_column(group) for group in groups], 0, 2 * MARGIN)


def _groups(stages: Sequence[Box], limit: float) -> list[list[Box]]:
    """The stages of each column, where none is higher than `limit` unless a single stage is."""
    groups: list[list[Box]] = [[]]
    height = 0.0
    for stage in stages:
        if groups[-1] and height + stage.height > limit:
            groups.append([])
            height = 0.0
        groups[-1].append(stage)
        height += stage.height + GAP
    return groups


def _right(boxes: Sequence[Box]) -> float:
    return boxes[-1].x + boxes[-1].width
