"""An experiment from its claim to its record: its networks compared within the minutes, its verdict computed."""

import datetime
import platform
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from dataclasses import replace as with_fields
from importlib.metadata import version

import msgspec

from topfive.data.files import write_whole
from topfive.data.sources import Source, fewer
from topfive.engine.benchmark.machine import Machine
from topfive.engine.comparison.comparison import Comparison, Tick
from topfive.engine.comparison.contract import Contract
from topfive.engine.comparison.planning import TooShort
from topfive.engine.comparison.trials import Place
from topfive.engine.experiments.experiment import Experiment, Found, Part
from topfive.networks.layers import Network
from topfive.results.comparisons import rights
from topfive.results.experiments import RECORD, ExperimentRecord, Outcome
from topfive.results.provenance import MachineRecord
from topfive.results.records import TrialRecord
from topfive.results.significance import spreads

LEAST = 0.1  # of the training images: a network that would see fewer in its time is left out
FIXED = 0.25  # of the time of a whole part: evaluations and checkpoints do not shrink with the images


@dataclass
class Run:
    """An experiment in a folder of its own; what is finished there is kept, so that an interrupted one goes on."""

    experiment: Experiment
    source: Source
    size: int
    minutes: float
    seeds: Sequence[int]
    machine: Machine
    place: Place
    notes: list[str] = field(default_factory=list)
    done: dict[str, Comparison] = field(default_factory=dict)

    def train(self, progress: Tick = lambda where: None) -> Iterator[TrialRecord | str]:
        """Train what is missing, part by part, each with its share of the minutes.

        Raises: what `Comparison.run` raises; TooShort where the minutes are too few for every network of a part.
        """
        parts = self.experiment.parts(self.size)
        weights = [len(part.networks) * max(part.share, FIXED) for part in parts]
        for i, part in enumerate(parts):
            source = fewer(self.source, part.share) if part.share < 1 else self.source
            contract = Contract(
                tuple(self._named(network) for network in part.networks),
                (self.size,),
                tuple(self.seeds),
                self.minutes,
                recipe=part.recipe,
                optional=True,
                least=LEAST,
                alike=part.alike,
                part=sum(weights[: i + 1]) / sum(weights),
            )
            comparison = Comparison(source, contract, self.machine, self._place(part))
            self.done[part.name] = comparison
            try:
                for made in comparison.run(progress):
                    if isinstance(made, str):
                        made = f"{part.name}: " * (len(parts) > 1) + made.replace("--minutes", "--budget")
                        self.notes.append(made)
                    yield made
            except TooShort as error:
                raise TooShort(str(error).replace("--minutes", "--budget")) from None
            finally:
                comparison.close()

    def name_of(self, trial: TrialRecord) -> str:
        """The network that a trial is of."""
        return next(one.entries[key].candidate.name for one in self.done.values() for key in one.owners(trial))

    def found(self) -> Found:
        """What there is to judge by."""
        outcomes, trials, folders = {}, {}, {}
        for name, comparison in self.done.items():
            rows, made = comparison.rows(), comparison.trials()
            names = {row.key: row.name for row in rows}
            right = {names[key]: rights(made[key]) for key in names}
            trained = {row.name: right[row.name] for row in rows if row.kind != "shallow"}
            outcomes[name] = Outcome({row.name: row for row in rows}, right, spreads(trained))
            trials[name] = {names[key]: made[key] for key in names}
            folders[name] = comparison.place.folder
        return Found(self.source, self.size, outcomes, trials, folders)

    def record(self) -> ExperimentRecord:
        """The experiment judged; kept in its folder too."""
        found, of = self.found(), self.experiment
        made = ExperimentRecord(
            of.name,
            of.title,
            of.claim,
            of.source,
            of.verdict(found),
            tuple(of.every_table(found)),
            tuple(of.every_chart(found)),
            tuple(dict.fromkeys([*self.source.notes, *self._cannot_show(), *self.notes])),
            str(self.source),
            tuple(self.seeds),
            self.minutes,
            shlex.join(self.place.command),
            msgspec.convert(msgspec.to_builtins(self.machine), MachineRecord),
            {"python": platform.python_version(), **{name: version(name) for name in ("topfive", "torch", "numpy")}},
            datetime.date.today().isoformat(),
        )
        self.place.folder.mkdir(parents=True, exist_ok=True)
        write_whole(self.place.folder / RECORD, msgspec.json.format(msgspec.json.encode(made)))
        return made

    def _cannot_show(self) -> list[str]:
        if self.source.name != "digits" or not self.done:
            return []
        return [
            "the digits are 8x8 pixels, enlarged, and nearly every network learns them: they show that an experiment "
            "runs, and little of photographs; --data cifar-10 says more"
        ]

    def _place(self, part: Part) -> Place:
        return with_fields(self.place, folder=self.place.folder / part.name)

    def _named(self, network: Network | str) -> str:
        """What a comparison calls a network by: a value is a file."""
        if isinstance(network, str):
            return network
        path = self.place.folder / "networks" / f"{network.name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, msgspec.json.encode(network))
        return str(path)
