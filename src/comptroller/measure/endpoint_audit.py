"""An audit: the number of prompts fixed first, two passes of a reference beside one of an endpoint, and what they tell.

Every signal is one triangle test. The chances of a false alarm are shared among the signals that are looked at
(Bonferroni), so that the audit as a whole raises one as rarely as asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np

from comptroller.errors import InputError, UnsupportedError
from comptroller.measure.audit_probe import (
    ProbePass,
    ProbePlan,
    ProbeReply,
    logprob_distance,
    set_distance,
    text_distance,
)
from comptroller.measure.triangle_test import TriangleDesign, TriangleResult, design, odd_ones, triangle_test


@dataclass(frozen=True, slots=True)
class SignalEffect:
    """What one step of format does to a signal: share of prompts that have an odd one, and of those the share at which
    it is the endpoint."""

    telling: float
    odd: float


EFFECTS = {
    "log-probabilities": SignalEffect(1.0, 0.95),
    "greedy texts": SignalEffect(1.0, 0.95),
    "samples": SignalEffect(1.0, 0.42),
}
"""Of Q4_0 against Q8_0 of the embedded model, 135 million parameters (`benchmarks/audit.py`): every prompt was odd in
log-probabilities and in greedy texts, told here as 0.95; of sets of four samples 0.42 were. A larger model, or formats
that lie closer, differ less: `--odd` states another chance, and more prompts follow."""

SIGNALS = tuple(EFFECTS)

LEAST_PROMPTS = 8
"""Prompts of an audit at least: 4 would do where every one tells, and twice that many say how the endpoint's times
and its reference's own spread lie."""


@dataclass(frozen=True, slots=True)
class AuditDesign:
    """What is asked and what decides, before anything is sent. tests: by signal.  plan: of one pass."""

    tests: dict[str, TriangleDesign]
    plan: ProbePlan
    false_alarm: float
    power: float

    def calls(self, recorded: bool) -> int:
        """Calls to both endpoints, with the second pass and the one side by side; a recorded reference is not asked."""
        return self.plan.calls + self.plan.prompts + (0 if recorded else 2 * self.plan.calls)


@dataclass(frozen=True, slots=True)
class AuditRequest:
    """What an audit should be able to tell. odd: chance of being the odd one, 0 for what was measured.  prompts: 0 for
    as many as the power needs.  samples: of each prompt, 0 for none."""

    false_alarm: float = 0.05
    power: float = 0.95
    odd: float = 0.0
    prompts: int = 0
    samples: int = 0
    max_tokens: int = 16


def audit_design(asked: AuditRequest) -> AuditDesign:
    """The prompts that the signals need at the power asked for; the most of them, for all are looked at together.

    Raises:
        InputError: a chance is impossible, or no number of prompts is enough.

    >>> found = audit_design(AuditRequest())
    >>> found.plan.prompts, found.tests["log-probabilities"].critical
    (8, 5)
    """
    names = [name for name in SIGNALS if name != "samples" or asked.samples]
    shared = asked.false_alarm / len(names)
    tests = {name: design(asked.odd or EFFECTS[name].odd, shared, asked.power) for name in names}
    wanted = [ceil(test.prompts / EFFECTS[name].telling) for name, test in tests.items()]
    prompts = asked.prompts or max(LEAST_PROMPTS, min(wanted) if asked.samples else max(wanted))
    plan = ProbePlan(prompts, asked.samples, asked.max_tokens)
    return AuditDesign(tests, plan, asked.false_alarm, asked.power)


@dataclass(frozen=True, slots=True)
class SignalFinding:
    """A signal: its test, whether it rejects, and mean distances of the endpoint from the reference, and of the
    reference's two passes from each other."""

    name: str
    result: TriangleResult
    rejects: bool
    apart: float
    own: float


@dataclass(frozen=True, slots=True)
class StreamFingerprint:
    """How an endpoint streams. tokens_per_event: above 1 where several tokens come at once, as with speculation.
    ttft_s, tpot_s: medians."""

    tokens_per_event: float
    ttft_s: float
    tpot_s: float


@dataclass(frozen=True, slots=True)
class AuditOutcome:
    """What came of an audit. missing: signals that could not be looked at, and why.  batch_texts: share of greedy
    answers that differ where others are computed beside them; batch_nats: mean difference of log-probabilities."""

    findings: tuple[SignalFinding, ...]
    missing: dict[str, str]
    endpoint: StreamFingerprint
    reference: StreamFingerprint
    batch_texts: float
    batch_nats: float

    @property
    def rejects(self) -> bool:
        """Whether the endpoint is something else than the reference."""
        return any(finding.rejects for finding in self.findings)


def compare(asked: AuditDesign, reference: Sequence[ProbePass], endpoint: ProbePass, beside: ProbePass) -> AuditOutcome:
    """The tests on two passes of the reference and one of the endpoint; beside: the endpoint's greedy answers to the
    same prompts, many at once.

    Raises:
        UnsupportedError: no signal can be looked at.
    """
    first, second = reference
    findings, missing = [], {}
    least = asked.false_alarm / len(asked.tests)
    for name in asked.tests:
        triples = _distances(name, first, second, endpoint)
        known = np.isfinite(triples).all(axis=0)
        if not known.any():
            missing[name] = "the endpoint or the reference tells no log-probabilities"
            continue
        result = triangle_test(odd_ones(*triples[:, known]))
        findings.append(
            SignalFinding(
                name, result, result.p_value <= least, float(triples[:2, known].mean()), float(triples[2, known].mean())
            )
        )
    if not findings:
        raise UnsupportedError("audit: nothing to compare: " + "; ".join(missing.values()))
    pairs = list(zip(endpoint.greedy, beside.greedy, strict=True))
    return AuditOutcome(
        tuple(findings),
        missing,
        fingerprint(endpoint.greedy),
        fingerprint(first.greedy),
        float(np.mean([one.text != other.text for one, other in pairs])),
        float(np.mean([logprob_distance(one, other) for one, other in pairs])),
    )


def _distances(
    name: str, first: ProbePass, second: ProbePass, endpoint: ProbePass
) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Distances of the endpoint from both passes and of these from each other, (3, prompts)."""
    if name == "samples":
        sets = (endpoint.samples, first.samples), (endpoint.samples, second.samples), (first.samples, second.samples)
        return np.array([[set_distance(a, b) for a, b in zip(*pair, strict=True)] for pair in sets])
    of: Callable[[ProbeReply, ProbeReply], float] = (
        logprob_distance if name == "log-probabilities" else lambda a, b: text_distance(a.text, b.text)
    )
    greedy = (endpoint.greedy, first.greedy), (endpoint.greedy, second.greedy), (first.greedy, second.greedy)
    return np.array([[of(a, b) for a, b in zip(*pair, strict=True)] for pair in greedy])


def fingerprint(replies: Sequence[ProbeReply]) -> StreamFingerprint:
    """How answers were streamed: tokens an event over all of them, medians of their times."""
    later = [reply.going_s / (reply.output_tokens - 1) for reply in replies if reply.output_tokens > 1]
    return StreamFingerprint(
        sum(reply.output_tokens for reply in replies) / sum(reply.events for reply in replies),
        float(np.median([reply.ttft_s for reply in replies])),
        float(np.median(later)) if later else float("nan"),
    )


SPECULATES = 1.2
"""Tokens an event from which on a stream is said to bring several at once. Engines send what a step made; words that
need two tokens for a character, and the end of a stream, stay below. At twice the excess (1.4) drafts of one token that
are kept a third of the time would pass."""


def claim_faults(claims: dict[str, str], outcome: AuditOutcome, served: str, reference: dict[str, str]) -> list[str]:
    """Which claims are not borne out, in sentences; none where all are.

    claims: what the endpoint is said to be.  served: the model that its answers name.  reference: what it is held
    against.
    """
    faults = []
    told = ", ".join(f"{name}={value}" for name, value in reference.items()) or "the reference"
    if outcome.rejects:
        faults.append(f"answers differ from those of {told} by more than its own do")
    if "model" in claims and served and claims["model"].lower() not in served.lower():
        faults.append(f"answers name the model {served!r}, claimed is {claims['model']!r}")
    several = outcome.endpoint.tokens_per_event >= SPECULATES
    if claims.get("speculation") == "none" and several:
        faults.append(f"{outcome.endpoint.tokens_per_event:.2f} tokens come at once, claimed is no speculation")
    return faults


CLAIMS = ("model", "format", "speculation")


def claims_of(text: str) -> dict[str, str]:
    """What an endpoint is said to be, from a text like `model=small,format=q8_0`.

    Raises:
        InputError: a part has no `=`, or names nothing that an audit looks at; all faults at once.

    >>> claims_of("model=small,format=q8_0")
    {'model': 'small', 'format': 'q8_0'}
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    faults = [f"{part!r} is not NAME=VALUE" for part in parts if "=" not in part]
    found = dict(part.split("=", 1) for part in parts if "=" in part)
    faults += [f"{name!r} is nothing that an audit looks at" for name in found if name not in CLAIMS]
    if found.get("speculation", "none") != "none":
        faults.append("speculation: only `none` can be held against a stream")
    if faults:
        raise InputError(f"--claims: {'; '.join(faults)} (allowed: {', '.join(CLAIMS)})")
    return found
