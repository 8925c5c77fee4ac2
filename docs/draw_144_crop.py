"""Draws docs/144-crop.png, GoogLeNet's 144 views of one image: `python docs/draw_144_crop.py [IMAGE]`.

Without an image it is a cup of coffee, a photograph by Rachel Michetti that scikit-image brings along (CC0).
"""

import sys
from pathlib import Path

from matplotlib.font_manager import findfont
from PIL import Image, ImageDraw, ImageFont

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from topfive.data.decoding import decode  # noqa: E402
from topfive.data.views import views  # noqa: E402
from topfive.recipes.protocols import Box, get  # noqa: E402
from topfive.report.figures.canvas import COLOURS, INK, MUTED  # noqa: E402

OUT = ROOT / "docs" / "144-crop.png"
SIZE = 224
SCALES, SQUARES, CROPS = 4, 3, 6
SQUARE_COLOURS = COLOURS["VGG"], COLOURS["ResNet"], COLOURS["Inception"]
CROP_NAMES = "top left", "top right", "bottom left", "bottom right", "centre", "whole square"
MARGIN, GAP, CELL, SHOWN = 24, 4, 62, 0.5  # pixels of the sheet; SHOWN: of a scaled image's side at the top
THUMBNAIL, LEFT = 92, 190  # width of the images beside the rows; where the columns begin
PAIR = 2 * CELL + GAP
WIDTH = LEFT + CROPS * (PAIR + 10) - 10 + MARGIN


def figure(image: Image.Image) -> Image.Image:
    """The image at four scales with its squares; below it the views, a row for a square and a column for a crop."""
    protocol = get("144-crop")
    wanted, pixels = protocol.views(*image.size, SIZE), list(views(image, protocol, SIZE))
    rows = [range(first, first + 2 * CROPS) for first in range(0, len(wanted), 2 * CROPS)]
    squares = [wanted[row[-1]] for row in rows]  # the last crop of a square is the square itself
    places = ("left", "centre", "right") if image.width >= image.height else ("top", "centre", "bottom")

    tallest = round(SHOWN * squares[-1].scaled[1])
    grid = MARGIN + 70 + tallest + 190
    sheet = Image.new("RGB", (WIDTH, grid + len(rows) * (CELL + GAP) + (SCALES - 1) * 10 + MARGIN), "white")
    draw = ImageDraw.Draw(sheet)
    small, large = (ImageFont.truetype(findfont("DejaVu Sans"), size) for size in (13, 17))

    draw.text((MARGIN, MARGIN), f"The image at {SCALES} scales; in each, {SQUARES} squares:", INK, large)
    at = MARGIN + draw.textlength(f"The image at {SCALES} scales; in each, {SQUARES} squares:  ", large)
    for place, colour in zip(places, SQUARE_COLOURS):
        draw.text((at, MARGIN), place, colour, large, stroke_width=0.4)
        at += draw.textlength(f"{place}  ", large)
    widths = [round(SHOWN * squares[SQUARES * n].scaled[0]) for n in range(SCALES)]
    space = (WIDTH - 2 * MARGIN - sum(widths)) / (SCALES - 1)
    for n, side in enumerate(protocol.sides(SIZE)):
        shown = (widths[n], round(SHOWN * squares[SQUARES * n].scaled[1]))
        x, y = round(MARGIN + sum(widths[:n]) + n * space), MARGIN + 58 + tallest - shown[1]
        draw.text((x, y - 6), f"shorter side {side}", MUTED, small, "ls")
        sheet.paste(image.resize(shown), (x, y))
        for i in range(SQUARES):
            left, top, right, bottom = (SHOWN * edge for edge in squares[SQUARES * n + i].box)
            inset = 4 * i  # so that no frame hides another
            frame = (x + left, y + top + inset, x + right - 1, y + bottom - 1 - inset)
            draw.rectangle(frame, outline="white", width=4)
            draw.rectangle(frame, outline=SQUARE_COLOURS[i], width=3)

    draw.text(
        (MARGIN, grid - 160),
        f"{CROPS} crops of\neach square,\nplain and\nmirrored:\n{SCALES}×{SQUARES}×{CROPS}×2 = {len(wanted)}",
        INK,
        large,
        spacing=7,
    )
    example = squares[-2]  # the centre square of the largest scale
    whole = image.resize(example.scaled)
    for n, name in enumerate(CROP_NAMES):
        x = LEFT + n * (PAIR + 10)
        part = wanted[rows[-2][2 * n]].box
        sheet.paste(_lit(whole, part, INK, 8).crop(example.box).resize((PAIR, PAIR)), (x, grid - PAIR - 30))
        draw.text((x + PAIR / 2, grid - 14), name, INK, small, "mm")

    for n, row in enumerate(rows):
        y = grid + n * (CELL + GAP) + n // SQUARES * 10
        scaled = squares[n].scaled
        lit = _lit(image.resize(scaled), squares[n].box, SQUARE_COLOURS[n % SQUARES], 14)
        thumbnail = lit.resize((THUMBNAIL, round(THUMBNAIL * scaled[1] / scaled[0])))
        thumbnail.thumbnail((THUMBNAIL, CELL))
        sheet.paste(thumbnail, (LEFT - 14 - thumbnail.width, y + (CELL - thumbnail.height) // 2))
        if n % SQUARES == 1:
            draw.text((MARGIN, y + CELL / 2), str(min(scaled)), INK, large, "lm")
        for column, view in enumerate(row):
            x = LEFT + column * (CELL + GAP) + column // 2 * (10 - GAP)
            sheet.paste(Image.fromarray(pixels[view]).resize((CELL, CELL)), (x, y))
    return sheet


def _lit(image: Image.Image, box: Box, colour: str, width: int) -> Image.Image:
    """The image with all but `box` faded, and a frame of `width` pixels around it."""
    faded = Image.blend(image, Image.new("RGB", image.size, "white"), 0.7)
    faded.paste(image.crop(box), box)
    ImageDraw.Draw(faded).rectangle((box[0], box[1], box[2] - 1, box[3] - 1), outline=colour, width=width)
    return faded


def main(arguments: list[str]) -> int:
    if arguments:
        image = decode(Path(arguments[0]).read_bytes(), arguments[0]).image
    else:
        from skimage.data import coffee

        image = Image.fromarray(coffee())
    # why: 256 colours, a third of the bytes, and no difference that matters here
    figure(image).quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.FLOYDSTEINBERG).save(OUT, optimize=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
