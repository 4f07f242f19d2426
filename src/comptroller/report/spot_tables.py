"""Spot policies side by side, as a table and as records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from comptroller.planning.spot_simulation import SpotSimulation
from comptroller.quantities import short
from comptroller.report.figures import dollars, seconds
from comptroller.report.scaling_tables import start_up_words, ttft_p95_s
from comptroller.report.sheet import ReportSheet, SheetColumns, left, right
from comptroller.serving.elastic import ReplicaPhase

SHOWN_EVENTS = 12
"""Interruptions that a table shows; JSON has all."""


def saving(one: SpotSimulation, reference: SpotSimulation) -> float:
    """Share of the dollars of a reference that are spared."""
    return 1 - one.usd / reference.usd


def spot_sheets(simulations: Sequence[SpotSimulation]) -> tuple[ReportSheet, ...]:
    """A row for each policy, the first one what the others are held against; what was taken back from the last one."""
    first, last = simulations[0], simulations[-1]
    columns: SheetColumns[SpotSimulation] = (
        left("policy", None, lambda one: one.settings.policy),
        right("within", "within objectives", lambda one: f"{one.attainment:.2%}"),
        right("usd", "dollars", lambda one: dollars(one.usd)),
        right("saved", "saved", lambda one: f"{saving(one, first):.0%}"),
        right("available", "all replicas ready", lambda one: f"{one.outcome.availability:.2%}"),
        right("ttft", "TTFT p95", lambda one: seconds(ttft_p95_s(one.outcome.elastic))),
        right("spot_h", "spot hours", lambda one: f"{one.outcome.hours(on_demand=False):.1f}"),
        right("on_demand_h", "on-demand hours", lambda one: f"{one.outcome.hours(on_demand=True):.1f}"),
        right("taken", "taken back", lambda one: len(one.outcome.interruptions)),
        right("refused", "refused", lambda one: one.outcome.refusals),
    )
    words = f" ({start_up_words(first.start_up)})" if first.start_up else ""
    title = (
        f"Spot in {len(first.record.zones)} zones of {first.record.name}: {first.settings.target} replicas, "
        f"{first.settings.start_up_s:.3g} s start-up{words}, {first.settings.notice_s:g} s notice, spot at "
        f"{first.prices.ratio:.0%} of on demand"
    )
    events: SheetColumns[Any] = (
        right("at", "at", lambda event: f"{event.at_s / 3600:.2f} h"),
        left("zone", None, lambda event: event.zone),
        right("replica", None, lambda event: event.replica),
        right("calls", "calls in flight", lambda event: event.calls),
    )
    taken = last.outcome.interruptions
    more = f", the first {SHOWN_EVENTS} of {len(taken)}" if len(taken) > SHOWN_EVENTS else ""
    sheets = [ReportSheet.of(title, columns, simulations)]
    if taken:
        sheets.append(ReportSheet.of(f"Taken back from {last.settings.policy}{more}", events, taken[:SHOWN_EVENTS]))
    return tuple(sheets)


def spot_records(simulations: Sequence[SpotSimulation]) -> list[dict[str, Any]]:
    """A record for each policy, with what happened when."""
    return [_record(one, simulations[0]) for one in simulations]


def _record(one: SpotSimulation, first: SpotSimulation) -> dict[str, Any]:
    ran, how = one.outcome, one.settings
    from_s, to_s = how.from_s, how.from_s + float(one.trace.arrival_s.max(initial=0.0))
    losses = ran.elastic.losses
    return {
        "policy": how.policy,
        "record": one.record.name,
        "target": how.target,
        "extra": how.extra,
        "start_up_s": short(how.start_up_s),
        "notice_s": how.notice_s,
        "work": how.work.name.lower(),
        "within": short(one.attainment),
        "usd": short(one.usd),
        "usd_per_replica_h": {
            "on_demand": short(one.prices.on_demand_usd_per_h), "spot": short(one.prices.spot_usd_per_h),
        },
        "saved": short(saving(one, first)),
        "available": short(ran.availability),
        "ttft_p95_s": short(ttft_p95_s(ran.elastic)),
        "spot_h": short(ran.hours(on_demand=False)),
        "on_demand_h": short(ran.hours(on_demand=True)),
        "starts": sum(event.phase == ReplicaPhase.STARTING for event in ran.elastic.events),
        "refused": ran.refusals,
        "calls_again": sum(loss.calls for loss in losses),
        "calls_moved": sum(loss.moved for loss in losses),
        "tokens_lost": sum(loss.tokens_lost for loss in losses),
        "zones": {zone.zone: short(zone.standing(from_s, to_s)) for zone in one.record.zones},
        "taken_back": [[short(x.at_s), x.zone, x.replica, x.calls] for x in ran.interruptions],
        "events": [[short(x.at_s), x.replica, x.phase.name.lower()] for x in ran.elastic.events],
    }  # fmt: skip
