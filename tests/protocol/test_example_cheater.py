"""An example to copy: a new kind of cheater, and what it costs. docs/architecture.md explains it line by line.

Run it with `.venv/bin/pytest tests/protocol/test_example_cheater.py`.
"""

from offchain.dispute.falsified import Falsehood
from offchain.market.actions import Move
from offchain.market.view import DisputeView, Phase
from tests.support.arena import Arena
from tests.support.deployment import PARAMETERS
from tests.support.players import Mind
from tests.support.tasks import PRICE


class Shy(Mind):
    """Computes one bit of one number wrongly, and falls silent where it would have to show that number."""

    def defend(self, view: DisputeView) -> Move | None:
        return None if view.phase is Phase.REVEAL_CHUNK else super().defend(view)


def test_a_cheat_that_falls_silent_pays_with_its_stake(arena: Arena) -> None:
    node = arena.work.names["new_w"]
    cheat = Shy(arena.work, Falsehood(step=7, node=node, element=133))
    arena.commit(cheat.root(1))  # the solver commits what the cheat believes
    before = arena.wealth()

    dispute = arena.open(arena.challenger)
    played = arena.play(dispute, (cheat.defend, arena.honest.attack))

    assert played.functions[-1] == "nameNode"  # the tensor is one chunk, and nobody saw it
    assert played.event("Resolved")["winner"] == arena.challenger.address
    bounty = PARAMETERS.bounty
    assert arena.gains(before) == {
        "challenger": bounty,  # its bond came back besides; nothing was proved
        "burned": arena.terms.stake - bounty,
        "requester": PRICE,  # nothing was paid yet
    }
