"""What the README says is so: its commands run, its tree is the tree."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_architecture import OF_ALL_PAPERS

from topfive.cli import main

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
COMMANDS = re.findall(r"^(topfive .*?)(?:\s+#.*)?$", README, re.MULTILINE)


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user's folder: images of two pets, and a module of their own."""
    random = np.random.default_rng(0)
    for name, level in (("cat", 40), ("dog", 160)):
        for i in range(10):
            path = tmp_path / "pets" / name / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(random.integers(level, level + 60, (32, 32, 3), dtype=np.uint8)).save(path)
    (tmp_path / "mine.py").write_text(
        "from torch import nn\n"
        "def small(num_classes):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, num_classes))\n"
    )
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("user")
def test_every_command_of_the_readme_runs_in_its_order() -> None:
    for command in COMMANDS:
        arguments = shlex.split(command)[1:]
        # the user's images are few, and epochs are cut short
        short = ["--epochs", "1", "--size", "32"] if arguments[0] in ("compare", "train") else []
        short += ["--seeds", "1"] if arguments[0] == "compare" else []
        assert main([*arguments, *short]) == 0, command


@pytest.mark.parametrize("command", re.findall(r"`(topfive [a-z]+ [^`]*)`", README.replace("\n", " ")))
@pytest.mark.usefixtures("user")
def test_every_command_in_the_text_of_the_readme_is_one(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    if (
        command.endswith("fetch") or "fetch " in command or "..." in command
    ):  # these would use the network, or are parts
        return
    assert main(shlex.split(command)[1:]) == 0


def test_there_are_five_commands_to_do_next_and_two_to_begin_with() -> None:
    assert len(COMMANDS) == 5
    targets = re.findall(r"^make (\w+)", README, re.MULTILINE)
    assert targets == ["demo", "test"]
    makefile = (ROOT / "Makefile").read_text()
    assert all(f"\n{target}:" in makefile for target in targets)


def test_the_tree_of_the_readme_is_the_tree() -> None:
    tree = README.split("```")[-2]
    named: set[str] = set()
    folders: list[tuple[int, str]] = []
    for line in tree.strip().splitlines():
        indent = len(line) - len(line.lstrip())
        words = re.split(r"\s{2,}", line.strip())[0].split()
        folders = [(depth, name) for depth, name in folders if depth < indent]
        for word in words:
            name = words[0].rsplit(".", 1)[0] + word if word.startswith(".") else word
            named.add("/".join([*(folder for _, folder in folders), name.rstrip("/")]))
        if words[0].endswith("/"):
            folders.append((indent, words[0].rstrip("/")))
    missing = [name for name in named if not (ROOT / name).exists()]
    assert not missing
    modules = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "topfive").rglob("*.py")
        if path.parent.name not in ("pages", "commands", "figures")
        and (path.parent.name != "networks" or path.stem in OF_ALL_PAPERS)
        and not path.name.startswith("__")
    }
    assert modules <= named
