"""What a solver may try.

In the cheat's favour: it bids alone and is paid the reserve; what lies before the first interval that is found was
paid; only drawn, honest verifiers look. When it is found, nothing after that is paid.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

import numpy as np

from offchain.economics.auction import Auction, Bid, award, payments
from offchain.economics.game import COIN, ENTER, HOUR, STALLED, UNPROVED, Game
from offchain.economics.strategies.base import Earnings, Strategy, available, colluding, winners

SPREAD: Final = 0.2  # of the score of a rival, to both sides of one's own
EARLY: Final = 2  # times too short is what an empty promise says
NARROW: Final = 2_000  # games of which each is a whole auction

Amount = Callable[[Game], float]


def _honest(game: Game, dice: np.random.Generator, games: int) -> Earnings:
    failed = (dice.random(games) < game.people.risk).astype(float)
    return game.honest_solver + game.people.risk * game.stake - failed * game.stake


# --- false intervals ---------------------------------------------------------------------------------------------


def _all(game: Game) -> int:
    return game.intervals


def _false(number: Amount, lost: Amount, seen: Amount, game: Game) -> float:
    """`number` false intervals at random places; `lost` when one is found; `seen`: probability that it can be."""
    intervals, false = game.intervals, round(number(game))
    q = game.found * seen(game)
    each, total = game.pay - game.gas("commit"), 0.0
    for nth in range(1, false + 1):
        before = nth * (intervals + 1) / (false + 1) - 1  # intervals before the nth false one, on average
        true = before - (nth - 1)
        total += (1 - q) ** (nth - 1) * q * (before * each - true * game.work - game.gas("commit") - lost(game))
    total += (1 - q) ** false * (intervals * each - (intervals - false) * game.work)
    return total - game.gas(*ENTER) - (1 - false / intervals) * game.honest_solver


def _play_false(
    number: Amount, lost: Amount, hidden: bool, last: bool, game: Game, dice: np.random.Generator, games: int
) -> Earnings:
    intervals, false = game.intervals, round(number(game))
    if last:
        places = np.full((games, 1), intervals - 1)
    else:
        places = np.sort(np.argsort(dice.random((games, intervals)), axis=1)[:, :false], axis=1)
    found = winners(game, dice, places.shape) > 0
    if hidden:
        found &= (colluding(game, dice, games) < game.offer.keepers)[:, None]
    caught, nth = found.any(axis=1), found.argmax(axis=1)
    paid = np.where(caught, places[np.arange(games), nth], intervals)
    true = paid - np.where(caught, nth, false)
    sent = paid + caught
    earned = paid * game.pay - true * game.work - sent * game.gas("commit") - caught * lost(game) - game.gas(*ENTER)
    return earned - (1 - false / intervals) * game.honest_solver


def _last(game: Game) -> float:
    intervals, q = game.intervals, game.found
    before = (intervals - 1) * (game.pay - game.work) - intervals * game.gas("commit") - game.gas(*ENTER)
    return before + (1 - q) * game.pay - q * game.stake - (1 - 1 / intervals) * game.honest_solver


def _one(game: Game) -> float:
    return 1


def _some(game: Game) -> float:
    return min(game.people.falsified, game.intervals)


def _proved(game: Game) -> float:
    return game.stake


def _by_a_friend(game: Game) -> float:
    return game.stake - game.friends_share + game.gas("dispute", "defend")


def _silent(game: Game) -> float:
    """Friends who opened disputes get the bounties of an unproved conviction, but for the finder's."""
    return game.stake - max(0.0, UNPROVED * game.stake - game.bounty)


def _seen(game: Game) -> float:
    return 1.0


def _kept(game: Game) -> float:
    """Verifiers fetch from any keeper that is honest."""
    return 1 - game.committee(game.offer.keepers)


def _falsifies(name: str, number: Amount, lost: Amount = _proved, hidden: bool = False) -> Strategy:
    seen = _kept if hidden else _seen
    return Strategy(
        "solver", name, partial(_false, number, lost, seen), partial(_play_false, number, lost, hidden, False)
    )


# --- what nobody can fetch ---------------------------------------------------------------------------------------


def stalled(game: Game) -> float:
    """What it loses whose first checkpoint does not become available, its work left out."""
    return STALLED * game.stake + game.gas("commit", *ENTER)


def untrained_pay(game: Game) -> float:
    """For a whole task, less the gas; nothing else was spent on it."""
    return game.intervals * (game.pay - game.gas("commit")) - game.gas(*ENTER)


def _untrained(game: Game) -> float:
    """Roots out of nothing. Only the first interval can be replayed without what the solver serves."""
    sent = game.gas(*ENTER) + game.gas("commit")
    passed = (1 - game.found) * untrained_pay(game) - game.found * (game.stake + sent)
    return game.passes * passed - (1 - game.passes) * stalled(game)


def _play_untrained(game: Game, dice: np.random.Generator, games: int) -> Earnings:
    passed, found = available(game, dice, colluding(game, dice, games)), winners(game, dice, (games,)) > 0
    sent = game.gas(*ENTER) + game.gas("commit")
    earned = np.where(found, -game.stake - sent, untrained_pay(game))
    return np.where(passed, earned, -stalled(game))


def _unserved(game: Game) -> float:
    """It trains, and shows nobody the result: the first interval is done when it turns out."""
    whole = game.intervals * (game.pay - game.work - game.gas("commit")) - game.gas(*ENTER)
    return game.passes * whole - (1 - game.passes) * (stalled(game) + game.work)


def _play_unserved(game: Game, dice: np.random.Generator, games: int) -> Earnings:
    passed = available(game, dice, colluding(game, dice, games))
    whole = game.intervals * (game.pay - game.work - game.gas("commit")) - game.gas(*ENTER)
    return np.where(passed, whole, -stalled(game) - game.work)


# --- what others did, what was promised --------------------------------------------------------------------------


def _copied(game: Game) -> float:
    """The void checkpoints of a solver that was convicted for one of them: everybody knows which."""
    before = (game.intervals - 1) / 2
    return before * game.pay - (before + 1) * game.gas("commit") - game.gas(*ENTER) - game.stake


def _play_copied(game: Game, dice: np.random.Generator, games: int) -> Earnings:
    before = dice.integers(0, game.intervals, games)
    return before * game.pay - (before + 1) * game.gas("commit") - game.gas(*ENTER) - game.stake


def _auction(game: Game) -> tuple[Auction, Bid, Bid, int]:
    """An auction, the truth, an empty promise, and how far a rival's score may be from the truth, in units."""
    seconds, urgency = max(2, round(game.interval_seconds)), game.offer.urgency // HOUR
    auction = Auction(game.offer.max_price, game.intervals, 1, 4 * seconds, urgency)
    price = round(game.work * game.intervals * COIN * 10_000 / (10_000 - game.rules.fee_bps))
    spread = round(SPREAD * price)
    return auction, Bid(price, seconds), Bid(price, max(1, seconds // EARLY)), spread


def _late(game: Game) -> float:
    """It wins auctions in which the rival's score lies between its own and the truth, and loses the difference."""
    auction, truth, promise, spread = _auction(game)
    empty = auction.urgency * (truth.seconds - promise.seconds) * game.intervals
    won = min(empty, spread)
    lost = won / (2 * spread) * won / 2 * (1 - game.rules.fee_bps / 10_000)
    return -lost / COIN


def _play_late(game: Game, dice: np.random.Generator, games: int) -> Earnings:
    """With the contract's own auction and payments."""
    auction, truth, promise, spread = _auction(game)
    scored = truth.price + auction.urgency * truth.seconds * game.intervals
    late = [truth.seconds * (done + 1) for done in range(game.intervals)]
    cost = game.work * game.intervals

    def profit(bid: Bid, rival: Bid) -> float:
        found = award(auction, [bid, rival])
        if found is None or found.winner != 0:
            return 0.0
        paid = payments(auction, found.pay, bid.seconds, late, game.rules.fee_bps)
        return sum(part.solver for part in paid) / COIN - cost

    earned = []
    for part in dice.random(min(games, NARROW)):
        other = round(scored + (2 * part - 1) * spread) - auction.urgency * game.intervals
        rival = Bid(max(0, min(other, auction.reserve)), 1)
        earned.append(profit(promise, rival) - profit(truth, rival))
    return np.array(earned)


HONEST: Final = Strategy("solver", "honest", lambda game: game.honest_solver, _honest)
STRATEGIES: Final = (
    _falsifies("falsify one interval", _one),
    _falsifies("falsify some intervals", _some),
    _falsifies("falsify all intervals", _all),
    Strategy("solver", "falsify the last interval", _last, partial(_play_false, _one, _proved, False, True)),
    Strategy("solver", "never train", _untrained, _play_untrained),
    _falsifies("convict itself through a friend", _one, _by_a_friend),
    _falsifies("go silent when caught", _one, _silent),
    Strategy("solver", "serve nothing", _unserved, _play_unserved),
    _falsifies("serve keepers, not verifiers", _one, hidden=True),
    Strategy("solver", "promise a short time, be late", _late, _play_late),
    Strategy("solver", "copy another's checkpoints", _copied, _play_copied),
)
