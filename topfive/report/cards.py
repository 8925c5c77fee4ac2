"""Everything known about one network, gathered once: what `topfive show` prints and what docs/networks holds."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from topfive.errors import UsageError
from topfive.networks import CLAIMS, DIFFERS, ERRATA, NETWORKS, papers
from topfive.networks import costs as costing
from topfive.networks.layers import Network, with_classes
from topfive.report.tables import Column, Row, Section, Value, percent, scaled

TRAINING_BATCH = 32
NON_BLACKLISTED = "val (48,238 non-blacklisted)"


def _unless_zero(show: Callable[[float], str]) -> Callable[[float], str]:
    return lambda value: show(value) if value else ""


COST_COLUMNS = (
    Column("name", "row", right=False, wraps=True),
    Column("layer", "layer", right=False, wraps=True),
    Column("output", "output"),
    Column("params", "params", _unless_zero("{:,}".format)),
    Column("macs", "MACs\n(M)", _unless_zero(scaled(1e6, 1))),
    Column("weight_bytes", "weights\n(KB)", _unless_zero(scaled(1e3, 0)), terminal=False),  # four times the params
    Column("activation_bytes", "activa-\ntions\n(KB)", _unless_zero(scaled(1e3, 0))),
    Column("receptive_field", "field"),
    Column("stride", "stride"),
    Column("centre", "centre"),
    Column("least_receptive_field", "least\nfield"),
)
CLAIM_COLUMNS = (
    Column("row", "row", right=False),
    Column("of", "of", right=False),
    Column("printed", "printed"),
    Column("ours", "ours"),
    Column("unit", "unit", right=False),
    Column("verdict", "verdict", right=False),
    Column("where", "where", right=False, wraps=True),
)
ERROR_COLUMNS = (
    Column("top1_error", "top-1\nerror\n(%)", percent(3)),
    Column("top5_error", "top-5\nerror\n(%)", percent(3)),
    Column("protocol", "protocol", right=False, wraps=True),
    Column("split", "images", right=False, wraps=True),
    Column("models", "models"),
    Column("conf", "source", right=False),
    Column("where", "where", right=False, wraps=True),
    Column("note", "note", right=False, wraps=True),
)
_FIELDS = "receptive_field", "stride", "centre", "least_receptive_field"  # of (height, width)
_UNITS = {1: "", 1000: "K", 1024: "K of 1024", 10**6: "M", 10**9: "G"}


class Sheet(msgspec.Struct, frozen=True):
    """One network at one input size: its costs, its source, and the paper's numbers beside ours."""

    network: Network
    costs: costing.Costs
    paper: papers.Paper | None
    errors: tuple[papers.PublishedError, ...]
    verdicts: tuple[papers.Verdict, ...]
    differs: tuple[str, ...]


def of(network: Network, input: tuple[int, int, int] | None = None) -> Sheet:
    """The sheet of a network.

    Published errors and differences are those of the network of that name, at any number of classes; its printed
    numbers are compared only for its own number of classes and input.
    """
    costs = costing.count(network, input)
    source = next((name for name in (network.name, network.paper) if name in papers.known()), None)
    paper = papers.facts(source) if source else None
    original = NETWORKS[network.name]() if network.name in NETWORKS else None
    if original is None or paper is None or not _same_but_for_classes(network, original):
        return Sheet(network, costs, paper, (), (), ())
    verdicts: list[papers.Verdict] = []
    if network == original and costs.input == original.input:
        verdicts = papers.check(network, costs, [*CLAIMS.get(network.name, []), *paper.claims], ERRATA)
    return Sheet(network, costs, paper, paper.errors, tuple(verdicts), tuple(DIFFERS.get(network.name, [])))


def cost_rows(rows: tuple[costing.Row, ...]) -> list[Row]:
    """A row a layer or stage."""
    counts = ("params", "macs", "weight_bytes", "activation_bytes")
    found: list[Row] = []
    for row in rows:
        sides = {
            f"{name}_{axis}": getattr(row, name)[n] for name in _FIELDS for n, axis in enumerate(("height", "width"))
        }
        numbers = {key: getattr(row, key) for key in counts}
        found.append({"name": row.name, "layer": row.layer, "output": by_x(row.output), **numbers, **sides})
    return found


def _with_squares(rows: list[Row]) -> list[Row]:
    """The same for people: both axes of what the layers have seen in one word."""
    return [{**row, **{name: _square(row[f"{name}_height"], row[f"{name}_width"]) for name in _FIELDS}} for row in rows]


def totals(sheet: Sheet) -> dict[str, Value]:
    """The whole network, as plain numbers."""
    costs = sheet.costs
    counts = ("depth", "params", "head_params", "macs", "ops", "weight_bytes", "activation_bytes")
    return {
        "input": by_x(costs.input),
        "classes": sheet.network.classes,
        **{key: getattr(costs, key) for key in counts},
        "peak_inference_bytes": costs.peak_bytes,
        "training_bytes_estimate": costs.training_bytes(TRAINING_BATCH),
        "training_batch": TRAINING_BATCH,
    }


def claim_rows(sheet: Sheet) -> list[Row]:
    """The paper's numbers beside ours; `<20` and sizes such as 28x28x256 stay words."""
    keys = ("row", "of", "printed", "ours", "unit", "verdict", "where", "erratum")
    rows = [{key: getattr(verdict, key) for key in keys} for verdict in sheet.verdicts]
    return [{**row, "printed": _number(row["printed"]), "ours": _number(row["ours"])} for row in rows]


def error_rows(sheet: Sheet) -> list[Row]:
    """Every published error."""
    keys = ("top1_error", "top5_error", "protocol", "split", "models", "crops", "conf", "where", "note")
    return [{key: getattr(error, key) for key in keys} for error in sheet.errors]


def document(sheet: Sheet) -> dict[str, object]:
    """Everything but the rows themselves, for the JSON document."""
    paper = sheet.paper
    facts = ("title", "authors", "year", "venue", "arxiv", "family", "note")
    return {
        "name": sheet.network.name,
        "source": {key: getattr(paper, key) for key in facts} if paper else None,
        "totals": totals(sheet),
        "head_rows": cost_rows(sheet.costs.head_rows),
        "claims": claim_rows(sheet),
        "differs": sheet.differs,
        "errors": error_rows(sheet),
    }


def sections(sheet: Sheet, layers: bool = False) -> list[Section]:
    """The same for people: every part that has something to say."""
    head = Section(sheet.network.name, [source_line(sheet), *note(sheet), costs_line(sheet)])
    rows = costs_section(sheet, layers)
    parts = [head, rows, heads_section(sheet), claims_section(sheet), differs_section(sheet), errors_section(sheet)]
    return [part for part in parts if part.paragraphs or part.rows or part.points]


def costs_section(sheet: Sheet, layers: bool = False) -> Section:
    costs = sheet.costs
    rows = _with_squares(cost_rows(costs.rows if layers else costs.stages))
    counts = ("params", "macs", "weight_bytes", "activation_bytes")
    total: Row = {"name": "total", **{key: getattr(costs, key) for key in counts}}
    return Section("Layers" if layers else "Rows", (), rows, _cost_columns(rows, layers), total, memory(sheet))


def heads_section(sheet: Sheet) -> Section:
    rows = _with_squares(cost_rows(sheet.costs.head_rows))
    return Section(
        "Auxiliary classifiers (training only, in no total above)", (), rows, _cost_columns(rows, layers=True)
    )


def claims_section(sheet: Sheet) -> Section:
    rows: list[Row] = []
    for verdict, row in zip(sheet.verdicts, claim_rows(sheet)):
        words = {"row": verdict.row or "network", "printed": verdict.printed, "ours": verdict.ours}
        rows.append({**row, **words, "unit": _UNITS[verdict.unit]})
    # why: one sentence may mend several numbers, and is said once
    errata = {v.erratum: f"{v.row or 'network'}, {v.of}: {v.erratum}" for v in reversed(sheet.verdicts) if v.erratum}
    points = list(reversed(errata.values()))
    return Section("The paper's numbers beside ours", (), rows, CLAIM_COLUMNS, points=points)


def differs_section(sheet: Sheet) -> Section:
    return Section("What differs from the paper", points=sheet.differs)


def errors_section(sheet: Sheet) -> Section:
    rows: list[Row] = [
        {**row, "split": "48,238 of val" if row["split"] == NON_BLACKLISTED else row["split"]}
        for row in error_rows(sheet)
    ]
    return Section("Published errors", (), rows, ERROR_COLUMNS)


def note(sheet: Sheet) -> list[str]:
    return [sheet.paper.note] if sheet.paper and sheet.paper.note else []


def source_line(sheet: Sheet) -> str:
    """Title, authors, venue, in one sentence."""
    paper = sheet.paper
    if paper is None:
        return f"{sheet.network.name}: a network of your own."
    authors = f"{paper.authors}: " if paper.authors else ""
    where = ", ".join(part for part in (paper.venue, f"arXiv {paper.arxiv}" if paper.arxiv else "") if part)
    return f"{authors}{paper.title}. {where or paper.year}."


def _same_but_for_classes(network: Network, original: Network) -> bool:
    try:
        return network == original or with_classes(network, original.classes) == original
    except UsageError:  # a network by hand that only shares the name
        return False


def _cost_columns(rows: list[Row], layers: bool = False) -> list[Column]:
    # why: without branches the least field is the field, and a column that repeats another says nothing
    left_out = set()
    if all(row["receptive_field"] == row["least_receptive_field"] for row in rows):
        left_out = {"least_receptive_field"}
    # why: the names of single layers take the room of these
    crowded = {"activation_bytes", "stride", "centre", "least_receptive_field"} if layers else set()
    return [
        column._replace(terminal=column.terminal and column.key not in crowded)
        for column in COST_COLUMNS
        if column.key not in left_out
    ]


def costs_line(sheet: Sheet) -> str:
    costs = sheet.costs
    return (
        f"Input {by_x(costs.input)}, {sheet.network.classes} classes, depth {costs.depth}, {costs.params / 1e6:,.2f} M "
        f"parameters, {costs.macs / 1e9:,.3f} G multiply-adds ({costs.ops / 1e9:,.3f} G operations)."
    )


def memory(sheet: Sheet) -> list[str]:
    costs = sheet.costs
    heads = f" and the {costs.head_params:,} parameters of the auxiliary classifiers" if costs.head_params else ""
    return [
        f"Inference, one image, fp32: {costs.peak_bytes / 1e6:,.1f} MB at the peak ({costs.weight_bytes / 1e6:,.1f} "
        "MB of weights and the most activations alive at once).",
        f"Training, batch {TRAINING_BATCH}, fp32: about {costs.training_bytes(TRAINING_BATCH) / 1e9:,.2f} GB, an "
        f"estimate (weights, gradients, momentum, every activation kept{heads}).",
    ]


def by_x(shape: tuple[int, ...]) -> str:
    return "x".join(str(n) for n in shape)


def _square(*size: Value) -> str:
    """`11` for a square, else `11x7` (height x width)."""
    height, width = (f"{n:.1f}".removesuffix(".0") for n in size)
    return height if height == width else f"{height}x{width}"


def _number(text: str) -> Value:
    """What a paper prints as a number, where it is one."""
    plain = text.replace(",", "")
    return int(plain) if plain.isdecimal() else float(plain) if plain.replace(".", "", 1).isdecimal() else text
