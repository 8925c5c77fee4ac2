"""How long a training takes on this machine: a few images read, a few steps at every side, one evaluation."""

import time
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

import msgspec
from torch import nn

from topfive.data.sources import Source
from topfive.engine.benchmark.load import Load
from topfive.engine.benchmark.machine import Machine
from topfive.engine.benchmark.measuring import DISTURBED
from topfive.engine.models.modules import Classifier
from topfive.engine.training.datasets import Data
from topfive.engine.training.job import Job
from topfive.engine.training.loading import chosen, prepare
from topfive.engine.training.loop import Step, Training, train
from topfive.engine.training.validation import evaluate
from topfive.recipes.recipe import Recipe, side_of

SECONDS, STEPS = 1.5, 3  # that steps of a side are timed for at least, and how many, after the first
PATIENCE = 8.0  # seconds that a step may take; where it takes longer, smaller batches stand for it
FIRST_BATCH = 16
SAMPLE = 512  # images that are read, at least
FOREVER = 1_000_000  # epochs

Entry = TypeVar("Entry")


class Estimate(msgspec.Struct, frozen=True):
    """Seconds of what a training consists of, as measured on this machine."""

    reading: float  # every image once, before the first step
    image: Mapping[int, float]  # one training image, by the side in pixels that it is trained at
    evaluation: float  # the validation images once
    step: float = 0.0  # one step, apart from its images: mostly the optimizer's, which grows with the parameters
    cpu_contention: float = 0.0  # processors that the measurement lacked, since other programs had them

    @property
    def notes(self) -> list[str]:
        """What there is to say of the measurement."""
        if self.cpu_contention <= DISTURBED:
            return []
        return [f"{self.cpu_contention:.1f} CPU cores were used by other processes: it is faster without them"]

    def seconds(self, recipe: Recipe, images: int, size: int) -> float:
        """Of a whole training on `images`, where `size` is the full side."""
        trained = sum(self.image[recipe.side(epoch, size)] for epoch in range(1, recipe.epochs + 1))
        evaluations = -(-recipe.epochs // recipe.evaluate_every)
        return self.reading + images * trained + evaluations * self.evaluation

    def epochs(self, recipe: Recipe, images: int, size: int, seconds: float) -> int:
        """The most epochs of the recipe that fit into so many seconds; 0 where not even one does."""
        least = images * min(self.image.values()) + self.evaluation / recipe.evaluate_every  # of an epoch
        most = int(seconds / least)
        return bisect_right(
            range(1, most + 2),
            seconds,
            key=lambda epochs: self.seconds(msgspec.structs.replace(recipe, epochs=epochs), images, size),
        )


UNTIMED = Estimate(0.0, {}, 0.0)


def estimate(job: Job, workers: int | None = None, progress: Callable[[float], object] = lambda done: None) -> Estimate:
    """What an image costs in reading, training and evaluation here; takes seconds, not minutes.

    `progress` is given the share done. Raises: DataError where the images cannot be read.
    """
    source, recipe, size, machine = job.source, job.recipe, job.size, job.machine
    sample = _few(source, recipe.batch)
    load, began = Load(), time.perf_counter()
    reading = chosen(source, size, recipe.augmentation.crop, workers)
    data = prepare(sample, size, recipe.augmentation.crop, reading=reading, max_bad=job.max_bad)
    read = (time.perf_counter() - began) / (len(sample.train) + len(sample.val))
    parts = len(sides_of(recipe, size)) + 2
    progress(1 / parts)
    image, tested, step = measured(
        job.network_for(data), data, recipe, size, machine, lambda n: progress((1 + n) / parts)
    )
    whole, aside = len(source.train), len(source.val)
    cpu_contention = load.contention(machine.threads) if machine.device == "cpu" else 0.0
    return Estimate(read * (whole + aside), image, tested * aside, step, cpu_contention)


def measured(
    net: nn.Module, data: Data, recipe: Recipe, size: int, machine: Machine, done: Callable[[int], object]
) -> tuple[dict[int, float], float, float]:
    """Seconds of one training image by its side in pixels, of one validation image, and of one step apart from its
    images; `net` is trained by it.

    `done` is given the number of things measured.
    """
    image, steps = dict[int, float](), list[float]()
    for side, share in sides_of(recipe, size).items():
        image[side], step = _image_seconds(net, data, recipe_at(recipe, share), machine)
        steps.append(step)
        done(len(image))
    form = machine.infer_form(Classifier(net, *data.normalisation))
    pixels, labels = next(iter(data.val()))
    evaluate(form, [(pixels, labels)], machine)  # why: the first run of a size chooses and prepares its arithmetic
    began = time.perf_counter()
    evaluate(form, [(pixels, labels)], machine)
    tested = (time.perf_counter() - began) / len(labels)
    done(len(image) + 1)
    return image, tested, min(steps)


def sides_of(recipe: Recipe, size: int) -> dict[int, float]:
    """The sides of the training images in pixels, and which share of the full side each is."""
    return {side_of(share, size): share for share in (1.0, *(share for _, share in recipe.progressive_resize))}


def recipe_at(recipe: Recipe, share: float) -> Recipe:
    """The recipe with all its images at this share of the side, and without an end or an evaluation."""
    return msgspec.structs.replace(recipe, progressive_resize=((1.0, share),), epochs=FOREVER, evaluate_every=FOREVER)


def _few(source: Source, batch: int) -> Source:
    """Images from all over the source, enough for some whole batches."""
    count = max(SAMPLE, batch * -(-SAMPLE // batch))
    return replace(source, train=_spread(source.train, count), val=_spread(source.val, SAMPLE))


def _spread(items: Sequence[Entry], count: int) -> tuple[Entry, ...]:
    return tuple(items[:: max(1, len(items) // count)][:count])


def _image_seconds(net: nn.Module, data: Data, recipe: Recipe, machine: Machine) -> tuple[float, float]:
    """Of one image in training, everything included but evaluation; and of a step apart from its images."""
    least = min(recipe.batch, FIRST_BATCH * recipe.accumulation_steps)
    few = _timed(net, data, msgspec.structs.replace(recipe, batch=least), machine, 0.0, STEPS)
    batch = min(recipe.batch, max(least, int(PATIENCE / few)))
    each = _timed(net, data, msgspec.structs.replace(recipe, batch=batch), machine, SECONDS, STEPS)
    # why: a step of n images takes s + n i, so that one of its images takes s / n + i
    return each, max(0.0, (few - each) / (1 / least - 1 / batch)) if batch > least else 0.0


def _timed(net: nn.Module, data: Data, recipe: Recipe, machine: Machine, seconds: float, steps: int) -> float:
    """Seconds an image, over so many steps and seconds at least, of whole batches; the first step is not counted.

    An epoch's last batch has its own number of images, for which arithmetic is prepared once in a whole training: over
    the few steps that are timed here it would count for half.
    """
    times = list[float]()
    images, whole, last = 0, 0, 0.0
    for event in train(Training(net, data, recipe, machine)):
        if isinstance(event, Step):
            machine.wait()
            now, count = time.perf_counter(), event.images - images
            if whole and count >= whole:
                times.append(now - last)
            whole, images, last = whole or count, event.images, now
        if len(times) >= steps and sum(times) >= seconds:
            break
    return sum(times) / (len(times) * whole)
