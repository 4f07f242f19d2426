"""Rows that a launch script with drafts made are told from others by day, layout and version."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

from comptroller_lab.launch_flags import LaunchFlags, LaunchRow

PLAIN = LaunchRow(
    model="deepseek-ai/DeepSeek-R1-0528",
    precision="fp8",
    accelerator="b200_sxm",
    engine="trtllm",
    since=date(2026, 1, 29),
    until=date(2026, 3, 27),
    clients=(),
    poll_steps=1,
    drafts=False,
    layouts=frozenset({(4, 1), (8, 1)}),
    image="tensorrt-llm/release:1.2.0rc6.post2",
)
DRAFTS = replace(
    PLAIN, since=date(2026, 2, 5), drafts=True, layouts=frozenset({(8, 1)}), image="tensorrt-llm/release:1.2.0rc6.post3"
)


def drafted(layout: tuple[int, int], when: date, version: str = "", *rows: LaunchRow) -> bool:
    flags = LaunchFlags(rows or (PLAIN, DRAFTS))
    return flags.drafted("DeepSeek-R1", False, ("trtllm", "b200_sxm"), layout, when, version)


def test_the_last_script_to_change_before_the_run_made_it() -> None:
    assert not drafted((8, 1), date(2026, 1, 29))
    assert drafted((8, 1), date(2026, 2, 5))
    assert not drafted((4, 1), date(2026, 2, 5))


def test_a_version_names_its_script_whatever_the_day() -> None:
    assert not drafted((8, 1), date(2026, 2, 6), "1.2.0rc6.post2")
    assert drafted((8, 1), date(2026, 2, 6), "1.2.0rc6.post3")


def test_of_two_scripts_of_one_day_none_is_taken_for_the_other() -> None:
    same = replace(PLAIN, since=DRAFTS.since, image="")
    assert not drafted((8, 1), date(2026, 2, 5), "", same, replace(DRAFTS, image=""))


def test_nothing_known_is_no_draft() -> None:
    assert not drafted((2, 1), date(2026, 2, 5))
    assert not drafted((8, 1), date(2025, 1, 1))
    assert not LaunchFlags().drafted("DeepSeek-R1", False, ("trtllm", "b200_sxm"), (8, 1), date(2026, 2, 5), "")
