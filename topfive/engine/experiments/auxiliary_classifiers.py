"""Classifiers in the middle of a deep network, and the gradient that they bring to its first layers."""

from topfive.engine.experiments.experiment import Experiment, Found, Part, by_layer
from topfive.engine.experiments.measures import gradients
from topfive.networks import get
from topfive.networks.layers import Network
from topfive.networks.variations import batch_normalized, for_small_images, headless, narrowed, with_heads
from topfive.results.experiments import Chart, Verdict, counted, more_accurate, together

NARROW = 2
WEIGHT = 0.3  # of an auxiliary loss; the paper's section 5


def networks(size: int) -> list[Network]:
    """Pairs with and without: half of GoogLeNet's channels, the same with batch normalisation, and 44 plain layers."""
    google, plain = narrowed(get("googlenet"), NARROW), get("cifar-plain-44")
    normal = batch_normalized(google, f"{google.name}-bn")
    middle = [row for row, _ in plain.body.layers if row.startswith("conv")]
    deep = with_heads(plain, (middle[len(middle) // 3], middle[2 * len(middle) // 3]), WEIGHT, "cifar-plain-44-aux")
    return [google, headless(google), normal, headless(normal), deep, headless(deep)]


def _verdict(found: Found) -> Verdict:
    pair = networks(found.size)[:2]
    whole, alone = (_first(found, network) for network in pair)
    said = f"gradient of GoogLeNet's first layer at the start {whole:.2g}, without heads {alone:.2g}"
    return together(counted(whole > alone, said), more_accurate(found.outcome, pair[0].name, pair[1].name))


def _first(found: Found, network: Network) -> float:
    return gradients(for_small_images(network, found.size), found.source, found.size)[0]


def _charts(found: Found) -> list[Chart]:
    charts = []
    for when in ("before", "after"):
        values = {}
        for network in networks(found.size):
            run = found.run(network.name) if when == "after" else None
            if run or when == "before":
                small = for_small_images(network, found.size)
                values[network.name] = gradients(small, found.source, found.size, run)
        title = f"Gradient of each layer {when} training"
        charts += [by_layer(title, "root mean square", values, alike=2, log=True)] if values else []
    return charts


AUXILIARY_CLASSIFIERS = Experiment(
    "auxiliary-classifiers",
    "Auxiliary classifiers against vanishing gradients",
    "Classifiers on inner layers bring gradients to the first layers of a deep network, and make it more accurate.",
    "Szegedy et al. 2015, section 5; doubted by Szegedy et al. 2016, section 4",
    _verdict,
    lambda size: [Part(tuple(networks(size)))],
    charts=_charts,
)
