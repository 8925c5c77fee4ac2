"""`topfive data check`: every picture read once, what is wrong with them, and the verdict in words."""

import statistics
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import msgspec
import numpy as np
from PIL import Image

from topfive.data.check import duplicates
from topfive.data.check.findings import BIASES, HARMS, NOTE, Copies, Finding, Look, counted, found, shown
from topfive.data.check.scanning import Seen, cached, cached_scan, scan
from topfive.data.decoding import Unreadable
from topfive.data.sources import Source
from topfive.data.stores import Progress, silent
from topfive.report.text import Column, Row, Section


class ClassCount(msgspec.Struct, frozen=True):
    """The readable pictures of one class in each split, its unreadable ones, and those that are copies of others."""

    name: str
    words: str
    train: int
    held_out: int
    unreadable: int
    copies: int


class Share(msgspec.Struct, frozen=True):
    """How many readable pictures of each split are of one size or format."""

    name: str
    train: int
    held_out: int


class Report(msgspec.Struct, frozen=True):
    """What was found in a source."""

    name: str
    split: str
    fingerprint: str
    train: int
    held_out: int
    unreadable: int
    leaked: int  # held-out pictures that are in training too, exactly or as a copy
    findings: tuple[Finding, ...]  # the gravest first
    classes: tuple[ClassCount, ...]
    sizes: tuple[Share, ...]  # the commonest first
    formats: tuple[Share, ...]
    shorter: tuple[int, int, int]  # the shorter side in pixels: least, median, most
    not_compared: str  # what near duplicates were not searched among, in words
    notes: tuple[str, ...]

    @property
    def biased(self) -> bool:
        """Whether an accuracy measured on the held-out pictures would be biased."""
        return any(finding.severity == BIASES for finding in self.findings)


def check(source: Source, progress: Progress = silent, workers: int | None = None) -> Report:
    """Read every picture once and say what is wrong; what was read is kept, outside of the source, for the next time.

    Raises: ResourceError where a process that reads was killed.
    """
    with tempfile.TemporaryFile() as signatures:  # in a file: of a million images they are a gigabyte
        look = Look(source, cached_scan(source, workers, signatures, progress))

        def search() -> duplicates.Near:
            if not signatures.tell():
                scan(source, look.items, workers, signatures, progress)
            signatures.flush()
            rows = np.memmap(signatures, np.uint8, "r", shape=(len(look.items), duplicates.SIGNATURE))
            return _near(look, rows, progress)

        near = cached(source, "near", duplicates.Near, search)
    copies = Copies(look, near)
    sides = sorted(look.seen[i].shorter for i in look.readable) or [0]
    return Report(
        source.name,
        source.split,
        source.fingerprint,
        len(source.train),
        len(source.held_out),
        len(look.items) - len(look.readable),
        len({*copies.exact_leaks, *copies.near_leaks}),
        found(look, copies),
        tuple(_classes(look, copies)),
        _shares(look, lambda picture: f"{picture.width}x{picture.height}"),
        _shares(look, lambda picture: picture.format or "raw pixels"),
        (sides[0], int(statistics.median(sides)), sides[-1]),
        near.left_out,
        source.notes,
    )


def answer(report: Report) -> str:
    """The verdict, in one sentence."""
    if report.biased:
        return f"An accuracy measured on {report.name} would be biased: {worst(report)}."
    harms = [finding for finding in report.findings if finding.severity == HARMS]
    if harms:
        return f"Nothing in {report.name} would bias an accuracy; what would harm training: {worst(report)}."
    return f"Nothing was found in {report.name} that would bias an accuracy or harm training."


def worst(report: Report) -> str:
    """The gravest finding in a sentence, and how many more are as grave; nothing where nothing was found."""
    if not report.findings:
        return ""
    first = report.findings[0]
    more = sum(finding.severity == first.severity for finding in report.findings) - 1
    return first.sentence + (f", and {counted(more, 'more finding')} as grave" if more else "")


def rows(report: Report) -> list[Row]:
    """A row a finding, with the paths of its first examples."""
    return [
        {
            "severity": finding.severity,
            "kind": finding.kind,
            "pictures": finding.count,
            "sentence": finding.sentence,
            "consequence": finding.consequence,
            "examples": "; ".join(" = ".join(example.paths) for example in finding.examples[:5]) or None,
        }
        for finding in report.findings
    ]


FINDING_COLUMNS = (
    Column("severity", "it", right=False),
    Column("sentence", "found", right=False, wraps=True),
    Column("consequence", "what it would do", right=False, wraps=True),
)
CLASS_COLUMNS = (
    Column("name", "class", right=False),
    Column("words", "in words", right=False, wraps=True),
    Column("train", "training", "{:,}".format),
    Column("held_out", "held out", "{:,}".format),
    Column("unreadable", "unreadable", lambda count: f"{count:,}" if count else ""),
    Column("copies", "copies", lambda count: f"{count:,}" if count else ""),
)


def sections(report: Report, most: int = 20) -> list[Section]:
    """The same for people: the verdict, the findings, a few of their pictures, the classes (`most` of them)."""
    low, middle, high = report.shorter
    formats = ", ".join(f"{share.train + share.held_out:,} {share.name}" for share in report.formats)
    said = [
        answer(report),
        f"{report.train:,} training and {report.held_out:,} held-out pictures of {len(report.classes):,} classes; "
        f"shorter sides {low:,} to {high:,} pixels, the median {middle:,}; {formats or 'none can be read'}.",
    ]
    if report.not_compared:
        said.append(f"Near duplicates were not searched among: {report.not_compared}.")
    parts = [Section(report.name, said)]
    if report.findings:
        parts.append(Section("Findings", (), rows(report), FINDING_COLUMNS))
    for finding in report.findings:
        if finding.examples and finding.severity != NOTE:
            some = [" = ".join(one.paths) + (f": {one.says}" if one.says else "") for one in finding.examples[:3]]
            more = ["more of them on the page"] if len(finding.examples) > 3 else []
            parts.append(Section(finding.kind.capitalize(), points=[*some, *more]))
    classes = sorted(report.classes, key=lambda one: -one.train)
    title = "Classes"
    if len(classes) > most:
        classes = [*classes[: most // 2], *classes[-most // 2 :]]
        title = f"The {most // 2} largest and the {most // 2} smallest classes"
    parts.append(Section(title, (), [class_row(one) for one in classes], CLASS_COLUMNS))
    return parts


def class_row(one: ClassCount) -> Row:
    """A class as a row, its name safe for a terminal."""
    return {
        "name": shown(one.name),
        "words": shown(one.words) if one.words != one.name else None,
        "train": one.train,
        "held_out": one.held_out,
        "unreadable": one.unreadable,
        "copies": one.copies,
    }


def _near(look: Look, signatures: duplicates.Bytes, progress: Progress) -> duplicates.Near:
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
    bad = Counter(look.label(i) for i, picture in enumerate(look.seen) if picture.reason)
    words: Sequence[str] = look.source.words or look.source.classes
    for label, name in enumerate(look.source.classes):
        yield ClassCount(name, words[label], counts[label], held[label], bad[label], copies.again[label])


def _shares(look: Look, of: Callable[[Seen], str]) -> tuple[Share, ...]:
    counts = [Counter(of(look.seen[i]) for i in look.parts[held]) for held in (False, True)]
    return tuple(Share(name, counts[0][name], counts[1][name]) for name, _ in (counts[0] + counts[1]).most_common())
