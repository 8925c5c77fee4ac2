"""Whether an exported model answers as the model that it was made of: from pixels to the answer, image by image."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import NamedTuple

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from scipy.special import softmax

from topfive.data.decoding import Unreadable
from topfive.data.views import views
from topfive.engine.inference.exported import Contract, Exported, Floats
from topfive.engine.inference.models import Model
from topfive.errors import DataError, RefusedError

LEVELS = 1  # of 255, by which a pixel may differ from ours
LOGITS_OFF = 1e-4  # of the largest logit, from equal pixels
SHARE_OFF = 1e-4  # between the probabilities and the softmax of the logits
NEAR = 1e-3  # of the largest logit: how close the two best may be where another one is the answer
SAME = 1e-6  # between two probabilities of 32 bits that cannot be told apart, however far their logits are
# (height, width) of the images that are made up: tiny, long, large, and those of the views themselves
SHAPES = ((1, 1), (2, 3), (37, 5), (5, 61), (224, 224), (256, 256), (375, 500), (500, 333), (640, 200), (700, 1200))

Named = tuple[str, Image.Image]
Read = Callable[[], Named]  # which raises Unreadable


class NearTie(msgspec.Struct, frozen=True):
    """An image whose likeliest class is another one in the exported file, and of which both were as likely."""

    image: str
    ours: str
    exported: str
    gap: float  # between the logits of both, as a share of the largest

    def __str__(self) -> str:
        both = f"{self.ours} here and {self.exported} in the file"
        return f"near tie: {self.image} is {both}; their logits differ by {self.gap:.1e} of the largest"


class Verified(msgspec.Struct, frozen=True):
    """How close an exported model is to its original, over all images that it was tried on."""

    images: int
    made_up: int  # of them
    unreadable: int  # which neither can answer, and are not in `images`
    pixels_off: int  # the largest difference, in levels
    pixels_other: float  # the share of pixels that differ at all
    logits_off: float  # the largest difference from equal pixels, as a share of the largest logit
    near_ties: tuple[NearTie, ...]

    def __str__(self) -> str:
        ties = f"{len(self.near_ties)} near ties answered otherwise" if self.near_ties else "every answer the same"
        return (
            f"verified on {self.images:,} images, {self.made_up} of them generated: pixels within {self.pixels_off} of "
            f"255 levels ({self.pixels_other:.2%} differ), logits within {self.logits_off:.1e} of the largest, {ties}"
        )


def verify(exported: Exported, model: Model, wanted: Contract, images: Iterable[Read], batch: int | None) -> Verified:
    """Compare both on made-up images of many sizes and on `images`; `batch` is the only one it takes, if any.

    Raises: RefusedError naming what differs and where; DataError where none of `images` can be read.
    """
    _same_contract(exported.contract, wanted)
    unreadable: list[str] = []
    found: list[_Compared] = []
    for name, image in chain(made_up(), _readable(images, wanted, unreadable)):
        several = batch or (1 if found else 2)  # why: that a batch is no mixture is looked at once
        found.append(_compared(exported, model, wanted, name, image, several))
    if unreadable and len(found) == len(SHAPES):
        raise DataError(f"none of the images to verify the export with can be read ({unreadable[0]}): name others")
    return Verified(
        len(found),
        len(SHAPES),
        len(unreadable),
        int(max(one.pixels_off for one in found)),
        sum(one.pixels_other for one in found) / len(found),
        max(one.logits_off for one in found),
        tuple(tie for one in found for tie in one.ties),
    )


class _Compared(NamedTuple):
    """Of one image, the fields of `Verified`."""

    pixels_off: float
    pixels_other: float
    logits_off: float
    ties: list[NearTie]


def _compared(
    exported: Exported, model: Model, wanted: Contract, name: str, image: Image.Image, several: int
) -> _Compared:
    """An image, and its mirror image, by turns in a batch of `several`. Raises: RefusedError."""
    shown = [image if i % 2 == 0 else ImageOps.mirror(image) for i in range(several)]
    ours = np.stack([next(views(each, wanted.protocol, wanted.size)) for each in shown]).transpose(0, 3, 1, 2)
    inputs = np.stack([np.asarray(each) for each in shown])
    seen = exported.inside(inputs)
    off = np.abs(seen.pixels - ours)
    other = float((off > 0).mean())
    if not off.max() <= LEVELS:
        raise _refused(f"{name} is resized otherwise, pixels differ by up to {off.max():.0f} of 255 levels")
    if wanted.arithmetic != "float32":  # whose answers are judged by their accuracy
        return _Compared(float(off.max()), other, 0.0, [])
    logits = _logits(model, ours)
    expected = _logits(model, seen.pixels.astype(np.uint8)) if off.any() else logits
    distance = float(np.abs(seen.logits - expected).max() / _largest(expected))
    if not distance <= LOGITS_OFF:
        raise _refused(f"the logits of {name} differ by {distance:.2g} of the largest from equal pixels")
    if not np.abs(seen.probabilities - softmax(seen.logits, 1)).max() <= SHARE_OFF:
        raise _refused(f"what it gives for {name} is not the softmax of its logits")
    answers = exported.answer(inputs)
    ties = list(_answers(name, logits, answers, exported.contract.classes, model.about.names))
    return _Compared(float(off.max()), other, distance, ties)


def made_up() -> Iterator[Named]:
    """Images of many sizes: patches of colour, a ramp, and noise, so that every filter shows itself."""
    random = np.random.default_rng(0)
    for height, width in SHAPES:
        patches = random.integers(0, 256, (8, 8, 3), np.uint8)
        large = np.asarray(Image.fromarray(patches).resize((width, height), Image.Resampling.NEAREST), np.float64)
        ramp = np.linspace(-40, 40, width)[None, :, None] + np.linspace(-40, 40, height)[:, None, None]
        pixels = large + ramp + random.normal(0, 12, (height, width, 3))
        yield f"a generated image of {width}x{height}", Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def _readable(images: Iterable[Read], wanted: Contract, unreadable: list[str]) -> Iterator[Named]:
    """Those that can be read and shown to a network; why others cannot goes to `unreadable`."""
    for read in images:
        try:
            name, image = read()
            next(views(image, wanted.protocol, wanted.size))  # one may be too long and narrow
        except Unreadable as error:
            unreadable.append(str(error))
        else:
            yield name, image


def _same_contract(found: Contract, wanted: Contract) -> None:
    for field in Contract.__struct_fields__:
        if getattr(found, field) != getattr(wanted, field):
            raise _refused(f"its metadata has another {field}")


def _answers(
    name: str, logits: Floats, probabilities: Floats, theirs: Sequence[str], names: Sequence[str]
) -> Iterator[NearTie]:
    """The near ties among the answers, by the names of the classes. Raises: RefusedError for another answer."""
    for ours, given in zip(logits, probabilities):
        best, other = int(ours.argmax()), int(given.argmax())
        if names[best] == theirs[other]:
            continue
        gap = float((ours[best] - ours[other]) / _largest(ours))
        shares = softmax(ours)
        told_apart = float(shares[best] - shares[other]) > SAME
        if best == other or (told_apart and not gap <= NEAR):
            raise _refused(f"{name} is {names[best]!r} here and {theirs[other]!r} in the file")
        yield NearTie(name, names[best], theirs[other], gap)


def _logits(model: Model, pixels: NDArray[np.uint8]) -> Floats:
    """Those of the model itself, in 32 bits as torch computes it."""
    with torch.inference_mode():
        found: Floats = model.classifier(torch.from_numpy(np.ascontiguousarray(pixels))).float().numpy()
    return found


def _largest(logits: Floats) -> float:
    return max(float(np.abs(logits).max()), 1e-12)


def _refused(why: str) -> RefusedError:
    return RefusedError(f"the exported file would not answer as the model does, and is not written: {why}")
