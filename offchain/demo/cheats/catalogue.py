"""The cheats by name. To add one: a row here; docs/architecture.md shows it. `tests/cheats/` plays every row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from offchain.demo.cheats import conduct, files, numbers
from offchain.demo.cheats.cheater import Part, nothing, without
from offchain.demo.cheats.conduct import LIE, dispute_unseen, silent_at
from offchain.demo.cheats.endings import Ending
from offchain.demo.cheats.numbers import HonestTrace, number
from offchain.dispute.replay import Replay
from offchain.ir.kinds import Kind
from offchain.market.actions import Audit, Challenge, Claim, Commit, Defend, Keep, Train, Vouch
from offchain.market.view import Phase
from offchain.task import Task

CONVICTED, OUT_OF_TIME, ACQUITTED = Ending.CONVICTED, Ending.OUT_OF_TIME, Ending.ACQUITTED


@dataclass(frozen=True)
class Cheat:
    """A row of the catalogue.

    Attributes:
        name: for `offchain demo --cheat NAME`.
        role: of the cheat: one of `offchain.roles.table.ROLES`.
        does: what its false part does.
        ends: how that ends.
        part: the false part of a worker; a requester has none.
        file: writes what a requester serves in place of the task's file.
        claims: whether verifiers are drawn and paid: the cheat is one of them.
        keeps: whether verifiers are drawn to keep the checkpoints: the cheat, or its friend, is one of them.
        friend: another cheat that works for the same pocket.
    """

    name: str
    role: str
    does: str
    ends: Ending
    part: Part = Part()  # noqa: RUF009
    file: Callable[[Task, Path], None] | None = None
    claims: bool = False
    keeps: bool = False
    friend: str = ""


def solver(name: str, does: str, ends: Ending, part: Part, friend: str = "") -> Cheat:
    return Cheat(name, "solver", does, ends, part, friend=friend)


def verifier(name: str, does: str, ends: Ending, part: Part, claims: bool = False) -> Cheat:
    return Cheat(name, "verifier", does, ends, part, claims=claims)


def keeper(name: str, does: str, ends: Ending, part: Part) -> Cheat:
    return Cheat(name, "verifier", does, ends, part, keeps=True)


def requester(name: str, does: str, file: Callable[[Task, Path], None]) -> Cheat:
    return Cheat(name, "requester", does, Ending.UNSOLD, file=file)


def name_of(kind: Kind) -> str:
    return kind.name.lower().replace("_", "-")


LIES: Final = (
    *(solver(name_of(kind), f"falsifies an element of a {kind.name.lower()}", CONVICTED, number(kind))
      for kind in Kind),
    solver("low-exponent", "scales a dot product's operand by too little", CONVICTED, number(Kind.DOT, 0, (-1, 0))),
    solver("high-exponent", "scales a dot product's operand by too much", OUT_OF_TIME, number(Kind.DOT, 0, (8, 0))),
    solver("wrong-row", "trains on a dataset with one other row", CONVICTED, Part(numbers.WrongRow)),
    solver("skipped-step", "leaves the state as it is in one step", CONVICTED, numbers.slots(numbers.Skipped)),
    solver("swapped-slot", "exchanges two tensors of the state", CONVICTED, numbers.slots(numbers.Swapped)),
    solver("wrong-trace", "reveals what is right of a false step", OUT_OF_TIME, replace(LIE, replays=HonestTrace)),
    solver("wrong-sums", "reveals true sums of a false product", OUT_OF_TIME, replace(LIE, replays=Replay)),
    solver("old-checkpoint", "commits an old checkpoint again", OUT_OF_TIME, Part(acts={Commit: conduct.an_old_root})),
)  # fmt: skip
SILENCES: Final = (
    *(
        solver(f"silent-at-{name}", f"lies, and falls silent where {name} are due", OUT_OF_TIME, silent_at(phase))
        for name, phase in (
            ("steps", Phase.REVEAL_STEPS),
            ("traces", Phase.REVEAL_TRACE),
            ("chunks", Phase.REVEAL_CHUNK),
            ("sums", Phase.REVEAL_SUMS),
        )
    ),
    solver("idle", "wins, and trains nothing", Ending.STALLED, Part(decide=without(Train, Commit))),
    solver("late-checkpoint", "commits after the deadline", Ending.STALLED, Part(decide=conduct.commit_late)),
    solver("late-bid", "shows its bid after everybody else", Ending.BID_BURNED, Part(decide=conduct.reveal_late)),
    solver("withheld-state", "serves no state but the last", Ending.PAID, Part(acts={Commit: conduct.no_state})),
    solver("truncated-state", "serves half of a state", Ending.PAID, Part(acts={Commit: conduct.half_a_state})),
)
CHALLENGES: Final = (
    verifier("lying-challenger", "disputes what is right, and lies about a number", ACQUITTED, LIE),
    verifier("groundless", "disputes what it has not seen, and concedes", ACQUITTED, Part(decide=dispute_unseen)),
    verifier(
        "silent-challenger", "disputes without a look, and never moves", ACQUITTED,
        Part(decide=dispute_unseen, acts={Challenge: nothing}),
    ),
    solver(
        "sock-puppet", "lies, and concedes to a friend of its own", OUT_OF_TIME,
        replace(LIE, acts={Defend: conduct.concede_to_a_friend}), friend="silent-challenger",
    ),
)  # fmt: skip
CLAIMS: Final = (
    verifier(
        "lazy-verifier", "vouches for what it has not replayed", Ending.CLAIM_BURNED,
        Part(decide=conduct.claim_unseen, acts={Claim: conduct.guess}), claims=True,
    ),
    verifier(
        "copying-verifier", "copies another verifier's claim, and what that one shows", Ending.CLAIM_BURNED,
        Part(decide=conduct.show_a_copy, acts={Claim: conduct.copy, Vouch: conduct.copied}), claims=True,
    ),
    verifier(
        "late-verifier", "shows the log when the window is over", Ending.CLAIM_BURNED, Part(decide=conduct.vouch_late),
        claims=True,
    ),
)  # fmt: skip
REQUESTS: Final = (
    requester("other-file", "serves another task than it posted", files.another),
    requester("torn-file", "serves half of its task's file", files.torn),
    requester("no-file", "serves nothing", files.none),
)
KEEPERS: Final = (
    keeper("refusing-keeper", "keeps nothing, and signs nothing", Ending.PAID, Part(decide=without(Keep))),
    keeper(
        "blind-keeper", "signs for what it has neither fetched nor computed", Ending.PAID,
        Part(decide=without(Audit, Claim), acts={Keep: conduct.sign_unseen}),
    ),
    replace(
        solver(
            "unserved", "serves nobody, while a friend with most of the keepers' stakes signs that it can be had",
            Ending.STALLED, Part(acts={Commit: conduct.serve_nothing}), friend="blind-keeper",
        ),
        keeps=True,
    ),
    keeper("lying-keeper", "serves a false signature", Ending.PAID, Part(acts={Keep: conduct.sign_falsely})),
)  # fmt: skip

CHEATS: Final = {cheat.name: cheat for cheat in (*LIES, *SILENCES, *CHALLENGES, *CLAIMS, *REQUESTS, *KEEPERS)}
