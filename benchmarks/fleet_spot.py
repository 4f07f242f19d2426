"""Spot policies on recorded zones: dollars, calls within objectives and availability, on start dates not tuned on.

Every start date is judged with the number of extra replicas that was chosen on all other dates: the cheapest that held
`GOAL` there, on the mean of the records or on the worst of them, else the one that held most. The availability on the
other dates is what is promised. Two attempts at the goal: replicas that take no more calls from their notice on, and
replicas that do until shortly before they go.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
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

GOAL = 0.99
EXTRAS = (0, 1, 2)
POLICIES = ("spread_cover", "spot_hedge", "static_mix", "on_demand")
"""Naive spot is left out: where a zone goes for hours it serves a tenth to nine tenths of the calls within the
objectives, and the calls that pile up take longest to simulate."""
ATTEMPTS = (("from the notice on", float("inf")), ("10 s before they go", 10.0))
"""When replicas that are taken back take no more calls: half of the recorded calls take less than ten seconds."""
RULES = {"mean": np.mean, "worst": np.min}
"""What of the records that a choice is made on has to hold the goal."""
PLAIN = ("static_mix", "on_demand")
"""Policies that have no extra replicas."""
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
    attempt: str

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
        ), float(standing), next(name for name, drain_s in ATTEMPTS if drain_s == base.drain_s),
    )  # fmt: skip
    print(row, flush=True)
    return row


def date_of(row: SpotRow) -> str:
    """The start date of a row's record."""
    return row.record.partition("/")[0]


def chosen_extra(rows: Sequence[SpotRow], ratio: float, rule: str) -> int:
    """The extra replicas that were cheapest and held the goal on the mean or the worst of the rows' records."""
    tried = []
    for extra in sorted({row.extra for row in rows}):
        own = [row for row in rows if row.extra == extra]
        tried.append((RULES[rule]([x.within for x in own]), -np.mean([x.saved(ratio) for x in own]), extra))
    holding = [row for row in tried if row[0] >= GOAL]
    return int(min(holding, key=lambda row: row[1])[2] if holding else max(tried)[2])


@dataclass(frozen=True)
class JudgedRow:
    """A row with what was chosen on the other dates, and the availability promised by them."""

    row: SpotRow
    rule: str
    promised: float


def judged_rows(rows: Sequence[SpotRow], ratio: float, rule: str) -> list[JudgedRow]:
    """Of a policy in an attempt: each record with the choice of all other dates."""
    found = []
    for date in sorted({date_of(row) for row in rows}):
        seen = [row for row in rows if date_of(row) != date]
        extra = chosen_extra(seen, ratio, rule)
        promised = float(np.mean([row.availability for row in seen if row.extra == extra]))
        found += [JudgedRow(row, rule, promised) for row in rows if date_of(row) == date and row.extra == extra]
    return found


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


def overall_row(judged: Sequence[JudgedRow]) -> list[str]:
    """A policy in an attempt under a rule, over all records; a promise is kept or not date by date."""
    own = [one.row for one in judged]
    points = [
        100 * (np.mean([x.row.availability for x in judged if date_of(x.row) == date]) - promised)
        for date, promised in {date_of(x.row): x.promised for x in judged}.items()
    ]
    extras = sorted({x.extra for x in own})
    saved = [[x.saved(ratio) for x in own] for ratio in ratios().values()]
    return [
        own[0].policy, own[0].attempt, judged[0].rule, " or ".join(map(str, extras)),
        f"{np.mean([x.within for x in own]):.2%}", f"{min(x.within for x in own):.2%}",
        f"{sum(x.within >= GOAL for x in own)} of {len(own)}", f"{np.mean([x.promised for x in judged]):.1%}",
        f"{np.mean([x.availability for x in own]):.1%}", f"{np.mean(points):+.1f} ({min(points):+.1f} to "
        f"{max(points):+.1f})", *(f"{np.mean(each):.0%} ({min(each):.0%} to {max(each):.0%})" for each in saved),
    ]  # fmt: skip


def text_of(tried: list[SpotRow], judged: list[list[JudgedRow]], moves: list[list[str]], start_up_s: float) -> str:
    """The tables: over records, every record with what was chosen by the worst, and what becomes of calls."""
    by_device = ratios()
    shown = [one.row for group in judged for one in group if one.rule == "worst"]
    cells = [
        [x.record, x.policy, x.attempt, str(x.extra), f"{x.standing:.0%}", f"{x.within:.2%}", f"{x.least_within:.2%}",
         f"{x.availability:.2%}", f"{x.taken:.1f}", *(f"{x.saved(ratio):.0%}" for ratio in by_device.values())]
        for x in shown
    ]  # fmt: skip
    heads = ("record", "policy", "no more calls", "extra", "zones stand", "within", "within, worst run", "all ready",
             "taken back", *(f"saved at {ratio:.0%}" for ratio in by_device.values()))  # fmt: skip
    overall = [overall_row(group) for group in judged]
    heads_all = ("policy", "no more calls", "extra chosen on", "extra", "within", "worst record",
                 f"{GOAL:.0%} held on", "available, promised", "had", "points, by date",
                 *(f"saved at {d}'s prices" for d in by_device))  # fmt: skip
    every = [
        [policy, attempt, str(extra), f"{np.mean([x.within for x in own]):.2%}", f"{min(x.within for x in own):.2%}",
         *(f"{np.mean([x.saved(ratio) for x in own]):.0%}" for ratio in by_device.values())]
        for policy, (attempt, _), extra in product(POLICIES, ATTEMPTS, EXTRAS)
        if (own := [x for x in tried if (x.policy, x.attempt, x.extra) == (policy, attempt, extra)])
    ]  # fmt: skip
    heads_every = ("policy", "no more calls", "extra", "within", "worst record",
                   *(f"saved at {ratio:.0%}" for ratio in by_device.values()))  # fmt: skip
    about = (
        f"Llama 3.1 8B in fp8 on {TARGET} {DEVICE.upper()}, the shipped calibration, start-up {start_up_s:.0f} s, "
        f"notice 120 s, work resumed: modelled. Zones' capacity and arrivals and lengths of requests (Azure 2023, "
        f"conversation, played at {LOAD:.0%} of what the target takes) are recorded; the zones were recorded with "
        f"other devices, mostly V100, and are taken as those of ours, and a zone that was asked for one node as one "
        f"that has room for all. Objectives: TTFT {TTFT_S:g} s, TPOT {TPOT_S:g} s. Each figure is of {WINDOWS} runs of "
        f"{HOURS} h, over {len({x.record for x in tried})} records of {len({date_of(x) for x in tried})} start dates. "
        "Extra replicas of a date are chosen on all other dates. Saved: against "
        f"{TARGET} replicas on demand, at spot prices of "
        f"{' and '.join(f'{r:.0%} ({d})' for d, r in by_device.items())} of those on demand (facts)."
    )
    return (
        f"# Spot policies on recorded zones\n\n{about}\n\n{table(heads_all, overall)}\n\n## Whatever is chosen\n\n"
        f"{table(heads_every, every)}\n\n## By record, chosen on the worst of the other dates\n\n"
        f"{table(heads, cells)}\n\n## What becomes of calls\n\nSpotHedge on the first run of the first record, by "
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
    tried: list[SpotRow] = []
    judged: list[list[JudgedRow]] = []
    for policy, (attempt, drain_s) in product(POLICIES, ATTEMPTS):
        here = (fleet, world[1], replace(world[2], drain_s=drain_s))
        if policy in PLAIN and attempt != ATTEMPTS[0][0]:
            continue
        extras = (0,) if policy in PLAIN else EXTRAS
        if policy == "on_demand":  # the same on every record
            one_run = run(next(iter(records.values())), policy, 0, here)
            own = [replace(one_run, record=name) for name in records]
        else:
            own = [run(record, policy, extra, here) for record in records.values() for extra in extras]
        tried += own
        judged += [judged_rows(own, ratio, rule) for rule in RULES]
    moves = after_losses(next(iter(records.values())), world)
    text = text_of(tried, judged, moves, start_up_s)
    print(text)
    told = [asdict(one) for group in judged for one in group]
    figures = {"judged": told, "tried": [asdict(x) for x in tried], "price_ratios": ratios()}
    about = {"per_s": per_s, "start_up_s": start_up_s, "calls": len(world[1])}
    write("fleet_spot", figures | about | {"moves": moves}, text, ("numpy", "numba"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
