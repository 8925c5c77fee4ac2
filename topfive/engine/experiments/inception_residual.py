"""Inception modules with and without residual connections, at about equal cost."""

from topfive.engine.experiments.experiment import Experiment, Found, Part, costs
from topfive.networks import get
from topfive.networks.layers import Network
from topfive.networks.variations import narrowed
from topfive.results.experiments import Chart, Series, Verdict, higher

NARROW = 4


def networks() -> list[Network]:
    """Inception-v4 and the residual network of about its cost, each with a quarter of its channels."""
    return [narrowed(get(name), NARROW) for name in ("inception-v4", "inception-resnet-v2")]


def _verdict(found: Found) -> Verdict:
    pure, residual = (network.name for network in networks())
    return higher("training loss", (pure, found.last(pure, "loss")), (residual, found.last(residual, "loss")))


def _charts(found: Found) -> list[Chart]:
    charts = []
    for what, key in (("Training loss", "loss"), ("Validation accuracy", "accuracy")):
        lines = [
            Series(line.name, line.y, line.x, group=group)
            for group, network in enumerate(networks())
            for line in found.curve(network.name, key)
        ]
        charts.append(Chart(f"{what} over the epochs, a line a seed", what.lower(), tuple(lines), "epoch"))
    return charts


INCEPTION_RESIDUAL = Experiment(
    "inception-residual",
    "Residual connections make inception networks learn faster",
    "After as many epochs, an inception network with residual connections has a lower training loss than one of about "
    "the same cost without.",
    "Szegedy et al. 2017, section 5 and figures 23 to 26",
    _verdict,
    lambda size: [Part(tuple(networks()), alike="epochs")],
    lambda found: [costs(found)],
    _charts,
)
