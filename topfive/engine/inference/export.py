"""A trained network as one file for other programs, from decoded images of any size to probabilities, or none at all.

Resizing, cutting, normalisation and softmax are in the file. It is written only after it has answered as the model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from topfive.data.files import fail, try_to_write, write_whole
from topfive.data.sources import Source
from topfive.engine.inference.exported import (
    METADATA,
    SUFFIXES,
    Contract,
    Files,
    Format,
    needed,
    opened,
    openvino_module,
)
from topfive.engine.inference.models import Model
from topfive.engine.inference.verification import Read, Verified, verify
from topfive.errors import RefusedError, UsageError

if TYPE_CHECKING:
    from topfive.engine.inference.int8 import Worth


def export(
    model: Model, out: Path, format: Format, version: str, images: Iterable[Read], threads: int, batch: int | None
) -> Verified:
    """Write `model` to `out`, and for OpenVINO its weights beside it, after it was verified; `batch` fixes its batch.

    Raises: UsageError for an `out` that is there; RefusedError where it would answer otherwise; ResourceError.
    """
    files, verified = verified_files(model, format, version, images, threads, batch)
    write(files, out)
    return verified


def verified_files(
    model: Model, format: Format, version: str, images: Iterable[Read], threads: int, batch: int | None
) -> tuple[Files, Verified]:
    """The files of `model` in `format`, once they answered as it does. Raises: RefusedError, UsageError."""
    files = made(model, format, version, batch)
    return files, verify(opened(files, format, threads), model, Contract.of(model, version), images, batch)


def export_int8(
    model: Model,
    out: Path,
    version: str,
    source: Source,
    max_drop: float,
    images: Sequence[Read],
    threads: int,
    batch: int | None,
    tick: Callable[[int, int], object] = lambda done, all: None,
) -> tuple[Verified, Worth]:
    """Write `model` in 8 bits for onnxruntime, where that is faster here and surely loses less than `max_drop` points.

    Raises: as `export`; RefusedError with both figures where it is not worth it.
    """
    from topfive.engine.inference import int8

    plain = made(model, "onnx", version, batch)
    exact = opened(plain, "onnx", threads)
    verified = verify(exact, model, Contract.of(model, version), images, batch)
    contract = Contract.of(model, version, "int8")
    files = {".onnx": int8.quantised(plain[".onnx"], model, source, batch, contract)}
    small = opened(files, "onnx", threads)
    verify(small, model, contract, images, batch)
    worth = int8.judged(exact, small, model, source, batch, tick)
    if not worth.enough(max_drop):
        wanted = f"it has to be faster, and the interval above -{max_drop:g} points (--max-drop)"
        raise RefusedError(f"nothing is written: {worth}; {wanted}")
    write(files, out)
    return verified, worth


def made(model: Model, format: Format, version: str, batch: int | None) -> Files:
    """The files of `model` in `format`, not yet verified. Raises: RefusedError for a layer that has no form in it."""
    needed(format)
    about = Contract.of(model, version).strings()
    match format:
        case "onnx":
            return {".onnx": _onnx(model, about, batch)}
        case "openvino":
            return _openvino(_onnx(model, about, batch), about)
        case "torch":
            from topfive.engine.inference.torch_program import program

            return {".pt2": program(model.classifier, model.about.protocol, model.about.size, batch, about)}


def target(out: str, format: Format | None) -> tuple[Path, Format]:
    """Where the file goes and its format, which its name may tell.

    Raises: UsageError for a name that is taken; ResourceError where it cannot be written.
    """
    path = Path(out)
    of_name: dict[str, Format] = {suffixes[0]: one for one, suffixes in SUFFIXES.items()}
    chosen = format or of_name.get(path.suffix.lower(), "onnx")
    main = SUFFIXES[chosen][0]
    if path.suffix.lower() != main:
        if path.suffix.lower() in of_name:
            raise UsageError(f"{out} has the suffix of another format: --format {chosen} writes {main} files")
        path = path.with_name(path.name + main)
    for suffix in SUFFIXES[chosen]:
        if (there := path.with_suffix(suffix)).exists():
            raise UsageError(f"{there} is there already: name another file")
    try:
        try_to_write(path)
    except OSError as error:
        fail(error, path)
    return path, chosen


def write(files: Files, out: Path) -> None:
    """Each file whole, the one that names the other last. Raises: ResourceError."""
    for suffix, data in reversed(list(files.items())):
        path = out.with_suffix(suffix)
        try:
            write_whole(path, data)
        except OSError as error:
            fail(error, path, len(data))


def _onnx(model: Model, about: dict[str, str], batch: int | None) -> bytes:
    from topfive.engine.inference.onnx_graph import Graph
    from topfive.engine.inference.onnx_network import add_network
    from topfive.engine.inference.onnx_pixels import add_pixels

    graph = Graph()
    add_pixels(graph, model.about.protocol, model.about.size)
    add_network(graph, model.classifier, model.about.size)
    return graph.file(model.network.classes, batch, about)


def _openvino(file: bytes, about: dict[str, str]) -> Files:
    openvino = openvino_module()
    graph = openvino.Core().read_model(file)
    for name, value in about.items():
        graph.set_rt_info(value, [METADATA, name])
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.xml"
        openvino.save_model(graph, str(path), compress_to_fp16=False)
        return {suffix: path.with_suffix(suffix).read_bytes() for suffix in SUFFIXES["openvino"]}
