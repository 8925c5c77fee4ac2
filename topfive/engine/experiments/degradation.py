"""Deeper plain networks that train worse, and residual ones that do not."""

from topfive.engine.experiments.experiment import Experiment, Found, Part, costs
from topfive.networks import get
from topfive.results.experiments import Chart, Series, Verdict, higher, opposite, together

DEPTHS = (20, 56)


def _error(found: Found, name: str) -> list[float]:
    """Of the training images over the last epoch, in percent, seed by seed."""
    return [100 * (1 - value) for value in found.last(name, "train_accuracy")]


def _verdict(found: Found) -> Verdict:
    def deeper(kind: str) -> Verdict:
        short, deep = (f"cifar-{kind}-{depth}" for depth in DEPTHS)
        return higher("training error [%]", (deep, _error(found, deep)), (short, _error(found, short)))

    return together(deeper("plain"), opposite(deeper("resnet")))


def _charts(found: Found) -> list[Chart]:
    charts = []
    for what, key in (("Training error", "train_accuracy"), ("Validation error", "accuracy")):
        lines = [
            Series(line.name, tuple(100 * (1 - value) for value in line.y), line.x, group=group)
            for group, name in enumerate(f"cifar-{kind}-{depth}" for kind in ("plain", "resnet") for depth in DEPTHS)
            for line in found.curve(name, key)
        ]
        charts.append(Chart(f"{what} over the epochs, a line a seed", f"{what.lower()} [%]", tuple(lines), "epoch"))
    return charts


DEGRADATION = Experiment(
    "degradation",
    "Deeper plain networks have the higher training error",
    "A plain network of 56 layers has a higher training error than one of 20, so that the fault is not overfitting; "
    "with residual connections the deeper one does not.",
    "He et al. 2016, section 1 and figure 1, section 4.2 and figure 6",
    _verdict,
    # why not the recipe that is best here: the claim is of plain gradient descent, and of equal epochs
    lambda size: [
        Part(
            tuple(get(f"cifar-{kind}-{depth}") for kind in ("plain", "resnet") for depth in DEPTHS),
            alike="epochs",
            recipe="quick",
        )
    ],
    lambda found: [costs(found)],
    _charts,
)
