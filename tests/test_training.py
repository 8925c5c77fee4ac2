"""The loop: it learns, it is the same every time, and it stops when the loss is no number."""

from dataclasses import replace

import msgspec
import pytest
import torch

from topfive.augmentations import CIFAR
from topfive.data.opening import digits
from topfive.errors import DivergedError
from topfive.lab.loading import Data, prepare
from topfive.lab.measuring import this_machine
from topfive.lab.modules import build
from topfive.lab.training import Epoch, train
from topfive.layers import with_classes
from topfive.networks import get
from topfive.recipes import Recipe, quick
from topfive.variations import for_small_images


@pytest.fixture(scope="module")
def pictures() -> Data:
    return prepare(digits(), 16, CIFAR.crop)


def run(name: str, pictures: Data, recipe: Recipe) -> list[Epoch]:
    torch.manual_seed(0)
    net = build(for_small_images(with_classes(get(name), 10), 16), (3, 16, 16))
    return list(train(net, pictures, recipe, this_machine()))


def test_a_residual_network_learns_the_digits_and_the_same_way_twice(pictures: Data) -> None:
    recipe = quick(get("cifar-resnet-20"), epochs=4)
    first, second = run("cifar-resnet-20", pictures, recipe), run("cifar-resnet-20", pictures, recipe)
    assert first[-1].scores.top1_accuracy > 0.9
    assert [(row.loss, row.scores) for row in first] == [(row.loss, row.scores) for row in second]


def test_auxiliary_classifiers_learn_with_their_weight(pictures: Data) -> None:
    """GoogLeNet's two heads get gradients in the loop, at 0.3 of the loss, and are not there in evaluation."""
    net = build(for_small_images(with_classes(get("googlenet"), 10), 16), (3, 16, 16))
    assert net.loss_weights == (0.3, 0.3)
    before = {name: value.clone() for name, value in net.state_dict().items() if name.startswith("aux")}
    recipe = Recipe(epochs=1, lr=0.01, clip=5.0)
    source = digits()
    few = replace(source, train=source.train[:128], held_out=source.held_out[:128])
    list(train(net, prepare(few, 16, CIFAR.crop), recipe, this_machine()))
    assert all(not torch.equal(value, net.state_dict()[name]) for name, value in before.items())
    assert len(net.eval().all_logits(torch.zeros(1, 3, 16, 16))) == 1


def test_a_loss_that_is_no_number_ends_the_training(pictures: Data) -> None:
    recipe = msgspec.structs.replace(quick(None, epochs=1), lr=float("nan"))
    with pytest.raises(DivergedError, match="no longer a number at step"):
        run("cifar-plain-20", pictures, recipe)
