"""What a comparison shows: its table, its figures and its page, measured here or printed in papers."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from topfive.networks import NETWORKS, costs, papers
from topfive.report import cards
from topfive.report.figures import canvas
from topfive.report.figures import comparison as comparison_figures
from topfive.report.pages import page as pages
from topfive.report.tables import Column, Row, Section, scaled
from topfive.results.records import ComparisonRow, FailedRow

Made = ComparisonRow | FailedRow


def _accuracy(value: float | None) -> str:
    return "n/a" if value is None else f"{100 * value:.1f}"


COLUMNS = (
    Column("name", "network", right=False),
    Column("top1_accuracy", "top-1\n(%)", _accuracy),
    Column("top1_interval", "95 %\ninterval"),
    Column("top5_accuracy", "top-5\n(%)", _accuracy),
    Column("params", "params\n(M)", scaled(1e6, 2)),
    Column("macs", "MACs\n(G)", scaled(1e9, 3)),
    Column("latency_ms", "latency\n(ms)", "{:.1f}".format),
    Column("throughput", "rate\n(/s)", "{:,.0f}".format),
    Column("memory_inference_bytes", "infer\n(MB)", scaled(1e6, 0)),
    Column("memory_training_bytes", "train\n(MB)", scaled(1e6, 0)),
    Column("training_seconds", "train\n(s)", "{:.0f}".format),
)


def flat(rows: Sequence[Made]) -> list[Row]:
    """The rows for machines, all with the same keys: of a network that failed the reason alone, of others none."""
    empty = dict.fromkeys((*ComparisonRow.__struct_fields__, "failed"))
    return [{**empty, **msgspec.to_builtins(row)} for row in rows]


def measured_section(rows: Sequence[Made]) -> Section:
    """The table of a measured comparison, best row first; the protocol and n stand above it."""
    ranked = sorted((row for row in rows if isinstance(row, ComparisonRow)), key=lambda row: -row.top1_accuracy)
    failed = [row for row in rows if isinstance(row, FailedRow)]
    between = [f"{100 * row.top1_low:.1f}-{100 * row.top1_high:.1f}" for row in ranked]
    shown = [{**row, "top1_interval": interval} for row, interval in zip(flat(ranked), between)]
    said = [f"{row.protocol}, n = {row.images:,}{_unread(row)}" for row in ranked[:1]]
    points = [f"{row.name} failed: {row.failed}" for row in failed]
    points += [f"{row.name}: operations counted by {row.counted_by}" for row in ranked if row.counted_by != "topfive"]
    if ranked:
        points.append(
            f"Medians: latency of one image, rate in batches of {ranked[0].throughput_batch}; peak memory over the "
            "bare process: infer, one image; train, one step of a batch. The page has the spread."
        )
    return Section("", said, [*shown, *flat(failed)], COLUMNS, points=points)


def published_rows() -> list[dict[str, Any]]:
    """Every network with its costs and the published error that compares best; errors in percent, as printed."""
    rows: list[dict[str, Any]] = []
    for name, make in NETWORKS.items():
        network = make()
        counted = costs.count(network)
        paper, error = papers.facts(name), papers.best_error(name)
        rows.append(
            {
                "name": name,
                "family": paper.family,
                "title": paper.title,
                "year": paper.year,
                "input": network.input[1],
                "depth": counted.depth,
                "params": counted.params,
                "macs": counted.macs,
                "ops": counted.ops,
                "peak_bytes": counted.peak_bytes,
                "weight_bytes": counted.weight_bytes,
                "top1_error": error.top1 if error else None,
                "top5_error": error.top5 if error else None,
                "protocol": error.measured_on if error else None,
                "source": error.where if error else None,
                "conf": error.conf if error else None,
                "drawn": error is not None and error.split.startswith("val"),
            }
        )
    return rows


def published_errors() -> list[dict[str, Any]]:
    """Every published error of every network."""
    return [{"name": name, **msgspec.structs.asdict(error)} for name in NETWORKS for error in papers.facts(name).errors]


def history_rows() -> list[dict[str, Any]]:
    """The winners of ILSVRC, a row a year."""
    return [msgspec.structs.asdict(winner) for winner in papers.winners()]


def published_sections() -> list[Section]:
    """The literature as tables: the networks, then the winners of ILSVRC."""
    columns = (
        Column("year", "year"),
        Column("entry", "ILSVRC winner", right=False),
        Column("method", "method", right=False, wraps=True),
        Column("depth", "depth"),
        Column("top5_test", "top-5\nerror (%)", "{:.2f}".format),
    )
    history: Sequence[Row] = history_rows()
    human = f"One trained person: {papers.human_top5():g} %."
    return [
        cards.networks_section(cards.network_rows(list(NETWORKS))),
        Section("The winners, shallow until 2011, deep from 2012", (), history, columns, points=[human]),
    ]


def write_measured(folder: Path, page: Path, rows: Sequence[Made], meta: Mapping[str, object]) -> list[Path]:
    """Figures as PNG and SVG into `folder`, and the page; the paths written, the page last."""
    measured = flat(rows)
    written = _bubbles(folder, "measured", measured, meta)
    if trained := [row for row in measured if row["curve"]]:
        written += canvas.save(comparison_figures.curves(trained), folder / "curves.png")
    pages.render(page, "measured", measured, meta)
    return [*written, page]


def write_published(folder: Path, page: Path, rows: Sequence[Row], meta: Mapping[str, object]) -> list[Path]:
    """The same of the literature."""
    winners, human = history_rows(), papers.human_top5()
    written = _bubbles(folder, "published", rows, meta)
    written += canvas.save(comparison_figures.history(winners, human), folder / "history.png")
    pages.render(page, "published", rows, meta, winners=winners, human=human, errors=published_errors())
    return [*written, page]


def _bubbles(folder: Path, kind: str, rows: Sequence[Row], meta: Mapping[str, object]) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    drawn = comparison_figures.bubbles(rows, caption=pages.caption(kind, rows, meta))
    return canvas.save(drawn, folder / "accuracy-operations.png")


def _unread(row: ComparisonRow) -> str:
    return f", of which {row.unreadable:,} cannot be read and count as errors" if row.unreadable else ""
