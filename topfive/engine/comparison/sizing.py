"""The size of the images of a comparison where none was asked for: the largest that the minutes allow."""

import sys
from pathlib import Path

import msgspec

from topfive.data.sources import Source
from topfive.engine.benchmark import shallow
from topfive.engine.benchmark.arithmetic import operations_per_second
from topfive.engine.benchmark.machine import Machine
from topfive.engine.comparison.contract import Contract
from topfive.engine.comparison.folder import read_plan
from topfive.engine.comparison.planning import SHARE
from topfive.engine.training.sizes import default_size
from topfive.networks.costs import count
from topfive.networks.layers import with_classes
from topfive.networks.receptive_fields import SizeError
from topfive.networks.variations import for_small_images
from topfive.weights.names import network_called

SIZES = (128, 64, 32)


def sized(contract: Contract, source: Source, machine: Machine, folder: Path) -> tuple[Contract, str]:
    """`contract` with a size, and a sentence that says why it is not the usual one, "" where it is.

    The usual size is the largest of 32, 64 and 128 that the images fill. Where the minutes are too few for it, it is
    the one at which the most networks see each image once in their share, and the larger of two that are alike in this.
    A comparison that is continued has the size that its plan has.
    """
    if planned := read_plan(folder / contract.plan).sizes:
        return msgspec.structs.replace(contract, sizes=planned), ""
    usual = default_size(source)
    sizes = [size for size in SIZES if size <= usual]
    names = [name for name in contract.networks if ":" not in name and name != shallow.NAME]
    if contract.minutes is None or len(sizes) == 1 or not names:
        return msgspec.structs.replace(contract, sizes=(usual,)), ""
    share = 60 * contract.minutes * SHARE / len(names) / len(contract.seeds)
    most = share * operations_per_second(machine) / len(source.train)  # operations that an image may take

    def fitting(size: int) -> int:
        return sum(_operations(name, size, len(source.classes)) <= most for name in names)

    taken = max(sizes, key=lambda size: (fitting(size), size))
    why = (
        f"images of {taken} pixels: at {usual} only {fitting(usual)} of {len(names)} networks would see each image "
        f"once in {contract.minutes:g} minutes, by an estimate from their operations (--size {usual} is kept to)"
    )
    return msgspec.structs.replace(contract, sizes=(taken,)), why if taken != usual else ""


def _operations(name: str, size: int, classes: int) -> int:
    """Of the training of one image: forward, and twice as many backward."""
    network = with_classes(for_small_images(network_called(name), size), classes)
    try:
        return 6 * count(network, (3, size, size)).macs
    except SizeError:  # why: it is said of that network alone, when it is made
        return sys.maxsize
