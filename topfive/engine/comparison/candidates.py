"""What is compared: networks at a size of input, each with what it is trained by and where it starts."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from topfive.engine.benchmark import shallow
from topfive.engine.models.specs import ModelSpec, make, torch_costs
from topfive.engine.training.fitting import adapted
from topfive.engine.training.job import OutOfMemory, out_of_memory
from topfive.errors import RefusedError, ResourceError, TopfiveError
from topfive.networks.costs import count
from topfive.networks.layers import Network, with_classes
from topfive.networks.papers import facts, known
from topfive.networks.variations import for_small_images
from topfive.recipes import papers
from topfive.recipes.editing import changed
from topfive.recipes.ours import finetune, suited
from topfive.recipes.recipe import Recipe
from topfive.results.comparisons import Candidate
from topfive.weights.names import network_called

# one network for each idea: the first deep one, small filters stacked, parallel filters, plain against residual at
# equal depth, bottlenecks, and the union of both lines
DEFAULT = (
    shallow.NAME,
    "alexnet",
    "vgg-a",
    "googlenet",
    "cifar-plain-20",
    "cifar-resnet-20",
    "resnet-50",
    "inception-resnet-v1",
)

# what a choice is made of: the networks above, and others between them in cost
CONTENDERS = (
    "alexnet",
    "vgg-a",
    "googlenet",
    "bn-inception",
    "squeezenet-1.1",
    "mobilenet-v1",
    "cifar-resnet-20",
    "cifar-resnet-56",
    "resnet-18",
    "resnet-50",
    "densenet-121",
)

SCRATCH, PUBLISHED = "scratch", "published"


@dataclass(frozen=True)
class Entry:
    """A candidate with what makes and trains it; `spec` is None for the shallow baseline."""

    candidate: Candidate
    spec: ModelSpec | None
    recipe: Recipe  # for one seed, 0, and not yet cut to a time

    @property
    def network(self) -> Network | None:
        """Its value, where it is a network of ours."""
        return self.spec.network if self.spec else None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of its input."""
        return 3, self.candidate.size, self.candidate.size


def entry(
    name: str, size: int, classes: int, recipe: str, changes: Sequence[str] = (), start: str = SCRATCH, label: str = ""
) -> Entry:
    """What `name` means at `size`: the baseline, a network of ours, one in a JSON file, or a user's
    `package.module:factory`. `start` is where its weights come from, `label` what its name has behind it in the table.

    Raises: UsageError where nothing has that name, SizeError where the network does not fit the size, RefusedError
    where a factory does not give a module for so many classes.
    """
    protocol = f"1-crop {size}x{size}"
    if name == shallow.NAME:
        key = _key(name, size)
        candidate = Candidate(
            key, name + label, "shallow", "shallow", size, SCRATCH, protocol, 0, 0, "classifier alone", "HOG + SVM"
        )
        return Entry(candidate, None, recipe_of("auto", None))
    if ":" in name:
        spec = ModelSpec(name, factory=name)
        make(spec, (3, size, size), classes)  # why: a module that does not fit is known before any training
        params, macs = torch_costs(spec, (3, size, size), classes)
        # why no smaller images: whether a module of the user's own takes them too is not known
        taken = msgspec.structs.replace(recipe_of(recipe, None, start), progressive_resize=())
        taken = changed(taken, changes)
        own = "trained without a run folder, which takes a network of topfive's: no model is kept"
        family, kind, counted = "yours", "module", "torch"
        notes = [own]
    else:
        network = for_small_images(network_called(name), size)
        spec, costs = ModelSpec(network.name, network), count(with_classes(network, classes), (3, size, size))
        params, macs = costs.params, costs.macs
        taken, note = adapted(changed(recipe_of(recipe, network, start), changes), network, size)
        family = facts(network.paper).family if network.paper in known() else "yours"
        kind, counted = "network", "topfive"
        notes = [note] if note else []
    key = _key(spec.network or name, size, start, taken)
    return Entry(
        Candidate(
            key, spec.name + label, family, kind, size, start, protocol, params, macs, counted, taken.name, tuple(notes)
        ),
        spec,
        taken,
    )


def recipe_of(name: str, network: Network | None, start: str = SCRATCH) -> Recipe:
    """The recipe called `name`, as `train --recipe` has it; `auto` is ours for a network of this kind, `paper` is that
    of its own paper. Raises: UsageError where no recipe has that name."""
    if name == "auto":
        return suited(network) if start == SCRATCH else finetune()
    recipe = papers.get(papers.default_for(network) if name == "paper" else name, network)
    # why: what was learnt before stands, and continues learning
    return recipe if start == SCRATCH else msgspec.structs.replace(recipe, whitened=False)


def failure(error: Exception, factory: str | None) -> TopfiveError:
    """What went wrong, as a sentence with its exit code; `factory` is the user's own where it is of one."""
    if isinstance(error, OutOfMemory) or out_of_memory(error):
        return ResourceError("memory ran out: a smaller --batch or --size takes less")
    if isinstance(error, TopfiveError):
        return error
    if isinstance(error, OSError):
        return ResourceError(str(error))
    if factory:
        return RefusedError(f"{factory} fails: {type(error).__name__}: {error}")
    return TopfiveError(f"a bug of ours, {type(error).__name__}: {error} (--debug shows where)")


def _key(*parts: object) -> str:
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()[:16]
