"""BN-Inception. Ioffe, Szegedy: Batch Normalization: Accelerating Deep Network Training by Reducing Internal Covariate
Shift, ICML 2015 (arXiv 1502.03167).

The idea: normalise the input of every nonlinearity over the batch, so that no layer has to follow the drift of those
below it; learning rates may grow and dropout may go. The network is GoogLeNet with two 3x3 convolutions in place of a
5x5, one more module at 28x28, and modules that halve the map themselves. The table is Fig. 5.
"""

from topfive.networks.layers import (
    BatchNorm,
    Chain,
    Conv,
    GlobalPool,
    Glorot,
    Layer,
    Linear,
    Network,
    Pool,
    Relu,
    concat,
)
from topfive.networks.papers import Claim

# fmt: off
#        1x1  3x3r  3x3  double r  double  pool   projection      no 1x1 and no projection: stride 2, the pooled maps
TABLE = {                                                       # pass through
  "3a": ( 64,   64,  64,       64,     96, "average",  32),
  "3b": ( 64,   64,  96,       64,     96, "average",  64),
  "3c": (  0,  128, 160,       64,     96, "max",       0),
  "4a": (224,   64,  96,       96,    128, "average", 128),
  "4b": (192,   96, 128,       96,    128, "average", 128),
  "4c": (160,  128, 160,      128,    160, "average", 128),
  "4d": ( 96,  128, 192,      160,    192, "average", 128),
  "4e": (  0,  128, 192,      192,    256, "max",       0),
  "5a": (352,  192, 320,      160,    224, "average", 128),
  "5b": (352,  192, 320,      192,    224, "max",     128),
}
# fmt: on

CLAIMS: dict[str, list[Claim]] = {"bn-inception": []}

ERRATA: dict[tuple[str, str, str], str] = {
    ("bn-inception", "", "params"): (
        "Fig. 5 counted gives 11.3 million parameters, as the Caffe version has; the text says 13.6 million."
    )
}

DIFFERS = {
    "bn-inception": [
        "conv1 is a plain 7x7/2 convolution; the paper's is separable with depth multiplier 8 (its appendix).",
        "The filters of Fig. 5 are taken as printed: they give 608 channels behind 4c and 4d (160+160+160+128 and "
        "96+192+192+128) and 1056 behind 4e (192+256+608), where its output column prints 576, 576 and 1024.",
        "Fig. 5 counted so has 11.3 million parameters, as the Caffe version has; the text says 13.6 million.",
        "Convolutions keep a bias in front of batch normalisation, as the Caffe version does; section 3.2 drops it. "
        "Without the biases there are 11,285,224 parameters.",
        "Pools with stride 2 round up, as in Caffe, so that the maps are 56, 28, 14 and 7 wide.",
        "No auxiliary classifiers and no dropout. Initial weights are Glorot's: the paper gives none.",
    ]
}


def bn_inception() -> Network:
    """The network of Fig. 5. `(3, 224, 224) -> (1000,)`."""
    layers = [*_convolution("1", 64, 7, 2), ("pool1", Pool("max", 3, 2, ceil=True))]
    layers += [*_convolution("2_reduce", 64), *_convolution("2", 192, 3), ("pool2", Pool("max", 3, 2, ceil=True))]
    layers += [(row, _inception(*values)) for row, values in TABLE.items()]
    layers += [("pool5", GlobalPool()), ("fc", Linear(1000))]
    return Network("bn-inception", "bn-inception", (3, 224, 224), Chain(tuple(layers)), init=Glorot())


def _inception(one: int, reduce: int, three: int, double_reduce: int, double: int, pool: str, projection: int) -> Layer:
    """The module of GoogLeNet with two 3x3 in the third branch; without 1x1 and projection it halves the map."""
    stride = 1 if projection else 2
    window = Pool("average" if pool == "average" else "max", 3, stride, pad=1 if projection else 0, ceil=not projection)
    branches: list[tuple[str, Layer]] = [("1x1", Chain(_convolution("", one)))] if one else []
    branches += [("3x3", Chain(_convolution("1", reduce) + _convolution("2", three, 3, stride)))]
    twice = _convolution("2", double, 3) + _convolution("3", double, 3, stride)
    branches += [("double3x3", Chain(_convolution("1", double_reduce) + twice))]
    branches += [("pool", Chain((("pool", window), *(_convolution("", projection) if projection else ()))))]
    return concat(*branches)


def _convolution(number: str, filters: int, size: int = 1, stride: int = 1) -> tuple[tuple[str, Layer], ...]:
    """A convolution that keeps the size of the map (but for its stride), normalised before the nonlinearity."""
    convolution = Conv(filters, size, stride, pad=size // 2)
    return (f"conv{number}", convolution), (f"bn{number}", BatchNorm()), (f"relu{number}", Relu())
