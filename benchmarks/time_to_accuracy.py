"""Time to accuracy on Imagenette from scratch, wall clock: decoding, training and the whole validation split included.

`--recipe fast` with as many epochs as fit into 7, 15 and 30 minutes on two cores at a matrix rate of 0.35 T-ops/s in
bfloat16; ResNet-20 on CIFAR-10 in 15. `--seeds 3` for three seeds, `--only "7 minutes"` for one line. Every finished
line is kept in OUT, so that the same command goes on. Use: python benchmarks/time_to_accuracy.py [OUT] [--seeds N]
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from training import DATA, matrix_rate

IMAGENETTE, CIFAR = str(DATA / "imagenette.tar"), str(DATA / "cifar10.tar.xz")
FAST = ["resnet-18", IMAGENETTE, "--recipe", "fast", "--size", "128"]
SMALL = ["cifar-resnet-20", CIFAR, "--recipe", "quick"]
# what may be reached: the line -> (minutes, wanted Top-1, command)
LINES = {
    "7 minutes": (7, 0.80, [*FAST, "--epochs", "8"]),
    "15 minutes": (15, 0.85, [*FAST, "--epochs", "16"]),
    "30 minutes": (30, 0.88, [*FAST, "--epochs", "30", "--set", "augmentation.crop.least=0.25"]),
    "ResNet-20, 15 minutes": (15, 0.88, [*SMALL, "--epochs", "14", "--batch", "128"]),
}


def run(line: str, seed: int, out: Path) -> dict[str, object]:
    """One training as a user would start it; its wall clock is of the whole process."""
    minutes, wanted, command = LINES[line]
    rate = matrix_rate()
    with tempfile.TemporaryDirectory() as scratch:
        began = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "topfive", "train", *command, "--seed", str(seed), "--out", f"{scratch}/run",
             "--format", "json", "--quiet"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        seconds = time.perf_counter() - began
    rows = json.loads(done.stdout)["rows"]
    last = rows[-1]["scores"]
    curve = [(row["seconds"], row["scores"]["correct1"] / row["scores"]["images"]) for row in rows if row["scores"]]
    found = {
        "line": line, "seed": seed, "minutes": minutes, "wanted": wanted, "seconds": seconds, "matrix_rate": rate,
        "top1": last["correct1"] / last["images"], "images": last["images"], "curve": curve,
        "command": ["topfive", "train", *command, "--seed", str(seed)],
    }  # fmt: skip
    with (out / "time-to-accuracy.jsonl").open("a") as file:
        file.write(json.dumps(found) + "\n")
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", nargs="?", default="runs/time-to-accuracy")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--only", choices=list(LINES))
    asked = parser.parse_args()
    if not DATA.is_dir():
        print(f"skipped: {DATA} is not there")
        return
    out = Path(asked.out)
    out.mkdir(parents=True, exist_ok=True)
    path = out / "time-to-accuracy.jsonl"
    made = [json.loads(text) for text in path.read_text().splitlines()] if path.exists() else []
    print("| line | seed | wanted (%) | Top-1 (%) | n | wall clock (s) | matrix rate (T-ops/s) |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for line in [asked.only] if asked.only else LINES:
        for seed in range(asked.seeds):
            there = next((row for row in made if (row["line"], row["seed"]) == (line, seed)), None)
            row = there or run(line, seed, out)
            print(
                f"| {line} | {seed} | {100 * row['wanted']:.0f} | {100 * row['top1']:.1f} | {row['images']:,} | "
                f"{row['seconds']:.0f} | {row['matrix_rate'] / 1e12:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
