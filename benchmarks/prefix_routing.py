"""What routing by prefix brings on the Mooncake traces: hit rates against their bound, and the time to first token."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass, replace

import numpy as np

from comptroller.costs.steptable import StepTable
from comptroller.errors import FactError
from comptroller.serving.engine import simulate
from comptroller.serving.fleet import ServingPolicies, SimulatedFleet
from comptroller.serving.jobs import calls_of
from comptroller.serving.outcome import EngineOutcome
from comptroller.work.call import CallTable
from comptroller.work.trace import RequestTrace
from record import table, write
from served import WORDS, recorded, step_table

TRACES = ("mooncake_conversation.jsonl", "mooncake_synthetic.jsonl")
BLIND = ("round_robin", "least_request", "power_of_two")
AWARE = ("prefix_match", "prefix_load")
REPLICAS = (4, 8, 16)
ENOUGH_TOKENS = 1 << 28
"""A cache that never has to forget anything of these traces."""


@dataclass(frozen=True)
class Line:
    """One run; hit: share of whole prefix blocks found in a cache."""

    routing: str
    replicas: int
    hit: float
    ttft_mean_s: float
    ttft_p50_s: float
    ttft_p99_s: float
    busy: float
    refused: int

    def cells(self, bound: float) -> list[str]:
        """As a row of the table."""
        times = (self.ttft_mean_s, self.ttft_p50_s, self.ttft_p99_s)
        shares = (f"{self.hit:.1%}", f"{self.hit / bound:.0%}")
        return [self.routing, str(self.replicas), *shares, *(f"{t:.3g} s" for t in times), f"{self.busy:.0%}"]


def reuse(calls: CallTable) -> float:
    """Share of whole blocks seen before: no cache can hit more."""
    return 1 - np.unique(calls.block_ids).size / calls.block_ids.size


def fleet(one: StepTable, replicas: int, routing: str, block_tokens: int) -> SimulatedFleet:
    """So many replicas with prefix caches."""
    return replace(SimulatedFleet.uniform(one, replicas, ServingPolicies(routing)), prefix_block_tokens=block_tokens)


def line(routing: str, replicas: int, outcome: EngineOutcome, calls: CallTable, block_tokens: int) -> Line:
    """What a run shows. Tokens found in a cache come in whole blocks, but for a prompt cached to its end, whose last
    token is computed all the same."""
    ttft_s = outcome.ttft_s[np.isfinite(outcome.ttft_s)]
    p50, p99 = np.percentile(ttft_s, (50, 99)).tolist()
    served = np.isfinite(outcome.ttft_s)
    blocks = np.diff(calls.block_starts)[served].sum()
    hit = np.ceil(outcome.requests.cached[served] / block_tokens).sum() / blocks
    busy = float(outcome.meters.busy_s.mean() / outcome.horizon_s)
    refused = outcome.counts()["refused"]
    return Line(routing, replicas, float(hit), float(ttft_s.mean()), p50, p99, busy, refused)


def runs(trace: RequestTrace, one: StepTable) -> tuple[float, list[Line]]:
    """The bound of a trace and all its runs, first one replica that forgets nothing and has no queue to speak of."""
    if trace.blocks is None:
        raise FactError(trace.source, "hash_ids", "no prefix blocks")
    calls, tokens = calls_of(trace), trace.blocks.tokens
    endless = replace(one, kv_capacity_tokens=ENOUGH_TOKENS)
    slow = calls.with_columns(arrival_s=calls["arrival_s"] * 20)
    found = [line("one endless cache", 1, simulate(fleet(endless, 1, BLIND[0], tokens), slow), slow, tokens)]
    for replicas in REPLICAS:
        for routing in (*BLIND, *AWARE):
            outcome = simulate(fleet(one, replicas, routing, tokens), calls)
            found.append(line(routing, replicas, outcome, calls, tokens))
    return reuse(calls), found


HEADS = ("routing", "replicas", "blocks hit", "of the bound", "TTFT mean", "TTFT p50", "TTFT p99", "busy")
NOTE = f"""# Routing by prefix on the Mooncake traces

{WORDS}, each with a prefix cache of 512-token blocks; requests arrive as they were recorded. The bound is the share
of whole blocks that were seen before in the trace. The first row checks the accounting: one replica whose cache never
forgets, with arrivals so slow that every block is there when it is asked for again."""


def main() -> int:
    """Run, print and write."""
    one, parts, figures = step_table(), [NOTE], {}
    for name in TRACES:
        try:
            trace = recorded(name)
        except FactError as error:
            print(f"prefix_routing: {error}", file=sys.stderr)
            return 2
        bound, found = runs(trace, one)
        blocks = trace.blocks.reuse if trace.blocks else 0.0
        parts.append(
            f"## {name}\n\n{len(trace):,} requests at {trace.rate_per_s:.2f} per second; bound {bound:.1%} of whole "
            f"blocks ({blocks:.1%} with the partial last ones); {found[-1].refused} refused as longer than the "
            f"context.\n\n{table(HEADS, [each.cells(bound) for each in found])}"
        )
        print(parts[-1], flush=True)
        figures[name] = {"bound": bound, "bound_all_blocks": blocks, "runs": [asdict(each) for each in found]}
    write("prefix_routing", figures, "\n\n".join(parts), ("numpy", "numba"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
