"""The story of the networks as one page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from topfive.console import say
from topfive.errors import DataError, UsageError

if TYPE_CHECKING:
    from PIL import Image

    from topfive.results.activations import Activations

SIDE = 480  # pixels of the longer side of the page's image
EXPERIMENTS = Path("runs/experiments")


def story(
    *,
    out: str = "story.html",
    image: Path | None = None,
    model: str | None = None,
    experiments: Path | None = None,
    compare: Path | None = None,
    language: Literal["en", "ko"] = "en",
    quiet: bool = False,
) -> None:
    """Tell how convolutional networks became deep, on one page: timeline, every network, ideas before and after.

    It opens from disk, in English and Korean, and loads nothing. Its numbers are those of 'topfive show'; verdicts are
    those of the experiments that were run here.

    Parameters
    ----------
    out
        The page.
    image
        The image that receptive fields are shown on; by default a cat.
    model
        A model, as predict takes it: the page shows what it makes of the image, row by row.
    experiments
        A folder with experiments of 'topfive experiment'; by default runs/experiments.
    compare
        What 'topfive compare --format json' printed, in a file: a second layer in the figure of accuracy.
    language
        What the page opens in, en or ko; it holds both.
    quiet
        Say nothing.
    """
    from topfive.report import story as telling
    from topfive.report.pages.story import render
    from topfive.results.comparisons import read_rows
    from topfive.results.experiments import kept_below

    if Path(out).is_dir():
        raise UsageError(f"--out {out!r} is a folder: name a file in it, such as {str(Path(out) / 'story.html')!r}")
    if experiments is not None and not experiments.is_dir():
        raise DataError(
            f"--experiments {str(experiments)!r} is no folder: give the one that 'topfive experiment' wrote"
        )
    shown, own = _opened(image), read_rows(compare) if compare else ()
    seen = _activations(model, shown) if model else None
    told = telling.story(kept_below(experiments or EXPERIMENTS), own, seen)
    say(str(render(Path(out), told, _embedded(shown), language)), quiet)


def _opened(path: Path | None) -> Image.Image:
    """The image that the page shows. Raises: DataError where it cannot be read."""
    from topfive.data.decoding import decode
    from topfive.report.pages import story

    place = path or Path(story.__file__).with_name("story.jpg")
    try:
        data = place.read_bytes()
    except OSError as error:
        raise DataError(f"--image {str(place)!r} cannot be read: {error.strerror}") from None
    return decode(data, str(place)).image


def _activations(model: str, image: Image.Image) -> Activations:
    from topfive.engine.inference.activations import activations
    from topfive.engine.inference.models import open_model

    return activations(open_model(model), image)


def _embedded(image: Image.Image) -> str:
    """The image as a data URI."""
    import base64
    from io import BytesIO

    small, buffer = image.copy(), BytesIO()
    small.thumbnail((SIDE, SIDE))
    small.save(buffer, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
