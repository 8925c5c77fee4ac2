"""What a MODEL on the command line means: trained weights in their network, with all that is needed to use them."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from topfive.data.cifar import CIFAR10
from topfive.data.imagenet import imagenet_classes
from topfive.data.sources import WNID, Source, listed
from topfive.data.stores import write_aside
from topfive.errors import DataError, RefusedError, UsageError
from topfive.gate import examined
from topfive.lab.foreign import read_foreign
from topfive.lab.keeping import MODEL
from topfive.lab.modules import Classifier, build
from topfive.lab.weights import fill, packed, unpacked
from topfive.layers import Network
from topfive.libraries import Known, recognised
from topfive.networks import ALIASES
from topfive.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing, timm_config
from topfive.protocols import PROTOCOLS, SQUARE, Protocol
from topfive.renames import COUNTER, Match, network_called, recognise
from topfive.runs import Checkpoint, newest_in, open_checkpoint

HUB = ("model.safetensors", "pytorch_model.bin")  # what timm's files are called that have a config.json beside them


class About(msgspec.Struct, frozen=True):
    """What a model's file says of itself, in its header; unknown fields are left alone."""

    network: Network
    size: int
    classes: tuple[str, ...]
    words: tuple[str, ...] = ()  # the classes in words, where their names are codes
    fingerprint: str = ""  # of the pictures that it was trained on
    source: str = ""
    upright: bool = True  # whether EXIF orientation was applied
    decoding: str = ""
    recipe: str = ""
    step: int | None = None
    protocol: Protocol = SQUARE  # how its own library looks at a picture
    origin: str = ""  # where weights of another library are from

    @property
    def names(self) -> tuple[str, ...]:
        """The classes for people: in words, where those are known."""
        if self.words:
            return self.words
        words = dict(zip(*imagenet_classes())) if self.classes and WNID.fullmatch(self.classes[0]) else {}
        return tuple(words.get(name, name) for name in self.classes) or tuple(map(str, range(self.network.classes)))


@dataclass(frozen=True)
class Model:
    """A classifier with its weights, in 32 bits, in the form for evaluation."""

    name: str  # for people: the run, or the file
    where: str
    sha256: str  # of the file
    about: About
    classifier: Classifier
    notes: tuple[str, ...] = ()

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
        checkpoint = open_checkpoint(path) if alone else newest_in(path)
        found = _ours(path.resolve().name, str(checkpoint.folder / MODEL), checkpoint.read(MODEL))
        return found if alone else replace(found, notes=(_which(path, checkpoint),))
    if not path.is_file():
        raise UsageError(f"there is no run folder or file of weights {where!r}")
    if examined(path).kind == "safetensors":  # which also says that its size is that of its tensors
        data = path.read_bytes()
        if unpacked(data, where)[1]:
            found = _ours(path.stem, where, data)
            if network and found.network.name != network_called(ALIASES.get(network, network)).name:
                raise RefusedError(f"{where} is {found.network.name}, and not {network}")
            return found
    return _theirs(path, network)


def columns(model: Model, source: Source) -> tuple[NDArray[np.int64], list[str]]:
    """For each class of the source the model's output that stands for it, matched by name; and what is worth saying.

    Raises: DataError where the source has classes that the model does not know.
    """
    count = model.network.classes
    if not model.about.classes:
        if count != len(source.classes):
            raise DataError(
                f"{model.name} has {count} outputs without names, {source.name} {len(source.classes)} classes"
            )
        return np.arange(count), [f"{model.name}: its classes are taken in the order of {source.name}"]
    known = {name: i for i, name in enumerate(model.about.classes)}
    unknown = [name for name in source.classes if name not in known]
    if unknown:
        raise DataError(
            f"{model.name} does not know {len(unknown)} of the {len(source.classes)} classes of {source.name} "
            f"({listed(unknown)}): it was trained on {listed(list(known))}"
        )
    notes = []
    if tuple(source.classes) != model.about.classes:
        more = len(known) - len(source.classes)
        notes.append(
            f"{model.name}: classes are matched by name"
            + (f"; {more} of its {len(known)} classes are not in {source.name}" if more else "")
        )
    if model.about.upright != source.upright:
        notes.append(
            f"{model.name}: EXIF orientation was {'applied' if model.about.upright else 'ignored'} in training"
        )
    return np.array([known[name] for name in source.classes], np.int64), notes


def same_classes(models: Sequence[Model]) -> list[NDArray[np.int64]]:
    """For each model the order that brings its outputs into the first one's; those without names keep theirs.

    Raises: UsageError where the models tell other classes apart.
    """
    first = models[0]
    orders = []
    for model in models:
        if (set(model.about.classes), model.network.classes) != (set(first.about.classes), first.network.classes):
            raise UsageError(f"{first.name} and {model.name} tell other classes apart: evaluate them one at a time")
        at = {name: i for i, name in enumerate(model.about.classes)}
        order = [at[name] for name in first.about.classes] if at else range(model.network.classes)
        orders.append(np.array(order, np.int64))
    return orders


def save(model: Model, path: Path) -> None:
    """Write the model as a file of ours, whole or not at all. Raises: OSError."""
    about: dict[str, Any] = msgspec.to_builtins(model.about)
    write_aside(path, packed(model.classifier.state_dict(), about))


def _which(run: Path, checkpoint: Checkpoint) -> str:
    """Which of a run's checkpoints is used, and how to have the other."""
    said = f"{run}: its last checkpoint is used, of step {checkpoint.step:,}"
    try:
        best = newest_in(run, "best")
    except RefusedError:  # it was not evaluated yet, or the best is damaged
        return said
    if best.step == checkpoint.step:
        return f"{said}, which is the best too"
    epoch = f" after epoch {best.about['epoch']}" if "epoch" in best.about else ""
    return f"{said}; the best one{epoch} is {best.folder}: name it instead of the run"


def _ours(name: str, where: str, data: bytes) -> Model:
    tensors, said = unpacked(data, where)
    try:
        about = msgspec.convert(said, About)
    except msgspec.ValidationError as error:
        raise RefusedError(f"{where} is of another topfive: {error}") from None
    if about.classes and about.network.classes != len(about.classes):
        raise RefusedError(f"{where} names {len(about.classes)} classes for {about.network.classes} outputs")
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
        notes.append("how its pictures were normalised is not known: ImageNet's means and deviations are taken")
    classes, words = (config.names, ()) if config and config.names else _classes(match)
    if not classes:
        notes.append("its classes have no names here: they are taken for those of the source, in the source's order")
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
    return Model(path.stem, str(path), foreign.sha256, about, classifier, tuple(notes))


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
