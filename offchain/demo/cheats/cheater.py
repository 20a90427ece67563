"""A worker with one false part, as a process of the demo or moved by hand in a test."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from offchain.chain.client import Chain
from offchain.dispute.replay import Replay
from offchain.market.actions import Action
from offchain.market.view import ChainView
from offchain.worker.making import ExecutorFactory
from offchain.worker.materials import ReplayFactory
from offchain.worker.runner import Worker

Act = Callable[[ChainView, Any], bool | None]  # what a worker does about an action, as in worker.acts
FalseAct = Callable[["Cheater", Act, ChainView, Any], None]  # the honest act is at hand
Decide = Callable[["Cheater", ChainView, list[Action]], list[Action]]  # from what the roles want


def as_they_are(executors: ExecutorFactory) -> ExecutorFactory:
    """Honest executors."""
    return executors


def as_decided(cheater: Cheater, view: ChainView, actions: list[Action]) -> list[Action]:
    """What the roles want."""
    return actions


@dataclass(frozen=True)
class Part:
    """The false part. What is not named is honest.

    Attributes:
        executors: makes executors of honest ones.
        replays: of disputes.
        acts: what is done about an action, in place of the honest act.
        decide: what is wanted, from what the roles want.
    """

    executors: Callable[[ExecutorFactory], ExecutorFactory] = as_they_are
    replays: ReplayFactory = Replay
    acts: Mapping[type[Action], FalseAct] = field(default_factory=dict)
    decide: Decide = as_decided


class Cheater(Worker):
    """A worker that is honest but for a part. It plays its disputes itself: `WorkerOptions.defence` is "inline"."""

    def __init__(
        self, part: Part, chain: Chain, roles: Any, options: Any, executors: ExecutorFactory, *more: Any, **named: Any
    ) -> None:
        self.part = part
        named = {"replays": part.replays} | named
        super().__init__(chain, roles, options, part.executors(executors), *more, **named)

    def _begin(self, stack: ExitStack) -> None:
        super()._begin(stack)
        for kind, act in self.part.acts.items():
            self._acts.table[kind] = partial(act, self, self._acts.table[kind])

    def _actions(self, view: ChainView) -> list[Action]:
        return self.part.decide(self, view, super()._actions(view))


def without(*kinds: type[Action]) -> Decide:
    """It never does any of these."""
    return lambda cheater, view, actions: [action for action in actions if not isinstance(action, kinds)]


def nothing(cheater: Cheater, honest: Act, view: ChainView, action: Action) -> None:
    """A false act: silence."""
