"""A network as OpenVINO's graph, built operation by operation from the modules.

OpenVINO's own conversion traces the module, which is deprecated in torch and takes seconds; it gives the same graph.
"""

import importlib.util
import sys
from collections.abc import Callable, Iterable
from functools import reduce
from typing import Any

import torch
from torch import Tensor, nn

from topfive.engine.models.layers import Flattened, Gate, LocalResponseNorm, Parallel, Sum, ZeroMaps
from topfive.engine.models.modules import Net

Node = Any  # an output of an operation: OpenVINO's operations carry no types
HINTS = {"bfloat16": "bf16", "float32": "f32"}


def installed() -> bool:
    return importlib.util.find_spec("openvino") is not None


def compiled(net: Net, precision: str, threads: int) -> Callable[[Tensor], Tensor]:
    """`(N, 3, H, W)` float in, channels last, `(N, classes)` float out; a network whose normalisation is folded.

    Raises: ValueError for a layer that has no form here.
    """
    # why: importing openvino otherwise reports to its makers over the network, and writes into the home folder
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino
    from openvino import opset14 as ops

    pixels = ops.parameter([-1, -1, -1, 3])  # rows, columns, channels: as the memory is
    maps = _in_a_row((getattr(net, row) for row in net.rows), ops.transpose(pixels, [0, 3, 1, 2]), ops)
    graph = openvino.Model([ops.reshape(maps, [0, -1], special_zero=True)], [pixels])
    # why: left to itself it takes bfloat16 wherever the processor has it
    settings = {"INFERENCE_PRECISION_HINT": HINTS[precision], "INFERENCE_NUM_THREADS": threads}
    run = openvino.Core().compile_model(graph, "CPU", settings)

    def logits(x: Tensor) -> Tensor:
        return torch.from_numpy(run(x.permute(0, 2, 3, 1).contiguous().numpy())[0])

    return logits


def _in_a_row(modules: Iterable[nn.Module], x: Node, ops: Any) -> Node:
    return reduce(lambda x, module: _node(module, x, ops), modules, x)


def _node(module: nn.Module, x: Node, ops: Any) -> Node:
    match module:
        case nn.Identity() | nn.Dropout():
            return x
        case nn.Sequential():
            return _in_a_row(module, x, ops)
        case Parallel():
            return ops.concat([_node(branch, x, ops) for branch in module.children()], 1)
        case Sum():
            body = _node(module.body, x, ops)
            body = body if module.scale == 1 else ops.multiply(body, _number(module.scale))
            return ops.add(_node(module.shortcut, x, ops), body)
        case nn.Conv2d():
            return _conv(module, x, ops)
        case Flattened():
            x = _linear(module, ops.reshape(x, [0, -1], special_zero=True), ops)
            return ops.unsqueeze(x, [2, 3])
        case nn.BatchNorm2d():
            scale, shift = _scale_and_shift(module)
            return ops.add(ops.multiply(x, _maps(scale)), _maps(shift))
        case nn.ReLU():
            return ops.relu(x)
        case nn.Hardtanh():
            return ops.clamp(x, module.min_val, module.max_val)
        case nn.MaxPool2d():
            size, stride, pad = _pair(module.kernel_size), _pair(module.stride), _pair(module.padding)
            rounding = "ceil_torch" if module.ceil_mode else "floor"
            return ops.max_pool(x, stride, [1, 1], pad, pad, size, rounding).output(0)
        case nn.AvgPool2d():
            size, stride, pad = _pair(module.kernel_size), _pair(module.stride), _pair(module.padding)
            rounding = "ceil_torch" if module.ceil_mode else "floor"
            return ops.avg_pool(x, stride, pad, pad, size, not module.count_include_pad, rounding)
        case nn.AdaptiveAvgPool2d():
            return ops.reduce_mean(x, [2, 3], keep_dims=True)
        case nn.AdaptiveMaxPool2d():
            return ops.reduce_max(x, [2, 3], keep_dims=True)
        case LocalResponseNorm() if module.size % 2:  # OpenVINO divides alpha by the size, and its window is symmetric
            return ops.lrn(x, [1], module.alpha * module.size, module.beta, module.k, module.size)
        case Gate():
            gate = ops.relu(_linear(module.fc1, ops.reduce_mean(x, [2, 3]), ops))
            return ops.multiply(x, ops.unsqueeze(ops.sigmoid(_linear(module.fc2, gate, ops)), [2, 3]))
        case ZeroMaps():
            return ops.pad(x, [0, module.before, 0, 0], [0, module.behind, 0, 0], "constant", _number(0.0))
        case _:
            raise ValueError(f"{type(module).__name__} has no form in OpenVINO here")


def _conv(conv: nn.Conv2d, x: Node, ops: Any) -> Node:
    pad = _pair(conv.padding)
    geometry = list(conv.stride), pad, pad, list(conv.dilation)
    if conv.groups == 1:
        x = ops.convolution(x, _array(conv.weight), *geometry)
    else:
        x = ops.group_convolution(x, _array(conv.weight.reshape(conv.groups, -1, *conv.weight.shape[1:])), *geometry)
    return x if conv.bias is None else ops.add(x, _maps(conv.bias))


def _linear(linear: nn.Linear, x: Node, ops: Any) -> Node:
    x = ops.matmul(x, _array(linear.weight), False, True)
    return x if linear.bias is None else ops.add(x, _array(linear.bias[None]))


def _scale_and_shift(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """What batch normalisation multiplies each channel by in evaluation, and what it adds."""
    assert norm.running_mean is not None and norm.running_var is not None
    scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    return scale.float(), (norm.bias.double() - norm.running_mean.double() * scale).float()


def _maps(channels: Tensor) -> Any:
    return _array(channels[None, :, None, None])


def _number(value: float) -> Any:
    return _array(torch.tensor(value))


def _array(tensor: Tensor) -> Any:
    return tensor.detach().float().contiguous().numpy()


def _pair(size: Any) -> list[int]:
    return [size, size] if isinstance(size, int) else list(size)
