"""Keepers of checkpoints on chain: what a client does with Keepers. docs/market.md says who may do what, and when."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from offchain.bls.points import G1
from offchain.chain.client import BlockNumber, Call, Chain, Receipt
from offchain.commit.shown import ShownChunk
from offchain.market.keeping import Attestation, Denial, Holding, Keeping, Member, Service
from offchain.market.money import BPS, part_down
from offchain.market.stages import stage
from offchain.market.view import ChainView, Terms

Members = Sequence[Member]


def seat(chain: Chain, task_id: int) -> Receipt:
    """Find out who sits on the running attempt's committee, the second one once it was called.

    The first who does it settles it for all. Raises Reverted (`AlreadySeated`) after that.
    """
    return chain.send("keepers", "seat", task_id, _place(chain, task_id))


def drawn(chain: Chain, task_id: int, block: BlockNumber = None) -> tuple[Member, ...]:
    """Who will sit on the committee that nobody has seated yet; empty if nobody had a stake. Sends nothing.

    Raises Reverted as `seat`.
    """
    found = chain.call("keepers", "seat", task_id, _place(chain, task_id, block), block=block)
    return tuple(map(member_from, found))


def members(
    chain: Chain, task_id: int, attempt: int, committee: int, first_block: int | None = None
) -> tuple[Member, ...] | None:
    """Who sits on a committee, from the event; None if it has not sat down."""
    since = chain.deployment.block if first_block is None else first_block
    wanted = {"taskId": task_id, "attempt": attempt, "committee": committee}
    for event in chain.logs(("keepers",), since, chain.head().number):
        if event.name == "Seated" and wanted.items() <= event.args.items():
            return tuple(map(member_from, event.args["members"]))
    return None


def holding(chain: Chain, task_id: int, attempt: int, committee: int, checkpoint: int, root: bytes) -> Holding:
    """What a member of a committee signs."""
    deployment = chain.deployment
    return Holding(deployment.chain_id, deployment.market, task_id, attempt, committee, checkpoint, root)


def attest(
    chain: Chain, task_id: int, attempt: int, checkpoint: int, sitting: Members, attestation: Attestation
) -> Receipt:
    """Show that members of the running committee hold an attempt's checkpoints up to this one."""
    about = task_id, attempt, checkpoint, _encoded(sitting), attestation.encoded()
    return chain.send("keepers", "attest", *about, urgent=True)


def acknowledge(chain: Chain, task_id: int, attempt: int, checkpoint: int) -> Receipt:
    """The requester's word that it has an attempt's checkpoints up to this one."""
    return chain.send("keepers", "acknowledge", task_id, attempt, checkpoint)


def object_to(chain: Chain, task_id: int, checkpoint: int, sitting: Members, index: int) -> Receipt:
    """A member of the first committee cannot have a checkpoint: locks a bond, and calls the second committee."""
    return chain.send("keepers", "object", task_id, checkpoint, _encoded(sitting), index, urgent=True)


def recall(chain: Chain, task_id: int) -> Receipt:
    """Call the second committee, once a window is over and its checkpoint is not available."""
    return chain.send("keepers", "recall", task_id)


def settle(chain: Chain, task_id: int, attempt: int) -> Receipt:
    """Give the bond of an objection back, once it is decided."""
    return chain.send("keepers", "settle", task_id, attempt)


def show(chain: Chain, task_id: int, attempt: int, sitting: Members, index: int, shown: ShownChunk) -> Receipt:
    """A member shows that it holds what was denied. Who misses the time loses a bond of its stake."""
    return chain.send("keepers", "show", task_id, attempt, _encoded(sitting), index, shown.encoded(), urgent=True)


def draw_of(chain: Chain, task_id: int, attempt: int, block: BlockNumber = None) -> int:
    """What chooses the chunk that is to be shown: the argument of `ShownChunk.of`."""
    return int(chain.call("keepers", "drawOf", task_id, attempt, block=block))


def signed_by(chain: Chain, committee: tuple[int, int, int], sitting: Members, block: BlockNumber = None) -> list[int]:
    """For each member of a committee how many checkpoints it has signed for, counted from the task's first."""
    calls: list[Call] = [("keepers", "signedOf", *committee, place) for place in range(len(sitting))]
    return [int(up_to) for up_to, _ in chain.calls(calls, block)]


def services(chain: Chain, view: ChainView) -> list[Service]:
    """What the account that looks does as a keeper, and was not paid for yet."""
    found = []
    for committee in sorted(view.seats):
        task_id, attempt, _ = committee
        sitting = view.committees.get(committee, ())
        place = next((n for n, member in enumerate(sitting) if member.holder == view.me), None)
        if place is None or task_id not in view:
            continue
        task, runs = view.task(task_id), view.runs(task_id, attempt)
        show_by = chain.call("keepers", "objectionOf", task_id, attempt)["showableUntil"]
        denied = (task_id, attempt) in view.denied and committee[2] == 0 and show_by >= view.now
        found.append(
            Service(
                *committee,
                seats=sitting[place].seats,
                of=sum(member.seats for member in sitting),
                signed=signed_by(chain, committee, sitting)[place],
                committed=len(task.checkpoints),
                runs=runs,
                until=stage(task, view.now).result if runs else None,
                show_by=show_by if denied else None,
            )
        )
    return found


def denial(
    chain: Chain, task_id: int, attempt: int, sitting: Members, now: int, block: BlockNumber = None
) -> Denial | None:
    """What an attempt that is over owes who objected in it, at the time `now` of that block; None: nothing any more.

    That is so if the attempt did not fail for the objection, if all who had signed have shown what they hold or were
    fined, and a window after they had to.
    """
    objection, custody = chain.calls(
        [("keepers", "objectionOf", task_id, attempt), ("market", "custody", task_id)], block
    )
    until = objection["showableUntil"]
    if not until or now > until + custody["challengeWindow"]:
        return None
    calls: list[Call] = [("verifiers", "stakeOf", chain.address), ("verifiers", "allStakes"), ("keepers", "auditBond")]
    for place, member in enumerate(sitting):
        calls += [("keepers", "signedOf", task_id, attempt, 0, place), ("verifiers", "stakeOf", member.holder)]
        calls.append(("verifiers", "leavingOf", member.holder))
    own, total, bond, *found = chain.calls(calls, block)
    fines = {
        place: min(bond, stake + leaving[0])
        for place, (signed, stake, leaving) in enumerate(zip(found[::3], found[1::3], found[2::3], strict=True))
        if signed[0] > objection["checkpoint"] and not objection["settled"] >> place & 1
    }
    return Denial(until, fines, own, total) if fines else None


def denounce(chain: Chain, task_id: int, attempt: int, sitting: Members, index: int) -> Receipt:
    """Take a bond of the stake of a member who has not shown what it signed for."""
    return chain.send("keepers", "denounce", task_id, attempt, _encoded(sitting), index)


def reward(chain: Chain, task_id: int, attempt: int, committee: int, sitting: Members, index: int) -> Receipt:
    """Pay a member what it has earned in an attempt that is over."""
    return chain.send("keepers", "reward", task_id, attempt, committee, _encoded(sitting), index)


def earned(chain: Chain, committee: tuple[int, int, int], place: int, terms: Terms) -> int:
    """What `reward` would pay a member: Shares.earnedDown."""
    task_id, attempt, number = committee
    asked: list[Call] = [("keepers", "closedOf", task_id, attempt), ("keepers", "signedOf", *committee, place)]
    closed, (up_to, seats), raw = chain.calls([*asked, ("keepers", "keepingOf", task_id, attempt)])
    kept, begin, end = keeping_from(raw), closed["first"], min(up_to, closed["paid"])
    if number == 1:
        begin = kept.start
    elif kept.called_at:
        end = min(end, kept.start)
    if begin >= end:
        return 0
    steps = min(end * terms.interval, terms.steps) - begin * terms.interval
    left = terms.steps - closed["first"] * terms.interval
    return part_down(closed["price"] * terms.keeper_bps * seats, steps, BPS * kept.seats * left)


def keeping(chain: Chain, task_id: int, attempt: int, block: BlockNumber = None) -> Keeping:
    """How an attempt's checkpoints are kept."""
    return keeping_from(chain.call("keepers", "keepingOf", task_id, attempt, block=block))


def keeping_from(raw: Any) -> Keeping:
    """From IKeepers.keepingOf."""
    return Keeping(
        kept=raw["kept"],
        start=raw["from"],
        called_at=raw["calledAt"],
        called_in=raw["calledIn"],
        seats=raw["seats"],
        granted=raw["granted"],
    )


def _place(chain: Chain, task_id: int, block: BlockNumber = None) -> int:
    """How many changes of all stakes count for the committee that is to be drawn."""
    custody = chain.call("market", "custody", task_id, block=block)
    called_at = chain.call("keepers", "keepingOf", task_id, custody["attempt"], block=block)["calledAt"]
    time = called_at or custody["drawnAt"]
    _, place = chain.call("verifiers", "places", chain.address, time, block=block)
    return int(place)


def member_from(raw: Any) -> Member:
    """From IVerifiers.Member."""
    return Member(raw["holder"], raw["seats"], G1(**raw["point"]))


def _encoded(sitting: Members) -> list[tuple[Any, ...]]:
    return [member.encoded() for member in sitting]
