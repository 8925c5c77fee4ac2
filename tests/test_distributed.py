"""Several processes train as one: the same images a step, the same losses, every image scored once."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from PIL import Image
from torch import distributed

from topfive.cli import main
from topfive.data.opening import open_source
from topfive.engine.training import processes
from topfive.engine.training.loading import prepare
from topfive.networks.layers import Chain, Conv, GlobalPool, Linear, Network, Relu
from topfive.recipes.augmentations import CIFAR
from topfive.results.runs import newest_in

PLAIN = Network(
    "plain-tiny",
    "plain-tiny",
    (3, 32, 32),
    Chain(
        (("conv1", Conv(8, 3, 2, 1)), ("relu1", Relu()), ("conv2", Conv(16, 3, 2, 1)), ("relu2", Relu()),
         ("pool", GlobalPool("average")), ("fc", Linear(2)))
    ),
)  # fmt: skip
CHILD = """
import json, sys
import msgspec, torch
from topfive.recipes.augmentations import CIFAR
from topfive.cli import main
from topfive.data.opening import open_source
from topfive.engine.training import processes
from topfive.engine.training.loading import prepare
from topfive.engine.benchmark.machine import device_of, this_machine
from topfive.engine.models.modules import build
from topfive.engine.training.loop import Training, records, train
from topfive.networks.layers import Network
from topfive.recipes.recipe import Recipe

group = processes.joined(device_of("auto"))
machine = msgspec.structs.replace(this_machine(), precision="float32")
network = msgspec.json.decode(open(sys.argv[1], "rb").read(), type=Network)
data = prepare(open_source(sys.argv[2]), 32, CIFAR.crop)
torch.manual_seed(0)
recipe = Recipe(epochs=3, batch=8, lr=0.1, lr_batch=8, accumulation_steps=int(sys.argv[3]))
rows = list(records(train(Training(build(network, (3, 32, 32)), data, recipe, machine, group))))
if group.is_main:
    seen = [row.scores.images - row.scores.unreadable for row in rows]
    print(json.dumps([[row.loss, row.train_accuracy, n, row.scores.correct1] for row, n in zip(rows, seen)]))
processes.left()
"""


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of 27 training and 11 validation images: 54 in batches of 8 leave a last batch of 6."""
    root, noise = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for part, count in (("train", 27), ("val", 11)):
        for name, level in (("dark", 60), ("light", 120)):
            (root / part / name).mkdir(parents=True)
            for i in range(count):
                pixels = noise.integers(level - 60, level + 60, (32, 32, 3)).astype(np.uint8)
                Image.fromarray(pixels).save(root / part / name / f"{i}.png")
    (root / "plain.json").write_bytes(msgspec.json.encode(PLAIN))
    (root / "child.py").write_text(CHILD)
    return root


def torchrun(*arguments: str, options: tuple[str, ...] = ("--standalone",), processes: int = 2) -> list[str]:
    launcher = [sys.executable, "-m", "torch.distributed.run", *options, f"--nproc-per-node={processes}"]
    return [*launcher, *arguments]


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}


def losses(command: list[str]) -> list[list[float]]:
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment(), timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])  # type: ignore[no-any-return]


# why slow: a start of torchrun takes seconds
@pytest.mark.parametrize("how", ["a batch in three parts", pytest.param("two processes", marks=pytest.mark.slow)])
def test_parts_and_processes_have_the_losses_of_one_and_score_each_image_once(how: str, images: Path) -> None:
    child = [str(images / "child.py"), str(images / "plain.json"), str(images)]
    alone = losses([sys.executable, *child, "1"])
    together = losses(torchrun(*child, "1") if how == "two processes" else [sys.executable, *child, "3"])
    for one, other in zip(alone, together, strict=True):
        assert other == pytest.approx(one, rel=1e-5) and other[2] == 22


@pytest.mark.slow
def test_bad_files_change_nothing_for_two_processes(images: Path, tmp_path: Path) -> None:
    """As tests/test_zoo.py has it for one process and 58 kinds."""
    for part in ("train", "val"):
        shutil.copytree(images / part, tmp_path / part)
    whole = (images / "train" / "dark" / "3.png").read_bytes()
    bad = {"train/dark/0a.png": b"", "train/light/3a.png": whole[:90], "val/dark/5a.png": b"<html>"}
    for name, content in bad.items():
        (tmp_path / name).write_bytes(content)
    child, network = str(images / "child.py"), str(images / "plain.json")
    alone = losses(torchrun(child, network, str(images), "1"))
    assert losses(torchrun(child, network, str(tmp_path), "1")) == alone


@pytest.mark.parametrize("workers", [None, 0])
def test_every_val_image_belongs_to_one_process(images: Path, workers: int | None) -> None:
    data = prepare(open_source(str(images)), 32, CIFAR.crop, workers)
    whole = torch.cat([pixels for pixels, _ in data.val(4)])
    for world in (2, 3, 8):
        parts = [pixels for rank in range(world) for pixels, _ in data.val(4, rank, world)]
        assert sum(map(len, parts)) == len(whole) == 22
        counted = {tensor.numpy().tobytes() for part in parts for tensor in part}
        assert counted == {tensor.numpy().tobytes() for tensor in whole}


def _train(images: Path, out: Path) -> list[str]:
    command = ["-m", "topfive", "train", str(images / "plain.json"), str(images), "--recipe", "quick"]
    return [*command, "--epochs", "40", "--batch", "8", "--size", "32", "--out", str(out), "--save-every", "0"]


def _children(parent: int) -> list[int]:
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(parent)], capture_output=True, text=True, check=False)
    return [int(pid) for pid in found.stdout.split()]


def _hit(process: "subprocess.Popen[bytes]", out: Path) -> list[int]:
    """Kill the second of the processes once something is saved; all of their numbers."""
    for _ in range(600):
        saved = list((out / "checkpoints").glob("step-*")) if out.exists() else []
        workers = [pid for pid in _children(process.pid) if b"topfive" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        if saved and len(workers) >= 2:
            os.kill(workers[1], signal.SIGKILL)
            return workers
        time.sleep(0.1)
    raise AssertionError("nothing was saved in a minute")


def test_processes_that_are_started_again_do_not_meet_the_addresses_of_those_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """torchrun (2.13) keeps its store: here a dictionary without a server."""
    kept, seen = distributed.HashStore(), list[Any]()  # type: ignore[no-untyped-call]
    monkeypatch.setattr(processes, "rendezvous", lambda *_, **__: iter([(kept, 0, 2)]))
    monkeypatch.setattr(distributed, "init_process_group", lambda *_, store, **__: seen.append(store))
    monkeypatch.setattr(distributed, "get_rank", lambda: 0)
    monkeypatch.setattr(distributed, "get_world_size", lambda: 2)
    for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE", "OMP_NUM_THREADS"):
        monkeypatch.setenv(name, "2")
    for restarts in ("0", "1"):
        monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", restarts)
        processes.joined("cpu")
    seen[0].set("address of 1", "that of a killed process")
    assert seen[0].check(["address of 1"]) and not seen[1].check(["address of 1"])


@pytest.mark.slow
def test_a_killed_process_is_started_again_and_the_end_is_the_same(images: Path, tmp_path: Path) -> None:
    for name in ("alone", "hit"):
        command = torchrun(*_train(images, tmp_path / name), options=("--standalone", "--max-restarts=3"))
        process = subprocess.Popen(command, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        if name == "hit":
            _hit(process, tmp_path / name)
        assert process.wait(timeout=600) == 0
    ends = [newest_in(tmp_path / name) for name in ("alone", "hit")]
    assert ends[0].step == ends[1].step
    assert all(ends[0].read(name) == ends[1].read(name) for name in ends[0].files)


@pytest.mark.slow
def test_without_restarts_no_process_is_left(images: Path, tmp_path: Path) -> None:
    process = subprocess.Popen(
        torchrun(*_train(images, tmp_path / "run"), options=("--standalone", "--max-restarts=0")),
        env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    workers = _hit(process, tmp_path / "run")
    _, said = process.communicate(timeout=600)
    assert process.returncode != 0
    assert b"internal error" not in said
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)


@pytest.mark.slow
def test_two_nodes_on_loopback_train(images: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    child = [str(images / "child.py"), str(images / "plain.json"), str(images), "1"]
    nodes = [
        subprocess.Popen(
            torchrun(*child, options=("--nnodes=2", f"--node-rank={rank}", "--master-addr=127.0.0.1",
                                      f"--master-port={port}"), processes=1),
            env=environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )
        for rank in (0, 1)
    ]  # fmt: skip
    said = [node.communicate(timeout=600)[0] for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0]
    alone = losses([sys.executable, *child])
    for one, other in zip(alone, json.loads(said[0].splitlines()[-1]), strict=True):
        assert other == pytest.approx(one, rel=1e-5)


@pytest.mark.slow
def test_two_processes_evaluate_as_one(images: Path, tmp_path: Path) -> None:
    """The same probabilities to the last bit, the unreadable image of the second process named by the first."""
    for part in ("train", "val"):
        shutil.copytree(images / part, tmp_path / "images" / part)
    (tmp_path / "images" / "val" / "light" / "4.png").write_bytes(b"<html>")
    short = ["1" if word == "40" else word for word in _train(images, tmp_path / "run")[2:]]
    assert main([*short, "--quiet"]) == 0
    found = []
    for start in ([sys.executable], torchrun()):
        out = tmp_path / str(len(found))
        command = [*start, "-m", "topfive", "evaluate", str(tmp_path / "run"), str(tmp_path / "images"), "--protocol"]
        command += ["10-crop", "--out", str(out), "--predictions", str(out / "p.csv"), "--format", "json"]
        done = subprocess.run([*command, "--precision", "float32"], capture_output=True, check=False, env=environment())
        assert done.returncode == 0, done.stderr[-2000:]
        (row,) = json.loads(done.stdout)["rows"]
        assert (row["images"], row["unreadable"], row["protocol"]) == (22, 1, "10-crop 32 of 37")
        found.append((row["correct1"], (out / "p.csv").read_bytes()))
    assert found[0] == found[1]
