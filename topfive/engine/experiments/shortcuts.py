"""Options of the shortcut, and how large the responses of residual layers are."""

from topfive.engine.experiments.experiment import Experiment, Found, Part, by_layer
from topfive.engine.experiments.measures import responses
from topfive.networks import get
from topfive.networks.layers import Network
from topfive.networks.resnet import option_a, option_b, option_c
from topfive.results.experiments import Chart, Verdict, more_accurate, opposite, together

DEPTH = 32


def networks() -> list[Network]:
    """Without shortcuts, and with those of options A, B and C."""
    residual = get(f"cifar-resnet-{DEPTH}")
    return [get(f"cifar-plain-{DEPTH}"), option_a(residual), option_b(residual), option_c(residual)]


def _verdict(found: Found) -> Verdict:
    plain, identity, _, projected = (network.name for network in networks())
    return together(
        more_accurate(found.outcome, identity, plain), opposite(more_accurate(found.outcome, projected, identity))
    )


def _charts(found: Found) -> list[Chart]:
    runs = {network: run for network in networks()[:2] if (run := found.run(network.name))}
    values = {network.name: responses(network, found.source, found.size, run) for network, run in runs.items()}
    title = "Standard deviation of what each layer adds, behind its batch normalisation"
    return [by_layer(title, "standard deviation", values)] if values else []


SHORTCUTS = Experiment(
    "shortcuts",
    "Identity shortcuts are enough",
    "Shortcuts that only pass on what comes in make a network more accurate than none at the same depth, and "
    "projections (option C) are no better than they are.",
    "He et al. 2016, section 4.1 and table 3; figure 7 for the responses",
    _verdict,
    lambda size: [Part(tuple(networks()))],
    charts=_charts,
)
