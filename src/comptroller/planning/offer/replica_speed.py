"""How fast one replica answers, by a calibration that speaks of it."""

from __future__ import annotations

from dataclasses import dataclass

from comptroller.costs.closed_loop import replica_loop
from comptroller.costs.deployment import ModelReplica
from comptroller.costs.own_calibration import scope_remarks
from comptroller.costs.replica_timer import TimingCalibration


@dataclass(frozen=True, slots=True)
class RequestSpeed:
    """What requests see while so many are in flight on a replica."""

    requests: int
    ttft_s: float
    tpot_s: float
    output_tokens_per_s: float


def require_scope(calibration: TimingCalibration, replica: ModelReplica) -> None:
    """Checks that a calibration speaks of a replica.

    Raises:
        InputError: it was measured for something else; says for what.
    """
    scope_remarks(calibration, [("", replica)], f"{replica} under {replica.engine.id}")


def request_speeds(
    replica: ModelReplica, calibration: TimingCalibration, tokens: tuple[int, int], most: int
) -> tuple[RequestSpeed, ...]:
    """One request alone, and a closed loop of the most that fit; tokens: of a prompt and of an output."""
    counts = sorted({1, max(most, 1)})
    loop = replica_loop(replica, calibration, tokens, counts)
    rows = zip(counts, loop.ttft_s, loop.tpot_s, loop.output_tokens_per_s, strict=True)
    return tuple(RequestSpeed(count, float(first), float(token), float(rate)) for count, first, token, rate in rows)
