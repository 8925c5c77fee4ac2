"""topfive from Python: networks as values, their costs, and the training, evaluation and comparison of them.

>>> import topfive as tf
>>> tf.costs(tf.get("resnet-50")).params
25557032

Importing it loads none of its parts; each is loaded when it is first used, and torch only by what computes.
`docs/python.md` shows everything once.
"""

from importlib import import_module

TYPE_CHECKING = False  # type checkers take it for True; typing's takes ten times as long to import as all of this

if TYPE_CHECKING:  # for editors and type checkers; the table below says the same at run time
    from topfive.api.comparison import Comparison as Comparison
    from topfive.api.comparison import compare as compare
    from topfive.api.training import train as train
    from topfive.api.values import costs as costs
    from topfive.api.values import get as get
    from topfive.api.values import recipe as recipe
    from topfive.data.opening import open_source as open_source
    from topfive.data.sources import Source as Source
    from topfive.engine.api import build as build
    from topfive.engine.api import evaluate as evaluate
    from topfive.engine.api import load as load
    from topfive.errors import TopfiveError as TopfiveError
    from topfive.networks import layers as layers
    from topfive.networks.costs import Costs as Costs
    from topfive.networks.layers import Network as Network
    from topfive.networks.layers import with_classes as with_classes
    from topfive.networks.variations import batch_normalized as batch_normalized
    from topfive.networks.variations import for_small_images as for_small_images
    from topfive.recipes.recipe import Recipe as Recipe
    from topfive.results.records import EpochRecord as EpochRecord
    from topfive.results.records import Evaluation as Evaluation

_WHERE = {
    "Comparison": "topfive.api.comparison",
    "Costs": "topfive.networks.costs",
    "EpochRecord": "topfive.results.records",
    "Evaluation": "topfive.results.records",
    "Network": "topfive.networks.layers",
    "Recipe": "topfive.recipes.recipe",
    "Source": "topfive.data.sources",
    "TopfiveError": "topfive.errors",
    "batch_normalized": "topfive.networks.variations",
    "build": "topfive.engine.api",
    "compare": "topfive.api.comparison",
    "costs": "topfive.api.values",
    "evaluate": "topfive.engine.api",
    "for_small_images": "topfive.networks.variations",
    "get": "topfive.api.values",
    "layers": "topfive.networks",
    "load": "topfive.engine.api",
    "open_source": "topfive.data.opening",
    "recipe": "topfive.api.values",
    "train": "topfive.api.training",
    "with_classes": "topfive.networks.layers",
}

__all__ = [
    "Comparison",
    "Costs",
    "EpochRecord",
    "Evaluation",
    "Network",
    "Recipe",
    "Source",
    "TopfiveError",
    "batch_normalized",
    "build",
    "compare",
    "costs",
    "evaluate",
    "for_small_images",
    "get",
    "layers",
    "load",
    "open_source",
    "recipe",
    "train",
    "with_classes",
]

if not TYPE_CHECKING:  # why: a type checker that saw this would believe in any name

    def __getattr__(name: str) -> object:
        if name not in _WHERE:
            raise AttributeError(f"module 'topfive' has no attribute {name!r}")
        globals()[name] = found = getattr(import_module(_WHERE[name]), name)
        return found

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
