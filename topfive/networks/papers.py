"""What the papers print, and how it is held against what we count.

`papers.toml` holds the sources, the network-level numbers and the errors; a number about one row of a paper's table is
a `Claim` beside that table, under `networks/`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

import msgspec

from topfive.errors import UsageError, did_you_mean

if TYPE_CHECKING:  # why: networks import this module, so at run time it imports nothing that imports them
    from topfive.networks.costs import Costs
    from topfive.networks.layers import Network

Family: TypeAlias = Literal["AlexNet", "VGG", "Inception", "plain", "ResNet", "DenseNet", "compact", "shallow"]
Confidence: TypeAlias = Literal["paper", "author-repo", "official-quoted", "code", "secondary", "figure-read"]
Errata: TypeAlias = Mapping[tuple[str, str, str], str]


class Claim(msgspec.Struct, frozen=True):
    """One number that a paper prints about a row of its table, or about a whole network (`row` empty).

    `of` is one of params, weights, macs, neurons, output, depth, field; `printed` is the number as it stands there
    (`"2.7"`, `"<25"`, `"28x28x256"`: height, width, channels), `unit` what one of it is worth (1, 1000, 1024, 10**6,
    10**9).
    """

    row: str
    of: str
    printed: str
    where: str
    unit: int = 1


class PublishedError(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One published error, in percent as printed, with the protocol that it was measured under."""

    protocol: str
    split: str
    conf: Confidence
    where: str
    top1: float | None = None
    top5: float | None = None
    models: int | None = None
    crops: int | None = None
    note: str = ""

    @property
    def top1_error(self) -> float | None:
        """As a fraction."""
        return None if self.top1 is None else round(self.top1 / 100, 8)

    @property
    def top5_error(self) -> float | None:
        """As a fraction."""
        return None if self.top5 is None else round(self.top5 / 100, 8)

    @property
    def measured_on(self) -> str:
        """The protocol, and the images where they are not the whole validation set."""
        return self.protocol if self.split == "val" else f"{self.protocol}, {self.split}"


class Paper(msgspec.Struct, frozen=True):
    """Where a network comes from, and what is printed about it as a whole."""

    title: str
    authors: str  # empty where the source names nobody
    year: int
    venue: str
    arxiv: str
    family: Family
    note: str
    claims: tuple[Claim, ...]
    errors: tuple[PublishedError, ...]


class Winner(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The classification winner of one year of ILSVRC; `top5_test` in percent, `official` the fraction as published."""

    year: int
    entry: str
    method: str
    top5_test: float
    official: float
    shallow: bool
    conf: Confidence
    note: str = ""
    depth: int | None = None  # of the winning network, where one of ours says it


class Verdict(msgspec.Struct, frozen=True):
    """A claim beside our count, both in the claim's unit."""

    row: str
    of: str
    printed: str
    ours: str
    unit: int
    verdict: Literal["holds", "rounding", "contradicts"]
    where: str
    erratum: str = ""


class _Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    title: str
    year: int
    authors: str = ""
    venue: str = ""
    arxiv: str = ""


class _NetworkClaim(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    of: Literal["params", "weights", "macs", "depth", "field"]
    printed: str
    where: str
    unit: int = 1


class _Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    source: str
    family: Family
    note: str = ""
    claims: tuple[_NetworkClaim, ...] = ()
    errors: tuple[PublishedError, ...] = ()


class _Human(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    top5: float
    conf: Confidence
    note: str


class _Book(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    human: _Human
    source: dict[str, _Source]
    network: dict[str, _Entry]
    ilsvrc_winner: tuple[Winner, ...]


def known() -> list[str]:
    """The names that papers.toml has an entry for."""
    return list(_book().network)


def facts(name: str) -> Paper:
    """Source, network-level claims and published errors of the network called `name`.

    Raises: UsageError naming the nearest names.
    """
    book = _book()
    if name not in book.network:
        raise UsageError(f"papers.toml has no entry for {name!r}{did_you_mean(name, book.network)}")
    entry = book.network[name]
    source = book.source[entry.source]
    claims = tuple(Claim("", claim.of, claim.printed, claim.where, claim.unit) for claim in entry.claims)
    return Paper(
        source.title,
        source.authors,
        source.year,
        source.venue,
        source.arxiv,
        entry.family,
        entry.note,
        claims,
        entry.errors,
    )


def best_error(name: str) -> PublishedError | None:
    """The published error that compares best with other networks' (one model, one crop, the whole validation set)."""
    return min(facts(name).errors, key=_rank, default=None)


def winners() -> tuple[Winner, ...]:
    """The classification winners of ILSVRC, 2010 to 2017."""
    return _book().ilsvrc_winner


def human_top5() -> float:
    """The top-5 error of one trained person, in percent."""
    return _book().human.top5


def check(network: Network, costs: Costs, claims: Iterable[Claim], errata: Errata | None = None) -> list[Verdict]:
    """Every claim beside our count of it; a contradiction carries its sentence from `errata`."""
    verdicts = []
    for claim in claims:
        value = _counted(costs, claim)
        ours, verdict = _compare_size(value, claim) if isinstance(value, tuple) else _compare_number(value, claim)
        sentence = (errata or {}).get((network.name, claim.row, claim.of), "") if verdict == "contradicts" else ""
        verdicts.append(Verdict(claim.row, claim.of, claim.printed, ours, claim.unit, verdict, claim.where, sentence))
    return verdicts


_RANKS = {("1-crop", "paper"): 0, ("1-crop", "author-repo"): 1, ("1-crop", "official-quoted"): 1,
          ("1-crop", "code"): 2, ("10-crop", "paper"): 3}  # fmt: skip


def _rank(error: PublishedError) -> tuple[bool, bool, bool, int]:
    # why: equal ranks keep the order of papers.toml, where the paper's plainest protocol stands first; GoogLeNet's
    # own paper prints no Top-1, so that its successor's measurement of it is the one that compares
    return (
        error.top1 is None,
        error.models != 1,
        not error.split.startswith("val"),
        _RANKS.get((error.protocol, error.conf), 4),
    )


def _counted(costs: Costs, claim: Claim) -> int | tuple[int, int, int]:
    """Our number for a claim; an output as (height, width, channels), which is how papers print it."""
    if not claim.row:
        totals = {"params": costs.params, "macs": costs.macs, "depth": costs.depth, "field": costs.field}
        return totals[claim.of] if claim.of in totals else sum(row.weights for row in costs.stages)
    row = next(row for row in costs.stages if row.name == claim.row)
    channels, height, width = row.output
    match claim.of:
        case "params":
            return row.params
        case "weights":
            return row.weights
        case "macs":
            return row.macs
        case "neurons":
            return channels * height * width
        case "output":
            return height, width, channels
        case _:
            raise ValueError(f"{costs.name}: a row has no {claim.of}")


def _compare_size(value: tuple[int, int, int], claim: Claim) -> tuple[str, Literal["holds", "rounding", "contradicts"]]:
    printed = claim.printed.split("x")
    ours = [str(n) for n in value][: len(printed)]  # some tables print height and width alone
    return "x".join(ours), "holds" if ours == printed else "contradicts"


def _compare_number(value: int, claim: Claim) -> tuple[str, Literal["holds", "rounding", "contradicts"]]:
    below = claim.printed.startswith("<")
    printed = Decimal(claim.printed.lstrip("<").replace(",", ""))
    exponent = printed.as_tuple().exponent
    assert isinstance(exponent, int)
    last_digit = Decimal(1).scaleb(exponent)
    exact = Decimal(value) / claim.unit
    ours = str(value) if claim.unit == 1 else f"{exact:.{1 - exponent}f}"
    gap = abs(exact - printed)
    if exact < printed if below else 2 * gap <= last_digit:
        return ours, "holds"
    counted_exactly = claim.unit == 1 and last_digit == 1
    return ours, "contradicts" if below or counted_exactly or gap > last_digit else "rounding"


@cache
def _book() -> _Book:
    text = Path(__file__).with_name("papers.toml").read_text("utf-8")
    return msgspec.convert(tomllib.loads(text), _Book)
