"""Where in an image a network finds its answer: Grad-CAM at the last activation that has places.

Source: Selvaraju et al. 2017, section 3: each map counts by the mean gradient of the class's logit, sums below 0 are 0.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from topfive.data.views import views
from topfive.engine.inference.models import Model
from topfive.engine.models.modules import Net
from topfive.errors import RefusedError
from topfive.networks.costs import count
from topfive.recipes.protocols import View


class Heatmap(NamedTuple):
    """What the network is shown, `(S, S, 3)`, and how much each pixel speaks for a class, `(S, S)` in 0..1."""

    pixels: NDArray[np.uint8]
    evidence: NDArray[np.float32]


Rectangle = tuple[float, float, float, float]  # left, top, right, bottom in fractions of an image


@dataclass(frozen=True)
class Located:
    """The map `(height, width)` in 0..1 of a row, the part of the image that it is of, and its maximum's field."""

    row: str
    evidence: NDArray[np.float32]
    view: Rectangle
    field: Rectangle


def locate(net: nn.Module, x: Tensor, answer: int, view: View, image: tuple[int, int]) -> Located:
    """Where the network found `answer` in an image of (width, height), whose `view` is `x`, `(1, 3, H, W)` normalized.

    The receptive field is that of the strongest place of the map, without what lies in the padding around the view.
    Raises: RefusedError where there is no such map.
    """
    if not isinstance(net, Net):
        raise RefusedError("this network has no rows of layers, which a heat map is taken from")
    row, small = _row_and_map(net, x, answer)
    if not float(small.max()) > 0:  # nan as well
        raise RefusedError("no place of the last maps speaks for this class")
    evidence: NDArray[np.float32] = (small / small.max()).float().cpu().numpy()
    strongest = np.unravel_index(int(evidence.argmax()), evidence.shape)
    left, top, right, bottom = part = view.place(*image)
    (y0, y1), (x0, x1) = _field(net, row, (x.shape[2], x.shape[3]), (int(strongest[0]), int(strongest[1])))
    across, down = right - left, bottom - top
    field = left + x0 * across, top + y0 * down, left + x1 * across, top + y1 * down
    return Located(row, evidence, part, field)


def heatmap(model: Model, image: Image.Image, answer: int) -> Heatmap:
    """Of the class `answer`, on the first view of the model's own protocol. Raises: Unreadable, RefusedError."""
    net = model.classifier.net
    if not isinstance(net, Net):
        raise RefusedError(f"{model.name} has no rows of layers, which a heatmap is taken from")
    pixels = next(views(image, model.about.protocol, model.about.size))
    device = model.classifier.normalisation[0].device
    shown = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))[None].to(device)
    with torch.no_grad():
        small = grad_cam(net, model.classifier.normalised(shown), answer)
    large = functional.interpolate(small[None, None], pixels.shape[:2], mode="bilinear", align_corners=False)[0, 0]
    evidence: NDArray[np.float32] = (large / large.max().clamp_min(1e-12)).cpu().numpy()
    return Heatmap(pixels, evidence)


def grad_cam(net: Net, x: Tensor, answer: int) -> Tensor:
    """`(height, width)` of the last activation with more than one place, not below 0, for one image `(1, C, H, W)`."""
    return _row_and_map(net, x, answer)[1]


def _row_and_map(net: Net, x: Tensor, answer: int) -> tuple[str, Tensor]:
    """The row that gives the activation, "" for the image itself, and the map of `grad_cam`."""
    name, activation, following = "", x, list(net.rows)
    with torch.no_grad():
        for n, row in enumerate(net.rows, start=1):
            x = getattr(net, row)(x)
            if x.dim() == 4 and x.shape[2] * x.shape[3] > 1:
                name, activation, following = row, x, net.rows[n:]
    with torch.enable_grad():
        activation = activation.detach().requires_grad_()
        logits = activation.clone()  # why: what follows may overwrite it
        for row in following:
            logits = getattr(net, row)(logits)
        (gradient,) = torch.autograd.grad(logits.flatten(1)[0, answer], activation)
    weights = gradient.mean((2, 3), keepdim=True)
    return name, (weights * activation.detach()).sum(1)[0].relu()


def _field(net: Net, row: str, shape: tuple[int, int], cell: tuple[int, int]) -> list[tuple[float, float]]:
    """What a cell of a row's map sees of `shape` = (height, width): from and to, in fractions of each."""
    stages = {stage.name: stage for stage in count(net.network, (3, *shape)).stages}
    if row not in stages:
        return [(at / side, (at + 1) / side) for at, side in zip(cell, shape)]
    stage, found = stages[row], list[tuple[float, float]]()
    for at, side, centre, step, size in zip(cell, shape, stage.centre, stage.stride, stage.receptive_field):
        low = centre + at * step - (size - 1) / 2  # the first pixel, and the last is size - 1 further
        found.append((max(0.0, low / side), min(1.0, (low + size) / side)))
    return found
