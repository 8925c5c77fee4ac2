"""What a network takes on this machine: latency, throughput and memory, each network in a process of its own.

A process of its own makes the memory true (nothing is left over from the network before) and the time undisturbed by
what the parent still holds. `python -m topfive.engine.benchmark.measuring` is that process: a
`BenchmarkRequest` in JSON comes in on standard input, a `Benchmark` in JSON goes out on standard output.
"""

import copy
import gc
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import msgspec
import torch
from torch import Tensor, nn

from topfive import system
from topfive.engine.benchmark.load import Load
from topfive.engine.benchmark.threads import free_threads, use_threads
from topfive.engine.models import capabilities
from topfive.engine.models.modules import Classifier, ModelSpec, Net, make
from topfive.engine.models.towers import Towers
from topfive.errors import ResourceError, UsageError
from topfive.results.records import Benchmark

SECONDS = 0.6  # spent on each timing, at least MIN_RUNS runs
MIN_RUNS, MAX_RUNS = 5, 100
DISTURBED = 0.25  # processors that other programs may take from a timing before it is said


class Machine(msgspec.Struct, frozen=True):
    """Where and how the arithmetic is done; chosen once, printed, and part of every measurement."""

    device: str  # "cpu", "cuda" (the current one), "cuda:1" or "mps"
    processor: str
    cores: int
    threads: int
    memory_bytes: int
    precision: str  # of training: "bfloat16" or "float32"
    memory_format: str  # of training: "channels_last" or "contiguous"
    torch_version: str

    def __str__(self) -> str:
        return (
            f"{self.cores} cores {self.processor}, {self.threads} threads, {self.device}, {self.precision}, "
            f"{self.memory_format}, torch {self.torch_version}"
        )

    @property
    def kind(self) -> str:
        """The device without its number."""
        return self.device.partition(":")[0]

    def wait(self) -> None:
        """Until the device has done what it was given."""
        if self.kind == "cuda":
            torch.cuda.synchronize(self.device)
        elif self.kind == "mps":
            torch.mps.synchronize()

    @property
    def dtype(self) -> torch.dtype:
        return torch.bfloat16 if self.precision == "bfloat16" else torch.float32

    def arithmetic(self) -> AbstractContextManager[object]:
        """The context in which training runs: autocast where the precision is below 32 bits."""
        if self.precision == "float32":
            return nullcontext()
        return torch.autocast(self.kind, self.dtype)

    @property
    def layout(self) -> torch.memory_format:
        """The memory format as torch names it."""
        return torch.channels_last if self.memory_format == "channels_last" else torch.contiguous_format

    def place(self, pixels: Tensor) -> Tensor:
        """A batch on the device, in the memory format."""
        return pixels.to(self.device).contiguous(memory_format=self.layout)

    def train_form(self, module: nn.Module) -> nn.Module:
        """`module` on the device, towers on the two that they are on, in the memory format, weights in 32 bits."""
        if isinstance(module, Classifier) and isinstance(module.net, Towers):
            module.mean, module.std = (tensor.to(self.device) for tensor in module.normalisation)
            return _laid_out(module, self.layout)
        return _laid_out(module.to(self.device), self.layout)

    def infer_form(self, module: nn.Module) -> nn.Module:
        """A copy for inference, channels last: the weights cast once to what autocast would cast them to every time."""
        copied = msgspec.structs.replace(self, memory_format="channels_last").train_form(copy.deepcopy(module)).eval()
        for net in copied.modules():
            if isinstance(net, Net):
                for part in net.modules():
                    if isinstance(part, (nn.Conv2d, nn.Linear)):
                        part.to(self.dtype)
        return Inference(copied, self)


class Inference(nn.Module):
    """A network, or a classifier, in the form that inference uses: float logits out."""

    def __init__(self, module: nn.Module, machine: Machine) -> None:
        super().__init__()
        self.module, self.machine = module, machine

    def forward(self, x: Tensor) -> Tensor:
        if isinstance(self.module, Classifier):
            x = self.module.normalised(x)
        net = self.module.net if isinstance(self.module, Classifier) else self.module
        if isinstance(net, (Net, Towers)):
            return net(x.to(self.machine.dtype)).float()  # type: ignore[no-any-return]
        with self.machine.arithmetic():  # a user's own module may need 32 bits in places; autocast knows them
            return net(x).float()  # type: ignore[no-any-return]


def devices() -> list[str]:
    """The devices at hand, as `--device` takes them."""
    cuda = ["cuda", *(f"cuda:{n}" for n in range(torch.cuda.device_count()))] if torch.cuda.is_available() else []
    return ["cpu", *cuda, *(["mps"] if torch.backends.mps.is_available() else [])]


def device_of(asked: str) -> str:
    """The device asked for; "auto" is CUDA's current one where there is one, else the CPU, and never Apple's.

    Raises: UsageError for a device that is not here.
    """
    here = devices()
    if asked == "auto":
        return "cuda" if "cuda" in here else "cpu"
    if asked not in here:
        raise UsageError(f"there is no device {asked!r} here: --device is one of auto, {', '.join(here)}")
    return asked


def this_machine(device: str = "auto") -> Machine:
    """This machine with the device asked for, and the precision and memory format that it does well.

    Raises: UsageError for a device that is not here.
    """
    device = device_of(device)
    if device == "cpu":
        half, processor = capabilities.bfloat16(), _processor()
    elif device == "mps":
        half, processor = False, f"Apple GPU, {_processor()}"
    else:
        with torch.cuda.device(device):
            half, processor = torch.cuda.is_bf16_supported(), torch.cuda.get_device_name()
    return Machine(
        device=device,
        processor=processor,
        cores=system.processors(),
        threads=free_threads(),
        memory_bytes=system.memory_bytes(),
        precision="bfloat16" if half else "float32",
        memory_format="channels_last",
        torch_version=str(torch.__version__),
    )


def resumed_on(device: str, run: str) -> str:
    """The device to continue with a run that was started on `device`: that one, else one of its kind.

    Raises: UsageError where none is here.
    """
    here, kind = devices(), device.partition(":")[0]
    if kind not in here:
        others = ", ".join(here)
        raise UsageError(
            f"{run} was started on {kind}, which is not here: --device continues with it on one of {others}"
        )
    return device if device in here else kind


def overlooked(device: str) -> list[str]:
    """A sentence where "auto" leaves a GPU alone that could be asked for."""
    here = devices()
    if device == "auto" and "mps" in here and "cuda" not in here:
        return ["this machine has an Apple GPU, which is left alone: --device mps uses it"]
    return []


class BenchmarkRequest(msgspec.Struct, frozen=True):
    """What the measuring process is asked for."""

    subject: ModelSpec
    input: tuple[int, int, int]
    classes: int
    machine: Machine
    inference_batch: int = 32
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
) -> Benchmark:
    """Medians and quartiles of the seconds of runs on one image and on a batch, beside the bytes."""
    low, middle, high = statistics.quantiles(latency, n=4)
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
    )


def _measure_here(task: BenchmarkRequest) -> Benchmark:
    use_threads(task.machine.threads)
    _warm_up(task.machine)
    latency, batches, inference_bytes, cpu_contention = _infer(task)
    trained = task.training_batch
    return summarise(latency, batches, task.inference_batch, inference_bytes, _train(task), trained, cpu_contention)


def _infer(task: BenchmarkRequest) -> tuple[list[float], list[float], int, float]:
    """Seconds of each run on one image and on a batch, the bytes that one image takes at most, `cpu_contention`."""
    machine = task.machine
    before = memory_start(machine)
    module = machine.infer_form(make(task.subject, task.input, task.classes))
    one = machine.place(torch.randn(1, *task.input))
    many = machine.place(torch.randn(task.inference_batch, *task.input))
    gc.collect()  # the 32-bit weights are gone
    with torch.inference_mode():
        module(one)
        peak = memory_peak(machine) - before
        load = Load()
        latency, batches = time_runs(lambda: module(one), machine), time_runs(lambda: module(many), machine)
        return latency, batches, max(0, peak), load.contention(machine.threads)


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


def memory_start(machine: Machine) -> int:
    """Bytes held now; the peak starts anew from here where the system allows it."""
    gc.collect()
    if machine.kind == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(machine.device)
        return torch.cuda.memory_allocated(machine.device)
    if machine.kind == "mps":
        torch.mps.empty_cache()
        return memory_peak(machine)
    try:
        Path("/proc/self/clear_refs").write_text("5")
        return _status("VmRSS")
    except OSError:
        return memory_peak(machine)


def memory_peak(machine: Machine) -> int:
    """The most bytes held since `memory_start`; since the process began where the system does not start anew.

    Of Apple's GPU, which counts no peak, those that the driver has given out: torch keeps what it frees.
    """
    if machine.kind == "cuda":
        return torch.cuda.max_memory_allocated(machine.device)
    if machine.kind == "mps":
        return torch.mps.driver_allocated_memory()
    try:
        return _status("VmHWM")
    except OSError:
        return system.peak_memory()


def _laid_out(module: nn.Module, layout: torch.memory_format) -> nn.Module:
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.ndim == 4:
            tensor.data = tensor.data.contiguous(memory_format=layout)
    return module


def _status(key: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key):
            return int(line.split()[1]) * 1024
    raise OSError(f"no {key} in /proc/self/status")


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    print(
        msgspec.json.encode(_measure_here(msgspec.json.decode(sys.stdin.buffer.read(), type=BenchmarkRequest))).decode()
    )
