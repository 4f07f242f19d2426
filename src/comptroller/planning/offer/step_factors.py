"""Steps that take longer or shorter than predicted: as a calibration, and as a table of what was evaluated already.

A step is a sum of terms that all scale alike, so that with steps x times as long a replica carries 1/x of its rates, a
decode step and what a prompt adds take x times, and a latency t becomes c + x (t - c), c what passes around the engine
whatever its steps take (`costs.serving_time.outside_s`: t_host + t_client N; 0 for TPOT). What fits into memory does
not depend on it. Watts stay those of the steps as predicted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np

from comptroller.costs.deployment import ModelReplica
from comptroller.costs.replica_timer import TimingCalibration
from comptroller.costs.step_factor import StepFactorCalibration
from comptroller.planning.ground.nouns import Deployment, Floats
from comptroller.planning.offer.choices import ChoiceSpace
from comptroller.planning.offer.evaluation import DeploymentTable
from comptroller.planning.offer.intervals import ReplicaIntervals, is_timed
from comptroller.planning.offer.market import DeploymentOffers
from comptroller.work.workload import Workload


@dataclass(frozen=True)
class UntimedUpperEnd:
    """The upper end of the 80 % interval of steps where nobody timed a deployment, 1 where somebody did."""

    calibration: TimingCalibration

    def __call__(self, replica: ModelReplica) -> float:
        """The factor of a replica."""
        if is_timed(replica, self.calibration):
            return 1.0
        return ReplicaIntervals.of(replica, self.calibration).tpot.high


def planned_steps(workload: Workload, calibration: TimingCalibration) -> TimingCalibration:
    """What the steps of a plan take: as predicted, and of deployments that nobody timed the upper end of the interval,
    unless the workload trusts the prediction."""
    if workload.trust_predicted_speed:
        return calibration
    return StepFactorCalibration(calibration, UntimedUpperEnd(calibration))


def planned_factor(replica: ModelReplica, steps: TimingCalibration) -> float:
    """How many times as long as predicted a plan takes the steps of a replica. steps: as `planned_steps` gives them."""
    return steps.factor(replica) if isinstance(steps, StepFactorCalibration) else 1.0


def table_at(table: DeploymentTable, factor: Floats) -> DeploymentTable:
    """The table where the steps of each deployment take so many times as long. factor: (candidates,)."""
    column = factor[:, None]
    latency = {}
    for (quantity, quantile), values in table.latency_s.items():
        around = np.zeros(values.shape) if quantity == "tpot_s" else _around_s(table)
        latency[quantity, quantile] = np.where(np.isfinite(values), around + column * (values - around), values)
    return replace(
        table,
        rate_per_s=table.rate_per_s / column[:, :, None],
        decode_s=table.decode_s * column,
        marginal_s=table.marginal_s * column[:, :, None],
        latency_s=latency,
    )


def _around_s(table: DeploymentTable) -> Floats:
    """(candidates, caps): what of a time to the first token passes whatever the steps take."""
    found = np.zeros(table.cap.shape)
    for row, (timer, usual) in enumerate(zip(table.ready, table.usual, strict=True)):
        serving = timer.serving
        found[row, : len(usual.batch)] = serving.host_s + serving.client_s * usual.batch
    return found


def space_at(space: ChoiceSpace, factor: Callable[[Deployment], float]) -> ChoiceSpace:
    """The space where the steps of every deployment take so many times as long."""
    offers = {
        model: DeploymentOffers(table_at(of_model.table, factors_of(of_model.deployments, factor)))
        for model, of_model in space.offers.items()
    }
    return space.offering(offers)


def factors_of(deployments: Iterable[Deployment], factor: Callable[[Deployment], float]) -> Floats:
    """(deployments,): the factor of each."""
    return np.array([factor(deployment) for deployment in deployments], float)
