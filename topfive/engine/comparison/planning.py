"""How long every training of a comparison is: the same seconds for each, and as many steps as each network takes in it.

What a network needs is measured once, over a few steps, and the plan that follows from it is written down before the
first training begins. A comparison that is continued repeats the plan; it does not measure again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil

import msgspec

from topfive.engine.benchmark.machine import Machine
from topfive.engine.comparison.contract import Contract
from topfive.engine.training.timing import Estimate
from topfive.errors import UsageError
from topfive.networks.receptive_fields import VALUE_BYTES
from topfive.recipes.plan import ended, steps_of_epoch, total_steps
from topfive.recipes.recipe import Recipe
from topfive.results.comparisons import Candidate

SHARE = 0.95  # of the minutes that is planned, for a machine that was quicker when it was timed
AFTER = 6.0  # seconds for figures, the page and the end
EVALUATIONS = 4  # of a training at most, the last one included
FEW_STEPS = 200  # below which a smaller batch is worth its cost: docs/decisions/0021
LEAST_BATCH = 16
CURVE = 10  # evaluations of a training whose curve is wanted
OPENING = 0.7  # seconds to open a run folder and to build a network
WRITTEN = 400e6  # bytes of a checkpoint a second
OVERHEAD, GUESSED = 7e6, 2e11  # multiply-adds that an image takes beside those of its network; operations a second
COPIES = 4  # of the weights in a checkpoint on the way: themselves, two averages of the optimizer, their own


class Planned(msgspec.Struct, frozen=True):
    """The training of one candidate, whatever its seed."""

    recipe: Recipe
    precision: str
    memory_format: str
    seconds: float  # that a training is expected to take, with its evaluations and its checkpoint

    def seeded(self, seed: int) -> Recipe:
        """The recipe with this seed."""
        return msgspec.structs.replace(self.recipe, seed=seed)


class Plan(msgspec.Struct, frozen=True):
    """What was decided before the first training."""

    seconds: float | None = None  # of the steps of each training; None where the epochs were given
    trials: dict[str, Planned] = {}  # by the candidate's key
    sizes: tuple[int, ...] = ()  # of the images, where they were not asked for
    left_out: dict[str, str] = {}  # by the key of a candidate that the time is too short for: a sentence
    epochs: float | None = None  # of each training, where all get the same number
    enough: int | None = None  # minutes, at least, in which none would be left out
    notes: tuple[str, ...] = ()  # what else is to be said of it


@dataclass(frozen=True)
class Need:
    """What one candidate needs here, and how often it is trained."""

    candidate: Candidate
    recipe: Recipe
    machine: Machine
    estimate: Estimate
    images: int
    seeds: int
    evaluations: int = EVALUATIONS  # of a training at most

    @property
    def beside(self) -> float:
        """Seconds of a trial that are not steps: evaluations, and writing the model."""
        writing = self.candidate.params * VALUE_BYTES * COPIES / WRITTEN
        return OPENING + writing + self.evaluations * self.estimate.evaluation

    @property
    def epoch(self) -> float:
        """Seconds of the steps of one epoch at the full size."""
        return self.images * self.estimate.image[self.candidate.size]


def seconds_each(needs: Sequence[Need], left: float) -> float:
    """The seconds of steps that every training gets where there are `left` for all trainings together."""
    trials = sum(need.seeds for need in needs)
    return (left - sum(need.seeds * need.beside for need in needs)) / trials


def left_of(contract: Contract, passed: float) -> float:
    """The seconds that there are for trainings when so many have passed since the command began."""
    return 60 * (contract.minutes or 0.0) * contract.part * SHARE - AFTER - passed


def fitting(needs: Sequence[Need], left: float, least: float = 1.0) -> list[Need]:
    """Those that see this share of the images in the time that they then have; the costliest are left out first."""
    kept = list(needs)
    while kept and seconds_each(kept, left) < least * max(need.epoch for need in kept):
        kept.remove(max(kept, key=lambda need: need.epoch))
    return kept


class TooShort(UsageError):
    """The minutes are too few for what is asked."""


def too_short(needs: Sequence[Need], left: float, contract: Contract) -> TooShort:
    """The sentence that says how many minutes it would take, and what would fit."""
    slowest = max(needs, key=lambda need: need.epoch)
    minutes, trials = contract.minutes or 0.0, sum(need.seeds for need in needs)
    kept = [need.candidate.name for need in fitting(needs, left)]
    fits = f"; {', '.join(kept)} would fit" if kept else ""
    return TooShort(
        f"--minutes {minutes:g} is too little: for {slowest.candidate.name} one look at the {slowest.images:,} "
        f"training images takes {slowest.epoch:.3g} s here, and there are {trials} trainings: "
        f"--minutes {enough(needs, left, contract)}, a smaller --size, fewer --seeds or fewer networks{fits}"
    )


def enough(needs: Sequence[Need], left: float, contract: Contract) -> int:
    """The minutes in which all of them would see every image once, where `left` seconds are too few."""
    wanted = sum(need.seeds * (max(each.epoch for each in needs) + need.beside) for need in needs)
    return ceil((contract.minutes or 0.0) + (wanted - left) / 60 / SHARE / contract.part)


def extended(plan: Plan, needs: Sequence[Need], contract: Contract, passed: float) -> Plan:
    """`plan` with `needs`, when so many seconds have passed since the command began. The first plan of a comparison
    decides what each training gets; later ones repeat it.

    Raises: TooShort where the minutes do not let each network see every image once, or the least share of them, unless
    those are optional.
    """
    seconds, left_out, minutes = plan.seconds, dict(plan.left_out), plan.enough
    if contract.alike == "epochs":
        needs = [replace(need, evaluations=CURVE) for need in needs]
    if seconds is None:
        left = left_of(contract, passed)
        kept = fitting(needs, left)
        if len(kept) < len(needs):
            minutes = enough(needs, left, contract)
            if contract.least < 1:
                needs = [replace(need, evaluations=1) for need in needs]
                kept = fitting(needs, left, contract.least)
        if len(kept) < len(needs) and not (kept and contract.optional):
            raise too_short(needs, left, contract)
        for need in needs:
            if need not in kept:
                left_out[need.candidate.key] = (
                    f"{need.candidate.name} is left out: one look at the images takes {need.epoch:.3g} s here, too "
                    f"long for {trainings(need.seeds)} in {contract.minutes:g} minutes"
                )
        needs, seconds = kept, seconds_each(kept, left)
    if contract.alike == "epochs":
        epochs = plan.epochs or epochs_each(needs, seconds)
        made = {need.candidate.key: of_epochs(need, epochs) for need in needs}
    else:
        epochs, smaller = None, contract.recipe == "auto" and contract.batch is None
        made = {need.candidate.key: planned(need, seconds, smaller) for need in needs}
    notes = plan.notes + seen_in_part(needs, made, minutes)
    return Plan(seconds, plan.trials | made, plan.sizes or contract.sizes, left_out, epochs, minutes, notes)


def seen_in_part(needs: Sequence[Need], made: Mapping[str, Planned], minutes: int | None) -> tuple[str, ...]:
    """A sentence where trainings end before they have seen every image."""
    parts = []
    for need in needs:
        recipe = made[need.candidate.key].recipe
        share = total_steps(recipe, need.images) / steps_of_epoch(need.images, recipe.batch)
        parts += [f"{need.candidate.name} {share:.0%}"] if share < 1 else []
    if not parts:
        return ()
    listed = ", ".join(parts)
    return (f"of the training images a part is seen in this time: {listed}; --minutes {minutes} is enough for all",)


def planned(need: Need, seconds: float, smaller: bool = False) -> Planned:
    """The training of `need` in so many seconds of steps; with `smaller`, where these are few, in smaller batches."""

    def of_batch(batch: int) -> Recipe:
        more = need.estimate.step * (1 / batch - 1 / need.recipe.batch)
        image = {side: each + more for side, each in need.estimate.image.items()}
        changed = changed_batch(need.recipe, batch)
        return within(changed, image, need.images, need.candidate.size, seconds, need.evaluations)

    def worth(recipe: Recipe) -> float:
        # why a product: a threshold on either would turn with a noisy timing, and the accuracy with it
        steps = total_steps(recipe, need.images)
        return steps * recipe.batch * min(1.0, steps / FEW_STEPS)

    batches = [need.recipe.batch]
    while smaller and batches[-1] // 2 >= LEAST_BATCH:
        batches.append(batches[-1] // 2)
    recipe = max(map(of_batch, batches), key=worth)
    return Planned(recipe, need.machine.precision, need.machine.memory_format, seconds + need.beside)


def epochs_each(needs: Sequence[Need], seconds: float) -> float:
    """How many epochs every training gets, so that all together take what they would with so many seconds each: a whole
    number, or a part of the first."""
    epochs = seconds * sum(need.seeds for need in needs) / sum(need.seeds * need.epoch for need in needs)
    return float(int(epochs)) if epochs >= 1 else epochs


def of_epochs(need: Need, epochs: float) -> Planned:
    """The training of `need` over so many epochs, all at the full size, evaluated often enough for a curve."""
    steps = max(1, int(epochs * steps_of_epoch(need.images, need.recipe.batch)))
    recipe = msgspec.structs.replace(need.recipe, epochs=max(1, int(epochs)), steps=steps, progressive_resize=())
    recipe = msgspec.structs.replace(ended(recipe, need.images), evaluate_every=-(-recipe.epochs // need.evaluations))
    return Planned(recipe, need.machine.precision, need.machine.memory_format, epochs * need.epoch + need.beside)


def by_epochs(need: Need) -> Planned:
    """The training of a candidate that is as long as its recipe says; its seconds are a guess, for the time left."""
    recipe = ended(need.recipe, need.images)
    ops = 6 * (need.candidate.macs + OVERHEAD) * need.images * recipe.epochs
    return Planned(recipe, need.machine.precision, need.machine.memory_format, ops / GUESSED)


def changed_batch(recipe: Recipe, batch: int) -> Recipe:
    """The recipe with another batch, which its learning rate follows; in no more parts than that has pairs."""
    parts = min(recipe.accumulation_steps, max(1, batch // 2))
    return msgspec.structs.replace(recipe, batch=batch, accumulation_steps=parts)


def trainings(count: int) -> str:
    """How many there are, in words that a sentence can take."""
    return "1 training" if count == 1 else f"{count} trainings"


def within(
    recipe: Recipe, image: Mapping[int, float], images: int, size: int, seconds: float, evaluations: int = EVALUATIONS
) -> Recipe:
    """`recipe` with as many steps as fit into `seconds`, the last epoch perhaps in part; its schedule ends with them.

    `image` has the seconds of one training image by its side in pixels, `size` is the full side.
    """
    each = steps_of_epoch(images, recipe.batch)

    def of_epochs(epochs: int) -> list[float]:
        made = msgspec.structs.replace(recipe, epochs=epochs)
        return [images * image[made.side(epoch, size)] for epoch in range(1, epochs + 1)]

    epochs = max(1, int(seconds / (images * max(image.values()))))
    while sum(of_epochs(epochs)) < seconds:
        epochs += 1
    *before, last = of_epochs(epochs)
    left = max(0.0, seconds - sum(before))
    steps = (epochs - 1) * each + max(1, min(each, int(each * left / last)))
    every = -(-epochs // evaluations)
    return ended(msgspec.structs.replace(recipe, epochs=epochs, steps=steps, evaluate_every=every), images)
