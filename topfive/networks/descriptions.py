"""Layers in a few letters, for tables."""

from __future__ import annotations

from typing import assert_never

from topfive.networks.layers import (
    BatchNorm,
    Chain,
    Concat,
    Conv,
    Dropout,
    GlobalPool,
    Layer,
    Linear,
    Pool,
    Relu,
    Residual,
    ResponseNorm,
    Size,
    SqueezeExcite,
    Tanh,
    ZeroPad,
    pair,
)


def describe(layer: Layer) -> str:
    """A layer in a few words: `conv 3x3/2, 64`, `max pool 3x3/2`, `linear 1000`."""
    match layer:
        case Conv(filters, size, stride, _, groups):
            shared = f", {groups} groups" if groups > 1 else ""
            return f"conv {_size(size, stride)}, {filters}{shared}"
        case Linear(units):
            return f"linear {units}"
        case Pool(kind, size, stride):
            return f"{kind} pool {_size(size, stride)}"
        case GlobalPool(kind):
            return f"global {kind} pool"
        case BatchNorm():
            return "batch norm"
        case Relu(cap):
            return "relu" if cap is None else f"relu up to {cap:g}"
        case Tanh():
            return "tanh"
        case ResponseNorm(size):
            return f"response norm over {size}"
        case Dropout(rate):
            return f"dropout {rate:g}"
        case SqueezeExcite(reduction):
            return f"squeeze-excite /{reduction}"
        case ZeroPad(channels):
            return f"zero maps up to {channels}"
        case Chain():
            return "chain"
        case Concat(branches):
            return f"{len(branches)} branches"
        case Residual():
            return "residual"
        case _:
            assert_never(layer)


def _size(size: Size, stride: Size) -> str:
    (h, w), (step_h, step_w) = pair(size), pair(stride)
    step = "" if (step_h, step_w) == (1, 1) else f"/{step_h}" if step_h == step_w else f"/{step_h}x{step_w}"
    return f"{h}x{w}{step}"
