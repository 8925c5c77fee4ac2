"""A network value becomes a plain `torch.nn.Module` whose submodules carry the paper's names."""

from collections import OrderedDict
from collections.abc import Mapping
from typing import assert_never

import torch
from torch import Tensor, nn

from topfive.engine.models.layers import Convolution, Flattened, Gate, LocalResponseNorm, Parallel, Sum, ZeroMaps
from topfive.networks.costs import count
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
    Tanh,
    ZeroPad,
    pair,
)
from topfive.networks.shapes import shape_after

Shape = tuple[int, int, int]
CACHED = 2**18  # numbers that a processor core's cache holds with room to spare


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
        case Tanh():
            return nn.Tanh()
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
