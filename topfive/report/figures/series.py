"""What rows of a comparison say to a figure: points, fronts, units, and the finding in a sentence."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from topfive.networks.papers import Winner
from topfive.results.records import ComparisonRow, PublishedRow

Floats = NDArray[np.float64]


class Named(Protocol):
    """A row with a name, which its point has too."""

    @property
    def name(self) -> str: ...


class Costed(Named, Protocol):
    """A row with operations, unless it is a shallow baseline, which is not a network of so many."""

    @property
    def kind(self) -> str: ...
    @property
    def ops(self) -> float | None: ...


class Point(Costed, Protocol):
    """A row that has a place in `bubbles`: measured or published; accuracies in percent."""

    @property
    def family(self) -> str: ...
    @property
    def params(self) -> int: ...
    @property
    def protocol(self) -> str | None: ...
    @property
    def top1(self) -> float | None: ...
    @property
    def interval(self) -> tuple[float, float] | None: ...


P = TypeVar("P", bound=Point)


def pareto(points: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of the (cost, value) points that no other point beats, cheapest first."""
    front: list[int] = []
    best = -math.inf
    for index in sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1])):
        cost, value = points[index]
        if value > best or (front and (cost, value) == points[front[-1]]):
            front.append(index)
            best = value
    return front


def alike(rows: Sequence[P]) -> list[P]:
    """The rows of the protocol that most of them have: ten crops are no rival of one."""
    counts = Counter(map(protocol, rows))
    return [row for row in rows if protocol(row) == counts.most_common(1)[0][0]]


def protocol(row: Point) -> str:
    """`1-crop` of `1-crop, val (48,238 non-blacklisted)`."""
    return (row.protocol or "").split(",")[0]


def ops(row: Costed) -> float | None:
    """The operations of a row's one image; None for a shallow baseline."""
    return None if row.kind == "shallow" or not row.ops else float(row.ops)


def drawn(rows: Iterable[P]) -> list[P]:
    """The rows that have a place in `bubbles`: an accuracy, and operations unless they are a baseline without any."""
    placed = (row for row in rows if row.top1 is not None and (not isinstance(row, PublishedRow) or row.drawn))
    return [row for row in placed if ops(row) or row.kind == "shallow"]


def gids(rows: Sequence[Named]) -> list[str]:
    """One id per row, made of its name: what its point is called in the SVG."""
    found: list[str] = []
    for row in rows:
        name = re.sub(r"[^A-Za-z0-9._-]", lambda match: f":{ord(match[0]):x}:", row.name)
        found.append(f"point-{name}" if f"point-{name}" not in found else f"point-{name}:{len(found)}:")
    return found


def significant(value: float, digits: int = 2) -> str:
    """A number for people: `digits` significant digits, never an exponent."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    places = digits - 1 - math.floor(math.log10(abs(value)))
    text = f"{round(value, places):,.{max(places, 0)}f}"
    return text if places > 0 or "." not in text else text.split(".")[0]


def times(row: Costed, other: Costed) -> str:
    """How many times as many operations the one takes as the other."""
    return significant((ops(row) or 0) / (ops(other) or 1))


def ops_unit(rows: Iterable[Costed]) -> tuple[float, str]:
    """The unit in which the rows' operations read best: its size and its name."""
    largest = max((ops(row) or 0.0 for row in rows), default=0.0)
    return (1e6, "M-ops") if 0 < largest < 1e9 else (1e9, "G-ops")


def finding(rows: Sequence[Point]) -> str:
    """What the accuracy-operations figure shows, in one sentence computed from its rows."""
    every = drawn(rows)
    seen = alike(every)
    if not seen:
        return "No network has both an accuracy and a count of operations"
    costed = [row for row in seen if ops(row)]
    best = max(seen, key=lambda row: (row.top1 or 0, -(ops(row) or 0)))
    reached = best.top1 or 0
    if not ops(best):
        return f"No network beats {best.name}, a baseline without convolutions ({reached:.1f} %)"
    if len(costed) == 1:
        return f"{best.name}: {reached:.1f} % Top-1"
    band = best.interval
    if band is None:
        front = [costed[i] for i in pareto([(ops(row) or 0, row.top1 or 0) for row in costed])]
        first, gained = front[0], reached - (front[0].top1 or 0)
        tested = f" ({protocol(best)})" if len(seen) < len(every) else ""
        if first is best:
            return f"{best.name} is the most accurate and takes the fewest operations{tested}"
        more = f"{gained:.1f} points more for {times(best, first)} times the operations"
        return f"From {first.name} to {best.name}: {more}{tested}"
    near = [row for row in costed if row is best or (isinstance(row, ComparisonRow) and row.among_best)]
    cheapest = min(near, key=lambda row: ops(row) or 0)
    lead = f"{best.name} is the most accurate ({reached:.1f} %)"
    if cheapest is best:
        return f"{lead}; every network of fewer operations can be told from it"
    return f"{lead}; {cheapest.name} cannot be told from it with {times(best, cheapest)} times fewer operations"


def decline(winners: Sequence[Winner]) -> str:
    """What `history` shows, in one sentence computed from its rows."""
    winners = sorted(winners, key=lambda row: row.year)
    if not winners:
        return ""
    first, last = winners[0], winners[-1]
    years = last.year - first.year
    said = f"From {first.top5_test:g} % to {last.top5_test:g} % in {years} years"
    since = next((i for i in range(len(winners)) if not any(row.shallow for row in winners[i:])), len(winners))
    return said if since >= len(winners) - 1 else f"{said}: every winner since {winners[since].year} is a deep network"


def plain_name(row: Named, longest: int = 30) -> str:
    name = " ".join(row.name.split())
    return name if len(name) <= longest else name[: longest - 1] + "…"
