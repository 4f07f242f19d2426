"""Jobs of a cluster: when each was submitted, how long it takes, on how many GPUs, whose it is."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from comptroller.errors import InputError

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

WHOLE = 1000
"""Thousandths of a GPU in a whole one: what Alibaba's records of shares count in."""


@dataclass(frozen=True, slots=True)
class ServiceTier:
    """A class of service: its name, and the share of the GPU-hours asked for that its jobs are promised.

    The share of a job is what it received over what it asked for since it was submitted (Singularity's GPU fraction).
    """

    name: str
    promise: float

    def __post_init__(self) -> None:
        if not 0 <= self.promise < 1:
            raise InputError(
                f"tier {self.name}: promises {self.promise:g} of the GPU-hours; allowed: from 0 to below 1"
            )


BEST_EFFORT = ServiceTier("basic", 0.0)
SINGULARITY_TIERS = (ServiceTier("premium", 0.95), ServiceTier("standard", 0.7), BEST_EFFORT)
"""The tiers of Singularity (arXiv 2202.07848)."""


@dataclass(frozen=True, eq=False)
class JobTable:
    """Jobs in the order of submission, columns of shape (jobs,).

    submitted_s: from the first on.  duration_s: at all the GPUs it asks for.  milli: thousandths of a GPU that it asks
    for, whole GPUs from 1,000 on.  tenant: place in `tenants`.  tier: place in `tiers`.  notes: what of a file was not
    used.  model: place in `models` of what each trains, -1 where its row does not say it, shape (0,) where none does.
    """

    submitted_s: Floats
    duration_s: Floats
    milli: Ints
    tenant: Ints
    tenants: tuple[str, ...]
    tier: Ints
    tiers: tuple[ServiceTier, ...] = (BEST_EFFORT,)
    notes: tuple[str, ...] = ()
    model: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    models: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.submitted_s)

    @property
    def gpus(self) -> Floats:
        """GPUs that each asks for."""
        return self.milli / WHOLE

    @property
    def work_gpu_s(self) -> Floats:
        """GPU-seconds that each takes at all its GPUs."""
        return self.gpus * self.duration_s

    @property
    def promise(self) -> Floats:
        """The share of the GPU-hours asked for that each is promised."""
        return np.array([tier.promise for tier in self.tiers])[self.tier]

    @property
    def span_s(self) -> float:
        """From the first submission to the last."""
        return float(self.submitted_s[-1])

    def in_tiers(self, tiers: tuple[ServiceTier, ...], of_tenant: Ints) -> JobTable:
        """The same jobs in tiers by tenant. of_tenant: place in `tiers` of each tenant, shape (tenants,)."""
        return replace(self, tier=of_tenant[self.tenant], tiers=tiers)

    def rows(self, keep: npt.NDArray[np.bool_]) -> JobTable:
        """Some of the jobs, at least one; seconds count from the first of them."""
        names = ("submitted_s", "duration_s", "milli", "tenant", "tier")
        kept = {name: getattr(self, name)[keep] for name in names}
        kept["submitted_s"] = kept["submitted_s"] - kept["submitted_s"][0]
        return replace(self, **kept, model=self.model[keep] if len(self.model) else self.model)
