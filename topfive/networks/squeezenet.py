"""SqueezeNet. Iandola, Han, Moskewicz, Ashraf, Dally, Keutzer: SqueezeNet: AlexNet-level accuracy with 50x fewer
parameters and <0.5MB model size, 2016 (arXiv 1602.07360). Version 1.1 is of the DeepScale/SqueezeNet repository.

The idea: fire modules, which squeeze the maps by 1x1 filters before a mix of 1x1 and 3x3 expands them, and no fully
connected layer. The layout of 1.0 is Table 1.
"""

from topfive.errors import UsageError
from topfive.networks import alexnet
from topfive.networks.layers import Chain, Conv, Dropout, GlobalPool, Glorot, Layer, Network, Pool, Relu, chain, concat
from topfive.networks.papers import Claim

# fmt: off
#   maps:  squeeze 1x1, expand 1x1 (and as many 3x3)
FIRE = {
  "fire2":    (16,  64),
  "fire3":    (16,  64),
  "fire4":    (32, 128),
  "fire5":    (32, 128),
  "fire6":    (48, 192),
  "fire7":    (48, 192),
  "fire8":    (64, 256),
  "fire9":    (64, 256),
}
# fmt: on
# version: (filters, size) of conv1, and the rows that a max pool follows
VERSIONS = {"1.0": ((96, 7), (1, 4, 8)), "1.1": ((64, 3), (1, 3, 5))}

CLAIMS: dict[str, list[Claim]] = {f"squeezenet-{version}": [] for version in VERSIONS}
ERRATA: dict[tuple[str, str, str], str] = {}
_SAME = "Pools round up, as Caffe and torchvision do. Initial weights are Glorot's: the paper says nothing about them."
DIFFERS = {
    "squeezenet-1.0": [
        "conv1 has no padding, as torchvision has it: 109x109 maps from 224 pixels; Table 1 prints 111x111 (recalled).",
        _SAME,
    ],
    "squeezenet-1.1": ["Not in the paper: published in the authors' repository; the layout is torchvision's.", _SAME],
}


def torchvision(network: Network) -> tuple[tuple[str, str], ...]:
    """torchvision's names for our rows: numbers, and no inner names in the expansion."""
    rows = alexnet.torchvision(network)
    inner = (
        ("squeeze1x1.", "squeeze."),
        ("expand.expand1x1.conv.", "expand1x1."),
        ("expand.expand3x3.conv.", "expand3x3."),
    )
    return (*((row + ours, place + theirs) for row, place in rows if row[:-1] in FIRE for ours, theirs in inner), *rows)


def squeezenet(version: str) -> Network:
    """Version "1.0" or "1.1". `(3, 224, 224) -> (1000,)`.

    Raises: UsageError for another version.
    """
    if version not in VERSIONS:
        raise UsageError(f"no SqueezeNet has version {version}; there are {' and '.join(VERSIONS)}")
    (filters, size), pooled = VERSIONS[version]
    layers: list[tuple[str, Layer]] = [("conv1", Conv(filters, size, 2)), ("relu1", Relu())]
    for row, name in enumerate(["", *FIRE], start=1):
        layers += [(name, _fire(*FIRE[name]))] if name else []
        layers += [(f"maxpool{row}", Pool("max", 3, 2, ceil=True))] if row in pooled else []
    layers += [("drop9", Dropout(0.5)), ("conv10", Conv(1000, 1)), ("relu10", Relu()), ("avgpool10", GlobalPool())]
    name = f"squeezenet-{version}"
    return Network(name, name, (3, 224, 224), Chain(tuple(layers)), init=Glorot())


def _fire(squeeze: int, expand: int) -> Layer:
    return chain(
        squeeze1x1=Conv(squeeze, 1),
        relu=Relu(),
        expand=concat(
            expand1x1=chain(conv=Conv(expand, 1), relu=Relu()),
            expand3x3=chain(conv=Conv(expand, 3, pad=1), relu=Relu()),
        ),
    )
