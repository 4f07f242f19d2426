"""Export of the books: FOCUS 1.2 (the FinOps Foundation's cost format) and OpenTelemetry GenAI spans."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any, TextIO

from comptroller.books.ledger import CallLedger
from comptroller.books.pseudonyms import PseudonymBook
from comptroller.books.query import EVERYTHING, LedgerScope, rows, totals
from comptroller.books.service_names import ServiceNames, service_names

FOCUS = (
    *("BilledCost", "BillingAccountId", "BillingAccountName", "BillingCurrency", "BillingPeriodEnd"),
    *("BillingPeriodStart", "ChargeCategory", "ChargeClass", "ChargeDescription", "ChargePeriodEnd"),
    *("ChargePeriodStart", "ContractedCost", "EffectiveCost", "InvoiceIssuerName", "ListCost", "PricingQuantity"),
    *("PricingUnit", "ProviderName", "PublisherName", "ServiceCategory", "ServiceName", "ConsumedQuantity"),
    *(
        "ConsumedUnit",
        "SubAccountId",
        "SubAccountName",
        "ServiceSubcategory",
        "x_Model",
        "x_Key",
        "x_Requests",
        "x_Calls",
        "x_InputTokens",
    ),
    *("x_CachedTokens", "x_OutputTokens", "x_ReasoningTokens", "x_UnpricedCalls", "x_Joules", "x_GramsCO2e"),
)
"""Columns: the mandatory ones of FOCUS 1.2, then our own, whose names begin with x_ as it requires."""


def focus(
    ledger: CallLedger, to: TextIO, scope: LedgerScope = EVERYTHING, pseudonyms: PseudonymBook | None = None
) -> int:
    """Writes one charge per day, model, key and project as CSV; returns their number.

    Costs are sums over priced calls; calls without a price are counted in x_UnpricedCalls.  pseudonyms: in place of
    keys, projects and billing accounts.
    """
    writer = csv.DictWriter(to, FOCUS, lineterminator="\n")
    writer.writeheader()
    charges = totals(ledger, ["day", "model", "key", "project"], scope)
    names = service_names(ledger)
    for item in charges:
        day, model, key, project = item.group
        start = date.fromisoformat(day)
        month = start.replace(day=1)
        cost = f"{int(item['pusd']) // 10**12}.{int(item['pusd']) % 10**12:012d}"
        tokens = int(item["input_tokens"] + item["output_tokens"])
        of = names[model]
        billed = of.account or project or "none"
        if pseudonyms is not None:
            billed, key = pseudonyms.of("account", billed), pseudonyms.of("key", key)
        line: dict[str, Any] = dict.fromkeys(("BilledCost", "ContractedCost", "EffectiveCost", "ListCost"), cost)
        line |= {"ProviderName": of.provider_name, "PublisherName": of.publisher_name}
        line |= {"InvoiceIssuerName": of.provider_name, "ServiceName": of.model or model}
        line |= dict.fromkeys(("PricingQuantity", "ConsumedQuantity"), tokens)
        line |= dict.fromkeys(("PricingUnit", "ConsumedUnit"), "Tokens")
        line |= {"BillingAccountId": billed, "BillingAccountName": billed, "BillingCurrency": "USD"}
        # 32 days after its first day a month has always ended
        line |= {
            "BillingPeriodStart": _timestamp(month),
            "BillingPeriodEnd": _timestamp((month + timedelta(32)).replace(day=1)),
        }
        line |= {"ChargePeriodStart": _timestamp(start), "ChargePeriodEnd": _timestamp(start + timedelta(1))}
        line |= {"ChargeCategory": "Usage", "ChargeDescription": f"{of.model or model}, {int(item['calls'])} calls"}
        line |= {"ServiceCategory": "AI and Machine Learning", "ServiceSubcategory": "Generative AI"}
        line |= {"SubAccountId": key, "SubAccountName": key}
        line |= {"x_Model": model, "x_Key": key, "x_Requests": item.requests, "x_Calls": int(item["calls"])}
        line |= {"x_InputTokens": int(item["input_tokens"]), "x_CachedTokens": int(item["cached_tokens"])}
        line |= {"x_OutputTokens": int(item["output_tokens"]), "x_ReasoningTokens": int(item["reasoning_tokens"])}
        line |= {"x_UnpricedCalls": int(item["unpriced"]), "x_Joules": item["j"], "x_GramsCO2e": item["gco2e"]}
        writer.writerow(line)
    return len(charges)


def _timestamp(day: date) -> str:
    return f"{day.isoformat()}T00:00:00Z"


ATTRIBUTES = {
    "gen_ai.usage.input_tokens": "input_tokens",
    "gen_ai.usage.output_tokens": "output_tokens",
    "gen_ai.usage.cache_read.input_tokens": "cached_tokens",
    "gen_ai.usage.cache_creation.input_tokens": "cache_write_tokens",
    "gen_ai.usage.reasoning.output_tokens": "reasoning_tokens",
    "comptroller.cost.picodollars": "pusd",
    "comptroller.energy.joules": "j",
    "comptroller.carbon.gco2e": "gco2e",
    "comptroller.energy.source": "energy",
    "comptroller.price.id": "price",
    "comptroller.role": "role",
    "comptroller.strategy": "strategy",
    "comptroller.key": "key",
    "comptroller.project": "project",
}
"""Attribute of a span -> our column: by the conventions for generative AI, our own where these have none."""
CHAT = "chat"
OPERATIONS = {"embedding": "embeddings", "completion": "text_completion"}
"""Role of a call -> `gen_ai.operation.name`; every other is a chat."""
FINISHES = {"stop": "stop", "length": "length", "refused": "content_filter"}
"""How a call ended -> the model's finish reason; what the gateway ended or failed has none from a model."""
LINES = 500
"""Spans per line of OTLP JSON.

The collector's file receiver reads a line into memory: a span takes 1.5 kB, so a line is 0.75 MB,
at twice the spans 1.5 MB.
"""


def spans(
    ledger: CallLedger, to: TextIO, scope: LedgerScope = EVERYTHING, pseudonyms: PseudonymBook | None = None
) -> int:
    """Writes one span per call as lines of OTLP JSON for the collector's file receiver; returns their number.

    pseudonyms: in place of keys and projects; texts of errors are left out with them.
    """
    count, names = 0, service_names(ledger)
    found = rows(ledger, scope)
    for batch in _batches(found if pseudonyms is None else map(pseudonyms.named, found)):
        resource = {"attributes": [_attribute("service.name", "comptroller")]}
        scoped = {"scope": {"name": "comptroller.books"}, "spans": [_span(row, names[row["service"]]) for row in batch]}
        to.write(json.dumps({"resourceSpans": [{"resource": resource, "scopeSpans": [scoped]}]}) + "\n")
        count += len(batch)
    return count


def _batches(calls: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    batch: list[dict[str, Any]] = []
    for row in calls:
        batch.append(row)
        if len(batch) == LINES:
            yield batch
            batch = []
    if batch:
        yield batch


def _span(row: dict[str, Any], names: ServiceNames) -> dict[str, Any]:
    operation, model = OPERATIONS.get(row["role"], CHAT), names.model or names.service
    start = row["started_s"] if row["started_s"] is not None else row["arrival_s"]
    end = row["last_s"] if row["last_s"] is not None else start
    with_joules = row | {
        "j": None if row["j_prefill"] is None or row["j_decode"] is None else row["j_prefill"] + row["j_decode"]
    }
    values = {name: with_joules[column] for name, column in ATTRIBUTES.items()}
    attributes = {name: value for name, value in values.items() if value not in (None, "")}
    attributes |= {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": names.convention,
        "gen_ai.request.model": model,
        "comptroller.service": names.service,
    }
    parent = {"parentSpanId": f"{row['parent']:016x}"} if row["parent"] >= 0 else {}
    failed = row["finish"] == "failed"
    reason = FINISHES.get(row["finish"])
    finish = [] if reason is None else [
        {"key": "gen_ai.response.finish_reasons", "value": {"arrayValue": {"values": [{"stringValue": reason}]}}}
    ]  # fmt: skip
    if failed:
        attributes["error.type"] = "_OTHER"
    return {
        "traceId": f"{row['request']:032x}",
        "spanId": f"{row['id']:016x}",
        **parent,
        "name": f"{operation} {model}",
        "kind": 3,  # SPAN_KIND_CLIENT
        "startTimeUnixNano": str(_nanoseconds(start, row)),
        "endTimeUnixNano": str(_nanoseconds(end, row)),
        "attributes": [*(_attribute(*item) for item in attributes.items()), *finish],
        "status": {"code": 2, "message": row["note"]} if failed else {},  # STATUS_CODE_ERROR
    }


def _nanoseconds(moment_s: float | None, row: dict[str, Any]) -> int:
    return int(row["at_us"]) * 1000 if moment_s is None else round(moment_s * 1e9)


def _attribute(name: str, value: str | float) -> dict[str, Any]:
    if isinstance(value, str):
        return {"key": name, "value": {"stringValue": value}}
    whole = isinstance(value, int)
    return {"key": name, "value": {"intValue": str(value)} if whole else {"doubleValue": value}}
