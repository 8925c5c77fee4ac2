"""What a network takes on this machine: latency, throughput and memory, each network in a process of its own.

A process of its own makes the memory true (nothing is left over from the network before) and the time undisturbed by
what the parent still holds. `python -m topfive.engine.benchmark.measuring` is that process: a
`BenchmarkRequest` in JSON comes in on standard input, a `Benchmark` in JSON goes out on standard output.
"""

import gc
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial

import msgspec
import torch
from torch import nn

from topfive.engine.benchmark.load import Load
from topfive.engine.benchmark.machine import Machine
from topfive.engine.benchmark.memory import memory_peak, memory_start
from topfive.engine.benchmark.threads import use_threads
from topfive.engine.models.modules import Net
from topfive.engine.models.specs import ModelSpec, make
from topfive.errors import ResourceError
from topfive.results.records import Benchmark

SECONDS = 0.6  # spent on each timing, at least MIN_RUNS runs
MIN_RUNS, MAX_RUNS = 5, 100
DISTURBED = 0.25  # processors that other programs may take from a timing before it is said


class BenchmarkRequest(msgspec.Struct, frozen=True):
    """What the measuring process is asked for."""

    subject: ModelSpec
    input: tuple[int, int, int]
    classes: int
    machine: Machine
    inference_batches: tuple[int, ...] = (8, 32, 64)  # the one with the highest rate is taken
    training_batch: int = 64


def measure(task: BenchmarkRequest) -> Benchmark:
    """Run the measuring process on `task`.

    Raises: ResourceError where that process ends badly, as it does when memory runs out.
    """
    done = subprocess.run(
        [sys.executable, "-m", "topfive.engine.benchmark.measuring"],
        input=msgspec.json.encode(task),
        capture_output=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in ["", *sys.path] if path)},
        check=False,
    )
    if done.returncode != 0:
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or [f"exit status {done.returncode}"]
        raise ResourceError(f"measuring {task.subject.name} failed: {last[0][:300]}")
    return msgspec.json.decode(done.stdout.splitlines()[-1], type=Benchmark)


def summarise(
    latency: list[float],
    batches: list[float],
    batch: int,
    inference_bytes: int,
    training_bytes: int,
    trained: int,
    cpu_contention: float = 0.0,
    backend: str = "",
) -> Benchmark:
    """Medians and quartiles of the seconds of runs on one image and on a batch, beside the bytes."""
    low, middle, high = statistics.quantiles(latency, n=4)
    slowest_tenth = statistics.quantiles(latency, n=10)[-1]
    slow, usual, fast = (batch / seconds for seconds in reversed(statistics.quantiles(batches, n=4)))
    return Benchmark(
        latency_ms=middle * 1e3,
        latency_low_ms=low * 1e3,
        latency_high_ms=high * 1e3,
        throughput=usual,
        throughput_low=slow,
        throughput_high=fast,
        throughput_batch=batch,
        memory_inference_bytes=inference_bytes,
        memory_training_bytes=training_bytes,
        training_batch=trained,
        cpu_contention=cpu_contention,
        latency_p90_ms=slowest_tenth * 1e3,
        backend=backend,
    )


def _measure_here(task: BenchmarkRequest) -> Benchmark:
    # why here: what runs a trained network is itself built on `Machine`
    from topfive.engine.benchmark.serving import chosen_backend, serving_form

    backend = chosen_backend(task)  # why first: this process has started no threads yet, and can be forked
    machine = task.machine
    use_threads(machine.threads)
    _warm_up(machine)
    before = memory_start(machine)
    run = serving_form(task, backend)
    one, *many = (torch.randint(256, (count, *task.input), dtype=torch.uint8) for count in (1, *task.inference_batches))
    gc.collect()  # what the form was made of is gone
    with torch.inference_mode():
        run(one)
        peak = max(0, memory_peak(machine) - before)
        load = Load()
        latency = time_runs(lambda: run(one), machine)
        rates = {len(batch): time_runs(partial(run, batch), machine) for batch in many}
    contention = load.contention(machine.threads)
    best = min(rates, key=lambda batch: statistics.median(rates[batch]) / batch)
    return summarise(latency, rates[best], best, peak, _train(task), task.training_batch, contention, backend)


def _train(task: BenchmarkRequest) -> int:
    """The bytes that training takes at most, over two steps: the second one has the optimiser's state."""
    machine = task.machine
    before = memory_start(machine)
    module = machine.train_form(make(task.subject, task.input, task.classes)).train()
    optimizer = torch.optim.SGD(module.parameters(), lr=1e-3, momentum=0.9)
    pixels = machine.place(torch.randn(task.training_batch, *task.input))
    labels = torch.zeros(task.training_batch, dtype=torch.long, device=machine.device)
    for _ in range(2):
        with machine.arithmetic():
            outputs = module.all_logits(pixels) if isinstance(module, Net) else (module(pixels),)
            loss = torch.stack([nn.functional.cross_entropy(logits, labels) for logits in outputs]).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
    return max(0, memory_peak(machine) - before)


def time_runs(run: Callable[[], object], machine: Machine) -> list[float]:
    """Seconds of each run, after two that do not count."""
    run(), run()
    times: list[float] = []
    began = time.perf_counter()
    while len(times) < MIN_RUNS or (time.perf_counter() - began < SECONDS and len(times) < MAX_RUNS):
        start = time.perf_counter()
        run()
        machine.wait()
        times.append(time.perf_counter() - start)
    return times


def _warm_up(machine: Machine) -> None:
    """Load the libraries and thread pools that any network needs, so that no network is charged for them."""
    layers = nn.Sequential(nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 49, 8))
    module = machine.train_form(layers)
    with machine.arithmetic():
        module(machine.place(torch.randn(4, 8, 9, 9))).sum().backward()


if __name__ == "__main__":
    print(
        msgspec.json.encode(_measure_here(msgspec.json.decode(sys.stdin.buffer.read(), type=BenchmarkRequest))).decode()
    )
