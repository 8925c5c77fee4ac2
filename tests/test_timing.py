"""What a training will take: sums by hand, and a budget of minutes that decides the epochs once and for all."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from torch import nn

from topfive.cli import main
from topfive.data.opening import open_source
from topfive.engine.benchmark.machine import this_machine
from topfive.engine.training import timing
from topfive.engine.training.datasets import Data
from topfive.engine.training.job import Job
from topfive.engine.training.loop import Step
from topfive.engine.training.processes import Group
from topfive.engine.training.timing import Estimate, estimate
from topfive.networks import get
from topfive.recipes.recipe import OneCycle, Recipe

GROWING = Recipe(epochs=4, progressive_resize=((0.5, 0.5),), evaluate_every=3, schedule=OneCycle())
PLAIN = Estimate(reading=10.0, image={32: 0.001, 64: 0.004}, evaluation=2.0)
TRAIN = ["train", "cifar-resnet-20", "--recipe", "quick", "--set", "batch=128"]  # on scikit-learn's digits


def test_the_time_is_that_of_its_parts() -> None:
    # 100 images, two epochs at 32 pixels and two at 64; evaluated after the third epoch and the last
    assert PLAIN.seconds(GROWING, 100, 64) == pytest.approx(10 + 2 * 0.1 + 2 * 0.4 + 2 * 2)


@pytest.mark.parametrize("budget", [0.0, 12.0, 12.45, 12.9, 14.6, 20.0, 60.0])
def test_as_many_epochs_as_fit_and_not_one_more(budget: float) -> None:
    epochs = PLAIN.epochs(GROWING, 100, 64, budget)

    def takes(epochs: int) -> float:
        return PLAIN.seconds(msgspec.structs.replace(GROWING, epochs=epochs), 100, 64)

    assert takes(epochs + 1) > budget
    assert epochs == 0 or takes(epochs) <= budget


def test_every_side_of_the_schedule_is_timed_on_a_sample_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    source, steps = open_source(None), list[tuple[int, int]]()
    true = timing._timed

    def timed(net: nn.Module, data: Data, recipe: Recipe, *rest: Any) -> float:
        steps.append((recipe.side(1, 32), recipe.batch))
        return true(net, data, recipe, *rest)

    monkeypatch.setattr(timing, "_timed", timed)
    recipe = Recipe(epochs=20, batch=100, progressive_resize=((0.5, 0.5), (0.8, 0.75)))
    job = Job(get("cifar-resnet-20"), source, recipe, 32, this_machine(), Group(), tmp_path)
    made = estimate(job)
    assert {side for side, _ in steps} == set(made.image) == {recipe.side(epoch, 32) for epoch in range(1, 21)}
    assert max(batch for _, batch in steps) == 100
    assert min(made.reading, made.evaluation, *made.image.values()) > 0
    assert not list(tmp_path.iterdir())


def test_minutes_decide_the_epochs_and_the_same_command_keeps_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("sklearn")
    monkeypatch.chdir(tmp_path)
    for image in (0.0, 1.0):  # a machine that is then much slower
        monkeypatch.setattr(
            timing, "estimate", lambda *_, each=image: Estimate(1.0, dict.fromkeys((8, 16, 24, 32), each), 20.0)
        )
        assert main([*TRAIN, "--minutes", "1", "--out", "run", "--format", "json"]) == 0
        rows = json.loads(capsys.readouterr().out)["rows"]
        assert [row["epoch"] for row in rows] == [1, 2]  # of 20 s, in 57 s less what opening took
    assert main([*TRAIN, "--minutes", "1", "--out", "another", "--quiet"]) == 2
    assert "--minutes 1 is too short: one epoch takes about" in capsys.readouterr().err
    assert not Path("another").exists()


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["1", "--epochs", "3"], "leave --epochs out"),
        (["1", "--set", "epochs=3"], "leave --epochs out"),
        (["0"], "above 0"),
        (["-1"], "above 0"),
        (["nan"], "above 0"),
        (["inf"], "above 0"),
    ],
)
def test_minutes_that_cannot_be(more: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("sklearn")
    assert main([*TRAIN, "--minutes", *more]) == 2
    assert says in capsys.readouterr().err


def test_many_minutes_are_counted_at_once() -> None:
    recipe, fast = Recipe(evaluate_every=1000), Estimate(0.0, {32: 1e-6}, 0.0)
    assert fast.epochs(recipe, 1000, 32, 100.0) == pytest.approx(100_000, abs=1)


def test_what_an_epochs_smaller_last_batch_takes_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    now, images = 0.0, 0

    def steps(training: object) -> Iterator[Step]:
        nonlocal now, images
        while True:
            for count, took in ((8, 1.0), (8, 1.0), (3, 50.0)):
                now, images = now + took, images + count
                yield Step(images)

    monkeypatch.setattr(timing, "train", steps)
    monkeypatch.setattr(timing, "Training", lambda *given: None)
    monkeypatch.setattr(timing.time, "perf_counter", lambda: now)
    given: Any = (None, None, None, this_machine("cpu"))
    assert timing._timed(*given, seconds=5.0, steps=3) == 1 / 8
