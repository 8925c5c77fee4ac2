"""The gradients of one batch: in parts, over all processes, with the sums that are reported of it."""

import math
from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional

from topfive.engine.benchmark.machine import Machine
from topfive.engine.models.modules import Classifier, Net
from topfive.engine.models.towers import Towers
from topfive.engine.training.processes import Group

COUNTED = 6  # sums over a batch: images, gradients of the first and last kernels, right, right among 5, loss


class Gradients:
    """Computes the gradients of `model` on batches, each in at most `parts` parts."""

    def __init__(self, model: Classifier, parts: int, machine: Machine, group: Group) -> None:
        net = model.net
        self.parts, self.machine, self.group = parts, machine, group
        self.weights = net.loss_weights if isinstance(net, Net) else ()
        self.wrapped, self.ends, self.least = group.wrapped(_AllLogits(model)), _first_and_last(net), least(net)

    def zeros(self) -> Tensor:
        """Sums of no batch, on the device."""
        # why: Apple's GPU has no float64
        dtype = torch.float32 if self.machine.kind == "mps" else torch.float64
        return torch.zeros(COUNTED + len(self.weights), dtype=dtype, device=self.machine.device)

    def backward(self, pixels: Tensor, labels: Tensor, targets: Tensor, real: int) -> Tensor:
        """Add the gradients of the mean loss over the first `real` images of every process; the batch's sums.

        Nothing here waits for the device, on which the sums stay: images, norms of two gradients, images right, images
        right among five, and the losses of each classifier.
        """
        group, sums = self.group, self.zeros()
        scale: float | Tensor = 1 / real
        if group.world > 1:
            scale = (group.world / group.summed(sums.new_tensor(real))).float()
        for part in parts_of(len(labels), self.parts, self.least):
            whole = group.world == 1 or part.stop >= len(labels)  # else the gradients are not exchanged yet
            with nullcontext() if whole else self.wrapped.no_sync():  # type: ignore[operator]
                with self.machine.arithmetic():
                    all_logits = self.wrapped(pixels[part])
                counts = torch.arange(part.start, part.stop, device=labels.device) < real
                losses = [
                    (functional.cross_entropy(logits.float(), targets[part], reduction="none") * counts).sum()
                    for logits in all_logits
                ]
                objective = sum((weight * loss for weight, loss in zip(self.weights, losses[1:])), losses[0])
                (objective * scale).backward()  # type: ignore[no-untyped-call]
            ahead = _ranks(all_logits[0].detach(), labels[part])
            right = [((ahead < among) & counts).sum() for among in (1, 5)]
            sums[0] += min(part.stop, real) - min(part.start, real)
            sums[3:] += torch.stack([*right, *(loss.detach() for loss in losses)])
        group.summed(sums)
        for n, kernels in enumerate(self.ends, 1):
            norms = [p.grad.norm().to(sums) for p in kernels if p.grad is not None]
            sums[n] = torch.stack(norms).norm() if norms else 0.0
        return sums


class _AllLogits(nn.Module):
    """The logits of every classifier as what `forward` gives: what torch's engine for many processes wraps."""

    def __init__(self, model: Classifier) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        return self.model.all_logits(pixels)


def parts_of(count: int, parts: int, least: int = 1) -> list[slice]:
    """A batch of `count` images in at most so many parts of nearly the same size, of `least` images or more each."""
    size = max(least, math.ceil(count / parts))
    starts = list(range(0, count, size))
    if len(starts) > 1 and count - starts[-1] < least:
        starts.pop()
    return [slice(start, end) for start, end in zip(starts, [*starts[1:], count])]


def least(net: nn.Module) -> int:
    """The fewest images that may pass the network at once in training: of one alone there is no variance."""
    # why: torch's one base of batch normalisation over one, two and three axes and over several processes
    return 2 if any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in net.modules()) else 1


def _ranks(logits: Tensor, labels: Tensor) -> Tensor:
    """How many classes come before the right one, a tie counting as before."""
    return (~(logits < logits.gather(1, labels[:, None]))).sum(1) - 1


def _first_and_last(net: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """The first and last kernels that learn, and that the main classifier's gradient reaches; of towers both halves."""
    heads = tuple(f"{name}." for name in net.taps.values()) if isinstance(net, Net) else ()
    parts = [
        [p for name, p in part.named_parameters() if _learns(p) and not (heads and name.startswith(heads))]
        for part in (net.towers if isinstance(net, Towers) else (net,))
    ]
    return [kernels[0] for kernels in parts], [kernels[-1] for kernels in parts]


def _learns(p: nn.Parameter) -> bool:
    return p.ndim > 1 and p.requires_grad
