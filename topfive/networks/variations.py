"""Functions from network to network that belong to no one paper: each gives back a new value, none is a flag.

Those that a paper brought live in its file: `option_a`, `stride_on_3x3` (resnet.py), `squeeze_excite` (senet.py).
"""

import msgspec

from topfive.networks.costs import count
from topfive.networks.layers import (
    BatchNorm,
    Chain,
    Concat,
    Conv,
    GlobalPool,
    He,
    Head,
    Layer,
    Linear,
    Network,
    Pool,
    Residual,
    ResponseNorm,
    ZeroPad,
    leaves,
    pair,
    rewrite_network,
    with_classes,
)
from topfive.networks.receptive_fields import SizeError
from topfive.networks.shapes import shape_after


def batch_normalized(network: Network, name: str = "", linear: bool = False) -> Network:
    """Batch normalisation behind every convolution but a classifying one, and no response normalisation.

    `linear`: behind the hidden fully connected layers too. Biases stay, as in the networks that are called BN-x.
    """
    last = [path for path, layer in leaves(network.body) if isinstance(layer, (Conv, Linear))][-1]
    classifiers = {last.rsplit(".", 1)[-1]} | {head.name for head in network.heads}

    def change(layer: Layer) -> Layer:
        if not isinstance(layer, Chain):
            return layer
        out: list[tuple[str, Layer]] = []
        for child_name, child in layer.layers:
            if isinstance(child, ResponseNorm):
                continue
            out.append((child_name, child))
            normalised = isinstance(child, Conv) or (linear and isinstance(child, Linear))
            if normalised and child_name not in classifiers:
                out.append((_bn_name(child_name), BatchNorm()))
        return Chain(tuple(out))

    return rewrite_network(network, change, name or f"{network.name}-bn")


def for_small_images(network: Network, size: int = 32) -> Network:
    """The network made to work on images of `size` pixels; one published for images that small stays as it is.

    Windows get the padding that keeps a map's size, so that no map vanishes; strides are taken out from the front,
    one halving at a time, until the last convolutions work on maps of 2x2 or larger. A pool without stride goes; a
    convolution without stride is at most 3x3. Initial weights are He's.
    """
    channels = network.input[0]
    if max(network.input[1:]) <= size:
        return msgspec.structs.replace(network, input=(channels, size, size))
    small = msgspec.structs.replace(rewrite_network(network, _same_padding), input=(channels, size, size))
    while _last_map(small) < 2:
        body = _take_out_first_stride(small.body)
        if body == small.body:
            break
        assert isinstance(body, Chain)
        small = msgspec.structs.replace(small, body=body)
    # why: N(0, 0.01^2) was chosen for 224 pixels; He's follows the fan-in, so that it suits any size (not compared)
    return msgspec.structs.replace(small, init=He())


def narrowed(network: Network, divisor: int, name: str = "") -> Network:
    """The network with this share of the channels of every layer, for machines that the whole one is too dear for.

    A layer keeps at least one channel for each of its groups.
    """

    def change(layer: Layer) -> Layer:
        match layer:
            case Conv(filters, groups=groups):
                return msgspec.structs.replace(layer, filters=groups * max(1, filters // divisor // groups))
            case Linear(units):
                return msgspec.structs.replace(layer, units=max(1, units // divisor))
            case ZeroPad(channels, before):
                return msgspec.structs.replace(layer, channels=max(1, channels // divisor), before=before // divisor)
            case _:
                return layer

    narrow = rewrite_network(network, change, name or f"{network.name}-narrow-{divisor}")
    return with_classes(narrow, network.classes)


def without(network: Network, kind: type[Layer], name: str) -> Network:
    """The network without its layers of one kind: dropout, response normalisation, ..."""

    def change(layer: Layer) -> Layer:
        if not isinstance(layer, Chain):
            return layer
        return Chain(tuple((row, child) for row, child in layer.layers if not isinstance(child, kind)))

    return rewrite_network(network, change, name)


def headless(network: Network) -> Network:
    """The network without its auxiliary classifiers."""
    return msgspec.structs.replace(network, name=f"{network.name}-alone", heads=())


def with_heads(network: Network, after: tuple[str, ...], weight: float, name: str) -> Network:
    """The network with a small auxiliary classifier on the output of each of these rows."""
    body = Chain((("average", GlobalPool()), ("fc", Linear(network.classes))))
    heads = tuple(Head(f"aux{n}", row, body, weight) for n, row in enumerate(after, start=1))
    return msgspec.structs.replace(network, name=name, heads=heads)


def average_pooled(network: Network, name: str = "") -> Network:
    """The network with the average of each last map and one fully connected layer in place of its classifier."""
    first = next(i for i, (_, layer) in enumerate(network.body.layers) if isinstance(layer, Linear))
    rows = network.body.layers[:first]
    body = Chain((*rows, ("average", GlobalPool()), ("classifier", Linear(network.classes))))
    return msgspec.structs.replace(network, name=name or f"{network.name}-average", body=body)


def fully_convolutional(network: Network) -> Network:
    """The network that takes images of its input's size or larger, and averages the class scores over all places.

    A fully connected layer becomes the convolution whose kernel is as large as the map that it sees at the network's
    own input; names, and so parameters, stay. Auxiliary classifiers, which exist in training only, are gone.
    Raises: SizeError where branches would give maps of different sizes. Source: VGG, section 3.2.
    """
    body = _convolutional(network.body, network.input)
    assert isinstance(body, Chain)
    dense = msgspec.structs.replace(network, body=body, heads=())
    channels, height, width = network.input
    if count(dense, (channels, 2 * height, 2 * width)).stages[-1].output[1:] != (1, 1):
        average = (f"{body.layers[-1][0]}_average", GlobalPool())
        dense = msgspec.structs.replace(dense, body=Chain((*body.layers, average)))
    return dense


def _convolutional(layer: Layer, shape: tuple[int, int, int]) -> Layer:
    """`layer`, into which maps of `shape` come, without fully connected layers."""
    match layer:
        case Linear(units, bias):
            return Conv(units, shape[1] if shape[1] == shape[2] else shape[1:], bias=bias)
        case Chain(layers):
            out = []
            for name, child in layers:
                out.append((name, _convolutional(child, shape)))
                shape = shape_after(child, shape)
            return Chain(tuple(out))
        case Concat(branches):
            return Concat(tuple((name, _convolutional(branch, shape)) for name, branch in branches))
        case Residual(body, shortcut, scale):
            return Residual(_convolutional(body, shape), _convolutional(shortcut, shape), scale)
        case _:
            return layer


def _bn_name(name: str) -> str:
    for prefix in ("conv", "fc"):
        if name.startswith(prefix):
            return f"bn{name[len(prefix) :]}" if prefix == "conv" else f"bn_{name}"
    return f"{name}_bn"


def _same_padding(layer: Layer) -> Layer:
    if isinstance(layer, (Conv, Pool)):
        height, width = pair(layer.size)
        if isinstance(layer, Pool) and (height, width) == (1, 1):
            return layer
        pad = (height // 2, width // 2)
        # why: an even pooling window has no centre; 2x2/2 without padding halves a map exactly
        pad = (0, 0) if isinstance(layer, Pool) and height % 2 == 0 else pad
        new = msgspec.structs.replace(layer, pad=pad[0] if pad[0] == pad[1] else pad)
        return msgspec.structs.replace(new, ceil=False) if isinstance(new, Pool) else new
    return layer


def _last_map(network: Network) -> int:
    """The side of the maps that the last convolution before the classifier gives; 0 where the size does not fit."""
    try:
        rows = count(network).rows
    except SizeError:
        return 0
    ends = next((i for i, row in enumerate(rows) if row.layer.startswith(("global", "linear"))), len(rows))
    return next((min(row.output[1:]) for row in reversed(rows[:ends]) if row.layer.startswith("conv")), 0)


def _take_out_first_stride(layer: Layer) -> Layer:
    """The layer with its first stride above 1 halved, in every branch where branches run side by side."""
    match layer:
        case Chain(layers):
            for i, (name, child) in enumerate(layers):
                new = _take_out_first_stride(child)
                if new != child:
                    return Chain((*layers[:i], (name, new), *layers[i + 1 :]))
            return layer
        case Concat(branches):
            return Concat(tuple((name, _take_out_first_stride(branch)) for name, branch in branches))
        case Residual(body, shortcut, scale):
            return Residual(_take_out_first_stride(body), _take_out_first_stride(shortcut), scale)
        case Conv() | Pool() if max(pair(layer.stride)) > 1:
            stride = max(pair(layer.stride)) // 2
            if stride > 1:
                return msgspec.structs.replace(layer, stride=stride)
            if isinstance(layer, Pool):
                return Chain()  # a pool that no longer shrinks the map is gone
            if max(pair(layer.size)) > 3:
                return msgspec.structs.replace(layer, stride=1, size=3, pad=1)
            return msgspec.structs.replace(layer, stride=1)
        case _:
            return layer
