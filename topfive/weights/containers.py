"""The files that weights come in, safetensors and torch's zip and older format: is all that they say of sizes true?."""

import io
import json
import struct
import zipfile
from typing import BinaryIO

from topfive.weights.pickles import DEEPEST, LARGEST, Pairs, Reader, Unfit, Value, shown
from topfive.weights.state_dicts import Listed, Weights, repeated, state_of, weights_of

MOST_HEADER = 2 * 2**20  # bytes of a pickle, or of a safetensors header: a thousand tensors take a tenth of it
MOST_MEMBERS = 20_000  # files in a zip
MOST_DIRECTORY = 4 * 2**20  # bytes that list them
MAGIC = 0x1950A86A20F9469CFC6C  # the first pickle of torch's older format
PROTOCOL = 1001
SAFETENSORS = {"F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64", "I8": "int8", "I16": "int16",
               "I32": "int32", "I64": "int64", "U8": "uint8", "BOOL": "bool"}  # fmt: skip


def read_safetensors(file: BinaryIO, size: int) -> Weights:
    """The tensors of a safetensors file of `size` bytes. Raises: Unfit."""
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
    return weights_of("safetensors", tensors, 8 + length, (), [])


def _entry(name: str, entry: Value) -> tuple[int, int, Listed]:
    """(first byte, byte behind the last, tensor)."""
    fields: dict[str, Value] = dict(entry) if type(entry) is Pairs else {}
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


def read_zip(file: BinaryIO, size: int) -> Weights:
    """A checkpoint as torch has written it since 1.6: a zip, nothing in it compressed."""
    end = _directory_end(file, size)
    try:
        members = zipfile.ZipFile(file).infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, EOFError, struct.error):
        raise Unfit("its zip archive is damaged") from None
    names = [member.filename for member in members]
    _check_kind(names)
    if name := repeated(names):
        raise Unfit(f"its zip archive has the member {shown(name)} twice")
    if any(member.flag_bits & 0x1 for member in members):
        raise Unfit("its zip archive is encrypted")
    unpacked = sum(member.file_size for member in members)
    if any(member.compress_type or member.file_size != member.compress_size for member in members) or unpacked > size:
        raise Unfit(f"its zip archive is compressed, {size:,} bytes to {unpacked:,}, which torch never does")
    root = next((name for name in names if name.endswith("/data.pkl")), "").removesuffix("data.pkl")
    if root.count("/") != 1 or not all(name.startswith(root) and _plain(name) for name in names):
        raise Unfit("its zip archive has members with paths outside it")
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
    return state_of(value, size)


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


def read_legacy(file: BinaryIO, size: int) -> Weights:
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
    return state_of(value, size)


def _check_storage(key: str, needed: int, have: int) -> None:
    if have != needed:
        raise Unfit(f"its storage {shown(key)} does not have the size that its pickle says")
