"""Trajectories of agents as traffic: a call waits for the one before and for its tools, and goes on from its prompt.

Runs have no common clock: tasks arrive as a Poisson stream (`--rate`, in calls per second over all tasks), their first
calls after the start of container and agent where that is recorded. Prompts
share blocks with the prompt before, never with other tasks, for nothing tells what those have in common.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from comptroller.errors import FactError
from comptroller.work.rows import TraceReader, TraceReadOptions, TraceRows
from comptroller.work.trace_table import prefix_blocks
from comptroller.work.trace_tasks import NO_PARENT, TraceTasks
from comptroller.work.trajectories import AgentTrajectories, shared_prompt_tokens
from comptroller.work.trajectory_files import LOOKS_LIKE, are_trajectories, read_trajectories

BLOCK_TOKENS = 128
"""Tokens of a prefix block: a turn finds up to 128 tokens less of the prompt before it, 0.6 % of the 20,000 that
agents' prompts have. Blocks of 16, the engine's own, take eight times the memory."""


def _blocks(calls: AgentTrajectories, size: int) -> Iterator[list[int]]:
    """Ids of the full blocks of each prompt: those shared with the prompt before, then new ones."""
    fresh, before = 0, list[int]()
    shared = shared_prompt_tokens(calls)
    for first, tokens, common in zip(
        (calls.step == 0).tolist(), calls.input_tokens.tolist(), shared.tolist(), strict=True
    ):
        kept = [] if first else before[: int(common) // size]
        count = int(tokens) // size - len(kept)
        before = [*kept, *range(fresh, fresh + count)]
        fresh += count
        yield before


def _start_s(calls: AgentTrajectories) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """When each call began in its run, in s, as far as that is recorded."""
    took = np.where(np.isfinite(calls.to_next_s), calls.to_next_s, np.nan_to_num(calls.llm_s) + calls.waits.seconds)
    ends = np.cumsum(took)
    begun = ends - took
    return np.asarray(begun - begun[calls.starts[calls.run]])


def _read(path: Path, reading: TraceReadOptions, rng: np.random.Generator) -> TraceRows:
    if reading.rate_per_s is None:
        raise FactError(path.name, "arrival", "runs have no common clock", "rate_per_s of the workload, or --rate")
    calls = read_trajectories(path)
    tasks, mean = len(calls.runs), len(calls.run) / len(calls.runs)
    rate = reading.rate_per_s / mean
    arrivals = rng.permutation(np.cumsum(rng.exponential(1 / rate, tasks)))
    size = reading.columns.block_tokens or BLOCK_TOKENS
    waits = calls.waits
    start_up_s = calls.start_up_s[calls.run]
    before_s = np.where(calls.step == 0, start_up_s, np.roll(waits.seconds, 1))
    parent = np.where(calls.step == 0, NO_PARENT, np.arange(len(calls.run)) - 1)
    return TraceRows(
        calls.line,
        arrivals[calls.run] + start_up_s + _start_s(calls),
        calls.input_tokens,
        calls.output_tokens,
        blocks=prefix_blocks(list(_blocks(calls, size)), size),
        session=calls.run,
        notes=(
            f"{path.name} has no arrival times: {tasks} tasks of {mean:.3g} calls are a Poisson stream of {rate:.3g}/s",
            *_notes(calls),
        ),
        in_file_order=False,
        tasks=TraceTasks(parent, before_s, calls.score[calls.run], calls.cached_tokens),
    )


def _notes(calls: AgentTrajectories) -> Iterator[str]:
    waits = calls.waits
    if waits.told:
        yield (
            f"tools' seconds after {waits.told} of {len(calls.run)} calls are the time to the next call less "
            f"{waits.base_s:.3g} s and {1000 * waits.per_token_s:.3g} ms for each output token, an upper bound"
        )


READER = TraceReader("agent_calls", LOOKS_LIKE, are_trajectories, _read)
