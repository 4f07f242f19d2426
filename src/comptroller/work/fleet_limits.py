"""What a fleet may be made of and how far it may be used, beside the objectives of a workload."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

from comptroller.facts.site import Term
from comptroller.work.sizes import STRICT

LEAST_CONFIDENCE = 0.5
"""Least confidence that a further draw holds: a plan at less fails more often than not. Twice this is certainty, which
no sample gives."""

MOST_USE = 0.9
"""Most of the time that a replica may be busy where no latency objective says how full it may be. A queue with Poisson
arrivals then waits nine service times in the mean, and a tenth of the traffic may be unforeseen; at 1 it grows without
end. Of twice the distance to 1, 0.8, the queue is half as long and a ninth more is rented."""

KIND_USD_PER_H = 0.4
"""What a further kind of deployment in a fleet counts for in the choice: about four hours a month of an engineer at
$75, for another image, benchmark and alarm. Twice as much bars mixes that save $7,000 a year."""

Confidence = Annotated[float, Field(strict=True, ge=LEAST_CONFIDENCE, lt=1)]
UseCeiling = Annotated[float, Field(strict=True, gt=0, le=1)]
KindCount = Annotated[int, Field(strict=True, ge=1)]


class ResourceAllowlist(BaseModel):
    """The resources that a plan may use, by any name that `facts.library.resolve` takes; an empty list allows all.

    measured_only: only deployments whose kernels or end-to-end speed somebody timed.
    """

    model_config = STRICT
    accelerators: tuple[str, ...] = ()
    formats: tuple[str, ...] = ()
    engines: tuple[str, ...] = ()
    sites: tuple[str, ...] = ()
    terms: tuple[Term, ...] = ("on_demand",)
    measured_only: Annotated[bool, Field(strict=True)] = False
