"""A number finds the figures that it may be: worked examples of the papers, and a naive search of the same tables."""

import tomllib
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from topfive.errors import UsageError
from topfive.networks import papers
from topfive.report import explanations as explaining
from topfive.report import tables
from topfive.report.explanations import Match, explain
from topfive.weights import libraries

PUBLISHED = Path(__file__).parents[2] / "shared" / "published.toml"
TABLES = Path(papers.__file__).parent.parent


def facts(match: Match) -> tuple[str, str, str, str, str]:
    return match.network, match.what, match.who, match.protocol, match.split


@pytest.mark.parametrize(
    ("text", "network", "first"),
    [
        (
            "76.13",
            "resnet-50",
            ("resnet-50-v1.5", "top1_accuracy", "torchvision", "1-crop 224 of 256, bilinear", "val"),
        ),
        ("76.1", "resnet-50", ("resnet-50-v1.5", "top1_accuracy", "torchvision", "1-crop 224 of 256, bilinear", "val")),
        ("80.86", None, ("resnet-50-v1.5", "top1_accuracy", "torchvision", "1-crop 224 of 232, bilinear", "val")),
        ("75.3%", "resnet-50", ("resnet-50", "top1_accuracy", "repository", "1-crop", "val")),
        ("24.7%", "resnet-50-v1.5", ("resnet-50", "top1_error", "repository", "1-crop", "val")),
        ("0.247", "resnet-50", ("resnet-50", "top1_error", "repository", "1-crop", "val")),
        ("22.85", None, ("resnet-50", "top1_error", "paper", "10-crop", "val")),
        ("10.07", "googlenet", ("googlenet", "top5_error", "paper", "1-crop", "val")),
        ("9.2", "googlenet", ("googlenet", "top5_error", "paper", "1-crop", "val (48,238 non-blacklisted)")),
        ("89.9", "inception-v1", ("googlenet", "top5_accuracy", "paper", "1-crop", "val")),
        ("28.5", "vgg-16", ("vgg-d", "top1_error", "repository", "1-crop", "val")),
        ("9.9", "vgg-16", ("vgg-d", "top5_error", "repository", "1-crop", "val")),
        ("28.07", None, ("vgg-d", "top1_error", "paper", "10-crop", "val")),
        ("19.47", None, ("inception-v3", "top1_error", "paper", "12-crop", "val (48,238 non-blacklisted)")),
        ("19.8", "inception-v3", ("inception-v3", "top1_error", "paper", "12-crop", "val (all 50,000)")),
        ("56.5", "alexnet", ("alexnet-owt", "top1_accuracy", "torchvision", "1-crop 224 of 256, bilinear", "val")),
        ("59.3", "alexnet", ("alexnet", "top1_accuracy", "paper", "10-crop", "val")),
        ("80.38", None, ("resnet-50-v1.5", "top1_accuracy", "timm", "1-crop 224 of 235, bicubic", "val")),
        ("93.57", None, ("cifar-resnet-110", "top1_accuracy", "paper", "single 32x32 view", "CIFAR-10 test")),
    ],
)  # fmt: skip
def test_an_accuracy_or_error_finds_its_network_protocol_and_images(
    text: str, network: str | None, first: tuple[str, ...]
) -> None:
    found = explain(text, network)
    assert facts(found[0]) == first
    assert found[0].exact


@pytest.mark.parametrize(
    ("text", "network", "first", "note"),
    [
        ("3.8G", "resnet-50", ("resnet-50", "macs", "paper"), ""),
        ("3.858G", "resnet-50", ("resnet-50", "macs", "counted here"), ""),
        ("4.1 GFLOPs", "resnet-50", ("resnet-50-v1.5", "macs", "counted here"), "torchvision calls GFLOPS"),
        ("4.089GMACs", None, ("resnet-50-v1.5", "macs", "counted here"), "torchvision calls GFLOPS"),
        ("4.089", "resnet-50", ("resnet-50-v1.5", "macs", "counted here"), ""),  # without its G
        ("8.2G", "resnet-50", ("resnet-50-v1.5", "ops", "counted here"), "2 x multiply-adds"),
        ("25.557M", "resnet-50-v1.5", ("resnet-50", "params", "counted here"), ""),
        ("25,557,032", "resnet-50-v1.5", ("resnet-50", "params", "counted here"), ""),
        ("25.557e6 params", "resnet-50-v1.5", ("resnet-50", "params", "counted here"), ""),
        ("15.3G", "vgg-16", ("vgg-d", "macs", "paper"), "leaves out the fully connected layers"),
        ("15.35G", "vgg-16", ("vgg-d", "macs", "counted here"), "the convolutions alone"),
        ("15.47G", "vgg-16", ("vgg-d", "macs", "counted here"), ""),
        ("30.9G", "vgg-16", ("vgg-d", "ops", "counted here"), ""),
        ("138M", "vgg-16", ("vgg-d", "params", "paper"), ""),
        ("27161264", None, ("inception-v3", "params", "counted here"), "auxiliary classifiers"),
        ("23834568", None, ("inception-v3", "params", "counted here"), ""),
        ("13.6M", "bn-inception", ("bn-inception", "params", "paper"), ""),
        (
            "55.84M",
            None,
            ("inception-resnet-v2", "params", "counted here"),
            "",
        ),  # the released network, not the paper's
        ("32.4M", None, ("inception-resnet-v2-paper", "params", "counted here"), ""),
    ],
)
def test_a_size_finds_whose_count_it_is(text: str, network: str | None, first: tuple[str, ...], note: str) -> None:
    found = explain(text, network)[0]
    assert (found.network, found.what, found.who) == first
    assert note in found.note
    assert found.exact


def test_six_sixty_seven_is_of_seven_models_on_both_sets_and_its_other_roundings_are_near() -> None:
    exact = [match for match in explain("6.67", "googlenet") if match.exact and match.network == "googlenet"]
    assert [(match.split, match.models, match.crops) for match in exact] == [("val", 7, 144), ("test", 7, 144)]
    assert {match.distance for match in explain("6.66", "googlenet") if match.network == "googlenet"} == {1.0}
    assert ("bn-inception", "top5_error", "paper", "144-crop", "val") in map(facts, explain("5.81", "bn-inception"))


@pytest.mark.parametrize(
    ("text", "how"),
    [
        ("76.13", "exact"), ("76.130", "exact"), ("76.1", "exact"), ("76", "exact"), ("0.7613", "exact"),
        ("76.12", "near"), ("76.14", "near"), ("76.11", ""), ("76.2", "near"), ("76.3", ""), ("76.129", "near"),
        ("0.762", "near"), ("0.763", ""), ("23.87", "exact"), ("23.9", "exact"), ("24", "exact"), ("23.85", ""),
        ("80.85", "near"), ("80.87", ""),
    ],
)  # fmt: skip
def test_a_number_counts_to_the_digits_that_it_is_written_with(text: str, how: str) -> None:
    found = [match for match in explain(text, "resnet-50") if match.where.startswith("resnet50.IMAGENET1K")]
    assert [("exact" if match.exact else "near") for match in found if match.what.startswith("top1")] == [how][
        : len(how)
    ]


def naive(low: str, high: str) -> set[tuple[str, str, str]]:
    """(network, top-n, source) of every error or accuracy in low..high, read straight from the tables."""
    found = set()
    book = tomllib.loads((TABLES / "networks" / "papers.toml").read_text("utf-8"), parse_float=Decimal)
    shipped: dict[str, Any] = {}
    for file in TABLES.glob("weights/libraries*.toml"):
        shipped |= tomllib.loads(file.read_text("utf-8"), parse_float=Decimal)
    for network, entry in book["network"].items():
        for error in entry.get("errors", []):
            if not any(word in error["where"] for word in ("torchvision", "timm")):
                found |= {(network, top, error["where"], error[top]) for top in ("top1", "top5") if top in error}
    for entries in shipped.values():
        for entry in entries:
            where = f"{entry['name']}.{entry['version']}"
            found |= {(entry["network"], top, where, entry[top]) for top in ("top1", "top5")}
    return {
        (network, top, where)
        for network, top, where, value in found
        if Decimal(low) <= value <= Decimal(high) or Decimal(low) <= 100 - value <= Decimal(high)
    }


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [("24.4%", "24.35", "24.45"), ("9.2%", "9.15", "9.25"), ("76.1%", "76.05", "76.15"), ("5.6%", "5.55", "5.65")],
)
def test_every_figure_that_a_number_may_be_is_listed(text: str, low: str, high: str) -> None:
    found = explain(text)
    assert {(match.network, match.what[:4], match.where) for match in found} == naive(low, high)
    assert len(found) > 1
    assert f"{len(found)} figures are {text}" in explaining.answer(text, None, found)


def test_the_named_network_comes_first_and_one_model_before_ensembles() -> None:
    found = [match for match in explain("16.4%", "alexnet") if match.exact]
    assert [match.network for match in found][:2] == ["alexnet", "alexnet"]
    of_one = [(match.models or 1) > 1 for match in explain("4.9%") if match.exact]
    assert of_one == sorted(of_one)
    assert len(set(of_one)) == 2


def test_the_winners_of_ilsvrc_and_the_person_are_known() -> None:
    (won,) = [match for match in explain("3.57%") if match.exact and match.who == "third party"]
    assert (won.network, won.what, won.split, won.images) == ("MSRA (ResNet)", "top5_error", "test", 100_000)
    assert "GoogLeNet" in {match.network for match in explain("6.66%") if match.exact}  # 6.67 in the paper
    assert [(match.network, match.images) for match in explain("5.1%") if "person" in match.network] == [
        ("a trained person", 1500)
    ]


def test_what_no_table_has_is_said_with_the_nearest_figures() -> None:
    found = explain("57.1", "alexnet")  # said of Caffe's copy, by nobody whom the tables quote
    assert not any(match.exact for match in found)
    sentence = explaining.answer("57.1", "alexnet", found)
    assert sentence.startswith("No figure of alexnet or its variants that is known here is 57.1")
    assert "alexnet itself: 59.3 % (paper: Table 2" in sentence
    page = tables.text(explaining.sections("57.1", "alexnet", found))
    assert "The nearest of alexnet" in page
    assert "56.522 %" in page
    elsewhere = explaining.answer("19.47", "alexnet", explain("19.47", "alexnet"))
    assert elsewhere.endswith("is 19.47 to the digits written. One figure of another network is.")


def test_a_coarse_number_says_how_many_more_there_are() -> None:
    found = explain("5")
    page = tables.text(explaining.sections("5", None, found))
    assert page.count("\nexact ") == explaining.SHOWN
    assert f"{len(found) - explaining.SHOWN} more fit" in page
    assert len([match for match in explain("4.1G", "resnet-50") if match.network == "resnet-50-v1.5"]) == 1


def test_the_page_fits_and_carries_protocol_and_images() -> None:
    page = tables.text(explaining.sections("76.1", "resnet-50", explain("76.1", "resnet-50")))
    assert max(map(len, page.splitlines())) <= tables.WIDTH
    said = " ".join(page.split())
    assert "(torchvision resnet50.IMAGENET1K_V1; 1-crop 224 of 256, bilinear; 50,000 of val)" in said
    assert (
        "resnet-50 itself: 75.3 % (repository: KaimingHe/deep-residual-networks README; 1-crop; 50,000 of val)" in said
    )
    assert "Stride 2 in the 3x3 of the first block" in said
    own = explaining.own_rows("resnet-50")
    assert [(row["protocol"], row["top1_error"]) for row in own][:2] == [("1-crop", 0.247), ("10-crop", 0.2285)]


def test_every_measurement_says_how_many_images_it_is_on() -> None:
    assert {row["split"] for name in papers.known() for row in explaining.own_rows(name) if not row["images"]} == set()


@pytest.mark.parametrize(
    "text", ["", "abc", "76,1", "1.2.3", "-3", "0", "0%", "nan", "4.1X", "120%", "25,55", "76.1% params"]
)
def test_what_is_no_number_is_one_sentence_with_examples(text: str) -> None:
    with pytest.raises(UsageError, match=r"write an accuracy or error \(76.1, 24.7%, 0.761\)"):
        explain(text)


def test_an_unknown_network_is_answered_with_the_nearest_names() -> None:
    with pytest.raises(UsageError, match="did you mean resnet-50"):
        explain("76.1", "resnet-51")


@pytest.mark.skipif(not PUBLISHED.exists(), reason="the collection of published numbers is not beside this checkout")
def test_the_rows_of_timm_are_the_collected_ones() -> None:
    collected = tomllib.loads(PUBLISHED.read_text("utf-8"))
    theirs = {
        (
            row["model"],
            row["img_size"],
            int(row["img_size"] / row["crop_pct"]),
            row["interpolation"],
            row["top1"],
            row["top5"],
        )
        for row in collected["timm"]
    }
    ours = {
        (entry.key, entry.crop, entry.resize, entry.interpolation, entry.top1, entry.top5)
        for entry in libraries.known("timm")
    }
    assert ours <= theirs
    assert {row[0].split(".")[0] for row in theirs - ours} == {
        "legacy_seresnext26_32x4d", "legacy_seresnext50_32x4d", "legacy_seresnext101_32x4d", "mobilenetv1_100h"
    }  # fmt: skip


@pytest.mark.parametrize(("text", "network"), [("17.2%", "inception-v3"), ("16.5%", "inception-v4")])
def test_what_is_only_recalled_is_not_known(text: str, network: str) -> None:
    assert not any(match.exact and match.network == network for match in explain(text, network))
