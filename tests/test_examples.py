"""The examples give what they gave: golden plans under tests/golden, rewritten by `make golden`."""

from __future__ import annotations

import json
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from comptroller.errors import FactError
from comptroller.planning.ground.plan_document import Plan
from comptroller.planning.planner import plan
from comptroller.work.workload import load

EXAMPLES = Path(__file__).parents[1] / "examples"
GOLDEN = Path(__file__).parent / "golden"
ELSEWHERE = ("current", "quality", "day", "quality_day", "register")
OTHER_TABLES = {"training", "lifetime"}
"""Tables of workloads that other plans are made of."""


def serves(path: Path) -> bool:
    """Whether an example is a workload of serving that is planned here."""
    stated = tomllib.loads(path.read_text(encoding="utf-8"))
    return path.stem not in ELSEWHERE and not OTHER_TABLES & set(stated)


WORKLOADS = sorted(path.stem for path in EXAMPLES.glob("*.toml") if serves(path))


def figures_apart(value: Any) -> tuple[Any, list[float]]:
    """A document without its numbers, and the numbers in order."""
    if isinstance(value, bool) or not isinstance(value, int | float | dict | list):
        return value, []
    if isinstance(value, int | float):
        return 0, [float(value)]
    items = value.items() if isinstance(value, dict) else enumerate(value)
    parts = {key: figures_apart(inner) for key, inner in items}
    numbers = [number for _, found in parts.values() for number in found]
    return {key: shape for key, (shape, _) in parts.items()}, numbers


def answer(document: dict[str, Any]) -> dict[str, Any]:
    """What a plan decides; digests and sentences follow from the facts and the figures."""
    kept = ("name", "objective", "classes", "services", "totals", "latency", "frontier", "candidates")
    return {key: document[key] for key in kept}


def test_the_chat_example_gives_the_golden_plan() -> None:
    found = plan(load(EXAMPLES / "chat.toml"))
    shape, numbers = figures_apart(answer(json.loads(found.to_json())))
    golden_shape, golden_numbers = figures_apart(answer(json.loads((GOLDEN / "chat.json").read_text())))
    assert shape == golden_shape, "the choice changed; if that is meant: make golden"
    assert numbers == pytest.approx(golden_numbers, rel=1e-4), "the figures moved; if that is meant: make golden"


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in WORKLOADS if name != "chat"])
def test_examples_with_public_traces_can_be_planned(name: str) -> None:
    try:
        workload = load(EXAMPLES / f"{name}.toml")
    except FactError as error:
        assert error.field == "trace"
        pytest.skip(f"the trace is not here: {error}")
    found = plan(workload)
    assert found.services and Plan.model_validate_json(found.to_json()) == found


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    (GOLDEN / "chat.json").write_text(plan(load(EXAMPLES / "chat.toml")).to_json(), encoding="utf-8")
    sys.stdout.write(f"wrote {GOLDEN / 'chat.json'}\n")
