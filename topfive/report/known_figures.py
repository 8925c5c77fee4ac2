"""Every figure that is known of a network: printed in papers, shipped with libraries, counted here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from functools import cache
from typing import Literal, NamedTuple, TypeAlias, overload

from topfive.networks import CLAIMS, ERRATA, NETWORKS, costs, get, papers
from topfive.weights import libraries

What: TypeAlias = Literal["top1_error", "top1_accuracy", "top5_error", "top5_accuracy", "params", "macs", "ops"]
Who: TypeAlias = Literal["paper", "repository", "torchvision", "timm", "counted here", "third party"]
Confidence: TypeAlias = papers.Confidence | Literal["counted"]
LINEAR_SHOWS = 0.995  # of the multiply-adds: where less is left without linear layers, that is a figure of its own
_WHO: dict[papers.Confidence, Who] = {
    "paper": "paper",
    "author-repo": "repository",
    "code": "repository",
    "official-quoted": "third party",
    "secondary": "third party",
    "figure-read": "third party",
}
IMAGES_OF = {
    "val": 50_000,
    "val (all 50,000)": 50_000,
    "val (48,238 non-blacklisted)": 48_238,
    "test": 100_000,
    "ILSVRC-2010 test": 150_000,
    "ILSVRC-2011 test": 100_000,
    "test (1,500)": 1_500,
    "CIFAR-10 test": 10_000,
}


class KnownFigure(NamedTuple):
    """What one measurement or count gave, accuracies and errors in percent, before a number is held against it."""

    values: Mapping[What, Decimal]
    who: Who
    network: str
    where: str
    confidence: Confidence
    note: str = ""
    protocol: str = ""
    split: str = ""
    models: int | None = None
    crops: int | None = None


@cache
def known_figures() -> tuple[KnownFigure, ...]:
    shipped = list(_shipped())
    held = {(figure.network, figure.values["top1_error"]) for figure in shipped}
    # why: papers.toml has the libraries' figures too, with less about how they were measured
    printed = [figure for figure in _printed() if (figure.network, figure.values.get("top1_error")) not in held]
    return (*printed, *shipped, *_won(), *_claimed(), *_counted())


def _printed() -> Iterator[KnownFigure]:
    for network in papers.known():
        for error in papers.facts(network).errors:
            yield KnownFigure(
                accuracies(exactly(error.top1), exactly(error.top5)),
                _WHO[error.conf],
                network,
                error.where,
                error.conf,
                error.note,
                error.protocol,
                error.split,
                error.models,
                error.crops,
            )


def _shipped() -> Iterator[KnownFigure]:
    libraries_of: tuple[Literal["torchvision", "timm"], ...] = ("torchvision", "timm")
    for library in libraries_of:
        for entry in libraries.known(library):
            yield KnownFigure(
                accuracies(100 - exactly(entry.top1), 100 - exactly(entry.top5)),
                library,
                entry.network,
                entry.key,
                "code",
                entry.note,
                f"1-crop {entry.crop} of {entry.resize}, {entry.interpolation}",
                "val",
                1,
                1,
            )


def _won() -> Iterator[KnownFigure]:
    """The winners of ILSVRC, whose entries are no single network, and the person whom they are held against."""
    for winner in papers.winners():
        split = "test" if winner.year >= 2012 else f"ILSVRC-{winner.year} test"
        errors = accuracies(None, 100 * exactly(winner.official))
        where = f"winner of ILSVRC {winner.year}"
        yield KnownFigure(errors, "third party", winner.entry, where, winner.conf, winner.note, winner.method, split)
    person = accuracies(None, exactly(papers.human_top5()))
    where = "Russakovsky et al. 2015, Section 6.4"
    yield KnownFigure(person, "third party", "a trained person", where, "official-quoted", "", "", "test (1,500)")


def _claimed() -> Iterator[KnownFigure]:
    """What papers print of a whole network's size."""
    for network in papers.known():
        for claim in (*CLAIMS.get(network, ()), *papers.facts(network).claims):
            if not claim.row and claim.of in ("params", "macs"):
                value = Decimal(claim.printed.lstrip("<").replace(",", "")) * claim.unit
                bound = f"printed as {claim.printed}" if claim.printed.startswith("<") else ""
                note = ERRATA.get((network, "", claim.of), bound)
                values: dict[What, Decimal] = {"params": value} if claim.of == "params" else {"macs": value}
                yield KnownFigure(values, "paper", network, claim.where, "paper", note)


def _counted() -> Iterator[KnownFigure]:
    shipped = {entry.network: entry.params for entry in libraries.known("torchvision")}
    for name in NETWORKS:
        counts = costs.count(get(name))
        image = f"one image of {'x'.join(map(str, counts.input))}"
        convs = sum(row.macs for row in counts.rows if not row.layer.startswith("linear"))
        found: list[tuple[What, int, str]] = [
            ("params", counts.params, "what torchvision states" if shipped.get(name) == counts.params else ""),
            ("macs", counts.macs, "what torchvision calls GFLOPS" if name in shipped else ""),
            ("ops", counts.ops, "2 x multiply-adds"),
        ]
        if counts.head_params:
            whole = counts.params + counts.head_params
            stated = "; what torchvision states" if shipped.get(name) == whole else ""
            found.append(("params", whole, f"with the auxiliary classifiers, which are for training{stated}"))
        if convs < LINEAR_SHOWS * counts.macs:
            found += [("macs", convs, "the convolutions alone"), ("ops", 2 * convs, "the convolutions alone")]
        for what, value, note in found:
            how = "" if what == "params" else image
            yield KnownFigure({what: Decimal(value)}, "counted here", name, "", "counted", note, how)


def accuracies(top1_error: Decimal | None, top5_error: Decimal | None) -> dict[What, Decimal]:
    values: dict[What, Decimal] = {}
    if top1_error is not None:
        values["top1_error"], values["top1_accuracy"] = top1_error, 100 - top1_error
    if top5_error is not None:
        values["top5_error"], values["top5_accuracy"] = top5_error, 100 - top5_error
    return values


@overload
def exactly(printed: float) -> Decimal: ...


@overload
def exactly(printed: None) -> None: ...


@overload
def exactly(printed: float | None) -> Decimal | None: ...


def exactly(printed: float | None) -> Decimal | None:
    """The number with the digits that are printed: 76.13, not the float beside it."""
    return None if printed is None else Decimal(str(printed))
