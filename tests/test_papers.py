"""What the papers print holds against what we count, or its contradiction is on record."""

import tomllib
from pathlib import Path

import pytest

from topfive.errors import UsageError
from topfive.networks import CLAIMS, DIFFERS, ERRATA, NETWORKS, costs, get, papers
from topfive.networks.papers import Claim

PUBLISHED = Path(__file__).parents[2] / "shared" / "published.toml"


def verdicts(name: str) -> list[papers.Verdict]:
    network = get(name)
    return papers.check(network, costs.count(network), [*CLAIMS.get(name, []), *papers.facts(name).claims], ERRATA)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_contradiction_has_its_erratum_and_every_erratum_its_contradiction(name: str) -> None:
    contradicted = {(v.row, v.of): (v.printed, v.ours, v.erratum) for v in verdicts(name) if v.verdict == "contradicts"}
    assert {key: value for key, value in contradicted.items() if not value[2]} == {}, "no erratum"
    assert {(row, of) for network, row, of in ERRATA if network == name} - contradicted.keys() == set(), "stale erratum"


def test_claims_errata_and_differences_speak_of_networks_that_exist() -> None:
    assert {*CLAIMS, *DIFFERS, *(network for network, _, _ in ERRATA)} <= set(NETWORKS)


def test_every_network_has_a_source_and_every_source_a_network() -> None:
    assert set(papers.known()) == set(NETWORKS)
    assert {get(name).paper for name in NETWORKS} <= set(papers.known())
    with pytest.raises(UsageError, match="did you mean alexnet"):
        papers.facts("alexnat")


@pytest.mark.parametrize(
    ("of", "printed", "unit", "verdict"),
    [
        ("weights", "34848", 1, "holds"),
        ("weights", "34849", 1, "contradicts"),  # what is printed exactly must be exact
        ("weights", "35", 1000, "holds"),
        ("weights", "34", 1000, "rounding"),  # 34.848, cut
        ("weights", "33", 1000, "contradicts"),
        ("weights", "34", 1024, "holds"),  # 34.03 of 1024
        ("weights", "33.9", 1024, "contradicts"),
        ("weights", "<35", 1000, "holds"),
        ("weights", "<34.8", 1000, "contradicts"),
        ("params", "34,944", 1, "holds"),
        ("output", "55x55x96", 1, "holds"),
        ("output", "55x55", 1, "holds"),
        ("output", "96x55x55", 1, "contradicts"),
    ],
)
def test_a_claim_about_conv1_of_alexnet_is_judged_by_its_last_digit(
    of: str, printed: str, unit: int, verdict: str
) -> None:
    network = get("alexnet")
    (found,) = papers.check(network, costs.count(network), [Claim("conv1", of, printed, "here", unit)])
    assert found.verdict == verdict


def test_nothing_in_papers_toml_is_recalled() -> None:
    text = Path(papers.__file__).with_name("papers.toml").read_text("utf-8")
    assert "recalled" not in text  # and papers.Confidence admits no such source


@pytest.mark.skipif(not PUBLISHED.exists(), reason="the collection of published numbers is not beside this checkout")
def test_every_error_collected_from_a_paper_is_in_papers_toml() -> None:
    collected = set()
    for key, entry in tomllib.loads(PUBLISHED.read_text("utf-8"))["arch"].items():
        if key in ("overfeat", "enet_classifier"):  # no network of ours
            continue
        for error in entry.get("errors", []):
            if error["conf"] == "paper" and ("top1" in error or "top5" in error):
                collected.add((error["split"], error.get("top1"), error.get("top5"), error.get("models")))
        if entry.get("test_error_conf") == "paper":
            collected.add(("CIFAR-10 test", entry["test_error"], None, 1))
    ours = {
        (error.split, error.top1, error.top5, error.models)
        for name in papers.known()
        for error in papers.facts(name).errors
        if error.conf == "paper"
    }
    assert collected == ours


@pytest.mark.parametrize(
    ("name", "top1", "top5", "protocol", "conf"),
    [
        ("alexnet", 40.7, 18.2, "10-crop", "paper"),  # the 1-crop figure is of the 2010 images
        ("vgg-d", 28.5, 9.9, "1-crop", "author-repo"),
        ("vgg-e", 27.624, 9.124, "1-crop", "code"),
        ("resnet-50", 24.7, 7.8, "1-crop", "author-repo"),
        ("resnet-50-v1.5", 24.01, 7.02, "1-crop", "author-repo"),
        ("resnet-152", 23.0, 6.7, "1-crop", "author-repo"),  # not the larger crop of the SENet paper
        ("plain-34", 28.54, 10.02, "10-crop", "paper"),
        ("cifar-resnet-110", 6.43, None, "single 32x32 view", "paper"),
    ],
)
def test_the_error_shown_is_the_one_that_compares_best(
    name: str, top1: float, top5: float | None, protocol: str, conf: str
) -> None:
    error = papers.best_error(name)
    assert error is not None
    assert (error.top1, error.top5, error.protocol, error.conf) == (top1, top5, protocol, conf)


def test_a_network_without_a_published_error_shows_none() -> None:
    assert papers.best_error("googlenet-naive") is None


def test_the_winners_of_ilsvrc_get_better_every_year() -> None:
    errors = [winner.top5_test for winner in papers.winners()]
    assert [winner.year for winner in papers.winners()] == list(range(2010, 2018))
    assert errors == sorted(errors, reverse=True)
    assert [winner.year for winner in papers.winners() if winner.top5_test < papers.human_top5()] == [2015, 2016, 2017]
    assert all(abs(100 * winner.official - winner.top5_test) < 0.06 for winner in papers.winners())
