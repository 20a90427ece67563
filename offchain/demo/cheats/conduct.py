"""False conduct: silence, lateness, claims without work, disputes without a cause, and friends."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from typing import Any, Final

from hexbytes import HexBytes

from offchain.bls.signing import public_key, sign
from offchain.chain import claims, verifiers
from offchain.chain.abi import decode_values, interface
from offchain.chain.register import entry_of
from offchain.commit.logs import COMMITMENT_BYTES
from offchain.demo.cheats.cheater import Act, Cheater, Part, without
from offchain.demo.cheats.numbers import number
from offchain.ir.kinds import Kind
from offchain.market.actions import (
    Action,
    Audit,
    Claim,
    Commit,
    Defend,
    Fetch,
    Keep,
    OpenDispute,
    Reveal,
    SettleClaim,
    Vouch,
)
from offchain.market.keeping import Signed
from offchain.market.view import ChainView, Phase, Status
from offchain.store import names
from offchain.worker.gathering import encoded
from offchain.worker.names import state_name, task_name

LIE: Final = number(Kind.DOT)  # of those whose other fault is their conduct


def silent_at(phase: Phase) -> Part:
    """It lies about a number, and falls silent where it would have to show that."""

    def defend(cheater: Cheater, honest: Act, view: ChainView, action: Defend) -> None:
        if view.dispute(action.dispute_id).phase is not phase:
            honest(view, action)

    return replace(LIE, acts={Defend: defend})


def concede_to_a_friend(cheater: Cheater, honest: Act, view: ChainView, action: Defend) -> None:
    """The friend, who looks at nothing, is the first to dispute. Once another one does, the cheat concedes to it."""
    disputes = [dispute.id for dispute in view.disputes if dispute.solver == view.me]
    if len(disputes) > 1:
        cheater.chain.concede(min(disputes))


def an_old_root(cheater: Cheater, honest: Act, view: ChainView, action: Commit) -> None:
    """The checkpoint before, again."""
    points = view.task(action.task_id).checkpoints
    honest(view, replace(action, root=points[-1].root) if points else action)


def no_state(cheater: Cheater, honest: Act, view: ChainView, action: Commit) -> None:
    """The state lies nowhere, but for the last one, which the requester pays for."""
    _commit(cheater, honest, view, action, names.state_name(task_name(view.task(action.task_id).terms), bytes(32)))


def half_a_state(cheater: Cheater, honest: Act, view: ChainView, action: Commit) -> None:
    """Half of the file is served."""
    terms, blobs = view.task(action.task_id).terms, cheater.materials.blobs
    name = names.state_name(task_name(terms), bytes(32))
    whole = blobs.path(state_name(terms, action.root)).read_bytes()
    blobs.publish(name, lambda path: path.write_bytes(whole[: len(whole) // 2]))
    _commit(cheater, honest, view, action, name)


def _commit(cheater: Cheater, honest: Act, view: ChainView, action: Commit, name: str) -> None:
    if action.checkpoint == view.task(action.task_id).terms.intervals - 1:
        honest(view, action)
    else:
        uri = cheater.materials.blobs.uri(name)
        cheater.chain.commit(action.task_id, action.checkpoint, action.root, uri)


def serve_nothing(cheater: Cheater, honest: Act, view: ChainView, action: Commit) -> None:
    """No state lies anywhere, not even the last one: its address leaves the register, before anybody knows the root."""
    entered = entry_of(cheater.chain)
    if entered.endpoint:
        cheater.chain.register(entered.roles, "")
    blobs, terms = cheater.materials.blobs, view.task(action.task_id).terms
    nowhere = blobs.uri(names.state_name(task_name(terms), bytes(32)))
    cheater.chain.commit(action.task_id, action.checkpoint, action.root, nowhere)


def sign_unseen(cheater: Cheater, honest: Act, view: ChainView, action: Keep) -> None:
    """It says that it holds what it has not fetched, until a second committee looks at it."""
    task = view.task(action.task_id)
    if task.keeping is not None and not task.keeping.called_at:
        cheater.keeping.sign(view, task, action.checkpoint)


def sign_falsely(cheater: Cheater, honest: Act, view: ChainView, action: Keep) -> None:
    """It keeps everything, and serves a signature of its own over something else."""
    honest(view, action)
    secret, blobs = cheater.options.signing_key, cheater.materials.blobs
    assert secret is not None
    wrong = Signed(public_key(secret).twin, sign(secret, b"all is well"))
    for name in [name for name in cheater.keeping.names(view) if name in blobs]:
        blobs.path(name).write_bytes(encoded(wrong))


def reveal_late(cheater: Cheater, view: ChainView, actions: list[Action]) -> list[Action]:
    """It shows its bid once everybody else has, and the time is over."""
    sealed = [task for task in view.tasks if (task.id, task.attempt) in view.sealed]
    late = [Reveal(task.id) for task in sealed if task.status is Status.BIDDING and view.now > task.reveal_ends]
    return [*without(Reveal)(cheater, view, actions), *late]


def commit_late(cheater: Cheater, view: ChainView, actions: list[Action]) -> list[Action]:
    """It commits when the deadline has passed."""
    late = []
    for task in view.tasks:
        k = len(task.checkpoints)
        mine = task.status is Status.TRAINING and task.solver == view.me and k < task.terms.intervals
        root = cheater.db.notes(task).trained.get(k) if mine else None
        if root is not None and view.now > task.deadline(k):
            late.append(Commit(task.id, k, root))
    return [*without(Commit)(cheater, view, actions), *late]


def dispute_unseen(cheater: Cheater, view: ChainView, actions: list[Action]) -> list[Action]:
    """It disputes the last checkpoint of each task, and has looked at none."""
    wanted: list[Action] = []
    for action in actions:
        if not isinstance(action, Audit):
            wanted.append(action)
            continue
        task, k = view.task(action.task_id), action.checkpoint
        if k < task.terms.intervals - 1:
            cheater.db.add_audited(task, k, True)  # on to the next one
        elif (task.id, task.attempt, k) not in view.opened:
            wanted.append(OpenDispute(task.id, k))
    return wanted


def claim_unseen(cheater: Cheater, view: ChainView, actions: list[Action]) -> list[Action]:
    """It vouches for whatever it is drawn for. It replays nothing, and does not even fetch the task."""
    unseen = [
        Claim(task.id, k)
        for task in view.tasks
        for k, won in cheater.db.notes(task).lots.items()
        if won and task.status is Status.TRAINING and (task.id, task.attempt, k) not in view.claims
        and view.now <= task.checkpoints[k].claimable_until
    ]  # fmt: skip
    return [*without(Fetch, Audit, Claim)(cheater, view, actions), *unseen]


def guess(cheater: Cheater, honest: Act, view: ChainView, action: Claim) -> None:
    """Commits to something, which it can't show."""
    _claim(cheater, view, action, sha256(b"all is well").digest()[:COMMITMENT_BYTES])


def copy(cheater: Cheater, honest: Act, view: ChainView, action: Claim) -> None:
    """Commits to what another verifier has committed to; until one has, it waits."""
    for event in _told(cheater, "Claimed", action):
        _claim(cheater, view, action, event.args["commitment"])
        return


def show_a_copy(cheater: Cheater, view: ChainView, actions: list[Action]) -> list[Action]:
    """Claims unseen, and shows what the other has shown."""
    seen = [Vouch(task, k) for (task, _, k), shown in view.claims.items() if not shown and task in view]
    return [*claim_unseen(cheater, view, [a for a in actions if not isinstance(a, Vouch)]), *seen]


def copied(cheater: Cheater, honest: Act, view: ChainView, action: Vouch) -> None:
    """Sends what another verifier's transaction has shown."""
    for event in _told(cheater, "Vouched", action):
        sent = bytes(cheater.chain.w3.eth.get_transaction(HexBytes(event.transaction))["input"])
        *_, shown = decode_values(interface("auditor").functions["reveal"]["inputs"], sent[4:])
        cheater.chain.send("auditor", "reveal", action.task_id, action.checkpoint, tuple(shown.values()))


def vouch_late(cheater: Cheater, view: ChainView, actions: list[Action]) -> list[Action]:
    """It has replayed, and shows the log when the window is over."""
    late = [
        Vouch(task, k)
        for (task, _, k), shown in view.claims.items()
        if not shown and task in view and k < len(view.task(task).checkpoints)
        and view.now > view.task(task).checkpoints[k].challengeable_until
    ]  # fmt: skip
    return [*without(Vouch, SettleClaim)(cheater, view, actions), *late]


def _claim(cheater: Cheater, view: ChainView, action: Claim, commitment: bytes) -> None:
    secret = cheater.options.signing_key
    assert secret is not None
    ticket = verifiers.draw(cheater.chain, secret, action.task_id, action.checkpoint)
    if ticket is not None:
        claims.claim(cheater.chain, action.task_id, action.checkpoint, ticket, commitment)
        cheater.db.add_audited(view.task(action.task_id), action.checkpoint, True)  # on to the next one


def _told(cheater: Cheater, name: str, action: Claim | Vouch) -> list[Any]:
    """Such events of other verifiers about a checkpoint."""
    chain = cheater.chain
    found = chain.logs(("auditor",), chain.deployment.block, chain.head().number)
    key = (name, action.task_id, action.checkpoint)
    return [
        event
        for event in found
        if (event.name, event.args.get("taskId"), event.args.get("checkpoint")) == key
        and event.args["verifier"] != chain.address
    ]
