"""The command that trains one network into a run folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from topfive.commands import plan as planning
from topfive.commands import session
from topfive.console import bar, command_line, say
from topfive.errors import UsageError
from topfive.report.tables import Format

if TYPE_CHECKING:
    from topfive.networks.layers import Network
    from topfive.recipes.recipe import Recipe


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
    minutes: float | None = None,
    batch: int | None = None,
    seed: int | None = None,
    start: str | None = None,
    workers: int | None = None,
    device: str | None = None,
    max_bad: str | None = None,
    towers: bool = False,
    save_every: float = 120.0,
    plan: bool = False,
    dry_run: bool = False,
    tensorboard: bool = False,
    quiet: bool = False,
    format: Format = "text",
) -> None:
    """Train one network by a paper's recipe, or by one of ours, into a run folder that can be resumed.

    The same command continues where it was interrupted, bit-identically. torchrun starts it on many devices.

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
        The run folder; by default runs/NETWORK-SOURCE-RECIPE, beside the source where that would lie inside.
    size
        The side of the square that the network sees, in pixels; by default its own where the images fill it.
    epochs
        The same as --set epochs=.
    minutes
        In place of epochs: as many as fit into so many minutes on this machine, going by a few steps made before.
    batch
        The same as --set batch=: images in a step, over all processes; the learning rate follows.
    seed
        The same as --set seed=.
    start
        A run folder or a file of weights of the same network to begin with, also torchvision's or timm's; classes of
        the same names keep their part of the classifier, the others are fresh.
    workers
        Read the images anew in every epoch with so many processes; by default they are kept in memory if they fit.
    device
        auto, cpu, cuda, cuda:1, ... or mps, an Apple GPU; by default auto, which is cuda where there is one, else cpu.
        A run that is resumed keeps its kind of device.
    max_bad
        How many images that cannot be read are skipped: a number, or a share such as 5%; by default 20 or 1 %,
        whichever is more.
    towers
        Lay the network on two devices as the paper of 2012 did, half of the kernels on each: AlexNet and its like.
        Where two GPUs are not there, one device stands in for both.
    save_every
        Seconds between two saves of the whole state.
    plan
        Only print the schedule, the steps, the operations, the memory and, from a few steps, the time; with --out, draw
        the schedule there.
    dry_run
        Two steps at every size of the images that the run will have, and one evaluation, in a folder that is removed
        again.
    tensorboard
        Write the rows for TensorBoard too, into tensorboard/ in the run folder.
    quiet
        Only the table.
    format
        text, markdown, csv or json.
    """
    from pathlib import Path
    from time import perf_counter

    from topfive.data.opening import open_source
    from topfive.data.outputs import placed
    from topfive.engine.benchmark.machine import device_of
    from topfive.engine.training import processes
    from topfive.engine.training.job import Job, fitted, network_of
    from topfive.engine.training.unreadable import most_unreadable
    from topfive.results.progress import counting

    began = perf_counter()
    for name, number in (("epochs", epochs), ("batch", batch), ("seed", seed)):
        set = (*set, f"{name}={number}") if number is not None else set
    set = (*set, "whitened=false") if start else set  # why: what was learnt stands, and continues learning
    changes = [field.partition("=")[0].strip() for field in set]
    _check(minutes, size, workers, changes)
    device_of(device or "auto")  # why: what is not here is said now, and not when the images have been looked at
    most_unreadable(max_bad, 0)
    with bar(quiet) as progress:
        source = open_source(data, counting(progress, "MB", 1e6))
    value, side = network_of(network, source, size)
    rules = _rules(recipe or ("finetune" if start else None), value, side, set, changes, quiet)
    folder = Path(placed(source, f"runs/{value.name}-{source.name}-{rules.name}", out))
    machine = session.machine_for(folder, value, source, rules, side, device, towers or dry_run, quiet)
    if "accumulation_steps" not in changes:
        whole, rules = rules, fitted(rules, value, side, len(source.classes), machine)
        if rules.accumulation_steps > whole.accumulation_steps:
            part = f"{rules.accumulation_steps} parts, for this machine's memory"
            say(f"a batch of {rules.batch} is computed in {part}: the same step, but for batch normalisation", quiet)

    def job(group: processes.Group) -> Job:
        return Job(value, source, rules, side, machine, group, folder, towers, max_bad)

    timed = None
    if minutes is not None:
        rules, timed = planning.within(job(processes.Group()), minutes * 60, began, workers, quiet)
    if plan:
        planning.show_plan(job(processes.Group()), Path(out) if out else None, workers, timed, format)
        return
    session.run(
        job(processes.joined(machine.device)),
        session.Session(
            command_line(), start, workers, save_every, quiet, format, dry_run=dry_run, tensorboard=tensorboard
        ),
    )


def _check(minutes: float | None, size: int | None, workers: int | None, changes: list[str]) -> None:
    """Raises: UsageError for what cannot be."""
    from math import inf

    if minutes is not None and not 0 < minutes < inf:
        raise UsageError("--minutes is a number above 0")
    if minutes is not None and "epochs" in changes:
        raise UsageError("--minutes says how many epochs there are: leave --epochs out")
    if (size is not None and size < 1) or (workers is not None and workers < 0):
        raise UsageError("--size and --workers cannot be below 1 and 0")


def _rules(
    name: str | None, network: Network, side: int, set: tuple[str, ...], changes: list[str], quiet: bool
) -> Recipe:
    """The recipe of that name, by default of the network's paper, changed by `set` and as the network can take it."""
    from topfive.engine.training.job import adapted
    from topfive.recipes import papers
    from topfive.recipes.editing import changed

    rules = changed(papers.get(name or papers.default_for(network), network), set)
    if "progressive_resize" not in changes:
        rules, left_out = adapted(rules, network, side)
        if left_out:
            say(left_out, quiet)
    return rules
