"""Attack 24: a register of addresses that serve what is wrong, send a byte now and then, say nothing, or are closed.

To enter the register costs gas and nothing else. A verifier that comes late finds the task's own address dead, and its
solver away: one other verifier has the files, among strangers who all say that they have everything.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial

from offchain.chain import verifiers
from offchain.chain.client import Chain
from offchain.chain.deployment import COIN
from offchain.market.view import VERIFIER, Status
from offchain.worker.events import Audited, CommitSent
from offchain.worker.operate import register
from offchain.worker.said import ClaimSettled
from offchain.worker.vouched import ClaimSent, VouchSent
from tests.support.bls import SECRETS
from tests.support.deployment import PARAMETERS, NodeSender
from tests.support.strangers import listening, trickle, whole
from tests.support.town import FETCH, PRICE, Town
from tests.support.vouching import close_claiming, enter
from tests.support.works import every_kind

TASK = every_kind(6, 3)
FEE, STAKE = COIN // 10, 5
HASTY = replace(FETCH, haste=0.3)
LATE = 30.0  # seconds in which the late verifier must have looked
STRANGERS = 4  # accounts beside those with names


@contextmanager
def dead_addresses() -> Iterator[Sequence[str]]:
    with ExitStack() as stack:
        liar, slow = stack.enter_context(listening(whole)), stack.enter_context(listening(partial(trickle, seconds=60)))
        silent = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        closed = socket.create_server(("127.0.0.1", 0))
        closed.close()
        yield (
            liar.url,
            slow.url,
            *(f"http://127.0.0.1:{each.getsockname()[1]}" for each in (silent,)),
            "http://127.0.0.1:1",
        )


def test_a_verifier_that_comes_late_looks_in_time_and_is_paid(town: Town) -> None:
    before = town.fortunes()
    enter(town, {"challenger": STAKE}, {"challenger": SECRETS[0]})
    task = town.post(TASK, audit_fee=FEE, audit_rate_bps=20_000, challenge_window=1_000)
    town.grant(task, {"challenger": 1}, {"challenger": SECRETS[0]})
    solver = town.worker("solver", "solver", "solver")
    register(town.worker("holder", "rival", "verifier"))
    town.until(lambda: len(town.told(Audited, "holder")) == 2 and len(town.told(CommitSent)) == 2)
    register(solver)  # at an address that is closed from now on
    town.dismiss("solver")
    (town.folder / "task.file").unlink()
    with dead_addresses() as addresses:
        for account, address in zip(town.w3.eth.accounts[-STRANGERS:], addresses, strict=True):
            sender = NodeSender(town.clock, account)
            Chain(town.url, town.deployment, sender=sender).register(VERIFIER, address)
        late = town.worker("late", "challenger", "verifier", signing_key=SECRETS[0], fetch=HASTY)
        began = time.monotonic()
        while len(town.told(ClaimSent, "late")) < 2:
            assert time.monotonic() < began + LATE
            late.cycle()
            time.sleep(0.02)
    assert all(event.right for event in town.told(Audited))
    close_claiming(town, task, 1)
    town.worker("solver", "solver", "solver")  # it is back
    town.until(lambda: len(town.told(VouchSent, "late")) == 2)
    town.close_windows(task)
    town.until(lambda: town.status(task) is Status.COMPLETED and len(town.told(ClaimSettled, "late")) == 2)
    assert all(event.earned for event in town.told(ClaimSettled, "late"))
    leave(town)
    net = town.net(before)
    assert net["solver"] > 0 and net["challenger"] > FEE  # two fees, less its gas
    assert net["requester"] >= -PRICE - 2 * FEE - PARAMETERS.post_fee - COIN // 10
    assert net["rival"] > -COIN // 100 and net["stranger"] == 0  # the holder has paid for its entry


def leave(town: Town) -> None:
    """The verifier takes its stake out."""
    chain = town.quick("challenger")
    verifiers.unstake(chain, STAKE)
    town.clock.travel(chain.call("verifiers", "delay"))
    verifiers.release(chain)
