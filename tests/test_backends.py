"""The forms for inference against the modules as they are, and the choice among them against forms made to be known."""

import sys
import time
from collections.abc import Callable

import msgspec
import pytest
import torch
from torch import Tensor, nn

from topfive.engine.benchmark.machine import this_machine
from topfive.engine.inference import backends as inference
from topfive.engine.inference import openvino as openvino_form
from topfive.engine.inference.backends import FEW, Form, engine, folded, folded_eager, forms, fused
from topfive.engine.models import capabilities
from topfive.engine.models.modules import Classifier, Net, build
from topfive.errors import UsageError
from topfive.networks import NETWORKS, get
from topfive.networks.layers import (
    BatchNorm,
    Conv,
    GlobalPool,
    Linear,
    Network,
    Relu,
    Residual,
    ResponseNorm,
    chain,
    with_classes,
)
from topfive.networks.variations import for_small_images

EXACT = 1e-4  # of the largest logit
# one of each way to write a block, at a side that it takes
SIDES = {
    "alexnet": 67, "bn-alexnet": 67, "bn-nin": 96, "googlenet": 79, "bn-inception": 64,
    "resnet-50-v1.5": 64, "cifar-resnet-20": 32, "cifar-plain-20": 32,
    "resnext-50-32x4d": 64, "se-resnet-50": 64, "densenet-121": 64, "squeezenet-1.0": 64, "mobilenet-v2": 64,
}  # fmt: skip
needs_openvino = pytest.mark.skipif(not openvino_form.installed(), reason="the extra openvino is not installed")


def trained(network: Network, side: int) -> Net:
    """A network whose batch normalisation has something to say: as fresh as it is built, it is nearly the identity."""
    torch.manual_seed(0)
    net = build(with_classes(network, 10), (3, side, side)).eval()
    for norm in net.modules():
        if isinstance(norm, nn.BatchNorm2d):
            for tensor, low, high in (
                (norm.running_mean, -0.2, 0.2),
                (norm.running_var, 0.5, 2),
                (norm.weight, 0.5, 1),
                (norm.bias, -0.2, 0.2),
            ):
                nn.init.uniform_(tensor, low, high)
    return net


def images(count: int, height: int, width: int | None = None) -> Tensor:
    return torch.randint(0, 256, (count, 3, height, width or height), dtype=torch.uint8)


def off(logits: Tensor, expected: Tensor) -> float:
    assert logits.shape == expected.shape and logits.dtype == torch.float32
    return float((logits - expected).abs().max() / expected.abs().max())


def fastest_form(net: Net, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
    """torch's form in this machine's best way, as `forms` takes it."""
    return (fused if capabilities.fused_convolution(dtype) else folded_eager)(net, dtype)


def check_forms(name: str, side: int) -> None:
    net, x = trained(get(name), side), torch.randn(2, 3, side, side).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        expected = net(x)
        assert off(folded(net)(x), expected) < EXACT
        for layout in (torch.channels_last, torch.contiguous_format):
            assert off(folded_eager(net, torch.float32, layout)(x), expected) < EXACT
            if capabilities.fused_convolution(torch.float32):
                assert off(fused(net, torch.float32, layout)(x), expected) < EXACT
            if capabilities.fused_convolution(torch.bfloat16):
                assert off(fused(net, torch.bfloat16, layout)(x), expected) < 0.05
        assert torch.equal(net(x), expected)  # it is left as it was
        if openvino_form.installed():
            assert off(openvino_form.compiled(folded(net), "float32", 1)(x), expected) < EXACT


@pytest.mark.parametrize("name", SIDES)
def test_folded_and_fused_networks_give_the_same_logits(name: str) -> None:
    check_forms(name, SIDES[name])


@pytest.mark.slow
# cifar-resnet-1202 is cifar-resnet-20 sixty times over: what these weights give overflows in it
@pytest.mark.parametrize("name", sorted(NETWORKS.keys() - SIDES.keys() - {"cifar-resnet-1202"}))
def test_every_other_network_gives_the_same_logits(name: str) -> None:
    network = get(name)
    check_forms(name, 32 if network.input[1] == 32 else 299 if name == "inception-v3" else 224)


def test_batch_normalisation_is_folded_exactly_where_it_follows_a_layer_directly() -> None:
    def left(network: Network, side: int) -> int:
        return sum(isinstance(part, nn.BatchNorm2d) for part in folded(trained(network, side)).modules())

    assert left(get("resnet-50-v1.5"), 64) == left(get("bn-alexnet"), 67) == left(get("mobilenet-v2"), 64) == 0
    # of DenseNet-121's 121 ones the first and one for each of 58 dense layers follow a convolution (Table 1)
    assert left(get("densenet-121"), 64) == 121 - 59
    # the shortcut's convolution is seen by two: what is normalised is not what the sum gets
    twice = chain(conv=Conv(4, 1), add=Residual(chain(bn=BatchNorm(), relu=Relu(), conv2=Conv(4, 1))), fc=Linear(10))
    assert left(Network("twice", "resnet-50", (3, 8, 8), twice), 8) == 1


@pytest.mark.parametrize("scale", [1.0, 0.2])
def test_what_follows_a_convolution_is_done_in_the_order_of_the_network(scale: float) -> None:
    inner = chain(conv1=Conv(8, 3, pad=1), relu1=Relu(cap=6.0), conv2=Conv(8, 1), bn=BatchNorm())
    body = chain(conv=Conv(8, 3), bn=BatchNorm(), block=chain(add=Residual(inner, scale=scale)), relu=Relu())
    ends = chain(
        *body.layers,
        norm=ResponseNorm(alpha=0.5),
        last=Conv(8, 1),
        relu_a=Relu(cap=0.1),
        relu_b=Relu(),
        pool=GlobalPool(),
        fc=Linear(10),
    )
    net = trained(Network("small", "resnet-50", (3, 16, 16), ends), 16)
    x = torch.randn(3, 3, 16, 16)
    with torch.inference_mode():
        assert off(fastest_form(net, torch.float32)(x), net(x)) < EXACT
        if openvino_form.installed():
            assert off(openvino_form.compiled(folded(net), "float32", 1)(x), net(x)) < EXACT


def test_a_form_takes_images_of_any_size_after_the_first() -> None:
    small = trained(get("resnext-50-32x4d"), 64)
    makes: list[Callable[[Net], Callable[[Tensor], Tensor]]] = [lambda net: fastest_form(net, torch.float32)]
    if openvino_form.installed():
        makes.append(lambda net: openvino_form.compiled(folded(net), "float32", 1))
    with torch.inference_mode():
        for make in makes:
            run = make(small)
            for shape in ((2, 3, 64, 64), (1, 3, 64, 64), (3, 3, 96, 65), (2, 3, 64, 64)):
                x = torch.randn(shape).contiguous(memory_format=torch.channels_last)
                assert off(run(x), small(x)) < EXACT, shape


# --- the choice ------------------------------------------------------------------------------------------------------


class Known(nn.Module):
    """The red channel's mean sorts images into ten classes: its logits are far apart."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(1, 10)
        with torch.no_grad():
            self.fc.weight.copy_(torch.arange(10.0)[:, None])
            self.fc.bias.copy_(-(torch.arange(10.0) ** 2) / 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(9 * x[:, 0].mean((1, 2))[:, None] / 255)  # type: ignore[no-any-return]


def known() -> Classifier:
    return Classifier(Known(), torch.zeros(1, 3, 1, 1), torch.ones(1, 3, 1, 1)).eval()


def sample(count: int = 40) -> Tensor:
    reds = torch.linspace(0, 255, count).to(torch.uint8)
    return reds[:, None, None, None].expand(count, 3, 4, 4).contiguous()


def made(classifier: Classifier, wrong: int = 0, factor: float = 1.0, seconds: float = 0.0) -> Callable[[], object]:
    """A form that takes so long, and whose first `wrong` images get another class by a hair."""

    def run(pixels: Tensor) -> Tensor:
        time.sleep(seconds)
        logits: Tensor = classifier(pixels) * factor
        for row in logits[:wrong]:
            first, second = row.topk(2).indices
            row[second] = row[first] + 0.01
        return logits

    return lambda: run


@pytest.fixture
def at_hand(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def put(*found: tuple[str, str, Callable[[], object]]) -> None:
        def forms(classifier: Classifier, machine: object, precision: str) -> list[Form]:
            return [Form(name, at, make) for name, at, make in found if at == precision]  # type: ignore[arg-type]

        monkeypatch.setattr(inference, "forms", forms)
        monkeypatch.setattr(inference, "SECONDS", 0.06)
        eager = inference._eager
        monkeypatch.setattr(inference, "_eager", lambda *of: lambda x: (time.sleep(0.005), eager(*of)(x))[1])

    return put


def reduced() -> object:
    import msgspec

    return msgspec.structs.replace(this_machine(), precision="bfloat16", device="cpu")


def test_the_fastest_form_that_agrees_is_taken_and_said(at_hand: Callable[..., None]) -> None:
    classifier = known()
    at_hand(
        ("slow", "bfloat16", made(classifier, seconds=0.02)),
        ("quick", "bfloat16", made(classifier, wrong=1, seconds=0.001)),
        ("wrong", "bfloat16", made(classifier, wrong=2)),
        ("other numbers", "bfloat16", made(classifier, factor=1.5)),
        ("no numbers", "bfloat16", made(classifier, factor=float("nan"))),
        ("missing", "bfloat16", lambda: (_ for _ in ()).throw(RuntimeError("no such operation"))),
        ("exact", "float32", made(classifier)),
    )
    found = engine(classifier, reduced(), sample())  # type: ignore[arg-type]
    assert (found.name, found.precision, found.agreeing, found.compared) == ("quick", "bfloat16", 39, 40)
    assert found.agreement == 39 / 40
    for words in (
        "quick, ",
        "slow ",
        "same Top-1 as float32 for 39 of the first 40",
        "wrong is left out: same Top-1 as float32 for only 38 of 40",
        "other numbers is left out: its logits differ by 50.0% of the largest",
        "no numbers is left out",
        "missing is left out: RuntimeError: no such operation",
    ):
        assert words in found.said
    assert "exact" not in found.said
    assert found(sample(3)).shape == (3, 10)
    # a few hundred images are done before another form has been tried
    hurried = engine(classifier, reduced(), sample(), to_come=300)  # type: ignore[arg-type]
    assert hurried.name == "slow" and "quick" not in hurried.said


def test_where_no_lower_precision_agrees_float32_is_taken(at_hand: Callable[..., None]) -> None:
    classifier = known()
    at_hand(("wrong", "bfloat16", made(classifier, wrong=9)), ("exact", "float32", made(classifier)))
    found = engine(classifier, reduced(), sample())  # type: ignore[arg-type]
    assert (found.name, found.agreement) == ("exact", 1)
    at_hand(("wrong", "bfloat16", made(classifier, wrong=9)), ("slow", "float32", made(classifier, seconds=0.1)))
    found = engine(classifier, reduced(), sample())  # type: ignore[arg-type]
    assert (found.name, found.compared, found.agreement) == ("torch float32", 0, 1)
    assert "wrong is left out" in found.said and torch.equal(found(sample()), classifier(sample()))


def test_float32_is_exact_and_few_images_are_not_worth_a_choice(at_hand: Callable[..., None]) -> None:
    classifier = known()
    at_hand(("quick", "bfloat16", made(classifier)), ("exact", "float32", made(classifier)))
    assert engine(classifier, reduced(), sample(), "float32").name == "exact"  # type: ignore[arg-type]
    assert engine(classifier, reduced(), sample(), "quick").name == "quick"  # type: ignore[arg-type]
    assert engine(classifier, reduced(), sample(FEW)).name == "quick"  # type: ignore[arg-type]
    few = engine(classifier, reduced(), sample(FEW - 1))  # type: ignore[arg-type]
    assert few.name == "torch float32" and torch.equal(few(sample()), classifier(sample()))
    with pytest.raises(UsageError, match=r"'int8' is not a backend .* 'auto', 'bfloat16', 'float32', 'quick', 'exact'"):
        engine(classifier, reduced(), sample(), "int8")  # type: ignore[arg-type]


def test_without_openvino_torch_does_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.setattr(inference, "SECONDS", 0.05)
    net = trained(for_small_images(get("resnet-18")), 32)
    classifier = Classifier(net, torch.full((1, 3, 1, 1), 120.0), torch.full((1, 3, 1, 1), 60.0)).eval()
    machine, shown = this_machine(), images(FEW, 32)
    assert all("OpenVINO" not in form.name for form in forms(classifier, machine, machine.precision))
    found = engine(classifier, machine, shown, "float32")
    with torch.inference_mode():
        assert off(found(shown), classifier(shown)) < EXACT
    assert found.agreement == 1 and found.name.startswith("torch float32")
    if machine.precision == "bfloat16":
        taken = engine(classifier, machine, shown, f"torch {machine.precision}, folded and fused")
        with torch.inference_mode():
            assert off(taken(shown), classifier(shown)) < 0.05


def test_where_the_fused_operators_do_not_run_public_ones_do_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object) -> None:
        raise RuntimeError("bf16 path needs the cpu support avx_ne_convert or avx512bw, avx512vl and avx512dq")

    monkeypatch.setattr(torch.ops.mkldnn, "_reorder_convolution_weight", missing)
    for probe in (capabilities.fused_convolution, capabilities.bfloat16):
        probe.cache_clear()
    try:
        assert not capabilities.fused_convolution(torch.float32) and not capabilities.bfloat16()
        net = trained(for_small_images(get("resnet-18")), 32)
        classifier = Classifier(net, torch.full((1, 3, 1, 1), 120.0), torch.full((1, 3, 1, 1), 60.0)).eval()
        found = forms(classifier, msgspec.structs.replace(this_machine(), device="cpu"), "float32")
        names = [form.name for form in found if form.name.startswith("torch")]
        assert names == ["torch float32, folded", "torch float32, folded, contiguous"]
        shown = images(3, 32)
        with torch.inference_mode():
            for form in found:
                assert off(form.make()(shown), classifier(shown)) < EXACT
    finally:
        for probe in (capabilities.fused_convolution, capabilities.bfloat16):
            probe.cache_clear()


@needs_openvino
def test_importing_openvino_reports_to_nobody() -> None:
    net = trained(for_small_images(get("resnet-18")), 32)
    openvino_form.compiled(folded(net), "float32", 1)
    assert sys.modules["openvino_telemetry"] is None
