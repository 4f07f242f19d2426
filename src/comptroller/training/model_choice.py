"""Which model to train to a loss: each takes its own tokens by the law, and the cheapest run is planned."""

from __future__ import annotations

from collections.abc import Callable

from comptroller.errors import InfeasibleError, InputError, UnsupportedError
from comptroller.training.document import TrainingWorkload
from comptroller.training.plan_document import TrainingModelRival, TrainingPlan
from comptroller.work.documents import digest


def cheapest_of_models(workload: TrainingWorkload, plan: Callable[[TrainingWorkload], TrainingPlan]) -> TrainingPlan:
    """The plan of the model that reaches the target loss for least of the objective, the others beside it.

    plan: plans a workload of one model.

    Raises:
        InfeasibleError: none of them can be trained so; why, for each.
    """
    made: dict[str, TrainingPlan] = {}
    why: dict[str, str] = {}
    for name in workload.training.models:
        run = workload.training.model_copy(update={"model": name, "models": ()})
        try:
            made[name] = plan(workload.with_run(run))
        except (InfeasibleError, InputError, UnsupportedError) as error:
            why[name] = str(error)
    if not made:
        told = "; ".join(f"{name}: {reason}" for name, reason in why.items())
        raise InfeasibleError(f"{workload.name}: none of the models can be trained so: {told}")
    best = min(made, key=lambda name: (_cost_of(made[name]), made[name].parameters))
    rivals = [_rival(made[name], made[best]) for name in made if name != best]
    rivals.sort(key=lambda rival: rival.ratio or 0.0)
    refused = [TrainingModelRival(model=name, why=reason) for name, reason in why.items()]
    asked = {**made[best].digests, "workload": digest(workload.model_dump(mode="json"))}
    return made[best].model_copy(update={"models": (*rivals, *refused), "digests": asked})


def _cost_of(plan: TrainingPlan) -> float:
    return float(getattr(plan.run, plan.objective).value)


def _rival(plan: TrainingPlan, best: TrainingPlan) -> TrainingModelRival:
    ratio = _cost_of(plan) / _cost_of(best)
    return TrainingModelRival(
        model=plan.model, tokens=plan.tokens, run=plan.run, ratio=ratio,
        why=f"{ratio:.2f} times the {plan.objective}: {plan.flops / best.flops:.2f} times the FLOPs",
    )  # fmt: skip
