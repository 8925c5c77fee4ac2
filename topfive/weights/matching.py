"""Which network of ours a file of tensors belongs to. A file belongs to a network where every parameter and running
statistic of ours is there once, with its shape, and nothing else is: nothing is half loaded.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, partial
from typing import NamedTuple, Protocol, Self, TypeVar

from msgspec.structs import replace

from topfive.errors import RefusedError, UsageError, did_you_mean
from topfive.networks import ALIASES
from topfive.networks.layers import (
    BatchNorm,
    Chain,
    Conv,
    Layer,
    Linear,
    Network,
    children,
    leaves,
    with_classes,
)
from topfive.networks.shapes import parameters, shape_after
from topfive.weights.names import INSTEAD, ORIGINS, OURS, Origin, Rules, Shape, network_called

COUNTER = ".num_batches_tracked"  # of batch normalisation: nothing that is computed depends on it
SHOWN = 5  # names of what does not fit
NEAR = 0.3  # of the names of a network and a file, those that both have: below it they have nothing to do with another


class Reshaped(Protocol):
    """All that a tensor has to be able to do here."""

    def reshape(self, shape: Shape, /) -> Self: ...


Tensor = TypeVar("Tensor", bound=Reshaped)


class Match(NamedTuple):
    """A network that a file fits exactly, and how."""

    network: Network  # with the file's number of classes, and without auxiliary classifiers that the file lacks
    origin: Origin
    names: dict[str, str]  # theirs -> ours
    notes: tuple[str, ...] = ()

    def renamed(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The tensors under our names and in our shapes; counters of batches are missing where the file has none."""
        shapes = {weight.name: weight.shape for weight in weights_of(self.network)}
        return {ours: tensors[theirs].reshape(shapes.get(ours, ())) for theirs, ours in self.names.items()}


class Weight(NamedTuple):
    """A parameter or a running statistic of our module; `window` is its shape where it is stored as a convolution."""

    name: str
    shape: Shape
    window: Shape | None = None


def candidates(shapes: Mapping[str, Shape]) -> list[Match]:
    """Every network that tensors of these names and shapes fit exactly, torchvision's first."""
    begun = (origin for origin in ORIGINS if all(name in shapes for name in _landmarks(origin)))
    return [match for match, _ in (_fit(shapes, origin) for origin in begun) if match]


def recognise(
    shapes: Mapping[str, Shape],
    where: str,
    network: str | None = None,
    library: str | None = None,
    model: str | None = None,
) -> Match:
    """The one network that a file's tensors belong to; `where` names the file in sentences.

    `network` is what it is called here, `library` whose it is and `model` what it is called there, as far as known.
    Raises: RefusedError saying what does not fit, UsageError where there is a choice or no such name.
    """
    wanted = _known(network) if network else None
    if library and library not in (libraries := list(dict.fromkeys(origin.library for origin in ORIGINS))):
        raise UsageError(f"no library is called {library!r}; there are {', '.join(libraries)}")
    found = [match for match in candidates(shapes) if library in (None, match.origin.library)]
    if not found:
        raise RefusedError(f"{where} {_nearest(shapes, wanted, library)}")
    if model and all(match.origin.model != model for match in found):
        raise RefusedError(f"{where} is called {model}, but its tensors are those of {found[0].origin}")
    found = [match for match in found if model in (None, match.origin.model)]
    names = list(dict.fromkeys(match.origin.network for match in found))
    if wanted and wanted not in names:
        because = f": {INSTEAD[wanted, names[0]]}" if (wanted, names[0]) in INSTEAD else ""
        raise RefusedError(f"{where} is {found[0].origin}, here {names[0]}, and not {wanted}{because}")
    if not wanted and len(names) > 1:
        raise UsageError(f"{where} may be {' or '.join(names)}: names and shapes are the same, so name the network")
    chosen, *others = [match for match in found if wanted in (None, match.origin.network)]
    also = dict.fromkeys(str(match.origin) for match in others if match.origin.library != chosen.origin.library)
    if also:
        note = f"taken for {chosen.origin}; those of {' and '.join(also)} look the same and may want other images"
        return chosen._replace(notes=(*chosen.notes, note))
    return chosen


def weights_of(network: Network) -> Iterator[Weight]:
    """Every parameter and running statistic of the module of `network`, counters of batches left out."""
    yield from _weights(network.body, network.input, "")
    heads, shape = {head.after: head for head in network.heads}, network.input
    for row, layer in network.body.layers if heads else ():
        shape = shape_after(layer, shape)
        if row in heads:
            yield from _weights(heads[row].body, shape, f"{heads[row].name}.")


def theirs(ours: str, rules: Rules) -> str:
    """What a tensor of ours is called by the library that the rules are of."""
    for pattern, name in rules:
        if found := _pattern(pattern).match(ours):
            return _FIELD.sub(partial(_field, found), name) + ours[found.end() :]
    return ours


_FIELD = re.compile(r"\{(\w+)([+-]\d+)?\}")
_FIELDS = {"row": r"\d[a-z]", "kind": "conv|bn"}  # the others are numbers


@cache
def _pattern(pattern: str) -> re.Pattern[str]:
    parts, seen = [], set[str]()
    for literal, field in re.findall(r"([^{]*)(?:\{(\w+)\})?", pattern):
        parts += [re.escape(literal)]
        if field:
            parts += [f"(?P={field})" if field in seen else f"(?P<{field}>{_FIELDS.get(field, '[0-9]+')})"]
            seen.add(field)
    return re.compile("".join(parts))


def _field(found: re.Match[str], field: re.Match[str]) -> str:
    value, shift = found[field[1]], field[2]
    return str(int(value) + int(shift)) if shift else value


def _weights(layer: Layer, shape: tuple[int, int, int], path: str) -> Iterator[Weight]:
    """`path` ends in a dot, or is empty."""
    for name, sizes in parameters(layer, shape):
        behind = shape if isinstance(layer, Linear) else (*sizes[1:], 1, 1)  # what a unit looks at, as a map
        yield Weight(f"{path}{name}", sizes, (sizes[0], *behind) if len(sizes) == 2 else None)
    if isinstance(layer, BatchNorm):
        yield from (Weight(f"{path}{name}", (shape[0],)) for name in ("running_mean", "running_var"))
    for name, child in children(layer):
        yield from _weights(child, shape, f"{path}{name}.")
        shape = shape_after(child, shape) if isinstance(layer, Chain) else shape


def _rules(origin: Origin, network: Network) -> Rules:
    return origin.rules if isinstance(origin.rules, tuple) else origin.rules(network)


def _landmarks(origin: Origin) -> Iterator[str]:
    """Their names of the weights of convolutions and linear layers: enough to pass over most networks at once."""
    network = network_called(origin.network)
    rules = _rules(origin, network)
    for path, layer in leaves(network.body):
        if isinstance(layer, Conv | Linear):
            yield theirs(f"{path}.weight", rules)


def _fit(shapes: Mapping[str, Shape], origin: Origin) -> tuple[Match | None, list[str]]:
    """The match, or what is wrong, each with the file's name of the tensor."""
    network = network_called(origin.network)
    rules = _rules(origin, network)
    last = [path for path, layer in leaves(network.body) if isinstance(layer, Conv | Linear)][-1]
    classes = (shapes.get(theirs(f"{last}.weight", rules)) or (0,))[0]
    if classes >= 2 and classes != network.classes:
        network = with_classes(network, classes)
    expected = {theirs(weight.name, rules): weight for weight in weights_of(network)}
    for head in network.heads:
        inside = {name for name, weight in expected.items() if weight.name.startswith(f"{head.name}.")}
        if not inside & shapes.keys():
            network = replace(network, heads=tuple(other for other in network.heads if other != head))
            expected = {name: weight for name, weight in expected.items() if name not in inside}
    left_out = [name for name in shapes if name.startswith(origin.left_out)] if origin.left_out else []
    names, wrong = {}, [f"{name} is missing" for name in expected if name not in shapes]
    if classes and origin.classes not in (None, classes):
        wrong += [f"{classes} classes, not {origin.classes}"]
    for name, shape in shapes.items():
        owner = expected.get(name.removesuffix(COUNTER) + ".running_var") if name.endswith(COUNTER) else None
        weight = expected.get(name) or (owner and Weight(owner.name.removesuffix(".running_var") + COUNTER, ()))
        if weight is None:
            wrong += [] if name in left_out else [f"{name} is not known"]
        elif shape not in (weight.shape, weight.window):
            wrong += [f"{name} is {_x(shape)}, not {_x(weight.shape)}"]
        else:
            names[name] = weight.name
    if wrong:
        return None, wrong
    notes = [origin.note] if origin.note else []
    notes += [f"{len(left_out)} tensors of auxiliary classifiers are left out"] if left_out else []
    return Match(network, origin, names, tuple(notes)), []


def _nearest(shapes: Mapping[str, Shape], wanted: str | None, library: str | None) -> str:
    """What to say where nothing fits: what is wrong with the network that has the most names in common."""
    near = {wanted, *(found for asked, found in INSTEAD if asked == wanted)}
    weights = sum(len(shape) > 1 for shape in shapes.values())
    scores: dict[float, list[Origin]] = {}
    anywhere: set[str] = set()
    for origin in ORIGINS:
        if library in (None, origin.library) and (wanted is None or origin.network in near):
            landmarks = list(_landmarks(origin))
            anywhere.update(landmarks)
            common = sum(name in shapes for name in landmarks)
            scores.setdefault(common / max(1, len(landmarks) + weights - common), []).append(origin)
    if not scores or max(scores) < NEAR:
        strange = [name for name, shape in shapes.items() if len(shape) > 1 and name not in anywhere] or list(shapes)
        return f"fits no network here, none of which has the names {_some(strange)}{_wrapped(list(shapes))}"
    tried = [(origin, _fit(shapes, origin)[1]) for origin in scores[max(scores)]]
    origin, wrong = min(tried, key=lambda pair: len(pair[1]))
    as_ours = "" if origin.library == OURS else f", here {origin.network}"
    unknown = all(what.endswith(" is not known") for what in wrong)
    also = ": save the state_dict of the network alone, without that" if unknown else ""
    return f"fits no network here; the nearest is {origin}{as_ours}: {_some(wrong)}{also}"


def _wrapped(names: Sequence[str]) -> str:
    """What to do where most names begin with what is perhaps not the network's own."""
    first, count = Counter(name.split(".")[0] for name in names).most_common(1)[0] if names else ("", 0)
    others = [name for name in names if not name.startswith(f"{first}.")]
    if 2 * count < len(names) or not first:
        return ""
    beside = f" and {others[0]} does not" if others else ""
    return f": {count} begin with {first}.{beside}, so save the state_dict of the network itself, under its own names"


def _some(words: Sequence[str]) -> str:
    return "; ".join(words[:SHOWN]) + (f"; and {len(words) - SHOWN} more" if len(words) > SHOWN else "")


def _x(shape: Shape) -> str:
    return "x".join(map(str, shape)) or "one number"


def _known(name: str) -> str:
    known = {origin.network for origin in ORIGINS}
    wanted = ALIASES.get(name.lower(), name.lower())
    if wanted not in known:
        raise UsageError(f"no network is called {name!r}{did_you_mean(wanted, [*known, *ALIASES])}")
    return wanted
