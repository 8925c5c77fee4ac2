"""What an experiment is: a claim, networks that are trained side by side, and a function that judges."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from topfive.data.sources import Source
from topfive.networks.layers import Network
from topfive.results.experiments import OPEN, Chart, Outcome, Series, Table, Verdict
from topfive.results.records import TrialRecord


@dataclass(frozen=True)
class Part:
    """Networks that are compared with each other: for equal time, or for equal epochs."""

    networks: tuple[Network | str, ...]
    name: str = "trained"
    share: float = 1.0  # of the training images, class by class
    alike: Literal["time", "epochs"] = "time"
    recipe: str = "auto"


@dataclass(frozen=True)
class Found:
    """What an experiment has found, for its verdict, its tables and its charts."""

    source: Source
    size: int  # side of the images in pixels
    outcomes: Mapping[str, Outcome]  # by the name of the part
    trials: Mapping[str, Mapping[str, Sequence[TrialRecord]]]  # by part and network
    folders: Mapping[str, Path] = field(default_factory=dict)  # of the comparison of each part

    @property
    def outcome(self) -> Outcome:
        """Of the only part."""
        (found,) = self.outcomes.values()
        return found

    def settled(self, verdict: Verdict) -> Verdict:
        """The verdict on how networks train, which nothing can be told of before each has seen every image once."""
        early = any(outcome.early(name) for outcome in self.outcomes.values() for name in outcome.rows)
        return Verdict(OPEN, f"{verdict.reason}, before every image was seen once") if early else verdict

    def curve(self, network: str, key: str, part: str = "trained") -> list[Series]:
        """A line a seed of `key` over the epochs: loss, train_accuracy or accuracy."""
        lines = []
        for trial in self.trials.get(part, {}).get(network, ()):
            points = [(point["epoch"], point[key]) for point in trial.curve if point.get(key) is not None]
            if points:
                epochs, values = zip(*points)
                lines.append(Series(network, tuple(values), tuple(epochs)))
        return lines

    def last(self, network: str, key: str, part: str = "trained") -> list[float]:
        """The last value of `key` of each seed."""
        return [line.y[-1] for line in self.curve(network, key, part)]

    def run(self, network: str, part: str = "trained") -> Path | None:
        """The run folder of the best seed of a network."""
        row = self.outcomes[part].rows.get(network) if part in self.outcomes else None
        return self.folders[part] / row.trial if row and row.trial else None


@dataclass(frozen=True)
class Experiment:
    """A claim of the literature that can be tried here; `parts` are what is trained, at a size of images.

    `tables` and `charts` are those that belong to this claim, beside the costs and accuracies that all have.
    """

    name: str
    title: str
    claim: str
    source: str
    verdict: Callable[[Found], Verdict]
    parts: Callable[[int], Sequence[Part]] = lambda size: ()
    tables: Callable[[Found], Sequence[Table]] = lambda found: ()
    charts: Callable[[Found], Sequence[Chart]] = lambda found: ()

    def every_table(self, found: Found) -> list[Table]:
        return [*self.tables(found), costs(found)]

    def every_chart(self, found: Found) -> list[Chart]:
        only = found.outcomes.values() if len(found.outcomes) == 1 else ()
        return [*map(accuracies, only), *self.charts(found)]


def curves(found: Found, networks: Sequence[str], key: str, y: str, shown: Callable[[float], float] = float) -> Chart:
    """`key` of each network over the epochs, a line a seed."""
    lines = [
        Series(line.name, tuple(map(shown, line.y)), line.x, group=group)
        for group, name in enumerate(networks)
        for line in found.curve(name, key)
    ]
    return Chart(f"{y[0].upper()}{y[1:].split(' [')[0]} over the epochs, a line a seed", y, tuple(lines), "epoch")


def by_layer(title: str, y: str, values: Mapping[str, Sequence[float]], alike: int = 1, log: bool = False) -> Chart:
    """A line a network over its layers, the first at the left; `alike` of them after each other share a colour."""
    lines = [
        Series(name, tuple(line), tuple(range(1, len(line) + 1)), group=n // alike)
        for n, (name, line) in enumerate(values.items())
    ]
    return Chart(title, y, tuple(lines), "layer", logarithmic=log)


def accuracies(outcome: Outcome) -> Chart:
    """The accuracy of every network of a part, with its interval."""
    rows = list(outcome.rows.values())
    tops = tuple(row.top1 for row in rows)
    low, high = (tuple(row.interval[end] for row in rows) for end in (0, 1))
    series = Series("mean over the seeds", tops, low=low, high=high)
    names = tuple(row.name for row in rows)
    return Chart("Top-1 on the validation images", "Top-1 [%]", (series,), names=names)


def costs(found: Found) -> Table:
    """A row for each network that was trained."""
    head = ("network", "part", "Top-1 [%]", "95 % interval", "parameters [M]", "multiply-adds [M]", "latency [ms]",
            "memory, one image [MB]", "training [s]", "epochs", "recipe")  # fmt: skip
    several = len(found.outcomes) > 1  # parts, so that it is said which one a row is of
    rows = tuple(
        (
            row.name,
            *((part,) if several else ()),
            round(row.top1, 1) if row.trained else f"{row.top1:.1f}, did not train",
            f"{row.interval[0]:.1f}–{row.interval[1]:.1f}",
            round(row.params / 1e6, 3),
            round(row.macs / 1e6, 1),
            round(row.latency_ms, 2),
            round(row.memory_inference_bytes / 1e6, 1),
            round(row.training_seconds, 1),
            round(row.epochs, 2),
            row.recipe,
        )
        for part, outcome in found.outcomes.items()
        for row in outcome.rows.values()
    )
    return Table("What each network costs, and what it came to", head if several else (head[0], *head[2:]), rows)
