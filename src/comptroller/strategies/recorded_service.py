"""Who plays a role in a replay: a recorded model with declared rates, or a modelled checker of stated error rates."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import isnan, nan
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from comptroller.costs.inference_units import (
    ModelCostShape,
    TokenPrice,
    attention_flops,
    cache_bytes_read,
    parameter_flops,
)
from comptroller.errors import InputError
from comptroller.quantities import Cost, TokenCounts, Values
from comptroller.strategies.protocol import Finish
from comptroller.work.evidence import RecordedModel


def cells(column: npt.NDArray[np.float64], row: int | npt.NDArray[np.int64]) -> Any:
    """The value of a column in a row, a plain number, or an array of those in an array of rows."""
    return float(column[row]) if isinstance(row, int) else column[row]


def zero_for_nan(values: Any) -> Any:
    """The values with 0 for those that are not recorded."""
    if isinstance(values, float):
        return 0.0 if isnan(values) else values
    return np.where(np.isnan(values), 0.0, values)


@dataclass(frozen=True, slots=True)
class ServicePace:
    """A declared latency model: seconds to the first token, per prompt token, and per generated token."""

    first_s: float
    input_token_s: float
    token_s: float


TICKS = ServicePace(0.0, 0.0, 1.0)
"""One second per generated token, where neither latency nor pace is known: it only orders parallel replies by length.
Its seconds are not reported: twice the value changes nothing."""

RIGHT = 0.5
"""Score from which a modelled checker treats a reply as right. Recorded scores that ship are 0 or 1, where any value in
(0, 1] decides alike; at 1 partial credit counts as wrong."""


@dataclass(frozen=True, slots=True)
class RecordedService:
    """A recorded model bound to a role, with declared rates that replace or complete its record.

    pace: latency; None for the recorded one.  price: dollars per token; None for recorded dollars.  joules: per token;
    None for unknown energy.  shape: of the model, for FLOPs and cache bytes; None for unknown.
    """

    arm: RecordedModel
    pace: ServicePace | None = None
    price: TokenPrice | None = None
    joules: TokenPrice | None = None
    shape: ModelCostShape | None = None

    def cost(self, input_tokens: Values, output_tokens: Values, reasoning_tokens: Values, usd: Values) -> Cost:
        """Cost of a reply from its tokens; `usd` are the recorded dollars, used where no price is declared.

        Arrays, one entry for each of several replies, give a cost of arrays.
        """
        generated = output_tokens + reasoning_tokens
        flops: Values = nan
        moved: Values = nan
        if self.shape is not None:
            work = attention_flops(self.shape, input_tokens, generated)
            flops = parameter_flops(self.shape.params, input_tokens + generated) + work
            moved = cache_bytes_read(self.shape, input_tokens, generated)
        return Cost(
            device_s=nan,
            tokens=TokenCounts(input=input_tokens, output=output_tokens, reasoning=reasoning_tokens),
            flops=flops,
            bytes=moved,
            j=nan if self.joules is None else self.joules.usd(input_tokens, generated),
            usd=usd if self.price is None else self.price.usd(input_tokens, generated),
            gco2e=nan,
        )


@dataclass(frozen=True, slots=True)
class ModelledChecker:
    """A modelled checker of the reply that an ask continues: the one role that uses recorded truth.

    tpr: chance that it accepts a right answer.  fpr: chance that it accepts a wrong one.  cost, seconds: of a check.
    Every check draws a verdict independently. A verdict has a score and no text, so a revision after it is the one
    recorded for the checked reply.

    Raises:
        InputError: a rate lies outside [0, 1], or seconds are negative.
    """

    tpr: float = 1.0
    fpr: float = 0.0
    cost: Cost = field(default_factory=Cost)
    seconds: float = 0.0

    def __post_init__(self) -> None:
        if not (0 <= self.tpr <= 1 and 0 <= self.fpr <= 1 and self.seconds >= 0):
            raise InputError(f"checker: rates must lie in [0, 1] and seconds not below 0, not {self}")

    def may_err(self, right: bool) -> bool:
        """Whether two verdicts on a right, or a wrong, answer may differ."""
        return 0 < (self.tpr if right else self.fpr) < 1

    def judged(self, right: bool, rng: np.random.Generator) -> float:
        """A verdict, 1 for accepted."""
        return float(rng.random() < (self.tpr if right else self.fpr))


class RecordedReply(NamedTuple):
    """A recorded reply of a service. row: in the evidence.  first_s, last_s: seconds to the first and last token."""

    row: int
    finish: Finish
    answer: str | None
    content: str
    score: float
    logprobs: tuple[float, ...] | None
    cost: Cost
    first_s: float
    last_s: float

    @property
    def made(self) -> float:
        """Generated tokens, reasoning included."""
        return float(self.cost.tokens.output + self.cost.tokens.reasoning)
