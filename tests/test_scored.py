"""Which images judge a run: those that it was never trained on, or a word says that it was."""

import csv
import gzip
import json
import os
import re
import shutil
from collections.abc import Iterator
from math import sqrt
from pathlib import Path

import msgspec
import numpy as np
import pytest
from PIL import Image
from test_checkpoints import TINY

from topfive.cli import main
from topfive.data.class_folders import folder
from topfive.data.sources import split
from topfive.errors import RefusedError
from topfive.results import predictions
from topfive.results.runs import IMAGES, load_run, newest_in
from topfive.results.scored import run_of
from topfive.results.seals import sealed

NAMES = ("across", "down", "flat")


def image(path: Path, seed: int) -> Path:
    """Noise around a gradient that tells the class, of a size in bytes of its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 90 + seed % 60, (32, 32, 3))
    ramp = np.linspace(0, 100, 32)
    levels = {"across": ramp[None, :, None], "down": ramp[:, None, None]}.get(path.parent.name, 50.0)
    Image.fromarray((levels + noise).astype(np.uint8)).save(path)
    return path


def classes(root: Path, count: int, seed: int = 0, names: tuple[str, ...] = NAMES) -> Path:
    for label, name in enumerate(names):
        for i in range(count):
            image(root / name / f"{i}.png", seed + 100 * label + i)
    return root


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """data/, which was split when run/ was trained on it, and both/ with train/ and val/, on which other/ was."""
    root = tmp_path_factory.mktemp("scored")
    (root / "tiny.json").write_bytes(msgspec.json.encode(TINY))
    classes(root / "data", 15)
    classes(root / "both" / "train", 10)
    classes(root / "both" / "val", 4, 1000)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        for data, out in (("data", "run"), ("both", "other")):
            command = ["train", "tiny.json", data, "--size", "32", "--recipe", "quick", "--batch", "8", "--quiet"]
            assert main([*command, "--epochs", "2", "--out", out]) == 0
    return root


@pytest.fixture
def root(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The same as the working folder; whatever a test does there is undone."""
    monkeypatch.chdir(made)
    kept = shutil.copytree(made, tmp_path / "kept")
    yield made
    for path in made.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.copytree(kept, made, dirs_exist_ok=True)


def scored(capsys: pytest.CaptureFixture[str], out: Path, *arguments: str) -> tuple[set[str], str]:
    """The images that were scored, and everything that was said."""
    table = out / "table.csv"
    assert main(["evaluate", *arguments, "--out", str(out), "--predictions", str(table), "--format", "json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["rows"][0]["images"] == len(predictions.read(table).images)
    return set(predictions.read(table).images), said.out + said.err


# --- the split ------------------------------------------------------------------------------------------------------


def test_an_image_that_is_added_moves_no_other(tmp_path: Path) -> None:
    names = [(f"{label}/{i}.jpg", label) for label in range(3) for i in range(60)]
    train, val = map(set, split(names))
    for more in ([("0/new.jpg", 0)], [(f"{i % 3}/added{i}.jpg", i % 3) for i in range(100)]):
        now, aside = map(set, split([*more, *names]))
        assert train <= now and val <= aside
    assert {item.name for item in val} == {item.name for item in split(names[::-1])[1]}


def test_every_class_keeps_images_on_both_sides_and_a_fifth_is_val() -> None:
    for count in range(2, 12):
        for label in range(40):
            train, val = split([(f"{label}/{i}.jpg", 0) for i in range(count)])
            assert train and val and len(train) + len(val) == count
    many = 20_000
    share = len(split([(f"a/{i}.jpg", 0) for i in range(many)])[1]) / many
    assert abs(share - 0.2) < 4 * sqrt(0.2 * 0.8 / many)


# --- a run's own source ---------------------------------------------------------------------------------------------


def test_a_run_is_judged_by_the_images_that_it_was_validated_on_whatever_was_added(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    then = folder(root / "data")
    wanted = {item.name for item in then.val}
    assert scored(capsys, tmp_path, "run")[0] == wanted
    gone, changed = sorted(wanted)[:2]
    (root / "data" / gone).unlink()
    image(root / "data" / changed, 77).write_bytes((root / "data" / changed).read_bytes() + b"more")
    for i in range(40):
        image(root / "data" / "flat" / f"new{i}.png", 500 + i)
    for arguments in (["run"], ["run", "data"], ["run", f"{root}/data/"]):
        images, said = scored(capsys, tmp_path, *arguments)
        assert images == wanted - {gone, changed}
        assert "40 added, 1 gone, 1 changed" in said
    last = newest_in(Path("run")).folder
    assert scored(capsys, tmp_path, str(last))[0] == wanted - {gone, changed}
    with gzip.open(root / "run" / IMAGES, "rt", newline="") as file:
        assert {row["path"] for row in csv.DictReader(file) if row["part"] == "validation"} == wanted


def test_a_run_finds_its_source_from_anywhere_and_says_where_it_looked(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another folder of the same relative name is not it; a source that was moved is named."""
    wanted = {item.name for item in folder(root / "data").val}
    classes(tmp_path / "data", 5, 3000)
    monkeypatch.chdir(tmp_path)
    images, said = scored(capsys, tmp_path / "out", f"{root}/run")
    assert images == wanted and "warning" not in said
    assert main(["resume", f"{root}/run", "--quiet"]) == 0
    shutil.move(root / "data", tmp_path / "moved")
    for command, option in (("evaluate", f"topfive evaluate {root}/run NEW"), ("resume", "--data NEW")):
        assert main([command, f"{root}/run"]) == 3
        assert f"no longer at {root}/data" in (said := capsys.readouterr().err) and option in said
    assert main(["resume", f"{root}/run", "--data", "moved", "--quiet"]) == 0
    capsys.readouterr()
    images, said = scored(capsys, tmp_path / "out", f"{root}/run", "moved")
    assert images == wanted and "warning" not in said
    assert main(["resume", f"{root}/run", "--data", "data"]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert "source.fingerprint" in said and "another folder" not in said and "--data" in said
    shutil.copytree(tmp_path / "data", root / "data")
    for path in (root / "data").rglob("*.png"):
        path.write_bytes(path.read_bytes() + b"another one")
    assert main(["evaluate", f"{root}/run"]) == 3
    assert "holds none of the" in capsys.readouterr().err


def test_images_that_a_run_was_trained_on_are_not_scored_without_a_word(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, said = scored(capsys, tmp_path, "other", "both/train")
    assert "trained on 30 of the 30 scored images" in said
    shutil.copytree(root / "data", tmp_path / "copy")
    image(tmp_path / "copy" / "down" / "new.png", 900)
    count = len(folder(root / "data").train)
    _, said = scored(capsys, tmp_path, "run", str(tmp_path / "copy"))
    assert f"trained on {count} of the 46 scored images" in said
    assert "warning" not in scored(capsys, tmp_path, "other", "both/val")[1]


def test_a_run_of_before_the_split_was_recorded_is_evaluated_with_a_warning(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stated = load_run(Path("run"))
    source = {key: value for key, value in stated.source.items() if key != "path"} | {"fingerprint": "of before"}
    old = msgspec.to_builtins(msgspec.structs.replace(stated, source=source))
    Path("run/run.json").write_bytes(sealed({key: old[key] for key in old if key not in ("reading", "start")}))
    Path("run", IMAGES).unlink()
    kept = run_of("run")
    assert kept and kept.images is None
    checkpoint = newest_in(Path("run")).folder
    about = tmp_path / "m.safetensors"
    shutil.copy(checkpoint / "model.safetensors", about)
    image(root / "data" / "down" / "new.png", 900)
    for arguments in (["run"], [str(about), "data"]):
        _, said = scored(capsys, tmp_path, *arguments)
        assert "warning" in said and "is not recorded" in said


def test_a_damaged_record_is_refused(root: Path) -> None:
    path = Path("run", IMAGES)
    data = path.read_bytes()
    path.write_bytes(data[:-5])
    kept = run_of("run")
    with pytest.raises(RefusedError, match=r"images\.csv\.gz is damaged"):
        assert kept and kept.images


# --- a folder to be scored ------------------------------------------------------------------------------------------


def test_a_folder_without_train_is_scored_whole_and_one_with_it_on_val(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images, said = scored(capsys, tmp_path, "other", "both")
    assert len(images) == 12 and "evaluating the 12 validation images of both" in said
    images, said = scored(capsys, tmp_path, "other", "both/val")
    assert len(images) == 12 and "evaluating all 12 images of val" in said
    one = classes(tmp_path / "one", 3, 4000, ("down",))
    images, said = scored(capsys, tmp_path, "other", str(one))
    assert images == {"down/0.png", "down/1.png", "down/2.png"} and "evaluating all 3 images of one" in said
    test = classes(tmp_path / "far" / "test", 2, 5000, ("flat", "across"))
    for where in (test, test.parent):
        images, said = scored(capsys, tmp_path, "other", str(where))
        assert len(images) == 4 and "evaluating all 4 images" in said
    single = classes(tmp_path / "single", 1, 6000)
    images, said = scored(capsys, tmp_path, "run", str(single))
    assert len(images) == 3 and "warning: a single scored image: 'across', 'down', 'flat'" in said
    shutil.copy(newest_in(Path("run")).folder / "model.safetensors", tmp_path / "m.safetensors")
    wanted = {item.name for item in folder(root / "data").val}
    assert scored(capsys, tmp_path, str(tmp_path / "m.safetensors"), "data")[0] == wanted


def test_which_checkpoint_is_used_is_said(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    last, best = newest_in(Path("run")), newest_in(Path("run"), "best")
    _, said = scored(capsys, tmp_path, "run")
    assert main(["predict", "run", str(root / "data" / "down" / "1.png")]) == 0
    for told in (said, capsys.readouterr().err):
        assert f"using the last checkpoint, of step {last.step}" in told
        assert (str(best.folder) in told) if best.step != last.step else ("which is also the best" in told)
    assert main(["evaluate", str(best.folder), "--out", str(tmp_path)]) == 0
    newer = shutil.copytree(last.folder, Path("run/checkpoints/step-99999999"))
    os.truncate(newer / "model.safetensors", 1000)
    capsys.readouterr()
    _, said = scored(capsys, tmp_path, "run")
    assert re.search(rf"warning: .*step-99999999.* is damaged.*; {last.folder.name} is taken instead", said)


def test_more_epochs_for_a_run_are_a_new_run_that_starts_with_it(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", "tiny.json", "data", "--size", "32", "--recipe", "quick", "--batch", "8", "--out", "run"]
    assert main([*command, "--epochs", "4"]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert "recipe.epochs 2 -> 4" in said and "--start run" in said and "cannot be stretched" in said
