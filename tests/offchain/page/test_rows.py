"""What the tables say of tasks, from views alone."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from offchain.market.keeping import Keeping
from offchain.market.view import NOBODY, ChainView, CheckpointView, Fees, Status, TaskView
from offchain.page.chronicle import Chronicle
from offchain.page.details import task_detail
from offchain.page.gas import GasBook
from offchain.page.rows import earned, facts, next_of, people_rows, task_rows
from tests.offchain.page.test_chronicle import event
from tests.support.tasks import unposted

COIN = 10**18
SOLVER, RIVAL = "0x" + "5" * 40, "0x" + "7" * 40
NOW = 10_000
HOSTILE = "http://x/\x1b[2J\u202e<script>alert(1)</script>" + "y" * 400


KEPT = Keeping(kept=1, start=0, called_at=0, called_in=0, seats=3, granted=False)


def task(status: Status = Status.TRAINING, points: int = 0, **changes: Any) -> TaskView:
    """Of three intervals, a minute for everything, awarded at NOW − 100."""
    solver = NOBODY if status is Status.BIDDING else SOLVER
    made = tuple(CheckpointView(bytes([k]) * 32, NOW - 90 + k, NOW - 30 + k, 0, HOSTILE) for k in range(points))
    view = TaskView(
        7, unposted(max_price=9 * COIN, uri=HOSTILE), RIVAL, solver, status, NOW + 5, NOW - 100, COIN, 0, made
    )
    return replace(view, **changes)


def seen(*tasks: TaskView) -> ChainView:
    return ChainView(NOBODY, NOW, 0, False, tasks, ())


@pytest.mark.parametrize(
    ("view", "said"),
    [
        (task(Status.BIDDING), "bids until "),
        (task(Status.BIDDING, bidding_ends=NOW - 5), "bids are shown until "),
        (task(Status.BIDDING, bidding_ends=NOW - 60), "can be awarded"),
        (task(), "checkpoint 0 was due "),
        (task(points=1), "checkpoint 1 is due "),
        (task(points=3), "can be collected"),
        (task(points=3, checkpoints=(CheckpointView(b"", NOW, NOW + 9, 0, ""),) * 3), "challenge window until "),
        (task(points=3, checkpoints=(CheckpointView(b"", NOW, NOW + 9, 1, ""),) * 3), "a dispute decides"),
        (task(points=3, keeping=KEPT), "checkpoint 1 was kept by too few: "),
        (
            task(points=3, keeping=replace(KEPT, called_at=NOW)),
            "checkpoint 1 waits for the second committee of keepers until ",
        ),
        (task(points=3, keeping=replace(KEPT, kept=3)), "can be collected"),
        (task(Status.VACANT), "can be reopened"),
        (task(Status.VACANT, standby=RIVAL, handover_ends=NOW + 9), "the standby may take over until "),
        (task(Status.COMPLETED), ""),
    ],
)
def test_what_a_task_waits_for(view: TaskView, said: str) -> None:
    assert next_of(view, NOW).startswith(said) and bool(next_of(view, NOW)) == bool(said)


def test_a_row_has_the_best_score_and_stays_while_nothing_changes() -> None:
    told = Chronicle()
    for bidder, price in ((SOLVER, COIN), (RIVAL, 2 * COIN)):
        told.take(event("Sealed", taskId=7, attempt=0, bidder=bidder))
        told.take(event("Revealed", taskId=7, attempt=0, bidder=bidder, price=price, promised=3, burden=COIN // 2))
    (row,) = task_rows(seen(task(points=1)), told)
    assert (row["bids"], row["score"], row["price"], row["checkpoints"], row["intervals"]) == (2, "1.5", "1", 1, 3)
    later = replace(seen(task(points=1)), now=NOW + 7)
    assert task_rows(later, told) == [row]


def test_a_task_whole_is_json_of_bounded_lines() -> None:
    told = Chronicle()
    told.take(event("Sealed", taskId=7, attempt=0, bidder=SOLVER))
    detail = task_detail(task(points=2, paid=1), seen(), told, GasBook())
    assert [point["state"] for point in detail["points"]] == ["paid", "final", "due"]
    assert [bid["score"] for bid in detail["bids"]] == [""] and detail["bids"][0]["note"] == "solver"
    assert detail["span"][0] == NOW - 100 and detail["span"][2] == NOW

    def texts(value: Any) -> list[str]:
        if isinstance(value, dict):
            return [text for part in value.values() for text in texts(part)]
        return [text for part in value for text in texts(part)] if isinstance(value, list | tuple) else [str(value)]

    assert all(len(text) <= 130 and text.isprintable() for text in texts(json.loads(json.dumps(detail))))


def test_only_the_latest_of_very_many_checkpoints_are_shown() -> None:
    points = tuple(CheckpointView(bytes(32), NOW + k, NOW + k, 0, "") for k in range(500))
    many = task(checkpoints=points, terms=unposted(steps=10_000, interval=10))
    detail = task_detail(many, seen(), Chronicle(), GasBook())
    assert (len(detail["points"]), detail["skipped"]) == (201, 300)
    assert detail["points"][0]["id"] == 300 and detail["points"][-1]["state"] == "due"


def test_people_have_stakes_records_and_earnings() -> None:
    told = Chronicle()
    told.take(event("Awarded", taskId=7, attempt=0, solver=SOLVER, price=COIN, promised=1, standby=NOBODY))
    told.take(event("Paid", taskId=7, index=0, solver=SOLVER, amount=COIN, withheld=0, fee=1))
    told.take(event("Slashed", taskId=7, solver=SOLVER, slashed=2 * COIN, rewards=0))
    running = task(terms=unposted(stake=5 * COIN))
    (row,) = people_rows(seen(running), told, {SOLVER: (4 * COIN, 3 * COIN, 0)})
    shown = [row[name] for name in ("stake", "free", "done", "earned", "lost", "tasks", "roles")]
    assert shown == ["5", "4", "3", "1", "2", 1, "solver"]
    assert facts(seen(running), told, 3, 1337)["states"] == {"training": 1}


def test_wages_of_standbys_and_fees_of_audits_are_earned() -> None:
    told = Chronicle()
    told.take(event("Awarded", taskId=7, attempt=0, solver=SOLVER, price=COIN, promised=1, standby=RIVAL))
    for index in range(2):
        told.take(event("Paid", taskId=7, index=index, solver=SOLVER, amount=90, withheld=8, fee=1))
    for checkpoint, is_paid in enumerate((True, False)):
        who = {"verifier": RIVAL, "attempt": 0, "earned": is_paid, "forfeited": False, "fees": 3}
        told.take(event("Settled", taskId=7, checkpoint=checkpoint, **who))
    told.take(event("TookOver", taskId=7, attempt=1, solver=RIVAL, price=COIN, promised=1))
    told.take(event("Paid", taskId=7, index=2, solver=RIVAL, amount=1_000, withheld=0, fee=0))
    view = replace(seen(task(terms=unposted(audit_fee=70))), fees=Fees(standby_bps=500))
    assert earned(told.people[RIVAL], view) == 2 * (99 * 500 // 10_000) + 3 * 70 + 1_000
    assert earned(told.people[SOLVER], view) == 180


def test_keepers_are_shown_with_what_they_signed_earned_and_were_fined() -> None:
    told, about = Chronicle(), {"taskId": 7, "attempt": 0}
    seats = [{"holder": RIVAL, "seats": 2, "point": {}}, {"holder": SOLVER, "seats": 1, "point": {}}]
    told.take(event("Seated", **about, committee=0, members=seats))
    told.take(event("Attested", **about, committee=0, checkpoint=1, signers=0b10, kept=0))
    told.take(event("Attested", **about, committee=0, checkpoint=0, signers=0b11, kept=1))
    told.take(event("Objected", **about, checkpoint=1, keeper=RIVAL))
    running = task(points=2, keeping=KEPT, terms=unposted(keepers=3, keeper_bps=200))
    detail = task_detail(running, seen(running), told, GasBook())
    assert [(row["member"][:6], row["seats"], row["signed"], row["note"]) for row in detail["keepers"]] == [
        (RIVAL[:6], 2, 1, "could not have checkpoint 1"), (SOLVER[:6], 1, 2, ""),
    ]  # fmt: skip
    assert dict(detail["facts"])["Keepers"] == "3 seats share 2 % of the pay; 1 of 2 checkpoints can be had"
    view = replace(seen(running), fees=Fees(audit_bond=COIN))
    rows = {row["id"]: row for row in people_rows(view, told, {})}
    assert (rows[RIVAL]["stake"], rows[RIVAL]["keeping"], rows[RIVAL]["roles"]) == ("1", "1 now, earned 0", "verifier")

    told.take(event("Returned", **about, keeper=RIVAL))
    told.take(event("Denounced", **about, keeper=SOLVER, amount=COIN // 2))
    told.take(event("Rewarded", **about, committee=0, keeper=RIVAL, amount=COIN // 4))
    over = replace(running, attempt=1)
    rows = {row["id"]: row for row in people_rows(replace(view, tasks=(over,)), told, {})}
    assert (rows[RIVAL]["stake"], rows[RIVAL]["keeping"], rows[RIVAL]["earned"]) == ("0", "0 now, earned 0.25", "0.25")
    assert (rows[SOLVER]["keeping"], rows[SOLVER]["lost"]) == ("0 now, earned 0, fined 0.5", "0.5")
    notes = [row["note"] for row in task_detail(over, view, told, GasBook())["keepers"]]
    assert notes == ["could not have checkpoint 1; paid 0.25", "showed nothing: fined 0.5"]


def test_a_task_without_keepers_says_so() -> None:
    detail = task_detail(task(), seen(), Chronicle(), GasBook())
    assert detail["keepers"] == []
    assert dict(detail["facts"])["Keepers"] == "none: the requester fetches the checkpoints itself"
