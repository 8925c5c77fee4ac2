"""The order of an epoch and the random numbers of its images: pure functions of (seed, epoch, index).

Nothing depends on the number of workers or processes, on how fast they are, or on what was loaded before.
"""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from topfive.recipes.augmentations import DRAWS
from topfive.recipes.plan import steps_of_epoch

# columns of the uniform numbers that belong to an image in an epoch
MIRROR, LIGHTING, COLOUR, ERASE, COLUMNS = DRAWS, DRAWS + 1, DRAWS + 4, DRAWS + 7, DRAWS + 12
Index = NDArray[np.int64]  # of images within their split
Draws = NDArray[np.float64]  # uniform numbers, a row an image


def uniforms(seed: int, epoch: int, index: Index) -> Draws:
    """`COLUMNS` numbers in 0..1 for each image: a hash of (seed, epoch, index, column) and nothing else."""
    start = np.array([seed % 2**63 + 1], np.uint64)
    state = _mixed(_mixed(start) + np.array([epoch], np.uint64))
    rows = _mixed(state + index.astype(np.uint64))
    columns = np.arange(COLUMNS).astype(np.uint64)
    bits = _mixed(rows[:, None] + columns)
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mixed(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64: Steele, Lea and Flood, Fast Splittable Pseudorandom Number Generators, 2014."""
    z = x * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def epoch_order(count: int, seed: int, epoch: int) -> Tensor:
    """The order of an epoch: a permutation that depends on (seed, epoch) and on nothing else."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed * 1_000_000_007 + epoch))


def epoch_batches(
    count: int, batch: int, seed: int, epoch: int, first: int = 0, rank: int = 0, world: int = 1
) -> Iterator[tuple[Index, int]]:
    """The indices of each batch from the `first` on, and how many of them count; each image counts once an epoch.

    Of a batch, process `rank` takes every `world`-th one. A share of fewer than two, which batch normalisation cannot
    learn from, is filled up with others of the batch that do not count.
    """
    order = epoch_order(count, seed, epoch).numpy()
    for step in range(first, steps_of_epoch(count, batch)):
        whole = order[step * batch : (step + 1) * batch]
        mine = whole[rank::world]
        yield (mine, len(mine)) if len(mine) > 1 or world == 1 else (np.concatenate([mine, whole[:2]]), len(mine))
