"""What a number that somebody wrote may mean: an accuracy, an error, parameters, operations."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import NamedTuple

from topfive.errors import UsageError
from topfive.report.known_figures import (
    What,
)

_NUMBER = re.compile(
    r"(?P<number>(?=[.\d])(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?(?:e\d)?)\s*(?P<unit>%|[kmgb]?)"
    r"[\s-]*(?P<of>params|parameters|macs|flops|ops|)"
)
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "b": 10**9}
_COUNTS: dict[str, tuple[What, ...]] = {
    "": ("params", "macs", "ops"),
    "params": ("params",),
    "parameters": ("params",),
    "macs": ("macs",),
    "flops": ("macs", "ops"),  # the word is used for both
    "ops": ("macs", "ops"),
}
ACCURACIES: tuple[What, ...] = ("top1_error", "top1_accuracy", "top5_error", "top5_accuracy")


class _Reading(NamedTuple):
    """What a number may mean: percent for accuracies, ones for counts; `digit` is one unit of its last digit."""

    whats: tuple[What, ...]
    value: Decimal
    digit: Decimal
    guessed: bool = False  # with a unit that is not written


def readings(text: str) -> list[_Reading]:
    """What a number may mean. Raises: UsageError."""
    found = _NUMBER.fullmatch(text.strip().lower())
    number = Decimal(found["number"].replace(",", "")) if found else Decimal(0)
    if found is None or not number or (found["unit"] == "%" and (found["of"] or number > 100)):
        raise UsageError(
            f"{text!r} is no figure of a network: write an accuracy or error (76.1, 24.7%, 0.761), parameters (25.6M, "
            "25557032) or operations (4.1G)"
        )
    exponent = number.as_tuple().exponent
    assert isinstance(exponent, int)
    digit, unit, counts = Decimal(1).scaleb(exponent), found["unit"], _COUNTS[found["of"]]
    if unit == "%":
        return [_Reading(ACCURACIES, number, digit)]
    if unit or found["of"] or number > 100:
        scale = _UNITS[unit]
        readings = [_Reading(counts, number * scale, digit * scale)]
        if not unit and number < 1000:  # 138 and "4.1 flops" leave out what everybody says: M or G
            readings += [_Reading(counts, number * scale, digit * scale, True) for scale in (10**6, 10**9)]
        return readings
    percentage = _Reading(ACCURACIES, number, digit)
    if number < 1:
        percentage = _Reading(ACCURACIES, number * 100, digit * 100)
    return [percentage, *(_Reading(counts, number * scale, digit * scale, True) for scale in (10**6, 10**9))]
