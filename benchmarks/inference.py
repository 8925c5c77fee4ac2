"""Inference on a CPU: the network alone, files to Top-5 beside timm's inference.py and a plain loop, and the agreement.

    python benchmarks/inference.py [RUN...]

RUN: run folders of networks trained here on Imagenette. For each, the share of the whole validation split whose
likeliest class is the one in float32. The first ResNet-50 of them is what is timed, at 224; without one, a ResNet-50 is
trained for two short epochs, since of random weights every rounding changes the answers. All methods of a table run by
turns; files to Top-5 are whole commands, from their start to their end, on the same images. timm's inference.py is
not in its package: `TIMM_INFERENCE=path/to/inference.py` names it; it needs pandas.
"""

import copy
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import torch
from loading import peers
from torch import Tensor, nn
from training import DATA, matrix_rate

ROUNDS, BATCH, SIDE = 3, 32, 224
IMAGES = int(os.environ.get("IMAGES", "1000"))
PROTOCOL = "1-crop:torchvision"  # resize 256, crop 224, as the others do
NO_OPENVINO = "import sys; sys.modules['openvino'] = None; from topfive.cli import main; main()"
Rates = dict[str, list[float]]


def table(title: str, rates: Rates, ours: str) -> None:
    best = statistics.median(rates[ours])
    print(f"\n{title}, medians of {ROUNDS} by turns, {os.cpu_count()} cores\n")
    print(f"| method | images/s | least | most | {ours} is faster by |\n| --- | ---: | ---: | ---: | ---: |")
    for name, found in rates.items():
        middle = statistics.median(found)
        print(f"| {name} | {middle:,.1f} | {min(found):,.1f} | {max(found):,.1f} | {best / middle:.2f} |", flush=True)


def by_turns(methods: dict[str, Callable[[], float]], rates: Rates) -> None:
    for name, run in methods.items():
        rates.setdefault(name, []).append(run())


# --- the network alone ----------------------------------------------------------------------------------------------


def alone(model: str, images: Path) -> None:
    """ResNet-50 on a batch of decoded images; torch's own forms get them normalised, ours normalise them."""
    from topfive.data.opening import open_source
    from topfive.engine.benchmark.machine import this_machine
    from topfive.engine.inference.backends import engine, forms
    from topfive.engine.inference.models import open_model
    from topfive.engine.models.modules import normalised
    from topfive.engine.training.pixels import decode
    from topfive.networks.costs import count

    machine, opened = this_machine(), open_model(model)
    classifier, source = opened.classifier, open_source(str(images.parent))
    items = source.val[:: len(source.val) // BATCH][:BATCH]
    pixels = decode(source, items, SIDE).pixels
    x = normalised(pixels, *classifier.normalisation)
    chosen = engine(classifier, machine, pixels)
    print(f"\n{machine}\nthe engine's choice: {chosen.said}")
    runs: dict[str, Callable[[], Tensor]] = {"the engine's choice": lambda: chosen(pixels)}

    def plain(net: nn.Module, x: Tensor) -> Callable[[], Tensor]:
        return lambda: net(x)  # type: ignore[no-any-return]

    runs["torch eager, fp32"] = plain(classifier.net, x.contiguous())
    last = copy.deepcopy(classifier.net).to(memory_format=torch.channels_last)
    runs["torch eager, fp32, channels last"] = plain(last, x)
    half = copy.deepcopy(last).to(torch.bfloat16)
    runs["torch eager, bf16, channels last"] = plain(half, x.bfloat16())
    for precision in ("float32", "bfloat16"):
        for form in forms(classifier, machine, precision):
            run = form.make()
            runs[form.name] = lambda run=run: run(pixels)  # type: ignore[misc]
    rates: Rates = {}
    matrix = []
    with torch.inference_mode():
        for run in runs.values():
            run()
        for _ in range(ROUNDS):
            matrix.append(matrix_rate())
            by_turns({name: lambda run=run: rate(run) for name, run in runs.items()}, rates)  # type: ignore[misc]
    table(f"{opened.network.name} alone, {SIDE}, batch {BATCH}", rates, "the engine's choice")
    limit, ops = statistics.median(matrix), 2 * count(opened.network, (3, SIDE, SIDE)).macs
    reached = statistics.median(rates["the engine's choice"]) * ops
    print(f"\nmatrix rate here {limit / 1e12:.2f} T-ops/s; the engine's choice reaches {reached / limit:.0%} of it")


def rate(run: Callable[[], Tensor]) -> float:
    """Images a second over two seconds and at least two batches."""
    began, batches = time.perf_counter(), 0
    while batches < 2 or time.perf_counter() - began < 2:
        run()
        batches += 1
    return batches * BATCH / (time.perf_counter() - began)


# --- files to Top-5 --------------------------------------------------------------------------------------------------


def end_to_end(model: str, folder: Path, scratch: Path) -> None:
    images = sum(1 for path in folder.rglob("*") if path.is_file())
    predict = ["predict", model, str(folder), "--protocol", PROTOCOL, "--format", "csv", "--quiet"]
    methods = {
        "topfive predict": lambda: command([sys.executable, "-m", "topfive", *predict], images),
        "topfive predict, without OpenVINO": lambda: command([sys.executable, "-c", NO_OPENVINO, *predict], images),
        "a plain torchvision loop": lambda: command([sys.executable, __file__, "--plain", str(folder)], images),
    }
    if os.environ.get("TIMM_INFERENCE"):
        weights = str(scratch / "resnet50.pth")
        subprocess.run([sys.executable, __file__, "--weights", weights], check=True)
        timm = [sys.executable, __file__, "--timm", str(folder), "--model", "resnet50", "--checkpoint", weights]
        timm += ["--num-classes", "10", "--topk", "5", "--device", "cpu", "-b", str(BATCH), "--no-console-results"]
        timm += ["--results-dir", str(scratch)]
        methods["timm's inference.py, as it comes"] = lambda: command(timm, images)
        faster = [*timm, "--channels-last", "--amp", "--amp-dtype", "bfloat16"]
        methods["timm's inference.py, bf16 and channels last"] = lambda: command(faster, images)
    else:
        print("timm's inference.py is left out: TIMM_INFERENCE does not name it")
    rates: Rates = {}
    for _ in range(ROUNDS):
        by_turns(methods, rates)
    table(f"Files to Top-5, ResNet-50, {SIDE}, {images:,} images, starting included", rates, "topfive predict")


def command(arguments: list[str], images: int) -> float:
    began = time.perf_counter()
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(arguments[:4])} failed:\n{done.stderr[-2000:]}")
    return images / (time.perf_counter() - began)


def run_plain(folder: str) -> None:
    """ResNet-50 by torchvision, its data set and its loader with two workers, as the tutorials write it."""
    peers()
    from torch.utils.data import DataLoader
    from torchvision import models, transforms
    from torchvision.datasets import ImageFolder

    transform = transforms.Compose(
        [
            transforms.Resize(256),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )
    net = models.resnet50(num_classes=10).eval()
    images = ImageFolder(folder, transform)
    rows = []
    with torch.inference_mode():
        for x, _ in DataLoader(images, BATCH, num_workers=2):
            shares, classes = net(x).softmax(1).topk(5)
            rows += list(zip(shares.tolist(), classes.tolist()))
    for (path, _), (shares, classes) in zip(images.samples, rows, strict=True):
        print(path, *classes, *shares, sep=",")


def run_timm(arguments: list[str]) -> None:
    peers()
    import runpy

    sys.argv = ["inference.py", *arguments]
    runpy.run_path(os.environ["TIMM_INFERENCE"], run_name="__main__")


def write_weights(path: str, name: str = "resnet50") -> None:
    """Weights of timm's ResNet as they are before any training: what they are does not matter for its speed."""
    peers()
    import timm

    torch.save(timm.create_model(name, num_classes=10).state_dict(), path)


# --- agreement -------------------------------------------------------------------------------------------------------


def agreement(run: str) -> None:
    """The share of the validation split for which the engine's likeliest class is the one that torch's fp32 gives."""
    from topfive.data.opening import open_source
    from topfive.engine.benchmark.machine import this_machine
    from topfive.engine.inference.backends import engine
    from topfive.engine.inference.models import open_model
    from topfive.engine.training.pixels import decode
    from topfive.engine.training.validation import score

    machine, opened = this_machine(), open_model(run)
    source = open_source(str(DATA / "imagenette.tar"))
    images = decode(source, source.val, opened.about.size)
    batches = list(zip(images.pixels.split(BATCH), images.labels.split(BATCH)))
    chosen = engine(opened.classifier, machine, batches[0][0])
    same = right = exact_right = 0
    with torch.inference_mode():
        for pixels, labels in batches:
            exact, fast = opened.classifier(pixels), chosen(pixels)
            same += int((exact.argmax(1) == fast.argmax(1)).sum())
            exact_right, right = exact_right + score(exact, labels).correct1, right + score(fast, labels).correct1
    n = len(images)
    print(
        f"\n{opened.network.name} of {run}, 1-crop:square {opened.about.size}, n = {n:,}: {chosen.name} has "
        f"float32's likeliest class for {same:,} ({same / n:.2%}); Top-1 {right / n:.2%}, float32 {exact_right / n:.2%}"
    )


# --- what is run -----------------------------------------------------------------------------------------------------


def short_run(scratch: Path) -> str:
    """A ResNet-50 that has seen Imagenette twice, at 64 pixels."""
    where = str(scratch / "run")
    command = [sys.executable, "-m", "topfive", "train", "resnet-50-v1.5", str(DATA / "imagenette.tar"), "--recipe"]
    subprocess.run([*command, "quick", "--epochs", "2", "--size", "64", "--out", where, "--quiet"], check=True)
    return where


def chosen_images(scratch: Path) -> Path:
    """A folder with the first images of each class of the validation split, `IMAGES` in all."""
    import tarfile

    with tarfile.open(DATA / "imagenette.tar") as tar:
        tar.extractall(scratch, filter="data")
    folder = scratch / "imagenette" / "val"
    for label in folder.iterdir():
        for path in sorted(label.iterdir())[IMAGES // 10 :]:
            path.unlink()
    return folder


def at_224(run: str, scratch: Path) -> str:
    """The run's model as a file of its own that takes images of 224 pixels."""
    from dataclasses import replace

    from topfive.engine.inference.models import open_model, save

    opened = open_model(run)
    save(replace(opened, about=msgspec.structs.replace(opened.about, size=SIDE)), scratch / "resnet-50.safetensors")
    return str(scratch / "resnet-50.safetensors")


def main() -> None:
    if not DATA.is_dir():
        print(f"skipped: {DATA} is not there")
        return
    from topfive.engine.inference.models import open_model

    runs = sys.argv[1:]
    with tempfile.TemporaryDirectory() as held:
        scratch = Path(held)
        timed = next((run for run in runs if open_model(run).network.name == "resnet-50-v1.5"), None)
        if timed is None:
            timed = short_run(scratch)
            runs.append(timed)
        for run in runs:
            agreement(run)
        folder, model = chosen_images(scratch), at_224(timed, scratch)
        alone(model, folder)
        end_to_end(model, folder, scratch)


if __name__ == "__main__":
    if "--timm" in sys.argv:
        run_timm(sys.argv[2:])
    elif "--plain" in sys.argv:
        run_plain(sys.argv[2])
    elif "--weights" in sys.argv:
        write_weights(*sys.argv[2:])
    else:
        main()
