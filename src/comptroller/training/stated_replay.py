"""Old data that is mixed into a run (`[training.replay]`): its share of the tokens, and what was measured of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import BaseModel, Field

from comptroller.errors import FactError, RecordError, UnsupportedError
from comptroller.planning.ground.day_document import DocumentPart
from comptroller.work.sizes import STRICT
from comptroller.work.tabular import dict_rows

COLUMNS = ("share", "new_loss", "old_loss")
LEAST_SHARES = 3
"""Measured shares of old data between which is read off; with two a straight line would stand for a curve."""


class ReplayShare(BaseModel):
    """Old data in a run. share: of its tokens.  file: own measurements, CSV with columns `share`, `new_loss` and
    `old_loss`: the losses on new and on old data after runs with such shares."""

    model_config = STRICT
    share: Annotated[float, Field(strict=True, gt=0, lt=1)]
    file: Annotated[str, Field(min_length=1)]


class ReplayReport(DocumentPart):
    """What the share does. new_tokens, old_tokens: of the run.  new_loss, old_loss: read off between measured shares.
    least_share: the least share that was measured.  new_loss_change, old_loss_change: against the losses there."""

    share: float
    new_tokens: float
    old_tokens: float
    new_loss: float
    old_loss: float
    least_share: float
    new_loss_change: float
    old_loss_change: float

    @property
    def sentence(self) -> str:
        """The report in words."""
        return (
            f"replay: {self.old_tokens:.3g} of the tokens are old ({self.share:.0%}); against a share of "
            f"{self.least_share:.0%} the loss on new data changes by {self.new_loss_change:+.3f} and on old data by "
            f"{self.old_loss_change:+.3f}, as measured"
        )


def replay_report(stated: ReplayShare | None, tokens: float, base: Path) -> ReplayReport | None:
    """What a share of old data does to a run of so many tokens; `None` where there is none.

    Raises:
        FactError: there is no such file.
        RecordError: columns are missing or a value is no number.
        UnsupportedError: fewer than three shares were measured, or the share lies outside of them.
    """
    if stated is None:
        return None
    path = base / stated.file
    if not path.is_file():
        allowed = f"a CSV with columns {', '.join(COLUMNS)}"
        raise FactError(stated.file, "training.replay.file", "no such file", allowed)
    share, new, old = _replay_means(path)
    if len(share) < LEAST_SHARES or not share[0] <= stated.share <= share[-1]:
        raise UnsupportedError(
            f"training.replay.share = {stated.share:g} is not supported by {stated.file}: {len(share)} shares from "
            f"{share[0]:g} to {share[-1]:g} were measured; {LEAST_SHARES} around it are needed"
        )
    found_new, found_old = (float(np.interp(stated.share, share, one)) for one in (new, old))
    return ReplayReport(
        share=stated.share,
        new_tokens=tokens * (1.0 - stated.share),
        old_tokens=tokens * stated.share,
        new_loss=found_new,
        old_loss=found_old,
        least_share=float(share[0]),
        new_loss_change=found_new - float(new[0]),
        old_loss_change=found_old - float(old[0]),
    )


def _replay_means(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Shares in order and the mean losses of runs with each."""
    rows = dict_rows(path)
    if not rows or not set(COLUMNS) <= set(rows[0]):
        raise RecordError(path.name, [(1, f"columns: {', '.join(COLUMNS)}")], 1)
    try:
        table = np.array([[float(row[name]) for name in COLUMNS] for row in rows])
    except (TypeError, ValueError):
        raise RecordError(path.name, [(2, f"{', '.join(COLUMNS)} are numbers")], 1) from None
    shares = np.unique(table[:, 0])
    means = np.array([table[table[:, 0] == one, 1:].mean(axis=0) for one in shares])
    return shares, means[:, 0], means[:, 1]
