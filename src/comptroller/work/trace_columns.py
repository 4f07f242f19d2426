"""Which column of a trace holds what, and which others may matter."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

ColumnName = Annotated[str, Field(min_length=1)]

_MATTERS = """
adapter app application block blocks cached class client conversation customer deadline delay department hash ids key
lora model org organisation organization parent prefix prio priority project qos reasoning session sla slo team tenant
think thread tier turn urgency user
"""
MATTERS = frozenset(_MATTERS.split())
"""Words in the name of a column that no reader used and that may change a plan: who asks, how urgent it is, what is
shared with other requests, which model answers. A word too many costs a remark, one too few a column passed over."""


class TraceColumnNames(BaseModel):
    """The columns of a trace by what they hold; a dotted name (`usage.prompt_tokens`) looks inside JSON objects.

    arrival: time stamps, or numbers in `unit`.  input, output: tokens of the prompt and of the reply.  session, tenant,
    adapter: any text or number, equal for what belongs together; without an adapter a request takes the model as it is.
    priority: a number, larger first.  blocks: hashes of the prompt's prefix blocks, of `block_tokens` tokens each.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    arrival: ColumnName | None = None
    input: ColumnName | None = None
    output: ColumnName | None = None
    session: ColumnName | None = None
    tenant: ColumnName | None = None
    adapter: ColumnName | None = None
    priority: ColumnName | None = None
    blocks: ColumnName | None = None
    unit: Literal["s", "ms", "us", "ns"] | None = None
    block_tokens: Annotated[int, Field(strict=True, ge=1)] | None = None

    @property
    def by_role(self) -> dict[str, str]:
        """Name of the column of each role that has one.

        >>> TraceColumnNames(arrival="t", unit="ms").by_role
        {'arrival': 't'}
        """
        named = self.model_dump(exclude={"unit", "block_tokens"}, exclude_none=True)
        return {role: str(name) for role, name in named.items()}

    def over(self, usual: TraceColumnNames) -> TraceColumnNames:
        """These names, and the usual ones where none is given; the unit of another arrival column is not taken over."""
        kept = usual.model_dump(exclude_none=True)
        if self.arrival is not None and self.arrival != usual.arrival:
            kept.pop("unit", None)
        return TraceColumnNames(**kept | self.model_dump(exclude_none=True))


def unused_note(file: str, names: Iterable[str], used: Iterable[str]) -> tuple[str, ...]:
    """One sentence on the columns that were not used and may matter by a word of their name; empty if there is none.

    >>> unused_note("log.csv", ["t", "userId", "x_tier", "Total tokens"], ["t"])
    ('not used of log.csv, though it may matter: userId, x_tier',)
    """
    used = set(used)
    unused = [name for name in names if name not in used and not MATTERS.isdisjoint(_words(name))]
    return (f"not used of {file}, though it may matter: {', '.join(unused)}",) if unused else ()


def _words(name: str) -> list[str]:
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    return re.split(r"[^a-z]+", spaced.lower())
