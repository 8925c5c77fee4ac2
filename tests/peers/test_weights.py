"""Every network that torchvision and timm share with ours, from a file of theirs: `make peers`.

Their module gets random weights, its state dict is written as they write it and read through recognition and the
rename tables: the logits are those of their module. Two kernels of one shape exchanged show that it can fail.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from comparing import BOUND, difference, logits, models, randomise, timm
from torch import Tensor, nn

from topfive.engine.models.modules import build
from topfive.engine.models.tensors import fill
from topfive.networks.densenet import TORCHVISION_2017
from topfive.weights.matching import COUNTER, Match, recognise
from topfive.weights.names import ORIGINS, Origin

pytestmark = pytest.mark.peers

WRITTEN_DOWN = Path(__file__).parent.parent / "data" / "library_names.json"
# images as small as the network allows, and odd, so that windows are left over at the edges; the others 107
SIDES = {"alexnet": 224, "vgg": 224, "inception_v3": 299}
SHARED = [origin for origin in ORIGINS if origin.library in ("torchvision", "timm")]


class Line(NamedTuple):
    origin: Origin
    tensors: int
    difference: float
    exchanged: float | None


@pytest.fixture(scope="module")
def lines(request: pytest.FixtureRequest) -> Iterator[list[Line]]:
    """What was compared, printed when all is done."""
    found: list[Line] = []
    yield found
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print(f"\n\n{'their model':32}{'our network':26}{'tensors':>8}{'difference':>12}{'two exchanged':>15}")
        for origin, tensors, same, exchanged in found:
            other = f"{exchanged:15.1e}" if exchanged is not None else f"{'no two alike':>15}"
            print(f"{origin.library + ' ' + origin.model:32}{origin.network:26}{tensors:8}{same:12.1e}{other}")
        print(f"{len({line.origin[:2] for line in found})} models; difference: the largest between two logits, as a "
              "fraction of the largest logit")  # fmt: skip


def theirs(origin: Origin) -> nn.Module:
    if origin.library == "timm":
        return timm.create_model(origin.model)  # type: ignore[no-any-return]
    drawn = {"init_weights": False} if origin.model in ("googlenet", "inception_v3") else {}
    return getattr(models, origin.model)(**drawn)  # type: ignore[no-any-return]


def loaded(tensors: Mapping[str, Tensor], origin: Origin, shape: tuple[int, int, int]) -> tuple[Match, nn.Module]:
    match = recognise(
        {name: tuple(tensor.shape) for name, tensor in tensors.items()}, "the file", origin.network, origin.library
    )
    module = build(match.network, shape)
    counters = {name: tensor for name, tensor in module.state_dict().items() if name.endswith(COUNTER)}
    fill(module, counters | match.renamed(tensors), "the file")
    return match, module


def exchanged(tensors: Mapping[str, Tensor], match: Match) -> dict[str, Tensor] | None:
    """The same but for two kernels, the first that have the same shape."""
    kernels = [name for name in match.names if tensors[name].dim() == 4 and tensors[name].numel() > 1000]
    pair = next(
        ((a, b) for i, a in enumerate(kernels) for b in kernels[i + 1 :] if tensors[a].shape == tensors[b].shape), None
    )
    return {**tensors, pair[0]: tensors[pair[1]], pair[1]: tensors[pair[0]]} if pair else None


@pytest.mark.parametrize("origin", SHARED, ids=lambda origin: f"{origin.library}-{origin.model}")
@torch.no_grad()
def test_a_file_of_theirs_gives_their_logits(origin: Origin, lines: list[Line], tmp_path: Path) -> None:
    torch.manual_seed(0)
    side = next((side for name, side in SIDES.items() if origin.model.startswith(name)), 107)
    shape = (3, side, side)
    module = theirs(origin)
    randomise(module, shape)
    state = module.state_dict()
    if origin.rules == TORCHVISION_2017:  # the files that torchvision publishes: it renames them as it loads them
        state = {re.sub(r"(layer\d+\.(?:norm|conv))(\d)", r"\1.\2", name): t for name, t in state.items()
                 if not name.endswith(COUNTER)}  # fmt: skip
    torch.save(state, tmp_path / "theirs.pth")
    tensors: dict[str, Tensor] = torch.load(tmp_path / "theirs.pth", weights_only=True)

    match, ours = loaded(tensors, origin, shape)
    images = torch.randn(2, *shape)
    expected = logits(module, images)
    same = difference(logits(ours, images), expected)
    wrong = exchanged(tensors, match)
    other = difference(logits(loaded(wrong, origin, shape)[1], images), expected) if wrong else None
    lines.append(Line(origin, len(match.names), same, other))
    assert same < BOUND
    assert other is None or other > 10 * BOUND


def digest(shapes: Mapping[str, tuple[int, ...]]) -> str:
    """Of the names and shapes; a 1x1 convolution counts as a linear layer."""
    lines = sorted(re.sub("( 1)+$", "", f"{name} {' '.join(map(str, shape))}") + "\n" for name, shape in shapes.items())
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def digests() -> dict[str, str]:
    """What the names of every model are, auxiliary classifiers left out where ours has no place for them."""
    found = {}
    for origin in SHARED:
        with torch.device("meta"):
            state = theirs(origin).state_dict()
        kept = {name: tuple(t.shape) for name, t in state.items() if not name.startswith(origin.left_out or "//")}
        found[f"{origin.library} {origin.model}"] = digest(kept)
    return found


def test_what_the_default_tests_know_of_their_names_is_still_so() -> None:
    assert json.loads(WRITTEN_DOWN.read_text()) == digests()


if __name__ == "__main__":
    WRITTEN_DOWN.write_text(json.dumps(digests(), indent=1) + "\n")
