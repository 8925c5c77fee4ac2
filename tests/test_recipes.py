"""The papers' recipes against what was collected from the papers; schedules against arithmetic done by hand."""

import math
import re
import tomllib
from itertools import combinations
from pathlib import Path
from typing import Any

import msgspec
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from topfive.engine.training.sampling import epoch_batches
from topfive.errors import UsageError
from topfive.networks import NETWORKS
from topfive.networks.variations import for_small_images
from topfive.recipes import augmentations
from topfive.recipes import ours as ours_of_recipes
from topfive.recipes import plan as plan_of_recipes
from topfive.recipes import recipe as recipes
from topfive.recipes.editing import changed
from topfive.recipes.papers import PAPERS, RECIPES, default_for, get
from topfive.recipes.plan import field_rows, plan_points, plan_rows
from topfive.recipes.recipe import (
    AdamW,
    Decay,
    Muon,
    OneCycle,
    Plateau,
    Recipe,
    RmsProp,
    Sgd,
    Steps,
    Warmup,
    learning_rate,
)
from topfive.report.figures import training as training_figures

PUBLISHED = Path(__file__).parents[2] / "shared" / "published.toml"
IMAGENET = 1_281_167

# our name -> where its paper's recipe stands in the collection
COLLECTED = {
    "alexnet": "arch.alexnet_2012.recipe",
    "zfnet": "arch.zfnet.recipe",
    "vgg": "vgg_recipe",
    "googlenet": "arch.googlenet.recipe",
    "inception-v3": "arch.inception_v3.recipe",
    "inception-v4": "inception_v4_recipe",
    "resnet": "resnet_recipe_imagenet",
    "resnet-cifar": "resnet_recipe_cifar10",
    "resnet-cifar-110": "resnet_recipe_cifar10",
}
# the collection's key -> the path of our field, and how its words are read
READ: dict[str, tuple[str, str]] = {
    "epochs": ("epochs", r"(\d+)"),
    "batch": ("batch", r"^(\d+)"),
    "lr": ("lr", r"(.+)"),
    "momentum": ("optimizer.momentum", r"(.+)"),
    "weight_decay": ("optimizer.weight_decay", r"(.+)"),
    "grad_clip": ("clip", r"(.+)"),
    "label_smoothing": ("augmentation.smoothing", r"(.+)"),
}


def published() -> dict[str, Any]:
    if not PUBLISHED.exists():
        pytest.skip("the collection of published numbers is not beside this checkout")
    return tomllib.loads(PUBLISHED.read_text())


def collected(where: str) -> dict[str, Any]:
    found: Any = published()
    for part in where.split("."):
        found = found[part]
    assert isinstance(found, dict) and found["conf"] == "paper"
    return found


def at(recipe: Recipe, path: str) -> Any:
    found: Any = recipe
    for part in path.split("."):
        found = getattr(found, part)
    return found


# What the papers say


@pytest.mark.parametrize(("name", "where"), COLLECTED.items())
def test_a_recipe_has_the_numbers_of_its_paper_and_cites_them(name: str, where: str) -> None:
    paper, recipe = collected(where), get(name)
    seen = 0
    for key, (path, pattern) in READ.items():
        number = re.search(pattern, str(paper.get(key, "not given")).removeprefix("about "))
        if number is None or "not given" in number[1]:
            assert path not in recipe.sources or key not in paper, f"{key} is not given, but cited"
            continue
        assert at(recipe, path) == pytest.approx(float(number[1])), key
        assert path in recipe.sources, key
        seen += 1
    assert seen >= 1


@pytest.mark.parametrize(("name", "where"), COLLECTED.items())
def test_a_recipe_has_the_optimizer_and_the_schedule_of_its_paper(name: str, where: str) -> None:
    paper, recipe = collected(where), get(name)
    if "RMSProp" in paper["optimizer"]:
        words = re.search(r"decay ([\d.]+) eps ([\d.]+)", paper["optimizer"])
        assert words and isinstance(recipe.optimizer, RmsProp)
        assert (recipe.optimizer.decay, recipe.optimizer.eps) == (float(words[1]), float(words[2]))
    else:
        assert "SGD" in paper["optimizer"] and isinstance(recipe.optimizer, Sgd) and not recipe.optimizer.nesterov
    words = paper["lr_schedule"]
    if decay := re.search(r"x([\d.]+) every (\d+) epochs", words):
        assert recipe.schedule == Decay(float(decay[1]), int(decay[2]))
    elif steps := re.search(r"/10 at (\d+)k and (\d+)k, stop at (\d+)k", words):
        first, second, last = map(int, steps.groups())
        assert recipe.schedule == Steps((first / last, second / last), 0.1)
        assert recipe.epochs == round(last * 1000 * recipe.batch / 50_000)
    else:
        assert re.search("plateau|stops improving", words) and isinstance(recipe.schedule, Plateau)
        assert not re.search("by 10|/10|x0.1", words) or recipe.schedule.factor == 0.1
        times = re.search(r"(\d) times", words)
        assert ("schedule.times" in recipe.sources) == bool(times)
        assert not times or recipe.schedule.times == int(times[1])
    averages = "averag" in paper.get("averaging", paper.get("eval", ""))
    assert (recipe.ema_decay > 0) == averages == ("ema_decay" in recipe.sources)


def test_other_numbers_of_the_papers() -> None:
    assert get("alexnet").optimizer == Sgd(0.9, 5e-4, lr_in_velocity=True)  # §5: v <- 0.9 v - 0.0005 lr w - lr g
    for name, steps in (("vgg", collected("vgg_recipe")["iterations"]), ("resnet", 60e4)):
        recipe = get(name)
        assert recipe.epochs == pytest.approx(steps * recipe.batch / IMAGENET, rel=0.01)
    assert "60e4" in collected("resnet_recipe_imagenet")["iterations"]
    warm = re.search(r"lr ([\d.]+) until training error < (\d+)%", collected("resnet_recipe_cifar10")["warmup_110"])
    recipe = get("resnet-cifar-110")
    assert (
        warm and recipe.warmup == Warmup(0.1, int(warm[2]) / 100) and float(warm[1]) == pytest.approx(0.1 * recipe.lr)
    )
    assert get("resnet-cifar").warmup is None
    assert get("resnet-cifar").augmentation.crop == augmentations.PaddedCrop(4, 32)


def test_bn_inception_is_the_network_called_bn_x30() -> None:
    paper, recipe, before = collected("arch.bn_inception.training_speed"), get("bn-inception"), get("googlenet")
    assert (recipe.lr, recipe.batch) == (0.045, paper["batch"]) and "x30 = 0.045" in paper["lr"]
    assert recipe.optimizer.weight_decay == before.optimizer.weight_decay / 5 and "L2 /5" in paper["changes"]
    assert "LR decay 6x faster" in paper["changes"]
    later = (learning_rate(one, 48 / one.epochs) / one.peak for one in (recipe, before))  # after 48 epochs
    assert math.log(next(later)) == pytest.approx(6 * math.log(next(later)))
    assert recipe.augmentation.colour < before.augmentation.colour


@pytest.mark.parametrize("recipe", PAPERS, ids=lambda recipe: recipe.name)
def test_what_is_cited_is_a_field_and_names_a_section(recipe: Recipe) -> None:
    for path, text in recipe.sources.items():
        at(recipe, path)
        assert re.match(r"§\d(\.\d)*: .", text)
    assert all(re.match(r"§\d(\.\d)*: .", text) for text in recipe.differs)
    assert get(recipe.name) is recipe
    assert msgspec.convert(msgspec.to_builtins(recipe), Recipe) == recipe  # within the limits of every field
    rows = field_rows(recipe)
    assert {row["source"] for row in rows} - {"ours"} == set(recipe.sources.values())
    assert next(row for row in rows if row["field"] == "seed")["source"] == "ours"


def test_what_the_papers_do_not_give_is_not_cited() -> None:
    cited = {recipe.name: set(recipe.sources) for recipe in PAPERS}
    assert not {"lr", "batch", "epochs", "optimizer.weight_decay"} & cited["googlenet"]
    assert not {"optimizer.momentum", "optimizer.weight_decay"} & (cited["inception-v3"] | cited["inception-v4"])
    assert not {"batch", "epochs"} & cited["inception-v4"]
    assert "optimizer.weight_decay" not in cited["zfnet"]
    assert not any("schedule.patience" in fields for fields in cited.values())


def test_every_recipe_is_listed_under_its_name() -> None:
    for name in RECIPES:
        assert get(name.upper(), NETWORKS["alexnet"]()).name == name
    assert (
        get("quick", NETWORKS["alexnet"]()).lr == ours_of_recipes.PLAIN
        and get("quick").lr == ours_of_recipes.NORMALISED
    )
    with pytest.raises(UsageError, match="no recipe is called 'resnt'; did you mean resnet"):
        get("resnt")


@pytest.mark.parametrize(
    ("network", "name"),
    [
        ("alexnet", "alexnet"),
        ("zfnet-wide", "zfnet"),
        ("nin", "alexnet"),  # no batch normalisation
        ("bn-nin", "resnet"),
        ("vgg-d", "vgg"),
        ("googlenet", "googlenet"),
        ("bn-inception", "bn-inception"),
        ("inception-v3", "inception-v3"),
        ("inception-resnet-v2", "inception-v4"),
        ("resnet-50-v1.5", "resnet"),
        ("plain-34", "resnet"),
        ("cifar-plain-110", "resnet-cifar"),
        ("cifar-resnet-20", "resnet-cifar"),
        ("cifar-resnet-110", "resnet-cifar-110"),
        ("densenet-121", "resnet"),
        ("squeezenet-1.0", "alexnet"),
    ],
)
def test_a_network_has_the_recipe_of_its_paper(network: str, name: str) -> None:
    assert default_for(NETWORKS[network]()) == name


def test_every_network_has_a_recipe() -> None:
    assert {default_for(network()) for network in NETWORKS.values()} <= set(RECIPES)
    assert default_for(None) == "quick"


# Schedules


def test_resnet_on_cifar_divides_at_32_and_48_of_64_thousand_steps() -> None:
    recipe = get("resnet-cifar")
    for step, rate in ((0, 0.1), (31_999, 0.1), (32_000, 0.01), (47_999, 0.01), (48_000, 0.001), (63_999, 0.001)):
        assert learning_rate(recipe, step / 64_000) == pytest.approx(rate)


def test_inception_decays_every_second_epoch() -> None:
    for epochs_behind in range(100):
        expected = 0.045 * 0.94 ** (epochs_behind // 2)
        assert learning_rate(get("inception-v3"), epochs_behind / 100) == pytest.approx(expected)
        assert learning_rate(get("inception-v3"), (epochs_behind + 0.99) / 100) == pytest.approx(expected)


def test_a_plateau_is_patience_errors_without_a_new_best() -> None:
    recipe = Recipe(lr=1.0, lr_batch=64, schedule=Plateau(factor=0.1, patience=3, times=2))
    errors = [0.9, 0.8, 0.81, 0.8, 0.79, 0.80, 0.79, 0.82, 0.80, 0.70, 0.70, 0.71, 0.72, 0.9, 0.9, 0.9]
    #         best best  1     2    best  1     2     3 !   1     best  1     2     3 !   1    2    3 !
    falls = [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 2, 2, 2, 2]  # after so many errors; a third fall is one too many
    for seen, fallen in enumerate(falls):
        assert learning_rate(recipe, 0.5, errors[:seen]) == pytest.approx(0.1**fallen)
    assert [recipes.plateaus(errors[:seen], 3) for seen in (14, 15, 16)] == [2, 2, 3]


def test_one_cycle_rises_for_a_quarter_and_falls_along_half_a_cosine() -> None:
    recipe = Recipe(lr=0.4, lr_batch=64)
    for done, rate in ((0, 0.016), (0.125, 0.208), (0.25, 0.4), (0.625, 0.2), (0.4375, 0.4 * 0.8535534), (1, 0)):
        assert learning_rate(recipe, done) == pytest.approx(rate)
    for rise in (0.0, 1.0):
        assert learning_rate(Recipe(lr=0.4, schedule=OneCycle(rise)), 1.0) == pytest.approx(0.4 * rise)


def test_the_warm_up_of_resnet_110_ends_with_the_training_error() -> None:
    recipe = get("resnet-cifar-110")
    assert learning_rate(recipe, 0.0) == pytest.approx(0.01)
    assert learning_rate(recipe, 0.01, training_error=0.81) == pytest.approx(0.01)
    assert learning_rate(recipe, 0.01, training_error=0.80) == pytest.approx(0.1)
    assert learning_rate(recipe, 0.6, training_error=0.1) == pytest.approx(0.01)


def test_the_rate_follows_the_batch() -> None:
    assert changed(get("resnet"), ["batch=1024"]).peak == pytest.approx(0.4)
    assert learning_rate(changed(get("inception-v3"), ["batch=64"]), 0.0) == pytest.approx(0.09)


# `--set`


@pytest.mark.parametrize(
    ("recipe", "assignments", "expected"),
    [
        ("resnet", ["lr=0.02"], {"lr": 0.02}),
        ("resnet", ["lr=1"], {"lr": 1.0}),
        ("resnet", ["lr=.5"], {"lr": 0.5}),
        ("resnet", [" lr = 2e-2 "], {"lr": 0.02}),
        ("resnet", ["lr=1", "lr=2"], {"lr": 2.0}),
        ("resnet", ["optimizer.weight_decay=1e-5"], {"optimizer.weight_decay": 1e-5, "optimizer.momentum": 0.9}),
        ("resnet", ["augmentation.mixup=0.2"], {"augmentation.mixup": 0.2, "augmentation.pca_noise": 0.1}),
        ("resnet", ["augmentation=modern"], {"augmentation": augmentations.MODERN}),
        ("resnet", ["augmentation.crop.low=230"], {"augmentation.crop": augmentations.ScaleJitterCrop(230, 480)}),
        ("resnet-cifar", ["schedule.at=[0.4,0.9]"], {"schedule": Steps((0.4, 0.9))}),
        ("resnet", ["schedule=Steps", "schedule.at=[0.5]"], {"schedule": Steps((0.5,))}),
        ("resnet", ['schedule={"type":"Decay","factor":0.9,"epochs":1}'], {"schedule": Decay(0.9, 1)}),
        ("resnet", ["schedule=onecycle"], {"schedule": OneCycle()}),
        ("resnet", ["optimizer=RmsProp", "optimizer.eps=0.1"], {"optimizer": RmsProp(eps=0.1)}),
        ("inception-v3", ["clip=none"], {"clip": None}),
        ("resnet-cifar-110", ["warmup=null"], {"warmup": None}),
        ("resnet", ["warmup.error=0.5"], {"warmup": Warmup(error=0.5)}),
        ("resnet", ["progressive_resize=[[0.5,0.57],[0.8,0.75]]"], {"progressive_resize": ((0.5, 0.57), (0.8, 0.75))}),
        ("resnet", ["optimizer.nesterov=true"], {"optimizer.nesterov": True}),
        ("resnet", ["name=mine"], {"name": "mine"}),
        ("resnet", [], {}),
    ],
)
def test_fields_are_set(recipe: str, assignments: list[str], expected: dict[str, Any]) -> None:
    before = get(recipe)
    after = changed(before, assignments)
    for path, value in expected.items():
        assert at(after, path) == value and type(at(after, path)) is type(value)
    old, new = ({row["field"]: row["value"] for row in field_rows(one)} for one in (before, after))
    touched = tuple(assignment.split("=")[0].split(".")[0].strip() for assignment in assignments)
    assert [item for item in old.items() if not item[0].startswith(touched)] == [
        item for item in new.items() if not item[0].startswith(touched)
    ]
    assert before == RECIPES[recipe](None)


@pytest.mark.parametrize(
    ("assignment", "gone"),
    [
        ("lr=0.2", {"lr"}),
        ("lr=0.1", {"lr"}),  # by hand, even where it is the paper's
        ("optimizer.weight_decay=0", {"optimizer.weight_decay"}),
        ("schedule.patience=2", set()),  # was ours before
        ("optimizer=Sgd", {"optimizer", "optimizer.momentum", "optimizer.weight_decay"}),
        ("augmentation.crop.high=500", {"augmentation.crop"}),
        ("augmentation=cifar", {"augmentation.crop", "augmentation.hflip", "augmentation.pca_noise"}),
        ("evaluate_every=2", set()),
    ],
)
def test_a_field_that_is_set_is_no_longer_cited(assignment: str, gone: set[str]) -> None:
    before = get("resnet")
    after = changed(before, [assignment])
    assert set(before.sources) - set(after.sources) == gone
    assert after.sources.items() <= before.sources.items()
    assert after.differs == before.differs


def test_a_changed_augmentation_says_so() -> None:
    assert changed(get("resnet"), ["augmentation.mixup=0.2"]).augmentation.source.endswith("; mixup set by hand")
    assert changed(get("resnet"), ["lr=1"]).augmentation == augmentations.RESNET


@pytest.mark.parametrize(
    ("assignments", "said"),
    [
        (["lr=fast"], "--set lr=fast cannot be: lr is a number above 0"),
        (["lr=-0.1"], "--set lr=-0.1 cannot be: lr is a number above 0"),
        (["lr=nan"], "--set lr=nan cannot be: lr is a number above 0"),
        (["lr=1e999"], "--set lr=1e999 cannot be: lr is a number above 0"),
        (["lr="], "--set lr= cannot be: lr is a number above 0"),
        (["epochs=0"], "--set epochs=0 cannot be: epochs is a whole number of at least 1"),
        (["epochs=2.5"], "--set epochs=2.5 cannot be: epochs is a whole number of at least 1"),
        (["epochs=true"], "--set epochs=true cannot be: epochs is a whole number of at least 1"),
        (['epochs="3"'], '--set epochs="3" cannot be: epochs is a whole number of at least 1'),
        (["batch=1"], "--set batch=1 cannot be: batch is a whole number of at least 2"),
        (["clip=0"], "--set clip=0 cannot be: clip is a number above 0 or none"),
        (["epochs=none"], "--set epochs=none cannot be: epochs is a whole number of at least 1"),
        (["ema_decay=1"], "--set ema_decay=1 cannot be: ema_decay is a number of at least 0 and below 1"),
        (["optimizer.nesterov=yes"], "--set optimizer.nesterov=yes cannot be: optimizer.nesterov is true or false"),
        (["optimizer=adam"], "--set optimizer=adam cannot be: optimizer is Sgd or RmsProp or AdamW or Muon"),
        (["schedule=platau"], "schedule is OneCycle or Steps or Plateau or Decay; did you mean plateau?"),
        (['schedule={"type":"Decay","facto":1}'], "(Object contains unknown field `facto`)"),
        (["schedule=Steps"], "--set schedule=Steps: add --set schedule.at=..."),
        (["schedule=Steps", "schedule.at=0.5"], "schedule.at is a list, each a number of at least 0 and at most 1"),
        (
            ["progressive_resize=[[0.5]]"],
            "progressive_resize is a list, each [a number above 0 and at most 1, a number above 0 and at most 1]",
        ),
        (["augmentation=modrn"], "one of alexnet, vgg, googlenet, resnet, cifar, modern; did you mean modern?"),
        (["learningrate=1"], "--set learningrate=1: a recipe has no field 'learningrate'"),
        (["optimiser.momentum=1"], "a recipe has no field 'optimiser'; did you mean optimizer?"),
        (["optimizer.wight_decay=1"], "Sgd has no field 'wight_decay'; did you mean weight_decay?"),
        (["schedule.at=[0.5]"], "--set schedule.at=[0.5]: Plateau has no field 'at'"),
        (["augmentation.crop.padding=1"], "ScaleJitterCrop has no field 'padding'"),
        (["lr.high=1"], "--set lr.high=1: lr has no fields, it is a number above 0"),
        (['sources={"lr":"§1"}'], "a recipe has no field 'sources'"),
        (["lr"], "--set lr: a field and its value are wanted, such as lr=0.02"),
        (["=1"], "a recipe has no field ''"),
        (["schedule=Steps", "schedule.at=[0.7,0.5]"], "the shares of schedule.at rise, unlike [0.7, 0.5]"),
        (
            ["progressive_resize=[[0.5,0.5],[0.4,0.7]]"],
            "the fractions of progressive_resize rise, unlike [[0.5, 0.5], [0.4, 0.7]]",
        ),
        (
            ["progressive_resize=[[0.5,0.8],[0.8,0.6]]"],
            "the fractions of progressive_resize rise, unlike [[0.5, 0.8], [0.8, 0.6]]",
        ),
        (["accumulation_steps=1000"], "a batch of 256 has no 1000 parts"),
        (["augmentation.crop.low=500"], "224 (of), 500 (low) and 480 (high) do not rise"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(assignments: list[str], said: str) -> None:
    with pytest.raises(UsageError) as refused:
        changed(get("resnet"), assignments)
    assert said in str(refused.value) and str(refused.value).startswith("--set ")


# `--plan`


@pytest.mark.parametrize("batch", [2, 3, 32, 100])
def test_an_epoch_has_the_steps_that_the_loader_gives(batch: int) -> None:
    for count in (*range(2, 70), 1000):
        assert plan_of_recipes.steps_of_epoch(count, batch) == len(list(epoch_batches(count, batch, 0, 1)))


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("images", [64, 9469, 50_000])
def test_a_plan_has_every_step_once(name: str, images: int) -> None:
    recipe = get(name)
    rows = plan_rows(recipe, images)
    each = plan_of_recipes.steps_of_epoch(images, recipe.batch)
    assert sum(row["steps"] for row in rows) == recipe.epochs * each
    assert (rows[0]["first_epoch"], rows[-1]["last_epoch"]) == (1, recipe.epochs)
    assert all(row["steps"] > 0 and row["lr_from"] > 0 for row in rows)
    points = plan_points(recipe, images, 50)
    assert (points[0]["step"], points[-1]["step"]) == (0, recipe.epochs * each - 1)
    assert [point["step"] for point in points] == sorted({point["step"] for point in points})


def test_the_plan_of_resnet_110_on_cifar() -> None:
    rows = plan_rows(get("resnet-cifar-110"), 50_000)  # 391 steps an epoch
    assert [(row["first_epoch"], row["last_epoch"], row["steps"]) for row in rows] == [
        (1, 1, 391),
        (2, 82, 81 * 391),
        (83, 123, 41 * 391),
        (124, 164, 41 * 391),
    ]
    assert [row["lr_from"] for row in rows] == pytest.approx([0.01, 0.1, 0.01, 0.001])
    assert [row["lr_to"] for row in rows] == [row["lr_from"] for row in rows]
    assert rows[0]["how"] == "x0.1 until the training error is below 80 %"


def test_a_plan_changes_within_an_epoch_where_the_schedule_does() -> None:
    recipe = changed(get("resnet-cifar"), ["epochs=3", "schedule.at=[0.5]"])
    rows = plan_rows(recipe, 1000)  # 8 steps an epoch, 24 in all
    assert [(row["first_epoch"], row["last_epoch"], row["steps"]) for row in rows] == [(1, 2, 12), (2, 3, 12)]


def test_the_plan_says_where_images_grow_and_what_decides_the_rate() -> None:
    growing = changed(get("quick"), ["epochs=10", "progressive_resize=[[0.5,0.5],[0.8,0.75]]"])
    rows = plan_rows(growing, 6400)  # 100 steps an epoch
    assert [(row["first_epoch"], row["last_epoch"], row["side"], row["steps"]) for row in rows] == [
        (1, 3, 0.5, 250),  # to the peak, after a quarter of the steps
        (3, 5, 0.5, 250),
        (6, 8, 0.75, 300),
        (9, 10, 1.0, 200),
    ]
    assert rows[1]["lr_from"] == growing.peak and rows[0]["lr_from"] == pytest.approx(0.04 * growing.peak)
    (row,) = plan_rows(get("alexnet"), IMAGENET)
    assert (row["lr_from"], row["lr_to"]) == pytest.approx((0.01, 1e-5))
    assert row["how"] == "x0.1 where 5 evaluations bring no lower error, at most 3 times"
    (row,) = plan_rows(changed(get("alexnet"), ["epochs=13"]), IMAGENET)
    assert row["lr_to"] == pytest.approx(1e-4)  # after 6 and 11 epochs at the earliest
    (row,) = plan_rows(get("inception-v3"), IMAGENET)
    assert (row["lr_from"], row["lr_to"]) == pytest.approx((0.045, 0.045 * 0.94**49))
    assert row["how"] == "x0.94 every 2 epochs"


@pytest.mark.parametrize("narrow", [False, True], ids=["wide", "narrow"])
@pytest.mark.parametrize("name", ["quick", "alexnet", "inception-v3", "resnet-cifar-110"])
def test_the_figure_draws_every_rate_of_the_plan(name: str, narrow: bool) -> None:
    recipe = changed(get(name), ["progressive_resize=[[0.5,0.5]]"] if name == "quick" else [])
    points = plan_points(recipe, 50_000)
    figure = training_figures.schedule(points, narrow=narrow)
    (line,) = figure.axes[0].lines
    assert list(line.get_ydata()) == [point["lr"] for point in points]
    assert (figure.axes[0].get_yscale() == "log") == (name in ("alexnet", "resnet-cifar-110"))
    assert len(figure.axes) == (2 if name == "quick" else 1)
    renderer = FigureCanvasAgg(figure).get_renderer()
    inked = figure.get_tightbbox(renderer)  # in inches
    assert inked.x0 >= 0 and inked.y0 >= 0 and inked.x1 <= figure.get_figwidth() and inked.y1 <= figure.get_figheight()
    titles = [text.get_window_extent(renderer) for text in figure.texts]
    assert not any(a.overlaps(b) for a, b in combinations(titles, 2) if abs(a.y0 - b.y0) > 1)


@pytest.mark.parametrize(
    ("name", "assignments", "said"),
    [
        ("quick", [], "The learning rate rises from 0.002 to 0.05 in 5 epochs, then falls to 0"),
        (
            "quick",
            ["progressive_resize=[[0.5,0.57]]"],
            "The learning rate rises from 0.002 to 0.05 in 5 epochs, then falls to 0; "
            "images grow from 57 to 100 % of their side",
        ),
        ("alexnet", [], "The learning rate is 0.01 until the error stops improving, and 0.00001 at the lowest"),
        ("resnet-cifar", [], "The learning rate falls from 0.1 to 0.001 in 2 stages"),
        ("resnet-cifar", ["schedule.at=[]"], "The learning rate is 0.1 throughout"),
        (
            "resnet-cifar-110",
            [],
            "The learning rate rises from 0.01 to 0.1 in an epoch, then falls to 0.001 in 2 stages",
        ),
        ("inception-v3", [], "The learning rate falls from 0.045 to 0.0022"),
    ],
)
def test_the_title_says_what_the_plan_shows(name: str, assignments: list[str], said: str) -> None:
    assert training_figures.course(plan_points(changed(get(name), assignments), 50_000)) == said


def test_fast_is_windows_and_muon_for_narrow_networks_on_small_images_alone() -> None:
    for network in ("cifar-resnet-20", "cifar-resnet-110"):
        small = get("fast", for_small_images(NETWORKS[network](), 32))
        assert isinstance(small.optimizer, Muon) and not small.whitened
        assert [small.side(epoch, 32) for epoch in (1, 14, 15, 18, 19, 21)] == [24, 24, 28, 28, 32, 32]
    for network, size in (("cifar-resnet-20", 64), ("resnet-18", 32), ("vgg-d", 32)):
        large = get("fast", for_small_images(NETWORKS[network](), size))
        assert isinstance(large.optimizer, AdamW) and large.whitened
        assert (large.lr < 0.002) == (network == "vgg-d")  # no batch normalisation: a lower rate
        assert [large.side(epoch, 128) for epoch in (1, 8, 9, 12, 13, 16)] == [64, 64, 96, 96, 128, 128]
