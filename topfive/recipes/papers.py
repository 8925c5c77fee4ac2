"""How the papers trained: `Recipe` values, each field with the section that it is from.

What is not in `sources` no paper gives: it is ours. `differs` says what a paper did besides, and these do not. Where a
paper gives a rule (a fifth of another's decay) the rule is cited, and what it was applied to is named.
"""

from collections.abc import Callable, Sequence
from functools import partial

from msgspec.structs import replace

from topfive.errors import UsageError, did_you_mean
from topfive.networks.layers import Network
from topfive.recipes import augmentations
from topfive.recipes.ours import fast, finetune, normalised, quick
from topfive.recipes.recipe import Decay, Plateau, Recipe, RmsProp, Sgd, Steps, Warmup

ALEXNET = Recipe(
    name="alexnet",
    epochs=90,
    batch=128,
    lr=0.01,
    lr_batch=128,
    optimizer=Sgd(momentum=0.9, weight_decay=5e-4, lr_in_velocity=True),
    schedule=Plateau(factor=0.1, times=3),
    augmentation=augmentations.ALEXNET,
    sources={
        "epochs": "§5: about 90 cycles through the training set",
        "batch": "§5: 128 images",
        "lr": "§5: 0.01 at first",
        "lr_batch": "§5: the batch of that rate",
        "optimizer": "§5: stochastic gradient descent",
        "optimizer.momentum": "§5: 0.9",
        "optimizer.weight_decay": "§5: 0.0005",
        "optimizer.lr_in_velocity": "§5: the rule of the update, the rate inside of the velocity",
        "schedule": "§5: when the validation error stopped improving",
        "schedule.factor": "§5: divided by 10",
        "schedule.times": "§5: three times before the end",
        "augmentation.crop": "§4.1: a random 224x224 patch of 256x256",
        "augmentation.hflip": "§4.1: and its mirror image",
        "augmentation.pca_noise": "§4.1: multiples of the principal components of colour, standard deviation 0.1",
    },
)

ZFNET = Recipe(
    name="zfnet",
    epochs=70,
    batch=128,
    lr=0.01,
    lr_batch=128,
    optimizer=Sgd(momentum=0.9, weight_decay=5e-4),
    schedule=Plateau(factor=0.1, times=3),
    augmentation=replace(
        augmentations.ALEXNET, pca_noise=0.0, source="Zeiler and Fergus 2013, §3: 224 of 256, mirror images"
    ),
    sources={
        "epochs": "§3: stopped after 70",
        "batch": "§3: 128 images",
        "lr": "§3: 0.01 at first",
        "lr_batch": "§3: the batch of that rate",
        "optimizer": "§3: stochastic gradient descent",
        "optimizer.momentum": "§3: 0.9",
        "schedule": "§3: lowered by hand where the validation error stays level",
        "augmentation.crop": "§3: 224x224 patches of 256x256",
        "augmentation.hflip": "§3: with mirror images",
    },
    differs=(
        "§3: ten fixed patches of an image (corners, centre, mirrored); here any patch",
        "§3: kernels with a root mean square above 0.1 were scaled down to it",
    ),
)

VGG = Recipe(
    name="vgg",
    epochs=74,
    batch=256,
    lr=0.01,
    lr_batch=256,
    optimizer=Sgd(momentum=0.9, weight_decay=5e-4),
    schedule=Plateau(factor=0.1, times=3),
    augmentation=augmentations.VGG,
    init_layers=("conv1_1", "conv2_1", "conv3_1", "conv3_2", "fc6", "fc7", "fc8"),
    sources={
        "epochs": "§3.1: 74, in 370 thousand steps",
        "batch": "§3.1: 256 images",
        "lr": "§3.1: 0.01 at first",
        "lr_batch": "§3.1: the batch of that rate",
        "optimizer": "§3.1: mini-batch gradient descent with momentum",
        "optimizer.momentum": "§3.1: 0.9",
        "optimizer.weight_decay": "§3.1: 0.0005",
        "schedule": "§3.1: when the validation accuracy stopped improving",
        "schedule.factor": "§3.1: by a factor of 10",
        "schedule.times": "§3.1: three times",
        "augmentation.crop": "§3.1: scale jitter, a 224x224 patch of an image with S in [256, 512]",
        "augmentation.hflip": "§3.1: random mirror images",
        "augmentation.pca_noise": "§3.1: a random shift of colour, as in AlexNet's §4.1",
        "init_layers": "§3.1: of a trained A the first four convolutions and the fully connected layers, as named here",
    },
    differs=(
        "§3.1: networks deeper than A began with layers of a trained A: --start RUN_OF_A does; without it all begin "
        "with Glorot's initial weights, which the paper found later to make that unnecessary",
        "§3.1: the network of S in [256, 512] went on from the one of S = 384; here it is trained from the start",
    ),
)

GOOGLENET = Recipe(
    name="googlenet",
    epochs=250,
    batch=128,
    lr=0.0015,  # ours: what Ioffe and Szegedy 2015, §4.2.2, give for 32 images and their variant of this network
    lr_batch=32,
    optimizer=Sgd(momentum=0.9, weight_decay=2e-4),
    schedule=Decay(factor=0.96, epochs=8),
    augmentation=augmentations.GOOGLENET,
    ema_decay=0.9999,
    sources={
        "optimizer": "§6: stochastic gradient descent",
        "optimizer.momentum": "§6: 0.9",
        "schedule": "§6: a fixed schedule",
        "schedule.factor": "§6: 4 % lower",
        "schedule.epochs": "§6: every 8 epochs",
        "augmentation.crop": "§6: 8 to 100 % of the area, ratio 3/4 to 4/3",
        "augmentation.colour": "§6: Howard's photometric distortions",
        "ema_decay": "§6: Polyak averaging for the network that is evaluated; 0.9999 is ours",
    },
    differs=(
        "§6: asynchronous, on many machines; here one step after the other",
        "§6: one of four ways of resizing, at random; here one way",
    ),
)

BN_INCEPTION = Recipe(
    name="bn-inception",
    epochs=150,
    batch=32,
    lr=0.045,
    lr_batch=32,
    optimizer=Sgd(momentum=0.9, weight_decay=GOOGLENET.optimizer.weight_decay / 5),
    schedule=Decay(factor=0.96 ** (6 / 8), epochs=1),
    augmentation=replace(
        augmentations.GOOGLENET, colour=0.25, source="Ioffe and Szegedy 2015, §4.2.1: distorted less than GoogLeNet's"
    ),
    sources={
        "epochs": "§4.2.2: BN-x30 is at its best, 74.8 %, after 6 million steps, which of 32 images are 150 epochs",
        "batch": "§4.2: 32 images",
        "lr": "§4.2.2: BN-x30, 0.045, 30 times Inception's 0.0015",
        "lr_batch": "§4.2: the batch of that rate",
        "optimizer": "§4.2: stochastic gradient descent with momentum",
        "optimizer.weight_decay": "§4.2.1: a fifth of Inception's; that one, 0.0002, is ours",
        "schedule": "§4.2.1: exponential",
        "schedule.factor": "§4.2.1: 6 times as fast as Inception's, taken to be GoogLeNet's x0.96 every 8 epochs",
        "augmentation.colour": "§4.2.1: less than Inception's; half of it is ours",
    },
    differs=(
        "§4.2: trained on many machines at once; here one step after the other",
        "§4.2.1: shuffled within shards; here over all images",
    ),
)

INCEPTION_V3 = Recipe(
    name="inception-v3",
    epochs=100,
    batch=32,
    lr=0.045,
    lr_batch=32,
    optimizer=RmsProp(decay=0.9, eps=1.0),
    schedule=Decay(factor=0.94, epochs=2),
    clip=2.0,
    augmentation=replace(
        augmentations.GOOGLENET,
        smoothing=0.1,
        source="Szegedy et al. 2015, §7: label smoothing; the rest is GoogLeNet's",
    ),
    ema_decay=0.9999,
    sources={
        "epochs": "§8: 100",
        "batch": "§8: 32 images a replica; here there is one",
        "lr": "§8: 0.045",
        "lr_batch": "§8: the batch of one replica, each of which makes steps of its own with that rate",
        "optimizer": "§8: RMSProp for the best networks; earlier ones with momentum 0.9",
        "optimizer.decay": "§8: 0.9",
        "optimizer.eps": "§8: 1.0",
        "schedule": "§8: exponential",
        "schedule.factor": "§8: 0.94",
        "schedule.epochs": "§8: every two epochs",
        "clip": "§8: gradients clipped at 2.0",
        "augmentation.smoothing": "§7: 0.1",
        "ema_decay": "§8: evaluated with a running average of the parameters; 0.9999 is ours",
    },
    differs=("§8: 50 replicas at once; here one step after the other",),
)

INCEPTION_V4 = replace(
    INCEPTION_V3,
    name="inception-v4",
    epochs=160,
    sources={
        "lr": "§4: 0.045",
        "optimizer": "§4: RMSProp for the best networks; earlier ones with momentum 0.9",
        "optimizer.decay": "§4: 0.9",
        "optimizer.eps": "§4: 1.0",
        "schedule": "§4: exponential",
        "schedule.factor": "§4: 0.94",
        "schedule.epochs": "§4: every two epochs",
        "clip": "§4: found useful (AAAI's version); no threshold is given, this is Inception-v3's",
        "ema_decay": "§4: evaluated with a running average of the parameters; 0.9999 is ours",
    },
    differs=("§4: 20 replicas at once; here one step after the other",),
)

RESNET = Recipe(
    name="resnet",
    epochs=120,
    batch=256,
    lr=0.1,
    lr_batch=256,
    optimizer=Sgd(momentum=0.9, weight_decay=1e-4),
    schedule=Plateau(factor=0.1),
    augmentation=augmentations.RESNET,
    sources={
        "epochs": "§3.4: up to 600 thousand steps, which are 120 epochs of ImageNet",
        "batch": "§3.4: 256 images",
        "lr": "§3.4: 0.1 at first",
        "lr_batch": "§3.4: the batch of that rate",
        "optimizer": "§3.4: stochastic gradient descent",
        "optimizer.momentum": "§3.4: 0.9",
        "optimizer.weight_decay": "§3.4: 0.0001",
        "schedule": "§3.4: when the error stays level",
        "schedule.factor": "§3.4: divided by 10",
        "augmentation.crop": "§3.4: a 224x224 patch of an image with its shorter side in [256, 480]",
        "augmentation.hflip": "§3.4: or its mirror image",
        "augmentation.pca_noise": "§3.4: AlexNet's colour augmentation",
    },
)

RESNET_CIFAR = Recipe(
    name="resnet-cifar",
    epochs=164,
    batch=128,
    lr=0.1,
    lr_batch=128,
    optimizer=Sgd(momentum=0.9, weight_decay=1e-4),
    schedule=Steps(at=(0.5, 0.75), factor=0.1),
    augmentation=augmentations.CIFAR,
    sources={
        "epochs": "§4.2: 64 thousand steps, which are 164 epochs of 50,000 images",
        "batch": "§4.2: 128 images",
        "lr": "§4.2: 0.1 at first",
        "lr_batch": "§4.2: the batch of that rate",
        "optimizer": "§4.2: stochastic gradient descent",
        "optimizer.momentum": "§4.2: 0.9",
        "optimizer.weight_decay": "§4.2: 0.0001",
        "schedule": "§4.2: at fixed steps, found with 45,000 images to train on and 5,000 aside",
        "schedule.at": "§4.2: at 32 and at 48 of 64 thousand steps",
        "schedule.factor": "§4.2: divided by 10",
        "augmentation.crop": "§4.2: 4 pixels padded on each side, a random 32x32 patch",
        "augmentation.hflip": "§4.2: or its mirror image",
    },
)

RESNET_CIFAR_110 = replace(
    RESNET_CIFAR,
    name="resnet-cifar-110",
    warmup=Warmup(factor=0.1, error=0.8),
    sources={
        **RESNET_CIFAR.sources,
        "warmup": "§4.2: 0.01 until the training error is below 80 %, for about 400 steps",
    },
)

PAPERS: Sequence[Recipe] = (
    ALEXNET, ZFNET, VGG, GOOGLENET, BN_INCEPTION, INCEPTION_V3, INCEPTION_V4, RESNET, RESNET_CIFAR, RESNET_CIFAR_110,
)  # fmt: skip

RECIPES: dict[str, Callable[[Network | None], Recipe]] = {
    # ours, which may depend on the network
    "quick": lambda network: quick(network, Recipe().epochs),
    "fast": fast,
    "finetune": lambda network: finetune(),
    # the papers', which do not
    **{recipe.name: partial(lambda recipe, network: recipe, recipe) for recipe in PAPERS},
}

# how a network's paper begins -> the recipe of it; the first that fits
_OWN = {
    "alexnet": "alexnet",
    "zfnet": "zfnet",
    "vgg": "vgg",
    "googlenet": "googlenet",
    "bn-inception": "bn-inception",
    "inception-v3": "inception-v3",
    "inception": "inception-v4",
    "cifar-resnet-1": "resnet-cifar-110",  # and 1202, "trained as described above"
    "cifar": "resnet-cifar",
}


def get(name: str, network: Network | None = None) -> Recipe:
    """The recipe called `name`, for `network` where it depends on one.

    Raises: UsageError naming the nearest names.
    """
    if name.lower() not in RECIPES:
        raise UsageError(f"no recipe is called {name!r}{did_you_mean(name, RECIPES)}")
    return RECIPES[name.lower()](network)


def default_for(network: Network | None) -> str:
    """The name of the recipe of a network's own paper.

    Where that paper's is not here, ResNet's; AlexNet's for a network without batch normalisation, which would not bear
    that learning rate; `quick` for a module that we know nothing of.
    """
    if network is None:
        return "quick"
    own = next((name for start, name in _OWN.items() if network.paper.startswith(start)), "")
    return own or ("resnet" if normalised(network) else "alexnet")
