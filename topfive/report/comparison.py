"""What a comparison shows: its table, its figures and its page, measured here or printed in papers."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from topfive.networks import NETWORKS, costs, papers
from topfive.report import metrics
from topfive.report import networks as networks_of_report
from topfive.report.figures import canvas, curves, history, race
from topfive.report.figures import comparison as comparison_figures
from topfive.report.pages import comparison as pages
from topfive.report.tables import Column, Row, Section
from topfive.results import comparisons as results
from topfive.results.provenance import Provenance
from topfive.results.records import ComparisonRow, FailedRow, PublishedRow

Made = ComparisonRow | FailedRow


def flat(rows: Sequence[msgspec.Struct]) -> list[Row]:
    """Records for machines, all with the same keys: of a network that failed the reason alone, of others none."""
    keys = dict.fromkeys(key for row in rows for key in row.__struct_fields__)
    return [{**keys, **msgspec.to_builtins(row)} for row in rows]


def measured_section(rows: Sequence[Made], made: Provenance = Provenance()) -> Section:
    """The table of a measured comparison, best row first; the protocol and n stand above it, the answer below."""
    ranked = results.ranked(_compared(rows))
    failed = [row for row in rows if isinstance(row, FailedRow)]
    said = [f"{row.protocol}, n = {row.images:,}{_unread(row)}{_trainings(ranked)}" for row in ranked[:1]]
    points = [f"{row.name} failed: {row.failed}" for row in failed]
    points += [f"{row.name}: operations counted by {row.counted_by}" for row in ranked if row.counted_by != "topfive"]
    points += [
        f"{row.name} counts as untrained: it cannot be told from always naming the commonest class"
        for row in ranked
        if not row.trained
    ]
    if ranked:
        points.insert(0, pages.answered(ranked, made))
        points.append(
            "Medians: latency of one image, rate in the best batch; peak memory over the bare process: infer, one "
            "image; train, one step of a batch. The page has the spread."
        )
    table = metrics.section(metrics.comparison(ranked), ranked, said, points)
    return table._replace(rows=[*table.rows, *({"network": row.name} for row in failed)])


def measured_sections(rows: Sequence[Made], meta: Mapping[str, object]) -> list[Section]:
    """The tables of a measured comparison: its own, and of a choice when each network left, and why."""
    made = _provenance(meta)
    section = measured_section(rows, made)
    if not made.contenders:
        return [section]
    head = "When each network left, and why; Top-1 on selection images, rung by rung"
    left = metrics.section(metrics.CONTENDERS, pages.by_stay(made.contenders), [head])
    return [section, left]


def published_rows() -> list[PublishedRow]:
    """Every network with its costs and the published error that compares best."""
    rows = []
    for name, make in NETWORKS.items():
        network = make()
        counted = costs.count(network)
        paper, error = papers.facts(name), papers.best_error(name)
        rows.append(
            PublishedRow(
                name,
                paper.family,
                paper.title,
                paper.year,
                network.input[1],
                counted.depth,
                counted.params,
                counted.macs,
                counted.ops,
                counted.peak_bytes,
                counted.weight_bytes,
                error.top1 if error else None,
                error.top5 if error else None,
                error.measured_on if error else None,
                error.where if error else None,
                error.conf if error else None,
                error is not None and error.split.startswith("val"),
            )
        )
    return rows


def history_rows() -> list[Row]:
    """The winners of ILSVRC, a row a year."""
    return flat(papers.winners())


def published_sections() -> list[Section]:
    """The literature as tables: the networks, then the winners of ILSVRC."""
    columns = (
        Column("year", "year"),
        Column("entry", "ILSVRC winner", right=False),
        Column("method", "method", right=False, wraps=True),
        Column("depth", "depth"),
        Column("top5_test", "top-5\nerror (%)", "{:.2f}".format),
    )
    human = f"One trained person: {papers.human_top5():g} %."
    return [
        networks_of_report.networks_section(networks_of_report.network_rows(list(NETWORKS))),
        Section("The winners, shallow until 2011, deep from 2012", (), history_rows(), columns, points=[human]),
    ]


def write_measured(folder: Path, page: Path, rows: Sequence[Made], meta: Mapping[str, object]) -> list[Path]:
    """Figures as PNG and SVG into `folder`, and the page; the paths written, the page last."""
    folder.mkdir(parents=True, exist_ok=True)
    written = draw(rows, meta, folder / "accuracy-operations.png")
    made = _provenance(meta)
    if any(one.scores for one in made.contenders):
        written += canvas.save(race.race(made.contenders), folder / "race.png")
    if trained := [row for row in _compared(rows) if row.curve]:
        written += canvas.save(curves.curves(trained), folder / "curves.png")
    return [*written, write_page(page, rows, meta)]


def draw(rows: Sequence[Made], meta: Mapping[str, object], path: Path | str) -> list[Path]:
    """Accuracy against operations as PNG and SVG; the paths written."""
    seen = _compared(rows)
    return canvas.save(comparison_figures.bubbles(seen, caption=pages.measured_caption(seen, _provenance(meta))), path)


def write_page(path: Path | str, rows: Sequence[Made], meta: Mapping[str, object]) -> Path:
    return pages.render_measured(path, rows, _provenance(meta))


def write_published(folder: Path, page: Path, rows: Sequence[PublishedRow], meta: Mapping[str, object]) -> list[Path]:
    """The same of the literature."""
    winners, human = papers.winners(), papers.human_top5()
    folder.mkdir(parents=True, exist_ok=True)
    drawn = comparison_figures.bubbles(rows, caption=pages.published_caption(rows))
    written = canvas.save(drawn, folder / "accuracy-operations.png")
    written += canvas.save(history.history(winners, human), folder / "history.png")
    errors = [(name, error) for name in NETWORKS for error in papers.facts(name).errors]
    pages.render_published(page, rows, _provenance(meta), winners=winners, human=human, errors=errors)
    return [*written, page]


def _compared(rows: Sequence[Made]) -> list[ComparisonRow]:
    return [row for row in rows if isinstance(row, ComparisonRow)]


def _provenance(meta: Mapping[str, object]) -> Provenance:
    return msgspec.convert(meta, Provenance)


def _trainings(rows: Sequence[ComparisonRow]) -> str:
    """How many there were of each, and by which recipes."""
    networks = [row for row in rows if row.kind != "shallow"]
    recipes = ", ".join(dict.fromkeys(row.recipe for row in networks if row.recipe))
    seeds = max((len(row.seeds) for row in networks), default=0)
    return f"; seeds: {seeds}, recipe: {recipes}; * cannot be told from the best" if recipes else ""


def _unread(row: ComparisonRow) -> str:
    return f", of which {row.unreadable:,} cannot be read and count as errors" if row.unreadable else ""
