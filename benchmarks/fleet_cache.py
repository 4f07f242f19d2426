"""Cache tiers on the Mooncake traces: blocks found against the bound of reuse, and what that does to first tokens."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass, replace

import numpy as np

from comptroller.costs.steptable import StepTable
from comptroller.errors import FactError
from comptroller.facts.accelerator import accelerator
from comptroller.planning.ground.service_document import CacheTierDocument
from comptroller.planning.prove.cache_stores import stores_of_tiers
from comptroller.serving.engine import simulate
from comptroller.serving.fleet import ServingPolicies, SimulatedFleet, SimulatedReplica, SimulatedService, stores_of
from comptroller.serving.jobs import calls_of, fleet_for_trace
from comptroller.serving.outcome import EngineOutcome
from comptroller.work.call import CallTable
from comptroller.work.trace import RequestTrace
from prefix_routing import reuse
from record import table, write
from served import WORDS, recorded, step_table

TRACES = ("mooncake_conversation.jsonl", "mooncake_synthetic.jsonl")
REPLICAS = 8
DEVICE = "h100_sxm"
GOAL = 0.9
APART = 4000
GAP_S = 60.0
"""Requests that are taken a minute apart, so that nobody waits for another."""
HOST_GB, NVME_GB = 256.0, 3840.0
"""Of each device: an eighth of a node of 2 TB, and one drive of 3.84 TB."""
POOL_GB = 16_000.0
"""Of the whole fleet: eight hosts of 2 TB."""


@dataclass(frozen=True)
class TierChoice:
    """Tiers by their gigabytes, the routing beside them, and whether writes take from loads everywhere."""

    words: str
    routing: str
    tiers: tuple[tuple[str, float], ...] = ()
    one_way: bool = False


CHOICES = (
    TierChoice("device alone", "least_request"),
    TierChoice("device alone", "prefix_load"),
    TierChoice("host", "least_request", (("host_memory", HOST_GB),)),
    TierChoice("host", "prefix_load", (("host_memory", HOST_GB),)),
    TierChoice("host, NVMe", "least_request", (("host_memory", HOST_GB), ("nvme_pcie5", NVME_GB))),
    TierChoice("host, NVMe", "prefix_match", (("host_memory", HOST_GB), ("nvme_pcie5", NVME_GB))),
    TierChoice("host, NVMe", "prefix_load", (("host_memory", HOST_GB), ("nvme_pcie5", NVME_GB))),
    TierChoice("host, RDMA pool", "least_request", (("host_memory", HOST_GB), ("rdma_pool", POOL_GB))),
    TierChoice("RDMA pool", "least_request", (("rdma_pool", POOL_GB),)),
    TierChoice("RDMA pool", "prefix_load", (("rdma_pool", POOL_GB),)),
    TierChoice("RDMA pool, a quarter", "least_request", (("rdma_pool", POOL_GB / 4),)),
    TierChoice("host, one way", "prefix_load", (("host_memory", HOST_GB),), one_way=True),
    TierChoice("RDMA pool, one way", "least_request", (("rdma_pool", POOL_GB),), one_way=True),
    TierChoice("CXL pool", "least_request", (("cxl_pool", POOL_GB),)),
    TierChoice("FengHuang (what-if)", "least_request", (("what_if_fenghuang", POOL_GB),)),
)


@dataclass(frozen=True)
class CacheLine:
    """One run. hit, loaded: shares of whole blocks, found and of them from outside the device.

    load_s, write_s: seconds that loads and writes took of links, mean over requests.  ttft_change_s: against the first
    line.
    """

    tiers: str
    routing: str
    hit: float
    loaded: float
    of_bound: float
    ttft_mean_s: float
    ttft_p50_s: float
    ttft_p99_s: float
    load_s: float
    write_s: float
    busy: float
    ttft_change_s: float = 0.0


def fleet_of(one: StepTable, choice: TierChoice, trace: RequestTrace) -> SimulatedFleet:
    """Eight replicas with the tiers."""
    assert trace.blocks is not None
    tiers = [CacheTierDocument(tier=name, gb=gigabytes) for name, gigabytes in choice.tiers]
    own, shared = stores_of_tiers(tiers, accelerator(DEVICE), one, 1)
    if choice.one_way:
        own = tuple(replace(store, duplex=False) for store in own)
        shared = shared and replace(shared, duplex=False)
    service = SimulatedService("all", (SimulatedReplica(one, stores=own),) * REPLICAS)
    return SimulatedFleet(
        (service,), ServingPolicies(choice.routing), prefix_block_tokens=trace.blocks.tokens, shared_store=shared
    )


def line(choice: TierChoice, found: EngineOutcome, calls: CallTable, bound: float) -> CacheLine:
    """What a run shows."""
    size = found.fleet.prefix_block_tokens
    served = np.isfinite(found.ttft_s)
    blocks = np.diff(calls.block_starts)[served].sum()
    hit = np.ceil(found.requests.cached[served] / size).sum() / blocks
    stores = stores_of(found.fleet)
    assert found.stores is not None
    block_bytes = [size * replica.table.kv_bytes_per_token for _, replica in stores]
    load_s = sum(s.block_s(b) * n for (s, _), b, n in zip(stores, block_bytes, found.stores.loads, strict=True))
    write_s = sum(s.write_s(b) * n for (s, _), b, n in zip(stores, block_bytes, found.stores.writes, strict=True))
    p50, p99 = np.percentile(found.ttft_s[served], (50, 99)).tolist()
    return CacheLine(
        choice.words,
        choice.routing,
        float(hit),
        float(found.requests.loaded[served].sum() / size / blocks),
        float(hit / bound),
        float(found.ttft_s[served].mean()),
        p50,
        p99,
        float(load_s / served.sum()),
        float(write_s / served.sum()),
        float(found.meters.busy_s.mean() / found.horizon_s),
    )


def runs(trace: RequestTrace, one: StepTable) -> tuple[float, list[CacheLine]]:
    """The bound of a trace, and every choice of tiers on it."""
    if trace.blocks is None:
        raise FactError(trace.source, "hash_ids", "no prefix blocks")
    calls = calls_of(trace)
    bound, lines = reuse(calls), []
    for choice in CHOICES:
        found = simulate(fleet_for_trace(fleet_of(one, choice, trace), trace), calls)
        lines.append(line(choice, found, calls, bound))
    alone = next(each for each in lines if each.tiers == "device alone")
    return bound, [replace(each, ttft_change_s=each.ttft_mean_s - alone.ttft_mean_s) for each in lines]


def prompt_s(one: StepTable, done: int, goal: int) -> float:
    """Seconds of the prompt steps from some cached tokens to the whole prompt, alone."""
    seconds = 0.0
    while done < goal:
        take = min(one.chunk_tokens, goal - done)
        seconds += one.mixed_step_s(take, take * (done + 0.5 * (take + 1)))
        done += take
    return seconds


@dataclass(frozen=True)
class ApartLine:
    """Requests apart: means of the engine's time to first token, and of what it should have changed by."""

    tiers: str
    ttft_s: float
    change_s: float
    spared_s: float
    load_s: float


def apart(trace: RequestTrace, one: StepTable) -> list[ApartLine]:
    """Each kind of store that is endless, on one replica, against the device alone."""
    part = trace.take(np.arange(min(APART, len(trace))))
    part = replace(part, arrival_s=np.arange(len(part)) * GAP_S)
    calls, lines, before = calls_of(part), [], None
    for choice in (CHOICES[0], *(TierChoice(name, "least_request", ((name, 1e6),)) for name in APART_TIERS)):
        fleet = fleet_of(one, choice, part)
        fleet = replace(fleet, services=(replace(fleet.services[0], replicas=fleet.services[0].replicas[:1]),))
        found = simulate(fleet_for_trace(fleet, part), calls)
        ttft_s = found.ttft_s - found.outside_s
        before = before or found
        cached = (before.requests.cached, found.requests.cached)
        spared = [
            prompt_s(one, int(old), int(goal)) - prompt_s(one, int(new), int(goal))
            for old, new, goal in zip(*cached, calls["input_tokens"], strict=True)
        ]
        base, served = before.ttft_s - before.outside_s, found.done
        stores = stores_of(found.fleet)
        block_s = stores[0][0].block_s(fleet.prefix_block_tokens * one.kv_bytes_per_token) if stores else 0.0
        loads = found.requests.loaded / fleet.prefix_block_tokens * block_s
        lines.append(
            ApartLine(
                choice.words,
                float(ttft_s[served].mean()),
                float((ttft_s - base)[served].mean()),
                float(np.array(spared)[served].mean()),
                float(loads[served].mean()),
            )
        )
    return lines


APART_TIERS = ("host_memory", "nvme_pcie5", "rdma_pool", "what_if_fenghuang")
APART_HEADS = ("tiers", "TTFT mean", "change", "prompt steps spared", "loads", "change not explained")


def apart_table(lines: list[ApartLine]) -> str:
    """As Markdown."""
    rows = []
    for each in lines:
        rest = each.change_s + each.spared_s - each.load_s
        values = (f"{each.ttft_s:.4g} s", f"{each.change_s:+.4g} s", f"{each.spared_s:.4g} s", f"{each.load_s:.4g} s")
        rows.append([each.tiers, *values, f"{rest:+.1e} s"])
    return table(APART_HEADS, rows)


HEADS = (
    *("tiers", "routing", "blocks found", "of the bound", "loaded", "TTFT mean", "TTFT p50", "TTFT p99"),
    *("time of loads", "of writes", "TTFT against first", "busy"),
)
NOTE = f"""# Cache tiers on the Mooncake traces

{WORDS}, {REPLICAS} of them, 512-token blocks, requests as they were recorded. Recorded are arrivals, lengths and hashes
of prefix blocks; modelled are steps, memory and links. A block that a device evicts goes to the host
({HOST_GB:.0f} GB a device), what that evicts to a drive ({NVME_GB / 1000:.2f} TB a device); a pool
({POOL_GB / 1000:.0f} TB, shared) gets blocks as soon as they are computed. Loads pass a replica's link one after the
other, before the request's own prompt and beside the steps of others; bandwidths are those of
`comptroller show cache_tiers`. Writes take their time on the link of the tier, one behind the other, and a block can be
loaded once it is written; a drive (and FengHuang's bridge, of which nothing is stated) reads and writes by turns, other
links carry both ways at once. "One way": there too reads and writes wait for each other. A device's memory is free as
soon as a block is sent. The bound is the share of whole blocks that occurred before in the trace; the target is
{GOAL:.0%} of it. Times of loads and writes are means over requests.

The second table of a trace takes the first {APART:,} requests a minute apart on one replica, so that nobody waits:
there the first token comes sooner by the prompt steps that are spared, less the loads, and by nothing else."""


def cells(one: CacheLine) -> list[str]:
    """A row of the table."""
    shares = (f"{one.hit:.1%}", f"{one.of_bound:.0%}", f"{one.loaded:.1%}")
    times = (one.ttft_mean_s, one.ttft_p50_s, one.ttft_p99_s, one.load_s, one.write_s)
    return [
        one.tiers,
        one.routing,
        *shares,
        *(f"{t:.3g} s" for t in times),
        f"{one.ttft_change_s:+.3g} s",
        f"{one.busy:.0%}",
    ]


def main() -> int:
    """Run, print and write."""
    one, parts, figures = step_table(), [NOTE], {}
    for name in TRACES:
        try:
            trace = recorded(name)
        except FactError as error:
            print(f"fleet_cache: {error}", file=sys.stderr)
            return 2
        bound, lines = runs(trace, one)
        held = [each for each in lines if each.of_bound >= GOAL]
        verdict = ", ".join(f"{each.tiers} by {each.routing}" for each in held) or "none"
        parts.append(
            f"## {name}\n\n{len(trace):,} requests at {trace.rate_per_s:.2f} per second; bound {bound:.1%} of whole "
            f"blocks. At or above {GOAL:.0%} of it: {verdict}.\n\n{table(HEADS, [cells(each) for each in lines])}"
        )
        one_by_one = apart(trace, one)
        parts.append(apart_table(one_by_one))
        print(*parts[-2:], sep="\n\n", flush=True)
        figures[name] = {
            "bound": bound,
            "runs": [asdict(each) for each in lines],
            "apart": [asdict(each) for each in one_by_one],
        }
    write("fleet_cache", figures, "\n\n".join(parts), ("numpy", "numba"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
