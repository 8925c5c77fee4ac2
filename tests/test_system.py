"""Systems that are not Linux, played on Linux, and devices that are not here, played on a CPU.

`without_posix.py` takes away what Windows has not: nothing here was run on Windows, on macOS or on a GPU.
"""

import errno
import json
import os
import pickle
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from topfive import system
from topfive.cli import main
from topfive.data.opening import open_source
from topfive.engine.benchmark import machine as machine_of_benchmark
from topfive.engine.benchmark import measuring, memory
from topfive.engine.benchmark.machine import this_machine
from topfive.engine.models.modules import build
from topfive.engine.models.towers import two_devices
from topfive.engine.training.augmentation import augmented
from topfive.engine.training.fitting import fitted
from topfive.engine.training.processes import joined
from topfive.engine.training.sampling import COLUMNS
from topfive.engine.training.streaming import _Crops
from topfive.errors import UsageError
from topfive.networks import get, squeezenet
from topfive.networks.layers import Chain, Conv, GlobalPool, Linear, Network, Relu
from topfive.recipes.augmentations import Augmentation, RandomResizedCrop
from topfive.recipes.recipe import Recipe
from topfive.results.runs import load_run
from topfive.weights.matching import theirs

TINY = Network(
    "tiny",
    "tiny",
    (3, 32, 32),
    Chain(
        (
            ("conv1", Conv(8, 3, 2, 1)),
            ("relu1", Relu()),
            ("pool", GlobalPool("average")),
            ("fc", Linear(3)),
        )
    ),
)

# what runs one after the other in one process, by the words of its test
COMMANDS = {
    "show": ["show", "alexnet"],
    "data check": ["data", "check", "images"],
    "data check of a tar": ["data", "check", "images.tar"],
    "data pack": ["data", "pack", "images", "pack"],
    "train": ["train", "tiny.json", "images", "--recipe", "quick", "--epochs", "1", "--size=32", "--out", "runs/a"],
    "train from a pack": ["train", "tiny.json", "pack", "--recipe", "quick", "--epochs", "1", "--size", "32", "--plan"],
    "resume": ["resume", "runs/a"],
    "runs": ["runs"],
    "evaluate": ["evaluate", "runs/a", "images", "--predictions", "kept.csv"],
    "predict": ["predict", "runs/a", "images/val/flat", "images.tar"],
    "weights import": ["weights", "import", "theirs.pth", "--out", "ours.safetensors"],
    "compare": ["compare", "tiny.json", "--data", "images", "--size", "32", "--epochs", "1", "--seeds", "1"],
}  # fmt: skip
HELD = "resume while another holds the folder"
WORKERS = [*COMMANDS["train"][:-1], "runs/workers", "--workers", "1"]

RUNNING = """
import io, json, os, sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

from topfive import system
from topfive.cli import main
from topfive.data.check import scanning

assert not hasattr(system.os, "pread"), "nothing is hidden"
scanning.FEW = 8  # so that the images are read by processes


def ran(arguments):
    said = io.StringIO()
    with redirect_stderr(said), redirect_stdout(io.TextIOWrapper(io.BytesIO(), "cp1252")):
        code = main(["--debug", *arguments])
    return code, said.getvalue()


if __name__ == "__main__":
    told = {}
    for name, arguments in json.loads(sys.argv[1]).items():
        if name.startswith("resume while"):
            handle = os.open("runs/a/lock", os.O_RDWR)
            assert system.lock(handle)
            os.lseek(handle, 0, os.SEEK_SET)
            os.write(handle, b"17 elsewhere")
        told[name] = ran(arguments)
    Path("told.json").write_text(json.dumps(told), "utf-8")
"""


def run_without_posix(folder: Path, commands: dict[str, list[str]]) -> dict[str, tuple[int, str]]:
    """Exit code and words of each command, all in one process that has not what Windows has not."""
    (folder / "hidden").mkdir(exist_ok=True)
    shutil.copy(Path(__file__).with_name("without_posix.py"), folder / "hidden" / "sitecustomize.py")
    (folder / "running.py").write_text(RUNNING)
    found = os.pathsep.join([str(folder / "hidden"), str(Path(__file__).parent.parent)])
    environment = {**os.environ, "PYTHONPATH": found, "PYTHONWARNDEFAULTENCODING": "1", "XDG_CACHE_HOME": "cache"}
    command = [sys.executable, "running.py", json.dumps(commands)]
    ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr
    return {name: tuple(told) for name, told in json.loads((folder / "told.json").read_text()).items()}


@pytest.fixture(scope="module")
def place(directions: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images in a folder and in a tar, a network and another library's weights."""
    folder = tmp_path_factory.mktemp("system")
    shutil.copytree(directions, folder / "images")
    with tarfile.open(folder / "images.tar", "w") as tar:
        tar.add(folder / "images", "images")
    (folder / "tiny.json").write_bytes(msgspec.json.encode(TINY))
    torch.manual_seed(0)
    network = get("squeezenet-1.1")
    rules, tensors = squeezenet.torchvision(network), build(network).state_dict()
    torch.save({theirs(name, rules): tensor for name, tensor in tensors.items()}, folder / "theirs.pth")
    return folder


@pytest.fixture(scope="module")
def told(place: Path) -> dict[str, tuple[int, str]]:
    return run_without_posix(place, {**COMMANDS, HELD: COMMANDS["resume"]})


@pytest.mark.skipif(sys.platform != "linux", reason="it is Linux whose part is taken away")
@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_works_without_what_windows_has_not(name: str, told: dict[str, tuple[int, str]]) -> None:
    code, said = told[name]
    assert code == 0, said


@pytest.mark.skipif(sys.platform != "linux", reason="it is Linux whose part is taken away")
def test_a_second_start_is_refused_there_too(told: dict[str, tuple[int, str]]) -> None:
    code, said = told[HELD]
    assert code == 2 and "runs/a is in use by process 17 on elsewhere: " in said


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="it is Linux whose part is taken away")
def test_workers_that_are_not_forked_read_the_images(place: Path) -> None:
    code, said = run_without_posix(place, {"train": WORKERS})["train"]
    assert code == 0, said


@pytest.mark.parametrize("where", ["images", "images.tar"])
def test_what_a_worker_needs_can_be_sent_to_it(where: str, place: Path) -> None:
    source = open_source(str(place / where))
    crops = _Crops(source, source.train, RandomResizedCrop(), 16, 7)
    work = 3, np.array([1, 40, 5])
    mine, index, *_ = crops[work]
    theirs, same, *_ = pickle.loads(pickle.dumps(crops))[work]
    assert torch.equal(mine, theirs) and index.tolist() == same.tolist() == [1, 40, 5]


def test_a_lock_is_told_of_where_the_system_lists_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """macOS and Windows: a process that is gone holds nothing; of one that is there nothing is claimed."""
    real = Path.read_text

    def read_text(path: Path, *more: object, **named: object) -> str:
        if str(path).startswith("/proc"):
            raise FileNotFoundError
        return real(path, *more, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "read_text", read_text)
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait()
    for text, expected in (
        (f"{os.getpid()} {system.host()}", None),
        (f"{gone.pid} {system.host()}", False),
        (f" {system.host()}", False),
        (f"{gone.pid} another-host", None),
    ):
        (tmp_path / "lock").write_text(text)
        assert system.locked(tmp_path / "lock") is expected, text
    assert system.locked(tmp_path / "none") is False


def test_a_file_system_without_locks_costs_a_note(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def lockless(handle: int) -> bool:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(system, "lock", lockless)
    monkeypatch.chdir(place)
    assert main([*COMMANDS["train"][:-1], str(tmp_path / "run")]) == 0
    assert f"{tmp_path / 'run'} cannot be locked (No locks available): start nothing else" in capsys.readouterr().err


def test_memory_and_processors_are_the_systems() -> None:
    """Against the kernel's and the C library's own figures."""
    if sys.platform != "linux":
        pytest.skip("the oracles are Linux's")
    (total,) = (line.split()[1] for line in Path("/proc/meminfo").read_text().splitlines() if "MemTotal" in line)
    assert system.memory_bytes() == int(total) * 1024
    assert system.processors() == len(os.sched_getaffinity(0))
    assert Path("/proc/self/statm").exists() and system.peak_memory() > 2**24


# --- devices --------------------------------------------------------------------------------------------------------


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, object]]:
    """torch as it answers where two GPUs are; the calls that name a device, in order."""
    calls: list[tuple[str, object]] = []

    class Current:
        def __init__(self, device: object) -> None:
            calls.append(("device", device))

        def __enter__(self) -> None: ...

        def __exit__(self, *_: object) -> None: ...

    def answer(name: str, value: object) -> Callable[..., object]:
        return lambda device=None: (calls.append((name, device)), value)[1]

    for name, value in (
        ("synchronize", None),
        ("reset_peak_memory_stats", None),
        ("memory_allocated", 3),
        ("max_memory_allocated", 5),
        ("mem_get_info", (1, 80 * 10**9)),
    ):
        monkeypatch.setattr(torch.cuda, name, answer(name, value))
    for name, plain in (("device_count", 2), ("is_available", True), ("get_device_name", "H100"), ("empty_cache", 0)):
        monkeypatch.setattr(torch.cuda, name, lambda plain=plain: plain)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    monkeypatch.setattr(torch.cuda, "device", Current)
    return calls


@pytest.fixture
def apple(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch as it answers on an Apple machine."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)


def test_a_gpu_is_taken_by_itself_or_by_its_number(two_gpus: list[tuple[str, object]]) -> None:
    assert [this_machine(device).device for device in ("auto", "cpu", "cuda", "cuda:1")] == [
        "cuda", "cpu", "cuda", "cuda:1",
    ]  # fmt: skip
    assert this_machine("cuda:1").processor == "H100" and this_machine("cpu").processor != "H100"
    for device in ("cuda:2", "mps", "gpu", "cuda:", "CUDA"):
        with pytest.raises(UsageError, match=f"no device '{device}' here: .* auto, cpu, cuda, cuda:0, cuda:1$"):
            this_machine(device)
    assert machine_of_benchmark.overlooked("auto") == []
    assert two_devices("cuda") == ("cuda:0", "cuda:1") and two_devices("cuda:1") == ("cuda:1", "cuda:1")


def test_what_is_measured_is_the_device_that_was_named(two_gpus: list[tuple[str, object]]) -> None:
    machine = this_machine("cuda:1")
    two_gpus.clear()
    assert (memory.memory_start(machine), memory.memory_peak(machine)) == (3, 5)
    measuring.time_runs(lambda: None, machine)
    assert fitted(Recipe(epochs=1, batch=64), get("cifar-resnet-20"), 32, 10, machine).accumulation_steps == 1
    assert {name for name, _ in two_gpus} >= {"synchronize", "max_memory_allocated", "mem_get_info"}
    assert {device for _, device in two_gpus} == {"cuda:1"}
    with machine.arithmetic():
        assert torch.is_autocast_enabled("cuda") and torch.get_autocast_dtype("cuda") == torch.bfloat16


def test_apples_gpu_is_used_where_it_is_asked_for_alone(apple: None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert this_machine().device == "cpu" and "--device mps" in machine_of_benchmark.overlooked("auto")[0]
    assert machine_of_benchmark.overlooked("cpu") == machine_of_benchmark.overlooked("mps") == []
    machine = this_machine("mps")
    assert (machine.device, machine.kind, machine.precision) == ("mps", "mps", "float32")
    waited: list[str] = []
    monkeypatch.setattr(torch.mps, "synchronize", lambda: waited.append("mps"))
    monkeypatch.setattr(torch.mps, "empty_cache", lambda: None)
    monkeypatch.setattr(torch.mps, "driver_allocated_memory", lambda: 7)
    monkeypatch.setattr(torch.mps, "recommended_max_memory", lambda: 10**10)
    assert (memory.memory_start(machine), memory.memory_peak(machine)) == (7, 7)
    measuring.time_runs(lambda: None, machine)
    assert (
        waited and fitted(Recipe(epochs=1, batch=64), get("cifar-resnet-20"), 32, 10, machine).accumulation_steps == 1
    )


def test_nothing_of_64_bits_is_moved_to_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Apple's GPU has no float64; `meta` stands for a device, and takes no numbers back from the CPU."""
    moved: list[torch.dtype] = []
    real = torch.Tensor.to

    def to(tensor: torch.Tensor, *where: object, **more: object) -> torch.Tensor:
        if any(str(place).startswith("meta") for place in where):
            moved.append(tensor.dtype)
        return real(tensor, *where, **more)  # type: ignore[call-overload, no-any-return]

    monkeypatch.setattr(torch.Tensor, "to", to)
    pixels = torch.zeros(4, 3, 8, 8, dtype=torch.uint8, device="meta")
    everything = Augmentation(RandomResizedCrop(), hflip=True, colour=0.4, pca_noise=0.1, erase=0.5)
    made = augmented(pixels, np.full((4, COLUMNS), 0.4), everything, True)
    assert made.device.type == "meta" and made.shape == pixels.shape
    assert moved and torch.float64 not in moved


def test_processes_share_no_single_device(two_gpus: list[tuple[str, object]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    for device in ("cuda:1", "mps"):
        with pytest.raises(UsageError, match=f"^--device {device} is one device for 2 processes: --device cuda"):
            joined(device)


def test_a_run_goes_on_on_the_kind_of_device_that_it_was_started_on(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    out = str(tmp_path / "run")
    assert main([*COMMANDS["train"][:-1], out, "--device", "cpu"]) == 0
    with monkeypatch.context() as patch:  # the machine has got a GPU since
        patch.setattr(machine_of_benchmark, "devices", lambda: ["cpu", "cuda", "cuda:0"])
        assert machine_of_benchmark.resumed_on("cpu", out) == "cpu"
        assert (
            machine_of_benchmark.resumed_on("cuda:0", out) == "cuda:0"
            and machine_of_benchmark.resumed_on("cuda:3", out) == "cuda"
        )
        assert main(["resume", out]) == 0
    stated = load_run(tmp_path / "run")
    elsewhere = msgspec.structs.replace(stated, machine={**stated.machine, "device": "cuda:1"})
    monkeypatch.setattr("topfive.results.runs.load_run", lambda folder: elsewhere)
    monkeypatch.setattr(machine_of_benchmark, "devices", lambda: ["cpu"])
    capsys.readouterr()
    assert main(["resume", out]) == 2
    assert main([*COMMANDS["train"][:-1], out]) == 2
    said = capsys.readouterr().err.splitlines()
    assert sum("was started on cuda, which is not here: --device continues" in line for line in said) == 2
    assert main(["resume", out, "--device", "cpu"]) == 0
    assert "device cuda:1 there, cpu now: not bit-identical" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command",
    [
        ["train", "tiny.json", "images", "--size", "32"],
        ["resume", "runs/b"],
        ["evaluate", "runs/b", "images"],
        ["predict", "runs/b", "images"],
        ["compare", "tiny.json", "--data", "images"],
    ],
    ids=lambda command: command[0],
)
def test_a_device_that_is_not_here_is_told_by_every_command(
    command: list[str], place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    if not (place / "runs" / "b").exists():
        assert main([*COMMANDS["train"][:-1], "runs/b"]) == 0
    before = sorted(place.rglob("*"))
    capsys.readouterr()
    assert main([*command, "--device", "cuda:7"]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("topfive: there is no device 'cuda:7' here: --device is one of auto, cpu")
    assert sorted(place.rglob("*")) == before
