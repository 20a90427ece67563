"""The market's rules over whole numbers, without a chain: what everybody has after any sequence of moves.

Scores and prices come from the auction's twin in `offchain.economics`, so that the machine holds that to the contract.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from offchain.economics import auction as twin
from offchain.economics.audits import audits_up
from offchain.market.money import BPS, part_down, part_up
from offchain.market.view import Status, Terms
from tests.invariants.audit_model import Audits
from tests.invariants.money_task import Checkpoint, Key, Sealed, Shown, Task, require

BURN_BPS, STALL_BURN_BPS, LEAST_PROMISE = 5_000, 1_000, 16


@dataclass
class Model(Audits):
    """Every move either returns having changed the books, or raises Refused having changed nothing."""

    game: str
    solvers: frozenset[str]
    free: dict[str, int]
    fee: int  # for posting
    bond: int  # of a bid
    audit_bond: int
    fee_bps: int
    standby_bps: int
    tasks: list[Task] = field(default_factory=list)
    records: dict[str, twin.Record] = field(default_factory=dict)
    earned: dict[str, int] = field(default_factory=dict)  # by training and by standing by
    lost: dict[str, int] = field(default_factory=dict)  # bonds and stakes
    burned: int = 0

    # --- the requester

    def post(self, sender: str, terms: Terms, now: int) -> None:
        escrow = terms.max_price + part_up(terms.max_price, self.standby_bps, BPS)
        audits = audits_up(terms.intervals, terms.audit_rate_bps)
        self.take(sender, escrow + self.fee + audits * terms.audit_fee)
        self.burned += self.fee
        self.tasks.append(Task(sender, terms, now + terms.bidding_time, escrow, audits=audits))

    def cancel(self, sender: str, number: int, now: int) -> None:
        task = self.tasks[number]
        require(sender == task.requester, "NotRequester")
        if task.status is Status.BIDDING:
            require(not task.ranked, "AlreadyRevealed")
            task.cancelled.add(task.attempt)
        else:
            self._vacated(number, now)
        self._end(task, Status.CANCELLED)

    # --- the auction

    def seal(self, sender: str, number: int, price: int, promised: int, now: int) -> None:
        task = self._in_status(number, Status.BIDDING)
        require(now < task.bidding_ends, "BiddingOver")
        require(sender != task.requester, "OwnTask")
        require(sender in self.solvers, "NotASolver")
        key = task.attempt, sender
        if key not in task.sealed:
            self.take(sender, self.bond)
            task.bonds.add(key)
        task.sealed[key] = Sealed(price, promised, now)

    def reveal(self, sender: str, number: int, now: int) -> None:
        task = self._in_status(number, Status.BIDDING)
        require(now >= task.bidding_ends, "BiddingOpen")
        require(now < task.reveal_ends, "RevealOver")
        key = task.attempt, sender
        require(key in task.sealed, "NotCommitted")
        sealed, auction = task.sealed[key], task.auction()
        require(sealed.price <= auction.reserve, "PriceTooHigh")
        require(1 <= sealed.promised <= task.terms.interval_time, "PromiseOutOfRange")
        bid = twin.Bid(sealed.price, sealed.promised, self.records.get(sender, twin.Record()))
        shown = Shown(sender, bid, sealed.at, twin.burden(auction, bid))
        self._rank(task, shown)
        del task.sealed[key]

    def _rank(self, task: Task, shown: Shown) -> None:
        ranked = sorted([*task.ranked, shown], key=lambda bid: bid.rank)  # of equals the one that was shown first
        if ranked[0] is shown:
            self.require_free(shown.bidder, task.terms.stake)
            if task.ranked:
                self.free[task.ranked[0].bidder] += task.terms.stake
            self.free[shown.bidder] -= task.terms.stake
            task.stake = task.terms.stake
        for beaten in ranked[2:]:
            self._return_bond(task, (task.attempt, beaten.bidder))
        task.ranked = ranked[:2]

    def settle(self, number: int, attempt: int, bidder: str, now: int) -> None:
        task, key = self.tasks[number], (attempt, bidder)
        require(key in task.sealed, "NotCommitted")
        if attempt in task.cancelled:
            self._return_bond(task, key)
        else:
            running = task.status is Status.BIDDING and task.attempt == attempt
            require(not running or now >= task.reveal_ends, "RevealOpen")
            self._forfeit(task, key)
        del task.sealed[key]

    def award(self, number: int, now: int) -> None:
        task = self._in_status(number, Status.BIDDING)
        require(now >= task.reveal_ends, "RevealOpen")
        if not task.ranked:
            self._end(task, Status.CANCELLED)
            return
        leader, standby = task.ranked[0], (task.ranked[1:] or [None])[0]
        self._return_bond(task, (task.attempt, leader.bidder))
        found = twin.award(task.auction(), [shown.bid for shown in task.ranked])
        assert found is not None and found.winner == 0
        if standby and task.last:
            self._return_bond(task, (task.attempt, standby.bidder))
            standby = None
        task.standby, task.ranked = standby, []
        self._begin(task, leader.bidder, found.pay, leader.bid.seconds, now)

    # --- training

    def commit(self, sender: str, number: int, index: int, now: int) -> None:
        task = self.tasks[number]
        require(task.status is Status.TRAINING, "NotTraining")
        require(sender == task.solver, "NotSolver")
        require(len(task.checkpoints) < task.terms.intervals, "AllCommitted")
        require(index == len(task.checkpoints), "WrongIndex")
        require(now <= task.due, "DeadlineMissed")
        until = now + task.terms.challenge_window
        if index > task.first:
            apart = max(task.promised, task.terms.interval_time // LEAST_PROMISE)
            until = max(until, task.checkpoints[-1].until + apart)
        task.checkpoints.append(Checkpoint(until, task.attempt, now, task.defended))

    def hold(self, sender: str, number: int, index: int, now: int) -> None:
        require(sender == self.game, "NotGame")
        require(index < len(self.tasks[number].checkpoints), "UnknownCheckpoint")
        checkpoint = self.tasks[number].checkpoints[index]
        require(now <= checkpoint.until, "WindowClosed")
        checkpoint.holds += 1

    def unhold(self, sender: str, number: int, index: int, attempt: int) -> None:
        require(sender == self.game, "NotGame")
        points = self.tasks[number].checkpoints
        if index < len(points) and points[index].attempt == attempt:
            require(points[index].holds > 0, "NotHeld")
            points[index].holds -= 1

    def excuse(self, sender: str, number: int, seconds: int) -> None:
        require(sender == self.game, "NotGame")
        self._in_status(number, Status.TRAINING).defended += seconds

    def collect(self, number: int, now: int) -> None:
        task = self._in_status(number, Status.TRAINING)
        require(task.count_final(now) > task.paid, "NothingFinal")
        self._pay_final(task, now)
        if task.paid == task.terms.intervals:
            self.free[task.solver] += task.stake
            task.stake = 0
            self._end(task, Status.COMPLETED)

    def stall(self, number: int, now: int) -> None:
        task = self._in_status(number, Status.TRAINING)
        require(len(task.checkpoints) < task.terms.intervals, "NothingDue")
        require(now > task.due, "NotStalled")
        require(task.count_final(now) == len(task.checkpoints), "CheckpointPending")
        self._pay_final(task, now)
        self._fail(task, Status.STALLED, {task.solver: task.stake - part_up(task.stake, STALL_BURN_BPS, BPS)}, 0, now)

    def slash(self, sender: str, number: int, challenger: str, reward: int, kept: int, now: int) -> None:
        require(sender == self.game, "NotGame")
        task = self._in_status(number, Status.TRAINING)
        require(reward + kept <= task.stake - part_up(task.stake, BURN_BPS, BPS), "RewardTooLarge")
        self._pay_final(task, now)
        self._fail(task, Status.SLASHED, {challenger: reward}, kept, now)

    # --- rescue

    def take_over(self, sender: str, number: int, now: int) -> None:
        task = self._in_status(number, Status.VACANT)
        require(task.standby is not None and sender == task.standby.bidder, "NotStandby")
        assert task.standby is not None
        require(now <= task.handover_ends, "HandoverOver")
        self.require_free(sender, task.terms.stake - self.bond)
        self._return_bond(task, (task.attempt - 1, sender))
        self.take(sender, task.terms.stake)
        before, bid = task.auction(), task.standby.bid
        task.stake, task.first, task.standby = task.terms.stake, task.paid, None
        self._begin(task, sender, twin.takeover_pay(bid.price, before, task.auction()), bid.seconds, now)

    def reopen(self, number: int, now: int) -> None:
        task = self._vacated(number, now)
        task.first, task.status = task.paid, Status.BIDDING
        task.bidding_ends = now + task.terms.bidding_time

    # --- what several of them do

    def _begin(self, task: Task, solver: str, price: int, promised: int, now: int) -> None:
        task.status, task.solver, task.price, task.promised = Status.TRAINING, solver, price, promised
        task.awarded_at, task.late, task.defended = now, 0, 0

    def _pay_final(self, task: Task, now: int) -> None:
        auction = task.auction()
        for index in range(task.paid, task.count_final(now)):
            point, place = task.checkpoints[index], index - task.first
            steps, before = auction.steps_up_to(place), place * task.terms.interval
            gross = twin.earned(auction, task.price, steps) - twin.earned(auction, task.price, before)
            after = point.committed_at - task.awarded_at - point.defended
            late = twin.lateness(auction, task.promised, place, after)
            withheld, task.late = twin.charge(auction, late, task.late, gross)
            fee = part_up(gross - withheld, self.fee_bps, BPS)
            self._earn(task, task.solver, gross - withheld - fee)
            self.burned, task.escrow = self.burned + fee, task.escrow - fee
            if task.standby:
                self._earn(task, task.standby.bidder, part_down(gross, self.standby_bps, BPS))
            self._note(task.solver, done=gross)
            task.paid = index + 1

    def _earn(self, task: Task, account: str, amount: int) -> None:
        task.escrow -= amount
        self.free[account] += amount
        self.earned[account] = self.earned.get(account, 0) + amount

    def _note(self, solver: str, done: int = 0, failed: int = 0) -> None:
        before = self.records.get(solver, twin.Record())
        self.records[solver] = twin.Record(before.done + done, before.failed + failed)

    def _fail(self, task: Task, how: Status, heirs: Mapping[str, int], kept: int, now: int) -> None:
        """`heirs` get parts of the stake, the game keeps one; the rest burns. Then the next attempt is due."""
        for heir, amount in heirs.items():
            self.free[heir] += amount
        task.kept[task.attempt] = kept
        self.burned += task.stake - sum(heirs.values()) - kept
        self.lost[task.solver] = self.lost.get(task.solver, 0) + task.stake
        task.stake = 0
        del task.checkpoints[task.paid :]
        auction = task.auction()
        steps = (task.paid - task.first) * task.terms.interval
        self._note(task.solver, failed=task.price - twin.earned(auction, task.price, steps))
        if task.last:
            self._end(task, how)
            return
        task.status, task.attempt = Status.VACANT, task.attempt + 1
        if task.standby:
            task.handover_ends = now + task.terms.handover_time

    def _vacated(self, number: int, now: int) -> Task:
        task = self._in_status(number, Status.VACANT)
        if task.standby:
            require(now > task.handover_ends, "HandoverOpen")
            self._forfeit(task, (task.attempt - 1, task.standby.bidder))
            task.standby = None
        return task

    def _end(self, task: Task, how: Status) -> None:
        self.free[task.requester] += task.escrow + task.audits * task.terms.audit_fee
        task.escrow, task.audits, task.status = 0, 0, how
        if task.standby:
            self._return_bond(task, (task.attempt, task.standby.bidder))
            task.standby = None

    def _return_bond(self, task: Task, key: Key) -> None:
        task.bonds.remove(key)
        self.free[key[1]] += self.bond

    def _forfeit(self, task: Task, key: Key) -> None:
        task.bonds.remove(key)
        self.burned += self.bond
        self.lost[key[1]] = self.lost.get(key[1], 0) + self.bond

    def _in_status(self, number: int, status: Status) -> Task:
        require(self.tasks[number].status is status, "WrongStatus")
        return self.tasks[number]

    def take(self, account: str, amount: int) -> None:
        self.require_free(account, amount)
        self.free[account] -= amount

    def require_free(self, account: str, amount: int) -> None:
        require(self.free[account] >= amount, "InsufficientFree")
