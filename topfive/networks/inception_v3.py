"""Inception-v3. Szegedy, Vanhoucke, Ioffe, Shlens, Wojna: Rethinking the Inception Architecture for Computer Vision,
CVPR 2016 (arXiv 1512.00567).

The idea: spend the same multiply-adds better. A 5x5 becomes two 3x3, an n x n becomes 1 x n and n x 1, maps shrink by a
convolution and a pool side by side so that no stage is a bottleneck, and the auxiliary classifier is normalised. The
layout is Table 1 and Fig. 5 to 7 and 10 as the authors released them in TensorFlow, whose row names these are.
"""

from typing import TypeAlias

from topfive.networks.layers import (
    BatchNorm,
    Chain,
    Concat,
    Conv,
    Dropout,
    GlobalPool,
    Glorot,
    Head,
    Layer,
    Linear,
    Network,
    Pool,
    Relu,
    Size,
    chain,
    concat,
    pair,
)
from topfive.networks.papers import Claim

# (filters, size) keeps the size of the map; (filters, size, stride) has no padding, "V" in the figures of Inception-v4
Spec: TypeAlias = tuple[int, Size] | tuple[int, Size, int]

# fmt: off
STEM: dict[str, Spec | None] = {  # None: a 3x3/2 max pool
  "conv_1a_3x3": (32, 3, 2), "conv_2a_3x3": (32, 3, 1), "conv_2b_3x3": (64, 3), "pool_3a_3x3": None,
  "conv_3b_1x1": (80, 1),    "conv_4a_3x3": (192, 3, 1), "pool_5a_3x3": None,
}
#            the width that varies: of the pool's projection (35x35), of the factorised 7x7 (17x17)
PROJECTION = {"mixed_5b": 32,  "mixed_5c": 64,  "mixed_5d": 64}
SEVEN      = {"mixed_6b": 128, "mixed_6c": 160, "mixed_6d": 160, "mixed_6e": 192}
# fmt: on

CLAIMS: dict[str, list[Claim]] = {"inception-v3": []}

ERRATA: dict[tuple[str, str, str], str] = {
    ("inception-v3", "", "macs"): (
        "The released layout takes 5.71 G multiply-adds; Table 3 prints 4.8, the abstract 5 billion."
    ),
    ("inception-v3", "", "depth"): (
        "The longest path of the released layout has 48 layers with weights; the paper says 42."
    ),
}

DIFFERS = {
    "inception-v3": [
        "The layout is the released one: 3 modules at 35x35, 4 at 17x17, 2 at 8x8 and the reductions between them; "
        "Table 1 lists 5 at 17x17, and its stem goes on from 64 maps with 3x3 to 80, 3x3/2 to 192 and 3x3 to 288, the "
        "released one with 1x1 to 80, 3x3 to 192 and a pool.",
        "The modules at 35x35 keep one 5x5 (on 48 maps), as released; Fig. 5 has none.",
        "The auxiliary classifier weighs 0.4 in the loss, the custom of its ports: the paper gives no weight.",
        "Batch normalisation adds 0.001 to the variance, average pools count their padding (as torchvision "
        "does, the released code does not) and 20 % dropout stands before the classifier (as in the released code, "
        "torchvision has 50 %): the paper prints none of these.",
        "Initial weights are Glorot's: the paper gives none.",
    ]
}

# torchvision's and timm's names, which are those of the TensorFlow release joined by underscores
TORCHVISION = (
    ("conv_", "Conv2d_"),
    ("mixed_6a.3x3.", "Mixed_6a.branch3x3."),
    ("mixed_7a.3x3.{kind}{n}.", "Mixed_7a.branch3x3_{n}.{kind}."),
    ("mixed_7a.7x7.{kind}{n}.", "Mixed_7a.branch7x7x3_{n}.{kind}."),
    ("mixed_{row}.1x1.", "Mixed_{row}.branch1x1."),
    ("mixed_{row}.3x3.fork.1x3.", "Mixed_{row}.branch3x3_2a."),
    ("mixed_{row}.3x3.fork.3x1.", "Mixed_{row}.branch3x3_2b."),
    ("mixed_{row}.3x3.", "Mixed_{row}.branch3x3_1."),
    ("mixed_{row}.5x5.{kind}{n}.", "Mixed_{row}.branch5x5_{n}.{kind}."),
    ("mixed_{row}.7x7.{kind}{n}.", "Mixed_{row}.branch7x7_{n}.{kind}."),
    ("mixed_{row}.double3x3.fork.1x3.", "Mixed_{row}.branch3x3dbl_3a."),
    ("mixed_{row}.double3x3.fork.3x1.", "Mixed_{row}.branch3x3dbl_3b."),
    ("mixed_{row}.double3x3.{kind}{n}.", "Mixed_{row}.branch3x3dbl_{n}.{kind}."),
    ("mixed_{row}.double7x7.{kind}{n}.", "Mixed_{row}.branch7x7dbl_{n}.{kind}."),
    ("mixed_{row}.pool.", "Mixed_{row}.branch_pool."),
    ("aux.fc.", "AuxLogits.fc."),
    ("aux.{kind}{n}.", "AuxLogits.conv{n-1}.{kind}."),
)


def inception_v3() -> Network:
    """The released network with its auxiliary classifier. `(3, 299, 299) -> (1000,)`."""
    layers: list[tuple[str, Layer]] = [(row, convs(spec) if spec else shrink()) for row, spec in STEM.items()]
    layers += [(row, _module_35(projection)) for row, projection in PROJECTION.items()]
    double = convs((64, 1), (96, 3), (96, 3, 2))
    layers += [("mixed_6a", concat(("3x3", convs((384, 3, 2))), ("double3x3", double), ("pool", shrink())))]
    layers += [(row, _module_17(width)) for row, width in SEVEN.items()]
    seven = convs((192, 1), (192, (1, 7)), (192, (7, 1)), (192, 3, 2))
    layers += [("mixed_7a", concat(("3x3", convs((192, 1), (320, 3, 2))), ("7x7", seven), ("pool", shrink())))]
    layers += [("mixed_7b", _module_8()), ("mixed_7c", _module_8())]
    layers += [("pool", GlobalPool()), ("drop", Dropout(0.2)), ("fc", Linear(1000))]
    narrow = convs((128, 1), (768, 5, 1)).layers
    aux = chain(("pool", Pool("average", 5, 3)), *narrow, global_pool=GlobalPool(), fc=Linear(1000))
    heads = (Head("aux", "mixed_6e", aux, 0.4),)
    return Network("inception-v3", "inception-v3", (3, 299, 299), Chain(tuple(layers)), heads, Glorot())


def _module_35(projection: int) -> Concat:
    return concat(
        ("1x1", convs((64, 1))),
        ("5x5", convs((48, 1), (64, 5))),
        ("double3x3", convs((64, 1), (96, 3), (96, 3))),
        ("pool", pooled(projection)),
    )


def _module_17(width: int) -> Concat:
    return concat(
        ("1x1", convs((192, 1))),
        ("7x7", convs((width, 1), (width, (1, 7)), (192, (7, 1)))),
        ("double7x7", convs((width, 1), *((width, size) for size in ((7, 1), (1, 7), (7, 1))), (192, (1, 7)))),
        ("pool", pooled(192)),
    )


def _module_8() -> Concat:
    return concat(
        ("1x1", convs((320, 1))),
        ("3x3", fork(convs((384, 1)), 384)),
        ("double3x3", fork(convs((448, 1), (384, 3)), 384)),
        ("pool", pooled(192)),
    )


def convs(*specs: Spec) -> Chain:
    """Convolutions without bias, each normalised and rectified: `conv1, bn1, relu1, conv2, ...`; one alone: `conv`."""
    layers: list[tuple[str, Layer]] = []
    for i, spec in enumerate(specs, start=1):
        number = i if len(specs) > 1 else ""
        filters, size = spec[:2]
        height, width = pair(size)
        same: Size = height // 2 if height == width else (height // 2, width // 2)
        stride, pad = (spec[2], 0) if len(spec) == 3 else (1, same)
        convolution = Conv(filters, size, stride, pad, bias=False)
        layers += [(f"conv{number}", convolution), (f"bn{number}", BatchNorm(1e-3)), (f"relu{number}", Relu())]
    return Chain(tuple(layers))


def shrink() -> Pool:
    """The pool that halves a map: 3x3/2 without padding."""
    return Pool("max", 3, 2)


def fork(before: Chain, filters: int) -> Chain:
    """A 1x3 and a 3x1 convolution side by side on what `before` gives: the ends of the widest modules."""
    return chain(*before.layers, fork=concat(("1x3", convs((filters, (1, 3)))), ("3x1", convs((filters, (3, 1))))))


def pooled(filters: int, count_pad: bool = True) -> Chain:
    """The branch that averages before it projects."""
    return chain(("pool", Pool("average", 3, pad=1, count_pad=count_pad)), *convs((filters, 1)).layers)
