"""A recorded reference: two passes of an endpoint that one trusts, as a JSON file for later audits."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from comptroller.errors import FactError
from comptroller.measure.audit_probe import ProbePass, ProbePlan, ProbeReply

VERSION = 1


@dataclass(frozen=True, slots=True)
class AuditReference:
    """What a reference answered. claims: what it is, as its owner says."""

    claims: Mapping[str, str]
    plan: ProbePlan
    passes: tuple[ProbePass, ...]

    def first(self, plan: ProbePlan) -> tuple[ProbePass, ...]:
        """The passes over as many prompts and samples as a smaller audit asks."""
        return tuple(
            ProbePass(one.greedy[: plan.prompts], tuple(drawn[: plan.samples] for drawn in one.samples[: plan.prompts]))
            for one in self.passes
        )


def reference_text(reference: AuditReference) -> str:
    """The file's text."""
    document = {"audit_reference": VERSION, **asdict(reference)}
    return json.dumps(document, ensure_ascii=False, indent=1).replace("NaN", "null") + "\n"


def read_reference(path: Path, plan: ProbePlan) -> AuditReference:
    """The reference of a file, if it has what an audit asks.

    Raises:
        FactError: it is not there or no reference, of another version, or of fewer prompts or samples; says how many.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FactError(str(path), "file", error.strerror or "cannot be read") from error
    except ValueError as error:
        raise FactError(path.name, "file", f"is not JSON: {error}") from error
    if not isinstance(document, dict) or document.get("audit_reference") != VERSION:
        found = document.get("audit_reference") if isinstance(document, dict) else None
        raise FactError(path.name, "audit_reference", f"is {found!r}", f"{VERSION}: a file of `audit URL --record`")
    recorded = ProbePlan(**document["plan"])
    reference = AuditReference(document["claims"], recorded, tuple(_pass(one) for one in document["passes"]))
    if plan.prompts > recorded.prompts or plan.samples > recorded.samples or plan.max_tokens != recorded.max_tokens:
        asked = f"{plan.prompts} prompts, {plan.samples} samples, {plan.max_tokens} tokens"
        has = f"{recorded.prompts} prompts, {recorded.samples} samples, {recorded.max_tokens} tokens"
        raise FactError(path.name, "plan", f"has {has}; asked are {asked}", "record more, or --prompts and --samples")
    return reference


def _pass(document: Mapping[str, Any]) -> ProbePass:
    drawn = tuple(tuple(map(_reply, one)) for one in document["samples"])
    return ProbePass(tuple(map(_reply, document["greedy"])), drawn)


def _reply(document: Mapping[str, Any]) -> ProbeReply:
    lists: dict[str, Sequence[Any]] = {name: tuple(document[name]) for name in ("tokens", "logprobs")}
    return ProbeReply(**{**document, **lists})
