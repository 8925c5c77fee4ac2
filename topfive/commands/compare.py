"""The main job as a command."""

from __future__ import annotations

import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING

from topfive.console import MUCH_WAITING, bar, command_line, say, version, write
from topfive.errors import Interrupted, UsageError
from topfive.report.tables import Format

if TYPE_CHECKING:
    from topfive.engine.comparison.comparison import Comparison
    from topfive.results.records import TrialRecord


def compare(
    *networks: str,
    data: str | None = None,
    published: bool = False,
    report: str | None = None,
    out: str | None = None,
    minutes: float | None = None,
    epochs: int | None = None,
    seeds: int = 3,
    seed: int = 0,
    start: str = "scratch",
    weights: str | None = None,
    recipe: str = "auto",
    size: str | None = None,
    batch: int | None = None,
    workers: int | None = None,
    device: str = "auto",
    blacklist: str | None = None,
    max_bad: str | None = None,
    quiet: bool = False,
    format: Format = "text",
) -> None:
    """Compare networks: accuracy on your images against operations, parameters, memory and latency here.

    Every network is trained for the same time with several seeds, tested on validation images and timed on this
    machine; the answer says which networks cannot be told from the best. What is finished stays in --out, and so does
    each network of ours as a run: --out/trials/NAME-seed0 is a model for predict and evaluate. The same command
    continues where it was interrupted, within a training too; more networks or seeds reuse what is there.
    A network that fails has a row with the reason and costs the others nothing; the exit code is the first failure's.

    Parameters
    ----------
    networks
        Names from 'topfive networks', .json files, or 'package.module:factory' for a torch module of your own; by
        default one network of each idea.
    data
        A source: class folders, train/ and val/, a tar or zip of them, ILSVRC2012 as downloaded, CIFAR's files, shards,
        a pack, or the name of a fetched set; by default scikit-learn's digits.
    published
        No training: the papers' errors beside computed costs, and the winners of ILSVRC.
    report
        Where the page goes; by default report.html in --out.
    out
        The folder for rows, figures and page; by default runs/compare-SOURCE, beside the source where that would lie
        inside.
    minutes
        What the whole comparison may take: every training gets the same share of it, with as many epochs as fit, its
        learning rate at zero at the end. 10 by default. More networks or seeds later take more, at the same share.
    epochs
        In place of minutes: how often each network sees the training images.
    seeds
        How many trainings of each network, with seeds from --seed on.
    seed
        The first seed: of initial weights, order and augmentation.
    start
        What the networks begin with: scratch, published (torchvision's weights, fetched where they are not there yet),
        or a run or file of weights; several as scratch,published, each of which gives a row.
    weights
        The folder of published weights; by default topfive/weights in the user's data.
    recipe
        What each network is trained by: auto, what is best for its kind in a short time; paper, that of its own paper;
        or a name, as train --recipe takes it.
    size
        The side of the square that the networks see, in pixels, or several as 32,64,96, each of which gives a row; by
        default 32, 64 or 128, after the images.
    batch
        Images in a step; by default the recipe's.
    workers
        Read the images anew in every epoch with so many processes; by default they are kept in memory if they fit.
    device
        auto, cpu, cuda, cuda:1, ... or mps, an Apple GPU; auto is cuda where there is one, else cpu.
    blacklist
        A file of numbers of ILSVRC2012's validation images that are left out of the evaluation, one a line.
    max_bad
        How many images that cannot be read are skipped: a number, or a share such as 5%; by default 20 or 1 %,
        whichever is more.
    quiet
        Only the table.
    format
        text, markdown, csv or json.
    """
    from topfive.data.outputs import mark, placed
    from topfive.report import comparison as reporting

    command, began = command_line(), time.perf_counter()
    if published:
        if data or networks:
            raise UsageError("--published is about all networks and trains none: leave out names and --data")
        literature = reporting.published_rows()
        folder = Path(out or "runs/published")
        page = Path(report) if report else folder / "report.html"
        mark(folder)
        source_of = {"source": "papers.toml, from the papers", "command": shlex.join(command)}
        reporting.write_published(folder, page, literature, {**source_of, "versions": {"topfive": version()}})
        write(format, reporting.flat(literature), {"winners": reporting.history_rows()}, reporting.published_sections())
        say(str(page), quiet)
        return

    from topfive.data.imagenet import without
    from topfive.data.opening import open_source
    from topfive.engine.benchmark.machine import overlooked, this_machine
    from topfive.engine.comparison.candidates import DEFAULT, recipe_of
    from topfive.engine.comparison.comparison import Comparison
    from topfive.engine.comparison.contract import MINUTES, Contract
    from topfive.engine.comparison.folder import machine_of
    from topfive.engine.comparison.trials import Place
    from topfive.engine.training.sizes import default_size
    from topfive.engine.training.unreadable import most_unreadable
    from topfive.results.progress import counting

    least = {"batch": 2, "workers": 0, "seed": 0}
    numbers = {"epochs": epochs, "batch": batch, "seeds": seeds, "seed": seed, "workers": workers}
    for name, value in numbers.items():
        if value is not None and value < least.get(name, 1):
            raise UsageError(f"--{name} {value} is too small")
    if minutes is not None and (epochs is not None or not minutes > 0):
        raise UsageError(
            "--minutes and --epochs cannot both be kept to" if epochs else f"--minutes {minutes:g} is none"
        )
    sizes = _sizes(size)
    recipe_of(recipe, None)  # why: a name that is none is said now
    machine = this_machine(device)
    most_unreadable(max_bad, 0)
    with bar(quiet) as progress:
        source = open_source(data, counting(progress, "MB", 1e6))
    if blacklist:
        source = without(source, Path(blacklist))
    folder = placed(source, f"runs/compare-{source.name}", out)
    machine = machine_of(folder, machine)
    contract = Contract(
        networks or DEFAULT,
        sizes or (default_size(source),),
        tuple(range(seed, seed + seeds)),
        MINUTES if minutes is None and epochs is None else minutes,
        epochs,
        batch,
        recipe,
        tuple(dict.fromkeys(start.split(","))),
        weights,
        optional=not networks,
    )
    page = placed(source, "", report, "--report") if report else folder / "report.html"
    comparison = Comparison(source, contract, machine, Place(folder, command, workers, max_bad, began))
    say(str(source), quiet)
    for line in (*source.notes, str(machine), *overlooked(device)):
        say(line, quiet)
    try:
        with bar(quiet) as tick:
            for made in comparison.run(tick):
                say(made if isinstance(made, str) else _told(made, comparison.name_of(made)), quiet)
    except (KeyboardInterrupt, Interrupted) as stop:
        count = sum(map(len, comparison.trials().values()))
        kept = "one training is" if count == 1 else f"{count} trainings are"
        kind = type(stop) if isinstance(stop, Interrupted) else Interrupted
        raise kind(f"stopped; {kept} kept in {folder}; continue with: {shlex.join(command)}") from None
    finally:
        comparison.close()
        _finish(comparison, folder, page, format, quiet)
    if error := comparison.error():
        raise error from error.__cause__


def _sizes(size: str | None) -> tuple[int, ...]:
    """What --size says. Raises: UsageError."""
    parts = size.split(",") if size else []
    if not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        raise UsageError(f"--size {size} is none: a number of pixels, or several as 32,64")
    return tuple(dict.fromkeys(map(int, parts)))


def _told(trial: TrialRecord, name: str) -> str:
    """What a finished trial came to, in a line."""
    scores = trial.scores
    waited = f", {trial.data_wait:.0%} of it waiting for images" if trial.data_wait > MUCH_WAITING else ""
    return (
        f"{name}, seed {trial.seed}: {scores.top1_accuracy:.1%} Top-1 (n = {scores.images:,}) after {trial.epochs:.3g} "
        f"epochs in {trial.training_seconds:.0f} s{waited}"
    )


def _finish(comparison: Comparison, folder: Path, page: Path, format: Format, quiet: bool) -> None:
    """Write figures and page, print the table."""
    from topfive.report import comparison as reporting

    for line in comparison.images.skipped():
        say(line, False)
    for bad in comparison.folder.unreadable() if comparison.images.datas else ():
        say(f"skipped, unreadable: {bad['path']!r}: {bad['why']}", False)
    if rows := comparison.table():
        meta = comparison.meta()
        reporting.write_measured(folder, page, rows, meta)
        write(format, reporting.flat(rows), {"meta": meta}, [reporting.measured_section(rows)])
        if use := comparison.use():
            say(f"each trained network is a model: {use}", quiet)
        say(str(page), quiet)
