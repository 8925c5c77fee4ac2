"""A training that is interrupted, in whatever way, ends as the one that was left alone: bit-identically."""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from PIL import Image

from topfive.cli import main
from topfive.data.opening import open_source
from topfive.engine.benchmark.machine import this_machine
from topfive.engine.inference.models import open_model
from topfive.engine.models.modules import build
from topfive.engine.models.tensors import packed, unpacked
from topfive.engine.training import loop as training
from topfive.engine.training.checkpoints import MODEL, Checkpointer, model_of
from topfive.engine.training.initial_weights import Start
from topfive.engine.training.job import Job
from topfive.engine.training.loop import Training
from topfive.engine.training.processes import Group
from topfive.errors import DivergedError, Interrupted, RefusedError, Terminated, TopfiveError, UsageError
from topfive.networks.layers import BatchNorm, Chain, Conv, Dropout, GlobalPool, Linear, Network, Pool, Relu
from topfive.networks.resnet import AKAMASTER
from topfive.recipes.recipe import OneCycle, Recipe, Sgd
from topfive.results import seals
from topfive.results.records import EpochRecord
from topfive.results.runs import load_rows, newest_in
from topfive.weights.matching import theirs
from topfive.weights.names import network_called

TINY = Network(
    "tiny",
    "tiny",
    (3, 32, 32),
    Chain(
        (
            ("conv1", Conv(8, 3, 2, 1)),
            ("bn1", BatchNorm()),
            ("relu1", Relu()),
            ("conv2", Conv(16, 3, 1, 1)),
            ("relu2", Relu()),
            ("pool2", Pool("max", 2, 2)),
            ("drop", Dropout(0.3)),
            ("pool", GlobalPool("average")),
            ("fc", Linear(3)),
        )
    ),
)
RECIPE = Recipe(epochs=3, batch=8, ema_decay=0.9, schedule=OneCycle(0.2), clip=5.0, whitened=True)
EACH = 12  # steps of an epoch
TIMES = ("seconds", "images_per_second", "data_wait", "memory_bytes")


@pytest.fixture(scope="module")
def images(directions: Path) -> Path:
    """The images, and a network for them in a file."""
    (directions / "tiny.json").write_bytes(msgspec.json.encode(TINY))
    return directions


def job(images: Path, folder: Path, recipe: Recipe = RECIPE) -> Job:
    return Job(TINY, open_source(str(images)), recipe, 32, this_machine(), Group(), folder)


def run(images: Path, folder: Path, recipe: Recipe = RECIPE, every: float = 1e9) -> list[EpochRecord]:
    one = job(images, folder, recipe)
    one.open([])
    return list(one.epochs("again", every=every))


def end(folder: Path) -> tuple[str, dict[str, str], list[dict[str, object]]]:
    """The last step, the digests of its files, and the rows without their times."""
    last = newest_in(folder)
    files = {name: hashlib.sha256(last.read(name)).hexdigest() for name in last.files}
    rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]
    return last.folder.name, files, [{key: row[key] for key in row if key not in TIMES} for row in rows]


@pytest.fixture(scope="module")
def undisturbed(images: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[object, ...]:
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    rows = run(images, folder)
    assert len(rows) == 3 and rows[-1].loss < rows[0].loss
    return end(folder)


class Stopping(Checkpointer):
    """Asked to stop at a step, or in the evaluation behind it."""

    at, evaluating = 0, False

    def step(self, training: Training, evaluating: bool = False) -> None:
        position = training.state
        twice = position.batch == EACH and position.step in (getattr(self, "seen", -1), self.resumed)
        if position.step == self.at and twice == self.evaluating:
            self.asked = int(signal.SIGTERM)
        self.seen = position.step
        super().step(training, evaluating)


# the steps after which it is stopped; .5 is during the evaluation that follows
POINTS = {
    "the first step": [1],
    "in the warm-up": [5],
    "the last step of an epoch": [EACH],
    "during an evaluation": [EACH + 0.5],
    "the first step of the second epoch": [EACH + 1],
    "several times": [2, 7, 12, 12.5, 13, 30],
    "the last step": [3 * EACH],
    "during the last evaluation": [3 * EACH + 0.5],
}


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.filterwarnings("ignore:.*")
def test_a_stop_at_any_point_changes_nothing(
    point: str, images: Path, tmp_path: Path, undisturbed: tuple[object, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("topfive.engine.training.job.Checkpointer", Stopping)
    for step in POINTS[point]:
        monkeypatch.setattr(Stopping, "at", int(step))
        monkeypatch.setattr(Stopping, "evaluating", step != int(step))
        with pytest.raises(Terminated, match=f"saved at step {int(step)}; continue with: again"):
            run(images, tmp_path / "run")
    monkeypatch.setattr(Stopping, "at", -1)
    run(images, tmp_path / "run")
    assert end(tmp_path / "run") == undisturbed


def test_a_finished_run_is_left_as_it_is(images: Path, tmp_path: Path) -> None:
    first = run(images, tmp_path / "run")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run" / "checkpoints").rglob("*")}
    assert run(images, tmp_path / "run") == first
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run" / "checkpoints").rglob("*")} == before


CHILD = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[4])
from test_checkpoints import job
one = job(Path(sys.argv[1]), Path(sys.argv[2]))
one.open([], None if sys.argv[3] == "None" else int(sys.argv[3]))
list(one.epochs("again", every=0.0))
"""


def _command(images: Path, out: Path, workers: int | None) -> list[str]:
    return [sys.executable, "-c", CHILD, str(images), str(out), str(workers), str(Path(__file__).parent)]


def _killed(seed: int, images: Path, tmp_path: Path, workers: int | None, alone: float) -> Path:
    """The folder of a run that was killed one to four times at random moments, and then left alone."""
    chance, out = random.Random(seed), tmp_path / f"killed{seed}"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for _ in range(chance.randint(1, 4)):
        process = subprocess.Popen(
            _command(images, out, workers),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env=environment,
        )
        time.sleep(chance.uniform(0.3 * alone, 1.1 * alone))
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    subprocess.run(_command(images, out, workers), check=True, stdout=subprocess.DEVNULL, env=environment)
    return out


@pytest.mark.parametrize(
    ("workers", "seeds"),
    [
        (None, range(1)),
        pytest.param(0, range(2, 12), marks=pytest.mark.slow),
        pytest.param(2, range(12, 22), marks=pytest.mark.slow),
    ],
)
def test_kill_9_at_random_moments_changes_nothing(
    workers: int | None, seeds: range, images: Path, tmp_path: Path
) -> None:
    began = time.monotonic()
    subprocess.run(
        _command(images, tmp_path / "alone", workers),
        check=True,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    alone = time.monotonic() - began
    wanted = end(tmp_path / "alone")
    same = [end(_killed(seed, images, tmp_path, workers, alone)) == wanted for seed in seeds]
    print(f"{sum(same)}/{len(same)} bit-identical, {workers} workers")
    assert all(same)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGUSR1, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_and_says_how_to_go_on(number: int, code: int, images: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    command = [sys.executable, "-m", "topfive", "train", str(images / "tiny.json"), str(images), "--size", "32"]
    command += ["--recipe", "quick", "--epochs", "400", "--batch", "8", "--out", str(out)]
    process = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    while not (out / "rows.jsonl").exists() and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(number)
    _, said = process.communicate(timeout=600)
    assert process.returncode == code
    last = newest_in(out)
    assert f"stopped and saved at step {last.step}; continue with: topfive train" in said


@pytest.fixture
def one_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """All runs have the same arithmetic, whichever would be the fastest at the moment."""
    machine = this_machine()
    monkeypatch.setattr("topfive.commands.session.machine_for", lambda *given: machine)


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """Images larger than the squares of which a training would keep them; some of each part cannot be read."""
    noise = np.random.default_rng(1)
    for part, count in (("train", 12), ("val", 6)):
        for name in ("across", "down", "flat"):
            for i in range(count):
                path = tmp_path / "large" / part / name / f"{i}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                wide = noise.integers(0, 256, (50, 50, 3), np.uint8)
                Image.fromarray(wide).resize((200, 200), Image.Resampling.NEAREST).save(path)
    for bad in ("train/flat/3.png", "val/down/2.png", "val/down/5.png"):
        (tmp_path / "large" / bad).write_bytes(b"no image")
    return tmp_path / "large"


@pytest.mark.usefixtures("one_machine")
@pytest.mark.parametrize("workers", [None, 1])
def test_resume_reads_the_images_as_the_run_did(
    workers: int | None,
    images: Path,
    large: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Read anew or kept in memory, which of the two is the run's, and not that of the command that continues."""
    monkeypatch.chdir(large.parent)
    command = ["train", str(images / "tiny.json"), "large", "--recipe", "resnet", "--size", "32", "--batch", "8"]
    command += ["--epochs", "2", *(["--workers", str(workers)] if workers is not None else []), "--out"]
    assert main([*command, "alone"]) == 0
    monkeypatch.setattr("topfive.engine.training.job.Checkpointer", Stopping)
    monkeypatch.setattr(Stopping, "at", 3)
    assert main([*command, "stopped"]) == 143
    assert "continue with: topfive train" in capsys.readouterr().err
    monkeypatch.setattr(Stopping, "at", -1)
    assert main(["resume", "stopped"]) == 0
    assert end(Path("stopped")) == end(Path("alone"))
    # the number of those that read anew changes nothing; whether any do does
    assert main(["resume", "stopped", "--workers", "0"]) == (0 if workers else 2)
    assert workers or "which gives another result" in capsys.readouterr().err


def test_images_that_cannot_be_read_are_errors_in_training_as_in_evaluation(
    images: Path, large: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(large.parent)
    command = ["train", str(images / "tiny.json"), "large", "--recipe", "quick", "--size", "32", "--batch", "8"]
    assert main([*command, "--epochs", "1", "--out", "run", "--format", "json"]) == 0
    said = capsys.readouterr()
    scores = json.loads(said.out)["rows"][-1]["scores"]
    assert (scores["images"], scores["unreadable"]) == (18, 2)
    assert "3 of 54 images, 1 training and 2 validation images, which count as errors" in said.err
    assert "bad_files.csv" in said.err and "2 of them cannot be read and count as errors" in Path(
        "run/report.html"
    ).read_text(encoding="utf-8")
    assert main(["evaluate", "run", "--out", "judged", "--precision", "float32", "--format", "json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    assert (row["images"], row["unreadable"]) == (18, 2)
    assert abs(row["correct1"] - scores["correct1"]) <= 1  # in another precision
    assert main(["compare", "hog-svm", "--data", "large", "--out", "compared", "--format", "json"]) == 0
    said = capsys.readouterr()
    (row,) = json.loads(said.out)["rows"]
    assert (row["images"], row["unreadable"]) == (18, 2)
    assert "1 training and 2 validation images, which count as errors" in said.err
    assert "count as errors in every accuracy" in Path("compared/report.html").read_text(encoding="utf-8")


@pytest.mark.usefixtures("one_machine")
def test_a_run_goes_on_with_every_output_and_with_the_weights_that_it_began_with(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monkeypatch.chdir(tmp_path)
    command = ["train", str(images / "tiny.json"), str(images), "--recipe", "quick", "--size", "32", "--quiet"]
    assert main([*command, "--epochs", "1", "--out", "first"]) == 0
    command += ["--epochs", "2", "--batch", "16", "--tensorboard", "--start", "first", "--out"]
    assert main([*command, "alone"]) == 0
    monkeypatch.setattr("topfive.engine.training.job.Checkpointer", Stopping)
    monkeypatch.setattr(Stopping, "at", 8)
    assert main([*command, "stopped"]) == 143
    monkeypatch.setattr(Stopping, "at", -1)
    assert main(["resume", "stopped"]) == 0
    seen = EventAccumulator("stopped/tensorboard").Reload()
    assert [event.step for event in seen.Scalars("training/loss")] == [1, 2]
    assert end(Path("stopped")) == end(Path("alone"))

    def killed(*given: object, **named: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:  # before anything was saved
        patch.setattr("topfive.engine.training.job.prepare", killed)
        assert main([*command, "early"]) == 130
    assert main(["resume", "early"]) == 0
    assert end(Path("early")) == end(Path("alone"))
    assert main([*command[: command.index("--start")], "--out", "alone"]) == 2
    assert "start " in capsys.readouterr().err


def test_a_loss_that_is_no_number_is_never_saved(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = 0

    def spoiled(*arguments: object) -> float:
        nonlocal steps
        steps += 1
        return 1e30 if steps == 17 else 0.01

    monkeypatch.setattr(training, "learning_rate", spoiled)
    with pytest.raises(DivergedError, match=r"at step 1[89] of 36.*the last good state is .*step-000000\d\d"):
        run(images, tmp_path / "run", msgspec.structs.replace(RECIPE, clip=None, ema_decay=0.0), every=0)
    tensors, _ = model_of(newest_in(tmp_path / "run"))
    assert all(torch.isfinite(tensor).all() for tensor in tensors.values())


def test_two_runs_in_one_folder_and_another_recipe_are_refused(images: Path, tmp_path: Path) -> None:
    one, two = job(images, tmp_path / "run"), job(images, tmp_path / "run")
    one.open([])
    with pytest.raises(UsageError, match=f"in use by process {os.getpid()}"):
        two.open([])
    assert one.run
    one.run.close()
    other = job(images, tmp_path / "run", msgspec.structs.replace(RECIPE, lr=0.01))
    with pytest.raises(UsageError, match=r"recipe\.lr 0\.05 -> 0\.01"):
        other.open([])


def test_the_model_says_what_it_is_a_model_of(images: Path, tmp_path: Path) -> None:
    run(images, tmp_path / "run")
    tensors, about = unpacked(newest_in(tmp_path / "run").read(MODEL), "")
    assert about["classes"] == ["across", "down", "flat"] and about["size"] == 32
    assert msgspec.convert(about["network"], Network).name == "tiny"
    assert about["fingerprint"] == open_source(str(images)).fingerprint
    assert {"net.conv1.weight", "mean", "std"} <= tensors.keys()


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda t: {**t, "net.conv1.weight": torch.zeros(1, 3, 3, 3)}, r"conv1.weight \(1, 3, 3, 3\) there"),
        (
            lambda t: {**t, "net.conv1.weight": t["net.conv1.weight"] * float("nan")},
            r"NaN or infinite: net\.conv1\.weight",
        ),
        (lambda t: {key: t[key] for key in t if "bn1" not in key}, "bn1.bias is missing"),
        (lambda t: {**t, "net.conv9.weight": torch.zeros(1)}, "conv9.weight is not known"),
    ],
)
def test_weights_that_do_not_fit_are_refused_by_name(spoil: object, says: str, images: Path, tmp_path: Path) -> None:
    run(images, tmp_path / "run", msgspec.structs.replace(RECIPE, epochs=1))
    tensors, about = model_of(newest_in(tmp_path / "run"))
    (tmp_path / "spoilt.safetensors").write_bytes(packed(spoil(tensors), about))  # type: ignore[operator]
    with pytest.raises(RefusedError, match=says):
        open_model(str(tmp_path / "spoilt.safetensors"))


def test_weights_of_another_run_are_what_a_training_begins_with(images: Path, tmp_path: Path) -> None:
    run(images, tmp_path / "run")
    still = msgspec.structs.replace(RECIPE, epochs=1, lr=1e-12, optimizer=Sgd(weight_decay=0.0), ema_decay=0.0)
    other = job(images, tmp_path / "other", still)
    other.open([])
    start = Start(open_model(str(tmp_path / "run")), other.network, other.source.classes)
    (row,) = other.epochs("again", start=start)
    first = run(images, tmp_path / "first", still)
    assert row.loss < first[0].loss - 0.2


def test_start_takes_what_weights_import_takes_and_no_other_network(
    directions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A checkpoint as akamaster's script saves it, whose ResNet-20 has the zero maps elsewhere than the paper's."""
    torch.manual_seed(0)
    network, path = network_called("cifar-resnet-20-zeros-around"), str(tmp_path / "resnet20.th")
    state = {f"module.{theirs(name, AKAMASTER)}": tensor for name, tensor in build(network).state_dict().items()}
    torch.save({"state_dict": state, "best_prec1": 90.0}, path)
    arguments = [str(directions), "--start", path, "--size", "32", "--dry-run", "--batch", "8", "--quiet"]
    for command in (["weights", "import", path, "--network", "cifar-resnet-20"],
                    ["train", "cifar-resnet-20", *arguments]):  # fmt: skip
        assert main(command) == 4
        assert "here cifar-resnet-20-zeros-around, and not cifar-resnet-20: the zero maps" in capsys.readouterr().err
    (tmp_path / "own.json").write_bytes(msgspec.json.encode(msgspec.structs.replace(TINY, name="own")))
    assert main(["train", str(tmp_path / "own.json"), *arguments]) == 4
    assert "is cifar-resnet-20-zeros-around, and not own: the first layer" in capsys.readouterr().err
    assert main(["train", "cifar-resnet-20-zeros-around", *arguments[:-1]]) == 0
    assert "classifier: fresh, since none of the 3 classes is one of resnet20's" in capsys.readouterr().err


def test_bytes_that_are_no_safetensors_are_refused() -> None:
    whole = packed({"a": torch.zeros(3)}, {})
    for data in (b"", whole[:20], whole[:-1], b"\x80\x02}q\x00.", b"{}" * 50, b"PK\x03\x04" + bytes(100)):
        with pytest.raises(RefusedError, match="is not a whole safetensors file"):
            unpacked(data, "x")
    assert issubclass(Interrupted, TopfiveError)


def test_the_commands_train_go_on_list_and_plan(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What `train` wrote is what `runs` lists and what `resume` finds finished; the page names the protocol and n.

    The images are left as they were, to the byte and the time of change.
    """

    def state() -> dict[Path, tuple[int, bytes]]:
        return {p: (p.stat().st_mtime_ns, p.read_bytes() if p.is_file() else b"") for p in images.rglob("*")}

    before = state()
    monkeypatch.chdir(tmp_path)
    command = [
        "train",
        str(images / "tiny.json"),
        str(images),
        "--size",
        "32",
        "--recipe",
        "quick",
        "--epochs",
        "2",
    ]
    assert main([*command, "--set", "lr=0.1", "--plan", "--format", "json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["plan"]["steps"] == 4  # 96 images in batches of 64, twice
    assert main([*command, "--plan", "--out", "runs/one"]) == 0 and (tmp_path / "runs" / "one" / "plan.png").exists()
    assert main([*command, "--dry-run"]) == 0 and len(list((tmp_path / "runs").iterdir())) == 1
    capsys.readouterr()
    assert main([*command, "--out", "runs/one", "--format", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [row["epoch"] for row in rows] == [1, 2]
    assert main(["resume", "runs/one", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == rows
    assert main(["runs", "runs", "--format", "json"]) == 0
    (listed,) = json.loads(capsys.readouterr().out)["rows"]
    assert listed["last_accuracy"] == pytest.approx(rows[1]["scores"]["correct1"] / 24)
    page = (tmp_path / "runs" / "one" / "report.html").read_text()
    assert "1-crop" in page and "n = 24" in page and "tiny" in page
    assert state() == before


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--set", "lrr=1"], 2, "did you mean lr"),
        (["--set", "epochs=0"], 2, "epochs"),
        (["--recipe", "alexnt"], 2, "did you mean alexnet"),
        (
            ["--set", "augmentation.crop=Centre", "--set", "progressive_resize=[[1.0,0.5]]"],
            2,
            "takes whole images only): --set progressive_resize=[]",
        ),
        (["--start", "nowhere"], 2, "there is no run folder or file of weights 'nowhere'"),
        (["--batch", "1"], 2, "batch"),
    ],
)
def test_a_training_that_cannot_be_is_refused_in_one_sentence(
    arguments: list[str], code: int, says: str, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", str(images / "tiny.json"), str(images), "--size", "32", "--out", str(tmp_path / "run")]
    recipe = [] if "--recipe" in arguments else ["--recipe", "quick"]
    assert main([*command, *recipe, *arguments]) == code
    error = capsys.readouterr().err
    assert says in error.splitlines()[-1] and "Traceback" not in error
    assert not (tmp_path / "run").exists()


def test_the_side_of_an_epoch_is_the_networks_own_where_nothing_else_is_said() -> None:
    """227 of AlexNet, 299 of Inception: no multiples of 32; smaller sides are."""
    for size in (32, 107, 224, 227, 299):
        assert Recipe(epochs=4).side(1, size) == size
    growing = Recipe(epochs=4, progressive_resize=((0.5, 0.5), (0.75, 0.75)))
    assert [growing.side(epoch, 227) for epoch in (1, 2, 3, 4)] == [128, 128, 160, 227]


def test_a_run_made_when_fields_had_other_names_continues(
    images: Path, tmp_path: Path, undisturbed: tuple[object, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`waiting` and `wanting` are `data_wait` and `cpu_contention` since."""
    folder = tmp_path / "run"
    monkeypatch.setattr("topfive.engine.training.job.Checkpointer", Stopping)
    monkeypatch.setattr(Stopping, "at", EACH + 3)
    with pytest.raises(Terminated):
        run(images, folder)
    (manifest,) = (folder / "checkpoints").glob("step-*/manifest.json")
    for path in (manifest, folder / "rows.jsonl"):
        text = path.read_text()
        assert '"data_wait' in text
        path.write_text(text.replace('"data_wait', '"waiting'))
    text = manifest.read_bytes().rpartition(seals.SEAL)[0]
    manifest.write_bytes(text + seals._seal(text))
    assert all(row.data_wait > 0 for row in load_rows(folder))
    monkeypatch.setattr(Stopping, "at", -1)
    run(images, folder)
    assert end(folder) == undisturbed
