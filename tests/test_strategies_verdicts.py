"""A cascade on a verdict: what it solves and costs by its check's errors, and how lenient the check may be."""

import numpy as np
import pytest

from comptroller.errors import InputError
from comptroller.strategies.replay import EvidenceReplay, ModelledChecker, RecordedService
from comptroller.strategies.results import replay_strategy
from comptroller.strategies.rules.verdict_cascade import VerdictCascadeStrategy, break_even_fpr
from comptroller.strategies.spelling import parse
from comptroller.strategies.study import ReplayConditions, study
from comptroller.work.evidence_columns import EvidenceColumnNames
from comptroller.work.evidence_readers import read_evidence
from evidence_files import measured

CASCADE = VerdictCascadeStrategy()


def made(folder, weak, strong):
    """Evidence of a cheap and a dear model, one reply a question."""
    file = folder / "pair.csv"
    rows = [f"q{n},cheap,{w:g},0.1\nq{n},dear,{s:g},1" for n, (w, s) in enumerate(zip(weak, strong, strict=True))]
    file.write_text("\n".join(["question,model,score,usd", *rows]) + "\n")
    return read_evidence(file)


def played(evidence, tpr, fpr):
    weak, strong = (RecordedService(evidence.find(name)) for name in ("cheap", "dear"))
    roles = {"weak": weak, "strong": strong, "checker": ModelledChecker(tpr, fpr)}
    return replay_strategy(CASCADE, EvidenceReplay(evidence, roles))


@pytest.fixture
def pair(tmp_path):
    rng = np.random.default_rng(4)
    weak, strong = rng.random(400) < 0.5, rng.random(400) < 0.6
    return weak.astype(float), strong.astype(float), made(tmp_path, weak, strong)


def test_a_perfect_check_solves_the_union_and_pays_the_dear_model_where_the_cheap_one_fails(pair):
    weak, strong, evidence = pair
    results = played(evidence, 1.0, 0.0)
    np.testing.assert_array_equal(results.score, np.maximum(weak, strong))
    np.testing.assert_allclose(results.column("usd"), 0.1 + (1 - weak))


@pytest.mark.parametrize("tpr", [1.0, 0.8])
def test_at_the_break_even_rate_it_solves_as_much_as_the_dear_model(pair, tpr):
    weak, strong, evidence = pair
    most = break_even_fpr(weak, strong, tpr)
    assert 0 < most < 1
    solved = played(evidence, tpr, most).score.mean()
    assert solved == pytest.approx(strong.mean(), abs=0.05)  # 400 verdicts drawn: two standard errors
    assert played(evidence, tpr, 0.0).score.mean() > strong.mean() > played(evidence, tpr, 1.0).score.mean()


def test_a_check_may_let_everything_pass_where_the_cheap_model_is_no_worse():
    assert break_even_fpr([1, 1, 0], [1, 0, 0], 1.0) == 1.0


def test_a_study_says_how_lenient_the_check_may_be(pair):
    weak, strong, evidence = pair
    roles = {"weak": evidence.find("cheap"), "strong": evidence.find("dear")}
    found = study(evidence, [CASCADE], ReplayConditions(roles=roles))
    share = break_even_fpr(weak, strong, 1.0)
    assert any(f"as much as the cascade does if {share:.1%} of wrong answers pass" in note for note in found.notes)
    assert "modelled: the checker accepts 100% of right and 0% of wrong answers" in found.notes


@pytest.mark.parametrize("text", ["(weak,)", "(weak,weak)", "(weak,checker)"])
def test_roles_are_different_models_beside_the_checker(text):
    with pytest.raises(InputError, match="two or more different ones beside 'checker'"):
        parse(f"verdict_cascade(roles={text})")


def test_tests_between_two_models_on_verified_issues_beat_the_dear_one_at_half_its_price():
    named = EvidenceColumnNames.parse(["question=question,model=model,score=score,usd=usd"])
    evidence = read_evidence(measured("swebench_verified_known.parquet"), named)
    weak, strong = (RecordedService(evidence.find(name)) for name in ("gpt-5-mini", "sonnet-4-5"))
    replay = EvidenceReplay(evidence, {"weak": weak, "strong": strong, "checker": ModelledChecker()})
    results = replay_strategy(CASCADE, replay)
    assert len(results.question) == 369
    # 75.6 % at $0.249 on all 500 issues; these 369 are the part at hand, recomputed apart from the package
    assert results.mean("score") == pytest.approx(0.747967, abs=1e-6)
    assert results.mean("usd") == pytest.approx(0.265708, abs=1e-6)
