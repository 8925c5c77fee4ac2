"""What people see of an export: how the file is used, in plain Python."""

DECODE = """\
from PIL import Image, ImageOps
import json
import numpy as np
{imports}
{load}
image = Image.open("image.jpg")
{turn}images = np.asarray(image.convert("RGB"))[None]  # decoded images of any size: N x H x W x 3, uint8
probabilities = {run}[0]
best = probabilities.argmax()
print(classes[best], probabilities[best])
"""
PARTS = {
    "onnx": (
        "import onnxruntime\n",
        "session = onnxruntime.InferenceSession({path!r})\n"
        'classes = json.loads(session.get_modelmeta().custom_metadata_map["classes"])\n',
        'session.run(["probabilities"], {"images": images})[0]',
    ),
    "openvino": (
        "import openvino\n",
        "core = openvino.Core()\n"
        "model = core.read_model({path!r})\n"
        'classes = json.loads(model.get_rt_info(["topfive", "classes"]).value)\n'
        "# without the hint it computes in bfloat16 where the processor can, and answers otherwise\n"
        'network = core.compile_model(model, "CPU", {{"INFERENCE_PRECISION_HINT": "f32"}})\n',
        'network(images)["probabilities"]',
    ),
    "torch": (
        "import torch\n",
        'about = {{"topfive": ""}}\n'
        "network = torch.export.load({path!r}, extra_files=about).module()\n"
        'classes = json.loads(json.loads(about["topfive"])["classes"])\n',
        "network(torch.from_numpy(images.copy())).detach().numpy()",
    ),
}


def example(format: str, path: str, upright: bool, batch: int | None) -> str:
    """A program that classifies `image.jpg` with the exported file, as plain Python."""
    imports, load, run = PARTS[format]
    turn = "image = ImageOps.exif_transpose(image)  # as in its training\n" if upright else ""
    text = DECODE.format(imports=imports, load=load.format(path=path), turn=turn, run=run)
    text = text if upright else text.replace("Image, ImageOps", "Image")
    return text if batch is None else text.replace("[None]", f"[None].repeat({batch}, 0)")
