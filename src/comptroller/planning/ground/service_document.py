"""A service as a plan's file holds it: its deployment, engine, formats, price and slices, with predicted figures."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator

from comptroller.planning.ground.day_document import DocumentPart

Known = Annotated[float, BeforeValidator(lambda value: float("nan") if value is None else value)]
"""A number, or NaN where it is not known, which stands as null in the file."""


class PredictedFigure(DocumentPart):
    """A predicted figure and its 80 % interval; `None` where no residuals support one."""

    value: Known
    low: float | None = None
    high: float | None = None


class LatencyDocument(DocumentPart):
    """A latency objective beside its prediction, in seconds.

    predicted_s: by simulation where `status` says so.  steady_s: by the queueing approximation.
    """

    quantity: Literal["ttft_s", "tpot_s", "e2e_s"]
    quantile: float
    predicted_s: PredictedFigure
    steady_s: float
    most_s: float
    status: Literal["unverified", "simulated"]


class RecipeDocument(DocumentPart):
    """Format ids."""

    weights: str
    experts: str
    activations: str
    kv: str


class SpeculationDocument(DocumentPart):
    """Speculative decoding: id of the model that drafts, n-grams without one; tokens a step; share that is kept."""

    tokens: int
    acceptance: float
    draft: str | None = None


class AdapterDocument(DocumentPart):
    """LoRA adapters: how many, their rank, slots of a replica, exponent of their popularity."""

    count: int
    rank: int
    resident: int
    skew: float


class EngineDocument(DocumentPart):
    """Engine settings; context_tokens: longest prompt plus output it takes, the model's own where not given.

    offload_gib: of each device's weights, in the host's memory.  eager: without captured graphs.
    poll_steps: decode steps between two looks at the queue, the engine's own where not given.
    stream_interval: tokens of a streamed piece, the engine's own where not given.
    """

    id: str
    version: str
    max_batch: int
    chunk_tokens: int
    memory_fraction: float
    context_tokens: int | None = None
    speculation: SpeculationDocument | None = None
    adapters: AdapterDocument | None = None
    offload_gib: float | None = None
    eager: bool = False
    poll_steps: int | None = None
    stream_interval: int | None = None


class PoolDocument(DocumentPart):
    """Equal replicas of one phase; usd_per_device_h where it is not the service's.

    clock_mhz, power_limit_w: set on every device, where they do not run as they are delivered.
    """

    phase: Literal["mixed", "prefill", "decode"]
    accelerator: str
    tp: int
    pp: int
    dp: int
    ep: int
    replicas: int
    usd_per_device_h: float | None = None
    clock_mhz: float | None = None
    power_limit_w: float | None = None

    @property
    def devices(self) -> int:
        """Devices of all its replicas."""
        return self.tp * self.pp * self.dp * self.replicas


class CacheTierDocument(DocumentPart):
    """Where blocks go that devices evict: the id of a tier; its gigabytes, of each replica or, if shared, of all."""

    tier: str
    gb: float


class DeploymentDocument(DocumentPart):
    """Model x recipe x engine x pools x site: the `Deployment` of the design.

    cache_tiers: in the order in which evicted blocks pass through them.
    """

    model: str
    recipe: RecipeDocument
    engine: EngineDocument
    pools: tuple[PoolDocument, ...]
    policies: tuple[tuple[str, str], ...]
    site: str
    cache_tiers: tuple[CacheTierDocument, ...] = ()


class PriceDocument(DocumentPart):
    """The dated offer a service was priced with."""

    provider: str
    instance: str
    term: str
    usd_per_device_h: float
    since: str


class SliceDocument(DocumentPart):
    """A request-size bucket and the share of it that a service carries."""

    input_tokens: float
    output_tokens: float
    rate_per_s: float
    share: float
    capacity_per_replica_per_s: float


class ServiceDocument(DocumentPart):
    """A deployment in the plan with what it does there."""

    id: str
    deployment: DeploymentDocument
    price: PriceDocument
    usd_per_h: float
    rate_per_s: float
    utilisation: float
    batch: float
    kv_capacity_tokens: int
    ttft_s: PredictedFigure
    tpot_s: PredictedFigure
    output_tokens_per_s: float
    w: PredictedFigure
    gco2e_per_h: float
    slices: tuple[SliceDocument, ...]
    launch: str
