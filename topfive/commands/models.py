"""What the commands that use trained networks share: how a model is run, and what it is before torch is imported."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from cyclopts import Parameter

from topfive.report.tables import Format

Precision = Literal["auto", "float32"]
EXPORTED = (".onnx", ".xml", ".pt2")  # what the files of `topfive export` end with


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

    from topfive.errors import RefusedError
    from topfive.weights.inspection import examined

    for path in map(Path, models):
        if path.is_file():
            try:
                examined(path)
            except RefusedError:
                if path.suffix.lower() not in EXPORTED:
                    raise
                raise RefusedError(
                    f"{path} is rejected: it is an exported file, and a model is a run folder or a file of weights: "
                    "give the one that it was exported from"
                ) from None
