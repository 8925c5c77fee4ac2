"""One set of images in every layout that people have: an oracle must be right about every validation image in each.

The oracle knows an image by its pixels and its class by the name that the builder of the test gave it; it answers in
the order that every library uses, the sorted names. Whatever shifts labels makes it wrong.
"""

import hashlib
import io
import os
import random
import re
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat
from torch import Tensor, nn

from topfive.cli import main
from topfive.data.imagenet import without
from topfive.data.opening import open_source
from topfive.data.packing import pack
from topfive.data.sources import Source
from topfive.engine.benchmark.machine import this_machine
from topfive.engine.training.loading import prepare
from topfive.engine.training.validation import evaluate
from topfive.errors import DataError, ResourceError, TopfiveError, UsageError
from topfive.recipes.augmentations import Centre

IMAGENETTE = Path(__file__).parents[2] / "shared" / "data" / "imagenette.tar"
SIDE = 48


@pytest.fixture(autouse=True)
def caches_of_the_test(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


@dataclass
class Made:
    """Twenty classes, five training and three validation images each, as JPEG bytes by WordNet id."""

    train: dict[str, dict[str, bytes]]
    val: dict[str, bytes]  # in the order of the file names
    truth: dict[str, str]  # file -> WordNet id
    numbers: dict[str, int]  # WordNet id -> ILSVRC2012_ID, in an order of the kit's own

    @property
    def wnids(self) -> list[str]:
        return sorted(self.train)


@pytest.fixture(scope="module")
def made() -> Made:
    shuffled = random.Random(7)
    wnids = [f"n{shuffled.randrange(10**8):08}" for _ in range(20)]
    images = iter(_images(20 * 8))
    train = {wnid: {f"{wnid}_{i * 37}.JPEG": next(images) for i in range(5)} for wnid in wnids}
    order = [wnid for wnid in wnids for _ in range(3)]
    shuffled.shuffle(order)
    names = [f"ILSVRC2012_val_{i:08}.JPEG" for i in range(1, len(order) + 1)]
    numbers = list(range(1, 21))
    shuffled.shuffle(numbers)
    return Made(train, {name: next(images) for name in names}, dict(zip(names, order)), dict(zip(wnids, numbers)))


def _images(count: int) -> list[bytes]:
    """Real images where they are at hand, else noise; no two alike."""
    if IMAGENETTE.exists():
        with tarfile.open(IMAGENETTE) as tar:
            members = (member for member in tar if member.isreg() and member.name.endswith(".JPEG"))
            return [tar.extractfile(member).read() for member, _ in zip(members, range(count))]  # type: ignore[union-attr]
    noise = np.random.default_rng(0)
    found = []
    for _ in range(count):
        file = io.BytesIO()
        Image.fromarray(noise.integers(0, 255, (8, 9, 3), dtype=np.uint8)).resize((72, 64)).save(file, "JPEG")
        found.append(file.getvalue())
    return found


def _tar(files: dict[str, bytes], compressed: str = "") -> bytes:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode=f"w:{compressed}") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return held.getvalue()


def _lay(root: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def _kit(made: Made) -> dict[str, bytes]:
    fields = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O"), ("gloss", "O"), ("num_children", "O")]
    leaves = sorted((number, wnid) for wnid, number in made.numbers.items())
    synsets = np.array(
        [(number, wnid, f"word of {wnid}, other word", "a gloss", 0) for number, wnid in leaves]
        + [(number, f"n9{number:07}", "an inner node", "a gloss", 2) for number in range(21, 30)],
        dtype=fields,
    )
    file = io.BytesIO()
    savemat(file, {"synsets": synsets.reshape(-1, 1)})
    lines = "".join(f"{made.numbers[wnid]}\n" for _, wnid in sorted(made.truth.items()))
    return {"data/meta.mat": file.getvalue(), "data/ILSVRC2012_validation_ground_truth.txt": lines.encode()}


def _class_folders(made: Made) -> dict[str, bytes]:
    files = {f"train/{wnid}/{name}": data for wnid, inside in made.train.items() for name, data in inside.items()}
    return files | {f"val/{made.truth[name]}/{name}": data for name, data in made.val.items()}


def as_downloaded(root: Path, made: Made) -> str:
    inner = {f"{wnid}.tar": _tar(files) for wnid, files in made.train.items()}
    unordered = dict(random.Random(1).sample(sorted(made.val.items()), len(made.val)))
    kit = {f"ILSVRC2012_devkit_t12/{name}": data for name, data in _kit(made).items()}
    files = {"ILSVRC2012_img_train.tar": _tar(inner), "ILSVRC2012_img_val.tar": _tar(unordered)}
    return str(_lay(root, {**files, "ILSVRC2012_devkit_t12.tar.gz": _tar(kit, "gz")}))


def class_folders(root: Path, made: Made) -> str:
    return str(_lay(root, _class_folders(made)))


def flat_val(root: Path, made: Made) -> str:
    files = {name: data for name, data in _class_folders(made).items() if name.startswith("train/")}
    kit = {f"ILSVRC2012_devkit_t12/{name}": data for name, data in _kit(made).items()}
    return str(_lay(root, {**files, **{f"val/{name}": data for name, data in made.val.items()}, **kit}))


def kaggle(root: Path, made: Made) -> str:
    tree = "ILSVRC/Data/CLS-LOC"
    files = {f"{tree}/{name}": data for name, data in _class_folders(made).items() if name.startswith("train/")}
    files |= {f"{tree}/val/{name}": data for name, data in made.val.items()}
    files |= {f"{tree}/test/ILSVRC2012_test_00000001.JPEG": next(iter(made.val.values()))}
    rows = [f"{name.removesuffix('.JPEG')},{wnid} 1 2 3 4 {wnid} 5 6 7 8" for name, wnid in made.truth.items()]
    random.Random(2).shuffle(rows)
    files["LOC_val_solution.csv"] = "\n".join(["ImageId,PredictionString", *rows]).encode()
    files["LOC_synset_mapping.txt"] = "\n".join(f"{wnid} word of {wnid}, other word" for wnid in made.wnids).encode()
    return str(_lay(root, files))


def tar_of_class_folders(root: Path, made: Made) -> str:
    wrapped = {f"./imagenet/{name}": data for name, data in _class_folders(made).items()}
    return str(_lay(root, {"all.tar": _tar(wrapped)}) / "all.tar")


def compressed_tar(root: Path, made: Made) -> str:
    return str(_lay(root, {"all.tar.xz": _tar(_class_folders(made), "xz")}) / "all.tar.xz")


def zip_of_class_folders(root: Path, made: Made) -> str:
    root.mkdir(parents=True)
    with zipfile.ZipFile(root / "all.zip", "w") as zipped:
        for i, (name, data) in enumerate(_class_folders(made).items()):
            zipped.writestr(name, data, zipfile.ZIP_DEFLATED if i % 2 else zipfile.ZIP_STORED)
    return str(root / "all.zip")


def shards(root: Path, made: Made) -> str:
    """The labels of WebDataset's ImageNet shards are indices into the sorted WordNet ids."""
    samples = [(wnid, name, data, "train") for wnid, inside in made.train.items() for name, data in inside.items()] + [
        (made.truth[name], name, data, "val") for name, data in made.val.items()
    ]
    random.Random(3).shuffle(samples)
    files: dict[str, dict[str, bytes]] = {f"{p}-{i}.tar": {} for p in ("train", "val") for i in range(2)}
    for i, (wnid, name, data, part) in enumerate(samples):
        key = name.removesuffix(".JPEG")
        shard = files[f"{part}-{i % 2}.tar"]
        shard[f"{key}.cls"] = str(made.wnids.index(wnid)).encode()
        shard[f"{key}.jpg"] = data
    laid = {f"imagenet-{name}": _tar(inside) for name, inside in files.items()}
    return str(_lay(root, {**laid, "classes.txt": "\n".join(made.wnids).encode()}))


def packed(root: Path, made: Made) -> str:
    source = open_source(class_folders(root / "original", made))
    pack(source, root / "pack", 1000, lambda *_: None, workers=1)
    shutil.rmtree(root / "original")
    return str(root / "pack")


LAYOUTS: list[Callable[[Path, Made], str]] = [
    as_downloaded, class_folders, flat_val, kaggle, tar_of_class_folders, compressed_tar, zip_of_class_folders, shards,
    packed,
]  # fmt: skip


class Oracle(nn.Module):
    """Knows every validation image by its pixels, and answers in the order of the sorted WordNet ids."""

    def __init__(self, made: Made) -> None:
        super().__init__()
        self.known: dict[bytes, int] = {}
        for name, data in made.val.items():
            pixels = np.asarray(_square(Image.open(io.BytesIO(data)).convert("RGB")))
            self.known[pixels.tobytes()] = made.wnids.index(made.truth[name])
        self.classes = len(made.wnids)

    def forward(self, pixels: Tensor) -> Tensor:
        rows = [self.known[np.ascontiguousarray(p).tobytes()] for p in pixels.permute(0, 2, 3, 1).numpy()]
        return nn.functional.one_hot(torch.tensor(rows), self.classes).float()


def _square(image: Image.Image) -> Image.Image:
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.resize((SIDE, SIDE), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side))


def _pixels(source: Source) -> set[str]:
    return {hashlib.sha256(source.read(item).tobytes()).hexdigest() for item in (*source.train, *source.val)}


def _state(root: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path): (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in sorted(root.rglob("*"))
    }


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.__name__)
def test_an_oracle_is_always_right(layout: Callable[[Path, Made], str], made: Made, tmp_path: Path) -> None:
    where = layout(tmp_path / "source", made)
    before = _state(tmp_path / "source")
    source = open_source(where)
    assert list(source.classes) == made.wnids
    assert (len(source.train), len(source.val)) == (100, 60)
    data = prepare(source, SIDE, Centre())
    scores = evaluate(Oracle(made), data.val(), this_machine())
    assert (scores.images, scores.correct1) == (60, 60)
    originals = [*made.val.values(), *(data for inside in made.train.values() for data in inside.values())]
    decoded = (Image.open(io.BytesIO(data)).convert("RGB").tobytes() for data in originals)
    assert _pixels(source) == {hashlib.sha256(pixels).hexdigest() for pixels in decoded}
    for item in source.train:  # ILSVRC names a training file after its class
        assert source.classes[item.label] in item.name
    assert open_source(where) == source or open_source(where).fingerprint == source.fingerprint
    assert _state(tmp_path / "source") == before


def test_classes_in_words_come_from_the_kit(made: Made, tmp_path: Path) -> None:
    for layout in (as_downloaded, kaggle):
        source = open_source(layout(tmp_path / layout.__name__, made))
        assert source.words == tuple(f"word of {wnid}, other word" for wnid in made.wnids)


def test_the_blacklist_is_left_out_of_the_evaluation(made: Made, tmp_path: Path) -> None:
    source = open_source(as_downloaded(tmp_path / "source", made))
    (tmp_path / "list.txt").write_text("3\n17\n")
    fewer = without(source, tmp_path / "list.txt")
    gone = {item.name for item in source.val} - {item.name for item in fewer.val}
    assert gone == {"val/ILSVRC2012_val_00000003.JPEG", "val/ILSVRC2012_val_00000017.JPEG"}
    assert fewer.fingerprint != source.fingerprint
    with pytest.raises(UsageError, match="no list of image numbers"):
        without(source, tmp_path / "absent.txt")


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda root: (root / "ILSVRC2012_devkit_t12.tar.gz").unlink(), "not its development kit"),
        (lambda root: (root / "ILSVRC2012_img_val.tar").unlink(), "lacks ILSVRC2012_img_val.tar"),
        (lambda root: _cut(root / "ILSVRC2012_img_val.tar", 0.5), "the ground truth is of 60 images"),
        (lambda root: (root / "ILSVRC2012_img_train.tar").write_bytes(b"no tar at all" * 100), "is not a tar"),
    ],
)
def test_an_incomplete_imagenet_is_refused(
    made: Made, tmp_path: Path, spoil: Callable[[Path], object], says: str
) -> None:
    root = Path(as_downloaded(tmp_path / "source", made))
    spoil(root)
    with pytest.raises(DataError, match=says):
        open_source(str(root))


def test_a_kit_of_another_challenge_is_refused(made: Made, tmp_path: Path) -> None:
    other = Made({f"n{i:08}": {} for i in range(20)}, made.val, {}, {f"n{i:08}": i + 1 for i in range(20)})
    other.truth = {name: "n00000003" for name in made.truth}
    root = Path(flat_val(tmp_path / "source", made))
    _lay(root / "ILSVRC2012_devkit_t12", _kit(other))
    with pytest.raises(DataError, match="is none of the kit's 20 classes"):
        open_source(str(root))


def _cut(path: Path, share: float) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])


# --- archives of strangers ------------------------------------------------------------------------------------------


def _hostile(image: bytes) -> bytes:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as tar:

        def add(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", data: bytes = image) -> None:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, link
            info.size = len(data) if kind == tarfile.REGTYPE else 0
            tar.addfile(info, io.BytesIO(data) if info.size else None)

        for name in ("a", "b"):
            for i in range(5):
                add(f"{name}/{i}.jpg")
        add("../outside.jpg")
        add("/tmp/absolute.jpg")
        add("a/../../up.jpg")
        add("a/link.jpg", tarfile.SYMTYPE, "/etc/passwd")
        add("a/hard.jpg", tarfile.LNKTYPE, "a/0.jpg")
        add("a/device.jpg", tarfile.CHRTYPE)
        add("a/pipe.jpg", tarfile.FIFOTYPE)
    return held.getvalue()


def test_members_that_lead_out_are_counted_and_nothing_is_written(made: Made, tmp_path: Path) -> None:
    image = next(iter(made.val.values()))
    _lay(tmp_path / "source", {"bad.tar": _hostile(image)})
    with zipfile.ZipFile(tmp_path / "source" / "bad.zip", "w") as zipped:
        for name in ("a", "b"):
            for i in range(5):
                zipped.writestr(f"{name}/{i}.jpg", image)
        zipped.writestr("../outside.jpg", image)
        link = zipfile.ZipInfo("a/link.jpg")
        link.external_attr = 0o120777 << 16
        zipped.writestr(link, "/etc/passwd")
    before = _state(tmp_path)
    for name, out, other in (("bad.tar", 3, 4), ("bad.zip", 1, 1)):
        source = open_source(str(tmp_path / "source" / name))
        assert len(source.train) + len(source.val) == 10
        said = " ".join(open_source(str(tmp_path / "source" / name)).notes)
        assert f"{out} (paths outside the archive)" in said and f"{other} (links, devices" in said
        _pixels(source)
    assert _state(tmp_path) == before and not Path("/tmp/absolute.jpg").exists()


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"0.jpg": b"", "1.jpg": b"", "0.cls": b"0", "1.cls": b"1"}, "the sample '0' is torn apart, at 512 and"),
        ({"0.jpg": b"", "0.cls": b"0", "1.jpg": b""}, "the sample '1' at 2048 has no label"),
        ({"0.jpg": b"", "0.png": b"", "0.cls": b"0"}, "has two of 'image', at 512 and 1024"),
        ({"0.jpg": b"", "0.cls": b"cat"}, "the label 'cat' is no index of a class"),
        ({"0.jpg": b"", "0.cls": b"-1"}, "the label '-1' is no index"),
        ({"0.jpg": b"", "0.json": b"{"}, "the label of '0' cannot be read"),
        ({"readme.txt": b"hello"}, "holds no samples"),
    ],
)
def test_shards_that_are_out_of_order_are_refused_by_sample(tmp_path: Path, files: dict[str, bytes], says: str) -> None:
    _lay(tmp_path / "s", {"train-0.tar": _tar(files)})
    with pytest.raises(DataError, match=says):
        open_source(str(tmp_path / "s"))


def test_a_shard_that_is_cut_off_gives_what_is_whole_and_says_so(made: Made, tmp_path: Path) -> None:
    root = Path(shards(tmp_path / "source", made))
    whole = len(open_source(str(root)).train)
    _cut(root / "imagenet-train-0.tar", 0.6)
    with pytest.raises(DataError, match=r"has no (label|image)") if _torn(root) else _nothing():
        source = open_source(str(root))
        assert 0 < len(source.train) < whole and any("cut off" in note for note in source.notes)
        _pixels(source)


def _torn(root: Path) -> bool:
    """Whether the cut went between the two members of a sample."""
    with tarfile.open(root / "imagenet-train-0.tar") as tar:
        names = []
        try:
            for member in tar:
                if member.offset_data + member.size <= (root / "imagenet-train-0.tar").stat().st_size:
                    names.append(member.name)
        except tarfile.ReadError:
            pass
    return len(names) % 2 == 1


class _nothing:
    def __enter__(self) -> None: ...
    def __exit__(self, *_: object) -> None: ...


def test_shards_by_pattern_and_by_url(made: Made, tmp_path: Path) -> None:
    import fsspec

    root = Path(shards(tmp_path / "source", made))
    pattern = open_source(f"{root}/imagenet-{{train,val}}-*.tar".replace("{train,val}", "*"))
    assert (len(pattern.train), len(pattern.val)) == (100, 60)
    braces = open_source(f"{root}/imagenet-train-{{0..1}}.tar")
    assert len(braces.train) + len(braces.val) == 100 and "split here" in braces.split
    memory = fsspec.filesystem("memory")
    for path in root.glob("*.tar"):
        memory.pipe(f"/far/{path.name}", path.read_bytes())
    far = open_source("memory://far/imagenet-val-{0..1}.tar")
    assert len(far.train) + len(far.val) == 60
    near = open_source(f"{root}/imagenet-val-{{0..1}}.tar")
    assert _pixels(far) == _pixels(near)


# --- indexes and packs ----------------------------------------------------------------------------------------------


def test_an_index_is_made_anew_when_the_archive_changes_or_the_cache_is_damaged(made: Made, tmp_path: Path) -> None:
    where = Path(tar_of_class_folders(tmp_path / "source", made))
    first = open_source(str(where))
    pixels = _pixels(first)
    for kept in Path(os.environ["XDG_CACHE_HOME"]).rglob("*.msgpack"):
        kept.write_bytes(b"\x00 not an index")
    assert open_source(str(where)).fingerprint == first.fingerprint
    fewer = {name: data for name, data in _class_folders(made).items() if not name.endswith("_0.JPEG")}
    where.write_bytes(_tar(fewer))
    again = open_source(str(where))
    assert len(again.train) == 80 and _pixels(again) < pixels


def test_a_pack_goes_on_where_it_stopped_and_refuses_a_damaged_shard(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("topfive.data.packing.PER_SHARD", 30)
    source = open_source(class_folders(tmp_path / "source", made))
    target = tmp_path / "pack"

    def stop(doing: str, done: int, total: int) -> None:
        if done > 70:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pack(source, target, 40, stop, workers=1)
    with pytest.raises(DataError, match="not finished"):
        open_source(str(target))
    kept = {path.name: path.stat().st_mtime_ns for path in target.glob("*.tar")}
    assert 1 <= len(kept) < 6
    pack(source, target, 40, lambda *_: None, workers=1)
    assert {name: (target / name).stat().st_mtime_ns for name in kept} == kept
    again = open_source(str(target))
    assert [(len(again.train), len(again.val)), again.classes] == [(100, 60), source.classes]
    assert all(min(again.read(item).size) == 40 for item in again.train[:20])
    assert [item.label for item in again.val] == [item.label for item in source.val]

    shard = target / "held-out-00001.tar"
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    with pytest.raises(DataError, match=r"held-out-00001\.tar is damaged"):
        open_source(str(target))
    other, before = target / "train-00000.tar", (target / "train-00000.tar").stat()
    other.write_bytes(other.read_bytes()[:-1] + b"!")
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))  # as where a disk loses bits: it was verified before
    monkeypatch.chdir(tmp_path)
    assert main(["data", "check", "source", "--verify"]) == 2
    assert main(["data", "check", "pack", "--verify"]) == 3
    said = capsys.readouterr().err
    assert "2 of 6 shards do not match their hashes" in said
    for name in ("held-out-00001", "train-00000"):
        assert re.search(rf"{name}\.tar is damaged \(SHA-256 \w{{8}}, written was \w{{8}}\)", said)
    with pytest.raises(UsageError, match="holds another pack"):
        pack(source, target, 50, lambda *_: None, workers=1)


def test_what_could_not_be_packed_is_unreadable_in_the_pack_too(made: Made, tmp_path: Path) -> None:
    root = Path(class_folders(tmp_path / "source", made))
    bad = root / "val" / made.wnids[0] / "ILSVRC2012_val_00000061.JPEG"
    bad.write_bytes(b"")
    pack(open_source(str(root)), tmp_path / "pack", 40, lambda *_: None, workers=1)
    data = prepare(open_source(str(tmp_path / "pack")), 32, Centre())
    assert [(error.name.endswith(bad.name), error.reason) for error in data.unreadable.values()] == [
        (True, "empty file")
    ]


def test_a_pack_into_a_folder_of_something_else_is_refused(made: Made, tmp_path: Path) -> None:
    source = open_source(class_folders(tmp_path / "source", made))
    with pytest.raises(UsageError, match="is not empty"):
        pack(source, tmp_path / "source", 40, lambda *_: None)
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceError, match="cannot be written"):
        pack(source, tmp_path / "file" / "pack", 40, lambda *_: None)


@pytest.mark.parametrize(
    ("name", "content"),
    [("x.tar", b"\x01" * 5000), ("x.tar", b""), ("x.zip", b"PK nothing"), ("x.tar.gz", b"\x1f\x8bno"), ("x.bin", b"x")],
)
def test_an_archive_that_is_none_is_refused_in_one_sentence(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(TopfiveError, match=r"^[^\n]*x\.[^\n]*$") as raised:
        open_source(str(tmp_path / name))
    assert raised.value.exit_code == 3
