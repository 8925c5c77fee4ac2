"""The commands: one typed function each; its docstring is its help. Whatever is heavy is imported inside.

Exit codes: 0 done, 1 a bug of ours, 2 usage, 3 the pictures, 4 a model or checkpoint refused, 5 memory, disk or
permission, 6 diverged, 130 and 143 interrupted.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cyclopts import App, CycloptsError, Parameter, UnusedCliTokensError

from topfive.errors import Interrupted, ResourceError, TopfiveError, UsageError, did_you_mean
from topfive.tables import WIDTH, Format

if TYPE_CHECKING:
    from topfive.data.sources import Source
    from topfive.lab.training import Epoch
    from topfive.layers import Network
    from topfive.progress import Progress
    from topfive.recipes import Recipe
    from topfive.tables import Row, Section


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("topfive")
    except PackageNotFoundError:  # run from a checkout that was never installed
        return "not installed"


MUCH_WAITING = 0.2  # of the training time, from where on a sentence says so

_arguments: list[str] = []  # of the command that runs, for the page that it writes

app = App(
    name="topfive",
    help="Which convolutional network, at what cost, on my pictures and my machine?",
    help_epilogue="Every error is one sentence on stderr; --debug adds the traceback.",
    version=_version,
    default_parameter=Parameter(negative=()),
    print_error=False,
    exit_on_error=False,
    suppress_keyboard_interrupt=False,
    result_action="return_value",
)


@app.command
def networks(glob: str = "*", /, *, format: Format = "text") -> None:
    """List the networks with their costs and their published errors.

    Parameters
    ----------
    glob
        Only the names that match, as in a shell: 'resnet-*'.
    format
        text, markdown, csv or json; errors are fractions in csv and json.
    """
    from fnmatch import fnmatchcase

    from topfive import sheet
    from topfive.networks import ALIASES, NETWORKS

    wanted = ALIASES.get(glob.lower(), glob.lower())
    names = [name for name in NETWORKS if fnmatchcase(name, wanted)]
    if not names:
        raise UsageError(
            f"no network is called {glob!r}{did_you_mean(glob, NETWORKS) or '; topfive networks lists all'}"
        )
    rows = sheet.network_rows(names)
    _write(format, rows, {}, [sheet.networks_section(rows)])


@app.command
def show(
    network: str,
    /,
    *,
    input: str | None = None,
    classes: int | None = None,
    layers: bool = False,
    format: Format = "text",
) -> None:
    """Show one network: what every row of its table costs, and the paper's numbers beside ours.

    Parameters
    ----------
    network
        A name from 'topfive networks', or a .json file with a network of your own.
    input
        Another input, channels x height x width: 3x192x256.
    classes
        Another number of classes.
    layers
        A row for every layer instead of every row of the paper.
    format
        text, markdown, csv or json; csv has the rows alone.
    """
    from topfive import sheet
    from topfive.layers import with_classes

    found = _network(network)
    if classes is not None:
        found = with_classes(found, classes)
    page = sheet.of(found, _shape(input) if input else None)
    rows = sheet.cost_rows(page.costs.rows if layers else page.costs.stages)
    _write(format, rows, sheet.document(page), sheet.sections(page, layers))


@app.command
def compare(
    *networks: str,
    data: str | None = None,
    published: bool = False,
    report: str | None = None,
    out: str | None = None,
    size: int | None = None,
    epochs: int = 8,
    batch: int = 64,
    seed: int = 0,
    workers: int | None = None,
    blacklist: str | None = None,
    quiet: bool = False,
    format: Format = "text",
) -> None:
    """Compare networks: accuracy on your pictures against operations, parameters, memory and latency here.

    Every network is trained by the same short recipe, tested on held-out pictures and timed on this machine. Rows
    that are finished stay in --out; the same command goes on with the missing ones.

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
        The folder for rows, figures and page; by default runs/compare-SOURCE.
    size
        The side of the square that the networks see, in pixels; by default 32, 64 or 128, after the pictures.
    epochs
        How often each network sees the training pictures.
    batch
        Pictures in a step.
    seed
        Of initial weights, order and augmentation.
    workers
        Read the pictures anew in every epoch with so many processes; by default they are kept in memory if they fit.
    blacklist
        A file of numbers of ILSVRC2012's validation pictures that are left out of the evaluation, one a line.
    quiet
        Only the table.
    format
        text, markdown, csv or json.
    """
    from pathlib import Path

    from msgspec.structs import asdict

    from topfive import report as reporting

    command = shlex.join(["topfive", *_arguments])
    if published:
        if data or networks:
            raise UsageError("--published is about all networks and trains none: leave out names and --data")
        literature = reporting.published_rows()
        folder = Path(out or "runs/published")
        page = Path(report) if report else folder / "report.html"
        meta = {"source": "papers.toml, from the papers", "command": command, "versions": {"topfive": _version()}}
        reporting.write(folder, page, "published", literature, meta)
        _write(format, literature, {"winners": reporting.history_rows()}, reporting.published_sections())
        _say(str(page), quiet)
        return

    from topfive.data.imagenet import without
    from topfive.data.opening import open_source
    from topfive.lab.comparison import DEFAULT, Comparison, Setting, default_size
    from topfive.lab.measuring import this_machine
    from topfive.progress import counting

    least = {"batch": 2, "workers": 0}
    for name, value in (("epochs", epochs), ("batch", batch), ("size", size), ("workers", workers)):
        if value is not None and value < least.get(name, 1):
            raise UsageError(f"--{name} {value} is too small")
    with _bar(quiet) as progress:
        source, machine = open_source(data, counting(progress, "MB", 1e6)), this_machine()
    if blacklist:
        source = without(source, Path(blacklist))
    side = size or default_size(source)
    shared = (side, epochs, batch, seed, str(machine), workers)
    setting = Setting(source.name, source.fingerprint, source.classes, *shared)
    folder = Path(out or f"runs/compare-{source.name}")
    page = Path(report) if report else folder / "report.html"
    comparison = Comparison(source, networks or DEFAULT, setting, machine, folder)
    _say(str(source), quiet)
    for note in source.notes:
        _say(note, quiet)
    _say(str(machine), quiet)
    try:
        with _bar(quiet) as progress:
            for row in comparison.run(progress):
                _say(f"{row.name}: {row.top1_accuracy:.1%} Top-1 after {row.training_seconds:.0f} s", quiet)
                if row.waiting > MUCH_WAITING:
                    _say(
                        f"{row.name}: {row.waiting:.0%} of the training time was spent waiting for pictures; more "
                        "--workers, or topfive data pack, would help",
                        quiet,
                    )
    except KeyboardInterrupt:
        done, asked = len(comparison.rows()), len(comparison.subjects)
        raise Interrupted(f"stopped; {done} of {asked} rows are kept in {folder}; go on with: {command}") from None
    finally:
        for bad in comparison.unreadable() if comparison.decoded else ():
            _say(f"passed over, unreadable: {bad['path']!r}: {bad['why']}", False)
        made = [asdict(row) for row in comparison.rows()]
        if made:
            reporting.write(folder, page, "measured", made, comparison.meta(command))
            _write(format, made, {"meta": comparison.meta(command)}, [reporting.measured_section(made)])
            _say(str(page), quiet)


@app.command
def train(
    network: str,
    data: str | None = None,
    /,
    *,
    recipe: str | None = None,
    set: tuple[str, ...] = (),
    out: str | None = None,
    size: int | None = None,
    epochs: int | None = None,
    batch: int | None = None,
    seed: int | None = None,
    start: str | None = None,
    workers: int | None = None,
    save_every: float = 120.0,
    plan: bool = False,
    dry_run: bool = False,
    quiet: bool = False,
    format: Format = "text",
) -> None:
    """Train one network by a paper's recipe, or by one of ours, into a run folder that can be gone on with.

    The same command goes on where it was interrupted, bit for bit. torchrun starts it on many devices.

    Parameters
    ----------
    network
        A name from 'topfive networks', or a .json file with a network of your own.
    data
        Anything that compare --data takes; by default scikit-learn's digits.
    recipe
        quick, fast, finetune, alexnet, zfnet, vgg, googlenet, bn-inception, inception-v3, inception-v4, resnet,
        resnet-cifar or resnet-cifar-110; by default that of the network's own paper.
    set
        A field of the recipe, as often as you like: lr=0.02, optimizer.weight_decay=1e-4, schedule.at=[0.5,0.75].
    out
        The run folder; by default runs/NETWORK-SOURCE-RECIPE.
    size
        The side of the square that the network sees, in pixels; by default its own where the pictures fill it.
    epochs
        The same as --set epochs=.
    batch
        The same as --set batch=: pictures in a step, over all processes; the learning rate follows.
    seed
        The same as --set seed=.
    start
        A run folder or a model.safetensors to begin with; a classifier for other classes is fresh.
    workers
        Read the pictures anew in every epoch with so many processes; by default they are kept in memory if they fit.
    save_every
        Seconds between two saves of the whole state.
    plan
        Only print the schedule, the steps, the operations and the memory; with --out, draw it there.
    dry_run
        Two steps and one evaluation, in a folder that is removed again.
    quiet
        Only the table.
    format
        text, markdown, csv or json.
    """
    from topfive import recipes_of_papers
    from topfive.data.opening import open_source
    from topfive.lab.job import network_of
    from topfive.progress import counting
    from topfive.recipes import changed

    for name, number in (("epochs", epochs), ("batch", batch), ("seed", seed)):
        set = (*set, f"{name}={number}") if number is not None else set
    if (size is not None and size < 1) or (workers is not None and workers < 0):
        raise UsageError("--size and --workers cannot be below 1 and 0")
    with _bar(quiet) as progress:
        source = open_source(data, counting(progress, "MB", 1e6))
    value, side = network_of(network, source, size)
    chosen = recipe or ("finetune" if start else recipes_of_papers.default_for(value))
    rules = changed(recipes_of_papers.get(chosen, value), set)
    folder = out or f"runs/{value.name}-{source.name}-{rules.name}"
    command = ["topfive", *_arguments]
    if plan:
        _plan(value, source, rules, side, out, format)
        return
    _train(value, source, rules, side, folder, command, start, workers, save_every, dry_run, quiet, format)


@app.command
def resume(
    run: str, /, *, workers: int | None = None, save_every: float = 120.0, quiet: bool = False, format: Format = "text"
) -> None:
    """Go on with a run where it was interrupted, at the exact step.

    Parameters
    ----------
    run
        The folder that train made.
    workers
        Read the pictures anew in every epoch with so many processes; by default they are kept in memory if they fit.
    save_every
        Seconds between two saves of the whole state.
    quiet
        Only the table.
    format
        text, markdown, csv or json.
    """
    from pathlib import Path

    import msgspec

    from topfive.data.opening import open_source
    from topfive.layers import Network as Value
    from topfive.progress import counting
    from topfive.recipes import Recipe
    from topfive.runs import load_run

    stated = load_run(Path(run))
    try:
        network, recipe = msgspec.convert(stated.network, Value), msgspec.convert(stated.recipe, Recipe)
    except msgspec.ValidationError as error:
        raise UsageError(f"{run} is of another topfive: {error}") from None
    with _bar(quiet) as progress:
        source = open_source(str(stated.source["where"]), counting(progress, "MB", 1e6))
    _train(network, source, recipe, stated.size, run, stated.command, None, workers, save_every, False, quiet, format)


@app.command
def runs(folder: str = "runs", /, *, format: Format = "text") -> None:
    """List the runs in a folder, the best first.

    Parameters
    ----------
    folder
        Where to look, also below it.
    format
        text, markdown, csv or json.
    """
    from pathlib import Path

    from topfive import training_report

    rows = training_report.runs_rows(Path(folder))
    if not rows:
        raise UsageError(f"there is no run in {folder!r}")
    _write(format, rows, {}, [training_report.runs_section(rows)])


def _plan(network: Network, source: Source, recipe: Recipe, size: int, out: str | None, format: Format) -> None:
    """What a training would do, without any of it."""
    from pathlib import Path

    from topfive import figures
    from topfive.lab import towers
    from topfive.lab.job import Job
    from topfive.lab.measuring import this_machine
    from topfive.lab.processes import Group
    from topfive.recipes import field_rows, plan_points, plan_rows
    from topfive.tables import Column, Section, scaled

    job = Job(network, source, recipe, size, this_machine(), Group(), Path(out or "."))
    about, rows = job.plan(), plan_rows(recipe, len(source.train))
    said = [
        f"{recipe.name}: {about['steps']:,} steps, {about['training_ops'] / 1e15:,.3g} P-ops in training, about "
        f"{about['memory_bytes'] / 1e9:,.2g} GB of memory (an estimate, before anything ran)",
        *recipe.differs,
    ]
    columns = [
        Column("first_epoch", "first\nepoch"),
        Column("last_epoch", "last\nepoch"),
        Column("steps", "steps", "{:,}".format),
        Column("lr_from", "lr\nfrom", "{:.4g}".format),
        Column("lr_to", "lr\nto", "{:.4g}".format),
        Column("side", "side\n(share)", "{:.2g}".format),
        Column("how", "how", right=False, wraps=True),
    ]
    fields = field_rows(recipe)
    named = [Column(key, key, right=False, wraps=key != "field") for key in fields[0]]
    sections = [Section("Plan", said, rows, columns), Section("Recipe", (), fields, named)]
    try:
        devices = towers.table(job.network, (3, size, size), recipe.batch)
    except UsageError:  # only AlexNet and its like split into two towers
        devices = []
    if devices:
        shown = [
            Column("scheme", "scheme", right=False),
            Column("device", "device"),
            Column("batch", "batch"),
            Column("params", "params\n(M)", scaled(1e6, 2)),
            Column("weight_bytes", "weights\n(MB)", scaled(1e6, 1)),
            Column("activation_bytes", "activations\n(MB)", scaled(1e6, 1)),
            Column("training_bytes", "training\n(MB)", scaled(1e6, 1)),
            Column("received_bytes_per_step", "received\n(MB/step)", scaled(1e6, 1)),
        ]
        sections.append(Section("On two devices (docs/distributed.md)", (), devices, shown))
    _write(format, rows, {"plan": about, "recipe": fields, "devices": devices}, sections)
    if out:
        folder = Path(out)
        folder.mkdir(parents=True, exist_ok=True)
        for path in figures.save(figures.schedule(plan_points(recipe, len(source.train))), folder / "plan.png"):
            _say(str(path), False)


def _train(
    network: Network,
    source: Source,
    recipe: Recipe,
    size: int,
    out: str,
    command: list[str],
    start: str | None,
    workers: int | None,
    save_every: float,
    dry_run: bool,
    quiet: bool,
    format: Format,
) -> None:
    from pathlib import Path
    from tempfile import TemporaryDirectory
    from time import perf_counter

    import msgspec

    from topfive import training_report
    from topfive.lab import processes
    from topfive.lab.job import Job
    from topfive.lab.measuring import this_machine
    from topfive.progress import Progress

    group = processes.joined()
    quiet = quiet or not group.first
    with TemporaryDirectory() as scratch:
        if dry_run:
            source, recipe, out = _cut_short(source, recipe), msgspec.structs.replace(recipe, epochs=1), scratch
        folder, machine = Path(out), this_machine()
        job = Job(network, source, recipe, size, machine, group, folder)
        weights = _weights(start) if start else b""
        notes = job.open(command)
        for line in (
            str(source),
            *source.notes,
            f"{machine}, {group.world} processes" if group.world > 1 else str(machine),
            *notes,
        ):
            _say(line, quiet)
        rows: list[Epoch] = []
        total, seen, began = len(source.train) * recipe.epochs, 0, 0.0
        try:
            with _bar(quiet) as progress:

                def reading(count: int) -> None:
                    nonlocal seen
                    seen += count
                    progress(Progress(f"reading {source.name}", seen / (len(source.train) + len(source.held_out))))

                def ready(data: object) -> None:
                    nonlocal seen, began
                    seen, began = 0, perf_counter()

                def stepped(count: int) -> None:
                    nonlocal seen
                    seen += count
                    done = len(rows) / recipe.epochs * total
                    progress(
                        Progress(
                            f"{network.name}: epoch {len(rows) + 1} of {recipe.epochs}",
                            min(1.0, max(seen, done) / total),
                            f"{seen / (perf_counter() - began):,.0f} pictures/s",
                        )
                    )

                for row in job.epochs(shlex.join(command), workers, save_every, weights, reading, stepped, ready):
                    rows.append(row)
                    _say(_told(row), quiet)
        finally:
            if rows and group.first:
                made = [msgspec.to_builtins(row) for row in rows]
                section = training_report.run_section(job.stated(command), made)
                page = training_report.write(folder, job.stated(command), made, shlex.join(command))
                flat = training_report.epoch_rows(made) if format == "csv" else made
                _write(format, flat, {}, [section])
                if not dry_run:
                    _say(str(page), quiet)
            processes.left()


def _cut_short(source: Source, recipe: Recipe) -> Source:
    from dataclasses import replace

    return replace(source, train=source.train[: 2 * recipe.batch], held_out=source.held_out[: recipe.batch])


def _told(row: Epoch) -> str:
    """A row in a sentence."""
    held_out = f", held out {row.scores.top1_accuracy:.1%}" if row.scores else ""
    slow = f", {row.waiting:.0%} of the time waiting for pictures: more --workers, or topfive data pack, would help"
    return (
        f"epoch {row.epoch}: loss {row.loss:.3f}, training {row.train_accuracy:.1%}{held_out}, "
        f"{row.images_per_second:,.0f} pictures/s, {row.seconds:,.0f} s"
        f"{slow if row.waiting > MUCH_WAITING else ''}{'; ' + row.note if row.note else ''}"
    )


def _weights(start: str) -> bytes:
    """The bytes of a model's file, or of the newest model in a run folder. Raises: UsageError, RefusedError."""
    from pathlib import Path

    from topfive.lab.keeping import MODEL
    from topfive.runs import newest_in

    path = Path(start)
    if path.is_dir():
        return newest_in(path).read(MODEL)
    if not path.is_file():
        raise UsageError(f"there is no run folder or file {start!r}")
    return path.read_bytes()


data_commands = App(name="data", help="Look at pictures before training: fetch a public set, check a source, pack it.")
app.command(data_commands)


@data_commands.command
def fetch(name: str, /, *, out: str | None = None, quiet: bool = False) -> None:
    """Fetch a public set from its official address, checked by its published hash.

    What was fetched is used by its name: topfive compare --data cifar-10. A broken download goes on where it stopped.

    Parameters
    ----------
    name
        cifar-10, cifar-100, imagenette, imagenette-160 or imagewoof.
    out
        Another folder; by default $TOPFIVE_DATA, or ~/.local/share/topfive.
    quiet
        Only the path.
    """
    from pathlib import Path

    from topfive.data import fetching
    from topfive.progress import counting

    with _bar(quiet) as progress:
        there = fetching.fetch(name, Path(out) if out else None, counting(progress, "MB", 1e6))
    print(there)
    _say(f"next: topfive data check {there if out else name}", quiet)
    _say(fetching.PUBLIC[name].note, quiet)


@data_commands.command
def check(
    source: str | None = None,
    /,
    *,
    report: str | None = None,
    quiet: bool = False,
    format: Format = "text",
) -> None:
    """Read every picture once and say what is wrong, and what it would do to training and to the accuracy.

    Nothing is written into the source. Exit code 3 where an accuracy measured on the held-out pictures would be biased.

    Parameters
    ----------
    source
        Anything that compare --data takes; by default scikit-learn's digits.
    report
        Where the page goes; by default runs/check-SOURCE.html.
    quiet
        Only the tables.
    format
        text, markdown, csv or json; csv has the findings alone.
    """
    from pathlib import Path

    from msgspec import to_builtins

    from topfive.data import checking
    from topfive.data.opening import open_source
    from topfive.errors import DataError
    from topfive.pages import checked
    from topfive.progress import counting

    with _bar(quiet) as progress:
        found = open_source(source, counting(progress, "MB", 1e6))
        _say(str(found), quiet)
        result = checking.check(found, counting(progress, "pictures"))
    page = Path(report or f"runs/check-{found.name}.html")
    checked.render(page, result, found, shlex.join(["topfive", *_arguments]))
    findings = [to_builtins(finding) for finding in result.findings]
    _write(format, findings, {"report": to_builtins(result)}, checking.sections(result))
    _say(str(page), quiet)
    if result.biased:
        raise DataError(f"an accuracy measured on {found.name} would be biased: {checking.worst(result)}")


@data_commands.command
def pack(
    source: str,
    out: str,
    /,
    *,
    side: int = 256,
    quiet: bool = False,
) -> None:
    """Resize every picture once into shards that are read in place, so that a slow disk is no longer the limit.

    Parameters
    ----------
    source
        Anything that compare --data takes.
    out
        A new folder, or one of a pack that was interrupted; compare --data OUT reads it like the original.
    side
        The length that shorter sides are brought down to, in pixels; smaller pictures stay as they are.
    quiet
        Only the path.
    """
    from pathlib import Path

    from topfive.data import packing
    from topfive.data.opening import open_source
    from topfive.progress import counting

    if side < 1:
        raise UsageError(f"--side {side} is too small")
    with _bar(quiet) as progress:
        found = open_source(source, counting(progress, "MB", 1e6))
        _say(str(found), quiet)
        packing.pack(found, Path(out), side, counting(progress, "pictures"))
    print(out)
    size = sum(path.stat().st_size for path in Path(out).iterdir())
    _say(f"{size / 1e6:,.0f} MB; next: topfive compare --data {shlex.quote(out)}", quiet)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; a user's error is one sentence on stderr."""
    tokens = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in tokens
    tokens = [token for token in tokens if token != "--debug"]
    _arguments[:] = tokens
    try:
        app(tokens)
        sys.stdout.flush()
        return 0
    except BrokenPipeError:
        # why: the reader has left; Python would complain once more when it flushes stdout at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    except Exception as error:
        if debug:
            from traceback import print_exc

            print_exc()
        return _fail(*_sentence(error))


def _sentence(error: Exception) -> tuple[str, int]:
    match error:
        case TopfiveError():
            return str(error), error.exit_code
        case UnusedCliTokensError(unused_tokens=tokens):
            return f"too many arguments: {' '.join(tokens or ())}", UsageError.exit_code
        case CycloptsError():
            return str(error), UsageError.exit_code
        case OSError() | MemoryError():
            return f"{error}" or type(error).__name__, ResourceError.exit_code
        case _:
            what = f"{type(error).__name__}: {error}"
            return f"a bug of ours, {what} (--debug shows where)", TopfiveError.exit_code


def _fail(sentence: str, code: int) -> int:
    print(f"topfive: {' '.join(sentence.split())}", file=sys.stderr)
    return code


def _say(sentence: str, quiet: bool) -> None:
    """A line for people, on stderr, so that stdout holds the table alone."""
    if not quiet:
        print(sentence, file=sys.stderr, flush=True)


@contextmanager
def _bar(quiet: bool) -> Iterator[Callable[[Progress], object]]:
    """A progress bar with the rate and the time left on a terminal; nothing elsewhere."""
    if quiet or not sys.stderr.isatty():
        yield lambda where: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    bar = Bar(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.percentage:>3.0f} %"),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    task = bar.add_task("", total=1.0, rate="")
    with bar:  # while it is shown, stdout is rich's: the table is written after it
        yield lambda where: bar.update(task, completed=where.done, description=where.doing, rate=where.rate)


def _network(name: str) -> Network:
    """A network by its name, or from a .json file."""
    from topfive import layers, networks

    if not name.endswith(".json"):
        return networks.get(name)
    try:
        with open(name, "rb") as file:
            return layers.from_json(file.read())
    except FileNotFoundError:
        raise UsageError(f"there is no file {name}") from None
    except UsageError as error:
        raise UsageError(f"{name} is {error}") from None
    except RecursionError:
        raise UsageError(f"{name} is nested too deeply to be a network") from None


def _shape(text: str) -> tuple[int, int, int]:
    """`3x192x256` as (channels, height, width)."""
    parts = text.lower().split("x")
    if len(parts) != 3 or not all(part.isascii() and part.isdigit() and int(part) > 0 for part in parts):
        raise UsageError(f"--input {text!r} is not channels x height x width, such as 3x192x256")
    channels, height, width = (int(part) for part in parts)
    return channels, height, width


def _write(format: Format, rows: Sequence[Row], document: Mapping[str, object], sections: Sequence[Section]) -> None:
    """Rows for machines, or sections for people; `document` is what JSON says beside the rows."""
    from topfive import tables

    match format:
        case "json":
            page = tables.json(rows, **document)
        case "csv":
            page = tables.csv(rows)
        case "markdown":
            page = tables.markdown(sections)
        case "text":
            page = tables.text(sections, _colour(), _width())
    encoding = sys.stdout.encoding
    if "utf" not in encoding.lower():  # why: a narrow terminal shows question marks, it does not end the command
        page = page.replace("─", "-").encode(encoding, "replace").decode(encoding)
    sys.stdout.write(page)


def _colour() -> bool:
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


def _width() -> int:
    """As wide as the terminal, WIDTH at most; a pipe gets WIDTH."""
    from shutil import get_terminal_size

    return max(40, min(WIDTH, get_terminal_size((WIDTH, 24)).columns)) if sys.stdout.isatty() else WIDTH
