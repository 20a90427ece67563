"""What a requester may try."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

import numpy as np

from offchain.economics.auction import PRIOR_BPS
from offchain.economics.game import AUDIT, COIN, Game
from offchain.economics.strategies.base import Earnings, Strategy, tickets
from offchain.market.money import BPS


def _posting(game: Game) -> float:
    return game.rules.post_fee / COIN + game.gas("post")


def _standby(game: Game) -> float:
    return game.price * game.rules.standby_bps / BPS


def _bill(game: Game, fees: Earnings) -> Earnings:
    """What a completed task costs its requester at the highest price, with so many fees of audits paid."""
    kept = game.offer.keepers * game.keeper_pay
    return game.price + _standby(game) + kept + fees * game.fee + _posting(game)


def _honest(game: Game) -> float:
    """It pays the highest price. All stakes are drawn from, honest or not."""
    expected = np.array(game.rate * game.intervals)
    return game.people.value * game.price - float(_bill(game, expected))


def _play_honest(game: Game, dice: np.random.Generator, games: int) -> Earnings:
    whole = max(1, round(game.people.verifiers / game.honest))  # verifiers of all kinds
    fees = tickets(game, dice, 1 / whole, (games, whole, game.intervals)).sum(axis=(1, 2)).astype(float)
    return game.people.value * game.price - _bill(game, fees)


# --- what it may try ---------------------------------------------------------------------------------------------


def _dataless(game: Game) -> float:
    """Nobody bids for what it cannot fetch; the task ends without bids, and the fee for posting burns."""
    return -_posting(game) - game.gas("cancel")


def _disputing(game: Game) -> float:
    """With its own account, or a friend's: half of the bond burns, half is the solver's."""
    return -game.bond - game.gas("dispute")


def _wash(game: Game) -> float:
    """A task for a friend, to give it a record: it is paid, fees burn, and the next requester reckons with less risk.

    The work is done: the friend would be convicted otherwise. Its cost is not even counted.
    """
    spent = game.rules.fee_bps / BPS * game.price + _posting(game) + game.gas("award", "seal", "reveal bid")
    gained = game.offer.risk_bps / BPS * game.price * PRIOR_BPS / BPS / 2  # the share of failures halves
    return gained - spent - game.intervals * game.gas("commit", "collect")


def _certain(exact: Callable[[Game], float], game: Game, dice: np.random.Generator, games: int) -> Earnings:
    """Nothing about it is left to chance."""
    return np.full(games, exact(game))


def _cancelling(game: Game) -> float:
    """At a random moment of the auction. Before the first reveal it loses the fee, after it only the gas of trying."""
    return -game.gas("cancel") - 0.5 * _posting(game)


def _play_cancelling(game: Game, dice: np.random.Generator, games: int) -> Earnings:
    bidding, moment = game.rules.bidding_time, dice.random(games) * 2 * game.rules.bidding_time
    return -game.gas("cancel") - (moment < bidding).astype(float) * _posting(game)


def _friends(game: Game) -> float:
    """Its own verifiers are paid out of its own pocket; what is not claimed comes back to it anyway."""
    return -game.intervals * game.looks(game.people.own) * (game.gas(*AUDIT) + game.work)


def _play_friends(game: Game, dice: np.random.Generator, games: int) -> Earnings:
    claims = dice.binomial(game.intervals, game.looks(game.people.own), games).astype(float)
    return -claims * (game.gas(*AUDIT) + game.work)


def _sure(name: str, exact: Callable[[Game], float]) -> Strategy:
    return Strategy("requester", name, exact, partial(_certain, exact))


HONEST: Final = Strategy("requester", "honest", _honest, _play_honest)
STRATEGIES: Final = (
    _sure("serve no data", _dataless),
    _sure("dispute its own solver", _disputing),
    Strategy("requester", "cancel late", _cancelling, _play_cancelling),
    Strategy("requester", "collude with a verifier", _friends, _play_friends),
    _sure("collude with a bidder", _wash),
)
