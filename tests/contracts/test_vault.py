"""StakeVault: what comes in, what leaves when, and who may move what between."""

from __future__ import annotations

from typing import Any

import pytest
from web3 import Web3

from tests.conftest import Deploy
from tests.support.deployment import BURN_ADDRESS, FREE, PARAMETERS, WEALTH
from tests.support.reverts import reverts
from tests.support.world import World

POT = b"\x07" * 32


class Till:
    """A vault over any token, with two accounts as its modules."""

    def __init__(self, w3: Web3, deploy: Deploy, token: str, *arguments: Any) -> None:
        self.w3 = w3
        self.token = deploy(token, *arguments)
        self.vault = deploy("StakeVault", self.token.address, 0)
        self.module, self.other, self.owner = w3.eth.accounts[1:4]
        self.send(self.vault.functions.connect([self.module, self.other]), w3.eth.accounts[0])
        self.send(self.token.functions.mint(self.owner, 10_000), w3.eth.accounts[0])
        self.send(self.token.functions.approve(self.vault.address, 10_000), self.owner)

    def send(self, call: Any, sender: str) -> None:
        assert self.w3.eth.wait_for_transaction_receipt(call.transact({"from": sender}))["status"] == 1

    def free(self, account: str) -> int:
        return self.vault.functions.freeOf(account).call()

    def balance(self, account: str) -> int:
        return self.token.functions.balanceOf(account).call()


@pytest.fixture
def till(w3: Web3, deploy: Deploy, snapshot: None) -> Till:
    """1,000 free of the owner's, of which the module has locked 600."""
    made = Till(w3, deploy, "OffchainToken")
    made.send(made.vault.functions.deposit(1_000), made.owner)
    made.send(made.vault.functions.lock(POT, made.owner, 600), made.module)
    return made


def test_deposit(market_world: World) -> None:
    world = market_world
    world.send(world.vault.functions.deposit(5), world.solver)
    assert world.free("solver") == FREE + 5
    assert world.token.functions.balanceOf(world.solver).call() == FREE - 5


def test_deposit_of_nothing_reverts(market_world: World) -> None:
    with reverts(market_world.vault, "ZeroAmount"):
        market_world.ask(market_world.vault.functions.deposit(0), market_world.solver)


def test_deposit_beyond_the_wallet_reverts(market_world: World) -> None:
    world = market_world
    with reverts(world.token, "ERC20InsufficientBalance", world.solver.lower(), FREE, WEALTH):
        world.ask(world.vault.functions.deposit(WEALTH), world.solver)


def test_withdraw_after_the_delay(market_world: World) -> None:
    world = market_world
    world.send(world.vault.functions.requestWithdrawal(100), world.solver)
    ready_at = world.clock.now + PARAMETERS.withdrawal_delay
    assert world.vault.functions.pendingOf(world.solver).call() == [100, ready_at]
    assert world.free("solver") == FREE - 100
    world.send(world.vault.functions.withdraw(), world.solver, at=ready_at)
    assert world.token.functions.balanceOf(world.solver).call() == FREE + 100
    with reverts(world.vault, "NothingToWithdraw", world.solver.lower()):
        world.ask(world.vault.functions.withdraw(), world.solver)


def test_withdraw_before_the_delay_reverts(market_world: World) -> None:
    world = market_world
    world.send(world.vault.functions.requestWithdrawal(100), world.solver)
    ready_at = world.clock.now + PARAMETERS.withdrawal_delay
    world.clock.mine(ready_at - 1)
    with reverts(world.vault, "WithdrawalNotReady", ready_at, ready_at - 1):
        world.ask(world.vault.functions.withdraw(), world.solver)


def test_second_request_starts_the_delay_again(market_world: World) -> None:
    world = market_world
    world.send(world.vault.functions.requestWithdrawal(100), world.solver)
    world.clock.travel(PARAMETERS.withdrawal_delay)
    world.send(world.vault.functions.requestWithdrawal(1), world.solver)
    assert world.vault.functions.pendingOf(world.solver).call() == [101, world.clock.now + PARAMETERS.withdrawal_delay]


def test_request_of_what_is_not_free_reverts(market_world: World) -> None:
    world = market_world
    with reverts(world.vault, "InsufficientFree", world.solver.lower(), WEALTH, FREE):
        world.ask(world.vault.functions.requestWithdrawal(WEALTH), world.solver)
    with reverts(world.vault, "ZeroAmount"):
        world.ask(world.vault.functions.requestWithdrawal(0), world.solver)


def test_connect_only_the_deployer_and_once(w3: Web3, deploy: Deploy, snapshot: None) -> None:
    deployer, stranger = w3.eth.accounts[:2]
    vault = deploy("StakeVault", deploy("OffchainToken").address, 0)
    with reverts(vault, "NotDeployer", stranger.lower()):
        vault.functions.connect([stranger]).call({"from": stranger})
    with reverts(vault, "ZeroAddress"):
        vault.functions.connect(["0x" + "00" * 20]).call({"from": deployer})
    w3.eth.wait_for_transaction_receipt(vault.functions.connect([stranger]).transact({"from": deployer}))
    assert vault.functions.isModule(stranger).call()
    with reverts(vault, "AlreadyConnected"):
        vault.functions.connect([deployer]).call({"from": deployer})


def test_lock(till: Till) -> None:
    assert till.free(till.owner) == 400
    assert till.vault.functions.potOf(till.module, POT).call() == 600


def test_lock_beyond_free_reverts(till: Till) -> None:
    with reverts(till.vault, "InsufficientFree", till.owner.lower(), 401, 400):
        till.vault.functions.lock(POT, till.owner, 401).call({"from": till.module})


def test_pay(till: Till) -> None:
    till.send(till.vault.functions.pay(POT, till.other, 600), till.module)
    assert till.free(till.other) == 600
    assert till.vault.functions.potOf(till.module, POT).call() == 0


def test_pay_beyond_the_pot_reverts(till: Till) -> None:
    with reverts(till.vault, "InsufficientPot", till.module.lower(), POT, 601, 600):
        till.vault.functions.pay(POT, till.owner, 601).call({"from": till.module})


def test_pay_from_another_modules_pot_reverts(till: Till) -> None:
    with reverts(till.vault, "InsufficientPot", till.other.lower(), POT, 1, 0):
        till.vault.functions.pay(POT, till.other, 1).call({"from": till.other})


def test_divide(till: Till) -> None:
    till.send(till.vault.functions.divide(POT, till.other, 400, 50), till.module)
    assert (till.free(till.other), till.vault.functions.burnable().call()) == (400, 50)
    assert till.vault.functions.potOf(till.module, POT).call() == 150


def test_divide_beyond_the_pot_reverts(till: Till) -> None:
    with reverts(till.vault, "InsufficientPot", till.module.lower(), POT, 601, 600):
        till.vault.functions.divide(POT, till.owner, 600, 1).call({"from": till.module})


def test_empty(till: Till) -> None:
    empty = till.vault.functions.empty(POT, till.other)
    assert empty.call({"from": till.module}) == 600
    till.send(empty, till.module)
    assert till.free(till.other) == 600
    assert till.vault.functions.potOf(till.module, POT).call() == 0
    assert empty.call({"from": till.module}) == 0


def test_nobody_but_a_module_empties_a_pot(till: Till) -> None:
    with reverts(till.vault, "NotModule", till.owner.lower()):
        till.vault.functions.empty(POT, till.owner).call({"from": till.owner})


def test_move(till: Till) -> None:
    till.send(till.vault.functions.move(POT, till.other, 250), till.module)
    pots = [till.vault.functions.potOf(module, POT).call() for module in (till.module, till.other)]
    assert pots == [350, 250]
    till.send(till.vault.functions.pay(POT, till.owner, 250), till.other)
    assert till.free(till.owner) == 650


def test_move_to_itself_changes_nothing(till: Till) -> None:
    till.send(till.vault.functions.move(POT, till.module, 250), till.module)
    assert till.vault.functions.potOf(till.module, POT).call() == 600


def test_move_beyond_the_pot_reverts(till: Till) -> None:
    with reverts(till.vault, "InsufficientPot", till.module.lower(), POT, 601, 600):
        till.vault.functions.move(POT, till.other, 601).call({"from": till.module})


def test_move_to_who_is_no_module_reverts(till: Till) -> None:
    with reverts(till.vault, "NotModule", till.owner.lower()):
        till.vault.functions.move(POT, till.owner, 1).call({"from": till.module})


def test_burn(till: Till) -> None:
    till.send(till.vault.functions.burn(POT, 250), till.module)
    assert till.vault.functions.burnable().call() == 250
    assert (till.balance(BURN_ADDRESS), till.balance(till.vault.address)) == (0, 1_000)
    assert till.vault.functions.potOf(till.module, POT).call() == 350


def test_anybody_sweeps_what_was_burned(till: Till) -> None:
    for amount in (250, 50):
        till.send(till.vault.functions.burn(POT, amount), till.module)
    till.send(till.vault.functions.sweep(), till.other)
    assert till.vault.functions.burnable().call() == 0
    assert (till.balance(BURN_ADDRESS), till.balance(till.vault.address)) == (300, 700)
    with reverts(till.vault, "NothingToSweep"):
        till.vault.functions.sweep().call({"from": till.other})


def test_sweep_takes_nobodys_money(till: Till) -> None:
    with reverts(till.vault, "NothingToSweep"):
        till.vault.functions.sweep().call({"from": till.owner})
    till.send(till.vault.functions.burn(POT, 0), till.module)
    with reverts(till.vault, "NothingToSweep"):
        till.vault.functions.sweep().call({"from": till.owner})


def test_burn_beyond_the_pot_reverts(till: Till) -> None:
    with reverts(till.vault, "InsufficientPot", till.module.lower(), POT, 601, 600):
        till.vault.functions.burn(POT, 601).call({"from": till.module})


@pytest.mark.parametrize("amount", [0, 1])
@pytest.mark.parametrize("verb", ["lock", "pay", "divide", "move", "burn"])
def test_only_modules(till: Till, verb: str, amount: int) -> None:
    """Not even of nothing: readers of events believe that a module moved it."""
    others: dict[str, tuple[Any, ...]] = {"burn": (amount,), "divide": (till.owner, amount, amount)}
    arguments = (POT, *others.get(verb, (till.owner, amount)))
    with reverts(till.vault, "NotModule", till.owner.lower()):
        till.vault.functions[verb](*arguments).call({"from": till.owner})


def test_fee_on_arrival_is_not_credited(w3: Web3, deploy: Deploy, snapshot: None) -> None:
    till = Till(w3, deploy, "FeeToken", False)
    till.send(till.vault.functions.deposit(1_000), till.owner)
    assert till.free(till.owner) == 990 == till.balance(till.vault.address)
    till.send(till.vault.functions.requestWithdrawal(990), till.owner)
    till.send(till.vault.functions.withdraw(), till.owner)
    assert till.balance(till.vault.address) == 0


def test_fee_on_top_of_a_withdrawal_reverts(w3: Web3, deploy: Deploy, snapshot: None) -> None:
    """It would be paid with the deposits of others."""
    till = Till(w3, deploy, "FeeToken", True)
    till.send(till.vault.functions.deposit(1_000), till.owner)
    till.send(till.vault.functions.requestWithdrawal(500), till.owner)
    with reverts(till.vault, "UnexpectedTransfer", 500, 505):
        till.vault.functions.withdraw().call({"from": till.owner})


def test_reentrant_deposit_reverts(w3: Web3, deploy: Deploy, snapshot: None) -> None:
    """The outer deposit would count the inner one's tokens once more."""
    till = Till(w3, deploy, "HookToken")
    thief = deploy("Reentrant", till.vault.address, till.token.address)
    till.send(till.token.functions.mint(thief.address, 1_000), till.owner)
    with reverts(till.vault, "ReentrancyGuardReentrantCall"):
        thief.functions.attack(100).call({"from": till.owner})
