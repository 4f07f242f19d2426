"""Data that is generated for a run, by difficulty (`[training.generation]`): examples of each class to make."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import BaseModel, Field

from comptroller.errors import FactError, UnsupportedError
from comptroller.planning.ground.day_document import DocumentPart
from comptroller.work.difficulty_budget import DifficultyFinding, difficulty_finding, read_difficulty_runs
from comptroller.work.objectives import Positive
from comptroller.work.sizes import STRICT


class GenerationBudget(BaseModel):
    """Examples to make. file: own runs, CSV with columns `error` and `count_NAME`.  target: the class whose error
    counts.  costs: of an example of each class, in any one unit.  budget: in the same unit.  beyond: also where the
    hold-out of the runs does not reach."""

    model_config = STRICT
    file: Annotated[str, Field(min_length=1)]
    target: str
    costs: Annotated[Mapping[str, Positive], Field(min_length=2)]
    budget: Positive
    beyond: Annotated[bool, Field(strict=True)] = False


class GenerationReport(DocumentPart):
    """The mix of least error. target, budget: as stated.  runs: that the law was fitted to.  counts: examples of
    each class.  error: predicted, on the target.  target_only_error: with all of the budget spent on the target.
    saving: budget that the target alone takes for the same, over this.  mean_miss, worst_miss: of held-out runs of
    most cost, as shares of their error."""

    target: str
    budget: float
    counts: dict[str, float]
    error: float
    target_only_error: float
    saving: float
    runs: int
    mean_miss: float
    worst_miss: float

    @property
    def sentence(self) -> str:
        """The report in words."""
        mix = ", ".join(f"{count:,.0f} {name}" for name, count in self.counts.items())
        return (
            f"data to generate: {mix}, for an error of {self.error:.3g} on {self.target} ({self.target_only_error:.3g} "
            f"with {self.target} alone, which takes {self.saving:.1f} times the budget for the same); {self.runs} "
            f"runs, of which the dearest were missed by {self.mean_miss:.1%} in the mean"
        )


def generation_report(stated: GenerationBudget | None, base: Path) -> GenerationReport | None:
    """The mix of a workload; `None` where it generates nothing.

    Raises:
        FactError: there is no such file, or a class has no cost.
        RecordError, UnsupportedError: as `read_difficulty_runs` and `fit_difficulty_law`.
        UnsupportedError: the budget is beyond what the runs support.
    """
    if stated is None:
        return None
    path = base / stated.file
    if not path.is_file():
        raise FactError(stated.file, "training.generation.file", "no such file", "a CSV of own runs: error, count_NAME")
    runs = read_difficulty_runs(path)
    if set(runs.classes) != set(stated.costs):
        raise FactError(
            stated.file, "training.generation.costs", f"are of {', '.join(stated.costs)}", ", ".join(runs.classes)
        )
    found = difficulty_finding(runs, stated.target, stated.costs)
    if stated.budget > found.reach and not stated.beyond:
        raise UnsupportedError(
            f"training.generation.budget = {stated.budget:g}: the hold-out of {stated.file} supports "
            f"{found.reach:.4g} at most; run dearer mixes, or state beyond = true"
        )
    return _report(found, stated)


def _report(found: DifficultyFinding, stated: GenerationBudget) -> GenerationReport:
    law, costs = found.law, stated.costs
    counts = law.best_counts(costs, stated.budget)
    mix = np.array([[counts[name] for name in law.weights]])
    alone = np.array([[stated.budget / costs[name] if name == stated.target else 0.0 for name in law.weights]])
    worth = float(law.effective(mix)[0])
    return GenerationReport(
        target=stated.target,
        budget=stated.budget,
        counts=counts,
        error=float(law.error(mix)[0]),
        target_only_error=float(law.error(alone)[0]),
        saving=worth * costs[stated.target] / stated.budget,
        runs=found.runs,
        mean_miss=found.mean,
        worst_miss=found.worst,
    )
