"""torchvision's and timm's networks with random weights, and what it is to give the same logits as they do.

Importing this skips the tests of a module where the two are not installed.
"""

import importlib.util
import warnings
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from topfive.engine.models.modules import Net

_found = importlib.util.find_spec("torchvision")
if _found is None or importlib.util.find_spec("timm") is None:
    pytest.skip("torchvision and timm are not installed; `make peers` has them", allow_module_level=True)
assert _found.origin is not None
try:
    for _library in Path(_found.origin).parent.glob("_C*.so"):
        torch.ops.load_library(_library)
except OSError:
    pass  # built for another torch: its compiled operators stay out
if not hasattr(torch.ops.torchvision, "nms"):
    # torchvision registers shapes for two compiled operators on import, so they are declared; nothing here calls them
    _declared = torch.library.Library("torchvision", "DEF")
    for _operator in ("nms", "qnms"):
        _declared.define(f"{_operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the peers' own
    import timm as timm
    from torchvision import models as models

BOUND = 1e-4  # of the largest logit
WEIGHTED = (nn.Conv2d, nn.BatchNorm2d, nn.Linear)

Shape = tuple[int, int, int]


def weighted(module: nn.Module, last: tuple[str, ...] = ()) -> list[nn.Module]:
    """The layers with weights as the module lists them, those under a name in `last` behind the others."""
    listed = [(name, part) for name, part in module.named_modules() if isinstance(part, WEIGHTED)]
    return [part for _, part in sorted(listed, key=lambda item: item[0].startswith(last) if last else False)]


def randomise(module: nn.Module, shape: Shape) -> None:
    """Random weights; running statistics about those of noise, so that nothing explodes.

    The factors of batch normalisation stay below 1: with larger ones SENet-154 is chaotic, and a change of the images
    by 1e-7 changes its logits by a fifth.
    """
    for part in weighted(module):
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.weight, 0.25, 0.75)
            nn.init.normal_(part.bias, 0.0, 0.2)
            part.momentum = 1.0
        else:
            nn.init.kaiming_normal_(part.weight, nonlinearity="relu")
            if part.bias is not None:
                nn.init.normal_(part.bias, 0.0, 0.1)
    normalised = [part for part in weighted(module) if isinstance(part, nn.BatchNorm2d)]
    if normalised:
        module.train()(torch.randn(2, *shape))
    for part in normalised:
        part.running_mean += 0.2 * torch.randn_like(part.running_mean) * part.running_var.sqrt()
        part.running_var *= torch.empty_like(part.running_var).uniform_(0.7, 1.4)


def logits(module: nn.Module, images: Tensor) -> tuple[Tensor, ...]:
    """Those of the top, and of an auxiliary classifier where there is one; every layer as in evaluation."""
    module.eval()
    if isinstance(module, Net):
        module.training = bool(module.taps)  # this switch alone, so that the heads run and nothing else is in training
        return module.all_logits(images)
    module.training = getattr(module, "AuxLogits", None) is not None
    found = module(images)
    return (found,) if isinstance(found, Tensor) else (found.logits, found.aux_logits)


def difference(ours: tuple[Tensor, ...], theirs: tuple[Tensor, ...]) -> float:
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in zip(ours, theirs, strict=True))
