"""Where the trainings of a comparison run: in this process one after the other, or as tasks of a Ray cluster."""

import contextlib
import logging
import os
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import msgspec

from topfive import system
from topfive.data.sources import Source
from topfive.engine.benchmark.machine import Machine
from topfive.engine.benchmark.threads import use_threads
from topfive.engine.comparison.candidates import Entry, failure
from topfive.engine.comparison.folder import SETTING
from topfive.engine.comparison.images import ImageCache
from topfive.engine.comparison.trials import Place, run_trial
from topfive.engine.training.datasets import Data
from topfive.engine.training.initial_weights import Start, open_start
from topfive.engine.training.loading import prepare
from topfive.errors import DataError, Interrupted, ResourceError, Terminated, TopfiveError, UsageError
from topfive.networks.layers import with_classes
from topfive.recipes.augmentations import Centre
from topfive.recipes.recipe import Recipe
from topfive.results.locks import InUseError
from topfive.results.progress import Progress
from topfive.results.records import TrialRecord
from topfive.results.training import Reading

RETRIES = 3  # of a task whose worker or node is lost
LOOK = 0.5  # seconds between two looks at the tasks
RELEASED = 300.0  # seconds after which a worker that lost its node has ended, and with it its lock of a run folder
SAVED = 60.0  # seconds that tasks have to save their state when the command is stopped


@dataclass(frozen=True)
class Work:
    """One training that is to be made."""

    entry: Entry
    recipe: Recipe  # with its seed
    machine: Machine
    seconds: float  # that it is expected to take
    start: Start | None  # that it begins with

    @property
    def name(self) -> str:
        return f"{self.entry.candidate.name}, seed {self.recipe.seed}"


def in_turn(works: Sequence[Work], images: ImageCache) -> list[Work]:
    """Seed by seed, so that no network is without a training where the time is up early.

    Within a seed by how images are read, to and fro: memory may not hold two readings of them.
    """
    ways = list(dict.fromkeys(images.reading(work.entry) for work in works))
    seeds = sorted({work.recipe.seed for work in works})

    def place(work: Work) -> tuple[int, int]:
        nth, way = seeds.index(work.recipe.seed), ways.index(images.reading(work.entry))
        return nth, -way if nth % 2 else way

    return sorted(works, key=place)


# each training with its record or with what went wrong, and with what is to be said
Made = Generator[tuple[Work, TrialRecord | Exception, list[str]], None, None]
Tick = Callable[[Sequence[tuple[Work, float]], str], object]  # the trainings that run, the share done of each; a rate


def run_here(
    works: Iterator[Work], images: ImageCache, place: Place, progress: Callable[[Progress], object], tick: Tick
) -> Made:
    """Train one after the other in this process."""
    for work in works:

        def told(share: float, rate: str, work: Work = work) -> None:
            tick([(work, share)], rate)

        try:
            data = images.read(work.entry, progress)
            record, said = run_trial(
                work.entry, images.source, data, work.recipe, work.machine, place, told, work.start
            )
        except Exception as error:
            trace = error.__traceback__
            # why: whoever clears the frames of the error would end this generator with its own
            yield work, error.with_traceback(trace and trace.tb_next), []
        else:
            images.note(data)
            yield work, record, said


def require_ray() -> None:
    """Raises: UsageError where Ray is not installed."""
    if find_spec("ray") is None:
        raise UsageError("--executor ray needs Ray: pip install 'topfive[ray]'")


def run_on_ray(works: Iterator[Work], images: ImageCache, place: Place, machine: Machine, tick: Tick) -> Made:
    """Train on the nodes of a Ray cluster, as many at once as they hold. Each training is a task with the threads of
    `machine`, and with a GPU where it is CUDA's. That of a lost node starts on another one, from its run folder.

    Raises: UsageError where no node is large enough; ResourceError where there is no connection, or where a node does
    not see the folder of `place`; DataError, Interrupted.
    """
    import ray

    _connect()
    if not _slots(machine):
        gpu = " and a GPU" if machine.kind == "cuda" else ""
        raise UsageError(f"no node of the Ray cluster has {machine.threads} CPUs{gpu}, as this machine has")
    train = ray.remote(_train).options(
        num_cpus=machine.threads,
        num_gpus=int(machine.kind == "cuda"),
        max_retries=RETRIES,
        retry_exceptions=[Terminated],  # of a node that is shut down, once the state is saved
    )
    shared = ray.put(_Shared(images.source, replace(place, folder=place.folder.absolute()), Path.cwd()))
    running = dict[object, tuple[Work, float]]()  # by the task: when it was begun
    try:
        while True:
            while len(running) < _slots(machine) and (work := next(works, None)):
                # why JSON: defaults are left out of a struct's JSON by identity, which pickle does not preserve; a run
                # folder and the digests of keys are to be the same wherever a training runs
                where = work.start.model.where if work.start else ""
                sent = msgspec.json.encode(_Sent(work.entry, work.recipe, work.machine, where))
                ref = train.remote(shared, sent, images.reading(work.entry)[0])
                running[ref] = work, time.monotonic()
            if not running:
                return
            now = time.monotonic()  # why a guess: the steps of a task are not heard of here
            tick([(work, min(0.99, (now - began) / work.seconds)) for work, began in running.values()], "")
            for ref in ray.wait(list(running), timeout=LOOK)[0]:
                work, _ = running.pop(ref)
                yield work, *_made(ref)
    except SystemExit:  # Ray's answer to SIGTERM
        raise Terminated("stopped") from None
    finally:
        for ref in running:
            ray.cancel(ref)  # as Ctrl-C there: the state is saved
        if running:
            ray.wait(list(running), num_returns=len(running), timeout=SAVED)


@dataclass(frozen=True)
class _Sent:
    """What the task of one training is sent."""

    entry: Entry
    recipe: Recipe
    machine: Machine
    start: str  # where the weights are that it begins with; "" for none


@dataclass(frozen=True)
class _Shared:
    """What all tasks of a comparison are sent once."""

    source: Source
    place: Place
    working: Path  # what relative paths begin at


def _connect() -> None:
    """To the cluster of RAY_ADDRESS, else to one that runs here, else to a new one of this machine."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray

    if not ray.is_initialized():
        try:
            ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.CRITICAL)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise ResourceError(f"no connection to a Ray cluster: {error}") from None


def _slots(machine: Machine) -> int:
    """How many trainings the nodes that are there now hold at once."""
    import ray

    wanted = {"CPU": machine.threads, **({"GPU": 1} if machine.kind == "cuda" else {})}
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return sum(min(int(node.get(name, 0) // count) for name, count in wanted.items()) for node in nodes)


def _made(ref: object) -> tuple[TrialRecord | Exception, list[str]]:
    """What a finished task came to. Raises: what it raised, which ends the comparison."""
    import ray

    try:
        made: tuple[TrialRecord | Exception, list[str]] = ray.get(ref)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None
    except ray.exceptions.RayError as error:
        why = str(error).splitlines()[0]
        return ResourceError(f"its worker was lost {RETRIES + 1} times: {why}"), []
    return made


def _train(shared: _Shared, sent: bytes, reading: Reading) -> tuple[TrialRecord | TopfiveError, list[str]]:
    """A task, on its node. What is returned is of this training, what is raised of all of them."""
    with contextlib.suppress(OSError):  # a node needs it only for paths that are relative
        os.chdir(shared.working)
    place, source = shared.place, shared.source
    if not (place.folder / SETTING).exists():
        raise ResourceError(
            f"the node {system.host()} does not see {place.folder}: --out must be a folder of all nodes"
        )
    work = msgspec.json.decode(sent, type=_Sent)
    machine = msgspec.structs.replace(work.machine, device=work.machine.kind)  # why: a task sees its own GPU alone
    use_threads(machine.threads)
    until = time.monotonic() + RELEASED
    while True:
        try:
            data = _images(source, work.entry.candidate.size, reading, place.max_bad)
            network = work.entry.network
            start = None
            if work.start and network:
                with_ours = with_classes(network, len(source.classes))
                start = open_start(work.start, with_ours, source.classes, work.recipe.init_layers)
            return run_trial(work.entry, source, data, work.recipe, machine, place, _unseen, start)
        except InUseError as error:
            if time.monotonic() > until:
                return error, []
            time.sleep(LOOK)
        except (DataError, Interrupted):
            raise
        except Exception as error:
            return failure(error, work.entry.spec.factory if work.entry.spec else None), []


_read: dict[tuple[str, int, Reading], Data] = {}  # the images that this worker read last: its next task may want them


def _images(source: Source, size: int, reading: Reading, max_bad: str | None) -> Data:
    wanted = source.fingerprint, size, reading
    if wanted not in _read:
        _read.clear()  # why: there may not be room for both
        _read[wanted] = prepare(source, size, Centre(), reading=reading, max_bad=max_bad)
    return _read[wanted]


def _unseen(share: float, rate: str) -> None:
    """Progress of a task, which nobody sees."""
