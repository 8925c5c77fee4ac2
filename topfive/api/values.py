"""The part of the Python API that needs no torch: networks, their costs, recipes."""

from fnmatch import fnmatchcase
from typing import Any

from topfive import networks
from topfive.networks import costs as counting
from topfive.networks.layers import Network
from topfive.recipes import papers
from topfive.recipes.editing import changed
from topfive.recipes.recipe import Recipe


def get(name: str) -> Network | Any:  # why Any: as in typeshed, so that no caller must tell the two apart by a check
    """The network called `name`, or, for a pattern with `*`, `?` or `[`, the list of the names that match it.

    >>> get("resnet-50").input
    (3, 224, 224)
    >>> get("plain-*")
    ['plain-18', 'plain-34']

    Raises: UsageError naming the nearest names; a pattern that matches nothing gives an empty list.
    """
    if any(letter in name for letter in "*?["):
        return [known for known in networks.NETWORKS if fnmatchcase(known, name.lower())]
    return networks.get(name)


def costs(network: Network, size: int | None = None) -> counting.Costs:
    """The costs of `network` for one image of `size` x `size` pixels, by default the size that it is made for.

    One multiply-add is one `mac`; memory is in bytes, for values of 32 bits. Nothing is run.
    Raises: UsageError naming the first layer that the size does not fit, and the smallest size that does.
    """
    return counting.count(network, (network.input[0], size, size) if size else None)


def recipe(name: str, network: Network | None = None, *changes: str) -> Recipe:
    """The recipe called `name`, for `network` where it depends on one: `quick`, `fast`, `finetune`, `resnet`, ...

    `changes` set fields, as `topfive train --set` does: `"epochs=5"`, `"optimizer.weight_decay=1e-4"`.
    Raises: UsageError for an unknown name or field, and for values that are not possible.
    """
    return changed(papers.get(name, network), changes)
