"""How networks are trained: frozen values, each field of a paper's recipe with the section that it is from.

The rule is kept, not only the number: a learning rate is stated for a batch and follows the batch that is used.
"""

import itertools
import math
import re
from collections.abc import Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, Union, assert_never, get_args, get_origin

import msgspec

from topfive.errors import UsageError, did_you_mean
from topfive.networks.layers import BatchNorm, Conv, Network, leaves
from topfive.recipes.augmentations import (
    AUGMENTATIONS,
    CIFAR,
    Amount,
    Augmentation,
    Count,
    Fraction,
    PaddedCrop,
    Part,
    Positive,
    RandomResizedCrop,
    ScaleJitterCrop,
    Share,
)

NORMALISED, PLAIN = 0.2, 0.08  # peak learning rates of the quick recipe for 256 images
CIFAR_SIDE, CIFAR_FILTERS = 32, 64  # He et al. 2015, section 4.2


class Sgd(msgspec.Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """Stochastic gradient descent with momentum.

    `lr_in_velocity`: the learning rate is inside of the velocity, v <- momentum v - lr (g + decay w), as in AlexNet's
    §5; else outside, w <- w - lr v. The two differ where the rate changes. `decay_all`: biases and normalization decay
    too.
    """

    momentum: Fraction = 0.9
    weight_decay: Amount = 5e-4
    nesterov: bool = False
    lr_in_velocity: bool = False
    decay_all: bool = True


class RmsProp(msgspec.Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """w <- w - v, v <- momentum v + lr g / sqrt(s + eps), s <- decay s + (1 - decay) g^2: Inception-v3's, §8."""

    decay: Fraction = 0.9
    eps: Positive = 1.0
    momentum: Fraction = 0.9
    weight_decay: Amount = 4e-5


class AdamW(msgspec.Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """Adam with weight decay beside of it, w <- w - lr (m / (sqrt(s) + eps) + decay w); only kernels decay.

    m and s are averages of g and g^2, divided by what they still lack. Its rate follows the root of the batch.
    Source: Loshchilov and Hutter 2019, Algorithm 2; Malladi et al. 2022 for the root.
    """

    beta1: Fraction = 0.9
    beta2: Fraction = 0.99
    eps: Positive = 1e-6
    weight_decay: Amount = 0.05


class Muon(msgspec.Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """Kernels of convolutions go along the orthogonal factor of their velocity; all the rest learns by `AdamW`.

    A kernel is a matrix of a row a filter, and w <- w - lr (0.2 sqrt(longer side) U V' + decay w) where U S V' is
    about momentum v + g, v <- momentum v + g: a change as large as AdamW's, so that one rate does for both.
    The rate follows the root of the batch. Source: Jordan et al. 2024, kellerjordan.github.io/posts/muon; Liu et al.
    2025, section 2.2, for the factor; Malladi et al. 2022 for the root.
    """

    momentum: Fraction = 0.9
    weight_decay: Amount = 0.0


class OneCycle(msgspec.Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """A linear rise from a 25th over the first share of the steps, then half a cosine down to zero."""

    warmup: Share = 0.25


class Steps(msgspec.Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """Multiplied by `factor` after each share of the steps in `at`."""

    at: tuple[Share, ...]
    factor: Part = 0.1


class Plateau(msgspec.Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """Multiplied by `factor` where the validation error did not improve in `patience` epochs, at most `times` times."""

    factor: Part = 0.1
    patience: Count = 5
    times: Count = 3


class Decay(msgspec.Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """Multiplied by `factor` every `epochs` epochs."""

    factor: Part
    epochs: Count


Optimizer = Sgd | RmsProp | AdamW | Muon
Schedule = OneCycle | Steps | Plateau | Decay


class Warmup(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Another factor on the learning rate until the training error is below `error`: ResNet-110's, §4.2."""

    factor: Part = 0.1
    error: Share = 0.8


class Recipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that a training depends on besides the network, the images and the machine."""

    name: str = "quick"
    epochs: Count = 20
    batch: Annotated[int, msgspec.Meta(ge=2)] = 64  # images of a step, over all processes and parts
    accumulation_steps: Count = (
        1  # that a batch is computed in, one after the other, where memory does not hold it at once
    )
    lr: Positive = 0.05  # the highest, for a batch of `lr_batch`
    lr_batch: Count = 64
    optimizer: Optimizer = Sgd(nesterov=True, decay_all=False)
    schedule: Schedule = OneCycle()
    warmup: Warmup | None = None
    clip: Positive | None = None  # the largest norm of the gradient; larger ones are scaled down to it
    augmentation: Augmentation = CIFAR
    progressive_resize: tuple[
        tuple[Part, Part], ...
    ] = ()  # (until this share of the epochs, this share of the side), rising
    ema_decay: Fraction = 0.0  # the share that a step keeps of the average, which is what is evaluated; 0 is none
    evaluate_every: Count = 1  # epochs; the last one is always evaluated
    whitened: bool = False  # the first kernels are principal components of the images, not learnt; never with --start
    init_layers: tuple[str, ...] = ()  # the layers that begin with the weights of --start, the others fresh; () is all
    seed: Annotated[int, msgspec.Meta(ge=0)] = 0
    sources: dict[str, str] = {}  # field (`optimizer.momentum`) -> where it is from; what is not here is ours
    differs: tuple[str, ...] = ()  # what the paper did besides, and this does not

    @property
    def peak(self) -> float:
        """The highest learning rate, for the batch that is used."""
        share = self.batch / self.lr_batch
        return self.lr * (share**0.5 if isinstance(self.optimizer, (AdamW, Muon)) else share)

    def share(self, epoch: int) -> float:
        """The share of the full side that the training images of `epoch`, counted from 1, have."""
        return next((part for until, part in self.progressive_resize if epoch <= until * self.epochs + 1e-9), 1.0)

    def side(self, epoch: int, size: int) -> int:
        """The side of the training images in `epoch`, counted from 1, where `size` is the full one."""
        return side_of(self.share(epoch), size)


def side_of(share: float, size: int) -> int:
    """The side in pixels that is a share of the full one."""
    if share == 1.0:
        return size
    # why: whole multiples of 32, so that maps that are halved five times have no odd border
    return max(1, round(share * size / 32) * 32 if share * size >= 32 else round(share * size))


def learning_rate(recipe: Recipe, done: float, errors: Sequence[float] = (), training_error: float = 1.0) -> float:
    """The rate when the share `done` in 0..1 of the steps is behind.

    `errors` are the validation Top-1 errors of the epochs that were evaluated; `training_error` is the last known one.
    """
    match recipe.schedule:
        case OneCycle(warmup=rise):
            factor = (
                0.04 + 0.96 * done / rise
                if done < rise
                else 0.5 * (1 + math.cos(math.pi * (done - rise) / (1 - rise)))
                if rise < 1
                else 1.0
            )
        case Steps(at=at, factor=each):
            factor = each ** sum(done >= share for share in at)
        case Decay(factor=each, epochs=every):
            factor = each ** math.floor(done * recipe.epochs / every + 1e-9)
        case Plateau(factor=each, patience=patience, times=times):
            factor = each ** min(times, plateaus(errors, patience))
        case _:
            assert_never(recipe.schedule)
    if recipe.warmup and training_error > recipe.warmup.error:
        factor *= recipe.warmup.factor
    return recipe.peak * factor


def plateaus(errors: Sequence[float], patience: int) -> int:
    """How often `patience` errors in a row did not improve on the best one before them."""
    best, since, found = math.inf, 0, 0
    for error in errors:
        best, since = (error, 0) if error < best else (best, since + 1)
        if since == patience:
            found, since = found + 1, 0
    return found


def quick(network: Network | None, epochs: int, batch: int = 64, seed: int = 0) -> Recipe:
    """The one recipe of a comparison (ours): the same for all, but for the learning rate.

    A network with batch normalisation, or one that we know nothing of, takes ResNet's 0.1 per 256 images, doubled
    since the cycle is short; one without takes AlexNet's 0.01 per 128, doubled twice for the same reason.
    """
    rate = NORMALISED if network is None or normalised(network) else PLAIN
    return Recipe(epochs=epochs, batch=batch, lr=rate, lr_batch=256, clip=5.0, seed=seed)


def fast(network: Network | None) -> Recipe:
    """Ours: the shortest time to a good accuracy on a user's images, from scratch (docs/results/training.md).

    Small images first, which cost a quarter; crops of a third of the area or more; one cycle; a running average;
    first kernels that are principal components; AdamW, which is ahead of SGD while epochs are few.
    A network like He et al.'s for CIFAR sees windows of the images first, then whole ones with a mirrored border, and
    learns by Muon, which is ahead at equal time where kernels are as small as these (docs/decisions/0012, 0013).
    The rates of networks without batch normalisation are a guess.
    """
    factor = 1.0 if network is None or normalised(network) else 0.25
    if network is not None and _like_cifar_resnets(network):
        return Recipe(
            name="fast",
            epochs=21,
            batch=128,
            lr=0.025 * factor,
            lr_batch=128,
            optimizer=Muon(weight_decay=0.05),
            clip=5.0,
            augmentation=Augmentation(PaddedCrop(4, CIFAR_SIDE, mirrored=True), smoothing=0.1),
            progressive_resize=((0.7, 0.75), (0.86, 0.875)),
            ema_decay=0.997,
            evaluate_every=11,
        )
    return Recipe(
        name="fast",
        epochs=16,
        batch=64,
        lr=2e-3 * factor,
        lr_batch=64,
        optimizer=AdamW(weight_decay=0.1),
        schedule=OneCycle(0.1),
        clip=5.0,
        augmentation=Augmentation(RandomResizedCrop(0.35), smoothing=0.1),
        progressive_resize=((0.5, 0.5), (0.8, 0.75)),
        ema_decay=0.99,
        evaluate_every=8,
        whitened=True,
    )


def _like_cifar_resnets(network: Network) -> bool:
    """Whether it takes 32 pixels or fewer and is narrow: with 512 filters a step by Muon takes twice as long."""
    widest = max((layer.filters for _, layer in leaves(network.body) if isinstance(layer, Conv)), default=0)
    return max(network.input[1:]) <= CIFAR_SIDE and widest <= CIFAR_FILTERS


def finetune() -> Recipe:
    """Ours: from weights of another training to new classes, by SGD at a low rate and in few epochs."""
    gentle = Sgd(nesterov=True, decay_all=False)
    return msgspec.structs.replace(
        fast(None), name="finetune", epochs=5, lr=0.01, optimizer=gentle, progressive_resize=(), whitened=False
    )


def normalised(network: Network) -> bool:
    """Whether there is batch normalisation in it, which is what decides how high a learning rate may be."""
    return any(isinstance(layer, BatchNorm) for _, layer in leaves(network.body))


def describe(epochs: int, batch: int) -> str:
    """The recipe of `quick` in a sentence."""
    recipe = quick(None, epochs, batch)
    assert isinstance(recipe.optimizer, Sgd)
    return (
        f"{epochs} epochs, batch {batch}, SGD with momentum {recipe.optimizer.momentum:g}, learning rate up to "
        f"{recipe.peak:g} ({PLAIN * batch / 256:g} for networks without batch normalisation) and back to 0 in one "
        f"cycle, weight decay {recipe.optimizer.weight_decay:g}, gradient clipped at {recipe.clip:g}, random shifts by "
        "up to an eighth of the side and, where the source allows it, mirror images (CIFAR's augmentation)"
    )


# Changed by hand

_KINDS = "optimizer", "schedule"  # as keys of `sources` these tell of the kind alone; its fields have keys of their own
_FOLLOWS = "sources", "differs"
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
    sources = {key: text for key, text in recipe.sources.items() if not any(_touches(path, key) for path in paths)}
    return msgspec.structs.replace(new, sources=sources)


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


def _touches(path: str, key: str) -> bool:
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
    types = {field.name: field.type for field in msgspec.structs.fields(kind) if field.name not in _FOLLOWS}
    if name not in types:
        owner = "a recipe" if kind is Recipe else kind.__name__
        raise UsageError(f"--set {assignment}: {owner} has no field {name!r}{did_you_mean(name, types)}")
    return types[name]


def _kinds(wanted: Any) -> list[type[msgspec.Struct]]:
    """The structs among what a type allows."""
    options = get_args(wanted) if get_origin(wanted) in (Union, UnionType) else (wanted,)
    return [option for option in options if isinstance(option, type) and issubclass(option, msgspec.Struct)]


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


def field_rows(recipe: Recipe) -> list[dict[str, Any]]:
    """A row a field: its path, its value, and where it is from; `ours` where no paper gives it."""
    rows: list[dict[str, Any]] = []

    def add(path: str, value: Any) -> None:
        if isinstance(value, dict):
            if "type" in value:
                rows.append({"field": path, "value": value["type"], "source": recipe.sources.get(path, "ours")})
            for name, inner in value.items():
                if name not in ("type", "source"):
                    add(f"{path}.{name}", inner)
            return
        said = [text for key, text in recipe.sources.items() if _touches(path, key)]
        rows.append({"field": path, "value": value, "source": said[0] if said else "ours"})

    for name, value in msgspec.to_builtins(recipe).items():
        if name not in ("name", *_FOLLOWS):
            add(name, value)
    return rows


# Seen before anything runs


def steps_of_epoch(count: int, batch: int) -> int:
    """Batches of an epoch. A last batch of a single image is left out: batch normalisation cannot learn from it."""
    return max(1, count // batch + (count % batch > 1))


def plan_rows(recipe: Recipe, images: int) -> list[dict[str, Any]]:
    """A row for each change of the schedule or of the images' side: epochs, steps, learning rates, share of the side.

    Where the validation error decides, `lr_to` is the lowest rate that there may be; `how` says what decides.
    """
    each = steps_of_epoch(images, recipe.batch)
    starts = [*_changes(recipe, each), recipe.epochs * each]
    rows = []
    for first, after in itertools.pairwise(starts):
        epoch = first // each + 1
        warming = recipe.warmup is not None and epoch == 1
        rows.append(
            {
                "first_epoch": epoch,
                "last_epoch": (after - 1) // each + 1,
                "steps": after - first,
                "lr_from": _rate(recipe, first, each),
                "lr_to": _rate(recipe, after - 1, each, lowest=True),
                "side": recipe.share(epoch),
                "how": _how(recipe, warming),
            }
        )
    return rows


def plan_points(recipe: Recipe, images: int, number: int = 500) -> list[dict[str, Any]]:
    """The schedule at about `number` steps, all its changes among them, as `figures.schedule` draws it.

    `lr_low` is below `lr` where the validation error decides: the rate after errors that never fell.
    """
    each = steps_of_epoch(images, recipe.batch)
    total = recipe.epochs * each
    schedule, turns = recipe.schedule, set(_changes(recipe, each))
    if isinstance(schedule, Decay):
        turns |= set(range(0, total, schedule.epochs * each))
    if isinstance(schedule, Plateau):
        evaluated = each * recipe.evaluate_every
        turns |= {evaluated * (1 + schedule.patience * time) for time in range(1, schedule.times + 1)}
    grid = {round(i * (total - 1) / (number - 1)) for i in range(number)}
    return [
        {
            "step": step,
            "epoch": step / each,
            "lr": _rate(recipe, step, each),
            "lr_low": _rate(recipe, step, each, lowest=True),
            "side": recipe.share(step // each + 1),
        }
        for step in sorted(grid | turns | {turn - 1 for turn in turns})
        if 0 <= step < total
    ]


def _rate(recipe: Recipe, step: int, each: int, lowest: bool = False) -> float:
    """The rate of a step, counted from 0, when the warm-up is taken to last for the first epoch."""
    errors = [1.0] * (step // each // recipe.evaluate_every if lowest else 0)
    return learning_rate(recipe, step / (recipe.epochs * each), errors, 1.0 if step < each else 0.0)


def _changes(recipe: Recipe, each: int) -> list[int]:
    """The steps, counted from 0, at which another row of the plan begins."""
    total = recipe.epochs * each
    match recipe.schedule:
        case OneCycle(warmup=rise):
            shares: tuple[float, ...] = (rise,)
        case Steps(at=at):
            shares = at
        case Plateau() | Decay():
            shares = ()
        case _:
            assert_never(recipe.schedule)
    found = {next(n for n in itertools.count(max(0, int(share * total) - 1)) if n / total >= share) for share in shares}
    found |= {e * each for e in range(1, recipe.epochs) if recipe.share(e) != recipe.share(e + 1)}
    if recipe.warmup:
        found.add(each)
    return sorted({0} | {step for step in found if step < total})


def _how(recipe: Recipe, warming: bool) -> str:
    match recipe.schedule:
        case Decay(factor=factor, epochs=epochs):
            said = f"x{factor:.4g} every {epochs} epochs" if epochs > 1 else f"x{factor:.4g} every epoch"
        case Plateau(factor=factor, patience=patience, times=times):
            evaluations = f"{patience} evaluations bring" if patience > 1 else "an evaluation brings"
            said = f"x{factor:g} where {evaluations} no lower error, at most {times} times"
        case OneCycle() | Steps():
            said = ""
        case _:
            assert_never(recipe.schedule)
    if recipe.warmup and warming:
        until = f"x{recipe.warmup.factor:g} until the training error is below {100 * recipe.warmup.error:g} %"
        return f"{until}; {said}" if said else until
    return said
