"""Options of commands that read evidence: which column of a table holds what, whose replies, who plays which role."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import typer

from comptroller.errors import InputError
from comptroller.strategies.deals import DEALS
from comptroller.strategies.modelled_reward import recorded_reward
from comptroller.strategies.replay import ModelledChecker
from comptroller.work.declared_prices import DeclaredTokenPrice, with_declared_prices
from comptroller.work.evidence import Evidence, RecordedModel
from comptroller.work.evidence_columns import EvidenceColumnNames
from comptroller.work.evidence_pool import pool_of, solvers
from comptroller.work.evidence_readers import read_evidence

DEFAULT_SAMPLES = 100
"""Samples drawn of each question where only counts are recorded; fewer where fewer were recorded of a question."""


DEFAULT_DEALS = DEALS
"""Deals of the recorded samples that a replay averages over."""


ColumnTexts = Annotated[
    list[str] | None,
    typer.Option(
        "--map",
        help="Which column of the evidence holds what, as question=id,model=llm,score=correct,usd=cost; dotted "
        "names look inside objects, latency_s=ms*0.001 changes the unit.",
        show_default=False,
    ),
]
Rewards = Annotated[
    str,
    typer.Option(
        help="Who scores steps where no recorded model does: true and false positive rate, or EVIDENCE:MODEL, whose "
        "scores of right and wrong steps are drawn from.",
        show_default=False,
    ),
]
NEVER_WRONG = "1.0,0.0"
Rates = Annotated[str, typer.Option(help="The modelled checker's true and false positive rate.")]
RoleTexts = Annotated[
    list[str] | None, typer.Option(help="Which model plays a role, as weak=NAME; again for others.", show_default=False)
]


def evidence_map(columns: ColumnTexts = None) -> EvidenceColumnNames | None:
    """The columns that were named; None where none was."""
    return EvidenceColumnNames.parse(columns) if columns else None


EvidenceMap = EvidenceColumnNames | None


def records_of(path: Path, samples: int, seed: int, columns: EvidenceMap = None) -> Evidence:
    """The evidence of a file; where only counts are recorded, so many samples drawn of each question."""
    evidence = read_evidence(path, columns)
    if isinstance(evidence, Evidence):
        return evidence
    least_recorded = int(evidence.n[evidence.n > 0].min())
    return evidence.evidence(min(samples, least_recorded), np.random.default_rng(seed))


def records_at_prices(records: Evidence, texts: list[str]) -> tuple[Evidence, str, tuple[str, ...]]:
    """The records with the prices that texts NAME=INPUT,OUTPUT declare, the price for all, empty if there is none, and
    what is to be told of the former.

    Raises:
        InputError: several prices for all, one beside prices of models, or a recorded model that there is not.
    """
    for_all = [text for text in texts if "=" not in text]
    if len(for_all) > 1:
        raise InputError(
            f"--price {for_all[1]!r}: one price for all is {for_all[0]!r}; name the model, NAME=input,output"
        )
    pairs = named_pairs("price", "NAME=input,output", [text for text in texts if "=" in text])
    if for_all and pairs:
        raise InputError(
            f"--price {for_all[0]!r} is of all models beside {', '.join(pairs)}: write NAME=input,output of each"
        )
    by_model = {name: DeclaredTokenPrice.parse(told) for name, told in pairs.items()}
    notes = (f"modelled: dollars of {name} from the declared {told} per million tokens" for name, told in pairs.items())
    return with_declared_prices(records, by_model), "".join(for_all), tuple(notes)


def named_pairs(option: str, form: str, texts: list[str]) -> dict[str, str]:
    """Texts NAME=VALUE as pairs.

    Raises:
        InputError: a text is no pair, or a name stands twice with different values; names all such.

    >>> named_pairs("role", "ROLE=MODEL", ["weak=small", "strong = large"])
    {'weak': 'small', 'strong': 'large'}
    """
    pairs: dict[str, str] = {}
    faults = []
    for text in texts:
        name, _, who = (part.strip() for part in text.partition("="))
        if not (name and who):
            faults.append(f"--{option} {text!r}: write it as {form}")
        elif pairs.setdefault(name, who) != who:
            faults.append(f"--{option} {text!r}: {name} is {pairs[name]} already")
    if faults:
        raise InputError("; ".join(faults))
    return pairs


def players_of(
    evidence: Evidence, names: list[str], texts: list[str], pool: bool
) -> tuple[Evidence, tuple[RecordedModel, ...], dict[str, RecordedModel]]:
    """The evidence, the models of the names, and who plays which role, of texts ROLE=MODEL.

    pool: whether the models (where none is named, all that solve and play no role) are one, which is then recorded.
    """
    roles = roles_of(evidence, texts)
    if not pool:
        return evidence, arms_of(evidence, names), roles
    every = [evidence.arms[arm] for arm in solvers(evidence) if evidence.arms[arm] not in roles.values()]
    together = pool_of(evidence, arms_of(evidence, names) or every)
    return together, together.arms[-1:], roles


def arms_of(evidence: Evidence, names: list[str]) -> tuple[RecordedModel, ...]:
    """All arms of the names."""
    return tuple(dict.fromkeys(arm for name in names for arm in evidence.named(name) or (evidence.find(name),)))


def roles_of(evidence: Evidence, texts: list[str]) -> dict[str, RecordedModel]:
    """Who plays each role, of texts ROLE=MODEL; InputError where one is none, or no arm or several have the name."""
    return {name: evidence.find(who) for name, who in named_pairs("role", "ROLE=MODEL", texts).items()}


def numbers(name: str, text: str, count: int) -> list[float]:
    """The numbers of an option; InputError unless there are so many, none below 0."""
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if len(values) != count or not all(value >= 0 for value in values):
        raise InputError(f"--{name} {text!r}: write {count} numbers from 0 up, separated by commas")
    return values


class ModelledJudges(NamedTuple):
    """Who checks answers and who scores steps where no recorded model does; nobody scores where `reward` is None."""

    checker: ModelledChecker
    reward: ModelledChecker | None

    @property
    def roles(self) -> dict[str, ModelledChecker]:
        """Role -> who plays it."""
        return {"checker": self.checker} | ({} if self.reward is None else {"reward": self.reward})


def modelled_judges(checker: Rates = NEVER_WRONG, reward: Rewards = "") -> ModelledJudges:
    """The modelled judges of a replay or simulation, by their error rates."""
    tpr, fpr = numbers("checker", checker, 2)
    return ModelledJudges(ModelledChecker(tpr, fpr), reward_of(reward) if reward else None)


def reward_of(text: str) -> ModelledChecker:
    """Who scores steps: of stated error rates, or as a recorded model errs (EVIDENCE:MODEL)."""
    file, colon, model = text.rpartition(":")
    if not colon:
        tpr, fpr = numbers("reward", text, 2)
        return ModelledChecker(tpr, fpr)
    records = read_evidence(Path(file))
    if not isinstance(records, Evidence):
        raise InputError(f"--reward {text!r}: {file} holds counts; scores of steps are needed")
    return recorded_reward(records, model)
