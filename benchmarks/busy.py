"""Alone and beside a program that keeps one core busy: topfive and timm, by turns in one run.

Training rates are those of the second epoch, as each tool gives them; evaluate, predict and compare are whole
commands, from their start to their end. What counts is the last column: how much of its speed a tool keeps. The
peers' scripts are not in their packages: `TIMM_TRAIN=path/to/train.py TIMM_INFERENCE=path/to/inference.py` name timm's.
`BEFORE=path/to/checkout` runs another topfive too, and says how fast ours is beside it.
"""

import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from training import DATA, subset

ROUNDS = int(os.environ.get("ROUNDS", "3"))
IMAGES = int(os.environ.get("IMAGES", "4000"))  # of training; a quarter as many are predicted
NETWORK, SIDE, BATCH = "cifar-resnet-20", "32", "32"


@contextmanager
def another_program(busy: bool) -> Iterator[None]:
    """While this lasts, a program computes without a pause, on one core."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"]) if busy else None
    try:
        yield
    finally:
        if process:
            process.kill()
            process.wait()


def run(arguments: list[str], path: str = "") -> tuple[str, float]:
    """What a command prints, and its seconds."""
    environment = {**os.environ, **({"PYTHONPATH": path} if path else {})}
    began = time.perf_counter()
    done = subprocess.run(arguments, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        sys.exit(f"{' '.join(arguments[:6])} failed:\n{done.stderr[-2000:]}")
    return done.stdout + done.stderr * ("--format" not in arguments), time.perf_counter() - began


class Topfive:
    """The commands of a topfive, from a checkout or as it is installed: images a second of each."""

    def __init__(self, folder: str, path: str, scratch: Path) -> None:
        self.folder, self.path, self.scratch = folder, path, scratch
        self.model = str(scratch / "model")
        self.command("train", NETWORK, folder, "--recipe", "quick", "--epochs", "1", "--out", self.model)

    def command(self, *arguments: str) -> tuple[str, float]:
        return run([sys.executable, "-m", "topfive", *arguments, "--quiet", "--format", "json"], self.path)

    def train(self) -> float:
        with tempfile.TemporaryDirectory(dir=self.scratch) as out:
            options = ["--recipe", "quick", "--epochs", "2", "--batch", BATCH, "--out", f"{out}/run"]
            return float(
                json.loads(self.command("train", NETWORK, self.folder, *options)[0])["rows"][1]["images_per_second"]
            )

    def evaluate(self) -> float:
        return IMAGES / self.command("evaluate", self.model, self.folder, "--out", f"{self.scratch}/page")[1]

    def predict(self) -> float:
        return IMAGES / self.command("predict", self.model, f"{self.folder}/train")[1]

    def compare(self) -> float:
        with tempfile.TemporaryDirectory(dir=self.scratch) as out:
            options = ["--data", self.folder, "--epochs", "2", "--batch", BATCH, "--out", out]
            return 2 * IMAGES / self.command("compare", NETWORK, *options)[1]


def timm_train(folder: str) -> float:
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "benchmarks/training.py", "--timm", folder, "--model", "resnet18", "-b", BATCH]
        command += ["--num-classes", "10", "--epochs", "2", "-j", "2", "--img-size", SIDE, "--device", "cpu"]
        command += ["--sched-on-updates", "--warmup-epochs", "0", "--output", scratch, "--log-interval", "5"]
        said, _ = run(command)
        return float(re.findall(r"Train: 1 .*\(\s*[\d.]+s,\s*([\d.]+)/s\)", said)[-1])


def timm_predict(folder: str) -> float:
    with tempfile.TemporaryDirectory() as scratch:
        weights = f"{scratch}/resnet18.pth"
        run([sys.executable, "benchmarks/inference.py", "--weights", weights, "resnet18"])
        command = [sys.executable, "benchmarks/inference.py", "--timm", f"{folder}/train", "--model", "resnet18"]
        command += ["--checkpoint", weights, "--num-classes", "10", "--img-size", SIDE, "--device", "cpu", "-b", BATCH]
        return IMAGES / run([*command, "--results-dir", scratch, "--no-console-results"])[1]


def main() -> None:
    if not DATA.is_dir():
        print(f"skipped: {DATA} is not there")
        return
    os.chdir(Path(__file__).parent.parent)
    with tempfile.TemporaryDirectory() as held:
        folder, scratch = subset("cifar10.tar.xz", IMAGES, held), Path(held)
        methods: dict[str, Callable[[], float]] = {}
        checkouts = {"topfive": "", **({"topfive, before": os.environ["BEFORE"]} if "BEFORE" in os.environ else {})}
        for name, path in checkouts.items():
            (scratch / name).mkdir()
            ours = Topfive(folder, path, scratch / name)
            for command in ("train", "evaluate", "predict", "compare"):
                methods[f"{name}: {command}"] = getattr(ours, command)
        for variable, name, method in (
            ("TIMM_TRAIN", "timm: train.py", timm_train),
            ("TIMM_INFERENCE", "timm: inference.py", timm_predict),
        ):
            if variable in os.environ:
                methods[name] = lambda method=method: method(folder)  # type: ignore[misc]
            else:
                print(f"{name} is left out: {variable} does not name it")
        rates: dict[tuple[str, bool], list[float]] = {(name, busy): [] for name in methods for busy in (False, True)}
        for _ in range(ROUNDS):
            for name, method in methods.items():
                for busy in (False, True):
                    with another_program(busy):
                        rates[name, busy].append(method())
                    where = "beside a busy core" if busy else "alone"
                    print(f"{name}, {where}: {rates[name, busy][-1]:,.0f} images/s", file=sys.stderr, flush=True)
        about = f"{NETWORK} (timm: ResNet-18 at {SIDE}), batch {BATCH}, {IMAGES:,} images, {os.cpu_count()} cores"
        print(f"\n{about}, medians of {ROUNDS} by turns\n")
        print("| command | alone (images/s) | beside a busy core | kept |\n| --- | ---: | ---: | ---: |")
        middle = {key: statistics.median(found) for key, found in rates.items()}
        for name in methods:
            alone, beside = middle[name, False], middle[name, True]
            print(f"| {name} | {alone:,.0f} | {beside:,.0f} | {beside / alone:.0%} |", flush=True)
        for name in [name for name in methods if ", before" in name]:
            new = name.replace(", before", "")
            ratios = [middle[new, busy] / middle[name, busy] for busy in (False, True)]
            print(f"{new} beside before: {ratios[0]:.2f} times as fast alone, {ratios[1]:.2f} times beside a busy core")


if __name__ == "__main__":
    main()
