"""CIFAR-10 and CIFAR-100 as their authors hand them out: binary files, or Python batches read by a restricted reader.

Source: Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009; the layouts are stated on
https://www.cs.toronto.edu/~kriz/cifar.html.
"""

import hashlib
import io
import pickle
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from topfive.data.sources import Item, Source
from topfive.data.stores import Pixels, Progress
from topfive.data.trees import Tree
from topfive.errors import DataError, RefusedError

CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SIDE = 32
PLANES = 3 * SIDE * SIDE

Rows = NDArray[np.uint8]


class Layout(msgspec.Struct, frozen=True):
    """How one of the four downloads lies."""

    classes: int
    train: tuple[str, ...]
    test: str
    names: str
    labels: int  # bytes of labels before the pixels of a row; the last is the fine one; 0 for Python batches
    key: str  # of the labels in a Python batch


BATCHES = tuple(f"data_batch_{i}" for i in range(1, 6))
LAYOUTS = (
    Layout(10, tuple(f"{name}.bin" for name in BATCHES), "test_batch.bin", "batches.meta.txt", 1, ""),
    Layout(100, ("train.bin",), "test.bin", "fine_label_names.txt", 2, ""),
    Layout(10, BATCHES, "test_batch", "batches.meta", 0, "labels"),
    Layout(100, ("train",), "test", "meta", 0, "fine_labels"),
)


def recognise(tree: Tree, progress: Progress) -> Source | None:
    """The source, where the tree or a folder in it holds one of the four layouts. Raises: DataError, RefusedError."""
    for folder in ("", *tree.folders[""]):
        files = set(tree.files.get(folder, ()))
        for layout in LAYOUTS:
            # why: train and test alone are too common as names; the third file settles it
            wanted = (*layout.train, layout.test, *((layout.names,) if layout.classes == 100 else ()))
            if layout.train[0] in files and (layout.test in files or len(layout.train) > 1):
                missing = [name for name in wanted if name not in files]
                if not missing:
                    return _source(tree, f"{folder}/" if folder else "", layout, files)
                if len(layout.train) > 1:
                    raise DataError(f"{tree.where!r} looks like CIFAR-10 but lacks {', '.join(missing)}")
    return None


def _source(tree: Tree, prefix: str, layout: Layout, files: set[str]) -> Source:
    def load(name: str) -> tuple[Rows, Rows]:
        data = tree.store.read(prefix + name)
        where = f"{tree.where}/{prefix}{name}"
        pixels, labels = _binary(data, layout.labels, where) if layout.labels else _python(data, layout.key, where)
        if len(labels) and labels.max() >= layout.classes:
            raise DataError(f"{where} has the label {labels.max()}, where 0 to {layout.classes - 1} is the range")
        return pixels, labels

    loaded = [load(name) for name in layout.train]
    train, train_labels = np.concatenate([p for p, _ in loaded]), np.concatenate([n for _, n in loaded])
    test, test_labels = load(layout.test)
    classes = _names(tree, prefix, layout, files)
    digest = hashlib.sha256()
    for array in (train, train_labels, test, test_labels):
        digest.update(np.ascontiguousarray(array).data)
    mark = digest.hexdigest()[:16]
    return Source(
        f"cifar-{layout.classes}",
        tree.where,
        classes,
        tuple(Item(f"train/{i}", int(label)) for i, label in enumerate(train_labels)),
        tuple(Item(f"test/{i}", int(label)) for i, label in enumerate(test_labels)),
        "training and test batches as they lie",
        mark,
        Pixels({"train": train, "test": test}, mark),
    )


def _binary(data: bytes, labels: int, where: str) -> tuple[Rows, Rows]:
    row = labels + PLANES
    if not data or len(data) % row:
        raise DataError(f"{where} has {len(data):,} bytes, which is no multiple of {row}: it is not whole")
    rows = np.frombuffer(data, np.uint8).reshape(-1, row)
    return _images(rows[:, labels:]), rows[:, labels - 1]


def _python(data: bytes, key: str, where: str) -> tuple[Rows, Rows]:
    batch = _unpickle(data, where)
    if not isinstance(batch, dict):
        raise DataError(f"{where} is no CIFAR batch: a {type(batch).__name__}")
    batch = {_text(name): value for name, value in batch.items()}
    array, labels = batch.get("data"), batch.get(key)
    if not isinstance(array, _Array) or not isinstance(labels, list):
        raise DataError(f"{where} is no CIFAR batch: 'data' or {key!r} is missing")
    rows = array.rows(where)
    if rows.ndim != 2 or rows.shape[1] != PLANES or len(rows) != len(labels):
        raise DataError(f"{where} has {rows.shape} values and {len(labels)} labels, wanted is (N, {PLANES}) and N")
    if not all(isinstance(label, int) and 0 <= label < 256 for label in labels):
        raise DataError(f"{where} has labels that are no small integers")
    return _images(rows), np.array(labels, np.uint8)


def _images(rows: Rows) -> Rows:
    return np.ascontiguousarray(rows.reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1))


def _names(tree: Tree, prefix: str, layout: Layout, files: set[str]) -> tuple[str, ...]:
    if layout.names not in files:
        return CIFAR10  # of the 10-class layouts alone: recognise() asks for the file of the others
    data = tree.store.read(prefix + layout.names)
    where = f"{tree.where}/{prefix}{layout.names}"
    if layout.labels:
        names = [line.strip() for line in data.decode("utf-8", "replace").splitlines() if line.strip()]
    else:
        meta = _unpickle(data, where)
        stated = {_text(key): value for key, value in meta.items()} if isinstance(meta, dict) else {}
        names = [_text(name) for name in stated.get("fine_label_names" if layout.classes == 100 else "label_names", ())]
    if len(names) != layout.classes or len(set(names)) != layout.classes:
        raise DataError(f"{where} names {len(set(names))} classes, wanted are {layout.classes}")
    return tuple(names)


class _Inert:
    """Stands for whatever a batch names: it keeps what it is given and does nothing."""

    def __init__(self, *given: Any) -> None:
        self.given: Any = given

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Array(_Inert):
    def rows(self, where: str) -> Rows:
        """The array, its bytes taken as they are. Raises: DataError where they are not uint8 of the stated shape."""
        try:
            _, shape, kind, fortran, raw = self.state
            raw = raw.encode("latin1") if isinstance(raw, str) else raw
            values = np.frombuffer(raw, np.uint8)
            if kind.given[0] not in ("u1", b"u1"):
                raise ValueError(f"the numbers are {kind.given[0]!r}, wanted is uint8")
            return values.reshape(shape, order="F" if fortran else "C")
        except (AttributeError, TypeError, ValueError, IndexError) as error:
            raise DataError(f"{where} holds an array that is not whole: {error}") from None


# why: these names alone may stand in a batch, and none of them becomes the function that it names
STANDS_FOR: dict[tuple[str, str], Callable[..., object]] = {
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _Array for core in ("core", "_core")},
    ("numpy", "ndarray"): _Inert,
    ("numpy", "dtype"): _Inert,
    ("_codecs", "encode"): lambda text, encoding="latin1": str(text).encode("latin1"),
}


class _Reader(pickle.Unpickler):
    def __init__(self, data: bytes, where: str) -> None:
        super().__init__(io.BytesIO(data), encoding="latin1")
        self.where = where

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in STANDS_FOR:
            raise RefusedError(f"{self.where} asks for {module}.{name}, which no CIFAR batch does: it is not read")
        return STANDS_FOR[module, name]


def _unpickle(data: bytes, where: str) -> Any:
    try:
        return _Reader(data, where).load()
    except RefusedError:
        raise
    except Exception as error:  # why: a damaged pickle raises almost anything
        raise DataError(f"{where} is no whole Python batch: {type(error).__name__}") from None


def _text(name: Any) -> str:
    return name.decode("latin1") if isinstance(name, bytes) else str(name)
