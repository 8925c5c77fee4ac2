"""How sure a measured accuracy is."""

from math import sqrt


def interval(correct: float, images: float, z: float = 1.959964) -> tuple[float, float]:
    """Wilson's interval of `correct / images`, by default of 95 %."""
    p, n = correct / images, images
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return max(0.0, centre - half), min(1.0, centre + half)


def paired_difference(gained: int, lost: int, images: int, z: float = 1.959964) -> tuple[float, float]:
    """The interval, by default of 95 %, of the difference of two accuracies on the same `images`.

    `gained` are right by the second alone, `lost` by the first alone. Source: Bonett and Price 2012, adjusted Wald.
    """
    more, less, n = (gained + 1) / (images + 2), (lost + 1) / (images + 2), images + 2
    half = z * sqrt((more + less - (more - less) ** 2) / n)
    return max(-1.0, more - less - half), min(1.0, more - less + half)
