"""A log of requests replayed in the simulator, so that what a server did in a transient tells of its steady state.

A log's load comes and goes, so its windows are no closed loops. It is replayed as it arrived; the ratio of measured to
replayed, window by window, is what the calibration gets wrong about the steps. The closed loop at the window's load,
times that ratio, is what a steady run there would have shown.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import nan

import numpy as np
import numpy.typing as npt

from comptroller.costs.deployment import ModelReplica
from comptroller.costs.fitted_calibration import FittedCalibration
from comptroller.costs.memory import memory
from comptroller.costs.prediction import ClosedLoopLoad, ReplicaPredictor
from comptroller.costs.replica_timer import TimingCalibration, replica_timer
from comptroller.costs.steptable import StepTable
from comptroller.costs.tabulate import SiteRates, tabulate
from comptroller.measure.request_log import RequestLog, mean_count, time_per_token_s
from comptroller.serving.engine import simulate
from comptroller.serving.fleet import SimulatedFleet, SimulatedReplica, SimulatedService
from comptroller.work.call import CallTable

NOWHERE = SiteRates(usd_per_s=1.0, pue=1.0, gco2e_per_j=0.0)

BACKLOG = 0.5
"""Share of the replayed time to the first token that is spent in the engine's queue from which a window is a backlog:
its time to the first token is then that of a queue, which grows with the log and not with the server. At twice this
only a queue without any prefill would count."""


@dataclass(frozen=True, slots=True)
class LogWindow:
    """A window of a log as a steady run: means of tokens, requests decoding at once, latencies in seconds."""

    input_tokens: float
    output_tokens: float
    clients: float
    ttft_s: float
    tpot_s: float


def windows_of(log: RequestLog, replica: ModelReplica) -> list[LogWindow]:
    """The windows of a log that a replica served, as what steady runs at their loads would have shown."""
    replayed, queue_s = replay(log, replica, FittedCalibration.shipped())
    first, done = (
        log.arrival_s + np.where(np.isfinite(seen), seen, ours)
        for seen, ours in ((log.ttft_s, replayed.ttft_s), (log.e2e_s, replayed.e2e_s))
    )
    decoding = mean_count(first, done)
    windows = []
    for index in log.windows():
        clients = max(float(decoding[index].mean()), 1.0)
        inputs, outputs = (float(values[index].mean()) for values in (log.input_tokens, log.output_tokens))
        tpot = time_per_token_s(log, index) / time_per_token_s(replayed, index)
        first_s = float(replayed.ttft_s[index].mean())
        steady = float(queue_s[index].mean()) <= BACKLOG * first_s
        ttft = float(log.ttft_s[index].mean()) / first_s if steady else nan
        load = ClosedLoopLoad(np.array([inputs]), np.array([outputs]), np.array([clients]))
        loop = ReplicaPredictor.shipped().predict(replica, load).loop
        windows.append(LogWindow(inputs, outputs, clients, float(loop.ttft_s[0]) * ttft, float(loop.tpot_s[0]) * tpot))
    return windows


def replay(
    log: RequestLog, replica: ModelReplica, calibration: TimingCalibration
) -> tuple[RequestLog, npt.NDArray[np.float64]]:
    """The log's requests at their arrivals, with the latencies that a calibration gives them, and seconds in queue."""
    ready = replica_timer(replica, calibration)
    table = replace(step_table(replica, calibration), serving=ready.serving)
    ranks = replica.layout.dp
    service = SimulatedService("log", (SimulatedReplica(table, ranks=ranks),))
    calls = CallTable.of(
        arrival_s=log.arrival_s - log.arrival_s.min(),
        input_tokens=log.input_tokens.astype(np.int64),
        output_tokens=log.output_tokens.astype(np.int64),
    )
    outcome = simulate(SimulatedFleet((service,)), calls)
    answered = RequestLog(log.arrival_s, log.input_tokens, log.output_tokens, outcome.ttft_s, outcome.e2e_s)
    return answered, outcome.queue_s


def step_table(replica: ModelReplica, calibration: TimingCalibration) -> StepTable:
    """The table of one data-parallel rank: what all ranks do together, at so many times the batch and the tokens."""
    table = tabulate(replica_timer(replica, calibration), memory(replica), NOWHERE)
    ranks = replica.layout.dp
    if ranks == 1:
        return table
    share, most = 1.0 / ranks, table.max_batch // ranks
    rows: npt.NDArray[np.int64] = np.arange(most + 1) * ranks
    return replace(
        table,
        decode_s=table.decode_s[rows],
        decode_j=table.decode_j[rows] * share,
        kv_knots_tokens=table.kv_knots_tokens * share,
        token_knots=table.token_knots * share,
        pair_knots=table.pair_knots * share,
        kv_capacity_tokens=table.kv_capacity_tokens // ranks,
        max_batch=most,
        chunk_tokens=table.chunk_tokens // ranks,
    )
