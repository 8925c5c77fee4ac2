"""The commands that look at images before training."""

from __future__ import annotations

import shlex

from topfive.console import bar, command_line, say, write
from topfive.errors import UsageError
from topfive.report.tables import Format


def fetch(name: str, /, *, out: str | None = None, quiet: bool = False) -> None:
    """Download a public dataset from its official address and verify its published hash.

    Afterwards, use it by name: topfive compare --data cifar-10. An interrupted download continues where it stopped.

    Parameters
    ----------
    name
        cifar-10, cifar-100, imagenette, imagenette-160 or imagewoof.
    out
        Another folder; by default $TOPFIVE_DATA, or ~/.local/share/topfive.
    quiet
        Only the path.
    """
    from pathlib import Path

    from topfive.data import fetching, public_sets
    from topfive.results.progress import counting

    with bar(quiet) as progress:
        there = fetching.fetch(name, Path(out) if out else None, counting(progress, "MB", 1e6))
    print(there)
    say(f"next: topfive data check {there if out else name}", quiet)
    say(public_sets.PUBLIC[name].note, quiet)


def check(
    source: str | None = None,
    /,
    *,
    report: str | None = None,
    verify: bool = False,
    quiet: bool = False,
    format: Format = "text",
) -> None:
    """Read every image once and report what would harm training or bias the accuracy.

    Nothing is written into the source. Exit code 3 where an accuracy measured on the validation images would be biased.

    Parameters
    ----------
    source
        Anything that compare --data takes; by default scikit-learn's digits.
    report
        The path of the page; by default runs/check-SOURCE.html, or next to the source if that would be inside it.
    verify
        First verify the hash of every shard of a pack, and name those that have changed.
    quiet
        Only the tables.
    format
        text, markdown, csv or json; csv has the findings alone.
    """
    from msgspec import to_builtins

    from topfive.data import packing
    from topfive.data.check import checking
    from topfive.data.opening import open_source
    from topfive.data.outputs import mark, placed
    from topfive.errors import DataError
    from topfive.report.check import sections, worst
    from topfive.report.pages import check as checked
    from topfive.results.progress import counting

    with bar(quiet) as progress:
        if verify:
            shards = packing.verify(source or "digits", counting(progress, "shards"))
            say(f"all {shards:,} shards match their hashes", quiet)
        found = open_source(source, counting(progress, "MB", 1e6))
        page = placed(found, f"runs/check-{found.name}.html", report, "--report")
        for line in (str(found), *found.notes):
            say(line, quiet)
        result = checking.check(found, counting(progress, "images"))
    if not report:
        mark(page.parent)
    checked.render(page, result, found, shlex.join(command_line()))
    findings = [to_builtins(finding) for finding in result.findings]
    write(format, findings, {"report": to_builtins(result)}, sections(result))
    say(str(page), quiet)
    if result.biased:
        raise DataError(f"an accuracy measured on {found.name} would be biased: {worst(result)}")


def pack(source: str, out: str, /, *, side: int = 256, quiet: bool = False) -> None:
    """Resize every image once and store the images in shards, so that a slow disk does not limit training.

    Parameters
    ----------
    source
        Anything that compare --data takes.
    out
        A new folder, or that of an interrupted pack; compare --data OUT reads it like the original.
    side
        The shorter side after resizing, in pixels; smaller images are not enlarged.
    quiet
        Only the path.
    """
    from pathlib import Path

    from topfive.data import packing
    from topfive.data.opening import open_source
    from topfive.data.outputs import placed
    from topfive.results.progress import counting

    if side < 1:
        raise UsageError(f"--side {side} is too small")
    with bar(quiet) as progress:
        found = open_source(source, counting(progress, "MB", 1e6))
        for line in (str(found), *found.notes):
            say(line, quiet)
        packing.pack(found, placed(found, "", out, "OUT"), side, counting(progress, "images"))
    print(out)
    size = sum(path.stat().st_size for path in Path(out).iterdir())
    say(f"{size / 1e6:,.0f} MB; next: topfive compare --data {shlex.quote(out)}", quiet)
