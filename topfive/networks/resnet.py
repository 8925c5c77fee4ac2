"""ResNet. He, Zhang, Ren, Sun: Deep Residual Learning for Image Recognition, CVPR 2016 (arXiv 1512.03385).

The idea: let a block of layers learn what to add to its input instead of what to make of it, so that depth helps where
plain networks get worse with it. The layout is Table 1, a column a depth; that for CIFAR-10 is section 4.2. Shortcuts
across two shapes are A (zero maps), B (1x1 projections) or C (projections everywhere), section 3.3 and Table 3.
"""

import re
from collections.abc import Callable
from functools import partial
from typing import TypeAlias

from msgspec.structs import replace

from topfive.errors import UsageError
from topfive.networks.layers import (
    IDENTITY,
    BatchNorm,
    Chain,
    Concat,
    Conv,
    GlobalPool,
    Layer,
    Linear,
    Network,
    Pool,
    Relu,
    Residual,
    ZeroPad,
    chain,
    children,
    pair,
    rewrite_network,
)
from topfive.networks.papers import Claim

# fmt: off
BASIC, BOTTLENECK = ((3, 1), (3, 1)), ((1, 1), (3, 1), (1, 4))  # kernel size, filters in units of the stage's width
#     conv2_x conv3_x conv4_x conv5_x  block
TABLE = {
  18:  ((2,      2,      2,      2),   BASIC),
  34:  ((3,      4,      6,      3),   BASIC),
  50:  ((3,      4,      6,      3),   BOTTLENECK),
  101: ((3,      4,     23,      3),   BOTTLENECK),
  152: ((3,      8,     36,      3),   BOTTLENECK),
}
WIDTHS = (64,  128,    256,    512)
CIFAR_WIDTHS = (16, 32, 64)  # 2n layers each, so that the depth is 6n + 2
# fmt: on

CLAIMS: dict[str, list[Claim]] = {}  # what Table 1 prints is about whole networks: papers.toml

ERRATA: dict[tuple[str, str, str], str] = {}
_POOL = "pool1 pads by 1, which the 56x56 maps behind it need; Table 1 gives its size and stride alone."
_STRIDE = (
    "Stride 2 stands on the 3x3 of the first block of a stage; the paper has it on the first 1x1, which costs 0.23 G "
    "multiply-adds less."
)
_ZEROS = "Where option A's zero maps go is not printed: they stand behind the others, as in fb.resnet.torch."
_OPTION = "Shortcuts are option B, as torchvision has them; the errors of Table 2 are of option A (`option_a`)."
DIFFERS: dict[str, list[str]] = {
    "plain-18": [_POOL],
    "plain-34": [_POOL],
    "resnet-18": [_OPTION, _POOL],
    "resnet-34": [_OPTION, _POOL],
    **{f"resnet-{depth}": [_POOL] for depth in (50, 101, 152)},
    **{f"resnet-{depth}-v1.5": [_STRIDE, _POOL] for depth in (50, 101, 152)},
    **{f"cifar-resnet-{depth}": [_ZEROS] for depth in (20, 32, 44, 56, 110, 1202)},
}

# our names -> theirs, see weights/names.py; fb.resnet.torch's layout, which torchvision, timm and the CIFAR files share
TORCHVISION = (
    ("conv{s}_x.conv{s}_{b}.add.body.", "layer{s-1}.{b-1}."),
    ("conv{s}_x.conv{s}_{b}.add.shortcut.conv.", "layer{s-1}.{b-1}.downsample.0."),
    ("conv{s}_x.conv{s}_{b}.add.shortcut.bn.", "layer{s-1}.{b-1}.downsample.1."),
)
AKAMASTER = (*((ours, theirs.replace("downsample", "shortcut")) for ours, theirs in TORCHVISION), ("fc.", "linear."))

Body: TypeAlias = Callable[[int, int], Layer]  # (width, stride) -> what a block adds to its input
Shortcut: TypeAlias = Callable[[int, int, int], Layer]  # (channels in, channels out, stride) -> the way around it


def resnet(depth: int) -> Network:
    """The network of Table 1, 18, 34, 50, 101 or 152 layers, shortcuts of option B. `(3, 224, 224) -> (1000,)`.

    Raises: UsageError for another depth.
    """
    if depth not in TABLE:
        raise UsageError(f"no ResNet is {depth} layers deep; Table 1 of the paper has {', '.join(map(str, TABLE))}")
    counts, kernels = TABLE[depth]
    name = f"resnet-{depth}"
    return with_shortcuts(imagenet(name, stages(counts, WIDTHS, _body(kernels))), projected_where_needed)


def plain(depth: int) -> Network:
    """The same layers without shortcuts: 18 or 34. `(3, 224, 224) -> (1000,)`.

    Raises: UsageError for another depth.
    """
    if depth not in (18, 34):
        raise UsageError(f"no plain network is {depth} layers deep; the paper has 18 and 34")
    return _without_shortcuts(resnet(depth), f"plain-{depth}")


def cifar_resnet(depth: int) -> Network:
    """The network for CIFAR-10, 6n + 2 layers, shortcuts of option A. `(3, 32, 32) -> (10,)`.

    Raises: UsageError for a depth that is not 6n + 2.
    """
    n, rest = divmod(depth - 2, 6)
    if rest or n < 1:
        raise UsageError(f"no CIFAR network is {depth} layers deep; the paper's are 6n + 2: 20, 32, 44, 56, 110, 1202")
    return _cifar(f"cifar-resnet-{depth}", BASIC, n)


def cifar_bottleneck(depth: int) -> Network:
    """The network for CIFAR-10 with bottleneck blocks, 9n + 2 layers; not of the paper. `(3, 32, 32) -> (10,)`."""
    return replace(_cifar(f"cifar-bottleneck-{depth}", BOTTLENECK, (depth - 2) // 9), paper="cifar-resnet-20")


def cifar_plain(depth: int) -> Network:
    """The same layers for CIFAR-10 without shortcuts. `(3, 32, 32) -> (10,)`.

    Raises: UsageError for a depth that is not 6n + 2.
    """
    return _without_shortcuts(cifar_resnet(depth), f"cifar-plain-{depth}")


def option_a(network: Network) -> Network:
    """Shortcuts without parameters: every second pixel across sizes, zero maps across widths.

    Raises: UsageError for a network without shortcuts.
    """
    return with_shortcuts(network, padded, "a")


def zeros_around(network: Network) -> Network:
    """Option A with half of the zero maps in front and half behind, as in the well-known CIFAR-10 checkpoints.

    Source: github.com/akamaster/pytorch_resnet_cifar10. Raises: UsageError for a network without shortcuts.
    """
    around = with_shortcuts(network, partial(padded, around=True))
    return replace(around, name=f"{network.name}-zeros-around")


def option_b(network: Network) -> Network:
    """Shortcuts that are 1x1 projections where the shape changes, the identity elsewhere.

    Raises: UsageError for a network without shortcuts.
    """
    return with_shortcuts(network, projected_where_needed, "b")


def option_c(network: Network) -> Network:
    """Shortcuts that are all 1x1 projections.

    Raises: UsageError for a network without shortcuts.
    """
    return with_shortcuts(network, projected, "c")


def stride_on_3x3(network: Network) -> Network:
    """The network with its strides on the 3x3 of a bottleneck, not the first 1x1: "v1.5" of fb.resnet.torch.

    Raises: UsageError for a network without a stride on a 1x1.
    """

    def change(layer: Layer) -> Layer:
        match layer:
            case Residual(Chain((("conv1", Conv(size=1) as one), bn, relu, ("conv2", Conv(size=3) as three), *rest))):
                moved = ("conv1", replace(one, stride=1)), bn, relu, ("conv2", replace(three, stride=one.stride))
                return replace(layer, body=Chain((*moved, *rest))) if one.stride != 1 else layer
            case _:
                return layer

    changed = rewrite_network(network, change, f"{network.name}-v1.5")
    if changed.body == network.body:
        raise UsageError(f"{network.name} has no bottleneck with a stride on its first 1x1")
    return changed


def imagenet(name: str, stages: list[tuple[str, Layer]]) -> Network:
    """The first two rows of Table 1 before the stages, its average and its classifier behind them."""
    start = (("conv1", Conv(64, 7, 2, 3, bias=False)), ("bn1", BatchNorm()), ("relu1", Relu()))
    end = (("pool5", GlobalPool()), ("fc", Linear(1000)))
    return Network(name, name, (3, 224, 224), Chain((*start, ("pool1", Pool("max", 3, 2, 1)), *stages, *end)))


def stages(counts: tuple[int, ...], widths: tuple[int, ...], body: Body) -> list[tuple[str, Layer]]:
    """conv2_x, conv3_x, ...: `counts` blocks each, the first with stride 2 but in conv2_x, shortcuts the identity."""
    out: list[tuple[str, Layer]] = []
    for stage, (count, width) in enumerate(zip(counts, widths, strict=True), start=2):
        strides = [1 if stage == 2 else 2] + [1] * (count - 1)
        blocks = [chain(add=Residual(body(width, stride)), relu=Relu()) for stride in strides]
        named = ((f"conv{stage}_{i}", block) for i, block in enumerate(blocks, start=1))
        out.append((f"conv{stage}_x", chain(*named)))
    return out


def normalised(*convs: Conv) -> Chain:
    """Convolutions without bias, batch normalisation behind each, a ReLU between two."""
    layers: list[tuple[str, Layer]] = []
    for i, conv in enumerate(convs, start=1):
        layers += [(f"relu{i - 1}", Relu())] if i > 1 else []
        layers += [(f"conv{i}", replace(conv, bias=False)), (f"bn{i}", BatchNorm())]
    return Chain(tuple(layers))


def padded(channels: int, filters: int, stride: int, around: bool = False) -> Layer:
    """Option A: every `stride`-th pixel taken, zero maps appended, or half of them in front where they stand around."""
    layers: list[tuple[str, Layer]] = [("pool", Pool("max", 1, stride))] if stride > 1 else []
    layers += [("pad", ZeroPad(filters, (filters - channels) // 2 if around else 0))] if filters != channels else []
    return Chain(tuple(layers))


def projected_where_needed(channels: int, filters: int, stride: int) -> Layer:
    """Option B."""
    return IDENTITY if (channels, stride) == (filters, 1) else projected(channels, filters, stride)


def projected(channels: int, filters: int, stride: int) -> Layer:
    """Option C."""
    return chain(conv=Conv(filters, 1, stride, bias=False), bn=BatchNorm())


def with_shortcuts(network: Network, shortcut: Shortcut, option: str = "") -> Network:
    """The network with another shortcut in every residual block; its name ends in `-option` where one is given.

    Raises: UsageError for a network without residual blocks.
    """
    if not has_residuals(network.body):
        raise UsageError(f"{network.name} has no shortcuts: it has no residual blocks")
    body, _, _ = _reconnect(network.body, network.input[0], shortcut)
    assert isinstance(body, Chain)
    name = f"{re.sub('-[abc]$', '', network.name)}-{option}" if option else network.name
    return replace(network, name=name, body=body)


def has_residuals(layer: Layer) -> bool:
    return isinstance(layer, Residual) or any(has_residuals(child) for _, child in children(layer))


def _reconnect(layer: Layer, channels: int, shortcut: Shortcut) -> tuple[Layer, int, int]:
    """The layer with its new shortcuts, the channels that come out of it, and its stride."""
    match layer:
        case Conv(filters, _, stride):
            return layer, filters, pair(stride)[0]
        case Pool(_, _, stride):
            return layer, channels, pair(stride)[0]
        case ZeroPad(filters) | Linear(filters):
            return layer, filters, 1
        case Chain(layers):
            out, product = [], 1
            for name, child in layers:
                child, channels, stride = _reconnect(child, channels, shortcut)
                out.append((name, child))
                product *= stride
            return Chain(tuple(out)), channels, product
        case Concat(branches):
            parts = [_reconnect(branch, channels, shortcut) for _, branch in branches]
            joined = Concat(tuple((name, part[0]) for (name, _), part in zip(branches, parts)))
            return joined, sum(part[1] for part in parts), parts[0][2]
        case Residual(body):
            body, filters, stride = _reconnect(body, channels, shortcut)
            return replace(layer, body=body, shortcut=shortcut(channels, filters, stride)), filters, stride
        case _:
            return layer, channels, 1


def _cifar(name: str, kernels: tuple[tuple[int, int], ...], blocks: int) -> Network:
    """Section 4.2: three stages of so many blocks."""
    layers: list[tuple[str, Layer]] = [("conv1", Conv(16, 3, pad=1, bias=False)), ("bn1", BatchNorm())]
    layers += [("relu1", Relu()), *stages((blocks,) * 3, CIFAR_WIDTHS, _body(kernels))]
    layers += [("pool4", GlobalPool()), ("fc", Linear(10))]
    return with_shortcuts(Network(name, name, (3, 32, 32), Chain(tuple(layers))), padded)


def _body(kernels: tuple[tuple[int, int], ...]) -> Body:
    def body(width: int, stride: int) -> Layer:
        strides = (stride, *[1] * (len(kernels) - 1))  # paper: Table 1, a block's first convolution has the stride
        return normalised(*(Conv(width * wide, k, s, k // 2) for (k, wide), s in zip(kernels, strides)))

    return body


def _without_shortcuts(network: Network, name: str) -> Network:
    def change(layer: Layer) -> Layer:
        match layer:
            case Chain((("add", Residual(Chain(body))), relu)):
                return Chain((*body, relu))
            case _:
                return layer

    return replace(rewrite_network(network, change, name), paper=name)
