"""Who keeps checkpoints, as events tell it: committees, what their members have signed for, and what became of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from offchain.market.view import ChainView, TaskView
from offchain.page import words

EVENTS: Final = frozenset({"Seated", "Attested"})  # and all that name a keeper
MOST: Final = 200  # members of a task that are shown

Args = Mapping[str, Any]
Committee = tuple[int, int, int]  # task, attempt, 0 or 1


@dataclass
class MemberTold:
    """A member of a committee. `signed`: checkpoints that it holds, from the first on. `notes`: what else it did."""

    holder: str
    seats: int
    signed: int = 0
    notes: list[str] = field(default_factory=list)


class Committees:
    """Everything told of keepers so far."""

    def __init__(self) -> None:
        self.members: dict[Committee, list[MemberTold]] = {}

    def take(self, name: str, args: Args) -> None:
        """Learn what an event of the keepers' contract says."""
        about = args["taskId"], args["attempt"]
        if name == "Seated":
            seated = [MemberTold(member["holder"], member["seats"]) for member in args["members"]]
            self.members[*about, args["committee"]] = seated
        elif name == "Attested":
            for n, member in enumerate(self.members.get((*about, args["committee"]), ())):
                if args["signers"] >> n & 1:
                    member.signed = max(member.signed, args["checkpoint"] + 1)
        elif "keeper" in args:
            self._note((*about, args.get("committee", 0)), args["keeper"], said(name, args))

    def _note(self, committee: Committee, holder: str, note: str) -> None:
        for member in self.members.get(committee, ()):
            if member.holder == holder and note:
                member.notes.append(note)

    def of_task(self, task: TaskView) -> list[dict[str, Any]]:
        """Rows of the members, those of the latest attempt first."""
        mine = {key: members for key, members in self.members.items() if key[0] == task.id}
        found = [
            {
                "id": f"{attempt}-{number}-{member.holder}",
                "member": words.account(member.holder),
                "seats": member.seats,
                "signed": member.signed,
                "committee": "second" if number else "first",
                "attempt": attempt + 1,
                "note": "; ".join(member.notes[:4]),
            }
            for (_, attempt, number), members in sorted(mine.items(), reverse=True)
            for member in members
        ]
        return found[:MOST]

    def keeping(self, view: ChainView) -> Counter[str]:
        """Account -> on how many committees of running attempts it sits."""
        running = (key for key in self.members if key[0] in view and view.runs(*key[:2]))
        return Counter(member.holder for key in running for member in self.members[key])


def said(name: str, args: Args) -> str:
    """What a member did, or what became of it."""
    return {
        "Objected": f"could not have checkpoint {args.get('checkpoint')}",
        "Shown": "has shown what it signed for",
        "Denounced": f"showed nothing: fined {words.amount(args.get('amount', 0))}",
        "Rewarded": f"paid {words.amount(args.get('amount', 0))}",
    }.get(name, "")
