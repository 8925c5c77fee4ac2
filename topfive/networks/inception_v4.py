"""Inception-v4, Inception-ResNet. Szegedy, Ioffe, Vanhoucke, Alemi: Inception-v4, Inception-ResNet and the Impact of
Residual Connections on Learning, AAAI 2017 (arXiv 1602.07261).

The idea: a uniform Inception network of the size it needs, and the same modules as residual blocks, scaled down where
they are wide: both end about equally good, the residual ones train faster. The layout is Fig. 3 to 19; the widths of
Reduction-A are its Table 1. `inception_resnet_v2` is the network that the authors released, not that of the figures.
"""

from topfive.networks.inception_v3 import Spec, convs, fork, pooled, shrink
from topfive.networks.layers import (
    Chain,
    Concat,
    Conv,
    Dropout,
    GlobalPool,
    Glorot,
    Layer,
    Linear,
    Network,
    Relu,
    Residual,
    chain,
    concat,
)
from topfive.networks.papers import Claim

# (filters, size) keeps the size of the map; (filters, size, stride) has no padding, "V" in the figures
# fmt: off
START: tuple[Spec, ...] = (32, 3, 2), (32, 3, 1), (64, 3)
TABLE: dict[str, dict[str, tuple[Spec, ...]]] = {
  # Fig. 4, 5 and 8, Inception-v4; the first two have a branch that averages and projects, the last one a max pool
  "inception_a": {"1x1": ((96, 1),), "3x3": ((64, 1), (96, 3)), "double3x3": ((64, 1), (96, 3), (96, 3))},
  "inception_b": {"1x1": ((384, 1),), "7x7": ((192, 1), (224, (1, 7)), (256, (7, 1))),
                  "double7x7": ((192, 1), (192, (7, 1)), (224, (1, 7)), (224, (7, 1)), (256, (1, 7)))},
  "reduction_b": {"3x3": ((192, 1), (192, 3, 2)), "7x7": ((256, 1), (256, (1, 7)), (320, (7, 1)), (320, 3, 2))},
  # Fig. 10 to 13, Inception-ResNet-v1
  "v1_a": {"1x1": ((32, 1),), "3x3": ((32, 1), (32, 3)), "double3x3": ((32, 1), (32, 3), (32, 3))},
  "v1_b": {"1x1": ((128, 1),), "7x7": ((128, 1), (128, (1, 7)), (128, (7, 1)))},
  "v1_c": {"1x1": ((192, 1),), "3x3": ((192, 1), (192, (1, 3)), (192, (3, 1)))},
  "v1_reduction_b": {"3x3": ((256, 1), (384, 3, 2)), "narrow3x3": ((256, 1), (256, 3, 2)),
                     "double3x3": ((256, 1), (256, 3), (256, 3, 2))},
  # Fig. 16 to 19, Inception-ResNet-v2
  "v2_a": {"1x1": ((32, 1),), "3x3": ((32, 1), (32, 3)), "double3x3": ((32, 1), (48, 3), (64, 3))},
  "v2_b": {"1x1": ((192, 1),), "7x7": ((128, 1), (160, (1, 7)), (192, (7, 1)))},
  "v2_c": {"1x1": ((192, 1),), "3x3": ((192, 1), (224, (1, 3)), (256, (3, 1)))},
  "v2_reduction_b": {"3x3": ((256, 1), (384, 3, 2)), "narrow3x3": ((256, 1), (288, 3, 2)),
                     "double3x3": ((256, 1), (288, 3), (320, 3, 2))},
}
#                         k    l    m    n       Fig. 7, widths in Table 1
REDUCTION_A = {
  "inception-v4":        (192, 224, 256, 384),
  "inception-resnet-v1": (192, 192, 256, 384),
  "inception-resnet-v2": (256, 256, 384, 384),
}
SCALES = (0.17, 0.10, 0.20)  # of the residual blocks at 35x35, 17x17 and 8x8, as released
# fmt: on

CLAIMS: dict[str, list[Claim]] = {
    "inception-v4": [],
    "inception-resnet-v1": [],
    "inception-resnet-v2": [],
    "inception-resnet-v2-paper": [],
}

ERRATA: dict[tuple[str, str, str], str] = {}

_SAME = [
    "Batch normalisation adds 0.001 to the variance and average pools leave their padding out, as released: the paper "
    "prints neither. Initial weights are Glorot's: the paper gives none."
]
_SCALED = [
    "The sums are scaled by 0.17, 0.10 and 0.20 at 35x35, 17x17 and 8x8, as in the released Inception-ResNet-v2; the "
    "paper only says about 0.1 to 0.3 (recalled). The linear 1x1 convolutions have a bias and no normalisation."
]
_RECALLED = ["The widths of the figures are recalled, not read; see docs/decisions/0002-inception-resnet-widths.md."]
DIFFERS = {
    "inception-v4": [
        "Where a 1x7 and a 7x1 or a 1x3 and a 3x1 follow each other, their order is that of the released code.",
        *_SAME,
    ],
    "inception-resnet-v1": [*_RECALLED, *_SCALED, *_SAME],
    "inception-resnet-v2": [
        "The released network, not that of the figures: 10, 20 and 10 blocks instead of 5, 10 and 5, the stem of "
        "Inception-v3 with one module in place of that of Fig. 3, blocks 320, 1088 and 2080 wide instead of 384, 1152 "
        "and 2144, the last one neither scaled nor rectified, and a 1x1 convolution to 1536 maps before the pool.",
        *_SCALED,
        *_SAME,
    ],
    "inception-resnet-v2-paper": [
        *_RECALLED,
        "Blocks are 1152 and 2144 wide, what the reductions give; the figures print 1154 and 2048 (recalled), which "
        "no shortcut could be added to.",
        *_SCALED,
        *_SAME,
    ],
}

# timm's names: rows of `features` are numbered through, and so are branches
TIMM_V4 = (
    ("stem.start.{kind}{n}.", "features.{n-1}.{kind}."),
    ("stem.mixed_3a.3x3.", "features.3.conv."),
    ("stem.mixed_4a.3x3.{kind}{n}.", "features.4.branch0.{n-1}.{kind}."),
    ("stem.mixed_4a.7x7.{kind}{n}.", "features.4.branch1.{n-1}.{kind}."),
    ("stem.mixed_5a.3x3.", "features.5.conv."),
    ("inception_a_{i}.1x1.", "features.{i+5}.branch0."),
    ("inception_a_{i}.3x3.{kind}{n}.", "features.{i+5}.branch1.{n-1}.{kind}."),
    ("inception_a_{i}.double3x3.{kind}{n}.", "features.{i+5}.branch2.{n-1}.{kind}."),
    ("inception_a_{i}.pool.", "features.{i+5}.branch3.1."),
    ("reduction_a.3x3.", "features.10.branch0."),
    ("reduction_a.double3x3.{kind}{n}.", "features.10.branch1.{n-1}.{kind}."),
    ("inception_b_{i}.1x1.", "features.{i+10}.branch0."),
    ("inception_b_{i}.7x7.{kind}{n}.", "features.{i+10}.branch1.{n-1}.{kind}."),
    ("inception_b_{i}.double7x7.{kind}{n}.", "features.{i+10}.branch2.{n-1}.{kind}."),
    ("inception_b_{i}.pool.", "features.{i+10}.branch3.1."),
    ("reduction_b.3x3.{kind}{n}.", "features.18.branch0.{n-1}.{kind}."),
    ("reduction_b.7x7.{kind}{n}.", "features.18.branch1.{n-1}.{kind}."),
    ("inception_c_{i}.1x1.", "features.{i+18}.branch0."),
    ("inception_c_{i}.3x3.fork.1x3.", "features.{i+18}.branch1_1a."),
    ("inception_c_{i}.3x3.fork.3x1.", "features.{i+18}.branch1_1b."),
    ("inception_c_{i}.3x3.", "features.{i+18}.branch1_0."),
    ("inception_c_{i}.double3x3.fork.1x3.", "features.{i+18}.branch2_3a."),
    ("inception_c_{i}.double3x3.fork.3x1.", "features.{i+18}.branch2_3b."),
    ("inception_c_{i}.double3x3.{kind}{n}.", "features.{i+18}.branch2_{n-1}.{kind}."),
    ("inception_c_{i}.pool.", "features.{i+18}.branch3.1."),
    ("fc.", "last_linear."),
)
TIMM_RESNET_V2 = (
    ("stem.start.{kind}1.", "conv2d_1a.{kind}."),
    ("stem.start.{kind}2.", "conv2d_2a.{kind}."),
    ("stem.start.{kind}3.", "conv2d_2b.{kind}."),
    ("stem.end.{kind}1.", "conv2d_3b.{kind}."),
    ("stem.end.{kind}2.", "conv2d_4a.{kind}."),
    ("stem.mixed_5b.1x1.", "mixed_5b.branch0."),
    ("stem.mixed_5b.5x5.{kind}{n}.", "mixed_5b.branch1.{n-1}.{kind}."),
    ("stem.mixed_5b.double3x3.{kind}{n}.", "mixed_5b.branch2.{n-1}.{kind}."),
    ("stem.mixed_5b.pool.", "mixed_5b.branch3.1."),
    ("reduction_a.3x3.", "mixed_6a.branch0."),
    ("reduction_a.double3x3.{kind}{n}.", "mixed_6a.branch1.{n-1}.{kind}."),
    ("reduction_b.3x3.{kind}{n}.", "mixed_7a.branch0.{n-1}.{kind}."),
    ("reduction_b.narrow3x3.{kind}{n}.", "mixed_7a.branch1.{n-1}.{kind}."),
    ("reduction_b.double3x3.{kind}{n}.", "mixed_7a.branch2.{n-1}.{kind}."),
    *(
        (f"inception_resnet_{ours}.add.body.{part}", f"{theirs}.{theirs_part}")
        for ours, theirs in (
            ("a_{i}", "repeat.{i-1}"),
            ("b_{i}", "repeat_1.{i-1}"),
            ("c_10", "block8"),
            ("c_{i}", "repeat_2.{i-1}"),
        )
        for part, theirs_part in (
            ("conv.", "conv2d."),
            ("branches.1x1.", "branch0."),
            ("branches.3x3.{kind}{n}.", "branch1.{n-1}.{kind}."),
            ("branches.7x7.{kind}{n}.", "branch1.{n-1}.{kind}."),
            ("branches.double3x3.{kind}{n}.", "branch2.{n-1}.{kind}."),
        )
    ),
    ("conv_7b.", "conv2d_7b."),
    ("fc.", "classif."),
)


def inception_v4() -> Network:
    """The network of Fig. 9: 4 modules at 35x35, 7 at 17x17, 3 at 8x8. `(3, 299, 299) -> (1000,)`."""
    layers: list[tuple[str, Layer]] = [("stem", _stem())]
    layers += [(f"inception_a_{i}", _module("inception_a", pooled(96, count_pad=False))) for i in range(1, 5)]
    layers += [("reduction_a", _reduction_a("inception-v4"))]
    layers += [(f"inception_b_{i}", _module("inception_b", pooled(128, count_pad=False))) for i in range(1, 8)]
    layers += [("reduction_b", _module("reduction_b", shrink()))]
    inception_c = concat(
        ("1x1", convs((256, 1))),
        ("3x3", fork(convs((384, 1)), 256)),
        ("double3x3", fork(convs((384, 1), (448, (3, 1)), (512, (1, 3))), 256)),
        ("pool", pooled(256, count_pad=False)),
    )
    layers += [(f"inception_c_{i}", inception_c) for i in range(1, 4)]
    return _network("inception-v4", layers)


def inception_resnet_v1() -> Network:
    """The smaller residual network, about the cost of Inception-v3: 5, 10 and 5 blocks. `(3, 299, 299) -> (1000,)`."""
    stem = chain(start=convs(*START), pool=shrink(), end=convs((80, 1), (192, 3, 1), (256, 3, 2)))
    stages = _stages("inception-resnet-v1", (5, 10, 5), (256, 896, 1792))
    return _network("inception-resnet-v1", [("stem", stem), *stages])


def inception_resnet_v2() -> Network:
    """The network as released in 2016: 10, 20 and 10 blocks on a lighter stem. `(3, 299, 299) -> (1000,)`."""
    mixed_5b = concat(
        ("1x1", convs((96, 1))),
        ("5x5", convs((48, 1), (64, 5))),
        ("double3x3", convs((64, 1), (96, 3), (96, 3))),
        ("pool", pooled(64, count_pad=False)),
    )
    stem = chain(
        start=convs(*START), pool1=shrink(), end=convs((80, 1), (192, 3, 1)), pool2=shrink(), mixed_5b=mixed_5b
    )
    stages = _stages("inception-resnet-v2", (10, 20, 10), (320, 1088, 2080))
    # TensorFlow release: the last block is neither scaled nor rectified, and a 1x1 convolution follows it
    last, _ = stages[-1]
    stages[-1] = (last, chain(add=_residual("v2_c", 2080, 1.0)))
    return _network("inception-resnet-v2", [("stem", stem), *stages, ("conv_7b", convs((1536, 1)))])


def inception_resnet_v2_paper(
    blocks: tuple[int, int, int] = (5, 10, 5), name: str = "inception-resnet-v2-paper"
) -> Network:
    """The network of the figures: the stem of Inception-v4, 5, 10 and 5 wider blocks. `(3, 299, 299) -> (1000,)`."""
    layers = [("stem", _stem()), *_stages("inception-resnet-v2", blocks, (384, 1152, 2144))]
    return _network("inception-resnet-v2-paper", layers, name)


def _stem() -> Chain:
    """Fig. 3, shared by Inception-v4 and Inception-ResNet-v2: 384 maps of 35x35."""
    seven = convs((64, 1), (64, (1, 7)), (64, (7, 1)), (96, 3, 1))
    return chain(
        start=convs(*START),
        mixed_3a=concat(("pool", shrink()), ("3x3", convs((96, 3, 2)))),
        mixed_4a=concat(("3x3", convs((64, 1), (96, 3, 1))), ("7x7", seven)),
        mixed_5a=concat(("3x3", convs((192, 3, 2))), ("pool", shrink())),
    )


def _stages(paper: str, blocks: tuple[int, int, int], widths: tuple[int, int, int]) -> list[tuple[str, Layer]]:
    version = paper[-2:]
    layers: list[tuple[str, Layer]] = []
    for kind, count, width, scale in zip("abc", blocks, widths, SCALES):
        block = chain(add=_residual(f"{version}_{kind}", width, scale), relu=Relu())
        layers += [(f"inception_resnet_{kind}_{i}", block) for i in range(1, count + 1)]
        layers += [("reduction_a", _reduction_a(paper))] if kind == "a" else []
        layers += [("reduction_b", _module(f"{version}_reduction_b", shrink()))] if kind == "b" else []
    return layers


def _residual(row: str, width: int, scale: float) -> Residual:
    """A module without a pool; a linear 1x1 convolution gives its sum the width of the shortcut."""
    return Residual(chain(branches=_module(row), conv=Conv(width, 1)), scale=scale)


def _reduction_a(paper: str) -> Concat:
    *double, three = REDUCTION_A[paper]
    branch = convs((double[0], 1), (double[1], 3), (double[2], 3, 2))
    return concat(("3x3", convs((three, 3, 2))), ("double3x3", branch), ("pool", shrink()))


def _module(row: str, pool: Layer | None = None) -> Concat:
    branches = [(name, convs(*specs)) for name, specs in TABLE[row].items()]
    return concat(*branches, *([("pool", pool)] if pool else []))


def _network(paper: str, layers: list[tuple[str, Layer]], name: str = "") -> Network:
    # paper: Fig. 9 and 15, dropout that keeps 0.8
    end = (("pool", GlobalPool()), ("drop", Dropout(0.2)), ("fc", Linear(1000)))
    return Network(name or paper, paper, (3, 299, 299), Chain((*layers, *end)), init=Glorot())
