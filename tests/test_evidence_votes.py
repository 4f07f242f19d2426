"""A vote of four on recorded answers, by the command, beside a Monte Carlo of its own over subsets of samples."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from pyarrow import parquet
from typer.testing import CliRunner

from comptroller.cli import application

ROOT = Path(os.environ.get("COMPTROLLER_DATA", Path(__file__).parents[2] / "shared" / "data"))
FILE = ROOT / "evidence" / "genrm_gpqa_llama70b_known.parquet"
DRAWS = 400
"""Subsets of four a question: the mean over 50 questions then errs by 0.3 points."""


def mean_of_votes(file: Path) -> float:
    """Share that votes of four solve, ties shared, over random subsets of each question's samples."""
    rows = parquet.read_table(file, columns=["question", "role", "answer", "score"]).to_pylist()
    samples: dict[str, list[tuple[str, float]]] = {}
    for row in rows:
        if not row["role"]:
            samples.setdefault(row["question"], []).append((row["answer"], row["score"]))
    rng = np.random.default_rng(0)
    return float(np.mean([_vote(replies, rng) for replies in samples.values() for _ in range(DRAWS)]))


def _vote(replies: list[tuple[str, float]], rng: np.random.Generator) -> float:
    drawn = [replies[place] for place in rng.choice(len(replies), 4, replace=False)]
    counts = Counter(answer for answer, _ in drawn if answer)
    most = max(counts.values(), default=0)
    scores = dict(drawn)
    first = [answer for answer, count in counts.items() if count == most]
    return float(np.mean([scores[answer] for answer in first])) if first else 0.0


@pytest.mark.skipif(not FILE.exists(), reason=f"{FILE.name} is not there")
def test_a_vote_of_four_is_the_mean_over_deals_and_not_one_deal() -> None:
    words = ["replay", "sample_and_vote(n=4)", "--evidence", str(FILE), "--json"]
    told = CliRunner().invoke(application(words), words)
    settings = json.loads(told.stdout)["settings"]
    score = next(one["score"] for one in settings if one["strategy"].startswith("sample_and_vote"))
    assert score["value"] == pytest.approx(mean_of_votes(FILE), abs=0.02)
    assert score["high"] - score["low"] > 0.15, "50 questions and the noise of deals leave a wide interval"
