"""More servers on one feed: POLCA, standing caps and clocks on the Azure traces, 52 servers on the budget of 40.

Recorded: prompt and token times and watts of BLOOM-176B on eight A100 (SplitwiseSim's table), arrivals and lengths.
Modelled: queues and batches, what a clock does to times and watts, priorities (drawn), what a server draws beside its
devices (an input, in a table). `python benchmarks/fleet_power.py`
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from comptroller.costs.money import host_w
from comptroller.costs.steptable import StepTable
from comptroller.errors import InputError
from comptroller.serving.fleet import ServingPolicies, SimulatedFleet, SimulatedReplica, SimulatedService
from comptroller.serving.power import LevelTables, PowerOutcome, setting_shares, simulate_rows
from comptroller.serving.power_rows import PowerConditions
from comptroller.work.call import CallTable
from record import table, write
from served import ROOT, recorded
from splitwise_power import ClockRatios, powered_table, read_power
from splitwise_table import read_timings

TRACES = {"conversation": "azure_2023_conv.csv", "code": "azure_2023_code.csv"}
MODEL, HARDWARE = "bloom-176b", "a100-80gb"
FEED, MORE = 40, 52
"""Servers that the feed was sized for, and 30 % more."""
SERVER_W = 6500.0
"""What a server is provisioned for: the most that a DGX A100 draws by its data sheet."""
COPIES = 5
"""Copies of a trace over 52 servers: the servers of the feed are then busy as POLCA's rows were, a peak near 0.8."""
OTHERS_W = (1200.0, 1600.0, 2000.0, 2400.0)
"""Watts beside the devices. 1.2 kW is what this product prices a node with (EcoLogits); nobody measured it here."""
SEEDS = (0, 1, 2)
TOGETHER_S = 30.0
"""Copies that burst together are moved against each other by up to so much."""
TARGET_HIGH_P99, TARGET_LOW_P50 = 0.05, 0.05


@dataclass(frozen=True)
class RowRun:
    """A policy on a trace: shares of the budget, and how much later each tier is than uncapped, over all seeds."""

    trace: str
    arrivals: str
    servers: int
    other_w: float
    policy: str
    mean_share: float
    peak_share: float
    uncapped_peak: float
    over_s: float
    brakes: int
    capped_share: float
    high_p99: float
    low_p50: float
    worst_high_p99: float
    worst_low_p50: float
    energy_change: float

    @property
    def held(self) -> bool:
        """Whether the claim holds in every seed."""
        late = self.worst_high_p99 < TARGET_HIGH_P99 and self.worst_low_p50 < TARGET_LOW_P50
        return self.peak_share <= 1 and self.brakes == 0 and late


def load(name: str, copies: int, apart: bool, seed: int) -> CallTable:
    """So many copies of a trace, spread around its hour (apart) or within half a minute; priorities are drawn."""
    trace, rng = recorded(name), np.random.default_rng(seed)
    span_s = float(trace.arrival_s[-1])
    moves = [span_s * (k + rng.uniform()) / copies if apart else rng.uniform(0, TOGETHER_S) for k in range(copies)]
    arrival_s = np.concatenate([(trace.arrival_s + by) % span_s if apart else trace.arrival_s + by for by in moves])
    order = np.argsort(arrival_s, kind="stable")
    tokens = [np.tile(column, copies)[order] for column in (trace.input_tokens, trace.output_tokens)]
    high = rng.integers(0, 2, order.size)
    return CallTable.of(arrival_s=arrival_s[order], input_tokens=tokens[0], output_tokens=tokens[1], priority=high)


def fleet_of(one: StepTable, servers: int) -> SimulatedFleet:
    """Servers that batch phases apart, as SplitwiseSim's and POLCA's did."""
    replicas = (SimulatedReplica(one),) * servers
    return SimulatedFleet((SimulatedService("row", replicas),), ServingPolicies("least_request", "phase_exclusive"))


class Row:
    """The servers of one row with all that a run of them needs."""

    def __init__(self, one: StepTable, levels: LevelTables) -> None:
        self.one, self.levels = one, levels

    def run(self, calls: CallTable, servers: int, how: PowerConditions) -> PowerOutcome:
        """What comes of calls on so many servers within the budget of the feed."""
        return simulate_rows(fleet_of(self.one, servers), calls, how, self.levels)

    def judged(self, trace: str, apart: bool, servers: int, other_w: float, policies: Sequence[str]) -> list[RowRun]:
        """Policies beside the same row and tiers uncapped, over all seeds."""
        found: dict[str, list[tuple[PowerOutcome, PowerOutcome]]] = {policy: [] for policy in policies}
        copies = round(COPIES * servers / MORE)
        for seed in SEEDS:
            calls = load(TRACES[trace], copies, apart, seed)
            free: dict[str, PowerOutcome] = {}
            for policy in policies:
                how = PowerConditions(policy, FEED * SERVER_W, other_w=other_w, tiers_as="polca")
                try:
                    free["none"] = free.get("none") or self.run(calls, servers, replace(how, policy="none"))
                    found[policy].append((self.run(calls, servers, how), free["none"]))
                except InputError as error:
                    print(f"{policy}: {error}", file=sys.stderr)
        arrivals = "apart" if apart else "together"
        return [_run((trace, arrivals, servers, other_w, policy), pairs) for policy, pairs in found.items() if pairs]


def _run(name: tuple[str, str, int, float, str], pairs: Sequence[tuple[PowerOutcome, PowerOutcome]]) -> RowRun:
    high = [one.quantile_s("e2e_s", 0.99, 1) / free.quantile_s("e2e_s", 0.99, 1) - 1 for one, free in pairs]
    low = [one.quantile_s("e2e_s", 0.5, 0) / free.quantile_s("e2e_s", 0.5, 0) - 1 for one, free in pairs]
    return RowRun(
        *name,
        float(np.mean([one.row_w.mean() / (FEED * SERVER_W) for one, _ in pairs])),
        max(one.peak_share for one, _ in pairs),
        max(free.peak_share for _, free in pairs),
        float(sum(one.over_s for one, _ in pairs)),
        sum(one.brakes for one, _ in pairs),
        float(np.mean([1 - setting_shares(one)[:, 0].mean() for one, _ in pairs])),
        float(np.mean(high)),
        float(np.mean(low)),
        max(high),
        max(low),
        float(np.mean([one.energy_j / free.energy_j - 1 for one, free in pairs])),
    )


HEADS = ("trace", "copies", "servers", "other W", "policy", "mean", "peak", "uncapped", "above, s", "brakes", "capped",
         "high p99", "low p50", "energy", "claim")  # fmt: skip


def cells(run: RowRun) -> list[str]:
    """A run as a row of the table."""
    return [
        run.trace, run.arrivals, str(run.servers), f"{run.other_w:,.0f}", run.policy, f"{run.mean_share:.3f}",
        f"{run.peak_share:.3f}", f"{run.uncapped_peak:.3f}", f"{run.over_s:g}", str(run.brakes),
        f"{run.capped_share:.0%}", f"{run.high_p99:+.1%} (worst {run.worst_high_p99:+.1%})",
        f"{run.low_p50:+.1%} (worst {run.worst_low_p50:+.1%})", f"{run.energy_change:+.1%}",
        "held" if run.held else "missed",
    ]  # fmt: skip


NOTE = f"""# {MORE} servers on the feed of {FEED}

BLOOM-176B on eight A100 a server. Recorded: times of prompts and tokens and watts of the devices
(SplitwiseSim's table: prompts at the peak of a run, decodes at its mean), arrivals and lengths (Azure 2023).
Modelled: queues, phase-exclusive batches of at most 2,048 prompt tokens, least-request routing within each
tier; what a clock or a limit makes of times and watts (the ratio of this product's own steps with and without
it); a brake, whose steps are longer by the ratio of the clocks. Assumed: half of the calls, drawn, are of low
priority; {SERVER_W:,.0f} W provisioned a server, so {FEED} servers' budget is {FEED * SERVER_W / 1e3:,.0f}
kW; what a server draws beside its devices ("other W": 1,200 is what this product prices a node with, from
EcoLogits; nobody measured it here, and the conclusion hangs on it). {COPIES} copies of a trace on {MORE}
servers, spread around its hour (apart: tenants of their own) or all within {TOGETHER_S:g} s (together: every
tenant bursts at once, the worst). POLCA's thresholds, clocks and delays are as known here, not checked
against the paper's text; nothing was tuned on these traces. Watts are means over 2 s; shares are of the
budget; {len(SEEDS)} seeds, the peak and the seconds above over all of them; "later" compares with the same
servers and tiers uncapped, end to end. Held: budget never passed, no brake, high priority p99 less than
{TARGET_HIGH_P99:.0%} and low p50 less than {TARGET_LOW_P50:.0%} later, in every seed.

Published (POLCA): 30 % more servers with minimal loss of performance."""


def summary(runs: Sequence[RowRun]) -> str:
    """What held, in sentences."""
    told = []
    for policy in dict.fromkeys(run.policy for run in runs):
        mine = [run for run in runs if run.policy == policy and run.servers == MORE]
        for other_w in OTHERS_W:
            held = [f"{r.trace} {r.arrivals}" for r in mine if r.other_w == other_w and r.held]
            count = sum(r.other_w == other_w for r in mine)
            told.append([policy, f"{other_w:,.0f}", f"{len(held)} of {count}", ", ".join(held) or "–"])
    return table(("policy", "other W", "claim held", "on"), told)


def main() -> int:
    """Run all, print and write."""
    folder = Path(os.environ.get("COMPTROLLER_DATA", ROOT.parent / "shared" / "data"))
    path = folder / "serving" / "splitwise_known.csv"
    if not path.exists():
        print(f"fleet_power: {path} is not there; set COMPTROLLER_DATA", file=sys.stderr)
        return 2
    one = powered_table(read_timings(path)[MODEL, HARDWARE], read_power(path, MODEL, HARDWARE))
    row = Row(one, LevelTables(ClockRatios(MODEL, HARDWARE).at))
    runs: list[RowRun] = []
    for other_w in OTHERS_W:
        for trace in TRACES:
            for apart in (True, False):
                runs += row.judged(trace, apart, MORE, other_w, ("polca", "static_cap", "clock_lock"))
                print(*(" | ".join(cells(run)) for run in runs[-3:]), sep="\n", flush=True)
    runs += [run for trace in TRACES for run in row.judged(trace, True, FEED, host_w(8), ("none",))]
    text = "\n\n".join((NOTE, summary(runs), table(HEADS, [cells(run) for run in runs])))
    print(text)
    write("fleet_power", {"runs": [asdict(run) | {"held": run.held} for run in runs]}, text, ("numpy", "numba"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
