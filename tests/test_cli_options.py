"""A plan without a file, all faults of a file in one run, and help that costs no imports."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from command_ends import ends
from comptroller.cli import commands
from comptroller.cli._installation_checks import MISSING, port_check
from comptroller.errors import DocumentFaultsError, FactError
from comptroller.facts.reader import folder
from comptroller.facts.site import site
from comptroller.gateway.config import read
from comptroller.planning.reasons.current_fleet import load_current
from comptroller.training.document import load_training
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
        (["llama_3_1_8b", "--price", "h100_sxm=cheap"], "--price: 'h100_sxm=cheap' is no price (allowed: such as"),
        (["llama_3_1_8b", "--rate", "5", "--in", "9", "--out", "9", "--price", "h100=3"], "nearest: h100_sxm"),
        (["llama_3_1_8b", "--budget", "9 EUR/month"], "--budget: '9 EUR/month' is no bound (allowed: a"),
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
    assert "4 faults" in told and all(f": {field}: " in told for field in fields)
    assert "bad.toml:3: rate_per_s: " in told and "bad.toml:6: objectives.ttft.p: " in told


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


PRICED = (
    'name = "x"\nmodels = ["llama_3_1_8b"]\nrate_per_s = 5\n'
    "lengths = { input = { fixed = 9 }, output = { fixed = 9 } }\n"
)


def test_a_stated_price_takes_the_place_of_what_the_site_lists(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["plan", "llama_3_1_8b", "--rate", "432000/day", "--in", "300", "--out", "50", "--quick", "--json"]
    assert ends([*words, "--on", "h100_sxm", "--at", "aws_us_east", "--price", "h100_sxm=3.10", "--power", "40kW"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["totals"]["devices"] == 1 and plan["totals"]["usd_per_h"]["value"] == pytest.approx(3.10)
    assert any("$3.1 a device and hour as the workload states" in note for note in plan["notes"])


def test_prices_are_stated_for_what_no_site_offers_and_for_own_files(tmp_path: Path) -> None:
    device = folder("accelerators") / "h100_sxm.toml"
    (tmp_path / "mine.toml").write_text(device.read_text() + "\n# mine\n")
    file = tmp_path / "chat.toml"
    file.write_text(
        PRICED + 'allow = { sites = ["aws_us_east"] }\nusd_per_device_h = { "mine.toml" = 2.0, l40s = 1 }\n'
    )
    asked = load(file)
    place = asked.library.site("aws_us_east")
    assert dict(asked.usd_per_device_h) == {"mine": 2.0, "l40s": 1.0}
    for name, price in asked.usd_per_device_h.items():
        (offer,) = place.offers_for(asked.library.accelerator(name), "on_demand", 1)
        assert offer.usd_per_s * 3600 == pytest.approx(price)
    assert any(x.accelerator == "h100_sxm" for x in place.offers), "what is not stated stays"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ('allow.terms = ["spot"]', "allow.terms: usd_per_device_h states prices on demand"),
        ('allow.kinds = ["cloud"]', "allow.kinds: usd_per_device_h states prices of your own"),
    ],
)
def test_a_stated_price_that_is_not_allowed_is_refused(tmp_path: Path, more: str, said: str) -> None:
    file = tmp_path / "chat.toml"
    file.write_text(f"{PRICED}usd_per_device_h = {{ l40s = 1 }}\n{more}\n")
    with pytest.raises(FactError, match=said):
        load(file)


DOCUMENTS = {
    "names of a fleet": (
        "[[services]]\nmodel = 'llama_3_1_7b'\naccelerator = 'h10'\nsite = 'moon'\nengine = 'vlm'\n"
        "term = 'on_demand'\nreplicas = 0\n",
        load_current,
        {
            *(
                (f"services.0.{field}", line)
                for line, field in enumerate(("model", "accelerator", "site", "engine"), 2)
            ),
            ("services.0.replicas", 7),
        },
    ),
    "training": (
        "name = 'x'\n[training]\nmodel = 'llama_3_1_7b'\ntokens = -5\nglobal_batch = 512\n[training.allow]\n"
        "accelerators = ['h10']\nsites = ['moon']\n[training.caps]\na10 = 4\n",
        load_training,
        {
            ("training.model", 3),
            ("training.tokens", 4),
            ("training.allow.accelerators", 7),
            ("training.allow.sites", 8),
            ("training.caps", 9),
        },
    ),
    "fleet": (
        "[[services]]\nmodel = 'llama_3_1_8b'\naccelerator = 'l40s'\nreplicas = 0\n[moving]\nusd = -1\n",
        load_current,
        {("services.0.site", 1), ("services.0.replicas", 4), ("moving.usd", 6)},
    ),
    "site": (
        'name = "x"\nelectricity_usd_per_j = { value = 1, unit = "EUR/kWh", source = "a" }\npue = 1.2\n'
        'grid_gco2e_per_j = { value = 1, unit = "gCO2e/kWh", source = "b" }\n'
        '[sources.a]\ntitle = "t"\ndate = 2026-01-01\n',
        lambda path: site(str(path)),
        {("electricity_usd_per_j", 2), ("pue", 3), ("grid_gco2e_per_j", 4), ("sources.a.url", 5)},
    ),
    "gateway": (
        "port = 'x'\n[services.a]\nurl = 3\ncolour = 2\n[checkers.c]\nseconds = 3\n",
        read,
        {("port", 1), ("services.a.url", 3), ("services.a.colour", 4), ("checkers.c.python", 5)},
    ),
}


@pytest.mark.parametrize("kind", DOCUMENTS)
def test_every_document_tells_all_its_faults_with_their_lines(kind: str, tmp_path: Path) -> None:
    text, reader, faults = DOCUMENTS[kind]
    file = tmp_path / "own.toml"
    file.write_text(text)
    with pytest.raises(DocumentFaultsError) as found:
        reader(file)
    assert {(fault.field, fault.line) for fault in found.value.faults} == faults


def test_errors_are_json_where_json_is_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "bad.toml"
    file.write_text(PRICED + "sede = 3\n")
    assert ends(["plan", str(file), "--json"]) == 2
    (fault,) = json.loads(capsys.readouterr().out)["error"]["faults"]
    assert (fault["file"], fault["line"], fault["field"]) == ("bad.toml", 5, "sede")
    assert ends(["plan", "--josn", "--json"]) == 2
    told = capsys.readouterr()
    assert "No such option: --josn" in json.loads(told.out)["error"]["message"] and "--josn" in told.err


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("comptroller pl", "plan"),
        ("comptroller plan --on h200_s", "h200_sxm"),
        ("comptroller plan qwen3_3", "qwen3_32b"),
    ],
)
def test_a_shell_completes_commands_and_ids(typed: str, completed: str) -> None:
    asked = {"COMP_WORDS": typed, "COMP_CWORD": str(typed.count(" ")), "_COMPTROLLER_COMPLETE": "complete_bash"}
    run = subprocess.run(
        [sys.executable, "-m", "comptroller"], capture_output=True, text=True, check=True, env={**os.environ, **asked}
    )
    assert completed in run.stdout.split()


def test_the_doctor_says_what_mends_an_installation(capsys: pytest.CaptureFixture[str]) -> None:
    assert ends(["doctor", "--json"]) == 0
    found = {row["what"]: row for row in json.loads(capsys.readouterr().out)}
    assert found["core"]["state"] == "ok" and "numpy" in found["core"]["says"]
    assert all(row["mend"] for row in found.values() if row["state"] != "ok")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert port_check(taken.getsockname()[1]).state == MISSING
