"""Many runs: a row each, and their table."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

import msgspec

from topfive.data.check.phrases import shown
from topfive.errors import RefusedError, ResourceError, TopfiveError
from topfive.recipes.plan import total_steps
from topfive.report.metrics import Metric, accuracy, or_none, section
from topfive.report.tables import Section, clock
from topfive.report.training import best, recipe_and_source
from topfive.results.runs import find_runs, load_rows, load_run
from topfive.results.statistics import interval
from topfive.results.training import RunRow
from topfive.system import locked


def runs_rows(root: Path) -> list[RunRow]:
    """A row a run at or below `root`, the best first and those that cannot be read last; nothing is written or locked.

    `state` is finished, running, interrupted, unfinished (which of the two cannot be told), damaged or unreadable;
    `step` is that of the newest checkpoint, whose bytes are not verified here.
    """
    rows = [_run_row(root, folder) for folder in find_runs(root)]
    # why: those without an accuracy behind the others, and what cannot be read behind all
    return sorted(rows, key=lambda row: (row.why != "", -(row.best_accuracy or -1.0), row.folder))


METRICS: list[Metric[RunRow]] = [
    Metric("run", "", "", lambda row: row.run, shown, number=False, wraps=True),
    Metric("network, source,\nrecipe", "", "", lambda row: _what(row), number=False, wraps=True),
    Metric("epochs", "", "", lambda row: None if row.epochs is None else f"{row.epochs_done}/{row.epochs}"),
    Metric("side\n(px)", "", "", lambda row: row.size),
    Metric("best\ntop-1\n(%)", "", "", lambda row: row.best_accuracy, accuracy),
    Metric("last\ntop-1\n(%)", "", "", lambda row: row.last_accuracy, accuracy),
    Metric("its\ntop-5\n(%)", "", "", lambda row: or_none(row.top5_accuracy) if row.images else None),
    Metric("n", "", "", lambda row: row.images, "{:,}".format),
    Metric("time\n(h:m:s)", "", "", lambda row: row.seconds, clock),
    Metric("state", "", "", lambda row: _state(row), number=False, wraps=True),
]


def runs_section(rows: Sequence[RunRow]) -> Section:
    """The same for people."""
    points = [shown(row.why if row.folder in row.why else f"{row.run}: {row.why}") for row in rows if row.why]
    if any(row.images for row in rows):
        said = "Accuracies: 1-crop, n validation images, after the best and the last epoch; compare within one source."
        points.insert(0, said)
    return section(METRICS, rows, points=points)


def _what(row: RunRow) -> str:
    return ", ".join(shown(part) for part in (row.name, row.source, row.recipe) if part)


def _run_row(root: Path, folder: Path) -> RunRow:
    row = RunRow(os.path.relpath(folder, root), str(folder))
    try:
        stated = load_run(folder)
        recipe, images = recipe_and_source(stated)
        steps = total_steps(recipe, images.train)
        about = {"name": stated.name, "source": images.name, "recipe": recipe.name, "size": stated.size}
        row = msgspec.structs.replace(row, **about, epochs_done=0, epochs=recipe.epochs, steps=steps)
        epochs, step = load_rows(folder), _newest_step(folder)
    except TopfiveError as error:
        state = "damaged" if isinstance(error, RefusedError) else "unreadable"
        return msgspec.structs.replace(row, state=state, why=str(error))
    done = epochs[-1].epoch if epochs else 0
    if done >= recipe.epochs and step >= steps:
        state = "finished"
    else:
        state = {True: "running", False: "interrupted", None: "unfinished"}[locked(folder / "lock")]
    row = msgspec.structs.replace(
        row, step=step, state=state, epochs_done=done, seconds=epochs[-1].seconds if epochs else None
    )
    top = best(epochs)
    if not top or not top.scores:
        return row
    low, high = interval(top.scores.correct1, top.scores.images)
    return msgspec.structs.replace(
        row,
        best_accuracy=top.scores.top1_accuracy,
        best_low=low,
        best_high=high,
        best_epoch=top.epoch,
        images=top.scores.images,
        top5_accuracy=top.scores.top5_accuracy,
        last_accuracy=[one.scores.top1_accuracy for one in epochs if one.scores][-1],
    )


def _newest_step(folder: Path) -> int:
    """The step of the newest whole state that was saved, 0 where none was. Raises: ResourceError."""
    try:
        names = os.listdir(folder / "checkpoints")
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise ResourceError(f"{folder / 'checkpoints'} cannot be read: {error.strerror}") from None
    return max((int(found[1]) for found in (re.fullmatch(r"step-(\d+)", name) for name in names) if found), default=0)


def _state(row: RunRow) -> str:
    saved = f"step {row.step:,} of {row.steps:,}" if row.step else "nothing"
    match row.state:
        case "running" | "unfinished":
            return f"{row.state}, {saved} saved"
        case "interrupted":
            return f"interrupted, {saved} saved" if not row.step else f"interrupted at {saved}"
        case state:
            return state
