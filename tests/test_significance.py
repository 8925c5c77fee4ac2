"""Intervals that contain the long-run accuracy as often as they say; networks told apart where they differ.

The oracles are printed examples, other formulas, and simulation: trainings and images drawn from a model whose long-run
accuracy is known.
"""

from math import comb
from statistics import NormalDist

import numpy as np
import pytest

from topfive.results.significance import Right, difference_p, holm, mean_interval, not_told_apart, pairwise, spreads
from topfive.results.statistics import interval


def test_wilsons_interval() -> None:
    low, high = interval(81, 263)  # Newcombe 1998, table I: 0.2553 to 0.3662
    assert (round(low, 4), round(high, 4)) == (0.2553, 0.3662)
    assert interval(0, 20)[0] == 0 and round(interval(0, 20)[1], 4) == 0.1611  # there too


def trained(random: np.random.Generator, seeds: int, images: int, mean: float, spread: float) -> Right:
    """Trainings of one network: images are of unequal difficulty, seeds of unequal luck, by `spread`."""
    difficulty, luck = random.standard_normal(images), spread * random.standard_normal((seeds, 1))
    return mean + difficulty + luck + 0.5 * random.standard_normal((seeds, images)) > 0


@pytest.mark.parametrize(
    ("seeds", "images", "mean", "spread"),
    [(3, 100, 1.0, 0.0), (3, 400, 1.0, 0.1), (3, 100, 2.0, 0.2), (5, 400, 0.5, 0.2), (1, 200, 1.0, 0.0)],
)
def test_95_percent_intervals_contain_the_long_run_accuracy(
    seeds: int, images: int, mean: float, spread: float
) -> None:
    random = np.random.default_rng(seeds * images)
    truth = NormalDist().cdf(mean / (1 + spread**2 + 0.25) ** 0.5)
    intervals = [mean_interval(trained(random, seeds, images, mean, spread)) for _ in range(400)]
    inside = sum(low <= truth <= high for low, high in intervals)
    assert 0.92 <= inside / 400 <= 0.98


def test_the_images_alone_make_intervals_too_narrow_where_seeds_differ() -> None:
    """What the interval is for: Wilson's own, of one training, misses far more often than it says."""
    random = np.random.default_rng(0)
    truth = NormalDist().cdf(1 / (1 + 0.3**2 + 0.25) ** 0.5)
    both = [trained(random, 3, 1000, 1.0, 0.3) for _ in range(300)]
    alone = [interval(int(right[0].sum()), 1000) for right in both]
    assert sum(low <= truth <= high for low, high in alone) < 0.7 * 300
    assert sum(low <= truth <= high for low, high in map(mean_interval, both)) >= 0.9 * 300


def test_mcnemars_exact_test() -> None:
    one, two = np.zeros((2, 1, 100), bool)
    one[0, :10] = two[0, 5:8] = True  # 7 images that the first alone has right, none that the second alone has
    assert difference_p(one, two) == pytest.approx(2 / 2**7)
    two[0, 50:53] = True  # and now three
    assert difference_p(one, two) == pytest.approx(2 * sum(comb(10, k) for k in range(4)) / 2**10)
    assert difference_p(one, one) == 1


def test_holms_correction() -> None:
    """The example of Holm 1979's procedure as R's `p.adjust` computes it."""
    adjusted = holm({("a", "b"): 0.01, ("a", "c"): 0.04, ("b", "c"): 0.03, ("c", "d"): 0.005})
    assert {pair: round(p, 4) for pair, p in adjusted.items()} == {
        ("c", "d"): 0.02,
        ("a", "b"): 0.03,
        ("b", "c"): 0.06,
        ("a", "c"): 0.06,
    }


def test_networks_of_one_accuracy_are_told_apart_in_fewer_than_one_comparison_of_twenty() -> None:
    """Six networks, three seeds, 60 images: the size at which approximations fail first."""
    random, alarms = np.random.default_rng(1), 0
    for _ in range(200):
        difficulty = random.standard_normal(60)
        right = {
            name: 1 + difficulty + 0.1 * random.standard_normal((3, 1)) + 0.5 * random.standard_normal((3, 60)) > 0
            for name in "abcdef"
        }
        alarms += min(pairwise(right, spreads(right)).values()) < 0.05
    assert alarms <= 0.05 * 200 + 3 * (0.05 * 0.95 * 200) ** 0.5


def test_the_set_of_the_best() -> None:
    random = np.random.default_rng(2)
    right = {name: trained(random, 3, 500, mean, 0.02) for name, mean in {"c": 0.0, "a": 1.3, "b": 1.25}.items()}
    best = max("ab", key=lambda name: float(right[name].mean()))
    assert not_told_apart(right, spreads(right)) == sorted("ab", key=lambda name: name != best)
    assert not_told_apart({"c": right["c"]}, {}) == ["c"]
