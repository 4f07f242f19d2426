"""Causes of what servers do beyond their kernels: effects that a fit shares between replicas, and whose they are.

An effect is a factor near 1, named QUANTITY.CAUSE, by what it slows: `pace` the arithmetic and traffic of kernels and
`attention` that of attention besides, `launch` the least times of their calls, `wire` collectives, `work` what a step
takes outside kernels and `sequence` that for each sequence, `outside` what a server adds before the first token. An old
build that spends 0.2 ms of its host on each sequence is nine times too slow on a small model with 256 of them, and as
fast as any on a large one: one factor on all of it is right for neither. A replica that was never measured has the
effects of its causes (a family of accelerators or an engine whose kernels nobody timed, a vendor, a generation of the
engine, a kind of link), never those of its name. Causes are nested: an old build on another vendor's device has the
effects of the vendor, of the generation, and of that generation there, so that what one device shows tells of the next.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from math import log2

from comptroller.costs.deployment import ModelReplica
from comptroller.facts.calibration import engines_timed, families_timed
from comptroller.facts.serving import ANY

EffectName = tuple[str, str]
"""Name of an effect and its engine, `any` where all engines share it."""

QUANTITIES = ("pace", "attention", "launch", "wire", "work", "sequence", "outside")

TIMED_VENDOR = "NVIDIA"
"""Whose accelerators' kernels were timed one by one: others' builds have effects of their vendor. A processor has none,
for what a vendor's accelerators show tells nothing of its processors: their build is of the instruction set."""

REACH = "pace.reach"
"""Effect on kernels of an engine that nobody timed for each doubling of the memory's rate: with so many requests under
way to memory as a kernel keeps, a faster memory waits for it. llama.cpp reads weights at 0.87 TB/s both on an RTX 4090
(of 1.0) and on an A100 (of 2.0)."""

REACH_BYTES_PER_S = 1e12
"""Rate of memory at which `REACH` is 1; another would move its constant only."""


def effects(replica: ModelReplica) -> tuple[EffectName, ...]:
    """The effects that apply to a replica.

    >>> from comptroller.costs.deployment import EngineSettings, ParallelLayout, PrecisionRecipe
    >>> from comptroller.facts.library import SHIPPED
    >>> engine = EngineSettings.default(SHIPPED.engine("vllm"))
    >>> model, device = SHIPPED.model("llama_3_1_8b"), SHIPPED.accelerator("mi300x")
    >>> effects(ModelReplica(model, device, PrecisionRecipe(), ParallelLayout(), engine))[:2]
    (('outside.dense', 'vllm'), ('pace.family.cdna3', 'any'))
    """
    engine, device = replica.engine, replica.device
    link = "none" if replica.layout.stage_devices == 1 else _link(replica)
    kind = "moe" if replica.model.is_moe else "dense"
    timed = families_timed(), engines_timed()
    known = device.family in timed[0], engine.launched_as in timed[1]
    maker = TIMED_VENDOR if device.kind == "cpu" else device.vendor
    return _effects((engine.launched_as, engine.generation), (kind, link), (device.family, maker), known)


def exposures(replica: ModelReplica) -> Mapping[EffectName, float]:
    """The effects that apply to a replica, and how often each: its factor is the value to this power.

    >>> from comptroller.costs.deployment import EngineSettings, ParallelLayout, PrecisionRecipe
    >>> from comptroller.facts.library import SHIPPED
    >>> engine, model = EngineSettings.default(SHIPPED.engine("llama_cpp")), SHIPPED.model("llama_3_1_8b")
    >>> device = SHIPPED.accelerator("a100_80_sxm")
    >>> found = exposures(ModelReplica(model, device, PrecisionRecipe(), ParallelLayout(), engine))
    >>> round(found["pace.reach", "llama_cpp"], 2), found["pace.build", "llama_cpp"]
    (1.03, 1.0)
    """
    octaves = max(log2(replica.device.memory_bytes_per_s / REACH_BYTES_PER_S), 0.0)
    return {name: octaves if name[0] == REACH else 1.0 for name in effects(replica)}


def is_foreign(replica: ModelReplica) -> bool:
    """Whether a replica is another vendor's, of a family or an engine that nobody timed, or of an older generation."""
    return strangeness(replica) != TIMED


TIMED = "timed"
"""What a replica is of whose engine, generation and family somebody timed kernels."""

STRANGENESS = {".vendor.": "vendor", ".family.": "vendor", ".build": "engine", ".generation.": "generation"}
"""Cause in an effect's name -> the group whose held-out errors judge the replica, the farthest first."""


def strangeness(replica: ModelReplica) -> str:
    """The group of held-out errors that judges a replica: another vendor or family, an untimed engine, an older
    generation of one, or `TIMED`.

    >>> from comptroller.costs.deployment import EngineSettings, ParallelLayout, PrecisionRecipe
    >>> from comptroller.facts.library import SHIPPED
    >>> engine, model = EngineSettings.default(SHIPPED.engine("vllm")), SHIPPED.model("llama_3_1_8b")
    >>> parts = PrecisionRecipe(), ParallelLayout(), engine
    >>> [strangeness(ModelReplica(model, SHIPPED.accelerator(x), *parts)) for x in ("h100_sxm", "mi300x")]
    ['timed', 'vendor']
    """
    names = " ".join(name for name, _ in effects(replica))
    return next((group for mark, group in STRANGENESS.items() if mark in names), TIMED)


def model_kind(replica: ModelReplica) -> str:
    """What kind of model it serves: `dense`, or a mixture of `experts`; bands may tell the two apart."""
    return "experts" if replica.model.is_moe else "dense"


def _link(replica: ModelReplica) -> str:
    """The kind of link that a stage's devices share: the host's memory, PCIe with peer access, a fabric, or a network
    between nodes."""
    link = replica.device.scale_up
    if link is None or not link.peer_access:
        return "host"
    if link.name.lower().startswith("pcie"):
        return "pcie"
    return "fabric" if replica.layout.stage_devices <= link.devices else "nodes"


@lru_cache(maxsize=1024)
def _effects(
    program: tuple[str, str], shape: tuple[str, str], device: tuple[str, str], timed: tuple[bool, bool]
) -> tuple[EffectName, ...]:
    (engine, generation), (kind, link), (family, vendor), (timed_family, timed_engine) = program, shape, device, timed
    found = [(f"outside.{kind}", engine)]
    if not timed_family:
        found.append((f"pace.family.{family}", ANY))
    if not timed_engine:
        found += [(REACH, engine), *((f"{name}.build", engine) for name in BUILT)]
    if vendor != TIMED_VENDOR:
        found += [(f"{name}.vendor.{vendor.lower()}", ANY if timed_engine else engine) for name in SLOWED]
    if vendor != TIMED_VENDOR and generation:
        found += [(f"{name}.vendor.{vendor.lower()}.{generation}", engine) for name in SLOWED]
    if generation:
        found += [(f"{name}.generation.{generation}", engine) for name in SLOWED]
    if link != "none":
        found.append((f"wire.{link}", ANY))
    return tuple(found)


BUILT = ("pace", "attention", "launch", "sequence")
"""What an engine whose kernels nobody timed may slow apart."""

SLOWED = ("pace", "attention", "launch", "work", "sequence", "outside")
"""What a vendor's build or an older generation may slow apart."""
