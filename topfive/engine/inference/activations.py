"""A forward pass with everything that it leaves on its way."""

from functools import partial
from io import BytesIO

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from topfive.data.views import views
from topfive.engine.inference.models import Model
from topfive.engine.models.modules import Net
from topfive.results.activations import ActivationMap, Activations

SHOWN = 8  # channels of a row
SIDE = 56  # pixels, at most, of a map that is kept
ANSWERS = 5


def activations(model: Model, image: Image.Image) -> Activations:
    """What `model` makes of the first view of an image that its own protocol names. Raises: Unreadable."""
    pixels = next(views(image, model.about.protocol, model.about.size))
    net = model.classifier.net
    assert isinstance(net, Net)
    found: dict[str, tuple[ActivationMap, ...]] = {}

    def keep(row: str, _: nn.Module, __: object, out: Tensor) -> None:
        # why here: a rectified linear unit that follows may write into the same memory
        if out.dim() == 4 and min(out.shape[2:]) > 1:
            found[row] = _strongest(out[0].float().numpy())

    hooks = [net.get_submodule(row).register_forward_hook(partial(keep, row)) for row in net.rows]
    try:
        with torch.inference_mode():
            batch = torch.from_numpy(np.array(pixels)).permute(2, 0, 1)[None]
            shares = model.classifier(batch)[0].double().softmax(0)
    finally:
        for hook in hooks:
            hook.remove()
    best = shares.argsort(descending=True, stable=True)[:ANSWERS].tolist()
    answers = tuple((model.about.names[i], float(shares[i])) for i in best)
    described = model.about.protocol.describe(model.about.size)
    return Activations(model.name, model.network, model.about.size, described, _png(pixels), found, answers)


def _strongest(maps: NDArray[np.float32]) -> tuple[ActivationMap, ...]:
    """The channels of `(C, H, W)` with the largest mean size, strongest first."""
    order = np.argsort(-np.abs(maps).mean((1, 2)), kind="stable")[:SHOWN]
    return tuple(_map(channel, maps[channel]) for channel in order.tolist())


def _map(channel: int, values: NDArray[np.float32]) -> ActivationMap:
    low, high = float(values.min()), float(values.max())
    grey = np.round(255 * (values - low) / (high - low or 1)).astype(np.uint8)
    return ActivationMap(channel, low, high, _png(grey))


def _png(pixels: NDArray[np.uint8]) -> bytes:
    image = Image.fromarray(pixels)
    if pixels.ndim == 2:
        image.thumbnail((SIDE, SIDE))
    buffer = BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
