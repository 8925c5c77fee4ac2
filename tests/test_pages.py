"""Pages: one file that needs nothing else, says everything, and runs nothing that a name brings along."""

import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import pytest

from topfive.networks.papers import PublishedError, Winner
from topfive.report.pages import comparison as pages
from topfive.results.provenance import Provenance
from topfive.results.records import ComparisonRow, FailedRow, PublishedRow

EVIL = "<script>alert(1)</script>"
META = msgspec.convert(
    {
        "source": f"pets/{EVIL}: 10 images",
        "classes": 3,
        "command": "topfive compare pets/ --name '\"><img src=x onerror=alert(1)>'",
        "versions": {"topfive": "0.1.0", "torch": "2.13"},
        "machine": {"processor": "AMD EPYC", "cores": 2, "memory_bytes": 8e9, "precision": "bf16"},
        "seed": "0",
        "fingerprint": "sha256:5d1c",
        "made": "2026-11-23",
        "unreadable": [{"path": f"cat/{EVIL}.jpg", "why": "not an image"}],
    },
    Provenance,
)


def row(name: str, accuracy: float, ops: int | None, band: float = 0.02, **more: Any) -> ComparisonRow:
    """A row of a comparison; without operations that of a baseline."""
    values = {
        "name": name,
        "family": "ResNet" if ops else "shallow",
        "kind": "network" if ops else "shallow",
        "top1_accuracy": accuracy,
        "top1_low": accuracy - band,
        "top1_high": accuracy + band,
        "top5_accuracy": None,
        "top5_low": None,
        "top5_high": None,
        "images": 1469,
        "unreadable": 1,
        "protocol": "1-crop 32x32",
        "params": (ops or 0) // 100,
        "macs": (ops or 0) // 2,
        "ops": ops or 0,
        "counted_by": "topfive",
        **dict.fromkeys(("latency_ms", "latency_low_ms", "latency_high_ms"), ops / 1e8 if ops else 0.3),
        **dict.fromkeys(("throughput", "throughput_low", "throughput_high"), 100.0),
        "throughput_batch": 64,
        "memory_inference_bytes": (ops or 0) // 10,
        "memory_training_bytes": ops or 0,
        "training_batch": 64,
        "training_seconds": 2.0,
        "epochs": 2,
        "learning_rate": 0.1,
        "curve": [{"epoch": 1, "loss": 2.0, "accuracy": 0.3}, {"epoch": 2, "loss": 1.0, "accuracy": accuracy}],
    }
    return msgspec.convert({**values, **more}, ComparisonRow)


def published(name: str, ops: int, error: float | None, **more: Any) -> PublishedRow:
    """A row of the literature."""
    values = {"family": "VGG", "title": name, "year": 2014, "input": 224, "depth": 16, "params": ops // 100}
    values |= {"macs": ops // 2, "peak_bytes": ops // 50, "weight_bytes": ops // 25, "top5_error": None}
    values |= {"protocol": "10-crop", "source": "Table 1", "conf": "paper"}
    return PublishedRow(**{**values, "name": name, "ops": ops, "top1_error": error, **more})


MEASURED = [row("small", 0.80, 10**8), row(EVIL, 0.81, 10**9), row("histograms", 0.6, None, curve=[])]
PUBLISHED = [published(f"network-{i}", 10**9 * i, 30.0 - i if i < 5 else None) for i in range(1, 7)]
WINNERS = [Winner(2012, "SuperVision", "", 16.4, 0.16422, False, "official-quoted", depth=8)]
ERRORS = [("vgg-d", PublishedError("dense", "val", "paper", EVIL, 27.0, 8.8, 1))]


class Reader(HTMLParser):
    """Every element with its attributes, and whether each is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module", params=["measured", "published"])
def page(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("page") / "report.html"
    if request.param == "measured":
        pages.render_measured(path, MEASURED, META)
    else:
        pages.render_published(path, PUBLISHED, META, winners=WINNERS, human=5.1, errors=ERRORS)
    assert [found.name for found in path.parent.iterdir()] == ["report.html"]
    return path.read_text(encoding="utf-8")


def test_page_is_well_formed_and_every_id_is_unique(page: str) -> None:
    reader = Reader(page)
    assert reader.open == []
    ids = Counter(attributes["id"] for _, attributes in reader.elements if "id" in attributes)
    assert [found for found, times in ids.items() if times > 1] == []


def test_page_refers_to_nothing_outside_itself(page: str) -> None:
    for _, attributes in Reader(page).elements:
        for name, value in attributes.items():
            assert name not in ("src", "srcset", "xlink:href")
            assert name != "href" or str(value).startswith("#")
            assert "http" not in str(value) or name == "http-equiv"
    assert all(reference.startswith("#") for reference in re.findall(r"url\(([^)]*)\)", page))
    assert "@import" not in page


def test_names_from_outside_stay_text(page: str) -> None:
    reader = Reader(page)
    assert len(reader.all("script")) == 1
    assert reader.all("img") == []
    assert not any(name.startswith("on") for _, attributes in reader.elements for name in attributes)
    assert "script-src 'sha256-" in page and "default-src 'none'" in page


def test_every_row_stands_in_the_table_with_its_point_in_both_figures(page: str) -> None:
    reader = Reader(page)
    rows = {
        str(attributes["data-name"]): attributes["id"] for attributes in reader.all("tr") if "data-name" in attributes
    }
    expected: list[ComparisonRow | PublishedRow] = [*(PUBLISHED if "network-1" in rows else MEASURED)]
    assert set(rows) == {found.name for found in expected}
    points = Counter(attributes["data-point"] for attributes in reader.all("g") if "data-point" in attributes)
    drawn = [found for found in expected if found.top1 is not None]
    assert {f"row-{point}": times for point, times in points.items()} == {rows[found.name]: 2 for found in drawn}


def test_every_header_sorts_and_one_says_how_it_is_sorted(page: str) -> None:
    reader = Reader(page)
    headers = [attributes for attributes in reader.all("th") if attributes.get("scope") == "col"]
    assert headers and page.count('<button type="button"><span') == len(headers)
    assert [h["aria-sort"] for h in headers if "aria-sort" in h] in (["descending"], ["ascending"])


def test_measured_page_answers_first_and_tells_how_to_repeat_it(tmp_path: Path) -> None:
    rows = [msgspec.structs.replace(row, among_best=row.name != "histograms", seeds=(0, 1, 2)) for row in MEASURED]
    text = pages.render_measured(tmp_path / "deep" / "page.html", rows, META).read_text(encoding="utf-8")
    visible = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", text.split("<h1>")[1].split("</h1>")[0]))
    assert "classifies 81.0 % of 1,469 images correctly (the mean of 3 seeds, 95 % interval 79.0–83.0)" in visible
    assert (
        "cannot be told from small; small is the cheapest of these in time (1.00 ms an image here) and memo" in visible
    )
    for said in (
        "AMD EPYC",
        "torch 2.13",
        "sha256:5d1c",
        "1-crop 32x32",
        "1,469",
        "topfive compare pets/",
        "not an image",
    ):
        assert said in text
    assert text.index("<h1>") < text.index("<svg") < text.index("<table") < text.index('id="how"')


def test_a_network_that_failed_is_the_last_row_with_its_reason(tmp_path: Path) -> None:
    rows = [FailedRow("broken", "yours", "module", EVIL), row("mine", 0.5, 1000, counted_by="torch")]
    text = pages.render_measured(tmp_path / "page.html", rows, Provenance()).read_text(encoding="utf-8")
    assert text.index('data-name="mine"') < text.index('data-name="broken"') and "by torch" in text
    assert "broken failed:" in text and EVIL not in text and "n/a" in text
    assert "No network" in pages.render_measured(tmp_path / "none.html", rows[:1], Provenance()).read_text("utf-8")
