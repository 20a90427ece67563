"""What a keeper may try. Section 6.5 of DESIGN.md, which contracts/audit/Keepers.sol carries out."""

from __future__ import annotations

from typing import Final

import numpy as np

from offchain.economics.game import Game
from offchain.economics.strategies.base import Earnings, Strategy, available, colluding
from offchain.economics.strategies.solver import stalled, untrained_pay


def _honest(game: Game) -> float:
    return game.keeper_pay - game.holding


def _sure(exact: float, games: int) -> Earnings:
    return np.full(games, exact)


def _play_honest(game: Game, dice: np.random.Generator, games: int) -> Earnings:
    return _sure(_honest(game), games)


def _signed(game: Game) -> float:
    """For a solver that serves nobody. Who signs what the second committee denies loses its bond."""
    return game.passes * game.keeper_pay - (1 - game.passes) * game.keeper_bond


def _play_signed(game: Game, dice: np.random.Generator, games: int) -> Earnings:
    passed = available(game, dice, colluding(game, dice, games))
    return np.where(passed, game.keeper_pay, -game.keeper_bond)


def _refused(game: Game) -> float:
    """It holds, and does not sign: the others are a quorum without it, or the requester's word is."""
    return -game.holding


def _play_refused(game: Game, dice: np.random.Generator, games: int) -> Earnings:
    return _sure(_refused(game), games)


# --- a majority --------------------------------------------------------------------------------------------------


def _outcomes(game: Game, signers: Earnings) -> tuple[Earnings, Earnings]:
    """What a solver and its keepers earn together if what they signed stands, and if the second committee denies it.

    The first interval is trained: it can be replayed without them.
    """
    stands = untrained_pay(game) - game.work + signers * game.keeper_pay
    return stands, -stalled(game) - game.work - signers * game.keeper_bond


def _majority(game: Game) -> float:
    """Colluding keepers, whenever they are a quorum, sign for a solver that trains no more than one interval.

    The solver sees its committee before it begins, and is honest where that is not its own: that counts nothing here.
    As designed nobody asks further. Amended, an honest keeper objects, and a second committee is drawn, which the
    solver does not know beforehand.
    """
    total = 0.0
    for signers in range(game.quorum, game.offer.keepers + 1):
        passes = 1.0 if not game.amended or signers == game.offer.keepers else game.captured
        stands, denied = _outcomes(game, np.array(float(signers)))
        total += game.committee(signers) * float(passes * stands + (1 - passes) * denied)
    return total


def _play_majority(game: Game, dice: np.random.Generator, games: int) -> Earnings:
    signers = colluding(game, dice, games)
    passed = available(game, dice, signers) | (not game.amended)
    return np.where(signers >= game.quorum, np.where(passed, *_outcomes(game, signers.astype(float))), 0.0)


def _majority_refuses(game: Game) -> float:
    """They lose their pay. With the requester's word, or the second committee's, the solver loses nothing."""
    numbers = range(game.quorum, game.offer.keepers + 1)
    return -sum(game.committee(number) * number * game.holding for number in numbers)


def _play_majority_refuses(game: Game, dice: np.random.Generator, games: int) -> Earnings:
    number = colluding(game, dice, games)
    return np.where(number >= game.quorum, -number * game.holding, 0.0)


HONEST: Final = Strategy("keeper", "honest", _honest, _play_honest)
STRATEGIES: Final = (
    Strategy("keeper", "sign without holding", _signed, _play_signed),
    Strategy("keeper", "refuse to sign", _refused, _play_refused),
    Strategy("keeper", "a majority signs without holding", _majority, _play_majority),
    Strategy("keeper", "a majority refuses to sign", _majority_refuses, _play_majority_refuses),
)
