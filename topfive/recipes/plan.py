"""What a recipe will do, before anything runs: its steps, rates and sides."""

import itertools
import sys
from typing import Any, assert_never

import msgspec

from topfive.recipes.editing import FOLLOWS, touches
from topfive.recipes.recipe import Decay, OneCycle, Plateau, Recipe, Steps, learning_rate

Cell = str | int | float | bool | None


def field_rows(recipe: Recipe) -> list[dict[str, Cell]]:
    """A row a field: its path, its value, and where it is from; `ours` where no paper gives it."""
    rows: list[dict[str, Cell]] = []

    def add(path: str, value: Any) -> None:
        if isinstance(value, dict):
            if "type" in value:
                rows.append({"field": path, "value": value["type"], "source": recipe.sources.get(path, "ours")})
            for name, inner in value.items():
                if name not in ("type", "source"):
                    add(f"{path}.{name}", inner)
            return
        said = [text for key, text in recipe.sources.items() if touches(path, key)]
        rows.append({"field": path, "value": value, "source": said[0] if said else "ours"})

    for name, value in msgspec.to_builtins(recipe).items():
        if name not in ("name", *FOLLOWS):
            add(name, value)
    return rows


def steps_of_epoch(count: int, batch: int) -> int:
    """Batches of an epoch. A last batch of a single image is left out: batch normalisation cannot learn from it."""
    return max(1, count // batch + (count % batch > 1))


def total_steps(recipe: Recipe, images: int) -> int:
    """Steps of the whole training."""
    return min(recipe.steps or sys.maxsize, recipe.epochs * steps_of_epoch(images, recipe.batch))


def ended(recipe: Recipe, images: int) -> Recipe:
    """The recipe with as many epochs as its `steps` take, the last one perhaps in part."""
    if recipe.steps is None:
        return recipe
    each = steps_of_epoch(images, recipe.batch)
    epochs = -(-recipe.steps // each)
    return msgspec.structs.replace(recipe, epochs=epochs, steps=recipe.steps if recipe.steps % each else None)


def plan_rows(recipe: Recipe, images: int, size: int | None = None) -> list[dict[str, Cell]]:
    """A row for each change of the schedule or of the images' side: epochs, steps, learning rates, side.

    The side is in pixels where `size` is the full one, else its share of that. Where the validation error decides,
    `lr_to` is the lowest rate that there may be; `how` says what decides.
    """
    each = steps_of_epoch(images, recipe.batch)
    total = total_steps(recipe, images)
    starts = [*_changes(recipe, each, total), total]
    rows: list[dict[str, Cell]] = []
    for first, after in itertools.pairwise(starts):
        epoch = first // each + 1
        warming = recipe.warmup is not None and epoch == 1
        rows.append(
            {
                "first_epoch": epoch,
                "last_epoch": (after - 1) // each + 1,
                "steps": after - first,
                "lr_from": _rate(recipe, first, each, total),
                "lr_to": _rate(recipe, after - 1, each, total, lowest=True),
                "side": recipe.side(epoch, size) if size else recipe.share(epoch),
                "how": _how(recipe, warming),
            }
        )
    return rows


def plan_points(recipe: Recipe, images: int, number: int = 500) -> list[dict[str, float]]:
    """The schedule at about `number` steps, all its changes among them, as `figures.schedule` draws it.

    `lr_low` is below `lr` where the validation error decides: the rate after errors that never fell.
    """
    each = steps_of_epoch(images, recipe.batch)
    total = total_steps(recipe, images)
    schedule, turns = recipe.schedule, set(_changes(recipe, each, total))
    if isinstance(schedule, Decay):
        turns |= set(range(0, total, schedule.epochs * each))
    if isinstance(schedule, Plateau):
        evaluated = each * recipe.evaluate_every
        turns |= {evaluated * (1 + schedule.patience * time) for time in range(1, schedule.times + 1)}
    grid = {round(i * (total - 1) / (number - 1)) for i in range(number)}
    return [
        {
            "step": step,
            "epoch": step / each,
            "lr": _rate(recipe, step, each, total),
            "lr_low": _rate(recipe, step, each, total, lowest=True),
            "side": recipe.share(step // each + 1),
        }
        for step in sorted(grid | turns | {turn - 1 for turn in turns})
        if 0 <= step < total
    ]


def _rate(recipe: Recipe, step: int, each: int, total: int, lowest: bool = False) -> float:
    """The rate of a step, counted from 0, when the warm-up is taken to last for the first epoch."""
    errors = [1.0] * (step // each // recipe.evaluate_every if lowest else 0)
    return learning_rate(recipe, step / total, errors, 1.0 if step < each else 0.0)


def _changes(recipe: Recipe, each: int, total: int) -> list[int]:
    """The steps, counted from 0, at which another row of the plan begins."""
    match recipe.schedule:
        case OneCycle(warmup=rise):
            shares: tuple[float, ...] = (rise,)
        case Steps(at=at):
            shares = at
        case Plateau() | Decay():
            shares = ()
        case _:
            assert_never(recipe.schedule)
    found = {next(n for n in itertools.count(max(0, int(share * total) - 1)) if n / total >= share) for share in shares}
    found |= {e * each for e in range(1, recipe.epochs) if recipe.share(e) != recipe.share(e + 1)}
    if recipe.warmup:
        found.add(each)
    return sorted({0} | {step for step in found if step < total})


def _how(recipe: Recipe, warming: bool) -> str:
    match recipe.schedule:
        case Decay(factor=factor, epochs=epochs):
            said = f"x{factor:.4g} every {epochs} epochs" if epochs > 1 else f"x{factor:.4g} every epoch"
        case Plateau(factor=factor, patience=patience, times=times):
            evaluations = f"{patience} evaluations bring" if patience > 1 else "an evaluation brings"
            said = f"x{factor:g} where {evaluations} no lower error, at most {times} times"
        case OneCycle() | Steps():
            said = ""
        case _:
            assert_never(recipe.schedule)
    if recipe.warmup and warming:
        until = f"x{recipe.warmup.factor:g} until the training error is below {100 * recipe.warmup.error:g} %"
        return f"{until}; {said}" if said else until
    return said
