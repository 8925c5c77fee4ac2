"""A model as a `torch.export` program, with what `data.views.views` does with an image in it."""

import io
import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn

from topfive.engine.inference.exported import IMAGES, PILLOW
from topfive.engine.models.modules import Classifier
from topfive.errors import RefusedError
from topfive.recipes.protocols import Protocol

FILE = "topfive"  # in the program, with its metadata as JSON
Floats = NDArray[np.float32]
BITS = 22  # of Pillow's weights
EXAMPLE = 3, 40, 56  # images, height, width that are traced: none of them may be 1


class Centre(nn.Module):
    """The one view of a protocol: `(N, H, W, 3)` uint8 of any size in, `(N, 3, size, size)` whole floats out.

    Resized as Pillow does it: by a matrix for the width and one for the height, rounded to 8 bits after each.
    """

    def __init__(self, protocol: Protocol, size: int) -> None:
        super().__init__()
        self.protocol, self.size = protocol, size

    def forward(self, images: Tensor) -> Tensor:
        height, width = (torch.full((), images.shape[axis], dtype=torch.int64) for axis in (1, 2))
        side = torch.minimum(height, width)
        across, down = (self.scaled(length, side) for length in (width, height))
        by_width = self.weights(torch.arange(images.shape[2]), width, side, across).T
        by_height = self.weights(torch.arange(images.shape[1]), height, side, down)
        x = images.permute(0, 3, 1, 2).double()
        if not self.protocol.antialias:
            return (by_height @ x @ by_width).round().float()
        both = _rounded(by_height @ _rounded(x @ by_width)), _rounded(_rounded(by_height @ x) @ by_width)
        tall = height - down > 2 * (width - across) if PILLOW >= 13 else height > 100 * width
        return torch.where(tall & (height > down), both[1], both[0]).float()  # as add_pixels of onnx_pixels.py

    def scaled(self, length: Tensor, side: Tensor) -> Tensor:
        """How many pixels the image has along an axis when it is resized, of which the centre is taken."""
        if self.protocol.squares == "cut":
            return torch.full_like(side, self.size)
        (shorter,) = self.protocol.sides(self.size)
        return length * shorter // side

    def weights(self, pixels: Tensor, length: Tensor, side: Tensor, scaled: Tensor) -> Tensor:
        """`(size, length)`: how much each of the `pixels` along an axis counts, as Pillow has it."""
        cut = self.protocol.squares == "cut"
        first, extent = ((length - side) // 2, side) if cut else (torch.zeros_like(side), length)
        over = scaled - self.size
        start = over // 2 + (over % 2) * (over // 2 % 2)  # half of it, halves to even
        scale = extent.double() / scaled
        centre = first + (start + torch.arange(self.size, dtype=torch.float64)[:, None] + 0.5) * scale
        reach = scale.clamp(min=1) if self.protocol.antialias else torch.ones_like(scale)
        x = ((pixels + 0.5 - centre) / reach).abs()
        if self.protocol.interpolation == "bicubic":
            far = x.clamp(max=2)
            found = torch.where(x < 1, (1.5 * x - 2.5) * x * x + 1, ((2.5 - 0.5 * far) * far - 4) * far + 2)
        else:
            found = (1 - x).clamp(min=0)
        found = found / found.sum(1, keepdim=True)
        return (found * 2**BITS).round() / 2**BITS if self.protocol.antialias else found


def _rounded(x: Tensor) -> Tensor:
    return (x + 0.5).floor().clamp(0, 255)


class Whole(nn.Module):
    """From decoded images to probabilities."""

    def __init__(self, centre: Centre, classifier: Classifier) -> None:
        super().__init__()
        self.centre, self.classifier = centre, classifier

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(self.centre(images)).softmax(1)  # type: ignore[no-any-return]


def program(
    classifier: Classifier, protocol: Protocol, size: int, batch: int | None, about: Mapping[str, str]
) -> bytes:
    """The file of a program for `(N, H, W, 3)` uint8. Raises: RefusedError for what torch cannot export."""
    whole = Whole(Centre(protocol, size), classifier).eval()
    count, height, width = EXAMPLE
    images = torch.zeros(batch or count, height, width, 3, dtype=torch.uint8)
    free = {0: None if batch else torch.export.Dim("N"), 1: torch.export.Dim("H"), 2: torch.export.Dim("W")}
    try:
        with torch.no_grad():
            exported = torch.export.export(whole, (images,), dynamic_shapes={IMAGES: free})
    except Exception as error:  # why: what it cannot follow, it says by exceptions of many kinds
        raise RefusedError(f"torch.export cannot follow this network: {str(error).splitlines()[0][:150]}") from None
    file = io.BytesIO()
    torch.export.save(exported, file, extra_files={FILE: json.dumps(dict(about))})
    return file.getvalue()


def opened_program(file: bytes) -> tuple[dict[str, str], Callable[[NDArray[np.uint8]], tuple[Floats, Floats, Floats]]]:
    """The metadata of a program, and what gives its pixels, logits and probabilities for images."""
    extra = {FILE: ""}
    module = torch.export.load(io.BytesIO(file), extra_files=extra).module()
    assert isinstance(module, fx.GraphModule)

    def inside(images: NDArray[np.uint8]) -> tuple[Floats, Floats, Floats]:
        run = _Watched(module)
        with torch.inference_mode():
            found = run.run(torch.from_numpy(images))
        probabilities: Tensor = found[0] if isinstance(found, (tuple, list)) else found
        return run.pixels.numpy(), run.logits.numpy(), probabilities.numpy()

    return json.loads(extra[FILE]), inside


class _Watched(fx.Interpreter):
    """The program run operation by operation, with a look at what `Centre` makes and at what the softmax gets."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.pixels = self.logits = torch.empty(0)

    def run_node(self, n: fx.Node) -> Any:
        found = super().run_node(n)
        if n.target is torch.ops.aten.softmax.int:
            self.logits = self.env[n.args[0]].clone()  # type: ignore[index]
        elif any(place == "centre" for place, _ in n.meta.get("nn_module_stack", {}).values()):
            self.pixels = found  # the last one stays
        return found
