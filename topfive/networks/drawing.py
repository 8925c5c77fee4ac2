"""A network drawn as SVG: boxes and lines where `boxes.py` places them. No script, no external asset.

Lines and text have the colour of the text around the drawing; a file of its own follows the reader's light or dark
mode.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from math import sqrt
from typing import Literal, TypeAlias

from topfive.errors import UsageError
from topfive.networks.boxes import BEND, GAP, LINE, MARGIN, SUM, TIMES, Box, Level, layout
from topfive.networks.costs import Row
from topfive.networks.layers import Network
from topfive.networks.receptive_fields import VALUE_BYTES

Heat: TypeAlias = Literal["macs", "params", "activations", "field"]

HEATS = {
    "macs": "multiply-adds",
    "params": "parameters",
    "activations": "activations written",
    "field": "receptive field, pixels",
}
STOPS = (255, 255, 204), (253, 141, 60), (128, 0, 38)  # ColorBrewer's YlOrRd: seen on light and on dark
KINDS = {  # Okabe-Ito
    "conv": ("convolution", "#56b4e9"),
    "pool": ("pooling", "#e69f00"),
    "linear": ("fully connected", "#009e73"),
    "": ("other", "#b0b0b0"),
}
STYLE = f"""\
svg:root{{color:#1b1b1b;background:#fff}}
@media(prefers-color-scheme:dark){{svg:root{{color:#e8e8e8;background:#16181c}}}}
.network{{font:11px/{LINE:g}px system-ui,sans-serif;max-width:100%;height:auto}}
.network text{{fill:currentColor}} .network .name{{font-weight:600}} .network .title{{font-size:18px;font-weight:600}}
.network path,.network circle{{fill:none;stroke:currentColor}} .network .mark{{stroke:currentColor;stroke-width:.6}}
.network .stage{{fill:currentColor;fill-opacity:.05}}
.network .dashed{{fill:none;stroke:currentColor;stroke-dasharray:4 3}}
"""


def svg(
    network: Network, heat: Heat | None = None, level: Level = "stages", input: tuple[int, int, int] | None = None
) -> str:
    """The drawing of a network, to stand alone or in a page; colours are those of `heat`, or of kinds of layers.

    `input` is (channels, height, width), by default the paper's. Repeated blocks that are drawn once have the costs of
    all, and the receptive field of the last; the colour grows with the square root of the cost.

    Raises: UsageError for another heat; SizeError where the input does not fit.
    """
    if heat is not None and heat not in HEATS:
        raise UsageError(f"no heat is called {heat!r}: {', '.join(HEATS)}")
    view = layout(network, level, input)
    boxes = [box for box in view.walk() if box.row]
    most = max((_value(box.row, heat) for box in boxes if box.row and heat), default=0.0)
    size = f"{view.width:.0f}", f"{view.height:.0f}"
    name = escape(network.name)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="network" width="{size[0]}" height="{size[1]}" '
        f'viewBox="0 0 {size[0]} {size[1]}" role="figure" aria-label="{name}">',
        f"<title>{name}</title><desc>{escape(_description(view, level))}</desc><style>{STYLE}</style>",
        f'<text class="title" x="{MARGIN:g}" y="28">{name}</text>',
        *_legend(heat, most),
        *_lines(view),
        *_drawn(view, heat, most),
        "</svg>\n",
    ]
    return "\n".join(parts)


def html(network: Network, heat: Heat | None = None, input: tuple[int, int, int] | None = None) -> str:
    """A page with both levels of the drawing. Raises: as `svg`."""
    name = escape(network.name)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><meta name="color-scheme" content="light dark">\n'
        f'<meta name="viewport" content="width=device-width"><title>{name}</title></head><body>\n'
        f"{svg(network, heat, 'stages', input)}<details><summary>Every layer</summary>\n"
        f"{svg(network, heat, 'rows', input)}</details></body></html>\n"
    )


def _description(view: Box, level: Level) -> str:
    stages = [box for box in view.walk() if box.kind == "stage"]
    names = ", ".join(name for stage in stages[1:] for name in stage.names)
    return f"{'Stages' if level == 'stages' else 'All layers'}, from the input downward and to the right: {names}."


def _value(row: Row, heat: Heat) -> float:
    match heat:
        case "macs":
            return row.macs
        case "params":
            return row.params
        case "activations":
            return row.activation_bytes / VALUE_BYTES
        case "field":
            return max(row.receptive_field)


def _colour(row: Row, heat: Heat | None, most: float) -> str:
    if heat is None:
        return next(colour for kind, (_, colour) in KINDS.items() if kind in row.layer)
    return _warmth(sqrt(_value(row, heat) / most) if most else 0)


def _warmth(share: float) -> str:
    low, high = (STOPS[0], STOPS[1]) if share < 0.5 else (STOPS[1], STOPS[2])
    place = share * 2 % 1 if share < 1 else 1.0
    return "#" + "".join(f"{round(a + (b - a) * place):02x}" for a, b in zip(low, high))


def _short(number: float) -> str:
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return f"{number:.3g}"


def _legend(heat: Heat | None, most: float) -> Iterator[str]:
    """What the colours mean, and what the sizes do."""
    if heat is None:
        entries = list(KINDS.values())
    else:
        entries = [(_short(most * share**2), _warmth(share)) for share in (0, 0.25, 0.5, 0.75, 1)]
    x = MARGIN
    if heat:
        yield f'<text x="{x:g}" y="50">{HEATS[heat]}</text>'
        x += 150
    for text, colour in entries:
        yield f'<rect class="mark" x="{x:g}" y="40" width="14" height="12" fill="{colour}"/>'
        yield f'<text x="{x + 19:g}" y="50">{text}</text>'
        x += 120
    said = "Width: square root of the maps' side; height, area: fourth root of the channels, of the activations."
    if heat:
        said += f" Colour where {TIMES} n: {'the last copy' if heat == 'field' else 'all copies together'}."
    yield f'<text x="{MARGIN:g}" y="70">{said}</text>'


def _drawn(box: Box, heat: Heat | None, most: float) -> Iterator[str]:
    """The rectangles and texts of a box and of all inside it."""
    match box.kind:
        case "layer":
            yield _layer(box, heat, most)
        case "stage":
            yield f'<g role="group" aria-label="{escape(", ".join(box.names))}">'
            yield _frame(box, "stage")
            *names, output = box.label.split("\n")
            for n, line in enumerate((*names, output)):
                name = ' class="name"' if line is not output else ""
                yield f'<text{name} x="{_n(box.x + GAP)}" y="{_n(box.y + GAP + LINE * n + 11)}">{escape(line)}</text>'
        case "head":
            yield f'<g role="group" aria-label="auxiliary classifier {escape(box.label)}">'
            yield f'<text class="name" x="{_n(box.axis + GAP)}" y="{_n(box.y + 10)}">{escape(box.label)}</text>'
        case "repeat":
            yield _frame(box, "dashed")
            right = box.inner[0].x + box.inner[0].width + GAP
            yield f'<text class="name" x="{_n(right)}" y="{_n(box.y + 14)}">{escape(box.label)}</text>'
        case "residual":
            x, y = _n(box.axis), box.y + box.height - BEND - SUM / 2
            yield f'<circle cx="{x}" cy="{_n(y)}" r="5"/><path d="M{x} {_n(y - 5)}v10m-5-5h10"/>'
    for inside in box.inner:
        yield from _drawn(inside, heat, most)
    if box.kind in ("stage", "head"):
        yield "</g>"


def _layer(box: Box, heat: Heat | None, most: float) -> str:
    row, (width, height) = box.row, box.mark
    assert row is not None
    costs = (
        f"{row.macs:,} multiply-adds, {row.params:,} parameters, {row.activation_bytes // VALUE_BYTES:,} activations"
    )
    field = f"receptive field {_by_x(row.receptive_field)}"
    title = escape(f"{row.name}: {row.layer}, {_by_x(row.output)}; {costs}; {field}")
    middle = box.y + box.height / 2
    text = f'<text x="{_n(box.axis + width / 2 + 4)}" y="{_n(middle + 4)}">{escape(box.label)}</text>' * bool(box.label)
    colour = _colour(row, heat, most) if row.name != "input" else "none"
    return (
        f'<g role="img"><title>{title}</title><rect class="mark" x="{_n(box.axis - width / 2)}" '
        f'y="{_n(middle - height / 2)}" width="{_n(width)}" height="{_n(height)}" fill="{colour}"/>{text}</g>'
    )


def _frame(box: Box, name: str) -> str:
    x, y, width, height = map(_n, (box.x, box.y, box.width, box.height))
    return f'<rect class="{name}" x="{x}" y="{y}" width="{width}" height="{height}" rx="4"/>'


def _lines(view: Box) -> Iterator[str]:
    """The lines that data follow, as one path; those to auxiliary classifiers are dashed."""
    boxes = view.walk()
    yield f'<path d="{"".join(step for box in boxes for step in _path(box))}"/>'
    heads = "".join(step for box in boxes if box.kind == "stage" for step in _to_heads(box))
    if heads:
        yield f'<path class="dashed" d="{heads}"/>'


def _path(box: Box) -> Iterator[str]:
    """What joins a box's parts with each other and with its upper and lower end."""
    end = box.y + box.height
    match box.kind:
        case "layer":
            above = box.y + (box.height - box.mark[1]) / 2
            yield from (_down(box.axis, box.y, above), _down(box.axis, above + box.mark[1], end))
        case "wire":
            yield _down(box.axis, box.y, end)
        case "chain" | "column":
            for upper, lower in zip(box.inner, box.inner[1:]):
                yield _down(box.axis, upper.y + upper.height, lower.y)
        case "branches":
            first, last = box.inner[0].axis, box.inner[-1].axis
            for y in (box.y + BEND / 2, end - BEND / 2):
                yield f"M{_n(first)} {_n(y)}H{_n(last)}"
            yield _down(box.axis, box.y, box.y + BEND / 2) + _down(box.axis, end - BEND / 2, end)
            for branch in box.inner:
                yield _down(branch.axis, box.y + BEND / 2, branch.y)
                yield _down(branch.axis, branch.y + branch.height, end - BEND / 2)
        case "residual":
            body, shortcut = box.inner
            total = end - BEND - SUM / 2
            yield _down(box.axis, box.y, body.y) + _down(box.axis, body.y + body.height, total - 5)
            yield _down(box.axis, total + 5, end)
            yield f"M{_n(box.axis)} {_n(box.y + BEND / 2)}H{_n(shortcut.axis)}V{_n(shortcut.y)}"
            yield f"M{_n(shortcut.axis)} {_n(shortcut.y + shortcut.height)}V{_n(total)}H{_n(box.axis + 5)}"
        case "repeat" | "stage":
            inner = box.inner[0]
            yield _down(box.axis, box.y, inner.y) + _down(box.axis, inner.y + inner.height, end)
        case "head":
            yield _down(box.axis, box.y, box.inner[0].y)
        case "network":
            for left, right in zip(box.inner, box.inner[1:]):
                below, between = left.y + left.height + MARGIN / 2, (left.x + left.width + right.x) / 2
                yield f"M{_n(left.axis)} {_n(below - MARGIN / 2)}V{_n(below)}H{_n(between)}V{_n(right.y - GAP)}"
                yield f"H{_n(right.axis)}V{_n(right.y)}"


def _to_heads(stage: Box) -> Iterator[str]:
    end = stage.y + stage.height - GAP / 2
    for head in stage.inner[1:]:
        yield f"M{_n(stage.axis)} {_n(end)}H{_n(head.x - GAP)}V{_n(stage.y + GAP / 2)}H{_n(head.axis)}V{_n(head.y)}"


def _down(x: float, start: float, end: float) -> str:
    return f"M{_n(x)} {_n(start)}V{_n(end)}" if end > start else ""


def _n(number: float) -> str:
    """A coordinate, to a tenth of a pixel."""
    return f"{number:.1f}".removesuffix(".0")


def _by_x(sizes: tuple[int, ...]) -> str:
    return TIMES.join(map(str, sizes))
