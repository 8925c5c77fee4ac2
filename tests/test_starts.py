"""`compare --start`: published weights from a server of this test's own, and runs of before."""

import hashlib
import io
import json
import re
import shutil
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import msgspec
import pytest
import torch
from test_checkpoints import TINY
from test_foreign import in_this_process

from topfive.cli import main
from topfive.engine.comparison import comparison
from topfive.engine.inference import foreign
from topfive.engine.inference.models import open_model
from topfive.engine.models.modules import build
from topfive.engine.training import loop
from topfive.networks import get, squeezenet
from topfive.networks.layers import Conv, Linear, Network, Relu, chain
from topfive.report import comparison as report
from topfive.results.records import Benchmark
from topfive.results.runs import load_run
from topfive.weights import libraries
from topfive.weights.libraries import Known, known
from topfive.weights.matching import theirs
from topfive.weights.preprocessing import IMAGENET_MEAN, IMAGENET_STD

NETWORK, LAST = "squeezenet-1.1", "conv10"


def published(seed: int) -> tuple[dict[str, torch.Tensor], bytes]:
    """Weights by our names, and as a file of torchvision's."""
    torch.manual_seed(seed)
    ours, file, rules = build(get(NETWORK)).state_dict(), io.BytesIO(), squeezenet.torchvision(get(NETWORK))
    torch.save({theirs(name, rules): tensor for name, tensor in ours.items()}, file)
    return ours, file.getvalue()


class Library(ThreadingHTTPServer):
    """A file of weights as torchvision publishes them, and how often it was asked for."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.ours, self.content = published(7)
        self.asked = 0

    def entry(self) -> Known:
        (real,) = (one for one in known("torchvision") if one.network == NETWORK)
        digits, mib = hashlib.sha256(self.content).hexdigest()[:8], round(len(self.content) / 2**20, 3)
        url = f"http://127.0.0.1:{self.server_port}/{real.name}-{digits}.pth"
        return msgspec.structs.replace(real, url=url, sha256=digits, mib=mib)


class Handler(SimpleHTTPRequestHandler):
    server: Library

    def do_GET(self) -> None:
        self.server.asked += 1
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.server.content)))
        self.end_headers()
        self.wfile.write(self.server.content)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Library]:
    """A server in place of torchvision's; nothing is timed, and no page is written."""
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    quick = Benchmark(*[1.0] * 6, 8, memory_inference_bytes=1, memory_training_bytes=1, training_batch=8)
    monkeypatch.setattr(comparison, "measure", lambda request: quick)
    monkeypatch.setattr(report, "write_measured", lambda *_: None)
    monkeypatch.setattr(foreign, "_unpickled", in_this_process)
    monkeypatch.setenv("TOPFIVE_DATA", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    with Library() as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        tables = {"torchvision": (server.entry(),), "timm": ()}
        monkeypatch.setattr(libraries, "_tables", lambda: tables)
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def few(directions: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight training and two validation images of each class."""
    root = tmp_path_factory.mktemp("few")
    for part, count in (("train", 8), ("val", 2)):
        for folder in (directions / part).iterdir():
            (root / part / folder.name).mkdir(parents=True)
            for i in range(count):
                shutil.copy(folder / f"{i}.png", root / part / folder.name)
    return root


def command(few: Path, *more: str, size: int = 32) -> list[str]:
    once = ["--seeds", "1", "--epochs", "1", "--batch", "16", "--out", "out", "--format", "json"]
    return ["compare", "--data", str(few), "--size", str(size), *once, *more]


def made(capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, Any]]:
    """The rows that a command printed, by their names."""
    return {row["name"]: row for row in json.loads(capsys.readouterr().out)["rows"]}


def weights(run: str) -> dict[str, torch.Tensor]:
    return open_model(str(Path("out", run))).classifier.state_dict()


def test_published_weights_are_fetched_once_and_stand_beside_scratch(
    library: Library, few: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[str, torch.Tensor]] = []
    step = loop.Training.step

    def first(training: loop.Training, batch: Any) -> None:
        if not training.state.step:
            seen.append({name: tensor.clone() for name, tensor in training.model.state_dict().items()})
        step(training, batch)

    monkeypatch.setattr(loop.Training, "step", first)
    asked = command(few, NETWORK, "--start", "scratch,published", "--recipe", "quick")  # the same for both
    assert main(asked) == 0
    rows = made(capsys)
    scratch, begun = rows[NETWORK], rows[f"{NETWORK} from published"]
    assert (scratch["start"], begun["start"]) == ("scratch", "published")
    assert begun["trial"] == f"trials/{NETWORK}-from-published-seed0" and scratch["trial"] != begun["trial"]
    assert any("begins with torchvision's squeezenet1_1.IMAGENET1K_V1" in note for note in begun["notes"])
    assert not any("begins with" in note for note in scratch["notes"])

    # it began with the file's weights, all but the classifier's, which is of other classes
    for name, tensor in library.ours.items():
        assert torch.equal(seen[1][f"net.{name}"], tensor) is not name.startswith(LAST), name
        assert not torch.equal(seen[0][f"net.{name}"], tensor) or not tensor.any()  # biases begin with zeros
    assert load_run(Path("out", scratch["trial"])).start is None
    stated = load_run(Path("out", begun["trial"])).start
    assert stated is not None and stated.sha256 == hashlib.sha256(library.content).hexdigest()
    # and its images were normalised as the file's weights expect them, in training and afterwards
    for state in (seen[1], weights(begun["trial"])):
        for name, values in (("mean", IMAGENET_MEAN), ("std", IMAGENET_STD)):
            assert torch.allclose(state[name].flatten(), 255 * torch.tensor(values)), name
    assert not torch.allclose(seen[0]["mean"], seen[1]["mean"])

    # again: nothing is left to do; with another seed the file is there
    monkeypatch.setattr(loop.Training, "step", step)
    assert main(asked) == 0 and made(capsys) == rows and library.asked == 1
    asked[asked.index("--seeds") + 1] = "2"
    assert main(asked) == 0 and library.asked == 1
    assert made(capsys)[f"{NETWORK} from published"]["seeds"] == [0, 1]


def test_without_published_nothing_is_fetched(library: Library, few: Path) -> None:
    assert main(command(few, NETWORK)) == 0
    assert library.asked == 0 and not Path("home").exists()


def test_a_folder_of_weights_needs_no_server(library: Library, few: Path, capsys: pytest.CaptureFixture[str]) -> None:
    library.shutdown()
    library.server_close()
    file = Path("weights", Path(library.entry().url).name)
    file.parent.mkdir()
    file.write_bytes(library.content)
    asked = command(few, NETWORK, "--start", "published", "--weights", "weights")
    assert main(asked) == 0
    (row,) = made(capsys).values()
    assert (row["start"], row["recipe"]) == ("published", "finetune") and library.asked == 0
    assert not Path("home").exists()
    # one that was exchanged, though it is as long
    file.write_bytes(published(8)[1])
    asked[asked.index("out")] = "other"
    assert main(asked) == 3
    assert re.search(r"sha256 [0-9a-f]{64} and not the published [0-9a-f]{8}", capsys.readouterr().err)


def test_a_wrong_hash_is_refused_and_costs_the_others_nothing(
    library: Library, few: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = bytes(value ^ 1 for value in library.content)
    library.content = wrong
    name = library.entry().key
    assert main(["weights", "fetch", name]) == 3
    fetched = capsys.readouterr().err
    assert main(command(few, NETWORK, "--start", "published,scratch")) == 3
    printed = capsys.readouterr()
    rows = {row["name"]: row for row in json.loads(printed.out)["rows"]}
    said = rows[f"{NETWORK} from published"]["failed"]
    assert hashlib.sha256(wrong).hexdigest() in said and said in fetched and "\n" not in said
    assert printed.err.splitlines()[-1].endswith(said)
    assert rows[NETWORK]["top1_accuracy"] is not None and not list(Path("home").rglob("*.pth*"))


def test_a_network_without_published_weights_is_left_out(
    library: Library, few: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["cifar-resnet-20", "hog-svm", NETWORK]
    assert main(command(few, *names, "--start", "published")) == 0
    printed = capsys.readouterr()
    for name in names[:2]:
        assert f"{name} has no published weights, and is left out" in printed.err
    assert [row["name"] for row in json.loads(printed.out)["rows"]] == [f"{NETWORK} from published"]
    assert main(command(few, names[0], "--start", "published")) == 2
    assert "topfive: cifar-resnet-20 has no published weights" in capsys.readouterr().err


def test_a_run_is_what_others_begin_with(library: Library, few: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("tiny.json").write_bytes(msgspec.json.encode(TINY))
    train = ["train", "tiny.json", str(few), "--size", "32", "--epochs", "2", "--batch", "8", "--out", "run"]
    assert main([*train, "--recipe", "quick"]) == 0
    capsys.readouterr()
    asked = command(few, "tiny.json", "hog-svm", "--start", "scratch,run")
    assert main(asked) == 0
    printed = capsys.readouterr()
    rows = {row["name"]: row for row in json.loads(printed.out)["rows"]}
    assert list(rows) == ["tiny", "hog-svm", "tiny from run"] and "hog-svm from run is left out" in printed.err
    row, model = rows["tiny from run"], open_model("run")
    assert row["start"] == "run" and f"begins with {model.where}" in row["notes"]
    assert any("3 of 3 classes carried over by name" in note for note in row["notes"])
    begun = load_run(Path("out", row["trial"])).start
    assert begun is not None and begun.sha256 == model.sha256 and Path(begun.where).is_absolute()
    asked[asked.index("scratch,run")] = "nowhere"
    assert main(asked) == 2
    assert "there is no run folder or file of weights 'nowhere'" in capsys.readouterr().err


def test_layers_of_another_shape_at_a_small_size_are_fresh(
    library: Library, few: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """At 224 pixels the first fully connected layer of AlexNet and VGG sees more places than at 32."""
    body = chain(conv1=Conv(4, 3, 2, 1), relu1=Relu(), fc2=Linear(8), relu2=Relu(), fc3=Linear(3))
    Path("fc.json").write_bytes(msgspec.json.encode(Network("fc", "fc", (3, 32, 32), body)))
    train = ["train", "fc.json", str(few), "--epochs", "1", "--batch", "16", "--recipe", "quick", "--out", "run"]
    assert main(train) == 0
    capsys.readouterr()
    assert main(command(few, "fc.json", "--start", "run", size=16)) == 0
    (row,) = made(capsys).values()
    assert f"from {open_model('run').where}: conv1, fc3; the other layers are fresh" in row["notes"]
    assert load_run(Path("out", row["trial"])).recipe["init_layers"] == ["conv1", "fc3"]
