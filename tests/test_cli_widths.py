"""What every command prints, at every width of the page: each word of the widest page stands whole on the narrowest."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from comptroller.cli import application, main
from docs_world import made

WIDE = 2_000
RULES = set("─-=")
COMMANDS = (
    "books report books.sqlite --by project,model,strategy",
    "books success books.sqlite",
    "books waste books.sqlite",
    "books overflow books.sqlite",
    "books budgets books.sqlite",
    "books keys books.sqlite",
    "books change books.sqlite --before 2026-09-21..2026-10-01 --after 2026-10-01..2026-10-11",
    "fit laws counts.csv --law coverage",
    "fit laws losses.csv --flops 1e22",
    "fits gemma_2_9b h100_sxm --input 250 --output 100",
    "replay once --evidence answers.csv",
    "show accelerators",
    "show accelerators a100_40_pcie",
    "show calibration",
    "show engines",
    "show evidence",
    "show evidence answers.csv",
    "show formats bf16",
    "show models qwen3_32b",
    "show plan plan.json",
    "show sites aws_us_east",
    "simulate plan.json --trace trace.csv --routing least_request --routing round_robin",
)
"""Commands that print tables, one of each kind; all groups of the program but those that serve, measure or write."""


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of somebody who has all files, as the current one."""
    before = Path.cwd()
    place = made(tmp_path_factory.mktemp("widths") / "made")
    os.chdir(place)
    yield place
    os.chdir(before)


def printed(command: str, width: int) -> list[str]:
    """The lines that a command prints on a page of so many columns."""
    words = command.split()
    done = CliRunner(env={"COLUMNS": str(width)}).invoke(application(words), words)
    assert done.exit_code == 0, done.output
    return done.stdout.splitlines()


def words_of(lines: list[str]) -> set[str]:
    return {word for line in lines for word in line.split() if set(word) - RULES}


WIDEST: dict[str, set[str]] = {}
"""Command -> its words on the widest page, found once."""


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(COMMANDS), st.integers(40, 200))
def test_no_word_or_number_of_any_command_is_cut(reader: Path, command: str, width: int) -> None:
    if command not in WIDEST:
        WIDEST[command] = words_of(printed(command, WIDE))
    assert WIDEST[command] and WIDEST[command] <= words_of(printed(command, width))


@pytest.mark.parametrize("command", sorted({command.split()[0] for command in COMMANDS}))
def test_help_has_a_short_option(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    told = []
    for option in ("-h", "--help"):
        with pytest.raises(SystemExit) as ended:
            main([command, option])
        assert not ended.value.code
        told.append(capsys.readouterr().out)
    assert told[0] == told[1] and f"comptroller {command}" in told[0]
