"""What a challenger may try, and what a day of delay costs it beside what it costs the solver."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Final

import numpy as np

from offchain.economics.game import COIN, DAY, HOUR, LOST, PROOF, YEAR, Game
from offchain.economics.strategies.base import Earnings, Strategy, winners
from offchain.market.money import BPS


def _reward(game: Game) -> tuple[float, float]:
    """What who proves it earns, and who only finds it; both have replayed the interval and paid a dispute's gas."""
    spent = game.gas("dispute") + game.work
    return PROOF * game.stake - spent, game.bounty - spent


def _honest(game: Game) -> float:
    """Of a checkpoint that is false. Who proves first is drawn among all who found it."""
    number, chance = game.people.verifiers, game.drawn
    first = (1 - (1 - chance) ** (number + 1)) / ((number + 1) * chance)
    proves, finds = _reward(game)
    return first * proves + (1 - first) * finds


def _play_honest(game: Game, dice: np.random.Generator, games: int) -> Earnings:
    first = dice.random(games) * (winners(game, dice, (games,)) + 1) < 1
    return np.where(first, *_reward(game))


# --- delay -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Delay:
    """What a day of delay costs the challenger, and the solver, in tokens. `disputes` of them fill it."""

    disputes: float
    challenger: float
    solver: float

    @property
    def ratio(self) -> float:
        return self.challenger / self.solver if self.solver > 0 else inf


def delay(game: Game) -> Delay:
    """A day of pay that comes later, by disputes about what is right, one when the clock of the one before has run out.

    A dispute holds a checkpoint for a challenger's whole clock, at most; each is about another checkpoint, so that the
    solver replays for each. It gets half of the bond. Its stake, and what would have become due on that day, bear
    interest.
    """
    disputes = DAY / game.clock
    due = min(game.price, game.price / game.intervals * DAY / game.interval_seconds)
    waiting = (game.stake + due) * game.people.interest * DAY / YEAR
    spent = game.work + game.gas("defend") - (1 - LOST) * game.bond
    return Delay(disputes, disputes * (game.bond + game.gas("open")), waiting + disputes * spent)


def _delaying(game: Game) -> float:
    return -delay(game).challenger


def _play_delaying(game: Game, dice: np.random.Generator, games: int) -> Earnings:
    """Clocks run out one after the other; the one in which the day ends counts for its part."""
    return np.full(games, -delay(game).challenger)


# --- others' disputes, and its own friends -----------------------------------------------------------------------


def _copying(game: Game) -> float:
    """It repeats a stranger's moves. Where they are right it comes second, and gets a bounty."""
    right = game.people.right
    return right * (game.bounty - game.gas("dispute")) - (1 - right) * (game.bond + game.gas("dispute"))


def _play_copying(game: Game, dice: np.random.Generator, games: int) -> Earnings:
    right = dice.random(games) < game.people.right
    return np.where(right, game.bounty, -game.bond) - game.gas("dispute")


def copying_pays_from(game: Game) -> float:
    """The part of disputes that must be right for copying to pay."""
    return (game.bond + game.gas("dispute")) / (game.bond + game.bounty)


def _saved(game: Game, seconds: Earnings) -> Earnings:
    """What a late solver and its friend gain by a dispute that the friend concedes after so many seconds."""
    excused = game.offer.urgency / COIN * seconds / HOUR * (1 - game.rules.fee_bps / BPS)
    return excused - LOST * game.bond - game.gas("open", "concede")


def _conceding(game: Game) -> float:
    return float(_saved(game, np.array(game.clock / 2)))


def _play_conceding(game: Game, dice: np.random.Generator, games: int) -> Earnings:
    """At a random second of the solver's clock."""
    return _saved(game, dice.random(games) * game.clock)


HONEST: Final = Strategy("challenger", "honest", _honest, _play_honest)
STRATEGIES: Final = (
    Strategy("challenger", "delay with many bonds", _delaying, _play_delaying),
    Strategy("challenger", "copy another's dispute", _copying, _play_copying),
    Strategy("challenger", "concede on purpose", _conceding, _play_conceding),
)
