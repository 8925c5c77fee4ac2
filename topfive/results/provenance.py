"""How a result was made, as records: enough to repeat it."""

import msgspec

from topfive.results.choosing import Contender


class MachineRecord(msgspec.Struct, frozen=True):
    """What something was measured on, as far as that is recorded."""

    processor: str = ""
    cores: int = 0
    threads: int = 0
    memory_bytes: float = 0
    device: str = ""
    precision: str = ""
    memory_format: str = ""


class BadFile(msgspec.Struct, frozen=True):
    """An image that could not be read."""

    path: str
    why: str = ""


class Provenance(msgspec.Struct, frozen=True):
    """How something was made: enough to repeat it."""

    source: str = ""
    classes: int = 0
    fingerprint: str = ""
    decoding: str = ""
    recipe: str = ""
    waiting: str = ""
    seed: str = ""  # or several
    use: str = ""  # how a trained network is used, as a command
    machine: MachineRecord = MachineRecord()
    versions: dict[str, str] = {}
    made: str = ""
    command: str = ""
    disturbed: str = ""
    notes: tuple[str, ...] = ()
    unreadable: tuple[BadFile, ...] = ()
    unfinished: str = ""  # which networks of a comparison lack trainings, in a sentence
    contenders: tuple[Contender, ...] = ()  # of a choice: all networks, those that left too
    recommended: str = ""  # by a choice
    undecided: str = ""  # why a choice recommends none
