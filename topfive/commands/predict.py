"""`topfive predict`: the likeliest classes of images."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from topfive.commands.models import Running, examine
from topfive.console import STANDARD_INPUT, bar, say, write
from topfive.errors import DataError, UsageError

if TYPE_CHECKING:
    from topfive.engine.inference.models import About
    from topfive.report.tables import Section

PATH = 34  # letters of a path that a table has room for
Guesses = Mapping[str, str | float | None]  # `likeliest` of an image, and its name


def predict(
    model: str,
    /,
    *images: str,
    top: int = 5,
    protocol: str | None = None,
    classes: str | None = None,
    running: Running = Running(),
) -> None:
    """Predict the most likely classes of images, with their probabilities; for unreadable files, show the reason.

    Images are preprocessed as in the model's own training and evaluation, including EXIF orientation.

    Parameters
    ----------
    model
        A run folder or a file of weights.
    images
        Files, folders, archives, or - to read names from standard input, one per line.
    top
        The number of classes to show.
    protocol
        The evaluation protocol: 10-crop, ... (docs/protocols.md); by default that of the model's own training or
        library.
    classes
        The class names, if the weights do not have them: a text file with one per line, in the order of the outputs.
    """
    examine([model])
    from topfive.data.unlabelled import images as named
    from topfive.engine.benchmark.machine import overlooked, this_machine
    from topfive.engine.inference.models import open_model, with_names
    from topfive.engine.inference.prediction import Predictor, likeliest, predicted
    from topfive.recipes import protocols
    from topfive.results.progress import counting

    if not images:
        raise UsageError("name images, a folder of them, or - for names on standard input")
    if top < 1 or running.batch < 1:
        raise UsageError("--top and --batch are at least 1")
    machine = this_machine(running.device)
    (opened,) = with_names([open_model(model, running.network)], classes)
    found, left_out = named(_places(images))
    for note in (*opened.notes, *overlooked(running.device), *left_out):
        say(note, running.quiet)
    about = opened.about
    way = protocols.get(protocol) if protocol else about.protocol
    judge = Predictor(opened, way, machine, running.batch, running.precision)
    rows: list[Guesses] = []
    with bar(running.quiet) as progress:
        tick = counting(progress, "images")
        for i, shares in predicted([judge], len(found), lambda i, upright: found[i].image(upright)):
            rows.append({"image": found[i].name, **likeliest(shares, about, top)})
            tick("predicting", i + 1, len(found))
    if judge.engine:
        turned = f"EXIF orientation {'applied' if about.upright else 'ignored'}"
        say(f"{judge.described}; {turned}; {machine}; {judge.engine.said}", running.quiet)
    write(running.format, rows, {"protocol": judge.described, "model": about.network.name}, [_table(rows, about, top)])
    if rows and all(row["unreadable"] for row in rows):
        raise DataError(f"none of the {len(rows)} images can be read: {rows[0]['unreadable']}")


def _places(images: Iterable[str]) -> list[str]:
    """The names given, those on standard input in the place of -."""
    each = (sys.stdin.read().splitlines() if place == STANDARD_INPUT else [place] for place in images)
    return [name for names in each for name in names if name]


def _table(rows: Sequence[Guesses], about: About, top: int) -> Section:
    """What a terminal shows: the likeliest class beside the image, then the others in one column."""
    from topfive.data.check.phrases import shown as printable
    from topfive.report.evaluation import short_names
    from topfive.report.tables import Column, Section

    short = short_names(about.classes or about.names, dict(zip(about.classes, about.names)))
    words = dict(zip(about.names, map(printable, short)))

    def guess(row: Guesses, n: int) -> str:
        """`tench 98.1`."""
        return f"{words[str(row[f'class_{n}'])]} {100 * float(row[f'probability_{n}'] or 0):.1f}"

    lines: list[Mapping[str, str]] = []
    for row in rows:
        name, others = str(row["image"]), range(2, min(top, len(about.names)) + 1)
        lines.append(
            {
                "image": printable(name if len(name) <= PATH else f"...{name[-PATH:]}"),
                "answer": f"cannot be read: {row['unreadable']}" if row["unreadable"] else guess(row, 1),
                "then": ", ".join(guess(row, n) for n in others if not row["unreadable"]),
            }
        )
    columns = [
        Column("image", "image", right=False),
        Column("answer", "answer (%)", right=False, wraps=True),
        Column("then", "then (%)", right=False, wraps=True),
    ]
    return Section("", (), lines, columns)
