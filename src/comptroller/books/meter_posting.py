"""A meter's reading into the books: the rows of one's own hardware get what they took, idle time a row of its own."""

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


@dataclass(frozen=True, slots=True)
class MeterReadingBill:
    """What a deployment's meters read over the same windows.

    joules: at the devices, or at the wall with a PUE of 1.  pusd: picodollars.  source: the meter's name.
    """

    joules: MeteredWindows
    pusd: MeteredWindows
    source: str
    grid: GridCarbonIntensity
    pue: float = 1.0


def post(ledger: CallLedger, service: str, bill: MeterReadingBill) -> dict[str, MeterAttribution]:
    """Attribute a bill to the calls of a service that ran within its windows; correct their rows, add one for idle.

    A call works as long as it takes: prefill until its first token, decode until its last. Its dollars, joules and
    grams, with the idle row's, sum to the bill; dollars are rounded to picodollars and the idle row takes the rest.

    Raises:
        InputError: no call ran, or one has no times; the posting of a row was refused.
    """
    edges = bill.joules.edges_s
    inside = (entry.c.last_s > float(edges[0]), entry.c.started_s < float(edges[-1]), entry.c.kind != "released")
    found = [row for row in rows(ledger, LedgerScope(only={"model": service}), *inside) if row["role"] != IDLE]
    if not found:
        raise InputError(f"no call of {service} with its times ran while the meter did")
    work = _work(found)
    joules, dollars = attribute(bill.joules, work), attribute(bill.pusd, work)
    each_j = [part * bill.pue for part in (joules.prefill, joules.decode, joules.waste)]
    pusd = np.rint(dollars.prefill + dollars.decode + dollars.waste).astype(np.int64)
    postings: list[Posting] = [
        CorrectionPosting(
            ledger.new_id(), call_of(row), CallReceipt(int(pusd[i]), energy=_energy(bill, row, each_j, i)), "metered"
        )
        for i, row in enumerate(found)
    ]
    rest = round(float(bill.pusd.amount.sum())) - int(pusd.sum())
    postings += _idle(ledger, service, bill, (rest, joules.idle * bill.pue))
    refused = [outcome for outcome in ledger.apply(postings) if isinstance(outcome, ComptrollerError)]
    if refused:
        raise refused[0]
    return {"j": joules, "pusd": dollars}


def _work(found: list[dict[str, Any]]) -> CallPhaseWork:
    start, first, last = (
        np.array([np.nan if row[name] is None else row[name] for row in found])
        for name in ("started_s", "first_s", "last_s")
    )
    first = np.where(np.isnan(first), last, first)  # ended before its first token: all of it was prefill
    wasted = np.array([float(row["finish"] in WASTED) for row in found])
    return CallPhaseWork(start, last, np.maximum(first - start, 0.0), np.maximum(last - first, 0.0), wasted)


def _energy(bill: MeterReadingBill, row: dict[str, Any], each_j: list[Array], i: int) -> CallEnergy:
    prefill, decode, waste = (float(part[i]) for part in each_j)
    decode += waste if row["finish"] in WASTED else 0.0
    total = prefill + decode
    grams = total * bill.grid.at(row["started_s"], row["last_s"])
    return CallEnergy(prefill, decode, total, total, grams, energy_of(row).flops, bill.source)


def _idle(ledger: CallLedger, service: str, bill: MeterReadingBill, rest: tuple[int, float]) -> list[Posting]:
    """The row of what nobody used."""
    pusd, joules = rest
    start, end = (float(edge) for edge in bill.joules.edges_s[[0, -1]])
    call = Call(call=ledger.new_id(), request=ledger.new_id(), role=IDLE, service=service, arrival_s=start)
    energy = CallEnergy(0.0, joules, joules, joules, joules * bill.grid.at(start, end), 0.0, bill.source)
    done = replace(call, started_s=start, last_s=end, finish="stop")
    return [
        ReservationPosting(call, CallQuote(max(pusd, 0))),
        SettlementPosting(done, CallReceipt(max(pusd, 0), energy=energy, note="idle")),
    ]
