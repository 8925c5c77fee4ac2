"""Every network by its name on the command line: one file per paper, in order of publication."""

from collections.abc import Callable
from functools import partial

from topfive.errors import UsageError, did_you_mean
from topfive.networks import (
    alexnet,
    bn_inception,
    densenet,
    googlenet,
    inception_v3,
    inception_v4,
    mobilenet,
    nin,
    resnet,
    resnext,
    senet,
    squeezenet,
    vgg,
    zfnet,
)
from topfive.networks.layers import Network
from topfive.networks.papers import Claim
from topfive.networks.variations import batch_normalized


def _v15(depth: int) -> Network:
    return resnet.stride_on_3x3(resnet.resnet(depth))


NETWORKS: dict[str, Callable[[], Network]] = {
    "alexnet": alexnet.alexnet,
    "alexnet-owt": alexnet.alexnet_owt,
    "alexnet-owt-footnote": partial(alexnet.alexnet_owt, (64, 192, 384, 384, 256), "alexnet-owt-footnote"),
    "bn-alexnet": lambda: batch_normalized(alexnet.alexnet_owt(), "bn-alexnet", linear=True),
    "zfnet": zfnet.zfnet,
    "zfnet-wide": partial(zfnet.zfnet, wide=True),
    "nin": nin.nin,
    "bn-nin": nin.bn_nin,
    **{f"vgg-{c}": partial(vgg.vgg, c) for c in vgg.TABLE},
    "googlenet": googlenet.googlenet,
    "googlenet-naive": googlenet.googlenet_naive,
    "googlenet-torchvision": googlenet.googlenet_torchvision,
    "bn-inception": bn_inception.bn_inception,
    "inception-v3": inception_v3.inception_v3,
    "inception-v4": inception_v4.inception_v4,
    "inception-resnet-v1": inception_v4.inception_resnet_v1,
    "inception-resnet-v2": inception_v4.inception_resnet_v2,
    "inception-resnet-v2-paper": inception_v4.inception_resnet_v2_paper,
    **{f"plain-{depth}": partial(resnet.plain, depth) for depth in (18, 34)},
    **{f"resnet-{depth}": partial(resnet.resnet, depth) for depth in (18, 34, 50, 101, 152)},
    **{f"resnet-{depth}-v1.5": partial(_v15, depth) for depth in (50, 101, 152)},
    **{f"cifar-plain-{depth}": partial(resnet.cifar_plain, depth) for depth in (20, 32, 44, 56, 110)},
    **{f"cifar-resnet-{depth}": partial(resnet.cifar_resnet, depth) for depth in (20, 32, 44, 56, 110, 1202)},
    "resnext-50-32x4d": partial(resnext.resnext, 50, 32, 4),
    "resnext-101-32x4d": partial(resnext.resnext, 101, 32, 4),
    "resnext-101-64x4d": partial(resnext.resnext, 101, 64, 4),
    "resnext-101-32x8d": partial(resnext.resnext, 101, 32, 8),
    "se-resnet-50": lambda: senet.squeeze_excite(resnet.resnet(50)),
    "senet-154": senet.senet154,
    **{f"densenet-{depth}": partial(densenet.densenet, depth) for depth in (121, 161, 169, 201, 264)},
    "squeezenet-1.0": partial(squeezenet.squeezenet, "1.0"),
    "squeezenet-1.1": partial(squeezenet.squeezenet, "1.1"),
    "mobilenet-v1": mobilenet.mobilenet_v1,
    "mobilenet-v2": mobilenet.mobilenet_v2,
}
ALIASES = {"vgg-11": "vgg-a", "vgg-13": "vgg-b", "vgg-16": "vgg-d", "vgg-19": "vgg-e", "inception-v1": "googlenet"}

# by order of publication: a paper's file imports only those before it
PAPERS = (
    alexnet, zfnet, nin, vgg, googlenet, bn_inception, inception_v3, resnet, inception_v4,
    squeezenet, densenet, resnext, mobilenet, senet,
)  # fmt: skip
CLAIMS: dict[str, list[Claim]] = {name: claims for paper in PAPERS for name, claims in paper.CLAIMS.items()}
ERRATA: dict[tuple[str, str, str], str] = {key: text for paper in PAPERS for key, text in paper.ERRATA.items()}
DIFFERS: dict[str, list[str]] = {name: texts for paper in PAPERS for name, texts in paper.DIFFERS.items()}


def get(name: str) -> Network:
    """The network called `name`.

    Raises: UsageError naming the nearest names.
    """
    wanted = name.lower()
    wanted = ALIASES.get(wanted, wanted)
    if wanted not in NETWORKS:
        raise UsageError(f"no network is called {name!r}{did_you_mean(wanted, [*NETWORKS, *ALIASES])}")
    return NETWORKS[wanted]()
