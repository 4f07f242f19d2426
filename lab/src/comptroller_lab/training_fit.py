"""Fits what a training program makes of single kernels (`TrainingPace`), and predicts groups that were left out."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import least_squares

from comptroller.costs.training_time import StepIngredients, TrainingPace, training_step_time
from comptroller_lab.training_rows import MeasuredStep, ingredients

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class PacePrior:
    """Centre and log standard deviation of a constant before its fit; of a share the logit's."""

    value: float
    spread: float


PRIORS = {
    "matrices": PacePrior(1.0, 0.15),
    "narrow": PacePrior(1.0, 0.4),
    "attention": PacePrior(1.3, 0.3),
    "scores": PacePrior(1.0, 0.4),
    "experts": PacePrior(1.1, 0.25),
    "small": PacePrior(0.8, 0.3),
    "tensor": PacePrior(0.8, 0.3),
    "exchange": PacePrior(1.0, 0.4),
    "network": PacePrior(1.6, 0.4),
    "layer_s": PacePrior(2e-4, 1.0),
    "sparse_s": PacePrior(4e-4, 1.0),
    "step_s": PacePrior(5e-3, 1.0),
    "hidden": PacePrior(0.7, 1.0),
}
"""Kernels measured one by one are right to a seventh, attention backward slower than its FLOPs say. Small kernels are
fused and collectives inside a node partly hidden, those between nodes reach less than the link: the centres are near
what any of the programs shows, the spreads cover all of them. A pass of a layer takes the host some fifty launches of
4 us."""

COMMON = ("matrices", "attention", "small", "tensor", "network", "layer_s", "step_s", "hidden")
CONSTANTS = {
    "megatron_deepspeed": (*COMMON, "scores"),
    "megatron_deepspeed_node": (*COMMON, "scores"),
    "megatron_bridge": (*COMMON, "narrow", "experts", "exchange", "sparse_s"),
    "llm_foundry": (*COMMON, "narrow"),
    "torchtitan": (*COMMON, "narrow"),
}
"""Program -> its constants: of scores where attention is no fused kernel, of experts where there are some."""

EFFECTS = {"matrices": 0.1, "narrow": 0.3, "attention": 0.3, "small": 0.3}
"""Constants that may differ between families, whose kernels are written for each -> log standard deviation of the
effect. Products in 16 bit are the best measured of all kernels."""

LEAST_SPREAD, MOST_SPREAD = 0.04, 0.25
"""Bounds of the residuals' scale: repeats of one configuration differ by some 4 %; beyond a quarter a row is no
evidence."""

ROUNDS = 3


@dataclass(frozen=True)
class ConstantEstimate:
    """One fitted constant: of all families or of one, with its log standard deviation."""

    name: str
    family: str
    value: float
    error: float


@dataclass(frozen=True)
class PaceFit:
    """Constants of a program; effects of a family multiply those of all."""

    estimates: tuple[ConstantEstimate, ...]
    spread: float

    def pace(self, family: str) -> TrainingPace:
        """The constants on a family; one that was not fitted has no effects."""
        values = {one.name: one.value for one in self.estimates if one.family == "any"}
        for one in self.estimates:
            if one.family == family:
                values[one.name] *= one.value
        return TrainingPace(**values)


@dataclass(frozen=True)
class _Problem:
    made: StepIngredients
    seconds: Array
    families: tuple[str, ...]
    names: tuple[tuple[str, str], ...]

    def value(self, x: Array) -> dict[tuple[str, str], float]:
        found = {}
        for (name, family), step in zip(self.names, x, strict=True):
            centre = PRIORS[name].value if family == "any" else 1.0
            if name == "hidden":
                found[name, family] = float(1.0 / (1.0 + (1.0 - centre) / centre * np.exp(-step)))
            else:
                found[name, family] = float(centre * np.exp(step))
        return found

    def predicted(self, x: Array) -> Array:
        found = np.zeros(len(self.seconds))
        fit = self.fit(x, np.zeros(len(x)), 0.0)
        for family in sorted(set(self.families)):
            chosen = np.array([one == family for one in self.families])
            found[chosen] = training_step_time(self.made.take(chosen), fit.pace(family)).total_s
        return found

    def fit(self, x: Array, errors: Array, spread: float) -> PaceFit:
        values = self.value(x)
        rows = [ConstantEstimate(*key, values[key], float(e)) for key, e in zip(self.names, errors, strict=True)]
        return PaceFit(tuple(rows), spread)


def fit_pace(steps: Sequence[MeasuredStep], made: StepIngredients, constants: Sequence[str]) -> PaceFit:
    """Robust least squares of log ratios with log-normal priors; the residuals' scale is estimated with the constants.

    Families beside the commonest get effects on `EFFECTS`.
    """
    problem = _problem(steps, made, constants)
    spreads = np.array([(PRIORS[name].spread if family == "any" else EFFECTS[name]) for name, family in problem.names])
    x, spread = np.zeros(len(spreads)), 0.1
    for _ in range(ROUNDS):
        solved = least_squares(_residuals(problem, spreads, spread), x)
        x = solved.x
        misses = np.log(problem.seconds / problem.predicted(x))
        spread = float(np.clip(1.4826 * np.median(np.abs(misses)), LEAST_SPREAD, MOST_SPREAD))
    errors = np.sqrt(np.diag(np.linalg.inv(solved.jac.T @ solved.jac)))
    return problem.fit(x, errors, spread)


def _problem(steps: Sequence[MeasuredStep], made: StepIngredients, constants: Sequence[str]) -> _Problem:
    families = tuple(step.family for step in steps)
    count = {family: families.count(family) for family in sorted(set(families))}
    others = sorted(count, key=lambda family: -count[family])[1:]
    names = [(name, "any") for name in constants]
    names += [(name, family) for family in others for name in EFFECTS if name in constants]
    return _Problem(made, np.array([step.seconds for step in steps]), families, tuple(names))


def _residuals(problem: _Problem, spreads: Array, spread: float) -> Callable[[Array], Array]:
    def residuals(x: Array) -> Array:
        miss = np.log(problem.seconds / problem.predicted(x)) / spread
        robust = np.sign(miss) * np.sqrt(2.0 * (np.sqrt(1.0 + miss**2) - 1.0))
        return np.concatenate([robust, x / spreads])

    return residuals


def predict(fit: PaceFit, steps: Sequence[MeasuredStep], made: StepIngredients) -> Array:
    """Seconds of steps by a fit."""
    found = np.zeros(len(steps))
    for family in sorted({step.family for step in steps}):
        chosen = np.array([step.family == family for step in steps])
        found[chosen] = training_step_time(made.take(chosen), fit.pace(family)).total_s
    return found


def predict_left_out(steps: Sequence[MeasuredStep], constants: Sequence[str], folds: Sequence[str] = ()) -> Array:
    """Seconds of every step by a fit to the other groups (or to the other folds, where they are given)."""
    made, found = ingredients(steps), np.zeros(len(steps))
    keys = np.array(folds or [step.group for step in steps])
    for key in sorted(set(keys)):
        held: Mask = keys == key
        kept = [step for step, out in zip(steps, held, strict=True) if not out]
        fit = fit_pace(kept, made.take(~held), constants)
        left = [step for step, out in zip(steps, held, strict=True) if out]
        found[held] = predict(fit, left, made.take(held))
    return found


def grouped_folds(steps: Sequence[MeasuredStep], count: int = 5) -> list[str]:
    """Folds of whole groups, dealt in the order of their names' digests, so that they do not depend on the order."""
    groups = sorted({step.group for step in steps}, key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    fold = {group: str(i % count) for i, group in enumerate(groups)}
    return [fold[step.group] for step in steps]
