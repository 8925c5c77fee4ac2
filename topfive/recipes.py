"""How networks are trained and tested: frozen values."""

import msgspec

from topfive.augmentations import CIFAR, Augmentation
from topfive.layers import BatchNorm, Network, leaves

NORMALISED, PLAIN = 0.2 / 256, 0.04 / 128  # learning rate per picture of a batch


class Recipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Stochastic gradient descent with momentum; the learning rate rises to `lr` and falls to zero once (one cycle)."""

    epochs: int = 20
    batch: int = 64
    lr: float = 0.05
    momentum: float = 0.9
    weight_decay: float = 5e-4
    warmup: float = 0.25  # the share of the steps in which the learning rate rises
    clip: float = 5.0  # the largest norm of the gradient; larger ones are scaled down to it
    augmentation: Augmentation = CIFAR
    seed: int = 0


def quick(network: Network | None, epochs: int, batch: int = 64, seed: int = 0) -> Recipe:
    """The one recipe of a comparison (ours): the same for all, but for the learning rate.

    A network with batch normalisation, or one that we know nothing of, takes ResNet's 0.1 per 256 pictures, doubled
    since the cycle is short; one without takes AlexNet's 0.01 per 128, doubled twice for the same reason.
    """
    normalised = network is None or any(isinstance(layer, BatchNorm) for _, layer in leaves(network.body))
    return Recipe(epochs=epochs, batch=batch, lr=NORMALISED * batch if normalised else PLAIN * batch, seed=seed)


def describe(epochs: int, batch: int) -> str:
    """The recipe of `quick` in a sentence."""
    recipe = quick(None, epochs, batch)
    return (
        f"{epochs} epochs, batch {batch}, SGD with momentum {recipe.momentum:g}, learning rate up to {recipe.lr:g} "
        f"({PLAIN * batch:g} for networks without batch normalisation) and back to 0 in one cycle, weight decay "
        f"{recipe.weight_decay:g}, gradient clipped at {recipe.clip:g}, random shifts by up to an "
        "eighth of the side and, where the source allows it, mirror images (CIFAR's augmentation)"
    )
