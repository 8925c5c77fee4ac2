"""Findings about folders and classes: unreadable images, names, sizes of classes and splits."""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator

from topfive.data.check.evidence import APART, BIASES, HARMS, NOTE, Copies, Finding, Look, by_chance
from topfive.data.check.phrases import are, counted, have, of_all, percent, points, shown, some

FEW_TO_LEARN, FEW_TO_TEST = 20, 1000  # images of a class in training; validation images in all
MOSTLY_COPIES = 0.8  # of a class
UNBALANCED, VERY_UNBALANCED = 2, 10  # times as many images in the largest class as in the smallest
# folders made by a program or for a time, not for a class
STRAY = re.compile(
    r"new ?folder|neuer ordner|untitled|unsorted|to ?sort|unlabell?ed|unclassified|misc|miscellaneous|te?mp|backup|old|"
    r"downloads?|desktop|images?|images?|photos?|data|dataset|trash|deleted?|duplicates?|copy|.* copy|copy of .*"
)


def unreadable(look: Look, copies: Copies) -> Iterator[Finding]:
    """Images that cannot be read, in either split."""
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
        left, error = whole - len(bad), points(len(bad) / whole)
        yield Finding(
            f"unreadable {split} images",
            BIASES if val else HARMS,
            len(bad),
            f"{of_all(len(bad), whole, f'{split} image')} cannot be read, {hit:,} of them of class {look.name(label)}: "
            f"{why}{more}",
            f"the accuracy is measured on the other {left:,} and may be up to {error} lower or higher on all"
            if val
            else f"they are skipped: {left:,} images are left to learn from",
            look.examples(((i,) for i in bad), lambda one: shown(look.seen[one[0]].reason)),
        )


def folders(look: Look, copies: Copies) -> Iterator[Finding]:
    """Folders that are no classes, two names of one class, classes made of copies."""
    counts, held = look.counts(False), look.counts(True)
    sizes = counts + held
    alike: dict[str, list[int]] = defaultdict(list)
    for label, name in enumerate(look.source.classes):
        alike[_core(name)].append(label)
        if STRAY.fullmatch(_plain(name)):
            yield Finding(
                "a folder that may not be a class",
                HARMS,
                sizes[label],
                f"{look.name(label)} ({counted(sizes[label], 'image')}) looks like a folder that a program made, or "
                "one for a time",
                f"it is trained as one of {counted(len(counts), 'class')} and evaluated with "
                f"{percent(held[label] / look.tested)} of the validation images",
            )
    for twins in alike.values():
        if len(twins) > 1:
            names = " and ".join(f"{look.name(label)} ({sizes[label]:,})" for label in twins)
            chance = sum(held[label] for label in twins) - max(held[label] for label in twins)
            yield Finding(
                "similar class names",
                HARMS,
                sum(sizes[label] for label in twins),
                f"{names} may be one class under {len(twins)} names",
                f"if so, nothing distinguishes them, and up to {points(chance / look.tested)} of Top-1 are chance",
            )
    for label, again in copies.again.items():
        if again >= 4 and again >= MOSTLY_COPIES * sizes[label]:
            yield Finding(
                "a class made of copies",
                HARMS,
                again,
                f"{of_all(again, sizes[label], 'image')} of class {look.name(label)} are copies of another one",
                f"there are {sizes[label] - again:,} different images to learn it from",
            )


def unbalanced(look: Look, copies: Copies) -> Iterator[Finding]:
    """Classes of unequal size, and those with few training images."""
    counts, held = look.counts(False), look.counts(True)
    (most, high), (least, low) = counts.most_common(1)[0], counts.most_common()[-1]
    if low and high / low >= UNBALANCED:
        yield Finding(
            "classes of unequal size",
            HARMS if high / low >= VERY_UNBALANCED else NOTE,
            high - low,
            f"the largest class {look.name(most)} has {high:,} training images, {high / low:.1f} times as many as "
            f"the smallest, {look.name(least)}, with {low:,}",
            f"always predicting {look.name(most)} would be correct for {percent(held[most] / look.tested)} of "
            "the validation images, and the accuracy hides how small classes do",
        )
    few = sorted((label for label, count in counts.items() if count < FEW_TO_LEARN), key=lambda label: counts[label])
    if few:
        yield Finding(
            "classes with few training images",
            HARMS,
            sum(counts[label] for label in few),
            f"{of_all(len(few), len(counts), 'class')} {have(few)} fewer than {FEW_TO_LEARN} training images: "
            + some([f"{look.name(label)} ({counts[label]:,})" for label in few]),
            "they will hardly be learnt, and they have "
            f"{percent(sum(held[label] for label in few) / look.tested)} of the validation images",
        )


def untested(look: Look, copies: Copies) -> Iterator[Finding]:
    """Classes without validation images, few of those in all, and splits that differ."""
    counts, held = look.counts(False), look.counts(True)
    train, tested = len(look.parts[False]), len(look.parts[True])
    missing = [label for label, count in held.items() if not count]
    if missing:
        without = sum(counts[label] for label in missing)
        yield Finding(
            "classes without validation images",
            NOTE,
            without,
            f"{of_all(len(missing), len(held), 'class')} {have(missing)} no validation image: "
            + some([look.name(label) for label in missing]),
            f"the accuracy says nothing about them, though {percent(without / max(1, train))} of the training "
            "images are theirs",
        )
    if 0 < tested < FEW_TO_TEST:
        yield Finding(
            "few validation images",
            NOTE,
            tested,
            f"only {counted(tested, 'image')} {are(tested)} for validation",
            # half a 95 % interval at an accuracy of a half: 1.96 * sqrt(0.25 / n)
            f"an accuracy near 50 % is uncertain by {98 / tested**0.5:.0f} points either way (95 %): smaller "
            "differences between networks cannot be detected",
        )
    if train and tested:
        apart = sum(abs(counts[label] / train - held[label] / tested) for label in counts) / 2
        if apart > max(APART, by_chance(len(counts), tested)):
            yield Finding(
                "different class frequencies in the splits",
                NOTE,
                round(apart * tested),
                f"class frequencies differ between the splits by {percent(apart)} of the images",
                "the network learns class frequencies that differ from those it is evaluated on",
            )


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
