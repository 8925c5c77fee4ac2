"""What TensorBoard itself reads back is what the rows say."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from topfive.cli import main

reading = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")


def test_tensorboard_reads_what_the_rows_say(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for name in "ab":
        (tmp_path / "images" / name).mkdir(parents=True)
        for i in range(10):
            pixels = random.integers(0, 256, (32, 32, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / name / f"{i}.png")
    run = tmp_path / "run"
    command = ["train", "cifar-resnet-20", str(tmp_path / "images"), "--recipe", "quick", "--batch", "8", "--quiet"]
    for _ in range(2):  # the second start has nothing left to train, and writes the rows anew
        assert main([*command, "--epochs", "2", "--out", str(run), "--tensorboard"]) == 0
    found = reading.EventAccumulator(str(run / "tensorboard"))
    found.Reload()
    rows = [json.loads(line) for line in (run / "rows.jsonl").read_text().splitlines()]
    for tag, values in (
        ("training/loss", [row["loss"] for row in rows]),
        ("val/top1_accuracy", [row["scores"]["correct1"] / row["scores"]["images"] for row in rows]),
    ):
        assert [event.step for event in found.Scalars(tag)] == [1, 2]
        np.testing.assert_allclose([event.value for event in found.Scalars(tag)], values, rtol=1e-6)
