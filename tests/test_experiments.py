"""Experiments: every verdict can come out in each of three ways, and what is counted is what the papers count."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import numpy as np
import pytest
from test_false_alarms import shuffled, write

from topfive.cli import main
from topfive.data.class_folders import folder
from topfive.data.sources import Source, fewer
from topfive.engine.experiments import ALL
from topfive.engine.experiments import auxiliary_classifiers as auxiliary
from topfive.engine.experiments.experiment import Experiment, Found
from topfive.engine.experiments.inception_cost import module
from topfive.engine.experiments.measures import effective_field
from topfive.engine.experiments.operations_accuracy_memory import published
from topfive.engine.experiments.stacked_3x3 import alone
from topfive.networks.costs import count
from topfive.networks.layers import Network, with_classes
from topfive.networks.variations import for_small_images
from topfive.report.figures import charts
from topfive.results.experiments import HOLDS, NOT, OPEN, Outcome, higher, kept, more_accurate, rising, together
from topfive.results.records import ComparisonRow, TrialRecord
from topfive.results.significance import Right, spreads

IMAGES = 400
# of each experiment: the networks that are to be the more accurate, and those that are not
SIDES = {
    "convolution": (("cifar-resnet-20",), ("hog-svm",)),
    "stacked-3x3": (("three-3x3",), ("one-7x7",)),
    "inception-cost": (("googlenet-narrow-4",), ("googlenet-naive-narrow-4",)),
    "auxiliary-classifiers": (("googlenet-narrow-2",), ("googlenet-narrow-2-alone",)),
    "bottleneck": (("cifar-bottleneck-29",), ("cifar-resnet-20",)),
    "classifier-weights": (("vgg-a-narrow-average",), ("vgg-a-narrow",)),
    "two-towers": (("alexnet",), ("alexnet-half",)),
    "alexnet-ablations": (
        ("alexnet",),
        ("alexnet-no-norm", "alexnet-2x2-pool", "alexnet-no-dropout", "alexnet-tanh"),
    ),
}


def row(name: str, right: Right, macs: int = 10**6) -> ComparisonRow:
    """A row of which only the accuracy and the operations matter."""
    fields: dict[str, Any] = {}
    for field in msgspec.structs.fields(ComparisonRow):
        if field.required:
            fields[field.name] = "" if field.type is str else 0
    mean = float(right.mean())
    given = {"name": name, "kind": "network", "top1_accuracy": mean, "top1_low": mean, "top1_high": mean, "macs": macs}
    return ComparisonRow(**{**fields, **given, "trained": True, "epochs": 1.0, "key": name})


def trained(accuracies: Mapping[str, float]) -> Outcome:
    """Networks of three seeds each that have these accuracies, on the same images."""
    right = {name: np.tile(np.arange(IMAGES) < value * IMAGES, (3, 1)) for name, value in accuracies.items()}
    rows = {name: row(name, each, macs=10**6 * (n + 1)) for n, (name, each) in enumerate(right.items())}
    return Outcome(rows, right, spreads(right))


def trials(values: Sequence[float], key: str) -> list[TrialRecord]:
    """Trainings whose curves end at these values."""
    return [cast(TrialRecord, SimpleNamespace(curve=({"epoch": 1.0, key: value},))) for value in values]


@pytest.fixture
def source(directions: Path) -> Source:
    return folder(directions)


def found(source: Source, one: Experiment, better: float, worse: float) -> Found:
    """What an experiment would have found, had its sides these accuracies; other networks are in the middle."""
    up, down = SIDES[one.name]
    outcomes = {}
    for part in one.parts(32):
        names = [network if isinstance(network, str) else network.name for network in part.networks]
        middle = (better + worse) / 2
        outcomes[part.name] = trained({n: better if n in up else worse if n in down else middle for n in names})
    return Found(source, 32, outcomes, {})


@pytest.mark.parametrize("name", SIDES)
def test_each_verdict_of_accuracy_comes_out_in_all_three_ways(
    name: str, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    def of_heads(network: Network, *others: object) -> list[float]:
        return [2.0 if network.heads else 1.0]

    monkeypatch.setattr(auxiliary, "gradients", of_heads)
    one = ALL[name]
    assert one.verdict(found(source, one, 0.8, 0.6)).kind == HOLDS
    assert one.verdict(found(source, one, 0.6, 0.8)).kind == NOT
    assert one.verdict(found(source, one, 0.7, 0.7)).kind == OPEN


def test_stacked_filters_that_are_better_without_their_nonlinearities_are_no_evidence_for_these(source: Source) -> None:
    made = trained({"one-7x7": 0.5, "three-3x3": 0.8, "three-3x3-linear": 0.9})
    assert ALL["stacked-3x3"].verdict(Found(source, 32, {"trained": made}, {})).kind == NOT


def test_degradation_comes_out_in_all_three_ways(source: Source) -> None:
    def verdict(plain20: float, plain56: float, resnet20: float, resnet56: float) -> str:
        ends = {"plain-20": plain20, "plain-56": plain56, "resnet-20": resnet20, "resnet-56": resnet56}
        made = {f"cifar-{name}": trials([end, end + 0.01, end - 0.01], "train_accuracy") for name, end in ends.items()}
        return ALL["degradation"].verdict(Found(source, 32, {}, {"trained": made})).kind

    assert verdict(0.9, 0.8, 0.9, 0.95) == HOLDS
    assert verdict(0.9, 0.95, 0.9, 0.95) == NOT  # the deeper plain network trains better
    assert verdict(0.9, 0.8, 0.9, 0.8) == NOT  # and so does the residual one worse
    assert verdict(0.9, 0.9, 0.9, 0.95) == OPEN


def test_the_other_verdicts_come_out_in_all_three_ways(source: Source) -> None:
    def residual(pure: float, residual: float) -> str:
        names = [network.name for part in ALL["inception-residual"].parts(32) for network in part.networks]  # type: ignore[union-attr]
        ends = dict(zip(names, (pure, residual)))
        made = {name: trials([end, end + 0.01, end - 0.01], "loss") for name, end in ends.items()}
        return ALL["inception-residual"].verdict(Found(source, 32, {}, {"trained": made})).kind

    assert [residual(1.0, 0.5), residual(0.5, 1.0), residual(1.0, 1.0)] == [HOLDS, NOT, OPEN]

    def shortcuts(plain: float, identity: float, projected: float) -> str:
        names = [network.name for part in ALL["shortcuts"].parts(32) for network in part.networks]  # type: ignore[union-attr]
        outcome = trained(dict(zip(names, (plain, identity, identity, projected))))
        return ALL["shortcuts"].verdict(Found(source, 32, {"trained": outcome}, {})).kind

    assert [shortcuts(0.5, 0.8, 0.7), shortcuts(0.5, 0.7, 0.8), shortcuts(0.7, 0.7, 0.7)] == [HOLDS, NOT, OPEN]

    def operations(tops: list[float]) -> str:
        outcome = trained({f"net-{n}": top for n, top in enumerate(tops)})
        return ALL["operations-accuracy-memory"].verdict(Found(source, 32, {"trained": outcome}, {})).kind

    rising_tops = [0.3, 0.4, 0.5, 0.6, 0.7]
    assert [operations(rising_tops), operations(rising_tops[::-1]), operations([0.5, 0.7, 0.3, 0.6, 0.4])] == [
        HOLDS,
        NOT,
        OPEN,
    ]


def test_a_network_that_is_missing_or_did_not_train_decides_nothing() -> None:
    outcome = trained({"a": 0.1, "b": 0.3})
    assert more_accurate(outcome, "a", "c").kind == OPEN
    rows = {name: msgspec.structs.replace(each, trained=False) for name, each in outcome.rows.items()}
    assert more_accurate(msgspec.structs.replace(outcome, rows=rows), "b", "a").kind == OPEN
    assert higher("loss", ("a", [1.0]), ("b", [2.0])).kind == OPEN  # one seed
    assert together(more_accurate(outcome, "b", "a"), more_accurate(outcome, "a", "b")).kind == NOT


def test_a_network_that_has_not_seen_every_image_may_yet_catch_up(source: Source) -> None:
    def after(epochs: Mapping[str, float]) -> Outcome:
        made = trained(dict(zip(epochs, (0.8, 0.4, 0.4, 0.8))))
        rows = {name: msgspec.structs.replace(row, epochs=epochs[name]) for name, row in made.rows.items()}
        return msgspec.structs.replace(made, rows=rows)

    assert more_accurate(after({"a": 0.5, "b": 1.0}), "a", "b").kind == HOLDS  # more training does not make it worse
    verdict = more_accurate(after({"a": 2.0, "b": 0.5}), "a", "b")
    assert verdict.kind == OPEN and "b 40.0 %" in verdict.reason and "after 0.5 of an epoch" in verdict.reason
    shallow = msgspec.structs.replace(after({"a": 0.5, "b": 0.5}).rows["b"], kind="shallow")
    made = after({"a": 0.5, "b": 0.5})
    assert more_accurate(msgspec.structs.replace(made, rows={**made.rows, "b": shallow}), "a", "b").kind == HOLDS

    names = ["cifar-plain-20", "cifar-plain-56", "cifar-resnet-20", "cifar-resnet-56"]
    ends = {name: trials([end, end + 0.01], "train_accuracy") for name, end in zip(names, (0.9, 0.8, 0.9, 0.95))}
    for epochs, kind in ((1.0, HOLDS), (0.5, OPEN)):
        outcome = {"trained": after(dict.fromkeys(names, epochs))}
        assert ALL["degradation"].verdict(Found(source, 32, outcome, {"trained": ends})).kind == kind


def test_what_is_counted_is_what_the_papers_count() -> None:
    naive, reduced = module(reduced=False), module(reduced=True)
    assert [round(row.macs / 1e6, 1) for row in naive.rows if row.macs] == [25.7, 346.8, 481.7]
    assert round(naive.macs / 1e6) == 854 and naive.stages[0].output[0] == 672
    assert round(reduced.macs / 1e6) == 271  # and not the popular 358
    assert [count(alone(kind)).stages[-1].receptive_field for kind in ("one-7x7", "three-3x3")] == [(7, 7)] * 2
    assert [count(alone(kind)).stages[-1].receptive_field for kind in ("one-5x5", "two-3x3")] == [(5, 5)] * 2
    # Spearman's own formula, without ties: 1 - 6 sum d^2 / (n (n^2 - 1)), here 1 - 6 (4 + 9 + 1 + 0 + 16) / 120
    assert "accuracy -0.50 over 5" in rising("here", [1, 2, 3, 4, 5], [3, 5, 2, 4, 1]).reason
    names = {name for name, *_ in published()}
    assert {"alexnet-owt", "vgg-d", "inception-v4", "resnet-50"} <= names
    assert "alexnet" not in names  # its figure is of ten crops


@pytest.mark.parametrize("name", ALL)
def test_every_network_of_every_experiment_fits_small_images(name: str) -> None:
    for size in (32, 64, 128):
        for part in ALL[name].parts(size):
            for network in part.networks:
                if isinstance(network, Network):
                    assert count(with_classes(for_small_images(network, size), 10), (3, size, size)).params > 0


def test_fewer_images_are_of_every_class_and_within_the_more(source: Source) -> None:
    some, most = fewer(source, 0.25), fewer(source, 0.5)
    assert len(some.train) == 24 and len(most.train) == 48 and {*some.train} < {*most.train}
    assert some.val == source.val and len({source.fingerprint, some.fingerprint, most.fingerprint}) == 3
    assert fewer(replace(source, train=source.train[:1]), 0.01).train == source.train[:1]


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("left", [0, 1])
def test_what_could_not_be_trained_is_said_and_breaks_nothing(
    name: str, left: int, source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of each part no network is left, or its first alone."""
    monkeypatch.setattr(auxiliary, "gradients", lambda network, *_: [2.0 if network.heads else 1.0])
    one, outcomes = ALL[name], {}
    for part in one.parts(32):
        names = [network if isinstance(network, str) else network.name for network in part.networks]
        outcomes[part.name] = trained(dict.fromkeys(names[:left], 0.8))
    made = Found(source, 32, outcomes, {}, dict.fromkeys(outcomes, tmp_path))
    verdict = one.verdict(made)
    assert verdict.kind == OPEN and not verdict.reason.startswith(" ")
    assert all(table.head for table in one.every_table(made))
    for drawn in one.every_chart(made):
        charts.chart(drawn)


def test_a_record_of_another_version_is_computed_again(tmp_path: Path) -> None:
    assert kept(tmp_path) is None
    (tmp_path / "experiment.json").write_text('{"name": "degradation"}')
    assert kept(tmp_path) is None


@pytest.mark.parametrize(("option", "value"), [("--budget", "0"), ("--budget", "9" * 400), ("--size", "0")])
def test_a_bad_option_is_one_sentence(
    option: str, value: str, directions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["experiment", "bottleneck", "--data", str(directions), option, value, "--out", str(tmp_path)]) == 2
    assert f"{option} {value} is none" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bottleneck", "classifier-weights"])
def test_of_shuffled_labels_nothing_can_be_told(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, out = write(tmp_path / "data", 0, shuffled), tmp_path / "out"
    given = ["--data", str(data), "--budget", "2m", "--seeds", "2", "--out", str(out), "--quiet"]
    assert main(["experiment", name, *given]) == 0
    record = kept(out)
    assert record and record.verdict.kind == OPEN
    assert "neither trained" in record.verdict.reason or "may be chance" in record.verdict.reason


def test_the_effective_field_is_of_the_unit_in_the_middle_and_within_its_theoretical_field() -> None:
    for kind in ("one-7x7", "three-3x3", "three-3x3-linear"):
        field = effective_field(alone(kind), 31)
        seen = np.argwhere(field > 0)
        assert seen.min(0).tolist() == [12, 12] and seen.max(0).tolist() == [18, 18]  # 7x7 pixels around (15, 15)
    assert field[15, 15] == 1.0  # Luo et al. 2016: the weight of stacked filters lies in the middle
