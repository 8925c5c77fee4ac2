"""Tensors to bytes and back, as safetensors: no pickle. The file of a model says by itself what it is a model of."""

from collections.abc import Mapping

import msgspec
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from topfive.errors import RefusedError

ABOUT = "topfive"  # the key of the description in a file's header


class _Header(msgspec.Struct):
    metadata: dict[str, str] = msgspec.field(name="__metadata__", default_factory=dict)


def packed(tensors: Mapping[str, Tensor], about: Mapping[str, object]) -> bytes:
    """A safetensors file of `tensors`, with `about` as JSON in its header."""
    plain = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
    return save(plain, {ABOUT: msgspec.json.encode(about).decode()})


def unpacked(data: bytes, where: str) -> tuple[dict[str, Tensor], dict[str, object]]:
    """What `packed` packed. Raises: RefusedError naming `where`."""
    try:
        length = int.from_bytes(data[:8], "little")
        header = msgspec.json.decode(data[8 : 8 + length], type=_Header)
        about = msgspec.json.decode(header.metadata.get(ABOUT, "{}"), type=dict[str, object])
        return load(data), about
    except (SafetensorError, msgspec.MsgspecError, UnicodeDecodeError, ValueError, TypeError, AttributeError) as error:
        raise RefusedError(f"{where} is not a whole safetensors file: {error}") from None


def fill(module: torch.nn.Module, tensors: Mapping[str, Tensor], where: str) -> None:
    """Put `tensors` into `module`. Raises: RefusedError that names what does not fit, or numbers that are none."""
    wanted = module.state_dict()
    missing, extra = sorted(wanted.keys() - tensors.keys()), sorted(tensors.keys() - wanted.keys())
    shapes = [
        f"{name} {tuple(tensors[name].shape)} there, {tuple(wanted[name].shape)} here"
        for name in wanted.keys() & tensors.keys()
        if tensors[name].shape != wanted[name].shape
    ]
    wrong = [*sorted(shapes), *(f"{name} is missing" for name in missing), *(f"{name} is not known" for name in extra)]
    if wrong:
        more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise RefusedError(f"{where} does not fit: {'; '.join(wrong[:5])}{more}")
    bad = sorted(name for name, t in tensors.items() if t.is_floating_point() and not bool(torch.isfinite(t).all()))
    if bad:
        raise RefusedError(f"{where} has weights that are NaN or infinite: {', '.join(bad[:5])}")
    module.load_state_dict(tensors)
