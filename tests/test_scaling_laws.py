"""Laws of the loss: the fit, what it is worth, and where it is refused."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import check_grad

from comptroller.cli import main
from comptroller.errors import RecordError, UnsupportedError
from comptroller.work.loss_points import LossPoints, read_losses, states_losses
from comptroller.work.scaling_findings import ScalingQuery, scaling_report
from comptroller.work.scaling_fit import LEAST_POINTS, fit_scaling, hold_out_compute, objective
from comptroller.work.scaling_law import CHINCHILLA

DATA = Path(os.environ.get("COMPTROLLER_DATA", Path(__file__).parents[2] / "shared" / "data")) / "training"


def runs(noise: float = 0.0, budgets: int = 6, seed: int = 0) -> LossPoints:
    """Runs of Chinchilla's law: budgets of 1e19 FLOP on, seven sizes each."""
    rng = np.random.default_rng(seed)
    flops = np.repeat(1e19 * 3.0 ** np.arange(budgets), 7)
    best, _ = CHINCHILLA.optimum(flops)
    params = best * np.tile(np.geomspace(0.3, 3.0, 7), budgets)
    tokens = flops / (6 * params)
    loss = CHINCHILLA.loss(params, tokens) * np.exp(noise * rng.standard_normal(len(flops)))
    return LossPoints(params, tokens, loss, ("made",) * len(flops))


def test_the_gradient_is_that_of_the_objective() -> None:
    points, x = runs(0.01), np.array([6.1, 7.6, 0.58, 0.34, 0.36])
    assert check_grad(lambda y: objective(y, points)[0], lambda y: objective(y, points)[1], x) < 1e-2


def test_a_law_without_noise_is_found_to_three_digits() -> None:
    law = fit_scaling(runs()).law
    for name in ("floor", "a", "b", "alpha", "beta"):
        assert getattr(law, name) == pytest.approx(getattr(CHINCHILLA, name), rel=5e-3)


def test_epochs_optimum_of_chinchillas_points_is_its_own_compute() -> None:
    params, tokens = CHINCHILLA.optimum(5.76e23)
    assert float(tokens / params) == pytest.approx(17.9, abs=0.05)
    assert float(params) == pytest.approx(73.2e9, rel=1e-3)


def test_outliers_are_named_and_left_out() -> None:
    points = runs(0.002)
    loss = points.loss.copy()
    loss[[3, 20]] *= 1.3
    found = fit_scaling(LossPoints(points.params, points.tokens, loss, points.family))
    assert found.outliers == (3, 20)
    assert found.law.floor == pytest.approx(CHINCHILLA.floor, rel=0.05)


def test_the_hold_out_is_of_most_compute_and_small() -> None:
    found = hold_out_compute(runs(0.002))
    assert found.ratio >= 3 and found.mean < 0.01 and found.runs >= 7


def test_compute_beyond_the_hold_out_is_refused_and_can_be_asked_for() -> None:
    with pytest.raises(UnsupportedError, match="hold-out supports no more"):
        scaling_report(runs(0.002), ScalingQuery((1e30,), draws=20))
    (found,) = scaling_report(runs(0.002), ScalingQuery((1e22, 1e30), draws=20))
    assert len(found.splits) == len(found.refused) == 1
    (found,) = scaling_report(runs(0.002), ScalingQuery((1e30,), beyond=True, draws=20))
    low, high = found.splits[0].params[1:]
    assert low < found.splits[0].params[0] < high


def test_too_few_runs_and_bad_rows_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="12 runs of 3 sizes"):
        fit_scaling(runs(budgets=1))
    file = tmp_path / "losses.csv"
    file.write_text("params,tokens,loss\n1e9,1e10,2.5\n-1,1e10,2.5\n", encoding="utf-8")
    assert states_losses(file)
    with pytest.raises(RecordError, match="row 3"):
        read_losses(file)


def test_rows_are_named_by_their_place_in_the_file_with_all_faults_of_each(tmp_path: Path) -> None:
    file = tmp_path / "losses.csv"
    rows = ["1e9,1e10,2.5,0.5,true", "1e9,1e10,x,1.0,", "1e9,1e10,2.5,0.2,", "1e9,1e10,2.5,0,", "1e9,1e10"]
    file.write_text("\n".join(["params,tokens,loss,qat_share,outlier", *rows]) + "\n", encoding="utf-8")
    with pytest.raises(RecordError) as refused:
        read_losses(file)
    told = str(refused.value)
    assert (
        "row 3: params, tokens or flop, and loss are positive numbers; qat_share is no positive number below 1" in told
    )
    assert "row 5: qat_share" in told and "row 6" in told and "row 2" not in told and "row 4" not in told


@pytest.mark.filterwarnings("error")
def test_runs_that_do_not_say_what_parameters_buy_are_refused() -> None:
    """The smallest models are worse and all others alike: the greatest exponent is the best."""
    points = runs(0.002)
    small = points.params < np.quantile(points.params, 0.1)
    loss = 2.0 + 3e3 * points.tokens**-0.4 + 0.5 * small + 0.002 * np.cos(np.arange(len(points.loss)))
    blind = LossPoints(points.params, points.tokens, loss, points.family)
    with pytest.raises(UnsupportedError, match=r"alpha is .* what parameters buy"):
        scaling_report(blind, ScalingQuery(draws=5))


def test_a_table_of_few_runs_has_a_narrower_hold_out_and_fewer_are_refused_with_the_reason() -> None:
    points = runs(0.002)
    (found,) = scaling_report(points.take(np.arange(0, len(points.loss), 2)), ScalingQuery(draws=5))
    assert found.runs - found.widest.runs >= LEAST_POINTS
    with pytest.raises(UnsupportedError, match="of most compute, by which it is judged"):
        scaling_report(points.take(np.arange(13) * 2), ScalingQuery(draws=5))


def test_the_command_fits_a_table_of_losses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    points, file = runs(0.002), tmp_path / "losses.csv"
    rows = [f"{n},{d},{loss}" for n, d, loss in zip(points.params, points.tokens, points.loss, strict=True)]
    file.write_text("\n".join(["params,tokens,loss", *rows]) + "\n", encoding="utf-8")
    with pytest.raises(SystemExit) as ended:
        main(["fit", "laws", str(file), "--draws", "20", "--flops", "1e21", "--json"])
    assert not ended.value.code
    (found,) = json.loads(capsys.readouterr().out)
    assert found["splits"][0]["flops"] == 1e21 and found["held_out"]["mean"] < 0.01


@pytest.mark.skipif(not (DATA / "isoflops.csv").exists(), reason="no table of iso-FLOP runs here: COMPTROLLER_DATA")
def test_eight_families_are_predicted_within_a_per_cent_and_a_half() -> None:
    points = read_losses(DATA / "isoflops.csv")
    errors = {name: hold_out_compute(points.of(name)).mean for name in points.families}
    assert len(errors) == 8 and max(errors.values()) < 0.015
