"""Pools by the size of requests against one layout at the highest clock: energy on the Azure traces, as DynamoLLM.

Recorded: arrivals and lengths (Azure 2023), so many copies of a trace spread around its hour. Modelled: Llama 3.1 70B
in bf16 on H100 SXM, its times and watts at every clock and layout, queues and batches. The fleets beside it have the
least replicas of one layout at which 95 % of the calls are within the objectives. `python benchmarks/fleet_pools.py`
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from comptroller.planning.ground.plan_document import Plan
from comptroller.planning.planner import plan
from comptroller.planning.pool_layouts import PoolConditions
from comptroller.planning.pool_simulation import PoolSimulation, simulate_pools
from comptroller.work.trace import RequestTrace
from comptroller.work.workload import parse
from record import table, write
from served import recorded

TRACES = {"conversation": "azure_2023_conv.csv", "code": "azure_2023_code.csv"}
COPIES = 16
SHARE = 0.95
TTFT_S, TPOT_S = 2.0, 0.1
LAYOUTS = (8, 4)
"""Degrees of tensor parallelism of the fleets that pools stand beside; DynamoLLM's is 8."""
ALL = (2, 4, 8)
PUBLISHED = 0.53, 0.38


@dataclass(frozen=True)
class PoolRow:
    """What came of a fleet on a trace. saved: of the joules of the fleet of the first layout."""

    trace: str
    fleet: str
    devices: int
    pools: int
    within: float
    energy_mj: float
    kgco2e: float
    device_h: float
    reshardings: int
    saved: float = 0.0


def load(name: str) -> RequestTrace:
    """Copies of a trace, moved around its hour by equal parts of it and a draw."""
    trace, rng = recorded(name), np.random.default_rng(0)
    span_s = float(trace.arrival_s[-1])
    moved = [(trace.arrival_s + span_s * (k + rng.uniform()) / COPIES) % span_s for k in range(COPIES)]
    arrival_s = np.concatenate(moved)
    order = np.argsort(arrival_s, kind="stable")
    lengths = [np.tile(column, COPIES)[order] for column in (trace.input_tokens, trace.output_tokens)]
    return RequestTrace(arrival_s[order], *lengths, source=name)


def planned(trace: RequestTrace) -> Plan:
    """A plan of one copy, sized for all copies' busiest minutes but 5 %; layout and replicas are changed afterwards."""
    minutes = np.bincount((trace.arrival_s / 60).astype(int))[:-1] / 60
    data = Path(os.environ.get("COMPTROLLER_DATA", "../shared/data")) / "traces" / trace.source
    document = {
        "name": trace.source, "models": ["llama_3_1_70b"], "trace": str(data),
        "objectives": {
            "ttft": {"p": 95, "max": TTFT_S, "unit": "s"}, "tpot": {"p": 95, "max": TPOT_S * 1e3, "unit": "ms"},
        },
        "allow": {
            "accelerators": ["h100_sxm"], "sites": ["us_neocloud"], "engines": ["vllm"], "formats": ["bf16"],
        },
    }  # fmt: skip
    whole = plan(parse(document), quick=True)
    (service,) = whole.services
    rate = float(np.quantile(minutes, SHARE))
    return whole.model_copy(update={"services": (service.model_copy(update={"rate_per_s": rate}),)})


def at(whole: Plan, tp: int, replicas: int) -> Plan:
    """The plan with so many replicas of a layout, at the same price of a device."""
    (service,) = whole.services
    (pool,) = service.deployment.pools
    changed = pool.model_copy(update={"tp": tp, "replicas": replicas})
    deployment = service.deployment.model_copy(update={"pools": (changed,)})
    usd_per_h = service.usd_per_h * changed.devices / pool.devices
    return whole.model_copy(
        update={"services": (service.model_copy(update={"deployment": deployment, "usd_per_h": usd_per_h}),)}
    )


def least(whole: Plan, trace: RequestTrace, tp: int) -> tuple[Plan, PoolSimulation]:
    """The fleet of one layout at the highest clock with the least replicas that hold the share.

    The search begins at half of what the copies would take one by one.
    """
    (service,) = whole.services
    (pool,) = service.deployment.pools

    def held(replicas: int) -> tuple[Plan, PoolSimulation] | None:
        (found,) = simulate_pools(at(whole, tp, replicas), trace, ("none",), PoolConditions((tp,)))
        return (at(whole, tp, replicas), found) if found.attainment >= SHARE else None

    replicas = max(int(service.utilisation * pool.devices * COPIES / tp / 2), 1)
    best = held(replicas)
    while best and replicas > 1 and (fewer := held(replicas - 1)):
        replicas, best = replicas - 1, fewer
    while best is None:
        replicas += 1
        best = held(replicas)
    return best


def told(trace: str, fleet: str, devices: int, found: PoolSimulation) -> PoolRow:
    """A run as a row."""
    outcome = found.outcome
    return PoolRow(trace, fleet, devices, len(outcome.pools), found.attainment, found.energy_j / 1e6,
                   found.gco2e / 1e3, outcome.device_hours, outcome.reshardings)  # fmt: skip


def rows_of(name: str) -> Iterator[PoolRow]:
    """Fleets of one layout, then pools on twice the devices of the first."""
    trace = load(TRACES[name])
    whole = planned(trace)
    fixed = [least(whole, trace, tp) for tp in LAYOUTS]
    for tp, (fleet, found) in zip(LAYOUTS, fixed, strict=True):
        yield told(name, f"one layout, tp {tp}", fleet.services[0].deployment.pools[0].devices, found)
    base = fixed[0][0]
    devices = 2 * base.services[0].deployment.pools[0].devices
    cases = {
        "pools of tp 8": PoolConditions((8,), devices, weights_from="peer"),
        "pools of tp 2, 4 or 8": PoolConditions(ALL, devices, weights_from="peer"),
        "the same, starts take no time": PoolConditions(ALL, devices, start_up_s=0.0),
    }
    for words, how in cases.items():
        (found,) = simulate_pools(base, trace, ("dynamo_llm",), how)
        yield told(name, words, devices, found)


def main() -> int:
    """Run all, print and write."""
    rows: list[PoolRow] = []
    for name in TRACES:
        mine: list[PoolRow] = []
        for row in rows_of(name):
            first = mine[0].energy_mj if mine else row.energy_mj
            mine.append(replace(row, saved=1 - row.energy_mj / first))
            print(mine[-1], flush=True)
        rows += mine
    cells = [
        [f"{x.trace}: {x.fleet}", str(x.devices), str(x.pools), f"{x.within:.1%}", f"{x.energy_mj:,.0f}",
         f"{x.kgco2e:.1f}", f"{x.device_h:.1f}", str(x.reshardings), f"{x.saved:+.1%}"]
        for x in rows
    ]  # fmt: skip
    heads = ("fleet", "devices", "pools", "within", "MJ", "kgCO2e", "device-hours", "re-shardings", "energy saved")
    text = (
        f"# Pools by the size of requests\n\nLlama 3.1 70B in bf16 on H100 SXM, {COPIES} copies of each Azure trace of "
        f"2023 around its hour. Within: calls with TTFT up to {TTFT_S:g} s and TPOT up to {TPOT_S:g} s. Fleets of one "
        f"layout run at the highest clock with the least replicas that hold {SHARE:.0%} of the calls; pools are those "
        "of `dynamo_llm`, which may hold twice the devices of the first fleet, their replicas start from a peer's "
        f"weights.\n\n{table(heads, cells)}\n\nPublished (DynamoLLM): {PUBLISHED[0]:.0%} of the energy and "
        f"{PUBLISHED[1]:.0%} of the carbon of operation, on another trace (Azure 2024, a week with its nights) and "
        "with Llama 2 70B. Devices: those of a fixed fleet, or the most that pools may hold."
    )
    print(text)
    write("fleet_pools", {"rows": [asdict(x) for x in rows]}, text, ("numpy",))
    return 0


if __name__ == "__main__":
    sys.exit(main())
