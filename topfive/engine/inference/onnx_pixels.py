"""What `data.views.views` does with an image, as operations of ONNX: resizing as Pillow does it, and the centre.

Pillow resizes along the width and then along the height, and rounds to 8 bits after each. Either is a product with a
matrix: a row for each pixel that comes out, which weighs the pixels of the image by a filter about its place. The
matrices are made in the graph, since they depend on the size of the image. ONNX's own `Resize` has no parts of an
image, and rounds at other places (docs/decisions/0022-export.md).
"""

from typing import NamedTuple

from topfive.engine.inference.onnx_graph import IMAGES, PIXELS, Graph, Name
from topfive.errors import UsageError
from topfive.recipes.protocols import Protocol


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
    by_width = graph.add("Transpose", _weights(graph, protocol, size, across), perm=[1, 0])
    by_height = _weights(graph, protocol, size, down)
    x = graph.add("MatMul", x, by_width)
    if protocol.antialias:  # what is not antialiased is not Pillow's, and rounded once
        x = _rounded(graph, x)
    x = graph.add("MatMul", by_height, x)
    return _rounded(graph, x, PIXELS)


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


def _weights(graph: Graph, protocol: Protocol, size: int, axis: _Axis) -> Name:
    """`(size, length)`: how much each pixel of the image counts for each of the `size` in the centre of the scaled.

    Twice the place of a pixel's centre is whole but for a fraction of `scaled`, and both are kept apart, so that 32
    bits lose nothing.
    """
    one, two = graph.constant([1]), graph.constant([2])
    # where the centre begins, rounded halves to even: twice that, less all that is left over, is -1, 0 or 1
    over = graph.add("Sub", axis.scaled, graph.constant([size]))
    half = graph.add("Div", over, two)
    odd = graph.add("Mul", graph.add("Mod", over, two), graph.add("Mod", half, two))
    start = graph.add("Add", half, odd)
    aside = graph.add("Sub", graph.add("Mul", start, two), over)
    steps = graph.constant([[2 * i + 1 - size] for i in range(size)])  # from the middle, in halves of a pixel
    place = graph.add("Mul", graph.add("Add", steps, aside), axis.extent)
    rest = graph.add("Mod", place, axis.scaled)
    whole = graph.add("Div", graph.add("Sub", place, rest), axis.scaled)
    middle = graph.add("Add", graph.add("Mul", axis.first, two), axis.extent)
    none = graph.constant(0)
    columns = graph.add("Range", none, graph.add("Squeeze", axis.length), graph.constant(1))
    pixels = graph.add("Sub", graph.add("Add", graph.add("Mul", columns, two), one), middle)
    apart = graph.cast(graph.add("Sub", pixels, whole))
    scaled = graph.cast(axis.scaled)
    distance = graph.add("Sub", apart, graph.add("Div", graph.cast(rest), scaled))
    unit = graph.constant([2.0])
    if protocol.antialias:  # the filter is as wide as what becomes one pixel
        reach = graph.add("Max", graph.add("Div", graph.cast(axis.extent), scaled), graph.constant([1.0]))
        unit = graph.add("Mul", reach, unit)
    distance = graph.add("Abs", graph.add("Div", distance, unit))
    found = (_bicubic if protocol.interpolation == "bicubic" else _bilinear)(graph, distance)
    return graph.add("Div", found, graph.add("ReduceSum", found, graph.constant([1]), keepdims=1))


def _bilinear(graph: Graph, distance: Name) -> Name:
    return graph.add("Relu", graph.add("Sub", graph.constant([1.0]), distance))


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


def _rounded(graph: Graph, x: Name, output: Name = "") -> Name:
    """Of 8 bits: halves up, as Pillow rounds."""
    x = graph.add("Floor", graph.add("Add", x, graph.constant([0.5])))
    return graph.add("Clip", x, graph.constant(0.0), graph.constant(255.0), output=output)
