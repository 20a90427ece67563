"""Draws that a test chooses: what a ticket wins follows from the beacon of its checkpoint, which is written here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from itertools import count
from typing import Any

from offchain.bls.points import bn, inside1, outside1
from offchain.bls.signing import hash_to_g1
from offchain.chain.storage import place_of
from offchain.market.tickets import Audited, fees
from tests.support.bls import key_of
from tests.support.deployment import Funded
from tests.support.vouching import SECRET

Stakes = tuple[tuple[int, int, int, int], ...]  # secret, own stake, all stakes, fees to win


def grant(
    place: Funded, task: int, checkpoint: int, wanted: Mapping[str, int], secrets: Mapping[str, int] = SECRET
) -> None:
    """Gives a committed checkpoint a beacon with which each of these verifiers wins so many fees; 0: it is not drawn.

    As if the block had been another one. For checkpoints that nobody has looked at yet.
    """
    chain, deployment = place.quick("requester"), place.deployment
    committed = chain.call("log", "checkpoint", task, checkpoint)
    rate = chain.call("auditor", "budgetOf", task)["rateBps"]
    weights = {name: _weight(place, name, secrets[name], committed["committedAt"]) for name in wanted}
    about = task, committed["attempt"], checkpoint, committed["root"], 0
    audited = Audited(deployment.chain_id, deployment.market, *about)
    stakes = tuple((secrets[name], *weights[name], number) for name, number in wanted.items())
    _write(place, task, checkpoint, _beacon(audited, rate, stakes))


def _weight(place: Funded, name: str, secret: int, time: int) -> tuple[int, int]:
    chain, who = place.quick("requester"), place.address(name)
    places = chain.call("verifiers", "places", who, time)
    own, total = chain.call("verifiers", "weight", who, key_of(secret).twin, time, *places)
    return own, total


@cache
def _beacon(audited: Audited, rate_bps: int, stakes: Stakes) -> int:
    """The first that gives everybody what is wanted."""
    return next(beacon for beacon in count() if _gives(replace(audited, beacon=beacon), rate_bps, stakes))


def _gives(audited: Audited, rate_bps: int, stakes: Stakes) -> bool:
    base = inside1(hash_to_g1(audited.message()))
    tickets = ((outside1(bn.multiply(base, secret)), own, total, number) for secret, own, total, number in stakes)
    return all(fees(ticket, rate_bps, own, total) == number for ticket, own, total, number in tickets)


def _write(place: Funded, task: int, checkpoint: int, beacon: int) -> None:
    slot, offset, size = place_of("CheckpointLog", "_checkpoints", task, checkpoint, member="beacon")
    log: Any = place.deployment.log
    word = int.from_bytes(place.w3.eth.get_storage_at(log, slot))
    mask = (1 << 8 * size) - 1 << 8 * offset
    place.clock.store(log, f"0x{slot:064x}", word & ~mask | beacon << 8 * offset)
