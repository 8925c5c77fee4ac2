"""What a comparison is asked for."""

from typing import Literal

import msgspec

from topfive.engine.comparison.candidates import SCRATCH

MINUTES = 10.0  # of a comparison, where neither minutes nor epochs are given


class Contract(msgspec.Struct, frozen=True):
    """What is compared, how long the trainings are, and how many, for all candidates alike."""

    networks: tuple[str, ...]
    sizes: tuple[int, ...]
    seeds: tuple[int, ...] = (0, 1, 2)
    minutes: float | None = None  # of everything; None where the epochs are given, or the recipe's own
    epochs: int | None = None
    batch: int | None = None
    recipe: str = "auto"
    starts: tuple[str, ...] = (SCRATCH,)  # scratch, published, or a run or file of weights
    weights: str | None = None  # the folder of published weights, which are fetched into it where they are not there
    optional: bool = False  # a candidate that the minutes are too few for is left out, and no error
    least: float = 1.0  # share of the training images that every training must see
    part: float = 1.0  # of the minutes, by the end of which all is trained
    alike: Literal["time", "epochs"] = "time"  # what every training gets the same of

    @property
    def changes(self) -> list[str]:
        """To the recipe of each candidate, as `--set` has them."""
        fields = {"epochs": self.epochs, "batch": self.batch}
        return [f"{name}={value}" for name, value in fields.items() if value is not None]

    @property
    def plan(self) -> str:
        """The name of the file that its plan is kept in."""
        return f"plan-{self.minutes:g}-minutes.json" if self.minutes is not None else "plan.json"
