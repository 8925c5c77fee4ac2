"""What a training came to: the table of one run, the table of many, and a run's figure and page."""

import os
import re
from collections.abc import Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any

import msgspec

from topfive.data.check.phrases import counted, shown
from topfive.data.files import written_aside
from topfive.errors import RefusedError, ResourceError, TopfiveError
from topfive.recipes.plan import field_rows, steps_of_epoch
from topfive.recipes.recipe import Recipe
from topfive.report.tables import WIDTH, Column, Row, Section, clock, scaled
from topfive.results.records import EpochRecord, Stated
from topfive.results.runs import find_runs, load_rows, load_run
from topfive.results.statistics import interval
from topfive.system import locked

MOST_ROWS = 30  # of one run in its table
STEPS_BETWEEN = (2, 5, 10, 20, 25, 50, 100, 200, 250, 500, 1000)  # epochs, of which one is shown
FEWEST_FIRST = ("memory_bytes", "gradients", "data_wait", "side")  # what a narrow table leaves out

RUN_KEYS = ("name", "source", "recipe", "size", "epochs_done", "epochs", "images", "best_accuracy", "best_low",
            "best_high", "best_epoch", "last_accuracy", "top5_accuracy", "seconds", "step", "steps")  # fmt: skip


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


# One run


def epoch_rows(rows: Sequence[EpochRecord]) -> list[dict[str, Any]]:
    """The rows for machines: flat, fractions and bytes; None where nothing was evaluated, or Top-5 says nothing."""
    flat = []
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
                "first_gradient": _number(row.first_gradient),
                "last_gradient": _number(row.last_gradient),
                "memory_bytes": row.memory_bytes,
                "seconds": row.seconds,
                "note": row.note,
            }
        )
    return flat


def run_section(stated: Stated, rows: Sequence[EpochRecord]) -> Section:
    """The table of one run, an epoch a row; of a long run some, which is said."""
    epochs = epoch_rows(rows)
    said = [f"{answer(stated, rows)}."]
    if not epochs:
        return Section("", said)
    evaluated = [row for row in epochs if row["images"]]
    if evaluated:
        n = evaluated[-1]["images"]
        bad = f" ({unread(evaluated)})" if evaluated[-1]["unreadable"] else ""
        said.append(
            f"Validation: {_protocol(stated)}, n = {n:,}{bad}, with Wilson's 95 % interval. Training: as cropped and "
            "mixed."
        )
    picked = marked(epochs)
    columns, left_out = _fitting(_epoch_columns(epochs), [_readable(row) for row in epochs if row["epoch"] in picked])
    points = [f"epoch {row['epoch']}: {shown(row['note'])}" for row in epochs if row["note"]]
    best = _best(epochs)
    if len(picked) < len(epochs):
        also = f", the best ({best['epoch']})" if best else ""
        every = _every(epochs)
        points.append(f"{len(epochs)} epochs, shown: the first, the last{also} and every {_ordinal(every)}.")
    elif best and best is not evaluated[-1]:
        points.append(f"The most validation images were right after epoch {best['epoch']}.")
    points.append("Time is from the start, evaluations included; gradient: mean norms, first and last learnt kernels.")
    if left_out:
        peak = max(row["memory_bytes"] for row in epochs)
        points.append(
            f"At most {peak / 1e6:,.0f} MB in use. --format markdown or csv, and the page, have every column."
        )
    return Section("", said, [_readable(row) for row in epochs if row["epoch"] in picked], columns, points=points)


def answer(stated: Stated, rows: Sequence[EpochRecord], dash: str = "-") -> str:
    """What the training came to, in one sentence without its full stop."""
    recipe, images = _read(stated)
    name, source = shown(stated.name), shown(images.name)
    epochs = epoch_rows(rows)
    if not epochs:
        return f"{name} on {source} was stopped in its first epoch: nothing was measured"
    evaluated = [row for row in epochs if row["images"]]
    last = evaluated[-1] if evaluated else epochs[-1]
    done = (
        counted(last["epoch"], "epoch")
        if last["epoch"] == recipe.epochs
        else f"{last['epoch']} of {recipe.epochs} epochs"
    )
    after = f"on {source} after {done}, {duration(last['seconds'])} on {_machine(stated)}"
    if not evaluated:
        reached = f"{100 * last['train_top1_accuracy']:.1f} % Top-1 in training"
        return f"{name} reaches {reached} {after}, and was not tested yet"
    between = f"{100 * last['top1_low']:.1f}{dash}{100 * last['top1_high']:.1f}"
    reached = f"{100 * last['top1_accuracy']:.1f} % Top-1 ({between}, {_protocol(stated)}, n = {last['images']:,})"
    best = _best(epochs)
    more = ""
    if best and best is not last:
        more = f"; the best was {100 * best['top1_accuracy']:.1f} % after epoch {best['epoch']}"
    return f"{name} reaches {reached} {after}{more}"


def unread(evaluated: Sequence[Mapping[str, Any]]) -> str:
    """How many of the validation images cannot be read, and what becomes of them."""
    return f"{evaluated[-1]['unreadable']:,} of them cannot be read and count as errors"


def marked(epochs: Sequence[Mapping[str, Any]]) -> set[int]:
    """The epochs that stand for all: every one of a short run; of a long one the first, last, best and every k-th."""
    if len(epochs) <= MOST_ROWS:
        return {row["epoch"] for row in epochs}
    every, best = _every(epochs), _best(epochs)
    chosen = {row["epoch"] for row in epochs if row["epoch"] % every == 0} | {epochs[0]["epoch"], epochs[-1]["epoch"]}
    return chosen | {best["epoch"]} if best else chosen


def duration(seconds: float) -> str:
    """`8.1 s`, `6 min 40 s`, `3 h 05 min`.

    >>> duration(8.13), duration(400), duration(11_100)
    ('8.1 s', '6 min 40 s', '3 h 05 min')
    """
    whole = round(seconds)
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    return f"{whole // 60} min {whole % 60:02} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60:02} min"


def _every(epochs: Sequence[Mapping[str, Any]]) -> int:
    """How many epochs lie between two that are shown, so that those that were evaluated are among them."""
    scored = [row["epoch"] for row in epochs if row["images"]]
    apart = scored[0] if scored else 1
    least = len(epochs) / (MOST_ROWS - 3)
    return next((k for k in STEPS_BETWEEN if k >= least and k % apart == 0), apart * int(1 + least / apart))


def _best(epochs: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The first of the epochs after which the most validation images were right."""
    scored = [row for row in epochs if row["images"]]
    return max(scored, key=lambda row: float(row["top1_accuracy"])) if scored else None


def _readable(row: Mapping[str, Any]) -> dict[str, Any]:
    """A flat row with what people read in one column together."""
    heads = [value for key, value in row.items() if key.startswith("auxiliary_loss_")]
    first, last = row["first_gradient"], row["last_gradient"]
    trained = row["train_top1_accuracy"], row["train_top5_accuracy"]
    tested = row["images"] is not None
    return {
        **row,
        "trained": "/".join(f"{100 * value:.1f}" for value in trained if value is not None),
        "auxiliary": "/".join(f"{loss:.2f}" for loss in heads),
        "interval": f"{100 * row['top1_low']:.1f}-{100 * row['top1_high']:.1f}" if tested else None,
        "top5": None if not tested else "n/a" if row["top5_accuracy"] is None else f"{100 * row['top5_accuracy']:.1f}",
        "gradients": f"{_short(first)}/{_short(last)}",
    }


def _epoch_columns(epochs: Sequence[Mapping[str, Any]]) -> list[Column]:
    percent, top5 = scaled(0.01, 1), any(row["train_top5_accuracy"] is not None for row in epochs)
    short = max(row["seconds"] for row in epochs) < 3599
    columns = [
        Column("epoch", "epoch"),
        Column("side", "side\n(px)"),
        Column("loss", "loss", "{:.3f}".format),
        Column("auxiliary", "auxil-\niary"),
        Column("trained", "training\ntop-1/5\n(%)" if top5 else "training\ntop-1\n(%)"),
        Column("top1_accuracy", "top-1\n(%)", percent),
        Column("interval", "95 %\ninterval"),
        Column("top5", "top-5\n(%)"),
        Column("lr", "lr", _rate),
        Column("images_per_second", "rate\n(/s)", scaled(1, 0)),
        Column("data_wait", "wait\n(%)", percent),
        Column("gradients", "gradient\n1st/last"),
        Column("memory_bytes", "peak\n(MB)", scaled(1e6, 0)),
        Column("seconds", "time\n(m:s)", lambda value: clock(value)[2:])
        if short
        else Column("seconds", "time\n(h:m:s)", clock),
    ]
    constant = len({row["side"] for row in epochs}) == 1
    return [column for column in columns if not (constant and column.key == "side")]


def _fitting(columns: list[Column], rows: Sequence[Row]) -> tuple[list[Column], bool]:
    """The columns of which a terminal shows no more than fit, and whether any is left out."""

    def width(column: Column) -> int:
        cells = ["" if row.get(column.key) is None else column.show(row[column.key]) for row in rows]
        return max(map(len, (*column.header.split("\n"), *cells))) + 2 if any(cells) else 0

    room = WIDTH + 1 - sum(map(width, columns))
    for key in FEWEST_FIRST:
        if room < 0:
            room += sum(width(column) for column in columns if column.key == key)
            columns = [column._replace(terminal=False) if column.key == key else column for column in columns]
    return columns, any(not column.terminal for column in columns)


# Many runs


def runs_rows(root: Path) -> list[dict[str, Any]]:
    """A row a run at or below `root`, the best first and those that cannot be read last; nothing is written or locked.

    `state` is finished, running, interrupted, unfinished (which of the two cannot be told), damaged or unreadable;
    `step` is that of the newest checkpoint, whose bytes are not verified here.
    """
    rows = [_run_row(root, folder) for folder in find_runs(root)]
    # why: those without an accuracy behind the others, and what cannot be read behind all
    return sorted(rows, key=lambda row: (row["why"] != "", -(row["best_accuracy"] or -1.0), row["folder"]))


def runs_section(rows: Sequence[Mapping[str, Any]]) -> Section:
    """The same for people."""
    told = [
        {
            **row,
            "run": shown(str(row["run"])),
            "what": ", ".join(shown(str(row[key])) for key in ("name", "source", "recipe") if row[key]),
            "epochs": None if row["epochs"] is None else f"{row['epochs_done']}/{row['epochs']}",
            "top5": _fraction(row["top5_accuracy"]) if row["images"] else None,
            "state": _state(row),
        }
        for row in rows
    ]
    columns = (
        Column("run", "run", right=False, wraps=True),
        Column("what", "network, source,\nrecipe", right=False, wraps=True),
        Column("epochs", "epochs"),
        Column("size", "side\n(px)"),
        Column("best_accuracy", "best\ntop-1\n(%)", scaled(0.01, 1)),
        Column("last_accuracy", "last\ntop-1\n(%)", scaled(0.01, 1)),
        Column("top5", "its\ntop-5\n(%)"),
        Column("images", "n", "{:,}".format),
        Column("seconds", "time\n(h:m:s)", clock),
        Column("state", "state", right=False, wraps=True),
    )
    points = [shown(row["why"] if row["folder"] in row["why"] else f"{row['run']}: {row['why']}") for row in rows]
    points = [why for why, row in zip(points, rows) if row["why"]]
    if any(row["images"] for row in rows):
        said = "Accuracies: 1-crop, n validation images, after the best and the last epoch; compare within one source."
        points.insert(0, said)
    return Section("", (), told, columns, points=points)


def _run_row(root: Path, folder: Path) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(RUN_KEYS)
    row = {"run": os.path.relpath(folder, root), "folder": str(folder), **row, "state": "", "why": ""}
    try:
        stated = load_run(folder)
        recipe, images = _read(stated)
        steps = recipe.epochs * steps_of_epoch(images.train, recipe.batch)
        row |= {"name": stated.name, "source": images.name, "recipe": recipe.name, "size": stated.size}
        row |= {"epochs_done": 0, "epochs": recipe.epochs, "steps": steps}
        epochs = epoch_rows(load_rows(folder))
        row["step"] = _newest_step(folder)
    except TopfiveError as error:
        return {**row, "state": "damaged" if isinstance(error, RefusedError) else "unreadable", "why": str(error)}
    if epochs:
        row |= {"epochs_done": epochs[-1]["epoch"], "seconds": epochs[-1]["seconds"]}
    if best := _best(epochs):
        row |= {f"best_{key}": best[f"top1_{key}"] for key in ("accuracy", "low", "high")}
        row |= {"best_epoch": best["epoch"], "images": best["images"], "top5_accuracy": best["top5_accuracy"]}
        row["last_accuracy"] = [one["top1_accuracy"] for one in epochs if one["images"]][-1]
    if row["epochs_done"] >= recipe.epochs and row["step"] >= steps:
        row["state"] = "finished"
    else:
        row["state"] = {True: "running", False: "interrupted", None: "unfinished"}[locked(folder / "lock")]
    return row


def _newest_step(folder: Path) -> int:
    """The step of the newest whole state that was saved, 0 where none was. Raises: ResourceError."""
    try:
        names = os.listdir(folder / "checkpoints")
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise ResourceError(f"{folder / 'checkpoints'} cannot be read: {error.strerror}") from None
    return max((int(found[1]) for found in (re.fullmatch(r"step-(\d+)", name) for name in names) if found), default=0)


def _state(row: Mapping[str, Any]) -> str:
    saved = f"step {row['step']:,} of {row['steps']:,}" if row["step"] else "nothing"
    match row["state"]:
        case "running" | "unfinished":
            return f"{row['state']}, {saved} saved"
        case "interrupted":
            return f"interrupted, {saved} saved" if not row["step"] else f"interrupted at {saved}"
        case state:
            return str(state)


# Figure and page


def write(folder: Path, stated: Stated, rows: Sequence[EpochRecord], again: str) -> Path:
    """Write curves.png and .svg and report.html into the run's folder, each whole or not at all; the page's path.

    `again` is the command that does the same once more. Raises: ResourceError.
    """
    from topfive.report.figures import canvas
    from topfive.report.figures import training as training_figures
    from topfive.report.pages import training as trained

    recipe, images = _read(stated)
    epochs = epoch_rows(rows)
    tested = [row for row in epochs if row["images"]]
    best = _best(epochs)
    try:
        with written_aside(folder) as aside:
            if epochs:
                canvas.save(training_figures.training(epochs, marked=marked(epochs)), aside / "curves.png")
            trained.render(
                aside / "report.html",
                answer=f"{answer(stated, rows, '–')}.",
                name=stated.name,
                rows=epochs,
                marked=marked(epochs),
                best=best["epoch"] if best else None,
                protocol=_protocol(stated),
                fields=field_rows(recipe),
                differs=recipe.differs,
                classes=[
                    f"{name} ({words})" if words != name else name
                    for name, words in zip(images.classes, images.words or images.classes)
                ],
                meta={
                    "source": f"{images.name}: {images.train:,} training and {images.val:,} validation images",
                    "where": images.where,
                    "split": images.split,
                    "classes": len(images.classes),
                    "fingerprint": images.fingerprint,
                    "decoding": stated.decoding,
                    "recipe": recipe.name,
                    "seed": recipe.seed,
                    "machine": stated.machine,
                    "processes": stated.world,
                    "versions": stated.versions,
                    "made": stated.made,
                    "command": again,
                    "notes": [
                        *images.notes,
                        *(f"validation images: {unread(tested)}" for _ in tested[-1:] if tested[-1]["unreadable"]),
                        *(f"epoch {row['epoch']}: {row['note']}" for row in epochs if row["note"]),
                    ],
                },
            )
    except OSError as error:
        raise ResourceError(f"the page in {folder} cannot be written: {error.strerror}") from error
    return folder / "report.html"


# Words and numbers


def _read(stated: Stated) -> tuple[Recipe, RunSource]:
    """The recipe and the source of a run. Raises: RefusedError."""
    try:
        return msgspec.convert(stated.recipe, Recipe), msgspec.convert(stated.source, RunSource)
    except msgspec.ValidationError as error:
        raise RefusedError(f"the run is of another topfive: {error}") from None


def _protocol(stated: Stated) -> str:
    return f"1-crop {stated.size}x{stated.size}"


def _machine(stated: Stated) -> str:
    """`2 cores`, `NVIDIA H100 PCIe`, `4 processes, each on ...`."""
    machine, world = stated.machine, stated.world
    one = f"{machine.get('cores')} cores" if machine.get("device") == "cpu" else shown(str(machine.get("processor")))
    return one if world == 1 else f"{one}, {world} processes"


def _number(value: float | None) -> float | None:
    return value if value is not None and isfinite(value) else None


def _short(value: float | None) -> str:
    return (
        "n/a" if value is None else f"{value:.2f}" if value < 100 else f"{value:.0f}" if value < 1e6 else f"{value:.0e}"
    )


def _rate(value: float) -> str:
    """A learning rate in few letters: 0.1, 0.0338, 0.0015, 6.9e-8."""
    return f"{value:.3g}" if value >= 0.01 else f"{value:.2g}".replace("e-0", "e-")


def _fraction(value: float | None) -> str:
    return "n/a" if value is None else f"{100 * value:.1f}"


def _ordinal(number: int) -> str:
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th") if number % 100 not in (11, 12, 13) else "th"
    return f"{number}{ending}"
