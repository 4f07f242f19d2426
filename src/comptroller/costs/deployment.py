"""A deployment: which model runs in which formats, on which engine, on which pools of accelerators."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

from comptroller.errors import InputError, UnsupportedFormatError
from comptroller.facts.accelerator import Accelerator
from comptroller.facts.cache_tier import CacheTier
from comptroller.facts.engine import EngineFacts
from comptroller.facts.format import Format
from comptroller.facts.library import SHIPPED, FactLibrary
from comptroller.facts.model import Model

SIXTEEN_BIT = frozenset({"bf16", "fp16"})


@dataclass(frozen=True, slots=True, order=True)
class PrecisionRecipe:
    """Format ids of weights, experts, activations and cache."""

    weights: str = "bf16"
    experts: str = "bf16"
    activations: str = "bf16"
    kv: str = "bf16"

    def __str__(self) -> str:
        weights = self.weights if self.weights == self.experts else f"{self.weights}+{self.experts}"
        return f"w:{weights} a:{self.activations} kv:{self.kv}"


GATHERING = 8
"""Up to here data-parallel ranks gather and scatter all tokens; more exchange only what their experts need."""


@dataclass(frozen=True, slots=True, order=True)
class ParallelLayout:
    """How one replica is cut: tensor x pipeline x data-parallel attention ranks; `ep` devices share the experts.

    A replica takes tp * pp * dp devices. Experts are cut over the tp * dp devices of a stage: ep ways by
    expert, the rest inside each expert.
    """

    tp: int = 1
    pp: int = 1
    dp: int = 1
    ep: int = 1

    def __post_init__(self) -> None:
        if min(self.tp, self.pp, self.dp, self.ep) < 1 or (self.tp * self.dp) % self.ep:
            raise InputError(f"layout {self}: every degree is >= 1 and ep divides tp * dp")

    @property
    def devices(self) -> int:
        """Devices of one replica."""
        return self.tp * self.pp * self.dp

    @property
    def stage_devices(self) -> int:
        """Devices of one pipeline stage."""
        return self.tp * self.dp

    @property
    def is_wide(self) -> bool:
        """Whether data-parallel ranks exchange only the tokens that their experts need, in two halves that take turns:
        with more devices than `GATHERING`."""
        return self.dp > 1 and self.stage_devices > GATHERING

    @classmethod
    def of(cls, text: str) -> ParallelLayout:
        """The layout that is spelled like this.

        Raises:
            InputError: it is not spelled as a layout, or a degree is wrong.

        >>> ParallelLayout.of("tp4-pp2")
        ParallelLayout(tp=4, pp=2, dp=1, ep=1)
        """
        parts = [re.fullmatch(r"(tp|pp|dp|ep)(\d{1,4})", part) for part in text.lower().split("-")]
        degrees = {part[1]: int(part[2]) for part in parts if part}
        if len(degrees) != len(parts):
            raise InputError(f"layout {text!r} is not known; allowed: degrees of tp, pp, dp and ep as in tp4-pp2")
        return cls(**degrees)

    def __str__(self) -> str:
        parts = [f"{name}{n}" for name, n in (("tp", self.tp), ("pp", self.pp), ("dp", self.dp), ("ep", self.ep))]
        return "-".join(part for part in parts if not part.endswith("p1")) or "tp1"


@dataclass(frozen=True, slots=True)
class SpeculativeDecoding:
    """Tokens that are drafted for each sequence in a step, and verified by the model in one pass.

    tokens: k.  acceptance: chance that a drafted token is kept.  draft: the model that drafts; without one n-grams of
    the sequence are looked up, which costs nothing.
    """

    tokens: int
    acceptance: float
    draft: Model | None = None

    def __str__(self) -> str:
        return f"{self.draft.id if self.draft else 'ngram'} x{self.tokens}"


@dataclass(frozen=True, slots=True)
class AdapterSet:
    """LoRA adapters that a replica serves beside its model.

    count: of different ones.  rank: of each.  resident: slots in device memory, of which each holds one.  skew: s of
    their popularity i^-s, 0 where all are asked for alike.
    """

    count: int
    rank: int
    resident: int
    skew: float = 0.0

    def __str__(self) -> str:
        return f"{self.resident} of {self.count} rank {self.rank}"


@dataclass(frozen=True, slots=True)
class PrefixStore:
    """A cache tier where beginnings of prompts lie that a device has no room for.

    size_bytes: of each replica or, if the tier is shared, of all.  name: the tier's id, or the file that says it.
    """

    tier: CacheTier
    size_bytes: float
    name: str

    def __str__(self) -> str:
        return f"{self.size_bytes / 1e9:.4g} GB of {self.tier.id}"


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """Settings of a serving engine.

    max_batch: most sequences in a step.  chunk_tokens: token budget of a step that holds prefill.
    memory_fraction: share of device memory it takes, of what `fraction_of` says (`facts.engine`).
    prefix_block_tokens: of a block that calls with a common prefix share, 0 where they share none.
    logit_bytes: memory that sampling needs per logit of a full batch.  graph_sizes: batches that may be captured.
    speculation: speculative decoding, if it is used.  adapters: that are served, if any.
    poll_steps: decode steps between two looks at the queue of new requests.  stream_interval: tokens of a piece that is
    streamed after the first token; no first and no last one is later for it.  generation: of the program, empty for the
    present one (`EngineFacts.generation_of`).  offload_bytes: weights of each device that lie in the host's memory.
    tile_vectors: as `EngineFacts` has it (`costs.tiles`).  eager: whether kernels are launched one by one.
    prefix_store: where beginnings of prompts lie that the device has no room for (`costs.prefix_store`).
    draft_expansion: generation whose verifications have a sequence for every token (`EngineFacts`).
    """

    id: str
    version: str
    max_batch: int
    chunk_tokens: int
    memory_fraction: float
    kv_block_tokens: int = 16
    graph_bytes: float = 0.0
    fraction_of: str = "total"
    prefix_block_tokens: int = 0
    logit_bytes: float = 4.0
    graph_sizes: tuple[int, ...] = ()
    program: str = ""
    speculation: SpeculativeDecoding | None = None
    poll_steps: int = 1
    stream_interval: int = 1
    generation: str = ""
    adapters: AdapterSet | None = None
    offload_bytes: float = 0.0
    eager: bool = False
    tile_vectors: int = 1
    prefix_store: PrefixStore | None = None
    draft_expansion: str = ""

    @property
    def verify_sequences(self) -> int:
        """Sequences that a decode step makes of each: one, or one for each of its `verify_tokens`."""
        expands = bool(self.generation) and self.generation == self.draft_expansion and not self.eager
        return self.verify_tokens if expands else 1

    @property
    def verify_tokens(self) -> int:
        """Tokens of a sequence that a decode step processes."""
        return 1 + (self.speculation.tokens if self.speculation else 0)

    @property
    def launched_as(self) -> str:
        """The id of the program that it is, as `EngineFacts` has it."""
        return self.program or self.id

    @classmethod
    def default(cls, facts: EngineFacts) -> EngineSettings:
        """An engine as it starts without flags, at the version that its facts state."""
        return cls(
            facts.id,
            facts.version,
            facts.max_batch,
            facts.chunk_tokens,
            facts.fraction,
            facts.kv_block_tokens,
            facts.graph_bytes,
            facts.fraction_of,
            facts.prefix_block_tokens,
            facts.logit_bytes,
            facts.graph_sizes,
            facts.program,
            poll_steps=facts.poll_steps,
            stream_interval=facts.stream_interval,
            generation=facts.generation_of(facts.version),
            tile_vectors=facts.tile_vectors,
            draft_expansion=facts.draft_expansion,
        )

    @classmethod
    def at_version(cls, facts: EngineFacts, version: str) -> EngineSettings:
        """An engine as a version of it starts without flags; of the facts' own version where none is stated."""
        return replace(cls.default(facts), version=version, generation=facts.generation_of(version))


@dataclass(frozen=True, slots=True, order=True)
class ClockSetting:
    """What a node's owner sets on every device: a locked clock of the cores, a power limit, or both.

    clock_hz: `nvidia-smi --lock-gpu-clocks`.  limit_w: `nvidia-smi --power-limit`.
    """

    clock_hz: float | None = None
    limit_w: float | None = None

    def clock_share(self, device: Accelerator) -> float:
        """The locked clock as a share of the device's highest; 1 without one."""
        return self.clock_hz / device.clock_hz if self.clock_hz and device.clock_hz else 1.0

    def limit_share(self, device: Accelerator) -> float:
        """The limit as a share of the device's own; 1 without one."""
        return self.limit_w / device.tdp_w if self.limit_w else 1.0

    def __str__(self) -> str:
        parts = [f"{self.clock_hz / 1e6:.0f} MHz"] if self.clock_hz else []
        return " ".join([*parts, *([f"{self.limit_w:.0f} W"] if self.limit_w else [])])


@dataclass(frozen=True, slots=True)
class ModelReplica:
    """One replica with its facts resolved: what the cost functions take. library: where its formats are looked up.
    clock: what is set on its devices, where they do not run as they are delivered."""

    model: Model
    device: Accelerator
    recipe: PrecisionRecipe
    layout: ParallelLayout
    engine: EngineSettings
    library: FactLibrary = field(default=SHIPPED, repr=False, compare=False)
    clock: ClockSetting | None = None
    formats: RecipeFormats = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "formats", RecipeFormats.of(self.recipe, self.library))

    @property
    def prefix_block_tokens(self) -> int:
        """Tokens of a block that calls share; 0 where the engine shares none, or the model has recurrent states."""
        return 0 if self.model.recurrent else self.engine.prefix_block_tokens

    def __str__(self) -> str:
        return f"{self.model.id} on {self.layout.devices}x {self.device.id} ({self.layout}, {self.recipe})"


@dataclass(frozen=True, slots=True)
class RecipeFormats:
    """The formats of a recipe, resolved."""

    weights: Format
    experts: Format
    activations: Format
    kv: Format

    @classmethod
    def of(cls, recipe: PrecisionRecipe, library: FactLibrary) -> RecipeFormats:
        """Resolve the ids.

        Raises:
            InputError: a format may not stand where the recipe puts it.
        """
        placed = (
            ("weights", recipe.weights, "weights"),
            ("experts", recipe.experts, "weights"),
            ("activations", recipe.activations, "activations"),
            ("kv", recipe.kv, "kv"),
        )
        formats = []
        for place, name, role in placed:
            entry = library.format(name)
            if role not in entry.roles:
                raise InputError(f"format {name} cannot hold {place}; it serves for {', '.join(entry.roles)}")
            formats.append(entry)
        return cls(*formats)


LOOK_UPS = (("lut1", 1.0), ("lut2", 2.0), ("lut4", 4.0))
"""Arithmetics of units that look products up -> the widest integer weights that they take, in bits."""


def _look_up(weights: Format, device: Accelerator) -> str | None:
    """The arithmetic in which a device looks the products of weights up; none where it multiplies them."""
    if weights.element.kind not in {"int", "ternary"}:
        return None
    rates = {str(rate) for rate in device.peak_flops_per_s}
    return next((name for name, bits in LOOK_UPS if name in rates and weights.element.bits <= bits), None)


def arithmetic(weights: Format, activations: Format, device: Accelerator) -> str:
    """The arithmetic that multiplies weights by activations on a device.

    Equal native arithmetic on both sides runs at its own rate. Matrices that a checkpoint keeps wider than the
    recipe's activations take them unquantised, in their own arithmetic. Otherwise the weights are widened by a
    published kernel to the arithmetic that it computes in, which must hold the activations; 16-bit kernels serve
    both 16-bit types. Units that look products up take integer weights of few bits by 16-bit activations.

    Raises:
        UnsupportedFormatError: the device has neither.
    """
    if activations.arithmetic in SIXTEEN_BIT and (table := _look_up(weights, device)):
        return table
    if weights.arithmetic == activations.arithmetic and weights.support(device) == "native":
        return str(weights.arithmetic)
    if activations.support(device) != "native":
        raise UnsupportedFormatError(
            f"{device.id} cannot multiply {activations.id} activations: it has "
            f"{', '.join(sorted(str(rate) for rate in device.peak_flops_per_s))}"
        )
    if weights.id == activations.id or weights.arithmetic == activations.arithmetic:
        return weights.compute_arithmetic(device)
    if weights.support(device) == "native" and weights.bits_per_element > activations.bits_per_element:
        return str(weights.arithmetic)
    families = {kernel.computes_in for kernel in weights.kernels if device.family in kernel.families}
    if families & SIXTEEN_BIT and activations.arithmetic in SIXTEEN_BIT:
        return str(activations.arithmetic)
    if activations.arithmetic in families:
        return str(activations.arithmetic)
    raise UnsupportedFormatError(
        f"{device.id} cannot run {weights.id} weights with {activations.id} activations: "
        f"published kernels compute in {', '.join(sorted(families)) or 'nothing on ' + device.family}"
    )
