"""ResNeXt. Xie, Girshick, Dollar, Tu, He: Aggregated Residual Transformations for Deep Neural Networks, CVPR 2017
(arXiv 1611.05431).

The idea: many narrow paths side by side instead of one wide one; as a grouped 3x3 they cost what the bottleneck of a
ResNet costs and do better. The layout is Table 1; `32x4d` reads 32 groups, each 4 wide in conv2_x.
"""

from topfive.errors import UsageError
from topfive.networks.layers import Conv, Layer, Network
from topfive.networks.papers import Claim
from topfive.networks.resnet import TABLE, WIDTHS, imagenet, normalised, projected_where_needed, stages, with_shortcuts

# fmt: off
#  depth groups width   of the paper, and of torchvision
PUBLISHED = (
  ( 50,   32,    4),
  (101,   32,    4),
  (101,   64,    4),
  (101,   32,    8),
)
# fmt: on

CLAIMS: dict[str, list[Claim]] = {f"resnext-{depth}-{groups}x{width}d": [] for depth, groups, width in PUBLISHED}

ERRATA = {
    ("resnext-50-32x4d", "", "macs"): "4.23 G by count; 4.1 is what ResNet-50 costs with its stride on the 3x3 "
    "(4.09 G).",
    ("resnext-101-32x4d", "", "macs"): "7.97 G by count; 7.8 is what ResNet-101 costs with its stride on the 3x3 "
    "(7.80 G).",
    ("resnext-101-64x4d", "", "macs"): "15.46 G by count; 15.6 is twice the 7.8 printed for ResNeXt-101 32x4d.",
}

_POOL = "pool1 pads by 1, which the 56x56 maps behind it need."
DIFFERS = {name: [_POOL] for name in CLAIMS} | {
    "resnext-101-32x8d": ["Not in the tables of the paper: shipped by torchvision, by the rule of the others.", _POOL]
}


def resnext(depth: int, groups: int, width: int) -> Network:
    """A ResNet whose 3x3 has `groups` groups, each `width` wide in conv2_x. `(3, 224, 224) -> (1000,)`.

    Raises: UsageError for a depth that is not 50, 101 or 152, and for fewer than one group or filter.
    """
    if depth not in (50, 101, 152):
        raise UsageError(f"no ResNeXt is {depth} layers deep; there are 50, 101, 152")
    if groups < 1 or width < 1:
        raise UsageError(f"a ResNeXt needs at least 1 group of width 1, not {groups}x{width}d")

    def body(stage_width: int, stride: int) -> Layer:
        inner = groups * width * stage_width // WIDTHS[0]
        # paper: implementation details (recalled), the 3x3 of a stage's first block has the stride
        return normalised(Conv(inner, 1), Conv(inner, 3, stride, 1, groups), Conv(4 * stage_width, 1))

    counts, _ = TABLE[depth]
    network = imagenet(f"resnext-{depth}-{groups}x{width}d", stages(counts, WIDTHS, body))
    return with_shortcuts(network, projected_where_needed)
