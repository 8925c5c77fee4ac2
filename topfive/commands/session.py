"""A training as `train` and `resume` run it: how it begins, what is said meanwhile, what is written at the end."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from topfive.commands.plan import devices_section
from topfive.console import MUCH_WAITING, bar, command_line, say, write
from topfive.recipes.protocols import SQUARE
from topfive.report.tables import Format

if TYPE_CHECKING:
    from pathlib import Path

    from topfive.data.sources import Source
    from topfive.engine.benchmark.machine import Machine
    from topfive.engine.training.initial_weights import Start
    from topfive.engine.training.job import Job
    from topfive.networks.layers import Network
    from topfive.recipes.recipe import Recipe
    from topfive.results.progress import Progress
    from topfive.results.records import EpochRecord


@dataclass(frozen=True)
class Session:
    """How a job is run, and what is shown of it; `command` is the run's own, also where another one continues it."""

    command: list[str]
    start: str | None
    workers: int | None
    save_every: float
    quiet: bool
    format: Format
    resume: bool = False
    dry_run: bool = False
    tensorboard: bool = False


def run(job: Job, session: Session) -> None:
    """Train in the job's folder, in one that is removed again for a dry run; the page and the table at the end."""
    from pathlib import Path
    from tempfile import TemporaryDirectory

    from topfive.engine.training import processes
    from topfive.engine.training.tensorboard import Events

    quiet = session.quiet or not job.group.is_main
    with TemporaryDirectory() as scratch:
        if session.dry_run:
            job = _cut_short(job, Path(scratch))
        start = _opened(job, session, quiet)
        folder = job.folder / "tensorboard"
        wanted = session.tensorboard or folder.is_dir()  # why: a run continues with all that it wrote
        events = Events(folder) if wanted and job.group.is_main else None
        rows: list[EpochRecord] = []
        try:
            with bar(quiet) as progress:
                for row in _records(job, session, start, progress):
                    rows.append(row)
                    if events:
                        events.add(row)
                    say(_sentence(row, job.size), quiet)
        finally:
            if rows and job.group.is_main:
                _show(job, session, rows)
            processes.left()


def _opened(job: Job, session: Session, quiet: bool) -> Start | None:
    """What the training begins with, once its folder is open and all is said that there is to say."""
    from pathlib import Path

    from topfive.engine.training.initial_weights import open_start
    from topfive.results.training import Begun

    network, classes, taken = job.network, job.source.classes, job.recipe.init_layers
    start = open_start(session.start, network, classes, taken) if session.start else None
    begun = Begun(str(Path(session.start).absolute()), start.model.sha256) if session.start and start else None
    notes = job.open(session.command, session.workers, session.resume, begun)
    world = job.group.world
    for line in (
        str(job.source),
        *job.source.notes,
        f"{job.machine}, {world} processes" if world > 1 else str(job.machine),
        *_on_two_devices(job),
        *((*start.model.notes, *start.notes) if start else ()),
        *notes,
    ):
        say(line, quiet)
    return start


def _records(
    job: Job, session: Session, start: Start | None, progress: Callable[[Progress], object]
) -> Iterator[EpochRecord]:
    """Read the images and train, as `progress` is told; a record an epoch."""
    from time import perf_counter

    from topfive.engine.training.unreadable import BAD_FILES
    from topfive.results.progress import Progress
    from topfive.results.records import EpochRecord

    source, seen = job.source, 0

    def reading(count: int) -> None:
        nonlocal seen
        seen += count
        progress(Progress(f"reading {source.name}", seen / (len(source.train) + len(source.val))))

    data = job.read(reading)
    if data.skipped and job.group.is_main:
        say(f"{data.skipped}; all of them: {job.folder / BAD_FILES}", False)
    epoch, before, began = 1, None, perf_counter()
    for event in job.steps(shlex.join(command_line()), session.save_every, start):
        if isinstance(event, EpochRecord):
            epoch = event.epoch + 1
            yield event
            continue
        before = event.images if before is None else before  # of a resumed run, images that were not trained on now
        doing = f"{job.network.name}: epoch {epoch} of {job.recipe.epochs}"
        rate = f"{(event.images - before) / (perf_counter() - began):,.0f} images/s"
        progress(Progress(doing, event.images / (len(data) * job.recipe.epochs), rate))


def _show(job: Job, session: Session, rows: Sequence[EpochRecord]) -> None:
    """The page in the run's folder, and the table."""
    import msgspec

    from topfive.report import training as report

    stated, again = job.stated(session.command), shlex.join(session.command)
    sections = [report.run_section(stated, rows), *([devices_section(job.table)] if job.table else [])]
    page = report.write(job.folder, stated, rows, again)
    flat = report.epoch_rows(rows) if session.format == "csv" else [msgspec.to_builtins(row) for row in rows]
    write(session.format, flat, {"devices": job.table} if job.table else {}, sections)
    if not session.dry_run:
        say(str(page), session.quiet)


def machine_for(
    folder: Path,
    network: Network,
    source: Source,
    recipe: Recipe,
    size: int,
    device: str | None,
    usual: bool,
    quiet: bool,
) -> Machine:
    """This machine, with the device and arithmetic of the run that the folder holds, or else the fastest for a new one.

    `usual`: not measured, for what is short or lies on two devices; nor is it with several processes.
    """
    import os

    from topfive.engine.benchmark.arithmetic import fastest, repeated
    from topfive.engine.benchmark.machine import overlooked, resumed_on, this_machine
    from topfive.engine.models.specs import ModelSpec
    from topfive.results.progress import Progress
    from topfive.results.runs import holds_run, load_run

    if holds_run(folder):
        before = load_run(folder).machine
        return repeated(this_machine(device or resumed_on(str(before["device"]), str(folder))), before)
    machine = this_machine(device or "auto")
    for line in overlooked(device or "auto"):
        say(line, quiet)
    if usual or int(os.environ.get("WORLD_SIZE", "1")) > 1:
        return machine
    images = recipe.epochs * len(source.train)
    with bar(quiet) as progress:
        progress(Progress("timing a few steps of each arithmetic", 0.0))
        subject = ModelSpec(network.name, network)
        machine, said = fastest(subject, (3, size, size), len(source.classes), recipe.batch, images, machine)
    if said:
        say(said, quiet)
    return machine


def _cut_short(job: Job, folder: Path) -> Job:
    """The job in `folder`, with two steps and one evaluation at each size of the images that it would have."""
    from dataclasses import replace

    import msgspec

    from topfive.engine.training.job import Job

    source, recipe, size = job.source, job.recipe, job.size
    shares = {recipe.side(epoch, size): recipe.share(epoch) for epoch in range(1, recipe.epochs + 1)}
    count = len(shares)
    sizes = tuple(((n + 1) / count, share) for n, share in enumerate(shares.values()))
    short = msgspec.structs.replace(recipe, epochs=count, progressive_resize=sizes, evaluate_every=count)
    few = replace(source, train=source.train[: 2 * recipe.batch], val=source.val[: recipe.batch])
    towers = job.devices is not None
    return Job(job.network, few, short, size, job.machine, job.group, folder, towers, job.max_bad)


def _on_two_devices(job: Job) -> list[str]:
    """Where the towers stand, in a sentence, and what the optimizer makes of it, in another."""
    from topfive.recipes.recipe import Muon

    if not job.devices:
        return []
    first, second = job.devices
    stand_in = ", which stands in for two GPUs" if first == second else ""
    # why: the orthogonal factor of a half is not half of the orthogonal factor
    apart = ["Muon takes each tower's kernels by themselves, so the losses will not be those of one device"]
    told = [f"the first tower on {first}, the second on {second}{stand_in}"]
    return told + (apart if isinstance(job.recipe.optimizer, Muon) else [])


def _sentence(row: EpochRecord, size: int) -> str:
    """A row in a sentence."""
    scores, seen = row.scores, SQUARE.describe(size)
    bad = f", {scores.unreadable:,} of them unreadable: errors" if scores and scores.unreadable else ""
    val = f", validation {scores.top1_accuracy:.1%} ({seen}, n = {scores.images:,}{bad})" if scores else ""
    slow = f", {row.data_wait:.0%} of the time waiting for images: more --workers, or topfive data pack, would help"
    return (
        f"epoch {row.epoch}: loss {row.loss:.3f}, training {row.train_accuracy:.1%} (augmented){val}, "
        f"{row.images_per_second:,.0f} images/s, {row.seconds:,.0f} s"
        f"{slow if row.data_wait > MUCH_WAITING else ''}{'; ' + row.note if row.note else ''}"
    )
