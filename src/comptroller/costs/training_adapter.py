"""Low-rank adapters beside frozen weights (LoRA, arXiv 2106.09685; QLoRA, arXiv 2305.14314): what is trained."""

from __future__ import annotations

from dataclasses import dataclass

from comptroller.errors import UnsupportedError
from comptroller.facts.model import DenseFeedForward, LatentAttention, LayerBlock, Model, SoftmaxAttention


@dataclass(frozen=True, slots=True)
class AdapterTuning:
    """Adapters on all matrices of attention and of dense feed-forward parts; experts, embeddings and head stay frozen.

    rank: of the two factors of each matrix.  base_bits: of a frozen weight, 16 or those of a 4-bit format (QLoRA).
    """

    rank: int
    base_bits: float = 16.0


def adapter_params(model: Model, rank: int) -> float:
    """Trained parameters: rank x (inputs + outputs) of every matrix.

    Raises:
        UnsupportedError: a layer mixes tokens otherwise than by attention.

    peft prints 41,943,040 for Llama 3.1 8B at rank 16:

    >>> from comptroller.facts.config import model
    >>> adapter_params(model("llama_3_1_8b"), 16)
    41943040.0
    """
    return float(rank * sum(block.count * sum(_edges(block, model)) for block in model.blocks))


def _edges(block: LayerBlock, model: Model) -> list[int]:
    """Inputs plus outputs of each matrix of a layer."""
    hidden, mixer, feed = model.hidden, block.mixer, block.ffn
    found: list[int] = []
    if isinstance(mixer, SoftmaxAttention):
        value = mixer.value_dim or mixer.head_dim
        outputs = (mixer.heads * mixer.head_dim, mixer.kv_heads * mixer.head_dim, mixer.kv_heads * value)
        found += [*(hidden + one for one in outputs), mixer.heads * value + hidden]
    elif isinstance(mixer, LatentAttention):
        query, width = mixer.heads * (mixer.nope_dim + mixer.rope_dim), mixer.heads * (mixer.nope_dim + mixer.value_dim)
        found += [hidden + mixer.q_rank, mixer.q_rank + query] if mixer.q_rank else [hidden + query]
        found += [hidden + mixer.kv_rank + mixer.rope_dim, mixer.kv_rank + width]
        found.append(mixer.heads * mixer.value_dim + hidden)
    elif mixer is not None:
        raise UnsupportedError(f"{model.id}: adapters of layers without attention are not modelled")
    if isinstance(feed, DenseFeedForward):
        found += [hidden + feed.width] * (3 if feed.gated else 2)
    return found


def trained_share(model: Model, adapter: AdapterTuning | None) -> float:
    """Trained parameters over all; 1 where there are no adapters. Raises as `adapter_params`.

    >>> from comptroller.facts.config import model
    >>> round(trained_share(model("llama_3_1_8b"), AdapterTuning(16)), 5)
    0.00522
    """
    return 1.0 if adapter is None else adapter_params(model, adapter.rank) / model.total_params
