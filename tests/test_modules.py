"""Modules against forward passes that are written out here, by torch's functions and the papers' formulas."""

import copy
import math
from collections.abc import Callable, Iterator
from typing import Literal

import msgspec
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from topfive.engine.models import layers as layers_of_models
from topfive.engine.models.modules import Classifier, Net, build
from topfive.networks import NETWORKS, get
from topfive.networks.layers import (
    IDENTITY,
    BatchNorm,
    Chain,
    Concat,
    Conv,
    Dropout,
    GlobalPool,
    Head,
    Layer,
    Linear,
    Network,
    Pool,
    Relu,
    Residual,
    ResponseNorm,
    SqueezeExcite,
    ZeroPad,
    chain,
    concat,
    rewrite_network,
    with_classes,
)
from topfive.networks.receptive_fields import SizeError
from topfive.networks.variations import for_small_images

BOUND = 1e-4  # of the largest logit

Weights = dict[str, Tensor]
Logits = tuple[Tensor, ...]


def response_norm(a: Tensor, n: int = 5, k: float = 2, alpha: float = 1e-4, beta: float = 0.75) -> Tensor:
    """b_i = a_i / (k + alpha * sum of a_j^2, j from max(0, i - n/2) to min(N - 1, i + n/2))^beta: section 3.3."""
    maps = a.shape[1]
    b = torch.empty_like(a)
    for i in range(maps):
        total = torch.zeros_like(a[:, i])
        for j in range(max(0, i - n // 2), min(maps - 1, i + n // 2) + 1):
            total += a[:, j] ** 2
        b[:, i] = a[:, i] / (k + alpha * total) ** beta
    return b


def alexnet(w: Weights, x: Tensor) -> Logits:
    """The two towers side by side, each with its half of the kernels, as on the two cards of 2012."""

    def conv(n: int, x: Tensor, stride: int = 1, pad: int = 0) -> Tensor:
        return torch.relu(functional.conv2d(x, w[f"conv{n}.weight"], w[f"conv{n}.bias"], stride, pad))

    def towers(n: int, x: Tensor, pad: int) -> Tensor:
        halves = zip(x.chunk(2, 1), w[f"conv{n}.weight"].chunk(2), w[f"conv{n}.bias"].chunk(2), strict=True)
        return torch.relu(torch.cat([functional.conv2d(part, *kernels, padding=pad) for part, *kernels in halves], 1))

    def linear(n: int, x: Tensor) -> Tensor:
        return x @ w[f"fc{n}.weight"].T + w[f"fc{n}.bias"]

    x = functional.max_pool2d(response_norm(conv(1, x, stride=4)), 3, 2)
    x = functional.max_pool2d(response_norm(towers(2, x, pad=2)), 3, 2)
    x = towers(5, towers(4, conv(3, x, pad=1), pad=1), pad=1)
    x = functional.max_pool2d(x, 3, 2).reshape(len(x), 256 * 6 * 6)
    return (linear(8, torch.relu(linear(7, torch.relu(linear(6, x))))),)


def googlenet(w: Weights, x: Tensor) -> Logits:
    """Table 1 from top to bottom, and Fig. 3's two side networks."""

    def conv(name: str, x: Tensor, stride: int = 1) -> Tensor:
        weight = w[f"{name}.weight"]
        return torch.relu(functional.conv2d(x, weight, w[f"{name}.bias"], stride, weight.shape[-1] // 2))

    def linear(name: str, x: Tensor) -> Tensor:
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def halve(x: Tensor) -> Tensor:
        return functional.max_pool2d(x, 3, 2, ceil_mode=True)

    def inception(row: str, x: Tensor) -> Tensor:
        three = conv(f"{row}.b3.conv", conv(f"{row}.b3.reduce", x))
        five = conv(f"{row}.b5.conv", conv(f"{row}.b5.reduce", x))
        pooled = conv(f"{row}.pool.project", functional.max_pool2d(x, 3, 1, 1))
        return torch.cat((conv(f"{row}.b1.conv", x), three, five, pooled), 1)

    def auxiliary(name: str, x: Tensor) -> Tensor:
        x = conv(f"{name}.conv", functional.avg_pool2d(x, 5, 3)).reshape(len(x), 4 * 4 * 128)
        return linear(f"{name}.fc2", torch.relu(linear(f"{name}.fc1", x)))

    x = response_norm(halve(conv("conv1", x, stride=2)))
    x = halve(response_norm(conv("conv2.conv", conv("conv2.reduce", x))))
    x = halve(inception("3b", inception("3a", x)))
    x = inception("4a", x)
    first = auxiliary("aux1", x)
    x = inception("4d", inception("4c", inception("4b", x)))
    second = auxiliary("aux2", x)
    x = halve(inception("4e", x))
    x = inception("5b", inception("5a", x))
    return linear("fc", x.mean((2, 3))), first, second


def cifar_resnet_20(w: Weights, x: Tensor) -> Logits:
    """Section 4.2 with n = 3: every second pixel and zero maps are the shortcut between two widths."""

    def conv_bn(where: str, n: int, x: Tensor, stride: int = 1) -> Tensor:
        x = functional.conv2d(x, w[f"{where}conv{n}.weight"], None, stride, 1)
        mean, variance = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), correction=0, keepdim=True)
        scale, shift = (w[f"{where}bn{n}.{part}"][:, None, None] for part in ("weight", "bias"))
        return (x - mean) / (variance + 1e-5).sqrt() * scale + shift

    x = torch.relu(conv_bn("", 1, x))
    for stage in (2, 3, 4):
        for block in (1, 2, 3):
            where = f"conv{stage}_x.conv{stage}_{block}.add.body."
            stride = 2 if stage > 2 and block == 1 else 1
            residual = conv_bn(where, 2, torch.relu(conv_bn(where, 1, x, stride)))
            if stride == 2:
                x = x[:, :, ::2, ::2]
                x = torch.cat((x, torch.zeros_like(x)), 1)
            x = torch.relu(x + residual)
    return (x.mean((2, 3)) @ w["fc.weight"].T + w["fc.bias"],)


BY_HAND = {"alexnet": alexnet, "googlenet": googlenet, "cifar-resnet-20": cifar_resnet_20}


@pytest.fixture(scope="module")
def photograph() -> Tensor:
    """A flower and its mirror image, the mean subtracted and nothing else, as in 2012: `(2, 3, 256, 256)`."""
    datasets = pytest.importorskip("sklearn.datasets")
    pixels = torch.tensor(datasets.load_sample_image("flower.jpg")[100:356, 200:456]).permute(2, 0, 1)[None].float()
    pixels -= pixels.mean((2, 3), keepdim=True)
    return torch.cat((pixels, pixels.flip(3)))


@pytest.fixture(scope="module", params=BY_HAND)
def case(request: pytest.FixtureRequest, photograph: Tensor) -> tuple[Network, Net, Tensor, Logits]:
    """A network, its module with random weights, images, and the logits that are worked out by hand."""
    network = get(request.param)
    side = network.input[1]
    images = functional.interpolate(photograph, (side, side), mode="bilinear", antialias=True)
    module = build(network).train()
    generator = torch.Generator().manual_seed(0)
    for module_name, part in module.named_modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
        for name, weight in part.named_parameters(module_name, recurse=False):
            if weight.ndim > 1:
                weight.data.normal_(0.0, math.sqrt(2 / weight[0].numel()), generator=generator)
            else:  # biases, and the factors of batch normalisation
                weight.data.normal_(
                    float(isinstance(part, nn.BatchNorm2d) and "weight" in name), 0.3, generator=generator
                )
    with torch.no_grad():
        return network, module, images, BY_HAND[request.param](dict(module.named_parameters()), images)


def difference(ours: Logits, theirs: Logits) -> float:
    """The largest, as a fraction of the largest logit: of the worst pair where there are several."""
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in zip(ours, theirs, strict=True))


def test_logits_are_those_worked_out_by_hand(case: tuple[Network, Net, Tensor, Logits]) -> None:
    _, module, images, by_hand = case
    with torch.no_grad():
        assert difference(module.all_logits(images), by_hand) < BOUND


def without(path: str) -> Callable[[Network], Network]:
    """The network with nothing where the layer at the dotted path was, in the body or in an auxiliary head."""

    def cut(layer: Layer, path: str) -> Layer:
        first, _, rest = path.partition(".")
        if isinstance(layer, Residual):
            return msgspec.structs.replace(layer, **{first: cut(getattr(layer, first), rest)})
        assert isinstance(layer, (Chain, Concat))
        parts = dict(layer.layers if isinstance(layer, Chain) else layer.branches)
        parts[first] = cut(parts[first], rest) if rest else IDENTITY
        return type(layer)(tuple(parts.items()))

    def change(network: Network) -> Network:
        row, _, rest = path.partition(".")
        if row not in {head.name for head in network.heads}:
            return msgspec.structs.replace(network, body=cut(network.body, path))
        changed = (msgspec.structs.replace(h, body=cut(h.body, rest)) if h.name == row else h for h in network.heads)
        return msgspec.structs.replace(network, heads=tuple(changed))

    return change


def every(word: type[Layer], **fields: object) -> Callable[[Network], Network]:
    """The network with other fields in all layers of a kind."""
    return lambda network: rewrite_network(
        network, lambda layer: msgspec.structs.replace(layer, **fields) if isinstance(layer, word) else layer
    )


def norm_behind_pool(network: Network) -> Network:
    order = {"norm1": "pool1", "pool1": "norm1"}
    layers = dict(network.body.layers)
    return msgspec.structs.replace(
        network, body=Chain(tuple((order.get(name, name), layers[order.get(name, name)]) for name in layers))
    )


def first_head_late(network: Network) -> Network:
    first, second = network.heads
    return msgspec.structs.replace(network, heads=(msgspec.structs.replace(first, after="4b"), second))


def branches_reversed(network: Network) -> Network:
    return rewrite_network(network, lambda layer: Concat(layer.branches[::-1]) if isinstance(layer, Concat) else layer)


BLOCK = "conv3_x.conv3_1"
FAULTS: dict[str, dict[str, Callable[[Network], Network]]] = {  # none of them changes a count
    "alexnet": {
        **{f"no relu{n}": without(f"relu{n}") for n in range(1, 8)},
        "no norm2": without("norm2"),
        "alpha divided by the window, as torch does": every(ResponseNorm, alpha=1e-4 / 5),
        "the norm behind the pool": norm_behind_pool,
        "an average for the largest": every(Pool, kind="average"),
    },
    "googlenet": {
        **{f"no {path}": without(path) for path in ("relu1", "conv2.relu_r", "3a.b3.relu_r", "5b.pool.relu", "norm1")},
        "no relu in a head": without("aux1.relu"),
        "no relu1 in a head": without("aux2.relu1"),
        "a head one row late": first_head_late,
        "branches in another order": branches_reversed,
        "the norm before the pool": norm_behind_pool,
    },
    "cifar-resnet-20": {
        "no relu in a block": without(f"{BLOCK}.add.body.relu1"),
        "no relu behind a block": without(f"{BLOCK}.relu"),
        "a shortcut that takes the largest of four": every(Pool, size=2),
        "blocks that are taken away": every(Residual, scale=-1.0),
    },
}


def test_a_fault_that_no_count_shows_is_caught(case: tuple[Network, Net, Tensor, Logits]) -> None:
    network, module, images, by_hand = case
    found = {}
    for name, fault in FAULTS[network.name].items():
        wrong = fault(network)
        assert wrong != network, name
        with torch.device("meta"):
            faulty = build(wrong).train()
        faulty.load_state_dict(module.state_dict(), assign=True)
        for part in faulty.modules():
            if isinstance(part, nn.Dropout):
                part.p = 0.0
        with torch.no_grad():
            found[name] = difference(faulty.all_logits(images), by_hand)
    assert {name: size for name, size in found.items() if size < 10 * BOUND} == {}


def test_heads_in_the_wrong_order_are_caught(case: tuple[Network, Net, Tensor, Logits]) -> None:
    _, _, _, (top, *heads) = case
    assert not heads or difference((top, *heads[::-1]), (top, *heads)) > 10 * BOUND


def test_a_forward_pass_gives_logits_and_heads_vanish_in_evaluation() -> None:
    network = for_small_images(with_classes(get("googlenet"), 5), 32)
    module = build(network)
    images = torch.randn(2, 3, 32, 32)
    assert [logits.shape for logits in module.train().all_logits(images)] == [(2, 5)] * 3
    assert module(images).shape == (2, 5)
    assert module.loss_weights == (0.3, 0.3)
    (logits,) = module.eval().all_logits(images)
    assert torch.equal(logits, module(images))
    assert not torch.allclose(logits.sum(1), torch.ones(2))  # not probabilities


def test_heads_leave_the_logits_alone() -> None:
    network = for_small_images(get("googlenet"), 32)
    module = build(network).eval()
    bare = build(msgspec.structs.replace(network, heads=()))
    assert set(module.state_dict()) - set(bare.state_dict()) == {
        key for key in module.state_dict() if key.startswith(("aux1.", "aux2."))
    }
    bare.load_state_dict({key: value for key, value in module.state_dict().items() if not key.startswith("aux")})
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(bare.eval()(images), module(images))


def test_a_image_that_is_too_small_is_refused_by_name() -> None:
    with pytest.raises(SizeError, match="alexnet does not fit an input of 3x60x60: at pool5"):
        build(get("alexnet"), (3, 60, 60))


@pytest.mark.parametrize(
    "word",
    [
        Conv(4, 1), Linear(4), Pool("max", 1), GlobalPool("max"), BatchNorm(), Relu(cap=6.0), ResponseNorm(), Dropout(),
        SqueezeExcite(2), ZeroPad(8), concat(a=IDENTITY, b=Linear(3)), Residual(Linear(4)),
    ],
)  # fmt: skip
def test_every_word_takes_what_a_linear_layer_gives(word: Layer) -> None:
    network = Network("own", "own", (3, 5, 5), chain(fc1=Linear(4), word=word, fc2=Linear(2)))
    assert build(network).eval()(torch.randn(2, 3, 5, 5)).shape == (2, 2)
    assert [logits.shape for logits in build(network).train().all_logits(torch.randn(2, 3, 5, 5))] == [(2, 2)]


@pytest.mark.parametrize(
    ("size", "stride", "pad"),
    [((3, 3), (1, 1), (1, 1)), ((3, 2), (2, 1), (1, 0)), ((5, 3), (2, 3), (0, 2)), ((1, 1), (2, 2), (0, 0))],
)
@pytest.mark.parametrize("bias", [False, True])
def test_a_convolution_as_a_product_is_the_convolution(
    size: tuple[int, int], stride: tuple[int, int], pad: tuple[int, int], bias: bool
) -> None:
    weights = torch.randn(5, 4, *size, dtype=torch.float64, requires_grad=True)
    leaves = [torch.randn(3, 4, 6, 5, dtype=torch.float64, requires_grad=True), weights]
    leaves += [torch.randn(5, dtype=torch.float64, requires_grad=True)] * bias
    x, kernels, offsets = (*leaves, None)[:3]
    wanted = functional.conv2d(x, kernels, offsets, stride, pad)
    given = layers_of_models.convolution_by_product(x, kernels, offsets, stride, pad)
    assert torch.allclose(given, wanted, atol=1e-12)
    change = torch.randn_like(wanted)
    for mine, theirs in zip(torch.autograd.grad(given, leaves, change), torch.autograd.grad(wanted, leaves, change)):
        assert torch.allclose(mine, theirs, atol=1e-12)


@pytest.mark.parametrize(
    ("units", "dtype", "side", "groups", "product"),
    [
        (True, torch.bfloat16, 2, 1, True),
        (False, torch.bfloat16, 2, 1, False),  # the processor has no matrix units
        (True, torch.float32, 2, 1, False),
        (True, torch.bfloat16, 8, 1, False),  # 256 * 256 * 9 weights are 9 times 2^16
        (True, torch.bfloat16, 2, 2, False),
    ],
)
def test_what_is_a_product(
    units: bool, dtype: torch.dtype, side: int, groups: int, product: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[bool] = []
    whole = layers_of_models.convolution_by_product
    monkeypatch.setattr(layers_of_models.capabilities, "matrix_units", lambda: units)
    monkeypatch.setattr(
        layers_of_models, "convolution_by_product", lambda *given: (made.append(True), whole(*given))[1]
    )
    layers = chain(conv=Conv(256, 3, pad=1, groups=groups), fc=Linear(2))
    net = build(Network("own", "own", (256, side, side), layers)).to(dtype)
    assert net(torch.randn(1, 256, side, side, dtype=dtype)).shape == (1, 2)
    assert bool(made) == product


def test_a_map_smaller_than_the_kernel_is_no_product(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers_of_models.capabilities, "matrix_units", lambda: True)
    conv = layers_of_models.Convolution(256, 256, 3).to(torch.bfloat16)
    for side in (1, 2):
        with pytest.raises(RuntimeError, match="Kernel size"):
            conv(torch.randn(1, 256, side, side, dtype=torch.bfloat16))


@pytest.mark.parametrize("kind", ["max", "average"])
@pytest.mark.parametrize("ceil", [False, True])
def test_a_pool_of_one_pixel_takes_every_second_one(kind: Literal["max", "average"], ceil: bool) -> None:
    pooled = build(Network("own", "own", (3, 7, 8), chain(pool=Pool(kind, 1, 2, ceil=ceil), fc=Linear(2)))).pool
    maps = torch.randn(2, 3, 7, 8, requires_grad=True)
    given = pooled(maps)
    assert torch.equal(given, maps[:, :, ::2, ::2])
    given.sum().backward()
    assert maps.grad is not None
    assert torch.equal(maps.grad[:, :, ::2, ::2], torch.ones_like(given)) and maps.grad.sum() == given.numel()


def test_a_classifier_normalises_its_images_itself() -> None:
    module = build(for_small_images(with_classes(get("squeezenet-1.1"), 3), 32)).eval()
    mean, std = torch.tensor([120.0, 110.0, 100.0])[:, None, None], torch.tensor([60.0, 50.0, 40.0])[:, None, None]
    pixels = torch.randint(256, (2, 3, 32, 32), dtype=torch.uint8)
    classifier, expected = Classifier(module, mean[None], std[None]), (pixels.float() - mean) / std
    assert torch.equal(classifier.normalised(pixels), expected)
    with torch.no_grad():  # not to the bit: the images come channels last
        assert torch.allclose(classifier(pixels), module(expected), rtol=1e-5, atol=1e-5)


def test_alexnet_starts_as_section_5_says() -> None:
    torch.manual_seed(0)
    weights = build(get("alexnet"), (3, 67, 67)).state_dict()
    ones = {name for name, value in weights.items() if name.endswith("bias") and bool((value == 1).all())}
    zeros = {name for name, value in weights.items() if name.endswith("bias") and bool((value == 0).all())}
    assert ones == {f"{layer}.bias" for layer in ("conv2", "conv4", "conv5", "fc6", "fc7")}
    assert zeros == {f"{layer}.bias" for layer in ("conv1", "conv3", "fc8")}
    for name, value in weights.items():
        if name.endswith("weight"):
            assert float(value.mean()) == pytest.approx(0.0, abs=2e-4)
            assert float(value.std()) == pytest.approx(0.01, rel=0.02)


def test_resnet_starts_as_he_says_and_vgg_as_glorot() -> None:
    torch.manual_seed(0)
    for name, weight in build(get("cifar-resnet-20")).state_dict().items():
        if weight.ndim > 1 and weight.numel() > 2000:
            assert float(weight.std()) == pytest.approx(math.sqrt(2 / weight[0].numel()), rel=0.05), name
        elif name.endswith(("bias", "bn1.weight", "bn2.weight")):
            assert torch.equal(weight, torch.full_like(weight, name.endswith("weight"))), name
    for name, weight in build(get("vgg-a"), (3, 32, 32)).state_dict().items():
        if weight.ndim > 1:
            limit = math.sqrt(6 / (weight[0, 0].numel() * sum(weight.shape[:2])))
            assert float(weight.abs().max()) == pytest.approx(limit, rel=0.01), name
        else:
            assert not weight.any(), name


def outcome(module: Net, images: Tensor) -> Iterator[Tensor]:
    """All that a module gives: what it sees afterwards, logits in training and evaluation, and every gradient."""
    images = images.clone().requires_grad_()
    before = copy.deepcopy(module.state_dict())
    torch.manual_seed(1)  # the same dropout
    logits = module.train().all_logits(images)
    yield from logits
    targets = torch.arange(len(images))
    sum(functional.cross_entropy(one, targets) for one in logits).backward()
    yield images.detach()
    for weight in (images, *module.parameters()):
        assert weight.grad is not None
        yield weight.grad
        weight.grad = None
    module.load_state_dict(before)
    with torch.no_grad():
        yield module.eval()(images)


def in_place(module: nn.Module) -> int:
    return sum(bool(getattr(part, "inplace", False)) for part in module.modules())


def assert_in_place_changes_nothing(network: Network) -> None:
    torch.manual_seed(0)
    module = build(network)
    images = torch.randn(2, *network.input)
    results = list(outcome(module, images))
    for part in module.modules():
        if isinstance(part, (nn.ReLU, nn.Hardtanh)):
            part.inplace = False
    torch.testing.assert_close(results, list(outcome(module, images)))


@pytest.mark.parametrize(
    "name",
    [
        "alexnet", "bn-alexnet", "nin", "bn-nin", "vgg-a-lrn", "googlenet",
        "googlenet-torchvision", "bn-inception", "inception-v3", "inception-resnet-v1", "plain-18",
        "resnet-18", "cifar-plain-20", "cifar-resnet-20", "resnext-50-32x4d", "se-resnet-50",
        "densenet-121", "squeezenet-1.1", "mobilenet-v1", "mobilenet-v2",
    ],
)  # fmt: skip
def test_relu_overwrites_nothing_that_is_still_needed(name: str) -> None:
    network = for_small_images(with_classes(get(name), 10), 32)
    with torch.device("meta"):
        assert in_place(build(network)), "nothing is in place, so nothing is compared"
    assert_in_place_changes_nothing(network)


@pytest.mark.parametrize(
    "row",
    [
        concat(a=chain(relu=Relu()), b=Conv(4, 1)),
        concat(a=IDENTITY, b=chain(relu=Relu(cap=0.5))),
        concat(a=chain(nothing=IDENTITY, relu=Relu()), b=Conv(4, 1)),
        concat(a=chain(drop=Dropout(), relu=Relu()), b=Conv(4, 1)),  # in evaluation a dropout hands on what it gets
        concat(a=chain(inner=chain(drop=Dropout()), relu=Relu()), b=IDENTITY),
        Residual(chain(relu=Relu(), conv=Conv(8, 1))),
        Residual(chain(nothing=IDENTITY, relu=Relu(), conv=Conv(8, 1))),
        Residual(chain(drop=Dropout(), relu=Relu(), conv=Conv(8, 1))),
        Residual(Conv(8, 1), chain(nothing=IDENTITY, relu=Relu())),
        Residual(Conv(8, 1), chain(split=concat(a=IDENTITY), relu=Relu())),
    ],
)
def test_relu_overwrites_nothing_in_a_network_of_ones_own(row: Layer) -> None:
    layers = chain(conv=Conv(8, 3), row=row, relu=Relu(), pool=GlobalPool(), fc=Linear(3))
    assert_in_place_changes_nothing(Network("own", "own", (3, 9, 9), layers))


def test_relu_overwrites_nothing_that_an_auxiliary_head_has_seen() -> None:
    layers = chain(conv=Conv(8, 3), nothing=IDENTITY, relu=Relu(), pool=GlobalPool(), fc=Linear(3))
    heads = (Head("aux", "conv", chain(fc=Linear(3)), 0.3),)
    assert_in_place_changes_nothing(Network("own", "own", (3, 9, 9), layers, heads))


@pytest.mark.parametrize("start", [chain(relu=Relu()), chain(drop=Dropout(), relu=Relu()), chain(a=IDENTITY, b=Relu())])
def test_relu_does_not_overwrite_the_images(start: Chain) -> None:
    layers = Chain((*start.layers, ("conv", Conv(4, 3)), ("pool", GlobalPool()), ("fc", Linear(2))))
    module = build(Network("own", "own", (3, 9, 9), layers)).eval()
    images = torch.randn(2, 3, 9, 9)
    kept = images.clone()
    with torch.no_grad():
        module(images)
    assert torch.equal(images, kept)


@pytest.mark.parametrize("size", [32, 64])
@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_works_on_small_images(name: str, size: int) -> None:
    network = for_small_images(with_classes(get(name), 5), size)
    with torch.device("meta"):
        module = build(network).eval()
    with torch.no_grad():
        assert module(torch.empty(2, 3, size, size, device="meta")).shape == (2, 5)
