"""Inefficient trajectories of agents, in prefill-token equivalents (arXiv 2604.05404): what is told, and of records."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from comptroller.costs.inference_units import prefill_token_equivalents
from comptroller.work.tool_notes import KNOWN, MALFORMED, NOTHING
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


def patterns_of_runs(runs: AgentTrajectories, gamma: float) -> InefficiencyReport:
    """As `insight.patterns`, of recorded runs of agents, call by call, each run a task.

    A pattern whose words the table has no column for is not told: mixing needs the names of tools, results that were
    known and arguments that could not be read the notes of their rounds. Of what the tools gave back the length is
    recorded: nothing, or much. A prompt whose cached tokens are not recorded counts as computed anew in the
    equivalents, and not as computed again.
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
    blind = (runs.observation == 0) & ~runs.last | _calls_with(runs, NOTHING)
    found = {"lack of tool priors": np.where(blind, each, 0.0)}
    if runs.notes:
        after_known = np.roll(_calls_with(runs, KNOWN) & ~runs.last, 1)
        found["confirmatory use"] = np.where(after_known, each, 0.0)
        found["format collapse"] = np.where(_calls_with(runs, MALFORMED), each, 0.0)
    if runs.tools:
        found["tool mixing"] = np.where(_several_tools(runs)[runs.run], each, 0.0)
    found |= {"context computed again": shared, "long tool answers": grown}
    by_run = {name: runs.total(found[name]) for name in NAMES if name in found}
    told_of = tuple(InefficiencyPattern(name, int((of > 0).sum()), float(of.sum())) for name, of in by_run.items())
    return InefficiencyReport(len(runs.runs), float(each.sum()), told_of)


def _calls_with(runs: AgentTrajectories, note: str) -> npt.NDArray[np.bool_]:
    """After which calls a tool's round says so of itself."""
    return np.array([note in notes for notes in runs.notes] or np.zeros(len(runs.run)), bool)


def _several_tools(runs: AgentTrajectories) -> npt.NDArray[np.bool_]:
    """Which runs asked for more than one tool."""
    of_run: list[set[str]] = [set() for _ in runs.runs]
    for run, tools in zip(runs.run.tolist(), runs.tools, strict=True):
        of_run[run] |= set(tools)
    return np.array([len(tools) > 1 for tools in of_run])
