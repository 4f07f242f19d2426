"""A plan beside a user's own calibration: which services it speaks of, and what it makes of their latencies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from comptroller.costs.closed_loop import ClosedLoop, replica_loop
from comptroller.costs.deployment import (
    AdapterSet,
    ClockSetting,
    EngineSettings,
    ModelReplica,
    ParallelLayout,
    PrecisionRecipe,
    SpeculativeDecoding,
)
from comptroller.costs.fitted_calibration import FittedCalibration
from comptroller.costs.own_calibration import MeasuredFactor, OwnCalibration, scope_remarks
from comptroller.costs.replica_timer import TimingCalibration
from comptroller.errors import InputError
from comptroller.facts.calibration_document import CalibrationDocument
from comptroller.facts.library import FactLibrary
from comptroller.planning.ground.plan_document import CALIBRATION, Plan
from comptroller.planning.ground.service_document import (
    DeploymentDocument,
    LatencyDocument,
    PoolDocument,
    PredictedFigure,
    ServiceDocument,
    SpeculationDocument,
)
from comptroller.quantities import short

DIGITS = 16
"""Hexadecimal digits of a digest in a sentence: 64 bits, no two calibrations share them; twice as many wrap a line."""


def replica_of_pool(deployment: DeploymentDocument, pool: PoolDocument, library: FactLibrary) -> ModelReplica:
    """One replica of a pool, with its ids looked up."""
    recipe, settings = deployment.recipe, deployment.engine
    own = EngineSettings.at_version(library.engine(settings.id), settings.version)
    engine = replace(
        own,
        max_batch=settings.max_batch,
        chunk_tokens=settings.chunk_tokens,
        memory_fraction=settings.memory_fraction,
        speculation=_speculation(settings.speculation, library),
        adapters=AdapterSet(**settings.adapters.model_dump()) if settings.adapters else None,
        eager=settings.eager,
        poll_steps=settings.poll_steps or own.poll_steps,
        stream_interval=settings.stream_interval or own.stream_interval,
        offload_bytes=(settings.offload_gib or 0.0) * 2**30,
    )
    return ModelReplica(
        library.model(deployment.model),
        library.accelerator(pool.accelerator),
        PrecisionRecipe(recipe.weights, recipe.experts, recipe.activations, recipe.kv),
        ParallelLayout(pool.tp, pool.pp, pool.dp, pool.ep),
        engine,
        library,
        _clock(pool),
    )


def _clock(pool: PoolDocument) -> ClockSetting | None:
    setting = ClockSetting(pool.clock_mhz and pool.clock_mhz * 1e6, pool.power_limit_w)
    return None if setting == ClockSetting() else setting


def _speculation(settings: SpeculationDocument | None, library: FactLibrary) -> SpeculativeDecoding | None:
    if settings is None:
        return None
    draft = library.model(settings.draft) if settings.draft else None
    return SpeculativeDecoding(settings.tokens, settings.acceptance, draft)


def calibration_of_plan(plan: Plan, given: TimingCalibration | None = None) -> TimingCalibration:
    """The calibration that prices a plan: a given one, else the own one that travels in it, else the shipped one.

    Raises:
        InputError: the given one speaks of no service of the plan.
    """
    if given is not None:
        plan_remarks(plan, given)
        return given
    content = next((entry.content for entry in plan.facts if entry.kind == CALIBRATION), None)
    return FittedCalibration.shipped() if content is None else OwnCalibration(CalibrationDocument.of_content(content))


def plan_remarks(plan: Plan, calibration: TimingCalibration) -> list[str]:
    """What to say of the services of a plan that a calibration does not speak of.

    Raises:
        InputError: it speaks of none of them; says what was measured.
    """
    asked = (
        (service.id, replica_of_pool(service.deployment, pool, plan.library))
        for service in plan.services
        for pool in service.deployment.pools
    )
    return scope_remarks(calibration, asked, f"the plan {plan.name!r}")


def other_calibration(plan: Plan, digest: str) -> str:
    """What to say where a plan was made under another calibration than now prices it; empty where it was not."""
    made = plan.digests.calibration
    if made == digest:
        return ""
    return f"the plan was made under calibration {made[:DIGITS]}, and is priced by {digest[:DIGITS]}"


def under_own_calibration(plan: Plan, calibration: OwnCalibration, shipped: str) -> Plan:
    """A plan that was made under the shipped calibration, its latencies as an own one predicts them.

    shipped: digest of the shipped calibration.  Each prediction is scaled by what the own calibration gives for the
    service's load over what the shipped one gives, of the service where it is largest. A plan made under the own
    calibration is returned as it is. Dollars and joules stay.

    Raises:
        InputError: it speaks of none of the plan's services, or the plan was made under a third calibration.
    """
    plan_remarks(plan, calibration)
    if plan.digests.calibration == calibration.document.digest:
        return plan
    if plan.digests.calibration != shipped:
        raise InputError(f"{other_calibration(plan, calibration.document.digest)}; plan again with --calibration")
    ratios = [ServiceRatio.of(service, calibration, plan.library) for service in plan.services]
    latency = tuple(_scale(entry, ratios) for entry in plan.latency)
    return plan.model_copy(update={"latency": latency})


@dataclass(frozen=True, slots=True)
class ServiceRatio:
    """Own over shipped prediction of a service's latencies, with the own one's bands; `None` outside its scope."""

    tpot: float
    ttft: float
    bands: tuple[MeasuredFactor, MeasuredFactor] | None

    @classmethod
    def of(cls, service: ServiceDocument, calibration: OwnCalibration, library: FactLibrary) -> ServiceRatio:
        """At the service's load, a closed loop of what it holds at once; of its decode pool where phases are apart."""
        replica = replica_of_pool(service.deployment, service.deployment.pools[-1], library)
        own, shipped = (_loop(service, replica, one) for one in (calibration, FittedCalibration.shipped()))
        bands = (calibration.tpot(replica), calibration.ttft(replica)) if calibration.covers(replica) else None
        return cls(float(own.tpot_s[0] / shipped.tpot_s[0]), float(own.ttft_s[0] / shipped.ttft_s[0]), bands)


def _loop(service: ServiceDocument, replica: ModelReplica, calibration: TimingCalibration) -> ClosedLoop:
    rates = np.array([item.rate_per_s for item in service.slices])
    tokens = (np.array([getattr(item, name) for item in service.slices]) for name in ("input_tokens", "output_tokens"))
    inputs, outputs = (np.average(values, weights=rates) for values in tokens)
    return replica_loop(replica, calibration, (inputs, outputs), [max(service.batch, 1.0)])


def _scale(entry: LatencyDocument, ratios: Sequence[ServiceRatio]) -> LatencyDocument:
    """End to end is mostly decoding."""
    which = "ttft" if entry.quantity == "ttft_s" else "tpot"
    most = max(ratios, key=lambda ratio: float(getattr(ratio, which)))
    factor, figure = float(getattr(most, which)), entry.predicted_s
    value = figure.value * factor
    if most.bands is None or figure.low is None or figure.high is None:
        low, high = (None if end is None else short(end * factor) for end in (figure.low, figure.high))
    else:
        low, high = (short(value * float(np.exp(edge))) for edge in most.bands[which == "ttft"].band)
    return entry.model_copy(update={"predicted_s": PredictedFigure(value=short(value), low=low, high=high)})
