"""Weights and ratings of recorded samples, in arrays."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from comptroller.strategies.sample_pools import BLANK, NAMED, SamplePool
from comptroller.work.evidence import Evidence

Floats = npt.NDArray[np.float64]


def weights_of(pool: SamplePool, name: str, evidence: Evidence) -> Floats | None:
    """(questions, samples): what `votes.WEIGHTS` of this name weighs each sample; None where a candidate has none."""
    if name == "plain":
        return np.ones(pool.row.shape)
    if name == "score":
        return known_for_candidates(pool, evidence.rows.judgement[pool.row])
    mean = likelihoods(pool, evidence)
    return None if mean is None else known_for_candidates(pool, np.exp(mean))


def likelihoods(pool: SamplePool, evidence: Evidence) -> Floats | None:
    """(questions, samples): mean log-probability of the tokens of each sample in nats, NaN where not recorded; None
    where it is of no reply."""
    logs = evidence.logprobs
    if logs is None:
        return None
    told = (logs[row] for row in pool.row.ravel().tolist())
    mean = [np.nan if nats is None or not len(nats) else float(np.mean(nats, dtype=float)) for nats in told]
    return np.array(mean, float).reshape(pool.row.shape)


def known_for_candidates(pool: SamplePool, values: Floats) -> Floats | None:
    """The values with 0 for samples that no choice may take; None where one that may be taken has none."""
    may = (pool.state == NAMED) | ((pool.state == BLANK) & ~(pool.state == NAMED).all(axis=1, keepdims=True))
    return None if np.isnan(values[may]).any() else np.where(may, values, 0.0)
