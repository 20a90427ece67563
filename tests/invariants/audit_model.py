"""The auditor's rules over whole numbers: what a claim and its fees become."""

from __future__ import annotations

from tests.invariants.money_task import Claimed, Task, require


class Audits:
    """Every move either returns having changed the books, or raises Refused having changed nothing."""

    game: str
    audit_bond: int
    tasks: list[Task]
    free: dict[str, int]
    lost: dict[str, int]
    burned: int

    def take(self, account: str, amount: int) -> None:
        raise NotImplementedError

    def claim(self, sender: str, number: int, index: int, won: int, guessed: bool, now: int) -> None:
        """`won`: fees that its ticket wins."""
        task = self.tasks[number]
        require(task.audits > 0, "BudgetSpent")
        require(index < len(task.checkpoints), "UnknownCheckpoint")
        point = task.checkpoints[index]
        key = point.attempt, index, sender
        require(now <= point.claimable_until, "ClaimingOver")
        require(sender != task.solver, "OwnCheckpoint")
        require(key not in task.claims, "AlreadyClaimed")
        require(won > 0, "NotDrawn")
        self.take(sender, self.audit_bond)
        task.fees[key] = min(won, task.audits)
        task.audits -= task.fees[key]
        task.claims[key] = False
        if guessed:
            task.guesses.add(key)

    def vouch(self, sender: str, number: int, index: int, now: int) -> None:
        task = self.tasks[number]
        require(index < len(task.checkpoints), "UnknownCheckpoint")
        point = task.checkpoints[index]
        key = point.attempt, index, sender
        require(key in task.claims, "NotClaimed")
        require(not task.claims[key], "AlreadyRevealed")
        require(now > point.claimable_until, "ClaimingOpen")
        require(now <= point.until, "RevealOver")
        require(key not in task.guesses, "CommitmentDiffers")
        task.claims[key] = True

    def settle_claim(self, number: int, key: Claimed, now: int) -> None:
        task, (attempt, index, verifier) = self.tasks[number], key
        require(key in task.claims, "NotClaimed")
        stands = index < len(task.checkpoints) and task.checkpoints[index].attempt == attempt
        earned, forfeited = False, (attempt, index) in task.condemned
        if stands:
            require(now > task.checkpoints[index].until, "WindowOpen")
            earned, forfeited = task.claims[key], not task.claims[key]
            require(forfeited or task.paid > index, "NotFinal")
        del task.claims[key]
        task.guesses.discard(key)
        fees = task.fees.pop(key)
        if forfeited:
            self.burned += self.audit_bond
            self.lost[verifier] = self.lost.get(verifier, 0) + self.audit_bond
        else:
            self.free[verifier] += self.audit_bond
        if earned:
            self.free[verifier] += fees * task.terms.audit_fee
        elif task.status.ended:
            self.free[task.requester] += fees * task.terms.audit_fee
        else:
            task.audits += fees

    def condemn(self, sender: str, number: int, index: int) -> None:
        require(sender == self.game, "NotGame")
        task = self.tasks[number]
        require(index < len(task.checkpoints), "UnknownCheckpoint")
        task.condemned.add((task.checkpoints[index].attempt, index))
