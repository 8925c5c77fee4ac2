"""The process of one model: it decodes images in threads as they come, and runs those it is told to run together.

It is a process of its own so that whatever an image does to a decoder, or a batch to the memory, ends no server, and so
that the HTTP process has neither torch nor its lock. It ends when its standard input does.
"""

import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import BinaryIO, NamedTuple

import numpy as np
import torch

from topfive.data.decoding import MORE_THAN_READ, START, Unreadable, decode, not_an_image
from topfive.data.views import views
from topfive.engine.benchmark.machine import this_machine
from topfive.engine.inference.backends import FEW, engine
from topfive.engine.inference.heatmap import locate
from topfive.engine.inference.models import Model, open_model, with_names
from topfive.engine.inference.prediction import Pixels, Predictor
from topfive.engine.serving.messages import (
    LENGTH,
    Card,
    Decoded,
    Forget,
    FromWorker,
    Guess,
    Heatmap,
    Image,
    Options,
    Prediction,
    Predictions,
    Rectangle,
    Refusal,
    RunBatch,
    Undecodable,
    frame,
    options,
    to_worker,
)
from topfive.errors import RefusedError, TopfiveError
from topfive.networks.costs import count
from topfive.recipes import protocols

MOST_VIEWS = 64  # run at a time
# why not any number: the kernels of each are prepared when it is first run, which takes as long as many batches
BATCHES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, MOST_VIEWS)
PREPARING = 3.0  # seconds for this at the start, beside the smallest and the largest


class Shown(NamedTuple):
    """The views of an image; `size` is its (width, height), where a heat map is wanted of it."""

    views: list[Pixels]
    top: int
    size: tuple[int, int] | None = None


class Worker:
    """A model that answers what comes on one pipe on another."""

    def __init__(self, model: Model, told: Options, out: BinaryIO) -> None:
        self.model, self.out, self.writing = model, out, threading.Lock()
        self.names = model.about.names
        self.protocol = protocols.get(told.protocol) if told.protocol else model.about.protocol
        self.machine = this_machine(told.device)
        self.predictor = Predictor(model, self.protocol, self.machine, 1)
        height, width = self.protocol.views(4 * model.about.size, 3 * model.about.size, model.about.size)[0].shape
        random = torch.Generator().manual_seed(0)
        sample = torch.randint(256, (max(FEW, told.max_batch), 3, height, width), dtype=torch.uint8, generator=random)
        # why: whether less than 32 bits will do is judged by images, of which there are none yet
        self.backend = self.predictor.engine = engine(self.predictor.classifier, self.machine, sample, "float32")
        began = time.perf_counter()
        for several in (1, *reversed([size for size in BATCHES[1:] if size <= len(sample)])):
            if several in (1, told.max_batch) or time.perf_counter() < began + PREPARING:
                self.backend(sample[:several])
        self.pool = ThreadPoolExecutor(self.machine.threads)
        self.holding = threading.Lock()
        self.shown: dict[int, Shown] = {}
        self.batches: queue.SimpleQueue[RunBatch | None] = queue.SimpleQueue()

    def card(self) -> Card:
        about = self.model.about
        costs = count(about.network, (3, about.size, about.size))
        return Card(
            network=about.network.name,
            params=costs.params,
            macs=costs.macs,
            size=about.size,
            receptive_field=max(max(row.receptive_field) for row in costs.rows if row.output[1:] != (1, 1)),
            classes=about.network.classes,
            protocol=self.predictor.described,
            views=self.protocol.count(),
            trained_on=about.source,
            origin=about.origin,
            backend=f"{self.backend.said}; {self.machine.threads} threads of {self.machine.processor}",
            sha256=self.model.sha256,
            notes=self.model.notes,
        )

    def say(self, message: FromWorker) -> None:
        with self.writing:
            self.out.write(frame(message))
            self.out.flush()

    def listen(self, pipe: BinaryIO) -> None:
        """Take what comes until nothing more does."""
        while (data := read(pipe)) is not None:
            match to_worker.decode(data):
                case Image() as image:
                    self.shown[image.ticket] = Shown([], image.top)
                    self.pool.submit(self.decode, image)
                case RunBatch() as batch:
                    self.batches.put(batch)
                case Forget(ticket=ticket):
                    with self.holding:
                        self.shown.pop(ticket, None)
        self.batches.put(None)

    def decode(self, image: Image) -> None:
        if image.ticket not in self.shown:  # it was to be forgotten before its turn came
            self.say(Decoded(image.ticket))
            return
        about = self.model.about
        try:
            upright = decode(image.data, image.name, about.upright).image
            shown = list(views(upright, self.protocol, about.size))
        except Exception as error:  # why: whatever it is, it is this image's alone
            self.shown.pop(image.ticket, None)
            self.say(Undecodable(image.ticket, reason(error, image)))
            return
        with self.holding:
            if image.ticket in self.shown:
                self.shown[image.ticket] = Shown(shown, image.top, upright.size if image.heatmap else None)
        self.say(Decoded(image.ticket))

    def run(self) -> None:
        """Run batches until there are no more."""
        while (batch := self.batches.get()) is not None:
            shown = [self.shown.pop(ticket) for ticket in batch.tickets]
            try:
                results = self.predict(shown)
            except Exception as error:  # why: a batch that the memory does not hold, or a fault: the next may do
                self.predictor = Predictor(self.model, self.protocol, self.machine, 1)
                self.predictor.engine = self.backend
                print(f"topfive: a batch failed: {type(error).__name__}: {error}", file=sys.stderr)
                self.say(Predictions(batch.batch, (), type(error).__name__))
            else:
                self.say(Predictions(batch.batch, tuple(results)))

    def predict(self, shown: Sequence[Shown]) -> list[Prediction]:
        total = sum(len(each.views) for each in shown)
        self.predictor.batch = next((size for size in BATCHES if size >= total), MOST_VIEWS)
        for i, each in enumerate(shown):
            self.predictor.take(i, each.views)
        self.predictor.flush()
        shares = dict(self.predictor.finished())
        found = []
        for i, each in enumerate(shown):
            best = np.argsort(-shares[i], kind="stable")[: each.top].tolist()
            guesses = tuple(Guess(self.names[k], float(shares[i][k])) for k in best)
            heat, why = self.heatmap(each.views[0], each.size, best[0]) if each.size else (None, "")
            found.append(Prediction(guesses, heatmap=heat, no_heatmap=why))
        return found

    def heatmap(self, pixels: Pixels, image: tuple[int, int], answer: int) -> tuple[Heatmap | None, str]:
        """Of the first view of an image of (width, height), or why there is none."""
        about, classifier = self.model.about, self.predictor.classifier
        try:
            shown = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))[None]
            x = classifier.normalised(shown.to(classifier.normalisation[0].device))
            found = locate(classifier.net, x, answer, self.protocol.views(*image, about.size)[0], image)
        except RefusedError as refusal:
            return None, str(refusal)
        except Exception as error:  # why: for want of memory, perhaps; the classes are known all the same
            print(f"topfive: a heat map failed: {type(error).__name__}: {error}", file=sys.stderr)
            return None, "it could not be computed"
        height, width = found.evidence.shape
        values = tuple(np.rint(255 * found.evidence).astype(int).ravel().tolist())
        places = Rectangle(*found.view), Rectangle(*found.field)
        return Heatmap(found.row, height, width, values, *places, about.upright), ""


def reason(error: Exception, image: Image) -> Prediction:
    """Why an image has no prediction, for its sender."""
    match error:
        case Unreadable(reason=why) if MORE_THAN_READ in why:
            return Prediction(error=why, status=413)
        case Unreadable(reason=why):
            foreign = image.data and not_an_image(image.data[:START], image.name)
            return Prediction(error=why, status=415 if foreign else 400)
        case MemoryError():
            return Prediction(error="there is not enough memory to decode it", status=503)
        case _:
            print(f"topfive: decoding failed: {type(error).__name__}: {error}", file=sys.stderr)
            return Prediction(error="it cannot be decoded", status=400)


def read(pipe: BinaryIO) -> bytes | None:
    """The next frame; None where there are no more."""
    head = pipe.read(LENGTH)
    length = int.from_bytes(head, "big")
    data = pipe.read(length) if len(head) == LENGTH else b""
    return data if data and len(data) == length else None


def main() -> None:
    """Open the model that standard input begins with, say so, and serve it."""
    for number in (signal.SIGINT, signal.SIGTERM):  # why: they are the server's, which lets this process finish
        signal.signal(number, signal.SIG_IGN)
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # why: what a library prints is no frame
    pipe = sys.stdin.buffer
    told = options.decode(read(pipe) or b"")
    try:
        (model,) = with_names([open_model(told.where, told.network)], told.classes)
        worker = Worker(model, told, out)
    except TopfiveError as error:
        out.write(frame(Refusal(str(error), error.exit_code)))
        out.close()
        return
    worker.say(worker.card())
    threading.Thread(target=worker.listen, args=(pipe,), daemon=True).start()
    worker.run()
    out.close()
    os._exit(0)  # why: nothing is left to be done, and a thread may be within an image


if __name__ == "__main__":
    main()
