"""Modules built, trained and evaluated from Python: the engine's parts, joined for `import topfive`."""

import copy
from collections.abc import Iterator
from pathlib import Path

import msgspec
import torch
from torch import Tensor, nn

from topfive.data.sources import Source
from topfive.engine.benchmark.arithmetic import fastest
from topfive.engine.benchmark.machine import Machine, this_machine
from topfive.engine.inference.models import About, Model, open_model
from topfive.engine.inference.prediction import fits, judge
from topfive.engine.models import modules
from topfive.engine.models.modules import Classifier, Net
from topfive.engine.models.specs import ModelSpec
from topfive.engine.training import loop
from topfive.engine.training.fitting import adapted, fitted
from topfive.engine.training.job import Job
from topfive.engine.training.loading import prepare
from topfive.engine.training.processes import Group
from topfive.engine.training.sizes import default_size
from topfive.engine.training.whitening import whiten
from topfive.errors import RefusedError, UsageError
from topfive.networks.layers import Linear, Network, chain, with_classes
from topfive.recipes import protocols
from topfive.recipes.recipe import Recipe, side_of
from topfive.results import predictions
from topfive.results.records import Accuracy, EpochRecord, Evaluation
from topfive.weights.preprocessing import IMAGENET_MEAN, IMAGENET_STD


def build(network: Network, classes: int | None = None) -> nn.Module:
    """A module of `network`, with the paper's initial weights from torch's random state: pixels in, logits out.

    It takes `(N, 3, H, W)` RGB in 0..255, uint8 or float, where `(3, H, W)` is `network.input`, and gives
    `(N, classes)`. It normalises each channel itself: by ImageNet's mean and standard deviation until `train` has put
    those of the training images in their place (the buffers `mean` and `std`). The network alone, whose children carry
    the paper's row names, is its child `net`.

    Raises: UsageError for fewer than two classes.
    """
    net = modules.build(with_classes(network, classes) if classes is not None else network)
    return Classifier(net, *_imagenet())


def load(where: str | Path) -> nn.Module:
    """The trained module in a run folder or in a file of weights, ours or another library's, for evaluation.

    It takes pixels as one of `build` does. Its outputs are in the order of the classes that it was trained on.
    Raises: UsageError where nothing is there, RefusedError for a file that is not taken.
    """
    model = open_model(str(where))
    net, size = model.classifier.net, model.about.size
    assert isinstance(net, Net)
    net.network = msgspec.structs.replace(net.network, input=(3, size, size))
    return model.classifier


def train(
    model: nn.Module | Network, source: Source, recipe: Recipe, size: int | None = None, device: str = "auto"
) -> Iterator[EpochRecord]:
    """Train in place and in memory; a record an epoch. What is impossible is raised here, before the first epoch."""
    classes = len(source.classes)
    if isinstance(model, Network):
        torch.manual_seed(recipe.seed)  # why: the same weights as `topfive train` begins with
        model = build(model, classes)
    net, size = model.net if isinstance(model, Classifier) else model, _size(model, source, size)
    _check_outputs(model, size, classes)
    if isinstance(net, Net):
        machine, recipe = _fitted(net.network, source, recipe, size, device)
    else:
        machine, recipe = this_machine(device), _without_small_sides(net, recipe, size)
    return _epochs(model, net, source, recipe, size, machine)


def job(network: Network, source: Source, recipe: Recipe, size: int | None, device: str, folder: Path) -> Job:
    """The training of `network` into a run folder, as `topfive train` has it."""
    side = size or max(network.input[1:])
    machine, recipe = _fitted(network, source, recipe, side, device)
    return Job(network, source, recipe, side, machine, Group(), folder)


def evaluate(
    model: nn.Module | str | Path,
    source: Source,
    protocol: str = "1-crop",
    size: int | None = None,
    device: str = "auto",
    batch: int = 32,
) -> Evaluation:
    """Top-1 and Top-5 of `model` on the validation images of `source`.

    `model` is a module, or a run folder or file of weights. A module's outputs are taken for `source.classes` in their
    order; one of your own gets float images `(N, 3, size, size)` normalised as torchvision's models take them. `size`
    is in pixels: by default the one that a network is made for, and for a module of your own 32, 64 or 128, after the
    images. `protocol` is a name in docs/protocols.md: `1-crop`, `10-crop`, ...; `1-crop:square` is what training
    validates by. `batch` counts views. The arithmetic is the fastest here that agrees with float32.

    Unreadable images count as errors. Raises: UsageError for an unknown protocol, or one that the network does not
    fit; RefusedError for a module that does not give a score for each class; DataError for other classes.
    """
    chosen, machine = protocols.get(protocol), this_machine(device)
    opened = _opened(model, source, size) if isinstance(model, nn.Module) else open_model(str(model))
    if chosen.crops == "dense" and not isinstance(opened.classifier.net, Net):
        raise UsageError(f"{protocol} makes a network fully convolutional, which a module of your own cannot be made")
    if not fits(opened, chosen):
        raise UsageError(f"{opened.network.name} does not accept images of every size, as {protocol} needs")
    (judged,) = judge([opened], {opened.where: [chosen]}, source, machine, batch=batch)
    scores = predictions.scores(judged.predictions)
    return Evaluation(
        protocol=judged.predictions.protocol,
        top1=Accuracy(scores.correct1, scores.images),
        top5=None if scores.correct5 is None else Accuracy(scores.correct5, scores.images),
        unreadable=scores.unreadable,
    )


def _epochs(
    model: nn.Module, net: nn.Module, source: Source, recipe: Recipe, size: int, machine: Machine
) -> Iterator[EpochRecord]:
    data = prepare(source, size, recipe.augmentation.crop)
    learns = {parameter: parameter.requires_grad for parameter in net.parameters()}
    if isinstance(model, Classifier):
        model.mean, model.std = (tensor.clone() for tensor in data.normalisation)
        if recipe.whitened:
            whiten(net, data, recipe)
    else:
        data.normalisation = _imagenet()
    model.to(machine.device)
    try:
        training = loop.Training(net, data, recipe, machine)
        for record in loop.records(loop.train(training)):
            if record.epoch == recipe.epochs:  # why: it is the averaged weights that the last record is about
                training.model.load_state_dict(training.optimizer.averaged().state_dict())
            yield record
    finally:
        model.eval()
        for parameter, before in learns.items():  # why: whitened kernels stand still in this training only
            parameter.requires_grad_(before)


def _fitted(network: Network, source: Source, recipe: Recipe, size: int, device: str) -> tuple[Machine, Recipe]:
    """The machine with its fastest arithmetic, and the recipe as this network and the memory here allow it."""
    classes, recipe = len(source.classes), adapted(recipe, network, size)[0]
    images, subject = recipe.epochs * len(source.train), ModelSpec(network.name, network)
    machine, _ = fastest(subject, (3, size, size), classes, recipe.batch, images, this_machine(device))
    return machine, fitted(recipe, network, size, classes, machine) if recipe.accumulation_steps == 1 else recipe


def _without_small_sides(net: nn.Module, recipe: Recipe, size: int) -> Recipe:
    """The recipe without the sides of images that a module of the user's own does not take."""

    def takes(side: int) -> bool:
        try:
            _shape_of(net, side)
        except Exception:  # why: whatever it raises there, it has said no
            return False
        return True

    return msgspec.structs.replace(
        recipe, progressive_resize=tuple(pair for pair in recipe.progressive_resize if takes(side_of(pair[1], size)))
    )


def _check_outputs(model: nn.Module, size: int, classes: int) -> None:
    try:
        shape = _shape_of(model, size)
    except Exception as error:
        raise RefusedError(f"the module fails on images of {(3, size, size)}: {error}") from error
    if shape != (2, classes):
        raise RefusedError(f"the module gives {shape} for two images; wanted is (2, {classes}), a score for each class")


@torch.no_grad()
def _shape_of(model: nn.Module, size: int) -> tuple[int, ...]:
    """What the model makes of two images."""
    where = next(iter(model.parameters()), torch.zeros(1)).device
    was_training = model.training
    try:
        return tuple(model.eval()(torch.zeros(2, 3, size, size, device=where)).shape)
    finally:
        model.train(was_training)


def _size(model: nn.Module, source: Source, size: int | None) -> int:
    if isinstance(model, Classifier) and isinstance(model.net, Net):
        return size or max(model.net.network.input[1:])
    return size or default_size(source)


def _opened(module: nn.Module, source: Source, size: int | None) -> Model:
    size, classes = _size(module, source, size), len(source.classes)
    copied = copy.deepcopy(module).cpu()
    _check_outputs(copied, size, classes)
    classifier = copied if isinstance(copied, Classifier) else Classifier(copied, *_imagenet())
    if isinstance(classifier.net, Net):
        network = classifier.net.network
    else:  # why: an evaluation asks a network for its name and classes; its costs, which would be wrong, are not given
        network = Network(type(module).__name__, "", (3, size, size), chain(all=Linear(classes)))
    about = About(network, size, source.classes, source.words, source.fingerprint, source.name, source.upright)
    return Model(network.name, network.name, "", about, classifier.eval())


def _imagenet() -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of ImageNet's channels in 0..255: two (1, 3, 1, 1)."""
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) * 255 for values in (IMAGENET_MEAN, IMAGENET_STD))
    return mean, std
