"""Prompts and tokens at once on shares of the same devices (semi-PD), against batches of both and pools apart."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from comptroller.costs.deployment import EngineSettings, ModelReplica, ParallelLayout, PrecisionRecipe
from comptroller.costs.fitted_calibration import FittedCalibration
from comptroller.costs.memory import memory
from comptroller.costs.replica_timer import ReplicaTimer, replica_timer
from comptroller.costs.steptable import StepTable
from comptroller.costs.tabulate import tabulate
from comptroller.errors import FactError
from comptroller.facts.accelerator import accelerator
from comptroller.facts.config import model
from comptroller.facts.engine import engine_facts
from comptroller.serving.device_shares import WHOLE, DeviceShare, ShareCalibration, SharedDevices
from comptroller.serving.engine import simulate
from comptroller.serving.fleet import (
    ServingPolicies,
    SimulatedFleet,
    SimulatedReplica,
    SimulatedService,
    SplitThresholds,
)
from comptroller.serving.outcome import EngineOutcome
from comptroller.serving.state import PoolRole
from comptroller.work.call import CallTable
from comptroller.work.trace import RequestTrace
from comptroller_lab.share_control import ShareFeedback, followed
from record import table, write
from served import NOWHERE, recorded

TRACES = ("azure_2023_conv.csv", "azure_2023_code.csv")
REQUESTS, SEEDS = 2000, (0, 1)
CONTEXT_TOKENS = 10_240
"""`--context-length` of semi-PD's own scripts; longer prompts are cut to what it leaves."""
MOST_BATCH = 512
CHUNK_TOKENS = 2048
"""Of vLLM; SGLang takes prompts whole, up to 8,192 tokens a step, before any tokens."""
SHARES = tuple(share / 10 for share in range(3, 10))
START = 4
"""Place of 70 % in them; 80 % is the default of semi-PD's code, from where one notch less is the first decision."""
KNEE, KNEES = 0.4, (0.3, 0.5)
"""Share of the multiprocessors from which on the memory bandwidth is full: assumed, no curve is published with it."""
FIXED = (0.6, 0.7, 0.8)
DELAY_S, DELAYS_S = 10.0, (1.0, 30.0)
OBJECTIVES = ((0.5, 0.025), (1.0, 0.05), (2.0, 0.1))
MET = 0.9
LATENCY, GOODPUT = (1.27, 2.58), (1.55, 1.72)
"""Published: mean end-to-end latency of DeepSeek models, requests within objectives of Llama models, times better."""
NEAR = 0.2


@dataclass(frozen=True)
class ServedModel:
    """What is served: `units` replicas of a model on its devices, at rates that are tried."""

    words: str
    model: str
    device: str
    recipe: PrecisionRecipe
    layout: ParallelLayout
    units: int
    rates_per_s: dict[str, tuple[float, ...]]

    def devices(self, knee: float, prompts_alone: bool = False) -> SharedDevices:
        """One unit's devices, shared by two engines."""
        engine = replace(EngineSettings.default(engine_facts("sglang")), max_batch=MOST_BATCH)
        one = ModelReplica(model(self.model), accelerator(self.device), self.recipe, self.layout, engine)
        held, calibration = memory(one), FittedCalibration.shipped()

        def timer(share: DeviceShare) -> ReplicaTimer:
            return replica_timer(one, ShareCalibration(calibration, share))

        def steps(share: DeviceShare) -> StepTable:
            return tabulate(timer(share), held, NOWHERE, min(CONTEXT_TOKENS, held.kv_capacity_tokens))

        return SharedDevices(timer, steps, knee, float(CHUNK_TOKENS), prompt_cap=1.0 if prompts_alone else 0.0)


LLAMA = ServedModel(
    "Llama 3.1 8B in bf16 on two A100 of 80 GB", "llama_3_1_8b", "a100_80_sxm", PrecisionRecipe(), ParallelLayout(), 2,
    {TRACES[0]: tuple(np.arange(6.0, 20.0).tolist()), TRACES[1]: tuple(np.arange(1.0, 13.0).tolist())},
)  # fmt: skip
DEEPSEEK = ServedModel(
    "DeepSeek-V3 in fp8 on eight H200 of one node", "deepseek_v3", "h200_sxm",
    PrecisionRecipe("fp8_block", "fp8_block", "fp8_block"), ParallelLayout(tp=8, ep=8), 1,
    {TRACES[0]: tuple(np.arange(1.0, 17.0).tolist()), TRACES[1]: tuple(np.arange(1.0, 13.0).tolist())},
)  # fmt: skip


def fleet_of(members: tuple[SimulatedReplica, ...], batching: str = "chunked") -> SimulatedFleet:
    """Replicas, or pairs and pools that are routed by their own queues alone."""
    policies = ServingPolicies(batching=batching)
    return SimulatedFleet((SimulatedService("all", members),), policies, split=SplitThresholds(1 << 40, 8192))


def rivals(whole: StepTable, units: int) -> dict[str, SimulatedFleet]:
    """Batches of both phases, prompts first or in chunks, and pools apart where there are two units."""
    both, chunks = SimulatedReplica(whole), SimulatedReplica(replace(whole, chunk_tokens=CHUNK_TOKENS))
    found = {FIRST: fleet_of((both,) * units, "prefill_first")}
    found["chunks (vLLM)"] = fleet_of((chunks,) * units)
    if units > 1:
        pools = (replace(both, pool=PoolRole.PROMPT), replace(both, pool=PoolRole.TOKEN))
        found[SPLIT] = fleet_of(pools * (units // 2))
    return found


def paired(devices: SharedDevices, units: int, shares: tuple[float, ...] = SHARES) -> SimulatedFleet:
    """Two engines on every unit."""
    pair = devices.replicas(shares)
    return fleet_of(tuple(replace(one, storage=unit) for unit in range(units) for one in pair))


def calls_at(trace: RequestTrace, rate_per_s: float, seed: int) -> CallTable:
    """Recorded lengths, Poisson arrivals."""
    rng = np.random.default_rng(seed)
    picked, gaps = rng.integers(0, len(trace), REQUESTS), rng.exponential(1.0, REQUESTS)
    output = np.minimum(trace.output_tokens[picked], CONTEXT_TOKENS // 4)
    return CallTable.of(
        arrival_s=np.cumsum(gaps / rate_per_s),
        input_tokens=np.minimum(trace.input_tokens[picked], CONTEXT_TOKENS - output),
        output_tokens=output,
    )


@dataclass(frozen=True)
class ShareLine:
    """A system at a rate: means over draws. within: share of calls that meet each pair of objectives."""

    system: str
    rate_per_s: float
    e2e_s: float
    ttft_p90_s: float
    tpot_p90_s: float
    within: tuple[float, ...]


System = Callable[[CallTable], EngineOutcome]


def line(name: str, system: System, trace: RequestTrace, rate_per_s: float) -> ShareLine:
    """What a system shows at a rate."""
    runs = [system(calls_at(trace, rate_per_s, seed)) for seed in SEEDS]
    # A call of one token has no time of tokens, and misses none.
    within = [
        np.mean([((run.ttft_s <= ttft) & ~(run.tpot_s > tpot))[run.done].mean() for run in runs])
        for ttft, tpot in OBJECTIVES
    ]
    return ShareLine(
        name,
        rate_per_s,
        float(np.mean([run.e2e_s[run.done].mean() for run in runs])),
        float(np.mean([run.percentile("ttft_s", 90) for run in runs])),
        float(np.mean([run.percentile("tpot_s", 90) for run in runs])),
        tuple(float(share) for share in within),
    )


def goodput(lines: list[ShareLine], place: int) -> float:
    """The highest rate up to which as many meet the objectives at that place, between two rates on a straight line."""
    before: ShareLine | None = None
    for one in lines:
        if one.within[place] < MET:
            if before is None:
                return 0.0
            fall = (before.within[place] - MET) / (before.within[place] - one.within[place])
            return before.rate_per_s + fall * (one.rate_per_s - before.rate_per_s)
        before = one
    return lines[-1].rate_per_s


FEEDBACK = "semi-PD, feedback"
FIRST, SPLIT = "prompts first (SGLang)", "pools apart"


@dataclass(frozen=True)
class ShareModel:
    """What of the mechanism is not published, or is tried otherwise: see `SharedDevices` and `ShareFeedback`."""

    words: str = "as above"
    knee: float = KNEE
    delay_s: float = DELAY_S
    prompts_alone: bool = False


OTHERWISE = (
    *(ShareModel(f"bandwidth full from {knee:.0%} of the multiprocessors on", knee=knee) for knee in KNEES),
    *(ShareModel(f"a new share in force after {delay:g} s", delay_s=delay) for delay in DELAYS_S),
    ShareModel("prompts take all multiprocessors while tokens rest", prompts_alone=True),
)


def feedbacks(served: ServedModel, how: ShareModel) -> dict[str, System]:
    """The feedback, once for each pair of objectives."""
    found: dict[str, System] = {}
    follows = paired(served.devices(how.knee, how.prompts_alone), served.units)
    for ttft_s, tpot_s in OBJECTIVES:
        to = ShareFeedback(ttft_s, tpot_s, MET, delay_s=how.delay_s, first=START)
        found[f"{FEEDBACK} to {ttft_s:g} s, {tpot_s * 1e3:.0f} ms"] = partial(_followed, follows, to)
    return found


def _followed(fleet: SimulatedFleet, how: ShareFeedback, calls: CallTable) -> EngineOutcome:
    return followed(fleet, calls, how)[0]


def systems(served: ServedModel) -> dict[str, System]:
    """Every system as a function of calls."""
    devices = served.devices(KNEE)
    fleets = rivals(devices.table(WHOLE), served.units)
    for share in FIXED:
        fleets[f"semi-PD, {share:.0%} to prompts"] = paired(devices, served.units, (share,))
    return {**{name: partial(simulate, fleet) for name, fleet in fleets.items()}, **feedbacks(served, ShareModel())}


@dataclass(frozen=True)
class ShareTrial:
    """All systems at all rates of a trace."""

    words: str
    trace: str
    lines: dict[str, list[ShareLine]]

    def goodput(self, system: str, place: int) -> float:
        """See `goodput`."""
        return goodput(self.lines[system], place)

    def followed(self, place: int) -> str:
        """The feedback that holds to the objectives at a place."""
        return [name for name in self.lines if name.startswith(FEEDBACK)][place]

    @property
    def latencies(self) -> list[tuple[float, float, float]]:
        """Rates at which SGLang or semi-PD meets the widest objectives, mean end-to-end latencies of both there."""
        carried = max(self.goodput(name, -1) for name in (FIRST, self.followed(-1)))
        rows = zip(self.lines[FIRST], self.lines[self.followed(-1)], strict=True)
        return [(one.rate_per_s, one.e2e_s, other.e2e_s) for one, other in rows if one.rate_per_s <= carried]


def trial(served: ServedModel, name: str, trace: RequestTrace) -> ShareTrial:
    """Run all of it."""
    lines = {
        words: [line(words, system, trace, rate) for rate in served.rates_per_s[name]]
        for words, system in systems(served).items()
    }
    return ShareTrial(served.words, name, lines)


def latency_table(tried: ShareTrial) -> str:
    """Mean end-to-end latencies by rate."""
    names = [name for name in tried.lines if FEEDBACK not in name] + [tried.followed(-1)]
    rates = [rate for rate, _, _ in tried.latencies]
    rows = []
    for name in names:
        of = {one.rate_per_s: one.e2e_s for one in tried.lines[name]}
        rows.append([name, *(f"{of[rate]:.2f} s" for rate in rates)])
    rows.append(["SGLang over semi-PD", *(f"{first / other:.2f}" for _, first, other in tried.latencies)])
    return table(["mean end to end at", *(f"{rate:g}/s" for rate in rates)], rows)


def goodput_table(tried: ShareTrial) -> str:
    """Rates within objectives by system; the feedback that holds to the same ones as one row."""
    heads = [f"{ttft:g} s, {tpot * 1e3:.0f} ms" for ttft, tpot in OBJECTIVES]
    names = [name for name in tried.lines if FEEDBACK not in name]
    rows = [[name, *(f"{tried.goodput(name, place):.1f}/s" for place in range(len(heads)))] for name in names]
    own = [tried.goodput(tried.followed(place), place) for place in range(len(heads))]
    rows.append([FEEDBACK, *(f"{value:.1f}/s" for value in own)])
    for rival in (FIRST, SPLIT):
        if rival in tried.lines:
            theirs = [tried.goodput(rival, place) for place in range(len(heads))]
            over = [f"{value / other:.2f}" if other else "–" for value, other in zip(own, theirs, strict=True)]
            rows.append([f"feedback over {rival}", *over])
    return table(["requests within", *heads], rows)


@dataclass(frozen=True)
class OtherwiseLine:
    """Of another mechanism: goodput at each pair of objectives over SGLang's, and the latency at half its rate."""

    words: str
    goodput: tuple[float, ...]
    latency: tuple[float, float]


def otherwise(served: ServedModel, tried: ShareTrial, trace: RequestTrace, how: ShareModel) -> OtherwiseLine:
    """The feedback under what is not known, or tried otherwise."""
    found = {
        words: [line(words, system, trace, rate) for rate in served.rates_per_s[tried.trace]]
        for words, system in feedbacks(served, how).items()
    }
    other = replace(tried, lines={FIRST: tried.lines[FIRST], **found})
    ratios = [first / own for _, first, own in other.latencies]
    over = [other.goodput(other.followed(p), p) / tried.goodput(FIRST, p) for p in range(len(OBJECTIVES))]
    return OtherwiseLine(how.words, tuple(over), (ratios[0], ratios[-1]))


def otherwise_table(lines: list[OtherwiseLine]) -> str:
    """As Markdown."""
    heads = [f"{ttft:g} s, {tpot * 1e3:.0f} ms" for ttft, tpot in OBJECTIVES]
    rows = [
        [one.words, *(f"{ratio:.2f}" for ratio in one.goodput), *(f"{ratio:.2f}" for ratio in one.latency)]
        for one in lines
    ]
    return table(["mechanism, over SGLang", *heads, "latency, least rate", "latency, most"], rows)


def range_words(values: list[float]) -> str:
    """Least to most."""
    return f"{min(values):.2f} to {max(values):.2f}"


def near(values: list[float], published: tuple[float, float]) -> str:
    """Whether the ends of a range are within 20 % of the published ones."""
    ends = [abs(ours / theirs - 1) <= NEAR for ours, theirs in zip((min(values), max(values)), published, strict=True)]
    words = {(True, True): "both ends", (True, False): "the lower end", (False, True): "the upper end"}
    return f"{words.get((ends[0], ends[1]), 'neither end')} within {NEAR:.0%} of the published one"


NOTE = f"""# semi-PD: prompts and tokens at once on shares of the same devices

Two engines on the same devices over one cache (arXiv 2504.19867): one computes prompts on a share of the
multiprocessors, one makes tokens on the rest, or on all while no prompt is computed, as in semi-PD's code (80 and
100 % of CUDA's MPS). Modelled: steps by the shipped calibration, compute in proportion to the share; memory bandwidth
full from {KNEE:.0%} of the multiprocessors on (assumed: no curve is published with it), below in proportion, and
divided max-min fair between two engines at work; launches and collectives as they are; arrivals (Poisson, {len(SEEDS)}
draws of {REQUESTS:,} calls). A step's speed is that at its begin. Recorded are the lengths of the calls, cut to the
{CONTEXT_TOKENS:,} tokens of semi-PD's scripts; its own workloads (ShareGPT among them) are not here. The feedback looks
at windows of 5 s and moves the share of prompts by 10 % where the step tables say that this helps; a new share is in
force after {DELAY_S:g} s (assumed; engines with it start beside those at work) without a stall. Every engine has the
same cache. Pools apart hold weights twice: DeepSeek-V3 does not fit so on eight H200. Objectives are ours: {MET:.0%} of
calls within both."""


ATTEMPTS = """Two attempts at the published ends. First the feedback gave a notch to whoever was later over its
objective, without asking the step tables; at 10 and 14 calls/s of Llama fewer calls met the tightest objectives than
now (77 and 37 %, now 90 and 46 %), for one notch more of prompts made tokens later than first tokens had been. Then
prompts took all multiprocessors while tokens rest (the last line of "otherwise"), which gains nothing: under load
tokens hardly rest. What decides is how much bandwidth the tokens' engine draws beside prompts (the lines with the
bandwidth full from 30 and 50 % on): the next lever is a measured curve of it under MPS at 80 and 100 %, where both
engines' kernels take turns on the multiprocessors that they share, which is not modelled. On prompts with short replies
(code) a fixed share of prompts costs at low rates what it wins at high ones."""


def over(tried: ShareTrial, rival: str) -> list[float]:
    """The feedback's goodput over a rival's, by objectives."""
    return [tried.goodput(tried.followed(p), p) / tried.goodput(rival, p) for p in range(len(OBJECTIVES))]


def verdict(latency: list[float], first: list[float], split: list[float]) -> str:
    """What is published beside what is found."""
    return (
        f"On conversations DeepSeek-V3's mean end-to-end latency is {range_words(latency)} times better than SGLang's"
        f" at the rates that either carries (published {LATENCY[0]} to {LATENCY[1]}: {near(latency, LATENCY)})."
        f" Llama serves {range_words(split)} times as many calls within objectives as pools apart, on which semi-PD's"
        f" version for Llama is built (published {GOODPUT[0]} to {GOODPUT[1]}: {near(split, GOODPUT)}), and"
        f" {range_words(first)} times as many as SGLang ({near(first, GOODPUT)})."
    )


def report(trials: list[ShareTrial], others: list[OtherwiseLine]) -> tuple[str, dict[str, Any]]:
    """The page and its figures, from the trials in the order in which they were run."""
    deepseek, llama = trials[0], trials[len(TRACES)]
    latency = [first / own for _, first, own in deepseek.latencies]
    first, split = over(llama, FIRST), over(llama, SPLIT)
    parts = [NOTE, verdict(latency, first, split), ATTEMPTS]
    figures: dict[str, Any] = {"claims": {"latency": latency, "goodput": first, "goodput_pools": split}}
    for tried in trials:
        parts += [f"## {tried.words}, {tried.trace}", latency_table(tried), goodput_table(tried)]
        if tried is llama:
            parts += ["What is not published, or was tried otherwise:", otherwise_table(others)]
        runs = [asdict(one) for lines in tried.lines.values() for one in lines]
        figures[f"{tried.words}, {tried.trace}"] = {"runs": runs}
    figures["otherwise"] = [asdict(one) for one in others]
    return "\n\n".join(parts), figures


def main() -> int:
    """Run, print and write."""
    trials, others = [], []
    for served in (DEEPSEEK, LLAMA):
        for name in TRACES:
            try:
                trace = recorded(name)
            except FactError as error:
                print(f"fleet_semi_pd: {error}", file=sys.stderr)
                return 2
            tried = trial(served, name, trace)
            trials.append(tried)
            print(latency_table(tried), goodput_table(tried), sep="\n\n", flush=True)
            if name == TRACES[0] and served is LLAMA:
                others = [otherwise(served, tried, trace, how) for how in (ShareModel(), *OTHERWISE)]
    text, figures = report(trials, others)
    print(text)
    write("fleet_semi_pd", figures, text, ("numpy", "numba"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
