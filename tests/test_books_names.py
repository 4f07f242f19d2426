"""Names of services, invoices in the layouts of four providers, and exports under the names that the world uses."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from sqlalchemy import text

from books_databases import postgres, where  # noqa: F401
from comptroller.books.export import focus, spans
from comptroller.books.invoices import CurrencyRates, read_invoice
from comptroller.books.ledger import CallLedger, CallQuote, ReservationPosting, SettlementPosting
from comptroller.books.meter_names import aws_line, azure_line
from comptroller.books.reconcile import ReconciliationLine, reconcile
from comptroller.books.service_names import ServiceNames, put_names, service_names
from comptroller.costs.rating import TokenUsage, pusd, rate
from comptroller.errors import RecordError
from comptroller.facts.prices import PriceBook, ProviderPrice
from comptroller.gateway.config import config_from_document
from comptroller.gateway.service import UpstreamService
from comptroller.work.call import Call

NOW = datetime(2026, 9, 21, 14, tzinfo=UTC)
DAY = "2026-09-21"


def price(provider: str, model: str) -> ProviderPrice:
    """Dollars per million: input 1, cached 0.10, cache write 1.25, output 2."""
    rates = {"input_tokens": "1", "cache_read_tokens": "0.10", "cache_write_tokens": "1.25", "output_tokens": "2"}
    steps = {unit: ((0, Decimal(word) * 10**6),) for unit, word in rates.items()}
    return ProviderPrice(provider, model, "standard", date(2026, 1, 1), steps, "test")


@pytest.fixture
def ledger(where: str) -> Iterator[CallLedger]:  # noqa: F811
    with CallLedger.open(where, lambda: round(NOW.timestamp() * 1e6)) as books:
        yield books


def book(ledger: CallLedger, service: str, usage: TokenUsage, at: ProviderPrice, **about: object) -> None:
    receipt = rate(usage, at)
    about = {"request": ledger.new_id(), "key": "shop", "project": "web", "finish": "stop", "role": "solver"} | about
    call = Call(call=ledger.new_id(), service=service, **usage.call_tokens(), **about)  # type: ignore[arg-type]
    done = ledger.apply([ReservationPosting(call, CallQuote(receipt.pusd, None)), SettlementPosting(call, receipt)])
    assert done == [receipt.pusd, receipt.pusd]


LAYOUTS: Mapping[str, tuple[ServiceNames, str]] = {
    # uncached 1,000,000 / cached 500,000 / written 200,000 / output 100,000: $1 + $0.05 + $0.25 + $0.20 = $1.50
    "openai": (
        ServiceNames("big", "openai", "", "gpt-5-mini"),
        "start_time,end_time,start_time_iso,end_time_iso,amount_value,amount_currency,line_item,project_id\n"
        '1,2,2026-09-21T00:00:00+00:00,x,1.00,usd,"gpt-5-mini-2025-08-07, input",p\n'
        '1,2,2026-09-21T00:00:00+00:00,x,0.05,usd,"gpt-5-mini-2025-08-07, cached input",p\n'
        '1,2,2026-09-21T00:00:00+00:00,x,0.25,usd,"gpt-5-mini-2025-08-07, cache write input",p\n'
        '1,2,2026-09-21T00:00:00+00:00,x,0.20,usd,"gpt-5-mini-2025-08-07, output",p\n'
        "1,2,2026-09-22T00:00:00+00:00,x,,,,\n",
    ),
    "anthropic": (
        ServiceNames("big", "anthropic", "", "claude-sonnet-4-5"),
        "starting_at,ending_at,amount,currency,cost_type,model,token_type,service_tier\n"
        "2026-09-21T00:00:00Z,x,100.0,USD,tokens,claude-sonnet-4-5-20250929,uncached_input_tokens,standard\n"
        "2026-09-21T00:00:00Z,x,5,USD,tokens,claude-sonnet-4-5-20250929,cache_read_input_tokens,standard\n"
        "2026-09-21T00:00:00Z,x,25,USD,tokens,claude-sonnet-4-5-20250929,cache_creation.ephemeral_5m_input_tokens,x\n"
        "2026-09-21T00:00:00Z,x,20,USD,tokens,claude-sonnet-4-5-20250929,output_tokens,standard\n",
    ),
    "aws": (
        ServiceNames(
            "big", "aws", "anthropic", "anthropic.claude-sonnet-4-5-20250929-v1:0", "123", ("claude4.5sonnet",)
        ),
        "line_item_usage_start_date,line_item_line_item_type,line_item_usage_type,line_item_usage_amount,pricing_unit,"
        "line_item_unblended_cost,line_item_currency_code\n"
        "2026-09-21T03:00:00.000Z,Usage,USE1-Claude4.5Sonnet-input-tokens,1000,1K tokens,1.0,USD\n"
        "2026-09-21T04:00:00.000Z,Usage,USE1-Claude4.5Sonnet-cache-read-input-token-count,500,1K tokens,0.05,USD\n"
        "2026-09-21T05:00:00.000Z,Usage,USE1-Claude4.5Sonnet-cache-write-input-token-count,200,1K tokens,0.25,USD\n"
        "2026-09-21T06:00:00.000Z,Usage,USE1-Claude4.5Sonnet-output-tokens,100,1K tokens,0.2,USD\n"
        "2026-09-21T06:00:00.000Z,Tax,USE1-Claude4.5Sonnet-output-tokens,,,0.3,USD\n"
        "2026-09-21T06:00:00.000Z,Credit,USE1-Claude4.5Sonnet-output-tokens,,,-0.4,USD\n",
    ),
    "aws marketplace": (
        ServiceNames("big", "aws", "anthropic", "claude-haiku-4.5", "123"),
        "line_item_usage_start_date,line_item_line_item_type,line_item_usage_type,line_item_usage_amount,pricing_unit,"
        "line_item_unblended_cost,line_item_currency_code,product\n"
        + "".join(
            f"2026-09-21T03:00:00.000Z,Usage,USE1-MP:USE1_{kind}TokenCount-Units,{millions},Units,{usd},USD,"
            '"{""product_name"": ""Claude Haiku 4.5 (Amazon Bedrock Edition)""}"\n'
            for kind, millions, usd in (
                ("Input", 1, "1.0"),
                ("CacheReadInput", 0.5, "0.05"),
                ("CacheWriteInput", 0.2, "0.25"),
                ("Output", 0.1, "0.2"),
            )
        ),
    ),
    "azure": (
        ServiceNames("big", "azure", "openai", "gpt-5.6-luna"),
        "Date,MeterCategory,MeterSubCategory,MeterName,Quantity,UnitOfMeasure,CostInBillingCurrency,"
        "BillingCurrencyCode,ChargeType\n"
        "09/21/2026,Foundry Models,Azure OpenAI GPT5,5.6 luna ShortCo Inp Std DZ 1M Tokens,1,1M,0.80,EUR,Usage\n"
        "09/21/2026,Foundry Models,Azure OpenAI GPT5,5.6 luna ShortCo Cd Inp Std DZ 1M Tokens,0.5,1M,0.04,EUR,Usage\n"
        "09/21/2026,Foundry Models,Azure OpenAI GPT5,5.6 luna ShortCo Cd Wr Std DZ 1M Tokens,0.2,1M,0.20,EUR,Usage\n"
        "09/21/2026,Foundry Models,Azure OpenAI GPT5,5.6 luna ShortCo Outp Std DZ 1M Tokens,0.1,1M,0.16,EUR,Usage\n",
    ),
    "azure by meters": (
        ServiceNames("big", "azure", "openai", "my-deployment", "", ("gpt 4o 0806 Inp glbl Tokens",)),
        "date,meterName,quantity,unitOfMeasure,costInBillingCurrency,billingCurrency,chargeType\n"
        "09/21/2026,gpt 4o 0806 Inp glbl Tokens,1000,1K,0.80,EUR,Usage\n"
        "09/21/2026,gpt 4o 0806 cchd Inp glbl Tokens,500,1K,0.04,EUR,Usage\n"
        "09/21/2026,gpt 4o 0806 cchd Wr glbl Tokens,200,1K,0.20,EUR,Usage\n"
        "09/21/2026,gpt 4o 0806 Outp glbl Tokens,100,1K,0.16,EUR,Usage\n",
    ),
}
RATES = CurrencyRates({"EUR": {date(2026, 9, 18): Decimal("1.25")}})


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_invoice_is_matched_to_the_cent_in_each_layout(ledger: CallLedger, layout: str, tmp_path: Path) -> None:
    names, told = LAYOUTS[layout]
    put_names(ledger, names)
    book(ledger, "big", TokenUsage(1_000_000, 100_000, cached=500_000, cache_write=200_000), price("own", "x"))
    book(ledger, "local", TokenUsage(10, 10), price("own", "y"))
    put_names(ledger, ServiceNames("local", "elsewhere", "", "qwen"))
    file = tmp_path / "invoice.csv"
    file.write_text(told, encoding="utf-8")
    (item,) = reconcile(ledger, read_invoice(file, RATES))
    assert item.line == (DAY, "big", "")
    if "tokens" in told or "units" in told.lower():  # those that count tokens: each kind is understood
        assert item.tokens in (0, None) and item.caching in (0, None) and item.price in (0, None)
        assert (item.tokens is None) == (layout in ("openai", "anthropic")), "explained where tokens are told"
    assert item.invoice == item.meter == pusd("1.5"), "nothing differs, and other providers' services are left out"
    assert (item.tax, item.credit) == ((pusd("0.3"), -pusd("0.4")) if layout == "aws" else (0, 0))


@pytest.mark.parametrize(
    ("usage_type", "model", "kind"),
    [
        ("USE1-openai.gpt-oss-120b-mantle-input-tokens-standard", "openai.gpt-oss-120b", "input"),
        ("USE1-gpt-oss-120b-output-tokens-priority", "gpt-oss-120b", "output"),
        ("USE1-Nova2.0Lite-input-tokens-flex", "nova2.0lite", "input"),
        ("USE1-Claude4.6Sonnet-input-tokens", "claude4.6sonnet", "input"),
        ("USE1-Claude4.6Sonnet-cache-read-input-token-count", "claude4.6sonnet", "cached"),
        ("USE1-Claude4.6Sonnet-output-tokens-cross-region-global", "claude4.6sonnet", "output"),
        ("APN1-NovaPro-cache-write-input-token-count", "novapro", "cache_write"),
        ("NovaMicro-output-tokens-batch", "novamicro", "output"),
        ("USE1-Claude-Provisioned-Throughput", "claude-provisioned-throughput", ""),
    ],
)
def test_usage_types_of_aws_as_documented(usage_type: str, model: str, kind: str) -> None:
    """The first six are the table of the Amazon Bedrock User Guide, "Understanding your Amazon Bedrock Cost and Usage
    Report data"; then its patterns of cache writes, tiers, and what counts no tokens."""
    assert aws_line(usage_type) == (model, kind)


@pytest.mark.parametrize(
    ("meter", "model", "kind"),
    [
        ("5.4 mini Inp Dz 1M Tokens", "gpt-5.4-mini", "input"),
        ("5.4 opt Dz 1M Tokens", "gpt-5.4", "output"),
        ("5.6 luna ShortCo Cd Wr Std DZ 1M Tokens", "gpt-5.6-luna", "cache_write"),
        ("GPT 5 Mini cchd Inpt DZone 1M Tokens", "gpt-5-mini", "cached"),
        ("GPT 5.1 cd inp Dz 1M Tokens", "gpt-5.1", "cached"),
        ("4.1 mini pp cd Inp Gl Tokens", "gpt-4.1-mini", "cached"),
        ("gpt 4o mini0718 BatchOutp DataZone Tokens", "gpt-4o-mini0718-batchoutp", "output"),
        ("text-embedding-3-small-glbl Tokens", "text-embedding-3-small", "input"),
        ("text embedding 3 large DZ Tokens", "text-embedding-3-large", "input"),
        ("gpt-4.1-nano FT Training global Tokens", "gpt-4.1-nano-ft-training", ""),
    ],
)
def test_meters_of_azure_as_listed(meter: str, model: str, kind: str) -> None:
    """Names of the Azure Retail Prices API (productName beginning with Azure OpenAI) of 2026-08-11."""
    assert azure_line(meter, "Azure OpenAI GPT5") == (model, kind)


def _differing(kind: str, count: int) -> str:
    head = "day,model,kind,tokens,usd\n"
    counts = {"uncached_input": 1_000_000, "cache_read_input_tokens": 500_000, "cache_creation_input_tokens": 200_000}
    counts |= {"output_tokens": 100_000}
    counts[kind] += count
    rates = {
        "uncached_input": 1,
        "cache_read_input_tokens": 0.1,
        "cache_creation_input_tokens": 1.25,
        "output_tokens": 2,
    }
    return head + "".join(f"{DAY},gpt-5,{kind},{n},{n * rates[kind] / 1e6:.6f}\n" for kind, n in counts.items())


@pytest.mark.parametrize(
    ("kind", "count", "part", "usd"),
    [
        ("uncached_input", 1000, "tokens", "0.001"),
        ("output_tokens", 1000, "tokens", "0.002"),
        ("cache_read_input_tokens", 0, "caching", "0"),
    ],
)
def test_every_difference_is_explained(
    ledger: CallLedger, kind: str, count: int, part: str, usd: str, tmp_path: Path
) -> None:
    put_names(ledger, ServiceNames("big", "openai", "", "gpt-5"))
    book(ledger, "big", TokenUsage(1_000_000, 100_000, cached=500_000, cache_write=200_000), price("own", "x"))
    file = tmp_path / "invoice.csv"
    file.write_text(_differing(kind, count), encoding="utf-8")
    (item,) = reconcile(ledger, read_invoice(file))
    assert item.invoice is not None and item.rest == 0
    assert item.invoice - item.meter == pusd(usd) == getattr(item, part)


def test_what_is_cached_elsewhere_is_a_difference_of_caching(ledger: CallLedger, tmp_path: Path) -> None:
    """The provider found 100,000 tokens of the prompt in no cache that we thought were in it."""
    put_names(ledger, ServiceNames("big", "openai", "", "gpt-5"))
    book(ledger, "big", TokenUsage(1_000_000, 0, cached=500_000), price("own", "x"))
    file = tmp_path / "invoice.csv"
    file.write_text(f"day,model,kind,tokens,usd\n{DAY},gpt-5,input,1100000,1.1\n{DAY},gpt-5,cached_input,400000,0.04\n")
    (item,) = reconcile(ledger, read_invoice(file))
    assert (item.tokens, item.caching, item.price, item.rest) == (0, pusd("0.09"), 0, 0)


def test_two_services_of_one_model_meet_the_invoice_as_one_line(ledger: CallLedger, tmp_path: Path) -> None:
    for name in ("east", "west"):
        put_names(ledger, ServiceNames(name, "openai", "", "gpt-5"))
        book(ledger, name, TokenUsage(1_000_000, 0), price("own", "x"))
    file = tmp_path / "invoice.csv"
    file.write_text(f"day,model,usd\n{DAY},gpt-5-2025-08-07,2\n")
    found: list[ReconciliationLine] = reconcile(ledger, read_invoice(file))
    assert [(item.line[1], item.invoice, item.meter) for item in found] == [("east + west", pusd("2"), pusd("2"))]


def test_days_are_those_of_utc_and_currencies_have_a_rate(tmp_path: Path) -> None:
    file = tmp_path / "invoice.csv"
    file.write_text("day,model,usd,currency\n2026-11-28T20:00:00-08:00,m,10,USD\n")
    assert list(read_invoice(file)) == [("2026-11-29", "m", "")]
    file.write_text("day,model,usd,currency\n2026-09-21,m,10,EUR\n")
    assert read_invoice(file, RATES)["2026-09-21", "m", ""].pusd == pusd("12.5")
    with pytest.raises(RecordError, match=r"EUR has no rate for 2026-09-21; give --rates"):
        read_invoice(file)
    file.write_text("day,model,usd,currency\n2026-10-21,m,10,EUR\n")
    with pytest.raises(RecordError, match="no rate"):
        read_invoice(file, RATES)
    file.write_text("day,currency,usd\n2026-09-18,EUR,one\n")
    with pytest.raises(RecordError, match="row 2"):
        CurrencyRates.read(file)


def test_a_gateway_s_service_says_what_it_is() -> None:
    document = {"url": "http://127.0.0.1:9", "model": "gpt-5-mini", "price": "openai/gpt-5-mini"}
    services = {
        "a": document,
        "b": document | {"dialect": "gemini", "price": None},
        "c": document | {"provider": "azure"},
    }
    made = config_from_document({"services": services}).services
    names = {name: UpstreamService(name, item).names for name, item in made.items()}
    assert [names[name].provider for name in "abc"] == ["openai", "google", "azure"]
    assert names["c"].provider_name == "Microsoft" and names["a"].convention == "openai"


def _is(pattern: str) -> Callable[[str], bool]:
    return lambda word: re.fullmatch(pattern, word) is not None


TIME, NUMBER = _is(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"), _is(r"-?\d+(\.\d+)?(E-?\d+)?")
RULES: Mapping[str, Callable[[str], bool]] = {
    **dict.fromkeys(("BilledCost", "ContractedCost", "EffectiveCost", "ListCost"), NUMBER),
    **dict.fromkeys(("BillingPeriodStart", "BillingPeriodEnd", "ChargePeriodStart", "ChargePeriodEnd"), TIME),
    **dict.fromkeys(("BillingAccountId", "ProviderName", "PublisherName", "InvoiceIssuerName", "ServiceName"), bool),
    "BillingAccountName": bool,
    "BillingCurrency": _is("[A-Z]{3}"),
    "ChargeCategory": _is("Usage|Purchase|Tax|Credit|Adjustment"),
    "ChargeClass": _is("|Correction"),
    "ChargeDescription": bool,
    "PricingQuantity": NUMBER,
    "PricingUnit": bool,
    "ServiceCategory": _is("AI and Machine Learning"),
}
"""Mandatory columns of FOCUS 1.2 and what its rules allow in them for a charge of use (focus.finops.org, 1.2)."""


def test_focus_holds_to_the_published_rules_under_the_worlds_names(ledger: CallLedger, tmp_path: Path) -> None:
    put_names(ledger, ServiceNames("big", "azure", "openai", "gpt-5-mini", "contract-7"))
    book(ledger, "big", TokenUsage(100, 10), price("own", "x"))
    book(
        ledger, "anthropic/claude-sonnet-4-5", TokenUsage(100, 10), PriceBook.read().price("openai/gpt-5", NOW), key=""
    )
    with (tmp_path / "focus.csv").open("w", newline="") as out:
        assert focus(ledger, out) == 2
    with (tmp_path / "focus.csv").open() as read:
        lines = {line["x_Model"]: line for line in csv.DictReader(read)}
    for line in lines.values():
        assert {name: line[name] for name, rule in RULES.items() if not rule(line[name])} == {}
        assert all(name in RULES or name.startswith("x_") or name in OPTIONAL for name in line)
        assert bool(line["SubAccountName"]) == bool(line["SubAccountId"])
        assert line["ChargePeriodStart"] < line["ChargePeriodEnd"] <= line["BillingPeriodEnd"]
    big = lines["big"]
    told = [big[name] for name in ("ProviderName", "PublisherName", "ServiceName", "BillingAccountId")]
    assert told == ["Microsoft", "OpenAI", "gpt-5-mini", "contract-7"]


OPTIONAL = {"ConsumedQuantity", "ConsumedUnit", "SubAccountId", "SubAccountName", "ServiceSubcategory"}


def test_spans_follow_the_conventions(ledger: CallLedger, tmp_path: Path) -> None:
    put_names(ledger, ServiceNames("big", "azure", "openai", "gpt-5-mini"))
    book(ledger, "big", TokenUsage(100, 10), price("own", "x"))
    book(ledger, "big", TokenUsage(100, 0), price("own", "x"), role="embedding", finish="cancelled")
    with (tmp_path / "spans.jsonl").open("w") as out:
        spans(ledger, out)
    (scoped,) = json.loads((tmp_path / "spans.jsonl").read_text())["resourceSpans"][0]["scopeSpans"]
    chat, embedding = ({item["key"]: item["value"] for item in span["attributes"]} for span in scoped["spans"])
    assert chat["gen_ai.provider.name"] == {"stringValue": "azure.ai.openai"}
    assert chat["gen_ai.operation.name"] == {"stringValue": "chat"} and "gen_ai.response.finish_reasons" in chat
    assert embedding["gen_ai.operation.name"] == {"stringValue": "embeddings"}
    assert "gen_ai.response.finish_reasons" not in embedding, "cancelled is no model's reason"
    assert [span["name"] for span in scoped["spans"]] == ["chat gpt-5-mini", "embeddings gpt-5-mini"]


def test_books_of_an_older_version_get_the_table(tmp_path: Path) -> None:
    file = str(tmp_path / "books.sqlite")
    with CallLedger.open(file) as books, books.engine.begin() as connection:
        connection.execute(text("DROP TABLE service"))
        connection.execute(text("DELETE FROM migration WHERE name = '0002_service_names'"))
    with CallLedger.open(file) as books:
        put_names(books, ServiceNames("a", "openai"))
        assert service_names(books)["a"].provider == "openai"
