"""Weights of strangers: what wraps a state dict is taken off; whatever could do harm is refused before it could."""

import argparse
import bz2
import gzip
import io
import json
import lzma
import os
import pickle
import pickletools
import random
import resource
import struct
import subprocess
import sys
import tarfile
import time
import zipfile
from collections import Counter, OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from topfive.engine.inference import foreign, unpickling
from topfive.engine.inference.foreign import read_foreign
from topfive.errors import RefusedError, UsageError
from topfive.weights import containers as containers_of_weights
from topfive.weights import pickles, state_dicts
from topfive.weights.inspection import examine

# --- pickles, piece by piece ----------------------------------------------------------------------------------------


def plain(value: object) -> bytes:
    return pickle.dumps(value, 2)[2:-1]


def name(module: str, word: str) -> bytes:
    return f"c{module}\n{word}\n".encode()


def call(function: bytes, *arguments: bytes) -> bytes:
    return function + b"(" + b"".join(arguments) + b"tR"


def table(*pairs: tuple[str, bytes]) -> bytes:
    return b"}(" + b"".join(plain(key) + value for key, value in pairs) + b"u"


def storage(kind: str = "FloatStorage", key: str = "0", count: Any = 6) -> bytes:
    return b"(" + plain("storage") + name("torch", kind) + plain(key) + plain("cpu") + plain(count) + b"tQ"


ORDERED = name("collections", "OrderedDict") + b")R"
REBUILD = name("torch._utils", "_rebuild_tensor_v2")


def tensor(of: bytes = b"", offset: Any = 0, size: Any = (2, 3), stride: Any = (3, 1), hooks: bytes = ORDERED) -> bytes:
    return call(REBUILD, of or storage(), plain(offset), plain(size), plain(stride), plain(False), hooks)


def zipped(piece: bytes, members: dict[str, bytes] | None = None, **more: bytes) -> bytes:
    """A checkpoint as torch writes them, with six float32 numbers in storage 0, unless `members` says otherwise."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a/data.pkl", b"\x80\x02" + piece + b".")
        for member, content in (members or {"data/0": NUMBERS, "version": b"3\n", **more}).items():
            archive.writestr(f"a/{member}", content)
    return out.getvalue()


def older(piece: bytes, first: bytes = b"", keys: Any = ("0",), counts: tuple[int, ...] = (6,)) -> bytes:
    """The same in the format that torch wrote before 1.6."""
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    head = [first or pickle.dumps(containers_of_weights.MAGIC, 2), pickle.dumps(1001, 2), pickle.dumps(system, 2)]
    numbers = b"".join(struct.pack("<q", count) + NUMBERS for count in counts)
    last = keys if isinstance(keys, bytes) else plain(list(keys))
    return b"".join([*head, b"\x80\x02" + piece + b".", b"\x80\x02" + last + b".", numbers])


def older_storage() -> bytes:
    return b"(" + plain("storage") + name("torch", "FloatStorage") + plain("0") + plain("cpu") + plain(6) + b"NtQ"


def safe(header: object, data: bytes = bytes(8), length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(begin: int = 0, end: int = 8, shape: Any = (2,), dtype: Any = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


PLAIN = (3, "<", None, None, None, -1, -1, 0)
SCALAR = name("numpy._core.multiarray", "scalar")


def scalar(kind: str, content: bytes, state: object, dtype: bytes = b"") -> bytes:
    """A scalar as NumPy pickles it; test_a_scalar_of_numpy_is_pickled_so compares."""
    dtype = dtype or call(name("numpy", "dtype"), plain(kind), plain(False), plain(True)) + plain(state) + b"b"
    return call(SCALAR, dtype, call(name("_codecs", "encode"), plain(content.decode("latin-1")), plain("latin1")))


NUMBERS = struct.pack("<6f", *range(6))
GOOD = {"zip": zipped(table(("w", tensor()))), "older": older(table(("w", tensor(older_storage()))))}


# --- the files ------------------------------------------------------------------------------------------------------


def code(marker: str) -> dict[str, bytes]:
    """Pickles that would do something, most of them leave `marker` behind."""
    touch, write = plain(f"touch {marker}"), plain(f"open({marker!r}, 'w')")
    attribute = call(name("builtins", "getattr"), name("os", "path"), plain("__class__"))
    return {
        "os.system": call(name("os", "system"), touch),
        "posix.system": call(name("posix", "system"), touch),
        "nt.system": call(name("nt", "system"), touch),
        "subprocess.Popen": call(name("subprocess", "Popen"), plain(["touch", marker])),
        "subprocess.getoutput": call(name("subprocess", "getoutput"), touch),
        "eval": call(name("builtins", "eval"), write),
        "exec": call(name("builtins", "exec"), write),
        "eval of Python 2": call(name("__builtin__", "eval"), write),
        "compile": call(name("builtins", "compile"), write, plain("a"), plain("exec")),
        "__import__": call(name("builtins", "__import__"), plain("antigravity")),
        "open": call(name("builtins", "open"), plain(marker), plain("w")),
        "getattr": attribute,
        "getattr of what is allowed": call(name("collections", "OrderedDict.__init__")),
        "import_module": call(name("importlib", "import_module"), plain("antigravity")),
        "runpy": call(name("runpy", "_run_code"), write, plain({})),
        "timeit": call(name("timeit", "timeit"), write),
        "cProfile": call(name("cProfile", "run"), write),
        "pdb": call(name("pdb", "run"), write),
        "pydoc": call(name("pydoc", "pipepager"), plain(""), touch),
        "pty": call(name("pty", "spawn"), plain(["touch", marker])),
        "code": call(name("code", "interact")),
        "partial": call(name("functools", "partial"), name("os", "system"), touch),
        "reduce": call(name("functools", "reduce"), name("os", "system"), plain([marker])),
        "map": call(name("builtins", "map"), name("os", "system"), plain([marker])),
        "attrgetter": call(name("operator", "attrgetter"), plain("system")),
        "methodcaller": call(name("operator", "methodcaller"), plain("system"), touch),
        "itemgetter": call(name("operator", "itemgetter"), plain(0)),
        "types.FunctionType": call(name("types", "FunctionType"), plain(0)),
        "marshal": call(name("marshal", "loads"), plain("")),
        "pickle.loads": call(name("_pickle", "loads"), plain("")),
        "ctypes": call(name("ctypes", "CDLL"), plain("libc.so.6")),
        "rmtree": call(name("shutil", "rmtree"), plain("/nowhere")),
        "socket": call(name("socket", "create_connection"), plain(("127.0.0.1", 9))),
        "urlopen": call(name("urllib.request", "urlopen"), plain("http://127.0.0.1:9")),
        "webbrowser": call(name("webbrowser", "open"), plain("http://127.0.0.1:9")),
        "asyncio": call(name("asyncio", "create_subprocess_shell"), touch),
        "multiprocessing": call(name("multiprocessing", "Process")),
        "pip": call(name("pip", "main"), plain(["install", "nothing"])),
        "logging.config": call(name("logging.config", "listen")),
        "_load_from_bytes in itself": call(
            name("torch.storage", "_load_from_bytes"),
            call(name("_codecs", "encode"), plain(zipped(call(name("os", "system"), touch)).decode("latin-1"))),
        ),
        "torch.load": call(name("torch", "load"), plain("other.pth")),
        "torch.hub": call(name("torch.hub", "load"), plain("a/b")),
        "torch.jit": call(name("torch.jit", "load"), plain("a.pt")),
        "torch._inductor": call(name("torch._inductor.codecache", "compile_file"), plain("a.py")),
        "numpy's reconstruct": call(name("numpy.core.multiarray", "_reconstruct"), name("numpy", "ndarray")),
        "a scalar of objects": scalar("O8", b"\x80\x02}.    ", PLAIN),
        "a scalar of text": scalar("U2", bytes(8), PLAIN),
        "a scalar of too few bytes": scalar("f8", bytes(7), PLAIN),
        "a scalar of too many bytes": scalar("f8", bytes(9), PLAIN),
        "a scalar of fields": scalar("V8", bytes(8), (3, "|", None, ("a",), {"a": 0}, 8, 1, 0)),
        "a dtype with a state of objects": scalar("f8", bytes(8), (3, "|", None, None, None, -1, -1, 63)),
        "a dtype with metadata": scalar("f8", bytes(8), (4, "<", None, None, None, -1, -1, 0, {"a": 1})),
        "a dtype of another function": scalar("f8", bytes(8), PLAIN, call(name("numpy.dtypes", "Float64DType"))),
        "bytes by another codec": call(name("_codecs", "encode"), plain("a"), plain("rot13")),
        "a lookup of a codec": call(name("_codecs", "lookup"), plain("rot13")),
        "a scalar of a dtype alone": call(SCALAR, call(name("numpy", "dtype"), plain("f8"), plain(False), plain(True))),
        "attributes of bytes": call(name("_codecs", "encode"), plain("a"), plain("latin1")) + plain({"a": 1}) + b"b",
        "numpy.load": call(name("numpy", "load"), plain("a.npy")),
        "a whole model": name("torchvision.models.resnet", "ResNet") + b")\x81",
        "names from memo strings": plain("os") + b"q\x05" + plain("system") + b"q\x06h\x05h\x06\x93" + touch + b"\x85R",
        "INST": b"(" + touch + b"ios\nsystem\n",
        "OBJ": b"(" + name("os", "system") + touch + b"o",
        "EXT1": b"\x82\x01",
        "EXT4": b"\x84\x01\0\0\0",
        "NEWOBJ_EX": name("argparse", "Namespace") + b")}\x92",
        "PERSID": b"Pos.system\n",
        "a reference to no storage": plain(("module", "os", "system")) + b"Q",
        "a reference to a number": plain(7) + b"Q",
        "BUILD on a tensor": tensor() + plain((None, 0, (10**9,), (1,))) + b"b",
        "BUILD on a list": b"]" + plain({"append": 1}) + b"b",
        "BUILD that replaces items": ORDERED + plain({"items": 1}) + b"b",
        "BUILD of slots": name("argparse", "Namespace") + b")\x81" + plain((None, {"__class__": 1})) + b"b",
        "SETITEM on a tensor": tensor() + plain(0) + plain(1) + b"s",
        "SETITEMS on a storage": storage() + b"(" + plain(0) + plain(1) + b"u",
        "APPEND to a tensor": tensor() + plain(0) + b"a",
        "a call of a string": plain("os.system") + plain((marker,)) + b"R",
        "OrderedDict of a number": call(name("collections", "OrderedDict"), plain(7)),
    }


def sizes() -> dict[str, bytes]:
    """Tensors that lie about their size, or are not dense numbers."""

    def one(piece: bytes) -> bytes:
        return zipped(table(("w", piece)))

    return {
        "a storage longer than its bytes": one(tensor(storage(count=7))),
        "a storage shorter than its bytes": one(tensor(storage(count=5), size=(5,), stride=(1,))),
        "a storage of another kind": one(tensor(storage("DoubleStorage"))),
        "a storage that is not there": one(tensor(storage(key="1"))),
        "a storage outside": one(tensor(storage(key="../version"))),
        "a negative count": one(tensor(storage(count=-6))),
        "a count that is no number": one(tensor(storage(count="6"))),
        "one storage of two sizes": zipped(
            table(("v", tensor()), ("w", tensor(storage(count=5), size=(5,), stride=(1,))))
        ),
        "a tensor beyond its storage": one(tensor(size=(2, 4), stride=(4, 1))),
        "an offset beyond": one(tensor(offset=1)),
        "a negative offset": one(tensor(offset=-1)),
        "a negative stride": one(tensor(stride=(-3, 1))),
        "a negative size": one(tensor(size=(-2, -3))),
        "a huge stride": one(tensor(stride=(2**62, 1))),
        "a huge size": one(tensor(size=(2**62, 4), stride=(0, 0))),
        "one number as a terabyte": one(tensor(size=(2**20, 2**18), stride=(0, 0))),
        "ten bytes as ten thousand": one(tensor(size=(2500,), stride=(0,))),
        "sizes and strides of other lengths": one(tensor(size=(2, 3), stride=(1,))),
        "a hundred dimensions": one(tensor(size=(1,) * 100, stride=(1,) * 100)),
        "a size that is a bool": one(tensor(size=(True, 3))),
        "a size that is a fraction": one(tensor(size=(2.0, 3))),
        "hooks": one(tensor(hooks=table(("a", plain(1))))),
        "complex": one(tensor(storage("ComplexFloatStorage", count=3))),
        "quantized storage": one(tensor(storage("QInt8Storage", count=24))),
        "quantized": one(call(name("torch._utils", "_rebuild_qtensor"), storage())),
        "sparse": one(call(name("torch._utils", "_rebuild_sparse_tensor"), plain(1))),
        "nested": one(call(name("torch._utils", "_rebuild_nested_tensor"), tensor())),
        "meta": one(call(name("torch._utils", "_rebuild_meta_tensor_no_storage"), plain(1))),
        "of a subclass": one(call(name("torch._tensor", "_rebuild_from_type_v2"), plain(1))),
        "two of one name": zipped(table(("w", tensor()), ("w", tensor()))),
        "a name of a megabyte": zipped(table(("w" * 2**20, tensor()))),
        "a name with an escape": zipped(table(("w\x1b[2J", tensor()))),
        "a million names": zipped(table(*((f"{i}", b"N") for i in range(10**6)))),
        "half a million steps": zipped(b"}" + b"N" * 500_000),
        "deeply nested": zipped(b")" + b"\x85" * 200_000),
        "lists in lists": zipped(b"]" * 100_000 + b"a" * 99_999),
        "a memo that was never put": zipped(b"h\x07"),
        "too much taken off the stack": zipped(b"}s"),
        "no end": zipped(b"}")[:-1],
        "nothing in it": zipped(b"}"),
        "a list": zipped(plain([1, 2])),
        "a tensor alone": zipped(tensor()),
        "settings alone": zipped(plain({"epoch": 3, "lr": 0.1})),
        "dicts in dicts": zipped(table(("a", table(("b", table(("w", tensor()))))))),
    }


def archives() -> dict[str, bytes]:
    """Zips and other containers that are no checkpoint, or two at once."""
    good = GOOD["zip"]
    twice = io.BytesIO(good)
    with zipfile.ZipFile(twice, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("a/data.pkl", b"\x80\x02" + call(name("os", "system"), plain("touch x")) + b".")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", b"\x80\x02" + table(("w", tensor(storage(count=2**24)))) + b".")
        archive.writestr("a/data/0", bytes(2**26))
    encrypted = bytearray(good)
    encrypted[6] |= 1
    at = good.index(b"PK\x01\x02")
    encrypted[at + 8] |= 1
    lying = bytearray(good)
    lying[30 : 30 + len("a/data.pkl")] = b"a/other.pk"
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as members:
        info = tarfile.TarInfo("storages")
        info.size = 4
        members.addfile(info, io.BytesIO(b"\x80\x02K\x00"))
    objects = io.BytesIO()
    np.save(objects, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    many = io.BytesIO()
    np.savez(many, w=np.array([{"a": 1}], dtype=object))
    # why so: a zip's second directory, which a reader finds that believes the 64-bit locator
    count, length, begin = struct.unpack("<H2L", good[-12:-2])
    record = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, length, begin)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, 5, 1)
    return {
        "two data.pkl": twice.getvalue(),
        "compressed": packed.getvalue(),
        "encrypted": bytes(encrypted),
        "two names of one member": bytes(lying),
        "two directories": good[:-22] + record + locator + good[-22:],
        "a zip cut in half": good[: len(good) // 2],
        "a zip and something behind it": good + b"MZ",
        "a zip and something before it": b"#!/bin/sh\n" + good,
        "members that lead out": zipped(b"}", {"../../evil": b"x"}),
        "members of another archive": zipped(b"}", {"/etc/passwd": b"x"}),
        "a zip of other things": zipped(b"}").replace(b"data.pkl", b"text.xml"),
        "an empty zip": b"PK\x05\x06" + bytes(18),
        "30,000 members": zipped(b"}", {f"data/{i}": b"" for i in range(30_000)}),
        "big-endian": zipped(table(("w", tensor())), byteorder=b"big"),
        "TorchScript": zipped(b"}", {"code/__torch__.py": b"import os", "constants.pkl": b"\x80\x02)."}),
        "torch.export": zipped(b"}", {"archive_format": b"pt2", "models/model.json": b"{}"}),
        "Keras 3": zipped(b"}", {"config.json": b"{}", "model.weights.h5": b"\x89HDF"}),
        "object arrays of NumPy, zipped": many.getvalue(),
        "object arrays of NumPy": objects.getvalue(),
        "tar": tar.getvalue(),
        "7z": b"7z\xbc\xaf\x27\x1c" + bytes(99),
        "RAR": b"Rar!\x1a\x07\x01" + bytes(99),
        "gzip": gzip.compress(good),
        "bzip2": bz2.compress(good),
        "xz": lzma.compress(good),
        "zstd": b"\x28\xb5\x2f\xfd" + bytes(99),
        "HDF5": b"\x89HDF\r\n\x1a\n" + bytes(99),
        "ONNX": b"\x08\x0a\x12\x07pytorch" + bytes(99),
        "SavedModel": b"\x08\x01\x12\x99" + bytes(99),
        "TensorFlow Lite": b"\x1c\0\0\0TFL3" + bytes(99),
        "Flax": b"\x81\xa6params\x80",
        "GGUF": b"GGUF" + bytes(99),
        "t7": struct.pack("<4i", 4, 1, 3, 86) + bytes(99),
        "a web page": b"<!DOCTYPE html><title>please log in</title>",
        "a pointer of Git LFS": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n",
        "an image": b"\x89PNG\r\n\x1a\n" + bytes(99),
        "empty": b"",
        "noise": random.Random(0).randbytes(1000),
        "a pickle of Python": pickle.dumps({"w": [1.0]}, 2),
        "a pickle of Python, protocol 4": pickle.dumps({"w": [1.0]}, 4),
        "a pickle of Python, protocol 0": pickle.dumps({"w": [1.0]}, 0),
    }


def older_ones(marker: str) -> dict[str, bytes]:
    system, good = call(name("os", "system"), plain(f"touch {marker}")), table(("w", tensor(older_storage())))
    return {
        "older, code first": older(good, b"\x80\x02" + system + b"."),
        "older, code in the tensors": older(table(("w", system))),
        "older, a list with code": older(good, keys=system),
        "older, a count that lies": older(good, counts=(2**40,)),
        "older, cut": older(good)[:-4],
        "older, more behind it": older(good) + b"more",
        "older, another storage": older(good, keys=("1",)),
        "older, a storage twice": older(good, keys=("0", "0"), counts=(6, 6)),
        "older, keys that are no names": older(good, keys=(0,)),
    }


def headers() -> dict[str, bytes]:
    deep = b'{"w":' + b"[" * 200_000 + b"]" * 200_000 + b"}"
    return {
        "safetensors, a header beyond the file": safe({"w": entry()}, length=10**6),
        "safetensors, a header of exabytes": safe({"w": entry()}, length=2**63),
        "safetensors, a header of 3 MB": safe(b'{"w":' + b" " * 3 * 2**20 + b"1}"),
        "safetensors, no JSON": safe(b'{"w": '),
        "safetensors, no UTF-8": safe(b'{"\xff": 1}'),
        "safetensors, nested deeply": safe(deep),
        "safetensors, a number of a million digits": safe(b'{"w":' + b"9" * 10**6 + b"}"),
        "safetensors, overlapping": safe({"v": entry(), "w": entry(4, 12)}, bytes(12)),
        "safetensors, one inside another": safe({"v": entry(0, 8), "w": entry(0, 8)}),
        "safetensors, a hole": safe({"v": entry(), "w": entry(12, 20)}, bytes(20)),
        "safetensors, past the end": safe({"w": entry(0, 80, (20,))}),
        "safetensors, bytes behind": safe({"w": entry()}, bytes(9)),
        "safetensors, two of one name": safe(
            b'{"w":' + json.dumps(entry()).encode() + b',"w":' + json.dumps(entry(8, 8, (0,))).encode() + b"}"
        ),
        "safetensors, a field twice": safe(b'{"w":{"dtype":"F32","dtype":"I8","shape":[2],"data_offsets":[0,8]}}'),
        "safetensors, another size": safe({"w": entry(shape=(3,))}),
        "safetensors, a product of 2^120": safe({"w": entry(shape=(2**40, 2**40, 2**40))}),
        "safetensors, negative": safe({"w": entry(shape=(-1, -2))}),
        "safetensors, backwards": safe({"w": entry(8, 0)}),
        "safetensors, a shape of fractions": safe({"w": entry(shape=(2.0,))}),
        "safetensors, of 8 bits": safe({"w": entry(shape=(8,), dtype="F8_E4M3")}),
        "safetensors, complex": safe({"w": entry(shape=(1,), dtype="C64")}),
        "safetensors, a kind of no name": safe({"w": entry(dtype=["F32"])}),
        "safetensors, no offsets": safe({"w": {"dtype": "F32", "shape": [2]}}),
        "safetensors, no tensors": safe({"__metadata__": {"format": "pt"}}, b""),
        "safetensors, a name of a megabyte": safe({"w" * 2**20: entry()}),
        "safetensors, a name with an escape": safe({"w\x1b[2J": entry()}),
    }


MARKER = "here-code-ran"  # in the folder of the process, which the test below looks at
HOSTILE = {
    **{what: zipped(table(("w", tensor()), ("x", piece))) for what, piece in code(MARKER).items()},
    **sizes(),
    **archives(),
    **older_ones(MARKER),
    **headers(),
}

# --- nothing of them runs -------------------------------------------------------------------------------------------

FORBIDDEN = {"pickle.find_class", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.remove", "subprocess.Popen",
             "exec", "compile", "import", "marshal.loads", "ctypes.dlopen", "socket.connect"}  # fmt: skip
watched: list[str] | None = None


def watch(event: str, arguments: tuple[Any, ...]) -> None:
    writes = event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+")
    if watched is not None and (event in FORBIDDEN or writes):
        watched.append(f"{event} {arguments}")


sys.addaudithook(watch)  # for ever, but silent unless `watched` is a list


@pytest.mark.parametrize("what", HOSTILE)
def test_no_code_runs_and_nothing_hostile_is_taken(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    global watched
    path = tmp_path / "weights.pth"
    path.write_bytes(HOSTILE[what])
    monkeypatch.chdir(tmp_path)
    watched = []
    try:
        with pytest.raises(RefusedError) as raised:
            read_foreign(path)
    finally:
        seen, watched = watched, None
    says = str(raised.value)
    assert says.startswith(str(path)) and "\n" not in says and says.isprintable() and len(says) < 400 + len(str(path))
    assert seen == [] and [found.name for found in tmp_path.iterdir()] == ["weights.pth"]


def test_there_are_sixty_of_them_and_each_is_what_it_says() -> None:
    assert len(HOSTILE) >= 60 and len(set(HOSTILE.values())) == len(HOSTILE)


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("os.system", "os.system"),
        ("names from memo strings", "os.system"),
        ("a whole model", "save model.state_dict"),
        ("a storage longer than its bytes", "storage 0"),
        ("one number as a terabyte", "twice as large"),
        ("sparse", "sparse"),
        ("meta", "meta"),
        ("complex", "complex"),
        ("compressed", "compressed"),
        ("TorchScript", "TorchScript"),
        ("torch.export", "torch.export"),
        ("tar", "tar"),
        ("HDF5", "Keras"),
        ("ONNX", "ONNX"),
        ("SavedModel", "TensorFlow"),
        ("Flax", "Flax"),
        ("object arrays of NumPy", "NumPy"),
        ("7z", "7z"),
        ("gzip", "gzip"),
        ("a web page", "web page"),
        ("a pointer of Git LFS", "git lfs pull"),
        ("settings alone", "epoch, lr"),
        ("two data.pkl", "a/data.pkl twice"),
        ("one storage of two sizes", "two sizes"),
        ("older, a list with code", "os.system"),
        ("older, a count that lies", "storage 0"),
        ("safetensors, two of one name", "two tensors"),
        ("safetensors, another size", "needs 12"),
    ],
)
def test_the_sentence_says_what_the_file_is(what: str, says: str) -> None:
    with pytest.raises(RefusedError, match=says):
        examine(io.BytesIO(HOSTILE[what]), "a.pth")


PROGRAM = """
import sys
from pathlib import Path
from topfive.errors import TopfiveError
from topfive.weights.inspection import examined
try:
    examined(Path(sys.argv[1]))
except TopfiveError as error:
    print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
    sys.exit(error.exit_code)
"""


def cost(path: Path) -> tuple[int, float, float]:
    """(exit code, seconds of processor, MB) of a process that looks at `path`."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-c", PROGRAM, str(path)]
    done = subprocess.run(command, cwd=Path(__file__).parent.parent, stdout=subprocess.PIPE)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    # why not ru_maxrss: it begins with the memory of the process that forked, which is this one's
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return done.returncode, seconds, int(done.stdout) / 1024


@pytest.mark.skipif(sys.platform != "linux", reason="reads its memory from /proc")
@pytest.mark.parametrize(
    "what", ["os.system", "compressed", "a million names", "half a million steps", "deeply nested"]
)
def test_refusing_takes_little_memory(what: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(HOSTILE[what])
    exit_code, _, megabytes = cost(path)
    assert exit_code == 4 and megabytes < 500


# --- what is taken --------------------------------------------------------------------------------------------------


def weights() -> dict[str, Tensor]:
    torch.manual_seed(0)
    layers = nn.Sequential(OrderedDict(conv1=nn.Conv2d(3, 4, 3), bn1=nn.BatchNorm2d(4), fc=nn.Linear(4, 2)))
    return layers.state_dict()


def prefixed(prefix: str) -> dict[str, Tensor]:
    return {f"{prefix}{key}": value for key, value in weights().items()}


AVERAGED = {key: value + 1 for key, value in weights().items()}
SETTINGS = argparse.Namespace(lr=0.1, arch="resnet50", device=torch.device("cpu"), size=torch.Size([2]))
WRAPPED: dict[str, tuple[object, str]] = {  # and what was taken off
    "a bare state dict": (weights(), ""),
    "a dict of Parameters": ({key: nn.Parameter(v, v.is_floating_point()) for key, v in weights().items()}, ""),
    "PyTorch's ImageNet example": (
        {"epoch": 90, "arch": "resnet18", "state_dict": prefixed("module."), "best_acc1": torch.tensor(70.0)},
        "state_dict, module.",
    ),
    "torchvision's reference": ({"model": weights(), "args": SETTINGS, "epoch": 9, "scaler": {}}, "model"),
    "torchvision's reference with an average": (
        {
            "model": weights(),
            "model_ema": {"n_averaged": torch.tensor(5), **{f"module.{key}": v for key, v in AVERAGED.items()}},
            "args": SETTINGS,
            "lr_scheduler": {"milestones": Counter([30, 60])},
        },
        "model_ema, module.",
    ),
    "timm": (
        {"state_dict": weights(), "state_dict_ema": AVERAGED, "args": SETTINGS, "metric": 76.1, "version": 2},
        "state_dict_ema",
    ),
    "timm's ema key": ({"state_dict": weights(), "ema": AVERAGED}, "ema"),
    "torch.compile": (prefixed("_orig_mod."), "_orig_mod."),
    "DataParallel of torch.compile": ({"net": prefixed("module._orig_mod.")}, "net, module._orig_mod."),
    "Lightning": (
        {"state_dict": prefixed("model."), "pytorch-lightning_version": "2.5", "hyper_parameters": {"lr": 0.1}},
        "state_dict, model.",
    ),
    "Composer": ({"state": {"model": prefixed("module."), "optimizers": {}}, "rng": []}, "state, model, module."),
    "model_state_dict": ({"model_state_dict": weights(), "optimizer_state_dict": {"state": {}}}, "model_state_dict"),
    "pycls": ({"epoch": 1, "model_state": weights(), "cfg": "a: 1"}, "model_state"),
    "a backbone": (prefixed("backbone."), "backbone."),
    "an accuracy of NumPy": ({"state_dict": weights(), "best_acc": np.float64(0.9), "n": np.int64(3)}, "state_dict"),
    "every scalar of NumPy": (
        {"model": weights(), "args": argparse.Namespace(all=[np.dtype(kind).type(1) for kind in pickles.NUMPY])},
        "model",
    ),
    "mmpretrain": (
        {
            "meta": {},
            "state_dict": {f"{'head' if 'fc' in key else 'backbone'}.{key}": v for key, v in weights().items()},
        },
        "state_dict",
    ),
    "torchvision's AlexNet and VGG": (
        {"arch": "alexnet", "state_dict": {key.replace(".", ".module.", 1): v for key, v in weights().items()}},
        "state_dict",
    ),
    "a loss and an average beside": (
        {**prefixed("model."), "criterion.weight": torch.ones(2), "ema_model.fc.weight": torch.ones(2, 4)},
        "model.",
    ),
    "settings called model": ({"model": {"name": "resnet50"}, "state_dict": weights()}, "state_dict"),
    "half": ({"weights": {key: value.half() for key, value in weights().items()}}, "weights"),
}


@contextmanager
def in_this_process(file: Any, found: state_dicts.Weights) -> Iterator[io.BytesIO]:
    """What the process behind the gate would write: it is the same code, and importing torch so often takes minutes."""
    file.seek(0)
    out = io.BytesIO()
    unpickling.hand_over(file, list(found.path), out)
    out.seek(0)
    yield out


def saved(state: object, path: Path, newer: bool, monkeypatch: pytest.MonkeyPatch) -> foreign.Foreign:
    """What is read of `state` as torch saves it."""
    monkeypatch.setattr(foreign, "_unpickled", in_this_process)
    torch.save(state, path, _use_new_zipfile_serialization=newer)
    return read_foreign(path)


@pytest.mark.parametrize("newer", [True, False], ids=["zip", "older"])
@pytest.mark.parametrize("what", WRAPPED)
def test_what_wraps_a_state_dict_is_taken_off(
    what: str, newer: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = saved(WRAPPED[what][0], tmp_path / "weights.pth", newer, monkeypatch)
    average = what in ("timm", "timm's ema key", "torchvision's reference with an average")
    wanted = AVERAGED if average else weights()
    assert list(found.tensors) == list(wanted) and found.wrapped == WRAPPED[what][1]
    for key, value in found.tensors.items():
        exact = wanted[key].half() if what == "half" else wanted[key]
        assert torch.equal(value, exact) and value.dtype == exact.dtype and value.is_contiguous()
    said = " ".join(found.notes)
    assert not average or "moving average of the weights, and not" in said
    if what == "timm":
        assert "not used: state_dict, args, metric, version" in said


def test_a_scalar_of_numpy_is_pickled_so() -> None:
    """Else the files with scalars that lie would be refused for something else."""
    written = b"\x80\x02" + scalar("f8", struct.pack("<d", 0.9), PLAIN) + b"."
    assert type(pickle.loads(written)) is np.float64 and pickle.loads(written) == 0.9
    ours, theirs = (
        [(op.name, value) for op, value, _ in pickletools.genops(data) if "PUT" not in op.name and op.name != "TUPLE"]
        for data in (written, pickle.dumps(np.float64(0.9), 2))
    )
    assert [pair for pair in ours if "UNICODE" in pair[0] or pair[0] in ("GLOBAL", "BUILD")] == [
        pair for pair in theirs if "UNICODE" in pair[0] or pair[0] in ("GLOBAL", "BUILD")
    ]
    for core in ("numpy._core", "numpy.core"):  # of NumPy 2, and of 1
        piece = table(("w", tensor()), ("acc", scalar("f8", bytes(8), PLAIN).replace(b"numpy._core", core.encode())))
        assert examine(io.BytesIO(zipped(piece)), "a.pth").notes == ("not used: acc",)


@pytest.mark.parametrize("newer", [True, False], ids=["zip", "older"])
def test_views_and_every_kind_of_number(newer: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = (torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int8, torch.int16, torch.int32,
             torch.int64, torch.uint8, torch.bool)  # fmt: skip
    wide = torch.arange(24.0).reshape(4, 6)
    state = {str(kind): torch.arange(6).reshape(2, 3).to(kind) for kind in kinds}
    state |= {"turned": wide.t(), "column": wide[:, 1], "shared": wide, "scalar": torch.tensor(3.0)}
    state["last"] = torch.zeros(2, 3, 4, 5).to(memory_format=torch.channels_last)
    found = saved(state, tmp_path / "weights.pth", newer, monkeypatch).tensors
    assert all(torch.equal(found[key], state[key]) and found[key].dtype == state[key].dtype for key in state)


def test_safetensors_are_read_without_any_other_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foreign, "_unpickled", lambda *_: pytest.fail("a process was started"))
    path = tmp_path / "weights.safetensors"
    safetensors.torch.save_file(prefixed("module."), path, {"format": "pt"})
    found = read_foreign(path)
    assert found.wrapped == "module." and found.tensors.keys() == weights().keys()
    assert all(torch.equal(found.tensors[key], value) for key, value in weights().items())


def test_weights_that_are_no_numbers_are_named(tmp_path: Path) -> None:
    state = weights()
    state["fc.weight"][0, 0] = torch.inf
    path = tmp_path / "weights.safetensors"
    safetensors.torch.save_file(state, path)
    with pytest.raises(RefusedError, match=r"NaN or infinite: fc\.weight$"):
        read_foreign(path)


def test_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "nowhere.pth", tmp_path / "pipe"):
        with pytest.raises(UsageError, match="no file of weights"):
            read_foreign(path)


# --- the process behind the gate ------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", GOOD)
def test_a_process_of_its_own_hands_over_the_tensors(which: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(GOOD[which])
    assert torch.equal(read_foreign(path).tensors["w"], torch.arange(6.0).reshape(2, 3))


def test_behind_the_gate_stands_weights_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Were the gate to let code through, torch would refuse it, in a process whose memory has an end."""
    path, marker = tmp_path / "weights.pth", tmp_path / "marker"
    found = examine(io.BytesIO(GOOD["zip"]), "good")
    monkeypatch.setattr(foreign, "examine", lambda file, where: found)
    path.write_bytes(zipped(table(("w", call(name("os", "system"), plain(f"touch {marker}"))))))
    with pytest.raises(RefusedError, match=r"torch says .*os\.system"):
        read_foreign(path)
    path.write_bytes(zipped(table(("w", tensor(size=(2**15, 2**15), stride=(0, 0))))))  # 4 GiB
    with pytest.raises(RefusedError, match=r"torch says .*(alloc|memory)"):
        read_foreign(path)
    path.write_bytes(zipped(table(("v", tensor()))))
    with pytest.raises(RefusedError, match="something other than the file lists"):
        read_foreign(path)
    assert not marker.exists()


def test_an_old_torch_reads_no_pickles_of_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "__version__", "2.9.1+cpu")
    path = tmp_path / "weights.pth"
    path.write_bytes(GOOD["zip"])
    with pytest.raises(RefusedError, match=r"CVE-2026-24747.*torch 2\.10 or newer"):
        read_foreign(path)
    path.write_bytes(safetensors.torch.save(weights()))
    assert read_foreign(path).tensors.keys() == weights().keys()


# --- damage ---------------------------------------------------------------------------------------------------------


def mutant(data: bytes, chance: random.Random, upto: int) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(min(upto, len(changed)))
        match chance.randrange(4):
            case 0:
                changed[at] ^= 1 << chance.randrange(8)
            case 1:
                changed[at] = chance.randrange(256)
            case 2:
                del changed[at : at + chance.randint(1, 9)]
            case _:
                changed[at:at] = chance.randbytes(chance.randint(1, 9))
    return bytes(changed)


def test_damaged_safetensors_are_refused_or_read_as_the_library_reads_them(tmp_path: Path) -> None:
    chance, path = random.Random(1), tmp_path / "weights.safetensors"
    data = safetensors.torch.save(weights(), {"format": "pt"})
    header = 8 + int.from_bytes(data[:8], "little")
    taken = 0
    for i in range(3000):
        changed = mutant(data, chance, header if i % 3 else len(data))
        try:
            found = examine(io.BytesIO(changed), "mutant")
        except RefusedError:
            continue
        taken += 1
        path.write_bytes(changed)
        try:
            wanted = safetensors.torch.load(changed)
        except SafetensorError as error:
            assert "metadata" in str(error).lower(), error  # of what we do not read
            continue
        assert {tensor.name for tensor in found.tensors} == wanted.keys()
        try:
            ours = read_foreign(path).tensors
        except RefusedError as error:
            assert "NaN or infinite" in str(error)
            continue
        assert all(torch.equal(ours[plain], wanted[key]) for key, plain in found.names.items())
    assert 100 < taken < 2900  # both ways were gone


@pytest.mark.parametrize("which", GOOD)
def test_damaged_checkpoints_are_refused_in_a_sentence_or_passed(which: str) -> None:
    chance, refused = random.Random(2), 0
    data = GOOD[which]
    for _ in range(2000):
        try:
            examine(io.BytesIO(mutant(data, chance, len(data))), "mutant")
        except RefusedError:
            refused += 1
    assert refused > 1000


def main() -> None:
    """The table of costs: seconds of processor, seconds and MB of a process that refuses each file."""
    folder = Path(sys.argv[1])
    rows = []
    for what, data in HOSTILE.items():
        path = folder / "weights.pth"
        path.write_bytes(data)
        start = time.perf_counter()
        exit_code, seconds, megabytes = cost(path)
        rows.append((seconds, time.perf_counter() - start, megabytes, exit_code, what))
    for row in sorted(rows)[-8:]:
        print(row)
    print(len(rows), Counter(row[3] for row in rows), "most MB", max(row[2] for row in rows), max(r[1] for r in rows))


if __name__ == "__main__":
    main()
