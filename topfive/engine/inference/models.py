"""What a MODEL on the command line means: trained weights in their network, with all that is needed to use them."""

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from topfive.data.cifar import CIFAR10
from topfive.data.class_folders import WNID
from topfive.data.files import write_whole
from topfive.data.imagenet import imagenet_classes
from topfive.data.sources import Source, listed
from topfive.engine.inference.foreign import read_foreign
from topfive.engine.models.modules import Classifier, build
from topfive.engine.models.tensors import fill, packed, unpacked
from topfive.engine.training.checkpoints import MODEL
from topfive.errors import DataError, RefusedError, UsageError
from topfive.networks.layers import Network
from topfive.recipes.protocols import PROTOCOLS, SQUARE, Protocol
from topfive.results.checkpoints import Checkpoint, open_checkpoint
from topfive.results.runs import newest_in
from topfive.weights.inspection import examined
from topfive.weights.libraries import Known, recognised
from topfive.weights.matching import COUNTER, Match, recognise
from topfive.weights.names import network_called
from topfive.weights.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing, timm_config

HUB = ("model.safetensors", "pytorch_model.bin")  # what timm's files are called that have a config.json beside them

NATURAL, IMAGEFOLDER = ORDERS = ("natural", "imagefolder")  # of folders: 1, 2, 10, and 1, 10, 2 in most libraries


class About(msgspec.Struct, frozen=True):
    """What a model's file says of itself, in its header; unknown fields are left alone."""

    network: Network
    size: int
    classes: tuple[str, ...]
    words: tuple[str, ...] = ()  # the classes in words, where their names are codes
    fingerprint: str = ""  # of the images that it was trained on
    source: str = ""
    upright: bool = True  # whether EXIF orientation was applied
    decoding: str = ""
    recipe: str = ""
    step: int | None = None
    protocol: Protocol = SQUARE  # how its own library looks at an image
    origin: str = ""  # where weights of another library are from

    @property
    def names(self) -> tuple[str, ...]:
        """The classes for people, no two alike: in words, where those are known."""
        if not self.classes:
            return tuple(f"output {i}" for i in range(self.network.classes))  # which may stand for anything
        known = dict(zip(*imagenet_classes())) if WNID.fullmatch(self.classes[0]) else {}
        words = self.words or tuple(known.get(name, name) for name in self.classes)
        often = Counter(words)  # ImageNet has two classes called crane
        return tuple(word if often[word] == 1 else f"{word} ({name})" for word, name in zip(words, self.classes))


@dataclass(frozen=True)
class Model:
    """A classifier with its weights, in 32 bits, in the form for evaluation."""

    name: str  # for people: the run, or the file
    where: str
    sha256: str  # of the file
    about: About
    classifier: Classifier
    notes: tuple[str, ...] = ()
    guessed: bool = False  # whether its classes are those of a public set with as many, as the file names none

    @property
    def network(self) -> Network:
        return self.about.network


def open_model(where: str, network: str | None = None) -> Model:
    """The model that a run folder, a checkpoint's folder, or a file of weights holds, ours or another library's.

    `network` names the network of a file that fits several. Raises: UsageError, RefusedError, ResourceError.
    """
    path = Path(where)
    if path.is_dir():
        alone = (path / "manifest.json").exists()
        damaged: list[str] = []
        checkpoint = open_checkpoint(path) if alone else newest_in(path, damaged=damaged)
        found = _ours(path.resolve().name, str(checkpoint.folder / MODEL), checkpoint.read(MODEL))
        skipped = (f"warning: {why}; {checkpoint.folder.name} is taken instead" for why in damaged)
        return found if alone else replace(found, notes=(*skipped, _which(path, checkpoint)))
    if not path.is_file():
        raise UsageError(f"there is no run folder or file of weights {where!r}")
    if examined(path).kind == "safetensors":  # which also says that its size is that of its tensors
        data = path.read_bytes()
        if unpacked(data, where)[1]:
            found = _ours(path.stem, where, data)
            if network and found.network.name != network_called(network).name:
                raise RefusedError(f"{where} is {found.network.name}, and not {network}")
            return found
    return _theirs(path, network)


def columns(model: Model, source: Source) -> tuple[NDArray[np.int64], list[str]]:
    """For each class of the source the model's output that stands for it, matched by name; and what is worth saying.

    Raises: DataError where the source has classes that the model does not know.
    """
    known = {name: i for i, name in enumerate(model.about.classes)}
    unknown = [name for name in source.classes if name not in known]
    if unknown:
        raise DataError(
            f"{model.name} does not know {len(unknown)} of the {len(source.classes)} classes of {source.name} "
            f"({listed(unknown)}): it was trained on {listed(list(known))}"
            + (", going by its number of outputs: --classes says what they are" if model.guessed else "")
        )
    notes = []
    if tuple(source.classes) != model.about.classes:
        more = len(known) - len(source.classes)
        notes.append(
            f"{model.name}: classes are matched by name"
            + (f"; {more} of its {len(known)} classes are not in {source.name}" if more else "")
        )
    if model.about.upright != source.upright:
        done = "applied" if model.about.upright else "ignored"
        like = "as its own library does" if model.about.origin else "as in its training"
        notes.append(f"{model.name}: EXIF orientation is {done}, {like}")
    return np.array([known[name] for name in source.classes], np.int64), notes


def with_names(models: Sequence[Model], said: str | None, source: Source | None = None) -> list[Model]:
    """The models, with the names that `said` gives to the classes of those whose file gives none.

    `said` is --classes: a file with a name a line, in the order of the outputs, or one of `ORDERS` for the classes of
    `source`, which are taken, too, where all orders are the same. Raises: UsageError, DataError.
    """
    nameless = [not model.about.classes or (model.guessed and said is not None) for model in models]
    if said and not any(nameless):
        raise UsageError(f"--classes names what has no names, and {models[0].name} names its classes: leave it out")
    return [_named(model, said, source) if without else model for model, without in zip(models, nameless)]


def _named(model: Model, said: str | None, source: Source | None) -> Model:
    if said and said not in ORDERS:
        names, how = class_list(Path(said)), f"as {said} lists them"
    elif source:
        names, how = _of_source(model, source, said)
    elif said:
        raise UsageError(f"--classes {said} orders the classes of a source: name a file with a class a line instead")
    else:
        note = "its outputs have no names: --classes FILE gives them, one a line in the order of the outputs"
        return replace(model, notes=(*model.notes, note))
    if len(names) != model.network.classes:
        raise UsageError(f"{said} names {len(names)} classes, and {model.name} has {model.network.classes} outputs")
    note = f"{model.name}: its outputs are assumed to be {listed(list(names))}, {how}"
    about = msgspec.structs.replace(model.about, classes=names, words=())
    return replace(model, about=about, notes=(*model.notes, note), guessed=False)


def class_list(path: Path) -> tuple[str, ...]:
    """The names of classes in a file, one a line. Raises: UsageError for a file that is none, or has a name twice."""
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError):
        raise UsageError(
            f"--classes is {' or '.join(ORDERS)} or a text file with a class a line, and {str(path)!r} is none"
        ) from None
    names = tuple(unicodedata.normalize("NFC", line.strip()) for line in lines if line.strip())
    if twice := [name for name, times in Counter(names).items() if times > 1]:
        raise UsageError(f"{path} has the class {twice[0]!r} twice")
    if bad := [name for name in names if not name.isprintable()]:
        raise UsageError(f"{path} has a class whose name is no plain text: {bad[0]!a}")
    if not names:
        raise UsageError(f"{path} names no class")
    return names


def _of_source(model: Model, source: Source, said: str | None) -> tuple[tuple[str, ...], str]:
    """The classes of the source in the order of the model's outputs, and how they are ordered."""
    ours, sorted_ones = source.classes, tuple(sorted(source.classes))
    if model.network.classes != len(ours):
        raise DataError(
            f"{model.name} has {model.network.classes} outputs without names, {source.name} {len(ours)} classes"
        )
    if ours == sorted_ones:
        return ours, f"the classes of {source.name}, in their order"
    if said is None:
        differ = next(i for i, pair in enumerate(zip(ours, sorted_ones)) if pair[0] != pair[1])
        raise UsageError(
            f"{model.name} does not name its outputs, and the classes of {source.name} have two orders: output {differ}"
            f" is {ours[differ]!r} as they count (--classes natural), and {sorted_ones[differ]!r} as torchvision's "
            "ImageFolder and Keras sort folders (--classes imagefolder); or --classes FILE lists them, one a line"
        )
    return (ours, "as they count") if said == NATURAL else (sorted_ones, "as ImageFolder sorts folders")


def same_classes(models: Sequence[Model]) -> list[NDArray[np.int64]]:
    """For each model the order that brings its outputs into the first one's; where one has no names they keep theirs.

    Raises: UsageError where the models tell other classes apart.
    """
    first = models[0]
    orders = []
    for model in models:
        named = model.about.classes and first.about.classes
        if model.network.classes != first.network.classes or (
            named and set(model.about.classes) != set(first.about.classes)
        ):
            raise UsageError(f"{first.name} and {model.name} have different classes: evaluate them one at a time")
        at = {name: i for i, name in enumerate(model.about.classes)}
        order = [at[name] for name in first.about.classes] if named else range(model.network.classes)
        orders.append(np.array(order, np.int64))
    return orders


def save(model: Model, path: Path) -> None:
    """Write the model as a file of ours, whole or not at all. Raises: OSError."""
    about: dict[str, object] = msgspec.to_builtins(model.about)
    write_whole(path, packed(model.classifier.state_dict(), about))


def _which(run: Path, checkpoint: Checkpoint) -> str:
    """Which of a run's checkpoints is used, and how to have the other."""
    said = f"{run}: using the last checkpoint, of step {checkpoint.step:,}"
    try:
        best = newest_in(run, "best")
    except RefusedError:  # it was not evaluated yet, or the best is damaged
        return said
    if best.step == checkpoint.step:
        return f"{said}, which is also the best"
    epoch = f" after epoch {best.about['epoch']}" if "epoch" in best.about else ""
    return f"{said}; the best one{epoch} is {best.folder}: name it instead of the run to use it"


def _ours(name: str, where: str, data: bytes) -> Model:
    tensors, said = unpacked(data, where)
    try:
        about = msgspec.convert(said, About)
    except msgspec.ValidationError as error:
        raise RefusedError(f"{where} was written by another version of topfive: {error}") from None
    if about.classes and about.network.classes != len(about.classes):
        raise RefusedError(f"{where} names {len(about.classes)} classes for {about.network.classes} outputs")
    if len(set(about.classes)) < len(about.classes):
        raise RefusedError(f"{where} has two classes of one name")
    return Model(name, where, hashlib.sha256(data).hexdigest(), about, _filled(about, tensors, where))


def _theirs(path: Path, network: str | None) -> Model:
    """A model from another library's file: its network by its tensors, the rest by its hash or the file beside it."""
    foreign = read_foreign(path)
    known, beside = recognised(foreign.sha256), path.parent / "config.json"
    hub = path.name in HUB and beside.is_file() and not known
    config = timm_config(beside.read_bytes(), str(beside)) if hub else None
    match = recognise(
        {name: tuple(tensor.shape) for name, tensor in foreign.tensors.items()},
        str(path),
        network,
        known.library if known else "timm" if config else None,
        known.name if known else config.model if config else None,
    )
    notes, origin = [*foreign.notes, *match.notes], match.origin
    shown = config.preprocessing if config else origin.preprocessing
    if known and shown:
        protocol = next((one for one in PROTOCOLS.values() if _is_that_of(one, known)), shown.protocol)
        shown = msgspec.structs.replace(shown, protocol=protocol)
        notes.append(f"known by its hash: {known.library}'s {known.key}, Top-1 {known.top1:g} % (1-crop, n = 50,000)")
    if shown is None:
        shown = Preprocessing(IMAGENET_MEAN, IMAGENET_STD, max(match.network.input[1:]), SQUARE)
        notes.append("its normalization is unknown: ImageNet's mean and standard deviation are used")
    classes, words = (config.names, ()) if config and config.names else _classes(match)
    guessed = bool(classes) and not known and not (config and config.names)
    if guessed:
        whose = "ImageNet's" if words else "CIFAR-10's"
        notes.append(f"its {len(classes):,} outputs are assumed to be {whose} classes: --classes FILE changes that")
    about = About(
        match.network,
        shown.size,
        classes,
        words,
        upright=False,
        decoding="decoded whole; EXIF orientation ignored",
        protocol=shown.protocol,
        origin=f"{known.library}'s {known.key}" if known else f"{origin}",
    )
    statistics = {
        key: torch.tensor(values).view(1, 3, 1, 1) * 255 for key, values in (("mean", shown.mean), ("std", shown.std))
    }
    tensors = {f"net.{name}": tensor for name, tensor in match.renamed(foreign.tensors).items()}
    classifier = _filled(about, {**tensors, **statistics}, str(path))
    return Model(path.stem, str(path), foreign.sha256, about, classifier, tuple(notes), guessed)


def _filled(about: About, tensors: Mapping[str, Tensor], where: str) -> Classifier:
    net = build(about.network, (3, about.size, about.size))
    classifier = Classifier(net, torch.zeros(1, 3, 1, 1), torch.ones(1, 3, 1, 1)).eval()
    counters = {
        name: tensor
        for name, tensor in classifier.state_dict().items()
        if name.endswith(COUNTER) and name not in tensors
    }
    fill(classifier, {**tensors, **counters}, where)
    return classifier


def _is_that_of(protocol: Protocol, known: Known) -> bool:
    """Whether a protocol is how a library's table says that its figures were measured."""
    return (
        protocol.name == "1-crop"
        and protocol.antialias
        and protocol.interpolation == known.interpolation
        and protocol.key.startswith(f"1-crop:{known.library}")
        and protocol.sides(known.crop) == (known.resize,)
    )


def _classes(match: Match) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names and words of the classes of a library's published weights; none for weights of unknown training."""
    if match.network.classes == 1000 and match.origin.library in ("torchvision", "timm"):
        return imagenet_classes()
    cifar = match.network.classes == 10 and match.origin.library in ("akamaster", "chenyaofo")
    return (CIFAR10, ()) if cifar else ((), ())
