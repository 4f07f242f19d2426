"""What a gateway is told: services, limits, guard, books. One TOML file; see docs/gateway.md."""

from __future__ import annotations

import copy
import difflib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct, field

from comptroller.errors import FactError, InputError, one_error
from comptroller.facts.reader import fault_lines, parse_toml
from comptroller.gateway.body_fields import require_dialect
from comptroller.gateway.formats import message_and_field

Positive = Annotated[float, Meta(gt=0)]
Whole = Annotated[int, Meta(ge=1)]
LOOPBACK = ("127.0.0.1", "::1", "localhost")


class ConfiguredTokenPrice(Struct, forbid_unknown_fields=True):
    """Dollars per million tokens, as text so that nothing is rounded, from the day `since`, by `source`."""

    input: str
    output: str
    cached: str | None = None
    cache_write: str | None = None
    since: str = "1970-01-01"
    source: str = "configuration"


class ServiceConfig(Struct, forbid_unknown_fields=True, frozen=True):
    """One service. Its id is what clients name as the model, or a service of the plan.

    backend: a file of gateway/backends.  urls: replicas.  model: its name there, the id itself if empty.
    key_env, key_file: where the upstream's key is read.  price: "provider/model" of the price books, or
    dollars per million tokens.  context_tokens: longest prompt plus output.  max_output_tokens: cap of a
    generation.  max_in_flight: calls at once; max_per_key: of them for one key, if it has one, the rest for others;
    max_waiting: in the queue before 429; wait_s: longest there.
    routing: policy that chooses among the replicas, by id, path or dotted path; else the plan's, else bounded_hash.
    scheduling: policy by which calls that wait get places, by id, path or dotted path; else vtc.
    weights: of the replicas, for `weighted`.  kv_tokens: of each replica's cache; else the plan's.
    attempts: tries of a call.  fallback: services to try next.  first_s: longest to the first byte; idle_s:
    between two; total_s: of a whole call.  hedge: share of the calls that may get a second request at another
    replica or fallback, when they take longer than all but that share did.
    single_choice: counts the tokens of one choice of n, so that n choices are asked for one by one.  usage: takes
    stream_options.  running_usage: reports usage in each event when asked (vLLM).  prefill: goes on from a last turn
    of the assistant.  endpoints: what it serves.
    dialect: a row of gateway/body_fields.py: the fields it takes, and its one name of the longest generation.
    fields: others that the operator answers for: they neither lengthen, multiply nor make dearer what is generated.
    provider, publisher, billing_account, invoice_names: what the world calls it, in FOCUS, spans and invoices; the
    provider is that of the price or the dialect where it is not told.
    tier, region: service tier (batch, where that is the contract) and region that its price is for.
    settings: of the backend itself.
    """

    backend: str = "openai"
    url: str = ""
    urls: tuple[str, ...] = ()
    model: str = ""
    key_env: str = ""
    key_file: str = ""
    price: str | ConfiguredTokenPrice | None = None
    context_tokens: Whole | None = None
    max_output_tokens: Whole | None = None
    max_in_flight: Whole = 256
    max_per_key: Whole | None = None
    max_waiting: Annotated[int, Meta(ge=0)] = 256
    wait_s: Positive = 30.0
    routing: str = ""
    scheduling: str = ""
    weights: tuple[Positive, ...] = ()
    kv_tokens: Whole | None = None
    attempts: Whole = 3
    fallback: tuple[str, ...] = ()
    first_s: Positive = 60.0
    idle_s: Positive = 60.0
    total_s: Positive = 600.0
    hedge: Annotated[float, Meta(ge=0, le=0.5)] = 0.0
    single_choice: bool = False
    usage: bool = True
    running_usage: bool = False
    prefill: bool = False
    endpoints: tuple[str, ...] = ("chat", "completions", "embeddings")
    dialect: str = "compatible"
    fields: tuple[str, ...] = ()
    tier: str = "standard"
    region: str = ""
    provider: str = ""
    publisher: str = ""
    billing_account: str = ""
    invoice_names: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def replicas(self) -> tuple[str, ...]:
        """Where it is."""
        return self.urls or ((self.url,) if self.url else ())

    def secret(self, name: str) -> str:
        """The upstream's key, from the environment or a file; empty where it needs none.

        Raises:
            InputError: the variable is not set, or the file cannot be read.
        """
        if self.key_env:
            if not (key := os.environ.get(self.key_env, "")):
                raise InputError(f"service {name}: the environment variable {self.key_env} is not set")
            return key
        if not self.key_file:
            return ""
        try:
            return Path(self.key_file).expanduser().read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"service {name}: key_file {self.key_file}: {error}") from error


class RateLimits(Struct, forbid_unknown_fields=True, frozen=True):
    """Limits of a key per minute; None is no limit."""

    requests: Positive | None = None
    tokens: Positive | None = None
    usd: Positive | None = None


class TenantConfig(Struct, forbid_unknown_fields=True, frozen=True):
    """A key among those that wait for a service.

    weight: share of a service against the others', where its scheduling goes by service or shares.  priority: the
    larger goes first, where its scheduling goes by priority.
    """

    weight: Positive = 1.0
    priority: float = 0.0


class GuardConfig(Struct, forbid_unknown_fields=True, frozen=True):
    """Against answers without end.

    stop_repetition: end a generation that repeats itself.  reasoning_tokens: end one that has thought for so many
    without beginning its answer.  reminder: text added to the last turn where a request asks for it.
    """

    stop_repetition: bool = False
    reasoning_tokens: Whole | None = None
    reminder: str = "Be concise: give the answer in as few words as it takes."


class CheckerConfig(Struct, forbid_unknown_fields=True, frozen=True):
    """A user's callable `file.py:function(content, **arguments) -> bool or score in [0, 1]`, and its limits.

    memory_bytes: of each process.  processes: it and those that it starts, threads included; with twice as many, twice
    the memory.
    """

    python: str
    seconds: Positive = 5.0
    memory_bytes: Whole = 2**29
    processes: Whole = 32


class MonitorConfig(Struct, forbid_unknown_fields=True, frozen=True):
    """A monitor of agents' runs: a run whose signal is above the threshold is not gone on with.

    file: of `comptroller fit monitors --out`.  kind: in its place, a monitor that learns nothing: step_budget,
    dollar_budget or repetition.  threshold: of a kind, or in place of the file's.  watches: `sessions` of clients, and
    strategies by name.  keys: whose runs are watched; everybody's where none is named.
    """

    file: str = ""
    kind: str = ""
    threshold: float | None = None
    watches: tuple[str, ...] = ("sessions",)
    keys: tuple[str, ...] = ()


class GatewayConfig(Struct, forbid_unknown_fields=True, frozen=True):
    """The whole of it.

    require_key: no service without a key on loopback either.  strategies: a user's own that model ids may name.
    book_users: whether the books keep the field `user` of requests, for budgets and reports by user.
    monitors: what stops agents' runs, by its name.
    roles: role -> service where a request does not say.  key_limits: by the name of the key.
    tenants: weights and priorities in the queues of services, by the name of the key; others have 1 and 0.
    calibration: folder of an own calibration, by which the plan's latencies are judged.
    hosts: further names by which clients call it, beside the loopback's and `host`.  origins: of the pages that may.
    max_connections: at once; header_s, body_s: how long headers and a body may take to come.
    max_calls: that one request may make.  send_s: how long a client may read nothing.
    drain_s: how long requests may take to end when the server stops.
    """

    services: dict[str, ServiceConfig]
    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535)] = 8080
    books: str = "books.sqlite"
    plan: str = ""
    calibration: str = ""
    prices: tuple[str, ...] = ()
    site: str = "own_us"
    require_key: bool = False
    strategies: tuple[str, ...] = ()
    roles: dict[str, str] = field(default_factory=dict)
    checkers: dict[str, CheckerConfig] = field(default_factory=dict)
    monitors: dict[str, MonitorConfig] = field(default_factory=dict)
    book_users: bool = False
    limits: RateLimits = RateLimits()
    key_limits: dict[str, RateLimits] = field(default_factory=dict)
    tenants: dict[str, TenantConfig] = field(default_factory=dict)
    guard: GuardConfig = GuardConfig()
    max_body_bytes: Whole = 32 * 2**20
    hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    max_header_bytes: Whole = 2**16
    max_connections: Whole = 4096
    header_s: Positive = 10.0
    body_s: Positive = 60.0
    max_calls: Whole = 256
    send_s: Positive = 60.0
    drain_s: Positive = 30.0

    def limits_of(self, key: str) -> RateLimits:
        """The limits per minute of a key."""
        return self.key_limits.get(key, self.limits)

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return self.host in LOOPBACK

    def checked(self) -> GatewayConfig:
        """Itself.

        Raises:
            InputError: a name is used that stands for nothing; names what there is.
        """
        if self.calibration and not self.plan:
            raise InputError("calibration: judges a plan; name the plan, too")
        if not self.services:
            raise InputError("services: name at least one, as [services.NAME] with a url")
        named = {f"services.{name}.fallback": item.fallback for name, item in self.services.items()}
        for name, item in self.services.items():
            require_dialect(f"services.{name}.dialect", item.dialect)
            if item.weights and len(item.weights) != len(item.replicas):
                raise InputError(
                    f"services.{name}.weights: {len(item.weights)} for {len(item.replicas)} urls; give one for each"
                )
            if item.max_per_key is not None and item.max_per_key > item.max_in_flight:
                raise InputError(
                    f"services.{name}.max_per_key: {item.max_per_key} of {item.max_in_flight} places (max_in_flight); "
                    "allowed: from 1 to all of them"
                )
            if item.hedge and len(item.replicas) < 2 and not item.fallback:
                raise InputError(f"services.{name}.hedge: there is no second upstream; add to urls, or name a fallback")
        named |= {"roles": tuple(self.roles.values())}
        for where, services in named.items():
            for service in services:
                if service not in self.services:
                    raise InputError(f"{where}: no service {service!r}; there are {', '.join(self.services)}")
        return self


EMBEDDED = "smollm2-135m-instruct"


def single_service_config(backend: str, model: str = "") -> GatewayConfig:
    """One service: `embedded`, `echo`, or the URL of a service and a model that it has.

    Raises:
        InputError: a URL without a model.

    >>> list(single_service_config("embedded").services)
    ['smollm2-135m-instruct']
    """
    if backend.startswith(("http://", "https://")):
        if not model:
            raise InputError("name the model that the service has: --model")
        return config_from_document({"services": {model: {"url": backend}}})
    return config_from_document({"services": {EMBEDDED if backend == "embedded" else backend: {"backend": backend}}})


def read(path: Path) -> GatewayConfig:
    """A configuration file.

    Raises:
        FactError: cannot be read, or a field is not what is allowed; names it.
        InputError: a name is used that stands for nothing.
    """
    with fault_lines(path):
        return config_from_document(parse_toml(path), path.name)


def config_from_document(document: Mapping[str, Any], name: str = "configuration") -> GatewayConfig:
    """The configuration of a document.

    Raises:
        FactError: fields are not what is allowed; names all of them.
        InputError: a name is used that stands for nothing.

    >>> config_from_document({"services": {"a": {"url": "http://127.0.0.1:9"}}}).services["a"].attempts
    3
    """
    try:
        return msgspec.convert(dict(document), GatewayConfig).checked()
    except msgspec.ValidationError as error:
        faults = list(_faults(document, name))
        raise one_error(faults) from error


MOST_FAULTS = 20
"""Faults of a table that are told, a screen of them; whoever mends twenty runs it again."""

TABLES_OF = {
    "services": ServiceConfig, "checkers": CheckerConfig, "monitors": MonitorConfig, "key_limits": RateLimits,
    "tenants": TenantConfig,
}  # fmt: skip
"""Tables of tables by name, which msgspec checks without telling the name."""


def _faults(document: Mapping[str, Any], file: str) -> Iterator[FactError]:
    """Each fault of a document."""
    left = dict(document)
    for key, kind in TABLES_OF.items():
        if isinstance(tables := left.get(key), dict):
            for name, table in tables.items():
                yield from _faults_of(table, kind, f"{key}.{name}", file)
            left[key] = {}
    yield from _faults_of(left, GatewayConfig, "", file)


def _faults_of(table: Any, kind: type, place: str, file: str) -> Iterator[FactError]:
    """Each fault of a table: msgspec tells the first, so what has one is taken out before the next is looked for."""
    left, told = copy.deepcopy(table), set[str]()
    for _ in range(MOST_FAULTS):
        try:
            msgspec.convert(left, kind)
            return
        except msgspec.ValidationError as error:
            what, at = message_and_field(str(error))
        named = NAMED_FIELD.search(what)
        where = ".".join(filter(None, (at, named[2] if named else "")))
        full = ".".join(filter(None, (place, where))) or "file"
        if named and named[1] == "unknown" and not at:
            names = [each.name for each in msgspec.structs.fields(kind)]
            near = difflib.get_close_matches(named[2], names, n=1)
            hint = f", did you mean {near[0]!r}?" if near else ""
            yield FactError(file, full, f"unknown field{hint}", ", ".join(names))
        elif full not in told:  # what was told and taken out is missing from then on
            missing = bool(named and named[1] == "required")
            yield FactError(file, full, "is missing") if missing else FactError(file, full, *plain_fault(what))
        told.add(full)
        if not _without(left, re.findall(r"[^.\[\]]+", where)):
            return


KINDS = {
    "object": "a table", "array": "a list", "int": "a whole number", "float": "a number", "str": "text",
    "bool": "true or false", "null": "nothing",
}  # fmt: skip
"""What msgspec calls a kind of value -> what a TOML file calls it."""

EXPECTED = re.compile(r"Expected `([^`]+)`(.*?)(?:, got `([^`]+)`)?$")


def plain_fault(what: str) -> tuple[str, str]:
    """What is wrong with a value and what is allowed there, of what msgspec says.

    >>> plain_fault("Expected `object`, got `array`"), plain_fault("Expected `int` >= 1")
    (('a list is not allowed', 'a table'), ('is not allowed', 'a whole number >= 1'))
    """
    found = EXPECTED.fullmatch(what)
    if not found:
        return what, ""
    allowed = " or ".join(KINDS.get(kind.strip(), kind.strip()) for kind in found[1].split("|"))
    given = f"{KINDS.get(found[3], found[3])} " if found[3] else ""
    return f"{given}is not allowed", f"{allowed}{found[2]}"


NAMED_FIELD = re.compile(r"(unknown|required) field `([^`]+)`")


def _without(document: dict[str, Any], where: Sequence[str]) -> bool:
    """Take what stands at a place out of a document, as far as there are tables on the way; whether anything went."""
    inner: Any = document
    for part in where[:-1]:
        if not isinstance(inner, dict) or part not in inner:
            break
        if not isinstance(inner[part], dict):
            return inner.pop(part) is not None
        inner = inner[part]
    return bool(where) and isinstance(inner, dict) and inner.pop(where[-1], None) is not None
