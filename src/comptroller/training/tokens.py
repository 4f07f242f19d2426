"""Tokens of a run: stated, or what a loss takes by a law."""

from __future__ import annotations

from pathlib import Path

from comptroller.facts.model import Model
from comptroller.training.document import TrainingRun
from comptroller.work.law_file import law_of, require_reach


def run_tokens(run: TrainingRun, model: Model, base: Path = Path()) -> tuple[float, str]:
    """Tokens of a run, and where their number comes from. base: the folder that the law's file is relative to.

    Raises:
        UnsupportedError: no number of tokens reaches the target loss, or it takes more compute than the law supports.
        FactError: the law's file is malformed.
    """
    if run.tokens is not None:
        return run.tokens, "stated"
    assert run.target_loss is not None
    law, reach = law_of(run.law, base)
    tokens = law.tokens_for(run.target_loss, model.active_params)
    require_reach(6.0 * model.active_params * tokens, reach, run.beyond, law.source)
    doubt = "" if run.law else ": fit a law of your own data before you rely on it"
    source = f"a loss of {run.target_loss:g} by {law.source}{doubt}"
    if run.replay is None:
        return tokens, source
    return tokens / (
        1.0 - run.replay.share
    ), f"{source}; with {run.replay.share:.0%} of old data beside the law's tokens"
