"""The state of a training in its run folder: saved at step boundaries, found again, bit-identically."""

import os
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType

import msgspec
from torch import Tensor

from topfive.engine.models.tensors import packed, unpacked
from topfive.engine.training.loop import READ_EVERY, Training, TrainState
from topfive.engine.training.processes import Group
from topfive.errors import Interrupted, RefusedError, Terminated
from topfive.results.checkpoints import Checkpoint
from topfive.results.records import EpochRecord
from topfive.results.runs import Run, load_rows
from topfive.results.version1 import result_of_now

MODEL, TRAINING = "model.safetensors", "training.safetensors"
RAW = "raw."  # before the weights that are trained, where those that are evaluated are another set
SIGNALS = [signal.SIGINT, signal.SIGTERM, *([signal.SIGUSR1] if hasattr(signal, "SIGUSR1") else [])]  # not on Windows


class Checkpointer:
    """Saves every `every` seconds, at the end, at the best epoch, and when a signal asks; the first process writes.

    `about` goes into the model's file: what it is a model of. `last_alone` leaves the best epoch unsaved, and of a
    finished training the model alone: what continues one takes three times as much room again, or more.
    """

    def __init__(
        self,
        run: Run | None,
        group: Group,
        about: Mapping[str, object],
        every: float,
        again: str,
        last_alone: bool = False,
    ) -> None:
        self.run, self.group, self.about, self.every, self.again = run, group, about, every, again
        self.last_alone = last_alone
        self.asked = 0  # the signal that asked for the end
        self.saved = time.monotonic()
        self.resumed = 0  # the step that this run went on from

    def restore(self, training: Training) -> None:
        """Bring `training` to the newest whole checkpoint, if there is one; the first process reads it for all."""
        checkpoint = self.run.newest() if self.run else None
        files = [
            checkpoint.read(name) if checkpoint and name in checkpoint.files else b"" for name in (TRAINING, MODEL)
        ]
        position = msgspec.json.encode(result_of_now(checkpoint.about["position"])) if checkpoint else b""
        told = msgspec.json.encode(load_rows(self.run.folder)) if self.run and checkpoint else b""
        stated, told, rest, model = (self.group.broadcast(data) for data in (position, told, *files))
        if not stated:
            return
        try:
            at, rows = msgspec.json.decode(stated, type=TrainState), msgspec.json.decode(told, type=list[EpochRecord])
        except msgspec.MsgspecError as error:
            raise RefusedError(f"the checkpoint was written by another version of topfive: {error}") from None
        optimizer = unpacked(rest, TRAINING)[0] if rest else {}
        weights = {key.removeprefix(RAW): optimizer.pop(key) for key in list(optimizer) if key.startswith(RAW)}
        self.resumed = at.step
        if at.batch == at.batches and len(rows) > len(at.rows):  # saved before the evaluation, which is done since
            at = at.after(rows[len(at.rows)])
        training.restore(at, weights or unpacked(model, MODEL)[0], optimizer)

    def step(self, training: Training, evaluating: bool = False) -> None:
        """Save where it is time. Raises: Interrupted where a signal asked, once the state is saved; DivergedError.

        Several processes do either at steps at which all of them read their sums, and not while they evaluate, where
        they have different numbers of batches.
        """
        if self.group.world > 1 and (evaluating or training.state.batch % READ_EVERY):
            return
        asked = int(max(self.group.all_reduce(self.asked))) if self.group.world > 1 else self.asked
        if asked or time.monotonic() - self.saved >= self.every:
            self._save(training)
        if asked:
            self.group.wait()  # why: the first process has saved when the others leave
            kind = Interrupted if self.asked == signal.SIGINT else Terminated
            raise kind(f"stopped and saved at step {training.state.step}; continue with: {self.again}")

    def epoch(self, training: Training) -> None:
        """Keep the row; save the model that is the best so far, and the whole state at the end."""
        state = training.state
        rows = state.rows
        if self.run:
            self.run.write_rows([msgspec.to_builtins(row) for row in rows])
            if not self.last_alone and rows[-1].scores and rows[-1] is best(rows):
                self.run.save(state.step, {MODEL: self._model(training)}, {"epoch": rows[-1].epoch}, "best")
        if state.epoch > training.recipe.epochs:
            self._save(training, finished=True)
        self.step(training)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """While this lasts, the first signal asks for a save and an end, and the second ends at once."""

        def ask(number: int, frame: FrameType | None) -> None:
            if self.asked:
                os._exit(130 if number == signal.SIGINT else 143)
            self.asked = number

        before = {number: signal.signal(number, ask) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _model(self, training: Training) -> bytes:
        return packed(training.optimizer.averaged().state_dict(), {**self.about, "step": training.state.step})

    def _save(self, training: Training, finished: bool = False) -> None:
        state, optimizer = training.read(), training.optimizer  # why: what has diverged is not saved
        if self.run:
            alone, files = finished and self.last_alone, {MODEL: self._model(training)}
            if not alone:
                own = training.model.state_dict().items() if optimizer.average else ()
                files[TRAINING] = packed({**{f"{RAW}{name}": t for name, t in own}, **optimizer.state()}, {})
            self.run.save(state.step, files, {"position": msgspec.to_builtins(state)}, alone=alone)
        self.saved = time.monotonic()


def best(rows: list[EpochRecord]) -> EpochRecord | None:
    """The row with the most validation images right, the first of several."""
    scored = [(row.scores.correct1, -row.epoch, row) for row in rows if row.scores]
    return max(scored)[2] if scored else None


def model_of(checkpoint: Checkpoint) -> tuple[dict[str, Tensor], dict[str, object]]:
    """The evaluated weights in a checkpoint, and what they are the weights of."""
    return unpacked(checkpoint.read(MODEL), str(checkpoint.folder / MODEL))
