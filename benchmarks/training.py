"""Training, data loading included: topfive, timm's and torchvision's scripts and a plain loop, by turns in one run.

ResNet-18 on Imagenette's files at 224, batch 32, random resized crops and mirror images, two workers; ResNet-20 on
CIFAR-10, batch 128, padded crops and mirror images. Every method runs as a process of its own; the rate is that of its
second epoch. The peers' scripts are not in their packages: set before `make bench-training`,
`TIMM_TRAIN=path/to/train.py` names timm's and `TORCHVISION_REFERENCE=path/to/references/classification` the folder of
torchvision's. Last, the share of this processor's matrix rate that the training reached: what is left to win in the
arithmetic.
"""

import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from loading import peers

HERE = Path(__file__).parent
DATA = Path(os.environ.get("TOPFIVE_BENCH_DATA", HERE.parents[1] / "shared" / "data"))
ROUNDS, IMAGES, CIFAR_IMAGES = 3, 320, 10_000
OPS = {"resnet-18": 6 * 1.814e9, "cifar-resnet-20": 6 * 40.8e6}  # of an image in training: three times forward


def topfive(network: str, folder: str, options: list[str]) -> float:
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "topfive", "train", network, folder, "--recipe", "quick", "--epochs", "2"]
        command += [*options, "--out", f"{scratch}/run", "--format", "json", "--quiet", "--save-every", "1e9"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return float(json.loads(done.stdout)["rows"][1]["images_per_second"])


def timm(folder: str, options: list[str]) -> float:
    """The average rate over the second epoch, as timm prints it."""
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, __file__, "--timm", folder, "--model", "resnet18", "--num-classes", "10", "-b", "32"]
        command += ["--epochs", "2", "-j", "2", "--img-size", "224", "--color-jitter", "0", "--log-interval", "5"]
        command += ["--sched-on-updates", "--warmup-epochs", "0", "--output", scratch, *options]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        rates = re.findall(r"Train: 1 .*\(\s*[\d.]+s,\s*([\d.]+)/s\)", done.stdout + done.stderr)
        if not rates:
            sys.exit(f"timm's train.py gave no rate:\n{done.stderr[-2000:]}")
        return float(rates[-1])


def torchvision(folder: str) -> float:
    """The rate over the second epoch's training, from the mean seconds of a step that torchvision's script prints."""
    command = [sys.executable, __file__, "--torchvision", "--data-path", folder, "--model", "resnet18"]
    command += ["--device", "cpu", "-b", "32", "-j", "2", "--epochs", "2", "--print-freq", "1", "--output-dir", ""]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    # why: its img/s leaves out the wait for data and its total is in whole seconds; `time` is the mean of the last 20
    # steps with their waits, here of the whole epoch of ten
    seconds = re.findall(r"^Epoch: \[1\].* time: ([\d.]+)  data: ", done.stdout, re.MULTILINE)
    if done.returncode or not seconds:
        sys.exit(f"torchvision's train.py gave no rate:\n{done.stderr[-2000:]}")
    return 32 / float(seconds[-1])


def plain(folder: str) -> float:
    done = subprocess.run([sys.executable, __file__, "--plain", folder], capture_output=True, text=True, check=True)
    return float(done.stdout.splitlines()[-1])


def run_plain(folder: str) -> None:
    """ResNet-20 in fp32 with torchvision's data set and loader, written as the tutorials write it."""
    peers()
    from torch import nn
    from torch.nn import functional
    from torch.utils.data import DataLoader
    from torchvision import transforms
    from torchvision.datasets import ImageFolder

    class Block(nn.Module):
        def __init__(self, cin: int, cout: int, stride: int) -> None:
            super().__init__()
            self.conv1, self.bn1 = nn.Conv2d(cin, cout, 3, stride, 1, bias=False), nn.BatchNorm2d(cout)
            self.conv2, self.bn2 = nn.Conv2d(cout, cout, 3, 1, 1, bias=False), nn.BatchNorm2d(cout)
            self.stride, self.extra = stride, cout - cin

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
            short = functional.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.extra))
            return functional.relu(y + short)

    widths = [(16, 16, 1)] * 3 + [(16, 32, 2)] + [(32, 32, 1)] * 2 + [(32, 64, 2)] + [(64, 64, 1)] * 2
    net = nn.Sequential(
        nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(), *[Block(*width) for width in widths],
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10),
    )  # fmt: skip
    transform = transforms.Compose(
        [
            transforms.RandomCrop(32, 4),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize((0.491, 0.482, 0.447), (0.247, 0.243, 0.262)),
        ]
    )
    loader = DataLoader(ImageFolder(f"{folder}/train", transform), 128, shuffle=True, num_workers=2)
    optimizer = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9, weight_decay=1e-4)
    for _ in range(2):
        began, seen = time.perf_counter(), 0
        for x, y in loader:
            optimizer.zero_grad()
            functional.cross_entropy(net(x), y).backward()
            optimizer.step()
            seen += len(y)
    print(seen / (time.perf_counter() - began))


def run_timm(arguments: list[str]) -> None:
    peers()
    import runpy

    sys.argv = ["train.py", *arguments]
    runpy.run_path(os.environ["TIMM_TRAIN"], run_name="__main__")


def run_torchvision(arguments: list[str]) -> None:
    peers()
    import runpy

    folder = os.environ["TORCHVISION_REFERENCE"]
    sys.path.insert(0, folder)  # its modules lie beside it
    sys.argv = ["train.py", *arguments]
    runpy.run_path(f"{folder}/train.py", run_name="__main__")


def matrix_rate() -> float:
    """Operations a second of a large product in the precision that training uses here."""
    from topfive.engine.benchmark.machine import this_machine

    a = torch.randn(4096, 4096).to(this_machine().dtype)
    a @ a
    began = time.perf_counter()
    for _ in range(3):
        a @ a
    return 3 * 2 * 4096**3 / (time.perf_counter() - began)


def subset(archive: str, count: int, scratch: str, aside: int = 100) -> str:
    """A folder with the first images of ten classes of an archive: `count` to train on, `aside` to test on."""
    import tarfile

    with tarfile.open(DATA / archive) as tar:
        tar.extractall(scratch, filter="data")
    root = Path(scratch) / ("imagenette" if "imagenette" in archive else "cifar10")
    for split, left in (("train", count // 10), ("val", aside // 10), ("test", aside // 10)):
        for folder in sorted((root / split).glob("*")):
            for path in sorted(folder.iterdir())[left:]:
                path.unlink()
    return str(root)


def main() -> None:
    if not DATA.is_dir():
        print(f"skipped: {DATA} is not there")
        return
    with tempfile.TemporaryDirectory() as scratch:
        nette = subset("imagenette.tar", IMAGES, scratch)
        area = ["--set", 'augmentation={"crop":{"type":"RandomResizedCrop"}}']
        methods: dict[str, Callable[[], float]] = {
            "topfive": lambda: topfive("resnet-18", nette, [*area, "--size", "224", "--batch", "32", "--workers", "2"]),
            "topfive, kept in memory": lambda: topfive("resnet-18", nette, [*area, "--size", "224", "--batch", "32"]),
        }
        if os.environ.get("TIMM_TRAIN"):
            bf16 = ["--amp", "--amp-dtype", "bfloat16", "--channels-last", "--device", "cpu"]
            methods["timm, as it comes"] = lambda: timm(nette, ["--device", "cpu"])
            methods["timm, bf16 and channels last"] = lambda: timm(nette, bf16)
        else:
            print("timm's train.py is left out: TIMM_TRAIN does not name it")
        if os.environ.get("TORCHVISION_REFERENCE"):
            methods["torchvision's reference script"] = lambda: torchvision(nette)
        else:
            print("torchvision's reference script is left out: TORCHVISION_REFERENCE does not name its folder")
        table(f"ResNet-18, Imagenette's files, 224, batch 32, {IMAGES} images", methods, "resnet-18")
        cifar = subset("cifar10.tar.xz", CIFAR_IMAGES, scratch)
        small: dict[str, Callable[[], float]] = {
            "topfive": lambda: topfive("cifar-resnet-20", cifar, ["--batch", "128"]),
            "plain PyTorch, fp32, torchvision's loader": lambda: plain(cifar),
        }
        table(f"ResNet-20, CIFAR-10, batch 128, {CIFAR_IMAGES} images", small, "cifar-resnet-20")


def table(title: str, methods: dict[str, Callable[[], float]], network: str) -> None:
    rates: dict[str, list[float]] = {name: [] for name in methods}
    matrix = []
    for _ in range(ROUNDS):
        matrix.append(matrix_rate())
        for name, run in methods.items():
            rates[name].append(run())
    ours = statistics.median(next(iter(rates.values())))
    print(f"\n{title}, medians of {ROUNDS} by turns, {os.cpu_count()} cores\n")
    print("| method | images/s | least | most | topfive is faster by |\n| --- | ---: | ---: | ---: | ---: |")
    for name, found in rates.items():
        middle = statistics.median(found)
        print(f"| {name} | {middle:,.1f} | {min(found):,.1f} | {max(found):,.1f} | {ours / middle:.2f} |", flush=True)
    limit = statistics.median(matrix)
    print(f"\nmatrix rate here {limit / 1e12:.2f} T-ops/s; topfive trains at {ours * OPS[network] / limit:.0%} of it")


if __name__ == "__main__":
    if "--timm" in sys.argv:
        run_timm(sys.argv[2:])
    elif "--torchvision" in sys.argv:
        run_torchvision(sys.argv[2:])
    elif "--plain" in sys.argv:
        run_plain(sys.argv[2])
    else:
        main()
