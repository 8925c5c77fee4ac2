"""What the processor and this torch can do, found out by trying: the one place that decides it, and that tests replace.

The names of instructions alone mislead: torch reads them from the processor, while oneDNN and ATen may be held to older
ones (ONEDNN_MAX_CPU_ISA, ATEN_CPU_CAPABILITY), and private operators come and go between releases.
"""

from collections.abc import Mapping
from functools import cache

import torch

BFLOAT16_INSTRUCTIONS = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")  # of torch.cpu; some are newer


@cache
def bfloat16() -> bool:
    """Whether the processor has instructions for bfloat16; emulated, its products are slower than float32's."""
    instructions = any(getattr(torch.cpu, name, lambda: False)() for name in BFLOAT16_INSTRUCTIONS)
    return instructions and _allowed() and fused_convolution(torch.bfloat16)


@cache
def matrix_units() -> bool:
    """Whether the processor multiplies bfloat16 matrices by units of their own (AMX)."""
    # why by its name: it is not in the oldest torch that will do
    known: Mapping[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(known.get("amx_bf16", False)) and _allowed()


@cache
def fused_convolution(dtype: torch.dtype) -> bool:
    """Whether the private operators that convolve, add and rectify in one pass run in `dtype` here."""
    x, weight = torch.zeros(1, 16, 4, 4, dtype=dtype), torch.zeros(16, 16, 1, 1, dtype=dtype)
    geometry = [0, 0], [1, 1], [1, 1], 1
    try:
        operators = torch.ops.mkldnn
        with torch.inference_mode():
            packed = operators._reorder_convolution_weight(weight, *geometry, [1, 16, 4, 4])
            y = operators._convolution_pointwise(x, packed, None, *geometry, "relu", [], "")
            binary = operators._convolution_pointwise.binary
            binary(x, y, packed, None, *geometry, "add", 1.0, "relu", [], "")
    except (RuntimeError, AttributeError, NotImplementedError):  # not in this torch, or not on this processor
        return False
    return True


def _allowed() -> bool:
    """Whether ATen uses the instructions beyond AVX2."""
    return torch.backends.cpu.get_cpu_capability() not in ("DEFAULT", "NO AVX", "AVX2")
