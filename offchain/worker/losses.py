"""What this account lost, bids among it, told once, also where it happened while no worker ran."""

from __future__ import annotations

from collections import deque
from typing import Any

from offchain.chain.abi import Event
from offchain.chain.client import Chain
from offchain.market.view import ChainView
from offchain.worker.alarms import LossKind, Lost, Outbid
from offchain.worker.database import Database
from offchain.worker.events import Tell


class Losses:
    """Hears every event that the worker's reader takes in, and remembers the blocks up to which it has told."""

    def __init__(self, chain: Chain, db: Database, tell: Tell) -> None:
        self._me, self._db, self._tell = chain.address, db, tell
        self._since = db.told_up_to(chain.head().number)
        self._due: deque[tuple[Event, int, LossKind, str, int | None]] = (
            deque()
        )  # task, how, amount; None: a bid's bond
        self._shown: set[int] = set()  # tasks for which a bid of this account is shown, until they are awarded
        self._outbid: deque[tuple[Event, Outbid]] = deque()
        self._told: set[tuple[int, int]] = set()  # block and index
        self._bonds: dict[int, tuple[int, int]] = {}  # own dispute -> task and bond

    def hear(self, event: Event) -> None:
        """For `Reader.hear`. May be called from any thread, and with an event again."""
        found = self._loss(event, event.args)
        if found is not None and event.block > self._since:
            self._due.append((event, *found))
        outbid = self._lost_bid(event, event.args)
        if outbid is not None and event.block > self._since:
            self._outbid.append((event, outbid))

    def _lost_bid(self, event: Event, args: Any) -> Outbid | None:
        """Of an award to another, where this account had shown a bid: nothing else in its log would say so."""
        if event.name == "Revealed" and args["bidder"] == self._me:
            self._shown.add(args["taskId"])
        elif event.name == "Awarded" and args["taskId"] in self._shown:
            self._shown.discard(args["taskId"])
            if args["solver"] != self._me:
                return Outbid(args["taskId"], args["solver"], args["price"], args["standby"] == self._me)
        return None

    def _loss(self, event: Event, args: Any) -> tuple[int, LossKind, str, int | None] | None:
        """Task, kind, how, and amount, of what an event takes from this account."""
        if event.name == "Opened" and args["challenger"] == self._me:
            self._bonds[args["id"]] = args["taskId"], args["bond"]
        elif event.name == "Stalled" and args["solver"] == self._me:
            return args["taskId"], "deadline", "part of the stake burned: a deadline was missed", args["burned"]
        elif event.name == "Slashed" and args["solver"] == self._me:
            return args["taskId"], "conviction", "the stake is lost: a checkpoint was convicted", args["slashed"]
        elif event.name == "Forfeited" and args["bidder"] == self._me:
            return args["taskId"], "bid", "the bond of a bid burned: it was not shown, or not stood by", None
        elif event.name == "Denounced" and args["keeper"] == self._me:
            how = "a bond of a verifier's stake burned: what it had signed for was not shown"
            return args["taskId"], "keeping", how, args["amount"]
        elif event.name == "Resolved" and args["id"] in self._bonds:
            task, bond = self._bonds.pop(args["id"])
            if args["loser"] == self._me:
                return (
                    task,
                    "dispute",
                    f"the bond of dispute {args['id']} is lost: the solver was right, or faster",
                    bond,
                )
        return None

    def tell(self, view: ChainView) -> None:
        """Tell what was heard and was not told yet."""
        last = 0
        while self._outbid:
            event, outbid = self._outbid.popleft()
            if (event.block, event.index) not in self._told:
                self._told.add((event.block, event.index))
                self._tell(outbid)
                last = max(last, event.block)
        while self._due:
            event, task, kind, how, amount = self._due.popleft()
            if (event.block, event.index) not in self._told:
                self._told.add((event.block, event.index))
                self._tell(Lost(task, kind, how, view.fees.bid_bond if amount is None else amount))
                last = max(last, event.block)
        if last:
            self._db.set_told(last)
