"""Audits and keepers in the demo: who is drawn, who has vouched and signed, who was paid, and what looking cost."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from rich.console import Console

from offchain.chain.claims import Claim, Fate, told
from offchain.chain.keepers import member_from
from offchain.demo.audience import Audience
from offchain.demo.stage import Stage
from offchain.market.money import tokens
from offchain.market.view import CheckpointView, TaskView
from offchain.worker.events import Audited
from offchain.worker.vouched import LotDrawn

LAZY: Final = "lazy"
STAKES: Final = {"verifier-a": 40, "verifier-b": 10, LAZY: 50}  # tokens
HONEST: Final = tuple(name for name in STAKES if name != LAZY)
DRAWN: Final = ["--audit-rate", "400", "--audit-fee", "0.3"]  # the lazy verifier is drawn for 86 % of all checkpoints
ALL: Final = "verifier-b"  # replays also what it is not drawn for, so that every run finds the falsehood
SHOWING: Final = 20  # seconds that verifiers need at most to show what they claimed
SETTLING: Final = 20.0  # seconds that they need for the rest


@dataclass
class Audits:
    """What verifiers do about a task. `look` takes in what an audience has seen of it."""

    stage: Stage
    audience: Audience
    task_id: int

    @property
    def claims(self) -> list[Claim]:
        return told(event for event in self.audience.events if event.args.get("taskId") == self.task_id)

    def done(self, view: TaskView) -> bool:
        """Whether each honest verifier has claimed what it is drawn for, and shown what it can show by now."""
        now, fates = self.stage.now(), self._fates()
        lots = {name: self._lots(name) for name in HONEST}
        for k in range(view.paid, len(view.checkpoints)):
            point = view.checkpoints[k]
            for name in HONEST:
                won, fate = lots[name].get((point.attempt, k)), fates.get((point.attempt, k, name))
                if now <= point.claimable_until:
                    if won is None or (won and fate is None):
                        return False
                elif now <= point.challengeable_until and fate is Fate.CLAIMED and view.available(k):
                    return False
        return True

    def next_time(self, view: TaskView) -> int:
        """When there is something to do again: what was claimed can be shown, or nothing can be disputed any more."""
        waiting = list(self._unshown(view))
        if not waiting:
            return 1 + max(point.challengeable_until for point in view.checkpoints)
        last = max(point.claimable_until for point in waiting)
        if last + SHOWING > min(point.challengeable_until for point in waiting):
            last = min(point.claimable_until for point in waiting)
        return 1 + last

    def _unshown(self, view: TaskView) -> Iterator[CheckpointView]:
        fates = self._fates()
        for k, point in enumerate(view.checkpoints):
            if any(fates.get((point.attempt, k, name)) is Fate.CLAIMED for name in HONEST):
                yield point

    def _fates(self) -> dict[tuple[int, int, str], Fate]:
        named = ((claim, self.stage.name_of(claim.verifier)) for claim in self.claims)
        return {(claim.attempt, claim.checkpoint, name): claim.fate for claim, name in named}

    def _lots(self, name: str) -> dict[tuple[int, int], bool]:
        drawn = self.stage.said(name, LotDrawn, self.task_id)
        return {(entry["attempt"], entry["checkpoint"]): entry["won"] for entry in drawn}

    def report(self, view: TaskView, console: Console) -> dict[str, Any]:
        """Waits until all claims are settled. `audit_cost_share`: of the steps of the task, as many were replayed."""
        deadline = time.monotonic() + SETTLING
        while any(claim.fate.is_open for claim in self.claims) and time.monotonic() < deadline:
            time.sleep(0.5)
            self.audience.look(self.task_id)
        rows: list[dict[str, Any]] = [
            {
                "verifier": self.stage.name_of(claim.verifier),
                "checkpoint": claim.checkpoint,
                "attempt": claim.attempt,
                "fate": claim.fate.value,
                "paid": view.terms.audit_fee * claim.fees if claim.fate is Fate.PAID else 0,
            }
            for claim in self.claims
        ]
        replayed = sum(self._steps(name, view) for name in HONEST)
        share = replayed / view.terms.steps
        paid = [row for row in rows if row["paid"]]
        console.print(f"{len(paid)} audits were paid {tokens(sum(row['paid'] for row in paid))};", end=" ")
        console.print(f"they replayed {replayed} steps, {share:.0%} of the training's")
        console.print(self._of_the_lazy(rows))
        return {"audits": rows, "audit_cost_share": share, "attestations": list(self._attestations())}

    def _attestations(self) -> Iterator[dict[str, Any]]:
        """What keepers have signed, and who they are."""
        members: list[str] = []
        for event in self.audience.events:
            args = event.args
            if args.get("taskId") != self.task_id:
                continue
            if event.name == "Seated":
                members = [self.stage.name_of(member.holder) for member in map(member_from, args["members"])]
            elif event.name == "Attested":
                signers = [name for place, name in enumerate(members) if args["signers"] >> place & 1]
                yield {"attempt": args["attempt"], "checkpoint": args["checkpoint"], "signers": signers}

    def _steps(self, name: str, view: TaskView) -> int:
        """How many steps a verifier has replayed of what it was drawn for: each verdict took an interval."""
        drawn = {checkpoint for (_, checkpoint), won in self._lots(name).items() if won}
        seen = [entry["checkpoint"] for entry in self.stage.said(name, Audited, view.id)]
        spans = (view.terms.steps_of(checkpoint) for checkpoint in seen if checkpoint in drawn)
        return sum(hi - lo for lo, hi in spans)

    def _of_the_lazy(self, rows: list[dict[str, Any]]) -> str:
        own = [row for row in rows if row["verifier"] == LAZY]
        lost = [row for row in own if row["fate"] == Fate.FORFEITED]
        bonds = len(lost) * int(self.stage.chains[LAZY].call("auditor", "auditBond"))
        earned = sum(row["paid"] for row in own)
        return (
            f"[red]{LAZY} vouched for {len(own)} checkpoints that it had not replayed:[/] it showed nothing, earned "
            f"{tokens(earned)}, and lost {len(lost)} bonds, {tokens(bonds)}"
        )
