"""Metrics from probabilities: naive loops, scikit-learn, scipy and hand values; and the file that keeps them all."""

import csv
import math
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix, log_loss

from topfive.engine.training import validation as evaluation
from topfive.errors import DataError, RefusedError, ResourceError
from topfive.results import predictions
from topfive.results.predictions import Predictions
from topfive.results.records import Scores

ODD = ("=HYPERLINK(1)", "+a", "-b", "@c", "'quoted", "''", 'a,"b"', "line\nend\r", "back\\slash \\u0041", "\udce9.jpg",
       " spaces ", "ünïcode 猫", "a\x00b\x1b[31m", "", "x" * 300)  # fmt: skip


def drawn(n: int, classes: int, seed: int = 0, unreadable: int = 0, ties: bool = True) -> Predictions:
    """Probabilities as a network gives them, some of which tie, for images some of which cannot be read."""
    chance = np.random.default_rng(seed)
    labels = chance.integers(0, classes, n)
    logits = chance.normal(0, 2, (n, classes))
    logits[np.arange(n), labels] += 2
    if ties:
        logits[: n // 4] = logits[: n // 4].round()
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    scores = shares.astype(np.float32)
    names = tuple(f"class/{i}.jpg" for i in range(n))
    bad = chance.permutation(n)[:unreadable].tolist()
    scores[bad] = np.nan
    told = {names[i]: "cut short" for i in bad}
    return Predictions(tuple(f"c{i}" for i in range(classes)), names, labels, scores, told, "1-crop 8x8", "m", "toy")


def answered(row: list[float], label: int) -> int | None:
    """Naive: the class that an image is taken for, the right one only where it is above all others."""
    if any(map(math.isnan, row)):
        return None
    others = [(share, -i) for i, share in enumerate(row) if i != label]
    return label if all(row[label] > share for share, _ in others) else -max(others)[1]


def place(row: list[float], label: int) -> int:
    return 1 + sum(1 for i, share in enumerate(row) if i != label and not share < row[label])


CASES = [(40, 2, 3), (60, 3, 0), (60, 5, 4), (80, 6, 5), (300, 10, 7), (200, 100, 11)]


@pytest.fixture(params=CASES, ids=lambda case: "-".join(map(str, case)))
def seen(request: pytest.FixtureRequest) -> Predictions:
    n, classes, unreadable = request.param
    return drawn(n, classes, n, unreadable)


# Metrics


def test_scores_are_those_of_a_naive_loop_and_of_the_training_loop(seen: Predictions) -> None:
    places = [
        math.inf if any(map(math.isnan, row)) else place(row, label)
        for row, label in zip(seen.scores.tolist(), seen.labels.tolist())
    ]
    found = predictions.scores(seen)
    five = None if len(seen.classes) < 6 else sum(at <= 5 for at in places)
    assert found == Scores(len(seen), sum(at == 1 for at in places), five, len(seen.unreadable))
    theirs = evaluation.score(torch.from_numpy(seen.scores), torch.from_numpy(seen.labels))
    assert (found.images, found.correct1, found.correct5) == (theirs.images, theirs.correct1, theirs.correct5)
    left = predictions.scores(predictions.readable(seen))
    assert left == Scores(found.images - found.unreadable, found.correct1, found.correct5, 0)


def test_a_constant_network_and_one_of_nan_are_wrong() -> None:
    for value in (0.1, math.nan):
        same = replace(drawn(20, 10), scores=np.full((20, 10), value, np.float32))
        assert predictions.scores(same) == Scores(20, 0, 0)
        assert [row.correct1 for row in predictions.per_class(same)] == [0] * len(set(same.labels.tolist()))
    one = replace(drawn(3, 1), scores=np.full((3, 1), math.nan, np.float32))
    assert predictions.scores(one).correct1 == 0
    blank = replace(drawn(20, 10), scores=np.full((20, 10), math.nan, np.float32))
    bins = predictions.reliability(blank)
    assert (predictions.calibration_error(bins), predictions.log_loss(blank), predictions.worst(blank)) == (
        None,
        None,
        [],
    )


def test_confusion_is_scikit_learns_and_its_diagonal_is_top_1(seen: Predictions) -> None:
    answers = [answered(row, label) for row, label in zip(seen.scores.tolist(), seen.labels.tolist())]
    given = [i for i, answer in enumerate(answers) if answer is not None]
    labels = [int(seen.labels[i]) for i in given]
    theirs = confusion_matrix(labels, [answers[i] for i in given], labels=range(len(seen.classes)))
    classes, counts = predictions.confusion(seen)
    assert counts[:, :-1].tolist() == theirs[np.ix_(classes, classes)].tolist()
    assert counts.sum(1).tolist() == theirs.sum(1)[classes].tolist()
    assert int(np.trace(counts)) == predictions.scores(seen).correct1


def test_classes_without_a_image_are_one_column_of_the_confusion() -> None:
    seen = drawn(50, 20, unreadable=2)
    seen = replace(seen, labels=seen.labels // 7 * 7)
    classes, counts = predictions.confusion(seen)
    assert classes.tolist() == [0, 7, 14] and counts.sum() == 48
    assert counts[:, -1].sum() == sum(answer not in (-1, 0, 7, 14) for answer in seen.predicted.tolist()) > 0


def test_classes_and_pairs_are_those_of_a_naive_count(seen: Predictions) -> None:
    answers = [answered(row, label) for row, label in zip(seen.scores.tolist(), seen.labels.tolist())]
    told = list(zip(seen.labels.tolist(), answers))
    of = Counter(label for label, _ in told)
    wrong = Counter((label, answer) for label, answer in told if answer not in (label, None))
    for row in predictions.per_class(seen):
        assert row.images == of[row.label] and row.correct1 == told.count((row.label, row.label))
        mine = {answer: times for (label, answer), times in wrong.items() if label == row.label}
        assert row.times == max(mine.values(), default=0) and (mine.get(row.answer, 0) == row.times)
    assert [row.label for row in predictions.per_class(seen)] == sorted(of)
    pairs = predictions.confused(seen, most=5)
    assert [pair.times for pair in pairs] == sorted(wrong.values(), reverse=True)[:5]
    assert all(wrong[pair.label, pair.answer] == pair.times for pair in pairs)
    assert all(pair.share == pair.times / of[pair.label] for pair in pairs)


def test_reliability_is_that_of_a_naive_loop(seen: Predictions) -> None:
    bins: list[list[tuple[float, bool]]] = [[] for _ in range(15)]
    edges = [float(np.float32(n / 15)) for n in range(16)]
    for row, label in zip(seen.scores.tolist(), seen.labels.tolist()):
        if not any(map(math.isnan, row)):
            at = next(n for n in range(15) if edges[n] < max(row) <= edges[n + 1])
            bins[at].append((max(row), place(row, label) == 1))
    answers = sum(map(len, bins))
    gap = sum(abs(sum(right for _, right in one) - sum(sure for sure, _ in one)) for one in bins) / answers
    found = predictions.reliability(seen)
    assert [(one.images, one.correct1) for one in found] == [(len(one), sum(right for _, right in one)) for one in bins]
    assert predictions.calibration_error(found) == pytest.approx(gap, abs=1e-12)
    assert predictions.mean_confidence(seen) == pytest.approx(sum(s for one in bins for s, _ in one) / answers)


def test_calibration_error_by_hand() -> None:
    # ten images at 0.9 of which 6 are right, ten at 0.6 of which 6 are: (10 x 0.3 + 10 x 0) / 20
    scores = np.array([[0.9, 0.1]] * 10 + [[0.6, 0.4]] * 10, np.float32)
    labels = np.array(([0] * 6 + [1] * 4) * 2)
    seen = Predictions(("a", "b"), tuple(map(str, range(20))), labels, scores, {}, "1-crop")
    assert predictions.calibration_error(predictions.reliability(seen)) == pytest.approx(0.15, abs=1e-7)
    assert [one.images for one in predictions.reliability(seen) if one.images] == [10, 10]
    edge = replace(seen, scores=np.array([[1.0, 0.0]] * 20, np.float32))  # 1 is in the last bin
    assert predictions.reliability(edge)[-1].images == 20


def test_a_probability_on_an_edge_is_in_the_bin_below_it() -> None:
    """Bins are (n/15, (n+1)/15], and the probabilities have 32 bits: the edges are the numbers that those give."""
    edges = np.arange(1, 16, dtype=np.float32) / np.float32(15)
    scores = np.zeros((15, 16), np.float32)
    scores[:, 0] = edges
    on = Predictions(tuple("abcdefghijklmnop"), tuple(map(str, range(15))), np.zeros(15, int), scores, {}, "1-crop")
    assert [one.images for one in predictions.reliability(on)] == [1] * 15


def test_log_loss_is_scikit_learns_and_finite_where_a_probability_is_zero(seen: Predictions) -> None:
    left = predictions.readable(seen)
    shares = left.scores.astype(np.float64)
    theirs = log_loss(left.labels, shares / shares.sum(1, keepdims=True), labels=range(len(seen.classes)))
    assert predictions.log_loss(seen) == pytest.approx(theirs, rel=1e-5)
    never = replace(drawn(2, 2), labels=np.array([1, 1]), scores=np.array([[1.0, 0.0]] * 2, np.float32))
    assert predictions.log_loss(never) == pytest.approx(149 * math.log(2))


def test_worst_are_the_surest_wrong_answers(seen: Predictions) -> None:
    wrong = [
        (max(row), i)
        for i, (row, label) in enumerate(zip(seen.scores.tolist(), seen.labels.tolist()))
        if answered(row, label) not in (label, None)
    ]
    found = predictions.worst(seen, most=7)
    assert [one.probability for one in found] == sorted((share for share, _ in wrong), reverse=True)[:7]
    for one in found:
        row = seen.scores[one.image].tolist()
        assert (row[one.answer], row[int(seen.labels[one.image])]) == (one.probability, one.of_right)


def pair(b: int, c: int, both: int = 5) -> tuple[Predictions, Predictions]:
    """Two predictions of which the first alone is right b times, the second alone c times."""
    n = b + c + both
    right, wrong = [1.0, 0.0], [0.0, 1.0]
    first = [right] * b + [wrong] * c + [right] * both
    second = [wrong] * b + [right] * c + [right] * both
    one = Predictions(
        ("a", "b"), tuple(map(str, range(n))), np.zeros(n, np.int64), np.array(first, np.float32), {}, "1-crop", "x"
    )
    return one, replace(one, scores=np.array(second, np.float32), model="y")


@pytest.mark.parametrize("b,c", [(0, 0), (1, 0), (0, 7), (3, 3), (5, 15), (12, 9), (150, 86), (900, 1100), (0, 3000)])
def test_mcnemar_is_scipys_binomial_test(b: int, c: int) -> None:
    found = predictions.mcnemar(*pair(b, c))
    assert (found.images, found.only_first, found.only_second) == (b + c + 5, b, c)
    assert found.p == pytest.approx(binomtest(b, b + c).pvalue if b + c else 1.0, rel=1e-9)


def test_mcnemar_by_hand_and_only_on_the_same_images() -> None:
    assert predictions.mcnemar(*pair(1, 5)).p == pytest.approx(2 * 7 / 64)  # 1 + 6 of 2**6 ways, on both sides
    one, other = pair(1, 5)
    with pytest.raises(DataError, match="x and y were not shown the same images"):
        predictions.mcnemar(one, replace(other, images=other.images[::-1]))


# The file


def same(one: Predictions, other: Predictions) -> None:
    for name in ("classes", "images", "unreadable", "protocol", "model", "source"):
        assert getattr(one, name) == getattr(other, name), name
    assert np.array_equal(one.labels, other.labels)
    assert one.scores.dtype == other.scores.dtype == np.float32
    assert one.scores.view(np.uint32).tolist() == other.scores.view(np.uint32).tolist()  # to the bit


def metrics(seen: Predictions) -> tuple[Any, ...]:
    bins = predictions.reliability(seen)
    return (
        predictions.scores(seen),
        predictions.scores(predictions.readable(seen)),
        predictions.per_class(seen),
        predictions.confused(seen),
        predictions.confusion(seen)[1].tolist(),
        bins,
        predictions.calibration_error(bins),
        predictions.mean_confidence(seen),
        predictions.log_loss(seen),
        predictions.worst(seen),
    )


def test_every_metric_from_the_file_is_equal(seen: Predictions, tmp_path: Path) -> None:
    path = predictions.write(tmp_path / "below" / "p.csv", seen)
    again = predictions.read(path)
    same(seen, again)
    assert metrics(seen) == metrics(again)
    assert [found.name for found in path.parent.iterdir()] == ["p.csv"]


def test_every_kind_of_number_comes_back_to_the_bit(tmp_path: Path) -> None:
    bits = np.random.default_rng(0).integers(0, 0x3F800001, (500, 4)).astype(np.uint32)  # of all floats from 0 to 1
    bits[0] = (0, 1, 0x007FFFFF, 0x3F800000)  # zero, the smallest, the largest below the normal ones, one
    seen = replace(drawn(500, 4, ties=False), scores=bits.view(np.float32))
    same(seen, predictions.read(predictions.write(tmp_path / "p.csv", seen)))


def test_odd_names_come_back_and_are_no_formulas(tmp_path: Path) -> None:
    n = len(ODD)
    seen = replace(drawn(n, n), classes=ODD, images=tuple(f"{name}{i}" for i, name in enumerate(ODD)))
    unread = {seen.images[0]: '=cut, "short"\n', seen.images[9]: ""}
    scores = seen.scores.copy()
    scores[[0, 9]] = np.nan
    seen = replace(seen, scores=scores, unreadable=unread, model="-m", protocol="@p", source="\udcff/x")
    path = predictions.write(tmp_path / "p.csv", seen)
    same(seen, predictions.read(path))
    text = path.read_text("utf-8")  # which a strict reader takes
    assert text.count("\n") == n + 1 and not set(text) & set("\r\x00\x1b")
    for row in csv.reader(text.splitlines()):
        assert not any(cell.startswith(("=", "+", "-", "@")) for cell in row)


def test_file_is_plain_enough_for_a_spreadsheet(tmp_path: Path) -> None:
    seen = drawn(4, 3, unreadable=1)
    text = predictions.write(tmp_path / "p.csv", seen).read_text("utf-8")
    rows = list(csv.DictReader(text.splitlines()))
    assert list(rows[0]) == [*predictions.HEAD, "c0", "c1", "c2"]
    for i, row in enumerate(rows):
        assert row["class"] == seen.classes[int(row["label"])] and row["protocol"] == "1-crop 8x8"
        if row["unreadable"]:
            assert row["c0"] == row["c1"] == row["c2"] == "" and row["unreadable"] == "cut short"
        else:
            assert [np.float32(row[name]) for name in seen.classes] == seen.scores[i].tolist()


@pytest.mark.parametrize(
    "text",
    ["", "a,b\n1,2\n", ",".join(predictions.HEAD) + "\n", "\x00\xff", "HEAD,a,b\np,a,0,,m,p,s,0.5\n",
     "HEAD,a,b\np,a,2,,m,p,s,0.5,0.5\n", "HEAD,a,b\np,a,x,,m,p,s,0.5,0.5\n", "HEAD,a,b\np,a,0,,m,p,s,0.5,y\n",
     "HEAD,a,b\np\n"],
)  # fmt: skip
def test_another_or_a_damaged_file_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_bytes(text.replace("HEAD", ",".join(predictions.HEAD)).encode("latin-1"))
    with pytest.raises(RefusedError, match=r"holds no predictions|is damaged in line"):
        predictions.read(path)


def test_the_damaged_line_is_named(tmp_path: Path) -> None:
    path = predictions.write(tmp_path / "p.csv", replace(drawn(5, 3), images=("a", "line\nend", "c", "d", "e")))
    lines = path.read_text("utf-8").splitlines()
    lines[3] = lines[3].rpartition(",")[0]
    path.write_text("\n".join(lines), "utf-8")
    with pytest.raises(RefusedError, match="is damaged in line 4: 2 probabilities of 3"):
        predictions.read(path)


def test_file_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    class Broken(dict[str, str]):
        def get(self, name: str, default: Any = None) -> Any:
            raise OSError(28, "No space left on device")

    path = predictions.write(tmp_path / "p.csv", drawn(5, 3))
    before = path.read_bytes()
    with pytest.raises(ResourceError, match="No space left"):
        predictions.write(path, replace(drawn(9, 3), unreadable=Broken()))
    assert path.read_bytes() == before and [found.name for found in tmp_path.iterdir()] == ["p.csv"]
    with pytest.raises(ResourceError, match="cannot be written"):
        predictions.write(path / "below.csv", drawn(5, 3))
    with pytest.raises(ResourceError, match="cannot be read"):
        predictions.read(tmp_path / "none.csv")
