"""The story's page: its numbers are those of `topfive show`, both languages say the same, and it needs nothing else."""

import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from test_pages import Reader

from topfive.cli import main
from topfive.networks import NETWORKS, costs, get, papers
from topfive.networks.ideas import ideas
from topfive.report.pages import story as page_of_story
from topfive.report.story import POINTS, story
from topfive.report.story_facts import facts
from topfive.results.experiments import Chart, ExperimentRecord, Series, Verdict
from topfive.results.provenance import MachineRecord

DISTILL = {  # Araujo, Norris, Sim: Computing Receptive Fields of Convolutional Neural Networks, Distill 2019
    "alexnet": 195,
    "vgg-d": 212,
    "resnet-50": 483,
    "resnet-101": 1027,
    "resnet-152": 1507,
    "bn-inception": 699,
    "inception-v3": 1311,
    "inception-v4": 2071,
    "inception-resnet-v2": 3039,
    "mobilenet-v1": 315,
}
NUMBER = re.compile(r"\d+(?:,\d{3})*(?:\.\d+)?")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("story")
    out = folder / "story.html"
    assert main(["story", "--out", str(out), "--experiments", str(folder), "--quiet"]) == 0
    assert [found.name for found in folder.iterdir()] == ["story.html"]
    return out.read_text("utf-8")


def embedded(page: str) -> Any:
    """What the script of the page reads."""
    return json.loads(page.split('id="story-data">')[1].split("</script>")[0])


@pytest.fixture(scope="module")
def networks(page: str) -> dict[str, Any]:
    return {network["name"]: network for network in embedded(page)["story"]["networks"]}


@pytest.fixture
def shown(capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """What `topfive show NAME --format json` prints."""

    def show(name: str, *options: str) -> Any:
        assert main(["show", name, "--format", "json", *options]) == 0
        return json.loads(capsys.readouterr().out)

    return show


def as_shown(network: Mapping[str, Any], row: list[Any]) -> dict[str, Any]:
    """A row of the page under the names that `show` has for its numbers."""
    name, kind, field, least, centre = row
    layer, output, params, macs, activation_bytes, stride = network["kinds"][kind]
    found = {"name": name, "layer": layer, "output": "x".join(map(str, output)), "params": params, "macs": macs}
    found["activation_bytes"] = activation_bytes
    pairs = {"receptive_field": field, "stride": stride, "centre": centre, "least_receptive_field": least}
    for key, (height, width) in pairs.items():
        found |= {f"{key}_height": height, f"{key}_width": width}
    return found


@pytest.mark.parametrize("name", NETWORKS)
def test_every_number_of_a_network_is_that_of_show(
    name: str, networks: dict[str, Any], shown: Callable[..., Any]
) -> None:
    network, printed = networks[name], shown(name)
    for key, rows in (("stages", printed["rows"]), ("layers", shown(name, "--layers")["rows"]),
                      ("heads", printed["head_rows"])):  # fmt: skip
        ours = [as_shown(network, row) for row in network[key]]
        assert ours == [{field: row[field] for field in one} for one, row in zip(ours, rows, strict=True)]
    for key in ("source", "totals", "claims", "differs", "errors"):
        assert network[key] == printed[key]
    assert sum(network["params"].values()) == printed["totals"]["params"]


def test_the_page_has_all_networks_in_order(networks: dict[str, Any]) -> None:
    assert list(networks) == list(NETWORKS)


def test_vgg_has_its_parameters_in_the_fully_connected_layers(networks: dict[str, Any]) -> None:
    linear = (7 * 7 * 512 + 1) * 4096 + (4096 + 1) * 4096 + (4096 + 1) * 1000
    assert networks["vgg-d"]["params"]["linear"] == linear


@pytest.mark.parametrize("name", DISTILL)
def test_the_field_of_the_last_maps_is_the_one_that_distill_prints(name: str, networks: dict[str, Any]) -> None:
    (claim,) = [claim for claim in networks[name]["claims"] if claim["of"] == "field"]
    assert claim["printed"] == claim["ours"] == DISTILL[name]
    assert claim["verdict"] == "holds" and "Distill" in claim["where"]


def test_no_other_network_claims_a_field() -> None:
    assert {name for name in papers.known() if any(claim.of == "field" for claim in papers.facts(name).claims)} == {
        *DISTILL
    }


def test_the_pairs_cost_what_their_arithmetic_says() -> None:
    pairs = {idea.name: (costs.count(idea.before), costs.count(idea.after)) for idea in ideas()}
    one, three = pairs["stack"]
    assert (one.params, three.params) == (49 * 64**2, 27 * 64**2)
    assert one.field == three.field == 7
    naive, reduced = pairs["inception"]
    assert naive.macs == 28 * 28 * 256 * (128 + 9 * 192 + 25 * 96)
    assert reduced.macs == 28 * 28 * (256 * (128 + 64 + 64 + 64) + 64 * (9 * 192 + 25 * 96))
    assert (naive.stages[0].output[0], reduced.stages[0].output[0]) == (128 + 192 + 96 + 256, 128 + 192 + 96 + 64)
    plain, residual = pairs["residual"]
    assert (plain.params, plain.macs) == (residual.params, residual.macs)  # an identity costs nothing
    basic, bottleneck = pairs["bottleneck"]
    assert basic.macs == 56 * 56 * 2 * 9 * 64 * 64
    assert bottleneck.macs == 56 * 56 * (256 * 64 + 9 * 64 * 64 + 64 * 256)
    first, moved = pairs["stride"]
    assert moved.macs - first.macs == (56 * 56 - 28 * 28) * 256 * 128  # the first 1x1 runs at every place


def test_the_best_single_networks_are_those_of_the_winners_papers(page: str) -> None:
    years = {year["year"]: year for year in embedded(page)["story"]["years"]}
    singles = {year: one["single"] for year, one in years.items()}
    # AlexNet Table 2, GoogLeNet Table 3, ResNet Table 4
    assert (singles[2012], singles[2014], singles[2015]) == (18.2, 7.89, 4.49)
    assert singles[2010] is None and [years[year]["shallow"] for year in (2010, 2011, 2012)] == [True, True, False]


def test_the_page_is_small_and_refers_to_nothing_outside_itself(page: str) -> None:
    assert len(page.encode()) <= 5 * 2**20
    reader = Reader(page)
    assert reader.open == []
    for _, attributes in reader.elements:
        for name, value in attributes.items():
            assert name not in ("src", "srcset", "xlink:href")
            assert name != "href" or str(value).startswith("#")
            assert "http" not in str(value) or name == "http-equiv"
    assert "default-src 'none'" in page and "script-src 'sha256-" in page and "@import" not in page
    addresses = set(re.findall(r"https?://[^\s\"'\\<]+", page))
    assert addresses <= {"http://www.w3.org/2000/svg"}  # the name of the namespace, which nothing loads


def test_ids_are_unique_and_links_lead_somewhere(page: str) -> None:
    reader = Reader(page)
    ids = Counter(attributes["id"] for _, attributes in reader.elements if "id" in attributes)
    assert [found for found, times in ids.items() if times > 1] == []
    assert {str(link["href"])[1:] for link in reader.all("a")} <= set(ids)
    assert {point.key for point in POINTS} <= set(ids) and len(POINTS) == 17
    opened = {str(one["data-network"]) for kind in ("a", "button") for one in reader.all(kind) if "data-network" in one}
    assert {"vgg-d", "nin"} <= opened <= set(NETWORKS)


def test_the_points_stand_on_the_page_in_the_order_of_their_numbers(page: str) -> None:
    standing = re.findall(r'<article class="point" id="(\w+)">\s*<h3><a href="#\w+">(\d+)</a>', page)
    assert standing == [(point.key, str(n)) for n, point in enumerate(POINTS, start=1)]
    listed = re.findall(r'<li><a href="#(\w+)">', page.split("<ol>")[1].split("</ol>")[0])
    assert listed == [point.key for point in POINTS]


def test_what_a_network_is_called_stands_beside_its_name(page: str, networks: dict[str, Any]) -> None:
    aliases = {network["name"]: network["alias"] for network in networks.values() if network["alias"]}
    assert aliases["vgg-d"] == "vgg-16" and {get(alias).name for alias in aliases.values()} == set(aliases)
    assert "Open vgg-d (vgg-16)<" in page and "vgg-d (vgg-16) 열기<" in page
    for language in ("en", "ko"):
        for text in page_of_story.texts(language).values():
            assert "VGG-16" not in text or "[[vgg-d]]" in text


def test_the_field_of_a_fully_connected_layer_is_told(page: str) -> None:
    # 6 maps of a stride of 32 beside each other, of which each sees 195
    assert "a field of 355 pixels where the last maps before it have 195" in page and 195 + 5 * 32 == 355


def test_experiments_of_the_points_are_those_that_there_are(page: str) -> None:
    from topfive.engine.experiments import ALL

    assert {name for point in POINTS for name in point.experiments} == set(ALL)
    assert set(re.findall(r"topfive experiment ([a-z0-9-]+)", re.sub(r"<[^>]+>", "", page))) == set(ALL)


@pytest.mark.parametrize(
    ("question", "answers"),
    [
        ("alexnet", ("227 - 11) / 4 + 1 = 55", "two of them", "splits the model")),
        ("stack", ("27C²", "49C²", "55 %", "three nonlinearities")),
        ("naive", ("854 M", "672 maps")),
        ("reduced", ("271 M", "358 M", "slip")),
        ("auxiliary", ("4a and 4d", "0.3", "training only")),
        ("degradation", ("training images too", "not overfitting", "28.54 %")),
        ("classifier", ("123.6 M of the 138.4 M", "89 %")),
        ("history", ("25.8 %", "16.4 %", "3.57 %", "six networks", "4.49 %", "5.1 %")),
        ("depths", ("v1.5", "4.09 G", "3.86 G", "24.01 %", "24.7 %")),
        ("together", ("senet-154", "2 x multiply-adds")),
    ],
)
def test_the_page_answers(question: str, answers: tuple[str, ...], page: str) -> None:
    article = page.split(f'<article class="point" id="{question}">')[1].split("</article>")[0]
    english = " ".join(re.findall(r'<span lang="en">(.*?)</span><span lang="ko">', article, re.DOTALL))
    english = re.sub(r"<[^>]+>", "", english)
    assert all(answer in english for answer in answers)


def parts(text: str) -> dict[str, list[str]]:
    """What both languages must have in common of a sentence."""
    return {
        "values": sorted(set(re.findall(r"\{[^}]+\}", text))),
        "commands": sorted(re.findall(r"`[^`]+`", text)),
        "networks": sorted(re.findall(r"\[\[[^\]]+\]\]", text)),
        "numbers": sorted(set(NUMBER.findall(re.sub(r"\{[^}]+\}|`[^`]+`", "", text)))),
    }


def test_both_languages_have_the_same_keys_values_commands_and_numbers() -> None:
    english, korean = page_of_story.texts("en"), page_of_story.texts("ko")
    assert list(english) == list(korean)
    assert {key: parts(text) for key, text in english.items()} == {key: parts(text) for key, text in korean.items()}


def test_every_sentence_of_the_papers_has_its_korean_with_the_same_numbers(page: str) -> None:
    data = embedded(page)["story"]
    said = {text for year in data["years"] for text in (year["method"], year["note"]) if text}
    for network in data["networks"]:
        said |= {*network["differs"], network["source"]["note"], *(claim["erratum"] for claim in network["claims"])}
    korean = page_of_story.korean()
    assert said - {""} - set(korean) == set()
    drawings = {text for network in data["networks"] for text in re.findall(r"<text[^>]*>([^<]+)<", network["svg"])}
    assert set(korean) - said - drawings == set(), "stale"

    numbers = {text: (set(NUMBER.findall(text)), set(NUMBER.findall(ko))) for text, ko in korean.items()}
    assert {text: pair for text, pair in numbers.items() if pair[0] != pair[1]} == {}


def test_the_korean_has_one_style_and_writes_units_as_koreans_do() -> None:
    texts, papers_of = page_of_story.texts("ko"), page_of_story.korean()
    told = [
        text for key, text in texts.items() if re.fullmatch(r"points\..*\.(text|wrong)|page\..*_how|page\.lead", key)
    ]
    for text in [*told, *(text for text in papers_of.values() if text.endswith("."))]:
        ends = re.findall(r"(\S+)\.(?= |$)", re.sub(r"Fig\.|\([^)]*\)", "", text))
        assert ends and [end for end in ends if not end.endswith(("니다", "세요"))] == [], text
    for text in [*texts.values(), *papers_of.values()]:
        assert not re.search(r"[\d}] (?:%|[MG]B?(?![A-Za-z]))|에 의해", text), text


def test_no_line_ends_within_a_number_and_its_unit(page: str) -> None:
    for whole in ("138.4 M", "138.4M개", "89%", "ResNet-50", "(227 - 11) / 4 + 1 = 55", "F(x) + x", "곱셈-덧셈"):
        assert f'<span class="whole">{whole}</span>' in page
    assert "3×3" in page and "resnext-50-32x4d" in page and "topfive experiment" in page


def test_both_languages_stand_on_the_page(page: str) -> None:
    spans = Counter(re.findall(r'<span lang="(en|ko)">', page))
    assert spans["en"] == spans["ko"] > 100
    for word in ("합성곱", "수용 영역", "잔차 연결", "병목", "보조 분류기", "전역 평균 풀링"):
        assert word in page


def record(**more: Any) -> ExperimentRecord:
    field = Series("three-3x3", (0.1, 1.0, 0.1), (-1.0, 0.0, 1.0))
    values: dict[str, Any] = {
        "name": "stacked-3x3",
        "title": "t",
        "claim": "c",
        "source": "s",
        "verdict": Verdict("does not hold at this scale", "one-7x7 40.0 %, three-3x3 </script><b>39.0 %"),
        "tables": (),
        "charts": (Chart("field", "gradient", (field,), "pixels"),),
        "notes": (),
        "data": "cifar-10",
        "seeds": (0,),
        "minutes": 1.0,
        "command": "topfive experiment stacked-3x3",
        "machine": MachineRecord(),
        "versions": {},
        "made": "2026-11-30",
    }
    return ExperimentRecord(**{**values, **more})


def test_verdicts_come_from_records_and_from_nothing_else(tmp_path: Path, page: str) -> None:
    assert "Not run here" in page and not embedded(page)["story"]["experiments"]
    for folder, one in (("old", record(made="2026-11-01")), ("new", record())):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "experiment.json").write_bytes(msgspec.json.encode(one))
    out = tmp_path / "page.html"
    assert main(["story", "--out", str(out), "--experiments", str(tmp_path), "--language", "ko", "--quiet"]) == 0
    text = out.read_text("utf-8")
    found = embedded(text)["story"]["experiments"]["stacked-3x3"]
    assert (found["kind"], found["made"]) == ("does not hold at this scale", "2026-11-30")
    assert found["lines"] == [["three-3x3", [-1.0, 0.0, 1.0], [0.1, 1.0, 0.1]]]
    article = text.split('<article class="point" id="stack">')[1].split("</article>")[0]
    assert "이 규모에서는 성립하지 않음" in article and "one-7x7 40.0 %" in article and "Not run" not in article
    assert '<html lang="ko">' in text and len(Reader(text).all("script")) == 2


def test_a_comparison_of_ones_own_is_a_second_layer(tmp_path: Path) -> None:
    from test_pages import row

    mine = tmp_path / "mine.json"
    failed = {"name": "broken", "failed": "no memory"}
    rows = [msgspec.to_builtins(row("mine", 0.8, 10**8)), failed]
    mine.write_bytes(msgspec.json.encode({"rows": rows, "meta": {}}))
    out = tmp_path / "page.html"
    assert main(["story", "--out", str(out), "--compare", str(mine), "--quiet"]) == 0
    (point,) = embedded(out.read_text("utf-8"))["story"]["own"]
    assert (point["name"], point["ops"], point["top1"], point["front"]) == ("mine", 10**8, pytest.approx(80), False)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--image", "none.jpg"], "none.jpg"),
        (["--image", "text.jpg"], "text.jpg"),
        (["--compare", "text.jpg"], "compare --format json"),
        (["--compare", "none.json"], "none.json"),
        (["--experiments", "none"], "topfive experiment"),
        (["--model", "none"], "no run folder"),
        (["--out", "."], "is a folder"),
    ],
)
def test_bad_input_is_one_sentence(
    arguments: list[str],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("text.jpg").write_text("no image")
    assert main(["story", *arguments]) == (2 if arguments[0] in ("--model", "--out") else 3)
    said = capsys.readouterr().err
    assert sentence in said and said.count("\n") == 1 and not Path("story.html").exists()


def test_the_page_is_written_without_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from topfive.cli import main; assert main(['story', '--out', 'page.html']) == 0;"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True).returncode == 0


def test_an_image_of_the_users_takes_the_place_of_the_cat(tmp_path: Path, page: str) -> None:
    from PIL import Image

    Image.new("RGB", (900, 600), (10, 200, 30)).save(tmp_path / "green.png")
    out = tmp_path / "page.html"
    assert main(["story", "--out", str(out), "--image", str(tmp_path / "green.png"), "--quiet"]) == 0
    image = embedded(out.read_text("utf-8"))["image"]
    assert image.startswith("data:image/jpeg;base64,") and image != embedded(page)["image"]


def test_a_model_shows_what_it_makes_of_the_image(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import torch
    from PIL import Image

    from topfive.engine.inference.models import About, Model, save
    from topfive.engine.models.modules import Classifier, build
    from topfive.networks.layers import with_classes

    torch.manual_seed(0)
    network, names = with_classes(get("cifar-resnet-20"), 3), ("cat", "dog", "fox")
    classifier = Classifier(build(network), torch.full((1, 3, 1, 1), 99.0), torch.full((1, 3, 1, 1), 50.0)).eval()
    save(Model("", "", "", About(network, 32, names), classifier), tmp_path / "mine.safetensors")
    pixels = torch.randint(0, 256, (32, 32, 3), dtype=torch.uint8)
    Image.fromarray(pixels.numpy()).save(tmp_path / "image.png")
    model, image, out = (str(tmp_path / name) for name in ("mine.safetensors", "image.png", "page.html"))
    assert main(["story", "--model", model, "--image", image, "--out", out, "--quiet"]) == 0
    found = embedded(Path(out).read_text("utf-8"))["story"]["model"]
    assert main(["predict", model, image, "--top", "3", "--format", "json", "--quiet"]) == 0
    (said,) = json.loads(capsys.readouterr().out)["rows"]
    for n, (name, share) in enumerate(found["answers"], start=1):
        assert (name, share) == (said[f"class_{n}"], pytest.approx(said[f"probability_{n}"], abs=1e-4))

    weight = classifier.net.get_submodule("conv1").weight.detach()
    maps = torch.nn.functional.conv2d((pixels.permute(2, 0, 1)[None] - 99.0) / 50.0, weight, padding=1)[0]
    order = maps.abs().mean((1, 2)).argsort(descending=True)[:8]
    assert [one["channel"] for one in found["maps"]["conv1"]] == order.tolist()
    for one in found["maps"]["conv1"]:
        seen = maps[one["channel"]]
        assert (one["low"], one["high"]) == pytest.approx((float(seen.min()), float(seen.max())), rel=1e-4)
    assert "fc" not in found["maps"] and "conv4_x" in found["maps"]
    assert found["network"]["totals"]["input"] == "3x32x32" and found["network"]["name"] == "mine (cifar-resnet-20)"


def test_a_value_that_a_sentence_names_must_exist() -> None:
    with pytest.raises(KeyError, match="none"):
        page_of_story.filled("{none}", {})
    told = story()
    front = facts(told)["front"].split(", ")
    ops = [costs.count(get(name)).ops for name in front]
    tops = [next(point.top1 for point in told.published if point.name == name) for name in front]
    assert ops == sorted(ops) and tops == sorted(tops) and len(front) > 3
    for point in told.published:  # nobody of the same protocol beats one of the front
        beaten = point.compared and point.name not in front
        assert not beaten or any(o <= point.ops and t >= point.top1 for o, t in zip(ops, tops))


# ---- in a browser


DROP = """
const canvas = document.createElement("canvas");
canvas.width = canvas.height = 8;
canvas.toBlob((blob) => {
  const dropped = new DataTransfer();
  dropped.items.add(new File([blob], "mine.png", { type: "image/png" }));
  const figure = document.getElementById("field-figure");
  figure.dispatchEvent(new DragEvent("drop", { dataTransfer: dropped, bubbles: true }));
});
"""
TIMED = """
const began = performance.now();
%s
document.body.getBoundingClientRect();
return performance.now() - began;
"""
FRAME = "rect = document.querySelector('#field-figure rect'); return [rect.x.baseVal.value, rect.width.baseVal.value]"


@pytest.mark.slow
def test_a_reader_walks_through_the_page(page: str, tmp_path: Path, browser: Any) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.ui import Select, WebDriverWait

    path = tmp_path / "story.html"
    path.write_text(page, "utf-8")
    browser.get(path.as_uri())
    wait = WebDriverWait(browser, 20)

    def find(css: str) -> Any:
        element = wait.until(lambda driver: driver.find_element(By.CSS_SELECTOR, css))
        browser.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", element)
        return element

    find("#timeline-figure [aria-label^='2014']").send_keys(Keys.ENTER)
    wait.until(lambda driver: find("#network").get_attribute("value") == "googlenet")
    find("#drawing [data-row='4a']").send_keys(Keys.ENTER)
    find("#rows [data-row='4a.b5.conv']").click()
    claims = find("#printed").text
    assert "364" in claims and "contradicts" in claims and "366.8 K of 1024" in claims
    row = next(row for row in costs.count(get("googlenet")).rows if row.name == "4a.b5.conv")
    assert f"sees {row.receptive_field[0]}×{row.receptive_field[1]} pixels" in find("#unit").text
    assert f"narrowest path sees {row.least_receptive_field[0]}" in find("#unit").text
    before, wide = browser.execute_script(FRAME)
    assert wide == row.receptive_field[1]
    find("#field-figure svg").send_keys(Keys.ARROW_RIGHT)
    assert browser.execute_script(FRAME) == [before + row.stride[1], wide]
    ActionChains(browser).move_to_element_with_offset(find("#field-figure svg"), -120, 0).perform()
    assert browser.execute_script(FRAME)[0] < before

    browser.execute_script(DROP)
    wait.until(lambda driver: find("#file-said").text == "mine.png")
    assert browser.execute_script("return state.image").startswith("data:image/png")

    find(".languages [data-language='ko']").click()
    assert find("h1").text == page_of_story.texts("ko")["page.title"]
    wait.until(lambda driver: "픽셀을 봅니다" in find("#unit").text and "어긋남" in find("#printed").text)
    find(".languages [data-language='en']").click()

    Select(find("#one")).select_by_value("resnet-50")
    Select(find("#two")).select_by_value("resnet-50-v1.5")
    differ = browser.execute_script(
        "return [...document.querySelectorAll('#pair tr.differs th')].map((th) => th.textContent)"
    )
    assert [re.sub(r"[▸≠ ]", "", name) for name in differ] == ["conv3_x", "conv4_x", "conv5_x", "pool5", "fc"]

    for name in ("densenet-264", "cifar-resnet-1202"):
        last = get(name).body.layers[-3][0]
        times = [browser.execute_script(TIMED % f"chooseNetwork('{name}', false);")]
        stage = next(row for row, layer in get(name).body.layers if hasattr(layer, "layers"))
        times += [browser.execute_script(TIMED % f"chooseRow('{one}');") for one in (stage, last)]
        times.append(browser.execute_script(TIMED % "unit(3, 3);"))
        print(f"{name}: network, stage, last row, unit: {', '.join(f'{time:.0f} ms' for time in times)}")
        assert find("#facts h3").text == name
    opened = browser.execute_script("return performance.getEntriesByType('navigation')[0].loadEventEnd")
    print(f"open: {opened:.0f} ms")
    loaded = browser.execute_script("return performance.getEntriesByType('resource').map((one) => one.name)")
    assert [name for name in loaded if not name.startswith("data:")] == []
    assert browser.get_log("browser") == []


@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 1400])
def test_a_link_leads_to_its_point(width: int, page: str, tmp_path: Path, browser: Any) -> None:
    from selenium.webdriver.support.ui import WebDriverWait

    path = tmp_path / "story.html"
    path.write_text(page, "utf-8")
    size = {"width": width, "height": 1000, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    still = {"features": [{"name": "prefers-reduced-motion", "value": "reduce"}]}  # no smooth scrolling
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", still)
    top = "return Math.round(document.getElementById(arguments[0]).getBoundingClientRect().top)"
    for point in POINTS[:-1]:  # the last may stand lower, where the page ends
        browser.get("about:blank")
        browser.get(path.as_uri())
        browser.execute_script("document.querySelector(`#points a[href='#${arguments[0]}']`).click()", point.key)
        WebDriverWait(browser, 20).until(lambda driver, key=point.key: driver.execute_script(top, key) == 0)
        browser.execute_script("Object.keys(lazy).forEach(need)")
        assert browser.execute_script(top, point.key) == 0, "what was drawn since has moved it"
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 1400, 2560])
def test_the_page_fits_the_screen(width: int, page: str, tmp_path: Path, browser: Any) -> None:
    path = tmp_path / "story.html"
    path.write_text(page, "utf-8")
    size = {"width": width, "height": 1000, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get(path.as_uri())
    browser.execute_script("Object.keys(lazy).forEach(need)")
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    unnamed = browser.execute_script(
        "return [...document.querySelectorAll('button, [role=button], [role=img], [role=application], select, input')]"
        ".filter((one) => !(one.getAttribute('aria-label') || one.textContent || one.labels?.length)).length"
    )
    assert unnamed == 0
    assert browser.get_log("browser") == []
