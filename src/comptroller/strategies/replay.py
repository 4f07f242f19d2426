"""The replay world: recorded evidence supplies the replies, recorded or declared latencies the clock.

An ask is answered by the next recorded reply to the same ask: of the same question, model, format, effort and role,
after the same recorded reply, greedy or sampled. An ask without a record raises an error that names the gap. Only the
scorer knows truth (`ReplayWorld.score`); a strategy sees it only through a checker of stated error rates.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import replace
from functools import cached_property
from math import isnan, nan
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from comptroller.errors import UnsupportedError
from comptroller.quantities import Cost, TokenCounts
from comptroller.strategies.protocol import Answer, Ask, Reply, Strategy, StrategyQuestion
from comptroller.strategies.recorded_price import recorded_price
from comptroller.strategies.recorded_roles import BESIDE, RECORDED, uses
from comptroller.strategies.recorded_service import (
    RIGHT,
    TICKS,
    ModelledChecker,
    RecordedReply,
    RecordedService,
    ServicePace,
    cells,
    zero_for_nan,
)
from comptroller.strategies.studied_samples import studied_samples
from comptroller.work.evidence import REVISER, SOLVER, STEP, VERIFIER, Evidence, Ints, RecordedAskKey

Bools = npt.NDArray[np.bool_]

__all__ = ["RIGHT", "EvidenceReplay", "ModelledChecker", "RecordedService", "ReplayWorld", "ServicePace"]


class PreparedContext(NamedTuple):
    """What was prepared of a context before its questions came: the reply, what it took, and who said what for it."""

    reply: Reply | None
    cost: Cost
    records: Mapping[Ask, RecordedReply]


class EvidenceReplay:
    """Evidence with roles bound to recorded models or checkers; makes one world per question and strategy.

    seed: of the order in which recorded samples are used, the same for every strategy; None keeps the recorded order.
    timed: whether every reply has a recorded or declared latency.  chances: what may be otherwise in another deal: asks
    with several recorded replies, roles whose verdicts err, strategies that drew lots.

    Raises:
        UnsupportedError: a bound model is not recorded.
    """

    def __init__(
        self, evidence: Evidence, roles: Mapping[str, RecordedService | ModelledChecker], seed: int | None = None
    ) -> None:
        self.evidence, self.roles, self.seed = evidence, dict(roles), seed
        texts = {item.id: item.text for item in evidence.items}
        self.questions = tuple(
            StrategyQuestion(item.id, item.text, texts.get(item.context, ""), task=item.task) for item in evidence.items
        )
        services = [role for role in roles.values() if isinstance(role, RecordedService)]
        self._arms = {service.arm: evidence.arm(service.arm) for service in services}
        self._prices = {arm: recorded_price(evidence, number) for arm, number in self._arms.items()}
        self._records: dict[tuple[str, int], RecordedReply] = {}
        self.dealt: dict[RecordedAskKey, list[int]] = {}
        self.chances: set[RecordedAskKey | str] = set()
        self.dealt_first: Bools | None = None
        self._studies: dict[tuple[frozenset[str], bool], Bools] = {}
        self.prepared: dict[tuple[Strategy, int], PreparedContext] = {}
        of_arms = np.isin(evidence.rows.arm, list(self._arms.values()))
        recorded = not np.isnan(evidence.rows.latency_s[of_arms]).any()
        self.timed = all(service.pace is not None for service in services) or recorded

    def dealt_by(self, seed: int | None) -> EvidenceReplay:
        """The same with the order of the recorded samples that a seed gives, nothing dealt yet."""
        other = copy(self)
        other.seed, other.dealt, other.chances, other.prepared = seed, {}, set(), {}
        return other

    def for_readers(self, strategy: object) -> EvidenceReplay:
        """The same for a strategy that reads verdicts on samples, or revisions of them: of each question those samples
        are dealt first that the study of these looked at, in as random an order. Those without an answer are among
        them only for a strategy that never asks for a verdict on such a one (`reads_answers`)."""
        read = {RECORDED[role] for role in uses(strategy) if RECORDED.get(role) in (VERIFIER, REVISER)}
        if not read:
            return self
        key = (frozenset(read), bool(getattr(strategy, "reads_answers", False)))
        if key not in self._studies:
            self._studies[key] = np.all([studied_samples(self.evidence, role, key[1]) for role in read], axis=0)
        other = copy(self)
        other.dealt, other.dealt_first = {}, self._studies[key]
        return other

    def world_of(
        self, strategy: object, question: int, known: Mapping[Ask, RecordedReply] | None = None
    ) -> ReplayWorld:
        """A world for one run of a strategy: what it reads is dealt first."""
        return self.for_readers(strategy).world(question, known)

    @cached_property
    def strong_roles(self) -> frozenset[str]:
        """Roles bound to the solver's model, where models beside it and its reward are; empty for a single model."""
        others = {name: role for name, role in self.roles.items() if name != "reward"}
        arms = {name: role.arm for name, role in others.items() if isinstance(role, RecordedService)}
        if len(set(arms.values())) < 2:
            return frozenset()
        return frozenset(name for name, arm in arms.items() if arm == arms.get("solver"))

    def covered(self, roles: Sequence[str] = ()) -> Ints:
        """Questions (indices) where every bound model has a reply or steps, and every role in `roles` what it reads."""
        rows, count = self.evidence.rows, len(self.evidence.items)
        arms = {role: self._arms[who.arm] for role, who in self.roles.items() if isinstance(who, RecordedService)}
        needed = {
            (arm, (VERIFIER,) if role == "reward" else (SOLVER, STEP))
            for role, arm in arms.items()
            if role not in BESIDE
        }
        needed |= {
            (self._arms[self._service(role).arm], (RECORDED[role],))
            for role in roles
            if role in RECORDED and role in self.roles
        }
        recorded = [
            np.bincount(rows.question[(rows.arm == arm) & np.isin(rows.role, kinds)], minlength=count) > 0
            for arm, kinds in needed
        ]
        return np.flatnonzero(np.all(recorded, axis=0))

    @cached_property
    def answered(self) -> bool:
        """Whether some reply of the bound models has an answer to compare."""
        answers = self.evidence.rows.answer[np.isin(self.evidence.rows.arm, list(self._arms.values()))]
        return any(answer is not None for answer in answers)

    def world(self, question: int, known: Mapping[Ask, RecordedReply] | None = None) -> ReplayWorld:
        """A world for one run on the question of this index. known: what was replied before the question came."""
        return ReplayWorld(self, question, known or {})

    def arm(self, service: RecordedService, effort: str) -> int:
        """Index of the recorded model that answers asks of an effort; raises UnsupportedError if there is none."""
        if not effort or effort == service.arm.effort:
            return self._arms[service.arm]
        return self.evidence.arm(service.arm._replace(effort=effort))

    def record(self, role: str, row: int) -> RecordedReply:
        """The recorded reply in a row, at the cost and latency of the service bound to the role."""
        record = self._records.get((role, row))
        if record is None:
            rows, logs = self.evidence.rows, self.evidence.logprobs
            service = self._service(role)
            cost = self.costs(service, row)
            first, last = self._seconds(service, row, cost.tokens)
            record = self._records[role, row] = RecordedReply(
                row=row,
                finish=rows.finish[row].item() or "stop",
                answer=rows.answer[row],
                content=rows.content[row] or "",
                score=float(rows.judgement[row]),
                logprobs=None if logs is None or logs[row] is None else tuple(np.asarray(logs[row]).tolist()),
                cost=cost,
                first_s=first,
                last_s=last,
            )
        return record

    def _service(self, role: str) -> RecordedService:
        if not isinstance(service := self.roles[role], RecordedService):
            raise UnsupportedError(f"the role {role!r} is a modelled checker and gives no recorded reply")
        return service

    def costs(self, service: RecordedService, row: int | Ints) -> Cost:
        """The cost of the reply in a row, or of arrays for those in an array of rows."""
        rows = self.evidence.rows
        # tokens whose kind is not recorded are in the larger kind: input for prompts, output for generated ones
        fresh, output, usd = (cells(one, row) for one in (rows.input_tokens, rows.output_tokens, rows.usd))
        cached, reasoning = (zero_for_nan(cells(one, row)) for one in (rows.cached_tokens, rows.reasoning_tokens))
        cost = service.cost(fresh + cached, output, reasoning, usd)
        return replace(cost, tokens=replace(cost.tokens, input=fresh, cached=cached))

    def _seconds(self, service: RecordedService, row: int, tokens: TokenCounts) -> tuple[float, float]:
        """Seconds to the first token and to the last."""
        last = float(self.last_seconds(service, row, tokens))
        if service.pace is None and self.timed:
            return float(zero_for_nan(self.evidence.rows.ttft_s[row])), last
        pace, prompt = service.pace or TICKS, float(tokens.input + tokens.cached)
        return pace.first_s + (pace.input_token_s * prompt if pace.input_token_s else 0.0), last

    def last_seconds(self, service: RecordedService, row: int | Ints, tokens: TokenCounts) -> Any:
        """Seconds to the last token of the reply in a row, or in each of an array of rows, of so many tokens."""
        if service.pace is None and self.timed:
            return self.evidence.rows.latency_s[row]
        pace = service.pace or TICKS
        prompt_s = pace.input_token_s * (tokens.input + tokens.cached) if pace.input_token_s else 0.0
        return pace.first_s + prompt_s + pace.token_s * zero_for_nan(tokens.output + tokens.reasoning)

    def shortened(self, role: str, record: RecordedReply, made: float) -> RecordedReply:
        """The reply truncated after `made` generated tokens, of which reasoning tokens come first."""
        share = made / record.made if record.made > 0 else 1.0
        last = record.first_s + (record.last_s - record.first_s) * share
        cost = self._truncated_cost(self._service(role), record.cost, made)
        logprobs = record.logprobs and record.logprobs[: int(made)]
        return record._replace(finish="length", answer=None, content="", logprobs=logprobs, cost=cost, last_s=last)

    def resumed(self, role: str, record: RecordedReply, made: float) -> RecordedReply:
        """What comes of the reply after its first `made` generated tokens, which its prompt then holds."""
        whole, service = record.cost, self._service(role)
        prompt, reasoning = float(whole.tokens.input + whole.tokens.cached) + made, float(whole.tokens.reasoning)
        left = max(reasoning - made, 0.0)
        output = record.made - made - left
        price = self._prices[service.arm] if service.price is None else None
        usd = nan if price is None else float(price.usd(prompt, left + output))
        last = record.first_s + (record.last_s - record.first_s) * (1 - made / record.made)
        logprobs = record.logprobs and record.logprobs[int(made) :]
        return record._replace(cost=service.cost(prompt, output, left, usd), logprobs=logprobs, last_s=last)

    def _truncated_cost(self, service: RecordedService, whole: Cost, made: float) -> Cost:
        reasoning = min(made, float(whole.tokens.reasoning))
        tokens = replace(whole.tokens, reasoning=reasoning, output=made - reasoning)
        prompt = float(tokens.input + tokens.cached)
        price = self._prices[service.arm] if service.price is None else None
        usd = nan if price is None else float(price.usd(prompt, made))
        return replace(service.cost(prompt, made - reasoning, reasoning, usd), tokens=tokens)


class ReplayWorld:
    """Answers the asks of one run; each recorded sample is used once, but a shortened one may be resumed."""

    def __init__(self, replay: EvidenceReplay, question: int, known: Mapping[Ask, RecordedReply]) -> None:
        self.replay, self.question = replay, question
        self._rows_left: dict[tuple[object, ...], Iterator[int]] = {}
        self.records: dict[Ask, RecordedReply] = dict(known)
        self._shortened: dict[Ask, RecordedReply] = {}

    @cached_property
    def _rng(self) -> np.random.Generator:
        # the last word separates verdicts from the stream of the strategy itself, [seed, question]
        return np.random.default_rng([self.replay.seed or 0, self.question, 1])

    def reply(self, ask: Ask, at_s: float) -> Reply:
        """The next recorded reply to the ask, or the verdict of a modelled checker.

        Raises:
            UnsupportedError: no (further) reply to the ask is recorded, or no role is bound; names the gap.
        """
        role = self.replay.roles.get(ask.role)
        if role is None:
            bound = ", ".join(sorted(self.replay.roles))
            raise UnsupportedError(f"nothing plays the role {ask.role!r} (`--role {ask.role}=MODEL`); bound: {bound}")
        if isinstance(role, ModelledChecker):
            return self._verdict(ask, role, at_s)
        record = self._rest(ask) or self._next(ask, role)
        if ask.max_tokens is not None and not record.made <= ask.max_tokens:
            if isnan(record.made):
                raise UnsupportedError(f"{self._where(ask)}: max_tokens is set, but output tokens are not recorded")
            self._shortened[ask] = record
            record = self.replay.shortened(ask.role, record, ask.max_tokens)
        self.records[ask] = record
        _, finish, answer, content, score, logprobs, cost, _, last_s = record
        return Reply(ask, finish, content, answer, score, logprobs, cost, at_s, at_s + last_s)

    def _next(self, ask: Ask, role: RecordedService) -> RecordedReply:
        """The next recorded reply to identical asks."""
        key = (ask.role, ask.after, ask.effort, ask.sampling.temperature == 0)
        rows = self._rows_left.get(key)
        if rows is None:
            rows = self._rows_left[key] = self._rows_for(ask, role)
        return self.replay.record(ask.role, next(rows))

    def _rest(self, ask: Ask) -> RecordedReply | None:
        """The rest of a shortened reply, where an ask of its role goes on from it without a word; else None."""
        earlier = ask.after
        if earlier is None or ask.content or ask.role != earlier.ask.role or earlier.ask not in self._shortened:
            return None
        whole = self._shortened[earlier.ask]
        return self.replay.resumed(ask.role, whole, self.records[earlier.ask].made)

    def cut(self, reply: Reply, at_s: float) -> Reply:
        """The reply cut at `at_s`: `cancelled`, at the cost of its prompt and the tokens generated by then."""
        cost, record = reply.cost, self.records.get(reply.ask)
        if at_s < reply.done_s:
            cost = Cost()
            if record is not None:
                decode_s = record.last_s - record.first_s
                share = max((at_s - reply.started_s - record.first_s) / decode_s, 0.0) if decode_s > 0 else 0.0
                cost = self.replay.shortened(reply.ask.role, record, float(np.floor(share * record.made))).cost
        return replace(
            reply, finish="cancelled", content="", answer=None, score=nan, logprobs=None, cost=cost, done_s=at_s
        )

    def score(self, answer: Answer) -> float:
        """The recorded score of an answer: 0 for none, one cut short or without an end, NaN if it was never scored."""
        if answer.reply is None or answer.reply.ask in self._shortened:
            return 0.0
        row, rows = self._recorded_row(answer.reply), self.replay.evidence.rows
        unfinished = rows.role[row] == STEP and rows.answer[row] is None
        return 0.0 if unfinished else float(rows.score[row])

    def _verdict(self, ask: Ask, checker: ModelledChecker, at_s: float) -> Reply:
        if ask.after is None:
            raise UnsupportedError(f"the role {ask.role!r} judges a reply, but is asked after none")
        row = self._recorded_row(ask.after)
        truth = 0.0 if ask.after.ask in self._shortened else float(self.replay.evidence.rows.score[row])
        if isnan(truth):
            raise UnsupportedError(f"{self._where(ask)}: a modelled checker needs scored replies")
        if checker.may_err(truth >= RIGHT):
            self.replay.chances.add(ask.role)
        judged, done_s = checker.judged(truth >= RIGHT, self._rng), at_s + checker.seconds
        return Reply(ask, "stop", score=judged, cost=checker.cost, started_s=at_s, done_s=done_s)

    def _recorded_row(self, reply: Reply) -> int:
        """The evidence row of a reply, or of the nearest recorded reply that it continues."""
        ancestor: Reply | None = reply
        while ancestor is not None:
            if ancestor.ask in self.records:
                return self.records[ancestor.ask].row
            ancestor = ancestor.ask.after
        raise UnsupportedError(f"{self._where(reply.ask)}: it goes on from a reply that is not in the evidence")

    def _rows_for(self, ask: Ask, service: RecordedService) -> Iterator[int]:
        """Evidence rows that answer identical asks, in order: one greedy row for ever, each sampled row once."""
        kind = RECORDED.get(ask.role, STEP if ask.stop else SOLVER)
        arm = self.replay.arm(service, ask.effort)
        parent = -1 if ask.after is None else self._recorded_row(ask.after)
        greedy = ask.sampling.temperature == 0 and kind == SOLVER
        key = RecordedAskKey(self.question, arm, kind, parent, greedy)
        rows = self.replay.dealt.get(key)
        if rows is None:
            rows = self.replay.dealt[key] = self._ordered_rows(key)
        if not rows:
            raise UnsupportedError(f"{self._where(ask)}: {self._gap(key)}")
        if self._is_drawn(rows, kind):
            self.replay.chances.add(key)
        while greedy:
            yield rows[0]
        yield from rows
        while kind == STEP and self._refused(rows[-1]):
            yield rows[-1]  # nothing more was proposed
        count = f"{len(rows)} {'is' if len(rows) == 1 else 'are'} recorded"
        raise UnsupportedError(f"{self._where(ask)}: sample {len(rows) + 1} is asked, {count}")

    def _ordered_rows(self, key: RecordedAskKey) -> list[int]:
        evidence = self.replay.evidence
        rows = evidence.at(key._replace(greedy=False))
        if key.greedy or key.role != SOLVER:  # of verdicts, notes and steps it does not matter how they were drawn
            rows = np.concatenate([evidence.at(key._replace(greedy=True)), rows])
        if key.greedy:
            rows = rows[evidence.greedy_replies[rows]]
        dealt: list[int] = rows.tolist()
        any_order = self.replay.seed is not None or evidence.exchangeable
        if any_order and self._is_drawn(dealt, key.role):
            seeds = [self.replay.seed or 0, key.question, key.arm, key.parent + 1, len(key.role)]
            dealt = np.random.default_rng(seeds).permutation(rows).tolist()
            dealt = sorted(dealt, key=self._refused) if key.role == STEP else dealt
        if (studied := self.replay.dealt_first) is not None and key.role == SOLVER and key.parent < 0:
            dealt.sort(key=lambda row: not studied[row])
        return dealt

    def _is_drawn(self, rows: list[int], role: str) -> bool:
        """Whether several replies were drawn independently, so that any order is as good: steps only where they are
        recorded with a temperature or as exchangeable, since a search proposes them in an order of its own."""
        evidence = self.replay.evidence
        drawn = role != STEP or evidence.exchangeable or bool((evidence.rows.temperature[rows] > 0).all())
        return len(rows) > 1 and drawn

    def _refused(self, row: int) -> bool:
        return bool(self.replay.evidence.rows.finish[row] == "refused")

    def _gap(self, key: RecordedAskKey) -> str:
        if key.greedy and len(self.replay.evidence.at(key._replace(greedy=False))):
            return "no greedy reply is recorded, only samples (once(greedy=false) takes one)"
        if key.role == STEP and key.parent >= 0:
            return "the step was never continued in the record (keep fewer steps, or score them as recorded, by=score)"
        if key.role == SOLVER and key.parent >= 0:
            return "no recorded reply goes on from another as this ask does"
        return f"no {'greedy ' * key.greedy}reply of a {key.role} is recorded"

    def _where(self, ask: Ask) -> str:
        role, evidence = self.replay.roles.get(ask.role), self.replay.evidence
        who = str(role.arm) if isinstance(role, RecordedService) else ask.role
        item = evidence.items[self.question].id
        return f"{evidence.source or 'evidence'}: question {item}, {who}, role {ask.role}"
