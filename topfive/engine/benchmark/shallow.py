"""What came before: histograms of oriented gradients and a linear support vector machine.

Source: Dalal and Triggs, Histograms of Oriented Gradients for Human Detection, CVPR 2005; the family of methods that
won ILSVRC until 2011 (hand-made features, a linear classifier on top).
"""

import time

import msgspec
import numpy as np
import torch

from topfive.engine.benchmark.load import Load
from topfive.engine.benchmark.machine import Machine
from topfive.engine.benchmark.measuring import summarise, time_runs
from topfive.engine.benchmark.memory import memory_peak, memory_start
from topfive.engine.training.pixels import Images
from topfive.engine.training.validation import score
from topfive.errors import UsageError
from topfive.results.records import Benchmark, Scores

NAME = "hog-svm"
CELLS = 4  # along each side of the image


def fit_and_measure(
    images: Images, val: Images, classes: int, machine: Machine
) -> tuple[Scores, Benchmark, int, float]:
    """(scores, what it takes, parameters of the classifier, seconds to train).

    Raises: UsageError where scikit-image or scikit-learn is missing.
    """
    try:
        from skimage.feature import hog
        from sklearn.svm import LinearSVC
    except ImportError:
        raise UsageError("the shallow row needs scikit-image and scikit-learn: pip install 'topfive[digits]'") from None

    machine = msgspec.structs.replace(machine, device="cpu")  # why: all of this is done there, and its memory is meant
    cell = images.pixels.shape[-1] // CELLS

    def features(pixels: torch.Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        grey = pixels.float().mean(1).numpy()
        described = [hog(g, 9, (cell, cell), (2, 2), block_norm="L2-Hys") for g in grey]
        return np.stack(described).astype(np.float32)

    before = memory_start(machine)
    began = time.perf_counter()
    known = features(images.pixels)
    svm = LinearSVC(C=0.1, random_state=0).fit(known, images.labels.numpy())
    seconds = time.perf_counter() - began
    training_bytes = max(0, memory_peak(machine) - before)

    def decide(pixels: torch.Tensor) -> torch.Tensor:
        values = torch.from_numpy(np.atleast_2d(svm.decision_function(features(pixels))))
        if values.shape[0] == 1 and len(pixels) > 1:  # two classes: one signed distance per image
            values = torch.stack([-values[0], values[0]], 1)
        logits = torch.full((len(pixels), classes), -1e9, dtype=torch.float64)
        logits[:, torch.from_numpy(svm.classes_)] = values.double()
        return logits

    scores = score(decide(val.pixels), val.labels)
    one, many = images.pixels[:1], images.pixels[:32]
    before = memory_start(machine)
    features(one)
    inference_bytes = max(0, memory_peak(machine) - before) + svm.coef_.nbytes
    one_pair = torch.cat([one, one])  # a single image's values could be taken for two classes' distances
    load = Load()
    latency = [seconds / 2 for seconds in time_runs(lambda: decide(one_pair), machine)]
    batches = time_runs(lambda: decide(many), machine)
    cpu_contention = load.contention(1)  # why: the features are computed by one thread
    measured = summarise(latency, batches, len(many), inference_bytes, training_bytes, len(images), cpu_contention)
    return scores, measured, svm.coef_.size + svm.intercept_.size, seconds
