"""Tokens of a run: stated, or what a loss takes by a law."""

from __future__ import annotations

from comptroller.facts.model import Model
from comptroller.training.document import TrainingRun
from comptroller.work.scaling_law import CHINCHILLA


def run_tokens(run: TrainingRun, model: Model) -> tuple[float, str]:
    """Tokens of a run, and where their number comes from.

    Raises:
        UnsupportedError: no number of tokens reaches the target loss.
    """
    if run.tokens is not None:
        return run.tokens, "stated"
    assert run.target_loss is not None
    tokens = CHINCHILLA.tokens_for(run.target_loss, model.active_params)
    return (
        tokens,
        f"a loss of {run.target_loss:g} by {CHINCHILLA.source}: fit a law of your own data before you rely on it",
    )
