"""One training as `topfive train` and `topfive resume` run it: from names to a run folder that says everything."""

import datetime
import platform
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import version
from pathlib import Path

import msgspec
import torch

from topfive.data.opening import lasting
from topfive.data.sources import Source
from topfive.engine.benchmark.machine import Machine
from topfive.engine.models.modules import build
from topfive.engine.models.towers import Row, Towers, table, two_devices
from topfive.engine.training.checkpoints import Checkpointer
from topfive.engine.training.datasets import Data
from topfive.engine.training.fitting import refusal
from topfive.engine.training.initial_weights import Start
from topfive.engine.training.loading import chosen, prepare, repeated
from topfive.engine.training.loop import Step, Training, records, train
from topfive.engine.training.processes import Group
from topfive.engine.training.sizes import default_size, usual_side
from topfive.engine.training.unreadable import TooManyUnreadable, note_unreadable
from topfive.engine.training.whitening import whiten
from topfive.errors import DataError, DivergedError, ResourceError, UsageError
from topfive.networks.costs import count
from topfive.networks.layers import Network, with_classes
from topfive.networks.variations import for_small_images
from topfive.recipes.plan import ended, total_steps
from topfive.recipes.recipe import Recipe
from topfive.results.records import EpochRecord
from topfive.results.runs import Run, load_run, open_run
from topfive.results.scored import recorded
from topfive.results.training import Begun, Reading, Stated
from topfive.weights.names import network_called

FILLED = 0.8  # of a network's own side that images must have, for it to be trained at that side by default
OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "CUBLAS_STATUS_ALLOC_FAILED")


class OutOfMemory(ResourceError):
    """Of a step of a training."""


class Plan(msgspec.Struct, frozen=True):
    """What a training takes, as an estimate before anything runs."""

    steps: int
    training_ops: int
    memory_bytes: int


class Job:
    """A network, images, a recipe and a folder. Raises: UsageError, before anything is read, for what cannot be.

    `data` are the images where they were read before. `devices` is where `towers` lays the network, and `table` what
    each holds: None and no rows for one device.
    """

    def __init__(
        self,
        network: Network,
        source: Source,
        recipe: Recipe,
        size: int,
        machine: Machine,
        group: Group,
        folder: Path,
        towers: bool = False,
        max_bad: str | None = None,
        data: Data | None = None,
    ) -> None:
        self.data = data
        self.network = with_classes(network, len(source.classes))
        self.source, self.size, self.machine = source, size, machine
        self.recipe = recipe = ended(recipe, len(source.train))
        self.group, self.folder, self.max_bad = group, folder, max_bad
        self.costs = count(self.network, (3, size, size))
        for side in sorted({recipe.side(epoch, size) for epoch in range(1, recipe.epochs + 1)}):
            if why := refusal(self.network, recipe, size, side):
                raise UsageError(
                    f"{network.name} cannot be trained at {side} beside {size} pixels ({why}): "
                    "--set progressive_resize=[]"
                )
        if towers and group.world > 1:
            raise UsageError("--towers lays the network on two devices of one process: start it without torchrun")
        self.devices = two_devices(machine.device) if towers else None
        self.table: list[Row] = table(self.network, (3, size, size), recipe.batch) if towers else []
        self.run: Run | None = None
        self.reading: Reading | None = None  # as the folder says, once it is open
        self.start: Begun | None = None

    def stated(self, command: list[str]) -> Stated:
        """What the run is, for its folder."""
        source = self.source
        return Stated(
            network=msgspec.to_builtins(self.network),
            name=self.network.name,
            recipe=msgspec.to_builtins(self.recipe),
            size=self.size,
            source={
                "where": source.where,
                "path": lasting(source),
                "name": source.name,
                "fingerprint": source.fingerprint,
                "classes": list(source.classes),
                "words": list(source.words),
                "train": len(source.train),
                "val": len(source.val),
                "split": source.split,
                "upright": source.upright,
                "notes": list(source.notes),
            },
            decoding=decoding(source),
            machine=msgspec.to_builtins(self.machine),
            versions={
                "topfive": version("topfive"),
                "python": platform.python_version(),
                **{name: version(name) for name in ("torch", "numpy", "pillow", "msgspec", "safetensors")},
            },
            command=command,
            world=self.group.world,
            made=datetime.datetime.now().isoformat(timespec="seconds"),
            towers=self.devices is not None,
            reading=self.reading,
            start=self.start,
        )

    def open(
        self, command: list[str], workers: int | None = None, again: bool = False, start: Begun | None = None
    ) -> list[str]:
        """Take the folder; what its user should be told. Raises: UsageError, RefusedError, ResourceError.

        `workers` read the images anew in every epoch, unless the folder says otherwise; `again` is for a run that is
        there, `start` what a new one begins with.
        """
        crop = self.recipe.augmentation.crop
        now = self.data.reading if self.data else chosen(self.source, self.size, crop, workers)
        self.reading, self.start = now, start
        before = b""
        if self.group.is_main:
            self.run = open_run(self.folder, self.stated(command), partial(recorded, self.source), again)
            before = msgspec.json.encode(load_run(self.folder).reading)
        try:
            known = msgspec.json.decode(self.group.broadcast(before), type=Reading | None)
            self.reading, notes = repeated(known, now, workers, self.folder)
        except BaseException:
            self._let_go()
            raise
        return [*self.run.notes, *notes] if self.run else []

    def epochs(self, again: str, every: float = 120.0, start: Start | None = None) -> Iterator[EpochRecord]:
        """The records of `steps` alone."""
        return records(self.steps(again, every, start))

    def steps(
        self, again: str, every: float = 120.0, start: Start | None = None, last_alone: bool = False
    ) -> Iterator[Step | EpochRecord]:
        """Train; each step and each epoch, the records of before it was interrupted first.

        The whole state is saved every so many seconds; `again` is the command that continues. `start` is what it begins
        with in place of random numbers, `last_alone` keeps no best epoch beside the last, and of a finished training
        the model alone. Raises: what `train` and the run's folder raise.
        """
        data = self.read()
        # why: weights that were learnt on images normalised otherwise expect them so
        normalisation = start.model.classifier.normalisation if start else None
        net = self.network_for(data, start)
        training = Training(net, data, self.recipe, self.machine, self.group, normalisation)
        checkpointer = Checkpointer(self.run, self.group, self.about(), every, again, last_alone)
        try:
            with checkpointer.listening():
                checkpointer.restore(training)
                yield from training.state.rows
                for event in train(training):
                    if isinstance(event, Step):
                        checkpointer.step(training, event.evaluating)
                    else:
                        checkpointer.epoch(training)
                    yield event
        except DivergedError as error:
            last = self.run.newest() if self.run else None
            kept = f"; the last good state is {last.folder}" if last else ""
            raise DivergedError(f"{error}{kept}") from None
        except (RuntimeError, MemoryError) as error:
            if out_of_memory(error):
                raise OutOfMemory(
                    f"memory ran out with batches of {self.recipe.batch}: --set "
                    f"accumulation_steps={self.recipe.accumulation_steps * 2} computes "
                    "each in smaller parts, with the same result but for batch normalisation"
                ) from None
            raise
        finally:
            if self.run:
                if data.unreadable:
                    note_unreadable(self.folder, data.unreadable.values())
                self.run.close()

    def network_for(self, data: Data, start: Start | None = None) -> torch.nn.Module:
        """The network as training begins with it, on `data` and from `start`."""
        torch.manual_seed(self.recipe.seed)
        shape = (3, self.size, self.size)
        net = Towers(self.network, shape, self.devices) if self.devices else build(self.network, shape)
        if start:
            start.fill(net)
        elif self.recipe.whitened:
            whiten(net, data, self.recipe)
        return net

    def about(self) -> dict[str, object]:
        """What a model's file says of itself: enough to use it without its source."""
        source = self.source
        return {
            "network": msgspec.to_builtins(self.network),
            "size": self.size,
            "classes": list(source.classes),
            "words": list(source.words),
            "fingerprint": source.fingerprint,
            "source": source.name,
            "upright": source.upright,
            "decoding": decoding(source),
            "recipe": self.recipe.name,
        }

    def plan(self) -> Plan:
        """Steps, operations and an estimate of the memory, before anything runs."""
        images, recipe = len(self.source.train), self.recipe
        part = -(-recipe.batch // (recipe.accumulation_steps * self.group.world))
        return Plan(
            steps=total_steps(recipe, images),
            training_ops=sum(
                6 * count(self.network, (3, side, side)).macs * images
                for side in (recipe.side(epoch, self.size) for epoch in range(1, recipe.epochs + 1))
            ),
            memory_bytes=self.costs.training_bytes(part),
        )

    def read(self, progress: Callable[[int], object] = lambda count: None) -> Data:
        """The images, read once. Raises: DataError where too many cannot be, and lets go of the folder then."""
        try:
            crop = self.recipe.augmentation.crop
            data = self.data
            if data is None or self.reading is None or data.reading.side != self.reading.side:
                data = prepare(
                    self.source, self.size, crop, progress=progress, reading=self.reading, max_bad=self.max_bad
                )
                self.data = data
            if data.unreadable and self.run:
                note_unreadable(self.folder, data.unreadable.values())
            return data
        except TooManyUnreadable as error:
            where = f"; all of them: {note_unreadable(self.folder, error.unreadable)}" if self.run else ""
            if self.run:
                self.run.forget()  # why: once some are removed, the same command is of other images
            self._let_go()
            raise DataError(f"{error}{where}") from None
        except BaseException:
            self._let_go()
            raise

    def _let_go(self) -> None:
        if self.run:
            self.run.close()


def out_of_memory(error: Exception) -> bool:
    """Whether that is what the error says, of whichever device."""
    return isinstance(error, MemoryError) or any(words in str(error) for words in OUT_OF_MEMORY)


def decoding(source: Source) -> str:
    """How images become pixels, in words."""
    upright = "applied" if source.upright else "ignored"
    return f"decoded whole, centre square, bilinear with antialiasing; EXIF orientation {upright}"


def network_of(name: str, source: Source, size: int | None) -> tuple[Network, int]:
    """The network that `name` means, made for `size`: by default its own, where the images fill it."""
    network = network_called(name)
    own = max(network.input[1:])
    side = size or (own if usual_side(source) >= FILLED * own else min(own, default_size(source)))
    return for_small_images(network, side), side
