"""What `topfive evaluate` shows: a row a model and protocol, for the terminal, the page and machines."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from topfive import predictions as seen
from topfive.errors import ResourceError
from topfive.papers import PublishedError, facts, known
from topfive.predictions import Predictions
from topfive.protocols import PUBLISHED_AS
from topfive.tables import Column, Section, Value, scaled
from topfive.training_report import interval

IMAGENET, CIFAR_10 = 1000, 10  # classes of the sets that published figures are of
PAIRS = 5  # of classes that a terminal is told of


def row(model: str, network: str, key: str, predictions: Predictions, left_out: bool) -> dict[str, Any]:
    """A model under a protocol: counts, accuracies with their intervals, and the paper's error under that protocol.

    Unreadable pictures count as errors unless they are `left_out`. `network` and `key` are the names of both here.
    """
    judged = seen.readable(predictions) if left_out else predictions
    counted = seen.scores(judged)
    published = published_for(network, key, len(predictions.classes))
    return {
        "model": model,
        "network": network,
        "key": key,
        "protocol": predictions.protocol,
        "images": counted.images,
        "unreadable": len(predictions.unreadable),
        "unreadable_are": "left out" if left_out else "errors",
        "correct1": counted.correct1,
        "correct5": counted.correct5,
        **_accuracy("top1", counted.correct1, counted.images),
        **_accuracy("top5", counted.correct5, counted.images),
        "calibration_error": seen.calibration_error(seen.reliability(judged)),
        "published_top1_error": published.top1_error if published else None,
        "published_top5_error": published.top5_error if published else None,
        "published_where": f"{published.where} ({published.conf})" if published else None,
    }


def _accuracy(name: str, correct: int | None, images: int) -> dict[str, float | None]:
    """The share and its 95 % interval; nothing where it is not defined."""
    if correct is None or not images:
        return {f"{name}_accuracy": None, f"{name}_low": None, f"{name}_high": None}
    low, high = interval(correct, images)
    return {f"{name}_accuracy": correct / images, f"{name}_low": low, f"{name}_high": high}


def published_for(network: str, key: str, classes: int) -> PublishedError | None:
    """What is published of one model of `network` under the protocol `key`, on the whole validation set.

    None where nothing is, or where the pictures cannot be that set: an error on other classes compares with nothing.
    """
    if network not in known():
        return None
    if network.startswith("cifar-"):
        wanted, fits = "single 32x32 view", classes == CIFAR_10 and key == "1-crop:square"
    else:
        wanted, fits = PUBLISHED_AS.get(key, ""), classes == IMAGENET
    found = [one for one in facts(network).errors if one.protocol == wanted and one.models in (None, 1)]
    whole = [one for one in found if one.split in ("val", "CIFAR-10 test")]
    part = [one for one in found if one.split.startswith("val ")]  # of which the row says so
    return next(iter([*whole, *part]), None) if fits else None


def answer(rows: Sequence[Mapping[str, Any]]) -> str:
    """The best row in a sentence: `resnet-18 gets 86.2 % of 3,925 pictures right (1-crop 128x128, 95 % 85.1-87.2)`."""
    best = max(rows, key=lambda row: row["top1_accuracy"])
    between = f"{100 * best['top1_low']:.1f}-{100 * best['top1_high']:.1f}"
    fifth = "" if best["top5_accuracy"] is None else f", Top-5 {100 * best['top5_accuracy']:.1f} %"
    return (
        f"{best['model']}: Top-1 {100 * best['top1_accuracy']:.1f} % (95 % interval {between}){fifth}, "
        f"{best['protocol']}, n = {best['images']:,}"
    )


def compared(one: Predictions, other: Predictions) -> str:
    """McNemar's test in a sentence."""
    test = seen.mcnemar(one, other)
    p = "p < 0.0001" if test.p < 1e-4 else f"p = {test.p:.2g}"
    verdict = "more than chance would give" if test.p < 0.05 else "which chance alone may give"
    return (
        f"{one.model} alone is right on {test.only_first:,} pictures, {other.model} alone on {test.only_second:,}: "
        f"McNemar's exact test, {p}, {verdict} (n = {test.images:,}, {one.protocol})"
    )


def remarks(rows: Sequence[Mapping[str, Any]], classes: int) -> list[str]:
    """What must be said beside the numbers."""
    said = [
        f"{row['model']}, published under {row['protocol']}: {row['published_where']}"
        for row in rows
        if row["published_where"]
    ]
    if not said and classes not in (IMAGENET, CIFAR_10):
        said.append("published errors are of other pictures (ImageNet's 1,000 classes) and compare with nothing here")
    if any(row["unreadable"] for row in rows):
        first = rows[0]
        said.append(f"{first['unreadable']:,} unreadable pictures, {_are(first)}")
    return said


def _are(row: Mapping[str, Any]) -> str:
    return "left out" if row["unreadable_are"] == "left out" else "counted as errors"


def write(
    page: Path,
    rows: Sequence[Mapping[str, Any]],
    sentences: Sequence[str],
    ladder: bool,
    shown: Predictions,
    words: Mapping[str, str],
    thumbnails: Mapping[str, bytes],
    meta: Mapping[str, Any],
) -> None:
    """Write the page, and of a ladder its figure beside it. Raises: ResourceError."""
    from topfive import figures, figures_of_evaluation
    from topfive.pages import evaluated

    try:
        page.parent.mkdir(parents=True, exist_ok=True)
        if ladder:
            figures.save(figures_of_evaluation.ladder(rows), page.with_name("ladder.png"))
        evaluated.render(
            page,
            answer=f"{answer(rows)}.",
            rows=rows,
            ladder=ladder,
            sentences=sentences,
            shown=shown,
            names=words,
            thumbnails=thumbnails,
            meta=meta,
        )
    except OSError as error:
        raise ResourceError(f"{page} cannot be written: {error.strerror}") from error


def sections(
    rows: Sequence[Mapping[str, Any]],
    sentences: Sequence[str],
    shown: Predictions,
    words: Mapping[str, str],
) -> list[Section]:
    """The table, what is to be said of it, and what was most confused in the first row."""
    told = [
        {
            **row,
            "top1": _with_interval(row, "top1"),
            "top5": _with_interval(row, "top5"),
            "published": None
            if row["published_top1_error"] is None
            else f"{100 - 100 * row['published_top1_error']:.1f}",
        }
        for row in rows
    ]
    columns = (
        Column("model", "model", right=False, wraps=True),
        Column("protocol", "protocol", right=False, wraps=True),
        Column("views", "views", "{:.0f}".format),
        Column("ops", "G-ops", scaled(1e9, 2)),
        Column("ms", "ms", "{:.1f}".format),
        Column("images", "n", "{:,}".format),
        Column("unreadable", "unread-\nable"),
        Column("top1", "top-1 (%)\n95 %"),
        Column("top5", "top-5 (%)\n95 %"),
        Column("calibration_error", "ECE\n(%)", scaled(0.01, 1)),
        Column("published", "published\ntop-1 (%)"),
    )
    names = [words.get(name, name).split(",")[0] for name in shown.classes]
    confused: list[dict[str, Value]] = [
        {"pair": f"{names[pair.label]} taken for {names[pair.answer]}", "times": pair.times, "share": pair.share}
        for pair in seen.confused(shown, PAIRS)
    ]
    of_pairs = (
        Column("pair", "most confused", right=False, wraps=True),
        Column("times", "times", "{:,}".format),
        Column("share", "of the class\n(%)", scaled(0.01, 1)),
    )
    found = [Section("", (), told, columns, points=sentences)]
    return [*found, Section("", (), confused, of_pairs)] if confused else found


def _with_interval(row: Mapping[str, Any], name: str) -> str:
    value, low, high = (row[f"{name}_{key}"] for key in ("accuracy", "low", "high"))
    return "n/a" if value is None else f"{100 * value:.1f} {100 * low:.1f}-{100 * high:.1f}"
