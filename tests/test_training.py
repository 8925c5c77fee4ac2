"""The loop: it learns, it is the same every time, and it stops when the loss is no number."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import msgspec
import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from topfive.data.opening import digits
from topfive.engine.benchmark.machine import this_machine
from topfive.engine.models.modules import build
from topfive.engine.training.datasets import Data
from topfive.engine.training.gradients import parts_of
from topfive.engine.training.loading import prepare
from topfive.engine.training.loop import Step, Training, records, train
from topfive.errors import DivergedError
from topfive.networks import get
from topfive.networks.layers import BatchNorm, Linear, Network, Relu, chain, with_classes
from topfive.networks.variations import for_small_images
from topfive.recipes.augmentations import CIFAR
from topfive.recipes.editing import changed
from topfive.recipes.ours import quick
from topfive.recipes.recipe import Recipe
from topfive.results.records import EpochRecord


@pytest.fixture(scope="module")
def images() -> Data:
    return prepare(digits(), 16, CIFAR.crop)


def run(name: str, images: Data, recipe: Recipe) -> list[EpochRecord]:
    torch.manual_seed(0)
    net = build(for_small_images(with_classes(get(name), 10), 16), (3, 16, 16))
    return list(records(train(Training(net, images, recipe, this_machine()))))


def test_a_residual_network_learns_the_digits_and_the_same_way_twice(images: Data) -> None:
    recipe = quick(get("cifar-resnet-20"), epochs=4)
    first, second = run("cifar-resnet-20", images, recipe), run("cifar-resnet-20", images, recipe)
    assert first[-1].scores.top1_accuracy > 0.9
    assert [(row.loss, row.scores) for row in first] == [(row.loss, row.scores) for row in second]


def test_auxiliary_classifiers_learn_with_their_weight(images: Data) -> None:
    """GoogLeNet's two heads get gradients in the loop, at 0.3 of the loss, and are not there in evaluation."""
    net = build(for_small_images(with_classes(get("googlenet"), 10), 16), (3, 16, 16))
    assert net.loss_weights == (0.3, 0.3)
    before = {name: value.clone() for name, value in net.state_dict().items() if name.startswith("aux")}
    recipe = Recipe(epochs=1, lr=0.01, clip=5.0)
    source = digits()
    few = replace(source, train=source.train[:128], val=source.val[:128])
    list(train(Training(net, prepare(few, 16, CIFAR.crop), recipe, this_machine())))
    assert all(not torch.equal(value, net.state_dict()[name]) for name, value in before.items())
    assert len(net.eval().all_logits(torch.zeros(1, 3, 16, 16))) == 1


def test_a_loss_that_is_no_number_ends_the_training(images: Data) -> None:
    recipe = msgspec.structs.replace(quick(None, epochs=1), lr=float("nan"))
    with pytest.raises(DivergedError, match="no longer a number in steps 1 to 10 of"):
        run("cifar-plain-20", images, recipe)


@pytest.mark.parametrize("count, batch, parts", [(7, 4, 2), (7, 4, 4), (9, 4, 3), (3, 4, 4), (2, 2, 2)])
def test_no_part_of_a_batch_is_one_image_where_the_network_normalises_over_it(
    count: int, batch: int, parts: int, images: Data
) -> None:
    """torch refuses to normalise one value, which is all that a unit, or a map of one pixel, gives for one image."""
    few = prepare(replace(images.source, train=images.source.train[:count]), 16, CIFAR.crop)
    recipe = msgspec.structs.replace(quick(None, epochs=1, batch=batch), accumulation_steps=parts)
    network = Network("own", "own", (3, 16, 16), chain(fc=Linear(6), bn=BatchNorm(), relu=Relu(), fc2=Linear(10)))
    seen: list[int] = []
    net = build(network)
    net.get_submodule("bn").register_forward_pre_hook(
        lambda module, inputs: seen.append(len(inputs[0])) if module.training else None
    )
    (row,) = records(train(Training(net, few, recipe, this_machine())))
    assert min(seen) >= 2 and sum(seen) == count - (count % batch == 1) and row.loss > 0


@pytest.mark.parametrize("least", [1, 2])
def test_parts_are_a_batch_cut_in_order(least: int) -> None:
    for count in range(least, 20):
        for parts in range(1, 20):
            pieces = [list(range(count))[part] for part in parts_of(count, parts, least)]
            assert [i for piece in pieces for i in piece] == list(range(count)) and len(pieces) <= parts
            assert min(map(len, pieces)) >= least
            size = -(-count // parts)
            if least == 1:  # as it always was, so that a run continues as it began
                assert pieces == [list(range(count))[i : i + size] for i in range(0, count, size)]


def test_an_image_that_is_left_alone_stands_beside_itself(images: Data) -> None:
    """Of a training set of two images one cannot be read: normalisation has two to go by, the loss counts one."""
    one = prepare(replace(images.source, train=images.source.train[:1]), 16, CIFAR.crop)
    recipe = quick(None, epochs=1)
    network = Network("own", "own", (3, 16, 16), chain(fc=Linear(6), bn=BatchNorm(), fc2=Linear(10)))
    step, *evaluations, row = train(Training(build(network), one, recipe, this_machine()))
    assert step == Step(1) and set(evaluations) == {Step(1, evaluating=True)}
    assert isinstance(row, EpochRecord) and row.train_accuracy in (0.0, 1.0)


class Waits(TorchFunctionMode):
    """Counts what waits for a device: a tensor's numbers that become Python's, or that decide a shape."""

    count = 0

    def __torch_function__(
        self, func: Callable[..., object], types: object, args: tuple[object, ...] = (), kwargs: object = None
    ) -> object:
        masked = func is Tensor.__getitem__ and isinstance(args[1], Tensor) and args[1].dtype == torch.bool
        self.count += masked or getattr(func, "__name__", "") in WAITING
        return func(*args, **(kwargs or {}))  # type: ignore[dict-item]


WAITING = {"item", "tolist", "cpu", "__bool__", "__float__", "__int__", "__index__"}


@pytest.mark.parametrize(
    "changes",
    [("accumulation_steps=2",), ("augmentation.mixup=0.2", "augmentation.smoothing=0.1", "clip=1.0", "ema_decay=0.9")],
)
def test_a_step_does_not_wait_for_the_device(images: Data, changes: tuple[str, ...]) -> None:
    """The sums are read after every ten steps of the epoch and at its end, and nothing else is."""
    recipe = changed(quick(None, epochs=1, batch=56), ("augmentation.hflip=false", *changes))
    training = Training(build(with_classes(get("cifar-plain-20"), 10)), images, recipe, this_machine())
    with Waits() as waits:
        counts = [waits.count for event in train(training) if isinstance(event, Step) and not event.evaluating]
    assert len(counts) == 27
    read = [after - before for before, after in pairwise([0, *counts])]
    assert [step for step, times in enumerate(read, 1) if times] == [10, 20, 27] and sum(read) == 3
