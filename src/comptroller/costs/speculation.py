"""Speculative decoding: what a draft-and-verify step makes, and the replica that drafts."""

from __future__ import annotations

from dataclasses import replace

from comptroller.costs.deployment import SIXTEEN_BIT, ModelReplica, ParallelLayout, PrecisionRecipe, SpeculativeDecoding
from comptroller.facts.model import LatentAttention, Model, SoftmaxAttention


def tokens_per_step(acceptance: float, drafted: int) -> float:
    """Tokens that a sequence gets of a step on average: the drafted ones before the first that is refused, and one.

    E = 1 + a + a^2 + ... + a^k = (1 - a^(k+1)) / (1 - a)

    acceptance: a, chance that a drafted token is kept, alike and independent for all.  drafted: k, tokens a step.
    Source: Leviathan et al. 2022 (arXiv 2211.17192), equation 1; MoESD (arXiv 2505.19645) uses it for experts too.

    >>> round(tokens_per_step(0.8, 4), 4), tokens_per_step(1.0, 4)
    (3.3616, 5.0)
    """
    return float(sum(acceptance**place for place in range(drafted + 1)))


def draft_replica(replica: ModelReplica) -> ModelReplica | None:
    """The replica that drafts, on the same devices, its weights in 16 bit; `None` where no model drafts."""
    speculation = replica.engine.speculation
    if speculation is None or speculation.draft is None:
        return None
    rates = {str(rate) for rate in replica.device.peak_flops_per_s}
    wide = next(name for name in ("bf16", "fp16") if name in rates and name in SIXTEEN_BIT)
    recipe = PrecisionRecipe(wide, wide, wide, replica.recipe.kv)
    engine = replace(replica.engine, speculation=None)
    return replace(
        replica, model=speculation.draft, recipe=recipe, layout=ParallelLayout(replica.layout.tp), engine=engine
    )


def speculation_refusal(replica: ModelReplica, speculation: SpeculativeDecoding) -> str:
    """Why a replica cannot be priced with speculative decoding; empty if it can."""
    draft, model, layout = speculation.draft, replica.model, replica.layout
    if model.recurrent or (draft is not None and draft.recurrent):
        return f"{model.id}: how recurrent states are set back after refused tokens is not modelled"
    if layout.pp > 1 or layout.dp > 1 or replica.engine.adapters is not None:
        return f"{replica}: drafts with pipeline stages, data-parallel ranks or adapters are not modelled"
    if draft is None:
        return ""
    if draft.vocabulary != model.vocabulary:
        return f"{draft.id} has {draft.vocabulary:,} tokens in its vocabulary, {model.id} {model.vocabulary:,}"
    if _heads(draft) % layout.tp:
        return f"{draft.id}: {_heads(draft)} heads do not divide over {layout.tp} devices"
    return ""


def _heads(model: Model) -> int:
    heads = [b.mixer.heads for b in model.blocks if isinstance(b.mixer, SoftmaxAttention | LatentAttention)]
    return min(heads, default=1)
