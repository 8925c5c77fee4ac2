"""AlexNet on two devices: what crosses between them, and what each holds."""

from topfive.engine.experiments.experiment import Experiment, Found, Part
from topfive.networks import get
from topfive.networks.costs import count
from topfive.networks.layers import Conv, Layer, Network, rewrite_network
from topfive.networks.variations import narrowed
from topfive.results.experiments import Table, Verdict, more_accurate

VALUE, BATCH = 4, 128  # bytes of a number, and the paper's batch


def networks() -> list[Network]:
    """The network of two towers, the same without groups, and one tower's worth of kernels."""
    towers = get("alexnet")

    def joined(layer: Layer) -> Layer:
        return Conv(layer.filters, layer.size, layer.stride, layer.pad) if isinstance(layer, Conv) else layer

    return [towers, rewrite_network(towers, joined, "alexnet-ungrouped"), narrowed(towers, 2, "alexnet-half")]


def _verdict(found: Found) -> Verdict:
    return more_accurate(found.outcome, "alexnet", "alexnet-half")


def _tables(found: Found) -> list[Table]:
    towers = networks()[0]
    counts = count(towers)
    outputs = {stage.name: stage.output for stage in counts.stages}
    rows = []
    # paper: figure 2, where a layer takes the maps of both towers
    for row, before in (("conv3", "pool2"), ("fc6", "pool5"), ("fc7", "fc6"), ("fc8", "fc7")):
        channels, height, width = outputs[before]
        rows.append((row, f"{channels}x{height}x{width}", round(channels * height * width * VALUE * BATCH / 2e6, 2)))
    memory = counts.training_bytes(BATCH)
    held = (
        ("one device", round(memory / 1e6), 0.0),
        ("model parallel: half of the kernels on each of two", round(memory / 2e6),
         round(2 * sum(row[2] for row in rows), 1)),
        ("data parallel: half of the images on each of two", round(counts.training_bytes(BATCH // 2) / 1e6),
         round(counts.params * VALUE / 1e6, 1)),
    )  # fmt: skip
    return [
        Table(f"What crosses from one tower to the other, batch {BATCH}", ("into", "maps", "MB each way"), tuple(rows)),
        Table(
            "Two ways to use two devices",
            ("way", "memory of a device [MB]", "MB sent a step, forward or gradients"),
            held,
        ),
    ]


TWO_TOWERS = Experiment(
    "two-towers",
    "AlexNet split over two devices",
    "Half of the kernels on each of two devices, which talk in a few layers only (the model is split, not the data), "
    "give a more accurate network than what fits on one: half as many kernels. The paper: 1.7 points of Top-1.",
    "Krizhevsky, Sutskever and Hinton 2012, section 3.2 and figure 2",
    _verdict,
    lambda size: [Part(tuple(networks()))],
    _tables,
)
