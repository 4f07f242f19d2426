"""Inefficient trajectories of agents, in prefill-token equivalents (arXiv 2604.05404): what is told, and of records."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from comptroller.costs.inference_units import prefill_token_equivalents
from comptroller.work.trajectories import AgentTrajectories, shared_prompt_tokens


@dataclass(frozen=True, slots=True)
class InefficiencyPattern:
    """An inefficiency: number of requests that show it, and its prefill-token equivalents. Patterns may overlap."""

    name: str
    requests: int
    tokens: float


@dataclass(frozen=True, slots=True)
class InefficiencyReport:
    """Tasks (requests, or the sessions that they belong to), their prefill-token equivalents, and the inefficiencies in
    them."""

    requests: int
    tokens: float
    found: tuple[InefficiencyPattern, ...]


NAMES = (
    *("confirmatory use", "tool mixing", "lack of tool priors", "format collapse"),
    *("context computed again", "long tool answers"),
)
"""Patterns, in the order of a report: the four of arXiv 2604.05404, and two of their causes."""
RUN_NAMES = ("lack of tool priors", "context computed again", "long tool answers")
"""Those that are told from recorded runs, which have lengths and no words."""


def patterns_of_runs(runs: AgentTrajectories, gamma: float) -> InefficiencyReport:
    """As `insight.patterns`, of recorded runs of agents, call by call, each run a task.

    What a record has no words for is not told from it: results that were known and arguments that could not be read
    need the texts, mixing the names of tools. Of what the tools gave back the length is recorded: nothing, or much. A
    prompt whose cached tokens are not recorded counts as computed anew in the equivalents, and not as computed again.
    """
    recorded = np.isfinite(runs.cached_tokens)
    shared = np.where(recorded, np.maximum(shared_prompt_tokens(runs) - np.nan_to_num(runs.cached_tokens), 0.0), 0.0)
    grown = np.where(runs.step > 0, np.maximum(runs.input_tokens - shared_prompt_tokens(runs), 0.0), 0.0)
    columns = (runs.input_tokens, np.nan_to_num(runs.cached_tokens), runs.output_tokens)
    told = (
        prefill_token_equivalents([prompt - cached], [output], [prompt + output], gamma)
        for prompt, cached, output in zip(*(column.tolist() for column in columns), strict=True)
    )
    each = np.array(list(told))
    blind = np.where((runs.observation == 0) & ~runs.last, each, 0.0)
    found = dict(zip(RUN_NAMES, (blind, shared, grown), strict=True))
    by_run = {name: runs.total(column) for name, column in found.items()}
    told_of = tuple(InefficiencyPattern(name, int((of > 0).sum()), float(of.sum())) for name, of in by_run.items())
    return InefficiencyReport(len(runs.runs), float(each.sum()), told_of)
