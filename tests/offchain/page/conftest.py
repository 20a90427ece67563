"""A deployment to watch: an arena with a cheat, and the page of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest

from offchain.chain.client import Chain
from offchain.chain.ganache import Ganache
from offchain.chain.onlooker import Onlooker
from offchain.commands.page import watched
from offchain.page.site import Site
from tests.support.arena import Arena
from tests.support.deployment import Funded
from tests.support.everything import everything


@pytest.fixture(scope="module")
def founded(ganache: Ganache, artifacts: dict[str, Any], one_thread: None) -> Funded:
    return Funded.kept(ganache)


@pytest.fixture
def arena(founded: Funded) -> Iterator[Arena]:
    """Every node kind, two intervals of four steps; checkpoint 0 is right."""
    with founded.clock.undone():
        yield founded.seen_as(Arena, work=everything())


def onlooker(place: Funded) -> Chain:
    """The chain as the page reads it: nobody's."""
    return Chain(place.url, place.deployment, sender=Onlooker(place.address("stranger")))


def page_of(place: Funded, poll: float = 0.1) -> AbstractContextManager[Site]:
    return watched(onlooker(place), private=True, host="127.0.0.1", port=0, poll=poll)
