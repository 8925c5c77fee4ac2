"""Where there is nothing to learn, no network is called better than another, and none is said to have trained."""

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from test_checkpoints import TINY

from topfive.data.class_folders import folder
from topfive.engine.benchmark.machine import this_machine
from topfive.engine.comparison import comparison
from topfive.engine.comparison.comparison import Comparison
from topfive.engine.comparison.contract import Contract
from topfive.engine.comparison.trials import Place
from topfive.networks.layers import Conv, GlobalPool, Linear, Network, Relu, chain
from topfive.results.comparisons import rights
from topfive.results.records import Benchmark, ComparisonRow, TrialRecord
from topfive.results.significance import LEVEL, pairwise, spreads

RUNS, MOST = 20, 1  # comparisons of each kind, and how many of them may be wrong
SIDE, SEEDS, EPOCHS = 16, 3, 6
IMAGES = {"train": 16, "val": 30}  # of each of three classes
PLAIN = Network(
    "plain", "plain", (3, SIDE, SIDE), chain(conv=Conv(8, 3, 2, 1), relu=Relu(), p=GlobalPool("average"), fc=Linear(3))
)
LINEAR = Network("linear", "linear", (3, SIDE, SIDE), chain(fc=Linear(3)))

Labels = NDArray[np.int64]


def shuffled(random: np.random.Generator, kinds: Labels) -> list[Labels]:
    """Each image in one class, whatever it shows."""
    return [random.permutation(kinds)]


def copied(random: np.random.Generator, kinds: Labels) -> list[Labels]:
    """Each image in every class."""
    return [np.full_like(kinds, label) for label in range(3)]


def write(root: Path, seed: int, labelled: Callable[[np.random.Generator, Labels], list[Labels]]) -> Path:
    """Gradients across, down and none, with noise, in the folders of classes that `labelled` says."""
    random, ramp = np.random.default_rng(seed), np.linspace(0, 150, SIDE)
    shapes = ramp[None, :], ramp[:, None], np.full((1, 1), 75.0)
    for part, count in IMAGES.items():
        kinds = np.repeat(np.arange(3), count)
        images = [
            (shapes[kind][..., None] + random.integers(0, 90, (SIDE, SIDE, 3))).astype(np.uint8) for kind in kinds
        ]
        for labels in labelled(random, kinds):
            for i, (image, label) in enumerate(zip(images, labels)):
                path = root / part / "abc"[label] / f"{i}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(image).save(path)
    return root


def compared(root: Path, data: Path, seeds: Sequence[int]) -> tuple[list[ComparisonRow], float]:
    """The rows of three tiny networks, and the smallest corrected p-value of a difference between two of them."""
    names = []
    for network in (TINY, PLAIN, LINEAR):
        (path := root / f"{network.name}.json").write_bytes(msgspec.json.encode(network))
        names.append(str(path))
    contract = Contract(tuple(names), (SIDE,), tuple(seeds), None, EPOCHS, 16)
    made = Comparison(folder(data), contract, this_machine("cpu"), Place(root / "out"))
    try:
        assert all(isinstance(one, TrialRecord) for one in made.run())
        right = {key: rights(trials) for key, trials in made.trials().items()}
        assert len(right) == 3 and all(each.shape[0] == SEEDS for each in right.values())
        return made.rows(), min(pairwise(right, spreads(right)).values())
    finally:
        made.close()


@pytest.mark.slow
@pytest.mark.parametrize("labelled", [shuffled, copied])
def test_at_most_one_of_twenty_comparisons_finds_what_is_not_there(
    labelled: Callable[[np.random.Generator, Labels], list[Labels]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    quick = Benchmark(*[1.0] * 6, 8, memory_inference_bytes=1, memory_training_bytes=1, training_batch=16)
    monkeypatch.setattr(comparison, "measure", lambda request: quick)
    better, trained, smallest = [], [], []
    for run in range(RUNS):
        root = tmp_path / str(run)
        rows, p = compared(root, write(root / "data", run, labelled), range(SEEDS * run, SEEDS * (run + 1)))
        smallest.append(p)
        if p < LEVEL or len({row.among_best for row in rows if row.trained}) > 1:
            better.append(run)
        if any(row.trained for row in rows):
            trained.append(run)
        print(f"run {run}: p {p:.3f}", *(f"{row.name} {row.top1_accuracy:.3f} {row.trained}" for row in rows), sep="; ")
    print(f"{labelled.__name__}: called better in {better}, trained in {trained}, smallest p {min(smallest):.3f}")
    assert len(better) <= MOST and len(trained) <= MOST
