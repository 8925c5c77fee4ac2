"""ZFNet. Zeiler, Fergus: Visualizing and Understanding Convolutional Networks, ECCV 2014 (arXiv 1311.2901).

The idea: look at what the layers see, and mend what looks wrong: AlexNet's 11x11/4 first layer skips and aliases, so
it becomes 7x7/2, and the towers of conv3 to conv5 become one. The table is Fig. 3.
"""

from topfive.networks.layers import Chain, Conv, Dropout, Layer, Linear, Network, Normal, Pool, Relu, ResponseNorm
from topfive.networks.papers import Claim

# fmt: off
#      filters size stride pad norm+pool
CONVS = {
  "1": ( 96,    7,    2,   1,  True),
  "2": (256,    5,    2,   0,  True),
  "3": (384,    3,    1,   1,  False),
  "4": (384,    3,    1,   1,  False),
  "5": (256,    3,    1,   1,  False),
}
# fmt: on
WIDE = {"3": 512, "4": 1024, "5": 512}  # paper: Table 2, network (b)

CLAIMS: dict[str, list[Claim]] = {}
ERRATA: dict[tuple[str, str, str], str] = {}
_DIFFERS = [
    "Padding is not printed: it is chosen so that the maps are 110, 55, 26, 13 and 6 wide, as Fig. 3 shows.",
    "The constants of the contrast normalisation across maps are not printed: AlexNet's are used, after pooling.",
]
DIFFERS = {"zfnet": _DIFFERS, "zfnet-wide": _DIFFERS}


def zfnet(wide: bool = False) -> Network:
    """The network of Fig. 3, or (b) of Table 2 with wider conv3 to conv5. `(3, 224, 224) -> (1000,)`."""
    layers: list[tuple[str, Layer]] = []
    for n, (filters, size, stride, pad, norm) in CONVS.items():
        width = WIDE.get(n, filters) if wide else filters
        layers += [(f"conv{n}", Conv(width, size, stride, pad)), (f"relu{n}", Relu())]
        # why: pool1 is padded, since 110 -> 55 needs it and 26 -> 13 rounds the same with or without
        layers += [(f"pool{n}", Pool("max", 3, 2, pad=1)), (f"norm{n}", ResponseNorm())] if norm else []
    layers += [("pool5", Pool("max", 3, 2))]
    for n in ("6", "7"):
        layers += [(f"fc{n}", Linear(4096)), (f"relu{n}", Relu()), (f"drop{n}", Dropout(0.5))]
    layers += [("fc8", Linear(1000))]
    name = "zfnet-wide" if wide else "zfnet"
    return Network(name, name, (3, 224, 224), Chain(tuple(layers)), init=Normal(0.01))
