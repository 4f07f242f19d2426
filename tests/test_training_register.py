"""FLOPs of a run by both methods, and the rules that it meets."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from comptroller.cli import main
from comptroller.costs.compute_count import (
    architecture_flops,
    hardware_flops,
    performance_density,
    total_processing_performance,
)
from comptroller.costs.training_work import TrainingJob
from comptroller.errors import FactError
from comptroller.facts.accelerator import accelerator
from comptroller.facts.compute_rule import compute_rule, compute_rules
from comptroller.facts.config import model
from comptroller.training.compute_register import RegisteredRun, compute_register
from comptroller.training.register_document import RuleVerdict
from comptroller.training.run_register import registered_runs
from comptroller.training.stated_compute import StatedCompute

EXAMPLE = Path(__file__).parents[1] / "examples" / "register.toml"


def run(tokens: float = 2e12, **stated: object) -> RegisteredRun:
    job = TrainingJob(model("llama_3_1_8b"), accelerator("h100_sxm"), 8192)
    return RegisteredRun(job, tokens, 256, 256 * 86400.0, StatedCompute.model_validate(stated))


def verdicts(one: RegisteredRun) -> dict[str, RuleVerdict]:
    found = compute_register(one).thresholds
    return {f"{threshold.rule}.{threshold.threshold}": threshold.verdict for threshold in found}


@pytest.mark.parametrize(
    ("name", "tokens", "published"),
    [("llama_3_1_405b", 15.6e12, 3.8e25), ("deepseek_v3", 14.8e12, 3.3e24), ("llama_3_1_70b", 15e12, 6.3e24)],
)
def test_published_counts_of_flops_lie_near_the_range(name: str, tokens: float, published: float) -> None:
    """Llama 3 (arXiv 2407.21783) prints 3.8e25; the others are 6 N D of the reports' weights and tokens (37 B active
    weights of DeepSeek-V3), as Epoch counts them."""
    found = architecture_flops(TrainingJob(model(name), accelerator("h100_sxm"), 8192), tokens)
    assert found.low <= found.flops <= found.high
    assert found.low / 1.03 <= published <= found.high


def test_the_hardware_method_is_a_product_and_grows_with_utilisation() -> None:
    found = hardware_flops(10.0, 1e15, (0.3, 0.4, 0.5))
    assert (found.low, found.flops, found.high) == pytest.approx((3e15, 4e15, 5e15))


@pytest.mark.parametrize(("device", "reached"), [
    ("h100_sxm", "a_1"), ("a100_80_sxm", "a_1"), ("l4", "a_2"), ("rtx_4080", "a_2"), ("h20", None), ("t4", None),
])  # fmt: skip
def test_export_controls_of_known_devices(device: str, reached: str | None) -> None:
    """H100 and A100 are 3A090.a by TPP, the L4 by density; the H20 was made to be neither a nor b."""
    rule, one = compute_rule("us_eccn_3a090"), accelerator(device)
    tpp, density = total_processing_performance(one), performance_density(one)
    hits = [threshold.id for threshold in rule.device if threshold.holds(tpp, density)]
    assert (hits[0] if hits else None) == reached


def test_a_run_reaches_what_it_exceeds_and_later_training_counts() -> None:
    alone = verdicts(run(2e12))
    assert alone["eu_ai_act.general_purpose"] is RuleVerdict.WITHIN_ERROR
    assert alone["california_sb_53.frontier_model"] is RuleVerdict.NOT_REACHED
    more = verdicts(run(2e12, later_flops=2e26))
    assert more["california_sb_53.frontier_model"] is RuleVerdict.REACHED
    assert verdicts(run(2e10))["eu_ai_act.general_purpose"] is RuleVerdict.NOT_REACHED


def test_synthetic_data_counts_in_the_european_union_alone() -> None:
    found = verdicts(run(2e12, synthetic_flops=2e26))
    assert found["eu_ai_act.systemic_risk"] is RuleVerdict.REACHED
    assert found["new_york_raise.frontier_model"] is RuleVerdict.NOT_REACHED


def test_a_modification_is_held_against_a_third_of_its_original() -> None:
    small = verdicts(run(2e12, base_flops=3.6e23))
    assert "eu_ai_act.general_purpose" not in small and small["eu_ai_act.modifier"] is RuleVerdict.NOT_REACHED
    large = verdicts(run(2e12, base_flops=2e23))
    assert large["eu_ai_act.modifier"] is RuleVerdict.REACHED and "eu_ai_act.systemic_modifier" not in large
    assert verdicts(run(2e12, modifies=True))["eu_ai_act.modifier"] is RuleVerdict.REACHED
    whole = verdicts(run(2e12, base_flops=1.1e26))
    assert whole["california_sb_53.frontier_model"] is RuleVerdict.REACHED


def test_biological_sequences_had_a_threshold_of_their_own_until_the_order_was_revoked() -> None:
    order = compute_rule("us_eo_14110")
    assert order.applies_on(date(2024, 6, 1)) and not order.applies_on(date(2025, 1, 20))
    assert "us_eo_14110.biological_model" not in verdicts(run())
    assert verdicts(run(4e12, biological=True))["us_eo_14110.biological_model"] is RuleVerdict.REACHED


def test_a_cluster_needs_its_links() -> None:
    many = replace(run(), devices=60_000)
    assert verdicts(many)["us_eo_14110.computing_cluster"] is RuleVerdict.REACHED
    assert verdicts(run())["us_eo_14110.computing_cluster"] is RuleVerdict.NOT_REACHED


@pytest.mark.parametrize("rule", compute_rules(), ids=lambda rule: rule.id)
def test_every_rule_has_thresholds_sources_and_a_period(rule: object) -> None:
    found = compute_rule(rule.id)  # type: ignore[attr-defined]
    assert found.thresholds and all(source.url for source in found.sources.values())
    assert found.applies_until is None or found.applies_from < found.applies_until
    assert {figure.source for _, figure in found.figures()} <= set(found.sources)


def test_test_time_tokens_as_dear_as_the_run_are_three_times_its_tokens() -> None:
    """C = 6 N D trains what 2 N a token serves: 3 D tokens, up to attention and the table of embeddings."""
    text = next(one for one in compute_register(run()).unseen if one.startswith("test-time"))
    assert float(text.split("serving ")[1].split(" tokens")[0]) == pytest.approx(3 * 2e12, rel=0.15)


def test_the_register_of_the_example_and_its_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = registered_runs(EXAMPLE)
    assert len(found) == 3 and [len(one.counts) for one in found.values()] == [2, 2, 1]
    bad = tmp_path / "register.toml"
    bad.write_text(
        EXAMPLE.read_text(encoding="utf-8").replace("llama_3_1_8b", "llama_9").replace("h100_sxm", "h1000_sxm"),
        encoding="utf-8",
    )
    with pytest.raises(FactError) as caught:
        registered_runs(bad)
    assert "llama_9" in str(caught.value) and "h1000_sxm" in str(caught.value)
    with pytest.raises(SystemExit) as ended:
        main(["show", "register", str(EXAMPLE)])
    assert not ended.value.code and "systemic_risk" in capsys.readouterr().out
    with pytest.raises(SystemExit) as ended:
        main(["show", "register"])
    assert ended.value.code == 2
