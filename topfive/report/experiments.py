"""An experiment as text, as a page, and all of them as an index."""

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from topfive.report.figures import canvas, charts
from topfive.report.pages.page import both, facts, publish
from topfive.report.tables import Column, Row, Section
from topfive.results.experiments import HOLDS, Chart, ExperimentRecord, Table
from topfive.results.provenance import Provenance

LONG = 28  # letters, from which on a cell of a terminal's table takes several lines


def sections(record: ExperimentRecord) -> list[Section]:
    """The verdict, and the tables below it."""
    verdict = f"{record.title}: {record.verdict.kind}. {record.verdict.reason}."
    first = Section("", [f"{record.claim} ({record.source})", verdict], [], ())
    return [first, *(_section(table) for table in record.tables)]


def listing(names: Sequence[tuple[str, str, str]]) -> Section:
    """The experiments that there are: name, title and source."""
    rows: list[Row] = [{"name": name, "claim": title, "source": source} for name, title, source in names]
    columns = [Column(key, key, right=False, wraps=key != "name") for key in ("name", "claim", "source")]
    return Section("", ["topfive experiment NAME runs one, topfive experiment all all of them."], rows, columns)


def write(folder: Path, record: ExperimentRecord) -> list[Path]:
    """The figures as PNG and SVG and the page into `folder`; the paths written, the page last."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for chart in record.charts:
        written += canvas.save(charts.chart(chart), folder / figure(chart))
    drawn = [
        (chart, *both(f"chart{n}", partial(charts.chart, chart), chart.title)) for n, chart in enumerate(record.charts)
    ]
    seeds = f"Seeds: {', '.join(map(str, record.seeds))}." if drawn else ""
    made = Provenance(
        source=record.data,
        machine=record.machine,
        versions=record.versions,
        seed=", ".join(map(str, record.seeds)),
        made=record.made,
        command=record.command,
    )
    names = [str(row[0]) for table in record.tables for row in table.rows]
    page = publish(
        folder / "report.html", "experiment.html.j2", names, record=record, charts=drawn, seeds=seeds, facts=facts(made)
    )
    return [*written, page]


def figure(chart: Chart) -> str:
    """The file that a chart is drawn into."""
    return re.sub(r"[^a-z0-9]+", "-", chart.title.lower()).strip("-")[:60] + ".png"


def write_index(folder: Path, records: Sequence[ExperimentRecord]) -> Path:
    """The page that leads to those of all experiments."""
    holding = sum(record.verdict.kind == HOLDS for record in records)
    return publish(folder / "index.html", "experiments.html.j2", records=records, holding=holding)


def _section(table: Table) -> Section:
    short = [head.replace("parameters", "params").replace("multiply-adds", "MACs") for head in table.head]
    heads = [head.replace(" ", "\n") for head in short]
    rows: list[Row] = [dict(zip(heads, row)) for row in table.rows]
    texts = {head for head in heads if any(isinstance(row[head], str) for row in rows)}
    wide = {head for head in texts if any(len(str(row[head])) > LONG for row in rows)}
    columns = [Column(head, head, right=head not in texts, wraps=head in wide) for head in heads]
    return Section(table.title, (), rows, columns)
