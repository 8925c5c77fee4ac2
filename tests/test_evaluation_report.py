"""What an evaluation shows: rows beside the literature, McNemar in a sentence, legible figures, a safe page."""

import base64
import io
import re
from collections import Counter
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image
from test_pages import Reader
from test_predictions import drawn, pair

from topfive.data.cifar import CIFAR10
from topfive.data.imagenet import imagenet_classes
from topfive.errors import ResourceError
from topfive.recipes.protocols import LADDER, PROTOCOLS
from topfive.report import evaluation, tables
from topfive.report.evaluation import published_for, published_split, row, short_names
from topfive.report.figures import evaluation as figures_of_evaluation
from topfive.report.figures import ladder as ladder_of_figures
from topfive.report.pages import evaluation as evaluated
from topfive.results import predictions
from topfive.results.predictions import Predictions
from topfive.results.records import EvaluationRow
from topfive.results.statistics import interval

EVIL = "<script>alert(1)</script>\x1b[31m\udce9 'x' \"y\", and more"


def of(classes: tuple[str, ...], there: int | None = None) -> Predictions:
    """Twelve hundred images of the first `there` of some classes."""
    there = len(classes) if there is None else there
    labels = np.arange(1200) % there
    scores = np.full((1200, len(classes)), 1 / len(classes), np.float32)
    scores[np.arange(1200), labels] = 0.9
    return Predictions(classes, tuple(map(str, range(1200))), labels, scores, {}, "1-crop 224 of 256", "m")


def costed(seen: Predictions, key: str = "1-crop", left_out: bool = False, **more: Any) -> EvaluationRow:
    views = PROTOCOLS[key].count()
    ops = 3.6e9 * views * (2 if PROTOCOLS[key].crops == "dense" else 1)
    return msgspec.structs.replace(row(seen.model, "resnet-18", key, seen, left_out, views, ops, ops / 1e8), **more)


def climbed(models: int = 1) -> list[EvaluationRow]:
    """A ladder as crowded as a real one."""
    rows = []
    for model in range(models):
        for i, key in enumerate(LADDER):
            seen = replace(drawn(900, 10, seed=i), model=f"model {model}", protocol=PROTOCOLS[key].describe(128))
            accuracy = 0.8 + 0.004 * i + 0.01 * model
            rows.append(costed(seen, key, top1_accuracy=accuracy, top1_low=accuracy - 0.01, top1_high=accuracy + 0.01))
    return rows


# Rows and sentences


def test_a_row_counts_the_unreadable_as_errors_or_leaves_them_out() -> None:
    seen = drawn(200, 10, unreadable=20)
    counted, left = row("m", "resnet-18", "1-crop", seen, False), row("m", "resnet-18", "1-crop", seen, True)
    right = int((seen.predicted == seen.labels).sum())
    assert (counted.images, counted.unreadable, counted.correct1) == (200, 20, right)
    assert (left.images, left.unreadable, left.correct1) == (180, 20, right)
    assert counted.top1_accuracy == right / 200 and left.top1_accuracy == right / 180
    assert (left.top1_low, left.top1_high) == interval(right, 180)
    assert counted.calibration_error == left.calibration_error
    assert row("m", "resnet-18", "1-crop", drawn(40, 5), False).top5_accuracy is None


def test_the_published_error_is_that_of_the_network_under_that_protocol() -> None:
    def printed(network: str, key: str, split: str = "val") -> list[float | None]:
        return [one.top1 for one in published_for(network, key, split)]

    # as printed: VGG's Tables 3 to 5, ResNet's Tables 3, 4 and 6, Inception-v3's Table 3 and -v4's Table 3
    assert printed("vgg-d", "dense")[0] == 27.0
    assert printed("vgg-d", "dense-multi-scale") == [26.6]
    assert printed("vgg-d", "dense-multi-scale:jittered")[0] == 24.8
    assert printed("vgg-d", "multi-crop") == [24.6]
    assert printed("resnet-50", "10-crop") == [22.85] and printed("resnet-50", "resnet-multi-scale") == [20.74]
    assert printed("resnet-34", "10-crop") == [24.52]  # with option B, as ours has by default
    assert printed("inception-v3", "12-crop") == [19.8, 19.47]  # all images before those but the blacklisted
    assert printed("alexnet", "10-crop") == [40.7]  # neither the ensembles nor other images
    assert printed("cifar-resnet-20", "1-crop:square", "CIFAR-10 test") == [8.75]
    for network, key, split in (
        ("alexnet", "144-crop", "val"),
        ("alexnet", "10-crop", ""),
        ("alexnet", "10-crop", "CIFAR-10 test"),
        ("cifar-resnet-20", "1-crop:square", "val"),
        ("cifar-resnet-20", "1-crop", "CIFAR-10 test"),
        ("no such network", "1-crop", "val"),
        ("vgg-d", "of somebody", "val"),
    ):
        assert printed(network, key, split) == []


def test_a_published_error_is_shown_beside_the_images_that_it_is_of_alone() -> None:
    names = imagenet_classes()[0]
    assert published_split(of(names)) == "val" and published_split(of(CIFAR10)) == "CIFAR-10 test"
    assert published_split(of(names, there=10)) == ""  # a network of 1,000 classes that is shown ten of them
    assert published_split(of(tuple(f"class {i}" for i in range(1000)))) == ""
    beside = row("m", "resnet-18", "1-crop", of(names), False)
    assert beside.published_top1_error == pytest.approx(0.3041) and "author-repo" in beside.published_where
    alone = row("m", "resnet-18", "1-crop", of(names, there=10), False)
    assert alone.published_top1_error is None and alone.published_where is None
    assert "none is shown for these 10" in evaluation.remarks([alone], 10)[0]
    assert "fb.resnet.torch" in evaluation.remarks([beside], 1000)[0]
    other = row("m", "resnet-18", "144-crop", of(names), False)
    assert "no published errors" in evaluation.remarks([other], 1000)[0]


def test_mcnemar_says_both_counts_p_n_and_protocol() -> None:
    said = evaluation.compared(*pair(5, 15))
    assert "x alone is right on 5 images, y alone on 15" in said and "n = 25, 1-crop" in said
    assert "p = 0.041, statistically significant" in said  # 2 x 21,700 of 2**20 ways
    assert "p = 1, not statistically significant" in evaluation.compared(*pair(3, 3))
    assert "p < 0.0001" in evaluation.compared(*pair(0, 3000))


def test_short_names_stay_those_of_one_class() -> None:
    tench, crane, other = "n01440764", "n02012849", "n03126707"
    words = {tench: "tench, Tinca tinca", crane: "crane", other: "crane, a machine", "own": "cat, black"}
    named = short_names([tench, crane, other, "a, b", "a, c", "own"], words)
    assert named == ["tench", f"crane ({crane})", f"crane ({other})", "a, b", "a, c", "cat, black"]
    names, said = imagenet_classes()
    assert len(set(short_names(names, dict(zip(names, said))))) == 1000


def test_every_accuracy_in_the_terminal_has_protocol_and_n() -> None:
    rows = climbed()
    shown = tables.text(evaluation.sections(rows, ["one remark"], drawn(900, 10), {}))
    assert max(map(len, shown.splitlines())) <= tables.WIDTH
    for one in rows:
        assert f"{100 * one.top1_accuracy:.1f} {100 * one.top1_low:.1f}-{100 * one.top1_high:.1f}" in shown
        assert one.protocol.split()[0] in shown
    assert shown.count(" 900 ") >= len(rows) and "one remark" in shown


# Figures


def texts(figure: Any) -> dict[str, Any]:
    renderer = FigureCanvasAgg(figure).get_renderer()
    return {text.get_text(): text.get_window_extent(renderer) for text in figure.texts if text.get_text()}


@pytest.mark.parametrize("narrow", [False, True], ids=["wide", "narrow"])
@pytest.mark.parametrize("models", [1, 2])
def test_every_rung_of_a_ladder_is_named_and_no_label_covers_another(models: int, narrow: bool) -> None:
    figure = ladder_of_figures.ladder(climbed(models), narrow=narrow)
    renderer = FigureCanvasAgg(figure).get_renderer()
    labels = [text for text in figure.texts if str(text.get_gid()).startswith("label-")]
    if models == 1:
        assert {text.get_text().split(",")[0] for text in labels} == set(LADDER)
    assert narrow or len(labels) == models * len(LADDER)
    boxes = [text.get_window_extent(renderer) for text in labels]
    assert not [1 for a, b in combinations(boxes, 2) if a.overlaps(b)]
    frame = figure.axes[0].get_window_extent()
    assert all(frame.x0 <= box.x0 and box.x1 <= frame.x1 for box in boxes)
    assert narrow or any("900 images" in said for said in texts(figure))


def test_the_sentence_of_a_ladder_is_computed() -> None:
    rows = climbed()
    assert ladder_of_figures.bought(rows) == (
        "resnet-multi-scale gets 83.6 %, 3.6 points more than 1-crop:square, for 10 times the operations"
    )
    assert "nothing that costs more gets more" in ladder_of_figures.bought(rows[:1])


@pytest.mark.parametrize("classes", [2, 10, 100, 1000])
@pytest.mark.parametrize("narrow", [False, True], ids=["wide", "narrow"])
def test_names_of_a_confusion_do_not_touch_and_numbers_stand_where_they_fit(classes: int, narrow: bool) -> None:
    seen = drawn(4 * classes, classes, ties=False)
    found, counts = predictions.confusion(seen)
    figure = figures_of_evaluation.confusion(counts, [f"class {i}" for i in found], narrow=narrow)
    renderer = FigureCanvasAgg(figure).get_renderer()
    named = [text for text in figure.texts if text.get_text().startswith("class ") and "taken" not in text.get_text()]
    boxes = [text.get_window_extent(renderer) for text in named]
    assert not [1 for a, b in combinations(boxes, 2) if a.overlaps(b)]
    assert all(box.x0 >= 0 and box.x1 <= figure.bbox.x1 for box in boxes)
    numbers = [text.get_text() for text in figure.texts if re.fullmatch("[0-9,]+", text.get_text())]
    assert sorted(map(int, numbers)) == (sorted(counts[counts > 0].tolist()) if classes <= 10 else [])


def test_reliability_says_how_sure_and_how_right() -> None:
    seen = drawn(500, 10)
    bins = predictions.reliability(seen)
    error = predictions.calibration_error(bins)
    assert error is not None
    said = figures_of_evaluation.sureness(bins, error)
    assert f"confidence {100 * predictions.mean_confidence(seen):.1f} %" in said  # type: ignore[operator]
    assert f"accuracy {100 * predictions.scores(seen).correct1 / 500:.1f} %" in said
    empty = predictions.reliability(replace(seen, scores=np.full_like(seen.scores, np.nan)))
    for narrow in (False, True):
        figures_of_evaluation.reliability(bins, error, narrow=narrow)
        figures_of_evaluation.reliability(empty, 0.0, narrow=narrow)


# The page


def jpeg() -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (9, 7), (200, 30, 60)).save(data, "JPEG")
    return data.getvalue()


def written(path: Path, seen: Predictions, rows: list[EvaluationRow], ladder: bool, **more: Any) -> str:
    worst = [seen.images[one.image] for one in predictions.worst(seen, 5)]
    facts, command = [("Source", EVIL), ("Models", f"{EVIL}; b")], f"topfive evaluate '{EVIL}'"
    evaluation.write(
        path,
        rows,
        [EVIL, "a sentence"],
        ladder,
        seen,
        more.get("words", {}),
        dict.fromkeys(worst, (jpeg(), jpeg())),
        facts,
        command,
    )
    return path.read_text("utf-8")


def evil(classes: int = 7) -> Predictions:
    seen = drawn(60, classes, unreadable=3)
    images = tuple(f"{EVIL}{i}" for i in range(60))
    bad = {images[seen.images.index(name)]: EVIL for name in seen.unreadable}
    names = tuple(f"{EVIL}{i}" * (40 if i else 1) for i in range(classes))
    return replace(seen, classes=names, images=images, unreadable=bad, model=EVIL, protocol=EVIL)


@pytest.mark.parametrize("ladder", [False, True])
def test_page_is_well_formed_and_runs_nothing_that_a_name_brings(ladder: bool, tmp_path: Path) -> None:
    seen = evil()
    rows = [costed(replace(seen, protocol=f"{EVIL} {key}"), key) for key in LADDER[:3]]
    page = written(tmp_path / "report.html", seen, rows, ladder)
    reader = Reader(page)
    assert reader.open == [] and [name for name, _ in reader.elements].count("script") == 1
    ids = Counter(attributes["id"] for _, attributes in reader.elements if "id" in attributes)
    assert [found for found, times in ids.items() if times > 1] == []
    assert not any(name.startswith("on") for _, attributes in reader.elements for name in attributes)
    assert not set(page) & set("\x1b\udce9")
    assert {found.name for found in tmp_path.iterdir()} == (
        {"report.html", "ladder.png", "ladder.svg"} if ladder else {"report.html"}
    )
    images = [str(one["src"]) for one in reader.all("img")]
    assert len(images) == 2 * 5 and all(one.startswith("data:image/jpeg;base64,") for one in images)
    assert base64.b64decode(images[0].partition(",")[2]) == jpeg()


@pytest.mark.parametrize("classes", [1, 2, 100])
def test_page_of_few_and_of_many_classes(classes: int, tmp_path: Path) -> None:
    seen = drawn(120, classes)
    page = written(tmp_path / "report.html", seen, [costed(seen)], False)
    assert Reader(page).open == [] and "n = 120" in page


def test_page_leaves_out_what_the_table_leaves_out(tmp_path: Path) -> None:
    seen = drawn(200, 10, unreadable=20)
    page = written(tmp_path / "report.html", seen, [costed(seen, left_out=True)], False)
    assert "n = 180" in page and "n = 200" not in page and "20 images could not be read" in page
    of_class = evaluated._classes(seen.classes)[1]
    assert sum(int(of_class.cell(one).text) for one in predictions.per_class(predictions.readable(seen))) == 180


def test_a_page_that_cannot_be_finished_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = drawn(60, 10)
    before = written(tmp_path / "report.html", seen, [costed(seen)], False)
    again = drawn(90, 10)

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(evaluated, "render", full)
    with pytest.raises(ResourceError, match="No space left"):
        written(tmp_path / "report.html", again, [costed(again)], True)
    assert (tmp_path / "report.html").read_text("utf-8") == before
    assert [found.name for found in tmp_path.iterdir()] == ["report.html"]
