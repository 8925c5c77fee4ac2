"""`import topfive`: what it offers is there, costs nothing to import, and does what the commands do."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import topfive as tf
from topfive.cli import main
from topfive.engine.inference import backends
from topfive.engine.models.tensors import unpacked
from topfive.errors import RefusedError, UsageError
from topfive.results.runs import newest_in

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "python.md").read_text()


@pytest.fixture(scope="module")
def pets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of 16 training and 10 validation images, which their brightness tells apart."""
    root, random = tmp_path_factory.mktemp("user") / "pets", np.random.default_rng(0)
    for part, count in (("train", 16), ("val", 10)):
        for name, level in (("cat", 40), ("dog", 90)):
            (root / part / name).mkdir(parents=True)
            for i in range(count):
                pixels = random.integers(level, level + 120, (40, 36, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / part / name / f"{i}.png")
    return root


@pytest.fixture(autouse=True)
def exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """Evaluate in float32: to choose what is fastest takes seconds, and may end otherwise the next time."""
    monkeypatch.setattr(backends, "FEW", 10**6)


def small() -> tf.Network:
    return tf.for_small_images(tf.get("cifar-resnet-20"), 32)


# --- what is there ---------------------------------------------------------------------------------------------------


def test_all_is_exactly_what_resolves_and_what_type_checkers_see() -> None:
    assert all(getattr(tf, name) is not None for name in tf.__all__)
    assert sorted(tf.__all__) == tf.__all__ and set(tf.__all__) <= set(dir(tf))
    (block,) = (node for node in ast.parse((ROOT / "topfive/__init__.py").read_text()).body if isinstance(node, ast.If)
                and isinstance(node.test, ast.Name))  # fmt: skip
    seen = {alias.asname: f"{node.module}.{alias.name}" for node in block.body if isinstance(node, ast.ImportFrom)
            for alias in node.names}  # fmt: skip
    assert seen == {name: f"{where}.{name}" for name, where in tf._WHERE.items()} and set(seen) == set(tf.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'resnet'"):
        tf.resnet  # noqa: B018


def test_importing_it_imports_nothing_heavy_and_neither_do_networks_and_costs() -> None:
    code = (
        "import sys, topfive as tf\n"
        "heavy = lambda: {name for name in ('torch', 'numpy', 'matplotlib', 'PIL') if name in sys.modules}\n"
        "assert not heavy() and not any(name.startswith('topfive.') for name in sys.modules), heavy()\n"
        "tf.costs(tf.for_small_images(tf.get('resnet-50'), 64)).macs, tf.recipe('fast', tf.get('nin'))\n"
        "assert not heavy(), heavy()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_a_pattern_lists_names() -> None:
    assert tf.get("plain-*") == ["plain-18", "plain-34"] and tf.get("*no such*") == []
    assert tf.get("ResNet-50").name == "resnet-50"
    with pytest.raises(tf.TopfiveError, match="did you mean"):
        tf.get("resnet-51")


def test_costs_at_another_size() -> None:
    net = tf.get("resnet-50")
    assert tf.costs(net).params == tf.costs(net, 160).params == 25_557_032
    assert tf.costs(net).macs > tf.costs(net, 160).macs
    with pytest.raises(UsageError, match="does not fit"):
        tf.costs(tf.get("alexnet"), 20)


def test_notebooks_show_tables_with_their_texts_escaped() -> None:
    strange = tf.Network("<b>", "", (3, 4, 4), tf.layers.chain(("<i>", tf.layers.Linear(3))))
    for shown in (strange._repr_html_(), tf.costs(strange)._repr_html_()):
        assert shown.startswith("<table>") and "&lt;b&gt;" in shown and "&lt;i&gt;" in shown and "<b>" not in shown
    assert "25,557,032" in tf.costs(tf.get("resnet-50"))._repr_html_()


# --- the page --------------------------------------------------------------------------------------------------------


def test_the_page_runs_in_its_order(
    pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "pets").symlink_to(pets)
    monkeypatch.chdir(tmp_path)
    program: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(compile(block, "docs/python.md", "exec"), program)
    assert Path("report.html").stat().st_size > 0 and Path("accuracy.png").stat().st_size > 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["accuracy.png", "accuracy.svg", "pets", "report.html",
                                                                "runs"]  # fmt: skip
    comparison = program["comparison"]
    assert isinstance(comparison, tf.Comparison) and [row.name for row in comparison.rows] == [
        "cifar-resnet-20",
        "tiny",
    ]
    assert "tiny" in comparison._repr_html_() and not comparison.failed
    said = capsys.readouterr().out
    assert "did you mean resnet-50" in said and "cifar-resnet-20" in said


def test_the_notebook_has_been_run_to_its_end_and_names_no_place_on_a_disk() -> None:
    text = (ROOT / "docs" / "quickstart.ipynb").read_text()
    cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert {output["output_type"] for cell in cells for output in cell["outputs"]} <= {"stream", "execute_result"}
    assert not re.search(r"/(home|work|tmp|root|Users)/", text)
    used = set(re.findall(r"tf\.(\w+)", "".join(line for cell in cells for line in cell["source"])))
    assert used <= set(tf.__all__)


# --- as the commands do ----------------------------------------------------------------------------------------------

RECIPE = ("epochs=2", "batch=16", "evaluate_every=1", "whitened=true")


@pytest.fixture(scope="module")
def run(pets: Path) -> Path:
    """What `topfive train` makes of it."""
    folder = pets.parent / "run"
    command = ["train", "cifar-resnet-20", str(pets), "--size", "32", "--recipe", "fast", "--out", str(folder)]
    assert main([*command, *(word for field in RECIPE for word in ("--set", field)), "--quiet"]) == 0
    return folder


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return unpacked(newest_in(folder).read("model.safetensors"), str(folder))[0]


def result(record: tf.EpochRecord) -> tuple[object, ...]:
    """What does not depend on the clock."""
    return record.epoch, record.loss, record.train_accuracy, record.scores, record.lr, record.first_gradient


def test_training_is_the_commands_bit_for_bit(pets: Path, run: Path, tmp_path: Path) -> None:
    """In place, and into a folder; the recipe averages the weights, so that those in place are the averages."""
    data, recipe = tf.open_source(str(pets)), tf.recipe("fast", small(), *RECIPE)
    torch.manual_seed(recipe.seed)
    model = tf.build(small(), classes=len(data.classes))
    in_place = list(tf.train(model, data, recipe))
    rows = [json.loads(line) for line in (run / "rows.jsonl").read_text().splitlines()]
    assert [record.loss for record in in_place] == [row["loss"] for row in rows]
    trained = weights(run)
    assert trained.keys() == model.state_dict().keys()
    assert all(torch.equal(tensor, trained[name]) for name, tensor in model.state_dict().items())
    assert not model.training and all(parameter.requires_grad for parameter in model.parameters())

    folder = tmp_path / "run"
    into = list(tf.train(small(), data, recipe, out=folder))
    assert list(map(result, into)) == list(map(result, in_place))
    assert result(next(iter(tf.train(small(), data, recipe)))) == result(in_place[0])
    assert all(torch.equal(tensor, trained[name]) for name, tensor in weights(folder).items())
    assert (folder / "report.html").exists()
    assert list(map(result, tf.train(small(), data, recipe, out=folder))) == list(map(result, into))  # it is resumed


@pytest.mark.parametrize("protocol", ["1-crop:square", "10-crop", "dense"])
def test_an_evaluation_has_the_commands_counts(
    protocol: str, pets: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["evaluate", str(run), str(pets), "--protocol", protocol, "--out", str(tmp_path / "out")]
    assert main([*command, "--format", "json", "--quiet"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    for model in (tf.load(run), run):
        found = tf.evaluate(model, tf.open_source(str(pets)), protocol)
        assert (found.top1.accuracy, found.top1.images) == (row["top1_accuracy"], row["images"]) == (
            found.top1.correct / 20, 20)  # fmt: skip
        assert found.top1.interval == (row["top1_low"], row["top1_high"]) and found.top5 is None
        assert found.protocol == row["protocol"]


# --- modules of one's own, and what cannot be -------------------------------------------------------------------------


def test_a_module_of_ones_own_is_trained_and_evaluated(pets: Path) -> None:
    """It learns what the images differ in; its outputs are checked before anything runs."""
    data, recipe = tf.open_source(str(pets)), tf.recipe("quick", None, "epochs=4", "batch=8", "lr=2")
    torch.manual_seed(0)
    mine = nn.Sequential(nn.AvgPool2d(32), nn.Flatten(), nn.Linear(3, 2))
    (*_, last) = tf.train(mine, data, recipe, size=32)
    square = tf.evaluate(mine, data, "1-crop:square", size=32)
    assert last.scores is not None and square.top1.correct == last.scores.correct1 == 20
    with pytest.raises(RefusedError, match=r"gives \(2, 3\) for two images"):
        tf.train(nn.Sequential(nn.AvgPool2d(32), nn.Flatten()), data, recipe, size=32)
    with pytest.raises(RefusedError, match="fails on images"):
        tf.evaluate(nn.Linear(3, 2), data)
    with pytest.raises(UsageError, match="module of your own"):
        tf.evaluate(mine, data, "dense", size=32)


def test_what_is_not_there_is_said(pets: Path) -> None:
    data = tf.open_source(str(pets))
    with pytest.raises(UsageError, match="minutes= and epochs="):
        tf.compare(["alexnet"], data, minutes=10, epochs=2)
    with pytest.raises(UsageError, match="cannot be compared"):
        tf.compare([nn.Linear(3, 2)], data)  # type: ignore[list-item]
    with pytest.raises(UsageError, match="give the network"):
        tf.train(tf.build(small(), 2), data, tf.recipe("quick"), out="runs/x")
    with pytest.raises(UsageError, match="no protocol is called"):
        tf.evaluate(tf.build(small(), 2), data, "11-crop")
