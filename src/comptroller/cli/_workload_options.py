"""A workload by options, for `comptroller new`, which writes it, and for `comptroller plan MODEL`, which plans it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

import typer

from comptroller.errors import InputError


def shipped_ids(kind: str) -> list[str]:
    """The ids of the facts of a kind that ship, found without importing facts, so that help and completion are told at
    once.

    >>> shipped_ids("engines")[-1]
    'vllm'
    """
    folder = resources.files("comptroller") / "facts" / kind
    return sorted(path.name[:-5] for path in folder.iterdir() if path.name.endswith(".toml"))


def completion(kind: str) -> Callable[[str], list[str]]:
    """What a shell completes to ids of a kind; of a list with commas, its last name."""

    def complete(incomplete: str) -> list[str]:
        before, comma, last = incomplete.rpartition(",")
        return [f"{before}{comma}{id}" for id in shipped_ids(kind) if id.startswith(last)]

    return complete


USE_CASES = shipped_ids("use_cases")

SECONDS = {"s": 1.0, "min": 60.0, "h": 3600.0, "day": 86400.0}
"""Unit of a rate -> its seconds; written out, for `quantities` imports NumPy, which help does without."""

LIMIT = re.compile(r"(?:p(?P<p>\d+(?:\.\d+)?)=)?(?P<most>\d+(?:\.\d+)?)(?P<unit>ms|s)")
RATE = re.compile(r"(?P<count>\d[\d_,]*(?:\.\d+)?(?:e\d+)?)(?:/(?P<unit>s|min|h|day))?")
PRICE = re.compile(r"(?P<device>[^=]+)=\$?(?P<usd>\d+(?:\.\d+)?)")
BOUND = re.compile(r"(?P<most>\d[\d,]*(?:\.\d+)?)(?P<unit>[A-Za-z/]+)")

BUDGET_UNITS, POWER_UNITS = ("USD/h", "USD/day", "USD/month"), ("W", "kW", "MW")
"""Units of what may be spent and used, as `quantities` has them."""

Names = list[str] | None


@dataclass(frozen=True, slots=True)
class WorkloadOptions:
    """What a workload states by options. values: by the dotted keys of a workload file, those that were given."""

    values: dict[str, Any] = field(default_factory=dict)

    def with_answers(self, tokens: int | None) -> WorkloadOptions:
        """These with the length of answers, in tokens, where it is given; its option differs between commands."""
        return self if tokens is None else WorkloadOptions({**self.values, "lengths.output": {"fixed": tokens}})

    @property
    def words(self) -> str:
        """The keys that were given, for a message."""
        return ", ".join(self.values)


def latency_limit(option: str, text: str) -> dict[str, Any] | None:
    """The bound of a latency, as a workload states it, which knows its usual percentile; None for an empty text.

    Raises:
        InputError: it is none; says how one is written.

    >>> latency_limit("--ttft", "p99=2s"), latency_limit("--tpot", "40ms")
    ({'p': 99.0, 'max': 2.0, 'unit': 's'}, {'max': 40.0, 'unit': 'ms'})
    """
    if not text:
        return None
    found = LIMIT.fullmatch(text.replace(" ", ""))
    if found is None:
        raise InputError(f"{option}: {text!r} is no limit (allowed: such as p95=500ms, p99=2s or 2s)")
    share = {"p": float(found["p"])} if found["p"] else {}
    return {**share, "max": float(found["most"]), "unit": found["unit"]}


def rate_per_s(text: str) -> float | None:
    """Requests per second of a rate in any of its units; None for an empty text.

    Raises:
        InputError: it is no rate; says how one is written.

    >>> rate_per_s("5"), rate_per_s("432,000/day"), rate_per_s("90/min")
    (5.0, 5.0, 1.5)
    """
    if not text:
        return None
    found = RATE.fullmatch(text.replace(" ", ""))
    if found is None:
        raise InputError(f"--rate: {text!r} is no rate (allowed: such as 5, 5/s, 300/min, 18000/h or 432000/day)")
    return float(found["count"].replace(",", "").replace("_", "")) / SECONDS[found["unit"] or "s"]


def device_prices(given: Sequence[str] | None) -> dict[str, float] | None:
    """Dollars of a device and hour by accelerator; None where none is given.

    Raises:
        InputError: one is no price; says how one is written.

    >>> device_prices(["h100_sxm=3.10,l40s=0.9"])
    {'h100_sxm': 3.1, 'l40s': 0.9}
    """
    prices: dict[str, float] = {}
    for text in listed_names(given) or ():
        found = PRICE.fullmatch(text.replace(" ", ""))
        if found is None or found["device"] in prices:
            problem = "is given twice" if found else "is no price"
            raise InputError(f"--price: {text!r} {problem} (allowed: such as h100_sxm=3.10, USD of a device and hour)")
        prices[found["device"]] = float(found["usd"])
    return prices or None


def quantity_bound(option: str, text: str, units: Sequence[str]) -> dict[str, Any] | None:
    """An upper bound with its unit, as a workload states it; None for an empty text.

    Raises:
        InputError: it is none; says how one is written.

    >>> quantity_bound("--budget", "9,000 USD/month", ("USD/h", "USD/month"))
    {'max': 9000.0, 'unit': 'USD/month'}
    """
    if not text:
        return None
    found = BOUND.fullmatch(text.replace(" ", "").removeprefix("$"))
    if found is None or found["unit"] not in units:
        raise InputError(f"{option}: {text!r} is no bound (allowed: a number and {', '.join(units)})")
    return {"max": float(found["most"].replace(",", "")), "unit": found["unit"]}


def listed_names(given: Sequence[str] | None) -> list[str] | None:
    """Names given one by one or with commas between them; None where there are none.

    >>> listed_names(["h100_sxm,h200_sxm", "l40s"]), listed_names(None)
    (['h100_sxm', 'h200_sxm', 'l40s'], None)
    """
    return [name for text in given or () for name in text.split(",") if name] or None


def workload_options(
    use_case: Annotated[
        str,
        typer.Option(
            help=f"{', '.join(USE_CASES)}, or a file.", show_default=False, autocompletion=completion("use_cases")
        ),
    ] = "",
    users: Annotated[int | None, typer.Option(help="Users of the service.")] = None,
    tokens_per_day: Annotated[float | None, typer.Option(help="Tokens of a day, in place of users.")] = None,
    busiest_hour_share: Annotated[
        float | None, typer.Option(help="Share of a day's requests in its busiest hour.")
    ] = None,
    rate: Annotated[
        str, typer.Option(help="Requests, in place of users: 5 (a second), 300/min, 432000/day.", show_default=False)
    ] = "",
    trace: Annotated[Path | None, typer.Option(help="Recorded requests, in place of users.")] = None,
    tokens_in: Annotated[int | None, typer.Option("--in", help="Tokens of a prompt.")] = None,
    ttft: Annotated[
        str, typer.Option(help="Most time to the first token: p99=2s, or 500ms (of 95 %).", show_default=False)
    ] = "",
    tpot: Annotated[str, typer.Option(help="Most time per token after it: p95=40ms.", show_default=False)] = "",
    e2e: Annotated[str, typer.Option(help="Most time to the last token: p95=20s.", show_default=False)] = "",
    on: Annotated[
        Names,
        typer.Option(
            help="Accelerators that may be used, with commas or again.", autocompletion=completion("accelerators")
        ),
    ] = None,
    at: Annotated[
        Names, typer.Option(help="Sites that may be used, with commas or again.", autocompletion=completion("sites"))
    ] = None,
    price: Annotated[
        Names, typer.Option(help="Your price, USD of a device and hour, with commas or again.", metavar="h100_sxm=3.10")
    ] = None,
    budget: Annotated[str, typer.Option(help="Most to spend: '9000 USD/month', 12USD/h.", show_default=False)] = "",
    power: Annotated[str, typer.Option(help="Most power at the meter: 40kW.", show_default=False)] = "",
    provider: Annotated[Names, typer.Option(help="Whom to rent from, with commas or again.")] = None,
    provider_kind: Annotated[
        Names, typer.Option(help="Kinds of whom to rent from, such as cloud or neocloud, with commas or again.")
    ] = None,
) -> WorkloadOptions:
    """The keys of a workload that options state.

    Raises:
        InputError: a limit or a rate cannot be read.
    """
    given: dict[str, Any] = {
        "use_case": use_case or None,
        "users": users,
        "tokens_per_day": tokens_per_day,
        "busiest_hour_share": busiest_hour_share,
        "rate_per_s": rate_per_s(rate),
        "trace": trace,
        "lengths.input": None if tokens_in is None else {"fixed": tokens_in},
        "objectives.ttft": latency_limit("--ttft", ttft),
        "objectives.tpot": latency_limit("--tpot", tpot),
        "objectives.e2e": latency_limit("--e2e", e2e),
        "budget": quantity_bound("--budget", budget, BUDGET_UNITS),
        "power": quantity_bound("--power", power, POWER_UNITS),
        "usd_per_device_h": device_prices(price),
        "allow.accelerators": listed_names(on),
        "allow.sites": listed_names(at),
        "allow.providers": listed_names(provider),
        "allow.kinds": listed_names(provider_kind),
    }
    return WorkloadOptions({key: value for key, value in given.items() if value is not None})
