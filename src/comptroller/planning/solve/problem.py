"""A workload translated into something that can be solved for any goal: the choice space, searched, and the goal."""

from __future__ import annotations

from dataclasses import dataclass

from comptroller.costs.own_calibration import scope_remarks
from comptroller.costs.replica_timer import TimingCalibration
from comptroller.planning.ground.executor import HERE, Progress, SearchExecutor, no_progress
from comptroller.planning.ground.nouns import Goal
from comptroller.planning.ground.risk_document import ChoiceSupport, SelectionOptimism
from comptroller.planning.offer.choices import ChoiceSpace
from comptroller.planning.offer.deployments import RejectionTally
from comptroller.planning.offer.market import with_capacities
from comptroller.planning.offer.questions import question_space
from comptroller.planning.offer.requests import request_space
from comptroller.planning.offer.space import goal_of
from comptroller.planning.offer.step_factors import planned_steps
from comptroller.planning.solve.search import PlanSearch
from comptroller.work.quality import WorkloadQuality
from comptroller.work.workload import Workload


@dataclass(frozen=True)
class PlanningProblem:
    """A workload ready to be solved.

    calibration: what priced the steps.  optimism: of choosing on the evidence, which the goal allows for.
    support: what the evidence supports, which the goal keeps to.
    """

    workload: Workload
    goal: Goal
    search: PlanSearch
    rejected: RejectionTally
    calibration: TimingCalibration
    optimism: SelectionOptimism | None = None
    support: ChoiceSupport | None = None

    @property
    def space(self) -> ChoiceSpace:
        """What may be chosen."""
        return self.search.space

    @property
    def steps(self) -> TimingCalibration:
        """What the steps of deployments are taken for."""
        return planned_steps(self.workload, self.calibration)

    @property
    def quality(self) -> WorkloadQuality | None:
        """What must be solved; `None` for plain requests."""
        return self.workload.quality


def pose_problem(
    workload: Workload,
    calibration: TimingCalibration,
    progress: Progress = no_progress,
    executor: SearchExecutor = HERE,
) -> PlanningProblem:
    """Enumerate what may be chosen and evaluate all of it.

    Raises:
        InputError: the own calibration speaks of nothing that may be chosen.
        InfeasibleError: nothing that is allowed can serve or be bought; says why.
        UnsupportedError: the evidence supports no strategy.
    """
    goal, rejected = goal_of(workload), RejectionTally()
    make = request_space if workload.quality is None else question_space
    space = make(workload, goal, planned_steps(workload, calibration), rejected, progress, executor)
    deployments = [item for offers in space.offers.values() for item in offers.deployments]
    scope_remarks(calibration, ((item.id, item.replica) for item in deployments), f"what {workload.name!r} may choose")
    goal = with_capacities(goal, deployments)
    return PlanningProblem(workload, goal, PlanSearch(space), rejected, calibration)
