"""One trial: a candidate trained with one seed, as `topfive train` does, in a run folder of the comparison's."""

import hashlib
import re
import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import torch

from topfive.data.sources import Source
from topfive.engine.benchmark.energy import Energy
from topfive.engine.benchmark.machine import Machine
from topfive.engine.benchmark.memory import memory_start
from topfive.engine.comparison.candidates import Entry
from topfive.engine.models.specs import make
from topfive.engine.training.datasets import Data
from topfive.engine.training.initial_weights import Start
from topfive.engine.training.job import Job
from topfive.engine.training.loop import Training, train
from topfive.engine.training.processes import Group
from topfive.networks.layers import with_classes
from topfive.recipes.plan import total_steps
from topfive.recipes.recipe import Recipe
from topfive.results.records import EpochRecord, Scores, TrialRecord
from topfive.results.runs import holds_run, load_run
from topfive.results.training import Begun

TRIALS = "trials"  # the run folders of the trials, within the comparison's

Tick = Callable[[float, str], object]  # the share done, and a rate worth showing


def key_of(entry: Entry, recipe: Recipe | None) -> str:
    """The key of a trial: of the candidate and of everything in the recipe but how a batch is computed; of the shallow
    baseline, which has no recipe, the candidate's."""
    if recipe is None:
        return entry.candidate.key
    plain = msgspec.structs.replace(recipe, accumulation_steps=1)
    return hashlib.sha256(msgspec.json.encode((entry.candidate.key, plain))).hexdigest()[:16]


@dataclass(frozen=True)
class Place:
    """Where trials run, and what they share."""

    folder: Path  # the comparison's
    command: Sequence[str] = ()
    workers: int | None = None
    max_bad: str | None = None
    began: float = field(default_factory=time.perf_counter)  # when what the minutes are of did
    executor: str = "local"  # or "ray"


def run_trial(
    entry: Entry,
    source: Source,
    data: Data,
    recipe: Recipe,
    machine: Machine,
    place: Place,
    tick: Tick,
    start: Start | None = None,
) -> tuple[TrialRecord, list[str]]:
    """Train `entry` by `recipe`, whose seed it is, at `place`; and what is to be said of it.

    It begins with `start`, if any. A run that was interrupted is continued. Raises: what `Job` raises.
    """
    rows: list[EpochRecord] = []
    steps, energy = total_steps(recipe, len(data)), Energy()
    said: list[str] = []

    trial, size = None, entry.candidate.size
    if network := entry.network:
        trial = folder_of(place.folder, entry, recipe, source, start)
        job = Job(network, source, recipe, size, machine, Group(), trial, max_bad=place.max_bad, data=data)
        begun = Begun(str(Path(start.model.where).absolute()), start.model.sha256) if start else None
        said += job.open(list(place.command), place.workers, start=begun)
        events = job.steps(shlex.join(place.command), start=start, last_alone=True)
    else:
        assert entry.spec
        torch.manual_seed(recipe.seed)
        events = train(Training(make(entry.spec, entry.shape, len(source.classes)), data, recipe, machine))
    memory_start(machine)  # why: trainings before this one took memory too
    before, began = 0, time.perf_counter()
    for event in events:
        if isinstance(event, EpochRecord):
            rows.append(event)
            continue
        before = before or event.images  # why: a resumed training has images that were not trained on now
        rate = f"{(event.images - before) / (time.perf_counter() - began):,.0f} images/s"
        tick(min(1.0, event.images / (steps * recipe.batch)), rate)
    last = rows[-1]
    assert last.scores is not None  # the last epoch is always evaluated
    record = TrialRecord(
        key=key_of(entry, recipe),
        seed=recipe.seed,
        scores=last.scores,
        epochs=steps * recipe.batch / len(data) if recipe.steps else recipe.epochs,
        training_seconds=last.seconds,
        loss=last.loss,
        learning_rate=recipe.peak,
        precision=machine.precision,
        memory_format=machine.memory_format,
        data_wait=sum(row.data_wait for row in rows) / len(rows),
        curve=tuple(_point(row, row.scores) for row in rows if row.scores),
        trial=trial.relative_to(place.folder).as_posix() if trial else "",
        peak_bytes=max(row.memory_bytes for row in rows),
        joules=energy.joules(),
        stuck=bool(last.note),
        notes=(*in_parts(recipe), *in_small_batches(recipe, entry.recipe), *(_begun_with(start) if start else ())),
    )
    return record, said


def _point(row: EpochRecord, scores: Scores) -> dict[str, float]:
    """An evaluated epoch, as a curve has it."""
    return {
        "epoch": row.epoch,
        "loss": row.loss,
        "train_accuracy": row.train_accuracy,
        "accuracy": scores.top1_accuracy,
    }


def in_parts(recipe: Recipe) -> tuple[str, ...]:
    """What is to be said where memory does not hold a batch."""
    parts = recipe.accumulation_steps
    return (f"a batch is computed in {parts} parts, for this machine's memory",) if parts > 1 else ()


def _begun_with(start: Start) -> tuple[str, ...]:
    """What is to be said of where a training began."""
    return f"begins with {start.model.about.origin or start.model.where}", *start.notes


def in_small_batches(recipe: Recipe, usual: Recipe) -> tuple[str, ...]:
    """What is to be said where the time is too short for the recipe's own batch."""
    return (f"batches of {recipe.batch}, for more steps in this time",) if recipe.batch < usual.batch else ()


def folder_of(folder: Path, entry: Entry, recipe: Recipe, source: Source, start: Start | None) -> Path:
    """The run folder of a network; where one of that name is there that is trained otherwise, another one."""
    network, size, begun = entry.network, entry.candidate.size, start and start.model.sha256
    assert network
    from_what = f"-from-{Path(entry.candidate.start).name}" if start else ""
    name = re.sub(r"[^\w.+-]", "-", network.name + from_what)
    trial = folder / TRIALS / f"{name}-seed{recipe.seed}"
    if holds_run(trial):
        found = load_run(trial)
        rules, theirs = {**found.recipe, "accumulation_steps": 1}, found.start and found.start.sha256
        there = found.network, rules, found.size, found.source["fingerprint"], theirs
        # why plain: into how many parts a batch is cut, is found out for the machine
        plain = msgspec.structs.replace(recipe, accumulation_steps=1)
        stated = msgspec.json.encode(
            (with_classes(network, len(source.classes)), plain, size, source.fingerprint, begun)
        )
        if msgspec.json.encode(there) != stated:
            trial = trial.with_name(f"{name}-{hashlib.sha256(stated).hexdigest()[:8]}-seed{recipe.seed}")
    return trial
