"""Which known figures a number may be: the papers' and the libraries' accuracies, and what we count ourselves.

A number is read to the digits that it is written with: a figure that rounds to it is exact, one within one unit of its
last digit is near.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache

import msgspec

from topfive.networks import NETWORKS, get, papers
from topfive.report.known_figures import (
    IMAGES_OF,
    Confidence,
    KnownFigure,
    What,
    Who,
    accuracies,
    exactly,
    known_figures,
)
from topfive.report.readings import ACCURACIES, readings
from topfive.report.tables import Column, Row, Section, percent

SHOWN = 20  # matches in a table for people; machines get all
_WORDS: dict[What, str] = {
    "top1_error": "Top-1 error",
    "top1_accuracy": "Top-1 accuracy",
    "top5_error": "Top-5 error",
    "top5_accuracy": "Top-5 accuracy",
    "params": "parameters",
    "macs": "multiply-adds",
    "ops": "operations",
}
_ORDER: tuple[Who, ...] = ("paper", "repository", "torchvision", "timm", "counted here", "third party")


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
    keys = ("crops", "who", "where", "note", "confidence")
    return [
        {
            "network": figure.network,
            "top1_error": _fraction(figure, "top1_error"),
            "top5_error": _fraction(figure, "top5_error"),
            "protocol": figure.protocol,
            "split": figure.split,
            "images": IMAGES_OF.get(figure.split),
            "models": figure.models,
            **{key: getattr(figure, key) for key in keys},
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
    if named and readings(text)[0].whats == ACCURACIES:
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


def _how(figure: Match | KnownFigure) -> dict[str, str | int | None]:
    source = "; ".join(part for part in (_source(figure), figure.note) if part)
    images = _images(figure)
    return {"protocol": figure.protocol, "images": images, "models": figure.models, "source": source}


def _source(figure: Match | KnownFigure) -> str:
    """`torchvision resnet50.IMAGENET1K_V1`, `paper: Table 3`."""
    link = " " if figure.who in ("torchvision", "timm") else ": "
    return f"{figure.who}{link}{figure.where}" if figure.where else figure.who


def _images(figure: Match | KnownFigure) -> str:
    """`50,000 of val`."""
    n = IMAGES_OF.get(figure.split)
    return f"{n:,} of {figure.split.partition(' (')[0]}" if n else figure.split


def _sentence(match: Match) -> str:
    """`23.87 %, the Top-1 error of resnet-50-v1.5 (torchvision resnet50.IMAGENET1K_V1; 1-crop ...; 50,000 of val)`."""
    return f"{_written(match.what, match.value)}, the {_WORDS[match.what]} of {match.network} ({_facts(match)})"


def _facts(match: Match) -> str:
    models = f"{match.models} models" if (match.models or 1) > 1 else ""
    facts = [_source(match), match.protocol, models, _images(match), match.note.rstrip(".")]
    return "; ".join(fact for fact in facts if fact)


def _written(what: What, value: float) -> str:
    if what in ACCURACIES:
        return f"{percent(3)(value).strip()} %"
    scale, unit = (1e6, "M") if what == "params" else (1e9, "G")
    return f"{f'{value / scale:,.3f}'.rstrip('0').rstrip('.')} {unit}"


def _variant(network: str) -> str:
    return papers.facts(network).note if network in papers.known() else ""


def _itself(named: str, what: What) -> list[Match]:
    """The error of the named network that compares best with others' (`papers.best_error`), or our count; if any."""
    best = papers.best_error(named)
    values = accuracies(exactly(best.top1), exactly(best.top5)) if best and what in ACCURACIES else None
    found = [figure for figure in known_figures() if figure.network == named and what in figure.values]
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
    for reading in readings(text):
        for figure in known_figures():
            for what in reading.whats:
                if what in figure.values:
                    distance = abs(figure.values[what] - reading.value) / reading.digit
                    yield _match(figure, what, float(distance), reading.guessed)


def _match(figure: KnownFigure, what: What, distance: float = 0.0, guessed: bool = False) -> Match:
    value = figure.values[what]
    return Match(
        what,
        float(value / 100 if what in ACCURACIES else value),
        figure.who,
        figure.network,
        figure.protocol,
        figure.split,
        IMAGES_OF.get(figure.split),
        figure.models,
        figure.crops,
        _variant(figure.network),
        figure.note,
        figure.where,
        figure.confidence,
        distance,
        guessed,
    )


def _fraction(figure: KnownFigure, what: What) -> float | None:
    return float(figure.values[what] / 100) if what in figure.values else None


def _own(named: str) -> list[KnownFigure]:
    """The measurements behind `own_rows`: the network itself first, one model first, fewer crops first."""
    related = [
        figure
        for figure in known_figures()
        if figure.split and figure.who != "timm" and _root(figure.network) == _root(named)
    ]

    def rank(figure: KnownFigure) -> tuple[bool | int | str, ...]:
        return (figure.network != named, figure.network, figure.models or 1, figure.crops or 1000)  # dense: the last

    return sorted(related, key=rank)
