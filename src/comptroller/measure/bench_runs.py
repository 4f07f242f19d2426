"""One run of vLLM's or SGLang's serving benchmark, which print the same figures under nearly the same names.

Latencies are the means, which add up to the throughput; medians of a first token leave out the crowd that starts a run.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isinf, isnan, nan

from comptroller.measure.run_rows import Record, RunRow, number_of, per_token_s

MILLI = 1e-3


@dataclass(frozen=True, slots=True)
class BenchmarkFields:
    """Names in which the two tools differ."""

    e2e_ms: str


def run_of_benchmark(number: int, record: Record, stated: dict[str, str], fields: BenchmarkFields) -> RunRow | str:
    """The run, or why it cannot be used: nothing finished, no latency, or not steady."""
    completed = number_of(record, "completed")
    if not completed >= 1:
        return "completed is not a number of finished requests"
    inputs, outputs = (number_of(record, f"total_{kind}_tokens") / completed for kind in ("input", "output"))
    if not min(inputs, outputs) >= 1:
        return "total_input_tokens or total_output_tokens is not a number of tokens"
    ttft_s, e2e_s = number_of(record, "mean_ttft_ms") * MILLI, number_of(record, fields.e2e_ms) * MILLI
    tpot_s = number_of(record, "mean_tpot_ms") * MILLI
    if isnan(tpot_s):
        tpot_s = per_token_s(e2e_s, ttft_s, outputs)
    if isnan(ttft_s) and isnan(tpot_s):
        return "neither mean_ttft_ms nor mean_tpot_ms is there"
    if isnan(e2e_s):
        e2e_s = ttft_s + (outputs - 1) * tpot_s
    clients = clients_of(record, e2e_s)
    if isinstance(clients, str):
        return clients
    return RunRow(number, stated, inputs, outputs, clients, ttft_s, tpot_s)


def clients_of(record: Record, e2e_s: float) -> float | str:
    """Mean number of requests in flight.

    A closed loop holds as many as it is capped at; at a finite request rate it is what the tool counted, or Little's
    law: rate of finished requests times their mean time. Sent all at once, requests are never in a steady state.
    """
    cap, counted = number_of(record, "max_concurrency"), number_of(record, "concurrency")
    rate = _rate(record)
    if isinf(rate) or isnan(rate):
        if cap >= 1:
            return cap
        if counted >= 1 and isnan(rate):
            return counted
        return "all requests were sent at once: a steady run is capped (max_concurrency) or sent at a finite rate"
    if counted > 0:
        return max(counted, 1.0)
    in_flight = number_of(record, "request_throughput") * e2e_s
    return max(in_flight, 1.0) if in_flight > 0 else nan


def _rate(record: Record) -> float:
    value = record.get("request_rate")
    return float("inf") if isinstance(value, str) and value.lower() == "inf" else _finite_or_inf(value)


def _finite_or_inf(value: object) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else nan
