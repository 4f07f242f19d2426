"""What a strategy needs beside samples of a model, and who supplies it: to a replay or a simulation, and live.

A strategy declares roles (`uses`) and what it reads (`reads`); parameters add to both: a score by likelihood, a
checker, a strategy inside. The table of the documentation, refusals and the conformance tests read this one list.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, NamedTuple

import numpy as np

from comptroller.errors import UnsupportedError
from comptroller.strategies.recorded_roles import JUDGING
from comptroller.strategies.replay import EvidenceReplay
from comptroller.strategies.success_prediction import names as predictors
from comptroller.strategies.success_prediction import success_predictor
from comptroller.work.evidence import ASIDE, REVISER, SLEEPER, SOLVER, STEP, VERIFIER, Evidence


class WorldInput(NamedTuple):
    """Something that a strategy needs. what: it is.  recorded: who supplies it to a replay or simulation.

    live: who supplies it through the gateway.  there: whether a replay has it.
    """

    what: str
    recorded: str
    live: str
    there: Callable[[EvidenceReplay], bool]


def _rows(role: str) -> Callable[[EvidenceReplay], bool]:
    return lambda replay: bool((replay.evidence.rows.role == role).any())


def _bound(role: str) -> Callable[[EvidenceReplay], bool]:
    return lambda replay: role in replay.roles


def _has_scores(replay: EvidenceReplay) -> bool:
    rows = replay.evidence.rows
    return bool(np.isfinite(rows.judgement[np.isin(rows.role, (SOLVER, STEP))]).any())


def _goes_on(replay: EvidenceReplay) -> bool:
    rows = replay.evidence.rows
    return bool(((rows.role == SOLVER) & (rows.parent >= 0)).any())


def _on_contexts(replay: EvidenceReplay) -> bool:
    return any(item.context for item in replay.evidence.items) and _rows(SLEEPER)(replay)


REWARD = "reward"
"""The role that scores steps and samples."""


def recorded_rewards(evidence: Evidence) -> tuple[str, ...]:
    """Models with recorded verdicts, each a reward model, by the names that `--role reward=` takes."""
    rows = evidence.rows
    arms = np.unique(rows.arm[(rows.role == VERIFIER) & np.isfinite(rows.judgement)])
    return tuple(str(evidence.arms[arm]) for arm in arms.tolist())


def reward_offer(evidence: Evidence) -> str:
    """Who may score steps on this evidence, for an error."""
    offer, rows = INPUTS[REWARD].recorded, evidence.rows
    if names := recorded_rewards(evidence):
        return f"{offer}; MODEL is one of {', '.join(names)}"
    own = np.isfinite(rows.judgement[np.isin(rows.role, (SOLVER, STEP))]).any()
    return f"{offer}; no model's scores are recorded here{', but those of the steps, by=score' if own else ''}"


OWN_RUNS = "a table of own runs with rows of the role {} and the `parent` that they go on from"
PREFILL = "a service that goes on from its own words (`prefill = true`)"
INPUTS: Mapping[str, WorldInput] = {
    "answer": WorldInput(
        "answers that compare", "the column `answer`", "`comptroller.answer`, how one is read",
        lambda replay: replay.answered,
    ),
    "likelihood": WorldInput(
        "log-probabilities of tokens", "the column `logprobs`", "a service that tells `logprobs`",
        lambda replay: replay.evidence.logprobs is not None,
    ),
    "score": WorldInput("scores of samples", "the column `judgement`", "`comptroller.checker`", _has_scores),
    "checker": WorldInput(
        "a check of answers", "`--checker TPR,FPR`, with recorded scores", "`comptroller.checker`, or that role",
        _bound("checker"),
    ),
    "reward": WorldInput(
        "scores of a reward model", "`--role reward=MODEL`, or `--reward TPR,FPR`", "the role `reward`",
        _bound("reward"),
    ),
    "verifier": WorldInput("verdicts", "rows of the role verifier", "the role `verifier`", _rows(VERIFIER)),
    "reviser": WorldInput("revisions", "rows of the role reviser", "the role `reviser`", _rows(REVISER)),
    "step": WorldInput("steps that can be continued", "rows of the role step", PREFILL, _rows(STEP)),
    "context": WorldInput(
        "a context and notes on it", "questions with a `context`, and rows of the role sleeper of the context itself",
        "POST /v1/contexts, and its id as `comptroller.context`", _on_contexts,
    ),
    "passage": WorldInput(
        "a context of the question", "questions with a `context`", "`comptroller.context`, or turns before the last",
        lambda replay: any(item.context for item in replay.evidence.items),
    ),
    "continuation": WorldInput("replies that go on from replies", OWN_RUNS.format("solver"), PREFILL, _goes_on),
    "turn": WorldInput("turns that go on from a reply", OWN_RUNS.format("solver"), "any service", _goes_on),
    "resumption": WorldInput("samples in parts", "samples, which are cut and resumed", PREFILL, lambda replay: True),
    **{
        role: WorldInput(f"replies of a {role}", OWN_RUNS.format(role), f"the role `{role}`", _rows(role))
        for role in ASIDE
    },
}  # fmt: skip
"""Name of an input -> what it is and who supplies it."""
BY = ("by", "weight", "judge", "planner", *JUDGING)
"""Parameters whose value names an input, or a trained part, which reads some."""


def needs(strategy: Any) -> tuple[str, ...]:
    """Names of the inputs of a strategy, of those inside it too, in the order of `INPUTS`.

    >>> from comptroller.strategies.spelling import parse
    >>> needs(parse("rebase(by=likelihood)")), needs(parse("sleep_time"))
    (('likelihood', 'step'), ('context',))
    """
    found = set(_input_names(strategy))
    return tuple(name for name in INPUTS if name in found)


def _input_names(strategy: Any) -> Iterator[str]:
    yield from getattr(strategy, "uses", ())
    yield from getattr(strategy, "reads", ())
    for name in BY:
        if isinstance(value := getattr(strategy, name, None), str):
            yield value
            yield from success_predictor(value).signals if value in predictors() else ()
    for item in fields(strategy):
        if is_dataclass(inside := getattr(strategy, item.name)):
            yield from _input_names(inside)


def lacking_inputs(strategy: Any, replay: EvidenceReplay) -> list[str]:
    """What a replay lacks for a strategy, each input in words with who supplies it; nothing where all is there."""
    lacking = [name for name in needs(strategy) if not INPUTS[name].there(replay)]
    offers = {REWARD: reward_offer(replay.evidence)} if REWARD in lacking else {}
    return [f"{INPUTS[name].what} ({offers.get(name, INPUTS[name].recorded)})" for name in lacking]


def require_inputs(strategy: Any, replay: EvidenceReplay, spelled: str) -> None:
    """Checks that a replay has what a strategy needs.

    Raises:
        UnsupportedError: it lacks something; names all of it, and who supplies it.
    """
    if missing := lacking_inputs(strategy, replay):
        source = replay.evidence.source or "evidence"
        raise UnsupportedError(f"{source}: {spelled} needs {', and '.join(missing)}")
