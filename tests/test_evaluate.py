"""evaluate, predict and weights import as a shell sees them."""

import csv
import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from PIL import Image

from topfive.cli import main
from topfive.data.cifar import CIFAR10
from topfive.engine.inference import prediction as predicting
from topfive.engine.inference.models import About, Model, open_model, save
from topfive.engine.models.modules import Classifier, build
from topfive.networks import get
from topfive.networks.layers import Chain, GlobalPool, Linear, Network, Relu, with_classes
from topfive.networks.resnet import AKAMASTER
from topfive.recipes import protocols
from topfive.results import predictions
from topfive.weights.matching import theirs
from topfive.weights.names import network_called

NAMES = tuple("abcdefg")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven classes of different brightness; one of the validation images is none."""
    root, random = tmp_path_factory.mktemp("judging") / "images", np.random.default_rng(5)
    for part, count in (("train", 2), ("val", 4)):
        for label, name in enumerate(NAMES):
            (root / part / name).mkdir(parents=True)
            for i in range(count):
                pixels = random.integers(0, 256, (40, 36, 3), np.uint8) // (1 + label)
                Image.fromarray(pixels).save(root / part / name / f"{i}.png")
    (root / "val" / "c" / "3.png").write_bytes(b"no image")
    return root


@pytest.fixture(scope="module")
def models(images: Path) -> list[str]:
    """Two files of one small network with different random weights."""
    made = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        network = with_classes(get("cifar-resnet-20"), 7)
        classifier = Classifier(build(network), torch.full((1, 3, 1, 1), 99.0), torch.full((1, 3, 1, 1), 50.0))
        path = images.parent / f"m{seed}.safetensors"
        save(Model("", "", "", About(network, 32, NAMES), classifier.eval()), path)
        made.append(str(path))
    return made


def ran(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> tuple[str, str]:
    assert main(arguments) == code
    return tuple(capsys.readouterr())  # type: ignore[return-value]


def test_evaluate_says_n_protocol_interval_and_what_could_not_be_read(
    models: list[str], images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "kept.csv"
    arguments = [models[0], str(images), "--out", str(tmp_path), "--predictions", str(kept), "--precision", "float32"]
    out, err = ran(capsys, "evaluate", *arguments, "--format", "json")
    (row,) = json.loads(out)["rows"]
    assert (row["images"], row["unreadable"], row["protocol"]) == (28, 1, "1-crop 32x32")
    counted = predictions.scores(predictions.read(kept))
    assert (counted.images, counted.correct1, counted.correct5) == (28, row["correct1"], row["correct5"])
    assert row["top1_low"] < row["top1_accuracy"] < row["top1_high"]
    page = (tmp_path / "report.html").read_text()
    assert "1-crop 32x32" in page and "val/c/3.png" in page and "n = 28" in page and str(tmp_path) in err
    out, _ = ran(capsys, "evaluate", *arguments, "--left-out", "--format", "json")
    (left,) = json.loads(out)["rows"]
    assert (left["images"], left["correct1"]) == (27, row["correct1"])


def test_two_models_are_compared_image_by_image_and_as_an_ensemble(
    models: list[str], images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, _ = ran(capsys, "evaluate", *models, str(images), "--out", str(tmp_path), "--protocol", "10-crop")
    assert "McNemar's exact test" in out and "ensemble of 2" in out and " ".join(out.split()).count("10-crop") >= 3


def test_what_cannot_be_averaged_is_said_before_anything_is_evaluated(
    models: list[str],
    images: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(predicting, "predicted", None)
    _, err = ran(capsys, "evaluate", *models, str(images), "--out", str(tmp_path), "--shares", "1", code=2)
    assert "2 models need 2 shares" in err


def test_models_are_averaged_each_under_the_protocol_of_its_own(
    models: list[str], images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = open_model(models[1])
    about = msgspec.structs.replace(one.about, protocol=protocols.get("1-crop"))
    save(replace(one, about=about), tmp_path / "other.safetensors")
    both = models[0], str(tmp_path / "other.safetensors")
    out, _ = ran(capsys, "evaluate", *both, str(images), "--out", str(tmp_path), "--format", "json")
    told = json.loads(out)
    assert [row["model"] for row in told["rows"]] == ["m0", "other", "ensemble of 2"]
    assert "1-crop 32x32 and 1-crop 32 of 37" in " ".join(told["sentences"])


def test_nothing_readable_is_no_accuracy_of_zero(
    models: list[str], images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(images, tmp_path / "images")
    for path in (tmp_path / "images" / "val").rglob("*.png"):
        path.write_bytes(b"no image")
    _, err = ran(capsys, "evaluate", models[0], str(tmp_path / "images"), "--out", str(tmp_path), code=3)
    assert "none of the 28 validation images" in err


def test_a_ladder_has_every_protocol_with_its_cost(
    models: list[str], images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ran(capsys, "evaluate", models[0], str(images), "--protocol", "ladder", "--out", str(tmp_path), "--quiet")
    out, _ = ran(capsys, "evaluate", models[0], str(images), "--protocol", "ladder", "--out", str(tmp_path),
                 "--format", "csv", "--quiet")  # fmt: skip
    rows = {row["key"]: row for row in csv.DictReader(io.StringIO(out))}
    views = {key: float(row["views"]) for key, row in rows.items()}
    assert views["1-crop"] == 1 and views["10-crop"] == 10 and views["144-crop"] == 144 and views["multi-crop"] == 150
    ops = {key: float(row["ops"]) for key, row in rows.items()}
    assert ops["144-crop"] == 144 * ops["1-crop"] and ops["dense"] > 2 * ops["1-crop"]
    assert (tmp_path / "ladder.png").exists() and (tmp_path / "report.html").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["evaluate"], 2, "name a run folder or a file of weights"),
        (["evaluate", "{model}"], 2, "name the images too"),
        (["evaluate", "{model}", "{images}", "--protocol", "10crop"], 2, "did you mean 10-crop"),
        (["evaluate", "none.safetensors", "{images}"], 2, "there is no run folder or file of weights"),
        (["evaluate", "{image}", "{images}"], 4, "is rejected: it is an image"),
        (["evaluate", "{model}", "{empty}"], 3, ""),
        (["predict", "{model}"], 2, "name images"),
        (["predict", "{model}", "{image}", "--network", "alexnet"], 4, "cifar-resnet-20"),
    ],
)
def test_what_cannot_be_is_one_sentence(
    arguments: list[str], code: int, words: str, models: list[str], images: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    image = str(images / "val" / "a" / "0.png")
    names = {"model": models[0], "images": str(images), "image": image, "empty": str(tmp_path)}
    out, err = ran(capsys, *(word.format(**names) for word in arguments), code=code)
    assert out == "" and words in err and err.startswith("topfive: ") and err.count("\n") == 1


def test_predict_gives_what_evaluate_saw(
    models: list[str],
    images: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept = tmp_path / "kept.csv"
    ran(capsys, "evaluate", models[0], str(images), "--out", str(tmp_path), "--predictions", str(kept), "--precision",
        "float32")  # fmt: skip
    seen = predictions.read(kept)
    expected = {f"{images}/{name}": row for name, row in zip(seen.images, seen.scores)}
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{images}/val/a/0.png\n"))
    out, _ = ran(capsys, "predict", models[0], str(images / "val"), "-", "--format", "csv", "--precision", "float32")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert len(rows) == 29 and rows[-1]["image"] == f"{images}/val/a/0.png"
    for row in rows:
        if row["image"].endswith("c/3.png"):
            assert "text" in row["unreadable"] and row["class_1"] == ""
            continue
        shares = expected[row["image"]]
        assert NAMES[int(shares.argmax())] == row["class_1"]
        np.testing.assert_allclose(float(row["probability_1"]), shares.max(), atol=1e-6)
        assert row["unreadable"] == ""
    _, err = ran(capsys, "predict", models[0], str(images / "val" / "c" / "3.png"), code=3)
    assert "none of the 1 images can be read" in err


def test_weights_of_torchvision_are_brought_in_and_used(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file as torchvision's reference script saves it, for seven classes whose names it does not tell."""
    torch.manual_seed(0)
    layers = {"conv2_x": 1, "conv3_x": 2, "conv4_x": 3, "conv5_x": 4}
    theirs = {}
    for name, tensor in build(with_classes(get("resnet-18"), 7)).state_dict().items():
        parts = name.split(".")
        if parts[0] in layers:
            block = int(parts[1].split("_")[1]) - 1
            rest = (
                [*parts[4:]] if parts[3] == "body" else ["downsample", "0" if "conv" in parts[4] else "1", *parts[5:]]
            )
            name = ".".join([f"layer{layers[parts[0]]}", str(block), *rest])
        theirs[name] = tensor
    torch.save({"model": {f"module.{name}": tensor for name, tensor in theirs.items()}, "epoch": 3}, tmp_path / "m.pth")
    ours = tmp_path / "ours.safetensors"
    out, err = ran(capsys, "weights", "import", str(tmp_path / "m.pth"), "--out", str(ours), "--format", "json")
    (row,) = json.loads(out)["rows"]
    assert (row["network"], row["classes"]) == ("resnet-18", 7) and "no names" in err
    found = [
        ran(capsys, "evaluate", str(path), str(images), "--out", str(tmp_path), "--precision", "float32", "--format",
            "json", *more)[0]
        for path, more in ((ours, []), (tmp_path / "m.pth", ["--network", "resnet-18"]))
    ]  # fmt: skip
    first, second = (json.loads(text)["rows"][0] for text in found)
    assert first["protocol"] == "1-crop 224 of 256" and first["correct1"] == second["correct1"]
    _, err = ran(capsys, "weights", "import", str(tmp_path / "m.pth"), "--network", "resnet-34", code=4)
    assert "resnet-34" in err
    before = ours.read_bytes()
    _, err = ran(capsys, "weights", "import", str(tmp_path / "m.pth"), "--out", str(ours), code=2)
    assert "is there already" in err and ours.read_bytes() == before


@pytest.fixture(scope="module")
def numbered(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Class folders called 1 to 11, each of one brightness, and a checkpoint without names that tells them apart.

    It was trained as torchvision's ImageFolder numbers folders, which sorts their names: 1, 10, 11, 2, ...
    """
    root = tmp_path_factory.mktemp("numbered")
    for part in ("train", "val"):
        for number in range(1, 12):
            (root / "images" / part / str(number)).mkdir(parents=True)
            for i in range(2):
                Image.new("RGB", (32, 32), (20 * number,) * 3).save(root / "images" / part / str(number) / f"{i}.png")
    network = Network(
        "flat", "flat", (3, 32, 32), Chain((("pool", GlobalPool()), ("relu", Relu()), ("fc", Linear(11))))
    )
    net = build(network)
    brightness = torch.tensor([20.0 * int(name) for name in sorted(map(str, range(1, 12)))])
    # the logits are -(x - brightness)^2 without x^2, which is the same for all
    net.load_state_dict(
        {"fc.weight": 2 / 3 * brightness[:, None].expand(-1, 3).clone() / 100, "fc.bias": -(brightness**2) / 100}
    )
    classifier = Classifier(net, torch.zeros(1, 3, 1, 1), torch.ones(1, 3, 1, 1)).eval()
    save(Model("", "", "", About(network, 32, ()), classifier), root / "m.safetensors")
    return root / "images", str(root / "m.safetensors")


def test_outputs_without_names_are_in_no_order_until_it_is_said(
    numbered: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images, path = numbered
    command = ["evaluate", path, str(images), "--out", str(tmp_path / "out"), "--precision", "float32", "--format",
               "json"]  # fmt: skip
    out, err = ran(capsys, *command, code=2)
    assert out == "" and "output 1 is '2' as they count (--classes natural), and '10' as" in err
    listed = tmp_path / "classes.txt"
    listed.write_text("\n".join(sorted(map(str, range(1, 12)))))
    for said, right in (("imagefolder", 22), ("natural", 2), (str(listed), 22)):  # 1 is the first in either order
        out, err = ran(capsys, *command, "--classes", said)
        told = json.loads(out)
        assert told["rows"][0]["correct1"] == right
        first = "'1', '2', '3'" if said == "natural" else "'1', '10', '11'"
        assert f"its outputs are assumed to be {first}" in " ".join(told["sentences"])
    for said, says in (("nowhere.txt", "a text file with a class a line"), (str(tmp_path), "a text file with a class")):
        assert says in ran(capsys, *command, "--classes", said, code=2)[1]
    listed.write_text("1\n2\n")
    assert "names 2 classes, and m has 11 outputs" in ran(capsys, *command, "--classes", str(listed), code=2)[1]
    listed.write_text("1\n2\n1\n")
    assert "has the class '1' twice" in ran(capsys, *command, "--classes", str(listed), code=2)[1]


def test_outputs_without_names_are_called_outputs_and_a_file_names_them(
    numbered: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images, path = numbered
    image = str(images / "val" / "10" / "0.png")
    out, err = ran(capsys, "predict", path, image, "--format", "csv")
    assert next(csv.DictReader(io.StringIO(out)))["class_1"] == "output 1" and "have no names" in err
    listed = tmp_path / "classes.txt"
    listed.write_text("\n".join(sorted(map(str, range(1, 12)))))
    out, _ = ran(capsys, "predict", path, image, "--format", "csv", "--classes", str(listed))
    assert next(csv.DictReader(io.StringIO(out)))["class_1"] == "10"
    assert "a file with a class a line" in ran(capsys, "predict", path, image, "--classes", "natural", code=2)[1]
    named = str(tmp_path / "named.safetensors")
    ran(capsys, "weights", "import", path, "--classes", str(listed), "--out", named)
    assert open_model(named).about.classes == tuple(sorted(map(str, range(1, 12))))
    assert "leave it out" in ran(capsys, "predict", named, image, "--classes", str(listed), code=2)[1]
    out, _ = ran(capsys, "evaluate", named, str(images), "--out", str(tmp_path), "--format", "json")
    assert json.loads(out)["rows"][0]["correct1"] == 22


def test_what_a_number_of_outputs_suggests_is_said_and_gives_way(
    numbered: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ten outputs of akamaster's ResNet may be CIFAR-10's, and anybody's."""
    torch.manual_seed(0)
    state = build(network_called("cifar-resnet-20-zeros-around")).state_dict()
    torch.save({theirs(name, AKAMASTER): tensor for name, tensor in state.items()}, tmp_path / "m.th")
    (tmp_path / "classes.txt").write_text("\n".join("abcdefghij"))
    command = ["predict", str(tmp_path / "m.th"), str(numbered[0] / "val" / "1"), "--format", "csv"]
    out, err = ran(capsys, *command)
    assert "10 outputs are assumed to be CIFAR-10's classes: --classes FILE" in err
    assert next(csv.DictReader(io.StringIO(out)))["class_1"] in CIFAR10
    out, _ = ran(capsys, *command, "--classes", str(tmp_path / "classes.txt"))
    assert next(csv.DictReader(io.StringIO(out)))["class_1"] in "abcdefghij"


def test_a_comma_in_the_name_of_a_folder_is_no_end(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("cat, black", "cat, white")
    network = with_classes(get("cifar-resnet-20"), 2)
    classifier = Classifier(build(network), torch.zeros(1, 3, 1, 1), torch.ones(1, 3, 1, 1)).eval()
    for words in ((), ("a cat, quite black", "a cat, quite white")):
        path = tmp_path / f"m{len(words)}.safetensors"
        save(Model("", "", "", About(network, 32, names, words), classifier), path)
        out, _ = ran(capsys, "predict", str(path), str(images / "val" / "a" / "0.png"))
        assert all(name in " ".join(out.split()) for name in words or names)
