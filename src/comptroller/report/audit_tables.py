"""An audit of an endpoint as tables: what will be asked, what each signal told, how the endpoint streams."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from comptroller.measure.endpoint_audit import AuditDesign, AuditOutcome, SignalFinding, StreamFingerprint
from comptroller.report.figures import dollars, number, seconds
from comptroller.report.sheet import Cell, ReportSheet, SheetColumns, left, right


def design_sheet(of: AuditDesign, calls: int, usd: float) -> ReportSheet:
    """What is asked and what decides, before anything is sent. usd: NaN without prices."""
    rows: list[tuple[Cell, ...]] = [
        ("prompts", of.plan.prompts),
        ("samples of each", of.plan.samples),
        ("calls", calls),
        ("dollars at most", dollars(usd)),
        ("false alarms", f"{of.false_alarm:.1%}"),
    ]
    for name, test in of.tests.items():
        rows.append((f"{name}: odd in {test.odd:.0%} is told at", f"{test.prompts} prompts, with {test.power:.1%}"))
    return ReportSheet("Before anything is sent", (left("what", ""), right("value", "")), tuple(rows))


FINDINGS: SheetColumns[SignalFinding] = (
    left("name", "signal"),
    right("odd", "endpoint is the odd one", lambda one: f"{one.result.count} of {one.result.informative}"),
    right("chance", "by chance alone", lambda one: f"{one.result.informative / 3:.1f}"),
    right("p", "p-value", lambda one: number(one.result.p_value)),
    right("apart", "apart", lambda one: number(one.apart)),
    right("own", "reference's own", lambda one: number(one.own)),
    left("says", "", lambda one: "different" if one.rejects else "no difference told"),
)


def audit_sheets(of: AuditOutcome) -> Sequence[ReportSheet]:
    """What the signals told, and how the endpoint streams."""
    streams: Mapping[str, StreamFingerprint] = {"endpoint": of.endpoint, "reference": of.reference}
    columns = (left("who", ""), right("tokens", "tokens at once"), right("ttft", "TTFT p50"), right("tpot", "TPOT p50"))
    rows = tuple(
        (who, number(one.tokens_per_event), seconds(one.ttft_s), seconds(one.tpot_s)) for who, one in streams.items()
    )
    batch = (
        ("greedy answers that change beside others", f"{of.batch_texts:.1%}"),
        ("log-probabilities, mean change in nats", number(of.batch_nats)),
    )
    return (
        ReportSheet.of("Signals", FINDINGS, of.findings),
        ReportSheet("Streams", columns, rows),
        ReportSheet("The endpoint beside itself, many requests at once", (left("what", ""), right("value", "")), batch),
    )


def audit_record(
    design: AuditDesign, asked: tuple[int, float], outcome: AuditOutcome | None, faults: Sequence[str]
) -> dict[str, Any]:
    """An audit as a document. asked: how many calls, and what they may cost in dollars (NaN without prices)."""
    found: dict[str, Any] = {
        "prompts": design.plan.prompts,
        "samples": design.plan.samples,
        "calls": asked[0],
        "usd_at_most": asked[1],
        "false_alarm": design.false_alarm,
        "power": {name: test.power for name, test in design.tests.items()},
        "critical": {name: test.critical for name, test in design.tests.items()},
    }
    if outcome is None:
        return found
    signals = [
        {
            "signal": one.name,
            "informative": one.result.informative,
            "odd": one.result.count,
            "p_value": one.result.p_value,
            "rejects": one.rejects,
            "apart": one.apart,
            "own": one.own,
        }
        for one in outcome.findings
    ]
    streams = {"endpoint": outcome.endpoint, "reference": outcome.reference}
    return found | {
        "signals": signals,
        "missing": outcome.missing,
        "streams": {
            who: {"tokens_per_event": one.tokens_per_event, "ttft_s": one.ttft_s, "tpot_s": one.tpot_s}
            for who, one in streams.items()
        },
        "batch": {"texts": outcome.batch_texts, "nats": outcome.batch_nats},
        "faults": list(faults),
    }
