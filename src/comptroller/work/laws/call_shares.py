"""Shapley shares of the calls of an agent's run in the tokens of the run: what a call's words cost in calls after it.

A call reads the first prompt of its run and what every call before it has left there, its reply and what the tools gave
back. v(S) are the tokens of a run of the calls S alone: for each its first prompt and its reply, and what those of S
before it left. A call's share phi is its mean part over all orders in which calls are added (Shapley, 1953; of data in
Ghorbani and Zou, Data Shapley, ICML 2019). v is a sum over calls and over pairs of them, so no order need be drawn: a
pair's tokens belong to both by halves. What a call adds to the outcome no record says: nothing ran again without it.
"""

from __future__ import annotations

import numpy as np

from comptroller.work.evidence import Evidence, Floats
from comptroller.work.laws import EvidenceLaw, Known, LawFinding, LawQuery
from comptroller.work.laws._resampling import mean_band
from comptroller.work.trajectories import AgentTrajectories

FIFTHS = 5
"""Parts of a run that are told apart, by the order of its calls; in tenths the shortest runs would be halves."""


def run_reads(prompt: Floats) -> Floats:
    """(calls, 1 + calls): tokens of each prompt by who left them there: the first prompt, then each call.

    prompt: tokens of each prompt. What a longer one has beyond the one before was left by that call; of a shorter one
    all parts are cut alike.

    >>> run_reads(np.array([10.0, 14.0, 19.0])).tolist()
    [[10.0, 0.0, 0.0, 0.0], [10.0, 4.0, 0.0, 0.0], [10.0, 4.0, 5.0, 0.0]]
    """
    count = len(prompt)
    found = np.zeros((count, count + 1))
    found[0, 0] = prompt[0]
    for call in range(1, count):
        found[call] = found[call - 1] * min(prompt[call] / prompt[call - 1], 1.0)
        found[call, call] += max(prompt[call] - prompt[call - 1], 0.0)
    return found


def call_shares(prompt: Floats, output: Floats) -> Floats:
    """Shapley shares of calls in the tokens of their run, shape (calls,); they sum to its prompts and replies.

    prompt, output: tokens of each call, cached and reasoning ones included.

    >>> call_shares(np.array([10.0, 14.0, 19.0]), np.array([1.0, 1.0, 1.0])).tolist()
    [15.0, 15.5, 15.5]
    """
    reads = run_reads(prompt)
    pairs = reads[:, 1:]
    return np.asarray(reads[:, 0] + output + 0.5 * pairs.sum(axis=1) + 0.5 * pairs.sum(axis=0))


def _call_findings(evidence: Known, query: LawQuery) -> list[LawFinding]:
    calls = evidence.calls if isinstance(evidence, Evidence) else None
    if calls is None:
        return []
    findings = []
    for model in dict.fromkeys(run.model or run.source for run in calls.runs):
        chosen = np.array([(run.model or run.source) == model for run in calls.runs])
        findings += _findings_of(model, calls.take(chosen), query)
    return findings


def _findings_of(model: str, calls: AgentTrajectories, query: LawQuery) -> list[LawFinding]:
    by_part, own, later = [], [], []
    for first, end in zip(calls.starts[:-1].tolist(), calls.starts[1:].tolist(), strict=True):
        if end - first < FIFTHS:
            continue
        prompt, output = calls.input_tokens[first:end], calls.output_tokens[first:end]
        part = np.arange(end - first) * FIFTHS // (end - first)
        took = prompt + output
        by_part.append(np.bincount(part, call_shares(prompt, output), FIFTHS) / took.sum())
        own.append(np.bincount(part, took, FIFTHS) / took.sum())
        left = run_reads(prompt)[:, 1:]
        later.append(left.sum() / max(left.max(axis=0).sum(), 1.0))
    if len(by_part) < 2:
        return []
    shares, alone = np.array(by_part), np.array(own).mean(axis=0)
    note = f"{len(by_part):,} runs of {FIFTHS} calls or more"
    found = [
        LawFinding(
            "call_shares", model, f"share of tokens, calls {part / FIFTHS:.0%} to {(part + 1) / FIFTHS:.0%} of a run",
            float(shares[:, part].mean()), *mean_band(shares[:, part], query),
            f"{alone[part]:.1%} by the calls that send them; {note}",
        )
        for part in range(FIFTHS)
    ]  # fmt: skip
    times = np.array(later)
    ends = mean_band(times, query)
    quantity = "times that what a call leaves is read"
    return [*found, LawFinding("call_shares", model, quantity, float(times.mean()), *ends, note)]


LAW = EvidenceLaw(
    "call_shares",
    "Shapley shares of an agent's calls in the tokens of their run",
    _call_findings,
    "a table with a row per call of an agent, two runs or more of a model with five calls or more",
)
