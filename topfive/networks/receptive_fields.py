"""What a value of a map sees of the image: the formula of receptive fields."""

from __future__ import annotations

from typing import NamedTuple

from topfive.errors import UsageError
from topfive.networks.layers import Concat

VALUE_BYTES = 4


class SizeError(UsageError):
    """The image is too small, or two branches disagree, at a layer that the sentence names."""


class Field(NamedTuple):
    """The input pixels `low..high` (inclusive) that the first cell sees along one axis, and the step to the next."""

    low: float
    high: float
    stride: int

    @property
    def size(self) -> int:
        return int(self.high - self.low) + 1

    @property
    def centre(self) -> float:
        return (self.low + self.high) / 2


class Maps(NamedTuple):
    """What flows between two layers: the shape, and what one cell of it has seen, at most and at least."""

    shape: tuple[int, int, int]
    most: tuple[Field, Field]
    least: tuple[Field, Field]

    @property
    def bytes(self) -> int:
        channels, height, width = self.shape
        return channels * height * width * VALUE_BYTES


def slide(
    fields: tuple[Field, Field], kernel: tuple[int, int], stride: tuple[int, int], pad: tuple[int, int]
) -> tuple[Field, Field]:
    """What a cell behind a window sees: low - pad * step to high + (kernel - 1 - pad) * step, step * stride apart."""
    h, w = (
        Field(f.low - p * f.stride, f.high + (k - 1 - p) * f.stride, f.stride * s)
        for f, k, s, p in zip(fields, kernel, stride, pad)
    )
    return h, w


def widest(a: tuple[Field, Field], b: tuple[Field, Field]) -> tuple[Field, Field]:
    """What two paths see together."""
    h, w = (Field(min(f.low, g.low), max(f.high, g.high), max(f.stride, g.stride)) for f, g in zip(a, b))
    return h, w


def narrowest(a: tuple[Field, Field], b: tuple[Field, Field]) -> tuple[Field, Field]:
    """What the path sees that sees less."""
    h, w = (min(f, g, key=lambda field: field.size) for f, g in zip(a, b))
    return h, w


def join_branches(layer: Concat, outs: list[Maps], path: str) -> Maps:
    """The branches stacked along the channels. Raises: SizeError where their maps differ in size."""
    joined = outs[0]
    for (name, _), out in zip(layer.branches[1:], outs[1:]):
        if out.shape[1:] != joined.shape[1:]:
            raise SizeError(f"at {path} branch {name} gives {by_x(out)} beside {by_x(outs[0])}")
        shape = (joined.shape[0] + out.shape[0], *joined.shape[1:])
        joined = Maps(shape, widest(joined.most, out.most), narrowest(joined.least, out.least))
    return joined


def by_x(maps: Maps) -> str:
    """`64x56x56`."""
    return "x".join(str(n) for n in maps.shape)
