"""The golden plan's first service on so many replicas, and calls for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from comptroller.planning.ground.plan_document import Plan
from comptroller.planning.ground.service_document import ServiceDocument
from export_plans import GOLDEN, plan_of

INPUT_TOKENS, OUTPUT_TOKENS = 400, 100
"""Tokens of a call that is like every other."""


def replicated(replicas: int) -> ServiceDocument:
    """The first service of the golden plan on so many replicas."""
    first = GOLDEN.services[0]
    pools = (first.deployment.pools[0].model_copy(update={"replicas": replicas}),)
    return first.model_copy(update={"deployment": first.deployment.model_copy(update={"pools": pools})})


def replicated_plan(replicas: int) -> Plan:
    """The golden plan with that service alone."""
    return plan_of(replicated(replicas))


def written(place: Path, replicas: int, arrivals: np.ndarray[Any, Any]) -> list[str]:
    """Files of that plan and of calls that come at these seconds, in a folder."""
    (place / "plan.json").write_text(replicated_plan(replicas).model_dump_json(), encoding="utf-8")
    return [str(place / "plan.json"), calls_file(place / "trace.csv", arrivals)]


def calls_file(file: Path, arrivals: np.ndarray[Any, Any], output_tokens: int = OUTPUT_TOKENS) -> str:
    """A file of calls that come at these seconds."""
    rows = "".join(f"{second:.3f},{INPUT_TOKENS},{output_tokens}\n" for second in np.sort(arrivals))
    file.write_text(f"arrival_s,input_tokens,output_tokens\n{rows}", encoding="utf-8")
    return str(file)
