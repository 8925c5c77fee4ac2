"""The layers that torch does not have, or not as fast: each a plain module."""

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional

from topfive.engine.models import capabilities

WEIGHTS_A_PIXEL = (
    2**16
)  # a map is small for its kernels where they have so many weights for each of its pixels, or more


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
