"""Switches of contexts where priorities change as a service runs: swaps page by page, in groups, beside the steps."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass

import numpy as np

from comptroller.costs.steptable import StepTable
from comptroller.errors import FactError
from comptroller.serving.engine import simulate
from comptroller.serving.fleet import ServingPolicies, SimulatedFleet, SimulatedReplica, SimulatedService
from comptroller.work.call import CallTable
from record import table, write
from served import recorded, step_table

TRACE = "azure_2023_conv.csv"
DEVICE = "a10g"
RATES_PER_S = (0.3, 0.5, 0.7)
REQUESTS = 2000
HOST_TOKENS = 450_000
"""60 GB of the host at 131 kB a token of Llama 3.1 8B."""
LAYERS, BLOCK_TOKENS, GROUP_BLOCKS = 32, 16, 20
"""Of the model; a page of vLLM; pages that lie together in the mean once they are allotted in groups (assumed)."""
CALLS_US = (1.0, 3.0, 10.0)
"""Host time of one asynchronous copy, which is what decides and is not recorded: a range."""
PAPER = (1.4, 11.2)


@dataclass(frozen=True)
class SwitchLine:
    """One run: tails of the first token and of the mean time of a token after it, and switches."""

    rate_per_s: float
    call_us: float
    switch: str
    ttft_p99_s: float
    tpot_p99_s: float
    e2e_p99_s: float
    switches: int
    busy: float


def replica(one: StepTable, call_us: float, switch: str) -> SimulatedReplica:
    """A replica that swaps pages one by one while the step waits, groups of them so, or groups beside the steps."""
    copies = 2 * LAYERS * call_us * 1e-6
    blocks = 1 if switch == "pages" else GROUP_BLOCKS
    return SimulatedReplica(
        one,
        swap_tokens=HOST_TOKENS,
        swap_chunk_tokens=BLOCK_TOKENS * blocks,
        swap_chunk_s=copies,
        swap_beside=switch == "groups, beside the steps",
    )


SWITCHES = ("pages", "groups", "groups, beside the steps")


def line(one: StepTable, calls: CallTable, rate_per_s: float, call_us: float, switch: str) -> SwitchLine:
    """What a run shows."""
    service = SimulatedService("all", (replica(one, call_us, switch),))
    found = simulate(SimulatedFleet((service,), ServingPolicies(scheduling="rotating_priority")), calls)
    return SwitchLine(
        rate_per_s,
        call_us,
        switch,
        found.percentile("ttft_s", 99),
        found.percentile("tpot_s", 99),
        found.percentile("e2e_s", 99),
        int(found.requests.preemptions.sum()),
        float(found.meters.busy_s.mean() / found.horizon_s),
    )


HEADS = (
    *("switch", "requests", "a copy", "TTFT p99", "TPOT p99", "end to end p99", "switches", "busy"),
    *("TTFT, pages over this", "TPOT, pages over this"),
)


def rows(lines: list[SwitchLine]) -> list[list[str]]:
    """Rows of the table, each beside the pages at the same rate and cost of a copy."""
    found = []
    for one in lines:
        base = next(x for x in lines if (x.rate_per_s, x.call_us, x.switch) == (one.rate_per_s, one.call_us, "pages"))
        times = (one.ttft_p99_s, one.tpot_p99_s, one.e2e_p99_s)
        ratios = (base.ttft_p99_s / one.ttft_p99_s, base.tpot_p99_s / one.tpot_p99_s)
        head = [one.switch, f"{one.rate_per_s:g}/s", f"{one.call_us:g} us", *(f"{t:.3g} s" for t in times)]
        found.append([*head, str(one.switches), f"{one.busy:.0%}", *(f"{r:.2f}" for r in ratios)])
    return found


def main() -> int:
    """Run, print and write."""
    try:
        trace = recorded(TRACE)
    except FactError as error:
        print(f"fleet_switching: {error}", file=sys.stderr)
        return 2
    one, rng = step_table(DEVICE), np.random.default_rng(0)
    picked = rng.integers(0, len(trace), REQUESTS)
    gaps = rng.exponential(1.0, REQUESTS)
    lines = []
    for rate in RATES_PER_S:
        calls = CallTable.of(
            arrival_s=np.cumsum(gaps / rate),
            input_tokens=trace.input_tokens[picked],
            output_tokens=trace.output_tokens[picked],
        )
        for call_us in CALLS_US:
            lines += [line(one, calls, rate, call_us, switch) for switch in SWITCHES]
    best = [row for row in rows(lines) if row[0] == SWITCHES[-1]]
    spread = [float(value) for row in best for value in row[-2:]]
    text = f"""# Switches of contexts under changing priorities

Llama 3.1 8B in bf16 on one {DEVICE}, vLLM's settings, the shipped calibration; priorities are drawn anew for every
request each 25 steps (`rotating_priority`, FastSwitch's frequency of 0.04), and running requests give way. Recorded are
the lengths ({TRACE}); modelled are arrivals (Poisson), steps, and a switch: bytes of the cache over the host link plus
two copies a layer for each page of {BLOCK_TOKENS} tokens (vLLM), or for each group of {GROUP_BLOCKS} pages, while the
step waits or beside it, where only what the host has no copy of is written. The host time of one copy is not recorded
and is given as a range. FastSwitch (arXiv 2411.18424) reports {PAPER[0]} to {PAPER[1]} times better tails of TTFT and
of the time between tokens than vLLM; here groups beside the steps are {min(spread):.2g} to {max(spread):.2g} times
better. TPOT is the mean time of a request's tokens after the first, not a single gap, and copies across turns of a
conversation are not reused.

{table(HEADS, rows(lines))}"""
    print(text)
    write("fleet_switching", {"runs": [asdict(each) for each in lines]}, text, ("numpy", "numba"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
