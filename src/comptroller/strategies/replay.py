"""The replay world: evidence answers, a predicted clock runs.

An ask is answered by the next recorded reply to the same ask: of the same question, model, format, effort and role,
after the same recorded reply, greedy or sampled. What is not recorded is refused, and the gap is named. Truth stays
with the scorer (`ReplayWorld.score`); a strategy never sees it, except through a checker whose error rates are stated.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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
from comptroller.work.evidence import REVISER, SOLVER, VERIFIER, Evidence, Ints, RecordedAskKey, RecordedModel


@dataclass(frozen=True, slots=True)
class ServicePace:
    """A declared model of time: seconds to the first token, per prompt token, and per token generated."""

    first_s: float
    input_token_s: float
    token_s: float


TICKS = ServicePace(0.0, 0.0, 1.0)
"""Orders replies by their length where nobody said how long they take; its seconds are not reported."""


@dataclass(frozen=True, slots=True)
class RecordedService:
    """What plays a role: a recorded arm, and what its tokens take where the record does not say or is not wanted.

    pace: time; recorded latency otherwise.  price: dollars per token; recorded dollars otherwise.  joules: per
    token by kind.  shape: of the model, for FLOPs and cache bytes.
    """

    arm: RecordedModel
    pace: ServicePace | None = None
    price: TokenPrice | None = None
    joules: TokenPrice | None = None
    shape: ModelCostShape | None = None

    def cost(self, input_tokens: float, output_tokens: float, reasoning_tokens: float, usd: float) -> Cost:
        """What tokens take; `usd` is what the record says, used where there is no price."""
        made = output_tokens + reasoning_tokens
        flops = moved = nan
        if self.shape is not None:
            work = attention_flops(self.shape, input_tokens, made)
            flops = float(parameter_flops(self.shape.params, input_tokens + made) + work)
            moved = float(cache_bytes_read(self.shape, input_tokens, made))
        return Cost(
            device_s=nan,
            tokens=TokenCounts(input=input_tokens, output=output_tokens, reasoning=reasoning_tokens),
            flops=flops,
            bytes=moved,
            j=nan if self.joules is None else float(self.joules.usd(input_tokens, made)),
            usd=usd if self.price is None else float(self.price.usd(input_tokens, made)),
            gco2e=nan,
        )


@dataclass(frozen=True, slots=True)
class ModelledChecker:
    """A modelled role that judges the reply it comes after, with stated error rates: the one role that knows truth.

    tpr: chance that it accepts a right answer.  fpr: that it accepts a wrong one.  cost, seconds: of a check.
    A verdict is drawn each time it is asked. It says nothing beside its score, so a revision that follows it is the
    one recorded for the reply that was checked.
    """

    tpr: float = 1.0
    fpr: float = 0.0
    cost: Cost = field(default_factory=Cost)
    seconds: float = 0.0

    def __post_init__(self) -> None:
        if not (0 <= self.tpr <= 1 and 0 <= self.fpr <= 1 and self.seconds >= 0):
            raise InputError(f"checker: rates must lie in [0, 1] and seconds not below 0, not {self}")


class RecordedReply(NamedTuple):
    """A recorded reply as it is given out, with the seconds to its first and its last token."""

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
        """Tokens generated."""
        return float(self.cost.tokens.output + self.cost.tokens.reasoning)


RECORDED = {"verifier": VERIFIER, "reviser": REVISER}
"""Roles whose replies stand in the evidence beside those of a solver."""


def recorded_price(evidence: Evidence, arm: int) -> TokenPrice | None:
    """The price per token that the recorded dollars of an arm follow to one part in a million; None if none does."""
    rows = evidence.rows
    made = rows.output_tokens + np.nan_to_num(rows.reasoning_tokens)
    use = (rows.arm == arm) & np.isfinite(rows.usd) & np.isfinite(rows.input_tokens) & np.isfinite(made)
    use &= ~(np.nan_to_num(rows.cached_tokens) > 0)
    table = np.stack([rows.input_tokens[use], made[use]], axis=1)
    if len(table) < 3 or np.linalg.matrix_rank(table) < 2:
        return None
    price, *_ = np.linalg.lstsq(table, rows.usd[use], rcond=None)
    close = np.allclose(table @ price, rows.usd[use], rtol=1e-6, atol=1e-12)
    return TokenPrice(float(price[0]), float(price[1])) if close and (price >= 0).all() else None


class EvidenceReplay:
    """Evidence with roles bound to what plays them, from which worlds are made, one per question and strategy.

    seed: of the order in which recorded samples are dealt, the same for every strategy; None deals them as
    recorded. timed: whether the seconds of the clock mean anything.

    Raises:
        UnsupportedError: an arm is not recorded.
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

    @cached_property
    def strong_roles(self) -> frozenset[str]:
        """Roles of the model that plays the solver, where others play beside it."""
        played = {name: role.arm for name, role in self.roles.items() if isinstance(role, RecordedService)}
        if len(set(played.values())) < 2:
            return frozenset()
        return frozenset(name for name, arm in played.items() if arm == played.get("solver"))

    def covered(self, uses: Sequence[str] = ()) -> Ints:
        """Questions for which every bound arm has a reply, and those of `uses` a verdict or a revision."""
        rows, count = self.evidence.rows, len(self.evidence.items)
        wanted = [(arm, SOLVER) for arm in self._arms.values()]
        wanted += [(self._arms[self._service(role).arm], RECORDED[role]) for role in uses if role in RECORDED]
        have = [
            np.bincount(rows.question[(rows.arm == arm) & (rows.role == kind)], minlength=count) > 0
            for arm, kind in wanted
        ]
        return np.flatnonzero(np.all(have, axis=0))

    def require_answers(self) -> None:
        """Raises Unsupported unless some reply of the bound arms carries an answer to compare."""
        answers = self.evidence.rows.answer[np.isin(self.evidence.rows.arm, list(self._arms.values()))]
        if all(answer is None for answer in answers):
            raise UnsupportedError(
                f"{self.evidence.source or 'evidence'}: no answers are recorded, so there is nothing to vote over"
            )

    def world(self, question: int) -> ReplayWorld:
        """A world for one run on one question."""
        return ReplayWorld(self, question)

    def arm(self, service: RecordedService, effort: str) -> int:
        """Index of the arm that answers an ask of an effort."""
        if not effort or effort == service.arm.effort:
            return self._arms[service.arm]
        return self.evidence.arm(service.arm._replace(effort=effort))

    def record(self, role: str, row: int) -> RecordedReply:
        """A recorded reply, as the service that plays the role gives it."""
        found = self._records.get((role, row))
        if found is None:
            rows, logs = self.evidence.rows, self.evidence.logprobs
            service = self._service(role)
            cost = self._cost(service, row)
            first, last = self._seconds(service, row, cost.tokens)
            found = self._records[role, row] = RecordedReply(
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
        return found

    def _service(self, role: str) -> RecordedService:
        found = self.roles[role]
        if not isinstance(found, RecordedService):
            raise UnsupportedError(f"the role {role!r} is a modelled checker and gives no recorded reply")
        return found

    def _cost(self, service: RecordedService, row: int) -> Cost:
        rows = self.evidence.rows
        # what the record does not tell apart stands in the larger bucket: prompts as input, the rest as output
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
        pace, made = service.pace or TICKS, float(tokens.output + tokens.reasoning)
        prompt = float(tokens.input + tokens.cached)
        first = pace.first_s + (pace.input_token_s * prompt if pace.input_token_s else 0.0)
        return first, first + (0.0 if isnan(made) else pace.token_s * made)

    def shortened(self, role: str, record: RecordedReply, made: float) -> RecordedReply:
        """The same reply if it stops after so many tokens; reasoning comes first."""
        share = made / record.made if record.made > 0 else 1.0
        last = record.first_s + (record.last_s - record.first_s) * share
        cost = self._part(self._service(role), record.cost, made)
        return record._replace(finish="length", answer=None, content="", cost=cost, last_s=last)

    def _part(self, service: RecordedService, whole: Cost, made: float) -> Cost:
        reasoning = min(made, float(whole.tokens.reasoning))
        tokens = replace(whole.tokens, reasoning=reasoning, output=made - reasoning)
        prompt = float(tokens.input + tokens.cached)
        price = self._prices[service.arm] if service.price is None else None
        usd = nan if price is None else float(price.usd(prompt, made))
        return replace(service.cost(prompt, made - reasoning, reasoning, usd), tokens=tokens)


class ReplayWorld:
    """Answers the asks of one run; each recorded sample is dealt once."""

    def __init__(self, replay: EvidenceReplay, question: int) -> None:
        self.replay, self.question = replay, question
        self._dealt: dict[tuple[object, ...], Iterator[int]] = {}
        self._given: dict[Ask, RecordedReply] = {}
        self._shortened: set[Ask] = set()

    @cached_property
    def _rng(self) -> np.random.Generator:
        return np.random.default_rng([self.replay.seed or 0, self.question, 1])

    def reply(self, ask: Ask, at_s: float) -> Reply:
        """The next recorded reply to the ask, or the verdict of a modelled checker.

        Raises:
            UnsupportedError: nothing, or nothing more, is recorded; names what.
        """
        role = self.replay.roles.get(ask.role)
        if role is None:
            raise UnsupportedError(
                f"nothing plays the role {ask.role!r}; bound: {', '.join(sorted(self.replay.roles))}"
            )
        if isinstance(role, ModelledChecker):
            return self._checked(ask, role, at_s)
        key = (ask.role, ask.after, ask.effort, ask.sampling.temperature == 0)
        deal = self._dealt.get(key)
        if deal is None:
            deal = self._dealt[key] = self._deal(ask, role)
        record = self.replay.record(ask.role, next(deal))
        if ask.max_tokens is not None and not record.made <= ask.max_tokens:
            if isnan(record.made):
                raise UnsupportedError(f"{self._where(ask)}: max_tokens is set, but output tokens are not recorded")
            self._shortened.add(ask)
            record = self.replay.shortened(ask.role, record, ask.max_tokens)
        self._given[ask] = record
        _, finish, answer, content, score, logprobs, cost, _, last_s = record
        return Reply(ask, finish, content, answer, score, logprobs, cost, at_s, at_s + last_s)

    def cut(self, reply: Reply, at_s: float) -> Reply:
        """What there is of a reply at a time: its prompt, and the tokens made by then."""
        cost, record = reply.cost, self._given.get(reply.ask)
        if at_s < reply.done_s:
            cost = Cost()
            if record is not None:
                going = record.last_s - record.first_s
                share = max((at_s - reply.started_s - record.first_s) / going, 0.0) if going > 0 else 0.0
                cost = self.replay.shortened(reply.ask.role, record, float(np.floor(share * record.made))).cost
        return replace(
            reply, finish="cancelled", content="", answer=None, score=nan, logprobs=None, cost=cost, done_s=at_s
        )

    def score(self, answer: Answer) -> float:
        """What the scorer gives an answer: 0 for none or a truncated one, NaN for one that was never scored."""
        if answer.reply is None or answer.reply.ask in self._shortened:
            return 0.0
        return float(self.replay.evidence.rows.score[self._ancestor(answer.reply)])

    def _checked(self, ask: Ask, checker: ModelledChecker, at_s: float) -> Reply:
        if ask.after is None:
            raise UnsupportedError(f"the role {ask.role!r} judges a reply, but is asked after none")
        truth = self.score(Answer.of(ask.after))
        if isnan(truth):
            raise UnsupportedError(f"{self._where(ask)}: a modelled checker needs scored replies")
        accepted = self._rng.random() < (checker.tpr if truth >= 0.5 else checker.fpr)
        verdict = float(accepted)
        done_s = at_s + checker.seconds
        return Reply(ask, "stop", score=verdict, cost=checker.cost, started_s=at_s, done_s=done_s)

    def _ancestor(self, reply: Reply) -> int:
        """The recorded row a reply is, or comes after."""
        found: Reply | None = reply
        while found is not None:
            if found.ask in self._given:
                return self._given[found.ask].row
            found = found.ask.after
        raise UnsupportedError(f"{self._where(reply.ask)}: it goes on from a reply that is not in the evidence")

    def _deal(self, ask: Ask, service: RecordedService) -> Iterator[int]:
        """The rows that answer asks like this one, one after the other."""
        arm, kind = self.replay.arm(service, ask.effort), RECORDED.get(ask.role, SOLVER)
        parent = -1 if ask.after is None else self._ancestor(ask.after)
        if kind == SOLVER and parent >= 0:
            raise UnsupportedError(f"{self._where(ask)}: no recorded reply goes on from another as this ask does")
        greedy = ask.sampling.temperature == 0 and kind == SOLVER
        place = RecordedAskKey(self.question, arm, kind, parent, greedy)
        rows = self.replay.dealt.get(place)
        if rows is None:
            rows = self.replay.dealt[place] = self._order(place)
        if not rows:
            raise UnsupportedError(f"{self._where(ask)}: {self._nothing(place)}")
        while greedy:
            yield rows[0]
        yield from rows
        count = f"{len(rows)} {'is' if len(rows) == 1 else 'are'} recorded"
        raise UnsupportedError(f"{self._where(ask)}: sample {len(rows) + 1} is asked, {count}")

    def _order(self, place: RecordedAskKey) -> list[int]:
        evidence = self.replay.evidence
        rows = evidence.at(place)
        if place.greedy and not len(rows):
            # where the record does not say how a lone reply was decoded, it is what the service gives when asked once
            rows = evidence.at(place._replace(greedy=False))
            rows = rows[np.isnan(evidence.rows.temperature[rows])]
            return rows.tolist() if len(rows) == 1 else []
        if self.replay.seed is None or len(rows) < 2:
            return list(rows.tolist())
        key = [self.replay.seed, place.question, place.arm, place.parent + 1, len(place.role)]
        return list(np.random.default_rng(key).permutation(rows).tolist())

    def _nothing(self, place: RecordedAskKey) -> str:
        if place.greedy and len(self.replay.evidence.at(place._replace(greedy=False))):
            return "no greedy reply is recorded, only samples (once(greedy=false) takes one)"
        return f"no {'greedy ' * place.greedy}reply of a {place.role} is recorded"

    def _where(self, ask: Ask) -> str:
        role, evidence = self.replay.roles.get(ask.role), self.replay.evidence
        who = str(role.arm) if isinstance(role, RecordedService) else ask.role
        item = evidence.items[self.question].id
        return f"{evidence.source or 'evidence'}: question {item}, {who}, role {ask.role}"
