"""What networks said of every validation image: kept as a file, and every metric computed from it alone.

Right and wrong are as in `engine.training.validation.score`: a class that ties with the right one is ranked before it,
and an image without probabilities is wrong. Unreadable images are such; `readable` leaves them out.
"""

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from topfive.data.files import written_aside
from topfive.errors import DataError, RefusedError, ResourceError
from topfive.results.records import Scores

BINS = 15  # of a reliability diagram, equally wide: Guo et al., On Calibration of Modern Neural Networks, 2017, §2
LEAST = 2.0**-149  # the smallest number above 0 in 32 bits: what a probability of 0 counts as in a logarithm
HEAD = ("image", "class", "label", "unreadable", "model", "protocol", "source")  # then a column a class
OF_VERSION_1 = ("picture", *HEAD[1:])
FORMULA = ("=", "+", "-", "@", "'")  # what a spreadsheet takes for more than text at the beginning of a cell


@dataclass(frozen=True, eq=False)
class Predictions:
    """One model's probabilities under one protocol for the images of a source, in the source's order."""

    classes: tuple[str, ...]  # names of the columns
    images: tuple[str, ...]  # names within the source
    labels: NDArray[np.int64]  # (n,) the columns that are right
    scores: NDArray[np.float32]  # (n, classes) probabilities; a row of NaN for an unreadable image
    unreadable: Mapping[str, str]  # image -> reason
    protocol: str  # as printed
    model: str = ""
    source: str = ""

    def __len__(self) -> int:
        return len(self.images)

    @cached_property
    def rank(self) -> NDArray[np.int64]:
        """(n,) how many classes are ranked before the right one; all of them where there are no probabilities."""
        right = np.take_along_axis(self.scores, self.labels[:, None], 1)
        before = (~(self.scores < right)).sum(1) - 1
        return np.where(np.isnan(right[:, 0]), len(self.classes), before)

    @cached_property
    def predicted(self) -> NDArray[np.int64]:
        """(n,) the predicted column of each image, of those that tie another than the right one; -1 for none."""
        scores = self.scores.copy()
        wrong = np.flatnonzero(self.rank)
        scores[wrong, self.labels[wrong]] = -np.inf
        found = scores.argmax(1)
        return np.where(np.isnan(self.scores).any(1), -1, np.where(self.rank == 0, self.labels, found))

    @cached_property
    def confidence(self) -> NDArray[np.float64]:
        """(n,) the probability of the answer; NaN where there is none."""
        return np.asarray(self.scores.max(1), np.float64)


def readable(predictions: Predictions) -> Predictions:
    """The same without the unreadable images, for numbers that leave them out."""
    kept = [i for i, name in enumerate(predictions.images) if name not in predictions.unreadable]
    names = tuple(predictions.images[i] for i in kept)
    return replace(
        predictions, images=names, labels=predictions.labels[kept], scores=predictions.scores[kept], unreadable={}
    )


# Metrics, in counts and fractions


class OfClass(NamedTuple):
    """One class: its images, how many are right, and the wrong answer that is given most often (None: never one)."""

    label: int
    images: int
    correct1: int
    answer: int | None
    times: int


class Pair(NamedTuple):
    """How many images of one class are predicted as another, and which share of its images that is."""

    label: int
    answer: int
    times: int
    share: float


class Bin(NamedTuple):
    """The answers with a confidence in (low, high]: how many, how many right, and their mean confidence."""

    low: float
    high: float
    images: int
    correct1: int
    confidence: float  # 0 in an empty bin


class Mistake(NamedTuple):
    """An image that is predicted as another class: its position, that column, and both probabilities."""

    image: int
    answer: int
    probability: float
    of_right: float


class Disagreement(NamedTuple):
    """Two models on the same images: how many only the one or only the other gets right, and what chance allows.

    `p` is the probability of at least so uneven a split if either were as likely to be the right one.
    """

    images: int
    only_first: int
    only_second: int
    p: float


def scores(predictions: Predictions) -> Scores:
    """Top-1 and Top-5."""
    ahead = predictions.rank
    correct5 = int((ahead < 5).sum()) if len(predictions.classes) >= 6 else None
    unread = sum(name in predictions.unreadable for name in predictions.images)
    return Scores(len(ahead), int((ahead == 0).sum()), correct5, unread)


def per_class(predictions: Predictions) -> list[OfClass]:
    """A row for every class that has images, in the order of the columns."""
    found = []
    for label in np.unique(predictions.labels).tolist():
        answers = predictions.predicted[predictions.labels == label]
        wrong, times = np.unique(answers[(answers >= 0) & (answers != label)], return_counts=True)
        most = int(times.argmax()) if len(times) else None
        row = OfClass(label, len(answers), int((answers == label).sum()), None, 0)
        found.append(row if most is None else row._replace(answer=int(wrong[most]), times=int(times[most])))
    return found


def confused(predictions: Predictions, most: int = 20) -> list[Pair]:
    """The pairs of a class and a wrong answer that occur oftenest, that of the larger share first where they tie."""
    labels, answers = predictions.labels, predictions.predicted
    wrong = (answers >= 0) & (answers != labels)
    pairs, times = np.unique(np.stack([labels[wrong], answers[wrong]], 1), axis=0, return_counts=True)
    of = np.bincount(labels, minlength=len(predictions.classes))
    found = [Pair(label, answer, n, n / int(of[label])) for (label, answer), n in zip(pairs.tolist(), times.tolist())]
    return sorted(found, key=lambda pair: (-pair.times, -pair.share, pair.label, pair.answer))[:most]


def confusion(predictions: Predictions) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The k columns that have images, and how many images of each (a row) are predicted as each: (k, k + 1).

    The last column counts answers that are no class of any image. Images without an answer are not counted.
    """
    classes, row = np.unique(predictions.labels, return_inverse=True)
    column = np.full(len(predictions.classes), len(classes))
    column[classes] = np.arange(len(classes))
    given = predictions.predicted >= 0
    counts = np.zeros((len(classes), len(classes) + 1), np.int64)
    np.add.at(counts, (row[given], column[predictions.predicted[given]]), 1)
    return classes, counts


def reliability(predictions: Predictions) -> list[Bin]:
    """Images that have an answer, by how sure the answer is: `BINS` equal parts of 0 to 1."""
    given = predictions.predicted >= 0
    sure, right = predictions.confidence[given], (predictions.rank == 0)[given]
    edges = [n / BINS for n in range(BINS + 1)]
    # why: in the precision of the probabilities, in which 1/15 is another number than in 64 bits
    at = np.clip(np.searchsorted(np.array(edges, np.float32), sure.astype(np.float32)) - 1, 0, BINS - 1)
    bins = []
    for n in range(BINS):
        mine = at == n
        mean = float(sure[mine].mean()) if mine.any() else 0.0
        bins.append(Bin(edges[n], edges[n + 1], int(mine.sum()), int(right[mine].sum()), mean))
    return bins


def calibration_error(bins: list[Bin]) -> float | None:
    """The expected calibration error: how far accuracy and mean confidence lie apart, as a mean over images.

    A fraction; None without images. Source: Guo et al. 2017, equation 3.
    """
    images = sum(one.images for one in bins)
    return sum(abs(one.correct1 - one.images * one.confidence) for one in bins) / images if images else None


def mean_confidence(predictions: Predictions) -> float | None:
    """The mean probability of the answers; None without any."""
    sure = predictions.confidence[predictions.predicted >= 0]
    return float(sure.mean()) if len(sure) else None


def log_loss(predictions: Predictions) -> float | None:
    """The mean negative logarithm of the right class's probability, in nats; None without any answer."""
    given = np.flatnonzero(predictions.predicted >= 0)
    right = predictions.scores[given, predictions.labels[given]].astype(np.float64)
    return float(-np.log(np.maximum(right, LEAST)).mean()) if len(given) else None


def worst(predictions: Predictions, most: int = 24) -> list[Mistake]:
    """The wrong answers that were surest, the surest first."""
    labels, answers, sure = predictions.labels, predictions.predicted, predictions.confidence
    wrong = np.flatnonzero((answers >= 0) & (answers != labels))
    order = wrong[np.argsort(-sure[wrong], kind="stable")][:most]
    return [
        Mistake(i, int(answers[i]), float(sure[i]), float(predictions.scores[i, labels[i]])) for i in order.tolist()
    ]


def mcnemar(first: Predictions, second: Predictions) -> Disagreement:
    """McNemar's exact test, two-sided. Raises: DataError where they are not about the same images.

    Source: McNemar 1947, with the binomial distribution in place of its chi-squared approximation.
    """
    if first.images != second.images:
        raise DataError(f"{first.model or 'one'} and {second.model or 'the other'} were not shown the same images")
    one, other = first.rank == 0, second.rank == 0
    b, c = int((one & ~other).sum()), int((other & ~one).sum())
    n, ways, total = b + c, 1, 1
    for k in range(min(b, c)):  # why: whole numbers are exact however many images there are
        ways = ways * (n - k) // (k + 1)
        total += ways
    return Disagreement(len(one), b, c, min(1.0, 2 * total / 2**n))


# The file


def write(path: Path | str, predictions: Predictions) -> Path:
    """Write a CSV file, a line an image, that says all there is, whole or not at all; its path. Raises: ResourceError.

    The columns are `HEAD` and a probability for each class, nothing where an image is unreadable; `label` counts those
    from 0. Names that would be formulas in a spreadsheet begin with an apostrophe there, and letters that are no text
    are written as backslash, u and four digits.
    """
    path = Path(path)
    about = [_guarded(text) for text in (predictions.model, predictions.protocol, predictions.source)]
    classes = [_guarded(name) for name in predictions.classes]
    line = ",".join(["%.9g"] * len(classes))  # 9 digits give 32 bits back exactly
    try:
        with (
            written_aside(path.parent) as aside,
            (aside / path.name).open("w", newline="", encoding="utf-8") as file,
        ):
            rows = csv.writer(file, lineterminator="\n")
            rows.writerow([*HEAD, *classes])
            for name, label, row in zip(predictions.images, predictions.labels.tolist(), predictions.scores):
                why = predictions.unreadable.get(name)
                shares = [""] * len(classes) if why is not None else (line % tuple(row.tolist())).split(",")
                rows.writerow([_guarded(name), classes[label], label, _guarded(why or ""), *about, *shares])
    except OSError as error:
        raise ResourceError(f"{path} cannot be written: {error.strerror}") from error
    return path


def read(path: Path | str) -> Predictions:
    """What `write` wrote, to the last bit. Raises: RefusedError for another file, ResourceError."""
    images: list[str] = []
    labels: list[int] = []
    scores: list[NDArray[np.float32]] = []
    unreadable: dict[str, str] = {}
    about = ["", "", ""]
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = csv.reader(file)
            head = next(rows, [])
            classes = tuple(map(_plain, head[len(HEAD) :]))
            if tuple(head[: len(HEAD)]) not in (HEAD, OF_VERSION_1) or not classes:
                raise RefusedError(f"{path} holds no predictions: its columns are not {', '.join(HEAD)} and classes")
            for row in rows:
                name, label, why, shares = _plain(row[0]), int(row[2]), _plain(row[3]), row[len(HEAD) :]
                if len(shares) != len(classes) or not 0 <= label < len(classes):
                    raise ValueError(f"{len(shares)} probabilities of {len(classes)}, label {label}")
                images.append(name)
                labels.append(label)
                blank = not any(shares)
                if blank:
                    unreadable[name] = why
                scores.append(np.array([np.nan if blank else share for share in shares], np.float32))
                about = list(map(_plain, row[4:7]))
    except (ValueError, IndexError, csv.Error) as error:
        raise RefusedError(f"{path} is damaged in line {len(images) + 2}: {error}") from None
    except OSError as error:
        raise ResourceError(f"{path} cannot be read: {error.strerror}") from None
    table = np.stack(scores) if scores else np.zeros((0, len(classes)), np.float32)
    model, protocol, source = about
    return Predictions(classes, tuple(images), np.array(labels, np.int64), table, unreadable, protocol, model, source)


_NO_TEXT = re.compile("[\\\\\x00-\x1f\x7f\ud800-\udfff]")  # and the backslash itself, so that it is read back exactly


def _guarded(text: str) -> str:
    text = _NO_TEXT.sub(lambda letter: f"\\u{ord(letter[0]):04x}", text)
    return f"'{text}" if text.startswith(FORMULA) else text


def _plain(text: str) -> str:
    return re.sub(r"\\u([0-9a-f]{4})", lambda code: chr(int(code[1], 16)), text.removeprefix("'"))
