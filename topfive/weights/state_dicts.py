"""The tensors of a checkpoint without what wraps them: dicts in dicts, prefixes, moving averages."""

import math
from collections import Counter
from dataclasses import dataclass
from typing import Literal

from topfive.weights.pickles import ITEM_BYTES, Pairs, Tensor, Unfit, Value, shown

LONGEST = 500  # characters of a tensor's name
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


def state_of(value: Value, size: int) -> Weights:
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
    return weights_of("torch", listed, 0, tuple(path), notes)


def _holds(value: Value) -> bool:
    """Whether a value is a dict of tensors, or of such dicts; one may have settings under the same name."""
    return type(value) is Pairs and any(type(item) is Tensor or type(item) is Pairs for _, item in value)


def weights_of(
    kind: Literal["safetensors", "torch"], tensors: list[Listed], start: int, path: tuple[str, ...], notes: list[str]
) -> Weights:
    """The tensors with the names that they have without what wraps them. Raises: Unfit."""
    names = [tensor.name for tensor in tensors if tensor.name != COUNTER]
    if not names:
        raise Unfit("it holds no tensor")
    if name := repeated(names):
        raise Unfit(f"it has two tensors of the name {shown(name)}")
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


def repeated(names: list[str]) -> str | None:
    """A name that is there more than once."""
    name, count = Counter(names).most_common(1)[0]
    return name if count > 1 else None


def _some(names: list[str] | dict[str, Value]) -> str:
    """The first few names, for a sentence."""
    few = ", ".join(shown(name) for name in list(names)[:5])
    return f"{few} and {len(names) - 5} more" if len(names) > 5 else few
