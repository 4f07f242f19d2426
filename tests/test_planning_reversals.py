"""Known reversals of what seems cheap or good come out of the planner's own search, with no figure put in by hand."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from comptroller.costs.inference_units import ModelCostShape, attention_flops, eflops, parameter_flops
from comptroller.errors import InfeasibleError
from comptroller.facts.config import model
from comptroller.planning.ground.nouns import AxisValues, Fleet
from comptroller.planning.planner import shipped_calibration
from comptroller.planning.solve.problem import PlanningProblem, pose_problem
from comptroller.planning.solve.search import KeepChoice, keep_everything
from comptroller.strategies.recorded_price import recorded_price
from comptroller.work.evidence import Evidence
from comptroller.work.evidence_readers import read_evidence
from comptroller.work.workload import parse
from evidence_files import lines, measured

IN_USD, OUT_USD = 1e-7, 4e-7
"""Declared dollars of a token, where the evidence has none; only their ratio matters."""


def posed(evidence: Path, least: float, strategies: Iterable[str], **more: Any) -> PlanningProblem:
    """A problem at ten questions a second, bought at the recorded dollars if nothing else is said."""
    quality = {"routes": ["api"], **more.pop("quality", {})}
    quality |= {"evidence": str(evidence), "solve": {"min": 100 * least}, "strategies": list(strategies)}
    asked = parse({"name": "reversal", "rate_per_s": 10.0, "quality": quality, **more})
    return pose_problem(asked, shipped_calibration())


def solved(problem: PlanningProblem, least: float, keep: KeepChoice = keep_everything) -> Fleet:
    return problem.search.solve(replace(problem.goal, quality=(("", least),)), keep)


def used(problem: PlanningProblem, least: float, axis: str, keep: KeepChoice = keep_everything) -> set[str]:
    """Values of an axis that the plan for a target uses."""
    gets = problem.space.weight @ solved(problem, least, keep).share[0]
    options = [problem.space.options[number] for number in np.flatnonzero(gets > 1e-6)]
    return {value for option in options for value in option.axes[axis]}


def share_solved(problem: PlanningProblem, strategy: str) -> float:
    """Share of the questions that one strategy solves for everything."""
    space = problem.space
    number = next(n for n, option in enumerate(space.options) if option.play.strategy == strategy)
    return float(space.weight @ problem.search.table.score[:, number])


# ---- prices and sizes -------------------------------------------------------------------------------------


def test_the_cheaper_list_price_is_the_dearer_bill() -> None:
    """Price reversal, arXiv 2603.23971: thinking tokens make the model that is cheaper by list the dearer one."""
    low, high = "gemini-3-flash-preview", "claude-haiku-4.5"
    problem = posed(
        measured("pricing_reversal.parquet"),
        0.5,
        ["once"],
        models=[low, high],
        quality={"tasks": ["aime", "gpqa", "livemathbench"]},
    )
    space = problem.space
    listed, usd = {}, space.weight @ problem.search.table.usd
    for number, option in enumerate(space.options):
        (arm,) = option.play.models
        price = recorded_price(space.plays.evidence, arm)
        assert price is not None
        listed[space.plays.models[arm].model] = (price.input + price.output, usd[number])
    assert listed[low][0] < listed[high][0] and listed[low][1] > listed[high][1]
    assert used(problem, 0.5, "model") == {high}


def test_many_samples_of_a_small_model_lose_once_the_cache_is_priced() -> None:
    """Kinetics, arXiv 2506.05333: by FLOPs the smaller model is cheaper, with the cache's traffic the larger one."""
    sizes = {"Pythia 410M": "pythia_410m", "Pythia 1B": "pythia_1b"}
    inputs, outputs, least = 400, 800, 0.15
    problem = posed(
        measured("monkeys_pythia_math_counts.csv"),
        least,
        ["stop_on_success"],
        models=list(sizes),
        quality={
            "models": sizes,
            "routes": ["own"],
            "checker": {},
            "samples": 64,
            "lengths": {"input": {"fixed": inputs}, "output": {"fixed": outputs}},
        },
        allow={"accelerators": ["h100_sxm"], "sites": ["us_neocloud"], "formats": ["bf16"], "engines": ["vllm"]},
    )
    flops, traffic, usd = {}, {}, {}
    for name, id in sizes.items():

        def only(axes: AxisValues, name: str = name) -> bool:
            return name in axes.get("model", (name,))

        best = problem.search.solve(problem.goal, only)
        shape, samples = ModelCostShape.of(model(id)), calls(problem, best)
        flops[name] = samples * (parameter_flops(shape.params, outputs) + attention_flops(shape, inputs, outputs))
        traffic[name] = eflops(shape, inputs, outputs, samples)
        usd[name] = best.objective
    assert min(flops, key=flops.__getitem__) == "Pythia 410M"
    assert min(traffic, key=traffic.__getitem__) == "Pythia 1B"
    assert min(usd, key=usd.__getitem__) == "Pythia 1B"
    assert used(problem, least, "model") == {"Pythia 1B"}


def calls(problem: PlanningProblem, best: Fleet) -> float:
    """Mean calls of a question."""
    space, count = problem.space, len(problem.space.plays.task)
    gets = space.weight @ best.share[0]
    return float(sum(gets[n] * len(option.play.calls.question) / count for n, option in enumerate(space.options)))


def test_four_bits_pay_on_one_accelerator_and_not_on_another() -> None:
    """Small memory and slow memory gain from 4-bit weights; where arithmetic binds, unpacking them costs."""
    assert dollars("l4", ["int4_g128"]) < dollars("l4", ["bf16"])
    assert dollars("h200_sxm", ["int4_g128"]) > dollars("h200_sxm", ["bf16"])
    assert dollars("h200_sxm", ["int4_g128", "bf16"]) == dollars("h200_sxm", ["bf16"])


def dollars(accelerator: str, formats: list[str]) -> float:
    """Dollars per hour of the cheapest fleet for 400 long answers a second of an 8B model."""
    document = {
        "name": "formats",
        "models": ["llama_3_1_8b"],
        "rate_per_s": 400.0,
        "lengths": {"input": {"fixed": 100}, "output": {"fixed": 1000}},
        "objectives": {"tpot": {"max": 100, "unit": "ms"}},
        "allow": {"accelerators": [accelerator], "formats": formats, "sites": ["us_neocloud"], "engines": ["vllm"]},
    }
    problem = pose_problem(parse(json.loads(json.dumps(document))), shipped_calibration())
    return problem.search.solve(problem.goal).objective


# ---- strategies -------------------------------------------------------------------------------------------

TPR, FPR = 0.6, 0.4
"""Chance that a verdict accepts a right and a wrong solution: a weak verifier, synthetic. A strong one pays at once."""


def test_votes_come_before_verification(tmp_path: Path) -> None:
    """When To Solve, When To Verify, arXiv 2504.01005: at small budgets a vote, at large ones verdicts (synthetic)."""
    votes = ["once", *(f"sample_and_vote(n={n})" for n in (4, 8, 16))]
    verdicts = [f"generative_verification(s={s},v={v})" for s, v in ((2, 1), (4, 2), (16, 4))]
    problem = posed(lines(tmp_path / "verified.jsonl", verified()), 0.3, votes + verdicts)
    search = problem.search
    low, high = share_solved(problem, "once"), float(search.space.weight @ search.table.score.max(axis=1))
    ladder = np.linspace(low, high - 1e-6, 12)
    chosen = [used(problem, float(least), "strategy") for least in ladder]
    spent = [solved(problem, float(least)).objective for least in ladder]
    assert chosen[0] == {"once"} and "generative_verification" in chosen[-1] and spent == sorted(spent)
    first = {name: next((n for n, names in enumerate(chosen) if name in names)) for name in set().union(*chosen)}
    assert 0 < first["sample_and_vote"] < first["generative_verification"]


def verified(seed: int = 0, questions: int = 100, samples: int = 16) -> list[dict[str, Any]]:
    """Solutions and verdicts of the same length: chances Beta(0.8, 1.2), six wrong answers, verdicts that repeat."""
    rng = np.random.default_rng(seed)
    rows = []
    for question in range(questions):
        p, spread = rng.beta(0.8, 1.2), rng.dirichlet(np.full(6, 0.5))
        for sample in range(-1, samples):
            right = bool(rng.random() < p)
            answer = "right" if right else f"wrong {rng.choice(6, p=spread)}"
            id = f"{question}/{sample}"
            told = {"id": id, "answer": answer, "score": float(right), "temperature": float(sample >= 0)}
            rows.append({**reply(question, 100.0), "sample": max(sample, 0), **told})
            mean = TPR if right else FPR
            chance = rng.beta(2 * mean, 2 * (1 - mean))
            for verdict in range(4 if sample >= 0 else 0):
                said = {"role": "verifier", "parent": id, "judgement": float(rng.random() < chance)}
                rows.append({**reply(question, 600.0), "sample": verdict, "temperature": 1.0, **said})
    return rows


def reply(question: int, input_tokens: float) -> dict[str, Any]:
    usd = IN_USD * input_tokens + OUT_USD * 500
    tokens = {"input_tokens": input_tokens, "output_tokens": 500.0, "usd": usd}
    return {"question": f"q{question}", "model": "m", **tokens}


@pytest.fixture(scope="module")
def own() -> Evidence:
    found = read_evidence("own")
    assert isinstance(found, Evidence)
    return found


def solvers(own: Evidence, efforts: Iterable[str], only: str = "") -> list[dict[str, Any]]:
    """Recorded replies of the 8-bit model at some efforts, to the questions that one effort was asked about."""
    arms = {n: arm for n, arm in enumerate(own.arms) if arm.format == "Q8_0"}
    about = [n for n, arm in arms.items() if arm.effort == only]
    kept = set(own.rows.question[np.isin(own.rows.arm, about or list(arms))].tolist())
    rows: list[dict[str, Any]] = []
    for row in range(len(own)):
        if own.rows.role[row] != "solver" or int(own.rows.question[row]) not in kept:
            continue
        arm = arms.get(int(own.rows.arm[row]))
        if arm and arm.effort in efforts:
            rows.append({"model": arm.model, "effort": arm.effort, **recorded(own, row)})
    return rows


def recorded(own: Evidence, row: int) -> Mapping[str, Any]:
    at = own.rows
    item = own.items[at.question[row]]
    told = {name: float(getattr(at, name)[row]) for name in ("score", "temperature", "input_tokens", "output_tokens")}
    usd = IN_USD * told["input_tokens"] + OUT_USD * told["output_tokens"]
    named = {"question": item.id, "task": item.task, "sample": int(at.sample[row]), "finish": str(at.finish[row])}
    return {**named, **told, "answer": at.answer[row], "usd": usd}


@pytest.mark.slow
def test_greedy_is_the_plan_where_nothing_verifies(own: Evidence, tmp_path: Path) -> None:
    """Recorded answers of a small model: voting pays little at several times the price; a checker changes that."""
    file = lines(tmp_path / "direct.jsonl", solvers(own, ["direct"]))
    strategies = ["once", "sample_and_vote(n=4)", "sample_and_vote(n=8)", "stop_on_success(cap=8)"]
    problem = posed(file, 0.2, strategies, quality={"checker": {}})
    greedy, space = share_solved(problem, "once"), problem.space
    for least in (0.5 * greedy, 0.9 * greedy):
        assert used(problem, least, "strategy", unchecked) == {"once"}
    per_solved = (space.weight @ problem.search.table.usd) / (space.weight @ problem.search.table.score)
    dollars = {option.play.name: per_solved[n] for n, option in enumerate(space.options) if unchecked(option.axes)}
    assert min(dollars, key=dollars.__getitem__) == "once"
    with pytest.raises(InfeasibleError, match="best supported"):
        solved(problem, greedy + 0.1, unchecked)
    assert "stop_on_success" in used(problem, greedy + 0.1, "strategy")


def unchecked(axes: AxisValues) -> bool:
    return "stop_on_success" not in axes.get("strategy", ())


def test_thinking_is_not_bought_where_it_does_not_help(own: Evidence, tmp_path: Path) -> None:
    """Recorded on short answers (products, multiples, bits): the steps cost more tokens and solve less."""
    file = lines(tmp_path / "efforts.jsonl", solvers(own, ["direct", "steps"], only="steps"))
    problem = posed(file, 0.1, ["once", "sample_and_vote"])
    space, search = problem.space, problem.search
    assert {str(arm) for arm in space.plays.models} == {"SmolLM2-135M-Instruct direct", "SmolLM2-135M-Instruct steps"}
    direct = [n for n, option in enumerate(space.options) if option.axes["model"] == {"SmolLM2-135M-Instruct direct"}]
    top = float(space.weight @ search.table.score[:, direct].max(axis=1))
    for least in np.linspace(0.1, 0.9 * top, 4):
        assert used(problem, float(least), "model") == {"SmolLM2-135M-Instruct direct"}
