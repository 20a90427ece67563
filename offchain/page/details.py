"""One task, or one dispute, with everything that the chain says of it. Pure; all values are JSON's."""

from __future__ import annotations

from typing import Any, Final

from offchain.market.view import NOBODY, ChainView, CheckpointView, DisputeView, Status, TaskView
from offchain.page import words
from offchain.page.chronicle import BidTold, Chronicle, DisputeTold
from offchain.page.gas import GasBook
from offchain.page.rows import NAMES, WAITING, next_of, outcome
from offchain.page.walk import SENTENCES, Shape, Walk, verdict

POINTS: Final = 200  # checkpoints that are shown, the latest
BIDS: Final = 200
SOLVERS: Final = ("StepsRevealed", "TraceRevealed", "ChildrenRevealed", "ChunksRevealed", "ChunkRevealed",
                  "SumsRevealed")  # fmt: skip
ANYBODY: Final = ("Followed", "Resolved", "Dismissed")

Pairs = list[tuple[str, str]]


def task_detail(task: TaskView, view: ChainView, told: Chronicle, gas: GasBook) -> dict[str, Any]:
    used, wei = gas.total(told.sent_about.get(task.id, ()))
    disputes = [told.disputes[number] for number in told.of_task.get(task.id, ())]
    return {
        "id": task.id,
        "status": NAMES[task.status],
        "facts": [*_facts(task, view.now), ("Gas so far", f"{words.count(used)}, {words.amount(wei)} ether")],
        "bids": _bids(task, told),
        "points": _points(task, view.now, told),
        "keepers": told.keepers.of_task(task),
        "voided": [{"id": k, "root": words.digest(root)} for k, root in told.voided.get(task.id, ())][-POINTS:],
        "span": _span(task, view.now),
        "skipped": max(0, len(task.checkpoints) - POINTS),
        "disputes": [{"id": d.id, "checkpoint": d.checkpoint, "outcome": outcome(d)} for d in reversed(disputes)],
    }


def _facts(task: TaskView, now: int) -> Pairs:
    terms, awarded = task.terms, task.solver != NOBODY
    return [
        ("Status", NAMES[task.status]),
        ("Next", next_of(task, now) or "nothing"),
        ("Steps", f"{terms.steps:,}, a checkpoint every {terms.interval:,}"),
        ("Price", f"{words.amount(task.price)} of at most {words.amount(terms.max_price)}" if awarded
         else f"at most {words.amount(terms.max_price)}"),
        ("Solver's stake", words.amount(terms.stake)),
        ("Bond of a dispute", words.amount(terms.bond)),
        ("Requester", task.requester),
        ("Solver", task.solver if awarded else "nobody yet"),
        ("Standby", task.standby if task.standby != NOBODY else "nobody"),
        ("Promise", f"{words.lasting(task.promised)} for an interval" if task.promised else "none yet"),
        ("Windows", f"challenge {words.lasting(terms.challenge_window)}, interval {words.lasting(terms.interval_time)},"
         f" clock of a dispute {words.lasting(terms.clock)}"),
        ("Keepers", _kept(task)),
        ("Attempt", f"{task.attempt + 1} of {terms.attempts}"),
        ("Graph", words.digest(terms.graph_root)),
        ("Task file", words.stranger(terms.uri)),
    ]  # fmt: skip


def _kept(task: TaskView) -> str:
    terms, keeping, committed = task.terms, task.keeping, len(task.checkpoints)
    if not terms.keepers:
        return "none: the requester fetches the checkpoints itself"
    asked = f"{terms.keepers} seats share {terms.keeper_bps / 100:g} % of the pay"
    if keeping is None:
        return asked
    if keeping.granted:
        return f"{asked}; nobody could be drawn"
    return f"{asked}; {min(keeping.kept, committed)} of {committed} checkpoints can be had"


def _bids(task: TaskView, told: Chronicle) -> list[dict[str, Any]]:
    """Bids of all attempts, the best of each first; those that are not shown last."""
    rows = []
    for attempt, bids in sorted(told.bids.get(task.id, {}).items(), reverse=True):
        ordered = sorted(bids.values(), key=lambda bid: (bid.score is None, bid.score or 0))
        rows += [_bid(task, attempt, bid) for bid in ordered]
    return rows[:BIDS]


def _bid(task: TaskView, attempt: int, bid: BidTold) -> dict[str, Any]:
    shown, current = bid.price is not None, attempt == task.attempt
    parts = {task.solver: "solver", task.standby: "standby", task.leader: "leads"}
    note = "bond lost" if bid.forfeited else parts.get(bid.bidder, "") if current else ""
    return {
        "id": f"{attempt}-{bid.bidder}",
        "attempt": attempt + 1,
        "bidder": words.account(bid.bidder),
        "price": words.amount(bid.price or 0) if shown else "sealed",
        "promised": words.lasting(bid.promised) if shown else "",
        "burden": words.amount(bid.burden) if shown else "",
        "score": words.amount(bid.score or 0) if shown else "",
        "note": note,
    }


def _points(task: TaskView, now: int, told: Chronicle) -> list[dict[str, Any]]:
    """The latest checkpoints as bars: from `start`, committed at `at`, open until `until`; timestamps."""
    first = max(0, len(task.checkpoints) - POINTS)
    starts = [task.awarded_at, *(point.committed_at for point in task.checkpoints)]
    rows = [
        _point(task, k, point, min(starts[k], point.committed_at), now, told)
        for k, point in enumerate(task.checkpoints)
        if k >= first
    ]
    due = len(task.checkpoints)
    if task.status is Status.TRAINING and due < task.terms.intervals:
        start, until = max(starts[-1], task.awarded_at), task.deadline(due)
        row = {"id": due, "state": "due", "start": start, "at": until, "until": until, "root": "", "uri": ""}
        said = f"due until {words.until(until, now)}"
        rows.append(row | {"said": said, "steps": _steps(task, due), "audits": [], "solver": task.attempt + 1})
    return rows


def _steps(task: TaskView, checkpoint: int) -> str:
    lo, hi = task.terms.steps_of(checkpoint)
    return f"{lo + 1:,} to {hi:,}"


def _point(task: TaskView, k: int, point: CheckpointView, start: int, now: int, told: Chronicle) -> dict[str, Any]:
    state, window = _state(task, k, point, now), words.until(point.challengeable_until, now)
    said = {"window": f"may be challenged until {window}", "disputed": f"disputed, {point.holds} running"}
    audits = told.audits.get((task.id, k), {})
    return {
        "id": k,
        "state": state,
        "said": said.get(state, state),
        "steps": _steps(task, k),
        "start": start,
        "at": point.committed_at,
        "until": point.challengeable_until,
        "committed": words.moment(point.committed_at, now),
        "root": words.digest(point.root),
        "uri": words.stranger(point.uri),
        "solver": point.attempt + 1,
        "audits": [f"{words.account(who)}: {far}" for who, far in audits.items()][:20],
    }


def _state(task: TaskView, k: int, point: CheckpointView, now: int) -> str:
    if k < task.paid:
        return "paid"
    if point.holds:
        return "disputed"
    return "window" if now <= point.challengeable_until else "final"


def _span(task: TaskView, now: int) -> list[int]:
    """From when to when a timeline has to reach, and now."""
    points = task.checkpoints[-POINTS:]
    ends = [point.challengeable_until for point in points] + [point.committed_at for point in points]
    if task.status is Status.TRAINING:
        ends += [now, task.deadline(len(task.checkpoints)) if len(task.checkpoints) < task.terms.intervals else now]
    starts = [point.committed_at for point in points] + ([task.awarded_at] if len(task.checkpoints) <= POINTS else [])
    return [min(starts, default=now), max(ends, default=now), now]


# --- disputes


def dispute_detail(
    dispute: DisputeTold, task: TaskView, now: DisputeView | None, shape: Shape, told: Chronicle, gas: GasBook, at: int
) -> dict[str, Any]:
    """`now`: the dispute's state while it runs; `at`: the time of the view."""
    used, wei = gas.total(dict.fromkeys(dispute.sent))
    waits = f"{WAITING[now.phase]}, {words.until(now.deadline, at)}" if now and now.phase in WAITING else ""
    facts: Pairs = [
        ("Outcome", outcome(dispute)),
        *([("On the move", "the solver" if now.mover == now.solver else "the challenger"), ("Next", waits)]
          if now else []),
        ("Challenger", dispute.challenger),
        ("Solver", dispute.solver),
        ("Bond", words.amount(dispute.bond)),
        ("Moves", str(len(dict.fromkeys(dispute.sent)))),
        ("Gas", f"{words.count(used)}, {words.amount(wei)} ether"),
    ]  # fmt: skip
    return {
        "id": dispute.id,
        "task": task.id,
        "checkpoint": dispute.checkpoint,
        "outcome": outcome(dispute),
        "running": dispute.running,
        "facts": facts,
        "levels": [level.row() for level in Walk(dispute, task.terms, shape).levels],
        "verdict": verdict(dispute),
        "moves": _moves(dispute, gas),
    }


def _moves(dispute: DisputeTold, gas: GasBook) -> list[dict[str, Any]]:
    """What each event says, with the gas of its transaction at the first of its events."""
    rows = []
    for n, (name, args) in enumerate(dispute.moves):
        first = n == 0 or dispute.sent[n] != dispute.sent[n - 1]
        spent = gas.of(dispute.sent[n]) if first else None
        rows.append(
            {
                "id": n,
                "who": _who(name),
                "said": SENTENCES[name](args) if name in SENTENCES else name,
                "gas": words.count(spent.gas) if spent else "",
            }
        )
    return rows


def _who(event: str) -> str:
    if event in SOLVERS:
        return "solver"
    return "contract" if event in ANYBODY or event.endswith("Judged") else "challenger"
