"""What a plan or a register says of compute and rules: counts of FLOPs, verdicts, what a threshold does not see."""

from __future__ import annotations

from enum import StrEnum

from comptroller.planning.ground.day_document import DocumentPart


class RuleVerdict(StrEnum):
    """What a count says of a threshold; `within_error` where it lies between the least and the greatest count."""

    REACHED = "reached"
    NOT_REACHED = "not_reached"
    WITHIN_ERROR = "within_error"
    UNKNOWN = "unknown"


class ComputeCountDocument(DocumentPart):
    """FLOPs of a run by one method, with the least and the greatest that they may be. how: in words."""

    method: str
    flops: float
    low: float
    high: float
    how: str


class ThresholdDocument(DocumentPart):
    """A threshold, and whether a run reaches it. counted, low, high, at: in `unit` (FLOP, flop/s, TPP).

    applies_from, applies_until: days.  why: in words.
    """

    rule: str
    threshold: str
    jurisdiction: str
    applies_from: str
    applies_until: str | None
    verdict: RuleVerdict
    counted: float
    low: float
    high: float
    at: float
    unit: str
    means: str
    why: str


class ComputeRegister(DocumentPart):
    """Compute of a run. counts: by architecture, then by hardware.  other_flops: by stage that the workload states.

    thresholds: of every rule that speaks of such a run.  unseen: what thresholds of training compute do not see.
    """

    counts: tuple[ComputeCountDocument, ...]
    other_flops: dict[str, float]
    thresholds: tuple[ThresholdDocument, ...]
    unseen: tuple[str, ...]
