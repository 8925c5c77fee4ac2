"""Folders as people make them: what is a class, what is held out, what is refused and in which words."""

import os
import shutil
import socket
import unicodedata
from pathlib import Path

import pytest
from PIL import Image

from topfive.data.decoding import Unreadable, square
from topfive.data.opening import digits, open_source
from topfive.data.sources import folder
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
    assert all(0 < sum(item.label == label for item in source.held_out) < 10 for label in (0, 1))
    assert not {item.name for item in source.train} & {item.name for item in source.held_out}
    assert folder(tmp_path).held_out == source.held_out


NFC, NFD = (unicodedata.normalize(form, "caf\u00e9") for form in ("NFC", "NFD"))
# part -> classes, with five pictures each in train and three elsewhere; "" is one folder that is split here
LAYOUTS: dict[str, dict[str, list[str]]] = {
    "train and val": {"train": ["a", "b", "c"], "val": ["a", "b", "c"]},
    "train and validation": {"train": ["a", "b", "c"], "validation": ["c", "b", "a"]},
    "train and valid": {"train": ["a", "b"], "valid": ["a", "b"]},
    "train and test": {"train": ["a", "b"], "test": ["a", "b"]},
    "Training and Testing": {"Training": ["a", "b"], "Testing": ["a", "b"]},
    "train, val and test": {"train": ["a", "b"], "val": ["a", "b"], "test": ["a", "b"]},
    "only train": {"train": ["a", "b", "c"]},
    "one folder": {"": ["a", "b", "c"]},
    "10 before 2": {"train": ["0", "1", "10", "2", "9"], "val": ["10", "2", "9"]},
    "one folder with numbers": {"": [str(i) for i in range(12)]},
    "a class missing in val": {"train": ["a", "b", "c", "d"], "val": ["b", "d"]},
    "an empty class in val": {"train": ["a", "b", "c"], "val": ["c", "b", "a!"]},
    "hidden folders": {"train": ["a", "b", ".ipynb_checkpoints"], "val": ["b", "a", "__MACOSX", ".git"]},
    "NFC against NFD": {"train": ["abc", NFC, "x"], "val": [NFD, "x"]},
    "unicode": {"train": ["\u732b", "\u72ac", "\U0001f431 cat", "z"], "val": ["z", "\U0001f431 cat", "\u72ac"]},
    "spaces and signs": {"train": ["a b", "-a", "#c", "a,b", "%s", "{x}"], "val": ["{x}", "#c", "-a", "%s"]},
    "nested": {"train": ["a/deep/er", "a/other", "b/x"], "val": ["b/x/y", "a/deep"]},
    "a class called train": {"": ["bus", "car", "train"]},
    "upper and lower case": {"train": ["Zebra", "ape", "Cow"], "val": ["ape", "Cow", "Zebra"]},
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_an_oracle_is_right_in_every_layout_of_class_folders(tmp_path: Path, layout: str, kind: str) -> None:
    """The colour of a picture tells its class; the label must be that class, in the order of the training classes."""
    colours: dict[tuple[int, int, int], str] = {}
    for part, names in LAYOUTS[layout].items():
        for name in names:
            top = unicodedata.normalize("NFC", name.split("/")[0])
            known = {value: key for key, value in colours.items()}
            colour = known.get(top, (len(colours) * 9 + 5, 100, 7))
            colours[colour] = top
            if name.endswith("!"):
                (tmp_path / "data" / part / name[:-1]).mkdir()
                continue
            for i in range(5 if part in ("", "train", "Training") else 3):
                picture(tmp_path / "data" / part / name / f"{i}.png", colour)
    where = tmp_path / "data"
    if kind == "zip":
        where = Path(shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path / "data"))
    source = open_source(str(where))
    assert source.train and source.held_out
    for item in (*source.train, *source.held_out):
        red, green, blue = source.read(item).getpixel((3, 3))
        assert colours[red, green, blue] == source.classes[item.label]
    visible = {colours[c] for c in colours if not colours[c].startswith((".", "__")) and not colours[c].endswith("!")}
    assert set(source.classes) == visible
    if "missing" in layout:
        assert any("val/ has no pictures of 'a', 'c'" in note for note in source.notes)
    if "hidden" in layout:
        assert any(".ipynb_checkpoints" in note and "__MACOSX" in note for note in source.notes)


def test_a_link_back_up_does_not_count_pictures_twice(tmp_path: Path) -> None:
    classes(tmp_path, "a", "b")
    (tmp_path / "a" / "again").symlink_to(tmp_path)
    assert len(folder(tmp_path).train) + len(folder(tmp_path).held_out) == 10


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda root: root / "missing", "there is no folder or file"),
        (lambda root: picture(root / "x.png"), "is a file"),
        (lambda root: picture(root / "loose.png").parent, "1 pictures but no folders"),
        (lambda root: classes(root, "only"), "one class only ('only')"),
        (lambda root: classes(root / "inside", "a", "b").parent, "did you mean"),
        (
            lambda root: picture(classes(root / "train", "a", "b").parent / "val" / "1.png").parents[1],
            "no class folders",
        ),
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
        open_source(str(make(tmp_path)))  # type: ignore[operator]
    assert says in str(raised.value) and raised.value.exit_code == 3


def test_links_devices_and_pipes_neither_hang_nor_count_twice(tmp_path: Path) -> None:
    classes(tmp_path / "data", "a", "b")
    other = classes(tmp_path / "elsewhere", "c", count=4)
    (tmp_path / "data" / "c").symlink_to(other / "c")  # a class that lies elsewhere is a class
    (tmp_path / "data" / "a" / "loop").symlink_to(tmp_path / "data")
    (tmp_path / "data" / "b" / "twin").symlink_to(tmp_path / "data" / "a")
    (tmp_path / "data" / "a" / "dangling.jpg").symlink_to(tmp_path / "nowhere")
    (tmp_path / "data" / "a" / "link.png").symlink_to(tmp_path / "data" / "b" / "0.png")
    os.mkfifo(tmp_path / "data" / "a" / "pipe.jpg")
    with socket.socket(socket.AF_UNIX) as held:
        held.bind(str(tmp_path / "data" / "a" / "socket.png"))
        source = folder(tmp_path / "data")
        items = (*source.train, *source.held_out)
        assert len(items) == 5 + 5 + 4 + 4 and source.classes == ("a", "b", "c")
        reasons = {}
        for item in items:
            try:
                source.read(item)
            except Unreadable as error:
                reasons[Path(item.name).name] = error.reason
        assert reasons == {
            "dangling.jpg": "the link leads nowhere",
            "pipe.jpg": "not a regular file",
            "socket.png": "not a regular file",
        }
    assert any("'a/loop" in note and "'b/twin" in note for note in source.notes)


def test_a_name_of_bytes_or_control_characters_is_read_and_a_class_of_it_refused(tmp_path: Path) -> None:
    classes(tmp_path, "a", "b")
    strange = os.fsencode(tmp_path / "a") + b"/\xff\n\x1b[31m.png"
    shutil.copyfile(tmp_path / "a" / "0.png", strange)
    source = folder(tmp_path)
    for item in (*source.train, *source.held_out):
        source.read(item)
    os.mkdir(os.fsencode(tmp_path) + b"/c\xff")
    shutil.copyfile(strange, os.fsencode(tmp_path) + b"/c\xff/1.png")
    with pytest.raises(DataError, match=r"no plain text: 'c\\udcff'"):
        folder(tmp_path)


def test_files_that_are_not_read_are_counted_by_kind(tmp_path: Path) -> None:
    classes(tmp_path, "a", "b")
    for i in range(3):
        (tmp_path / "a" / f"{i}.HEIC").write_bytes(b"x")
    assert any(note.startswith("3 .heic files are not read") for note in folder(tmp_path).notes)


def test_a_folder_that_may_not_be_read_is_a_matter_of_permission(tmp_path: Path, monkeypatch: object) -> None:
    def refuse(path: str) -> object:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr("topfive.data.stores.os.scandir", refuse)  # type: ignore[attr-defined]  # root reads everything
    with pytest.raises(ResourceError, match="read permission"):
        folder(tmp_path)


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
