"""What a worker does about committees: it keeps, signs and shows as a member; gathers and attests as a solver."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from offchain.bls.points import BadPoint
from offchain.bls.signing import public_key, sign
from offchain.chain import keepers
from offchain.chain.client import Chain, Receipt
from offchain.chain.reverts import Reverted
from offchain.commit.shown import ShownChunk
from offchain.errors import BadInput
from offchain.market.actions import (
    Acknowledge,
    Action,
    Attest,
    Denounce,
    Keep,
    ObjectTo,
    Recall,
    Reward,
    Seat,
    SettleObjection,
    ShowKept,
)
from offchain.market.keeping import Member, Signed, gathered
from offchain.market.view import ChainView, TaskView
from offchain.roles.policy import REWARD_GAS
from offchain.store.checkpoint import read_state
from offchain.store.taskfile import read_graph
from offchain.worker import kept
from offchain.worker.database import Database
from offchain.worker.events import Tell
from offchain.worker.gathering import Gatherer, Round, decoded, encoded, signature_name
from offchain.worker.materials import Materials
from offchain.worker.names import state_name, task_name

NOTHING: Final = frozenset({"NothingEarned", "AlreadyRewarded", "NotDenied", "NotSigned", "AlreadySettled"})
FALSE: Final = frozenset({"WrongSignature"})  # how the contract refuses signatures that are not the members' own
Committee = tuple[int, int, int]  # task, attempt, 0 or 1


class Keeping:
    """One row per action, as in `Acts`. False: it waits for a fetch.

    Args:
        leave: is called with a committee, or with an attempt, in which nothing is left to do.
        gas_cost: what gas costs at a price, in tokens.
    """

    def __init__(
        self,
        chain: Chain,
        materials: Materials,
        db: Database,
        gatherer: Gatherer,
        tell: Tell,
        leave: Callable[[tuple[int, ...]], None],
        signing_key: int | None = None,
        gas_cost: Callable[[int, int], int] = lambda gas, price: 0,
    ) -> None:
        self._chain, self._materials, self._db, self._tell, self._gas_cost = chain, materials, db, tell, gas_cost
        self._gatherer, self._leave, self._signing_key = gatherer, leave, signing_key
        self._rounds: dict[Committee, Round] = {}
        self._unread: set[tuple[int, int, int]] | None = None  # see `unread`; None before the first look
        self.table: dict[type[Action], Callable[[ChainView, Any], bool | None]] = {
            Keep: self._keep,
            Seat: self._seat,
            Attest: self._attest,
            Acknowledge: self._acknowledge,
            ObjectTo: self._object,
            Recall: lambda view, a: self._tell(kept.RecallSent(a.task_id, keepers.recall(chain, a.task_id).gas_used)),
            SettleObjection: self._settle,
            ShowKept: self._show,
            Denounce: self._denounce,
            Reward: self._reward,
        }

    def names(self, view: ChainView) -> Iterator[str]:
        """Names of the files with this account's signatures that others may still ask for."""
        for task in view.tasks:
            if self._sits(view, task):
                for k in range(task.paid, len(task.checkpoints)):
                    yield signature_name(self._message(task, k), view.me)

    def _sits(self, view: ChainView, task: TaskView) -> bool:
        return any(member.holder == view.me for member in view.members(task) or ())

    def _message(self, task: TaskView, checkpoint: int) -> bytes:
        assert task.keeping is not None
        about = task.id, task.attempt, task.keeping.committee, checkpoint, task.checkpoints[checkpoint].root
        return keepers.holding(self._chain, *about).message()

    # --- as a member

    def unread(self, view: ChainView) -> list[tuple[int, int, int]]:
        """Task, attempt and checkpoint of what was to be kept before this process began, and `mend` has not read.

        That is what this account has signed for, and what it has committed as a solver.
        """
        if self._unread is None:
            self._unread = {(task.id, task.attempt, k) for task in view.tasks for k in self._owed(view, task)}
        return sorted(key for key in self._unread if self._runs(view, *key))

    def _runs(self, view: ChainView, task_id: int, attempt: int, k: int) -> bool:
        return task_id in view and view.runs(task_id, attempt) and k < len(view.task(task_id).checkpoints)

    def _owed(self, view: ChainView, task: TaskView) -> Iterator[int]:
        signed = self._db.notes(task).kept if self._sits(view, task) else frozenset[int]()
        for k in range(task.paid, len(task.checkpoints)):
            if k in signed or task.solver == view.me:
                yield k

    def mend(self, view: ChainView, task_id: int, attempt: int, k: int) -> bool:
        """Read what is to be kept; fetch it again, and sign again, where the disk has lost a part. False: it waits.

        Raises what `Materials.mirror` raises.
        """
        task, blobs = view.task(task_id), self._materials.blobs
        if self._unread is None or not self._materials.mirror(task, k):
            return False
        if k in self._db.notes(task).kept:
            name = signature_name(self._message(task, k), view.me)
            try:
                decoded(blobs.path(name))
            except (BadInput, OSError):
                blobs.remove(name)
                self.sign(view, task, k)
        self._unread.discard((task_id, attempt, k))
        return True

    def _keep(self, view: ChainView, action: Keep) -> bool:
        """The state is here before anything is signed: who cannot show it loses a bond."""
        task, k = view.task(action.task_id), action.checkpoint
        if self._signing_key is None or task.keeping is None:
            return True
        needed = [k - 1, k] if k == task.first > 0 else [k]
        here = [self._materials.mirror(task, each) for each in needed]  # both are fetched at a time
        if all(here):
            self.sign(view, task, k)
        return all(here)

    def sign(self, view: ChainView, task: TaskView, k: int) -> None:
        """Sign for a checkpoint, and publish the signature."""
        if self._signing_key is None or task.keeping is None:
            return
        message = self._message(task, k)
        signed = Signed(public_key(self._signing_key).twin, sign(self._signing_key, message))
        name = signature_name(message, view.me)
        self._materials.blobs.publish(name, lambda path: path.write_bytes(encoded(signed)))
        self._db.add_kept(task, task.keeping.committee, k)
        self._tell(kept.Keeps(task.id, task.attempt, task.keeping.committee, k))

    def _object(self, view: ChainView, action: ObjectTo) -> None:
        task = view.task(action.task_id)
        members = view.members(task)
        if members is not None:
            sent = keepers.object_to(self._chain, task.id, action.checkpoint, members, self._place(members))
            self._tell(kept.ObjectionSent(task.id, action.checkpoint, sent.gas_used))

    def _place(self, members: tuple[Member, ...]) -> int:
        return next(place for place, member in enumerate(members) if member.holder == self._chain.address)

    def _settle(self, view: ChainView, action: SettleObjection) -> None:
        sent = keepers.settle(self._chain, action.task_id, action.attempt)
        self._tell(kept.ObjectionSettled(action.task_id, action.attempt, sent.gas_used))

    def _show(self, view: ChainView, action: ShowKept) -> None:
        """Asked without a transaction first: it is due only where the attempt failed for that checkpoint."""
        attempt = action.task_id, action.attempt
        objection = self._chain.call("keepers", "objectionOf", *attempt)
        members = view.committees[*attempt, 0]
        if not objection["showableUntil"] or objection["showableUntil"] < view.now:
            self._leave(attempt)
            return
        terms, blobs, root = view.task(action.task_id).terms, self._materials.blobs, objection["root"]
        graph = read_graph(blobs.path(task_name(terms)), terms.graph_root)
        state, tree = read_state(blobs.path(state_name(terms, root)), graph, root)
        shown = ShownChunk.of(state, tree, keepers.draw_of(self._chain, *attempt))
        about = (*attempt, members, self._place(members))
        sent = self._unless_nothing(attempt, lambda: keepers.show(self._chain, *about, shown))
        if sent is not None:
            self._tell(kept.ShowSent(*attempt, sent.gas_used))

    def _denounce(self, view: ChainView, action: Denounce) -> None:
        attempt = action.task_id, action.attempt
        sent = keepers.denounce(self._chain, *attempt, view.committees[*attempt, 0], action.place)
        said = sent.event("Denounced").args
        self._tell(kept.DenounceSent(*attempt, said["keeper"], said["amount"], sent.gas_used))

    def _reward(self, view: ChainView, action: Reward) -> None:
        committee = action.task_id, action.attempt, action.committee
        members = view.committees[committee]
        about = (*committee, members, self._place(members))
        terms = view.task(action.task_id).terms
        due = keepers.earned(self._chain, committee, about[-1], terms)
        if 0 < due <= self._gas_cost(REWARD_GAS, view.gas_price):
            self._tell(kept.RewardLeft(*committee, due))
            self._leave(committee)
            return

        def send() -> Receipt:
            encoded_members = [member.encoded() for member in members]
            self._chain.call("keepers", "reward", *committee, encoded_members, about[-1])  # a refusal costs nothing
            return keepers.reward(self._chain, *about)

        sent = self._unless_nothing(committee, send)
        if sent is not None:
            earned = next((e.args["amount"] for e in sent.events if e.name == "Rewarded"), 0)
            self._tell(kept.RewardSent(*committee, earned, sent.gas_used))

    def _unless_nothing(self, what: tuple[int, ...], send: Callable[[], Receipt]) -> Receipt | None:
        """The receipt; None where nothing is due, which holds for ever."""
        try:
            return send()
        except Reverted as error:
            if error.name not in NOTHING:
                raise
            self._leave(what)
            return None

    # --- as a solver, or a requester

    def _seat(self, view: ChainView, action: Seat) -> None:
        sent = keepers.seat(self._chain, action.task_id)
        self._tell(kept.SeatSent(action.task_id, len(sent.event("Seated").args["members"]), sent.gas_used))

    def _attest(self, view: ChainView, action: Attest) -> None:
        task = view.task(action.task_id)
        members = view.members(task)
        if members is None or task.keeping is None:
            return
        committee = task.id, task.attempt, task.keeping.committee
        self._rounds = {key: known for key, known in self._rounds.items() if key[0] in view and view.runs(*key[:2])}
        known = self._rounds.get(committee)
        if known is None or known.checkpoint < task.keeping.kept:
            known = self._rounds[committee] = Round(action.checkpoint, self._message(task, action.checkpoint))
        self._gatherer.ask(members, known)
        if not known.is_due(members, task.terms.keepers):
            return
        try:
            about = task.id, task.attempt, known.checkpoint, members
            sent = keepers.attest(self._chain, *about, gathered(known.signed))
        except (BadPoint, Reverted) as error:  # false signatures may add up to no point
            if known.strict or (isinstance(error, Reverted) and error.name not in FALSE):
                raise
            self._tell(kept.FalseSignature(task.id, known.checkpoint))
            self._gatherer.doubt(members, known)
            return
        del self._rounds[committee]
        self._tell(kept.AttestSent(task.id, known.checkpoint, len(known.signed), sent.gas_used))

    def _acknowledge(self, view: ChainView, action: Acknowledge) -> bool:
        task = view.task(action.task_id)
        here = self._materials.mirror(task, action.checkpoint)
        if here:
            sent = keepers.acknowledge(self._chain, task.id, task.attempt, action.checkpoint)
            self._tell(kept.AcknowledgeSent(task.id, action.checkpoint, sent.gas_used))
        return here
