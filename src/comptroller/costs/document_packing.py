"""Documents of many lengths packed into sequences: how uneven attention is over devices, and what balancing it moves.

Tokens attend within their document, so that two sequences of equal length differ in the query-key pairs that they form:
as much as one long document does from many short ones. All else is in proportion to tokens. Data parallelism waits for
the rank with most pairs, a pipeline for its largest microbatch; context parallelism is even, for it cuts every document
over all its devices (as Transformer Engine does with packed sequences). Source: core attention disaggregation (DistCA,
arXiv 2510.18121).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

STEPS_DRAWN = 24
"""Steps over which the unevenness is averaged; four times as many move a mean factor by less than a hundredth."""


@dataclass(frozen=True, slots=True)
class PackedStream:
    """Documents one after the other, cut where a sequence ends. starts, ends: token positions."""

    starts: Array
    ends: Array

    @classmethod
    def of(cls, lengths: npt.ArrayLike, seq: int) -> PackedStream:
        """The stream of documents of some lengths; what a sequence has no room for goes on in the next as a document
        of its own."""
        ends = np.cumsum(np.asarray(lengths, float))
        cuts = np.arange(seq, ends[-1], seq)
        borders = np.union1d(ends, cuts)
        return cls(np.concatenate([[0.0], borders[:-1]]), borders)

    def pairs_before(self, position: npt.ArrayLike) -> Array:
        """Query-key pairs of all tokens before some positions.

        >>> PackedStream.of([4, 2], 6).pairs_before([4, 5, 6]).tolist()
        [10.0, 11.0, 13.0]
        """
        whole = np.concatenate([[0.0], np.cumsum(_pairs(self.ends - self.starts))])
        at = np.asarray(position, float)
        place = np.searchsorted(self.ends, at, side="left")
        begun = at - self.starts[np.minimum(place, len(self.starts) - 1)]
        return np.asarray(whole[place] + _pairs(np.maximum(begun, 0.0)))


def _pairs(tokens: Array) -> Array:
    return np.asarray(tokens * (tokens + 1.0) / 2.0)


@dataclass(frozen=True, slots=True)
class PackingBalance:
    """Attention of a step, over its pairs were every sequence one document. mean: of all ranks.  busiest: of the one
    that a step waits for.  largest: of the largest microbatch.  away: share of the pairs that are formed on another
    rank than their queries' where servers balance them."""

    mean: float
    busiest: float
    largest: float
    away: float


@dataclass(frozen=True)
class DocumentLengths:
    """Lengths of documents as they come, from which steps are drawn. seed: of the draws."""

    lengths: tuple[float, ...]
    seed: int = 0
    _kept: dict[tuple[int, ...], PackingBalance] = field(default_factory=dict, compare=False, repr=False)

    def balance(self, seq: int, shape: tuple[int, int, int]) -> PackingBalance:
        """Unevenness of steps of a layout. shape: data-parallel ranks, sequences of a microbatch, microbatches of a
        step; sequences are dealt to ranks in turn.

        One document a sequence is even:

        >>> DocumentLengths((1024.0,)).balance(1024, (4, 1, 2)).busiest
        1.0
        """
        key = (seq, *shape)
        if key not in self._kept:
            rng = np.random.default_rng(self.seed)
            drawn = [step_balance(self._stream(rng, seq, shape), seq, shape) for _ in range(STEPS_DRAWN)]
            means = [float(np.mean([getattr(one, name) for one in drawn])) for name in PackingBalance.__slots__]
            self._kept[key] = PackingBalance(*means)
        return self._kept[key]

    def attended_share(self, seq: int) -> float:
        """Pairs over those of sequences of one document."""
        return self.balance(seq, (1, 1, 64)).mean

    def _stream(self, rng: np.random.Generator, seq: int, shape: tuple[int, int, int]) -> PackedStream:
        ranks, micro, rounds = shape
        need = float(ranks * micro * rounds * seq)
        known = np.asarray(self.lengths)
        drawn: list[Array] = []
        total = 0.0
        while total < need:
            drawn.append(rng.choice(known, size=max(16, int(1.2 * (need - total) / known.mean()))))
            total += float(drawn[-1].sum())
        return PackedStream.of(np.concatenate(drawn), seq)


def step_balance(stream: PackedStream, seq: int, shape: tuple[int, int, int]) -> PackingBalance:
    """Unevenness of the step that a stream begins with; shape as in `DocumentLengths.balance`."""
    ranks, micro, rounds = shape
    edges = np.arange(ranks * rounds * micro + 1.0) * seq
    pairs = np.diff(stream.pairs_before(edges)).reshape(rounds, micro, ranks)
    loads = pairs.mean(axis=1) / float(_pairs(np.array(seq)))
    away = np.maximum(loads - loads.mean(axis=1, keepdims=True), 0.0).sum() / loads.sum()
    return PackingBalance(float(loads.mean()), float(loads.mean(axis=0).max()), float(loads.max()), float(away))
