"""The market's rules in plain Python: what each move must do to everybody's wealth, or why it is refused.

Wealth is what an account would have if everything ended now: wallet, free balance, pending withdrawals, the
escrow of its tasks and the stakes it has locked. Only fees, convictions, stalls and payments change it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from offchain.market.view import Status

BURN_BPS, STALL_BURN_BPS, BPS = 5_000, 1_000, 10_000


class Refused(Exception):
    """The contract must revert with the error of this name."""


@dataclass
class Checkpoint:
    until: int
    holds: int = 0

    def is_final(self, now: int) -> bool:
        return now > self.until and self.holds == 0


@dataclass
class Task:
    requester: str
    max_price: int
    stake: int
    intervals: int
    bidding_ends: int
    interval_time: int
    window: int
    status: Status = Status.BIDDING
    solver: str | None = None
    price: int = 0
    awarded_at: int = 0
    paid: int = 0
    kept: int = 0  # of its stake, with the game, for challengers
    checkpoints: list[Checkpoint] = field(default_factory=list)

    @property
    def escrow(self) -> int:
        if self.status is Status.BIDDING:
            return self.max_price
        return self.price - self.earned(self.paid) if self.status is Status.TRAINING else 0

    @property
    def locked(self) -> int:
        return self.stake if self.solver and self.status in (Status.BIDDING, Status.TRAINING) else 0

    @property
    def due(self) -> int:
        """When the next checkpoint is due."""
        return self.awarded_at + (len(self.checkpoints) + 1) * self.interval_time

    def earned(self, paid: int) -> int:
        return self.price if paid == self.intervals else self.price // self.intervals * paid

    def count_final(self, now: int) -> int:
        number = self.paid
        while number < len(self.checkpoints) and self.checkpoints[number].is_final(now):
            number += 1
        return number


@dataclass
class Model:
    """Every move either returns having changed the books, or raises Refused having changed nothing."""

    game: str
    solvers: frozenset[str]
    wealth: dict[str, int]
    free: dict[str, int]
    fee: int = 0  # for posting
    tasks: list[Task] = field(default_factory=list)
    burned: int = 0

    def post(self, sender: str, task: Task) -> None:
        self.require_free(sender, task.max_price + self.fee)
        self.free[sender] -= task.max_price + self.fee
        self.wealth[sender] -= self.fee
        self.burned += self.fee
        self.tasks.append(task)

    def bid(self, sender: str, number: int, price: int, now: int) -> None:
        task = self._in_status(number, Status.BIDDING)
        require(now < task.bidding_ends, "BiddingOver")
        require(sender != task.requester, "OwnTask")
        require(sender in self.solvers, "NotASolver")
        require(price <= (task.price - 1 if task.solver else task.max_price), "PriceTooHigh")
        back = task.stake if task.solver == sender else 0
        self.require_free(sender, task.stake - back)
        if task.solver:
            self.free[task.solver] += task.stake
        self.free[sender] -= task.stake
        task.solver, task.price = sender, price

    def award(self, number: int, now: int) -> None:
        task = self._in_status(number, Status.BIDDING)
        require(now >= task.bidding_ends, "BiddingOpen")
        task.status = Status.TRAINING if task.solver else Status.CANCELLED
        task.awarded_at = now
        self.free[task.requester] += task.max_price - task.price

    def commit(self, sender: str, number: int, index: int, now: int) -> None:
        task = self.tasks[number]
        require(task.status is Status.TRAINING, "NotTraining")
        require(sender == task.solver, "NotSolver")
        require(len(task.checkpoints) < task.intervals, "AllCommitted")
        require(index == len(task.checkpoints), "WrongIndex")
        require(now <= task.due, "DeadlineMissed")
        least = task.checkpoints[-1].until + task.interval_time if task.checkpoints else 0
        task.checkpoints.append(Checkpoint(max(now + task.window, least)))

    def hold(self, sender: str, number: int, index: int, now: int) -> None:
        checkpoint = self._held(sender, number, index)
        require(now <= checkpoint.until, "WindowClosed")
        checkpoint.holds += 1

    def unhold(self, sender: str, number: int, index: int) -> None:
        checkpoint = self._held(sender, number, index)
        require(checkpoint.holds > 0, "NotHeld")
        checkpoint.holds -= 1

    def collect(self, number: int, now: int) -> None:
        task = self._in_status(number, Status.TRAINING)
        require(task.count_final(now) > task.paid, "NothingFinal")
        self._pay_final(task, now)
        if task.paid == task.intervals:
            task.status = Status.COMPLETED
            self.free[task.solver] += task.stake

    def stall(self, number: int, now: int) -> None:
        task = self._in_status(number, Status.TRAINING)
        require(len(task.checkpoints) < task.intervals, "NothingDue")
        require(now > task.due, "NotStalled")
        require(task.count_final(now) == len(task.checkpoints), "CheckpointPending")
        self._pay_final(task, now)
        burned = -(-task.stake * STALL_BURN_BPS // BPS)
        self._end(task, Status.STALLED, {task.solver: task.stake - burned})

    def slash(self, sender: str, number: int, challenger: str, reward: int, kept: int, now: int) -> None:
        require(sender == self.game, "NotGame")
        task = self._in_status(number, Status.TRAINING)
        require(reward + kept <= task.stake - -(-task.stake * BURN_BPS // BPS), "RewardTooLarge")
        self._pay_final(task, now)
        self._end(task, Status.SLASHED, {challenger: reward}, kept)

    def _end(self, task: Task, status: Status, heirs: dict[str, int], kept: int = 0) -> None:
        """The rest of the escrow goes back, `heirs` get parts of the stake, the game keeps one; the rest burns."""
        self.free[task.requester] += task.escrow
        self.wealth[task.solver] -= task.stake
        for heir, amount in heirs.items():
            self.wealth[heir] += amount
            self.free[heir] += amount
        task.kept = kept
        self.wealth[self.game] += kept
        self.burned += task.stake - sum(heirs.values()) - kept
        task.status = status

    def _pay_final(self, task: Task, now: int) -> None:
        number = task.count_final(now)
        amount = task.earned(number) - task.earned(task.paid)
        task.paid = number
        self.wealth[task.requester] -= amount
        self.wealth[task.solver] += amount
        self.free[task.solver] += amount

    def _held(self, sender: str, number: int, index: int) -> Checkpoint:
        require(sender == self.game, "NotGame")
        require(index < len(self.tasks[number].checkpoints), "UnknownCheckpoint")
        return self.tasks[number].checkpoints[index]

    def _in_status(self, number: int, status: Status) -> Task:
        require(self.tasks[number].status is status, "WrongStatus")
        return self.tasks[number]

    def require_free(self, account: str, amount: int) -> None:
        require(self.free[account] >= amount, "InsufficientFree")


def require(condition: bool, error: str) -> None:
    if not condition:
        raise Refused(error)
