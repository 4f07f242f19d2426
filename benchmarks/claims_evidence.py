"""Claims that need only evidence and laws: coverage, its forecast, price reversal, routing baselines, own evidence."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from claims_strategies import DATA, MONKEYS, Claim, counts
from comptroller.errors import ComptrollerError
from comptroller.strategies.router_training import held_out
from comptroller.strategies.routers import router
from comptroller.strategies.routing import RoutingCurve, RoutingOutcomes, outcomes, references, routing_curve
from comptroller.work.evidence import REVISER, Evidence, EvidenceCounts, RecordedAskKey, RecordedModel
from comptroller.work.evidence_readers import packaged_evidence, read_evidence
from comptroller.work.laws import LawQuery
from comptroller.work.laws._resampling import mean_band, spread, thinned_counts
from comptroller.work.laws.best_of import best_of_k, ratings
from comptroller.work.laws.caps import caps
from comptroller.work.laws.coverage import coverage, pass_at_k
from comptroller.work.laws.equivalence import tost
from comptroller.work.laws.forecast import forecast, power_law_of
from comptroller.work.laws.price_order import reversals
from train_strategies import OPEN

Floats = npt.NDArray[np.float64]

PRICES, REPEATS = "pricing_reversal.parquet", "pricing_reversal_repeats.parquet"
FEW, MANY, DRAWS, SEED = 200, 10_000, 20, 0
OWN = "own evidence (SmolLM2-135M, see own_evidence.md)"


def monkeys(known: EvidenceCounts) -> list[Claim]:
    """Coverage from 1 to 10,000 samples, and how well the power law fits it."""
    said = []
    for at, arm in enumerate(known.arms):
        n, correct = known.of(at)
        law, ks = power_law_of(n, correct), spread(MANY, 60)
        curve = coverage(n, correct, ks)
        miss = np.abs(law.at(ks) - curve).max()
        name = str(arm).removeprefix("Pythia ")
        said.append(f"{name} {curve[0]:.2%} to {curve[-1]:.1%}, a {law.a:.2f}, b {law.b:.3f}, miss {miss:.3f}")
    return [
        Claim(
            "coverage rises as exp(-a k^-b) over four orders of magnitude of samples",
            "yes, for most models (Large Language Monkeys, arXiv 2407.21787)",
            "; ".join(said),
            MONKEYS,
            "recorded",
        )
    ]


def forecasts(known: EvidenceCounts) -> list[Claim]:
    """Coverage at 10,000 forecast from 200 samples: error, and how often the interval holds the truth."""
    said, inside, errors, beta_errors = [], 0, [], []
    for at, arm in enumerate(known.arms):
        n, correct = known.of(at)
        true = float(coverage(n, correct, [MANY])[0])
        rng = np.random.default_rng(SEED)
        law, beta = np.empty(DRAWS), np.empty(DRAWS)
        for draw in range(DRAWS):
            few = thinned_counts(n, correct.astype(np.int64), FEW, rng)
            made = forecast(np.full(len(few), FEW), few, MANY, rng)
            law[draw], beta[draw] = made.value, made.beta
            inside += made.low <= true <= made.high
        errors += list(np.abs(law - true))
        beta_errors += list(np.abs(beta - true))
        name = str(arm).removeprefix("Pythia ")
        said.append(
            f"{name} {true:.3f}: law {law.mean():.3f} ± {law.std():.3f}, Beta {beta.mean():.3f} ± {beta.std():.3f}"
        )
    total = DRAWS * len(known.arms)
    return [
        Claim(
            f"coverage at {MANY:,} samples is forecast from {FEW}",
            "from far fewer samples, by the distribution of difficulty (arXiv 2502.17578)",
            f"{'; '.join(said)}; mean absolute error {np.mean(errors):.3f} (law), {np.mean(beta_errors):.3f} (Beta); "
            f"90 % intervals hold the truth in {inside / total:.0%}; nothing is fitted on other models",
            f"{MONKEYS}, {DRAWS} draws of {FEW} for each model",
            "recorded",
        )
    ]


def prices() -> list[Claim]:
    """Price reversal, with and without thinking tokens and the model that was capped; noise of repeats."""
    read = read_evidence(DATA / PRICES)
    found, pairs = reversals(read)
    rest, _ = reversals(read, thinking=False)
    capped = {arm: cap for arm, cap in caps(read).items() if cap.hits > 0.1 * cap.outputs}
    kept, fewer = reversals(read, without=list(capped))
    named = ", ".join(f"{read.arms[arm]} at {cap.tokens:,} tokens" for arm, cap in capped.items())
    again = read_evidence(DATA / REPEATS)
    rows = again.rows
    ratio = [
        float(thought.max() / thought.min())
        for question in range(len(again.items))
        for arm in range(len(again.arms))
        if len(thought := rows.reasoning_tokens[(rows.question == question) & (rows.arm == arm)]) > 1
        and thought.min() > 0
    ]
    return [
        Claim(
            "a pair of models costs in reverse of its list prices",
            "21.8 % of pairs, up to 28x (The Price Reversal, arXiv 2603.23971, 9 tasks)",
            f"{len(found)} of {pairs} pairs ({len(found) / pairs:.1%}), up to {found[0].times:.1f}x; "
            f"without {named} (suspected cap): {len(kept)} of {fewer}",
            PRICES,
            "recorded",
        ),
        Claim(
            "thinking tokens make most reversals",
            "70 % fewer without them (arXiv 2603.23971)",
            f"{len(rest)} remain without them: {1 - len(rest) / len(found):.0%} fewer",
            PRICES,
            "recorded",
        ),
        Claim(
            "the same question asked again takes up to 9.7x the thinking tokens",
            "9.7x (arXiv 2603.23971)",
            f"largest over smallest of five runs: median {np.median(ratio):.2f}, at most {max(ratio):.2f}",
            REPEATS,
            "recorded",
        ),
    ]


SETS = {
    "routellm_mmlu.parquet": "weak 68.1 %, strong 80.6 %, random 0.50, oracle 1.285 (14,037 rows)",
    "routellm_gsm8k.parquet": "weak 63.8 %, strong 85.7 %",
}
BASELINES = "prompt length 0.586, TF-IDF with ridge 0.675 (MMLU); published routers need embeddings or a GPU"


def _replies(name: str) -> Evidence:
    found = read_evidence(DATA / name)
    if not isinstance(found, Evidence):
        raise ComptrollerError(f"{name} holds replies")
    return found


def _quality(curve: RoutingCurve) -> str:
    """APGR with its interval, and the least shares of strong calls that recover half and 80 % of the gap."""
    inside = f" ({curve.low:.3f} to {curve.high:.3f})" if np.isfinite(curve.low) else ""
    return f"{curve.name} {curve.apgr:.3f}{inside}, CPT(50 %) {curve.cpt(0.5):.1%}, CPT(80 %) {curve.cpt(0.8):.1%}"


def routing() -> list[Claim]:
    """Baselines of RouteLLM and our routers on its outcomes, held out; a router on a set that did not train it."""
    claims = []
    for name, published in SETS.items():
        read = _replies(name)
        known = outcomes(read, read.arms)
        title = name.removeprefix("routellm_").removesuffix(".parquet").upper()
        data, (weak, strong) = f"{name}, {len(known.questions):,} questions", known.score.mean(axis=0)
        random, oracle = references(known)
        claims.append(
            Claim(
                f"RouteLLM's baselines on {title}",
                published,
                f"weak {weak:.1%}, strong {strong:.1%}, either {known.score.max(axis=1).mean():.1%}; "
                f"APGR random {random.apgr:.2f}, oracle {oracle.apgr:.3f}",
                data,
                "recorded",
            )
        )
        length = np.array([[0.0, len(question.content)] for question in known.questions])
        bare = replace(known, questions=tuple(replace(question, task="") for question in known.questions))
        tried = [routing_curve("prompt length", length, known), _held_out("linear", "text alone (linear)", bare)]
        tried += [_held_out(kind, kind, known) for kind in ("win", "nearest")]
        if len({question.task for question in known.questions}) > 1:
            tried += [_held_out("domain", "domain", known), _held_out("linear", "linear, text and domain", known)]
        else:
            moved = router("mmlu_linear")
            tried.append(
                routing_curve("mmlu_linear, not trained here", moved.expected(bare.questions), known, moved.cost)
            )
        claims.append(
            Claim(
                f"routers on {title}, no network: APGR",
                BASELINES if title == "MMLU" else "–",
                "; ".join(map(_quality, tried)),
                f"{data}; held out, five folds by text",
                "recorded",
            )
        )
    return [*claims, _many()]


def _held_out(kind: str, name: str, known: RoutingOutcomes) -> RoutingCurve:
    return routing_curve(name, held_out(kind, known, np.random.default_rng(SEED)), known)


def _many() -> Claim:
    """Routing among five open models: the best score, and what the best single model's score takes."""
    read = _replies("llmrouter_nine_models.parquet")
    known = outcomes(read, [RecordedModel(name) for name in OPEN], list(OPEN.values()))
    said = []
    for curve in (*(_held_out(kind, kind, known) for kind in ("linear", "nearest")), references(known)[-1]):
        # spending as a share of the dearest model's cost, not of the range between the ends
        low = known.cost.mean(axis=0).min() / known.cost.mean(axis=0).max()
        same = low + (1 - low) * curve.cpt((known.score.mean(axis=0).max() - curve.ends[0]) / np.ptp(curve.ends))
        said.append(f"{curve.name} at best {curve.score.max():.1%}, its score at {1 - same:.0%} less")
    best = known.score.mean(axis=0).max()
    return Claim(
        "routers over many models beat the best single one, or cost less",
        "at most +4 % and 31.7 % cheaper (LLMRouterBench, other models and questions)",
        f"best single {best:.1%}; {'; '.join(said)}",
        "llmrouter_nine_models.parquet, five models of 7B to 51B; cost declared as parameters; held out, five folds",
        "recorded",
    )


def _groups(read: Evidence, arm: int) -> list[npt.NDArray[np.int64]]:
    """Rows of the samples of each question that the arm was asked."""
    places = [read.at(RecordedAskKey(question, arm)) for question in range(len(read.items))]
    return [rows for rows in places if len(rows)]


def _vote(read: Evidence, rows: npt.NDArray[np.int64]) -> float:
    """Chance that the most frequent answer is right; ties are drawn."""
    tally: dict[str, list[float]] = {}
    for row in rows:
        if read.rows.answer[row] is not None:
            tally.setdefault(read.rows.answer[row], []).append(float(read.rows.score[row]))
    if not tally:
        return 0.0
    most = max(map(len, tally.values()))
    return float(np.mean([np.mean(scores) for scores in tally.values() if len(scores) == most]))


def own_samples(read: Evidence) -> list[Claim]:
    """Greedy, one sample, vote, coverage and best by likelihood, for every arm of our own evidence."""
    likely, claims = ratings(read)["likelihood"], []
    for at, arm in enumerate(read.arms):
        groups = _groups(read, at)
        score = read.rows.score
        greedy = score[(read.rows.arm == at) & (read.rows.role == "solver") & read.greedy]
        each = {
            "greedy": greedy,
            "one sample": np.array([score[g].mean() for g in groups]),
            "vote of 16": np.array([_vote(read, g) for g in groups]),
            "likeliest of 16": np.array([best_of_k(likely[g], score[g], len(g)) for g in groups]),
            "any of 16": np.array([pass_at_k(len(g), score[g].sum(), len(g)) for g in groups]),
        }
        gap = each["vote of 16"] - greedy
        low, high = mean_band(gap, LawQuery())
        claims.append(
            Claim(
                f"sampling and voting beats one greedy answer: {arm}",
                "yes, on reasoning tasks (self-consistency, arXiv 2203.11171)",
                ", ".join(f"{name} {values.mean():.1%}" for name, values in each.items())
                + f"; vote minus greedy {gap.mean():+.1%} ({low:+.1%} to {high:+.1%})",
                f"{OWN}, {len(groups)} questions",
                "recorded",
            )
        )
    return claims


def own_checks(read: Evidence) -> list[Claim]:
    """What verdicts and revisions are worth, where they are recorded."""
    rows, verdicts, claims = read.rows, ratings(read)["verdicts"], []
    for at, arm in enumerate(read.arms):
        judged = np.flatnonzero((rows.arm == at) & np.isfinite(verdicts) & (rows.role == "solver"))
        if not len(judged):
            continue
        right = rows.score[judged] == 1
        tpr, fpr = verdicts[judged][right].mean(), verdicts[judged][~right].mean()
        groups = [g[np.isfinite(verdicts[g])] for g in _groups(read, at)]
        groups = [g for g in groups if len(g)]
        best = np.array([best_of_k(verdicts[g], rows.score[g], len(g)) for g in groups])
        vote = np.array([_vote(read, g) for g in groups])
        low, high = mean_band(best - vote, LawQuery())
        claims.append(
            Claim(
                f"verification beats voting at large budgets: {arm}",
                "for strong verifiers (arXiv 2504.01005)",
                f"a verdict says yes to {tpr:.0%} of right and {fpr:.0%} of wrong answers; best of 16 by two verdicts "
                f"{best.mean():.1%}, vote of 16 {vote.mean():.1%}, difference {(best - vote).mean():+.1%} "
                f"({low:+.1%} to {high:+.1%})",
                f"{OWN}, {len(groups)} questions",
                "recorded",
            )
        )
        claims.append(_revised(read, at, arm))
    return claims


def _revised(read: Evidence, at: int, arm: RecordedModel) -> Claim:
    rows = read.rows
    first = np.flatnonzero((rows.arm == at) & (rows.role == REVISER))
    chains = [row for row in first if rows.role[rows.parent[row]] == "solver"]
    ends = {int(rows.parent[row]): row for row in first}
    score = np.array([[rows.score[rows.parent[r]], rows.score[r], rows.score[ends.get(int(r), r)]] for r in chains])
    question = rows.question[chains]
    means = np.array([score[question == q].mean(axis=0) for q in np.unique(question)])
    low, high = mean_band(means[:, 2] - means[:, 0], LawQuery())
    steps = " to ".join(f"{value:.1%}" for value in means.mean(axis=0))
    return Claim(
        f"revising an answer improves it: {arm}",
        "for models trained to revise (arXiv 2408.03314)",
        f"score after 0, 1, 2 revisions {steps}; change {(means[:, 2] - means[:, 0]).mean():+.1%} "
        f"({low:+.1%} to {high:+.1%})",
        f"{OWN}, {len(means)} questions, {len(chains)} chains",
        "recorded",
    )


def own_formats(read: Evidence) -> list[Claim]:
    """Four bits against eight, and steps against direct answers, paired by question."""
    score = np.full((len(read.items), len(read.arms)), np.nan)
    for at in range(len(read.arms)):
        for rows in _groups(read, at):
            score[read.rows.question[rows[0]], at] = read.rows.score[rows].mean()
    claims = []
    for what, same in (("format", "effort"), ("effort", "format")):
        for one, first in enumerate(read.arms):
            for other, second in enumerate(read.arms):
                differs = getattr(first, what) < getattr(second, what)
                both = np.isfinite(score[:, one] + score[:, other])
                if not differs or getattr(first, same) != getattr(second, same) or both.sum() < 2:
                    continue
                test = tost(score[both, other], score[both, one], 0.02)
                claims.append(
                    Claim(
                        f"{second} is as good as {first}",
                        "–"
                        if what == "format"
                        else "thinking helps (and can harm: PTE, arXiv 2604.05404, SimpleQA -3.4 %)",
                        f"{test.verdict}: {test.difference:+.1%} ({test.low:+.1%} to {test.high:+.1%})",
                        f"{OWN}, {test.pairs} questions",
                        "recorded",
                    )
                )
    return claims


def lines() -> list[Claim]:
    """All claims of this file; those on measured sets only where the data is there."""
    known = counts()
    claims = [*monkeys(known), *forecasts(known), *prices(), *routing()]
    if "own" in packaged_evidence():
        own = read_evidence("own")
        if not isinstance(own, Evidence):
            raise ComptrollerError("own evidence holds replies")
        claims += [*own_samples(own), *own_checks(own), *own_formats(own)]
    return claims
