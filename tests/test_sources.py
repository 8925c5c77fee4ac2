"""Folders as people make them: what is a class, what is held out, what is refused and in which words."""

import io
import os
import shutil
import socket
import tarfile
import unicodedata
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from topfive.cli import main
from topfive.data import unlabelled as loose
from topfive.data.class_folders import folder
from topfive.data.decoding import Unreadable, decode, square
from topfive.data.opening import digits, open_source
from topfive.errors import DataError, ResourceError


def image(path: Path, colour: tuple[int, int, int] = (200, 30, 30), size: tuple[int, int] = (20, 16)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)
    return path


def classes(root: Path, *names: str, count: int = 5) -> Path:
    for name in names:
        for i in range(count):
            image(root / name / f"{i}.png")
    return root


def test_one_folder_is_split_class_by_class_and_always_the_same(tmp_path: Path) -> None:
    source = folder(classes(tmp_path, "a", "b", count=10))
    assert source.classes == ("a", "b")
    assert all(0 < sum(item.label == label for item in source.val) < 10 for label in (0, 1))
    assert not {item.name for item in source.train} & {item.name for item in source.val}
    assert folder(tmp_path).val == source.val


NFC, NFD = (unicodedata.normalize(form, "caf\u00e9") for form in ("NFC", "NFD"))
# part -> classes, with five images each in train and three elsewhere; "" is one folder that is split here
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
    """The colour of an image tells its class; the label must be that class, in the order of the training classes."""
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
                image(tmp_path / "data" / part / name / f"{i}.png", colour)
    where = tmp_path / "data"
    if kind == "zip":
        where = Path(shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path / "data"))
    source = open_source(str(where))
    assert source.train and source.val
    for item in (*source.train, *source.val):
        red, green, blue = source.read(item).getpixel((3, 3))
        assert colours[red, green, blue] == source.classes[item.label]
    visible = {colours[c] for c in colours if not colours[c].startswith((".", "__")) and not colours[c].endswith("!")}
    assert set(source.classes) == visible
    if "missing" in layout:
        assert any("val/ has no images of 'a', 'c'" in note for note in source.notes)
    if "hidden" in layout:
        assert any(".ipynb_checkpoints" in note and "__MACOSX" in note for note in source.notes)


@pytest.mark.parametrize(
    "below, kind", [("", "image, which is trained on and not"), ("train", "training image: 'rare'")]
)
def test_a_class_of_a_single_image_is_trained_on_and_named(tmp_path: Path, below: str, kind: str) -> None:
    root = classes(tmp_path / "data" / below, "a", "b")
    image(root / "rare" / "0.png")
    if below:
        classes(tmp_path / "data" / "val", "a", "b", "rare", count=2)
    source = open_source(str(tmp_path / "data"))
    assert [item.label for item in source.train].count(2) == 1
    assert ([item.label for item in source.val].count(2) == 2) == bool(below)
    (said,) = [note for note in source.notes if note.startswith("warning")]
    assert f"a single {kind}" in said and "'rare'" in said
    assert len(open_source(str(root), whole=True).val) == 11
    before = open_source(str(root))
    image(root / "rare" / "1.png")  # a second one moves no image of another class
    assert {item for item in open_source(str(root)).val if item.label < 2} == set(before.val)


def test_a_link_back_up_does_not_count_images_twice(tmp_path: Path) -> None:
    classes(tmp_path, "a", "b")
    (tmp_path / "a" / "again").symlink_to(tmp_path)
    assert len(folder(tmp_path).train) + len(folder(tmp_path).val) == 10


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda root: root / "missing", "there is no folder or file"),
        (lambda root: image(root / "x.png"), "is a file"),
        (lambda root: image(root / "loose.png").parent, "1 images but no folders"),
        (lambda root: classes(root, "only"), "one class only ('only')"),
        (lambda root: classes(root / "inside", "a", "b").parent, "did you mean"),
        (
            lambda root: image(classes(root / "train", "a", "b").parent / "val" / "1.png").parents[1],
            "no class folders",
        ),
        (lambda root: (root / "a").mkdir() or (root / "b").mkdir() or root, "no image was found"),
        (lambda root: (classes(root, "a", "b"), (root / "c").mkdir())[0], "no image of 'c'"),
        (lambda root: classes(classes(root, "a", "b"), "A"), "two folders for one class"),
        (lambda root: classes(root, "a", "b", count=1), "every class has a single image"),
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
        items = (*source.train, *source.val)
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
    for item in (*source.train, *source.val):
        source.read(item)
    os.mkdir(os.fsencode(tmp_path) + b"/c\xff")
    shutil.copyfile(strange, os.fsencode(tmp_path) + b"/c\xff/1.png")
    with pytest.raises(DataError, match=r"no plain text: 'c\\udcff'"):
        folder(tmp_path)


def saved(format: str, image: Image.Image | None = None) -> bytes:
    file = io.BytesIO()
    (image or Image.new("RGB", (20, 16), (30, 200, 30))).save(file, format)
    return file.getvalue()


HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"
BY_CONTENT = {
    "without": saved("PNG"), "1.jpe": saved("JPEG"), "2.jpg_large": saved("JPEG"), "3.pnm": saved("PPM"),
    "4.tga": saved("TGA"), "5.heic": saved("JPEG"), "6.webp~": saved("WEBP"), "7.1": saved("BMP"), "8.x": saved("GIF"),
    "9.frame": saved("TIFF"),
}  # fmt: skip
NO_IMAGES = {
    "photo.HEIC": (HEIC, "1 .heic (a HEIC image: convert it to JPEG or PNG)"),
    "photo": (HEIC, "1 without suffix (a HEIC image: convert it to JPEG or PNG)"),
    "raw.dng": (saved("TIFF"), "1 .dng (a camera's raw file: convert it to JPEG or PNG)"),  # opens as its thumbnail
    "list.txt": (b"P5 is a kind of PGM\n", "1 .txt (text)"),
    "BMW.md": (b"BMW makes cars\n", "1 .md (text)"),
    "nothing": (b"", "1 without suffix (empty)"),
}


def tar_of(files: dict[str, bytes], mode: str = "w") -> bytes:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode=mode) as tar:  # type: ignore[call-overload]
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return held.getvalue()


def zip_of(files: dict[str, bytes]) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as made:
        for name, data in files.items():
            made.writestr(name, data)
    return held.getvalue()


def laid(root: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


@pytest.mark.parametrize("kind", ["folder", "x.zip", "x.tar", "x.tar.gz"])
def test_what_is_an_image_is_told_by_content_for_every_command_and_the_rest_is_counted(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {f"{label}/{name}": data for label in ("a", "b") for name, data in BY_CONTENT.items()}
    files |= {f"a/{name}": data for name, (data, _) in NO_IMAGES.items()}
    where = tmp_path / kind
    if kind == "folder":
        laid(where, files)
    else:
        made = zip_of(files) if kind == "x.zip" else tar_of(files, "w:gz" if kind == "x.tar.gz" else "w")
        where.write_bytes(made)
    source = open_source(str(where))
    items = (*source.train, *source.val)
    assert sorted(item.name for item in items) == sorted(name for name in files if name.split("/")[1] in BY_CONTENT)
    for item in items:
        assert source.read(item).size == (20, 16)
    found, notes = loose.images([str(where)])
    assert sorted(one.name for one in found) == sorted(source.path(item) for item in items)
    for one in found:
        assert one.image(True).size == (20, 16)
    assert main(["data", "check", str(where), "--report", str(tmp_path / "page.html")]) in (0, 3)
    for said in (" ".join(source.notes), " ".join(notes), capsys.readouterr().err):
        assert "left out, no images: " in said
        for _, reason in NO_IMAGES.values():
            assert reason in said


def test_images_in_shards_are_told_by_content_too(tmp_path: Path) -> None:
    files = {}
    for i, (name, data) in enumerate(BY_CONTENT.items()):
        suffix = Path(name).suffix
        files |= {f"{i}.cls": str(i % 2).encode(), f"{i}{suffix}": data}
    source = open_source(str(laid(tmp_path, {"s.tar": tar_of({**files, "read.me": b"hello"})})))
    items = (*source.train, *source.val)
    assert len(items) == len(BY_CONTENT) and all(source.read(item).size == (20, 16) for item in items)
    assert any("1 .me (text)" in note for note in source.notes)
    with pytest.raises(DataError, match=r"'1' at \d+ has no image, only 1 .heic \(a HEIC image"):
        open_source(str(laid(tmp_path / "h", {"s.tar": tar_of({"1.heic": HEIC, "1.cls": b"0"})})))


def test_a_zip_of_windows_is_read_and_none_of_its_names_leads_out(tmp_path: Path) -> None:
    """Some programs write backslashes between folders; that is where names may lead out, too."""
    files = {f"train/{label}/{i}.png": saved("PNG") for label in ("cat", "dog") for i in range(5)}
    out = {"..\\x.png": b"", "C:\\x.png": b"", "\\x.png": b"", "train\\cat\\..\\..\\..\\x.png": b""}
    made = {name.replace("/", "\\"): data for name, data in {"train/": b"", **files}.items()}
    (tmp_path / "x.zip").write_bytes(zip_of({**made, **out}))
    source = open_source(str(tmp_path / "x.zip"))
    items = (*source.train, *source.val)
    assert source.classes == ("cat", "dog") and sorted(item.name for item in items) == sorted(files)
    assert all(source.read(item).size == (20, 16) for item in items)
    assert any("skipped: 4 (paths outside the archive)" in note for note in source.notes)


@pytest.mark.parametrize("files", [("a.1.jpg", "a.1.cls"), ("a.1.jpg", "a.2.jpg"), ("a.1.x", "b.x", "a.2.x")])
def test_a_name_with_dots_in_a_shard_is_refused_with_the_rule(tmp_path: Path, files: tuple[str, ...]) -> None:
    laid(tmp_path, {"s.tar": tar_of({"0.jpg": b"", "0.cls": b"0", **dict.fromkeys(files, b"")})})
    with pytest.raises(DataError, match=r"samples are named up to the first dot, and 'a\.\d\.\w+' has more"):
        open_source(str(tmp_path))


def test_patterns_that_no_shell_expanded_and_names_like_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("set{1..3}", "all*"):
        source = open_source(str(classes(tmp_path / name, "a", "b")))
        assert len(source.train) + len(source.val) == 10
    (tmp_path / "all*" / "a" / "[x].png").write_bytes(saved("PNG"))
    for pattern in ("all*/a/*", "set*", "*/a/*.png"):
        with pytest.raises(DataError, match=r"stands for shards, and .* is no tar: name the folder that the class"):
            open_source(pattern)
    for pattern, count in (("all*/a/[0-2].png", 3), ("set*/[ab]", 10), ("all*/a/[x].png", 1), ("none*.png", 1)):
        assert len(loose.images([pattern])[0]) == count


def test_an_empty_class_says_what_it_holds(tmp_path: Path) -> None:
    classes(tmp_path, "a", "b")
    laid(tmp_path, {f"c/{i}.heic": HEIC for i in range(3)})
    with pytest.raises(DataError, match=r"no image of 'c', only 3 .heic \(a HEIC image: convert"):
        folder(tmp_path)


def test_a_tga_without_bits_of_alpha_is_not_transparent(tmp_path: Path) -> None:
    clear = Image.new("RGBA", (20, 16), (30, 200, 30, 0))
    data = bytearray(saved("TGA", clear))
    assert data[17] & 15 == 8
    data[17] -= 8  # how many programs write 32 bits: the fourth byte means nothing
    assert decode(bytes(data), "x.tga").image.getpixel((3, 3)) == (30, 200, 30)
    assert decode(saved("TGA", clear), "x.tga").image.getpixel((3, 3)) == (255, 255, 255)
    with pytest.raises(Unreadable, match="truncated"):
        decode(bytes(data[:-100]), "x.tga")
    with pytest.raises(Unreadable, match="unknown content"):
        decode(bytes(data), "x.png")  # nothing tells a TGA but its name


@pytest.mark.parametrize("parts", [("train", "test"), ("Training", "val", "test"), ("train",), ("val", "test/a")])
def test_parts_of_a_set_are_no_classes(tmp_path: Path, parts: tuple[str, ...]) -> None:
    classes(tmp_path, *parts)
    first = parts[0] if "rain" in parts[0] else "train"
    with pytest.raises(DataError, match=rf"parts of a data set without classes.* for each class inside of {first}/"):
        folder(tmp_path)


def test_images_that_are_not_used_are_counted_by_where_they_lie(tmp_path: Path) -> None:
    for part in ("train", "val", "extra"):
        classes(tmp_path / part, "a", "b")
    laid(tmp_path, {f"{name}.png": saved("PNG") for name in ("x", "y", "train/z", "test/1", "test/2", "test/3")})
    source = folder(tmp_path)
    assert (len(source.train), len(source.val)) == (10, 10)
    (note,) = [note for note in source.notes if "not used" in note]
    for said in ("10 in extra/", "3 in test/", "2 beside the folders", "1 in train/"):
        assert said in note


def test_parts_made_of_links_count_each_file_once_in_each_part(tmp_path: Path) -> None:
    """Of links to folders elsewhere and beside them; a link back up is refused by name, whatever way it takes."""
    root = tmp_path / "data"
    classes(root / "raw", "cat", "dog", count=4)
    classes(tmp_path / "far", "cat", count=3)
    for part in ("train", "val"):
        (root / part).mkdir()
        for name in ("cat", "dog"):
            (root / part / name).symlink_to(Path("..") / "raw" / name)
    (root / "train" / "dog2").symlink_to(root / "raw" / "dog")
    (root / "val" / "cat").unlink()
    (root / "val" / "cat").symlink_to(tmp_path / "far" / "cat")
    (tmp_path / "far" / "cat" / "up").symlink_to(root)
    (root / "val" / "dog" / "all").symlink_to("/")
    source = folder(root)
    assert [len(part) for part in (source.train, source.val)] == [8, 7] and source.classes == ("cat", "dog")
    assert all(source.read(item) for item in (*source.train, *source.val))
    said = " ".join(source.notes)
    for name in ("val/cat/up", "raw/dog/all", "train/dog/all"):
        assert f"{name} (a link that leads back up)" in said
    assert "train/dog2 (a link to what is read already)" in said


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
    assert len(source.train) + len(source.val) == 1797 and len(source.classes) == 10
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


def test_labels_of_shards_that_are_numbers_are_one_thing_for_all(tmp_path: Path) -> None:
    """Classes called 1, 2 and 10 are also the classes 0, 1 and 2: labels are indices or names, all alike."""
    for labels, found in (("0121", "1 2 10 2"), (("1", "2", "10", "2"), "1 2 10 2"), ("1212", None)):
        files = {f"{i}.{kind}": data for i, label in enumerate(labels)
                 for kind, data in (("png", saved("PNG")), ("cls", label.encode()))}  # fmt: skip
        laid(tmp_path, {"s.tar": tar_of(files), "classes.txt": b"1\n2\n10\n"})
        if found is None:
            with pytest.raises(
                DataError, match="the label '1', which is the index of one class and the name of another"
            ):
                open_source(str(tmp_path), whole=True)
            continue
        source = open_source(str(tmp_path), whole=True)
        assert " ".join(source.classes[item.label] for item in source.val) == found


def test_predict_finds_the_images_of_shards(tmp_path: Path) -> None:
    files = {f"{i}.{kind}": data for i in range(4) for kind, data in (("png", saved("PNG")), ("cls", b"%d" % (i % 2)))}
    laid(tmp_path, {"s-0.tar": tar_of(files), "s-1.tar": tar_of(files)})
    wanted = sorted(f"{tmp_path}/s-{n}.tar/{i}.png" for n in range(2) for i in range(4))
    found, _ = loose.images([str(tmp_path)])
    assert sorted(one.name for one in found) == wanted and all(one.image(True).size == (20, 16) for one in found)
    assert len(loose.images([f"{tmp_path}/s-{{0..1}}.tar"])[0]) == 8
    assert [one.name for one in loose.images([f"{tmp_path}/s-1.tar"])[0]] == wanted[4:]
