"""Spot policies on recorded zones: dollars, calls within objectives and availability, on start dates not tuned on.

How many extra replicas a policy keeps is chosen on the records of some start dates (`TUNED`): the cheapest that held
`GOAL` there, else the one that held most. It is judged on the other dates, and the availability that it had on the
tuned ones is what is promised there.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from comptroller.costs.deployment import EngineSettings, ModelReplica, ParallelLayout, PrecisionRecipe
from comptroller.costs.start_up import start_up
from comptroller.errors import FactError, InputError
from comptroller.facts.accelerator import accelerator
from comptroller.facts.config import model
from comptroller.facts.engine import engine_facts
from comptroller.facts.site import site
from comptroller.serving.fleet import SimulatedFleet
from comptroller.serving.spot import SpotOutcome, SpotSettings, serve_on_spot
from comptroller.serving.work_after_loss import CachePath, WorkAfterLoss
from comptroller.work.call import CallTable
from comptroller.work.zone_record import ZoneRecord, read_zone_records
from fleet_scaling import FP8, TPOT_S, TTFT_S, capacity
from record import table, write
from served import ROOT, recorded, step_table

TUNED = ("2023-02-15", "2023-08-03")
"""Start dates that parameters are chosen on: five zones of one node, and two of four nodes."""
GOAL = 0.99
EXTRAS = (0, 1, 2)
POLICIES = ("spread_cover", "spot_hedge", "static_mix", "on_demand")
"""Naive spot is left out: where a zone goes for hours it serves a tenth to nine tenths of the calls within the
objectives, and the calls that pile up take longest to simulate."""
HOURS, WINDOWS = 6, 3
"""A run lasts so many hours, begun at so many moments of each record, evenly apart."""
TARGET = 4
LOAD = 0.7
"""Of what the target takes within the objectives, at the mean rate; the trace's busiest minutes are 1.2 times it, and
the rest is what a fleet is spared for by its plan. At 0.8 the fleet on demand holds 99.5 % by itself."""
DEVICE, PRICES = "l4", (("l4", "aws_us_east"), ("h100_sxm", "aws_us_east"))
"""What is simulated, and whose prices, spot over on demand, dollars are told at."""


@dataclass(frozen=True)
class SpotRow:
    """A policy on a record, over its windows."""

    record: str
    policy: str
    extra: int
    within: float
    least_within: float
    availability: float
    spot_h: float
    on_demand_h: float
    taken: float
    standing: float

    def saved(self, ratio: float) -> float:
        """Share of the dollars of the target on demand that are spared."""
        return 1 - (self.on_demand_h + ratio * self.spot_h) / (TARGET * HOURS)


def within(outcome: SpotOutcome) -> float:
    """Share of calls within the objectives."""
    ttft, tpot = (outcome.elastic.latency_s(name) for name in ("ttft_s", "tpot_s"))
    return float(((ttft <= TTFT_S) & ((tpot <= TPOT_S) | ~np.isfinite(tpot))).mean())


def load_of(per_s: float) -> CallTable:
    """The conversation trace again and again for a run, at `LOAD` of what the target takes."""
    trace = recorded("azure_2023_conv.csv")
    trace = trace.scaled(LOAD * TARGET * per_s / trace.rate_per_s)
    trace = trace.repeated(int(np.ceil(HOURS * 3600 / trace.span_s)))
    rows = np.flatnonzero(trace.arrival_s < HOURS * 3600)
    return CallTable.of(
        arrival_s=trace.arrival_s[rows], input_tokens=trace.input_tokens[rows], output_tokens=trace.output_tokens[rows]
    )


def starts_s(record: ZoneRecord) -> list[float]:
    """Where the runs of a record begin."""
    return [float(at) for at in np.linspace(0, record.span_s - HOURS * 3600 - 3600, WINDOWS)]


def run(record: ZoneRecord, policy: str, extra: int, world: tuple[SimulatedFleet, CallTable, SpotSettings]) -> SpotRow:
    """A policy over the windows of a record."""
    fleet, calls, base = world
    found = [
        serve_on_spot(fleet, calls, record, replace(base, policy=policy, extra=extra, from_s=at_s))
        for at_s in starts_s(record)
    ]
    shares = [within(one) for one in found]
    standing = np.mean([
        [zone.standing(at_s, at_s + HOURS * 3600) for zone in record.zones] for at_s in starts_s(record)
    ])  # fmt: skip
    row = SpotRow(
        record.name, policy, extra, float(np.mean(shares)), min(shares), *(
            float(np.mean(values)) for values in (
                [one.availability for one in found], [one.hours(on_demand=False) for one in found],
                [one.hours(on_demand=True) for one in found], [len(one.interruptions) for one in found],
            )
        ), float(standing),
    )  # fmt: skip
    print(row, flush=True)
    return row


def chosen_extra(rows: Sequence[SpotRow], ratio: float) -> int:
    """Of a policy's rows on the tuned records: the extra replicas that were cheapest and held the goal."""
    tried = []
    for extra in EXTRAS:
        own = [row for row in rows if row.extra == extra]
        tried.append((np.mean([x.within for x in own]), -np.mean([x.saved(ratio) for x in own]), extra))
    holding = [row for row in tried if row[0] >= GOAL]
    return int(min(holding, key=lambda row: row[1])[2] if holding else max(tried)[2])


def ratios() -> dict[str, float]:
    """Spot over on demand of the devices named in `PRICES`, by the facts."""
    found = {}
    for device, place in PRICES:
        by_term = {
            term: min(x.usd_per_s for x in site(place).offers if (x.accelerator, x.term) == (device, term))
            for term in ("on_demand", "spot")
        }
        found[device] = by_term["spot"] / by_term["on_demand"]
    return found


def after_losses(record: ZoneRecord, world: tuple[SimulatedFleet, CallTable, SpotSettings]) -> list[list[str]]:
    """What becomes of calls, by notice and what is done with them: naive spot, where most are lost."""
    fleet, calls, base = world
    rows = []
    for notice_s in (0.0, 30.0, 120.0):
        for work in WorkAfterLoss:
            path = CachePath(25e9) if work == WorkAfterLoss.MOVE else None
            how = replace(
                base, policy="spot_hedge", notice_s=notice_s, work=work, path=path, from_s=starts_s(record)[0]
            )
            found = serve_on_spot(fleet, calls, record, how)
            losses = found.elastic.losses
            rows.append([
                f"{notice_s:g} s", work.name.lower(), f"{within(found):.3%}", f"{sum(x.calls for x in losses):,}",
                f"{sum(x.moved for x in losses):,}", f"{sum(x.tokens_lost for x in losses):,}",
            ])  # fmt: skip
    return rows


def replica() -> ModelReplica:
    """What is simulated."""
    engine = EngineSettings.default(engine_facts("vllm"))
    return ModelReplica(
        model("llama_3_1_8b"), accelerator(DEVICE), PrecisionRecipe(FP8, FP8, FP8), ParallelLayout(), engine
    )


def text_of(judged: list[SpotRow], tuned: list[SpotRow], moves: list[list[str]], start_up_s: float) -> str:
    """The tables: by record, over records, and what becomes of calls."""
    by_device = ratios()
    cells = [
        [x.record, x.policy, str(x.extra), f"{x.standing:.0%}", f"{x.within:.2%}", f"{x.least_within:.2%}",
         f"{x.availability:.2%}", f"{x.taken:.1f}", *(f"{x.saved(ratio):.0%}" for ratio in by_device.values())]
        for x in judged
    ]  # fmt: skip
    heads = ("record", "policy", "extra", "zones stand", "within", "within, worst run", "all ready", "taken back",
             *(f"saved at {ratio:.0%}" for ratio in by_device.values()))  # fmt: skip
    overall = []
    for policy in POLICIES:
        own = [x for x in judged if x.policy == policy]
        promised = np.mean([x.availability for x in tuned if x.policy == policy and x.extra == own[0].extra])
        had = np.mean([x.availability for x in own])
        overall.append([
            policy, str(own[0].extra), f"{np.mean([x.within for x in own]):.2%}", f"{promised:.1%}", f"{had:.1%}",
            f"{100 * (had - promised):+.1f}",
            *(f"{np.mean([x.saved(r) for x in own]):.0%} ({min(x.saved(r) for x in own):.0%} to "
              f"{max(x.saved(r) for x in own):.0%})" for r in by_device.values()),
        ])  # fmt: skip
    heads_all = ("policy", "extra", "within", "available, promised", "had", "points",
                 *(f"saved at {d}'s prices" for d in by_device))  # fmt: skip
    about = (
        f"Llama 3.1 8B in fp8 on {TARGET} {DEVICE.upper()}, the shipped calibration, start-up {start_up_s:.0f} s, "
        f"notice 120 s, work resumed: modelled. Zones' capacity and arrivals and lengths of requests (Azure 2023, "
        f"conversation, played at {LOAD:.0%} of what the target takes) are recorded; the zones were recorded with "
        f"other devices, mostly V100, and are taken as those of ours, and a zone that was asked for one node as one "
        f"that has room for all. Objectives: TTFT {TTFT_S:g} s, TPOT {TPOT_S:g} s. Each figure is of {WINDOWS} runs of "
        f"{HOURS} h. Extra replicas were chosen on {' and '.join(TUNED)}; the rest is unseen. Saved: against {TARGET} "
        f"replicas on demand, at spot prices of {' and '.join(f'{r:.0%} ({d})' for d, r in by_device.items())} of "
        "those on demand (facts)."
    )
    return (
        f"# Spot policies on recorded zones\n\n{about}\n\n{table(heads_all, overall)}\n\n## By record\n\n"
        f"{table(heads, cells)}\n\n## What becomes of calls\n\nSpotHedge on the first run of {moves and TUNED[0]}, by "
        "notice; caches move at 25 GB/s.\n\n"
        + table(("notice", "calls", "within", "sent again", "moved", "tokens computed again"), moves)
    )


def main() -> int:
    """Run, print and write."""
    try:
        folder = Path(os.environ.get("COMPTROLLER_DATA", ROOT.parent / "shared" / "data"))
        records = read_zone_records(folder / "fleet" / "spot_runs.csv")
        trace = recorded("azure_2023_conv.csv")
    except (FactError, InputError) as error:
        print(f"fleet_spot: {error}", file=sys.stderr)
        return 2
    one = step_table(DEVICE, PrecisionRecipe(FP8, FP8, FP8))
    per_s, _ = capacity(one, (trace.input_tokens, trace.output_tokens))
    start_up_s = start_up(replica()).total_s
    fleet = SimulatedFleet.uniform(one, 3 * (TARGET + max(EXTRAS)))
    world = (fleet, load_of(per_s), SpotSettings("on_demand", TARGET, start_up_s))
    ratio = ratios()[DEVICE]
    seen = [record for record in records.values() if record.name in TUNED]
    unseen = [record for record in records.values() if record.name not in TUNED]
    tuned, judged = [], []
    for policy in POLICIES:
        if policy == "on_demand":  # the same on every record
            one_run = run(seen[0], policy, 0, world)
            tuned += [replace(one_run, record=record.name) for record in seen]
            judged += [replace(one_run, record=record.name) for record in unseen]
            continue
        extras = EXTRAS if policy != "static_mix" else (0,)
        own = [run(record, policy, extra, world) for record in seen for extra in extras]
        tuned += own
        extra = chosen_extra(own, ratio) if len(extras) > 1 else 0
        judged += [run(record, policy, extra, world) for record in unseen]
    moves = after_losses(seen[0], world)
    text = text_of(judged, tuned, moves, start_up_s)
    print(text)
    figures = {"judged": [asdict(x) for x in judged], "tuned": [asdict(x) for x in tuned], "price_ratios": ratios()}
    about = {"per_s": per_s, "start_up_s": start_up_s, "calls": len(world[1])}
    write("fleet_spot", figures | about | {"moves": moves}, text, ("numpy", "numba"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
