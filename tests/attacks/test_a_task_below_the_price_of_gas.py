"""Attack 15: tasks that pay less than their gas, and sham tasks that eat the time of verifiers.

A requester offered 2 wei for a task, and the default worker bid 1: it paid the gas of a bid, of every commit and of
every collect. With a friend as solver, such a task costs its author next to nothing, and verifiers audited it for ever.
Workers reckon gas in tokens now: no bid is below its gas and the reserve, nothing is audited in which a conviction
would not pay its dispute, a stake is at least ten bounties, and a verifier's time goes to the largest stake first.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest

from offchain.chain.deployment import COIN
from offchain.market.actions import Audit
from offchain.market.view import Status
from offchain.roles.policy import AWARD_GAS, COLLECT_GAS, COMMIT_GAS, REVEAL_GAS, SEAL_GAS
from offchain.worker.events import Audited, BidSent, CommitSent
from tests.support import tasks
from tests.support.deployment import PARAMETERS
from tests.support.players import Mind
from tests.support.town import POLICY, Town
from tests.support.works import every_kind

TASK = every_kind(6, 3)
GAS = SEAL_GAS + REVEAL_GAS + AWARD_GAS + 2 * (COMMIT_GAS + COLLECT_GAS)


def test_nobody_works_for_less_than_gas(town: Town) -> None:
    before = town.fortunes()
    cheap = town.post(TASK, max_price=2)
    solver = town.worker("solver", "solver", "solver")
    for _ in range(3):
        solver.cycle()
    tasks.lapse(town, cheap)
    assert town.status(cheap) is Status.CANCELLED
    assert not town.told(BidSent)
    net = town.net(before)
    assert net["requester"] < 0 == net["solver"]


def test_a_task_that_pays_its_gas_is_worth_it_to_the_last_unit(town: Town) -> None:
    """The least price at which the default reserve lets the worker bid leaves it more than it had, gas included."""
    before = town.fortunes()
    price = 3 * GAS * town.quick("solver").gas_price()
    task = town.post(TASK, max_price=price)
    town.worker("solver", "solver", "solver")
    town.until(lambda: len(town.told(CommitSent)) == 2)
    town.close_windows(task)
    town.until(lambda: town.status(task) is Status.COMPLETED)
    town.dismiss("solver")
    assert town.net(before)["solver"] > 0


def trained_by_a_friend(town: Town, price: int) -> int:
    """A task whose requester has it trained by a friend, who commits what is right at once."""
    task, friend = town.post(TASK, max_price=price, challenge_window=100_000), town.quick("rival")
    tasks.auction(town, task, {"rival": price})
    for checkpoint in range(2):
        friend.commit(task, checkpoint, Mind(TASK).root(checkpoint), "")
    return task


@pytest.mark.parametrize(("coin_price", "audited"), [(1, ["real", "sham"]), (1_000, ["real"])])
def test_a_sham_task_keeps_no_verifier_from_the_others(town: Town, coin_price: int, audited: list[str]) -> None:
    """What has the largest stake comes first, and what cannot pay the gas of its dispute is not audited."""
    before = town.fortunes()
    shams = [trained_by_a_friend(town, 2) for _ in range(2)]
    real = trained_by_a_friend(town, 1_000 * COIN)
    names = dict.fromkeys(shams, "sham") | {real: "real"}
    verifier = town.worker(
        "verifier", "challenger", "verifier", policy=replace(POLICY, coin_price=Fraction(coin_price))
    )
    town.meanwhile(lambda: len(town.told(Audited)) >= (6 if "sham" in audited else 2))
    for _ in range(3):
        verifier.cycle()
    assert sorted({names[event.task] for event in town.told(Audited)}) == audited
    view = verifier.reader.read()
    due = [(view.task(task), Audit(task, 0)) for task in names]
    assert min(due, key=verifier._deadline)[0].id == real
    for task in (*shams, real):
        town.close_windows(task)
        town.quick("rival").collect(task)
    net = town.net(before)
    assert net["requester"] + net["rival"] < -3 * PARAMETERS.post_fee < 0 == net["challenger"]
