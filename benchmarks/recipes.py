"""Whether `auto` holds a network back: each of its recipes, `quick` and the network's own paper's, in equal time.

Trainings of equal seconds on two sets that no result is reported on: parts of the training images of CIFAR-10 and
of Imagenette, scored on others of the training images. `auto` may be one point behind the best.

    python benchmarks/recipes.py [SECONDS] [NETWORK ...]   what is missing in docs/results/recipes.jsonl is trained
"""

import sys
import tempfile
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import msgspec

from topfive.data.opening import open_source
from topfive.data.sources import Source
from topfive.engine.benchmark.machine import this_machine
from topfive.engine.comparison.candidates import DEFAULT, entry
from topfive.engine.comparison.comparison import Comparison
from topfive.engine.comparison.contract import Contract
from topfive.engine.comparison.needs import arithmetic, timed
from topfive.engine.comparison.planning import planned
from topfive.engine.comparison.trials import Place, run_trial
from topfive.errors import TopfiveError

ROOT = Path(__file__).parents[1]
KEPT, DATA = ROOT / "docs/results/recipes.jsonl", ROOT.parent / "shared/data"
RECIPES, SECONDS, BEHIND = ("auto", "quick", "paper"), 120.0, 1.0


@dataclass(frozen=True)
class Set:
    """So many images of each class of a public set's training part: to train on, and to score."""

    name: str
    where: str
    size: int
    train: int = 200
    val: int = 100


SETS = (Set("cifar-10", "cifar10.tar.xz", 32), Set("imagenette", "imagenette.tar", 64))


class Trained(msgspec.Struct, frozen=True):
    """One training; `accuracy` in percent."""

    set: str
    network: str
    recipe: str
    seconds: float
    accuracy: float
    epochs: float
    took: float
    machine: str


def source(of: Set) -> Source:
    """Its images, the same on every machine: by a hash of their names."""
    whole = open_source(str(DATA / of.where))
    ranked = sorted(whole.train, key=lambda item: sha256(item.name.encode()).digest())
    each = [[item for item in ranked if item.label == label] for label in range(len(whole.classes))]
    train = tuple(item for items in each for item in items[: of.train])
    val = tuple(item for items in each for item in items[of.train : of.train + of.val])
    stated = sha256(f"{whole.fingerprint} {of}".encode()).hexdigest()[:16]
    return replace(whole, name=of.name, train=train, val=val, fingerprint=stated)


def trained(of: Set, images: Source, network: str, recipe: str, seconds: float) -> Trained:
    one, machine = entry(network, of.size, len(images.classes), recipe), this_machine("cpu")
    with tempfile.TemporaryDirectory() as folder:
        place = Place(Path(folder))
        held = Comparison(images, Contract((network,), (of.size,), (0,), minutes=60, recipe=recipe), machine, place)
        try:
            data = held.images.read(one, lambda where: None)
            machine, fitting = arithmetic(one, len(images.classes), 10 * len(data), machine)
            need = timed(one, images, data, machine, fitting, place, 1)
            plan = planned(need, seconds, smaller=recipe == "auto")
            made = msgspec.structs.replace(plan.seeded(0), evaluate_every=10**6)
            record, _ = run_trial(one, images, data, made, machine, place, lambda done, rate: None)
        finally:
            held.close()
    accuracy, took = 100 * record.scores.top1_accuracy, record.training_seconds
    return Trained(of.name, network, recipe, seconds, accuracy, record.epochs, took, machine.processor)


def main(arguments: list[str]) -> None:
    seconds = float(arguments[0]) if arguments else SECONDS
    networks = arguments[1:] or DEFAULT[1:]
    lines = KEPT.read_bytes().splitlines() if KEPT.exists() else []
    there = {(one.set, one.network, one.recipe, one.seconds): one for one in map(decode, lines)}
    for network in networks:
        for of in SETS:
            images = source(of)
            for recipe in RECIPES:
                if (key := (of.name, network, recipe, seconds)) not in there:
                    try:
                        there[key] = trained(of, images, network, recipe, seconds)
                    except TopfiveError as error:  # why: a paper's recipe may be none for small images
                        print(f"{network} by {recipe} on {of.name}: {error}", flush=True)
                        continue
                    with KEPT.open("ab") as file:
                        file.write(msgspec.json.encode(there[key]) + b"\n")
            by = {
                recipe: there[key].accuracy
                for recipe in RECIPES
                if (key := (of.name, network, recipe, seconds)) in there
            }
            behind = max(by.values()) - by["auto"]
            said = ", ".join(f"{recipe} {accuracy:.1f} %" for recipe, accuracy in by.items())
            held = "holds" if behind <= BEHIND else f"auto is {behind:.1f} points behind"
            print(f"{of.name}: {network}: {said}: {held}", flush=True)


def decode(line: bytes) -> Trained:
    return msgspec.json.decode(line, type=Trained)


if __name__ == "__main__":
    main(sys.argv[1:])
