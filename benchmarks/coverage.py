"""How often a comparison's 95 % intervals contain the long-run accuracy, where that is known: small networks on digits.

Four networks are trained with 60 seeds each. What they have right on all validation images, over all seeds, is the
long-run accuracy. Comparisons are drawn from it as a user has one, of a few seeds and images, and their intervals and
verdicts are those of the program (`spreads`, `mean_interval`, `not_told_apart`).

    python benchmarks/coverage.py train    a quarter of an hour: what docs/results/coverage.jsonl lacks is trained
    python benchmarks/coverage.py report   half a minute: docs/results/coverage.md
"""

import base64
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from hashlib import sha256
from itertools import product
from pathlib import Path
from textwrap import fill
from typing import NamedTuple

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray

from topfive.data.opening import open_source
from topfive.data.sources import Source
from topfive.engine.benchmark.machine import this_machine
from topfive.engine.models.modules import build
from topfive.engine.training.loading import prepare
from topfive.engine.training.loop import Training, records, train
from topfive.networks.layers import BatchNorm, Chain, Conv, GlobalPool, Layer, Linear, Network, Pool, Relu
from topfive.recipes.augmentations import Centre
from topfive.recipes.ours import quick
from topfive.results.significance import Right, mean_interval, not_told_apart, spreads, unpacked
from topfive.results.statistics import interval

KEPT = Path(__file__).parents[1] / "docs/results/coverage.jsonl"
SEEDS, EACH, SIZE, BATCH = 60, 50, 32, 25  # EACH: training images of a class
FIRST, RESAMPLES = 200, 2000  # the comparisons that were asked for; more, whose chance is three times smaller
LEAST, MOST = 0.92, 0.98  # what the intervals of 95 % are to contain

wrapped = partial(fill, width=120, break_on_hyphens=False)


def network(name: str, width: int, normalize: bool) -> Network:
    """Three convolutions of `width` and twice that, with or without batch normalization."""
    layers: list[tuple[str, Layer]] = []
    for i, conv in enumerate((Conv(width, 3, 2, 1), Conv(2 * width, 3, 1, 1), Conv(2 * width, 3, 1, 1)), 1):
        layers += [(f"conv{i}", conv), *([(f"bn{i}", BatchNorm())] if normalize else []), (f"relu{i}", Relu())]
        layers += [(f"pool{i}", Pool("max", 2, 2))] if i < 3 else []
    return Network(name, name, (3, SIZE, SIZE), Chain((*layers, ("pool", GlobalPool("average")), ("fc", Linear(10)))))


NETWORKS = {  # with their epochs
    network("narrow", 16, False): 12,
    network("wide", 24, False): 12,
    network("narrow-bn", 10, True): 14,
    network("wide-bn", 20, True): 8,
}


class Trained(msgspec.Struct, frozen=True):
    """One training."""

    network: str
    seed: int
    epochs: int
    seconds: float
    images: int
    right: str  # a bit an image, base64

    @property
    def bits(self) -> Right:
        return unpacked(base64.b64decode(self.right), self.images)


def source() -> Source:
    """The digits, split anew: 50 of each class to train on, by a hash of their names, all others for validation."""
    whole = open_source(None)
    items = sorted(whole.train + whole.val, key=lambda item: sha256(item.name.encode()).digest())
    labels = range(len(whole.classes))
    train = tuple(item for label in labels for item in [one for one in items if one.label == label][:EACH])
    return replace(whole, train=train, val=tuple(item for item in items if item not in train))


def kept() -> list[Trained]:
    """The trainings that there are."""
    lines = KEPT.read_bytes().splitlines() if KEPT.exists() else []
    return [msgspec.json.decode(line, type=Trained) for line in lines]


def make() -> None:
    """Every training that is missing, seed by seed."""
    images, machine = source(), this_machine("cpu")
    # why float32: on every processor the same arithmetic
    machine = msgspec.structs.replace(machine, precision="float32")
    there = {(one.network, one.seed) for one in kept()}
    data = prepare(images, SIZE, Centre())
    for seed in range(SEEDS):
        for net, epochs in NETWORKS.items():
            if (net.name, seed) in there:
                continue
            recipe = msgspec.structs.replace(quick(net, epochs, BATCH, seed), evaluate_every=epochs)
            began = time.perf_counter()
            torch.manual_seed(seed)
            *_, last = records(train(Training(build(net, net.input), data, recipe, machine)))
            assert last.scores is not None
            bits = base64.b64encode(last.scores.right).decode()
            took = round(time.perf_counter() - began, 2)
            one = Trained(net.name, seed, epochs, took, last.scores.images, bits)
            with KEPT.open("ab") as file:
                file.write(msgspec.json.encode(one) + b"\n")
            print(f"{net.name}, seed {seed}: {last.scores.top1_accuracy:.1%} in {took:.1f} s", flush=True)


class Coverage(NamedTuple):
    """What `RESAMPLES` comparisons came to; means over them and the networks, where nothing else is said."""

    inside: NDArray[np.bool_]  # whether the interval contains the long-run accuracy, `(comparisons, networks)`
    width: float
    single_inside: float  # the share of Wilson's intervals, of the first seed's training alone
    single_width: float
    left_out: float  # in which share the network best in the long run is told apart from the best here
    named: float  # how many networks are named as not told apart from the best


def coverage(every: Mapping[str, Right], seeds: int, images: int) -> Coverage:
    """Of comparisons of so many seeds and images, out of all trainings, `(seeds, images)` for each network.

    Both are drawn with replacement, as from a population that these stand for: without it, 300 of 1,297 images would
    say more of all than 300 images do. All networks have the same seeds and images, as in a comparison.
    """
    random = np.random.default_rng(0)
    truth = np.array([right.mean() for right in every.values()])
    best = list(every)[int(truth.argmax())]
    of_seeds, of_images = every[best].shape
    both, single, left_out, count = [], [], 0, 0
    for _ in range(RESAMPLES):
        drawn = np.ix_(random.integers(of_seeds, size=seeds), random.integers(of_images, size=images))
        right = {name: each[drawn] for name, each in every.items()}
        known = spreads(right)
        both.append([mean_interval(each, known.get(name)) for name, each in right.items()])
        single.append([interval(int(each[0].sum()), images) for each in right.values()])
        named = not_told_apart(right, known)
        left_out, count = left_out + (best not in named), count + len(named)

    def contain(intervals: NDArray[np.float64]) -> NDArray[np.bool_]:
        return (intervals[..., 0] <= truth) & (truth <= intervals[..., 1])

    ours, wilson = np.array(both), np.array(single)
    widths = [float(np.diff(each).mean()) for each in (ours, wilson)]
    return Coverage(
        contain(ours), widths[0], float(contain(wilson).mean()), widths[1], left_out / RESAMPLES, count / RESAMPLES
    )


def report() -> str:
    """The page of results."""
    every = {net.name: np.stack([one.bits for one in kept() if one.network == net.name]) for net in NETWORKS}
    lines = introduction(every)
    outside: list[str] = []
    for images, seeds in product((100, 300), (2, 3, 5)):
        found = coverage(every, seeds, images)
        shares = {f"the first {FIRST}": found.inside[:FIRST].mean(), "all": found.inside.mean()}
        shares |= dict(zip(every, found.inside.mean(0)))
        values = [*shares.values(), found.width, found.single_inside, found.single_width, found.left_out]
        percent = " | ".join(f"{100 * value:.1f}" for value in values)
        lines.append(f"| {seeds} | {images} | {percent} | {found.named:.1f} |")
        outside += [
            f"{name} with {seeds} seeds and {images} images ({100 * share:.1f} %)"
            for name, share in shares.items()
            if not LEAST <= share <= MOST
        ]
    outcome = (
        f"Outside of {100 * LEAST:.0f} to {100 * MOST:.0f} %: {'; '.join(outside) or 'none'}. Too few contain it where"
        " seeds differ as much as those of narrow: two of them often do not show it. Too many do where seeds and images"
        " are few: what is neither an image's nor a seed's stands in both variances (`mean_interval`). The two best"
        " networks are equally good to a tenth of a point, so that *best left out* says little of networks that differ."
    )
    text = "\n".join([*lines, "", wrapped(outcome), ""])
    KEPT.with_suffix(".md").write_text(text)
    return text


def introduction(every: Mapping[str, Right]) -> list[str]:
    """What was trained, and the head of the table."""
    seeds, images = next(iter(every.values())).shape
    lines = [
        "# How often the intervals of a comparison contain the long-run accuracy",
        "",
        wrapped(
            "Made by `python benchmarks/coverage.py train` and `report`. Four networks of three convolutions"
            f" were trained with {seeds} seeds each on {10 * EACH} digits. The other {images:,} are the"
            " validation images; what each training had right of them is in [coverage.jsonl](coverage.jsonl)."
            " The long-run accuracy is that over all seeds and images."
        ),
        "",
        "| network | epochs | long-run accuracy (%) | of the seeds (%) | their standard deviation (points) |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for net, epochs in NETWORKS.items():
        of = 100 * every[net.name].mean(1)
        spread = f"{of.min():.1f} to {of.max():.1f} | {of.std(ddof=1):.2f}"
        lines.append(f"| {net.name} | {epochs} | {of.mean():.1f} | {spread} |")
    return [
        *lines,
        "",
        wrapped(
            "A comparison is of a few seeds, the same for all networks, and of a few images, both drawn with"
            " replacement. Its intervals are the program's: `spreads` over the four networks, then"
            " `mean_interval`. *Contain* is the percentage of the 95 % intervals that contain the long-run"
            f" accuracy: of all networks in the first {FIRST} comparisons and in {RESAMPLES:,}, and of each"
            f" network in {RESAMPLES:,}. The aim is {100 * LEAST:.0f} to {100 * MOST:.0f} %. Wilson's interval is"
            " that of one training, for contrast. *Best left out* is the percentage of comparisons in which the"
            " network that is best in the long run is not among those that `not_told_apart` names; 5 % is what"
            " its tests allow."
        ),
        "",
        f"| seeds | images | contain ({FIRST}) | contain ({RESAMPLES:,}) | {' | '.join(every)} | width (points) |"
        " Wilson's contain | its width | best left out | networks named |",
        f"|{' ---: |' * (9 + len(every))}",
    ]


def main() -> None:
    if sys.argv[1:2] == ["train"]:
        make()
    else:
        print(report())


if __name__ == "__main__":
    main()
