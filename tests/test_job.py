"""What a training begins with: weights and classes of the same names, VGG's staged start; batches in parts that memory
holds, recipes that fit the network."""

import json
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
import torch

from topfive.cli import main
from topfive.engine.benchmark.machine import this_machine
from topfive.engine.inference.models import About, Model
from topfive.engine.models.modules import Classifier, build
from topfive.engine.training.fitting import adapted, fitted
from topfive.engine.training.initial_weights import NAMED_BY, Start
from topfive.errors import RefusedError
from topfive.networks import NETWORKS, get
from topfive.networks.costs import count
from topfive.networks.layers import (
    BatchNorm,
    Chain,
    Conv,
    GlobalPool,
    Head,
    Layer,
    Linear,
    Network,
    Pool,
    Relu,
    chain,
    rewrite_network,
    with_classes,
)
from topfive.networks.variations import for_small_images
from topfive.recipes.papers import VGG
from topfive.recipes.papers import get as get_recipe
from topfive.recipes.recipe import Recipe
from topfive.weights.names import network_called


def small(name: str) -> Network:
    """A VGG for 32 pixels, with 32 hidden units where it has 4096."""
    network = for_small_images(with_classes(get(name), 10), 32)
    return rewrite_network(network, lambda layer: Linear(32) if layer == Linear(4096) else layer)


def model(network: Network, classes: tuple[str, ...] = tuple("abcdefghij"), path: str = "first") -> Model:
    net, size = build(network), max(network.input[1:])
    statistics = torch.zeros(1, 3, 1, 1), torch.ones(1, 3, 1, 1)
    return Model(path, path, "", About(network, size, classes), Classifier(net, *statistics).eval())


@pytest.mark.parametrize("name", ["vgg-b", "vgg-d", "vgg-e"])
def test_a_deeper_vgg_begins_with_the_layers_of_a_that_the_paper_names(name: str) -> None:
    """Section 3.1: the first four convolutions and the last three fully connected layers of A; the others at random."""
    a, deeper = model(small("vgg-a")), build(small(name))
    first = a.classifier.net
    fresh = {key: value.clone() for key, value in deeper.state_dict().items()}
    Start(a, small(name), a.about.classes, VGG.init_layers).fill(deeper)
    convolutions = [name for name, _ in first.named_children() if name.startswith("conv")]
    linear = [name for name, _ in first.named_children() if name.startswith("fc")]
    named = {*convolutions[:4], *linear}
    assert len(named) == 7
    for key, value in deeper.state_dict().items():
        theirs = key.rsplit(".", 1)[0] in named
        assert torch.equal(value, first.state_dict()[key] if theirs else fresh[key]), key


def test_layers_that_not_both_networks_have_or_that_differ_are_named() -> None:
    other, classes = model(get("cifar-resnet-20")), tuple("abcdefghij")
    with pytest.raises(RefusedError, match=r"takes conv1_1, .*fc8 from the weights, .* init_layers=\[\]"):
        Start(other, small("vgg-b"), classes, VGG.init_layers)
    zeros_around = model(network_called("cifar-resnet-20-zeros-around"))
    Start(zeros_around, get("cifar-resnet-20"), classes, ("conv1", "conv2_x"))
    with pytest.raises(RefusedError, match=r"takes conv3_x .* another layer in cifar-resnet-20-zeros-around than in"):
        Start(zeros_around, get("cifar-resnet-20"), classes, ("conv1", "conv3_x"))


def tiny(*layers: tuple[str, Layer]) -> Network:
    return Network("tiny", "tiny", (3, 16, 16), Chain((*layers, ("pool", GlobalPool()), ("fc", Linear(2)))))


@pytest.mark.parametrize(
    ("theirs", "ours", "says"),
    [
        (tiny(("c", Conv(4, 3, 2, 1))), tiny(("c", Conv(4, 3, 1, 1))), "is another tiny, and not tiny: .* is c"),
        (tiny(("c", Conv(4, 3)), ("r", Relu(6))), tiny(("c", Conv(4, 3)), ("r", Relu())), "is r"),
        (with_classes(get("resnet-18"), 2), with_classes(get("resnet-34"), 2), "is resnet-18, and not resnet-34: "),
    ],
)  # fmt: skip
def test_a_training_begins_with_weights_of_the_same_network_alone(theirs: Network, ours: Network, says: str) -> None:
    with pytest.raises(RefusedError, match=says):
        Start(model(theirs, ("a", "b")), ours, ("a", "b"))


def test_one_network_at_two_sizes_is_the_same() -> None:
    large = tiny(("c1", Conv(4, 3, 2, 1)), ("c2", Conv(4, 3, 2, 1)))
    small = for_small_images(large, 4)
    assert small.body != large.body
    for theirs, ours in ((large, small), (small, large), (large, msgspec.structs.replace(large, input=(3, 20, 20)))):
        said = Start(model(theirs, ("a", "b")), ours, ("a", "b")).notes
        assert ("strides differ" in " ".join(said)) == (theirs.body != ours.body)


ANT, COW = ("ant", "bee", "cow"), ("cow", "dog", "emu")


def test_rows_of_a_classifier_are_carried_over_by_name() -> None:
    """Also those of an auxiliary one, whose weights have an output for each class as well."""
    head = Head("aux", "c", Chain((("pool", GlobalPool()), ("fc", Linear(2)))), 0.3)
    network = with_classes(msgspec.structs.replace(tiny(("c", Conv(4, 3))), heads=(head,)), 3)
    theirs, net = model(network, ANT), build(network)
    fresh = {key: value.clone() for key, value in net.state_dict().items()}
    start = Start(theirs, network, COW)
    start.fill(net)
    assert start.notes == ["classifiers: 1 of 3 classes carried over by name (cow), 2 fresh"]
    there = theirs.classifier.net.state_dict()
    for name, tensor in net.state_dict().items():
        if name == "c.weight" or name == "c.bias":
            assert torch.equal(tensor, there[name])
        else:
            assert torch.equal(tensor[0], there[name][2]) and torch.equal(tensor[1:], fresh[name][1:]), name


@pytest.mark.parametrize(
    ("classes", "says"),
    [
        ((), f"classifier: fresh, since first does not name its classes; {NAMED_BY}"),
        (("x", "y", "z"), "classifier: fresh, since none of the 3 classes is one of first's"),
        (COW[::-1], "classifier: 3 of 3 classes carried over by name (cow, dog, emu), 0 fresh"),
    ],
)
def test_what_becomes_of_a_classifier_is_said(classes: tuple[str, ...], says: str) -> None:
    network = with_classes(tiny(("c", Conv(4, 3))), 3)
    theirs, net = model(network, classes), build(network)
    fresh = net.state_dict()["fc.weight"].clone()
    start = Start(theirs, network, COW)
    start.fill(net)
    assert start.notes == [says]
    assert NAMED_BY in Start(replace(theirs, guessed=True), network, COW).notes[0] or classes == ("x", "y", "z")
    wanted = theirs.classifier.net.state_dict()["fc.weight"].flip(0) if classes == COW[::-1] else fresh
    assert torch.equal(net.state_dict()["fc.weight"], wanted)


def test_an_auxiliary_classifier_that_the_weights_lack_is_fresh() -> None:
    head = Head("aux", "c", Chain((("pool", GlobalPool()), ("fc", Linear(2)))), 0.3)
    bare = tiny(("c", Conv(4, 3)))
    net = build(msgspec.structs.replace(bare, heads=(head,)))
    start = Start(model(bare, ("a", "b")), msgspec.structs.replace(bare, heads=(head,)), ("a", "b"))
    fresh = net.state_dict()["aux.fc.weight"].clone()
    start.fill(net)
    assert torch.equal(net.state_dict()["aux.fc.weight"], fresh) and "does not have it: aux" in start.notes[1]


@pytest.mark.parametrize("gigabytes, world", [(1, 1), (4, 1), (4, 2), (2000, 1)])
def test_a_batch_is_computed_in_as_few_parts_as_memory_holds(
    gigabytes: int, world: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", str(world))
    network, recipe = get("resnet-50"), Recipe(batch=256)
    machine = msgspec.structs.replace(this_machine(), device="cpu", precision="float32", memory_bytes=gigabytes * 10**9)
    parts = fitted(recipe, network, 224, 1000, machine).accumulation_steps

    def taken(parts: int) -> int:
        return count(network, (3, 224, 224)).training_bytes(256 // (parts * world))

    assert taken(parts) <= 0.6e9 * gigabytes or parts * world == 128  # two images each
    assert parts == 1 or taken(parts // 2) > 0.6e9 * gigabytes
    assert fitted(recipe, network, 224, 1000, machine) == msgspec.structs.replace(recipe, accumulation_steps=parts)


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


@pytest.mark.parametrize("name", ["mobilenet-v1", "resnet-18", "squeezenet-1.1"])
def test_at_every_side_that_a_recipe_keeps_all_of_each_kernel_learns(name: str) -> None:
    """Gradients say it: at 16 pixels there are kernels of which the middle alone has one, at the sides kept none."""

    def lame(side: int) -> list[str]:
        torch.manual_seed(0)
        net = build(network).train()
        net(torch.randn(8, 3, side, side)).square().sum().backward()
        kernels = {key: weight.grad for key, weight in net.named_parameters() if weight.ndim == 4}
        return [key for key, grad in kernels.items() if grad is not None and (grad.abs().sum((0, 1)) == 0).any()]

    network = for_small_images(with_classes(get(name), 10), 32)
    rules, said = adapted(get_recipe("fast", network), network, 32)
    sides = {rules.side(epoch, 32) for epoch in range(1, rules.epochs + 1)}
    assert sides == {24, 32} and "16 pixels: its last maps would be single pixels" in said
    assert lame(16) and not any(map(lame, sides))


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
    assert sorted({share for _, share in ran.progressive_resize} | {1.0}) == [side / 32 for side in sides]
    if said:
        assert main([*command, "--set", "progressive_resize=[[0.5,0.5]]"]) == 2
        assert "cannot be trained at 16 beside 32 pixels" in capsys.readouterr().err
