"""The choice of precision and memory format: by planted rates, kept, repeated by a run that continues."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import torch

from topfive.cli import main
from topfive.engine.benchmark import arithmetic
from topfive.engine.benchmark.arithmetic import Rate, chosen, fastest, repeated
from topfive.engine.benchmark.machine import Machine, this_machine
from topfive.engine.models import capabilities
from topfive.engine.models.specs import ModelSpec
from topfive.networks import get

SHAPE = (3, 32, 32)
USUAL = Machine("cpu", "a processor", 2, 2, 2**34, "float32", "channels_last", "2.13.0")
RESNET = ModelSpec("cifar-resnet-20", get("cifar-resnet-20"))


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Seconds for each memory format, by a clock of its own; the list says which steps were made."""

    def plant(**seconds: float) -> list[str]:
        made, now = list[str](), [0.0]

        def step(machine: Machine, *_: object) -> Callable[[], None]:
            def one() -> None:
                made.append(machine.memory_format)
                now[0] += seconds[machine.memory_format]

            return one

        monkeypatch.setattr(arithmetic, "_step", step)
        monkeypatch.setattr(arithmetic.time, "perf_counter", lambda: now[0])
        monkeypatch.setattr(capabilities, "bfloat16", lambda: False)
        monkeypatch.setattr(arithmetic.Load, "contention", lambda self, threads: 0.0)
        return made

    return plant


@pytest.mark.parametrize(
    ("rates", "taken"),
    [
        ({"float32, channels_last": Rate(71, 1), "float32, contiguous": Rate(81, 1.1)}, ("float32", "contiguous")),
        ({"float32, channels_last": Rate(81, 1), "float32, contiguous": Rate(71, 0.9)}, ("float32", "channels_last")),
        # faster as a median, but not by enough in three of four turns
        ({"float32, channels_last": Rate(10, 1), "float32, contiguous": Rate(12, 1.02)}, ("float32", "channels_last")),
    ],
)
def test_the_faster_arithmetic_is_taken_where_it_is_worth_it(rates: dict[str, Rate], taken: tuple[str, str]) -> None:
    machine, said = chosen(USUAL, rates, "measured now")
    assert (machine.precision, machine.memory_format) == taken
    assert said.startswith(f"trains in {taken[0]}, {taken[1]}: ") and all(
        f"{rate:,.0f}" in said for rate in [one.rate for one in rates.values()]
    )


def test_lower_precision_where_the_processor_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = msgspec.structs.replace(USUAL, precision="bfloat16")
    rates = {"bfloat16, channels_last": Rate(90, 1), "bfloat16, contiguous": Rate(50, 0.5)}
    rates["float32, channels_last"] = Rate(100, 1.1)
    assert chosen(usual, rates, "")[0].precision == "float32"
    monkeypatch.setattr(capabilities, "bfloat16", lambda: False)
    before = {"threads": 1, "precision": "bfloat16", "memory_format": "contiguous"}
    # a run begun in bfloat16 continues in float32 on a processor without it
    assert repeated(USUAL, before) == msgspec.structs.replace(USUAL, threads=1, memory_format="contiguous")


def test_measured_once_for_a_machine_and_network(planted: Callable[..., list[str]], home: Path) -> None:
    made = planted(channels_last=0.2, contiguous=0.1)
    machine, said = fastest(RESNET, SHAPE, 10, 64, 1_000_000, USUAL)
    assert machine.memory_format == "contiguous" and said.endswith("measured now")
    assert made and set(made) == {"channels_last", "contiguous"}
    made.clear()
    again, said = fastest(RESNET, SHAPE, 10, 64, 1_000_000, USUAL)
    assert (again, made) == (machine, []) and said.endswith("measured before")
    fastest(RESNET, SHAPE, 10, 64, 1_000_000, msgspec.structs.replace(USUAL, threads=1))
    assert made  # another number of threads is another machine
    made.clear()
    (cache,) = home.rglob(arithmetic.CACHE)
    cache.write_bytes(cache.read_bytes()[:-20])
    assert fastest(RESNET, SHAPE, 10, 64, 1_000_000, USUAL)[0] == machine and made  # damaged: measured anew


def test_steps_that_are_disturbed_decide_nothing(
    planted: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Contiguous is 2 % slower, and twice as fast in the few turns in which something disturbs the other."""
    made = planted(channels_last=0.100, contiguous=0.102)
    clock, now, seen = arithmetic.time.perf_counter, [0.0], [0]

    def disturbing() -> float:
        if made and made[-1] == "channels_last" and len(made) != seen[0] and made.count("channels_last") in (3, 4, 5):
            seen[0] = len(made)
            now[0] += 0.1
        return clock() + now[0]

    monkeypatch.setattr(arithmetic.time, "perf_counter", disturbing)
    assert fastest(RESNET, SHAPE, 10, 64, 1_000_000, USUAL)[0] == USUAL


def test_a_short_training_is_not_held_up(planted: Callable[..., list[str]]) -> None:
    made = planted(channels_last=0.2, contiguous=0.1)
    assert fastest(RESNET, SHAPE, 10, 64, 1_000, USUAL) == (USUAL, "") and not made


def test_measuring_leaves_the_random_numbers_alone() -> None:
    torch.manual_seed(3)
    wanted = torch.rand(3)
    torch.manual_seed(3)
    fastest(RESNET, SHAPE, 10, 2, 100_000, this_machine())
    assert torch.equal(torch.rand(3), wanted)


def test_a_run_goes_on_in_the_arithmetic_that_it_began_with(
    directions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Contiguous by a planted choice; what continues in another process that would choose otherwise ends the same."""
    taken = ["contiguous"]

    def choose(*given: object) -> tuple[Machine, str]:
        machine = msgspec.structs.replace(given[-1], memory_format=taken[0])  # type: ignore[type-var]
        return machine, f"trains in float32, {taken[0]}"

    monkeypatch.setattr(arithmetic, "fastest", choose)
    command = ["train", "cifar-resnet-20", str(directions), "--recipe", "quick", "--epochs", "2", "--batch", "16"]
    monkeypatch.chdir(tmp_path)
    assert main([*command, "--out", "whole"]) == 0
    assert "trains in float32, contiguous" in capfd.readouterr().err
    stated = json.loads(Path("whole/run.json").read_text())
    assert stated["machine"]["memory_format"] == "contiguous"
    # stopped after the first epoch: what it takes from then on is the run's
    from topfive.engine.training import checkpoints as keeping
    from topfive.engine.training.checkpoints import Checkpointer
    from topfive.engine.training.loop import Training

    epoch = Checkpointer.epoch

    def stopping(self: Checkpointer, training: Training) -> None:
        epoch(self, training)
        os.kill(os.getpid(), keeping.signal.SIGINT)
        self.step(training)

    with monkeypatch.context() as stop:
        stop.setattr(Checkpointer, "epoch", stopping)
        assert main([*command, "--out", "parts"]) == 130
    taken[0] = "channels_last"
    capfd.readouterr()
    assert main(["resume", "parts"]) == 0
    assert "contiguous" in capfd.readouterr().err
    ends = [sorted(Path(run, "checkpoints").glob("step-*"))[-1] / "model.safetensors" for run in ("whole", "parts")]
    assert ends[0].read_bytes() == ends[1].read_bytes()
