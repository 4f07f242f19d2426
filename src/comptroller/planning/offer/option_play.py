"""Strategies played by recorded models: every option that the evidence supports, and why the others are not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import TypeVar

import numpy as np

from comptroller.errors import UnsupportedError
from comptroller.planning.ground.executor import HERE, Progress, SearchExecutor, gather, no_progress
from comptroller.planning.ground.strategy_plays import Floats, Ints, OptionCalls, PlaySet, StrategyPlay
from comptroller.planning.offer.deployments import RejectionTally
from comptroller.planning.offer.question_judges import answers_greedily, played_scores, replay_of
from comptroller.planning.offer.stage_plays import StagePlayCache
from comptroller.strategies.bindings import SOLVERS
from comptroller.strategies.drive import FinishedRun
from comptroller.strategies.protocol import Strategy
from comptroller.strategies.results import grid_runs, lacking_inputs, uses
from comptroller.strategies.rules.once import OnceStrategy
from comptroller.strategies.spelling import names, parse, settings, spell
from comptroller.strategies.stages import StagedStrategy
from comptroller.work.evidence import STEP, Evidence
from comptroller.work.laws.caps import flag_truncated
from comptroller.work.quality import WorkloadQuality

LEAST_RECORDED = 0.95
"""A model with replies to fewer of the questions is left out, rather than the questions that it lacks: one that was
asked half of a benchmark would otherwise halve the evidence of all others."""

MOST_REASONS = 8
"""Strategies up to which each is named with why it cannot be played; of all that ship the reasons alone are told."""

S = TypeVar("S", bound=Strategy)

BOUND = 4
"""Bindings of a strategy that are played together; all, where stages are shared among them. More in a part spare
little, and fewer parts leave workers idle at the end."""


@dataclass(frozen=True)
class OptionPlayer:
    """Strategies on recorded questions: indices into the evidence."""

    quality: WorkloadQuality
    evidence: Evidence
    question: Ints

    def __call__(self, part: tuple[str, tuple[Mapping[str, int], ...]]) -> tuple[list[StrategyPlay], RejectionTally]:
        """A strategy, as spelled, at every point by each binding of its roles; and what cannot be played."""
        strategy, rejected = parse(part[0]), RejectionTally()
        if isinstance(strategy, StagedStrategy):
            return list(self._staged(strategy, part[1], rejected)), rejected
        plays = (
            option
            for roles in part[1]
            for option in _play_options(strategy, roles, self.quality, self.evidence, self.question, rejected)
        )
        return list(plays), rejected

    def _staged(
        self, strategy: StagedStrategy, bindings: Sequence[Mapping[str, int]], rejected: RejectionTally
    ) -> Iterator[StrategyPlay]:
        stages = StagePlayCache(self.evidence, self.question)
        for roles, point in product(bindings, _points(strategy, self.quality)):
            try:
                option = stages.option(point, roles)
            except UnsupportedError as gap:
                rejected.add("not supported by the evidence", f"{spell(point)}: {gap}")
                continue
            if _has_scores(option.strategy, option.score, rejected):
                yield option


def plays_of(
    quality: WorkloadQuality,
    models: Sequence[str],
    evidence: Evidence,
    rejected: RejectionTally,
    progress: Progress = no_progress,
    executor: SearchExecutor = HERE,
) -> PlaySet:
    """Every strategy at every point of its grid, played by every arm, or by every pair from a cheap to a dear one.

    models: the recorded ones that may answer; all, if none is named.

    Raises:
        UnsupportedError: the evidence supports no option; says why.
    """
    evidence = flag_truncated(evidence)
    question = _questions(quality, evidence)
    arms, question = _arms(models, evidence, question, rejected)
    plays: list[StrategyPlay] = []
    parts, why = list(_parts(quality, arms, evidence, question)), dict[str, str]()
    found = gather(executor, OptionPlayer(quality, evidence, question), parts, progress)
    for (strategy, _), (options, fallen) in zip(parts, found, strict=True):
        plays += options
        rejected.merge(fallen)
        why.setdefault(strategy, "; ".join(fallen.example.values()))
    if not plays:
        told = why.values() if len(why) <= MOST_REASONS else [str(rejected)]
        raise UnsupportedError(f"{evidence.source}: no strategy can be replayed; {'; '.join(filter(None, told))}")
    names_ = tuple(sorted({evidence.items[number].task for number in question}))
    task = np.array([names_.index(evidence.items[number].task) for number in question])
    return PlaySet(evidence, question, task, names_, tuple(plays))


def _questions(quality: WorkloadQuality, evidence: Evidence) -> Ints:
    wanted = quality.tasks or quality.mix
    return np.array([n for n, item in enumerate(evidence.items) if not wanted or item.task in wanted])


def _arms(
    models: Sequence[str], evidence: Evidence, question: Ints, rejected: RejectionTally
) -> tuple[list[int], Ints]:
    """Arms that may answer, and the questions that all of them are recorded on, of those that any is."""
    rows = evidence.rows
    named = [n for n, who in enumerate(evidence.arms) if not models or who.model in models or str(who) in models]
    scored = ~np.isnan(rows.score)
    question = question[np.isin(question, rows.question[scored & np.isin(rows.arm, named)])]
    answered, told = {}, {}
    for arm in named if len(question) else ():
        is_recorded = np.isin(question, rows.question[scored & (rows.arm == arm)])
        told[arm] = f"{evidence.arms[arm]}: {is_recorded.sum()} of {len(question)} questions are recorded"
        if is_recorded.mean() < LEAST_RECORDED:
            rejected.add("too few questions recorded", told[arm], float(1 - is_recorded.mean()))
        else:
            answered[arm] = is_recorded
    if told and not answered:
        raise UnsupportedError(
            f"{evidence.source}: models compare on questions that nearly all of them have: {'; '.join(told.values())}; "
            "`models` names those to plan with, `quality.tasks` the tasks"
        )
    if not answered:
        whom = f"none of {', '.join(models)} is" if models else "no model is"
        have = ", ".join(str(arm) for arm in evidence.arms)
        raise UnsupportedError(f"{evidence.source}: {whom} recorded on the questions; recorded: {have}")
    return list(answered), question[np.all(list(answered.values()), axis=0)]


def _parts(
    quality: WorkloadQuality, arms: Sequence[int], evidence: Evidence, question: Ints
) -> Iterator[tuple[str, tuple[Mapping[str, int], ...]]]:
    """Strategies as spelled, all that ship where none is named, with some bindings of their roles each."""
    steps = bool((evidence.rows.role == STEP).any())
    wanted = (*_baselines(quality, arms, evidence, question), *(quality.strategies or names()))
    for strategy, text in {parse(text): text for text in wanted}.items():
        if not (steps or quality.strategies) and STEP in uses(strategy):
            continue
        bindings = list(_bindings(strategy, arms, evidence, question))
        size = len(bindings) if isinstance(strategy, StagedStrategy) else BOUND
        for start in range(0, len(bindings), size):
            yield text, tuple(bindings[start : start + size])


def _baselines(quality: WorkloadQuality, arms: Sequence[int], evidence: Evidence, question: Ints) -> Iterator[str]:
    """One answer of a model: the greedy one, and one sample where a model has no greedy reply to some question."""
    yield spell(OnceStrategy())
    for arm in arms:
        if not answers_greedily(replay_of(evidence, dict.fromkeys(SOLVERS, arm), quality), question.tolist()):
            yield spell(OnceStrategy(greedy=False))


def _points(strategy: S, quality: WorkloadQuality) -> list[S]:
    given = [text for text in quality.strategies if parse(text) == strategy]
    fixed = given and any(mark in given[0] for mark in "(:")
    return [strategy] if fixed else settings(strategy)


def _bindings(strategy: Strategy, arms: Sequence[int], evidence: Evidence, question: Ints) -> Iterator[dict[str, int]]:
    roles: tuple[str, ...] = getattr(strategy, "roles", ())
    if not roles:
        yield from (dict.fromkeys(SOLVERS, arm) for arm in arms)
        return
    cheap_first = sorted(arms, key=lambda arm: (_effort(evidence, arm, question), arm))
    for chosen in combinations(cheap_first, len(roles)):
        yield dict(zip(roles, chosen, strict=True))


def _effort(evidence: Evidence, arm: int, question: Ints) -> float:
    """What an arm takes of a question: dollars where they are recorded, else tokens."""
    rows = evidence.rows
    use = (rows.arm == arm) & np.isin(rows.question, question)
    usd = rows.usd[use]
    made = rows.output_tokens[use] + np.nan_to_num(rows.reasoning_tokens[use])
    return float(np.mean(made if np.isnan(usd).all() else np.nan_to_num(usd)))


def _play_options(
    strategy: Strategy,
    roles: Mapping[str, int],
    quality: WorkloadQuality,
    evidence: Evidence,
    question: Ints,
    rejected: RejectionTally,
) -> Iterator[StrategyPlay]:
    replay = replay_of(evidence, roles, quality)
    for needed in lacking_inputs(strategy, replay):
        rejected.add("not supported by the evidence", f"{spell(strategy)} needs {needed}")
        return
    missing: list[tuple[str, str]] = []
    left_out = set(question.tolist()) - set(replay.covered(uses(strategy)).tolist())
    if left_out:
        told = f"{spell(strategy)}: {len(left_out)} questions lack what it asks for"
        rejected.add("not recorded", told, len(left_out))
        return
    for point, rows in grid_runs(_points(strategy, quality), replay, question.tolist(), missing):
        score = played_scores(replay, point, question.tolist(), [value for value, _ in rows])
        if not _has_scores(spell(point), score, rejected):
            continue
        kept = {role: arm for role, arm in roles.items() if _plays(role, rows)}
        yield StrategyPlay(spell(point), roles, kept, score, OptionCalls.of([run for _, run in rows], roles))
    for spelled, reason in missing:
        rejected.add("not supported by the evidence", f"{spelled}: {reason}")


def _has_scores(spelled: str, score: Floats, rejected: RejectionTally) -> bool:
    never = int(np.isnan(score).sum())
    if never:
        rejected.add("not scored", f"{spelled}: {never} answers were never scored")
    return not never


def _plays(role: str, rows: Sequence[tuple[float, FinishedRun]]) -> bool:
    return any(reply.ask.role == role for _, run in rows for reply in run.replies)
