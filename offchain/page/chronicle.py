"""What the events of a deployment tell beside its present state: bids, disputes, people and money, in their order."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from offchain.chain.abi import Event
from offchain.chain.disputes import VERDICTS
from offchain.market.view import NOBODY
from offchain.page.keepers import EVENTS as KEEPING
from offchain.page.keepers import Committees

MOVES: Final = frozenset(
    {"Opened", "StepsRevealed", "StepNamed", "TraceRevealed", "SubtreeNamed", "ChildrenRevealed", "NodeNamed"}
    | {"ChunksRevealed", "ChunkNamed", "ChunkRevealed", "ElementNamed", "SumsRevealed", "SumNamed", "ExponentNamed"}
    | {"Followed", "Resolved", "Dismissed", *VERDICTS}
)
REASONS: Final = ("the contract computed it", "a clock ran out", "conceded")

Args = Mapping[str, Any]


@dataclass
class BidTold:
    """A bid of one attempt. Without a price it has not been revealed."""

    bidder: str
    price: int | None = None
    promised: int = 0
    burden: int = 0
    forfeited: bool = False

    @property
    def score(self) -> int | None:
        return None if self.price is None else self.price + self.burden


@dataclass
class DisputeTold:
    """A dispute, from its opening on.

    Attributes:
        moves: its events. What they reveal is replaced by how much it is.
        sent: transaction of each of them.
        verdict: the event by which the contract judged.
        outcome: the winner; "" where it was dismissed; None while it runs.
    """

    id: int
    task_id: int
    attempt: int
    checkpoint: int
    challenger: str
    solver: str
    bond: int
    moves: list[tuple[str, Args]] = field(default_factory=list)
    sent: list[bytes] = field(default_factory=list)
    verdict: tuple[str, Args] | None = None
    outcome: str | None = None
    reason: str = ""

    @property
    def running(self) -> bool:
        return self.outcome is None


@dataclass
class Person:
    """Somebody with a part in anything. Amounts in the token's smallest unit, from events alone."""

    address: str
    roles: set[str] = field(default_factory=set)
    earned: int = 0  # pay of intervals
    rewards: int = 0  # out of stakes of those it proved wrong
    audited: Counter[int] = field(default_factory=Counter)  # task -> fees that it was paid
    stood_by: Counter[int] = field(default_factory=Counter)  # what an interval earned its solver, gross -> how many
    lost: int = 0  # slashed, or burned by a stall
    bids: int = 0
    wins: int = 0  # tasks that it got
    forfeits: int = 0  # bids that it did not show
    disputes_won: int = 0
    disputes_lost: int = 0
    audit_stake: int = 0
    kept: int = 0  # earned by keeping checkpoints, a part of `earned`
    fined: int = 0  # for what it had signed for and did not show, a part of `lost`
    objections: int = 0  # whose bonds are locked


class Chronicle:
    """Everything told so far. An event that was taken in before means that the chain has changed: it begins anew."""

    def __init__(self) -> None:
        self._tellers: dict[str, Callable[[Event, Args], None]] = {
            "Posted": self._posted, "Sealed": self._sealed, "Revealed": self._revealed, "Forfeited": self._forfeited,
            "Awarded": self._awarded, "TookOver": self._awarded, "Slashed": self._slashed, "Stalled": self._stalled,
            "Committed": self._committed, "Voided": self._voided, "Rewarded": self._rewarded, "Paid": self._paid,
            "Ended": self._ended,
        }  # fmt: skip
        self.begun = 0  # how often it began anew
        self.clear()

    def clear(self) -> None:
        self.bids: dict[int, dict[int, dict[str, BidTold]]] = {}  # task -> attempt -> bidder
        self.disputes: dict[int, DisputeTold] = {}
        self.of_task: dict[int, list[int]] = defaultdict(list)  # task -> disputes
        self.people: dict[str, Person] = {}
        self.commits: dict[int, dict[int, bytes]] = defaultdict(dict)  # task -> checkpoint -> root
        self.standbys: dict[int, str] = {}  # task -> who stands by
        self.voided: dict[int, list[tuple[int, bytes]]] = defaultdict(list)  # task -> checkpoints of failed attempts
        self.keepers = Committees()
        self.audits: dict[tuple[int, int], dict[str, str]] = {}  # (task, checkpoint) -> verifier -> how far it is
        self.paid = self.burned = self.refunded = self.slashed = 0
        self.latest = (-1, -1)  # block and place of the last event
        self.sent: dict[bytes, None] = {}  # transactions that caused events, in their order
        self.sent_about: dict[int, dict[bytes, None]] = defaultdict(dict)  # task -> those about it

    def take(self, event: Event) -> None:
        """Learn what an event of the auction, the market, the log, the game, the auditor or the keepers says."""
        if (event.block, event.index) <= self.latest:
            self.clear()
            self.begun += 1
        self.latest = event.block, event.index
        self._sent_by(event)
        if event.name in MOVES and "id" in event.args:
            self._moved(event)
        elif event.name in AUDITS and "verifier" in event.args:
            self._audited(event.name, event.args)
        elif event.name in KEEPING or "keeper" in event.args:
            self._kept(event.name, event.args)
        elif event.name in self._tellers:
            self._tellers[event.name](event, event.args)

    def _sent_by(self, event: Event) -> None:
        self.sent[event.transaction] = None
        dispute = self.disputes.get(event.args.get("id", -1))
        task_id = event.args.get("taskId", dispute.task_id if dispute else None)
        if task_id is not None:
            self.sent_about[task_id][event.transaction] = None

    def take_entry(self, event: Event) -> None:
        """Learn what an event of the registers of workers and of verifiers says."""
        if event.name in ("Registered", "Updated"):
            person = self.person(event.args["worker"])
            person.roles -= {"solver", "verifier"}
            person.roles |= {name for bit, name in ((1, "solver"), (2, "verifier")) if event.args["roles"] & bit}
        elif event.name == "Deregistered":
            self.person(event.args["worker"]).roles -= {"solver", "verifier"}
        elif event.name == "StakeChanged":
            self.person(event.args["verifier"], "verifier").audit_stake = event.args["stake"]

    def person(self, address: str, role: str = "") -> Person:
        person = self.people.setdefault(address, Person(address))
        if role:
            person.roles.add(role)
        return person

    # --- tasks and bids

    def _posted(self, event: Event, args: Args) -> None:
        self.person(args["requester"], "requester")

    def _bid(self, args: Args) -> BidTold:
        of_attempt = self.bids.setdefault(args["taskId"], {}).setdefault(args["attempt"], {})
        return of_attempt.setdefault(args["bidder"], BidTold(args["bidder"]))

    def _sealed(self, event: Event, args: Args) -> None:
        self._bid(args)
        self.person(args["bidder"], "solver").bids += 1

    def _revealed(self, event: Event, args: Args) -> None:
        bid = self._bid(args)
        bid.price, bid.promised, bid.burden = args["price"], args["promised"], args["burden"]

    def _forfeited(self, event: Event, args: Args) -> None:
        self._bid(args).forfeited = True
        self.person(args["bidder"]).forfeits += 1

    def _awarded(self, event: Event, args: Args) -> None:
        if args["solver"] != NOBODY:
            self.person(args["solver"], "solver").wins += 1
        self.standbys[args["taskId"]] = args.get("standby", NOBODY)  # who takes over has nobody behind it

    def _committed(self, event: Event, args: Args) -> None:
        self.commits[args["taskId"]][args["index"]] = args["root"]

    def _voided(self, event: Event, args: Args) -> None:
        commits = self.commits[args["taskId"]]
        for checkpoint in sorted(k for k in commits if k >= args["index"]):
            self.voided[args["taskId"]].append((checkpoint, commits.pop(checkpoint)))

    def _paid(self, event: Event, args: Args) -> None:
        if "solver" not in args:
            return
        self.paid += args["amount"]
        self.burned += args["fee"]
        self.person(args["solver"], "solver").earned += args["amount"]
        standby = self.standbys.get(args["taskId"], NOBODY)
        if standby != NOBODY:
            self.person(standby, "solver").stood_by[args["amount"] + args["withheld"] + args["fee"]] += 1

    def _slashed(self, event: Event, args: Args) -> None:
        self.slashed += args["slashed"]
        self.person(args["solver"], "solver").lost += args["slashed"]

    def _stalled(self, event: Event, args: Args) -> None:
        self.burned += args["burned"]
        self.person(args["solver"], "solver").lost += args["burned"]

    def _rewarded(self, event: Event, args: Args) -> None:
        self.person(args["challenger"], "challenger").rewards += args["amount"]

    def _ended(self, event: Event, args: Args) -> None:
        self.refunded += args["refunded"]

    # --- disputes

    def _moved(self, event: Event) -> None:
        args = event.args
        if event.name == "Opened":
            made = DisputeTold(
                args["id"], args["taskId"], args["attempt"], args["checkpoint"], args["challenger"], args["solver"],
                args["bond"],
            )  # fmt: skip
            self.disputes[made.id] = made
            self.of_task[made.task_id].append(made.id)
            self.person(made.challenger, "challenger")
        dispute = self.disputes.get(args["id"])
        if dispute is None:
            return
        dispute.moves.append((event.name, counted(args)))
        dispute.sent.append(event.transaction)
        if event.name in VERDICTS:
            dispute.verdict = event.name, args
        elif event.name == "Resolved":
            self._resolved(dispute, args)
        elif event.name == "Dismissed":
            dispute.outcome = ""

    def _resolved(self, dispute: DisputeTold, args: Args) -> None:
        dispute.outcome = args["winner"]
        dispute.reason = REASONS[args["reason"]] if args["reason"] < len(REASONS) else ""
        winner, loser = self.person(args["winner"]), self.person(args["loser"])
        winner.disputes_won += 1
        loser.disputes_lost += 1
        if args["loser"] == dispute.challenger:
            loser.lost += dispute.bond
            winner.rewards += dispute.bond // 2  # the rest burns

    # --- keepers

    def _kept(self, name: str, args: Args) -> None:
        self.keepers.take(name, args)
        for member in args.get("members", ()):
            self.person(member["holder"], "verifier")
        if "keeper" not in args:
            return
        person, amount = self.person(args["keeper"], "verifier"), args.get("amount", 0)
        if name == "Rewarded":
            person.earned, person.kept = person.earned + amount, person.kept + amount
        elif name == "Denounced":
            person.lost, person.fined = person.lost + amount, person.fined + amount
            self.burned += amount
        elif name in ("Objected", "Returned"):
            person.objections += 1 if name == "Objected" else -1

    # --- audits

    def _audited(self, name: str, args: Args) -> None:
        far, person = AUDITS[name], self.person(args["verifier"], "verifier")
        if name == "Settled":
            fees = args["fees"] if args["earned"] else 0
            far = "paid" if fees == 1 else f"paid {fees} fees" if fees else "bond lost" if args["forfeited"] else "over"
            person.audited[args["taskId"]] += fees
        self.audits.setdefault((args["taskId"], args["checkpoint"]), {})[args["verifier"]] = far


AUDITS: Final = {"Claimed": "claimed", "Vouched": "vouched", "Settled": "over"}  # event -> how far that audit is


def counted(args: Args) -> dict[str, Any]:
    """An event's arguments with lists and bytes replaced by their lengths: a chunk of each dispute fills no memory."""
    return {
        name: len(value) if isinstance(value, list | tuple) or (isinstance(value, bytes) and len(value) > 32) else value
        for name, value in args.items()
    }
