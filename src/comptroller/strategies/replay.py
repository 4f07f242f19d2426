"""The replay world: recorded evidence supplies the replies, recorded or declared latencies the clock.

An ask is answered by the next recorded reply to the same ask: of the same question, model, format, effort and role,
after the same recorded reply, greedy or sampled. An ask without a record raises an error that names the gap. Only the
scorer knows truth (`ReplayWorld.score`); a strategy sees it only through a checker of stated error rates.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import isnan, nan
from typing import NamedTuple

import numpy as np

from comptroller.costs.inference_units import (
    ModelCostShape,
    TokenPrice,
    attention_flops,
    cache_bytes_read,
    parameter_flops,
)
from comptroller.errors import InputError, UnsupportedError
from comptroller.quantities import Cost, TokenCounts
from comptroller.strategies.protocol import Answer, Ask, Finish, Reply, StrategyQuestion
from comptroller.strategies.recorded_price import recorded_price
from comptroller.work.evidence import REVISER, SOLVER, STEP, VERIFIER, Evidence, Ints, RecordedAskKey, RecordedModel


@dataclass(frozen=True, slots=True)
class ServicePace:
    """A declared latency model: seconds to the first token, per prompt token, and per generated token."""

    first_s: float
    input_token_s: float
    token_s: float


TICKS = ServicePace(0.0, 0.0, 1.0)
"""One second per generated token, where neither latency nor pace is known: it only orders parallel replies by length.
Its seconds are not reported: twice the value changes nothing."""

RIGHT = 0.5
"""Score from which a modelled checker treats a reply as right. Recorded scores that ship are 0 or 1, where any value in
(0, 1] decides alike; at 1 partial credit counts as wrong."""


@dataclass(frozen=True, slots=True)
class RecordedService:
    """A recorded model bound to a role, with declared rates that replace or complete its record.

    pace: latency; None for the recorded one.  price: dollars per token; None for recorded dollars.  joules: per token;
    None for unknown energy.  shape: of the model, for FLOPs and cache bytes; None for unknown.
    """

    arm: RecordedModel
    pace: ServicePace | None = None
    price: TokenPrice | None = None
    joules: TokenPrice | None = None
    shape: ModelCostShape | None = None

    def cost(self, input_tokens: float, output_tokens: float, reasoning_tokens: float, usd: float) -> Cost:
        """Cost of a reply from its tokens; `usd` are the recorded dollars, used where no price is declared."""
        generated = output_tokens + reasoning_tokens
        flops = moved = nan
        if self.shape is not None:
            work = attention_flops(self.shape, input_tokens, generated)
            flops = float(parameter_flops(self.shape.params, input_tokens + generated) + work)
            moved = float(cache_bytes_read(self.shape, input_tokens, generated))
        return Cost(
            device_s=nan,
            tokens=TokenCounts(input=input_tokens, output=output_tokens, reasoning=reasoning_tokens),
            flops=flops,
            bytes=moved,
            j=nan if self.joules is None else float(self.joules.usd(input_tokens, generated)),
            usd=usd if self.price is None else float(self.price.usd(input_tokens, generated)),
            gco2e=nan,
        )


@dataclass(frozen=True, slots=True)
class ModelledChecker:
    """A modelled checker of the reply that an ask continues: the one role that uses recorded truth.

    tpr: chance that it accepts a right answer.  fpr: chance that it accepts a wrong one.  cost, seconds: of a check.
    Every check draws a verdict independently. A verdict has a score and no text, so a revision after it is the one
    recorded for the checked reply.

    Raises:
        InputError: a rate lies outside [0, 1], or seconds are negative.
    """

    tpr: float = 1.0
    fpr: float = 0.0
    cost: Cost = field(default_factory=Cost)
    seconds: float = 0.0

    def __post_init__(self) -> None:
        if not (0 <= self.tpr <= 1 and 0 <= self.fpr <= 1 and self.seconds >= 0):
            raise InputError(f"checker: rates must lie in [0, 1] and seconds not below 0, not {self}")

    def judged(self, right: bool, rng: np.random.Generator) -> float:
        """A verdict, 1 for accepted."""
        return float(rng.random() < (self.tpr if right else self.fpr))


class RecordedReply(NamedTuple):
    """A recorded reply of a service. row: in the evidence.  first_s, last_s: seconds to the first and last token."""

    row: int
    finish: Finish
    answer: str | None
    content: str
    score: float
    logprobs: tuple[float, ...] | None
    cost: Cost
    first_s: float
    last_s: float

    @property
    def made(self) -> float:
        """Generated tokens, reasoning included."""
        return float(self.cost.tokens.output + self.cost.tokens.reasoning)


RECORDED = {"verifier": VERIFIER, "reviser": REVISER, "reward": VERIFIER, "step": STEP}
"""Role of a strategy -> role of its replies in the evidence; every other role reads a solver's replies, or steps where
it asks for one (`Ask.stop`)."""


class EvidenceReplay:
    """Evidence with roles bound to recorded models or checkers; makes one world per question and strategy.

    seed: of the order in which recorded samples are used, the same for every strategy; None keeps the recorded order.
    timed: whether every reply has a recorded or declared latency.

    Raises:
        UnsupportedError: a bound model is not recorded.
    """

    def __init__(
        self, evidence: Evidence, roles: Mapping[str, RecordedService | ModelledChecker], seed: int | None = None
    ) -> None:
        self.evidence, self.roles, self.seed = evidence, dict(roles), seed
        self.questions = tuple(StrategyQuestion(item.id, item.text, task=item.task) for item in evidence.items)
        services = [role for role in roles.values() if isinstance(role, RecordedService)]
        self._arms = {service.arm: evidence.arm(service.arm) for service in services}
        self._prices = {arm: recorded_price(evidence, number) for arm, number in self._arms.items()}
        self._records: dict[tuple[str, int], RecordedReply] = {}
        self.dealt: dict[RecordedAskKey, list[int]] = {}
        of_arms = np.isin(evidence.rows.arm, list(self._arms.values()))
        recorded = not np.isnan(evidence.rows.latency_s[of_arms]).any()
        self.timed = all(service.pace is not None for service in services) or recorded

    def dealt_by(self, seed: int) -> EvidenceReplay:
        """The same with another order of the recorded samples."""
        other = copy(self)
        other.seed, other.dealt = seed, {}
        return other

    @cached_property
    def strong_roles(self) -> frozenset[str]:
        """Roles bound to the solver's model, where other models are bound too; empty for a single model."""
        arms = {name: role.arm for name, role in self.roles.items() if isinstance(role, RecordedService)}
        if len(set(arms.values())) < 2:
            return frozenset()
        return frozenset(name for name, arm in arms.items() if arm == arms.get("solver"))

    def covered(self, uses: Sequence[str] = ()) -> Ints:
        """Questions (indices) where every bound model has a reply or steps, and every role in `uses` what it reads."""
        rows, count = self.evidence.rows, len(self.evidence.items)
        arms = {role: self._arms[who.arm] for role, who in self.roles.items() if isinstance(who, RecordedService)}
        needed = {(arm, (VERIFIER,) if role == "reward" else (SOLVER, STEP)) for role, arm in arms.items()}
        needed |= {(self._arms[self._service(role).arm], (RECORDED[role],)) for role in uses if role in RECORDED}
        recorded = [
            np.bincount(rows.question[(rows.arm == arm) & np.isin(rows.role, kinds)], minlength=count) > 0
            for arm, kinds in needed
        ]
        return np.flatnonzero(np.all(recorded, axis=0))

    def require_answers(self) -> None:
        """Raises UnsupportedError unless some reply of the bound models has an answer to compare."""
        answers = self.evidence.rows.answer[np.isin(self.evidence.rows.arm, list(self._arms.values()))]
        if all(answer is None for answer in answers):
            raise UnsupportedError(
                f"{self.evidence.source or 'evidence'}: no answers are recorded, so there is nothing to vote over"
            )

    def world(self, question: int) -> ReplayWorld:
        """A world for one run on the question of this index."""
        return ReplayWorld(self, question)

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
            cost = self._cost(service, row)
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
        service = self.roles[role]
        if not isinstance(service, RecordedService):
            raise UnsupportedError(f"the role {role!r} is a modelled checker and gives no recorded reply")
        return service

    def _cost(self, service: RecordedService, row: int) -> Cost:
        rows = self.evidence.rows
        # tokens whose kind is not recorded are in the larger kind: input for prompts, output for generated ones
        fresh, cached = float(rows.input_tokens[row]), float(rows.cached_tokens[row])
        output, reasoning = float(rows.output_tokens[row]), float(rows.reasoning_tokens[row])
        cached, reasoning = (0.0 if isnan(value) else value for value in (cached, reasoning))
        cost = service.cost(fresh + cached, output, reasoning, float(rows.usd[row]))
        if not cached:
            return cost
        return replace(cost, tokens=replace(cost.tokens, input=fresh, cached=cached))

    def _seconds(self, service: RecordedService, row: int, tokens: TokenCounts) -> tuple[float, float]:
        """Seconds to the first token and to the last."""
        rows = self.evidence.rows
        if service.pace is None and self.timed:
            first, last = float(rows.ttft_s[row]), float(rows.latency_s[row])
            return (0.0 if isnan(first) else first), last
        pace, generated = service.pace or TICKS, float(tokens.output + tokens.reasoning)
        prompt = float(tokens.input + tokens.cached)
        first = pace.first_s + (pace.input_token_s * prompt if pace.input_token_s else 0.0)
        return first, first + (0.0 if isnan(generated) else pace.token_s * generated)

    def shortened(self, role: str, record: RecordedReply, made: float) -> RecordedReply:
        """The reply truncated after `made` generated tokens, of which reasoning tokens come first."""
        share = made / record.made if record.made > 0 else 1.0
        last = record.first_s + (record.last_s - record.first_s) * share
        cost = self._truncated_cost(self._service(role), record.cost, made)
        return record._replace(finish="length", answer=None, content="", cost=cost, last_s=last)

    def _truncated_cost(self, service: RecordedService, whole: Cost, made: float) -> Cost:
        reasoning = min(made, float(whole.tokens.reasoning))
        tokens = replace(whole.tokens, reasoning=reasoning, output=made - reasoning)
        prompt = float(tokens.input + tokens.cached)
        price = self._prices[service.arm] if service.price is None else None
        usd = nan if price is None else float(price.usd(prompt, made))
        return replace(service.cost(prompt, made - reasoning, reasoning, usd), tokens=tokens)


class ReplayWorld:
    """Answers the asks of one run; each recorded sample is used once."""

    def __init__(self, replay: EvidenceReplay, question: int) -> None:
        self.replay, self.question = replay, question
        self._rows_left: dict[tuple[object, ...], Iterator[int]] = {}
        self._records: dict[Ask, RecordedReply] = {}
        self._shortened: set[Ask] = set()

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
            raise UnsupportedError(
                f"nothing plays the role {ask.role!r}; bound: {', '.join(sorted(self.replay.roles))}"
            )
        if isinstance(role, ModelledChecker):
            return self._verdict(ask, role, at_s)
        key = (ask.role, ask.after, ask.effort, ask.sampling.temperature == 0)
        rows = self._rows_left.get(key)
        if rows is None:
            rows = self._rows_left[key] = self._rows_for(ask, role)
        record = self.replay.record(ask.role, next(rows))
        if ask.max_tokens is not None and not record.made <= ask.max_tokens:
            if isnan(record.made):
                raise UnsupportedError(f"{self._where(ask)}: max_tokens is set, but output tokens are not recorded")
            self._shortened.add(ask)
            record = self.replay.shortened(ask.role, record, ask.max_tokens)
        self._records[ask] = record
        _, finish, answer, content, score, logprobs, cost, _, last_s = record
        return Reply(ask, finish, content, answer, score, logprobs, cost, at_s, at_s + last_s)

    def cut(self, reply: Reply, at_s: float) -> Reply:
        """The reply cut at `at_s`: `cancelled`, at the cost of its prompt and the tokens generated by then."""
        cost, record = reply.cost, self._records.get(reply.ask)
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
        judged, done_s = checker.judged(truth >= RIGHT, self._rng), at_s + checker.seconds
        return Reply(ask, "stop", score=judged, cost=checker.cost, started_s=at_s, done_s=done_s)

    def _recorded_row(self, reply: Reply) -> int:
        """The evidence row of a reply, or of the nearest recorded reply that it continues."""
        ancestor: Reply | None = reply
        while ancestor is not None:
            if ancestor.ask in self._records:
                return self._records[ancestor.ask].row
            ancestor = ancestor.ask.after
        raise UnsupportedError(f"{self._where(reply.ask)}: it goes on from a reply that is not in the evidence")

    def _rows_for(self, ask: Ask, service: RecordedService) -> Iterator[int]:
        """Evidence rows that answer identical asks, in order: one greedy row for ever, each sampled row once."""
        kind = RECORDED.get(ask.role, STEP if ask.stop else SOLVER)
        arm = self.replay.arm(service, ask.effort)
        parent = -1 if ask.after is None else self._recorded_row(ask.after)
        if kind == SOLVER and parent >= 0:
            raise UnsupportedError(f"{self._where(ask)}: no recorded reply goes on from another as this ask does")
        greedy = ask.sampling.temperature == 0 and kind == SOLVER
        key = RecordedAskKey(self.question, arm, kind, parent, greedy)
        rows = self.replay.dealt.get(key)
        if rows is None:
            rows = self.replay.dealt[key] = self._ordered_rows(key)
        if not rows:
            raise UnsupportedError(f"{self._where(ask)}: {self._gap(key)}")
        while greedy:
            yield rows[0]
        yield from rows
        while kind == STEP and self._refused(rows[-1]):
            yield rows[-1]  # nothing more was proposed
        count = f"{len(rows)} {'is' if len(rows) == 1 else 'are'} recorded"
        raise UnsupportedError(f"{self._where(ask)}: sample {len(rows) + 1} is asked, {count}")

    def _ordered_rows(self, key: RecordedAskKey) -> list[int]:
        evidence = self.replay.evidence
        rows = evidence.at(key)
        if key.greedy and not len(rows):
            # a single reply of unrecorded temperature stands for the service's reply to one ask
            rows = evidence.at(key._replace(greedy=False))
            rows = rows[np.isnan(evidence.rows.temperature[rows])]
            return rows.tolist() if len(rows) == 1 else []
        if self.replay.seed is None or len(rows) < 2:
            return list(rows.tolist())
        seeds = [self.replay.seed, key.question, key.arm, key.parent + 1, len(key.role)]
        dealt: list[int] = np.random.default_rng(seeds).permutation(rows).tolist()
        return sorted(dealt, key=self._refused) if key.role == STEP else dealt

    def _refused(self, row: int) -> bool:
        return bool(self.replay.evidence.rows.finish[row] == "refused")

    def _gap(self, key: RecordedAskKey) -> str:
        if key.greedy and len(self.replay.evidence.at(key._replace(greedy=False))):
            return "no greedy reply is recorded, only samples (once(greedy=false) takes one)"
        if key.role == STEP and key.parent >= 0:
            return "the step was never continued in the record"
        return f"no {'greedy ' * key.greedy}reply of a {key.role} is recorded"

    def _where(self, ask: Ask) -> str:
        role, evidence = self.replay.roles.get(ask.role), self.replay.evidence
        who = str(role.arm) if isinstance(role, RecordedService) else ask.role
        item = evidence.items[self.question].id
        return f"{evidence.source or 'evidence'}: question {item}, {who}, role {ask.role}"
