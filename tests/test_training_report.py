"""What a training came to: every number in the tables and on the page is the rows', counted once more here."""

import math
import os
import re
import shutil
import subprocess
import sys
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from msgspec.structs import replace
from test_pages import Reader

from topfive.errors import RefusedError, ResourceError
from topfive.recipes import papers as recipes_of_papers
from topfive.recipes.recipe import Recipe
from topfive.report import tables
from topfive.report.figures import training as training_figures
from topfive.report.pages import training as trained
from topfive.report.runs import runs_rows, runs_section
from topfive.report.training import answer, duration, epoch_rows, marked, run_section, write
from topfive.results import runs
from topfive.results.records import EpochRecord
from topfive.results.runs import open_run
from topfive.results.statistics import interval
from topfive.results.training import Stated

PACKAGE = Path(tables.__file__).parent
EVIL = "<script>alert(1)</script>\x1b[31m\n"
N = 3925
SOURCE = {"where": "/data/imagenette", "name": "imagenette", "fingerprint": "a3e8dc0f0a286b2d",
          "classes": ["tench", "n02"], "words": ["tench", "dog"], "train": 9469, "val": N,
          "split": "train/ and val/ as they lie", "upright": False,
          "notes": ["EXIF orientation is ignored"]}  # fmt: skip
MACHINE = {"device": "cpu", "processor": "AMD EPYC", "cores": 2, "threads": 2, "memory_bytes": 25e9,
           "precision": "bfloat16", "memory_format": "channels_last"}  # fmt: skip


def stated(epochs: int = 12, **more: Any) -> Stated:
    recipe = msgspec.to_builtins(Recipe(name="fast", epochs=epochs, batch=64, seed=7))
    values: dict[str, Any] = {
        "network": {"name": "resnet-18"},
        "name": "resnet-18",
        "recipe": recipe,
        "size": 128,
        "source": SOURCE,
        "decoding": "decoded whole",
        "machine": MACHINE,
        "versions": {"topfive": "0.1.0", "torch": "2.13"},
        "command": ["topfive", "train"],
        "world": 1,
        "made": "2026-11-24T11:34:16",
    }
    return Stated(**{**values, **more})


def measured(
    epochs: int,
    every: int = 1,
    heads: int = 0,
    top5: bool = True,
    side: Any = lambda epoch: 128,
    seconds: float = 33.4,
    images: int = N,
) -> list[EpochRecord]:
    """Rows as they stand in rows.jsonl, best in the last epoch but one where there are three or more."""
    rows = []
    for epoch in range(1, epochs + 1):
        right = int(images * (0.81 - 0.6 / epoch)) - (images // 8 if epoch == epochs > 1 else 0)
        tested = epoch % every == 0 or epoch == epochs
        rows.append(
            {
                "epoch": epoch,
                "loss": 0.4 + 1.9 / epoch,
                "auxiliary_losses": [0.7 + 1.7 / epoch + n / 10 for n in range(heads)],
                "train_accuracy": 0.88 - 0.6 / epoch,
                "train_top5": 0.98 - 0.3 / epoch if top5 else None,
                "scores": {"images": images, "correct1": right, "correct5": right + 400 if top5 else None}
                if tested
                else None,
                "lr": 0.1 * (1 - epoch / (epochs + 0.01)),
                "side": side(epoch),
                "seconds": seconds * epoch,
                "images_per_second": 3000.25 + epoch,
                "data_wait": 0.0234,
                "first_gradient": 0.31,
                "last_gradient": 1.27,
                "memory_bytes": 2_058_000_000 + epoch,
                "note": "",
            }
        )
    return msgspec.convert(rows, list[EpochRecord])


def by_hand(right: int, n: int) -> tuple[float, float]:
    """The two p at which the distance to the observed share is 1.96 standard deviations of p itself."""

    def root(low: float, high: float) -> float:
        for _ in range(200):
            middle = (low + high) / 2
            outside = abs(right / n - middle) > 1.959964 * math.sqrt(middle * (1 - middle) / n)
            low, high = (middle, high) if outside == (low < right / n and high <= right / n) else (low, middle)
        return low

    return root(0.0, right / n), root(right / n, 1.0)


def cells(page: str) -> list[list[str]]:
    """The cells of a markdown table."""
    lines = [line for line in page.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def said(html: str) -> str:
    """What people read of a page."""
    text = re.sub(r"<(style|script)\b.*?</\1>", "", html, flags=re.DOTALL)
    text = re.sub(r"<[^>]+>", " ", text)
    for entity, letter in (("&lt;", "<"), ("&gt;", ">"), ("&#39;", "'"), ("&#34;", '"'), ("&amp;", "&")):
        text = text.replace(entity, letter)
    return re.sub(r"\s+", " ", text)


# One run


def test_interval_is_wilsons() -> None:
    assert interval(5, 10) == pytest.approx((0.2366, 0.7634), abs=5e-5)  # Newcombe 1998 and every textbook after it
    assert interval(0, 10) == pytest.approx((0.0, 0.2775), abs=5e-5)
    for right, n in ((3191, 3925), (250, 359), (1, 50_000)):
        assert interval(right, n) == pytest.approx(by_hand(right, n), abs=1e-6)


def test_table_has_the_numbers_of_the_rows() -> None:
    rows = measured(6, heads=2, side=lambda epoch: 64 if epoch < 4 else 96)
    section = run_section(stated(6), rows)
    head, _, *lines = cells(tables.markdown([section]))
    assert len(lines) == 6
    for row, line in zip(rows, lines, strict=True):
        scores = row.scores
        low, high = by_hand(scores.correct1, N)
        expected = {
            "epoch": str(row.epoch),
            "side (px)": str(row.side),
            "loss": f"{row.loss:.3f}",
            "auxiliary": "/".join(f"{loss:.2f}" for loss in row.auxiliary_losses),
            "training top-1/5 (%)": f"{100 * row.train_accuracy:.1f}/{100 * row.train_top5:.1f}",
            "top-1 (%)": f"{100 * scores.correct1 / N:.1f}",
            "95 % interval": f"{100 * low:.1f}-{100 * high:.1f}",
            "top-5 (%)": f"{100 * scores.correct5 / N:.1f}",
            "rate (/s)": f"{row.images_per_second:,.0f}",
            "wait (%)": "2.3",
            "gradient 1st/last": "0.31/1.27",
            "peak (MB)": "2,058",
            "time (m:s)": f"{int(row.seconds + 0.5) // 60:02}:{int(row.seconds + 0.5) % 60:02}",
        }
        found = dict(zip(head, line, strict=True))
        assert float(found.pop("lr")) == pytest.approx(row.lr, rel=0.05)
        assert found == expected
    above = " ".join(section.paragraphs)
    assert "1-crop 128x128" in above and f"n = {N:,}" in above


@pytest.mark.parametrize("seconds", [2.0, 400.0, 40_000.0])
@pytest.mark.parametrize("heads", [0, 1, 2])
@pytest.mark.parametrize("sides", [(128, 128), (64, 299)])
def test_table_fits_a_terminal_and_says_what_it_leaves_out(seconds: float, heads: int, sides: tuple[int, int]) -> None:
    rows = measured(20, heads=heads, seconds=seconds, side=lambda epoch: sides[epoch > 10])
    text = tables.text([run_section(stated(20), rows)])
    lines = text.splitlines()
    assert max(map(len, lines)) <= 100
    assert sum(bool(re.match(r" +\d+ ", line)) for line in lines) == 20  # none is broken in two
    assert ("2,058" in "".join(line for line in lines if "MB" not in line)) != ("2,058 MB" in text)
    assert ("gradient" in lines[4] + lines[5] + lines[6]) or "--format markdown" in text


def test_top5_is_not_given_below_six_classes_and_nothing_where_nothing_was_evaluated() -> None:
    rows = measured(4, every=2, top5=False)
    head, _, *lines = cells(tables.markdown([run_section(stated(4), rows)]))
    found = [dict(zip(head, line, strict=True)) for line in lines]
    assert [row["top-5 (%)"] for row in found] == ["", "n/a", "", "n/a"]
    assert [bool(row["top-1 (%)"]) for row in found] == [False, True, False, True]
    assert found[0]["training top-1 (%)"] == f"{100 * rows[0].train_accuracy:.1f}"
    flat = epoch_rows(rows)
    assert [row["top5_accuracy"] for row in flat] == [None] * 4
    assert [row["images"] for row in flat] == [None, N, None, N]


@pytest.mark.parametrize(("epochs", "every"), [(31, 1), (90, 1), (200, 4), (1000, 3)])
def test_a_long_run_shows_the_first_last_best_and_every_kth_epoch(epochs: int, every: int) -> None:
    rows = measured(epochs, every)
    scored = {row.epoch: row.scores.correct1 for row in rows if row.scores}
    best = max(scored, key=lambda epoch: (scored[epoch], -epoch))
    section = run_section(stated(epochs), rows)
    shown = [int(str(row["epoch"])) for row in section.rows]
    assert len(shown) <= 31 and shown == sorted(shown) and set(shown) == marked(rows)
    assert {1, best, epochs} <= set(shown)
    regular = [epoch for epoch in shown if epoch not in (1, best, epochs)]
    assert len({b - a for a, b in pairwise(regular) if not a < best < b}) == 1
    assert set(regular) <= set(scored)
    (told,) = (point for point in section.points if point.startswith(f"{epochs} epochs, shown"))
    assert f"the best ({best})" in told
    assert int(re.findall(r"every (\d+)", told)[0]) == regular[1] - regular[0]


def test_answer_is_one_sentence_with_interval_protocol_and_n() -> None:
    rows = measured(12)
    right, best = rows[-1].scores.correct1, rows[-2].scores.correct1
    low, high = by_hand(right, N)
    assert answer(stated(), rows) == (
        f"resnet-18 reaches {100 * right / N:.1f} % Top-1 ({100 * low:.1f}-{100 * high:.1f}, 1-crop 128x128, "
        f"n = 3,925) on imagenette after 12 epochs, 6 min 41 s on 2 cores; the best was "
        f"{100 * best / N:.1f} % after epoch 11"
    )
    assert "after 5 of 12 epochs" in answer(stated(), rows[:5])
    assert "Top-1 in training on imagenette after 1 of 12 epochs" in answer(stated(), measured(12, every=4)[:1])
    gpu = stated(machine={**MACHINE, "device": "cuda", "processor": "NVIDIA H100"}, world=4)
    assert "on NVIDIA H100, 4 processes" in answer(gpu, rows)
    assert [duration(seconds) for seconds in (59.99, 3599.6, 7199.6)] == ["1 min 00 s", "1 h 00 min", "2 h 00 min"]


def test_rows_for_machines_are_flat_and_notes_are_told() -> None:
    rows = measured(3, heads=2)
    rows[1] = replace(rows[1], note="the loss is still at ln(10)", first_gradient=math.inf, last_gradient=None)
    flat = epoch_rows(rows)
    assert all(not isinstance(value, (list, dict, tuple)) for row in flat for value in row.values())
    assert msgspec.json.decode(tables.json(flat))["rows"] == flat
    assert [row["auxiliary_loss_2"] for row in flat] == [row.auxiliary_losses[1] for row in rows]
    section = run_section(stated(3), rows)
    assert section.points[0] == "epoch 2: the loss is still at ln(10)"
    assert section.rows[1]["gradient\n1st/last"] == "n/a/n/a"


def test_a_run_interrupted_in_its_first_epoch_says_so(tmp_path: Path) -> None:
    section = run_section(stated(), [])
    assert section.paragraphs == ["resnet-18 on imagenette was stopped in its first epoch: nothing was measured."]
    assert not section.rows and not section.points
    page = write(tmp_path / "run", stated(), [], "topfive train resnet-18 imagenette").read_text("utf-8")
    assert "stopped in its first epoch" in said(page) and "<svg" not in page and "a3e8dc0f0a286b2d" in page
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["report.html"]


def test_a_run_of_another_topfive_is_refused() -> None:
    for odd in (stated(recipe={"momentum": 0.9}), stated(source={"name": "pets"})):
        with pytest.raises(RefusedError, match="by another version of topfive"):
            run_section(odd, [])


# Figure and page


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with everything in it."""
    folder = tmp_path_factory.mktemp("run")
    rows = measured(8, heads=1, every=2, side=lambda epoch: 64 if epoch < 5 else 96)
    rows[2] = replace(rows[2], note="the loss is still at ln(2)")
    recipe = msgspec.to_builtins(recipes_of_papers.get("resnet-cifar", None))
    page = write(folder, stated(recipe={**recipe, "epochs": 8}), rows, "topfive train resnet-18 imagenette")
    assert page == folder / "report.html"
    return folder


def test_page_and_figures_are_written_whole(folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == ["curves.png", "curves.svg", "report.html"]
    assert (folder / "curves.png").read_bytes()[:4] == b"\x89PNG"
    assert (folder / "report.html").stat().st_mode & 0o777 == 0o666 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_page_is_well_formed_and_needs_nothing_else(folder: Path) -> None:
    page = (folder / "report.html").read_text("utf-8")
    reader = Reader(page.replace("<wbr>", ""))
    assert reader.open == []
    ids = [attributes["id"] for _, attributes in reader.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in reader.elements:
        assert not {"src", "srcset", "xlink:href"} & set(attributes)
        assert str(attributes.get("href", "#")).startswith("#")
    assert "default-src 'none'" in page and len(reader.all("script")) == 1


def test_page_answers_first_and_then_tells_everything(folder: Path) -> None:
    page = (folder / "report.html").read_text("utf-8")
    order = [page.index(mark) for mark in ("<h1>", "<svg", 'id="table"', 'id="recipe"', 'id="how"')]
    assert order == sorted(order)
    text = said(page)
    for told in ("topfive train resnet-18 imagenette", "a3e8dc0f0a286b2d", "/data/imagenette",
                 "train/ and val/ as they lie", "EXIF orientation is ignored",
                 "decoded whole", "AMD EPYC, 2 cores", "torch 2.13", "1-crop 128x128",
                 "9,469 training and 3,925 validation images", "n02 (dog)", "epoch 3: the loss is still at ln(2)",
                 "2026-11-24 11:34:16", "§4.2: 128 images", "[0.5,0.75]"):  # fmt: skip
        assert told in text
    fields = re.findall(r'<tr><th scope="row" data-sort="([^"]+)"', page)
    assert fields == [row["field"] for row in _fields()]


def _fields() -> list[dict[str, Any]]:
    from topfive.recipes.plan import field_rows

    return field_rows(recipes_of_papers.get("resnet-cifar", None))


def test_page_has_the_numbers_of_the_rows_and_a_point_for_every_evaluation(folder: Path) -> None:
    page = (folder / "report.html").read_text("utf-8")
    rows = measured(8, heads=1, every=2, side=lambda epoch: 64 if epoch < 5 else 96)
    names = re.findall(r'<span class="words">([^<]+)</span>', page.split("<tbody>")[0])
    assert names[0] == "Epoch" and "Auxiliary loss 1" in names
    for row in rows:
        line = page.split(f'<tr id="row-point-{row.epoch}"')[1].split("</tr>")[0]
        values = [re.sub("<small>.*", "", cell) for cell in re.findall(r"<td[^>]*>(.*?)</td>", line)]
        found = dict(zip(names[1:], values, strict=True))
        scores = row.scores
        assert found["validation Top-1"] == (f"{100 * scores.correct1 / N:.1f}" if scores else "")
        assert found["validation Top-5"] == (f"{100 * scores.correct5 / N:.1f}" if scores else "")
        assert found["Top-1 in training"] == f"{100 * row.train_accuracy:.1f}"
        assert found["Loss"] == f"{row.loss:.3f}"
        assert found["Auxiliary loss 1"] == f"{row.auxiliary_losses[0]:.3f}"
        assert found["Side"] == str(row.side) and found["Memory"] == "2,058"
        assert f'id="curves-wide-point-{row.epoch}"' in page or not scores
        if scores:
            low, high = by_hand(scores.correct1, N)
            assert f"<small>{100 * low:.1f}–{100 * high:.1f}</small>" in line
    points = [
        attributes["data-point"]
        for attributes in Reader(page.replace("<wbr>", "")).all("g")
        if "data-point" in attributes
    ]
    assert sorted(points) == sorted(2 * [f"point-{epoch}" for epoch in (2, 4, 6, 8)])


def test_names_from_outside_stay_text(tmp_path: Path) -> None:
    source = {
        **SOURCE,
        "name": EVIL,
        "where": f'"{EVIL}',
        "classes": [EVIL, "<img src=x>"],
        "notes": [EVIL],
        "words": [],
    }
    run = stated(name=EVIL, source=source, versions={EVIL: EVIL})
    rows = measured(2)
    rows[0] = replace(rows[0], note=EVIL)
    page = write(tmp_path, run, rows, f"topfive train '{EVIL}'").read_text("utf-8")
    reader = Reader(page.replace("<wbr>", ""))
    assert len(reader.all("script")) == 1 and reader.all("img") == [] and reader.open == []
    assert "\x1b" not in page
    assert said(page).count("<script>alert(1)</script>") >= 5
    assert "\x1b" not in tables.text([run_section(run, rows)])


def test_a_page_that_cannot_be_written_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "report.html").write_text("old")

    def full(*_: object, **__: object) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(trained, "render", full)
    with pytest.raises(ResourceError, match="No space left on device"):
        write(tmp_path, stated(), [], "topfive train")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"report.html": "old"}


def test_what_a_killed_write_leaves_goes_at_the_next_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: None)
    write(tmp_path, stated(), [], "topfive train")
    (left,) = (path.name for path in tmp_path.iterdir() if path.name != "report.html")
    assert runs.LEFTOVER.fullmatch(left)


@pytest.mark.parametrize("narrow", [False, True], ids=["wide", "narrow"])
@pytest.mark.parametrize("rows", [measured(1), measured(60, heads=2), measured(9, 4, side=lambda epoch: 32 * epoch)],
                         ids=["one", "many", "sides"])  # fmt: skip
def test_no_label_of_the_curves_lies_on_another_or_outside(rows: list[Any], narrow: bool) -> None:
    figure = training_figures.training(rows, narrow=narrow)
    renderer = FigureCanvasAgg(figure).get_renderer()
    texts = [text for text in figure.texts if text.get_text()]
    boxes = [text.get_window_extent(renderer) for text in texts]
    for (a, one), (b, other) in combinations(zip(texts, boxes, strict=True), 2):
        assert not one.overlaps(other), (a.get_text(), b.get_text())
    assert all(box.x0 >= 0 and box.x1 <= figure.bbox.x1 and box.y0 >= 0 and box.y1 <= figure.bbox.y1 for box in boxes)
    wanted = {"validation", "training", *(f"auxiliary {n + 1}" for n in range(len(rows[0].auxiliary_losses)))}
    assert wanted <= {text.get_text() for text in texts}


def test_curves_draw_the_rows_and_their_title_is_computed_from_them() -> None:
    rows = measured(6)
    accuracies, losses, rates = training_figures.training(rows).axes
    drawn = {tuple(map(float, line.get_ydata())) for axes in (accuracies, losses, rates) for line in axes.lines}
    for key, factor in (("top1_accuracy", 100), ("train_top1_accuracy", 100), ("loss", 1), ("lr", 1)):
        assert tuple(factor * row[key] for row in epoch_rows(rows)) in drawn
    first, best, last = (f"{rows[at].top1:.1f}" for at in (0, 4, 5))
    assert (
        training_figures.learnt(rows)
        == f"Validation Top-1 rises from {first} to {last} %, with {best} % at its best in epoch 5"
    )
    assert training_figures.learnt(rows[:5]).endswith(f"to {best} %, 7.0 points below training")
    assert "there is no validation yet" in training_figures.learnt(measured(8, every=4)[:2])


# Many runs


def kept(root: Path, folder: str, epochs: int, rows: list[Any], step: int = 0, **more: Any) -> Path:
    """A run's folder as a training that has ended left it."""
    with open_run(root / folder, stated(epochs, **more)) as run:
        run.write_rows(rows)
        if step:
            run.save(step, {"model": b"1"}, {})
    return root / folder


STEPS = 148  # of an epoch: 9469 images in batches of 64, the last of 61


def test_runs_are_listed_best_first_and_what_is_wrong_is_a_row(tmp_path: Path) -> None:
    good = measured(4)
    kept(tmp_path, "finished", 4, good, 4 * STEPS)
    kept(tmp_path, "stopped", 12, measured(9), 9 * STEPS + 7)
    kept(tmp_path, "deep/first", 12, [])
    kept(tmp_path, "killed-before-the-last-save", 3, measured(3), 2 * STEPS, recipe=stated(3).recipe, name="other")
    damaged = kept(tmp_path, "damaged", 4, good, 4 * STEPS) / "run.json"
    damaged.write_bytes(damaged.read_bytes().replace(b"resnet-18", b"resnet-19"))
    kept(tmp_path, "torn", 4, good)
    (tmp_path / "torn/rows.jsonl").write_bytes(b'{"epoch":1,"loss"')
    kept(tmp_path, "newer", 4, good, recipe={"name": "later", "tomorrow": 1})
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign/run.json").write_text('{"name": "someone else\'s"}')
    (tmp_path / "no-run").mkdir()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    rows = runs_rows(tmp_path)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    states = {row.run: row.state for row in rows}
    assert list(states) == [
        "stopped",
        "finished",
        "killed-before-the-last-save",
        "deep/first",
        "damaged",
        "foreign",
        "newer",
        "torn",
    ]
    assert list(states.values()) == ["interrupted", "finished", "interrupted", "interrupted", *["damaged"] * 4]
    assert [(row.name, row.source) for row in rows[1:3]] == [("resnet-18", "imagenette"), ("other", "imagenette")]
    first, second = rows[:2]
    best = max(row.scores.correct1 for row in measured(9))
    assert first.best_accuracy == best / N and first.last_accuracy == measured(9)[-1].scores.correct1 / N
    assert (first.best_low, first.best_high) == pytest.approx(by_hand(best, N), abs=1e-6)
    assert (first.best_epoch, first.images, first.epochs_done, first.epochs) == (8, N, 9, 12)
    assert (first.step, first.steps, second.step, second.steps) == (
        9 * STEPS + 7,
        12 * STEPS,
        4 * STEPS,
        4 * STEPS,
    )
    assert second.top5_accuracy == good[2].scores.correct5 / N and second.seconds == good[-1].seconds
    page = tables.text([runs_section(rows)])
    flat = re.sub(r"\s+", " ", page)
    assert max(map(len, page.splitlines())) <= 100
    for told in (
        "is damaged: it is not as it was written",
        "rows.jsonl is damaged",
        "newer: the run was written by another version of topfive",
    ):
        assert told in flat.replace("- ", "")
    assert [line.split()[0] for line in page.splitlines() if re.match(r"(stopped|finished) ", line)] == [
        "stopped",
        "finished",
    ]
    machines = [msgspec.to_builtins(row) for row in rows]
    assert tables.csv(machines).count("\n") == 9 and msgspec.json.decode(tables.json(machines))["rows"] == machines


def test_rows_of_another_shape_are_damage_and_not_a_bug(tmp_path: Path) -> None:
    for n, line in enumerate((b"[1, 2]", b'{"epoch": "one"}', b"\xff", b'{"note": "\xff"}', b'{"epoch": 1}')):
        kept(tmp_path, f"run-{n}", 4, [])
        (tmp_path / f"run-{n}/rows.jsonl").write_bytes(line)
    assert [row.state for row in runs_rows(tmp_path)] == ["damaged"] * 5
    assert runs_rows(tmp_path / "nowhere") == []


def test_a_lock_is_seen_without_being_taken(tmp_path: Path) -> None:
    if not Path("/proc/locks").exists():
        pytest.skip("the kernel does not list locks here")
    run = open_run(tmp_path / "run", stated())
    assert [row.state for row in runs_rows(tmp_path)] == ["running"]
    asked = f"from topfive.report import runs as r; print(r.runs_rows(r.Path({str(tmp_path)!r}))[0].state)"
    other = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert other.stdout == "running\n"
    run.close()
    assert [row.state for row in runs_rows(tmp_path)] == ["interrupted"]
    (tmp_path / "run/lock").write_text("17 another-host")
    assert [row.state for row in runs_rows(tmp_path)] == ["unfinished"]
    assert "unfinished" in tables.text([runs_section(runs_rows(tmp_path))])


def test_names_of_folders_do_not_reach_the_terminal_raw(tmp_path: Path) -> None:
    kept(tmp_path, "a\x1b[31m", 4, measured(2), name="\x1b[2J", source={**SOURCE, "name": "b\x07"})
    damaged = tmp_path / "c\x1b]0;"
    damaged.mkdir()
    (damaged / "run.json").write_text("{}")
    text = tables.text([runs_section(runs_rows(tmp_path))])
    assert not set(text) & {"\x1b", "\x07"} and "\\x1b" in text


def test_listing_runs_needs_neither_torch_nor_matplotlib(tmp_path: Path) -> None:
    asked = (
        "import sys; from topfive.report import runs as r; r.runs_rows(r.Path('.'));"
        "print(sorted({'torch', 'matplotlib', 'jinja2'} & set(sys.modules)))"
    )
    told = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert told.stdout == "[]\n"
