"""Dollars of recorded replies by a declared price of each model, in place of what was or was not recorded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated

import numpy as np
from pydantic import BaseModel, Field

from comptroller.errors import InputError
from comptroller.work.evidence import Evidence, RecordedModel
from comptroller.work.sizes import STRICT

PER_MILLION = 1e-6

Dollars = Annotated[float, Field(strict=True, ge=0)]


class DeclaredTokenPrice(BaseModel):
    """What a recorded model's tokens cost.

    input: dollars per million tokens of prompts.  output: dollars per million tokens of replies, reasoning among them.
    """

    model_config = STRICT
    input: Dollars
    output: Dollars

    @classmethod
    def parse(cls, text: str) -> DeclaredTokenPrice:
        """A price written as `input,output`.

        Raises:
            InputError: it is none.

        >>> DeclaredTokenPrice.parse("10,30").output
        30.0
        """
        try:
            price_in, price_out = map(float, text.split(","))
            return cls(input=price_in, output=price_out)
        except ValueError as error:
            raise InputError(
                f"price {text!r}: write it as input,output in dollars per million tokens, as 10,30"
            ) from error


def with_declared_prices(evidence: Evidence, prices: Mapping[str, DeclaredTokenPrice]) -> Evidence:
    """The evidence with the dollars of the named models' replies; cached prompts count as prompts.

    Raises:
        InputError: a name is no model of the evidence, or two name the same one.
    """
    rows = evidence.rows.take(np.arange(len(evidence.rows)))
    priced: dict[RecordedModel, str] = {}
    for name, price in prices.items():
        named = evidence.named(name)
        if not named:
            known = ", ".join(dict.fromkeys(str(arm) for arm in evidence.arms))
            raise InputError(f"price of {name!r}: {evidence.source} has no such model; it has {known}")
        for arm in named:
            if (other := priced.setdefault(arm, name)) != name:
                raise InputError(f"price of {name!r}: {arm} has that of {other!r} already")
        arms = [evidence.arm(arm) for arm in named]
        use = np.isin(rows.arm, arms)
        made = rows.output_tokens[use] + np.nan_to_num(rows.reasoning_tokens[use])
        read = rows.input_tokens[use] + np.nan_to_num(rows.cached_tokens[use])
        rows.usd[use] = (read * price.input + made * price.output) * PER_MILLION
    return replace(evidence, rows=rows)
