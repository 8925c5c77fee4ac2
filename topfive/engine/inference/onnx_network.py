"""A network as operations of ONNX, from its modules: batch normalisation folded, one fixed size of images."""

from collections.abc import Iterable
from functools import reduce

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from topfive.engine.inference.backends import folded
from topfive.engine.inference.exported import LOGITS, PIXELS, PROBABILITIES
from topfive.engine.inference.onnx_graph import Graph, Name
from topfive.engine.models.layers import Flattened, Gate, LocalResponseNorm, Parallel, Sum, ZeroMaps
from topfive.engine.models.modules import Classifier, Net
from topfive.errors import RefusedError

Pool = nn.MaxPool2d | nn.AvgPool2d
Sizes = dict[nn.Module, tuple[int, int]]  # (height, width) that each pooling layer gets
NETWORK = "network"


def add_network(graph: Graph, classifier: Classifier, size: int) -> None:
    """Append what makes LOGITS and PROBABILITIES of PIXELS. Raises: RefusedError for a layer without a form here."""
    net = classifier.net
    if not isinstance(net, Net):
        raise RefusedError(f"{type(net).__name__} is not a network of topfive's, and cannot be exported to ONNX")
    graph.part = NETWORK
    net = folded(net)
    mean, std = (_array(tensor) for tensor in classifier.normalisation)
    x = graph.add("Div", graph.add("Sub", PIXELS, graph.constant(mean)), graph.constant(std))
    x = _Walk(graph, _sizes(net, size)).row((getattr(net, row) for row in net.rows), x)
    graph.add("Softmax", graph.add("Flatten", x, axis=1, output=LOGITS), axis=1, output=PROBABILITIES)


def _sizes(net: Net, size: int) -> Sizes:
    sizes: Sizes = {}

    def note(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        sizes[module] = inputs[0].shape[2], inputs[0].shape[3]

    hooks = [part.register_forward_pre_hook(note) for part in net.modules() if isinstance(part, Pool)]
    with torch.inference_mode():
        net(torch.zeros(1, 3, size, size))
    for hook in hooks:
        hook.remove()
    return sizes


class _Walk:
    """From module to module: each appends its operations to the graph, and gives the name of what they make."""

    def __init__(self, graph: Graph, sizes: Sizes) -> None:
        self.graph, self.sizes = graph, sizes

    def row(self, modules: Iterable[nn.Module], x: Name) -> Name:
        return reduce(lambda x, module: self.module(module, x), modules, x)

    def module(self, module: nn.Module, x: Name) -> Name:
        graph = self.graph
        match module:
            case nn.Identity() | nn.Dropout():
                return x
            case nn.Sequential():
                return self.row(module, x)
            case Parallel():
                return graph.add("Concat", *[self.module(branch, x) for branch in module.children()], axis=1)
            case Sum():
                body = self.module(module.body, x)
                if module.scale != 1:
                    body = graph.add("Mul", body, graph.constant(module.scale))
                return graph.add("Add", self.module(module.shortcut, x), body)
            case nn.Conv2d():
                return self.conv(module, x)
            case Flattened():
                x = self.linear(module, graph.add("Flatten", x, axis=1))
                return graph.add("Unsqueeze", x, graph.constant([2, 3]))
            case nn.BatchNorm2d():
                given = (module.weight, module.bias, module.running_mean, module.running_var)
                about = [graph.constant(_array(tensor)) for tensor in given if tensor is not None]
                return graph.add("BatchNormalization", x, *about, epsilon=module.eps)
            case nn.ReLU():
                return graph.add("Relu", x)
            case nn.Hardtanh():
                ends = (graph.constant(float(end)) for end in (module.min_val, module.max_val))
                return graph.add("Clip", x, *ends)
            case nn.Tanh():
                return graph.add("Tanh", x)
            case nn.MaxPool2d() | nn.AvgPool2d():
                return self.pool(module, x)
            case nn.AdaptiveAvgPool2d():
                return graph.add("GlobalAveragePool", x)
            case nn.AdaptiveMaxPool2d():
                return graph.add("GlobalMaxPool", x)
            case LocalResponseNorm() if module.size % 2:  # ONNX's window of an even size lies otherwise
                alpha = module.alpha * module.size  # which ONNX divides by the size
                return graph.add("LRN", x, size=module.size, alpha=alpha, beta=module.beta, bias=module.k)
            case Gate():
                gate = self.linear(module.fc1, graph.add("Flatten", graph.add("GlobalAveragePool", x), axis=1))
                gate = graph.add("Sigmoid", self.linear(module.fc2, graph.add("Relu", gate)))
                return graph.add("Mul", x, graph.add("Unsqueeze", gate, graph.constant([2, 3])))
            case ZeroMaps():
                return graph.add("Pad", x, graph.constant([0, module.before, 0, 0, 0, module.behind, 0, 0]))
            case _:
                raise RefusedError(f"a layer of this network, {type(module).__name__}, cannot be exported to ONNX")

    def conv(self, conv: nn.Conv2d, x: Name) -> Name:
        weights = [self.graph.constant(_array(conv.weight))]
        weights += [] if conv.bias is None else [self.graph.constant(_array(conv.bias))]
        assert isinstance(conv.padding, tuple)
        pads = [*conv.padding, *conv.padding]
        stride, dilation = conv.stride, conv.dilation
        return self.graph.add("Conv", x, *weights, pads=pads, strides=stride, dilations=dilation, group=conv.groups)

    def linear(self, linear: nn.Linear, x: Name) -> Name:
        weights = [self.graph.constant(_array(linear.weight))]
        weights += [] if linear.bias is None else [self.graph.constant(_array(linear.bias))]
        return self.graph.add("Gemm", x, *weights, transB=1)

    def pool(self, pool: Pool, x: Name) -> Name:
        """Rounding up is made padding at the far edges: runtimes differ in which last window they leave out."""
        graph, average = self.graph, isinstance(pool, nn.AvgPool2d)
        sides = list(zip(self.sizes[pool], _pair(pool.kernel_size), _pair(pool.stride), _pair(pool.padding)))
        before = [pad for *_, pad in sides]
        over = [_over(*side) if pool.ceil_mode else 0 for side in sides]
        if isinstance(pool, nn.AvgPool2d) and pool.count_include_pad and any(before):
            # why: what is over never counts, while these zeros do
            x = graph.add("Pad", x, graph.constant([0, 0, *before, 0, 0, *before]))
            pads = [0, 0, *over]
        else:
            pads = [*before, *(pad + more for pad, more in zip(before, over))]
        size, stride = _pair(pool.kernel_size), _pair(pool.stride)
        return graph.add("AveragePool" if average else "MaxPool", x, kernel_shape=size, strides=stride, pads=pads)


def _over(length: int, size: int, stride: int, pad: int) -> int:
    """By how much the last window reaches beyond the padding where their number is rounded up, as torch does it."""
    windows = -(-(length + 2 * pad - size) // stride) + 1
    if (windows - 1) * stride >= length + pad:  # it would begin behind the image
        windows -= 1
    return max(0, (windows - 1) * stride + size - length - 2 * pad)


def _array(tensor: Tensor) -> NDArray[np.float32]:
    return tensor.detach().float().contiguous().numpy()


def _pair(size: int | tuple[int, ...]) -> list[int]:
    return [size, size] if isinstance(size, int) else list(size)
