"""What may be wrong with images: each finding in a sentence, and in another what it would do, with figures.

An evaluation would be biased where validation images are in training too, exactly or as a copy, where a validation
image is found under another label too, and where validation images cannot be read. Images that are only probably
copies, or only look alike, bias nothing that is known: they are noted.
"""

import re
import statistics
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from math import log2
from typing import Literal, TypeVar

import msgspec

from topfive.data.check import duplicates
from topfive.data.check.scanning import Seen
from topfive.data.sources import Item, Source

Severity = Literal["biases evaluation", "harms training", "note"]
BIASES: Severity = "biases evaluation"
HARMS: Severity = "harms training"
NOTE: Severity = "note"

EXAMPLES = 60  # kept of each finding
FEW_TO_LEARN, FEW_TO_TEST = 20, 1000  # images of a class in training; validation images in all
UNBALANCED, VERY_UNBALANCED = 2, 10  # times as many images in the largest class as in the smallest
SMALL, SMALL_BESIDE = 8, 4  # pixels of the shorter side; times smaller than the median one
LONG = 3  # times the shorter side
MANY_COPIES, MOSTLY_COPIES = 0.01, 0.8  # of the training images; of a class
PROBABLE_COPIES, COPIES_OF_ALIKE = 93, 35  # of 100 such pairs, at 32x32 pixels: judged by eye, docs/results/data.md
TELLING = 0.05  # how much oftener format or size alone classifies the class than the largest class does
APART = 0.2  # share of images that would have to change for the splits to be alike

# folders made by a program or for a time, not for a class
STRAY = re.compile(
    r"new ?folder|neuer ordner|untitled|unsorted|to ?sort|unlabell?ed|unclassified|misc|miscellaneous|te?mp|backup|old|"
    r"downloads?|desktop|images?|images?|photos?|data|dataset|trash|deleted?|duplicates?|copy|.* copy|copy of .*"
)

# what the notes of decoding mean, by a part of each
DONE = {
    "transparency": "where they are clear the network sees white, in training as in use",
    "0 to 1": "their fractions become 256 levels, which is all that networks are shown",
    "16 bits": "their 65,536 levels become 256, which is all that networks are shown",
    "first frame": "the further frames are never seen",
    "upright": "a program that ignores EXIF would see them lying",
    "content in": "they are read by their content; a program that goes by the name fails",
    "converted": "their colours become RGB without a colour profile, a little off",
}

T = TypeVar("T")


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


def found(look: Look, copies: Copies) -> tuple[Finding, ...]:
    """Every finding, those that bias an evaluation first."""
    order = (BIASES, HARMS, NOTE)
    every = [finding for find in FINDERS for finding in find(look, copies)]
    return tuple(sorted(every, key=lambda finding: order.index(finding.severity)))


# Images that are there more than once


def _exact_across(look: Look, copies: Copies) -> Iterator[Finding]:
    leaks = copies.exact_leaks
    if leaks:
        yield Finding(
            "exact duplicates across the splits",
            BIASES,
            len(leaks),
            f"{_of(len(leaks), look.tested, 'validation image')} {_are(leaks)} in training too, pixel for pixel",
            _gain(look, {i: {look.label(j) for j in there} for i, there in leaks.items()}),
            look.examples((i, there[0]) for i, there in leaks.items()),
        )


def _near_across(look: Look, copies: Copies) -> Iterator[Finding]:
    leaks = copies.near_leaks
    if leaks:
        yield Finding(
            "near duplicates across the splits",
            BIASES,
            len(leaks),
            f"{_of(len(leaks), look.tested, 'validation image')} {_are(leaks)} in training too but for size, encoding, "
            "mirroring, cropping or brightness",
            _gain(look, {i: {look.label(j) for j, _ in there} for i, there in leaks.items()}),
            _nearest(look, leaks),
        )


def _alike_across(look: Look, copies: Copies) -> Iterator[Finding]:
    told = {*copies.exact_leaks, *copies.near_leaks}
    probable = {i: there for i, there in copies.across(duplicates.PROBABLY).items() if i not in told}
    if probable:
        yield Finding(
            "probable copies across the splits",
            NOTE,
            len(probable),
            f"{_of(len(probable), look.tested, 'validation image')} {_are(probable)} probably in training too, changed "
            "more than a copy is, or as like as others of the class are",
            f"of such pairs {PROBABLE_COPIES} of 100 were one photograph where it was measured; the others show one "
            f"thing twice. Were all of them copies, up to {_points(len(probable) / look.tested)} of Top-1 would be "
            "memory: look at them",
            _nearest(look, probable),
        )
    alike = {i: there for i, there in copies.across(duplicates.ALIKE).items() if i not in told and i not in probable}
    if alike:
        yield Finding(
            "look-alikes across the splits",
            NOTE,
            len(alike),
            f"{_of(len(alike), look.tested, 'validation image')} {_have(list(alike))} a look-alike in training whose "
            "fine details differ",
            f"nothing as far as can be told: {100 - COPIES_OF_ALIKE} of 100 such pairs were two photographs where it "
            "was measured, of like things or of one series; if a series is in both splits, split by series",
            _nearest(look, alike),
        )


def _nearest(look: Look, leaks: dict[int, list[tuple[int, duplicates.Pair]]]) -> tuple[Example, ...]:
    """Each of these validation images with the likest in training, those under another label first."""
    nearest = {i: max(there, key=lambda one: one[1].likeness) for i, there in leaks.items()}
    order = sorted(nearest, key=lambda i: (look.label(i) == look.label(nearest[i][0]), -nearest[i][1].likeness))
    return look.examples(
        _varied(((i, nearest[i][0]), nearest[i][0]) for i in order), lambda pair: _how(nearest[pair[0]][1])
    )


def _gain(look: Look, leaks: dict[int, set[int]]) -> str:
    """What it does to the accuracy that validation images are in training, under these labels."""
    helped = sum(look.label(i) in labels for i, labels in leaks.items())
    parts = []
    if helped:
        gained = _points(helped / look.tested)
        parts.append(f"a network that memorised them would gain up to {gained} of Top-1 that new images would not give")
    if helped < len(leaks):
        lost = len(leaks) - helped
        parts.append(
            f"{counted(lost, 'of them')} under another label would cost it up to {_points(lost / look.tested)}"
        )
    return "; ".join(parts) + ": remove the copies from one of the splits"


def _two_labels(look: Look, copies: Copies) -> Iterator[Finding]:
    groups = [group for group in copies.exact if len({look.label(i) for i in group}) > 1]
    if groups:
        concerned = [i for group in groups for i in group]
        held = [[i for i in group if look.val(i)] for group in groups]
        wrong = sum(len(group) - max(Counter(map(look.label, group)).values()) for group in held if group)
        cost = "the same pixels are taught as two classes"
        if wrong:
            best = _percent(1 - wrong / look.tested)
            cost += f", and no network can classify more than {best} of the validation images correctly"
        elif any(held):
            cost += f", and up to {_points(sum(map(len, held)) / look.tested)} of Top-1 depend on which label was meant"
        groups.sort(key=lambda group: -sum(map(look.val, group)))
        pairs = [(group[-1], next(i for i in group if look.label(i) != look.label(group[-1]))) for group in groups]
        yield Finding(
            "one image under two labels",
            BIASES if any(held) else HARMS,
            len(concerned),
            f"{counted(len(concerned), 'image')}, {sum(map(len, held)):,} in validation, {_are(concerned)} the same as "
            "one under another label",
            cost,
            look.examples(pairs, lambda pair: _labels(look, pair)),
        )
    near = [pair for pair in copies.near if look.label(pair.first) != look.label(pair.second)]
    if near:
        alike = {i for pair in near for i in pair[:2]}
        tested = sum(map(look.val, alike))
        depends = f", and up to {_points(tested / look.tested)} of Top-1 depend on which" if tested else ""
        yield Finding(
            "nearly one image under two labels",
            BIASES if tested else HARMS,
            len(alike),
            f"{counted(len(alike), 'image')}, {tested:,} in validation, {_are(alike)} nearly the same as one under "
            "another label",
            f"one of the two labels is wrong or the classes overlap{depends}",
            look.examples((pair[:2] for pair in near), lambda pair: _labels(look, pair)),
        )


def _exact_inside(look: Look, copies: Copies) -> Iterator[Finding]:
    for val in (False, True):
        groups = [[i for i in group if look.val(i) == val] for group in copies.exact]
        groups = sorted((group for group in groups if len(group) > 1), key=len, reverse=True)
        if groups:
            yield _inside(look, val, "exact", groups, look.examples(group[:2] for group in groups), "pixel for pixel")


def _near_inside(look: Look, copies: Copies) -> Iterator[Finding]:
    by_images = {pair[:2]: pair for pair in copies.near}
    for val in (False, True):
        groups = copies.near_groups[val]
        if groups:
            pairs = [pair for pair in copies.near if all(look.val(i) == val for i in pair[:2])]
            pairs.sort(key=lambda pair: -pair.likeness)
            group_of = {i: n for n, group in enumerate(groups) for i in group}
            varied = _varied([(pair[:2], group_of[pair.first]) for pair in pairs])
            examples = look.examples(varied, lambda pair: _how(by_images[pair[0], pair[1]]))
            yield _inside(look, val, "near", groups, examples, "but for size, encoding, cropping or the like")


def _inside(
    look: Look, val: bool, kind: str, groups: list[list[int]], examples: tuple[Example, ...], how: str
) -> Finding:
    split = "validation" if val else "training"
    again, whole = sum(len(group) - 1 for group in groups), len(look.parts[val])
    harm = (
        f"they count more than once: the accuracy rests on {whole - again:,} different images"
        if val
        else f"they weigh more than others, {_percent(again / whole)} of each epoch teaches nothing new, and "
        "validation images drawn from these at random would leak"
    )
    return Finding(
        f"{kind} duplicates among the {split} images",
        HARMS if not val and again / whole >= MANY_COPIES else NOTE,
        again,
        f"{_of(again, whole, f'{split} image')} {_are(again)} {'a copy' if again == 1 else 'copies'} of another "
        f"one, {how}; the largest group has {len(groups[0]):,}",
        harm,
        examples,
    )


# Files and folders


def _unreadable(look: Look, copies: Copies) -> Iterator[Finding]:
    for val in (True, False):
        bad = [i for i, image in enumerate(look.seen) if image.reason and look.val(i) == val]
        if not bad:
            continue
        whole = len(look.source.val if val else look.source.train)
        split = "validation" if val else "training"
        reasons = Counter(shown(look.seen[i].reason) for i in bad).most_common()
        why = ", ".join(f"{reason} ({count:,})" for reason, count in reasons[:2])
        more = f" and {len(reasons) - 2:,} more reasons" if len(reasons) > 2 else ""
        label, hit = Counter(map(look.label, bad)).most_common(1)[0]
        left, points = whole - len(bad), _points(len(bad) / whole)
        yield Finding(
            f"unreadable {split} images",
            BIASES if val else HARMS,
            len(bad),
            f"{_of(len(bad), whole, f'{split} image')} cannot be read, {hit:,} of them of class {look.name(label)}: "
            f"{why}{more}",
            f"the accuracy is that of the other {left:,} and may be up to {points} lower or higher on all"
            if val
            else f"they are skipped: {left:,} images are left to learn from",
            look.examples(((i,) for i in bad), lambda one: shown(look.seen[one[0]].reason)),
        )


def _folders(look: Look, copies: Copies) -> Iterator[Finding]:
    counts, held = look.counts(False), look.counts(True)
    sizes = counts + held
    alike: dict[str, list[int]] = defaultdict(list)
    for label, name in enumerate(look.source.classes):
        alike[_core(name)].append(label)
        if STRAY.fullmatch(_plain(name)):
            yield Finding(
                "a folder that may be no class",
                HARMS,
                sizes[label],
                f"{look.name(label)} ({counted(sizes[label], 'image')}) looks like a folder that a program made, or "
                "one for a time",
                f"it is taught as one of {counted(len(counts), 'class')} and tested with "
                f"{_percent(held[label] / look.tested)} of the validation images",
            )
    for twins in alike.values():
        if len(twins) > 1:
            names = " and ".join(f"{look.name(label)} ({sizes[label]:,})" for label in twins)
            chance = sum(held[label] for label in twins) - max(held[label] for label in twins)
            yield Finding(
                "class names that look like one",
                HARMS,
                sum(sizes[label] for label in twins),
                f"{names} may be one class under {len(twins)} names",
                f"if they are, nothing tells them apart, and up to {_points(chance / look.tested)} of Top-1 are chance",
            )
    for label, again in copies.again.items():
        if again >= 4 and again >= MOSTLY_COPIES * sizes[label]:
            yield Finding(
                "a class made of copies",
                HARMS,
                again,
                f"{_of(again, sizes[label], 'image')} of class {look.name(label)} are copies of another one",
                f"there are {sizes[label] - again:,} different images to learn it from",
            )


# Classes


def _unbalanced(look: Look, copies: Copies) -> Iterator[Finding]:
    counts, held = look.counts(False), look.counts(True)
    (most, high), (least, low) = counts.most_common(1)[0], counts.most_common()[-1]
    if low and high / low >= UNBALANCED:
        yield Finding(
            "classes of unequal size",
            HARMS if high / low >= VERY_UNBALANCED else NOTE,
            high - low,
            f"the largest class {look.name(most)} has {high:,} training images, {high / low:.1f} times as many as "
            f"the smallest, {look.name(least)}, with {low:,}",
            f"naming everything {look.name(most)} would already be right for {_percent(held[most] / look.tested)} of "
            "the validation images, and small classes are learnt less than the accuracy of all tells",
        )
    few = sorted((label for label, count in counts.items() if count < FEW_TO_LEARN), key=lambda label: counts[label])
    if few:
        yield Finding(
            "classes with few training images",
            HARMS,
            sum(counts[label] for label in few),
            f"{_of(len(few), len(counts), 'class')} {_have(few)} fewer than {FEW_TO_LEARN} training images: "
            + _some([f"{look.name(label)} ({counts[label]:,})" for label in few]),
            "they will hardly be learnt, and theirs are "
            f"{_percent(sum(held[label] for label in few) / look.tested)} of the validation images",
        )


def _untested(look: Look, copies: Copies) -> Iterator[Finding]:
    counts, held = look.counts(False), look.counts(True)
    train, tested = len(look.parts[False]), len(look.parts[True])
    missing = [label for label, count in held.items() if not count]
    if missing:
        without = sum(counts[label] for label in missing)
        yield Finding(
            "classes without validation images",
            NOTE,
            without,
            f"{_of(len(missing), len(held), 'class')} {_have(missing)} no validation image: "
            + _some([look.name(label) for label in missing]),
            f"the accuracy says nothing about them, though {_percent(without / max(1, train))} of the training "
            "images are theirs",
        )
    if 0 < tested < FEW_TO_TEST:
        yield Finding(
            "few validation images",
            NOTE,
            tested,
            f"only {counted(tested, 'image')} {_are(tested)} for validation",
            # half a 95 % interval at an accuracy of a half: 1.96 * sqrt(0.25 / n)
            f"an accuracy near 50 % is known to {98 / tested**0.5:.0f} points either way (95 %): smaller differences "
            "between networks cannot be told",
        )
    if train and tested:
        apart = sum(abs(counts[label] / train - held[label] / tested) for label in counts) / 2
        if apart > max(APART, _by_chance(len(counts), tested)):
            yield Finding(
                "other shares of classes in the splits",
                NOTE,
                round(apart * tested),
                f"the classes' shares of the splits differ by {_percent(apart)} of the images",
                "a network that has learnt how common each class is expects others than it is tested on",
            )


# Sizes, formats and what decoding noted


def _sizes(look: Look, copies: Copies) -> Iterator[Finding]:
    if not look.readable:
        return
    shorter = {i: look.seen[i].shorter for i in look.readable}
    median = statistics.median(shorter.values())
    limit = max(SMALL, median / SMALL_BESIDE)
    small = sorted((i for i in look.readable if shorter[i] < limit), key=lambda i: shorter[i])
    if small and median > limit:
        yield Finding(
            "very small images",
            NOTE,
            len(small),
            f"{_of(len(small), len(shorter), 'image')} {_have(small)} a shorter side below {limit:.0f} pixels, the "
            f"median is {median:.0f}",
            "enlarged to the size of the others they teach blur; such images are often icons and previews",
            look.examples(((i,) for i in small), lambda one: _size(look.seen[one[0]])),
        )
    ratio = {i: max(look.seen[i].width, look.seen[i].height) / shorter[i] for i in look.readable}
    long = sorted((i for i in look.readable if ratio[i] > LONG), key=lambda i: -ratio[i])
    if long:
        yield Finding(
            "very long images",
            NOTE,
            len(long),
            f"{_of(len(long), len(shorter), 'image')} {_are(long)} more than {LONG} times as long as broad",
            f"the centre square that is tested shows {_percent(statistics.mean(1 / ratio[i] for i in long))} of them",
            look.examples(((i,) for i in long), lambda one: _size(look.seen[one[0]])),
        )
    if copies.plain:
        every = [i for first in copies.plain for i in copies.of(first)]
        chance = sum(map(look.val, every)) / look.tested
        yield Finding(
            "images of one colour",
            NOTE,
            len(every),
            f"{_of(len(every), len(shorter), 'image')} {_are(every)} of one colour, or nearly",
            f"there is nothing to learn from, and {_points(chance)} of Top-1 are left to chance",
            look.examples((i,) for i in every),
        )


def _telling(look: Look, copies: Copies) -> Iterator[Finding]:
    """Whether format or size tells the class, or the split: a network may learn them instead of what is seen."""
    if not look.parts[False] or not look.parts[True]:
        return
    features: dict[str, tuple[Callable[[Seen], str], Callable[[Seen], str]]] = {
        "format": (lambda image: image.format, lambda image: image.format),
        "size": (_size, lambda image: str(round(2 * log2(image.shorter)))),  # between splits: to half an octave
    }
    for what, (fine, coarse) in features.items():
        by_value: dict[str, Counter[int]] = defaultdict(Counter)
        for i in look.parts[False]:
            by_value[fine(look.seen[i])][look.label(i)] += 1
        common = look.counts(False).most_common(1)[0][0]
        named = {value: labels.most_common(1)[0][0] for value, labels in by_value.items()}
        right = sum(named.get(fine(look.seen[i]), common) == look.label(i) for i in look.parts[True]) / look.tested
        chance = look.counts(True)[common] / look.tested
        # why: three standard errors, so that a few validation images do not tell by accident
        if right - chance > max(TELLING, 3 * (chance * (1 - chance) / look.tested) ** 0.5):
            yield Finding(
                f"{what}s that tell the class",
                HARMS,
                round((right - chance) * look.tested),
                f"the {what} alone classifies {_percent(right)} of the validation images correctly, the commonest "
                f"class {_percent(chance)}",
                f"a network may learn the traces of the {what} instead of what is seen: it would fail on images from "
                "elsewhere, and the accuracy would not tell",
            )
        shares = [Counter(coarse(look.seen[i]) for i in look.parts[held]) for held in (False, True)]
        train = len(look.parts[False])
        every = {*shares[0], *shares[1]}
        apart = sum(abs(shares[0][value] / train - shares[1][value] / look.tested) for value in every) / 2
        if apart > max(APART, _by_chance(len(every), look.tested)):
            yield Finding(
                f"other {what}s in the splits",
                NOTE,
                round(apart * look.tested),
                f"training and validation images differ in {what}, by {_percent(apart)} of the images",
                "the accuracy is that on another kind of images than the network learnt from",
            )


def _noted(look: Look, copies: Copies) -> Iterator[Finding]:
    formats = Counter(look.seen[i].format for i in look.readable)
    if len(formats) > 1:
        names = ", ".join(f"{name or 'raw pixels'} ({count:,})" for name, count in formats.most_common())
        yield Finding(
            "several formats",
            NOTE,
            len(look.readable) - formats.most_common(1)[0][1],
            f"the images are of {counted(len(formats), 'format')}: {names}",
            "nothing, as long as no format goes with a class; where one does, that is a finding of its own",
        )
    notes = Counter(note for i in look.readable for note in look.seen[i].notes)
    for note, count in notes.most_common():
        says = next((said for word, said in DONE.items() if word in note), "they are read all the same")
        which = ((i,) for i in look.readable if note in look.seen[i].notes)
        yield Finding(note, NOTE, count, f"{counted(count, 'image')}: {note}", says, look.examples(which))


FINDERS: tuple[Callable[[Look, Copies], Iterator[Finding]], ...] = (
    _exact_across,
    _near_across,
    _two_labels,
    _unreadable,
    _exact_inside,
    _near_inside,
    _alike_across,
    _folders,
    _unbalanced,
    _untested,
    _telling,
    _sizes,
    _noted,
)


# In words


def shown(name: str) -> str:
    """A name as it is, or with escapes where it would trouble a terminal or is no text at all."""
    return name if name.isprintable() else ascii(name)[1:-1]


def counted(count: int, what: str) -> str:
    """`1 image`, `1,200 classes`."""
    return f"{count:,} {_plural(what, count)}"


def _of(count: int, whole: int, what: str) -> str:
    """`12 of 1,000 validation images (1.2 %)`."""
    return f"{count:,} of {whole:,} {_plural(what, whole)} ({_percent(count / whole if whole else 0)})"


def _plural(what: str, count: int) -> str:
    if count == 1 or what.startswith("of "):
        return what
    return f"{what}es" if what.endswith("s") else f"{what}s"


def _are(what: int | Iterable[object]) -> str:
    return "is" if (what if isinstance(what, int) else len(list(what))) == 1 else "are"


def _have(what: Sequence[object]) -> str:
    return "has" if len(what) == 1 else "have"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5:,} more" if len(names) > 5 else "")


def _percent(fraction: float) -> str:
    """A fraction in percent: one digit behind the point, two below 0.1 %."""
    return f"{100 * fraction:.{2 if 0 < fraction < 0.001 else 1}f} %"


def _points(fraction: float) -> str:
    return _percent(fraction).replace("%", "points")


def _how(pair: duplicates.Pair) -> str:
    return f"likeness {pair.likeness:.2f}{', mirrored' if pair.mirrored else ''}"


def _labels(look: Look, pair: Sequence[int]) -> str:
    return " and ".join(look.name(look.label(i)) for i in pair)


def _size(image: Seen) -> str:
    return f"{image.width}x{image.height}"


def _by_chance(kinds: int, tested: int) -> float:
    """How far the shares of so many kinds may be apart between the splits by chance alone, generously."""
    return float((kinds / tested) ** 0.5)


def _varied(ordered: Iterable[tuple[T, int]]) -> Iterator[T]:
    """Those first that are the first of their kind (the second part), so that not all examples are of one image."""
    later: list[T] = []
    known: set[int] = set()
    for one, kind in ordered:
        if kind in known:
            later.append(one)
        else:
            known.add(kind)
            yield one
    yield from later


def _plain(name: str) -> str:
    """A folder's name without case, accents and separators; `cats (2)` and `cats - Copy` end in ` copy`."""
    text = unicodedata.normalize("NFKD", name).casefold()
    text = "".join(letter for letter in text if not unicodedata.combining(letter))
    text = re.sub(r"\s*(\(\d+\)|- (copy|kopie))\s*$", " copy", text)
    return " ".join(re.split(r"[\s_\-.]+", text)).strip()


def _core(name: str) -> str:
    """What the names of one class have in common: no plural, no `copy`, no separators."""
    text = re.sub(r"\b(copy of|copy)\b", "", _plain(name)).replace(" ", "")
    return re.sub(r"(?<=[a-z]{2}[^s])s$", "", text) or name
