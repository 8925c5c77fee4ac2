"""Basic blocks against bottleneck blocks that cost the same."""

from topfive.engine.experiments.experiment import Experiment, Found, Part
from topfive.networks.costs import count
from topfive.networks.layers import Network
from topfive.networks.resnet import cifar_bottleneck, cifar_resnet
from topfive.results.experiments import Table, Verdict, counted, more_accurate, together


def networks() -> list[Network]:
    """Basic blocks, and as many bottleneck blocks as cost about the same."""
    basic = cifar_resnet(20)
    wanted = count(basic).macs
    deeper = [cifar_bottleneck(9 * n + 2) for n in range(1, 9)]
    return [basic, min(deeper, key=lambda one: abs(count(one).macs - wanted))]


def _verdict(found: Found) -> Verdict:
    pair = networks()
    basic, bottleneck = map(count, pair)
    ratio = bottleneck.macs / basic.macs
    said = f"{bottleneck.depth} layers for {basic.depth} at {ratio:.2f} of the multiply-adds"
    return together(
        counted(bottleneck.depth > basic.depth and 0.8 < ratio < 1.25, said),
        more_accurate(found.outcome, pair[1].name, pair[0].name),
    )


def _tables(found: Found) -> list[Table]:
    rows = []
    for one in networks():
        first = [row for row in count(one).rows if row.layer.startswith("conv")][1:4]
        rows += [
            (one.name, row.name, row.layer, "x".join(map(str, row.output)), round(row.macs / 1e6, 2)) for row in first
        ]
    head = ("network", "row", "layer", "maps out", "multiply-adds [M]")
    return [Table("The first block: a 1x1 convolution changes the depth and nothing else", head, tuple(rows))]


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
