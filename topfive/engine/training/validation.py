"""Top-1 and Top-5 as counts over images, each scored once."""

from collections.abc import Iterable

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from topfive.engine.benchmark.machine import Machine
from topfive.engine.training.processes import Group
from topfive.results.records import Scores


def of_all(scores: Scores, images: int) -> Scores:
    """The scores over all validation images, of which those that could not be read count as errors."""
    length = -(-images // 8)
    right, right5 = (bits and bits.ljust(length, b"\0") for bits in (scores.right, scores.right5))
    missing = images - scores.images
    return msgspec.structs.replace(scores, images=images, unreadable=missing, right=right, right5=right5)


def score(logits: Tensor, labels: Tensor) -> Scores:
    """Scores of `(N, classes)` logits. A class whose logit ties with the right one counts as ranked before it."""
    right = logits.gather(1, labels[:, None])
    # why: counting the classes at least as high makes a constant or NaN output wrong instead of luckily right
    ahead = (~(logits < right)).sum(1) - 1
    correct5 = int((ahead < 5).sum()) if logits.shape[1] >= 6 else None
    first, five = (np.packbits((ahead < most).numpy()).tobytes() for most in (1, 5))
    return Scores(len(labels), int((ahead == 0).sum()), correct5, right=first, right5=five)


@torch.inference_mode()
def score_batch(module: nn.Module, pixels: Tensor, labels: Tensor, machine: Machine) -> Scores:
    """The scores of `module`, in the form for inference, on one batch."""
    return score(module(machine.place(pixels)).float().cpu(), labels)


def total(parts: Iterable[Scores], group: Group = Group()) -> Scores:
    """The scores of all parts, of every process; which images were right is noted of a single process."""
    right, right5 = list[NDArray[np.uint8]](), list[NDArray[np.uint8]]()
    images = correct1 = correct5 = few = 0
    for scores in parts:
        images, correct1 = images + scores.images, correct1 + scores.correct1
        few += scores.correct5 is None
        for bits, all in ((scores.right, right), (scores.right5, right5)):
            all.append(np.unpackbits(np.frombuffer(bits, np.uint8), count=scores.images))
        correct5 += scores.correct5 or 0
    images, correct1, correct5, few = map(int, group.all_reduce(images, correct1, correct5, few))
    noted = [np.packbits(np.concatenate(all)).tobytes() if all and group.world == 1 else b"" for all in (right, right5)]
    return Scores(images, correct1, None if few else correct5, right=noted[0], right5=noted[1])


def evaluate(module: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], machine: Machine) -> Scores:
    """The scores of `module`, in the form for inference, over all images of `batches`: pixels and labels."""
    return total(score_batch(module, pixels, labels, machine) for pixels, labels in batches)
