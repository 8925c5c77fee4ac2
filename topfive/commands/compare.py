"""The main job as a command."""

from __future__ import annotations

import shlex

from topfive.console import MUCH_WAITING, bar, command_line, say, version, write
from topfive.errors import Interrupted, UsageError
from topfive.report.tables import Format

QUICK_EPOCHS, QUICK_BATCH = 8, 64  # of the recipe of that name, in a comparison


def compare(
    *networks: str,
    data: str | None = None,
    published: bool = False,
    report: str | None = None,
    out: str | None = None,
    recipe: str = "quick",
    size: int | None = None,
    epochs: int | None = None,
    batch: int | None = None,
    seed: int = 0,
    workers: int | None = None,
    device: str = "auto",
    blacklist: str | None = None,
    max_bad: str | None = None,
    quiet: bool = False,
    format: Format = "text",
) -> None:
    """Compare networks: accuracy on your images against operations, parameters, memory and latency here.

    Every network is trained by the same short recipe, tested on validation images and timed on this machine. Rows
    that are finished stay in --out, and so does each network of ours as a run: --out/trials/NAME-seed0 is a model for
    predict and evaluate. The same command continues where it was interrupted, within a network too.
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
    recipe
        What each network is trained by, as train --recipe takes it: quick, fast, finetune or a paper's.
    size
        The side of the square that the networks see, in pixels; by default 32, 64 or 128, after the images.
    epochs
        How often each network sees the training images; by default 8 with quick, else as often as the recipe says.
    batch
        Images in a step; by default the recipe's, 64 with quick.
    seed
        Of initial weights, order and augmentation.
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
    from pathlib import Path

    from topfive.data.outputs import mark, placed
    from topfive.report import comparison as reporting

    command = command_line()
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
    from topfive.engine.benchmark.measuring import DISTURBED
    from topfive.engine.comparison import DEFAULT, Comparison, Setting, machine_of
    from topfive.engine.training.sizes import default_size
    from topfive.engine.training.unreadable import most_unreadable
    from topfive.recipes import papers
    from topfive.results.progress import counting

    least = {"batch": 2, "workers": 0}
    for name, value in (("epochs", epochs), ("batch", batch), ("size", size), ("workers", workers)):
        if value is not None and value < least.get(name, 1):
            raise UsageError(f"--{name} {value} is too small")
    papers.get(recipe)  # why: a name that is none is said now
    if recipe == "quick":
        epochs, batch = epochs or QUICK_EPOCHS, batch or QUICK_BATCH
    machine = this_machine(device)
    most_unreadable(max_bad, 0)
    with bar(quiet) as progress:
        source = open_source(data, counting(progress, "MB", 1e6))
    if blacklist:
        source = without(source, Path(blacklist))
    folder = placed(source, f"runs/compare-{source.name}", out)
    machine = machine_of(folder, machine)
    side = size or default_size(source)
    shared = (side, epochs, batch, seed, str(machine), workers, recipe)
    setting = Setting(source.name, source.fingerprint, source.classes, *shared)
    page = placed(source, "", report, "--report") if report else folder / "report.html"
    comparison = Comparison(source, networks or DEFAULT, setting, machine, folder, max_bad, command)
    say(str(source), quiet)
    for line in (*source.notes, str(machine), *overlooked(device)):
        say(line, quiet)
    try:
        with bar(quiet) as tick:
            for row in comparison.run(tick):
                if isinstance(row, str):
                    say(row, quiet)
                    continue
                measured = f"{row.top1_accuracy:.1%} Top-1 ({row.protocol}, n = {row.images:,})"
                for note in row.notes:
                    say(f"{row.name}: {note}", quiet)
                say(f"{row.name}: {measured} after {row.training_seconds:.0f} s", quiet)
                if row.data_wait > MUCH_WAITING:
                    say(
                        f"{row.name}: {row.data_wait:.0%} of the training time was spent waiting for images; more "
                        "--workers, or topfive data pack, would help",
                        quiet,
                    )
                if row.cpu_contention > DISTURBED:
                    say(
                        f"{row.name}: other programs had {row.cpu_contention:.1f} of the {machine.threads} processors "
                        "while it was timed: its latency and throughput are worse than they would be alone",
                        quiet,
                    )
    except (KeyboardInterrupt, Interrupted) as stop:
        kept = f"{len(comparison.rows())} of {len(comparison.subjects)} rows are kept in {folder}"
        kind = type(stop) if isinstance(stop, Interrupted) else Interrupted
        raise kind(f"stopped; {kept}; continue with: {shlex.join(command)}") from None
    finally:
        comparison.close()
        if comparison.data and comparison.data.skipped:
            say(comparison.data.skipped, False)
        for bad in comparison.unreadable() if comparison.data else ():
            say(f"skipped, unreadable: {bad['path']!r}: {bad['why']}", False)
        made = comparison.table()
        if made:
            meta = comparison.meta()
            reporting.write_measured(folder, page, made, meta)
            write(format, reporting.flat(made), {"meta": meta}, [reporting.measured_section(made)])
            if use := comparison.use():
                say(f"each trained network is a model: {use}", quiet)
            say(str(page), quiet)
    if error := comparison.error():
        raise error from error.__cause__
