"""What experiments measure of a network itself: gradients layer by layer, responses, the effective field."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from topfive.data.sources import Source
from topfive.engine.inference.models import open_model
from topfive.engine.models.modules import Net, build
from topfive.networks.layers import Network, with_classes

IMAGES = 32  # of a batch that something is measured on


def gradients(network: Network, source: Source, size: int, run: Path | None = None) -> list[float]:
    """The root mean square of the gradient of each convolution and fully connected layer, in order, of one batch.

    Of new weights, or those of `run`; auxiliary heads take part where the network has them.
    """
    torch.manual_seed(0)
    net = _module(network, source, run).train()
    pixels, labels = batch(source, size)
    logits = net.all_logits(pixels)
    torch.stack([functional.cross_entropy(one, labels) for one in logits]).sum().backward()  # type: ignore[no-untyped-call]
    return [
        float(layer.weight.grad.square().mean().sqrt())
        for layer in net.modules()
        if isinstance(layer, (nn.Conv2d, nn.Linear)) and layer.weight.grad is not None
    ]


def responses(network: Network, source: Source, size: int, run: Path) -> list[float]:
    """The standard deviation of what each convolution gives behind its batch normalisation, in order."""
    net = _module(network, source, run).eval()
    found: list[float] = []
    hooks = [
        module.register_forward_hook(lambda _m, _i, out: found.append(float(out.std())))
        for module in net.modules()
        if isinstance(module, nn.BatchNorm2d)
    ]
    with torch.no_grad():
        net(batch(source, size)[0])
    for hook in hooks:
        hook.remove()
    return found


def effective_field(network: Network, size: int, samples: int = 20) -> NDArray[np.float64]:
    """How much each input pixel moves the unit in the middle of the last map, `(size, size)`, its largest 1: the mean
    size of the gradient over random images and weights. Source: Luo et al. 2016, section 3.

    `network` ends with that map: no pooling over all of it, no classifier.
    """
    torch.manual_seed(0)
    total = torch.zeros(size, size)
    for _ in range(samples):
        net = build(network).eval()
        pixels = torch.randn(1, 3, size, size, requires_grad=True)
        maps: torch.Tensor = pixels
        for row in net.rows:  # why not the module as a whole: it gives flat values
            maps = getattr(net, row)(maps)
        middle = maps[..., maps.shape[-2] // 2, maps.shape[-1] // 2].sum()
        (gradient,) = torch.autograd.grad(middle, pixels)
        total += gradient[0].abs().sum(0)
    return (total / total.max()).double().numpy()


def batch(source: Source, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A batch of training images from all over the source, `(IMAGES, 3, size, size)`, normalised each, and labels."""
    items = source.train[:: max(1, len(source.train) // IMAGES)][:IMAGES]
    images = [np.asarray(source.read(item).resize((size, size)), np.float32) / 255 for item in items]
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
    centred = pixels - pixels.mean((0, 2, 3), keepdim=True)
    return centred / centred.std((0, 2, 3), keepdim=True), torch.tensor([item.label for item in items])


def _module(network: Network, source: Source, run: Path | None) -> Net:
    if run is None:
        return build(with_classes(network, len(source.classes)))
    net = open_model(str(run)).classifier.net
    assert isinstance(net, Net)
    return net
