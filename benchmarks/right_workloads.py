"""The workloads of plan_right.py: examples/chat.toml with a few fields replaced."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comptroller.facts.reader import parse_toml

CHAT = Path(__file__).parents[1] / "examples" / "chat.toml"

MODELS = ("llama_3_1_8b", "qwen2_5_14b", "qwen3_32b", "llama_3_1_70b", "gpt_oss_120b")
RATES = (3.0, 8.0, 20.0, 45.0)
OBJECTIVES = ((2000.0, 100.0), (1000.0, 50.0), (500.0, 30.0))
"""TTFT and TPOT at p95, in milliseconds, the loosest first."""

FEWER: Mapping[str, Mapping[str, Any]] = {
    "two devices": {"accelerators": ["h100_sxm", "h200_sxm"]},
    "one site": {"sites": ["us_neocloud"]},
}
"""Allow-lists that are parts of that of chat.toml."""

TOLD_EVERY = 6
"""Of the grid every sixth workload is also planned again at all that its plan tells: twenty plans each."""


@dataclass(frozen=True)
class ChangedWorkload:
    """chat.toml with some fields replaced, and the most of its objectives in milliseconds.

    told: whether all that its plan tells is planned again.  place: model, rate, objectives and allow-list in the grid.
    """

    name: str
    fields: Mapping[str, Any]
    ttft_ms: float = 1000.0
    tpot_ms: float = 50.0
    told: bool = True
    place: tuple[str, float, int, str] | None = None

    @property
    def document(self) -> dict[str, Any]:
        """The workload as a document, in which further kinds count for nothing."""
        limits = {"ttft": self.ttft_ms, "tpot": self.tpot_ms}
        objectives = {name: {"p": 95, "max": most, "unit": "ms"} for name, most in limits.items()}
        whole = {**parse_toml(CHAT), "name": self.name, "objectives": objectives, "kind_usd_per_h": 0.0}
        return {**whole, **self.fields, "allow": {**whole["allow"], **self.fields.get("allow", {})}}


ASKED = (
    ChangedWorkload("nothing", {}),
    ChangedWorkload("TPOT 55 ms", {}, tpot_ms=55.0),
    ChangedWorkload("rate 18.6/s", {"rate_per_s": 18.6}),
    ChangedWorkload("rate 21/s", {"rate_per_s": 21.0}),
    ChangedWorkload("TTFT 440 ms", {}, ttft_ms=440.0),
    ChangedWorkload("TTFT 425 ms", {}, ttft_ms=425.0),
)
MORE = (
    ChangedWorkload("TPOT 52.5 ms", {}, tpot_ms=52.5),
    ChangedWorkload("TPOT 60 ms", {}, tpot_ms=60.0),
    ChangedWorkload("TPOT 80 ms", {}, tpot_ms=80.0),
)


def _grid() -> tuple[ChangedWorkload, ...]:
    places = [(model, rate, number) for model in MODELS for rate in RATES for number in range(len(OBJECTIVES))]
    return tuple(
        ChangedWorkload(
            f"{model}, {rate:g}/s, TTFT {OBJECTIVES[number][0]:g} ms, TPOT {OBJECTIVES[number][1]:g} ms",
            {"models": [model], "rate_per_s": rate},
            *OBJECTIVES[number],
            told=count % TOLD_EVERY == 0,
            place=(model, rate, number, ""),
        )
        for count, (model, rate, number) in enumerate(places)
    )


def _fewer() -> tuple[ChangedWorkload, ...]:
    return tuple(
        ChangedWorkload(
            f"{model}, 8/s, {which}",
            {"models": [model], "rate_per_s": 8.0, "allow": dict(allow)},
            told=False,
            place=(model, 8.0, 1, which),
        )
        for model in MODELS
        for which, allow in FEWER.items()
    )


GRID, NARROW = _grid(), _fewer()
EVERY = {one.name: one for one in (*ASKED, *MORE, *GRID, *NARROW)}
