"""Rating: usage times a dated price, in integer picodollars."""

from __future__ import annotations

from dataclasses import dataclass, field

from comptroller.costs.carbon import Energy


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a call cost: integer picodollars and the id of the price, None where unknown.

    price: id of the price in the books.  extra: what was used beside the call's tokens (images, seconds).
    note: why dollars are unknown, or what the provider says.
    """

    pusd: int | None
    price: str = ""
    energy: Energy = field(default_factory=Energy)
    extra: str = ""
    note: str = ""

    @classmethod
    def unknown(cls, why: str, energy: Energy | None = None) -> Receipt:
        """A receipt without dollars; never 0.

        >>> Receipt.unknown("no price for model x").pusd is None
        True
        """
        return cls(None, energy=energy or Energy(), note=why)
