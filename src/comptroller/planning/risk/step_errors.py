"""Which deployments err together: the error of each one's steps as parts that it shares with others.

    z_j = sqrt(a_F) Z_family + sqrt(a_E) Z_engine + sqrt(a_N) Z_formats + sqrt(1 - a_F - a_E - a_N) Z_j

z_j, a standard normal deviate, places the step time of deployment j in its 80 % interval
(`offer.intervals.RelativeInterval.of_deviates`); the Z are independent standard normal causes, one for each family of
accelerators, engine, and format of weights, and one of the replica's own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from comptroller.costs.causes import TIMED, strangeness
from comptroller.costs.deployment import ModelReplica
from comptroller.costs.own_calibration import OwnCalibration
from comptroller.costs.replica_timer import TimingCalibration
from comptroller.facts.serving import serving_facts
from comptroller.planning.ground.nouns import Floats
from comptroller.planning.offer.intervals import Z80, ReplicaIntervals, unmeasured_error

SHARES = {"family": 0.10, "engine": 0.05, "formats": 0.25}
"""Shares of the variance of the log error of a step time that deployments have in common with others of the same family
of accelerators (a_F), engine (a_E) and format of weights (a_N).

From the residuals of TPOT that the shipped calibration keeps of its measured servers (`residual.csv`; 1,305 points,
their medians over 31 configurations and 47 engine versions and dates: 70 values), by restricted maximum likelihood of a
model with one random effect for each level (Patterson and Thompson, Biometrika 58, 1971). It is greatest at 0, 0 and
0.15: kernels are timed by device and constants fitted by engine, which leaves little of either. Four devices and three
engines cannot tell 0 from a little, so a little is kept: twice the log likelihood falls by 4.0 at these shares, and
80 % of a chi-squared of three degrees of freedom lies below 4.64. Twice the family's and engine's shares leave that
region; so does no share of formats. What is left, 0.60, is the configuration's own and its run's."""


def shared_loadings(replicas: Sequence[ModelReplica], calibration: TimingCalibration) -> Floats:
    """(replicas, causes): how much of each cause there is in the deviate of each replica; squares of a row add up to 1.

    A family none of whose kernels were timed errs as a whole by what that adds to its intervals.
    """
    names: dict[tuple[str, str], int] = {}
    parts = [list(_parts(replica, calibration)) for replica in replicas]
    for cause, _ in (part for of_one in parts for part in of_one):
        names.setdefault(cause, len(names))
    loadings = np.zeros((len(replicas), len(names)))
    for row, of_one in enumerate(parts):
        for cause, share in of_one:
            loadings[row, names[cause]] = np.sqrt(share)
    return loadings


def _parts(replica: ModelReplica, calibration: TimingCalibration) -> Iterator[tuple[tuple[str, str], float]]:
    """The causes of a replica's error, each with its share of the variance."""
    device, engine = replica.device, replica.engine.launched_as
    borrowed = _borrowed_share(replica, calibration)
    formats = f"{replica.recipe.weights}+{replica.recipe.experts}"
    shares = {name: (1.0 - borrowed) * share for name, share in SHARES.items()}
    yield ("family", device.family), shares["family"] + borrowed
    yield ("engine", engine), shares["engine"]
    yield ("formats", formats), shares["formats"]
    yield ("own", f"{replica} {replica.engine.id}"), (1.0 - borrowed) * (1.0 - sum(SHARES.values()))


def _borrowed_share(replica: ModelReplica, calibration: TimingCalibration) -> float:
    """Share of the variance that comes of kernels of other families, engines or generations standing in for those of
    the replica: what its band is wider by than that of models left out."""
    if isinstance(calibration, OwnCalibration) and calibration.covers(replica):
        return 0.0
    interval = ReplicaIntervals.of(replica, calibration).tpot
    whole = float(np.log(interval.high / interval.low)) / (2.0 * Z80)
    if strangeness(replica) != TIMED:
        low, high = serving_facts().tpot.new
        return max(1.0 - ((high - low) / (2.0 * Z80) / whole) ** 2, 0.0)
    return min((unmeasured_error(replica.device, replica.engine.launched_as) / whole) ** 2, 1.0)
