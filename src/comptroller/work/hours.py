"""The day of a workload: load by the hour, deferrable work, carbon intensity of the grid, spot interruptions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, Field, PrivateAttr, model_validator

from comptroller.errors import FactError
from comptroller.work.arrivals import window_rates
from comptroller.work.hourly_table import HourlyTable
from comptroller.work.sizes import STRICT, TokenMean, Weight, conflict
from comptroller.work.trace import Floats

HOURS = 24

Profile = Annotated[tuple[Weight, ...], Field(min_length=HOURS, max_length=HOURS)]
Share = Annotated[float, Field(strict=True, gt=0, le=1)]
Amount = Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]


class SpotRisk(BaseModel):
    """Interruptions of spot units. All numbers are the user's, because no public rate holds for others.

    interruptions_per_h: of one unit, per hour of running.  outage_s: from an interruption until the unit runs again.
    lost_at_once: share of the spot units of a kind that one interruption takes.  price_factor: by hour, on the dated
    offer.  price_table: in its place a table of recorded prices, taken over their mean.  source: of the interruption
    rate.
    """

    model_config = STRICT
    interruptions_per_h: Weight
    outage_s: Weight
    lost_at_once: Share = 1.0
    price_factor: Profile | None = None
    price_table: HourlyTable | None = None
    source: Annotated[str, Field(min_length=1)]

    @property
    def standing(self) -> float:
        """Share of the time that a unit runs: 1 / (1 + interruptions per h x outage in h), an alternating renewal."""
        return 1.0 / (1.0 + self.interruptions_per_h * self.outage_s / 3600.0)


class DeferrableWork(BaseModel):
    """Work that may wait: requests of one size or, with a quality target, questions of its mix.

    Its amount is requests_per_day, or tokens_per_day (input and output together), with the input_tokens and
    output_tokens of one request; or questions_per_day.  model: with a quality target, the recorded model whose devices
    serve the requests.  deadline_h: hours to finish in, that of the release included; by default any of the day.
    released: amount by hour, in any unit; by default even.  saves: share of the interactive work that all of it would
    avoid. It makes the work optional: sleep-time compute (arXiv 2504.13171) is done as far as it pays.
    """

    model_config = STRICT
    name: Annotated[str, Field(min_length=1)]
    requests_per_day: Amount | None = None
    tokens_per_day: Amount | None = None
    questions_per_day: Amount | None = None
    input_tokens: TokenMean | None = None
    output_tokens: TokenMean | None = None
    model: Annotated[str, Field(min_length=1)] | None = None
    deadline_h: Annotated[int, Field(strict=True, ge=1, le=HOURS)] = HOURS
    released: Profile | None = None
    saves: Annotated[float, Field(strict=True, gt=0, lt=1)] | None = None

    @model_validator(mode="after")
    def _amount(self) -> DeferrableWork:
        amounts = ("requests_per_day", "tokens_per_day", "questions_per_day")
        if sum(getattr(self, name) is not None for name in amounts) != 1:
            raise conflict("requests_per_day", "give the work once", "one of " + ", ".join(amounts))
        for name in ("input_tokens", "output_tokens"):
            if self.questions_per_day is None and getattr(self, name) is None:
                raise conflict(name, "is missing", "the tokens of one request")
        if self.questions_per_day is not None:
            given = [name for name in ("input_tokens", "output_tokens", "model", "saves") if getattr(self, name)]
            if given:
                raise conflict(given[0], "has no meaning for questions", "questions_per_day without it")
        if self.released is not None and not any(self.released):
            raise conflict("released", "is all zero", f"{HOURS} numbers, not all 0")
        return self

    @property
    def size_tokens(self) -> tuple[float, float]:
        """Input and output tokens of one request; 0 for questions, whose calls are in the evidence."""
        return self.input_tokens or 0.0, self.output_tokens or 0.0

    @property
    def each_day(self) -> float:
        """Requests or questions per day."""
        tokens = self.tokens_per_day or 0.0
        return self.questions_per_day or self.requests_per_day or tokens / sum(self.size_tokens)

    @property
    def by_hour(self) -> Floats:
        """Requests or questions released in each hour.

        >>> work = DeferrableWork(name="nightly", tokens_per_day=48e6, input_tokens=900, output_tokens=100)
        >>> float(work.by_hour[0])
        2000.0
        """
        shape = np.array(self.released or np.ones(HOURS), float)
        return np.asarray(self.each_day * shape / shape.sum())


class WorkloadDay(BaseModel):
    """The hours of a day, all in one time zone.

    load: by hour, in any unit; the busiest hour has the rate to size for. Or "trace": from the arrivals of the trace,
    the first of which is in hour `starts_h`.  grid_gco2e_per_kwh: by site and hour; other sites have their yearly mean.
    grid_tables: in its place, by site, tables of recorded grams a kilowatt-hour.
    """

    model_config = STRICT
    load: Profile | Literal["trace"]
    starts_h: Annotated[int, Field(strict=True, ge=0, lt=HOURS)] = 0
    grid_gco2e_per_kwh: Mapping[str, Profile] = Field(default_factory=dict)
    grid_tables: Mapping[str, HourlyTable] = Field(default_factory=dict)
    spot: SpotRisk | None = None
    deferrable: tuple[DeferrableWork, ...] = ()
    _table_notes: tuple[str, ...] = PrivateAttr(default=())

    @property
    def table_notes(self) -> tuple[str, ...]:
        """What was drawn where the tables that were read have no value."""
        return self._table_notes

    @model_validator(mode="after")
    def _whole(self) -> WorkloadDay:
        if self.load != "trace" and not any(self.load):
            raise conflict("load", "is all zero", f"{HOURS} numbers, not all 0")
        if both := set(self.grid_tables) & set(self.grid_gco2e_per_kwh):
            raise conflict(f"grid_tables.{min(both)}", "its grid is given twice", "grid_tables or grid_gco2e_per_kwh")
        if self.spot and self.spot.price_table and self.spot.price_factor:
            raise conflict("spot.price_table", "prices are given twice", "price_table or price_factor")
        names = [work.name for work in self.deferrable]
        if len(set(names)) < len(names):
            raise conflict("deferrable", "two have one name", "a name for each")
        return self


def with_tables_read(hours: WorkloadDay, find: Callable[[str], Path]) -> WorkloadDay:
    """The day with the hours of its tables in their place. find: a table by its name.

    Raises:
        FactError: as `HourlyTable.profile`; recorded prices that are all 0.
    """
    read = {
        site: table.profile(find(table.file), f"hours.grid_tables.{site}") for site, table in hours.grid_tables.items()
    }
    grids, notes = {site: values for site, (values, _) in read.items()}, [note for _, note in read.values()]
    update: dict[str, object] = {"grid_gco2e_per_kwh": {**hours.grid_gco2e_per_kwh, **grids}, "grid_tables": {}}
    if hours.spot is not None and (table := hours.spot.price_table) is not None:
        told, note = table.profile(find(table.file), "hours.spot.price_table")
        prices = np.array(told)
        notes.append(f"{note} (spot prices)" if note else "")
        if not prices.any():
            raise FactError(table.file, "hours.spot.price_table", "is all zero", "prices above 0")
        factors = tuple((prices / prices.mean()).tolist())
        update["spot"] = hours.spot.model_copy(update={"price_factor": factors, "price_table": None})
    found = hours.model_copy(update=update)
    found._table_notes = tuple(dict.fromkeys(filter(None, notes)))
    return found


def require_fitting(hours: WorkloadDay, quality: bool) -> None:
    """Checks deferrable work against the target: only a quality target has questions, and requests then need a model.

    Raises:
        PydanticCustomError: `questions_per_day` or `model` without a quality target, or requests with one but no model.
    """
    for number, work in enumerate(hours.deferrable):
        field, name_of_work = f"hours.deferrable.{number}", repr(work.name)
        for name in ("questions_per_day", "model") if not quality else ():
            if getattr(work, name) is not None:
                raise conflict(
                    f"{field}.{name}", f"of {name_of_work} has no meaning without a quality target", "quality"
                )
        if quality and work.questions_per_day is None and work.model is None:
            raise conflict(f"{field}.model", f"of {name_of_work} is missing", "the recorded model that does it")


def rates_by_hour(arrival_s: Floats, starts_h: int, quantile: float, window_s: float) -> Floats:
    """Requests per second to size for in each hour of the day, of shape (24,): the quantile of its windows' rates.

    Raises:
        FactError: the arrivals leave out an hour of the day.

    >>> day = np.concatenate([np.arange(0, 43_200, 1.0), np.arange(43_200, 86_401, 2.0)])
    >>> rates_by_hour(day, 6, 0.5, 60.0)[[6, 17, 18]].tolist()
    [1.0, 1.0, 0.5]
    """
    rates = window_rates(arrival_s, window_s)
    hour = (starts_h + np.arange(len(rates)) * window_s / 3600.0).astype(np.int64) % HOURS
    missing = sorted(set(range(HOURS)) - set(hour.tolist()))
    if missing:
        span_h = (arrival_s[-1] - arrival_s[0]) / 3600.0
        raise FactError(
            "trace", "hours.load", f"its {span_h:.3g} h leave out hour {missing[0]}", "a day of arrivals, or 24 numbers"
        )
    return np.array([np.quantile(rates[hour == h], quantile) for h in range(HOURS)])
