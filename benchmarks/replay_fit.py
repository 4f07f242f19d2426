"""Named overheads of a server, fitted to the first requests of a recorded run by replaying all its arrivals."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.optimize import least_squares

from comptroller.costs.deployment import ModelReplica
from comptroller.costs.fitted_calibration import KernelPriors, group_of
from comptroller.costs.replica_timer import TimingCalibration
from comptroller.costs.timing import KernelEfficiency, KernelSignature, ServingOverheads, StepOverheads
from comptroller.measure.log_replay import step_table
from comptroller.serving.engine import simulate
from comptroller.serving.fleet import SimulatedFleet, SimulatedService
from comptroller.serving.fleet import SimulatedReplica as Simulated
from comptroller.work.call import CallTable
from vllm_runs import Run

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Parameter:
    """A positive constant: its centre before the fit and its log standard deviation."""

    name: str
    unit: str
    centre: float
    spread: float


PARAMETERS = (
    Parameter("matrix time, memory-bound", "x kernel prior", 1.0, 0.1),
    Parameter("matrix time, compute-bound", "x kernel prior", 1.0, 0.1),
    Parameter("decode attention time", "x kernel prior", 1.0, 0.1),
    Parameter("prefill attention time", "x kernel prior", 1.0, 0.1),
    Parameter("host time of a step", "s", 1e-3, 0.5),
    Parameter("host time per sequence of a step", "s", 1e-5, 0.5),
    Parameter("more of a step that holds a prompt", "s", 3e-3, 1.0),
    Parameter("from arrival to the engine", "s", 2e-2, 0.7),
)
"""Kernel times stand at the per-operation tables; host times at orders of magnitude: a step's scheduling and
sampling near a millisecond, microseconds a sequence, a step outside the decode graph launches some hundred kernels
one by one, a request passes the HTTP server and the tokeniser. The spread says how little that claims."""

TPOT_ERROR, E2E_ERROR, TTFT_ERROR_S = 0.01, 0.01, 0.03
"""What one request is off by beside the model: 1 % of the long times, about one step of the first token."""


@dataclass(frozen=True)
class Overhead:
    """The parameters as a calibration: the first six of `PARAMETERS`, by position."""

    values: tuple[float, ...]

    def efficiency(self, replica: ModelReplica, kernel: KernelSignature) -> KernelEfficiency:
        """The kernel prior, scaled."""
        prior = KernelPriors().efficiency(replica, kernel)
        memory_bound, compute_bound, decode, prefill = self.values[:4]
        group = group_of(kernel)
        if group.startswith(("gemm", "experts")):
            return replace(prior, flops=prior.flops / compute_bound, bytes=prior.bytes / memory_bound)
        scale = {"attention_decode": decode, "attention_prefill": prefill}.get(group, 1.0)
        return replace(
            prior,
            flops=prior.flops / scale,
            bytes=prior.bytes / scale,
            floor_s=prior.floor_s * scale,
            item_s=prior.item_s * scale,
            depth_s=prior.depth_s * scale,
            passes=prior.passes * scale,
        )

    def overheads(self, replica: ModelReplica) -> StepOverheads:
        """Per step and per sequence."""
        return StepOverheads(0.0, self.values[4], self.values[5])

    def serving(self, replica: ModelReplica) -> ServingOverheads:
        """Steps alone."""
        return ServingOverheads()


@dataclass(frozen=True)
class Latencies:
    """What a replay gives: seconds from arrival, by request."""

    ttft_s: Floats
    tpot_s: Floats
    e2e_s: Floats


def replay(run: Run, calibration: TimingCalibration, prompt_step_s: float = 0.0, intake_s: float = 0.0) -> Latencies:
    """The run's requests at their recorded arrivals.

    prompt_step_s: added to every step that holds a prompt.  intake_s: from arrival until the engine knows of it.
    """
    table = step_table(run.replica, calibration)
    table = replace(table, mixed_s=table.mixed_s + prompt_step_s)
    fleet = SimulatedFleet((SimulatedService("run", (Simulated(table, ranks=run.ranks),)),))
    calls = CallTable.of(
        arrival_s=run.arrival_s + intake_s, input_tokens=run.input_tokens, output_tokens=run.output_tokens
    )
    outcome = simulate(fleet, calls)
    return Latencies(outcome.ttft_s + intake_s, outcome.tpot_s, outcome.e2e_s + intake_s)


@dataclass(frozen=True)
class Fitted:
    """Values of the parameters in their order, with log standard deviations after the fit."""

    values: tuple[float, ...]
    spreads: tuple[float, ...]

    def replay(self, run: Run) -> Latencies:
        """The whole run under the fitted parameters."""
        return replay(run, Overhead(self.values[:6]), self.values[6], self.values[7])


def fit(run: Run, first: int, parameters: tuple[Parameter, ...] = PARAMETERS) -> Fitted:
    """Robust maximum a posteriori fit to the latencies of the first requests; of the others, arrivals and lengths
    alone are used.

    A replay jumps where a request falls into another step, so slopes are taken over a quarter of a prior's spread.
    """
    centre = np.log([p.centre for p in parameters])
    spread = np.array([p.spread for p in parameters])

    def residuals(moves: Floats) -> Floats:
        values = tuple(np.exp(centre + spread * moves).tolist())
        seen = Fitted(values, ()).replay(run)
        parts = (
            np.log(seen.tpot_s[:first] / run.tpot_s[:first]) / TPOT_ERROR,
            np.log(seen.e2e_s[:first] / run.e2e_s[:first]) / E2E_ERROR,
            (seen.ttft_s[:first] - run.ttft_s[:first]) / TTFT_ERROR_S,
            moves,
        )
        return np.concatenate(parts)

    def slopes(moves: Floats) -> Floats:
        steps = np.eye(len(moves)) * 0.25
        return np.stack([(residuals(moves + s) - residuals(moves - s)) / 0.5 for s in steps], axis=1)

    found = least_squares(residuals, np.zeros(len(parameters)), jac=slopes, loss="soft_l1", max_nfev=25)
    after = np.sqrt(np.diag(np.linalg.inv(found.jac.T @ found.jac))) * spread
    return Fitted(tuple(np.exp(centre + spread * found.x).tolist()), tuple(after.tolist()))
