"""What events tell: bids, disputes with the path that they take, and a chain that was reorganised."""

from __future__ import annotations

from itertools import count
from typing import Any

from offchain.chain.abi import Event
from offchain.page.chronicle import Chronicle
from offchain.page.walk import SENTENCES, Shape, Walk, verdict
from tests.support.tasks import unposted

PLACES = count()
SOLVER, CHALLENGER = "0x" + "5" * 40, "0x" + "7" * 40
CLAIMED = 0x40490FDB


def event(name: str, block: int = 1, **args: Any) -> Event:
    """The next event of a chain."""
    place = next(PLACES)
    return Event("0x", name, args, block, place, place.to_bytes(32))


def opened(number: int = 3) -> Event:
    who = {"challenger": CHALLENGER, "solver": SOLVER, "bond": 11}
    return event("Opened", id=number, taskId=7, checkpoint=1, attempt=0, **who)


def told(*events: Event) -> Chronicle:
    chronicle = Chronicle()
    for each in events:
        chronicle.take(each)
    return chronicle


def test_a_dispute_is_walked_to_the_term_that_was_judged() -> None:
    known = told(
        opened(),
        event("StepsRevealed", id=3, lo=10, hi=20, roots=[bytes(32)] * 10),
        event("StepNamed", id=3, lo=14, hi=15, conceded=bytes(32), claimed=bytes(32)),
        event("TraceRevealed", id=3, step=14, nodeChildren=[bytes(32)] * 9, slotChildren=[bytes(32)] * 2),
        event("NodeNamed", id=3, node=4, root=bytes(32)),
        event("ChunkRevealed", id=3, chunk=bytes(4096)),
        event("ElementNamed", id=3, element=1030, word=CLAIMED, ending=2),
        event("SumsRevealed", id=3, a=0, b=640, exponents=[1, 1], sums=[0] * 64),
        event("SumNamed", id=3, a=320, b=330, sum=5),
        event("TermJudged", id=3, step=14, node=4, element=1030, k=322, claimed=9, computed=-4),
        event("Resolved", id=3, winner=CHALLENGER, loser=SOLVER, reason=0),
    )
    dispute = known.disputes[3]
    walked = Walk(dispute, unposted(), Shape(nodes=9, slots=2, length=1100, extent=640))
    assert [(level.title, *level.row()["parts"]) for level in walked.levels] == [
        ("Checkpoint", 1, 1, 1), ("Step", 4, 1, 5), ("Node", 4, 1, 4), ("Element", 6, 1, 69),
        ("Partial sum", 320, 10, 310), ("Term", 2, 1, 7),
    ]  # fmt: skip
    assert verdict(dispute) == {"operation": "term 322 of element 1,030 of node 4", "claimed": "9", "computed": "-4"}
    assert dispute.outcome == CHALLENGER and dispute.reason == "the contract computed it"
    assert all(SENTENCES[name](args) for name, args in dispute.moves)
    assert dispute.moves[5][1]["chunk"] == 4096  # how much it is, and not the chunk


def test_a_judged_element_is_shown_as_the_float_that_it_is() -> None:
    words = {"claimed": CLAIMED, "computed": 0x7FC00000}
    known = told(opened(), event("ElementJudged", id=3, step=14, node=4, element=5, **words))
    shown = verdict(known.disputes[3])
    assert shown is not None and shown["claimed"].startswith("3.14159") and shown["computed"] == "nan (0x7fc00000)"
    assert [level.title for level in Walk(known.disputes[3], unposted(), Shape()).levels] == ["Checkpoint", "Element"]


def test_every_verdict_has_words() -> None:
    where = {"id": 3, "step": 14, "node": 4, "element": 5}
    for name, args in {
        "ExtremumJudged": {"k": 9, "claimed": CLAIMED, "order": 1},
        "ExponentJudged": {"operand": 0, "k": 9, "claimed": -3, "order": 0},
        "SlotJudged": {"slot": 2, "claimed": bytes(32), "source": bytes(32)},
    }.items():
        shown = verdict(told(opened(), event(name, **where, **args)).disputes[3])
        assert shown is not None and all(shown.values())


def test_a_lost_bond_is_the_challengers_loss_and_half_of_it_the_solvers_gain() -> None:
    known = told(opened(), event("Resolved", id=3, winner=SOLVER, loser=CHALLENGER, reason=1))
    assert (known.people[CHALLENGER].lost, known.people[SOLVER].rewards) == (11, 5)
    assert known.disputes[3].reason == "a clock ran out"


def test_audits_are_kept_by_checkpoint() -> None:
    where = {"taskId": 7, "checkpoint": 1, "verifier": CHALLENGER, "attempt": 0}
    known = told(event("Claimed", **where, fees=1), event("Vouched", **where))
    assert known.audits == {(7, 1): {CHALLENGER: "vouched"}}
    for fees, said in ((1, "paid"), (3, "paid 3 fees")):
        known.take(event("Settled", **where, earned=True, forfeited=False, fees=fees))
        assert known.audits[7, 1] == {CHALLENGER: said}
    known.take(event("Settled", **where, earned=False, forfeited=True, fees=2))
    assert known.audits[7, 1] == {CHALLENGER: "bond lost"} and known.people[CHALLENGER].audited[7] == 4


def test_a_reorganised_chain_begins_anew() -> None:
    known = told(opened(), event("Sealed", taskId=7, attempt=0, bidder=SOLVER))
    again = Event("0x", "Sealed", {"taskId": 8, "attempt": 0, "bidder": SOLVER}, 1, 0)
    known.take(again)
    assert (known.begun, known.disputes, list(known.bids)) == (1, {}, [8])


def test_events_of_strange_disputes_say_nothing() -> None:
    assert told(event("NodeNamed", id=9, node=4, root=bytes(32))).disputes == {}


def test_checkpoints_of_a_failed_attempt_stay_known() -> None:
    roots = [bytes([k]) * 32 for k in range(3)]
    known = told(*(event("Committed", taskId=7, index=k, root=roots[k], uri="") for k in range(3)))
    known.take(event("Voided", taskId=7, index=1))
    assert known.voided[7] == [(1, roots[1]), (2, roots[2])] and list(known.commits[7]) == [0]
