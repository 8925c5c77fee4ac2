"""How sure a measured fraction is."""

from math import sqrt


def interval(correct: int, images: int) -> tuple[float, float]:
    """Wilson's 95 % interval of `correct / images`."""
    z = 1.959964
    p, n = correct / images, images
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return max(0.0, centre - half), min(1.0, centre + half)
