"""What measurements stand behind the prediction of one deployment, and what to measure to halve its interval."""

from __future__ import annotations

import numpy as np

from comptroller.costs.causes import effects
from comptroller.costs.deployment import ModelReplica
from comptroller.costs.own_calibration import OwnCalibration, calibration_of_folder, factor_spread
from comptroller.costs.power import energy_interval_j
from comptroller.costs.replica_timer import TimingCalibration
from comptroller.costs.residual import ResidualOverlap, covariance, places
from comptroller.facts.calibration import kernel_prior
from comptroller.facts.power import power_facts
from comptroller.facts.serving import Band, ResidualKernel, serving_facts
from comptroller.planning.offer.intervals import Z80, RelativeInterval, ReplicaIntervals
from comptroller.planning.offer.replica_speed import require_scope
from comptroller.report.kindred_configurations import TYPICAL_TOKENS, kinship
from comptroller.report.sheet import ReportSheet, left, right

LOADS = (16.0, 4.0, 64.0, 1.0, 256.0, 32.0, 8.0, 128.0)
"""Clients of the runs that are proposed, in this order: each in the widest gap that the ones before leave."""


def evidence_sheets(replica: ModelReplica, calibration: TimingCalibration | None = None) -> tuple[ReportSheet, ...]:
    """Measured runs by kinship, kernels and power, effects of causes, the intervals, and the runs that halve the first.

    calibration: a user's own, whose runs stand behind it first.

    Raises:
        InputError: the own calibration was measured for something else; says for what.
    """
    priced = calibration or calibration_of_folder(None)
    require_scope(priced, replica)
    behind = (left("runs", "measured runs"), right("rows"), left("dates"), right("octaves", "away, octaves"),
              left("sources"))  # fmt: skip
    own = [_own_runs(priced, replica)] if isinstance(priced, OwnCalibration) else []
    rows = [(kin.name, kin.rows, kin.dates or None, kin.octaves, kin.sources or None) for kin in kinship(replica)]
    table, causes = serving_facts().table, (left("effect"), left("engine"), right("value"), right("error", "log error"))
    known = [(*name, table[name]) for name in effects(replica) if name in table]
    values = tuple((name, engine, round(p.value, 3), round(p.error, 3)) for name, engine, p in known)
    return (
        ReportSheet(f"What stands behind {replica.engine.id}, {replica}", behind, (*own, *rows)),
        _kernels_and_power(replica),
        ReportSheet("Effects of its causes on the time of kernels, links, steps and the server", causes, values),
        _interval(replica, priced),
    )


def _own_runs(calibration: OwnCalibration, replica: ModelReplica) -> tuple[str, int, str, None, None]:
    return (
        "your own runs of this deployment",
        len(calibration.own_of(replica)),
        f"fitted {calibration.document.facts.date}",
        None,
        None,
    )


def _kernels_and_power(replica: ModelReplica) -> ReportSheet:
    """Where kernels and power are taken from: this device, its family, or all that were timed."""
    columns = left("what"), left("taken", "taken from"), right("rows"), right("error", "log error")
    recipe, engine = replica.recipe, replica.engine.launched_as
    asked = [("gemm", recipe.weights), ("moe", recipe.experts), ("attention_decode", recipe.kv), ("all_reduce", "bf16")]
    used = (True, replica.model.is_moe, True, replica.layout.stage_devices > 1)
    rows = list[tuple[str, str, int | None, float]]()
    for (kind, form), is_used in zip(asked, used, strict=True):
        if is_used:
            prior = kernel_prior(kind, replica.device, engine, form)
            rows.append(
                (f"kernels: {kind} {form}", f"{prior.source} ({prior.source_level})", prior.rows, round(prior.error, 3))
            )
    power = power_facts()
    family = power.families.get(replica.device.family)
    half = power.spread.half(power.spread.energy, family is not None) / Z80
    metered = f"{replica.device.family} (family)" if family else f"families metered; {replica.device.family} was not"
    rows.append(("energy of a token", metered, family.rows if family else power.shares.floor.rows, round(half, 3)))
    return ReportSheet("Kernels and power, and where they are taken from", columns, tuple(rows))


def _interval(replica: ModelReplica, calibration: TimingCalibration) -> ReportSheet:
    """The intervals now, and with one more run at a time until that of the time per token is half as wide."""
    known, facts = ReplicaIntervals.of(replica, calibration), serving_facts()
    columns = left("when", "80 % interval"), right("low"), right("high"), left("measured", "runs at clients")
    energy = energy_interval_j(np.ones(1), replica.device)
    now = (("time per token", known.tpot.low, known.tpot.high), ("first token", known.ttft.low, known.ttft.high),
           ("energy of a token", float(energy[0][0]), float(energy[1][0])))  # fmt: skip
    rows = [(f"{name}, now", round(low, 3), round(high, 3), None) for name, low, high in now]
    halved = _half_interval(replica, facts.tpot_kernel, facts.tpot.seen, known.tpot)
    title = (
        f"Its intervals, judged by {known.judged_by}"
        + (f" (the first token by {known.first_judged_by})" if known.first_judged_by != known.judged_by else "")
        + "; and the runs that halve the first (comptroller measure serving, or fit calibration). Joules have no own "
        "calibration: the books hold them against meters"
    )
    return ReportSheet(title, columns, (*rows, halved))


def _half_interval(
    replica: ModelReplica, kernel: ResidualKernel, seen: Band, now: RelativeInterval
) -> tuple[str, float, float, str]:
    """The interval after the fewest own runs that make it half as wide, or after all of `LOADS`."""
    wide = np.log(now.high / now.low)
    for count in range(1, len(LOADS) + 1):
        spread = _spread(replica, kernel, LOADS[:count])
        if spread * (seen[1] - seen[0]) <= wide / 2:
            break
    is_half = spread * (seen[1] - seen[0]) <= wide / 2
    low, high = (float(np.exp(edge * spread)) for edge in seen)
    after = f"time per token, after {count} own run{'s' * (count > 1)}{'' if is_half else ', not half'}"
    return after, round(low, 3), round(high, 3), ", ".join(f"{c:g}" for c in LOADS[:count])


def _spread(replica: ModelReplica, kernel: ResidualKernel, clients: tuple[float, ...]) -> float:
    """Log standard deviation over all `LOADS` after runs at some, as an own calibration of them has it."""
    tokens = np.array(TYPICAL_TOKENS)
    near, far = (places(replica, np.array(c), tokens[:1], tokens[1:]) for c in (clients, LOADS))
    inner = covariance(kernel, near, near, _all(len(near), len(near))) + kernel.noise**2 * np.eye(len(near))
    cross = covariance(kernel, far, near, _all(len(far), len(near)))
    known = (np.linalg.solve(inner, cross.T) * cross.T).sum(axis=0)
    full = kernel.kin**2 + kernel.key**2 + kernel.fine**2 + kernel.run**2 + kernel.run_fine**2
    return factor_spread(np.sqrt(np.maximum(full - known, 0.0) + kernel.noise**2), kernel)


def _all(rows: int, columns: int) -> ResidualOverlap:
    whole = np.ones((rows, columns))
    return ResidualOverlap(whole, whole, whole)
