"""What an evaluation came to, as one HTML file: the answer, the table, what was confused, the worst mistakes."""

import base64
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from topfive.data.check.phrases import shown
from topfive.report.evaluation import short_names
from topfive.report.figures import evaluation as evaluation_figures
from topfive.report.figures import series
from topfive.report.pages.page import NOTHING, Cell, Column, Row, accuracy, both, number, publish
from topfive.report.tables import scaled
from topfive.results import predictions as seen
from topfive.results.predictions import Predictions
from topfive.results.statistics import interval

MOST = 100  # unreadable images and classes that are listed without a fold
PAIRS = 20


def render(
    path: Path | str,
    *,
    answer: str,
    rows: Sequence[Row],
    ladder: bool,
    sentences: Sequence[str],
    shown: Predictions,
    names: Mapping[str, str],
    thumbnails: Mapping[str, bytes],
    meta: Mapping[str, Any],
) -> Path:
    """Write the page and return its path.

    `rows` are those of `report.evaluation.row` with views, ops and ms; all below the table is about the `shown`
    predictions. `names` are the classes in words, `thumbnails` JPEG files of the worst mistakes; `meta` is what and
    said, the command under "Command".
    """
    words, unreadable = short_names(shown.classes, names), shown.unreadable
    if rows[0]["unreadable_are"] == "left out":
        shown = seen.readable(shown)
    columns = _columns(rows)
    classes, counts = seen.confusion(shown)
    named = [words[i] for i in classes]
    bins = seen.reliability(shown)
    error = seen.calibration_error(bins)
    return publish(
        path,
        "evaluated.html.j2",
        [str(row["model"]) for row in rows],
        answer=answer,
        model=str(rows[0]["model"]),
        protocol=shown.protocol,
        images=len(shown),
        ladder=both("ladder", partial(evaluation_figures.ladder, rows, title=""), "Protocols") if ladder else None,
        bought=evaluation_figures.bought(rows) if ladder else "",
        columns=columns,
        rows=[(row, [column.cell(row) for column in columns]) for row in rows],
        sentences=sentences,
        confused=evaluation_figures.confounded(counts, named),
        confusion=both("confusion", partial(evaluation_figures.confusion, counts, named, title=""), "Confusion"),
        pairs=[(words[one.label], words[one.answer], one.times, one.share) for one in seen.confused(shown, PAIRS)],
        calibrated=evaluation_figures.sureness(bins, error or 0.0),
        reliability=both(
            "reliability", partial(evaluation_figures.reliability, bins, error or 0.0, title=""), "Reliability"
        ),
        class_columns=CLASS_COLUMNS,
        classes=_classes(shown, words),
        mistakes=_mistakes(shown, words, thumbnails),
        unreadable=list(unreadable.items())[:MOST],
        unread=len(unreadable),
        command=str(meta.get("Command", "")),
        facts=[(name, _said(said)) for name, said in meta.items() if name != "Command"],
    )


def _columns(rows: Sequence[Row]) -> list[Column]:
    unit, unit_name = series.ops_unit(rows)
    columns = [
        Column("Protocol", "", _protocol, number=False),
        Column("Top-1", "%", accuracy("top1")),
        Column("Top-5", "%", accuracy("top5")),
        Column("n", "images", lambda row: Cell(f"{row['images']:,}", "", row["images"])),
        Column("Unreadable", _counted_as(rows), lambda row: Cell(f"{row['unreadable']:,}", "", row["unreadable"])),
        Column("Calibration error", "points", _share("calibration_error")),
        Column("Views", "", number("views")),
        Column("Operations", unit_name, number("ops", unit)),
        Column("Time", "ms", number("ms")),
        Column("Published Top-1", "%", _published),
    ]
    return [column for column in columns if any(column.cell(row).text not in ("", NOTHING.text) for row in rows)]


def _counted_as(rows: Sequence[Row]) -> str:
    """What became of the unreadable images."""
    return "left out" if rows[0]["unreadable_are"] == "left out" else "errors"


def _protocol(row: Row) -> Cell:
    said = shown(row["protocol"])
    return Cell(said, row["key"], said)


def _share(key: str) -> Callable[[Row], Cell]:
    return lambda row: NOTHING if row[key] is None else Cell(scaled(0.01, 1)(row[key]), "", row[key])


def _published(row: Row) -> Cell:
    if row["published_top1_error"] is None:
        return NOTHING
    return Cell(f"{100 - 100 * row['published_top1_error']:.4g}", "", 1 - row["published_top1_error"])


CLASS_COLUMNS = [
    Column("Right", "%", lambda row: Cell(f"{100 * row['accuracy']:.1f}", row["between"], row["accuracy"])),
    Column("n", "images", lambda row: Cell(f"{row['images']:,}", "", row["images"])),
    Column("Most often predicted as", "", lambda row: Cell(row["answer"], row["times"], row["answer"]), number=False),
]


def _classes(predictions: Predictions, words: Sequence[str]) -> list[tuple[str, list[Cell]]]:
    """Every class with its cells, the worst first."""
    told = []
    for one in sorted(seen.per_class(predictions), key=lambda one: (one.correct1 / one.images, one.label)):
        low, high = interval(one.correct1, one.images)
        row = {
            "accuracy": one.correct1 / one.images,
            "between": f"{100 * low:.1f}–{100 * high:.1f}",
            "images": one.images,
            "answer": "" if one.answer is None else shown(words[one.answer]),
            "times": f"{one.times:,} times" if one.times else "",
        }
        told.append((words[one.label], [column.cell(row) for column in CLASS_COLUMNS]))
    return told


def _mistakes(predictions: Predictions, words: Sequence[str], thumbnails: Mapping[str, bytes]) -> list[dict[str, str]]:
    return [
        {
            "thumbnail": base64.b64encode(thumbnails[name]).decode(),
            "right": words[predictions.labels[one.image]],
            "answer": words[one.answer],
            "probability": f"{100 * one.probability:.1f}",
            "of_right": f"{100 * one.of_right:.1f}",
            "image": name,
        }
        for one in seen.worst(predictions, len(thumbnails))
        if (name := predictions.images[one.image]) in thumbnails
    ]


def _said(said: Any) -> str:
    return said if isinstance(said, str) else "; ".join(map(str, said))
