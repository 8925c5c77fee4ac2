"""`train()`: a generator that gives one row an epoch; the caller prints, plots, stops."""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Protocol

import msgspec
import torch
from torch import Tensor, nn
from torch.nn import functional

from topfive.engine.benchmark.machine import Machine
from topfive.engine.benchmark.memory import memory_peak
from topfive.engine.models.modules import Classifier, Net
from topfive.engine.models.towers import Towers
from topfive.engine.training.loading import Batch, Data, augmented, mixed, uniforms
from topfive.engine.training.optimizers import Optimizer
from topfive.engine.training.processes import Group
from topfive.engine.training.validation import evaluate, of_all
from topfive.errors import DivergedError
from topfive.recipes.plan import steps_of_epoch
from topfive.recipes.recipe import Recipe, learning_rate
from topfive.results.records import EpochRecord, Scores

STUCK = 0.01  # relative distance to ln(classes) of a loss that has learnt nothing yet
ENOUGH = 10  # batches of an epoch from which on its training error means something
COUNTED = 6  # sums over an epoch: images, gradients of the first and last kernels, right, right among 5, loss


class TrainState(msgspec.Struct):
    """Where a training is: what a later run needs beside the weights."""

    step: int = 0
    epoch: int = 1
    batch: int = 0  # batches of the epoch that are behind
    batches: int = 0  # of an epoch
    sums: list[float] = []  # over the images of the epoch so far
    seconds: float = 0.0
    training_seconds: float = 0.0  # of the epoch so far
    waiting_seconds: float = 0.0
    lr: float = 0.0
    rows: list[EpochRecord] = []

    def after(self, row: EpochRecord) -> "TrainState":
        """The position once the epoch has its row."""
        return TrainState(
            self.step, self.epoch + 1, 0, self.batches, [], row.seconds, lr=self.lr, rows=[*self.rows, row]
        )


class Keeper(Protocol):
    """What keeps the state of a training, in a folder or nowhere."""

    def found(self) -> tuple[TrainState, Mapping[str, Tensor], Mapping[str, Tensor]] | None:
        """The position to continue from, the model's tensors and the learner's."""
        ...

    def step(self, position: TrainState, model: nn.Module, learner: Optimizer) -> None:
        """Called after each step; may end the training."""
        ...

    def epoch(self, position: TrainState, model: nn.Module, learner: Optimizer) -> None:
        """Called when a row is complete."""
        ...


def train(
    net: nn.Module,
    data: Data,
    recipe: Recipe,
    machine: Machine,
    progress: Callable[[int], object] = lambda seen: None,
    group: Group = Group(),
    keeper: Keeper | None = None,
) -> Iterator[EpochRecord]:
    """Train `net` in place and give a row an epoch; the last row's scores are those of the trained network.

    Raises: DivergedError where the loss is no longer a number.
    """
    model = Classifier(net, *data.normalisation)
    machine.train_form(model).train()
    learner, at = Optimizer(model, recipe), TrainState()
    if keeper and (found := keeper.found()):
        at = found[0]
        model.load_state_dict(found[1])
        learner.restore(found[2], at.step, at.lr)
    weights = net.loss_weights if isinstance(net, Net) else ()
    wrapped, ends, least = group.wrapped(_AllLogits(model)), _first_and_last(net), _least(net)
    each = at.batches = steps_of_epoch(len(data), recipe.batch)
    yield from at.rows
    while at.epoch <= recipe.epochs:
        began, before, trained = time.perf_counter(), at.seconds, at.training_seconds
        batches = Timed(data.training(recipe, at.epoch, at.batch, group.rank, group.world), at.waiting_seconds)
        at.sums = at.sums or [0.0] * (COUNTED + len(weights))
        model.train()
        for pixels, labels, index, real in batches:
            if len(labels) < least:  # one image is left, the others cannot be read: it stands twice and counts once
                pixels, labels, index = pixels.repeat(2, 1, 1, 1), labels.repeat(2), index.repeat(2)
            torch.manual_seed(hash((recipe.seed, at.step, group.rank)))  # of dropout: a function of the step alone
            at.lr = learning_rate(recipe, at.step / (recipe.epochs * each), _errors(at.rows), _training_error(at))
            labels = labels.to(machine.device)
            drawn = uniforms(recipe.seed, at.epoch, index)
            pixels = augmented(machine.place(pixels), drawn, recipe.augmentation, data.mirror)
            pixels, targets = mixed(pixels, labels, data.classes, recipe.augmentation, recipe.seed, at.epoch, at.step)
            (count,) = group.all_reduce(real)
            here = torch.zeros(COUNTED + len(weights), dtype=torch.float64)
            for part in _parts(len(labels), recipe.accumulation_steps, least):
                whole = group.world == 1 or part.stop >= len(labels)  # else the gradients are not exchanged yet
                with nullcontext() if whole else wrapped.no_sync():  # type: ignore[operator]
                    with machine.arithmetic():
                        all_logits = wrapped(pixels[part])
                    counts = torch.arange(part.start, part.stop, device=labels.device) < real
                    losses = [
                        (functional.cross_entropy(logits.float(), targets[part], reduction="none") * counts).sum()
                        for logits in all_logits
                    ]
                    objective = sum((weight * loss for weight, loss in zip(weights, losses[1:])), losses[0])
                    (objective * (group.world / count)).backward()  # type: ignore[no-untyped-call]
                ranks = _ranks(all_logits[0].detach(), labels[part])[counts]
                here += torch.tensor(
                    [len(ranks), 0, 0, (ranks == 0).sum(), (ranks < 5).sum(), *(loss.item() for loss in losses)]
                )
            totals = group.all_reduce(*here.tolist())
            if not all(map(math.isfinite, totals)):  # before the step: the weights are still those of the step before
                raise DivergedError(
                    f"the loss is no longer a number at step {at.step + 1} of {recipe.epochs * each}, learning rate "
                    f"{at.lr:.3g}: lower it"
                )
            totals[1:3] = (math.hypot(*(float(p.grad.norm()) for p in end if p.grad is not None)) for end in ends)
            learner.step(at.lr)
            at.step, at.batch, at.sums = at.step + 1, at.batch + 1, [a + b for a, b in zip(at.sums, totals)]
            passed = time.perf_counter() - began
            at.seconds, at.training_seconds, at.waiting_seconds = before + passed, trained + passed, batches.seconds
            progress(int(count))
            if keeper:
                keeper.step(at, model, learner)
        scores = None
        if at.epoch % recipe.evaluate_every == 0 or at.epoch == recipe.epochs:
            val = data.val(rank=group.rank, world=group.world)
            if keeper and group.world == 1:  # why: several processes have not as many batches each to stop between
                val = _watched(val, partial(keeper.step, at, model, learner))
            scores = evaluate(machine.infer_form(group.same(learner.averaged())), val, machine, group)
            scores = of_all(scores, len(data.source.val))
        at.seconds = before + time.perf_counter() - began
        row = _row(at, recipe.side(at.epoch, data.size), scores, data.classes, memory_peak(machine))
        at = at.after(row)
        if keeper:
            keeper.epoch(at, model, learner)
        yield row


class Timed:
    """Batches, and the seconds spent waiting for them."""

    def __init__(self, batches: Iterator[Batch], seconds: float = 0.0) -> None:
        self.batches, self.seconds = batches, seconds

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        asked = time.perf_counter()
        try:
            return next(self.batches)
        finally:
            self.seconds += time.perf_counter() - asked


def _watched(batches: Iterator[tuple[Tensor, Tensor]], look: Callable[[], object]) -> Iterator[tuple[Tensor, Tensor]]:
    for batch in batches:
        look()
        yield batch


class _AllLogits(nn.Module):
    """The logits of every classifier as what `forward` gives: what torch's engine for many processes wraps."""

    def __init__(self, model: Classifier) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        return self.model.all_logits(pixels)


def _parts(count: int, parts: int, least: int = 1) -> list[slice]:
    """A batch of `count` images in at most so many parts of nearly the same size, of `least` images or more each."""
    size = max(least, math.ceil(count / parts))
    starts = list(range(0, count, size))
    if len(starts) > 1 and count - starts[-1] < least:
        starts.pop()
    return [slice(start, end) for start, end in zip(starts, [*starts[1:], count])]


def _least(net: nn.Module) -> int:
    """The fewest images that may pass the network at once in training: of one alone there is no variance."""
    # why: torch's one base of batch normalisation over one, two and three axes and over several processes
    return 2 if any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in net.modules()) else 1


def _ranks(logits: Tensor, labels: Tensor) -> Tensor:
    """How many classes come before the right one, a tie counting as before."""
    return (~(logits < logits.gather(1, labels[:, None]))).sum(1) - 1


def _first_and_last(net: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """The first and last kernels that learn, and that the main classifier's gradient reaches; of towers both halves."""
    heads = tuple(f"{name}." for name in net.taps.values()) if isinstance(net, Net) else ()
    parts = [
        [p for name, p in part.named_parameters() if _learns(p) and not (heads and name.startswith(heads))]
        for part in (net.towers if isinstance(net, Towers) else (net,))
    ]
    return [kernels[0] for kernels in parts], [kernels[-1] for kernels in parts]


def _learns(p: nn.Parameter) -> bool:
    return p.ndim > 1 and p.requires_grad


def _errors(rows: Sequence[EpochRecord]) -> list[float]:
    return [1 - row.scores.top1_accuracy for row in rows if row.scores]


def _training_error(at: TrainState) -> float:
    """That of this epoch so far, once there is enough of it, else of the one before."""
    if at.batch >= ENOUGH:
        return 1 - at.sums[3] / at.sums[0]
    return 1 - at.rows[-1].train_accuracy if at.rows else 1.0


def _row(at: TrainState, side: int, scores: Scores | None, classes: int, memory: int) -> EpochRecord:
    images, first, last, right, right5, *losses = at.sums
    loss, *auxiliary = (value / images for value in losses)
    stuck = abs(loss - math.log(classes)) < STUCK * math.log(classes)
    return EpochRecord(
        epoch=at.epoch,
        loss=loss,
        auxiliary_losses=tuple(auxiliary),
        train_accuracy=right / images,
        train_top5=right5 / images if classes >= 6 else None,
        scores=scores,
        lr=at.lr,
        side=side,
        seconds=at.seconds,
        images_per_second=images / at.training_seconds,
        waiting=at.waiting_seconds / at.training_seconds,
        first_gradient=first / at.batch,
        last_gradient=last / at.batch,
        memory_bytes=memory,
        note=f"the loss is still at ln({classes}): nothing has been learnt; try a lower --set lr" if stuck else "",
    )
