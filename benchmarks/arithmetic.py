"""Training in the arithmetic that was chosen by measurement, beside the usual one: three networks at two sizes.

The choice is made anew, by the product's own measurement; then both are timed by turns, in one process. A ratio below
0.97 would be a choice that was wrong here.
"""

import copy
import statistics
import tempfile
import time
from pathlib import Path

import torch

from topfive.engine.benchmark import arithmetic
from topfive.engine.benchmark.machine import this_machine
from topfive.engine.models.specs import ModelSpec, make
from topfive.networks import get
from topfive.networks.variations import for_small_images

NETWORKS = {"resnet-18": (64, 128), "cifar-resnet-20": (32, 64), "vgg-a": (32, 64)}
ROUNDS, BATCH = 15, 32


def main() -> None:
    machine = this_machine()
    print(f"{machine}\n\n| network | side | chosen | usual (images/s) | chosen (images/s) | chosen / usual |")
    print("| --- | ---: | --- | ---: | ---: | ---: |")
    for name, sides in NETWORKS.items():
        for side in sides:
            subject, shape = ModelSpec(name, for_small_images(get(name), side)), (3, side, side)
            with tempfile.TemporaryDirectory() as home:
                arithmetic.cache_folder = lambda home=home: Path(home)
                chosen, _ = arithmetic.fastest(subject, shape, 10, BATCH, 10**6, machine)
            kind = f"{chosen.precision}, {chosen.memory_format}"
            if chosen == machine:
                print(f"| {name} | {side} | {kind}, as usual | | | 1 |", flush=True)
                continue
            module, pixels = make(subject, shape, 10), torch.randn(BATCH, *shape)
            labels = torch.zeros(BATCH, dtype=torch.long)
            kinds = {"usual": machine, "chosen": chosen}
            steps = {
                what: arithmetic._step(kind, copy.deepcopy(module), pixels, labels) for what, kind in kinds.items()
            }
            seconds: dict[str, list[float]] = {what: [] for what in steps}
            for turn in range(ROUNDS + 1):
                for what, step in steps.items():
                    began = time.perf_counter()
                    step()
                    seconds[what] += [time.perf_counter() - began] * (turn > 0)
            rates = {what: BATCH / statistics.median(found) for what, found in seconds.items()}
            ratio = rates["chosen"] / rates["usual"]
            print(
                f"| {name} | {side} | {kind} | {rates['usual']:,.1f} | {rates['chosen']:,.1f} | {ratio:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
