"""What `task post` says at each step of a task: who got it and why, what is paid, what is locked, what comes back."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, Final

from offchain.chain.abi import Event
from offchain.chain.client import Chain
from offchain.chain.statement import scan
from offchain.errors import ChainError, ChainUnavailable
from offchain.market.money import BPS, about, part_down
from offchain.market.view import NOBODY, Status, Terms

PARTS: Final = ("auction", "market", "log", "auditor", "keepers")  # whose events are told
SHORT: Final = 10  # characters of an address
MONEY: Final = frozenset(
    {"price", "burden", "amount", "withheld", "fee", "burned", "slashed", "rewards", "refunded"}
)  # of events: exact in JSON


class Story:
    """A task as its events tell it, to the one who posted it.

    Attributes:
        locked: what is in the task's escrow, in the token's smallest unit.
    """

    def __init__(self, task_id: int, terms: Terms, locked: int, standby_bps: int) -> None:
        self.locked = locked
        self._id, self._terms, self._standby_bps = task_id, terms, standby_bps
        self._standby = NOBODY
        self._scores: dict[str, tuple[int, int, int]] = {}  # of the running auction: price, burden, score
        self._sentences: dict[str, Callable[[Mapping[str, Any]], str]] = {
            "Revealed": self._revealed,
            "Awarded": self._awarded,
            "Paid": self._paid,
            "Held": lambda a: f"checkpoint {a['index']} is disputed: not paid before that is decided",
            "Stalled": self._stalled,
            "Slashed": self._slashed,
            "Vacated": self._vacated,
            "TookOver": self._took_over,
            "Reopened": self._reopened,
            "Ended": self._ended,
            "Vouched": lambda a: (
                f"{_name(a['verifier'])} has replayed checkpoint {a['checkpoint']}, and vouches for it"
            ),
            "Attested": lambda a: f"keepers have signed that they hold the checkpoints up to {a['checkpoint']}",
            "Acknowledged": lambda a: f"by your word the checkpoints up to {a['checkpoint']} can be had",
            "Objected": lambda a: f"{_name(a['keeper'])} cannot have checkpoint {a['checkpoint']}: others are asked",
            "Recalled": lambda a: f"nobody said in time that checkpoint {a['checkpoint']} can be had: others are asked",
            "Refunded": lambda a: f"{about(a['amount'])} of what was locked for audits came back",
        }

    def take(self, event: Event) -> str | None:
        """The sentence of an event, in the order of events; None for one that nobody needs to hear of."""
        if event.args.get("taskId") != self._id or event.name not in self._sentences:
            return None
        return self._sentences[event.name](event.args)

    def _revealed(self, args: Mapping[str, Any]) -> str:
        price, burden = args["price"], args["burden"]
        self._scores[args["bidder"]] = price, burden, price + burden
        score = f"score {about(price + burden)}" if burden else "which is its score"
        return f"{_name(args['bidder'])} bid {about(price)} and {args['promised']} s an interval, {score}"

    def _awarded(self, args: Mapping[str, Any]) -> str:
        solver, price, self._standby = args["solver"], args["price"], args["standby"]
        scores = self._scores
        others = sorted(score for bidder, (_, _, score) in scores.items() if bidder != solver)
        if solver in scores and others:
            _, burden, score = scores[solver]
            why = (
                f"its score {about(score)} is the lowest; the next, {about(others[0])}, less {about(burden)} of its own"
            )
            if price < others[0] - burden:
                why += ", but no more than you offered"
        else:
            why = "all that you offered: nobody else showed a bid"
        after = f"; {_name(self._standby)} stands by" if self._standby != NOBODY else ""
        return f"awarded to {_name(solver)} for {about(price)} ({why}){after}; {self._spare(price)}"

    def _paid(self, args: Mapping[str, Any]) -> str:
        amount, withheld, fee = args["amount"], args["withheld"], args["fee"]
        wage = self._wage(amount + withheld + fee)
        self.locked -= amount + fee + wage
        parts = [f"{about(amount)} to {_name(args['solver'])}"]
        parts += [f"{about(fee)} burned"] if fee else []
        parts += [f"{about(wage)} to the standby"] if wage else []
        parts += [f"{about(withheld)} kept for you, as it was late"] if withheld else []
        return f"checkpoint {args['index']} paid: {', '.join(parts)}; {self._left()}"

    def _stalled(self, args: Mapping[str, Any]) -> str:
        return (
            f"{_name(args['solver'])} failed: it missed its deadline, and {about(args['burned'])} of its stake burned"
        )

    def _slashed(self, args: Mapping[str, Any]) -> str:
        solver, slashed, rewards = _name(args["solver"]), about(args["slashed"]), about(args["rewards"])
        return (
            f"{solver} failed: a checkpoint was false. Its stake of {slashed} is lost, {rewards} of it to who proved it"
        )

    def _vacated(self, args: Mapping[str, Any]) -> str:
        if args["standby"] == NOBODY:
            return f"nobody stands by: bids for the rest are taken once it is reopened; {self._left()}"
        return f"{_name(args['standby'])} may take over within {self._terms.handover_time} s; {self._left()}"

    def _took_over(self, args: Mapping[str, Any]) -> str:
        self._standby = NOBODY
        solver, price = _name(args["solver"]), about(args["price"])
        return f"{solver} took over, for {price}: its own price for what is left; {self._spare(args['price'])}"

    def _reopened(self, args: Mapping[str, Any]) -> str:
        self._standby = NOBODY
        self._scores.clear()
        return f"bids for what is left are taken for {self._terms.bidding_time} s; {self._left()}"

    def _ended(self, args: Mapping[str, Any]) -> str:
        self.locked = 0  # what keepers have earned has left it, too
        how = Status(args["how"]).name.lower()
        return f"ended, {how}: {about(args['refunded'])} came back, free in your vault"

    def _left(self) -> str:
        return f"{about(self.locked)} locked"

    def _spare(self, price: int) -> str:
        """What is locked, and what comes back in the end if all that is left is delivered, in time, for that price."""
        return f"{self._left()}, of which {about(self.locked - price - self._wage(price))} will come back"

    def _wage(self, gross: int) -> int:
        """What a standby gets beside pay, rounded down."""
        return part_down(gross, self._standby_bps, BPS) if self._standby != NOBODY else 0


def _name(account: str) -> str:
    return account[:SHORT]


def events_of(chain: Chain, task_id: int, last: int) -> list[Event]:
    """All events about a task up to a block, in order."""
    topic = "0x" + task_id.to_bytes(32).hex()
    found = scan(chain, PARTS, chain.deployment.block, last, [None, topic])
    return [event for event in found if event.args.get("taskId") == task_id]


class Teller:
    """Reads the story of a task from the chain, from a block on."""

    def __init__(self, chain: Chain, task_id: int, story: Story, since: int) -> None:
        self.task_id = task_id
        self._chain, self._story, self._next = chain, story, since

    @classmethod
    def of(cls, chain: Chain, task_id: int, terms: Terms, since: int) -> Teller:
        """Of a task that was posted just now, after a block."""
        escrow, _, _ = chain.bill(terms)
        standby_bps = int(chain.call("limits", "values")["standbyBps"])
        return cls(chain, task_id, Story(task_id, terms, escrow, standby_bps), since)

    @classmethod
    def resumed(cls, chain: Chain, task_id: int, terms: Terms) -> Teller:
        """Of a task that somebody comes back to: what was so far is taken in, and not told again."""
        head = chain.head().number
        teller = cls.of(chain, task_id, terms, head + 1)
        teller.lines(events_of(chain, task_id, head), as_json=False)
        return teller

    @property
    def locked(self) -> int:
        """What is in the task's escrow."""
        return self._story.locked

    @property
    def left(self) -> str:
        """What is in the task's escrow, in words."""
        return f"{about(self.locked)} locked"

    def lines(self, events: Iterable[Event], as_json: bool) -> list[str]:
        """A line for each of these events that is worth one."""
        return [line for event in events if (line := self._line(event, as_json))]

    def news(self, as_json: bool) -> list[str]:
        """A line for each event since the last call. None where the chain does not answer: they come the next time."""
        with suppress(ChainError, ChainUnavailable):
            head = self._chain.head().number
            if head < self._next:
                return []
            events = self._chain.logs(PARTS, self._next, head)
            self._next = head + 1
            return self.lines(events, as_json)
        return []

    def _line(self, event: Event, as_json: bool) -> str | None:
        said = self._story.take(event)
        return _json(event, self._story.locked) if as_json and said else said


def _json(event: Event, locked: int) -> str:
    facts = {name: str(value) if name in MONEY else value for name, value in event.args.items() if name != "taskId"}
    return json.dumps({"event": event.name, "task": event.args["taskId"], **facts, "locked": str(locked)})
