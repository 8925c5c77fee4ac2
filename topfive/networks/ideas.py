"""The ideas of the story as pairs: the same job before and after, as small networks that everything can read."""

from typing import NamedTuple

from topfive.networks import resnet
from topfive.networks.layers import Chain, Conv, Layer, Network, Pool, Relu, chain, concat

POPULAR_MACS = 358_000_000  # of the reduced module, as lectures give them: a slip
STACK = 64, 56, 56  # channels, height, width of the maps that both stacks read


Named = tuple[str, Layer]


class Idea(NamedTuple):
    """Two networks whose costs say what an idea changes."""

    name: str
    before: Network
    after: Network


def ideas() -> tuple[Idea, ...]:
    """In the order of the story."""
    return (
        Idea("stack", stack("one-7x7", 7, 1), stack("three-3x3", 3, 3)),
        Idea("inception", inception_module(False), inception_module(True)),
        Idea("residual", _block("plain-block", 34, straight=True), _block("residual-block", 34)),
        Idea("bottleneck", _block("basic-block", 34), _block("bottleneck-block", 50)),
        Idea("stride", _first_block("v1", resnet.resnet(50)), _first_block("v1.5", _shipped())),
    )


def stack(name: str, side: int, number: int) -> Network:
    """So many convolutions of one size on top of each other, that keep the maps as they are."""
    return Network(name, "vgg-d", STACK, Chain(tuple(stacked(side, number, STACK[0], bias=False))))


def stacked(side: int, number: int, filters: int, each: bool = True, bias: bool = True, block: str = "") -> list[Named]:
    """The layers of such a stack; `each` convolution with its own nonlinearity, or the last one alone."""
    layers: list[Named] = []
    for n in range(1, number + 1):
        layers.append((f"conv{block}{n}", Conv(filters, side, pad=side // 2, bias=bias)))
        if each or n == number:
            layers.append((f"relu{block}{n}", Relu()))
    return layers


def inception_module(reduced: bool) -> Network:
    """The module that lectures show: 28x28x256 in, 128 + 192 + 96 filters and the pooled maps out."""
    less: tuple[Named, ...] = (("reduce", Conv(64, 1)),) if reduced else ()
    project: tuple[Named, ...] = (("project", Conv(64, 1)),) if reduced else ()
    branches = concat(
        b1=chain(conv=Conv(128, 1)),
        b3=chain(*less, conv=Conv(192, 3, pad=1)),
        b5=chain(*less, conv=Conv(96, 5, pad=2)),
        pool=chain(("pool", Pool("max", 3, 1, pad=1)), *project),
    )
    name = "reduced-module" if reduced else "naive-module"
    return Network(name, "googlenet", (256, 28, 28), chain(module=branches, relu=Relu()))


def _block(name: str, depth: int, straight: bool = False) -> Network:
    """The second block of conv2_x, whose shortcut is the identity; `straight` leaves the shortcut out."""
    network = resnet.plain(depth) if straight else resnet.resnet(depth)
    block = dict(dict(network.body.layers)["conv2_x"].layers)["conv2_2"]  # type: ignore[union-attr]
    return Network(name, network.paper, (64 if depth < 50 else 256, 56, 56), chain(block=block))


def _shipped() -> Network:
    return resnet.stride_on_3x3(resnet.resnet(50))


def _first_block(version: str, network: Network) -> Network:
    """The block that halves the maps."""
    block = dict(dict(network.body.layers)["conv3_x"].layers)["conv3_1"]  # type: ignore[union-attr]
    return Network(f"{version}-block", "resnet-50", (256, 56, 56), chain(block=block))
