"""What the world calls a service: provider, publisher, model and billing account, beside its id in the books."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import func, select

from comptroller.books import schema
from comptroller.books.clock import now_us
from comptroller.books.ledger import CallLedger
from comptroller.books.meter_names import azure_line
from comptroller.books.schema import account, entry
from comptroller.facts.prices import ProviderPrice

PROVIDERS: Mapping[str, tuple[str, str]] = {
    "anthropic": ("Anthropic", "anthropic"),
    "aws": ("AWS", "aws.bedrock"),
    "azure": ("Microsoft", "azure.ai.openai"),
    "cohere": ("Cohere", "cohere"),
    "deepseek": ("DeepSeek", "deepseek"),
    "google": ("Google", "gcp.gemini"),
    "groq": ("Groq", "groq"),
    "mistral": ("Mistral AI", "mistral_ai"),
    "openai": ("OpenAI", "openai"),
    "openrouter": ("OpenRouter", "openrouter"),
    "perplexity": ("Perplexity", "perplexity"),
    "x-ai": ("xAI", "x_ai"),
}
"""Id of a provider in the price books -> its name, and the value of `gen_ai.provider.name` that OpenTelemetry's
conventions for generative AI list for it."""
OWN = "own"
"""Provider of a price that an operator wrote: it names no company."""
_DATED = re.compile(r"[-@](20\d{6}|20\d\d-\d\d-\d\d|latest)$")
_VERSIONED = re.compile(r"-v\d+(:\d+)?$")


@dataclass(frozen=True, slots=True)
class ServiceNames:
    """Names of one service. provider: id in the price books, or any name; empty where it is unknown.

    publisher: who made the model; the provider where empty.  model: the provider's name of it.
    account: that is billed.  aliases: what else invoices call it.
    """

    service: str
    provider: str = ""
    publisher: str = ""
    model: str = ""
    account: str = ""
    aliases: tuple[str, ...] = ()

    @property
    def provider_name(self) -> str:
        """The provider's name as it writes it; the service's id where it is unknown."""
        return _name(self.provider) or self.service

    @property
    def publisher_name(self) -> str:
        """Who made the model."""
        return _name(self.publisher) or self.provider_name

    @property
    def convention(self) -> str:
        """The value of `gen_ai.provider.name`."""
        return PROVIDERS[self.provider][1] if self.provider in PROVIDERS else self.provider or self.service

    @property
    def known_as(self) -> frozenset[str]:
        """Under which names an invoice may speak of it, in the form of `model_key`."""
        meters = [azure_line(alias)[0] for alias in self.aliases] if self.provider == "azure" else []
        return frozenset(map(model_key, (self.service, self.model, *self.aliases, *meters)))


def _name(provider: str) -> str:
    return PROVIDERS[provider][0] if provider in PROVIDERS else provider


def model_key(name: str) -> str:
    """A model's name without its provider, date and version, in small letters.

    >>> [model_key(name) for name in ("gpt-5-mini-2025-08-07", "openai/gpt-5-mini", "Claude-Sonnet-4-5@20250929")]
    ['gpt-5-mini', 'gpt-5-mini', 'claude-sonnet-4-5']
    """
    bare = _VERSIONED.sub("", name.strip().lower().rpartition("/")[2])
    return _DATED.sub("", bare)


def put_names(ledger: CallLedger, names: ServiceNames) -> None:
    """Keeps the names of a service; the last that were told count."""
    table = schema.service
    values = {name: getattr(names, name) for name in ("provider", "publisher", "model", "account")}
    values |= {"aliases": json.dumps(names.aliases), "at_us": now_us()}
    with schema.refusals("names"), schema.writing(ledger.engine) as connection:
        if not connection.execute(table.update().where(table.c.id == names.service).values(values)).rowcount:
            connection.execute(table.insert().values(id=names.service, **values))


def service_names(ledger: CallLedger) -> dict[str, ServiceNames]:
    """Service -> its names: as they were told, else those of the price of most of its rows, else its id's."""
    told = schema.service
    priced = (
        select(account.c.service, entry.c.price, func.count().label("rows"))
        .join_from(entry, account, account.c.id == entry.c.account)
        .where(entry.c.price != "")
        .group_by(account.c.service, entry.c.price)
    )
    with schema.refusals("names"), ledger.engine.connect() as connection:
        services = sorted(connection.scalars(select(account.c.service).distinct()))
        rows = {row.id: row for row in connection.execute(select(told))}
        charged = sorted(connection.execute(priced).all(), key=lambda row: row.rows)
        documents = {row.id: row.document for row in connection.execute(select(schema.price))}
    prices = {row.service: ProviderPrice.parse(documents[row.price]) for row in charged}
    found = {name: _names_of(name, prices.get(name)) for name in services}
    for name, row in rows.items():
        aliases = tuple(json.loads(row.aliases or "[]"))
        found[name] = ServiceNames(name, row.provider, row.publisher, row.model, row.account, aliases)
    return found


def _names_of(service: str, price: ProviderPrice | None) -> ServiceNames:
    provider, slash, model = service.partition("/")
    if price is not None and price.provider != OWN:
        return ServiceNames(service, price.provider, "", price.model)
    return ServiceNames(service, provider if slash else "", "", model if slash else service)
