"""Which prompts a step of reinforcement learning takes: multiplicative weights over groups of difficulty.

Source: Prompt-GDRO (arXiv 2601.19280): the adversary of an entropy-regularised worst-group objective.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

MEMORY = 0.2
"""Weight of the newest loss in the moving mean, beta. At twice this the weights follow the noise of a batch."""

RATE = 2.0
"""Step of the multiplicative weights, eta: a loss of 1 against one of 0 is drawn exp(2) = 7.4 times as often. At twice
this 55 times, and easy groups are no longer tried."""

EXPLORED = 0.1
"""Share that is spread evenly, gamma: every group is tried, or its loss would never be seen to fall."""

CLIP = 1.0
"""Greatest loss that counts; losses are 1 - reward, so that nothing is clipped at this value."""


@dataclass(slots=True)
class PromptWeights:
    """Weights of groups. means: moving sums of each group's loss.  kept: of the weights 1 - (1 - beta)^t of the sums,
    which debias them: a group that was seen once has that loss and not beta times it.
    """

    groups: int
    means: Floats = field(init=False)
    kept: Floats = field(init=False)

    def __post_init__(self) -> None:
        self.means = np.zeros(self.groups)
        self.kept = np.zeros(self.groups)

    def note(self, losses: Floats) -> None:
        """Mean losses of a round by group; NaN of groups that were not tried, which keep theirs.

        A group's loss is its mean, not its sum: a group of many prompts weighs no more than one of few.

        >>> weights = PromptWeights(2)
        >>> weights.note(np.array([0.5, np.nan]))
        >>> weights.scores.tolist()
        [0.5, 0.0]
        """
        seen = np.isfinite(losses)
        self.means[seen] = (1 - MEMORY) * self.means[seen] + MEMORY * losses[seen]
        self.kept[seen] = (1 - MEMORY) * self.kept[seen] + MEMORY

    @property
    def scores(self) -> Floats:
        """Debiased moving means; of a group that was never tried 0."""
        return np.where(self.kept > 0, self.means / np.maximum(self.kept, 1e-300), 0.0)

    def shares(self, present: npt.NDArray[np.bool_]) -> Floats:
        """How often a group is drawn: q = (1 - gamma) w / sum w + gamma / groups, w = exp(eta score), over those that
        have prompts."""
        weight = np.where(present, np.exp(RATE * np.clip(self.scores, -CLIP, CLIP)), 0.0)
        even = present / present.sum()
        return np.asarray((1 - EXPLORED) * weight / weight.sum() + EXPLORED * even)
