"""`topfive show` beside what others print about the same network: whole processes, in one run, by turns.

All print the parameters and the operations of ResNet-152 at 224 pixels, stage by stage or layer by layer. `make bench`
runs it, in the environment that has the peers.
"""

import os
import platform
import statistics
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

ROUNDS = 5

# what their users write; where torchvision is built for another torch, its two operators are declared before the import
MODEL = """
import importlib.util, pathlib, torch
try:
    for library in pathlib.Path(importlib.util.find_spec("torchvision").origin).parent.glob("_C*.so"):
        torch.ops.load_library(library)
except OSError:
    declared = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        declared.define(name + "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
from torchvision.models import resnet152
model = resnet152().eval()
"""
TORCHINFO = """
from torchinfo import summary
print(summary(model, (1, 3, 224, 224), verbose=0))
"""
FVCORE = """
from fvcore.nn import FlopCountAnalysis, flop_count_table
print(flop_count_table(FlopCountAnalysis(model, torch.zeros(1, 3, 224, 224))))
"""
COMMANDS = {
    "topfive show resnet-152": ["-m", "topfive", "show", "resnet-152"],
    "topfive show resnet-152 --layers": ["-m", "topfive", "show", "resnet-152", "--layers"],
    "python -c 'import torch'": ["-c", "import torch"],
    "torchinfo.summary": ["-c", MODEL + TORCHINFO],
    "fvcore.flop_count_table": ["-c", MODEL + FVCORE],
}


def seconds(arguments: list[str]) -> float:
    """How long a whole Python process takes, from its start to its end."""
    started = time.perf_counter()
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True)
    taken = time.perf_counter() - started
    if done.returncode:
        sys.exit(f"{arguments} failed:\n{done.stderr}")
    return taken


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(": ", 1)[1] for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def main() -> None:
    for arguments in COMMANDS.values():  # once for the files' cache and the bytecode
        seconds(arguments)
    taken = {name: [] for name in COMMANDS}
    for _ in range(ROUNDS):
        for name, arguments in COMMANDS.items():
            taken[name].append(seconds(arguments))
    first = statistics.median(taken[next(iter(COMMANDS))])
    print("| a whole process | median s | least s | most s | times the first |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for name, values in taken.items():
        middle = statistics.median(values)
        print(f"| `{name}` | {middle:.2f} | {min(values):.2f} | {max(values):.2f} | {middle / first:.1f} |")
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "torchvision", "torchinfo", "fvcore"))
    print(f"\n{ROUNDS} runs each, by turns, after one that is not counted; {os.cpu_count()} cores of {processor()},")
    print(f"Python {platform.python_version()}, {packages}.")


if __name__ == "__main__":
    main()
