"""A market for neural-network training whose results anybody can dispute down to one operation."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from offchain.evaluation import Evaluation as Evaluation
    from offchain.generation import Generation as Generation
    from offchain.inference import Inference as Inference
    from offchain.job import Job as Job
    from offchain.lion import Lion as Lion
    from offchain.program import Program as Program
    from offchain.training import compile as compile

__version__ = "0.1.0"

_LAZY: Final = {  # name -> module; torch takes seconds to import
    "Evaluation": "offchain.evaluation",
    "Generation": "offchain.generation",
    "Inference": "offchain.inference",
    "Job": "offchain.job",
    "Lion": "offchain.lion",
    "Program": "offchain.program",
    "compile": "offchain.training",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)
