"""How much stake deters whom: by audit rate, number of intervals, and how many are honest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from offchain.economics.game import COIN, Game
from offchain.economics.strategies.table import STRATEGIES

# The false intervals that a solver may commit: what the stake is for.
_FALSE: Final = tuple(s for s in STRATEGIES if s.role == "solver" and s.name.startswith(("falsify", "convict")))


@dataclass(frozen=True, slots=True)
class Deterrence:
    """A task's least stake, and what the best of all cheats with false intervals earns with it.

    Attributes:
        rate: fees to expect for each checkpoint.
        honest: part of all verifiers' stakes that is honest in fact; the stake reckons with the deployment's.
        stake: as a multiple of the highest price.
        found: probability that a false interval is found.
        ev: in tokens, of `strategy`.
    """

    intervals: int
    rate: float
    honest: float
    stake: float
    found: float
    ev: float
    strategy: str

    @property
    def pays(self) -> bool:
        return self.ev >= 0


def deterrence(game: Game) -> Deterrence:
    found = {strategy.name: strategy.exact(game) for strategy in _FALSE}
    best = max(found, key=lambda name: found[name])
    stake = game.stake / game.price
    return Deterrence(game.intervals, game.rate, game.honest, stake, game.found, found[best], best)


def varied(
    game: Game, rates_bps: Sequence[int], intervals: Sequence[int], honest: Sequence[float]
) -> Iterator[Deterrence]:
    """All combinations."""
    for number in intervals:
        for rate in rates_bps:
            for share in honest:
                offer = replace(game.offer, intervals=number, rate_bps=rate)
                yield deterrence(replace(game, offer=offer, people=replace(game.people, honest=share)))


def least_that_deters(game: Game) -> float:
    """The stake at which the best of those cheats breaks even, as a multiple of the highest price, by bisection.

    None of them gains by more stake, so that there is one such point. It is 0 where nothing has to be deterred.
    """

    def pays(stake: float) -> bool:
        return deterrence(replace(game, offer=replace(game.offer, stake=round(stake * game.price * COIN)))).pays

    low, high = 0.0, 1.0
    while pays(high) and high < 1e6:
        low, high = high, 2 * high
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if pays(middle) else (low, middle)
    return high
