"""How far the simulator is from a recorded vLLM run, request by request: before any of it was seen, and calibrated
on its first fifty requests. `python benchmarks/simulate_accuracy.py [RUN.csv ...]`"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from comptroller.costs.fitted_calibration import FittedCalibration, KernelPriors
from comptroller.costs.replica_timer import TimingCalibration
from comptroller.errors import ComptrollerError
from comptroller.measure.log_replay import step_table
from comptroller_lab.baseline import BaselineCalibration, RooflineCalibration
from record import table, write
from replay_fit import PARAMETERS, Fitted, Latencies, Overhead, fit, replay
from vllm_runs import Run, read_run

Floats = npt.NDArray[np.float64]

ROOT = Path(__file__).resolve().parent.parent
FIRST = 50
QUANTITIES = ("tpot_s", "e2e_s", "ttft_s")
PRIOR_GOALS = {("tpot_s", "mean"): 0.10, ("e2e_s", "mean"): 0.10}
FITTED_GOALS = {
    ("tpot_s", "mean"): 0.02,
    ("e2e_s", "mean"): 0.025,
    ("ttft_s", "mean"): 0.05,
    **{(quantity, "p99"): 0.05 for quantity in QUANTITIES},
}
HEADS = ("prediction", "quantity", "mean", "p50", "p99", "mean error of a request", "goal")


@dataclass(frozen=True)
class Line:
    """Relative errors of one quantity: of the mean, the median, the 99th percentile; and of single requests."""

    prediction: str
    quantity: str
    mean: float
    p50: float
    p99: float
    each: float
    goals: Mapping[str, float]

    @property
    def met(self) -> bool:
        """Whether every goal is kept."""
        return all(abs(getattr(self, figure)) <= most for figure, most in self.goals.items())

    def cells(self) -> list[str]:
        """As a row of the table."""
        goals = ", ".join(f"{figure} {most:.1%}" for figure, most in self.goals.items())
        verdict = f"{goals}: {'met' if self.met else 'missed'}" if goals else ""
        signed = [f"{value:+.1%}" for value in (self.mean, self.p50, self.p99)]
        return [self.prediction, self.quantity, *signed, f"{self.each:.1%}", verdict]


def lines(name: str, seen: Latencies, run: Run, rows: slice, goals: Mapping[tuple[str, str], float]) -> list[Line]:
    """Errors over some requests, a line a quantity."""
    found = []
    for quantity in QUANTITIES:
        ours, truth = getattr(seen, quantity)[rows], getattr(run, quantity)[rows]
        p50, p99 = (float(np.percentile(ours, p) / np.percentile(truth, p) - 1) for p in (50, 99))
        mean, each = float(ours.mean() / truth.mean() - 1), float(np.abs(ours / truth - 1).mean())
        mine = {figure: most for (of, figure), most in goals.items() if of == quantity}
        found.append(Line(name, quantity.removesuffix("_s").upper(), mean, p50, p99, each, mine))
    return found


def priors() -> dict[str, TimingCalibration]:
    """Predictions that know nothing of the run; the shipped calibration is the product's."""
    return {
        "prior: shipped calibration": FittedCalibration.shipped(),
        "  kernel priors alone": KernelPriors(),
        "  roofline and four constants": BaselineCalibration.shipped(),
        "  pure roofline": RooflineCalibration(),
    }


def judge(run: Run) -> tuple[list[Line], Fitted]:
    """All lines of a run, and what the calibration on its first requests found."""
    found: list[Line] = []
    for name, calibration in priors().items():
        goals = {} if name.startswith(" ") else PRIOR_GOALS
        found += lines(name, replay(run, calibration), run, slice(0, len(run)), goals)
    fitted = fit(run, FIRST)
    name = f"calibrated on {FIRST}, the other {len(run) - FIRST}"
    found += lines(name, fitted.replay(run), run, slice(FIRST, len(run)), FITTED_GOALS)
    found += lines(f"  the {FIRST} themselves", fitted.replay(run), run, slice(0, FIRST), {})
    found += variants(run)
    return found, fitted


def variants(run: Run) -> list[Line]:
    """How much the fit leans on where its host times start: centres halved and doubled."""
    found = []
    for factor in (0.5, 2.0):
        moved = tuple(replace(p, centre=p.centre * factor) if p.unit == "s" else p for p in PARAMETERS)
        seen = fit(run, FIRST, moved).replay(run)
        found += lines(f"  host times expected {factor:g}x", seen, run, slice(FIRST, len(run)), {})
    return found


def text(run: Run, found: Sequence[Line], fitted: Fitted) -> str:
    """The section of one run."""
    rows = zip(PARAMETERS, fitted.values, fitted.spreads, strict=True)
    values = [[p.name, p.unit, f"{p.centre:g}", f"{v:.4g}", f"{s:.0%}"] for p, v, s in rows]
    return "\n\n".join(
        (
            f"## {run.name}",
            f"{len(run)} requests, {run.replica}, vLLM {run.replica.engine.version}, at most "
            f"{run.replica.engine.max_batch} sequences and {run.replica.engine.chunk_tokens} tokens a step.",
            table(HEADS, [line.cells() for line in found]),
            f"What the first {FIRST} requests say of the server:",
            table(("parameter", "unit", "before", "after", "standard deviation"), values),
            "Where the prior errs, by what the calibration says of single steps (sequences of mean length):",
            steps(run, fitted),
        )
    )


PROMPTS = (0, 300, 600, 1200)
"""Prompt tokens of the steps that are compared; 0: decode alone."""


def steps(run: Run, fitted: Fitted) -> str:
    """Where the prior errs: milliseconds of single steps, by the prior and by the calibration."""
    prior = step_table(run.replica, FittedCalibration.shipped())
    after = step_table(run.replica, Overhead(fitted.values[:6]))
    length = float(run.input_tokens.mean() + run.output_tokens.mean() / 2)
    rows = []
    for batch in (8, prior.max_batch // 2, prior.max_batch):
        cached = batch * length
        for prompt in PROMPTS:
            times = [
                one.mixed_step_s(prompt, prompt**2 / 2, batch, cached) + more
                if prompt
                else one.decode_step_s(batch, cached)
                for one, more in ((prior, 0.0), (after, fitted.values[6]))
            ]
            cells = [f"{t * 1e3:.1f} ms" for t in times]
            rows.append([f"{batch} sequences, {prompt} prompt tokens", *cells, f"{times[0] / times[1] - 1:+.0%}"])
    return table(("step", "prior", "calibrated", "prior over it"), rows)


NOTES = """# The simulator against recorded runs

Signed relative errors of the mean, the median and the 99th percentile over requests, and the mean absolute error of
a single request. Arrivals and lengths are replayed exactly; latencies count from the arrival. The prior sees the
model, the accelerator's facts, the per-operation tables, whole-server measurements on other GPUs, and the engine
settings of the run, nothing else of it. The calibration sees the latencies of the first fifty requests; the others
enter by arrival and length only."""


def runs(names: Sequence[str]) -> list[Path]:
    """The runs asked for, or all in the data folder."""
    if names:
        return [Path(name) for name in names]
    folder = Path(os.environ.get("COMPTROLLER_DATA", ROOT.parent / "shared" / "data"))
    return sorted((folder / "serving").glob("vllm_run_*.csv"))


def main(names: Sequence[str]) -> int:
    """Judge, print and write."""
    paths, parts, figures = runs(names), [NOTES], dict[str, Any]()
    if not paths:
        print("simulate_accuracy: no recorded run; set COMPTROLLER_DATA", file=sys.stderr)
        return 2
    for path in paths:
        try:
            run = read_run(path)
            found, fitted = judge(run)
        except ComptrollerError as error:
            print(f"simulate_accuracy: {path.name}: {error}", file=sys.stderr)
            return 2
        parts.append(text(run, found, fitted))
        figures[run.name] = {
            "lines": [vars(line) | {"met": line.met} for line in found],
            "parameters": dict(zip((p.name for p in PARAMETERS), fitted.values, strict=True)),
        }
    whole = "\n\n".join(parts)
    print(whole)
    if not names:
        write("simulate_accuracy", figures, whole, ("numpy", "scipy", "numba"))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
