"""A model that was exported: what its file says of itself, and how it is run by the library that it is for."""

import importlib.util
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, NamedTuple, Self

import msgspec
import numpy as np
import PIL
from numpy.typing import NDArray

from topfive.engine.inference.models import Model
from topfive.errors import UsageError
from topfive.recipes.protocols import Protocol

Format = Literal["onnx", "openvino", "torch"]
Arithmetic = Literal["float32", "int8"]
SUFFIXES: dict[Format, tuple[str, ...]] = {"onnx": (".onnx",), "openvino": (".xml", ".bin"), "torch": (".pt2",)}
NEEDS: dict[Format, tuple[tuple[str, ...], str]] = {
    "onnx": (("onnx", "onnxruntime"), "export"),
    "openvino": (("onnx", "openvino"), "export,openvino"),
    "torch": ((), ""),
}
IMAGES, PIXELS, LOGITS, PROBABILITIES = "images", "pixels", "logits", "probabilities"  # tensors of an exported graph
PILLOW = int(PIL.__version__.split(".")[0])  # whose pixels are given back
METADATA = "topfive"  # the section of OpenVINO's metadata, the file in a torch program

Images = NDArray[np.uint8]  # (N, H, W, 3)
Floats = NDArray[np.float32]
Files = Mapping[str, bytes]  # by suffix: those of SUFFIXES


class Contract(msgspec.Struct, frozen=True):
    """What an exported file says of itself: all that a user of its answers has to know."""

    network: str
    classes: tuple[str, ...]  # for people, in the order of the outputs
    ids: tuple[str, ...]  # the names of their folders or codes, in the same order
    size: int
    protocol: Protocol
    view: str  # the protocol in words
    upright: bool  # whether images are to be turned by their EXIF orientation when they are decoded
    fingerprint: str  # of the images that it was trained on
    sha256: str  # of the weights' file
    version: str  # of topfive
    arithmetic: Arithmetic = "float32"

    @classmethod
    def of(cls, model: Model, version: str, arithmetic: Arithmetic = "float32") -> Self:
        about = model.about
        view = about.protocol.describe(about.size)
        return cls(about.network.name, about.names, about.classes, about.size, about.protocol, view, about.upright,
                   about.fingerprint, model.sha256, version, arithmetic)  # fmt: skip

    def strings(self) -> dict[str, str]:
        """Each field as a string: JSON, but for those that are strings already."""
        fields: dict[str, object] = msgspec.to_builtins(self)
        return {name: x if isinstance(x, str) else msgspec.json.encode(x).decode() for name, x in fields.items()}

    @classmethod
    def read(cls, strings: Mapping[str, str]) -> Self:
        """Of `strings()`. Raises: msgspec.ValidationError, KeyError."""
        fields = {
            field.name: strings[field.name] if field.type is str else msgspec.json.decode(strings[field.name])
            for field in msgspec.structs.fields(cls)
            if field.name != "arithmetic"
        }
        return msgspec.convert({**fields, "arithmetic": strings["arithmetic"]}, cls)


class Seen(NamedTuple):
    """What is inside an exported network for some images: `(N, 3, S, S)` in 0..255, and two `(N, classes)`."""

    pixels: Floats
    logits: Floats
    probabilities: Floats


@dataclass(frozen=True)
class Exported:
    """An exported file as its user runs it, and the same graph with a look inside."""

    contract: Contract
    answer: Callable[[Images], Floats]
    inside: Callable[[Images], Seen]


def needed(format: Format) -> None:
    """Raises: UsageError naming the extra where a library of `format` is not installed."""
    modules, extra = NEEDS[format]
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(f"--format {format} needs {' and '.join(missing)}: pip install 'topfive[{extra}]'")


def opened(files: Files, format: Format, threads: int) -> Exported:
    """The exported model in `files`, run by `threads` of the CPU."""
    match format:
        case "onnx":
            return _onnx(files[".onnx"], threads)
        case "openvino":
            return _openvino(files, threads)
        case "torch":
            from topfive.engine.inference.torch_program import opened_program

            strings, inside = opened_program(files[".pt2"])
            return Exported(Contract.read(strings), lambda images: inside(images)[2], lambda x: Seen(*inside(x)))


def _onnx(file: bytes, threads: int) -> Exported:
    import onnxruntime

    from topfive.engine.inference.onnx_graph import with_inner_outputs

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    providers = ["CPUExecutionProvider"]
    plain = onnxruntime.InferenceSession(file, options, providers=providers)
    wide = onnxruntime.InferenceSession(with_inner_outputs(file), options, providers=providers)
    contract = Contract.read(plain.get_modelmeta().custom_metadata_map)
    return Exported(
        contract,
        lambda images: plain.run([PROBABILITIES], {IMAGES: images})[0],
        lambda images: Seen(*wide.run([PIXELS, LOGITS, PROBABILITIES], {IMAGES: images})),
    )


def _openvino(files: Files, threads: int) -> Exported:
    openvino = openvino_module()
    # why: left to itself it computes in bfloat16 where the processor can
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads}
    with TemporaryDirectory() as folder:
        for suffix, data in files.items():
            (Path(folder) / f"model{suffix}").write_bytes(data)
        core = openvino.Core()
        core.set_property({"ENABLE_MMAP": False})  # why: the folder goes
        model = core.read_model(str(Path(folder) / "model.xml"))
        plain = core.compile_model(model, "CPU", settings)
        model.add_outputs([PIXELS, LOGITS])
        wide = core.compile_model(model, "CPU", settings)
    about = {name: model.get_rt_info([METADATA, name]).value for name in Contract.__struct_fields__}

    def inside(images: Images) -> Seen:
        found = wide(images)
        return Seen(*(found[name].copy() for name in (PIXELS, LOGITS, PROBABILITIES)))

    return Exported(Contract.read(about), lambda images: plain(images)[PROBABILITIES].copy(), inside)


def openvino_module() -> Any:
    """OpenVINO, which otherwise reports to its makers over the network as it is imported."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    return openvino
