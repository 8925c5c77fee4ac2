"""What an experiment comes to: tables, charts, and a verdict that a function computes from the records."""

from collections.abc import Sequence
from math import sqrt
from pathlib import Path
from statistics import fmean, variance
from typing import Literal

import msgspec
from scipy.special import stdtr

from topfive.results.provenance import MachineRecord
from topfive.results.records import ComparisonRow
from topfive.results.significance import LEVEL, Right, Spread, difference_p

RECORD = "experiment.json"
Kind = Literal["holds", "does not hold at this scale", "cannot be told"]
HOLDS: Kind = "holds"
NOT: Kind = "does not hold at this scale"
OPEN: Kind = "cannot be told"
Cell = str | float | int | None


class Verdict(msgspec.Struct, frozen=True):
    """Whether a claim holds, and the figures that say so."""

    kind: Kind
    reason: str


class Series(msgspec.Struct, frozen=True):
    """A line, or dots where its chart has names below; `low` and `high` are 95 % intervals or the range over seeds."""

    name: str
    y: tuple[float, ...]
    x: tuple[float, ...] = ()
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    group: int = 0  # lines of one group share a colour


class Chart(msgspec.Struct, frozen=True):
    """Lines over numbers, dots over names, or one dot a series that has its name beside it."""

    title: str
    y: str
    series: tuple[Series, ...]
    x: str = ""
    names: tuple[str, ...] = ()  # below the dots, one for each of a series' values
    logarithmic: bool = False
    scatter: bool = False  # what costs less at the left and is better above; a line joins those that none beats


class Table(msgspec.Struct, frozen=True):
    """Names and numbers; what is None is not known."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


class ExperimentRecord(msgspec.Struct, frozen=True):
    """An experiment as it was run: enough for its page, and to repeat it."""

    name: str
    title: str
    claim: str
    source: str  # of the claim: paper and section
    verdict: Verdict
    tables: tuple[Table, ...]
    charts: tuple[Chart, ...]
    notes: tuple[str, ...]  # what was left out, and what the data cannot show
    data: str
    seeds: tuple[int, ...]
    minutes: float
    command: str
    machine: MachineRecord
    versions: dict[str, str]
    made: str


class Outcome(msgspec.Struct, frozen=True):
    """What the networks of one part of an experiment came to, by name."""

    rows: dict[str, ComparisonRow]
    right: dict[str, Right]
    spreads: dict[str, Spread]

    def accuracy(self, name: str) -> str:
        """In words, with its interval, and how little was trained where not every image was seen."""
        row = self.rows[name]
        little = f" after {row.epochs:.2g} of an epoch" if self.early(name) else ""
        return f"{row.top1:.1f} % ({row.interval[0]:.1f}–{row.interval[1]:.1f}){little}"

    def early(self, name: str) -> bool:
        """Whether a network has not seen every image, and so may yet catch up."""
        row = self.rows.get(name)
        return row is not None and row.kind == "network" and row.epochs < 1


def more_accurate(outcome: Outcome, one: str, two: str) -> Verdict:
    """Whether network `one` is more accurate than `two`, on the same validation images."""
    missing = [name for name in (one, two) if name not in outcome.rows]
    if missing:
        return Verdict(OPEN, f"{' and '.join(missing)} {'were' if len(missing) > 1 else 'was'} not trained")
    said = f"{one} {outcome.accuracy(one)}, {two} {outcome.accuracy(two)}"
    untrained = [name for name in (one, two) if not outcome.rows[name].trained]
    if len(untrained) == 2:
        return Verdict(OPEN, f"neither trained: {said}")
    first, second = outcome.right[one], outcome.right[two]
    p = difference_p(first, second, outcome.spreads.get(one), outcome.spreads.get(two))
    if p >= LEVEL:
        return Verdict(OPEN, f"{said}: a difference that may be chance (p = {p:.2g})")
    better = first.mean() > second.mean()
    if outcome.early(two if better else one):
        return Verdict(OPEN, f"{said} (p = {p:.2g}), before the less accurate one has seen every image once")
    return Verdict(HOLDS if better else NOT, f"{said} (p = {p:.2g})")


def higher(what: str, one: tuple[str, Sequence[float]], two: tuple[str, Sequence[float]], show: str = ".3g") -> Verdict:
    """Whether `one` has higher values over its seeds than `two`: Welch's test."""
    (name1, values1), (name2, values2) = one, two
    if not values1 or not values2:
        return Verdict(OPEN, f"{what} of {name1 if not values1 else name2} is not known")
    mean1, mean2 = fmean(values1), fmean(values2)
    said = f"{what}: {name1} {mean1:{show}}, {name2} {mean2:{show}}"
    if len(values1) < 2 or len(values2) < 2:
        return Verdict(OPEN, f"{said}, of one seed: --seeds 3 says more")
    parts = [(variance(values) / len(values), len(values) - 1) for values in (values1, values2)]
    total = sum(part for part, _ in parts)
    if total == 0:
        return Verdict(OPEN if mean1 == mean2 else HOLDS if mean1 > mean2 else NOT, said)
    freedom = total**2 / sum(part**2 / count for part, count in parts)
    p = 2 * float(stdtr(freedom, -abs(mean1 - mean2) / sqrt(total)))
    if p >= LEVEL:
        return Verdict(OPEN, f"{said}: a difference that may be chance (p = {p:.2g})")
    return Verdict(HOLDS if mean1 > mean2 else NOT, f"{said} (p = {p:.2g})")


def rising(what: str, ops: Sequence[float], tops: Sequence[float]) -> Verdict:
    """Whether accuracy rises with operations: Spearman's rank correlation."""
    from scipy.stats import spearmanr  # why here: half a second, for this alone

    if len(ops) < 4:
        return Verdict(OPEN, f"{what}: a rank correlation takes 4 networks, and there are {len(ops)}")
    found = spearmanr(ops, tops)
    rho, p = float(found.statistic), float(found.pvalue)
    said = f"{what}: rank correlation of operations and accuracy {rho:.2f} over {len(ops)} networks (p = {p:.2g})"
    return Verdict(OPEN if p >= LEVEL else HOLDS if rho > 0 else NOT, said)


def counted(holds: bool, reason: str) -> Verdict:
    """The verdict of a claim that is counted, not measured."""
    return Verdict(HOLDS if holds else NOT, reason)


def opposite(verdict: Verdict) -> Verdict:
    """Of the claim that is denied."""
    kind = NOT if verdict.kind == HOLDS else HOLDS if verdict.kind == NOT else OPEN
    return Verdict(kind, verdict.reason)


def together(*verdicts: Verdict) -> Verdict:
    """Of a claim that has several parts: it holds where all do, and does not where one does not."""
    kinds = {verdict.kind for verdict in verdicts}
    kind: Kind = NOT if NOT in kinds else OPEN if OPEN in kinds else HOLDS
    return Verdict(kind, "; ".join(verdict.reason for verdict in verdicts))


def kept(folder: Path) -> ExperimentRecord | None:
    """The record of an experiment that was run in a folder, if there is one that can be read."""
    try:
        return msgspec.json.decode((folder / RECORD).read_bytes(), type=ExperimentRecord)
    except (OSError, msgspec.MsgspecError):
        return None  # why: it is computed again, from the trainings


def kept_below(folder: Path) -> list[ExperimentRecord]:
    """The records of all experiments in a folder and below it, one of each name: the newest."""
    found = (kept(path.parent) for path in sorted(folder.rglob(RECORD)))
    newest: dict[str, ExperimentRecord] = {}
    for record in sorted((one for one in found if one), key=lambda one: one.made):
        newest[record.name] = record
    return list(newest.values())
