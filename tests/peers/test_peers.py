"""Every family beside the networks that torchvision and timm wrote, with the same random weights: `make peers`.

Counts cannot see a missing ReLU, a swapped order or another padding. Each check is shown to be able to fail: the same
weights in our network without its middle ReLU give other logits.
"""

import importlib.util
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from topfive import costs
from topfive.lab.modules import Net, build
from topfive.layers import IDENTITY, Layer, Network, Pool, Relu, leaves, rewrite_network
from topfive.networks import get
from topfive.variations import batch_normalized

pytestmark = pytest.mark.peers

_found = importlib.util.find_spec("torchvision")
if _found is None or importlib.util.find_spec("timm") is None:
    pytest.skip("torchvision and timm are not installed; `make peers` has them", allow_module_level=True)
assert _found.origin is not None
try:
    for _library in Path(_found.origin).parent.glob("_C*.so"):
        torch.ops.load_library(_library)
except OSError:
    pass  # built for another torch: its compiled operators stay out
if not hasattr(torch.ops.torchvision, "nms"):
    # torchvision registers shapes for two compiled operators on import, so they are declared; nothing here calls them
    _declared = torch.library.Library("torchvision", "DEF")
    for _operator in ("nms", "qnms"):
        _declared.define(f"{_operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the peers' own
    import timm
    from torchvision import models

BOUND = 1e-4  # of the largest logit
WEIGHTED = (nn.Conv2d, nn.BatchNorm2d, nn.Linear)

Shape = tuple[int, int, int]


class Peer(NamedTuple):
    """Another library's network: how to make it, what to change in ours, and which of its layers it lists too early."""

    make: Callable[[], nn.Module]
    change: Callable[[Network], Network] = lambda network: network
    last: tuple[str, ...] = ()
    side: int = 107  # of the pictures: odd, so that windows are left over at the edges


def caffe_pool(network: Network) -> Network:
    """timm's legacy networks round pool1 up and do not pad it."""
    return rewrite_network(
        network, lambda layer: Pool("max", 3, 2, ceil=True) if layer == Pool("max", 3, 2, 1) else layer
    )


def relu6(network: Network) -> Network:
    """timm's MobileNet v1 has the ReLU6 of the released code."""
    return rewrite_network(network, lambda layer: Relu(6.0) if layer == Relu() else layer)


def of_timm(name: str) -> Callable[[], nn.Module]:
    return lambda: timm.create_model(name)


PEERS = {
    "alexnet-owt": Peer(models.alexnet, side=224),
    "vgg-a": Peer(models.vgg11, side=224),
    "vgg-b": Peer(models.vgg13, side=224),
    "vgg-d": Peer(models.vgg16, side=224),
    "vgg-e": Peer(models.vgg19, side=224),
    "vgg-a-bn": Peer(models.vgg11_bn, side=224),
    "vgg-b-bn": Peer(models.vgg13_bn, side=224),
    "vgg-d-bn": Peer(models.vgg16_bn, side=224),
    "vgg-e-bn": Peer(models.vgg19_bn, side=224),
    "googlenet-torchvision": Peer(lambda: models.googlenet(aux_logits=False, init_weights=False)),
    "inception-v3": Peer(lambda: models.inception_v3(init_weights=False), last=("AuxLogits",), side=299),
    "inception-v4": Peer(of_timm("inception_v4")),
    "inception-resnet-v2": Peer(of_timm("inception_resnet_v2")),
    "resnet-18": Peer(models.resnet18),
    "resnet-34": Peer(models.resnet34),
    "resnet-50-v1.5": Peer(models.resnet50),
    "resnet-101-v1.5": Peer(models.resnet101),
    "resnet-152-v1.5": Peer(models.resnet152),
    "resnext-50-32x4d": Peer(models.resnext50_32x4d),
    "resnext-101-32x4d": Peer(of_timm("resnext101_32x4d")),
    "resnext-101-64x4d": Peer(models.resnext101_64x4d),
    "resnext-101-32x8d": Peer(models.resnext101_32x8d),
    "se-resnet-50": Peer(of_timm("legacy_seresnet50"), caffe_pool),
    "senet-154": Peer(of_timm("legacy_senet154")),
    "densenet-121": Peer(models.densenet121),
    "densenet-161": Peer(models.densenet161),
    "densenet-169": Peer(models.densenet169),
    "densenet-201": Peer(models.densenet201),
    "squeezenet-1.0": Peer(models.squeezenet1_0),
    "squeezenet-1.1": Peer(models.squeezenet1_1),
    "mobilenet-v1": Peer(of_timm("mobilenetv1_100"), relu6),
    "mobilenet-v2": Peer(models.mobilenet_v2),
}


class Line(NamedTuple):
    network: str
    peer: str
    side: int
    difference: float
    without_relu: float
    params: int


@pytest.fixture(scope="module")
def lines(request: pytest.FixtureRequest) -> Iterator[list[Line]]:
    """What was compared, printed when all is done."""
    found: list[Line] = []
    yield found
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print(f"\n\n{'network':22}{'peer':24}{'side':>5}{'difference':>12}{'without a ReLU':>16}{'parameters':>14}")
        for line in found:
            print(
                f"{line.network:22}{line.peer:24}{line.side:5}{line.difference:12.1e}{line.without_relu:16.1e}"
                f"{line.params:14,}"
            )
        print("difference: the largest between two logits, as a fraction of the largest logit")


def weighted(module: nn.Module, last: tuple[str, ...] = ()) -> list[nn.Module]:
    """The layers with weights as the module lists them, those under a name in `last` behind the others."""
    listed = [(name, part) for name, part in module.named_modules() if isinstance(part, WEIGHTED)]
    return [part for _, part in sorted(listed, key=lambda item: item[0].startswith(last) if last else False)]


def randomise(module: nn.Module, shape: Shape) -> None:
    """Random weights; running statistics about those of noise, so that nothing explodes.

    The factors of batch normalisation stay below 1: with larger ones SENet-154 is chaotic, and a change of the pictures
    by 1e-7 changes its logits by a fifth.
    """
    for part in weighted(module):
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.weight, 0.25, 0.75)
            nn.init.normal_(part.bias, 0.0, 0.2)
            part.momentum = 1.0
        else:
            nn.init.kaiming_normal_(part.weight, nonlinearity="relu")
            if part.bias is not None:
                nn.init.normal_(part.bias, 0.0, 0.1)
    normalised = [part for part in weighted(module) if isinstance(part, nn.BatchNorm2d)]
    if normalised:
        module.train()(torch.randn(2, *shape))
    for part in normalised:
        part.running_mean += 0.2 * torch.randn_like(part.running_mean) * part.running_var.sqrt()
        part.running_var *= torch.empty_like(part.running_var).uniform_(0.7, 1.4)


def share(ours: nn.Module, theirs: nn.Module, last: tuple[str, ...]) -> None:
    """Their weights in our module: layer by layer in the order of both."""
    for mine, other in zip(weighted(ours), weighted(theirs, last), strict=True):
        for key, value in other.state_dict().items():
            target = mine.state_dict()[key]
            assert target.shape == value.shape or value.shape[2:] == (1, 1), (mine, other)
            target.copy_(value.reshape(target.shape))  # timm's gates are 1x1 convolutions, ours are linear
        for field in ("stride", "padding", "groups", "eps"):
            if hasattr(mine, field):
                assert getattr(mine, field) == getattr(other, field), (mine, other)


def without_middle_relu(network: Network) -> Network:
    """A fault that no count shows."""
    left = sum(isinstance(layer, Relu) for _, layer in leaves(network.body)) // 2

    def cut(layer: Layer) -> Layer:
        nonlocal left
        left -= isinstance(layer, Relu)
        return IDENTITY if isinstance(layer, Relu) and left == 0 else layer

    return rewrite_network(network, cut)


def logits(module: nn.Module, pictures: Tensor) -> tuple[Tensor, ...]:
    """Those of the top, and of an auxiliary classifier where there is one; every layer as in evaluation."""
    module.eval()
    if isinstance(module, Net):
        module.training = bool(module.taps)  # this switch alone, so that the heads run and nothing else is in training
        return module.all_logits(pictures)
    module.training = getattr(module, "AuxLogits", None) is not None
    found = module(pictures)
    return (found,) if isinstance(found, Tensor) else (found.logits, found.aux_logits)


def difference(ours: tuple[Tensor, ...], theirs: tuple[Tensor, ...]) -> float:
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("name", PEERS)
@torch.no_grad()
def test_the_same_weights_give_the_same_logits(name: str, lines: list[Line]) -> None:
    peer = PEERS[name]
    torch.manual_seed(0)
    shape = (3, peer.side, peer.side)
    theirs = peer.make()
    randomise(theirs, shape)
    network = batch_normalized(get(name[:-3])) if name.endswith("-bn") else peer.change(get(name))
    ours = build(network, shape)
    share(ours, theirs, peer.last)
    with torch.device("meta"):
        faulty = build(without_middle_relu(network), shape)
    faulty.load_state_dict(ours.state_dict(), assign=True)

    pictures = torch.randn(2, *shape)
    expected = logits(theirs, pictures)
    found = difference(logits(ours, pictures), expected)
    wrong = difference(logits(faulty, pictures), expected)
    params = sum(weight.numel() for weight in theirs.parameters())
    lines.append(Line(name, type(theirs).__name__, peer.side, found, wrong, params))
    counted = costs.count(network, shape)
    assert params == sum(weight.numel() for weight in ours.parameters()) == counted.params + counted.head_params
    assert found < BOUND < wrong / 10
