"""How batches are changed on the device: mirrored, in other colours, erased, mixed."""

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from topfive.engine.training.sampling import COLOUR, ERASE, LIGHTING, MIRROR, Draws
from topfive.recipes.augmentations import Augmentation

# The principal components of RGB over ImageNet, for values in 0..1: eigenvalues, and vectors as columns.
# Source: AlexNet's paper says how (§4.1) but prints no figures; these are fb.resnet.torch's, which others repeat.
EIGENVALUES = (0.2175, 0.0188, 0.0045)
VECTORS = ((-0.5675, 0.7192, 0.4009), (-0.5808, -0.0045, -0.8140), (-0.5836, -0.6948, 0.4203))
GREY = (0.299, 0.587, 0.114)


def augmented(pixels: Tensor, draws: Draws, augmentation: Augmentation, mirror: bool) -> Tensor:
    """`(N, 3, S, S)` on the device -> the same mirrored, in other colours, patches erased; uint8 or float."""
    drawn = torch.from_numpy(draws).float()  # why before it is moved: Apple's GPU has no float64
    chance = drawn.to(pixels.device)
    if mirror and augmentation.hflip:
        pixels = _mirrored(pixels, chance[:, MIRROR] < 0.5)
    if augmentation.colour:
        pixels = _coloured(pixels.float(), 1 + augmentation.colour * (2 * chance[:, COLOUR : COLOUR + 3] - 1))
    if augmentation.pca_noise:
        # paper: §4.1 adds p_i alpha_i lambda_i, alpha_i drawn from N(0, 0.1) once for each use of an image
        alpha = augmentation.pca_noise * torch.special.ndtri(drawn[:, LIGHTING : LIGHTING + 3].clamp(1e-6, 1 - 1e-6))
        shifts = (alpha * torch.tensor(EIGENVALUES)) @ torch.tensor(VECTORS).T  # on the CPU: not every device has ndtri
        pixels = pixels + 255 * shifts[:, :, None, None].to(pixels.device)
    if augmentation.erase:
        pixels = _erased(pixels, chance[:, ERASE : ERASE + 5], augmentation.erase)
    return pixels


def _mirrored(pixels: Tensor, turned: Tensor) -> Tensor:
    """Those of `(N, C, S, S)` that `turned` (N,) names, mirrored; the others as they are."""
    if pixels.device.type != "cpu":
        return torch.where(turned[:, None, None, None], pixels.flip(3), pixels)
    # why: on a CPU whole rows are copied several times as fast as a mask is applied to the channels of each pixel
    index = turned.nonzero()[:, 0]
    if pixels.is_contiguous():
        return pixels.index_copy(0, index, pixels[index].flip(3))
    out = pixels.clone(memory_format=torch.channels_last)
    rows = out.permute(0, 2, 3, 1).flatten(1)
    some = rows.index_select(0, index).view(-1, *out.shape[2:], out.shape[1]).permute(0, 3, 1, 2)
    rows.numpy()[index.numpy()] = some.flip(3).permute(0, 2, 3, 1).flatten(1).numpy()
    return out


def _coloured(pixels: Tensor, factors: Tensor) -> Tensor:
    """Brightness, contrast and saturation by the columns of `factors` (N, 3), in this order; 0..255."""
    weights = torch.tensor(GREY, device=pixels.device)[None, :, None, None]
    bright, contrast, saturation = (factors[:, i, None, None, None] for i in range(3))
    pixels = (pixels * bright).clamp(0, 255)
    middle = (pixels * weights).sum(1, keepdim=True).mean((2, 3), keepdim=True)
    pixels = (middle + (pixels - middle) * contrast).clamp(0, 255)
    grey = (pixels * weights).sum(1, keepdim=True)
    return (grey + (pixels - grey) * saturation).clamp(0, 255)


def _erased(pixels: Tensor, chance: Tensor, share: float) -> Tensor:
    """A patch of 2 to 33 % of the area set to mid-grey: Zhong et al., Random Erasing Data Augmentation, 2017."""
    area, aspect = 0.02 + 0.31 * chance[:, 1], 3.3 ** (2 * chance[:, 2] - 1)
    erased = _patch(pixels.shape[-1], (area * aspect).sqrt(), (area / aspect).sqrt(), chance[:, 3], chance[:, 4])
    erased = erased & (chance[:, 0] < share)[:, None, None]
    return torch.where(erased[:, None], torch.full_like(pixels, 128), pixels)


def _patch(size: int, height: Tensor, width: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """(N, S, S) masks of patches; heights and widths are shares of the side, y and x say where in what is left."""
    along = torch.arange(size, device=height.device)[None, :]
    high, wide = ((side.clamp(max=1.0) * size).round() for side in (height, width))
    top, left = (y * (size - high + 1)).floor(), (x * (size - wide + 1)).floor()
    rows = (along >= top[:, None]) & (along < (top + high)[:, None])
    columns = (along >= left[:, None]) & (along < (left + wide)[:, None])
    return rows[:, :, None] & columns[:, None, :]


def mixed(
    pixels: Tensor, labels: Tensor, classes: int, augmentation: Augmentation, seed: int, epoch: int, step: int
) -> tuple[Tensor, Tensor]:
    """Images blended with or patched from the next of the batch, and targets: labels `(N,)`, or `(N, classes)`.

    Source: Zhang et al., mixup, 2017; Yun et al., CutMix, 2019; Szegedy et al. 2015 (Inception-v3), §7: smoothing.
    """
    chosen = [name for name in ("mixup", "cutmix") if getattr(augmentation, name)]
    if not chosen and not augmentation.smoothing:
        return pixels, labels
    targets = functional.one_hot(labels, classes).float()
    if chosen and len(labels) > 1:
        random = np.random.default_rng((seed % 2**63, epoch, step))
        kind = chosen[int(random.integers(len(chosen)))]
        alpha = getattr(augmentation, kind)
        kept = float(random.beta(alpha, alpha))
        other = pixels.roll(1, 0)
        if kind == "mixup":
            pixels = torch.lerp(other.float(), pixels.float(), kept)
        else:
            side = torch.tensor([math.sqrt(1 - kept)])
            y, x = (torch.tensor([value], dtype=torch.float32) for value in random.random(2))
            patch = _patch(pixels.shape[-1], side, side, y, x)
            pixels = torch.where(patch[:, None].to(pixels.device), other.to(pixels.dtype), pixels)
            kept = 1 - float(patch.float().mean())  # why of the patch on the CPU: no device is waited for
        targets = kept * targets + (1 - kept) * targets.roll(1, 0)
    smoothing = augmentation.smoothing
    return pixels, targets * (1 - smoothing) + smoothing / classes
