"""Training from Python: a record an epoch, in memory or into a run folder."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from topfive.data.sources import Source
from topfive.errors import UsageError
from topfive.networks.layers import Network
from topfive.recipes.recipe import Recipe
from topfive.results.records import EpochRecord

if TYPE_CHECKING:
    from torch import nn

    from topfive.engine.training.job import Job


def train(
    model: nn.Module | Network,
    source: Source,
    recipe: Recipe,
    size: int | None = None,
    device: str = "auto",
    out: str | Path | None = None,
) -> Iterator[EpochRecord]:
    """Train on the training images of `source`, and give a record after each epoch; nothing happens before the first.

    A module is trained in place, and is left in evaluation mode with the weights that the last record is about: where
    the recipe averages weights, the averages. Where the loop is left early, they are those of the last step. One of
    `build` gets the mean and standard deviation of the training images; one of your own must take float images
    `(N, 3, size, size)`, normalised as torchvision's models take them, and give `(N, classes)`. A recipe with
    `whitened`, such as `fast`, replaces the first kernels of a module of `build`: to continue from weights, change it
    by `"whitened=false"`, or take `finetune`.

    A network value is built with the recipe's seed, exactly as `topfive train` builds it. With `out`, which takes a
    network value alone, a run folder is written as that command does; where the folder holds this training already, it
    is resumed. Without `out` no results are written.

    `size` is the side of the images in pixels: by default the one that the network is made for, and for a module of
    your own 32, 64 or 128, after the images. `device` is auto, cpu, cuda, cuda:1, ... or mps.

    Raises: UsageError for what does not fit together, RefusedError for a module that does not give a score for each
    class, both at once; DataError for unreadable images and DivergedError while it runs.
    """
    from topfive.engine import api

    if out is None:
        return api.train(model, source, recipe, size, device)
    if not isinstance(model, Network):
        raise UsageError(
            "a run folder says how to repeat its training, which a module's weights are not part of: give the network "
            "value with out=, or leave out= away"
        )
    from topfive.data.outputs import placed

    folder = placed(source, "", str(out), "out=")
    return _into(api.job(model, source, recipe, size, device, folder), str(folder))


def _into(job: Job, folder: str) -> Iterator[EpochRecord]:
    from topfive.report import training as report

    command = ["topfive", "train", job.network.name, job.source.where, "--recipe", job.recipe.name, "--out", folder]
    rows: list[EpochRecord] = []
    job.open(command)
    try:
        for row in job.epochs(f"topfive resume {shlex.quote(folder)}"):
            rows.append(row)
            yield row
    finally:
        if rows:
            report.write(job.folder, job.stated(command), rows, shlex.join(command))
