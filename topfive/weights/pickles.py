"""The pickles of torch read without executing them: pickle's stack machine on values that can do nothing.

Nothing is imported, called or built here. Twenty-odd opcodes and the names below are all that a checkpoint of plain
tensors and plain settings needs; whatever else a pickle asks for is refused by name. What is left is where each tensor
lies, so that sizes can be held against the bytes of the file before memory is given.
"""

import pickletools
import struct
from dataclasses import dataclass
from typing import Any, BinaryIO, TypeAlias

ITEM_BYTES = {"float16": 2, "bfloat16": 2, "float32": 4, "float64": 8, "int8": 1, "int16": 2, "int32": 4, "int64": 8,
              "uint8": 1, "bool": 1}  # fmt: skip
STORAGES = {"torch HalfStorage": "float16", "torch BFloat16Storage": "bfloat16", "torch FloatStorage": "float32",
            "torch DoubleStorage": "float64", "torch CharStorage": "int8", "torch ShortStorage": "int16",
            "torch IntStorage": "int32", "torch LongStorage": "int64", "torch ByteStorage": "uint8",
            "torch BoolStorage": "bool"}  # fmt: skip
TENSORS = {"torch._utils _rebuild_tensor": 4, "torch._utils _rebuild_tensor_v2": 6}  # and how many arguments they take
# why these: a state dict is an OrderedDict of tensors and Parameters; shapes, devices and dtypes stand in settings, a
# Counter in the state of torch's MultiStepLR, a Namespace in what timm's and torchvision's training scripts save
SETTINGS = {"torch device", "collections Counter", "argparse Namespace", *(f"torch {dtype}" for dtype in ITEM_BYTES)}
# NumPy's scalars, as an accuracy often is: a dtype without fields or metadata, and its bytes as a latin-1 text
SCALARS = {"numpy._core.multiarray scalar", "numpy.core.multiarray scalar"}  # since NumPy 2, and before
NUMPY = {"b1": 1, "i1": 1, "i2": 2, "i4": 4, "i8": 8, "u1": 1, "u2": 2, "u4": 4, "u8": 8, "f2": 2, "f4": 4, "f8": 8}
DTYPE, BYTES = "numpy dtype", "_codecs encode"
PLAIN = (None, None, None, -1, -1, 0)  # the state of such a dtype, behind its version and the order of its bytes
ALLOWED = {"collections OrderedDict", "torch._utils _rebuild_parameter", "torch Size", *STORAGES, *TENSORS, *SETTINGS,
           *SCALARS, DTYPE, BYTES}  # fmt: skip
UNFIT = {"qtensor": "quantized", "sparse": "sparse", "nested": "nested", "meta_tensor": "meta", "Complex": "complex",
         "QInt": "quantized", "QUInt": "quantized", "subclass": "specialised", "from_type": "specialised"}  # fmt: skip

MOST_STEPS = 250_000  # opcodes: a state dict with optimizer and moving average of a thousand layers takes 100,000
LARGEST = 2**40  # of a size, a stride or an offset
DEEPEST = 8  # dimensions

NUMBERS = {"BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINSTRING"}
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}

Value: TypeAlias = Any  # None, bool, int, float, str, list, tuple, Pairs, Tensor, or one of the marks below


class Unfit(Exception):
    """Why a file is not taken, as the end of a sentence."""


class Pairs(list[tuple[Value, Value]]):
    """A dict as its pairs: no key of a stranger's is hashed."""


@dataclass(frozen=True)
class Name:
    """What a pickle would import, as "module name"."""

    name: str


@dataclass(frozen=True)
class Setting:
    """A value of no concern, of the kind `name`."""

    name: str


@dataclass(frozen=True)
class Part:
    """A dtype of NumPy or some bytes, which make a scalar if they are of one size."""

    name: str
    bytes: int


@dataclass(frozen=True)
class Storage:
    dtype: str
    key: str
    count: int  # of items

    @property
    def bytes(self) -> int:
        return self.count * ITEM_BYTES[self.dtype]


@dataclass(frozen=True)
class Tensor:
    """A dense tensor that is known to lie inside of its storage."""

    storage: Storage
    shape: tuple[int, ...]


class Reader:
    """Reads one pickle after another; `storages` are those that they spoke of, by key."""

    def __init__(self, file: BinaryIO) -> None:
        self.storages: dict[str, Storage] = {}
        self._file = file
        self._steps = 0

    def read(self) -> Value:
        """The value of the next pickle. Raises: Unfit."""
        try:
            return self._run()
        except (ValueError, IndexError, KeyError, TypeError, EOFError, struct.error, OverflowError):
            raise Unfit("its pickle is damaged") from None

    def _run(self) -> Value:
        stack: list[Value] = []
        below: list[list[Value]] = []  # the stacks under each mark
        memo: dict[int, Value] = {}
        value: Any
        for opcode, value, _ in pickletools.genops(self._file):
            self._steps += 1
            if self._steps > MOST_STEPS:
                raise Unfit(f"its pickle has more than {MOST_STEPS:,} steps, which no network needs")
            word = opcode.name
            if word in NUMBERS:
                stack.append(value)
            elif word in ("BINPUT", "LONG_BINPUT"):
                memo[value] = stack[-1]
            elif word in ("BINGET", "LONG_BINGET"):
                stack.append(memo[value])
            elif word in CONSTANTS:
                stack.append(CONSTANTS[word])
            elif word == "MARK":
                below.append(stack)
                stack = []
            elif word in ("TUPLE", "SETITEMS", "APPENDS"):
                items, stack = stack, below.pop()
                if word == "TUPLE":
                    stack.append(tuple(items))
                elif word == "SETITEMS":
                    _pairs(stack[-1]).extend(zip(items[::2], items[1::2], strict=True))
                else:
                    _list(stack[-1]).extend(items)
            elif word in ("TUPLE1", "TUPLE2", "TUPLE3"):
                count = int(word[-1])
                items = [stack.pop() for _ in range(count)]
                stack.append(tuple(reversed(items)))
            elif word in ("EMPTY_DICT", "EMPTY_LIST"):
                stack.append(Pairs() if word == "EMPTY_DICT" else [])
            elif word == "SETITEM":
                item, key = stack.pop(), stack.pop()
                _pairs(stack[-1]).append((key, item))
            elif word == "APPEND":
                item = stack.pop()
                _list(stack[-1]).append(item)
            elif word == "GLOBAL":
                stack.append(_name(value))
            elif word == "BINPERSID":
                stack.append(self._storage(stack.pop()))
            elif word in ("REDUCE", "NEWOBJ"):
                arguments, function = stack.pop(), stack.pop()
                stack.append(_called(function, arguments))
            elif word == "BUILD":
                _check_build(stack.pop(), stack[-1])
            elif word == "STOP":
                return stack.pop()
            elif word in ("FRAME", "STACK_GLOBAL"):
                if word == "STACK_GLOBAL" and type(stack[-1]) is type(stack[-2]) is str:
                    _name(f"{stack[-2]} {stack[-1]}")
                raise Unfit("its pickle is of protocol 4 or newer: have torch save it, which uses protocol 2")
            elif word != "PROTO":
                raise Unfit(f"its pickle has the opcode {word}, which no state dict needs")
        raise Unfit("its pickle is damaged")

    def _storage(self, spoken: Value) -> Storage:
        if type(spoken) is not tuple or len(spoken) not in (5, 6) or spoken[0] != "storage":
            raise Unfit("its pickle refers to something that is no storage of numbers")
        _, kind, key, location, count, *views = spoken
        if not (type(kind) is Name and kind.name in STORAGES and type(key) is type(location) is str):
            raise Unfit("its pickle has a storage of no kind that is known")
        if not _whole(count) or any(view is not None for view in views):
            raise Unfit("its pickle has a storage of a size that cannot be")
        storage = Storage(STORAGES[kind.name], key, count)
        if self.storages.setdefault(key, storage) != storage:
            raise Unfit(f"its storage {shown(key)} has two sizes")
        return storage


def shown(word: object) -> str:
    """A stranger's word in one line, without control characters, and cut."""
    text = ascii(word)[1:-1] if isinstance(word, str) else ascii(word)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _name(name: str) -> Name:
    if name in ALLOWED:
        return Name(name)
    for part, kind in UNFIT.items():
        if name.startswith("torch") and part in name:
            raise Unfit(f"it holds a {kind} tensor, and only dense numbers are taken")
    raise Unfit(
        f"it asks for {shown(name.replace(' ', '.'))}, which is code and no weights; "
        "have the program that wrote it save model.state_dict() alone"
    )


def _called(function: Value, arguments: Value) -> Value:
    """What a call gives, for the few that are known."""
    if type(function) is not Name or type(arguments) is not tuple:
        raise Unfit("its pickle calls what is no function")
    name = function.name
    if name in TENSORS and len(arguments) == TENSORS[name]:
        if arguments[5:] not in ((), (None,), (Pairs(),)):
            raise Unfit("it holds a tensor with hooks")
        return _tensor(*arguments[:4])
    if name == "torch._utils _rebuild_parameter" and len(arguments) == 3 and type(arguments[0]) is Tensor:
        return arguments[0]
    if name == "collections OrderedDict" and not arguments:
        return Pairs()
    if name == "collections OrderedDict" and len(arguments) == 1:  # as Python 2 pickled it
        return Pairs((key, value) for key, value in _list(arguments[0]))
    if name == "torch Size" and len(arguments) == 1 and type(arguments[0]) is tuple:
        return arguments[0]
    if name in SETTINGS:
        return Setting(name)
    if name == DTYPE and arguments[1:] == (False, True) and type(arguments[0]) is str and arguments[0] in NUMPY:
        return Part(DTYPE, NUMPY[arguments[0]])
    if name == BYTES and arguments[1:] == ("latin1",) and type(arguments[0]) is str:
        return Part(BYTES, len(arguments[0]))
    if name in SCALARS and len(arguments) == 2 and all(type(part) is Part for part in arguments):
        dtype, content = arguments
        if (dtype.name, content.name) == (DTYPE, BYTES) and dtype.bytes == content.bytes:
            return Setting(name)
    raise Unfit(f"its pickle calls {name.replace(' ', '.')} with arguments that cannot be")


def _tensor(storage: Value, offset: Value, shape: Value, strides: Value) -> Tensor:
    fine = type(storage) is Storage and type(shape) is type(strides) is tuple and len(shape) == len(strides) <= DEEPEST
    if not fine or not all(_whole(number) for number in (offset, *shape, *strides)):
        raise Unfit("it holds a tensor of sizes or strides that cannot be")
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides))
    if 0 not in shape and last >= storage.count:
        raise Unfit(f"it holds a tensor {shape} that is larger than its storage of {storage.count:,} numbers")
    return Tensor(storage, shape)


def _check_build(state: Value, target: Value) -> None:
    """Attributes are set on a state dict (its `_metadata`), on settings and on plain dtypes, and on nothing else."""
    if type(target) is Part and target.name == DTYPE and state in ((3, order, *PLAIN) for order in "<|"):
        return
    names = [key for key, _ in _pairs(state)]
    settings = target == Setting("argparse Namespace") and all(type(name) is str for name in names)
    if not settings and not (type(target) is Pairs and names in ([], ["_metadata"])):
        raise Unfit("its pickle sets attributes on what is no state dict")


def _pairs(value: Value) -> Pairs:
    if type(value) is not Pairs:
        raise Unfit("its pickle puts entries into what is no dict")
    return value


def _list(value: Value) -> list[Value]:
    if type(value) is not list:
        raise Unfit("its pickle appends to what is no list")
    return value


def _whole(number: Value) -> bool:
    return type(number) is int and 0 <= number <= LARGEST
