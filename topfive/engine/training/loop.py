"""`train()`: a generator that yields after every step and every epoch; the caller saves, times, draws or stops."""

import math
import time
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import NamedTuple

import msgspec
import torch
from torch import Tensor, nn

from topfive.engine.benchmark.machine import Machine
from topfive.engine.benchmark.memory import memory_peak
from topfive.engine.models.modules import Classifier
from topfive.engine.training.augmentation import augmented, mixed
from topfive.engine.training.datasets import Batch, Data
from topfive.engine.training.gradients import Gradients
from topfive.engine.training.optimizers import Optimizer
from topfive.engine.training.processes import Group
from topfive.engine.training.sampling import uniforms
from topfive.engine.training.validation import of_all, score_batch, total
from topfive.errors import DivergedError
from topfive.recipes.plan import steps_of_epoch, total_steps
from topfive.recipes.recipe import Recipe, learning_rate
from topfive.results.records import EpochRecord, Scores

STUCK = 0.01  # relative distance to ln(classes) of a loss that has learnt nothing yet
READ_EVERY = 10  # steps of an epoch after which the sums are read from the device, which waits for it


class TrainState(msgspec.Struct):
    """Where a training is: what a later run needs beside the weights."""

    step: int = 0
    epoch: int = 1
    batch: int = 0  # batches of the epoch that are behind
    batches: int = 0  # of an epoch
    sums: list[float] = []  # over the images of the epoch so far, when they were last read
    training_error: float = 1.0  # when that was last due
    seconds: float = 0.0
    training_seconds: float = 0.0  # of the epoch so far
    data_wait_seconds: float = 0.0
    lr: float = 0.0
    rows: list[EpochRecord] = []

    def after(self, row: EpochRecord) -> "TrainState":
        """The state once the epoch has its row."""
        rows, error = [*self.rows, row], 1 - row.train_accuracy
        return TrainState(
            self.step, self.epoch + 1, 0, self.batches, training_error=error, seconds=row.seconds, lr=self.lr, rows=rows
        )


class Step(NamedTuple):
    """A step is done, or a batch evaluated; `images` is how many training images have passed in all epochs so far."""

    images: int
    evaluating: bool = False


class Training:
    """A network in training, in place: the model with its normalisation, its optimizer, and where they are.

    `normalisation` is the mean and standard deviation that the weights of `net` expect, by default those of `data`.
    """

    def __init__(
        self,
        net: nn.Module,
        data: Data,
        recipe: Recipe,
        machine: Machine,
        group: Group = Group(),
        normalisation: tuple[Tensor, Tensor] | None = None,
    ) -> None:
        self.data, self.recipe, self.machine, self.group = data, recipe, machine, group
        self.model = Classifier(net, *(normalisation or data.normalisation))
        machine.train_form(self.model)
        self.optimizer = Optimizer(self.model, recipe)
        self.gradients = Gradients(self.model, recipe.accumulation_steps, machine, group)
        self.each, self.steps = steps_of_epoch(len(data), recipe.batch), total_steps(recipe, len(data))
        self.state = TrainState(batches=min(self.each, self.steps))
        self._sums = self.gradients.zeros()
        self._sound = 0  # the step up to which the sums are read, and numbers

    def restore(self, state: TrainState, weights: Mapping[str, Tensor], optimizer: Mapping[str, Tensor]) -> None:
        """Continue from a `state`, with the tensors of the model and of the optimizer; a finished one needs none of
        the latter."""
        self.model.load_state_dict(weights)
        if optimizer or state.epoch <= self.recipe.epochs:
            self.optimizer.restore(optimizer, state.step, state.lr)
        state.batches = min(self.each, self.steps - (state.epoch - 1) * self.each)
        self.state, self._sound = state, state.step
        self._sums = self._sums.new_tensor(state.sums) if state.sums else self.gradients.zeros()

    def read(self) -> TrainState:
        """The state with its sums, which are read from the device. Raises: DivergedError, with the steps since then."""
        state = self.state
        if state.step > self._sound:
            state.sums = self._sums.tolist()
            if not all(map(math.isfinite, (state.sums[0], *state.sums[3:]))):  # a gradient may be beyond all numbers
                first = self._sound + 1
                steps = f"at step {first}" if first == state.step else f"in steps {first} to {state.step}"
                raise DivergedError(
                    f"the loss is no longer a number {steps} of {self.steps}, learning rate {state.lr:.3g}: lower it"
                )
            self._sound = state.step
        return state

    def step(self, batch: Batch) -> None:
        """One step of the optimizer; the device is not waited for, but every `READ_EVERY` steps."""
        (pixels, labels, index, real), state, recipe, group = batch, self.state, self.recipe, self.group
        if len(labels) < self.gradients.least:  # one image alone: it stands twice and counts once
            pixels, labels, index = pixels.repeat(2, 1, 1, 1), labels.repeat(2), index.repeat(2)
        torch.manual_seed(hash((recipe.seed, state.step, group.rank)))  # of dropout: a function of the step alone
        errors = [1 - row.scores.top1_accuracy for row in state.rows if row.scores]
        state.lr = learning_rate(recipe, state.step / self.steps, errors, state.training_error)
        labels = labels.to(self.machine.device)
        drawn = uniforms(recipe.seed, state.epoch, index)
        pixels = augmented(self.machine.place(pixels), drawn, recipe.augmentation, self.data.mirror)
        pixels, targets = mixed(
            pixels, labels, self.data.classes, recipe.augmentation, recipe.seed, state.epoch, state.step
        )
        self._sums += self.gradients.backward(pixels, labels, targets, real)
        self.optimizer.step(state.lr)
        state.step, state.batch = state.step + 1, state.batch + 1
        if state.batch % READ_EVERY == 0 or state.batch == state.batches:
            images, _, _, right, *_ = self.read().sums
            if state.batch % READ_EVERY == 0:
                state.training_error = 1 - right / images

    def finish_epoch(self, scores: Scores | None) -> EpochRecord:
        """The record of the epoch, whose steps are done and read; the state is then that before the next one."""
        state = self.state
        row = _row(state, self.recipe.side(state.epoch, self.data.size), scores, self.data, memory_peak(self.machine))
        self.state, self._sums = state.after(row), self.gradients.zeros()
        self.state.batches = min(self.each, self.steps - state.epoch * self.each)  # the last epoch may end within
        return row


def train(training: Training) -> Iterator[Step | EpochRecord]:
    """Train to the end of the recipe, from where `training` is; stop by leaving the loop.

    The last record's scores are those of the trained network. Raises: DivergedError where the loss is no longer a
    number.
    """
    recipe, data, group = training.recipe, training.data, training.group
    while (state := training.state).epoch <= recipe.epochs:
        now = time.perf_counter()
        began, trained = now - state.seconds, now - state.training_seconds
        batches = Timed(data.training(recipe, state.epoch, state.batch, group.rank, group.world))
        waited = state.data_wait_seconds
        training.model.train()
        for batch in islice(batches, state.batches - state.batch):
            training.step(batch)
            now = time.perf_counter()
            state.seconds, state.training_seconds = now - began, now - trained
            state.data_wait_seconds = waited + batches.seconds
            yield Step((state.epoch - 1) * len(data) + min(state.batch * recipe.batch, len(data)))
        scores = None
        if state.epoch % recipe.evaluate_every == 0 or state.epoch == recipe.epochs:
            model = training.machine.infer_form(group.same(training.optimizer.averaged()))
            counts = []
            for pixels, labels in data.val(rank=group.rank, world=group.world):
                counts.append(score_batch(model, pixels, labels, training.machine))
                yield Step(state.epoch * len(data), evaluating=True)
            scores = of_all(total(counts, group), len(data.source.val))
            if state.epoch < recipe.epochs:  # why: of the trained network alone, which is compared image by image
                scores = msgspec.structs.replace(scores, right=b"", right5=b"")
        state.seconds = time.perf_counter() - began
        yield training.finish_epoch(scores)


def records(events: Iterable[Step | EpochRecord]) -> Iterator[EpochRecord]:
    """The records of the epochs alone."""
    return (event for event in events if isinstance(event, EpochRecord))


class Timed:
    """Batches, and the seconds spent waiting for them."""

    def __init__(self, batches: Iterator[Batch]) -> None:
        self.batches, self.seconds = batches, 0.0

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        asked = time.perf_counter()
        try:
            return next(self.batches)
        finally:
            self.seconds += time.perf_counter() - asked


def _row(state: TrainState, side: int, scores: Scores | None, data: Data, memory: int) -> EpochRecord:
    images, first, last, right, right5, *losses = state.sums
    loss, *auxiliary = (value / images for value in losses)
    classes = data.classes
    stuck = abs(loss - math.log(classes)) < STUCK * math.log(classes)
    return EpochRecord(
        epoch=state.epoch,
        loss=loss,
        auxiliary_losses=tuple(auxiliary),
        train_accuracy=right / images,
        train_top5=right5 / images if classes >= 6 else None,
        scores=scores,
        lr=state.lr,
        side=side,
        seconds=state.seconds,
        images_per_second=images / state.training_seconds,
        data_wait=state.data_wait_seconds / state.training_seconds,
        first_gradient=first / state.batch,
        last_gradient=last / state.batch,
        memory_bytes=memory,
        note=f"the loss is still at ln({classes}): nothing has been learnt; try a lower --set lr" if stuck else "",
    )
