"""AlexNet without each of its parts."""

import msgspec

from topfive.engine.experiments.experiment import Experiment, Found, Part
from topfive.networks import get
from topfive.networks.layers import Dropout, Layer, Network, Pool, Relu, ResponseNorm, Tanh, rewrite_network
from topfive.networks.variations import without
from topfive.results.experiments import Table, Verdict, more_accurate, together

PAPER = {  # what the part brings by the paper, and where
    "alexnet-no-norm": ("1.4 points of Top-1", "section 3.3"),
    "alexnet-2x2-pool": ("0.4 points of Top-1", "section 3.4"),
    "alexnet-no-dropout": ("no figure: substantial overfitting without it", "section 4.2"),
    "alexnet-tanh": ("six times fewer epochs to 25 % training error, in a smaller network", "section 3.1"),
}


def networks() -> list[Network]:
    """AlexNet, and without response normalisation, overlapping pools, dropout, rectified units."""
    whole = get("alexnet")

    def change(layer: Layer) -> Layer:
        return msgspec.structs.replace(layer, size=2) if isinstance(layer, Pool) else layer

    return [
        whole,
        without(whole, ResponseNorm, "alexnet-no-norm"),
        rewrite_network(whole, change, "alexnet-2x2-pool"),
        without(whole, Dropout, "alexnet-no-dropout"),
        rewrite_network(whole, lambda layer: Tanh() if isinstance(layer, Relu) else layer, "alexnet-tanh"),
    ]


def _verdict(found: Found) -> Verdict:
    return together(*(more_accurate(found.outcome, "alexnet", name) for name in PAPER))


def _tables(found: Found) -> list[Table]:
    rows = found.outcome.rows
    made = []
    for name, (paper, where) in PAPER.items():
        here = f"{rows['alexnet'].top1 - rows[name].top1:+.1f}" if {"alexnet", name} <= rows.keys() else None
        made.append((name, here, more_accurate(found.outcome, "alexnet", name).kind, paper, where))
    head = ("without", "points here", "the part helps", "by the paper", "where")
    return [Table("What each part brings", head, tuple(made))]


ALEXNET_ABLATIONS = Experiment(
    "alexnet-ablations",
    "Every part of AlexNet helps",
    "Response normalisation, overlapping pooling, dropout and rectified linear units each make AlexNet more accurate.",
    "Krizhevsky, Sutskever and Hinton 2012, sections 3.1, 3.3, 3.4 and 4.2",
    _verdict,
    lambda size: [Part(tuple(networks()))],
    _tables,
)
