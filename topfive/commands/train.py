"""The commands that train: into run folders, from run folders."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from topfive.console import MUCH_WAITING, bar, command_line, say, write
from topfive.errors import UsageError
from topfive.recipes.protocols import SQUARE
from topfive.report.tables import Format

if TYPE_CHECKING:
    from pathlib import Path

    from topfive.data.sources import Source
    from topfive.engine.benchmark.measuring import Machine
    from topfive.engine.training.initial_weights import Start
    from topfive.engine.training.job import Job
    from topfive.engine.training.timing import Estimate
    from topfive.networks.layers import Network
    from topfive.recipes.recipe import Recipe
    from topfive.report.tables import Row, Section
    from topfive.results.records import EpochRecord

RESERVE = 0.05  # of the minutes that a training may take: for starting, the page, and what a few steps do not show


def train(
    network: str,
    data: str | None = None,
    /,
    *,
    recipe: str | None = None,
    set: tuple[str, ...] = (),
    out: str | None = None,
    size: int | None = None,
    epochs: int | None = None,
    minutes: float | None = None,
    batch: int | None = None,
    seed: int | None = None,
    start: str | None = None,
    workers: int | None = None,
    device: str | None = None,
    max_bad: str | None = None,
    towers: bool = False,
    save_every: float = 120.0,
    plan: bool = False,
    dry_run: bool = False,
    tensorboard: bool = False,
    quiet: bool = False,
    format: Format = "text",
) -> None:
    """Train one network by a paper's recipe, or by one of ours, into a run folder that can be resumed.

    The same command continues where it was interrupted, bit-identically. torchrun starts it on many devices.

    Parameters
    ----------
    network
        A name from 'topfive networks', or a .json file with a network of your own.
    data
        Anything that compare --data takes; by default scikit-learn's digits.
    recipe
        quick, fast, finetune, alexnet, zfnet, vgg, googlenet, bn-inception, inception-v3, inception-v4, resnet,
        resnet-cifar or resnet-cifar-110; by default that of the network's own paper.
    set
        A field of the recipe, as often as you like: lr=0.02, optimizer.weight_decay=1e-4, schedule.at=[0.5,0.75].
    out
        The run folder; by default runs/NETWORK-SOURCE-RECIPE, beside the source where that would lie inside.
    size
        The side of the square that the network sees, in pixels; by default its own where the images fill it.
    epochs
        The same as --set epochs=.
    minutes
        In place of epochs: as many as fit into so many minutes on this machine, going by a few steps made before.
    batch
        The same as --set batch=: images in a step, over all processes; the learning rate follows.
    seed
        The same as --set seed=.
    start
        A run folder or a file of weights of the same network to begin with, also torchvision's or timm's; classes of
        the same names keep their part of the classifier, the others are fresh.
    workers
        Read the images anew in every epoch with so many processes; by default they are kept in memory if they fit.
    device
        auto, cpu, cuda, cuda:1, ... or mps, an Apple GPU; by default auto, which is cuda where there is one, else cpu.
        A run that is resumed keeps its kind of device.
    max_bad
        How many images that cannot be read are skipped: a number, or a share such as 5%; by default 20 or 1 %,
        whichever is more.
    towers
        Lay the network on two devices as the paper of 2012 did, half of the kernels on each: AlexNet and its like.
        Where two GPUs are not there, one device stands in for both.
    save_every
        Seconds between two saves of the whole state.
    plan
        Only print the schedule, the steps, the operations, the memory and, from a few steps, the time; with --out, draw
        the schedule there.
    dry_run
        Two steps at every size of the images that the run will have, and one evaluation, in a folder that is removed
        again.
    tensorboard
        Write the rows for TensorBoard too, into tensorboard/ in the run folder.
    quiet
        Only the table.
    format
        text, markdown, csv or json.
    """
    from math import inf
    from pathlib import Path
    from time import perf_counter

    from topfive.data.opening import open_source
    from topfive.data.outputs import placed
    from topfive.engine.benchmark.measuring import device_of
    from topfive.engine.training.job import Job, adapted, fitted, network_of
    from topfive.engine.training.loading import most_unreadable
    from topfive.engine.training.processes import Group
    from topfive.recipes import papers
    from topfive.recipes.editing import changed
    from topfive.results.progress import counting

    began = perf_counter()
    if minutes is not None and not 0 < minutes < inf:
        raise UsageError("--minutes is a number above 0")
    for name, number in (("epochs", epochs), ("batch", batch), ("seed", seed)):
        set = (*set, f"{name}={number}") if number is not None else set
    set = (*set, "whitened=false") if start else set  # why: what was learnt stands, and continues learning
    if (size is not None and size < 1) or (workers is not None and workers < 0):
        raise UsageError("--size and --workers cannot be below 1 and 0")
    device_of(device or "auto")  # why: what is not here is said now, and not when the images have been looked at
    most_unreadable(max_bad, 0)
    with bar(quiet) as progress:
        source = open_source(data, counting(progress, "MB", 1e6))
    value, side = network_of(network, source, size)
    chosen = recipe or ("finetune" if start else papers.default_for(value))
    rules = changed(papers.get(chosen, value), set)
    changes = [field.partition("=")[0].strip() for field in set]
    if "progressive_resize" not in changes:
        rules, left_out = adapted(rules, value, side)
        if left_out:
            say(left_out, quiet)
    folder = str(placed(source, f"runs/{value.name}-{source.name}-{rules.name}", out))
    machine = _machine(Path(folder), value, source, rules, side, device, towers or dry_run, quiet)
    if "accumulation_steps" not in changes:
        whole, rules = rules, fitted(rules, value, side, len(source.classes), machine)
        if rules.accumulation_steps > whole.accumulation_steps:
            part = f"{rules.accumulation_steps} parts, for this machine's memory"
            say(f"a batch of {rules.batch} is computed in {part}: the same step, but for batch normalisation", quiet)
    command = command_line()

    def job(rules: Recipe) -> Job:
        return Job(value, source, rules, side, machine, Group(), Path(folder), towers, max_bad)

    timed = None
    if minutes is not None:
        if "epochs" in changes:
            raise UsageError("--minutes says how many epochs there are: leave --epochs out")
        rules, timed = _within(job(rules), minutes * 60, began, workers, quiet)
    if plan:
        _plan(job(rules), Path(out) if out else None, workers, timed, format)
        return
    _train(
        network=value,
        source=source,
        recipe=rules,
        size=side,
        machine=machine,
        out=folder,
        command=command,
        start=start,
        workers=workers,
        max_bad=max_bad,
        towers=towers,
        save_every=save_every,
        dry_run=dry_run,
        tensorboard=tensorboard,
        again=False,
        quiet=quiet,
        format=format,
    )


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
    """Go on with a run where it was interrupted, at the exact step.

    Parameters
    ----------
    run
        The folder that train made.
    data
        Where its images are now, if they were moved; they must be the same.
    workers
        As many processes for a run that reads its images anew in every epoch; by default as before.
    device
        auto, cpu, cuda, cuda:1, ... or mps; by default the kind of device that the run was started on.
    max_bad
        How many images that cannot be read are skipped: a number, or a share such as 5%; by default 20 or 1 %,
        whichever is more.
    save_every
        Seconds between two saves of the whole state.
    quiet
        Only the table.
    format
        text, markdown, csv or json.
    """
    from pathlib import Path

    import msgspec

    from topfive.data.opening import open_source
    from topfive.engine.benchmark.measuring import device_of, resumed_on
    from topfive.engine.training.loading import most_unreadable
    from topfive.networks.layers import Network as Value
    from topfive.recipes.recipe import Recipe
    from topfive.results.progress import counting
    from topfive.results.runs import load_run
    from topfive.results.scored import still_there

    most_unreadable(max_bad, 0)
    stated = load_run(Path(run))
    try:
        network, recipe = msgspec.convert(stated.network, Value), msgspec.convert(stated.recipe, Recipe)
    except msgspec.ValidationError as error:
        raise UsageError(f"{run} is of another topfive: {error}") from None
    device = device_of(device) if device else resumed_on(str(stated.machine["device"]), run)
    place = data or str(stated.source.get("path") or stated.source["where"])
    still_there(run, place, f"topfive resume {shlex.quote(run)} --data NEW")
    with bar(quiet) as progress:
        source = open_source(place, counting(progress, "MB", 1e6))
    saved = any((Path(run) / "checkpoints").glob("step-*"))
    _train(
        network=network,
        source=source,
        recipe=recipe,
        size=stated.size,
        machine=_machine(Path(run), network, source, recipe, stated.size, device, stated.towers, quiet),
        out=run,
        command=stated.command,
        start=None if saved or not stated.start else stated.start.where,
        workers=workers,
        max_bad=max_bad,
        towers=stated.towers,
        save_every=save_every,
        dry_run=False,
        tensorboard=False,
        again=True,
        quiet=quiet,
        format=format,
    )


def runs(folder: str = "runs", /, *, verify: bool = False, format: Format = "text") -> None:
    """List the runs in a folder, the best first.

    Parameters
    ----------
    folder
        Where to look, also below it.
    verify
        Hash every checkpoint anew and name the files that are not as they were saved; exit code 4 where there are any.
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
        say("every checkpoint is as it was saved", False)


def _machine(
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
    from topfive.engine.benchmark.measuring import overlooked, resumed_on, this_machine
    from topfive.engine.models.modules import ModelSpec
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


def _within(job: Job, seconds: float, began: float, workers: int | None, quiet: bool) -> tuple[Recipe, Estimate | None]:
    """The recipe with as many epochs as fit, and what was measured; those of the run where the folder holds one."""
    import os
    from time import perf_counter

    from topfive.recipes.editing import changed
    from topfive.report.training import duration
    from topfive.results.runs import holds_run, load_run

    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UsageError("--minutes measures one process: start several with --epochs")
    if holds_run(job.folder):
        return changed(job.recipe, (f"epochs={load_run(job.folder).recipe['epochs']}",)), None
    timed = _estimate(job, workers, quiet)
    images, left = len(job.source.train), (1 - RESERVE) * seconds - (perf_counter() - began)
    epochs = timed.epochs(job.recipe, images, job.size, left)
    if not epochs:
        one = timed.seconds(changed(job.recipe, ("epochs=1",)), images, job.size)
        raise UsageError(f"--minutes {seconds / 60:g} is too short: one epoch takes about {duration(one)} here")
    recipe = changed(job.recipe, (f"epochs={epochs}",))
    about = duration(timed.seconds(recipe, images, job.size))
    for line in (f"{epochs} epochs, about {about} going by a few steps made now", *timed.notes):
        say(line, quiet)
    return recipe, timed


def _estimate(job: Job, workers: int | None, quiet: bool) -> Estimate:
    from topfive.engine.training.timing import estimate
    from topfive.results.progress import Progress

    with bar(quiet) as progress:
        return estimate(job, workers, lambda done: progress(Progress("timing a few steps", done)))


def _plan(job: Job, out: Path | None, workers: int | None, timed: Estimate | None, format: Format) -> None:
    """What a training would do, without any of it but a few steps."""
    from topfive.data.outputs import mark
    from topfive.engine.models.towers import table
    from topfive.recipes.plan import field_rows, plan_points, plan_rows
    from topfive.report.figures import canvas
    from topfive.report.figures import training as training_figures
    from topfive.report.tables import Column, Section
    from topfive.report.training import duration

    recipe, size, images = job.recipe, job.size, len(job.source.train)
    timed = timed or _estimate(job, workers, False)
    seconds = timed.seconds(recipe, images, size)
    about = {**job.plan(), "seconds": seconds, "seconds_of": timed}
    rows = [{**row, "side": recipe.side(row["first_epoch"], size)} for row in plan_rows(recipe, images)]
    said = [
        f"{recipe.name}: {about['steps']:,} steps, {about['training_ops'] / 1e15:,.3g} P-ops in training, about "
        f"{about['memory_bytes'] / 1e9:,.2g} GB of memory (an estimate, before anything ran)",
        f"about {duration(seconds)} here, going by a few steps made now; reading: {duration(timed.reading)} of it",
        *timed.notes,
        *recipe.differs,
    ]
    columns = [
        Column("first_epoch", "first\nepoch"),
        Column("last_epoch", "last\nepoch"),
        Column("steps", "steps", "{:,}".format),
        Column("lr_from", "lr\nfrom", "{:.4g}".format),
        Column("lr_to", "lr\nto", "{:.4g}".format),
        Column("side", "side\n(px)"),
        Column("how", "how", right=False, wraps=True),
    ]
    fields = field_rows(recipe)
    named = [Column(key, key, right=False, wraps=key != "field") for key in fields[0]]
    sections = [Section("Plan", said, rows, columns), Section("Recipe", (), fields, named)]
    try:
        devices = table(job.network, (3, size, size), recipe.batch)
    except UsageError:  # only AlexNet and its like split into two towers
        devices = []
    if devices:
        sections.append(_devices_section(devices))
    write(format, rows, {"plan": about, "recipe": fields, "devices": devices}, sections)
    if out:
        mark(out)
        for path in canvas.save(training_figures.schedule(plan_points(recipe, images)), out / "plan.png"):
            say(str(path), False)


def _devices_section(rows: Sequence[Row]) -> Section:
    from topfive.report.tables import Column, Section, scaled

    columns = [
        Column("scheme", "scheme", right=False),
        Column("device", "device"),
        Column("batch", "batch"),
        Column("params", "params\n(M)", scaled(1e6, 2)),
        Column("weight_bytes", "weights\n(MB)", scaled(1e6, 1)),
        Column("activation_bytes", "activations\n(MB)", scaled(1e6, 1)),
        Column("training_bytes", "training\n(MB)", scaled(1e6, 1)),
        Column("received_bytes_per_step", "received\n(MB/step)", scaled(1e6, 1)),
    ]
    return Section("On two devices (docs/distributed.md)", (), rows, columns)


def _train(
    *,
    network: Network,
    source: Source,
    recipe: Recipe,
    size: int,
    machine: Machine,
    out: str,
    command: list[str],
    start: str | None,
    workers: int | None,
    max_bad: str | None,
    towers: bool,
    save_every: float,
    dry_run: bool,
    tensorboard: bool,
    again: bool,
    quiet: bool,
    format: Format,
) -> None:
    from pathlib import Path
    from tempfile import TemporaryDirectory
    from time import perf_counter

    import msgspec

    from topfive.engine.training import processes
    from topfive.engine.training.job import Job
    from topfive.engine.training.loading import BAD_FILES, Data
    from topfive.engine.training.tensorboard import Events
    from topfive.report import training as training_report
    from topfive.results.progress import Progress
    from topfive.results.runs import Begun

    group = processes.joined(machine.device)
    quiet = quiet or not group.is_main
    with TemporaryDirectory() as scratch:
        if dry_run:
            source, recipe, out = *_cut_short(source, recipe, size), scratch
        folder = Path(out)
        job = Job(network, source, recipe, size, machine, group, folder, towers, max_bad)
        beginning = _start(start, job) if start else None
        begun = Begun(str(Path(start).absolute()), beginning.model.sha256) if start and beginning else None
        notes = job.open(command, workers, again, begun)
        for line in (
            str(source),
            *source.notes,
            f"{machine}, {group.world} processes" if group.world > 1 else str(machine),
            *_on_two_devices(job),
            *((*beginning.model.notes, *beginning.notes) if beginning else ()),
            *notes,
        ):
            say(line, quiet)
        wanted = tensorboard or (folder / "tensorboard").is_dir()  # why: a run continues with all that it wrote
        events = Events(folder / "tensorboard") if wanted and group.is_main else None
        rows: list[EpochRecord] = []
        total, seen, began = len(source.train) * recipe.epochs, 0, 0.0
        try:
            with bar(quiet) as progress:

                def reading(count: int) -> None:
                    nonlocal seen
                    seen += count
                    progress(Progress(f"reading {source.name}", seen / (len(source.train) + len(source.val))))

                def ready(data: Data) -> None:
                    nonlocal seen, began
                    seen, began = 0, perf_counter()
                    if data.skipped and group.is_main:
                        say(f"{data.skipped}; all of them: {folder / BAD_FILES}", False)

                def stepped(count: int) -> None:
                    nonlocal seen
                    seen += count
                    done = len(rows) / recipe.epochs * total
                    progress(
                        Progress(
                            f"{network.name}: epoch {len(rows) + 1} of {recipe.epochs}",
                            min(1.0, max(seen, done) / total),
                            f"{seen / (perf_counter() - began):,.0f} images/s",
                        )
                    )

                resuming = shlex.join(command_line())
                for row in job.epochs(resuming, save_every, beginning, reading, stepped, ready):
                    rows.append(row)
                    if events:
                        events.add(row)
                    say(_told(row, size), quiet)
        finally:
            if rows and group.is_main:
                sections = [training_report.run_section(job.stated(command), rows)]
                sections += [_devices_section(job.table)] if job.table else []
                page = training_report.write(folder, job.stated(command), rows, shlex.join(command))
                flat = (
                    training_report.epoch_rows(rows) if format == "csv" else [msgspec.to_builtins(row) for row in rows]
                )
                write(format, flat, {"devices": job.table} if job.table else {}, sections)
                if not dry_run:
                    say(str(page), quiet)
            processes.left()


def _cut_short(source: Source, recipe: Recipe, size: int) -> tuple[Source, Recipe]:
    """Images for two steps and one evaluation, and an epoch for each size of the images that the run would have."""
    from dataclasses import replace

    import msgspec

    shares = {recipe.side(epoch, size): recipe.share(epoch) for epoch in range(1, recipe.epochs + 1)}
    count = len(shares)
    sizes = tuple(((n + 1) / count, share) for n, share in enumerate(shares.values()))
    short = msgspec.structs.replace(recipe, epochs=count, progressive_resize=sizes, evaluate_every=count)
    return replace(source, train=source.train[: 2 * recipe.batch], val=source.val[: recipe.batch]), short


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


def _told(row: EpochRecord, size: int) -> str:
    """A row in a sentence."""
    scores, seen = row.scores, SQUARE.describe(size)
    bad = f", {scores.unreadable:,} of them unreadable: errors" if scores and scores.unreadable else ""
    val = f", validation {scores.top1_accuracy:.1%} ({seen}, n = {scores.images:,}{bad})" if scores else ""
    slow = f", {row.waiting:.0%} of the time waiting for images: more --workers, or topfive data pack, would help"
    return (
        f"epoch {row.epoch}: loss {row.loss:.3f}, training {row.train_accuracy:.1%} (augmented){val}, "
        f"{row.images_per_second:,.0f} images/s, {row.seconds:,.0f} s"
        f"{slow if row.waiting > MUCH_WAITING else ''}{'; ' + row.note if row.note else ''}"
    )


def _start(start: str, job: Job) -> Start:
    """What a training begins with: a run, or a file of ours or another library's. Raises: UsageError, RefusedError."""
    from topfive.engine.inference.models import open_model
    from topfive.engine.training.initial_weights import Start
    from topfive.weights.names import ORIGINS

    network, taken = job.network, job.recipe.init_layers
    # why: names and shapes alone do not tell a file's network in every case; one of the user's own has no other name
    known = not taken and network.name in {origin.network for origin in ORIGINS}
    return Start(open_model(start, network.name if known else None), network, job.source.classes, taken)
