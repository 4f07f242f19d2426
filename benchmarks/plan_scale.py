"""How long the joint search takes at its full width: 5 models x 4 formats x 12 strategies' grids x all accelerators.

`python benchmarks/plan_scale.py` writes results/plan_scale.{json,md}. The evidence is synthetic, drawn from a seed: it
has every kind of reply that the strategies ask for, and says nothing about any model. Seconds are those of the clock.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from comptroller.facts.reader import ids
from comptroller.planning.ground.executor import ProcessExecutor, no_progress
from comptroller.planning.planner import REHEARSAL, rehearse, shipped_calibration
from comptroller.planning.solve.problem import pose_problem
from comptroller.planning.write.plan import document
from comptroller.strategies.recorded_roles import uses
from comptroller.strategies.spelling import names, rule
from comptroller.work.evidence import (
    REVISER,
    SOLVER,
    STEP,
    VERIFIER,
    Evidence,
    RecordedModel,
    RecordedQuestion,
    columns,
)
from comptroller.work.evidence_readers.parquet import write_evidence
from comptroller.work.workload import Workload, parse
from record import table, write

MODELS = ("llama_3_1_8b", "gpt_oss_20b", "qwen3_30b_a3b", "mixtral_8x7b", "llama_3_1_70b")
FORMATS = ("bf16", "fp8_e4m3", "int8", "int4_awq_g128")
QUESTIONS, SAMPLES, VERDICTS, ROUNDS = 40, 64, 8, 4
CHECKED, REVISED = 16, 4
"""Samples with verdicts, and samples that are revised, of each question and arm."""

STRATEGIES = tuple(name for name in names() if name != "sleep_time" and STEP not in uses(rule(name)))
"""All but those that need notes on a context or steps, which are no part of this evidence."""


class Drawn:
    """Rows of synthetic evidence, drawn one after the other."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.rows: list[dict[str, Any]] = []

    def add(self, question: int, arm: int, **more: Any) -> int:
        """One reply; the larger the arm's model, the likelier right and the dearer."""
        level = 0.25 + 0.1 * (arm // len(FORMATS)) - 0.02 * (arm % len(FORMATS))
        right = self.rng.random() < np.clip(level + 0.5 * np.sin(question), 0.05, 0.95)
        row = {
            "question": question, "arm": arm, "role": SOLVER, "parent": -1, "sample": 0, "temperature": 1.0,
            "score": float(right), "answer": "a" if right else str(self.rng.choice(list("bcd"))),
            "judgement": float(self.rng.random()), "input_tokens": 200.0 + 10 * (question % 40),
            "output_tokens": float(np.ceil(self.rng.lognormal(5.5, 0.8))), "finish": "stop",
        }  # fmt: skip
        self.rows.append({**row, **more})
        return len(self.rows) - 1

    def question(self, question: int, arm: int) -> None:
        """Every kind of reply of an arm to a question."""
        self.add(question, arm, temperature=0.0)
        for sample in range(SAMPLES):
            top = self.add(question, arm, sample=sample)
            self.add(question, arm, parent=top, output_tokens=16.0)
            for verdict in range(VERDICTS if sample < CHECKED else 0):
                said = {"role": VERIFIER, "score": np.nan, "answer": None, "output_tokens": 40.0}
                self.add(question, arm, parent=top, sample=verdict, **said)
            for _ in range(ROUNDS if sample < REVISED else 0):
                top = self.add(question, arm, role=REVISER, parent=top)

    def evidence(self) -> Evidence:
        """All rows as evidence."""
        arms = tuple(RecordedModel(model, form) for model in MODELS for form in FORMATS)
        for question in range(QUESTIONS):
            for arm in range(len(arms)):
                self.question(question, arm)
        made = {name: np.array([row[name] for row in self.rows]) for name in self.rows[0] if name != "answer"}
        made["answer"] = np.array([row["answer"] for row in self.rows], object)
        items = tuple(RecordedQuestion(f"q{n}", f"question {n}?", ("even", "odd")[n % 2]) for n in range(QUESTIONS))
        return Evidence(items, arms, columns(len(self.rows), **made), source="synthetic evidence")


def workload(file: Path) -> Workload:
    """Twenty questions a second, 60 % to be solved, on anything that the facts know."""
    quality = {
        "evidence": str(file),
        "solve": {"min": 60, "unit": "%"},
        "strategies": list(STRATEGIES),
        "checker": {"tpr": 0.9, "fpr": 0.1},
    }
    objectives = {"ttft": {"max": 2.0, "unit": "s"}, "tpot": {"max": 100.0, "unit": "ms"}}
    return parse({"name": "scale", "rate_per_s": 20.0, "quality": quality, "objectives": objectives})


class Clock:
    """Seconds of the clock and of CPU, this process and those it started and that have ended."""

    def __init__(self) -> None:
        self.start_s, self.start_cpu_s = time.monotonic(), self._cpu_s()

    @staticmethod
    def _cpu_s() -> float:
        spent = os.times()
        return spent.user + spent.system + spent.children_user + spent.children_system

    def row(self, what: str, note: str) -> list[str]:
        """A line of the table."""
        took, cpu = time.monotonic() - self.start_s, self._cpu_s() - self.start_cpu_s
        print(f"{what}: {took:.1f} s, CPU {cpu:.1f} s, {note}", flush=True)
        return [what, f"{took:.1f}", f"{cpu:.1f}", f"{os.getloadavg()[0]:.1f}", note]


def measured(file: Path) -> Iterator[list[str]]:
    """Every stage of the search, one after the other."""
    asked, known = workload(file), shipped_calibration()
    clock = Clock()
    problem = pose_problem(asked, known, no_progress, ProcessExecutor())
    space = problem.space
    deployments = sum(len(offers.deployments) for offers in space.offers.values())
    yield clock.row(
        "strategies played, deployments evaluated", f"{len(space.options):,} options, {deployments:,} deployments"
    )
    clock = Clock()
    best = problem.search.solve(problem.goal)
    yield clock.row("the optimum", f"{best.objective:.4f} USD/h for {best.solved:.1%}")
    clock = Clock()
    found = document(problem, best, None)
    solves = f"{len(found.shadow_prices)} prices, {len(found.runners_up)} rivals, {len(found.frontier)} points"
    yield clock.row("shadow prices, runners-up, frontier, intervals", solves)
    clock = Clock()
    proven, _, verified = rehearse(problem, best, known, REHEARSAL)
    assert verified is not None
    yield clock.row(
        "simulated with its call graphs", f"{len(verified.document.rounds)} fleets for {proven.goal.demand:.2f} x"
    )


def _reached(what: str, most_s: float, seconds: list[float]) -> list[str]:
    """A line of the targets: the sum of stages beside the most that is asked."""
    return [what, f"{most_s:g}", f"{sum(seconds):.1f}", "met" if sum(seconds) <= most_s else "missed"]


def main() -> None:
    """Measure and write the results; a folder may be named where the evidence is kept between runs."""
    with tempfile.TemporaryDirectory() as made:
        file = Path(sys.argv[1] if len(sys.argv) > 1 else made) / "plan_scale.parquet"
        if not file.exists():
            write_evidence(Drawn(1).evidence(), file)
        rows = list(measured(file))
    head = ["stage", "seconds", "CPU seconds", "load of the machine", "what"]
    seconds = [float(row[1]) for row in rows]
    reached = [
        _reached("without simulation", 15, seconds[:2]),
        _reached("without simulation, all reasons", 15, seconds[:3]),
        _reached("with simulation", 60, seconds[:2] + seconds[3:]),
        _reached("with simulation, all reasons", 60, seconds),
    ]
    text = (
        "# The joint search at full width\n\n"
        f"**Synthetic evidence**: {len(MODELS)} models x {len(FORMATS)} formats, {QUESTIONS} questions, "
        f"{len(STRATEGIES)} strategies at their grids, {len(ids('accelerators'))} accelerators at all sites, "
        "two processes; re-solves in two threads.\n\n"
        + table(head, rows)
        + "\n\n"
        + table(["whole search", "target, s", "reached, s", ""], reached)
    )
    write(
        "plan_scale",
        {row[0]: {"s": float(row[1]), "cpu_s": float(row[2]), "load": float(row[3])} for row in rows},
        text,
    )


if __name__ == "__main__":
    main()
