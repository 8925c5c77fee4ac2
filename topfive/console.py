"""What all commands share: their words for people on stderr, their rows on stdout."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

from topfive.report.tables import WIDTH, Format
from topfive.system import as_text

if TYPE_CHECKING:
    from topfive.report.tables import Row, Section
    from topfive.results.progress import Progress

MUCH_WAITING = 0.2  # of the training time, from where on a sentence says so

STANDARD_INPUT = "/dev/stdin"  # what a lone - stands for

arguments: list[str] = []  # of the command that runs


def command_line() -> list[str]:
    """The command that runs, for the page that it writes."""
    return ["topfive", *arguments]


def version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("topfive")
    except PackageNotFoundError:  # run from a checkout that was never installed
        return "not installed"


def say(sentence: str, quiet: bool) -> None:
    """A line for people, on stderr, so that stdout holds the table alone."""
    if not quiet:
        print(sentence, file=sys.stderr, flush=True)


@contextmanager
def bar(quiet: bool) -> Iterator[Callable[[Progress], object]]:
    """A progress bar with rate and time left on a terminal, nothing elsewhere; Ctrl-C ends the work at a step."""
    with _drawn(quiet) as tick, _insisting(tick) as step:
        yield step


@contextmanager
def _drawn(quiet: bool) -> Iterator[Callable[[Progress], object]]:
    if quiet or not sys.stderr.isatty():
        yield lambda where: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    bar = Bar(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.percentage:>3.0f} %"),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    task = bar.add_task("", total=1.0, rate="")
    with bar:  # while it is shown, stdout is rich's: the table is written after it
        yield lambda where: bar.update(task, completed=where.done, description=where.doing, rate=where.rate)


@contextmanager
def _insisting(tick: Callable[[Progress], object]) -> Iterator[Callable[[Progress], object]]:
    """`tick`, which also ends the work where Ctrl-C was pressed and its KeyboardInterrupt was lost on the way.

    Some libraries catch everything while they are imported, and Python itself drops what is raised in a callback.
    """
    if threading.current_thread() is not threading.main_thread():  # signals are the main thread's
        yield tick
        return
    asked = False

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        asked = True
        raise KeyboardInterrupt

    def step(where: Progress) -> None:
        if asked:
            raise KeyboardInterrupt
        tick(where)

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield step
    finally:
        signal.signal(signal.SIGINT, before)


def write(format: Format, rows: Sequence[Row], document: Mapping[str, object], sections: Sequence[Section]) -> None:
    """Rows for machines, or sections for people; `document` is what JSON says beside the rows."""
    from topfive.report import tables

    match format:
        case "json":
            page = tables.json(rows, **document)
        case "csv":
            page = tables.csv(rows)
        case "markdown":
            page = tables.markdown(sections)
        case "text":
            page = tables.text(sections, _colour(), _width())
    page, encoding = as_text(page), sys.stdout.encoding
    if "utf" not in encoding.lower():  # why: a narrow terminal shows question marks, it does not end the command
        page = page.replace("─", "-").encode(encoding, "replace").decode(encoding)
    sys.stdout.write(page)


def _colour() -> bool:
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


def _width() -> int:
    """As wide as the terminal, WIDTH at most; a pipe gets WIDTH."""
    from shutil import get_terminal_size

    return max(40, min(WIDTH, get_terminal_size((WIDTH, 24)).columns)) if sys.stdout.isatty() else WIDTH
