"""First kernels that are the principal components of the images that they will see."""

from itertools import islice

import torch
from torch import Tensor, nn
from torch.nn import functional

from topfive.engine.models.modules import normalised
from topfive.engine.models.towers import row_of
from topfive.engine.training.datasets import Data
from topfive.recipes.recipe import Recipe

CHANNELS = 3
IMAGES = 1024  # that the components are of, or one batch
PLACES = 16  # patches along each side of an image, at most
NOISE = 1e-3  # variance, in units of a pixel's, that is added to each component's before it is divided by


def whiten(net: nn.Module, data: Data, recipe: Recipe) -> None:
    """Make the first convolution's kernels the strongest principal components of its patches, in place and for good.

    The patches are of training images as the recipe crops them. What comes out has the same variance for each
    component; every component comes with either sign; the kernels keep their mean square, and do not learn: their
    gradient, over the largest maps, is not computed. Where there are more kernels than components of either sign, the
    rest keep their fresh weights. A network that does not begin with an ordinary convolution stays as it is.
    Source: Page, How to train your ResNet 6, 2018.
    """
    state = net.state_dict()  # why: of a network on two devices it holds whole layers
    first, kernels = next((name, tensor) for name, tensor in state.items() if tensor.ndim > 1)
    if kernels.ndim != 4 or kernels.shape[1] != CHANNELS:
        return
    batches = islice(data.training(recipe, 1), max(1, IMAGES // recipe.batch))
    moments = [_second_moments(normalised(pixels, *data.normalisation), kernels.shape[2:]) for pixels, *_ in batches]
    variances, components = torch.linalg.eigh(torch.stack(moments).mean(0))  # rising
    half = min(len(kernels) // 2, len(variances))
    strongest = (components[:, -half:] / (variances[-half:] + NOISE).sqrt()).T
    both = torch.cat([strongest, -strongest]).reshape(-1, *kernels.shape[1:])
    kernels[: 2 * half] = (both * (kernels.square().mean() / both.square().mean()).sqrt()).to(kernels)
    net.load_state_dict(state)
    for name, parameter in net.named_parameters():
        if row_of(name) == first:
            parameter.requires_grad_(False)


def _second_moments(images: Tensor, size: torch.Size) -> Tensor:
    """`(3 h w, 3 h w)`: means of the products of the pixels of `h x w` patches, channel by channel as kernels are."""
    stride = max(1, images.shape[-1] // PLACES)
    patches = functional.unfold(images, tuple(size), stride=stride).transpose(1, 2).flatten(0, 1).double()
    return patches.T @ patches / len(patches)
