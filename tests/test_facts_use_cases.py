"""Every use case has a unit and an origin for each figure; a new file of the folder is tested without an edit."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from comptroller.errors import FactError, UnknownIdError
from comptroller.facts.reader import folder, ids
from comptroller.facts.use_case import use_case
from comptroller.work.use_cases import mean_tokens
from comptroller.work.workload import parse

every = pytest.mark.parametrize("name", ids("use_cases"))
CHAT = (folder("use_cases") / "chat.toml").read_text(encoding="utf-8")


def test_the_folder_holds_what_people_ask_for() -> None:
    assert set(ids("use_cases")) >= {"chat", "code_completion", "rag", "summaries", "agent"}


@every
def test_every_figure_is_dated_and_sourced_or_says_that_it_is_assumed(name: str) -> None:
    facts = use_case(name)
    for place, origin in facts.origins():
        if origin.source:
            source = facts.sources[origin.source]
            assert source.url.startswith("https://") and source.title, place
            assert date(2020, 1, 1) < source.date <= date(2026, 12, 31), place
        assert facts.told(origin).startswith("assumed: " if origin.assumption else source.title)
    used = {origin.source for _, origin in facts.origins()} - {""}
    assert used == set(facts.sources), "a source that nothing is read from"
    assert 1 / 24 <= facts.busiest_hour_share.value <= 1


@every
def test_every_use_case_makes_a_workload(name: str) -> None:
    found = parse({"name": "x", "models": ["llama_3_1_8b"], "use_case": name, "users": 1000})
    facts = use_case(name)
    assert found.rate_per_s == pytest.approx(
        1000 * facts.requests_per_user_per_day * facts.busiest_hour_share.value / 3600
    )
    assert mean_tokens(facts.lengths.tokens) is not None and found.lengths is not None
    for quantity, limit in facts.objectives.limits():
        bound = getattr(found.objectives, quantity)
        assert (bound.p, bound.max, bound.unit) == (limit.p, limit.max, limit.unit)


def test_an_agents_requests_are_its_tasks_times_their_calls() -> None:
    agent = use_case("agent")
    assert agent.requests_per_user_per_day == pytest.approx(8 * 40.2)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (('source = "chatgpt"\n', ""), r"tasks_per_user_per_day: .*needs a source or an assumption"),
        (('source = "chatgpt"\n', 'source = "chatgpt"\nassumption = "so"\n'), "not both"),
        (('source = "chatgpt"\n', 'source = "nowhere"\n'), r"source 'nowhere' is not in \[sources\] \(allowed: azure"),
        (('unit = "1/day"', 'unit = "1/week"'), "unit"),
        (("value = 3.57", "value = 0"), "tasks_per_user_per_day.value"),
        (("value = 0.066", "value = 6.6"), "more than a whole day"),
        (("p = 99", "p = 0.99"), "objectives.ttft.p"),
        (("[requests_per_task]", "[request_per_task]"), "request"),
    ],
)
def test_a_malformed_file_names_the_field(tmp_path: Path, change: tuple[str, str], says: str) -> None:
    file = tmp_path / "own.toml"
    file.write_text(CHAT.replace(*change, 1))
    with pytest.raises(FactError, match=says):
        use_case(str(file))


def test_an_unknown_use_case_names_the_nearest() -> None:
    with pytest.raises(UnknownIdError, match="unknown use_case 'chatt'; nearest: chat"):
        use_case("chatt")
    with pytest.raises(UnknownIdError, match="known: agent, chat"):
        use_case("zzz")


def test_the_page_has_the_figures_of_the_files() -> None:
    page = (Path(__file__).parents[1] / "docs" / "workloads.md").read_text(encoding="utf-8")
    for name in ids("use_cases"):
        facts = use_case(name)
        row = next(line for line in page.splitlines() if line.startswith(f"| `{name}` |"))
        cells = [cell.strip() for cell in row.split("|")]
        means = mean_tokens(facts.lengths.tokens)
        assert means is not None
        assert cells[2] == f"{facts.requests_per_user_per_day:g}"
        assert cells[3] == f"{facts.busiest_hour_share.value * 100:g} %"
        assert cells[4] == f"{means[0]:.0f}, {means[1]:.0f}"
        assert cells[5] == ", ".join(f"{limit.max:g} {limit.unit}" for _, limit in facts.objectives.limits())
