"""Running a network that is trained: the fastest form that this machine has and that gives what float32 gives.

Which one is fastest is measured on the first images, and so is whether it agrees with float32; what was taken, and
why, is a sentence for the user. Batch normalisation is folded into the layer before it, and what follows a convolution
(a sum, a ReLU) is done while its output is at hand, which is half of the gain over plain bfloat16.
"""

import copy
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import msgspec
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from topfive.engine.benchmark.machine import Machine
from topfive.engine.inference import openvino as openvino_form
from topfive.engine.models import capabilities
from topfive.engine.models.layers import Flattened, Parallel, Sum
from topfive.engine.models.modules import Classifier, Net, normalised
from topfive.errors import UsageError

PRECISIONS = ("bfloat16", "float32")
FEW = 32  # images: for fewer, choosing takes longer than it saves
SECONDS = 1.5  # for float32, which the others are compared with, at most; a third of it for timing each of them
WORTH = 30  # seconds that the images to come must take for another form to be tried, which takes some three
PART = 8  # images of the sample that float32 takes at a time
MOST_OTHER = 0.01  # of the images compared may have another likeliest class than in float32, or one of them
MOST_OFF = {"bfloat16": 0.1, "float32": 1e-3}  # difference to float32's logits, as a share of the largest of them

Run = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Backend:
    """A classifier in the form that was chosen: `(N, 3, H, W)` uint8 on the CPU in, `(N, classes)` float logits out."""

    name: str
    precision: str
    agreeing: int  # images whose likeliest class is the one in float32
    compared: int  # of so many; none where it is float32 as torch computes it
    said: str  # what was taken and why, for the user
    run: Run

    def __call__(self, pixels: Tensor) -> Tensor:
        with torch.inference_mode():
            return self.run(pixels)

    @property
    def agreement(self) -> float:
        """The share of the compared images with the same likeliest class as in float32."""
        return self.agreeing / self.compared if self.compared else 1.0


class Form(msgspec.Struct, frozen=True):
    """One way to run a classifier; `make` takes its time."""

    name: str
    precision: str
    make: Callable[[], Run]


@torch.inference_mode()
def engine(
    classifier: Classifier, machine: Machine, sample: Tensor, choose: str = "auto", to_come: float = math.inf
) -> Backend:
    """The fastest form of `classifier` here, judged by `sample`, the first images, `(N, 3, H, W)` uint8.

    `choose`: "auto", a precision ("float32" for the exact one), or the name of an engine. Images of other sizes may
    follow; `to_come` says how many in all. Raises: UsageError for a `choose` that is not at hand.
    """
    plain = msgspec.structs.replace(machine, precision="float32")
    exact = _eager(classifier, plain)
    if choose in ("auto", "float32") and len(sample) < FEW:
        said = "torch float32: too few images to look for a faster backend"
        return Backend("torch float32", "float32", 0, 0, said, exact)
    chosen = _chosen(classifier, machine, choose)
    expected, rate = _in_parts(exact, sample)
    rates, left_out = {"torch float32": rate}, []
    found: list[tuple[float, Form, int, Run]] = []
    for form in chosen:
        if found and form.precision != found[0][1].precision:
            break  # a lower precision has been found to do, and is the faster one
        if found and to_come < WORTH * max(rates.values()):
            break
        try:
            run = form.make()
            logits = run(sample)[: len(expected)]
            fault, agreeing = compared(logits, expected, MOST_OFF[form.precision])
        except Exception as error:  # why: a library may lack an operation; the others do the work then
            fault = f"{type(error).__name__}: {error}".splitlines()[0][:120]
        if fault:
            left_out.append(f"{form.name} is left out: {fault}")
            continue
        rates[form.name] = _rate(run, sample)
        found.append((rates[form.name], form, agreeing, run))
    best = max(found, key=lambda one: one[0], default=None)
    others = ", ".join(f"{name} {rate:,.0f}" for name, rate in rates.items() if not best or name != best[1].name)
    if best is None or (choose == "auto" and rate > best[0]):
        said = "; ".join([f"torch float32, {rate:,.0f} images/s" + (f" ({others})" if best else ""), *left_out])
        return Backend("torch float32", "float32", 0, 0, said, exact)
    speed, form, agreeing, run = best
    same = f"same Top-1 as float32 for {agreeing} of the first {len(expected)}"
    said = "; ".join([f"{form.name}, {speed:,.0f} images/s ({others}), {same}", *left_out])
    return Backend(form.name, form.precision, agreeing, len(expected), said, run)


def compared(logits: Tensor, expected: Tensor, most_off: float) -> tuple[str, int]:
    """What is wrong with `(N, classes)` logits, or "", and for how many images the likeliest class is the same."""
    agreeing = int((logits.argmax(1) == expected.argmax(1)).sum())
    off = float((logits - expected).abs().max() / expected.abs().max().clamp_min(1e-12))
    if not off <= most_off:  # NaN, too
        return f"its logits differ by {off:.1%} of the largest", agreeing
    if len(expected) - agreeing > max(1, MOST_OTHER * len(expected)):
        return f"same Top-1 as float32 for only {agreeing} of {len(expected)}", agreeing
    return "", agreeing


def _chosen(classifier: Classifier, machine: Machine, choose: str) -> list[Form]:
    """The forms to try, the lower precision first."""
    precisions = list(dict.fromkeys([machine.precision, "float32"]))
    if choose == "auto":
        return [form for precision in precisions for form in forms(classifier, machine, precision)]
    every = [form for precision in PRECISIONS for form in forms(classifier, machine, precision)]
    chosen = [form for form in every if choose in (form.precision, form.name)]
    if choose == "torch float32" or not chosen:
        names = ", ".join(repr(name) for name in ("auto", *PRECISIONS, *(form.name for form in every)))
        raise UsageError(f"{choose!r} is not a backend of this network here; choose one of {names}")
    return chosen


def forms(classifier: Classifier, machine: Machine, precision: str) -> list[Form]:
    """The ways to run `classifier` in `precision` that this machine has."""
    net, at = classifier.net, msgspec.structs.replace(machine, precision=precision)
    if machine.device != "cpu" or not isinstance(net, Net):
        return [Form(f"torch {precision}, channels last", precision, lambda: _eager(classifier, at))]

    def torch_form(layout: torch.memory_format) -> Callable[[], Run]:
        ours = fused if capabilities.fused_convolution(at.dtype) else folded_eager
        return lambda: _normalising(classifier, ours(net, at.dtype, layout))

    def openvino() -> Run:
        return _normalising(classifier, openvino_form.compiled(folded(net), precision, machine.threads))

    how = f"torch {precision}, folded{' and fused' * capabilities.fused_convolution(at.dtype)}"
    layouts = {how: torch.channels_last, f"{how}, contiguous": torch.contiguous_format}
    found = [Form(name, precision, torch_form(layout)) for name, layout in layouts.items()]
    return found + [Form(f"OpenVINO {precision}, folded", precision, openvino)] * openvino_form.installed()


def _eager(classifier: Classifier, machine: Machine) -> Run:
    module = machine.infer_form(classifier)
    return lambda pixels: module(machine.place(pixels)).float().cpu()


def _normalising(classifier: Classifier, net: Run) -> Run:
    mean, std = classifier.normalisation
    return lambda pixels: net(normalised(pixels, mean, std))


def _in_parts(run: Run, sample: Tensor) -> tuple[Tensor, float]:
    """The logits of as many images as there is time for, and images a second."""
    began, found = time.perf_counter(), [run(sample[:PART])]
    again = time.perf_counter()
    first = again - began  # why: the first run also loads libraries, so that it does not count where there is another
    while (seen := sum(map(len, found))) < len(sample) and time.perf_counter() - began < SECONDS:
        found.append(run(sample[seen : seen + PART]))
    spent = time.perf_counter() - again
    return torch.cat(found), (seen - len(found[0])) / spent if len(found) > 1 else len(found[0]) / first


def _rate(run: Run, sample: Tensor) -> float:
    """Images a second, the best of a few runs."""
    times: list[float] = []
    while len(times) < 3 and sum(times) < SECONDS / 3:
        began = time.perf_counter()
        run(sample)
        times.append(time.perf_counter() - began)
    return len(sample) / min(times)


# --- folding and fusing ---------------------------------------------------------------------------------------------


def folded(net: Net) -> Net:
    """A copy for evaluation whose batch normalisation is in the weights of the layer that it directly follows."""
    copied = copy.deepcopy(net).eval()
    for parent in list(copied.modules()):
        if not isinstance(parent, (Net, nn.Sequential)):
            continue
        for (name, first), (following, second) in pairwise(list(parent.named_children())):
            if not isinstance(second, nn.BatchNorm2d):
                continue
            if isinstance(first, nn.Conv2d):
                setattr(parent, name, fuse_conv_bn_eval(first, second))
                setattr(parent, following, nn.Identity())
            elif isinstance(first, Flattened):
                setattr(parent, name, fuse_linear_bn_eval(first, second))
                setattr(parent, following, nn.Identity())
    return copied


def folded_eager(net: Net, dtype: torch.dtype, layout: torch.memory_format = torch.channels_last) -> Run:
    """`folded(net)` in `dtype` by torch's public operations, for a CPU: `(N, 3, H, W)` float in, logits out."""
    module = folded(net)
    for part in module.modules():
        if isinstance(part, (nn.Conv2d, nn.Linear)):
            part.to(dtype)
        if isinstance(part, nn.Conv2d):
            part.weight.data = part.weight.data.contiguous(memory_format=layout)
    return lambda x: module(x.to(dtype).contiguous(memory_format=layout)).float()


def fused(net: Net, dtype: torch.dtype, layout: torch.memory_format = torch.channels_last) -> Run:
    """`folded(net)` with its weights in `dtype`, for a CPU: `(N, 3, H, W)` float in, logits out.

    `layout` is that of what comes in and of what is between two convolutions.
    """
    copied = folded(net)
    module = _in_a_row(getattr(copied, row) for row in copied.rows)
    for part in module.modules():
        if isinstance(part, (FusedConv, nn.Linear)):
            part.to(dtype)
    return lambda x: module(x.to(dtype).contiguous(memory_format=layout)).flatten(1).float()


class FusedConv(nn.Module):
    """A convolution and, while its output is in the cache, the sum with another input and the ReLU that follow.

    By operations of torch's compiler that are not public: where `capabilities.fused_convolution` found them to run.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.weight, self.bias = conv.weight, conv.bias
        self.geometry = conv.padding, conv.stride, conv.dilation, conv.groups
        self.activation: tuple[str | None, list[float]] = (None, [])
        self.packed: Tensor | None = None  # the weights in the order in which the processor takes them

    def forward(self, x: Tensor, other: Tensor | None = None) -> Tensor:
        operations, (activation, limits) = torch.ops.mkldnn, self.activation
        if self.packed is None:
            self.packed = operations._reorder_convolution_weight(self.weight, *self.geometry, list(x.shape))
        weights = self.packed, self.bias, *self.geometry
        if other is None:
            y = operations._convolution_pointwise(x, *weights, activation or "none", limits, "")
        else:
            y = operations._convolution_pointwise.binary(x, other, *weights, "add", 1.0, activation, limits, "")
        return y  # type: ignore[no-any-return]


class FusedSum(nn.Module):
    """`shortcut(x) + last(before(x))`, where the convolution `last` adds."""

    def __init__(self, before: nn.Module, last: FusedConv, shortcut: nn.Module) -> None:
        super().__init__()
        self.before, self.last, self.shortcut = before, last, shortcut

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.before(x), self.shortcut(x))  # type: ignore[no-any-return]


def _in_a_row(modules: Iterable[nn.Module]) -> nn.Sequential:
    """The modules one after the other, nested ones laid out flat, each activation in the convolution before it."""
    done: list[nn.Module] = []
    for module in _flat(modules):
        last = done[-1].last if done and isinstance(done[-1], FusedSum) else done[-1] if done else None
        conv = last if isinstance(last, FusedConv) and last.activation[0] is None else None
        if conv and isinstance(module, nn.ReLU):
            conv.activation = ("relu", [])
        elif conv and isinstance(module, nn.Hardtanh):
            conv.activation = ("hardtanh", [module.min_val, module.max_val])
        elif not isinstance(module, (nn.Identity, nn.Dropout)):
            done.append(_fused(module))
    return nn.Sequential(*done)


def _flat(modules: Iterable[nn.Module]) -> Iterator[nn.Module]:
    for module in modules:
        if isinstance(module, nn.Sequential):
            yield from _flat(module)
        else:
            yield module


def _fused(module: nn.Module) -> nn.Module:
    match module:
        case nn.Conv2d():
            return FusedConv(module)
        case Parallel():
            return Parallel(OrderedDict((name, _in_a_row([branch])) for name, branch in module.named_children()))
        case Sum():
            body, shortcut = _in_a_row([module.body]), _in_a_row([module.shortcut])
            last = body[-1] if len(body) else None
            if not isinstance(last, FusedConv) or last.activation[0] is not None:
                return Sum(body, shortcut, module.scale)
            for weights in last.parameters():
                weights.data *= module.scale
            return FusedSum(body[:-1], last, shortcut)
        case _:
            return module
