"""Basic blocks against bottleneck blocks that cost the same."""

from topfive.engine.experiments.experiment import Experiment, Found, Part
from topfive.networks.costs import count
from topfive.networks.layers import BatchNorm, Chain, Conv, GlobalPool, Layer, Linear, Network, Relu
from topfive.networks.resnet import Body, normalised, padded, stages, with_shortcuts
from topfive.results.experiments import Table, Verdict, counted, more_accurate, together

BASIC, BOTTLENECK = ((3, 1), (3, 1)), ((1, 1), (3, 1), (1, 4))  # (side, width) of the filters of a block


def _body(kernels: tuple[tuple[int, int], ...]) -> Body:
    def body(width: int, stride: int) -> Layer:
        strides = (stride, *[1] * (len(kernels) - 1))
        return normalised(*(Conv(width * wide, k, s, k // 2) for (k, wide), s in zip(kernels, strides)))

    return body


def network(name: str, kernels: tuple[tuple[int, int], ...], blocks: int) -> Network:
    """Three stages of so many blocks, as the networks for CIFAR-10 have them."""
    layers: list[tuple[str, Layer]] = [
        ("conv1", Conv(16, 3, pad=1, bias=False)),
        ("bn1", BatchNorm()),
        ("relu1", Relu()),
    ]
    layers += stages((blocks,) * 3, (16, 32, 64), _body(kernels))
    layers += [("pool4", GlobalPool()), ("fc", Linear(10))]
    return with_shortcuts(Network(name, "cifar-resnet-20", (3, 32, 32), Chain(tuple(layers))), padded)


def networks() -> list[Network]:
    """Basic blocks, and as many bottleneck blocks as cost about the same."""
    basic = network("basic", BASIC, 3)
    wanted = count(basic).macs
    return [
        basic,
        min((network("bottleneck", BOTTLENECK, n) for n in range(1, 9)), key=lambda one: abs(count(one).macs - wanted)),
    ]


def _verdict(found: Found) -> Verdict:
    basic, bottleneck = (count(one) for one in networks())
    ratio = bottleneck.macs / basic.macs
    said = f"{bottleneck.depth} layers for {basic.depth} at {ratio:.2f} of the multiply-adds"
    return together(
        counted(bottleneck.depth > basic.depth and 0.8 < ratio < 1.25, said),
        more_accurate(found.outcome, "bottleneck", "basic"),
    )


def _tables(found: Found) -> list[Table]:
    rows = []
    for one in networks():
        first = [row for row in count(one).rows if row.layer.startswith("conv")][1:4]
        rows += [
            (one.name, row.name, row.layer, "x".join(map(str, row.output)), round(row.macs / 1e6, 2)) for row in first
        ]
    head = ("network", "row", "layer", "maps out", "multiply-adds [M]")
    return [
        Table("The first block: a 1x1 convolution changes the depth and nothing else", head, tuple(rows)),
    ]


BOTTLENECKS = Experiment(
    "bottleneck",
    "Bottleneck blocks: deeper for the same cost",
    "1x1 convolutions that first reduce and then restore the depth allow more layers for the same operations, and the "
    "deeper network is the more accurate one.",
    "He et al. 2016, section 4.1 and figure 5",
    _verdict,
    lambda size: [Part(tuple(networks()))],
    _tables,
)
