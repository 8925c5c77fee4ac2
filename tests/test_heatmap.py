"""Heatmaps against what is known of them: a network whose map is computed by hand, and CAM where Grad-CAM equals it."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from test_export import model

from topfive.cli import main
from topfive.data.views import views
from topfive.engine.inference.heatmap import grad_cam, heatmap, locate
from topfive.engine.inference.models import About, Model, save
from topfive.engine.models.modules import Classifier, build
from topfive.errors import RefusedError, UsageError
from topfive.networks import get
from topfive.networks.layers import Conv, GlobalPool, Linear, Network, Pool, Relu, chain, with_classes
from topfive.networks.variations import fully_convolutional
from topfive.recipes.protocols import PROTOCOLS, View
from topfive.report.figures.heatmap import overlaid

RED_OR_BLUE = Network(
    "colours", "resnet-50", (3, 32, 32), chain(conv=Conv(2, 1), relu=Relu(), pool=GlobalPool(), fc=Linear(2))
)


def colours() -> Model:
    """The first class is the redder the image is, the second the bluer: each map is one channel of the image."""
    net = build(RED_OR_BLUE)
    with torch.no_grad():
        net.conv.weight.zero_(), net.conv.bias.zero_(), net.fc.bias.zero_()  # type: ignore[union-attr, operator]
        net.conv.weight[0, 0], net.conv.weight[1, 2] = 1, 1  # type: ignore[union-attr, operator, index]
        net.fc.weight.copy_(torch.tensor([[2.0, -1.0], [-1.0, 3.0]]))  # type: ignore[union-attr, operator]
    classifier = Classifier(net, torch.zeros(1, 3, 1, 1), torch.ones(1, 3, 1, 1)).eval()
    about = About(RED_OR_BLUE, 32, ("red", "blue"), protocol=PROTOCOLS["1-crop:square"])
    return Model("colours", "colours", "", about, classifier)


def halves() -> Image.Image:
    """Red on the left, 200, blue on the right, 100."""
    pixels = np.zeros((32, 32, 3), np.uint8)
    pixels[:, :16, 0], pixels[:, 16:, 2] = 200, 100
    return Image.fromarray(pixels)


def test_a_map_that_is_computed_by_hand() -> None:
    one, x = colours(), torch.from_numpy(np.asarray(halves()).transpose(2, 0, 1).copy())[None].float()
    red, blue = (grad_cam(one.classifier.net, x, answer) for answer in (0, 1))  # type: ignore[arg-type]
    # the mean of a gradient of a global average is the weight over the places: 2/1024 and -1/1024, -1/1024 and 3/1024
    assert red[:, :16].tolist() == [[pytest.approx(2 * 200 / 1024)] * 16] * 32 and not red[:, 16:].any()
    assert blue[:, 16:].tolist() == [[pytest.approx(3 * 100 / 1024)] * 16] * 32 and not blue[:, :16].any()
    shown = heatmap(one, halves(), 0)
    assert (shown.evidence[:, :16] == 1).all() and not shown.evidence[:, 16:].any()
    assert (shown.pixels == np.asarray(halves())).all()


@pytest.mark.parametrize("size", [(90, 61), (61, 90), (64, 64), (20, 27)])
@pytest.mark.parametrize("key", ["1-crop:square", "1-crop", "1-crop:timm", "10-crop", "144-crop", "dense"])
def test_a_view_lies_where_its_pixels_come_from(key: str, size: tuple[int, int]) -> None:
    """Pixels that tell their own place, in fractions of 255, are resized and cut; what is left tells where it was."""
    width, height = size
    ramp = np.zeros((height, width, 3), np.uint8)
    ramp[..., 0] = np.rint(255 * (np.arange(width) + 0.5) / width)
    ramp[..., 1] = np.rint(255 * (np.arange(height) + 0.5) / height)[:, None]
    seen = next(views(Image.fromarray(ramp), PROTOCOLS[key], 32)).astype(float) / 255
    left, top, right, bottom = PROTOCOLS[key].views(width, height, 32)[0].place(width, height)
    for line, low, high in ((seen[16, :, 0], left, right), (seen[:, 16, 1], top, bottom)):
        expected = low + (high - low) * (np.arange(len(line)) + 0.5) / len(line)
        inner = slice(2, -2)  # at its borders an image is continued by its last pixels
        assert line[inner] == pytest.approx(expected[inner], abs=1.5 / min(size) * 0.5)


STRIDED = Network("strided", "vgg-a", (3, 49, 49), chain(
    conv=Conv(2, 5, stride=2, pad=2), relu=Relu(), pool=Pool("max", 3, 2), conv2=Conv(3, 3, pad=1), relu2=Relu(),
    average=GlobalPool(), fc=Linear(2)))  # fmt: skip


@pytest.mark.parametrize("lit", [(4, 6), (23, 30), (44, 40)])
def test_the_field_of_the_maximum_is_what_its_gradient_reaches(lit: tuple[int, int]) -> None:
    torch.manual_seed(1)
    net = build(STRIDED).eval()
    with torch.no_grad():
        for one in net.parameters():
            one.abs_()
    x = torch.rand(1, 3, 49, 49) * 0.1  # 49 is what the strides come out even with
    x[:, :, lit[0] - 2 : lit[0] + 3, lit[1] - 2 : lit[1] + 3] += 5
    view = View((96, 64), (20, 8, 69, 57))  # a crop of 49 out of an image of 192 x 128 made half as large
    found = locate(net, x, 0, view, (192, 128))
    assert found.view == pytest.approx((20 / 96, 8 / 64, 69 / 96, 57 / 64)) and found.row == "relu2"
    assert found.evidence.max() == 1 and found.evidence.shape == (12, 12)
    row, column = np.unravel_index(found.evidence.argmax(), (12, 12))
    smooth = torch.nn.Sequential(net.conv, torch.nn.AvgPool2d(3, 2), net.conv2)  # why: a maximum is of one pixel alone
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(smooth(x)[0, :, row, column].sum(), x)
    rows, columns = (gradient[0].abs().sum((0, axis)).nonzero().flatten().tolist() for axis in (2, 1))
    inside = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
    offset, whole = (20, 8, 20, 8), (96, 64, 96, 64)
    assert found.field == pytest.approx([(a + b) / c for a, b, c in zip(inside, offset, whole)])
    assert inside[0] <= lit[1] < inside[2] and inside[1] <= lit[0] < inside[3]


def test_a_dense_view_is_located_too() -> None:
    """Behind a fully convolutional network the map is that of the class's scores; all of the image is seen."""
    torch.manual_seed(0)
    flat = Network("flat", "vgg-a", (3, 16, 16), chain(conv=Conv(4, 3, pad=1), relu=Relu(), pool=Pool("max", 2, 2),
                   fc1=Linear(8), relu2=Relu(), fc2=Linear(3)))  # fmt: skip
    net = build(fully_convolutional(flat), (3, 16, 24)).eval()
    x = torch.randn(1, 3, 16, 24)
    found = locate(net, x, int(net(x).argmax()), View((24, 16), (0, 0, 24, 16)), (48, 32))
    assert found.view == (0, 0, 1, 1) and found.evidence.shape[1] > 1
    assert all(0 <= one <= 1 for one in found.field)


def test_without_rows_or_without_evidence_there_is_no_place() -> None:
    whole = View((32, 32), (0, 0, 32, 32))
    x = torch.from_numpy(np.asarray(halves()).transpose(2, 0, 1).copy())[None].float()
    with pytest.raises(RefusedError, match="no rows"):
        locate(torch.nn.Flatten(), x, 0, whole, (32, 32))
    with pytest.raises(RefusedError, match="no place"):
        locate(colours().classifier.net, torch.zeros(1, 3, 32, 32), 0, whole, (32, 32))


@pytest.mark.parametrize("name", ["resnet-18", "densenet-121", "mobilenet-v1", "se-resnet-50"])
def test_grad_cam_is_cam_where_a_global_average_and_one_linear_layer_end_the_network(name: str) -> None:
    """Up to a positive factor. Source: Selvaraju et al. 2017, section 3, after Zhou et al. 2016."""
    torch.manual_seed(0)
    net = build(with_classes(get(name), 5), (3, 96, 96)).eval()
    seen: list[torch.Tensor] = []
    (pool,) = [part for part in net.children() if isinstance(part, torch.nn.AdaptiveAvgPool2d)]
    pool.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach().clone()))
    with torch.no_grad():
        x = torch.randn(1, 3, 96, 96)
        net(x)
        (fc,) = [part for part in net.children() if isinstance(part, torch.nn.Linear)]
        some = False
        for answer in range(5):
            cam = (fc.weight[answer][:, None, None] * seen[0][0]).sum(0).relu()
            ours = grad_cam(net, x, answer)
            assert cam.shape == ours.shape and cam.shape[0] > 1
            assert torch.allclose(*(each / each.max().clamp_min(1e-12) for each in (ours, cam)), atol=1e-4)
            some |= bool(cam.any())
    assert some  # a map may speak against a class everywhere, but not each of them


def test_a_network_that_flattens_its_maps_shows_the_last_ones() -> None:
    torch.manual_seed(0)
    flat = Network("flat", "vgg-a", (3, 16, 16), chain(conv=Conv(4, 3, pad=1), relu=Relu(), pool=Pool("max", 2, 2),
                   fc1=Linear(8), relu2=Relu(), fc2=Linear(3)))  # fmt: skip
    net = build(flat)
    assert grad_cam(net, torch.randn(1, 3, 16, 16), 1).shape == (8, 8)


def test_evidence_is_laid_over_the_image() -> None:
    pixels = np.full((4, 6, 3), 90, np.uint8)
    evidence: NDArray[np.float32] = np.zeros((4, 6), np.float32)
    evidence[1, 2] = 1
    drawn = np.asarray(overlaid(pixels, evidence))
    changed = (drawn != 90).any(2)
    assert changed[1, 2] and changed.sum() == 1


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(3)
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save(model(), path)
    return path


def test_predict_draws_a_heatmap_for_each_image(
    weights: Path, directions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.png").write_bytes(b"no image")
    folder = tmp_path / "maps"
    given = [str(directions / "val" / "across"), str(directions / "val" / "down" / "1.png"), str(tmp_path / "bad.png")]
    for _ in range(2):  # the folder is ours the second time
        assert main(["predict", str(weights), *given, "--heatmap", str(folder), "--format", "json"]) == 0
        rows = json.loads(capsys.readouterr().out)["rows"]
    drawn = [row["heatmap"] for row in rows]
    assert drawn[-1] is None and len(set(drawn[:-1])) == 9
    assert str(folder / "1.png") in drawn and str(folder / "1-2.png") in drawn
    for path in drawn[:-1]:
        with Image.open(path) as image:
            assert image.size == (32, 32)
    assert {path.name for path in folder.iterdir()} == {Path(path).name for path in drawn[:-1]} | {".topfive"}


def test_heatmaps_are_not_written_among_the_users_files(
    weights: Path, directions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.png").write_bytes(b"mine")
    for folder, says in ((tmp_path, "there already"), (directions / "val" / "maps", "only read")):
        assert (
            main(["predict", str(weights), str(directions / "val"), "--heatmap", str(folder)]) == UsageError.exit_code
        )
        assert says in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.png"] and not (directions / "val" / "maps").exists()
