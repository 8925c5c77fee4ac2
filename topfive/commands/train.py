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
    """Train a network with a paper's recipe, or with one of ours, into a resumable run folder.

    Run the same command again to resume an interrupted run, bit-identically. Start it with torchrun to use several
    devices.

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
        Change a field of the recipe; may be repeated: lr=0.02, optimizer.weight_decay=1e-4, schedule.at=[0.5,0.75].
    out
        The run folder; by default runs/NETWORK-SOURCE-RECIPE, or next to the source if that would be inside it.
    size
        The input size of the network, in pixels; by default its own if the images are large enough.
    epochs
        The same as --set epochs=.
    minutes
        Instead of --epochs: train as many epochs as fit into this time on this machine, estimated from a few steps.
    batch
        The same as --set batch=: the batch size over all processes; the learning rate is scaled with it.
    seed
        The same as --set seed=.
    start
        Start from the weights of the same network: a run folder or a file, also torchvision's or timm's. Classes with
        the same name keep their weights in the classifier; the others are initialized.
    workers
        Read the images again in every epoch, with this number of processes; by default they are kept in memory if they
        fit.
    device
        auto, cpu, cuda, cuda:1, ... or mps, an Apple GPU; by default auto, which is cuda where there is one, else cpu.
        A run that is resumed keeps its kind of device.
    max_bad
        The most unreadable images that may be skipped: a number, or a percentage such as 5%; by default 20 or 1 %,
        whichever is more.
    towers
        Split AlexNet, or a network like it, over two GPUs as its paper did, with half of the kernels on each. Without
        two GPUs, one device holds both halves.
    save_every
        Seconds between checkpoints.
    plan
        Do not train; print the schedule, the steps, the operations, the memory and a time estimated from a few steps.
        With --out, plot the schedule there.
    dry_run
        Try the run out: two steps at each image size, and one evaluation, in a temporary folder.
    tensorboard
        Also write TensorBoard logs, to tensorboard/ in the run folder.
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
    from topfive.engine.training.fitting import fitted
    from topfive.engine.training.job import Job, network_of
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
    from topfive.engine.training.fitting import adapted
    from topfive.recipes import papers
    from topfive.recipes.editing import changed

    rules = changed(papers.get(name or papers.default_for(network), network), set)
    if "progressive_resize" not in changes:
        rules, left_out = adapted(rules, network, side)
        if left_out:
            say(left_out, quiet)
    return rules
