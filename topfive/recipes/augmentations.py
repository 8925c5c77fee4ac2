"""How the papers changed their training images: frozen values, each citing its section.

An augmentation is a way to crop, and what happens to the pixels afterwards. `engine/training/loading.py` carries it
out: the crop where the image is decoded, all the rest on whole batches, on the device.
"""

from typing import Annotated, assert_never

import msgspec

# what a value may be, checked where it is read from a text: `--set`, a run folder
Count = Annotated[int, msgspec.Meta(ge=1)]
Amount = Annotated[float, msgspec.Meta(ge=0)]
Positive = Annotated[float, msgspec.Meta(gt=0)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Part = Annotated[float, msgspec.Meta(gt=0, le=1)]
Fraction = Annotated[float, msgspec.Meta(ge=0, lt=1)]

Box = tuple[float, float, float, float]


class Centre(msgspec.Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """The centre square; in training only where nothing is to be left to chance."""


class PaddedCrop(msgspec.Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """The centre square with a border, `padding` of `of` pixels, then a random crop of the square's size.

    Where a recipe's `progressive_resize` asks for less than the full side, the crop is a window of the square,
    without a border.
    """

    padding: Annotated[int, msgspec.Meta(ge=0)]
    of: Count
    mirrored: bool = False  # the border: the image mirrored at its edges, not zeros


class ScaleJitterCrop(msgspec.Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """The shorter side brought to a random length in `low..high`, then a random crop; lengths for crops of `of`."""

    low: Count
    high: Count
    of: Count = 224


class RandomResizedCrop(msgspec.Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """A patch of a random share of the area and a random ratio of width to height, resized to the square."""

    least: Part = 0.08
    most: Part = 1.0
    ratio: Annotated[float, msgspec.Meta(ge=1)] = 4 / 3  # and its inverse


Crop = Centre | PaddedCrop | ScaleJitterCrop | RandomResizedCrop


class Augmentation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One paper's treatment of its training images."""

    crop: Crop
    hflip: bool = True  # half of the images, unless the source says that a mirrored image is of another class
    pca_noise: Amount = 0.0  # standard deviation of AlexNet's shifts along the principal components of colour
    colour: Share = 0.0  # brightness, contrast and saturation each by a random factor in 1 - colour .. 1 + colour
    erase: Share = 0.0  # the share of images that lose a random patch
    mixup: Amount = 0.0  # alpha of the beta distribution that two images are blended by; 0 is never
    cutmix: Amount = 0.0  # alpha of the share that a patch of another image takes; with mixup, a coin decides
    smoothing: Fraction = 0.0  # the share of the target that is spread over all classes
    source: str = "ours"


ALEXNET = Augmentation(
    ScaleJitterCrop(256, 256, 224),
    pca_noise=0.1,
    source="Krizhevsky et al. 2012, §4.1: 224 of 256 and its mirror image; RGB shifted along its principal components",
)
VGG = Augmentation(
    ScaleJitterCrop(256, 512, 224),
    pca_noise=0.1,
    source="Simonyan and Zisserman 2014, §3.1: scale jitter S in [256, 512], flips, Krizhevsky's RGB shift",
)
GOOGLENET = Augmentation(
    RandomResizedCrop(),
    colour=0.5,
    source="Szegedy et al. 2014, §6: 8 to 100 % of the area, ratio 3/4 to 4/3, photometric distortions after Howard "
    "2013 (their factors: 0.5 to 1.5)",
)
RESNET = Augmentation(
    ScaleJitterCrop(256, 480, 224),
    pca_noise=0.1,
    source="He et al. 2015, §3.4: shorter side in [256, 480], a 224 crop or its flip, Krizhevsky's colour augmentation",
)
CIFAR = Augmentation(
    PaddedCrop(4, 32), source="He et al. 2015, §4.2: 4 pixels padded on each side, a 32x32 crop or its flip"
)
MODERN = Augmentation(
    RandomResizedCrop(),
    erase=0.1,
    mixup=0.2,
    cutmix=1.0,
    smoothing=0.1,
    source="Wightman et al. 2021, ResNet strikes back, and torchvision's later recipes: mixup 0.2, cutmix 1.0, erasing "
    "0.1, label smoothing 0.1",
)

AUGMENTATIONS = {
    "alexnet": ALEXNET,
    "vgg": VGG,
    "googlenet": GOOGLENET,
    "resnet": RESNET,
    "cifar": CIFAR,
    "modern": MODERN,
}

DRAWS = 24  # uniform numbers that a crop may use
ATTEMPTS = 10


def box(crop: Crop, width: int, height: int, size: int, draws: list[float]) -> Box:
    """(left, top, right, bottom) of the patch of a `width` x `height` image that becomes `size` x `size`.

    `draws` are `DRAWS` numbers in 0..1. The padding of `PaddedCrop` comes later, on whole batches.
    """
    match crop:
        case Centre() | PaddedCrop():
            side = min(width, height)
            left, top = (width - side) // 2, (height - side) // 2
            return left, top, left + side, top + side
        case ScaleJitterCrop(low=low, high=high, of=of):
            shorter = round((low + draws[0] * (high - low + 1) - 0.5) * size / of)
            scale = max(shorter, size) / min(width, height)
            # why: whole pixels of the resized image, so that one resampling equals resizing and then cropping
            left = int(draws[1] * (max(size, int(width * scale + 1e-6)) - size + 1))
            top = int(draws[2] * (max(size, int(height * scale + 1e-6)) - size + 1))
            return _inside(left / scale, top / scale, size / scale, size / scale, width, height)
        case RandomResizedCrop(least=least, most=most, ratio=ratio):
            for attempt in range(ATTEMPTS):
                area = (least + draws[2 * attempt] * (most - least)) * width * height
                aspect = ratio ** (2 * draws[2 * attempt + 1] - 1)  # as likely wide as tall
                w, h = round((area * aspect) ** 0.5), round((area / aspect) ** 0.5)
                if 0 < w <= width and 0 < h <= height:
                    left, top = int(draws[20] * (width - w + 1)), int(draws[21] * (height - h + 1))
                    return left, top, left + w, top + h
            # an image too long for any attempt: the largest centred patch that the ratio allows
            w, h = min(width, round(height * ratio)), min(height, round(width * ratio))
            return _inside((width - w) // 2, (height - h) // 2, w, h, width, height)
        case _:
            assert_never(crop)


def _inside(left: float, top: float, w: float, h: float, width: int, height: int) -> Box:
    """The box, moved and cut by what rounding put outside of the image."""
    left, top = max(0.0, min(left, width - w)), max(0.0, min(top, height - h))
    return left, top, min(left + w, width), min(top + h, height)
