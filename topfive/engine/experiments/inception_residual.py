"""Inception modules with and without residual connections, at about equal cost."""

from topfive.engine.experiments.experiment import Experiment, Found, Part, curves
from topfive.networks import get
from topfive.networks.layers import Network
from topfive.networks.variations import narrowed
from topfive.results.experiments import Chart, Verdict, higher

NARROW = 4


def networks() -> list[Network]:
    """Inception-v4 and the residual network of about its cost, each with a quarter of its channels."""
    return [narrowed(get(name), NARROW) for name in ("inception-v4", "inception-resnet-v2")]


def _verdict(found: Found) -> Verdict:
    pure, residual = (network.name for network in networks())
    return higher("training loss", (pure, found.last(pure, "loss")), (residual, found.last(residual, "loss")))


def _charts(found: Found) -> list[Chart]:
    names = [network.name for network in networks()]
    return [
        curves(found, names, "loss", "training loss"),
        curves(found, names, "accuracy", "validation Top-1 [%]", lambda right: 100 * right),
    ]


INCEPTION_RESIDUAL = Experiment(
    "inception-residual",
    "Residual connections make inception networks learn faster",
    "After as many epochs, an inception network with residual connections has a lower training loss than one of about "
    "the same cost without.",
    "Szegedy et al. 2017, section 5 and figures 23 to 26",
    _verdict,
    lambda size: [Part(tuple(networks()), alike="epochs")],
    charts=_charts,
)
