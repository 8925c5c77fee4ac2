"""What a training will take on this machine, by a few steps made before: `--plan` and `--minutes`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from topfive.console import bar, say, write
from topfive.errors import UsageError
from topfive.report.tables import Format

if TYPE_CHECKING:
    from pathlib import Path

    from topfive.engine.training.job import Job
    from topfive.engine.training.timing import Estimate
    from topfive.recipes.recipe import Recipe
    from topfive.report.tables import Row, Section

RESERVE = 0.05  # of the minutes that a training may take: for starting, the page, and what a few steps do not show


def within(job: Job, seconds: float, began: float, workers: int | None, quiet: bool) -> tuple[Recipe, Estimate | None]:
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
    for line in (f"{epochs} epochs, about {about}, estimated from a few steps", *timed.notes):
        say(line, quiet)
    return recipe, timed


def _estimate(job: Job, workers: int | None, quiet: bool) -> Estimate:
    from topfive.engine.training.timing import estimate
    from topfive.results.progress import Progress

    with bar(quiet) as progress:
        return estimate(job, workers, lambda done: progress(Progress("timing a few steps", done)))


def show_plan(job: Job, out: Path | None, workers: int | None, timed: Estimate | None, format: Format) -> None:
    """What a training would do, without any of it but a few steps."""
    import msgspec

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
    plan = job.plan()
    about = {**msgspec.structs.asdict(plan), "seconds": seconds, "seconds_of": timed}
    rows = plan_rows(recipe, images, size)
    said = [
        f"{recipe.name}: {plan.steps:,} steps, {plan.training_ops / 1e15:,.3g} P-ops in training, about "
        f"{plan.memory_bytes / 1e9:,.2g} GB of memory (an estimate, before anything ran)",
        f"about {duration(seconds)} here, estimated from a few steps; reading: {duration(timed.reading)} of it",
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
        sections.append(devices_section(devices))
    write(format, rows, {"plan": about, "recipe": fields, "devices": devices}, sections)
    if out:
        mark(out)
        for path in canvas.save(training_figures.schedule(plan_points(recipe, images)), out / "plan.png"):
            say(str(path), False)


def devices_section(rows: Sequence[Row]) -> Section:
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
