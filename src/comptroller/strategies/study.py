"""Strategies side by side on the same evidence: what each solves and takes, with intervals, beside one greedy answer.

Every setting is replayed for every binding of roles to models. The baseline of a binding is `once`: the greedy
reply, or one sample where no greedy one is recorded, of its solver. What the evidence cannot support is listed
with its reason, not guessed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from math import isnan, nan

import numpy as np

from comptroller.costs.inference_units import KINETICS_INTENSITY, ModelCostShape, TokenPrice, elasticity
from comptroller.errors import InputError, UnsupportedError
from comptroller.strategies.choosing import DifficultyAllocation, spread
from comptroller.strategies.protocol import UNLIMITED, QuestionBudget, Strategy
from comptroller.strategies.replay import EvidenceReplay, ModelledChecker, RecordedService, ServicePace
from comptroller.strategies.results import (
    ReplayEstimate,
    ReplayResults,
    gather,
    grid_runs,
    mean_interval,
    paired_difference,
    per_solved_interval,
    replay_strategy,
    uses,
)
from comptroller.strategies.routers import ModelRouter, router
from comptroller.strategies.routers import names as routers
from comptroller.strategies.routing import RoutingComparison, outcomes, references, routing_curve
from comptroller.strategies.rules.once import OnceStrategy
from comptroller.strategies.rules.route import RouteStrategy
from comptroller.strategies.spelling import parse, settings, spell
from comptroller.strategies.success_prediction import names as trained
from comptroller.strategies.success_prediction import success_predictor
from comptroller.work.evidence import Evidence, RecordedModel
from comptroller.work.laws.caps import caps, flag_truncated

AMOUNTS = ("usd", "j", "tokens", "elapsed_s", "flops", "eflops", "strong_calls", "calls")
"""What a frontier may be drawn over, the first that is known by default."""

SOLVERS = ("solver", "verifier", "reviser")
"""Roles that one model plays where nothing else is said."""


@dataclass(frozen=True)
class ReplayConditions:
    """How to replay.

    roles: role -> arm, for strategies of several models; empty: each of `arms` (all, if empty) by itself plays all
    roles.  checker: the modelled checker, with its error rates.  pace, price, joules: of all services, instead of the
    record.  shape: of all models, for FLOPs and cache bytes.  spread: a mean amount per question to spread over the
    settings by predicted difficulty.  told: what to say of the conditions.  tasks: only questions of these.  deal:
    seed of the order in which samples are dealt, None as recorded.  seed: of resampling.
    """

    roles: Mapping[str, RecordedModel] = field(default_factory=dict)
    arms: tuple[RecordedModel, ...] = ()
    checker: ModelledChecker = field(default_factory=ModelledChecker)
    pace: ServicePace | None = None
    price: TokenPrice | None = None
    joules: TokenPrice | None = None
    shape: ModelCostShape | None = None
    spread: float = nan
    told: tuple[str, ...] = ()
    budget: QuestionBudget = UNLIMITED
    tasks: tuple[str, ...] = ()
    deal: int | None = None
    seed: int = 0


@dataclass(frozen=True)
class ReplayedSetting:
    """One strategy under one binding. gain: of the score over the baseline, on the same questions.

    models: role -> model.  elasticity: relative gain of score for a relative gain of tokens.  solver: the model that
    plays it.  prefill_equivalents: tokens (arXiv 2604.05404), at the intensity of Kinetics.
    """

    strategy: str
    models: Mapping[str, str]
    results: ReplayResults
    score: ReplayEstimate
    gain: ReplayEstimate
    usd_per_solved: ReplayEstimate
    elasticity: float
    baseline: bool
    solver: str = ""
    prefill_equivalents: float = nan

    @property
    def who(self) -> str:
        """The models that play, each once."""
        return " > ".join(dict.fromkeys(self.models.values()))

    def amount(self, name: str) -> float:
        """The mean of a column per question."""
        return self.results.mean(name)


@dataclass(frozen=True)
class StrategyStudy:
    """All settings, what was left out and why, and the notes that belong to the figures."""

    source: str
    settings: tuple[ReplayedSetting, ...]
    missing: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    over: str = "tokens"
    routed: tuple[RoutingComparison, ...] = ()
    spread: tuple[DifficultyAllocation, ...] = ()

    def frontier(self) -> tuple[ReplayedSetting, ...]:
        """The settings that none beats in both score and amount, from the cheapest on; among those on the most
        questions, where not all were replayed on the same."""
        known = [item for item in self.settings if not isnan(item.amount(self.over)) and not isnan(item.score.value)]
        found: list[ReplayedSetting] = []
        for item in sorted(known, key=lambda one: (one.amount(self.over), -one.score.value)):
            if not found or item.score.value > found[-1].score.value:
                found.append(item)
        return tuple(found)


def study(
    evidence: Evidence,
    strategies: Sequence[Strategy],
    conditions: ReplayConditions | None = None,
    grid: bool = False,
    over: str = "",
) -> StrategyStudy:
    """The strategies, at every point of their grids if asked, on the evidence.

    over: what the frontier is drawn over, one of `AMOUNTS`; the first that is known where none is given.

    Raises:
        UnsupportedError: the evidence supports none of them; says why.
        InputError: a task or an amount is unknown.
    """
    conditions = conditions or ReplayConditions()
    if over and over not in AMOUNTS:
        raise InputError(f"a frontier is over one of {', '.join(AMOUNTS)}, not {over!r}")
    keep = _questions(evidence, conditions.tasks)
    replays = _replays(flag_truncated(evidence), conditions)
    on, said = _common(replays, strategies, keep)
    found: list[ReplayedSetting] = []
    missing: list[tuple[str, str]] = [] if on else [("every strategy", "no question has a reply of every model bound")]
    for replay, chosen in on.items():
        made, gaps = _family(replay, strategies, conditions, sorted(chosen), grid)
        found += made
        missing += gaps
    if not [item for item in found if not item.baseline or spell(OnceStrategy()) in map(spell, strategies)]:
        reasons = list(dict.fromkeys(reason for _, reason in missing)) or ["no question has a reply of every model"]
        raise UnsupportedError("; ".join(reasons[:3]))
    known = [name for name in AMOUNTS if not any(isnan(item.amount(name)) for item in found)]
    amount = over or known[0]
    groups = [tuple(group) for _, group in groupby(found, key=lambda item: item.solver)]
    return StrategyStudy(
        source=evidence.source,
        settings=tuple(found),
        missing=tuple(dict.fromkeys(missing)),
        notes=(*said, *_notes(evidence, conditions, found)),
        over=amount,
        routed=tuple(
            each for replay, chosen in on.items() for each in _routing_comparisons(replay, strategies, sorted(chosen))
        ),
        spread=tuple(
            spread(
                evidence,
                group[0].solver,
                [item.results for item in group],
                (conditions.spread, amount),
                conditions.seed,
            )
            for group in groups
            if not isnan(conditions.spread)
        ),
    )


def _routing_comparisons(
    replay: EvidenceReplay, strategies: Sequence[Strategy], chosen: list[int]
) -> list[RoutingComparison]:
    """The curves of the routers among the strategies, for each choice of models."""
    among: dict[tuple[RecordedModel, ...], list[str]] = {}
    for route in [each for each in strategies if isinstance(each, RouteStrategy)]:
        bound = [replay.roles.get(role) for role in route.roles]
        arms = tuple(each.arm for each in bound if isinstance(each, RecordedService))
        if len(arms) == len(bound):
            among.setdefault(arms, []).append(route.by)
    found = []
    for arms, names in among.items():
        known = outcomes(replay.evidence, arms, among=chosen)
        curves = [
            routing_curve(name, router(name).expected(known.questions), known, router(name).cost)
            for name in dict.fromkeys(names)
        ]
        found.append(RoutingComparison(known.cheapest_first.models, known.unit, (*curves, *references(known))))
    return found


def _questions(evidence: Evidence, tasks: tuple[str, ...]) -> list[bool]:
    known = {item.task for item in evidence.items}
    unknown = [task for task in tasks if task not in known]
    if unknown:
        raise InputError(f"no task {unknown[0]!r} in the evidence; it has {', '.join(sorted(filter(None, known)))}")
    return [not tasks or item.task in tasks for item in evidence.items]


def _replays(evidence: Evidence, conditions: ReplayConditions) -> list[EvidenceReplay]:
    def service(arm: RecordedModel) -> RecordedService:
        return RecordedService(arm, conditions.pace, conditions.price, conditions.joules, conditions.shape)

    if conditions.roles:
        roles = {role: service(arm) for role, arm in conditions.roles.items()}
        lead = roles.get("solver", list(roles.values())[-1])
        bindings = [dict.fromkeys(SOLVERS, lead) | roles]
    else:
        bindings = [dict.fromkeys(SOLVERS, service(arm)) for arm in conditions.arms or evidence.arms]
    checked: list[dict[str, RecordedService | ModelledChecker]] = [
        {"checker": conditions.checker} | each for each in bindings
    ]
    return [EvidenceReplay(evidence, roles, conditions.deal) for roles in checked]


def _common(
    replays: Sequence[EvidenceReplay], strategies: Sequence[Strategy], keep: Sequence[bool]
) -> tuple[dict[EvidenceReplay, set[int]], list[str]]:
    """Questions on which all can stand side by side, by binding: those that every binding, and every strategy that
    needs verdicts or revisions and has any, is recorded on. Also what is to be said of it."""
    every: set[int] = set()
    found: dict[EvidenceReplay, set[int]] = {}
    for replay in replays:
        asked = {int(number) for number in replay.covered() if keep[number]}
        every |= asked
        for strategy in strategies:
            asked = asked & {int(number) for number in replay.covered(uses(strategy))} or asked
        if asked:
            found[replay] = asked
    shared = set.intersection(*found.values()) if found else set()
    if shared:
        said = [f"on {len(shared):,} of {len(every):,} questions: those recorded for all that is compared"]
        return dict.fromkeys(found, shared), said if len(shared) < len(every) else []
    return found, ["the models were asked different questions, so they do not compare"] if found else []


def _family(
    replay: EvidenceReplay, strategies: Sequence[Strategy], conditions: ReplayConditions, chosen: list[int], grid: bool
) -> tuple[list[ReplayedSetting], list[tuple[str, str]]]:
    missing: list[tuple[str, str]] = []
    tried = (
        _results_or_gap(once, replay, conditions, chosen, missing)
        for once in (OnceStrategy(), OnceStrategy(greedy=False))
    )
    base = next((found for found in tried if found), None)
    if base:
        missing.clear()  # one of the two is enough, and the notes tell which
    results = {base.strategy: base} if base else {}
    for strategy in strategies:
        for one in _points(strategy, replay, conditions, chosen, grid, missing):
            results.setdefault(one.strategy, one)
    # every setting sees the same resamples of the questions, whatever else is in the study
    seeds = [np.random.default_rng(conditions.seed) for _ in results]
    return [
        _setting(replay, *pair, base, conditions.shape) for pair in zip(results.values(), seeds, strict=True)
    ], missing


def _points(
    strategy: Strategy,
    replay: EvidenceReplay,
    conditions: ReplayConditions,
    chosen: list[int],
    grid: bool,
    missing: list[tuple[str, str]],
) -> list[ReplayResults]:
    """The strategy, or every point of its grid, as far as the evidence goes."""
    points = settings(strategy) if grid else [strategy]
    return [
        gather(spell(point), chosen, rows, replay)
        for point, rows in grid_runs(points, replay, chosen, missing, conditions.budget)
    ]


def _results_or_gap(
    point: Strategy,
    replay: EvidenceReplay,
    conditions: ReplayConditions,
    chosen: list[int],
    missing: list[tuple[str, str]],
) -> ReplayResults | None:
    try:
        return replay_strategy(point, replay, chosen, conditions.budget)
    except UnsupportedError as gap:
        missing.append((spell(point), str(gap)))
        return None


def _setting(
    replay: EvidenceReplay,
    one: ReplayResults,
    rng: np.random.Generator,
    base: ReplayResults | None,
    shape: ModelCostShape | None,
) -> ReplayedSetting:
    gain = ReplayEstimate(nan, nan, nan)
    responds = nan
    if base is not None and base is not one:
        gain = ReplayEstimate(*paired_difference(one, base, "score", rng))
        responds = elasticity((base.mean("score"), one.mean("score")), (base.mean("tokens"), one.mean("tokens")))
    models = {role: str(who.arm) for role, who in replay.roles.items() if isinstance(who, RecordedService)}
    plays = {role: arm for role, arm in models.items() if role not in SOLVERS} or {"solver": models["solver"]}
    return ReplayedSetting(
        strategy=one.strategy,
        models=plays if one is not base else {"solver": models["solver"]},
        results=one,
        score=ReplayEstimate(one.mean("score"), *mean_interval(one, "score", rng)),
        gain=gain,
        usd_per_solved=ReplayEstimate(one.per_solved("usd"), *per_solved_interval(one, "usd", rng)),
        elasticity=responds,
        baseline=one is base,
        solver=models["solver"],
        prefill_equivalents=nan if shape is None else _prefill_equivalents(one, shape),
    )


def _prefill_equivalents(one: ReplayResults, shape: ModelCostShape) -> float:
    """Tokens read, and the cache traffic of those generated as tokens: gamma L D summed, exact within a reply."""
    return one.mean("input_tokens") + KINETICS_INTENSITY * one.mean("bytes") / (2 * shape.params)


def _notes(evidence: Evidence, conditions: ReplayConditions, found: Sequence[ReplayedSetting]) -> list[str]:
    notes = list(conditions.told)
    checker = conditions.checker
    if any("stop_on_success" in item.strategy or "repair" in item.strategy for item in found):
        notes.append(f"modelled: the checker accepts {checker.tpr:.0%} of right and {checker.fpr:.0%} of wrong answers")
    for label, given in (("seconds", conditions.pace), ("dollars", conditions.price), ("joules", conditions.joules)):
        if given is not None:
            notes.append(f"modelled: {label} from the declared {given}")
    models = {model for item in found for model in item.models.values()}
    notes += [
        f"{cap.hits / cap.outputs:.0%} of the replies of {evidence.arms[arm]} end at exactly {cap.tokens:,} tokens: "
        "truncated"
        for arm, cap in caps(evidence).items()
        if str(evidence.arms[arm]) in models
    ]
    for name in dict.fromkeys(part for item in found for part in _parts(item.strategy)):
        part = router(name) if name in routers() or name.endswith(".npz") else success_predictor(name)
        if part.about.get("data") == evidence.source:
            notes.append(f"in sample: the trained part {name} was trained on {evidence.source}")
        elif isinstance(part, ModelRouter):
            notes.append(f"{name} was trained on {part.about['data']}, for {' < '.join(part.models)}")
    if any(item.strategy == "once(greedy=False)" and item.baseline for item in found):
        notes.append("no greedy reply is recorded; the baseline is one sample")
    return notes


def _parts(spelled: str) -> list[str]:
    """Trained parts that a strategy uses."""
    by = getattr(parse(spelled), "by", "")
    known = (*trained(), *routers())
    return [
        name for name in ((by,) if isinstance(by, str) else by) if name in known or name.endswith((".json", ".npz"))
    ]
