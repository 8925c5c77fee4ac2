"""`topfive evaluate`: trained networks on validation images, under a protocol."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from cyclopts import Parameter

from topfive.commands.models import Running, examine
from topfive.console import bar, command_line, say, version, write
from topfive.errors import DataError, UsageError

if TYPE_CHECKING:
    from topfive.data.sources import Source
    from topfive.engine.benchmark.machine import Machine
    from topfive.engine.inference.models import Model
    from topfive.engine.inference.prediction import Evaluation
    from topfive.engine.training.processes import Group
    from topfive.recipes.protocols import Protocol
    from topfive.results.predictions import Predictions

THUMBNAILS = 24  # images of the worst mistakes on a page
SIDE = 160  # pixels of each


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Evaluating(Running):
    """What is evaluated, and where it is written.

    Parameters
    ----------
    protocol
        1-crop, 10-crop, 144-crop, dense, ... (docs/protocols.md), or ladder for all of them with their costs; by
        default that of each model's own training or library.
    classes
        The class names, if the weights do not have them: a text file with one per line, in the order of the outputs; or
        the source's classes, sorted as by torchvision's ImageFolder and Keras (imagefolder: 1, 10, 2) or in natural
        order (natural: 1, 2, 10).
    shares
        The weights of the models in the ensemble, one number for each; equal by default.
    left_out
        Leave unreadable images out; by default they count as errors.
    blacklist
        A file of numbers of ILSVRC2012's validation images that are left out of the evaluation, one a line.
    predictions
        Write the probabilities of every image to this CSV file (with several models, one file each).
    out
        The folder of the page; by default runs/evaluate-MODEL-SOURCE, or next to the source if that would be inside it.
    report
        The path of the page; by default report.html in --out.
    """

    protocol: str | None = None
    classes: str | None = None
    shares: tuple[float, ...] = ()
    left_out: bool = False
    blacklist: str | None = None
    predictions: str | None = None
    out: str | None = None
    report: str | None = None

    @property
    def ladder(self) -> bool:
        return self.protocol == "ladder"


@dataclass(frozen=True)
class Evaluated:
    """Models and images, what came of them, and where it goes."""

    opened: Sequence[Model]
    source: Source
    machine: Machine
    group: Group
    judged: list[Evaluation]  # an ensemble comes last
    notes: Sequence[str]
    folder: Path
    page: Path
    kept: Path | None


def evaluate(*models: str, options: Evaluating = Evaluating()) -> None:
    """Measure Top-1 and Top-5 of trained networks under a protocol, and write a page with their mistakes.

    A source with train/ and val/ is evaluated on val/, a run's own source on the images that the run was validated on,
    and a folder without train/ on all its images. Several models are compared image by image, and also evaluated as an
    ensemble. Start it with torchrun to use several devices; each image is still evaluated once.

    Parameters
    ----------
    models
        Run folders or files of weights, then a source as compare --data takes it; a single run folder is evaluated on
        its own source.
    """
    names, where = _models_and_source(models)
    examine(names)  # why: before torch is imported, so that a bad file is refused at once
    from topfive.engine.benchmark.machine import device_of
    from topfive.engine.training import processes
    from topfive.recipes import protocols

    if options.batch < 1:
        raise UsageError(f"--batch {options.batch} is too small")
    keys = protocols.LADDER if options.ladder else (options.protocol,) if options.protocol else ()
    chosen = [protocols.get(key) for key in keys]
    group = processes.joined(device_of(options.device))
    try:
        done = _judged(list(dict.fromkeys(names)), where, chosen, options, group)
    finally:
        processes.left()
    if group.is_main:
        _write(done, options)


def _judged(
    names: Sequence[str], where: str | None, chosen: Sequence[Protocol], options: Evaluating, group: Group
) -> Evaluated:
    """Every model under its protocols, after all that can be refused was looked at."""
    from topfive.data.imagenet import without
    from topfive.data.outputs import placed
    from topfive.engine.benchmark.machine import device_of, overlooked, this_machine
    from topfive.engine.inference.models import open_model, with_names
    from topfive.engine.inference.prediction import judge, together
    from topfive.results import scored
    from topfive.results.progress import counting

    quiet = options.quiet or not group.is_main
    machine = this_machine(device_of(options.device))
    opened: Sequence[Model] = [open_model(name, options.network) for name in names]
    together(opened, options.shares)  # why: what cannot be is said now, and not after everything was evaluated
    with bar(quiet) as progress:
        trained = [scored.Trained(name, one.about.fingerprint, one.about.source) for name, one in zip(names, opened)]
        source, warnings = scored.to_score(trained, where, counting(progress, "MB", 1e6))
    if options.blacklist:
        source = without(source, Path(options.blacklist))
    opened = with_names(opened, options.classes, source)
    together(opened, options.shares)
    folder = placed(source, f"runs/evaluate-{opened[0].name}-{source.name}", options.out)
    page = placed(source, "", options.report, "--report") if options.report else folder / "report.html"
    kept = placed(source, "", options.predictions, "--predictions") if options.predictions else None
    notes = [*warnings, *(note for model in opened for note in model.notes)]
    where_it_runs = f"{machine}, {group.world} processes" if group.world > 1 else str(machine)
    for line in (scored.said(source), *source.notes, where_it_runs, *overlooked(options.device)):
        say(line, quiet)
    wanted, unfit = _protocols(opened, chosen, options)
    with bar(quiet) as progress:
        tick, total = counting(progress, "images"), -(-len(source.val) // group.world)

        def step(done: int) -> None:
            tick("evaluating", done, total)

        judged = judge(opened, wanted, source, machine, group, options.batch, options.precision, step)
    return Evaluated(opened, source, machine, group, judged, [*notes, *unfit], folder, page, kept)


def _protocols(
    opened: Sequence[Model], chosen: Sequence[Protocol], options: Evaluating
) -> tuple[dict[str, list[Protocol]], list[str]]:
    """The protocols of each model, by where it lies, and what a ladder leaves out. Raises: UsageError."""
    from topfive.engine.inference.prediction import fits

    wanted, notes = {}, []
    for model in opened:
        unfit = [one for one in chosen if not fits(model, one)]
        if unfit and not options.ladder:
            raise UsageError(f"{model.network.name} does not accept images of every size, as {options.protocol} needs")
        if unfit:
            left = ", ".join(one.key for one in unfit)
            notes.append(f"left out, since {model.network.name} does not take images of every size: {left}")
        wanted[model.where] = [one for one in chosen if one not in unfit] or [model.about.protocol]
    return wanted, notes


def _write(done: Evaluated, options: Evaluating) -> None:
    """The predictions first, since everything else can be had from them; then the page and the table."""
    from msgspec import to_builtins

    from topfive.data.outputs import mark
    from topfive.engine.inference.prediction import ensemble
    from topfive.report import evaluation as reporting
    from topfive.results import predictions as seen

    source, judged, first = done.source, done.judged, done.judged[0]
    if len(first.predictions.unreadable) == len(source.val):
        raise DataError(f"none of the {len(source.val)} validation images of {source.name} can be read")
    each = [one for one in judged if one.protocol == first.protocol] if options.ladder else list(judged)
    if len(done.opened) > 1:
        judged.append(ensemble(each, options.shares))
    for path, one in zip(_paths(done.kept, judged) if done.kept else (), judged):
        seen.write(path, one.predictions)
        say(str(path), options.quiet)
    rows = [
        reporting.row(one.model.name, one.model.network.name, one.protocol.key, one.predictions, options.left_out,
                      one.cost.views, one.cost.ops, one.cost.ms, one.engine)
        for one in judged
    ]  # fmt: skip
    sentences = [reporting.compared(one.predictions, other.predictions) for one, other in pairwise(each)]
    sentences += dict.fromkeys([*done.notes, *(note for one in judged for note in one.notes)])
    sentences += reporting.remarks(rows, len(source.classes))
    if not options.report:
        mark(done.folder)
    words = dict(zip(first.predictions.classes, first.model.about.names))
    thumbnails = _thumbnails(source, first.model, first.predictions)
    meta = _meta(done, options.left_out)
    reporting.write(
        done.page,
        rows,
        sentences,
        options.ladder,
        first.predictions,
        words,
        thumbnails,
        meta,
        shlex.join(command_line()),
    )
    for line in dict.fromkeys(one.engine for one in judged):
        say(line, options.quiet)
    sections = reporting.sections(rows, sentences, first.predictions, words)
    write(options.format, [to_builtins(row) for row in rows], {"sentences": sentences}, sections)
    say(str(done.page), options.quiet)


def _meta(done: Evaluated, left_out: bool) -> list[tuple[str, str]]:
    """How it was evaluated, for the foot of the page."""
    judged = done.judged
    protocols = dict.fromkeys(f"{one.predictions.protocol}: {one.protocol.source}" for one in judged)
    return [
        ("Source", f"{done.source} (fingerprint {done.source.fingerprint})"),
        ("Models", "; ".join(f"{m.name}: {m.network.name}, {m.where}, sha256 {m.sha256[:16]}" for m in done.opened)),
        ("Protocols", "; ".join(protocols)),
        ("Arithmetic", "; ".join(dict.fromkeys(one.engine for one in judged))),
        ("Machine", str(done.machine)),
        ("Processes", str(done.group.world)),
        ("Unreadable", "left out" if left_out else "counted as errors"),
        ("Versions", f"topfive {version()}, torch {done.machine.torch_version}"),
    ]


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


def _thumbnails(source: Source, model: Model, predictions: Predictions) -> dict[str, tuple[bytes, bytes]]:
    """The images of the worst mistakes, small, as JPEG; and where in each the answer was found."""
    from topfive.engine.inference.heatmap import heatmap
    from topfive.report.figures.heatmap import jpeg, overlaid
    from topfive.results.predictions import worst

    found = {}
    for mistake in worst(predictions, THUMBNAILS):
        try:
            image = source.read(source.val[mistake.image], model.about.upright)
        except DataError:  # gone since it was evaluated
            continue
        where = overlaid(*heatmap(model, image, mistake.answer))
        found[predictions.images[mistake.image]] = jpeg(image, SIDE), jpeg(where, SIDE)
    return found
