"""A small joint problem for tests: seeded evidence as a file, a workload on it, and the problem that it poses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from comptroller.planning.planner import shipped_calibration
from comptroller.planning.solve.problem import PlanningProblem, pose_problem
from comptroller.work.workload import parse
from strategy_evidence import drawn


def recorded_in(folder: Path) -> Path:
    """The seeded evidence as a file: two models, twelve questions, greedy and sampled replies with prices."""
    evidence = drawn(3, questions=12, samples=8)
    rows = []
    for row in range(len(evidence)):
        at = evidence.rows
        if at.role[row] != "solver":
            continue
        rows.append(
            {
                "question": evidence.items[at.question[row]].id,
                "task": "even" if at.question[row] % 2 else "odd",
                "model": evidence.arms[at.arm[row]].model,
                "sample": int(at.sample[row]),
                "temperature": float(at.temperature[row]),
                "score": float(at.score[row]),
                "answer": at.answer[row],
                "input_tokens": 400.0,
                "output_tokens": float(at.output_tokens[row]) * 10,
                "usd": float(at.usd[row]),
            }
        )
    file = folder / "drawn.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def workload(recorded: Path, least: float = 60.0, **more: Any) -> dict[str, Any]:
    quality = {
        "evidence": str(recorded),
        "solve": {"min": least, "unit": "%"},
        "strategies": ["once", "sample_and_vote"],
        "models": {"small": "llama_3_1_8b", "large": "llama_3_1_70b"},
        **more.pop("quality", {}),
    }
    allow = {"accelerators": ["h100_sxm", "l4"], "sites": ["us_neocloud"], "engines": ["vllm"], "formats": ["fp8_e4m3"]}
    return {"name": "drawn", "rate_per_s": 40.0, "quality": quality, "allow": allow, **more}


def posed(document: dict[str, Any]) -> PlanningProblem:
    return pose_problem(parse(document), shipped_calibration())
