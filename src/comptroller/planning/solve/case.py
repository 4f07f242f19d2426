"""What a program is about: a demand, the options that may answer it, the markets that may serve it, and the goal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from comptroller.planning.ground.nouns import Bools, Demand, Floats, Goal, Ints, Market


@dataclass(frozen=True)
class OptionTable:
    """Options as the program sees them, one column each; rows are classes.

    score: share of questions solved.  usd: paid to APIs per question.  calls: by model, (classes, options, buckets)
    per question.  shut: where no question may go.  most: upper bounds of the interactive shares.  all_day: shares are
    the same in every hour.
    """

    score: Floats
    usd: Floats
    calls: Mapping[int, Floats]
    shut: Bools | None = None
    most: Floats | None = None
    all_day: bool = False

    @property
    def count(self) -> int:
        """How many options there are."""
        return int(self.score.shape[1])

    def only(self, columns: Ints) -> OptionTable:
        """Some of the options."""
        return replace(
            self,
            score=self.score[:, columns],
            usd=self.usd[:, columns],
            calls={model: calls[:, columns] for model, calls in self.calls.items()},
            shut=None if self.shut is None else self.shut[:, columns],
            most=None if self.most is None else self.most[:, columns],
        )


@dataclass(frozen=True)
class ProgramCase:
    """One program: of one hour, or of the hours of a day that are one after the other and then begin again."""

    demand: Demand
    options: OptionTable
    markets: Mapping[int, Market]
    goal: Goal

    @property
    def usd_per_h(self) -> Floats:
        """(classes, options): dollars an hour paid to APIs if all of a class at the busiest rate went that way."""
        return self.demand.weight[:, None] * self.options.usd * self.demand.rate_per_s * 3600.0

    @property
    def quality(self) -> tuple[tuple[int | None, float], ...]:
        """Least share solved of a class by its number, or of all (`None`)."""
        number = self.demand.classes.index
        return tuple((number(name) if name else None, least) for name, least in self.goal.quality)

    @property
    def has_whole_ways(self) -> bool:
        """Whether a class has one way, in every hour too: evidence that supports no mix supports none by the hour."""
        return self.goal.ways.whole and self.options.count > 1

    @property
    def question_works(self) -> list[int]:
        """Numbers of the works that are questions: no model's market has them."""
        of_models = {name for market in self.markets.values() for name in market.works}
        return [k for k, work in enumerate(self.demand.works) if work.name not in of_models]

    @property
    def joined(self) -> bool:
        """Whether anything joins its hours: units or shares for the whole day, work that waits, limits of the day."""
        rented = [(market.all_day & market.fits.any(axis=0)).any() for market in self.markets.values()]
        waiting = [work.window_h > 1 or work.saves is not None for work in self.demand.works]
        return self.options.all_day or any(waiting) or bool(self.goal.over_day) or any(rented)

    def hour(self, h: int) -> ProgramCase:
        """One hour of it alone."""
        markets = {
            model: replace(market, usd=market.usd[[h]], grid=market.grid[[h]]) for model, market in self.markets.items()
        }
        return replace(self, demand=self.demand.hour(h), markets=markets)

    def with_markets(self, markets: Mapping[int, Market]) -> ProgramCase:
        """The same demand on other markets."""
        return replace(self, markets=markets)


@dataclass(frozen=True)
class CaseSubset:
    """Some options and deployments (by model) of a case, as a case of its own.

    options, columns: places in the whole.
    """

    case: ProgramCase
    options: Ints
    columns: Mapping[int, Ints]

    @classmethod
    def of(
        cls, whole: ProgramCase, options: Ints, columns: Mapping[int, Ints], shut: Bools | None = None
    ) -> CaseSubset:
        """The subset; a class takes no option that would call a model which is left no deployment."""
        columns = {model: numbers for model, numbers in columns.items() if len(numbers)}
        table = whole.options
        closed = np.zeros(table.score.shape, bool) if table.shut is None else table.shut
        closed = closed if shut is None else closed | shut
        for model in whole.markets.keys() - columns.keys():
            closed = closed | table.calls[model].any(axis=2)
        some = replace(table, shut=closed).only(options)
        some = replace(some, calls={model: some.calls[model] for model in columns})
        markets = {model: whole.markets[model].only(numbers) for model, numbers in columns.items()}
        return cls(replace(whole, options=some, markets=markets), options, columns)
