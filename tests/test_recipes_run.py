"""Every recipe trains its network for two epochs on real images; the auxiliary classifiers learn, and are gone."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from topfive.data.opening import open_source
from topfive.data.sources import Source
from topfive.engine.benchmark.machine import this_machine
from topfive.engine.models.modules import build
from topfive.engine.training.job import Job, network_of
from topfive.engine.training.processes import Group
from topfive.recipes.editing import changed
from topfive.recipes.papers import RECIPES, get
from topfive.results.runs import newest_in

IMAGENETTE = Path(__file__).parents[2] / "shared" / "data" / "imagenette.tar"
NETWORKS = {
    "alexnet": "alexnet",
    "zfnet": "zfnet",
    "vgg": "vgg-a",
    "googlenet": "googlenet",
    "bn-inception": "bn-inception",
    "inception-v3": "inception-v3",
    "inception-v4": "inception-resnet-v1",
    "resnet-cifar": "cifar-resnet-20",
    "resnet-cifar-110": "cifar-resnet-110",
}
SIZES = {"resnet-cifar": 32, "resnet-cifar-110": 32, "inception-v3": 96, "inception-v4": 96}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not IMAGENETTE.exists(), reason="../shared/data/imagenette.tar is not there"),
]


@pytest.fixture(scope="module")
def few() -> Source:
    """Twelve training and four validation images of each class."""
    source = open_source(str(IMAGENETTE))

    def some(items: tuple, count: int) -> tuple:  # type: ignore[type-arg]
        return tuple(item for label in range(10) for item in [i for i in items if i.label == label][:count])

    return replace(source, train=some(source.train, 12), val=some(source.val, 4))


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_runs_two_epochs(name: str, few: Source, tmp_path: Path) -> None:
    network, size = network_of(NETWORKS.get(name, "resnet-18"), few, SIZES.get(name, 64))
    recipe = changed(get(name, network), ["epochs=2", "batch=16", "evaluate_every=1"])
    job = Job(network, few, recipe, size, this_machine(), Group(), tmp_path / "run")
    job.open([])
    rows = list(job.epochs("again"))
    assert [row.epoch for row in rows] == [1, 2]
    assert all(row.scores and row.scores.images == 40 and 0 < row.loss < 20 for row in rows)
    assert all(row.first_gradient > 0 and row.last_gradient > 0 for row in rows)
    assert newest_in(tmp_path / "run").step == 16  # 120 images in batches of 16


@pytest.mark.parametrize("name", ["googlenet", "inception-v3"])
def test_auxiliary_classifiers_learn_and_are_gone_in_evaluation(name: str, few: Source, tmp_path: Path) -> None:
    network, size = network_of(name, few, SIZES.get(name, 64))
    recipe = changed(get("quick", network), ["epochs=8", "batch=20", "lr=0.04"])
    job = Job(network, few, recipe, size, this_machine(), Group(), tmp_path / "run")
    job.open([])
    rows = list(job.epochs("again"))
    assert rows[0].auxiliary_losses and len(rows[0].auxiliary_losses) == len(network.heads)
    assert all(late < early for early, late in zip(rows[0].auxiliary_losses, rows[-1].auxiliary_losses))
    net = build(job.network, (3, size, size)).eval()
    assert len(net.all_logits(torch.zeros(1, 3, size, size))) == 1
