"""Workloads on which levers of serving are tried, and their proven fleets."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from comptroller.errors import InfeasibleError
from comptroller.planning.ground.plan_document import Plan
from comptroller.planning.planner import plan, shipped_calibration
from comptroller.planning.prove.arrivals import RehearsalSettings
from comptroller.planning.prove.fleet_search import FleetSearch
from comptroller.planning.prove.stage import FleetStage
from comptroller.planning.solve.infeasible import solve_or_explain
from comptroller.planning.solve.problem import PlanningProblem, pose_problem
from comptroller.work.workload import parse

FEW = RehearsalSettings(draws=3)


def workload(rate: float, sizes: tuple[float, float], ttft: float, tpot: float, **allow: Any) -> dict[str, Any]:
    """Llama 8B in fp8 on H100: requests per second, median tokens in and out, objectives in milliseconds at p95."""
    names = ("input", "output")
    return {
        "name": "levers",
        "models": ["llama_3_1_8b"],
        "rate_per_s": rate,
        "lengths": {n: {"median": m, "mean": 1.2 * m, "most": int(4 * m)} for n, m in zip(names, sizes, strict=True)},
        "objectives": {"ttft": {"p": 95, "max": ttft, "unit": "ms"}, "tpot": {"p": 95, "max": tpot, "unit": "ms"}},
        "allow": {
            "sites": ["us_neocloud"],
            "accelerators": ["h100_sxm"],
            "engines": ["vllm"],
            "formats": ["fp8_e4m3"],
            **allow,
        },
        "kind_usd_per_h": 0.0,
    }


def problem_of(document: dict[str, Any]) -> PlanningProblem:
    """Its choices, evaluated."""
    return pose_problem(parse(document), shipped_calibration())


def planned(document: dict[str, Any]) -> Plan:
    """Its plan."""
    return plan(parse(document), rehearsal=FEW)


@cache
def _cost(text: str) -> float:
    problem = problem_of(eval(text))
    try:
        best = solve_or_explain(problem.search, problem.goal)
        return FleetSearch(FleetStage(problem, best, shipped_calibration(), FEW)).solve(problem.goal).objective
    except InfeasibleError:
        return np.inf


def cost(document: dict[str, Any]) -> float:
    """Dollars per hour of its proven fleet, infinite where nothing holds."""
    return _cost(repr(document))
