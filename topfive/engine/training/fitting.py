"""A recipe made to fit: without sides that a network cannot be trained at, in parts that a device's memory holds."""

import os

import msgspec
import torch

from topfive.engine.benchmark.machine import Machine
from topfive.networks.costs import count
from topfive.networks.layers import Conv, Network, leaves, with_classes
from topfive.networks.receptive_fields import VALUE_BYTES, SizeError
from topfive.recipes.augmentations import Centre
from topfive.recipes.recipe import Recipe, side_of

MEMORY_SHARE = 0.6  # of a device's memory that a step may take; decoded images may have 0.3 of the machine's


def adapted(recipe: Recipe, network: Network, size: int) -> tuple[Recipe, str]:
    """The recipe without the sides that `network`, made for `size`, cannot be trained at or learns little at, and a
    sentence that says so.

    The epochs at such a side have the next larger one instead. No sentence where the recipe stays as it is.
    """
    refusals = {
        side: refusal(network, recipe, size, side) or _wasted(network, size, side)
        for side in (side_of(share, size) for _, share in recipe.progressive_resize)
    }
    if not any(refusals.values()):
        return recipe, ""
    kept = tuple(pair for pair in recipe.progressive_resize if not refusals[side_of(pair[1], size)])
    left = " and ".join(str(side) for side, why in refusals.items() if why)
    why = "; ".join(dict.fromkeys(filter(None, refusals.values())))
    said = f"{recipe.name} trains {network.name} without its smaller images, of {left} pixels: {why}"
    return msgspec.structs.replace(recipe, progressive_resize=kept), said


def _wasted(network: Network, size: int, side: int) -> str:
    """Why a network made for `size` learns little at `side`; empty where it does.

    A kernel on a map of one pixel sees nothing but borders beside its middle, so that the rest of it does not learn:
    docs/decisions/0010.
    """
    wide = {path for path, layer in leaves(network.body) if isinstance(layer, Conv) and layer.size not in (1, (1, 1))}

    def alone(side: int) -> set[str]:
        rows = count(network, (3, side, side)).rows
        return {row.name for row in rows if row.name in wide and row.output[1:] == (1, 1)}

    if alone(side) <= alone(size):
        return ""
    return "its last maps would be single pixels, on which larger kernels do not learn"


def refusal(network: Network, recipe: Recipe, size: int, side: int) -> str:
    """Why a network made for `size` cannot be trained at `side` too; empty where it can."""
    if side == size:
        return ""
    if isinstance(recipe.augmentation.crop, Centre):
        return "the augmentation takes whole images only"
    made = count(network, (3, size, size))
    try:
        there = count(network, (3, side, side))
    except SizeError:
        return "its maps would vanish"
    if there.params != made.params:
        return "its fully connected layers take images of one size only"
    if there.head_params != made.head_params:
        return "the fully connected layers of its auxiliary classifiers take images of one size only"
    return ""


def fitted(recipe: Recipe, network: Network, size: int, classes: int, machine: Machine) -> Recipe:
    """The recipe with its batch in as many parts as it takes, doubling, until one fits into the device's memory.

    The batch stays the recipe's, and so the learning rate. It goes by the estimate of `Costs.training_bytes`, in the
    precision that training has here; a part has at least two images.
    """
    costs, parts = count(with_classes(network, classes), (3, size, size)), recipe.accumulation_steps
    world = int(os.environ.get("WORLD_SIZE", "1"))  # torchrun's, before the processes have met
    fixed = costs.training_bytes(0)
    image = (costs.training_bytes(1) - fixed) * machine.dtype.itemsize // VALUE_BYTES
    while (
        fixed + image * -(-recipe.batch // (parts * world)) > MEMORY_SHARE * _device_bytes(machine)
        and recipe.batch // (2 * parts * world) >= 2
    ):
        parts *= 2
    return msgspec.structs.replace(recipe, accumulation_steps=parts)


def _device_bytes(machine: Machine) -> int:
    if machine.kind == "cuda":
        return torch.cuda.mem_get_info(machine.device)[1]
    return torch.mps.recommended_max_memory() if machine.kind == "mps" else machine.memory_bytes
