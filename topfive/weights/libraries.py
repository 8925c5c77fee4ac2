"""The weights that libraries ship: whose network, under which protocol, with which figures; and known by their hash."""

import tomllib
from functools import cache
from pathlib import Path

import msgspec

from topfive.errors import UsageError, did_you_mean


class Known(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One file of weights of a library; accuracies in percent, as printed there, of one crop of the validation set."""

    library: str
    name: str  # the network, as the library calls it
    version: str
    network: str  # as we call it
    crop: int
    resize: int  # of the shorter side
    top1: float
    top5: float
    interpolation: str = "bilinear"
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)  # of pixels in 0..1
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    params: int | None = None
    url: str = ""
    sha256: str = ""  # the digits that are published, from the front; empty where none are
    mib: float | None = None
    note: str = ""

    @property
    def key(self) -> str:
        """What a user calls it by."""
        return f"{self.name}.{self.version}"


def known(library: str) -> tuple[Known, ...]:
    """What is known of a library's weights, in the order of its table. Raises: UsageError (no such library)."""
    if library not in _tables():
        raise UsageError(f"no library is called {library!r}; there are {', '.join(_tables())}")
    return _tables()[library]


def recognised(sha256: str) -> Known | None:
    """The weights whose published hash this one begins with."""
    everything = (entry for table in _tables().values() for entry in table)
    return next((entry for entry in everything if entry.sha256 and sha256.startswith(entry.sha256)), None)


def fetchable(name: str) -> Known:
    """The weights called `name` ("resnet18", or with its version "resnet50.IMAGENET1K_V2") that lie on the net.

    Raises: UsageError naming the nearest names, or the versions where there are several.
    """
    there = [entry for table in _tables().values() for entry in table if entry.url]
    found = [entry for entry in there if name.lower() in (entry.name.lower(), entry.key.lower())]
    if not found:
        near = did_you_mean(name, {word for entry in there for word in (entry.name, entry.key)})
        raise UsageError(f"no weights are called {name!r}{near or f'; there are {_names(there)}'}")
    if len(found) > 1:
        raise UsageError(f"{name} has {len(found)} files of weights: name one of {_names(found)}")
    return found[0]


def _names(entries: list[Known]) -> str:
    return ", ".join(entry.key for entry in entries)


@cache
def _tables() -> dict[str, tuple[Known, ...]]:
    # why all that match: each library's table may have a file of its own
    texts = [file.read_text("utf-8") for file in sorted(Path(__file__).parent.glob("libraries*.toml"))]
    tables = {library: entries for text in texts for library, entries in tomllib.loads(text).items()}
    return {
        library: tuple(msgspec.convert({"library": library, **entry}, Known) for entry in entries)
        for library, entries in tables.items()
    }
