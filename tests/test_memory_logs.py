"""Memory against the logs of real servers, as `benchmarks/memory_logs.py` reads them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

from accuracy_data import data_folder  # noqa: E402
from memory_logs import CACHE_WITHIN, WEIGHTS_WITHIN, compare, logs  # noqa: E402

FILE = data_folder([]) / "memory.csv"
KEPT_WIDE = "Llama-3.1-405B-FP8"
"""Its attention stays in 16 bit, which one format for all matrices does not say."""

pytestmark = pytest.mark.skipif(not FILE.exists(), reason=f"{FILE} is not there")


def test_caches_are_within_a_tenth_of_the_logs_but_for_one() -> None:
    errors = [found.cache_error for found in map(compare, logs(FILE)) if found.cache_error is not None]
    assert sum(abs(error) <= CACHE_WITHIN for error in errors) >= len(errors) - 1 >= 7


def test_weights_are_within_two_per_cent_of_the_logs() -> None:
    rows = [row for row in logs(FILE) if row["weights_gib_per_device"] and KEPT_WIDE not in row["model"]]
    errors = [compare(row).weights_error for row in rows]
    assert len(errors) >= 4
    assert all(error is not None and abs(error) <= WEIGHTS_WITHIN for error in errors)
