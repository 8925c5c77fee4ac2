"""What a network costs, read from its value alone: no torch, nothing is run.

Units: one multiply-add is one `mac`, counted for convolutions and linear layers over every window, padding included,
as the tables of VGG, GoogLeNet and ResNet count; `ops` is 2 x macs, as Canziani et al. count. Parameters are weights,
biases and the two affine vectors of batch normalisation. Values are 4 bytes unless said otherwise.
"""

from __future__ import annotations

from itertools import takewhile

import msgspec

from topfive.errors import UsageError
from topfive.networks.descriptions import describe
from topfive.networks.layers import (
    Chain,
    Concat,
    Conv,
    Dropout,
    GlobalPool,
    Layer,
    Linear,
    Network,
    Pool,
    Relu,
    Residual,
    SqueezeExcite,
    html_table,
    pair,
)
from topfive.networks.receptive_fields import (
    VALUE_BYTES,
    Field,
    Maps,
    SizeError,
    by_x,
    join_branches,
    narrowest,
    slide,
    widest,
)
from topfive.networks.shapes import Total, leaf_counts, leaf_shape, total_of


class Row(msgspec.Struct, frozen=True):
    """One layer, or one stage with everything inside it.

    `output` is (channels, height, width); receptive fields are (height, width) in input pixels, the largest over all
    paths and the smallest; `centre` is where the first cell looks.
    """

    name: str
    layer: str
    output: tuple[int, int, int]
    params: int
    weights: int  # kernels alone, without biases and normalisation: what GoogLeNet's table prints
    macs: int
    activation_bytes: int  # written by this row: what its layers put out, in-place layers left out
    receptive_field: tuple[int, int]
    stride: tuple[int, int]
    centre: tuple[float, float]
    least_receptive_field: tuple[int, int]

    @property
    def ops(self) -> int:
        return 2 * self.macs

    @property
    def weight_bytes(self) -> int:
        return self.params * VALUE_BYTES


class Costs(msgspec.Struct, frozen=True):
    """The costs of one network at one input size, for one image."""

    name: str
    input: tuple[int, int, int]
    depth: int  # layers with weights on the longest path
    rows: tuple[Row, ...]  # one a layer
    stages: tuple[Row, ...]  # one a row of the paper
    head_rows: tuple[Row, ...]  # auxiliary classifiers: training only, in no total but `head_params`
    peak_activation_bytes: int

    @property
    def params(self) -> int:
        return sum(row.params for row in self.stages)

    @property
    def macs(self) -> int:
        return sum(row.macs for row in self.stages)

    @property
    def ops(self) -> int:
        return 2 * self.macs

    @property
    def head_params(self) -> int:
        return sum(row.params for row in self.head_rows)

    @property
    def weight_bytes(self) -> int:
        return self.params * VALUE_BYTES

    @property
    def activation_bytes(self) -> int:
        return sum(row.activation_bytes for row in self.stages)

    @property
    def peak_bytes(self) -> int:
        """Weights and the most activations alive at once, one image, inference."""
        return self.weight_bytes + self.peak_activation_bytes

    @property
    def field(self) -> int:
        """What a value of the last maps sees, in pixels: those in front of the classifier or the global average."""
        maps = takewhile(lambda row: not row.layer.startswith(("linear", "global")), self.rows)
        return max((max(row.receptive_field) for row in maps), default=1)

    def training_bytes(self, batch: int) -> int:
        """An estimate: weights, gradients and momentum, and every activation kept for the backward pass, in fp32."""
        channels, height, width = self.input
        kept = self.activation_bytes + sum(row.activation_bytes for row in self.head_rows)
        images = channels * height * width * VALUE_BYTES
        return 3 * VALUE_BYTES * (self.params + self.head_params) + batch * (kept + images)

    def _repr_html_(self) -> str:
        """The rows of the paper and their sum, as a notebook shows them."""
        rows = [(row.name, "x".join(map(str, row.output)), f"{row.params:,}", f"{row.macs:,}") for row in self.stages]
        rows.append(("total", "", f"{self.params:,}", f"{self.macs:,}"))
        caption = f"{self.name} at {'x'.join(map(str, self.input))}, {self.peak_bytes / 1e6:,.1f} MB at most"
        return html_table(caption, ("row", "output", "parameters", "multiply-adds"), rows)


def count(network: Network, input: tuple[int, int, int] | None = None) -> Costs:
    """The costs of `network` for one image of `input` = (channels, height, width), by default the paper's size.

    Raises: SizeError naming the first layer that the size does not fit, and the smallest square that does.
    """
    shape = input or network.input
    try:
        return _count(network, shape)
    except SizeError as error:
        smallest = smallest_input(network, shape[0])
        hint = f"; the smallest square input that fits is {smallest}" if smallest else ""
        raise SizeError(f"{network.name} does not fit an input of {'x'.join(map(str, shape))}: {error}{hint}") from None


def smallest_input(network: Network, channels: int = 3, below: int = 1024) -> int | None:
    """The smallest square input that every layer fits, or None where none below `below` does."""
    low, high = 0, below
    while high - low > 1:
        middle = (low + high) // 2
        try:
            _count(network, (channels, middle, middle))
            high = middle
        except SizeError:
            low = middle
    return high if high < below else None


def totals(network: Network) -> tuple[int, int, int]:
    """(depth, params, macs) at the network's own input; equal to `count`'s, without making a row for every layer."""
    memory: dict[tuple[Layer, tuple[int, int, int]], Total] = {}
    total = total_of(network.body, network.input, memory)
    return total.depth, total.params, total.macs


def _count(network: Network, shape: tuple[int, int, int]) -> Costs:
    pixel = Field(0, 0, 1)
    rows: list[Row] = []
    stages: list[Row] = []
    taps: dict[str, Maps] = {}
    maps = Maps(shape, (pixel, pixel), (pixel, pixel))
    peak = 0
    for name, layer in network.body.layers:
        first = len(rows)
        maps, stage_peak = _visit(layer, maps, name, rows, keep=False)
        peak = max(peak, stage_peak)
        taps[name] = maps
        stages.append(_sum_rows(name, layer, maps, rows[first:]))
    head_rows: list[Row] = []
    for head in network.heads:
        if head.after not in taps:
            raise UsageError(f"{network.name}: head {head.name} is attached to {head.after}, which is not a stage")
        _visit(head.body, taps[head.after], head.name, head_rows, keep=True)
    return Costs(
        network.name,
        shape,
        total_of(network.body, shape, {}).depth,
        tuple(row for row in rows if row.layer),
        tuple(stages),
        tuple(row for row in head_rows if row.layer),
        peak,
    )


def _sum_rows(name: str, layer: Layer, maps: Maps, rows: list[Row]) -> Row:
    what = describe(layer) if not isinstance(layer, (Chain, Concat, Residual)) else ""
    return _row(
        name,
        what,
        maps,
        (sum(row.params for row in rows), sum(row.weights for row in rows), sum(row.macs for row in rows)),
        sum(row.activation_bytes for row in rows),
    )


def _row(name: str, what: str, maps: Maps, counts: tuple[int, int, int], activation_bytes: int) -> Row:
    (most_h, most_w), (least_h, least_w) = maps.most, maps.least
    return Row(
        name,
        what,
        maps.shape,
        *counts,
        activation_bytes,
        (most_h.size, most_w.size),
        (most_h.stride, most_w.stride),
        (most_h.centre, most_w.centre),
        (least_h.size, least_w.size),
    )


def _visit(layer: Layer, maps: Maps, path: str, rows: list[Row], keep: bool) -> tuple[Maps, int]:
    """Append a row for every layer inside; return what comes out and the peak of bytes alive, input included.

    `keep`: something else still needs the input, so it stays alive until the layer has ended.
    """
    match layer:
        case Chain(layers):
            held = 0
            peak = maps.bytes
            for name, child in layers:
                before = maps
                maps, child_peak = _visit(child, maps, f"{path}.{name}", rows, keep)
                peak = max(peak, held + child_peak)
                if keep:
                    held, keep = before.bytes, False
            return maps, peak
        case Concat(branches):
            outs: list[Maps] = []
            held = peak = 0
            for i, (name, branch) in enumerate(branches):
                waiting = any(other == Chain() for _, other in branches[:i])  # the identity keeps the input alive
                needed_later = keep or waiting or i + 1 < len(branches)
                out, branch_peak = _visit(branch, maps, f"{path}.{name}", rows, needed_later)
                peak = max(peak, held + branch_peak)
                held += 0 if branch == Chain() else out.bytes  # the identity hands on what is there already
                outs.append(out)
            joined = join_branches(layer, outs, path)
            # why: an empty row name keeps the bytes of the concatenation in the sums without listing it as a layer
            rows.append(_row(path, "", joined, (0, 0, 0), joined.bytes))
            kept = maps.bytes if keep or any(branch == Chain() for _, branch in branches) else 0
            return joined, max(peak, held + kept + joined.bytes)
        case Residual(body, shortcut, _):
            out, body_peak = _visit(body, maps, f"{path}.body", rows, keep=True)
            straight, shortcut_peak = _visit(shortcut, maps, f"{path}.shortcut", rows, keep)
            if out.shape != straight.shape:
                raise SizeError(f"at {path} the body gives {by_x(out)} and the shortcut {by_x(straight)}")
            summed = Maps(out.shape, widest(out.most, straight.most), narrowest(out.least, straight.least))
            rows.append(_row(path, "", summed, (0, 0, 0), summed.bytes))
            end = out.bytes + straight.bytes + summed.bytes
            if keep and shortcut != Chain():
                end += maps.bytes
            return summed, max(body_peak, out.bytes + shortcut_peak, end)
        case _:
            out = _through(layer, maps, path)
            counts = leaf_counts(layer, maps.shape, out.shape)
            in_place = isinstance(layer, (Relu, Dropout))
            rows.append(_row(path, describe(layer), out, counts, 0 if in_place else out.bytes))
            return out, maps.bytes if in_place else maps.bytes + out.bytes


def _through(layer: Layer, maps: Maps, path: str) -> Maps:
    """What comes out of one layer that is not made of others."""
    _, height, width = maps.shape
    match layer:
        case Conv() | Pool():
            shape = leaf_shape(layer, maps.shape, path)
            kernel, stride, pad = pair(layer.size), pair(layer.stride), pair(layer.pad)
            return Maps(shape, slide(maps.most, kernel, stride, pad), slide(maps.least, kernel, stride, pad))
        case GlobalPool() | Linear():
            shape = leaf_shape(layer, maps.shape, path)
            size = (height, width)
            return Maps(shape, slide(maps.most, size, size, (0, 0)), slide(maps.least, size, size, (0, 0)))
        case SqueezeExcite():
            # the gate has seen the whole map; the value itself has not
            whole = slide(maps.most, (height, width), (1, 1), (0, 0))
            return Maps(maps.shape, widest(maps.most, whole), maps.least)
        case _:
            return maps._replace(shape=leaf_shape(layer, maps.shape, path))
