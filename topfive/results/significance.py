"""How sure a mean over seeds is, and which networks the same images can tell apart.

What a network got right is an array of truth values, `(seeds, images)`: a row for each training, a column for each
validation image. Both are samples: of trainings with other seeds, and of images like these.
"""

import itertools
from collections.abc import Mapping
from math import sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr, stdtr, stdtrit

from topfive.results.statistics import interval

Right = NDArray[np.bool_]  # (seeds, images)
LEVEL = 0.05  # of all tests of a comparison together, and outside of an interval


def mean_interval(right: Right) -> tuple[float, float]:
    """The 95 % interval of the mean accuracy over `right`, `(seeds, images)`, for other seeds and other images.

    The variance of the mean is the variance between images over their number, plus the variance between seeds over
    theirs. What is neither an image's nor a seed's stands in both, so that the interval is rather too wide than too
    narrow. The interval is Wilson's for as many images as would have this variance alone, with Student's quantile in
    place of the normal one, and Satterthwaite's degrees of freedom. Of one seed it is Wilson's of its images, which
    knows nothing of other seeds. Source: Wilson 1927; Satterthwaite 1946.
    """
    seeds, images = right.shape
    mean = float(right.mean())
    if seeds == 1 or images == 1:
        return interval(mean * images, images)
    of_images, of_seeds = _parts(right)
    variance = of_images + of_seeds
    if variance == 0 or not 0 < mean < 1:
        return interval(mean * images, images)
    freedom = _freedom((of_images, images - 1), (of_seeds, seeds - 1))
    alike = mean * (1 - mean) / variance
    return interval(mean * alike, alike, float(stdtrit(freedom, 1 - LEVEL / 2)))


def difference_p(one: Right, two: Right) -> float:
    """The two-sided p-value of the hypothesis that both networks have the same long-run accuracy on images like these.

    Both saw the same images, so their difference is taken image by image. With one seed each it is McNemar's exact
    test, which knows nothing of other seeds; else Student's test of the mean difference, with the variance between
    images and the variance between the seeds of each.
    """
    if len(one) == len(two) == 1:
        return _sign_test(one[0].astype(float) - two[0])
    difference = one.mean(0) - two.mean(0)
    mean, images = float(difference.mean()), len(difference)
    parts = [(float(difference.var(ddof=1)) / images, images - 1)] if images > 1 else []
    parts += [(_parts(right)[1], len(right) - 1) for right in (one, two) if len(right) > 1]
    variance = sum(value for value, _ in parts)
    if variance == 0:
        return _sign_test(difference)
    # why the larger: with few images that differ, Student's distribution is too sure of itself
    student = 2 * float(stdtr(_freedom(*parts), -abs(mean) / sqrt(variance)))
    return max(student, _sign_test(difference) if np.count_nonzero(difference) < FEW else 0.0)


FEW = 10  # images that differ, below which the exact test has the last word


def holm(p: Mapping[tuple[str, str], float]) -> dict[tuple[str, str], float]:
    """The p-values so corrected that all tests together are wrong with the probability that each is compared to.

    Source: Holm 1979.
    """
    adjusted: dict[tuple[str, str], float] = {}
    highest = 0.0
    for rank, (pair, value) in enumerate(sorted(p.items(), key=lambda item: item[1])):
        highest = max(highest, min(1.0, (len(p) - rank) * value))
        adjusted[pair] = highest
    return adjusted


def pairwise(right: Mapping[str, Right]) -> dict[tuple[str, str], float]:
    """Holm-corrected p-values of the differences between all pairs."""
    return holm({(a, b): difference_p(right[a], right[b]) for a, b in itertools.combinations(right, 2)})


def not_told_apart(right: Mapping[str, Right]) -> list[str]:
    """The network with the highest mean accuracy, and all that cannot be told from it, by falling accuracy.

    Why all pairs are corrected for, and not those with the best alone: which one is best is read off the same data.
    """
    order = sorted(right, key=lambda name: -float(right[name].mean()))
    p = pairwise(right)
    return [name for name in order if name == order[0] or p.get((order[0], name), p.get((name, order[0]), 1)) >= LEVEL]


def _parts(right: Right) -> tuple[float, float]:
    """The parts of the variance of the mean, between images and between seeds."""
    by_image, by_seed = right.mean(0), right.mean(1)
    return float(by_image.var(ddof=1)) / len(by_image), float(by_seed.var(ddof=1)) / len(by_seed)


def _freedom(*parts: tuple[float, int]) -> float:
    """Satterthwaite's degrees of freedom of a sum of variances with degrees of freedom of their own."""
    total = sum(value for value, _ in parts)
    return total**2 / sum(value**2 / freedom for value, freedom in parts if value)


def _sign_test(difference: NDArray[np.float64]) -> float:
    """The exact two-sided test that as many images speak for the one as for the other."""
    more, less = int((difference > 0).sum()), int((difference < 0).sum())
    return min(1.0, 2 * float(bdtr(min(more, less), more + less, 0.5))) if more + less else 1.0
