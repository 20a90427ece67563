"""A verifier's client: key, stake and draws, signed and sent as a worker does."""

from __future__ import annotations

from typing import Any

import pytest

from offchain.bls.signing import public_key
from offchain.chain import verifiers
from offchain.chain.ganache import Ganache
from offchain.chain.reverts import Reverted
from offchain.market.view import VERIFIER
from tests.support.bls import SECRETS
from tests.support.deployment import PARAMETERS, Funded
from tests.support.lots import grant
from tests.support.place import Place

RATE = 10_000  # of audits


@pytest.fixture(scope="module")
def built(ganache: Ganache) -> Funded:
    return Funded.kept(ganache)


@pytest.fixture
def place(built: Funded, snapshot: None) -> Place:
    return built.seen_as(Place)


def test_from_key_to_draw(place: Place) -> None:
    chain, secret, early = place.challenger, SECRETS[0], place.trained(1)
    assert verifiers.draw(chain, secret, early, 0) is None
    chain.register(VERIFIER, "")
    assert verifiers.standing(chain) == verifiers.Standing(None, 0, 0, 0, 0, 0)
    verifiers.enroll(chain, secret)
    verifiers.stake(chain, 9)
    verifiers.unstake(chain, 2)
    found = verifiers.standing(chain)
    assert (found.point, found.stake, found.all_stakes, found.leaving) == (public_key(secret).point, 7, 7, 2)
    assert verifiers.draw(chain, secret, early, 0) is None
    place.clock.travel(PARAMETERS.key_delay)
    verifiers.release(chain)
    late = place.trained(1, audit_rate_bps=RATE)
    grant(place, late, 0, {"challenger": 0}, {"challenger": secret})
    assert verifiers.draw(chain, secret, late, 0) is None
    grant(place, late, 0, {"challenger": 2}, {"challenger": secret})
    draw = verifiers.draw(chain, secret, late, 0)
    assert draw is not None and draw.fees == 2
    assert chain.call("auditor", "requireDrawn", late, 0, chain.address, draw.encoded()) == 2


def test_a_second_that_passes_before_the_block(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within a second changes of a stake share an entry; the next one writes two new slots."""
    chain = place.challenger
    chain.register(VERIFIER, "")
    verifiers.enroll(chain, SECRETS[0])
    estimate = chain.w3.eth.estimate_gas

    def estimated_too_early(call: Any) -> int:
        gas = estimate(call)
        place.clock.travel(1)
        return gas

    verifiers.stake(chain, 9)
    monkeypatch.setattr(chain.w3.eth, "estimate_gas", estimated_too_early)
    verifiers.unstake(chain, 2)
    assert verifiers.standing(chain).leaving == 2


def test_another_secret_than_the_registered_one(place: Place) -> None:
    """Its tickets would be refused: whoever lost the key is told before it audits anything."""
    place.challenger.register(VERIFIER, "")
    verifiers.enroll(place.challenger, SECRETS[0])
    place.clock.travel(PARAMETERS.key_delay)
    task = place.trained(1)
    with pytest.raises(Reverted, match="OtherKey"):
        verifiers.draw(place.challenger, SECRETS[1], task, 0)
