"""AlexNet's two towers: each of two devices holds half of every layer's kernels; they meet where the paper lets them.

A convolution with groups reads its own device's maps; one without (conv3) and every linear layer reads both halves, so
that the other half is copied over and its gradient copied back. The first convolution reads the image on both
devices. Weights, losses and gradients are those of the one-device network, of which each device holds its part once.

The paper does not say what its two cards did where response normalisation, which sums over neighbouring maps, reaches
over the border between them. Here the maps within reach, two on each side, are copied over: one column's arithmetic.

Source: Krizhevsky et al. 2012, sections 3.2 and 3.5, Fig. 2.
"""

import math
from collections.abc import Mapping

import msgspec
import torch
from torch import Tensor, nn
from torch.nn import functional

from topfive.engine.models.modules import Net, Shape, build
from topfive.errors import UsageError
from topfive.networks.costs import count
from topfive.networks.descriptions import describe
from topfive.networks.layers import (
    BatchNorm,
    Chain,
    Conv,
    Dropout,
    GlobalPool,
    Layer,
    Linear,
    Network,
    Pool,
    Relu,
    ResponseNorm,
    Tanh,
    ZeroPad,
    leaves,
)
from topfive.networks.receptive_fields import VALUE_BYTES
from topfive.networks.shapes import shape_after

Row = dict[str, str | int]


def split(network: Network) -> tuple[Network, Network]:
    """The two towers as networks: half of the filters and units, half of the groups, nothing else changed.

    In front of a layer that reads both halves stands `meet_...`: the other tower's maps, or zeros for a tower alone.

    Raises: UsageError for a network that does not split, naming the first layer at which it fails.
    """
    if network.heads:
        raise _refused(network, "it has auxiliary classifiers")
    weighted = [row for row, word in leaves(network.body) if isinstance(word, (Conv, Linear))]
    halves: tuple[list[tuple[str, Layer]], list[tuple[str, Layer]]] = ([], [])
    grouped, channels = False, 0
    for row, word in network.body.layers:
        match word:
            case Conv(filters, groups=groups):
                meets, outputs = groups == 1, filters
                if groups > 1 and groups % 2:
                    raise _refused(network, f"{row} has {groups} groups, an odd number")
                grouped = grouped or not meets
            case Linear(units):
                meets, outputs = True, units
            case Pool() | GlobalPool() | BatchNorm() | Relu() | Tanh() | ResponseNorm() | Dropout() | Chain(()):
                meets, outputs = False, channels
            case _:
                raise _refused(network, f"{row} ({describe(word)}) is no layer of which each tower can have a half")
        if not channels and not (meets and outputs):
            raise _refused(network, f"{row} ({describe(word)}) does not read the whole image, which both devices see")
        if isinstance(word, ResponseNorm) and channels // 2 < word.size - 1:
            raise _refused(network, f"{row} sums over {word.size} maps, too many for halves of {channels // 2}")
        # why: with an odd number of classes the first tower has one more; nothing behind needs equal halves
        if outputs % 2 and row != weighted[-1]:
            raise _refused(network, f"{row} ({describe(word)}) has no half")
        for half, size in zip(halves, (outputs - outputs // 2, outputs // 2)):
            if meets and channels:
                half.append((f"meet_{row}", ZeroPad(channels)))
            half.append((row, _half(word, size)))
        channels = outputs
    if not grouped:
        raise _refused(network, "no convolution has groups, so that every layer reads both halves")
    first, second = (
        msgspec.structs.replace(network, name=f"{network.name}, tower {n}", body=Chain(tuple(half)))
        for n, half in enumerate(halves, start=1)
    )
    return first, second


def _half(word: Layer, size: int) -> Layer:
    match word:
        case Conv(groups=groups):
            return msgspec.structs.replace(word, filters=size, groups=max(1, groups // 2))
        case Linear():
            return msgspec.structs.replace(word, units=size)
        case _:
            return word


def _refused(network: Network, why: str) -> UsageError:
    return UsageError(f"{network.name} does not split into two towers as alexnet does: {why}")


def two_devices(device: str) -> tuple[str, str]:
    """The first two GPUs for "cuda"; where there is one device, or one was named ("cuda:1"), it stands in for both."""
    return ("cuda:0", "cuda:1") if device == "cuda" and torch.cuda.device_count() > 1 else (device, device)


class Towers(nn.Module):
    """A network on two devices, with its initial weights: `(N, C, H, W) -> (N, classes)`, logits on the first device.

    The children `tower1` and `tower2` hold the paper's rows, each with its half: `conv2.weight` of the one-device
    network is `tower1.conv2.weight` above `tower2.conv2.weight`. The state dict, given and taken, is that of the
    one-device network, on the first device. Moved to one device, it is a network of one device.

    Raises: UsageError for a network that does not split, SizeError where the input does not fit.
    """

    def __init__(self, network: Network, input: Shape, devices: tuple[str | torch.device, str | torch.device]) -> None:
        super().__init__()
        self.network = network
        first, second = split(network)
        whole = build(network, input)  # on the CPU: the random numbers that the one-device network starts with
        with torch.device("meta"):
            self.tower1, self.tower2 = Net(first, input), Net(second, input)
        for tower, device, state in zip(self.towers, devices, _halves(whole.state_dict())):
            # copied: two halves in one memory could not be saved side by side
            state = {key: value.to(device, copy=True) for key, value in state.items()}
            tower.load_state_dict(state, assign=True)
        self.register_state_dict_post_hook(_join)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_pre_hook(_cut)  # type: ignore[no-untyped-call]

    @property
    def towers(self) -> tuple[Net, Net]:
        return self.tower1, self.tower2

    def forward(self, x: Tensor) -> Tensor:
        devices = [next(tower.parameters()).device for tower in self.towers]
        ours, theirs = (x.to(device) for device in devices)
        for row, word in self.tower1.network.body.layers:
            layer1, layer2 = (tower.get_submodule(row) for tower in self.towers)
            match word:
                case ZeroPad():
                    ours, theirs = _joined(ours, theirs.to(devices[0])), _joined(ours.to(devices[1]), theirs)
                case ResponseNorm(size) if size > 1:
                    ours, theirs = _normalised(word, layer1, layer2, ours, theirs)
                case Dropout(rate) if self.training:
                    mask1, mask2 = self.masks(rate, ours, theirs)
                    ours, theirs = ours * mask1, theirs * mask2
                case _:
                    ours, theirs = layer1(ours), layer2(theirs)
        return _joined(ours, theirs.to(devices[0])).flatten(1)

    def all_logits(self, x: Tensor) -> tuple[Tensor, ...]:
        """The logits alone: no network with auxiliary classifiers splits."""
        return (self(x),)

    def masks(self, rate: float, ours: Tensor, theirs: Tensor) -> tuple[Tensor, Tensor]:
        """What dropout multiplies each half with: drawn for the whole layer by the CPU's generator, then split.

        So the masks are those of the one-device network on a CPU, wherever the towers stand.
        """
        sizes = [ours.shape[1], theirs.shape[1]]
        whole = torch.ones(len(ours), sum(sizes), *ours.shape[2:])
        first, second = torch.split(functional.dropout(whole, rate), sizes, 1)
        return first.to(ours), second.to(theirs)


def row_of(name: str) -> str:
    """The name that a parameter has in the one-device network, whichever tower's half it is."""
    return name.removeprefix("tower1.").removeprefix("tower2.")


def _join(towers: nn.Module, state: dict[str, Tensor], prefix: str, about: object) -> None:
    """In a state dict that was gathered, put the one-device network's tensors in the place of their halves."""
    one, two = f"{prefix}tower1.", f"{prefix}tower2."
    for key in [key for key in state if key.startswith(one)]:
        name = key.removeprefix(one)
        first, second = state.pop(key), state.pop(two + name)
        state[prefix + name] = torch.cat((first, second.to(first.device))) if first.ndim else first


def _cut(towers: nn.Module, state: dict[str, Tensor], prefix: str, *about: object) -> None:
    """In a state dict that is about to be taken, put the halves in the place of the one-device network's tensors."""
    whole = {key.removeprefix(prefix): state.pop(key) for key in list(state) if key.startswith(prefix)}
    for tower, half in zip(("tower1", "tower2"), _halves(whole)):
        state.update({f"{prefix}{tower}.{name}": value for name, value in half.items()})


def _halves(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Kernels, biases and what belongs to a map are cut in two; what counts steps is for both."""
    cut = {key: value.chunk(2) if value.ndim else (value, value) for key, value in state.items()}
    return {key: first for key, (first, _) in cut.items()}, {key: second for key, (_, second) in cut.items()}


def _joined(first: Tensor, second: Tensor) -> Tensor:
    return torch.cat((first, second), 1)


def _normalised(
    word: ResponseNorm, layer1: nn.Module, layer2: nn.Module, ours: Tensor, theirs: Tensor
) -> tuple[Tensor, Tensor]:
    """Both halves normalised; the maps whose windows reach over the border once more, beside the other's maps.

    Joining whole halves with what the other sent would be shorter, and keep a second copy of both for the way back.
    """
    behind, before = reach(word)
    both = behind + before
    end = layer1(_joined(ours[:, -both:], theirs[:, :behind].to(ours.device)))
    start = layer2(_joined(ours[:, -before:].to(theirs.device), theirs[:, :both]))
    return (
        _joined(layer1(ours)[:, : ours.shape[1] - behind], end[:, before:both]),
        _joined(start[:, before : 2 * before], layer2(theirs)[:, before:]),
    )


def reach(norm: ResponseNorm) -> tuple[int, int]:
    """How many maps of the other tower the first one needs, behind its own, and the second one, before its own."""
    return (norm.size - 1) // 2, norm.size // 2


def received(towers: tuple[Network, Network], input: Shape) -> tuple[int, int]:
    """How many values of one image's forward pass each device gets from the other, the logits included."""
    got = [0, 0]
    shapes = [input, input]
    for pair in zip(*(tower.body.layers for tower in towers), strict=True):
        words = [word for _, word in pair]
        for n, word in enumerate(words):
            maps, height, width = shapes[1 - n]  # the other's
            match word:
                case ZeroPad():
                    got[n] += maps * height * width
                case ResponseNorm():
                    got[n] += reach(word)[n] * height * width
                case _:
                    pass
        shapes = [shape_after(word, shape) for word, shape in zip(words, shapes)]
    return got[0] + math.prod(shapes[1]), got[1]


def table(network: Network, input: Shape, batch: int) -> list[Row]:
    """What a device holds and gets in training: alone, as one of two towers, as one of two with half of the batch each.

    Units: bytes of 32-bit values. `activation_bytes` are the outputs of the device's own layers for its `batch`, as
    `costs.py` counts them, and for a tower the maps that it gets from the other. `training_bytes` adds weights,
    gradients, momentum and the images. `received_bytes_per_image` is what the other device sends in a forward pass,
    `received_bytes_per_step` what it sends in a step: a tower those maps, and the gradients of the maps that it got;
    with half of the batch each the gradient of every weight, once.

    Raises: UsageError for a network that does not split or a batch of one; SizeError where the input does not fit.
    """
    if batch < 2:
        raise UsageError(f"a batch of {batch} does not divide between two devices: take at least 2")
    towers = split(network)
    whole = count(network, input)
    got = [VALUE_BYTES * values for values in received(towers, input)]
    image = VALUE_BYTES * math.prod(input)

    def row(scheme: str, device: int, batch: int, params: int, kept: int, per_image: int, per_step: int) -> Row:
        return {
            "scheme": scheme,
            "device": device,
            "batch": batch,
            "params": params,
            "weight_bytes": params * VALUE_BYTES,
            "activation_bytes": batch * kept,
            "training_bytes": 3 * params * VALUE_BYTES + batch * (kept + image),
            "received_bytes_per_image": per_image,
            "received_bytes_per_step": per_step,
        }

    rows = [row("one device", 1, batch, whole.params, whole.activation_bytes, 0, 0)]
    for n, tower in enumerate(towers):
        costs = count(tower, input)
        meetings = {name for name, word in tower.body.layers if isinstance(word, ZeroPad)}
        kept = sum(stage.activation_bytes for stage in costs.stages if stage.name not in meetings) + got[n]
        rows.append(row("two towers", n + 1, batch, costs.params, kept, got[n], batch * sum(got)))
    for n, part in enumerate(((batch + 1) // 2, batch // 2)):
        rows.append(row("data parallel", n + 1, part, whole.params, whole.activation_bytes, 0, whole.weight_bytes))
    return rows
