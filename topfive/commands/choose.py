"""One network for a budget, as a command."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

from topfive.commands.comparing import Asked, Executor, finish, opened, said, stopping
from topfive.console import bar
from topfive.errors import ResourceError, UsageError
from topfive.report.tables import Format

if TYPE_CHECKING:
    from topfive.engine.comparison.choosing import Limits

UNITS = {
    "latency": {"": 1.0, "ms": 1.0, "s": 1e3},
    "memory": {"": 1.0, "b": 1.0, "kb": 1e3, "mb": 1e6, "gb": 1e9, "tb": 1e12},
    "params": {"": 1.0, "k": 1e3, "m": 1e6, "b": 1e9},
}


def choose(
    *networks: str,
    data: str | None = None,
    latency: str | None = None,
    memory: str | None = None,
    params: str | None = None,
    minutes: float = 60,
    seeds: int = 3,
    seed: int = 0,
    start: str = "scratch",
    weights: str | None = None,
    recipe: str = "auto",
    size: str | None = None,
    batch: int | None = None,
    report: str | None = None,
    out: str | None = None,
    workers: int | None = None,
    device: str = "auto",
    max_bad: str | None = None,
    executor: Executor = "local",
    quiet: bool = False,
    format: Format = "text",
) -> None:
    """Choose one network for your images within limits of latency, memory and size, and train it.

    Networks that exceed a limit leave first. The others race: each rung trains them for the same time and scores them
    on images set aside from the training images; the better ones go on to a longer one. The last two or three are
    compared with several seeds on the validation images, and the fastest of those that cannot be told from the best is
    recommended. The page says when and why each network left. The same command continues an interrupted choice.

    Parameters
    ----------
    networks
        Names from 'topfive networks', .json files, or 'package.module:factory'; by default eleven of different cost.
    data
        A source, as compare takes it; by default scikit-learn's digits.
    latency
        The most that nine of ten single images may take here, as 20ms.
    memory
        The most that one image may take beside the bare process, as 500MB.
    params
        The most parameters, as 10M.
    minutes
        What everything together may take.
    seeds
        How many trainings of each network in the final comparison, with seeds from --seed on.
    seed
        The first seed.
    start
        What the networks begin with, as in compare.
    weights
        The folder of published weights, as in compare.
    recipe
        What each network is trained by, as in compare.
    size
        The side of the square that the networks see, in pixels, or several as 32,64, each of which is a candidate; by
        default as in compare.
    batch
        Images in a step; by default the recipe's.
    report
        Where the page goes; by default report.html in --out.
    out
        The folder for everything; by default runs/choose-SOURCE.
    workers
        Read the images anew in every epoch with so many processes; by default they are kept in memory if they fit.
    device
        auto, cpu, cuda, cuda:1, ... or mps.
    max_bad
        How many images that cannot be read are skipped: a number, or a share such as 5%.
    executor
        Where the trainings run, as in compare: local or ray.
    quiet
        Only the tables.
    format
        text, markdown, csv or json.
    """
    from topfive.engine.benchmark import shallow
    from topfive.engine.comparison.candidates import CONTENDERS
    from topfive.engine.comparison.choosing import Choice

    asked = Asked(
        networks, data, out, report, minutes, None, seeds, seed, start, weights, recipe, size, batch, workers, device,
        None, max_bad, quiet, executor,
    )  # fmt: skip
    limits = _limits(latency, memory, params)
    if shallow.NAME in networks:
        raise UsageError(f"{shallow.NAME} is no network: leave it out, or set it beside the others with compare")
    at = opened(asked, "choose", CONTENDERS)
    choice = Choice(at.source, msgspec.structs.replace(at.contract, optional=True), limits, at.machine, at.place)
    try:
        with stopping(at.place.folder, choice.count), bar(quiet) as tick:
            said(choice.run(tick), choice.name_of, quiet)
    finally:
        choice.close()
        finish(choice.final, at.page, format, quiet, choice.meta())
    error = choice.final.error()
    if error and not choice.final.rows():
        raise error from error.__cause__
    if why := choice.undecided():
        raise ResourceError(why)


def _limits(latency: str | None, memory: str | None, params: str | None) -> Limits:
    from topfive.engine.comparison.choosing import Limits

    return Limits(_amount("latency", latency), _amount("memory", memory), _amount("params", params))


def _amount(option: str, text: str | None) -> float | None:
    """A number with a unit, in ms, bytes or parameters. Raises: UsageError."""
    if text is None:
        return None
    found = re.fullmatch(r"([0-9]*\.?[0-9]+) ?([a-z]*)", text.strip().lower())
    if not found or found[2] not in UNITS[option] or not 0 < float(found[1]) < float("inf"):
        example = {"latency": "20ms", "memory": "500MB", "params": "10M"}[option]
        raise UsageError(f"--{option} {text} is none: a number with its unit, as {example}")
    return float(found[1]) * UNITS[option][found[2]]
