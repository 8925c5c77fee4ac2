"""Checkpoints in a run's folder: files, and a manifest with the sha256 of each."""

import hashlib
import re
from pathlib import Path

import msgspec

from topfive.errors import RefusedError
from topfive.results.seals import read_back, unsealed

VERSION = 1  # of the manifest


class Listed(msgspec.Struct, frozen=True):
    """A file of a checkpoint, as it was written."""

    size: int = msgspec.field(name="bytes")
    sha256: str


class Manifest(msgspec.Struct, frozen=True):
    version: int
    kind: str
    step: int
    about: dict[str, object]
    files: dict[str, Listed]


class Checkpoint(msgspec.Struct, frozen=True):
    """A checkpoint whose every byte is what was saved."""

    folder: Path
    kind: str
    step: int
    about: dict[str, object]
    files: dict[str, Listed]

    def read(self, name: str) -> bytes:
        """A file's bytes. Raises: RefusedError where they are not those that were saved, ResourceError."""
        path, listed = self.folder / name, self.files[name]
        data = read_back(path)
        if (found := hashlib.sha256(data).hexdigest()) != listed.sha256:
            sizes = f", {len(data):,} bytes, not {listed.size:,}" if len(data) != listed.size else ""
            raise RefusedError(f"{path} is damaged: its sha256 begins with {found[:8]}, not {listed.sha256[:8]}{sizes}")
        return data


def open_checkpoint(folder: Path) -> Checkpoint:
    """The checkpoint in a folder, verified whole. Raises: RefusedError, ResourceError."""
    manifest = unsealed(folder / "manifest.json", Manifest)
    if manifest.version > VERSION:
        raise RefusedError(f"{folder} was saved by a newer topfive: upgrade it")
    if strange := [name for name in manifest.files if Path(name).name != name]:
        raise RefusedError(f"{folder} lists a file outside of it: {strange[0]!r}")
    found = Checkpoint(folder, manifest.kind, manifest.step, manifest.about, manifest.files)
    for name in found.files:
        found.read(name)
    return found


def newest(folder: Path, kind: str) -> tuple[Checkpoint | None, dict[Path, str]]:
    """The newest whole checkpoint of a run, and what is wrong with those that are newer."""
    damaged: dict[Path, str] = {}
    for path in checkpoint_folders(folder, kind):
        try:
            found = open_checkpoint(path)
            if (found.kind, found.step) != (kind, step_of(path)):
                raise RefusedError(f"{path} is another one, {found.kind} {found.step}")
        except RefusedError as error:
            damaged[path] = str(error)
        else:
            return found, damaged
    return None, damaged


def checkpoint_folders(folder: Path, kind: str = "[a-z]+") -> list[Path]:
    """The folders of a run's checkpoints, the newest first."""
    found = [path for path in (folder / "checkpoints").glob("*-*") if re.fullmatch(rf"{kind}-\d+", path.name)]
    return sorted(found, key=step_of, reverse=True)


def step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])


def verifies(folder: Path) -> bool:
    try:
        return bool(open_checkpoint(folder))
    except RefusedError:
        return False
