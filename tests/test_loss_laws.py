"""Laws of the loss beyond Chinchilla's: each found again from its own runs, judged on compute left out, averaged."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from comptroller.cli import main
from comptroller.errors import RecordError, UnknownIdError, UnsupportedError
from comptroller.work.domain_split import domain_shares, split_compute
from comptroller.work.law_comparison import compare_laws, fit_law
from comptroller.work.loss_laws import loss_law, loss_laws
from comptroller.work.loss_laws.average_params import mean_params
from comptroller.work.loss_laws.data_constrained import worth
from comptroller.work.loss_points import EXTRA, LossPoints, read_losses
from comptroller.work.reward_law import RewardCurve, fit_rewards, read_rewards, reward_report
from comptroller.work.scaling_law import ScalingLaw
from comptroller.work.scaling_stages import qat_share

DATA = Path(os.environ.get("COMPTROLLER_DATA", Path(__file__).parents[2] / "shared" / "data")) / "training"
CHINCHILLA = {"a": 477.84, "b": 2143.86, "floor": 1.81724, "alpha": 0.34731, "beta": 0.36718}
TRUE: dict[str, Mapping[str, float]] = {
    "chinchilla": CHINCHILLA,
    "kaplan": loss_law("kaplan").published,
    "equal_exponents": loss_law("equal_exponents").published,
    "outer_exponent": {**CHINCHILLA, "gamma": 0.8},
    "data_constrained": loss_law("data_constrained").published,
    "ensembles": loss_law("ensembles").published,
    "average_params": CHINCHILLA,
    "precision": {**CHINCHILLA, "gamma": 1.0, "forward": 2.6, "backward": 1.0},
    "quantisation": loss_law("quantisation").values(np.array(loss_law("quantisation").starts[0])),
    "filtering": {"a": 40.0, "b": 0.2, "floor": 1.5, "half_life": 4.0},
    "routing": {"a": -0.08, "b": -0.1, "c": 0.004, "d": 2.6, "least": 1.5, "span": 300.0},
}


def made_runs(name: str, noise: float = 0.0, count: int = 120) -> LossPoints:
    """Runs of a law: sizes, tokens and its further columns at random."""
    rng, law = np.random.default_rng(3), loss_law(name)
    params, tokens = np.exp(rng.uniform(18, 23, count)), np.exp(rng.uniform(21, 26, count))
    extra = {
        "unique_tokens": tokens / np.exp(rng.uniform(0, 3, count)),
        "members": rng.integers(1, 9, count).astype(float),
        "average_params": params * rng.uniform(0.3, 1.0, count),
        "forward_bits": rng.choice([3.0, 4.0, 6.0, 8.0, 16.0], count),
        "backward_bits": rng.choice([4.0, 6.0, 8.0, 16.0], count),
        "bits": rng.choice([2.0, 3.0, 4.0, 6.0], count),
        "qat_share": rng.uniform(0.05, 0.9, count),
        "experts": rng.choice([1.0, 2.0, 8.0, 32.0, 128.0, 512.0], count),
    }
    assert set(extra) == set(EXTRA)
    chosen = {column: extra[column] for column in law.needs}
    loss = law.loss(TRUE[name], {"params": params, "tokens": tokens, **chosen})
    return LossPoints(params, tokens, loss * np.exp(noise * rng.standard_normal(count)), (name,) * count, chosen)


def test_every_law_has_runs_to_be_found_from() -> None:
    assert set(TRUE) == {law.name for law in loss_laws()}
    assert all(law.formula and law.source and set(law.needs) <= set(EXTRA) for law in loss_laws())


@pytest.mark.parametrize("name", sorted(TRUE))
def test_a_law_predicts_runs_that_it_has_not_seen(name: str) -> None:
    """Parameters may trade against each other: predictions on the second half of the runs may not."""
    points, law = made_runs(name), loss_law(name)
    seen = np.arange(len(points.loss)) % 2 == 0
    x = fit_law(law, points.take(seen))
    left = points.take(~seen)
    assert np.exp(law.log_loss(x, left.columns)) == pytest.approx(left.loss, rel=5e-3)


@pytest.mark.parametrize("name", ["equal_exponents", "data_constrained", "ensembles", "filtering"])
def test_published_parameters_are_found_again(name: str) -> None:
    law = loss_law(name)
    found = law.values(fit_law(law, made_runs(name)))
    assert found == pytest.approx(dict(TRUE[name]), rel=0.05)


def test_published_figures_of_infinite_compute() -> None:
    """One model without end of parameters 3.43, an ensemble of it 3.17 (arXiv 2509.14786)."""
    law, huge = loss_law("ensembles"), 1e30
    alone = law.loss(law.published, {"params": np.array([huge]), "members": np.array([1.0])})
    many = law.loss(law.published, {"params": np.array([huge]), "members": np.array([huge])})
    assert (float(alone[0]), float(many[0])) == (pytest.approx(3.43), pytest.approx(3.17))


def test_published_figures_of_repetition_and_of_quantisation() -> None:
    """Four passes are worth nearly four (arXiv 2305.16264: up to 4 epochs cost little), forty far less."""
    assert float(worth(np.array([4.0]), np.array([1.0]), 15.387756)[0]) == pytest.approx(3.73, abs=0.01)
    assert float(worth(np.array([40.0]), np.array([1.0]), 15.387756)[0]) < 16.0
    shares = [float(qat_share(1.0, size, 8.0)) for size in (10, 100, 1000, 1e4)]
    assert shares == pytest.approx([0.054, 0.232, 0.377, 0.482], abs=2e-3)
    assert mean_params(1.0, 1.0, 0.25, 0.75) == 1.0


def test_the_average_is_judged_on_runs_that_neither_fit_nor_weights_have_seen() -> None:
    found = compare_laws(made_runs("chinchilla", 0.003))
    by_name = {one.law: one for one in found.standings}
    assert sum(one.weight for one in found.standings) == pytest.approx(1.0)
    assert by_name["chinchilla"].weight > by_name["kaplan"].weight
    assert found.average_mean < 0.01 and len(found.refused) == 7
    losses = found.predictions(1e9, 2e10)
    assert losses["average"] == pytest.approx(losses["chinchilla"], rel=0.01)
    assert min(losses.values()) <= losses["average"] <= max(losses.values())


def test_what_a_table_does_not_support_is_refused() -> None:
    with pytest.raises(UnknownIdError, match="kaplan"):
        compare_laws(made_runs("chinchilla"), ["kapplan"])
    with pytest.raises(UnsupportedError, match="needs a column experts"):
        compare_laws(made_runs("chinchilla"), ["routing"])
    with pytest.raises(UnsupportedError, match="32 runs at least"):
        fit_law(loss_law("quantisation"), made_runs("quantisation").take(np.arange(20)))


@pytest.mark.parametrize("name", ["filtering", "routing", "quantisation"])
def test_a_law_of_further_columns_is_told_alone(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    """Chinchilla's law, which does not hold of such runs, is neither fitted nor split by."""
    points, file, table = made_runs(name, 0.002), tmp_path / "runs.csv", tmp_path / "laws.csv"
    columns = {**points.columns, "loss": points.loss}
    rows = [",".join(map(str, row)) for row in zip(*columns.values(), strict=True)]
    file.write_text("\n".join([",".join(columns), *rows]) + "\n", encoding="utf-8")
    with pytest.raises(SystemExit) as ended:
        main(["fit", "laws", str(file), "--law", name, "--json", "--table", str(table)])
    assert not ended.value.code and not recwarn.list
    (found,) = json.loads(capsys.readouterr().out)
    (standing,) = found["laws"]["standings"]
    assert set(found) == {"family", "laws"} and standing["law"] == name and standing["mean"] < 0.01
    assert table.read_text(encoding="utf-8").splitlines()[1].startswith(f"runs,{name},")
    with pytest.raises(SystemExit) as refused:
        main(["fit", "laws", str(file), "--law", name, "--flops", "1e21"])
    assert refused.value.code == 2 and "name it beside" in capsys.readouterr().err


def test_further_columns_are_read_and_held_to_be_numbers(tmp_path: Path) -> None:
    file = tmp_path / "runs.csv"
    file.write_text("params,tokens,loss,members\n1e9,1e10,2.5,4\n1e9,1e10,2.5,0\n", encoding="utf-8")
    with pytest.raises(RecordError, match="members is no positive number"):
        read_losses(file)


def test_compute_is_shared_over_domains_so_that_no_move_lowers_the_mean_loss() -> None:
    easy = ScalingLaw(1.6, 300.0, 1200.0, 0.36, 0.37)
    hard = ScalingLaw(2.2, 900.0, 4000.0, 0.34, 0.35)
    laws, flops = [easy, hard, ScalingLaw(1.9, 500.0, 2000.0, 0.35, 0.36)], 3e21
    best = split_compute(laws, flops)

    def mean_loss(split: np.ndarray) -> float:
        return float(np.mean([law.loss(*law.optimum(own)) for law, own in zip(laws, split, strict=True)]))

    rng = np.random.default_rng(0)
    assert best.sum() == pytest.approx(flops) and best[1] == best.max() and best[0] == best.min()
    for _ in range(100):
        other = best * np.exp(rng.normal(0, 0.3, 3))
        assert mean_loss(other * flops / other.sum()) >= mean_loss(best) - 1e-12
    shares = domain_shares([("easy", easy, 1e22), ("hard", hard, 1e20)], flops)
    assert [one.beyond for one in shares] == [False, True] and shares[1].share > 0.5


def rewards(noise: float = 0.004) -> tuple[np.ndarray, np.ndarray]:
    """A run of 100,000 hours of ScaleRL's shape."""
    compute = np.geomspace(1e3, 1e5, 60)
    curve = RewardCurve(0.2, 0.61, 9e3, 1.5).reward(compute)
    return compute, curve + noise * np.random.default_rng(0).standard_normal(60)


def test_the_second_half_of_a_run_is_predicted_by_the_first() -> None:
    found = reward_report("run", rewards(), (2e5, 1e9))
    assert found.held_out < 0.01 and found.asymptote[0] < 0.61 < found.asymptote[1]
    assert found.midpoint[0] < 9e3 < found.midpoint[1]
    assert [told[0] for told in found.rewards] == [2e5] and "supports no more" in found.refused[0]


def test_a_curve_that_bends_late_supports_no_extrapolation() -> None:
    compute = np.geomspace(1e3, 1e5, 60)
    late = np.where(compute < 6e4, 0.3 + 0.02 * np.log10(compute / 1e3), 0.3 + 0.9 * np.log10(compute / 6e4))
    found = reward_report("late", (compute, late), (1.5e5,))
    assert not found.rewards and found.reach == pytest.approx(1e5)


def test_rewards_are_read_from_a_table_and_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "rewards.csv"
    rows = [f"{c},{r},a" for c, r in zip(*rewards(), strict=True)]
    file.write_text("\n".join(["compute,reward,experiment", *rows]) + "\n", encoding="utf-8")
    with pytest.raises(SystemExit) as ended:
        main(["fit", "laws", str(file), "--flops", "1.5e5", "--json"])
    assert not ended.value.code
    (found,) = json.loads(capsys.readouterr().out)
    assert found["family"] == "a" and found["rewards"][0][0] == 1.5e5
    with pytest.raises(SystemExit) as refused:
        main(["fit", "laws", str(file), "--flops", "1e9"])
    assert refused.value.code == 2 and "the hold-out supports no more" in capsys.readouterr().err
    file.write_text("compute,reward\n1,2\n", encoding="utf-8")
    with pytest.raises(RecordError, match="row 2"):
        read_rewards(file)
    with pytest.raises(UnsupportedError, match="10 points"):
        fit_rewards(np.ones(3), np.ones(3))


@pytest.mark.slow
@pytest.mark.skipif(not (DATA / "isoflops.csv").exists(), reason="no table of iso-FLOP runs here: COMPTROLLER_DATA")
def test_averaged_laws_predict_the_budgets_left_out_of_eight_families() -> None:
    points = read_losses(DATA / "isoflops.csv")
    found = [compare_laws(points.of(name)) for name in points.families]
    assert len(found) == 8 and max(one.average_mean for one in found) < 0.01
    alone = [next(law.mean for law in one.standings if law.law == "chinchilla") for one in found]
    assert np.mean([one.average_mean for one in found]) < np.mean(alone)
