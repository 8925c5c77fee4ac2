"""Weights of other libraries: which of their networks is which of ours, and what each tensor is called here.

A table beside each network turns the beginning of our names into theirs: `("dense{b}.bn{n}.", "block{b}.norm{n-1}.")`.
A field in braces is a number, written as it is or shifted; `{row}` is a number and a letter, `{kind}` is conv or bn.
The first line that a name begins with is used; a name without one stays.
"""

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple, TypeAlias

from topfive.errors import UsageError
from topfive.networks import (
    NETWORKS,
    alexnet,
    densenet,
    get,
    googlenet,
    inception_v3,
    inception_v4,
    mobilenet,
    resnet,
    senet,
    squeezenet,
    vgg,
)
from topfive.networks.layers import Network, from_json
from topfive.networks.variations import batch_normalized
from topfive.weights import preprocessing
from topfive.weights.preprocessing import HALF, Preprocessing, timm

Shape: TypeAlias = tuple[int, ...]
Rules: TypeAlias = tuple[tuple[str, str], ...]
OURS = "topfive"


class Origin(NamedTuple):
    """A network of another library that is one of ours."""

    library: str
    model: str  # as the library calls it
    network: str  # as we call it
    rules: Rules | Callable[[Network], Rules] = ()
    preprocessing: Preprocessing | None = None  # of the weights that the library publishes under that name
    classes: int | None = None  # where the same network is published for several data sets
    left_out: tuple[str, ...] = ()  # how the names begin that ours has no place for
    note: str = ""

    def __str__(self) -> str:
        return self.network if self.library == OURS else f"{self.library}'s {self.model}"


_CIFAR = (20, 32, 44, 56, 110, 1202)


def _cifar(change: Callable[[Network], Network], depth: int) -> Network:
    return change(resnet.cifar_resnet(depth))


# networks that no paper lists and that weights of others belong to
VARIANTS: dict[str, Callable[[], Network]] = {
    "vgg-a-bn": lambda: batch_normalized(vgg.vgg("a")),
    "vgg-b-bn": lambda: batch_normalized(vgg.vgg("b")),
    "vgg-d-bn": lambda: batch_normalized(vgg.vgg("d")),
    "vgg-e-bn": lambda: batch_normalized(vgg.vgg("e")),
    **{f"cifar-resnet-{depth}-b": partial(_cifar, resnet.option_b, depth) for depth in _CIFAR},
    **{f"cifar-resnet-{depth}-zeros-around": partial(_cifar, resnet.zeros_around, depth) for depth in _CIFAR},
    "se-resnet-50-v1.5": lambda: senet.squeeze_excite(resnet.stride_on_3x3(resnet.resnet(50))),
    "se-resnet-50-caffe-pool": lambda: senet.caffe_pool(get("se-resnet-50")),
    "mobilenet-v1-relu6": lambda: mobilenet.relu6(mobilenet.mobilenet_v1()),
}

# (asked for, found): why, where both have the same name in the literature
_STRIDE = "the stride of its stages stands on the 3x3, in the paper on the first 1x1; the shapes are the same"
_ZEROS = "the zero maps of its shortcuts stand on both sides, here behind; the shapes are the same"
INSTEAD = {
    **{(f"resnet-{depth}", f"resnet-{depth}-v1.5"): _STRIDE for depth in (50, 101, 152)},
    **{(f"cifar-resnet-{n}", f"cifar-resnet-{n}-zeros-around"): _ZEROS for n in _CIFAR},
    **{
        (f"cifar-resnet-{n}", f"cifar-resnet-{n}-b"): "its shortcuts are projections, in the paper zeros"
        for n in _CIFAR
    },
    **{(f"vgg-{c}", f"vgg-{c}-bn"): "it is batch-normalised" for c in "abde"},
    ("alexnet", "alexnet-owt"): "it is the one-column network of 2014, without groups and response normalisation",
    ("googlenet", "googlenet-torchvision"): "it is batch-normalised, with 3x3 where the paper has 5x5",
    ("mobilenet-v1", "mobilenet-v1-relu6"): "its ReLUs stop at 6, the paper's do not; the shapes are the same",
    ("se-resnet-50", "se-resnet-50-v1.5"): _STRIDE,
    ("se-resnet-50", "se-resnet-50-caffe-pool"): "its first pool rounds up and has no padding; the shapes are the same",
}
# fmt: off
_VGG = {"vgg11": "vgg-a", "vgg13": "vgg-b", "vgg16": "vgg-d", "vgg19": "vgg-e",
        "vgg11_bn": "vgg-a-bn", "vgg13_bn": "vgg-b-bn", "vgg16_bn": "vgg-d-bn", "vgg19_bn": "vgg-e-bn"}
_RESNET = {"resnet18": "resnet-18", "resnet34": "resnet-34", "resnet50": "resnet-50-v1.5",
           "resnet101": "resnet-101-v1.5", "resnet152": "resnet-152-v1.5", "resnext50_32x4d": "resnext-50-32x4d",
           "resnext101_64x4d": "resnext-101-64x4d"}
_RESNEXT = {"resnext101_32x8d": "resnext-101-32x8d"}
_DENSENET = {f"densenet{depth}": f"densenet-{depth}" for depth in (121, 161, 169, 201)}
_SQUEEZENET = {"squeezenet1_0": "squeezenet-1.0", "squeezenet1_1": "squeezenet-1.1"}
# what is published of torchvision, and timm's first choice for each name; a hash or a config.json says more
_TV, _TIMM, _BILINEAR = preprocessing.TORCHVISION, timm(), timm(interpolation="bilinear")
_TABLE: tuple[tuple[str, Rules | Callable[[Network], Rules], Preprocessing, dict[str, str]], ...] = (
    ("torchvision", alexnet.torchvision, _TV, {"alexnet": "alexnet-owt"} | _VGG),
    ("torchvision", squeezenet.torchvision, _TV, _SQUEEZENET),
    ("torchvision", resnet.TORCHVISION, _TV, _RESNET | _RESNEXT),
    ("torchvision", densenet.TORCHVISION, _TV, _DENSENET),
    ("torchvision", densenet.TORCHVISION_2017, _TV, _DENSENET),
    ("torchvision", mobilenet.TORCHVISION_V2, _TV, {"mobilenet_v2": "mobilenet-v2"}),
    ("timm", vgg.timm, _BILINEAR, _VGG),
    ("timm", resnet.TORCHVISION, timm(0.95), _RESNET | {"seresnet50": "se-resnet-50-v1.5"}),
    ("timm", resnet.TORCHVISION, _BILINEAR, _RESNEXT | {"resnext101_32x4d": "resnext-101-32x4d"}),
    ("timm", senet.TIMM_LEGACY, _BILINEAR,
     {"legacy_seresnet50": "se-resnet-50-caffe-pool", "legacy_senet154": "senet-154"}),
    ("timm", densenet.TORCHVISION, _TIMM, _DENSENET),
    ("timm", inception_v3.TORCHVISION, timm(size=299, mean=HALF, std=HALF), {"inception_v3": "inception-v3"}),
    ("timm", inception_v4.TIMM_V4, timm(size=299, mean=HALF, std=HALF), {"inception_v4": "inception-v4"}),
    ("timm", inception_v4.TIMM_RESNET_V2, timm(0.8975, size=299, mean=HALF, std=HALF),
     {"inception_resnet_v2": "inception-resnet-v2"}),
    ("timm", mobilenet.TIMM_V1, timm(mean=HALF, std=HALF), {"mobilenetv1_100": "mobilenet-v1-relu6"}),
    ("timm", mobilenet.TIMM_V2, _TIMM, {"mobilenetv2_100": "mobilenet-v2"}),
    ("akamaster", resnet.AKAMASTER, preprocessing.AKAMASTER,
     {f"resnet{n}": f"cifar-resnet-{n}-zeros-around" for n in _CIFAR}),
)
# fmt: on
_RESCALED = (
    "mean and deviation 0.5 go with the published weights, whose images torchvision scales again (transform_input); "
    "a network trained there from nothing wants ImageNet's"
)
ORIGINS = (
    Origin(
        "torchvision", "googlenet", "googlenet-torchvision", googlenet.TORCHVISION,
        preprocessing.TORCHVISION_GOOGLENET, left_out=("aux1.", "aux2."), note=_RESCALED,
    ),
    Origin(
        "torchvision", "inception_v3", "inception-v3", inception_v3.TORCHVISION,
        preprocessing.TORCHVISION_INCEPTION_V3, note=_RESCALED,
    ),
    *(
        Origin(library, model, ours, rules, images)
        for library, rules, images, models in _TABLE
        for model, ours in models.items()
    ),
    *(
        Origin("chenyaofo", f"cifar{classes}_resnet{n}", f"cifar-resnet-{n}-b", resnet.TORCHVISION, images, classes)
        for classes, images in ((10, preprocessing.CHENYAOFO_10), (100, preprocessing.CHENYAOFO_100))
        for n in (20, 32, 44, 56)
    ),
    # of unknown training; without projections nothing in a file tells where the zero maps stand
    *(
        Origin("fb.resnet.torch", f"resnet{n}", f"cifar-resnet-{n}{shortcuts}", resnet.TORCHVISION)
        for n in _CIFAR
        for shortcuts in ("", "-zeros-around", "-b")
    ),
    *(Origin(OURS, name, name) for name in NETWORKS),
)  # fmt: skip


def network_called(name: str) -> Network:
    """What a network's name means: one of `NETWORKS`, their aliases or `VARIANTS`, or the one in a .json file.

    Raises: UsageError where nothing has that name, or the file holds no network.
    """
    if not name.endswith(".json"):
        return _built(name)
    if not (path := Path(name)).is_file():
        raise UsageError(f"there is no file {name!r}")
    try:
        return from_json(path.read_bytes())
    except UsageError as error:
        raise UsageError(f"{name} is {error}") from None
    except RecursionError:
        raise UsageError(f"{name} is nested too deeply to be a network") from None


@cache
def _built(name: str) -> Network:
    return VARIANTS[name]() if name in VARIANTS else get(name)
