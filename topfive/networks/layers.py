"""The words that a network is written in: frozen values, no torch.

A network says what its paper says and nothing more: no input channels (they follow from what comes before, and no
paper prints them), no device, no weights. Everything else in topfive reads these values: `costs.py` counts them,
`engine/models/modules.py` turns them into torch modules, `report/figures/` draws them. Variation is a function from
network to network (`with_classes`, `batch_normalized`, ...), never a flag.

Shapes are `(channels, height, width)`. A size is one number for a square, or `(height, width)`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from html import escape
from typing import Literal, TypeAlias

import msgspec

from topfive.errors import UsageError

Size: TypeAlias = int | tuple[int, int]


class Word(msgspec.Struct, frozen=True, tag=True, cache_hash=True, omit_defaults=True, forbid_unknown_fields=True):
    """What all words share: equality, hashing, and a strict JSON form tagged with the word's name."""


class Conv(Word, frozen=True):
    """`filters` kernels of `size`, each over `1/groups` of the input channels."""

    filters: int
    size: Size
    stride: Size = 1
    pad: Size = 0
    groups: int = 1
    bias: bool = True


class Linear(Word, frozen=True):
    """A fully connected layer over everything that comes in: `(C, H, W)` is flattened first, as the papers do."""

    units: int
    bias: bool = True


class Pool(Word, frozen=True):
    """The largest or the average value of each window; `ceil` keeps windows that reach over the edge."""

    kind: Literal["max", "average"]
    size: Size
    stride: Size = 1
    pad: Size = 0
    ceil: bool = False
    count_pad: bool = True  # whether an average counts the zeros of the padding


class GlobalPool(Word, frozen=True):
    """The average (or largest) value of each whole map: `(C, H, W) -> (C, 1, 1)`."""

    kind: Literal["max", "average"] = "average"


class BatchNorm(Word, frozen=True):
    eps: float = 1e-5


class Relu(Word, frozen=True):
    """max(0, x), never above `cap` where one is given (MobileNet's ReLU6)."""

    cap: float | None = None


class Tanh(Word, frozen=True):
    """tanh(x): what came before the rectified linear unit."""


class ResponseNorm(Word, frozen=True):
    """x / (k + alpha * sum of x^2 over `size` neighbouring channels)^beta. Source: AlexNet, section 3.3."""

    size: int = 5
    alpha: float = 1e-4  # multiplies the sum itself; torch's layer divides it by `size` first
    beta: float = 0.75
    k: float = 2.0


class Dropout(Word, frozen=True):
    rate: float = 0.5


class SqueezeExcite(Word, frozen=True):
    """Each channel scaled by a gate that a two-layer network reads off the channel means. Source: SENet, section 3."""

    reduction: int = 16


class ZeroPad(Word, frozen=True):
    """Zero maps added until there are `channels`: the parameter-free shortcut, option A of the ResNet paper."""

    channels: int
    before: int = 0  # how many of them stand in front of what comes in; the others stand behind it


class Chain(Word, frozen=True):
    """Layers one after the other, each with its name. An empty chain is the identity."""

    layers: tuple[tuple[str, Layer], ...] = ()


class Concat(Word, frozen=True):
    """Parallel branches over the same input, stacked along the channels."""

    branches: tuple[tuple[str, Layer], ...]


class Residual(Word, frozen=True):
    """`shortcut(x) + scale * body(x)`."""

    body: Layer
    shortcut: Layer = Chain()
    scale: float = 1.0


Layer: TypeAlias = (
    Conv
    | Linear
    | Pool
    | GlobalPool
    | BatchNorm
    | Relu
    | Tanh
    | ResponseNorm
    | Dropout
    | SqueezeExcite
    | ZeroPad
    | Chain
    | Concat
    | Residual
)

IDENTITY = Chain()


class Head(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An auxiliary classifier on the output of the stage `after`; it exists in training only."""

    name: str
    after: str
    body: Layer
    loss_weight: float


class Normal(msgspec.Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """Weights from N(0, std^2); biases 0, but 1 in the layers named."""

    std: float
    ones: tuple[str, ...] = ()


class He(msgspec.Struct, frozen=True, tag=True):
    """Weights from N(0, 2 / fan in). Source: He et al. 2015 (PReLU), section 2.2, equation 10."""


class Glorot(msgspec.Struct, frozen=True, tag=True):
    """Weights uniform in +-sqrt(6 / (fan in + fan out)). Source: Glorot and Bengio 2010."""


class Network(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A network as published. The children of `body` are the paper's rows and carry the paper's names."""

    name: str
    paper: str  # the key of its source in papers.toml
    input: tuple[int, int, int]
    body: Chain
    heads: tuple[Head, ...] = ()
    init: Normal | He | Glorot = He()

    @property
    def classes(self) -> int:
        """How many classes the last layer with weights tells apart."""
        last = _last_weighted(self.body)
        if last is None:
            raise UsageError(f"{self.name}: no layer has weights, so nothing classifies")
        return last.filters if isinstance(last, Conv) else last.units

    def _repr_html_(self) -> str:
        """The rows of the paper, as a notebook shows them."""
        rows = []
        for name, layer in self.body.layers:
            kinds = Counter(type(leaf).__name__ for _, leaf in leaves(layer))
            rows.append((name, ", ".join(f"{number} {kind}" for kind, number in kinds.items())))
        shape = "x".join(map(str, self.input))
        return html_table(f"{self.name}, input {shape}, {self.classes:,} classes", ("row", "layers"), rows)

    def _repr_svg_(self) -> str:
        """Its drawing, for a notebook or another program that asks for one; notebooks that take HTML show the table."""
        from topfive.networks.drawing import svg  # why here: what draws a network reads this file

        return svg(self)


def pair(size: Size) -> tuple[int, int]:
    """`(height, width)` of a size."""
    return (size, size) if isinstance(size, int) else size


def chain(*layers: tuple[str, Layer], **named: Layer) -> Chain:
    """A chain of `("name", layer)` pairs, then of keyword arguments: `chain(conv1=Conv(96, 11), relu1=Relu())`."""
    return Chain((*layers, *named.items()))


def concat(*branches: tuple[str, Layer], **named: Layer) -> Concat:
    """Branches side by side, named as in `chain`."""
    return Concat((*branches, *named.items()))


def children(layer: Layer) -> tuple[tuple[str, Layer], ...]:
    """What a layer is made of, with names; empty for a layer that is not made of others."""
    match layer:
        case Chain(layers):
            return layers
        case Concat(branches):
            return branches
        case Residual(body, shortcut):
            return (("body", body), ("shortcut", shortcut))
        case _:
            return ()


def leaves(layer: Layer, path: str = "") -> Iterator[tuple[str, Layer]]:
    """Every layer that is not made of others, in the order of the paper, with its dotted name."""
    inner = children(layer)
    if not inner and not isinstance(layer, Chain):
        yield path, layer
    for name, child in inner:
        yield from leaves(child, f"{path}.{name}" if path else name)


def rewrite(layer: Layer, change: Callable[[Layer], Layer]) -> Layer:
    """The same tree with `change` applied to every layer, innermost first."""
    match layer:
        case Chain(layers):
            layer = Chain(tuple((name, rewrite(child, change)) for name, child in layers))
        case Concat(branches):
            layer = Concat(tuple((name, rewrite(child, change)) for name, child in branches))
        case Residual(body, shortcut, scale):
            layer = Residual(rewrite(body, change), rewrite(shortcut, change), scale)
        case _:
            pass
    return change(layer)


def rewrite_network(network: Network, change: Callable[[Layer], Layer], name: str | None = None) -> Network:
    """`rewrite` on the body and on every auxiliary head."""
    body = rewrite(network.body, change)
    assert isinstance(body, Chain)
    heads = tuple(msgspec.structs.replace(head, body=rewrite(head.body, change)) for head in network.heads)
    return msgspec.structs.replace(network, name=name or network.name, body=body, heads=heads)


def with_classes(network: Network, classes: int) -> Network:
    """The network with another number of classes, in its auxiliary heads too.

    Raises: UsageError for fewer than two classes.
    """
    if classes < 2:
        raise UsageError(f"a classifier needs at least 2 classes, not {classes}")
    body = _replace_last_weighted(network.body, classes)
    assert isinstance(body, Chain)
    heads = tuple(
        msgspec.structs.replace(head, body=_replace_last_weighted(head.body, classes)) for head in network.heads
    )
    return msgspec.structs.replace(network, body=body, heads=heads)


def from_json(text: bytes | str) -> Network:
    """A network from its JSON form, as a checkpoint stores it or a user writes it by hand.

    Raises: UsageError naming the first field that is wrong.
    """
    try:
        network = msgspec.json.decode(text, type=Network)
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise UsageError(f"not a network: {error}") from error
    for body in (network.body, *(head.body for head in network.heads)):
        _check_names(body, "")
    return network


def _check_names(layer: Layer, path: str) -> None:
    """A module can have one child of a name, so that a second one would silently take its place."""
    seen: set[str] = set()
    for name, child in children(layer):
        inner = f"{path}.{name}" if path else name
        if not name or "." in name or name in seen:
            raise UsageError(f"not a network: {inner!r} needs a name of its own, without dots, beside its siblings")
        seen.add(name)
        _check_names(child, inner)


def _last_weighted(layer: Layer) -> Conv | Linear | None:
    if isinstance(layer, (Conv, Linear)):
        return layer
    for _, child in reversed(children(layer)):
        found = _last_weighted(child)
        if found is not None:
            return found
    return None


def _replace_last_weighted(layer: Layer, classes: int) -> Layer:
    match layer:
        case Conv():
            return msgspec.structs.replace(layer, filters=classes)
        case Linear():
            return msgspec.structs.replace(layer, units=classes)
        case Chain(layers):
            for i in range(len(layers) - 1, -1, -1):
                name, child = layers[i]
                if _last_weighted(child) is not None:
                    new = _replace_last_weighted(child, classes)
                    return Chain((*layers[:i], (name, new), *layers[i + 1 :]))
        case _:
            pass
    raise UsageError(f"the last layer with weights must classify alone, but it is inside {type(layer).__name__}")


def html_table(caption: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table for a notebook, every text escaped."""
    lines = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    names = "".join(f"<th>{escape(name)}</th>" for name in head)
    return f"<table><caption>{escape(caption)}</caption><tr>{names}</tr>{lines}</table>"
