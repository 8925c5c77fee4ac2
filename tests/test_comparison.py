"""The main job from the command line: what it leaves behind, what it says, and what it does when it is disturbed."""

import contextlib
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import numpy as np
import pytest
from PIL import Image
from test_checkpoints import EACH, TINY, Stopping

from topfive.cli import main
from topfive.data.class_folders import folder
from topfive.engine.comparison.candidates import DEFAULT, entry
from topfive.engine.comparison.executors import in_turn
from topfive.engine.comparison.images import ImageCache
from topfive.networks.layers import Linear, chain
from topfive.report import comparison as report
from topfive.report import tables
from topfive.results.locks import Lock
from topfive.results.records import Benchmark, ComparisonRow, FailedRow
from topfive.results.runs import newest_in

FACTORY = """
import torch
from torch import nn
def small(num_classes):
    body = (nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.Sequential(*body, nn.Linear(8, num_classes))
def wrong():
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(7))
def looks(num_classes):
    rates = [x.item() for x in torch.linspace(0, 0.1, 4)]
    return nn.Sequential(nn.Conv2d(3, 8 if rates[3] > rates[0] else 9, 32), nn.Flatten(), nn.Linear(8, num_classes))
class Late(nn.Linear):
    def forward(self, x):
        if self.training:
            raise ValueError("not on a Friday")
        return super().forward(x)
def late(num_classes):
    return nn.Sequential(nn.Flatten(), Late(3 * 32 * 32, num_classes))
"""


@pytest.fixture
def colours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three classes that their colour tells apart, one damaged file among them."""
    random = np.random.default_rng(0)
    for channel, name in enumerate(("red", "green", "blue")):
        for i in range(20):
            pixels = random.integers(0, 90, (36, 32, 3), dtype=np.uint8)
            pixels[..., channel] += 150
            path = tmp_path / "data" / name / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
    (tmp_path / "data" / "red" / "damaged.jpg").write_bytes(b"\xff\xd8\xff nothing")
    (tmp_path / "beside.py").write_text(FACTORY)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "data"


def test_a_folder_of_three_classes_from_end_to_end(
    colours: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["hog-svm", "cifar-resnet-20", "beside:small"]
    command = ["compare", *names, "--data", str(colours), "--epochs", "2", "--batch", "8", "--seeds", "2", "--out"]
    command.append("out")
    assert main([*command, "--format", "json"]) == 0
    printed = capfd.readouterr()
    rows = {row["name"]: row for row in json.loads(printed.out)["rows"]}
    assert set(rows) == set(names)
    for row in rows.values():
        assert row["images"] == len(folder(colours).val)  # the damaged one is an error, where it is among them
        assert row["protocol"] == "1-crop 32x32" and row["top5_accuracy"] is None  # three classes
        assert 0 <= row["top1_low"] <= row["top1_accuracy"] <= row["top1_high"] <= 1
        assert row["seeds"] == ([0] if row["name"] == "hog-svm" else [0, 1])
        assert row["top1_accuracy"] == pytest.approx(sum(row["accuracies"]) / len(row["accuracies"]))
        assert row["latency_ms"] <= row["latency_p90_ms"]
        for figure in ("params", "macs", "latency_ms", "throughput", "memory_training_bytes", "training_seconds"):
            # why: what the shallow row needs may all fit into memory that the process has already
            assert row[figure] > 0 or (row["name"] == "hog-svm" and figure == "memory_training_bytes"), (row, figure)
    assert rows["beside:small"]["counted_by"] == "torch" and rows["beside:small"]["params"] == 3 * 8 * 9 + 8 + 8 * 3 + 3
    assert rows["beside:small"]["macs"] == 30 * 30 * 3 * 8 * 9 + 8 * 3
    assert printed.err.count("damaged.jpg") == 1  # named once
    assert "damaged.jpg" in Path("out/bad_files.csv").read_text()
    page = Path("out/report.html").read_text()
    assert "topfive compare hog-svm" in page and "n/a" in page and "Peak in training" in page
    assert rows["hog-svm"]["training_peak_bytes"] is None and rows["beside:small"]["training_peak_bytes"] > 10**7
    assert "beside:small: trained without a run folder" in page and "predict out/trials/cifar-resnet-20-seed0" in page
    for figure in ("accuracy-operations.png", "accuracy-operations.svg", "curves.png"):
        assert (Path("out") / figure).stat().st_size > 0

    # again: nothing is left to do, and the rows are the same
    with monkeypatch.context() as nothing:
        nothing.setattr(ImageCache, "read", lambda *_: pytest.fail("the images were read again"))
        assert main([*command, "--format", "json"]) == 0
    assert json.loads(capfd.readouterr().out)["rows"] == list(rows.values())

    # images that come otherwise are another comparison, which is refused, naming what differs
    Path("out/machine.json").write_text("{}")
    assert main([*command, "--workers", "1"]) == 2
    assert "workers None there, 1 now" in capfd.readouterr().err
    assert Path("out/machine.json").read_text() == "{}"  # and nothing was written there


def test_a_network_that_fails_costs_the_others_nothing(colours: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """One is refused before anything is read, one fails when it is trained; the last one asks for a tensor's values."""
    command = [
        "compare",
        "beside:wrong",
        "beside:late",
        "beside:looks",
        "--data",
        str(colours),
        "--epochs",
        "1",
        "--seeds",
        "1",
    ]
    assert main([*command, "--out", "out", "--format", "json"]) == 4  # as `beside:wrong` by itself
    printed = capfd.readouterr()
    wrong, late, looks = json.loads(printed.out)["rows"]
    assert "gives (2, 7) for two images" in wrong["failed"] and "not on a Friday" in late["failed"]
    assert wrong["top1_accuracy"] is late["params"] is looks["failed"] is None
    assert looks["macs"] == 3 * 32 * 32 * 8 + 8 * 3 and looks["images"] > 0
    assert "2 of 3 networks failed, the first beside:wrong: " in printed.err.splitlines()[-1]
    page = Path("out/report.html").read_text()
    assert "<strong>beside:late failed:</strong>" in page and ">beside:looks<small>" in page
    failed = FailedRow(late["name"], late["family"], late["kind"], late["failed"])
    table = tables.markdown([report.measured_section([failed, msgspec.convert(looks, ComparisonRow)])])
    assert "| beside:late |" in table and "- beside:late failed: " in table


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="only Linux tells what other programs take")
def test_timings_that_other_programs_disturbed_are_called_so(colours: Path, capfd: pytest.CaptureFixture[str]) -> None:
    spinning = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(os.cpu_count() or 1)]
    try:
        assert (
            main(["compare", "beside:small", "--data", str(colours), "--epochs", "1", "--seeds", "1", "--out", "out"])
            == 0
        )
    finally:
        for process in spinning:
            process.kill()
            process.wait()
    assert "beside:small: other programs had " in capfd.readouterr().err
    assert "while beside:small was measured" in Path("out/report.html").read_text()


def test_a_terminal_gets_a_bar_and_then_the_table(colours: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "topfive",
        "compare",
        "hog-svm",
        "--data",
        str(colours),
        "--epochs",
        "1",
        "--out",
        "out",
    ]
    ours, theirs = pty.openpty()
    process = subprocess.Popen(command, stdout=theirs, stderr=theirs, stdin=theirs, env={**os.environ, "TERM": "xterm"})
    os.close(theirs)
    seen = b""
    with contextlib.suppress(OSError):  # Linux ends a terminal that nobody holds with an error
        while piece := os.read(ours, 65536):
            seen += piece
    assert process.wait(600) == 0
    said = seen.decode()
    assert "features and support vectors" in said and " left" in said
    assert said.index("interval") > said.rindex("features and support vectors")
    assert "out/report.html" in said.strip().splitlines()[-1]


def test_ctrl_c_keeps_the_rows_that_are_finished(colours: Path) -> None:
    command = [sys.executable, "-m", "topfive", "compare", "hog-svm", "cifar-resnet-20", "--data", str(colours)]
    process = subprocess.Popen(
        [*command, "--epochs", "5000", "--out", "out"], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    rows, plan = Path("out/trials.jsonl"), Path("out/plan.json")
    deadline = time.monotonic() + 600
    while not plan.exists() and time.monotonic() < deadline:
        time.sleep(0.2)
    time.sleep(1)
    os.kill(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=600)
    # why: where Ctrl-C falls into an `exec` (an import that makes a dataclass), `python -m` ends itself by the signal,
    # though it was caught; a shell says 130 to both
    assert process.returncode in (130, -signal.SIGINT) and "Traceback" not in err, err
    assert "one training is kept in out" in err and "hog-svm" in out
    assert len(rows.read_text().splitlines()) == 1 and Path("out/report.html").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["compare", "resnet-5O"], 2, "did you mean resnet-50"),
        (["compare", "--dta", "x"], 2, "--data"),
        (["compare", "--data", "nowhere"], 3, "there is no folder or file 'nowhere'"),
        (["compare", "--published", "alexnet"], 2, "--published"),
        (["compare", "alexnet", "--epochs", "0"], 2, "--epochs 0"),
        (["compare", "alexnet", "--minutes", "0"], 2, "--minutes 0"),
        (["compare", "alexnet", "--minutes", "1", "--epochs", "1"], 2, "--minutes and --epochs"),
        (["compare", "alexnet", "--size", "32,big"], 2, "--size 32,big"),
        (["compare", "alexnet", "--seeds", "0"], 2, "--seeds 0"),
        (["compare", "cifar-resnet-20", "--minutes", "0.01", "--data", "data"], 2, "--minutes 0.01 is too little"),
        (["compare", "nothing.json"], 2, "there is no file 'nothing.json'"),
        (["compare", "beside:absent", "--data", "data"], 4, "beside:absent cannot be imported"),
        (["compare", "beside:wrong", "--data", "data"], 4, "beside:wrong"),
        (["compare", "alexnet", "--out", "beside.py/x"], 5, "cannot be used for results"),
        (["show", "alexnet", "--input", "3x30x30"], 2, "at pool2 (max pool 3x3/2) a map of 2x2 is too small"),
    ],
)
def test_a_mistake_is_one_sentence_with_its_exit_code(
    colours: Path, capfd: pytest.CaptureFixture[str], arguments: list[str], code: int, says: str
) -> None:
    assert main(arguments) == code
    error = [line for line in capfd.readouterr().err.splitlines() if line.startswith("topfive: ")]
    assert len(error) == 1 and says in error[0], error


def test_too_many_damaged_images_end_it_before_training(colours: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for i in range(25):
        (colours / "blue" / f"bad{i}.jpg").write_bytes(b"")
    assert main(["compare", "cifar-resnet-20", "--data", str(colours), "--out", "out"]) == 3
    assert "empty file" in capfd.readouterr().err and not Path("out/trials.jsonl").exists()


def test_every_default_network_fits_the_sizes_that_are_chosen_by_default() -> None:
    for name in DEFAULT[1:]:
        for size in (32, 64, 128, 224):
            assert entry(name, size, 10, "auto").network is not None


@pytest.fixture
def tiny(directions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A comparison of one small network, which learns in seconds, and is not timed where these tests do not ask."""
    quick = Benchmark(*[1.0] * 6, 8, memory_inference_bytes=1, memory_training_bytes=1, training_batch=8)
    measured = "topfive.engine.comparison.comparison.measure"
    monkeypatch.setattr(measured, lambda task: msgspec.structs.replace(quick, training_batch=task.training_batch))
    (tmp_path / "tiny.json").write_bytes(msgspec.json.encode(TINY))
    monkeypatch.chdir(tmp_path)
    return [
        "compare",
        "tiny.json",
        "--data",
        str(directions),
        "--size",
        "32",
        "--seeds",
        "1",
        "--epochs",
        "2",
        "--batch",
        "8",
    ]


def trials(out: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(out, "trials.jsonl").read_text().splitlines()]


def kept(out: str) -> tuple[dict[str, object], bytes]:
    """What the trial of a comparison says of what was learnt, and the weights of its network."""
    (row,) = trials(out)
    weights = newest_in(Path(out, row["trial"])).read("model.safetensors")
    return {name: row[name] for name in ("key", "seed", "scores", "curve", "epochs", "learning_rate")}, weights


def test_a_network_that_was_interrupted_goes_on_where_it_was_and_is_a_model(
    tiny: list[str], directions: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main([*tiny, "--out", "alone"]) == 0
    said = capsys.readouterr().err
    model = "alone/trials/tiny-seed0"
    assert f"topfive predict {model} FILE" in said.splitlines()[-2]
    assert f"topfive predict {model} FILE" in Path("alone/report.html").read_text()
    assert main(["predict", model, str(directions / "val/down/0.png"), "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"]
    # why no best epoch: a comparison is of the last; nor what continues a training, of a finished one
    files = sorted(path.name for path in Path(model, "checkpoints").rglob("*") if path.is_file())
    assert files == ["manifest.json", "model.safetensors"]

    with monkeypatch.context() as stopping:
        stopping.setattr("topfive.engine.training.job.Checkpointer", Stopping)
        stopping.setattr(Stopping, "at", EACH + 3)
        assert main([*tiny, "--out", "stopped"]) == 143
        assert "stopped; continue with: topfive compare" in capsys.readouterr().err
    assert newest_in(Path("stopped/trials/tiny-seed0")).step == EACH + 3
    shutil.copytree("stopped", "otherwise")  # without a row, the setting may be another: trained anew, beside it
    assert main([*tiny[:-1], "16", "--out", "otherwise"]) == 0
    assert newest_in(Path("otherwise/trials/tiny-seed0")).step == EACH + 3
    (row,) = trials("otherwise")
    assert re.fullmatch(r"trials/tiny-[0-9a-f]{8}-seed0", row["trial"])
    assert main([*tiny, "--out", "stopped"]) == 0
    assert kept("stopped") == kept("alone")

    # killed between the end of the training and the row: nothing is trained again
    Path("stopped/trials.jsonl").unlink()
    with monkeypatch.context() as nothing:
        nothing.setattr("topfive.engine.training.optimizers.Optimizer.step", lambda *_: pytest.fail("it was trained"))
        assert main([*tiny, "--out", "stopped"]) == 0
    assert kept("stopped") == kept("alone")


CHILD = """
import os, signal, sys
from topfive.cli import main
from topfive.engine.training.checkpoints import Checkpointer
step = Checkpointer.step
def killed(self, training, *others):
    self.every = 0.0
    step(self, training, *others)
    if training.state.step == 15:
        os.kill(os.getpid(), signal.SIGKILL)
Checkpointer.step = killed
main(sys.argv[1:])
"""


def test_kill_9_within_a_network_changes_nothing(tiny: list[str]) -> None:
    assert main([*tiny, "--out", "alone"]) == 0
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    killed = subprocess.run([sys.executable, "-c", CHILD, *tiny, "--out", "killed"], env=environment, check=False)
    assert killed.returncode == -signal.SIGKILL and newest_in(Path("killed/trials/tiny-seed0")).step == 15
    assert main([*tiny, "--out", "killed"]) == 0
    assert kept("killed") == kept("alone")


@pytest.mark.slow
def test_kill_9_at_ten_random_moments_changes_nothing(tiny: list[str]) -> None:
    Path("other.json").write_bytes(msgspec.json.encode(msgspec.structs.replace(TINY, name="other")))
    command = [*tiny, "other.json"]
    command[command.index("--seeds") + 1] = "2"
    began = time.perf_counter()
    assert main([*command, "--out", "alone"]) == 0
    whole, random = time.perf_counter() - began, np.random.default_rng(0)

    def learnt(out: str) -> list[tuple[object, ...]]:
        return [
            (row["key"], row["scores"], row["curve"], newest_in(Path(out, row["trial"])).read("model.safetensors"))
            for row in sorted(trials(out), key=lambda row: str(row["key"]))
        ]

    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    killed = 0
    for moment in range(10):
        out = f"killed-{moment}"
        child = subprocess.Popen([sys.executable, "-c", UNTIMED, *command, "--out", out], env=environment)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(STARTS + whole * random.random())
        child.kill()
        killed += child.wait() == -signal.SIGKILL
        assert main([*command, "--out", out]) == 0
        assert learnt(out) == learnt("alone")
    assert killed >= 5


STARTS = 3.0  # seconds that Python and torch take, about
UNTIMED = """
import sys
from topfive.cli import main
from topfive.engine.comparison import comparison
from topfive.results.records import Benchmark
comparison.measure = lambda task: Benchmark(*[1.0] * 6, 8, 1, 1, task.training_batch)
main(sys.argv[1:])
"""


def test_a_comparison_trains_as_train_does_by_the_recipe_that_is_named(
    tiny: list[str], directions: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny += ["--recipe", "fast"]
    assert main([*tiny, "--out", "compared"]) == 0
    assert "fast; epochs 2, batch 8" in Path("compared/report.html").read_text()
    train = ["train", "tiny.json", str(directions), "--size", "32", "--epochs", "2", "--batch", "8", "--recipe", "fast"]
    assert main([*train, "--seed", "0", "--out", "trained"]) == 0
    weights = [newest_in(Path(run)).read("model.safetensors") for run in ("trained", "compared/trials/tiny-seed0")]
    assert weights[0] == weights[1]
    capsys.readouterr()
    tiny[-1] = "quick"
    assert main([*tiny, "--out", "compared"]) == 0
    assert [trial["trial"].count("-") for trial in trials("compared")] == [1, 2]  # beside the one by the other recipe
    tiny[-1] = "fats"
    assert main(tiny) == 2 and "did you mean fast" in capsys.readouterr().err


def test_two_at_once_in_one_folder_are_refused(tiny: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    lock = Lock(Path("lock"))
    lock.take()
    try:
        assert main([*tiny, "--out", "."]) == 2
        assert f". is in use by process {os.getpid()}" in capsys.readouterr().err
    finally:
        lock.release()


def test_the_folder_of_a_comparison_of_an_earlier_topfive_is_refused(
    tiny: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("old").mkdir()
    Path("old/rows.jsonl").write_text("{}")
    Path("old/setting.json").write_text("{}")
    assert main([*tiny, "--out", "old"]) == 2
    assert "earlier topfive: give another --out" in capsys.readouterr().err


def test_more_seeds_and_networks_use_what_is_there(tiny: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert main([*tiny, "--out", "out"]) == 0
    before = trials("out")
    Path("other.json").write_bytes(msgspec.json.encode(msgspec.structs.replace(TINY, name="other")))
    more = [*tiny, "other.json", "--out", "out"]
    more[more.index("--seeds") + 1] = "2"
    assert main(more) == 0
    after = trials("out")
    assert after[: len(before)] == before and [trial["seed"] for trial in after] == [0, 0, 1, 1]


def test_trainings_go_seed_by_seed_and_between_two_readings_of_the_images_to_and_fro() -> None:
    works = [
        SimpleNamespace(entry=way, recipe=SimpleNamespace(seed=seed)) for way in ("kept", "anew") for seed in (3, 4, 5)
    ]
    turns = in_turn(cast(Any, works), cast(Any, SimpleNamespace(reading=lambda entry: entry)))
    assert [(work.recipe.seed, work.entry) for work in turns] == [
        (3, "kept"), (3, "anew"), (4, "anew"), (4, "kept"), (5, "kept"), (5, "anew"),
    ]  # fmt: skip


def test_where_the_time_is_up_early_every_network_has_a_training_and_the_answer_says_what_is_missing(
    tiny: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("other.json").write_bytes(msgspec.json.encode(msgspec.structs.replace(TINY, name="other")))
    command = [*tiny, "other.json", "--out", "late"]
    command[command.index("--seeds") + 1] = "2"
    with monkeypatch.context() as late:
        asked = iter([False, False, False, True])
        late.setattr("topfive.engine.comparison.comparison.Comparison._late", lambda *_: next(asked))
        assert main(command) == 0
    assert [Path(trial["trial"]).name for trial in trials("late")] == ["tiny-seed0", "other-seed0", "tiny-seed1"]
    lacking = "Not all is trained: other has 1 of 2 trainings; the same command goes on."
    page = re.sub("<[^>]*>", "", Path("late/report.html").read_text())
    assert lacking in " ".join(capsys.readouterr().out.split()) and lacking in page
    assert main(command) == 0
    assert len(trials("late")) == 4 and "Not all is trained" not in capsys.readouterr().out


def test_a_plan_for_minutes_is_kept_to_after_a_kill(
    tiny: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = [*tiny[: tiny.index("--epochs")], "--batch", "8", "--minutes", "0.4", "--format", "json"]
    with monkeypatch.context() as stopping:
        stopping.setattr("topfive.engine.training.job.Checkpointer", Stopping)
        stopping.setattr(Stopping, "at", EACH + 3)
        assert main([*command, "--out", "one"]) == 143
    shutil.copytree("one", "two")
    rows = []
    for out in ("one", "two"):
        capsys.readouterr()
        assert main([*command, "--out", out]) == 0
        rows += json.loads(capsys.readouterr().out)["rows"]
    assert kept("one") == kept("two")
    assert rows[0]["epochs"] > 1 and rows[0]["epochs"] == rows[1]["epochs"]


def test_two_networks_of_one_name_have_a_run_folder_each(tiny: list[str]) -> None:
    Path("other.json").write_bytes(msgspec.json.encode(msgspec.structs.replace(TINY, body=chain(fc=Linear(3)))))
    assert main([*tiny, "other.json", "--out", "out"]) == 0
    runs = [trial["trial"] for trial in trials("out")]
    assert runs[0] == "trials/tiny-seed0" and re.fullmatch(r"trials/tiny-[0-9a-f]{8}-seed0", runs[1])


def test_a_comparison_computes_a_batch_in_parts_where_memory_is_short(
    tiny: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("topfive.engine.training.fitting._device_bytes", lambda machine: 100_000)
    assert main([*tiny, "--out", "out", "--format", "json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    assert row["training_batch"] < 8 and "parts, for this machine's memory" in row["notes"][0]
    assert "parts, for this machine&#39;s memory" in Path("out/report.html").read_text()
