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

SLOW: Final = frozenset({"ctc", "ctc_loop", "ddpm", "dpo", "masked_lstm", "rwkv"})  # build for more than 4 seconds

NOT_A_NUMBER: Final = frozenset({"triplet_remedy"})  # here as in plain torch, from the second step on

REFUSED: Final = {  # name -> the refusal's beginning, the line that it names, and its remedy
    "autocast": (r"torch\.nn\.functional\.linear in module 0", "habits.py", "torch.autocast: leave it out"),
    "lbfgs": (r"job at \S+: optimizer LBFGS", "common.py", "use one of: SGD, "),
    "mixup_numpy": (r"NumPy's random numbers", "habits.py", "draw with torch.rand"),
    "moe_mixtral": (r"aten\.nonzero\.default in module MixtralMoE", "layers.py", "compute all rows, and multiply by"),
    "nan_check": (r"torch\.Tensor\.__bool__", "habits.py", "a check cannot stop a step: leave it out"),
    "packed": (r"\S+_pack_padded_sequence in module M", "sequences.py", "call the layer on the padded batch"),
    "python_counter": (r"attribute 'n' of", "habits.py", "keep it in a buffer of the model"),
    "python_random": (r"Python's random numbers", "habits.py", "draw with torch.rand"),
}
