"""The books of one account: where its money is, by the events of a deployment, and the reason of each coin.

An account's money lies in four places: its wallet, what is free in the vault, what is being withdrawn from it, and the
vault's pots that it filled. Every event that moves some of it becomes an `Entry`, and what these add up to is what the
token and the vault say, to the unit.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final

from offchain.chain.abi import Event
from offchain.market.view import NOBODY, Status

KEEPING: Final = "for keeping checkpoints"
FINED: Final = ": what it had signed for could not be shown"
SHORT: Final = 10  # characters of an address
ATTEMPT_BITS: Final = 8  # Attempts.BITS
# module, key, and whose bonds: an auditor's pot has a budget's "" and its verifiers', the keepers' has their pay's ""
PotKey = tuple[str, bytes, str]


class Kind(StrEnum):
    """What a movement means to the account. Of EARNED, SPENT and LOST its wealth changes, and of some MOVED."""

    MOVED = "moved"  # between its own places, or from and to other accounts
    LOCKED = "locked"
    RETURNED = "returned"
    SPENT = "spent"  # by a requester, on workers and fees
    EARNED = "earned"
    LOST = "lost"  # burned, or paid to whoever was right


@dataclass(frozen=True, slots=True)
class Entry:
    """One movement of the account's money: what each of its places gained, in the token's smallest unit."""

    event: Event
    kind: Kind
    why: str
    task: int | None = None
    wallet: int = 0
    free: int = 0
    pending: int = 0
    locked: int = 0

    @property
    def gain(self) -> int:
        """What the account has more than before."""
        return self.wallet + self.free + self.pending + self.locked


@dataclass(frozen=True, slots=True)
class Pot:
    """What a pot of the vault is for. `last`: the vault's event about it before this one."""

    part: str  # of the deployment: whose pot it is
    what: str
    task: int | None
    attempt: int = 0
    owner: str = NOBODY  # who filled it
    amount: int = 0
    last: str = ""


@dataclass
class Books:
    """Takes the events of token, vault, auction, market, game, auditor and keepers in their order.

    Attributes:
        me: the account.
        parts: address -> part of the deployment.
        entries: movements of the account's money, the first first.
        pots: every pot that is not empty.
    """

    me: str
    parts: Mapping[str, str]
    entries: list[Entry] = field(default_factory=list)
    pots: dict[PotKey, Pot] = field(default_factory=dict)
    _last: dict[int, str] = field(default_factory=dict)  # task -> the market's, or the auction's, last word about it
    _paid: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))  # task -> checkpoints in this call
    _solver: dict[int, str] = field(default_factory=dict)
    _refund: dict[int, int] = field(default_factory=dict)  # task -> place of the entry that says what came back
    _shown: set[tuple[int, int]] = field(default_factory=set)  # (task, attempt) of own bids that were revealed
    _named: tuple[int, int] = 0, 0  # whose bond is locked next: a bid's task and attempt, a dispute's and checkpoint
    # whose claim or objection the next words to the vault are about; "": about a budget or keepers' pay
    _verifier: str = ""
    _audit_bond: int = 0

    # --- what they add up to

    def sums(self) -> dict[str, int]:
        """What the entries say that the account has: "wallet", "free", "pending", "locked"."""
        places = ("wallet", "free", "pending", "locked")
        return {place: sum(getattr(entry, place) for entry in self.entries) for place in places}

    def total(self, kind: Kind) -> int:
        """What entries of a kind added to the account's wealth, or took from it; not less than 0."""
        return abs(sum(entry.gain for entry in self.entries if entry.kind is kind))

    def keeping(self) -> tuple[int, int]:
        """What the account has earned by keeping checkpoints, and what it was fined for what it could not show."""
        earned = sum(entry.gain for entry in self.entries if entry.why == KEEPING)
        return earned, -sum(entry.gain for entry in self.entries if entry.why.endswith(FINED))

    def held(self) -> list[Pot]:
        """The account's pots, by task."""
        mine = [pot for pot in self.pots.values() if pot.owner == self.me]
        return sorted(mine, key=lambda pot: (pot.task is None, pot.task or 0, pot.what))

    # --- events

    def take(self, event: Event) -> None:
        """Take in an event."""
        row = _ROWS.get((self.parts.get(event.address, ""), event.name))
        if row is not None:
            row(self, event, event.args)

    def _add(self, event: Event, kind: Kind, why: str, task: int | None = None, **places: int) -> None:
        if any(places.values()):
            self.entries.append(Entry(event, kind, why, task, **places))

    def _transferred(self, event: Event, args: Mapping[str, Any]) -> None:
        giver, taker, amount = args["from"], args["to"], args["value"]
        if giver == taker:
            return
        if giver == self.me:
            self._add(event, Kind.MOVED, f"sent to {self._place(taker)}", wallet=-amount)
        elif self.parts.get(giver) == "vault" and self._follows(event, "Withdrawn"):
            self.entries[-1] = replace(self.entries[-1], wallet=amount)
        else:
            self._add(event, Kind.MOVED, "minted" if giver == NOBODY else f"from {giver[:SHORT]}", wallet=amount)

    def _place(self, address: str) -> str:
        return "the vault" if self.parts.get(address) == "vault" else address[:SHORT]

    def _follows(self, event: Event, name: str) -> bool:
        """Whether the last entry is of that event, in the same transaction."""
        last = self.entries[-1].event if self.entries else None
        return last is not None and (last.name, last.transaction) == (name, event.transaction)

    def _deposited(self, event: Event, args: Mapping[str, Any]) -> None:
        if args["account"] != self.me:
            return
        sent = self.entries.pop().wallet if self._follows(event, "Transfer") else 0
        self._add(event, Kind.MOVED, "deposited", wallet=sent, free=args["amount"])

    def _asked_back(self, event: Event, args: Mapping[str, Any]) -> None:
        if args["account"] == self.me:
            self._add(event, Kind.MOVED, "withdrawal asked for", free=-args["amount"], pending=args["amount"])

    def _withdrawn(self, event: Event, args: Mapping[str, Any]) -> None:
        if args["account"] == self.me:
            self._add(event, Kind.MOVED, "withdrawn", pending=-args["amount"])

    def _locked(self, event: Event, args: Mapping[str, Any]) -> None:
        key, owner, amount = self._key(args), args["account"], args["amount"]
        if self._verifier:
            self._verifier, self._audit_bond = "", amount
        pot = self.pots.get(key) or self._pot(*key)
        self.pots[key] = replace(pot, owner=owner, amount=pot.amount + amount, last="Locked")
        if owner == self.me:
            self._add(event, Kind.LOCKED, pot.what, pot.task, free=-amount, locked=amount)

    def _key(self, args: Mapping[str, Any]) -> PotKey:
        bonds = self.parts.get(args["module"]) in ("auditor", "keepers")
        return args["module"], args["pot"], self._verifier if bonds else ""

    def _pot(self, module: str, key: bytes, verifier: str) -> Pot:
        """A pot that is filled now, by whose it is and by its name: see contracts/lib/Pots.sol."""
        part, number = self.parts.get(module, module), int.from_bytes(key)
        task, attempt = divmod(number >> 1, 1 << ATTEMPT_BITS)
        if part == "auction":
            return Pot(part, "bid bond", *self._named)
        if part == "market":
            return Pot(part, "stake", task, attempt) if number & 1 else Pot(part, "escrow", task)
        if part == "auditor":
            return Pot(part, "audit bond" if verifier else "budget for audits", task)
        if part == "keepers":
            return Pot(part, "bond of an objection" if verifier else "pay of keepers", task)
        if part == "game":
            return Pot(part, f"bond for disputing checkpoint {self._named[1]}", self._named[0])
        return Pot(part, "stake to be drawn for audits" if part == "verifiers" else f"locked by the {part}", None)

    def _draw(self, key: PotKey, amount: int, name: str) -> Pot:
        """The pot that an event takes money from, as it was before."""
        pot = self.pots.get(key) or self._pot(*key)  # of a node that hides events
        self.pots[key] = replace(pot, amount=pot.amount - amount, last=name)
        if self.pots[key].amount <= 0:
            del self.pots[key]
        return pot

    def _paid_out(self, event: Event, args: Mapping[str, Any]) -> None:
        key, amount = self._key(args), args["amount"]
        if self._verifier and amount > self._audit_bond:  # a claim's bond comes with its fee, which is the requester's
            self._take_out(event, (*key[:2], ""), args["account"], amount - self._audit_bond)
            amount = self._audit_bond
        self._verifier = ""
        self._take_out(event, key, args["account"], amount)

    def _take_out(self, event: Event, key: PotKey, taker: str, amount: int) -> None:
        pot = self._draw(key, amount, "Paid")
        own = pot.owner == self.me
        if own and taker == self.me:
            if pot.what == "escrow":
                self._refund[pot.task or 0] = len(self.entries)
            self._add(event, Kind.RETURNED, self._back(pot), pot.task, free=amount, locked=-amount)
        elif own:
            kind = Kind.SPENT if pot.what in ("escrow", "budget for audits") else Kind.LOST
            self._add(event, kind, f"{self._given(pot, taker)} to {taker[:SHORT]}", pot.task, locked=-amount)
        elif taker == self.me:
            self._add(event, Kind.EARNED, self._earned(pot), pot.task, free=amount)
        if pot.what == "escrow" and taker == self._solver.get(pot.task or 0):
            self._paid.pop(pot.task or 0, None)

    def _back(self, pot: Pot) -> str:
        """Why a pot's owner gets its money back."""
        if pot.what == "escrow":
            return "what was left came back"
        if pot.part == "market":
            why = {"Stalled": "what a stall leaves", "Revealed": "a better bid was shown", "Paid": "all is delivered"}
            return f"{pot.what} back: {why.get(self._last.get(pot.task or 0, ''), 'it is free')}"
        return f"{pot.what} back"

    def _given(self, pot: Pot, taker: str) -> str:
        """What a pot's owner paid somebody else for."""
        if pot.part == "auditor":
            return "for an audit"
        if pot.what != "escrow":
            return f"{pot.what} lost"
        return self._pay(pot) if taker == self._solver.get(pot.task or 0) else "for standing by"

    def _earned(self, pot: Pot) -> str:
        """What the account got out of somebody else's pot."""
        if pot.what == "escrow":
            return self._pay(pot) if self._solver.get(pot.task or 0) == self.me else "for standing by"
        if pot.part == "auditor":
            return "for an audit"
        if pot.part == "keepers":
            return KEEPING
        if pot.part == "market":
            return "reward: its solver was convicted"
        return "bounty: was right in a dispute" if pot.what == "stake" else "won a challenger's bond"

    def _pay(self, pot: Pot) -> str:
        paid = self._paid.get(pot.task or 0, [])
        if len(paid) < 2:
            return f"pay for checkpoint {paid[0]}" if paid else "pay"
        return f"pay for checkpoints {paid[0]} to {paid[-1]}"

    def _burned(self, event: Event, args: Mapping[str, Any]) -> None:
        pot = self._draw(self._key(args), args["amount"], "Burned")
        self._verifier = ""
        if pot.owner != self.me:
            return
        kind, why = Kind.LOST, f"{pot.what} burned"
        if pot.what == "escrow":
            kind, why = Kind.SPENT, "fee for posting" if pot.last == "Locked" else "fee on pay"
        elif pot.part == "verifiers":
            why += FINED
        elif pot.part == "market":
            why += ": a deadline was missed" if self._last.get(pot.task or 0) == "Stalled" else ": convicted"
        elif pot.part == "auction":
            why += ": did not take over" if (pot.task, pot.attempt) in self._shown else ": not revealed"
        self._add(event, kind, why, pot.task, locked=-args["amount"])

    def _moved(self, event: Event, args: Mapping[str, Any]) -> None:
        pot = self._draw(self._key(args), args["amount"], "Moved")
        other = args["to"], args["pot"], ""
        keepers = self.parts.get(args["to"]) == "keepers"
        named = "pay of keepers" if keepers else "stake"
        kept = self.pots.get(other, Pot(self.parts.get(args["to"], ""), named, pot.task, pot.attempt))
        self.pots[other] = replace(kept, owner=NOBODY, amount=kept.amount + args["amount"])
        if pot.owner == self.me:
            kind, why = (Kind.SPENT, "for keepers") if keepers else (Kind.LOST, f"{pot.what} kept for challengers")
            self._add(event, kind, why, pot.task, locked=-args["amount"])

    # --- what says why

    def _said(self, event: Event, args: Mapping[str, Any]) -> None:
        task = args["taskId"]
        self._last[task] = event.name
        if event.name in ("Awarded", "TookOver"):
            self._solver[task] = args["solver"]
        elif event.name == "Paid":
            self._paid[task].append(args["index"])
        elif event.name == "Revealed" and args["bidder"] == self.me:
            self._shown.add((task, args["attempt"]))
        elif event.name == "Ended" and task in self._refund:
            place = self._refund.pop(task)
            how = Status(args["how"]).name.lower()
            self.entries[place] = replace(self.entries[place], why=f"what was left came back: {how}")

    def _sealed(self, event: Event, args: Mapping[str, Any]) -> None:
        self._named = args["taskId"], args["attempt"]

    def _claims(self, event: Event, args: Mapping[str, Any]) -> None:
        self._verifier = args["verifier"]

    def _objects(self, event: Event, args: Mapping[str, Any]) -> None:
        self._verifier = args["keeper"]

    def _opened(self, event: Event, args: Mapping[str, Any]) -> None:
        self._named = args["taskId"], args["checkpoint"]


_Row = Callable[[Books, Event, Mapping[str, Any]], None]
_MARKET: Final = ("Awarded", "TookOver", "Paid", "Stalled", "Slashed", "Ended")
_ROWS: Final[dict[tuple[str, str], _Row]] = {
    ("token", "Transfer"): Books._transferred,
    ("vault", "Deposited"): Books._deposited,
    ("vault", "WithdrawalRequested"): Books._asked_back,
    ("vault", "Withdrawn"): Books._withdrawn,
    ("vault", "Locked"): Books._locked,
    ("vault", "Paid"): Books._paid_out,
    ("vault", "Burned"): Books._burned,
    ("vault", "Moved"): Books._moved,
    ("auction", "Sealed"): Books._sealed,
    ("auction", "Revealed"): Books._said,
    ("game", "Opened"): Books._opened,
    ("auditor", "Claimed"): Books._claims,
    ("auditor", "Settled"): Books._claims,
    ("keepers", "Objected"): Books._objects,
    ("keepers", "Returned"): Books._objects,
    **{("market", name): Books._said for name in _MARKET},
}
