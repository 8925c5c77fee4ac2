"""Counts against three oracles: the collected numbers, torch's own counter, and arithmetic done another way here."""

import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from topfive.engine.models.modules import Net, build
from topfive.networks import NETWORKS, costs, get
from topfive.networks import shapes as shapes_of_networks
from topfive.networks.inception_v4 import inception_resnet_v2_paper
from topfive.networks.layers import (
    IDENTITY,
    BatchNorm,
    Chain,
    Concat,
    Conv,
    Dropout,
    GlobalPool,
    Layer,
    Linear,
    Network,
    Pool,
    Relu,
    Residual,
    ResponseNorm,
    ZeroPad,
    chain,
    concat,
    from_json,
    leaves,
    rewrite_network,
    with_classes,
)
from topfive.networks.resnet import option_a, option_b, option_c, stride_on_3x3
from topfive.networks.variations import batch_normalized, for_small_images
from topfive.networks.zfnet import zfnet

PUBLISHED = Path(__file__).parents[2] / "shared" / "published.toml"

# key in the collection -> our name, for every network whose counts are worked out there
COLLECTED = {
    "alexnet_2012": "alexnet",
    "alexnet_owt_torchvision": "alexnet-owt",
    "alexnet_owt_paper_footnote": "alexnet-owt-footnote",
    "bn_alexnet": "bn-alexnet",
    "zfnet": "zfnet",
    "nin_imagenet": "nin",
    "bn_nin": "bn-nin",
    "vgg_a": "vgg-a",
    "vgg_a_lrn": "vgg-a-lrn",
    "vgg_b": "vgg-b",
    "vgg_c": "vgg-c",
    "vgg_d": "vgg-d",
    "vgg_e": "vgg-e",
    "googlenet": "googlenet",
    "googlenet_torchvision": "googlenet-torchvision",
    "bn_inception": "bn-inception",
    "inception_v3": "inception-v3",
    "inception_v4": "inception-v4",
    "inception_resnet_v1": "inception-resnet-v1",
    "inception_resnet_v2": "inception-resnet-v2",
    "plain18": "plain-18",
    "plain34": "plain-34",
    "resnet18": "resnet-18",
    "resnet34": "resnet-34",
    "resnet50": "resnet-50",
    "resnet101": "resnet-101",
    "resnet152": "resnet-152",
    "cifar_plain20": "cifar-plain-20",
    "cifar_plain32": "cifar-plain-32",
    "cifar_plain44": "cifar-plain-44",
    "cifar_plain56": "cifar-plain-56",
    "cifar_plain110": "cifar-plain-110",
    "cifar_resnet20": "cifar-resnet-20",
    "cifar_resnet32": "cifar-resnet-32",
    "cifar_resnet44": "cifar-resnet-44",
    "cifar_resnet56": "cifar-resnet-56",
    "cifar_resnet110": "cifar-resnet-110",
    "cifar_resnet1202": "cifar-resnet-1202",
    "resnext50_32x4d": "resnext-50-32x4d",
    "resnext101_32x4d": "resnext-101-32x4d",
    "resnext101_64x4d": "resnext-101-64x4d",
    "resnext101_32x8d": "resnext-101-32x8d",
    "se_resnet50": "se-resnet-50",
    "senet154": "senet-154",
    "densenet121": "densenet-121",
    "densenet161": "densenet-161",
    "densenet169": "densenet-169",
    "densenet201": "densenet-201",
    "densenet264": "densenet-264",
    "squeezenet1_0": "squeezenet-1.0",
    "squeezenet1_1": "squeezenet-1.1",
    "mobilenet_v1": "mobilenet-v1",
    "mobilenet_v2": "mobilenet-v2",
}
# ours, but an entry of their own they have not: they are checked as variants of another, or nobody counted them
VARIANTS = {"zfnet-wide", "inception-resnet-v2-paper", "resnet-50-v1.5", "resnet-101-v1.5", "resnet-152-v1.5"}
UNCOUNTED = {"googlenet-naive"}


def params(network: Network) -> int:
    return costs.count(network).params


def macs(network: Network) -> int:
    return costs.count(network).macs


def with_heads(network: Network) -> int:
    return params(network) + costs.count(network).head_params


def of_heads(network: Network, what: str) -> list[int]:
    rows = costs.count(network).head_rows
    return [sum(getattr(row, what) for row in rows if row.name.startswith(f"{h.name}.")) for h in network.heads]


def with_weights(network: Network, what: str) -> list[int]:
    return [getattr(row, what) for row in costs.count(network).rows if row.weights]


def paper_figures(*blocks: int) -> Network:
    return inception_resnet_v2_paper(blocks) if len(blocks) == 3 else inception_resnet_v2_paper()


# what the collection calls a number -> how we come to it, from the network of that entry
QUANTITIES: dict[str, Callable[[Network], Any]] = {
    "params": params,
    "macs": macs,
    "params_code": params,
    "params_weights_only": lambda n: sum(row.weights for row in costs.count(n).rows),
    "macs_conv_only": lambda n: sum(row.macs for row in costs.count(n).rows if row.layer.startswith("conv")),
    "layer_macs": lambda n: with_weights(n, "macs"),
    "layer_weights": lambda n: with_weights(n, "weights"),
    "vs_two_tower.params_ratio_minus_1": lambda n: round(params(n) / params(get("alexnet")) - 1, 5),
    "vs_two_tower.macs_ratio_minus_1": lambda n: round(macs(n) / macs(get("alexnet")) - 1, 5),
    "wide_variant.params": lambda _: params(zfnet(wide=True)),
    "wide_variant.macs": lambda _: macs(zfnet(wide=True)),
    "bn_variant_params": lambda n: params(batch_normalized(n)),
    "params_with_both_aux": with_heads,
    "params_with_aux": with_heads,
    "aux_classifier.params_each": lambda n: of_heads(n, "params"),
    "aux_classifier.params_total": lambda n: sum(of_heads(n, "params")),
    "aux_classifier.macs_each": lambda n: of_heads(n, "macs"),
    "paper_figures_variant.params": lambda _: params(paper_figures()),
    "paper_figures_variant.macs": lambda _: macs(paper_figures()),
    "paper_figures_10_20_10.params": lambda _: params(paper_figures(10, 20, 10)),
    "paper_figures_10_20_10.macs": lambda _: macs(paper_figures(10, 20, 10)),
    "params_option_A": lambda n: params(option_a(n)),
    "params_option_B": lambda n: params(option_b(n)),
    "params_option_C": lambda n: params(option_c(n)),
    "macs_option_A": lambda n: macs(option_a(n)),
    "macs_option_C": lambda n: macs(option_c(n)),
    "macs_torchvision": lambda n: macs(stride_on_3x3(n)),
}
NOT_OURS = {"macs_separable_conv1"}  # a GoogLeNet with another first layer, which nobody published whole


def numbers(entry: dict[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Every count in an entry of the collection, under its dotted key."""
    for key, value in entry.items():
        if isinstance(value, dict):
            yield from numbers(value, f"{path}{key}.")
        elif any(of in key for of in ("params", "macs", "weights")) and not isinstance(value, str):
            yield path + key, value


def collected() -> dict[str, Any]:
    """The networks of the collection whose counts were worked out there, by arithmetic and not by this program."""
    if not PUBLISHED.exists():
        return {}
    entries: dict[str, Any] = tomllib.loads(PUBLISHED.read_text("utf-8"))["arch"]
    return {
        key: entry for key, entry in entries.items() if "derived" in (entry.get("params_conf"), entry.get("macs_conf"))
    }


ENTRIES = collected()
ABSENT = pytest.mark.skip(reason="the collection of published numbers is not beside this checkout")


@pytest.mark.parametrize("key", ENTRIES or [pytest.param("", marks=ABSENT)])
def test_counts_are_those_of_the_collection_to_the_digit(key: str) -> None:
    assert key in COLLECTED, "no network of the collection is left out"
    network = get(COLLECTED[key])
    printed = {what: number for what, number in numbers(ENTRIES[key]) if what not in NOT_OURS}
    assert printed.keys() <= QUANTITIES.keys(), "and none of its numbers"
    assert {what: QUANTITIES[what](network) for what in printed} == printed
    if ENTRIES[key].get("depth_conf") == "derived":
        assert costs.count(network).depth == ENTRIES[key]["depth"]


def test_every_network_of_ours_is_collected_or_a_variant_of_one_that_is() -> None:
    assert {*COLLECTED.values(), *VARIANTS, *UNCOUNTED} == set(NETWORKS)
    assert not ENTRIES or COLLECTED.keys() == ENTRIES.keys()


def test_the_networks_that_are_listed_are_the_variants_that_were_counted() -> None:
    assert get("zfnet-wide") == zfnet(wide=True)
    assert get("inception-resnet-v2-paper") == paper_figures()
    assert [get(f"resnet-{d}-v1.5") for d in (50, 101, 152)] == [
        stride_on_3x3(get(f"resnet-{d}")) for d in (50, 101, 152)
    ]


@pytest.fixture(scope="module", params=NETWORKS)
def network(request: pytest.FixtureRequest) -> Network:
    return get(request.param)


@pytest.fixture(scope="module")
def module(network: Network) -> Net:
    """The module without memory for its weights."""
    with torch.device("meta"):
        return build(network).eval()


def test_torch_counts_the_same_multiply_adds(network: Network, module: Net) -> None:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(torch.empty(1, *network.input, device="meta"))
    assert counter.get_total_flops() == 2 * costs.count(network).macs


def test_torch_holds_the_same_number_of_parameters(network: Network, module: Net) -> None:
    counted = costs.count(network)
    assert sum(p.numel() for p in module.parameters()) == counted.params + counted.head_params


def test_totals_are_those_of_the_rows(network: Network) -> None:
    counted = costs.count(network)
    assert costs.totals(network) == (counted.depth, counted.params, counted.macs)
    for of in ("params", "weights", "macs", "activation_bytes"):
        layers = sum(getattr(row, of) for row in counted.rows)
        stages = sum(getattr(row, of) for row in counted.stages)
        # why: concatenations and sums write maps of their own, which belong to the stage and to no layer
        assert layers <= stages if of == "activation_bytes" else layers == stages


def test_a_network_survives_its_json_form(network: Network) -> None:
    assert from_json(msgspec.json.encode(network)) == network


def test_a_network_can_tell_seven_classes_apart(network: Network) -> None:
    seven = with_classes(network, 7)
    assert seven.classes == 7
    assert costs.count(seven).stages[-1].output == (7, 1, 1)
    for body in (seven.body, *(head.body for head in seven.heads)):
        last = [layer for _, layer in leaves(body) if isinstance(layer, (Conv, Linear))][-1]
        assert (last.filters if isinstance(last, Conv) else last.units) == 7
    with torch.device("meta"):
        module = build(seven).eval()
    with torch.no_grad():
        assert module(torch.empty(2, *seven.input, device="meta")).shape == (2, 7)


def test_every_weight_has_a_name_and_not_a_number(network: Network, module: Net) -> None:
    names = [part for key in module.state_dict() for part in key.split(".")]
    assert [part for part in names if part.isdigit()] == []
    assert {row for row, _ in network.body.layers} <= {name for name, _ in module.named_children()}


@pytest.mark.parametrize("name", ["googlenet", "inception-v3"])
def test_torch_counts_the_same_multiply_adds_in_auxiliary_heads(name: str) -> None:
    network = get(name)
    counted = costs.count(network)
    with torch.device("meta"):
        module = build(network).train()
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            module.all_logits(torch.empty(2, *network.input))
    assert counter.get_total_flops() == 2 * 2 * (counted.macs + sum(row.macs for row in counted.head_rows))


def test_receptive_fields_are_those_worked_out_by_hand() -> None:
    fields = {name: {row.name: row.receptive_field for row in costs.count(get(name)).stages} for name in NETWORKS}
    # two, three 3x3 see what one 5x5, 7x7 sees (VGG, section 2.3)
    assert [fields["vgg-d"][row][0] for row in ("conv1_2", "pool1", "conv5_3", "pool5")] == [5, 6, 196, 212]
    assert [fields["alexnet"][f"conv{n}"][0] for n in range(1, 6)] == [11, 51, 99, 131, 163]
    # ResNet-50: 7x7/2 and 3x3/2 see 11 at stride 4; then one 3x3 a block, whose stride comes before it
    by_hand, field, stride = [], 11, 4
    for stage, blocks in enumerate((3, 4, 6, 3)):
        stride *= 1 if stage == 0 else 2
        field += blocks * 2 * stride
        by_hand.append(field)
    assert by_hand == [35, 99, 291, 483]
    assert [fields["resnet-50"][f"conv{n}_x"][0] for n in range(2, 6)] == by_hand
    # and with the stride on the 3x3, the first of a stage still steps as the stage before
    by_hand, field, stride = [], 11, 4
    for stage, blocks in enumerate((3, 4, 6, 3)):
        field += 2 * stride
        stride *= 1 if stage == 0 else 2
        field += (blocks - 1) * 2 * stride
        by_hand.append(field)
    assert [fields["resnet-50-v1.5"][f"conv{n}_x"][0] for n in range(2, 6)] == by_hand == [35, 91, 267, 427]
    # GoogLeNet: conv1 7, pool1 11, conv2 19, pool2 27 at stride 8; a module's widest path is its 5x5
    by_hand = [27 + 32, 27 + 64, 91 + 16 + 64, 107 + 5 * 64, 107 + 5 * 64 + 32 + 128, 459 + 2 * 128]
    assert [fields["googlenet"][row][0] for row in ("3a", "3b", "4a", "4e", "5a", "5b")] == by_hand


@pytest.mark.parametrize(
    ("name", "row", "field", "padding"),
    [  # the table of github.com/google-research/receptive_field (Araujo, Norris, Sim: Distill, 2019)
        ("alexnet", "pool5", 195, None),  # theirs pads conv1 otherwise
        ("vgg-d", "pool5", 212, 90),
        ("bn-inception", "5b", 699, None),  # theirs has a separable conv1 that pads otherwise
        ("inception-v3", "mixed_7c", 1311, None),
        ("inception-v4", "inception_c_3", 2071, None),
        ("inception-resnet-v2", "conv_7b", 3039, None),
        ("mobilenet-v1", "separable13", 315, None),
        ("resnet-50", "conv5_x", 483, 241),
        ("resnet-101", "conv5_x", 1027, 513),
        ("resnet-152", "conv5_x", 1507, 753),
    ],
)
def test_receptive_fields_are_those_of_another_counter(name: str, row: str, field: int, padding: int | None) -> None:
    (stage,) = [stage for stage in costs.count(get(name)).stages if stage.name == row]
    assert (stage.receptive_field, stage.stride) == ((field, field), (32, 32))
    if padding is not None:
        assert stage.centre == ((field - 1) / 2 - padding,) * 2


def positive(layer: Layer) -> Layer:
    """What sees as far as `layer`, one map wide and linear, so that nothing hides the gradient of a pixel."""
    match layer:
        case Conv():
            return msgspec.structs.replace(layer, filters=1, groups=1, bias=False)
        case Pool():
            return msgspec.structs.replace(layer, kind="average", count_pad=True)
        case BatchNorm() | Relu() | ResponseNorm() | Dropout() | ZeroPad():
            return IDENTITY
        case Residual(body, shortcut):
            return concat(body=body, shortcut=shortcut)  # a sum sees what its terms see, whatever their widths
        case _:
            return layer


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize(
    "name",
    [
        "alexnet", "zfnet", "bn-nin", "vgg-d", "googlenet", "bn-inception", "inception-v3", "inception-v4",
        "inception-resnet-v2", "resnet-18", "resnet-50", "resnet-50-v1.5", "cifar-resnet-20", "densenet-121",
        "squeezenet-1.1", "mobilenet-v2",
    ],
)  # fmt: skip
def test_a_cell_sees_the_pixels_that_its_gradient_reaches(name: str, axis: int) -> None:
    network = get(name)
    stages = [stage for stage in costs.count(network).stages if min(stage.output[1:]) > 1]
    rows = [(row, layer) for row, layer in network.body.layers if row in {stage.name for stage in stages}]
    strip = [128, 128]  # in 32s, so that convolutions and pools that round differently agree side by side
    strip[axis] = (max(stage.receptive_field[axis] for stage in stages) // 32 + 6) * 32
    narrow = msgspec.structs.replace(network, body=Chain(tuple(rows)), heads=(), input=(1, *strip))
    module = build(rewrite_network(narrow, positive)).double().eval()
    for parameter in module.parameters():
        torch.nn.init.ones_(parameter)
    pixels = torch.ones(1, *narrow.input, dtype=torch.float64, requires_grad=True)
    maps = pixels
    reached, counted = {}, {}
    for (row, _), stage in zip(rows, stages, strict=True):
        maps = module.get_submodule(row)(maps)
        middle = [length // 2 for length in maps.shape[2:]]
        (gradient,) = torch.autograd.grad(maps[0, :, *middle].sum(), pixels, retain_graph=True)
        seen = gradient[0, 0].sum(1 - axis).nonzero()
        first, last = int(seen.min()), int(seen.max())
        assert first > 0 and last < strip[axis] - 1, "the strip is too short to tell"
        reached[row] = (last - first + 1, (first + last) / 2)
        counted[row] = (stage.receptive_field[axis], stage.centre[axis] + middle[axis] * stage.stride[axis])
    assert counted == reached


class Op(NamedTuple):
    reads: tuple[int, ...]
    writes: int
    in_place: bool


def most_bytes_alive(body: Layer, shape: tuple[int, int, int]) -> int:
    """The peak by brute force: a list of operations on numbered tensors, then who is alive at each of them.

    A tensor lives from the operation that writes it to the last that reads it; a ReLU or dropout takes over the memory
    of what it reads where nobody reads that later. Branches run in order, a residual body before its shortcut.
    """
    shapes = [shape]
    ops: list[Op] = []

    def write(shape: tuple[int, int, int], *reads: int, in_place: bool = False) -> int:
        shapes.append(shape)
        ops.append(Op(reads, len(shapes) - 1, in_place))
        return len(shapes) - 1

    def run(layer: Layer, x: int) -> int:
        match layer:
            case Chain(layers):
                for _, child in layers:
                    x = run(child, x)
                return x
            case Concat(branches):
                outs = [run(branch, x) for _, branch in branches]
                return write((sum(shapes[out][0] for out in outs), *shapes[outs[0]][1:]), *outs)
            case Residual(body, shortcut):
                out = run(body, x)
                return write(shapes[out], out, run(shortcut, x))
            case _:
                in_place = isinstance(layer, (Relu, Dropout))
                return write(shapes_of_networks.shape_after(layer, shapes[x]), x, in_place=in_place)

    run(body, 0)
    last = {tensor: time for time, op in enumerate(ops) for tensor in op.reads}
    memory = list(range(len(shapes)))  # tensor -> the tensor whose memory it has
    until = [last.get(tensor, len(ops)) for tensor in range(len(shapes))]
    since = [-1] * len(shapes)
    for time, op in enumerate(ops):
        since[op.writes] = time
        if op.in_place and last[op.reads[0]] == time:
            owner = memory[op.writes] = memory[op.reads[0]]
            until[owner] = max(until[owner], until[op.writes])
    owners = set(memory)
    return max(
        sum(4 * shapes[t][0] * shapes[t][1] * shapes[t][2] for t in owners if since[t] <= time <= until[t])
        for time in range(len(ops))
    )


SMALL = tuple(name for name in NETWORKS if name != "cifar-resnet-1202")  # its 4,000 operations squared take a while


@pytest.mark.parametrize("name", SMALL)
def test_the_peak_is_that_of_a_simulation_of_who_is_alive(name: str) -> None:
    for network in (get(name), for_small_images(get(name), 32)):
        counted = costs.count(network).peak_activation_bytes
        simulated = most_bytes_alive(network.body, network.input)
        assert counted == simulated


@pytest.mark.parametrize(
    "row",
    [
        concat(a=chain(relu=Relu()), b=Conv(8, 1)),  # a ReLU that may not overwrite what b still needs
        concat(a=Conv(8, 1), b=chain(relu=Relu(), conv=Conv(64, 1))),
        concat(a=IDENTITY, b=chain(conv=Conv(32, 3), pad=Conv(16, 3, pad=2))),
        concat(a=chain(conv=Conv(32, 1), out=Conv(2, 1)), b=IDENTITY, c=chain(conv=Conv(24, 1), out=Conv(2, 1))),
        Residual(chain(relu=Relu(), conv=Conv(8, 3, pad=1))),
        Residual(chain(conv=Conv(64, 1), out=Conv(4, 1)), chain(conv=Conv(4, 1))),
        Residual(Conv(16, 1), chain(relu=Relu(), conv=Conv(16, 1))),
        Residual(concat(a=Conv(4, 1), b=IDENTITY), chain(a=Conv(64, 1), b=Conv(12, 1))),
        concat(a=Residual(Conv(8, 3, pad=1)), b=Residual(Conv(8, 1), chain(conv=Conv(8, 1)))),
        Residual(Residual(concat(a=Conv(6, 1), b=Pool("max", 1)), chain(conv=Conv(14, 1))), chain(conv=Conv(14, 1))),
        chain(drop=Dropout(), split=concat(a=IDENTITY, b=chain(drop=Dropout(), conv=Conv(40, 1), out=Conv(1, 1)))),
    ],
)
def test_the_peak_of_a_network_of_ones_own_is_that_of_the_simulation(row: Layer) -> None:
    body = chain(conv=Conv(8, 1), row=row, pool=GlobalPool(), fc=Linear(2))
    counted = costs.count(Network("own", "own", (3, 9, 9), body)).peak_activation_bytes
    simulated = most_bytes_alive(body, (3, 9, 9))
    assert counted == simulated
