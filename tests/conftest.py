"""What several test files share."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="session")
def directions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of 32 training and 8 validation images: gradients of a direction, with noise."""
    root, noise = tmp_path_factory.mktemp("directions"), np.random.default_rng(0)
    ramp = np.linspace(0, 150, 32)
    ramps = {"across": ramp[None, :], "down": ramp[:, None], "flat": np.full((1, 1), 75.0)}
    for part, count in (("train", 32), ("val", 8)):
        for name, levels in ramps.items():
            (root / part / name).mkdir(parents=True)
            for i in range(count):
                pixels = (levels[:, :, None] + noise.integers(0, 90, (32, 32, 3))).astype(np.uint8)
                Image.fromarray(pixels).save(root / part / name / f"{i}.png")
    return root
