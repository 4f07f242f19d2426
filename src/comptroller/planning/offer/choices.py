"""All that a plan may choose from: options to answer, the sizes of their calls, and deployments for every model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from itertools import product

import numpy as np
from scipy.sparse import csr_array, hstack

from comptroller.costs.capacity import SlicedLoad
from comptroller.planning.ground.nouns import AxisValues, Bools, Floats, Goal, Ints, Market, Option
from comptroller.planning.ground.strategy_plays import OptionCalls, PlaySet
from comptroller.planning.offer.market import DeploymentOffers, MarketCache
from comptroller.work.prefix_sharing import whole_blocks


@dataclass(frozen=True)
class CallBuckets:
    """The calls of a model in buckets of like size, one for each slice of its load.

    longest_tokens: prompt and output of the longest call.  edges: of input and of output tokens; calls that find part
    of their prompt cached have buckets of their own.  place: bucket by cell of the edges.  block_tokens: of a block of
    the prefix cache, 0 for none.  Without edges (plain requests) every question is one call with its own bucket.
    """

    load: SlicedLoad
    longest_tokens: float
    edges: tuple[Floats, Floats] | None = None
    place: Ints | None = None
    block_tokens: int = 0

    @property
    def count(self) -> int:
        """How many buckets there are."""
        return len(self.load.rate_per_s)

    def of_calls(self, calls: OptionCalls) -> Ints:
        """The bucket of each call of the model."""
        if self.edges is None or self.place is None:
            return calls.question
        found = cached_tokens(calls.input_tokens, calls.common_tokens, self.block_tokens)
        outputs = np.maximum(calls.output_tokens, 1.0)
        return np.asarray(self.place[cells(self.edges, calls.input_tokens, outputs, found)])

    def per_question(self, calls: OptionCalls, model: int, questions: int) -> Floats:
        """How many calls of a model each question makes: (questions, buckets)."""
        own = calls.only(calls.model == model)
        cell = own.question * self.count + self.of_calls(own)
        return np.asarray(np.bincount(cell, minlength=questions * self.count).reshape(questions, self.count), float)


def cached_tokens(inputs: Floats, common: Floats, block_tokens: int) -> Floats:
    """Tokens of prompts that are found in a cache, of those in common with earlier calls: whole blocks."""
    return np.asarray(whole_blocks(common, inputs, block_tokens)) if block_tokens else np.zeros(len(inputs))


def cells(edges: tuple[Floats, Floats], inputs: Floats, outputs: Floats, cached: Floats) -> Ints:
    """Numbers of the cells that calls fall into: by input, by output, and whether anything of them is cached."""
    row = np.searchsorted(edges[0], inputs, side="right")
    column = np.searchsorted(edges[1], outputs, side="right")
    half = (len(edges[0]) + 1) * (len(edges[1]) + 1)
    return np.asarray(row * (len(edges[1]) + 1) + column + (cached > 0) * half, np.int64)


OF_OPTIONS = ("score", "usd", "own", "calls")
"""What follows from options and buckets of their calls alone."""


@dataclass(frozen=True)
class ChoiceSpace:
    """What a plan may choose from.

    weight: (classes,), of each class of questions in the traffic.  offers: deployments by model that own devices may
    serve.  buckets: of their calls.  rate_per_s: of questions.  arrival_cv: of the gaps between them.  frequency:
    (questions,), how often each counts; once each, if not given.  own_weight: what a class shows of its own counts for
    (`solve.shrinkage`).
    """

    plays: PlaySet
    weight: Floats
    options: tuple[Option, ...]
    offers: Mapping[int, DeploymentOffers]
    buckets: Mapping[int, CallBuckets]
    rate_per_s: float
    arrival_cv: float
    frequency: Floats | None = None
    own_weight: float = 1.0

    def weighing(self, own_weight: float) -> ChoiceSpace:
        """The same with another weight of what a class shows of its own; what was worked out is kept."""
        named = {item.name for item in fields(self)}
        return self._known_too(replace(self, own_weight=own_weight), vars(self).keys() - named)

    def offering(self, offers: Mapping[int, DeploymentOffers]) -> ChoiceSpace:
        """The same with other deployments of the same models; what options solve and ask is not worked out again."""
        return self._known_too(replace(self, offers=offers), OF_OPTIONS if offers.keys() == self.offers.keys() else ())

    def _known_too(self, made: ChoiceSpace, names: Iterable[str]) -> ChoiceSpace:
        vars(made).update({name: vars(self)[name] for name in names if name in vars(self)})
        return made

    @property
    def questions(self) -> int:
        """How many questions the plays are of."""
        return len(self.plays.task)

    @cached_property
    def score(self) -> Floats:
        """(questions, options)."""
        return np.stack([option.play.score for option in self.options], axis=1)

    @cached_property
    def usd(self) -> Floats:
        """(questions, options), paid to APIs."""
        return np.stack([option.usd(self.questions) for option in self.options], axis=1)

    @cached_property
    def own(self) -> tuple[frozenset[int], ...]:
        """Of every option, the models that own devices serve."""
        return tuple(option.own for option in self.options)

    @cached_property
    def calls(self) -> dict[int, csr_array]:
        """Calls that own devices get, by model: (questions, options x buckets)."""
        return {model: self._calls(model) for model in self.offers}

    def _calls(self, model: int) -> csr_array:
        buckets, calls_of_play = self.buckets[model], dict[int, csr_array]()
        none = csr_array((self.questions, buckets.count))
        parts = []
        for option, own in zip(self.options, self.own, strict=True):
            play = option.play
            if model in own and id(play) not in calls_of_play:
                calls_of_play[id(play)] = csr_array(buckets.per_question(play.calls, model, self.questions))
            parts.append(calls_of_play[id(play)] if model in own else none)
        return csr_array(hstack(parts, format="csr"))

    def calls_of_option(self, model: int, number: int) -> Floats:
        """Calls of a model that an option makes on own devices: (questions, buckets)."""
        count = self.buckets[model].count
        return np.asarray(self.calls[model][:, number * count : (number + 1) * count].toarray(), float)

    @cached_property
    def axes(self) -> dict[int, list[AxisValues]]:
        """Values of every deployment on every axis, by model; which model answers is told by the option, if it is."""
        told = any("model" in option.axes for option in self.options)
        return {
            model: [{axis: v for axis, v in values.items() if not (told and axis == "model")} for values in offers.axes]
            for model, offers in self.offers.items()
        }

    @cached_property
    def markets(self) -> MarketCache:
        """What models may be served by, for any goal."""
        return MarketCache(self.offers)

    def market(self, model: int, goal: Goal, allowed: Bools, used: Ints) -> Market | None:
        """The market of a model for the calls of some buckets; `None` where nothing meets the goal's targets."""
        return self.markets.of(model, goal, allowed, used)


def options_of(plays: PlaySet, own: Sequence[int], routes: Sequence[str], bought: Sequence[int]) -> Iterator[Option]:
    """Every play by every route that its models have: an API where dollars are recorded, own devices where it fits."""
    for play in plays.plays:
        route_choices = [
            [r for r in routes if (r == "api" and model in bought) or (r == "own" and model in own)]
            for model in play.models
        ]
        for picked in product(*route_choices):
            axes = {
                "strategy": frozenset((play.name,)),
                "model": frozenset(str(plays.models[model]) for model in play.models),
                "route": frozenset(picked),
            }
            yield Option(play, dict(zip(play.models, picked, strict=True)), axes)
