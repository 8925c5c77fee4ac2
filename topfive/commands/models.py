"""What the commands that use trained networks share: how a model is run, and what it is before torch is imported."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from cyclopts import Parameter

from topfive.report.tables import Format

Precision = Literal["auto", "float32"]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Running:
    """How models are run, and how what they say is shown.

    Parameters
    ----------
    network
        The network, if the weights do not identify it.
    batch
        The number of views per batch.
    device
        auto, cpu, cuda, cuda:1, ... or mps, an Apple GPU; auto is cuda where there is one, else cpu.
    precision
        float32, or by default the fastest backend that agrees with float32; how closely is reported.
    quiet
        Only the table.
    format
        text, markdown, csv or json.
    """

    network: str | None = None
    batch: int = 32
    device: str = "auto"
    precision: Precision = "auto"
    quiet: bool = False
    format: Format = "text"


def examine(models: Sequence[str]) -> None:
    """Look at files of weights without running them. Raises: RefusedError naming the first that is none."""
    from pathlib import Path

    from topfive.weights.inspection import examined

    for path in map(Path, models):
        if path.is_file():
            examined(path)
