"""Our own results are nobody's images, and no command writes into a source."""

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest
from PIL import Image
from test_checkpoints import TINY

from topfive.cli import main
from topfive.data.class_folders import folder
from topfive.data.files import write_whole
from topfive.data.outputs import MARK, mark
from topfive.data.unlabelled import images as below
from topfive.errors import DataError


def image(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A source of two classes, which is the working folder; a network for it lies beside."""
    (tmp_path / "tiny.json").write_bytes(msgspec.json.encode(TINY))
    for label, name in enumerate("ab"):
        for i in range(12):
            image(tmp_path / "P" / name / f"{i}.png", 100 * label + i)
    monkeypatch.chdir(tmp_path / "P")
    return tmp_path / "P"


def state(root: Path) -> dict[Path, tuple[int, bytes]]:
    return {p: (p.stat().st_mtime_ns, p.read_bytes() if p.is_file() else b"") for p in (root, *root.rglob("*"))}


@pytest.mark.parametrize(
    "signs", [(MARK,), ("run.json", "lock"), ("setting.json", "rows.jsonl"), ("pack.json",)], ids=lambda signs: signs[0]
)
@pytest.mark.parametrize("where", ["runs/one", "one", "a/one", "runs/deeper/one"])
def test_a_folder_of_results_in_a_source_is_none_of_its_classes(
    inside: Path, signs: tuple[str, ...], where: str
) -> None:
    """Those of today have a mark; runs, comparisons and packs of before are known by what they hold."""
    before = folder(inside)
    image(inside / where / "curves.png")
    image(inside / where / "checkpoints" / "x.png")
    for sign in signs:
        (inside / where / sign).write_text("{}")
    source = folder(inside)
    assert (source.classes, source.fingerprint) == (before.classes, before.fingerprint)
    assert any("results of topfive" in note and where in note for note in source.notes)
    assert len(below([str(inside)])[0]) == 24
    if signs != ("pack.json",):
        with pytest.raises(DataError, match="holds results of topfive"):
            folder(inside / where)


def test_a_folder_of_nothing_but_pages_of_data_check_is_no_empty_class(inside: Path) -> None:
    before = folder(inside)
    (inside / "runs").mkdir()
    (inside / "runs" / "check-data.html").write_text("<html>")
    source = folder(inside)
    assert (source.classes, source.fingerprint) == (before.classes, before.fingerprint)
    assert any("results of topfive: 'runs'" in note for note in source.notes)
    (inside / "runs" / "404.html").write_text("<html>")  # pages in the place of images that were not downloaded
    with pytest.raises(DataError, match="no image of 'runs'"):
        folder(inside)


def test_a_users_folder_is_never_marked(tmp_path: Path) -> None:
    image(tmp_path / "mine" / "1.png")
    for name in ("mine", "new", "new/below"):
        mark(tmp_path / name)
    assert not (tmp_path / "mine" / MARK).exists() and (tmp_path / "new" / MARK).exists()


COMMANDS = {
    "check": ["data", "check", "."],
    "compare": ["compare", "hog-svm", "--data", ".", "--size", "32"],
    "train": ["train", "../tiny.json", ".", "--recipe", "quick", "--epochs", "1", "--size", "32"],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_results_whose_place_would_be_in_the_source_go_beside_it_and_the_command_works_twice(
    inside: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before, said = state(inside), []
    for _ in range(2):
        assert main([*COMMANDS[command], "--format", "json"]) in (0, 3)  # a check of noise may find something
        said.append(json.loads(capsys.readouterr().out))
    assert state(inside) == before
    pages = list((inside.parent / "runs").rglob("*.html"))
    assert pages and all((page.parent / MARK).exists() for page in pages)
    assert said[0] == said[1]
    if command == "train":  # and what is evaluated goes there as well
        assert main(["evaluate", *map(str, (inside.parent / "runs").iterdir()), "."]) == 0
        assert state(inside) == before and list((inside.parent / "runs").glob("evaluate-*/report.html"))


@pytest.mark.parametrize(
    "arguments",
    [
        [*COMMANDS["check"], "--report", "a/page.html"],
        [*COMMANDS["compare"], "--out", "here"],
        [*COMMANDS["compare"], "--report", "page.html"],
        [*COMMANDS["train"], "--out", "../P/here"],
        [*COMMANDS["train"], "--out", "here", "--plan"],
        ["data", "pack", ".", "here"],
    ],
    ids=lambda arguments: " ".join(arguments[-2:]),
)
def test_a_place_in_the_source_is_refused(
    inside: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    before = state(inside)
    assert main(arguments) == 2
    assert "lies inside the source" in capsys.readouterr().err.splitlines()[-1]
    assert state(inside) == before


def test_results_may_be_read_by_whoever_may_read_new_files(tmp_path: Path) -> None:
    (tmp_path / "new").touch()
    write_whole(tmp_path / "rows.jsonl", b"{}\n")
    assert (tmp_path / "rows.jsonl").stat().st_mode == (tmp_path / "new").stat().st_mode
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "rows.jsonl"]
