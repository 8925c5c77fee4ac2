"""One comparison as one HTML file that opens from disk: the answer, the figure, the table, how it was measured."""

import base64
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from topfive.data.check.phrases import counted, shown
from topfive.data.files import write_whole
from topfive.report.figures import canvas, series
from topfive.report.figures import comparison as comparison_figures

Row = Mapping[str, Any]

MARKS = {
    "paper": "seen in the paper's text, or in a quotation of it",
    "derived": "computed from the architecture",
    "author-repo": "published by the authors outside the paper",
    "code": "published with a library's weights",
    "official-quoted": "the challenge's results, as quoted in two places",
    "secondary": "quoted by a third party only",
    "figure-read": "read from a plot by a third party, about one point either way",
    "recalled": "from memory, not verified",
}


class Cell(NamedTuple):
    """What a cell reads, the small print under it, and what it is sorted by (None: always last)."""

    text: str
    small: str = ""
    sort: float | str | None = None


class Column(NamedTuple):
    """A column of a table; `tip` says whether the tooltip of a point repeats it."""

    name: str
    unit: str
    cell: Callable[[Row], Cell]
    number: bool = True
    tip: bool = True


NOTHING = Cell("n/a")


def render(
    path: Path | str,
    kind: Literal["measured", "published"],
    rows: Sequence[Row],
    meta: Mapping[str, Any],
    *,
    winners: Sequence[Row] = (),
    human: float | None = None,
    errors: Sequence[Row] = (),
) -> Path:
    """Write the page and return its path.

    `meta` describes the run (see `facts`); `meta["unreadable"]` lists images that could not be read, as
    `{"path", "why"}`, `meta["notes"]` sentences to add. `winners` and `human` draw the history of the ImageNet
    challenge, `errors` fill a second table with every printed error.
    """
    # errors on other images than ImageNet's are no rank among those on it: they stand behind
    rows = sorted(rows, key=lambda row: (not row.get("drawn", True), -(series.top1(row) or 0)))
    columns = _measured_columns(rows) if kind == "measured" else _published_columns(rows)
    spoken = {gid: _spoken(row, columns) for gid, row in zip(series.gids(rows), rows, strict=True)}
    trained = [row for row in rows if row.get("curve")]
    return publish(
        path,
        "report.html.j2",
        [str(row["name"]) for row in rows],
        kind=kind,
        eyebrow=_eyebrow(kind, meta),
        answer=_answer(rows) if kind == "measured" else _published_answer(rows),
        finding=series.finding(rows),
        caption=caption(kind, rows, meta),
        bubbles=both("points", partial(comparison_figures.bubbles, rows, title=""), "Accuracy and operations", spoken),
        columns=columns,
        rows=[(gid, row, [column.cell(row) for column in columns]) for gid, row in zip(spoken, rows, strict=True)],
        colours=canvas.COLOURS,
        curves=both("curves", partial(comparison_figures.curves, trained), "Training curves") if trained else None,
        decline=series.decline(winners),
        history=both("history", partial(comparison_figures.history, winners, human, title=""), "Winners")
        if winners
        else None,
        human=human,
        winners=winners,
        error_columns=_ERROR_COLUMNS,
        errors=[[column.cell(row) for column in _ERROR_COLUMNS] for row in errors],
        marks={mark: says for mark, says in MARKS.items() if any(row.get("conf") == mark for row in (*rows, *errors))},
        facts=facts(kind, meta),
        command=str(meta.get("command") or ""),
        disturbed=str(meta.get("disturbed") or ""),
        notes=[str(note) for note in meta.get("notes") or ()],
        unreadable=[_bad_file(entry) for entry in meta.get("unreadable") or ()],
        unread=max((int(row.get("unreadable") or 0) for row in rows), default=0),
    )


def publish(path: Path | str, template: str, names: Sequence[str] = (), **values: Any) -> Path:
    """Write a template filled with `values` and return its path; no line ends inside one of `names`."""
    path, here = Path(path), Path(__file__).parent
    script = (here / "report.js").read_text(encoding="utf-8")
    pages = Environment(
        loader=FileSystemLoader(here), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    pages.filters |= {"counted": counted, "shown": shown, "unbroken": partial(_unbroken, names)}
    pages.globals["zip"] = zip
    page = pages.get_template(template).render(
        style=Markup((here / "report.css").read_text(encoding="utf-8")),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        **values,
    )
    write_whole(path, page.encode("utf-8", "backslashreplace"))
    return path


def both(
    prefix: str, draw: Callable[..., Any], label: str, points: Mapping[str, str] | None = None
) -> tuple[Markup, Markup]:
    """The figure for wide and for narrow screens."""
    return (
        Markup(canvas.svg(draw(), f"{prefix}-wide", label, points)),
        Markup(canvas.svg(draw(narrow=True), f"{prefix}-narrow", label, points)),
    )


# What is said


def _unbroken(names: Sequence[str], text: str) -> Markup:
    """The text escaped, in which no line ends inside a network's name, an interval, or a number and its unit."""
    short = sorted((str(escape(name)) for name in names if len(name) <= 24), key=len, reverse=True)
    whole = "|".join(
        [
            *map(re.escape, short),
            "Top-[15]",
            "[0-9]+ (?:h|min) [0-9]+ (?:min|s)",
            r"[0-9][0-9.,]*(?:–[0-9.,]*[0-9])?(?: (?:%|ms|times|points|s|min|h))?",
        ]
    )
    return Markup(re.sub(rf"(?<![\w&#-])(?:{whole})(?![\w-])", r'<span class="whole">\g<0></span>', str(escape(text))))


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.1f}"


def _answer(rows: Sequence[Row]) -> str:
    """What a measured comparison answers, in one sentence."""
    seen = [row for row in rows if series.top1(row) is not None]
    if not seen:
        return "No network could be compared."
    best = max(seen, key=lambda row: (row["top1_accuracy"], -(row.get("latency_ms") or 0)))
    band = series.interval(best)
    between = f" (95 % interval {band[0]:.1f}–{band[1]:.1f})" if band else ""
    said = (
        f"{best['name']} classifies {_percent(best['top1_accuracy'])} % of {best['images']:,} images correctly{between}"
    )
    if len(seen) > 1:
        said += f", the most of the {len(seen)} compared"
    own = best.get("latency_ms")
    if own is None:
        return said + "."
    least = best["top1_low"] if band else best["top1_accuracy"]
    near = [row for row in seen if row["top1_accuracy"] >= least and (row.get("latency_ms") or own) < own]
    took = series.significant(own, 3)
    if not near:
        end = ", and none within that interval is faster" if len(seen) > 1 else ""
        return f"{said}, in {took} ms an image on this machine{end}."
    fastest = min(near, key=lambda row: float(row["latency_ms"]))
    return (
        f"{said}; {fastest['name']}, within that interval at {_percent(fastest['top1_accuracy'])} %, takes"
        f" {series.significant(fastest['latency_ms'], 3)} ms an image on this machine instead of {took}."
    )


def _published_answer(rows: Sequence[Row]) -> str:
    seen = series.drawn(rows)
    costed = [row for row in series.alike(seen) if series.ops(row)]
    if len(costed) < 2:
        return f"{series.finding(rows)}."
    front = [costed[i] for i in series.pareto([(row["ops"], series.top1(row) or 0) for row in costed])]
    first, last = front[0], front[-1]
    if first is last:
        return f"{series.finding(rows)}."
    gained = (series.top1(last) or 0) - (series.top1(first) or 0)
    tested = f", all tested by {series.protocol(first)}," if len(costed) < len(seen) else ""
    return (
        f"Of {len(costed)} published networks{tested} {first['name']} takes the fewest operations"
        f" ({series.top1(first):.1f} % Top-1); {last['name']}, the most accurate, adds {gained:.1f} points with"
        f" {series.significant(last['ops'] / first['ops'])} times as many."
    )


def _eyebrow(kind: str, meta: Mapping[str, Any]) -> str:
    parts = ["What the papers print" if kind == "published" else "Measured", meta.get("source"), meta.get("made")]
    return " · ".join(str(part) for part in parts if part)


def caption(kind: str, rows: Sequence[Row], meta: Mapping[str, Any]) -> str:
    alike = series.alike(series.drawn(rows))
    those = f"{series.protocol(alike[0])} networks" if len(alike) < len(series.drawn(rows)) else "networks"
    line = f"The line joins the {those} that none of them beats in both accuracy and operations."
    if kind == "published":
        left = len(rows) - len(series.drawn(rows))
        absent = f" {left} networks without a Top-1 error or a count are in the table only." if left else ""
        return (
            "Top-1 on the ImageNet validation set, one model each, under the protocol that its source used: filled"
            " bubbles saw one crop of each image, hollow ones more, which helps the accuracy and multiplies the"
            " operations, shown"
            f" here for one. Area: parameters. {line}{absent}"
        )
    protocols = " and ".join(sorted({str(row["protocol"]) for row in rows if row.get("protocol")}))
    images = max((int(row["images"]) for row in rows if row.get("images")), default=0)
    processor = (meta.get("machine") or {}).get("processor") or "this machine"
    return (
        f"Top-1 of {images:,} validation images ({protocols}); upright lines are 95 % Wilson intervals. Area: the"
        f" most memory that one image needs, measured on {processor}. {line}"
    )


def _spoken(row: Row, columns: Sequence[Column]) -> str:
    """A row as a sentence for those who hear the figure."""
    parts = []
    for column in columns:
        cell = column.cell(row)
        if column.tip and cell.text != NOTHING.text:
            parts.append(f"{column.name} {cell.text}{'' if not column.unit else ' ' + column.unit}")
    return f"{row['name']}: {', '.join(parts)}"


def _bad_file(entry: Any) -> tuple[str, str]:
    if isinstance(entry, Mapping):
        return str(entry.get("path", "")), str(entry.get("why", ""))
    return str(entry), ""


def facts(kind: str, meta: Mapping[str, Any]) -> list[tuple[str, str]]:
    """How it was measured, as (what, said) pairs; what the run does not say is left out."""
    machine = meta.get("machine") or {}
    parts = [
        machine.get("processor"),
        f"{machine['cores']} cores" if machine.get("cores") else None,
        f"{machine['threads']} threads" if machine.get("threads") else None,
        f"{machine['memory_bytes'] / 1e9:.1f} GB memory" if machine.get("memory_bytes") else None,
    ]
    arithmetic = [machine.get("device"), machine.get("precision"), machine.get("memory_format")]
    versions = [f"{name} {version}" for name, version in (meta.get("versions") or {}).items() if version]
    said = [
        ("Images" if kind == "measured" else "Source", meta.get("source")),
        ("Classes", f"{meta['classes']:,}" if meta.get("classes") else None),
        ("Fingerprint", meta.get("fingerprint")),
        ("Decoding", meta.get("decoding")),
        ("Recipe", meta.get("recipe")),
        ("Waiting for images", meta.get("waiting")),
        ("Seed", meta.get("seed")),
        ("Trained networks", meta.get("use") and f"each is a model: {meta['use']}"),
        ("Machine", ", ".join(str(part) for part in parts if part)),
        ("Arithmetic", ", ".join(str(part) for part in arithmetic if part)),
        ("Versions", ", ".join(versions)),
        ("Made", meta.get("made")),
    ]
    return [(name, str(value)) for name, value in said if value is not None and value != ""]


# The columns


def number(
    key: str, unit: float = 1, digits: int = 3, small: Callable[[Row], str] = lambda row: ""
) -> Callable[[Row], Cell]:
    def cell(row: Row) -> Cell:
        value = row.get(key)
        if value is None:
            return NOTHING
        return Cell(series.significant(float(value) / unit, digits), small(row), float(value))

    return cell


def _text(key: str, small: Callable[[Row], str] = lambda row: "") -> Callable[[Row], Cell]:
    def cell(row: Row) -> Cell:
        value = row.get(key)
        return NOTHING if value in (None, "") else Cell(str(value), small(row), str(value).lower())

    return cell


def _whole(key: str) -> Callable[[Row], Cell]:
    """A count, or a year, as it stands."""

    def cell(row: Row) -> Cell:
        value = row.get(key)
        return NOTHING if value is None else Cell(str(value) if key == "year" else f"{value:,}", "", float(value))

    return cell


def accuracy(which: str) -> Callable[[Row], Cell]:
    def cell(row: Row) -> Cell:
        value, low, high = (row.get(f"{which}_{part}") for part in ("accuracy", "low", "high"))
        if value is None:
            return NOTHING
        between = "" if low is None or high is None else f"{_percent(low)}–{_percent(high)}"
        return Cell(_percent(value), between, float(value))

    return cell


def _error(key: str) -> Callable[[Row], Cell]:
    def cell(row: Row) -> Cell:
        value = row.get(key)
        return NOTHING if value is None else Cell(str(round(float(value), 3)), "", float(value))  # as printed

    return cell


def _between(low_key: str, high_key: str, more: Callable[[Row], str] = lambda row: "") -> Callable[[Row], str]:
    """The small print of a median: its quartiles."""

    def small(row: Row) -> str:
        low, high = row.get(low_key), row.get(high_key)
        between = "" if low is None or high is None else f"{series.significant(low, 3)}–{series.significant(high, 3)}"
        return "\n".join(part for part in (between, more(row)) if part)

    return small


def _batch(key: str) -> Callable[[Row], str]:
    return lambda row: f"batch {row[key]}" if row.get(key) else ""


def _trained(row: Row) -> str:
    epochs = f"{row['epochs']} epoch{'s'[: row['epochs'] > 1]}" if row.get("epochs") else ""
    rate = f"rate {row['learning_rate']:g}" if row.get("learning_rate") is not None else ""
    return "\n".join(part for part in (epochs, rate) if part)


def _measured_columns(rows: Sequence[Row]) -> list[Column]:
    unit, unit_name = series.ops_unit(rows)
    operations = number(
        "ops", unit, 3, lambda row: "" if row.get("counted_by") == "topfive" else f"by {row.get('counted_by')}"
    )
    latency = number("latency_ms", 1, 3, _between("latency_low_ms", "latency_high_ms"))
    through = number("throughput", 1, 3, _between("throughput_low", "throughput_high", _batch("throughput_batch")))
    columns = [
        Column("Top-1", "%", accuracy("top1")),
        Column("Top-5", "%", accuracy("top5")),
        Column("Tested as", "", _text("protocol"), number=False),
        Column("n", "images", _whole("images"), tip=False),
        Column("Parameters", "M", number("params", 1e6)),
        Column("Operations", unit_name, operations),
        Column("Latency", "ms", latency),
        Column("Throughput", "images/s", through),
        Column("Memory, one image", "MB", number("memory_inference_bytes", 1e6)),
        Column("Memory, training", "MB", number("memory_training_bytes", 1e6, 3, _batch("training_batch")), tip=False),
        Column("Training", "s", number("training_seconds", 1, 3, _trained), tip=False),
    ]
    return columns


def _published_columns(rows: Sequence[Row]) -> list[Column]:
    unit, unit_name = series.ops_unit(rows)
    columns = [
        Column("Top-1 error", "%", _error("top1_error")),
        Column("Top-5 error", "%", _error("top5_error")),
        Column("Tested as", "", _text("protocol"), number=False),
        Column("Source", "", _text("source", lambda row: str(row.get("conf") or "")), number=False),
        Column("Year", "", _whole("year"), tip=False),
        Column("Input", "pixels", _whole("input"), tip=False),
        Column("Depth", "layers", _whole("depth")),
        Column("Parameters", "M", number("params", 1e6)),
        Column("Operations", unit_name, number("ops", unit)),
        Column("Peak memory", "MB", number("peak_bytes", 1e6), tip=False),
        Column("Weights", "MB", number("weight_bytes", 1e6), tip=False),
    ]
    return [column for column in columns if any(column.cell(row) != NOTHING for row in rows)]


_ERROR_COLUMNS = [
    Column("Network", "", _text("name"), number=False),
    Column("Top-1 error", "%", _error("top1")),
    Column("Top-5 error", "%", _error("top5")),
    Column("Tested as", "", _text("protocol"), number=False),
    Column("Split", "", _text("split"), number=False),
    Column("Models", "", _whole("models")),
    Column("Where", "", _text("where", lambda row: str(row.get("conf") or "")), number=False),
]
