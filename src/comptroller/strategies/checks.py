"""Range and membership checks of strategy parameters."""

from __future__ import annotations

from collections.abc import Iterable

from comptroller.errors import InputError, UnknownIdError


def at_least(low: float, **values: float) -> None:
    """Raises InputError unless every value is at least `low`.

    >>> at_least(1, n=8)
    """
    for name, value in values.items():
        if not value >= low:
            raise InputError(f"{name} is {value}; it must be at least {low}")


def between(low: float, high: float, **values: float) -> None:
    """Raises InputError unless every value lies in [low, high].

    >>> between(0, 1, threshold=0.95)
    """
    for name, value in values.items():
        if not low <= value <= high:
            raise InputError(f"{name} is {value}; it must lie between {low} and {high}")


def require_known(kind: str, name: str, allowed: Iterable[str]) -> None:
    """Raises UnknownIdError unless the name is one of those allowed.

    >>> require_known("weight", "plain", ["plain", "score"])
    """
    if name not in allowed:
        raise UnknownIdError(kind, name, allowed)
