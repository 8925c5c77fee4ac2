"""Our own recipes: quick, of a comparison; fast, from scratch; finetune, from weights of another training."""

import msgspec

from topfive.networks.layers import BatchNorm, Conv, Network, leaves
from topfive.recipes.augmentations import Augmentation, PaddedCrop, RandomResizedCrop
from topfive.recipes.recipe import AdamW, Muon, OneCycle, Recipe, Sgd

NORMALISED, PLAIN = 0.2, 0.08  # peak learning rates of the quick recipe for 256 images
CIFAR_SIDE, CIFAR_FILTERS = 32, 64  # He et al. 2015, section 4.2


def quick(network: Network | None, epochs: int, batch: int = 64, seed: int = 0) -> Recipe:
    """The one recipe of a comparison (ours): the same for all, but for the learning rate.

    A network with batch normalisation, or one that we know nothing of, takes ResNet's 0.1 per 256 images, doubled
    since the cycle is short; one without takes AlexNet's 0.01 per 128, doubled twice for the same reason.
    """
    rate = NORMALISED if network is None or normalised(network) else PLAIN
    return Recipe(epochs=epochs, batch=batch, lr=rate, lr_batch=256, clip=5.0, seed=seed)


def fast(network: Network | None) -> Recipe:
    """Ours: the shortest time to a good accuracy on a user's images, from scratch (docs/results/training.md).

    Small images first, which cost a quarter; crops of a third of the area or more; one cycle; a running average;
    first kernels that are principal components; AdamW, which is ahead of SGD while epochs are few.
    A network like He et al.'s for CIFAR sees windows of the images first, then whole ones with a mirrored border, and
    learns by Muon, which is ahead at equal time where kernels are as small as these (docs/decisions/0012, 0013).
    The rates of networks without batch normalisation are a guess.
    """
    factor = 1.0 if network is None or normalised(network) else 0.25
    if network is not None and _like_cifar_resnets(network):
        return Recipe(
            name="fast",
            epochs=21,
            batch=128,
            lr=0.025 * factor,
            lr_batch=128,
            optimizer=Muon(weight_decay=0.05),
            clip=5.0,
            augmentation=Augmentation(PaddedCrop(4, CIFAR_SIDE, mirrored=True), smoothing=0.1),
            progressive_resize=((0.7, 0.75), (0.86, 0.875)),
            ema_decay=0.997,
            evaluate_every=11,
        )
    return Recipe(
        name="fast",
        epochs=16,
        batch=64,
        lr=2e-3 * factor,
        lr_batch=64,
        optimizer=AdamW(weight_decay=0.1),
        schedule=OneCycle(0.1),
        clip=5.0,
        augmentation=Augmentation(RandomResizedCrop(0.35), smoothing=0.1),
        progressive_resize=((0.5, 0.5), (0.8, 0.75)),
        ema_decay=0.99,
        evaluate_every=8,
        whitened=True,
    )


def _like_cifar_resnets(network: Network) -> bool:
    """Whether it takes 32 pixels or fewer and is narrow: with 512 filters a step by Muon takes twice as long."""
    widest = max((layer.filters for _, layer in leaves(network.body) if isinstance(layer, Conv)), default=0)
    return max(network.input[1:]) <= CIFAR_SIDE and widest <= CIFAR_FILTERS


def suited(network: Network | None) -> Recipe:
    """The recipe of ours that brings a network of its kind furthest in a short time, from scratch."""
    return fast(network)


def finetune() -> Recipe:
    """Ours: from weights of another training to new classes, by SGD at a low rate and in few epochs."""
    gentle = Sgd(nesterov=True, decay_all=False)
    return msgspec.structs.replace(
        fast(None), name="finetune", epochs=5, lr=0.01, optimizer=gentle, progressive_resize=(), whitened=False
    )


def normalised(network: Network) -> bool:
    """Whether there is batch normalisation in it, which is what decides how high a learning rate may be."""
    return any(isinstance(layer, BatchNorm) for _, layer in leaves(network.body))


def describe(epochs: int, batch: int) -> str:
    """The recipe of `quick` in a sentence."""
    recipe = quick(None, epochs, batch)
    assert isinstance(recipe.optimizer, Sgd)
    return (
        f"{epochs} epochs, batch {batch}, SGD with momentum {recipe.optimizer.momentum:g}, learning rate up to "
        f"{recipe.peak:g} ({PLAIN * batch / 256:g} for networks without batch normalisation) and back to 0 in one "
        f"cycle, weight decay {recipe.optimizer.weight_decay:g}, gradient clipped at {recipe.clip:g}, random shifts by "
        "up to an eighth of the side and, where the source allows it, mirror images (CIFAR's augmentation)"
    )
