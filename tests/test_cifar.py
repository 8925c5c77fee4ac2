"""CIFAR as handed out: the same images from all of its forms, nothing run, nothing taken that is not whole."""

import io
import os
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest

from topfive.data.cifar import CIFAR10
from topfive.data.opening import open_source
from topfive.data.sources import Source
from topfive.errors import DataError, RefusedError

PER_BATCH = 20
random = np.random.default_rng(0)
# planes of red, green and blue, row by row, as the authors state; label and image i of each batch
BATCHES = {
    name: random.integers(0, 256, (PER_BATCH, 3072), dtype=np.uint8) for name in ("1", "2", "3", "4", "5", "test")
}
LABELS = {name: [int(n) for n in random.integers(0, 10, PER_BATCH)] for name in BATCHES}
FINE = [f"fine{i:02}" for i in range(100)]


def _file(name: str) -> str:
    return "test_batch" if name == "test" else f"data_batch_{name}"


def binary10(root: Path) -> Path:
    for name, rows in BATCHES.items():
        labels = np.array(LABELS[name], np.uint8)[:, None]
        (root / f"{_file(name)}.bin").write_bytes(np.hstack([labels, rows]).tobytes())
    (root / "batches.meta.txt").write_text("\n".join(CIFAR10) + "\n\n")
    return root


def python10(root: Path) -> Path:
    for name, rows in BATCHES.items():
        batch = {b"batch_label": b"x", b"labels": LABELS[name], b"data": rows, b"filenames": [b"a.png"] * PER_BATCH}
        (root / _file(name)).write_bytes(pickle.dumps(batch, protocol=2))
    meta = {"num_cases_per_batch": 10000, "label_names": list(CIFAR10), "num_vis": 3072}
    (root / "batches.meta").write_bytes(pickle.dumps(meta, protocol=2))
    return root


def binary100(root: Path) -> Path:
    for part, name in (("train", "1"), ("test", "test")):
        labels = np.array([[19, label * 7] for label in LABELS[name]], np.uint8)
        (root / f"{part}.bin").write_bytes(np.hstack([labels, BATCHES[name]]).tobytes())
    (root / "fine_label_names.txt").write_text("\n".join(FINE))
    return root


def python100(root: Path) -> Path:
    for part, name in (("train", "1"), ("test", "test")):
        batch = {"fine_labels": [label * 7 for label in LABELS[name]], "coarse_labels": [19] * PER_BATCH}
        (root / part).write_bytes(pickle.dumps({**batch, "data": BATCHES[name]}, protocol=2))
    (root / "meta").write_bytes(pickle.dumps({"fine_label_names": FINE}, protocol=2))
    return root


def check(source: Source, train: list[str], factor: int) -> None:
    rows = [(row, label) for name in train for row, label in zip(BATCHES[name], LABELS[name])]
    aside = list(zip(BATCHES["test"], LABELS["test"]))
    for items, expected in ((source.train, rows), (source.val, aside)):
        assert len(items) == len(expected)
        for item, (row, label) in zip(items, expected):
            assert item.label == label * factor
            pixels = np.asarray(source.read(item))
            assert pixels[3, 5].tolist() == [int(row[plane * 1024 + 3 * 32 + 5]) for plane in range(3)]


@pytest.mark.parametrize("make", [binary10, python10])
def test_cifar10(make: object, tmp_path: Path) -> None:
    source = open_source(str(make(tmp_path)))  # type: ignore[operator]
    check(source, ["1", "2", "3", "4", "5"], 1)
    assert source.classes == CIFAR10 and source.name == "cifar-10"


@pytest.mark.parametrize("make", [binary100, python100])
def test_cifar100_has_its_fine_labels(make: object, tmp_path: Path) -> None:
    source = open_source(str(make(tmp_path)))  # type: ignore[operator]
    check(source, ["1"], 7)
    assert source.classes == tuple(FINE)


def test_the_download_is_read_in_place(tmp_path: Path) -> None:
    (tmp_path / "cifar-10-batches-bin").mkdir()
    binary10(tmp_path / "cifar-10-batches-bin")
    for name, mode in (("cifar-10-binary.tar.gz", "w:gz"), ("cifar-10-binary.tar", "w")):
        with tarfile.open(tmp_path / name, mode) as tar:  # type: ignore[call-overload]
            tar.add(tmp_path / "cifar-10-batches-bin", "cifar-10-batches-bin")
        check(open_source(str(tmp_path / name)), ["1", "2", "3", "4", "5"], 1)
    check(open_source(str(tmp_path)), ["1", "2", "3", "4", "5"], 1)


def test_batches_are_the_same_from_either_form(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    assert (
        open_source(str(binary10(tmp_path / "a"))).fingerprint == open_source(str(python10(tmp_path / "b"))).fingerprint
    )


class Malice:
    def __reduce__(self) -> tuple[object, ...]:
        return os.system, ("touch /tmp/topfive-was-here",)


@pytest.mark.parametrize(
    ("content", "kind", "says"),
    [
        (pickle.dumps({"labels": Malice(), "data": 0}), RefusedError, r"asks for \w+\.system"),
        (pickle.dumps({"labels": [0], "data": np.array([{}], object)}), DataError, "not whole"),
        (pickle.dumps([1, 2]), DataError, "no CIFAR batch: a list"),
        (pickle.dumps({"labels": [0], "data": BATCHES["1"]}), DataError, "20, 3072.* and 1 labels"),
        (pickle.dumps({"labels": [10] * 20, "data": BATCHES["1"]}), DataError, "the label 10, where 0 to 9"),
        (pickle.dumps({"labels": [0] * 20, "data": BATCHES["1"]})[:-100], DataError, "no whole Python batch"),
        (pickle.dumps({"labels": [0] * 20, "data": BATCHES["1"].astype(np.float32)}), DataError, "wanted is uint8"),
    ],
)
def test_a_batch_that_is_none_is_refused_and_nothing_is_run(
    tmp_path: Path, content: bytes, kind: type[Exception], says: str
) -> None:
    python10(tmp_path)
    (tmp_path / "data_batch_3").write_bytes(content)
    with pytest.raises(kind, match=says):
        open_source(str(tmp_path))
    assert not Path("/tmp/topfive-was-here").exists()


def test_a_file_of_the_wrong_length_or_none_at_all_is_named(tmp_path: Path) -> None:
    binary10(tmp_path)
    whole = (tmp_path / "data_batch_2.bin").read_bytes()
    (tmp_path / "data_batch_2.bin").write_bytes(whole[:-1])
    with pytest.raises(DataError, match=r"data_batch_2\.bin has 61,459 bytes, which is no multiple of 3073"):
        open_source(str(tmp_path))
    (tmp_path / "data_batch_2.bin").unlink()
    with pytest.raises(DataError, match=r"lacks data_batch_2\.bin"):
        open_source(str(tmp_path))


def test_python2_pickles_are_read() -> None:
    """The real batches were pickled by Python 2: strings for bytes, and `numpy.core`."""
    from topfive.data.cifar import _python

    raw = BATCHES["1"][:1].tobytes()
    text = io.BytesIO()
    text.write(b"\x80\x02}q\x01(U\x04dataq\x02cnumpy.core.multiarray\n_reconstruct\nq\x03cnumpy\nndarray\nq\x04")
    text.write(b"K\x00\x85q\x05U\x01bq\x06\x87q\x07Rq\x08(K\x01K\x01M\x00\x0c\x86q\x09cnumpy\ndtype\nq\x0a")
    text.write(
        b"U\x02u1q\x0bK\x00K\x01\x87q\x0cRq\x0d(K\x03U\x01|q\x0eNNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tq\x0fb"
    )
    text.write(b"\x89T" + len(raw).to_bytes(4, "little") + raw + b"q\x10tq\x11b")
    text.write(b"U\x06labelsq\x12]q\x13K\x05au.")
    pixels, labels = _python(text.getvalue(), "labels", "batch")
    assert labels.tolist() == [5] and pixels[0, 0, 0].tolist() == BATCHES["1"][0, [0, 1024, 2048]].tolist()
