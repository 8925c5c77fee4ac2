"""The folder beside the story's page: a reader's own image is classified in the browser as `predict` does it."""

import base64
import hashlib
import io
import json
import shutil
import tarfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from test_story import embedded

from topfive.cli import main
from topfive.data import onnxruntime_web
from topfive.engine.inference.models import About, Model, save
from topfive.engine.models.modules import Classifier, build
from topfive.errors import DataError, ResourceError
from topfive.networks import get
from topfive.networks.layers import with_classes
from topfive.report.pages import browser as beside
from topfive.report.pages import story as page_of_story

NAMES = tuple(f"class {n}" for n in range(12))
POLICY = "'strict-dynamic' 'wasm-unsafe-eval'"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(3)
    network = with_classes(get("cifar-resnet-20"), len(NAMES))
    mean, std = torch.full((1, 3, 1, 1), 120.0), torch.full((1, 3, 1, 1), 60.0)
    classifier = Classifier(build(network), mean, std).eval()
    with torch.no_grad():  # why: without training all images have one answer; so they have the one that they favour
        few = torch.randint(0, 256, (32, 3, 4, 4)).float().repeat_interleave(8, 2).repeat_interleave(8, 3)
        bias = classifier.net.get_parameter("fc.bias")
        bias -= classifier(few).mean(0)
    path = tmp_path_factory.mktemp("model") / "mine.safetensors"
    save(Model("", "", "", About(network, 32, NAMES), classifier), path)
    return path


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """Of many sizes and kinds, one of them turned, one transparent."""
    folder, random = tmp_path_factory.mktemp("images"), np.random.default_rng(5)

    def patches(width: int, height: int, channels: int = 3) -> Image.Image:
        few = Image.fromarray(random.integers(0, 256, (3, 4, channels), np.uint8))
        return few.resize((width, height), Image.Resampling.NEAREST)

    patches(40, 50).save(folder / "small.png")
    patches(300, 200).save(folder / "wide.png")
    patches(37, 400).convert("L").save(folder / "grey.png")
    patches(64, 48, 4).save(folder / "transparent.png")
    turned = Image.Exif()
    turned[0x0112] = 6
    patches(160, 90).save(folder / "turned.jpg", quality=95, exif=turned)
    shutil.copy(Path(page_of_story.__file__).with_name("story.jpg"), folder / "cat.jpg")
    return {path.name: path for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def page(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    try:
        onnxruntime_web.runtime()
    except ResourceError as error:
        pytest.skip(f"no onnxruntime-web is in the cache, and: {error}")
    out = tmp_path_factory.mktemp("live page") / "story.html"
    options = ["--out", str(out), "--model", str(model), "--browser", str(out.parent / "live model"), "--quiet"]
    assert main(["story", *options]) == 0
    return out


def toy_package(path: Path, names: tuple[str, ...] = onnxruntime_web.FILES) -> Path:
    with tarfile.open(path, "w:gz") as package:
        for name in names:
            info = tarfile.TarInfo(f"package/dist/{name}")
            info.size = 3
            package.addfile(info, io.BytesIO(b"abc"))
    return path


def test_the_runtime_is_taken_from_a_folder_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> Path:
        raise ResourceError("no network")

    monkeypatch.setattr(onnxruntime_web, "fetch_file", refuse)
    for name in onnxruntime_web.FILES:
        with pytest.raises(ResourceError):
            onnxruntime_web.runtime(tmp_path)
        (tmp_path / name).write_bytes(name.encode())
    assert onnxruntime_web.runtime(tmp_path) == {name: name.encode() for name in onnxruntime_web.FILES}


def test_the_package_is_read_only_if_it_has_the_published_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = toy_package(tmp_path / "toy.tgz")
    monkeypatch.setattr(onnxruntime_web, "fetch_file", lambda *_: path)
    with pytest.raises(DataError, match="SHA-512"):
        onnxruntime_web.runtime()
    digest = hashlib.sha512(path.read_bytes()).hexdigest()
    monkeypatch.setattr(onnxruntime_web, "PACKAGE", replace(onnxruntime_web.PACKAGE, sha512=digest))
    assert onnxruntime_web.runtime() == dict.fromkeys(onnxruntime_web.FILES, b"abc")


def test_a_model_is_cut_into_scripts_that_hold_all_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beside, "PIECE", 6)
    runtime = dict(zip(onnxruntime_web.FILES, (b"library();", b'export default "</script>"', b"\0wasm")))
    names = beside.write(tmp_path / "new", runtime, b"a model of bytes")
    assert names == (onnxruntime_web.LIBRARY, "onnxruntime.js", "model-1.js", "model-2.js", "model-3.js")
    texts = [(tmp_path / "new" / name).read_text() for name in names]
    values = [json.loads(text.split("...", 2)[2].rpartition("}")[0]) for text in texts[1:]]
    assert texts[0] == "library();" and values[0] == {
        "module": 'export default "</script>"',
        "wasm": base64.b64encode(b"\0wasm").decode(),
    }
    parts = [base64.b64decode(value[f"model{n}"]) for n, value in enumerate(values[1:], start=1)]
    assert b"".join(parts) == b"a model of bytes"


@pytest.mark.parametrize(
    ("arguments", "sentence", "code"),
    [(["--browser", "live"], "--model RUN", 2), (["--browser", "file", "--model", "MODEL"], "is a file", 2)],
)
def test_bad_input_is_one_sentence(
    arguments: list[str],
    sentence: str,
    code: int,
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("")
    assert main(["story", *(str(model) if one == "MODEL" else one for one in arguments)]) == code
    said = capsys.readouterr().err
    assert sentence in said and said.count("\n") == 1 and not Path("story.html").exists()


def test_only_a_page_with_a_folder_beside_it_may_load_scripts(page: Path, model: Path, tmp_path: Path) -> None:
    text = page.read_text("utf-8")
    about = embedded(text)["browser"]
    assert POLICY in text and "default-src 'none'" in text and "connect-src" not in text
    assert about["folder"] == "live%20model/" and about["classes"] == list(NAMES)
    assert {path.name for path in (page.parent / "live model").iterdir()} == set(about["scripts"])
    assert main(["story", "--out", str(tmp_path / "plain.html"), "--model", str(model), "--quiet"]) == 0
    plain = (tmp_path / "plain.html").read_text("utf-8")
    assert "strict-dynamic" not in plain.split("<body>")[0] and "wasm-unsafe-eval" not in plain.split("<body>")[0]
    assert embedded(plain)["browser"] is None and "--browser DIR" in plain


DROP = """
const [name, kind, text] = arguments;
const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
const dropped = new DataTransfer();
dropped.items.add(new File([bytes], name, { type: kind }));
document.getElementById("field-figure").dispatchEvent(new DragEvent("drop", { dataTransfer: dropped, bubbles: true }));
"""
ANSWERS = """
const own = state.own;
if (!own || own.file !== arguments[0]) return null;
return own.said ? (own.answers.length ? null : own.said()) : own.answers;
"""


@pytest.mark.slow
def test_the_browser_answers_as_predict_does(
    page: Path, model: Path, images: Mapping[str, Path], browser: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    assert main(["predict", str(model), *map(str, images.values()), "--top", "5", "--format", "json", "--quiet"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    browser.get(page.as_uri())
    browser.execute_script("need('field')")
    assert page_of_story.texts("en")["ui.drop_own"] in browser.find_element(By.ID, "passed").text
    wait = WebDriverWait(browser, 120)
    best, computing = set(), page_of_story.texts("en")["ui.computing"]
    for (name, path), row in zip(images.items(), rows, strict=True):
        kind = "image/png" if name.endswith("png") else "image/jpeg"
        browser.execute_script(DROP, name, kind, base64.b64encode(path.read_bytes()).decode())
        found = wait.until(
            lambda driver, name=name: (now := driver.execute_script(ANSWERS, name)) not in (None, computing) and now
        )
        assert isinstance(found, list), found
        assert found[0][0] == row["class_1"], name
        if name.endswith("png"):  # the decoders of a JPEG may differ by a level
            for n, (label, share) in enumerate(found, start=1):
                assert (label, share) == (row[f"class_{n}"], pytest.approx(row[f"probability_{n}"], abs=1e-4)), name
        best.add(found[0][0])
        shown = [one.text for one in browser.find_elements(By.CSS_SELECTOR, "#answers li")]
        assert shown[0].startswith(found[0][0]) and len(shown) == 5
        assert name in browser.find_element(By.CSS_SELECTOR, "#passed h3").text
    assert len(best) > 1, "images that are all alike to the network tell nothing"

    browser.execute_script("speak('ko')")
    own = "이 브라우저에서 계산했습니다"
    wait.until(lambda driver: own in driver.find_element(By.CSS_SELECTOR, "#passed h3").text)
    browser.execute_script(DROP, "none.png", "image/png", base64.b64encode(b"no image").decode())
    wait.until(lambda driver: "none.png" in driver.find_element(By.ID, "file-said").text)
    assert browser.get_log("browser") == []


@pytest.mark.slow
def test_a_page_without_its_folder_says_what_is_missing(page: Path, tmp_path: Path, browser: Any) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    alone = tmp_path / "alone.html"
    alone.write_bytes(page.read_bytes())
    browser.get(alone.as_uri())
    browser.execute_script("need('field')")
    image = Path(page_of_story.__file__).with_name("story.jpg").read_bytes()
    browser.execute_script(DROP, "cat.jpg", "image/jpeg", base64.b64encode(image).decode())
    missing = f"live model/{onnxruntime_web.LIBRARY} does not lie beside this page"
    WebDriverWait(browser, 20).until(lambda driver: missing in driver.find_element(By.ID, "passed").text)
    browser.get_log("browser")  # that the file is missing is said there too, and is no error of the next test
