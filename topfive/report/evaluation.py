"""What `topfive evaluate` shows: a row a model and protocol, for the terminal, the page and machines."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from topfive.data.check.phrases import shown
from topfive.data.cifar import CIFAR10
from topfive.data.files import written_aside
from topfive.data.imagenet import imagenet_classes
from topfive.errors import ResourceError
from topfive.networks.papers import PublishedError, facts, known
from topfive.recipes.protocols import PROTOCOLS, PUBLISHED_AS, SQUARE
from topfive.report.metrics import between, evaluation, section
from topfive.report.tables import Column, Section, Value, scaled
from topfive.results import predictions as seen
from topfive.results.predictions import Predictions
from topfive.results.records import EvaluationRow
from topfive.results.statistics import interval

IMAGENET, CIFAR = "val", "CIFAR-10 test"  # the splits that papers print errors of, as papers.toml calls them
OTHER_NETWORKS = ("option A", "option C")  # ResNet's shortcuts that ours do not have by default
PAIRS = 5  # of classes that a terminal is told of


def row(
    model: str,
    network: str,
    key: str,
    predictions: Predictions,
    left_out: bool,
    views: float | None = None,
    ops: float | None = None,
    ms: float | None = None,
    engine: str = "",
) -> EvaluationRow:
    """A model under a protocol: counts, accuracies with their intervals, and the paper's error under that protocol.

    Unreadable images count as errors unless they are `left_out`. `network` and `key` are the names of both here.
    """
    judged = seen.readable(predictions) if left_out else predictions
    counted = seen.scores(judged)
    split = published_split(predictions)
    published = next(iter(published_for(network, key, split)), None)
    return EvaluationRow(
        model,
        network,
        key,
        predictions.protocol,
        counted.images,
        len(predictions.unreadable),
        "left out" if left_out else "errors",
        counted.correct1,
        counted.correct5,
        *_accuracy(counted.correct1, counted.images),
        *_accuracy(counted.correct5, counted.images),
        seen.calibration_error(seen.reliability(judged)),
        published.top1_error if published else None,
        published.top5_error if published else None,
        _where(published) if published else None,
        split or None,
        views,
        ops,
        ms,
        engine,
    )


def _accuracy(correct: int | None, images: int) -> tuple[float | None, float | None, float | None]:
    """The share and its 95 % interval; nothing where it is not defined."""
    return (None, None, None) if correct is None or not images else (correct / images, *interval(correct, images))


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


def answer(rows: Sequence[EvaluationRow]) -> str:
    """The best row in a sentence: `resnet-18: Top-1 86.2 % (95 % interval 85.1–87.2), 1-crop 128x128, n = 3,925`."""
    best = max(rows, key=lambda row: row.top1_accuracy or 0)
    fifth = "" if best.top5_accuracy is None else f", Top-5 {100 * best.top5_accuracy:.1f} %"
    return (
        f"{best.model}: Top-1 {best.top1 or 0:.1f} % (95 % interval {between(best.top1_low, best.top1_high)}){fifth}, "
        f"{best.protocol}, n = {best.images:,}"
    )


def compared(one: Predictions, other: Predictions) -> str:
    """McNemar's test in a sentence."""
    test = seen.mcnemar(one, other)
    p = "p < 0.0001" if test.p < 1e-4 else f"p = {test.p:.2g}"
    verdict = "statistically significant" if test.p < 0.05 else "not statistically significant"
    protocols = " and ".join(dict.fromkeys((one.protocol, other.protocol)))
    return (
        f"{one.model} alone is right on {test.only_first:,} images, {other.model} alone on {test.only_second:,}: "
        f"McNemar's exact test, {p}, {verdict} (n = {test.images:,}, {protocols})"
    )


def remarks(rows: Sequence[EvaluationRow], classes: int) -> list[str]:
    """What must be said beside the numbers."""
    said = [
        f"{row.model}, published under {row.protocol}: {row.published_where}" for row in rows if row.published_where
    ]
    if not any(row.published_split for row in rows):
        said.append(
            f"published errors are for ImageNet's 1,000 classes or CIFAR-10, so none is shown for these {classes:,}"
        )
    elif not said:
        said.append("papers.toml has no published errors of these networks under these protocols")
    if first := next((row for row in rows if row.unreadable), None):
        are = "left out" if first.unreadable_are == "left out" else "counted as errors"
        said.append(f"{rows[0].unreadable:,} unreadable images, {are}")
    return said


def write(
    page: Path,
    rows: Sequence[EvaluationRow],
    sentences: Sequence[str],
    ladder: bool,
    shown: Predictions,
    words: Mapping[str, str],
    thumbnails: Mapping[str, tuple[bytes, bytes]],
    facts: Sequence[tuple[str, str]],
    command: str,
) -> None:
    """Write the page, and of a ladder its figure beside it, all or nothing. Raises: ResourceError."""
    from topfive.report.figures import canvas
    from topfive.report.figures import ladder as ladder_of_figures
    from topfive.report.pages import evaluation as evaluated

    try:
        with written_aside(page.parent) as aside:
            if ladder:
                canvas.save(ladder_of_figures.ladder(rows), aside / "ladder.png")
            evaluated.render(
                aside / page.name,
                answer=f"{answer(rows)}.",
                rows=rows,
                ladder=ladder,
                sentences=sentences,
                shown=shown,
                words=short_names(shown.classes, words),
                thumbnails=thumbnails,
                facts=facts,
                command=command,
            )
    except OSError as error:
        raise ResourceError(f"{page} cannot be written: {error.strerror}") from error


def sections(
    rows: Sequence[EvaluationRow], sentences: Sequence[str], first: Predictions, words: Mapping[str, str]
) -> list[Section]:
    """The table, what is to be said of it, and what was most confused in the first row."""
    said = [] if len({row.model for row in rows}) > 1 else [f"{shown(answer(rows))}."]
    found = [section(evaluation(rows), rows, said, sentences)]
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
    return [*found, Section("", (), confused, of_pairs)] if confused else found
