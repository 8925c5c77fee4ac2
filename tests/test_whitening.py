"""What principal components are by definition: uncorrelated, and here of equal variance."""

import json
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from topfive.cli import main
from topfive.data.opening import open_source
from topfive.engine.models.modules import build
from topfive.engine.models.towers import Towers
from topfive.engine.training.datasets import Data
from topfive.engine.training.loading import prepare
from topfive.engine.training.whitening import whiten
from topfive.networks import get
from topfive.networks.layers import with_classes
from topfive.networks.variations import for_small_images
from topfive.recipes.augmentations import Augmentation, RandomResizedCrop
from topfive.recipes.recipe import Recipe

RECIPE = Recipe(batch=16, augmentation=Augmentation(RandomResizedCrop(0.5)), whitened=True)


@pytest.fixture
def data(directions: Path) -> Data:
    return prepare(open_source(str(directions)), 32, RECIPE.augmentation.crop, None, lambda count: None)


@pytest.mark.parametrize("name", ["cifar-resnet-20", "alexnet", "alexnet on two devices"])
def test_whitened_kernels_answer_with_equal_variance_and_apart_from_each_other(name: str, data: Data) -> None:
    network = for_small_images(with_classes(get(name.split()[0]), 3), 32)
    net = Towers(network, (3, 32, 32), ("cpu", "cpu")) if "two" in name else build(network)
    fresh = {key: value.clone() for key, value in net.state_dict().items()}
    whiten(net, data, RECIPE)
    first, *others = (key for key, value in fresh.items() if value.ndim > 1)
    kernels = net.state_dict()[first]
    assert all(torch.equal(net.state_dict()[key], fresh[key]) for key in others)
    assert torch.isclose(kernels.square().mean(), fresh[first].square().mean())
    still = {name for name, p in net.named_parameters() if not p.requires_grad}
    assert still == ({f"{tower}.{first}" for tower in ("tower1", "tower2")} if "two" in name else {first})
    half = len(kernels) // 2
    assert torch.equal(kernels[:half], -kernels[half : 2 * half])
    pixels = torch.cat([batch[0] for batch in data.training(RECIPE, 1)])
    mean, std = data.normalisation
    # why: without padding, since what lies beyond the border is no part of an image
    answers = functional.conv2d((pixels - mean) / std, kernels[:half], stride=2).transpose(0, 1).flatten(1).double()
    products = answers @ answers.T / answers.shape[1]
    spread = products.diagonal()
    assert spread.max() < 1.1 * spread.min()
    assert (products - spread.diag()).abs().max() < 0.1 * spread.mean()


@pytest.mark.parametrize("start, whitened", [((), "True"), (("--start", "elsewhere"), "False")])
def test_what_was_learnt_before_is_not_replaced(
    start: tuple[str, ...], whitened: str, directions: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    command = ["train", "cifar-resnet-20", str(directions), "--size", "64", "--recipe", "fast", *start]
    assert main([*command, "--plan", "--format", "json"]) == 0
    fields = {row["field"]: row["value"] for row in json.loads(capfd.readouterr().out)["recipe"]}
    assert str(fields["whitened"]) == whitened
