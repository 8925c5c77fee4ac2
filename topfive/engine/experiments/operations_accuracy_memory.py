"""Accuracy against operations and memory: published, and trained here for equal time."""

from topfive.engine.comparison.candidates import DEFAULT
from topfive.engine.experiments.experiment import Experiment, Found, Part
from topfive.networks import NETWORKS, papers
from topfive.networks import costs as counting
from topfive.results.experiments import Chart, Series, Table, Verdict, counted, rising, together

COMPARED = ("vgg-d", "inception-v4")


def published() -> list[tuple[str, float, int, int]]:
    """The name, the published Top-1 of one crop [%], multiply-adds and parameters of every network that has one."""
    rows = []
    for name, make in NETWORKS.items():
        error = papers.best_error(name)
        if error and error.top1 is not None and error.split.startswith("val") and error.protocol == "1-crop":
            counts = counting.count(make())
            rows.append((name, 100 - error.top1, counts.macs, counts.params))
    return rows


def _verdict(found: Found) -> Verdict:
    known = {name: rest for name, *rest in published()}
    vgg, inception = (known[name] for name in COMPARED)
    rows = [row for row in found.outcome.rows.values() if row.trained and row.kind == "network"]
    corner = inception[0] > vgg[0] and inception[1] < vgg[1] and inception[2] < vgg[2]
    said = (
        f"published: Inception-v4 {inception[0]:.1f} % with {inception[1] / 1e9:.1f} G multiply-adds and "
        f"{inception[2] / 1e6:.0f} M parameters, VGG-16 {vgg[0]:.1f} %, {vgg[1] / 1e9:.1f} G and {vgg[2] / 1e6:.0f} M"
    )
    here = rising("trained here", [row.macs for row in rows], [row.top1 for row in rows])
    return together(counted(corner, said), found.settled(here))


def _tables(found: Found) -> list[Table]:
    rows = tuple(
        (n, round(top1, 2), round(macs / 1e9, 2), round(params / 1e6, 1)) for n, top1, macs, params in published()
    )
    return [Table("Published, one crop", ("network", "Top-1 [%]", "multiply-adds [G]", "parameters [M]"), rows)]


def _charts(found: Found) -> list[Chart]:
    rows = found.outcome.rows.values()
    here = [(row.name, row.top1, row.macs / 1e6) for row in rows if row.trained and row.kind == "network"]
    there = [(name, top1, macs / 1e9) for name, top1, macs, _ in published()]
    return [
        Chart(title, "Top-1 [%]", tuple(Series(name, (top1,), (macs,)) for name, top1, macs in dots), x, scatter=True)
        for title, x, dots in (
            ("Trained here for equal time, and the front", "multiply-adds [M]", here),
            ("Published, one crop, and the front", "multiply-adds [G]", there),
        )
        if dots
    ]


OPERATIONS_ACCURACY_MEMORY = Experiment(
    "operations-accuracy-memory",
    "Accuracy against operations and memory",
    "More operations mean more accuracy, and the union of inception and residual networks has more of it than VGG for "
    "fewer operations and less memory.",
    "Canziani, Paszke and Culurciello 2017, figures 1 and 2",
    _verdict,
    lambda size: [Part(DEFAULT)],
    _tables,
    _charts,
)
