"""Which known figures a number may be: the papers' and the libraries' accuracies, and what we count ourselves.

A number is read to the digits that it is written with: a figure that rounds to it is exact, one within one unit of its
last digit is near.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from functools import cache
from typing import Literal, NamedTuple, TypeAlias, overload

import msgspec

from topfive.errors import UsageError
from topfive.networks import CLAIMS, ERRATA, NETWORKS, costs, get, papers
from topfive.report.tables import Column, Row, Section, percent
from topfive.weights import libraries

What: TypeAlias = Literal["top1_error", "top1_accuracy", "top5_error", "top5_accuracy", "params", "macs", "ops"]
Who: TypeAlias = Literal["paper", "repository", "torchvision", "timm", "counted here", "third party"]
Confidence: TypeAlias = papers.Confidence | Literal["counted"]

SHOWN = 20  # matches in a table for people; machines get all
LINEAR_SHOWS = 0.995  # of the multiply-adds: where less is left without linear layers, that is a figure of its own

_NUMBER = re.compile(
    r"(?P<number>(?=[.\d])(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?(?:e\d)?)\s*(?P<unit>%|[kmgb]?)"
    r"[\s-]*(?P<of>params|parameters|macs|flops|ops|)"
)
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "b": 10**9}
_COUNTS: dict[str, tuple[What, ...]] = {
    "": ("params", "macs", "ops"),
    "params": ("params",),
    "parameters": ("params",),
    "macs": ("macs",),
    "flops": ("macs", "ops"),  # the word is used for both
    "ops": ("macs", "ops"),
}
_WORDS: dict[What, str] = {
    "top1_error": "Top-1 error",
    "top1_accuracy": "Top-1 accuracy",
    "top5_error": "Top-5 error",
    "top5_accuracy": "Top-5 accuracy",
    "params": "parameters",
    "macs": "multiply-adds",
    "ops": "operations",
}
_ACCURACIES: tuple[What, ...] = ("top1_error", "top1_accuracy", "top5_error", "top5_accuracy")
_WHO: dict[papers.Confidence, Who] = {
    "paper": "paper",
    "author-repo": "repository",
    "code": "repository",
    "official-quoted": "third party",
    "secondary": "third party",
    "figure-read": "third party",
}
_ORDER: tuple[Who, ...] = ("paper", "repository", "torchvision", "timm", "counted here", "third party")
_IMAGES = {
    "val": 50_000,
    "val (all 50,000)": 50_000,
    "val (48,238 non-blacklisted)": 48_238,
    "test": 100_000,
    "ILSVRC-2010 test": 150_000,
    "ILSVRC-2011 test": 100_000,
    "test (1,500)": 1_500,
    "CIFAR-10 test": 10_000,
}


class Match(msgspec.Struct, frozen=True):
    """A known figure that a number may be; accuracies and errors are fractions.

    `variant` says what the network differs in, `note` what is to be known of the figure; `distance` is in units of the
    number's last digit.
    """

    what: What
    value: float
    who: Who
    network: str
    protocol: str
    split: str
    images: int | None
    models: int | None
    crops: int | None
    variant: str
    note: str
    where: str
    confidence: Confidence
    distance: float
    guessed: bool  # the number has no unit, and this one was tried

    @property
    def exact(self) -> bool:
        """Whether the figure rounds to the number."""
        return self.distance <= 0.5


class _Figure(NamedTuple):
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


class _Reading(NamedTuple):
    """What a number may mean: percent for accuracies, ones for counts; `digit` is one unit of its last digit."""

    whats: tuple[What, ...]
    value: Decimal
    digit: Decimal
    guessed: bool = False  # with a unit that is not written


def explain(text: str, network: str | None = None) -> list[Match]:
    """The figures that are `text` to the digits written, then those within one unit of its last digit.

    The network called `network` and its variants come before others, one model before ensembles. Near figures of other
    networks are left out where anything is exact.

    Raises: UsageError for what is no number, and naming the nearest names of networks.
    """
    named = _named(network)
    found = [match for match in _compared(text) if match.distance <= (0.5 if match.guessed else 1)]
    if any(match.exact for match in found):
        found = [match for match in found if match.exact or (named and _related(match, named))]

    def rank(match: Match) -> tuple[bool | int | float, ...]:
        other, ensemble = not _related(match, named), (match.models or 1) > 1
        return (not match.exact, other, match.guessed, ensemble, _ORDER.index(match.who), match.distance)

    return sorted(found, key=rank)


def nearest(text: str, network: str, count: int = 5) -> list[Match]:
    """The figures of a network and its variants that are nearest to a number, at whatever distance."""
    named = _named(network)
    related = [match for match in _compared(text) if not match.guessed and _related(match, named)]
    return sorted(related, key=lambda match: match.distance)[:count]


def answer(text: str, network: str | None, matches: Sequence[Match]) -> str:
    """The matches in plain sentences; of a variant, with what the named network itself has."""
    named = _named(network)
    whose = f" of {named} or its variants" if named else ""
    here = [match for match in matches if _related(match, named)]
    exact = [match for match in here if match.exact]
    elsewhere = sum(match.exact for match in matches) - len(exact)
    if len(exact) == 1:
        said = [f"{text} is {_sentence(exact[0])}."]
    elif exact:
        said = [f"{len(exact)} figures{whose} are {text} to the digits written; the first is {_sentence(exact[0])}."]
    else:
        near = f"; near it is {_sentence(here[0])}" if here else ""
        said = [f"No figure{whose} that is known here is {text} to the digits written{near}."]
    if elsewhere:
        many = f"{elsewhere} figures of other networks are" if elsewhere > 1 else "One figure of another network is"
        said.append(f"{many}{' too' if exact else ''}.")
    if named and here and here[0].network != named:
        said += [
            f"{named} itself: {_written(match.what, match.value)} ({_facts(match)})."
            for match in _itself(named, here[0].what)
        ]
    return " ".join(said)


def rows(matches: Sequence[Match]) -> list[Row]:
    """A row a match, `exact` among its keys."""
    return [{**msgspec.structs.asdict(match), "exact": match.exact} for match in matches]


def own_rows(network: str) -> list[Row]:
    """The errors of a network, then of its variants, under every protocol; timm's many recipes are left out."""
    return [
        {
            "network": figure.network,
            "top1_error": _fraction(figure, "top1_error"),
            "top5_error": _fraction(figure, "top5_error"),
            "protocol": figure.protocol,
            "split": figure.split,
            "images": _IMAGES.get(figure.split),
            "models": figure.models,
            "crops": figure.crops,
            "who": figure.who,
            "where": figure.where,
            "note": figure.note,
            "confidence": figure.confidence,
        }
        for figure in _own(_named(network))
    ]


def sections(text: str, network: str | None, matches: Sequence[Match]) -> list[Section]:
    """The answer, the matches, and the errors of the named network by protocol, for people."""
    named, shown = _named(network), list(matches[:SHOWN])
    points = [f"{name}: {note}" for name in dict.fromkeys(match.network for match in shown) if (note := _variant(name))]
    if len(matches) > SHOWN:
        points.append(f"{len(matches) - SHOWN} more fit; --format json has all, and more digits tell more.")
    parts = [
        Section("", [answer(text, network, matches)], [_shown(match) for match in shown], MATCH_COLUMNS, points=points)
    ]
    if named and not any(match.exact and _related(match, named) for match in matches):
        close = [_shown(match) for match in nearest(text, named) if match not in matches]
        parts.append(Section(f"The nearest of {named} and its variants", (), close, MATCH_COLUMNS))
    if named and _readings(text)[0].whats == _ACCURACIES:
        own: list[Row] = [{**row, **_how(figure)} for row, figure in zip(own_rows(named), _own(named))]
        parts.append(Section("Published errors by protocol", (), own, OWN_COLUMNS))
    return parts


_HOW = (
    Column("protocol", "protocol", right=False, wraps=True),
    Column("images", "images", right=False, wraps=True),
    Column("models", "models"),
    Column("source", "source", right=False, wraps=True),
)
MATCH_COLUMNS = (
    Column("fits", "fits", right=False),
    Column("figure", "figure"),
    Column("of", "of", right=False),
    Column("network", "network", right=False),
    *_HOW,
)
OWN_COLUMNS = (
    Column("network", "network", right=False),
    Column("top1_error", "top-1\nerror\n(%)", percent(3)),
    Column("top5_error", "top-5\nerror\n(%)", percent(3)),
    *_HOW,
)


def _shown(match: Match) -> Row:
    """The cells that people see."""
    return {
        "fits": "exact" if match.exact else "near" if match.distance <= 1 else "",
        "figure": _written(match.what, match.value),
        "of": _WORDS[match.what],
        "network": match.network,
        **_how(match),
    }


def _how(figure: Match | _Figure) -> dict[str, str | int | None]:
    source = "; ".join(part for part in (_source(figure), figure.note) if part)
    images = _images(figure)
    return {"protocol": figure.protocol, "images": images, "models": figure.models, "source": source}


def _source(figure: Match | _Figure) -> str:
    """`torchvision resnet50.IMAGENET1K_V1`, `paper: Table 3`."""
    link = " " if figure.who in ("torchvision", "timm") else ": "
    return f"{figure.who}{link}{figure.where}" if figure.where else figure.who


def _images(figure: Match | _Figure) -> str:
    """`50,000 of val`."""
    n = _IMAGES.get(figure.split)
    return f"{n:,} of {figure.split.partition(' (')[0]}" if n else figure.split


def _sentence(match: Match) -> str:
    """`23.87 %, the Top-1 error of resnet-50-v1.5 (torchvision resnet50.IMAGENET1K_V1; 1-crop ...; 50,000 of val)`."""
    return f"{_written(match.what, match.value)}, the {_WORDS[match.what]} of {match.network} ({_facts(match)})"


def _facts(match: Match) -> str:
    models = f"{match.models} models" if (match.models or 1) > 1 else ""
    facts = [_source(match), match.protocol, models, _images(match), match.note.rstrip(".")]
    return "; ".join(fact for fact in facts if fact)


def _written(what: What, value: float) -> str:
    if what in _ACCURACIES:
        return f"{percent(3)(value).strip()} %"
    scale, unit = (1e6, "M") if what == "params" else (1e9, "G")
    return f"{f'{value / scale:,.3f}'.rstrip('0').rstrip('.')} {unit}"


def _variant(network: str) -> str:
    return papers.facts(network).note if network in papers.known() else ""


def _itself(named: str, what: What) -> list[Match]:
    """The error of the named network that compares best with others' (`papers.best_error`), or our count; if any."""
    best = papers.best_error(named)
    values = _accuracies(_exactly(best.top1), _exactly(best.top5)) if best and what in _ACCURACIES else None
    found = [figure for figure in _figures() if figure.network == named and what in figure.values]
    found = [figure for figure in found if figure.values == values or figure.who == "counted here"]
    return [_match(figure, what) for figure in found[:1]]


def _named(network: str | None) -> str:
    """The name in NETWORKS, or nothing. Raises: UsageError naming the nearest names."""
    return get(network).name if network else ""


@cache
def _root(network: str) -> str:
    """The name that a network shares with its variants: `resnet-50` of `resnet-50-v1.5`, `alexnet` of `bn-alexnet`."""
    bare = network.removeprefix("bn-")
    return min((name for name in NETWORKS if f"{bare}-".startswith(f"{name}-")), key=len, default=network)


def _related(match: Match, named: str) -> bool:
    """Whether a figure is of the named network or a variant; without a name every one is."""
    return not named or _root(match.network) == _root(named)


def _compared(text: str) -> Iterator[Match]:
    """Every figure of a kind that the number may be."""
    for reading in _readings(text):
        for figure in _figures():
            for what in reading.whats:
                if what in figure.values:
                    distance = abs(figure.values[what] - reading.value) / reading.digit
                    yield _match(figure, what, float(distance), reading.guessed)


def _match(figure: _Figure, what: What, distance: float = 0.0, guessed: bool = False) -> Match:
    value = figure.values[what]
    return Match(
        what,
        float(value / 100 if what in _ACCURACIES else value),
        figure.who,
        figure.network,
        figure.protocol,
        figure.split,
        _IMAGES.get(figure.split),
        figure.models,
        figure.crops,
        _variant(figure.network),
        figure.note,
        figure.where,
        figure.confidence,
        distance,
        guessed,
    )


def _readings(text: str) -> list[_Reading]:
    """What a number may mean. Raises: UsageError."""
    found = _NUMBER.fullmatch(text.strip().lower())
    number = Decimal(found["number"].replace(",", "")) if found else Decimal(0)
    if found is None or not number or (found["unit"] == "%" and (found["of"] or number > 100)):
        raise UsageError(
            f"{text!r} is no figure of a network: write an accuracy or error (76.1, 24.7%, 0.761), parameters (25.6M, "
            "25557032) or operations (4.1G)"
        )
    exponent = number.as_tuple().exponent
    assert isinstance(exponent, int)
    digit, unit, counts = Decimal(1).scaleb(exponent), found["unit"], _COUNTS[found["of"]]
    if unit == "%":
        return [_Reading(_ACCURACIES, number, digit)]
    if unit or found["of"] or number > 100:
        scale = _UNITS[unit]
        readings = [_Reading(counts, number * scale, digit * scale)]
        if not unit and number < 1000:  # 138 and "4.1 flops" leave out what everybody says: M or G
            readings += [_Reading(counts, number * scale, digit * scale, True) for scale in (10**6, 10**9)]
        return readings
    percentage = _Reading(_ACCURACIES, number, digit)
    if number < 1:
        percentage = _Reading(_ACCURACIES, number * 100, digit * 100)
    return [percentage, *(_Reading(counts, number * scale, digit * scale, True) for scale in (10**6, 10**9))]


@cache
def _figures() -> tuple[_Figure, ...]:
    shipped = list(_shipped())
    held = {(figure.network, figure.values["top1_error"]) for figure in shipped}
    # why: papers.toml has the libraries' figures too, with less about how they were measured
    printed = [figure for figure in _printed() if (figure.network, figure.values.get("top1_error")) not in held]
    return (*printed, *shipped, *_won(), *_claimed(), *_counted())


def _printed() -> Iterator[_Figure]:
    for network in papers.known():
        for error in papers.facts(network).errors:
            yield _Figure(
                _accuracies(_exactly(error.top1), _exactly(error.top5)),
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


def _shipped() -> Iterator[_Figure]:
    libraries_of: tuple[Literal["torchvision", "timm"], ...] = ("torchvision", "timm")
    for library in libraries_of:
        for entry in libraries.known(library):
            yield _Figure(
                _accuracies(100 - _exactly(entry.top1), 100 - _exactly(entry.top5)),
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


def _won() -> Iterator[_Figure]:
    """The winners of ILSVRC, whose entries are no single network, and the person whom they are held against."""
    for winner in papers.winners():
        split = "test" if winner.year >= 2012 else f"ILSVRC-{winner.year} test"
        errors = _accuracies(None, 100 * _exactly(winner.official))
        where = f"winner of ILSVRC {winner.year}"
        yield _Figure(errors, "third party", winner.entry, where, winner.conf, winner.note, winner.method, split)
    person = _accuracies(None, _exactly(papers.human_top5()))
    where = "Russakovsky et al. 2015, Section 6.4"
    yield _Figure(person, "third party", "a trained person", where, "official-quoted", "", "", "test (1,500)")


def _claimed() -> Iterator[_Figure]:
    """What papers print of a whole network's size."""
    for network in papers.known():
        for claim in (*CLAIMS.get(network, ()), *papers.facts(network).claims):
            if not claim.row and claim.of in ("params", "macs"):
                value = Decimal(claim.printed.lstrip("<").replace(",", "")) * claim.unit
                bound = f"printed as {claim.printed}" if claim.printed.startswith("<") else ""
                note = ERRATA.get((network, "", claim.of), bound)
                values: dict[What, Decimal] = {"params": value} if claim.of == "params" else {"macs": value}
                yield _Figure(values, "paper", network, claim.where, "paper", note)


def _counted() -> Iterator[_Figure]:
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
            yield _Figure({what: Decimal(value)}, "counted here", name, "", "counted", note, how)


def _accuracies(top1_error: Decimal | None, top5_error: Decimal | None) -> dict[What, Decimal]:
    values: dict[What, Decimal] = {}
    if top1_error is not None:
        values["top1_error"], values["top1_accuracy"] = top1_error, 100 - top1_error
    if top5_error is not None:
        values["top5_error"], values["top5_accuracy"] = top5_error, 100 - top5_error
    return values


@overload
def _exactly(printed: float) -> Decimal: ...
@overload
def _exactly(printed: None) -> None: ...
@overload
def _exactly(printed: float | None) -> Decimal | None: ...
def _exactly(printed: float | None) -> Decimal | None:
    """The number with the digits that are printed: 76.13, not the float beside it."""
    return None if printed is None else Decimal(str(printed))


def _fraction(figure: _Figure, what: What) -> float | None:
    return float(figure.values[what] / 100) if what in figure.values else None


def _own(named: str) -> list[_Figure]:
    """The measurements behind `own_rows`: the network itself first, one model first, fewer crops first."""
    related = [
        figure
        for figure in _figures()
        if figure.split and figure.who != "timm" and _root(figure.network) == _root(named)
    ]

    def rank(figure: _Figure) -> tuple[bool | int | str, ...]:
        return (figure.network != named, figure.network, figure.models or 1, figure.crops or 1000)  # dense: the last

    return sorted(related, key=rank)
