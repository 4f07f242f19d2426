"""SkyServe's claim on latency: SpotHedge against a fixed share of spot, on every recorded zone file.

    python benchmarks/fleet_spot_latency.py   (data at ../shared/data or COMPTROLLER_DATA)

Writes results/fleet_spot_latency.{md,json}. The fleet, its load and the records are those of `fleet_spot.py`; one run
of each record, from its begin on.
"""

from __future__ import annotations

import os
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from comptroller.costs.deployment import PrecisionRecipe
from comptroller.costs.start_up import start_up
from comptroller.errors import FactError, InputError
from comptroller.serving.fleet import SimulatedFleet
from comptroller.serving.spot import SpotSettings, serve_on_spot
from comptroller.work.zone_record import ZoneRecord, read_zone_records
from fleet_scaling import FP8, capacity
from fleet_spot import DEVICE, TARGET, load_of, replica, starts_s, within
from record import table, write
from served import ROOT, recorded, step_table

PERCENTILES = (50, 90, 99)
PUBLISHED = (2.3, 2.1, 2.1)
"""Times that SkyServe's latencies there are better than those of the systems beside it (arXiv 2411.01438)."""
NEAR = 0.2
EXTRA = 1
"""Replicas that SpotHedge has beside its target."""
MIXED, HEDGED = "static_mix", "spot_hedge"


@dataclass(frozen=True)
class LatencyLine:
    """A record. standing: share of the time that a zone stands, in the mean.  mixed_s, hedged_s: end-to-end latencies
    at `PERCENTILES` of the fixed share and of SpotHedge.  within: shares of their calls within the objectives."""

    record: str
    standing: float
    mixed_s: tuple[float, ...]
    hedged_s: tuple[float, ...]
    within: tuple[float, float]

    @property
    def better(self) -> tuple[float, ...]:
        """Times that SpotHedge's are lower."""
        return tuple(mixed / hedged for mixed, hedged in zip(self.mixed_s, self.hedged_s, strict=True))


def line(record: ZoneRecord, fleet: SimulatedFleet, base: SpotSettings, per_s: float) -> LatencyLine:
    """Both on a record."""
    calls, from_s = load_of(per_s), starts_s(record)[0]
    found = {
        name: serve_on_spot(fleet, calls, record, replace(base, policy=name, extra=extra, from_s=from_s))
        for name, extra in ((MIXED, 0), (HEDGED, EXTRA))
    }
    latencies = {name: one.elastic.latency_s("e2e_s") for name, one in found.items()}
    at_s = {name: tuple(np.nanpercentile(values, PERCENTILES).tolist()) for name, values in latencies.items()}
    span_s = float(np.max(calls["arrival_s"]))
    standing = float(np.mean([zone.standing(from_s, from_s + span_s) for zone in record.zones]))
    shares = within(found[MIXED]), within(found[HEDGED])
    return LatencyLine(record.name, standing, at_s[MIXED], at_s[HEDGED], shares)


def verdict(ratio: float, published: float) -> str:
    """Whether a ratio is within a fifth of the published one."""
    return (
        f"{ratio:.2f} times ({'within' if abs(ratio / published - 1) <= NEAR else 'not within'} 20 % of {published:g})"
    )


def text_of(lines: list[LatencyLine]) -> str:
    """The tables and what they come to."""
    geometric = np.exp(np.mean(np.log([one.better for one in lines]), axis=0))
    middle = np.median([one.better for one in lines], axis=0)
    rows = [
        [one.record, f"{one.standing:.0%}", *(f"{value:.3g} s" for value in (*one.mixed_s, *one.hedged_s)),
         *(f"{value:.2f}" for value in one.better), *(f"{share:.1%}" for share in one.within)]
        for one in lines
    ]  # fmt: skip
    at = [f"p{percentile}" for percentile in PERCENTILES]
    heads = ["record", "zones stand", *(f"mix {one}" for one in at), *(f"SpotHedge {one}" for one in at),
             *(f"{one}, mix over SpotHedge" for one in at), "mix within", "SpotHedge within"]  # fmt: skip
    told = "; ".join(
        f"p{percentile} {verdict(mean, published)}, in the median record {half:.2f}"
        for percentile, mean, half, published in zip(PERCENTILES, geometric, middle, PUBLISHED, strict=True)
    )
    return f"""# SkyServe's latencies on recorded zones

End-to-end latency of SpotHedge with {EXTRA} replica more, against half of the replicas on demand and half on spot
(`static_mix`), as groups of instances are configured. Published: p50, p90 and p99 2.3, 2.1 and 2.1 times better than
the systems beside it (arXiv 2411.01438), whose loads and zones are not here. Ours, the geometric mean over the
records: {told}.

What decides is how long zones are gone: a fixed share has half of its replicas meanwhile, for all of the calls. Where
zones stand the two are alike.

{table(heads, rows)}
"""


def main() -> int:
    """Run, print and write."""
    try:
        folder = Path(os.environ.get("COMPTROLLER_DATA", ROOT.parent / "shared" / "data"))
        records = read_zone_records(folder / "fleet" / "spot_runs.csv")
        trace = recorded("azure_2023_conv.csv")
    except (FactError, InputError) as error:
        print(f"fleet_spot_latency: {error}", file=sys.stderr)
        return 2
    one = step_table(DEVICE, PrecisionRecipe(FP8, FP8, FP8))
    per_s, _ = capacity(one, (trace.input_tokens, trace.output_tokens))
    fleet = SimulatedFleet.uniform(one, 3 * (TARGET + EXTRA))
    base = SpotSettings("on_demand", TARGET, start_up(replica()).total_s)
    lines = []
    for record in records.values():
        lines.append(line(record, fleet, base, per_s))
        print(lines[-1], flush=True)
    text = text_of(lines)
    print(text)
    figures = [asdict(each) | {"better": each.better} for each in lines]
    write("fleet_spot_latency", {"lines": figures, "published": PUBLISHED}, text, ("numpy", "numba"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
