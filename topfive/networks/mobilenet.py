"""MobileNet. v1: Howard and others: MobileNets: Efficient Convolutional Neural Networks for Mobile Vision Applications,
2017 (arXiv 1704.04861), Table 1. v2: Sandler, Howard, Zhu, Zhmoginov, Chen: MobileNetV2: Inverted Residuals and Linear
Bottlenecks, CVPR 2018 (arXiv 1801.04381), Table 2.

The idea: a 3x3 over each channel alone and a 1x1 across channels, for about an eighth of the multiply-adds of a 3x3
convolution; v2 adds shortcuts between the narrow ends of blocks that are wide inside, and no ReLU at those ends.
"""

from collections.abc import Iterator

from msgspec.structs import replace

from topfive.networks.layers import (
    BatchNorm,
    Chain,
    Conv,
    Dropout,
    GlobalPool,
    Layer,
    Linear,
    Network,
    Relu,
    Residual,
    rewrite_network,
)
from topfive.networks.papers import Claim

# fmt: off
#     depthwise stride, filters of the 1x1
V1 = ((1, 64), (2, 128), (1, 128), (2, 256), (1, 256), (2, 512), *[(1, 512)] * 5, (2, 1024), (1, 1024))
#              expansion t, filters c, blocks n, stride s
V2 = {
  "bottleneck1": (1,           16,       1,        1),
  "bottleneck2": (6,           24,       2,        2),
  "bottleneck3": (6,           32,       3,        2),
  "bottleneck4": (6,           64,       4,        2),
  "bottleneck5": (6,           96,       3,        1),
  "bottleneck6": (6,          160,       3,        2),
  "bottleneck7": (6,          320,       1,        1),
}
# fmt: on

CLAIMS: dict[str, list[Claim]] = {"mobilenet-v1": [], "mobilenet-v2": []}

ERRATA = {
    ("mobilenet-v2", "", "params"): (
        "The rows of Table 2 hold 3,504,872; without the 34,112 of batch normalisation they "
        "are 3.47 million, which cut short is the 3.4 printed."
    )
}

DIFFERS = {
    "mobilenet-v1": [
        "ReLU as the paper has it; the released code stops it at 6 (recalled).",
        "The last depthwise convolution has stride 1: Table 1 prints 2, which contradicts its own 7x7 maps (recalled).",
        "Initial weights are He's: the paper says nothing about them.",
    ],
    "mobilenet-v2": [
        "20 % dropout before the classifier, as torchvision has it.",
        "Initial weights are He's: the paper says nothing about them.",
    ],
}


def _stages() -> Iterator[tuple[int, int, int]]:
    """Every separable convolution of v1 with the stage and the block that timm counts: a stride begins a stage."""
    stage = block = 0
    for i, (stride, _) in enumerate(V1, start=1):
        stage, block = (stage + 1, 0) if stride > 1 else (stage, block + 1 if i > 1 else 0)
        yield i, stage, block


_TIMM_ENDS = ("conv1.", "conv_stem."), ("conv2.", "conv_head."), ("fc.", "classifier.")
TIMM_V1 = (
    *_TIMM_ENDS,
    *(
        (f"separable{i}.{ours}", f"blocks.{stage}.{block}.{theirs}")
        for i, stage, block in _stages()
        for ours, theirs in (("depthwise.", "conv_dw."), ("pointwise.", "conv_pw."), ("bn", "bn"))
    ),
)
TIMM_V2 = (
    *_TIMM_ENDS,
    # the first block has no expansion, so that its normalisations are counted from the next
    ("bottleneck1.bottleneck1_1.bn{n}.", "blocks.0.0.bn{n-1}."),
    ("bottleneck1.bottleneck1_1.project.", "blocks.0.0.conv_pw."),
    *(
        (f"bottleneck{{s}}.bottleneck{{s}}_{{b}}.{body}{ours}", f"blocks.{{s-1}}.{{b-1}}.{theirs}")
        for body in ("body.", "")  # where there is a shortcut, and where there is none
        for ours, theirs in (
            ("expand.", "conv_pw."),
            ("depthwise.", "conv_dw."),
            ("project.", "conv_pwl."),
            ("bn", "bn"),
        )
    ),
)
_EXPANDED = (
    ("expand.", "0.0."),
    ("bn1.", "0.1."),
    ("depthwise.", "1.0."),
    ("bn2.", "1.1."),
    ("project.", "2."),
    ("bn3.", "3."),
)
_PLAIN = ("depthwise.", "0.0."), ("bn2.", "0.1."), ("project.", "1."), ("bn3.", "2.")
_BLOCKS = [(row, i, expansion) for row, (expansion, _, count, _) in V2.items() for i in range(1, count + 1)]
TORCHVISION_V2 = (
    ("conv1.", "features.0.0."),
    ("bn1.", "features.0.1."),
    *(
        (f"{row}.{row}_{i}.{body}{ours}", f"features.{number}.conv.{theirs}")
        for number, (row, i, expansion) in enumerate(_BLOCKS, start=1)
        for body in ("body.", "")
        for ours, theirs in (_EXPANDED if expansion > 1 else _PLAIN)
    ),
    ("conv2.", f"features.{len(_BLOCKS) + 1}.0."),
    ("bn2.", f"features.{len(_BLOCKS) + 1}.1."),
    ("fc.", "classifier.1."),
)


def relu6(network: Network) -> Network:
    """The network with every ReLU stopped at 6, as the released code of v1 has it."""
    return rewrite_network(network, lambda layer: Relu(6) if layer == Relu() else layer, f"{network.name}-relu6")


def mobilenet_v1() -> Network:
    """Thirteen separable convolutions, width 1.0. `(3, 224, 224) -> (1000,)`."""
    layers = [*_normalised("conv1", Conv(32, 3, 2, 1), "1", Relu())]
    channels = 32
    for i, (stride, filters) in enumerate(V1, start=1):
        separable = [
            *_normalised("depthwise", Conv(channels, 3, stride, 1, channels), "1", Relu()),
            *_normalised("pointwise", Conv(filters, 1), "2", Relu()),
        ]
        layers += [(f"separable{i}", Chain(tuple(separable)))]
        channels = filters
    layers += [("pool", GlobalPool()), ("fc", Linear(1000))]
    return Network("mobilenet-v1", "mobilenet-v1", (3, 224, 224), Chain(tuple(layers)))


def mobilenet_v2() -> Network:
    """Seventeen inverted residual blocks, width 1.0. `(3, 224, 224) -> (1000,)`."""
    layers = [*_normalised("conv1", Conv(32, 3, 2, 1), "1", Relu(6))]
    channels = 32
    for row, (expansion, filters, count, row_stride) in V2.items():
        blocks: list[tuple[str, Layer]] = []
        for i in range(1, count + 1):
            stride = row_stride if i == 1 else 1
            block: Layer = _inverted(channels, expansion, filters, stride)
            # paper: section 3.3, a shortcut where the block keeps the shape
            block = Residual(block) if (stride, channels) == (1, filters) else block
            blocks += [(f"{row}_{i}", block)]
            channels = filters
        layers += [(row, Chain(tuple(blocks)))]
    layers += [*_normalised("conv2", Conv(1280, 1), "2", Relu(6))]
    layers += [("pool", GlobalPool()), ("drop", Dropout(0.2)), ("fc", Linear(1000))]
    return Network("mobilenet-v2", "mobilenet-v2", (3, 224, 224), Chain(tuple(layers)))


def _inverted(channels: int, expansion: int, filters: int, stride: int) -> Chain:
    """Expanded, filtered channel by channel, projected without a ReLU; an expansion by 1 is left out."""
    wide = channels * expansion
    layers = [*_normalised("expand", Conv(wide, 1), "1", Relu(6))] if expansion > 1 else []
    layers += _normalised("depthwise", Conv(wide, 3, stride, 1, wide), "2", Relu(6))
    layers += _normalised("project", Conv(filters, 1), "3", None)
    return Chain(tuple(layers))


def _normalised(name: str, conv: Conv, n: str, relu: Relu | None) -> list[tuple[str, Layer]]:
    layers: list[tuple[str, Layer]] = [(name, replace(conv, bias=False)), (f"bn{n}", BatchNorm())]
    return [*layers, (f"relu{n}", relu)] if relu else layers
