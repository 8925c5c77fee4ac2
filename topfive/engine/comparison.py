"""The main job: accuracy on the user's images against operations, parameters, memory and latency on this machine."""

import csv
import datetime
import hashlib
import platform
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from traceback import clear_frames
from typing import Any, NamedTuple

import msgspec
import torch

from topfive.data.outputs import mark
from topfive.data.sources import Source
from topfive.engine.benchmark import shallow
from topfive.engine.benchmark.arithmetic import fastest, repeated
from topfive.engine.benchmark.measuring import DISTURBED, BenchmarkRequest, Machine, measure
from topfive.engine.models.modules import ModelSpec, make, torch_costs
from topfive.engine.training.loading import (
    BAD_FILES,
    Data,
    InMemory,
    TooManyUnreadable,
    note_unreadable,
    prepare,
    usual_side,
)
from topfive.engine.training.loop import train
from topfive.engine.training.validation import of_all
from topfive.errors import DataError, RefusedError, ResourceError, TopfiveError, UsageError
from topfive.networks.costs import count
from topfive.networks.layers import Network, from_json, with_classes
from topfive.networks.papers import facts, known
from topfive.networks.variations import for_small_images
from topfive.recipes import ours as ours_of_recipes
from topfive.results.progress import Progress
from topfive.results.records import Scores
from topfive.results.statistics import interval
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


DECODING = "decoding.json"
MACHINE = "machine.json"
OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "CUBLAS_STATUS_ALLOC_FAILED")


class Setting(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What all rows of a comparison share; rows of different settings never stand in one table."""

    source: str
    fingerprint: str
    classes: tuple[str, ...]
    size: int
    epochs: int
    batch: int
    seed: int
    machine: str
    workers: int | None = None  # processes that read images anew each epoch; None is as fits the memory

    @property
    def protocol(self) -> str:
        """How every accuracy of the comparison was measured."""
        return f"1-crop {self.size}x{self.size}"


class Row(msgspec.Struct, frozen=True):
    """One network of a comparison. Accuracies are fractions with their 95 % interval; None where Top-5 says nothing."""

    name: str
    family: str
    kind: str  # network, module (a user's own) or shallow
    top1_accuracy: float
    top1_low: float
    top1_high: float
    top5_accuracy: float | None
    top5_low: float | None
    top5_high: float | None
    images: int
    unreadable: int
    protocol: str
    params: int
    macs: int
    ops: int
    counted_by: str
    latency_ms: float
    latency_low_ms: float
    latency_high_ms: float
    throughput: float
    throughput_low: float
    throughput_high: float
    throughput_batch: int
    memory_inference_bytes: int
    memory_training_bytes: int
    training_batch: int
    training_seconds: float
    epochs: int
    learning_rate: float | None
    precision: str = ""  # of training, as is the memory format; "" for what is not torch's
    memory_format: str = ""
    waiting: float = 0.0  # the share of the training time in which the next batch was waited for
    wanting: float = 0.0  # processors that the timings lacked, since other programs had them
    curve: tuple[dict[str, float], ...] = ()
    key: str = ""  # of everything that the row depends on: the network's value and the setting
    failed: str | None = None  # why there is no row: then only `name`, `family` and `kind` say something


def machine_of(folder: Path, machine: Machine) -> Machine:
    """`machine` with the threads and the arithmetic of the comparison that `folder` holds, if it holds one."""
    try:
        before = msgspec.json.decode((folder / MACHINE).read_bytes(), type=dict[str, object])
    except (OSError, msgspec.MsgspecError):
        return machine
    return repeated(machine, before)


class Comparison:
    """A comparison in its folder: rows that are finished are kept there, and only the missing ones are made."""

    def __init__(
        self,
        source: Source,
        names: tuple[str, ...],
        setting: Setting,
        machine: Machine,
        folder: Path,
        max_bad: str | None = None,
    ) -> None:
        self.source, self.setting, self.machine, self.folder = source, setting, machine, folder
        self.max_bad = max_bad
        asked = [None if name == shallow.NAME else subject(name, setting.size) for name in names]
        by_key = {self._key(entry): entry for entry in asked}  # a network named twice, or by an alias, is one row
        self.keys, self.subjects = list(by_key), list(by_key.values())
        self.decoded = False  # whether this run has read the images, and so knows of unreadable ones
        self.skipped = ""  # how many are, in a sentence
        self.failures: dict[str, TopfiveError] = {}  # by key: what this run could make no row of
        self._prepare_folder()

    def rows(self) -> list[Row]:
        """The finished rows of the networks asked for, in the order asked for."""
        finished = self._finished()
        return [finished[key] for key in self.keys if key in finished]

    def table(self) -> list[dict[str, Any]]:
        """A row for each network asked for that is finished or failed: of those that failed the reason alone."""
        finished, empty = self._finished(), dict.fromkeys(Row.__struct_fields__)
        return [
            msgspec.structs.asdict(finished[key])
            if key in finished
            else {**empty, **_named(entry)._asdict(), "failed": str(self.failures[key])}
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

    def run(self, progress: Callable[[Progress], object] = lambda where: None) -> Iterator[Row | str]:
        """Make the rows that are missing, one after the other; each is on disk before it is given.

        Of a network that fails, a sentence is given in place of the row, and the others follow.
        """
        finished = self._finished()
        missing = []
        for entry, key in zip(self.subjects, self.keys):
            if key in finished:
                continue
            try:  # why: before any training, so that a size that does not fit is known now and not an hour later
                if entry and entry.factory:
                    make(entry, (3, self.setting.size, self.setting.size), len(self.setting.classes))
                missing.append((entry, key, self._work(entry)))
            except Exception as error:
                yield self._failed(entry, key, error)
        if not missing:
            return
        total = sum(work for *_, work in missing)
        data = self._read(progress)
        done = 0.0
        for entry, key, work in missing:

            def tick(doing: str, share: float, rate: str = "", done: float = done, work: float = work) -> None:
                progress(Progress(doing, (done + share * work) / total, rate))

            try:
                row = self._row(entry, data, tick) if entry else self._shallow_row(data, tick)
            except DataError:  # the others have the same images
                raise
            except Exception as error:
                done += work
                yield self._failed(entry, key, error)
                continue
            row = msgspec.structs.replace(row, key=key)
            with (self.folder / "rows.jsonl").open("ab") as file:
                file.write(msgspec.json.encode(row) + b"\n")
            note_unreadable(self.folder, data.unreadable.values())  # again: a file may have gone since
            done += work
            yield row

    def meta(self, command: str) -> dict[str, object]:
        """How the comparison was made, for its page: enough to repeat it."""
        return {
            "source": str(self.source),
            "classes": len(self.source.classes),
            "class_names": list(self.source.classes),
            "notes": list(self.source.notes),
            "unreadable": self.unreadable(),
            "decoding": self.decoding(),
            "waiting": self._waiting(),
            "disturbed": self._disturbed(),
            "fingerprint": self.source.fingerprint,
            "command": command,
            "protocol": self.setting.protocol,
            "recipe": ours_of_recipes.describe(self.setting.epochs, self.setting.batch),
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
        upright = "applied" if self.source.upright else "ignored"
        said = ["decoded whole, bilinear with antialiasing", f"EXIF orientation {upright}", reading]
        return "; ".join([*said, *(f"{what}: {count:,}" for what, count in done.items())])

    def _waiting(self) -> str:
        most = max(self.rows(), key=lambda row: row.waiting, default=None)
        return "" if most is None else f"at most {most.waiting:.0%} of the training time ({most.name})"

    def _disturbed(self) -> str:
        found = [f"{row.name} lacked {row.wanting:.1f}" for row in self.rows() if row.wanting > DISTURBED]
        return f"{', '.join(found)} of {self.machine.threads} processors, which other programs had" if found else ""

    def _read(self, progress: Callable[[Progress], object]) -> Data:
        total, seen = len(self.source.train) + len(self.source.val), 0
        began = time.perf_counter()

        def tick(count: int) -> None:
            nonlocal seen
            seen += count
            if seen % 50 == 0 or seen == total:
                rate = seen / (time.perf_counter() - began)
                progress(Progress(f"reading {self.source.name}", 0.0, f"{rate:,.0f} images/s of {total:,}"))

        crop = ours_of_recipes.quick(None, 1).augmentation.crop
        try:
            data = prepare(self.source, self.setting.size, crop, self.setting.workers, tick, max_bad=self.max_bad)
        except TooManyUnreadable as error:
            raise DataError(f"{error}; all of them: {note_unreadable(self.folder, error.unreadable)}") from None
        (self.folder / DECODING).write_bytes(msgspec.json.encode(dict(data.done.most_common())))
        note_unreadable(self.folder, data.unreadable.values())
        self.decoded, self.skipped = True, data.skipped
        return data

    def _work(self, entry: ModelSpec | None) -> float:
        """A guess of the time a row takes, for the time left: measuring, and training by its multiply-adds."""
        measuring = 4e12
        if entry is None:
            return measuring
        shape = (3, self.setting.size, self.setting.size)
        macs = self._costs(entry, shape)[1]
        return measuring + 3.0 * self.setting.epochs * len(self.source.train) * (macs + 2e7)

    def _costs(self, entry: ModelSpec, shape: tuple[int, int, int]) -> tuple[int, int]:
        """(params, macs)."""
        if entry.network is None:
            return torch_costs(entry, shape, len(self.setting.classes))
        costs = count(with_classes(entry.network, len(self.setting.classes)), shape)
        return costs.params, costs.macs

    def _row(self, entry: ModelSpec, data: Data, tick: Callable[..., None]) -> Row:
        setting, classes = self.setting, len(self.setting.classes)
        shape = (3, setting.size, setting.size)
        params, macs = self._costs(entry, shape)
        tick(f"{entry.name}: measuring", 0.0)
        machine, _ = fastest(entry, shape, classes, setting.batch, setting.epochs * len(data), self.machine)
        measured = measure(BenchmarkRequest(entry, shape, classes, machine, training_batch=setting.batch))
        recipe = ours_of_recipes.quick(entry.network, setting.epochs, setting.batch, setting.seed)
        torch.manual_seed(setting.seed)
        net = make(entry, shape, classes)
        total, seen, began = setting.epochs * len(data), 0, time.perf_counter()

        def stepped(images: int) -> None:
            nonlocal seen
            seen += images
            rate = f"{seen / (time.perf_counter() - began):,.0f} images/s"
            tick(f"{entry.name}: training", 0.1 + 0.9 * seen / total, rate)

        epochs = list(train(net, data, recipe, machine, stepped))
        scores = epochs[-1].scores
        assert scores is not None  # the last epoch is always evaluated
        curve = tuple(
            {
                "epoch": epoch.epoch,
                "loss": epoch.loss,
                "train_accuracy": epoch.train_accuracy,
                "accuracy": epoch.scores.top1_accuracy,
            }
            for epoch in epochs
            if epoch.scores
        )
        name, family, kind = _named(entry)
        return Row(
            name=name,
            family=family,
            kind=kind,
            **self._accuracy(scores),
            params=params,
            macs=macs,
            ops=2 * macs,
            counted_by="topfive" if entry.network else "torch",
            **msgspec.structs.asdict(measured),
            training_seconds=epochs[-1].seconds,
            epochs=setting.epochs,
            learning_rate=recipe.peak,
            precision=machine.precision,
            memory_format=machine.memory_format,
            waiting=sum(epoch.waiting for epoch in epochs) / len(epochs),
            curve=curve,
        )

    def _shallow_row(self, data: Data, tick: Callable[..., None]) -> Row:
        tick(f"{shallow.NAME}: features and support vectors", 0.0)
        classes = len(self.setting.classes)
        if not isinstance(data, InMemory):
            raise UsageError(f"{shallow.NAME} takes all images at once, and they are not kept in memory: leave it out")
        scores, measured, params, seconds = shallow.fit_and_measure(data.images, data.aside, classes, self.machine)
        scores = of_all(scores, len(data.source.val))
        macs = params - (1 if classes == 2 else classes)
        name, family, kind = _named(None)
        return Row(
            name=name,
            family=family,
            kind=kind,
            **self._accuracy(scores),
            params=params,
            macs=macs,
            ops=2 * macs,
            counted_by="classifier alone",
            **msgspec.structs.asdict(measured),
            training_seconds=seconds,
            epochs=1,
            learning_rate=None,
        )

    def _accuracy(self, scores: Scores) -> dict[str, Any]:
        low5, high5 = (None, None) if scores.correct5 is None else interval(scores.correct5, scores.images)
        low1, high1 = interval(scores.correct1, scores.images)
        return {
            "top1_accuracy": scores.top1_accuracy,
            "top1_low": low1,
            "top1_high": high1,
            "top5_accuracy": scores.top5_accuracy,
            "top5_low": low5,
            "top5_high": high5,
            "images": scores.images,
            "unreadable": scores.unreadable,
            "protocol": self.setting.protocol,
        }

    def _failed(self, entry: ModelSpec | None, key: str, error: Exception) -> str:
        """Keep what went wrong with one network; a sentence that says it."""
        clear_frames(error.__traceback__)  # why: what is kept of it would hold the network, and so its memory
        found = self.failures[key] = failure(error, entry.factory if entry else None)
        if found is not error:
            found.__cause__ = error
        return f"{_named(entry).name} failed: {found}"

    def _key(self, entry: ModelSpec | None) -> str:
        what = msgspec.json.encode((entry, self.setting))
        return hashlib.sha256(what).hexdigest()[:16]

    def _prepare_folder(self) -> None:
        try:
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
            mark(self.folder)
            (self.folder / MACHINE).write_bytes(msgspec.json.format(msgspec.json.encode(self.machine)))
            stated.write_bytes(msgspec.json.format(msgspec.json.encode(self.setting)))
        except (OSError, msgspec.MsgspecError) as error:
            raise ResourceError(f"{self.folder} cannot be used for results: {error}") from None

    def _finished(self) -> dict[str, Row]:
        path = self.folder / "rows.jsonl"
        rows: dict[str, Row] = {}
        for line in path.read_bytes().splitlines() if path.exists() else ():
            try:
                row = msgspec.json.decode(line, type=Row)
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
    network = for_small_images(named(name), size)
    count(network)
    return ModelSpec(network.name, network)


def named(name: str) -> Network:
    """The network of ours, or in a JSON file, that `name` means. Raises: UsageError where nothing has that name."""
    if not name.endswith(".json"):
        return network_called(name)
    path = Path(name)
    if not path.is_file():
        raise UsageError(f"there is no file {name!r}")
    return from_json(path.read_bytes())


def failure(error: Exception, factory: str | None) -> TopfiveError:
    """What went wrong, as a sentence with its exit code; `factory` is the user's own where it is of one."""
    if isinstance(error, TopfiveError):
        return error
    if out_of_memory(error):
        return ResourceError("memory ran out: a smaller --batch or --size takes less")
    if isinstance(error, OSError):
        return ResourceError(str(error))
    if factory:
        return RefusedError(f"{factory} fails: {type(error).__name__}: {error}")
    return TopfiveError(f"a bug of ours, {type(error).__name__}: {error} (--debug shows where)")


def out_of_memory(error: Exception) -> bool:
    """Whether that is what the error says, of whichever device."""
    return isinstance(error, MemoryError) or any(words in str(error) for words in OUT_OF_MEMORY)


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


def default_size(source: Source) -> int:
    """32, 64 or 128: the largest that the images fill."""
    side = usual_side(source)
    return 128 if side >= 112 else 64 if side >= 56 else 32
