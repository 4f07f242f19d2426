"""Routing as a choice: a plan for each policy that a workload allows, of which the best is kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from comptroller.errors import InfeasibleError
from comptroller.planning.ground.plan_document import Plan
from comptroller.planning.prove.stage import require_policies
from comptroller.work.workload import Workload


def routing_choices(workload: Workload) -> tuple[Workload, ...]:
    """The workload under each routing policy that it allows; itself where it names none.

    Raises:
        UnknownIdError, InputError: as `require_policies`.
    """
    free = workload.model_copy(update={"allow": workload.allow.model_copy(update={"routing": ()})})
    named = [workload.policies.model_copy(update={"routing": name}) for name in dict.fromkeys(workload.allow.routing)]
    choices = tuple(free.model_copy(update={"policies": policies}) for policies in named) or (workload,)
    for choice in choices:
        require_policies(choice)
    return choices


def best_of(choices: Sequence[Workload], planned: Callable[[Workload], Plan]) -> Plan:
    """The plan of least objective among those of `routing_choices`, the first of equal ones, and what the others came
    to. planned: what plans a workload under its own policies.

    Raises:
        InfeasibleError: nothing holds under any of them; what the last one said.
    """
    found, failed = dict[str, Plan](), None
    for choice in choices:
        try:
            found[str(choice.policies.routing)] = planned(choice)
        except InfeasibleError as error:
            failed = error
    if not found:
        assert failed is not None
        raise failed
    chosen = min(found, key=lambda name: _objective(found[name]))
    names = [str(choice.policies.routing) for choice in choices]
    each = ", ".join(f"{name} {_price_text(found.get(name))}" for name in names)
    how = "compared in the steady state, where routing makes no difference (nothing was simulated)"
    how = how if found[chosen].verification is None else "proven each"
    note = f"routing {chosen}, of the policies that were allowed and {how}: {each}"
    return found[chosen].model_copy(update={"notes": (note, *found[chosen].notes)})


def _objective(plan: Plan) -> float:
    totals = plan.totals
    return {"usd": totals.usd_per_h.value, "j": totals.w.value, "gco2e": totals.gco2e_per_h.value}[plan.objective]


def _price_text(plan: Plan | None) -> str:
    return "holds nothing" if plan is None else f"${plan.totals.usd_per_h.value:.2f}/h"
