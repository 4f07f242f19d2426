"""`comptroller cluster`: tables of any columns read, what is wrong told with what is allowed, JSON that adds up."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from comptroller.cli import application
from comptroller.cluster.job_files import jobs_of_file
from comptroller.cluster.job_run import node_kinds, node_sizes
from comptroller.errors import ComptrollerError

JOBS = """when,took,devices,team,cpus
2026-01-01 00:00:00,3600,8,red,4
2026-01-01 00:10:00,1800,4,blue,4
2026-01-01 00:20:00,600,1,blue,4
"""
NAMES = [
    "--column",
    "submitted=when",
    "--column",
    "duration=took",
    "--column",
    "gpus=devices",
    "--column",
    "tenant=team",
]


@pytest.fixture
def jobs(tmp_path: Path) -> Path:
    path = tmp_path / "jobs.csv"
    path.write_text(JOBS, encoding="utf-8")
    return path


def command(*words: str) -> Result:
    given = ["cluster", *words]
    return CliRunner().invoke(application(given), given)


def refusal(*words: str) -> str:
    found = command(*words)
    assert isinstance(found.exception, ComptrollerError)
    return str(found.exception)


def test_any_table_is_simulated_by_the_names_of_its_columns(jobs: Path, tmp_path: Path) -> None:
    words = ["jobs", str(jobs), "--nodes", "1x8", *NAMES, "--policy", "fcfs", "--policy", "backfill", "--json"]
    found = json.loads(
        command(*words, "--png", str(tmp_path / "jobs.svg"), "--html", str(tmp_path / "jobs.html")).stdout
    )
    assert "GPU-hours held so far" in (tmp_path / "jobs.html").read_text(encoding="utf-8")
    first, behind = found["policies"]
    assert first["policy"] == "fcfs" and first["turnaround_mean_s"] == pytest.approx((3600 + 4800 + 3000) / 3)
    assert behind["knows_durations"] and behind["received_by_tenant"].keys() == {"red", "blue"}
    assert (tmp_path / "jobs.svg").read_text(encoding="utf-8").startswith("<?xml")


def test_tiers_and_quotas_are_said_by_tenant(jobs: Path) -> None:
    words = ["jobs", str(jobs), "--nodes", "2x8", *NAMES, "--quota", "red=8", "--quota", "blue=8", "--tier", "blue=0.8"]
    found = json.loads(command(*words, "--policy", "static_quota", "--json").stdout)["policies"][0]
    assert found["tiers"]["0.8"] == {"promise": 0.8, "received": 1.0, "jobs": 2}
    text = command(*words, "--policy", "gpu_fraction").stdout
    assert "GPU-hours received over those asked for" in text and "80.0%" in text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--nodes", "64"], "neither COUNTxGPUS, such as 64x8 or v100:64x8, nor a file"),
        (["--nodes", "1x8", "--policy", "fifo"], "policy of jobs"),
        (["--nodes", "1x4"], "1 of 3 ask for 8 GPUs"),
        (["--nodes", "2x8", "--quota", "red=8", "--policy", "static_quota"], "none for blue"),
        (["--nodes", "2x8", "--quota", "red=4", "--quota", "blue=4"], "its largest job asks for 8 GPUs"),
        (["--nodes", "2x8", "--tier", "green=basic"], "tenants: red, blue"),
        (["--nodes", "2x8", "--tier", "red=gold"], "premium, standard, basic, or a share"),
        (["--nodes", "2x8", "--restart", "-1"], "allowed: from 0 s"),
        (["--nodes", "2x8", "--from-day", "3"], "no job from day 3"),
    ],
)
def test_what_is_wrong_is_told_with_what_is_allowed(jobs: Path, words: list[str], said: str) -> None:
    assert said in refusal("jobs", str(jobs), *NAMES, *words)


def test_columns_that_lack_are_named(jobs: Path) -> None:
    assert "none says submitted and gpus and duration" in refusal("jobs", str(jobs), "--nodes", "1x8")
    assert "is no role of a column of jobs" in refusal("jobs", str(jobs), "--nodes", "1x8", "--column", "gpu=devices")
    bad = jobs.with_name("bad.csv")
    bad.write_text(JOBS.replace("1800", "soon").replace(",1,blue", ",x,blue"), encoding="utf-8")
    text = refusal("jobs", str(bad), "--nodes", "1x8", *NAMES)
    assert "2 bad rows" in text and "duration nan" in text and "number of GPUs nan" in text


def test_jobs_without_gpus_and_those_that_never_started_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "pods.csv"
    path.write_text(
        "name,num_gpu,gpu_milli,qos,creation_time,deletion_time,scheduled_time\n"
        "a,1,500,LS,0,100,10\nb,0,0,LS,5,100,6\nc,2,1000,BE,7,90,\nd,2,1000,BE,9,90,20\n",
        encoding="utf-8",
    )
    jobs = jobs_of_file(path)
    assert jobs.milli.tolist() == [500, 2000] and jobs.duration_s.tolist() == [90.0, 70.0]
    assert jobs.notes == ("left out: 1 jobs that ask for no GPU", "left out: 1 jobs that never started")


def test_balancers_move_what_frees_a_node(tmp_path: Path) -> None:
    nodes, services = tmp_path / "nodes.csv", tmp_path / "services.csv"
    nodes.write_text("node,cpu\na,10\nb,10\n", encoding="utf-8")
    services.write_text("service,node,cpu,move_cost\nx,a,7,5\ny,a,5,1\nz,b,2,1\n", encoding="utf-8")
    found = json.loads(command("balance", str(nodes), str(services), "--json").stdout)
    assert {one["overload_after"] for one in found} == {0.0}
    assert all(one["moves"] == [["y", "a", "b"]] and one["cost"] == 1 for one in found)
    services.write_text("service,node,cpu,move_cost\nx,c,7,5\n", encoding="utf-8")
    assert "'c' is not in nodes.csv" in refusal("balance", str(nodes), str(services))
    services.write_text("service,node,cpu,gpu,move_cost\nx,a,7,1,5\n", encoding="utf-8")
    assert "gpu is no resource of nodes.csv" in refusal("balance", str(nodes), str(services))


def test_jobs_that_all_come_at_once_have_shares_of_time_up_to_the_last_end(tmp_path: Path) -> None:
    path = tmp_path / "once.csv"
    path.write_text("submitted_s,duration_s,gpus\n0,3600,8\n0,1800,4\n", encoding="utf-8")
    (one,) = json.loads(command("jobs", str(path), "--nodes", "1x8", "--json", "--restart", "0").stdout)["policies"]
    assert one["span_s"] == 5400 and one["use"] == one["useful"] == pytest.approx((3600 * 8 + 1800 * 4) / (5400 * 8))
    page = tmp_path / "once.html"
    assert not command("jobs", str(path), "--nodes", "1x8", "--html", str(page)).exit_code
    assert "nan" not in page.read_text(encoding="utf-8").lower().split("<svg")[1]


def test_a_file_of_nodes_says_the_kinds_of_their_gpus(tmp_path: Path) -> None:
    nodes = tmp_path / "nodes.csv"
    nodes.write_text("sn,cpu_milli,gpu,model\na,32,0,\nb,64,8,T4\nc,96,4,P100\n", encoding="utf-8")
    assert node_sizes([str(nodes)]) == (8, 4)
    assert node_kinds([str(nodes), "2x8"]) == (("T4", "P100", ""), (0, 1, 2, 2))
    assert node_kinds([str(nodes)]) == (("T4", "P100"), (0, 1))
    nodes.write_text("gpu,model\n8,\n", encoding="utf-8")
    assert "nodes.csv" in refusal(
        "jobs", str(Path(__file__).parent.parent / "examples/jobs.csv"), "--nodes", str(nodes)
    )
