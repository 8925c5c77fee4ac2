"""What the trainings of a comparison begin with where that is no random numbers: weights of a library, or of a run."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec

from topfive.data.fetching import fetch_weights
from topfive.engine.comparison.candidates import PUBLISHED, SCRATCH, Entry
from topfive.engine.training.initial_weights import Start, open_start
from topfive.errors import DataError
from topfive.networks.layers import with_classes
from topfive.results.progress import Progress, counting
from topfive.weights import libraries
from topfive.weights.libraries import Known
from topfive.weights.names import INSTEAD


def published(network: str) -> Known | None:
    """The weights on the net that a network can begin with; None where there are none."""
    there = [known for known in libraries.known("torchvision") if known.network == network and known.url]
    return there[-1] if there else None  # why the last: the library lists its better ones last


def without(one: Entry, start: str) -> str:
    """Why `one` cannot begin with `start`, in a sentence; "" where it can."""
    network = one.network
    if start == SCRATCH or (network and (start != PUBLISHED or published(network.name))):
        return ""
    if start != PUBLISHED:
        return f"{one.candidate.name} is left out: only networks of topfive's begin with the weights of a run"
    name = network.name if network else one.candidate.name.removesuffix(f" from {PUBLISHED}")
    others = [found for (wanted, found) in INSTEAD if wanted == name and published(found)]
    return f"{name} has no published weights, and is left out" + f"; {' and '.join(others)} has some" * bool(others)


def opened(
    one: Entry, classes: tuple[str, ...], folder: Path | None, progress: Callable[[Progress], object]
) -> tuple[Entry, Start]:
    """`one` and what it begins with; its recipe names the layers that are taken where others have another shape here.

    Published weights are fetched into `folder`, by default the user's, where they are not there. Raises: UsageError,
    RefusedError, DataError, ResourceError.
    """
    assert one.network
    known = published(one.network.name) if one.candidate.start == PUBLISHED else None
    where = Path(one.candidate.start)
    if known:
        where = fetch_weights(known.key, folder, counting(progress, "MB", 1e6))
    start = open_start(str(where), with_classes(one.network, len(classes)), classes, one.recipe.init_layers)
    if known and not start.model.sha256.startswith(known.sha256):
        raise DataError(
            f"{where} has the sha256 {start.model.sha256} and not the published {known.sha256}: it is damaged, or "
            "another file"
        )
    if not start.init_layers and (fitting := start.fitting()):
        start = replace(start, init_layers=fitting)
        one = replace(one, recipe=msgspec.structs.replace(one.recipe, init_layers=fitting))
    return one, start
