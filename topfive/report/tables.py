"""Rows to a terminal, to markdown, to CSV and to JSON.

A row is a mapping from keys to plain values; a column says which key people see, under what header (with its unit), and
how. Machines get every key and the plain values: fractions, bytes and exact counts.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

from topfive.system import as_text

Format: TypeAlias = Literal["text", "markdown", "csv", "json"]
Value: TypeAlias = str | int | float | bool | None
Row: TypeAlias = Mapping[str, Value]

WIDTH = 100
GAP = 2  # letters between two columns
LONG = 16  # letters of a word, from which on it may be broken


class Column(NamedTuple):
    """A key that people see, its header with the unit, and how a value is written."""

    key: str
    header: str
    show: Callable[[Any], str] = str
    right: bool = True
    wraps: bool = False  # may take several lines in a terminal; the others keep their width
    terminal: bool = True  # a terminal has no room for the others


class Section(NamedTuple):
    """One part of a page for people: a title over paragraphs, a list or a table, each of which may be missing."""

    title: str = ""
    paragraphs: Sequence[str] = ()
    rows: Sequence[Row] = ()
    columns: Sequence[Column] = ()
    total: Row | None = None  # a last row set off from the others
    points: Sequence[str] = ()  # a list, one sentence a point; below the table


def scaled(unit: float, digits: int) -> Callable[[float], str]:
    """A number in units of `unit` with thousands marked: `scaled(1e6, 1)(724_406_816)` is `724.4`."""
    return lambda value: f"{value / unit:,.{digits}f}"


def percent(digits: int) -> Callable[[float], str]:
    """A fraction as a percentage, to the digits that it has, `digits` at most, with the points below each other.

    >>> percent(2)(0.407), percent(2)(0.43478)
    ('40.7 ', '43.48')
    """

    def show(fraction: float) -> str:
        written = f"{100 * fraction:.{digits}f}"
        short = written.rstrip("0")
        short += "0" * short.endswith(".")
        return short.ljust(len(written))

    return show


def clock(seconds: float) -> str:
    """Seconds as hours, minutes and seconds.

    >>> clock(400.4)
    '0:06:40'
    """
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"


def json(rows: Sequence[Row], **extra: Any) -> str:
    """One JSON document: `{"rows": [...], ...}`."""
    import msgspec

    document: Any = {"rows": rows, **extra}
    try:
        encoded = msgspec.json.encode(document)
    except UnicodeEncodeError:  # a file may have any name, and JSON holds nothing but text
        encoded = msgspec.json.encode(_texts(msgspec.to_builtins(document)))
    return msgspec.json.format(encoded, indent=2).decode() + "\n"


def _texts(value: Any) -> Any:
    match value:
        case dict():
            return {_texts(key): _texts(inner) for key, inner in value.items()}
        case list() | tuple():
            return [_texts(inner) for inner in value]
        case str():
            return as_text(value)
    return value


def csv(rows: Sequence[Row]) -> str:
    """A header line of keys, then a line a row; nothing stands for a missing value, JSON for a list or a mapping."""
    import csv as writer

    import msgspec

    keys = dict.fromkeys(key for row in rows for key in row)
    out = io.StringIO()
    lines = writer.DictWriter(out, list(keys), restval="", lineterminator="\n")
    lines.writeheader()
    for row in rows:
        nested = {k: msgspec.json.encode(v).decode() for k, v in row.items() if isinstance(v, (list, tuple, dict))}
        lines.writerow({**row, **nested})
    return out.getvalue()


def markdown(sections: Iterable[Section], level: int = 2) -> str:
    """Headings, pipe tables and lists."""
    blocks = []
    for section in sections:
        if section.title:
            blocks.append(f"{'#' * level} {section.title}")
        blocks.extend(map(_escaped, section.paragraphs))
        if section.rows:
            columns = _filled(section)
            lines = [[column.header.replace("-\n", "").replace("\n", " ") for column in columns]]
            lines.append(["---:" if column.right else "---" for column in columns])
            lines += [[_escaped(_cell(column, row).strip()) for column in columns] for row in section.rows]
            if section.total:
                lines.append([f"**{cell}**" if (cell := _cell(column, section.total)) else "" for column in columns])
            blocks.append("\n".join(f"| {' | '.join(line)} |" for line in lines))
        if section.points:
            blocks.append("\n".join(f"- {_escaped(point)}" for point in section.points))
    return "\n\n".join(blocks) + "\n"


def text(sections: Iterable[Section], colour: bool = False, width: int = WIDTH) -> str:
    """Plain lines for a terminal, no wider than `width` but where numbers would be cut; colour only where asked for."""
    from textwrap import fill

    from rich.console import Console

    out = io.StringIO()
    console = Console(
        file=out,
        width=10 * width,  # what is printed says its own
        force_terminal=colour,
        color_system="standard" if colour else None,
        markup=False,
        emoji=False,
        highlight=False,
    )
    for n, section in enumerate(sections):
        if n:
            console.print()
        if section.title:
            console.print(section.title, style="bold")
        for paragraph in section.paragraphs:
            console.print(fill(paragraph, width))
        if section.rows:
            table, least = _rich_table(section, width)
            console.print(table, width=max(width, least))
        if section.rows and section.points:
            console.print()
        for point in section.points:
            console.print(fill(point, width, initial_indent="- ", subsequent_indent="  "))
    return "".join(line.rstrip() + "\n" for line in out.getvalue().splitlines())


def _rich_table(section: Section, width: int) -> tuple[Any, int]:
    """The table, whose texts take several lines where it would be wider, and the width that its numbers need."""
    from rich import box
    from rich.table import Table

    columns = [column for column in _filled(section) if column.terminal]
    rows = [*section.rows, *([section.total] if section.total else [])]
    cells = {column.key: [column.header, *(_cell(column, row) for row in rows)] for column in columns}
    lines = {key: max(len(line) for cell in made for line in cell.splitlines() or [""]) for key, made in cells.items()}
    words = {
        key: min(LONG, max(len(word) for cell in made for word in cell.split() or [""])) for key, made in cells.items()
    }
    wide = sum(lines[column.key] + GAP for column in columns if not column.wraps) - 1 > width
    wraps = {column.key for column in columns if column.wraps or (wide and not column.right)}
    least = sum((words if key in wraps else lines)[key] + GAP for key in cells) - 1
    sizes, left = dict(lines), max(0, width - least)
    for n, key in enumerate(
        sorted(wraps, key=lambda key: lines[key] - words[key])
    ):  # the one that needs least is first
        more = min(lines[key] - words[key], left // (len(wraps) - n))
        sizes[key], left = words[key] + more, left - more
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for column in columns:
        side: Literal["left", "right"] = "right" if column.right else "left"
        table.add_column(column.header, justify=side, overflow="fold", width=sizes[column.key], vertical="top")
    for row in section.rows:
        table.add_row(*(_cell(column, row) for column in columns))
    if section.total:
        table.add_section()
        table.add_row(*(_cell(column, section.total) for column in columns), style="bold")
    return table, least


def _escaped(sentence: str) -> str:
    """Markdown would take `7*7*3` for emphasis and a bar for the next cell."""
    return sentence.replace("*", "\\*").replace("|", "\\|")


def _filled(section: Section) -> list[Column]:
    """The columns in which any row has something to say."""
    return [column for column in section.columns if any(_cell(column, row) for row in section.rows)]


def _cell(column: Column, row: Row) -> str:
    value = row.get(column.key)
    return "" if value is None else column.show(value)
