"""What an evaluation came to, as one HTML file: the answer, the table, what was confused, the worst mistakes."""

import base64
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from topfive.data.check.phrases import shown
from topfive.report import metrics
from topfive.report.figures import evaluation as evaluation_figures
from topfive.report.figures import ladder as ladder_of_figures
from topfive.report.metrics import Metric
from topfive.report.pages.page import both, publish
from topfive.results import predictions as seen
from topfive.results.predictions import OfClass, Predictions
from topfive.results.records import EvaluationRow
from topfive.results.statistics import interval

MOST = 100  # unreadable images and classes that are listed without a fold
PAIRS = 20
Thumbnails = Mapping[str, tuple[bytes, bytes]]  # by the name of the image: itself, and the evidence for the answer


def render(
    path: Path | str,
    *,
    answer: str,
    rows: Sequence[EvaluationRow],
    ladder: bool,
    sentences: Sequence[str],
    shown: Predictions,
    words: Sequence[str],
    thumbnails: Thumbnails,
    facts: Sequence[tuple[str, str]],
    command: str,
) -> Path:
    """Write the page and return its path.

    All below the table is about the `shown` predictions. `words` are the classes for people, `thumbnails` JPEG files
    of the worst mistakes, and of the evidence for each answer.
    """
    unreadable = shown.unreadable
    if rows[0].unreadable_are == "left out":
        shown = seen.readable(shown)
    columns, of_class = metrics.filled(metrics.evaluation(rows), rows), _classes(words)
    classes, counts = seen.confusion(shown)
    named = [words[i] for i in classes]
    bins = seen.reliability(shown)
    error = seen.calibration_error(bins)
    return publish(
        path,
        "evaluated.html.j2",
        [row.model for row in rows],
        answer=answer,
        model=rows[0].model,
        protocol=shown.protocol,
        images=len(shown),
        ladder=both("ladder", partial(ladder_of_figures.ladder, rows, title=""), "Protocols") if ladder else None,
        bought=ladder_of_figures.bought(rows) if ladder else "",
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
        class_columns=of_class,
        classes=[
            (words[one.label], [column.cell(one) for column in of_class])
            for one in sorted(seen.per_class(shown), key=lambda one: (one.correct1 / one.images, one.label))
        ],
        mistakes=_mistakes(shown, words, thumbnails),
        unreadable=list(unreadable.items())[:MOST],
        unread=len(unreadable),
        command=command,
        facts=facts,
    )


def _classes(words: Sequence[str]) -> list[Metric[OfClass]]:
    """What is shown of a class."""
    return [
        Metric(
            "",
            "Right",
            "%",
            lambda one: one.correct1 / one.images,
            metrics.accuracy,
            small=lambda one: metrics.between(*interval(one.correct1, one.images)),
        ),
        Metric("", "n", "images", lambda one: one.images, "{:,}".format),
        Metric(
            "",
            "Most often predicted as",
            "",
            lambda one: "" if one.answer is None else shown(words[one.answer]),
            small=lambda one: f"{one.times:,} times",
            missing=lambda one: "",
            number=False,
        ),
    ]


def _mistakes(predictions: Predictions, words: Sequence[str], thumbnails: Thumbnails) -> list[dict[str, str]]:
    return [
        {
            "thumbnail": base64.b64encode(thumbnails[name][0]).decode(),
            "heatmap": base64.b64encode(thumbnails[name][1]).decode(),
            "right": words[predictions.labels[one.image]],
            "answer": words[one.answer],
            "probability": f"{100 * one.probability:.1f}",
            "of_right": f"{100 * one.of_right:.1f}",
            "image": name,
        }
        for one in seen.worst(predictions, len(thumbnails))
        if (name := predictions.images[one.image]) in thumbnails
    ]
