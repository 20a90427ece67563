"""Whether torch's float32 products are float32: it may have been told to round operands to fewer bits first."""

from __future__ import annotations

import os
from typing import Any, Final

import torch

_TOLD: Final = ("TORCH_ALLOW_TF32_CUBLAS_OVERRIDE", "NVIDIA_TF32_OVERRIDE", "CUBLAS_EMULATE_SINGLE_PRECISION")


def single_is_exact() -> bool:
    """Whether no setting lets a float32 product use TF32 or bfloat16, on any device."""
    backends: Any = torch.backends
    said = (backends.fp32_precision, backends.mkldnn.matmul.fp32_precision, backends.cuda.matmul.fp32_precision)
    return all(kind in ("ieee", "none") for kind in said) and not any(os.environ.get(name) == "1" for name in _TOLD)
