"""Single requests with their times, and how many of them ran at once."""

from __future__ import annotations

from dataclasses import astuple, dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

WINDOW_REQUESTS = 25
"""Requests of a window. Their mean time per token is then within a fifth of a request's spread; twice as many halve
the loads that a fit can tell apart, and 100 requests are four windows."""


@dataclass(frozen=True, slots=True, eq=False)
class RequestLog:
    """Requests: when they came, lengths, time to first token and end to end; seconds, tokens, NaN where unknown.

    Requests whose times are unknown are load to the others, and nothing is learnt from them.
    """

    arrival_s: Floats
    input_tokens: Floats
    output_tokens: Floats
    ttft_s: Floats
    e2e_s: Floats

    def __len__(self) -> int:
        return len(self.arrival_s)

    def loads(self) -> npt.NDArray[np.bool_]:
        """Which requests have an arrival and both lengths."""
        known = np.isfinite(self.arrival_s) & (self.input_tokens >= 1) & (self.output_tokens >= 1)
        return np.asarray(known)

    def timed(self) -> npt.NDArray[np.int64]:
        """The requests that have both times, too, in order of arrival."""
        known = self.loads() & np.isfinite(self.ttft_s) & np.isfinite(self.e2e_s)
        return np.flatnonzero(known)[np.argsort(self.arrival_s[known], kind="stable")]

    def only(self, kept: npt.NDArray[np.bool_]) -> RequestLog:
        """Some of the requests, in order of arrival."""
        index = np.flatnonzero(kept)[np.argsort(self.arrival_s[kept], kind="stable")]
        return RequestLog(*(column[index] for column in astuple(self)))

    def windows(self) -> list[npt.NDArray[np.int64]]:
        """Windows of `WINDOW_REQUESTS` with times in order of arrival; what is left over is shared among them."""
        order = self.timed()
        return np.array_split(order, max(len(order) // WINDOW_REQUESTS, 1))


def mean_count(start_s: Floats, end_s: Floats) -> Floats:
    """Mean number of intervals that overlap each one, itself among them, over its length.

    >>> mean_count(np.array([0.0, 1.0]), np.array([2.0, 2.0])).tolist()
    [1.5, 2.0]
    """
    moments = np.concatenate([start_s, end_s])
    order = np.argsort(moments, kind="stable")
    at = moments[order]
    count = np.cumsum(np.concatenate([np.ones(len(start_s)), -np.ones(len(end_s))])[order])
    area = np.concatenate([[0.0], np.cumsum(count[:-1] * np.diff(at))])
    length = np.maximum(end_s - start_s, np.finfo(float).tiny)
    return np.asarray((np.interp(end_s, at, area) - np.interp(start_s, at, area)) / length)


def time_per_token_s(log: RequestLog, index: npt.NDArray[np.int64]) -> float:
    """Seconds per token after the first, over all tokens of some requests; NaN where there is none."""
    later = log.output_tokens[index].sum() - len(index)
    return float((log.e2e_s[index] - log.ttft_s[index]).sum() / later) if later > 0 else float("nan")
