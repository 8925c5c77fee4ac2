"""What version 1 left on the disk is still of use: run folders, checkpoints, comparisons, packs and predictions.

`data/version1.tar.xz` was made by topfive at 30e2456: a network of 126 weights, trained on 24 images of 12x12 pixels in
one go (`whole`) and interrupted in its tenth epoch (`half`), and a run by another recipe (`run`).
"""

import tarfile
from pathlib import Path

import msgspec
import pytest
import torch
from safetensors.torch import load_file

from topfive.cli import main
from topfive.data.opening import open_source
from topfive.results import predictions
from topfive.results.runs import load_run
from topfive.results.version1 import recipe_of_now

MADE = Path(__file__).parent / "data" / "version1.tar.xz"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    with tarfile.open(MADE) as tar:
        tar.extractall(tmp_path, filter="data")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def weights(run: str) -> dict[str, torch.Tensor]:
    return load_file(max(Path(run, "checkpoints").glob("step-*")) / "model.safetensors")


@pytest.mark.usefixtures("folder")
def test_an_interrupted_run_of_version_1_ends_as_it_would_have() -> None:
    assert main(["resume", "half"]) == 0
    ours, theirs = weights("half"), weights("whole")
    assert ours.keys() == theirs.keys()
    # why not bit-identical: theirs was made on one processor, and the tests run on any
    assert all(torch.allclose(ours[name], theirs[name], rtol=1e-3, atol=1e-4) for name in theirs)


@pytest.mark.usefixtures("folder")
def test_a_model_of_version_1_predicts_what_it_did(tmp_path: Path) -> None:
    then = predictions.read("run-predictions.csv")
    assert main(["evaluate", "run", "pets", "--predictions", "now.csv", "--precision", "float32", "--out", "page"]) == 0
    now = predictions.read("now.csv")
    assert now.images == then.images and now.classes == then.classes
    assert abs(now.scores - then.scores).max() < 1e-5
    assert main(["predict", "run", "pets/val/cat/0.png"]) == 0


@pytest.mark.usefixtures("folder")
def test_runs_and_comparisons_of_version_1_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", ".", "--format", "json"]) == 0
    rows = msgspec.json.decode(capsys.readouterr().out)["rows"]
    assert {row["run"]: row["state"] for row in rows} == {"run": "finished", "whole": "finished", "half": "interrupted"}
    again = ["compare", "net.json", "--data", "pets", "--epochs", "1", "--size", "12", "--batch", "4"]
    assert main([*again, "--out", "comparison"]) == 2  # its rows have no seeds to compare by
    assert "earlier topfive: give another --out" in capsys.readouterr().err


@pytest.mark.usefixtures("folder")
def test_a_pack_of_version_1_is_a_source() -> None:
    packed, pets = open_source("packed"), open_source("pets")
    assert (len(packed.train), len(packed.val)) == (len(pets.train), len(pets.val)) == (16, 8)
    before = {path.name: path.read_bytes() for path in Path("packed").glob("*.tar")}
    assert main(["data", "pack", "pets", "packed", "--side", "8"]) == 0  # the same command: nothing is missing
    assert {path.name: path.read_bytes() for path in Path("packed").glob("*.tar")} == before
    assert main(["train", "net.json", "packed", "--recipe", "quick", "--epochs", "1", "--size", "8"]) == 0


@pytest.mark.usefixtures("folder")
def test_names_of_fields_are_those_of_today() -> None:
    recipe = load_run(Path("half")).recipe
    assert recipe["accumulation_steps"] == 2 and recipe["ema_decay"] == 0.5
    assert recipe["augmentation"]["hflip"] is False and recipe["optimizer"]["beta1"] == 0.8  # type: ignore[index]
    assert recipe["augmentation"]["crop"]["type"] == "PaddedCrop"  # type: ignore[index]
    assert recipe_of_now(recipe) == recipe
