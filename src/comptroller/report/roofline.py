"""The operations of a plan's services under the roof of their device: arithmetic intensity against the rate reached."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from comptroller.costs.replica_timer import part_arithmetic, replica_timer
from comptroller.costs.step import ReplicaStep
from comptroller.costs.timing import ReplicaTimer
from comptroller.planning.ground.plan_calibration import calibration_of_plan, replica_of_pool
from comptroller.planning.ground.plan_document import Plan
from comptroller.planning.ground.service_document import PoolDocument, ServiceDocument
from comptroller.report.chart import ChartAxis, ChartMark, LineSeries, MarkSeries, ReportChart
from comptroller.report.figures import number, seconds

MOST_SERVICES = 3
"""Services with a picture each, the dearest first; a plan of more is read in its tables."""

NAMES = {
    "gemm": "matrices",
    "moe": "experts",
    "attention_decode": "attention",
    "attention_prefill": "attention",
    "mla_decode": "attention",
    "mla_prefill": "attention",
    "linear_attention_decode": "linear attention",
    "linear_attention_prefill": "linear attention",
    "indexer": "indexer",
}
"""Operations with arithmetic, by what a reader calls them; the others move bytes alone."""


@dataclass(frozen=True, slots=True)
class RooflinePoint:
    """Operations of one kind in one phase: FLOP per byte of memory, FLOP/s of a device, and seconds of a step."""

    name: str
    phase: str
    flops_per_byte: float
    flops_per_s: float
    step_s: float


def points(timer: ReplicaTimer, step: ReplicaStep, phase: str) -> Iterator[RooflinePoint]:
    """Every kind of operation of a step that does arithmetic."""
    each_s, flops, moved = timer.seconds(step)
    count = timer.operations.count
    kinds: dict[str, list[int]] = {}
    for row, operation in enumerate(timer.operations.rows):
        if operation.kind in NAMES and flops[row, 0] > 0:
            kinds.setdefault(NAMES[operation.kind], []).append(row)
    for name, rows in kinds.items():
        done, read = (float((count[rows] * part[rows, 0]).sum()) for part in (flops, moved))
        taken_s = float(each_s[rows, 0].sum())
        yield RooflinePoint(name, phase, done / read, done / taken_s, taken_s)


def charts(plan: Plan) -> tuple[ReportChart, ...]:
    """A picture for each of the dearest services."""
    dearest = sorted(plan.services, key=lambda service: -service.usd_per_h)[:MOST_SERVICES]
    return tuple(_chart(plan, service) for service in dearest)


def _chart(plan: Plan, service: ServiceDocument) -> ReportChart:
    pool = service.deployment.pools[-1]
    replica = replica_of_pool(service.deployment, pool, plan.library)
    timer = replica_timer(replica, calibration_of_plan(plan))
    found = [*points(timer, _decode(service, pool), "decode"), *points(timer, _prefill(service), "prefill")]
    device = replica.device
    arithmetic = part_arithmetic(replica).get("experts", part_arithmetic(replica)["weights"])
    peak, width = device.peak(arithmetic), device.memory_bytes_per_s
    knee = peak / width
    low = min(knee, *(point.flops_per_byte for point in found)) / 3
    high = max(knee, *(point.flops_per_byte for point in found)) * 3
    roof = LineSeries(f"{arithmetic} peak and memory", [low, knee, high], [low * width, peak, peak], reference=True)
    marks = tuple(
        ChartMark(
            *(point.flops_per_byte, point.flops_per_s, point.flops_per_s, point.flops_per_s),
            f"{point.name}, {point.phase}",
            f"{point.flops_per_byte:.3g} FLOP/byte, {number(point.flops_per_s / 1e12)} TFLOP/s, "
            f"{point.flops_per_s / min(peak, point.flops_per_byte * width):.0%} of the roof, "
            f"{seconds(point.step_s)} of the step",
            point.phase == "prefill",
            point.name,
            point.phase == "decode",
        )
        for point in found
    )
    least = min(low * width, *(point.flops_per_s for point in found))
    return ReportChart(
        f"{device.id} under its roof",
        ChartAxis("FLOP per byte of memory", low=low, high=high, log=True, ticks=_powers(low, high)),
        ChartAxis(
            "TFLOP/s of a device", low=least / 2, high=peak * 2, log=True, ticks=_powers(least / 2, peak * 2, 1e12)
        ),
        (roof, MarkSeries(marks)),
    )


def _powers(low: float, high: float, unit: float = 1.0) -> tuple[tuple[float, str], ...]:
    """Ticks at powers of ten of a unit within a range."""
    ends = (np.ceil(np.log10(low / unit)), np.floor(np.log10(high / unit)))
    return tuple((10.0**power * unit, number(10.0**power)) for power in range(int(ends[0]), int(ends[1]) + 1))


def _decode(service: ServiceDocument, pool: PoolDocument) -> ReplicaStep:
    """The mean decode step: sequences in flight, each at the mean context of what decodes."""
    batch = max(service.batch, 1.0)
    rates = np.array([part.rate_per_s * part.share for part in service.slices])
    inputs, outputs = (
        np.array([getattr(part, name) for part in service.slices]) for name in ("input_tokens", "output_tokens")
    )
    context = float(np.average(inputs + outputs / 2, weights=rates * outputs))
    return ReplicaStep.decode(batch, batch * context)


def _prefill(service: ServiceDocument) -> ReplicaStep:
    """A prompt of the mean length, or as much of it as a step takes."""
    rates = [part.rate_per_s * part.share for part in service.slices]
    mean = float(np.average([part.input_tokens for part in service.slices], weights=rates))
    return ReplicaStep.prefill(min(mean, float(service.deployment.engine.chunk_tokens)))
