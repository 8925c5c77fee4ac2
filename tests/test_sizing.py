"""The size of images that a comparison takes where none is asked for: as the images are, or as the minutes allow."""

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from topfive.data.class_folders import folder
from topfive.data.sources import Source
from topfive.engine.benchmark.machine import this_machine
from topfive.engine.comparison import sizing
from topfive.engine.comparison.contract import Contract
from topfive.engine.comparison.planning import Plan
from topfive.errors import UsageError

NETWORKS = ("alexnet", "cifar-resnet-20", "resnet-50")


@pytest.fixture
def photographs(directions: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
    """Ten thousand training images of 160 pixels, on a machine of 50 G operations a second."""
    monkeypatch.setattr(sizing, "default_size", lambda source: 128)
    monkeypatch.setattr(sizing, "operations_per_second", lambda machine: 5e10)
    source = folder(directions)
    return replace(source, train=source.train[:1] * 10_000)


@pytest.mark.parametrize(("minutes", "size"), [(1e4, 128), (120.0, 64), (20.0, 32)])
def test_the_size_is_the_largest_that_the_minutes_allow(
    photographs: Source, tmp_path: Path, minutes: float, size: int
) -> None:
    contract, why = sizing.sized(Contract(NETWORKS, (), minutes=minutes), photographs, this_machine("cpu"), tmp_path)
    assert contract.sizes == (size,)
    assert why == "" if size == 128 else f"images of {size} pixels: at 128 only" in why and "--size 128" in why


def test_a_comparison_that_is_continued_keeps_its_size(photographs: Source, tmp_path: Path) -> None:
    contract = Contract(NETWORKS, (), minutes=1e4)
    (tmp_path / contract.plan).write_bytes(msgspec.json.encode(Plan(sizes=(32,))))
    assert sizing.sized(contract, photographs, this_machine("cpu"), tmp_path)[0].sizes == (32,)


def test_without_minutes_the_size_is_that_of_the_images(photographs: Source, tmp_path: Path) -> None:
    asked = Contract(NETWORKS, (), epochs=1)
    assert sizing.sized(asked, photographs, this_machine("cpu"), tmp_path) == (
        msgspec.structs.replace(asked, sizes=(128,)),
        "",
    )


def test_an_unknown_network_is_said(photographs: Source, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="did you mean resnet-50"):
        sizing.sized(Contract(("resnet50",), (), minutes=1.0), photographs, this_machine("cpu"), tmp_path)
