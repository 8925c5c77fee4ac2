"""Which images are run together, and what becomes of each: a state machine without clock, threads, torch or network.

Whoever drives it says what happened and what time it is; `advance` says what to do. An image that is admitted gets
exactly one answer, by its deadline at the latest, whatever becomes of the worker; one whose client has left gets none.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

Result = TypeVar("Result")
Outcome = Literal["answered", "refused", "expired", "lost"]


@dataclass(frozen=True)
class Run:
    """Have the worker run these images together."""

    batch: int
    tickets: tuple[int, ...]


@dataclass(frozen=True)
class Drop:
    """Have the worker forget an image; of one that it had still to decode it speaks all the same."""

    ticket: int


@dataclass(frozen=True)
class Kill:
    """End the worker, which has work and has not been heard of for too long."""


@dataclass(frozen=True)
class Answer(Generic[Result]):
    """Tell the client; `result` is None where the image expired or was lost."""

    ticket: int
    outcome: Outcome
    result: Result | None = None


Action = Run | Drop | Kill | Answer[Result]


class Batcher(Generic[Result]):
    """The images of one worker: decoded as they come, then run together as many as are ready.

    An idle worker runs what is ready, unless more is being decoded: for that it waits until the oldest image has been
    ready for `wait` seconds. A busy one gets what has gathered, up to `most`, when it is done. No more than `room`
    images are held. `seconds` is what an answer may take;
    a worker that is silent for twice as long is ended.
    """

    def __init__(self, most: int, wait: float, room: int, seconds: float) -> None:
        self.most, self.wait, self.room, self.seconds = most, wait, room, seconds
        self.up = self.killed = False
        self._deadlines: dict[int, float] = {}  # of images without an answer, the earliest first
        self._decoding: set[int] = set()  # of which the worker has still to speak, whoever has left meanwhile
        self._ready: dict[int, float] = {}  # since when
        self._running: tuple[int, ...] = ()
        self._heard = 0.0
        self._tickets = self._batches = 0
        self._actions: list[Action[Result]] = []

    @property
    def held(self) -> int:
        """Images that the worker has or is about to get."""
        return len(self._decoding) + len(self._ready) + len(self._running)

    def started(self, now: float) -> None:
        """The worker is there."""
        self.up, self.killed, self._heard = True, False, now

    def admit(self, count: int, now: float) -> list[int] | None:
        """A ticket for each of `count` images, which the worker gets to decode; None where there is no room."""
        if not self.up or self.killed or self.held + count > self.room:
            return None
        if not self.held:
            self._heard = now  # why: until now there was nothing to be heard
        tickets = list(range(self._tickets, self._tickets + count))
        self._tickets += count
        self._decoding.update(tickets)
        self._deadlines.update(dict.fromkeys(tickets, now + self.seconds))
        return tickets

    def decoded(self, ticket: int, now: float) -> None:
        """An image can be run."""
        self._heard = now
        self._decoding.discard(ticket)
        if ticket in self._deadlines:  # else it has expired, or its client has left
            self._ready[ticket] = now

    def refused(self, ticket: int, why: Result, now: float) -> None:
        """An image cannot be decoded."""
        self._heard = now
        self._decoding.discard(ticket)
        self._answer(ticket, "refused", why)

    def ran(self, batch: int, results: Sequence[Result] | None, now: float) -> None:
        """A batch is done: a result for each of its images, in order, or None where it failed as a whole."""
        self._heard = now
        if batch != self._batches or not self._running:
            return
        tickets, self._running = self._running, ()
        if results is not None and len(results) != len(tickets):
            results = None  # why: whose is whose cannot be told
        for i, ticket in enumerate(tickets):
            if results is None:
                self._answer(ticket, "lost")
            else:
                self._answer(ticket, "answered", results[i])

    def left(self, ticket: int) -> None:
        """The client of an image is gone."""
        if self._deadlines.pop(ticket, None) is not None:
            self._forget(ticket)

    def died(self) -> None:
        """The worker is gone, and with it all that it held."""
        self.up, self._decoding, self._ready, self._running = False, set(), {}, ()
        for ticket in list(self._deadlines):
            self._answer(ticket, "lost")

    def advance(self, now: float) -> list[Action[Result]]:
        """What is to be done now."""
        while self._deadlines and (ticket := next(iter(self._deadlines))) is not None:
            if self._deadlines[ticket] > now:
                break
            self._answer(ticket, "expired")
            self._forget(ticket)
        if self.held and not self.killed and now >= self._heard + 2 * self.seconds:
            self.killed = True
            self._actions.append(Kill())
        if not self._running and self._ready and (len(self._ready) >= self.most or now >= self._due()):
            self._running = tuple(self._ready)[: self.most]
            for ticket in self._running:
                del self._ready[ticket]
            self._batches += 1
            self._actions.append(Run(self._batches, self._running))
        actions, self._actions = self._actions, []
        return actions

    def next_time(self) -> float | None:
        """When `advance` has something to do if nothing happens before; None for never."""
        times = [next(iter(self._deadlines.values()))] if self._deadlines else []
        if self._ready and not self._running:
            times.append(self._due())
        if self.held and not self.killed:
            times.append(self._heard + 2 * self.seconds)
        return min(times, default=None)

    def _due(self) -> float:
        """When an idle worker runs what is ready."""
        coming = any(ticket in self._deadlines for ticket in self._decoding)  # what nobody waits for joins no batch
        return next(iter(self._ready.values())) + (self.wait if coming else 0.0)

    def _answer(self, ticket: int, outcome: Outcome, result: Result | None = None) -> None:
        if self._deadlines.pop(ticket, None) is not None:
            self._actions.append(Answer(ticket, outcome, result))

    def _forget(self, ticket: int) -> None:
        """Take an image back that is not running yet; one that is gets its result thrown away."""
        if ticket in self._decoding or self._ready.pop(ticket, None) is not None:
            self._actions.append(Drop(ticket))
