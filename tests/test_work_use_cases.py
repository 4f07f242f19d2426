"""Users, a day's tokens and use cases give rate, lengths and objectives, and the workload says what was assumed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comptroller.errors import FactError
from comptroller.facts.reader import folder
from comptroller.planning.planner import plan
from comptroller.work.demand import demand
from comptroller.work.workload import Workload, load, parse

BASE: dict[str, Any] = {"name": "x", "models": ["llama_3_1_8b"]}
FIXED = {"input": {"fixed": 900}, "output": {"fixed": 100}}


def test_users_of_a_use_case() -> None:
    found = parse(BASE | {"use_case": "chat", "users": 100_000})
    assert found.rate_per_s == pytest.approx(100_000 * 3.57 * 0.066 / 3600)
    asked = demand(found)
    assert (round(asked.mean_input_tokens, 1), round(asked.mean_output_tokens, 1)) == (1154.7, 211.1)
    assert asked.mean_rate_per_s == pytest.approx(100_000 * 3.57 / 86_400)
    assert found.objectives.ttft is not None and found.objectives.ttft.max_s == 0.45
    told = "\n".join(found.assumptions)
    for word in ("ttft p99 450 ms", "lengths of the use case chat", "read 2026-", "assumed: ", "100,000 users x 3.57"):
        assert word in told


def test_a_days_tokens() -> None:
    found = parse(BASE | {"tokens_per_day": 86.4e6, "busiest_hour_share": 0.1, "lengths": FIXED})
    assert found.rate_per_s == pytest.approx(86_400 * 0.1 / 3600)
    assert demand(found).mean_rate_per_s == pytest.approx(1.0)
    assert found.assumptions[-1].startswith("rate 2.4/s: 86,400,000 tokens / 1,000 tokens of a mean request a day")
    of_use = parse(BASE | {"tokens_per_day": 1e9, "use_case": "rag"})
    assert of_use.rate_per_s == pytest.approx(1e9 / (3459.98 + 292.78) * 0.125 / 3600, rel=1e-5)


def test_what_the_file_states_stays() -> None:
    own = {
        "use_case": "code_completion",
        "users": 10,
        "requests_per_user_per_day": 400.0,
        "busiest_hour_share": 0.2,
        "lengths": FIXED,
        "objectives": {"e2e": {"max": 1.0, "unit": "s"}},
    }
    found = parse(BASE | own)
    assert found.rate_per_s == pytest.approx(10 * 400 * 0.2 / 3600)
    assert demand(found).mean_input_tokens == 900 and found.objectives.ttft is None
    assert len(found.assumptions) == 1 and found.assumptions[0].startswith("rate ")
    assert parse(BASE | {"rate_per_s": 1.0, "lengths": FIXED}).assumptions == ()
    stated = parse(BASE | {"rate_per_s": 1.0, "use_case": "agent"})
    assert stated.rate_per_s == 1.0 and stated.objectives.ttft is not None and stated.lengths is not None


@given(users=st.integers(1, 10**7), factor=st.integers(2, 9))
def test_the_rate_is_proportional_to_the_users(users: int, factor: int) -> None:
    few, many = (parse(BASE | {"use_case": "summaries", "users": n}) for n in (users, users * factor))
    assert few.rate_per_s is not None and many.rate_per_s == pytest.approx(few.rate_per_s * factor)


def test_a_filled_workload_is_read_again_as_it_is() -> None:
    found = parse(BASE | {"use_case": "chat", "users": 5000})
    assert Workload.model_validate(found.model_dump()) == found


def test_an_own_use_case_lies_beside_the_workload(tmp_path: Path) -> None:
    text = (folder("use_cases") / "chat.toml").read_text(encoding="utf-8").replace("value = 3.57", "value = 7.14")
    (tmp_path / "ours.toml").write_text(text)
    (tmp_path / "w.toml").write_text('name = "x"\nmodels = ["llama_3_1_8b"]\nuse_case = "ours.toml"\nusers = 1000\n')
    assert load(tmp_path / "w.toml").rate_per_s == pytest.approx(1000 * 7.14 * 0.066 / 3600)


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"use_case": "chta", "users": 5}, "use_case: unknown use_case 'chta'; nearest: chat"),
        ({"use_case": "chat"}, r"users: no arrivals \(allowed: one of rate_per_s, users, tokens_per_day"),
        ({"use_case": "chat", "users": 5, "rate_per_s": 1.0}, "users: the rate is given twice"),
        ({"users": 5, "tokens_per_day": 1e6, "use_case": "chat"}, "tokens_per_day: the rate is given twice"),
        ({"users": 5, "lengths": FIXED}, "requests_per_user_per_day: is missing .*or use_case"),
        ({"users": 5, "requests_per_user_per_day": 2.0, "lengths": FIXED}, "busiest_hour_share: is missing"),
        ({"tokens_per_day": 1e6, "busiest_hour_share": 0.1}, "lengths: is missing"),
        ({"tokens_per_day": 1.0, "requests_per_user_per_day": 2.0, "use_case": "rag"}, "no meaning beside tokens_"),
        ({"rate_per_s": 1.0, "busiest_hour_share": 0.1, "lengths": FIXED}, "no meaning beside rate_per_s"),
        ({"use_case": "chat", "users": 5, "busiest_hour_share": 6.6}, "busiest_hour_share: 6.6 is not allowed"),
        ({"use_case": "chat", "users": 5, "busiest_hour_share": 0.01}, "busiest_hour_share: 0.01 is not allowed"),
        ({"use_case": "chat", "users": 0}, "users: 0 is not allowed"),
        ({"use_case": "chat", "users": "many"}, "users: 'many' is not allowed"),
        ({"users": 5, "trace": "t.csv", "use_case": "chat"}, "users: is already given by the trace"),
        ({"assumptions": ["x"], "rate_per_s": 1.0, "lengths": FIXED}, "assumptions: follow from use_case"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused_by_name(keys: dict[str, Any], says: str) -> None:
    with pytest.raises(FactError, match=says):
        parse(BASE | keys)


def test_the_plan_says_what_was_assumed() -> None:
    allow = {"accelerators": ["h100_sxm"], "sites": ["us_neocloud"], "formats": ["bf16"]}
    asked = parse(BASE | {"use_case": "chat", "users": 20_000, "allow": allow})
    found = plan(asked, rehearsal=None)
    assert set(asked.assumptions) <= set(found.notes)
    assert found.totals.requests_per_s == pytest.approx(20_000 * 3.57 * 0.066 / 3600, rel=1e-5)
