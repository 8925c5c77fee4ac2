"""What is built and measured, a network of ours or a factory of the user's own, as a fresh module."""

import importlib
import inspect
import sys

import msgspec
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from topfive.engine.models.modules import Shape, build
from topfive.errors import RefusedError
from topfive.networks.layers import Network, with_classes


class ModelSpec(msgspec.Struct, frozen=True):
    """What is built, trained and measured: a network value, or a factory of the user's own (`package.module:name`)."""

    name: str
    network: Network | None = None
    factory: str | None = None


def make(subject: ModelSpec, input: Shape, classes: int) -> nn.Module:
    """A fresh module of `subject` for images of `input` and `classes` classes.

    Raises: RefusedError where a user's factory does not give a module that maps the images to so many logits.
    """
    module = _make(subject, input, classes)
    if subject.network is not None:
        return module
    with torch.no_grad():
        try:
            was_training = module.training
            shape = tuple(module.eval()(torch.zeros(2, *input)).shape)
            module.train(was_training)
        except Exception as error:
            raise RefusedError(f"{subject.factory} fails on images of {input}: {error}") from error
    if shape != (2, classes):
        raise RefusedError(f"{subject.factory} gives {shape} for two images; wanted is (2, {classes})")
    return module


def _make(subject: ModelSpec, input: Shape, classes: int) -> nn.Module:
    if subject.network is not None:
        return build(with_classes(subject.network, classes), input)
    assert subject.factory is not None
    return _call_factory(subject.factory, classes)


def _call_factory(spec: str, classes: int) -> nn.Module:
    module_name, _, name = spec.partition(":")
    if "" not in sys.path:
        sys.path.insert(0, "")  # a module beside the user's work, as `python -m` finds it
    try:
        factory = getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError) as error:
        raise RefusedError(f"{spec} cannot be imported: {error}") from None
    accepted = inspect.signature(factory).parameters
    keyword = next((key for key in ("num_classes", "classes") if key in accepted), None)
    module = factory(**({keyword: classes} if keyword else {}))
    if not isinstance(module, nn.Module):
        raise RefusedError(f"{spec} gives {type(module).__name__}, not a torch.nn.Module")
    return module


def torch_costs(subject: ModelSpec, input: Shape, classes: int) -> tuple[int, int]:
    """(params, macs) by torch's own operator counter: for modules that are not our values.

    On the meta device, which computes nothing, and on the CPU for a module that looks at its numbers.
    """
    try:
        return _count_by_torch(subject, input, classes, "meta")
    except Exception:  # why: whatever a user's module raises there, it may do without on the CPU, or says so there
        return _count_by_torch(subject, input, classes, "cpu")


def _count_by_torch(subject: ModelSpec, input: Shape, classes: int, device: str) -> tuple[int, int]:
    with torch.device(device):
        module = _make(subject, input, classes).eval()
        pixels = torch.empty(1, *input)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(pixels)
    return sum(p.numel() for p in module.parameters()), counter.get_total_flops() // 2
