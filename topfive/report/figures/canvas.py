"""The sheet that figures are drawn on: letters, colours, layout, and how a figure becomes a file or SVG in a page."""

import io
import re
import threading
import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import matplotlib.font_manager as fonts
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle
from matplotlib.text import Text
from matplotlib.transforms import Affine2D

INK, MUTED, FAINT = "#1b1b1d", "#6a6a70", "#dadade"
# Okabe and Ito's colours, told apart by the colour-blind; a user's own network is drawn in the colour of the text
COLOURS = {
    "AlexNet": "#e69f00",
    "VGG": "#d55e00",
    "Inception": "#009e73",
    "plain": "#999999",
    "ResNet": "#0072b2",
    "DenseNet": "#cc79a7",
    "compact": "#56b4e9",
    "shallow": MUTED,
    "yours": INK,
}
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.6)), (0, (1.2, 1.4)), (0, (6, 1.6, 1.2, 1.6)), (0, (9, 3)))
DPI = 200
_FONT = "DejaVu Sans"  # why: shipped with matplotlib, so that every machine measures and draws the same letters
# families of other letters that systems have, by how their names begin; those of Chinese, Japanese and Korean first
_OTHERS = (
    "Noto Sans CJK", "Source Han Sans", "Noto Sans KR", "Noto Sans JP", "Noto Sans SC", "Noto Sans TC",
    "Apple SD Gothic", "Hiragino Sans", "PingFang", "Malgun Gothic", "Yu Gothic", "Microsoft YaHei", "NanumGothic",
    "IPAexGothic", "IPAGothic", "TakaoGothic", "WenQuanYi", "SimHei", "MS Gothic", "Droid Sans Fallback",
    "Noto Serif CJK", "Arial Unicode", "Unifont", "Noto Sans",
)  # fmt: skip
_SETTINGS = threading.Lock()
# why: of a letter that no font here has, a box is drawn; a page's reader may have one. Here once, because changing the
# filters at every figure is not safe among threads
warnings.filterwarnings("ignore", message=r"Glyph \d+ ")


def families(text: str) -> list[str]:
    """The fonts that `text` is drawn with: the one of all machines, and for what it lacks those of this one."""
    return [_FONT] if text.isascii() or _letters().issuperset(map(ord, text)) else [_FONT, *_others()]


@cache
def _letters() -> frozenset[int]:
    return frozenset(fonts.get_font(fonts.findfont(_FONT)).get_charmap())


@cache
def _others() -> list[str]:
    names = sorted({entry.name for entry in fonts.fontManager.ttflist})
    return list(dict.fromkeys(name for start in _OTHERS for name in names if name.startswith(start)))[:20]


class Sheet:
    """A figure that is written on in points, and that measures what is written."""

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = width, height
        self.figure = Figure(figsize=(width / 72, height / 72), dpi=DPI, facecolor="white")
        self._renderer = FigureCanvasAgg(self.figure).get_renderer()  # type: ignore[no-untyped-call]
        self.points = Affine2D().scale(1 / 72) + self.figure.dpi_scale_trans

    def write(self, x: float, y: float, text: str, size: float = 9, **style: Any) -> Text:
        style = {"ha": "left", "va": "baseline", "color": INK, "family": families(text), **style}
        return self.figure.text(x, y, text, fontsize=size, transform=self.points, parse_math=False, **style)

    def measure(self, text: str, size: float, **style: Any) -> tuple[float, float]:
        probe = self.write(0, 0, text, size, **style)
        box = probe.get_window_extent(self._renderer)
        probe.remove()
        return box.width * 72 / DPI, box.height * 72 / DPI

    def wrap(self, text: str, width: float, size: float, **style: Any) -> list[str]:
        lines: list[str] = []
        for word in text.split():
            longer = f"{lines[-1]} {word}" if lines else word
            if lines and self.measure(longer, size, **style)[0] <= width:
                lines[-1] = longer
            else:
                lines.append(word)
        return lines

    def paragraph(self, x: float, top: float, text: str, width: float, size: float, **style: Any) -> float:
        """Write wrapped text below `top`; the lower end of it."""
        for line in self.wrap(text, width, size, **style):
            top -= 1.38 * size
            self.write(x, top + 0.28 * size, line, size, **style)
        return top

    def keys(self, keys: Sequence[tuple[str, str]], left: float, top: float) -> float:
        """Names, each with a dot of its colour, in as many lines as they take; the lower end of them."""
        size, x, y = 8.5, left, top - 12
        for name, colour in keys:
            needed = self.measure(name, size)[0] + 24
            if x > left and x + needed - 14 > self.width - 8:
                x, y = left, y - 13
            dot = Circle((x + 4, y + 3), 3.6, facecolor=colour, edgecolor="none", transform=self.points)
            self.figure.add_artist(dot)
            self.write(x + 11, y, name, size, color=MUTED)
            x += needed
        return y - 4 if keys else top

    def heading(self, title: str, narrow: bool, gap: float = 4) -> float:
        """Write the title, if any, at the top; the lower end of it."""
        top = self.height - 4
        return (
            self.paragraph(8, top, title, self.width - 16, 11 if narrow else 13, weight="bold") - gap if title else top
        )

    def axes(self, left: float, bottom: float, right: float, top: float) -> Axes:
        w, h = self.width, self.height
        axes = self.figure.add_axes((left / w, bottom / h, (right - left) / w, (top - bottom) / h))
        axes.set_axisbelow(True)
        axes.tick_params(colors=MUTED, labelcolor=MUTED, labelsize=8.5, labelfontfamily=_FONT, length=0, pad=5)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.spines["bottom"].set_color(MUTED)
        axes.spines["bottom"].set_linewidth(0.8)
        axes.grid(True, axis="y", color=FAINT, linewidth=0.7)
        return axes

    def at(self, axes: Axes, x: float, y: float) -> tuple[float, float]:
        """Where a point of the data lies on the sheet."""
        place = axes.transData.transform((x, y)) * 72 / DPI
        return float(place[0]), float(place[1])


def colour_of(family: str) -> str:
    return COLOURS.get(family, MUTED)


def limits(values: Sequence[tuple[float, float]], span: float, least: float) -> tuple[float, float]:
    """Ends of an axis of `span` points on which every (value, points around it) lies; at least `least` apart."""
    low = min((value for value, _ in values), default=0.0)
    high = max((value for value, _ in values), default=1.0)
    if high - low < least:
        low, high = (low + high - least) / 2, (low + high + least) / 2
    for _ in range(12):
        per_point = (high - low) / span
        low = min([low, *(value - around * per_point for value, around in values)])
        high = max([high, *(value + around * per_point for value, around in values)])
    return low, high


class End(NamedTuple):
    """Where a line ends, and what it is called."""

    x: float
    y: float
    name: str
    colour: str
    gid: str | None = None


def name_ends(sheet: Sheet, axes: Axes, frame: tuple[float, ...], ends: Sequence[End], size: float) -> None:
    """The lines' names at the right of the frame (left, bottom, right, top), none on another."""
    wanted = [sheet.at(axes, end.x, end.y) for end in ends]
    levels = _spread([y for _, y in wanted], 1.25 * size, frame[1], frame[3])
    for (x, y), level, end in zip(wanted, levels, ends, strict=True):
        leader = Line2D([x + 2, frame[2] + 4, frame[2] + 9], [y, level, level], color=end.colour, linewidth=0.8)
        leader.set_transform(sheet.points)
        sheet.figure.add_artist(leader)
        sheet.write(frame[2] + 12, level, end.name, size, va="center_baseline", gid=end.gid)


def _spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Heights in the order of `wanted`, at least `gap` apart, as near to it and as much between the ends as can be."""
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    groups: list[tuple[list[int], float]] = []  # members from below, and the middle of the block they form
    for i in order:
        members, middle = [i], wanted[i]
        while groups and middle - groups[-1][1] < gap * (len(members) + len(groups[-1][0])) / 2:
            below, at = groups.pop()
            middle = (middle * len(members) + at * len(below)) / (len(members) + len(below))
            members = below + members
        groups.append((members, middle))
    levels = [0.0] * len(wanted)
    for members, middle in groups:
        for k, i in enumerate(members):
            levels[i] = middle + gap * (k - (len(members) - 1) / 2)
    # why: push back inside from above, then from below, so that the ends hold where there is room
    ceiling, floor = high, low
    for i in reversed(order):
        levels[i] = min(levels[i], ceiling)
        ceiling = levels[i] - gap
    for i in order:
        levels[i] = max(levels[i], floor)
        floor = levels[i] + gap
    return levels


def save(figure: Figure, path: Path | str) -> list[Path]:
    """Write the figure as PNG for people and SVG for papers; `path` without a suffix, or with either."""
    stem = Path(path)
    stem = stem.with_suffix("") if stem.suffix in (".png", ".svg") else stem
    written = [stem.with_name(f"{stem.name}.png"), stem.with_name(f"{stem.name}.svg")]
    figure.savefig(written[0], dpi=DPI, metadata={"Software": "topfive"})
    figure.savefig(written[1], metadata={"Date": None, "Creator": "topfive"})
    return written


def svg(figure: Figure, prefix: str, label: str, points: Mapping[str, str] | None = None) -> str:
    """The figure as a piece of a page: text as text, ink in the colour of the page's text, every id led by `prefix`.

    `points` gives what the points of some gids say (their `aria-label`); these can then be reached by keyboard.
    """
    written = io.StringIO()
    with _SETTINGS, mpl.rc_context({"svg.fonttype": "none"}):
        figure.savefig(
            written, format="svg", transparent=True, metadata=dict.fromkeys(("Date", "Creator", "Type", "Format"))
        )
    text = written.getvalue()
    body = text[text.index(">", text.index("<svg")) + 1 :]
    for unwanted in (r"<!--.*?-->", r"<metadata>.*?</metadata>", r"<style.*?</style>"):
        body = re.sub(unwanted, "", body, flags=re.DOTALL)
    body = body.replace("xlink:href=", "href=")
    # why: a page gives the letters its own font; ink follows its text, in the light and in the dark
    body = re.sub(r"font: ([^;\"]*?)'[^;\"]*", lambda match: _font(match[1]), body)
    body = re.sub(r"font-family: [^;\"]*;? ?", "", body)
    for ink, strength in ((INK, 1.0), (MUTED, 0.66), (FAINT, 0.16)):
        for use in ("fill", "stroke"):
            body = body.replace(f"{use}: {ink}; {use}-opacity", f"{use}: currentColor; {use}-opacity")
            faded = "" if strength == 1 else f"; {use}-opacity: {strength}"
            body = body.replace(f"{use}: {ink}", f"{use}: currentColor{faded}")
    ids: dict[str, str] = {}
    for found in re.findall(r'\bid="([^"]+)"', body):
        known = found.startswith(("point-", "label-", "front"))
        ids[found] = f"{prefix}-{found}" if known else f"{prefix}-{len(ids)}"
    body = re.sub(r'(\bid="|href="#)([^"]+)"', lambda m: f'{m[1]}{ids[m[2]]}"', body)
    body = re.sub(r"url\(#([^)]+)\)", lambda m: f"url(#{ids[m[1]]})", body)
    for gid, says in (points or {}).items():
        mark = f'id="{prefix}-{gid}"'
        spoken = f'{mark} class="point" data-point="{gid}" tabindex="0" role="img" aria-label="{_attribute(says)}"'
        body = body.replace(mark, spoken)
        name = f'id="{prefix}-{gid.replace("point-", "label-", 1)}"'
        body = body.replace(name, f'{name} data-label="{gid}"')
    width, height = (72 * float(side) for side in figure.get_size_inches())
    role = "group" if points else "img"
    return (
        f'<svg viewBox="6 0 {width - 12:g} {height:g}" role="{role}" aria-label="{_attribute(label)}"'
        f' style="stroke-linejoin: round; stroke-linecap: butt">{body}'
    )


def _font(shorthand: str) -> str:
    """`italic bold 9px ` of a font shorthand as properties of their own, without a family."""
    kept = []
    for word in shorthand.split():
        if word in ("italic", "oblique"):
            kept.append(f"font-style: {word}")
        elif word.endswith("px"):
            kept.append(f"font-size: {word}")
        else:
            kept.append(f"font-weight: {word}")
    return "; ".join(kept)


def _attribute(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")
