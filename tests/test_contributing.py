"""What docs/contributing.md shows is so: its patches apply, and do what they are for."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "contributing.md").read_text()
SECTIONS = {text.partition("\n")[0]: text for text in PAGE.split("\n## ")[1:]}
MOST = {"A network": 3, "A metric": 2, "A layout of images": 2, "An optimizer": 2, "A protocol": 1}


def patch(section: str) -> str:
    return "".join(re.findall(r"```diff\n(.*?)```", SECTIONS[section], re.DOTALL))


@pytest.mark.parametrize("section", MOST)
def test_few_places_are_touched(section: str) -> None:
    assert len(re.findall(r"^\+\+\+ ", patch(section), re.MULTILINE)) <= MOST[section]


def test_the_patches_work(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "topfive", tmp_path / "topfive", ignore=shutil.ignore_patterns("__pycache__"))
    every = "".join(map(patch, MOST)).encode()
    subprocess.run(["git", "apply", "-C1", "-"], input=every, cwd=tmp_path, check=True)
    (tmp_path / "birds").mkdir()
    lines = ["image,class"]
    for i in range(12):
        level = np.full((32, 32, 3), 20 * i, np.uint8) + np.random.default_rng(i).integers(0, 20, (32, 32, 3), np.uint8)
        Image.fromarray(level).save(tmp_path / "birds" / f"{i}.png")
        lines.append(f"{i}.png,{'crow' if i < 6 else 'wren'}")
    (tmp_path / "birds" / "labels.csv").write_text("\n".join(lines))
    commands = [line.removeprefix("topfive ").split() for line in re.findall(r"^topfive .*$", PAGE, re.MULTILINE)]
    program = f"from topfive.cli import main\nfor command in {commands}: assert main(command) == 0, command"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    for sign in ("1,369,738", "(points)", "crow", "2e-5", "5-crop"):
        assert sign in done.stdout
