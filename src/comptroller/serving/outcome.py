"""What came of a simulation: a row per request, a meter per rank, samples over time, and where it all went."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from comptroller.serving.fleet import SimulatedFleet
from comptroller.serving.state import TICKS_PER_S, RequestState
from comptroller.work.call import FINISH, SOURCE, CallTable

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_FINISH = {RequestState.DONE: "stop", RequestState.CANCELLED: "cancelled", RequestState.REFUSED: "refused"}


@dataclass(frozen=True, eq=False)
class RankSample:
    """One sample of every rank: seconds and joules so far, tokens of cache in use, requests queued and on."""

    at_s: float
    busy_s: Floats
    step_j: Floats
    kv_tokens: Floats
    queued: Ints
    running: Ints


@dataclass(frozen=True, eq=False)
class RankMeters:
    """What each rank has done: seconds busy, joules of its steps, steps, tokens by kind, blocks evicted."""

    busy_s: Floats
    step_j: Floats
    steps: Ints
    prompt_tokens: Ints
    recomputed_tokens: Ints
    output_tokens: Ints
    evictions: Ints
    adapter_loads: Ints


def meters_of(ranks: Any) -> RankMeters:
    """The meters of the engine's ranks."""
    return RankMeters(
        ranks.busy / TICKS_PER_S,
        ranks.joules.copy(),
        ranks.steps.copy(),
        ranks.prompt_done.copy(),
        ranks.recomputed.copy(),
        ranks.decode_done.copy(),
        ranks.evictions.copy(),
        ranks.adapter_loads.copy(),
    )


@dataclass(frozen=True, eq=False)
class StoreMeters:
    """What each store has done, in the order of `stores_of`: blocks loaded from it, written to it, forgotten by it."""

    loads: Ints
    writes: Ints
    evictions: Ints


@dataclass(frozen=True, eq=False)
class EngineOutcome:
    """Jobs and results of requests (records in the order of their ids), meters and samples; times in
    seconds, NaN where a request never got so far.

    A sequence's share of a decode step's energy is that of its own cached tokens plus an equal part of the
    rest; of a mixed step, by tokens. Waste is energy spent on tokens computed before, and on waiting for
    swaps. A rank that waits, for work or for a slower rank of its group, draws `idle_w`.

    Moments are those of the engine, which a request reaches when the server hands it over; what the server takes
    around it, `outside_s`, counts in `ttft_s` and `e2e_s`.
    """

    fleet: SimulatedFleet
    jobs: Any
    requests: Any
    meters: RankMeters
    horizon_s: float
    series: tuple[RankSample, ...] = ()
    stores: StoreMeters | None = None

    def __len__(self) -> int:
        return int(self.requests.size)

    def _seconds(self, name: str) -> Floats:
        ticks = self.requests[name]
        return np.where(ticks < 0, np.nan, ticks / TICKS_PER_S)

    @cached_property
    def arrival_s(self) -> Floats:
        """When each request arrived, or was released by its parent."""
        return self._seconds("arrival")

    @cached_property
    def queue_s(self) -> Floats:
        """Seconds from arrival to admission."""
        return self._seconds("started") - self.arrival_s

    @cached_property
    def outside_s(self) -> Floats:
        """Seconds that each request's server takes outside of the engine's queue and steps; 0 where it reached none."""
        rank = np.where(self.jobs.prompt > 0, self.requests.prompt_rank, -1)
        cached = self.requests.cached.astype(np.float64)
        fresh, seconds = self.jobs.prompt - cached, np.zeros(len(self))
        ranks: dict[int, list[int]] = {}
        for number, table in enumerate(self._rank_tables):
            ranks.setdefault(id(table), []).append(number)
        for numbers in ranks.values():
            there = np.isin(rank, numbers)
            seconds[there] = self._rank_tables[numbers[0]].outside_s(fresh[there], cached[there])
        return seconds

    @cached_property
    def ttft_s(self) -> Floats:
        """Seconds from arrival to the first token."""
        return self._seconds("first") - self.arrival_s + self.outside_s

    @cached_property
    def e2e_s(self) -> Floats:
        """Seconds from arrival to the end of requests that are done."""
        return np.where(self.done, self._seconds("last") - self.arrival_s + self.outside_s, np.nan)

    @cached_property
    def tpot_s(self) -> Floats:
        """Mean seconds per token after the first; NaN for a single token."""
        after = np.where(self.jobs.output > 1, self.jobs.output - 1.0, np.nan)
        return (self.e2e_s - self.ttft_s) / after

    @property
    def done(self) -> npt.NDArray[np.bool_]:
        """Which requests came to their end."""
        ended: npt.NDArray[np.bool_] = self.requests.state == RequestState.DONE
        return ended

    @property
    def finish(self) -> list[str]:
        """How each request ended: stop, cancelled, refused, or empty while it has not."""
        names = np.array([_FINISH.get(state, "") for state in RequestState])
        return names[self.requests.state].tolist()  # type: ignore[no-any-return]

    def counts(self) -> dict[str, int]:
        """Requests by how they ended."""
        totals = np.bincount(self.requests.state, minlength=len(RequestState))
        ends = {name: int(totals[state]) for state, name in _FINISH.items()}
        return ends | {"unfinished": len(self) - sum(ends.values())}

    @cached_property
    def _rank_tables(self) -> list[Any]:
        return [replica.table for _, replica in self.fleet.replicas() for _ in range(replica.ranks)]

    def _of_ranks(self, name: str) -> Floats:
        return np.array([getattr(table, name) for table in self._rank_tables], np.float64)

    @property
    def idle_j(self) -> Floats:
        """Joules that each rank drew while it waited."""
        return self._of_ranks("idle_w") * (self.horizon_s - self.meters.busy_s)

    @property
    def request_j(self) -> Floats:
        """Joules of each request, waste left out."""
        joules: Floats = self.requests.j_prefill + self.requests.j_decode
        return joules

    @property
    def waste_j(self) -> Floats:
        """Joules of each request spent on tokens computed before or on waiting for swaps."""
        joules: Floats = self.requests.j_waste
        return joules

    @property
    def meter_j(self) -> float:
        """What the fleet's meter reads: steps and idling."""
        return float(self.meters.step_j.sum() + self.idle_j.sum())

    @property
    def meter_usd(self) -> float:
        """What renting the fleet costs for as long as it was simulated."""
        return float(self._of_ranks("usd_per_s").sum() * self.horizon_s)

    @property
    def meter_gco2e(self) -> float:
        """What the meter's energy emits."""
        return float(((self.meters.step_j + self.idle_j) * self._of_ranks("gco2e_per_j")).sum())

    @cached_property
    def gco2e(self) -> Floats:
        """Grams of each request, by the ranks that computed its prompt and its tokens."""
        factor = np.append(self._of_ranks("gco2e_per_j"), 0.0)
        prompt, token = (factor[self.requests[name]] for name in ("prompt_rank", "token_rank"))
        after = self.requests.j_decode + self.requests.j_waste
        grams: Floats = self.requests.j_prefill * prompt + after * token
        return grams

    def calls(self, asked: CallTable) -> CallTable:
        """The calls that were asked, with what the simulation predicts for them."""
        of = self.requests
        return asked.with_columns(
            started_s=self._seconds("started"),
            first_s=self._seconds("first"),
            last_s=self._seconds("last"),
            cached_tokens=of.cached,
            output_tokens=of.generated,
            finish=[FINISH.index(name) for name in self.finish],
            preemptions=of.preemptions,
            device_s=of.device_s * 1.0,
            j_prefill=of.j_prefill,
            j_decode=of.j_decode + of.j_waste,
            usd=of.usd,
            gco2e=self.gco2e,
            source=np.full(len(self), SOURCE.index("predicted")),
        )

    def percentile(self, what: str, percent: float) -> float:
        """A percentile of `queue_s`, `ttft_s`, `tpot_s` or `e2e_s` over the requests that have one."""
        values = getattr(self, what)
        values = values[np.isfinite(values)]
        return float(np.percentile(values, percent)) if values.size else float("nan")

    def met(self, ttft_s: float = np.inf, tpot_s: float = np.inf, e2e_s: float = np.inf) -> Floats:
        """1 for each request that was done within all the objectives, else 0."""
        single = ~np.isfinite(self.tpot_s)
        fits = (self.ttft_s <= ttft_s) & (single | (self.tpot_s <= tpot_s)) & (self.e2e_s <= e2e_s)
        return np.asarray(self.done & fits, np.float64)

    def attainment(self, ttft_s: float = np.inf, tpot_s: float = np.inf, e2e_s: float = np.inf) -> float:
        """Share of all requests that were done within the objectives; refused ones count as missed."""
        return float(self.met(ttft_s, tpot_s, e2e_s).mean()) if len(self) else float("nan")

    def goodput_per_s(self, ttft_s: float = np.inf, tpot_s: float = np.inf, e2e_s: float = np.inf) -> float:
        """Requests done within the objectives, per second."""
        return float(self.met(ttft_s, tpot_s, e2e_s).sum() / self.horizon_s) if self.horizon_s else 0.0
