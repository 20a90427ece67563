"""What happens to each case today. A case that is in no table trains like plain torch.

Who makes a refused case build deletes its row.
"""

from __future__ import annotations

from typing import Final

TOLERANCE: Final = 1e-4  # distance from plain torch's tensors after the last step, in units of how far those moved

LOOSE: Final = {  # Adam moves what has no gradient but rounding errors at full rate, as a bias of attention's keys
    "ddpm": 1e-3,
    "muon": 0.2,  # torch's own iteration is in bfloat16; see test_muon.py
    "nanogpt": 1e-2,
}

SLOW: Final = frozenset({"ctc_loop", "ddpm", "dpo", "masked_lstm", "rwkv"})  # build for more than 4 seconds

NOT_A_NUMBER: Final = frozenset({"triplet_remedy"})  # here as in plain torch, from the second step on

REFUSED: Final = {  # name -> the refusal's beginning, the line that it names, and its remedy
    "autocast": (r"aten\._to_copy\.default in module 0", "habits.py", "use float32"),
    "ctc": (r"aten\._ctc_loss\.Tensor in loss", "losses.py", "use cross_entropy"),
    "dann_function": (r"Reverse\.apply\(h\) in loss", "gradients.py", "write it with torch's operations"),
    "fake_quant": (r"aten\.fake_quantize_per_tensor_affine_\w+\.default", "vision.py", "elementwise operations"),
    "function_setup": (r"Clip\.apply\(.* in loss", "habits.py", "write it with torch's operations"),
    "gat_scatter": (r"aten\.scatter_reduce\.two in module M", "vision.py", "comparisons with amax"),
    "lbfgs": (r"job at \S+: optimizer LBFGS", "common.py", "use one of: SGD, "),
    "mixup_numpy": (r"NumPy's random numbers", "habits.py", "draw with torch.rand"),
    "moe_dense_topk": (r"aten\.topk\.default in module DenseMoE", "layers.py", "use amax, or comparisons"),
    "moe_mixtral": (r"aten\.topk\.default in module MixtralMoE", "layers.py", "use amax, or comparisons"),
    "orthogonal": (r"aten\._linalg_solve_ex\.default in module 0", "common.py", "use products, sums"),
    "packed": (r"torch\.zeros in module r", "sequences.py", "keep the value a tensor"),
    "pinn_autograd": (r"torch\.Tensor\.requires_grad_ in loss", "gradients.py", "leave it out"),
    "pinn_jvp": (r"aten\.is_same_size\.default in loss", "gradients.py", "elementwise operations"),
    "python_counter": (r"attribute 'n' of", "habits.py", "keep it in a buffer of the model"),
    "python_random": (r"Python's random numbers", "habits.py", "draw with torch.rand"),
    "rope_complex": (r"aten\.view_as_complex\.default in module M", "sequences.py", r"use float32 \(\.float\(\)\)"),
    "stn": (r"aten\.grid_sampler_2d\.default in module M", "vision.py", "use F.interpolate"),
    "triplet_cdist": (r"aten\._cdist_forward\.default in loss", "losses.py", r"use \(a\.unsqueeze"),
    "vqvae_cdist": (r"aten\._cdist_forward\.default in module VQ", "generative.py", r"use \(a\.unsqueeze"),
    "wgan_gp": (r"torch\.Tensor\.requires_grad_ in loss", "gradients.py", "leave it out"),
}
