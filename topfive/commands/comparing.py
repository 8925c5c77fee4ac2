"""What `compare` and `choose` have in common: options turned into a contract, a run with a bar, an end with a page."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from topfive.console import MUCH_WAITING, bar, command_line, say, write
from topfive.errors import Interrupted, UsageError
from topfive.report.tables import Format

if TYPE_CHECKING:
    from topfive.data.sources import Source
    from topfive.engine.benchmark.machine import Machine
    from topfive.engine.comparison.comparison import Comparison
    from topfive.engine.comparison.contract import Contract
    from topfive.engine.comparison.trials import Place
    from topfive.results.records import TrialRecord


Executor = Literal["local", "ray"]


@dataclass(frozen=True)
class Asked:
    """The options of both, as they were given."""

    networks: tuple[str, ...]
    data: str | None
    out: str | None
    report: str | None
    minutes: float | None
    epochs: int | None
    seeds: int
    seed: int
    start: str
    weights: str | None
    recipe: str
    size: str | None
    batch: int | None
    workers: int | None
    device: str
    blacklist: str | None
    max_bad: str | None
    quiet: bool
    executor: Executor
    began: float = field(default_factory=time.perf_counter)


@dataclass(frozen=True)
class Opened:
    """What they came to."""

    source: Source
    contract: Contract
    machine: Machine
    place: Place
    page: Path


def opened(asked: Asked, kind: str, default: tuple[str, ...]) -> Opened:
    """The source, and what is asked of it; `kind` names the folder, `default` the networks where none is named.

    Raises: UsageError, DataError.
    """
    from topfive.data.imagenet import without
    from topfive.data.opening import open_source
    from topfive.data.outputs import placed
    from topfive.engine.benchmark.machine import overlooked, this_machine
    from topfive.engine.comparison.candidates import recipe_of
    from topfive.engine.comparison.contract import MINUTES, Contract
    from topfive.engine.comparison.executors import require_ray
    from topfive.engine.comparison.folder import machine_of
    from topfive.engine.comparison.sizing import sized
    from topfive.engine.comparison.trials import Place
    from topfive.engine.training.unreadable import most_unreadable
    from topfive.results.progress import counting

    least = {"batch": 2, "workers": 0, "seed": 0}
    for name in ("epochs", "batch", "seeds", "seed", "workers"):
        value = getattr(asked, name)
        if value is not None and value < least.get(name, 1):
            raise UsageError(f"--{name} {value} is too small")
    if asked.minutes is not None and (asked.epochs is not None or not 0 < asked.minutes < float("inf")):
        both = "--minutes and --epochs cannot both be kept to"
        raise UsageError(both if asked.epochs else f"--minutes {asked.minutes:g} is none")
    sizes = _sizes(asked.size)
    if asked.executor == "ray":
        require_ray()
    recipe_of(asked.recipe, None)  # why: a name that is none is said now
    machine = this_machine(asked.device)
    most_unreadable(asked.max_bad, 0)
    with bar(asked.quiet) as progress:
        source = open_source(asked.data, counting(progress, "MB", 1e6))
    if asked.blacklist:
        source = without(source, Path(asked.blacklist))
    folder = placed(source, f"runs/{kind}-{source.name}", asked.out)
    machine = machine_of(folder, machine)
    contract = Contract(
        asked.networks or default,
        sizes,
        tuple(range(asked.seed, asked.seed + asked.seeds)),
        MINUTES if asked.minutes is None and asked.epochs is None else asked.minutes,
        asked.epochs,
        asked.batch,
        asked.recipe,
        tuple(dict.fromkeys(asked.start.split(","))),
        asked.weights,
        optional=not asked.networks,
    )
    why = ""
    if not sizes:
        contract, why = sized(contract, source, machine, folder)
    page = placed(source, "", asked.report, "--report") if asked.report else folder / "report.html"
    place = Place(folder, command_line(), asked.workers, asked.max_bad, asked.began, asked.executor)
    for line in (str(source), *source.notes, str(machine), *overlooked(asked.device), why):
        if line:
            say(line, asked.quiet)
    return Opened(source, contract, machine, place, page)


def said(made: Iterable[TrialRecord | str], name_of: Callable[[TrialRecord], str], quiet: bool) -> None:
    """Say what is made, as it is made."""
    for one in made:
        say(one if isinstance(one, str) else told(one, name_of(one)), quiet)


@contextmanager
def stopping(folder: Path, kept: Callable[[], int]) -> Iterator[None]:
    """An interruption within is said with what is `kept`, and with how to continue."""
    try:
        yield
    except (KeyboardInterrupt, Interrupted) as stop:
        count = kept()
        are = "one training is" if count == 1 else f"{count} trainings are"
        kind = type(stop) if isinstance(stop, Interrupted) else Interrupted
        raise kind(f"stopped; {are} kept in {folder}; continue with: {shlex.join(command_line())}") from None


def finish(
    comparison: Comparison, page: Path, format: Format, quiet: bool, choice: Mapping[str, object] | None = None
) -> None:
    """Write figures and page, print the table; `choice` is what a choice adds to how the comparison was made."""
    from topfive.report import comparison as reporting

    for line in comparison.images.skipped():
        say(line, False)
    for bad in comparison.folder.unreadable() if comparison.images.datas else ():
        say(f"skipped, unreadable: {bad['path']!r}: {bad['why']}", False)
    if rows := comparison.table():
        meta = {**comparison.meta(), **(choice or {})}
        reporting.write_measured(comparison.place.folder, page, rows, meta)
        write(format, reporting.flat(rows), {"meta": meta}, reporting.measured_sections(rows, meta))
        if use := meta["use"]:
            say(f"each trained network is a model: {use}", quiet)
        say(str(page), quiet)


def _sizes(size: str | None) -> tuple[int, ...]:
    """What --size says. Raises: UsageError."""
    parts = size.split(",") if size else []
    if not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        raise UsageError(f"--size {size} is none: a number of pixels, or several as 32,64")
    return tuple(dict.fromkeys(map(int, parts)))


def told(trial: TrialRecord, name: str) -> str:
    """What a finished trial came to, in a line."""
    scores = trial.scores
    waited = f", {trial.data_wait:.0%} of it waiting for images" if trial.data_wait > MUCH_WAITING else ""
    return (
        f"{name}, seed {trial.seed}: {scores.top1_accuracy:.1%} Top-1 (n = {scores.images:,}) after {trial.epochs:.3g} "
        f"epochs in {trial.training_seconds:.0f} s{waited}"
    )
