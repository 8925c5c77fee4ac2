"""A torch module of the user's own, read as a network: the same layers, parameters and multiply-adds, or a sentence."""

from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from topfive.cli import main
from topfive.engine.models.graphs import network_of
from topfive.engine.models.modules import build
from topfive.engine.models.specs import ModelSpec, torch_costs
from topfive.errors import RefusedError
from topfive.networks import get
from topfive.networks.costs import count
from topfive.networks.layers import Concat, Residual, children, leaves


class Block(nn.Module):
    def __init__(self, planes: int, out: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(planes, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out)
        self.conv2, self.bn2 = nn.Conv2d(out, out, 3, 1, 1, bias=False), nn.BatchNorm2d(out)
        self.relu = nn.ReLU(inplace=True)
        self.down = nn.Conv2d(planes, out, 1, stride) if stride > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return self.relu(y + self.down(x))


class Module(nn.Module):
    """Two stages of blocks, one of branches, and a mean by hand."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.conv1, self.layer1 = nn.Conv2d(3, 8, 7, 2, 3), nn.Sequential(Block(8, 8), Block(8, 16, 2))
        self.wide, self.narrow = nn.Conv2d(16, 4, (1, 3), padding=(0, 1)), nn.Conv2d(16, 4, 1, groups=4)
        self.fc = nn.Linear(24, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer1(functional.max_pool2d(functional.relu(self.conv1(x)), 2))
        x = torch.cat([self.wide(x), self.narrow(x), functional.avg_pool2d(x, 3, 1, 1)], 1)
        return self.fc(functional.dropout(x.mean((2, 3)), 0.3, self.training))


def resnet() -> nn.Module:
    return build(get("resnet-18"))


def scaled(classes: int) -> nn.Module:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.long = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 3, 1))
            self.short, self.fc = nn.Conv2d(3, 3, 1), nn.Linear(3, classes)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(torch.add(self.long(x), self.short(x), alpha=0.25).mean((2, 3)))

    return Scaled()


def silu(classes: int) -> nn.Module:
    return nn.Sequential(nn.SiLU(), nn.Flatten(), nn.Linear(3 * 32 * 32, classes))


def twice(classes: int) -> nn.Module:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.fc = nn.Conv2d(3, 3, 3, padding=1), nn.Linear(3, classes)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(self.conv(self.conv(x)).mean((2, 3)))

    return Twice()


def dense(classes: int) -> nn.Module:
    class Dense(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(6, 3, 3, padding=1)
            self.fc = nn.Linear(9, classes)

        def forward(self, x: Tensor) -> Tensor:
            one = self.one(x)
            return self.fc(torch.cat([x, one, self.two(torch.cat([x, one], 1))], 1).mean((2, 3)))

    return Dense()


def by_value(classes: int) -> nn.Module:
    class ByValue(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(1)[:, :classes] if x.sum() > 0 else -x.flatten(1)[:, :classes]

    return ByValue()


def broken(classes: int) -> nn.Module:
    raise ValueError("no weights here")


def test_a_module_is_read_with_its_branches_and_costs() -> None:
    network = network_of(f"{__name__}:Module", (3, 64, 64), 5)
    costs = count(network)
    assert (costs.params, costs.macs) == torch_costs(ModelSpec("", factory=f"{__name__}:Module"), (3, 64, 64), 5)
    rows = dict(network.body.layers)
    assert list(rows) == ["conv1", "relu", "max_pool2d", "layer1", "concat", "mean", "dropout", "fc"]
    blocks = dict(children(rows["layer1"]))
    assert list(blocks) == ["0", "1"]
    (first, _), (second, _) = (children(block) for block in blocks.values())
    assert isinstance(first[1], Residual) and [name for name, _ in leaves(first[1].body)][-1] == "bn2"
    assert not list(leaves(first[1].shortcut)) and isinstance(second[1], Residual)
    assert [name for name, _ in leaves(Concat((("down", second[1].shortcut),)))] == ["down"]
    assert isinstance(rows["concat"], Concat) and len(rows["concat"].branches) == 3


def test_a_scaled_sum_keeps_what_is_scaled() -> None:
    ((_, residual), *_) = network_of(f"{__name__}:scaled", (3, 8, 8), 4).body.layers
    assert isinstance(residual, Residual) and residual.scale == 0.25
    assert [name for name, _ in leaves(residual.body)] == [""] and len(list(leaves(residual.shortcut))) == 2


def test_networks_of_ours_are_read_as_they_were_written() -> None:
    ours = get("resnet-18")
    wanted, found = count(ours), count(network_of(f"{__name__}:resnet", ours.input, 1000))
    assert (found.params, found.macs, found.depth, found.field) == (
        wanted.params, wanted.macs, wanted.depth, wanted.field,
    )  # fmt: skip
    assert [row.output for row in found.rows if row.params] == [row.output for row in wanted.rows if row.params]


@pytest.mark.parametrize(
    ("factory", "why"),
    [
        ("silu", "aten.silu.default is no layer"),
        ("twice", "parameters and not the"),
        ("dense", "do not join in one place"),
        ("by_value", "torch.export refuses it"),
        ("broken", "fails: ValueError: no weights here"),
        ("nowhere", "cannot be imported"),
    ],
)
def test_what_is_no_network_is_refused_in_one_sentence(
    factory: str, why: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(RefusedError, match=why) as caught:
        network_of(f"{__name__}:{factory}", (3, 32, 32), 4)
    assert "\n" not in str(caught.value) and capfd.readouterr().err == ""


def test_show_draws_a_module(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    drawn = tmp_path / "mine.svg"
    factory = f"{__name__}:Module"
    assert main(["show", factory, "--input", "3x64x64", "--classes", "5", "--draw", str(drawn)]) == 0
    assert "layer1" in capsys.readouterr().out
    texts = [text.text for text in ElementTree.parse(drawn).iter("{http://www.w3.org/2000/svg}text")]
    assert factory in texts and "conv 1x3, 4" in texts
