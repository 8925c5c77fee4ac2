"""`topfive predict`: the likeliest classes of images."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from topfive.commands.models import Running, examine
from topfive.console import STANDARD_INPUT, bar, say, write
from topfive.errors import DataError, UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from topfive.data.decoding import Unreadable
    from topfive.data.unlabelled import UnlabelledImage
    from topfive.engine.inference.models import About, Model
    from topfive.report.tables import Section

    Shares = Sequence[NDArray[np.float32]]

PATH = 34  # letters of a path that a table has room for
Guesses = Mapping[str, str | float | None]  # `likeliest` of an image, and its name


def predict(
    model: str,
    /,
    *images: str,
    top: int = 5,
    protocol: str | None = None,
    classes: str | None = None,
    heatmap: str | None = None,
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
    heatmap
        A new folder for one PNG per image, named after it, that shows where the network found its answer (Grad-CAM),
        on the view of the model's own protocol.
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
    maps = _Maps(heatmap, images) if heatmap is not None else None
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
            row = {"image": found[i].name, **likeliest(shares, about, top)}
            rows.append(row if maps is None else {**row, "heatmap": maps.drawn(opened, found[i], shares)})
            tick("predicting", i + 1, len(found))
    if judge.engine:
        turned = f"EXIF orientation {'applied' if about.upright else 'ignored'}"
        say(f"{judge.described}; {turned}; {machine}; {judge.engine.said}", running.quiet)
    write(running.format, rows, {"protocol": judge.described, "model": about.network.name}, [_table(rows, about, top)])
    if rows and all(row["unreadable"] for row in rows):
        raise DataError(f"none of the {len(rows)} images can be read: {rows[0]['unreadable']}")


class _Maps:
    """The folder of heatmaps, and the names in it. Raises: UsageError for a folder that holds the user's files."""

    def __init__(self, folder: str, images: Sequence[str]) -> None:
        from topfive.data.outputs import holds_results, mark

        self.folder, self.names = Path(folder), set[str]()
        place = Path(os.path.realpath(folder))
        inside = next((one for one in images if Path(one).is_dir() and place.is_relative_to(os.path.realpath(one))), "")
        if inside:
            raise UsageError(f"--heatmap {folder} lies inside {inside!r}, which is only read: name another folder")
        if self.folder.exists() and (not self.folder.is_dir() or self._taken(holds_results)):
            raise UsageError(f"--heatmap {folder} is there already, and not ours: name a new folder")
        mark(self.folder)

    def _taken(self, ours: Callable[[Collection[str]], bool]) -> bool:
        names = os.listdir(self.folder)
        return bool(names) and not ours(names)

    def drawn(self, model: Model, image: UnlabelledImage, shares: Shares | Unreadable) -> str | None:
        """Write the heatmap of an image's likeliest class; its path, none for an image that cannot be read."""
        from topfive.data.decoding import Unreadable
        from topfive.data.files import fail, write_whole
        from topfive.engine.inference.heatmap import heatmap
        from topfive.report.figures.heatmap import overlaid, png

        if isinstance(shares, Unreadable):
            return None
        try:
            shown = heatmap(model, image.image(model.about.upright), int(shares[0].argmax()))
        except Unreadable:  # gone since it was predicted
            return None
        path = self.folder / f"{self._name(Path(image.name).stem)}.png"
        data = png(overlaid(*shown))
        try:
            write_whole(path, data)
        except OSError as error:
            fail(error, path, len(data))
        return str(path)

    def _name(self, stem: str) -> str:
        """The image's own, with a number behind it where another image has the same."""
        numbered = (stem if n == 1 else f"{stem}-{n}" for n in count(1))
        name = next(name for name in numbered if name.casefold() not in self.names)
        self.names.add(name.casefold())
        return name


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
                "heatmap": str(row.get("heatmap") or ""),
            }
        )
    columns = [
        Column("image", "image", right=False),
        Column("answer", "answer (%)", right=False, wraps=True),
        Column("then", "then (%)", right=False, wraps=True),
    ]
    if rows and "heatmap" in rows[0]:
        columns.append(Column("heatmap", "heatmap", right=False, wraps=True))
    return Section("", (), lines, columns)
