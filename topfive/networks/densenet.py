"""DenseNet. Huang, Liu, van der Maaten, Weinberger: Densely Connected Convolutional Networks, CVPR 2017
(arXiv 1608.06993).

The idea: every layer sees the maps of all layers before it in its block and adds a few of its own, so that features
are reused and few filters do. The layout is Table 1, a column a depth: DenseNet-BC, bottlenecks and compression 0.5.
"""

from topfive.errors import UsageError
from topfive.networks.layers import (
    IDENTITY,
    BatchNorm,
    Chain,
    Conv,
    GlobalPool,
    Layer,
    Linear,
    Network,
    Pool,
    Relu,
    chain,
    concat,
)
from topfive.networks.papers import Claim

# fmt: off
#      layers in dense1 dense2 dense3 dense4  growth rate k
TABLE = {
  121: ((          6,    12,    24,    16),   32),
  161: ((          6,    12,    36,    24),   48),  # not in the CVPR version
  169: ((          6,    12,    32,    32),   32),
  201: ((          6,    12,    48,    32),   32),
  264: ((          6,    12,    64,    48),   32),
}
# fmt: on

CLAIMS: dict[str, list[Claim]] = {f"densenet-{depth}": [] for depth in TABLE}

ERRATA = {
    ("densenet-264", "", "depth"): (
        "2 x (6 + 12 + 64 + 48) convolutions in the blocks, conv1, three transitions and the "
        "classifier are 265 layers, not 264."
    )
}

_POOL = "pool1 pads by 1, which the 56x56 maps behind it need."
DIFFERS = {f"densenet-{depth}": [_POOL] for depth in TABLE} | {
    "densenet-161": ["As released by the authors: the CVPR version of Table 1 does not have it.", _POOL]
}

TORCHVISION = (
    ("conv1.", "features.conv0."),
    ("bn1.", "features.norm0."),
    ("dense{b}.dense{b}_{i}.new.bn{n}.", "features.denseblock{b}.denselayer{i}.norm{n}."),
    ("dense{b}.dense{b}_{i}.new.conv{n}.", "features.denseblock{b}.denselayer{i}.conv{n}."),
    ("transition{b}.bn.", "features.transition{b}.norm."),
    ("transition{b}.conv.", "features.transition{b}.conv."),
    ("bn5.", "features.norm5."),
    ("fc.", "classifier."),
)
# the files that torchvision publishes are of 2017, when a layer was called norm.1
TORCHVISION_2017 = tuple((ours, theirs.replace("{n}", ".{n}")) for ours, theirs in TORCHVISION)


def densenet(depth: int) -> Network:
    """The network of 121, 161, 169, 201 or 264 layers. `(3, 224, 224) -> (1000,)`.

    Raises: UsageError for another depth.
    """
    if depth not in TABLE:
        raise UsageError(f"no DenseNet is {depth} layers deep; there are {', '.join(map(str, TABLE))}")
    counts, growth = TABLE[depth]
    maps = 2 * growth  # paper: section 3, "Implementation Details"
    layers: list[tuple[str, Layer]] = [("conv1", Conv(maps, 7, 2, 3, bias=False)), ("bn1", BatchNorm())]
    layers += [("relu1", Relu()), ("pool1", Pool("max", 3, 2, 1))]
    for block, count in enumerate(counts, start=1):
        layers += [(f"dense{block}", chain(*((f"dense{block}_{i}", _layer(growth)) for i in range(1, count + 1))))]
        maps += count * growth
        if block < len(counts):
            maps //= 2
            layers += [(f"transition{block}", _transition(maps))]
    layers += [("bn5", BatchNorm()), ("relu5", Relu()), ("pool5", GlobalPool()), ("fc", Linear(1000))]
    name = f"densenet-{depth}"
    return Network(name, name, (3, 224, 224), Chain(tuple(layers)))


def _layer(growth: int) -> Layer:
    """All that came in, and `growth` new maps: BN-ReLU-1x1-BN-ReLU-3x3."""
    new = chain(
        bn1=BatchNorm(),
        relu1=Relu(),
        conv1=Conv(4 * growth, 1, bias=False),
        bn2=BatchNorm(),
        relu2=Relu(),
        conv2=Conv(growth, 3, pad=1, bias=False),
    )
    return concat(input=IDENTITY, new=new)


def _transition(maps: int) -> Layer:
    return chain(bn=BatchNorm(), relu=Relu(), conv=Conv(maps, 1, bias=False), pool=Pool("average", 2, 2))
