"""Rename tables, and which network a file belongs to.

The oracles: digests of the names and shapes of torchvision's and timm's own modules, written down by
`python tests/peers/test_weights.py` in the environment of `make peers` (which compares logits, too); torch's own module
for what our networks hold; and for the CIFAR files the names and the forward pass of their repositories, written here.
"""

import hashlib
import json
import re
from collections.abc import Callable
from itertools import pairwise
from math import prod
from pathlib import Path

import pytest
import torch
from msgspec.structs import replace
from torch import Tensor
from torch.nn import functional

from topfive.data.imagenet import imagenet_classes
from topfive.engine.models.modules import build
from topfive.errors import RefusedError, UsageError
from topfive.networks import get
from topfive.networks.layers import Pool, Relu, leaves, with_classes
from topfive.weights.matching import COUNTER, Match, _rules, recognise, theirs, weights_of
from topfive.weights.names import ORIGINS, VARIANTS, Shape, network_called
from topfive.weights.preprocessing import timm_config

Shapes = dict[str, Shape]

WRITTEN_DOWN: dict[str, str] = json.loads((Path(__file__).parent / "data" / "library_names.json").read_text())
# one network of each family, and every variant that its own function makes
BUILT = [
    "alexnet", "zfnet", "nin", "bn-nin", "vgg-a", "googlenet", "googlenet-torchvision", "bn-inception", "inception-v3",
    "inception-v4", "inception-resnet-v2", "resnet-18", "resnet-50-v1.5", "cifar-resnet-20", "resnext-50-32x4d",
    "senet-154", "densenet-121", "squeezenet-1.1", "mobilenet-v2", "vgg-a-bn", "cifar-resnet-20-b",
    "cifar-resnet-20-zeros-around", "se-resnet-50-v1.5", "mobilenet-v1-relu6",
]  # fmt: skip


def file_of(library: str, model: str) -> Shapes:
    """The names and shapes of a file of theirs, by our tables; the digests say whether those are right."""
    origin = next(origin for origin in ORIGINS if origin[:2] == (library, model))
    network = network_called(origin.network)
    if library == "timm":  # it makes its Inception-v3 without the head, and stores as convolutions what may be linear
        network = replace(network, heads=())
    shapes: Shapes = {}
    for weight in weights_of(network):
        name = theirs(weight.name, _rules(origin, network))
        assert name not in shapes
        shapes[name] = weight.window if library == "timm" and weight.window else weight.shape
        if name.endswith(".running_var"):
            shapes[name.replace(".running_var", COUNTER)] = ()
    return shapes


@pytest.mark.parametrize("name", BUILT)
def test_the_weights_of_a_network_are_those_of_its_module(name: str) -> None:
    with torch.device("meta"):
        state = build(network_called(name)).state_dict()
    assert {weight.name: weight.shape for weight in weights_of(network_called(name))} == {
        name: tuple(tensor.shape) for name, tensor in state.items() if not name.endswith(COUNTER)
    }


@pytest.mark.parametrize("key", WRITTEN_DOWN)
def test_names_and_shapes_are_those_of_the_library(key: str) -> None:
    """A 1x1 convolution counts as a linear layer."""
    shapes = file_of(*key.split(" "))
    lines = sorted(re.sub("( 1)+$", "", f"{name} {' '.join(map(str, shape))}") + "\n" for name, shape in shapes.items())
    assert hashlib.sha256("".join(lines).encode()).hexdigest() == WRITTEN_DOWN[key]


@pytest.mark.parametrize(
    ("library", "model", "network"),
    [
        ("torchvision", "alexnet", "alexnet-owt"),
        ("torchvision", "vgg16_bn", "vgg-d-bn"),
        ("torchvision", "googlenet", "googlenet-torchvision"),
        ("torchvision", "inception_v3", "inception-v3"),
        ("torchvision", "resnet34", "resnet-34"),
        ("torchvision", "resnet101", "resnet-101-v1.5"),
        ("torchvision", "resnext50_32x4d", "resnext-50-32x4d"),
        ("torchvision", "densenet161", "densenet-161"),
        ("torchvision", "squeezenet1_1", "squeezenet-1.1"),
        ("torchvision", "mobilenet_v2", "mobilenet-v2"),
        ("timm", "vgg13", "vgg-b"),
        ("timm", "inception_v4", "inception-v4"),
        ("timm", "inception_resnet_v2", "inception-resnet-v2"),
        ("timm", "resnext101_32x4d", "resnext-101-32x4d"),
        ("timm", "seresnet50", "se-resnet-50-v1.5"),
        ("timm", "legacy_seresnet50", "se-resnet-50-caffe-pool"),
        ("timm", "legacy_senet154", "senet-154"),
        ("timm", "mobilenetv1_100", "mobilenet-v1-relu6"),
        ("timm", "mobilenetv2_100", "mobilenet-v2"),
        ("topfive", "googlenet", "googlenet"),
    ],
)
def test_a_file_is_recognised_and_taken_whole(library: str, model: str, network: str) -> None:
    shapes = file_of(library, model)
    match = recognise(shapes, "w.pth")
    assert (match.origin.library, match.origin.model, match.network.name) == (library, model, network)
    assert match.names.keys() == shapes.keys()
    with torch.device("meta"):
        assert sorted(match.names.values()) == sorted(build(match.network).state_dict())


def test_the_library_is_told_where_two_have_the_same_names() -> None:
    shapes = file_of("timm", "resnet50")
    unknown, told = recognise(shapes, "w.pth"), recognise(shapes, "w.pth", library="timm")
    assert unknown.origin.library == "torchvision" and "timm's resnet50" in unknown.notes[0]
    assert told.origin.library == "timm" and told.notes == ()
    assert told.origin.preprocessing is not None and told.origin.preprocessing.protocol.sides(224) == (
        235,
    )  # 224 / .95


def resnet50() -> Shapes:
    return file_of("torchvision", "resnet50")


def without(shapes: Shapes, *names: str) -> Shapes:
    assert set(names) <= shapes.keys()
    return {name: shape for name, shape in shapes.items() if name not in names}


@pytest.mark.parametrize(
    ("damage", "network", "said"),
    [
        (lambda f: without(f, "layer2.0.bn2.running_mean"), None, "layer2.0.bn2.running_mean is missing"),
        (lambda f: f | {"layer5.weight": (3,)}, None, "layer5.weight is not known"),
        (lambda f: f | {"mask.num_batches_tracked": ()}, None, "mask.num_batches_tracked is not known"),
        (lambda f: f | {"bn1.num_batches_tracked": (2,)}, None, "bn1.num_batches_tracked is 2, not one number"),
        (lambda f: f | {"fc.weight": (2048, 1000)}, None, "fc.weight is 2048x1000, not 2048x2048"),
        (lambda f: f | {"conv1.weight": (7, 7, 3, 64)}, None, "conv1.weight is 7x7x3x64, not 64x3x7x7"),
        (lambda f: f | {"conv1.weight": (64, 1, 7, 7)}, None, "conv1.weight is 64x1x7x7, not 64x3x7x7"),
        (lambda f: {name: tuple(n // 2 for n in shape) for name, shape in f.items()}, None, "bn1.weight is 32, not 64"),
        (lambda f: dict(list(f.items())[: len(f) // 2]), None, "is missing; and "),
        (lambda f: {f"net.{name}": shape for name, shape in f.items()}, None, "none of which has the names net.conv1"),
        (lambda f: {}, None, "fits no network here"),
        (lambda f: f, "resnet-50", "here resnet-50-v1.5, and not resnet-50: the stride"),
        (lambda f: f, "resnet-101", "here resnet-50-v1.5, and not resnet-101"),
        (lambda f: f, "vgg-d", "here resnet-50-v1.5, and not vgg-d"),
        (lambda f: f | file_of("torchvision", "alexnet"), None, "is not known"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(
    damage: Callable[[Shapes], Shapes], network: str | None, said: str
) -> None:
    with pytest.raises(RefusedError) as refused:
        recognise(damage(resnet50()), "w.pth", network)
    assert str(refused.value).startswith("w.pth ") and said in str(refused.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda f: {f"enc.{n}": s for n, s in f.items()}, r"320 begin with enc\., so save the state_dict"),
        (lambda f: {n if n.startswith("fc") else f"enc.{n}": s for n, s in f.items()}, "with enc. and fc.weight does"),
        (lambda f: f | {"proj.weight": (3, 3)}, "resnet50, here resnet-50-v1.5: proj.weight is not known: .* without"),
    ],
)
def test_what_is_in_the_way_is_named_and_no_chance_likeness(change: Callable[[Shapes], Shapes], said: str) -> None:
    with pytest.raises(RefusedError, match=said) as refused:
        recognise(change(resnet50()), "w.pth")
    assert "vgg" not in str(refused.value)


def test_a_file_for_a_deeper_network_names_what_is_too_much() -> None:
    with pytest.raises(RefusedError, match=r"nearest is torchvision's resnet152.*layer3\.36"):
        recognise(file_of("torchvision", "resnet152") | {"layer3.36.conv1.weight": (256, 1024, 1, 1)}, "w.pth")


@pytest.mark.parametrize(
    ("library", "model", "asked", "because"),
    [
        ("torchvision", "alexnet", "alexnet", "one-column"),
        ("torchvision", "googlenet", "googlenet", "batch-normalised"),
        ("timm", "mobilenetv1_100", "mobilenet-v1", "stop at 6"),
        ("timm", "legacy_seresnet50", "se-resnet-50", "rounds up"),
        ("timm", "seresnet50", "se-resnet-50", "stride"),
        ("akamaster", "resnet20", "cifar-resnet-20", "zero maps"),
    ],
)
def test_another_variant_than_asked_for_is_refused_with_its_name(
    library: str, model: str, asked: str, because: str
) -> None:
    right = next(origin.network for origin in ORIGINS if origin[:2] == (library, model))
    with pytest.raises(RefusedError, match=f"here {right}, and not {asked}: .*{because}"):
        recognise(file_of(library, model), "w.pth", asked)
    assert recognise(file_of(library, model), "w.pth", right).origin.model == model


def test_another_number_of_classes() -> None:
    match = recognise(resnet50() | {"fc.weight": (10, 2048), "fc.bias": (10,)}, "w.pth")
    assert match.network == with_classes(get("resnet-50-v1.5"), 10)
    with pytest.raises(RefusedError, match=r"fc\.bias is 1000, not 10$"):
        recognise(resnet50() | {"fc.weight": (10, 2048)}, "w.pth")


def test_counters_and_auxiliary_classifiers_may_be_missing() -> None:
    bare = {name: shape for name, shape in resnet50().items() if not name.endswith(COUNTER)}
    assert recognise(bare, "w.pth").names.keys() == bare.keys()

    inception = file_of("torchvision", "inception_v3")
    assert recognise(inception, "w.pth").network.heads
    top = {name: shape for name, shape in inception.items() if not name.startswith("AuxLogits.")}
    match = recognise(top, "w.pth")
    assert not match.network.heads and match.names.keys() == top.keys()
    with pytest.raises(RefusedError, match=r"AuxLogits\.fc\.weight is missing"):
        recognise(without(inception, "AuxLogits.fc.weight"), "w.pth")

    extra: Shapes = {"aux1.fc2.weight": (1000, 1024), "aux2.conv.bn.num_batches_tracked": ()}
    googlenet = file_of("torchvision", "googlenet")
    match = recognise(googlenet | extra, "w.pth")
    assert match.names.keys() == googlenet.keys() and "2 tensors of auxiliary classifiers" in match.notes[1]


def test_the_names_of_2017() -> None:
    new = file_of("torchvision", "densenet121")
    old = {name: shape for name, shape in new.items() if not name.endswith(COUNTER)}
    for kind in ("norm", "conv"):
        for n in "12":
            old = {name.replace(f".{kind}{n}.", f".{kind}.{n}."): shape for name, shape in old.items()}
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    assert sorted(recognise(old, "w.pth").names.values()) == sorted(
        ours for ours in recognise(new, "w.pth").names.values() if not ours.endswith(COUNTER)
    )


@pytest.mark.parametrize(
    ("network", "library", "model", "error", "said"),
    [
        ("resnet-51", None, None, UsageError, "no network is called 'resnet-51'; did you mean"),
        (None, "keras", None, UsageError, "no library is called 'keras'"),
        (None, "timm", "resnetblur50", RefusedError, "is called resnetblur50, but its tensors are those of timm's"),
        (None, "akamaster", None, RefusedError, "fits no network here"),
    ],
)
def test_what_is_said_of_a_file_must_hold(
    network: str | None, library: str | None, model: str | None, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        recognise(resnet50(), "w.pth", network, library, model)


def cifar_names(depth: int, shortcut: str, classifier: str) -> Shapes:
    """Those of the repositories' `ResNet`, as their constructors write them."""
    shapes: Shapes = {}

    def conv_bn(conv: str, bn: str, *kernel: int) -> None:
        shapes[f"{conv}.weight"] = kernel
        shapes.update({f"{bn}.{name}": kernel[:1] for name in ("weight", "bias", "running_mean", "running_var")})

    conv_bn("conv1", "bn1", 16, 3, 3, 3)
    for layer, (before, planes) in enumerate(pairwise((16, 16, 32, 64)), start=1):
        for block in range((depth - 2) // 6):
            at, inside = f"layer{layer}.{block}", before if block == 0 else planes
            conv_bn(f"{at}.conv1", f"{at}.bn1", planes, inside, 3, 3)
            conv_bn(f"{at}.conv2", f"{at}.bn2", planes, planes, 3, 3)
            if shortcut and inside != planes:
                conv_bn(f"{at}.{shortcut}.0", f"{at}.{shortcut}.1", planes, inside, 1, 1)
    return shapes | {f"{classifier}.weight": (10, 64), f"{classifier}.bias": (10,)}


def cifar_logits(w: dict[str, Tensor], x: Tensor, depth: int, shortcut: str, classifier: str) -> Tensor:
    """Their forward pass; without `shortcut`, half of the zero maps in front and half behind."""

    def conv_bn(conv: str, bn: str, x: Tensor, stride: int = 1, pad: int = 1) -> Tensor:
        x = functional.conv2d(x, w[f"{conv}.weight"], None, stride, pad)
        return functional.batch_norm(
            x, *(w[f"{bn}.{key}"] for key in ("running_mean", "running_var", "weight", "bias"))
        )

    x = conv_bn("conv1", "bn1", x).relu()
    for layer in (1, 2, 3):
        for block in range((depth - 2) // 6):
            at, stride = f"layer{layer}.{block}", 2 if layer > 1 and block == 0 else 1
            out = conv_bn(f"{at}.conv2", f"{at}.bn2", conv_bn(f"{at}.conv1", f"{at}.bn1", x, stride).relu())
            if stride == 2 and shortcut:
                x = conv_bn(f"{at}.{shortcut}.0", f"{at}.{shortcut}.1", x, 2, 0)
            elif stride == 2:
                quarter = out.shape[1] // 4
                x = functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, quarter, quarter))
            x = (out + x).relu()
    return functional.linear(x.mean((2, 3)), w[f"{classifier}.weight"], w[f"{classifier}.bias"])


def difference(match: Match, weights: dict[str, Tensor], images: Tensor, expected: Tensor) -> float:
    """Between two logits, as a fraction of the largest."""
    module = build(match.network).eval()
    module.load_state_dict(match.renamed(weights), strict=False)  # these files have no counters
    return float((module(images) - expected).abs().max() / expected.abs().max())


@torch.no_grad()
@pytest.mark.parametrize(
    ("library", "model", "shortcut", "classifier"),
    [("akamaster", "resnet32", "", "linear"), ("chenyaofo", "cifar10_resnet20", "downsample", "fc")],
)
def test_the_cifar_checkpoints_give_their_logits(library: str, model: str, shortcut: str, classifier: str) -> None:
    torch.manual_seed(0)
    depth = int(model[-2:])
    shapes = cifar_names(depth, shortcut, classifier)
    weights = {name: torch.randn(shape) / prod(shape[1:]) ** 0.5 for name, shape in shapes.items()}
    weights |= {name: tensor.abs() + 0.5 for name, tensor in weights.items() if name.endswith("var")}
    images = torch.randn(2, 3, 32, 32)
    expected = cifar_logits(weights, images, depth, shortcut, classifier)
    match = recognise(shapes, "w.th")
    assert (match.origin.library, match.origin.model) == (library, model)
    assert difference(match, weights, images, expected) < 1e-4
    if not shortcut:
        behind = match._replace(network=get(f"cifar-resnet-{depth}"))
        assert difference(behind, weights, images, expected) > 0.01  # the zero maps do matter


def test_two_networks_that_fit_alike_are_both_named() -> None:
    with pytest.raises(UsageError, match=r"may be cifar-resnet-20 or cifar-resnet-20-zeros-around"):
        recognise(cifar_names(20, "", "fc"), "w.th")
    assert recognise(cifar_names(20, "", "fc"), "w.th", "cifar-resnet-20").network == get("cifar-resnet-20")
    with pytest.raises(UsageError, match=r"may be resnet-50 or resnet-50-v1\.5"):
        recognise(file_of("topfive", "resnet-50"), "ours.safetensors")


def test_the_classes_of_cifar_tell_its_two_data_sets_apart() -> None:
    shapes = cifar_names(20, "downsample", "fc")
    for classes, model in ((10, "cifar10_resnet20"), (100, "cifar100_resnet20"), (7, "resnet20")):
        match = recognise(shapes | {"fc.weight": (classes, 64), "fc.bias": (classes,)}, "w.pt")
        assert match.origin.model == model and match.network.classes == classes


def config(**changes: object) -> str:
    shown = {"input_size": [3, 224, 224], "mean": [0.5, 0.5, 0.5], "std": [0.2, 0.2, 0.2], "interpolation": "bicubic",
             "crop_pct": 0.9, "crop_mode": "center", "tag": "a1_in1k"}  # fmt: skip
    top = {"architecture": "resnet50.a1_in1k", "num_classes": 2}
    top |= {key: value for key, value in changes.items() if key not in shown}
    return json.dumps(top | {"pretrained_cfg": shown | {k: v for k, v in changes.items() if k in shown}})


def test_what_timm_writes_beside_a_file() -> None:
    found = timm_config(config(label_names=["cat", "dog"]), "config.json")
    assert (found.model, found.classes, found.names) == ("resnet50", 2, ("cat", "dog"))
    assert (found.preprocessing.mean, found.preprocessing.std) == ((0.5,) * 3, (0.2,) * 3)
    assert found.preprocessing.protocol.sides(224) == (248,)  # timm: floor(224 / 0.9)
    assert timm_config(config(crop_pct=0.875), "config.json").preprocessing.protocol.key == "1-crop:timm"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"mean": [0.5, 0.5]}, r"\$\.pretrained_cfg\.mean"),
        ({"std": [0, 1, 1]}, r"\$\.pretrained_cfg\.std"),
        ({"crop_pct": 8}, "crop_pct"),
        ({"crop_mode": "squash"}, "crop_mode"),
        ({"interpolation": "random"}, "interpolation"),
        ({"input_size": [3, 224, 192]}, "224x192 are no squares"),
        ({"input_size": [1, 28, 28]}, "input_size"),
        ({"model_args": {"output_stride": 8}}, "output_stride"),
        ({"label_names": ["cat"]}, "names 1 classes of 2"),
        ({"num_classes": 0}, "num_classes"),
    ],
)
def test_a_config_that_cannot_be_followed_is_refused(changes: dict[str, object], said: str) -> None:
    with pytest.raises(RefusedError, match=f"config.json.*{said}"):
        timm_config(config(**changes), "config.json")


def test_the_classes_of_imagenet_are_in_the_usual_order() -> None:
    ids, words = imagenet_classes()
    assert len(ids) == len(words) == 1000 == len(set(ids)) and list(ids) == sorted(ids)
    # as everybody counts them
    for i, word in ((0, "tench"), (1, "goldfish"), (207, "golden retriever"), (281, "tabby"), (999, "toilet tissue")):
        assert words[i].startswith(word)


def test_variants_are_what_their_names_say() -> None:
    listed = {origin.network for origin in ORIGINS if origin.library == "topfive"}
    assert not listed & VARIANTS.keys()
    assert all(make().name == name for name, make in VARIANTS.items() if "1202" not in name)
    relus = {layer for _, layer in leaves(network_called("mobilenet-v1-relu6").body) if isinstance(layer, Relu)}
    pools = {layer for _, layer in leaves(network_called("se-resnet-50-caffe-pool").body) if isinstance(layer, Pool)}
    assert relus == {Relu(6)} and pools == {Pool("max", 3, 2, ceil=True)}
