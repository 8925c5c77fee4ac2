"""The operators of an exported graph as layers of a network, where there is one for them."""

from math import prod
from typing import Any, TypeAlias

from torch import Tensor, fx

from topfive.errors import RefusedError
from topfive.networks.layers import BatchNorm, Conv, Dropout, GlobalPool, Layer, Linear, Pool, Relu, Tanh

Shape: TypeAlias = tuple[int, ...]

SUM, CONCAT = ("add", "add_"), ("cat", "concat", "concatenate")
SAME = (
    "flatten",
    "view",
    "reshape",
    "squeeze",
    "unsqueeze",
    "contiguous",
    "clone",
    "detach",
    "to",
    "alias",
    "_to_copy",
)


def operator(node: fx.Node) -> str:
    """`conv2d` of `aten.conv2d.default`."""
    return str(node.target).removeprefix("aten.").partition(".")[0]


def given(node: fx.Node) -> dict[str, Any]:
    """The arguments of a node by their names, with those that have their default."""
    found = {}
    for place, argument in enumerate(node.target._schema.arguments):  # type: ignore[union-attr]
        default = argument.default_value if argument.has_default_value() else None
        value = node.args[place] if place < len(node.args) else node.kwargs.get(argument.name, default)
        found[argument.name] = value
    return found


def shape_of(node: fx.Node) -> Shape:
    """Of what a node gives, without the number of images."""
    value = node.meta["val"]
    return tuple(int(size) for size in value.shape[1:]) if isinstance(value, Tensor) else ()


def layer_of(node: fx.Node, source: fx.Node) -> Layer | None:
    """What a node does to the maps of `source`; None where it leaves them as they are.

    Raises: RefusedError for an operator that no layer says.
    """
    name, found, before, after = operator(node), given(node), shape_of(source), shape_of(node)
    match name:
        case "conv2d":
            return _conv(node, found)
        case "linear" if len(before) == 1:
            return Linear(after[0], found["bias"] is not None)
        case "batch_norm" | "_native_batch_norm_legit_no_training" if len(before) == 3:
            return BatchNorm(found["eps"])
        case "relu" | "relu_":
            return Relu()
        case "relu6" | "relu6_":
            return Relu(6.0)
        case "hardtanh" | "hardtanh_" if found["min_val"] == 0:
            return Relu(float(found["max_val"]))
        case "tanh" | "tanh_":
            return Tanh()
        case "dropout" | "dropout_" | "feature_dropout":
            return Dropout(found["p"])
        case "max_pool2d" | "avg_pool2d":
            return _pool(node, name, found)
        case "adaptive_avg_pool2d" | "adaptive_max_pool2d":
            return _adaptive(node, "average" if "avg" in name else "max", before, after)
        case "mean" if len(before) == 3 and sorted(dim % 4 for dim in found["dim"] or ()) == [2, 3]:
            return GlobalPool()
        case _ if name in SAME and (_trimmed(before) == _trimmed(after) or after == (prod(before),)):
            return None
        case _:
            raise _refused(node)


def _conv(node: fx.Node, found: dict[str, Any]) -> Layer:
    filters, _, *size = found["weight"].meta["val"].shape
    if _pair(found["dilation"]) != (1, 1) or isinstance(found["padding"], str):
        raise _refused(node, "with a dilation or a padding by name")
    return Conv(
        int(filters),
        _size_of(size),
        _size_of(found["stride"]),
        _size_of(found["padding"]),
        found["groups"],
        found["bias"] is not None,
    )


def _pool(node: fx.Node, name: str, found: dict[str, Any]) -> Layer:
    if _pair(found.get("dilation") or [1]) != (1, 1) or found.get("divisor_override"):
        raise _refused(node, "with a dilation or a divisor of its own")
    size = _size_of(found["kernel_size"])
    stride = _size_of(found["stride"]) if found["stride"] else size
    counted = found.get("count_include_pad", True)
    kind = "max" if name == "max_pool2d" else "average"
    return Pool(kind, size, stride, _size_of(found["padding"]), found["ceil_mode"], counted)  # type: ignore[arg-type]


def _adaptive(node: fx.Node, kind: str, before: Shape, after: Shape) -> Layer | None:
    """Pooling to a size: of the whole map, of equal windows, or of nothing."""
    if after[1:] == (1, 1):
        return GlobalPool(kind)  # type: ignore[arg-type]
    if after == before:
        return None
    if any(one % other for one, other in zip(before[1:], after[1:])):
        raise _refused(node, f"from {before[1:]} to {after[1:]}, whose windows are not equal")
    windows = _size_of([one // other for one, other in zip(before[1:], after[1:])])
    return Pool(kind, windows, windows)  # type: ignore[arg-type]


def _trimmed(shape: Shape) -> Shape:
    """Without the sides of a map of one pixel: a layer may give it either way."""
    return shape[:1] if shape and prod(shape) == shape[0] else shape


def _refused(node: fx.Node, how: str = "") -> RefusedError:
    return RefusedError(f"{node.target} {how}".rstrip() + " is no layer of topfive's")


def _pair(sizes: Any) -> tuple[int, int]:
    sizes = [sizes] if isinstance(sizes, int) else list(sizes)
    return int(sizes[0]), int(sizes[-1])


def _size_of(sizes: Any) -> int | tuple[int, int]:
    height, width = _pair(sizes)
    return height if height == width else (height, width)
