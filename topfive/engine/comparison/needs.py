"""What each candidate's training takes on this machine: found by a few steps of it, before anything is planned."""

from topfive.data.sources import Source
from topfive.engine.benchmark.arithmetic import fastest
from topfive.engine.benchmark.machine import Machine
from topfive.engine.comparison.candidates import Entry
from topfive.engine.comparison.planning import Need
from topfive.engine.comparison.trials import Place
from topfive.engine.models.specs import make
from topfive.engine.training.datasets import Data
from topfive.engine.training.fitting import fitted
from topfive.engine.training.job import Job
from topfive.engine.training.processes import Group
from topfive.engine.training.timing import Estimate, measured
from topfive.recipes.recipe import Recipe


def timed(one: Entry, source: Source, data: Data, machine: Machine, recipe: Recipe, place: Place, seeds: int) -> Need:
    """What training `one` on `data` takes with the arithmetic of `machine`; its network is made and trained for it.

    Raises: what `Job` raises.
    """
    assert one.spec
    size = one.candidate.size
    if one.network:
        job = Job(one.network, source, recipe, size, machine, Group(), place.folder, data=data)
        net = job.network_for(data)
    else:
        net = make(one.spec, one.shape, len(source.classes))
    image, tested, step = measured(net, data, recipe, size, machine, lambda count: None)
    estimate = Estimate(0.0, image, tested * len(source.val), step)
    return Need(one.candidate, recipe, machine, estimate, len(data), seeds)


def arithmetic(one: Entry, classes: int, images: int, machine: Machine) -> tuple[Machine, Recipe]:
    """`machine` with the arithmetic that trains `one` fastest, over so many images; its recipe, as memory takes it."""
    assert one.spec
    quickest, _ = fastest(one.spec, one.shape, classes, one.recipe.batch, images, machine)
    return quickest, in_memory(one, classes, quickest)


def in_memory(one: Entry, classes: int, machine: Machine) -> Recipe:
    """The recipe of `one`, a batch in as many parts as this machine's memory takes."""
    return fitted(one.recipe, one.network, one.candidate.size, classes, machine) if one.network else one.recipe
