"""Laws of the loss of pre-training: what parameters and tokens buy, and the cheapest split of compute among them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from comptroller.errors import UnsupportedError

Array = npt.NDArray[np.float64]


MOST_SCALE = 200.0
"""Greatest logarithm of G, 87 decades, which no law of real runs comes near; of resampled runs that say nothing it
would leave the range of a double."""


@dataclass(frozen=True, slots=True)
class ScalingLaw:
    """L = E + A / N^alpha + B / D^beta (Hoffmann et al., arXiv 2203.15556, equation 2); nats per token.

    floor: E.  a, alpha: of N parameters.  b, beta: of D tokens.  source: whose points.
    """

    floor: float
    a: float
    b: float
    alpha: float
    beta: float
    source: str = ""

    def loss(self, params: npt.ArrayLike, tokens: npt.ArrayLike) -> Array:
        """Loss of models that saw so many tokens.

        >>> round(float(CHINCHILLA.loss(70e9, 1.4e12)), 3)
        1.973
        """
        n, d = np.asarray(params, float), np.asarray(tokens, float)
        return np.asarray(self.floor + self.a * n**-self.alpha + self.b * d**-self.beta)

    def tokens_for(self, loss: float, params: float) -> float:
        """Tokens after which a model of a size has a loss.

        D = (B / (L - E - A / N^alpha))^(1 / beta)

        Raises:
            UnsupportedError: no number of tokens reaches it; says the least loss of that size.

        >>> round(CHINCHILLA.tokens_for(2.0, 70e9) / 1e12, 2)
        0.61
        """
        least = self.floor + self.a * params**-self.alpha
        if loss <= least:
            raise UnsupportedError(
                f"a loss of {loss:g} is below what {params:.3g} parameters reach with any number of tokens "
                f"({least:.4g} by {self.source})"
            )
        return float((self.b / (loss - least)) ** (1.0 / self.beta))

    def optimum(self, flops: npt.ArrayLike) -> tuple[Array, Array]:
        """Parameters and tokens of least loss at C = 6 N D.

        N = G (C / 6)^(beta / (alpha + beta)), G = (alpha A / (beta B))^(1 / (alpha + beta)), D = C / (6 N)

        >>> params, tokens = CHINCHILLA.optimum(5.76e23)
        >>> round(float(params) / 1e9, 1), round(float(tokens / params), 1)
        (73.2, 17.9)
        """
        c = np.asarray(flops, float) / 6.0
        both = self.alpha + self.beta
        scale = np.log(self.alpha * self.a / (self.beta * self.b)) / both
        params = np.exp(np.clip(scale, -MOST_SCALE, MOST_SCALE)) * c ** (self.beta / both)
        return np.asarray(params), np.asarray(c / params)


CHINCHILLA = ScalingLaw(
    1.81724, 477.84, 2143.86, 0.34731, 0.36718, "Epoch's refit of Chinchilla's points (arXiv 2404.10102)"
)
"""Of Epoch's 240 points of figure 4 of Chinchilla (github.com/epoch-research/analyzing-chinchilla,
data_analysis.ipynb). Other data and recipes have other laws: exponents of the split differ between 0.33 and 0.54 among
eight families."""
