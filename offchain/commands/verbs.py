"""`offchain task cancel`, `award`, `collect`, `stall` and `reopen`: a step that a requester may take by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import click

from offchain.chain.client import Chain, Receipt
from offchain.chain.reverts import Reverted
from offchain.commands.common import TASK, Connection, connection_options, json_option, say
from offchain.commands.story import Teller
from offchain.errors import ChainError
from offchain.market.view import Status
from offchain.moments import moment

Arguments = Mapping[str, Any]


class Refused(ChainError):
    """The task is not where it would have to be for this step."""


@dataclass(frozen=True, slots=True)
class Verb:
    """A step: what its help says, and what sends it."""

    name: str
    summary: str
    more: str
    send: Callable[[Chain, int], Receipt]


def _from(ends: str) -> Callable[[Arguments], str]:
    return lambda args: f"it can be done from {moment(args[ends] + 1, args['current'])} on"


def _word(status: Status) -> str:
    return status.name.lower()


# how the contracts refuse -> what that means to a requester
WHY: Final[dict[str, Callable[[Arguments], str]]] = {
    "WrongStatus": lambda args: f"it is {_word(args['actual'])}, and would have to be {_word(args['expected'])}",
    "NotRequester": lambda args: f"only {args['requester']}, who posted it, may do that",
    "AlreadyRevealed": lambda args: f"{args['leader'][:10]} has shown a bid; later `task award` gives it the task",
    "RevealOpen": lambda args: f"bids are shown until {moment(args['ends'], args['current'])}",
    "HandoverOpen": _from("ends"),
    "NotStalled": _from("deadline"),
    "NothingFinal": lambda args: f"checkpoint {args['index']} is not there, can still be disputed, or is",
    "CheckpointPending": lambda args: f"checkpoint {args['index']} can still be disputed, or is",
    "NothingDue": lambda args: "its solver has delivered everything",
    "UnknownTask": lambda args: "there is no such task",
}
STEPS: Final = (
    Verb("cancel", "End a task of yours, and get back what is locked.",
         "Possible until a bid is shown, and when a solver has failed and no runner-up may come.", Chain.cancel),
    Verb("award", "Give a task to the best bid, or end it where there is none.",
         "Anybody may, once the time for showing bids is over.", Chain.award),
    Verb("collect", "Have a task's final checkpoints paid; after the last one it is completed.",
         "Anybody may. A checkpoint is final when its challenge window is over and nobody disputes it.", Chain.collect),
    Verb("stall", "Take a task from a solver that has missed its deadline.",
         "Anybody may. A part of its stake burns; the task goes to the runner-up, to new bids, or ends.", Chain.stall),
    Verb("reopen", "Have bids taken for the rest of a task whose solver failed.",
         "Anybody may, where no runner-up may come any more.", Chain.reopen),
)  # fmt: skip


def _command(verb: Verb) -> click.Command:
    @click.argument("task_id", type=TASK)
    @connection_options
    @json_option
    def run(task_id: int, connection: Connection, as_json: bool) -> None:
        chain = connection.chain()
        teller = Teller.resumed(chain, task_id, chain.terms(task_id))
        try:
            receipt = verb.send(chain, task_id)
        except Reverted as error:
            raise _refused(verb, task_id, error) from error
        for line in teller.lines(receipt.events, as_json):
            (click.echo if as_json else say)(line)
        if not as_json:
            say(f"task {task_id}: {verb.name} cost {receipt.gas_used:,} gas; {teller.left}")

    text = f"{verb.summary}\n\n{verb.more}\n\n\b\nExample:  offchain task {verb.name} 0 --account me"
    return click.command(verb.name, help=text)(run)


def _refused(verb: Verb, task_id: int, error: Reverted) -> ChainError:
    why = WHY.get(error.name)
    if why is None:
        return error
    return Refused(f"task {task_id} cannot be changed by `{verb.name}`: {why(error.arguments)}")


VERBS: Final = tuple(map(_command, STEPS))
