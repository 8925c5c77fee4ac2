"""Precision and memory format of training, by measurement: which of them is fastest differs by processor and network.

ResNet-18 at 64 pixels trains a seventh faster in contiguous memory than channels last on a processor with AVX2 alone,
and slower on others. What was measured is kept for this machine and network; a run keeps what it began with.
"""

import contextlib
import copy
import hashlib
import os
import statistics
import time
from collections.abc import Callable, Mapping

import msgspec
import torch
from torch import nn
from torch.nn import functional

from topfive.data.files import write_whole
from topfive.data.stores import cache_folder
from topfive.engine.benchmark.load import Load
from topfive.engine.benchmark.machine import Machine
from topfive.engine.benchmark.measuring import DISTURBED
from topfive.engine.benchmark.threads import use_threads
from topfive.engine.models import capabilities
from topfive.engine.models.modules import Net
from topfive.engine.models.specs import ModelSpec, make, torch_costs
from topfive.networks import get
from topfive.networks.costs import count
from topfive.networks.layers import with_classes

FORMATS = ("channels_last", "contiguous")
ROUNDS = 13  # steps of each kind, by turns; the first does not count
SHARE = 0.02  # of a training that may be spent on choosing
WORTH = 1.03  # times as fast as the usual arithmetic another must be, to be taken
STEP = 6e10  # operations of a timed step
SLOW = 1.5  # times as long as the usual in the first two that count, from where on a kind is not timed again
CACHE = "arithmetic.json"
CALIBRATION, CALIBRATED = "cifar-resnet-20", (3, 32, 32)


class Rate(msgspec.Struct, frozen=True):
    """How fast a kind of arithmetic trains."""

    rate: float  # images a second, by the median of its steps
    gain: float  # how many times as fast as the usual it is in three of four turns: turn by turn, since machines drift


Rates = dict[str, Rate]  # by "PRECISION, FORMAT"


def fastest(
    subject: ModelSpec, input: tuple[int, int, int], classes: int, batch: int, images: int, machine: Machine
) -> tuple[Machine, str]:
    """`machine` with the arithmetic that trains `subject` fastest, and a sentence for the user, "" where nothing is.

    `images` is how many the training to come takes, epochs counted: where choosing takes too much of that, the machine
    stays as it is.
    """
    macs = (
        count(with_classes(subject.network, classes), input).macs
        if subject.network
        else torch_costs(subject, input, classes)[1]
    )
    part = max(2, min(batch, int(STEP / (6 * max(1, macs)))))
    kinds = [_kind(machine, precision, layout) for precision in _precisions(machine) for layout in FORMATS]
    if SHARE * images < ROUNDS * len(kinds) * part:
        return machine, ""
    key, known = _key(subject, input, classes, part, machine), _known()
    when = "measured before"
    if (rates := known.get(key)) is None:
        load = Load()
        rates, when = _measure(subject, input, classes, part, kinds), "measured now"
        if load.contention(machine.threads) <= DISTURBED:
            _keep(key, rates)
    return chosen(machine, rates, when)


def operations_per_second(machine: Machine) -> float:
    """Operations a second of training here, as a small convolutional network has them; others are within a factor of
    two of that."""
    network = with_classes(get(CALIBRATION), 10)
    kind, macs = _kind(machine, machine.precision, machine.memory_format), count(network, CALIBRATED).macs
    return 6 * macs * _measure(ModelSpec(CALIBRATION, network), CALIBRATED, 10, 64, [kind])[_name(kind)].rate


def chosen(machine: Machine, rates: Rates, when: str) -> tuple[Machine, str]:
    """The machine with the fastest arithmetic of `rates`, another than its own only where it is worth it."""
    usual = _name(machine)
    best = max(rates, key=lambda name: rates[name].gain)
    taken = best if rates[best].gain > WORTH else usual
    others = ", ".join(f"{name} {timed.rate:,.0f}" for name, timed in rates.items() if name != taken)
    precision, _, layout = taken.partition(", ")
    found = msgspec.structs.replace(machine, precision=precision, memory_format=layout)
    return found, f"trains in {taken}: {rates[taken].rate:,.0f} images/s ({others}), {when}"


def repeated(machine: Machine, before: Mapping[str, object]) -> Machine:
    """`machine` with the threads and the arithmetic of an earlier start, `before`, as far as it has them."""
    threads, precision, layout = (before.get(name) for name in ("threads", "precision", "memory_format"))
    if isinstance(threads, int) and machine.device == "cpu":
        machine = msgspec.structs.replace(machine, threads=max(1, min(threads, machine.cores)))
        use_threads(machine.threads)
    if precision in _precisions(machine):
        machine = msgspec.structs.replace(machine, precision=str(precision))
    if layout in FORMATS:
        machine = msgspec.structs.replace(machine, memory_format=str(layout))
    return machine


def _precisions(machine: Machine) -> list[str]:
    """What the machine computes in, the usual first."""
    lower = machine.kind == "cuda" or (machine.kind == "cpu" and capabilities.bfloat16())
    return list(dict.fromkeys([machine.precision, *(["bfloat16"] if lower else []), "float32"]))


def _kind(machine: Machine, precision: str, layout: str) -> Machine:
    return msgspec.structs.replace(machine, precision=precision, memory_format=layout)


def _name(machine: Machine) -> str:
    return f"{machine.precision}, {machine.memory_format}"


def _measure(subject: ModelSpec, input: tuple[int, int, int], classes: int, part: int, kinds: list[Machine]) -> Rates:
    """How fast each kind trains, from a few steps by turns; the first kind is the usual one."""
    with torch.random.fork_rng(devices=[]):  # why: the weights of the training to come are not to depend on this
        module = make(subject, input, classes)
        pixels, labels = torch.randn(part, *input), torch.zeros(part, dtype=torch.long)
        steps = {_name(kind): _step(kind, copy.deepcopy(module), pixels, labels) for kind in kinds}
        times: dict[str, list[float]] = {name: [] for name in steps}
        usual = next(iter(steps))
        for turn in range(ROUNDS):
            for name, step in steps.items():
                if len(times[name]) == 2 and min(times[name]) > SLOW * min(times[usual]):
                    continue
                began = time.perf_counter()
                step()
                times[name] += [time.perf_counter() - began] * (turn > 0)
    return {
        name: Rate(part / statistics.median(each), _quarter([one / two for one, two in zip(times[usual], each)]))
        for name, each in times.items()
    }


def _quarter(ratios: list[float]) -> float:
    """What three of four of them are above."""
    return sorted(ratios)[len(ratios) // 4]


def _step(machine: Machine, module: nn.Module, pixels: torch.Tensor, labels: torch.Tensor) -> Callable[[], None]:
    """Forward and backward of one batch."""
    module, x, y = machine.train_form(module).train(), machine.place(pixels), labels.to(machine.device)

    def step() -> None:
        with machine.arithmetic():
            outputs = module.all_logits(x) if isinstance(module, Net) else (module(x),)
        loss = torch.stack([functional.cross_entropy(logits.float(), y) for logits in outputs]).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        module.zero_grad()
        machine.wait()

    return step


# --- what was measured before ----------------------------------------------------------------------------------------


def _key(subject: ModelSpec, input: tuple[int, int, int], classes: int, part: int, machine: Machine) -> str:
    limits = [torch.backends.cpu.get_cpu_capability(), os.environ.get("ONEDNN_MAX_CPU_ISA", "")]
    fixed = msgspec.structs.replace(machine, memory_bytes=0)
    what = msgspec.json.encode((subject.network or subject.factory, input, classes, part, fixed, limits))
    return hashlib.sha256(what).hexdigest()[:24]


def _known() -> dict[str, Rates]:
    try:
        return msgspec.json.decode((cache_folder() / CACHE).read_bytes(), type=dict[str, Rates])
    except (OSError, msgspec.MsgspecError):  # nothing yet, or nothing that can be used: it is measured anew
        return {}


def _keep(key: str, rates: Rates) -> None:
    with contextlib.suppress(OSError):  # a home that cannot be written to costs seconds, not the run
        write_whole(cache_folder() / CACHE, msgspec.json.format(msgspec.json.encode({**_known(), key: rates})))
