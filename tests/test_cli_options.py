"""A plan without a file, all faults of a file in one run, and help that costs no imports."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from comptroller.cli import commands, main
from comptroller.errors import DocumentFaultsError
from comptroller.work.workload import load, parse

SMALL = [
    "llama_3_1_8b",
    "--rate",
    "72000/h",
    "--in",
    "300",
    "--out",
    "50",
    "--on",
    "h100_sxm,l40s",
    "--at",
    "us_neocloud",
]
HEAVY = {"numpy", "scipy", "numba", "sqlalchemy", "highspy"}


def ends(words: list[str]) -> int:
    """The exit code of a command."""
    with pytest.raises(SystemExit) as ended:
        main(words)
    return int(ended.value.code or 0)


def test_options_plan_as_the_file_they_write(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    limits = ["--ttft", "p99=2s", "--tpot", "40ms"]
    assert ends(["plan", *SMALL, *limits, "--quick", "--json"]) == 0
    by_options = json.loads(capsys.readouterr().out)
    file, out = tmp_path / "llama_3_1_8b.toml", tmp_path / "plan.json"
    assert ends(["new", str(file), "--model", *SMALL, *limits]) == 0
    assert ends(["plan", str(file), "--quick", "--out", str(out)]) == 0
    assert json.loads(out.read_text())["totals"] == by_options["totals"]
    asked = load(file)
    assert asked.rate_per_s == 20 and asked.allow.accelerators == ("h100_sxm", "l40s")
    assert asked.objectives.ttft is not None and (asked.objectives.ttft.p, asked.objectives.ttft.max_s) == (99, 2)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["llama_3_1_8b", "--rate", "5", "--ttft", "fast"], "--ttft: 'fast' is no limit (allowed: such as p95=500ms"),
        (["llama_3_1_8b", "--rate", "5/week"], "--rate: '5/week' is no rate (allowed: such as 5"),
        (["llama_3_1_8b", "--rate", "5"], "lengths: is missing"),
        (["lama_3_1_8b", "--rate", "5", "--in", "9", "--out", "9"], "llama_3_1_8b"),
        (["llama_3_1_8b", "--rate", "5", "--in", "9", "--out", "9", "--out", "8"], "--out: 9, 8 are two of a kind"),
        (["examples/chat.toml", "--rate", "5"], "examples/chat.toml states the workload: write rate_per_s there"),
        (["absent.toml"], "absent.toml"),
    ],
)
def test_options_that_cannot_be_meant(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert ends(["plan", *words]) == 2
    assert said in capsys.readouterr().err.replace("\n", " ")


def test_all_faults_of_a_file_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "bad.toml"
    file.write_text(
        'name = "x"\nmodels = ["llama_3_1_8b"]\nrate_per_s = "five"\nsede = 3\n[objectives]\n'
        'ttft = { p = 0.95, max = 1, unit = "s" }\n[lengths]\ninput = { fixed = -3 }\noutput = { fixed = 5 }\n'
    )
    with pytest.raises(DocumentFaultsError) as found:
        load(file)
    fields = {fault.field for fault in found.value.faults}
    assert fields == {"rate_per_s", "sede", "objectives.ttft.p", "lengths.input.fixed"}
    assert ends(["plan", str(file)]) == 2
    told = capsys.readouterr().err
    assert "4 faults" in told and all(f"bad.toml: {field}: " in told for field in fields)


def test_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    file = tmp_path / "chat.toml"
    file.write_bytes(b"\xef\xbb\xbf" + Path("examples/chat.toml").read_bytes())
    assert load(file).rate_per_s == load("examples/chat.toml").rate_per_s


def test_money_by_the_month() -> None:
    document = tomllib.loads(Path("examples/chat.toml").read_text())
    budget = parse(document | {"budget": {"max": 730.5, "unit": "USD/month"}}).budget
    assert budget is not None and budget.max_usd_per_s * 3600 == pytest.approx(1.0)


def test_help_imports_no_library_of_numbers() -> None:
    program = (
        "import sys; from comptroller.cli import main\n"
        "try: main([{word!r}])\nexcept SystemExit: pass\nprint(*sys.modules)"
    )
    for word in ("--help", "-h"):
        run = subprocess.run(
            [sys.executable, "-c", program.format(word=word)], capture_output=True, text=True, check=True
        )
        assert all(name in run.stdout for name in commands())
        assert not HEAVY & set(run.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("command", commands())
def test_every_command_tells_its_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert ends([command, "--help"]) == 0
    assert f"comptroller {command}" in capsys.readouterr().out
