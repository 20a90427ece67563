"""The ledger of a worker's capacity: what the tasks need that it holds or bids on, and what still fits beside them.

Its rules, each over all held tasks together, with the headroom that the needs contain:

- memory: what the tasks take, each in the process that computes it and in the one that defends it;
- time: the shares of the machine that keep each task's intervals on time (the most urgent is computed first);
- defence: a dispute about each task at once, one after the other, within the shortest of their clocks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from offchain.market.actions import Reason
from offchain.market.notes import Needs, Notes, TaskNotes
from offchain.market.view import ChainView, Status, TaskView


@dataclass
class Ledger:
    """`memory`: bytes that all tasks together may take. `unknown`: a held task whose needs nobody has measured.
    `stakes`: what is not to be spent: bids will lock it when they are revealed and lead, a standby when it takes over.
    """

    memory: int
    held: list[tuple[TaskView, Needs]] = field(default_factory=list)
    unknown: int | None = None
    stakes: int = 0

    @classmethod
    def of(cls, view: ChainView, notes: Notes, memory: int) -> Ledger:
        """With every task that this account solves, bids on, may have to take over, or challenges."""
        ledger = cls(memory)
        challenged = {dispute.task_id for dispute in view.disputes if dispute.challenger == view.me}
        for task in view.tasks:
            engaged = view.engaged(task)
            staked = task.leader if task.status is Status.BIDDING else task.solver
            if engaged and staked != view.me:
                ledger.stakes += task.terms.stake
            if engaged or task.id in challenged:
                known = notes.get(task.id, TaskNotes()).needs
                if known is None:
                    ledger.unknown = task.id
                else:
                    ledger.hold(task, known)
        return ledger

    def hold(self, task: TaskView, needs: Needs) -> None:
        self.held.append((task, needs))

    def refusal(self, task: TaskView, needs: Needs) -> Reason | None:
        """Why a task does not fit beside those that are held, or None."""
        if self.unknown is not None:
            why = f"what task {self.unknown} needs, which is held, is not measured yet"
            return Reason("unmeasured", why, "it is looked at again when that is known")
        return next(self._refusals([*self.held, (task, needs)]), None)

    def _refusals(self, tasks: list[tuple[TaskView, Needs]]) -> Iterator[Reason]:
        beside = f"with {len(tasks) - 1} tasks that are held or bid on"
        memory = sum(needs.memory for _, needs in tasks)
        if memory > self.memory:
            why = f"{beside} it needs {memory:,} bytes; this worker has {self.memory:,}"
            yield Reason("memory", why, "--memory gives more, and a task that ends frees some")
        share = sum(map(_share, tasks))
        if share > 1:
            why = f"{beside} it needs {share:.0%} of this machine's time, with headroom"
            yield Reason("time", why, "it is looked at again when a task ends")
        disputes = sum(needs.dispute_seconds for _, needs in tasks)
        clock = min(task.terms.clock for task, _ in tasks)
        if disputes > clock:
            why = f"{beside} a dispute about each needs {disputes:,.1f} s, with headroom; the least clock is {clock} s"
            yield Reason("defence", why, "it is looked at again when a task ends")


def _share(held: tuple[TaskView, Needs]) -> float:
    """The share of the machine that computes its intervals in time; 0 once all are committed."""
    task, needs = held
    done = len(task.checkpoints) == task.terms.intervals
    return 0.0 if done else needs.interval_seconds / task.terms.interval_time
