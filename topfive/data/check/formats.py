"""Findings about sizes, formats, and what decoding noted."""

import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from math import log2

from topfive.data.check.evidence import APART, HARMS, NOTE, Copies, Finding, Look, by_chance
from topfive.data.check.phrases import are, counted, have, of_all, percent, points, size
from topfive.data.check.scanning import Seen

SMALL, SMALL_BESIDE = 8, 4  # pixels of the shorter side; times smaller than the median one
LONG = 3  # times the shorter side
TELLING = 0.05  # how much oftener format or size alone classifies the class than the largest class does
# what the notes of decoding mean, by a part of each
DONE = {
    "transparency": "transparent pixels become white, in training and in use",
    "0 to 1": "their values are reduced to 256 levels",
    "16 bits": "their 65,536 levels are reduced to 256",
    "first frame": "the other frames are ignored",
    "upright": "programs that ignore EXIF would show them rotated",
    "content in": "they are read by content; programs that go by the file name fail",
    "converted": "they are converted to RGB without a colour profile, so colours are slightly off",
}


def sizes(look: Look, copies: Copies) -> Iterator[Finding]:
    """Images that are very small, very long, or of one colour."""
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
            f"{of_all(len(small), len(shorter), 'image')} {have(small)} a shorter side below {limit:.0f} pixels, the "
            f"median is {median:.0f}",
            "they are blurred when enlarged to the size of the others; such images are often icons and previews",
            look.examples(((i,) for i in small), lambda one: size(look.seen[one[0]])),
        )
    ratio = {i: max(look.seen[i].width, look.seen[i].height) / shorter[i] for i in look.readable}
    long = sorted((i for i in look.readable if ratio[i] > LONG), key=lambda i: -ratio[i])
    if long:
        yield Finding(
            "very long images",
            NOTE,
            len(long),
            f"{of_all(len(long), len(shorter), 'image')} {are(long)} more than {LONG} times as long as wide",
            f"the centre crop that is evaluated shows {percent(statistics.mean(1 / ratio[i] for i in long))} of them",
            look.examples(((i,) for i in long), lambda one: size(look.seen[one[0]])),
        )
    if copies.plain:
        every = [i for first in copies.plain for i in copies.of(first)]
        chance = sum(map(look.val, every)) / look.tested
        yield Finding(
            "images of one colour",
            NOTE,
            len(every),
            f"{of_all(len(every), len(shorter), 'image')} {are(every)} of one colour, or nearly",
            f"there is nothing to learn from them, and {points(chance)} of Top-1 depend on chance",
            look.examples((i,) for i in every),
        )


def telling(look: Look, copies: Copies) -> Iterator[Finding]:
    """Whether format or size tells the class, or the split: a network may learn them instead of what is seen."""
    if not look.parts[False] or not look.parts[True]:
        return
    features: dict[str, tuple[Callable[[Seen], str], Callable[[Seen], str]]] = {
        "format": (lambda image: image.format, lambda image: image.format),
        "size": (size, lambda image: str(round(2 * log2(image.shorter)))),  # between splits: to half an octave
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
                f"{what}s that reveal the class",
                HARMS,
                round((right - chance) * look.tested),
                f"the {what} alone classifies {percent(right)} of the validation images correctly, the most common "
                f"class {percent(chance)}",
                f"a network may learn the {what} instead of the content: it would fail on images from "
                "elsewhere, and the accuracy would not show it",
            )
        shares = [Counter(coarse(look.seen[i]) for i in look.parts[held]) for held in (False, True)]
        train = len(look.parts[False])
        every = {*shares[0], *shares[1]}
        apart = sum(abs(shares[0][value] / train - shares[1][value] / look.tested) for value in every) / 2
        if apart > max(APART, by_chance(len(every), look.tested)):
            yield Finding(
                f"different {what}s in the splits",
                NOTE,
                round(apart * look.tested),
                f"training and validation images differ in {what}, by {percent(apart)} of the images",
                "the network is evaluated on a different kind of images than it is trained on",
            )


def noted(look: Look, copies: Copies) -> Iterator[Finding]:
    """Several formats, and what decoding noted of images."""
    formats = Counter(look.seen[i].format for i in look.readable)
    if len(formats) > 1:
        names = ", ".join(f"{name or 'raw pixels'} ({count:,})" for name, count in formats.most_common())
        yield Finding(
            "several formats",
            NOTE,
            len(look.readable) - formats.most_common(1)[0][1],
            f"the images are of {counted(len(formats), 'format')}: {names}",
            "none, unless a format reveals the class, which is reported separately",
        )
    notes = Counter(note for i in look.readable for note in look.seen[i].notes)
    for note, count in notes.most_common():
        says = next((said for word, said in DONE.items() if word in note), "they are still read")
        which = ((i,) for i in look.readable if note in look.seen[i].notes)
        yield Finding(note, NOTE, count, f"{counted(count, 'image')}: {note}", says, look.examples(which))
