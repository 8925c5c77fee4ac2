"""The networks as a table: what each costs, and the published error that compares best."""

from __future__ import annotations

from topfive.networks import NETWORKS, papers
from topfive.networks import costs as costing
from topfive.report.cards import NON_BLACKLISTED, by_x
from topfive.report.tables import Column, Row, Section, percent, scaled

_SOURCES = {"paper": "", "author-repo": ", authors"}


def _input(shape: str) -> str:
    """`224` for 3x224x224, else the whole shape."""
    channels, height, width = shape.split("x")
    return width if channels == "3" and height == width else shape


NETWORK_COLUMNS = (
    Column("name", "network", right=False),
    Column("year", "year"),
    Column("input", "input", _input),
    Column("depth", "depth"),
    Column("params", "params\n(M)", scaled(1e6, 2)),
    Column("macs", "MACs\n(G)", scaled(1e9, 3)),
    Column("top1_error", "top-1\nerror\n(%)", percent(2)),
    Column("top5_error", "top-5\nerror\n(%)", percent(2)),
    Column("protocol", "protocol", right=False, wraps=True),
)


def network_rows(names: list[str]) -> list[Row]:
    """A row a network, with its cost at the paper's input and the published error that compares best."""
    rows: list[Row] = []
    for name in names:
        network = NETWORKS[name]()
        depth, params, macs = costing.totals(network)
        paper = papers.facts(name)
        error = papers.best_error(name)
        rows.append(
            {
                "name": name,
                "paper": paper.title,
                "year": paper.year,
                "input": by_x(network.input),
                "depth": depth,
                "params": params,
                "macs": macs,
                "top1_error": error.top1_error if error else None,
                "top5_error": error.top5_error if error else None,
                "protocol": error.measured_on if error else None,
                "source": error.conf if error else None,
            }
        )
    return rows


def networks_section(rows: list[Row]) -> Section:
    """The same for people: protocol and source in one column, and what its marks mean."""
    shown: list[Row] = []
    for row in rows:
        protocol = str(row["protocol"] or "").replace(f", {NON_BLACKLISTED}", " *")
        protocol = protocol.replace("single 32x32 view, CIFAR-10 test", "CIFAR-10")
        source = str(row["source"] or "paper")
        shown.append({**row, "protocol": protocol + _SOURCES.get(source, f", {source}")})
    points = ["MACs are multiply-adds. Errors are printed in a paper unless another source is named."]
    if any("*" in str(row["protocol"]) for row in shown):
        points.append("1-crop *: on the 48,238 non-blacklisted images of val, about 0.2 to 0.3 points optimistic.")
    return Section("", (), shown, NETWORK_COLUMNS, points=points)
