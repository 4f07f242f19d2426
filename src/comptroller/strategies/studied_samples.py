"""Which samples a study of verdicts, or of revisions, looked at: it seldom judges all that it records."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from comptroller.work.evidence import Evidence

Bools = npt.NDArray[np.bool_]


def studied_samples(evidence: Evidence, role: str, unanswered: bool) -> Bools:
    """Rows, of shape (rows,), that some row of a role was recorded after.

    unanswered: with those samples that gave no occasion for one. A study judges the answers among samples of some
    numbers, the first four or all; a sample of these numbers without an answer belongs to it as the others do, for
    without it a model that often gives none would seem better than it is. Where numbers and answers do not tell what
    was judged, as where samples were picked, only what was judged is known.
    """
    rows = evidence.rows
    read = np.isin(np.arange(len(rows)), rows.parent[(rows.role == role) & (rows.parent >= 0)])
    studied = read.copy()
    if not unanswered:
        return studied
    answered = np.array([answer is not None for answer in rows.answer], bool)
    for arm in np.unique(rows.arm[read]).tolist():
        samples = evidence.samples & (rows.arm == arm)
        known = samples & read
        of_study = samples & np.isin(rows.sample, rows.sample[known]) & np.isin(rows.question, rows.question[known])
        if np.array_equal(answered[of_study], read[of_study]):
            studied |= of_study
    return studied
