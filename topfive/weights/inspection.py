"""What a file of weights from somebody else holds, found out without executing anything of it, and without torch.

A file is taken when it is safetensors, or a checkpoint of torch whose pickle asks for tensors and plain settings alone,
and when all that it says of sizes agrees with the bytes that it has. Anything else is refused in one sentence that says
what it is. What passes is read by engine/inference/foreign.py.
"""

import io
import json
import math
import struct
import tarfile
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

from topfive.errors import RefusedError, ResourceError, UsageError
from topfive.weights.pickles import DEEPEST, ITEM_BYTES, LARGEST, Pairs, Reader, Tensor, Unfit, Value, shown

MOST_HEADER = 2 * 2**20  # bytes of a pickle, or of a safetensors header: a thousand tensors take a tenth of it
MOST_MEMBERS = 20_000  # files in a zip
MOST_DIRECTORY = 4 * 2**20  # bytes that list them
LONGEST = 500  # characters of a tensor's name
MAGIC = 0x1950A86A20F9469CFC6C  # the first pickle of torch's older format
PROTOCOL = 1001
# source: what timm's train.py, torchvision's references, Lightning, Composer and PyTorch's examples write
AVERAGES = ("state_dict_ema", "model_ema", "ema_state_dict", "ema")
WRAPPERS = (*AVERAGES, "state_dict", "model_state_dict", "model_state", "model", "net", "network", "module", "weights",
            "state", "params")  # fmt: skip
PREFIXES = ("module.", "_orig_mod.", "model.", "backbone.", "net.", "network.")
PARTS = ("backbone.", "head.")  # as mmpretrain calls the two parts of a classifier
INSIDE = ("module", "_orig_mod")  # what DataParallel and torch.compile put before the names of what they wrap
# of a loss or a moving average, which lie beside a network's own tensors
BESIDE = ("criterion.", "loss.", "loss_fn.", "ema.", "ema_", "model_ema.")
COUNTER = "n_averaged"  # torch's AveragedModel counts its steps among the weights
SAFETENSORS = {"F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64", "I8": "int8", "I16": "int16",
               "I32": "int32", "I64": "int64", "U8": "uint8", "BOOL": "bool"}  # fmt: skip
OTHERS = {  # by their first bytes
    b"\x89HDF": "an HDF5 file, as Keras writes",
    b"7z\xbc\xaf": "a 7z archive: unpack it first",
    b"Rar!": "a RAR archive: unpack it first",
    b"\x1f\x8b": "packed with gzip: unpack it first",
    b"\xfd7zXZ": "packed with xz: unpack it first",
    b"BZh": "packed with bzip2: unpack it first",
    b"\x28\xb5\x2f\xfd": "packed with zstd: unpack it first",
    b"\x93NUMPY": "an array of NumPy",
    b"GGUF": "a GGUF file, as language models have",
    b"version https://git-lfs": "a pointer of Git LFS and not the file itself: git lfs pull fetches it",
    b"\x08\x01\x12": "a SavedModel of TensorFlow",
    b"TFL3": "a model of TensorFlow Lite",
    b"%PDF": "a PDF",
    b"\x7fELF": "a program",
    b"\xff\xd8\xff": "an image",
    b"\x89PNG": "an image",
}


@dataclass(frozen=True)
class Listed:
    """A tensor that a file has: its name there, its dtype as torch calls it, its shape."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def bytes(self) -> int:
        return math.prod(self.shape) * ITEM_BYTES[self.dtype]


@dataclass(frozen=True)
class Weights:
    """What a file holds: its tensors in the order in which they are read, and the wrappers around them."""

    kind: Literal["safetensors", "torch"]
    tensors: tuple[Listed, ...]
    start: int  # where their bytes begin in a safetensors file, one behind the other
    path: tuple[str, ...]  # the keys that lead to them in a torch file
    prefix: str  # what all names begin with that is no part of the network's own
    names: dict[str, str]  # of the network's tensors: there -> without what wraps them
    notes: tuple[str, ...]


def examined(path: Path) -> Weights:
    """What the file at `path` holds.

    Raises: UsageError (no such file), RefusedError (no weights, or none that are safe to take), ResourceError.
    """
    with opened(path) as file:
        return examine(file, str(path))


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """The file at `path`. Raises: UsageError, ResourceError."""
    if not path.is_file():  # a pipe or a device would keep us waiting
        raise UsageError(f"there is no file of weights {str(path)!r}")
    try:
        file = path.open("rb")
    except OSError as error:
        raise ResourceError(f"{str(path)!r} cannot be read: {error.strerror}") from None
    with file:
        yield file


def examine(file: BinaryIO, where: str) -> Weights:
    """What an open file holds. Raises: RefusedError naming `where`."""
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    head = file.read(512)
    try:
        if head[8:9] == b"{":
            return _safetensors(file, size)
        if head[:4] == b"PK\x03\x04":
            return _zip(file, size)
        if head[:1] == b"\x80" and not _is_tar(head):
            return _legacy(file, size)
        raise Unfit(f"it is {_what(file, head, size)}")
    except Unfit as why:
        raise RefusedError(f"{where} is not taken: {why}") from None
    except OSError as error:
        raise ResourceError(f"{where} cannot be read: {error.strerror}") from None


def _what(file: BinaryIO, head: bytes, size: int) -> str:
    """What a file is that is none of ours."""
    if not size:
        return "empty"
    for magic, what in OTHERS.items():
        if head.startswith(magic) or (magic == b"TFL3" and head[4:8] == magic):
            return what
    if _is_tar(head):
        return "a tar archive, which torch wrote before 2017 and others use for other things"
    text = head.lstrip()[:15].lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "a web page, perhaps the one that asked for a log-in"
    if head[:1] == b"\x08" and head[2:3] == b"\x12":
        return "a network in ONNX"
    if head[:4] in (b"\x01\0\0\0", b"\x03\0\0\0", b"\x04\0\0\0"):
        return "a file of Lua Torch (t7)"
    if head[0] & 0xF0 == 0x80 or head[:1] in (b"\xde", b"\xdf"):
        return "MessagePack, as Flax writes"
    file.seek(max(0, size - 8))
    if file.read(8) == bytes.fromhex("57fb808b247547db"):
        return "the index of a checkpoint of TensorFlow"
    if head[:1] == b"\x0a":
        return "a protobuf, as TensorFlow's and Caffe's networks are"
    return "neither safetensors nor a checkpoint of torch"


def _is_tar(head: bytes) -> bool:
    try:
        tarfile.TarInfo.frombuf(head, "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError):
        return False
    return True


# --- safetensors ----------------------------------------------------------------------------------------------------


def _safetensors(file: BinaryIO, size: int) -> Weights:
    file.seek(0)
    length = int.from_bytes(file.read(8), "little")
    if length > MOST_HEADER:
        raise Unfit(f"its safetensors header would have {length:,} bytes, and no network needs {MOST_HEADER:,}")
    if 8 + length > size:
        raise Unfit(f"it is cut: its safetensors header has {length:,} bytes, the file {size:,}")
    header = file.read(length)
    try:
        entries = json.loads(header.decode("utf-8"), object_pairs_hook=Pairs)
    except (ValueError, RecursionError):
        raise Unfit("its safetensors header is no JSON") from None
    if type(entries) is not Pairs:
        raise Unfit("its safetensors header is no table of tensors")
    found = [(*_entry(name, entry), name) for name, entry in entries if name != "__metadata__"]
    at = 0
    for begin, end, _, _ in sorted(found, key=lambda entry: entry[:2]):
        if begin != at:
            raise Unfit("the tensors of its safetensors header overlap or leave holes")
        at = end
    if 8 + length + at != size:
        raise Unfit(f"its safetensors header speaks of {8 + length + at:,} bytes, the file has {size:,}")
    tensors = [listed for *_, listed, _ in sorted(found, key=lambda entry: entry[:2])]
    return _weights("safetensors", tensors, 8 + length, (), [])


def _entry(name: str, entry: Value) -> tuple[int, int, Listed]:
    """(first byte, byte behind the last, tensor)."""
    fields: dict[str, Any] = dict(entry) if type(entry) is Pairs else {}
    dtype, shape, offsets = (fields.get(field, "") for field in ("dtype", "shape", "data_offsets"))
    if not (
        fields
        and len(entry) == 3
        and isinstance(dtype, str)
        and _wholes(shape)
        and _wholes(offsets)
        and len(offsets) == 2
    ):
        raise Unfit(f"its safetensors header says of {shown(name)} what cannot be")
    if dtype not in SAFETENSORS:
        raise Unfit(f"{shown(name)} has numbers of the kind {shown(dtype)}, which are not taken")
    tensor = Listed(name, SAFETENSORS[dtype], tuple(shape))
    if tensor.bytes != offsets[1] - offsets[0]:
        raise Unfit(f"{shown(name)} has {offsets[1] - offsets[0]:,} bytes, its shape needs {tensor.bytes:,}")
    return offsets[0], offsets[1], tensor


def _wholes(numbers: Value) -> bool:
    if type(numbers) is not list or len(numbers) > DEEPEST:
        return False
    return all(type(number) is int and 0 <= number <= LARGEST for number in numbers)


# --- torch ----------------------------------------------------------------------------------------------------------


def _zip(file: BinaryIO, size: int) -> Weights:
    """A checkpoint as torch has written it since 1.6: a zip, nothing in it compressed."""
    end = _directory_end(file, size)
    try:
        members = zipfile.ZipFile(file).infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, EOFError, struct.error):
        raise Unfit("its zip archive is damaged") from None
    names = [member.filename for member in members]
    _check_kind(names)
    if twice := _twice(names):
        raise Unfit(f"its zip archive has the member {shown(twice)} twice")
    if any(member.flag_bits & 0x1 for member in members):
        raise Unfit("its zip archive is encrypted")
    unpacked = sum(member.file_size for member in members)
    if any(member.compress_type or member.file_size != member.compress_size for member in members) or unpacked > size:
        raise Unfit(f"its zip archive is compressed, {size:,} bytes to {unpacked:,}, which torch never does")
    root = next((name for name in names if name.endswith("/data.pkl")), "").removesuffix("data.pkl")
    if root.count("/") != 1 or not all(name.startswith(root) and _plain(name) for name in names):
        raise Unfit("its zip archive has members that lead out of it")
    places = {member.filename: (_begin(file, member, end), member.file_size) for member in members}
    begin, length = places[f"{root}data.pkl"]
    if length > MOST_HEADER:
        raise Unfit(f"its pickle has {length:,} bytes, and no network needs {MOST_HEADER:,}")
    order = _part(file, *places.get(f"{root}byteorder", (0, 0)))
    if order not in (b"", b"little"):
        raise Unfit("its numbers are big-endian")

    reader = Reader(io.BytesIO(_part(file, begin, length)))
    value = reader.read()
    for storage in reader.storages.values():
        have = places.get(f"{root}data/{storage.key}", (0, -1))[1]
        _check_storage(storage.key, storage.bytes, have)
    return _state(value, size)


def _directory_end(file: BinaryIO, size: int) -> int:
    """Where the zip's directory begins, which must be the only one that any reader of zips can find."""
    file.seek(max(0, size - 98))
    tail = file.read()
    if len(tail) < 22:
        raise Unfit("its zip archive is cut")
    signature, *_, count, length, begin, comment = struct.unpack("<4s4H2LH", tail[-22:])
    if signature != b"PK\x05\x06" or comment:
        raise Unfit("its zip archive is cut, or something follows it")
    behind = size - 22
    if tail[-42:-38] == b"PK\x06\x07":  # torch writes the 64-bit record always
        behind = size - 98
        (place,) = struct.unpack("<Q", tail[-34:-26])
        record, *_, count, length, begin = struct.unpack("<4sQ2H2L4Q", tail[:56])
        if place != behind or record != b"PK\x06\x06":
            raise Unfit("its zip archive has two directories")
    if count > MOST_MEMBERS or length > MOST_DIRECTORY:
        raise Unfit(f"its zip archive has {count:,} members, which no network needs")
    if begin + length != behind:
        raise Unfit("its zip archive is damaged")
    return int(begin)


def _check_kind(names: list[str]) -> None:
    """Refuse what is a zip but no checkpoint, saying what it is."""
    ends = {name.split("/", 1)[-1] for name in names}
    if any(end.startswith("code/") for end in ends) or "constants.pkl" in ends:
        raise Unfit("it is a TorchScript program: save model.state_dict() instead")
    if "archive_format" in ends or any(end.startswith("models/") for end in ends):
        raise Unfit("it is a program of torch.export (.pt2): save model.state_dict() instead")
    if any(name.endswith(".h5") for name in names):
        raise Unfit("it is a network of Keras")
    if any(name.endswith(".npy") for name in names):
        raise Unfit("it is an archive of NumPy arrays")
    if "data.pkl" not in ends:
        raise Unfit("it is a zip archive and no checkpoint of torch")


def _plain(name: str) -> bool:
    return not ({"", ".", ".."} & set(name.split("/")) or "\\" in name) and name.isascii() and name.isprintable()


def _begin(file: BinaryIO, member: zipfile.ZipInfo, end: int) -> int:
    """The first byte of a member, after comparing its own header with the directory's."""
    file.seek(member.header_offset)
    local = file.read(30)
    if len(local) < 30 or local[:4] != b"PK\x03\x04":
        raise Unfit("its zip archive is damaged")
    name, extra = struct.unpack("<2H", local[26:])
    begin = member.header_offset + 30 + name + extra
    if file.read(name) != member.filename.encode() or begin + member.file_size > end:
        raise Unfit(f"its zip archive says two things of {shown(member.filename)}")
    return int(begin)


def _part(file: BinaryIO, begin: int, length: int) -> bytes:
    file.seek(begin)
    return file.read(length)


def _legacy(file: BinaryIO, size: int) -> Weights:
    """A checkpoint as torch wrote it before 1.6: five pickles, then each storage's length and numbers."""
    file.seek(0)
    start = io.BytesIO(file.read(MOST_HEADER))
    reader = Reader(start)
    if reader.read() != MAGIC:
        raise Unfit("it is a pickle of Python and no checkpoint of torch")
    if reader.read() != PROTOCOL:
        raise Unfit("it is of a version of torch that is not known")
    system, value, keys = reader.read(), reader.read(), reader.read()
    if ("little_endian", True) not in (system if type(system) is Pairs else []):
        raise Unfit("its numbers are big-endian")
    if type(keys) is not list or not all(type(key) is str for key in keys) or sorted(keys) != sorted(reader.storages):
        raise Unfit("its list of storages is not that of its tensors")
    at = start.tell()
    for key in keys:
        count = int.from_bytes(_part(file, at, 8), "little")
        storage = reader.storages[key]
        _check_storage(key, storage.count, count)
        at += 8 + storage.bytes
    if at != size:
        raise Unfit(f"it speaks of {at:,} bytes and has {size:,}")
    return _state(value, size)


def _check_storage(key: str, needed: int, have: int) -> None:
    if have != needed:
        raise Unfit(f"its storage {shown(key)} does not have the size that its pickle says")


# --- wrappers -------------------------------------------------------------------------------------------------------


def _state(value: Value, size: int) -> Weights:
    """The state dict inside of what a checkpoint holds."""
    path: list[str] = []
    notes: list[str] = []
    while True:
        if type(value) is not Pairs:
            raise Unfit("it holds no state dict: have the program that wrote it save model.state_dict()")
        entries = {key: item for key, item in value if type(key) is str}
        inner = [key for key in WRAPPERS if _holds(entries.get(key))]
        if not inner:
            break
        taken = inner[0]
        left = [key for key in entries if key != taken]
        if taken in AVERAGES and len(inner) > 1:
            # why: timm and torchvision's scripts state the accuracy of the average where they keep one
            notes.append(f"{taken} was taken, the moving average of the weights, and not {inner[1]}")
        if left:
            notes.append(f"not used: {_some(left)}")
        path.append(taken)
        value = entries[taken]
        if len(path) > 3:
            raise Unfit("it has dicts in dicts and no state dict")
    tensors = {key: item for key, item in entries.items() if type(item) is Tensor}
    if not tensors:
        raise Unfit(f"it holds no state dict; its entries are {_some(entries) or 'none'}")
    if len(tensors) != sum(type(item) is Tensor for _, item in value):
        raise Unfit("it has tensors without a name, or two of one name")
    left = [key for key in entries if key not in tensors]
    if left:
        notes.append(f"not used: {_some(left)}")
    listed = [Listed(name, tensor.storage.dtype, tensor.shape) for name, tensor in tensors.items()]
    if sum(tensor.bytes for tensor in listed) > 2 * size:
        raise Unfit("its tensors are more than twice as large as the file: they share their numbers")
    return _weights("torch", listed, 0, tuple(path), notes)


def _holds(value: Value) -> bool:
    """Whether a value is a dict of tensors, or of such dicts; one may have settings under the same name."""
    return type(value) is Pairs and any(type(item) is Tensor or type(item) is Pairs for _, item in value)


def _weights(
    kind: Literal["safetensors", "torch"], tensors: list[Listed], start: int, path: tuple[str, ...], notes: list[str]
) -> Weights:
    names = [tensor.name for tensor in tensors if tensor.name != COUNTER]
    if not names:
        raise Unfit("it holds no tensor")
    if twice := _twice(names):
        raise Unfit(f"it has two tensors of the name {shown(twice)}")
    for name in names:
        if len(name) > LONGEST or not name.isprintable():
            raise Unfit(f"{shown(name)} is no name of a tensor")
    beside = [name for name in names if name.startswith(BESIDE)]
    if 0 < len(beside) < len(names):
        names = [name for name in names if not name.startswith(BESIDE)]
        notes = [*notes, f"not used: {_some(beside)}"]
    prefix = ""
    while word := next((word for word in PREFIXES if all(name.startswith(prefix + word) for name in names)), ""):
        prefix += word
    if prefix:
        notes = [*notes, f"every name began with {prefix}, which was taken off"]
    rest = [name.removeprefix(prefix) for name in names]
    plain = [name.partition(".")[2] for name in rest] if all(name.startswith(PARTS) for name in rest) else rest
    plain = [".".join(part for part in name.split(".") if part not in INSIDE) for name in plain]
    if len(set(plain)) < len(plain):  # two would have one name
        plain = rest
    if short := next(((long, short) for long, short in zip(rest, plain) if long != short), None):
        notes = [*notes, f"names were shortened, as {shown(short[0])} to {shown(short[1])}"]
    return Weights(kind, tuple(tensors), start, path, prefix, dict(zip(names, plain)), tuple(notes))


def _twice(names: list[str]) -> str | None:
    """A name that is there more than once."""
    name, count = Counter(names).most_common(1)[0]
    return name if count > 1 else None


def _some(names: list[str] | dict[str, Value]) -> str:
    """The first few names, for a sentence."""
    few = ", ".join(shown(name) for name in list(names)[:5])
    return f"{few} and {len(names) - 5} more" if len(names) > 5 else few
