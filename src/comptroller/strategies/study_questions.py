"""Which questions a comparison stands on: those recorded for all that is compared, and all of each model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from comptroller.errors import InputError
from comptroller.strategies.deals import deals_of
from comptroller.strategies.protocol import QuestionBudget, Strategy
from comptroller.strategies.recorded_roles import uses
from comptroller.strategies.replay import EvidenceReplay
from comptroller.strategies.step_support import searches, within_record
from comptroller.work.evidence import Evidence

ByBinding = dict[EvidenceReplay, set[int]]


@dataclass(frozen=True, slots=True)
class StudyQuestions:
    """Numbers of questions by binding of roles to models.

    compared: those to compare on.  own: all recorded for a binding, where these are more.  notes: that explain them.
    refused: by binding the searches that the record does not bear, with why.
    """

    compared: ByBinding
    own: ByBinding
    notes: tuple[str, ...]
    refused: dict[EvidenceReplay, dict[str, str]] = field(default_factory=dict)

    def within(self, strategies: Sequence[Strategy], grid: bool, deals: int, budget: QuestionBudget) -> StudyQuestions:
        """The questions on which every search over steps among strategies stays within the record, in every deal. grid:
        at every point of their grids."""
        points = searches(strategies, grid)
        if not points:
            return self
        orders = {replay: list(deals_of(replay, deals)) for replay in self.compared}
        found = {
            replay: within_record(orders[replay], points, chosen, budget) for replay, chosen in self.compared.items()
        }
        compared = {replay: kept for replay, (kept, _) in found.items()}
        own = {replay: within_record(orders[replay], points, chosen, budget)[0] for replay, chosen in self.own.items()}
        left = sum(len(chosen) - len(compared[replay]) for replay, chosen in self.compared.items())
        note = f"{left} questions left out: a search continues a step there that was never continued in the record"
        refused = {replay: gaps for replay, (_, gaps) in found.items()}
        return StudyQuestions(compared, own, (*self.notes, note) if left else self.notes, refused)


def questions_of_tasks(evidence: Evidence, tasks: tuple[str, ...]) -> list[bool]:
    """Whether each question belongs to one of the domains; all do where none is named.

    Raises:
        InputError: no question is of a domain.
    """
    recorded = {item.task for item in evidence.items}
    unknown = [task for task in tasks if task not in recorded]
    if unknown:
        raise InputError(f"no task {unknown[0]!r} in the evidence; it has {', '.join(sorted(filter(None, recorded)))}")
    return [not tasks or item.task in tasks for item in evidence.items]


def common_questions(
    replays: Sequence[EvidenceReplay], strategies: Sequence[Strategy], keep: Sequence[bool]
) -> StudyQuestions:
    """Questions of each binding to compare on.

    They are the questions recorded for every binding, and for every strategy that needs verdicts or revisions and has
    any. Bindings without a common question keep their own.
    """
    every: set[int] = set()
    by_replay: ByBinding = {}
    for replay in replays:
        covered = {int(number) for number in replay.covered() if keep[number]}
        every |= covered
        for roles in dict.fromkeys(map(uses, strategies)):
            covered = covered & {int(number) for number in replay.covered(roles)} or covered
        if covered:
            by_replay[replay] = covered
    shared = set.intersection(*by_replay.values()) if by_replay else set()
    if shared:
        note = f"on {len(shared):,} of {len(every):,} questions: those recorded for all that is compared"
        own = {replay: chosen for replay, chosen in by_replay.items() if len(chosen) > len(shared)}
        return StudyQuestions(dict.fromkeys(by_replay, shared), own, (note,) if len(shared) < len(every) else ())
    notes = ("the models were asked different questions, so they do not compare",) if by_replay else ()
    return StudyQuestions(by_replay, {}, notes)
