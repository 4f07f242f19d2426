"""Claims about thinking longer, each beside what our data or formulas give; `claims.py` writes the table."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.stats import beta as distribution
from scipy.stats import norm

from comptroller.costs.inference_units import (
    ModelCostShape,
    eflops,
    parameter_flops,
    sleep_break_even,
    sleep_time_cost,
    verification_solutions,
)
from comptroller.strategies.allocation import allocate, token_ceiling, token_floor
from comptroller.strategies.allocation import coverage as believed
from comptroller.strategies.choosing import bins_of, compute_optimal, needed_tokens
from comptroller.strategies.choosing import solve_chances as predicted_chance
from comptroller.strategies.deals import expected_replay
from comptroller.strategies.replay import EvidenceReplay, RecordedService
from comptroller.strategies.replay_intervals import estimate
from comptroller.strategies.results import ReplayResults
from comptroller.strategies.spelling import parse
from comptroller.strategies.training import TrainingOutcomes, fit
from comptroller.work.evidence import Evidence, EvidenceCounts
from comptroller.work.evidence_readers import read_evidence
from comptroller_lab.closed_forms import log_choose, stop_on_success_over_orders

Floats = npt.NDArray[np.float64]

DATA = Path(os.environ.get("COMPTROLLER_DATA", Path(__file__).parents[2] / "shared" / "data")) / "evidence"
MONKEYS = "monkeys_pythia_math_counts.csv"
SEED, FOLDS, PILOT, MEAN_SAMPLES = 0, 5, 100, 100

VOTES = tuple(f"sample_and_vote(n={n})" for n in (2, 4, 8, 16))
OWN_SETTINGS = (
    "once",
    *VOTES,
    *(f"best_of_n(n={n},by=likelihood)" for n in (2, 4, 8, 16)),
    *(f"generative_verification(s={s},v={v})" for s in (1, 2, 4, 8, 16) for v in (1, 2)),
    *(f"sequential_revision(rounds={rounds},chains={chains})" for rounds in (1, 2) for chains in (1, 2, 4)),
)

PYTHIA = {"Pythia 70M": (6, 512), "Pythia 410M": (24, 1024), "Pythia 1B": (16, 2048), "Pythia 6.9B": (32, 4096)}
"""Layers and hidden size: EleutherAI/pythia, models/*/pythia-*.yml, read 2026-11-21."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A published claim, what we get, and on what it rests."""

    claim: str
    published: str
    ours: str
    data: str
    standing: str

    @property
    def row(self) -> list[str]:
        """The line of the table."""
        return [self.claim, self.published, self.ours, self.data, self.standing]


def counts() -> EvidenceCounts:
    """Correct out of 10,000 samples of each problem, per Pythia model."""
    found = read_evidence(DATA / MONKEYS)
    if not isinstance(found, EvidenceCounts):
        raise SystemExit(f"{MONKEYS} holds no counts")
    return found


def covered(n: Floats, correct: Floats, k: Floats) -> Floats:
    """Chance that k of the n recorded samples, drawn without replacement, hold a right one: unbiased pass@k."""
    return np.asarray(1 - np.exp(log_choose(n - correct, k) - log_choose(n, k)))


def stop_on_success(known: EvidenceCounts) -> list[Claim]:
    """What stopping at the first success saves at caps of 100 and 1,000, at the same coverage."""
    claims = []
    for cap in (100, 1000):
        saved = []
        for at, arm in enumerate(known.arms):
            n, correct = known.of(at)
            drawn = stop_on_success_over_orders(correct, int(n[0]), [cap]).samples.mean()
            saved.append(f"{str(arm).removeprefix('Pythia ')} {1 - drawn / cap:.0%}")
        claims.append(
            Claim(
                f"stopping at the first success saves samples at a cap of {cap:,}",
                "coverage is kept (Large Language Monkeys, arXiv 2407.21787)",
                ", ".join(saved),
                MONKEYS,
                "recorded",
            )
        )
    return claims


def predicted(known: EvidenceCounts, target: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Beliefs on each problem's chance for a model, from PILOT samples of each other model, held out by folds."""
    others = [at for at in range(len(known.arms)) if at != target]
    pilots = np.stack(
        [rng.hypergeometric(known.correct[:, at].astype(int), (known.n - known.correct)[:, at].astype(int), PILOT)
         for at in others], axis=1,
    )  # fmt: skip
    signals = np.log((pilots + 0.5) / (PILOT + 1))
    n, correct = known.n[:, target].astype(float), known.correct[:, target]
    wins = rng.hypergeometric(correct.astype(int), (n - correct).astype(int), PILOT).astype(float)
    told = TrainingOutcomes(tuple(str(known.arms[at]) for at in others), signals, wins, np.full(len(n), float(PILOT)),
                    np.arange(len(n)))  # fmt: skip
    fold = rng.permutation(len(n)) % FOLDS
    alpha, beta = np.empty(len(n)), np.empty(len(n))
    for held in range(FOLDS):
        part = fit(told.take(fold != held))
        alpha[fold == held], beta[fold == held] = part.beliefs(signals[fold == held])
    return alpha, beta


def allocation(known: EvidenceCounts) -> list[Claim]:
    """Coverage at a mean of 100 samples: uniform, by known difficulty, by difficulty predicted from other models."""
    rng, grid = np.random.default_rng(SEED), np.unique(np.round(np.geomspace(1, 5000, 160))).astype(float) - 1
    claims = []
    for at, arm in enumerate(known.arms):
        n, correct = (column.astype(float) for column in known.of(at))
        budget, truth = float(MEAN_SAMPLES * len(n)), covered(n[:, None], correct[:, None], grid)
        uniform = covered(n, correct, np.full(len(n), float(MEAN_SAMPLES))).mean()
        best = allocate(truth, grid, budget)
        alpha, beta = predicted(known, at, rng)
        guess = allocate(believed(alpha, beta, grid), grid, budget)
        reached = np.take_along_axis(truth, guess.choice[:, None], 1).mean()
        alike = float(np.interp(best.value / len(n), truth.mean(axis=0), grid))
        claims.append(
            Claim(
                f"marginal gain against uniform, mean {MEAN_SAMPLES} samples, {arm}",
                "gains of adaptive allocation, e.g. +11 points (arXiv 2506.12721, other data)",
                f"uniform {uniform:.1%}; predicted difficulty {reached:.1%}; known {best.value / len(n):.1%}, "
                f"for which uniform takes {alike:,.0f} samples; the next sample buys {best.shadow_price:.4f} problems",
                f"{MONKEYS}; difficulty from {PILOT} samples of each other size, cross-fitted",
                "recorded",
            )
        )
    return claims


def kinetics(known: EvidenceCounts) -> list[Claim]:
    """The cheapest Pythia size for a coverage, by parameter FLOPs and by eFLOPs with cache traffic."""
    inputs = 512.0
    turned, lines = [], []
    ks = np.unique(np.round(np.geomspace(1, 10_000, 400)))
    for outputs in (128.0, 512.0, 2048.0):
        for target in (0.1, 0.2, 0.3, 0.4):
            compute, whole = {}, {}
            for at, arm in enumerate(known.arms):
                if str(arm) not in PYTHIA:
                    continue
                layers, hidden = PYTHIA[str(arm)]
                shape = ModelCostShape(12.0 * layers * hidden**2, 4.0 * layers * hidden, 4.0 * layers * hidden)
                n, correct = (column.astype(float)[:, None] for column in known.of(at))
                reached = covered(n, correct, ks).mean(axis=0)
                if reached[-1] < target:
                    continue
                k = float(ks[np.argmax(reached >= target)])
                compute[str(arm)] = k * float(parameter_flops(shape.params, outputs))
                whole[str(arm)] = float(eflops(shape, inputs, outputs, k))
            small, right = min(compute, key=compute.__getitem__), min(whole, key=whole.__getitem__)
            excess = whole[small] / whole[right]
            turned.append(excess)
            if small != right:
                lines.append(f"{target:.0%} at {outputs:.0f} tokens: {small} > {right} ({excess:.1f}x)")
    return [
        Claim(
            "choosing model size by FLOPs alone costs too much once cache traffic is counted",
            "up to 3x (Kinetics, arXiv 2506.05333, Qwen3 on AIME24)",
            f"{len(lines)} of {len(turned)} choices change, at most {max(turned):.1f}x; " + "; ".join(lines),
            f"{MONKEYS}; prompts of {inputs:.0f} and outputs of 128 to 2,048 tokens declared, non-embedding "
            "parameters, 16-bit cache, I = 562.5",
            "modelled",
        )
    ]


def vote_share(answers: npt.NDArray[np.int64], right: int, answers_in_all: int) -> float:
    """Share of questions that a plain vote solves; answers that tie share the question, whichever is right.

    answers: (questions, samples), numbers of answers.

    >>> vote_share(np.array([[0, 1], [0, 0]]), 0, 2), vote_share(np.array([[0, 1], [0, 0]]), 1, 2)
    (0.75, 0.25)
    """
    counts = (answers[:, :, None] == np.arange(answers_in_all)).sum(axis=1)
    leads = counts == counts.max(axis=1, keepdims=True)
    return float((leads[:, right] / leads.sum(axis=1)).mean())


def verification() -> list[Claim]:
    """Where best-of-S with V verdicts passes a plain vote, for verifiers of declared rates."""
    rng, questions, most = np.random.default_rng(SEED), 400, 512
    p, wrong = rng.beta(0.8, 1.2, questions), 6
    lam, found = 1.0, []
    spread = rng.dirichlet(np.full(wrong, 0.5), questions)
    chances = np.concatenate([p[:, None], (1 - p)[:, None] * spread], axis=1)
    answers = (rng.random((questions, most, 1)) > np.cumsum(chances, axis=1)[:, None, :-1]).sum(axis=2)
    sizes = [2**i for i in range(10)]
    vote = {s: vote_share(answers[:, :s], 0, wrong + 1) for s in sizes}
    for tpr, fpr in ((0.7, 0.3), (0.9, 0.1)):
        likely = np.where(answers == 0, tpr, fpr)
        rates = rng.beta(2 * likely, 2 * (1 - likely))
        points = {}
        for v in (1, 2, 4, 8, 16, 32):
            verdict = rng.binomial(v, rates) / v + 1e-9 * rng.random(rates.shape)
            for s in sizes:
                cost = float(verification_solutions(s, v, lam))
                right = float((np.take_along_axis(answers[:, :s], verdict[:, :s].argmax(1)[:, None], 1) == 0).mean())
                points[cost] = max(points.get(cost, 0.0), right)
        crossing = next((c for c in sorted(points) if points[c] > max(vote[s] for s in sizes if s <= max(c, 1))), None)
        matched = next((s for s in sizes if crossing and vote[s] >= max(vote.values()) - 0.005), None)
        top = max(points.values())
        found.append(
            f"verifier {tpr:.0%}/{fpr:.0%}: a vote saturates at {max(vote.values()):.1%} from S = {matched}; "
            "verification "
            + (f"passes it from {crossing:.0f} solutions' worth, ending at {top:.1%}" if crossing else "never does")
        )
    return [
        Claim(
            "self-consistency first, verification at large budgets",
            "verification first matches the vote at up to 8x its compute (arXiv 2504.01005)",
            "; ".join(found),
            "drawn: chance of a right answer Beta(0.8, 1.2), six wrong answers Dirichlet(0.5), lambda = 1, "
            "a solution's chance to be accepted Beta with mean 0.7 or 0.9 (right), 0.3 or 0.1 (wrong), precision 2",
            "modelled",
        )
    ]


def best_of(p: Floats, apart: float, sizes: Floats) -> Floats:
    """Chance that the best of n by a verifier's score is right: questions x sizes.

    Scores are normal, of right answers `apart` standard deviations above wrong ones:
    P = int n p f1(x) (p F1(x) + (1 - p) F0(x))^(n - 1) dx.
    """
    x = np.linspace(-6, apart + 6, 2001)
    right, wrong = norm.cdf(x - apart), norm.cdf(x)
    below = p[:, None] * right + (1 - p[:, None]) * wrong
    each = [n * p[:, None] * norm.pdf(x - apart) * below ** (n - 1) for n in sizes]
    return np.stack([np.trapezoid(one, x, axis=1) for one in each], axis=1)


def by_difficulty() -> list[Claim]:
    """How much more a uniform best-of-n takes for what the best n for each of five bins of difficulty solves."""
    sizes, said = np.unique(np.round(2 ** np.arange(0, 9.01, 0.25))), []
    for alpha, beta in ((0.8, 1.2), (0.3, 0.6)):
        p = distribution.ppf((np.arange(400) + 0.5) / 400, alpha, beta)
        bins = bins_of(p)
        for apart in (1.0, 3.0):
            value = best_of(p, apart, sizes)
            mean = np.stack([value[bins == number].mean(axis=0) for number in range(5)])[bins]
            found = [
                float(np.interp(allocate(mean, sizes, 400 * n).value / 400, value.mean(axis=0), sizes)) / n
                for n in (4.0, 16.0, 64.0)
            ]
            shown = ", ".join(f"{ratio:.1f}x" for ratio in found)
            said.append(f"Beta({alpha:g}, {beta:g}), scores {apart:g} sd apart: {shown}")
    return [
        Claim(
            "compute-optimal choice by difficulty saves 4x over best-of-n",
            "4x (arXiv 2408.03314, PaLM 2 on MATH, with revisions)",
            f"at a mean of 4, 16, 64 samples: {'; '.join(said)}; 4x is not reached by the number of samples alone",
            "drawn: difficulty known in five bins, chances and a verifier's normal scores as stated; the choice "
            "between revising and sampling is not in it",
            "modelled",
        )
    ]


def sleep_time() -> list[Claim]:
    """How long notes may be for 2.5x at ten queries per context, where they save four fifths of test tokens."""
    test, premium, queries, fold = 1000.0, 10.0, 10.0, 5.0
    notes = queries * (premium * test / 2.5 - premium * test / fold)
    gain = premium * test / float(sleep_time_cost(notes, test / fold, queries, premium))
    pays = sleep_break_even(notes, test * (1 - 1 / fold), premium)
    return [
        Claim(
            "sleep-time compute is 2.5x cheaper per query at ten queries a context",
            "2.5x, with 5x fewer tokens at test time (arXiv 2504.13171)",
            f"{gain:.1f}x if the notes take {notes / test:.0f} times the tokens of one unprepared query; "
            f"they pay from {pays:.1f} queries on",
            "the paper's price of 10 for a token at test time; 5x fewer test tokens taken from the paper",
            "modelled",
        )
    ]


def own() -> list[Claim]:
    """Verification, revision and the choice by predicted difficulty, replayed on our own evidence."""
    evidence = read_evidence("own")
    if not isinstance(evidence, Evidence):
        raise SystemExit("own evidence holds replies")
    number, arm = next((i, a) for i, a in enumerate(evidence.arms) if (a.format, a.effort) == ("Q8_0", "direct"))
    replay = EvidenceReplay(evidence, dict.fromkeys(("solver", "verifier", "reviser"), RecordedService(arm)))
    asked = replay.covered(("verifier", "reviser"))
    results = {text: expected_replay(parse(text), replay, asked.tolist()) for text in OWN_SETTINGS}
    chance = predicted_chance(evidence, number, asked, np.random.default_rng(SEED))
    data = f"own evidence: {arm}, {len(asked)} questions with verdicts and revisions"
    return [
        *_against_vote(results, data),
        _choice(list(results.values()), chance, data),
        _ceiling(evidence, number, data),
    ]


def _against_vote(results: dict[str, ReplayResults], data: str) -> list[Claim]:
    """Verification and revision against a plain vote of no fewer tokens, the difference with its interval."""
    published = {
        "generative_verification(s=8,v=2)": "verification beats a vote at large budgets (arXiv 2504.01005)",
        "sequential_revision(rounds=2,chains=4)": "revision helps easy questions (arXiv 2408.03314)",
    }
    claims = []
    for text, claim in published.items():
        one = results[text]
        other = results[min(VOTES, key=lambda name: abs(results[name].mean("tokens") - one.mean("tokens")))]
        gain = estimate(one.score - other.score, np.random.default_rng(SEED))
        claims.append(
            Claim(
                f"{text} against {other.strategy}",
                claim,
                f"{one.mean('score'):.1%} at {one.mean('tokens'):,.0f} tokens against {other.mean('score'):.1%} at "
                f"{other.mean('tokens'):,.0f}: {gain.value:+.1%} [{gain.low:+.1%}, {gain.high:+.1%}]; once "
                f"{results['once'].mean('score'):.1%}",
                data,
                "recorded",
            )
        )
    return claims


def _choice(settings: Sequence[ReplayResults], chance: Floats, data: str) -> Claim:
    lines = []
    for budget in (600.0, 1200.0, 2400.0):
        found = compute_optimal(settings, chance, budget, np.random.default_rng(SEED))
        gain = estimate(found.score - found.single_score, np.random.default_rng(SEED))
        lines.append(
            f"{budget:,.0f} tokens: {found.score.mean():.1%} against {found.single_score.mean():.1%} for one setting "
            f"({gain.value:+.1%} [{gain.low:+.1%}, {gain.high:+.1%}])"
        )
    return Claim(
        "choosing the setting by predicted difficulty beats one setting for all",
        "up to 4x less compute than best-of-N (arXiv 2408.03314)",
        "; ".join(lines),
        f"{data}; difficulty from the text, cross-fitted; choice judged on the other half",
        "recorded",
    )


def _ceiling(evidence: Evidence, arm: int, data: str) -> Claim:
    rows = evidence.rows
    use = (rows.arm == arm) & evidence.samples
    asked = np.unique(rows.question[use])
    needed, mean = needed_tokens(evidence, arm, asked), float(rows.output_tokens[use].mean())
    score = float(np.nanmean(rows.score[use]))
    return Claim(
        "no allocation of output tokens can exceed the token-complexity bound",
        "compression stays 3.2x to 11.2x from it (arXiv 2503.01141)",
        f"at the {mean:.1f} output tokens of one sample: {token_ceiling(needed, [mean])[0]:.1%} at most, one sample "
        f"{score:.1%}; that accuracy needs {token_floor(needed, score):.1f}",
        data.partition(",")[0] + ", all questions",
        "recorded",
    )
