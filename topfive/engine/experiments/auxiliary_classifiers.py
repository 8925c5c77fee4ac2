"""Classifiers in the middle of a deep network, and the gradient that they bring to its first layers."""

import msgspec

from topfive.engine.experiments.experiment import Experiment, Found, Part, accuracies, costs
from topfive.engine.experiments.measures import gradients
from topfive.networks import get
from topfive.networks.layers import GlobalPool, Head, Linear, Network, chain
from topfive.networks.variations import batch_normalized, for_small_images, narrowed
from topfive.results.experiments import Chart, Series, Verdict, counted, more_accurate, together

NARROW = 2
WEIGHT = 0.3  # of an auxiliary loss; the paper's section 5


def headless(network: Network) -> Network:
    """The network without its auxiliary classifiers."""
    return msgspec.structs.replace(network, name=f"{network.name}-alone", heads=())


def with_heads(network: Network, after: tuple[str, ...], name: str) -> Network:
    """The network with a small classifier on the output of each of these rows."""
    body = chain(average=GlobalPool(), fc=Linear(network.classes))
    heads = tuple(Head(f"aux{n}", row, body, WEIGHT) for n, row in enumerate(after, start=1))
    return msgspec.structs.replace(network, name=name, heads=heads)


def networks(size: int) -> list[Network]:
    """Pairs with and without: half of GoogLeNet's channels, the same with batch normalisation, and 44 plain layers."""
    google, plain = narrowed(get("googlenet"), NARROW), get("cifar-plain-44")
    normal = batch_normalized(google, f"{google.name}-bn")
    middle = [row for row, _ in plain.body.layers if row.startswith("conv")]
    deep = with_heads(plain, (middle[len(middle) // 3], middle[2 * len(middle) // 3]), "cifar-plain-44-aux")
    return [google, headless(google), normal, headless(normal), deep, headless(deep)]


def _verdict(found: Found) -> Verdict:
    pair = networks(found.size)[:2]
    whole, alone = (_first(found, network) for network in pair)
    return together(
        counted(
            whole > alone, f"gradient of GoogLeNet's first layer at the start {whole:.2g}, without heads {alone:.2g}"
        ),
        more_accurate(found.outcome, pair[0].name, pair[1].name),
    )


def _first(found: Found, network: Network) -> float:
    return gradients(for_small_images(network, found.size), found.source, found.size)[0]


def _charts(found: Found) -> list[Chart]:
    lines = []
    for group, network in enumerate(networks(found.size)):
        values = gradients(for_small_images(network, found.size), found.source, found.size)
        lines.append(Series(network.name, tuple(values), tuple(range(1, len(values) + 1)), group=group // 2))
    title = "Gradient of each layer before training, first layer at the left"
    return [accuracies(found), Chart(title, "root mean square", tuple(lines), "layer", logarithmic=True)]


AUXILIARY_CLASSIFIERS = Experiment(
    "auxiliary-classifiers",
    "Auxiliary classifiers against vanishing gradients",
    "Classifiers on inner layers bring gradients to the first layers of a deep network, and make it more accurate.",
    "Szegedy et al. 2015, section 5; doubted by Szegedy et al. 2016, section 4",
    _verdict,
    lambda size: [Part(tuple(networks(size)))],
    lambda found: [costs(found)],
    _charts,
)
