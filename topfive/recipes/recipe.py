"""How networks are trained: frozen values, each field of a paper's recipe with the section that it is from.

The rule is kept, not only the number: a learning rate is stated for a batch and follows the batch that is used.
"""

import math
from collections.abc import Sequence
from typing import Annotated, assert_never

import msgspec

from topfive.recipes.augmentations import CIFAR, Amount, Augmentation, Count, Fraction, Part, Positive, Share


class Sgd(msgspec.Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """Stochastic gradient descent with momentum.

    `lr_in_velocity`: the learning rate is inside of the velocity, v <- momentum v - lr (g + decay w), as in AlexNet's
    §5; else outside, w <- w - lr v. The two differ where the rate changes. `decay_all`: biases and normalization decay
    too.
    """

    momentum: Fraction = 0.9
    weight_decay: Amount = 5e-4
    nesterov: bool = False
    lr_in_velocity: bool = False
    decay_all: bool = True


class RmsProp(msgspec.Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """w <- w - v, v <- momentum v + lr g / sqrt(s + eps), s <- decay s + (1 - decay) g^2: Inception-v3's, §8."""

    decay: Fraction = 0.9
    eps: Positive = 1.0
    momentum: Fraction = 0.9
    weight_decay: Amount = 4e-5


class AdamW(msgspec.Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """Adam with weight decay beside of it, w <- w - lr (m / (sqrt(s) + eps) + decay w); only kernels decay.

    m and s are averages of g and g^2, divided by what they still lack. Its rate follows the root of the batch.
    Source: Loshchilov and Hutter 2019, Algorithm 2; Malladi et al. 2022 for the root.
    """

    beta1: Fraction = 0.9
    beta2: Fraction = 0.99
    eps: Positive = 1e-6
    weight_decay: Amount = 0.05


class Muon(msgspec.Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """Kernels of convolutions go along the orthogonal factor of their velocity; all the rest learns by `AdamW`.

    A kernel is a matrix of a row a filter, and w <- w - lr (0.2 sqrt(longer side) U V' + decay w) where U S V' is
    about momentum v + g, v <- momentum v + g: a change as large as AdamW's, so that one rate does for both.
    The rate follows the root of the batch. Source: Jordan et al. 2024, kellerjordan.github.io/posts/muon; Liu et al.
    2025, section 2.2, for the factor; Malladi et al. 2022 for the root.
    """

    momentum: Fraction = 0.9
    weight_decay: Amount = 0.0


class OneCycle(msgspec.Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """A linear rise from a 25th over the first share of the steps, then half a cosine down to zero."""

    warmup: Share = 0.25


class Steps(msgspec.Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """Multiplied by `factor` after each share of the steps in `at`."""

    at: tuple[Share, ...]
    factor: Part = 0.1


class Plateau(msgspec.Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """Multiplied by `factor` where the validation error did not improve in `patience` epochs, at most `times` times."""

    factor: Part = 0.1
    patience: Count = 5
    times: Count = 3


class Decay(msgspec.Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """Multiplied by `factor` every `epochs` epochs."""

    factor: Part
    epochs: Count


Optimizer = Sgd | RmsProp | AdamW | Muon
Schedule = OneCycle | Steps | Plateau | Decay


class Warmup(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Another factor on the learning rate until the training error is below `error`: ResNet-110's, §4.2."""

    factor: Part = 0.1
    error: Share = 0.8


class Recipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that a training depends on besides the network, the images and the machine."""

    name: str = "quick"
    epochs: Count = 20
    steps: Count | None = None  # after which the training ends, within its last epoch; None is with it
    batch: Annotated[int, msgspec.Meta(ge=2)] = 64  # images of a step, over all processes and parts
    accumulation_steps: Count = (
        1  # that a batch is computed in, one after the other, where memory does not hold it at once
    )
    lr: Positive = 0.05  # the highest, for a batch of `lr_batch`
    lr_batch: Count = 64
    optimizer: Optimizer = Sgd(nesterov=True, decay_all=False)
    schedule: Schedule = OneCycle()
    warmup: Warmup | None = None
    clip: Positive | None = None  # the largest norm of the gradient; larger ones are scaled down to it
    augmentation: Augmentation = CIFAR
    progressive_resize: tuple[
        tuple[Part, Part], ...
    ] = ()  # (until this share of the epochs, this share of the side), rising
    ema_decay: Fraction = 0.0  # the share that a step keeps of the average, which is what is evaluated; 0 is none
    evaluate_every: Count = 1  # epochs; the last one is always evaluated
    whitened: bool = False  # the first kernels are principal components of the images, not learnt; never with --start
    init_layers: tuple[str, ...] = ()  # the layers that begin with the weights of --start, the others fresh; () is all
    seed: Annotated[int, msgspec.Meta(ge=0)] = 0
    sources: dict[str, str] = {}  # field (`optimizer.momentum`) -> where it is from; what is not here is ours
    differs: tuple[str, ...] = ()  # what the paper did besides, and this does not

    @property
    def peak(self) -> float:
        """The highest learning rate, for the batch that is used."""
        share = self.batch / self.lr_batch
        return self.lr * (share**0.5 if isinstance(self.optimizer, (AdamW, Muon)) else share)

    def share(self, epoch: int) -> float:
        """The share of the full side that the training images of `epoch`, counted from 1, have."""
        return next((part for until, part in self.progressive_resize if epoch <= until * self.epochs + 1e-9), 1.0)

    def side(self, epoch: int, size: int) -> int:
        """The side of the training images in `epoch`, counted from 1, where `size` is the full one."""
        return side_of(self.share(epoch), size)


def side_of(share: float, size: int) -> int:
    """The side in pixels that is a share of the full one."""
    if share == 1.0:
        return size
    # why: whole multiples of 32, so that maps that are halved five times have no odd border
    return max(1, round(share * size / 32) * 32 if share * size >= 32 else round(share * size))


def learning_rate(recipe: Recipe, done: float, errors: Sequence[float] = (), training_error: float = 1.0) -> float:
    """The rate when the share `done` in 0..1 of the steps is behind.

    `errors` are the validation Top-1 errors of the epochs that were evaluated; `training_error` is the last known one.
    """
    match recipe.schedule:
        case OneCycle(warmup=rise):
            factor = (
                0.04 + 0.96 * done / rise
                if done < rise
                else 0.5 * (1 + math.cos(math.pi * (done - rise) / (1 - rise)))
                if rise < 1
                else 1.0
            )
        case Steps(at=at, factor=each):
            factor = each ** sum(done >= share for share in at)
        case Decay(factor=each, epochs=every):
            factor = each ** math.floor(done * recipe.epochs / every + 1e-9)
        case Plateau(factor=each, patience=patience, times=times):
            factor = each ** min(times, plateaus(errors, patience))
        case _:
            assert_never(recipe.schedule)
    if recipe.warmup and training_error > recipe.warmup.error:
        factor *= recipe.warmup.factor
    return recipe.peak * factor


def plateaus(errors: Sequence[float], patience: int) -> int:
    """How often `patience` errors in a row did not improve on the best one before them."""
    best, since, found = math.inf, 0, 0
    for error in errors:
        best, since = (error, 0) if error < best else (best, since + 1)
        if since == patience:
            found, since = found + 1, 0
    return found
