"""Every family beside the networks that torchvision and timm wrote, with the same random weights: `make peers`.

Counts cannot see a missing ReLU, a swapped order or another padding. Each check is shown to be able to fail: the same
weights in our network without its middle ReLU give other logits.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest
import torch
from comparing import BOUND, difference, logits, models, randomise, timm, weighted
from torch import nn

from topfive.engine.models.modules import build
from topfive.networks import costs, get
from topfive.networks.layers import IDENTITY, Layer, Network, Relu, leaves, rewrite_network
from topfive.networks.mobilenet import relu6
from topfive.networks.senet import caffe_pool
from topfive.networks.variations import batch_normalized

pytestmark = pytest.mark.peers


class Peer(NamedTuple):
    """Another library's network: how to make it, what to change in ours, and which of its layers it lists too early."""

    make: Callable[[], nn.Module]
    change: Callable[[Network], Network] = lambda network: network
    last: tuple[str, ...] = ()
    side: int = 107  # of the images: odd, so that windows are left over at the edges


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

    images = torch.randn(2, *shape)
    expected = logits(theirs, images)
    found = difference(logits(ours, images), expected)
    wrong = difference(logits(faulty, images), expected)
    params = sum(weight.numel() for weight in theirs.parameters())
    lines.append(Line(name, type(theirs).__name__, peer.side, found, wrong, params))
    counted = costs.count(network, shape)
    assert params == sum(weight.numel() for weight in ours.parameters()) == counted.params + counted.head_params
    assert found < BOUND < wrong / 10
