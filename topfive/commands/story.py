"""The story of the networks as one page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from topfive.console import bar, say, version
from topfive.errors import DataError, UsageError

if TYPE_CHECKING:
    from PIL import Image

    from topfive.engine.inference.models import Model
    from topfive.report.pages.browser import Browser
    from topfive.results.activations import Activations

SIDE = 480  # pixels of the longer side of the page's image
EXPERIMENTS = Path("runs/experiments")


def story(
    *,
    out: str = "story.html",
    image: Path | None = None,
    model: str | None = None,
    browser: Path | None = None,
    experiments: Path | None = None,
    compare: Path | None = None,
    language: Literal["en", "ko"] = "en",
    quiet: bool = False,
) -> None:
    """Tell how convolutional networks became deep, on one page: timeline, every network, ideas before and after.

    It opens from disk, in English and Korean, and loads nothing but what --browser puts beside it. Its numbers are
    those of 'topfive show'; verdicts are those of the experiments that were run here.

    Parameters
    ----------
    out
        The page.
    image
        The image that receptive fields are shown on; by default a cat.
    model
        A model, as predict takes it: the page shows what it makes of the image, row by row.
    browser
        With --model, a folder to write beside the page: the model exported, and onnxruntime for browsers, which is
        fetched once from the npm registry (33 MB). The page then classifies your own images in the browser.
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
    if browser is not None and model is None:
        raise UsageError("--browser classifies by a model of yours: it needs --model RUN")
    shown, own = _opened(image), read_rows(compare) if compare else ()
    opened = _model(model) if model else None
    seen = _activations(opened, shown) if opened else None
    told = telling.story(kept_below(experiments or EXPERIMENTS), own, seen)
    live = _browser(Path(out), browser, opened, shown, quiet) if browser and opened else None
    say(str(render(Path(out), told, _embedded(shown), language, live)), quiet)


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


def _model(model: str) -> Model:
    from topfive.engine.inference.models import open_model

    return open_model(model)


def _activations(model: Model, image: Image.Image) -> Activations:
    from topfive.engine.inference.activations import activations

    return activations(model, image)


def _browser(page: Path, folder: Path, model: Model, image: Image.Image, quiet: bool) -> Browser:
    """Write the folder beside the page. Raises: UsageError, RefusedError, DataError, ResourceError."""
    from topfive.data.onnxruntime_web import runtime
    from topfive.engine.benchmark.machine import this_machine
    from topfive.engine.inference.export import verified_files
    from topfive.engine.inference.exported import IMAGES, PROBABILITIES
    from topfive.report.pages import browser as beside
    from topfive.results.progress import counting

    place = beside.beside(page, folder)  # before anything is fetched
    with bar(quiet) as progress:
        parts = runtime(folder, progress=counting(progress, "MB", 1e6))
    threads = this_machine("cpu").threads
    shown = [lambda: ("the page's image", image)]
    files, verified = verified_files(model, "onnx", version(), shown, threads, None)
    say(str(verified), quiet)
    scripts = beside.write(folder, parts, files[".onnx"])
    about = model.about
    return beside.Browser(place, scripts, IMAGES, PROBABILITIES, about.names, about.upright)


def _embedded(image: Image.Image) -> str:
    """The image as a data URI."""
    import base64
    from io import BytesIO

    small, buffer = image.copy(), BytesIO()
    small.thumbnail((SIDE, SIDE))
    small.save(buffer, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
