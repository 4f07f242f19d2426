"""Switches of contexts where priorities change as a service runs: swaps page by page, in groups, beside the steps."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass, replace

import numpy as np

from comptroller.costs.steptable import StepTable
from comptroller.errors import FactError
from comptroller.serving.fleet import ServingPolicies, SimulatedFleet, SimulatedReplica, SimulatedService
from comptroller.work.call import CallTable
from comptroller_lab.token_gaps import gaps_of
from record import table, write
from served import recorded, step_table

TRACE = "azure_2023_conv.csv"
DEVICE = "a10g"
RATES_PER_S = (0.5, 0.7, 0.8, 0.9, 1.2)
REQUESTS = 600
HOST_TOKENS = 450_000
"""60 GB of the host at 131 kB a token of Llama 3.1 8B."""
LAYERS, BLOCK_TOKENS, GROUP_BLOCKS = 32, 16, 20
"""Of the model; a page of vLLM; pages that lie together in the mean once they are allotted in groups (assumed)."""
CALLS_US = (3.0, 10.0)
"""Host time of one asynchronous copy, which is what decides and is not recorded: a range."""
PAPER = (1.4, 11.2)
STALLED = 0.599
"""Of the P99 of latency, what the paper tells that switching costs vLLM under high load."""
FREE_BYTES_PER_S = 1e18


@dataclass(frozen=True)
class SwitchLine:
    """One run: tails of the first token, of the mean time of a token after it and of single gaps, and switches."""

    rate_per_s: float
    call_us: float
    switch: str
    ttft_p95_s: float
    ttft_p99_s: float
    tpot_p99_s: float
    gap_p99_s: float
    gap_p999_s: float
    e2e_p99_s: float
    switches: int
    busy: float


def replica(one: StepTable, call_us: float, switch: str) -> SimulatedReplica:
    """A replica that swaps pages one by one while the step waits, groups of them so, or groups beside the steps."""
    copies = 2 * LAYERS * call_us * 1e-6
    blocks = 1 if switch == "pages" else GROUP_BLOCKS
    if switch == FREE:
        one, copies = replace(one, swap_bytes_per_s=FREE_BYTES_PER_S), 0.0
    return SimulatedReplica(
        one,
        swap_tokens=HOST_TOKENS,
        swap_chunk_tokens=BLOCK_TOKENS * blocks,
        swap_chunk_s=copies,
        swap_beside=switch == "groups, beside the steps",
    )


FREE = "free"
SWITCHES = ("pages", "groups", "groups, beside the steps", FREE)
OWN = SWITCHES[2]


def line(one: StepTable, calls: CallTable, rate_per_s: float, call_us: float, switch: str) -> SwitchLine:
    """What a run shows."""
    service = SimulatedService("all", (replica(one, call_us, switch),))
    found, gaps = gaps_of(SimulatedFleet((service,), ServingPolicies(scheduling="rotating_priority")), calls)
    return SwitchLine(
        rate_per_s,
        call_us,
        switch,
        found.percentile("ttft_s", 95),
        found.percentile("ttft_s", 99),
        found.percentile("tpot_s", 99),
        gaps.percentile(99),
        gaps.percentile(99.9),
        found.percentile("e2e_s", 99),
        int(found.requests.preemptions.sum()),
        float(found.meters.busy_s.mean() / found.horizon_s),
    )


HEADS = (
    *("switch", "requests", "a copy", "TTFT p95", "TTFT p99", "gap p99", "gap p99.9", "TPOT p99", "end to end p99"),
    *("switches", "TTFT p95", "TTFT p99", "gap p99", "gap p99.9", "TPOT p99", "switching, of p99"),
)


def ratios(base: SwitchLine, one: SwitchLine) -> list[float]:
    """Pages over this, by tail: of first tokens, of single gaps, of means of a call."""
    names = ("ttft_p95_s", "ttft_p99_s", "gap_p99_s", "gap_p999_s", "tpot_p99_s")
    return [getattr(base, name) / getattr(one, name) for name in names]


def beside(lines: list[SwitchLine], one: SwitchLine, switch: str) -> SwitchLine:
    """The run that differs from this in the switch alone."""
    return next(x for x in lines if (x.rate_per_s, x.call_us, x.switch) == (one.rate_per_s, one.call_us, switch))


def stalled(lines: list[SwitchLine], one: SwitchLine) -> float:
    """Share of the P99 of latency that is gone where switches are free."""
    return 1.0 - beside(lines, one, FREE).e2e_p99_s / one.e2e_p99_s


def rows(lines: list[SwitchLine]) -> list[list[str]]:
    """Rows of the table, each beside the pages at the same rate and cost of a copy."""
    found = []
    for one in lines:
        times = (one.ttft_p95_s, one.ttft_p99_s, one.gap_p99_s, one.gap_p999_s, one.tpot_p99_s, one.e2e_p99_s)
        head = [one.switch, f"{one.rate_per_s:g}/s", f"{one.call_us:g} us", *(f"{t:.3g} s" for t in times)]
        over = [f"{ratio:.2f}" for ratio in ratios(beside(lines, one, "pages"), one)]
        found.append([*head, str(one.switches), *over, f"{stalled(lines, one):.0%}"])
    return found


def spread(lines: list[SwitchLine], rate_per_s: float) -> list[float]:
    """All tails at a rate and the dearest copy, pages over groups beside the steps."""
    own = [one for one in lines if (one.rate_per_s, one.call_us, one.switch) == (rate_per_s, CALLS_US[-1], OWN)]
    return [ratio for one in own for ratio in ratios(beside(lines, one, "pages"), one)]


def stressed(lines: list[SwitchLine]) -> float:
    """The rate at which switching pages takes most nearly the share of P99 that the paper tells."""
    pages = [one for one in lines if one.switch == "pages" and one.call_us == CALLS_US[-1]]
    return min(pages, key=lambda one: abs(stalled(lines, one) - STALLED)).rate_per_s


def verdict(lines: list[SwitchLine]) -> str:
    """Where the published ends lie, found by load alone."""
    told = {rate: f"{min(spread(lines, rate)):.2g} to {max(spread(lines, rate)):.2g}" for rate in RATES_PER_S}
    rate = stressed(lines)
    pages = next(one for one in lines if (one.rate_per_s, one.call_us, one.switch) == (rate, CALLS_US[-1], "pages"))
    return (
        f"At {CALLS_US[-1]:g} us a copy, by rate: {'; '.join(f'{rate:g}/s: {words}' for rate, words in told.items())}."
        f" Switching makes up {STALLED:.1%} of the P99 of latency in the paper's vLLM under high load, and"
        f" {stalled(lines, pages):.0%} of that of pages at {rate:g}/s, the rate nearest to it: there groups beside the"
        f" steps are {told[rate]} times better. Where both are overloaded ({max(told):g}/s) they are {told[max(told)]}"
        " times better."
    )


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
    text = f"""# Switches of contexts under changing priorities

Llama 3.1 8B in bf16 on one {DEVICE}, vLLM's settings, the shipped calibration; priorities are drawn anew for every
request each 25 steps (`rotating_priority`, FastSwitch's frequency of 0.04), and running requests give way. Recorded are
the lengths ({TRACE}); modelled are arrivals (Poisson), steps, and a switch: bytes of the cache over the host link plus
two copies a layer for each page of {BLOCK_TOKENS} tokens (vLLM), or for each group of {GROUP_BLOCKS} pages, while the
step waits or beside it, where only what the host has no copy of is written. The host time of one copy is not recorded
and is given as a range. FastSwitch (arXiv 2411.18424) reports {PAPER[0]} to {PAPER[1]} times better tails of TTFT and
of the time between tokens than vLLM. Switching, of p99: what of the P99 of latency is gone where switches are free.

{verdict(lines)}

Two attempts at the published range. First the mean time of a token (TPOT), which was compared before, was replaced by
single gaps between tokens, which are what the paper tells: a switch is a few long gaps, and a mean hides them. Then
loads beyond 0.7/s were added, the paper's high load: between the rate at which pages saturate and that at which groups
do any ratio can be had, for one queue grows without end and the other does not, so that a ratio says little there;
where both are overloaded it is the ratio of what a switch costs. The load of the paper is not stated where we can read
it; the share of P99 that switching takes is. Copies across turns of a conversation are not reused here: the next step,
as calls of one session.

{table(HEADS, rows(lines))}"""
    print(text)
    figures = {"runs": [asdict(each) for each in lines], "stressed": spread(lines, stressed(lines))}
    figures["overloaded"] = spread(lines, max(RATES_PER_S))
    write("fleet_switching", figures, text, ("numpy", "numba"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
