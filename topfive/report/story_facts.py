"""The numbers inside of the story's sentences, each computed where `topfive show` has it from."""

from collections.abc import Mapping

from topfive.networks import costs, get, papers
from topfive.networks.ideas import POPULAR_MACS
from topfive.report.story import Story, StoryNetwork


def facts(told: Story) -> Mapping[str, str]:
    """The numbers inside of sentences, as both languages write them."""
    by_name = {one.name: one for one in told.networks}
    pairs = {one.name: (one.before, one.after) for one in told.ideas}
    counts = {name: costs.count(get(name)) for name in _TOLD}
    points = {point.name: point for point in told.published}
    years = {year.year: year for year in told.years}
    vgg, google, alexnet = by_name["vgg-d"], by_name["googlenet"], get("alexnet")
    (seven, three), (naive, reduced) = pairs["stack"], pairs["inception"]
    return {
        **{f"params_{name}": _millions(count.params) for name, count in counts.items()},
        **{f"macs_{name}": f"{count.macs / 1e9:.2f}" for name, count in counts.items()},
        **{f"depth_{name}": f"{count.depth}" for name, count in counts.items()},
        **{f"error_{year}": f"{one.error:g}" for year, one in years.items()},
        "gained_2012": f"{years[2011].error - years[2012].error:.1f}",
        "single_2015": f"{years[2015].single:g}",
        "human": f"{told.human:g}",
        "input_alexnet": str(alexnet.input[1]),
        "maps_alexnet": str(counts["alexnet"].stages[0].output[1]),
        "field_alexnet": str(counts["alexnet"].field),
        "field_linear": str(
            next(max(r.receptive_field) for r in counts["alexnet"].rows if r.layer.startswith("linear"))
        ),
        "linear_vgg": _millions(vgg.params["linear"]),
        "linear_share": f"{vgg.params['linear'] / sum(vgg.params.values()):.0%}".replace("%", " %"),
        "linear_google": _millions(google.params["linear"]),
        "heads_google": _millions(counts["googlenet"].head_params),
        "stack_one": f"{_params(seven):,}",
        "stack_three": f"{_params(three):,}",
        "stack_share": f"{_params(three) / _params(seven):.0%}".replace("%", " %"),
        "naive_macs": f"{_macs(naive) / 1e6:.0f}",
        "reduced_macs": f"{_macs(reduced) / 1e6:.0f}",
        "popular_macs": f"{POPULAR_MACS / 1e6:.0f}",
        "naive_maps": str(_maps(naive)),
        "reduced_maps": str(_maps(reduced)),
        "naive_pooled": str(naive.kinds[naive.layers[-2].kind].output[0]),
        "block_basic": f"{_macs(pairs['bottleneck'][0]) / 1e6:.0f}",
        "block_bottleneck": f"{_macs(pairs['bottleneck'][1]) / 1e6:.0f}",
        **{f"top1_{name}": f"{points[name].top1:.1f}" for name in ("vgg-d", "inception-v4")},
        **{f"ops_{name}": f"{points[name].ops / 1e9:.1f}" for name in ("vgg-d", "inception-v4")},
        **{f"bytes_{name}": f"{points[name].bytes / 1e6:.0f}" for name in ("vgg-d", "inception-v4")},
        **{f"error_{name}": _ten_crops(name) for name in ("plain-18", "plain-34", "resnet-18", "resnet-34")},
        **{f"error_{name}": _one_crop(name) for name in ("resnet-50", "resnet-50-v1.5")},
        "front": ", ".join(point.name for point in sorted(told.published, key=lambda one: one.ops) if point.front),
        "front_protocol": next(point.protocol for point in told.published if point.front),
    }


_TOLD = (
    "alexnet", "vgg-d", "vgg-e", "googlenet", "googlenet-naive", "resnet-34", "resnet-50", "resnet-50-v1.5",
    "resnet-152", "inception-v4",
)  # fmt: skip


def _ten_crops(name: str) -> str:
    """The Top-1 error that ResNet's Table 2 prints."""
    return next(f"{error.top1:g}" for error in papers.facts(name).errors if error.where.startswith("Table 2"))


def _one_crop(name: str) -> str:
    """The Top-1 error of one crop that the authors publish."""
    return next(f"{error.top1:g}" for error in papers.facts(name).errors if error.crops == 1 and error.conf != "code")


def _millions(number: int) -> str:
    return f"{number / 1e6:.1f}"


def _params(network: StoryNetwork) -> int:
    return sum(network.params.values())


def _macs(network: StoryNetwork) -> int:
    return sum(network.kinds[row.kind].macs for row in network.stages)


def _maps(network: StoryNetwork) -> int:
    return network.kinds[network.stages[0].kind].output[0]
