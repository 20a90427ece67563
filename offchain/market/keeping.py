"""What keepers of checkpoints sign, and how their signatures become one: the words of contracts/audit/Keepers.sol."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from eth_abi.abi import encode

from offchain.bls.points import G1, G2, sum1, sum2
from offchain.bls.signing import BadSigners, PublicKey, is_one_key, verify

DOMAIN: Final = b"offchain.keeping.1"
KINDS: Final = ("bytes32", "uint256", "address", "uint256", "uint8", "uint8", "uint32", "bytes32")
USUAL_SEATS: Final = 5  # two of them may be silent
MOST_MEMBERS: Final = 16  # TermLimits.MAX_KEEPERS
GRANTED: Final = 2**32 - 1  # IKeepers.available, where nobody could be asked


@dataclass(frozen=True, slots=True)
class Holding:
    """All checkpoints of an attempt up to one, as a member of a committee says that it holds them.

    Attributes:
        chain_id, market: of the task.
        attempt: of the solver who committed them.
        committee: 0, or 1 for the second one.
        root: 32 bytes, the state root of the last one.
    """

    chain_id: int
    market: str
    task_id: int
    attempt: int
    committee: int
    checkpoint: int
    root: bytes

    def message(self) -> bytes:
        """What a member signs: 256 bytes, as IKeepers.message says."""
        about = self.task_id, self.attempt, self.committee, self.checkpoint, self.root
        return encode(KINDS, (DOMAIN, self.chain_id, self.market, *about))


@dataclass(frozen=True, slots=True)
class Member:
    """IVerifiers.Member: who sits on a committee, on how many of its seats, and its key in G1 when it sat down."""

    holder: str
    seats: int
    point: G1

    def encoded(self) -> tuple[Any, ...]:
        """As the ABI wants it."""
        return self.holder, self.seats, self.point


@dataclass(frozen=True, slots=True)
class Signed:
    """What a member answers: its key in G2, and its signature over a `Holding`."""

    twin: G2
    signature: G1


@dataclass(frozen=True, slots=True)
class Attestation:
    """IKeepers.Attestation: several members' signatures as one. `signers`: bit i stands for member i."""

    signers: int
    total: G2
    signature: G1

    def encoded(self) -> tuple[Any, ...]:
        """As the ABI wants it."""
        return self.signers, self.total, self.signature


@dataclass(frozen=True, slots=True)
class Keeping:
    """How an attempt's checkpoints are kept: IKeepers.Keeping.

    Attributes:
        kept: checkpoints that are available, counted from the task's first.
        start: the first that is the second committee's.
        called_at: when the second committee was called, as a timestamp; 0 if it was not.
        called_in: the block.
        seats: of a committee, once one has sat down; 0 before.
        granted: nobody had a stake to be drawn. Then everything that is committed counts as available.
    """

    kept: int
    start: int
    called_at: int
    called_in: int
    seats: int
    granted: bool

    @property
    def committee(self) -> int:
        """The running one."""
        return 1 if self.called_at else 0

    @property
    def available(self) -> int:
        """How many checkpoints may be paid for, once they are final."""
        return GRANTED if self.granted else self.kept


@dataclass(frozen=True, slots=True)
class Service:
    """What an account does for one attempt as a keeper.

    Attributes:
        seats: of the committee, of `of` in all.
        signed, committed: checkpoints that it says that it holds, of how many; both counted from the task's first.
        runs: whether the attempt does; its pay is due after that.
        until: the timestamp up to which the attempt is expected to run; None: that is not known, or it does not run.
        show_by: the last timestamp at which it must show what it has signed for; None: nobody has denied it.
    """

    task: int
    attempt: int
    committee: int
    seats: int
    of: int
    signed: int
    committed: int
    runs: bool
    until: int | None = None
    show_by: int | None = None


@dataclass(frozen=True, slots=True)
class Denial:
    """An attempt that was lost for what the account could not have, and those who had signed for it.

    Attributes:
        until: the last timestamp at which they may show that they hold it.
        fines: place of each who has not shown it yet -> what a denunciation would burn of its stake.
        own, total: the account's stake, and all stakes.
    """

    until: int
    fines: Mapping[int, int]
    own: int
    total: int


def usual_keepers(stakes: Collection[int]) -> int:
    """Seats that a requester asks for by default, by the stakes of those who could be drawn and reached.

    None where they are few, or one of them would often be a quorum alone: a solver is not paid for what keepers do not
    sign for, so a committee that cannot be trusted to answer is worse than none.
    """
    enough = len(stakes) >= USUAL_SEATS and 2 * max(stakes) < sum(stakes)
    return USUAL_SEATS if enough else 0


def seats_of(members: Sequence[Member], signers: int) -> int:
    """How many seats those members have."""
    return sum(member.seats for place, member in enumerate(members) if signers >> place & 1)


def is_quorum(seats: int, keepers: int) -> bool:
    """Whether so many seats of a committee of `keepers` are enough: more than half."""
    return 2 * seats > keepers


def is_signed(member: Member, message: bytes, signed: Signed) -> bool:
    """Whether an answer is the member's. Takes about a second. Raises BadPoint for points that are none."""
    return is_one_key(PublicKey(member.point, signed.twin)) and verify(signed.twin, message, signed.signature)


def gathered(signed: Mapping[int, Signed]) -> Attestation:
    """Members' answers, by their place among the members, as one. Each must have been found to be signed.

    Raises BadSigners if there are none.
    """
    if not signed:
        raise BadSigners("nobody has signed")
    signers = sum(1 << place for place in signed)
    total = sum2(answer.twin for answer in signed.values())
    return Attestation(signers, total, sum1(answer.signature for answer in signed.values()))
