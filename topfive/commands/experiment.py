"""The claims of the literature as experiments, as a command."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

from topfive.commands.comparing import Asked, opened, stopping, told
from topfive.console import bar, say, write
from topfive.errors import UsageError, did_you_mean
from topfive.report.tables import Format

if TYPE_CHECKING:
    from topfive.engine.experiments.running import Run
    from topfive.results.experiments import ExperimentRecord

UNITS = {"": 1.0, "m": 1.0, "min": 1.0, "h": 60.0, "s": 1 / 60}
FETCHED, SIDE = "cifar-10", 32  # the default images, and the side in pixels at which networks see them


def experiment(
    name: str | None = None,
    *,
    data: str | None = None,
    budget: str = "10m",
    seeds: int = 3,
    seed: int = 0,
    size: int | None = None,
    out: str | None = None,
    device: str = "auto",
    quiet: bool = False,
    format: Format = "text",
) -> None:
    """Run an experiment: a claim of the literature, tried here, with a verdict that is computed.

    Without a name the experiments are listed; 'all' runs all of them and writes an index page. Networks are compared as
    'topfive compare' does it, so that every trained one is a model, and the same command continues an interrupted
    experiment. The verdict is 'holds', 'does not hold at this scale' or 'cannot be told', with its figures.

    Parameters
    ----------
    name
        Of an experiment, or all.
    data
        A source, as compare takes it; by default cifar-10 where it was fetched, else scikit-learn's digits.
    budget
        What an experiment may take, or all of them together, as 20m or 2h.
    seeds
        How many trainings of each network, with seeds from --seed on.
    seed
        The first seed.
    size
        The side of the square that the networks see, in pixels; by default 32.
    out
        The folder; by default runs/experiments/NAME-SOURCE.
    device
        auto, cpu, cuda, cuda:1, ... or mps.
    quiet
        Only the verdict and the tables.
    format
        text, markdown, csv or json.
    """
    from topfive.engine.comparison.planning import TooShort
    from topfive.engine.experiments import ALL
    from topfive.report import experiments as reporting

    if name is None:
        listed = [(one.name, one.title, one.source) for one in ALL.values()]
        rows = [{"name": name, "title": title, "source": source} for name, title, source in listed]
        write(format, rows, {}, [reporting.listing(listed)])
        return
    if name not in (*ALL, "all"):
        raise UsageError(f"no experiment is called {name!r}{did_you_mean(name, (*ALL, 'all'))}")
    names = list(ALL) if name == "all" else [name]
    minutes = _minutes(budget) / len(names)
    began, records, folder = time.perf_counter(), [], Path()
    refused: list[TooShort] = []
    for one in names:
        try:
            record, folder = _run(one, data, minutes, seeds, seed, size, out, device, quiet, together=name == "all")
        except TooShort as error:
            if name != "all":
                raise
            refused.append(TooShort(f"{one}: {error}"))
            say(str(refused[-1]), quiet)
            continue
        records.append(record)
    say(f"{(time.perf_counter() - began) / 60:.1f} of {_minutes(budget):g} minutes", quiet)
    rows = [{"name": one.name, "verdict": one.verdict.kind, "reason": one.verdict.reason} for one in records]
    sections = [section for one in records for section in reporting.sections(one)]
    write(format, rows, {"records": records}, sections)
    if name == "all" and records:
        say(str(reporting.write_index(folder.parent, records)), quiet)
    if refused:
        raise refused[0]


def _run(
    name: str, data: str | None, minutes: float, seeds: int, seed: int, size: int | None, out: str | None,
    device: str, quiet: bool, together: bool,
) -> tuple[ExperimentRecord, Path]:  # fmt: skip
    """One experiment, with its page; `together` where the folder holds others beside it."""
    from topfive.engine.experiments import ALL
    from topfive.engine.experiments.running import Run
    from topfive.report import experiments as reporting
    from topfive.results.experiments import kept

    where = str(Path(out or "runs/experiments/all") / name) if together else out
    asked = Asked(
        ("cifar-resnet-20",), data or _fetched(), where, None, minutes, None, seeds, seed, "scratch", None, "auto",
        str(SIDE if size is None else size), None, None, device, None, None, quiet, "local",
    )  # fmt: skip
    at = opened(asked, f"experiments/{name}", ())
    before = kept(at.place.folder) if together else None
    if before and (before.data, before.minutes, before.seeds) == (str(at.source), minutes, at.contract.seeds):
        say(f"{name}: {before.verdict.kind}, as it was found before", quiet)
        return before, at.place.folder
    run = Run(ALL[name], at.source, at.contract.sizes[0], minutes, at.contract.seeds, at.machine, at.place)
    try:
        with stopping(at.place.folder, lambda: _count(run)), bar(quiet) as tick:
            for made in run.train(tick):
                say(made if isinstance(made, str) else told(made, run.name_of(made)), quiet)
    finally:
        for line in at.source.notes:
            say(line, quiet)
    record = run.record()
    for path in reporting.write(at.place.folder, record)[-1:]:
        say(str(path), quiet)
    return record, at.place.folder


def _count(run: Run) -> int:
    return sum(len(records) for one in run.done.values() for records in one.trials().values())


def _fetched() -> str | None:
    """CIFAR-10 where it was fetched; None for the digits."""
    from topfive.data.fetching import fetched

    return FETCHED if fetched(FETCHED) else None


def _minutes(budget: str) -> float:
    """Raises: UsageError."""
    found = re.fullmatch(r"([0-9]*\.?[0-9]+) ?([a-z]*)", budget.strip().lower())
    if not found or found[2] not in UNITS or not 0 < float(found[1]) < float("inf"):
        raise UsageError(f"--budget {budget} is none: a number with its unit, as 20m or 2h")
    return float(found[1]) * UNITS[found[2]]
