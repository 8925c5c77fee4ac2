"""The claims of the literature as experiments, each in a file of its own."""

from topfive.engine.experiments.alexnet_ablations import ALEXNET_ABLATIONS
from topfive.engine.experiments.auxiliary_classifiers import AUXILIARY_CLASSIFIERS
from topfive.engine.experiments.bottleneck import BOTTLENECKS
from topfive.engine.experiments.classifier_weights import CLASSIFIER_WEIGHTS
from topfive.engine.experiments.convolution import CONVOLUTION
from topfive.engine.experiments.degradation import DEGRADATION
from topfive.engine.experiments.experiment import Experiment
from topfive.engine.experiments.inception_cost import INCEPTION_COST
from topfive.engine.experiments.inception_residual import INCEPTION_RESIDUAL
from topfive.engine.experiments.operations_accuracy_memory import OPERATIONS_ACCURACY_MEMORY
from topfive.engine.experiments.shortcuts import SHORTCUTS
from topfive.engine.experiments.stacked_3x3 import STACKED_3X3
from topfive.engine.experiments.two_towers import TWO_TOWERS

ALL: dict[str, Experiment] = {  # in the order of the story
    one.name: one
    for one in (
        CONVOLUTION,
        STACKED_3X3,
        INCEPTION_COST,
        AUXILIARY_CLASSIFIERS,
        DEGRADATION,
        SHORTCUTS,
        BOTTLENECKS,
        CLASSIFIER_WEIGHTS,
        INCEPTION_RESIDUAL,
        TWO_TOWERS,
        ALEXNET_ABLATIONS,
        OPERATIONS_ACCURACY_MEMORY,
    )
}
