"""What a workload of training keeps outside of devices (`[training.offload]`): rates, places, what may leave."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field, model_validator

from comptroller.costs.tiers import tier_to_device_bytes_per_s
from comptroller.costs.training_offload import OffloadedPart, OffloadTier
from comptroller.errors import InputError
from comptroller.facts.accelerator import Accelerator
from comptroller.facts.cache_tier import cache_tier
from comptroller.facts.reader import WHAT_IF
from comptroller.work.objectives import Positive
from comptroller.work.sizes import STRICT, conflict

Switch = Annotated[bool, Field(strict=True)]


class StateOffload(BaseModel):
    """Weights and states outside of devices. host_gb_per_s: of a node's memory.  host_gb: that it may hold.
    read_gb_per_s, write_gb_per_s: of its store (NVMe); without them all is in the host's memory.  overlapped: the
    optimiser beside the backward pass.  swap: activations may leave the device too, as far as that takes less time than
    computing them again.  far_share, far_gb_per_s: of the parts `far_holds` in a slower memory of the node (CXL).
    pool: in place of all these the cache tier, shared by replicas, that everything lies in."""

    model_config = STRICT
    host_gb_per_s: Positive | None = None
    host_gb: Positive | None = None
    read_gb_per_s: Positive | None = None
    write_gb_per_s: Positive | None = None
    overlapped: Switch = True
    swap: Switch = False
    far_share: Annotated[float, Field(strict=True, ge=0, lt=1)] = 0.0
    far_gb_per_s: Positive | None = None
    far_holds: Annotated[tuple[OffloadedPart, ...], Field(min_length=1)] = (OffloadedPart.STATES,)
    pool: str = ""

    @model_validator(mode="after")
    def _consistent(self) -> StateOffload:
        if bool(self.pool) == (self.host_gb_per_s is not None):
            raise conflict("host_gb_per_s", "a node's memory or a pool: state one of them", "host_gb_per_s, or pool")
        if self.pool and (self.host_gb or self.read_gb_per_s or self.write_gb_per_s or self.far_share):
            raise conflict("pool", "with a pool all lies there: no memory or store of a node beside it", "pool alone")
        if (self.read_gb_per_s is None) != (self.write_gb_per_s is None):
            raise conflict("read_gb_per_s", "a store is read and written: state both rates", "both, or none")
        if (self.far_share > 0) != (self.far_gb_per_s is not None):
            raise conflict(
                "far_share", "a slower memory has a share of what it holds and a rate: state both", "both, or none"
            )
        return self

    def tier(self, device: Accelerator) -> OffloadTier:
        """The rates of a device's node in bytes a second.

        Raises:
            UnknownIdError: there is no such pool.
            InputError: it is of one node, or no link of the device leads to it.
        """
        if self.pool:
            return OffloadTier(float("inf"), swaps=self.swap, pool_bytes_per_s=_pool_bytes_per_s(self.pool, device))
        endless = float("inf")
        read, write, far, room = (
            endless if one is None else one * 1e9
            for one in (self.read_gb_per_s, self.write_gb_per_s, self.far_gb_per_s, self.host_gb)
        )
        return OffloadTier(
            (self.host_gb_per_s or endless) * 1e9,
            read,
            write,
            self.overlapped,
            self.far_share,
            far,
            frozenset(self.far_holds),
            self.swap,
            room,
        )

    @property
    def words(self) -> str:
        """Where things lie, in a clause."""
        if self.pool:
            built = ", a what-if that nobody can rent" if self.pool.startswith(WHAT_IF) else ""
            return f"weights and states in the pool {self.pool}{built}"
        place = "in the node's store" if self.read_gb_per_s else "in the host's memory"
        words = [f"weights and states {place}"]
        if self.far_share:
            words.append(f"{self.far_share:.0%} of {', '.join(self.far_holds)} in a slower memory")
        words.append("optimiser beside the backward pass" if self.overlapped else "optimiser after the backward pass")
        words += ["activations free to leave"] if self.swap else []
        return ", ".join(words)


def _pool_bytes_per_s(name: str, device: Accelerator) -> float:
    tier = cache_tier(name)
    if not tier.shared:
        raise InputError(
            f"training.offload.pool: {name} is of one node; state host_gb_per_s, and read_gb_per_s and write_gb_per_s "
            f"of a store"
        )
    return tier_to_device_bytes_per_s(tier, device)
