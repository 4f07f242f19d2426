"""Exact small cases of strategies of one file each: allocation, selection, tournaments, chunks, chains, fusion."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from comptroller.errors import InputError
from comptroller.quantities import Cost, TokenCounts
from comptroller.strategies.drive import StrategyDriver, play
from comptroller.strategies.level_search import SearchLevel
from comptroller.strategies.protocol import UNLIMITED, Answer, Ask, CarriedTail, FreshPrompt, Reply, StrategyQuestion
from comptroller.strategies.results import replay_strategy
from comptroller.strategies.rules.chunked_thinking import ChunkedThinkingStrategy
from comptroller.strategies.rules.dora import direction_weights, whole_shares
from comptroller.strategies.rules.hyper import HyperStrategy
from comptroller.strategies.rules.intrinsic_selection import IntrinsicSelectionStrategy, length_adjusted
from comptroller.strategies.rules.odar import OdarStrategy, free_energy
from comptroller.strategies.rules.tournament import TournamentStrategy
from comptroller.strategies.spelling import parse
from comptroller.strategies.word_similarity import cosine_similarities
from strategy_evidence import bound, drawn
from strategy_worlds import DrawnWorld, run

SCORES = st.lists(st.floats(0, 1), min_size=1, max_size=6)


@given(SCORES, st.integers(0, 5), st.integers(2, 4))
def test_a_direction_gets_as_much_whether_said_once_or_often(scores, place, times):
    """The whole point of DORA: copies of a step share what it would get alone."""
    place %= len(scores)
    texts = [f"way{number}" for number in range(len(scores))]
    alone = direction_weights(scores, cosine_similarities(texts), 0.1, 0.01)
    more = [*scores, *[scores[place]] * (times - 1)]
    copied = direction_weights(more, cosine_similarities([*texts, *[texts[place]] * (times - 1)]), 0.1, 0.01)
    assert copied[place] + copied[len(scores) :].sum() == pytest.approx(alone[place], abs=1e-9)


@given(SCORES, st.integers(0, 40))
def test_whole_shares_add_up_and_stay_within_one_of_exact(scores, count):
    weights = np.asarray(scores) + 0.01
    weights /= weights.sum()
    shares = whole_shares(weights, count)
    assert sum(shares) == count
    assert all(abs(share - weight * count) < 1 + 1e-6 for share, weight in zip(shares, weights, strict=True))


def sample(answer, logprobs):
    return Reply(Ask(), "stop", answer, answer, logprobs=tuple(logprobs))


@given(st.lists(st.lists(st.floats(-5, -0.01), min_size=4, max_size=4), min_size=1, max_size=5))
def test_of_samples_as_long_the_surest_end_is_chosen(logs):
    replies = [sample(str(number), values) for number, values in enumerate(logs)]
    chosen = IntrinsicSelectionStrategy(n=len(logs), tail=0.5).choose(replies).answer
    ends = [-(values[-1] + values[-2]) / 2 for values in logs]
    assert ends[int(chosen)] == pytest.approx(min(ends))


def test_what_length_explains_is_no_merit():
    lengths = np.array([2.0, 4.0, 8.0, 16.0])
    assert np.abs(length_adjusted(0.3 + 0.7 * np.log(lengths), lengths)).max() < 1e-12


@pytest.mark.parametrize("rights", list(product((0.0, 1.0), repeat=4)))
def test_a_judge_without_error_lets_a_right_answer_win(rights):
    class Judged(DrawnWorld):
        def reply(self, ask, at_s):
            made = super().reply(ask, at_s)
            if ask.after is None:
                number = self.asked - 1
                return replace(made, answer=str(number), content=str(number), score=np.nan)
            return replace(made, score=rights[int(ask.after.answer)], answer=None)

    played = run(TournamentStrategy(n=4, rounds=3), Judged())
    assert rights[int(played.answer.answer)] == max(rights)


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=8), st.integers(1, 12))
def test_hyper_merges_what_says_the_same_and_fills_the_room(texts, room):
    steps = [Reply(Ask(), "stop", text, score=0.5) for text in texts]
    strategy = HyperStrategy(width=12, depth=4)
    scores = {step: float(place) for place, step in enumerate(steps)}
    shares = strategy.shares(SearchLevel(steps, [], scores, room, {}, np.random.default_rng(0)))
    kept = [step for step, count in shares.items() if count]
    assert len({step.content for step in kept}) == len(kept)
    assert sum(shares.values()) == room


class Long(DrawnWorld):
    """A thought of ten words that are cut at every limit."""

    def reply(self, ask, at_s):
        made = super().reply(ask, at_s)
        words, limit = [f"word{number}" for number in range(10)], ask.max_tokens or 10
        ends = self.asked >= 4
        cost = Cost(tokens=TokenCounts(input=5.0, output=float(limit)), usd=0.0, j=0.0)
        said = " ".join(words[:limit])
        return replace(made, finish="stop" if ends else "length", content=said, answer="1" if ends else None, cost=cost)


def test_chunks_carry_their_end_and_begin_anew():
    played = run(ChunkedThinkingStrategy(chunk=8, carry=0.5, chunks=5), Long())
    asks = [reply.ask for reply in played.replies]
    assert [ask.max_tokens for ask in asks] == [8, 4, 4, 4]
    assert all(isinstance(ask.content, CarriedTail) for ask in asks[1:])
    assert str(asks[1].content) == "word4 word5 word6 word7" and played.answer.answer == "1"


def test_a_shortened_sample_that_is_resumed_to_its_end_is_the_sample():
    """Growing in chunks without pruning says and takes what plain samples do, but for prompts that are read again."""
    evidence = drawn(samples=8)
    whole = replay_strategy(parse("sample_and_vote(n=4)"), bound(evidence))
    grown = replay_strategy(parse("probe_and_prune(n=4,chunk=7,keep=1.0)"), bound(evidence))
    assert grown.score.tolist() == whole.score.tolist()
    assert grown.column("output_tokens").tolist() == whole.column("output_tokens").tolist()
    assert (grown.column("calls") > whole.column("calls")).all()


def test_pruning_takes_fewer_tokens():
    evidence = drawn(samples=8)
    every, half = (
        replay_strategy(parse(f"probe_and_prune(n=4,chunk=7,keep={keep})"), bound(evidence)) for keep in (1.0, 0.5)
    )
    assert (half.column("output_tokens") < every.column("output_tokens")).all()


def test_teams_that_never_meet_are_a_vote():
    evidence = drawn()
    teams = replay_strategy(parse("shared_memory(teams=2,members=2,rounds=0)"), bound(with_teammates(evidence)))
    assert teams.score.tolist() == replay_strategy(parse("sample_and_vote(n=4)"), bound(evidence)).score.tolist()


def with_teammates(evidence):
    role = evidence.rows.role.astype("U8")
    role[-1] = "teammate"
    return replace(evidence, rows=replace(evidence.rows, role=role))


@pytest.mark.parametrize("chains", [1, 3])
def test_chains_with_a_perfect_check_solve_what_any_of_their_answers_does(chains):
    evidence = drawn()
    replay = bound(evidence)
    found = replay_strategy(parse(f"code_monkeys(chains={chains},rounds=0,checker=checker)"), replay)
    rows = evidence.rows
    for place, number in enumerate(found.question):
        first = rows.score[(rows.question == number) & (rows.arm == 0) & evidence.samples][:chains]
        assert found.score[place] == first.max()


def test_fusion_takes_the_least_free_energy_of_both_models():
    fast = [sample("a", [-1.0, -1.0]), sample("b", [-0.1, -4.1])]
    slow = [sample("c", [-1.2, -1.2])]
    strategy = OdarStrategy(risk=0.5)
    energies = {reply.answer: free_energy(reply.logprobs, 0.5) for reply in [*fast, *slow]}
    assert strategy.fused([*fast, *slow]).answer == min(energies, key=energies.__getitem__) == "a"
    assert OdarStrategy(risk=0.0).fused([*fast, *slow]).answer == "a"


@pytest.mark.parametrize(("threshold", "roles"), [(0.0, {"draft"}), (1.0, {"draft", "target"})])
def test_a_threshold_says_who_writes_the_steps(threshold, roles):
    played = run(parse(f"arbitrage(threshold={threshold},by=score,ends=never,depth=3)"), DrawnWorld())
    asked = [reply.ask.role for reply in played.replies]
    assert set(asked) == roles
    assert asked.count("draft") == 3


def test_the_oracle_keeps_the_better_of_both_steps():
    played = run(parse("arbitrage(oracle=true,by=score,ends=never,depth=3)"), DrawnWorld())
    steps = played.replies
    best = [max(steps[place : place + 2], key=lambda step: step.score) for place in (0, 2, 4)]
    assert played.answer.reply is best[-1]
    assert best[1].ask.after is best[0]


def test_memory_is_read_in_place_of_the_context():
    question = StrategyQuestion("q", "How many lamps?", context="Five lamps and a very long text.")
    drive = StrategyDriver(parse("budget_memory"), question, UNLIMITED, np.random.default_rng(0))
    played = play(drive, DrawnWorld())
    notes, answer = played.replies
    assert notes.ask.role == "memory" and question.context in notes.ask.content
    assert isinstance(answer.ask.content, FreshPrompt) and question.context not in answer.ask.content
    assert parse("budget_memory(tiers=(1,2),levels=0.0)").tier("Hard? 123 + 456 * 789") == 2
    with pytest.raises(InputError, match="one fewer than tiers"):
        parse("budget_memory(tiers=(1,2),levels=(0.1,0.2))")


def test_an_answer_of_parts_is_that_of_the_last():
    played = run(parse("scale(outlines=2)"), DrawnWorld())
    roles = [reply.ask.role for reply in played.replies]
    assert roles[:2] == ["planner", "planner"] and roles[2::2] == ["judge"] * len(roles[2::2])
    assert isinstance(played.answer, Answer) and played.answer.reply is played.replies[-1]
