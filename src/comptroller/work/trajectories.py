"""Trajectories of agents: runs of dependent model calls with waits for tools between them, call by call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import compress

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
CallWords = tuple[tuple[str, ...], ...]
"""Words of each call."""


@dataclass(frozen=True, slots=True)
class AgentRun:
    """One run of an agent on an instance (an issue, a question).

    source: what recorded it.  group: what it shares with its likes, the repository of an issue.  score: 1 for solved, 0
    for not, NaN where nobody judged it.  start_up_s: seconds before its first call, in which its container and the
    agent start, NaN where unknown.
    """

    instance: str
    model: str
    source: str
    group: str
    score: float
    start_up_s: float = float("nan")


@dataclass(frozen=True, eq=False)
class AgentTrajectories:
    """Calls of runs, in the order of runs and of their steps; columns of shape (calls,), NaN where unknown.

    run: place in `runs`.  input_tokens: of the whole prompt, cached ones included.  output_tokens: reasoning included.
    llm_s, tool_s: seconds of the call, and of the tools after it.  to_next_s: of both together, to the next call.
    observation: characters that the tools gave back.  file: name of the file.  tools, notes: by call the names of the
    tools that it asked for, and what their rounds say of themselves (`work.tool_notes`); empty where no table says.
    """

    runs: tuple[AgentRun, ...]
    run: Ints
    line: Ints
    input_tokens: Floats
    cached_tokens: Floats
    output_tokens: Floats
    reasoning_tokens: Floats
    usd: Floats
    llm_s: Floats
    tool_s: Floats
    to_next_s: Floats
    observation: Floats
    file: str
    tools: CallWords = ()
    notes: CallWords = ()

    @cached_property
    def starts(self) -> Ints:
        """Place of each run's first call, and the number of calls: shape (runs + 1,)."""
        return np.searchsorted(self.run, np.arange(len(self.runs) + 1))

    @cached_property
    def step(self) -> Ints:
        """Number of each call in its run, from 0."""
        return np.arange(len(self.run)) - self.starts[self.run]

    @cached_property
    def last(self) -> npt.NDArray[np.bool_]:
        """Which calls are the last of their run."""
        ends = np.zeros(len(self.run), bool)
        ends[self.starts[1:] - 1] = True
        return ends

    @cached_property
    def waits(self) -> ToolWaits:
        """The wait for tools after each call: as recorded, or told from the time to the next call."""
        return tool_waits(self)

    @property
    def score(self) -> Floats:
        """Score of each run."""
        return np.array([run.score for run in self.runs], np.float64)

    @property
    def start_up_s(self) -> Floats:
        """Seconds of each run before its first call; 0 where unknown."""
        return np.nan_to_num(np.array([run.start_up_s for run in self.runs], np.float64))

    def total(self, column: Floats) -> Floats:
        """Sum of a column over the calls of each run; NaN where one is unknown."""
        return np.add.reduceat(column, self.starts[:-1])

    def take(self, chosen: npt.NDArray[np.bool_]) -> AgentTrajectories:
        """The runs where a mask is true."""
        rows, places = chosen[self.run], np.cumsum(chosen) - 1
        columns = {
            name: getattr(self, name)[rows]
            for name in ("line", *COUNTED)
        }  # fmt: skip
        kept = tuple(run for run, keep in zip(self.runs, chosen.tolist(), strict=True) if keep)
        tools, notes = (tuple(compress(words, rows.tolist())) for words in (self.tools, self.notes))
        return AgentTrajectories(kept, places[self.run[rows]], file=self.file, tools=tools, notes=notes, **columns)


COUNTED = (
    "input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens",
    "usd", "llm_s", "tool_s", "to_next_s", "observation",
)  # fmt: skip
"""Columns of numbers."""


@dataclass(frozen=True, slots=True)
class ToolWaits:
    """Seconds of tools after each call, 0 after the last.  told: of how many calls they were told from the time to the
    next call, for nothing split it.  base_s, per_token_s: what a call itself takes in those, by its output."""

    seconds: Floats
    told: int = 0
    base_s: float = 0.0
    per_token_s: float = 0.0


def tool_waits(calls: AgentTrajectories) -> ToolWaits:
    """The wait for tools after each call.

    Where only the time to the next call is recorded, the model's part of it is a resistant line over output tokens;
    what a call takes beyond it is the tools'. Half of all calls lie above such a line by noise alone, so that the wait
    is an upper bound where tools are quick.
    """
    split = np.isfinite(calls.tool_s)
    told = ~split & np.isfinite(calls.to_next_s) & ~calls.last
    seconds = np.where(split, calls.tool_s, 0.0)
    base_s = per_token_s = 0.0
    if told.sum() >= FEWEST_OF_A_LINE:
        base_s, per_token_s = resistant_line(calls.output_tokens[told], calls.to_next_s[told])
        model_s = base_s + per_token_s * calls.output_tokens[told]
        seconds[told] = np.maximum(calls.to_next_s[told] - model_s, 0.0)
    seconds[calls.last] = 0.0
    return ToolWaits(np.maximum(seconds, 0.0), int(told.sum()), base_s, per_token_s)


FEWEST_OF_A_LINE = 9
"""Calls that a line is drawn through: three in each third, whose median is not an extreme one."""


def resistant_line(x: Floats, y: Floats) -> tuple[float, float]:
    """Intercept and slope of the line through the medians of the outer thirds of points (Tukey, Exploratory Data
    Analysis, 1977), at the median of what it leaves: a third of all points may lie anywhere.

    >>> resistant_line(np.arange(9.0), np.array([1, 3, 5, 7, 9, 11, 13, 15, 900.0]))
    (1.0, 2.0)
    """
    order = np.argsort(x, kind="stable")
    low, high = order[: len(order) // 3], order[-(len(order) // 3) :]
    run = float(np.median(x[high]) - np.median(x[low]))
    slope = float(np.median(y[high]) - np.median(y[low])) / run if run > 0 else 0.0
    slope = max(slope, 0.0)
    return float(np.median(y - slope * x)), slope


def shared_prompt_tokens(calls: AgentTrajectories) -> Floats:
    """Tokens of each prompt that stood in the prompt before it; 0 for a first call.

    A prompt at least as long as the one before goes on from it, with the reply if it is long enough; a shorter one was
    cut by the agent, and shares what its cache was seen to know, or nothing where that is not recorded.
    """
    prompt, reply = calls.input_tokens, calls.output_tokens - np.nan_to_num(calls.reasoning_tokens)
    before, said = np.roll(prompt, 1), np.roll(reply, 1)
    grown = np.where(prompt >= before + said, before + said, before)
    shared = np.where(prompt >= before, grown, np.minimum(np.nan_to_num(calls.cached_tokens), prompt))
    return np.where(calls.step == 0, 0.0, shared)


def groups_of(runs: Sequence[AgentRun]) -> Ints:
    """The number of each run's group, in the order of names."""
    names = sorted({run.group for run in runs})
    return np.array([names.index(run.group) for run in runs], np.int64)
