"""Time to accuracy on Imagenette from scratch, wall clock: decoding, training and the whole validation split included.

`--recipe fast --minutes 7`, 15 and 30 with ResNet-18, and 15 with ResNet-20 on CIFAR-10: topfive takes as many epochs
as fit. `TIMM_TRAIN=path/to/train.py` adds timm's script with ResNet-18 at 224, bfloat16, channels last, its own
augmentation and cosine, for 30 minutes; how many epochs these are is for `--timm-epochs` to say, and the archive is
extracted for it before the clock starts. `--seeds 3` for three seeds, `--only "7 minutes"` for one line. Every finished
line is kept in OUT, so that the same command continues. Use: python benchmarks/time_to_accuracy.py [OUT] [--seeds N]
[--only LINE] [--timm-epochs N]
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

from training import DATA, HERE, matrix_rate

IMAGENETTE, CIFAR = str(DATA / "imagenette.tar"), str(DATA / "cifar10.tar.xz")
FAST = ["resnet-18", IMAGENETTE, "--recipe", "fast"]
SMALL = ["cifar-resnet-20", CIFAR, "--recipe", "fast"]
# what may be reached: the line -> (minutes, wanted Top-1, command)
LINES = {
    "7 minutes": (7, 0.80, [*FAST, "--size", "96"]),
    "15 minutes": (15, 0.85, [*FAST, "--size", "128"]),
    "30 minutes": (30, 0.88, [*FAST, "--size", "128", "--set", "augmentation.crop.least=0.25"]),
    "ResNet-20, 15 minutes": (15, 0.88, SMALL),
}
FIGURES = {FAST[0]: ("Imagenette, ResNet-18", "imagenette"), SMALL[0]: ("CIFAR-10 (JPEG), ResNet-20", "cifar10")}
VAL = 3_925  # of Imagenette
TIMM = "timm, 30 minutes"
TIMM_OPTIONS = [
    "--model", "resnet18", "--num-classes", "10", "--img-size", "224", "-b", "64", "-j", "2", "--device", "cpu",
    "--amp", "--amp-dtype", "bfloat16", "--channels-last", "--lr", "0.1", "--sched", "cosine", "--warmup-epochs", "1",
]  # fmt: skip


def run_timm(seed: int, epochs: int) -> dict[str, object]:
    """timm's training on the extracted files, from the start of its process to its end."""
    rate, options = matrix_rate(), [*TIMM_OPTIONS, "--epochs", str(epochs), "--seed", str(seed)]
    with tempfile.TemporaryDirectory() as scratch:
        with tarfile.open(IMAGENETTE) as tar:
            tar.extractall(scratch, filter="data")
        began = time.perf_counter()
        done = subprocess.run(
            [sys.executable, str(HERE / "training.py"), "--timm", f"{scratch}/imagenette", *options,
             "--output", scratch, "--experiment", "run"],
            capture_output=True, text=True,
        )  # fmt: skip
        seconds = time.perf_counter() - began
        if done.returncode:
            sys.exit(f"timm's train.py failed:\n{done.stderr[-2000:]}")
        with open(f"{scratch}/run/summary.csv") as file:
            tops = [float(row["eval_top1"]) / 100 for row in csv.DictReader(file)]
    curve = [(seconds * epoch / len(tops), top1) for epoch, top1 in enumerate(tops, start=1)]  # epochs are alike
    return {
        "line": TIMM, "seed": seed, "minutes": 30, "wanted": 0.0, "seconds": seconds, "matrix_rate": rate,
        "epochs": len(tops), "top1": curve[-1][1], "images": VAL, "curve": curve,
        "command": ["train.py", *options],
    }  # fmt: skip


def run(line: str, seed: int) -> dict[str, object]:
    """One training as a user would start it; its wall clock is of the whole process."""
    minutes, wanted, command = LINES[line]
    command = [*command, "--minutes", str(minutes)]
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
    return {
        "line": line, "seed": seed, "minutes": minutes, "wanted": wanted, "seconds": seconds, "matrix_rate": rate,
        "epochs": len(rows), "top1": last["correct1"] / last["images"], "images": last["images"], "curve": curve,
        "command": ["topfive", "train", *command, "--seed", str(seed)],
    }  # fmt: skip


def draw(rows: list[dict[str, object]], network: str, title: str, path: Path) -> None:
    """Top-1 of a network against the time from the start of the process; a ring is what was wanted by when."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.5), layout="constrained")
    for minutes, wanted, command in LINES.values():
        if command[0] == network:
            axes.plot(minutes, 100 * wanted, "o", ms=11, mfc="none", mec="0.4")
    names = list(dict.fromkeys(row["line"] for row in rows))
    for row in rows:
        command = row["command"]
        side = f", tested at {command[command.index('--size') + 1]}" if "--size" in command else ""
        name = f"{TIMM}, tested at 224" if row["line"] == TIMM else f"topfive, {row['line']}{side}"
        # why: a run's own clock begins when its images are read; the last point is at the process's end
        *times, _ = [seconds for seconds, _ in row["curve"]]
        axes.plot(
            [seconds / 60 for seconds in (*times, row["seconds"])],
            [100 * value for _, value in row["curve"]],
            ".-",
            color="0.5" if row["line"] == TIMM else f"C{names.index(row['line'])}",
            label=name if row["seed"] == 0 else None,
        )
    axes.set_title(f"{title}, from scratch (ring: the aim)", loc="left", fontsize=10)
    axes.set(
        xlabel="minutes on two cores, decoding and evaluation included",
        ylabel="Top-1 (%), 1-crop, the whole split",
    )
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right", frameon=False)
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", nargs="?", default="runs/time-to-accuracy")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--timm-epochs", type=int, default=6)
    parser.add_argument("--only", choices=[*LINES, TIMM])
    asked = parser.parse_args()
    if not DATA.is_dir():
        print(f"skipped: {DATA} is not there")
        return
    out = Path(asked.out)
    out.mkdir(parents=True, exist_ok=True)
    path = out / "time-to-accuracy.jsonl"
    made = [json.loads(text) for text in path.read_text().splitlines()] if path.exists() else []
    print("| line | epochs | seed | wanted (%) | Top-1 (%) | n | wall clock (s) | matrix rate (T-ops/s) |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    lines = [*LINES, TIMM] if os.environ.get("TIMM_TRAIN") else list(LINES)
    for line in [asked.only] if asked.only else lines:
        for seed in range(asked.seeds):
            row = next((row for row in made if (row["line"], row["seed"]) == (line, seed)), None)
            if row is None:
                row = run_timm(seed, asked.timm_epochs) if line == TIMM else run(line, seed)
                with path.open("a") as file:
                    file.write(json.dumps(row) + "\n")
                made.append(row)
            print(
                f"| {line} | {row['epochs']} | {seed} | {100 * row['wanted']:.0f} | {100 * row['top1']:.1f} | "
                f"{row['images']:,} | {row['seconds']:.0f} | {row['matrix_rate'] / 1e12:.2f} |",
                flush=True,
            )
    for network, (title, name) in FIGURES.items():
        rows = [row for row in made if (FAST if row["line"] == TIMM else LINES[row["line"]][2])[0] == network]
        if rows:
            draw(rows, network, title, out / f"time-to-accuracy-{name}.png")


if __name__ == "__main__":
    main()
