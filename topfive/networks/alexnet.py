"""AlexNet. Krizhevsky, Sutskever, Hinton: ImageNet Classification with Deep Convolutional Neural Networks, NIPS 2012.

The idea: convolutions learnt from the pixels instead of features made by hand, at a depth and on a number of images
that two graphics cards could just carry: ReLU, dropout, two towers that meet in conv3 and the fully connected layers.
The table is section 3.5 and Fig. 2. `alexnet_owt` is the one-column network of the 2014 note, One weird trick for
parallelizing convolutional neural networks (arXiv 1404.5997), with the widths that torchvision ships.
"""

from topfive.networks.layers import Chain, Conv, Dropout, Layer, Linear, Network, Normal, Pool, Relu, ResponseNorm
from topfive.networks.papers import Claim

# fmt: off
#      filters size stride pad groups norm  pool  |  neurons (Fig. 2)      right of the bar: claims, checked, never used
CONVS = {
  "1": (  96,  11,    4,   0,    1,   True, True,  253_440),
  "2": ( 256,   5,    1,   2,    2,   True, True,  186_624),
  "3": ( 384,   3,    1,   1,    1,  False, False,  64_896),
  "4": ( 384,   3,    1,   1,    2,  False, False,  64_896),
  "5": ( 256,   3,    1,   1,    2,  False, True,   43_264),
}
#      units  |  neurons (Fig. 2)
LINEARS = {
  "6": (4096,    4096),
  "7": (4096,    4096),
  "8": (1000,    1000),
}
# fmt: on

_NEURONS = {f"conv{n}": row[-1] for n, row in CONVS.items()} | {f"fc{n}": row[-1] for n, row in LINEARS.items()}
CLAIMS = {"alexnet": [Claim(row, "neurons", str(printed), "Fig. 2 caption") for row, printed in _NEURONS.items()]}

ERRATA = {
    ("alexnet", "conv1", "neurons"): "55x55x96 is 290,400; the 253,440 printed is 55x48x96, a slip. With 290,400 "
    "the layers add up to 659,272, the 650,000 of the text."
}

DIFFERS = {
    "alexnet": ["Input 227 where the text says 224: 11x11 windows at stride 4 give the 55x55 maps of Fig. 2 from 227."],
    "alexnet-owt": [
        "conv4 has 256 filters, as torchvision ships; the note's footnote prints 384, which contradicts the 0.2 % more "
        "parameters that it claims (alexnet-owt-footnote has +1.4 %).",
        "Softmax over the classes where the note trains 1000 independent logistic units.",
    ],
    "alexnet-owt-footnote": ["The widths of the note's footnote, as printed; the rest as torchvision ships it."],
}


def torchvision(network: Network) -> tuple[tuple[str, str], ...]:
    """torchvision's names for our rows: numbers in `features`, and in `classifier` from the first linear layer on, or
    the dropout before it; for AlexNet, VGG and SqueezeNet."""
    rows = network.body.layers
    split = next(i for i, (_, layer) in enumerate(rows) if isinstance(layer, (Dropout, Linear)))
    places = [f"features.{i}." if i < split else f"classifier.{i - split}." for i in range(len(rows))]
    return tuple((f"{row}.", place) for (row, _), place in zip(rows, places, strict=True))


def alexnet() -> Network:
    """The network of 2012: two groups, response normalisation, overlapping pooling. `(3, 227, 227) -> (1000,)`."""
    layers: list[tuple[str, Layer]] = []
    for n, (filters, size, stride, pad, groups, norm, pool, _) in CONVS.items():
        layers += [(f"conv{n}", Conv(filters, size, stride, pad, groups)), (f"relu{n}", Relu())]
        layers += [(f"norm{n}", ResponseNorm())] if norm else []  # paper: section 3.5, the norm comes before the pool
        layers += [(f"pool{n}", Pool("max", 3, 2))] if pool else []  # paper: section 3.4, s = 2 < z = 3 overlaps
    for n, (units, _) in LINEARS.items():
        layers += [(f"fc{n}", Linear(units))]
        layers += [(f"relu{n}", Relu()), (f"drop{n}", Dropout(0.5))] if n != "8" else []  # paper: section 4.2
    # paper: section 5, N(0, 0.01^2), biases 1 in conv2, conv4, conv5 and the hidden fully connected layers
    init = Normal(0.01, ones=("conv2", "conv4", "conv5", "fc6", "fc7"))
    return Network("alexnet", "alexnet", (3, 227, 227), Chain(tuple(layers)), init=init)


def alexnet_owt(widths: tuple[int, ...] = (64, 192, 384, 256, 256), name: str = "alexnet-owt") -> Network:
    """The one-column network of 2014: no groups, no normalisation. `(3, 224, 224) -> (1000,)`."""
    sizes = ((11, 4, 2), (5, 1, 2), (3, 1, 1), (3, 1, 1), (3, 1, 1))
    layers: list[tuple[str, Layer]] = []
    for n, (filters, (size, stride, pad)) in enumerate(zip(widths, sizes, strict=True), start=1):
        layers += [(f"conv{n}", Conv(filters, size, stride, pad)), (f"relu{n}", Relu())]
        layers += [(f"pool{n}", Pool("max", 3, 2))] if n in (1, 2, 5) else []
    # torchvision: dropout stands before fc6 and fc7, not behind them
    layers += [("drop6", Dropout()), ("fc6", Linear(4096)), ("relu6", Relu())]
    layers += [("drop7", Dropout()), ("fc7", Linear(4096)), ("relu7", Relu()), ("fc8", Linear(1000))]
    return Network(name, name, (3, 224, 224), Chain(tuple(layers)), init=Normal(0.01))
