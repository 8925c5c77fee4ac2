"""What the 1x1 reductions of an inception module save."""

from topfive.engine.experiments.experiment import Experiment, Found, Part
from topfive.networks import get
from topfive.networks.costs import Costs, count
from topfive.networks.ideas import POPULAR_MACS, inception_module
from topfive.networks.layers import Network
from topfive.networks.variations import narrowed
from topfive.results.experiments import Table, Verdict, counted, more_accurate, together

NARROW = 4


def module(reduced: bool) -> Costs:
    """What the module that lectures show costs, naive or reduced."""
    return count(inception_module(reduced))


def networks() -> list[Network]:
    """The network with reductions and the naive one, each with a quarter of its channels."""
    return [narrowed(get(name), NARROW) for name in ("googlenet", "googlenet-naive")]


def _verdict(found: Found) -> Verdict:
    naive, reduced = module(False).macs, module(True).macs
    said = (
        f"{naive / 1e6:.0f} M multiply-adds naive, {reduced / 1e6:.0f} M with reductions (the popular 358 M is a slip)"
    )
    less, whole = (network.name for network in networks())
    return together(counted(reduced < naive / 2, said), more_accurate(found.outcome, less, whole))


def _tables(found: Found) -> list[Table]:
    rows = []
    for kind, counts in (("naive", module(False)), ("reduced", module(True))):
        convs = [row for row in counts.rows if row.macs]
        rows += [(kind, row.name, row.layer, round(row.macs / 1e6, 1)) for row in convs]
        rows.append((kind, "together", f"{counts.stages[0].output[0]} maps out", round(counts.macs / 1e6, 1)))
    head = ("module", "row", "layer", "multiply-adds [M]")
    depths = [count(get(name)) for name in ("googlenet-naive", "googlenet")]
    grown = tuple(
        (one.name, one.output[0], two.output[0])
        for one, two in zip(depths[0].stages, depths[1].stages)
        if one.name[0] in "345"
    )
    return [
        Table(f"The module row by row (the rows of the reduced one sum to {module(True).macs / 1e6:.0f} M, "
              f"not to {POPULAR_MACS / 1e6:.0f} M)", head, tuple(rows)),
        Table("Maps after each of the nine modules", ("module", "naive", "reduced"), grown),
    ]  # fmt: skip


INCEPTION_COST = Experiment(
    "inception-cost",
    "1x1 reductions in the inception module",
    "1x1 convolutions before the 3x3 and 5x5 filters, and after the pooling, save most of the operations of an "
    "inception module; in equal time the network with them is more accurate than the naive one.",
    "Szegedy et al. 2015, section 4 and figure 2",
    _verdict,
    lambda size: [Part(tuple(networks()))],
    _tables,
)
