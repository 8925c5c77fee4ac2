"""Figures: what they say is computed from the rows, and every label is legible."""

import math
import random
import re
import subprocess
import sys
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import msgspec
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from msgspec.structs import replace
from test_pages import published as of_paper
from test_pages import row

from topfive.networks.papers import Winner
from topfive.report import comparison as report
from topfive.report.figures import canvas, curves, history, series
from topfive.report.figures import comparison as comparison_figures
from topfive.report.pages.comparison import published_answer, published_caption
from topfive.results.records import ComparisonRow, PublishedRow

FAMILIES = [family for family in canvas.COLOURS if family != "shallow"]


def published(number: int, seed: int = 0) -> list[PublishedRow]:
    """Networks as crowded as the published ones: most of them between 70 and 80 % and between 5 and 40 G-ops."""
    chance = random.Random(seed)
    rows = []
    for i in range(number):
        ops = 10 ** chance.gauss(1.0, 0.4) * 1e9
        error = 35 - 9 * math.log10(ops / 1e9) + chance.gauss(0, 3)
        name = f"{chance.choice(['network', 'inception-resnet', 'vgg', 'resnext-101'])}-{i}"
        protocol = chance.choice(["1-crop", "10-crop"])
        params = int(10 ** chance.uniform(6, 8.15))
        family = chance.choice(FAMILIES)
        rows.append(of_paper(name, int(ops), error, family=family, params=params, protocol=protocol))
    return rows


def measured(*triples: tuple[str, float, float | None]) -> list[ComparisonRow]:
    return [
        row(name, accuracy, ops and int(ops), 0.03, memory_inference_bytes=int((ops or 0) / 4) + 1_000_000)
        for name, accuracy, ops in triples
    ]


THREE = measured(("a", 0.90, 4e9), ("b", 0.88, 1e9), ("histograms", 0.61, None))


def labels(figure: Figure) -> dict[str, Any]:
    """The boxes of the networks' names, in pixels."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    return {
        str(text.get_gid()): text.get_window_extent(renderer)
        for text in figure.texts
        if str(text.get_gid()).startswith("label-")
    }


@pytest.mark.parametrize("narrow", [False, True], ids=["wide", "narrow"])
@pytest.mark.parametrize("rows", [THREE, published(12), published(55)], ids=["3", "12", "55"])
def test_no_label_covers_another_or_leaves_the_axes(rows: Sequence[series.Point], narrow: bool) -> None:
    figure = comparison_figures.bubbles(rows, narrow=narrow)
    boxes = labels(figure)
    frame = figure.axes[0].get_window_extent()
    assert narrow or len(boxes) == len(rows)  # a wide figure names every network
    assert len(boxes) >= 0.8 * len(rows)
    for (one, a), (other, b) in combinations(boxes.items(), 2):
        assert not a.overlaps(b), f"{one} covers {other}"
    for name, box in boxes.items():
        assert frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1, name


def test_pareto_front_is_what_comparing_every_pair_finds() -> None:
    chance = random.Random(1)
    points = [(chance.randint(1, 12), chance.randint(1, 12)) for _ in range(60)]

    def beaten(p: tuple[int, int]) -> bool:
        return any(q[0] <= p[0] and q[1] >= p[1] and q != p for q in points)

    assert sorted(series.pareto(points)) == [i for i, p in enumerate(points) if not beaten(p)]


def test_a_front_joins_networks_of_one_protocol_alone() -> None:
    """Ten crops help: `crops` would stand on the front and end it, and be the answer."""
    rows = [
        of_paper(name, int(ops), error, protocol=protocol)
        for name, ops, error, protocol in (
            ("small", 1e9, 30.0, "1-crop"),
            ("crops", 2e9, 20.0, "10-crop"),
            ("large", 4e9, 25.0, "1-crop, val (48,238 non-blacklisted)"),
        )
    ]
    assert series.finding(rows) == "From small to large: 5.0 points more for 4.0 times the operations (1-crop)"
    lines = [
        str(line.get_gid())
        for line in comparison_figures.bubbles(rows).findobj()
        if str(line.get_gid()).startswith("front-")
    ]
    assert lines == ["front-0"]  # from the first to the last, past the one between them
    said = published_caption(rows)
    assert "The line joins the 1-crop networks that none of them beats" in said
    literature = report.published_rows()
    assert "tested by 1-crop" in published_answer(literature)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (
            [msgspec.structs.replace(row, among_best=row.name in "ab") for row in THREE],
            "a is the most accurate (90.0 %); b cannot be told from it with 4.0 times fewer operations",
        ),
        (
            measured(("a", 0.9, 4e9), ("b", 0.8, 1e9)),
            "a is the most accurate (90.0 %); every network of fewer operations can be told from it",
        ),
        (
            measured(("a", 0.5, 4e9), ("hog", 0.8, None)),
            "No network beats hog, a baseline without convolutions (80.0 %)",
        ),
    ],
)
def test_title_says_what_the_rows_show(rows: Sequence[series.Point], said: str) -> None:
    assert series.finding(rows) == said


def test_axis_is_logarithmic_only_where_the_span_asks_for_it() -> None:
    assert comparison_figures.bubbles(THREE).axes[0].get_xscale() == "linear"
    assert comparison_figures.bubbles(measured(("a", 0.9, 1e8), ("b", 0.8, 4e9))).axes[0].get_xscale() == "log"


@pytest.mark.parametrize("rows", [[], THREE[:1], THREE[2:]], ids=["none", "one", "shallow only"])
def test_few_rows_are_drawn_too(rows: Sequence[series.Point]) -> None:
    assert canvas.svg(comparison_figures.bubbles(rows), "x", "x").startswith("<svg")


def test_area_of_a_bubble_is_proportional_to_memory() -> None:
    figure = comparison_figures.bubbles(THREE)
    radius = {str(patch.get_gid()): patch.get_radius() for patch in figure.artists if hasattr(patch, "get_radius")}
    expected = THREE[0].memory_inference_bytes / THREE[1].memory_inference_bytes
    assert (radius["point-a"] / radius["point-b"]) ** 2 == pytest.approx(expected)


WINNERS = [
    Winner(2011, "XRCE", "", 25.8, 0.2577, True, "official-quoted"),
    Winner(2012, "AlexNet", "", 16.4, 0.16422, False, "official-quoted", depth=8),
    Winner(2015, "ResNet", "", 3.57, 0.03567, False, "official-quoted", depth=152),
]


@pytest.mark.parametrize("narrow", [False, True], ids=["wide", "narrow"])
def test_history_writes_depth_and_error_of_every_winner(narrow: bool) -> None:
    texts = " ".join(text.get_text() for text in history.history(WINNERS, 5.1, narrow=narrow).texts)
    for expected in ("8 layers", "152 layers", "25.8", "16.4", "3.57", "5.1", "every winner since 2012"):
        assert expected in texts


@pytest.mark.parametrize("narrow", [False, True], ids=["wide", "narrow"])
def test_curves_name_every_network_once_in_each_panel_and_apart(narrow: bool) -> None:
    steps = [{"epoch": e, "loss": 2 / e, "accuracy": 0.7 - 0.5 / e} for e in range(1, 6)]
    steps.append({"epoch": 6, "loss": math.nan, "accuracy": 0.7})
    rows = [row(f"network-{i}", 0.7, 10**9, curve=steps) for i in range(12)]
    figure = curves.curves([*rows, row("histograms", 0.6, None, curve=[])], narrow=narrow)
    renderer = FigureCanvasAgg(figure).get_renderer()
    for panel in ("accuracy-", "loss-"):
        boxes = [t.get_window_extent(renderer) for t in figure.texts if str(t.get_gid()).startswith(panel)]
        assert len(boxes) == 12
        assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))
        assert all(box.x1 <= figure.bbox.x1 and box.y0 >= 0 for box in boxes)


def test_svg_stands_alone_and_follows_the_colours_of_its_page() -> None:
    evil = replace(THREE[0], name='<b>&"$x$')
    gid = series.gids([evil])[0]
    text = canvas.svg(comparison_figures.bubbles([evil, *THREE[1:]]), "one", "a figure", {gid: 'said "aloud"'})
    tree = ElementTree.fromstring(text)
    ids = [element.get("id") for element in tree.iter() if element.get("id")]
    assert len(ids) == len(set(ids))
    assert all(str(found).startswith("one-") for found in ids)
    assert not re.search("https?:|xlink|<style|<metadata", text)
    assert canvas.INK not in text and "currentColor" in text
    point = next(element for element in tree.iter() if element.get("id") == f"one-{gid}")
    assert point.get("aria-label") == 'said "aloud"' and point.get("tabindex") == "0"
    assert '<b>&"$x$' in "".join(tree.itertext())
    used = {element.get("href", "#")[1:] for element in tree.iter() if element.tag.endswith("use")}
    assert used | set(re.findall(r"url\(#([^)]+)\)", text)) <= set(ids)


def test_save_writes_png_and_svg(tmp_path: Any) -> None:
    written = canvas.save(comparison_figures.bubbles(THREE), tmp_path / "figure.png")
    assert [path.name for path in written] == ["figure.png", "figure.svg"]
    assert written[0].read_bytes().startswith(b"\x89PNG") and "<svg" in written[1].read_text()


KOREAN, CHINESE, JAPANESE = "\uc591", "\u732b", "\u3044\u306c"


def a_font(path: Path, family: str, letters: str) -> Path:
    """A font that draws each of `letters` as one and the same triangle."""
    pen = TTGlyphPen(None)
    pen.moveTo((0, 0))
    pen.lineTo((900, 0))
    pen.lineTo((0, 900))
    pen.closePath()
    glyphs = [".notdef", *(f"u{ord(letter):04X}" for letter in letters)]
    made = FontBuilder(1000)
    made.setupGlyphOrder(glyphs)
    made.setupCharacterMap({ord(letter): f"u{ord(letter):04X}" for letter in letters})
    made.setupGlyf({name: TTGlyphPen(None).glyph() if name == ".notdef" else pen.glyph() for name in glyphs})
    made.setupHorizontalMetrics({name: (1000, 0) for name in glyphs})
    made.setupHorizontalHeader(ascent=900, descent=-100)
    made.setupNameTable({"familyName": family, "styleName": "Regular"})
    made.setupOS2(sTypoAscender=900, usWinAscent=900, usWinDescent=100)
    made.setupPost()
    made.save(path)
    return path


def test_letters_that_the_common_font_lacks_are_drawn_with_one_of_the_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = font_manager.fontManager
    monkeypatch.setattr(known, "ttflist", [font for font in known.ttflist if font.name.startswith("DejaVu")])
    drawn = []
    for family in ("none", "Noto Sans CJK KR"):
        if family != "none":
            known.addfont(a_font(tmp_path / "x.ttf", family, KOREAN + CHINESE))
        canvas._others.cache_clear()
        sheet = canvas.Sheet(100, 50)
        sheet.write(10, 10, f"a{KOREAN}{CHINESE}", 20)
        assert KOREAN in canvas.svg(sheet.figure, "x", "letters")  # as a letter: its reader may have a font
        canvas.save(sheet.figure, tmp_path / f"{family}.png")
        drawn.append((tmp_path / f"{family}.png").read_bytes())
    assert drawn[0] != drawn[1] and canvas.families(f"a{KOREAN}") == ["DejaVu Sans", "Noto Sans CJK KR"]
    assert canvas.families("caf\u00e9 \u0416") == ["DejaVu Sans"]  # as on every machine
    canvas._others.cache_clear()


def test_letters_that_no_font_has_are_no_matter_of_warnings(tmp_path: Path) -> None:
    draw = f"""
from pathlib import Path
import numpy as np
from topfive.report.figures import canvas, evaluation as figures_of_evaluation
figure = figures_of_evaluation.confusion(np.array([[3, 1], [2, 4]]), ("{KOREAN}{CHINESE}", "{JAPANESE}"))
canvas.save(figure, Path({str(tmp_path / "x.png")!r}))
canvas.svg(figure, "x", "letters")
"""
    done = subprocess.run([sys.executable, "-W", "error:Glyph", "-c", draw], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
