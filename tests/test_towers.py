"""Two towers against the network on one device, finite differences, what is copied between devices, and hand counts."""

import json
import signal
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec
import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functional_call
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from topfive.cli import main
from topfive.data.opening import open_source
from topfive.engine.benchmark.machine import Machine, this_machine
from topfive.engine.inference.models import About, Model, open_model
from topfive.engine.models.modules import Classifier, Net, build
from topfive.engine.models.towers import Towers, split, table
from topfive.engine.training.checkpoints import Checkpointer
from topfive.engine.training.initial_weights import Start
from topfive.engine.training.job import Job
from topfive.engine.training.loop import Training
from topfive.engine.training.processes import Group
from topfive.errors import Terminated, UsageError
from topfive.networks import get
from topfive.networks.alexnet import alexnet
from topfive.networks.layers import (
    Chain,
    Conv,
    Dropout,
    He,
    Layer,
    Linear,
    Network,
    Relu,
    ResponseNorm,
    SqueezeExcite,
    chain,
    rewrite_network,
    with_classes,
)
from topfive.networks.receptive_fields import SizeError
from topfive.networks.variations import batch_normalized, for_small_images
from topfive.recipes.recipe import Recipe, Sgd
from topfive.report.tables import Value
from topfive.results.records import EpochRecord
from topfive.results.runs import load_run, newest_in

BOUND = 1e-5
HERE = ("cpu", "cpu")


def small(classes: int = 10) -> Network:
    """AlexNet for 32 pixels, with 128 hidden units where it has 4096."""
    return rewrite_network(
        for_small_images(with_classes(alexnet(), classes), 32),
        lambda layer: Linear(128) if layer == Linear(4096) else layer,
    )


def own(*layers: tuple[str, Layer], **named: Layer) -> Network:
    return Network("own", "own", (2, 9, 9), chain(*layers, **named))


@pytest.fixture(scope="module")
def photograph() -> Tensor:
    """A flower, the mean of each channel subtracted: `(1, 3, 256, 256)`, about -1 to 1."""
    datasets = pytest.importorskip("sklearn.datasets")
    pixels = torch.tensor(datasets.load_sample_image("flower.jpg")[100:356, 200:456]).permute(2, 0, 1)[None].float()
    return (pixels - pixels.mean((2, 3), keepdim=True)) / 128


@pytest.fixture(scope="module")
def crops(photograph: Tensor) -> Tensor:
    """Sixteen pieces of the flower: `(16, 3, 32, 32)`."""
    return torch.cat([photograph[:, :, y : y + 32, x : x + 32] for y in range(0, 256, 64) for x in range(0, 256, 64)])


def both(network: Network) -> tuple[Net, Towers]:
    """The network on one device and on two, from the same random numbers."""
    torch.manual_seed(0)
    net = build(network)
    torch.manual_seed(0)
    return net, Towers(network, network.input, HERE)


@pytest.fixture(scope="module")
def real() -> tuple[Net, Towers]:
    """The network of 2012, with weights that keep the size of what passes through."""
    return both(msgspec.structs.replace(alexnet(), init=He()))


def difference(ours: Tensor, theirs: Tensor) -> float:
    """The largest, as a fraction of the largest value.

    Or of 0.01 where all are smaller: biases in front of batch normalisation have no gradient, but for rounding.
    """
    return float((ours - theirs).detach().abs().max() / theirs.detach().abs().max().clamp_min(0.01))


def trained(model: nn.Module, images: Tensor, steps: int = 20) -> list[float]:
    """The losses of `steps` steps as section 5 takes them, dropout and all."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    labels = torch.arange(len(images)) % 10
    losses = []
    torch.manual_seed(1)
    for _ in range(steps):
        loss = functional.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


@pytest.mark.parametrize(
    ("change", "kind"),
    # why float64: batch normalisation over 16 crops grows a rounding, from 1e-7 to 3e-2 where the processor has AMX
    [(lambda network: network, torch.float32), (batch_normalized, torch.float64)],
    ids=["alexnet", "batch normalised"],
)
def test_twenty_steps_give_the_losses_and_weights_of_one_device(
    change: Callable[[Network], Network], kind: torch.dtype, crops: Tensor
) -> None:
    net, towers = both(change(small()))
    net.to(kind), towers.to(kind)
    crops = crops.to(kind)
    started = {key: value.clone() for key, value in net.state_dict().items()}
    losses = trained(net.train(), crops)
    assert trained(towers.train(), crops) == pytest.approx(losses, rel=BOUND)
    assert losses[-1] < 0.9 * losses[0]
    state = towers.state_dict()
    for key, value in net.state_dict().items():
        assert difference(state[key].double(), value.double()) < BOUND, key
        assert not torch.equal(value, started[key]), key
    assert list(state) == list(started)
    with torch.no_grad():
        assert difference(towers.eval()(crops), net.eval()(crops)) < BOUND


def test_the_network_of_2012_gives_the_logits_of_one_device(real: tuple[Net, Towers], photograph: Tensor) -> None:
    net, towers = real
    images = functional.interpolate(photograph, (227, 227), mode="bilinear", antialias=True)
    with torch.no_grad():
        (logits,) = towers.eval().all_logits(images)
        assert logits.shape == (1, 1000)
        assert difference(logits, net.eval()(images)) < BOUND


def test_towers_start_with_the_weights_of_one_device_and_leave_the_same_random_numbers_behind() -> None:
    torch.manual_seed(0)
    weights, then = build(small()).state_dict(), torch.rand(3)
    torch.manual_seed(0)
    towers = Towers(small(), (3, 32, 32), HERE)
    assert torch.equal(torch.rand(3), then)
    state = towers.state_dict()
    assert all(torch.equal(state[key], value) for key, value in weights.items())


def test_gradients_through_the_meeting_layers_are_finite_differences() -> None:
    network = own(
        conv1=Conv(4, 3), conv2=Conv(4, 3, groups=2), conv3=Conv(4, 3), drop3=Dropout(), fc4=Linear(4), fc5=Linear(3)
    )
    torch.manual_seed(0)
    towers = Towers(network, network.input, HERE).double()
    images = torch.randn(2, 2, 9, 9, dtype=torch.float64)
    names, weights = zip(*towers.named_parameters(), strict=True)

    def forward(*values: Tensor) -> Tensor:
        torch.manual_seed(1)  # the same dropout
        logits = functional_call(towers, dict(zip(names, values, strict=True)), (images,))
        assert isinstance(logits, Tensor)
        return logits

    assert torch.autograd.gradcheck(forward, weights)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5])
def test_response_norm_reaches_over_the_border_as_on_one_device(size: int) -> None:
    norm = ResponseNorm(size, alpha=0.5)
    network = own(conv1=Conv(8, 3), norm1=norm, conv2=Conv(8, 3, groups=2), relu2=Relu(), norm2=norm, fc3=Linear(3))
    net, towers = both(network)
    images = torch.randn(4, 2, 9, 9)
    outs = [model.train()(images) for model in (net, towers)]
    assert difference(outs[1], outs[0]) < BOUND
    for out in outs:
        out.square().sum().backward()
    for key, weight in net.named_parameters():
        halves = [towers.get_parameter(f"tower{n}.{key}").grad for n in (1, 2)]
        assert weight.grad is not None
        assert halves[0] is not None and halves[1] is not None
        assert difference(torch.cat((halves[0], halves[1])), weight.grad) < BOUND, key


def test_an_odd_number_of_classes_gives_the_first_tower_one_more(crops: Tensor) -> None:
    net, towers = both(small(37))
    assert [towers.get_parameter(f"tower{n}.fc8.weight").shape for n in (1, 2)] == [(19, 128), (18, 128)]
    with torch.no_grad():
        assert difference(towers.eval()(crops), net.eval()(crops)) < BOUND


def test_every_kernel_is_held_by_one_device_half_by_each() -> None:
    net, towers = both(small())
    memory = {weight.untyped_storage().data_ptr() for weight in towers.parameters()}
    assert len(memory) == len(list(towers.parameters()))
    first = 0
    for weight in net.parameters():
        weight.data = torch.arange(first, first + weight.numel(), dtype=torch.float64).reshape(weight.shape)
        first += weight.numel()
    towers.double().load_state_dict(net.state_dict())
    held = torch.cat([weight.detach().flatten() for weight in towers.parameters()])
    assert torch.equal(held.sort().values, torch.arange(first, dtype=torch.float64))
    for key, weight in net.named_parameters():
        above, below = (towers.get_parameter(f"tower{n}.{key}") for n in (1, 2))
        assert len(above) == len(below) == len(weight) / 2
        assert torch.equal(
            torch.cat((above, below)), weight
        )  # the one-device network's first half is the first tower's


def test_a_state_dict_of_another_network_is_refused() -> None:
    towers = Towers(small(), (3, 32, 32), HERE)
    with pytest.raises(RuntimeError, match="fc8"):
        towers.load_state_dict(build(small(12)).state_dict())


def seen(towers: Towers, rows: list[str], images: Tensor) -> list[Tensor]:
    """What the modules of these names put out."""
    found: dict[str, Tensor] = {}

    def keep(row: str) -> Callable[[nn.Module, object, Tensor], None]:
        return lambda module, inputs, output: found.update({row: output.clone()})

    hooks = [towers.get_submodule(row).register_forward_hook(keep(row)) for row in rows]
    with torch.no_grad():
        towers(images)
    for hook in hooks:
        hook.remove()
    return [found[row] for row in rows]


def disturbed(towers: Towers, row: str, maps: slice, rows: list[str], images: Tensor) -> list[Tensor]:
    """What `rows` put out where these maps of `row` are changed."""

    def disturb(module: nn.Module, inputs: object, output: Tensor) -> Tensor:
        output = output.clone()
        output[:, maps] += 1.0
        return output

    hook = towers.get_submodule(row).register_forward_hook(disturb)
    outputs = seen(towers, rows, images)
    hook.remove()
    return outputs


@pytest.mark.parametrize("mine, other", [("tower1", "tower2"), ("tower2", "tower1")])
@pytest.mark.parametrize(
    "before, row, meet",  # the maps that a layer reads, and those behind it
    [
        ("pool1", "relu2", False), ("pool2", "relu3", True), ("relu3", "relu4", False), ("relu4", "relu5", False),
        ("pool5", "relu6", True), ("relu6", "relu7", True), ("relu7", "fc8", True),
    ],
)  # fmt: skip
def test_towers_meet_in_conv3_and_the_linear_layers_only(
    before: str, row: str, meet: bool, mine: str, other: str, crops: Tensor
) -> None:
    _, towers = both(small())
    towers.eval()
    rows = [f"{mine}.{row}", f"{other}.{row}"]
    usual = seen(towers, rows, crops)
    changed = disturbed(towers, f"{other}.{before}", slice(None), rows, crops)
    assert [not torch.equal(a, b) for a, b in zip(usual, changed, strict=True)] == [meet, True]


@pytest.mark.parametrize("norm, maps", [("norm1", 48), ("norm2", 128)])
def test_response_norm_sees_two_maps_of_the_other_tower(norm: str, maps: int, crops: Tensor) -> None:
    _, towers = both(small())
    towers.eval()
    relu, pool = norm.replace("norm", "relu"), norm.replace("norm", "pool")  # a pool keeps maps apart
    for mine, other, beside in (("tower1", "tower2", range(maps)), ("tower2", "tower1", range(maps - 1, -1, -1))):
        (usual,) = seen(towers, [f"{mine}.{pool}"], crops)
        reached = []
        for distance in range(4):
            there = slice(beside[distance], beside[distance] + 1)
            (changed,) = disturbed(towers, f"{other}.{relu}", there, [f"{mine}.{pool}"], crops)
            reached.append(sorted({int(n) for n in (usual != changed).nonzero()[:, 1]}))
        border = [[maps - 2, maps - 1], [maps - 1]] if mine == "tower1" else [[0, 1], [0]]
        assert reached == [*border, [], []]


def number(row: Mapping[str, Value], key: str) -> int:
    value = row[key]
    assert isinstance(value, int)
    return value


class Copies(TorchDispatchMode):
    """The bytes that are copied between two devices, by the device that gets them."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes: dict[str, int] = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        out = func(*args, **(kwargs or {}))
        if "copy" in func.__name__ and args[0].device != out.device and "cpu" not in str(args[0].device):
            self.bytes[str(out.device)] = self.bytes.get(str(out.device), 0) + out.numel() * out.element_size()
        return out


def test_two_devices_that_refuse_each_others_tensors_are_sent_what_the_table_says() -> None:
    with FakeTensorMode():  # checks at each operation that all tensors are on its device
        towers = Towers(alexnet(), (3, 227, 227), ("meta:0", "meta:1"))
        assert {str(weight.device) for weight in towers.tower1.parameters()} == {"meta:0"}
        assert {str(weight.device) for weight in towers.tower2.parameters()} == {"meta:1"}
        with Copies() as forward:
            logits = towers(torch.empty(4, 3, 227, 227))
        with Copies() as backward:
            logits.sum().backward()
    assert str(logits.device) == "meta:0"
    _, *rows = table(alexnet(), (3, 227, 227), 4)
    for device, row in zip(("meta:0", "meta:1"), rows[:2], strict=True):
        assert forward.bytes[device] == 4 * number(row, "received_bytes_per_image")
        assert forward.bytes[device] + backward.bytes[device] == number(row, "received_bytes_per_step")


def squeezed(network: Network) -> Network:
    return msgspec.structs.replace(network, body=Chain((*network.body.layers[:2], ("se", SqueezeExcite()))))


@pytest.mark.parametrize(
    "network, sentence",
    [
        (get("alexnet-owt"), "alexnet-owt does not split into two towers as alexnet does: no convolution has groups"),
        (get("googlenet"), "googlenet does not split .*: it has auxiliary classifiers"),
        (get("resnet-18"), r"resnet-18 does not split .*: conv2_x \(chain\) is no layer of which each tower"),
        (squeezed(alexnet()), r"alexnet does not split .*: se \(squeeze-excite /16\) is no layer"),
        (own(conv1=Conv(5, 3), conv2=Conv(4, 3)), r"own does not split .*: conv1 \(conv 3x3, 5\) has no half"),
        (own(conv1=Conv(4, 3), fc2=Linear(7), fc3=Linear(2)), r"own does not split .*: fc2 \(linear 7\) has no half"),
        (own(conv1=Conv(6, 3), conv2=Conv(6, 3, groups=3)), "own does not split .*: conv2 has 3 groups, an odd number"),
        (own(conv1=Conv(4, 3, groups=2)), r"conv1 \(conv 3x3, 4, 2 groups\) does not read the whole image"),
        (own(relu=Relu(), conv1=Conv(4, 3)), r"relu \(relu\) does not read the whole image"),
        (own(conv1=Conv(6, 3), norm1=ResponseNorm()), "norm1 sums over 5 maps, too many for halves of 3"),
    ],
)
def test_a_network_that_does_not_split_is_refused_by_its_layer(network: Network, sentence: str) -> None:
    for refuse in (split, lambda network: table(network, network.input, 8)):
        with pytest.raises(UsageError, match=sentence):
            refuse(network)
    with pytest.raises(UsageError, match=sentence):
        Towers(network, network.input, HERE)


def test_a_image_that_is_too_small_and_a_batch_of_one_are_refused() -> None:
    with pytest.raises(SizeError, match="alexnet does not fit an input of 3x60x60: at pool5"):
        Towers(alexnet(), (3, 60, 60), HERE)
    with pytest.raises(SizeError, match="alexnet does not fit an input of 3x60x60: at pool5"):
        table(alexnet(), (3, 60, 60), 128)
    with pytest.raises(UsageError, match="a batch of 1 does not divide between two devices"):
        table(alexnet(), (3, 227, 227), 1)


# section 3.5, by hand: kernels and biases of a layer, and the values of its output where it is not worked in place
PARAMS = (34_944, 307_456, 885_120, 663_936, 442_624, 37_752_832, 16_781_312, 4_097_000)
OUTPUTS = (
    2 * 96 * 55 * 55 + 96 * 27 * 27,  # conv1, norm1, pool1
    2 * 256 * 27 * 27 + 256 * 13 * 13,  # conv2, norm2, pool2
    2 * 384 * 13 * 13,  # conv3, conv4
    256 * 13 * 13 + 256 * 6 * 6,  # conv5, pool5
    4096 + 4096 + 1000,
)
# two maps in front of or behind the border in both norms, half of what conv3, fc6, fc7 and fc8 read
RECEIVED = 2 * 55 * 55 + 2 * 27 * 27 + 128 * 13 * 13 + 128 * 6 * 6 + 2048 + 2048
LOGITS = 500  # the first device gets the second's


def test_the_table_of_alexnet_is_worked_out_by_hand(real: tuple[Net, Towers]) -> None:
    params, outputs, image = sum(PARAMS), sum(OUTPUTS), 3 * 227 * 227
    first, second = outputs / 2 + RECEIVED + LOGITS, outputs / 2 + RECEIVED
    step = 128 * (2 * RECEIVED + LOGITS)  # maps forwards and their gradients backwards
    expected = [
        ("one device", 1, 128, params, outputs, 0, 0),
        ("two towers", 1, 128, params / 2, first, RECEIVED + LOGITS, step),
        ("two towers", 2, 128, params / 2, second, RECEIVED, step),
        ("data parallel", 1, 64, params, outputs, 0, params),
        ("data parallel", 2, 64, params, outputs, 0, params),
    ]
    assert [tuple(row.values()) for row in table(alexnet(), (3, 227, 227), 128)] == [
        (scheme, device, batch, held, 4 * held, 4 * batch * kept, 4 * (3 * held + batch * (kept + image)), *sent)
        for scheme, device, batch, held, kept, *values in expected
        for sent in [[4 * value for value in values]]
    ]
    assert params == 60_965_224
    net, towers = real
    assert sum(weight.numel() for weight in net.parameters()) == params
    assert [sum(weight.numel() for weight in tower.parameters()) for tower in towers.towers] == [params / 2] * 2


def test_an_odd_batch_is_divided_without_losing_a_image() -> None:
    rows = table(alexnet(), (3, 227, 227), 5)
    assert [(row["scheme"], row["batch"]) for row in rows[3:]] == [("data parallel", 3), ("data parallel", 2)]
    assert sum(number(row, "activation_bytes") for row in rows[3:]) == number(rows[0], "activation_bytes")


def kept_bytes(model: nn.Module, images: Tensor) -> int:
    """What autograd keeps of a forward pass for the backward pass, weights and images left out."""
    left_out = {tensor.untyped_storage().data_ptr() for tensor in (images, *model.parameters())}
    found: dict[int, Tensor] = {}  # the tensors too: a freed one would leave its address to another

    def pack(tensor: Tensor) -> Tensor:
        found[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model.train()(images)
    return sum(tensor.untyped_storage().nbytes() for address, tensor in found.items() if address not in left_out)


def test_what_autograd_keeps_falls_as_the_table_says(real: tuple[Net, Towers]) -> None:
    net, towers = real
    images = torch.randn(2, 3, 227, 227)
    one, first, second = (number(row, "activation_bytes") for row in table(alexnet(), (3, 227, 227), 2)[:3])
    measured = kept_bytes(towers, images) / kept_bytes(net, images)
    assert measured == pytest.approx((first + second) / one, rel=0.03)


# --- as a training --------------------------------------------------------------------------------------------------

TIMES = ("seconds", "images_per_second", "data_wait", "memory_bytes")
# What a towers run must not notice: batches in parts, clipped gradients, averaged weights, a velocity with its rate.
# The rate is low: at 0.01 one device differs from itself by 2e-4 where its start is changed by one part in 10^7, as a
# gradient jumps where a maximum or a ReLU changes sides.
RECIPE = Recipe(
    epochs=2,
    batch=16,
    accumulation_steps=2,
    lr=0.003,
    lr_batch=16,
    clip=2.0,
    ema_decay=0.9,
    optimizer=Sgd(lr_in_velocity=True),
    seed=3,
)
EACH = 6  # steps of an epoch
Trainings = tuple[Path, Path, list[EpochRecord], list[EpochRecord]]


def exact() -> Machine:
    return msgspec.structs.replace(this_machine(), device="cpu", precision="float32")


def job(images: Path, folder: Path, towers: bool, group: Group = Group()) -> Job:
    network = msgspec.structs.replace(small(3), init=He())
    return Job(network, open_source(str(images)), RECIPE, 32, exact(), group, folder, towers)


def run(images: Path, folder: Path, towers: bool) -> list[EpochRecord]:
    one = job(images, folder, towers)
    one.open([])
    return list(one.epochs("again", every=1e9))


def files(folder: Path) -> dict[str, bytes]:
    last = newest_in(folder)
    assert last.step == 2 * EACH
    return {name: last.read(name) for name in last.files}


@pytest.fixture(scope="module")
def trainings(directions: Path, tmp_path_factory: pytest.TempPathFactory) -> Trainings:
    """Two epochs on one device and as towers: the folders, and the rows."""
    one, two = (tmp_path_factory.mktemp(name) / "run" for name in ("one", "two"))
    return one, two, run(directions, one, False), run(directions, two, True)


def test_a_training_has_the_rows_of_one_device(trainings: Trainings) -> None:
    _, _, ones, twos = trainings
    assert ones[1].loss < 0.9 * ones[0].loss
    for one, two in zip(ones, twos, strict=True):
        assert (two.scores, two.train_accuracy, two.lr) == (one.scores, one.train_accuracy, one.lr)
        for key in ("loss", "first_gradient", "last_gradient"):
            assert getattr(two, key) == pytest.approx(getattr(one, key), rel=BOUND), key


def test_the_checkpoint_of_towers_is_an_ordinary_model(trainings: Trainings, crops: Tensor) -> None:
    models = [open_model(str(folder)) for folder in trainings[:2]]
    assert models[0].about == models[1].about
    one, two = (model.classifier.state_dict() for model in models)
    assert list(one) == list(two)
    assert all(two[key].shape == value.shape and difference(two[key], value) < 1e-4 for key, value in one.items())
    pixels = (crops * 128 + 128).clamp(0, 255).to(torch.uint8)
    with torch.no_grad():
        logits, others = (model.classifier(pixels) for model in models)
    assert difference(others, logits) < 1e-4
    assert logits.std() > 0.05  # they do tell images apart


class Stopping(Checkpointer):
    def step(self, training: Training, evaluating: bool = False) -> None:
        if training.state.step == EACH + 3 != self.resumed:
            self.asked = int(signal.SIGTERM)
        super().step(training, evaluating)


def test_towers_that_are_stopped_go_on_bit_for_bit_and_as_towers_only(
    trainings: Trainings, directions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    monkeypatch.setattr("topfive.engine.training.job.Checkpointer", Stopping)
    with pytest.raises(Terminated, match=f"saved at step {EACH + 3}"):
        run(directions, folder, True)
    with pytest.raises(UsageError, match=r"was started with other settings: towers true -> false"):
        run(directions, folder, False)
    with pytest.raises(UsageError, match=r"was started with other settings: towers false -> true"):
        run(directions, trainings[0], True)
    rows = run(directions, folder, True)
    assert files(folder) == files(trainings[1])
    then, now = ([msgspec.to_builtins(row) for row in each] for each in (trainings[3], rows))
    assert [{key: row[key] for key in row if key not in TIMES} for row in now] == [
        {key: row[key] for key in row if key not in TIMES} for row in then
    ]


def test_towers_begin_with_the_weights_of_an_ordinary_model() -> None:
    net, towers = build(small(12)), Towers(small(), (3, 32, 32), HERE)
    classifier = Classifier(net, torch.zeros(1, 3, 1, 1), torch.ones(1, 3, 1, 1))
    classes = tuple(map(str, range(12)))
    one = Model("m", "m", "", About(small(12), 32, classes), classifier)
    Start(one, small(), classes[:10]).fill(towers)
    for key, value in towers.state_dict().items():
        wanted = net.state_dict()[key]
        assert torch.equal(value, wanted[:10] if key.startswith("fc8") else wanted), key


def test_each_tower_stays_on_its_device_in_training_and_in_evaluation() -> None:
    model = Classifier(Towers(small(), (3, 32, 32), ("cpu", "meta")), *(torch.ones(1, 3, 1, 1) for _ in range(2)))
    for form in (exact().train_form(model), exact().infer_form(model)):
        found = {name.split("tower")[-1][0]: str(p.device) for name, p in form.named_parameters()}
        assert found == {"1": "cpu", "2": "meta"}


def test_the_command_says_where_the_towers_are_shows_the_table_and_goes_on(
    directions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("topfive.engine.benchmark.machine.torch.cuda.is_available", lambda: False)
    (tmp_path / "small.json").write_bytes(msgspec.json.encode(small()))
    command = ["train", str(tmp_path / "small.json"), str(directions), "--size", "32", "--recipe", "quick", "--towers"]
    assert main([*command, "--dry-run"]) == 0
    out, error = capsys.readouterr()
    assert "the first tower on cpu, the second on cpu, which stands in for two GPUs" in error
    assert "Muon" not in error
    assert main([*command, "--dry-run", "--set", "optimizer=Muon"]) == 0
    told = "Muon takes each tower's kernels by themselves, so the losses will not be those of one device"
    assert told in capsys.readouterr().err
    assert [out.count(scheme) for scheme in ("one device", "two towers", "data parallel")] == [1, 2, 2]
    folder = str(tmp_path / "run")
    assert main([*command, "--epochs", "1", "--batch", "32", "--out", folder, "--format", "json", "--quiet"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["devices"] == table(small(3), (3, 32, 32), 32)
    assert load_run(Path(folder)).towers
    assert main(["resume", folder, "--format", "json", "--quiet"]) == 0
    assert json.loads(capsys.readouterr().out) == made


def test_what_cannot_be_two_towers_is_refused_before_anything_is_read(
    directions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UsageError, match="two devices of one process: start it without torchrun"):
        job(directions, tmp_path / "run", True, Group(0, 2))
    for more in ([], ["--plan"]):
        command = ["train", "resnet-18", "digits", "--towers", "--out", str(tmp_path / "run"), *more]
        assert main(command) == 2
        assert "resnet-18 does not split into two towers as alexnet does" in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "run").exists()
