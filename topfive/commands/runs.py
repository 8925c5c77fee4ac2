"""The commands that work on run folders: continue one, list them."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from topfive.commands import session
from topfive.console import bar, say, write
from topfive.errors import UsageError
from topfive.report.tables import Format

if TYPE_CHECKING:
    from topfive.networks.layers import Network
    from topfive.recipes.recipe import Recipe
    from topfive.results.training import Stated


def resume(
    run: str,
    /,
    *,
    data: str | None = None,
    workers: int | None = None,
    device: str | None = None,
    max_bad: str | None = None,
    save_every: float = 120.0,
    quiet: bool = False,
    format: Format = "text",
) -> None:
    """Resume an interrupted run at the step where it was saved.

    Parameters
    ----------
    run
        The folder that train made.
    data
        The new location of its images, if they were moved; they must be the same images.
    workers
        The number of processes that read images, for a run that does not keep them in memory; by default as before.
    device
        auto, cpu, cuda, cuda:1, ... or mps; by default the kind of device that the run was started on.
    max_bad
        The most unreadable images that may be skipped: a number, or a percentage such as 5%; by default 20 or 1 %,
        whichever is more.
    save_every
        Seconds between checkpoints.
    quiet
        Only the table.
    format
        text, markdown, csv or json.
    """
    from pathlib import Path

    from topfive.data.opening import open_source
    from topfive.engine.benchmark.machine import device_of, resumed_on
    from topfive.engine.training import processes
    from topfive.engine.training.job import Job
    from topfive.engine.training.unreadable import most_unreadable
    from topfive.results.progress import counting
    from topfive.results.runs import load_run
    from topfive.results.scored import still_there

    most_unreadable(max_bad, 0)
    stated = load_run(Path(run))
    network, recipe = _network_and_recipe(run, stated)
    device = device_of(device) if device else resumed_on(str(stated.machine["device"]), run)
    place = data or str(stated.source.get("path") or stated.source["where"])
    still_there(run, place, f"topfive resume {shlex.quote(run)} --data NEW")
    with bar(quiet) as progress:
        source = open_source(place, counting(progress, "MB", 1e6))
    machine = session.machine_for(Path(run), network, source, recipe, stated.size, device, stated.towers, quiet)
    group = processes.joined(machine.device)
    saved = any((Path(run) / "checkpoints").glob("step-*"))
    start = None if saved or not stated.start else stated.start.where
    session.run(
        Job(network, source, recipe, stated.size, machine, group, Path(run), stated.towers, max_bad),
        session.Session(stated.command, start, workers, save_every, quiet, format, resume=True),
    )


def _network_and_recipe(run: str, stated: Stated) -> tuple[Network, Recipe]:
    """Raises: UsageError where this version has not the fields that the run was made with."""
    import msgspec

    from topfive.networks.layers import Network
    from topfive.recipes.recipe import Recipe

    try:
        return msgspec.convert(stated.network, Network), msgspec.convert(stated.recipe, Recipe)
    except msgspec.ValidationError as error:
        raise UsageError(f"{run} was written by another version of topfive: {error}") from None


def runs(folder: str = "runs", /, *, verify: bool = False, format: Format = "text") -> None:
    """List the runs in a folder, best first.

    Parameters
    ----------
    folder
        The folder to search, including its subfolders.
    verify
        Verify the hash of every checkpoint and name the files that have changed; exit code 4 if there are any.
    format
        text, markdown, csv or json.
    """
    from pathlib import Path

    from msgspec import to_builtins

    from topfive.errors import RefusedError
    from topfive.report.runs import runs_rows, runs_section
    from topfive.results.runs import find_runs
    from topfive.results.runs import verify as damaged_in

    rows = runs_rows(Path(folder))
    if not rows:
        raise UsageError(f"there is no run in {folder!r}")
    write(format, [to_builtins(row) for row in rows], {}, [runs_section(rows)])
    if verify:
        if wrong := [why for run in find_runs(Path(folder)) for why in damaged_in(run)]:
            raise RefusedError("; ".join(wrong))
        say("every checkpoint matches its hashes", False)
