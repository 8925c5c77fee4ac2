"""`topfive data check`: every image read once, and what is wrong with them, as a report."""

import statistics
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import msgspec
import numpy as np
from PIL import Image

from topfive.data.check import duplicates
from topfive.data.check import signatures as signatures_of_check
from topfive.data.check.evidence import BIASES, Copies, Finding, Look
from topfive.data.check.findings import found
from topfive.data.check.scanning import Seen, cached, cached_scan, scan
from topfive.data.decoding import Unreadable
from topfive.data.sources import Source
from topfive.data.stores import Progress, silent


class ClassCount(msgspec.Struct, frozen=True):
    """The readable images of one class in each split, its unreadable ones, and those that are copies of others."""

    name: str
    words: str
    train: int
    val: int
    unreadable: int
    copies: int


class Share(msgspec.Struct, frozen=True):
    """How many readable images of each split are of one size or format."""

    name: str
    train: int
    val: int


class Report(msgspec.Struct, frozen=True):
    """What was found in a source."""

    name: str
    split: str
    fingerprint: str
    train: int
    val: int
    unreadable: int
    leaked: int  # validation images that are in training too, exactly or as a copy
    findings: tuple[Finding, ...]  # the gravest first
    classes: tuple[ClassCount, ...]
    sizes: tuple[Share, ...]  # the commonest first
    formats: tuple[Share, ...]
    shorter: tuple[int, int, int]  # the shorter side in pixels: least, median, most
    not_compared: str  # what near duplicates were not searched among, in words
    notes: tuple[str, ...]

    @property
    def biased(self) -> bool:
        """Whether an accuracy measured on the validation images would be biased."""
        return any(finding.severity == BIASES for finding in self.findings)


def check(source: Source, progress: Progress = silent, workers: int | None = None) -> Report:
    """Read every image once and say what is wrong; what was read is kept, outside of the source, for the next time.

    Raises: ResourceError where a process that reads was killed.
    """
    with tempfile.TemporaryFile() as signatures:  # in a file: of a million images they are a gigabyte
        look = Look(source, cached_scan(source, workers, signatures, progress))

        def search() -> duplicates.Near:
            if not signatures.tell():
                scan(source, look.items, workers, signatures, progress)
            signatures.flush()
            rows = np.memmap(signatures, np.uint8, "r", shape=(len(look.items), signatures_of_check.SIGNATURE))
            return _near(look, rows, progress)

        near = cached(source, "near", duplicates.Near, search)
    copies = Copies(look, near)
    sides = sorted(look.seen[i].shorter for i in look.readable) or [0]
    return Report(
        source.name,
        source.split,
        source.fingerprint,
        len(source.train),
        len(source.val),
        len(look.items) - len(look.readable),
        len({*copies.exact_leaks, *copies.near_leaks}),
        found(look, copies),
        tuple(_classes(look, copies)),
        _shares(look, lambda image: f"{image.width}x{image.height}"),
        _shares(look, lambda image: image.format or "raw pixels"),
        (sides[0], int(statistics.median(sides)), sides[-1]),
        near.left_out,
        source.notes,
    )


def _near(look: Look, signatures: signatures_of_check.Bytes, progress: Progress) -> duplicates.Near:
    """Near duplicates among the first of each group of exact ones, by their positions in the source."""
    first: dict[bytes, int] = {}
    for i in look.readable:
        first.setdefault(look.seen[i].digest, i)

    def read(i: int) -> Image.Image | None:
        try:
            return look.source.read(look.items[i])
        except Unreadable:  # it could be read a moment ago
            return None

    return duplicates.near(
        signatures,
        list(first.values()),
        [seen.shorter for seen in look.seen],
        [item.label for item in look.items],
        read,
        look.source.mirror,
        progress,
    )


def _classes(look: Look, copies: Copies) -> Iterator[ClassCount]:
    counts, held = look.counts(False), look.counts(True)
    bad = Counter(look.label(i) for i, image in enumerate(look.seen) if image.reason)
    words: Sequence[str] = look.source.words or look.source.classes
    for label, name in enumerate(look.source.classes):
        yield ClassCount(name, words[label], counts[label], held[label], bad[label], copies.again[label])


def _shares(look: Look, of: Callable[[Seen], str]) -> tuple[Share, ...]:
    counts = [Counter(of(look.seen[i]) for i in look.parts[held]) for held in (False, True)]
    return tuple(Share(name, counts[0][name], counts[1][name]) for name, _ in (counts[0] + counts[1]).most_common())
