"""An exported ONNX file in 8 bits: static quantisation by onnxruntime, and whether it is worth having."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import numpy as np

from topfive.data.decoding import Unreadable
from topfive.data.sources import Item, Source
from topfive.engine.inference.exported import IMAGES, PIXELS, Contract, Exported, Images
from topfive.engine.inference.models import Model, columns
from topfive.errors import DataError
from topfive.results.statistics import paired_difference

CALIBRATED = 128  # training images, evenly spread, that the ranges of activations are taken from
JUDGED = 4000  # validation images at most, evenly spread
TIMED, ROUNDS = 8, 5  # images that both are timed on, by turns; the best round counts
# what onnxruntime computes in 8 bits; between two of them nothing goes back to 32
OPERATIONS = ("Conv", "Gemm", "Add", "Concat", "MaxPool", "AveragePool", "GlobalAveragePool")


class Worth(msgspec.Struct, frozen=True):
    """What 8 bits cost and gain: Top-1 of both on the same images, the interval of the difference, and the speed."""

    images: int
    top1: float
    top1_int8: float
    low: float  # of the 95 % interval of top1_int8 - top1
    high: float
    times_as_fast: float

    def __str__(self) -> str:
        difference = 100 * (self.top1_int8 - self.top1)
        return (
            f"int8 is {self.times_as_fast:.2f} times as fast here, and its Top-1 differs by {difference:+.2f} points "
            f"(95 % interval {100 * self.low:+.2f} to {100 * self.high:+.2f}, n = {self.images:,})"
        )

    def enough(self, max_drop: float) -> bool:
        """Whether it is faster, and surely loses less than `max_drop` points."""
        return self.times_as_fast > 1 and 100 * self.low > -max_drop


def quantised(file: bytes, model: Model, source: Source, batch: int | None, contract: Contract) -> bytes:
    """The network of an ONNX file in 8 bits, its pixels as they were, calibrated on the training images of `source`."""
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    from topfive.engine.inference.onnx_graph import with_metadata

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.images = (one for _, one in _read(source, _spread(source.train, CALIBRATED), model, batch))

        def get_next(self) -> dict[str, Images] | None:
            images = next(self.images, None)
            return None if images is None else {IMAGES: images}

    graph = onnx.load_from_string(file).graph
    kept = [node.name for node in graph.node if node.name.startswith(PIXELS)]
    with TemporaryDirectory() as folder:
        plain, small = Path(folder) / "plain.onnx", Path(folder) / "small.onnx"
        plain.write_bytes(file)
        logging.disable(logging.WARNING)  # why: it advises a step of preparation that changes nothing here
        try:
            quantize_static(plain, small, Reader(), quant_format=QuantFormat.QDQ, per_channel=True,
                            op_types_to_quantize=list(OPERATIONS), nodes_to_exclude=kept,
                            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8)  # fmt: skip
        finally:
            logging.disable(logging.NOTSET)
        return with_metadata(small.read_bytes(), contract.strings())


def judged(
    plain: Exported,
    small: Exported,
    model: Model,
    source: Source,
    batch: int | None,
    tick: Callable[[int, int], object],
) -> Worth:
    """Both on the validation images of `source`. Raises: DataError where its classes do not fit, or none is read."""
    at, _ = columns(model, source)
    items = _spread(source.val, JUDGED)
    right: list[tuple[bool, bool]] = []
    timed: list[Images] = []
    for n, (item, images) in enumerate(_read(source, items, model, batch)):
        answers = [int(one.answer(images)[0].argmax()) for one in (plain, small)]
        right.append((answers[0] == at[item.label], answers[1] == at[item.label]))
        timed += [images] if len(timed) < TIMED else []
        tick(n + 1, len(items))
    if not right:
        raise DataError(f"none of the {len(items)} validation images of {source.name} can be read")
    first, second = np.array(right).T
    low, high = paired_difference(int((second & ~first).sum()), int((first & ~second).sum()), len(right))
    best = np.min([[_seconds(one, timed) for one in (plain, small)] for _ in range(ROUNDS)], 0)
    return Worth(len(right), float(first.mean()), float(second.mean()), low, high, float(best[0] / best[1]))


def _seconds(one: Exported, images: Iterable[Images]) -> float:
    began = time.perf_counter()
    for each in images:
        one.answer(each)
    return time.perf_counter() - began


def _spread(items: Sequence[Item], most: int) -> Sequence[Item]:
    return items[:: -(-len(items) // most)]


def _read(source: Source, items: Iterable[Item], model: Model, batch: int | None) -> Iterator[tuple[Item, Images]]:
    """The images that can be read, each as often as the file takes at a time."""
    for item in items:
        try:
            image = source.read(item, model.about.upright)
        except Unreadable:
            continue
        yield item, np.repeat(np.asarray(image)[None], batch or 1, 0)
