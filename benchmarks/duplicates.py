"""How often `topfive data check` finds a copy, how often what it calls one is one, and what that costs.

    python benchmarks/duplicates.py planted look-alikes video scale [--data ../shared/data]

`planted` adds copies of known originals to several bases; `look-alikes` looks at pairs that were judged by eye
(benchmarks/judged.csv) and at the ten pairs of hands; `video` makes series of frames; `scale` times the search alone.
`look-alikes` also writes contact sheets of real pairs into runs/: their photographs may not be published. Sets that are
not there are left out, with a word.
"""

import argparse
import csv
import io
import os
import resource
import subprocess
import sys
import tarfile
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageEnhance, ImageOps

from topfive.data.check import duplicates
from topfive.data.check import signatures as signatures_of_check

HERE = Path(__file__).parent
RANDOM = np.random.Generator
ONLY = ""  # of the sets, by a part of the name
SCALES = 15_000, 60_000, 120_000, 240_000


# Sets of images


class Images:
    """Images in memory as they were encoded, with their names and classes."""

    def __init__(self, found: Iterable[tuple[str, bytes]]) -> None:
        self.names, self.files = zip(*found)
        classes = [Path(name).parent.name for name in self.names]
        self.labels = [sorted(set(classes)).index(one) for one in classes]
        self.in_test = [name.startswith(("test/", "val/")) for name in self.names]

    def __getitem__(self, i: int) -> Image.Image:
        return Image.open(io.BytesIO(self.files[i])).convert("RGB")


def members(path: Path) -> Iterator[tuple[str, bytes]]:
    """The files of a tar archive, by name without the first folder."""
    with tarfile.open(path) as tar:
        for member in tar:
            if member.isfile():
                file = tar.extractfile(member)
                assert file is not None
                yield member.name.partition("/")[2], file.read()


def open_set(data: Path, name: str) -> Images | None:
    """One of the sets of real photographs, or None and a word."""
    path = data / name
    if ONLY not in name:
        return None
    if not path.exists():
        print(f"{name} is not in {data}: left out")
        return None
    if path.is_dir():
        return Images((f"hands/{file.name}", file.read_bytes()) for file in sorted(path.glob("*.jpg")))
    return Images(sorted(members(path)))


def drawn(random: RANDOM, side: int) -> Image.Image:
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


# Copies


def encoded(image: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file).convert("RGB")


def resized(image: Image.Image, random: RANDOM) -> Image.Image:
    scale = random.uniform(0.5, 1.5)
    return image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)


def shifted(image: Image.Image, random: RANDOM) -> Image.Image:
    right, down = random.integers(1, image.width // 16 + 1, 2).tolist()
    moved = ImageChops.offset(image, right, down)
    moved.paste(0, (0, 0, image.width, down))
    moved.paste(0, (0, 0, right, image.height))
    return moved


def cropped(image: Image.Image, random: RANDOM) -> Image.Image:
    """Between 86 % and 95 % of each side, from anywhere."""
    share = random.uniform(0.86, 0.95)
    width, height = int(image.width * share), int(image.height * share)
    left, top = (int(random.integers(0, most + 1)) for most in (image.width - width, image.height - height))
    return image.crop((left, top, left + width, top + height))


VARIANTS: dict[str, Callable[[Image.Image, RANDOM], Image.Image]] = {
    "resized": resized,
    "JPEG 30": lambda image, random: encoded(image, 30),
    "mirrored": lambda image, random: ImageOps.mirror(image),
    "cropped": cropped,
    "brighter": lambda image, random: ImageEnhance.Brightness(image).enhance(random.uniform(1.15, 1.5)),
    "shifted": shifted,
}


def search(look: Callable[[int], Image.Image], count: int, labels: Sequence[int]) -> duplicates.Near:
    signatures = np.zeros((count, signatures_of_check.SIGNATURE), np.uint8)
    sides = []
    for i in range(count):
        image = look(i)
        signatures[i] = np.frombuffer(signatures_of_check.signature(image), np.uint8)
        sides.append(min(image.size))
    return duplicates.near(signatures, range(count), sides, labels, look)


def plant(name: str, look: Callable[[int], Image.Image], count: int, labels: Sequence[int], each: int) -> None:
    """`each` copies of every kind among `count` images: how many are found, and how many of those found are some."""
    random = np.random.default_rng(0)
    originals = np.resize(random.permutation(count), each * len(VARIANTS)).tolist()
    kinds = [kind for kind in VARIANTS for _ in range(each)]
    copies = [VARIANTS[kind](look(i), random) for kind, i in zip(kinds, originals)]
    found = search(
        lambda i: look(i) if i < count else copies[i - count],
        count + len(copies),
        [*labels, *(labels[i] for i in originals)],
    ).pairs
    origin = [*range(count), *originals]
    told = {pair[:2]: pair.verdict for pair in found}
    verdicts = [told.get((original, count + n)) for n, original in enumerate(originals)]
    by_kind = {
        kind: sum(v == duplicates.COPY for v, k in zip(verdicts, kinds) if k == kind) / each for kind in VARIANTS
    }
    wrong = {
        verdict: sum(pair.verdict == verdict and origin[pair.first] != origin[pair.second] for pair in found)
        for verdict in (duplicates.COPY, duplicates.PROBABLY)
    }
    right = sum(pair.verdict == duplicates.COPY and origin[pair.first] == origin[pair.second] for pair in found)
    print(
        f"{name}: {len(copies)} planted among {count:,}; copy {verdicts.count(duplicates.COPY) / len(copies):.1%}, "
        f"copy or probably {sum(v in wrong for v in verdicts) / len(copies):.1%}; pairs called copies: {right} planted "
        f"and {wrong[duplicates.COPY]} others, called probable: {wrong[duplicates.PROBABLY]} others"
    )
    print("    " + ", ".join(f"{kind} {share:.1%}" for kind, share in by_kind.items()))


def planted(data: Path) -> None:
    random = np.random.default_rng(0)
    for side in () if ONLY else (64, 32):
        images = [drawn(random, side) for _ in range(2000)]
        plant(f"drawn, {side}x{side}", images.__getitem__, len(images), [0] * len(images), 60)
    hands = open_set(data, "look-alikes")
    if hands:
        plant("hands, 100x100", hands.__getitem__, len(hands.files), hands.labels, 20)
        small = [hands[i].resize((32, 32), Image.Resampling.LANCZOS) for i in range(len(hands.files))]
        plant("hands, 32x32", small.__getitem__, len(small), hands.labels, 20)
    for name, title in (("imagenette.tar", "Imagenette"), ("cifar10.tar.xz", "CIFAR-10")):
        images = open_set(data, name)
        if images:
            some = np.sort(np.random.default_rng(0).permutation(len(images.files))[:2000]).tolist()
            plant(
                title,
                lambda i, images=images, some=some: images[some[i]],
                len(some),
                [images.labels[i] for i in some],
                60,
            )


# Look-alikes


def judged() -> list[tuple[str, str, str, bool]]:
    """Set, two names, and whether a person called the two one photograph."""
    with (HERE / "judged.csv").open(newline="") as file:
        return [(of, first, second, same == "1") for of, first, second, same in csv.reader(file)]


def look_alikes(data: Path) -> None:
    hands = open_set(data, "look-alikes")
    if hands:
        for side in (100, 64, 48, 32):
            at = [hands[i].resize((side, side), Image.Resampling.LANCZOS) for i in range(len(hands.files))]
            found = search(at.__getitem__, len(at), hands.labels).pairs
            print(f"hands, {side}x{side}, 190 pairs of different photographs:", verdicts(found))
    for name in ("imagenette.tar", "cifar10.tar.xz"):
        images = open_set(data, name)
        if not images:
            continue
        found = search(images.__getitem__, len(images.files), images.labels).pairs
        print(f"{name}, all {len(found):,} pairs found:", verdicts(found))
        across = {
            max(pair[:2], key=images.in_test.__getitem__)
            for pair in found
            if pair.verdict == duplicates.COPY and images.in_test[pair.first] != images.in_test[pair.second]
        }
        print(f"    validation images with a copy in training: {len(across):,}")
        write_sheets(name, images, found)
        told = {tuple(sorted(images.names[i] for i in pair[:2])): pair.verdict for pair in found}
        counts = Counter((told.get((a, b), "nothing"), same) for of, a, b, same in judged() if of == name)
        for verdict in (duplicates.COPY, duplicates.PROBABLY, duplicates.ALIKE, "nothing"):
            same, other = counts[verdict, True], counts[verdict, False]
            if same + other:
                share = same / (same + other)
                print(f"    judged pairs called {verdict}: {same} one photograph, {other} two ({share:.1%})")


def verdicts(found: Sequence[duplicates.Pair]) -> str:
    counts = Counter(pair.verdict for pair in found)
    return ", ".join(
        f"{counts[verdict]:,} {verdict}" for verdict in (duplicates.COPY, duplicates.PROBABLY, duplicates.ALIKE)
    )


def write_sheets(name: str, images: Images, found: Sequence[duplicates.Pair]) -> None:
    """Contact sheets of a hundred pairs of each verdict, and the names of the pairs, into runs/."""
    Path("runs").mkdir(exist_ok=True)
    for verdict in (duplicates.COPY, duplicates.PROBABLY, duplicates.ALIKE):
        pairs = _of_different_images([pair for pair in found if pair.verdict == verdict])[:100]
        path = Path("runs") / f"{name.split('.')[0]}-{verdict.replace(' ', '-')}.png"
        _sheet([(images[p.first], images[p.second], p) for p in pairs], path)
        rows = [f"{name},{images.names[p.first]},{images.names[p.second]}" for p in pairs]
        path.with_suffix(".csv").write_text("\n".join(rows) + "\n")
        print(f"    {path}", flush=True)


def _of_different_images(pairs: list[duplicates.Pair]) -> list[duplicates.Pair]:
    """At random, and no image twice: a series would be counted many times."""
    used: set[int] = set()
    some = []
    for n in np.random.default_rng(0).permutation(len(pairs)).tolist():
        if not used & set(pairs[n][:2]):
            used |= set(pairs[n][:2])
            some.append(pairs[n])
    return some


def _sheet(pairs: Sequence[tuple[Image.Image, Image.Image, duplicates.Pair]], path: Path, across: int = 10) -> None:
    side = 76
    page = Image.new("RGB", (across * (2 * side + 8), -(-len(pairs) // across) * (side + 14) or 1), "white")
    draw = ImageDraw.Draw(page)
    for n, (one, other, pair) in enumerate(pairs):
        left, top = n % across * (2 * side + 8), n // across * (side + 14)
        draw.text((left, top), f"{n} {pair.likeness:.3f}", fill="black")
        for k, image in enumerate((one, ImageOps.mirror(other) if pair.mirrored else other)):
            page.paste(image.resize((side, side), Image.Resampling.BICUBIC), (left + k * side, top + 12))
    page.save(path)


# Series as of a video


def frames(photograph: Image.Image, thing: Image.Image, random: RANDOM, count: int = 8) -> list[Image.Image]:
    """A camera that moves over a photograph, a thing that moves in front of it, and new noise in each frame.

    What it cannot show: parallax, changing light, things that turn; of a real series more differs than here.
    """
    side = photograph.width * 7 // 8
    size = int(side * random.uniform(0.2, 0.35))
    thing = thing.resize((size, size))
    mask = Image.new("L", (size, size))
    ImageDraw.Draw(mask).ellipse((0, 0, size - 1, size - 1), fill=255)
    place, speed = random.uniform(0.1, 0.5, 2) * side, random.uniform(0.02, 0.05, 2) * side
    camera, drift = np.array([2.0, 2.0]), random.uniform(0.3, 2.0, 2)
    sigma = random.uniform(4, 8)
    made = []
    for n in range(count):
        scene = photograph.copy()
        scene.paste(thing, tuple((place + n * speed).astype(int).tolist()), mask)
        left, top = camera + n * drift
        frame = scene.transform((side, side), Image.Transform.AFFINE, (1, 0, left, 0, 1, top), Image.Resampling.BICUBIC)
        noisy = np.asarray(frame) + random.normal(0, sigma, (side, side, 3))
        made.append(encoded(Image.fromarray(noisy.clip(0, 255).astype(np.uint8)), 85))
    return made


def video(data: Path) -> None:
    random = np.random.default_rng(0)
    images = open_set(data, "imagenette.tar")
    some = random.permutation(len(images.files) if images else 400)[:400].tolist()
    photographs = [images[i] if images else drawn(random, 224) for i in some]
    for moving in (True, False):
        made: list[Image.Image] = []
        for n in range(0, len(photographs), 2):
            thing = photographs[n + 1] if moving else photographs[n].resize((1, 1))
            made += frames(photographs[n], thing, random)
        found = search(made.__getitem__, len(made), [0] * len(made)).pairs
        pairs = [pair for pair in found if pair.first // 8 == pair.second // 8]
        called = Counter(pair.verdict for pair in pairs)
        total = len(made) // 8 * 28
        what = "a thing moves" if moving else "only the camera moves"
        print(f"{len(made) // 8} series of 8 frames, {what}: of {total:,} pairs inside a series {dict(called)}")
        near = Counter(pair.verdict for pair in pairs if pair.second - pair.first == 1)
        print(f"    of the {len(made) // 8 * 7:,} pairs of one frame and the next {dict(near)}")


# Time and memory


def fields(count: int, seed: int) -> np.ndarray:
    """Signatures of generated images: random fields whose amplitude falls with the frequency, as in photographs."""
    random = np.random.default_rng(seed)
    waves = np.hypot(np.fft.fftfreq(32)[:, None], np.fft.rfftfreq(32)[None]) * 32
    pixels = np.fft.irfft2(np.fft.rfft2(random.normal(size=(count, 32, 32))) / np.maximum(waves, 1), s=(32, 32))
    pixels *= 50 / pixels.std((1, 2), keepdims=True)
    coarse = random.normal(size=(count, 2, 8, 8)).cumsum(-1).cumsum(-2)
    coarse *= 12 / coarse.std((2, 3), keepdims=True)
    both = [pixels.reshape(count, -1), (coarse - coarse.mean((2, 3), keepdims=True)).reshape(count, -1)]
    return (np.concatenate(both, 1) + 128).clip(0, 255).astype(np.uint8)


def scale(data: Path) -> None:
    last, before = 0.0, 1
    for count in SCALES:
        told = subprocess.run(
            [sys.executable, __file__, "once", str(count)], check=True, capture_output=True, text=True
        )
        seconds, memory, anonymous, recall = map(float, told.stdout.split())
        exponent = f", exponent {np.log(seconds / last) / np.log(count / before):.2f}" if last else ""
        print(
            f"{count:,} images: {seconds:.1f} s{exponent}, {memory:.2f} GB in all, {anonymous:.2f} GB without mapped "
            f"files; planted copies found {recall:.1%}",
            flush=True,
        )
        last, before = seconds, count


def once(count: int) -> None:
    """One search among `count` images, a hundredth of which are mirrored, shifted and brighter copies, in a process."""
    planted = count // 100
    with tempfile.TemporaryFile() as file:
        for n in range(0, count - planted, 10_000):
            some = fields(min(10_000, count - planted - n), n)
            if n == 0:
                originals = some[:planted].copy()
            file.write(some.tobytes())
        bright = np.roll(originals[:, :1024].reshape(-1, 32, 32)[:, :, ::-1], (2, 2), (1, 2)) * 0.8
        colour = originals[:, 1024:].reshape(-1, 2, 8, 8)[..., ::-1]
        file.write(
            np.concatenate([bright.reshape(planted, -1), colour.reshape(planted, -1)], 1).astype(np.uint8).tobytes()
        )
        del originals, bright, colour, some
        file.flush()
        rows = np.memmap(file, np.uint8, "r", shape=(count, signatures_of_check.SIGNATURE))
        started = time.perf_counter()
        anonymous = [0.0]

        def progress(doing: str, done: int, total: int) -> None:
            anonymous[0] = max(anonymous[0], _anonymous())

        found = duplicates.near(rows, range(count), [32] * count, [0] * count, lambda i: None, True, progress)
        seconds = time.perf_counter() - started
    hits = sum(pair.verdict == duplicates.COPY and pair.second - pair.first == count - planted for pair in found.pairs)
    print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, anonymous[0], hits / planted)


def _anonymous() -> float:
    """Gigabytes of this process that are no mapped file, where the system tells."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) / 1e6 for line in lines if line.startswith("RssAnon")), 0.0)


PARTS = {"planted": planted, "look-alikes": look_alikes, "video": video, "scale": scale}

if __name__ == "__main__":
    if sys.argv[1:2] == ["once"]:
        once(int(sys.argv[2]))
    else:
        parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
        parser.add_argument(
            "parts", nargs="*", choices=[*PARTS, []], default=["planted", "look-alikes", "video", "scale"]
        )
        parser.add_argument("--set", default="", help="only sets with this in their name")
        parser.add_argument("--data", type=Path, default=HERE.parent.parent / "shared" / "data")
        arguments = parser.parse_args()
        ONLY = arguments.set
        print(f"{os.cpu_count()} processors, numpy {np.__version__}")
        for part in arguments.parts:
            PARTS[part](arguments.data)
