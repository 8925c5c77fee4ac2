"""Counts, intervals and Top-5, against what they must be by hand."""

import math
from collections.abc import Iterator

import pytest
import torch
from torch import nn

from topfive.engine.benchmark.machine import this_machine
from topfive.engine.training.validation import evaluate, score
from topfive.results.statistics import interval


class Reader(nn.Module):
    """An oracle: the label is written into the first pixel."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.one_hot(x[:, 0, 0, 0].long(), self.classes).float()


def batches(count: int, classes: int, batch: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    labels = torch.arange(count) % classes
    pixels = torch.zeros(count, 3, 4, 4, dtype=torch.uint8)
    pixels[:, :, 0, 0] = labels[:, None].to(torch.uint8)
    yield from zip(pixels.split(batch), labels.split(batch))


@pytest.mark.parametrize("count", range(1, 34))
def test_every_image_counts_once_whatever_the_batch(count: int) -> None:
    for batch in (1, 2, 3, 7, 8):
        scores = evaluate(Reader(10), batches(count, 10, batch), this_machine())
        assert (scores.images, scores.correct1, scores.correct5) == (count, count, count)


def test_top5_is_not_defined_below_six_classes() -> None:
    for classes in (2, 3, 5):
        assert score(torch.randn(4, classes), torch.zeros(4, dtype=torch.long)).top5_accuracy is None
    assert score(torch.arange(6.0)[None], torch.tensor([1])).correct5 == 1
    assert score(torch.arange(6.0)[None], torch.tensor([0])).correct5 == 0


def test_a_constant_or_broken_output_is_never_luckily_right() -> None:
    labels = torch.arange(10)
    assert score(torch.zeros(10, 10), labels).correct1 == 0
    assert score(torch.full((10, 10), math.nan), labels).correct1 == 0


def test_the_interval_is_wilsons() -> None:
    # Wilson 1927 by the closed form, worked by hand for 8 of 10: (0.4902, 0.9433)
    low, high = interval(8, 10)
    assert (round(low, 4), round(high, 4)) == (0.4902, 0.9433)
    assert interval(10, 10)[1] == pytest.approx(1.0) and interval(0, 10)[0] == 0.0
