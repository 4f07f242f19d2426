"""All candidates against all slices of a demand: rates and latencies as stacked arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from comptroller.costs.money import host_w
from comptroller.costs.power import idle_w
from comptroller.costs.timing import Calibration, Timed, timed
from comptroller.errors import NoSuchRate, Unsupported
from comptroller.planning.candidates import Candidate, Rejected
from comptroller.planning.capacity import BATCH_GRID, Curve, Load, State, Target, curve, device_w

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Table:
    """Candidates x batch caps (x slices for rates).

    cap: the batch caps of each candidate.  rate_per_s: (candidates, slices, caps), 0 where there is no such cap.
    decode_s: a crowded decode step.  marginal_s: (candidates, slices, caps), what a prompt adds to the steps.
    latency_s: by (quantity, quantile), (candidates, caps).  usual: the state of each at its caps' mean batches.
    ready: the timed replica of each candidate, shared between candidates that differ only in price.
    """

    candidates: tuple[Candidate, ...]
    load: Load
    cap: Array
    rate_per_s: Array
    decode_s: Array
    marginal_s: Array
    latency_s: dict[tuple[str, float], Array]
    usual: tuple[State, ...]
    ready: tuple[Timed, ...]

    def best(self, targets: Sequence[Target]) -> tuple[Array, npt.NDArray[np.int64]]:
        """Rates (candidates, slices) at the cap that carries most of the mixture within the targets; its column."""
        allowed = self.cap > 0
        for target in targets:
            allowed = allowed & (self.latency_s[target.quantity, target.quantile] <= target.most_s)
        with np.errstate(divide="ignore"):
            carried = np.where(allowed, 1.0 / (self.load.weight @ (1.0 / self.rate_per_s)), 0.0)
        column = carried.argmax(axis=1)
        rows = np.arange(len(column))
        return np.where(allowed[rows, column, None], self.rate_per_s[rows, :, column], 0.0), column

    def prompts_per_s(self, targets: Sequence[Target], column: npt.NDArray[np.int64]) -> Array:
        """Rate at which the prompts of one slice alone slow decoding to the TPOT target; inf without a target.

        TPOT = t_decode / (1 - sum_i r_i m_i) <= T is linear in the rates: sum_i r_i m_i / (1 - t_decode / T) <= 1.
        """
        most = min((t.most_s for t in targets if t.quantity == "tpot_s"), default=np.inf)
        rows = np.arange(len(column))
        room = np.maximum(1.0 - self.decode_s[rows, column] / most, 0.0)
        marginal = self.marginal_s[rows, :, column]
        return np.where(np.isfinite(most), room[:, None] / np.maximum(marginal, 1e-12), np.inf)

    def device_w(self, column: npt.NDArray[np.int64]) -> Array:
        """Watts of one device of each candidate, saturated at its cap."""
        known: dict[tuple[int, int], float] = {}
        for row, (at, ready) in enumerate(zip(self.usual, self.ready, strict=True)):
            key = (id(ready), int(column[row]))
            if key not in known:
                known[key] = float(device_w(ready, at, at.saturated_per_s)[column[row]])
        return np.array([known[id(x), int(c)] for x, c in zip(self.ready, column, strict=True)])

    def least_latency_s(
        self, target: Target, others: Sequence[Target], keep: npt.NDArray[np.bool_] | None = None
    ) -> float:
        """The lowest value of a target's quantity that some (kept) candidate reaches within the other targets."""
        allowed = self.cap > 0 if keep is None else (self.cap > 0) & keep[:, None]
        for other in others:
            allowed = allowed & (self.latency_s[other.quantity, other.quantile] <= other.most_s)
        return float(np.where(allowed, self.latency_s[target.quantity, target.quantile], np.inf).min())


@dataclass(frozen=True, slots=True)
class Unit:
    """The smallest thing that can be rented of each candidate; arrays over candidates.

    replicas: replicas in a unit.  usd_per_h: its price.  devices: its accelerators.
    idle_w: watts at the meter when idle.  host_w: watts of its servers.  pue: factor to the meter.
    """

    replicas: Array
    usd_per_h: Array
    devices: Array
    idle_w: Array
    host_w: Array
    pue: Array


def build_table(
    candidates: Sequence[Candidate],
    load: Load,
    targets: Sequence[Target],
    calibration: Calibration,
    rejected: Rejected,
    progress: Callable[[int, int], None],
) -> Table:
    """Evaluate every candidate once per distinct replica; progress is told (done, total)."""
    curves: dict[int, tuple[Curve, Timed] | None] = {}
    kept: list[tuple[Candidate, Curve, Timed]] = []
    for number, candidate in enumerate(candidates):
        progress(number, len(candidates))
        key = id(candidate.replica)
        if key not in curves:
            curves[key] = _evaluate(candidate, load, targets, calibration, rejected)
        evaluated = curves[key]
        if evaluated is not None:
            kept.append((candidate, *evaluated))
    width = len(BATCH_GRID) + 1
    shape = (len(kept), width)
    cap, decode = np.zeros(shape), np.zeros(shape)
    rate, marginal = (np.zeros((len(kept), len(load.rate_per_s), width)) for _ in range(2))
    latency = {(t.quantity, t.quantile): np.full(shape, np.inf) for t in targets}
    for row, (_, found, _) in enumerate(kept):
        columns = len(found.cap)
        cap[row, :columns] = found.cap
        rate[row, :, :columns], marginal[row, :, :columns] = found.rate_per_s, found.marginal_s
        decode[row, :columns] = found.decode_s
        for name, values in found.latency_s.items():
            latency[name][row, :columns] = values
    names, curves_, ready = zip(*kept, strict=True) if kept else ((), (), ())
    usual = tuple(found.usual for found in curves_)
    return Table(tuple(names), load, cap, rate, decode, marginal, latency, usual, tuple(ready))


def _evaluate(
    candidate: Candidate, load: Load, targets: Sequence[Target], calibration: Calibration, rejected: Rejected
) -> tuple[Curve, Timed] | None:
    try:
        ready = timed(candidate.replica, calibration)
    except (NoSuchRate, Unsupported) as error:
        rejected.add("not supported by facts", str(error))
        return None
    found = curve(ready, candidate.memory, load, targets)
    if found is None:
        rejected.add("no room for one request", f"{candidate.replica}: the cache holds less than one request")
        return None
    return found, ready


def units(candidates: Sequence[Candidate]) -> Unit:
    """Rentable units: the least common multiple of a replica's devices and the offer's."""
    rows = []
    for candidate in candidates:
        replica, offer = candidate.replica, candidate.offer
        devices = float(np.lcm(replica.layout.devices, offer.devices))
        host, pue = host_w(devices), candidate.site.pue
        idle = (idle_w(replica.device) * devices + host) * pue
        usd_per_h = offer.usd_per_s * 3600.0 * devices
        rows.append((devices / replica.layout.devices, usd_per_h, devices, idle, host, pue))
    return Unit(*np.array(rows, float).reshape(-1, 6).T)
