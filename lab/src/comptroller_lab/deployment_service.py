"""A service on a deployment: what a role's tokens take where its model runs on rented or owned machines."""

from __future__ import annotations

import numpy as np

from comptroller.costs.inference_units import ModelCostShape, TokenPrice
from comptroller.costs.step import causal_pairs
from comptroller.costs.steptable import StepTable
from comptroller.errors import InputError
from comptroller.strategies.replay import RecordedService, ServicePace
from comptroller.work.evidence import RecordedModel


def on_deployment(
    arm: RecordedModel, table: StepTable, batch: int, tokens: tuple[float, float], shape: ModelCostShape | None = None
) -> RecordedService:
    """A service at a steady batch on one replica, linear in tokens around a mean request.

    tokens: mean input and output of a request. A step of `batch` sequences at the mean context takes the time of
    an output token and a `batch`-th of its dollars and joules; a prompt takes its own mixed step and all of it.
    Waiting in queues is not in it: that is what a simulation adds.

    Raises:
        InputError: the batch is not one that the replica runs, or a mean is not positive.
    """
    if not min(tokens) > 0:
        raise InputError(f"a request has tokens in and out, not {tokens[0]:g} and {tokens[1]:g}")
    if not 1 <= batch <= table.max_batch:
        raise InputError(f"a batch of {batch} does not run here; it must lie between 1 and {table.max_batch}")
    prompt, output = tokens
    cached = batch * (prompt + output / 2)
    token_s, token_j = table.decode_step_s(batch, cached), table.decode_step_j(batch, cached) / batch
    prompt_s, prompt_j = _prompt(table, prompt)
    usd_per_s = table.usd_per_s
    return RecordedService(
        arm=arm,
        pace=ServicePace(token_s, prompt_s / prompt, token_s),
        price=TokenPrice(usd_per_s * prompt_s / prompt, usd_per_s * token_s / batch),
        joules=TokenPrice(prompt_j / prompt, token_j),
        shape=shape,
    )


def _prompt(table: StepTable, tokens: float) -> tuple[float, float]:
    """Seconds and joules of a prompt by itself, in the chunks that the engine makes of it."""
    starts = np.arange(0.0, tokens, table.chunk_tokens)
    new = np.minimum(table.chunk_tokens, tokens - starts)
    pairs = causal_pairs(new, starts)
    found = [
        np.interp(new, table.token_knots, whole) + np.interp(pairs, table.pair_knots, attention)
        for whole, attention in ((table.mixed_s, table.pair_s), (table.mixed_j, table.pair_j))
    ]
    return float(found[0].sum()), float(found[1].sum())
