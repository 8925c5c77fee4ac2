"""What one training came to, as one HTML file: the answer, the curves, every epoch, the recipe, how it was made."""

from collections.abc import Callable, Container, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from topfive.data.check.phrases import shown
from topfive.report.figures import training as training_figures
from topfive.report.pages.page import Cell, Column, Row, accuracy, both, facts, number, publish
from topfive.report.tables import clock, scaled

TALL = 24  # rows, from where on a table scrolls within itself


def render(
    path: Path | str,
    *,
    answer: str,
    name: str,
    rows: Sequence[Row],
    marked: Container[int],
    best: int | None,
    protocol: str,
    fields: Sequence[Row],
    differs: Sequence[str],
    classes: Sequence[str],
    meta: Mapping[str, Any],
) -> Path:
    """Write the page and return its path.

    `rows` are flat, an epoch each (see `report.training.epoch_rows`), `fields` those of `recipes.plan.field_rows`. The
    points of the `marked` epochs tell their row. `meta` is what `facts` reads, and where, split and processes besides.
    """
    columns = _columns(rows)
    spoken = {
        f"point-{row['epoch']}": _spoken(row, columns) for row in rows if row["epoch"] in marked and row["images"]
    }
    draw = partial(training_figures.training, rows, title="", marked=marked)
    told = {key: value for key, value in meta.items() if key != "made"}
    told |= {"made": str(meta["made"]).replace("T", " ")}
    return publish(
        path,
        "run.html.j2",
        [shown(name)],
        name=name,
        answer=answer,
        eyebrow=" · ".join(["Trained", shown(str(meta["source"]).partition(":")[0]), told["made"]]),
        finding=training_figures.learnt(rows) if rows else "",
        caption=_caption(rows, protocol),
        curves=both("curves", draw, "Top-1, loss and learning rate after every epoch", spoken) if rows else None,
        columns=columns,
        rows=[(row["epoch"], [column.cell(row) for column in columns]) for row in rows],
        best=best,
        tall=TALL,
        recipe=meta["recipe"],
        fields=[(row["field"], _value(row["value"]), row["source"]) for row in fields],
        differs=differs,
        classes=classes,
        facts=_facts(name, protocol, told),
        command=str(meta["command"]),
        notes=meta["notes"],
    )


def _facts(name: str, protocol: str, meta: Mapping[str, Any]) -> list[tuple[str, str]]:
    """How it was made: what every page says, with what a training adds where it belongs."""
    added = {
        "Images": [("From", meta["where"]), ("Split", meta["split"]), ("Tested as", protocol)],
        "Machine": [("Processes", meta["processes"])],
    }
    said: list[tuple[str, str]] = [("Network", name)]
    for key, value in facts("measured", meta):
        said += [(key, value), *((more, str(told)) for more, told in added.get(key, ()))]
    return said


def _spoken(row: Row, columns: Sequence[Column]) -> str:
    parts = [f"{column.name} {column.cell(row).text} {column.unit}".strip() for column in columns if column.tip]
    return f"epoch {row['epoch']}: {', '.join(parts)}"


def _columns(rows: Sequence[Row]) -> list[Column]:
    heads = [key for key in (rows[0] if rows else ()) if key.startswith("auxiliary_loss_")]
    columns = [
        Column("validation Top-1", "%", _tested(accuracy("top1"))),
        Column("validation Top-5", "%", _tested(accuracy("top5"))),
        Column("Top-1 in training", "%", accuracy("train_top1")),
        Column("Top-5 in training", "%", accuracy("train_top5"), tip=False),
        Column("Loss", "", _fixed("loss", "{:.3f}".format)),
        *(Column(f"Auxiliary loss {n}", "", _fixed(key, "{:.3f}".format)) for n, key in enumerate(heads, 1)),
        Column("Learning rate", "", _fixed("lr", "{:.3g}".format)),
        Column("Side", "pixels", _fixed("side", str)),
        Column("Rate", "images/s", number("images_per_second")),
        Column("Waiting", "%", _fixed("data_wait", scaled(0.01, 1)), tip=False),
        Column("Gradient, first", "norm", number("first_gradient"), tip=False),
        Column("Gradient, last", "norm", number("last_gradient"), tip=False),
        Column("Memory", "MB", _fixed("memory_bytes", scaled(1e6, 0)), tip=False),
        Column("Time", "h:m:s", _fixed("seconds", clock)),
    ]
    constant = len({row["side"] for row in rows}) == 1
    return [column for column in columns if not (constant and column.name == "Side")]


def _tested(cell: Callable[[Row], Cell]) -> Callable[[Row], Cell]:
    """Nothing at all in epochs without an evaluation; n/a is where there is no such accuracy."""
    return lambda row: cell(row) if row["images"] else Cell("")


def _fixed(key: str, show: Callable[[Any], str]) -> Callable[[Row], Cell]:
    return lambda row: Cell(show(row[key]), "", float(row[key]))


def _value(value: Any) -> str:
    """A recipe's value as `--set` takes it."""
    if isinstance(value, float):
        return f"{value:.6g}"
    return value if isinstance(value, str) else "none" if value is None else msgspec.json.encode(value).decode()


def _caption(rows: Sequence[Row], protocol: str) -> str:
    evaluated = [row for row in rows if row["images"]]
    val = f"Validation: {evaluated[-1]['images']:,} images, {protocol}. " if evaluated else ""
    sides = "Upright lines: the side of the training images changes. " if len({row["side"] for row in rows}) > 1 else ""
    return (
        f"{val}In training: the images as they were cropped, mirrored and mixed, which is another, often a"
        f" harder test. Losses are means over an epoch, the learning rate is that of its last step. {sides}"
    ).strip()
