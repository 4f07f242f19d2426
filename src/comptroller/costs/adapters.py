"""LoRA adapters beside a model: their memory, the matrices of a step that multiply many of them, and their loads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from comptroller.costs.deployment import AdapterSet, ModelReplica, ParallelLayout
from comptroller.costs.operations import ONE, PROMPTS, TOKENS, StepOperation
from comptroller.costs.step import StepFeature, adapter_popularity, expected_adapters
from comptroller.facts.model import (
    DenseFeedForward,
    LayerBlock,
    MixtureOfExperts,
    Model,
    ProjectionMatrix,
    SoftmaxAttention,
)

Array = npt.NDArray[np.float64]

ADAPTER_BYTES = 2.0
"""Adapters are kept in 16 bit: `lora_dtype` of vLLM is that of the model, whose quantisations compute in 16 bit."""


@dataclass(frozen=True, slots=True)
class AdapterTarget:
    """Matrices of one input that an adapter is beside, on one device, as an engine fuses them (q, k, v; gate, up).

    A (inputs, rank) stands once for each of `slices` matrices, B (rank, outputs) of all together has `outputs`.
    count: how often a step passes them.
    """

    inputs: float
    outputs: float
    slices: int
    count: int

    @property
    def elements_per_rank(self) -> float:
        """Elements of A and B for each unit of rank, of one layer."""
        return self.slices * self.inputs + self.outputs


def adapter_targets(model: Model, layout: ParallelLayout) -> Iterator[AdapterTarget]:
    """What an adapter of all linear layers is beside: q, k, v, o, gate, up and down of every layer.

    Where a matrix is cut by outputs, A is whole on every device and B is cut; where by inputs, A is cut and B whole
    (vLLM without `--fully-sharded-loras`, vllm/config/lora.py: only half of it is cut).
    """
    for block in model.blocks:
        mixer = block.mixer.projections(model.hidden) if block.mixer else ()
        feed = block.ffn.projections(model.hidden) if block.ffn else ()
        gate = 2 if isinstance(block.ffn, DenseFeedForward) and block.ffn.gated else 1
        for projections, copies in ((mixer, 1), (feed, gate)):
            yield from _targets(projections, copies, block.count, layout.tp)


def _targets(projections: tuple[ProjectionMatrix, ...], copies: int, count: int, ranks: int) -> Iterator[AdapterTarget]:
    """copies: matrices that a projection cut by outputs holds side by side."""
    wide = [p for p in projections if p.shard == "column"]
    if wide:
        outputs = sum(p.outputs / min(ranks, p.units or ranks) for p in wide)
        yield AdapterTarget(float(wide[0].inputs), outputs, copies * len(wide), count)
    for p in projections:
        if p.shard == "row":
            yield AdapterTarget(p.inputs / ranks, float(p.outputs), 1, count)


def adapter_bytes(replica: ModelReplica) -> float:
    """Bytes that one slot of an adapter takes on the fullest device.

    m = b r [sum over layers and targets (s h + o) / pp + 2 (V + D)]

    h, o: inputs and outputs of a target on the device, s matrices side by side; D hidden width, V vocabulary: engines
    keep room for adapters of embedding and head too, on every device whole (vllm/lora/layers, vocal_parallel_embedding
    and logits_processor). 0 where the replica serves none.

    >>> from comptroller.facts.accelerator import accelerator
    >>> from comptroller.facts.config import model
    >>> from comptroller.facts.engine import engine_facts
    >>> from comptroller.costs.deployment import EngineSettings, PrecisionRecipe
    >>> from dataclasses import replace
    >>> engine = replace(EngineSettings.default(engine_facts("vllm")), adapters=AdapterSet(4, 16, 4))
    >>> one = ModelReplica(model("llama_3_1_8b"), accelerator("h100_sxm"), PrecisionRecipe(), ParallelLayout(), engine)
    >>> adapter_bytes(one) / 2  # 41,943,040 elements of rank 16 in the layers, and 2 x 132,352 x 16
    46178304.0
    """
    served, model, layout = replica.engine.adapters, replica.model, replica.layout
    if served is None:
        return 0.0
    layers = sum(target.count * target.elements_per_rank for target in adapter_targets(model, layout))
    ends = 2.0 * (model.vocabulary + model.hidden)
    return float(ADAPTER_BYTES * served.rank * (layers / layout.pp + ends))


def slot_bytes(replica: ModelReplica) -> float:
    """Bytes of all slots of adapters on the fullest device."""
    served = replica.engine.adapters
    return served.resident * adapter_bytes(replica) if served else 0.0


def adapter_operations(replica: ModelReplica) -> tuple[StepOperation, ...]:
    """What a step does for adapters: of every target two matrix products over all tokens, to rank and back.

    F = 2 n h_i h_o,  bytes = 2 [n (h_i + h_o) + u h_i h_o]

    n: tokens.  u: different adapters in the step (`step.expected_adapters`).  (h_i, h_o) is (h, s r), then (r, o).
    Source: the roofline of segmented gather matrix-vector products, Punica (arXiv 2310.18547); S-LoRA (arXiv
    2311.03285) batches over adapters in the same way. How many adapters share the work changes bytes, not FLOPs.

    >>> from comptroller.facts.accelerator import accelerator
    >>> from comptroller.facts.config import model
    >>> from comptroller.facts.engine import engine_facts
    >>> from comptroller.costs.deployment import EngineSettings, PrecisionRecipe
    >>> from dataclasses import replace
    >>> engine = replace(EngineSettings.default(engine_facts("vllm")), adapters=AdapterSet(4, 16, 4))
    >>> one = ModelReplica(model("llama_3_1_8b"), accelerator("h100_sxm"), PrecisionRecipe(), ParallelLayout(), engine)
    >>> rows = adapter_operations(one)
    >>> len(rows), sum(row.count * row.flops[TOKENS] for row in rows) / 2  # 4 targets; as many elements as above
    (8, 41943040.0)
    """
    served = replica.engine.adapters
    if served is None:
        return ()
    used = StepFeature("adapters", served.resident, served.count, served.skew)
    rows = []
    for target in adapter_targets(replica.model, replica.layout):
        rank = float(served.rank)
        rows.append(_product(target.inputs, target.slices * rank, 1, used, target.count))
        rows.append(_product(rank, target.outputs / target.slices, target.slices, used, target.count))
    return tuple(rows)


def _product(inputs: float, outputs: float, slices: int, used: StepFeature, count: int) -> StepOperation:
    """One kernel: `slices` products of the same shape. Prompts are a feature of it, by which `timing` prices loads."""
    elements = slices * inputs * outputs
    return StepOperation(
        "gemm",
        count,
        {TOKENS: 2.0 * elements},
        {used: ADAPTER_BYTES * elements, TOKENS: ADAPTER_BYTES * slices * (inputs + outputs)},
        part="adapters",
        items={PROMPTS: 0.0},
        depth={ONE: inputs},
    )


def miss_share(served: AdapterSet) -> float:
    """Share of the requests whose adapter is in no slot: the one used longest ago has been replaced.

    sum p_i e^(-p_i T),  T from  sum (1 - e^(-p_i T)) = R  (Che et al. 2002, DOI 10.1109/JSAC.2002.801752)

    p_i: popularity.  R: slots.  Requests are taken to name adapters independently of each other.

    >>> round(miss_share(AdapterSet(100, 16, 50)), 3), miss_share(AdapterSet(8, 16, 8))
    (0.5, 0.0)
    """
    return _miss_share(served.count, served.skew, served.resident)


@lru_cache(maxsize=1024)
def _miss_share(count: int, skew: float, resident: int) -> float:
    if resident >= count:
        return 0.0
    popularity = adapter_popularity(count, skew)

    def excess(log_t: float) -> float:
        return float(-np.expm1(-popularity * np.exp(log_t)).sum() - resident)

    low, high = -1.0, float(np.log(-np.log(LEAST_LEFT) / popularity.min()))
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if excess(middle) < 0 else (low, middle)
    return float((popularity * np.exp(-popularity * np.exp(high))).sum())


HALVINGS = 60
"""Of the interval of log T, a few tens wide: to the last digit of a double. scipy would be loaded by every
gateway, which imports the costs; twice as many change nothing."""


LEAST_LEFT = 1e-12
"""Share of the rarest adapter's absence at the longest time that is looked at; its square looks at twice the time, and
finds the same."""


def load_s(replica: ModelReplica) -> float:
    """Seconds that copying one adapter into its slot takes: its bytes over the host's link, by the datasheet.

    Infinite where the facts hold no such link. Every device loads its own part over its own link, at the same time.
    """
    link = replica.device.host
    return adapter_bytes(replica) / link.one_way_bytes_per_s if link else float("inf")


def load_s_per_prompt(replica: ModelReplica) -> float:
    """Seconds that a prompt waits for its adapter in the mean; nothing where all have slots."""
    served = replica.engine.adapters
    missed = miss_share(served) if served else 0.0
    return missed * load_s(replica) if missed else 0.0


def most_sequences(served: AdapterSet, batch: int) -> int:
    """Most sequences of a step, up to `batch`, that use no more different adapters in the mean than there are slots.

    Engines hold a request back whose adapter finds no slot that running ones leave free.

    >>> most_sequences(AdapterSet(100, 16, 50), 256), most_sequences(AdapterSet(100, 16, 100), 256)
    (68, 256)
    """
    if served.resident >= served.count:
        return batch
    together = expected_adapters(served.count, served.skew, np.arange(1.0, batch + 1))
    return max(1, int((together <= served.resident).sum()))


def adapter_refusal(replica: ModelReplica) -> str:
    """Why a replica cannot be priced with adapters; empty if it can."""
    model, served = replica.model, replica.engine.adapters
    blocks: tuple[LayerBlock, ...] = tuple(model.blocks)
    if any(isinstance(block.ffn, MixtureOfExperts) for block in blocks):
        return f"{model.id}: adapters beside routed experts are not modelled"
    if any(block.mixer is not None and not isinstance(block.mixer, SoftmaxAttention) for block in blocks):
        return f"{model.id}: adapters beside latent attention or recurrent layers are not modelled"
    if served is not None and miss_share(served) and replica.device.host is None:
        return f"{replica.device.id}: no link to the host's memory is known, over which adapters would be loaded"
    return ""
