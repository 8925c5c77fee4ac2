"""Protocols beside naive implementations, written from the papers' sentences and torchvision's and timm's rules."""

import itertools
import math
import random
from collections.abc import Callable, Iterator

import msgspec
import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torch.nn import functional

from topfive.data.decoding import Unreadable, square
from topfive.data.views import views
from topfive.engine.models.modules import Net, build, converted
from topfive.errors import UsageError
from topfive.networks import NETWORKS, papers
from topfive.networks.costs import count
from topfive.networks.layers import (
    Chain,
    Concat,
    Conv,
    GlobalPool,
    Layer,
    Linear,
    Network,
    Pool,
    Relu,
    ZeroPad,
    chain,
    leaves,
    rewrite_network,
)
from topfive.networks.variations import fully_convolutional
from topfive.recipes.protocols import LADDER, PROTOCOLS, PUBLISHED_AS, Protocol, get

BILINEAR, BICUBIC = Image.Resampling.BILINEAR, Image.Resampling.BICUBIC
SHAPES = [(61, 40), (40, 61), (50, 50), (333, 47), (9, 31), (1, 7), (7, 1), (1, 1), (43, 38), (29, 101)]


def noise(width: int, height: int) -> Image.Image:
    """An image in which no two parts are the same."""
    values = np.random.default_rng(width * 1000 + height).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values)


# The naive ones: a list of images each. Sides are those for a network of 224 pixels.


def shorter_to(image: Image.Image, side: int, how: Image.Resampling = BILINEAR) -> Image.Image:
    """torchvision's documented Resize(side): the longer side is int(side * long / short)."""
    width, height = image.size
    if width < height:
        return image.resize((side, int(side * height / width)), how)
    return image.resize((int(side * width / height), side), how)


def centre_crop(image: Image.Image, size: int) -> Image.Image:
    """torchvision's CenterCrop: int(round((side - size) / 2.0))."""
    left, top = int(round((image.width - size) / 2.0)), int(round((image.height - size) / 2.0))  # noqa: RUF046
    return image.crop((left, top, left + size, top + size))


def five_crops(image: Image.Image, size: int) -> list[Image.Image]:
    """ "the four corner patches and the center patch" (AlexNet, section 4.1)."""
    right, below = image.width, image.height
    return [
        image.crop((0, 0, size, size)),
        image.crop((right - size, 0, right, size)),
        image.crop((0, below - size, size, below)),
        image.crop((right - size, below - size, right, below)),
        centre_crop(image, size),
    ]


def with_mirrored(crops: list[Image.Image]) -> list[Image.Image]:
    return crops + [ImageOps.mirror(crop) for crop in crops]


def to_scale(side: int, size: int) -> int:
    return round(side * size / 224)


def alexnet_10(image: Image.Image, size: int) -> list[Image.Image]:
    """Rescaled so that the shorter side is 256, the central 256x256 patch, five patches and their reflections."""
    side = to_scale(256, size)
    return with_mirrored(five_crops(centre_crop(shorter_to(image, side), side), size))


def torchvision_10(image: Image.Image, size: int) -> list[Image.Image]:
    """TenCrop: five crops of the image, and five crops of the mirrored image."""
    whole = shorter_to(image, to_scale(256, size))
    return five_crops(whole, size) + five_crops(ImageOps.mirror(whole), size)


def googlenet(image: Image.Image, size: int, sides: tuple[int, ...], squares: tuple[str, ...]) -> list[Image.Image]:
    """GoogLeNet, section 7: "we resized the image to 4 scales [...], take the left, center and right square (in the

    case of portrait images, [...] the top, center and bottom squares). For each square, we then take the 4 corners and
    the center 224x224 crop as well as the square resized to 224x224, and their mirrored versions".
    """
    crops = []
    for side in sides:
        side = to_scale(side, size)
        whole = shorter_to(image, side)
        for where in squares:
            if where == "centre":
                part = centre_crop(whole, side)
            elif where in ("left", "top"):
                part = whole.crop((0, 0, side, side))
            else:
                part = whole.crop((whole.width - side, whole.height - side, whole.width, whole.height))
            crops += [*five_crops(part, size), part.resize((size, size), BILINEAR)]
    return with_mirrored(crops)


def vgg_150(image: Image.Image, size: int) -> list[Image.Image]:
    """VGG, section 4.3: "50 crops per scale (5x5 regular grid with 2 flips)", over 3 scales."""
    crops = []
    for side in (256, 384, 512):
        whole = shorter_to(image, to_scale(side, size))
        for top in np.linspace(0, whole.height - size, 5).round().astype(int):
            for left in np.linspace(0, whole.width - size, 5).round().astype(int):
                crops.append(whole.crop((left, top, left + size, top + size)))
    return with_mirrored(crops)


def whole(sides: tuple[int, ...], mirror: bool) -> Callable[[Image.Image, int], list[Image.Image]]:
    def dense(image: Image.Image, size: int) -> list[Image.Image]:
        crops = [shorter_to(image, to_scale(side, size)) for side in sides]
        return with_mirrored(crops) if mirror else crops

    return dense


def interpolated(image: Image.Image, size: int) -> list[Image.Image]:
    """Resize without antialias and CenterCrop of a tensor, by torch's own interpolation."""
    target = shorter_to(image, to_scale(256, size)).size
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float()
    if target != image.size:
        pixels = functional.interpolate(pixels, target[::-1], mode="bilinear", align_corners=False, antialias=False)
    whole = Image.fromarray(pixels[0].permute(1, 2, 0).round().to(torch.uint8).numpy())
    return [centre_crop(whole, size)]


NAIVE: dict[str, Callable[[Image.Image, int], list[Image.Image]]] = {
    "1-crop": lambda image, size: [centre_crop(shorter_to(image, to_scale(256, size)), size)],
    "1-crop:square": lambda image, size: [Image.fromarray(square(image, size))],
    "1-crop:torchvision": lambda image, size: [centre_crop(shorter_to(image, to_scale(256, size)), size)],
    "1-crop:torchvision-v2": lambda image, size: [centre_crop(shorter_to(image, to_scale(232, size)), size)],
    "1-crop:torchvision-tensor": interpolated,
    # timm: scale_size = math.floor(img_size / crop_pct)
    "1-crop:timm": lambda image, size: [centre_crop(shorter_to(image, math.floor(size / 0.875), BICUBIC), size)],
    "1-crop:timm-0.95": lambda image, size: [centre_crop(shorter_to(image, math.floor(size / 0.95), BICUBIC), size)],
    "10-crop": alexnet_10,
    "10-crop:torchvision": torchvision_10,
    "12-crop": lambda image, size: googlenet(image, size, (256,), ("centre",)),
    "144-crop": lambda image, size: googlenet(image, size, (256, 288, 320, 352), ("left", "centre", "right")),
    "multi-crop": vgg_150,
    "dense": whole((256,), True),
    "dense-multi-scale": whole((224, 256, 288), True),
    "dense-multi-scale:jittered": whole((256, 384, 512), True),
    "resnet-multi-scale": whole((224, 256, 384, 480, 640), False),
}
# as the papers count
COUNTS = {"10-crop": 10, "12-crop": 12, "144-crop": 144, "multi-crop": 150, "dense": 2, "dense-multi-scale": 6,
          "resnet-multi-scale": 5}  # fmt: skip


def test_every_protocol_has_a_naive_implementation_here() -> None:
    assert NAIVE.keys() == PROTOCOLS.keys()


@pytest.mark.parametrize("key", PROTOCOLS)
def test_the_views_are_those_of_the_naive_implementation(key: str) -> None:
    protocol = PROTOCOLS[key]
    for (width, height), size in zip(SHAPES, itertools.cycle((32, 33, 7))):
        image = noise(width, height)
        ours, theirs = list(views(image, protocol, size)), [np.asarray(crop) for crop in NAIVE[key](image, size)]
        assert len(ours) == len(theirs) == COUNTS.get(protocol.name, len(theirs))
        if protocol.antialias:  # no pixel of any view differs; their order does not matter
            assert sorted(crop.tobytes() for crop in ours) == sorted(crop.tobytes() for crop in theirs)
        for mine, other in zip(ours, theirs) if len(ours) == 1 else ():
            assert np.abs(mine.astype(int) - other).max() <= 1
            assert (mine != other).mean() <= 0.005  # of values halfway between two whole ones
        assert all(view.shape[:2] == crop.shape for view, crop in zip(ours, protocol.views(width, height, size)))


@pytest.mark.parametrize(("width", "height"), [(400, 300), (375, 500), (256, 256)])
def test_at_224_pixels_too(width: int, height: int) -> None:
    image = noise(width, height)
    for key in ("1-crop", "10-crop", "144-crop"):
        ours, theirs = views(image, get(key), 224), NAIVE[key](image, 224)
        assert sorted(view.tobytes() for view in ours) == sorted(crop.tobytes() for crop in theirs)


def test_the_square_is_what_training_looks_at() -> None:
    for width, height in [*itertools.product(range(1, 12), range(1, 12)), (500, 375), (333, 500)]:
        image = noise(width, height)
        (ours,) = views(image, get("1-crop:square"), 8)
        assert (ours == square(image, 8)).all()


def test_antialiased_is_torch_s_antialiased() -> None:
    for width, height in ((61, 40), (120, 333)):
        image = noise(width, height)
        (ours,) = views(image, Protocol("", "", of=1, shorter=(1,), crops="dense"), 20)
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float()
        torchs = functional.interpolate(pixels, ours.shape[:2], mode="bilinear", antialias=True)
        assert (torchs[0].permute(1, 2, 0) - torch.from_numpy(np.array(ours))).abs().max() < 1.01


def test_a_bilinear_value_by_hand() -> None:
    """Without antialiasing, four pixels are mixed however much smaller the image becomes."""
    image, protocol = noise(17, 11), Protocol("", "", of=1, shorter=(1,), crops="dense", antialias=False)
    (ours,) = views(image, protocol, 4)
    assert ours.shape == (4, 6, 3)
    pixels = np.asarray(image).astype(float)
    for row in range(4):
        for column in range(6):
            y, x = (row + 0.5) * 11 / 4 - 0.5, (column + 0.5) * 17 / 6 - 0.5
            top, left = math.floor(y), math.floor(x)
            value = np.zeros(3)
            for down, right in itertools.product((0, 1), (0, 1)):
                share = abs(1 - down - (y - top)) * abs(1 - right - (x - left))
                value += share * pixels[top + down, left + right]
            assert np.abs(ours[row, column] - value).max() <= 0.501


@pytest.mark.parametrize("key", PROTOCOLS)
def test_no_view_lies_outside_of_its_image(key: str) -> None:
    protocol, chance = PROTOCOLS[key], random.Random(0)
    for _ in range(150):
        width, height, size = chance.randint(1, 700), chance.randint(1, 700), chance.randint(1, 331)
        found = protocol.views(width, height, size)
        for view in found:
            left, top, right, bottom = view.box
            assert 0 <= left < right <= view.scaled[0] and 0 <= top < bottom <= view.scaled[1]
            assert min(view.scaled) in protocol.sides(size)
            assert view.shape == (bottom - top, right - left) if protocol.crops == "dense" else (size, size)
        if protocol.mirror:
            plain, mirrored = found[::2], found[1::2]
            assert not any(view.mirror for view in plain) and all(view.mirror for view in mirrored)
        else:
            assert not any(view.mirror for view in found)


def test_mirrored_views_are_mirrored() -> None:
    for key in ("10-crop", "144-crop", "multi-crop", "dense"):
        found = list(views(noise(57, 44), get(key), 32))
        assert all((mirrored == plain[:, ::-1]).all() for plain, mirrored in zip(found[::2], found[1::2]))
        assert not any((mirrored == plain).all() for plain, mirrored in zip(found[::2], found[1::2]))


def test_timm_s_resize_is_the_size_by_the_fraction_rounded_down() -> None:
    for size in range(1, 701):
        assert get("1-crop:timm").sides(size) == (math.floor(size / 0.875),)
        assert get("1-crop:timm-0.95").sides(size) == (math.floor(size / 0.95),)


def test_a_thread_of_pixels_is_refused_before_it_fills_the_memory() -> None:
    with pytest.raises(Unreadable, match="1x9000 pixels would be resized to 256x2304000"):
        next(views(Image.new("RGB", (1, 9000)), get("1-crop"), 224))


def test_what_is_published_under_a_protocol_is_published() -> None:
    known = {error.protocol for name in papers.known() for error in papers.facts(name).errors}
    assert PUBLISHED_AS.keys() <= PROTOCOLS.keys() and set(PUBLISHED_AS.values()) <= known
    assert set(LADDER) <= PROTOCOLS.keys()
    with pytest.raises(UsageError, match="did you mean 144-crop"):
        get("144crop")


# Networks made fully convolutional


@pytest.fixture(autouse=True)
def no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


def dense_of(net: Net) -> Net:
    """The same weights in the fully convolutional form."""
    dense = build(fully_convolutional(net.network), net.network.input)
    dense.load_state_dict(converted(net.state_dict(), dense.state_dict()))
    return dense.eval()


def slim(network: Network, by: int) -> Network:
    """The network with a `by`-th of the channels, of the fully connected units too."""

    def change(layer: Layer) -> Layer:
        match layer:
            case Conv(filters, _, _, _, groups):
                return msgspec.structs.replace(
                    layer, filters=max(1, filters // by), groups=max(1, groups // by) if groups > 2 else groups
                )
            case Linear(units):
                return msgspec.structs.replace(layer, units=max(1, units // by))
            case ZeroPad(channels):
                return msgspec.structs.replace(layer, channels=channels // by)
            case _:
                return layer

    return rewrite_network(network, change)


def random_normal(net: Net) -> Net:
    """Weights that tell every channel and place apart, biases and running statistics too."""
    for name, value in net.state_dict().items():
        if value.is_floating_point():
            value.copy_(torch.rand_like(value) + 0.5 if name.endswith("running_var") else torch.randn_like(value) * 0.3)
    return net.eval()


def difference(one: torch.Tensor, other: torch.Tensor) -> float:
    """Of the largest value."""
    return ((one - other).abs().max() / other.abs().max()).item()


HEADS: dict[str, Chain] = {
    # windows of 28 pixels, every 4
    "linear": chain(fc3=Linear(12), relu3=Relu(), fc4=Linear(5, bias=False)),
    "global pool": chain(conv3=Conv(12, 4), relu3=Relu(), pool3=GlobalPool(), fc4=Linear(5)),
    "global pool last": chain(conv3=Conv(12, 4), relu3=Relu(), conv4=Conv(5, 1), pool3=GlobalPool()),
}


@pytest.mark.parametrize("head", HEADS)
def test_dense_is_the_average_of_sliding_windows(head: str) -> None:
    """Convolutions without padding, so that a window's scores do not depend on where its edge is."""
    body = chain(conv1=Conv(6, 5), relu1=Relu(), pool1=Pool("max", 2, 2), conv2=Conv(8, 5), pool2=Pool("max", 2, 2))
    network = Network("little", "", (3, 28, 28), Chain(body.layers + HEADS[head].layers))
    torch.manual_seed(0)
    net = random_normal(build(network))
    dense = dense_of(net)
    for height, width in ((28, 28), (36, 28), (40, 52)):
        image = torch.randn(2, 3, height, width)
        windows = [
            net(image[:, :, top : top + 28, left : left + 28])
            for top in range(0, height - 27, 4)
            for left in range(0, width - 27, 4)
        ]
        assert len(windows) == ((height - 28) // 4 + 1) * ((width - 28) // 4 + 1)
        assert difference(dense(image), torch.stack(windows).mean(0)) < 1e-5


@pytest.mark.parametrize(("name", "last"), [("vgg-a", "pool5"), ("alexnet", "pool5")])
def test_the_head_slides_over_the_last_map(name: str, last: str) -> None:
    """VGG, section 3.2: the fully connected layers, applied to every window of the map that the others give."""
    torch.manual_seed(0)
    net = random_normal(build(slim(NETWORKS[name](), 16)))
    side = count(net.network).stages[net.rows.index(last)].output[1]
    image = torch.randn(1, 3, 288, 300)
    maps = image
    for row in net.rows[: net.rows.index(last) + 1]:
        maps = net.get_submodule(row)(maps)
    assert maps.shape[2] > side and maps.shape[3] > side
    windows = []
    for top, left in itertools.product(range(maps.shape[2] - side + 1), range(maps.shape[3] - side + 1)):
        scores = maps[:, :, top : top + side, left : left + side]
        for row in net.rows[net.rows.index(last) + 1 :]:
            scores = net.get_submodule(row)(scores)
        windows.append(scores.flatten(1))
    assert difference(dense_of(net)(image), torch.stack(windows).mean(0)) < 1e-5


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_has_a_fully_convolutional_form(name: str) -> None:
    network = NETWORKS[name]()
    dense = fully_convolutional(network)
    assert not any(isinstance(layer, Linear) for _, layer in leaves(dense.body)) and not dense.heads
    there, here = count(network), count(dense)
    assert (here.params, here.macs, here.depth) == (there.params, there.macs, there.depth)
    channels, height, width = network.input
    assert count(dense, (channels, height + 37, 2 * width + 5)).stages[-1].output == (network.classes, 1, 1)


ONE_OF_EACH = [
    "alexnet", "bn-alexnet", "zfnet", "bn-nin", "vgg-a", "vgg-a-lrn", "googlenet", "inception-v3",
    "resnet-18", "resnet-50-v1.5", "resnext-50-32x4d", "se-resnet-50", "cifar-resnet-20", "squeezenet-1.1",
    "mobilenet-v2",
]  # fmt: skip


@pytest.mark.parametrize("name", [*ONE_OF_EACH, *(pytest.param(n, marks=pytest.mark.slow) for n in NETWORKS
                                                 if n not in ONE_OF_EACH)])  # fmt: skip
def test_at_its_own_input_it_is_the_network_itself(name: str) -> None:
    torch.manual_seed(0)
    network = slim(NETWORKS[name](), 8)
    net = random_normal(build(network))
    dense = dense_of(net)
    assert dense.state_dict().keys() <= net.state_dict().keys()
    image = torch.randn(1, *network.input)
    assert difference(dense(image), net(image)) < 1e-5
    larger = dense(torch.randn(1, 3, network.input[1] + 64, network.input[2] + 32))
    assert larger.shape == (1, network.classes) and bool(larger.isfinite().all())


def test_what_cannot_slide_is_said() -> None:
    branches = Concat((("narrow", Conv(4, 28)), ("wide", chain(pool=GlobalPool(), fc=Linear(4)))))
    network = Network("two minds", "", (3, 28, 28), chain(both=branches, fc=Linear(2)))
    with pytest.raises(UsageError, match="two minds does not fit an input of 3x56x56"):
        fully_convolutional(network)
    # its branches agree on maps of even sides alone: a convolution rounds up where the pool beside it rounds down
    with pytest.raises(UsageError, match="at 3c branch pool gives 320x15x15 beside 160x16x16"):
        count(fully_convolutional(NETWORKS["bn-inception"]()), (3, 248, 248))


def test_weights_of_another_shape_are_not_bent_into_place() -> None:
    net = build(Network("a", "", (3, 4, 6), chain(fc=Linear(2))))
    dense = build(Network("b", "", (3, 4, 6), chain(fc=Conv(6, (4, 2)))))
    with pytest.raises(RuntimeError, match=r"size mismatch for fc\.weight"):
        dense.load_state_dict(converted(net.state_dict(), dense.state_dict()))
