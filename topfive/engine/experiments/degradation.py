"""Deeper plain networks that train worse, and residual ones that do not."""

from topfive.engine.experiments.experiment import Experiment, Found, Part, curves
from topfive.networks import get
from topfive.results.experiments import Chart, Verdict, higher, opposite, together

DEPTHS = (20, 56)
NETWORKS = [f"cifar-{kind}-{depth}" for kind in ("plain", "resnet") for depth in DEPTHS]


def _error(found: Found, name: str) -> list[float]:
    """Of the training images over the last epoch, in percent, seed by seed."""
    return [100 * (1 - value) for value in found.last(name, "train_accuracy")]


def _verdict(found: Found) -> Verdict:
    def deeper(kind: str) -> Verdict:
        short, deep = (f"cifar-{kind}-{depth}" for depth in DEPTHS)
        return higher("training error [%]", (deep, _error(found, deep)), (short, _error(found, short)))

    return found.settled(together(deeper("plain"), opposite(deeper("resnet"))))


def _charts(found: Found) -> list[Chart]:
    return [
        curves(found, NETWORKS, key, f"{what} error [%]", lambda right: 100 * (1 - right))
        for what, key in (("training", "train_accuracy"), ("validation", "accuracy"))
    ]


DEGRADATION = Experiment(
    "degradation",
    "Deeper plain networks have the higher training error",
    "A plain network of 56 layers has a higher training error than one of 20, so that the fault is not overfitting; "
    "with residual connections the deeper one does not.",
    "He et al. 2016, section 1 and figure 1, section 4.2 and figure 6",
    _verdict,
    # why not the recipe that is best here: the claim is of plain gradient descent, and of equal epochs
    lambda size: [Part(tuple(map(get, NETWORKS)), alike="epochs", recipe="quick")],
    charts=_charts,
)
