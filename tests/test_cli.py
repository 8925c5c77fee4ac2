"""The commands as a shell sees them."""

import contextlib
import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from topfive import cli, console
from topfive.errors import UsageError
from topfive.networks import NETWORKS, costs, get
from topfive.networks.layers import from_json
from topfive.results.progress import Progress

ROOT = Path(__file__).parents[1]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert cli.main(arguments) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """The exit code and the one sentence on stderr."""
    code = cli.main(arguments)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("topfive: ")
    assert err.count("\n") == 1
    return code, err


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["show", "--help"], ["networks"], ["show", "resnet-152"], ["show", "vgg-d", "--format", "json"]],
)
def test_the_front_half_runs_without_torch(arguments: list[str]) -> None:
    heavy = "{'torch', 'numpy', 'matplotlib', 'PIL'}"
    code = (
        f"import sys; from topfive.cli import main; main({arguments}); sys.exit(str({heavy} & set(sys.modules) or ''))"
    )
    done = subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True)
    assert done.stderr.strip() == ""
    assert done.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["netwroks"], 'Did you mean "networks"'),
        (["show", "alexnat"], "did you mean alexnet"),
        (["show", "alexnet", "--formt", "json"], "Did you mean --format"),
        (["show", "alexnet", "--format", "jsn"], 'Did you mean "json"'),
        (["show"], "NETWORK"),
        (["show", "alexnet", "zfnet"], "too many arguments: zfnet"),
        (["show", "alexnet", "--input", "192"], "3x192x256"),
        (["show", "alexnet", "--input", "3x0x5"], "3x192x256"),
        (["show", "alexnet", "--input", "3x20x20"], "the smallest square input that fits is 67"),
        (["show", "alexnet", "--classes", "1"], "at least 2 classes"),
        (["show", "no/such.json"], "no file 'no/such.json'"),
        (["networks", "resnet-51"], "did you mean resnet-50"),
    ],
)
def test_a_wrong_argument_is_one_sentence_and_exit_code_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    code, sentence = refused(capsys, *arguments)
    assert code == 2
    assert says in sentence


@pytest.mark.parametrize(
    ("raised", "code"),
    [
        (KeyboardInterrupt(), 130),
        (ZeroDivisionError("once\ntwice"), 1),
        (PermissionError(13, "no"), 5),
        (MemoryError(), 5),
    ],
)
def test_what_goes_wrong_inside_has_its_exit_code(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, raised: BaseException, code: int
) -> None:
    def fails(tokens: list[str]) -> None:
        raise raised

    monkeypatch.setattr(cli, "app", fails)
    assert refused(capsys, "networks")[0] == code


def test_only_debug_shows_a_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--debug", "show", "alexnat"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_networks_lists_them_all_with_their_costs(capsys: pytest.CaptureFixture[str]) -> None:
    rows = json.loads(printed(capsys, "networks", "--format", "json"))["rows"]
    assert [row["name"] for row in rows] == list(NETWORKS)
    keys = "name paper year input depth params macs top1_error top5_error protocol source"
    assert " ".join(rows[0]) == keys
    alexnet = rows[0]
    assert (alexnet["params"], alexnet["top5_error"], alexnet["protocol"]) == (60_965_224, 0.182, "10-crop")


def test_networks_takes_a_pattern_and_the_other_names(capsys: pytest.CaptureFixture[str]) -> None:
    table = csv.DictReader(io.StringIO(printed(capsys, "networks", "vgg-?", "--format", "csv")))
    assert [row["name"] for row in table] == ["vgg-a", "vgg-b", "vgg-c", "vgg-d", "vgg-e"]
    assert "vgg-d" in printed(capsys, "networks", "vgg-16")


def test_show_as_json_adds_up(capsys: pytest.CaptureFixture[str]) -> None:
    whole = json.loads(printed(capsys, "show", "googlenet", "--format", "json"))
    layers = json.loads(printed(capsys, "show", "googlenet", "--layers", "--format", "json"))
    counted = costs.count(get("googlenet"))
    for document in (whole, layers):
        assert sum(row["params"] for row in document["rows"]) == document["totals"]["params"] == counted.params
        assert sum(row["macs"] for row in document["rows"]) == document["totals"]["macs"] == counted.macs
    assert len(layers["rows"]) > len(whole["rows"])
    assert sum(row["params"] for row in whole["head_rows"]) == whole["totals"]["head_params"]
    assert whole["totals"]["training_bytes_estimate"] == counted.training_bytes(32)
    assert {"claims", "differs", "errors", "source"} <= whole.keys()


NUMBER = re.compile(r"[-+]?[\d,]*\.?\d+(e[-+]?\d+)?%?", re.IGNORECASE)


@pytest.mark.parametrize(
    "command",
    [
        "networks",
        "show googlenet",
        "show inception-v3 --layers",
        "explain 76.1 --network resnet-50",
        "train cifar-resnet-20 --plan --size 8 --epochs 1 --recipe quick",
    ],
)
def test_no_number_is_a_word_for_machines(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = []

    def gather(value: object, key: str) -> None:
        if isinstance(value, (dict, list)):
            for name, inner in value.items() if isinstance(value, dict) else ((key, inner) for inner in value):
                gather(inner, name)
        elif isinstance(value, str) and NUMBER.fullmatch(value) and key != "arxiv":  # which is a name
            words.append((key, value))

    gather(json.loads(printed(capsys, *command.split(), "--format", "json")), "")
    assert not words


def test_show_has_both_axes_of_what_a_layer_has_seen(capsys: pytest.CaptureFixture[str]) -> None:
    """1x7 kernels see another height than width; the numbers in CSV are those in JSON."""
    table = printed(capsys, "show", "inception-v3", "--layers", "--format", "csv")
    rows = [row for row in csv.DictReader(io.StringIO(table)) if row["layer"].startswith("conv 1x7")]
    counted = {row.name: row for row in costs.count(get("inception-v3")).rows}
    assert rows
    for row in rows:
        for name in ("receptive_field", "stride", "centre", "least_receptive_field"):
            assert (float(row[f"{name}_height"]), float(row[f"{name}_width"])) == getattr(counted[row["name"]], name)
    assert any(row["receptive_field_height"] != row["receptive_field_width"] for row in rows)


def test_show_compares_with_the_paper_only_what_the_paper_speaks_of(capsys: pytest.CaptureFixture[str]) -> None:
    own = json.loads(printed(capsys, "show", "alexnet", "--format", "json"))
    assert own["claims"] and own["differs"] and own["errors"]
    other = json.loads(
        printed(capsys, "show", "alexnet", "--input", "3x192x256", "--classes", "37", "--format", "json")
    )
    assert other["claims"] == []
    assert other["errors"] == own["errors"]
    assert (other["totals"]["input"], other["totals"]["classes"]) == ("3x192x256", 37)
    assert other["rows"][-1]["output"] == "37x1x1"


def test_show_takes_a_network_written_by_hand(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "mine.json"
    file.write_bytes(msgspec.json.encode(msgspec.structs.replace(get("alexnet"), name="mine", paper="")))
    mine = json.loads(printed(capsys, "show", str(file), "--format", "json"))
    assert (mine["name"], mine["source"], mine["errors"]) == ("mine", None, [])
    assert mine["totals"]["params"] == 60_965_224
    assert "a network of your own" in printed(capsys, "show", str(file))
    file.write_text('{"name": "mine", "inptu": 3}')
    code, sentence = refused(capsys, "show", str(file))
    assert code == 2
    assert str(file) in sentence


def test_a_reader_that_leaves_is_no_error() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "topfive", "show", "resnet-152", "--layers", "--format", "json"],
        env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout and process.stderr
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 0


def test_a_narrow_encoding_ends_no_command() -> None:
    environment = {**ENVIRONMENT, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, "-m", "topfive", "show", "alexnet"], env=environment, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.isascii()


def test_two_layers_of_one_name_are_refused(tmp_path: Path) -> None:
    twice = '{"name":"n","paper":"n","input":[3,8,8],"body":{"type":"Chain","layers":[["a",{"type":"Relu"}],["a",%s]]}}'
    path = tmp_path / "twice.json"
    path.write_text(twice % '{"type":"Linear","units":2}')
    with pytest.raises(UsageError, match="'a' needs a name of its own"):
        from_json(path.read_text())


def test_an_interrupt_that_a_library_caught_ends_the_work_at_the_next_step() -> None:
    seen, before = [], signal.getsignal(signal.SIGINT)  # ignored, where the tests run in a shell's background
    with pytest.raises(KeyboardInterrupt), console.bar(quiet=True) as step:
        step(Progress("before", 0.1))
        with contextlib.suppress(BaseException):
            signal.raise_signal(signal.SIGINT)
        seen.append("caught")
        step(Progress("after", 0.2))
        seen.append("went on")
    assert seen == ["caught"]
    assert signal.getsignal(signal.SIGINT) is before
