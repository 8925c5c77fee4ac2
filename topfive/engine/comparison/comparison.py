"""The main job: accuracy on the user's images against operations, parameters, memory and latency on this machine."""

import itertools
import time
from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from traceback import clear_frames

import msgspec

from topfive.data.sources import Source
from topfive.engine.benchmark import shallow
from topfive.engine.benchmark.load import Load
from topfive.engine.benchmark.machine import Machine
from topfive.engine.benchmark.measuring import DISTURBED, BenchmarkRequest, measure
from topfive.engine.comparison.candidates import SCRATCH, Entry, entry, failure
from topfive.engine.comparison.contract import Contract
from topfive.engine.comparison.executors import Work, in_turn, run_here, run_on_ray
from topfive.engine.comparison.folder import Folder, Setting
from topfive.engine.comparison.images import ImageCache
from topfive.engine.comparison.needs import arithmetic, in_memory, timed
from topfive.engine.comparison.planning import AFTER, Need, Plan, Planned, by_epochs, extended
from topfive.engine.comparison.provenance import provenance, unfinished
from topfive.engine.comparison.starts import opened, without
from topfive.engine.comparison.trials import Place, key_of
from topfive.engine.training.datasets import InMemory
from topfive.engine.training.initial_weights import Start
from topfive.engine.training.timing import UNTIMED
from topfive.engine.training.validation import of_all
from topfive.errors import DataError, Interrupted, TopfiveError, UsageError
from topfive.results.comparisons import rows
from topfive.results.progress import Progress
from topfive.results.records import ComparisonRow, FailedRow, TrialRecord

PREPARING = 0.2  # share of the bar that is for timing, before the first training
GUESS = 10  # epochs that choosing the arithmetic is worth its time for, before it is known how many there are

Tick = Callable[[Progress], object]


class Comparison:
    """A comparison in its folder: what is finished is kept there, and only what is missing is made.

    Each network of ours is trained by a job in a run folder below, which an interrupted one continues in. The folder is
    locked until `close`. Raises: UsageError where another process works there, or where it holds another comparison.
    """

    def __init__(
        self, source: Source, contract: Contract, machine: Machine, place: Place, images: ImageCache | None = None
    ) -> None:
        self.source, self.contract, self.machine, self.place = source, contract, machine, place
        self.failures: dict[str, tuple[str, TopfiveError]] = {}  # by key: the name, and what failed
        self.entries: dict[str, Entry] = {}  # by the candidate's key, so that one named twice is one row
        self.asked: list[str] = []  # the keys of both, in the order asked for
        self.left_out: list[str] = []  # candidates that there cannot be, in sentences
        self.starts: dict[str, Start] = {}  # by the candidate's key: the weights that it begins with
        self.fresh = False  # whether the plan was made by this process, which then has its minutes to keep to
        setting = Setting(source.name, source.fingerprint, source.classes, str(machine), place.workers)
        for start, size, name in itertools.product(contract.starts, contract.sizes, contract.networks):
            self._add(name, size, start)
        if not self.asked:
            raise UsageError("; ".join(self.left_out))
        self.folder = Folder(place.folder, setting, machine)
        self.images = images or ImageCache(source, place, self.folder, machine.memory_bytes)

    def close(self) -> None:
        """Let others work in the folder."""
        self.folder.close()

    # --- what there is -----------------------------------------------------------------------------------------------

    def trials(self) -> dict[str, list[TrialRecord]]:
        """The finished trials of this contract by the candidate's key, in the order of the seeds."""
        finished, plan = self.folder.trials(), self.folder.plan(self.contract.plan)
        found: dict[str, list[TrialRecord]] = {}
        for key, one in self.entries.items():
            if one.spec and key not in plan.trials:
                continue
            recipes = [plan.trials[key].seeded(seed) for seed in self.contract.seeds] if one.spec else [None]
            keys = [key_of(one, recipe) for recipe in recipes]
            if records := [finished[trial] for trial in keys if trial in finished]:
                found[key] = records
        return found

    def only(self, keys: Collection[str]) -> None:
        """Go on with these candidates alone."""
        self.entries = {key: one for key, one in self.entries.items() if key in keys}

    def name_of(self, trial: TrialRecord) -> str:
        """The candidate that a trial is of."""
        return self.entries[next(self.owners(trial))].candidate.name

    def owners(self, trial: TrialRecord) -> Iterator[str]:
        """The key of the candidate that a trial is of, if it is of one here."""
        return (key for key, trials in self.trials().items() if trial in trials)

    def rows(self) -> list[ComparisonRow]:
        """The rows of the candidates that have a trial, in the order asked for."""
        trials, timed = self.trials(), self.folder.benchmarks()
        commonest = Counter(item.label for item in self.source.val).most_common(1)[0][1] / len(self.source.val)
        candidates = [self.entries[key].candidate for key in trials if key not in self.failures]
        return rows(candidates, timed, trials, commonest)

    def table(self) -> list[ComparisonRow | FailedRow]:
        """A row for each candidate that has a trial or failed, in the order asked for."""
        made: dict[str, ComparisonRow | FailedRow] = {row.key: row for row in self.rows()}
        for key, (name, error) in self.failures.items():
            known = self.entries.get(key)
            family, kind = (known.candidate.family, known.candidate.kind) if known else ("", "")
            made[key] = FailedRow(name, family, kind, str(error))
        return [made[key] for key in dict.fromkeys(self.asked) if key in made]

    def error(self) -> TopfiveError | None:
        """What ends the command where networks failed: of the first failure's kind, and so with its exit code."""
        for name, first in self.failures.values():
            total = len(self.entries.keys() | self.failures.keys())
            found = type(first)(f"{len(self.failures)} of {total} networks failed, the first {name}: {first}")
            found.__cause__ = first.__cause__ or first
            return found
        return None

    # --- making what is missing --------------------------------------------------------------------------------------

    def run(self, progress: Tick = lambda where: None) -> Iterator[TrialRecord | str]:
        """Make what is missing: benchmarks, the plan, and the trials, seed by seed; each is on disk before it is given.

        What is to be said is a sentence in between. Raises: Interrupted where a signal asked for the end, the state of
        the trial being saved; UsageError where the minutes are too few.
        """
        yield from self.measure(progress)
        yield from self.train(progress)

    def measure(self, progress: Tick) -> Iterator[TrialRecord | str]:
        """Time what was not timed yet, each candidate in the form in which it would serve."""
        yield from self._said()
        yield from self.left_out
        yield from self._open_starts(progress)
        yield from self._timed(progress)

    def train(self, progress: Tick) -> Iterator[TrialRecord | str]:
        """Make the plan and the trials that are missing; raises what `run` raises."""
        yield from self._said()
        yield from self._open_starts(progress)
        plan = yield from self._planned(progress)
        finished = self.folder.trials()
        missing = [
            self._work(one, seed, plan.trials[one.candidate.key])
            for one in self._to_train()
            for seed in self.contract.seeds
            if key_of(one, plan.trials[one.candidate.key].seeded(seed)) not in finished
        ]
        missing = in_turn(missing, self.images)
        begun, done, total, began = 0, 0.0, sum(work.seconds for work in missing), self._passed()

        def works() -> Iterator[Work]:
            nonlocal begun
            for work in missing:
                pace = max(1.0, (self._passed() - began) / done) if done else 1.0
                if self._late(pace * work.seconds):
                    return
                begun += 1
                if work.entry.candidate.key not in self.failures:
                    yield work

        def tick(running: Sequence[tuple[Work, float]], rate: str) -> None:
            seconds = done + sum(share * work.seconds for work, share in running)
            names = " and ".join(work.name for work, _ in running[:2]) + " ..." * (len(running) > 2)
            progress(Progress(names, PREPARING + (1 - PREPARING) * seconds / total, rate))

        if self.place.executor == "ray" and missing:
            made = run_on_ray(works(), self.images, self.place, self.machine, tick)
        else:
            made = run_here(works(), self.images, self.place, progress, tick)
        with closing(made):
            for work, result, said in made:
                done += work.seconds
                if isinstance(result, TrialRecord):
                    self.folder.add_trial(result)
                    yield from said
                    yield result
                elif isinstance(result, (DataError, Interrupted)):  # the others have the same images
                    raise result
                else:
                    yield self._failed(work.entry, result)
        if begun < len(missing):
            yield (
                f"the time is up, with {begun} of {len(missing)} trainings begun: this machine "
                "was quicker when it was timed; the same command makes them"
            )

    def _work(self, one: Entry, seed: int, planned: Planned) -> Work:
        kind = msgspec.structs.replace(self.machine, precision=planned.precision, memory_format=planned.memory_format)
        return Work(one, planned.seeded(seed), kind, planned.seconds, self.starts.get(one.candidate.key))

    def _open_starts(self, progress: Tick) -> Iterator[str]:
        """What candidates begin with: opened before anything is timed, and held, so that all seeds begin alike."""
        folder, finished = Path(self.contract.weights) if self.contract.weights else None, self.trials()
        for one in self._to_train():
            key = one.candidate.key
            done = len(finished.get(key, ())) == len(self.contract.seeds)
            if done or one.candidate.start == SCRATCH or key in self.starts:
                continue
            try:
                self.entries[key], self.starts[key] = opened(one, self.source.classes, folder, progress)
            except Interrupted:
                raise
            except Exception as error:
                yield self._failed(one, error)

    def _late(self, seconds: float) -> bool:
        """Whether a trial would end after the time that was given; never for a plan that is repeated."""
        minutes = self.contract.minutes
        if minutes is None or not self.fresh:
            return False
        return self._passed() + 0.95 * seconds + AFTER > 60 * minutes * self.contract.part

    def _passed(self) -> float:
        return time.perf_counter() - self.place.began

    def _to_train(self) -> list[Entry]:
        return [one for key, one in self.entries.items() if one.spec and key not in self.failures]

    def _timed(self, progress: Tick) -> Iterator[TrialRecord | str]:
        """Time each candidate in the form in which it would serve; the baseline is trained with it."""
        known = self.folder.benchmarks()
        missing = [one for key, one in self.entries.items() if key not in known.keys() | self.failures.keys()]
        for i, one in enumerate(missing):
            progress(Progress(f"{one.candidate.name}: timing", PREPARING / 2 * i / len(missing)))
            try:
                if one.spec is None:
                    yield self._shallow(one, progress)
                    continue
                classes = len(self.source.classes)
                recipe = in_memory(one, classes, self.machine)
                part = -(-recipe.batch // recipe.accumulation_steps)
                benchmark = measure(BenchmarkRequest(one.spec, one.shape, classes, self.machine, training_batch=part))
                self.folder.add_benchmark(one.candidate.key, benchmark)
                if benchmark.cpu_contention > DISTURBED:
                    yield (
                        f"{one.candidate.name}: other programs had {benchmark.cpu_contention:.1f} of "
                        f"the {self.machine.threads} processors while it was timed: its latency and throughput are "
                        "worse than they would be alone"
                    )
            except (DataError, Interrupted):
                raise
            except Exception as error:
                yield self._failed(one, error)

    def _shallow(self, one: Entry, progress: Tick) -> TrialRecord:
        data = self.images.read(one, progress)
        if not isinstance(data, InMemory):
            raise UsageError(f"{shallow.NAME} takes all images at once, and they are not kept in memory: leave it out")
        progress(Progress(f"{one.candidate.name}: features and support vectors", 0.0))
        classes = len(self.source.classes)
        scores, timed, params, seconds = shallow.fit_and_measure(data.images, data.aside, classes, self.machine)
        self.folder.add_benchmark(one.candidate.key, timed)
        record = TrialRecord(key_of(one, None), 0, of_all(scores, len(self.source.val)), 1, seconds, 0.0, params=params)
        self.folder.add_trial(record)
        return record

    def _planned(self, progress: Tick) -> Generator[str, None, Plan]:
        """The plan in the folder, with the candidates that it lacks; the seconds of a training stay what they are."""
        plan, minutes = self.folder.plan(self.contract.plan), self.contract.minutes
        yield from self._without_left_out(plan)
        lacking = [one for one in self._to_train() if one.candidate.key not in plan.trials]
        if not lacking:
            return plan
        self.fresh = not plan.trials
        needs = yield from self._needs(lacking, progress)
        if minutes is None:
            made = {need.candidate.key: by_epochs(need) for need in needs}
            plan = msgspec.structs.replace(plan, trials=plan.trials | made)
        elif needs:
            plan = extended(plan, needs, self.contract, self._passed())
            yield from self._without_left_out(plan)
        self.folder.keep_plan(self.contract.plan, plan)
        return plan

    def _without_left_out(self, plan: Plan) -> Iterator[str]:
        """What is to be said of the plan, also where it is repeated."""
        for key in [key for key in plan.left_out if key in self.entries]:
            yield plan.left_out[key]
            del self.entries[key]
        yield from plan.notes

    def _needs(self, lacking: Sequence[Entry], progress: Tick) -> Generator[str, None, list[Need]]:
        """What the training of each takes; steps are timed only where there are minutes to keep to."""
        needs, contract, classes = [], self.contract, len(self.source.classes)
        for i, one in enumerate(lacking):
            progress(Progress(f"{one.candidate.name}: timing its steps", PREPARING * (0.5 + i / len(lacking) / 2)))
            try:
                data, seeds = self.images.read(one, progress), len(contract.seeds)
                epochs = GUESS if contract.minutes is not None else one.recipe.epochs
                machine, recipe = arithmetic(one, classes, epochs * seeds * len(data), self.machine)
                if contract.minutes is None:
                    needs.append(Need(one.candidate, recipe, machine, UNTIMED, len(data), seeds))
                    continue
                load = Load()
                needs.append(timed(one, self.source, data, machine, recipe, self.place, seeds))
                if (lacked := load.contention(self.machine.threads)) > DISTURBED:
                    yield (
                        f"{one.candidate.name}: other programs had {lacked:.1f} processors while its steps were timed: "
                        "the trainings that are planned are shorter than this machine would allow alone"
                    )
            except (DataError, Interrupted):
                raise
            except Exception as error:
                yield self._failed(one, error)
        return needs

    def _said(self) -> list[str]:
        """What is to be said of the folder, once."""
        said, self.folder.notes = self.folder.notes, []
        return said

    def _add(self, name: str, size: int, start: str) -> None:
        contract = self.contract
        label = f"@{size}" * (len(contract.sizes) > 1) + f" from {Path(start).name}" * (start != SCRATCH)
        try:
            one = entry(name, size, len(self.source.classes), contract.recipe, contract.changes, start, label)
            if why := without(one, start):
                self.left_out.append(why)
                return
            self.entries[one.candidate.key] = one
            self.asked.append(one.candidate.key)
        except UsageError:
            raise
        except Exception as error:
            clear_frames(error.__traceback__)
            key = f"{name} {size} {start}"
            self.failures[key] = name, failure(error, name if ":" in name else None)
            self.asked.append(key)

    def _failed(self, one: Entry, error: Exception) -> str:
        """Keep what went wrong with one network; a sentence that says it."""
        clear_frames(error.__traceback__)  # why: what is kept of it would hold the network, and so its memory
        found = failure(error, one.spec.factory if one.spec else None)
        if found is not error:
            found.__cause__ = error
        self.failures[one.candidate.key] = one.candidate.name, found
        return f"{one.candidate.name} failed: {found}"

    def meta(self) -> dict[str, object]:
        """How the comparison was made, for its page: enough to repeat it."""
        trials = self.trials()
        made = {one.candidate.name: len(trials.get(one.candidate.key, ())) for one in self._to_train()}
        told = provenance(self.source, self.contract, self.place, self.folder, self.machine, self.rows())
        return {**told, "unfinished": unfinished(made, len(self.contract.seeds))}
