"""What the market's and the log's storage says of a task: where it is, and how it is read from proofs."""

from __future__ import annotations

from typing import Final

from offchain.certificate.record import Certificate, Work
from offchain.chain.code import is_made_by
from offchain.chain.deployment import load_artifact
from offchain.chain.proofs import Header, Stored
from offchain.chain.storage import Place, place_of
from offchain.errors import BadBlob, NoResult
from offchain.market.view import Status

ADDRESS: Final = 20  # bytes
WIDE: Final = 32  # bytes of a root
_TASK: Final = ("requester", "status", "attempt", "first", "solver", "awardedAt")
_TERMS: Final = ("graphRoot", "stateRoot", "steps", "interval")
_CHECKPOINT: Final = ("root", "committedAt", "attempt")

Places = dict[str, Place]


def market_places(task_id: int) -> Places:
    """Where the market keeps what is known of a task, and its log's address."""
    places = {name: place_of("TaskMarket", "_tasks", task_id, member=name) for name in _TASK}
    places |= {name: place_of("TaskMarket", "_terms", task_id, member=name) for name in _TERMS}
    return places | {"log": place_of("TaskMarket", "log")}


def log_places(task_id: int, checkpoint: int) -> Places:
    """Where the log keeps a checkpoint."""
    return {name: place_of("CheckpointLog", "_checkpoints", task_id, checkpoint, member=name) for name in _CHECKPOINT}


def root_places(task_id: int, checkpoints: int) -> Places:
    """Where the log keeps the roots of the first checkpoints, by number."""
    return {str(i): place_of("CheckpointLog", "_checkpoints", task_id, i, member="root") for i in range(checkpoints)}


def slots_of(places: Places) -> set[int]:
    """The storage slots that hold them."""
    return {place.slot for place in places.values()}


def settled(chain_id: int, task_id: int, header: Header, market: Stored, log: Stored) -> Work:
    """What these proofs say of a task.

    Raises BadBlob where one does not hold or is missing, or the contracts are not those of this package, and NoResult
    for a task that was not completed.
    """
    state_root = header.field("stateRoot")
    _require_code("TaskMarket", market)
    _require_code("CheckpointLog", log)
    task = _values(market, market_places(task_id), state_root)
    if task["status"] != Status.COMPLETED:
        raise NoResult(f"task {task_id}: is not completed in block {header.number}: there is nothing to certify")
    if task["log"].to_bytes(WIDE)[-ADDRESS:] != log.address:
        raise BadBlob("log: is not the one of this market")
    last = -(-task["steps"] // task["interval"]) - 1
    point = _values(log, log_places(task_id, last), state_root)
    if point["attempt"] != task["attempt"]:
        raise BadBlob("log: its last checkpoint is of another attempt")
    return Work(
        chain_id=chain_id,
        market=market.address,
        task_id=task_id,
        requester=task["requester"].to_bytes(ADDRESS),
        solver=task["solver"].to_bytes(ADDRESS),
        attempt=task["attempt"],
        first=task["first"],
        graph_root=task["graphRoot"].to_bytes(WIDE),
        state_root=task["stateRoot"].to_bytes(WIDE),
        final_root=point["root"].to_bytes(WIDE),
        steps=task["steps"],
        interval=task["interval"],
        started=task["awardedAt"],
        finished=point["committedAt"],
    )


def roots_of(work: Work, header: Header, log: Stored) -> list[bytes]:
    """The roots of all checkpoints of a task, by the log's proofs. Raises BadBlob."""
    found = _values(log, root_places(work.task_id, work.intervals), header.field("stateRoot"))
    return [root.to_bytes(WIDE) for root in found.values()]


def proven(certificate: Certificate) -> Work:
    """`settled`, of a certificate: the same as its `work`, or BadBlob."""
    claimed = certificate.work
    found = settled(claimed.chain_id, claimed.task_id, certificate.header, certificate.market, certificate.log)
    for field in Work.__dataclass_fields__:
        if getattr(found, field) != getattr(claimed, field):
            raise BadBlob(f"certificate: {field} is not what its proofs say")
    return found


def _values(stored: Stored, places: Places, state_root: bytes) -> dict[str, int]:
    if missing := slots_of(places) - set(stored.slots):
        raise BadBlob(f"proofs: storage slot {min(missing):#x} is missing")
    words = stored.words(state_root)
    return {name: place.within(words[place.slot]) for name, place in places.items()}


def _require_code(contract: str, stored: Stored) -> None:
    if not is_made_by(stored.code, bytes.fromhex(load_artifact(contract)["bytecode"].removeprefix("0x"))):
        raise BadBlob(f"{contract}: its code is not that of this version of offchain, which can't read its storage")
