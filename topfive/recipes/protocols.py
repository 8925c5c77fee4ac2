"""How an image is shown to a network that is judged: frozen values, each with the paper that it is from.

A protocol says which views of an image are taken; a view is a part of the resized image. Sides are stated for a
network of `of` pixels, as the papers do, and follow the side of the network that is used. What the network gives for
the views of an image becomes softmax probabilities, and those are averaged; inside of a dense view the map of scores
is averaged before the softmax, as VGG's §3.2 does.
"""

import math
from typing import Literal, NamedTuple

import msgspec

from topfive.errors import UsageError, did_you_mean

Crops = Literal["centre", "corners", "six", "grid", "dense"]
Squares = Literal["all", "cut", "centre", "three"]
Interpolation = Literal["bilinear", "bicubic"]
Box = tuple[int, int, int, int]  # left, top, right, bottom

GRID = 5  # crops a side of VGG's regular grid


class View(NamedTuple):
    """The part `box` of the image resized to `scaled` = (width, height), and whether it is mirrored.

    `size`, where given, is the side that the part is brought to afterwards; `region` what of the image is resized.
    """

    scaled: tuple[int, int]
    box: Box
    mirror: bool = False
    size: int | None = None
    region: Box | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) of what the network sees."""
        left, top, right, bottom = self.box
        return (self.size, self.size) if self.size else (bottom - top, right - left)

    def place(self, width: int, height: int) -> tuple[float, float, float, float]:
        """Left, top, right, bottom in an image of `width` x `height`, in fractions of it; a crop may reach beyond."""
        x, y, *end = self.region or (0, 0, width, height)
        across, down = ((to - at) / side for at, to, side in zip((x, y), end, self.scaled))
        left, top, right, bottom = self.box
        return (
            (x + left * across) / width, (y + top * down) / height,
            (x + right * across) / width, (y + bottom * down) / height,
        )  # fmt: skip


class Protocol(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The views that an image is judged by.

    The shorter side becomes each of `shorter` in turn, stated for a network of `of` pixels. Of the resized image all
    is used, its centre square (`cut`: out of the image, before it is resized), or three squares (left or top, centre,
    right or bottom). `crops` are taken from each: its centre, or four corners and centre, those and the square itself
    made smaller (`six`), a grid of 5x5, or it is shown as a whole to the network made fully convolutional (`dense`).
    """

    name: str
    source: str
    variant: str = ""  # of the name, where there are several
    of: int = 224
    shorter: tuple[int, ...] = (256,)
    squares: Squares = "all"
    crops: Crops = "centre"
    mirror: bool = False
    mirror_first: bool = False  # the image is mirrored and then cut, as torchvision does: an odd centre lies aside
    interpolation: Interpolation = "bilinear"
    antialias: bool = True
    down: bool = False  # sides that are no whole pixels are rounded down, as timm does, not to the nearest

    @property
    def key(self) -> str:
        """What a user calls it by."""
        return f"{self.name}:{self.variant}" if self.variant else self.name

    def sides(self, size: int) -> tuple[int, ...]:
        """The shorter sides in pixels, for a network of `size` pixels."""
        exact = (size * side / self.of for side in self.shorter)
        return tuple(max(1, math.floor(side + 1e-9) if self.down else round(side)) for side in exact)

    def describe(self, size: int) -> str:
        """Enough to compare by: `10-crop 224 of 256`, `1-crop 128x128`, `dense at 256`."""
        sides = self.sides(size)
        what = f"{size}x{size}" if sides == (size,) else f"{size} of {','.join(map(str, sides))}"
        if self.crops == "dense":
            what = f"at {','.join(map(str, sides))}"
        unusual = [str(self.interpolation)] if self.interpolation != "bilinear" else []
        unusual += [] if self.antialias else ["not antialiased"]
        return f"{self.name if self.crops == 'centre' else self.key} {what}" + (
            f" ({', '.join(unusual)})" if unusual else ""
        )

    def views(self, width: int, height: int, size: int) -> tuple[View, ...]:
        """The views of an image of `width` x `height`, for a network of `size` pixels; mirrored ones come second.

        A longer side is rounded down, and a centre to the nearest, halves to even: torchvision's rules, the papers give
        none.
        """
        found = []
        region = _middle(width, height) if self.squares == "cut" else None
        for shorter in self.sides(size):
            scaled = (shorter, shorter) if region else _scaled(width, height, shorter)
            for square in _squares(*scaled, self.squares):
                for box, to in self._boxes(square, size):
                    found.append(View(scaled, box, False, to, region))
                    if self.mirror:
                        left, top, right, bottom = box
                        if self.mirror_first:
                            left, right = scaled[0] - right, scaled[0] - left
                        found.append(View(scaled, (left, top, right, bottom), True, to, region))
        return tuple(found)

    def count(self, width: int = 400, height: int = 300) -> int:
        """How many views an image has."""
        return len(self.views(width, height, self.of))

    def _boxes(self, square: Box, size: int) -> list[tuple[Box, int | None]]:
        left, top, right, bottom = square
        width, height = right - left, bottom - top
        if self.crops == "dense":
            return [(square, None)]
        x, y = width - size, height - size  # what is left over
        centre = (round(x / 2), round(y / 2))
        match self.crops:
            case "centre":
                at = [centre]
            case "corners" | "six":
                at = [(0, 0), (x, 0), (0, y), (x, y), centre]
            case "grid":
                steps = [i / (GRID - 1) for i in range(GRID)]
                at = [(round(x * across), round(y * below)) for below in steps for across in steps]
        boxes = [((left + x, top + y, left + x + size, top + y + size), None) for x, y in at]
        return [*boxes, (square, size)] if self.crops == "six" else [*boxes]


def _scaled(width: int, height: int, shorter: int) -> tuple[int, int]:
    if width <= height:
        return shorter, max(1, int(shorter * height / width))
    return max(1, int(shorter * width / height)), shorter


def _middle(width: int, height: int) -> Box:
    """The centre square, rounded down as decoding.square does, so that it is what training looks at."""
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    return left, top, left + side, top + side


def _squares(width: int, height: int, squares: Squares) -> list[Box]:
    side = min(width, height)
    x, y = width - side, height - side
    if squares in ("all", "cut"):
        return [(0, 0, width, height)]
    centre = (round(x / 2), round(y / 2))
    places = [centre] if squares == "centre" else [(0, 0), centre, (x, y)]
    return [(left, top, left + side, top + side) for left, top in places]


ALEXNET = "Krizhevsky et al. 2012"
VGG = "Simonyan and Zisserman 2014"
GOOGLENET = "Szegedy et al. 2014"
SQUARE = Protocol(
    "1-crop", "the centre square, as training looks at validation images (ours)", "square", 1, (1,), "cut"
)

PROTOCOLS = {
    protocol.key: protocol
    for protocol in (
        Protocol("1-crop", "the centre of the image; GoogLeNet's and ResNet's single-crop testing"),
        SQUARE,
        Protocol("1-crop", "torchvision's first weights: resize 256, crop 224", "torchvision"),
        Protocol("1-crop", "torchvision's second weights: resize 232, crop 224", "torchvision-v2", shorter=(232,)),
        Protocol(
            "1-crop", "torchvision before 0.17, on tensors: not antialiased", "torchvision-tensor", antialias=False
        ),
        Protocol("1-crop", "timm's usual crop_pct 0.875, bicubic", "timm", 7, (8,), interpolation="bicubic", down=True),
        Protocol(
            "1-crop", "timm with crop_pct 0.95, bicubic", "timm-0.95", 95, (100,), interpolation="bicubic", down=True
        ),
        Protocol("10-crop", f"{ALEXNET}, §4.1: of the centre square", squares="centre", crops="corners", mirror=True),
        Protocol(
            "10-crop",
            "torchvision's TenCrop: of the whole image",
            "torchvision",
            crops="corners",
            mirror=True,
            mirror_first=True,
        ),
        Protocol(
            "12-crop",
            "Inception's; those papers do not define it: GoogLeNet's six views of the centre square (our reading)",
            squares="centre",
            crops="six",
            mirror=True,
        ),
        Protocol(
            "144-crop", f"{GOOGLENET}, §7", shorter=(256, 288, 320, 352), squares="three", crops="six", mirror=True
        ),
        Protocol(
            "multi-crop", f"{VGG}, §3.2 and Table 5: 150 crops", shorter=(256, 384, 512), crops="grid", mirror=True
        ),
        Protocol("dense", f"{VGG}, §3.2 and Table 3: Q = S = 256", crops="dense", mirror=True),
        Protocol(
            "dense-multi-scale",
            f"{VGG}, Table 4: S = 256, Q = S - 32, S, S + 32",
            shorter=(224, 256, 288),
            crops="dense",
            mirror=True,
        ),
        Protocol(
            "dense-multi-scale",
            f"{VGG}, Table 4: S in 256..512, Q = 256, 384, 512",
            "jittered",
            shorter=(256, 384, 512),
            crops="dense",
            mirror=True,
        ),
        Protocol(
            "resnet-multi-scale",
            "He et al. 2015 (ResNet), §3.4; mirroring is not mentioned",
            shorter=(224, 256, 384, 480, 640),
            crops="dense",
        ),
    )
}
# what each of our protocols is called in papers.toml
PUBLISHED_AS = {
    "1-crop": "1-crop",
    "1-crop:torchvision": "1-crop",
    "1-crop:torchvision-v2": "1-crop 224 of 232",
    "10-crop": "10-crop",
    "12-crop": "12-crop",
    "144-crop": "144-crop",
    "multi-crop": "multi-crop (150)",
    "dense": "dense single-scale",
    "dense-multi-scale": "dense multi-scale",
    "dense-multi-scale:jittered": "dense multi-scale",
    "resnet-multi-scale": "dense multi-scale {224,256,384,480,640}",
}
LADDER = ("1-crop:square", "1-crop", "10-crop", "12-crop", "144-crop", "multi-crop", "dense", "dense-multi-scale",
          "dense-multi-scale:jittered", "resnet-multi-scale")  # fmt: skip


def get(key: str) -> Protocol:
    """The protocol of that name. Raises: UsageError naming the nearest names."""
    if key not in PROTOCOLS:
        near = did_you_mean(key, PROTOCOLS) or f"; there are {', '.join(PROTOCOLS)}"
        raise UsageError(f"no protocol is called {key!r}{near}")
    return PROTOCOLS[key]
