"""The folder beside the story's page by which a reader's own image is classified in the reader's browser.

A page that opens from disk can load scripts and nothing else: all is in scripts, what is binary as base64.
"""

import base64
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

import msgspec

from topfive.data.files import fail, write_whole
from topfive.errors import UsageError

PIECE = 3 * 2**23  # bytes of a model in one script, so that none is longer than a browser takes
RUNTIME, MODEL = "onnxruntime.js", "model-{}.js"


class Browser(msgspec.Struct, frozen=True):
    """What the page has to know: where the scripts are, and how the model takes images and calls its classes."""

    folder: str  # as the page's links have it, with a slash at its end
    scripts: tuple[str, ...]  # in the order in which they are loaded
    input: str
    output: str
    classes: tuple[str, ...]
    upright: bool  # whether images are turned by their EXIF orientation


def beside(page: Path, folder: Path) -> str:
    """The folder as the page's links have it. Raises: UsageError where it has no such name, or is a file."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--browser {str(folder)!r} is a file: name a folder beside the page")
    try:
        relative = os.path.relpath(folder.absolute(), page.absolute().parent)
    except ValueError:
        raise UsageError(f"--browser {str(folder)!r} is on another drive than the page") from None
    return quote(Path(relative).as_posix()) + "/"


def write(folder: Path, runtime: Mapping[str, bytes], model: bytes) -> tuple[str, ...]:
    """Write the scripts and return their names: `runtime` is (library, module, wasm), by the names of their files."""
    (library, code), (_, module), (_, wasm) = runtime.items()
    names = [library]
    _write(folder / library, code)
    values = {"module": module.decode(), "wasm": base64.b64encode(wasm).decode()}
    for name, data in ((RUNTIME, _script(values)), *_pieces(model)):
        _write(folder / name, data)
        names.append(name)
    return tuple(names)


def _pieces(model: bytes) -> Iterator[tuple[str, bytes]]:
    for n, start in enumerate(range(0, len(model), PIECE), start=1):
        yield MODEL.format(n), _script({f"model{n}": base64.b64encode(model[start : start + PIECE]).decode()})


def _script(values: Mapping[str, str]) -> bytes:
    return f"globalThis.topfive = {{ ...globalThis.topfive, ...{json.dumps(values)} }};\n".encode()


def _write(path: Path, data: bytes) -> None:
    try:
        write_whole(path, data)
    except OSError as error:
        fail(error, path, len(data))
