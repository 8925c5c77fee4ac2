"""What a training begins with: VGG's staged start, batches in parts that memory holds, recipes that fit the network."""

import json
from pathlib import Path

import msgspec
import pytest
import torch

from topfive.cli import main
from topfive.costs import count
from topfive.errors import RefusedError
from topfive.lab.job import _begin_with, adapted, fitted
from topfive.lab.measuring import this_machine
from topfive.lab.modules import build
from topfive.lab.weights import packed
from topfive.layers import (
    BatchNorm,
    Conv,
    GlobalPool,
    Head,
    Linear,
    Network,
    Pool,
    Relu,
    chain,
    rewrite_network,
    with_classes,
)
from topfive.networks import NETWORKS, get
from topfive.recipes import Recipe
from topfive.recipes_of_papers import VGG
from topfive.recipes_of_papers import get as get_recipe
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


# one of each kind: fully connected layers over maps, the same in auxiliary classifiers, and neither
STORY = "alexnet alexnet-owt bn-alexnet zfnet vgg-a vgg-a-lrn googlenet googlenet-naive nin resnet-18"


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name in STORY.split() else pytest.mark.slow) for name in NETWORKS],
)
def test_our_recipes_train_every_network_at_every_size(name: str) -> None:
    """On torch's meta device, which knows shapes alone: the network passes images of each side that a run will have."""
    for size in (32, 64, 96, 128, 224):
        network = for_small_images(with_classes(get(name), 10), size)
        with torch.device("meta"):
            net = build(network, (3, size, size)).train()
        sides = set()
        for recipe in ("quick", "fast", "finetune"):
            rules, said = adapted(get_recipe(recipe, network), network, size)
            assert bool(said) == (rules != get_recipe(recipe, network))
            sides |= {rules.side(epoch, size) for epoch in range(1, rules.epochs + 1)}
        for side in sides:
            every = net.all_logits(torch.empty(2, 3, side, side, device="meta"))
            assert {tuple(logits.shape) for logits in every} == {(2, 10)} and len(every) == 1 + len(network.heads)


@pytest.mark.parametrize(
    "last, aux, said, sides",
    [
        (GlobalPool(), GlobalPool(), "", [16, 24, 32]),
        (Relu(), GlobalPool(), "without its smaller images, of 16 and 24 pixels: its fully connected", [32]),
        (GlobalPool(), Relu(), "without its smaller images, of 16 and 24 pixels: the fully connected", [32]),
        (
            Pool("max", 10),
            GlobalPool(),
            "without its smaller images, of 16 pixels: its maps would vanish",
            [24, 32],
        ),
    ],
)
def test_a_dry_run_makes_steps_at_every_side_that_the_recipe_keeps(
    last: Relu | Pool | GlobalPool,
    aux: Relu | GlobalPool,
    said: str,
    sides: list[int],
    directions: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    conv = Conv(72, 3, 2, 1)  # why: fast has other sides for networks with fewer filters
    end = chain(pool=last, whole=GlobalPool()) if isinstance(last, Pool) else last
    body = chain(conv=conv, bn=BatchNorm(), last=end, fc=Linear(3))
    network = Network("own", "own", (3, 32, 32), body, (Head("aux", "bn", chain(pool=aux, fc=Linear(3)), 0.3),))
    (tmp_path / "own.json").write_bytes(msgspec.json.encode(network))
    monkeypatch.chdir(tmp_path)
    command = ["train", "own.json", str(directions), "--recipe", "fast", "--size", "32", "--batch", "8"]
    assert main([*command, "--dry-run", "--format", "json"]) == 0
    printed = capsys.readouterr()
    assert [row["side"] for row in json.loads(printed.out)["rows"]] == sides
    told = [line for line in printed.err.splitlines() if "smaller images" in line]
    assert len(told) == bool(said) and all(said in line for line in told)
    assert main([*command, "--epochs", "1", "--out", "run"]) == 0
    ran = msgspec.convert(json.loads(Path("run/run.json").read_text())["recipe"], Recipe)
    assert sorted({share for _, share in ran.sizes} | {1.0}) == [side / 32 for side in sides]
    if said:
        assert main([*command, "--set", "sizes=[[0.5,0.5]]"]) == 2
        assert "cannot be trained at 16 beside 32 pixels" in capsys.readouterr().err
