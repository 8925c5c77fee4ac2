"""What a run is, and how far it got, as records."""

import msgspec


class Reading(msgspec.Struct, frozen=True):
    """How the images come to a training, which its result depends on."""

    side: int | None  # of the squares that are kept in memory; None where they are read anew in every epoch
    workers: int | None = None  # that read them anew; their number changes nothing


class Begun(msgspec.Struct, frozen=True):
    """The weights that a training began with."""

    where: str
    sha256: str


class Stated(msgspec.Struct, frozen=True):
    """What a run is, in JSON's own types."""

    network: dict[str, object]
    name: str
    recipe: dict[str, object]
    size: int
    source: dict[str, object]  # where, path, name, fingerprint, classes, words, train, val, split, upright, notes
    decoding: str
    machine: dict[str, object]
    versions: dict[str, str]
    command: list[str]
    world: int
    made: str
    towers: bool = False
    reading: Reading | None = None  # None where it was not recorded yet
    start: Begun | None = None


class RunRow(msgspec.Struct, frozen=True):
    """A run, as far as it got; what it has not is None. Accuracies are fractions with their 95 % interval."""

    run: str  # its folder, seen from where it was looked for
    folder: str
    name: str | None = None
    source: str | None = None
    recipe: str | None = None
    size: int | None = None
    epochs_done: int | None = None
    epochs: int | None = None
    images: int | None = None
    best_accuracy: float | None = None
    best_low: float | None = None
    best_high: float | None = None
    best_epoch: int | None = None
    last_accuracy: float | None = None
    top5_accuracy: float | None = None
    seconds: float | None = None
    step: int | None = None  # of the newest checkpoint
    steps: int | None = None
    state: str = ""
    why: str = ""  # it cannot be read
