"""A recipe's fields set by hand: `--set optimizer.weight_decay=1e-4`."""

import re
from collections.abc import Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec

from topfive.errors import UsageError, did_you_mean
from topfive.recipes.augmentations import AUGMENTATIONS, Augmentation, RandomResizedCrop, ScaleJitterCrop
from topfive.recipes.recipe import Recipe, Steps

_KINDS = "optimizer", "schedule"  # as keys of `sources` these tell of the kind alone; its fields have keys of their own
FOLLOWS = "sources", "differs"
_WORDS = {NoneType: "none", bool: "true or false", int: "a whole number", float: "a number", str: "a word"}
_LIMITS = {"ge": "of at least", "gt": "above", "le": "at most", "lt": "below"}


def changed(recipe: Recipe, assignments: Sequence[str]) -> Recipe:
    """The recipe with fields set: `lr=0.02`, `optimizer.weight_decay=1e-4`, `schedule=OneCycle`, `clip=none`.

    A value is JSON or a bare word; the name of a kind stands for that kind with its defaults, to be filled in by what
    comes after it. A field that is set is no longer the paper's: it leaves `sources`.

    Raises: UsageError naming the field, the value and what is wanted.
    """
    values = msgspec.to_builtins(recipe)
    paths = [_put(values, assignment) for assignment in assignments]
    try:
        new = msgspec.convert(values, Recipe)
    except msgspec.ValidationError as error:
        missing = re.search(r"missing required field `(.*)` - at `\$\.(.*)`", str(error))
        why = f"add --set {missing[2]}.{missing[1]}=..." if missing else f"the recipe cannot be: {error}"
        raise UsageError(f"--set {' '.join(assignments)}: {why}") from error
    if why := _impossible(new):
        raise UsageError(f"--set {' '.join(assignments)}: {why}")
    sources = {key: text for key, text in recipe.sources.items() if not any(touches(path, key) for path in paths)}
    return msgspec.structs.replace(new, sources=sources)


# why Any: the plain form of a recipe is JSON, whose types `_wanted` asks the structs for
def _put(values: dict[str, Any], assignment: str) -> str:
    """Set a field of a recipe's plain form; the path of it."""
    path, equals, text = (part.strip() for part in assignment.partition("="))
    if not equals:
        raise UsageError(f"--set {assignment}: a field and its value are wanted, such as lr=0.02")
    *outer, last = path.split(".")
    kind: type[msgspec.Struct] = Recipe
    for name in outer:
        wanted = _field(kind, name, assignment)
        if values[name] is None and len(kinds := _kinds(wanted)) == 1:
            values[name] = _plain(kinds[0])
        values = values[name] if isinstance(values[name], dict) else {}
        found = [one for one in _kinds(wanted) if values and values.get("type") == one.__struct_config__.tag]
        if not found:
            raise UsageError(f"--set {assignment}: {name} has no fields, it is {_wanted(wanted)}")
        kind = found[0]
    wanted, value = _field(kind, last, assignment), _parsed(text)
    named = {one.__name__.lower(): one for one in _kinds(wanted)}
    if isinstance(value, str) and value.lower() in named:
        value = _plain(named[value.lower()])  # why: not checked yet, what it lacks may come after it
    else:
        if path == "augmentation" and text in AUGMENTATIONS:
            value = AUGMENTATIONS[text]
        try:
            value = msgspec.to_builtins(msgspec.convert(value, wanted))
        except msgspec.ValidationError as error:
            hint = f" ({error})" if isinstance(value, dict) else ""
            hint = hint or did_you_mean(text, [*named, *(AUGMENTATIONS if path == "augmentation" else ())])
            raise UsageError(f"--set {assignment} cannot be: {path} is {_wanted(wanted)}{hint}") from error
    if kind is Augmentation and last != "source":
        values["source"] += f"; {last} set by hand"
    values[last] = value
    return path


def touches(path: str, key: str) -> bool:
    """Whether setting `path` makes what is said of `key` untrue."""
    return f"{key}.".startswith(f"{path}.") or (path.startswith(f"{key}.") and key not in _KINDS)


def _parsed(text: str) -> Any:
    if text.lower() == "none":
        return None
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:  # `.5` and `5.` are numbers too
        return float(text) if re.fullmatch(r"[-+]?(\d{1,9}\.?|\.\d{1,20})", text) else text


def _field(kind: type[msgspec.Struct], name: str, assignment: str) -> Any:
    """The type of a field."""
    types = {field.name: field.type for field in msgspec.structs.fields(kind) if field.name not in FOLLOWS}
    if name not in types:
        owner = "a recipe" if kind is Recipe else kind.__name__
        raise UsageError(f"--set {assignment}: {owner} has no field {name!r}{did_you_mean(name, types)}")
    return types[name]


def _kinds(wanted: Any) -> list[type[msgspec.Struct]]:
    """The structs among what a type allows."""
    options = get_args(wanted) if get_origin(wanted) in (Union, UnionType) else (wanted,)
    return [option for option in options if isinstance(option, type) and issubclass(option, msgspec.Struct)]


# why Any: JSON, as in `_put`
def _plain(kind: type[msgspec.Struct]) -> dict[str, Any]:
    """The plain form of a kind with its defaults; fields without one are missing."""
    filled = {f.name: msgspec.to_builtins(f.default) for f in msgspec.structs.fields(kind) if not f.required}
    return {"type": kind.__struct_config__.tag, **filled} if kind.__struct_config__.tag else filled


def _wanted(kind: Any) -> str:
    """What a field may be, in words."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Annotated:
        limits = ((words, getattr(inner[1], key)) for key, words in _LIMITS.items())
        return f"{_wanted(inner[0])} {' and '.join(f'{words} {x:g}' for words, x in limits if x is not None)}"
    if origin in (Union, UnionType):
        return " or ".join(map(_wanted, inner))
    if origin is tuple:
        return f"a list, each {_wanted(inner[0])}" if inner[-1] is ... else f"[{', '.join(map(_wanted, inner))}]"
    if kind is Augmentation:
        return f"one of {', '.join(AUGMENTATIONS)}"
    return _WORDS[kind] if kind in _WORDS else str(kind.__name__)


def _impossible(recipe: Recipe) -> str:
    """What each field may be, but not all of them together."""
    schedule, crop = recipe.schedule, recipe.augmentation.crop
    if isinstance(schedule, Steps) and list(schedule.at) != sorted(set(schedule.at)):
        return f"the shares of schedule.at rise, unlike {list(schedule.at)}"
    until, sides = [pair[0] for pair in recipe.progressive_resize], [pair[1] for pair in recipe.progressive_resize]
    if until != sorted(set(until)) or sides != sorted(sides):
        return f"the fractions of progressive_resize rise, unlike {[list(pair) for pair in recipe.progressive_resize]}"
    if recipe.accumulation_steps > recipe.batch:
        return f"a batch of {recipe.batch} has no {recipe.accumulation_steps} parts"
    if isinstance(crop, ScaleJitterCrop) and not crop.of <= crop.low <= crop.high:
        return f"augmentation.crop: {crop.of} (of), {crop.low} (low) and {crop.high} (high) do not rise"
    if isinstance(crop, RandomResizedCrop) and crop.least > crop.most:
        return f"augmentation.crop: {crop.least:g} (least) is above {crop.most:g} (most)"
    return ""
