"""Findings about images that are there more than once."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from topfive.data.check import duplicates
from topfive.data.check.evidence import BIASES, HARMS, NOTE, Copies, Example, Finding, Look
from topfive.data.check.phrases import are, counted, have, of_all, percent, points

MANY_COPIES = 0.01  # of the training images
PROBABLE_COPIES, COPIES_OF_ALIKE = 93, 35  # of 100 such pairs, at 32x32 pixels: judged by eye, docs/results/data.md
T = TypeVar("T")


def exact_across(look: Look, copies: Copies) -> Iterator[Finding]:
    """Validation images that are in training too, pixel for pixel."""
    leaks = copies.exact_leaks
    if leaks:
        yield Finding(
            "exact duplicates across the splits",
            BIASES,
            len(leaks),
            f"{of_all(len(leaks), look.tested, 'validation image')} {are(leaks)} in training too, pixel for pixel",
            _gain(look, {i: {look.label(j) for j in there} for i, there in leaks.items()}),
            look.examples((i, there[0]) for i, there in leaks.items()),
        )


def near_across(look: Look, copies: Copies) -> Iterator[Finding]:
    """Validation images with copies in training that are not exact."""
    leaks = copies.near_leaks
    if leaks:
        yield Finding(
            "near duplicates across the splits",
            BIASES,
            len(leaks),
            f"{of_all(len(leaks), look.tested, 'validation image')} {are(leaks)} in training too, apart from "
            "size, encoding, mirroring, cropping or brightness",
            _gain(look, {i: {look.label(j) for j, _ in there} for i, there in leaks.items()}),
            _nearest(look, leaks),
        )


def alike_across(look: Look, copies: Copies) -> Iterator[Finding]:
    """Validation images with probable copies, or look-alikes, in training."""
    told = {*copies.exact_leaks, *copies.near_leaks}
    probable = {i: there for i, there in copies.across(duplicates.PROBABLY).items() if i not in told}
    if probable:
        yield Finding(
            "probable copies across the splits",
            NOTE,
            len(probable),
            f"{of_all(len(probable), look.tested, 'validation image')} {are(probable)} probably in training too, "
            "changed too much to be sure, or in a class of very similar images",
            f"of such pairs {PROBABLE_COPIES} of 100 were one photograph where it was measured; the others show one "
            f"thing twice. Were all of them copies, up to {points(len(probable) / look.tested)} of Top-1 would be "
            "memorization: look at them",
            _nearest(look, probable),
        )
    alike = {i: there for i, there in copies.across(duplicates.ALIKE).items() if i not in told and i not in probable}
    if alike:
        yield Finding(
            "look-alikes across the splits",
            NOTE,
            len(alike),
            f"{of_all(len(alike), look.tested, 'validation image')} {have(list(alike))} a look-alike in training whose "
            "fine details differ",
            f"probably none: {100 - COPIES_OF_ALIKE} of 100 such pairs were two photographs where it "
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
        gained = points(helped / look.tested)
        parts.append(f"a network that memorised them would gain up to {gained} of Top-1 that new images would not give")
    if helped < len(leaks):
        lost = len(leaks) - helped
        parts.append(f"{counted(lost, 'of them')} under another label would cost it up to {points(lost / look.tested)}")
    return "; ".join(parts) + ": remove the copies from one of the splits"


def two_labels(look: Look, copies: Copies) -> Iterator[Finding]:
    """Images that are there under two labels, exactly or nearly."""
    groups = [group for group in copies.exact if len({look.label(i) for i in group}) > 1]
    if groups:
        concerned = [i for group in groups for i in group]
        held = [[i for i in group if look.val(i)] for group in groups]
        wrong = sum(len(group) - max(Counter(map(look.label, group)).values()) for group in held if group)
        cost = "the same pixels are trained as two classes"
        if wrong:
            best = percent(1 - wrong / look.tested)
            cost += f", and no network can classify more than {best} of the validation images correctly"
        elif any(held):
            cost += f", and up to {points(sum(map(len, held)) / look.tested)} of Top-1 depend on which label was meant"
        groups.sort(key=lambda group: -sum(map(look.val, group)))
        pairs = [(group[-1], next(i for i in group if look.label(i) != look.label(group[-1]))) for group in groups]
        yield Finding(
            "one image under two labels",
            BIASES if any(held) else HARMS,
            len(concerned),
            f"{counted(len(concerned), 'image')}, {sum(map(len, held)):,} in validation, {are(concerned)} the same as "
            "one under another label",
            cost,
            look.examples(pairs, lambda pair: _labels(look, pair)),
        )
    near = [pair for pair in copies.near if look.label(pair.first) != look.label(pair.second)]
    if near:
        alike = {i for pair in near for i in pair[:2]}
        tested = sum(map(look.val, alike))
        depends = f", and up to {points(tested / look.tested)} of Top-1 depend on which" if tested else ""
        yield Finding(
            "near duplicates under two labels",
            BIASES if tested else HARMS,
            len(alike),
            f"{counted(len(alike), 'image')}, {tested:,} in validation, {are(alike)} nearly the same as one under "
            "another label",
            f"one of the two labels is wrong or the classes overlap{depends}",
            look.examples((pair[:2] for pair in near), lambda pair: _labels(look, pair)),
        )


def exact_inside(look: Look, copies: Copies) -> Iterator[Finding]:
    """Exact copies within a split."""
    for val in (False, True):
        groups = [[i for i in group if look.val(i) == val] for group in copies.exact]
        groups = sorted((group for group in groups if len(group) > 1), key=len, reverse=True)
        if groups:
            yield _inside(look, val, "exact", groups, look.examples(group[:2] for group in groups), "pixel for pixel")


def near_inside(look: Look, copies: Copies) -> Iterator[Finding]:
    """Copies within a split that are not exact."""
    by_images = {pair[:2]: pair for pair in copies.near}
    for val in (False, True):
        groups = copies.near_groups[val]
        if groups:
            pairs = [pair for pair in copies.near if all(look.val(i) == val for i in pair[:2])]
            pairs.sort(key=lambda pair: -pair.likeness)
            group_of = {i: n for n, group in enumerate(groups) for i in group}
            varied = _varied([(pair[:2], group_of[pair.first]) for pair in pairs])
            examples = look.examples(varied, lambda pair: _how(by_images[pair[0], pair[1]]))
            yield _inside(look, val, "near", groups, examples, "apart from size, encoding, cropping or the like")


def _inside(
    look: Look, val: bool, kind: str, groups: list[list[int]], examples: tuple[Example, ...], how: str
) -> Finding:
    split = "validation" if val else "training"
    again, whole = sum(len(group) - 1 for group in groups), len(look.parts[val])
    harm = (
        f"they count more than once: the accuracy is based on {whole - again:,} different images"
        if val
        else f"they weigh more than others, {percent(again / whole)} of each epoch is redundant, and "
        "validation images drawn from these at random would leak"
    )
    return Finding(
        f"{kind} duplicates among the {split} images",
        HARMS if not val and again / whole >= MANY_COPIES else NOTE,
        again,
        f"{of_all(again, whole, f'{split} image')} {are(again)} {'a copy' if again == 1 else 'copies'} of another "
        f"one, {how}; the largest group has {len(groups[0]):,}",
        harm,
        examples,
    )


def _how(pair: duplicates.Pair) -> str:
    return f"similarity {pair.likeness:.2f}{', mirrored' if pair.mirrored else ''}"


def _labels(look: Look, pair: Sequence[int]) -> str:
    return " and ".join(look.name(look.label(i)) for i in pair)


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
