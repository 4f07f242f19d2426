"""Lengths: how many outputs hit a cap, and how long they are.

CSR@k, the share of outputs of at least k tokens, and the ECDF follow BenchOverflow, arXiv 2601.08490. A cap that the
record does not name shows itself: many outputs of one model end at the very same greatest length.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.stats import beta as beta_distribution
from scipy.stats import poisson

from comptroller.work.evidence import SOLVER, Evidence, Floats
from comptroller.work.laws import EvidenceLaw, Known, LawFinding, LawQuery
from comptroller.work.laws._resampling import names

STEPS = (1000, 3000, 5000)
"""Of CSR@k as published."""

QUANTILES = (0.5, 0.9, 0.99)
FEWEST = 5
"""Outputs of one length below which no cap is suspected."""


def csr(lengths: npt.ArrayLike, k: float) -> float:
    """Share of lengths of at least k tokens.

    >>> csr([500, 1000, 3000, 5000], 1000)
    0.75
    """
    return float(np.mean(np.asarray(lengths, float) >= k))


def ecdf(lengths: npt.ArrayLike, at: npt.ArrayLike) -> Floats:
    """Share of lengths of at most each value of `at`.

    >>> ecdf([1, 2, 2, 4], [1, 2, 3, 4]).tolist()
    [0.25, 0.75, 0.75, 1.0]
    """
    found = np.sort(np.asarray(lengths, float))
    return np.asarray(np.searchsorted(found, np.asarray(at, float), side="right") / len(found))


@dataclass(frozen=True, slots=True)
class LengthCap:
    """A greatest length at which outputs pile up: how many of how many."""

    tokens: int
    hits: int
    outputs: int


def suspected_cap(lengths: npt.ArrayLike) -> LengthCap | None:
    """The greatest length if far more outputs end there than the lengths just below it would lead one to expect.

    Expected at one length: those in the tenth below it, spread evenly. Suspected at 5 outputs or more that chance
    (Poisson) would give once in a thousand.

    >>> suspected_cap([2048] * 40 + list(range(100, 2000, 50)))
    LengthCap(tokens=2048, hits=40, outputs=78)
    """
    found = np.asarray(lengths, float)
    found = found[np.isfinite(found)]
    if len(found) < FEWEST:
        return None
    top = found.max()
    hits = int((found == top).sum())
    width = max(1.0, np.floor(top / 10))
    near = int(((found >= top - width) & (found < top)).sum())
    if hits < FEWEST or poisson.sf(hits - 1, max(near, 1) / width) > 1e-3:
        return None
    return LengthCap(int(top), hits, len(found))


def made_tokens(evidence: Evidence) -> Floats:
    """Tokens that each reply made, reasoning included; NaN where they are not recorded."""
    return np.asarray(evidence.rows.output_tokens + np.nan_to_num(evidence.rows.reasoning_tokens))


def caps(evidence: Evidence) -> dict[int, LengthCap]:
    """The suspected cap of each arm that has one, among replies whose record does not say how they ended."""
    rows, made = evidence.rows, made_tokens(evidence)
    silent = (rows.finish == "") & (rows.role == SOLVER)
    found = {arm: suspected_cap(made[silent & (rows.arm == arm)]) for arm in range(len(evidence.arms))}
    return {arm: cap for arm, cap in found.items() if cap is not None}


def flag_truncated(evidence: Evidence) -> Evidence:
    """The evidence with replies at a suspected cap marked as ended by `length`, where the record does not say."""
    rows, made = evidence.rows, made_tokens(evidence)
    at = np.full(len(rows), -1.0)
    for arm, cap in caps(evidence).items():
        at[rows.arm == arm] = cap.tokens
    cut = (rows.finish == "") & (rows.role == SOLVER) & (made == at)
    return replace(evidence, rows=replace(rows, finish=np.where(cut, "length", rows.finish)))


def _share(hits: int, count: int, level: float) -> tuple[float, float]:
    """Clopper-Pearson interval of a share."""
    side = (1 - level) / 2
    low = float(beta_distribution.ppf(side, hits, count - hits + 1)) if hits else 0.0
    high = float(beta_distribution.ppf(1 - side, hits + 1, count - hits)) if hits < count else 1.0
    return low, high


def _find(known: Known, asking: LawQuery) -> list[LawFinding]:
    if not isinstance(known, Evidence):
        return []
    rows, made = known.rows, made_tokens(known)
    found = []
    capped = caps(known)
    for number, arm in enumerate(names(known)):
        mine = (rows.arm == number) & (rows.role == SOLVER) & np.isfinite(made) & (rows.finish != "failed")
        lengths = made[mine]
        if not len(lengths):
            continue
        cut = int((rows.finish[mine] == "length").sum())
        if (rows.finish[mine] != "").any():
            interval = _share(cut, len(lengths), asking.level)
            found.append(LawFinding("caps", arm, "share truncated, recorded", cut / len(lengths), *interval))
        if number in capped:
            cap = capped[number]
            interval = _share(cap.hits, cap.outputs, asking.level)
            note = f"{cap.hits} of {cap.outputs} outputs; the record does not say how they ended"
            quantity = f"share at {cap.tokens} tokens, a suspected cap"
            found.append(LawFinding("caps", arm, quantity, cap.hits / cap.outputs, *interval, note))
        for k in [k for k in STEPS if k <= lengths.max()]:
            share = csr(lengths, k)
            interval = _share(round(share * len(lengths)), len(lengths), asking.level)
            found.append(LawFinding("caps", arm, f"CSR@{k}", share, *interval))
        for q in QUANTILES:
            found.append(LawFinding("caps", arm, f"tokens at ECDF {q:g}", float(np.quantile(lengths, q))))
    return found


LAW = EvidenceLaw("caps", "outputs that hit a cap, and how long outputs are (CSR@k, ECDF)", _find)
