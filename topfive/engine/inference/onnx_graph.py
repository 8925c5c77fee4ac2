"""An ONNX graph, put together operation by operation, and the file that it becomes: standard operators only."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from topfive.engine.inference.exported import IMAGES, LOGITS, PIXELS, PROBABILITIES

OPSET, IR_VERSION = 18, 9  # which onnxruntime reads since 1.14, OpenVINO since 2023

Name = str  # of what an operation gives


class Graph:
    """Operations in the order of their computation; what `add` gives is the name of an output."""

    def __init__(self, part: str = "") -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.part = part  # of the graph that is being put together, which begins the names

    def add(self, op: str, *inputs: Name, output: Name = "", **attributes: Any) -> Name:
        """Append an operation; `output` names what it gives."""
        name = f"{self.part}/{op}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [output or name], name, **attributes))
        return output or name

    def constant(self, value: NDArray[Any] | Sequence[float] | float) -> Name:
        """A tensor: floats of 32 bits, whole numbers of 64."""
        array = np.asarray(value)
        array = np.ascontiguousarray(array, np.float32 if array.dtype.kind == "f" else np.int64).reshape(array.shape)
        name = f"{self.part}/constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def cast(self, x: Name) -> Name:
        """As floats of 32 bits."""
        return self.add("Cast", x, to=TensorProto.FLOAT)

    def file(self, classes: int, batch: int | None, about: Mapping[str, str]) -> bytes:
        """The graph from IMAGES, `N x H x W x 3` of bytes, to PROBABILITIES, `N x classes`; `about` is its metadata."""
        rows = batch or "N"
        images = helper.make_tensor_value_info(IMAGES, TensorProto.UINT8, [rows, "H", "W", 3])
        answers = helper.make_tensor_value_info(PROBABILITIES, TensorProto.FLOAT, [rows, classes])
        graph = helper.make_graph(self.nodes, "topfive", [images], [answers], self.constants)
        opset = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, producer_name="topfive", opset_imports=opset, ir_version=IR_VERSION)
        helper.set_model_props(model, dict(about))
        return model.SerializeToString()  # type: ignore[no-any-return]


def with_metadata(file: bytes, about: Mapping[str, str]) -> bytes:
    """The same graph with other metadata."""
    model = onnx.load_from_string(file)
    del model.metadata_props[:]
    helper.set_model_props(model, dict(about))
    return model.SerializeToString()  # type: ignore[no-any-return]


def with_inner_outputs(file: bytes) -> bytes:
    """The same graph that also gives PIXELS and LOGITS, for a look at what is inside."""
    model = onnx.load_from_string(file)
    for name in (PIXELS, LOGITS):
        model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    return model.SerializeToString()  # type: ignore[no-any-return]
