"""Stacks of small filters against one large filter with the same receptive field."""

from topfive.engine.experiments.experiment import Experiment, Found, Part
from topfive.engine.experiments.measures import effective_field
from topfive.networks.costs import count
from topfive.networks.ideas import Named, stacked
from topfive.networks.layers import Chain, Conv, GlobalPool, Linear, Network, Pool, Relu
from topfive.results.experiments import Chart, Series, Table, Verdict, counted, more_accurate, together

KINDS = {  # side of the filters, how many of them, whether each has its own nonlinearity
    "one-7x7": (7, 1, True),
    "three-3x3": (3, 3, True),
    "three-3x3-linear": (3, 3, False),
    "one-5x5": (5, 1, True),
    "two-3x3": (3, 2, True),
}


def network(kind: str, size: int) -> Network:
    """Three blocks as VGG has them, all of the same kind, with a tenth of its widths."""
    layers: list[Named] = [("conv1", Conv(24, 3, pad=1)), ("relu1", Relu())]
    for n, filters in enumerate((24, 48, 96), start=1):
        layers += [*_stack(kind, filters), (f"pool{n}", Pool("max", 2, 2))]
    layers += [("average", GlobalPool()), ("fc", Linear(10))]
    return Network(kind, "vgg-a", (3, size, size), Chain(tuple(layers)))


def alone(kind: str) -> Network:
    """One block of 16 filters on 16 maps, to look at what it sees."""
    return Network(kind, "vgg-a", (3, 31, 31), Chain((("in", Conv(16, 1)), *_stack(kind, 16))))


def _stack(kind: str, filters: int) -> list[Named]:
    side, number, each = KINDS[kind]
    return stacked(side, number, filters, each, block=f"{filters}_")


def _verdict(found: Found) -> Verdict:
    fields = [count(alone(kind)).stages[-1].receptive_field[0] for kind in ("one-7x7", "three-3x3")]
    weights = [_weights(kind) for kind in ("one-7x7", "three-3x3")]
    share = weights[1] / weights[0]
    return together(
        counted(fields[0] == fields[1], f"receptive fields {fields[0]} and {fields[1]}"),
        counted(share < 0.6, f"three 3x3 have {share:.0%} of the weights of one 7x7 (27/49 of C²)"),
        more_accurate(found.outcome, "three-3x3", "one-7x7"),
        more_accurate(found.outcome, "three-3x3", "three-3x3-linear"),  # why: the claim gives this as the reason
    )


def _weights(kind: str) -> int:
    side, number, _ = KINDS[kind]
    return number * side * side


def _tables(found: Found) -> list[Table]:
    fields = {kind: str(count(alone(kind)).stages[-1].receptive_field[0]) for kind in KINDS}
    rows = tuple(
        (kind, field, f"{_weights(kind)} C²", f"{_weights(kind)} C² a place") for kind, field in fields.items()
    )
    head = ("block", "receptive field [pixels]", "weights for C maps", "multiply-adds for C maps")
    return [Table("The same field, with fewer weights", head, rows)]


def _charts(found: Found) -> list[Chart]:
    lines = []
    for group, kind in enumerate(("one-7x7", "three-3x3", "three-3x3-linear")):
        row = effective_field(alone(kind), 31)[15]
        lines.append(Series(kind, tuple(map(float, row[10:21])), tuple(range(-5, 6)), group=group))
    title = "How much each pixel counts for the unit in the middle, measured by gradients"
    return [Chart(title, "size of the gradient", tuple(lines), "pixels from the middle")]


STACKED_3X3 = Experiment(
    "stacked-3x3",
    "Three 3x3 filters instead of one 7x7",
    "Three 3x3 convolutions on top of each other see what one 7x7 sees, with 27/49 of its weights, and are more "
    "accurate, since there are three nonlinearities in place of one.",
    "Simonyan and Zisserman 2015, section 2.3",
    _verdict,
    lambda size: [Part(tuple(network(kind, size) for kind in KINDS))],
    _tables,
    _charts,
)
