"""Measured serving runs, whatever printed them, as replicas under a load with what was observed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from math import isfinite, isnan, nan

from comptroller.costs.deployment import ModelReplica

ABSURD_S = 3600.0
"""A latency per token or to the first token above an hour is a wrong unit or a broken run."""


@dataclass(frozen=True, slots=True)
class RunObservation:
    """One steady run: a replica, its closed loop of `concurrency` clients, and the latencies seen, in seconds.

    number: the row or file it came from.  group: runs of one group are the same measurement; never split them.
    version, measured: of the engine and of the run, where known.  ttft_s, tpot_s: NaN where not measured.
    prefill: a replica of the prefill pool where the two phases are apart, `concurrency` then being what one
    decode replica holds; pools: how many replicas prefill and decode.
    tokens_per_s: output tokens of the whole replica per second, of a run that states no time per token.
    weight: of the run in a fit, below 1 where one source has many runs.
    spread: log standard deviation that settings which its source does not state add to it.
    """

    number: int
    replica: ModelReplica
    input_tokens: float
    output_tokens: float
    concurrency: float
    ttft_s: float
    tpot_s: float
    source: str
    group: str
    version: str = ""
    measured: date | None = None
    prefill: ModelReplica | None = None
    pools: tuple[int, int] = (0, 0)
    tokens_per_s: float = nan
    weight: float = 1.0
    spread: float = 0.0

    @property
    def system(self) -> str:
        """Id of the accelerator."""
        return self.replica.device.id

    @property
    def key(self) -> tuple[str, str, str, str]:
        """Engine, model, formats, accelerator: what a learned residual belongs to."""
        replica = self.replica
        return replica.engine.id, replica.model.id, f"{replica.recipe}", replica.device.id


@dataclass(slots=True)
class ExclusionReport:
    """Rows that were left out: why, how many, and the first of each by number."""

    rows: list[tuple[int, str]] = field(default_factory=list)

    def add(self, number: int, problem: str) -> None:
        """Leave a row out."""
        self.rows.append((number, problem))

    @property
    def counts(self) -> Counter[str]:
        """How many by reason."""
        return Counter(problem for _, problem in self.rows)

    def lines(self) -> list[str]:
        """One line a reason, most frequent first, with the first row of each."""
        first: dict[str, int] = {}
        for number, problem in self.rows:
            first.setdefault(problem, number)
        return [f"{n} x {problem} (first: row {first[problem]})" for problem, n in self.counts.most_common()]


def latency_problem(name: str, seconds: float) -> str | None:
    """What is wrong with a measured latency, if anything; an absent one (NaN) is no error.

    >>> latency_problem("tpot", 0.0)
    'tpot is not above 0'
    """
    if isnan(seconds):
        return None
    if not isfinite(seconds) or seconds <= 0:
        return f"{name} is not above 0"
    if seconds > ABSURD_S:
        return f"{name} is above an hour"
    return None


def groups(links: Sequence[Sequence[str]]) -> list[str]:
    """Connected components of rows that share any link (a run, a configuration); one name a row.

    >>> groups([("run 1", "config a"), ("run 2", "config a"), ("run 3", "config b")])
    ['config a', 'config a', 'config b']
    """
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while parent.setdefault(name, name) != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    for names in links:
        for name in names[1:]:
            low, high = sorted((root(names[0]), root(name)))
            parent[high] = low
    return [root(names[0]) for names in links]
