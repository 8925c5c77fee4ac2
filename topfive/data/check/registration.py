"""How far two images differ once the one is laid over the other: shifted, stretched, blurred, as bright."""

import os
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
from PIL import Image

from topfive.data.check.signatures import (
    CLOSER,
    COLOUR,
    SIDE,
    Array,
    Bytes,
    Flags,
    Index,
    colours,
    details_of,
    laplacian,
    middle_of,
)
from topfive.data.stores import Progress

LARGE = 48  # pixels of the shorter side, from which on the closer look shows more
PART, WORST_PARTS = 6, 0.15  # pixels of a side; the share of the parts of an image that have to agree least
QUIET = 20.0  # squared levels of detail: parts with less agree with each other
ENOUGH = 0.25  # of the parts that have more: a thing in an empty sky is like many others, and counts up to double
MOST_BLUR = 0.25  # of the Laplacian, by which the sharper of two images is blurred
COLOURS_APART, PER_COLOUR = 0.12, 0.3  # colours further apart than this add so much of it to the difference
GREY, OF_A_GREY_COPY = 4.0, 0.25  # levels of colour below which an image may be a grey copy; how far apart that counts


@contextmanager
def closer_looks(some: Index, look: Callable[[int], Image.Image | None]) -> Iterator[Bytes]:
    """These images at 64x64 pixels, in a file, since there may be many."""
    with tempfile.TemporaryFile() as file, ThreadPoolExecutor(os.cpu_count()) as threads:
        for n in range(0, len(some), 1024):
            for seen in threads.map(lambda i: _closer(look(int(i))), some[n : n + 1024]):
                file.write(seen.tobytes())
        file.flush()
        yield np.memmap(file, np.uint8, "r", shape=(len(some), CLOSER, CLOSER))


def _closer(image: Image.Image | None) -> Bytes:
    if image is None:
        return np.zeros((CLOSER, CLOSER), np.uint8)  # like nothing
    small = image.resize((CLOSER, CLOSER), Image.Resampling.BILINEAR, reducing_gap=3.0)
    return np.asarray(small.convert("L"))


def compare_closely(
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
        one = middle_of(pixels(i[n : n + chunk]))
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
    middle = details_of(one).reshape(len(one), -1)
    long = np.sqrt(np.einsum("np,np->n", middle, middle)) + 0.01
    most = np.array([border, border, 0.15, 0.15, MOST_BLUR], np.float32)
    best, best_at = np.full(len(one), -1, np.float32), at.copy()
    for step in range(steps + 1):
        down = _between(from_centre, at[:, 0], at[:, 2], side)
        right = _between(from_centre, at[:, 1], at[:, 3], side)
        view = details_of(down @ other @ right.transpose(0, 2, 1))
        blur = laplacian(view)
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
    return np.asarray(view + at[:, 4, None, None] * laplacian(view), np.float32)


def _between(from_centre: Array, shift: Array, stretch: Array, side: int) -> Array:
    """`(N, inner, side)`: the weights that read a row of `side` pixels at shifted and stretched places."""
    places = (side - 1) / 2 + shift[:, None] + (1 + stretch[:, None]) * from_centre
    return np.asarray(np.maximum(0, 1 - np.abs(places[:, :, None] - np.arange(side))), np.float32)


def _difference(one: Array, other: Array) -> Array:
    """How far the fine details of two images differ, one laid over the other: in all, or in the parts that agree least.

    A part agrees where neither image has details there; where most parts are such, what is left proves less.
    """
    side = one.shape[-1] // PART
    parts = [details_of(values).reshape(-1, side, PART, side, PART).transpose(0, 1, 3, 2, 4) for values in (one, other)]
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


def colour_difference(signatures: Bytes, i: Index, j: Index, mirrored: Flags, at: Array, chunk: int = 4096) -> Array:
    """What the colours add to the difference, once the one is laid over the other and as strong as it."""
    apart = [np.zeros(0, np.float32)]
    from_centre = (np.arange(COLOUR - 2) - (COLOUR - 3) / 2).astype(np.float32)
    for n in range(0, len(i), chunk):
        one, other = (colours(signatures[which[n : n + chunk]]) for which in (i, j))
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
