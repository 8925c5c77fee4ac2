"""What findings are made from and of: a source with what was seen of it, which images are copies, and a finding."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import Literal

import msgspec

from topfive.data.check import duplicates
from topfive.data.check.phrases import shown
from topfive.data.check.scanning import Seen
from topfive.data.sources import Item, Source

Severity = Literal["biases evaluation", "harms training", "note"]
BIASES: Severity = "biases evaluation"
HARMS: Severity = "harms training"
NOTE: Severity = "note"
EXAMPLES = 60  # kept of each finding
APART = 0.2  # share of images that would have to change for the splits to be alike


class Example(msgspec.Struct, frozen=True):
    """One image or two that belong together: positions in training and then validation images, paths, a remark."""

    images: tuple[int, ...]
    paths: tuple[str, ...]
    says: str = ""


class Finding(msgspec.Struct, frozen=True):
    """One thing found: how many images it concerns, a sentence, and what it would do."""

    kind: str
    severity: Severity
    count: int
    sentence: str
    consequence: str
    examples: tuple[Example, ...] = ()


class Look:
    """A source and what was seen of it, by position: first the training images, then the validation ones."""

    def __init__(self, source: Source, seen: Sequence[Seen]) -> None:
        self.source, self.seen = source, seen
        self.items: tuple[Item, ...] = (*source.train, *source.val)
        self.readable = [i for i, image in enumerate(seen) if not image.reason]
        self.parts = {held: [i for i in self.readable if self.val(i) == held] for held in (False, True)}
        self.tested = max(1, len(self.parts[True]))  # what shares of the accuracy are shares of

    def val(self, i: int) -> bool:
        return i >= len(self.source.train)

    def label(self, i: int) -> int:
        return self.items[i].label

    def name(self, label: int) -> str:
        return repr(self.source.classes[label])

    def counts(self, val: bool) -> Counter[int]:
        """How many readable images each class has in a split; 0 for one without."""
        counts = Counter(dict.fromkeys(range(len(self.source.classes)), 0))
        counts.update(map(self.label, self.parts[val]))
        return counts

    def examples(
        self, groups: Iterable[Sequence[int]], says: Callable[[Sequence[int]], str] = lambda group: ""
    ) -> tuple[Example, ...]:
        some = [tuple(group) for _, group in zip(range(EXAMPLES), groups)]
        return tuple(Example(g, tuple(shown(self.items[i].name) for i in g), says(g)) for g in some)


class Copies:
    """Which images are the same as which others, exactly or nearly."""

    def __init__(self, look: Look, near: duplicates.Near) -> None:
        self.look, self.plain = look, near.plain
        self.pairs = {
            verdict: [pair for pair in near.pairs if pair.verdict == verdict]
            for verdict in (duplicates.COPY, duplicates.PROBABLY, duplicates.ALIKE)
        }
        self.near = self.pairs[duplicates.COPY]
        self.exact = duplicates.exact([image.digest for image in look.seen])
        self.group = {i: group for group in self.exact for i in group}

    def of(self, i: int) -> tuple[int, ...]:
        """The image and its exact copies."""
        return self.group.get(i, (i,))

    @cached_property
    def exact_leaks(self) -> dict[int, list[int]]:
        """Validation images that are in training, with their copies there."""
        val = self.look.val
        return {
            i: [j for j in group if not val(j)]
            for group in self.exact
            for i in group
            if val(i) and not val(group[0])  # training comes first
        }

    @cached_property
    def near_leaks(self) -> dict[int, list[tuple[int, duplicates.Pair]]]:
        """Validation images with copies in training that are not exact, and those copies."""
        return {i: there for i, there in self.across(duplicates.COPY).items() if i not in self.exact_leaks}

    def across(self, verdict: duplicates.Verdict) -> dict[int, list[tuple[int, duplicates.Pair]]]:
        """Validation images with such pairs in training, and their partners there."""
        found: dict[int, list[tuple[int, duplicates.Pair]]] = defaultdict(list)
        for pair in self.pairs[verdict]:
            for one, other in ((pair.first, pair.second), (pair.second, pair.first)):
                there = next((j for j in self.of(other) if not self.look.val(j)), None)
                for i in self.of(one):
                    if there is not None and self.look.val(i):
                        found[i].append((there, pair))
        return dict(found)

    @cached_property
    def near_groups(self) -> dict[bool, list[list[int]]]:
        """Images of one split that near duplicates join, exact copies counted once; the largest group first."""
        return {held: self._joined(held) for held in (False, True)}

    def _joined(self, val: bool) -> list[list[int]]:
        above: dict[int, int] = {}

        def top(i: int) -> int:
            while above.setdefault(i, i) != i:
                above[i] = i = above[above[i]]
            return i

        for pair in self.near:
            ends = [[k for k in self.of(i) if self.look.val(k) == val] for i in pair[:2]]
            if all(ends):
                above[top(ends[0][0])] = top(ends[1][0])
        groups: dict[int, list[int]] = defaultdict(list)
        for i in sorted(above):
            groups[top(i)].append(i)
        return sorted(groups.values(), key=len, reverse=True)

    @cached_property
    def again(self) -> Counter[int]:
        """How many images of each class are copies of another one of it."""
        again: Counter[int] = Counter()
        for group in (*self.exact, *self.near_groups[False], *self.near_groups[True]):
            for label, count in Counter(map(self.look.label, group)).items():
                again[label] += count - 1
        return again


def by_chance(kinds: int, tested: int) -> float:
    """How far the shares of so many kinds may be apart between the splits by chance alone, generously."""
    return float((kinds / tested) ** 0.5)
