"""What a fleet may be made of and how far it may be used, beside the objectives of a workload."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from pydantic import BaseModel, Field, model_validator

from comptroller.errors import FactError, UnknownIdError
from comptroller.facts.reader import real_ids
from comptroller.facts.site import ProviderKind, SellerAllowlist, Site, Term, site
from comptroller.facts.stated_prices import STATED
from comptroller.work.policy_choice import PolicyChoice
from comptroller.work.prefix_sharing import PrefixSharing
from comptroller.work.serving_levers import AdapterChoice, PoolChoice, SpeculationChoice, TierChoice
from comptroller.work.sizes import STRICT, conflict

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

LEAST_SPREAD, MOST_SPREAD = 9, 512
"""Devices over which experts are spread: more than show each other whole tokens, and at most twice the 256 experts of
the largest published models, with a copy of each. Twice as many would leave devices without an expert."""

LEAST_CHUNK, MOST_CHUNK = 16, 131_072
"""Tokens of a step that holds prompts: a block of cache at least, the longest context of common models at most. At half
the least, or twice the most, engines refuse to start or gain nothing."""

NO_GRAPHS = "which batches are captured is no choice: engines capture what they know; allow.eager runs without any"
"""Why `allow.graphs` is refused."""

MOST_INTERVAL = 1000
"""Most steps between two looks at a queue, and tokens of a streamed piece. SGLang counts a step with prompts as 1,000
of them: at twice as many prompts would wait for each other's steps too, which is not modelled."""

ChunkTokens = Annotated[int, Field(strict=True, ge=LEAST_CHUNK, le=MOST_CHUNK)]
Confidence = Annotated[float, Field(strict=True, ge=LEAST_CONFIDENCE, lt=1)]
StepInterval = Annotated[int, Field(strict=True, ge=1, le=MOST_INTERVAL)]
SpreadCount = Annotated[int, Field(strict=True, ge=LEAST_SPREAD, le=MOST_SPREAD)]
PositiveNumber = Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]
UseCeiling = Annotated[float, Field(strict=True, gt=0, le=1)]
KindCount = Annotated[int, Field(strict=True, ge=1)]


class ResourceAllowlist(BaseModel):
    """The resources that a plan may use, by any name that `facts.library.resolve` takes; an empty list allows all.

    pools: whether replicas do both prefill and decode, or may do one of them.  routing: policies that are compared.
    chunk_tokens: budgets of a step with prompts, beside the engine's own.  kv_formats: of the cache; where none is
    named, the 16-bit one and, of `formats`, those of eight bits.
    clock_mhz, power_limit_w: locked clocks and power limits of every device, tried beside those as they are delivered.
    expert_devices: numbers of devices over which the experts of one replica may be spread, beside those of a node.
    offload_gib: of each device's weights, that may lie in the host's memory.
    eager: whether replicas may run without captured graphs, too.
    poll_steps, stream_interval: steps between two looks at the queue, tokens of a streamed piece; where none is named,
    the engine's own.
    measured_only: only deployments whose kernels or end-to-end speed somebody timed.
    providers, kinds: of whom may be rented, as `SellerAllowlist` has it: without either, of all that a company can
    rent from.
    """

    model_config = STRICT
    accelerators: tuple[str, ...] = ()
    formats: tuple[str, ...] = ()
    engines: tuple[str, ...] = ()
    sites: tuple[str, ...] = ()
    terms: tuple[Term, ...] = ("on_demand",)
    pools: Annotated[tuple[PoolChoice, ...], Field(min_length=1)] = (PoolChoice.MIXED,)
    routing: tuple[str, ...] = ()
    chunk_tokens: tuple[ChunkTokens, ...] = ()
    kv_formats: tuple[str, ...] = ()
    clock_mhz: tuple[PositiveNumber, ...] = ()
    power_limit_w: tuple[PositiveNumber, ...] = ()
    expert_devices: tuple[SpreadCount, ...] = ()
    offload_gib: tuple[PositiveNumber, ...] = ()
    eager: Annotated[bool, Field(strict=True)] = False
    poll_steps: tuple[StepInterval, ...] = ()
    stream_interval: tuple[StepInterval, ...] = ()
    measured_only: Annotated[bool, Field(strict=True)] = False
    providers: tuple[str, ...] = ()
    kinds: tuple[ProviderKind, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _without_graphs(cls, given: Any) -> Any:
        if isinstance(given, dict) and "graphs" in given:
            raise conflict("graphs", NO_GRAPHS, "no such key")
        return given

    @property
    def unused_levers(self) -> set[str]:
        """Fields of levers that allow no more than an engine's own way: they change no plan."""
        usual: dict[str, object] = {"pools": (PoolChoice.MIXED,), "routing": (), "chunk_tokens": (), "kv_formats": ()}
        usual |= {"clock_mhz": (), "power_limit_w": (), "expert_devices": (), "offload_gib": (), "eager": False}
        usual |= {"poll_steps": (), "stream_interval": ()}
        return {name for name, value in usual.items() if getattr(self, name) == value}

    @property
    def sellers(self) -> SellerAllowlist:
        """Of whom may be rented."""
        return SellerAllowlist(self.providers, self.kinds)

    def with_stated_prices(self, field: str, file: str) -> ResourceAllowlist:
        """The same, where offers at the prices that a field of the workload states may be rented, too.

        Raises:
            FactError: terms or kinds leave them out.
        """
        if "on_demand" not in self.terms:
            raise FactError(file, "allow.terms", f"{field} states prices on demand", '"on_demand" too')
        if self.kinds and "own" not in self.kinds:
            raise FactError(file, "allow.kinds", f"{field} states prices of your own", '"own" too, or none')
        return self.model_copy(update={"providers": (*self.providers, STATED)}) if self.providers else self

    def known_providers(self, file: str, sites: Iterable[Site]) -> tuple[str, ...]:
        """The providers as sites write them, in any case; of all sites that ship where none is given.

        Raises:
            FactError: no site has one of that name, or it is of a kind that is not allowed.
        """
        if not self.providers:
            return ()
        places = tuple(sites) or tuple(map(site, real_ids("sites")))
        known = {provider: place.kind_of(provider) for place in places for provider in place.providers}
        plain = {provider.casefold(): provider for provider in known}
        for name in (name for name in self.providers if name.strip().casefold() not in plain):
            raise FactError(file, "allow.providers", str(UnknownIdError("provider", name, known)))
        found = tuple(plain[name.strip().casefold()] for name in self.providers)
        for name in (name for name in found if not SellerAllowlist((name,), self.kinds).allows(name, known[name])):
            fault = f"{name} is of the kind {known[name]!r}, which is not among them"
            raise FactError(file, "allow.kinds", fault, f"{known[name]!r} too, or none")
        return found


class WorkloadLevers(BaseModel):
    """Levers of serving with settings of their own.

    speculation: speculative decoding that may be used.  prefix: what prompts have in common, without a trace.
    policies: who decides in the fleet.  adapters: LoRA adapters that requests name.  cache_tier: where beginnings of
    prompts lie that replicas have no room for.
    """

    model_config = STRICT
    speculation: SpeculationChoice | None = None
    prefix: PrefixSharing | None = None
    policies: PolicyChoice = PolicyChoice()
    adapters: AdapterChoice | None = None
    cache_tier: TierChoice | None = None

    @model_validator(mode="after")
    def _shared(self) -> WorkloadLevers:
        """A tier keeps what prompts have in common: stated here, or named by a trace's blocks (`Workload.trace`)."""
        if self.cache_tier is not None and self.prefix is None and getattr(self, "trace", None) is None:
            problem = "keeps what prompts have in common, and nothing states it"
            raise conflict("cache_tier", problem, "with prefix, or trace")
        return self


def require_requests_alone(given: Mapping[str, Any]) -> None:
    """Checks that a plan for questions states nothing that only requests have.

    Raises:
        PydanticCustomError: lengths or prefixes, which the evidence has, or adapters.
    """
    said = dict.fromkeys(("lengths", "prefix"), "are already given by the evidence")
    for name, value in given.items():
        if value is not None:
            problem = said.get(name, "are named by requests, not by recorded questions")
            raise conflict(name, problem, "quality.lengths, or none" if name in said else "without quality")
