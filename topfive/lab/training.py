"""`train()`: a generator that gives one row an epoch; the caller prints, plots, stops."""

import math
import time
from collections.abc import Callable, Iterator

import msgspec
import torch
from torch import nn

from topfive.errors import DivergedError
from topfive.lab.evaluation import Scores, evaluate
from topfive.lab.loading import Batch, Data, augmented, mixed, uniforms
from topfive.lab.measuring import Machine
from topfive.lab.modules import Classifier, Net
from topfive.recipes import Recipe


class Epoch(msgspec.Struct, frozen=True):
    """What one epoch came to. Losses are means over the pictures of the epoch, accuracies fractions."""

    epoch: int
    loss: float
    train_accuracy: float
    scores: Scores
    lr: float
    seconds: float  # since training began, evaluation included
    images_per_second: float  # in training alone
    waiting: float  # the share of the training time in which the next batch was waited for


def train(
    net: nn.Module,
    data: Data,
    recipe: Recipe,
    machine: Machine,
    progress: Callable[[int], object] = lambda seen: None,
) -> Iterator[Epoch]:
    """Train `net` in place and give a row an epoch; the last row's scores are those of the trained network.

    Raises: DivergedError where the loss is no longer a number.
    """
    model = Classifier(net, *data.normalisation)
    machine.train_form(model).train()
    loss_weights = net.loss_weights if isinstance(net, Net) else ()
    optimizer = torch.optim.SGD(
        _decayed(net, recipe.weight_decay), lr=recipe.lr, momentum=recipe.momentum, nesterov=recipe.momentum > 0
    )
    steps = recipe.epochs * max(1, math.ceil(len(data) / recipe.batch))
    step, began, lr = 0, time.perf_counter(), 0.0
    for epoch in range(1, recipe.epochs + 1):
        started = time.perf_counter()
        seen, right, total = 0, 0, 0.0
        batches = Timed(data.training(recipe, epoch))
        for pixels, labels, index in batches:
            lr = one_cycle(step / steps, recipe)
            for group in optimizer.param_groups:
                group["lr"] = lr
            labels = labels.to(machine.device)
            drawn = uniforms(recipe.seed, epoch, index)
            pixels = augmented(machine.place(pixels), drawn, recipe.augmentation, data.mirror)
            pixels, targets = mixed(pixels, labels, data.classes, recipe.augmentation, recipe.seed, epoch, step)
            with machine.arithmetic():
                logits, *auxiliary = model.all_logits(pixels)
                loss = nn.functional.cross_entropy(logits.float(), targets)
                objective = loss
                for weight, extra in zip(loss_weights, auxiliary):
                    objective = objective + weight * nn.functional.cross_entropy(extra.float(), targets)
            value = float(loss.detach())
            if not math.isfinite(value):  # before the step, so that the weights are still those of the step before
                raise DivergedError(
                    f"the loss is no longer a number at step {step + 1} of {steps}, learning rate {lr:.3g}: lower it"
                )
            objective.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
            optimizer.step()
            optimizer.zero_grad()
            step += 1
            seen += len(labels)
            total += value * len(labels)
            right += int((logits.detach().argmax(1) == labels).sum())
            progress(len(labels))
        seconds = time.perf_counter() - started
        scores = evaluate(machine.infer_form(model), data.held_out(), machine)
        elapsed = time.perf_counter() - began
        yield Epoch(epoch, total / seen, right / seen, scores, lr, elapsed, seen / seconds, batches.seconds / seconds)


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


def one_cycle(progress: float, recipe: Recipe) -> float:
    """The learning rate at `progress` in 0..1: a linear rise over the warm-up, then half a cosine down to zero."""
    if progress < recipe.warmup:
        return recipe.lr * (0.04 + 0.96 * progress / recipe.warmup)
    return recipe.lr * 0.5 * (1 + math.cos(math.pi * (progress - recipe.warmup) / (1 - recipe.warmup)))


def _decayed(net: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Weight decay on kernels only: biases and normalisation have nothing to shrink towards zero for."""
    kernels = [p for p in net.parameters() if p.ndim > 1]
    rest = [p for p in net.parameters() if p.ndim <= 1]
    return [{"params": kernels, "weight_decay": weight_decay}, {"params": rest, "weight_decay": 0.0}]
