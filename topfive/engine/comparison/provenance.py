"""How a comparison was made, for its page: enough to repeat it."""

import datetime
import platform
import shlex
from collections.abc import Mapping, Sequence
from importlib.metadata import version

import msgspec

from topfive.data.sources import Source
from topfive.engine.benchmark.machine import Machine
from topfive.engine.benchmark.measuring import DISTURBED
from topfive.engine.comparison.contract import Contract
from topfive.engine.comparison.folder import Folder
from topfive.engine.comparison.trials import Place
from topfive.engine.training.job import decoding
from topfive.results.records import ComparisonRow


def provenance(
    source: Source, contract: Contract, place: Place, folder: Folder, machine: Machine, rows: Sequence[ComparisonRow]
) -> dict[str, object]:
    """What the page and the JSON say of a comparison besides its `rows`."""
    waited = max(rows, key=lambda row: row.data_wait, default=None)
    disturbed = [f"{row.cpu_contention:.1f} while {row.name} was" for row in rows if row.cpu_contention > DISTURBED]
    return {
        "source": str(source),
        "classes": len(source.classes),
        "class_names": list(source.classes),
        "notes": [*source.notes, *(f"{row.name}: {note}" for row in rows for note in row.notes)],
        "use": use(place, rows),
        "unreadable": folder.unreadable(),
        "decoding": _decoding(source, place, folder),
        "waiting": f"at most {waited.data_wait:.0%} of the training time ({waited.name})" if waited else "",
        "disturbed": f"other processes used CPU cores: {', '.join(disturbed)} measured" if disturbed else "",
        "fingerprint": source.fingerprint,
        "command": shlex.join(place.command),
        "protocol": f"1-crop {', '.join(f'{size}x{size}' for size in contract.sizes)}",
        "recipe": _recipes(contract, folder, rows),
        "seed": ", ".join(map(str, contract.seeds)),
        "machine": msgspec.to_builtins(machine),
        "versions": {
            "topfive": version("topfive"),
            "python": platform.python_version(),
            **{name: version(name) for name in ("torch", "numpy", "pillow", "msgspec")},
        },
        "made": datetime.date.today().isoformat(),
    }


def unfinished(made: Mapping[str, int], wanted: int) -> str:
    """Which networks lack trainings, in a sentence, by how many were made of each; "" where none does."""
    lacking = [
        f"{name} has {count} of {wanted} trainings" if count else f"{name} was not trained"
        for name, count in made.items()
        if count < wanted
    ]
    return f"Not all is trained: {', '.join(lacking)}; the same command goes on." if lacking else ""


def use(place: Place, rows: Sequence[ComparisonRow]) -> str:
    """How the trained network with the highest accuracy is used, as a command; "" where none is kept."""
    best = max((row for row in rows if row.trial), key=lambda row: row.top1_accuracy, default=None)
    return f"topfive predict {shlex.quote(str(place.folder / best.trial))} FILE" if best else ""


def _decoding(source: Source, place: Place, folder: Folder) -> str:
    """How images became pixels, and what was done knowingly to how many of them."""
    reading = "kept in memory" if place.workers is None else f"read anew by {place.workers} processes"
    done = (f"{what}: {count:,}" for what, count in folder.decoded().items())
    return "; ".join([decoding(source), reading, *done])


def _recipes(contract: Contract, folder: Folder, rows: Sequence[ComparisonRow]) -> str:
    used = ", ".join(dict.fromkeys(row.recipe for row in rows if row.kind != "shallow"))
    seconds = folder.plan(contract.plan).seconds
    if seconds is not None:
        each = f"{seconds:.0f} s of training each"
    else:
        each = ", ".join(contract.changes).replace("=", " ")
    return "; ".join(filter(None, [used, each]))
