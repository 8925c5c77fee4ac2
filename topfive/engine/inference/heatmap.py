"""Where in an image a network finds its answer: Grad-CAM at the last activation that has places.

Source: Selvaraju et al. 2017, section 3: each map counts by the mean gradient of the class's logit, sums below 0 are 0.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

from topfive.data.views import views
from topfive.engine.inference.models import Model
from topfive.engine.models.modules import Net
from topfive.errors import RefusedError


class Heatmap(NamedTuple):
    """What the network is shown, `(S, S, 3)`, and how much each pixel speaks for a class, `(S, S)` in 0..1."""

    pixels: NDArray[np.uint8]
    evidence: NDArray[np.float32]


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
    activation, following = x, list(net.rows)
    for n, row in enumerate(net.rows, start=1):
        x = getattr(net, row)(x)
        if x.dim() == 4 and x.shape[2] * x.shape[3] > 1:
            activation, following = x, net.rows[n:]
    with torch.enable_grad():
        activation = activation.detach().requires_grad_()
        logits = activation.clone()  # why: what follows may overwrite it
        for row in following:
            logits = getattr(net, row)(logits)
        (gradient,) = torch.autograd.grad(logits.flatten(1)[0, answer], activation)
    weights = gradient.mean((2, 3), keepdim=True)
    return (weights * activation.detach()).sum(1)[0].relu()
