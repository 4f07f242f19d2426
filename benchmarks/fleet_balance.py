"""Balancers over a month of recorded load: `python benchmarks/fleet_balance.py`.

Recorded: a month of two containers' processor, memory and network by ten minutes (Fisher), and what pods of a cluster
ask for (Alibaba openb 2023). Modelled: services are days of the containers, each shifted by whole days so that the time
of day stays, as large as a pod's request; nodes are alike; a move costs the memory that it copies. Every two hours with
overload are a case, from the assignment that the balancer left behind.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from comptroller.cluster.balance_case import BalanceCase, Floats, Ints
from comptroller.cluster.balancing import BALANCERS
from comptroller.work.arrow import read_columns as read_parquet
from comptroller.work.tabular import numbers, read_columns
from record import table, write

NODES = 12
DAY = 144
"""Samples of ten minutes in a day."""
EVERY = 12
"""Samples between two cases: two hours. At half of it a month takes twice as long, and each case has half the moves."""
LOADS = (0.6, 0.8)
"""Mean load of the scarcest resource: at the least of them overload is rare, at the largest it is the rule."""
SEEDS = 1
NETWORK_MIB_PER_S = 1e9 / 8 / 2**20


@dataclass(frozen=True)
class BalanceMonth:
    """demand: (samples, services, resources).  capacity: (nodes, resources).  memory_mib: (samples, services)."""

    demand: Floats
    capacity: Floats
    memory_mib: Floats


def month(data: Path, load: float, seed: int) -> BalanceMonth:
    """Services of a month at a mean load."""
    rng = np.random.default_rng(seed)
    columns, _ = read_parquet(data / "fisher_containers.parquet")
    series = {
        name: [
            np.array([v for c, v in zip(columns["container"], columns[name], strict=True) if c == container], float)
            for container in sorted(set(columns["container"]))
        ]
        for name in ("cpu_busy_pct", "mem_used_pct", "net_in_bytes")
    }
    _, (cpu, memory) = read_columns(data / "openb_pods.csv", ["cpu_milli", "memory_mib"], [numbers, numbers])
    services = NODES * 10
    pods = rng.choice(np.flatnonzero((cpu > 0) & (memory > 0)), services, replace=False)
    samples = len(series["cpu_busy_pct"][0])
    which = rng.integers(len(series["cpu_busy_pct"]), size=services)
    shift = rng.integers(samples // DAY, size=services) * DAY
    rows = (np.arange(samples)[:, None] + shift[None]) % samples

    def of(name: str) -> Floats:
        stack = np.nan_to_num(np.stack(series[name]))
        return np.asarray(stack[which[None], rows])

    busy, used, net = of("cpu_busy_pct") / 100, of("mem_used_pct") / 100, of("net_in_bytes")
    demand = np.stack([busy * cpu[pods], used * memory[pods], net * cpu[pods] / cpu[pods].mean()], axis=2)
    capacity = demand.sum(axis=1).mean(axis=0) / NODES / load
    return BalanceMonth(demand, np.tile(capacity, (NODES, 1)), used * memory[pods])


def start(month: BalanceMonth, rng: np.random.Generator) -> Ints:
    """Services in turns over the nodes, in random order."""
    services = month.demand.shape[1]
    return np.asarray(rng.permutation(services) % NODES)


def replay(month: BalanceMonth, balancer: str, seed: int) -> dict[str, float]:
    """A month under a balancer: overload that was there and what it left, what its moves cost, how many there were."""
    rng = np.random.default_rng(seed)
    at = start(month, rng)
    first = at.copy()
    function = BALANCERS.module(balancer).assignment
    before = after = cost = moves = cases = still = 0.0
    for sample in range(0, len(month.demand), EVERY):
        cost_s = 1.0 + month.memory_mib[sample] / NETWORK_MIB_PER_S
        case = BalanceCase(month.capacity, month.demand[sample], cost_s, at)
        still += case.overload(first)
        over = case.value(at)[0]
        before += over
        if not over:
            continue
        found = function(case, rng)
        left, paid = case.value(found)
        cases, after, cost, moves = cases + 1, after + left, cost + paid, moves + float((found != at).sum())
        at = found
    return {"cases": cases, "still": still, "before": before, "after": after, "cost_s": cost, "moves": moves}


def main() -> None:
    """All balancers at all loads; sums over seeds."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--data", type=Path, default=Path("../shared/data/fleet"))
    data = options.parse_args().data
    figures: dict[str, dict[str, dict[str, float]]] = {}
    for load in LOADS:
        for name in BALANCERS.names():
            runs = [replay(month(data, load, seed), name, seed) for seed in range(SEEDS)]
            figures.setdefault(f"{load:g}", {})[name] = {key: sum(one[key] for one in runs) for key in runs[0]}
    rows = [
        [
            f"{load} {name}", f"{one['still']:.0f}", f"{one['after']:.2f}",
            f"{1 - one['after'] / one['still']:.2%}" if one["still"] else "-", f"{one['moves']:,.0f}",
            f"{one['cost_s']:,.0f}", f"{one['cases']:,.0f}",
        ]
        for load, found in figures.items()
        for name, one in found.items()
    ]  # fmt: skip
    winners = [
        f"{load}: {min(found, key=lambda n: (round(found[n]['after'], 3), found[n]['cost_s']))}"
        for load, found in figures.items()
    ]
    text = f"""Balancers over a month of recorded load: {NODES} nodes, {NODES * 10} services, {SEEDS} draw of services.

Overload is in nodes, summed over cases two hours apart; left is what stood right after the balancer's moves.

{table(("load, balancer", "overload without moves", "left", "removed", "moves", "cost s", "cases with overload"), rows)}

Least overload left, then least cost, by load: {"; ".join(winners)}.
"""
    write("fleet_balance", figures, text)


if __name__ == "__main__":
    main()
