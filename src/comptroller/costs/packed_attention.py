"""Attention of packed documents in a training step: of the rank that all wait for, or shared out over servers."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from comptroller.costs.training_layout import LayoutGrid
from comptroller.costs.training_offload import WEIGHT_BYTES
from comptroller.costs.training_work import KINDS, TrainingJob
from comptroller.facts.model import LatentAttention, Model, SoftmaxAttention

Array = npt.NDArray[np.float64]


def pack_attention(job: TrainingJob, grid: LayoutGrid, work: Array, global_batch: int) -> tuple[Array, Array]:
    """Attention of packed documents, written into `work`; seconds to attention servers and back of a microbatch, and
    how much longer the largest microbatch is than those that the busiest rank has in the mean.

    Servers take whole documents' keys and values once and the queries that move, and give back as much; the backward
    pass sends gradients beside both.
    """
    servers, larger = np.zeros(len(grid)), np.ones(len(grid))
    if job.documents is None:
        return servers, larger
    rounds, attended = grid.microbatches(global_batch), [KINDS.index("attention"), KINDS.index("scores")]
    link = job.device.scale_out or job.device.scale_up
    rate = np.inf if link is None else link.one_way_bytes_per_s
    for i in range(len(grid)):
        shape = (int(grid.dp[i]), int(grid.micro_batch[i]), int(rounds[i]))
        found = job.documents.balance(job.seq, shape)
        once = work[:, i].copy()
        work[attended, i] *= found.mean if job.servers else found.busiest
        if job.servers:
            tokens = grid.micro_batch[i] * job.seq / (grid.cp[i] * grid.tp[i])
            sent = tokens * (job.model.kv_elements_per_token + found.away * 2.0 * query_elements(job.model))
            servers[i] = 3.0 * WEIGHT_BYTES * sent / grid.pp[i] / rate
        else:
            most = once.copy()
            most[attended] *= found.largest
            larger[i] = most.sum() / work[:, i].sum()
    return servers, larger


def query_elements(model: Model) -> float:
    """Elements of the queries of a token, over all layers; the outputs of attention have as many."""
    mixers = [(block.count, block.mixer) for block in model.blocks]
    whole = [(count, one.heads * one.head_dim) for count, one in mixers if isinstance(one, SoftmaxAttention)]
    latent = [
        (count, one.heads * (one.nope_dim + one.rope_dim)) for count, one in mixers if isinstance(one, LatentAttention)
    ]
    return float(sum(count * width for count, width in whole + latent))
