"""Comptroller plans, runs and accounts for LLM compute.

The nouns and commands live in the rooms below; each is imported when it is first asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from comptroller.errors import ComptrollerError
    from comptroller.facts.accelerator import Accelerator
    from comptroller.facts.format import Format
    from comptroller.facts.model import Model
    from comptroller.facts.site import Site
    from comptroller.gateway.solve import solve
    from comptroller.planning.ground.nouns import Deployment
    from comptroller.planning.ground.plan_document import Plan, load_plan
    from comptroller.planning.planner import plan
    from comptroller.planning.simulation import simulate_plan as simulate
    from comptroller.quantities import Cost
    from comptroller.strategies.protocol import Strategy
    from comptroller.strategies.study import study as replay
    from comptroller.work.call import Call
    from comptroller.work.evidence import Evidence
    from comptroller.work.workload import Workload
    from comptroller.work.workload import load as load_workload

__version__ = "0.1.0"

__all__ = [
    "Accelerator",
    "Call",
    "ComptrollerError",
    "Cost",
    "Deployment",
    "Evidence",
    "Format",
    "Model",
    "Plan",
    "Site",
    "Strategy",
    "Workload",
    "load_plan",
    "load_workload",
    "plan",
    "replay",
    "simulate",
    "solve",
]

_HOME = {
    "Accelerator": "facts.accelerator",
    "Call": "work.call",
    "ComptrollerError": "errors",
    "Cost": "quantities",
    "Deployment": "planning.ground.nouns",
    "Evidence": "work.evidence",
    "Format": "facts.format",
    "Model": "facts.model",
    "Plan": "planning.ground.plan_document",
    "Site": "facts.site",
    "Strategy": "strategies.protocol",
    "Workload": "work.workload",
    "load_plan": "planning.ground.plan_document",
    "load_workload": "work.workload:load",
    "plan": "planning.planner",
    "replay": "strategies.study:study",
    "simulate": "planning.simulation:simulate_plan",
    "solve": "gateway.solve",
}
"""Exported name -> its module, and its name there where it differs."""


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, own = _HOME[name].partition(":")
    return getattr(import_module(f"{__name__}.{module}"), own or name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
