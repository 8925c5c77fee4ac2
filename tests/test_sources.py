"""Folders as people make them: what is a class, what is held out, what is refused and in which words."""

import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from topfive.data.decoding import Unreadable, read_picture, square, to_rgb
from topfive.data.sources import digits, folder
from topfive.errors import DataError, ResourceError


def picture(path: Path, colour: tuple[int, int, int] = (200, 30, 30), size: tuple[int, int] = (20, 16)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)
    return path


def classes(root: Path, *names: str, count: int = 5) -> Path:
    for name in names:
        for i in range(count):
            picture(root / name / f"{i}.png")
    return root


def test_one_folder_is_split_class_by_class_and_always_the_same(tmp_path: Path) -> None:
    source = folder(classes(tmp_path, "a", "b", count=10))
    assert source.classes == ("a", "b")
    assert [sum(item.label == label for item in source.held_out) for label in (0, 1)] == [2, 2]
    assert not {item.name for item in source.train} & {item.name for item in source.held_out}
    assert folder(tmp_path) == folder(tmp_path) or folder(tmp_path).held_out == source.held_out


def test_held_out_classes_are_matched_by_name_not_by_order(tmp_path: Path) -> None:
    classes(tmp_path / "train", "10", "2", "cat")
    classes(tmp_path / "val", "cat", "10")
    source = folder(tmp_path)
    for item in (*source.train, *source.held_out):
        assert source.classes[item.label] == item.name.split("/")[1]
    assert any("'2'" in note for note in source.notes)


def test_a_folder_called_train_may_be_the_class_of_trains(tmp_path: Path) -> None:
    assert folder(classes(tmp_path, "bus", "car", "train")).classes == ("bus", "car", "train")


@pytest.mark.parametrize("held_out", ["val", "validation", "test", "Valid"])
def test_the_usual_names_of_a_held_out_folder_are_known(tmp_path: Path, held_out: str) -> None:
    classes(tmp_path / "train", "a", "b")
    classes(tmp_path / held_out, "a", "b", count=3)
    assert len(folder(tmp_path).held_out) == 6


def test_hidden_folders_are_no_classes_and_are_listed(tmp_path: Path) -> None:
    classes(tmp_path, "a", "b", ".ipynb_checkpoints", "__MACOSX")
    source = folder(tmp_path)
    assert source.classes == ("a", "b") and ".ipynb_checkpoints" in " ".join(source.notes)


def test_a_link_back_up_does_not_count_pictures_twice(tmp_path: Path) -> None:
    classes(tmp_path, "a", "b")
    (tmp_path / "a" / "again").symlink_to(tmp_path)
    assert len(folder(tmp_path).train) + len(folder(tmp_path).held_out) == 10


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda root: root / "missing", "there is no folder"),
        (lambda root: picture(root / "x.png"), "is a file"),
        (lambda root: picture(root / "loose.png").parent, "1 pictures but no folders"),
        (lambda root: classes(root, "only"), "one class only ('only')"),
        (lambda root: (root / "a").mkdir() or (root / "b").mkdir() or root, "no picture was found"),
        (lambda root: (classes(root, "a", "b"), (root / "c").mkdir())[0], "no picture of 'c'"),
        (lambda root: classes(classes(root, "a", "b"), "A"), "two folders for one class"),
        (lambda root: classes(root, "a", "b", count=1), "single picture"),
        (
            lambda root: classes(classes(root / "train", "a", "b") and root / "val", "a", "zebra").parent,
            "val/ has 'zebra', which train/ lacks",
        ),
        (
            lambda root: classes(root, unicodedata.normalize("NFC", "é"), unicodedata.normalize("NFD", "é")),
            "two folders for one class",
        ),
    ],
)
def test_what_cannot_be_a_source_is_refused_in_one_sentence(tmp_path: Path, make: object, says: str) -> None:
    with pytest.raises(DataError, match=r"^[^\n]*$") as raised:
        folder(make(tmp_path))  # type: ignore[operator]
    assert says in str(raised.value) and raised.value.exit_code == 3


def test_a_folder_that_may_not_be_read_is_a_matter_of_permission(tmp_path: Path, monkeypatch: object) -> None:
    def refuse(self: Path) -> object:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "iterdir", refuse)  # type: ignore[attr-defined]  # root reads everything
    with pytest.raises(ResourceError, match="read permission"):
        folder(tmp_path)


def test_unreadable_pictures_say_why(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (200, 200, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "whole.jpg")
    whole = (tmp_path / "whole.jpg").read_bytes()
    cases = {"empty.jpg": b"", "text.jpg": b"<html>not a picture</html>", "cut.jpg": whole[: len(whole) // 2]}
    for name, content in cases.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "folder.jpg").mkdir()
    reasons = {}
    for name in (*cases, "folder.jpg", "gone.jpg"):
        with pytest.raises(Unreadable) as raised:
            read_picture(tmp_path / name)
        reasons[name] = raised.value.reason
    assert reasons["empty.jpg"] == "empty file"
    assert "not a picture" in reasons["text.jpg"] and "truncated" in reasons["cut.jpg"]
    assert reasons["folder.jpg"] == reasons["gone.jpg"] == "not a regular file"


def test_unusual_modes_become_rgb_knowingly(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    grey = np.asarray(to_rgb(Image.fromarray(ramp)))
    assert len(np.unique(grey)) >= 250  # Pillow's own conversion leaves 5 levels
    clear = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    assert np.asarray(to_rgb(clear)).min() == 255
    turned = Image.new("RGB", (20, 10))
    exif = turned.getexif()
    exif[274] = 6
    turned.save(tmp_path / "turned.jpg", exif=exif)
    assert read_picture(tmp_path / "turned.jpg").size == (10, 20)


def test_the_centre_square_is_the_centre(tmp_path: Path) -> None:
    wide = Image.new("RGB", (40, 20), (0, 0, 255))
    wide.paste((255, 0, 0), (10, 0, 30, 20))
    seen = square(wide, 8)
    # the antialiasing of the outermost cells reaches over the edge of the square, as it does when resizing comes first
    assert seen.shape == (8, 8, 3) and (seen[:, 1:-1] == (255, 0, 0)).all()


def test_the_digits_are_what_scikit_learn_ships() -> None:
    source = digits()
    assert len(source.train) + len(source.held_out) == 1797 and len(source.classes) == 10
    assert not source.mirror  # a mirrored 2 is no 2


def test_a_source_is_left_as_it_was(tmp_path: Path) -> None:
    classes(tmp_path / "data", "a", "b")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    copy = shutil.copytree(tmp_path / "data", tmp_path / "copy")
    source = folder(tmp_path / "data")
    for item in source.train:
        source.read(item)
    shutil.rmtree(copy)
    assert {path: path.stat().st_mtime_ns for path in before if path != tmp_path} == {
        path: time for path, time in before.items() if path != tmp_path
    }
