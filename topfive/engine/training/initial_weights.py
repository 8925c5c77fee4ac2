"""What a training begins with that does not begin at random: a trained model of the same network, or layers of one."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from topfive.engine.inference.models import Model, open_model
from topfive.engine.models.tensors import fill
from topfive.errors import RefusedError
from topfive.networks.layers import Conv, Layer, Linear, Network, leaves, with_classes
from topfive.networks.variations import for_small_images
from topfive.weights.matching import weights_of
from topfive.weights.names import INSTEAD, ORIGINS

NAMED_BY = "topfive weights import --classes FILE makes a file that names them"


@dataclass(frozen=True)
class Start:
    """A model for the training of `network` on `classes` to begin with; `init_layers`: those taken, empty for all.

    Raises: RefusedError where the networks are not the same, or do not share the layers that are taken.
    """

    model: Model
    network: Network
    classes: tuple[str, ...]
    init_layers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.init_layers:
            self._check_taken()
        elif not any(_same(*pair) for pair in _sides(self._theirs, self.network)):
            name, ours = self._theirs.name, self.network.name
            there, here = dict(_layers(self._theirs)), dict(_layers(self.network))
            other = next((path for path in (*here, *there) if here.get(path) != there.get(path)), "")
            because = INSTEAD.get((ours, name), f"the first layer that is not the same in both is {other}")
            raise RefusedError(f"{self.model.where} is {'another ' * (name == ours)}{name}, and not {ours}: {because}")

    def fitting(self) -> tuple[str, ...]:
        """The layers that are taken where the images' size gives others another shape; empty where all are taken."""
        there, here = ({one.name: one.shape for one in weights_of(of)} for of in (self._theirs, self.network))
        layers = dict.fromkeys(name.split(".")[0] for name in here)
        fresh = {name.split(".")[0] for name, shape in here.items() if there.get(name) != shape}
        reshaped = any(there[name] != shape for name, shape in here.items() if name in there)
        return tuple(name for name in layers if name not in fresh) if reshaped else ()

    @property
    def notes(self) -> list[str]:
        """What is taken and what is fresh, a line each."""
        if self.init_layers:
            return [
                f"from {self.model.where}: {', '.join(self.init_layers)}; the other layers are fresh",
                *self._of_classes(),
            ]
        missing = [
            head.name for head in self.network.heads if head.name not in {one.name for one in self._theirs.heads}
        ]
        fresh = [f"fresh, since {self.model.name} does not have it: {', '.join(missing)}"] if missing else []
        there, here = self._theirs.input[1], self.network.input[1]
        if self._theirs.body != self.network.body:
            fresh.append(f"{self.model.name} was made for {there} pixels, and here it is for {here}: strides differ")
        return [*self._of_classes(), *fresh]

    def fill(self, net: torch.nn.Module) -> None:
        """Put the model's weights into `net`; a class that it does not know keeps its fresh row of the classifier.

        Raises: RefusedError that names what has another shape.
        """
        state = net.state_dict()
        last = _classifiers(self.network)
        for name, tensor in self.model.classifier.state_dict().items():
            ours = name.removeprefix("net.")
            if ours not in state or not self._takes(ours):  # means and deviations, and heads of theirs alone
                continue
            state[ours] = self._carried(state[ours], tensor) if ours.rsplit(".", 1)[0] in last else tensor
        fill(net, state, self.model.where)

    @property
    def _theirs(self) -> Network:
        return with_classes(self.model.network, len(self.classes))

    @property
    def _rows(self) -> list[tuple[int, int]]:
        """(output here, output of the model) of the classes that both name."""
        at = {name: i for i, name in enumerate(self.model.about.classes)}
        return [(i, at[name]) for i, name in enumerate(self.classes) if name in at]

    def _carried(self, fresh: Tensor, tensor: Tensor) -> Tensor:
        """The rows of `tensor` that belong to classes of ours, in our order, and those of `fresh` for the others."""
        if fresh.shape[1:] != tensor.shape[1:]:
            return tensor  # which `fill` refuses by its name
        kept = fresh.clone()
        for ours, theirs in self._rows:
            kept[ours] = tensor[theirs]
        return kept

    def _of_classes(self) -> list[str]:
        """What becomes of the classifier, and of the auxiliary ones, in a sentence."""
        last = [name for name in _classifiers(self.network) if self._takes(name)]
        if not last:
            return []
        what = "classifier" if len(last) == 1 else "classifiers"
        shared = [self.classes[i] for i, _ in self._rows]
        count = len(self.classes)
        if not self.model.about.classes:
            return [f"{what}: fresh, since {self.model.name} does not name its classes; {NAMED_BY}"]
        if not shared:
            return [f"{what}: fresh, since none of the {count} classes is one of {self.model.name}'s"]
        named = ", ".join(shared) if len(shared) <= 5 else f"{', '.join(shared[:5])} and {len(shared) - 5} more"
        guess = f"; the names are a guess by its number of outputs: {NAMED_BY}" if self.model.guessed else ""
        carried = f"{len(shared)} of {count} classes carried over by name ({named}), {count - len(shared)} fresh"
        return [f"{what}: {carried}{guess}"]

    def _takes(self, name: str) -> bool:
        return not self.init_layers or _within(name, self.init_layers)

    def _check_taken(self) -> None:
        missing = [name for name in self.init_layers if not (_part(self._theirs, name) and _part(self.network, name))]
        if missing:
            raise RefusedError(
                f"the recipe takes {', '.join(missing)} from the weights, which not both networks have: "
                "--set init_layers=[]"
            )
        pairs = list(_sides(self._theirs, self.network))
        for name in self.init_layers:
            if all(_part(theirs, name) != _part(ours, name) for theirs, ours in pairs):
                raise RefusedError(
                    f"the recipe takes {name} from the weights, which is another layer in {self._theirs.name} than in "
                    f"{self.network.name}: --set init_layers=[]"
                )


def open_start(where: str, network: Network, classes: tuple[str, ...], init_layers: tuple[str, ...] = ()) -> Start:
    """A `Start` from a run, or a file of ours or another library's. Raises: UsageError, RefusedError."""
    # why: names and shapes alone do not tell a file's network in every case; one of the user's own has no other name
    known = not init_layers and network.name in {origin.network for origin in ORIGINS}
    return Start(open_model(where, network.name if known else None), network, classes, init_layers)


def _sides(theirs: Network, ours: Network) -> Iterator[tuple[Network, Network]]:
    """Both networks as they are, and with either of them made for the other's images."""
    yield theirs, ours
    yield for_small_images(theirs, max(ours.input[1:])), ours
    yield theirs, for_small_images(ours, max(theirs.input[1:]))


def _same(theirs: Network, ours: Network) -> bool:
    """Whether they compute the same, whatever they begin with; auxiliary classifiers count where both have them."""
    heads = {head.name: head for head in theirs.heads}
    shared = [(heads[head.name], head) for head in ours.heads if head.name in heads]
    return theirs.body == ours.body and all((a.after, a.body) == (b.after, b.body) for a, b in shared)


def _layers(network: Network) -> Iterator[tuple[str, Layer]]:
    yield from leaves(network.body)
    for head in network.heads:
        yield from leaves(head.body, head.name)


def _part(network: Network, name: str) -> list[tuple[str, Layer]]:
    """The layer called `name`, as all that is in it."""
    return [(path, layer) for path, layer in _layers(network) if _within(path, (name,))]


def _classifiers(network: Network) -> list[str]:
    """The names of the layers that have an output for each class: the last one, and that of each auxiliary head."""
    parts = [leaves(network.body), *(leaves(head.body, head.name) for head in network.heads)]
    return [[name for name, layer in part if isinstance(layer, Conv | Linear)][-1] for part in parts]


def _within(name: str, layers: tuple[str, ...]) -> bool:
    return any(name == layer or name.startswith(f"{layer}.") for layer in layers)
