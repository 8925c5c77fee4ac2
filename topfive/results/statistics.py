"""How sure a measured accuracy is."""

from math import sqrt


def interval(correct: float, images: float, z: float = 1.959964) -> tuple[float, float]:
    """Wilson's interval of `correct / images`, by default of 95 %."""
    p, n = correct / images, images
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return max(0.0, centre - half), min(1.0, centre + half)
