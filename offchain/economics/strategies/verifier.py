"""What a verifier may try. Section 6.4 of DESIGN.md says what a claim is; all of one task's audits count together."""

from __future__ import annotations

from functools import partial
from typing import Final

import numpy as np

from offchain.economics.game import AUDIT, COIN, HOUR, PROOF, YEAR, Game
from offchain.economics.strategies.base import Earnings, Strategy, tickets, winners


def _key(game: Game) -> float:
    """One task's part of the gas of a key and a stake."""
    return game.gas("enroll", "stake") / game.people.season


def _spends(game: Game, kind: str) -> float:
    """On a checkpoint for which one is drawn, however many fees there are to win."""
    return {
        "honest": game.work + game.gas(*AUDIT),
        "guess": game.audit_bond + game.gas("claim", "settle"),  # it cannot reveal
        "silent": game.audit_bond + game.work + game.gas("claim", "settle"),
        "never": 0.0,
    }[kind]


def _earns(game: Game, kind: str) -> float:
    """For each fee that one wins."""
    return game.fee if kind == "honest" else 0.0


def _exact(kind: str, game: Game) -> float:
    own = game.people.own
    each = game.fees(own) * _earns(game, kind) - game.looks(own) * _spends(game, kind)
    return game.intervals * each - _key(game)


def _play(kind: str, game: Game, dice: np.random.Generator, games: int) -> Earnings:
    won = tickets(game, dice, game.people.own, (games, game.intervals))
    earned: Earnings = won.sum(axis=1) * _earns(game, kind) - (won > 0).sum(axis=1) * _spends(game, kind)
    return earned - _key(game)


# --- with the solver ---------------------------------------------------------------------------------------------


def _friends(game: Game) -> tuple[int, float]:
    """How many colluding verifiers there are, and which part of all stakes each of them has."""
    number = max(1, round(game.people.verifiers * game.people.colluding / game.honest))
    return number, game.people.colluding / number


def _vouched(game: Game) -> float:
    """One false interval; the solver's friends among the verifiers vouch for it with its own log."""
    q, each = game.found, game.pay - game.gas("commit")
    number, share = _friends(game)
    claims = number * game.looks(share)
    paid = number * game.fees(share) * (1 - q) * game.fee - claims * (q * game.audit_bond + game.gas(*AUDIT))
    return (1 - q) * (each + game.gas("commit")) - game.gas("commit") - q * game.stake + paid


def _play_vouched(game: Game, dice: np.random.Generator, games: int) -> Earnings:
    number, share = _friends(game)
    found, won = winners(game, dice, (games,)) > 0, tickets(game, dice, share, (games, number))
    fees, claims = won.sum(axis=1), (won > 0).sum(axis=1)
    solver = np.where(found, -game.stake, game.pay) - game.gas("commit")
    earned: Earnings = np.where(found, -claims * game.audit_bond, fees * game.fee) - claims * game.gas(*AUDIT)
    return solver + earned


def _bribe(game: Game) -> float:
    """The most that a cheat can promise for silence without losing by it on average: what a false interval brings."""
    return (1 - game.found) / game.found * game.pay


def _proof(game: Game) -> float:
    return PROOF * game.stake - game.gas("dispute")


def _silence(game: Game) -> float:
    """Of a false checkpoint that it found: the bribe, if nobody else finds it, in place of the proof's reward.

    It is one more beside the honest. Who proves first is drawn among all who found it; the others get a bounty.
    """
    alone = 1 - game.found
    return alone * _bribe(game) - _first(game) * _proof(game) - (1 - _first(game)) * (game.bounty - game.gas("dispute"))


def _first(game: Game) -> float:
    """Probability of being the first to prove, of all who found the same: the mean of 1/(1 + others)."""
    number, chance = game.people.verifiers, game.drawn
    return (1 - (1 - chance) ** (number + 1)) / ((number + 1) * chance)


def _play_silence(game: Game, dice: np.random.Generator, games: int) -> Earnings:
    others = winners(game, dice, (games,))
    first = dice.random(games) * (others + 1) < 1
    foregone = np.where(first, _proof(game), game.bounty - game.gas("dispute"))
    return np.where(others == 0, _bribe(game), 0.0) - foregone


# --- more chances than its stake has -----------------------------------------------------------------------------


def _split(game: Game) -> float:
    """Each name claims for itself, and one replay serves all of them that are drawn for a checkpoint.

    As designed that is fewer replays for as many fees. Amended, fees and replays are those of one name: only the gas of
    more claims and keys is left.
    """
    names, own = game.people.names, game.people.own
    fees = names * game.fees(own / names) - game.fees(own)
    claims = names * game.looks(own / names) - game.looks(own)
    replays = 1 - (1 - game.looks(own / names)) ** names - game.looks(own)
    each = fees * game.fee - claims * game.gas(*AUDIT) - replays * game.work
    return game.intervals * each - (names - 1) * _key(game)


def _play_split(game: Game, dice: np.random.Generator, games: int) -> Earnings:
    names = game.people.names
    won = tickets(game, dice, game.people.own / names, (games, game.intervals, names))
    fees, claims, replays = won.sum(axis=(1, 2)), (won > 0).sum(axis=(1, 2)), won.any(axis=2).sum(axis=1)
    split: Earnings = fees * game.fee - claims * game.gas(*AUDIT) - replays * game.work - names * _key(game)
    return split - _exact("honest", game)


def _ground(game: Game) -> float:
    """A key made for a root that its owner, the solver, keeps to itself until the key counts.

    As designed it wins one audit with certainty, without a replay. Amended, what is signed holds the randomness of the
    block that the root came in, which nobody knows when keys are made: a new key wins as often as any other.
    """
    late = game.offer.urgency / COIN * game.rules.key_delay / HOUR
    late += game.rules.key_delay * game.people.interest / YEAR * game.stake
    more = 0.0 if game.amended else 1 - game.looks(game.people.own)
    return more * (game.fee - game.gas(*AUDIT)) - game.gas("enroll") - late


def _play_ground(game: Game, dice: np.random.Generator, games: int) -> Earnings:
    late = game.offer.urgency / COIN * game.rules.key_delay / HOUR
    late += game.rules.key_delay * game.people.interest / YEAR * game.stake
    won = tickets(game, dice, game.people.own, (games, 2))
    if not game.amended:
        won[:, 0] = 1
    earned = won * game.fee - (won > 0) * game.gas(*AUDIT)
    more: Earnings = earned[:, 0] - earned[:, 1]
    return more - game.gas("enroll") - late


# --- what is not right -------------------------------------------------------------------------------------------


def _wrong(game: Game) -> float:
    """A dispute about what is right, for each checkpoint that it is drawn for. It looked: the fee is lost as well."""
    lost = game.bond + game.gas("dispute") + game.work
    return -game.intervals * game.looks(game.people.own) * lost - _key(game)


def _play_wrong(game: Game, dice: np.random.Generator, games: int) -> Earnings:
    lost = game.bond + game.gas("dispute") + game.work
    drawn = dice.binomial(game.intervals, game.looks(game.people.own), games).astype(float)
    return -drawn * lost - _key(game)


def _kind(name: str, kind: str) -> Strategy:
    return Strategy("verifier", name, partial(_exact, kind), partial(_play, kind))


HONEST: Final = _kind("honest", "honest")
STRATEGIES: Final = (
    _kind("claim without replaying", "guess"),
    Strategy("verifier", "copy the solver's log from a friend", _vouched, _play_vouched),
    _kind("claim and not reveal", "silent"),
    Strategy("verifier", "split stakes", _split, _play_split),
    Strategy("verifier", "grind keys", _ground, _play_ground),
    Strategy("verifier", "sell silence to the cheat", _silence, _play_silence),
    Strategy("verifier", "dispute what is right", _wrong, _play_wrong),
    _kind("never look", "never"),
)
