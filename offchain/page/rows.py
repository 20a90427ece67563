"""Rows of the page's tables, from a view of the chain and what events told. Pure; all values are JSON's.

Times in rows are moments, not countdowns: a row changes only when what it says does.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any, Final

from offchain.market.money import BPS, part_down
from offchain.market.stages import waiting
from offchain.market.view import NOBODY, ChainView, Phase, Status, TaskView
from offchain.page import words
from offchain.page.board import Row
from offchain.page.chronicle import Chronicle, DisputeTold, Person

NAMES: Final = {status: status.name.lower() for status in Status}
WAITING: Final = {
    Phase.REVEAL_STEPS: "state roots", Phase.NAME_STEP: "the first wrong step", Phase.REVEAL_TRACE: "the step's trace",
    Phase.NAME_TRACE: "the first wrong node or slot", Phase.REVEAL_CHILDREN: "hashes below the named part",
    Phase.NAME_CHILD: "a part of the tree", Phase.REVEAL_CHUNKS: "hashes of chunks", Phase.REVEAL_CHUNK: "the chunk",
    Phase.NAME_ELEMENT: "the wrong element", Phase.REVEAL_WITNESS: "the extremum's place",
    Phase.REVEAL_SUMS: "partial sums", Phase.NAME_SUM: "the wrong partial sum",
    Phase.REVEAL_EXPONENT: "the exponent's place",
}  # fmt: skip


def task_rows(view: ChainView, told: Chronicle) -> list[Row]:
    """Tasks, the newest first."""
    running = Counter(dispute.task_id for dispute in view.disputes)
    return [task_row(task, view.now, told, running[task.id]) for task in reversed(view.tasks)]


def task_row(task: TaskView, now: int, told: Chronicle, disputes: int) -> Row:
    bids = told.bids.get(task.id, {}).get(task.attempt, {})
    shown = [bid.score for bid in bids.values() if bid.score is not None]
    return {
        "id": task.id,
        "status": NAMES[task.status],
        "next": next_of(task, now),
        "price": words.amount(task.price if task.solver != NOBODY else task.terms.max_price),
        "units": str(task.price if task.solver != NOBODY else task.terms.max_price),
        "bids": len(bids),
        "score": words.amount(min(shown)) if shown else "",
        "solver": words.account(task.solver),
        "requester": words.account(task.requester),
        "checkpoints": len(task.checkpoints),
        "intervals": task.terms.intervals,
        "paid": task.paid,
        "disputes": disputes,
    }


def next_of(task: TaskView, now: int) -> str:
    """What a task waits for, and until when."""
    if task.status is Status.BIDDING:
        if now < task.bidding_ends:
            return f"bids until {words.moment(task.bidding_ends, now)}"
        if now < task.reveal_ends:
            return f"bids are shown until {words.moment(task.reveal_ends, now)}"
        return "can be awarded"
    if task.status is Status.VACANT:
        if task.forsaken(now):
            return "can be reopened"
        return f"the standby may take over until {words.moment(task.handover_ends, now)}"
    return _next_of_training(task, now) if task.status is Status.TRAINING else ""


def _next_of_training(task: TaskView, now: int) -> str:
    done = len(task.checkpoints)
    if done < task.terms.intervals:
        due = task.deadline(done)
        return f"checkpoint {done} {'is due' if now <= due else 'was due'} {words.moment(due, now)}"
    open_until = max((point.challengeable_until for point in task.checkpoints[task.paid :]), default=0)
    if any(point.holds for point in task.checkpoints[task.paid :]):
        return "a dispute decides"
    if now <= open_until:
        return f"challenge window until {words.moment(open_until, now)}"
    if at := waiting(task, now):
        return at.words + (f" until {words.moment(at.until, now)}" if at.until else "")
    return "can be collected"


def dispute_rows(view: ChainView, told: Chronicle) -> list[Row]:
    """Disputes, the newest first."""
    running = {dispute.id: dispute for dispute in view.disputes}
    rows = []
    for dispute in reversed(told.disputes.values()):
        now = running.get(dispute.id)
        waits = f"{WAITING[now.phase]}, until {words.moment(now.deadline, view.now)}" if now else ""
        mover = ("solver" if now.mover == now.solver else "challenger") if now and now.mover != NOBODY else ""
        rows.append(
            {
                "id": dispute.id,
                "task": dispute.task_id,
                "checkpoint": dispute.checkpoint,
                "challenger": words.account(dispute.challenger),
                "solver": words.account(dispute.solver),
                "moves": len(dispute.moves),
                "mover": mover,
                "next": waits,
                "outcome": outcome(dispute),
            }
        )
    return rows


def outcome(dispute: DisputeTold) -> str:
    """How a dispute ended, in a few words."""
    if dispute.running:
        return "running"
    if not dispute.outcome:
        return "dismissed"
    won = "solver" if dispute.outcome == dispute.solver else "challenger"
    return f"{won} won: {dispute.reason}" if dispute.reason else f"{won} won"


def at_stake(view: ChainView, told: Chronicle) -> Mapping[str, int]:
    """Account -> stakes and bonds that tasks and disputes may take from it now."""
    sums: dict[str, int] = defaultdict(int)
    for task in view.tasks:
        holder = {Status.TRAINING: task.solver, Status.BIDDING: task.leader}.get(task.status, NOBODY)
        if holder != NOBODY:
            sums[holder] += task.terms.stake
    for dispute in told.disputes.values():
        if dispute.running:
            sums[dispute.challenger] += dispute.bond
    for person in told.people.values():
        sums[person.address] += person.audit_stake + person.objections * view.fees.audit_bond
    return sums


def people_rows(view: ChainView, told: Chronicle, known: Mapping[str, tuple[int, int, int]]) -> list[Row]:
    """Everybody with a part in anything. `known`: account -> free balance; record: done, failed."""
    stakes, keeping = at_stake(view, told), told.keepers.keeping(view)
    rows = []
    for address, person in told.people.items():
        free, done, failed = known.get(address, (0, 0, 0))
        lost = person.lost + person.forfeits * view.fees.bid_bond
        rows.append(
            {
                "id": address,
                "name": words.account(address),
                "roles": ", ".join(sorted(person.roles)),
                "stake": words.amount(stakes[address]),
                "free": words.amount(free),
                "done": words.amount(done),
                "failed": words.amount(failed),
                "earned": words.amount(earned(person, view)),
                "lost": words.amount(lost),
                "tasks": person.wins,
                "keeping": _keeping(person, keeping[address]),
                "disputes": f"{person.disputes_won} won, {person.disputes_lost} lost",
            }
        )
    return rows


def _keeping(person: Person, now: int) -> str:
    """On how many committees of running attempts somebody sits, and what that brought."""
    if not (now or person.kept or person.fined):
        return ""
    sums = [f"earned {words.amount(person.kept)}", *([f"fined {words.amount(person.fined)}"] if person.fined else [])]
    return ", ".join([f"{now} now", *sums])


def earned(person: Person, view: ChainView) -> int:
    """Pay of intervals, rewards, fees of audits, and wages for standing by: of each interval rounded down, as paid."""
    audits = sum(view.task(task_id).terms.audit_fee * n for task_id, n in person.audited.items() if task_id in view)
    wages = sum(part_down(gross, view.fees.standby_bps, BPS) * n for gross, n in person.stood_by.items())
    return person.earned + person.rewards + audits + wages


def facts(view: ChainView, told: Chronicle, block: int, chain_id: int) -> dict[str, Any]:
    """What stands above the tables."""
    states = Counter(NAMES[task.status] for task in view.tasks)
    return {
        "block": block,
        "chain": chain_id,
        "now": words.moment(view.now, view.now),
        "gas_price": words.gwei(view.gas_price),
        "states": dict(states),
        "tasks": len(view.tasks),
        "disputes": len(view.disputes),
        "paid": words.amount(told.paid),
        "slashed": words.amount(told.slashed),
        "people": len(told.people),
    }
