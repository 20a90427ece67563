"""Roles decide from views and notes alone: which role does what, and when it does nothing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import pytest

from offchain.commit.merkle import Position
from offchain.dispute.spans import pieces
from offchain.errors import BadInput
from offchain.market.actions import (
    Accuse,
    Audit,
    Award,
    Bid,
    Challenge,
    Collect,
    Commit,
    Decline,
    Defend,
    Dismiss,
    Fetch,
    OpenDispute,
    Prepare,
    Reveal,
    SettleBid,
    Stall,
    TakeOver,
    Timeout,
    Train,
)
from offchain.market.notes import Needs, OwnBid, TaskNotes
from offchain.market.view import (
    NOBODY,
    ChainView,
    CheckpointView,
    DisputeView,
    Fees,
    Phase,
    Status,
    TaskView,
    TreeName,
)
from offchain.roles import requester, solver, verifier
from offchain.roles.policy import (
    AWARD_GAS,
    COLLECT_GAS,
    COMMIT_GAS,
    DISPUTE_GAS,
    REVEAL_GAS,
    SEAL_GAS,
    Policy,
)
from offchain.roles.table import ROLES
from tests.support.tasks import unposted

ME, OTHER, ASKER = "0xMe", "0xOther", "0xAsker"
TERMS = unposted(steps=30)
BIDDING = TaskView(7, TERMS, ASKER, NOBODY, Status.BIDDING, 100, 0, 0, 0, ())
FREE = Policy(hourly=0)  # gas costs nothing here: what is left is the risk, 5 of a stake of 5,000, and a fraction
FIT = {7: TaskNotes(fit=True, needs=Needs(1_000, 10.0, 10.0))}


def training(*committed_at: int, paid: int = 0, by: str = ME, holds: int = 0) -> TaskView:
    points = tuple(CheckpointView(bytes([k]) * 32, at, at + 60, holds, "") for k, at in enumerate(committed_at))
    return replace(BIDDING, solver=by, status=Status.TRAINING, awarded_at=100, price=900, paid=paid, checkpoints=points)


def view(task: TaskView, now: int = 50, free: int = 10_000, disputes: tuple[DisputeView, ...] = ()) -> ChainView:
    return ChainView(ME, now, free, True, (task,), disputes)


def dispute(mover: str, challenger: str = OTHER, by: str = ME, deadline: int = 200) -> DisputeView:
    return DisputeView(
        3, 7, 0, 0, challenger, by, Phase.REVEAL_STEPS, TreeName.NODES, 0, 10, bytes(32), bytes(32), Position(1, 0, 0),
        0, 0, 0, (0, 0), (0, 0), 0, mover, deadline,
    )  # fmt: skip


def reasons(actions: Sequence[object]) -> list[str]:
    """Why each task is left alone: nothing else is decided."""
    assert all(isinstance(action, Decline) for action in actions)
    return [str(action.reason) for action in actions if isinstance(action, Decline)]


class TestSolver:
    def test_looks_at_a_task_before_it_bids(self) -> None:
        assert solver.decide(view(BIDDING), {}, Policy()) == [Fetch(7)]

    def test_bids_what_the_task_costs_it(self) -> None:
        """Three intervals of 10 s at 36 an hour cost 0.3; the stake's share of risk is 5; the fee comes on top."""
        policy = Policy(hourly=36, risk=Fraction(1, 1000))
        assert solver.decide(view(BIDDING), FIT, policy) == [Bid(7, 6, 10)]
        dear = replace(policy, hourly=36 * 1_000)  # 300, 5 for the risk, and an hour of disputes in a thousand: 0.1
        assert solver.decide(view(BIDDING), FIT, dear) == [Bid(7, 306, 10)]
        assert solver.decide(view(BIDDING), FIT, replace(policy, lag=1.5)) == [Bid(7, 6, 12)]  # until it is on chain
        with_fee = replace(view(BIDDING), fees=Fees(0, 1_000))
        assert solver.decide(with_fee, FIT, dear) == [Bid(7, 340, 10)]

    @pytest.mark.parametrize(
        ("changed", "why"),
        [
            ({"requester": ME}, "it is this account's own task; workers of other accounts may bid"),
            (
                {"terms": replace(TERMS, clock=59)},
                "clock of 59 s is below this worker's minimum of 60 s; --min-clock 59 would take it",
            ),
        ],
    )
    def test_leaves_what_does_not_suit_it_and_says_why(self, changed: dict[str, object], why: str) -> None:
        task = replace(BIDDING, **changed)  # type: ignore[arg-type]
        assert reasons(solver.decide(view(task), FIT, Policy())) == [why]

    def test_takes_nothing_new_while_it_drains_or_is_not_registered(self) -> None:
        (why,) = reasons(solver.decide(view(BIDDING), FIT, replace(FREE, draining=True)))
        assert why == "this worker takes nothing new; `offchain worker drain --undo` ends that"
        (why,) = reasons(solver.decide(replace(view(BIDDING), registered=False), FIT, FREE))
        assert "is not in the register" in why
        sealed = replace(view(BIDDING, now=110), sealed=frozenset({(7, 0)}))
        bid = {7: replace(FIT[7], bid=OwnBid(0, 5, 5, bytes(32)))}
        assert solver.decide(sealed, bid, replace(FREE, draining=True)) == [Reveal(7)]

    def test_says_that_it_came_too_late(self) -> None:
        (why,) = reasons(solver.decide(view(BIDDING, now=130), {}, FREE))
        assert why.startswith("bids were taken until 30 s ago")
        assert solver.decide(view(BIDDING, now=130), FIT, FREE) == []  # it had looked at it, and said what it thought

    def test_says_why_a_task_that_pays_too_little_gets_no_bid(self) -> None:
        """5 for the risk, and gas: the task pays 1,000 at most."""
        gas = SEAL_GAS + REVEAL_GAS + AWARD_GAS + 3 * (COMMIT_GAS + COLLECT_GAS)
        cheap, dear = (Policy(hourly=0, coin_price=Fraction(cost, gas)) for cost in (995, 996))
        busy = replace(view(BIDDING), gas_price=1)
        assert solver.decide(busy, FIT, cheap) == [Bid(7, 1_000, 10)]
        (why,) = reasons(solver.decide(busy, FIT, dear))
        assert why.startswith("it pays 0.000000000000001 at most; training it costs 0.000000000000001001 here; ")

    def test_does_not_bid_what_it_cannot_stake_or_found_unfit(self) -> None:
        (why,) = reasons(solver.decide(view(BIDDING, free=4_999), FIT, FREE))
        said = r"it asks for a stake of .*5 and a bond of 0; .*4999 is free in the vault; `.* deposit .*1`"
        assert re.fullmatch(said, why)
        assert reasons(solver.decide(replace(view(BIDDING, free=5_001), fees=Fees(2)), FIT, FREE))  # with the bond
        assert solver.decide(view(BIDDING), {7: TaskNotes(fit=False)}, FREE) == []

    def test_keeps_the_stakes_of_its_sealed_bids(self) -> None:
        other = replace(BIDDING, id=8)
        sealed = replace(view(BIDDING, free=9_999), tasks=(BIDDING, other), sealed=frozenset({(8, 0)}))
        (why,) = reasons(solver.decide(sealed, FIT | {8: FIT[7]}, FREE))
        assert "0.000000000000005 more is kept for other bids" in why
        assert solver.decide(replace(sealed, free=10_000), FIT | {8: FIT[7]}, FREE) == [Bid(7, 5, 10)]

    def test_keeps_the_stake_of_what_it_stands_by_for(self) -> None:
        beside = replace(training(120, by=OTHER), id=8, standby=ME)
        at = replace(view(BIDDING, free=9_999), tasks=(BIDDING, beside))
        assert reasons(solver.decide(at, FIT | {8: FIT[7]}, FREE))
        assert solver.decide(replace(at, free=10_000), FIT | {8: FIT[7]}, FREE) == [Bid(7, 5, 10)]

    def test_bids_first_where_an_hour_of_its_machine_may_earn_most(self) -> None:
        """It can stake one of the three."""
        long = TaskNotes(fit=True, needs=Needs(1_000, 50.0, 10.0))
        offered = (
            BIDDING,
            *(replace(BIDDING, id=n, terms=replace(TERMS, max_price=p)) for n, p in ((8, 3_000), (9, 4_000))),
        )
        at = replace(view(BIDDING, free=5_000), tasks=offered)
        actions = solver.decide(at, FIT | {8: FIT[7], 9: long}, FREE)
        assert actions[0] == Bid(8, 5, 10)
        assert len(reasons(actions[1:])) == 2
        assert solver.decide(at, FIT | {8: FIT[7], 9: FIT[7]}, FREE)[0] == Bid(9, 5, 10)

    def test_reveals_once_bidding_is_over(self) -> None:
        known = {7: replace(FIT[7], bid=OwnBid(0, 6, 10, b"salt"))}
        sealed = replace(view(BIDDING, now=100), sealed=frozenset({(7, 0)}))
        assert solver.decide(sealed, known, FREE) == [Reveal(7)]
        assert solver.decide(replace(sealed, now=99), known, FREE) == []  # a bid is made once
        assert solver.decide(replace(sealed, now=160), known, FREE) == []  # too late
        assert solver.decide(sealed, FIT, FREE) == []  # its salt is lost
        assert solver.decide(replace(sealed, sealed=frozenset()), known, FREE) == []  # it is shown already

    def test_settles_a_bid_that_was_not_shown_once_its_attempt_is_decided(self) -> None:
        """Until then its requester may cancel, which gives the bond back."""
        sealed = replace(view(BIDDING, now=160 + TERMS.reveal_time - 1), sealed=frozenset({(7, 0)}))
        assert solver.decide(sealed, FIT, FREE) == []
        assert solver.decide(replace(sealed, now=sealed.now + 1), FIT, FREE) == [SettleBid(7, 0)]  # nobody decides it
        for task in (replace(training(120, by=OTHER)), replace(BIDDING, status=Status.CANCELLED)):
            assert solver.decide(replace(sealed, tasks=(task,)), FIT, FREE) == [SettleBid(7, 0)]
        again = replace(
            sealed, tasks=(replace(BIDDING, attempt=1, bidding_ends=1_000),), sealed=frozenset({(7, 0), (7, 1)})
        )
        assert solver.decide(again, FIT, FREE) == [SettleBid(7, 0)]
        assert solver.decide(replace(sealed, tasks=()), FIT, FREE) == []

    def test_prepares_what_it_leads_and_awards_itself_when_revealing_is_over(self) -> None:
        won = replace(BIDDING, leader=ME)
        assert solver.decide(view(won, now=159), FIT, FREE) == [Prepare(7)]
        assert solver.decide(view(won, now=160), FIT, FREE) == [Prepare(7), Award(7)]
        assert solver.decide(view(replace(won, leader=OTHER), now=160), FIT, FREE) == []

    def test_takes_over_as_standby(self) -> None:
        vacant = replace(training(by=OTHER), status=Status.VACANT, attempt=1, standby=ME, handover_ends=200)
        assert solver.decide(view(vacant, now=200), FIT, FREE) == [TakeOver(7)]
        assert solver.decide(view(vacant, now=201), FIT, FREE) == []
        assert solver.decide(view(vacant, now=200, free=4_999), FIT, FREE) == []
        assert solver.decide(view(replace(vacant, standby=OTHER), now=200), FIT, FREE) == []

    def test_a_second_solver_has_its_own_deadlines(self) -> None:
        later = replace(training(120, by=ME), first=1, paid=1, attempt=1, awarded_at=500, defended=7)
        known = {7: TaskNotes(fit=True, trained={1: b"r"})}
        assert solver.decide(view(later, now=567), known, FREE) == [Commit(7, 1, b"r")]
        assert solver.decide(view(later, now=568), known, FREE) == []

    def test_trains_commits_and_collects_in_order(self) -> None:
        assert solver.decide(view(training(), now=110), FIT, Policy()) == [Train(7, 0)]
        known = {7: TaskNotes(fit=True, trained={0: b"r"})}
        assert solver.decide(view(training(), now=110), known, Policy()) == [Commit(7, 0, b"r")]
        assert solver.decide(view(training(120), now=181), known, Policy()) == [Collect(7), Train(7, 1)]

    def test_does_not_commit_after_the_deadline(self) -> None:
        known = {7: TaskNotes(fit=True, trained={0: b"r"})}
        assert solver.decide(view(training(), now=161), known, Policy()) == []

    def test_does_not_collect_what_is_disputed(self) -> None:
        assert Collect(7) not in solver.decide(view(training(120, holds=1), now=300), FIT, Policy())

    def test_defends_first_and_times_out_the_silent(self) -> None:
        assert solver.decide(view(training(120), now=150, disputes=(dispute(ME),)), FIT, Policy())[0] == Defend(3)
        late = view(training(120), now=201, disputes=(dispute(OTHER),))
        assert solver.decide(late, FIT, Policy())[0] == Timeout(3)
        waiting = view(training(120), now=150, disputes=(dispute(OTHER),))
        assert solver.decide(waiting, FIT, Policy()) == [Train(7, 1)]


class TestVerifier:
    def decide(self, at: ChainView, known: TaskNotes, share: float = 1.0) -> list[object]:
        return list(verifier.decide(at, {7: known}, Policy(audit_share=share), b"secret"))

    def test_audits_what_can_still_be_challenged(self) -> None:
        at = view(training(120, by=OTHER), now=150)
        assert self.decide(at, TaskNotes()) == [Fetch(7)]
        assert self.decide(at, TaskNotes(fit=True)) == [Audit(7, 0)]
        assert self.decide(at, TaskNotes(fit=True), share=0.0) == []
        assert self.decide(view(training(120, by=OTHER), now=181), TaskNotes(fit=True)) == []

    def test_does_not_audit_what_a_conviction_would_not_pay(self) -> None:
        at = replace(view(training(120, by=OTHER), now=150), gas_price=1)
        share = Fraction(TERMS.stake * 4 // 10, DISPUTE_GAS)  # tokens a coin at which the reward is the gas
        for price, audited in ((share, True), (2 * share, False)):
            sure = Policy(coin_price=price, audit_share=1.0)
            actions = verifier.decide(at, {7: TaskNotes(fit=True)}, sure, b"secret")
            assert (actions == [Audit(7, 0)]) is audited
            assert audited or "the gas of its dispute costs" in reasons(actions)[0]

    def test_does_not_audit_itself(self) -> None:
        assert self.decide(view(training(120), now=150), TaskNotes(fit=True)) == []

    def test_disputes_the_first_wrong_checkpoint_once(self) -> None:
        at = view(training(120, 130, by=OTHER), now=150)
        assert self.decide(at, TaskNotes(fit=True, audited={0: False})) == [OpenDispute(7, 0)]
        assert self.decide(at, TaskNotes(fit=True, audited={0: False}, disputed=frozenset({0}))) == []
        assert self.decide(replace(at, free=99), TaskNotes(fit=True, audited={0: False})) == [Accuse(7, 0)]
        assert self.decide(at, TaskNotes(fit=True, audited={0: True, 1: False})) == [OpenDispute(7, 1)]

    def test_plays_its_disputes_and_takes_its_bond_back(self) -> None:
        mine = dispute(ME, challenger=ME, by=OTHER)
        assert Challenge(3) in self.decide(view(training(120, by=OTHER), now=150, disputes=(mine,)), TaskNotes())
        silent = replace(mine, mover=OTHER)
        assert Timeout(3) in self.decide(view(training(120, by=OTHER), now=201, disputes=(silent,)), TaskNotes())
        over = replace(training(120, by=OTHER), status=Status.SLASHED)
        assert self.decide(view(over, now=150, disputes=(mine,)), TaskNotes()) == [Dismiss(3)]

    def test_the_lottery_depends_on_the_secret_and_the_root_and_keeps_its_share(self) -> None:
        task = training(*range(250), by=OTHER)
        draws = [[verifier.drawn(s, task, k, 0.3) for k in range(250)] for s in (b"one", b"two")]
        assert draws[0] != draws[1]
        assert all(35 < sum(draw) < 120 for draw in draws)


class TestRequester:
    def test_awards_or_stalls_only_its_own(self) -> None:
        own = replace(BIDDING, requester=ME)
        assert requester.decide(view(own, now=160)) == [Award(7)]
        assert requester.decide(view(own, now=100)) == []
        assert requester.decide(view(BIDDING, now=101)) == []

    def test_stalls_after_a_missed_deadline_when_nothing_is_pending(self) -> None:
        left = replace(training(120, by=OTHER), requester=ME)
        assert requester.decide(view(left, now=221)) == [Stall(7)]
        assert requester.decide(view(left, now=180)) == []
        held = replace(training(120, by=OTHER, holds=1), requester=ME)
        assert requester.decide(view(held, now=500)) == []

    def test_collects_first_what_is_too_much_for_a_stall(self) -> None:
        many = replace(training(*[120] * 65, by=OTHER), requester=ME, terms=replace(TERMS, steps=1_000))
        assert requester.decide(view(many, now=10_000)) == [Collect(7)]
        assert requester.decide(view(replace(many, paid=1), now=10_000)) == [Stall(7)]

    def test_completes_what_its_solver_does_not_collect(self) -> None:
        done = replace(training(120, 130, 140, by=OTHER), requester=ME)
        assert requester.decide(view(done, now=260)) == []  # the solver's turn
        assert requester.decide(view(done, now=261)) == [Collect(7)]
        held = replace(training(120, 130, 140, by=OTHER, holds=1), requester=ME)
        assert requester.decide(view(held, now=261)) == []


def test_a_view_names_what_it_does_not_follow() -> None:
    with pytest.raises(BadInput, match="no task 8 here"):
        view(BIDDING).task(8)
    with pytest.raises(BadInput, match="no dispute 1 runs"):
        view(BIDDING).dispute(1)


@pytest.mark.parametrize(("a", "b", "fan"), [(0, 1, 64), (0, 64, 64), (0, 65, 64), (3, 5_000, 64), (0, 1_000_000, 256)])
def test_pieces_cover_a_span(a: int, b: int, fan: int) -> None:
    parts = pieces(a, b, fan)
    assert len(parts) <= fan
    assert [start for start, _ in parts] == [a, *(stop for _, stop in parts[:-1])]
    assert parts[-1][1] == b


def test_every_role_has_a_row_of_its_own() -> None:
    assert all(role.name == name for name, role in ROLES.items())
    masks = [role.mask for role in ROLES.values() if role.mask]
    assert sum(masks) == max(masks) * 2 - 1  # one bit each, as the register demands
    own = replace(BIDDING, requester=ME)
    decided = {name: role.decide(view(own, now=160), {}, Policy(), b"secret") for name, role in ROLES.items()}
    assert decided == {"solver": [], "verifier": [], "requester": [Award(7)]}
