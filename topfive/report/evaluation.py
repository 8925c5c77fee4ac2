"""What `topfive evaluate` shows: a row a model and protocol, for the terminal, the page and machines."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from topfive.data.check.phrases import shown
from topfive.data.cifar import CIFAR10
from topfive.data.files import written_aside
from topfive.data.imagenet import imagenet_classes
from topfive.errors import ResourceError
from topfive.networks.papers import PublishedError, facts, known
from topfive.recipes.protocols import PROTOCOLS, PUBLISHED_AS, SQUARE
from topfive.report.tables import Column, Section, Value, scaled
from topfive.results import predictions as seen
from topfive.results.predictions import Predictions
from topfive.results.statistics import interval

IMAGENET, CIFAR = "val", "CIFAR-10 test"  # the splits that papers print errors of, as papers.toml calls them
OTHER_NETWORKS = ("option A", "option C")  # ResNet's shortcuts that ours do not have by default
PAIRS = 5  # of classes that a terminal is told of


def row(model: str, network: str, key: str, predictions: Predictions, left_out: bool) -> dict[str, Any]:
    """A model under a protocol: counts, accuracies with their intervals, and the paper's error under that protocol.

    Unreadable images count as errors unless they are `left_out`. `network` and `key` are the names of both here.
    """
    judged = seen.readable(predictions) if left_out else predictions
    counted = seen.scores(judged)
    split = published_split(predictions)
    published = next(iter(published_for(network, key, split)), None)
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
        "published_where": _where(published) if published else None,
        "published_split": split or None,
    }


def _accuracy(name: str, correct: int | None, images: int) -> dict[str, float | None]:
    """The share and its 95 % interval; nothing where it is not defined."""
    if correct is None or not images:
        return {f"{name}_accuracy": None, f"{name}_low": None, f"{name}_high": None}
    low, high = interval(correct, images)
    return {f"{name}_accuracy": correct / images, f"{name}_low": low, f"{name}_high": high}


def published_split(predictions: Predictions) -> str:
    """Which of the splits that papers print errors of the images may be, by their classes; "" for neither."""
    there = {predictions.classes[label] for label in set(predictions.labels.tolist())}
    splits = {IMAGENET: imagenet_classes()[0], CIFAR: CIFAR10}
    return next((split for split, names in splits.items() if there == set(names)), "")


def published_for(network: str, key: str, split: str) -> list[PublishedError]:
    """What is published of one model of `network` under the protocol `key` on `split`, of the whole of it first.

    Where a paper tests at several sides, those of the protocol.
    """
    if network not in known() or not split:
        return []
    wanted = "single 32x32 view" if split == CIFAR and key == SQUARE.key else PUBLISHED_AS.get(key)
    sides = ",".join(map(str, PROTOCOLS[key].shorter)) if key in PROTOCOLS else ""
    found = [
        one
        for one in facts(network).errors
        if one.protocol == wanted
        and one.models == 1
        and one.split.split(" (")[0] == split
        and one.note.partition("tested at ")[2] in ("", sides)
        and not one.note.startswith(OTHER_NETWORKS)
    ]
    return sorted(found, key=lambda one: "non-blacklisted" in one.split)


def _where(error: PublishedError) -> str:
    """Where an error is printed, of what, and how far that can be trusted."""
    said = [error.where, error.note, "" if error.split in (IMAGENET, CIFAR) else error.split]
    return f"{'; '.join(part for part in said if part)} ({error.conf})"


def short_names(classes: Sequence[str], words: Mapping[str, str]) -> list[str]:
    """The classes for people; of ImageNet's the first of the words, with its id where another class has the same.

    A comma in any other name is a part of it.
    """
    names, known = [words.get(name, name) for name in classes], set(imagenet_classes()[0])
    short = [said.split(",")[0] if name in known else said for said, name in zip(names, classes)]
    often = Counter(short)
    return [said if often[said] == 1 else f"{said} ({name})" for said, name in zip(short, classes)]


def answer(rows: Sequence[Mapping[str, Any]]) -> str:
    """The best row in a sentence: `resnet-18: Top-1 86.2 % (95 % interval 85.1–87.2), 1-crop 128x128, n = 3,925`."""
    best = max(rows, key=lambda row: row["top1_accuracy"])
    between = f"{100 * best['top1_low']:.1f}–{100 * best['top1_high']:.1f}"  # the dash that a page keeps unbroken
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
    protocols = " and ".join(dict.fromkeys((one.protocol, other.protocol)))
    return (
        f"{one.model} alone is right on {test.only_first:,} images, {other.model} alone on {test.only_second:,}: "
        f"McNemar's exact test, {p}, {verdict} (n = {test.images:,}, {protocols})"
    )


def remarks(rows: Sequence[Mapping[str, Any]], classes: int) -> list[str]:
    """What must be said beside the numbers."""
    said = [
        f"{row['model']}, published under {row['protocol']}: {row['published_where']}"
        for row in rows
        if row["published_where"]
    ]
    if not any(row["published_split"] for row in rows):
        said.append(
            f"published errors are of ImageNet's 1,000 classes, or of CIFAR-10: beside these {classes:,} none is shown"
        )
    elif not said:
        said.append("nothing is published of these networks under these protocols, so far as papers.toml knows")
    if any(row["unreadable"] for row in rows):
        first = rows[0]
        said.append(f"{first['unreadable']:,} unreadable images, {_are(first)}")
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
    """Write the page, and of a ladder its figure beside it, all or nothing. Raises: ResourceError."""
    from topfive.report.figures import canvas
    from topfive.report.figures import evaluation as evaluation_figures
    from topfive.report.pages import evaluation as evaluated

    try:
        with written_aside(page.parent) as aside:
            if ladder:
                canvas.save(evaluation_figures.ladder(rows), aside / "ladder.png")
            evaluated.render(
                aside / page.name,
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
    first: Predictions,
    words: Mapping[str, str],
) -> list[Section]:
    """The table, what is to be said of it, and what was most confused in the first row."""
    told = [
        {
            **row,
            "model": shown(row["model"]),
            "top1": _with_interval(row, "top1"),
            "top5": _with_interval(row, "top5"),
            "published": None
            if row["published_top1_error"] is None
            else f"{100 - 100 * row['published_top1_error']:.1f}",
        }
        for row in rows
    ]
    several = len({row["model"] for row in rows}) > 1
    said = [] if several else [f"{shown(answer(rows))}."]
    columns = (
        Column("model", "model", right=False, wraps=True, terminal=several),
        Column("protocol", "protocol", right=False, wraps=True),
        Column("views", "views", "{:.0f}".format),
        Column("ops", "G-ops", scaled(1e9, 2)),
        Column("ms", "ms", "{:.1f}".format),
        Column("images", "n", "{:,}".format),
        Column("unreadable", "unread-\nable", terminal=any(row["unreadable"] for row in rows)),
        Column("top1", "top-1 (%)\n95 %"),
        Column("top5", "top-5 (%)\n95 %"),
        Column("calibration_error", "ECE\n(%)", scaled(0.01, 1)),
        Column("published", "published\ntop-1 (%)"),
    )
    names = [shown(name) for name in short_names(first.classes, words)]
    confused: list[dict[str, Value]] = [
        {"pair": f"{names[pair.label]} predicted as {names[pair.answer]}", "times": pair.times, "share": pair.share}
        for pair in seen.confused(first, PAIRS)
    ]
    of_pairs = (
        Column("pair", "most confused", right=False, wraps=True),
        Column("times", "times", "{:,}".format),
        Column("share", "of the class\n(%)", scaled(0.01, 1)),
    )
    found = [Section("", said, told, columns, points=sentences)]
    return [*found, Section("", (), confused, of_pairs)] if confused else found


def _with_interval(row: Mapping[str, Any], name: str) -> str:
    value, low, high = (row[f"{name}_{key}"] for key in ("accuracy", "low", "high"))
    return "n/a" if value is None else f"{100 * value:.1f} {100 * low:.1f}-{100 * high:.1f}"
