"""What a verifier may try. Section 6.4 of DESIGN.md says what a claim is; all of one task's audits count together."""

from __future__ import annotations

from functools import partial
from typing import Final

import numpy as np

from offchain.economics.game import AUDIT, COIN, HOUR, PROOF, YEAR, Game
from offchain.economics.strategies.base import Earnings, Strategy, winners


def _chance(game: Game) -> float:
    """Of being drawn for a checkpoint."""
    return min(1.0, game.rate * game.people.own)


def _key(game: Game) -> float:
    """One task's part of the gas of a key and a stake."""
    return game.gas("enroll", "stake") / game.people.season


def _drawn(game: Game, dice: np.random.Generator, games: int) -> Earnings:
    """For how many of a task's checkpoints."""
    return dice.binomial(game.intervals, _chance(game), games).astype(float)


def _each(game: Game, kind: str) -> float:
    """What a checkpoint brings for which one was drawn."""
    return {
        "honest": game.fee - game.work - game.gas(*AUDIT),
        "guess": -game.audit_bond - game.gas("claim", "settle"),  # it cannot reveal
        "silent": -game.audit_bond - game.work - game.gas("claim", "settle"),
        "never": 0.0,
    }[kind]


def _exact(kind: str, game: Game) -> float:
    return game.intervals * _chance(game) * _each(game, kind) - _key(game)


def _play(kind: str, game: Game, dice: np.random.Generator, games: int) -> Earnings:
    return _drawn(game, dice, games) * _each(game, kind) - _key(game)


# --- with the solver ---------------------------------------------------------------------------------------------


def _friends(game: Game) -> tuple[int, float]:
    """How many colluding verifiers there are, and with what probability one is drawn."""
    number = max(1, round(game.people.verifiers * game.people.colluding / game.honest))
    return number, min(1.0, game.rate * game.people.colluding / number)


def _vouched(game: Game) -> float:
    """One false interval; the solver's friends among the verifiers vouch for it with its own log."""
    q, each = game.found, game.pay - game.gas("commit")
    number, chance = _friends(game)
    paid = number * chance * ((1 - q) * game.fee - q * game.audit_bond - game.gas(*AUDIT))
    return (1 - q) * (each + game.gas("commit")) - game.gas("commit") - q * game.stake + paid


def _play_vouched(game: Game, dice: np.random.Generator, games: int) -> Earnings:
    number, chance = _friends(game)
    found, claims = winners(game, dice, (games,)) > 0, dice.binomial(number, chance, games)
    solver = np.where(found, -game.stake, game.pay) - game.gas("commit")
    return solver + claims * (np.where(found, -game.audit_bond, game.fee) - game.gas(*AUDIT))


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


def _drawn_names(game: Game) -> tuple[float, float]:
    """Tickets of a task that win under several names, and checkpoints for which one does, on average."""
    names, chance = game.people.names, _chance(game) / game.people.names
    return game.intervals * names * chance, game.intervals * (1 - (1 - chance) ** names)


def _split(game: Game) -> float:
    """As designed one replay serves all of its names that are drawn for a checkpoint, and each is paid a fee.

    Amended, one name's ticket wins as many fees, with one claim: only the gas of more names is left.
    """
    tickets, checkpoints = _drawn_names(game)
    each = -game.gas(*AUDIT) if game.amended else game.work
    return (tickets - checkpoints) * each - (game.people.names - 1) * _key(game)


def _play_split(game: Game, dice: np.random.Generator, games: int) -> Earnings:
    names, chance = game.people.names, _chance(game) / game.people.names
    drawn = dice.binomial(names, chance, (games, game.intervals))
    fees, replays = drawn.sum(axis=1), (drawn > 0).sum(axis=1)
    split: Earnings = fees * (game.fee - game.gas(*AUDIT)) - replays * game.work - names * _key(game)
    if not game.amended:
        return split - _exact("honest", game)
    tickets, checkpoints = _drawn_names(game)
    return split - (tickets * game.fee - checkpoints * (game.work + game.gas(*AUDIT)) - _key(game))


def _ground(game: Game) -> float:
    """A key made for a root that its owner, the solver, keeps to itself until the key counts.

    As designed it wins one audit with certainty, without a replay. Amended, what is signed holds the randomness of the
    block that the root came in, which nobody knows when keys are made: a new key wins as often as any other.
    """
    late = game.offer.urgency / COIN * game.rules.key_delay / HOUR
    late += game.rules.key_delay * game.people.interest / YEAR * game.stake
    wins = _chance(game) if game.amended else 1.0
    return (wins - _chance(game)) * (game.fee - game.gas(*AUDIT)) - game.gas("enroll") - late


def _play_ground(game: Game, dice: np.random.Generator, games: int) -> Earnings:
    late = game.offer.urgency / COIN * game.rules.key_delay / HOUR
    late += game.rules.key_delay * game.people.interest / YEAR * game.stake
    tickets = dice.random((games, 2)) < _chance(game)
    wins = tickets[:, 0] if game.amended else np.ones(games)
    more: Earnings = wins - tickets[:, 1].astype(float)
    return more * (game.fee - game.gas(*AUDIT)) - game.gas("enroll") - late


# --- what is not right -------------------------------------------------------------------------------------------


def _wrong(game: Game) -> float:
    """A dispute about what is right, for each checkpoint that it is drawn for. It looked: the fee is lost as well."""
    return game.intervals * _chance(game) * (-game.bond - game.gas("dispute") - game.work) - _key(game)


def _play_wrong(game: Game, dice: np.random.Generator, games: int) -> Earnings:
    lost = game.bond + game.gas("dispute") + game.work
    return -_drawn(game, dice, games) * lost - _key(game)


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
