"""Pictures that are the same as others: pixel by pixel, or but for size, encoding, mirroring, cropping or brightness.

A near duplicate is found in three steps, each slower and surer than the one before, on signatures of 32x32 pixels:
the nearest neighbours of every picture in a space of 73 smooth waves, where a mirrored picture costs nothing more; of
these the pairs whose details correlate at some small shift; of these the pairs whose details still correlate, and in
nearly every part of the picture, once the one is laid over the other. Larger pictures are then compared once more at
64x64 pixels, where two golf balls differ.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from topfive.data.stores import Progress, silent

Array = NDArray[np.floating[Any]]
Bytes = NDArray[np.uint8]
Index = NDArray[np.int64]
Flags = NDArray[np.bool_]

SIDE, COLOUR, CLOSER = 32, 8, 64  # pixels: of a signature's brightness, of its two colours, of the closer look
SIGNATURE = SIDE * SIDE + 2 * COLOUR * COLOUR  # bytes
SMALLEST = 16  # pixels of the shorter side: smaller pictures have too little in them to tell the same from the like
PLAIN = 8  # levels between the darkest and the brightest part of a picture of one colour
FLAT = 0.5  # levels of brightness: pictures with less detail would match each other by their noise
ALL_PAIRS, MOST_PAIRS = 200_000, 10**11  # pictures compared each with each; pairs compared at all

# why these: measured on planted copies of CIFAR-10's and Imagenette's pictures, and by eye on the pairs found there
NEIGHBOURS, LEAST_LIKENESS = 32, 0.35  # step 1: of each picture, and how like it they are (a cosine)
LEAST_ROUGHLY, ROUGH_DETAILS = 0.45, (0, 2)  # step 2: a correlation of details between so many blurs at 16x16 pixels
DETAILS = 2, 7  # step 3: between so many blurs at 32x32 or 64x64 pixels
MOST_BLUR = 0.25  # of the Laplacian, by which the sharper of two pictures is blurred
# a pair whose parts agree needs less likeness than one with a single detail in an empty sky; one whose colours differ
# needs more
NEEDED, NEEDED_CLOSER, LESS_FOR_AGREEING, MORE_FOR_COLOUR = 0.945, 0.90, 0.1, 0.25
MANY = 0.1  # of the pictures: where so many seem to be copies, it is looked at whether they are
WORTH_A_CLOSER_LOOK = 0.12  # below what is needed at 32x32 pixels
LEAST_DETAIL = 1.0  # squared levels: a part of a picture with less can hardly agree
GREY, OF_A_GREY_COPY = 4.0, 0.25  # levels of colour below which a picture may be a grey copy; how far apart that counts


class Pair(NamedTuple):
    """Two pictures by their positions, the first before the second; `likeness` is the correlation of their details."""

    first: int
    second: int
    mirrored: bool
    likeness: float


class Near(NamedTuple):
    """The near duplicates, the pictures of one colour, and in words what was not searched ("": nothing)."""

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
    signatures: Sequence[bytes],
    shorter: Sequence[int],
    look: Callable[[int], Image.Image | None],
    asked: Sequence[bool],
    mirror: bool = True,
    progress: Progress = silent,
) -> Near:
    """The pairs that are one picture but for size, encoding, mirroring, a small shift or crop, or brightness.

    `shorter` are the shorter sides in pixels; `look` reads a picture once more (None: it is gone) and is asked for few.
    Beyond ALL_PAIRS pictures only pairs with one that is `asked` for are searched. Of exact duplicates give one only.
    """
    sides = np.array(shorter, np.int64)
    seen = np.frombuffer(b"".join(signatures), np.uint8).reshape(-1, SIGNATURE)
    detail, sharpness = _sharpness(seen)
    spread = np.maximum(np.ptp(_brightness(seen), (1, 2)), np.ptp(_colours(seen), (2, 3)).max(1))
    plain = np.flatnonzero(spread <= PLAIN)
    small, flat = sides < SMALLEST, detail < FLAT
    use = np.flatnonzero(~small & ~flat)
    seen, sides, sharpness = seen[use], sides[use], sharpness[use]
    rows = np.arange(len(use))
    left_out = []
    if small.any():
        left_out.append(
            f"{small.sum():,} with a side below {SMALLEST} pixels, too small to tell the same from the like"
        )
    if (flat & ~small).any():
        left_out.append(f"{(flat & ~small).sum():,} with hardly any detail")
    if len(use) > ALL_PAIRS:
        rows = np.flatnonzero(np.array(asked)[use])
        left_out.append(f"pairs without a held-out picture, which with more than {ALL_PAIRS:,} pictures are too many")
    if len(rows) * len(use) > MOST_PAIRS:
        rows = rows[:0]
        left_out = [f"all: {len(use):,} pictures make too many pairs"]
    i, j, mirrored = _neighbours(*_descriptors(seen), rows, mirror, progress)
    swap = sharpness[i] > sharpness[j]  # why: the sharper one can be blurred to look like the other
    i, j = np.where(swap, j, i), np.where(swap, i, j)
    kept, shift = _roughly(seen, i, j, mirrored, progress)
    i, j, mirrored = i[kept], j[kept], mirrored[kept]
    likeness, agreeing, at = _closely(_brightness(seen), i, j, mirrored, shift[kept] * 2, progress)
    colour = _colour(seen, i, j, mirrored, at)
    over = likeness - _needed(NEEDED, agreeing, colour)
    large = np.minimum(sides[i], sides[j]) >= CLOSER
    again = np.flatnonzero(large & (over > -WORTH_A_CLOSER_LOOK))
    some, place = np.unique(np.concatenate([i[again], j[again]]), return_inverse=True)
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        looks = list(threads.map(lambda n: _closer(look(int(use[n]))), some))
    if looks:
        first, second = place[: len(again)], place[len(again) :]
        start = at[again] * np.array([2, 2, 1, 1, 1], np.float32)
        closer, agreeing, _ = _closely(np.stack(looks), first, second, mirrored[again], start, progress)
        likeness[again], over[again] = closer, closer - _needed(NEEDED_CLOSER, agreeing, colour[again])
    same = over >= 0
    concerned = len(np.unique(np.concatenate([i[same], j[same]])))
    if concerned > MANY * len(use) and _hardly_told(over):
        same[:] = False
        left_out = ["all: these pictures are by nature so alike that the same cannot be told from the like"]
    found = zip(*(values[same].tolist() for values in (use[i], use[j], mirrored, likeness)))
    pairs = sorted(Pair(min(a, b), max(a, b), turned, round(like, 4)) for a, b, turned, like in found)
    return Near(tuple(pairs), tuple(plain.tolist()), "; ".join(left_out))


def _needed(base: float, agreeing: Array, colour: Array) -> Array:
    return base - LESS_FOR_AGREEING * agreeing + MORE_FOR_COLOUR * colour


def _hardly_told(over: Array) -> bool:
    """Whether nearly as many pairs are just below what is needed as above: the like, and no other pictures, above."""
    return bool(((over < 0) & (over > -0.1)).sum() > 0.5 * (over >= 0).sum())


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
    """`(N, side, side)` of brightness less its finest and its coarse parts: what is left tells pictures apart."""
    fine, coarse = _blur(values.shape[-1], finest), _blur(values.shape[-1], coarsest)
    return np.asarray(fine @ values @ fine.T - coarse @ values @ coarse.T, np.float32)


def _sharpness(seen: Bytes, chunk: int = 4096) -> tuple[Array, Array]:
    """How much detail each picture has (root mean square, in levels), and how fine the detail is."""
    energy, fine = [np.zeros(0, np.float32)], [np.zeros(0, np.float32)]
    for n in range(0, len(seen), chunk):
        details = _details(_middle(_brightness(seen[n : n + chunk])))
        energy.append(np.einsum("nij,nij->n", details, details) / details[0].size)
        fine.append(np.einsum("nij,nij->n", details, -_laplacian(details)) / details[0].size)
    total = np.concatenate(energy)
    return np.sqrt(total), np.concatenate(fine) / np.maximum(total, 1e-3)


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


def _descriptors(seen: Bytes, chunk: int = 4096) -> tuple[Array, Array]:
    """Each picture as coefficients of smooth waves, of length 1 in all: those that a mirror keeps, those it turns.

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
    for n in range(0, len(seen), chunk):
        pixels = _brightness(seen[n : n + chunk]).astype(np.float32)
        pixels -= np.einsum("nij,ij->n", pixels, weight)[:, None, None]
        of_colour = colour_waves @ _colours(seen[n : n + chunk]) @ colour_waves.T
        both = [(waves @ pixels @ waves.T)[:, kept], of_colour.reshape(len(pixels), -1)]
        parts.append(np.concatenate(both, axis=1).astype(np.float32))
    values = np.concatenate(parts)
    values /= np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-6)
    return np.ascontiguousarray(values[:, ~turned]), np.ascontiguousarray(values[:, turned])


def _neighbours(
    even: Array, odd: Array, rows: Index, mirror: bool, progress: Progress, height: int = 256, width: int = 8192
) -> tuple[Index, Index, Flags]:
    """Pairs (i, j, whether mirrored) in which the one is among the nearest of the other; i < j.

    The likeness of two pictures is the product of their even parts and that of their odd ones added, of a mirrored one
    subtracted: so one pass finds both.
    """
    first, second = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for top in range(0, len(rows), height):
        some = rows[top : top + height]
        kept = np.full((len(some), NEIGHBOURS), LEAST_LIKENESS, np.float32)  # ascending
        who = np.full((len(some), NEIGHBOURS), -1, np.int64)
        left = 0
        while left < len(even):
            # why: a first narrow block tells what is near, so that of the wide ones few have to be sorted
            right = left + (width if left else width // 8)
            likeness = even[some] @ even[left:right].T
            other = odd[some] @ odd[left:right].T
            likeness += np.abs(other, out=other) if mirror else other
            itself = np.flatnonzero((some >= left) & (some < right))
            likeness[itself, some[itself] - left] = -1
            row, column = np.divmod(np.flatnonzero(likeness > kept[:, :1]), likeness.shape[1])
            if len(row):
                kept, who = _merged(kept, who, row, left + column, likeness[row, column])
            left = right
        row, place = np.nonzero(who >= 0)
        first.append(some[row])
        second.append(who[row, place])
        progress("comparing pictures", min(top + height, len(rows)), len(rows))
    a, b = np.concatenate(first), np.concatenate(second)
    codes = np.unique(np.minimum(a, b) * len(even) + np.maximum(a, b))
    a, b = np.divmod(codes, max(1, len(even)))
    turned = [np.zeros(0)]
    for n in range(0, len(a), 4096):
        turned.append(np.einsum("nd,nd->n", odd[a[n : n + 4096]], odd[b[n : n + 4096]]))
    return a, b, (np.concatenate(turned) < 0) & mirror


def _merged(kept: Array, who: Index, row: Index, found: Index, value: Array) -> tuple[Array, Index]:
    """The nearest of those kept and those found, for each row, ascending."""
    count = kept.shape[1]
    rows = np.concatenate([np.repeat(np.arange(len(kept)), count), row])
    values, ids = np.concatenate([kept.ravel(), value]), np.concatenate([who.ravel(), found])
    order = np.lexsort((-values, rows))
    rows = rows[order]
    place = np.arange(len(rows)) - np.searchsorted(rows, np.arange(len(kept)))[rows]
    best = order[place < count].reshape(-1, count)[:, ::-1]
    return values[best], ids[best]


# Step 2: details at some small shift


def _roughly(
    seen: Bytes, i: Index, j: Index, mirrored: Flags, progress: Progress, chunk: int = 2048
) -> tuple[Index, Index]:
    """The positions of the pairs whose details correlate at 16x16 pixels, and of all at which shift (down, right)."""
    shifts = [(y, x) for y in (-2, -1, 0, 1, 2) for x in (-2, -1, 0, 1, 2)]
    turned = [shifts.index((y, -x)) for y, x in shifts]
    small = _brightness(seen).reshape(-1, SIDE // 2, 2, SIDE // 2, 2).mean((2, 4), dtype=np.float32)
    # why: the details D of a window are linear in it, so that the product of Da and Db is that of D'Da and b as it is:
    # no details need be computed for each pair and shift
    finest, coarsest = ROUGH_DETAILS
    fine, coarse = _blur(12, finest), _blur(12, coarsest)
    details = partial(_details, finest=finest, coarsest=coarsest)
    back = [np.zeros((0, 12, 12), np.float32)]
    for n in range(0, len(small), chunk):
        there = details(_middle(small[n : n + chunk]))
        back.append((fine.T @ there @ fine - coarse.T @ there @ coarse).astype(np.float32))
    one_side = np.concatenate(back)
    long = np.zeros((len(small), len(shifts)), np.float32)
    for n in range(0, len(small), chunk):
        for k, shift in enumerate(shifts):
            there = details(_middle(small[n : n + chunk], shift))
            long[n : n + chunk, k] = np.sqrt(np.einsum("nij,nij->n", there, there)) + 0.01
    likeness, place = np.zeros(len(i), np.float32), np.zeros(len(i), np.int64)
    for n in range(0, len(i), chunk):
        a, b, turn = i[n : n + chunk], j[n : n + chunk], mirrored[n : n + chunk]
        one, other, length = one_side[a], small[b], long[b]
        other[turn] = other[turn][:, :, ::-1]
        length[turn] = length[turn][:, turned]
        windows = [other[:, 2 + y : 14 + y, 2 + x : 14 + x] for y, x in shifts]
        products = np.stack([np.einsum("nij,nij->n", one, window) for window in windows], 1)
        products /= length * long[a, len(shifts) // 2, None]
        place[n : n + chunk], likeness[n : n + chunk] = products.argmax(1), products.max(1)
        progress("comparing details", min(n + chunk, len(i)), len(i))
    return np.flatnonzero(likeness >= LEAST_ROUGHLY), np.array(shifts)[place]


# Step 3: details once the one is laid over the other


def _closely(
    pixels: Bytes, i: Index, j: Index, mirrored: Flags, shift: Index | Array, progress: Progress, chunk: int = 1024
) -> tuple[Array, Array, Array]:
    """For each pair the correlation of details, the agreement of parts (0 to 1), and how they were laid over."""
    start = np.zeros((len(i), 5), np.float32)
    start[:, : shift.shape[1]] = shift
    parts = [(start[:0, 0], start[:0, 0], start[:0])]
    for n in range(0, len(i), chunk):
        other = pixels[j[n : n + chunk]].astype(np.float32)
        turn = mirrored[n : n + chunk]
        other[turn] = other[turn][:, :, ::-1]
        parts.append(_laid_over(_middle(pixels[i[n : n + chunk]]), other, start[n : n + chunk]))
        progress("comparing closely", min(n + chunk, len(i)), len(i))
    likeness, agreeing, at = (np.concatenate(column) for column in zip(*parts))
    return likeness, agreeing, at


def _laid_over(one: Array, other: Array, at: Array, steps: int = 4) -> tuple[Array, Array, Array]:
    """Shift, stretch and blur `other` until its details correlate best with those of `one`: Gauss-Newton, all at once.

    `one` is the middle of its picture, `other` whole. `at` is (down, right) in pixels, the stretch (vertical,
    horizontal) as a fraction, and the blur: a copy that was made smaller for a time lost its finest details.
    """
    side, inner = other.shape[-1], one.shape[-1]
    border = (side - inner) // 2
    from_centre = (np.arange(inner) - (inner - 1) / 2).astype(np.float32)
    middle = _details(one).reshape(len(one), -1)
    long = np.sqrt(np.einsum("np,np->n", middle, middle)) + 0.01
    most = np.array([border, border, 0.15, 0.15, MOST_BLUR], np.float32)
    best, best_at, best_view = np.full(len(one), -1, np.float32), at.copy(), np.zeros_like(middle)
    for step in range(steps + 1):
        down = _between(from_centre, at[:, 0], at[:, 2], side)
        right = _between(from_centre, at[:, 1], at[:, 3], side)
        view = _details(down @ other @ right.transpose(0, 2, 1))
        blur = _laplacian(view)
        view += at[:, 4, None, None] * blur
        flat = view.reshape(len(view), -1)
        likeness = np.einsum("np,np->n", middle, flat) / (long * (np.sqrt(np.einsum("np,np->n", flat, flat)) + 0.01))
        better = likeness > best
        best[better], best_at[better], best_view[better] = likeness[better], at[better], flat[better]
        if step == steps:
            break
        by_y, by_x = np.gradient(view, axis=(1, 2))
        columns = np.stack([view, by_y, by_x, by_y * from_centre[:, None], by_x * from_centre, blur], 1)
        columns = columns.reshape(len(view), 6, -1)
        products = columns @ columns.transpose(0, 2, 1)
        # why: a ridge on all but the contrast keeps a picture of little detail from being thrown far away
        ridge = 1e-3 * np.trace(products, axis1=1, axis2=2)[:, None] / 6 * [0, 1, 1, 1, 1, 1] + 1e-3
        products += ridge[:, :, None] * np.eye(6)
        solved = np.linalg.solve(products, columns @ middle[:, :, None])[:, :, 0]
        moved = solved[:, 1:] / np.maximum(solved[:, :1], 0.05)
        moved = np.clip(moved, [-1, -1, -0.05, -0.05, -0.1], [1, 1, 0.05, 0.05, 0.1])
        at = np.clip(at + moved, -most, most).astype(np.float32)
    return best, _agreement(middle.reshape(-1, inner, inner), best_view.reshape(-1, inner, inner)), best_at


def _laplacian(view: Array) -> Array:
    wide = np.pad(view, ((0, 0), (1, 1), (1, 1)), mode="edge")
    return np.asarray(
        wide[:, :-2, 1:-1] + wide[:, 2:, 1:-1] + wide[:, 1:-1, :-2] + wide[:, 1:-1, 2:] - 4 * view, np.float32
    )


def _between(from_centre: Array, shift: Array, stretch: Array, side: int) -> Array:
    """`(N, inner, side)`: the weights that read a row of `side` pixels at shifted and stretched places."""
    places = (side - 1) / 2 + shift[:, None] + (1 + stretch[:, None]) * from_centre
    return np.asarray(np.maximum(0, 1 - np.abs(places[:, :, None] - np.arange(side))), np.float32)


def _agreement(one: Array, other: Array) -> Array:
    """How well 16 parts of the pictures agree: the mean of the median and of the fourth lowest correlation."""
    size = one.shape[-1] // 4
    parts = [
        values.reshape(-1, 4, size, 4, size).transpose(0, 1, 3, 2, 4).reshape(-1, 16, size * size)
        for values in (one, other)
    ]
    a, b, both = (np.einsum("nkp,nkp->nk", x, y) / size**2 for x, y in ((parts[0],) * 2, (parts[1],) * 2, parts))
    agreeing = np.sort(both / np.sqrt((a + LEAST_DETAIL) * (b + LEAST_DETAIL)), axis=1)
    return np.asarray((np.median(agreeing, axis=1) + agreeing[:, 3]) / 2, np.float32)


def _colour(seen: Bytes, i: Index, j: Index, mirrored: Flags, at: Array, chunk: int = 4096) -> Array:
    """How far the colours are apart, 0 to 1, once the one is laid over the other and as strong as it."""
    apart = [np.zeros(0, np.float32)]
    from_centre = (np.arange(COLOUR - 2) - (COLOUR - 3) / 2).astype(np.float32)
    for n in range(0, len(i), chunk):
        one, other = _colours(seen[i[n : n + chunk]])[..., 1:-1, 1:-1], _colours(seen[j[n : n + chunk]])
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
    return np.concatenate(apart)
