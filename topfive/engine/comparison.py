"""The main job: accuracy on the user's images against operations, parameters, memory and latency on this machine."""

import csv
import datetime
import hashlib
import platform
import re
import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from traceback import clear_frames
from typing import NamedTuple

import msgspec
import torch

from topfive.data.files import write_whole
from topfive.data.outputs import mark
from topfive.data.sources import Source
from topfive.engine.benchmark import shallow
from topfive.engine.benchmark.arithmetic import fastest, repeated
from topfive.engine.benchmark.machine import Machine
from topfive.engine.benchmark.measuring import DISTURBED, BenchmarkRequest, measure
from topfive.engine.benchmark.memory import memory_start
from topfive.engine.models.specs import ModelSpec, make, torch_costs
from topfive.engine.training.datasets import Data, InMemory
from topfive.engine.training.job import Job, OutOfMemory, adapted, decoding, fitted, out_of_memory
from topfive.engine.training.loading import chosen, prepare
from topfive.engine.training.loop import Training, train
from topfive.engine.training.processes import Group
from topfive.engine.training.unreadable import BAD_FILES, TooManyUnreadable, note_unreadable
from topfive.engine.training.validation import of_all
from topfive.errors import DataError, Interrupted, RefusedError, ResourceError, TopfiveError, UsageError
from topfive.networks.costs import count
from topfive.networks.layers import Network, with_classes
from topfive.networks.papers import facts, known
from topfive.networks.variations import for_small_images
from topfive.recipes import ours, papers
from topfive.recipes.augmentations import Centre, Crop
from topfive.recipes.editing import changed
from topfive.recipes.recipe import Recipe
from topfive.results.locks import Lock
from topfive.results.progress import Progress
from topfive.results.records import Benchmark, ComparisonRow, EpochRecord, FailedRow, Reading, Scores
from topfive.results.runs import holds_run, load_run
from topfive.results.statistics import interval
from topfive.results.version1 import result_of_now
from topfive.weights.names import network_called

# one network for each idea: the first deep one, small filters stacked, parallel filters, plain against residual at
# equal depth, bottlenecks, and the union of both lines
DEFAULT = (
    shallow.NAME,
    "alexnet",
    "vgg-a",
    "googlenet",
    "cifar-plain-20",
    "cifar-resnet-20",
    "resnet-50",
    "inception-resnet-v1",
)


TRIALS = "trials"  # the run folders of the networks, within the comparison's
DECODING = "decoding.json"
MACHINE = "machine.json"


class Setting(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What all rows of a comparison share; rows of different settings never stand in one table."""

    source: str
    fingerprint: str
    classes: tuple[str, ...]
    size: int
    epochs: int | None  # as are the images in a step, None where they are the recipe's own
    batch: int | None
    seed: int
    machine: str
    workers: int | None = None  # processes that read images anew each epoch; None is as fits the memory
    recipe: str = "quick"

    @property
    def protocol(self) -> str:
        """How every accuracy of the comparison was measured."""
        return f"1-crop {self.size}x{self.size}"

    def recipe_for(self, network: Network | None) -> tuple[Recipe, str]:
        """What `network`, None where it is no value of ours, is trained by; and what is otherwise for it, if anything.

        Raises: UsageError where no recipe has that name.
        """
        fields = {"epochs": self.epochs, "batch": self.batch, "seed": self.seed}
        set = [f"{name}={value}" for name, value in fields.items() if value is not None]
        recipe = changed(papers.get(self.recipe, network), set)
        return adapted(recipe, network, self.size) if network else (recipe, "")


def machine_of(folder: Path, machine: Machine) -> Machine:
    """`machine` with the threads and the arithmetic of the comparison that `folder` holds, if it holds one."""
    try:
        before = msgspec.json.decode((folder / MACHINE).read_bytes(), type=dict[str, object])
    except (OSError, msgspec.MsgspecError):
        return machine
    return repeated(machine, before)


class Comparison:
    """A comparison in its folder: rows that are finished are kept there, and only the missing ones are made.

    Each network of ours is trained by a job in a run folder below, which an interrupted one continues in. The folder is
    locked until `close`. Raises: UsageError where another process works there, or where it holds another comparison.
    """

    def __init__(
        self,
        source: Source,
        names: tuple[str, ...],
        setting: Setting,
        machine: Machine,
        folder: Path,
        max_bad: str | None = None,
        command: Sequence[str] = (),
    ) -> None:
        self.source, self.setting, self.machine, self.folder = source, setting, machine, folder
        self.max_bad, self.command = max_bad, list(command)
        asked = [None if name == shallow.NAME else subject(name, setting.size) for name in names]
        by_key = {self._key(entry): entry for entry in asked}  # a network named twice, or by an alias, is one row
        self.keys, self.subjects = list(by_key), list(by_key.values())
        self.data: Data | None = None  # the images as they were read last
        self.readings: dict[Crop, Reading] = {}  # how they come for a recipe's crops
        self.failures: dict[str, TopfiveError] = {}  # by key: what this run could make no row of
        self.notes: list[str] = []
        self._prepare_folder()

    def close(self) -> None:
        """Let others work in the folder."""
        self._lock.release()

    def rows(self) -> list[ComparisonRow]:
        """The finished rows of the networks asked for, in the order asked for."""
        finished = self._finished()
        return [finished[key] for key in self.keys if key in finished]

    def table(self) -> list[ComparisonRow | FailedRow]:
        """A row for each network asked for that is finished or failed."""
        finished = self._finished()
        return [
            finished[key] if key in finished else FailedRow(*_named(entry), failed=str(self.failures[key]))
            for entry, key in zip(self.subjects, self.keys)
            if key in finished or key in self.failures
        ]

    def error(self) -> TopfiveError | None:
        """What ends the command where networks failed: of the first failure's kind, and so with its exit code."""
        for key, first in self.failures.items():
            name = _named(self.subjects[self.keys.index(key)]).name
            found = type(first)(f"{len(self.failures)} of {len(self.keys)} networks failed, the first {name}: {first}")
            found.__cause__ = first.__cause__ or first
            return found
        return None

    def unreadable(self) -> list[dict[str, str]]:
        """The images that were skipped, with why; from the folder, so that a later run knows them too."""
        path = self.folder / BAD_FILES
        if not path.exists():
            return []
        with path.open(newline="", encoding="utf-8") as file:
            return [{"path": row["path"], "why": row["reason"]} for row in csv.DictReader(file)]

    def run(self, progress: Callable[[Progress], object] = lambda where: None) -> Iterator[ComparisonRow | str]:
        """Make the rows that are missing, one after the other; each is on disk before it is given.

        What is to be said is a sentence in between; of a network that fails, one in place of the row.
        Raises: Interrupted where a signal asked for the end; the network's state is saved.
        """
        finished = self._finished()
        missing = []
        for entry, key in zip(self.subjects, self.keys):
            if key in finished:
                continue
            try:  # why: before any training, so that a size that does not fit is known now and not an hour later
                if entry and entry.factory:
                    make(entry, (3, self.setting.size, self.setting.size), len(self.setting.classes))
                missing.append((entry, key, self._work(entry), self._reading(entry)))
            except Exception as error:
                yield self._failed(entry, key, error)
        total, done = sum(work for _, _, work, _ in missing), 0.0
        order = list(dict.fromkeys(reading for *_, reading in missing))  # why: the images are read once for each
        for entry, key, work, reading in sorted(missing, key=lambda one: order.index(one[3])):

            def tick(doing: str, share: float, rate: str = "", done: float = done, work: float = work) -> None:
                progress(Progress(doing, (done + share * work) / total, rate))

            try:
                yield from self._said()
                data = self._read(reading, progress)
                row = self._row(entry, data, tick) if entry else self._shallow_row(data, tick)
            except (DataError, Interrupted):  # the others have the same images
                raise
            except Exception as error:
                done += work
                yield self._failed(entry, key, error)
                continue
            row = msgspec.structs.replace(row, key=key)
            rows = [*self._finished().values(), row]
            write_whole(self.folder / "rows.jsonl", msgspec.json.Encoder().encode_lines(rows))
            note_unreadable(self.folder, data.unreadable.values())  # again: a file may have gone since
            done += work
            yield row
        yield from self._said()

    def _said(self) -> list[str]:
        """What is to be said of the folders, once."""
        said, self.notes = self.notes, []
        return said

    def meta(self) -> dict[str, object]:
        """How the comparison was made, for its page: enough to repeat it."""
        return {
            "source": str(self.source),
            "classes": len(self.source.classes),
            "class_names": list(self.source.classes),
            "notes": [*self.source.notes, *(f"{row.name}: {note}" for row in self.rows() for note in row.notes)],
            "use": self.use(),
            "unreadable": self.unreadable(),
            "decoding": self.decoding(),
            "waiting": self._waiting(),
            "disturbed": self._disturbed(),
            "fingerprint": self.source.fingerprint,
            "command": shlex.join(self.command),
            "protocol": self.setting.protocol,
            "recipe": self._recipe(),
            "seed": self.setting.seed,
            "machine": msgspec.to_builtins(self.machine),
            "versions": {
                "topfive": version("topfive"),
                "python": platform.python_version(),
                **{name: version(name) for name in ("torch", "numpy", "pillow", "msgspec")},
            },
            "made": datetime.date.today().isoformat(),
        }

    def decoding(self) -> str:
        """How images became pixels, and what was done knowingly to how many of them."""
        path = self.folder / DECODING  # in the folder, so that a later run knows it too
        done = msgspec.json.decode(path.read_bytes(), type=dict[str, int]) if path.exists() else {}
        reading = "kept in memory" if self.setting.workers is None else f"read anew by {self.setting.workers} processes"
        return "; ".join([decoding(self.source), reading, *(f"{what}: {count:,}" for what, count in done.items())])

    def use(self) -> str:
        """How the trained network that names most images correctly is used, as a command; "" where none is kept."""
        best = max((row for row in self.rows() if row.trial), key=lambda row: row.top1_accuracy, default=None)
        return f"topfive predict {shlex.quote(str(self.folder / best.trial))} FILE" if best else ""

    def _recipe(self) -> str:
        setting = self.setting
        if setting.recipe == "quick" and setting.epochs and setting.batch:
            return ours.describe(setting.epochs, setting.batch)
        own = {"epochs": setting.epochs, "batch": setting.batch}
        changes = [f"{name} {value}" for name, value in own.items() if value is not None]
        return ", ".join([f"{setting.recipe}, as topfive train --recipe {setting.recipe} takes it", *changes])

    def _waiting(self) -> str:
        most = max(self.rows(), key=lambda row: row.data_wait, default=None)
        return "" if most is None else f"at most {most.data_wait:.0%} of the training time ({most.name})"

    def _disturbed(self) -> str:
        found = [
            f"{row.cpu_contention:.1f} while {row.name} was" for row in self.rows() if row.cpu_contention > DISTURBED
        ]
        return f"other processes used CPU cores: {', '.join(found)} measured" if found else ""

    def _reading(self, entry: ModelSpec | None) -> Reading:
        """How the images come to the training of `entry`; to the shallow baseline as the validation images do."""
        crop = self.setting.recipe_for(entry.network)[0].augmentation.crop if entry else Centre()
        if crop not in self.readings:
            self.readings[crop] = chosen(self.source, self.setting.size, crop, self.setting.workers)
        return self.readings[crop]

    def _read(self, reading: Reading, progress: Callable[[Progress], object]) -> Data:
        """The images, read where they are not there as `reading` says."""
        if self.data and self.data.reading == reading:
            return self.data
        total, seen = len(self.source.train) + len(self.source.val), 0
        began = time.perf_counter()

        def tick(count: int) -> None:
            nonlocal seen
            seen += count
            if seen % 50 == 0 or seen == total:
                rate = seen / (time.perf_counter() - began)
                progress(Progress(f"reading {self.source.name}", 0.0, f"{rate:,.0f} images/s of {total:,}"))

        self.data = None  # why: there is not room for both
        try:
            data = prepare(self.source, self.setting.size, Centre(), None, tick, reading, self.max_bad)
        except TooManyUnreadable as error:
            raise DataError(f"{error}; all of them: {note_unreadable(self.folder, error.unreadable)}") from None
        write_whole(self.folder / DECODING, msgspec.json.encode(dict(data.done.most_common())))
        note_unreadable(self.folder, data.unreadable.values())
        self.data = data
        return data

    def _work(self, entry: ModelSpec | None) -> float:
        """A guess of the time a row takes, for the time left: measuring, and training by its multiply-adds."""
        measuring = 4e12
        if entry is None:
            return measuring
        shape = (3, self.setting.size, self.setting.size)
        macs = self._costs(entry, shape)[1]
        return measuring + 3.0 * self.setting.recipe_for(entry.network)[0].epochs * len(self.source.train) * (
            macs + 2e7
        )

    def _costs(self, entry: ModelSpec, shape: tuple[int, int, int]) -> tuple[int, int]:
        """(params, macs)."""
        if entry.network is None:
            return torch_costs(entry, shape, len(self.setting.classes))
        costs = count(with_classes(entry.network, len(self.setting.classes)), shape)
        return costs.params, costs.macs

    def _row(self, entry: ModelSpec, data: Data, tick: Callable[..., None]) -> ComparisonRow:
        setting, classes = self.setting, len(self.setting.classes)
        shape = (3, setting.size, setting.size)
        params, macs = self._costs(entry, shape)
        tick(f"{entry.name}: measuring", 0.0)
        recipe, left_out = setting.recipe_for(entry.network)
        trial = self._trial(entry.network, recipe) if entry.network else None
        if trial and holds_run(trial):  # why: it continues with what it began with
            machine = repeated(self.machine, load_run(trial).machine)
        else:
            machine, _ = fastest(entry, shape, classes, recipe.batch, recipe.epochs * len(data), self.machine)
        if entry.network:
            recipe = fitted(recipe, entry.network, setting.size, classes, machine)
        measured = measure(
            BenchmarkRequest(
                entry, shape, classes, machine, training_batch=-(-recipe.batch // recipe.accumulation_steps)
            )
        )
        memory_start(self.machine)  # why: networks before this one took memory too
        epochs = self._trained(entry, trial, data, recipe, machine, tick)
        scores = epochs[-1].scores
        assert scores is not None  # the last epoch is always evaluated
        in_parts = (
            f"a batch is computed in {recipe.accumulation_steps} parts, for this machine's memory"
            if recipe.accumulation_steps > 1
            else ""
        )
        unkept = "" if trial else "trained without a run folder, which takes a network of topfive's: no model is kept"
        return msgspec.structs.replace(
            self._measured(entry, scores, measured, (params, macs), epochs[-1].seconds),
            counted_by="topfive" if entry.network else "torch",
            epochs=recipe.epochs,
            learning_rate=recipe.peak,
            precision=machine.precision,
            memory_format=machine.memory_format,
            data_wait=sum(epoch.data_wait for epoch in epochs) / len(epochs),
            curve=_curve(epochs),
            trial=trial.relative_to(self.folder).as_posix() if trial else "",
            training_peak_bytes=max(epoch.memory_bytes for epoch in epochs),
            notes=tuple(filter(None, (left_out, in_parts, unkept))),
        )

    def _trial(self, network: Network, recipe: Recipe) -> Path:
        """The run folder of `network`; where one of that name is there that is trained otherwise, another one."""
        name, seed = re.sub(r"[^\w.+-]", "-", network.name), self.setting.seed
        folder = self.folder / TRIALS / f"{name}-seed{seed}"
        if holds_run(folder):
            found, classes = load_run(folder), len(self.setting.classes)
            there = found.network, {**found.recipe, "accumulation_steps": 1}, found.size, found.source["fingerprint"]
            plain = msgspec.structs.replace(
                recipe, accumulation_steps=1
            )  # why: how many there are, is found out for the machine
            ours = with_classes(network, classes), plain, self.setting.size, self.source.fingerprint
            stated = msgspec.json.encode(ours)
            if msgspec.json.encode(there) != stated:
                folder = folder.with_name(f"{name}-{hashlib.sha256(stated).hexdigest()[:8]}-seed{seed}")
        return folder

    def _trained(
        self,
        entry: ModelSpec,
        trial: Path | None,
        data: Data,
        recipe: Recipe,
        machine: Machine,
        tick: Callable[..., None],
    ) -> list[EpochRecord]:
        """Train, as `topfive train` does; a module of the user's own without a folder, which has no place for it."""
        rows: list[EpochRecord] = []
        if entry.network and trial:
            size, bad = self.setting.size, self.max_bad
            job = Job(entry.network, self.source, recipe, size, machine, Group(), trial, max_bad=bad, data=data)
            self.notes += job.open(self.command, self.setting.workers)
            events = job.steps(shlex.join(self.command), last_alone=True)
        else:
            torch.manual_seed(recipe.seed)
            net = make(entry, (3, self.setting.size, self.setting.size), len(self.setting.classes))
            events = train(Training(net, data, recipe, machine))
        before, began = 0, time.perf_counter()
        for event in events:
            if isinstance(event, EpochRecord):
                rows.append(event)
                continue
            before = before or event.images  # why: a resumed network has images that were not trained on now
            rate = f"{(event.images - before) / (time.perf_counter() - began):,.0f} images/s"
            tick(f"{entry.name}: training", 0.1 + 0.9 * event.images / (recipe.epochs * len(data)), rate)
        return rows

    def _shallow_row(self, data: Data, tick: Callable[..., None]) -> ComparisonRow:
        tick(f"{shallow.NAME}: features and support vectors", 0.0)
        classes = len(self.setting.classes)
        if not isinstance(data, InMemory):
            raise UsageError(f"{shallow.NAME} takes all images at once, and they are not kept in memory: leave it out")
        scores, measured, params, seconds = shallow.fit_and_measure(data.images, data.aside, classes, self.machine)
        scores = of_all(scores, len(data.source.val))
        costs = params, params - (1 if classes == 2 else classes)
        return self._measured(None, scores, measured, costs, seconds)

    def _measured(
        self, entry: ModelSpec | None, scores: Scores, measured: Benchmark, costs: tuple[int, int], seconds: float
    ) -> ComparisonRow:
        """What every row has; the rest as of the shallow baseline, whose classifier alone is counted."""
        name, family, kind = _named(entry)
        low1, high1 = interval(scores.correct1, scores.images)
        low5, high5 = (None, None) if scores.correct5 is None else interval(scores.correct5, scores.images)
        params, macs = costs
        return ComparisonRow(
            name=name,
            family=family,
            kind=kind,
            top1_accuracy=scores.top1_accuracy,
            top1_low=low1,
            top1_high=high1,
            top5_accuracy=scores.top5_accuracy,
            top5_low=low5,
            top5_high=high5,
            images=scores.images,
            unreadable=scores.unreadable,
            protocol=self.setting.protocol,
            params=params,
            macs=macs,
            ops=2 * macs,
            counted_by="classifier alone",
            **msgspec.structs.asdict(measured),
            training_seconds=seconds,
            epochs=1,
            learning_rate=None,
        )

    def _failed(self, entry: ModelSpec | None, key: str, error: Exception) -> str:
        """Keep what went wrong with one network; a sentence that says it."""
        clear_frames(error.__traceback__)  # why: what is kept of it would hold the network, and so its memory
        found = self.failures[key] = failure(error, entry.factory if entry else None)
        if found is not error:
            found.__cause__ = error
        return f"{_named(entry).name} failed: {found}"

    def _key(self, entry: ModelSpec | None) -> str:
        setting = msgspec.to_builtins(self.setting)
        if self.setting.recipe == "quick":  # why: rows of before there was another are still found
            del setting["recipe"]
        return hashlib.sha256(msgspec.json.encode((entry, setting))).hexdigest()[:16]

    def _prepare_folder(self) -> None:
        try:
            mark(self.folder)
            self._lock = Lock(self.folder / "lock")
            try:
                self.notes += self._lock.take()
                self._state()
            except BaseException:
                self.close()
                raise
        except (OSError, ResourceError, msgspec.MsgspecError) as error:
            raise ResourceError(f"{self.folder} cannot be used for results: {error}") from None

    def _state(self) -> None:
        """Write down what the comparison is. Raises: UsageError where the folder holds rows of another."""
        stated = self.folder / "setting.json"
        if stated.exists() and self._finished():  # why: without a row there is nothing that could be mixed up
            before = msgspec.json.decode(stated.read_bytes(), type=Setting)
            changed = [
                f"{field} {getattr(before, field)!r} there, {getattr(self.setting, field)!r} now"
                for field in Setting.__struct_fields__
                if getattr(before, field) != getattr(self.setting, field)
            ]
            if changed:
                what = "; ".join(changed)
                stay = "; images that cannot be read may stay there (--max-bad)" if self.unreadable() else ""
                raise UsageError(f"{self.folder} holds another comparison ({what}): give another --out{stay}")
        write_whole(self.folder / MACHINE, msgspec.json.format(msgspec.json.encode(self.machine)))
        write_whole(stated, msgspec.json.format(msgspec.json.encode(self.setting)))

    def _finished(self) -> dict[str, ComparisonRow]:
        path = self.folder / "rows.jsonl"
        rows: dict[str, ComparisonRow] = {}
        for line in path.read_bytes().splitlines() if path.exists() else ():
            try:
                row = msgspec.convert(result_of_now(msgspec.json.decode(line)), ComparisonRow)
            except msgspec.MsgspecError:
                continue  # why: a run killed while it wrote leaves half a line; that row is made again
            if row.unreadable and row.images != len(self.source.val):
                continue  # why: of before unreadable images counted as errors; it is made again
            rows[row.key] = row
        return rows


def subject(name: str, size: int) -> ModelSpec:
    """What `name` means: a network of ours, a network in a JSON file, or `package.module:factory`; made for `size`.

    Raises: UsageError where nothing has that name, SizeError where the network does not fit the size.
    """
    if ":" in name:
        return ModelSpec(name, factory=name)
    network = for_small_images(network_called(name), size)
    count(network)
    return ModelSpec(network.name, network)


def failure(error: Exception, factory: str | None) -> TopfiveError:
    """What went wrong, as a sentence with its exit code; `factory` is the user's own where it is of one."""
    if isinstance(error, OutOfMemory) or out_of_memory(error):
        return ResourceError("memory ran out: a smaller --batch or --size takes less")
    if isinstance(error, TopfiveError):
        return error
    if isinstance(error, OSError):
        return ResourceError(str(error))
    if factory:
        return RefusedError(f"{factory} fails: {type(error).__name__}: {error}")
    return TopfiveError(f"a bug of ours, {type(error).__name__}: {error} (--debug shows where)")


def _curve(epochs: Sequence[EpochRecord]) -> tuple[dict[str, float], ...]:
    return tuple(
        {
            "epoch": epoch.epoch,
            "loss": epoch.loss,
            "train_accuracy": epoch.train_accuracy,
            "accuracy": epoch.scores.top1_accuracy,
        }
        for epoch in epochs
        if epoch.scores
    )


class _Named(NamedTuple):
    """What a row says of its network before anything is measured: its first fields."""

    name: str
    family: str
    kind: str


def _named(entry: ModelSpec | None) -> _Named:
    """Of None, the shallow baseline, too."""
    if entry is None:
        return _Named(shallow.NAME, "shallow", "shallow")
    return _Named(entry.name, _family(entry), "network" if entry.network else "module")


def _family(entry: ModelSpec) -> str:
    if entry.network is None or entry.network.paper not in known():
        return "yours"
    return facts(entry.network.paper).family
