"""What one microbatch of training costs on a stage: seconds by kind of work, from the operations of serving.

The forward pass of a microbatch is a prefill step of the same model in the same formats, cut the same way; its kernels
are those whose rates were measured one by one. Training adds the backward pass and the logits of every token.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from comptroller.costs.deployment import EngineSettings, ModelReplica, ParallelLayout, PrecisionRecipe
from comptroller.costs.document_packing import DocumentLengths
from comptroller.costs.expert_rows import ExpertRows
from comptroller.costs.network import group_bytes_per_s, node_devices
from comptroller.costs.operations import BUSIEST
from comptroller.costs.power_transfer import PowerTransferPriors
from comptroller.costs.replica_timer import replica_timer
from comptroller.costs.step import ReplicaStep
from comptroller.costs.timing import ReplicaTimer
from comptroller.costs.training_adapter import AdapterTuning, adapter_params, trained_share
from comptroller.costs.training_offload import OffloadTier
from comptroller.facts.accelerator import Accelerator
from comptroller.facts.library import SHIPPED, FactLibrary
from comptroller.facts.model import LatentAttention, Model, SoftmaxAttention
from comptroller.facts.training_recipe import TrainingRecipe

Array = npt.NDArray[np.float64]

KINDS = ("matrices", "attention", "scores", "experts", "small", "head", "tensor", "crossing", "exchange", "ring")
"""Kinds of work of a forward pass, the rows of `ForwardWork.seconds`."""

_KIND_OF = {
    "gemm": "matrices",
    "moe": "experts",
    "elementwise": "small",
    "all_reduce": "tensor",
    **dict.fromkeys(("all_to_all", "all_gather", "reduce_scatter"), "exchange"),
    **dict.fromkeys(("attention_prefill", "mla_prefill", "indexer", "linear_attention_prefill"), "attention"),
}

BACKWARD = np.array([2.0, 2.5, 1.25, 2.0, 2.0, 2.0, 1.0, 1.0, 1.0, 2.0])
"""Backward over forward, by kind: two products of matrices for each one, five of attention's for its two
(FlashAttention-2, arXiv 2307.08691, section 3.1.2), as many collectives, keys and values with their gradients around
the ring."""

SCORE_BYTES = 16.0
"""Bytes that attention without a fused kernel moves per query-key pair of the whole square, forward: products written
and read (4), softmax written and read (4), dropout with its mask (6), and read by the last product (2); backward 20. A
program with a fused kernel moves none."""

LOGIT_BYTES = 16.0
"""Bytes that softmax and cross-entropy move per logit, forward: one 4-byte write and three 4-byte reads, as the kernels
of Megatron-LM do (cross_entropy.py); at twice this a head of 128,256 words takes a tenth longer."""

ENGINE = EngineSettings("training", "", 1, 1, 1.0)
"""No serving engine: kernels pooled over all of them."""


SIXTEEN_BIT_RECIPE = PrecisionRecipe()
"""All in bf16."""


@dataclass(frozen=True, slots=True)
class TrainingJob:
    """What is trained on which device. seq: tokens of a sequence.  recipe: formats in which matrices are multiplied.

    narrow: the recipe of training that they belong to, where they are narrow.  adapter: what alone is trained beside
    frozen weights, if anything.  offload: where states and weights are, if not on devices.  documents: of which
    sequences are packed, each attending within itself; `None` where a sequence is one.  servers: whether attention is
    shared out over all devices by its pairs.  experts: how tokens fill them, where not in balance without padding.
    """

    model: Model
    device: Accelerator
    seq: int
    recipe: PrecisionRecipe = SIXTEEN_BIT_RECIPE
    library: FactLibrary = SHIPPED
    adapter: AdapterTuning | None = None
    offload: OffloadTier | None = None
    documents: DocumentLengths | None = None
    servers: bool = False
    narrow: TrainingRecipe | None = None
    experts: ExpertRows | None = None

    @property
    def attended_share(self) -> float:
        """Query-key pairs over those of sequences of one document."""
        return 1.0 if self.documents is None else self.documents.attended_share(self.seq)

    @property
    def trained_share(self) -> float:
        """Trained parameters over all; raises as `adapter_params`."""
        return trained_share(self.model, self.adapter)

    @property
    def matrix_flops_per_token(self) -> float:
        """FLOPs of products of matrices a token: 6 N; of adapters 4 N for what is frozen, and 6 for each of theirs."""
        if self.adapter is None:
            return 6.0 * matrix_params(self.model)
        return 4.0 * matrix_params(self.model) + 6.0 * adapter_params(self.model, self.adapter.rank)

    def flops_per_token(self) -> float:
        """Model FLOPs of a token, forward and backward, without recomputation: what MFU counts.

        F = 6 N_active + 3 x 2 x sum over layers of 2 heads head_dim pairs, without embedding table

        Attention is counted over the whole square (s pairs a token), as PaLM (arXiv 2204.02311, appendix B) and
        Megatron-LM do; windows at their length, packed documents at the share of pairs that they form.

        >>> from comptroller.facts.config import model
        >>> from comptroller.facts.accelerator import accelerator
        >>> job = TrainingJob(model("llama_3_1_8b"), accelerator("h100_sxm"), 8192)
        >>> round(job.flops_per_token() / 1e9, 2)
        57.91
        """
        pairs = sum(width * window for width, window in attention_widths(self.model, self.seq))
        return self.matrix_flops_per_token + 6.0 * pairs * self.attended_share

    def causal_flops_per_token(self) -> float:
        """As `flops_per_token`, with the pairs alone that a causal kernel forms: w - w (w - 1) / (2 s) a token.

        w: positions that a layer may look at, the sequence or its window.

        >>> from comptroller.facts.config import model
        >>> from comptroller.facts.accelerator import accelerator
        >>> job = TrainingJob(model("llama_3_1_8b"), accelerator("h100_sxm"), 8192)
        >>> round(job.causal_flops_per_token() / 1e9, 2)
        51.47
        """
        pairs = sum(
            width * (window - window * (window - 1) / (2 * self.seq))
            for width, window in attention_widths(self.model, self.seq)
        )
        return self.matrix_flops_per_token + 6.0 * pairs * self.attended_share


def matrix_params(model: Model) -> float:
    """Active weights that a token is multiplied by: all but a table of embeddings of its own."""
    table = model.hidden * model.vocabulary
    return float(model.active_params - (0 if model.tied_embedding else table) - model.side_elements)


def attention_widths(model: Model, seq: int) -> list[tuple[float, int]]:
    """Multiply-adds of a query-key pair, and positions that a query may look at, of every kind of layer."""
    found: list[tuple[float, int]] = []
    for block in model.blocks:
        mixer = block.mixer
        if isinstance(mixer, SoftmaxAttention):
            width = mixer.heads * (mixer.head_dim + (mixer.value_dim or mixer.head_dim))
            found.append((float(block.count * width), min(seq, mixer.window_tokens or seq)))
        elif isinstance(mixer, LatentAttention):
            width = mixer.heads * (mixer.nope_dim + mixer.rope_dim + mixer.value_dim)
            found.append((float(block.count * width), seq))
    return found


@dataclass(frozen=True, slots=True)
class ForwardWork:
    """A forward pass through all layers on the devices of one tensor-parallel group, by microbatch size.

    seconds: of shape (kinds, points), at the rates of kernels measured one by one.
    """

    seconds: Array


def _timer(job: TrainingJob, layout: ParallelLayout) -> ReplicaTimer:
    replica = ModelReplica(job.model, job.device, job.recipe, layout, ENGINE, job.library)
    return replica_timer(replica, PowerTransferPriors())


def forward_work(job: TrainingJob, cut: tuple[int, int, int], micro_batch: npt.ArrayLike) -> ForwardWork:
    """Seconds of the forward pass of microbatches, with the share of layers that a recipe keeps in 16 bits; raises as
    `plain_forward_work`."""
    found = plain_forward_work(job, cut, micro_batch)
    share = job.narrow.wide_share if job.narrow is not None else 0.0
    if not share:
        return found
    wide = plain_forward_work(replace(job, recipe=SIXTEEN_BIT_RECIPE), cut, micro_batch)
    return ForwardWork((1.0 - share) * found.seconds + share * wide.seconds)


def plain_forward_work(job: TrainingJob, cut: tuple[int, int, int], micro_batch: npt.ArrayLike) -> ForwardWork:
    """Seconds of the forward pass of microbatches, all layers in one recipe. cut: degrees of tensor, context and expert
    parallelism.

    A device holds s / cp tokens of a sequence and forms s^2 / (2 cp) query-key pairs of it: a prefill step of that many
    tokens after (s - s / cp) / 2 others.

    Raises:
        UnsupportedFormatError, UnsupportedError: as `replica_timer`.
    """
    tp, cp, ep = cut
    ranks = max(1, ep // tp)
    layout = ParallelLayout(tp=tp, dp=ranks, ep=ep if ep <= tp * ranks and (tp * ranks) % ep == 0 else 1)
    timer = _timer(job, layout)
    sequences = np.atleast_1d(np.asarray(micro_batch, float))
    fresh = job.seq / cp
    step = ReplicaStep.prefill(fresh, (job.seq - fresh) / 2, sequences * ranks)
    seconds = timer.seconds(step)[0]
    every = ReplicaStep(step.batch, step.kv_tokens, step.prefill_tokens, step.prefill_pairs, step.prefill_tokens)
    heads = timer.seconds(every)[0]
    found = np.zeros((len(KINDS), len(sequences)))
    for i, row in enumerate(timer.operations.rows):
        if row.part == "head":
            found[KINDS.index("head")] += heads[i]
        elif row.kind in _KIND_OF:
            load = BUSIEST if row.kind == "moe" and layout.is_wide else 1.0
            found[KINDS.index(_KIND_OF[row.kind])] += seconds[i] / load
    tokens = sequences * fresh
    found[KINDS.index("head")] += tokens * job.model.vocabulary / tp * LOGIT_BYTES / job.device.memory_bytes_per_s
    found[KINDS.index("scores")] = score_s(job, tp, cp, sequences)
    if tp > node_devices(job.device):
        found[KINDS.index("crossing")] = found[KINDS.index("tensor")]
        found[KINDS.index("tensor")] = 0.0
    found[KINDS.index("ring")] = ring_s(job, tp, cp, sequences)
    return ForwardWork(found)


class ForwardTable:
    """Forward passes of one job, each kept once it was evaluated: a search asks for the same cuts at every count."""

    def __init__(self, job: TrainingJob) -> None:
        self.job = job
        self._kept: dict[tuple[int, int, int], dict[int, Array]] = {}

    def seconds(self, cut: tuple[int, int, int], sizes: npt.NDArray[np.int64]) -> Array:
        """Seconds by kind for microbatches of those sizes, of shape (kinds, sizes); raises as `forward_work`."""
        kept = self._kept.setdefault(cut, {})
        missing = [int(size) for size in sizes if int(size) not in kept]
        if missing:
            found = forward_work(self.job, cut, missing).seconds
            kept.update(zip(missing, found.T, strict=True))
        return np.stack([kept[int(size)] for size in sizes], axis=1)


def ring_s(job: TrainingJob, tp: int, cp: int, sequences: Array) -> Array:
    """Seconds to pass keys and values around the devices of a sequence, over all layers.

    t = (cp - 1) / cp x b s kv_elements x 2 bytes / min(tp, heads) / link

    Source: ring attention (arXiv 2310.01889), section 3.
    """
    if cp == 1:
        return np.zeros(len(sequences))
    moved = (cp - 1) / cp * sequences * job.seq * job.model.kv_elements_per_token * 2.0 / tp
    return np.asarray(moved / group_bytes_per_s(job.device, cp, tp))


def score_s(job: TrainingJob, tp: int, cp: int, sequences: Array) -> Array:
    """Seconds to move the scores of attention that no fused kernel keeps on the chip, over all layers.

    t = 16 bytes x heads b s^2 / (tp cp) / memory rate
    """
    heads = sum(
        block.count * block.mixer.heads for block in job.model.blocks if isinstance(block.mixer, SoftmaxAttention)
    )
    return np.asarray(SCORE_BYTES * heads * sequences * job.seq**2 / (tp * cp) / job.device.memory_bytes_per_s)
