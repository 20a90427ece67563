"""What a strategy is, and how it is held against the honest role."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Final

import numpy as np
from numpy.typing import NDArray

from offchain.economics.game import Game

Earnings = NDArray[np.float64]
Play = Callable[[Game, np.random.Generator, int], Earnings]

DEVIATIONS: Final = 3.29  # of a mean: 99.9 % of all intervals that wide hold the truth
ROLES: Final = ("solver", "verifier", "keeper", "requester", "challenger")


@dataclass(frozen=True, slots=True)
class Strategy:
    """One way to play a role.

    Attributes:
        exact: what its false part earns in expectation, in tokens. Work that is done honestly beside it is taken off at
            what it would have earned anyway.
        play: the same of many games, each with its own draws; shape (games,).
    """

    role: str
    name: str
    exact: Callable[[Game], float]
    play: Play


@dataclass(frozen=True, slots=True)
class Row:
    """A strategy's figures in one game, in tokens.

    Attributes:
        ev: what the strategy earns in expectation, by the closed form.
        honest_ev: what the honest role earns.
        mean: of the games that were played; `low` and `high` bound what it estimates, with 99.9 %.
        holds: the cheat loses and the honest one gains.
        agrees: the closed form lies between `low` and `high`.
    """

    role: str
    strategy: str
    ev: float
    honest_ev: float
    holds: bool
    mean: float
    low: float
    high: float
    agrees: bool


def row(strategy: Strategy, honest: Strategy, game: Game, seed: int, games: int) -> Row:
    ev, honest_ev = strategy.exact(game), honest.exact(game)
    mean, low, high = interval(strategy.play(game, np.random.default_rng(seed), games))
    slack = 1e-9 * max(1.0, abs(ev))  # sums of floats
    agrees = low - slack <= ev <= high + slack
    holds = ev < 0 < honest_ev
    return Row(strategy.role, strategy.name, ev, honest_ev, holds, mean, low, high, agrees)


def interval(earned: Earnings) -> tuple[float, float, float]:
    """Mean of what was earned, and the bounds of its confidence interval."""
    mean, spread = float(earned.mean()), DEVIATIONS * float(earned.std(ddof=1)) / sqrt(len(earned))
    return mean, mean - spread, mean + spread


def winners(game: Game, dice: np.random.Generator, size: Sequence[int]) -> NDArray[np.int64]:
    """How many of the honest verifiers are drawn for each checkpoint."""
    return dice.binomial(game.people.verifiers, game.drawn, tuple(size))


def tickets(game: Game, dice: np.random.Generator, share: float, size: Sequence[int]) -> NDArray[np.int64]:
    """How many fees tickets win, each of who has that part of all stakes."""
    if game.amended:
        return dice.poisson(game.rate * share, tuple(size))
    return dice.binomial(1, game.fees(share), tuple(size))


def colluding(game: Game, dice: np.random.Generator, games: int) -> NDArray[np.int64]:
    """How many of a committee's keepers are colluding."""
    return dice.binomial(game.offer.keepers, game.people.colluding, games)


def available(game: Game, dice: np.random.Generator, first: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether what nobody can fetch counts as available, given the first committee: see `Game.passes`."""
    enough = game.offer.keepers if game.amended else game.quorum
    return (first >= enough) | (colluding(game, dice, len(first)) >= game.quorum)
