"""How long the trainings of a comparison are: equal time, whole schedules, and a plan that is kept."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import msgspec
import pytest

from topfive.engine.benchmark.machine import this_machine
from topfive.engine.comparison.candidates import entry, recipe_of
from topfive.engine.comparison.contract import Contract
from topfive.engine.comparison.planning import (
    EVALUATIONS,
    Need,
    Plan,
    TooShort,
    extended,
    fitting,
    left_of,
    planned,
    seconds_each,
    too_short,
    within,
)
from topfive.engine.training.timing import Estimate
from topfive.networks import get
from topfive.recipes.plan import plan_points, steps_of_epoch, total_steps
from topfive.recipes.recipe import Recipe, learning_rate

IMAGES = 1000
FAST = recipe_of("fast", get("resnet-18"))  # half the side for half of the epochs, three quarters until 0.8 of them
SECONDS = {32: 0.001, 64: 0.004, 48: 0.00225}


def spent(recipe: Recipe, size: int = 64) -> float:
    """Seconds of the steps, added up one by one."""
    each = steps_of_epoch(IMAGES, recipe.batch)
    steps = range(total_steps(recipe, IMAGES))
    return sum(SECONDS[recipe.side(step // each + 1, size)] * IMAGES / each for step in steps)


@pytest.mark.parametrize("seconds", [0.3, 2, 4.1, 9, 33, 250])
def test_as_many_steps_as_fit_and_a_schedule_that_ends_with_them(seconds: float) -> None:
    image = {side: SECONDS[side] for side in {FAST.side(epoch, 64) for epoch in range(1, FAST.epochs + 1)}}
    recipe = within(FAST, image, IMAGES, 64, seconds)
    step = IMAGES * max(image.values()) / steps_of_epoch(IMAGES, recipe.batch)
    # why so many: another epoch can move the epochs at which the side grows
    assert seconds - 0.05 * seconds - 2 * step <= spent(recipe) <= seconds + 1e-9 or total_steps(recipe, IMAGES) == 1
    last = total_steps(recipe, IMAGES) - 1
    assert learning_rate(recipe, last / (last + 1)) < 0.05 * recipe.peak or last < 20
    assert [point["step"] for point in plan_points(recipe, IMAGES)][-1] == last
    assert -(-recipe.epochs // recipe.evaluate_every) <= EVALUATIONS


def needs(*epochs: float, seeds: int = 2) -> list[Need]:
    """Networks for which an epoch takes so many seconds, and an evaluation a quarter of one."""
    names = ("alexnet", "googlenet", "resnet-18", "resnet-50")
    made = []
    for name, epoch in zip(names, epochs):
        one = entry(name, 64, 10, "quick")
        candidate = msgspec.structs.replace(one.candidate, params=0)
        estimate = Estimate(0.0, {64: epoch / IMAGES}, 0.25)
        made.append(Need(candidate, one.recipe, this_machine("cpu"), estimate, IMAGES, seeds))
    return made


def within_minutes(minutes: float) -> Contract:
    return Contract((), (), minutes=minutes)


def total(taken: Sequence[Need], seconds: float) -> float:
    return sum(need.seeds * (seconds + need.beside) for need in taken)


def test_every_training_gets_the_same_share_of_what_is_left() -> None:
    taken = needs(1, 2, 10)
    seconds = seconds_each(taken, left_of(within_minutes(4), 30))
    assert (
        total(taken, seconds) == pytest.approx(left_of(within_minutes(4), 30))
        and left_of(within_minutes(4), 30) < 4 * 60 - 30
    )
    plans = [planned(need, seconds) for need in taken]
    assert [plan.seconds for plan in plans] == [seconds + need.beside for need in taken]
    epochs = [total_steps(plan.recipe, IMAGES) / steps_of_epoch(IMAGES, 64) for plan in plans]
    assert epochs[0] == pytest.approx(seconds, rel=0.05) and epochs[2] == pytest.approx(seconds / 10, rel=0.05)


@pytest.mark.parametrize(
    ("seconds", "step", "batch"),
    [
        (60.0, 0.0, 64),  # 60 epochs of 16 steps: enough
        (10.0, 0.0, 32),  # 10 epochs: 160 steps of 64 images, 320 of 32
        (2.0, 0.0, 16),  # 2 epochs: 125 steps even of 16
        (2.0, 0.02, 32),  # a step costs as much as 20 images: 31, 48 and 65 steps see 2.0, 1.5 and 1.0 thousand images
        (30.0, 0.14, 64),  # AlexNet's: half the batch has hardly more steps, and half of the images
        (2.0, 1.0, 64),  # a step costs as much as 1,000 images: no smaller batch is worth it
    ],
)
def test_where_steps_are_few_batches_are_smaller_unless_steps_are_dear(seconds: float, step: float, batch: int) -> None:
    (need,) = needs(1)
    need = replace(need, estimate=msgspec.structs.replace(need.estimate, step=step))
    made = planned(need, seconds, smaller=True)
    assert made.recipe.batch == batch and planned(need, seconds).recipe.batch == 64
    # and the time is kept to: so many images at a thousandth of a second, and so many steps dearer than in the estimate
    steps = total_steps(made.recipe, IMAGES)
    assert steps * batch / IMAGES + steps * step * (1 - batch / 64) == pytest.approx(seconds, rel=0.2)


def test_too_few_minutes_are_said_with_how_many_it_takes_and_what_would_fit() -> None:
    taken, minutes, passed = needs(1, 2, 60, seeds=3), 3.0, 20.0
    left = left_of(within_minutes(minutes), passed)
    assert [need.candidate.name for need in fitting(taken, left)] == ["alexnet", "googlenet"]
    said = str(too_short(taken, left, within_minutes(minutes)))
    assert "resnet-18" in said and "60 s" in said and "alexnet, googlenet would fit" in said
    enough = float(said.partition("trainings: --minutes ")[2].partition(",")[0])
    assert enough > minutes and fitting(taken, left_of(within_minutes(enough), passed)) == taken
    assert fitting(taken, left_of(within_minutes(enough - 1), passed)) != taken


@pytest.mark.parametrize("alike", ["time", "epochs"])
def test_an_experiment_whose_time_is_too_short_sees_a_part_of_the_images_and_says_so(
    alike: Literal["time", "epochs"],
) -> None:
    taken, contract = needs(10, 20, 100, seeds=3), within_minutes(3.0)
    with pytest.raises(TooShort):
        extended(Plan(), taken, contract, 20.0)
    contract = msgspec.structs.replace(contract, optional=True, least=0.1, alike=alike)
    plan = extended(Plan(), taken, contract, 20.0)
    recipes = [plan.trials[need.candidate.key].recipe for need in taken]
    shares = [total_steps(recipe, IMAGES) / steps_of_epoch(IMAGES, recipe.batch) for recipe in recipes]
    assert not plan.left_out and sum(need.seeds * plan.trials[need.candidate.key].seconds for need in taken) < 180
    assert (0.1 <= shares[2] < shares[0]) if alike == "time" else (0.1 <= shares[0] == shares[2] < 1)
    assert f"resnet-18 {shares[2]:.0%}; --minutes {plan.enough} is enough for all" in plan.notes[0]
    assert not extended(Plan(), taken, msgspec.structs.replace(contract, minutes=float(plan.enough or 0)), 20.0).notes
    few = extended(Plan(), needs(10, 20, 400, seeds=3), contract, 20.0)
    assert len(few.left_out) == 1 and "resnet-18 is left out" in next(iter(few.left_out.values()))
