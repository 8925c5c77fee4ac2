"""How other libraries prepare an image for their networks: facts of their sources, and what timm writes beside a file.

Means and deviations are those of red, green and blue in 0..1.
"""

from typing import Annotated, Literal

import msgspec

from topfive.errors import RefusedError
from topfive.recipes.protocols import PROTOCOLS, SQUARE, Interpolation, Protocol

Rgb = tuple[float, float, float]


class Preprocessing(msgspec.Struct, frozen=True):
    """The views of an image that a network of `size` pixels was published with, and the normalisation of pixels."""

    mean: Rgb
    std: Rgb
    size: int
    protocol: Protocol


IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HALF = (0.5, 0.5, 0.5)
TORCHVISION = Preprocessing(IMAGENET_MEAN, IMAGENET_STD, 224, PROTOCOLS["1-crop:torchvision"])
# why: the published weights of these two scale their images again inside (`transform_input`), to 0.5 and 0.5
TORCHVISION_GOOGLENET = Preprocessing(HALF, HALF, 224, PROTOCOLS["1-crop:torchvision"])
TORCHVISION_INCEPTION_V3 = Preprocessing(
    HALF, HALF, 299, Protocol("1-crop", "torchvision: resize 342, crop 299", "torchvision-342", 299, (342,))
)
AKAMASTER = Preprocessing(IMAGENET_MEAN, IMAGENET_STD, 32, SQUARE)  # ImageNet's figures, for CIFAR-10
CHENYAOFO_10 = Preprocessing((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010), 32, SQUARE)
CHENYAOFO_100 = Preprocessing((0.5070, 0.4865, 0.4409), (0.2673, 0.2564, 0.2761), 32, SQUARE)


def timm(
    crop: float = 0.875,
    interpolation: Interpolation = "bicubic",
    size: int = 224,
    mean: Rgb = IMAGENET_MEAN,
    std: Rgb = IMAGENET_STD,
) -> Preprocessing:
    """timm's way: the shorter side is `size` / `crop` rounded down, the centre is cut out."""
    known = {7 / 8: "1-crop:timm", 0.95: "1-crop:timm-0.95"}
    if interpolation == "bicubic" and crop in known:
        return Preprocessing(mean, std, size, PROTOCOLS[known[crop]])
    variant = f"timm-{crop:g}" + ("" if interpolation == "bicubic" else f"-{interpolation}")
    source = f"timm with crop_pct {crop:g}, {interpolation}"
    of, shorter = round(crop * 10**4), 10**4
    protocol = Protocol("1-crop", source, variant, of, (shorter,), interpolation=interpolation, down=True)
    return Preprocessing(mean, std, size, protocol)


class TimmConfig(msgspec.Struct, frozen=True):
    """What a config.json of timm says of the file beside it."""

    model: str
    classes: int
    preprocessing: Preprocessing
    names: tuple[str, ...] = ()  # of the classes, in the order of the outputs; empty where it does not say


_Channel = Annotated[float, msgspec.Meta(ge=0, le=1)]
_Deviation = Annotated[float, msgspec.Meta(gt=0, le=1)]
_Side = Annotated[int, msgspec.Meta(ge=16, le=2048)]


class _Pretrained(msgspec.Struct):
    input_size: tuple[Literal[3], _Side, _Side]
    mean: tuple[_Channel, _Channel, _Channel]
    std: tuple[_Deviation, _Deviation, _Deviation]
    interpolation: Interpolation
    crop_pct: Annotated[float, msgspec.Meta(ge=0.1, le=1)]
    crop_mode: Literal["center"] = "center"


class _Config(msgspec.Struct):
    architecture: Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
    num_classes: Annotated[int, msgspec.Meta(ge=2, le=10**6)]
    pretrained_cfg: _Pretrained
    label_names: tuple[str, ...] = ()
    model_args: dict[str, object] = {}


def timm_config(text: str | bytes, where: str) -> TimmConfig:
    """What the config.json beside weights of timm says. Raises: RefusedError naming `where` and the field."""
    try:
        config = msgspec.json.decode(text, type=_Config)
    except (msgspec.ValidationError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RefusedError(f"{where} is not a config.json of timm: {error}") from None
    _, height, width = config.pretrained_cfg.input_size
    if height != width:
        raise RefusedError(f"{where}: images of {height}x{width} are no squares, which every network here is shown")
    if changed := sorted(config.model_args.keys() - {"num_classes"}):
        raise RefusedError(
            f"{where}: {config.architecture} was changed ({', '.join(changed)}), which cannot be followed"
        )
    if config.label_names and len(config.label_names) != config.num_classes:
        raise RefusedError(f"{where} names {len(config.label_names)} classes of {config.num_classes}")
    if len(set(config.label_names)) < len(config.label_names):
        raise RefusedError(f"{where} has two classes of one name")
    shown = config.pretrained_cfg
    preprocessing = timm(shown.crop_pct, shown.interpolation, width, shown.mean, shown.std)
    # a tag behind the name tells how the weights were trained: resnet50.a1_in1k
    return TimmConfig(config.architecture.split(".")[0], config.num_classes, preprocessing, config.label_names)
