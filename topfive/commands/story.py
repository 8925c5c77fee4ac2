"""The story of the networks as one page."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from topfive.console import say
from topfive.errors import DataError

SIDE = 480  # pixels of the longer side of the page's image
EXPERIMENTS = Path("runs/experiments")


def story(
    *,
    out: str = "story.html",
    image: Path | None = None,
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

    if experiments is not None and not experiments.is_dir():
        raise DataError(
            f"--experiments {str(experiments)!r} is no folder: give the one that 'topfive experiment' wrote"
        )
    shown, own = _image(image), read_rows(compare) if compare else ()
    told = telling.story(kept_below(experiments or EXPERIMENTS), own)
    say(str(render(Path(out), told, shown, language)), quiet)


def _image(path: Path | None) -> str:
    """An image as a data URI. Raises: DataError where it cannot be read."""
    import base64
    from io import BytesIO

    from topfive.data.decoding import decode
    from topfive.report.pages import story

    if path is None:
        data = Path(story.__file__).with_name("story.jpg").read_bytes()
    else:
        try:
            data = path.read_bytes()
        except OSError as error:
            raise DataError(f"--image {str(path)!r} cannot be read: {error.strerror}") from None
        shown = decode(data, str(path)).image
        shown.thumbnail((SIDE, SIDE))
        buffer = BytesIO()
        shown.save(buffer, "JPEG", quality=85)
        data = buffer.getvalue()
    return "data:image/jpeg;base64," + base64.b64encode(data).decode()
