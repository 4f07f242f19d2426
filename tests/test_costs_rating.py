"""Rating against published billing bugs, against genai-prices as an oracle, and against files of the user's own."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from genai_prices import Usage as TheirUsage
from genai_prices.data_snapshot import get_snapshot
from hypothesis import given, settings
from hypothesis import strategies as st

from comptroller.costs.rating import PUSD, TokenUsage, pusd, rate, worst_case
from comptroller.costs.usage import parse_usage
from comptroller.errors import FactError, InputError, UnsupportedError
from comptroller.facts.prices import PriceBook, ProviderPrice

NOW = datetime(2026, 11, 21, tzinfo=UTC)


def listed(**usd: str) -> ProviderPrice:
    words = {"input": "input_tokens", "output": "output_tokens", "cached": "cache_read_tokens"}
    words |= {"written": "cache_write_tokens", "hour": "cache_write_1h_tokens", "reasoning": "output_reasoning_tokens"}
    rates = {words[name]: ((0, Decimal(value) * 10**6),) for name, value in usd.items()}
    return ProviderPrice("p", "m", "standard", None, rates, "as the issue gives them")


def chat(prompt: int, completion: int, cached: int = 0, reasoning: int = 0) -> dict[str, object]:
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": cached},
        "completion_tokens_details": {"reasoning_tokens": reasoning},
    }


ANTHROPIC = {
    "input_tokens": 10,
    "cache_read_input_tokens": 66360,
    "cache_creation_input_tokens": 32435,
    "output_tokens": 5120,
}
GEMINI_25 = listed(input="1.25", cached="0.625", output="10")
VECTORS = [
    ("litellm#14849 cached tokens charged twice: 0.7642", chat(262960, 1744, 257955), GEMINI_25, "0.184918125"),
    ("litellm#6215 cached inside", chat(2006, 300, 1920), listed(input="2.5", cached="1.25", output="10"),
     "0.005615"),
    ("litellm#15945 gpt-5", chat(9126, 3197, 4864), listed(input="1.25", cached="0.125", output="10"),
     "0.0379055"),
    ("litellm#31714 full rate", chat(27147, 351, 27146), listed(input="1.4", cached="0.26", output="4.4"),
     "0.00860376"),
    ("litellm#11364 Anthropic cache writes left out: 0.04708", ANTHROPIC,
     listed(input="5", cached="0.5", written="6.25", output="25"), "0.36394875"),
    ("tokscale#1142 reasoning on top of the output that holds it",
     {"input_tokens": 16845360, "input_tokens_details": {"cached_tokens": 16358912}, "output_tokens": 63820,
      "output_tokens_details": {"reasoning_tokens": 24882}, "total_tokens": 16909180},
     listed(input="1.25", cached="0.125", output="10"), "3.291124"),
    ("opencode#17566 twice: 1.04", chat(14746, 1944, 0, 1360), listed(input="30", output="180"), "0.7923"),
    ("opik#7777 own rate", chat(100, 1000, 0, 900), listed(input="2", output="8", reasoning="3"), "0.0037"),
    ("litellm#37992 zero that is written is zero", chat(0, 0), GEMINI_25, "0"),
    ("deepseek's own cache field", {"prompt_tokens": 1000, "completion_tokens": 10, "prompt_cache_hit_tokens": 600},
     listed(input="0.27", cached="0.07", output="1.1"), "0.000161"),
    ("Gemini: thoughts beside the candidates",
     {"promptTokenCount": 1000, "cachedContentTokenCount": 400, "candidatesTokenCount": 50, "thoughtsTokenCount": 150},
     GEMINI_25, "0.003"),
    ("Anthropic: an hour in the cache", {"input_tokens": 0, "output_tokens": 0, "cache_creation_input_tokens": 300,
     "cache_creation": {"ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 200}},
     listed(input="3", written="3.75", hour="6", output="15"), "0.001575"),
]  # fmt: skip


@pytest.mark.parametrize(("usage", "price", "usd"), [v[1:] for v in VECTORS], ids=[v[0] for v in VECTORS])
def test_published_billing_bugs(usage: dict[str, object], price: ProviderPrice, usd: str) -> None:
    assert rate(parse_usage(usage), price).pusd == pusd(usd)


def test_a_tier_goes_by_the_whole_prompt_cached_tokens_included() -> None:
    # Helicone#5730: 240k cached tokens of a 250k prompt pay the long price, 0.144, not 0.072
    rates = {"input_tokens": ((0, Decimal(3_000_000)), (200_000, Decimal(6_000_000)))}
    rates |= {"cache_read_tokens": ((0, Decimal(300_000)), (200_000, Decimal(600_000)))}
    sonnet = ProviderPrice("anthropic", "claude-sonnet-4", "standard", None, rates, "as the issue gives them")
    assert rate(TokenUsage(10_000, 0, cached=240_000), sonnet).pusd == pusd("0.144") + pusd("0.06")
    gemini = PriceBook.read().price("google/gemini-2.5-pro", NOW)
    assert (rate(TokenUsage(200_000, 0), gemini).pusd, rate(TokenUsage(200_001, 0), gemini).pusd) == (
        pusd("0.25"),
        pusd("0.5000025"),
    )


def test_missing_usage_is_an_error_and_so_is_a_report_of_less_than_arrived() -> None:
    for missing in (None, {}, {"prompt_tokens": 5}, {"completion_tokens": 5}, {"promptTokenCount": 5}):
        with pytest.raises(UnsupportedError, match="reported no"):
            parse_usage(missing)
    one_of_three = chat(12, 40)  # a server that counts the first of n = 3 choices
    with pytest.raises(UnsupportedError, match="40 output tokens, 121 arrived"):
        parse_usage(one_of_three, counted_output=121)
    for wrong in (chat(10, 5, cached=11), chat(10, 5, reasoning=6), chat(-1, 5), {**chat(1, 1), "prompt_tokens": "7"}):
        with pytest.raises(InputError):
            parse_usage(wrong)


TIERS = ("standard", "batch")
COUNTS = st.integers(0, 300_000)
MODELS = [
    (provider, model)
    for provider in get_snapshot().providers
    for model in provider.models
    if provider.id in {"openai", "anthropic", "google", "aws", "mistral", "deepseek", "perplexity", "x-ai"}
]


@settings(max_examples=300, deadline=None)
@given(
    which=st.integers(0, len(MODELS) - 1), counts=st.tuples(*[COUNTS] * 6), tier=st.sampled_from(("standard", "batch"))
)
def test_the_same_dollars_as_genai_prices(which: int, counts: tuple[int, ...], tier: str) -> None:
    provider, model = MODELS[which]
    fresh, cached, written, hour, output, reasoning = counts
    try:
        price = PriceBook.read().price(f"{provider.id}/{model.id}", NOW, tier)
    except UnsupportedError:
        return
    prompt = fresh + cached + written + hour
    theirs = {"input_tokens": prompt, "output_tokens": output + reasoning, "cache_read_tokens": cached}
    theirs |= {
        "cache_write_tokens": written + hour,
        "cache_write_1h_tokens": hour,
        "output_reasoning_tokens": reasoning,
    }
    context = {"processing": "batch"} if tier == "batch" else None
    found, matched = get_snapshot().find_provider_model(model.id, None, provider.id, None)
    expected = matched.calc_price(TheirUsage(**theirs), found, genai_request_timestamp=NOW, price_context=context)
    try:
        ours = rate(TokenUsage(fresh, output, cached, written, hour, reasoning), price)
    except UnsupportedError:  # they give it away, or sell it at the price of a parent or of another tier
        used = TokenUsage(fresh, output, cached, written, hour, reasoning).counts()
        assert any(not price.rates.get(unit) for unit in used)
        return
    assert ours.pusd is not None and abs(ours.pusd - expected.total_price * PUSD) <= 1


def test_history_is_kept_and_each_price_knows_its_day() -> None:
    book = PriceBook.read()
    before = book.price("openai/o3", datetime(2025, 5, 1, tzinfo=UTC))
    after = book.price("openai/o3", datetime(2025, 7, 1, tzinfo=UTC))
    tokens = TokenUsage(1_000_000, 0)
    assert (rate(tokens, before).pusd, rate(tokens, after).pusd) == (pusd(10), pusd(2))
    assert after.since == date(2025, 6, 10) and before.id != after.id and ProviderPrice.parse(after.document) == after


def test_an_unknown_model_or_tier_is_named_never_free() -> None:
    book = PriceBook.read()
    with pytest.raises(UnsupportedError, match=r"no price for openai/gpt-99; nearest: openai/"):
        book.price("openai/gpt-99", NOW)
    with pytest.raises(UnsupportedError, match="no price for nobody/x"):
        book.price("nobody/x", NOW)
    with pytest.raises(InputError, match="allowed are standard, batch"):
        book.price("openai/gpt-5", NOW, "gold")
    with pytest.raises(UnsupportedError, match="no priority price for mistral/"):
        book.price("mistral/mistral-large-latest", NOW, "priority")
    batch, whole = (book.price("openai/gpt-5", NOW, tier) for tier in ("batch", "standard"))
    assert rate(TokenUsage(1000, 1000), batch).pusd * 2 == rate(TokenUsage(1000, 1000), whole).pusd


def test_what_the_list_does_not_price_is_unknown_never_at_its_parents_price() -> None:
    plain = listed(input="1", output="2")
    for unit in (
        "input_audio_tokens", "output_audio_tokens", "input_image_tokens", "output_image_tokens", "input_video_tokens",
        "output_citation_tokens", "images",
    ):  # fmt: skip
        with pytest.raises(UnsupportedError, match=f"p/m: no price for {unit}"):
            rate(TokenUsage(100, 10, other={unit: 5}), plain)
    for used in (TokenUsage(1, 1, cache_write=1), TokenUsage(1, 1, cache_write_1h=1)):
        with pytest.raises(UnsupportedError, match="no price for cache_write"):
            rate(used, plain)
    with pytest.raises(UnsupportedError, match="no price for cache_write_1h_tokens"):
        rate(TokenUsage(1, 1, cache_write_1h=1), listed(input="1", output="2", written="1.25"))
    # a cached prompt is a prompt, reasoning is output: both stand in what the list prices
    assert rate(TokenUsage(10, 10, cached=90, reasoning=40), plain).pusd == pusd("0.0002")
    assert worst_case(plain, 100, 10) == pusd("0.00012") and worst_case(listed(input="1"), 100, 0) == pusd("0.0001")


def test_audio_is_sold_at_the_price_of_audio_or_at_none() -> None:
    book, heard = PriceBook.read(), TokenUsage(100, 1000, other={"input_audio_tokens": 900})
    assert rate(heard, book.price("google/gemini-2.5-flash", NOW)).pusd == pusd("0.00343")
    with pytest.raises(UnsupportedError, match="gpt-4o-audio-preview: no price for input_audio_tokens"):
        rate(heard, book.price("openai/gpt-4o-audio-preview", NOW))


def test_a_tier_sells_only_what_it_lists_itself() -> None:
    batch, whole = (PriceBook.read().price("google/gemini-2.5-flash", NOW, tier) for tier in ("batch", "standard"))
    assert rate(TokenUsage(1000, 1000), batch).pusd * 2 == rate(TokenUsage(1000, 1000), whole).pusd
    assert batch.rate("web_searches", 0) == whole.rate("web_searches", 0)
    assert rate(TokenUsage(0, 0, cached=1000), whole).pusd
    with pytest.raises(UnsupportedError, match="no price for cache_read_tokens"):
        rate(TokenUsage(0, 0, cached=1000), batch)
    assert ProviderPrice.parse(batch.document) == batch


def test_an_own_list_prices_the_tiers_that_it_names(tmp_path: Path) -> None:
    file = tmp_path / "prices.toml"
    file.write_text(OWN + 'audio = "9.00"\n')
    book = PriceBook.read([file])
    june = book.price("openai/gpt-5", datetime(2026, 6, 15, tzinfo=UTC))
    assert rate(TokenUsage(0, 0, other={"input_audio_tokens": 1000}), june).pusd == pusd("0.009")
    with pytest.raises(UnsupportedError, match="no priority price for openai/gpt-5 in contract 7"):
        book.price("openai/gpt-5", datetime(2026, 6, 15, tzinfo=UTC), "priority")
    # before the contract the public list is in force, and says nothing of a tier that began later
    with pytest.raises(UnsupportedError, match=r"no priority price for openai/gpt-5$"):
        book.price("openai/gpt-5", datetime(2026, 2, 15, tzinfo=UTC), "priority")
    assert book.price("openai/gpt-5", NOW.replace(year=2027), "standard").source == "contract 8"


OWN = """
[[prices]]
provider = "openai"
model = "gpt-5"
since = 2026-03-01
source = "contract 7"
input = "1.00"
output = "8.00"
cached = "0.10"
image = "0.04"
request = "0.001"
above = [{ tokens = 128000, input = "2.00", output = "12.00" }]

[[prices]]
provider = "openai"
model = "gpt-5"
since = 2026-06-01
source = "contract 8"
input = "0.90"
output = "7.00"
"""


def test_the_users_own_entries_go_before_and_are_dated(tmp_path: Path) -> None:
    file = tmp_path / "prices.toml"
    file.write_text(OWN)
    book = PriceBook.read([file])
    listed, march, june = (book.price("openai/gpt-5", datetime(2026, m, 15, tzinfo=UTC)) for m in (2, 3, 6))
    assert (listed.source[:12], march.source, june.source) == ("genai-prices", "contract 7", "contract 8")
    used = TokenUsage(1000, 100, cached=500, other={"images": 2})
    assert rate(used, march).pusd == pusd("0.08285") and rate(used, march).extra == '{"images": 2}'
    assert rate(TokenUsage(128_001, 0), march).pusd == pusd("0.257002")
    with pytest.raises(UnsupportedError, match="no price for images"):
        rate(used, june)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (('input = "1.00"', "input = 1.0"), r"prices\.0\.input: 1\.0 is no price"),
        (('input = "1.00"', 'input = "-1"'), "is no price"),
        (('input = "1.00"', 'inptu = "1"'), r"prices\.0\.inptu: unknown key \(allowed: above"),
        (("since = 2026-03-01", ""), "needs a day and a source"),
        (('input = "1.00"\noutput = "8.00"', ""), "no price for short prompts: input_tokens, output_tokens"),
        (('model = "gpt-5"', ""), "needs provider and model"),
        (("[[prices]]", "[[price]]"), "must be entries"),
    ],
)
def test_a_wrong_price_file_names_the_entry(tmp_path: Path, change: tuple[str, str], named: str) -> None:
    file = tmp_path / "prices.toml"
    file.write_text(OWN.replace(*change))
    with pytest.raises(FactError, match=named):
        PriceBook.read([file])


@given(counts=st.tuples(*[st.integers(0, 250_000)] * 6), choices=st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_no_call_costs_more_than_its_worst_case(counts: tuple[int, ...], choices: int) -> None:
    fresh, cached, written, hour, output, reasoning = counts
    used = TokenUsage(fresh, output, cached, written, hour, reasoning)
    for service in (
        "google/gemini-2.5-pro",
        "anthropic/claude-opus-4-5",
        "openai/gpt-5",
        "perplexity/sonar-deep-research",
    ):
        price = PriceBook.read().price(service, NOW)
        limit = -(-used.output_tokens // choices)
        if any(price.listed(unit) is None for unit in used.counts()):
            continue  # no known price, so nothing to bound
        assert rate(used, price).pusd <= worst_case(price, used.prompt_tokens, limit, choices)


def test_money_is_exact() -> None:
    assert pusd("0.1") + pusd("0.2") == pusd("0.3")
    for wrong in ("0.0000000000001", "ten", "NaN", "Infinity"):
        with pytest.raises(InputError):
            pusd(wrong)


DIALECTS: list[tuple[str, dict[str, object], dict[str, int]]] = [
    ("OpenAI Responses: of 2,600 input 2,000 cached and 400 written",
     {"input_tokens": 2600, "output_tokens": 10, "total_tokens": 2610,
      "input_tokens_details": {"cached_tokens": 2000, "cache_write_tokens": 400}},
     {"input_tokens": 200, "cache_read_tokens": 2000, "cache_write_tokens": 400, "output_tokens": 10}),
    ("OpenAI chat: audio in and out",
     {"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150, "prompt_tokens_details": {"audio_tokens": 80},
      "completion_tokens_details": {"audio_tokens": 30, "reasoning_tokens": 0}},
     {"input_tokens": 20, "input_audio_tokens": 80, "output_tokens": 20, "output_audio_tokens": 30}),
    ("Anthropic: cache read and written, kept for 5 minutes and an hour, with searches",
     {"input_tokens": 50, "output_tokens": 9, "cache_read_input_tokens": 1000, "cache_creation_input_tokens": 300,
      "cache_creation": {"ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 200},
      "server_tool_use": {"web_search_requests": 2}, "service_tier": "standard"},
     {"input_tokens": 50, "cache_read_tokens": 1000, "cache_write_tokens": 100, "cache_write_1h_tokens": 200,
      "output_tokens": 9, "web_searches": 2}),
    ("Gemini: prompts of tools and thoughts beside the parts",
     {"promptTokenCount": 100, "candidatesTokenCount": 20, "thoughtsTokenCount": 30, "toolUsePromptTokenCount": 7,
      "totalTokenCount": 157, "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 40},
                                                      {"modality": "AUDIO", "tokenCount": 60}]},
     {"input_tokens": 47, "input_audio_tokens": 60, "output_tokens": 20, "output_reasoning_tokens": 30}),
    ("Bedrock: the cache beside the input",
     {"inputTokens": 10, "outputTokens": 5, "totalTokens": 115, "cacheReadInputTokens": 80,
      "cacheWriteInputTokens": 20},
     {"input_tokens": 10, "cache_read_tokens": 80, "cache_write_tokens": 20, "output_tokens": 5}),
    ("DeepSeek: hits of the cache", {"prompt_tokens": 90, "completion_tokens": 5, "total_tokens": 95,
                                     "prompt_cache_hit_tokens": 64, "prompt_cache_miss_tokens": 26},
     {"input_tokens": 26, "cache_read_tokens": 64, "output_tokens": 5}),
    ("xAI Responses: reasoning beside the output",
     {"input_tokens": 32, "output_tokens": 9, "total_tokens": 335, "output_tokens_details": {"reasoning_tokens": 294}},
     {"input_tokens": 32, "output_tokens": 9, "output_reasoning_tokens": 294}),
]  # fmt: skip


@pytest.mark.parametrize(("usage", "counts"), [case[1:] for case in DIALECTS], ids=[case[0] for case in DIALECTS])
def test_each_provider_s_usage_is_read_in_its_own_dialect(usage: dict[str, object], counts: dict[str, int]) -> None:
    made = parse_usage(usage)
    assert made.counts() == counts
    assert TokenUsage.of_call(made.call_tokens(), made.extra) == made


@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 14},
        {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 17},
        {"promptTokenCount": 10, "candidatesTokenCount": 5, "thoughtsTokenCount": 3, "totalTokenCount": 19},
        {"input_tokens": 5, "output_tokens": 5, "cache_creation": {"ephemeral_1h_input_tokens": 3}},
        {"prompt_tokens": float("inf"), "completion_tokens": 5},
        {"prompt_tokens": 100, "completion_tokens": 5, "total_tokens": 105,
         "prompt_tokens_details": {"cached_tokens": 50, "audio_tokens": 20}},
    ],
)  # fmt: skip
def test_what_does_not_add_up_is_an_error_and_not_cheap(usage: dict[str, object]) -> None:
    with pytest.raises((InputError, UnsupportedError)):
        parse_usage(usage)
