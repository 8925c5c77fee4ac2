"""What `data.views.views` does with an image, as operations of ONNX: resizing as Pillow does it, and the centre.

Pillow resizes along the width and along the height, most images in this order, and rounds to 8 bits after each. Either
is a product with a matrix: a row for each pixel that comes out, which weighs the pixels of the image by a filter about
its place. The matrices are made in the graph, since they depend on the size of the image. Why not ONNX's own `Resize`:
docs/decisions/0023-export.md.
"""

from typing import NamedTuple

import numpy as np

from topfive.engine.inference.exported import IMAGES, PILLOW, PIXELS
from topfive.engine.inference.onnx_graph import Graph, Name
from topfive.errors import UsageError
from topfive.recipes.protocols import Protocol

HALF = 2**11  # Pillow's weights are whole numbers of twice as many bits


class _Axis(NamedTuple):
    """Whole numbers, in the graph: the pixels of the image along an axis, and which of them are resized to how many."""

    length: Name
    first: Name  # of those that are resized
    extent: Name  # how many
    scaled: Name  # to how many


def add_pixels(graph: Graph, protocol: Protocol, size: int) -> Name:
    """Append what makes PIXELS, `N x 3 x size x size` whole floats, of IMAGES. Raises: UsageError for other views."""
    if protocol.crops != "centre" or protocol.mirror or len(protocol.shorter) != 1:
        raise UsageError(f"{protocol.key} has several views of an image, and an exported network looks at one")
    graph.part = PIXELS
    shape = graph.add("Shape", IMAGES)
    height, width = (graph.add("Gather", shape, graph.constant([at])) for at in (1, 2))
    x = graph.cast(graph.add("Transpose", IMAGES, perm=[0, 3, 1, 2]))
    across, down = _axes(graph, protocol, size, width, height)
    upper, lower = (graph.add("Transpose", part, perm=[1, 0]) for part in _weights(graph, protocol, size, across))
    by_width, by_height = (upper, lower), _weights(graph, protocol, size, down)
    if not protocol.antialias:  # which is not Pillow's, but of floats, and is rounded once
        along_width, along_height = (_joined(graph, *parts) for parts in (by_width, by_height))
        x = graph.add("MatMul", along_height, graph.add("MatMul", x, along_width))
        return graph.add("Round", x, output=PIXELS)
    # why not `If`: OpenVINO 2026.4 gives wrong answers in the first run of a graph that has one
    none = graph.constant([0])
    every = graph.add("Gather", shape, none)
    tall = graph.add("Where", _height_first(graph, across, down), every, none)  # all images of a batch, or none
    tall_ones, others = graph.add("Slice", x, none, tall, none), graph.add("Slice", x, tall, every, none)
    tall_ones = _along_width(graph, _along_height(graph, tall_ones, by_height), by_width)
    others = _along_height(graph, _along_width(graph, others, by_width), by_height)
    return graph.add("Concat", tall_ones, others, axis=0, output=PIXELS)


def _along_width(graph: Graph, x: Name, weights: tuple[Name, Name]) -> Name:
    upper, lower = (graph.add("MatMul", x, part) for part in weights)
    return _rounded(graph, upper, lower)


def _along_height(graph: Graph, x: Name, weights: tuple[Name, Name]) -> Name:
    # why turned: onnxruntime 1.30 (1.32 no more) refuses a product that has a batch of no images on its right
    turned = graph.add("Transpose", x, perm=[0, 1, 3, 2])
    columns = (graph.add("Transpose", part, perm=[1, 0]) for part in weights)
    upper, lower = (graph.add("MatMul", turned, part) for part in columns)
    return graph.add("Transpose", _rounded(graph, upper, lower), perm=[0, 1, 3, 2])


def _height_first(graph: Graph, across: _Axis, down: _Axis) -> Name:
    """Whether Pillow resizes along the height before it does along the width, of an image that is tall for that."""
    less, fewer = (graph.add("Sub", axis.length, axis.scaled) for axis in (down, across))
    if PILLOW >= 13:  # as it was found to do by trying all kinds of sizes
        tall = graph.add("Greater", less, graph.add("Mul", fewer, graph.constant([2])))
    else:
        tall = graph.add("Greater", down.length, graph.add("Mul", across.length, graph.constant([100])))
    return graph.add("And", tall, graph.add("Greater", less, graph.constant([0])))


def _axes(graph: Graph, protocol: Protocol, size: int, width: Name, height: Name) -> tuple[_Axis, _Axis]:
    """The shorter side becomes the protocol's and the other one as much, rounded down; or the centre square `size`."""
    side = graph.add("Min", width, height)
    if protocol.squares == "cut":
        two, scaled = graph.constant([2]), graph.constant([size])
        starts = (graph.add("Div", graph.add("Sub", length, side), two) for length in (width, height))
        across, down = (_Axis(length, start, side, scaled) for length, start in zip((width, height), starts))
        return across, down
    (shorter,) = protocol.sides(size)
    to, none = graph.constant([shorter]), graph.constant([0])
    scales = (graph.add("Div", graph.add("Mul", length, to), side) for length in (width, height))
    across, down = (_Axis(length, none, length, scaled) for length, scaled in zip((width, height), scales))
    return across, down


def _weights(graph: Graph, protocol: Protocol, size: int, axis: _Axis) -> tuple[Name, Name]:
    """How much each pixel of the image counts for each of the `size` in the centre of the scaled: two `(size, length)`.

    Pillow's weights are whole numbers of 22 bits: these are the upper and the lower half of them, so that sums of their
    products with pixels are exact in floats. A pixel lies half-way between two levels too often to do with less.
    """
    distance, reach = _distances(graph, size, axis, protocol.antialias)
    half = graph.constant([float(HALF)])
    if protocol.interpolation == "bicubic":
        share = _bicubic(graph, graph.add("Div", graph.cast(distance), graph.cast(reach)))
        total = graph.add("ReduceSum", share, graph.constant([1]), keepdims=1)
        exact = graph.add("Mul", graph.add("Div", share, total), half)
        upper = graph.add("Floor", exact)
        return upper, graph.add("Round", graph.add("Mul", graph.add("Sub", exact, upper), half))
    share = graph.add("Max", graph.add("Sub", reach, distance), graph.constant([0]))
    total = graph.add("ReduceSum", share, graph.constant([1]), keepdims=1)
    share = graph.add("Mul", share, graph.constant([HALF]))  # long division, whose first step is of whole numbers
    whole = graph.add("Div", share, total)
    rest = graph.add("Sub", share, graph.add("Mul", whole, total))
    rest = graph.add("Mul", graph.add("Div", graph.cast(rest), graph.cast(total)), half)
    return graph.cast(whole), graph.add("Round", rest)


def _joined(graph: Graph, upper: Name, lower: Name) -> Name:
    """The weights of both halves as shares."""
    fixed = graph.add("Add", graph.add("Mul", upper, graph.constant([float(HALF)])), lower)
    return graph.add("Div", fixed, graph.constant([float(HALF**2)]))


def _distances(graph: Graph, size: int, axis: _Axis, antialias: bool) -> tuple[Name, Name]:
    """Of each pixel from each place in the centre `(size, length)`, and how far the filter reaches: whole numbers.

    Both are in parts of a pixel, `2 * scaled` of which are one.
    """
    one, two = graph.constant([1]), graph.constant([2])
    # where the centre begins, rounded halves to even: twice that, less all that is left over, is -1, 0 or 1
    over = graph.add("Sub", axis.scaled, graph.constant([size]))
    half = graph.add("Div", over, two)
    odd = graph.add("Mul", graph.add("Mod", over, two), graph.add("Mod", half, two))
    start = graph.add("Add", half, odd)
    aside = graph.add("Sub", graph.add("Mul", start, two), over)
    steps = graph.constant(np.arange(1 - size, size + 1, 2)[:, None])  # from the middle, in halves of a pixel
    place = graph.add("Mul", graph.add("Add", steps, aside), axis.extent)
    middle = graph.add("Add", graph.add("Mul", axis.first, two), axis.extent)
    columns = graph.add("Range", graph.constant(0), graph.add("Squeeze", axis.length), graph.constant(1))
    pixels = graph.add("Sub", graph.add("Add", graph.add("Mul", columns, two), one), middle)
    distance = graph.add("Abs", graph.add("Sub", graph.add("Mul", pixels, axis.scaled), place))
    wide = graph.add("Max", axis.extent, axis.scaled) if antialias else axis.scaled
    return distance, graph.add("Mul", wide, two)


def _bicubic(graph: Graph, distance: Name) -> Name:
    """Keys' cubic with a = -1/2, which Pillow takes."""
    x = graph.add("Min", distance, graph.constant([2.0]))
    near = _polynomial(graph, x, (1.5, -2.5, 0.0, 1.0))
    far = _polynomial(graph, x, (-0.5, 2.5, -4.0, 2.0))
    return graph.add("Where", graph.add("Less", x, graph.constant([1.0])), near, far)


def _polynomial(graph: Graph, x: Name, factors: tuple[float, ...]) -> Name:
    """The highest power first."""
    found = graph.constant([factors[0]])
    for factor in factors[1:]:
        found = graph.add("Add", graph.add("Mul", found, x), graph.constant([factor]))
    return found


def _rounded(graph: Graph, upper: Name, lower: Name) -> Name:
    """Of 8 bits, from the sums with both halves of the weights: halves up, as Pillow rounds."""
    half = graph.constant([float(HALF)])
    carried = graph.add("Floor", graph.add("Div", lower, half))
    total = graph.add("Add", graph.add("Add", upper, carried), graph.constant([HALF / 2]))
    x = graph.add("Floor", graph.add("Div", total, half))
    return graph.add("Clip", x, graph.constant(0.0), graph.constant(255.0))
