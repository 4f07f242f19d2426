"""One way to serve: a replica on devices that somebody rents out, with its memory and price."""

from __future__ import annotations

from dataclasses import dataclass, replace

from comptroller.costs.deployment import ModelReplica
from comptroller.costs.memory import ReplicaMemory
from comptroller.costs.split_pools import SplitPools
from comptroller.facts.site import AcceleratorOffer, Site
from comptroller.planning.ground.deployment_levers import DeploymentLevers

AVAILABLE = "available "
"""Before the name of an offer: its devices are limited by what there is."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """One way to serve: a replica (model, recipe, layout, engine, accelerator), its memory, its site and its price.

    pools: where prefill and decode run apart, how many replicas of each make a group, which then stands for a replica.
    chunk_tokens: budget of a step with prompts, where it is not the engine's own.
    """

    replica: ModelReplica
    memory: ReplicaMemory
    site: Site
    offer: AcceleratorOffer
    pools: SplitPools | None = None
    chunk_tokens: int | None = None

    @property
    def levers(self) -> DeploymentLevers:
        """What it does other than its engine starts by itself."""
        return DeploymentLevers(self.pools, self.chunk_tokens, self.replica.engine.speculation)

    @property
    def devices(self) -> int:
        """Devices of a replica, or of a group of them."""
        return self.replica.layout.devices * (self.pools.ratio.replicas if self.pools else 1)

    @property
    def id(self) -> str:
        """Readable and unique within a plan; its name everywhere."""
        replica = self.replica
        formats = "_".join(dict.fromkeys((replica.recipe.weights, replica.recipe.experts, replica.recipe.kv)))
        layout = str(replica.layout).replace("-", "")
        pack = f".x{self.offer.devices}" if self.offer.devices > 1 else ""
        few = "" if self.offer.available is None else f".{'_'.join(self.seller.lower().split())}"
        where = f"{replica.engine.id}.{self.site.id}.{self.offer.term}{pack}{few}"
        return f"{replica.model.id}.{replica.device.id}.{layout}.{formats}{self.levers.suffix}.{where}"

    @property
    def seller(self) -> str:
        """Who rents it out, and as which instance."""
        return " ".join(filter(None, (self.offer.provider, self.offer.instance)))

    @property
    def capacity(self) -> str:
        """The name of the limit that what is available sets; all that is rented by this offer counts for it."""
        return f"{AVAILABLE}{self.seller} {self.offer.accelerator} {self.offer.term} at {self.site.id}"

    @property
    def label(self) -> str:
        """It in one line: model, formats, devices, layout, engine, place and term."""
        replica = self.replica
        few = "" if self.offer.available is None else f" of {self.seller}"
        return (
            f"{replica.model.id} {replica.recipe.weights}/kv {replica.recipe.kv} on {self.devices}x "
            f"{replica.device.id} {replica.layout}{self.levers.label} {replica.engine.id} @ {self.site.id} "
            f"{self.offer.term}{few}"
        )

    @property
    def usd_per_h(self) -> float:
        """Dollars per hour of one replica: what must be rented to have its devices, shared if it divides."""
        devices, pack = self.devices, self.offer.devices
        rented = devices if pack % devices == 0 else -(-devices // pack) * pack
        return self.offer.usd_per_s * 3600.0 * rented

    @property
    def axes(self) -> dict[str, str]:
        """The value of this choice on every axis that a runner-up may differ in."""
        return {
            "model": self.replica.model.id,
            "accelerator": self.replica.device.id,
            "layout": str(self.replica.layout),
            **self.levers.axes,
            "format": str(self.replica.recipe),
            "engine": self.replica.engine.id,
            "site": self.site.id,
            "term": self.offer.term,
        }

    def with_batch(self, max_batch: int) -> Deployment:
        """The same with the engine's batch capped."""
        engine = replace(self.replica.engine, max_batch=max_batch)
        return replace(self, replica=replace(self.replica, engine=engine))
