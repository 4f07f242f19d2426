"""What replicas that come and go draw and emit: their steps, and waiting for as long as they were paid for."""

from __future__ import annotations

import numpy as np

from comptroller.serving.elastic import ElasticOutcome, Floats


def waiting_j(outcome: ElasticOutcome) -> Floats:
    """Joules of each replica while it was paid for and worked on no step; a started one waits until it is ready."""
    idle_w = np.array([replica.table.idle_w for _, replica in outcome.outcome.fleet.replicas()])
    return np.asarray(idle_w * np.maximum(outcome.paid_s - outcome.outcome.meters.busy_s, 0.0))


def replica_j(outcome: ElasticOutcome) -> Floats:
    """Joules of each replica, of its steps and of waiting."""
    return np.asarray(outcome.outcome.meters.step_j + waiting_j(outcome))


def emitted_gco2e(outcome: ElasticOutcome) -> float:
    """Grams that those joules emit."""
    per_j = np.array([replica.table.gco2e_per_j for _, replica in outcome.outcome.fleet.replicas()])
    return float((replica_j(outcome) * per_j).sum())
