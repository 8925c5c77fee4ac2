"""`choose`: who leaves a race and why, what it decides by, and what a user is left with."""

import json
import re
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from test_checkpoints import TINY

from topfive.cli import main
from topfive.data.class_folders import folder
from topfive.data.sources import selection, split
from topfive.engine.comparison.candidates import CONTENDERS, Entry, entry
from topfive.engine.comparison.choosing import FINALISTS, rungs_of
from topfive.engine.comparison.folder import Folder
from topfive.engine.comparison.planning import Need
from topfive.engine.training.timing import Estimate, sides_of
from topfive.errors import DataError, DivergedError
from topfive.networks.layers import Chain, Conv
from topfive.results.choosing import leaving
from topfive.results.records import Benchmark
from topfive.results.significance import Right


def right(*counts: int) -> dict[str, Right]:
    """Networks that have so many of 400 images right, the same ones as far as they go."""
    return {name: np.arange(400)[None] < count for name, count in zip("abcdefgh", counts)}


def test_the_worse_half_leave_by_evidence_and_the_rest_for_want_of_time() -> None:
    gone = leaving(right(300, 298, 200, 100), most=2)
    assert set(gone) == {"c", "d"} and all(told for _, told in gone.values())
    assert "25.0 points behind the best" in gone["c"][0] and "no chance" in gone["c"][0]
    gone = leaving(right(300, 299, 298, 100), most=2)
    assert {name: told for name, (_, told) in gone.items()} == {"c": False, "d": True}
    assert "may be chance; no time for more than 2" in gone["c"][0]


def test_a_slow_starter_in_the_better_half_stays_though_the_images_tell_it_from_the_best() -> None:
    assert leaving(right(390, 200, 100, 50), most=2).keys() == {"c", "d"}
    assert leaving(right(300, 300, 300), most=3) == {}


@pytest.mark.parametrize("networks", range(1, 60))
def test_a_race_ends_with_a_few_finalists(networks: int) -> None:
    left = [networks, *rungs_of(networks)]
    assert left[-1] <= FINALISTS and (left[-1] >= 2 or networks == 1)
    assert all(after == -(-before // 2) for before, after in pairwise(left))


def test_selection_images_are_of_every_class_and_never_validation_images(directions: Path) -> None:
    source = folder(directions)
    held = selection(source)
    assert {*held.train, *held.val} == {*source.train} and not {*held.train} & {*held.val}
    assert not {*held.val} & {*source.val} and held.fingerprint != source.fingerprint
    assert all(1 <= count < 32 for count in Counter(item.label for item in held.val).values())
    assert len(Counter(item.label for item in held.val)) == 3
    # where the validation images were split off by the same kind of hash, the training images are split anew
    train, _ = split([(f"{i}.png", 0) for i in range(1000)])
    assert 0.15 < len(selection(replace(source, train=train)).val) / len(train) < 0.25


def test_every_contender_fits_the_sizes_that_are_chosen_by_default() -> None:
    for name in CONTENDERS:
        for size in (32, 64, 128, 224):
            assert entry(name, size, 10, "auto").network is not None


@pytest.fixture
def race(directions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Five networks of one kind, which learn in seconds and are as slow as they have filters."""

    def timed(task: Any) -> Benchmark:
        filters = int(task.subject.name.removeprefix("wide-"))
        made = Benchmark(*[float(filters)] * 6, 8, 10**6 * filters, 1, task.training_batch)
        return msgspec.structs.replace(made, latency_p90_ms=float(filters))

    def need(one: Entry, source: Any, data: Any, machine: Any, recipe: Any, place: Any, seeds: int) -> Need:
        """As if an epoch took more than a second, which is longer than it takes."""
        estimate = Estimate(0.0, dict.fromkeys(sides_of(recipe, 32), 1.5 / 96), 0.01)
        return Need(one.candidate, recipe, machine, estimate, len(data), seeds)

    monkeypatch.setattr("topfive.engine.comparison.comparison.measure", timed)
    monkeypatch.setattr("topfive.engine.comparison.comparison.timed", need)
    monkeypatch.setattr("topfive.engine.comparison.comparison.Comparison._passed", lambda comparison: 0.0)
    names = []
    for filters in (2, 4, 8, 16, 32):
        assert isinstance(TINY.body, Chain)
        layers = (("conv1", Conv(filters, 3, 2, 1)), *TINY.body.layers[1:])
        network = msgspec.structs.replace(TINY, name=f"wide-{filters}", body=Chain(layers))
        (tmp_path / f"{network.name}.json").write_bytes(msgspec.json.encode(network))
        names.append(f"{network.name}.json")
    monkeypatch.chdir(tmp_path)
    options = ["--data", str(directions), "--size", "32", "--batch", "8", "--minutes", "2", "--seeds", "2"]
    return ["choose", *names, *options, "--format", "json"]


def test_a_choice_from_end_to_end(race: list[str], directions: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*race, "--latency", "20ms", "--out", "out"]) == 0
    printed = json.loads(capsys.readouterr().out)
    contenders = {one["name"]: one for one in printed["meta"]["contenders"]}
    assert list(contenders) == ["wide-2", "wide-4", "wide-8", "wide-16", "wide-32"]
    assert contenders["wide-32"]["left"] == "limits"
    assert contenders["wide-32"]["why"] == "32 ms an image (p90), over 20 ms"
    rows = {row["name"]: row for row in printed["rows"]}
    finalists = [name for name, one in contenders.items() if not one["left"]]
    assert set(finalists) == set(rows) and len(rows) == 2
    assert [len(one["scores"]) for one in contenders.values()] == [1, 1, 1, 1, 0]
    assert {one["left"] for one in contenders.values()} == {"", "rung 1", "limits"}
    assert all(row["seeds"] == [0, 1] and row["images"] == 24 for row in rows.values())
    best = [row for row in printed["rows"] if row["among_best"]]
    fastest = min(best, key=lambda row: row["latency_ms"])
    assert printed["meta"]["recommended"] == fastest["name"]
    page = Path("out/report.html").read_text()
    assert f"{fastest['name']}</span> is recommended" in page and "over 20 ms" in page
    (model,) = set(re.findall(r"topfive predict (\S+) FILE", page))
    assert fastest["name"] in model
    assert main(["predict", model, str(directions / "val/down/0.png"), "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"]


def test_bad_limits_are_one_sentence(race: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    for options, sentence in (
        (["--latency", "0.1ms"], "no network keeps to these limits here: the fastest, wide-2, takes 2 ms (p90)"),
        (["--memory", "1kB"], "no network keeps to these limits here: wide-2 takes the least memory, 2 MB"),
        (["--params", "10"], "no network keeps to these limits here: the smallest, wide-2, has "),
        (["--latency", "fast"], "--latency fast is none: a number with its unit, as 20ms"),
        (["--latency", "9" * 400], "is none: a number with its unit, as 20ms"),
        (["--latency", "20MB"], "--latency 20MB is none: a number with its unit, as 20ms"),
    ):
        assert main([*race, *options, "--out", "limits"]) == 2
        assert sentence in capsys.readouterr().err
    minutes = race.index("--minutes") + 1
    assert main([*race[:minutes], "inf", *race[minutes + 1 :]]) == 2
    assert "--minutes inf is none" in capsys.readouterr().err
    assert main([*race[:1], "hog-svm", *race[2:]]) == 2
    assert "hog-svm is no network" in capsys.readouterr().err


def test_nothing_can_be_set_aside_of_classes_with_one_image(directions: Path) -> None:
    source = folder(directions)
    single = replace(source, train=tuple({item.label: item for item in source.train}.values()))
    with pytest.raises(DataError, match="every class has a single image"):
        selection(single)


def test_networks_that_fail_in_a_rung_are_no_finalists(
    race: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*_: object) -> None:
        raise DivergedError("the loss is not finite")

    monkeypatch.setattr("topfive.engine.comparison.comparison.timed", fails)
    assert main([*race, "--out", "failed"]) == DivergedError.exit_code
    printed = capsys.readouterr()
    assert "5 of 5 networks failed, the first wide-2: the loss is not finite" in printed.err
    contenders = json.loads(printed.out)["meta"]["contenders"]
    assert {(one["left"], one["why"]) for one in contenders} == {("failed", "the loss is not finite")}


def test_a_choice_without_time_for_its_finalists_is_no_success(
    race: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("topfive.engine.comparison.comparison.Comparison._late", lambda comparison, seconds: True)
    assert main([*race[:3], *race[6:], "--out", "late"]) == 5
    assert "cannot tell in 2 minutes which network is the best: none was compared" in capsys.readouterr().err


def test_the_only_network_that_the_time_was_enough_for_is_not_recommended(
    race: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def need(one: Entry, source: Any, data: Any, machine: Any, recipe: Any, place: Any, seeds: int) -> Need:
        image = 0.01 if one.candidate.name == "wide-2" else 10.0
        estimate = Estimate(0.0, dict.fromkeys(sides_of(recipe, 32), image), 0.01)
        return Need(one.candidate, recipe, machine, estimate, len(data), seeds)

    monkeypatch.setattr("topfive.engine.comparison.comparison.timed", need)
    assert main([*race[:4], *race[6:], "--out", "alone"]) == 5
    printed = capsys.readouterr()
    said = printed.err.splitlines()[-1]
    assert "cannot tell in 2 minutes which network is the best: wide-2 alone was compared" in said
    assert "for want of time wide-4, wide-8 left" in said
    # what is advised is enough: three networks, two seeds, 96 images of 10 s each
    (minutes,) = re.findall(r"give --minutes (\d+) or more", said)
    assert 3 * 2 * 96 * 10 / 60 < int(minutes) < 1.2 * 3 * 2 * 96 * 10 / 60
    meta = json.loads(printed.out)["meta"]
    assert meta["recommended"] == "" and meta["use"] == ""
    page = re.sub("<[^>]*>", "", Path("alone/report.html").read_text())
    assert "Cannot tell in 2 minutes which network is the best" in page and "is recommended" not in page


def test_a_damaged_file_is_named(
    race: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("topfive.engine.comparison.comparison.Comparison._late", lambda comparison, seconds: True)
    command = [*race[:3], *race[6:], "--out", "damaged"]
    main(command)
    plan = Path("damaged/plan-2-minutes.json")
    plan.write_bytes(b"{")
    capsys.readouterr()
    assert main(command) == 3
    said = capsys.readouterr().err.splitlines()[-1]
    assert f"{plan} is damaged" in said and "remove it, and it is made anew" in said


def test_damaged_notes_of_images_are_named(tmp_path: Path) -> None:
    there = object.__new__(Folder)
    there.path = tmp_path
    for name, read in (("bad_files.csv", there.unreadable), ("decoding.json", there.decoded)):
        (tmp_path / name).write_bytes(b"\xff")
        with pytest.raises(DataError, match=f"{name} is damaged"):
            read()
