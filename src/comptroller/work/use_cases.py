"""A workload from users or a day's tokens: the rate, the lengths and the objectives that a use case fills in."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, TypeAdapter, ValidationError, model_validator

from comptroller.errors import FactError, InputError
from comptroller.facts.reader import ids
from comptroller.facts.use_case import UseCase, use_case
from comptroller.quantities import HOUR_S
from comptroller.work.sizes import STRICT, Sizes, conflict

KEYS = ("use_case", "users", "requests_per_user_per_day", "tokens_per_day", "busiest_hour_share")
"""Keys of a workload that are filled in here; `assumptions` says that it was done."""

RATES = ("rate_per_s", "users", "tokens_per_day")
"""Keys that each give the rate."""

EVEN_HOUR = 1 / 24
"""Least share of a day in its busiest hour: that of a day whose hours are alike. Less is no busiest hour; at twice this
days would be refused that are busy for half of their hours."""

Document = dict[str, Any]
Amount = Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]


class WorkloadUsage(BaseModel):
    """The keys of a workload that stand for arithmetic.

    use_case: an id or a file; gives lengths and objectives where the workload states none.  users: of that use case.
    requests_per_user_per_day: where it is known better than the use case does.  tokens_per_day: of prompts and answers,
    in place of users.  busiest_hour_share: of a day's requests in its busiest hour, which the rate is that of.
    assumptions: what was filled in, a sentence each; no file states them.
    """

    model_config = STRICT
    use_case: str | None = None
    users: Annotated[int, Field(strict=True, ge=1)] | None = None
    requests_per_user_per_day: Amount | None = None
    tokens_per_day: Amount | None = None
    busiest_hour_share: Annotated[float, Field(strict=True, ge=EVEN_HOUR, le=1)] | None = None
    assumptions: tuple[str, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _without_arithmetic(cls, document: Any) -> Any:
        return with_use_case(document) if isinstance(document, Mapping) else document


def with_own_use_case(document: Mapping[str, Any], file: Path) -> Mapping[str, Any]:
    """The document of a file, its use case resolved where it is a file relative to the folder of the document.

    Raises:
        FactError: it states `assumptions`, which follow from the other keys.
    """
    if document.get("assumptions"):
        raise FactError(file.name, "assumptions", "follow from use_case and users and cannot be stated")
    own = document.get("use_case")
    found = isinstance(own, str) and own.endswith(".toml") and (file.parent / own).is_file()
    return {**document, "use_case": str(file.parent / str(own))} if found else document


def with_use_case(document: Mapping[str, Any]) -> Document:
    """The document with rate, lengths and objectives that its use case, users or tokens of a day give.

    What the document states itself stays. `assumptions` holds a sentence on each figure that was filled in. A document
    without such keys, or with assumptions, comes back as it is.

    Raises:
        PydanticCustomError: keys contradict each other, or one is missing.
    """
    given = [key for key in KEYS if document.get(key) is not None]
    if not given or document.get("assumptions"):
        return dict(document)
    for other in ("quality", "trace"):
        wrong = [key for key in given if document.get(other) is not None and (other == "quality" or key != "use_case")]
        if wrong:
            raise conflict(wrong[0], f"is already given by the {other}", f"{other} or {wrong[0]}")
    if not all(isinstance(document[key], int | float) for key in given if key != "use_case"):
        return dict(document)  # the fields' own types are checked, and told, by the document
    facts = _facts(document["use_case"]) if "use_case" in given else None
    filled = dict(document)
    said: list[str] = []
    if facts is not None:
        said += _fill_objectives(filled, facts)
        if document.get("trace") is None:
            said += _fill_lengths(filled, facts)
    if document.get("trace") is None:
        said += _fill_rate(filled, facts, document)
    return {**filled, "assumptions": tuple(said)}


def mean_tokens(lengths: Any) -> tuple[float, float] | None:
    """Mean input and output tokens of a workload's lengths; None where they are malformed."""
    try:
        table = TypeAdapter(Sizes).validate_python(lengths).points()
    except ValidationError:
        return None
    return float(table.weight @ table.input_tokens), float(table.weight @ table.output_tokens)


def _facts(name: Any) -> UseCase:
    try:
        return use_case(str(name))
    except InputError as error:
        raise conflict("use_case", str(error), ", ".join(ids("use_cases"))) from error


def _fill_objectives(filled: Document, facts: UseCase) -> Iterator[str]:
    if filled.get("objectives") is not None:
        return
    filled["objectives"] = {name: limit.objective for name, limit in facts.objectives.limits()}
    for name, limit in facts.objectives.limits():
        yield f"{name} p{limit.p:g} {limit.max:g} {limit.unit} of the use case {facts.id} ({facts.told(limit)})"


def _fill_lengths(filled: Document, facts: UseCase) -> Iterator[str]:
    if filled.get("lengths") is None:
        filled["lengths"] = dict(facts.lengths.tokens)
        yield f"lengths of the use case {facts.id} ({facts.told(facts.lengths)})"


def _fill_rate(filled: Document, facts: UseCase | None, document: Mapping[str, Any]) -> Iterator[str]:
    """Requests per second in the busiest hour: users x requests a day, or tokens a day / tokens a request."""
    given = [key for key in RATES if document.get(key) is not None]
    if len(given) != 1:
        problem = "the rate is given twice" if given else "no arrivals"
        raise conflict(given[1] if given else "users", problem, "one of " + ", ".join(RATES))
    if given == ["rate_per_s"]:
        if unused := [key for key in KEYS[1:] if document.get(key) is not None]:
            raise conflict(unused[0], "has no meaning beside rate_per_s", "users or tokens_per_day")
        return
    if given == ["users"]:
        per_day = yield from _figure(document, facts, "requests_per_user_per_day")
        requests, counted = document["users"] * per_day, f"{document['users']:,} users x {per_day:g} requests"
    else:
        if document.get("requests_per_user_per_day") is not None:
            raise conflict("requests_per_user_per_day", "has no meaning beside tokens_per_day", "users")
        if filled.get("lengths") is None:
            raise conflict("lengths", "is missing", "lengths, or use_case")
        if (means := mean_tokens(filled["lengths"])) is None:
            return
        tokens = sum(means)
        requests = document["tokens_per_day"] / tokens
        counted = f"{document['tokens_per_day']:,.0f} tokens / {tokens:,.0f} tokens of a mean request"
    share = yield from _figure(document, facts, "busiest_hour_share")
    filled |= {"rate_per_s": requests * share / HOUR_S, "busiest_hour_share": share}
    yield f"rate {filled['rate_per_s']:.4g}/s: {counted} a day x {share:.4g} of them in the busiest hour / 3600 s"


def _figure(document: Mapping[str, Any], facts: UseCase | None, name: str) -> Generator[str, None, float]:
    """The figure that the document states, or that the use case has, which is then told."""
    if document.get(name) is not None:
        return float(document[name])
    if facts is None:
        raise conflict(name, "is missing", f"{name}, or use_case")
    if name == "busiest_hour_share":
        share = facts.busiest_hour_share
        yield f"{share.value:.4g} of a day in its busiest hour ({facts.told(share)})"
        return share.value
    tasks, calls = facts.tasks_per_user_per_day, facts.requests_per_task
    yield f"{tasks.value:g} tasks per user and day ({facts.told(tasks)})"
    yield f"{calls.value:g} requests per task ({facts.told(calls)})"
    return facts.requests_per_user_per_day
