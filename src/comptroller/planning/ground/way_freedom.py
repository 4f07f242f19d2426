"""How freely the ways to answer may differ between classes of questions: what a plan needs evidence for."""

from __future__ import annotations

from enum import IntEnum


class WayFreedom(IntEnum):
    """From one way for everything to a mix for each class. More of it fits the recorded questions better, and needs
    more of them to do as well on others."""

    ONE_WAY = 0
    ONE_MIX = 1
    WAY_EACH = 2
    MIX_EACH = 3

    @property
    def same(self) -> bool:
        """Whether every class is answered alike."""
        return self < WayFreedom.WAY_EACH

    @property
    def whole(self) -> bool:
        """Whether a class has one way, and no shares of several."""
        return self in (WayFreedom.ONE_WAY, WayFreedom.WAY_EACH)

    @property
    def label(self) -> str:
        """It in words.

        >>> WayFreedom.ONE_MIX.label
        'one mix for all questions'
        """
        return f"{'one way' if self.whole else 'one mix'} for {'all questions' if self.same else 'each class'}"
