"""Several recorded models as one: every reply of a pool is one of some member's, in no order."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from comptroller.errors import InputError
from comptroller.work.evidence import SOLVER, STEP, Evidence, RecordedModel

POOL = "pool"
"""How the model that several are taken for is called."""


def pool_of(evidence: Evidence, members: Iterable[RecordedModel]) -> Evidence:
    """The evidence with all replies of the members as those of one more model, `POOL`, dealt in any order.

    A reply of the pool is that of a member drawn by chance, so that none is greedy. Of what goes on from the same step
    a refused one comes last: it says that no more are recorded.

    members: models that solve; the others keep their replies.

    Raises:
        InputError: fewer than two of them have replies or steps.

    >>> from comptroller.work.evidence_readers import read_evidence
    >>> own = read_evidence("own")
    >>> [str(arm) for arm in pool_of(own, own.arms).arms][-1]
    'pool'
    """
    rows = evidence.rows
    found = sorted({evidence.arm(arm) for arm in members} & set(solvers(evidence)))
    if len(found) < 2:
        told = ", ".join(str(evidence.arms[arm]) for arm in found) or "none"
        raise InputError(f"a pool needs two or more models with replies or steps; {evidence.source} has {told}")
    inside = np.isin(rows.arm, found)
    arm = np.where(inside, len(evidence.arms), rows.arm)
    temperature = np.where(inside & (rows.temperature == 0.0), np.nan, rows.temperature)
    refused = inside & (rows.finish == "refused")
    place = np.arange(len(rows))
    order = np.lexsort((place, refused, rows.parent, rows.role, arm, rows.question))
    sample = np.where(inside, np.argsort(order), rows.sample)
    new = replace(rows, arm=arm, temperature=temperature, sample=sample).take(order)
    parent = np.where(new.parent >= 0, np.argsort(order)[new.parent], -1)
    logprobs = evidence.logprobs and tuple(evidence.logprobs[row] for row in order)
    arms = (*evidence.arms, RecordedModel(POOL))
    return replace(evidence, arms=arms, rows=replace(new, parent=parent), logprobs=logprobs, exchangeable=True)


def solvers(evidence: Evidence) -> list[int]:
    """Indices of the models that have replies of their own or steps, as reward models have none."""
    rows = evidence.rows
    return [int(arm) for arm in np.unique(rows.arm[np.isin(rows.role, (SOLVER, STEP))])]
