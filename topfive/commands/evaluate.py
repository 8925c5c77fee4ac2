"""The commands that use trained networks: evaluate and predict."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

from topfive.console import STANDARD_INPUT, bar, command_line, say, version, write
from topfive.errors import DataError, UsageError
from topfive.report.tables import Format

if TYPE_CHECKING:
    from pathlib import Path

    from topfive.data.sources import Source
    from topfive.engine.inference.prediction import Evaluation
    from topfive.results.predictions import Predictions

Precision = Literal["auto", "float32"]
THUMBNAILS = 24  # images of the worst mistakes on a page
PATH = 34  # letters of a path that a table has room for


def evaluate(
    *models: str,
    protocol: str | None = None,
    network: str | None = None,
    classes: str | None = None,
    shares: tuple[float, ...] = (),
    left_out: bool = False,
    blacklist: str | None = None,
    predictions: str | None = None,
    out: str | None = None,
    report: str | None = None,
    batch: int = 32,
    device: str = "auto",
    precision: Precision = "auto",
    quiet: bool = False,
    format: Format = "text",
) -> None:
    """Top-1 and Top-5 of trained networks on validation images, under a protocol, with everything that went wrong.

    A source with train/ and val/ is scored on val/, a run's own source on the images that the run was validated on; a
    folder without train/ is scored whole. Several models are compared image by image, and judged together as an
    ensemble. torchrun starts it on many devices; each image is scored once.

    Parameters
    ----------
    models
        Run folders or files of weights, then a source as compare --data takes it; a single run folder is evaluated on
        its own source.
    protocol
        1-crop, 10-crop, 144-crop, dense, ... (docs/protocols.md), or ladder for all of them with what each costs; by
        default how each model's own library looks at an image.
    network
        The network of weights that do not say it.
    classes
        The classes of weights that do not name them: a text file with a class a line in the order of the outputs, or
        the source's, as torchvision's ImageFolder and Keras sort folders (imagefolder: 1, 10, 2) or as they count
        (natural: 1, 2, 10).
    shares
        How much each model counts in the ensemble, one number a model; by default they count the same.
    left_out
        Leave unreadable images out; by default they count as errors.
    blacklist
        A file of numbers of ILSVRC2012's validation images that are left out of the evaluation, one a line.
    predictions
        Keep the probabilities of every image in this CSV file (with several models one file each).
    out
        The folder for the page; by default runs/evaluate-MODEL-SOURCE, beside the source where that would lie inside.
    report
        Where the page goes; by default report.html in --out.
    batch
        Views in a step of the network.
    device
        auto, cpu, cuda, cuda:1, ... or mps, an Apple GPU; auto is cuda where there is one, else cpu.
    precision
        float32 for exact arithmetic; by default the fastest at hand that agrees with it, and how far it agrees is said.
    quiet
        Only the table.
    format
        text, markdown, csv or json.
    """
    names, where = _models_and_source(models)
    examine(names)  # why: before torch is imported, so that a bad file is refused at once
    from pathlib import Path

    from msgspec import to_builtins

    from topfive.data.imagenet import without
    from topfive.data.outputs import mark, placed
    from topfive.engine.benchmark.measuring import device_of, overlooked, this_machine
    from topfive.engine.inference.models import open_model, with_names
    from topfive.engine.inference.prediction import ensemble, fits, judge, together
    from topfive.engine.training import processes
    from topfive.recipes import protocols
    from topfive.report import evaluation as reporting
    from topfive.results import predictions as seen
    from topfive.results import scored
    from topfive.results.progress import counting

    if batch < 1:
        raise UsageError(f"--batch {batch} is too small")
    ladder = protocol == "ladder"
    keys = protocols.LADDER if ladder else (protocol,) if protocol else ()
    chosen = [protocols.get(key) for key in keys]
    unused, device = overlooked(device), device_of(device)
    group = processes.joined(device)
    quiet = quiet or not group.is_main
    try:
        machine, given = this_machine(device), list(dict.fromkeys(names))
        opened = [open_model(name, network) for name in given]
        together(opened, shares)  # why: what cannot be is said now, and not after everything was evaluated
        with bar(quiet) as progress:
            trained = [
                scored.Trained(name, one.about.fingerprint, one.about.source) for name, one in zip(given, opened)
            ]
            source, warnings = scored.to_score(trained, where, counting(progress, "MB", 1e6))
        if blacklist:
            source = without(source, Path(blacklist))
        opened = with_names(opened, classes, source)
        together(opened, shares)
        folder = placed(source, f"runs/evaluate-{opened[0].name}-{source.name}", out)
        page = placed(source, "", report, "--report") if report else folder / "report.html"
        kept = placed(source, "", predictions, "--predictions") if predictions else None
        notes = [*warnings, *(note for model in opened for note in model.notes)]
        for line in (
            scored.said(source),
            *source.notes,
            f"{machine}, {group.world} processes" * (group.world > 1) or str(machine),
            *unused,
        ):
            say(line, quiet)
        unfit = {model.where: [one for one in chosen if not fits(model, one)] for model in opened}
        for model in opened:
            if unfit[model.where] and not ladder:
                raise UsageError(
                    f"{model.network.name} cannot be made to take images of every size, as {protocol} needs"
                )
            said = ", ".join(one.key for one in unfit[model.where])
            if said:
                notes.append(f"left out, since {model.network.name} does not take images of every size: {said}")
        wanted = {
            model.where: [one for one in chosen if one not in unfit[model.where]] or [model.about.protocol]
            for model in opened
        }
        with bar(quiet) as progress:
            tick, total = counting(progress, "images"), -(-len(source.val) // group.world)
            judged = judge(
                opened, wanted, source, machine, group, batch, precision, lambda done: tick("evaluating", done, total)
            )
    finally:
        processes.left()
    if not group.is_main:
        return
    first = judged[0]
    if len(first.predictions.unreadable) == len(source.val):
        raise DataError(f"none of the {len(source.val)} validation images of {source.name} can be read")
    each = [one for one in judged if one.protocol == first.protocol] if ladder else list(judged)
    if len(opened) > 1:
        judged.append(ensemble(each, shares))
    if kept:  # first of all, since everything else can be had from them
        for path, one in zip(_paths(kept, judged), judged):
            seen.write(path, one.predictions)
            say(str(path), quiet)
    rows = [
        reporting.row(
            one.model.name,
            one.model.network.name,
            one.protocol.key,
            one.predictions,
            left_out,
            one.cost.views,
            one.cost.ops,
            one.cost.ms,
            one.engine,
        )
        for one in judged
    ]
    sentences = [reporting.compared(one.predictions, other.predictions) for one, other in pairwise(each)]
    sentences += dict.fromkeys([*notes, *(note for one in judged for note in one.notes)])
    sentences += reporting.remarks(rows, len(source.classes))
    if not report:
        mark(folder)
    words = dict(zip(first.predictions.classes, first.model.about.names))
    reporting.write(
        page,
        rows,
        sentences,
        ladder,
        first.predictions,
        words,
        _thumbnails(source, first.predictions),
        [
            ("Source", f"{source} (fingerprint {source.fingerprint})"),
            ("Models", "; ".join(f"{m.name}: {m.network.name}, {m.where}, sha256 {m.sha256[:16]}" for m in opened)),
            (
                "Protocols",
                "; ".join(dict.fromkeys(f"{one.predictions.protocol}: {one.protocol.source}" for one in judged)),
            ),
            ("Arithmetic", "; ".join(dict.fromkeys(one.engine for one in judged))),
            ("Machine", str(machine)),
            ("Processes", str(group.world)),
            ("Unreadable", "left out" if left_out else "counted as errors"),
            ("Versions", f"topfive {version()}, torch {machine.torch_version}"),
        ],
        shlex.join(command_line()),
    )
    for line in dict.fromkeys(one.engine for one in judged):
        say(line, quiet)
    write(
        format,
        [to_builtins(row) for row in rows],
        {"sentences": sentences},
        reporting.sections(rows, sentences, first.predictions, words),
    )
    say(str(page), quiet)


def examine(models: Sequence[str]) -> None:
    """Look at files of weights without running them. Raises: RefusedError naming the first that is none."""
    from pathlib import Path

    from topfive.weights.inspection import examined

    for path in map(Path, models):
        if path.is_file():
            examined(path)


def _models_and_source(arguments: tuple[str, ...]) -> tuple[list[str], str | None]:
    """The models, and the source: the last one of several arguments, or none for that of a single run."""
    from topfive.results.scored import run_of

    if not arguments:
        raise UsageError("name a run folder or a file of weights, then a source: topfive evaluate MODEL SOURCE")
    if len(arguments) > 1:
        return list(arguments[:-1]), arguments[-1]
    if not run_of(arguments[0]):
        raise UsageError(f"name the images too: topfive evaluate {shlex.quote(arguments[0])} SOURCE")
    return [arguments[0]], None


def _paths(path: Path, judged: Sequence[Evaluation]) -> list[Path]:
    """Where the probabilities go: `path`, or with several models or protocols a file each beside it."""
    if len(judged) == 1:
        return [path]
    each = [f"{one.model.name}-{one.protocol.key}".replace(":", "-").replace("/", "-") for one in judged]
    return [path.with_name(f"{path.stem}-{name}{path.suffix}") for name in each]


def _thumbnails(source: Source, predictions: Predictions) -> dict[str, bytes]:
    """The images of the worst mistakes, small, as JPEG."""
    from io import BytesIO

    from topfive.results.predictions import worst

    found = {}
    for mistake in worst(predictions, THUMBNAILS):
        try:
            image = source.read(source.val[mistake.image])
        except DataError:  # gone since it was evaluated
            continue
        image.thumbnail((160, 160))
        data = BytesIO()
        image.save(data, "JPEG", quality=80)
        found[predictions.images[mistake.image]] = data.getvalue()
    return found


def predict(
    model: str,
    /,
    *images: str,
    top: int = 5,
    protocol: str | None = None,
    network: str | None = None,
    classes: str | None = None,
    batch: int = 32,
    device: str = "auto",
    precision: Precision = "auto",
    quiet: bool = False,
    format: Format = "text",
) -> None:
    """The likeliest classes of images, with their probabilities; a file that cannot be read is a row with its reason.

    Images are looked at as in the model's own training and evaluation, down to EXIF orientation.

    Parameters
    ----------
    model
        A run folder or a file of weights.
    images
        Files, folders, archives, or - for names on standard input, one a line.
    top
        How many classes.
    protocol
        Another way to look at an image: 10-crop, ... (docs/protocols.md).
    network
        The network of weights that do not say it.
    classes
        The classes of weights that do not name them: a text file with a class a line in the order of the outputs.
    batch
        Views in a step of the network.
    device
        auto, cpu, cuda, cuda:1, ... or mps, an Apple GPU; auto is cuda where there is one, else cpu.
    precision
        float32 for exact arithmetic; by default the fastest at hand that agrees with it, and how far it agrees is said.
    quiet
        Only the rows.
    format
        text, markdown, csv or json.
    """
    examine([model])
    from topfive.data.check.findings import shown as printable
    from topfive.data.unlabelled import images as named
    from topfive.engine.benchmark.measuring import overlooked, this_machine
    from topfive.engine.inference.models import open_model, with_names
    from topfive.engine.inference.prediction import Predictor, likeliest, predicted
    from topfive.recipes import protocols
    from topfive.report.evaluation import short_names
    from topfive.report.tables import Column, Section
    from topfive.results.progress import counting

    if not images:
        raise UsageError("name images, a folder of them, or - for names on standard input")
    if top < 1 or batch < 1:
        raise UsageError("--top and --batch are at least 1")
    machine = this_machine(device)
    (opened,) = with_names([open_model(model, network)], classes)
    for note in (*opened.notes, *overlooked(device)):
        say(note, quiet)
    places = [
        name
        for place in images
        for name in (sys.stdin.read().splitlines() if place == STANDARD_INPUT else [place])
        if name
    ]
    found, left_out = named(places)
    for note in left_out:
        say(note, quiet)
    about = opened.about
    short = short_names(about.classes or about.names, dict(zip(about.classes, about.names)))
    words = dict(zip(about.names, map(printable, short)))
    judge = Predictor(opened, protocols.get(protocol) if protocol else about.protocol, machine, batch, precision)
    rows: list[dict[str, Any]] = []
    with bar(quiet) as progress:
        tick = counting(progress, "images")
        for i, shares in predicted([judge], len(found), lambda i, upright: found[i].image(upright)):
            rows.append({"image": found[i].name, **likeliest(shares, about, top)})
            tick("predicting", i + 1, len(found))
    if judge.engine:
        turned = f"EXIF orientation {'applied' if about.upright else 'ignored'}"
        say(f"{judge.described}; {turned}; {machine}; {judge.engine.said}", quiet)
    shown = [
        {
            "image": printable(row["image"] if len(row["image"]) <= PATH else f"...{row['image'][-PATH:]}"),
            "answer": f"cannot be read: {row['unreadable']}" if row["unreadable"] else _guess(row, 1, words),
            "then": ", ".join(
                _guess(row, n, words) for n in range(2, min(top, len(about.names)) + 1) if not row["unreadable"]
            ),
        }
        for row in rows
    ]
    columns = [
        Column("image", "image", right=False),
        Column("answer", "answer (%)", right=False, wraps=True),
        Column("then", "then (%)", right=False, wraps=True),
    ]
    write(format, rows, {"protocol": judge.described, "model": about.network.name}, [Section("", (), shown, columns)])
    if rows and all(row["unreadable"] for row in rows):
        raise DataError(f"none of the {len(rows)} images can be read: {rows[0]['unreadable']}")


def _guess(row: Mapping[str, Any], n: int, words: Mapping[str, str]) -> str:
    """`tench 98.1`."""
    return f"{words[row[f'class_{n}']]} {100 * row[f'probability_{n}']:.1f}"
