"""The drawing of a network as PNG: the marks of its SVG, drawn by matplotlib, which every installation has."""

import io
import re
from collections.abc import Iterator
from xml.etree import ElementTree

from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyBboxPatch, PathPatch, Rectangle
from matplotlib.path import Path
from matplotlib.transforms import Affine2D

from topfive.errors import UsageError
from topfive.report.figures.canvas import INK, families

SVG = "{http://www.w3.org/2000/svg}"
SHARP, PLAIN = 2, 1  # pixels for each of the SVG, and where that would be too many
LONGEST = 32_000  # pixels of a side; matplotlib ends at twice as many
LETTERS = 9.2  # pixels: DejaVu's are wider than those that a browser takes, and have the same room
STYLES = {  # of the rectangles of no layer
    "stage": {"facecolor": INK + "0d", "edgecolor": "none"},
    "dashed": {"facecolor": "none", "edgecolor": INK, "linestyle": (0, (4, 3)), "linewidth": 1},
}


def png(svg: str) -> bytes:
    """A drawing of `networks/drawing.py` as PNG, dark on white. Raises: UsageError where it is too long for one."""
    root = ElementTree.fromstring(svg)
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    longest = max(width, height)
    scale = SHARP if SHARP * longest <= LONGEST else PLAIN
    if scale * longest > 2 * LONGEST:
        raise UsageError(f"a drawing of {width:.0f} x {height:.0f} is too long for a PNG: --draw FILE.svg takes it")
    figure = Figure(figsize=(width / 72, height / 72), dpi=72 * scale, facecolor="white")
    # an SVG counts from the top, a figure from the bottom
    place = Affine2D().scale(1 / 72, -1 / 72).translate(0, height / 72) + figure.dpi_scale_trans
    for element in root.iter():
        for artist in _marks(element):
            artist.set_transform(place)
            figure.add_artist(artist)
        if element.tag == f"{SVG}text" and element.text:
            kind = element.get("class", "")
            figure.text(
                float(element.attrib["x"]),
                float(element.attrib["y"]),
                element.text,
                transform=place,
                fontsize=18 if kind == "title" else LETTERS,
                weight="bold" if kind in ("name", "title") else "normal",
                color=INK,
                family=families(element.text),
                parse_math=False,
            )
    written = io.BytesIO()
    figure.savefig(written, dpi=72 * scale, metadata={"Software": "topfive"})
    return written.getvalue()


def _marks(element: ElementTree.Element) -> Iterator[Artist]:
    """What is to be drawn of an element, in the SVG's own coordinates."""
    kind = element.get("class", "")
    match element.tag.removeprefix(SVG):
        case "rect":
            x, y, width, height = (float(element.attrib[name]) for name in ("x", "y", "width", "height"))
            if kind in STYLES:
                round_ = "round,pad=0,rounding_size=4"
                yield FancyBboxPatch((x, y), width, height, boxstyle=round_, **STYLES[kind])  # type: ignore[arg-type]
            else:
                fill = element.get("fill", "none")
                yield Rectangle((x, y), width, height, facecolor=fill, edgecolor=INK, linewidth=0.6)
        case "circle":
            x, y, radius = (float(element.attrib[name]) for name in ("cx", "cy", "r"))
            yield Circle((x, y), radius, facecolor="none", edgecolor=INK, linewidth=1)
        case "path":
            lines = (0, (4, 3)) if kind == "dashed" else "-"
            path = _path(element.attrib["d"])
            yield PathPatch(path, facecolor="none", edgecolor=INK, linewidth=1, linestyle=lines, capstyle="butt")


def _path(steps: str) -> Path:
    """The path of an SVG that moves (M, m) and draws along the axes (H, V, h, v) only."""
    places: list[tuple[float, float]] = []
    codes: list[int] = []
    x = y = 0.0
    for step, numbers in re.findall(r"([MmHVhv])([^MmHVhv]*)", steps):
        given = [float(number) for number in re.findall(r"-?\d+(?:\.\d+)?", numbers)]
        match step:
            case "M":
                x, y = given
            case "m":
                x, y = x + given[0], y + given[1]
            case "H":
                x = given[0]
            case "h":
                x += given[0]
            case "V":
                y = given[0]
            case "v":
                y += given[0]
        places.append((x, y))
        codes.append(int(Path.MOVETO if step in "Mm" else Path.LINETO))
    return Path(places, codes)
