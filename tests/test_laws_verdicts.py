"""Solutions and verdicts: grids against exhaustive walks and enumeration, a known law found again, published grids."""

from __future__ import annotations

import json
from itertools import combinations
from math import inf
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comptroller.cli import main
from comptroller.errors import FactError
from comptroller.work.evidence import Evidence
from comptroller.work.evidence_readers import read_evidence
from comptroller.work.laws import LawQuery
from comptroller.work.laws.solutions_and_verdicts import LAW, grid_findings, recorded_grid
from comptroller.work.verdict_grids import VerdictGrid, crossing, frontier, read_grids, states_grids
from evidence_files import measured

FEW = LawQuery(draws=40)
TABLE = {
    "best_of_k": {"(1, 1)": 0.4, "(1, 2)": 0.41, "(2, 1)": 0.45, "(2, 2)": 0.5},
    "majority_voting": {"1": 0.4, "2": 0.46},
}


def drawn_grid(seed: int) -> VerdictGrid:
    rng = np.random.default_rng(seed)
    numbers = 2.0 ** np.arange(4)
    return VerdictGrid(numbers, numbers, rng.random((4, 4)), 2.0 ** np.arange(7), rng.random(7), 1.0 + seed % 2)


@given(st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_the_frontier_and_the_crossing_are_those_of_an_exhaustive_walk(seed: int) -> None:
    grid = drawn_grid(seed)
    cells = [(float(grid.compute[s, v]), float(grid.best[s, v]), s, v) for s in range(4) for v in range(4)]
    told = frontier(grid, grid.best)
    wanted = [c for c in cells if all(o[1] < c[1] for o in cells if o is not c and o[0] <= c[0])]
    assert sorted(told.compute.tolist()) == sorted(c[0] for c in wanted)
    behind, ahead = crossing(grid, grid.best, grid.vote)

    def leads(budget: float) -> bool:
        verdicts = max(c[1] for c in cells if c[0] <= budget)
        return bool(verdicts > max(v for n, v in zip(grid.voters, grid.vote, strict=True) if n <= budget))

    budgets = sorted({c[0] for c in cells} | {n for n in grid.voters.tolist() if n >= grid.compute.min()})
    assert all(leads(budget) for budget in budgets if budget >= ahead)
    assert behind == 0.0 or not leads(behind)
    assert ahead == inf or behind == max([b for b in budgets if b < ahead], default=0.0)


def test_the_exponents_of_a_world_are_found_again() -> None:
    """The score falls off on either side of S = C^0.6, which is the law."""
    numbers = 2.0 ** np.arange(10)
    blank = VerdictGrid(numbers, numbers, np.zeros((10, 10)), np.ones(1), np.zeros(1), 1.0)
    cost = np.log(blank.compute)
    best = cost / 20 - 0.3 * np.abs(np.log(numbers)[:, None] - 0.6 * cost)
    grid = VerdictGrid(numbers, numbers, best, np.ones(1), np.zeros(1), 1.0)
    solutions, _ = frontier(grid, best).exponents()
    assert solutions == pytest.approx(0.6, abs=0.06)
    missed, kept = frontier(grid, best).doublings_missed(grid)
    assert missed < 0.8 < kept
    found = {one.quantity: one for one in grid_findings("world", grid, FEW)}
    of_solutions = found["exponent of solutions in compute"]
    assert of_solutions.low <= solutions <= of_solutions.high


def recorded(tmp_path: Path, questions: int = 6) -> Evidence:
    """Four solutions a question with four verdicts each; the second solution has no answer, and no verdicts."""
    rng, rows = np.random.default_rng(5), ["id,parent,question,model,role,sample,answer,score,judgement"]
    for q in range(questions):
        for s in range(4):
            right = int(rng.random() < 0.5)
            answer = "" if s == 1 else ("42" if right else str(s))
            rows.append(f"q{q}s{s},,q{q},m,solver,{s},{answer},{right if answer else 0},")
            for v in range(4 if answer else 0):
                rows.append(f"q{q}s{s}v{v},q{q}s{s},q{q},m,verifier,{v},,,{float(rng.random() < 0.3 + 0.4 * right)}")
    path = tmp_path / "verdicts.csv"
    path.write_text("\n".join(rows) + "\n")
    found = read_evidence(path)
    assert isinstance(found, Evidence)
    return found


def test_recorded_verdicts_give_the_means_over_all_deals_of_solutions(tmp_path: Path) -> None:
    evidence = recorded(tmp_path)
    grid = recorded_grid(evidence, 0, np.random.default_rng(0))
    assert grid is not None
    assert grid.solutions.tolist() == [1.0, 2.0, 4.0] and grid.verdicts.tolist() == [1.0, 2.0, 4.0]
    rows = evidence.rows
    for place, question in enumerate(np.unique(rows.question)):
        solved = np.flatnonzero((rows.role == "solver") & (rows.question == question))
        verdicts = [rows.judgement[(rows.parent == row) & (rows.role == "verifier")] for row in solved]
        rating = [each.mean() if len(each) else -1.0 for each in verdicts]
        pairs = [
            _best([rating[i] for i in pair], [rows.score[solved[i]] for i in pair])
            for pair in combinations(range(4), 2)
        ]
        assert grid.best[place, 1, 2] == pytest.approx(np.mean(pairs))
        assert grid.best[place, 0, 0] == pytest.approx(rows.score[solved].mean())
    assert grid.vote.shape == (6, 3) and (grid.vote >= 0).all() and (grid.vote <= 1).all()


def _best(rating: list[float], score: list[float]) -> float:
    """The mean score of those that are rated first."""
    return float(np.mean([one for rated, one in zip(rating, score, strict=True) if rated == max(rating)]))


def test_evidence_with_too_few_verdicts_has_no_such_law() -> None:
    assert LAW.find(read_evidence("own"), FEW) == []


def test_the_published_grids_give_their_exponents_and_crossings() -> None:
    """The figures of an independent fit to the grids published beside arXiv 2504.01005."""
    wanted = [(0.472, 0.640, 264.0), (0.470, 0.643, 528.0), (0.533, 0.520, 2080.0), (0.559, 0.487, 2080.0)]
    grids = read_grids(measured("genrm_grids.json"))
    for grid, (solutions, verdicts, ahead) in zip(grids.values(), wanted, strict=True):
        assert frontier(grid, grid.best).exponents() == pytest.approx((solutions, verdicts), abs=6e-4)
        assert crossing(grid, grid.best, grid.vote)[1] == ahead


def test_recorded_verdicts_on_gpqa_cross_where_the_published_grid_does() -> None:
    found = {one.quantity: one for one in LAW.find(read_evidence(measured("genrm_gpqa_llama70b_known.parquet")), FEW)}
    solutions = found["exponent of solutions in compute"]
    assert solutions.low <= 0.472 <= solutions.high
    assert found["verdicts ahead of a vote from, in solutions"].value == 264.0


def test_a_file_of_grids_is_fitted_by_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "grids.json"
    numbers = [2**n for n in range(6)]
    cells = {f"({s}, {v})": 0.3 + 0.05 * np.log2(s) + 0.02 * np.log2(v) for s in numbers for v in numbers}
    path.write_text(json.dumps({"pair": {"best_of_k": cells, "majority_voting": {str(n): 0.35 for n in numbers}}}))
    with pytest.raises(SystemExit) as done:
        main(["fit", "laws", str(path), "--json"])
    assert not done.value.code
    quantities = [one["quantity"] for one in json.loads(capsys.readouterr().out)["findings"]]
    assert quantities[:3] == [
        "exponent of solutions in compute",
        "exponent of verdicts in compute",
        "verdicts ahead of a vote from, in solutions",
    ]
    with pytest.raises(SystemExit) as refused:
        main(["fit", "laws", str(path), "--law", "coverage"])
    assert refused.value.code == 2 and "solutions_and_verdicts alone" in capsys.readouterr().err


@pytest.mark.parametrize(
    "broken", [{"best_of_k": {"(1, 1)": 0.4, "(2, 2)": 0.5}}, {"best_of_k": {"(1, 1)": "x"}}, {"majority_voting": {}}]
)
def test_a_grid_with_holes_is_named(tmp_path: Path, broken: dict[str, object]) -> None:
    path = tmp_path / "grids.json"
    path.write_text(json.dumps({"pair": TABLE, "other": TABLE | broken}))
    assert states_grids(path)
    with pytest.raises(FactError, match="other"):
        read_grids(path)
