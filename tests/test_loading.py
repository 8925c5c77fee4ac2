"""Order and randomness are functions of (seed, epoch, index); crops are the papers'; bad files change nothing else."""

import math
import os
import random
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from PIL import Image

from topfive.data.class_folders import folder
from topfive.data.decoding import Unreadable
from topfive.data.opening import digits
from topfive.engine.benchmark.machine import this_machine
from topfive.engine.models.modules import build
from topfive.engine.training.augmentation import augmented, mixed
from topfive.engine.training.datasets import Data, InMemory
from topfive.engine.training.loading import prepare
from topfive.engine.training.loop import Training, records, train
from topfive.engine.training.sampling import epoch_batches, epoch_order, uniforms
from topfive.engine.training.streaming import Streaming
from topfive.errors import DataError
from topfive.networks import get
from topfive.networks.layers import with_classes
from topfive.networks.variations import for_small_images
from topfive.recipes.augmentations import (
    AUGMENTATIONS,
    DRAWS,
    Augmentation,
    Centre,
    Crop,
    PaddedCrop,
    RandomResizedCrop,
    ScaleJitterCrop,
    box,
)
from topfive.recipes.recipe import Recipe

AREA = AUGMENTATIONS["googlenet"]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Two classes of gradients with noise, 60x48 JPEGs, in train/ and val/."""
    noise = np.random.default_rng(0)
    across = np.linspace(0, 150, 60)[None, :, None]
    for part, count in (("train", 21), ("val", 9)):
        for name, ramp in (("left", across), ("right", 150 - across)):
            for i in range(count):
                pixels = (ramp + noise.integers(0, 90, (48, 60, 3))).astype(np.uint8)
                path = tmp_path / "data" / part / name / f"{i}.jpg"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(path, quality=90)
    return tmp_path / "data"


def spoiled(good: Path, there: Path) -> Path:
    """A copy with files of several kinds that cannot be read, before, between and after the good ones."""
    shutil.copytree(good, there)
    whole = (good / "train" / "left" / "3.jpg").read_bytes()
    bad = {
        "train/left/0a.jpg": b"",
        "train/left/3a.jpg": whole[:300],
        "train/right/10x.jpg": b"<html>",
        "val/left/5a.jpg": b"",
    }
    for name, content in bad.items():
        (there / name).write_bytes(content)
    os.mkfifo(there / "train" / "right" / "0pipe.jpg")
    (there / "val" / "right" / "dangling.jpg").symlink_to("nowhere")
    return there


def epoch_of(data: Data, recipe: Recipe, epoch: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    batches = list(data.training(recipe, epoch))
    return torch.cat([pixels for pixels, *_ in batches]), torch.cat([labels for _, labels, *_ in batches])


# --- order and randomness -------------------------------------------------------------------------------------------


def test_an_epoch_shows_every_image_once_in_an_order_of_its_own() -> None:
    seen = np.concatenate([index for index, _ in epoch_batches(41, 8, seed=3, epoch=1)])
    assert len(seen) == 40 and len(set(seen)) == 40  # a last batch of one is left out
    whole = [index for index, _ in epoch_batches(40, 8, 3, 1)]
    assert sorted(np.concatenate(whole).tolist()) == list(range(40))
    later = [index for index, _ in epoch_batches(40, 8, 3, 1, first=3)]  # as if resumed
    assert all(map(np.array_equal, later, whole[3:])) and len(later) == 2
    assert not torch.equal(epoch_order(40, 3, 1), epoch_order(40, 3, 2))
    assert not torch.equal(epoch_order(40, 3, 1), epoch_order(40, 4, 1))


@pytest.mark.parametrize("count", range(1, 34))
def test_processes_share_each_batch_and_lose_nothing(count: int) -> None:
    for batch in (2, 3, 7, 8):
        whole = list(epoch_batches(count, batch, 0, 1))
        halves = [list(epoch_batches(count, batch, 0, 1, 0, rank, 2)) for rank in (0, 1)]
        for step, (index, real) in enumerate(whole):
            shares = [(part[step][0], part[step][1]) for part in halves]
            assert sorted(i for share, counts in shares for i in share[:counts]) == sorted(index) and real == len(index)
            assert all(len(share) > 1 or count == 1 for share, _ in shares)  # batch normalisation needs two


def test_the_randomness_of_a_image_depends_on_seed_epoch_and_index_alone() -> None:
    many = uniforms(1, 2, np.arange(1000))
    assert np.array_equal(many[[7, 900]], uniforms(1, 2, np.array([7, 900])))
    for other in (uniforms(2, 2, np.arange(1000)), uniforms(1, 3, np.arange(1000)), many[::-1]):
        assert np.abs(np.corrcoef(many.ravel(), other.ravel())[0, 1]) < 0.02
    assert many.min() >= 0 and many.max() < 1
    # every column is uniform (mean, variance, chi-square over ten bins), and no two columns go together
    big = uniforms(5, 1, np.arange(20000))
    assert np.allclose(big.mean(0), 0.5, atol=0.01) and np.allclose(big.var(0), 1 / 12, atol=0.003)
    for column in big.T:
        counts = np.histogram(column, 10, (0, 1))[0]
        assert ((counts - 2000) ** 2 / 2000).sum() < 35
    together = np.corrcoef(big.T) - np.eye(big.shape[1])
    assert np.abs(together).max() < 0.04


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_the_same_from_any_number_of_workers(images: Path, workers: int) -> None:
    recipe = Recipe(batch=8, augmentation=AREA)
    alone = Streaming(folder(images), 32, 0, lambda _: None)
    other = Streaming(folder(images), 32, workers, lambda _: None)
    for epoch in (1, 2):
        for ours, theirs in zip(epoch_of(alone, recipe, epoch), epoch_of(other, recipe, epoch)):
            assert torch.equal(ours, theirs)
    # as if restarted: the second epoch alone, from new workers
    again = Streaming(folder(images), 32, workers, lambda _: None)
    assert torch.equal(epoch_of(again, recipe, 2)[0], epoch_of(alone, recipe, 2)[0])
    for ours, theirs in zip(alone.val(5), other.val(5)):
        assert torch.equal(ours[0], theirs[0]) and torch.equal(ours[1], theirs[1])


def test_memory_and_workers_give_the_same_evaluation(images: Path) -> None:
    kept, streamed = prepare(folder(images), 32, PaddedCrop(4, 32)), prepare(folder(images), 32, PaddedCrop(4, 32), 2)
    assert isinstance(kept, InMemory) and isinstance(streamed, Streaming)
    for ours, theirs in zip(kept.val(4), streamed.val(4)):
        assert torch.equal(ours[0], theirs[0]) and torch.equal(ours[1], theirs[1])
    first, second = (epoch_of(data, Recipe(batch=4)) for data in (kept, streamed))
    assert torch.equal(first[1], second[1]) and (first[0].float() - second[0].float()).abs().mean() < 2


# --- bad files ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [None, 0, 2])
def test_bad_files_are_named_once_and_leave_the_weights_as_without_them(
    images: Path, tmp_path: Path, workers: int | None
) -> None:
    recipe = Recipe(epochs=2, batch=8, augmentation=replace_crop(workers))
    weights = []
    for where in (images, spoiled(images, tmp_path / "spoiled")):
        data = prepare(folder(where), 32, recipe.augmentation.crop, workers)
        torch.manual_seed(0)
        net = build(for_small_images(with_classes(get("cifar-resnet-20"), 2), 32), (3, 32, 32))
        rows = list(records(train(Training(net, data, recipe, this_machine()))))
        scores = rows[-1].scores
        assert scores and scores.images - scores.unreadable == 18 and scores.images == len(data.source.val)
        weights.append({name: value.clone() for name, value in net.state_dict().items()})
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
    named = Counter(Path(error.name).name for error in data.unreadable.values())
    assert named == Counter(["0a.jpg", "3a.jpg", "10x.jpg", "5a.jpg", "0pipe.jpg", "dangling.jpg"])
    assert all(str(tmp_path / "spoiled") in error.name and error.reason for error in data.unreadable.values())


def replace_crop(workers: int | None) -> Augmentation:
    return AUGMENTATIONS["cifar"] if workers is None else AREA


@pytest.mark.parametrize("workers", [0, 2])
def test_a_file_that_goes_during_training_is_left_out_and_named_once(images: Path, workers: int) -> None:
    data = Streaming(folder(images), 32, workers, lambda _: None)
    assert not data.unreadable
    (images / "train" / "left" / "4.jpg").unlink()
    (images / "val" / "left" / "4.jpg").unlink()
    recipe = Recipe(batch=8, augmentation=AREA)
    for epoch in (1, 2):
        assert len(epoch_of(data, recipe, epoch)[1]) in (41, 40)  # 42, less one, and perhaps a last batch of one
    assert sum(len(labels) for _, labels in data.val()) == 17
    reasons = {Path(error.name).parts[-3]: error.reason for error in data.unreadable.values()}
    assert reasons == {"train": "the file is gone", "val": "the file is gone"}


def test_too_many_bad_files_end_it_before_the_first_step(images: Path) -> None:
    for i in range(25):
        (images / "train" / "left" / f"bad{i}.jpg").write_bytes(b"")
    for workers in (None, 0):
        with pytest.raises(DataError, match=r"25 of the 85 images of data cannot be read \(25 empty file\)"):
            prepare(folder(images), 32, PaddedCrop(4, 32), workers)


def test_an_unreadable_image_survives_the_way_between_processes() -> None:
    import pickle

    error = pickle.loads(pickle.dumps(Unreadable("a.jpg", "empty file")))
    assert (error.name, error.reason) == ("a.jpg", "empty file")


# --- what the papers do to an image --------------------------------------------------------------------------------


def draws(count: int) -> list[list[float]]:
    return uniforms(0, 0, np.arange(count))[:, :DRAWS].tolist()


def inception_crop(width: int, height: int, chance: random.Random) -> float:
    """The share of the area, as the sampling is written down in the usual way: try, and try again."""
    while True:
        area = chance.uniform(0.08, 1.0) * width * height
        ratio = math.exp(chance.uniform(math.log(3 / 4), math.log(4 / 3)))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            return w * h / (width * height)


def test_an_area_crop_is_googlenets() -> None:
    """8 to 100 % of the area, ratios between 3/4 and 4/3, inside the image; distributed as by try and try again."""
    shares, ratios = [], []
    for row in draws(4000):
        left, top, right, bottom = box(RandomResizedCrop(), 400, 400, 224, row)
        assert 0 <= left < right <= 400 and 0 <= top < bottom <= 400
        shares.append((right - left) * (bottom - top) / 400**2)
        ratios.append((right - left) / (bottom - top))
    assert min(shares) > 0.078 and max(shares) <= 1 and min(ratios) > 0.73 and max(ratios) < 1.36
    chance = random.Random(0)
    reference = np.sort([inception_crop(400, 400, chance) for _ in range(4000)])
    distance = np.abs(np.searchsorted(reference, np.sort(shares)) / 4000 - np.arange(4000) / 4000).max()
    assert distance < 0.035  # Kolmogorov and Smirnov's, its 1 % point for 4,000 against 4,000
    for width, height in ((1, 1), (1, 5000), (5000, 3), (17, 2)):
        for row in draws(50):
            left, top, right, bottom = box(RandomResizedCrop(), width, height, 224, row)
            assert 0 <= left < right <= width and 0 <= top < bottom <= height


def test_a_jitter_crop_is_resnets_and_alexnets() -> None:
    """The shorter side in 256..480, every whole number as likely; then 224 whole pixels somewhere inside."""
    sides = set()
    for row in draws(3000):
        left, top, right, bottom = box(ScaleJitterCrop(256, 480), 500, 375, 224, row)
        scale = 224 / (right - left)
        sides.add(round(375 * scale))
        assert left >= 0 and right <= 500 and top >= 0 and bottom <= 375 and right - left == pytest.approx(bottom - top)
        assert left * scale == pytest.approx(round(left * scale), abs=1e-6)
    assert min(sides) == 256 and max(sides) == 480 and len(sides) == 225
    places = {tuple(round(v) for v in box(ScaleJitterCrop(256, 256), 256, 256, 224, row)[:2]) for row in draws(5000)}
    assert {x for x, _ in places} == set(range(33)) == {y for _, y in places}  # AlexNet's 32 x 32, counted inclusively


@pytest.mark.parametrize("crop", [RandomResizedCrop(0.2, 0.3), ScaleJitterCrop(448, 512)])
def test_patches_of_images_in_memory_are_as_sharp_as_those_that_are_read_anew(crop: Crop, tmp_path: Path) -> None:
    noise = np.random.default_rng(0)
    for i in range(40):
        (tmp_path / "data" / str(i % 2)).mkdir(parents=True, exist_ok=True)
        wide = noise.integers(0, 256, (32, 32, 3), np.uint8)  # details of 4 pixels
        Image.fromarray(wide).resize((128, 128), Image.Resampling.NEAREST).save(
            tmp_path / "data" / str(i % 2) / f"{i}.png"
        )
    source = folder(tmp_path / "data")
    recipe = Recipe(batch=8, augmentation=Augmentation(crop))

    def sharpness(data: Data) -> float:
        pixels = torch.cat([batch[0] for batch in data.training(recipe, 1)]).float()
        return float(pixels.diff(dim=3).square().mean())

    kept, streamed = prepare(source, 32, crop), prepare(source, 32, crop, 0)
    assert isinstance(kept, InMemory) and sharpness(kept) == pytest.approx(sharpness(streamed), rel=0.05)


@pytest.mark.parametrize(("mirrored", "mode"), [(False, "constant"), (True, "reflect")])
def test_a_pad_crop_moves_by_up_to_four_pixels_and_fills_the_border(mirrored: bool, mode: str) -> None:
    source = digits()
    few = replace(source, train=source.train[:64], val=source.val[:8])
    data = InMemory(few, 32, 32, lambda _: None)
    recipe = Recipe(batch=64, augmentation=Augmentation(PaddedCrop(4, 32, mirrored)))
    ((pixels, _, index, _),) = list(data.training(recipe, 1))
    moves = set()
    for image, i in zip(pixels, index):
        padded = torch.nn.functional.pad(data.images.pixels[i], (4, 4, 4, 4), mode)
        found = [(y, x) for y in range(9) for x in range(9) if torch.equal(padded[:, y : y + 32, x : x + 32], image)]
        assert found
        moves.update(found)
    assert len(moves) > 30


@pytest.mark.parametrize("workers", [None, 0])
def test_smaller_sides_of_a_pad_crop_are_windows_of_the_image(images: Path, workers: int | None) -> None:
    data = prepare(folder(images), 32, PaddedCrop(4, 32), workers)
    recipe = Recipe(epochs=2, batch=64, augmentation=Augmentation(PaddedCrop(4, 32)), progressive_resize=((0.5, 0.75),))
    ((squares, _, order, _),) = data.training(Recipe(batch=64, augmentation=Augmentation(Centre())), 1)
    ((pixels, _, index, _),) = data.training(recipe, 1)
    assert np.array_equal(index, order) and squares.shape[2:] == (32, 32)
    places = [
        (y, x)
        for window, image in zip(pixels, squares)
        for y in range(9)
        for x in range(9)
        if torch.equal(image[:, y : y + 24, x : x + 24], window)
    ]
    assert pixels.shape[2:] == (24, 24) and len(places) == len(index) and len(set(places)) > 15
    assert next(iter(data.training(recipe, 2)))[0].shape[2:] == (32, 32)


def test_half_of_the_images_are_mirrored_unless_the_source_forbids_it() -> None:
    pixels = torch.arange(400 * 3 * 16, dtype=torch.int64).remainder(251).to(torch.uint8).view(400, 3, 4, 4)
    chance = uniforms(0, 1, np.arange(400))
    out = augmented(pixels, chance, AUGMENTATIONS["cifar"], mirror=True)
    turned = (out != pixels).flatten(1).any(1)
    assert 150 < turned.sum() < 250 and torch.equal(out[turned], pixels[turned].flip(3))
    assert torch.equal(augmented(pixels, chance, AUGMENTATIONS["cifar"], mirror=False), pixels)


def test_lighting_moves_a_whole_image_along_the_principal_components() -> None:
    """By AlexNet's formula: the covariance of the shifts is P diag(0.1 lambda)^2 P^T, in units of 0..1."""
    pixels = torch.full((20000, 3, 2, 2), 128, dtype=torch.uint8)
    lit = augmented(pixels, uniforms(0, 1, np.arange(20000)), Augmentation(PaddedCrop(0, 1), pca_noise=0.1), False)
    shifts = (lit - 128.0) / 255
    assert torch.allclose(shifts, shifts[:, :, :1, :1].expand_as(shifts))
    p = np.array([[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]])
    expected = p @ np.diag((0.1 * np.array([0.2175, 0.0188, 0.0045])) ** 2) @ p.T
    assert np.allclose(np.cov(shifts[:, :, 0, 0].T.numpy()), expected, rtol=0.05, atol=1e-7)


def test_colour_keeps_grey_grey_and_stays_within_its_factors() -> None:
    grey = torch.full((500, 3, 4, 4), 100, dtype=torch.uint8)
    out = augmented(grey, uniforms(0, 1, np.arange(500)), Augmentation(PaddedCrop(0, 1), colour=0.5), False)
    assert (out.amax(1) - out.amin(1)).max() < 0.1
    assert 49.9 < out.min() < 55 and 145 < out.max() < 150.1


def test_erasing_takes_its_share_of_images_and_of_their_area() -> None:
    pixels = torch.zeros(4000, 3, 32, 32, dtype=torch.uint8)
    out = augmented(pixels, uniforms(0, 1, np.arange(4000)), Augmentation(PaddedCrop(0, 1), erase=0.25), False)
    shares = (out[:, 0] == 128).float().mean((1, 2))
    assert 0.22 < (shares > 0).float().mean() < 0.28
    assert 0.1 < shares[shares > 0].mean() < 0.25 and shares.max() < 0.4


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_mixing_gives_the_targets_the_shares_of_the_pixels(kind: str) -> None:
    labels = torch.arange(8)
    pixels = (labels[:, None, None, None] * 10).expand(8, 3, 32, 32).to(torch.uint8)
    augmentation = msgspec.structs.replace(Augmentation(PaddedCrop(0, 1)), **{kind: 1.0})
    kept = []
    for step in range(50):
        out, targets = mixed(pixels, labels, 10, augmentation, 0, 1, step)
        assert torch.allclose(targets.sum(1), torch.ones(8))
        expected = (targets @ (torch.arange(10) * 10.0))[:, None].expand(8, 3)
        assert torch.allclose(out.float().mean((2, 3)), expected, atol=0.51)
        kept.append(float(targets[3, 3]))
        again = mixed(pixels, labels, 10, augmentation, 0, 1, step)
        assert torch.equal(out, again[0]) and torch.equal(targets, again[1])
    assert min(kept) < 0.15 and max(kept) > 0.85


def test_smoothing_spreads_its_share_over_all_classes() -> None:
    smooth = Augmentation(PaddedCrop(0, 1), smoothing=0.1)
    _, targets = mixed(torch.zeros(2, 3, 4, 4), torch.tensor([1, 0]), 4, smooth, 0, 1, 0)
    assert torch.allclose(targets, torch.tensor([[0.025, 0.925, 0.025, 0.025], [0.925, 0.025, 0.025, 0.025]]))
    plain = torch.nn.functional.cross_entropy(torch.eye(4)[:2], torch.tensor([1, 0]), label_smoothing=0.1)
    assert torch.allclose(torch.nn.functional.cross_entropy(torch.eye(4)[:2], targets), plain)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_every_named_augmentation_trains_and_cites_its_source(images: Path, name: str) -> None:
    assert len(AUGMENTATIONS[name].source) > 20
    recipe = Recipe(epochs=1, batch=16, lr=0.01, augmentation=AUGMENTATIONS[name])
    data = prepare(folder(images), 32, recipe.augmentation.crop)
    net = build(for_small_images(with_classes(get("cifar-resnet-20"), 2), 32), (3, 32, 32))
    (row,) = records(train(Training(net, data, recipe, this_machine())))
    assert row.loss > 0 and 0 <= row.data_wait < 1
