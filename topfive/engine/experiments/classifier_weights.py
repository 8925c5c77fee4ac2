"""Where the parameters are, and whether the large classifier is needed."""

from topfive.engine.experiments.experiment import Experiment, Found, Part
from topfive.networks import get
from topfive.networks.costs import count
from topfive.networks.layers import Linear, Network, leaves, with_classes
from topfive.networks.variations import average_pooled, for_small_images, narrowed
from topfive.results.experiments import Table, Verdict, counted, more_accurate, opposite, together

PUBLISHED = ("alexnet", "vgg-d", "googlenet", "resnet-50")
NARROW = 4


def networks(size: int) -> list[Network]:
    """VGG-A with a quarter of its channels, with its classifier and with an average in place of it."""
    vgg = narrowed(for_small_images(get("vgg-a"), size), NARROW, "vgg-a-narrow")
    return [vgg, average_pooled(vgg)]


def connected(network: Network) -> tuple[int, int]:
    """Parameters of the fully connected layers, and of all."""
    counts = count(network)
    linear = {path for path, layer in leaves(network.body) if isinstance(layer, Linear)}
    return sum(row.params for row in counts.rows if row.name in linear), counts.params


def _verdict(found: Found) -> Verdict:
    fully, whole = connected(get("vgg-d"))
    vgg, average = networks(found.size)
    share = fully / whole
    return together(
        counted(
            share > 0.5,
            f"{fully / 1e6:.1f} of VGG-16's {whole / 1e6:.1f} M parameters are fully connected ({share:.0%})",
        ),
        opposite(more_accurate(found.outcome, vgg.name, average.name)),
    )


def _tables(found: Found) -> list[Table]:
    rows = []
    small = [with_classes(network, len(found.source.classes)) for network in networks(found.size)]
    for network in (*(get(name) for name in PUBLISHED), *small):
        fully, whole = connected(network)
        rows.append((network.name, round(fully / 1e6, 3), round(whole / 1e6, 3), round(100 * fully / whole, 1)))
    head = ("network", "fully connected [M]", "parameters [M]", "share [%]")
    return [Table("Where the parameters are", head, tuple(rows))]


CLASSIFIER_WEIGHTS = Experiment(
    "classifier-weights",
    "The classifier holds most weights, and is not needed",
    "Most parameters of VGG are in its fully connected layers; with the average of each map in place of them the "
    "network is many times smaller and no less accurate.",
    "Lin, Chen and Yan 2014, section 3.2; Szegedy et al. 2015, section 5",
    _verdict,
    lambda size: [Part(tuple(networks(size)))],
    _tables,
)
