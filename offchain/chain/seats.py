"""What an account has to do with committees of keepers, as their events tell it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from offchain.chain.abi import Event
from offchain.chain.keepers import member_from
from offchain.market.keeping import Member

Attempt = tuple[int, int]  # task and attempt
Committee = tuple[int, int, int]  # and 0 or 1
EVENTS: Final = frozenset(
    {"Seated", "Attested", "Acknowledged", "Objected", "Recalled", "Returned", "Shown", "Denounced", "Rewarded"}
)


@dataclass
class Seats:
    """Who sits where, in tasks that are followed.

    Attributes:
        me: the account.
        of_task: task -> who sits on each of its committees.
        mine: those on which the account sits, and for which it was not paid.
        objections: attempts in which the account has objected, and its bond is locked.
        denied: attempts in which somebody else has objected, and the account sits on the first committee, and has not
            shown anything.
        accused: attempts in which the account has objected, and others may have signed for what they do not hold.
    """

    me: str
    of_task: dict[int, dict[Committee, tuple[Member, ...]]] = field(default_factory=dict)
    mine: set[Committee] = field(default_factory=set)
    objections: set[Attempt] = field(default_factory=set)
    denied: set[Attempt] = field(default_factory=set)
    accused: set[Attempt] = field(default_factory=set)

    def take(self, event: Event) -> None:
        """Learn what an event of the keepers' contract says."""
        args = event.args
        attempt: Attempt = args["taskId"], args["attempt"]
        own = bool(args.get("keeper") == self.me)
        if event.name == "Seated":
            self._seat((*attempt, args["committee"]), args)
        elif event.name == "Objected":
            if own:
                self.objections.add(attempt)
                self.accused.add(attempt)
            elif self._sits((*attempt, 0)):
                self.denied.add(attempt)
        elif event.name == "Returned":
            self.objections.discard(attempt)
        elif event.name in ("Shown", "Denounced") and own:
            self.denied.discard(attempt)
        elif event.name == "Rewarded" and own:
            self.mine.discard((*attempt, args["committee"]))

    def _seat(self, committee: Committee, args: Mapping[str, Any]) -> None:
        members = tuple(map(member_from, args["members"]))
        self.of_task.setdefault(committee[0], {})[committee] = members
        if self._sits(committee):
            self.mine.add(committee)

    def _sits(self, committee: Committee) -> bool:
        members = self.of_task.get(committee[0], {}).get(committee, ())
        return any(member.holder == self.me for member in members)

    def sitting(self) -> dict[Committee, tuple[Member, ...]]:
        """Who sits on each committee."""
        return {committee: members for known in self.of_task.values() for committee, members in known.items()}

    def engaged(self, task_id: int) -> bool:
        """Whether there may be something to do in a task because of a seat."""
        return any(known[0] == task_id for known in (*self.mine, *self.objections, *self.denied, *self.accused))

    def leave(self, what: tuple[int, ...]) -> None:
        """Nothing is left to do in a committee, or about an attempt that was objected to."""
        self.mine = {key for key in self.mine if key != what}
        self.denied = {key for key in self.denied if key != what}
        self.accused = {key for key in self.accused if key != what}

    def drop(self, task_id: int) -> None:
        """Forget a task."""
        self.of_task.pop(task_id, None)
