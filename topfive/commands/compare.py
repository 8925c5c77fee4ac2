"""The main job as a command."""

from __future__ import annotations

import shlex
from pathlib import Path

from topfive.commands.comparing import Asked, Executor, finish, opened, said, stopping
from topfive.console import bar, command_line, say, version, write
from topfive.errors import UsageError
from topfive.report.tables import Format


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
    executor: Executor = "local",
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
        default 32, 64 or 128, after the images, and smaller where the minutes are too few for most networks.
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
    executor
        Where the trainings run: local, one after the other here; or ray, as tasks of a Ray cluster (pip install
        'topfive[ray]'), whose nodes must be alike, and see --out and the images under the same paths.
    quiet
        Only the table.
    format
        text, markdown, csv or json.
    """
    from topfive.report import comparison as reporting

    if published:
        from topfive.data.outputs import mark

        if data or networks:
            raise UsageError("--published is about all networks and trains none: leave out names and --data")
        literature = reporting.published_rows()
        folder = Path(out or "runs/published")
        page = Path(report) if report else folder / "report.html"
        mark(folder)
        source_of = {"source": "papers.toml, from the papers", "command": shlex.join(command_line())}
        reporting.write_published(folder, page, literature, {**source_of, "versions": {"topfive": version()}})
        write(format, reporting.flat(literature), {"winners": reporting.history_rows()}, reporting.published_sections())
        say(str(page), quiet)
        return

    asked = Asked(
        networks, data, out, report, minutes, epochs, seeds, seed, start, weights, recipe, size, batch, workers, device,
        blacklist, max_bad, quiet, executor,
    )  # fmt: skip
    from topfive.engine.comparison.candidates import DEFAULT
    from topfive.engine.comparison.comparison import Comparison

    at = opened(asked, "compare", DEFAULT)
    comparison = Comparison(at.source, at.contract, at.machine, at.place)
    try:
        with stopping(at.place.folder, lambda: sum(map(len, comparison.trials().values()))), bar(quiet) as tick:
            said(comparison.run(tick), comparison.name_of, quiet)
    finally:
        comparison.close()
        finish(comparison, at.page, format, quiet)
    if error := comparison.error():
        raise error from error.__cause__
