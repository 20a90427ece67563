"""The optimizer and the scheduler of a job, as its loss may see them: they move on from step to step, and not here."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from offchain.lines import foreign
from offchain.lower.host.world import Held, Sight

STEPPED: Final = "the job's "  # what a sight of them begins with
_MOVING: Final[dict[type, frozenset[str]]] = {
    Optimizer: frozenset({"param_groups", "state", "state_dict"}),
    LRScheduler: frozenset({"last_epoch", "_last_lr", "_step_count", "get_last_lr", "get_lr", "state_dict"}),
}


@contextmanager
def reads_of_stepped(all_held: Iterable[Held]) -> Iterator[list[Sight]]:
    """While open, the list grows by every read of what an optimizer, or a scheduler, changes in its own step."""
    found: list[Sight] = []
    with ExitStack() as usual:
        for held in all_held:
            for base, names in _MOVING.items():
                if isinstance(held.thing, base):
                    usual.callback(setattr, held.thing, "__class__", type(held.thing))
                    held.thing.__class__ = _watched(type(held.thing), names, found)
        yield found


def _watched(kind: type, names: frozenset[str], found: list[Sight]) -> type:
    usual: Any = kind.__getattribute__

    def read(self: Any, name: str) -> Any:
        frame = sys._getframe(1)
        if name in names and foreign(frame.f_code.co_filename):
            what = "optimizer" if issubclass(kind, Optimizer) else "scheduler"
            found.append(Sight(f"{STEPPED}{what} ({name})", f"{frame.f_code.co_filename}:{frame.f_lineno}"))
        return usual(self, name)

    return type(kind.__name__, (kind,), {"__getattribute__": read, "__slots__": (), "__module__": kind.__module__})
