"""The main job from Python: networks compared on a source, as records, a table, a figure and a page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from topfive.data.outputs import placed
from topfive.data.sources import Source
from topfive.errors import UsageError
from topfive.networks.layers import Network, html_table
from topfive.results.records import ComparisonRow, FailedRow


@dataclass(frozen=True)
class Comparison:
    """What a comparison found: `rows`, a record for each network that was trained, in the order asked for.

    `failed` says of each of the other networks why there is no row. In a notebook it is shown as its table.
    """

    rows: tuple[ComparisonRow, ...]
    failed: Mapping[str, str]
    _all: Sequence[ComparisonRow | FailedRow] = field(repr=False)  # those that failed too
    _meta: Mapping[str, object] = field(repr=False)

    def table(self) -> str:
        """The table that `topfive compare` prints, best first, with the protocol and the number of images."""
        from topfive.report import comparison, tables

        return tables.text([comparison.measured_section(self._all)])

    def figure(self, path: str | Path) -> list[Path]:
        """Draw accuracy against operations, as PNG and SVG under the name of `path`; the files. Raises: OSError."""
        from topfive.report import comparison

        return comparison.draw(self._all, self._meta, path)

    def page(self, path: str | Path) -> Path:
        """Write the page, one HTML file with everything in it; its path. Raises: OSError."""
        from topfive.report import comparison

        return comparison.write_page(path, self._all, self._meta)

    def _repr_html_(self) -> str:
        from topfive.report import comparison

        section = comparison.measured_section(self._all)
        head = [column.header.replace("\n", " ") for column in section.columns]
        cells = [
            ["" if row.get(column.key) is None else column.show(row[column.key]) for column in section.columns]
            for row in section.rows
        ]
        return html_table(
            "; ".join([*section.paragraphs, *(f"{n}: {why}" for n, why in self.failed.items())]), head, cells
        )


def compare(
    networks: Iterable[str | Network],
    source: Source,
    minutes: float | None = None,
    epochs: int | None = None,
    seeds: int = 3,
    recipe: str = "auto",
    size: int | None = None,
    batch: int | None = None,
    seed: int = 0,
    device: str = "auto",
    out: str | Path | None = None,
) -> Comparison:
    """Train every network for the same time with several seeds, evaluate it on the validation images, and time it here.

    `networks` are names, network values, or `"package.module:factory"` for a torch module of your own: a factory and
    not the module, because each network is measured in a process of its own. `minutes` is what the whole comparison may
    take, 10 where no `epochs` are given. `seeds` trainings of each network begin with `seed`. `size` is the side of the
    images in pixels, by default 32, 64 or 128, after the images and the minutes; `batch` counts images. With `out`,
    what is finished is kept in that folder, and the same call continues there; without it nothing is left on disk.

    Raises: UsageError for unknown names, and for minutes that are too few; the first failure where all networks fail.
    Where only some fail, `failed` says why.
    """
    if minutes is not None and epochs is not None:
        raise UsageError("minutes= and epochs= cannot both be kept to")
    for name, value, least in (("epochs", epochs, 1), ("batch", batch, 2), ("size", size, 1), ("seeds", seeds, 1)):
        if value is not None and value < least:
            raise UsageError(f"{name}={value} is too small: at least {least}")
    with TemporaryDirectory() as scratch:
        names = tuple(_name(network, Path(scratch)) for network in networks)
        if not names:
            raise UsageError("name a network, or give a network value")
        folder = placed(source, "", str(out), "out=") if out is not None else Path(scratch) / "comparison"
        return _run(names, source, minutes, epochs, range(seed, seed + seeds), recipe, size, batch, device, folder)


def _name(network: str | Network, folder: Path) -> str:
    """What the engine calls a network by: a value is a file."""
    if isinstance(network, str):
        return network
    if not isinstance(network, Network):
        raise UsageError(
            f"a {type(network).__name__} cannot be compared: name a network, give a network value, or write "
            "'package.module:factory' for a module of your own, which is built anew in a process of its own"
        )
    path = folder / f"{len(list(folder.iterdir()))}.json"
    path.write_bytes(msgspec.json.encode(network))
    return str(path)


def _run(
    names: tuple[str, ...],
    source: Source,
    minutes: float | None,
    epochs: int | None,
    seeds: Iterable[int],
    recipe: str,
    size: int | None,
    batch: int | None,
    device: str,
    folder: Path,
) -> Comparison:
    """All that is known here of the engine's comparison."""
    from topfive.engine.benchmark.machine import this_machine
    from topfive.engine.comparison import comparison as engine
    from topfive.engine.comparison.contract import MINUTES, Contract
    from topfive.engine.comparison.folder import machine_of
    from topfive.engine.comparison.sizing import sized
    from topfive.engine.comparison.trials import Place

    machine = machine_of(folder, this_machine(device))
    minutes = MINUTES if minutes is None and epochs is None else minutes
    contract = Contract(names, (size,) if size else (), tuple(seeds), minutes, epochs, batch, recipe)
    if not size:
        contract, _ = sized(contract, source, machine, folder)
    run = engine.Comparison(source, contract, machine, Place(folder, ["topfive.compare(...)"]))
    try:
        for _ in run.run():
            pass
    finally:
        run.close()
    rows, shown = tuple(run.rows()), run.table()
    if not rows and (error := run.error()):
        raise error
    failed = {row.name: row.failed for row in shown if isinstance(row, FailedRow)}
    return Comparison(rows, failed, shown, run.meta())
