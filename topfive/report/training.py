"""What a training came to: the table of one run, its figure and its page."""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from topfive.data.check.phrases import counted, shown
from topfive.data.files import written_aside
from topfive.errors import RefusedError, ResourceError
from topfive.recipes.recipe import Recipe
from topfive.report import metrics
from topfive.report.tables import WIDTH, Column, Row, Section
from topfive.results.provenance import MachineRecord, Provenance
from topfive.results.records import EpochRecord, Scores
from topfive.results.statistics import interval
from topfive.results.training import Stated

MOST_ROWS = 30  # of one run in its table
STEPS_BETWEEN = (2, 5, 10, 20, 25, 50, 100, 200, 250, 500, 1000)  # epochs, of which one is shown


class RunSource(msgspec.Struct, frozen=True):
    """The source of a run, as `Stated` tells it."""

    where: str
    name: str
    fingerprint: str
    classes: list[str]
    words: list[str]
    train: int
    val: int
    split: str
    upright: bool
    notes: list[str]


def recipe_and_source(stated: Stated) -> tuple[Recipe, RunSource]:
    """Those of a run. Raises: RefusedError."""
    try:
        return msgspec.convert(stated.recipe, Recipe), msgspec.convert(stated.source, RunSource)
    except msgspec.ValidationError as error:
        raise RefusedError(f"the run was written by another version of topfive: {error}") from None


def epoch_rows(rows: Sequence[EpochRecord]) -> list[Row]:
    """The rows for machines: flat, fractions and bytes; None where nothing was evaluated, or Top-5 says nothing."""
    flat: list[Row] = []
    for row in rows:
        scores = row.scores
        low, high = interval(scores.correct1, scores.images) if scores else (None, None)
        flat.append(
            {
                "epoch": row.epoch,
                "side": row.side,
                "loss": row.loss,
                **{f"auxiliary_loss_{n}": loss for n, loss in enumerate(row.auxiliary_losses, 1)},
                "train_top1_accuracy": row.train_accuracy,
                "train_top5_accuracy": row.train_top5,
                "images": scores.images if scores else None,
                "unreadable": scores.unreadable if scores else None,
                "top1_accuracy": scores.top1_accuracy if scores else None,
                "top1_low": low,
                "top1_high": high,
                "top5_accuracy": scores.top5_accuracy if scores else None,
                "lr": row.lr,
                "images_per_second": row.images_per_second,
                "data_wait": row.data_wait,
                "first_gradient": metrics.finite(row.first_gradient),
                "last_gradient": metrics.finite(row.last_gradient),
                "memory_bytes": row.memory_bytes,
                "seconds": row.seconds,
                "note": row.note,
            }
        )
    return flat


def run_section(stated: Stated, epochs: Sequence[EpochRecord]) -> Section:
    """The table of one run, an epoch a row; of a long run some, which is said."""
    said = [f"{answer(stated, epochs)}."]
    if not epochs:
        return Section("", said)
    evaluated = [row.scores for row in epochs if row.scores]
    if evaluated:
        n = evaluated[-1].images
        bad = f" ({unread(evaluated[-1])})" if evaluated[-1].unreadable else ""
        said.append(
            f"Validation: {_protocol(stated)}, n = {n:,}{bad}, with Wilson's 95 % interval. Training: on augmented "
            "images."
        )
    picked = marked(epochs)
    points = [f"epoch {row.epoch}: {shown(row.note)}" for row in epochs if row.note]
    top = best(epochs)
    if len(picked) < len(epochs):
        also = f", the best ({top.epoch})" if top else ""
        points.append(f"{len(epochs)} epochs, shown: the first, the last{also} and every {_ordinal(_every(epochs))}.")
    elif top and top.scores is not evaluated[-1]:
        points.append(f"Validation accuracy was highest after epoch {top.epoch}.")
    points.append("Time includes validation; gradient: mean norms at the first and the last trained kernels.")
    table = metrics.section(metrics.training(epochs), [row for row in epochs if row.epoch in picked], said)
    columns = _fitting(table.columns, table.rows)
    if not all(column.terminal for column in columns):
        peak = max(row.memory_bytes for row in epochs)
        points.append(
            f"At most {peak / 1e6:,.0f} MB in use. --format markdown or csv, and the page, have every column."
        )
    return table._replace(columns=columns, points=points)


def answer(stated: Stated, epochs: Sequence[EpochRecord], dash: str = "-") -> str:
    """What the training came to, in one sentence without its full stop."""
    recipe, images = recipe_and_source(stated)
    name, source = shown(stated.name), shown(images.name)
    if not epochs:
        return f"{name} on {source} was stopped in its first epoch: nothing was measured"
    evaluated = [row for row in epochs if row.scores]
    last = evaluated[-1] if evaluated else epochs[-1]
    done = counted(last.epoch, "epoch") if last.epoch == recipe.epochs else f"{last.epoch} of {recipe.epochs} epochs"
    after = f"on {source} after {done}, {duration(last.seconds)} on {_machine(stated)}"
    band, top = last.interval, best(epochs)
    if not last.scores or not band:
        return f"{name} reaches {100 * last.train_accuracy:.1f} % Top-1 in training {after}, not validated yet"
    between = f"{band[0]:.1f}{dash}{band[1]:.1f}"
    reached = f"{last.top1:.1f} % Top-1 ({between}, {_protocol(stated)}, n = {last.scores.images:,})"
    more = f"; the best was {top.top1:.1f} % after epoch {top.epoch}" if top and top is not last else ""
    return f"{name} reaches {reached} {after}{more}"


def unread(scores: Scores) -> str:
    """How many of the validation images cannot be read, and what becomes of them."""
    return f"{scores.unreadable:,} of them cannot be read and count as errors"


def marked(epochs: Sequence[EpochRecord]) -> set[int]:
    """The epochs that stand for all: every one of a short run; of a long one the first, last, best and every k-th."""
    if len(epochs) <= MOST_ROWS:
        return {row.epoch for row in epochs}
    every, top = _every(epochs), best(epochs)
    chosen = {row.epoch for row in epochs if row.epoch % every == 0} | {epochs[0].epoch, epochs[-1].epoch}
    return chosen | {top.epoch} if top else chosen


def best(epochs: Sequence[EpochRecord]) -> EpochRecord | None:
    """The first of the epochs after which the most validation images were right."""
    return max((row for row in epochs if row.scores), key=lambda row: row.top1 or 0.0, default=None)


def duration(seconds: float) -> str:
    """`8.1 s`, `6 min 40 s`, `3 h 05 min`.

    >>> duration(8.13), duration(400), duration(11_100)
    ('8.1 s', '6 min 40 s', '3 h 05 min')
    """
    whole = round(seconds)
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    return f"{whole // 60} min {whole % 60:02} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60:02} min"


def _every(epochs: Sequence[EpochRecord]) -> int:
    """How many epochs lie between two that are shown, so that those that were evaluated are among them."""
    apart = next((row.epoch for row in epochs if row.scores), 1)
    least = len(epochs) / (MOST_ROWS - 3)
    return next((k for k in STEPS_BETWEEN if k >= least and k % apart == 0), apart * int(1 + least / apart))


def _fitting(columns: Sequence[Column], rows: Sequence[Row]) -> Sequence[Column]:
    """The columns, of which a terminal shows no more than fit."""

    def width(column: Column) -> int:
        cells = [str(row.get(column.key) or "") for row in rows]
        return max(map(len, (*column.header.split("\n"), *cells))) + 2 if any(cells) else 0

    room = WIDTH + 1 - sum(map(width, columns))
    for key in metrics.FEWEST_FIRST:
        if room < 0:
            room += sum(width(column) for column in columns if column.key == key)
            columns = [column._replace(terminal=False) if column.key == key else column for column in columns]
    return columns


def write(folder: Path, stated: Stated, epochs: Sequence[EpochRecord], again: str) -> Path:
    """Write curves.png and .svg and report.html into the run's folder, each whole or not at all; the page's path.

    `again` is the command that does the same once more. Raises: ResourceError.
    """
    from topfive.report.figures import canvas
    from topfive.report.figures import training as training_figures
    from topfive.report.pages import training as trained

    chosen, top = marked(epochs), best(epochs)
    recipe, images = recipe_and_source(stated)
    try:
        with written_aside(folder) as aside:
            if epochs:
                canvas.save(training_figures.training(epochs, marked=chosen), aside / "curves.png")
            trained.render(
                aside / "report.html",
                epochs,
                chosen,
                top.epoch if top else None,
                name=stated.name,
                answer=f"{answer(stated, epochs, '–')}.",
                protocol=_protocol(stated),
                recipe=recipe,
                classes=[
                    f"{name} ({words})" if words != name else name
                    for name, words in zip(images.classes, images.words or images.classes)
                ],
                made=_provenance(stated, epochs, again),
                facts={"From": images.where, "Split": images.split, "Processes": str(stated.world)},
            )
    except OSError as error:
        raise ResourceError(f"the page in {folder} cannot be written: {error.strerror}") from error
    return folder / "report.html"


def _provenance(stated: Stated, epochs: Sequence[EpochRecord], command: str) -> Provenance:
    recipe, images = recipe_and_source(stated)
    last = next((row.scores for row in reversed(epochs) if row.scores), None)
    return Provenance(
        source=f"{images.name}: {images.train:,} training and {images.val:,} validation images",
        classes=len(images.classes),
        fingerprint=images.fingerprint,
        decoding=stated.decoding,
        recipe=recipe.name,
        seed=str(recipe.seed),
        machine=msgspec.convert(stated.machine, MachineRecord),
        versions=stated.versions,
        made=stated.made.replace("T", " "),
        command=command,
        notes=(
            *images.notes,
            *([f"validation images: {unread(last)}"] if last and last.unreadable else []),
            *(f"epoch {row.epoch}: {row.note}" for row in epochs if row.note),
        ),
    )


def _protocol(stated: Stated) -> str:
    return f"1-crop {stated.size}x{stated.size}"


def _machine(stated: Stated) -> str:
    """`2 cores`, `NVIDIA H100 PCIe`, `4 processes, each on ...`."""
    machine, world = stated.machine, stated.world
    one = f"{machine.get('cores')} cores" if machine.get("device") == "cpu" else shown(str(machine.get("processor")))
    return one if world == 1 else f"{one}, {world} processes"


def _ordinal(number: int) -> str:
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th") if number % 100 not in (11, 12, 13) else "th"
    return f"{number}{ending}"
