"""Comparison of strategies on the same evidence: score and cost with intervals, beside one greedy answer.

Every setting is replayed for every binding of roles to models. The baseline of a binding is `once`: the greedy reply
of its solver, or one sample where no greedy reply is recorded. Settings that the evidence does not support are listed
with the reason.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from math import isnan, nan

import numpy as np

from comptroller.costs.inference_units import KINETICS_INTENSITY, ModelCostShape, TokenPrice, elasticity
from comptroller.errors import InputError, UnsupportedError
from comptroller.strategies.bindings import BESIDE_SOLVERS, SOLVERS, bindings
from comptroller.strategies.choosing import DifficultyAllocation, spread
from comptroller.strategies.deals import DEALS, SampleTable, deal_notes, expected_results
from comptroller.strategies.protocol import UNLIMITED, QuestionBudget, Strategy
from comptroller.strategies.replay import EvidenceReplay, ModelledChecker, RecordedService, ServicePace
from comptroller.strategies.replay_intervals import ReplayEstimate, SettingEstimates, setting_estimates
from comptroller.strategies.results import (
    ReplayResults,
    ResultViews,
    gather,
    grid_runs,
    nested_families,
    replay_strategy,
    require_inputs,
)
from comptroller.strategies.spelling import parse, settings, spell
from comptroller.strategies.study_notes import (
    GatedPlay,
    checker_notes,
    reward_notes,
    sleep_notes,
    trained_notes,
    unscored_notes,
)
from comptroller.strategies.study_questions import StudyQuestions, common_questions, questions_of_tasks
from comptroller.strategies.study_routing import RoutingComparison, routing_comparisons
from comptroller.work.evidence import Evidence, RecordedModel
from comptroller.work.laws.caps import caps, flag_truncated

AMOUNTS = ("usd", "j", "tokens", "elapsed_s", "flops", "eflops", "strong_calls", "calls")
"""Quantities that a frontier may be drawn over; by default the first that is known for all settings."""

BASELINES = ("once", "once(greedy=False)")
"""What a setting is compared with: the first of these that is recorded."""


@dataclass(frozen=True)
class ReplayConditions:
    """Conditions of a replay.

    roles: role -> recorded model, for strategies of several models; where none of them solves, each of `arms` (if
    empty: each recorded model) does, and plays the roles that are not bound.  checker: the modelled checker, with its
    error rates.  reward: who scores steps where no recorded model is bound to; None for nobody.  pace, price, joules:
    declared rates of all services, in place of the record.  shape: of all models, for FLOPs and cache bytes.  spread:
    mean amount per question to allocate over the settings by predicted difficulty, NaN for none.  told: notes about the
    conditions, for the report.  tasks: domains to keep, empty for all.  deal: seed of the order of recorded samples,
    None for the recorded order.  deals: orders to average over, that one first.  seed: of bootstrap resampling.
    """

    roles: Mapping[str, RecordedModel] = field(default_factory=dict)
    arms: tuple[RecordedModel, ...] = ()
    checker: ModelledChecker = field(default_factory=ModelledChecker)
    reward: ModelledChecker | None = None
    pace: ServicePace | None = None
    price: TokenPrice | None = None
    joules: TokenPrice | None = None
    shape: ModelCostShape | None = None
    spread: float = nan
    told: tuple[str, ...] = ()
    budget: QuestionBudget = UNLIMITED
    tasks: tuple[str, ...] = ()
    deal: int | None = None
    deals: int = DEALS
    seed: int = 0


@dataclass(frozen=True)
class ReplayedSetting:
    """One strategy under one binding of roles to models.

    models: role -> model.  gain: of the mean score over the baseline's, on the same questions.  elasticity: relative
    gain of score over relative gain of tokens.  baseline: whether this is the baseline.  solver: its model.
    prefill_equivalents: tokens per question (arXiv 2604.05404), at the intensity of Kinetics.
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
        """The bound models without repetition, joined by ' > '."""
        return " > ".join(dict.fromkeys(self.models.values()))

    def amount(self, name: str) -> float:
        """The mean of a column per question."""
        return self.results.mean(name)


@dataclass(frozen=True)
class StrategyStudy(ResultViews):
    """Settings of a comparison, with what was left out and why.

    source: name of the evidence.  missing: (strategy, reason).  notes: statements about the figures.  over: quantity of
    the frontier.  routed: curves of the routers.  spread: allocations by difficulty, one per solver.  by_model: the
    settings of each binding on all questions recorded for it, where these are more than the compared ones.
    """

    source: str
    settings: tuple[ReplayedSetting, ...]
    missing: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    over: str = "tokens"
    routed: tuple[RoutingComparison, ...] = ()
    spread: tuple[DifficultyAllocation, ...] = ()
    by_model: tuple[tuple[ReplayedSetting, ...], ...] = ()

    def frontier(self) -> tuple[ReplayedSetting, ...]:
        """The Pareto-optimal settings in mean score and mean amount of `over`, from the cheapest on."""
        comparable = [
            item for item in self.settings if not isnan(item.amount(self.over)) and not isnan(item.score.value)
        ]
        best: list[ReplayedSetting] = []
        for item in sorted(comparable, key=lambda one: (one.amount(self.over), -one.score.value)):
            if not best or item.score.value > best[-1].score.value:
                best.append(item)
        return tuple(best)


def study(
    evidence: Evidence,
    strategies: Sequence[Strategy],
    conditions: ReplayConditions | None = None,
    grid: bool = False,
    over: str = "",
) -> StrategyStudy:
    """Compares strategies on evidence.

    grid: whether to try every point of a strategy's grid.  over: quantity of the frontier, one of `AMOUNTS`; empty for
    the first that is known.

    Raises:
        UnsupportedError: the evidence supports none of the strategies; gives the reasons.
        InputError: a task or an amount is unknown.

    >>> from comptroller.strategies.spelling import parse
    >>> from comptroller.work.evidence_readers import read_evidence
    >>> own = read_evidence("own")
    >>> found = study(own, [parse("sample_and_vote(n=2)")], ReplayConditions(arms=own.arms[:1]))
    >>> [(setting.strategy, f"{setting.score.value:.1%}") for setting in found.settings]
    [('once', '25.5%'), ('sample_and_vote(n=2)', '22.5%')]
    """
    conditions = conditions or ReplayConditions()
    if over and over not in AMOUNTS:
        raise InputError(f"a frontier is over one of {', '.join(AMOUNTS)}, not {over!r}")
    replays = _replays(flag_truncated(evidence), conditions)
    asked = common_questions(replays, strategies, questions_of_tasks(evidence, conditions.tasks))
    asked = asked.within(strategies, grid, conditions.deals, conditions.budget)
    questions = asked.compared
    compared: list[ReplayedSetting] = []
    missing: list[tuple[str, str]] = (
        [] if questions else [("every strategy", "no question has a reply of every model bound")]
    )
    for replay, chosen in questions.items():
        replayed, gaps = _settings_of_binding(
            replay, (strategies, grid), conditions, sorted(chosen), asked.refused.get(replay, {})
        )
        compared += replayed
        missing += gaps
    if not [item for item in compared if not item.baseline or BASELINES[0] in map(spell, strategies)]:
        reasons = list(dict.fromkeys(reason for _, reason in missing)) or ["no question has a reply of every model"]
        raise UnsupportedError("; ".join(reasons[:3]))
    complete = [name for name in AMOUNTS if not any(isnan(item.amount(name)) for item in compared)]
    amount = over or complete[0]
    groups = [tuple(group) for _, group in groupby(compared, key=lambda item: item.solver)]
    return StrategyStudy(
        source=evidence.source,
        settings=tuple(compared),
        missing=tuple(dict.fromkeys(missing)),
        notes=(
            *asked.notes,
            *_notes(evidence, conditions, compared),
            *sleep_notes(questions, strategies, conditions.seed),
        ),
        over=amount,
        routed=tuple(
            comparison
            for replay, chosen in questions.items()
            for comparison in routing_comparisons(replay, strategies, sorted(chosen))
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
        by_model=tuple(_on_own_questions(asked, (strategies, grid), conditions)),
    )


def _replays(evidence: Evidence, conditions: ReplayConditions) -> list[EvidenceReplay]:
    def service(arm: RecordedModel) -> RecordedService:
        return RecordedService(arm, conditions.pace, conditions.price, conditions.joules, conditions.shape)

    judges: dict[str, RecordedService | ModelledChecker] = {"checker": conditions.checker}
    if conditions.reward is not None:
        judges["reward"] = conditions.reward
    bound = bindings(evidence, conditions.roles, conditions.arms)
    services = [{role: service(arm) for role, arm in roles.items()} for roles in bound]
    return [EvidenceReplay(evidence, judges | playing, conditions.deal) for playing in services]


def _on_own_questions(
    asked: StudyQuestions, asked_of: tuple[Sequence[Strategy], bool], conditions: ReplayConditions
) -> Iterator[tuple[ReplayedSetting, ...]]:
    for replay, chosen in asked.own.items():
        found, _ = _settings_of_binding(replay, asked_of, conditions, sorted(chosen), asked.refused.get(replay, {}))
        yield tuple(found)


def _settings_of_binding(
    replay: EvidenceReplay,
    asked_of: tuple[Sequence[Strategy], bool],
    conditions: ReplayConditions,
    chosen: list[int],
    refused: Mapping[str, str],
) -> tuple[list[ReplayedSetting], list[tuple[str, str]]]:
    """The baseline and all settings of one binding, and what the evidence does not support.

    asked_of: strategies, and whether every point of their grids.  refused: settings with why.
    """
    strategies, grid = asked_of
    missing: list[tuple[str, str]] = []
    table = SampleTable(replay, chosen, conditions.deals)
    tried = (_results_or_gap(once, table, conditions.budget, missing) for once in map(parse, BASELINES))
    base = next((replayed for replayed in tried if replayed), None)
    results = {base.strategy: base} if base else {}
    asked = list(map(spell, strategies))
    missing = [] if base else [gap for gap in missing if gap[0] in asked]  # the notes tell of the baseline
    missing += refused.items()
    for points in map(settings, strategies) if grid else nested_families(strategies):
        borne = [point for point in points if spell(point) not in refused]
        for one in _points(borne, table, conditions.budget, missing) if borne else ():
            results.setdefault(one.strategy, one)
    first = [*list(results)[: base is not None], *([] if grid else asked)]
    results = {name: results[name] for name in dict.fromkeys([*first, *results]) if name in results}
    given = list(results.values())
    # every setting sees the same resamples of the questions, whatever else is in the study
    told = setting_estimates(given, base, np.random.default_rng(conditions.seed)) if given else []
    return [_setting(replay, *pair, base, conditions.shape) for pair in zip(given, told, strict=True)], missing


def _points(
    points: Sequence[Strategy], table: SampleTable, budget: QuestionBudget, missing: list[tuple[str, str]]
) -> list[ReplayResults]:
    """Points of one strategy where the evidence supports them; its nested ones are read off one replay."""
    try:
        require_inputs(points[0], table.replay, spell(points[0]))
    except UnsupportedError as gap:
        missing += [(spell(point), str(gap)) for point in points]
        return []

    def dealt(again: EvidenceReplay, some: Sequence[Strategy]) -> list[ReplayResults]:
        runs = grid_runs(some, again, chosen, missing, budget)
        return [gather(spell(point), chosen, rows, again) for point, rows in runs]

    chosen = table.questions.tolist()
    found = expected_results(table, points, budget, dealt)
    missing[:] = [gap for gap in missing if all(gap[0] != one.strategy for one in found)]
    return found


def _results_or_gap(
    point: Strategy, table: SampleTable, budget: QuestionBudget, missing: list[tuple[str, str]]
) -> ReplayResults | None:
    def dealt(again: EvidenceReplay, some: Sequence[Strategy]) -> list[ReplayResults]:
        return [replay_strategy(one, again, table.questions.tolist(), budget) for one in some]

    try:
        require_inputs(point, table.replay, spell(point))
        return expected_results(table, [point], budget, dealt)[0]
    except UnsupportedError as gap:
        missing.append((spell(point), str(gap)))
        return None


def _setting(
    replay: EvidenceReplay,
    one: ReplayResults,
    told: SettingEstimates,
    base: ReplayResults | None,
    shape: ModelCostShape | None,
) -> ReplayedSetting:
    responds = nan
    if base is not None and base is not one:
        responds = elasticity((base.mean("score"), one.mean("score")), (base.mean("tokens"), one.mean("tokens")))
    models = {role: str(who.arm) for role, who in replay.roles.items() if isinstance(who, RecordedService)}
    plays = {role: arm for role, arm in models.items() if role not in SOLVERS}
    if set(plays) <= BESIDE_SOLVERS:
        plays = {"solver": models["solver"], **plays}
    return ReplayedSetting(
        strategy=one.strategy,
        models=plays if one is not base else {"solver": models["solver"]},
        results=one,
        score=told.score,
        gain=told.gain,
        usd_per_solved=told.usd_per_solved,
        elasticity=responds,
        baseline=one is base,
        solver=models["solver"],
        prefill_equivalents=nan if shape is None else _prefill_equivalents(one, shape),
    )


def _prefill_equivalents(one: ReplayResults, shape: ModelCostShape) -> float:
    """Prompt tokens plus cache traffic of generated tokens in prefill tokens: the sum of gamma L D over each reply."""
    return one.mean("input_tokens") + KINETICS_INTENSITY * one.mean("bytes") / (2 * shape.params)


def _notes(evidence: Evidence, conditions: ReplayConditions, compared: Sequence[ReplayedSetting]) -> list[str]:
    notes = [*conditions.told, *deal_notes(item.results for item in compared)]
    asked = [(item.strategy, item.models, item.results.question) for item in compared]
    notes += checker_notes(evidence, conditions.checker, asked)
    notes += [*reward_notes(conditions.reward, asked), *unscored_notes(evidence, [item.results for item in compared])]
    for label, declared in (("seconds", conditions.pace), ("dollars", conditions.price), ("joules", conditions.joules)):
        if declared is not None:
            notes.append(f"modelled: {label} from the declared {declared}")
    models = {model for item in compared for model in item.models.values()}
    notes += [
        f"{cap.hits / cap.outputs:.0%} of the replies of {evidence.arms[arm]} end at exactly {cap.tokens:,} tokens: "
        "truncated"
        for arm, cap in caps(evidence).items()
        if str(evidence.arms[arm]) in models
    ]
    gated = [GatedPlay(one.strategy, one.models, one.results.question, one.results.calls) for one in compared]
    notes += trained_notes(evidence, gated)
    bases = {item.strategy for item in compared if item.baseline}
    if "once(greedy=False)" in bases:
        notes.append("no greedy reply is recorded; the baseline is one sample")
    return [*notes, *(() if bases else ("no greedy reply and no sample of a solver is recorded: no baseline",))]
