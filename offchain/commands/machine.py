"""What this machine has: memory, and devices of torch's."""

from __future__ import annotations

import os

import torch

from offchain.errors import BadInput


def machine_memory() -> int:
    """Bytes of this machine's memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def require_cuda(device: str) -> None:
    """Raises BadInput if torch does not have that device."""
    if torch.version.cuda is None and not torch.cuda.is_available():
        raise BadInput(
            f"--device {device}: torch {torch.__version__} is a CPU build; install its CUDA build (see README), or "
            "use --device cpu"
        )
    number = device.partition(":")[2] or "0"
    if not torch.cuda.is_available() or not number.isdigit() or int(number) >= torch.cuda.device_count():
        raise BadInput(f"--device {device}: torch sees {torch.cuda.device_count()} CUDA devices here; use --device cpu")
