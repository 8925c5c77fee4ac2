"""NIN. Lin, Chen, Yan: Network In Network, ICLR 2014 (arXiv 1312.4400).

The idea: a small network of 1x1 convolutions behind every convolution, and a global average instead of fully connected
layers. The paper has no ImageNet network; this is the one of its authors that Caffe's model zoo carries, and `bn_nin`
is S. Zagoruyko's batch-normalised one for Torch (ninbn.lua).
"""

from topfive.networks.layers import (
    BatchNorm,
    Chain,
    Conv,
    Dropout,
    GlobalPool,
    Layer,
    Linear,
    Network,
    Normal,
    Pool,
    Relu,
)
from topfive.networks.papers import Claim

# fmt: off
#    filters size stride pad  pad in bn-nin
BLOCKS = (
    (  96,   11,    4,   0,  5),
    ( 256,    5,    1,   2,  2),
    ( 384,    3,    1,   1,  1),
    (1024,    3,    1,   1,  1),
)
# fmt: on

CLAIMS: dict[str, list[Claim]] = {}
ERRATA: dict[tuple[str, str, str], str] = {}
DIFFERS = {
    "nin": [
        "Not in the paper: the layers are recalled from Caffe's model zoo (NIN-Imagenet), whose size of 29 MB agrees.",
        "Input 224, the crop of the other networks here.",
    ],
    "bn-nin": ["Not a paper's network: the layers follow ninbn.lua of the Torch multi-GPU ImageNet code."],
}


def nin() -> Network:
    """Four convolutions, two 1x1 layers behind each, the last with a map per class. `(3, 224, 224) -> (1000,)`."""
    layers: list[tuple[str, Layer]] = []
    for n, (filters, size, stride, pad, _) in enumerate(BLOCKS, start=1):
        last = n == len(BLOCKS)
        layers += [("drop4", Dropout(0.5))] if last else []
        layers += [(f"conv{n}", Conv(filters, size, stride, pad)), (f"relu{n}", Relu())]
        layers += [(f"cccp{2 * n - 1}", Conv(filters, 1)), (f"relu{n}a", Relu())]
        layers += [(f"cccp{2 * n}", Conv(1000 if last else filters, 1)), (f"relu{n}b", Relu())]
        layers += [] if last else [(f"pool{n}", Pool("max", 3, 2, ceil=True))]
    layers += [("pool4", GlobalPool())]
    return Network("nin", "nin", (3, 224, 224), Chain(tuple(layers)), init=Normal(0.01))


def bn_nin() -> Network:
    """The same blocks with batch normalisation and a linear classifier. `(3, 224, 224) -> (1000,)`."""
    layers: list[tuple[str, Layer]] = []
    for n, (filters, size, stride, _, pad) in enumerate(BLOCKS, start=1):
        for part, conv in (("", Conv(filters, size, stride, pad)), ("a", Conv(filters, 1)), ("b", Conv(filters, 1))):
            layers += [(f"conv{n}{part}", conv), (f"bn{n}{part}", BatchNorm()), (f"relu{n}{part}", Relu())]
        layers += [] if n == len(BLOCKS) else [(f"pool{n}", Pool("max", 3, 2, pad=1))]
    layers += [("pool4", GlobalPool()), ("fc", Linear(1000))]
    return Network("bn-nin", "bn-nin", (3, 224, 224), Chain(tuple(layers)))
