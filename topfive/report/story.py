"""The story of the networks as values for its page: every number is that of `topfive show`, of papers.toml or of an
experiment's record; the sentences around them are in pages/story_en.toml and story_ko.toml."""

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import msgspec

from topfive.networks import ALIASES, NETWORKS, costs, drawing, get, papers
from topfive.networks.ideas import ideas
from topfive.networks.layers import Network
from topfive.report import cards
from topfive.report.comparison import published_rows
from topfive.report.figures.series import alike, drawn, pareto
from topfive.report.tables import Row, Value
from topfive.results.activations import ActivationMap, Activations
from topfive.results.experiments import ExperimentRecord
from topfive.results.records import ComparisonRow, PublishedRow

# of each year's winner, a network that is here; "winner" where the entry was made of it
OF_YEAR = {
    2012: ("alexnet", "winner"),
    2013: ("zfnet", "authors"),
    2014: ("googlenet", "winner"),
    2015: ("resnet-152", "winner"),
    2016: ("resnext-101-64x4d", "second"),
    2017: ("senet-154", "winner"),
}
PLACES = {"conv": "conv", "linear": "linear"}  # by how the description of a layer begins; others are "other"
CALLED = {name: alias for alias, name in ALIASES.items()}


class Kind(msgspec.Struct, frozen=True, array_like=True):
    """What layers that are repeated have in common."""

    layer: str
    output: tuple[int, int, int]
    params: int
    macs: int
    activation_bytes: int
    stride: tuple[int, int]


class StoryRow(msgspec.Struct, frozen=True, array_like=True):
    """A row of `topfive show`; `kind` is a place among the network's kinds."""

    name: str
    kind: int
    field: tuple[int, int]
    least: tuple[int, int]
    centre: tuple[float, float]


class StoryNetwork(msgspec.Struct, frozen=True):
    """Everything that the page says of one network."""

    name: str
    alias: str  # what many call it: vgg-16, which the paper calls D
    source: dict[str, Value]
    totals: dict[str, Value]
    kinds: tuple[Kind, ...]
    stages: tuple[StoryRow, ...]
    layers: tuple[StoryRow, ...]
    heads: tuple[StoryRow, ...]
    claims: list[Row]
    errors: list[Row]
    differs: tuple[str, ...]
    params: dict[str, int]  # by where they are: conv, linear, other
    svg: str


class StoryYear(msgspec.Struct, frozen=True):
    """A winner of ILSVRC, and the best published Top-5 error of a single network of that kind."""

    year: int
    entry: str
    method: str
    note: str
    error: float
    shallow: bool
    network: str = ""
    relation: str = ""
    single: float | None = None
    single_protocol: str = ""


class StoryIdea(msgspec.Struct, frozen=True):
    """A pair of small networks."""

    name: str
    before: StoryNetwork
    after: StoryNetwork


class StoryPoint(msgspec.Struct, frozen=True):
    """A network in the figure of accuracy, operations and memory."""

    name: str
    family: str
    top1: float
    ops: int
    bytes: int
    params: int
    protocol: str
    where: str
    conf: str  # how it is known that this is published; empty for what was measured here
    front: bool
    compared: bool  # tested by the protocol of the front


class StoryExperiment(msgspec.Struct, frozen=True):
    """What an experiment that was run here has found."""

    kind: str
    reason: str
    data: str
    command: str
    made: str
    lines: tuple[tuple[str, tuple[float, ...], tuple[float, ...]], ...] = ()  # the effective field: name, x, y


class StoryModel(msgspec.Struct, frozen=True):
    """A trained model as a network of its own, and what it makes of the image."""

    network: StoryNetwork
    protocol: str
    view: bytes
    maps: dict[str, tuple[ActivationMap, ...]]
    answers: tuple[tuple[str, float], ...]


class Story(msgspec.Struct, frozen=True):
    """All values of the page."""

    years: tuple[StoryYear, ...]
    human: float
    networks: tuple[StoryNetwork, ...]
    ideas: tuple[StoryIdea, ...]
    published: tuple[StoryPoint, ...]
    own: tuple[StoryPoint, ...]
    experiments: dict[str, StoryExperiment]
    model: StoryModel | None = None


class Point(NamedTuple):
    """One of the seventeen points of the story: where it stands, what tries it, what to look at."""

    key: str
    section: str
    experiments: tuple[str, ...] = ()
    network: str = ""


POINTS = (  # in the order in which they stand on the page
    Point("imagenet", "timeline"),
    Point("top5", "timeline"),
    Point("history", "timeline"),
    Point("alexnet", "networks", ("convolution", "alexnet-ablations", "two-towers"), "alexnet"),
    Point("vgg", "networks", (), "vgg-d"),
    Point("classifier", "networks", ("classifier-weights",), "vgg-d"),
    Point("googlenet", "networks", (), "googlenet"),
    Point("auxiliary", "networks", ("auxiliary-classifiers",), "googlenet"),
    Point("stack", "stack", ("stacked-3x3",), "vgg-d"),
    Point("naive", "inception", ("inception-cost",), "googlenet-naive"),
    Point("pointwise", "inception", ("bottleneck",), "nin"),
    Point("reduced", "inception", ("inception-cost",), "googlenet"),
    Point("degradation", "residual", ("degradation",), "cifar-plain-56"),
    Point("residual", "residual", ("shortcuts",), "cifar-resnet-56"),
    Point("layout", "residual", (), "resnet-34"),
    Point("depths", "bottleneck", ("bottleneck",), "resnet-50"),
    Point("together", "comparison", ("operations-accuracy-memory", "inception-residual"), "inception-v4"),
)


def story(
    records: Sequence[ExperimentRecord] = (), own: Sequence[ComparisonRow] = (), seen: Activations | None = None
) -> Story:
    """Everything, from the networks, papers.toml, and the records that there are."""
    return Story(
        tuple(_year(winner) for winner in papers.winners()),
        papers.human_top5(),
        _networks(),
        tuple(StoryIdea(one.name, _network(one.before), _network(one.after)) for one in ideas()),
        _published(published_rows()),
        tuple(_own(row) for row in own),
        {record.name: _experiment(record) for record in records},
        _model(seen) if seen else None,
    )


@cache
def _networks() -> tuple[StoryNetwork, ...]:
    return tuple(_network(get(name)) for name in NETWORKS)


def _network(network: Network, input: tuple[int, int, int] | None = None) -> StoryNetwork:
    sheet = cards.of(network, input)
    document = cards.document(sheet)
    kinds: dict[Kind, int] = {}
    stages, layers, heads = (
        tuple(_row(row, kinds) for row in rows)
        for rows in (sheet.costs.stages, sheet.costs.rows, sheet.costs.head_rows)
    )
    return StoryNetwork(
        network.name,
        CALLED.get(network.name, ""),
        msgspec.convert(document["source"] or {}, dict[str, Value]),
        cards.totals(sheet),
        tuple(kinds),
        stages,
        layers,
        heads,
        cards.claim_rows(sheet),
        cards.error_rows(sheet),
        sheet.differs,
        params_by_place(sheet.costs),
        drawing.svg(network, input=input),
    )


def _model(seen: Activations) -> StoryModel:
    network = _network(seen.network, (3, seen.size, seen.size))
    return StoryModel(
        msgspec.structs.replace(network, name=f"{seen.model} ({network.name})"),
        seen.protocol,
        seen.view,
        seen.maps,
        seen.answers,
    )


def _row(row: costs.Row, kinds: dict[Kind, int]) -> StoryRow:
    kind = Kind(row.layer, row.output, row.params, row.macs, row.activation_bytes, row.stride)
    place = kinds.setdefault(kind, len(kinds))
    return StoryRow(row.name, place, row.receptive_field, row.least_receptive_field, row.centre)


def params_by_place(counts: costs.Costs) -> dict[str, int]:
    """The parameters of the convolutions, of the fully connected layers, and of all else; they sum to all."""
    found = {"conv": 0, "linear": 0, "other": 0}
    for row in counts.rows:
        found[PLACES.get(row.layer.partition(" ")[0], "other")] += row.params
    return found


def _year(winner: papers.Winner) -> StoryYear:
    network, relation = OF_YEAR.get(winner.year, ("", ""))
    singles = [
        error
        for error in (papers.facts(network).errors if network else ())
        if error.models == 1 and error.split.startswith("val") and error.top5 is not None
        and error.conf == "paper" and "paper" not in error.where and "pretrained" not in error.protocol
    ]  # fmt: skip
    best = min(singles, key=lambda error: error.top5 or 100, default=None)
    return StoryYear(
        winner.year,
        winner.entry,
        winner.method,
        winner.note,
        winner.top5_test,
        winner.shallow,
        network,
        relation,
        best.top5 if best else None,
        best.measured_on if best else "",
    )


def _published(rows: Sequence[PublishedRow]) -> tuple[StoryPoint, ...]:
    """Those that have a place in the figure; the front is of the commonest protocol alone."""
    seen = [row for row in drawn(rows) if row.top1 is not None]
    compared = alike(seen)
    front = {compared[i].name for i in pareto([(row.ops, row.top1 or 0) for row in compared])}
    names = {row.name for row in compared}
    return tuple(
        StoryPoint(
            row.name,
            row.family,
            row.top1 or 0,
            row.ops,
            row.peak_bytes,
            row.params,
            row.protocol or "",
            row.source or "",
            row.conf or "",
            row.name in front,
            row.name in names,
        )
        for row in seen
    )


def _own(row: ComparisonRow) -> StoryPoint:
    where = f"n = {row.images:,}, {row.size}x{row.size}"
    return StoryPoint(
        row.name,
        "yours",
        row.top1,
        row.ops,
        row.memory_inference_bytes,
        row.params,
        row.protocol,
        where,
        "",
        False,
        False,
    )


def _experiment(record: ExperimentRecord) -> StoryExperiment:
    lines = [
        (line.name, line.x, line.y)
        for chart in record.charts
        if record.name == "stacked-3x3" and chart.x
        for line in chart.series
    ]
    verdict = record.verdict
    return StoryExperiment(verdict.kind, verdict.reason, record.data, record.command, record.made, tuple(lines))
