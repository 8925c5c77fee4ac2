"""`topfive export`: a trained network as a file for other programs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Literal

from topfive.commands.models import examine
from topfive.console import bar, say, version
from topfive.errors import DataError, UsageError

if TYPE_CHECKING:
    from PIL import Image

    from topfive.data.sources import Item, Source
    from topfive.data.unlabelled import UnlabelledImage
    from topfive.engine.inference.models import Model
    from topfive.engine.inference.verification import Read

LARGEST = 1024  # images in a batch of one fixed number
MOST = 100  # validation images of a run's own source that an export is verified with; those of --verify all count


def export(
    model: str,
    out: str,
    /,
    *,
    format: Literal["onnx", "openvino", "torch"] | None = None,
    int8: bool = False,
    max_drop: float = 0.5,
    batch: str = "dynamic",
    verify: str | None = None,
    network: str | None = None,
    classes: str | None = None,
    quiet: bool = False,
) -> None:
    """Export a trained network to one file that takes decoded images of any size and gives probabilities.

    Resizing, cropping, normalization and softmax are inside, by standard operators. The file is compared with the
    model, from pixels to answers, and is written only if they agree. A short program that uses it is printed.

    Parameters
    ----------
    model
        A run folder or a file of weights.
    out
        The new file. OpenVINO's weights are written next to it, with the suffix .bin.
    format
        onnx, openvino or torch (a torch.export program); by default what the suffix of OUT means (.onnx, .xml, .pt2),
        or else onnx.
    int8
        In 8 bits, for onnxruntime: calibrated on the images that the run was trained on, and written only if it is
        faster here and its accuracy on the validation images is not much lower.
    max_drop
        By how many points of Top-1 int8 may be worse; the 95 % interval has to lie above that.
    batch
        The number of images that the file takes at a time, or dynamic for any number.
    verify
        The images to compare with: files, a folder, an archive or a source; by default up to 100 of the images that
        the run was validated on. Generated images of many sizes are compared as well.
    network
        The network, if the weights do not identify it.
    classes
        The class names, if the weights do not have them: a text file with one per line, in the order of the outputs.
    quiet
        Only the path.
    """
    examine([model])
    from topfive.engine.benchmark.machine import this_machine
    from topfive.engine.inference import export as exporting
    from topfive.engine.inference.exported import needed
    from topfive.engine.inference.models import open_model, with_names
    from topfive.report.export import example
    from topfive.results.progress import counting

    images = _batch(batch)
    if not max_drop >= 0:  # nan as well
        raise UsageError("--max-drop is a number of points of Top-1 from 0 on")
    path, chosen = exporting.target(out, format)
    if int8 and chosen != "onnx":
        raise UsageError(f"--int8 is for ONNX files, not for --format {chosen}")
    needed(chosen)
    (opened,) = with_names([open_model(model, network)], classes)
    shown, about_them = _images(opened, model, verify)
    for note in (*opened.notes, about_them):
        say(note, quiet)
    trained = _trained_on(opened, model) if int8 else None
    with bar(quiet) as progress:
        tick = counting(progress, "images")

        def counted() -> Iterator[Read]:
            for n, read in enumerate(shown):
                yield read
                tick("verifying", n + 1, len(shown))

        threads = this_machine("cpu").threads
        if trained:
            verified, worth = exporting.export_int8(
                opened, path, version(), trained, max_drop, shown, threads, images, partial(tick, "comparing")
            )
            say(str(worth), quiet)
        else:
            verified = exporting.export(opened, path, chosen, version(), counted(), threads, images)
    say(str(verified), quiet)
    for tie in verified.near_ties:
        say(str(tie), quiet)
    if verified.unreadable:
        say(f"{verified.unreadable:,} images could not be read, and were not compared", quiet)
    if not quiet:
        print(example(chosen, str(path), opened.about.upright, images))
    print(path)


def _batch(given: str) -> int | None:
    if given == "dynamic":
        return None
    # why the length first: Python refuses to read a number of thousands of digits
    if not (given.isascii() and given.isdigit() and len(given) < 9 and 1 <= int(given) <= LARGEST):
        raise UsageError(f"--batch is a number of images from 1 to {LARGEST:,}, or dynamic, not {given[:40]!r}")
    return int(given)


def _images(model: Model, where: str, place: str | None) -> tuple[Sequence[Read], str]:
    """The images to verify with, each as what reads it, and a sentence on which they are."""
    from topfive.data.opening import DIGITS, open_source
    from topfive.data.public_sets import PUBLIC
    from topfive.data.unlabelled import images as named
    from topfive.results import scored

    upright = model.about.upright
    if place is not None and place not in (*PUBLIC, DIGITS):
        found, _ = named([place])
        return [partial(_unlabelled, one, upright) for one in found], f"verifying with the images of {place}"
    try:
        if place is not None:
            source = open_source(place)
        elif scored.run_of(where):
            trained = scored.Trained(where, model.about.fingerprint, model.about.source)
            source, _ = scored.to_score([trained], None)
        else:
            return [], f"{where} does not say which images it was trained on: verifying with generated ones alone"
    except DataError as error:
        if place is not None:
            raise
        return [], f"{error}, --verify SOURCE; verifying with generated images alone"
    items = source.val if place is not None else source.val[:: -(-len(source.val) // MOST)]
    return (
        [partial(_labelled, source, item, upright) for item in items],
        f"verifying with {len(items):,} of the {len(source.val):,} validation images of {source.name}",
    )


def _trained_on(model: Model, where: str) -> Source:
    """The images that a run was trained and validated on. Raises: UsageError where that is not known; DataError."""
    from topfive.results import scored

    if not scored.run_of(where):
        raise UsageError(f"--int8 is calibrated on the images that a run was trained on, and {where} is no run folder")
    source, _ = scored.to_score([scored.Trained(where, model.about.fingerprint, model.about.source)], None)
    return source


def _unlabelled(one: UnlabelledImage, upright: bool) -> tuple[str, Image.Image]:
    return one.name, one.image(upright)


def _labelled(source: Source, item: Item, upright: bool) -> tuple[str, Image.Image]:
    return source.path(item), source.read(item, upright)
