"""Candidates for copies: nearest neighbours among smooth waves, of these those whose details correlate when shifted."""

from functools import partial

import numpy as np
from numpy.typing import NDArray

from topfive.data.check.signatures import (
    COLOUR,
    SIDE,
    Array,
    Bytes,
    Flags,
    Index,
    blur_matrix,
    brightness,
    colours,
    details_of,
    middle_of,
)
from topfive.data.stores import Progress

# why these: measured with benchmarks/duplicates.py, see docs/results/data.md
NEIGHBOURS, LEAST_LIKENESS = 24, 0.35  # step 1: of each image, and how like it they are (a cosine)
CELL, ONE_CELL, PROBES = 256, 16384, 32  # images of a cell; images that are one cell; cells in which each is compared
LEAST_ROUGHLY, ROUGH_DETAILS = 0.45, (0, 2)  # step 2: a correlation of details between so many blurs at 16x16 pixels


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
        pixels = brightness(seen).astype(np.float32)
        pixels -= np.einsum("nij,ij->n", pixels, weight)[:, None, None]
        of_colour = colour_waves @ colours(seen) @ colour_waves.T
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


def candidates(
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
        fine, coarse = blur_matrix(12, finest), blur_matrix(12, coarsest)
        details = partial(details_of, finest=finest, coarsest=coarsest)
        half = SIDE // 2
        # why half precision: at a million images this is what takes the memory
        self.small = np.zeros((len(rows), half, half), np.float16)
        self.one_side = np.zeros((len(rows), 12, 12), np.float16)
        self.long = np.zeros((len(rows), len(self.shifts)), np.float16)
        for n in range(0, len(rows), chunk):
            seen = brightness(signatures[rows[n : n + chunk]])
            small = seen.reshape(-1, half, 2, half, 2).mean((2, 4), dtype=np.float32)
            # why: the details D of a window are linear in it, so that the product of Da and Db is that of D'Da and b
            # as it is: no details need be computed for each pair and shift
            there = details(middle_of(small))
            self.one_side[n : n + chunk] = fine.T @ there @ fine - coarse.T @ there @ coarse
            self.small[n : n + chunk] = small
            for k, shift in enumerate(self.shifts):
                there = details(middle_of(small, shift))
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
