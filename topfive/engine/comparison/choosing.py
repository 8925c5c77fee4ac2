"""One network for a budget: a race over short trainings, and a comparison of those that are left.

Networks that exceed a limit leave first. The others race in rungs of equal time: in each they are trained with a whole
schedule, as long as the time of the rung allows, and scored on images set aside from the training images; the next rung
has fewer networks and so longer trainings. Those that are left are compared as `Comparison` does it, with all training
images and several seeds, on the validation images, which nothing was decided by before.
"""

import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from dataclasses import replace as with_fields

import msgspec

from topfive.data.sources import Source, selection
from topfive.engine.benchmark.machine import Machine
from topfive.engine.comparison.comparison import Comparison, Tick
from topfive.engine.comparison.contract import Contract
from topfive.engine.comparison.trials import Place
from topfive.errors import UsageError
from topfive.results.choosing import KEEPS, Contender, leaving, nearest, over_limits, score
from topfive.results.comparisons import rights
from topfive.results.records import ComparisonRow, TrialRecord

FINALISTS = 3  # at most
RACE = 0.5  # of the minutes, for all rungs together; the rest is for the finalists


@dataclass(frozen=True)
class Limits:
    """What the network may cost; None for no limit."""

    latency_ms: float | None = None  # p90 of one image, in the form in which it would serve
    memory_bytes: float | None = None
    params: float | None = None


@dataclass
class Choice:
    """A choice in its folder; `run` makes it, and `close` lets others work there."""

    source: Source
    contract: Contract  # with minutes
    limits: Limits
    machine: Machine
    place: Place
    contenders: dict[str, Contender] = field(default_factory=dict)  # by the candidate's key
    final: Comparison = field(init=False)
    comparisons: list[Comparison] = field(default_factory=list)  # of the rungs so far and of the finalists

    def __post_init__(self) -> None:
        self.final = Comparison(self.source, self.contract, self.machine, self.place)
        self.comparisons.append(self.final)
        for key, one in self.final.entries.items():
            known = one.candidate
            self.contenders[key] = Contender(key, known.name, known.family, known.params, known.macs, None, None)

    def run(self, progress: Tick = lambda where: None) -> Iterator[TrialRecord | str]:
        """Make what is missing; what is to be said is a sentence in between.

        Raises: what `Comparison.run` raises; UsageError where no network keeps to the limits, DataError where no class
        has two images to train on.
        """
        self._limit()
        yield from self.final.measure(progress)
        for key, timed in self.final.folder.benchmarks().items():
            if key in self.contenders:
                self.contenders[key] = msgspec.structs.replace(
                    self.contenders[key],
                    latency_p90_ms=timed.latency_p90_ms,
                    memory_bytes=timed.memory_inference_bytes,
                )
        yield from self._limit()
        rungs = rungs_of(len(self.racing()))
        data, images = selection(self.source) if rungs else self.source, None
        for i, most in enumerate(rungs, start=1):
            rung = Comparison(data, self._rung(i, RACE * i / len(rungs)), self.machine, self._place(i), images)
            rung.only([one.key for one in self.racing()])
            images = rung.images
            self.comparisons.append(rung)
            try:
                yield from rung.train(progress)
                yield from self._left(rung, i, most)
            finally:
                rung.close()
        self.final.only([one.key for one in self.racing()])
        yield from self.final.train(progress)
        self._without_time(self.final)

    def close(self) -> None:
        """Let others work in the folder."""
        self.final.close()

    def racing(self) -> list[Contender]:
        """Those that have not left."""
        return [one for key, one in self.contenders.items() if not one.left and key not in self.final.failures]

    def recommended(self) -> ComparisonRow | None:
        """The fastest of the finalists that cannot be told from the best; None where that is undecided."""
        if self.undecided():
            return None
        best = [row for row in self.final.rows() if row.among_best]
        return min(best, key=lambda row: row.latency_ms, default=None)

    def undecided(self) -> str:
        """Why nothing can be recommended, in words: want of time has left one network or none; "" where it has not."""
        compared = [row.name for row in self.final.rows()]
        hurried = [one for one in self.contenders.values() if one.left and not one.told]
        if len(compared) > 1 or not hurried:
            return ""
        alone = f"{compared[0]} alone was compared" if compared else "none was compared"
        plans = [one.folder.plan(one.contract.plan) for one in self.comparisons]
        enough = max((plan.enough or 0 for plan in plans), default=0)
        more = f"--minutes {enough} or more" if enough else "more --minutes"
        return (
            f"cannot tell in {self.contract.minutes:g} minutes which network is the best: {alone}, and for want of "
            f"time {', '.join(one.name for one in hurried)} left; give {more}, a smaller --size, or fewer --seeds"
        )

    def meta(self) -> dict[str, object]:
        """What a choice adds to how its comparison was made, for its page."""
        found, place = self.recommended(), self.place
        for key in self.contenders.keys() & self.final.failures.keys():
            self._leave(self.contenders[key], "failed", str(self.final.failures[key][1]), told=True)
        return {
            "contenders": msgspec.to_builtins(list(self.contenders.values())),
            "recommended": found.name if found else "",
            "undecided": self.undecided(),
            "use": f"topfive predict {shlex.quote(str(place.folder / found.trial))} FILE" if found else "",
        }

    def name_of(self, trial: TrialRecord) -> str:
        """The network that a trial of the race or of the final is of."""
        return next(self.contenders[key].name for one in self.comparisons for key in one.owners(trial))

    def count(self) -> int:
        """How many trainings are finished."""
        return sum(len(records) for one in self.comparisons for records in one.trials().values())

    def _rung(self, i: int, part: float) -> Contract:
        """What is trained in rung `i`: another seed in each, so that luck in one is none in the next."""
        seed = self.contract.seeds[0] + i - 1
        return msgspec.structs.replace(self.contract, seeds=(seed,), part=part, optional=True)

    def _place(self, i: int) -> Place:
        return with_fields(self.place, folder=self.place.folder / f"rung-{i}")

    def _limit(self) -> list[str]:
        """Let those go that exceed a limit, as far as their costs are known yet. Raises: UsageError where all do."""
        said, limits, before = [], self.limits, self.racing()
        for one in before:
            if why := over_limits(one, limits.latency_ms, limits.memory_bytes, limits.params):
                self._leave(one, "limits", why, told=True)
                said.append(f"{one.name} leaves: {why}")
        if before and not self.racing():
            close = nearest(before, limits.latency_ms, limits.memory_bytes)
            raise UsageError(f"no network keeps to these limits here: {close}")
        self.final.only([one.key for one in self.racing()])
        return said

    def _left(self, rung: Comparison, i: int, most: int) -> Iterator[str]:
        """Keep the scores of a rung, and let those go that leave after it."""
        trials = rung.trials()
        for key, (_, error) in rung.failures.items():
            self.final.failures[key] = self.contenders[key].name, error
        right = {}
        for key, records in trials.items():
            right[key], one = rights(records), self.contenders[key]
            scores = *one.scores, score(right[key], records[0].training_seconds)
            self.contenders[key] = msgspec.structs.replace(one, scores=scores)
        self._without_time(rung)
        for key, (why, told) in leaving(right, most).items():
            self._leave(self.contenders[key], f"rung {i}", why, told)
            yield f"{self.contenders[key].name} leaves after rung {i}: {why}"

    def _without_time(self, comparison: Comparison) -> None:
        """Those that were not trained in it have left for want of time."""
        plan, trained = comparison.folder.plan(comparison.contract.plan), comparison.trials()
        for one in self.racing():
            if one.key not in trained:
                why = plan.left_out.get(one.key, "the time was up before it was trained")
                self._leave(one, "time", why.removeprefix(f"{one.name} is left out: "), told=False)

    def _leave(self, one: Contender, when: str, why: str, told: bool) -> None:
        self.contenders[one.key] = msgspec.structs.replace(one, left=when, why=why, told=told)


def rungs_of(networks: int) -> list[int]:
    """How many networks go on after each rung of a race of so many."""
    rungs = []
    while networks > FINALISTS:
        networks = -(-networks // KEEPS)
        rungs.append(networks)
    return rungs
