"""onnxruntime for browsers: one release from the npm registry, or the files of a folder of the user's own."""

import base64
import hashlib
import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

from topfive.data.fetching import data_folder, fetch_file
from topfive.data.public_sets import Published
from topfive.data.stores import Progress, silent
from topfive.errors import DataError

VERSION = "1.30.0"
# source: dist.integrity of https://registry.npmjs.org/onnxruntime-web/1.30.0, as package-lock.json has it
INTEGRITY = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
PACKAGE = Published(
    f"onnxruntime-web {VERSION}",
    f"https://registry.npmjs.org/onnxruntime-web/-/onnxruntime-web-{VERSION}.tgz",
    33_106_585,
    None,
    None,
    sha512=base64.b64decode(INTEGRITY).hex(),
)
LIBRARY, MODULE, WASM = FILES = "ort.wasm.min.js", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"


def runtime(own: Path | None = None, folder: Path | None = None, progress: Progress = silent) -> Mapping[str, bytes]:
    """`FILES` with their bytes: those in `own` where all lie there, or of the package, fetched where it is not yet.

    Raises: DataError, ResourceError, Interrupted, as `fetching.fetch`.
    """
    if own and all((own / name).is_file() for name in FILES):
        return {name: (own / name).read_bytes() for name in FILES}
    path = fetch_file(PACKAGE, folder or data_folder() / "browser", progress)
    try:
        data = path.read_bytes()
        if hashlib.sha512(data).hexdigest() != PACKAGE.sha512:
            raise tarfile.ReadError("it has not the published SHA-512")
        with tarfile.open(fileobj=io.BytesIO(data)) as package:
            found = {name: package.extractfile(f"package/dist/{name}") for name in FILES}
            return {name: file.read() for name, file in found.items() if file}
    except (tarfile.TarError, EOFError, KeyError, OSError) as error:
        raise DataError(f"{str(path)!r} is damaged ({error}): delete it, and it is fetched again") from None
