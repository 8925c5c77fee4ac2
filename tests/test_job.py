"""What a training begins with: VGG's staged start, and batches in parts that a device's memory holds."""

import msgspec
import pytest
import torch

from topfive.costs import count
from topfive.errors import RefusedError
from topfive.lab.job import _begin_with, fitted
from topfive.lab.measuring import this_machine
from topfive.lab.modules import build
from topfive.lab.weights import packed
from topfive.layers import Linear, Network, rewrite_network, with_classes
from topfive.networks import get
from topfive.recipes import Recipe
from topfive.recipes_of_papers import VGG
from topfive.variations import for_small_images


def small(name: str) -> Network:
    """A VGG for 32 pixels, with 32 hidden units where it has 4096."""
    network = for_small_images(with_classes(get(name), 10), 32)
    return rewrite_network(network, lambda layer: Linear(32) if layer == Linear(4096) else layer)


@pytest.mark.parametrize("name", ["vgg-b", "vgg-d", "vgg-e"])
def test_a_deeper_vgg_begins_with_the_layers_of_a_that_the_paper_names(name: str) -> None:
    """Section 3.1: the first four convolutions and the last three fully connected layers of A; the others at random."""
    first, deeper = build(small("vgg-a")), build(small(name))
    fresh = {key: value.clone() for key, value in deeper.state_dict().items()}
    _begin_with(deeper, packed(first.state_dict(), {}), VGG.taken)
    convolutions = [name for name, _ in first.named_children() if name.startswith("conv")]
    linear = [name for name, _ in first.named_children() if name.startswith("fc")]
    named = {*convolutions[:4], *linear}
    assert len(named) == 7
    for key, value in deeper.state_dict().items():
        theirs = key.rsplit(".", 1)[0] in named
        assert torch.equal(value, first.state_dict()[key] if theirs else fresh[key]), key


def test_layers_that_not_both_networks_have_are_named() -> None:
    other = packed(build(get("cifar-resnet-20")).state_dict(), {})
    with pytest.raises(RefusedError, match=r"takes conv1_1, .*fc8 from the weights, which not both .* taken=\[\]"):
        _begin_with(build(small("vgg-b")), other, VGG.taken)


@pytest.mark.parametrize("gigabytes, world", [(1, 1), (4, 1), (4, 2), (2000, 1)])
def test_a_batch_is_computed_in_as_few_parts_as_memory_holds(
    gigabytes: int, world: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", str(world))
    network, recipe = get("resnet-50"), Recipe(batch=256)
    machine = msgspec.structs.replace(this_machine(), device="cpu", precision="float32", memory_bytes=gigabytes * 10**9)
    parts = fitted(recipe, network, 224, 1000, machine).parts

    def taken(parts: int) -> int:
        return count(network, (3, 224, 224)).training_bytes(256 // (parts * world))

    assert taken(parts) <= 0.6e9 * gigabytes or parts * world == 128  # two pictures each
    assert parts == 1 or taken(parts // 2) > 0.6e9 * gigabytes
    assert fitted(recipe, network, 224, 1000, machine) == msgspec.structs.replace(recipe, parts=parts)
