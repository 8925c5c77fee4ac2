"""The page of the server in a browser: an image goes in, its Top-5 comes out, on a phone and on a desk."""

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from served import Served, served
from test_prediction import model as tiny

from topfive.engine.inference.models import save

pytest.importorskip("fastapi", reason="the server needs the extra serve")
webdriver = pytest.importorskip("selenium.webdriver", reason="the page is driven by selenium, which is not here")

CHROMIUM, DRIVER = (shutil.which(name) for name in ("chromium", "chromedriver"))
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="chromium and chromedriver are not here"),
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]
EVIL = "<img src=x onerror=alert(1)>"  # a class of that name is a text like any other


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    root = tmp_path_factory.mktemp("page")
    save(tiny(0, names=(*"abcdef", EVIL)), root / "m0.safetensors")
    save(tiny(1), root / "m1.safetensors")
    with served(root, str(root / "m0.safetensors"), str(root / "m1.safetensors")) as running:
        yield running


@pytest.mark.parametrize("width", [390, 1400])
def test_an_image_goes_in_and_its_top_5_comes_out(server: Served, width: int, tmp_path: Path) -> None:
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--use-fake-device-for-media-stream",
                     "--use-fake-ui-for-media-stream"):  # fmt: skip
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    try:
        # why: a window has a least width, so the screen is told to be a phone's
        screen = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        browser.get(f"http://localhost:{server.port}/")
        find = lambda selector: browser.find_elements("css selector", selector)  # noqa: E731
        until(lambda: len(find("#card dd")) > 5)
        Image.linear_gradient("L").save(tmp_path / "a.png")
        data = (tmp_path / "a.png").read_bytes()
        expected = server.predict(data).json["predictions"][0]["top"]
        find("#file")[0].send_keys(str(tmp_path / "a.png"))
        until(lambda: len(find("#top li")) == 5)
        shown = [item.text.splitlines() for item in find("#top li")]
        assert shown == [[one["class"], f"{100 * one['probability']:.1f} %"] for one in expected]
        bars = browser.execute_script(
            "return [...document.querySelectorAll('.bar')].map(b => b.firstChild.offsetWidth / b.offsetWidth)"
        )
        assert bars == pytest.approx([one["probability"] for one in expected], abs=0.02)
        until(lambda: browser.execute_script("return document.querySelector('#map').width") > 0)
        picture, canvas = find("#image")[0].rect, find("#map")[0].rect
        assert canvas == pytest.approx(picture, abs=1) and picture["width"] > 50
        heatmap = server.predict(data, "?heatmap=true").json["predictions"][0]["heatmap"]
        assert drawn(browser, heatmap) == pytest.approx(255 * 0.75, abs=20)  # where it is strongest
        assert expected[0]["class"] in find("#legend")[0].text and "receptive field" in find("#legend")[0].text
        switch = find("#where")[0]
        assert switch.accessible_name == "Show where it was found"
        switch.send_keys(" ")  # by the keyboard
        until(lambda: not find("#map")[0].is_displayed() and not find("#legend")[0].text)
        switch.send_keys(" ")
        until(lambda: find("#map")[0].is_displayed() and "receptive" in find("#legend")[0].text)
        assert "ms" in find("#latency")[0].text and find("#answer")[0].text.startswith(expected[0]["class"])
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
        browser.save_screenshot(str(tmp_path / "page.png"))

        browser.execute_script("document.querySelectorAll('#model option')[1].selected = true;"
                               "document.querySelector('#model').dispatchEvent(new Event('change'))")  # fmt: skip
        other = server.predict(data, "?model=m1").json["predictions"][0]["top"]
        until(lambda: [item.text.splitlines()[0] for item in find("#top li")] == [one["class"] for one in other])

        dropped = tmp_path / "b.png"
        dropped.write_bytes(b"no image at all")
        browser.execute_script(
            "const files = new DataTransfer(); files.items.add(new File(['no image at all'], 'b.png'));"
            "document.dispatchEvent(new DragEvent('drop', {dataTransfer: files, cancelable: true}))"
        )
        until(lambda: "not an image" in find("#answer")[0].text and not find("#top li"))

        find("#camera")[0].click()
        until(lambda: browser.execute_script("return document.querySelector('#video').videoWidth") > 0)
        find("#shoot")[0].click()
        until(lambda: len(find("#top li")) == 5)
        errors = [one for one in browser.get_log("browser") if one["level"] == "SEVERE" and "415" not in one["message"]]
        assert errors == []  # such as what the policy forbids
        asked = [json.loads(one["message"])["message"] for one in browser.get_log("performance")]
        places = {one["params"]["request"]["url"] for one in asked if one["method"] == "Network.requestWillBeSent"}
        assert all(place.startswith((f"http://localhost:{server.port}/", "blob:", "data:")) for place in places), places
    finally:
        browser.quit()


def drawn(browser: Any, heatmap: Any) -> float:
    """How dense the colour is where the server says that the map is strongest."""
    n, width, height = heatmap["values"].index(255), heatmap["width"], heatmap["height"]
    place = (n % width + 0.5) / width, (n // width + 0.5) / height
    script = """
        const canvas = document.querySelector('#map');
        const at = [arguments[0] * canvas.width, arguments[1] * canvas.height].map(Math.round);
        return canvas.getContext('2d').getImageData(...at, 1, 1).data[3]"""
    return float(browser.execute_script(script, *place))


def until(true: object, seconds: float = 30) -> None:
    assert callable(true)
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)
