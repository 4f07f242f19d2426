"""What a recipe of narrow training adds to a step: tensors that are quantised, layers that stay wide, copies kept."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from comptroller.errors import UnsupportedFormatError
from comptroller.facts.accelerator import Accelerator
from comptroller.facts.model import (
    DenseFeedForward,
    LatentAttention,
    LayerBlock,
    LinearAttention,
    MixtureOfExperts,
    Model,
    SoftmaxAttention,
)
from comptroller.facts.training_recipe import TrainingRecipe

Array = npt.NDArray[np.float64]


def require_recipe(recipe: TrainingRecipe, device: Accelerator) -> None:
    """Refuse a recipe on an accelerator that does not have it.

    Raises:
        UnsupportedFormatError: names the families that do.
    """
    if recipe.families and device.family not in recipe.families:
        able = ", ".join(recipe.families)
        raise UnsupportedFormatError(
            f"{device.id}: no source says that {device.family} has the recipe {recipe.id}; {able} do"
        )


def mixer_inputs(block: LayerBlock, hidden: int) -> int:
    """Elements per token that the matrices of a mixer read, each tensor once."""
    mixer = block.mixer
    if isinstance(mixer, SoftmaxAttention):
        return hidden + mixer.heads * (mixer.value_dim or mixer.head_dim)
    if isinstance(mixer, LatentAttention):
        return hidden + (mixer.q_rank or 0) + mixer.kv_rank + mixer.heads * mixer.value_dim
    if isinstance(mixer, LinearAttention):
        return hidden + mixer.value_heads * mixer.value_dim
    return 0


def feed_inputs(block: LayerBlock, hidden: int) -> int:
    """Elements per token that the matrices of a feed-forward part read; of experts every chosen one's."""
    feed = block.ffn
    if isinstance(feed, DenseFeedForward):
        return hidden + feed.width
    if isinstance(feed, MixtureOfExperts):
        shared = hidden + feed.shared_width if feed.shared_width else 0
        return feed.chosen * ((feed.latent or hidden) + feed.width) + shared
    return 0


def output_elements(block: LayerBlock, hidden: int) -> int:
    """Elements per token that the matrices of a layer write: whose gradients are quantised in the backward pass."""
    mixed = sum(one.outputs for one in block.mixer.projections(hidden)) if block.mixer else 0
    feed = block.ffn
    if isinstance(feed, MixtureOfExperts):
        wide = feed.width * (2 if feed.gated else 1)
        shared = feed.shared_width * (2 if feed.gated else 1) + hidden if feed.shared_width else 0
        return mixed + feed.chosen * (wide + (feed.latent or hidden)) + shared
    return mixed + (sum(one.outputs for one in feed.projections(hidden)) if feed else 0)


def quantised_elements(model: Model) -> tuple[float, float]:
    """Elements per token that are quantised in the forward and in the backward pass of all layers.

    GPT of hidden size h: 2 h + 5 h forward (inputs of four matrices), 4 h + 5 h backward (gradients of their outputs):

    >>> from comptroller.facts.model import DenseFeedForward, LayerBlock, Model, SoftmaxAttention
    >>> block = LayerBlock(1, SoftmaxAttention(8, 8, 128), DenseFeedForward(4096, gated=False))
    >>> quantised_elements(Model("gpt", "GPT", "gpt", 1024, 1, 1024, (block,)))
    (7168.0, 9216.0)
    """
    hidden = model.hidden
    ahead = sum(b.count * (mixer_inputs(b, hidden) + feed_inputs(b, hidden)) for b in model.blocks)
    return float(ahead), float(sum(b.count * output_elements(b, hidden) for b in model.blocks))


def quantisation_s(model: Model, device: Accelerator, recipe: TrainingRecipe, tokens: Array, again: Array) -> Array:
    """Seconds of a microbatch to quantise what narrow products read, over all layers.

    t = (1 - wide) (x (1 + again) + g) T bytes / memory rate

    x, g: elements a token of inputs and of gradients of outputs.  T: `tokens` of a device.  again: forward passes that
    are computed once more.  bytes: `TrainingRecipe.moved_bytes`; with nothing fused into the kernels before.
    """
    ahead, back = quantised_elements(model)
    each = (1.0 - recipe.wide_share) * recipe.moved_bytes(device.family) / device.memory_bytes_per_s
    return np.asarray(tokens * (ahead * (1.0 + again) + back) * each)
