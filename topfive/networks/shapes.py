"""What a layer makes of a map, and how many parameters and multiply-adds it has."""

from __future__ import annotations

from math import prod
from typing import NamedTuple

from topfive.networks.descriptions import describe
from topfive.networks.layers import (
    BatchNorm,
    Chain,
    Concat,
    Conv,
    GlobalPool,
    Layer,
    Linear,
    Pool,
    Residual,
    SqueezeExcite,
    ZeroPad,
    pair,
)
from topfive.networks.receptive_fields import SizeError


def shape_after(layer: Layer, shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """The shape that `layer` makes of `shape` = (channels, height, width)."""
    return total_of(layer, shape, {}).shape


def leaf_shape(layer: Layer, shape: tuple[int, int, int], path: str) -> tuple[int, int, int]:
    """The shape that a layer gives that is not made of others. Raises: SizeError naming `path`."""
    channels, height, width = shape
    match layer:
        case Conv(filters, _, _, _, groups):
            if channels % groups or filters % groups:
                raise SizeError(f"at {path} {channels} -> {filters} channels do not divide into {groups} groups")
            return (filters, *_windows(layer, height, width, path))
        case Pool():
            return (channels, *_windows(layer, height, width, path))
        case GlobalPool():
            return (channels, 1, 1)
        case Linear(units):
            return (units, 1, 1)
        case ZeroPad(wanted):
            if wanted < channels:
                raise SizeError(f"at {path} {channels} channels cannot be padded to {wanted}")
            return (wanted, height, width)
        case _:
            return shape


def _windows(layer: Conv | Pool, height: int, width: int, path: str) -> tuple[int, int]:
    out = []
    for n, kernel, stride, pad in zip((height, width), pair(layer.size), pair(layer.stride), pair(layer.pad)):
        room = n + 2 * pad - kernel
        cells = room // stride + 1
        if isinstance(layer, Pool) and layer.ceil and room % stride and cells * stride < n + pad:
            cells += 1  # torch and Caffe: the last window must start inside the map or its left padding
        if room < 0 or cells < 1:
            raise SizeError(f"at {path} ({describe(layer)}) a map of {height}x{width} is too small")
        out.append(cells)
    return out[0], out[1]


def parameters(layer: Layer, shape: tuple[int, int, int]) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """(name, shape) of what a layer that is not made of others learns from maps of `shape`, as torch lays it out."""
    channels = shape[0]
    match layer:
        case Conv(filters, size, _, _, groups, bias):
            return _affine("", (filters, channels // groups, *pair(size)), bias)
        case Linear(units, bias):
            return _affine("", (units, prod(shape)), bias)
        case BatchNorm():
            return ("weight", (channels,)), ("bias", (channels,))
        case SqueezeExcite(reduction):
            squeezed = channels // reduction
            return _affine("fc1.", (squeezed, channels)) + _affine("fc2.", (channels, squeezed))
        case _:
            return ()


def _affine(path: str, weight: tuple[int, ...], bias: bool = True) -> tuple[tuple[str, tuple[int, ...]], ...]:
    return ((f"{path}weight", weight), (f"{path}bias", weight[:1]))[: 1 + bias]


def leaf_counts(layer: Layer, shape: tuple[int, int, int], out: tuple[int, int, int]) -> tuple[int, int, int]:
    """(params, weights, macs) of a layer that is not made of others; weights are kernels alone."""
    sizes = [size for _, size in parameters(layer, shape)]
    weights = sum(prod(size) for size in sizes if len(size) > 1)
    return sum(map(prod, sizes)), weights, weights * out[1] * out[2] if isinstance(layer, Conv) else weights


class Total(NamedTuple):
    """What a layer gives and costs in all; `depth` is in layers with weights on the longest path."""

    shape: tuple[int, int, int]
    depth: int
    params: int
    macs: int


def total_of(
    layer: Layer, shape: tuple[int, int, int], memory: dict[tuple[Layer, tuple[int, int, int]], Total]
) -> Total:
    """Shape, depth and counts of a layer; equal layers on equal shapes are counted once, which deep networks repeat."""
    key = (layer, shape)
    if key in memory:
        return memory[key]
    match layer:
        case Chain(layers):
            total = Total(shape, 0, 0, 0)
            for _, child in layers:
                part = total_of(child, total.shape, memory)
                total = Total(part.shape, total.depth + part.depth, total.params + part.params, total.macs + part.macs)
        case Concat(branches):
            parts = [total_of(branch, shape, memory) for _, branch in branches]
            total = _side_by_side((sum(part.shape[0] for part in parts), *parts[0].shape[1:]), parts)
        case Residual(body, shortcut, _):
            parts = [total_of(body, shape, memory), total_of(shortcut, shape, memory)]
            total = _side_by_side(parts[0].shape, parts)
        case _:
            out = leaf_shape(layer, shape, "")
            params, _, macs = leaf_counts(layer, shape, out)
            total = Total(out, isinstance(layer, (Conv, Linear)), params, macs)
    memory[key] = total
    return total


def _side_by_side(shape: tuple[int, int, int], parts: list[Total]) -> Total:
    return Total(
        shape, max(part.depth for part in parts), sum(part.params for part in parts), sum(part.macs for part in parts)
    )
