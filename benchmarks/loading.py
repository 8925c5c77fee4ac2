"""Training images as normalised float batches: topfive beside torchvision and timm, on the same images, by turns.

Imagenette: random resized crop to 224 and mirror, batch 64, two workers. CIFAR-10: crop with padding and mirror, batch
128, from memory (theirs with two workers, which is faster for them than none). Each loader runs in a process of its
own, an epoch of `IMAGES` at a time, after one that is not counted; the workers live on between epochs, and every
loader's images have been read before. `make bench` runs it, where ../shared/data lies.
"""

import json
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

HERE = Path(__file__).parent
DATA = HERE.parents[1] / "shared" / "data"
ROUNDS, WORKERS = 5, 2
IMAGES = {"imagenette": 4000, "cifar": 20_000}  # in an epoch
BATCH = {"imagenette": 64, "cifar": 128}
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
LOADERS = {
    "imagenette": ("topfive, files", "topfive, tar in place", "torchvision, tensors", "torchvision, PIL", "timm"),
    "cifar": ("topfive", "torchvision, tensors", "torchvision, PIL"),
}


def topfive(where: str, kind: str) -> Iterator[None]:
    """Epochs of our loader, one at each next()."""
    from topfive.data.opening import open_source
    from topfive.engine.models.modules import normalised
    from topfive.engine.training.augmentation import augmented
    from topfive.engine.training.loading import prepare
    from topfive.engine.training.sampling import uniforms
    from topfive.recipes.augmentations import AUGMENTATIONS, Augmentation, RandomResizedCrop
    from topfive.recipes.recipe import Recipe

    source, count = open_source(where), IMAGES[kind]
    source = replace(source, train=source.train[:: len(source.train) // count][:count], val=source.val[:8])
    crop = Augmentation(RandomResizedCrop()) if kind == "imagenette" else AUGMENTATIONS["cifar"]
    size, workers = (224, WORKERS) if kind == "imagenette" else (32, None)
    data = prepare(source, size, crop.crop, workers)
    recipe = Recipe(batch=BATCH[kind], augmentation=crop)
    mean, std = data.normalisation
    epoch = 0
    while True:
        seen, epoch = 0, epoch + 1
        for pixels, labels, index, _ in data.training(recipe, epoch):
            x = augmented(pixels, uniforms(0, epoch, index), crop, mirror=True)
            x = normalised(x, mean, std)
            seen += len(labels)
        check(seen, count, x)
        yield


def check(seen: int, count: int, x: torch.Tensor) -> None:
    if seen < count - BATCH["cifar"] or x.dtype != torch.float32 or not -4 < float(x.mean()) < 4:
        sys.exit(f"a loader gave {seen} images, {x.dtype}")


def torchvision(folder: str, kind: str, tensors: bool) -> Iterator[None]:
    peers()
    from torch.utils.data import DataLoader, Subset
    from torchvision.datasets import CIFAR10, ImageFolder
    from torchvision.transforms import v2

    crop = v2.RandomResizedCrop(224, antialias=True) if kind == "imagenette" else v2.RandomCrop(32, 4)
    changes = [crop, v2.RandomHorizontalFlip()]
    changes = [v2.ToImage(), *changes] if tensors else [*changes, v2.ToImage()]
    transform = v2.Compose([*changes, v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)])
    if kind == "imagenette":
        every: Any = ImageFolder(f"{folder}/train", transform)
    else:
        every = CIFAR10.__new__(CIFAR10)  # its check of the downloaded files is not what is measured
        every.data, every.targets = cifar_arrays(folder)
        every.transform, every.target_transform = transform, None
    chosen = Subset(every, range(0, len(every), len(every) // IMAGES[kind])[: IMAGES[kind]])
    loader = DataLoader(chosen, BATCH[kind], shuffle=True, num_workers=WORKERS, persistent_workers=True)
    yield from epochs(loader, IMAGES[kind])


def timm(folder: str) -> Iterator[None]:
    peers()
    from timm.data import ImageDataset, create_loader

    loader = create_loader(
        chosen_timm(ImageDataset(f"{folder}/train")), (3, 224, 224), BATCH["imagenette"], is_training=True,
        use_prefetcher=False, no_aug=False, scale=(0.08, 1.0), hflip=0.5, color_jitter=None, interpolation="bilinear",
        num_workers=WORKERS, persistent_workers=True, mean=MEAN, std=STD,
    )  # fmt: skip
    yield from epochs(loader, IMAGES["imagenette"])


def chosen_timm(dataset: Any) -> Any:
    samples, count = dataset.reader.samples, IMAGES["imagenette"]
    dataset.reader.samples = samples[:: len(samples) // count][:count]
    return dataset


def epochs(loader: Any, count: int) -> Iterator[None]:
    while True:
        seen = 0
        for x, _labels in loader:
            seen += len(x)
        check(seen, count, x)  # timm leaves out the last incomplete batch
        yield


def cifar_arrays(folder: str) -> tuple[np.ndarray, list[int]]:
    from topfive.data.opening import open_source

    source = open_source(folder)
    return np.stack([np.asarray(source.read(item)) for item in source.train]), [item.label for item in source.train]


def peers() -> None:
    """torchvision, where it is built for another torch: its operators are loaded, or declared, before the import."""
    declared = torch.library.Library("torchvision", "FRAGMENT")
    if not hasattr(torch.ops.torchvision, "nms"):
        for name in ("nms", "qnms"):
            declared.define(name + "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    peers.kept = declared  # type: ignore[attr-defined]


def child(kind: str, name: str, folder: str) -> None:
    """Run one epoch for each line on standard input, and print the seconds that it took."""
    warnings.simplefilter("ignore")
    # why: the workers fill the cores, and a second thread of this process would only be waited for, whoever loads
    torch.set_num_threads(1)
    if name.startswith("topfive"):
        loader = topfive(str(DATA / "imagenette.tar") if "tar" in name else folder, kind)
    elif name == "timm":
        loader = timm(folder)
    else:
        loader = torchvision(folder, kind, "tensors" in name)
    for _ in sys.stdin:
        began = time.perf_counter()
        next(loader)
        print(time.perf_counter() - began, flush=True)


def turns(kind: str, folder: str) -> dict[str, list[float]]:
    """Seconds of every counted epoch of every loader."""
    environment = {**os.environ, "TOPFIVE_BENCH": json.dumps([kind, folder])}
    running = {
        name: subprocess.Popen(
            [sys.executable, __file__, "--child", name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=environment,
        )
        for name in LOADERS[kind]
    }  # fmt: skip
    taken: dict[str, list[float]] = {name: [] for name in running}
    for turn in range(ROUNDS + 1):
        for name, process in running.items():
            assert process.stdin and process.stdout
            process.stdin.write("\n")
            process.stdin.flush()
            seconds = float(process.stdout.readline())
            if turn:
                taken[name].append(seconds)
    for process in running.values():
        assert process.stdin
        process.stdin.close()
        process.wait()
    return taken


def main() -> None:
    if not DATA.is_dir():
        print(f"skipped: {DATA} is not there")
        return
    with tempfile.TemporaryDirectory() as scratch:
        for kind, archive in (("imagenette", "imagenette.tar"), ("cifar", "cifar10.tar.xz")):
            if kind not in (sys.argv[1:] or LOADERS):
                continue
            with tarfile.open(DATA / archive) as tar:
                tar.extractall(scratch, filter="data")
            folder = f"{scratch}/{'imagenette' if kind == 'imagenette' else 'cifar10'}"
            taken = turns(kind, folder)
            ours = statistics.median(next(iter(taken.values())))
            print(f"\n{kind}, epochs of {IMAGES[kind]:,}, medians of {ROUNDS} by turns, {os.cpu_count()} cores\n")
            print("| loader | images/s | least | most | topfive is faster by |\n| --- | ---: | ---: | ---: | ---: |")
            for name, seconds in taken.items():
                rates = sorted(IMAGES[kind] / s for s in seconds)
                ratio = statistics.median(seconds) / ours
                middle = statistics.median(rates)
                print(f"| {name} | {middle:,.0f} | {rates[0]:,.0f} | {rates[-1]:,.0f} | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    if "--child" in sys.argv:
        child(json.loads(os.environ["TOPFIVE_BENCH"])[0], sys.argv[2], json.loads(os.environ["TOPFIVE_BENCH"])[1])
    else:
        main()
