"""The joint plan against planners that move one lever, on the same workloads and evidence.

    python benchmarks/joint.py        (data at ../shared/data or COMPTROLLER_DATA)

Writes results/joint.{json,md}. Three workloads (`benchmarks/workloads/joint_*.toml`), several targets each. Savings
carry 80 % intervals: questions resampled within their tasks, every planner solved again on each resample. Held out:
chosen on one half of the questions, judged on the other, fleets sized anew for it. Every line says what of it was
recorded and what is modelled.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from comptroller.errors import InfeasibleError
from comptroller.planning.ground.nouns import Goal
from comptroller.planning.planner import shipped_calibration
from comptroller.planning.solve.problem import PlanningProblem, pose_problem
from comptroller.planning.solve.search import PlanSearch, describe_option
from comptroller.strategies.success_prediction import SuccessPredictor
from comptroller.strategies.training import TrainingOutcomes, fit
from comptroller.work.workload import Workload, load
from joint_planners import PLANNERS, Chosen, Planner, jointly, priced
from record import table, write

Floats = npt.NDArray[np.float64]

HERE = Path(__file__).parent
TARGETS: Mapping[str, tuple[float, ...]] = {
    "joint_apis": (0.75, 0.80, 0.85, 0.88),
    "joint_open": (0.50, 0.55, 0.57),
    "joint_pythia": (0.15, 0.25, 0.30),
}
RESAMPLES, SPLITS, STRICT_SPLITS, SEED = 60, 5, 2, 0
THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)
TRUSTED = "joint_apis"
TRAINED_ON = "gpt-5-mini"
"""The model whose replies the shipped cascade's trust was trained on (benchmarks/train_strategies.py)."""


@dataclass(frozen=True)
class Line:
    """A planner at a target. saving: of the joint plan over it, with the 80 % interval; None where it has no answer.

    held_usd_per_h, held_solved: chosen on half, judged on the other, means over splits; held: splits with an answer.
    """

    workload: str
    target: float
    planner: str
    usd_per_h: float | None
    solved: float | None
    usd_per_thousand_solved: float | None
    saving: float | None
    low: float | None
    high: float | None
    choice: str
    standing: str
    held_usd_per_h: float | None = None
    held_solved: float | None = None
    held: int = 0


def posed(workload: Workload) -> PlanningProblem:
    """The problem of a workload."""
    return pose_problem(workload, shipped_calibration())


def at(problem: PlanningProblem, least: float) -> Goal:
    """The goal with another target."""
    return replace(problem.goal, quality=(("", least), *problem.goal.quality[1:]))


def attempt(planner: Planner, search: PlanSearch, goal: Goal) -> tuple[float, float, Chosen] | None:
    """Dollars per hour, share solved and the choice; None where the planner has no answer."""
    try:
        chosen = planner(search, goal)
        return *priced(search, goal, chosen), chosen
    except InfeasibleError:
        return None


def resamples(problem: PlanningProblem, goal: Goal) -> dict[str, Floats]:
    """Dollars per hour of every planner on every resample of the questions, NaN where it has no answer."""
    rng = np.random.default_rng(SEED)
    found = {name: np.full(RESAMPLES, np.nan) for name in PLANNERS}
    for number in range(RESAMPLES):
        search = PlanSearch(problem.space, drawn(problem, rng))
        for name, planner in PLANNERS.items():
            if got := attempt(planner, search, goal):
                found[name][number] = got[0]
    return found


def drawn(problem: PlanningProblem, rng: np.random.Generator) -> Floats:
    """How often each question is drawn, with replacement within its task."""
    task = problem.space.plays.task
    counts = np.zeros(len(task))
    for number in range(len(problem.space.plays.tasks)):
        mine = np.flatnonzero(task == number)
        counts[mine] = np.bincount(rng.integers(0, len(mine), len(mine)), minlength=len(mine))
    return counts


def halves(problem: PlanningProblem, splits: int) -> Iterator[Floats]:
    """Halves of the questions, evenly over tasks: each and what it leaves."""
    task = problem.space.plays.task
    rng = np.random.default_rng([SEED, 1])
    for _ in range(splits):
        order = rng.permutation(len(task))
        ranked = order[np.argsort(task[order], kind="stable")]
        half = np.zeros(len(task))
        half[ranked[::2]] = 1.0
        yield from (half, 1.0 - half)


def judged(problem: PlanningProblem, goal: Goal) -> dict[str, list[tuple[float, float]]]:
    """Dollars per hour and share solved on the half that a choice was not made on."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in PLANNERS}
    for half in halves(problem, SPLITS):
        told, other = PlanSearch(problem.space, half), PlanSearch(problem.space, 1.0 - half)
        for name, planner in PLANNERS.items():
            if got := attempt(planner, told, goal):
                found[name].append(priced(other, goal, got[2]))
    return found


def lines(name: str, problem: PlanningProblem, least: float) -> Iterator[Line]:
    """Every planner at a target; intervals and held-out figures at each."""
    goal, search = at(problem, least), problem.search
    best = attempt(jointly, search, goal)
    if best is None:
        raise SystemExit(f"{name}: {least:.0%} is out of reach")
    costs, held = resamples(problem, goal), judged(problem, goal)
    for planner, solver in PLANNERS.items():
        got = attempt(solver, search, goal)
        if got is None:
            yield Line(name, least, planner, *[None] * 6, "no model reaches the target alone", "–")
            continue
        usd, solved, chosen = got
        ratio = 1 - costs["joint"] / costs[planner]
        low, high = np.nanquantile(ratio, (0.1, 0.9))
        per_solved = usd / 3.6 / problem.space.rate_per_s / solved
        line = Line(name, least, planner, usd, solved, per_solved, 1 - best[0] / usd, float(low), float(high),
                    told(search, chosen), standing(problem, chosen), held=len(held[planner]))  # fmt: skip
        if held[planner]:
            usd_held, solved_held = np.mean(held[planner], axis=0)
            line = replace(line, held_usd_per_h=float(usd_held), held_solved=float(solved_held))
        yield line


def told(search: PlanSearch, chosen: Chosen) -> str:
    """The options in use with their shares of the traffic."""
    gets = search.space.weight @ chosen.share
    parts = []
    for number in np.argsort(-gets, kind="stable"):
        if gets[number] > 0.005:
            parts.append(f"{gets[number]:.0%} {describe_option(search.space, int(number))}")
    return "; ".join(parts)


def standing(problem: PlanningProblem, chosen: Chosen) -> str:
    """What of a line is recorded and what is modelled."""
    used = [problem.space.options[n] for n in np.flatnonzero(chosen.share.sum(axis=0) > 1e-6)]
    routes = {route for option in used for route in option.routes.values()}
    recorded, modelled = ["scores"], ["arrivals"]
    (modelled if problem.quality and problem.quality.lengths else recorded).append("tokens")
    if "api" in routes:
        recorded.append("API dollars")
    if "own" in routes:
        modelled.append("devices")
    if any(option.play.name == "cascade" for option in used):
        modelled.append("trust (trained on these questions)")
    if any(option.play.name == "stop_on_success" for option in used):
        modelled.append("checker")
    return f"recorded: {', '.join(recorded)}; modelled: {', '.join(modelled)}"


def strictly_held_out(problem: PlanningProblem) -> dict[str, float]:
    """Held out with the cascade's trust trained on the choosing half alone: dollars per hour, solved, and beside a
    planner of one answer by one model."""
    rival = "fixed strategy, one model, best devices"
    found: dict[str, list[tuple[float, float]]] = {"joint": [], rival: []}
    for half in halves(problem, STRICT_SPLITS):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "trust.json"
            _trust(problem, half).save(path)
            spelled = ("once", *(f"cascade(threshold={t},by={path})" for t in THRESHOLDS))
            assert problem.quality is not None
            asked = problem.quality.model_copy(update={"strategies": spelled})
            again = posed(problem.workload.model_copy(update={"quality": asked}))
            told_, other = PlanSearch(again.space, half), PlanSearch(again.space, 1.0 - half)
            for name, kept in found.items():
                if got := attempt(PLANNERS[name], told_, again.goal):
                    kept.append(priced(other, again.goal, got[2]))
    usd, solved = np.mean(found["joint"], axis=0)
    rival_usd, rival_solved = np.mean(found[rival], axis=0)
    return {"usd_per_h": float(usd), "solved": float(solved), "rival_usd_per_h": float(rival_usd),
            "rival_solved": float(rival_solved), "splits": float(len(found["joint"]))}  # fmt: skip


def _trust(problem: PlanningProblem, half: Floats) -> SuccessPredictor:
    """The chance that a reply is right from its length, from the replies of one model to half of the questions."""
    found = problem.space.plays
    assert found.evidence is not None
    rows, arms = found.evidence.rows, found.evidence.arms
    use = np.isin(rows.question, found.question[half > 0]) & (
        rows.arm == next(n for n, arm in enumerate(arms) if arm.model == TRAINED_ON)
    )
    made = rows.output_tokens[use] + np.nan_to_num(rows.reasoning_tokens[use])
    signals = [{"log_tokens": float(np.log1p(count))} for count in made]
    return fit(TrainingOutcomes.of(signals, rows.score[use] >= 0.5, rows.question[use]))


def same_bytes(file: Path) -> dict[str, object]:
    """Digests of the plan from two processes with different hash seeds, and the CPU seconds of one."""
    digests, start = [], time.perf_counter()
    for seed in ("1", "2"):
        command = [str(Path(sys.executable).with_name("comptroller")), "plan", str(file), "--json"]
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        made = subprocess.run(command, capture_output=True, check=True, env=environment, timeout=600)
        json.loads(made.stdout)
        digests.append(hashlib.sha256(made.stdout).hexdigest())
    return {"digest": digests[0], "same": len(set(digests)) == 1, "wall_s": (time.perf_counter() - start) / 2}


def percent(value: float | None) -> str:
    """A share, or a dash."""
    return "–" if value is None else f"{value:.1%}"


def dollars(value: float | None) -> str:
    """Dollars, or a dash."""
    return "–" if value is None else f"${value:,.2f}"


def row(line: Line) -> list[str]:
    """The line of the table."""
    saved = "–"
    if line.saving is not None and line.planner != "joint":
        saved = "{:.0%} ({:.0%} to {:.0%})".format(*(round(x, 2) + 0.0 for x in (line.saving, line.low, line.high)))
    held = f"{dollars(line.held_usd_per_h)}, {percent(line.held_solved)} ({line.held} of {2 * SPLITS})"
    return [f"{line.planner} at {line.target:.0%}", dollars(line.usd_per_h), percent(line.solved),
            dollars(line.usd_per_thousand_solved), saved, held, line.choice, line.standing]  # fmt: skip


HEADS = ["planner at target", "$/h", "solved", "$ per 1,000 solved", "saving of the joint plan (80 %)",
         "held out: $/h, solved (splits)", "choice", "standing"]  # fmt: skip


def section(name: str) -> tuple[list[str], dict[str, object]]:
    """The text and the figures of a workload."""
    file = HERE / "workloads" / f"{name}.toml"
    problem = posed(load(file))
    space = problem.space
    assert problem.quality is not None
    found = [line for least in TARGETS[name] for line in lines(name, problem, least)]
    same = same_bytes(file)
    text = [
        f"## {name}: {space.rate_per_s:.3g} questions a second, {space.questions:,} recorded questions",
        table(HEADS, [row(line) for line in found]),
        f"Left out: {problem.rejected}.",
        f"`comptroller plan benchmarks/workloads/{name}.toml`: {same['wall_s']:.1f} s; two processes give "
        f"{'the same bytes' if same['same'] else 'DIFFERENT BYTES'}.",
    ]
    figures: dict[str, object] = {"lines": [asdict(line) for line in found], **same}
    if name == TRUSTED:
        strict = strictly_held_out(problem)
        figures["strictly_held_out"] = strict
        text.append(
            f"The shipped cascade's trust was trained on replies of {TRAINED_ON} to these questions. Trained on the "
            f"choosing half alone, at {problem.quality.solve.least:.0%} and judged on the other half: joint "
            f"{dollars(strict['usd_per_h'])}/h for {strict['solved']:.1%}, one answer of one model "
            f"{dollars(strict['rival_usd_per_h'])}/h for {strict['rival_solved']:.1%} ({strict['splits']:.0f} halves)."
        )
    return text, figures


def main() -> None:
    """Every workload, target and planner; then the strict held-out figure and the digests."""
    about = " ".join((__doc__ or "").partition("Three workloads")[2].split())
    text = ["# The joint plan against planners of one lever", f"Three workloads {about}", rules()]
    figures = {}
    for name in TARGETS:
        added, figures[name] = section(name)
        print("\n\n".join(added), flush=True)
        text += added
    write("joint", figures, "\n\n".join(text))


def rules() -> str:
    """What each planner does."""
    return "\n".join(f"- {name}: {' '.join((planner.__doc__ or '').split())}" for name, planner in PLANNERS.items())


if __name__ == "__main__":
    main()
