"""What several test files share."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

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


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Debian's chromium, off the network."""
    webdriver = pytest.importorskip(
        "selenium.webdriver", reason="selenium is not installed: pip install 'topfive[browser]'"
    )
    from shutil import which

    driver = which("chromedriver")
    if driver is None:
        pytest.skip("chromedriver is not installed: apt-get install chromium-driver")
    options = webdriver.ChromeOptions()
    for option in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1400,1000"):
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    found = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    found.execute_cdp_cmd("Network.enable", {})
    offline = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
    found.execute_cdp_cmd("Network.emulateNetworkConditions", offline)
    yield found
    found.quit()
