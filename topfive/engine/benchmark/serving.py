"""The form in which a network would serve here: the backend that was measured to be the fastest for it."""

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor

import torch
from torch import Tensor

from topfive import system
from topfive.engine.benchmark.measuring import BenchmarkRequest
from topfive.engine.benchmark.threads import use_threads
from topfive.engine.inference.backends import FEW, engine, forms
from topfive.engine.models.modules import Classifier, Net
from topfive.engine.models.specs import make
from topfive.weights.preprocessing import IMAGENET_MEAN, IMAGENET_STD

PLAIN = "torch float32"


def chosen_backend(task: BenchmarkRequest) -> str:
    """The name of the fastest backend for the network of `task`; found in a process of its own, whose memory is not
    counted for the network."""
    with ProcessPoolExecutor(1, system.context()) as apart:
        return apart.submit(_choose, task).result()


def serving_form(task: BenchmarkRequest, backend: str) -> Callable[[Tensor], Tensor]:
    """The network of `task`, with fresh weights, in that backend: `(N, 3, H, W)` uint8 in, logits out."""
    classifier = _classifier(task)
    if isinstance(classifier.net, Net):
        for precision in ("bfloat16", "float32"):
            for form in forms(classifier, task.machine, precision):
                if form.name == backend:
                    return form.make()
    module = task.machine.infer_form(classifier)
    return lambda pixels: module(task.machine.place(pixels)).float().cpu()


def _choose(task: BenchmarkRequest) -> str:
    use_threads(task.machine.threads)
    classifier = _classifier(task)
    sample = torch.randint(256, (FEW, *task.input), dtype=torch.uint8)
    return engine(classifier, task.machine, sample).name


def _classifier(task: BenchmarkRequest) -> Classifier:
    mean, std = ([255 * value for value in values] for values in (IMAGENET_MEAN, IMAGENET_STD))
    normalisation = (torch.tensor(values).view(1, 3, 1, 1) for values in (mean, std))
    return Classifier(make(task.subject, task.input, task.classes), *normalisation).eval()
