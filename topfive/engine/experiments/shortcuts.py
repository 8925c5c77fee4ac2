"""Options of the shortcut, and how large the responses of residual layers are."""

from topfive.engine.experiments.experiment import Experiment, Found, Part, accuracies, costs
from topfive.engine.experiments.measures import responses
from topfive.networks import get
from topfive.networks.layers import Network
from topfive.networks.resnet import option_a, option_b, option_c
from topfive.results.experiments import Chart, Series, Verdict, more_accurate, opposite, together

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
    lines = []
    for group, network in enumerate(networks()[:2]):
        if run := found.run(network.name):
            values = responses(network, found.source, found.size, run)
            lines.append(Series(network.name, tuple(values), tuple(range(1, len(values) + 1)), group=group))
    if not lines:
        return [accuracies(found)]
    title = "Standard deviation of what each layer adds, behind its batch normalisation"
    return [accuracies(found), Chart(title, "standard deviation", tuple(lines), "layer")]


SHORTCUTS = Experiment(
    "shortcuts",
    "Identity shortcuts are enough",
    "Shortcuts that only pass on what comes in make a network more accurate than none at the same depth, and "
    "projections (option C) are no better than they are.",
    "He et al. 2016, section 4.1 and table 3; figure 7 for the responses",
    _verdict,
    lambda size: [Part(tuple(networks()))],
    lambda found: [costs(found)],
    _charts,
)
