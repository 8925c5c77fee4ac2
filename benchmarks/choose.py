"""How much accuracy `choose` gives away: its regret beside that of cheaper methods, on four sets.

A table says what each of eight networks comes to with the whole budget, twice. The regret of a method is how many
points the network that it names is behind the best one there. `choose` has a fifth of what the table costs; its
trainings are real ones, and its decisions are those of the program (`rungs_of`, `leaving`, `not_told_apart`).
Each of its replays sees one half of the validation images, and is judged by the other.

    python benchmarks/choose.py table [SECONDS]   an hour and more: what is missing in docs/results/choose is trained
    python benchmarks/choose.py report            seconds: docs/results/choose/README.md and its figure

Plans are made before the first training, on a quiet machine; trainings are repeated from them anywhere.
"""

import base64
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from hashlib import sha256
from pathlib import Path

import matplotlib.pyplot as plt
import msgspec
import numpy as np

from topfive.data.opening import open_source
from topfive.data.sources import Item, Source, selection
from topfive.engine.benchmark.machine import this_machine
from topfive.engine.comparison.candidates import Entry, entry
from topfive.engine.comparison.choosing import RACE, rungs_of
from topfive.engine.comparison.comparison import Comparison
from topfive.engine.comparison.contract import Contract
from topfive.engine.comparison.needs import arithmetic, timed
from topfive.engine.comparison.planning import Need, planned
from topfive.engine.comparison.trials import Place, run_trial
from topfive.engine.training.timing import Estimate
from topfive.recipes.recipe import Recipe
from topfive.results.choosing import leaving
from topfive.results.comparisons import rights
from topfive.results.significance import Right, not_told_apart, spreads, unpacked

ROOT = Path(__file__).parents[1]
KEPT, DATA = ROOT / "docs/results/choose", ROOT.parent / "shared/data"
NETWORKS = (
    "alexnet",
    "vgg-a",
    "googlenet",
    "squeezenet-1.1",
    "mobilenet-v1",
    "cifar-resnet-20",
    "cifar-resnet-56",
    "resnet-18",
)
SEEDS, FINAL_SEEDS = (0, 1), 3
SHARE = 0.2  # of what the table costs, for `choose`
REPLAYS = 100  # of each set and first seed


@dataclass(frozen=True)
class Set:
    """A part of a public set: so many training and validation images of each class."""

    name: str
    where: str
    size: int
    train: int
    val: int


@cache
def source(of: Set) -> Source:
    """Its images, the same on every machine: by a hash of their names."""
    whole = open_source(None if of.where == "digits" else str(DATA / of.where))

    def part(items: Sequence[Item], most: int) -> tuple[Item, ...]:
        ranked = sorted(items, key=lambda item: sha256(item.name.encode()).digest())
        labels = range(len(whole.classes))
        return tuple(item for label in labels for item in [one for one in ranked if one.label == label][:most])

    train, val = part(whole.train, of.train), part(whole.val, of.val)
    stated = sha256(f"{whole.fingerprint} {of}".encode()).hexdigest()[:16]
    return replace(whole, name=of.name, train=train, val=val, fingerprint=stated)


SETS = (
    Set("digits", "digits", 32, 50, 100),
    Set("cifar-10", "cifar10.tar.xz", 32, 100, 100),
    Set("imagenette", "imagenette.tar", 64, 60, 100),
    Set("few", "imagenette.tar", 64, 20, 100),
)


class Plan(msgspec.Struct, frozen=True):
    """What a network takes on a set, as measured once."""

    recipe: Recipe
    image: dict[int, float]  # seconds of a training image, by its side
    step: float  # seconds of a step, apart from its images
    precision: str
    memory_format: str


class Trained(msgspec.Struct, frozen=True):
    """One training: on `validation` with all training images, on `selection` with what that leaves."""

    set: str
    network: str
    split: str
    seconds: float  # planned
    seed: int
    epochs: float
    batch: int
    took: float
    images: int
    right: str  # a bit an image, base64

    @property
    def bits(self) -> Right:
        return unpacked(base64.b64decode(self.right), self.images)


class Table:
    """The trainings there are; what is missing is trained where `train` is set, else it is a KeyError."""

    def __init__(self, train: bool) -> None:
        self.train, self.machine = train, this_machine("cpu")
        KEPT.mkdir(parents=True, exist_ok=True)
        self.file, self.plan_file = KEPT / "trials.jsonl", KEPT / "plans.json"
        lines = self.file.read_bytes().splitlines() if self.file.exists() else []
        every = [msgspec.json.decode(line, type=Trained) for line in lines]
        self.trained = {(one.set, one.network, one.split, one.seconds, one.seed): one for one in every}
        kept = self.plan_file.read_bytes() if self.plan_file.exists() else b"{}"
        self.plans = msgspec.json.decode(kept, type=dict[str, dict[str, Plan]])
        self.open: dict[tuple[str, str], Comparison] = {}

    def comparison(self, of: Set, split: str) -> Comparison:
        """What holds the images of a set in memory."""
        if (of.name, split) not in self.open:
            images = source(of) if split == "validation" else selection(source(of))
            contract = Contract(NETWORKS, (of.size,), SEEDS, minutes=60)
            place = Place(Path(tempfile.mkdtemp()))
            self.open[of.name, split] = Comparison(images, contract, self.machine, place)
        return self.open[of.name, split]

    def make_plans(self) -> None:
        for of in SETS:
            for name in NETWORKS:
                if name in self.plans.setdefault(of.name, {}):
                    continue
                held = self.comparison(of, "validation")
                one, data = self.entry(of, name), held.images.read(self.entry(of, name), lambda where: None)
                machine, recipe = arithmetic(one, len(held.source.classes), 10 * len(data), self.machine)
                need = timed(one, held.source, data, machine, recipe, held.place, 1)
                plan = Plan(
                    recipe, dict(need.estimate.image), need.estimate.step, machine.precision, machine.memory_format
                )
                self.plans[of.name][name] = plan
                self.plan_file.write_bytes(msgspec.json.format(msgspec.json.encode(self.plans)))
                print(f"{of.name}: {name}: {need.epoch:.1f} s an epoch", flush=True)

    def entry(self, of: Set, name: str) -> Entry:
        return entry(name, of.size, len(source(of).classes), "auto")

    def right(self, of: Set, name: str, split: str, seconds: float, seed: int) -> Right:
        """Which images one training had right."""
        key = of.name, name, split, seconds, seed
        if key not in self.trained:
            if not self.train:
                raise KeyError(key)
            self._make(of, name, split, seconds, seed)
        return self.trained[key].bits

    def _make(self, of: Set, name: str, split: str, seconds: float, seed: int) -> None:
        held, one, plan = self.comparison(of, split), self.entry(of, name), self.plans[of.name][name]
        data = held.images.read(one, lambda where: None)
        machine = msgspec.structs.replace(self.machine, precision=plan.precision, memory_format=plan.memory_format)
        estimate = Estimate(0.0, plan.image, 0.0, plan.step)
        made = planned(Need(one.candidate, plan.recipe, machine, estimate, len(data), 1), seconds, smaller=True)
        recipe = msgspec.structs.replace(made.seeded(seed), evaluate_every=10**6)
        with tempfile.TemporaryDirectory() as folder:
            record, _ = run_trial(one, held.source, data, recipe, machine, Place(Path(folder)), lambda done, rate: None)
        bits = base64.b64encode(record.scores.right).decode()
        kept = Trained(
            of.name,
            name,
            split,
            seconds,
            seed,
            record.epochs,
            recipe.batch,
            record.training_seconds,
            record.scores.images,
            bits,
        )
        self.trained[of.name, name, split, seconds, seed] = kept
        with self.file.open("ab") as file:
            file.write(msgspec.json.encode(kept) + b"\n")
        print(
            f"{of.name}: {name} {split} {seconds:g} s, seed {seed}: {float(rights([record]).mean()):.1%} after "
            f"{record.epochs:.3g} epochs of batches of {recipe.batch} in {record.training_seconds:.0f} s",
            flush=True,
        )


def chosen(
    right: Callable[[str, str, float, int], Right], whole: float, first: int, seen: np.ndarray
) -> tuple[list[str], list[str], float]:
    """What `choose` comes to with SHARE of the table's cost: those it cannot tell apart, the finalists, its seconds.

    `right` gives the training of a network on a split, `seen` are the validation images that it may look at.
    """
    budget = SHARE * whole * len(NETWORKS) * len(SEEDS)
    racing, spent, rungs = list(NETWORKS), 0.0, rungs_of(len(NETWORKS))
    for i, most in enumerate(rungs):
        seconds = round(budget * RACE / len(rungs) / len(racing), 3)
        scored = {name: right(name, "selection", seconds, first + i)[None] for name in racing}
        spent += seconds * len(racing)
        racing = [name for name in racing if name not in leaving(scored, most)]
    seconds = round(budget * (1 - RACE) / len(racing) / FINAL_SEEDS, 3)
    final = {
        name: np.stack([right(name, "validation", seconds, first + seed)[seen] for seed in range(FINAL_SEEDS)])
        for name in racing
    }
    return not_told_apart(final, spreads(final)), racing, spent + seconds * len(racing) * FINAL_SEEDS


def one_epoch(table: Table, of: Set, name: str, seed: int) -> tuple[Right, float]:
    """What a network has right on the selection images after one epoch, and the seconds that it takes."""
    plan, images = table.plans[of.name][name], len(selection(source(of)).train)
    seconds = round(images * max(plan.image.values()), 3)
    return table.right(of, name, "selection", seconds, seed), seconds


class Replay(msgspec.Struct, frozen=True):
    """One replay: the regret of each method in points, and whether what `choose` said was right."""

    regret: dict[str, float]
    seconds: float  # of the trainings of `choose`
    right: bool  # the best finalist is among those that it cannot tell apart
    told: int  # how many it could not tell apart
    missed: bool  # the best network of all was no finalist any more


def replays(table: Table, of: Set, whole: float) -> Iterator[Replay]:
    """Of one set: with each first seed, and other halves of the validation images, each judged by the other half."""
    random = np.random.default_rng(0)
    every = {name: np.stack([table.right(of, name, "validation", whole, s) for s in SEEDS]) for name in NETWORKS}
    images, sizes = next(iter(every.values())).shape[1], {name: table.entry(of, name).candidate for name in NETWORKS}
    for first in SEEDS:
        early = {name: float(one_epoch(table, of, name, first)[0].mean()) for name in NETWORKS}
        for _ in range(REPLAYS):
            seen = random.permutation(images) < images // 2
            truth = {name: 100 * float(right[:, ~seen].mean()) for name, right in every.items()}
            named, finalists, seconds = chosen(lambda *key: table.right(of, *key), whole, first, seen)
            # why the fewest operations: latencies belong to one machine, and replays to all
            pick = min(named, key=lambda name: sizes[name].macs)
            best = max(truth.values())
            regret = {
                "choose": best - truth[pick],
                "choose, the highest of the set": best - truth[named[0]],
                "one epoch each": best - truth[max(early, key=lambda name: early[name])],
                "random": best - statistics.fmean(truth.values()),
                "most parameters": best - truth[max(NETWORKS, key=lambda name: sizes[name].params)],
                "most operations": best - truth[max(NETWORKS, key=lambda name: sizes[name].macs)],
                "fewest parameters": best - truth[min(NETWORKS, key=lambda name: sizes[name].params)],
            }
            top = max(finalists, key=lambda name: truth[name])
            missed = max(truth, key=lambda name: truth[name]) not in finalists
            yield Replay(regret, seconds, top in named, len(named), missed)


def make(whole: float) -> None:
    """Everything that the report needs; the whole budget first."""
    table = Table(train=True)
    table.make_plans()
    for of in SETS:
        for seed in SEEDS:
            for name in NETWORKS:
                one_epoch(table, of, name, seed)
                table.right(of, name, "validation", whole, seed)
        for _ in replays(table, of, whole):
            pass


METHODS = (
    "choose",
    "choose, the highest of the set",
    "one epoch each",
    "random",
    "most parameters",
    "most operations",
    "fewest parameters",
)


def report() -> str:
    """The page of results; a figure beside it."""
    table = Table(train=False)
    whole = max(key[3] for key in table.trained)
    found = {of.name: list(replays(table, of, whole)) for of in SETS if of.name in table.plans}
    mean = {
        method: {name: statistics.fmean(one.regret[method] for one in each) for name, each in found.items()}
        for method in METHODS
    }
    every = [one for each in found.values() for one in each]
    table_seconds = whole * len(NETWORKS) * len(SEEDS)
    lines = [
        "# What `choose` gives away",
        "",
        f"Made by `python benchmarks/choose.py table {whole:g}` and `report`, on {table.machine}.",
        "",
        f"Eight networks were trained for {whole:g} s each with {len(SEEDS)} seeds on four sets: 50 images a class of"
        " the digits, 100 of CIFAR-10, 60 of Imagenette at 64 pixels, and 20 of the same. The regret of a method is how"
        " many points of Top-1 the network that it names is behind the best one there, by the mean of the seeds."
        f" `choose` had {SHARE:.0%} of the table's seconds ({every[0].seconds:.0f} of {table_seconds:.0f}), two rungs"
        f" and three seeds for the finalists. {REPLAYS} replays for each set and first seed: the method sees one half"
        " of the validation images, the regret is of the other half.",
        "",
        f"| method | {' | '.join(found)} | mean |",
        f"| --- | {' | '.join('---:' for _ in found)} | ---: |",
    ]
    for method in METHODS:
        values = [f"{mean[method][name]:.2f}" for name in found]
        lines.append(f"| {method} | {' | '.join(values)} | {statistics.fmean(mean[method].values()):.2f} |")
    right = statistics.fmean(one.right for one in every)
    missed = statistics.fmean(one.missed for one in every)
    lines += [
        "",
        f"In {right:.1%} of the replays the best of the finalists is in the set that `choose` cannot tell apart"
        f" ({statistics.fmean(one.told for one in every):.1f} networks on average). In {missed:.1%} the best network of"
        " all had left before the final.",
        "",
        "Of the set, `choose` names the one with the fewest operations here, on a user's machine the fastest.",
        "",
        f"| network | {' | '.join(found)} |",
        f"| --- | {' | '.join('---:' for _ in found)} |",
    ]
    for name in NETWORKS:
        values = []
        for of in SETS:
            each = [table.right(of, name, "validation", whole, seed).mean() for seed in SEEDS]
            values.append(" / ".join(f"{100 * value:.1f}" for value in each))
        lines.append(f"| {name} | {' | '.join(values)} |")
    text = "\n".join([*lines, ""])
    (KEPT / "README.md").write_text(text)
    draw(mean)
    return text


def draw(mean: dict[str, dict[str, float]]) -> None:
    """The regrets as dots, a line a method."""
    figure, axes = plt.subplots(figsize=(7.2, 3.2), layout="constrained")
    for y, each in enumerate(mean.values()):
        axes.plot(list(each.values()), [y] * len(each), "o", color="#9aa5b1", markersize=5)
        axes.plot(statistics.fmean(each.values()), y, "D", color="#b3261e" if y < 2 else "#1f2933", markersize=7)
    axes.set_yticks(range(len(mean)), list(mean))
    axes.invert_yaxis()
    axes.set_xlabel("regret [points of Top-1]; dots: the sets, diamonds: their mean")
    axes.grid(axis="x", color="#e4e7eb")
    axes.set_xlim(left=-0.5)
    figure.savefig(KEPT / "regret.png", dpi=150)


def main() -> None:
    if sys.argv[1:2] == ["table"]:
        make(float(sys.argv[2]) if len(sys.argv) > 2 else 36.0)
    else:
        print(report())


if __name__ == "__main__":
    main()
