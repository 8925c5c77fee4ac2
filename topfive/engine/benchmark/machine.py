"""Where the arithmetic is done: the devices at hand, and the precision and memory format that one does well."""

import copy
import platform
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import msgspec
import torch
from torch import Tensor, nn

from topfive import system
from topfive.engine.benchmark.threads import free_threads
from topfive.engine.models import capabilities
from topfive.engine.models.modules import Classifier, Net
from topfive.engine.models.towers import Towers
from topfive.errors import UsageError


class Machine(msgspec.Struct, frozen=True):
    """Where and how the arithmetic is done; chosen once, printed, and part of every measurement."""

    device: str  # "cpu", "cuda" (the current one), "cuda:1" or "mps"
    processor: str
    cores: int
    threads: int
    memory_bytes: int
    precision: str  # of training: "bfloat16" or "float32"
    memory_format: str  # of training: "channels_last" or "contiguous"
    torch_version: str

    def __str__(self) -> str:
        return (
            f"{self.cores} cores {self.processor}, {self.threads} threads, {self.device}, {self.precision}, "
            f"{self.memory_format}, torch {self.torch_version}"
        )

    @property
    def kind(self) -> str:
        """The device without its number."""
        return self.device.partition(":")[0]

    def wait(self) -> None:
        """Until the device has done what it was given."""
        if self.kind == "cuda":
            torch.cuda.synchronize(self.device)
        elif self.kind == "mps":
            torch.mps.synchronize()

    @property
    def dtype(self) -> torch.dtype:
        return torch.bfloat16 if self.precision == "bfloat16" else torch.float32

    def arithmetic(self) -> AbstractContextManager[object]:
        """The context in which training runs: autocast where the precision is below 32 bits."""
        if self.precision == "float32":
            return nullcontext()
        return torch.autocast(self.kind, self.dtype)

    @property
    def layout(self) -> torch.memory_format:
        """The memory format as torch names it."""
        return torch.channels_last if self.memory_format == "channels_last" else torch.contiguous_format

    def place(self, pixels: Tensor) -> Tensor:
        """A batch on the device, in the memory format."""
        return pixels.to(self.device).contiguous(memory_format=self.layout)

    def train_form(self, module: nn.Module) -> nn.Module:
        """`module` on the device, towers on the two that they are on, in the memory format, weights in 32 bits."""
        if isinstance(module, Classifier) and isinstance(module.net, Towers):
            module.mean, module.std = (tensor.to(self.device) for tensor in module.normalisation)
            return _laid_out(module, self.layout)
        return _laid_out(module.to(self.device), self.layout)

    def infer_form(self, module: nn.Module) -> nn.Module:
        """A copy for inference, channels last: the weights cast once to what autocast would cast them to every time."""
        copied = msgspec.structs.replace(self, memory_format="channels_last").train_form(copy.deepcopy(module)).eval()
        for net in copied.modules():
            if isinstance(net, Net):
                for part in net.modules():
                    if isinstance(part, (nn.Conv2d, nn.Linear)):
                        part.to(self.dtype)
        return Inference(copied, self)


class Inference(nn.Module):
    """A network, or a classifier, in the form that inference uses: float logits out."""

    def __init__(self, module: nn.Module, machine: Machine) -> None:
        super().__init__()
        self.module, self.machine = module, machine

    def forward(self, x: Tensor) -> Tensor:
        if isinstance(self.module, Classifier):
            x = self.module.normalised(x)
        net = self.module.net if isinstance(self.module, Classifier) else self.module
        if isinstance(net, (Net, Towers)):
            return net(x.to(self.machine.dtype)).float()  # type: ignore[no-any-return]
        with self.machine.arithmetic():  # a user's own module may need 32 bits in places; autocast knows them
            return net(x).float()  # type: ignore[no-any-return]


def devices() -> list[str]:
    """The devices at hand, as `--device` takes them."""
    cuda = ["cuda", *(f"cuda:{n}" for n in range(torch.cuda.device_count()))] if torch.cuda.is_available() else []
    return ["cpu", *cuda, *(["mps"] if torch.backends.mps.is_available() else [])]


def device_of(asked: str) -> str:
    """The device asked for; "auto" is CUDA's current one where there is one, else the CPU, and never Apple's.

    Raises: UsageError for a device that is not here.
    """
    here = devices()
    if asked == "auto":
        return "cuda" if "cuda" in here else "cpu"
    if asked not in here:
        raise UsageError(f"there is no device {asked!r} here: --device is one of auto, {', '.join(here)}")
    return asked


def this_machine(device: str = "auto") -> Machine:
    """This machine with the device asked for, and the precision and memory format that it does well.

    Raises: UsageError for a device that is not here.
    """
    device = device_of(device)
    if device == "cpu":
        half, processor = capabilities.bfloat16(), _processor()
    elif device == "mps":
        half, processor = False, f"Apple GPU, {_processor()}"
    else:
        with torch.cuda.device(device):
            half, processor = torch.cuda.is_bf16_supported(), torch.cuda.get_device_name()
    return Machine(
        device=device,
        processor=processor,
        cores=system.processors(),
        threads=free_threads(),
        memory_bytes=system.memory_bytes(),
        precision="bfloat16" if half else "float32",
        memory_format="channels_last",
        torch_version=str(torch.__version__),
    )


def resumed_on(device: str, run: str) -> str:
    """The device to continue with a run that was started on `device`: that one, else one of its kind.

    Raises: UsageError where none is here.
    """
    here, kind = devices(), device.partition(":")[0]
    if kind not in here:
        others = ", ".join(here)
        raise UsageError(
            f"{run} was started on {kind}, which is not here: --device continues with it on one of {others}"
        )
    return device if device in here else kind


def overlooked(device: str) -> list[str]:
    """A sentence where "auto" leaves a GPU alone that could be asked for."""
    here = devices()
    if device == "auto" and "mps" in here and "cuda" not in here:
        return ["this machine has an Apple GPU, which is not used by default: --device mps uses it"]
    return []


def _laid_out(module: nn.Module, layout: torch.memory_format) -> nn.Module:
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.ndim == 4:
            tensor.data = tensor.data.contiguous(memory_format=layout)
    return module


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
