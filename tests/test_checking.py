"""What `data check` finds: planted faults are all found, nothing else is, and what each would do is counted right."""

import base64
import io
import os
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import numpy as np
import pytest
from PIL import Image, ImageChops, ImageDraw, ImageEnhance, ImageOps

from topfive.data.check import checking, duplicates, neighbours, scanning
from topfive.data.check import signatures as signatures_of_check
from topfive.data.check.evidence import BIASES, NOTE, Finding
from topfive.data.class_folders import folder
from topfive.data.opening import digits
from topfive.data.sources import Item, Source
from topfive.data.stores import silent
from topfive.errors import ResourceError
from topfive.report import check as check_report
from topfive.report import tables
from topfive.report.pages import check as checked

SHARED = Path(__file__).parent.parent.parent / "shared" / "data"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def shape_image(random: np.random.Generator, side: int = 64) -> Image.Image:
    """A few shapes under noise: like no other one."""
    image = Image.new("RGB", (side, side), tuple(random.integers(0, 256, 3).tolist()))
    draw = ImageDraw.Draw(image)
    for _ in range(6):
        left, top = random.integers(-side // 8, side - 8, 2).tolist()
        width, height = random.integers(side // 8, side // 2, 2).tolist()
        shape = draw.ellipse if random.random() < 0.5 else draw.rectangle
        shape((left, top, left + width, top + height), fill=tuple(random.integers(0, 256, 3).tolist()))
    noisy = np.asarray(image) + random.normal(0, 12, (side, side, 1))
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def encoded(image: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file).convert("RGB")


def shifted(image: Image.Image, random: np.random.Generator) -> Image.Image:
    most = image.width // 16
    right, down = random.integers(1, most + 1, 2).tolist()
    moved = ImageChops.offset(image, right, down)
    moved.paste(0, (0, 0, image.width, down))
    moved.paste(0, (0, 0, right, image.height))
    return moved


def resized(image: Image.Image, random: np.random.Generator) -> Image.Image:
    scale = random.uniform(0.5, 1.5)
    return image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)


VARIANTS: dict[str, Callable[[Image.Image, np.random.Generator], Image.Image]] = {
    "resized": resized,
    "re-encoded": lambda image, random: encoded(image, 30),
    "mirrored": lambda image, random: ImageOps.mirror(image),
    "shifted": shifted,
    "brightened": lambda image, random: ImageEnhance.Brightness(image).enhance(random.uniform(1.15, 1.5)),
}


def near(
    images: list[Image.Image],
    labels: Sequence[int] = (),
    verdicts: Sequence[duplicates.Verdict] = (duplicates.COPY,),
) -> duplicates.Near:
    signatures = np.frombuffer(b"".join(map(signatures_of_check.signature, images)), np.uint8).reshape(len(images), -1)
    sides = [min(image.size) for image in images]
    found = duplicates.near(signatures, range(len(images)), sides, labels or [0] * len(images), images.__getitem__)
    return found._replace(pairs=tuple(pair for pair in found.pairs if pair.verdict in verdicts))


def planted(images: list[Image.Image], each: int, random: np.random.Generator) -> tuple[float, float, dict[str, float]]:
    """Recall, precision and recall of each kind, where `each` variants of every kind are added to `images`."""
    originals = random.permutation(len(images))[: each * len(VARIANTS)].tolist()
    kinds = [kind for kind in VARIANTS for _ in range(each)]
    copies = [VARIANTS[kind](images[i], random) for kind, i in zip(kinds, originals)]
    wanted = {(original, len(images) + n): kind for n, (original, kind) in enumerate(zip(originals, kinds))}
    found = {pair[:2] for pair in near(images + copies).pairs}
    by_kind = {k: sum(wanted[p] == k for p in found & wanted.keys()) / each for k in VARIANTS}
    hits = len(found & wanted.keys())
    return hits / len(wanted), hits / len(found), by_kind


def test_of_500_near_duplicates_among_5000_images_95_percent_are_found_at_99_percent_precision() -> None:
    random = np.random.default_rng(0)
    recall, precision, by_kind = planted([shape_image(random) for _ in range(4500)], 100, random)
    assert recall >= 0.95 and precision >= 0.99 and min(by_kind.values()) >= 0.9, (recall, precision, by_kind)


@pytest.mark.skipif(not (SHARED / "imagenette.tar").exists(), reason="needs ../shared/data/imagenette.tar")
def test_of_near_duplicates_among_real_images_95_percent_are_found_at_99_percent_precision() -> None:
    images = []
    with tarfile.open(SHARED / "imagenette.tar") as tar:
        for member in tar:
            if member.isfile() and len(images) < 1500:
                file = tar.extractfile(member)
                assert file is not None
                images.append(Image.open(io.BytesIO(file.read())).convert("RGB"))
    recall, precision, by_kind = planted(images, 30, np.random.default_rng(0))
    assert recall >= 0.95 and precision >= 0.99 and min(by_kind.values()) >= 0.9, (recall, precision, by_kind)


def test_images_of_one_colour_are_not_the_same_for_their_noise() -> None:
    random = np.random.default_rng(0)
    plain = [np.full((40, 40, 3), 120) + random.normal(0, 1, (40, 40, 3)) for _ in range(50)]
    images = [Image.fromarray(values.astype(np.uint8)) for values in plain]
    found = near([*images, shape_image(random, 40), shape_image(random, 40)])
    assert not found.pairs and set(found.plain) == set(range(50)) and "50 with hardly any detail" in found.left_out


def test_images_that_are_all_alike_by_nature_are_not_called_duplicates() -> None:
    source = digits()
    images = [source.read(item).resize((32, 32), Image.Resampling.BICUBIC) for item in source.train[::2]]
    found = near(images)
    assert not found.pairs
    report = checking.check(source)  # as they are, of 8x8 pixels, they are too small to be compared
    assert report.leaked == 0 and report.not_compared.startswith("1,797 with a side below")


def hand(random: np.random.Generator, side: int = 96) -> Image.Image:
    """A hand before a wall, each one a little other than the next, as people photograph them for a data set."""
    big = 4 * side
    image = Image.new("RGB", (big, big), (226, 228, 236))
    draw = ImageDraw.Draw(image)
    skin = tuple((np.array([190, 150, 120]) + random.integers(-12, 13, 3)).tolist())
    x, y = big * (0.5 + random.uniform(-0.03, 0.03, 2))
    for turn, length in zip((-58, -22, -4, 14, 36), (0.30, 0.40, 0.44, 0.41, 0.32)):
        angle = np.radians(turn + random.uniform(-8, 8))
        tip = np.array([x, y]) + length * big * random.uniform(0.85, 1.15) * np.array([np.sin(angle), -np.cos(angle)])
        draw.line([x, y, *tip], fill=skin, width=big // 16)
        draw.circle(tuple(tip), big // 32, fill=skin)
    draw.circle((x, y), big * random.uniform(0.13, 0.16), fill=skin)
    draw.rectangle([x - big / 11, y, x + big / 11, big], fill=skin)
    small = np.asarray(image.resize((side, side), Image.Resampling.LANCZOS))
    across = np.linspace(-1, 1, side)
    light = 1 - 0.25 * np.hypot(across[:, None], across)[:, :, None]
    return Image.fromarray((small * light + random.normal(0, 3, (side, side, 1))).clip(0, 255).astype(np.uint8))


def test_photographs_of_like_things_are_no_copies_and_copies_of_them_still_are() -> None:
    random = np.random.default_rng(1)
    images = [hand(random) for _ in range(50)] + [shape_image(random, 32) for _ in range(400)]
    assert not near(images).pairs
    copies = [encoded(ImageOps.mirror(image), 60) for image in images[:20]]
    assert {pair[:2] for pair in near(images + copies).pairs} == {(i, 450 + i) for i in range(20)}


def test_frames_of_a_series_are_no_copies() -> None:
    random = np.random.default_rng(0)
    frames = []
    for _ in range(10):
        scene, thing = shape_image(random, 112), shape_image(random, 30)
        for n in range(6):
            seen = scene.copy()
            seen.paste(thing, (30 + 6 * n, 50))
            noisy = np.asarray(seen.crop((n, n, 96 + n, 96 + n))) + random.normal(0, 5, (96, 96, 3))
            frames.append(Image.fromarray(noisy.clip(0, 255).astype(np.uint8)))
    assert not near(frames).pairs


@pytest.mark.skipif(not (SHARED / "look-alikes").exists(), reason="needs ../shared/data/look-alikes")
def test_ten_pairs_of_different_photographs_are_look_alikes() -> None:
    hands = [Image.open(path).convert("RGB") for path in sorted((SHARED / "look-alikes").glob("*.jpg"))]
    found = near(hands, verdicts=(duplicates.COPY, duplicates.PROBABLY, duplicates.ALIKE))
    assert len(hands) == 20 and {pair.verdict for pair in found.pairs} == {duplicates.ALIKE}


def test_what_there_is_more_of_the_further_one_looks_are_no_copies() -> None:
    def copies(pairs: list[tuple[int, int]], *apart: float) -> int:
        first, second = np.array(pairs).T
        return duplicates._verdicts(first, second, np.array(apart), np.zeros(len(pairs), np.int64)).count("copy")

    apart = [(2 * n, 2 * n + 1) for n in range(60)]
    assert copies(apart, *np.linspace(0.05, 0.95, 50), *np.linspace(2.1, 4, 10)) == 50  # nothing between them
    assert copies(apart, *np.sqrt(np.linspace(0.02, 4, 60))) == 0  # ever more pairs
    star = [(0, n) for n in range(1, 11)]
    assert copies(star, 0.3, *np.linspace(0.9, 2, 9)) == 1  # a copy among look-alikes of one image
    assert copies(star, *np.linspace(0.5, 1.0, 10)) == 10  # ten copies of one image, nothing else near it
    assert copies(star, *np.linspace(0.5, 3.0, 10) ** 0.5) < 3


def test_cells_miss_hardly_a_neighbour_that_comparing_all_with_all_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    images = [shape_image(random, 32) for _ in range(700)]
    images += [VARIANTS["shifted"](ImageOps.mirror(image), random) for image in images[:100]]
    signatures = np.frombuffer(b"".join(map(signatures_of_check.signature, images)), np.uint8).reshape(len(images), -1)
    parts = neighbours._descriptors(signatures, np.arange(len(images)))
    every = neighbours._nearest(*parts, True, silent)
    monkeypatch.setattr(neighbours, "ONE_CELL", 100)
    monkeypatch.setattr(neighbours, "CELL", 20)
    some = neighbours._nearest(*parts, True, silent)
    pairs = [(i, 700 + i) for i in range(100)]
    found = [sum(b in who[a] or a in who[b] for a, b in pairs) for who in (every, some)]
    assert found[0] >= 98 and found[1] >= found[0] - 2 and not (some == np.arange(len(images))[:, None]).any()


def made(root: Path, **classes: list[Image.Image]) -> Path:
    """Folders of images as PNG; `__` in a name stands for a slash."""
    for name, images in classes.items():
        place = root / name.replace("__", "/")
        place.mkdir(parents=True)
        for i, image in enumerate(images):
            image.save(place / f"{i:03}.png")
    return root


def shapes(count: int, seed: int, side: int = 64) -> list[Image.Image]:
    random = np.random.default_rng(seed)
    return [shape_image(random, side) for _ in range(count)]


def finding(report: checking.Report, kind: str) -> Finding:
    return next(finding for finding in report.findings if finding.kind == kind)


def kinds(report: checking.Report) -> set[str]:
    return {finding.kind for finding in report.findings}


def test_a_clean_source_has_nothing_to_answer_for(tmp_path: Path) -> None:
    root = made(
        tmp_path / "set",
        train__a=shapes(30, 1), train__b=shapes(30, 2), val__a=shapes(10, 3), val__b=shapes(10, 4),
    )  # fmt: skip
    report = checking.check(folder(root))
    assert not report.biased and kinds(report) == {"few validation images"}
    assert check_report.answer(report) == "Nothing was found in set that would bias an accuracy or harm training."
    assert report.formats == (checking.Share("PNG", 60, 20),) and report.sizes == (checking.Share("64x64", 60, 20),)


def test_every_exact_duplicate_across_the_splits_is_found_and_no_other(tmp_path: Path) -> None:
    train, held = shapes(40, 1), shapes(40, 2)
    leaked = [3, 8, 15, 39]
    for i in leaked:
        held[i] = train[i]
    nearly = train[20].copy()
    nearly.putpixel((5, 5), (0, 255, 0))  # one pixel is another: not exactly the same
    held[0] = nearly
    root = made(
        tmp_path / "set",
        train__a=train[:20], train__b=train[20:], test__a=held[:20], test__b=held[20:],
    )  # fmt: skip
    train[8].save(root / "test/a/008.png", compress_level=0)  # other bytes, the same pixels
    report = checking.check(folder(root))
    exact = finding(report, "exact duplicates across the splits")
    paths = {tuple(example.paths) for example in exact.examples}
    names = [f"{'a' if i < 20 else 'b'}/{i % 20:03}.png" for i in leaked]
    assert paths == {(f"test/{name}", f"train/{name}") for name in names} and exact.count == 4
    assert exact.sentence.startswith("4 of 40 validation images (10.0 %)") and "10.0 points" in exact.consequence
    one_pixel = finding(report, "near duplicates across the splits")
    assert [example.paths for example in one_pixel.examples] == [("test/a/000.png", "train/b/000.png")]
    assert "cost it up to 2.5 points" in one_pixel.consequence  # it is of class b in training
    assert report.biased and report.leaked == 5


def test_look_alikes_across_the_splits_are_noted_and_bias_nothing(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    hands = [hand(random) for _ in range(90)]
    root = made(
        tmp_path / "set",
        train__a=hands[:60],
        train__b=shapes(40, 1),
        val__a=hands[60:],
        val__b=shapes(9, 2),
    )
    report = checking.check(folder(root))
    noted = finding(report, "look-alikes across the splits")
    assert not report.biased and report.leaked == 0 and noted.severity == NOTE and noted.count >= 3
    assert "near duplicates across the splits" not in kinds(report)


def test_signatures_belong_to_their_images_where_some_cannot_be_read(tmp_path: Path) -> None:
    train = shapes(20, 1)
    root = made(
        tmp_path / "set",
        train__a=train, train__b=shapes(9, 3), val__a=[*shapes(5, 2), encoded(train[7], 60)], val__b=shapes(5, 4),
    )  # fmt: skip
    (root / "train/a/003.png").write_bytes(b"")
    leak = finding(checking.check(folder(root)), "near duplicates across the splits")
    assert [example.paths for example in leak.examples] == [("val/a/005.png", "train/a/007.png")]


def test_copies_on_one_side_bias_nothing_across(tmp_path: Path) -> None:
    train, held = shapes(40, 1), shapes(20, 2)
    root = made(
        tmp_path / "set",
        train__a=[*train[:20], *train[:5]], train__b=train[20:],
        val__a=[*held[:10], held[0], held[0]], val__b=held[10:],
    )  # fmt: skip
    report = checking.check(folder(root))
    assert not report.biased and report.leaked == 0
    assert finding(report, "exact duplicates among the training images").count == 5
    inside = finding(report, "exact duplicates among the validation images")
    assert inside.count == 2 and "is based on 20 different images" in inside.consequence
    assert {one.name: one.copies for one in report.classes} == {"a": 7, "b": 0}


def test_one_image_under_two_labels_limits_what_any_network_can_reach(tmp_path: Path) -> None:
    held = shapes(20, 2)
    root = made(
        tmp_path / "set",
        train__a=shapes(30, 1), train__b=shapes(30, 3), val__a=held[:10], val__b=[*held[10:], held[0], held[1]],
    )  # fmt: skip
    report = checking.check(folder(root))
    two = finding(report, "one image under two labels")
    # of 22 images two pairs have two labels each: one of each pair is named wrongly, whatever the network
    assert two.count == 4 and two.severity == BIASES and "more than 90.9 % of the validation" in two.consequence
    assert two.examples[0].says in ("'b' and 'a'", "'a' and 'b'")


def test_unreadable_images_bias_the_evaluation_only_where_they_are_val(tmp_path: Path) -> None:
    root = made(
        tmp_path / "set",
        train__a=shapes(30, 1), train__b=shapes(30, 2), val__a=shapes(10, 3), val__b=shapes(10, 4),
    )  # fmt: skip
    (root / "train/a/000.png").write_bytes(b"")
    report = checking.check(folder(root))
    lost = finding(report, "unreadable training images")
    assert not report.biased and lost.examples[0].paths == ("train/a/000.png",) and "empty" in lost.examples[0].says
    (root / "val/b/009.png").write_bytes((root / "val/b/009.png").read_bytes()[:300])
    report = checking.check(folder(root))
    assert report.biased and report.unreadable == 2 and finding(report, "unreadable validation images").count == 1
    assert "5.0 points lower or higher" in finding(report, "unreadable validation images").consequence


def test_folders_classes_and_formats_are_looked_at(tmp_path: Path) -> None:
    train = {"cat": 60, "cats": 30, "New_Folder": 30, "rare": 3, "untested": 30}
    root = tmp_path / "set"
    made(root, **{f"train__{name}": shapes(count, i) for i, (name, count) in enumerate(train.items())})
    made(root, **{f"val__{name}": shapes(10, 10 + i) for i, name in enumerate(list(train)[:4])})
    Image.new("RGB", (300, 60), (9, 9, 9)).save(root / "train/untested/long.png")
    Image.open(root / "train/rare/000.png").resize((9, 9)).save(root / "train/rare/000.png")
    report = checking.check(folder(root))
    twins = finding(report, "similar class names")
    assert "'cat' (70) and 'cats' (40)" in twins.sentence and "25.0 points" in twins.consequence  # 10 of 40 held out
    assert "'New_Folder' (40 images)" in finding(report, "a folder that may not be a class").sentence
    assert "'rare' (3)" in finding(report, "classes with few training images").sentence
    assert "'untested'" in finding(report, "classes without validation images").sentence
    assert "20.0 times as many" in finding(report, "classes of unequal size").sentence
    assert (
        "60x300" in finding(report, "very long images").examples[0].says
        or "300x60" in finding(report, "very long images").examples[0].says
    )
    assert finding(report, "very small images").examples[0].says == "9x9"
    assert finding(report, "images of one colour").count == 1
    assert not report.biased


def test_a_format_that_tells_the_class_is_told(tmp_path: Path) -> None:
    root = made(
        tmp_path / "set",
        train__a=shapes(30, 1), train__b=shapes(40, 2), val__a=shapes(15, 3), val__b=shapes(15, 4),
    )  # fmt: skip
    assert "several formats" not in kinds(checking.check(folder(root)))
    for file in root.rglob("a/*.png"):
        Image.open(file).save(file.with_suffix(".jpg"), quality=95)
        file.unlink()
    Image.open(root / "val/b/000.png").save(root / "val/b/000.jpg")
    (root / "val/b/000.png").unlink()
    report = checking.check(folder(root))
    # JPEG means a, PNG means b: right for 29 of 30; b is the commonest class and half of the validation images
    assert (
        "alone classifies 96.7 % of the validation images correctly, the most common class 50.0 %"
        in finding(report, "formats that reveal the class").sentence
    )
    assert finding(report, "several formats").count == 46 and not report.biased


def test_similar_names_of_different_classes_are_no_twins(tmp_path: Path) -> None:
    names = ["1", "10", "n01440764", "n01440765", "bus", "bu", "glass", "grass", "cat_dog", "hotdog", "data_center"]
    root = made(tmp_path / "set", **{f"train__{name}": shapes(20, i) for i, name in enumerate(names)})
    made(root, **{f"val__{name}": shapes(2, 50 + i) for i, name in enumerate(names)})
    assert not kinds(checking.check(folder(root))) & {"similar class names", "a folder that may not be a class"}


def test_what_decoding_noted_is_counted(tmp_path: Path) -> None:
    clear = [image.convert("RGBA") for image in shapes(30, 1)]
    for image in clear[:7]:
        image.putpixel((0, 0), (0, 0, 0, 0))
    root = made(tmp_path / "set", a=clear, b=shapes(30, 2))
    report = checking.check(folder(root))
    assert finding(report, "transparency laid over white").count == 7


def leaky(root: Path, count: int = 150) -> Source:
    train = shapes(2 * count, 1, 32)
    return folder(
        made(
            root,
            train__a=train[:count], train__b=train[count:], val__a=[*shapes(20, 2, 32), train[0]],
            val__b=shapes(20, 3, 32),
        )
    )  # fmt: skip


def test_processes_see_what_one_sees_and_the_source_is_left_as_it_was(tmp_path: Path) -> None:
    source = leaky(tmp_path / "set")
    (tmp_path / "set/train/a/003.png").write_bytes(b"no image")
    before = {
        path: (path.read_bytes() if path.is_file() else b"", path.stat().st_mtime_ns) for path in walk(tmp_path / "set")
    }
    items = (*source.train, *source.val)
    told: list[tuple[int, int]] = []
    alone = scanning.scan(source, items, 0)
    several = scanning.scan(source, items, 2, progress=lambda doing, done, total: told.append((done, total)))
    assert alone == several and told[-1] == (len(items), len(items)) and [p.reason for p in alone].count("") == 340
    checked.render(tmp_path / "page.html", checking.check(source), source)
    assert before == {
        path: (path.read_bytes() if path.is_file() else b"", path.stat().st_mtime_ns) for path in walk(tmp_path / "set")
    }


def walk(root: Path) -> Iterator[Path]:
    yield root
    yield from sorted(root.rglob("*"))


def test_what_was_read_is_kept_until_a_file_changes(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = leaky(tmp_path / "set", 20)
    first = checking.check(source)

    def refuse(self: Source, item: Item) -> object:
        raise AssertionError(f"{item.name} is read again")

    with monkeypatch.context() as patch:
        patch.setattr(Source, "decode", refuse)
        assert checking.check(folder(tmp_path / "set")) == first
        assert len(scanning.cached_scan(source)) == 81
        with pytest.raises(AssertionError, match="read again"):  # a blacklist took one away
            scanning.cached_scan(replace(source, val=source.val[1:]))
    for kept in cache.rglob("*"):
        if kept.is_file():
            kept.write_bytes(kept.read_bytes()[:-20])  # damaged: made anew
    assert checking.check(folder(tmp_path / "set")) == first
    Image.new("RGB", (50, 40), (1, 2, 3)).save(tmp_path / "set/val/b/000.png")
    assert checking.check(folder(tmp_path / "set")).sizes != first.sizes
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    assert checking.check(folder(tmp_path / "set")).train == first.train


class Deadly:
    """A store in which reading ends the process, as the kernel does where memory is short."""

    stamp = "deadly"

    def __init__(self) -> None:
        self.parent = os.getpid()

    def read(self, name: str) -> bytes:
        if os.getpid() == self.parent:
            raise AssertionError("read in the parent process")
        os._exit(9)


def test_a_killed_process_is_one_sentence(tmp_path: Path) -> None:
    source = replace(leaky(tmp_path / "set"), store=Deadly())
    with pytest.raises(ResourceError, match=r"^a process that read images of set was killed[^\n]*$"):
        scanning.scan(source, source.train, 2)


class Elements(HTMLParser):
    """The tags of a page and their attributes, as a browser sees them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_shows_the_images_and_no_name_becomes_code(tmp_path: Path) -> None:
    bad, worse = "<script>alert(1)<", '"><img src=x onerror=alert(1)>'
    train = shapes(40, 1)
    root = made(tmp_path / "set", **{f"train__{bad}": train[:20], f"train__{worse}": train[20:]})
    made(
        root,
        **{
            f"val__{bad}": [*shapes(10, 2), train[0], ImageOps.mirror(train[1])],
            f"val__{worse}": shapes(10, 3),
        },
    )
    (root / "train" / worse / "\udcff\x1b[31m.png").write_bytes(b"")  # no text, and a terminal's escape
    source = folder(root)
    report = checking.check(source)
    page = checked.render(tmp_path / "out/page.html", report, source, "topfive data check '<b>'").read_text("utf-8")
    parsed = Elements(page)
    assert sum(tag == "script" for tag, _ in parsed.tags) == 1 and "<script>alert(1)<" in parsed.text
    shown = [attributes for tag, attributes in parsed.tags if tag == "img"]
    assert len(shown) >= 4
    for attributes in shown:
        kind, _, data = str(attributes["src"]).partition(";base64,")
        assert kind.startswith("data:image/") and Image.open(io.BytesIO(base64.b64decode(data))).size == (64, 64)
        assert "onerror" not in attributes
    outside = [value for _, attributes in parsed.tags for key, value in attributes.items() if key in ("src", "href")]
    assert all(str(value).startswith("data:") for value in outside) and "\x1b" not in page
    assert (
        all(finding.sentence in parsed.text for finding in report.findings)
        and check_report.answer(report) in parsed.text
    )
    screen = tables.text(check_report.sections(report))
    assert "\x1b" not in screen and max(map(len, screen.splitlines())) <= 100
    assert msgspec.json.encode(report) and tables.csv(check_report.rows(report)).count("\n") >= len(report.findings)
    assert check_report.worst(report) in check_report.answer(report)


@pytest.mark.slow
def test_ten_thousand_small_images_are_checked_and_again_the_same(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for split, count in (("train", 400), ("val", 100)):
        for label in range(20):
            place = tmp_path / "set" / split / f"class {label}"
            place.mkdir(parents=True)
            for i in range(count):
                encoded(shape_image(random, 32), 90).save(place / f"{i}.jpg")
    report = checking.check(folder(tmp_path / "set"))
    assert checking.check(folder(tmp_path / "set")) == report
    assert report.leaked == 0
