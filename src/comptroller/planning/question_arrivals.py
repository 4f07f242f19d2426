"""Recorded questions that arrive at a plan's fleet: each role's calls go to the services of the role's model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from math import inf

import numpy as np

from comptroller.errors import FactError, InputError, UnknownIdError, UnsupportedError
from comptroller.facts.library import resolve
from comptroller.facts.reader import ids
from comptroller.planning.ground.service_document import ServiceDocument
from comptroller.planning.prove.simulated_fleet import PlanCallRouter
from comptroller.serving.world import Place, QuestionStream, QuestionStreamOutcome, SimulatedStrategy
from comptroller.strategies.gate_notes import GatedPlay, trained_notes
from comptroller.strategies.protocol import UNLIMITED, QuestionBudget, Strategy
from comptroller.strategies.recorded_roles import uses
from comptroller.strategies.replay import EvidenceReplay, RecordedService
from comptroller.strategies.spelling import spell
from comptroller.strategies.world_inputs import require_inputs
from comptroller.work.evidence import RecordedModel
from comptroller.work.trace import RequestTrace


@dataclass(frozen=True, eq=False)
class QuestionArrivals:
    """What arrives in place of the trace's own lengths: recorded questions, each solved by a strategy on a budget.

    served: a plan's model by the recorded name that it plays, where the names differ.  lead_s: seconds before its first
    question from which a context is known.  beside: other strategies, which must be able to solve the same questions.
    """

    strategy: Strategy
    replay: EvidenceReplay
    budget: QuestionBudget = UNLIMITED
    served: Mapping[str, str] = field(default_factory=dict)
    lead_s: float = inf
    beside: Sequence[Strategy] = ()


def question_arrivals_of(
    questions: QuestionArrivals, trace: RequestTrace, services: Sequence[ServiceDocument], rng: np.random.Generator
) -> QuestionStream:
    """A recorded question for every arrival of a trace: each once, in an order drawn, before any comes again."""
    strategies = questions.strategy, *questions.beside
    for one in strategies:
        require_inputs(one, questions.replay, spell(one))
    recorded = reduce(np.intersect1d, [questions.replay.covered(uses(one)) for one in strategies])
    if not recorded.size:
        raise UnsupportedError("no question has replies of every model and role, so there is nothing to solve")
    rounds = [rng.permutation(recorded) for _ in range(-(-len(trace) // recorded.size))]
    chosen = np.concatenate(rounds)[: len(trace)]
    seed = int(rng.integers(1 << 32))
    playing = services_by_role(services, questions.replay, questions.served)
    play = SimulatedStrategy(questions.strategy, questions.replay, place_by_role(services, playing, rng))
    return QuestionStream((play,), trace.arrival_s, chosen, questions.budget, seed, lead_s=questions.lead_s)


def gate_notes(questions: QuestionArrivals, solved: QuestionStreamOutcome) -> list[str]:
    """What the trained parts of the strategy were trained on, where these questions differ, and gates that decide
    nothing."""
    asked = questions.replay.covered(uses(questions.strategy))
    roles = questions.replay.roles.items()
    models = {role: str(who.arm) for role, who in roles if isinstance(who, RecordedService)}
    calls = np.bincount(solved.calls["request"], minlength=len(solved.score)).astype(float)
    return list(trained_notes(questions.replay.evidence, [GatedPlay(spell(questions.strategy), models, asked, calls)]))


def services_by_role(
    services: Sequence[ServiceDocument], replay: EvidenceReplay, served: Mapping[str, str]
) -> dict[str, tuple[int, ...]]:
    """Places of the services that play each role.

    One recorded model on services of one model is played by all of them, whatever they are called. Of several, each is
    played by the services of its model, in its format where that is recorded and known.

    served: a plan's model by the recorded name that it plays, in any format, where the names differ.

    Raises:
        UnsupportedError: a role's model is not served.
        InputError: a name in `served` is not recorded, or a plan's model is not one.
    """
    models = list(dict.fromkeys(service.deployment.model for service in services))
    arms = {role: who.arm for role, who in replay.roles.items() if isinstance(who, RecordedService)}
    faults = list(_faults_of_names(replay, models, served))
    if faults:
        raise InputError("; ".join(faults))
    if not served and len(models) == 1 and len({(arm.model, arm.format) for arm in arms.values()}) == 1:
        return dict.fromkeys(arms, tuple(range(len(services))))
    stand_ins = {arm: model_id(model) for name, model in served.items() for arm in replay.evidence.named(name)}
    playing = {role: _playing(services, arm, stand_ins.get(arm)) for role, arm in arms.items()}
    idle: dict[RecordedModel, list[str]] = {}
    for role in (role for role, places in playing.items() if not places):
        idle.setdefault(arms[role], []).append(role)
    if idle:
        roles = "; ".join(f"no service of the plan serves {arm} (role {', '.join(of)})" for arm, of in idle.items())
        raise UnsupportedError(
            f"{roles}. It serves {_models_and_formats(services)}; --served NAME=MODEL says what plays a model"
        )
    return playing


def _faults_of_names(replay: EvidenceReplay, models: Sequence[str], served: Mapping[str, str]) -> Iterator[str]:
    """What is wrong with names of models, each in words."""
    for name, model in served.items():
        if not replay.evidence.named(name):
            recorded = ", ".join(dict.fromkeys(arm.model for arm in replay.evidence.arms))
            yield f"--served {name}={model}: {name!r} is not recorded; recorded: {recorded}"
        if model_id(model) not in models:
            yield f"--served {name}={model}: the plan does not serve {model!r}; it serves {', '.join(models)}"


def _playing(services: Sequence[ServiceDocument], arm: RecordedModel, stand_in: str | None) -> tuple[int, ...]:
    """Places of the services of a recorded model, or of the one that stands in for it in any format."""
    serves, written = stand_in or model_id(arm.model), arm.format.lower()
    fits = [written] if not stand_in and written in ids("formats") else []
    return tuple(
        place
        for place, service in enumerate(services)
        if service.deployment.model == serves and (not fits or service.deployment.recipe.weights in fits)
    )


def model_id(name: str) -> str:
    """Id of the facts of a model that is called by an id or a repository; the name itself where there are none.

    >>> model_id("meta-llama/Llama-3.1-8B-Instruct"), model_id("gpt-5-mini")
    ('llama_3_1_8b', 'gpt-5-mini')
    """
    try:
        return resolve("models", name).id
    except (UnknownIdError, FactError):
        return name


def _models_and_formats(services: Sequence[ServiceDocument]) -> str:
    """The plan's models with their formats."""
    found = ((service.deployment.model, service.deployment.recipe.weights) for service in services)
    return ", ".join(dict.fromkeys(f"{model} in {weights}" for model, weights in found))


def place_by_role(
    services: Sequence[ServiceDocument], playing: Mapping[str, tuple[int, ...]], rng: np.random.Generator
) -> Place:
    """Where a strategy's call goes: to the services of its role, among them as the plan sends its size."""
    senders = {places: _sender(services, places, rng) for places in dict.fromkeys(playing.values())}
    return lambda number, role, prompt, output: senders[playing[role]](prompt, output)


def _sender(
    services: Sequence[ServiceDocument], places: tuple[int, ...], rng: np.random.Generator
) -> Callable[[int, int], int]:
    """One more than the place of the service that a call of a size is sent to."""
    if len(places) == 1:
        return lambda prompt, output: 1 + places[0]
    router = PlanCallRouter([services[place] for place in places])
    return lambda prompt, output: 1 + places[int(router.services([prompt], [output], rng)[0])]
