"""Two halves of a batch that take turns: while one exchanges tokens between experts, the other computes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

SENDING_UNITS = 20 / 132
"""Share of an H100's processors that run the exchange of prompts beside other kernels: 20 of 132 (DeepEP's default,
`num_sms`). Its decode kernels take none, for the network cards write by themselves."""


def turns_s(attention_s: Array, experts_s: Array, exchange_s: Array) -> Array:
    """Seconds of a layer's two halves in turns.

    t = 2 max(a, x / 2) + 2 max(e, x / 2)

    Of one half: a, e: attention with dense matrices, and experts, s.  x: its dispatch and combine together, s. Each
    phase of one half runs beside an exchange of the other. Source: SGLang's two-batch overlap
    (lmsys.org/blog/2025-05-05-large-scale-ep); TokenWeave (arXiv 2505.11329) and T3 (arXiv 2401.16677) hide collectives
    alike.

    >>> float(turns_s(np.array(3.0), np.array(2.0), np.array(5.0)))
    11.0
    """
    return np.asarray(2 * np.maximum(attention_s, exchange_s / 2) + 2 * np.maximum(experts_s, exchange_s / 2))


def exposed_s(attention_s: Array, experts_s: Array, exchange_s: Array, prompt_share: Array) -> Array:
    """Seconds of both halves' exchanges that a step is longer by than what it computes.

    x_exposed = t - 2 (a + e) + s p h,   h = 2 (a + e + x) - t

    prompt_share: p, of the tokens, those of prompts; while their exchange is hidden it takes the share
    s = `SENDING_UNITS` of the processors.

    >>> [round(float(exposed_s(*map(np.array, (3.0, 2.0, x, 1.0)))), 3) for x in (2.0, 5.0)]
    [0.606, 2.364]
    """
    computed = 2 * (attention_s + experts_s)
    whole = turns_s(attention_s, experts_s, exchange_s)
    hidden = computed + 2 * exchange_s - whole
    return np.asarray(whole - computed + SENDING_UNITS * prompt_share * hidden)
