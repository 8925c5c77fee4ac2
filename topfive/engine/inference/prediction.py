"""Images to probabilities, under one protocol or several, by one model or several; each image is decoded once.

Threads decode and cut the views; batches are filled across images. A batch is always full, with blank images where
none is left, so that in one form of the network what an image gets does not depend on its neighbours. Its last bits may
depend on its place in the batch: on some processors a matrix product rounds otherwise there.
"""

import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from topfive.data.decoding import Unreadable
from topfive.data.sources import Source
from topfive.data.views import views
from topfive.engine.benchmark.machine import Machine
from topfive.engine.inference.backends import Backend, engine
from topfive.engine.inference.models import About, Model, columns, same_classes
from topfive.engine.models.modules import Classifier, build, converted
from topfive.engine.training.processes import Group
from topfive.errors import UsageError
from topfive.networks.costs import count
from topfive.networks.receptive_fields import SizeError
from topfive.networks.variations import fully_convolutional
from topfive.recipes.protocols import Protocol
from topfive.results.predictions import Predictions

AHEAD = 512  # views that are drawn before they are needed, at least those of a few images
BLOCK = 32  # pixels: what the strides of a network come to, so that sizes repeat themselves
Pixels = NDArray[np.uint8]


class Predictor:
    """A model under a protocol, on this machine: views in, probabilities out, and what that took.

    `seconds` is the time in the network, for all images; `drawing` that of resizing and cutting, for each.
    """

    def __init__(self, model: Model, protocol: Protocol, machine: Machine, batch: int, precision: str = "auto") -> None:
        self.model, self.protocol, self.machine, self.batch, self.precision = model, protocol, machine, batch, precision
        self.dense = protocol.crops == "dense"
        self.network, self.classifier = model.network, model.classifier
        if self.dense:
            self.network = fully_convolutional(model.network)
            net = build(self.network, (3, model.about.size, model.about.size))
            net.load_state_dict(converted(model.classifier.net.state_dict(), net.state_dict()))
            self.classifier = Classifier(net, *model.classifier.normalisation).eval()
        self.engine: Backend | None = None
        self.seconds, self.drawing = 0.0, list[float]()
        self.views = self.images = self.macs = 0
        self._macs: dict[tuple[int, int], int] = {}
        self._waiting: dict[tuple[int, int], list[tuple[int, Pixels]]] = defaultdict(list)
        self._sums: dict[int, NDArray[np.float64]] = {}
        self._left: dict[int, int] = {}

    @property
    def described(self) -> str:
        return self.protocol.describe(self.model.about.size)

    def draw(self, image: Image.Image) -> list[Pixels]:
        """The views of an image; called by threads."""
        began = time.thread_time()
        found = list(views(image, self.protocol, self.model.about.size))
        self.drawing.append(time.thread_time() - began)  # why: threads that add to one number lose some
        return found

    def take(self, image: int, shown: Sequence[Pixels]) -> None:
        """Add the views of an image to those that wait; run what fills a batch."""
        self._left[image], self._sums[image] = len(shown), np.zeros(self.network.classes)
        self.images, self.views = self.images + 1, self.views + len(shown)
        for pixels in shown:
            shape = pixels.shape[:2]
            self.macs += self._cost(shape)
            waiting = self._waiting[shape]
            waiting.append((image, pixels))
            if len(waiting) == self.batch and not self.dense:
                self._run(shape)
        if self.dense:  # why: shapes differ from image to image, so a batch is what one image has of a shape
            self.flush()

    def flush(self) -> None:
        """Run whatever waits."""
        for shape in list(self._waiting):
            self._run(shape)

    def finished(self) -> Iterator[tuple[int, NDArray[np.float64]]]:
        """The images whose views have all been run since the last call: their probabilities, which sum up to 1."""
        for image in [image for image, left in self._left.items() if not left]:
            del self._left[image]
            yield image, self._sums.pop(image)

    def _run(self, shape: tuple[int, int]) -> None:
        waiting = self._waiting.pop(shape)
        began = time.perf_counter()
        full = len(waiting) if self.dense else self.batch
        pixels = np.zeros((full, *shape, 3), np.uint8)
        for i, (_, view) in enumerate(waiting):
            pixels[i] = view
        batch = torch.from_numpy(pixels).permute(0, 3, 1, 2)
        if self.engine is None:
            self.engine = engine(self.classifier, self.machine, batch[: len(waiting)], self.precision)
            began = time.perf_counter()  # why: choosing an engine is no part of what an image takes
        shares = self._shares(batch)
        for (image, _), share in zip(waiting, shares):
            self._sums[image] += share
            self._left[image] -= 1
        for image in {image for image, _ in waiting}:
            if not self._left[image]:
                self._sums[image] /= self._sums[image].sum()
        self.seconds += time.perf_counter() - began

    def _shares(self, batch: Tensor) -> NDArray[np.float64]:
        assert self.engine is not None
        with torch.inference_mode():
            shares: NDArray[np.float64] = self.engine(batch).double().softmax(1).numpy()
        return shares

    def _cost(self, shape: tuple[int, int]) -> int:
        if shape not in self._macs:
            self._macs[shape] = count(self.network, (3, *shape)).macs
        return self._macs[shape]


def predicted(
    judges: Sequence[Predictor], count: int, read: Callable[[int, bool], Image.Image]
) -> Iterator[tuple[int, list[NDArray[np.float32]] | Unreadable]]:
    """For each of `count` images, in order, what each judge gives, or why it cannot be read.

    `read(image, upright)` gives one in RGB, turned by EXIF or not, and raises Unreadable; it is called by threads.
    Whether it is turned is the model's to say, whatever command asks: as it was in its training.
    """
    threads = max(1, torch.get_num_threads())
    each = sum(judge.protocol.count() for judge in judges)
    ahead = max(2 * threads, 2 * max(judge.batch for judge in judges) // each, AHEAD // each)
    done: dict[int, list[NDArray[np.float32]] | Unreadable] = {}
    parts: dict[int, dict[int, NDArray[np.float32]]] = defaultdict(dict)
    following = 0
    turned = {judge.model.about.upright for judge in judges}

    def drawn(image: int) -> list[list[Pixels]]:
        images = {upright: read(image, upright) for upright in turned}
        return [judge.draw(images[judge.model.about.upright]) for judge in judges]

    def collect() -> Iterator[tuple[int, list[NDArray[np.float32]] | Unreadable]]:
        nonlocal following
        for n, judge in enumerate(judges):
            for image, shares in judge.finished():
                parts[image][n] = shares.astype(np.float32)
                if len(parts[image]) == len(judges):
                    found = parts.pop(image)
                    done[image] = [found[n] for n in range(len(judges))]
        while following in done:
            yield following, done.pop(following)
            following += 1

    with ThreadPoolExecutor(threads) as pool:
        queue: deque[Future[list[list[Pixels]]]] = deque()
        try:
            for image in range(count):
                while len(queue) + image < min(count, image + ahead):
                    queue.append(pool.submit(drawn, image + len(queue)))
                try:
                    shown = queue.popleft().result()
                except Unreadable as error:
                    done[image] = error
                else:
                    for judge, pixels in zip(judges, shown):
                        judge.take(image, pixels)
                yield from collect()
            for judge in judges:
                judge.flush()
            yield from collect()
        finally:
            for waiting in queue:
                waiting.cancel()


class Cost(msgspec.Struct, frozen=True):
    """What a protocol took of a model on this machine, per image."""

    views: float
    ops: float  # two a multiply-add
    ms: float  # resizing and cutting on one core, then the network; decoding is the same for all and not in it


@dataclass(frozen=True)
class Evaluation:
    """A model under a protocol over the validation images of a source."""

    model: Model
    protocol: Protocol
    predictions: Predictions
    cost: Cost
    engine: str  # what did the arithmetic, and how far it agrees with 32 bits
    notes: tuple[str, ...]


def fits(model: Model, protocol: Protocol) -> bool:
    """Whether the network can be judged so whatever the size of an image: not every one has such a dense form."""
    if protocol.crops != "dense":
        return True
    try:
        network = fully_convolutional(model.network)
        for more in range(BLOCK):  # why: branches that round otherwise, as bn-inception's, fit some sizes only
            count(network, (3, model.network.input[1] + more, model.network.input[2] + more))
    except SizeError:
        return False
    return True


def judge(
    models: Sequence[Model],
    protocols: Mapping[str, Sequence[Protocol]],
    source: Source,
    machine: Machine,
    group: Group = Group(),
    batch: int = 32,
    precision: str = "auto",
    tick: Callable[[int], object] = lambda images: None,
) -> list[Evaluation]:
    """Every model under every protocol of `protocols[model.where]`, each validation image decoded and scored once.

    With several processes each takes every n-th image, and all get the whole.
    Raises: DataError where the classes do not fit.
    """
    matched = {model.where: columns(model, source) for model in models}
    judges = [
        Predictor(model, protocol, machine, batch, precision) for model in models for protocol in protocols[model.where]
    ]
    mine = range(group.rank, len(source.val), group.world)
    scores = [np.full((len(mine), judge.network.classes), np.nan, np.float32) for judge in judges]
    unreadable: dict[int, str] = {}
    for i, found in predicted(judges, len(mine), lambda i, upright: source.read(source.val[mine[i]], upright)):
        if isinstance(found, Unreadable):
            unreadable[mine[i]] = found.reason
        else:
            for kept, row in zip(scores, found):
                kept[i] = row
        tick(i + 1)
    whole = [_gathered(part, len(source.val), group) for part in scores]
    reasons: dict[int, str] = {}
    for text in group.gathered(msgspec.json.encode(unreadable)):
        reasons |= msgspec.json.decode(text, type=dict[int, str])
    names = tuple(item.name for item in source.val)
    judged = []
    for one, rows in zip(judges, whole):
        at, notes = matched[one.model.where]
        labels = at[[item.label for item in source.val]]
        told = {names[i]: reason for i, reason in sorted(reasons.items())}
        seen = Predictions(
            one.model.about.classes, names, labels, rows, told, one.described, one.model.name, source.name
        )
        judged.append(Evaluation(one.model, one.protocol, seen, _cost(one, group), _engine(one), tuple(notes)))
    return judged


def together(models: Sequence[Model], shares: Sequence[float] = ()) -> tuple[Sequence[float], list[NDArray[np.int64]]]:
    """What each model counts in an ensemble, and the order that brings its outputs into the first one's.

    Raises: UsageError where the models tell other classes apart, or there is not a share for each.
    """
    shares = shares or [1.0] * len(models)
    if len(shares) != len(models) or min(shares) < 0 or not sum(shares) > 0:
        raise UsageError(f"{len(models)} models need {len(models)} shares that are not negative, not {list(shares)}")
    return shares, same_classes(models)


def ensemble(judged: Sequence[Evaluation], shares: Sequence[float] = ()) -> Evaluation:
    """Several models' probabilities averaged, as the papers do; `shares` weighs them. They keep the first one's order.

    Raises: UsageError where the models tell other classes apart, or there is not a share for each.
    """
    shares, orders = together([one.model for one in judged], shares)
    first = judged[0]
    scores = sum(
        share / sum(shares) * one.predictions.scores[:, order].astype(np.float64)
        for one, order, share in zip(judged, orders, shares)
    )
    cost = Cost(
        sum(one.cost.views for one in judged), sum(one.cost.ops for one in judged), sum(one.cost.ms for one in judged)
    )
    protocols = dict.fromkeys(one.predictions.protocol for one in judged)
    name = f"ensemble of {len(judged)}" + (
        f" ({', '.join(f'{share:g}' for share in shares)})" if len(set(shares)) > 1 else ""
    )
    seen = replace(first.predictions, scores=np.asarray(scores, np.float32), protocol=" + ".join(protocols), model=name)
    return replace(first, model=replace(first.model, name=name), predictions=seen, cost=cost, notes=())


def _gathered(part: NDArray[np.float32], count: int, group: Group) -> NDArray[np.float32]:
    """The rows of all processes in the order of the images."""
    if group.world == 1:
        return part
    whole = np.full((count, part.shape[1]), np.nan, np.float32)
    for rank, data in enumerate(group.gathered(part.tobytes())):
        whole[rank :: group.world] = np.frombuffer(data, np.float32).reshape(-1, part.shape[1])
    return whole


def _cost(judge: Predictor, group: Group) -> Cost:
    images, views, macs, seconds = group.all_reduce(
        judge.images, judge.views, judge.macs, judge.seconds + sum(judge.drawing)
    )
    each = max(1.0, images)
    return Cost(views / each, 2 * macs / each, 1e3 * seconds / each)


def _engine(judge: Predictor) -> str:
    return judge.engine.said if judge.engine else "no image could be read"


def likeliest(
    found: Sequence[NDArray[np.float32]] | Unreadable, about: About, top: int
) -> dict[str, str | float | None]:
    """The `top` likeliest classes of an image as a row: `class_1`, `probability_1`, ...; or why it cannot be read."""
    ranks = range(1, min(top, len(about.names)) + 1)
    row: dict[str, str | float | None] = {f"{what}_{n}": None for n in ranks for what in ("class", "probability")}
    if isinstance(found, Unreadable):
        return {**row, "unreadable": found.reason}
    for n, best in zip(ranks, np.argsort(-found[0], kind="stable").tolist()):
        row |= {f"class_{n}": about.names[best], f"probability_{n}": float(found[0][best])}
    return {**row, "unreadable": None}
