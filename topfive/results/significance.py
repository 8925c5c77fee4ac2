"""How sure a mean over seeds is, and which networks the same images can tell apart.

What a network got right is an array of truth values, `(seeds, images)`: a row for each training, a column for each
validation image. Both are samples: of trainings with other seeds, and of images like these.
"""

from collections.abc import Mapping
from itertools import combinations
from math import exp, inf, log, sqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import bdtr, digamma, fdtrc, ndtri, polygamma, stdtr, stdtrit

from topfive.results.statistics import interval

Right = NDArray[np.bool_]  # (seeds, images)
LEVEL = 0.05  # of all tests of a comparison together, and outside of an interval


def unpacked(bits: bytes, images: int) -> Right:
    """What was right, `(images,)`, from a bit an image as records keep it."""
    return np.unpackbits(np.frombuffer(bits, np.uint8), count=images).astype(bool)


class Spread(NamedTuple):
    """How the accuracy of one network differs between trainings, as far as is known."""

    variance: float  # of the accuracy of one training
    freedom: float  # degrees of freedom of that


def spreads(right: Mapping[str, Right]) -> dict[str, Spread]:
    """How the accuracy of each network differs between seeds, each learning from the others.

    Two or three seeds say little of a variance. That of each network, as a multiple of the binomial variance of its
    accuracy, is moved towards the one typical of this comparison: the less, the more the networks differ in it. The
    others count at most as much as they are, and not at all for one that differs too much from them. A network with one
    seed has the typical one alone; where all have one, it is not known and missing here.
    Source: Smyth 2004, sections 4 and 6.2; both limits are ours.
    """
    own: dict[str, tuple[float, int]] = {}  # as a multiple, with its degrees of freedom
    scale = {name: max(_binomial(each), EQUAL / each.shape[1] ** 2) for name, each in right.items()}
    for name, each in right.items():
        if len(each) > 1:
            # why not below one image: that all seeds had the same number right is luck
            least = EQUAL / each.shape[1] ** 2 / scale[name]
            own[name] = max(float(each.mean(1).var(ddof=1)) / scale[name], least), len(each) - 1
    if not own:
        return {}
    typical, worth = _typical(own)
    found = {}
    for name in right:
        value, freedom = own.get(name, (0.0, 0))
        prior = min(worth, sum(count for _, count in own.values()) - freedom)
        if prior > 0 and freedom and float(fdtrc(freedom, prior, value / typical)) < APART:
            prior = 0.0  # why: one whose seeds differ far more than is typical here speaks for itself
        together = prior + freedom
        variance = (prior * typical + freedom * value) / together if together else value
        found[name] = Spread(scale[name] * variance, together)
    return found


EQUAL = 0.5  # images squared: the variance of two numbers right that differ by one
APART = 0.1  # the probability of chance, below which the seeds of a network differ more than is typical


def _typical(own: Mapping[str, tuple[float, int]]) -> tuple[float, float]:
    """The typical variance, and how many degrees of freedom it is worth to one network (Smyth 2004, section 6.2)."""
    half = np.array([count for _, count in own.values()]) / 2
    logarithms = np.log([value for value, _ in own.values()]) - digamma(half) + np.log(half)
    centre = float(logarithms.mean())
    surplus = float(logarithms.var(ddof=1) - polygamma(1, half).mean()) if len(half) > 1 else 0.0
    if surplus <= 0:
        return exp(centre), inf
    worth = 2 * brentq(lambda x: float(polygamma(1, x)) - surplus, 1e-6, 1e6) if surplus > 1e-5 else inf
    return exp(centre + float(digamma(worth / 2)) - log(worth / 2)) if worth < inf else exp(centre), worth


def mean_interval(right: Right, spread: Spread | None = None, level: float = LEVEL) -> tuple[float, float]:
    """The interval, 95 % by default, of the mean accuracy over `right`, `(seeds, images)`: for other seeds and images.

    The variance of the mean is the variance between images over their number, plus the variance between seeds over
    theirs, of which `spread` says more where there are other networks. What is neither an image's nor a seed's stands
    in both, so that the interval is rather too wide than too narrow. The interval is Wilson's for as many images as
    would have this variance alone, with Student's quantile in place of the normal one, and Satterthwaite's degrees of
    freedom. Of one seed without `spread` it is Wilson's of its images, which knows nothing of other seeds.
    Source: Wilson 1927; Satterthwaite 1946.
    """
    seeds, images = right.shape
    mean = float(right.mean())
    spread = spread or spreads({"": right}).get("")
    if spread is None or images == 1 or not 0 < mean < 1:
        return interval(mean * images, images, -float(ndtri(level / 2)))
    of_images = _between_images(right), images - 1.0
    of_seeds = spread.variance / seeds, spread.freedom
    alike = mean * (1 - mean) / (of_images[0] + of_seeds[0])
    return interval(mean * alike, alike, float(stdtrit(_freedom(of_images, of_seeds), 1 - level / 2)))


def difference_p(one: Right, two: Right, *of_seeds: Spread | None) -> float:
    """The two-sided p-value of the hypothesis that both networks have the same long-run accuracy on images like these.

    Both saw the same images, so their difference is taken image by image. With one seed each, and nothing known of
    others, it is McNemar's exact test; else Student's test of the mean difference, with the variance between images and
    the variance `of_seeds` of each.
    """
    difference = one.mean(0) - two.mean(0)
    known = of_seeds or tuple(spreads({"": right}).get("") for right in (one, two))
    mean, images = float(difference.mean()), len(difference)
    parts = [(float(difference.var(ddof=1)) / images, images - 1.0)] if images > 1 else []
    parts += [(spread.variance / len(right), spread.freedom) for right, spread in zip((one, two), known) if spread]
    variance = sum(value for value, _ in parts)
    if not any(known) or variance == 0:
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


def pairwise(right: Mapping[str, Right], known: Mapping[str, Spread]) -> dict[tuple[str, str], float]:
    """Holm-corrected p-values of the differences between all pairs, of whose seeds `known` tells."""
    return holm(
        {(a, b): difference_p(right[a], right[b], known.get(a), known.get(b)) for a, b in combinations(right, 2)}
    )


def not_told_apart(right: Mapping[str, Right], known: Mapping[str, Spread]) -> list[str]:
    """The network with the highest mean accuracy, and all that cannot be told from it, by falling accuracy.

    Why all pairs are corrected for, and not those with the best alone: which one is best is read off the same data.
    """
    order = sorted(right, key=lambda name: -float(right[name].mean()))
    p = pairwise(right, known)
    return [name for name in order if name == order[0] or p.get((order[0], name), p.get((name, order[0]), 1)) >= LEVEL]


def _between_images(right: Right) -> float:
    """The part of the variance of the mean that is of images."""
    by_image = right.mean(0)
    return float(by_image.var(ddof=1)) / len(by_image)


def _binomial(right: Right) -> float:
    """The variance of the accuracy of one training, if only chance decided."""
    mean = float(right.mean())
    return float(mean * (1 - mean) / right.shape[1])


def _freedom(*parts: tuple[float, float]) -> float:
    """Satterthwaite's degrees of freedom of a sum of variances with degrees of freedom of their own."""
    total = sum(value for value, _ in parts)
    return float(total**2 / sum(value**2 / freedom for value, freedom in parts if value))


def _sign_test(difference: NDArray[np.float64]) -> float:
    """The exact two-sided test that as many images speak for the one as for the other."""
    more, less = int((difference > 0).sum()), int((difference < 0).sum())
    return min(1.0, 2 * float(bdtr(min(more, less), more + less, 0.5))) if more + less else 1.0
