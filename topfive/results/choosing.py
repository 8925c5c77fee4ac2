"""Which networks leave a race, and why: decided from what they got right in it, never from the validation images."""

from collections.abc import Mapping, Sequence

import msgspec

from topfive.results.significance import LEVEL, Right, mean_interval, pairwise, spreads

KEEPS = 2  # one in so many goes on, so that each then has so many times the seconds in the same time


class Score(msgspec.Struct, frozen=True):
    """What a network came to in one rung, on the selection images; a fraction with its 95 % interval."""

    seconds: float  # of its training
    accuracy: float
    low: float
    high: float
    images: int


class Contender(msgspec.Struct, frozen=True):
    """One network of a choice: how it did in each rung, and when and why it left, if it did."""

    key: str
    name: str
    family: str
    params: int
    macs: int
    latency_p90_ms: float | None  # in the form in which it would serve; None for one that was not timed
    memory_bytes: int | None  # the most that one image takes in it
    scores: tuple[Score, ...] = ()
    left: str = ""  # limits, time, failed, rung 1, rung 2, ...; "" for a finalist
    why: str = ""
    told: bool = False  # that it left since the evidence says so, and not for want of time

    @property
    def accuracies(self) -> list[float]:
        """In percent, rung by rung."""
        return [100 * score.accuracy for score in self.scores]


def score(right: Right, seconds: float) -> Score:
    """The score of one training, `(1, images)`, or of several."""
    low, high = mean_interval(right)
    return Score(seconds, float(right.mean()), low, high, right.shape[1])


def leaving(right: Mapping[str, Right], most: int) -> dict[str, tuple[str, bool]]:
    """Which networks leave after a rung, by their keys: the reason in words, and whether it is evidence.

    The worse half leave where the images tell them from the best (Holm-corrected, on the same images). Of those that
    cannot be told, the worse leave where there is no time for all: `most` go on. The better half always stay as far as
    there is time, since a network that learns slowly at first can be the best at the end.
    """
    if not right:
        return {}
    order = sorted(right, key=lambda key: -float(right[key].mean()))
    p, best = pairwise(right, spreads(right)), order[0]
    half = -(-len(order) // KEEPS)
    gone: dict[str, tuple[str, bool]] = {}
    for rank, key in enumerate(order):
        behind = 100 * float(right[best].mean() - right[key].mean())
        told = key != best and p.get((best, key), p.get((key, best), 1.0)) < LEVEL
        if told and rank >= min(half, most):
            gone[key] = f"{behind:.1f} points behind the best, which is no chance (p < {LEVEL:g})", True
    stay = [key for key in order if key not in gone]
    for key in stay[most:]:
        behind = 100 * float(right[best].mean() - right[key].mean())
        gone[key] = f"{behind:.1f} points behind the best, which may be chance; no time for more than {most}", False
    return gone


def over_limits(one: Contender, latency_ms: float | None, memory_bytes: float | None, params: float | None) -> str:
    """Which limit a network exceeds, in words; "" for none, as far as it was measured."""
    if params is not None and one.params > params:
        return f"{one.params / 1e6:.3g} M parameters, over {params / 1e6:.3g} M"
    if latency_ms is not None and one.latency_p90_ms is not None and one.latency_p90_ms > latency_ms:
        return f"{one.latency_p90_ms:.3g} ms an image (p90), over {latency_ms:g} ms"
    if memory_bytes is not None and one.memory_bytes is not None and one.memory_bytes > memory_bytes:
        return f"{one.memory_bytes / 1e6:.0f} MB for an image, over {memory_bytes / 1e6:.0f} MB"
    return ""


def nearest(contenders: Sequence[Contender], latency_ms: float | None, memory_bytes: float | None) -> str:
    """What is nearest to limits that none keeps to, in words."""
    said = []
    if latency_ms is not None and (timed := [one for one in contenders if one.latency_p90_ms is not None]):
        fastest = min(timed, key=lambda one: one.latency_p90_ms or 0.0)
        said.append(f"the fastest, {fastest.name}, takes {fastest.latency_p90_ms:.3g} ms (p90)")
    if memory_bytes is not None and (timed := [one for one in contenders if one.memory_bytes is not None]):
        least = min(timed, key=lambda one: one.memory_bytes or 0)
        said.append(f"{least.name} takes the least memory, {(least.memory_bytes or 0) / 1e6:.0f} MB")
    smallest = min(contenders, key=lambda one: one.params)
    return ", ".join(said) or f"the smallest, {smallest.name}, has {smallest.params / 1e6:.3g} M parameters"
