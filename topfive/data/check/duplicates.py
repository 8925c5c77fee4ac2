"""Images that are the same as others: pixel by pixel, or but for size, encoding, mirroring, cropping or brightness.

A pair of images is judged in four steps, each slower and surer than the one before, on signatures of 32x32 pixels: the
nearest neighbours of every image in a space of 73 smooth waves, where a mirrored image costs nothing more; of these
the pairs whose details correlate at some small shift; of these the pairs whose finest details still agree, and in
every part of the image, once the one is laid over the other: two photographs of one thing do not share those. Larger
images are then compared once more at 64x64 pixels. Last, a pair is judged against the other pairs of its class: where
images nearly as like as it are more numerous than those that are as like, likeness proves nothing.
"""

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np
from PIL import Image

from topfive.data.check.neighbours import candidates
from topfive.data.check.registration import LARGE, closer_looks, colour_difference, compare_closely
from topfive.data.check.signatures import FLAT, PLAIN, Array, Bytes, Index, brightness, measures
from topfive.data.stores import Progress, silent

Verdict = Literal["copy", "probably a copy", "look-alike"]
COPY: Verdict = "copy"
PROBABLY: Verdict = "probably a copy"
ALIKE: Verdict = "look-alike"
SMALLEST = 16  # pixels of the shorter side: smaller images have too little in them to tell the same from the like
# difference, 0 where all fine details are shared and 1 where none: of a copy at 32x32 and at 64x64 pixels; of what
# looks alike at all; how much less of it a class may ask for before it has no copies
MOST_OF_A_COPY, MOST_OF_A_COPY_CLOSER, MOST_OF_A_LOOK_ALIKE, LEAST_ASKED = 0.08, 0.14, 0.35, 1 / 8
OF_A_PROBABLE_COPY = 1.6  # times the difference of a copy
STANDS_APART = 0.5  # of the others up to twice as far from an image as its copy, the share that is no further than it
FEW = 20  # images of a group with others near them: from fewer nothing is known of the group
FAR = 10.0  # times the difference of a copy: further is all the same


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
    detail, sharpness, spread = measures(signatures, every)
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
    i, j, mirrored, shift = candidates(signatures, use, sharpness, mirror, progress)
    first, second = use[i], use[j]
    difference, at = compare_closely(
        lambda rows: brightness(signatures[rows]), first, second, mirrored, shift.astype(np.float32) * 2, progress
    )
    colour = colour_difference(signatures, first, second, mirrored, at)
    difference += colour
    large = np.minimum(sides[first], sides[second]) >= LARGE
    again = np.flatnonzero(large & (difference <= MOST_OF_A_LOOK_ALIKE))
    if len(again):
        some, place = np.unique(np.concatenate([first[again], second[again]]), return_inverse=True)
        start = at[again] * np.array([2, 2, 1, 1, 1], np.float32)
        with closer_looks(some, look) as looks:
            closer, _ = compare_closely(
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
