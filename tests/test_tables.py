"""Rows survive every format, and what people see fits."""

import csv
import io
import json

import pytest

from topfive.networks import NETWORKS, get
from topfive.report import cards, networks, tables
from topfive.report.tables import Column, Section

ROWS: list[tables.Row] = [
    {"name": 'a, "b" | c', "error": 0.407, "where": "[bold]trained at [256;512][/bold]", "none": None},
    {"name": "zwölf\nlines", "error": 0.25, "where": "1 CNN* and 7*7*3", "none": None},
]
COLUMNS = (
    Column("name", "name", right=False),
    Column("error", "top-1\nerror (%)", tables.percent(2)),
    Column("where", "where", right=False, wraps=True),
    Column("none", "none"),
)


def test_json_reads_back_as_one_document() -> None:
    assert json.loads(tables.json(ROWS, totals={"params": 1})) == {"rows": ROWS, "totals": {"params": 1}}


def test_csv_reads_back_with_empty_cells_for_what_is_missing() -> None:
    back = list(csv.DictReader(io.StringIO(tables.csv(ROWS), newline="")))
    assert [{**row, "error": float(row["error"]), "none": row["none"] or None} for row in back] == ROWS


def test_csv_has_json_for_what_is_nested() -> None:
    nested: list[dict[str, object]] = [{"name": "a", "curve": ({"epoch": 1, "loss": None},)}]
    (back,) = csv.DictReader(io.StringIO(tables.csv(nested)))  # type: ignore[arg-type]
    assert json.loads(back["curve"]) == [{"epoch": 1, "loss": None}]


def test_markdown_keeps_its_columns_whatever_a_cell_holds() -> None:
    lines = tables.markdown([Section("Title", rows=ROWS[:1], columns=COLUMNS, points=["7*7*3"])]).splitlines()
    assert lines == [
        "## Title",
        "",
        "| name | top-1 error (%) | where |",
        "| --- | ---: | --- |",
        '| a, "b" \\| c | 40.7 | [bold]trained at [256;512][/bold] |',
        "",
        "- 7\\*7\\*3",
    ]


def test_text_takes_nothing_for_markup_and_has_colour_only_when_asked() -> None:
    section = Section("Title", rows=ROWS, columns=COLUMNS)
    plain = tables.text([section])
    assert "[bold]trained at [256;512][/bold]" in plain
    assert "\x1b" not in plain
    assert "\x1b" in tables.text([section], colour=True)


@pytest.mark.parametrize("layers", [False, True])
@pytest.mark.parametrize("name", ["alexnet", "googlenet", "inception-resnet-v2", "resnet-152", "senet-154"])
def test_a_network_fits_a_hundred_columns(name: str, layers: bool) -> None:
    page = tables.text(cards.sections(cards.of(get(name)), layers))
    assert max(map(len, page.splitlines())) <= 100
    assert "…" not in page  # nothing is cut


def test_the_list_of_networks_fits_a_hundred_columns_and_keeps_every_name_whole() -> None:
    page = tables.text([networks.networks_section(networks.network_rows(list(NETWORKS)))])
    assert max(map(len, page.splitlines())) <= 100
    assert set(NETWORKS) <= {line.split(" ")[0] for line in page.splitlines()}


def test_percentages_keep_their_points_below_each_other() -> None:
    assert [tables.percent(2)(n) for n in (0.407, 0.43478, 0.5)] == ["40.7 ", "43.48", "50.0 "]


def test_a_table_that_is_too_wide_breaks_its_texts_and_cuts_no_number() -> None:
    numbers = {f"measured{n}": 10**9 + n for n in range(9)}
    columns = [Column("name", "name", right=False), *(Column(key, key) for key in numbers)]
    row = {"name": "a network of a long name", **numbers}
    text = tables.text([Section("", (), [row], columns)])
    assert all(str(number) in text for number in numbers.values())
    assert all(word in text for word in str(row["name"]).split())
