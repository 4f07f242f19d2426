"""Lines of the invoices of AWS and Azure, which write model and kind of tokens into one name.

AWS: Amazon Bedrock User Guide, "Understanding your Amazon Bedrock Cost and Usage Report data": usage types are
REGION-MODEL-TOKENS, with the tier or the routing behind. Models that are sold through AWS Marketplace
(USE1-MP:USE1_InputTokenCount-Units, in the public price list) are named by the product alone, in millions of tokens.
Azure: meters of the Azure Retail Prices API (prices.azure.com, as of 2026-08-11), whose words differ between models:
`Inp`, `Inpt`, `input`; `Outp`, `opt`, `out`; `cchd`, `cd`, `cached`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

AWS_KINDS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("cached", ("cache-read", "cacheread", "cache_read")),
    ("cache_write", ("cache-write", "cachewrite", "cache_write")),
    ("output", ("output-token", "outputtoken", "output_token")),
    ("input", ("input-token", "inputtoken", "input_token")),
)
"""Kind of tokens -> what names it in a usage type; the first that is found counts."""
AZURE_KINDS: tuple[tuple[str, frozenset[str]], ...] = (
    ("cache_write", frozenset({"wr", "write"})),
    ("cached", frozenset({"cchd", "cd", "cached", "cach", "cache", "ch"})),
    ("output", frozenset({"opt", "outp", "outpt", "out", "output"})),
    ("input", frozenset({"inp", "inpt", "input", "in"})),
)
"""Kind of tokens -> the words of a meter that name it; the first that is found counts."""
AZURE_PLACES = frozenset({
    *("dzone", "dz", "dzn", "datazone", "data", "zone", "glbl", "global", "gl", "regnl", "rgnl", "regional"),
    *("batch", "pp", "std", "longco", "shortco"),
})  # fmt: skip
"""Words of a meter that name where, when and how it was served."""
AZURE_UNITS = frozenset({"tokens", "token", "tkn", "1m", "1k", "unit", "units"})
_REGION = re.compile(r"^[A-Z]{2,4}\d?-")
_AWS_TAIL = re.compile(r"(-mantle)?-(cache-(read|write)-)?(input|output)-token.*$")
_EDITION = re.compile(r"\s*\(Amazon Bedrock Edition\)$", re.IGNORECASE)
_MONTH_DAY = re.compile(r"-(0[1-9]|1[0-2])[0-3]\d(?=-|$)")


def aws_line(usage_type: str, product: str = "") -> tuple[str, str]:
    """Model and kind of tokens of a usage type. product: its name, or the report's column `product` (JSON), which
    tells the model of what was bought through AWS Marketplace.

    >>> aws_line("USE1-Claude4.6Sonnet-cache-read-input-token-count")
    ('claude4.6sonnet', 'cached')
    >>> aws_line("USE1-openai.gpt-oss-120b-mantle-input-tokens-standard")
    ('openai.gpt-oss-120b', 'input')
    >>> aws_line("USE1-MP:USE1_OutputTokenCount-Units", '{"product_name": "Claude Haiku 4.5 (Amazon Bedrock Edition)"}')
    ('claude-haiku-4.5', 'output')
    """
    lowered = usage_type.lower()
    kind = next((kind for kind, words in AWS_KINDS if any(word in lowered for word in words)), "")
    if "-mp:" in lowered or lowered.startswith("mp:") or "_tokens_" in lowered:
        named = _EDITION.sub("", _product_name(product)).strip()
        return named.lower().replace(" ", "-") or usage_type, kind
    return _AWS_TAIL.sub("", _REGION.sub("", usage_type, count=1).lower()), kind


def aws_unit(usage_type: str) -> int:
    """Tokens in one unit of a line of AWS Marketplace, which counts millions; 0 for other lines, which say theirs."""
    return 10**6 if usage_type.lower().endswith("-units") else 0


def _product_name(product: str) -> str:
    try:
        told = json.loads(product) if product.startswith("{") else product
    except json.JSONDecodeError:
        return product
    return str(told.get("product_name", "")) if isinstance(told, Mapping) else str(told)


def azure_line(meter: str, subcategory: str = "") -> tuple[str, str]:
    """Model, without the day of its version, and kind of tokens of a meter. subcategory: `MeterSubCategory`, which
    tells that 5.4 is a GPT. A meter without a direction is that of an embedding, or no token's.

    >>> azure_line("gpt 4o 0806 Outp glbl Tokens"), azure_line("GPT 5 Mini cchd Inpt DZone 1M Tokens")
    (('gpt-4o', 'output'), ('gpt-5-mini', 'cached'))
    >>> azure_line("5.4 opt Dz 1M Tokens", "Azure OpenAI GPT5"), azure_line("text-embedding-3-small-glbl Tokens")
    (('gpt-5.4', 'output'), ('text-embedding-3-small', 'input'))
    """
    words = [word for word in re.split(r"[\s_-]+", meter.strip().lower()) if word]
    there = set(words)
    kind = next((kind for kind, names in AZURE_KINDS if names & there), "") or _direction_at_end(words)
    if not kind and "embedding" in there:
        kind = "input"
    told = AZURE_PLACES | AZURE_UNITS | frozenset().union(*(names for _, names in AZURE_KINDS))
    model = "-".join(word for word in words if word not in told)
    if model[:1].isdigit() and "openai" in subcategory.lower():
        model = f"gpt-{model}"
    return _MONTH_DAY.sub("", model) or meter, kind


def _direction_at_end(words: list[str]) -> str:
    """The direction of a meter whose words were written as one: `BatchOutp`, `realtimePrvwAudInp`."""
    return next(
        (kind for kind, end in (("output", "outp"), ("input", "inp")) for word in words if word.endswith(end)), ""
    )
