"""What `topfive data check` found, as one HTML file: the verdict, the findings, contact sheets, classes, sizes."""

import base64
import io
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from topfive.data.check.checking import Report, Share
from topfive.data.check.evidence import NOTE, Example, Finding
from topfive.data.check.phrases import shown
from topfive.data.decoding import Unreadable
from topfive.data.sources import Item, Source
from topfive.report.check import answer
from topfive.report.pages.page import publish

ON_A_SHEET, IN_ALL = 12, 60  # examples shown of one finding; on the whole page
THUMBNAIL = 144  # pixels of the longer side, at most
MOST_ROWS = 12  # of sizes and formats
MOST_LISTED = 200  # unreadable files


class Cell(NamedTuple):
    """One image on a contact sheet: its data URI ("" where it cannot be shown), path and class."""

    data: str
    path: str
    label: str
    tiny: bool  # enlarged without blur


def render(path: Path | str, report: Report, source: Source, command: str = "") -> Path:
    """Write the page and return its path; the images on its contact sheets are read from `source` once more."""
    sheets, made = list(_sheets(report, source)), f"{datetime.now():%Y-%m-%d %H:%M}"
    return publish(
        path,
        "check.html.j2",
        report=report,
        answer=answer(report),
        made=made,
        command=command,
        facts=[
            ("Source", report.name),
            ("Split", report.split),
            ("Fingerprint", report.fingerprint),
            ("Made", made),
        ],
        sheets=sheets,
        unreadable=[
            one for finding in report.findings if finding.kind.startswith("unreadable") for one in finding.examples
        ][:MOST_LISTED],
        most=max((one.train + one.val for one in report.classes), default=0) or 1,
        tables=[("Formats", _some(report.formats)), ("Sizes", _some(report.sizes))],
    )


def _sheets(report: Report, source: Source) -> Iterator[tuple[Finding, list[tuple[Example, list[Cell]]]]]:
    """The worst offenders of each finding that has images to show, the gravest findings first."""
    items = (*source.train, *source.val)
    left = IN_ALL
    for finding in report.findings:
        wanted = finding.examples[: min(left, ON_A_SHEET if finding.severity != NOTE else ON_A_SHEET // 2)]
        if not wanted or finding.kind.startswith("unreadable"):
            continue
        left -= len(wanted)
        yield finding, [(example, [_cell(source, items[i]) for i in example.images]) for example in wanted]


def _cell(source: Source, item: Item) -> Cell:
    data, tiny = _thumbnail(source, item)
    return Cell(data, shown(item.name), shown(source.classes[item.label]), tiny)


def _thumbnail(source: Source, item: Item) -> tuple[str, bool]:
    """A small copy of the image as a data URI, and whether it was small already."""
    try:
        image = source.read(item)
    except Unreadable:  # it could be read a moment ago
        return "", False
    tiny = max(image.size) <= THUMBNAIL // 2
    image.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
    content = io.BytesIO()
    if tiny:
        image.save(content, "PNG")
    else:
        image.save(content, "JPEG", quality=80)
    kind = "png" if tiny else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(content.getvalue()).decode()}", tiny


def _some(shares: Sequence[Share]) -> list[Share]:
    """The commonest ones, and all others as one."""
    if len(shares) <= MOST_ROWS:
        return list(shares)
    rest = shares[MOST_ROWS - 1 :]
    others = Share(f"{len(rest):,} others", sum(one.train for one in rest), sum(one.val for one in rest))
    return [*shares[: MOST_ROWS - 1], others]
