"""How fast the planner is: one cost point, many at once, the search for one node type, the search for everything.

`python benchmarks/plan_speed.py` writes results/plan_speed.{json,md}. CPU seconds of one process, best of the
repeats: other work on the machine only ever adds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from comptroller.costs.deployment import EngineSettings, ModelReplica, ParallelLayout, PrecisionRecipe
from comptroller.costs.replica_timer import replica_timer
from comptroller.costs.step import ReplicaStep
from comptroller.costs.timing import ReplicaTimer
from comptroller.facts.accelerator import accelerator
from comptroller.facts.config import model
from comptroller.facts.engine import engine_facts
from comptroller.facts.reader import ids
from comptroller.planning.planner import plan, shipped_calibration
from comptroller.planning.solve.problem import pose_problem
from comptroller.work.workload import Workload, parse
from record import table, write

POINTS = 100_000
MODELS = ("llama_3_1_70b", "llama_3_1_8b", "mixtral_8x7b", "qwen3_30b_a3b", "gpt_oss_120b")


@dataclass(frozen=True, slots=True)
class Measured:
    """A timed task: the target and what it took, in seconds of CPU."""

    name: str
    took_s: float
    most_s: float | None
    note: str = ""

    @property
    def row(self) -> list[str]:
        """The line of the table."""
        most = "–" if self.most_s is None else duration(self.most_s)
        met = "–" if self.most_s is None else "met" if self.took_s <= self.most_s else "missed"
        return [self.name, duration(self.took_s), most, met, self.note]


def duration(seconds: float) -> str:
    """Seconds, milliseconds or microseconds, three digits."""
    for factor, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "us"), (1e-9, "ns")):
        if seconds >= factor:
            return f"{seconds / factor:.3g} {unit}"
    return "0 s"


def best_s(task: Callable[[], object], repeats: int) -> float:
    """Least CPU seconds of a few runs."""
    taken = []
    for _ in range(repeats):
        start = time.process_time()
        task()
        taken.append(time.process_time() - start)
    return min(taken)


def replica() -> ReplicaTimer:
    """Llama 3.1 70B in bf16 on four H100 under vLLM."""
    engine = EngineSettings.default(engine_facts("vllm"))
    parts = (model("llama_3_1_70b"), accelerator("h100_sxm"), PrecisionRecipe(), ParallelLayout(tp=4), engine)
    return replica_timer(ModelReplica(*parts), shipped_calibration())


def points() -> list[Measured]:
    """One step at a time, and many in one call."""
    ready = replica()
    one = ReplicaStep.decode(32.0, 32 * 2048.0)
    batch = np.linspace(1, 512, POINTS)
    many = ReplicaStep.decode(batch, batch * 2048.0)
    ready.step(many)
    single = best_s(lambda: [ready.step(one) for _ in range(200)], 5) / 200
    vector = best_s(lambda: ready.step(many), 5) / POINTS
    return [
        Measured("one cost point", single, 1e-3, "a decode step of a 70B model on four devices"),
        Measured("a point, vectorised", vector, 5e-6, f"{POINTS:,} points in one call"),
    ]


def workload(name: str, models: tuple[str, ...], allow: Mapping[str, Sequence[str]]) -> Workload:
    """20 requests per second of a spread of sizes with TTFT and TPOT objectives, on-demand offers."""
    return parse(
        {
            "name": name,
            "models": list(models),
            "rate_per_s": 20.0,
            "objectives": {"ttft": {"max": 1000.0, "unit": "ms"}, "tpot": {"max": 50.0, "unit": "ms"}},
            "lengths": {
                "input_edges": [1, 256, 1024, 4096, 8192],
                "output_edges": [1, 64, 256, 1024],
                "weights": [[2, 3, 1], [3, 6, 2], [2, 4, 2], [1, 1, 1]],
            },
            "allow": {kind: list(names) for kind, names in allow.items()},
        }
    )


def searches() -> Iterator[Measured]:
    """Pose and solve for one node type, and for everything there is; then the whole plan of the first."""
    one = {"accelerators": ["h100_sxm"], "sites": ["us_neocloud"], "formats": ids("formats")}
    node = workload("node", MODELS[:1], one)
    yield _search("one 8-GPU node type, one 70B model, all formats and layouts", node, 1.0, 3)
    yield _search("all accelerators and sites, five models, default formats", workload("all", MODELS, {}), 10.0, 1)
    plan(node)  # compiles the event engine, once per machine
    took = best_s(lambda: plan(node), 1)
    said = "with shadow prices, runners-up, frontier and simulation"
    yield Measured("whole plan: one 8-GPU node type", took, None, said)


def _search(name: str, asked: Workload, most_s: float, repeats: int) -> Measured:
    counts = []

    def search() -> None:
        problem = pose_problem(asked, shipped_calibration())
        problem.search.solve(problem.goal)
        counts.append(sum(len(offers.deployments) for offers in problem.space.offers.values()))

    took = best_s(search, repeats)
    return Measured(f"search: {name}", took, most_s, f"{counts[0]:,} deployments")


def main() -> None:
    """Measure everything and write the results."""
    measured = [*points(), *searches()]
    text = "# Speed of the planner\n\n" + table(
        ["task", "CPU time", "target", "", "what"], [entry.row for entry in measured]
    )
    figures = {entry.name: {"took_s": entry.took_s, "most_s": entry.most_s} for entry in measured}
    print(write("plan_speed", figures, text).read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
