"""Draws what strategies earn, how much stake deters, and a network's pay by work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from offchain.economics.deterrence import deterrence, least_that_deters
from offchain.economics.game import Game
from offchain.economics.network import Network
from offchain.economics.plot import save
from offchain.economics.strategies.base import ROLES, Row

LINTHRESH: Final = 1e-3  # tokens; below it the axis is linear
SHARES: Final = tuple(float(share) for share in np.linspace(0.02, 1, 50))
RATES_BPS: Final = tuple(round(10_000 * rate) for rate in np.geomspace(0.05, 1, 40))
LENGTHS: Final = (10, 20, 50, 100, 200)


def draw_strategies(rows: Sequence[Row], file: Path) -> None:
    """What each strategy earns: closed form as bars, Monte Carlo with its interval on top. Raises BadInput."""
    from matplotlib.figure import Figure

    canvas = Figure(figsize=(9, 0.3 * len(rows) + 1.2), layout="constrained")
    axis = canvas.subplots()
    places = np.arange(len(rows))[::-1]
    colors = [f"C{ROLES.index(row.role)}" for row in rows]
    axis.barh(places, [row.ev for row in rows], color=colors, alpha=0.6)
    spread = [[row.mean - row.low for row in rows], [row.high - row.mean for row in rows]]
    axis.errorbar([row.mean for row in rows], places, xerr=spread, fmt="k.", markersize=3, linewidth=1)
    axis.set_xscale("symlog", linthresh=LINTHRESH)
    axis.axvline(0, color="black", linewidth=0.8)
    axis.margins(y=0.01)
    axis.set_yticks(places, [f"{row.role}: {row.strategy}" for row in rows], fontsize="small")
    axis.set_xlabel("tokens a task in expectation (bars: closed form, points: Monte Carlo)")
    axis.spines[["top", "right"]].set_visible(False)
    save(canvas, file, "strategies")


def draw_stake(game: Game, file: Path) -> None:
    """Stake against audit rate and intervals, and the region where cheating pays. Raises BadInput."""
    from matplotlib.figure import Figure

    canvas = Figure(figsize=(13, 4.3), layout="constrained")
    left, middle, right = canvas.subplots(1, 3)
    _against_rate(left, game)
    _against_honest(middle, game)
    _region(right, game)
    for axis in (left, middle, right):
        axis.spines[["top", "right"]].set_visible(False)
    save(canvas, file, "stake")


def _against_rate(axis: Any, game: Game) -> None:
    for number in LENGTHS:
        stakes = [deterrence(_with(game, rate_bps=rate, intervals=number)).stake for rate in RATES_BPS]
        axis.loglog([rate / 10_000 for rate in RATES_BPS], stakes, label=f"{number} intervals")
    axis.set_xlabel("audit fees to expect for each checkpoint")
    axis.set_ylabel("least stake / highest price")
    axis.legend(frameon=False, fontsize="small")


def _against_honest(axis: Any, game: Game) -> None:
    """The rule's stake, if the deployment reckons with that share, and the stake that just deters."""
    ruled, enough = [], []
    for share in SHARES:
        assumed = replace(game, rules=replace(game.rules, honest_bps=round(10_000 * share)))
        ruled.append(deterrence(assumed).stake)
        enough.append(least_that_deters(assumed))
    axis.semilogy(SHARES, ruled, label="the rule's")
    axis.semilogy(SHARES, enough, "--", label="where cheating breaks even")
    axis.set_xlabel("honest part of all verifiers' stakes")
    axis.set_ylabel("stake / highest price")
    axis.legend(frameon=False, fontsize="small")


def _region(axis: Any, game: Game) -> None:
    """By how many are honest in fact and by the audit rate, with the stake that the rule asks for."""
    rates = RATES_BPS[::2]
    pays = np.zeros((len(rates), len(SHARES)))
    for y, rate in enumerate(rates):
        for x, share in enumerate(SHARES):
            game_here = _with(game, rate_bps=rate)
            pays[y, x] = deterrence(replace(game_here, people=replace(game.people, honest=share))).ev
    axis.contourf(SHARES, [rate / 10_000 for rate in rates], pays, levels=[0, np.inf], colors=["#d9534f"], alpha=0.5)
    axis.contour(SHARES, [rate / 10_000 for rate in rates], pays, levels=[0], colors="black", linewidths=0.8)
    axis.axvline(game.rules.honest_bps / 10_000, color="gray", linestyle=":")
    axis.set_yscale("log")
    axis.set_xlabel("honest part of stakes in fact (dots: assumed)")
    axis.set_ylabel("audit fees to expect for each checkpoint")
    axis.set_title("red: cheating pays, with the rule's stake", fontsize="small")


def _with(game: Game, **changes: int) -> Game:
    return replace(game, offer=replace(game.offer, **changes))


def draw_network(network: Network, file: Path) -> None:
    """Pay against work of each solver, and of each verifier. Raises BadInput."""
    from matplotlib.figure import Figure

    canvas = Figure(figsize=(10, 4.3), layout="constrained")
    solvers, verifiers = canvas.subplots(1, 2)
    honest = ~network.cheats
    solvers.loglog(network.cost[honest], network.pay[honest], ".", markersize=3, label="honest")
    kept = network.pay - network.lost
    solvers.loglog(network.cost[~honest], np.where(kept > 0, kept, np.nan)[~honest], "x", markersize=4, label="cheats")
    solvers.set_xlabel("work done: machine time at its cost, tokens")
    solvers.set_ylabel("pay less stakes lost, tokens (losses not shown)")
    solvers.set_title("solvers", fontsize="small")
    solvers.legend(frameon=False, fontsize="small")
    looks = network.looks
    verifiers.loglog(network.audited[looks], network.fees[looks], ".", markersize=3)
    verifiers.set_xlabel("work replayed, hours of the typical machine")
    verifiers.set_ylabel("fees, tokens")
    verifiers.set_title("verifiers that look", fontsize="small")
    for axis in (solvers, verifiers):
        axis.spines[["top", "right"]].set_visible(False)
    save(canvas, file, "network")
