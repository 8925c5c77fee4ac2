"""Images to probabilities: each image once, whatever the batch, the processes, the protocol and the models."""

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from topfive.data.opening import open_source
from topfive.data.sources import Source
from topfive.data.views import views
from topfive.engine.benchmark.machine import Machine, this_machine
from topfive.engine.inference.models import About, Model, columns, open_model, save
from topfive.engine.inference.prediction import Evaluation, ensemble, judge
from topfive.engine.models.modules import Classifier, build
from topfive.engine.training.processes import Group
from topfive.errors import DataError, RefusedError, UsageError
from topfive.networks.layers import BatchNorm, Chain, Conv, GlobalPool, Linear, Network, Relu, with_classes
from topfive.recipes import protocols
from topfive.results.predictions import scores

TINY = Network(
    "tiny",
    "tiny",
    (3, 32, 32),
    Chain(
        (("conv1", Conv(8, 5, 3)), ("bn1", BatchNorm()), ("relu1", Relu()), ("conv2", Conv(16, 3, 2)),
         ("relu2", Relu()), ("pool", GlobalPool()), ("fc", Linear(7)))
    ),
)  # fmt: skip
NAMES = tuple("abcdefg")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """70 noisy images of odd shapes in seven classes; one of the validation ones is no image."""
    root, random = tmp_path_factory.mktemp("images"), np.random.default_rng(5)
    for part, count in (("train", 2), ("val", 5)):
        for label, name in enumerate(NAMES):
            (root / part / name).mkdir(parents=True)
            for i in range(count):
                height, width = random.integers(30, 70, 2)
                pixels = random.integers(0, 256, (height, width, 3), np.uint8) // (1 + label)
                Image.fromarray(pixels).save(root / part / name / f"{i}.png")
    (root / "val" / "c" / "3.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    return root


@pytest.fixture(scope="module")
def source(images: Path) -> Source:
    return open_source(str(images))


@pytest.fixture(scope="module")
def machine() -> Machine:
    return msgspec.structs.replace(this_machine(), precision="float32")


def model(seed: int = 0, network: Network = TINY, names: tuple[str, ...] = NAMES) -> Model:
    torch.manual_seed(seed)
    net = build(network)
    for part in net.modules():
        if isinstance(part, torch.nn.Linear):
            torch.nn.init.normal_(part.weight, 0.0, 2.0)  # so that answers differ from image to image
    mean, std = torch.tensor([120.0, 110.0, 100.0]).view(1, 3, 1, 1), torch.full((1, 3, 1, 1), 60.0)
    return Model(f"m{seed}", f"m{seed}", "", About(network, 32, names), Classifier(net, mean, std).eval())


def judged(one: Model, source: Source, machine: Machine, batch: int = 8, key: str = "1-crop:square") -> Evaluation:
    (found,) = judge([one], {one.where: [protocols.get(key)]}, source, machine, batch=batch, precision="float32")
    return found


@torch.no_grad()
def naively(one: Model, image: Image.Image, key: str) -> NDArray[np.float64]:
    """View by view, the softmax averaged; a dense view as the average of the scores over the map."""
    shares = []
    for view in views(image, protocols.get(key), one.about.size):
        logits = one.classifier(torch.from_numpy(np.ascontiguousarray(view.transpose(2, 0, 1)))[None])
        shares.append(logits[0].double().softmax(0).numpy())
    return np.asarray(np.mean(shares, 0))


class Together:
    """`world` processes as threads of this one, with what they tell each other."""

    def __init__(self, world: int) -> None:
        self.world, self.barrier = world, threading.Barrier(world)
        self.told: list[object] = [None] * world

    def groups(self) -> list[Group]:
        return [_Threaded(rank, self.world, self) for rank in range(self.world)]

    def exchange(self, rank: int, value: object) -> list[object]:
        self.told[rank] = value
        self.barrier.wait(20)
        everything = list(self.told)
        self.barrier.wait(20)
        return everything


class _Threaded(Group):
    def __init__(self, rank: int, world: int, together: Together) -> None:
        super().__init__(rank, world)
        object.__setattr__(self, "together", together)

    def all_reduce(self, *numbers: float) -> list[float]:
        return [sum(each) for each in zip(*self.together.exchange(self.rank, numbers))]  # type: ignore[attr-defined]

    def gathered(self, data: bytes) -> list[bytes]:
        return list(self.together.exchange(self.rank, data))  # type: ignore[attr-defined]


def on(world: int, run: Callable[[Group], Evaluation]) -> list[Evaluation]:
    found: list[Evaluation] = []
    threads = [threading.Thread(target=lambda g=group: found.append(run(g))) for group in Together(world).groups()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(found) == world
    return found


def test_counts_and_metrics_are_the_same_for_every_number_of_images_batch_and_processes(
    source: Source, machine: Machine
) -> None:
    one, key = model(), protocols.SQUARE
    for count in range(1, 34):
        part = replace(source, val=source.val[:count])
        expected = [naively(one, source.read(item), "1-crop:square") for item in part.val if "c/3" not in item.name]
        right = sum(int(e.argmax()) == i.label for e, i in zip(expected, [i for i in part.val if "c/3" not in i.name]))
        seen = []
        for batch in (1, 2, 3, 7, 8):
            for world in (1, 2):

                def run(group: Group, batch: int = batch, part: Source = part) -> Evaluation:
                    (found,) = judge([one], {one.where: [key]}, part, machine, group, batch, "float32")
                    return found

                for found in on(world, run):
                    predictions = found.predictions
                    assert len(predictions.images) == len(predictions.scores) == count
                    readable = ~np.isnan(predictions.scores).any(1)
                    assert readable.sum() == len(expected) == count - len(predictions.unreadable)
                    np.testing.assert_allclose(predictions.scores[readable], expected, atol=2e-6)
                    counted = scores(predictions)
                    assert (counted.images, counted.correct1) == (count, right)
                    seen.append((batch, predictions.scores.tobytes()))
        for batch in (1, 2, 3, 7, 8):  # two processes give the bits of one
            assert len({data for b, data in seen if b == batch}) == 1


@pytest.mark.parametrize("key", [k for k in protocols.PROTOCOLS if k not in ("multi-crop", "144-crop")])
def test_probabilities_are_those_of_the_views_one_by_one(key: str, source: Source, machine: Machine) -> None:
    part, one = replace(source, val=source.val[:6]), model()
    found = judged(one, part, machine, 5, key)
    for item, row in zip(part.val, found.predictions.scores):
        np.testing.assert_allclose(row, naively(one, source.read(item), key), atol=2e-6)
    assert found.cost.views == protocols.get(key).count()
    assert found.predictions.protocol == protocols.get(key).describe(32)


def test_an_unreadable_image_is_named_and_counts_as_an_error(source: Source, machine: Machine) -> None:
    found = judged(model(), source, machine).predictions
    assert list(found.unreadable) == ["val/c/3.png"] and "truncated" in found.unreadable["val/c/3.png"]
    assert (scores(found).images, scores(found).unreadable) == (35, 1)


def test_each_image_is_decoded_once_for_all_models_and_protocols(
    source: Source, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    names: list[str] = []
    read = Source.read
    monkeypatch.setattr(
        Source, "read", lambda self, item, upright: (names.append(item.name), read(self, item, upright))[1]
    )
    several = [model(0), model(1)]
    chosen = [protocols.get(key) for key in ("1-crop", "10-crop", "dense")]
    judge(several, {one.where: chosen for one in several}, source, machine)
    assert sorted(names) == sorted(item.name for item in source.val)


def test_an_ensemble_is_the_average_of_probabilities(source: Source, machine: Machine) -> None:
    first, second = model(0), model(1)
    turned = replace(second, about=msgspec.structs.replace(second.about, classes=NAMES[::-1]))
    a, b = judged(first, source, machine), judged(turned, source, machine)
    both, weighed = ensemble([a, b]), ensemble([a, b], [3, 1])
    # the second one's outputs stand for the classes in reverse
    np.testing.assert_allclose(
        both.predictions.scores, (a.predictions.scores + b.predictions.scores[:, ::-1]) / 2, atol=1e-7
    )
    np.testing.assert_allclose(
        weighed.predictions.scores, 0.75 * a.predictions.scores + 0.25 * b.predictions.scores[:, ::-1], atol=1e-7
    )
    with pytest.raises(UsageError, match="2 shares"):
        ensemble([a, b], [1.0])
    with pytest.raises(UsageError, match="have different classes"):
        ensemble([a, replace(b, model=model(1, names=tuple("abcdefz")))])


def test_classes_are_matched_by_name(source: Source, machine: Machine) -> None:
    """A model that knows more classes, in another order, gets the same images right."""
    one = model()
    expected = judged(one, source, machine)
    order = [3, 0, 6, 1, 2, 5, 4]
    wide = model(0, with_classes(TINY, 9), (*[NAMES[i] for i in order], "x", "y"))
    state = one.classifier.state_dict()
    rows = torch.cat([state["net.fc.weight"][order], torch.zeros(2, 16)])
    bias = torch.cat([state["net.fc.bias"][order], torch.full((2,), -1e4)])
    wide.classifier.load_state_dict({**state, "net.fc.weight": rows, "net.fc.bias": bias})
    found = judged(wide, source, machine)
    assert scores(found.predictions).correct1 == scores(expected.predictions).correct1
    assert "2 of its 9 classes are not in images" in " ".join(found.notes)
    with pytest.raises(DataError, match=r"does not know 1 of the 7 classes .*\('g'\)"):
        columns(model(names=tuple("abcdefz")), source)


@pytest.mark.parametrize("classes", [2, 3, 5, 6])
def test_top5_says_nothing_below_six_classes(classes: int, source: Source, machine: Machine) -> None:
    names = NAMES[:classes]
    few = replace(source, classes=names, val=tuple(item for item in source.val if item.label < classes))
    found = scores(judged(model(0, with_classes(TINY, classes), names), few, machine).predictions)
    assert (found.correct5 is None) == (classes < 6)


def test_a_saved_model_comes_back_whole_and_a_stranger_is_refused(tmp_path: Path) -> None:
    one = model()
    save(one, tmp_path / "m.safetensors")
    back = open_model(str(tmp_path / "m.safetensors"))
    assert back.about == one.about
    for name, tensor in one.classifier.state_dict().items():
        assert torch.equal(back.classifier.state_dict()[name], tensor)
    save(replace(one, about=msgspec.structs.replace(one.about, classes=NAMES[:5])), tmp_path / "few.safetensors")
    with pytest.raises(RefusedError, match="names 5 classes for 7 outputs"):
        open_model(str(tmp_path / "few.safetensors"))
    with pytest.raises(UsageError, match="there is no run folder or file"):
        open_model(str(tmp_path / "none"))
