"""Images that are the same as others: pixel by pixel, or but for size, encoding, mirroring, cropping or brightness.

A pair of images is judged in four steps, each slower and surer than the one before, on signatures of 32x32 pixels: the
nearest neighbours of every image in a space of 73 smooth waves, where a mirrored image costs nothing more; of these
the pairs whose details correlate at some small shift; of these the pairs whose finest details still agree, and in
every part of the image, once the one is laid over the other: two photographs of one thing do not share those. Larger
images are then compared once more at 64x64 pixels. Last, a pair is judged against the other pairs of its class: where
images nearly as like as it are more numerous than those that are as like, likeness proves nothing.
"""

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache, partial
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from topfive.data.stores import Progress, silent

Array = NDArray[np.floating[Any]]
Bytes = NDArray[np.uint8]
Index = NDArray[np.int64]
Flags = NDArray[np.bool_]

Verdict = Literal["copy", "probably a copy", "look-alike"]
COPY: Verdict = "copy"
PROBABLY: Verdict = "probably a copy"
ALIKE: Verdict = "look-alike"

SIDE, COLOUR, CLOSER = 32, 8, 64  # pixels: of a signature's brightness, of its two colours, of the closer look
SIGNATURE = SIDE * SIDE + 2 * COLOUR * COLOUR  # bytes
LARGE = 48  # pixels of the shorter side, from which on the closer look shows more
SMALLEST = 16  # pixels of the shorter side: smaller images have too little in them to tell the same from the like
PLAIN = 8  # levels between the darkest and the brightest part of an image of one colour
FLAT = 0.5  # levels of brightness: images with less detail would match each other by their noise

# why these: measured with benchmarks/duplicates.py, see docs/results/data.md
NEIGHBOURS, LEAST_LIKENESS = 24, 0.35  # step 1: of each image, and how like it they are (a cosine)
CELL, ONE_CELL, PROBES = 256, 16384, 32  # images of a cell; images that are one cell; cells in which each is compared
LEAST_ROUGHLY, ROUGH_DETAILS = 0.45, (0, 2)  # step 2: a correlation of details between so many blurs at 16x16 pixels
DETAILS = 2, 7  # step 3: between so many blurs at 32x32 or 64x64 pixels
PART, WORST_PARTS = 6, 0.15  # pixels of a side; the share of the parts of an image that have to agree least
QUIET = 20.0  # squared levels of detail: parts with less agree with each other
ENOUGH = 0.25  # of the parts that have more: a thing in an empty sky is like many others, and counts up to double
MOST_BLUR = 0.25  # of the Laplacian, by which the sharper of two images is blurred
COLOURS_APART, PER_COLOUR = 0.12, 0.3  # colours further apart than this add so much of it to the difference
# difference, 0 where all fine details are shared and 1 where none: of a copy at 32x32 and at 64x64 pixels; of what
# looks alike at all; how much less of it a class may ask for before it has no copies
MOST_OF_A_COPY, MOST_OF_A_COPY_CLOSER, MOST_OF_A_LOOK_ALIKE, LEAST_ASKED = 0.08, 0.14, 0.35, 1 / 8
OF_A_PROBABLE_COPY = 1.6  # times the difference of a copy
STANDS_APART = 0.5  # of the others up to twice as far from an image as its copy, the share that is no further than it
FEW = 20  # images of a group with others near them: from fewer nothing is known of the group
FAR = 10.0  # times the difference of a copy: further is all the same
GREY, OF_A_GREY_COPY = 4.0, 0.25  # levels of colour below which an image may be a grey copy; how far apart that counts


class Pair(NamedTuple):
    """Two images by their positions, the first before the second; `likeness` is that of their finest details."""

    first: int
    second: int
    mirrored: bool
    likeness: float
    verdict: Verdict


class Near(NamedTuple):
    """The pairs that look the same, the images of one colour, and in words what was not searched ("": nothing)."""

    pairs: tuple[Pair, ...]
    plain: tuple[int, ...]
    left_out: str


def signature(image: Image.Image) -> bytes:
    """What near duplicates are found by: 32x32 pixels of brightness and 8x8 of each of two colours, 1,152 bytes."""
    if image.size != (SIDE, SIDE):
        image = image.resize((SIDE, SIDE), Image.Resampling.BILINEAR, reducing_gap=3.0)
    brightness, *colours = image.convert("YCbCr").split()
    return brightness.tobytes() + b"".join(part.reduce(SIDE // COLOUR).tobytes() for part in colours)


def exact(digests: Sequence[bytes]) -> list[tuple[int, ...]]:
    """The positions with one digest, group by group in order of the first; an empty digest is like no other."""
    groups: dict[bytes, list[int]] = {}
    for i, digest in enumerate(digests):
        if digest:
            groups.setdefault(digest, []).append(i)
    return [tuple(group) for group in groups.values() if len(group) > 1]


def near(
    signatures: Bytes,
    among: Sequence[int],
    shorter: Sequence[int],
    labels: Sequence[int],
    look: Callable[[int], Image.Image | None],
    mirror: bool = True,
    progress: Progress = silent,
) -> Near:
    """The pairs `among` these positions that look like one image, each with its verdict.

    `signatures` has a row an image and may lie in a file; `shorter` are the shorter sides in pixels and `labels` the
    classes, by position. `look` reads an image once more (None: it is gone) and is asked for few. Of exact duplicates
    give one only.
    """
    every, sides, classes = np.array(among, np.int64), np.array(shorter, np.int64), np.array(labels, np.int64)
    detail, sharpness, spread = _measures(signatures, every)
    small, flat = sides[every] < SMALLEST, detail < FLAT
    left_out = []
    if small.any():
        left_out.append(
            f"{small.sum():,} with a side below {SMALLEST} pixels, too small to tell the same from the like"
        )
    if (flat & ~small).any():
        left_out.append(f"{(flat & ~small).sum():,} with hardly any detail")
    use = every[~small & ~flat]
    sharpness = sharpness[~small & ~flat]
    i, j, mirrored, shift = _candidates(signatures, use, sharpness, mirror, progress)
    first, second = use[i], use[j]
    difference, at = _closely(
        lambda rows: _brightness(signatures[rows]), first, second, mirrored, shift.astype(np.float32) * 2, progress
    )
    colour = _colour(signatures, first, second, mirrored, at)
    difference += colour
    large = np.minimum(sides[first], sides[second]) >= LARGE
    again = np.flatnonzero(large & (difference <= MOST_OF_A_LOOK_ALIKE))
    if len(again):
        some, place = np.unique(np.concatenate([first[again], second[again]]), return_inverse=True)
        start = at[again] * np.array([2, 2, 1, 1, 1], np.float32)
        with _looks(some, look) as looks:
            closer, _ = _closely(
                looks.__getitem__, place[: len(again)], place[len(again) :], mirrored[again], start, progress
            )
        difference[again] = closer + colour[again]
    alike = np.flatnonzero((difference <= MOST_OF_A_LOOK_ALIKE) | np.isin(np.arange(len(first)), again))
    first, second, mirrored = first[alike], second[alike], mirrored[alike]
    difference, large = difference[alike], large[alike]
    apart = difference / np.where(large, MOST_OF_A_COPY_CLOSER, MOST_OF_A_COPY)
    told = _verdicts(first, second, apart, np.where(classes[first] == classes[second], classes[first], -1) * 2 + large)
    pairs = sorted(
        Pair(min(a, b), max(a, b), turned, round(max(0.0, 1 - differs), 4), verdict)
        for a, b, turned, differs, verdict in zip(
            first.tolist(), second.tolist(), mirrored.tolist(), difference.tolist(), told
        )
    )
    return Near(tuple(pairs), tuple(every[spread <= PLAIN].tolist()), "; ".join(left_out))


def _verdicts(first: Index, second: Index, apart: Array, group: Index) -> list[Verdict]:
    """What each pair is, judged against the other pairs of its images and of its group: a class, at one resolution.

    `apart` is the difference over that of a copy. Copies stand apart: of the others up to twice as far from an image
    as its copy, it has at least half no further than that. In a series, or where all images are alike by nature, there
    are ever more the further one looks; where that holds of most images of a group, a pair must be as much more like
    as it takes to stand apart there too.
    """
    copies = np.zeros(len(first), np.bool_)
    for one in np.unique(group):
        of = np.flatnonzero(group == one)
        _, image = np.unique(np.concatenate([first[of], second[of]]), return_inverse=True)
        far = np.minimum(np.tile(apart[of], 2), FAR)
        # why: one sorted row for all images, each in an octave of its own, so that counting is a search
        row = np.sort(image * 4 * FAR + far)
        before = np.searchsorted(row, image * 4 * FAR)

        def within(most: Array | float) -> Index:
            """How many others each image has so near."""
            return np.searchsorted(row, image * 4 * FAR + most, "right") - before  # noqa: B023

        stands = within(far) >= STANDS_APART * within(2 * far)
        most = 1.0
        while most >= LEAST_ASKED:
            some = within(2 * most) > 0
            shares = within(most)[some] / within(2 * most)[some]
            # why: an image counts once, however many others it has
            weights = 1 / np.bincount(image)[image][some]
            if (
                (most == 1 and weights.sum() < FEW)
                or not some.any()
                or np.average(shares, weights=weights) >= STANDS_APART
            ):
                break
            most /= 2
        limit = np.zeros(len(far))
        np.maximum.at(limit, image, np.where(stands & (far <= most), far, 0) if most >= LEAST_ASKED else -1)
        copies[of] = (far <= limit[image]).reshape(2, -1).all(0)
    return [
        COPY if copy else PROBABLY if differs <= OF_A_PROBABLE_COPY else ALIKE
        for copy, differs in zip(copies.tolist(), apart.tolist())
    ]


@contextmanager
def _looks(some: Index, look: Callable[[int], Image.Image | None]) -> Iterator[Bytes]:
    """These images at 64x64 pixels, in a file, since there may be many."""
    with tempfile.TemporaryFile() as file, ThreadPoolExecutor(os.cpu_count()) as threads:
        for n in range(0, len(some), 1024):
            for seen in threads.map(lambda i: _closer(look(int(i))), some[n : n + 1024]):
                file.write(seen.tobytes())
        file.flush()
        yield np.memmap(file, np.uint8, "r", shape=(len(some), CLOSER, CLOSER))


def _brightness(seen: Bytes) -> Bytes:
    return seen[:, : SIDE * SIDE].reshape(-1, SIDE, SIDE)


def _colours(seen: Bytes) -> Array:
    return seen[:, SIDE * SIDE :].reshape(-1, 2, COLOUR, COLOUR).astype(np.float32) - 128


def _closer(image: Image.Image | None) -> Bytes:
    if image is None:
        return np.zeros((CLOSER, CLOSER), np.uint8)  # like nothing
    small = image.resize((CLOSER, CLOSER), Image.Resampling.BILINEAR, reducing_gap=3.0)
    return np.asarray(small.convert("L"))


# Details: what is left of the brightness without its coarse and its finest parts


@cache
def _blur(side: int, times: int) -> Array:
    """The matrix that blurs a row of `side` pixels with (1, 2, 1) / 4, so many times; the ends stay as they are."""
    once = (2 * np.eye(side) + np.eye(side, k=1) + np.eye(side, k=-1)) / 4
    once[0, :2] = once[-1, :-3:-1] = 1, 0  # why: as if the row went on straight, so that a gradient has no detail
    return np.linalg.matrix_power(once, times).astype(np.float32)


def _details(values: Array, finest: int = DETAILS[0], coarsest: int = DETAILS[1]) -> Array:
    """`(N, side, side)` of brightness less its finest and its coarse parts: what is left tells images apart."""
    fine, coarse = _blur(values.shape[-1], finest), _blur(values.shape[-1], coarsest)
    return np.asarray(fine @ values @ fine.T - coarse @ values @ coarse.T, np.float32)


def _measures(signatures: Bytes, rows: Index, chunk: int = 4096) -> tuple[Array, Array, Index]:
    """How much detail each image has (root mean square, in levels), how fine that is, and how far its levels go."""
    energy, fine, spread = [np.zeros(0, np.float32)], [np.zeros(0, np.float32)], [np.zeros(0, np.int64)]
    for n in range(0, len(rows), chunk):
        seen = signatures[rows[n : n + chunk]]
        details = _details(_middle(_brightness(seen)))
        energy.append(np.einsum("nij,nij->n", details, details) / details[0].size)
        fine.append(np.einsum("nij,nij->n", details, -_laplacian(details)) / details[0].size)
        levels = np.maximum(np.ptp(_brightness(seen), (1, 2)), np.ptp(_colours(seen), (2, 3)).max(1))
        spread.append(levels.astype(np.int64))
    total = np.concatenate(energy)
    return np.sqrt(total), np.concatenate(fine) / np.maximum(total, 1e-3), np.concatenate(spread)


def _middle(values: Bytes | Array, shift: tuple[int, int] = (0, 0)) -> Array:
    """The middle three quarters, shifted by (down, right): what a border or a shift brings in is outside of it."""
    side = values.shape[-1]
    top, left = side // 8 + shift[0], side // 8 + shift[1]
    inner = side - side // 4
    return np.ascontiguousarray(values[:, top : top + inner, left : left + inner], np.float32)


# Step 1: nearest neighbours


def _waves(side: int, count: int, window: Array) -> Array:
    """The first cosine waves over a row of `side` pixels, each of length 1, under a window."""
    waves = np.cos(np.pi / side * np.outer(np.arange(count), np.arange(side) + 0.5))
    return np.asarray(waves / np.linalg.norm(waves, axis=1, keepdims=True) * window, np.float32)


def _descriptors(signatures: Bytes, rows: Index, chunk: int = 4096) -> tuple[Array, Array]:
    """Each image as coefficients of smooth waves, of length 1 in all: those that a mirror keeps, those it turns.

    The mean brightness is left out and the length is 1, so that neither brightness nor contrast matters; the window
    fades the border out, so that what a shift brings in there matters little.
    """
    bright, colour = 8, 3  # waves in each direction
    edge = np.minimum(np.arange(SIDE), np.arange(SIDE)[::-1]) + 0.5
    window = np.asarray(0.5 - 0.5 * np.cos(np.pi * np.clip(edge / 4, 0, 1)), np.float32)
    waves = _waves(SIDE, bright, window)
    colour_waves = 0.7 * (SIDE / COLOUR) ** 0.5 * _waves(COLOUR, colour, window.reshape(COLOUR, -1).mean(1))
    round_ = np.add.outer(np.arange(bright) ** 2, np.arange(bright) ** 2)
    kept = (round_ > 0) & (round_ < bright**2)
    weight = np.outer(window, window) / window.sum() ** 2
    turned = np.concatenate([np.nonzero(kept)[1] % 2, np.tile(np.arange(colour) % 2, 2 * colour)]).astype(bool)
    parts = [np.zeros((0, len(turned)), np.float32)]
    for n in range(0, len(rows), chunk):
        seen = signatures[rows[n : n + chunk]]
        pixels = _brightness(seen).astype(np.float32)
        pixels -= np.einsum("nij,ij->n", pixels, weight)[:, None, None]
        of_colour = colour_waves @ _colours(seen) @ colour_waves.T
        both = [(waves @ pixels @ waves.T)[:, kept], of_colour.reshape(len(pixels), -1)]
        parts.append(np.concatenate(both, axis=1).astype(np.float32))
    values = np.concatenate(parts)
    values /= np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-6)
    return np.ascontiguousarray(values[:, ~turned]), np.ascontiguousarray(values[:, turned])


def _nearest(even: Array, odd: Array, mirror: bool, progress: Progress, chunk: int = 1024) -> NDArray[np.int32]:
    """`(N, NEIGHBOURS + 1)`: the images most like each, -1 for itself and where there are no more.

    The likeness of two images is the product of their even parts and that of their odd ones added, of a mirrored one
    subtracted: so one pass finds both. Many images are shared out among cells, and each is compared with those of the
    cells nearest to it only, so that the time grows with their number and not with its square.
    """
    # why: likeness in fixed point above the position, since whole numbers are partitioned fastest
    kept = np.full((len(even), NEIGHBOURS + 1), round(LEAST_LIKENESS * 2**24) << 32, np.int64)
    least = np.full(len(even), LEAST_LIKENESS, np.float32)
    probes = _cells(np.concatenate([even, np.abs(odd) if mirror else odd], axis=1))
    by_home = np.argsort(probes[:, 0], kind="stable")
    homes = np.searchsorted(probes[by_home, 0], np.arange(probes.max(initial=0) + 2))
    by_probe = np.argsort(probes, axis=None, kind="stable")
    visits = np.searchsorted(probes.ravel()[by_probe], np.arange(len(homes)))
    for cell in range(len(homes) - 1):
        members = by_home[homes[cell] : homes[cell + 1]]
        visitors = by_probe[visits[cell] : visits[cell + 1]] // probes.shape[1]
        for n in range(0, len(visitors) if len(members) else 0, chunk):
            some = visitors[n : n + chunk]
            likeness = even[some] @ even[members].T
            other = odd[some] @ odd[members].T
            likeness += np.abs(other, out=other) if mirror else other
            row, column = np.nonzero(likeness > least[some][:, None])
            if not len(row):
                continue
            # why: the few that are nearer than those kept, moved to the left
            rows, starts, counts = np.unique(row, return_index=True, return_counts=True)
            place = np.arange(len(row)) - np.repeat(starts, counts)
            found = np.zeros((len(rows), counts.max()), np.int64)
            found[np.repeat(np.arange(len(rows)), counts), place] = (
                (likeness[row, column] * 2**24).astype(np.int64) << 32
            ) + (members[column] + 1)
            both = np.concatenate([kept[some[rows]], found], axis=1)
            best = np.partition(both, -kept.shape[1])[:, -kept.shape[1] :]
            kept[some[rows]] = best
            least[some[rows]] = (best[:, 0] >> 32) / 2**24
        progress("comparing images", int(homes[cell + 1]), len(even))
    who = ((kept & (2**32 - 1)) - 1).astype(np.int32)  # 0 is nobody
    who[who == np.arange(len(who))[:, None]] = -1
    return who


def _cells(places: Array, chunk: int = 4096) -> NDArray[np.int32]:
    """`(N, at most PROBES)`: the cells that each place is nearest to, its own first, by k-means on a sample."""
    count = len(places) // CELL if len(places) > ONE_CELL else 1
    if count == 1:
        return np.zeros((len(places), 1), np.int32)
    random = np.random.default_rng(0)
    sample = places[np.sort(random.choice(len(places), min(len(places), 32 * count), replace=False))]
    centres = sample[random.choice(len(sample), count, replace=False)]
    for _ in range(4):
        own = np.concatenate([_apart(sample[n : n + chunk], centres).argmin(1) for n in range(0, len(sample), chunk)])
        order = np.argsort(own, kind="stable")
        starts = np.flatnonzero(np.diff(own[order], prepend=-1))
        sums = np.add.reduceat(sample[order], starts)
        centres[own[order][starts]] = sums / np.diff(starts, append=len(sample))[:, None]
    probes = np.zeros((len(places), min(PROBES, count)), np.int32)
    for n in range(0, len(places), chunk):
        apart = _apart(places[n : n + chunk], centres)
        near = np.argpartition(apart, probes.shape[1] - 1, axis=1)[:, : probes.shape[1]]
        order = np.argsort(np.take_along_axis(apart, near, 1), axis=1)
        probes[n : n + chunk] = np.take_along_axis(near, order, 1)
    return probes


def _apart(places: Array, centres: Array) -> Array:
    """The squared distance of each place to each centre, less the place's own length."""
    return np.asarray(np.einsum("cd,cd->c", centres, centres) - 2 * places @ centres.T, np.float32)


# Step 2: details at some small shift


def _candidates(
    signatures: Bytes, use: Index, sharpness: Array, mirror: bool, progress: Progress, chunk: int = 512
) -> tuple[Index, Index, Flags, Index]:
    """Neighbours whose details correlate at 16x16 pixels, as positions in `use`: the blunter one, the sharper one,
    whether mirrored, and at which shift (down, right)."""
    even, odd = _descriptors(signatures, use)
    who = _nearest(even, odd, mirror, progress)
    rough = _Rough(signatures, use)
    parts = [(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.bool_), np.zeros((0, 2), np.int64))]
    for n in range(0, len(who), chunk):
        row, place = np.nonzero(who[n : n + chunk] >= 0)
        i, j = row + n, who[row + n, place].astype(np.int64)
        once = (i < j) | ~(who[j] == i[:, None]).any(1)  # why: two images that are among each other's nearest
        i, j = i[once], j[once]
        mirrored = (np.einsum("nd,nd->n", odd[i], odd[j]) < 0) & mirror
        swap = sharpness[i] > sharpness[j]  # why: the sharper one can be blurred to look like the other
        i, j = np.where(swap, j, i), np.where(swap, i, j)
        likeness, shift = rough.compare(i, j, mirrored)
        kept = likeness >= LEAST_ROUGHLY
        parts.append((i[kept], j[kept], mirrored[kept], shift[kept]))
        progress("comparing details", min(n + chunk, len(who)), len(who))
    first, second, turned, shifts = (np.concatenate(column) for column in zip(*parts))
    return first, second, turned, shifts


class _Rough:
    """Images at 16x16 pixels, ready to be compared at 25 shifts."""

    def __init__(self, signatures: Bytes, rows: Index, chunk: int = 2048) -> None:
        self.shifts = [(y, x) for y in (-2, -1, 0, 1, 2) for x in (-2, -1, 0, 1, 2)]
        finest, coarsest = ROUGH_DETAILS
        fine, coarse = _blur(12, finest), _blur(12, coarsest)
        details = partial(_details, finest=finest, coarsest=coarsest)
        half = SIDE // 2
        # why half precision: at a million images this is what takes the memory
        self.small = np.zeros((len(rows), half, half), np.float16)
        self.one_side = np.zeros((len(rows), 12, 12), np.float16)
        self.long = np.zeros((len(rows), len(self.shifts)), np.float16)
        for n in range(0, len(rows), chunk):
            seen = _brightness(signatures[rows[n : n + chunk]])
            small = seen.reshape(-1, half, 2, half, 2).mean((2, 4), dtype=np.float32)
            # why: the details D of a window are linear in it, so that the product of Da and Db is that of D'Da and b
            # as it is: no details need be computed for each pair and shift
            there = details(_middle(small))
            self.one_side[n : n + chunk] = fine.T @ there @ fine - coarse.T @ there @ coarse
            self.small[n : n + chunk] = small
            for k, shift in enumerate(self.shifts):
                there = details(_middle(small, shift))
                self.long[n : n + chunk, k] = np.sqrt(np.einsum("nij,nij->n", there, there)) + 0.01

    def compare(self, i: Index, j: Index, mirrored: Flags) -> tuple[Array, Index]:
        """The correlation of details at the best shift, and that shift."""
        one, other, length = (values.astype(np.float32) for values in (self.one_side[i], self.small[j], self.long[j]))
        other[mirrored] = other[mirrored][:, :, ::-1]
        length[mirrored] = length[mirrored][:, [self.shifts.index((y, -x)) for y, x in self.shifts]]
        windows = [other[:, 2 + y : 14 + y, 2 + x : 14 + x] for y, x in self.shifts]
        products = np.stack([np.einsum("nij,nij->n", one, window) for window in windows], 1)
        products /= length * self.long[i, len(self.shifts) // 2, None].astype(np.float32)
        return products.max(1), np.array(self.shifts)[products.argmax(1)]


# Step 3: details once the one is laid over the other


def _closely(
    pixels: Callable[[Index], Bytes],
    i: Index,
    j: Index,
    mirrored: Flags,
    shift: Array,
    progress: Progress,
    chunk: int = 1024,
) -> tuple[Array, Array]:
    """For each pair the difference of its fine details, 0 to 2, and how the one was laid over the other."""
    start = np.zeros((len(i), 5), np.float32)
    start[:, : shift.shape[1]] = shift
    parts = [(start[:0, 0], start[:0])]
    for n in range(0, len(i), chunk):
        other = pixels(j[n : n + chunk]).astype(np.float32)
        turn = mirrored[n : n + chunk]
        other[turn] = other[turn][:, :, ::-1]
        one = _middle(pixels(i[n : n + chunk]))
        at = _laid_over(one, other, start[n : n + chunk])
        parts.append((_difference(one, _view(other, at, one.shape[-1])), at))
        progress("comparing closely", min(n + chunk, len(i)), len(i))
    difference, at = (np.concatenate(column) for column in zip(*parts))
    return difference, at


def _laid_over(one: Array, other: Array, at: Array, steps: int = 4) -> Array:
    """How to shift, stretch and blur `other` so that its details are most like those of `one`: Gauss-Newton.

    `one` is the middle of its image, `other` whole. `at` is (down, right) in pixels, the stretch (vertical,
    horizontal) as a fraction, and the blur: a copy that was made smaller for a time lost its finest details.
    """
    side, inner = other.shape[-1], one.shape[-1]
    border = (side - inner) // 2
    from_centre = (np.arange(inner) - (inner - 1) / 2).astype(np.float32)
    middle = _details(one).reshape(len(one), -1)
    long = np.sqrt(np.einsum("np,np->n", middle, middle)) + 0.01
    most = np.array([border, border, 0.15, 0.15, MOST_BLUR], np.float32)
    best, best_at = np.full(len(one), -1, np.float32), at.copy()
    for step in range(steps + 1):
        down = _between(from_centre, at[:, 0], at[:, 2], side)
        right = _between(from_centre, at[:, 1], at[:, 3], side)
        view = _details(down @ other @ right.transpose(0, 2, 1))
        blur = _laplacian(view)
        view += at[:, 4, None, None] * blur
        flat = view.reshape(len(view), -1)
        likeness = np.einsum("np,np->n", middle, flat) / (long * (np.sqrt(np.einsum("np,np->n", flat, flat)) + 0.01))
        better = likeness > best
        best[better], best_at[better] = likeness[better], at[better]
        if step == steps:
            break
        by_y, by_x = np.gradient(view, axis=(1, 2))
        columns = np.stack([view, by_y, by_x, by_y * from_centre[:, None], by_x * from_centre, blur], 1)
        columns = columns.reshape(len(view), 6, -1)
        products = columns @ columns.transpose(0, 2, 1)
        # why: a ridge on all but the contrast keeps an image of little detail from being thrown far away
        ridge = 1e-3 * np.trace(products, axis1=1, axis2=2)[:, None] / 6 * [0, 1, 1, 1, 1, 1] + 1e-3
        products += ridge[:, :, None] * np.eye(6)
        solved = np.linalg.solve(products, columns @ middle[:, :, None])[:, :, 0]
        moved = solved[:, 1:] / np.maximum(solved[:, :1], 0.05)
        moved = np.clip(moved, [-1, -1, -0.05, -0.05, -0.1], [1, 1, 0.05, 0.05, 0.1])
        at = np.clip(at + moved, -most, most).astype(np.float32)
    return best_at


def _view(other: Array, at: Array, inner: int) -> Array:
    """What is seen of `other` once it is laid over the middle, of `inner` pixels, of another image."""
    from_centre = (np.arange(inner) - (inner - 1) / 2).astype(np.float32)
    down = _between(from_centre, at[:, 0], at[:, 2], other.shape[-1])
    right = _between(from_centre, at[:, 1], at[:, 3], other.shape[-1])
    view = down @ other @ right.transpose(0, 2, 1)
    return np.asarray(view + at[:, 4, None, None] * _laplacian(view), np.float32)


def _laplacian(view: Array) -> Array:
    wide = np.pad(view, ((0, 0), (1, 1), (1, 1)), mode="edge")
    return np.asarray(
        wide[:, :-2, 1:-1] + wide[:, 2:, 1:-1] + wide[:, 1:-1, :-2] + wide[:, 1:-1, 2:] - 4 * view, np.float32
    )


def _between(from_centre: Array, shift: Array, stretch: Array, side: int) -> Array:
    """`(N, inner, side)`: the weights that read a row of `side` pixels at shifted and stretched places."""
    places = (side - 1) / 2 + shift[:, None] + (1 + stretch[:, None]) * from_centre
    return np.asarray(np.maximum(0, 1 - np.abs(places[:, :, None] - np.arange(side))), np.float32)


def _difference(one: Array, other: Array) -> Array:
    """How far the fine details of two images differ, one laid over the other: in all, or in the parts that agree least.

    A part agrees where neither image has details there; where most parts are such, what is left proves less.
    """
    side = one.shape[-1] // PART
    parts = [_details(values).reshape(-1, side, PART, side, PART).transpose(0, 1, 3, 2, 4) for values in (one, other)]
    a, b, both = (
        np.einsum("nyxij,nyxij->nyx", x, y).reshape(len(x), -1) for x, y in ((parts[0],) * 2, (parts[1],) * 2, parts)
    )
    whole = both.sum(1) / np.sqrt(a.sum(1) * b.sum(1) + 1)
    gain = np.clip(both.sum(1) / np.maximum(b.sum(1), 1e-6), 0.2, 5)[:, None]
    quiet = QUIET * PART**2
    agreeing = np.sort((gain * both + quiet) / np.sqrt((a + quiet) * (gain**2 * b + quiet)), axis=1)
    worst = agreeing[:, : round(WORST_PARTS * side**2)].mean(1)
    few = np.maximum(0, 1 - (np.maximum(a, b) > quiet).mean(1) / ENOUGH)
    return np.asarray((1 - np.minimum(whole, worst)) * (1 + few), np.float32)


def _colour(signatures: Bytes, i: Index, j: Index, mirrored: Flags, at: Array, chunk: int = 4096) -> Array:
    """What the colours add to the difference, once the one is laid over the other and as strong as it."""
    apart = [np.zeros(0, np.float32)]
    from_centre = (np.arange(COLOUR - 2) - (COLOUR - 3) / 2).astype(np.float32)
    for n in range(0, len(i), chunk):
        one, other = (_colours(signatures[which[n : n + chunk]]) for which in (i, j))
        one = one[..., 1:-1, 1:-1]
        turn, there = mirrored[n : n + chunk], at[n : n + chunk]
        other[turn] = other[turn][..., ::-1]
        down = _between(from_centre, there[:, 0] * COLOUR / SIDE, there[:, 2], COLOUR)[:, None]
        right = _between(from_centre, there[:, 1] * COLOUR / SIDE, there[:, 3], COLOUR)[:, None]
        a, b = (values.reshape(len(values), -1) for values in (one, down @ other @ right.transpose(0, 1, 3, 2)))
        gain = np.einsum("np,np->n", a, b) / np.maximum(np.einsum("np,np->n", b, b), 1)
        ways = np.clip(gain, 0.6, 1.6)[:, None], 1.0  # contrast changes the colours, brightness alone does not
        least = np.minimum(*(((a - way * b) ** 2).mean(1) for way in ways))
        strength = np.sqrt([(a**2).mean(1), (b**2).mean(1)])
        ratio = np.sqrt(least) / (strength.max(0) + 10)
        apart.append(np.where(strength.min(0) < GREY, np.minimum(ratio, OF_A_GREY_COPY), ratio).astype(np.float32))
    return np.asarray(PER_COLOUR * np.maximum(0, np.concatenate(apart) - COLOURS_APART), np.float32)
