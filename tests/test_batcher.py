"""The batcher under a virtual clock: clients that leave, a worker that is slow, silent, wrong or dead, in every order.

The model of a worker here knows nothing of the batcher: it keeps its own note of what it was given, and an answer is
right where it is the one computed from the image that the client sent.
"""

import heapq
import itertools
import random
from collections.abc import Callable

import pytest

from topfive.engine.serving.batcher import Answer, Batcher, Drop, Kill, Run

NEVER = float("inf")


class World:
    """Clients, a worker and a clock, all from one seed; what must not happen is asserted as it would happen."""

    def __init__(self, seed: int) -> None:
        self.random = pick = random.Random(seed)
        self.most, self.room = pick.choice([1, 2, 4, 8]), pick.choice([1, 3, 8, 30])
        self.wait, self.seconds = pick.choice([0.0, 0.01, 0.1]), pick.choice([0.02, 0.3, 5.0])
        self.trouble = pick.choice([0.0, 0.02, 0.2])  # how often something goes wrong
        self.batcher: Batcher[str] = Batcher(self.most, self.wait, self.room, self.seconds)
        self.now, self.order = 0.0, itertools.count()
        self.events: list[tuple[float, int, Callable[[], None]]] = []
        self.sent: dict[int, tuple[str, float]] = {}  # what each ticket's image is, and when it came
        self.answers: dict[int, tuple[str, str | None]] = {}
        self.left: set[int] = set()
        self.turned_away = self.kills = self.runs = 0
        self.life = 0  # of the worker
        self.has: dict[int, str] = {}  # the worker's own note of its images
        self.decoded: set[int] = set()
        self.decoding: set[int] = set()  # those that may still join a batch
        self.busy, self.silent = False, False
        self.idle_since = 0.0
        self.ready_at: dict[int, float] = {}

    def at(self, delay: float, what: Callable[[], None]) -> None:
        if delay < NEVER:
            heapq.heappush(self.events, (self.now + delay, next(self.order), what))

    def alive(self, what: Callable[[], None]) -> Callable[[], None]:
        """What the worker says, unless it has died before."""
        life = self.life
        return lambda: what() if life == self.life and not self.silent else None

    def unlucky(self, share: float = 1.0) -> bool:
        return self.random.random() < share * self.trouble

    def run(self, clients: int) -> None:
        self.at(self.random.choice([0.0, 0.1]), self.start)
        moment = 0.0
        for n in range(clients):
            moment += self.random.choice([0.0, 0.0, 0.003, 0.05])
            self.at(moment, lambda n=n: self.arrive(n))
        if self.unlucky(5):
            self.at(self.random.uniform(0, moment + 0.1), self.die)
        while self.events:
            self.now, _, what = heapq.heappop(self.events)
            what()
            self.act()
        assert not self.batcher.held  # a worker that says nothing of an image has been ended
        for ticket, (image, _) in self.sent.items():
            assert (ticket in self.answers) != (ticket in self.left), f"image {ticket} has no answer"
            outcome, result = self.answers.get(ticket, ("", None))
            assert result == (
                f"seen {image}" if outcome == "answered" else f"bad {image}" if outcome == "refused" else None
            )

    def act(self) -> None:
        """Do what the batcher says, and come back when it wants to be asked again."""
        for action in self.batcher.advance(self.now):
            match action:
                case Run(batch=batch, tickets=tickets):
                    self.compute(batch, tickets)
                case Drop(ticket=ticket):
                    self.has.pop(ticket, None)
                    self.ready_at.pop(ticket, None)
                    self.decoding.discard(ticket)
                case Kill():
                    self.kills += 1
                    self.at(0.0, self.die)
                case Answer(ticket=ticket, outcome=outcome, result=result):
                    assert ticket not in self.answers and ticket not in self.left
                    assert self.now <= self.sent[ticket][1] + self.seconds + 1e-9, "an answer after its time"
                    self.answers[ticket] = outcome, result
        assert self.batcher.held <= self.room
        if not self.busy and self.ready_at and self.batcher.up:
            assert self.decoding, "an idle worker waits for nothing"
            oldest = max(min(self.ready_at.values()), self.idle_since)
            assert self.now < oldest + self.wait + 1e-9, "an idle worker waits for longer than it may"
        when = self.batcher.next_time()
        if when is not None:
            assert when > self.now - 1e-9
            self.at(max(0.0, when - self.now), lambda: None)

    def start(self) -> None:
        self.batcher.started(self.now)
        self.silent, self.busy, self.idle_since = False, False, self.now

    def die(self) -> None:
        if self.batcher.up:
            self.life += 1
            self.has, self.decoded, self.decoding, self.ready_at, self.busy = {}, set(), set(), {}, False
            self.batcher.died()
            self.at(self.random.choice([0.0, 0.2]), self.start)

    def arrive(self, n: int) -> None:
        images = [f"{n}/{i}" for i in range(self.random.choice([1, 1, 1, 2, 5]))]
        tickets = self.batcher.admit(len(images), self.now)
        if tickets is None:
            self.turned_away += 1
            return
        assert not set(tickets) & self.sent.keys()
        for ticket, image in zip(tickets, images, strict=True):
            self.sent[ticket] = image, self.now
            self.has[ticket] = image
            self.decoding.add(ticket)
            self.silent = self.silent or self.unlucky(0.1)  # from here on nothing is heard of it
            delay = self.random.choice([0.0, 0.001, 0.02])
            if self.unlucky():
                self.at(delay, self.alive(lambda t=ticket, i=image: self.refuse(t, i)))
            else:
                self.at(NEVER if self.unlucky(0.1) else delay, self.alive(lambda t=ticket: self.decode(t)))
            if self.unlucky():
                self.at(self.random.choice([0.0, 0.01, 0.1]), lambda t=ticket: self.leave(t))

    def refuse(self, ticket: int, image: str) -> None:
        self.decoding.discard(ticket)
        self.batcher.refused(ticket, f"bad {image}", self.now)

    def decode(self, ticket: int) -> None:
        self.decoding.discard(ticket)
        if ticket in self.has:
            self.decoded.add(ticket)
            self.ready_at[ticket] = self.now
        self.batcher.decoded(ticket, self.now)

    def leave(self, ticket: int) -> None:
        if ticket not in self.answers:
            self.left.add(ticket)
            self.batcher.left(ticket)

    def compute(self, batch: int, tickets: tuple[int, ...]) -> None:
        assert not self.busy and 0 < len(tickets) <= self.most and set(tickets) <= self.decoded & self.has.keys()
        if self.decoding and len(tickets) < self.most:
            assert self.now > min(self.ready_at.values()) + self.wait - 1e-9, "it does not wait for what is coming"
        results: list[str] | None = [f"seen {self.has.pop(ticket)}" for ticket in tickets]
        for ticket in tickets:
            del self.ready_at[ticket]
        self.busy, self.runs = True, self.runs + 1
        if self.unlucky():
            results = self.random.choice([None, (results or [])[:-1]])  # it fails, or says too little
        delay = NEVER if self.unlucky(0.3) else self.random.choice([0.001, 0.03, 0.2])
        self.at(delay, self.alive(lambda: self.done(batch, results)))
        if self.unlucky(0.3):
            self.at(self.random.uniform(0, 0.05), self.die)

    def done(self, batch: int, results: list[str] | None) -> None:
        self.busy, self.idle_since = False, self.now
        self.batcher.ran(batch, results, self.now)


def simulate(seeds: range) -> dict[str, int]:
    seen = dict.fromkeys(("answered", "refused", "expired", "lost", "left", "turned away", "killed", "together"), 0)
    for seed in seeds:
        world = World(seed)
        try:
            world.run(30)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
        for outcome, _ in world.answers.values():
            seen[outcome] += 1
        seen["left"] += len(world.left)
        seen["turned away"] += world.turned_away
        seen["killed"] += world.kills
        seen["together"] += world.runs < sum(outcome == "answered" for outcome, _ in world.answers.values())
    return seen


def test_every_image_has_one_answer_its_own_and_in_time() -> None:
    seen = simulate(range(400))
    assert min(seen.values()) > 10, seen  # nothing of it is imagined alone


@pytest.mark.slow
def test_ten_thousand_worlds() -> None:
    seen = simulate(range(10_000))
    print(seen)
    assert min(seen.values()) > 250, seen


def test_a_batch_is_what_is_ready_when_its_time_has_come() -> None:
    batcher: Batcher[str] = Batcher(3, wait=0.01, room=10, seconds=1)
    batcher.started(0.0)
    assert batcher.admit(5, 0.0) == [0, 1, 2, 3, 4]
    batcher.decoded(2, 0.001)
    batcher.decoded(0, 0.002)
    assert batcher.advance(0.002) == [] and batcher.next_time() == pytest.approx(0.011)
    assert batcher.advance(0.011) == [Run(1, (2, 0))]  # the wait is over
    for ticket in (1, 3, 4):
        batcher.decoded(ticket, 0.012)
    assert batcher.advance(0.012) == []  # one at a time
    batcher.ran(1, ["c", "a"], 0.02)
    assert batcher.advance(0.02) == [Answer(2, "answered", "c"), Answer(0, "answered", "a"), Run(2, (1, 3, 4))]


def test_a_lone_image_is_run_at_once_and_so_is_one_whose_company_does_not_come() -> None:
    batcher: Batcher[str] = Batcher(3, wait=0.01, room=10, seconds=1)
    batcher.started(0.0)
    batcher.admit(1, 0.0)
    batcher.decoded(0, 0.001)
    assert batcher.advance(0.001) == [Run(1, (0,))]
    batcher.ran(1, ["a"], 0.002)
    batcher.admit(3, 0.002)
    batcher.decoded(1, 0.003)
    assert batcher.advance(0.003) == [Answer(0, "answered", "a")] and batcher.next_time() == pytest.approx(0.013)
    batcher.refused(2, "bad", 0.004)
    assert batcher.advance(0.004) == [Answer(2, "refused", "bad")]  # the last may come
    batcher.left(3)
    assert batcher.advance(0.005) == [Drop(3), Run(2, (1,))]


def test_before_it_started_and_when_full_nothing_is_admitted() -> None:
    batcher: Batcher[str] = Batcher(1, 0, room=2, seconds=1)
    assert batcher.admit(1, 0.0) is None
    batcher.started(0.0)
    assert batcher.admit(3, 0.0) is None and batcher.admit(2, 0.0) == [0, 1] and batcher.admit(1, 0.0) is None
    batcher.left(0)
    assert batcher.advance(0.1) == [Drop(0)] and batcher.admit(1, 0.1) is None  # the worker has it still
    batcher.decoded(0, 0.2)
    assert batcher.admit(1, 0.2) == [2] and batcher.advance(0.2) == []


def test_silence_is_death_only_where_there_is_work() -> None:
    batcher: Batcher[str] = Batcher(1, 0, room=2, seconds=1)
    batcher.started(0.0)
    assert batcher.advance(100.0) == [] and batcher.next_time() is None
    batcher.admit(1, 100.0)
    batcher.decoded(0, 100.5)
    assert batcher.advance(100.5) == [Run(1, (0,))]
    assert batcher.advance(101.0) == [Answer(0, "expired")]
    assert batcher.next_time() == 102.5 and batcher.advance(102.5) == [Kill()] and batcher.advance(200.0) == []


def test_a_worker_that_is_silent_on_images_that_have_expired_is_ended_too() -> None:
    batcher: Batcher[str] = Batcher(1, 0, room=2, seconds=1)
    batcher.started(0.0)
    batcher.admit(1, 0.0)
    assert batcher.advance(1.0) == [Answer(0, "expired"), Drop(0)]
    assert batcher.next_time() == 2.0 and batcher.advance(2.0) == [Kill()]
