"""What strategies earn: the closed form and what was played agree, cheats lose, honest roles gain."""

from __future__ import annotations

import json
from dataclasses import replace
from math import exp
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from offchain.chain.deployment import PRESETS
from offchain.commands.strategies import game_of
from offchain.economics.game import COIN, GAS, Game, Offer
from offchain.economics.strategies.base import ROLES, Strategy, interval, row
from offchain.economics.strategies.challenger import copying_pays_from, delay
from offchain.economics.strategies.table import HONEST, STRATEGIES, rows

ISSUE = {
    "solver": 11,
    "verifier": 8,
    "keeper": 4,
    "requester": 5,
    "challenger": 3,
}
CONTRACTS = Path(__file__).resolve().parents[2]
GAMES = 6_000

# What pays without the rules of docs/decisions/0023.
OPEN = {
    "local": {"split stakes", "grind keys", "sign without holding", "a majority signs without holding"},
    "public": {"sign without holding", "a majority signs without holding"},
}


@pytest.fixture(params=list(PRESETS))
def game(request: pytest.FixtureRequest) -> Game:
    return game_of(request.param)


def test_every_role_has_its_strategies() -> None:
    assert {role: sum(s.role == role for s in STRATEGIES) for role in ROLES} == ISSUE
    assert len({(s.role, s.name) for s in STRATEGIES}) == len(STRATEGIES)


def test_at_the_defaults_cheats_lose_honest_roles_gain_and_both_ways_agree(game: Game) -> None:
    for found in rows(game, games=GAMES):
        assert found.ev < 0 < found.honest_ev and found.holds, found
        assert found.agrees, found


@pytest.mark.parametrize("honest", HONEST.values(), ids=lambda s: s.role)
def test_what_honest_roles_earn_is_what_is_played(game: Game, honest: Strategy) -> None:
    assert row(honest, honest, game, 7, GAMES).agrees


@pytest.mark.parametrize("preset", PRESETS)
def test_what_pays_as_designed_is_known(preset: str) -> None:
    found = list(rows(replace(game_of(preset), amended=False), games=GAMES))
    assert {one.strategy for one in found if not one.holds} == OPEN[preset]
    assert all(one.agrees for one in found)


def test_without_urgency_grinding_pays_as_designed_and_promises_mean_nothing() -> None:
    free = replace(game_of("public", urgency=0), amended=False)
    found = {one.strategy: one.ev for one in rows(free, games=100)}
    assert found["grind keys"] > 0 and found["promise a short time, be late"] == 0


@pytest.mark.parametrize(
    "terms",
    [
        {"intervals": 1},
        {"intervals": 3, "rate_bps": 10_000},
        {"intervals": 120, "rate_bps": 1_000},
        {"max_price": 10**18},
        {"rate_bps": 65_000},
        {"keepers": 1},
        {"keepers": 4, "quorum": 3},  # enough are captured for a normal interval
        {"urgency": 0},
    ],
    ids=str,
)
def test_both_ways_agree_with_other_terms(game: Game, terms: dict[str, Any]) -> None:
    other = replace(game, offer=replace(game.offer, **terms))
    for found in rows(other, seed=100, games=GAMES):
        assert found.agrees, found


def test_a_false_interval_is_found_at_least_as_often_as_the_rule_reckons(game: Game) -> None:
    expected = game.rate * game.honest
    assert 1 - exp(-expected) <= game.found <= expected
    assert (1 - game.found) / game.found <= 1 / expected


@pytest.mark.parametrize("names", [2, 10, 1_000])
@pytest.mark.parametrize(("own", "rate_bps"), [(0.01, 2_500), (0.3, 10_000), (1.0, 65_535)])
def test_splitting_a_stake_gains_nothing(game: Game, own: float, rate_bps: int, names: int) -> None:
    """Rule 2 of docs/decisions/0023: fees and replays are the same, claims and keys are more. As designed it pays."""
    people = replace(game.people, own=own, names=names)
    split = replace(game, people=people, offer=replace(game.offer, rate_bps=rate_bps))
    assert names * split.fees(own / names) == pytest.approx(split.fees(own))
    assert 1 - (1 - split.looks(own / names)) ** names == pytest.approx(split.looks(own))
    strategy = next(s for s in STRATEGIES if s.name == "split stakes")
    assert strategy.exact(split) < 0
    if own > 0.01:
        assert strategy.exact(replace(split, amended=False)) > 0


@pytest.mark.parametrize("own", [0.01, 0.3, 0.5])
@pytest.mark.parametrize("rate_bps", [2_500, 65_535])
def test_a_claim_of_several_fees_loses_like_one_of_a_single_fee(game: Game, own: float, rate_bps: int) -> None:
    """One bond each. Also where a single friend of the solver's has all stakes that are not honest."""
    people = replace(game.people, own=own, colluding=own, verifiers=1)
    other = replace(game, people=people, offer=replace(game.offer, rate_bps=rate_bps))
    for strategy in STRATEGIES:
        if strategy.name in ("claim without replaying", "claim and not reveal", "copy the solver's log from a friend"):
            found = row(strategy, HONEST["verifier"], other, 5, GAMES)
            assert found.ev < 0 < found.honest_ev and found.agrees, found


def test_gas_is_what_contracts_and_disputes_take() -> None:
    market = json.loads((CONTRACTS / "contracts" / "gas.json").read_text())
    measured = {
        "post": "TaskMarket.post",
        "cancel": "TaskMarket.cancel",
        "seal": "Auction.commit",
        "reveal bid": "Auction.reveal first",
        "award": "TaskMarket.award",
        "commit": "CheckpointLog.commit first",
        "collect": "TaskMarket.collect first",
        "enroll": "Verifiers.enroll",
        "stake": "Verifiers.stake first",
        "attest": "Keepers.attest of 16",
    }
    measured |= {move: name for move, name in CLAIMS.items() if name in market}
    for move, name in measured.items():
        assert market[name] <= GAS[move] <= 1.3 * market[name], move
    disputes = json.loads((CONTRACTS / "protocol" / "gas.json").read_text()).values()
    assert (
        max(sum(v for k, v in d.items() if k.startswith("reveal") and k != "reveals") for d in disputes)
        <= (GAS["defend"])
    )
    assert max(d["gas"] for d in disputes) / 2 <= GAS["dispute"]


CLAIMS = {"claim": "Auditor.claim", "reveal log": "Auditor.reveal", "settle": "Auditor.settle"}


# --- delay -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("urgency", [0, Offer().urgency])
@pytest.mark.parametrize("terms", [(1, 50), (100, 50), (1_000, 50), (10_000, 500), (1_000, 10)], ids=str)
def test_a_day_of_delay_costs_the_challenger_ten_times_what_it_costs_the_solver(
    game: Game, urgency: int, terms: tuple[int, int]
) -> None:
    """Clocks of up to a week; the largest here are of two days, or of sixteen hours."""
    price, intervals = terms
    day = delay(replace(game, offer=replace(game.offer, urgency=urgency, max_price=price * COIN, intervals=intervals)))
    assert day.challenger > 0 and day.ratio >= 10


def test_with_the_least_bond_of_today_and_no_urgency_it_costs_six_times() -> None:
    """Why docs/decisions/0023 asks for a bond of an interval's price."""
    today = replace(game_of("local", urgency=0), amended=False)
    assert 6 <= delay(today).ratio < 10


def test_copying_disputes_pays_only_where_nearly_all_are_right(game: Game) -> None:
    assert copying_pays_from(game) >= 0.9


# --- means -------------------------------------------------------------------------------------------------------


def test_intervals_hold_the_mean() -> None:
    mean, low, high = interval(np.random.default_rng(0).normal(3, 1, 10_000))
    assert low < 3 < high and low < mean < high and high - low < 0.1
