"""What happens where a solver's word about the outputs of an interval is used (`offchain.worker.claims`)."""

from __future__ import annotations

from dataclasses import dataclass

from offchain.worker.events import WorkerEvent


@dataclass(frozen=True, slots=True)
class OutputWrong(WorkerEvent):
    """`step` is the first that does not output what its solver says, as many steps at once have it. That step decides
    now, by the state that is claimed at the interval's end; or the steps up to it do, made one by one."""

    name = "output wrong"
    task: int
    checkpoint: int
    step: int


@dataclass(frozen=True, slots=True)
class NotAhead(WorkerEvent):
    """Making many steps of an interval at once failed, by an error of this program. They are made one by one, which
    takes longer, and gives the same verdict."""

    name = "not ahead"
    level = "warning"
    task: int
    checkpoint: int
    why: str
