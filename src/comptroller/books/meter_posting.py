"""Attribution of meter readings to booked calls on own hardware; idle time becomes a row of its own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from comptroller.books.ledger import CallLedger, CallQuote, CorrectionPosting, ReservationPosting, SettlementPosting
from comptroller.books.postings import Posting, call_of, energy_of
from comptroller.books.query import LedgerScope, rows
from comptroller.books.schema import entry
from comptroller.costs.attribution import Array, CallPhaseWork, MeterAttribution, MeteredWindows, attribute
from comptroller.costs.carbon import CallEnergy
from comptroller.costs.rating import CallReceipt
from comptroller.errors import ComptrollerError, InputError
from comptroller.facts.grid import GridCarbonIntensity
from comptroller.work.call import Call

IDLE = "idle"
"""The role of rows that hold the idle time of a deployment."""
WASTED = ("cancelled", "failed")
"""Ends of calls whose work counts as waste: nobody received a full reply."""


@dataclass(frozen=True, slots=True)
class MeterReadingBill:
    """Energy and cost of a deployment over the same time windows.

    joules: at the devices, or at the wall with a PUE of 1.  pusd: picodollars.  source: name of the meter.  grid:
    carbon intensity over time.  pue: power usage effectiveness, multiplied with the joules.
    """

    joules: MeteredWindows
    pusd: MeteredWindows
    source: str
    grid: GridCarbonIntensity
    pue: float = 1.0


def post(ledger: CallLedger, service: str, bill: MeterReadingBill) -> dict[str, MeterAttribution]:
    """Attributes a bill to the calls of a service within its windows: corrects their rows and adds one for idle time.

    A call prefills until its first token and decodes until its last. Dollars, joules and grams of the calls and the
    idle row sum to the bill; dollars are rounded to picodollars and the idle row takes the remainder. Returns the
    attribution of joules (`j`) and of picodollars (`pusd`).

    Raises:
        InputError: no call of the service with times lies in the windows, or a posting was refused.
    """
    edges = bill.joules.edges_s
    inside = (entry.c.last_s > float(edges[0]), entry.c.started_s < float(edges[-1]), entry.c.kind != "released")
    calls = [row for row in rows(ledger, LedgerScope(only={"model": service}), *inside) if row["role"] != IDLE]
    if not calls:
        raise InputError(f"no call of {service} with its times ran while the meter did")
    work = _phase_work(calls)
    joules, dollars = attribute(bill.joules, work), attribute(bill.pusd, work)
    phase_j = [part * bill.pue for part in (joules.prefill, joules.decode, joules.waste)]
    pusd = np.rint(dollars.prefill + dollars.decode + dollars.waste).astype(np.int64)
    postings: list[Posting] = [
        CorrectionPosting(
            ledger.new_id(),
            call_of(row),
            CallReceipt(int(pusd[i]), energy=_metered_energy(bill, row, phase_j, i)),
            "metered",
        )
        for i, row in enumerate(calls)
    ]
    remainder = round(float(bill.pusd.amount.sum())) - int(pusd.sum())
    postings += _idle_row(ledger, service, bill, (remainder, joules.idle * bill.pue))
    refused = [outcome for outcome in ledger.apply(postings) if isinstance(outcome, ComptrollerError)]
    if refused:
        raise refused[0]
    return {"j": joules, "pusd": dollars}


def _phase_work(calls: list[dict[str, Any]]) -> CallPhaseWork:
    """Start, end and seconds of prefill and decode of each row."""
    start, first, last = (
        np.array([np.nan if row[name] is None else row[name] for row in calls])
        for name in ("started_s", "first_s", "last_s")
    )
    first = np.where(np.isnan(first), last, first)  # ended before its first token: all prefill
    wasted = np.array([float(row["finish"] in WASTED) for row in calls])
    return CallPhaseWork(start, last, np.maximum(first - start, 0.0), np.maximum(last - first, 0.0), wasted)


def _metered_energy(bill: MeterReadingBill, row: dict[str, Any], phase_j: list[Array], i: int) -> CallEnergy:
    """Energy of the i-th row; phase_j: joules of prefill, decode and waste by row."""
    prefill, decode, waste = (float(part[i]) for part in phase_j)
    decode += waste if row["finish"] in WASTED else 0.0
    total = prefill + decode
    grams = total * bill.grid.at(row["started_s"], row["last_s"])
    return CallEnergy(prefill, decode, total, total, grams, energy_of(row).flops, bill.source)


def _idle_row(ledger: CallLedger, service: str, bill: MeterReadingBill, remainder: tuple[int, float]) -> list[Posting]:
    """Postings of one row for idle time. remainder: its picodollars and joules."""
    pusd, joules = remainder
    start, end = (float(edge) for edge in bill.joules.edges_s[[0, -1]])
    call = Call(call=ledger.new_id(), request=ledger.new_id(), role=IDLE, service=service, arrival_s=start)
    energy = CallEnergy(0.0, joules, joules, joules, joules * bill.grid.at(start, end), 0.0, bill.source)
    ended = replace(call, started_s=start, last_s=end, finish="stop")
    return [
        ReservationPosting(call, CallQuote(max(pusd, 0))),
        SettlementPosting(ended, CallReceipt(max(pusd, 0), energy=energy, note="idle")),
    ]
