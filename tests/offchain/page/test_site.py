"""The page over HTTP: what it says of a real chain, and what it refuses. No browser is needed."""

from __future__ import annotations

import time
from typing import Any

import pytest
import requests
from click.testing import CliRunner

from offchain.commands.page import page
from offchain.dispute.falsified import Falsehood
from offchain.errors import BadInput
from offchain.page.site import STATIC, Site
from tests.offchain.page.conftest import page_of
from tests.support.arena import Arena
from tests.support.players import Mind


def get(site: Site, path: str, **options: Any) -> requests.Response:
    return requests.get(site.url + path, timeout=30, **options)


def board(site: Site, ready: Any, seconds: float = 20) -> dict[str, Any]:
    """The board, once it says what is waited for."""
    end = time.monotonic() + seconds
    while not ready(found := get(site, "data/board").json()):
        assert time.monotonic() < end, found
        time.sleep(0.05)
    return dict(found)


def test_a_dispute_is_shown_from_its_opening_to_its_verdict(arena: Arena) -> None:
    cheat = Mind(arena.work, Falsehood(step=7, node=arena.work.names["new_w"], element=133))
    arena.commit(cheat.root(1))
    with page_of(arena) as site:
        dispute = arena.open(arena.challenger)
        board(site, lambda seen: any(row["outcome"] == "running" for row in seen.get("disputes", ())))
        running = get(site, f"data/dispute/{dispute}").json()
        assert running["running"] and [level["title"] for level in running["levels"]] == ["Checkpoint"]
        arena.play(dispute, (cheat.defend, arena.honest.attack))

        seen = board(site, lambda seen: any(row["outcome"].startswith("chall") for row in seen.get("disputes", ())))
        (row,) = [row for row in seen["tasks"] if row["id"] == arena.task]
        assert (row["status"], row["checkpoints"]) == ("slashed", 0)
        walked = get(site, f"data/dispute/{dispute}").json()
        assert [level["title"] for level in walked["levels"]][:3] == ["Checkpoint", "Step", "Node"]
        assert walked["verdict"]["claimed"] != walked["verdict"]["computed"]
        roles = {person["id"]: person["roles"] for person in seen["people"]}
        assert "challenger" in roles[arena.challenger.address] and "solver" in roles[arena.solver.address]

        known = board(site, lambda seen: any(row["id"] == "game.open" for row in seen["gas"]))
        assert all(row["calls"] * row["median"] > 0 for row in known["gas"])
        walked = get(site, f"data/dispute/{dispute}").json()
        assert all(move["gas"] for move in walked["moves"] if move["who"] != "contract")
        task = get(site, f"data/task/{arena.task}").json()
        assert [bid["note"] for bid in task["bids"]] == ["solver"] and task["disputes"][0]["id"] == dispute


def test_files_and_data_may_do_nothing_else_in_a_browser(arena: Arena) -> None:
    with page_of(arena) as site:
        for path in [*STATIC, "data/board", "data/task/999", "missing"]:
            answer = get(site, path)
            assert answer.status_code == (404 if path in ("data/task/999", "missing") else 200), path
            policy = answer.headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy and "unsafe" not in policy
        assert get(site, "data/task/999").text.startswith(("there is no task", "task 999", "the chain has not"))
        assert get(site, "../site.py").status_code == 404
        assert get(site, "data/board?version=x").status_code == 400
        assert requests.post(site.url, timeout=10).status_code == 405


def test_a_page_of_this_machine_answers_to_no_other_name(arena: Arena) -> None:
    with page_of(arena) as site:
        assert get(site, "data/board", headers={"Host": "evil.example"}).status_code == 403
        assert get(site, "data/board", headers={"Host": "localhost:1"}).status_code == 200


def test_who_has_seen_everything_waits_for_news(arena: Arena) -> None:
    with page_of(arena) as site:
        seen = board(site, lambda seen: "tasks" in seen)
        time.sleep(0.5)
        seen = get(site, "data/board").json()
        began = time.monotonic()
        arena.clock.travel(7)
        news = get(site, f"data/board?epoch={seen['epoch']}&version={seen['version']}").json()
        assert time.monotonic() - began < 5
        assert not news["whole"] and news["version"] > seen["version"] and len(news["tasks"]) <= len(seen["tasks"])


def test_a_port_that_is_taken_is_one_line(arena: Arena) -> None:
    with page_of(arena) as site:
        port = int(site.url.rstrip("/").rpartition(":")[2])
        with pytest.raises(BadInput, match=f"cannot serve the page at 127.0.0.1:{port}: .*; name another port"):
            Site(site._watcher, "127.0.0.1", port).__enter__()


def test_help_has_an_example() -> None:
    assert "Example:" in CliRunner().invoke(page, ["--help"]).output
