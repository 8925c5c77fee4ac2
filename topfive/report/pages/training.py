"""What one training came to, as one HTML file: the answer, the curves, every epoch, the recipe, how it was made."""

from collections.abc import Container, Mapping, Sequence
from functools import partial
from pathlib import Path

import msgspec

from topfive.data.check.phrases import shown
from topfive.recipes.plan import field_rows
from topfive.recipes.recipe import Recipe
from topfive.report import metrics
from topfive.report.figures import training as training_figures
from topfive.report.pages.page import both, publish
from topfive.report.pages.page import facts as facts_of
from topfive.results.provenance import Provenance
from topfive.results.records import EpochRecord

TALL = 24  # rows, from where on a table scrolls within itself


def render(
    path: Path | str,
    epochs: Sequence[EpochRecord],
    marked: Container[int],
    best: int | None,
    *,
    name: str,
    answer: str,
    protocol: str,
    recipe: Recipe,
    classes: Sequence[str],
    made: Provenance,
    facts: Mapping[str, str],
) -> Path:
    """Write the page and return its path.

    The points of the `marked` epochs tell their row. `facts` are From, Split and Processes.
    """
    columns = metrics.on_page(metrics.training(epochs))
    spoken = {
        f"point-{row.epoch}": metrics.spoken(f"epoch {row.epoch}", columns, row)
        for row in epochs
        if row.epoch in marked and row.scores
    }
    draw = partial(training_figures.training, epochs, title="", marked=marked)
    return publish(
        path,
        "run.html.j2",
        [shown(name)],
        name=name,
        answer=answer,
        eyebrow=" · ".join(["Trained", shown(made.source.partition(":")[0]), made.made]),
        finding=training_figures.learnt(epochs) if epochs else "",
        caption=_caption(epochs, protocol),
        curves=both("curves", draw, "Top-1, loss and learning rate after every epoch", spoken) if epochs else None,
        columns=columns,
        rows=[(row.epoch, [column.cell(row) for column in columns]) for row in epochs],
        best=best,
        tall=TALL,
        recipe=recipe.name,
        fields=[(row["field"], _value(row["value"]), row["source"]) for row in field_rows(recipe)],
        differs=recipe.differs,
        classes=classes,
        facts=_facts(name, protocol, made, facts),
        command=made.command,
        notes=made.notes,
    )


def _facts(name: str, protocol: str, made: Provenance, facts: Mapping[str, str]) -> list[tuple[str, str]]:
    """How it was made: what every page says, with what a training adds where it belongs."""
    added = {
        "Images": [("From", facts["From"]), ("Split", facts["Split"]), ("Tested as", protocol)],
        "Machine": [("Processes", facts["Processes"])],
    }
    said: list[tuple[str, str]] = [("Network", name)]
    for key, value in facts_of(made):
        said += [(key, value), *added.get(key, ())]
    return said


def _value(value: object) -> str:
    """A recipe's value as `--set` takes it."""
    if isinstance(value, float):
        return f"{value:.6g}"
    return value if isinstance(value, str) else "none" if value is None else msgspec.json.encode(value).decode()


def _caption(rows: Sequence[EpochRecord], protocol: str) -> str:
    evaluated = [row.scores for row in rows if row.scores]
    val = f"Validation: {evaluated[-1].images:,} images, {protocol}. " if evaluated else ""
    sides = "Upright lines: the side of the training images changes. " if len({row.side for row in rows}) > 1 else ""
    return (
        f"{val}In training: the images as they were cropped, mirrored and mixed, which is another, often a"
        f" harder test. Losses are means over an epoch, the learning rate is that of its last step. {sides}"
    ).strip()
