"""What one simulated fleet of questions does: its services, who plays which role, and where every call goes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from comptroller.planning.ground.nouns import Bools, Floats, Ints, Option
from comptroller.planning.ground.service_document import ServiceDocument
from comptroller.planning.offer.question_judges import judges_of
from comptroller.planning.prove.services import ModelServices
from comptroller.planning.solve.problem import PlanningProblem
from comptroller.serving.state import RequestState
from comptroller.serving.world import ELSEWHERE, Place, QuestionStreamOutcome, SimulatedStrategy
from comptroller.strategies.replay import EvidenceReplay, ModelledChecker, RecordedService, ServicePace
from comptroller.strategies.spelling import parse

AT_ONCE = ServicePace(0.0, 0.0, 0.0)
"""An API whose latency is not recorded; no latency objective is judged by it."""


@dataclass(frozen=True)
class QuestionLoad:
    """What one simulated fleet of questions does: who answers what, and the services that play.

    share: (classes, options), of the questions.  own: services by model, at the calls that they get.  block_tokens: of
    the prefix blocks that its calls share, 0 for none.
    """

    share: Floats
    own: Mapping[int, ModelServices]
    block_tokens: int

    @property
    def services(self) -> list[ServiceDocument]:
        """All services."""
        return [service for model in self.own.values() for service in model.services]


@dataclass(frozen=True)
class ServiceShares:
    """Where the calls of a model go: its services, in the shares that the plan gives them; all calls on one question to
    the same, as the gateway sends them, or no cache would know them again.

    chosen: by question, one more than its place.
    """

    chosen: list[int]

    @classmethod
    def drawn(cls, calls_per_s: Floats, first: int, questions: int, rng: np.random.Generator) -> ServiceShares:
        """A service for every question. first: one more than the place of the first."""
        edges = np.cumsum(calls_per_s / calls_per_s.sum())
        drawn = np.searchsorted(edges, rng.uniform(size=questions), side="right")
        return cls((first + np.minimum(drawn, len(edges) - 1)).tolist())

    def __call__(self, number: int) -> int:
        """One more than the place of a question's service."""
        return self.chosen[number]


class QuestionPlayers:
    """Options as they are simulated: by the evidence, each recorded model bound once."""

    def __init__(self, problem: PlanningProblem) -> None:
        self._problem = problem
        self._replays: dict[tuple[tuple[str, int], ...], EvidenceReplay] = {}

    def play(self, option: Option, places: Mapping[int, ServiceShares]) -> SimulatedStrategy:
        """An option with its calls where services of the fleet are, by model, or elsewhere."""
        plays, quality = self._problem.space.plays, self._problem.quality
        assert plays.evidence is not None and quality is not None
        bound = tuple(sorted(option.play.bound.items()))
        if bound not in self._replays:
            roles: dict[str, RecordedService | ModelledChecker] = {
                role: RecordedService(plays.models[model], pace=AT_ONCE) for role, model in bound
            }
            roles |= judges_of(quality)
            self._replays[bound] = EvidenceReplay(plays.evidence, roles)
        at = {role: places[model] for role, model in bound if option.routes.get(model) == "own"}
        return SimulatedStrategy(parse(option.play.strategy), self._replays[bound], _place(at))


def _place(at: Mapping[str, ServiceShares]) -> Place:
    """Calls of a role that own devices play go there, the others to their API."""
    return lambda number, role, prompt, output: at[role](number) if role in at else ELSEWHERE


def question_quantity(outcome: QuestionStreamOutcome, quantity: str, counted: Bools) -> Floats:
    """A quantity of the counted questions: of their calls on the fleet, or from question to answer."""
    if quantity == "e2e_s":
        return outcome.answer_s[counted]
    of_fleet = outcome.calls["input_tokens"] > 0
    kept = outcome.outcome.requests.state != RequestState.CANCELLED
    chosen: Ints = counted[outcome.calls["request"]] & of_fleet & kept
    return np.asarray(getattr(outcome.outcome, quantity)[chosen])
