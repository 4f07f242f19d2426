"""What reasons ask of the proof of a plan: the same search for another goal, and what its fleets were seen to keep."""

from __future__ import annotations

from typing import Protocol

from comptroller.planning.ground.nouns import Fleet, Goal
from comptroller.planning.solve.search import KeepChoice, keep_everything

STEADY = "steady state, not simulated"
"""How a figure is marked that no simulated fleet stands behind, in a plan whose fleet was simulated."""


class ChoiceSolver(Protocol):
    """What finds the cheapest fleet for a goal among some choices."""

    def solve(self, goal: Goal, keep: KeepChoice = keep_everything) -> Fleet:
        """The cheapest.

        Raises:
            InfeasibleError: there is none.
        """
        ...


class ProofReader(ChoiceSolver, Protocol):
    """A solver whose fleets hold in simulation, and what was seen of them."""

    def bound_s(self, goal: Goal, number: int) -> float:
        """What the cheapest fleet for a goal keeps of one of its objectives."""
        ...

    def relaxed_s(self, goal: Goal, number: int, reach: float) -> float | None:
        """The smallest limit of an objective at which a cheaper fleet that was simulated holds; `None` up to `reach`
        times as long."""
        ...

    def cheapest_known(self, goal: Goal, keep: KeepChoice = keep_everything) -> Fleet | None:
        """The cheapest fleet that was simulated and holds a goal."""
        ...
