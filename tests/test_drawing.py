"""Drawings of networks: where the boxes stand, and the SVG made of them."""

from itertools import combinations, pairwise
from math import isclose, prod
from pathlib import Path
from xml.etree import ElementTree

import pytest
from PIL import Image, ImageColor

from topfive import cli
from topfive.errors import UsageError
from topfive.networks import NETWORKS
from topfive.networks.boxes import Box, Level, layout
from topfive.networks.costs import count
from topfive.networks.drawing import HEATS, html, svg
from topfive.networks.layers import Chain, Concat, Conv, Head, Layer, Linear, Network, Pool, Relu, Residual, children
from topfive.networks.layers import chain as made_chain
from topfive.report.figures.drawing import png

SVG = "{http://www.w3.org/2000/svg}"
BLOCK = Residual(made_chain(conv=Conv(8, 3, pad=1), relu=Relu()))
OWN = Network(
    "<mine> & yours",
    "mine",
    (3, 32, 32),
    made_chain(
        conv1=Conv(8, 3, pad=1),
        relu1=Relu(),
        blocks=Chain(tuple((f"block{n}", BLOCK) for n in range(1, 7))),
        mixed=Concat((("b1", Conv(4, 1)), ("b2", Pool("max", 3, 1, 1)), ("b3", Chain()))),
        fc=Linear(10),
    ),
    (Head("aux", "mixed", made_chain(fc=Linear(10)), 0.3),),
)


def kinds(layer: Layer) -> list[Layer]:
    return [layer, *(inner for _, child in children(layer) for inner in kinds(child))]


def faults(box: Box) -> list[str]:
    """What stands outside of the box that it belongs to, or over its neighbour."""
    found = []
    for inner in box.inner:
        inside = box.x <= inner.x + 1e-6 and inner.x + inner.width <= box.x + box.width + 1e-6
        inside &= box.y <= inner.y + 1e-6 and inner.y + inner.height <= box.y + box.height + 1e-6
        found += [] if inside else [f"{inner.kind} outside of {box.kind} at {box.names or box.label}"]
        found += faults(inner)
    for one, other in combinations(box.inner[:40], 2):
        apart = one.x + one.width <= other.x + 1e-6 or other.x + other.width <= one.x + 1e-6
        apart |= one.y + one.height <= other.y + 1e-6 or other.y + other.height <= one.y + 1e-6
        found += [] if apart else [f"{one.kind} over {other.kind} in {box.kind}"]
    if box.kind == "layer" and not (box.x <= box.axis - box.mark[0] / 2 + 1e-6 and box.mark[1] <= box.height):
        found.append(f"the rectangle of {box.label} is larger than its place")
    return found


def names(view: Box) -> list[str]:
    return [name for box in view.walk() if box.kind == "stage" for name in box.names][1:]


@pytest.mark.parametrize("level", ["stages", "rows"])
@pytest.mark.parametrize("name", NETWORKS)
def test_boxes_stand_apart_inside_the_view_and_in_order(name: str, level: Level) -> None:
    network = NETWORKS[name]()
    view = layout(network, level)
    assert faults(view) == []
    assert names(view) == [stage for stage, _ in network.body.layers]
    assert [box.names[0] for box in view.walk() if box.kind == "head"] == [head.name for head in network.heads]
    for box in view.walk():
        if box.kind in ("chain", "column"):
            assert all(upper.y + upper.height <= lower.y for upper, lower in pairwise(box.inner))
            assert all(isclose(inner.axis, box.axis) for inner in box.inner)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_row_branch_and_shortcut_is_drawn(name: str) -> None:
    network = NETWORKS[name]()
    boxes, costs = layout(network, "rows").walk(), count(network)
    inside = [layer for body in (network.body, *(head.body for head in network.heads)) for layer in kinds(body)]
    branches = [len(layer.branches) for layer in inside if isinstance(layer, Concat)]
    assert sorted(len(box.inner) for box in boxes if box.kind == "branches") == sorted(branches)
    residuals = [layer for layer in inside if isinstance(layer, Residual)]
    assert sum(box.kind == "residual" for box in boxes) == len(residuals)
    drawn = sorted(box.row.name for box in boxes if box.row)
    assert drawn == sorted(["input", *(row.name for row in (*costs.rows, *costs.head_rows))])


@pytest.mark.parametrize("name", NETWORKS)
def test_what_is_folded_is_still_counted(name: str) -> None:
    network = NETWORKS[name]()
    costs = count(network)
    rows = [box.row for box in layout(network).walk() if box.row]
    assert sum(row.params for row in rows) == costs.params + sum(row.params for row in costs.head_rows)
    assert sum(row.macs for row in rows) == costs.macs + sum(row.macs for row in costs.head_rows)


@pytest.mark.parametrize("name", ["alexnet", "googlenet", "resnet-50", "densenet-121"])
def test_the_area_of_a_box_follows_the_activations(name: str) -> None:
    boxes = [box for box in layout(NETWORKS[name](), "rows").walk() if box.row]
    areas = [(prod(box.row.output), prod(box.mark)) for box in boxes if box.row]
    assert all(one[1] < other[1] for one in areas for other in areas if one[0] < other[0])


def test_equal_blocks_of_a_stage_are_drawn_once() -> None:
    repeats = [box for box in layout(OWN).walk() if box.kind == "repeat"]
    assert [box.label for box in repeats] == ["\N{MULTIPLICATION SIGN} 6"]
    assert [box.row.params for box in repeats[0].walk() if box.row] == [6 * (8 * 8 * 9 + 8)]
    assert sum(box.kind == "residual" for box in layout(OWN, "rows").walk()) == 6


@pytest.mark.parametrize("heat", [None, *HEATS])
def test_svg_is_xml_that_needs_nothing_else(heat: str | None) -> None:
    text = svg(OWN, heat)  # type: ignore[arg-type]
    root = ElementTree.fromstring(text)
    assert root.get("aria-label") == OWN.name and root.findtext(f"{SVG}title") == OWN.name
    marks = [group for group in root.iter(f"{SVG}g") if group.get("role") == "img"]
    assert len(marks) == sum(box.kind == "layer" for box in layout(OWN).walk())
    assert all(mark.findtext(f"{SVG}title") for mark in marks)
    assert not any(word in text for word in ("<script", "href", "url(", "NaN", "nan"))


def test_the_warmest_box_costs_most() -> None:
    text = svg(NETWORKS["vgg-d"](), "params")
    warm = [line for line in text.splitlines() if 'fill="#800026"' in line and "<title>" in line]
    assert len(warm) == 1 and "fc6" in warm[0]


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_is_drawn_small(name: str) -> None:
    text = svg(NETWORKS[name](), "macs")
    assert ElementTree.fromstring(text).tag == f"{SVG}svg"
    assert len(text.encode()) < 60_000


def test_another_heat_is_refused() -> None:
    with pytest.raises(UsageError, match="macs, params, activations, field"):
        svg(OWN, "warm")  # type: ignore[arg-type]


def test_show_draws(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["show", "googlenet", "--draw", str(tmp_path / "a.svg"), "--heat", "macs"]) == 0
    assert (tmp_path / "a.svg").read_text("utf-8") == svg(NETWORKS["googlenet"](), "macs")
    assert cli.main(["show", "googlenet", "--draw", str(tmp_path / "a.html"), "--input", "3x256x256"]) == 0
    assert (tmp_path / "a.html").read_text("utf-8") == html(NETWORKS["googlenet"](), None, (3, 256, 256))
    assert cli.main(["show", "googlenet", "--draw", str(tmp_path / "a.pdf")]) == 2
    assert cli.main(["show", "googlenet", "--heat", "macs"]) == 2
    errors = capsys.readouterr().err
    assert ".svg, .png or .html" in errors and "--draw FILE.svg" in errors


def test_png_has_every_box_in_its_place_and_colour(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    assert cli.main(["show", "googlenet", "--draw", str(path), "--heat", "macs"]) == 0
    root = ElementTree.fromstring(svg(NETWORKS["googlenet"](), "macs"))
    with Image.open(path) as image:
        pixels = image.convert("RGB")
    assert pixels.size == (2 * int(root.get("width", "")), 2 * int(root.get("height", "")))
    marks = [rect for rect in root.iter(f"{SVG}rect") if rect.get("fill", "none") != "none"]
    assert len(marks) > 60
    for mark in marks:
        x, y, width, height = (float(mark.get(name, "")) for name in ("x", "y", "width", "height"))
        middle = pixels.getpixel((round(2 * x + width), round(2 * y + height)))
        assert middle == pytest.approx(ImageColor.getrgb(mark.get("fill", "")), abs=1)
    corner = pixels.getpixel((3, 3))
    assert corner == (255, 255, 255)


def test_what_is_too_long_for_png_is_refused_in_a_sentence() -> None:
    with pytest.raises(UsageError, match="too long for a PNG"):
        png('<svg xmlns="http://www.w3.org/2000/svg" width="10" height="70000"/>')


def test_a_notebook_shows_the_table_and_can_show_the_drawing() -> None:
    assert OWN._repr_svg_() == svg(OWN) and OWN._repr_html_().startswith("<table>")
