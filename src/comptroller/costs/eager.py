"""Steps without captured graphs: the host launches every kernel, and the device waits where it is the faster one."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

PUBLISHED = (8.4e-3 / 289, 22.5e-3 / 253)
"""Seconds of an eager decode step of one sequence over its calls here: Llama 3.1 8B on an H100 SXM (8.4 ms, 5.1 with a
graph; cloudai.pt, tag cuda-graphs) and Qwen2.5 7B, the thinker of Qwen2.5-Omni, on an A800 (22 to 23 ms, 13 with a
graph; vllm-omni issue 7960). Both are longer by their launches alone."""

LAUNCH_S = float(np.exp(np.mean(np.log(PUBLISHED))))
"""Seconds in which a host launches what is one call here: the geometric mean, 51 us. Hosts differ by a factor of three;
with twice as many eager steps of a small model take twice as long."""

LAUNCH_ERROR = float(np.std(np.log(PUBLISHED), ddof=1))
"""Log standard deviation of it, from the two hosts: 0.79. An interval of 80 % is a factor of 2.8 to either side."""


def launch_wait_s(kernels_s: Array, calls: Array) -> Array:
    """Seconds in which a device waits for launches: the host runs ahead of it, or is behind all the way.

    w = max(N l - t_kernels, 0),   l = `LAUNCH_S`

    kernels_s: t_kernels, of all calls of a step.  calls: N. A captured graph launches all of them at once.

    >>> round(float(launch_wait_s(np.array(5.1e-3), np.array(289))) * 1e3, 1)
    9.6
    """
    return np.asarray(np.maximum(calls * LAUNCH_S - kernels_s, 0.0))
