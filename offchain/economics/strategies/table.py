"""All strategies, role by role, and their figures in a game."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from offchain.economics.game import Game
from offchain.economics.strategies import challenger, keeper, requester, solver, verifier
from offchain.economics.strategies.base import Row, Strategy, row

GAMES: Final = 20_000
_MODULES: Final = (solver, verifier, keeper, requester, challenger)
HONEST: Final[dict[str, Strategy]] = {module.HONEST.role: module.HONEST for module in _MODULES}
STRATEGIES: Final[tuple[Strategy, ...]] = tuple(strategy for module in _MODULES for strategy in module.STRATEGIES)


def rows(game: Game, seed: int = 0, games: int = GAMES) -> Iterator[Row]:
    """Each strategy of the table, with draws of its own."""
    for place, strategy in enumerate(STRATEGIES):
        yield row(strategy, HONEST[strategy.role], game, seed + place, games)
