"""A network value becomes a plain `torch.nn.Module` whose submodules carry the paper's names."""

import importlib
import inspect
import sys
from collections import OrderedDict
from collections.abc import Mapping
from typing import assert_never

import msgspec
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from topfive.engine.models import capabilities
from topfive.errors import RefusedError
from topfive.networks.costs import count, shape_after
from topfive.networks.layers import (
    BatchNorm,
    Chain,
    Concat,
    Conv,
    Dropout,
    GlobalPool,
    Glorot,
    He,
    Layer,
    Linear,
    Network,
    Normal,
    Pool,
    Relu,
    Residual,
    ResponseNorm,
    SqueezeExcite,
    ZeroPad,
    pair,
    with_classes,
)

Shape = tuple[int, int, int]

CACHED = 2**18  # numbers that a processor core's cache holds with room to spare
WEIGHTS_A_PIXEL = (
    2**16
)  # a map is small for its kernels where they have so many weights for each of its pixels, or more


class Net(nn.Module):
    """`(N, C, H, W) -> (N, classes)`: logits, in training and in evaluation alike.

    The children are the paper's rows under their names, then the auxiliary classifiers. Those never change what
    `forward` gives, so that an ordinary loop stays one; `all_logits` gives theirs too, in training only.
    """

    def __init__(self, network: Network, shape: Shape) -> None:
        super().__init__()
        self.network = network
        self.rows = [name for name, _ in network.body.layers]
        heads = {head.after: head for head in network.heads}
        self.taps = {row: heads[row].name for row in self.rows if row in heads}
        self.loss_weights = tuple(heads[row].loss_weight for row in self.taps)
        auxiliary: list[tuple[str, nn.Module]] = []
        fresh = False  # what the first row gets is the caller's, what a tap has seen is the head's
        for row, layer in network.body.layers:
            self.add_module(row, _module(layer, shape, in_place=fresh))
            shape, fresh = shape_after(layer, shape), _fresh(layer, fresh) and row not in heads
            if row in heads:
                auxiliary.append((heads[row].name, _module(heads[row].body, shape, in_place=False)))
        for name, module in auxiliary:
            self.add_module(name, module)
        initialise(self, network)

    def forward(self, x: Tensor) -> Tensor:
        for row in self.rows:
            x = self._modules[row](x)  # type: ignore[misc]
        return x.flatten(1)

    def all_logits(self, x: Tensor) -> tuple[Tensor, ...]:
        """The logits, and in training those of each auxiliary classifier in the order of `loss_weights`."""
        if not self.training:
            return (self(x),)
        auxiliary = []
        for row in self.rows:
            x = self._modules[row](x)  # type: ignore[misc]
            if row in self.taps:
                auxiliary.append(self._modules[self.taps[row]](x).flatten(1))  # type: ignore[misc]
        return (x.flatten(1), *auxiliary)


class Classifier(nn.Module):
    """A network behind the normalisation of its images: `(N, 3, S, S)` uint8 in, logits out."""

    def __init__(self, net: nn.Module, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.net = net
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.net(self.normalised(pixels))  # type: ignore[no-any-return]

    def all_logits(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """The logits, and in training those of auxiliary classifiers."""
        x = self.normalised(pixels)
        return self.net.all_logits(x) if isinstance(self.net, Net) else (self.net(x),)

    def normalised(self, pixels: Tensor) -> Tensor:
        """Mean 0 and standard deviation 1 for each channel, over the training images."""
        return normalised(pixels, *self.normalisation)

    @property
    def normalisation(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the channels, in the units of the pixels: two (1, 3, 1, 1)."""
        return self.mean, self.std  # type: ignore[return-value]


def normalised(pixels: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """`(pixels - mean) / std` in 32 bits and their memory format, for `(N, 3, S, S)` of any type and `(1, 3, 1, 1)`."""
    if pixels.device.type != "cpu" or torch.compiler.is_compiling():
        return (pixels.float() - mean) / std
    # why: on a CPU a mean for each pixel, and a part of the batch that stays in the cache, take a quarter of the time
    layout = torch.contiguous_format if pixels.is_contiguous() else torch.channels_last
    out = torch.empty(pixels.shape, memory_format=layout)
    wide = [t.expand(1, *pixels.shape[1:]).contiguous(memory_format=layout) for t in (mean, std)]
    part = max(1, CACHED // pixels[0].numel())
    for whence, there in zip(torch.split(pixels, part), torch.split(out, part)):
        there.copy_(whence).sub_(wide[0]).div_(wide[1])
    return out


class Convolution(nn.Conv2d):
    """torch's, or one matrix product where the processor has matrix units (AMX) and the map is small for its kernels.

    torch's own goes through all the weights for every image; a product reads them once. What comes out differs in
    the order of the sums only. Benchmark: docs/decisions/0014-small-maps.md.
    """

    def forward(self, x: Tensor) -> Tensor:
        assert isinstance(self.padding, tuple)
        height, width = _places(x, self.kernel_size, self.stride, self.padding)
        # why the first: torch's refuses a map that is smaller than the kernel
        small = min(height, width) > 0 and self.weight.numel() >= height * width * WEIGHTS_A_PIXEL
        if (
            small
            and self.groups == 1
            and x.dtype == torch.bfloat16
            and x.device.type == "cpu"
            and capabilities.matrix_units()
        ):
            return convolution_by_product(x, self.weight, self.bias, self.stride, self.padding)
        return super().forward(x)


def convolution_by_product(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: tuple[int, ...], pad: tuple[int, ...]
) -> Tensor:
    """`functional.conv2d` of the same arguments, channels last."""
    rows, columns = weight.shape[2:]
    height, width = _places(x, (rows, columns), stride, pad)
    lying = functional.pad(x.permute(0, 2, 3, 1), (0, 0, pad[1], pad[1], pad[0], pad[0]))
    tall, wide = stride[0] * (height - 1) + 1, stride[1] * (width - 1) + 1
    under = [  # what lies under each place of the kernel, wherever the kernel comes to
        lying[:, top : top + tall : stride[0], left : left + wide : stride[1]]
        for top in range(rows)
        for left in range(columns)
    ]
    kernels = weight.permute(0, 2, 3, 1).flatten(1)
    return functional.linear(torch.cat(under, -1), kernels, bias).permute(0, 3, 1, 2)


def _places(x: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...], pad: tuple[int, ...]) -> list[int]:
    """How many places a kernel comes to along the height and the width."""
    return [(n + 2 * edge - size) // step + 1 for n, size, step, edge in zip(x.shape[2:], kernel, stride, pad)]


class Flattened(nn.Linear):
    """A linear layer over everything that comes in, in the order channel, row, column: `(N, ...) -> (N, units, 1, 1)`.

    A unit is a map of one pixel, as in `costs.py`, so that whatever takes maps may follow.
    """

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.flatten(1))[:, :, None, None]


class LocalResponseNorm(nn.Module):
    """x / (k + alpha * sum of x^2 over `size` neighbouring channels)^beta, in 32 bits whatever comes in.

    torch's own layer divides alpha by `size`, has no bfloat16 form on a CPU, and is slower.
    """

    def __init__(self, size: int, alpha: float, beta: float, k: float) -> None:
        super().__init__()
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def forward(self, x: Tensor) -> Tensor:
        channels = x.shape[1]
        squares = functional.pad(x.float().square(), (0, 0, 0, 0, self.size // 2, (self.size - 1) // 2))
        total = squares[:, :channels]
        for first in range(1, self.size):
            total = total + squares[:, first : first + channels]
        divisor = total * self.alpha + self.k
        if self.beta == 0.75:  # the papers' value, by two square roots, which are several times faster than a power
            inverse = divisor.rsqrt()
            return (x * inverse * inverse.sqrt()).to(x.dtype)
        return (x * divisor.pow(-self.beta)).to(x.dtype)


class Gate(nn.Module):
    """Squeeze and excitation: `x * sigmoid(fc2(relu(fc1(mean of x))))`, a gate per channel."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, squeezed)
        self.fc2 = nn.Linear(squeezed, channels)

    def forward(self, x: Tensor) -> Tensor:
        gate: Tensor = self.fc2(functional.relu(self.fc1(x.mean((2, 3))))).sigmoid()
        return x * gate[:, :, None, None]


class ZeroMaps(nn.Module):
    """Zero maps in front of the channels that come in, and behind them."""

    def __init__(self, before: int, behind: int) -> None:
        super().__init__()
        self.before, self.behind = before, behind

    def forward(self, x: Tensor) -> Tensor:
        return functional.pad(x, (0, 0, 0, 0, self.before, self.behind))


class Parallel(nn.Module):
    """Branches over the same input, stacked along the channels."""

    def __init__(self, branches: "OrderedDict[str, nn.Module]") -> None:
        super().__init__()
        for name, branch in branches.items():
            self.add_module(name, branch)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.children()], 1)


class Sum(nn.Module):
    """`shortcut(x) + scale * body(x)`."""

    def __init__(self, body: nn.Module, shortcut: nn.Module, scale: float) -> None:
        super().__init__()
        self.body, self.shortcut, self.scale = body, shortcut, scale

    def forward(self, x: Tensor) -> Tensor:
        body = self.body(x)  # first, as costs.py counts the memory
        return torch.add(self.shortcut(x), body, alpha=self.scale)


def build(network: Network, input: Shape | None = None) -> Net:
    """The module of `network` with the paper's initial weights, for images of `input` = (channels, height, width).

    Raises: SizeError where the input does not fit.
    """
    shape = input or network.input
    count(network, shape)  # why: says at which layer a size does not fit, in the paper's words
    return Net(network, shape)


def converted(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of `state` that `wanted` names, linear weights `(units, C * H * W)` as kernels `(units, C, H, W)`.

    So weights come into `fully_convolutional(network)`; what does not fit stays as it is, for `load_state_dict` to say.
    """
    out = {name: state[name] for name in wanted if name in state}
    for name, tensor in out.items():
        kernels = wanted[name]
        if tensor.dim() == 2 and kernels.dim() == 4 and tensor.shape == kernels.flatten(1).shape:
            out[name] = tensor.reshape(kernels.shape)
    return out


def initialise(module: nn.Module, network: Network) -> None:
    """Fresh weights as the paper has them, from torch's current random state."""
    for path, child in module.named_modules():
        if not isinstance(child, (nn.Conv2d, nn.Linear)):
            continue
        bias = 0.0
        match network.init:
            case Normal(std, ones):
                nn.init.normal_(child.weight, 0.0, std)
                bias = 1.0 if path in ones else 0.0
            case He():
                nn.init.kaiming_normal_(child.weight, mode="fan_in", nonlinearity="relu")
            case Glorot():
                nn.init.xavier_uniform_(child.weight)
            case _:
                assert_never(network.init)
        if child.bias is not None:
            nn.init.constant_(child.bias, bias)


def _module(layer: Layer, shape: Shape, in_place: bool) -> nn.Module:
    """`in_place`: what comes in is used by nothing else, so that a ReLU may overwrite it."""
    channels, height, width = shape
    match layer:
        case Conv(filters, size, stride, pad, groups, bias):
            return Convolution(channels, filters, pair(size), pair(stride), pair(pad), groups=groups, bias=bias)
        case Linear(units, bias):
            return Flattened(channels * height * width, units, bias)
        case Pool(_, 1, stride, 0):  # a pixel is its own average and its own maximum, which torch finds more slowly
            return nn.AvgPool2d(1, pair(stride))
        case Pool("max", size, stride, pad, ceil):
            return nn.MaxPool2d(pair(size), pair(stride), pair(pad), ceil_mode=ceil)
        case Pool(_, size, stride, pad, ceil, count_pad):
            return nn.AvgPool2d(pair(size), pair(stride), pair(pad), ceil, count_pad)
        case GlobalPool(kind):
            return nn.AdaptiveAvgPool2d(1) if kind == "average" else nn.AdaptiveMaxPool2d(1)
        case BatchNorm(eps):
            return nn.BatchNorm2d(channels, eps)
        case Relu(cap):
            return nn.ReLU(in_place) if cap is None else nn.Hardtanh(0.0, cap, in_place)
        case ResponseNorm(size, alpha, beta, k):
            return LocalResponseNorm(size, alpha, beta, k)
        case Dropout(rate):
            return nn.Dropout(rate)
        case SqueezeExcite(reduction):
            return Gate(channels, channels // reduction)
        case ZeroPad(wanted, before):
            return ZeroMaps(before, wanted - channels - before)
        case Chain(layers):
            modules: OrderedDict[str, nn.Module] = OrderedDict()
            for name, child in layers:
                modules[name] = _module(child, shape, in_place)
                shape, in_place = shape_after(child, shape), _fresh(child, in_place)
            return nn.Sequential(modules)
        case Concat(branches):
            return Parallel(OrderedDict((name, _module(branch, shape, False)) for name, branch in branches))
        case Residual(body, shortcut, scale):
            return Sum(_module(body, shape, False), _module(shortcut, shape, False), scale)
        case _:
            assert_never(layer)


def _fresh(layer: Layer, fresh: bool) -> bool:
    """Whether what comes out of `layer` is memory of its own, where what comes in is so or not."""
    match layer:
        case Dropout():
            return fresh  # in evaluation it hands on what it gets
        case Chain(layers):
            for _, child in layers:
                fresh = _fresh(child, fresh)
            return fresh
        case _:
            return True


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
