"""Adapters and base models on the recorded request trace: loads and hit rate, recorded and modelled."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path

import numpy as np
from pyarrow import parquet

from comptroller.costs.adapters import adapter_bytes, load_s, miss_share
from comptroller.costs.deployment import AdapterSet, EngineSettings, ModelReplica, ParallelLayout, PrecisionRecipe
from comptroller.facts.accelerator import accelerator
from comptroller.facts.config import model
from comptroller.facts.engine import engine_facts
from comptroller.serving.engine import simulate
from comptroller.serving.fleet import ServingPolicies, SimulatedFleet, SimulatedReplica, SimulatedService
from comptroller.serving.outcome import EngineOutcome
from comptroller.serving.ticks import linear
from comptroller.work.call import CallTable
from record import table, write
from served import ROOT, WORDS, step_table

FOLDER = Path(os.environ.get("COMPTROLLER_DATA", ROOT.parent / "shared" / "data")) / "fleet"
ROUTINGS = ("least_request", "round_robin", "adapter_affinity")
TICK_S = 0.5
"""A container's step: times are recorded in whole seconds, and half of one starts requests closer to their arrival."""
REPLICAS, RATE_PER_S, RANK = 4, 8.0, 16
SLOTS = (4, 8, 16, 32)


@dataclass(frozen=True)
class RecordedLoads:
    """What the metrics say: containers, seconds, requests, loads of base models and their mean seconds."""

    containers: int
    span_s: float
    requests: int
    loads: int
    load_s: float
    halves: tuple[float, float]

    def words(self) -> str:
        """In a sentence or two."""
        first, second = self.halves
        return (
            f"{self.requests:,} requests on {self.containers} containers in {self.span_s / 3600:.1f} h,"
            f" {self.loads:,} loads of a base model,\n{self.load_s:.1f} s each in the mean: {self.per_request:.3f}"
            f" loads a request ({first:.3f} in the first half, {second:.3f} in the second)."
        )

    @property
    def per_request(self) -> float:
        """Loads for each request."""
        return self.loads / self.requests


@dataclass(frozen=True)
class AdapterLine:
    """One run: loads for each request that names an adapter, and the wait for the first token or the start."""

    routing: str
    slots: int
    loads: float
    expected: float
    start_p50_s: float
    start_p99_s: float
    busy: float


def metrics() -> RecordedLoads:
    """Of `genai_metrics.parquet`."""
    read = parquet.read_table(FOLDER / "genai_metrics.parquet")
    names, at = np.array(read["metric"].to_pylist()), read["t_s"].to_numpy()
    values = read["value"].to_numpy()
    hosts = np.array([-1 if host is None else host for host in read["container"].to_pylist()])
    asked, loaded = names == "request_ms", names == "base_model_load_ms"
    late = at > np.median(at[asked])
    halves = tuple(float((loaded & part).sum() / (asked & part).sum()) for part in (~late, late))
    return RecordedLoads(
        len(set(hosts[asked].tolist())),
        float(np.ptp(at[asked])),
        int(asked.sum()),
        int(loaded.sum()),
        float(values[loaded].mean() / 1000),
        (halves[0], halves[1]),
    )


def requests() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of `genai_requests.parquet`: seconds of arrival, seconds of execution, number of the base model from 1."""
    read = parquet.read_table(FOLDER / "genai_requests.parquet")
    named = np.array([one is not None for one in read["base_model"].to_pylist()])
    at = np.array([datetime.fromisoformat(text).timestamp() for text in read["created"].to_pylist()])[named]
    models = np.array([one for one in read["base_model"].to_pylist() if one is not None])
    order = np.argsort(at, kind="stable")
    numbers = np.unique(models, return_inverse=True)[1] + 1
    return at[order] - at.min(), read["exec_s"].to_numpy()[named][order], numbers[order]


def calls_with(arrival_s: np.ndarray, prompts: np.ndarray, outputs: np.ndarray, adapters: np.ndarray) -> CallTable:
    """Calls that each want an adapter, by number from 1."""
    names = ("", *(f"M{number:04d}" for number in range(1, int(adapters.max()) + 1)))
    return CallTable.of(
        {"adapter": names}, None, arrival_s=arrival_s, input_tokens=prompts, output_tokens=outputs, adapter=adapters
    )


def line(found: EngineOutcome, routing: str, slots: int, expected: float) -> AdapterLine:
    """What a run shows."""
    start_s = found.ttft_s[np.isfinite(found.ttft_s)]
    p50, p99 = np.percentile(start_s, (50, 99)).tolist()
    loads = float(found.requests.adapter_loads.sum() / len(found))
    return AdapterLine(routing, slots, loads, expected, p50, p99, float(found.meters.busy_s.mean() / found.horizon_s))


def containers(seen: RecordedLoads) -> list[AdapterLine]:
    """The recorded requests, at the pace of the metrics, on as many containers of one request each."""
    at_s, exec_s, models = requests()
    # Idle stretches of the seventeen days are drawn together by the order: gaps are those of a steady stream.
    gaps = np.random.default_rng(0).exponential(seen.span_s / seen.requests, len(at_s))
    steps = np.maximum(np.rint(exec_s / TICK_S), 1).astype(int)
    calls = calls_with(np.cumsum(gaps), np.ones(len(at_s), int), steps, models)
    one = linear(base_s=TICK_S, token_s=0.0, sequence_s=0.0, max_batch=1)
    lines = []
    for slots in (1, 2):
        for routing in ROUTINGS:
            replica = SimulatedReplica(one, adapter_slots=slots, adapter_load_s=seen.load_s)
            service = SimulatedService("all", (replica,) * seen.containers)
            found = simulate(SimulatedFleet((service,), ServingPolicies(routing)), calls)
            lines.append(line(found, routing, slots, seen.per_request))
    return lines


def adapters_on_language_models() -> tuple[float, list[AdapterLine]]:
    """The recorded sequence as adapters of rank 16 beside one language model; the formula's misses where they hold."""
    _, _, models = requests()
    counts = np.sort(np.bincount(models)[1:])[::-1]
    ranks = np.log(np.arange(1, counts.size + 1))
    skew = float(-np.polyfit(ranks, np.log(counts), 1, w=np.sqrt(counts))[0])
    rng = np.random.default_rng(1)
    lengths = np.clip(rng.lognormal(6.5, 0.8, len(models)), 16, 6000).astype(int)
    outputs = np.clip(rng.lognormal(4.8, 0.8, len(models)), 2, 1000).astype(int)
    calls = calls_with(np.cumsum(rng.exponential(1 / RATE_PER_S, len(models))), lengths, outputs, models)
    shuffled = calls.with_columns(adapter=rng.permutation(models))
    table_, lines = step_table(), []
    engine = EngineSettings.default(engine_facts("vllm"))
    for slots in SLOTS:
        served = AdapterSet(int(counts.size), RANK, slots, skew)
        priced = ModelReplica(
            model("llama_3_1_8b"), accelerator("h100_sxm"), PrecisionRecipe(), ParallelLayout(),
            replace(engine, adapters=served),
        )  # fmt: skip
        one = SimulatedReplica(table_, adapter_slots=slots, adapter_load_s=load_s(priced))
        for routing, asked in (*((name, calls) for name in ROUTINGS), ("least_request, shuffled", shuffled)):
            service = SimulatedService("all", (one,) * REPLICAS)
            found = simulate(SimulatedFleet((service,), ServingPolicies(routing.partition(",")[0])), asked)
            expected = miss_share(served) if routing != "adapter_affinity" else float("nan")
            lines.append(line(found, routing, slots, expected))
    return adapter_bytes(priced) / 1e6, lines


def rows_of(lines: list[AdapterLine]) -> list[list[str]]:
    """Rows of a table."""
    return [
        [
            one.routing,
            str(one.slots),
            f"{one.loads:.3f}",
            f"{1 - one.loads:.1%}",
            "–" if np.isnan(one.expected) else f"{one.expected:.3f}",
            f"{one.start_p50_s:.3g} s",
            f"{one.start_p99_s:.3g} s",
            f"{one.busy:.0%}",
        ]
        for one in lines
    ]


HEADS = ("routing", "slots", "loads a request", "hit rate", "{}", "first token p50", "p99", "busy")


def headings(expected: str) -> list[str]:
    """With what stands beside the loads."""
    return [head.format(expected) for head in HEADS]


def main() -> int:
    """Run, print and write."""
    if not (FOLDER / "genai_metrics.parquet").is_file():
        print(f"fleet_adapters: no genai_metrics.parquet in {FOLDER}", file=sys.stderr)
        return 2
    seen = metrics()
    hosts = containers(seen)
    megabytes, beside = adapters_on_language_models()
    nearest = min(hosts, key=lambda each: abs(each.loads - seen.per_request))
    text = f"""# Base models and adapters on a recorded trace

Alibaba's image requests of 2024 (cluster-trace-v2026-GenAI). Recorded by the metrics: {seen.words()}
Recorded by the requests: the order of base models and the seconds of each, on other days. Which adapter a request
wanted is recorded nowhere, only how many; what is loaded and evicted here are base models, which a container holds as a
replica holds an adapter. Modelled: who goes where, arrivals (a Poisson stream at the metrics' mean rate), slots, and
that the least recently used goes. Nothing is fitted: `adapter_affinity` has the bound of consistent hashing, 1.25.

## Containers that hold base models

Nearest to what was recorded: {nearest.routing} with {nearest.slots} slot{"s" * (nearest.slots > 1)},
{nearest.loads:.3f} loads a request against {seen.per_request:.3f}.

{table(headings("recorded"), rows_of(hosts))}

## The same sequence as adapters of a language model

{REPLICAS} replicas ({WORDS}), {RATE_PER_S:g} requests
a second (modelled), each base model an adapter of rank {RANK} ({megabytes:.0f} MB). Beside the loads stands what the
planner's formula says (`costs.adapters.miss_share`, Che's approximation for a popularity that falls as a power of the
rank and requests that name adapters independently), for routings that do not look at adapters. Shuffled: the same
requests in random order, as the formula takes them; what is left is that the recorded popularity falls faster than a
power of the rank where many slots are.

{table(headings("formula"), rows_of(beside))}"""
    print(text)
    figures = {
        "recorded": asdict(seen) | {"per_request": seen.per_request},
        "containers": [asdict(one) for one in hosts],
        "adapters": [asdict(one) for one in beside],
    }
    write("fleet_adapters", figures, text, ("numpy", "numba", "pyarrow"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
