"""The loop: it learns, it is the same every time, and it stops when the loss is no number."""

from dataclasses import replace

import msgspec
import pytest
import torch

from topfive.data.opening import digits
from topfive.engine.benchmark.machine import this_machine
from topfive.engine.models.modules import build
from topfive.engine.training.loading import Data, prepare
from topfive.engine.training.loop import _parts, train
from topfive.errors import DivergedError
from topfive.networks import get
from topfive.networks.layers import BatchNorm, Linear, Network, Relu, chain, with_classes
from topfive.networks.variations import for_small_images
from topfive.recipes.augmentations import CIFAR
from topfive.recipes.ours import quick
from topfive.recipes.recipe import Recipe
from topfive.results.records import EpochRecord


@pytest.fixture(scope="module")
def images() -> Data:
    return prepare(digits(), 16, CIFAR.crop)


def run(name: str, images: Data, recipe: Recipe) -> list[EpochRecord]:
    torch.manual_seed(0)
    net = build(for_small_images(with_classes(get(name), 10), 16), (3, 16, 16))
    return list(train(net, images, recipe, this_machine()))


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
    list(train(net, prepare(few, 16, CIFAR.crop), recipe, this_machine()))
    assert all(not torch.equal(value, net.state_dict()[name]) for name, value in before.items())
    assert len(net.eval().all_logits(torch.zeros(1, 3, 16, 16))) == 1


def test_a_loss_that_is_no_number_ends_the_training(images: Data) -> None:
    recipe = msgspec.structs.replace(quick(None, epochs=1), lr=float("nan"))
    with pytest.raises(DivergedError, match="no longer a number at step"):
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
    (row,) = train(net, few, recipe, this_machine())
    assert min(seen) >= 2 and sum(seen) == count - (count % batch == 1) and row.loss > 0


@pytest.mark.parametrize("least", [1, 2])
def test_parts_are_a_batch_cut_in_order(least: int) -> None:
    for count in range(least, 20):
        for parts in range(1, 20):
            pieces = [list(range(count))[part] for part in _parts(count, parts, least)]
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
    steps: list[int] = []
    (row,) = train(build(network), one, recipe, this_machine(), steps.append)
    assert steps == [1] and row.train_accuracy in (0.0, 1.0)
