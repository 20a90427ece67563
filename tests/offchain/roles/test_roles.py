"""Roles decide from views and notes alone: which role does what, and when it does nothing."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest

from offchain.commit.merkle import Position
from offchain.dispute.spans import pieces
from offchain.errors import BadInput
from offchain.market.actions import (
    Audit,
    Award,
    Bid,
    Challenge,
    Collect,
    Commit,
    Defend,
    Dismiss,
    Fetch,
    OpenDispute,
    Stall,
    Timeout,
    Train,
)
from offchain.market.notes import Needs, TaskNotes
from offchain.market.view import ChainView, CheckpointView, DisputeView, Phase, Status, TaskView, TreeName
from offchain.roles import requester, solver, verifier
from offchain.roles.policy import (
    AWARD_GAS,
    BID_GAS,
    COLLECT_GAS,
    COMMIT_GAS,
    DISPUTE_GAS,
    Policy,
)
from offchain.roles.table import ROLES
from tests.support.tasks import unposted

ME, OTHER, ASKER = "0xMe", "0xOther", "0xAsker"
TERMS = unposted(steps=30)
BIDDING = TaskView(7, TERMS, ASKER, solver.NOBODY, Status.BIDDING, 100, 0, 0, 0, ())
FIT = {7: TaskNotes(fit=True, needs=Needs(1_000, 10.0, 10.0))}


def training(*committed_at: int, paid: int = 0, by: str = ME, holds: int = 0) -> TaskView:
    points = tuple(CheckpointView(bytes([k]) * 32, at, at + 60, holds, "") for k, at in enumerate(committed_at))
    return replace(BIDDING, solver=by, status=Status.TRAINING, awarded_at=100, price=900, paid=paid, checkpoints=points)


def view(task: TaskView, now: int = 50, free: int = 10_000, disputes: tuple[DisputeView, ...] = ()) -> ChainView:
    return ChainView(ME, now, free, True, (task,), disputes)


def dispute(mover: str, challenger: str = OTHER, by: str = ME, deadline: int = 200) -> DisputeView:
    return DisputeView(
        3, 7, 0, challenger, by, Phase.REVEAL_STEPS, TreeName.NODES, 0, 10, bytes(32), bytes(32), Position(1, 0, 0),
        0, 0, 0, (0, 0), (0, 0), 0, mover, deadline,
    )  # fmt: skip


class TestSolver:
    def test_looks_at_a_task_before_it_bids(self) -> None:
        assert solver.decide(view(BIDDING), {}, Policy()) == [Fetch(7)]

    def test_bids_its_ask_first_and_undercuts_later(self) -> None:
        assert solver.decide(view(BIDDING), FIT, Policy()) == [Bid(7, 900)]
        outbid = replace(BIDDING, solver=OTHER, price=800)
        assert solver.decide(view(outbid), FIT, Policy()) == [Bid(7, 790)]

    @pytest.mark.parametrize(
        "changed",
        [
            {"solver": OTHER, "price": 505},  # the next bid would be below the reserve
            {"solver": ME, "price": 900},  # already the best
            {"requester": ME},
            {"terms": replace(TERMS, clock=59)},
        ],
    )
    def test_leaves_what_does_not_suit_it(self, changed: dict[str, object]) -> None:
        assert solver.decide(view(replace(BIDDING, **changed)), FIT, Policy()) == []  # type: ignore[arg-type]

    def test_does_not_bid_below_its_gas(self) -> None:
        """900 asked, 500 reserved: 400 are left for gas, in tokens."""
        gas = BID_GAS + AWARD_GAS + 3 * (COMMIT_GAS + COLLECT_GAS)
        cheap, dear = Policy(coin_price=Fraction(400, gas)), Policy(coin_price=Fraction(401, gas))
        busy = replace(view(BIDDING), gas_price=1)
        assert solver.decide(busy, FIT, cheap) == [Bid(7, 900)]
        assert solver.decide(busy, FIT, dear) == []

    def test_does_not_bid_what_it_cannot_stake_or_found_unfit(self) -> None:
        assert solver.decide(view(BIDDING, free=4_999), FIT, Policy()) == []
        assert solver.decide(view(BIDDING), {7: TaskNotes(fit=False)}, Policy()) == []

    def test_awards_itself_when_bidding_is_over(self) -> None:
        won = replace(BIDDING, solver=ME, price=900)
        assert solver.decide(view(won, now=101), FIT, Policy()) == [Award(7)]
        assert solver.decide(view(replace(won, solver=OTHER), now=101), FIT, Policy()) == []

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
        for policy, actions in ((Policy(coin_price=share), [Audit(7, 0)]), (Policy(coin_price=2 * share), [])):
            sure = replace(policy, audit_share=1.0)
            assert verifier.decide(at, {7: TaskNotes(fit=True)}, sure, b"secret") == actions

    def test_does_not_audit_itself(self) -> None:
        assert self.decide(view(training(120), now=150), TaskNotes(fit=True)) == []

    def test_disputes_the_first_wrong_checkpoint_once(self) -> None:
        at = view(training(120, 130, by=OTHER), now=150)
        assert self.decide(at, TaskNotes(fit=True, audited={0: False})) == [OpenDispute(7, 0)]
        assert self.decide(at, TaskNotes(fit=True, audited={0: False}, disputed=frozenset({0}))) == []
        assert self.decide(replace(at, free=99), TaskNotes(fit=True, audited={0: False})) == []
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
        assert requester.decide(view(own, now=101)) == [Award(7)]
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


def test_a_policy_never_bids_below_its_reserve_or_nothing() -> None:
    policy = Policy(ask=Fraction(1), reserve=Fraction(1, 100))
    assert policy.bid(replace(TERMS, max_price=1), None) == 1
    assert policy.bid(replace(TERMS, max_price=1), 1) is None


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
    decided = {name: role.decide(view(own, now=101), {}, Policy(), b"secret") for name, role in ROLES.items()}
    assert decided == {"solver": [], "verifier": [], "requester": [Award(7)]}
