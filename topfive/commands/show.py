"""The commands that look at networks: nothing is trained."""

from __future__ import annotations

from pathlib import Path

from topfive.console import write
from topfive.errors import UsageError, did_you_mean
from topfive.networks.boxes import Level
from topfive.networks.drawing import Heat
from topfive.networks.layers import Network
from topfive.report.tables import Format

IMAGENET = 3, 224, 224  # what a module of the user's own is given, where nothing else is asked for


def networks(glob: str = "*", /, *, format: Format = "text") -> None:
    """List the networks with their costs and their published errors.

    Parameters
    ----------
    glob
        Only the names that match, as in a shell: 'resnet-*'.
    format
        text, markdown, csv or json; errors are fractions in csv and json.
    """
    from fnmatch import fnmatchcase

    from topfive.networks import ALIASES, NETWORKS
    from topfive.report import networks as networks_of_report

    wanted = ALIASES.get(glob.lower(), glob.lower())
    names = [name for name in NETWORKS if fnmatchcase(name, wanted)]
    if not names:
        raise UsageError(
            f"no network is called {glob!r}{did_you_mean(glob, NETWORKS) or '; topfive networks lists all'}"
        )
    rows = networks_of_report.network_rows(names)
    write(format, rows, {}, [networks_of_report.networks_section(rows)])


def show(
    network: str,
    /,
    *,
    input: str | None = None,
    classes: int | None = None,
    layers: bool = False,
    draw: Path | None = None,
    heat: Heat | None = None,
    format: Format = "text",
) -> None:
    """Show a network: the cost of every row of its table, and the paper's numbers next to ours.

    Parameters
    ----------
    network
        A name from 'topfive networks', a .json file with a network of your own, or a PyTorch module of yours
        (package.module:factory), read off its exported graph.
    input
        Another input, channels x height x width: 3x192x256.
    classes
        Another number of classes.
    layers
        A row for every layer instead of every row of the paper.
    draw
        Also draw the network into this file: .svg, .png, or .html with the stages and every layer.
    heat
        With --draw, colours by macs, params, activations or field (the receptive field) instead of by kind of layer.
    format
        text, markdown, csv or json; csv has the rows alone.
    """
    from topfive.networks.layers import with_classes
    from topfive.report import cards
    from topfive.weights.names import network_called

    shape = _shape(input) if input else None
    if ":" in network and not network.endswith(".json"):  # as a path of Windows may have one
        found = _module(network, shape or IMAGENET, classes or 1000)
    else:
        found = network_called(network)
        found = found if classes is None else with_classes(found, classes)
    page = cards.of(found, shape)
    if heat and not draw:
        raise UsageError("--heat colours a drawing: it needs --draw FILE.svg")
    if draw:
        _draw(draw, found, heat, "rows" if layers else "stages", shape)
    rows = cards.cost_rows(page.costs.rows if layers else page.costs.stages)
    write(format, rows, cards.document(page), cards.sections(page, layers))


def _module(factory: str, shape: tuple[int, int, int], classes: int) -> Network:
    from topfive.engine.models.graphs import network_of

    return network_of(factory, shape, classes)


def _draw(path: Path, network: Network, heat: Heat | None, level: Level, shape: tuple[int, int, int] | None) -> None:
    from topfive.data.files import write_whole
    from topfive.networks import drawing

    match path.suffix.lower():
        case ".svg":
            data = drawing.svg(network, heat, level, shape).encode()
        case ".png":
            from topfive.report.figures.drawing import png

            data = png(drawing.svg(network, heat, level, shape))
        case ".html":
            data = drawing.html(network, heat, shape).encode()
        case _:
            raise UsageError(f"--draw {str(path)!r}: drawings are .svg, .png or .html files")
    write_whole(path, data)


def _shape(text: str) -> tuple[int, int, int]:
    """`3x192x256` as (channels, height, width)."""
    parts = text.lower().split("x")
    if len(parts) != 3 or not all(part.isascii() and part.isdigit() and int(part) > 0 for part in parts):
        raise UsageError(f"--input {text!r} is not channels x height x width, such as 3x192x256")
    channels, height, width = (int(part) for part in parts)
    return channels, height, width


def explain(number: str, /, *, network: str | None = None, format: Format = "text") -> None:
    """Find the published results that a number may refer to, with their variant, protocol and images.

    A number matches to the precision that it is written with: 76.1 is 76.05 to 76.15; near is within one unit of the
    last digit.

    Parameters
    ----------
    number
        An accuracy or error (76.1, 24.7%, 0.761), parameters (25.6M, 25557032) or operations (4.1G); 4.1GMACs and
        25.6 without its M are understood too.
    network
        A name from 'topfive networks': its figures and those of its variants come first.
    format
        text, markdown, csv or json; csv has the matches alone, accuracies and errors are fractions in both.
    """
    from topfive.report import explanations

    matches = explanations.explain(number, network)
    document = {
        "answer": explanations.answer(number, network, matches),
        "nearest": explanations.rows(explanations.nearest(number, network)) if network else [],
        "errors": explanations.own_rows(network) if network else [],
    }
    write(format, explanations.rows(matches), document, explanations.sections(number, network, matches))
