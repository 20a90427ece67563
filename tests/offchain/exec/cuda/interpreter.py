"""Whether kernels run on a GPU here, or in Triton's interpreter."""

from __future__ import annotations

import torch

GPU = torch.cuda.is_available()
INTERPRETED = {} if GPU else {"TRITON_INTERPRET": "1"}
