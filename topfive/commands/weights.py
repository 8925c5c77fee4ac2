"""The commands for weights of other libraries."""

from __future__ import annotations

import shlex

from topfive.commands.models import examine
from topfive.console import bar, say, write
from topfive.errors import UsageError
from topfive.report.tables import Format


def fetch(name: str, /, *, out: str | None = None, quiet: bool = False) -> None:
    """Download a library's weights from their official address and verify their published hash.

    An interrupted download continues where it stopped. Of the other commands only compare and choose download
    weights, with --start published.

    Parameters
    ----------
    name
        The network as the library calls it, with the version where there are several: resnet50.IMAGENET1K_V1.
    out
        Another folder; by default $TOPFIVE_DATA, or ~/.local/share/topfive.
    quiet
        Only the path.
    """
    from pathlib import Path

    from topfive.data.fetching import fetch_weights
    from topfive.results.progress import counting

    with bar(quiet) as progress:
        there = fetch_weights(name, Path(out) if out else None, counting(progress, "MB", 1e6))
    print(there)
    say(f"next: topfive evaluate {shlex.quote(str(there))} SOURCE", quiet)


def take_in(
    file: str,
    /,
    *,
    network: str | None = None,
    classes: str | None = None,
    out: str | None = None,
    quiet: bool = False,
    format: Format = "text",
) -> None:
    """Convert another library's weights to a topfive file, with the paper's layer names, the preprocessing and the
    classes.

    Every tensor of the network must be present once, in its shape; mismatches are named. Commands that take a model
    also accept the unconverted file.

    Parameters
    ----------
    file
        A .pth, .pt, .bin or .safetensors file of torchvision, timm or a CIFAR ResNet.
    network
        The network, if several fit or none is recognized.
    classes
        The class names, if the file does not have them: a text file with one per line, in the order of the outputs.
    out
        The new file; by default NETWORK.safetensors in the current folder.
    quiet
        Only the table.
    format
        text, markdown, csv or json.
    """
    examine([file])
    from pathlib import Path

    from topfive.engine.inference.models import open_model, save, with_names
    from topfive.report.tables import Column, Section

    (model,) = with_names([open_model(file, network)], classes)
    path = Path(out or f"{model.network.name}.safetensors")
    if path.exists():
        raise UsageError(f"{path} is there already: name another --out")
    save(model, path)
    for note in model.notes:
        say(note, quiet)
    about = model.about
    row: dict[str, str | int | float | bool | None] = {
        "network": about.network.name,
        "origin": about.origin,
        "size": about.size,
        "classes": about.network.classes,
        "protocol": about.protocol.describe(about.size),
        "tensors": len(model.classifier.state_dict()),
        "file": str(path),
    }
    columns = [Column(key, key, right=key in ("size", "classes", "tensors"), wraps=True) for key in row]
    write(format, [row], {"notes": list(model.notes)}, [Section("", (), [row], columns)])
