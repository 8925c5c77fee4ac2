"""GoogLeNet. Szegedy et al.: Going Deeper with Convolutions, CVPR 2015 (arXiv 1409.4842).

The idea: filters of several sizes side by side, made affordable by 1x1 reductions in front of the large ones; a global
average instead of fully connected layers; two auxiliary classifiers against vanishing gradients. The table is Table 1.
"""

from collections.abc import Callable

from topfive.networks.layers import (
    BatchNorm,
    Chain,
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
    ResponseNorm,
    chain,
    concat,
)
from topfive.networks.papers import Claim

# fmt: off
#        1x1  3x3r  3x3  5x5r  5x5  pool |  output       params (K = 1024)  ops (M)
TABLE = {
  "3a": ( 64,   96, 128,   16,  32,   32,  "28x28x256",   "159",           "128"),
  "3b": (128,  128, 192,   32,  96,   64,  "28x28x480",   "380",           "304"),
  "4a": (192,   96, 208,   16,  48,   64,  "14x14x512",   "364",            "73"),
  "4b": (160,  112, 224,   24,  64,   64,  "14x14x512",   "437",            "88"),
  "4c": (128,  128, 256,   24,  64,   64,  "14x14x512",   "463",           "100"),
  "4d": (112,  144, 288,   32,  64,   64,  "14x14x528",   "580",           "119"),
  "4e": (256,  160, 320,   32, 128,  128,  "14x14x832",   "840",           "170"),
  "5a": (256,  160, 320,   32, 128,  128,  "7x7x832",    "1072",            "54"),
  "5b": (384,  192, 384,   48, 128,  128,  "7x7x1024",   "1388",            "71"),
}
# the rows around the modules: output, params, ops as printed
STEM = {
  "conv1":      ("112x112x64", "2.7",  "34"),
  "pool1":      ("56x56x64",   "",     ""),
  "conv2":      ("56x56x192",  "112",  "360"),
  "pool2":      ("28x28x192",  "",     ""),
  "pool3":      ("14x14x480",  "",     ""),
  "pool4":      ("7x7x832",    "",     ""),
  "pool5":      ("1x1x1024",   "",     ""),
  "fc":         ("1x1x1000",   "1000", "1"),
}
# fmt: on

_PRINTED = STEM | {row: (values[6], values[7], values[8]) for row, values in TABLE.items()}
CLAIMS = {
    "googlenet": [
        Claim(row, of, str(printed), "Table 1", unit)
        for row, values in _PRINTED.items()
        for of, printed, unit in zip(("output", "weights", "macs"), values, (1, 1024, 10**6))
        if printed
    ]
}

_ARITHMETIC = (
    "The filters printed in the row give {weights:,} weights, {k:.1f} K of 1024; the paper prints {printed} K."
)


def _weights_erratum(row: str, weights: int) -> str:
    return _ARITHMETIC.format(weights=weights, k=weights / 1024, printed=_PRINTED[row][1])


_SEPARABLE = (
    "7x7x3x64 is 9,408 weights and 118.0 M multiply-adds; 2.7 K and 34 M are those of a separable convolution with "
    "depth multiplier 8 (7*7*3*8 + 24*64 = 2,712), as the appendix of the BN-Inception paper has for its first layer."
)
ERRATA = {
    ("googlenet", "conv1", "weights"): _SEPARABLE,
    ("googlenet", "conv1", "macs"): _SEPARABLE,
    ("googlenet", "4a", "weights"): _weights_erratum("4a", 375_552),
    ("googlenet", "4c", "weights"): _weights_erratum("4c", 509_440),
    ("googlenet", "4d", "weights"): _weights_erratum("4d", 604_672),
    ("googlenet", "4e", "weights"): _weights_erratum("4e", 867_328),
    ("googlenet", "5a", "weights"): _weights_erratum("5a", 1_042_432),
    ("googlenet", "5b", "weights"): _weights_erratum("5b", 1_442_816),
    ("googlenet", "5a", "macs"): "The filters printed in the row give 51.1 M multiply-adds on 7x7 maps, not 54 M.",
}
_SAME = [
    "conv1 is a plain 7x7/2 convolution; the table's figures for it are those of a separable one.",
    "The two response norms of the stem stand where Caffe's version has them, with AlexNet's constants; the paper's "
    "Table 1 does not list them.",
    "Initial weights are Glorot's: the paper gives none.",
]
DIFFERS = {
    "googlenet": _SAME,
    "googlenet-naive": [
        "Every module is the naive one of Fig. 2(a): no 1x1 reductions, no projection behind the pool.",
        "No paper trains this network: it shows what the reductions save.",
        *_SAME,
    ],
    "googlenet-torchvision": [
        "torchvision's network, not the paper's: batch normalisation instead of response norms and biases, 3x3 where "
        "the paper has 5x5, a 2x2 last pool, dropout 0.2; its auxiliary classifiers, never trained, are left out."
    ],
}

# of `googlenet_torchvision`; its auxiliary classifiers are left out
TORCHVISION = (
    ("conv2.reduce.", "conv2."),
    ("conv2.conv.", "conv3."),
    ("{row}.b1.", "inception{row}.branch1."),
    ("{row}.b3.reduce.", "inception{row}.branch2.0."),
    ("{row}.b3.conv.", "inception{row}.branch2.1."),
    ("{row}.b5.reduce.", "inception{row}.branch3.0."),
    ("{row}.b5.conv.", "inception{row}.branch3.1."),
    ("{row}.pool.project.", "inception{row}.branch4.1."),
)


def googlenet() -> Network:
    """The network of Table 1 with both auxiliary classifiers. `(3, 224, 224) -> (1000,)`."""
    return _network("googlenet", _inception)


def googlenet_naive() -> Network:
    """The same rows with the naive modules of Fig. 2(a): what the 1x1 reductions save."""
    return _network("googlenet-naive", _naive)


def _network(name: str, module: Callable[..., Layer]) -> Network:
    layers: list[tuple[str, Layer]] = [("conv1", Conv(64, 7, 2, pad=3)), ("relu1", Relu())]
    layers += [("pool1", Pool("max", 3, 2, ceil=True)), ("norm1", ResponseNorm())]
    # the table's row of depth 2: its 112 K weights and 360 M operations include the 1x1 reduction
    conv2 = chain(reduce=Conv(64, 1), relu_r=Relu(), conv=Conv(192, 3, pad=1), relu=Relu())
    layers += [("conv2", conv2), ("norm2", ResponseNorm()), ("pool2", Pool("max", 3, 2, ceil=True))]
    for row, values in TABLE.items():
        layers += [(row, module(*values[:6]))]
        layers += [(f"pool{row[0]}", Pool("max", 3, 2, ceil=True))] if row in ("3b", "4e") else []
    # paper: section 5, 40 % dropout before the classifier
    layers += [("pool5", GlobalPool()), ("drop", Dropout(0.4)), ("fc", Linear(1000))]
    heads = (_head("aux1", "4a"), _head("aux2", "4d"))
    return Network(name, name, (3, 224, 224), Chain(tuple(layers)), heads, Glorot())


def _inception(n1: int, n3r: int, n3: int, n5r: int, n5: int, pool: int) -> Layer:
    return concat(
        b1=chain(conv=Conv(n1, 1), relu=Relu()),
        b3=chain(reduce=Conv(n3r, 1), relu_r=Relu(), conv=Conv(n3, 3, pad=1), relu=Relu()),
        b5=chain(reduce=Conv(n5r, 1), relu_r=Relu(), conv=Conv(n5, 5, pad=2), relu=Relu()),
        pool=chain(pool=Pool("max", 3, 1, pad=1), project=Conv(pool, 1), relu=Relu()),
    )


def _naive(n1: int, n3r: int, n3: int, n5r: int, n5: int, pool: int) -> Layer:
    return concat(
        b1=chain(conv=Conv(n1, 1), relu=Relu()),
        b3=chain(conv=Conv(n3, 3, pad=1), relu=Relu()),
        b5=chain(conv=Conv(n5, 5, pad=2), relu=Relu()),
        pool=Pool("max", 3, 1, pad=1),
    )


def _head(name: str, after: str) -> Head:
    # paper: section 5, the side network; its loss counts 0.3, dropout is 70 %
    body = chain(
        pool=Pool("average", 5, 3), conv=Conv(128, 1), relu=Relu(),
        fc1=Linear(1024), relu1=Relu(), drop=Dropout(0.7), fc2=Linear(1000),
    )  # fmt: skip
    return Head(name, after, body, 0.3)


def googlenet_torchvision() -> Network:
    """torchvision's `googlenet`, which is another network; it is here so that its weights have a home."""
    layers: list[tuple[str, Layer]] = [("conv1", _conv_bn(64, 7, 2)), ("pool1", Pool("max", 3, 2, ceil=True))]
    layers += [("conv2", chain(reduce=_conv_bn(64, 1), conv=_conv_bn(192, 3)))]
    layers += [("pool2", Pool("max", 3, 2, ceil=True))]
    for row, (n1, n3r, n3, n5r, n5, pool, *_) in TABLE.items():
        module = concat(
            b1=_conv_bn(n1, 1),
            b3=chain(reduce=_conv_bn(n3r, 1), conv=_conv_bn(n3, 3)),
            b5=chain(reduce=_conv_bn(n5r, 1), conv=_conv_bn(n5, 3)),
            pool=chain(pool=Pool("max", 3, 1, pad=1, ceil=True), project=_conv_bn(pool, 1)),
        )
        layers += [(row, module)]
        layers += [("pool3", Pool("max", 3, 2, ceil=True))] if row == "3b" else []
        layers += [("pool4", Pool("max", 2, 2, ceil=True))] if row == "4e" else []
    layers += [("pool5", GlobalPool()), ("drop", Dropout(0.2)), ("fc", Linear(1000))]
    return Network("googlenet-torchvision", "googlenet-torchvision", (3, 224, 224), Chain(tuple(layers)))


def _conv_bn(filters: int, size: int, stride: int = 1) -> Chain:
    conv = Conv(filters, size, stride, pad=size // 2, bias=False)
    return chain(conv=conv, bn=BatchNorm(eps=1e-3), relu=Relu())
