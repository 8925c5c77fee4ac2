"""A torch module of the user's own as a network, read off its exported graph: for its drawing and its costs.

What branches and joins again becomes a residual or a concatenation; anything else is refused in a sentence.
"""

import io
import logging
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from itertools import groupby
from typing import NamedTuple, TypeAlias

import torch
from torch import fx

from topfive.engine.models.operators import CONCAT, SUM, given, layer_of, operator, shape_of
from topfive.engine.models.specs import ModelSpec, make
from topfive.errors import RefusedError, TopfiveError
from topfive.networks.costs import count
from topfive.networks.layers import Chain, Concat, Layer, Network, Residual, leaves

Path: TypeAlias = tuple[str, ...]  # the names of the modules around a layer, outermost first


class Item(NamedTuple):
    """A layer, and where in the module it was called."""

    path: Path
    layer: Layer


def network_of(factory: str, input: tuple[int, int, int], classes: int) -> Network:
    """The network that `package.module:factory` makes, for images of `input`.

    Raises: RefusedError naming the operator, or the branches, that a network of topfive's cannot have.
    """
    try:
        module = make(ModelSpec(factory, factory=factory), input, classes).eval()
    except TopfiveError:
        raise
    except Exception as error:  # why: a user's factory may raise whatever it likes
        raise RefusedError(f"{factory} fails: {type(error).__name__}: {error}") from error
    try:
        with _silent():
            program = torch.export.export(module, (torch.zeros(1, *input),))
    except Exception as error:  # why: as varied as the modules that cannot be exported
        why = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(". ")
        raise RefusedError(f"{factory} cannot be read as a network: torch.export refuses it ({why[:200]})") from error
    try:
        items = _Graph(program.graph).items()
        network = Network(factory, "", input, Chain(tuple(_named(items, 0))))
        _verify(network, program)
    except TopfiveError as error:
        raise RefusedError(f"{factory} cannot be read as a network: {error}") from None
    return network


@contextmanager
def _silent() -> Iterator[None]:
    """Nothing but exceptions: torch.export logs and prints pages about what it cannot take."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _verify(network: Network, program: torch.export.ExportedProgram) -> None:
    """Whether the network has the module's parameters. Raises: RefusedError."""
    names = program.graph_signature.inputs_to_parameters
    used = [node for node in program.graph.nodes if node.name in names and node.users]
    wanted, found = sum(node.meta["val"].numel() for node in used), count(network).params
    if wanted != found:
        raise RefusedError(f"read so, it would have {found:,} parameters and not the {wanted:,} that are used")


class _Graph:
    """The nodes between the image and the logits, as a tree of layers."""

    def __init__(self, graph: fx.Graph) -> None:
        self.sources: dict[fx.Node, list[fx.Node]] = {}
        self.seen: set[fx.Node] = set()
        self.above: dict[fx.Node, list[fx.Node]] = {}  # through which all that reaches a node comes, the image first
        latest: dict[fx.Node, fx.Node] = {}  # what changed in place is another value from there on
        end = None
        *_, self.image = (node for node in graph.nodes if node.op == "placeholder")
        self.above[self.image] = [self.image]
        for node in graph.nodes:
            if node.op == "output":
                (end,) = node.all_input_nodes
            if node.op != "call_function":
                continue
            data = [latest.get(one, one) for one in node.all_input_nodes if latest.get(one, one) in self.above]
            if not data:
                continue  # the weights' own
            self.sources[node] = data
            common = [one for one in self.above[data[0]] if all(one in self.above[other] for other in data[1:])]
            self.above[node] = [*common, node]
            if operator(node).endswith("_"):
                latest |= {one: node for one in (*latest, *data) if latest.get(one, one) in data}
        if end is None or end not in self.above:
            raise RefusedError("its output does not come from the image")
        self.end = end

    def items(self) -> list[Item]:
        return self._between(self.image, self.end)

    def _between(self, start: fx.Node, end: fx.Node) -> list[Item]:
        """The layers from `start`, without it, to `end`."""
        found: list[Item] = []
        node = end
        while node is not start:
            if node in self.seen:
                raise RefusedError(f"what {node.name} gives is taken up by branches that do not join in one place")
            self.seen.add(node)
            if operator(node) in (*SUM, *CONCAT):
                first = self.above[node][-2]
                found.append(self._joined(node, first))
                node = first
                continue
            (source,) = self._one(node)
            layer = layer_of(node, source)
            if layer is not None:
                found.append(Item((*_path(node), operator(node).rstrip("_")), layer))
            node = source
        return found[::-1]

    def _one(self, node: fx.Node) -> list[fx.Node]:
        if len(self.sources[node]) != 1:
            raise RefusedError(f"{node.target} of several maps is no layer of topfive's")
        return self.sources[node]

    def _joined(self, node: fx.Node, first: fx.Node) -> Item:
        """A sum or a concatenation, with the branches from `first` to it."""
        found, name = given(node), operator(node)
        adds = name in SUM
        if adds and len(self.sources[node]) != 2:
            raise RefusedError(f"{node.target} of other than two maps is no layer of topfive's")
        if adds and len({shape_of(one) for one in self.sources[node]}) > 1:
            raise RefusedError(f"{node.target} of maps of several shapes is no layer of topfive's")
        if not adds and found["dim"] not in (1, -len(shape_of(node))):
            raise RefusedError(f"{node.target} along another axis than the channels is no layer of topfive's")
        branches = [self._between(first, one) for one in self.sources[node]]
        path = _common([item.path for branch in branches for item in branch] + [(*_path(node), "")])
        depth = len(path)
        layers = [_chain(branch, depth) for branch in branches]
        if adds:
            scale = float(found["alpha"])  # of the second
            if scale == 1:
                layers.sort(key=lambda layer: len(list(leaves(layer))))
            shortcut, body = layers
            return Item((*path, "sum"), Residual(body, shortcut, scale))
        named = zip((f"branch{n}" for n in range(1, len(layers) + 1)), layers)
        return Item((*path, "concat"), Concat(tuple(named)))


def _chain(items: Sequence[Item], depth: int) -> Layer:
    named = tuple(_named(items, depth))
    return named[0][1] if len(named) == 1 else Chain(named)


def _named(items: Sequence[Item], depth: int) -> Iterator[tuple[str, Layer]]:
    """The layers with a name each, those that one module calls one after the other as one row."""
    taken: Counter[str] = Counter()
    for name, group in groupby(items, lambda item: item.path[depth]):
        inside = list(group)
        taken[name] += 1
        unique = name if taken[name] == 1 else f"{name}_{taken[name]}"
        alone = len(inside) == 1 or any(len(item.path) == depth + 1 for item in inside)
        if not alone:
            yield unique, _chain(inside, depth + 1)
            continue
        for n, item in enumerate(inside):
            if n:
                taken[name] += 1
                unique = f"{name}_{taken[name]}"
            yield unique, item.layer


def _path(node: fx.Node) -> Path:
    """The modules that were being called: `layer1`, `0` of `layer1.0`."""
    *_, (full, _) = node.meta.get("nn_module_stack", {}).values() or [("", None)]
    return tuple(part.partition("@")[0] for part in full.split(".") if part)


def _common(paths: Sequence[Path]) -> Path:
    """What all begin with, without the last name of any."""
    common = paths[0][:-1]
    for path in paths[1:]:
        longest = min(len(common), len(path) - 1)
        common = next((common[:n] for n in range(longest, -1, -1) if common[:n] == path[:n]), ())
    return common
