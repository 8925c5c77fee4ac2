"""Every number that reports show: its names, its unit, how it is written, and where in a record it comes from.

The tables of terminals and pages and the tooltips of figures are made of these lists. A new metric is a field of the
record and a line here.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, Generic, NamedTuple, TypeVar

from topfive.data.check.phrases import shown
from topfive.networks.papers import PublishedError
from topfive.report.figures.series import ops_unit, significant
from topfive.report.tables import Column, Row, Section, Value, clock, scaled
from topfive.results.choosing import Contender
from topfive.results.records import ComparisonRow, EpochRecord, EvaluationRow, PublishedRow

R = TypeVar("R")


class Cell(NamedTuple):
    """What a cell of a page reads, the small print under it, and what it is sorted by (None: always last)."""

    text: str
    small: str = ""
    sort: float | str | None = None


NOTHING = Cell("n/a")


def in_units(unit: float = 1) -> Callable[[float], str]:
    """Three significant digits of a number in units of `unit`."""
    return lambda value: significant(value / unit, 3)


@dataclass(frozen=True)
class Metric(Generic[R]):
    """Something that is shown of a record: in a terminal under `head`, on a page under `label`, in neither where ""."""

    head: str
    label: str
    unit: str  # on a page; a terminal's head says its own
    value: Callable[[R], Value]  # what it is sorted by
    show: Callable[[Any], str] = str
    text: Callable[[Any], str] | None = None  # in a terminal, whose numbers stand below each other; by default as shown
    small: Callable[[R], str] = lambda record: ""  # below it on a page
    missing: Callable[[R], str] = lambda record: NOTHING.text
    number: bool = True
    wraps: bool = False
    tip: bool = True  # a tooltip repeats it

    def cell(self, record: R) -> Cell:
        value = self.value(record)
        if value is None or value == "":
            return Cell(self.missing(record))
        text = self.show(value)
        return Cell(text, self.small(record), text.lower() if isinstance(value, str) else float(value))


def section(
    metrics: Sequence[Metric[R]], records: Sequence[R], paragraphs: Sequence[str] = (), points: Sequence[str] = ()
) -> Section:
    """The metrics of a terminal as its table."""
    here = [metric for metric in metrics if metric.head]
    rows: list[Row] = [
        {
            metric.head: None if (value := metric.value(record)) is None else (metric.text or metric.show)(value)
            for metric in here
        }
        for record in records
    ]
    columns = [Column(metric.head, metric.head, right=metric.number, wraps=metric.wraps) for metric in here]
    return Section("", paragraphs, rows, columns, points=points)


def on_page(metrics: Sequence[Metric[R]]) -> list[Metric[R]]:
    return [metric for metric in metrics if metric.label]


def filled(metrics: Sequence[Metric[R]], records: Sequence[R]) -> list[Metric[R]]:
    """The metrics of a page of which any record has something to say."""
    return [
        metric for metric in on_page(metrics) if any(metric.cell(row).text not in ("", NOTHING.text) for row in records)
    ]


def spoken(name: str, metrics: Sequence[Metric[R]], record: R) -> str:
    """A record as a sentence, for those who hear the figure."""
    cells = [(metric, metric.cell(record)) for metric in metrics if metric.tip]
    parts = [f"{metric.label} {cell.text} {metric.unit}".strip() for metric, cell in cells if cell.text != NOTHING.text]
    return f"{name}: {', '.join(parts)}"


def accuracy(value: float) -> str:
    return f"{100 * value:.1f}"


def between(low: float | None, high: float | None, dash: str = "–") -> str:
    """An interval of fractions in percent."""
    return "" if low is None or high is None else f"{100 * low:.1f}{dash}{100 * high:.1f}"


def _quartiles(low: float, high: float) -> str:
    return f"{significant(low, 3)}–{significant(high, 3)}"


def _lines(*parts: str) -> str:
    return "\n".join(part for part in parts if part)


BEST = " *"  # behind the networks that cannot be told from the best


def comparison(rows: Sequence[ComparisonRow]) -> list[Metric[ComparisonRow]]:
    """What is shown of a network in a comparison."""
    unit, unit_name = ops_unit(rows)
    several = any(len(row.seeds) > 1 for row in rows)
    return [
        Metric("network", "", "", lambda row: row.name + BEST * row.among_best, number=False),
        Metric("top-1\n(%)", "Top-1", "%", lambda row: row.top1_accuracy, accuracy,
               small=lambda row: between(row.top1_low, row.top1_high)),
        Metric("95 %\ninterval", "", "", lambda row: between(row.top1_low, row.top1_high, "-")),
        Metric("", "Seeds" * several, "Top-1, %", lambda row: " ".join(map(accuracy, row.accuracies)), tip=False,
               missing=lambda row: ""),
        Metric("top-5\n(%)", "Top-5", "%", lambda row: row.top5_accuracy, accuracy,
               small=lambda row: between(row.top5_low, row.top5_high)),
        Metric("", "Tested as", "", lambda row: row.protocol, number=False),
        Metric("", "n", "images", lambda row: row.images, "{:,}".format, tip=False),
        Metric("params\n(M)", "Parameters", "M", lambda row: row.params, in_units(1e6), scaled(1e6, 2)),
        Metric("MACs\n(G)", "", "", lambda row: row.macs, scaled(1e9, 3)),
        Metric("", "Operations", unit_name, lambda row: row.ops, in_units(unit),
               small=lambda row: "" if row.counted_by == "topfive" else f"by {row.counted_by}"),
        Metric("latency\n(ms)", "Latency", "ms", lambda row: row.latency_ms, in_units(), "{:.1f}".format,
               small=lambda row: _lines(_quartiles(row.latency_low_ms, row.latency_high_ms), _slowest(row))),
        Metric("rate\n(/s)", "Throughput", "images/s", lambda row: row.throughput, in_units(), "{:,.0f}".format,
               small=lambda row: _lines(_quartiles(row.throughput_low, row.throughput_high),
                                        f"batch {row.throughput_batch}")),
        Metric("infer\n(MB)", "Memory, one image", "MB", lambda row: row.memory_inference_bytes, in_units(1e6),
               scaled(1e6, 0)),
        Metric("train\n(MB)", "Memory, training", "MB", lambda row: row.memory_training_bytes, in_units(1e6),
               scaled(1e6, 0), small=lambda row: f"batch {row.training_batch}" * bool(row.training_batch), tip=False),
        Metric("", "Weights", "MB", lambda row: row.weight_bytes or None, in_units(1e6), tip=False),
        Metric("", "Peak in training", "MB", lambda row: row.training_peak_bytes, in_units(1e6), tip=False),
        Metric("", "Energy", "J, a training", lambda row: row.joules, in_units(), tip=False),
        Metric("train\n(s)", "Training", "s", lambda row: row.training_seconds, in_units(), "{:.0f}".format,
               small=_trained, tip=False),
    ]  # fmt: skip


def _trained(row: ComparisonRow) -> str:
    epochs = f"{row.epochs:.3g} epoch{'s'[: row.epochs != 1]}" if row.epochs else ""
    return _lines(row.recipe, epochs, "" if row.learning_rate is None else f"rate {row.learning_rate:g}")


def _slowest(row: ComparisonRow) -> str:
    return f"nine of ten below {significant(row.latency_p90_ms, 3)}" if row.latency_p90_ms else ""


def published(rows: Sequence[PublishedRow]) -> list[Metric[PublishedRow]]:
    """What a page shows of a network in the literature."""
    unit, unit_name = ops_unit(rows)
    return [
        Metric("", "Top-1 error", "%", lambda row: row.top1_error, _printed),
        Metric("", "Top-5 error", "%", lambda row: row.top5_error, _printed),
        Metric("", "Tested as", "", lambda row: row.protocol, number=False),
        Metric("", "Source", "", lambda row: row.source, small=lambda row: row.conf or "", number=False),
        Metric("", "Year", "", lambda row: row.year, tip=False),
        Metric("", "Input", "pixels", lambda row: row.input, tip=False),
        Metric("", "Depth", "layers", lambda row: row.depth),
        Metric("", "Parameters", "M", lambda row: row.params, in_units(1e6)),
        Metric("", "Operations", unit_name, lambda row: row.ops, in_units(unit)),
        Metric("", "Peak memory", "MB", lambda row: row.peak_bytes, in_units(1e6), tip=False),
        Metric("", "Weights", "MB", lambda row: row.weight_bytes, in_units(1e6), tip=False),
    ]


def _printed(error: float) -> str:
    return str(round(error, 3))


NamedError = tuple[str, PublishedError]  # with its network
PUBLISHED_ERRORS: list[Metric[NamedError]] = [
    Metric("", "Network", "", lambda one: one[0], number=False),
    Metric("", "Top-1 error", "%", lambda one: one[1].top1, _printed),
    Metric("", "Top-5 error", "%", lambda one: one[1].top5, _printed),
    Metric("", "Tested as", "", lambda one: one[1].protocol, number=False),
    Metric("", "Split", "", lambda one: one[1].split, number=False),
    Metric("", "Models", "", lambda one: one[1].models),
    Metric("", "Where", "", lambda one: one[1].where, small=lambda one: one[1].conf, number=False),
]


CONTENDERS: list[Metric[Contender]] = [
    Metric("network", "Network", "", lambda one: one.name, number=False),
    Metric("left", "Left", "", lambda one: one.left or "finalist", number=False),
    Metric("why", "Why", "", lambda one: one.why, missing=lambda one: "", number=False, wraps=True),
    Metric("top-1\n(%)", "Top-1, rung by rung", "%", lambda one: " ".join(f"{top:.1f}" for top in one.accuracies),
           missing=lambda one: ""),
    Metric("params\n(M)", "Parameters", "M", lambda one: one.params, in_units(1e6), scaled(1e6, 2)),
    Metric("p90\n(ms)", "Latency, p90", "ms", lambda one: one.latency_p90_ms, in_units(), "{:.1f}".format),
    Metric("infer\n(MB)", "Memory, one image", "MB", lambda one: one.memory_bytes, in_units(1e6), scaled(1e6, 0)),
]  # fmt: skip


def training(epochs: Sequence[EpochRecord]) -> list[Metric[EpochRecord]]:
    """What is shown of an epoch."""
    top5 = any(row.train_top5 is not None for row in epochs)
    short = max((row.seconds for row in epochs), default=0) < 3599
    sides = len({row.side for row in epochs}) > 1
    heads = len(epochs[0].auxiliary_losses) if epochs else 0
    return [
        Metric("epoch", "", "", lambda row: row.epoch),
        Metric(SIDE * sides, "", "", lambda row: row.side),
        Metric("", "validation Top-1", "%", lambda row: row.scores.top1_accuracy if row.scores else None, accuracy,
               small=lambda row: _interval(row, "–") or "", missing=_untested),
        Metric("", "validation Top-5", "%", lambda row: row.scores.top5_accuracy if row.scores else None, accuracy,
               missing=_untested),
        Metric("", "Top-1 in training", "%", lambda row: row.train_accuracy, accuracy),
        Metric("", "Top-5 in training", "%", lambda row: row.train_top5, accuracy, tip=False),
        Metric("loss", "Loss", "", lambda row: row.loss, "{:.3f}".format),
        *(Metric[EpochRecord]("", f"Auxiliary loss {n + 1}", "", lambda row, n=n: row.auxiliary_losses[n],  # type: ignore[misc]
                              "{:.3f}".format) for n in range(heads)),
        Metric("auxil-\niary", "", "", lambda row: "/".join(f"{loss:.2f}" for loss in row.auxiliary_losses)),
        Metric("training\ntop-1/5\n(%)" if top5 else "training\ntop-1\n(%)", "", "", lambda row: "/".join(
               accuracy(value) for value in (row.train_accuracy, row.train_top5) if value is not None)),
        Metric("top-1\n(%)", "", "", lambda row: row.scores.top1_accuracy if row.scores else None, accuracy),
        Metric("95 %\ninterval", "", "", lambda row: _interval(row, "-")),
        Metric("top-5\n(%)", "", "", lambda row: or_none(row.scores.top5_accuracy) if row.scores else None),
        Metric("lr", "Learning rate", "", lambda row: row.lr, "{:.3g}".format, _rate),
        Metric("", "Side" * sides, "pixels", lambda row: row.side),
        Metric("rate\n(/s)", "Rate", "images/s", lambda row: row.images_per_second, in_units(), scaled(1, 0)),
        Metric(WAITING, "Waiting", "%", lambda row: row.data_wait, accuracy, tip=False),
        Metric(GRADIENTS, "", "", lambda row: f"{_norm(row.first_gradient)}/{_norm(row.last_gradient)}"),
        Metric("", "Gradient, first", "norm", lambda row: finite(row.first_gradient), in_units(), tip=False),
        Metric("", "Gradient, last", "norm", lambda row: finite(row.last_gradient), in_units(), tip=False),
        Metric(MEMORY, "Memory", "MB", lambda row: row.memory_bytes, scaled(1e6, 0), tip=False),
        Metric("time\n(m:s)" if short else "time\n(h:m:s)", "Time", "h:m:s", lambda row: row.seconds, clock,
               (lambda value: clock(value)[2:]) if short else None),
    ]  # fmt: skip


SIDE, WAITING, GRADIENTS, MEMORY = "side\n(px)", "wait\n(%)", "gradient\n1st/last", "peak\n(MB)"
FEWEST_FIRST = (MEMORY, GRADIENTS, WAITING, SIDE)  # what a narrow terminal leaves out


def _interval(row: EpochRecord, dash: str) -> str | None:
    band = row.interval
    return f"{band[0]:.1f}{dash}{band[1]:.1f}" if band else None


def _untested(row: EpochRecord) -> str:
    """Nothing at all in epochs without an evaluation; n/a is where there is no such accuracy."""
    return NOTHING.text if row.scores else ""


def or_none(value: float | None) -> str:
    return NOTHING.text if value is None else accuracy(value)


def finite(value: float | None) -> float | None:
    return value if value is not None and isfinite(value) else None


def _norm(value: float | None) -> str:
    if value is None or not isfinite(value):
        return NOTHING.text
    return f"{value:.2f}" if value < 100 else f"{value:.0f}" if value < 1e6 else f"{value:.0e}"


def _rate(value: float) -> str:
    """A learning rate in few letters: 0.1, 0.0338, 0.0015, 6.9e-8."""
    return f"{value:.3g}" if value >= 0.01 else f"{value:.2g}".replace("e-0", "e-")


def evaluation(rows: Sequence[EvaluationRow]) -> list[Metric[EvaluationRow]]:
    """What is shown of a model under a protocol."""
    unit, unit_name = ops_unit(rows)
    several, bad = len({row.model for row in rows}) > 1, any(row.unreadable for row in rows)
    counted_as = rows[0].unreadable_are if rows else ""
    return [
        Metric("model" * several, "", "", lambda row: row.model, text=shown, number=False, wraps=True),
        Metric("protocol", "Protocol", "", lambda row: row.protocol, shown, str, lambda row: row.key, number=False,
               wraps=True),
        Metric("", "Top-1", "%", lambda row: row.top1_accuracy, accuracy,
               small=lambda row: between(row.top1_low, row.top1_high)),
        Metric("", "Top-5", "%", lambda row: row.top5_accuracy, accuracy,
               small=lambda row: between(row.top5_low, row.top5_high)),
        Metric("", "n", "images", lambda row: row.images, "{:,}".format),
        Metric("", "Unreadable", counted_as, lambda row: row.unreadable, "{:,}".format),
        Metric("", "Calibration error", "points", lambda row: row.calibration_error, accuracy),
        Metric("views", "Views", "", lambda row: row.views, in_units(), "{:.0f}".format),
        Metric("G-ops", "Operations", unit_name, lambda row: row.ops, in_units(unit), scaled(1e9, 2)),
        Metric("ms", "Time", "ms", lambda row: row.ms, in_units(), "{:.1f}".format),
        Metric("n", "", "", lambda row: row.images, "{:,}".format),
        Metric("unread-\nable" * bad, "", "", lambda row: row.unreadable, str),
        Metric("top-1 (%)\n95 %", "", "", lambda row: _with_interval(row.top1_accuracy, row.top1_low, row.top1_high)),
        Metric("top-5 (%)\n95 %", "", "", lambda row: _with_interval(row.top5_accuracy, row.top5_low, row.top5_high)),
        Metric("ECE\n(%)", "", "", lambda row: row.calibration_error, accuracy),
        Metric("published\ntop-1 (%)", "Published Top-1", "%", lambda row: _right(row.published_top1_error),
               lambda right: f"{100 * right:.4g}", accuracy),
    ]  # fmt: skip


def _with_interval(value: float | None, low: float | None, high: float | None) -> str:
    return NOTHING.text if value is None else f"{accuracy(value)} {between(low, high, '-')}"


def _right(error: float | None) -> float | None:
    return None if error is None else 1 - error
