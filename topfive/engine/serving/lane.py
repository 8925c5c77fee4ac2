"""A model being served: its process, and the requests that wait for it."""

import asyncio
import contextlib
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence

from topfive.data.decoding import LIMIT
from topfive.engine.serving.batcher import Answer, Batcher, Drop, Kill, Run
from topfive.engine.serving.limits import Limits, Problem
from topfive.engine.serving.messages import (
    LENGTH,
    Card,
    Decoded,
    Forget,
    FromWorker,
    Image,
    Options,
    Prediction,
    Predictions,
    Refusal,
    RunBatch,
    Undecodable,
    frame,
    from_worker,
)
from topfive.engine.serving.metrics import Metrics
from topfive.errors import DataError, RefusedError, ResourceError, TopfiveError, UsageError

MOST_PIXELS = 50_000_000  # of an image, where the environment does not say; predict reads twice as many
AGAIN = 0.5, 30.0  # seconds before a worker is started again that did not become ready: at first, and at most
EXPIRED = Prediction(error="it took longer than the server's time limit", status=504)
LOST = Prediction(error="the process of the model ended while it had this image; send it again", status=503)
FAILED = Prediction(error="the batch with this image failed, for want of memory perhaps; send it again", status=503)
CHANGED = "its file has changed since the server was started: restart it"
ERRORS: dict[int, type[TopfiveError]] = {kind.exit_code: kind for kind in (UsageError, DataError, RefusedError)}


class Lane:
    """One model: `predict` gives an answer for each image, in order; `start` and `close` frame its life."""

    def __init__(self, name: str, options: Options, limits: Limits, metrics: Metrics) -> None:
        self.name, self.options, self.limits, self.metrics = name, options, limits, metrics
        self.batcher: Batcher[Prediction] = Batcher(
            options.max_batch, limits.batch_wait, limits.queue, limits.answer_seconds
        )
        self.card: Card | None = None
        self.why_down = "it is being loaded"
        self._answers: dict[int, asyncio.Future[Prediction]] = {}
        self._process: Process | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._tending: asyncio.Task[None] | None = None
        self._batch_failed = False

    @property
    def ready(self) -> bool:
        return self.batcher.up

    async def start(self) -> None:
        """Load the model. Raises: what opening it does."""
        await self._launch()
        self._tending = asyncio.create_task(self._tend())

    async def close(self) -> None:
        """End the process, which finishes what it runs."""
        if self._tending:
            self._tending.cancel()
        if self._process and self._process.returncode is None and self._process.stdin:
            self._process.stdin.close()
            try:
                await asyncio.wait_for(self._process.wait(), 2)
            except TimeoutError:
                self._kill()
                await self._process.wait()

    async def predict(self, images: Sequence[tuple[str, bytes]], top: int, heatmap: bool = False) -> list[Prediction]:
        """An answer for each image; where this is cancelled, the images are forgotten. Raises: Problem."""
        loop = asyncio.get_running_loop()
        tickets = self.batcher.admit(len(images), loop.time())
        if tickets is None and not self.ready:
            raise Problem(503, "model not ready", f"{self.name}: {self.why_down}", again=1)
        if tickets is None:
            self.metrics.shed += len(images)
            raise Problem(429, "busy", f"{self.batcher.held} images wait already", limit=self.limits.queue, again=1)
        futures: list[asyncio.Future[Prediction]] = [loop.create_future() for _ in tickets]
        self._answers.update(zip(tickets, futures))
        for ticket, (name, data) in zip(tickets, images):
            self._tell(frame(Image(ticket, name, top, data, heatmap)))
        self._pump()
        try:
            return list(await asyncio.gather(*futures))
        finally:
            for ticket, future in zip(tickets, futures):
                if not future.done() or future.cancelled():
                    self._answers.pop(ticket, None)
                    self.batcher.left(ticket)
            self._pump()

    async def _launch(self) -> None:
        """Start the process and wait until it is ready. Raises: what opening the model does."""
        environment = {LIMIT: str(MOST_PIXELS), **os.environ}
        command = [sys.executable, "-m", "topfive.engine.serving.worker"]
        self._process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, env=environment)
        self._tell(frame(self.options))
        match await self._hear():
            case Card() as card:
                if self.card and self.card.sha256 != card.sha256:
                    raise RefusedError(CHANGED)
                self.card = card
                self.batcher.started(asyncio.get_running_loop().time())
            case Refusal(sentence=sentence, exit_code=code):
                raise ERRORS.get(code, ResourceError)(sentence)
            case _:
                raise ResourceError(
                    f"the process of {self.name} ended while it loaded the model: its memory may not do"
                )

    async def _tend(self) -> None:
        """Pass on what the process says; when it is gone, start it again."""
        pause = AGAIN[0]
        while True:
            if self.ready:
                pause = AGAIN[0]
                while (message := await self._hear()) is not None:
                    self._take(message)
                self.batcher.died()
                self.why_down = "its process has ended and is being started again"
                self._pump()
            self._kill()
            self.metrics.restarts += 1
            print(f"topfive: {self.name}: {self.why_down}", file=sys.stderr, flush=True)
            try:
                await self._launch()
            except (TopfiveError, OSError) as error:
                # why: what else it may say names places of this machine, which are no client's business
                self.why_down = CHANGED if str(error) == CHANGED else "it cannot be loaded again; the log says why"
                print(f"topfive: {self.name}: {error}", file=sys.stderr, flush=True)
                await asyncio.sleep(pause)
                pause = min(2 * pause, AGAIN[1])

    def _take(self, message: FromWorker) -> None:
        now = asyncio.get_running_loop().time()
        match message:
            case Decoded(ticket=ticket):
                self.batcher.decoded(ticket, now)
            case Undecodable(ticket=ticket, why=why):
                self.batcher.refused(ticket, why, now)
            case Predictions(batch=batch, results=results, failure=failure):
                self._batch_failed = bool(failure)
                self.batcher.ran(batch, None if failure else results, now)
            case _:  # a Card comes once
                return
        self._pump()
        self._batch_failed = False

    def _pump(self) -> None:
        """Do what the batcher says, and come back when it next has something to say."""
        loop = asyncio.get_running_loop()
        for action in self.batcher.advance(loop.time()):
            match action:
                case Run(batch=batch, tickets=tickets):
                    self.metrics.ran(self.name, len(tickets))
                    self._tell(frame(RunBatch(batch, tickets)))
                case Drop(ticket=ticket):
                    self._tell(frame(Forget(ticket)))
                case Kill():
                    self._kill()
                case Answer(ticket=ticket, outcome=outcome, result=result):
                    self.metrics.answered(self.name, outcome)
                    lost = FAILED if self._batch_failed else LOST
                    future = self._answers.pop(ticket, None)
                    if future and not future.done():
                        future.set_result(result or (EXPIRED if outcome == "expired" else lost))
        if self._timer:
            self._timer.cancel()
        when = self.batcher.next_time()
        self._timer = loop.call_at(when, self._pump) if when is not None else None

    def _tell(self, data: bytes) -> None:
        if self._process and self._process.stdin and not self._process.stdin.is_closing():
            self._process.stdin.write(data)

    async def _hear(self) -> FromWorker | None:
        """The next message of the process; None when it is gone."""
        assert self._process is not None and self._process.stdout is not None
        try:
            head = await self._process.stdout.readexactly(LENGTH)
            return from_worker.decode(await self._process.stdout.readexactly(int.from_bytes(head, "big")))
        except (asyncio.IncompleteReadError, ConnectionError):
            return None

    def _kill(self) -> None:
        if self._process and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
