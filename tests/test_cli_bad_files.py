"""Every option and argument of every command that takes a file, with files that are none: a line, and exit code 2."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from command_ends import ends
from comptroller.books.ledger import CallLedger
from comptroller.cli import application, commands
from simulate_worlds import GOLDEN
from spot_worlds import record_file

ROOT = Path(__file__).parents[1]

WRITTEN = {"--out", "--html", "--png", "--table", "--perfetto", "--calls", "--books-out"}
"""Options whose files are written."""

OTHERS = {
    "audit --record": "is written",
    "books alerts --webhook": "is a URL",
    "books export --as": "is a form",
    "new file": "is written",
    "serve --books": "are made where there are none",
    "cluster spot --record": "is a name within a file",
    "plan --record": "is a name within a file",
    "simulate --record": "is a name within a file",
    "fit --value": "is a column",
    "plan --value": "is a column",
    "plan --export": "is written",
    "show --export": "is written",
}
"""Parameters whose help names a file that is not read, and why it is not."""

READ = re.compile(r"\bfiles?\b|\bfolder\b|\.csv\b|\.toml\b|\btrace: |\bTRACE\b|\bJSON\b|\bPEM\b", re.IGNORECASE)
"""What the help of a parameter says that takes the name of a file beside other words."""

BOOKS = re.compile(r"books \w+ where")
"""The books, which every command of theirs opens by one function."""

ASKED = {
    "books report where": "books report {bad.sqlite}",
    "audit --reference": "audit http://127.0.0.1:9/v1 --reference {bad.json}",
    "books against plan": "books against {books} {bad.json}",
    "books attribute --grid": (
        "books attribute {books} --service s --meter {meter} --usd-per-h 1 --idle-w 1 --grid {bad.csv}"
    ),
    "books attribute --meter": "books attribute {books} --service s --usd-per-h 1 --idle-w 1 --meter {bad.csv}",
    "books digest --sign": "books digest {books} --out {out}.json --sign {bad.pem}",
    "books reconcile --invoice": "books reconcile {books} --invoice {bad.csv}",
    "books reconcile --rates": "books reconcile {books} --invoice {invoice} --rates {bad.csv}",
    "books report --rates": "books report {books} --rates {bad.csv}",
    "books rerate --prices": "books rerate {books} --prices {bad.toml}",
    "books verify --archive": "books verify {books} --archive {bad.sqlite}",
    "books verify --digest": "books verify {books} --digest {bad.json}",
    "books verify --public-key": "books verify {books} --digest {bad.json} --public-key {bad.pem}",
    "cluster balance --balancer": "cluster balance {nodes} {services} --balancer {bad.py}",
    "cluster balance nodes": "cluster balance {bad.csv} {services}",
    "cluster balance services": "cluster balance {nodes} {bad.csv}",
    "cluster jobs --goodput": "cluster jobs {jobs} --nodes 64x8 --goodput {bad.csv}",
    "cluster jobs --nodes": "cluster jobs {jobs} --nodes {bad.csv}",
    "cluster jobs --policy": "cluster jobs {jobs} --nodes 64x8 --policy {bad.py}",
    "cluster jobs --serving": "cluster jobs {jobs} --nodes 64x8 --serving {bad.csv}",
    "cluster jobs file": "cluster jobs {bad.csv} --nodes 64x8",
    "cluster shift --forecast": "cluster shift {load} --value load --forecast {bad.py}",
    "cluster shift file": "cluster shift {bad.csv} --value load",
    "cluster spot --rule": "cluster spot {zones} --work 0.5 --deadline 1 --price-ratio 0.4 --rule {bad.py}",
    "cluster spot zones": "cluster spot {bad.csv} --work 0.5 --deadline 1 --price-ratio 0.4",
    "dashboard files": "dashboard --port 0 {bad.json}",
    "fit --calibration": (
        "fit calibration {run} --accelerator h100_sxm --engine vllm --model gpt_oss_120b --out {out} "
        "--calibration {bad}"
    ),
    "fit --forecast": "fit forecasts {load} --value load --forecast {bad.py}",
    "fit evidence": "fit laws {bad.csv}",
    "fits --calibration": "fits llama_3_1_8b l4 --calibration {bad}",
    "fits --engine": "fits llama_3_1_8b l4 --engine {bad.toml}",
    "fits --tier": "fits llama_3_1_8b l4 --cached 500 --tier {bad.toml}",
    "fits device": "fits llama_3_1_8b {bad.toml}",
    "fits model": "fits {bad.toml} l4",
    "measure --kernel": "measure kernels cpu --kernel {bad.py}:f=fp8_e4m3",
    "measure --plan": "measure serving http://127.0.0.1:9 --out {out} --plan {bad.json}",
    "measure --text": "measure quality {bad.gguf} q4_0 --text {bad.txt}",
    "measure what": "measure quality {bad.gguf} q4_0 --text {text}",
    "new --model": "new {out}.toml --model {bad.toml} --rate 5 --in 9 --out 9",
    "new --trace": "new {out}.toml --model llama_3_1_8b --trace {bad.csv}",
    "new --use-case": "new {out}.toml --model llama_3_1_8b --use-case {bad.toml} --users 5",
    "plan --against": "plan {workload} --quick --against {bad.toml}",
    "plan --availability": "plan {workload} --over-time {trace} --availability {bad.csv}",
    "plan --calibration": "plan {workload} --quick --calibration {bad}",
    "plan --from-launch": "plan {workload} --quick --launch-on h100_sxm --from-launch {bad.sh}",
    "plan --grid": "plan {workload} --over-time {trace} --grid {bad.csv}",
    "plan --over-time": "plan {workload} --over-time {bad.csv}",
    "plan --served": "plan {workload} --from-books {books} --served {bad.json}",
    "plan --trace": "plan llama_3_1_8b --trace {bad.csv}",
    "plan --use-case": "plan llama_3_1_8b --users 5 --use-case {bad.toml}",
    "plan workload": "plan {bad.toml}",
    "replay --evidence": "replay sample_and_vote:n=2 --evidence {bad.csv}",
    "serve --calibration": "serve {config} --port 0 --plan {plan} --calibration {bad}",
    "serve --plan": "serve {config} --port 0 --plan {bad.json}",
    "serve --workload": "serve {config} --port 0 --workload {bad.toml}",
    "serve config": "serve --port 0 {bad.toml}",
    "show --calibration": "show calibration llama_3_1_8b/h100_sxm/vllm --calibration {bad}",
    "show --on": "show formats fp8_e4m3 mxfp4 --on {bad.safetensors}",
    "show names": "show models {bad.toml}",
    "simulate --availability": "simulate {service} --trace {trace} --spot spread --availability {bad.csv}",
    "simulate --calibration": "simulate {plan} --trace {trace} --calibration {bad}",
    "simulate --evidence": "simulate {plan} --trace {trace} --strategy sample_and_vote:n=2 --evidence {bad.csv}",
    "simulate --pools": "simulate {service} --trace {trace} --pools {bad.py}",
    "simulate --power": "simulate {service} --trace {trace} --row-budget 9000 --power {bad.py}",
    "simulate --routing": "simulate {plan} --trace {trace} --routing {bad.py}",
    "simulate --scaling": "simulate {service} --trace {trace} --scaling {bad.py}",
    "simulate --spot": "simulate {service} --trace {trace} --availability {zones} --spot {bad.py}",
    "simulate --trace": "simulate {plan} --trace {bad.csv}",
    "simulate plan": "simulate {bad.json} --trace {trace}",
}  # fmt: skip
"""Of each parameter that takes a file: how it is asked for, {bad.SUFFIX} being the file."""

WRONG = {
    "toml": "colour = 'red'\n", "json": '{"colour": "red"}\n', "py": "colour = 'red'\n", "csv": "colour,size\nred,4\n",
    "pem": "colour\n", "sh": "colour --red\n", "txt": "", "gguf": "colour\n", "safetensors": "colour\n",
}  # fmt: skip
"""Text of a file of that kind which has nothing that is asked of it."""


def parameters(command: Any, path: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    """Every parameter of a command and of those of its group, by how it is typed."""
    for name, one in getattr(command, "commands", {}).items():
        yield from parameters(one, (*path, name))
    for one in () if hasattr(command, "commands") else command.params:
        longest = max(one.opts, key=len)
        yield " ".join((*path, longest)), one


def takes_file(name: str, one: Any) -> bool:
    """Whether a parameter is the name of a file that is read."""
    if set(one.opts) & WRITTEN or name in OTHERS or BOOKS.fullmatch(name):
        return False
    kind = str(getattr(getattr(one, "type_descriptor", None), "annotation", "")) or type(one.type).__name__
    return "Path" in kind or ("str" in kind.lower() and bool(READ.search(f"{one.help or ''} {one.metavar or ''}")))


@pytest.mark.parametrize("command", commands())
def test_every_parameter_that_takes_a_file_is_asked_for(command: str) -> None:
    group: Any = typer.main.get_command(application([command]))
    found = {name for name, one in parameters(group.commands[command], (command,)) if takes_file(name, one)}
    assert found == {name for name in ASKED if name.split()[0] == command and not BOOKS.fullmatch(name)}


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Files that can be read, by what they are."""
    folder = tmp_path_factory.mktemp("good")
    texts = {
        "meter": "start_s,end_s,joules\n0,60,600\n",
        "invoice": "day,model,usd,currency\n2026-01-01,m,1,EUR\n",
        "load": "\n".join(["time,load", *(f"2026-01-{1 + h // 24:02d} {h % 24:02d}:00,1" for h in range(480))]),
        "zones": record_file(["a,0,30,4", "a,30,50,0", "a,50,100,4", "b,0,100,2"]),
        "text": "words " * 50,
    }
    for name, text in texts.items():
        (folder / f"{name}.csv").write_text(text, encoding="utf-8")
    CallLedger.open(str(folder / "books.sqlite")).close()
    words = ["--rate", "5", "--in", "300", "--out", "50", "--quick", "--out", str(folder / "service.json")]
    assert ends(["plan", "llama_3_1_8b", *words, "--on", "l4"]) == 0
    known = {name: folder / f"{name}.csv" for name in texts}
    known |= {
        "books": folder / "books.sqlite",
        "out": folder / "written",
        "plan": GOLDEN,
        "service": folder / "service.json",
    }
    known |= {name: ROOT / "examples" / f"{name}.csv" for name in ("jobs", "nodes", "services")}
    known |= {"workload": ROOT / "examples" / "chat.toml", "config": ROOT / "examples" / "gateway" / "tenants.toml"}
    known |= {
        "trace": ROOT / "tests" / "traces" / "plain.csv",
        "run": ROOT / "tests" / "run_files" / "vllm_bench" / "result.json",
    }
    return {name: str(path) for name, path in known.items()}


def no_file(path: Path) -> None:
    """Nothing there."""


def folder(path: Path) -> None:
    """A folder of that name, with nothing in it."""
    path.mkdir()


def empty(path: Path) -> None:
    """No bytes."""
    path.touch()


def bytes_of_no_text(path: Path) -> None:
    """What no encoding and no format reads."""
    path.write_bytes(bytes([0xFF, 0xFE, 0x00, 0xC3, 0x28, 0x0A]) * 50)


def something_else(path: Path) -> None:
    """A file of that kind without what is asked of it."""
    if path.suffix == ".sqlite":
        with sqlite3.connect(path) as other:
            other.execute("create table colours (name text)")
        return
    path.write_text(WRONG.get(path.suffix[1:], "colour\n"), encoding="utf-8")


BAD: tuple[Callable[[Path], None], ...] = (no_file, folder, empty, bytes_of_no_text, something_else)

SOUND = {("empty", "books report where"), ("empty", "books verify --archive")}
"""What is no fault: an empty file is a database of SQLite without tables, in which books are begun."""


@pytest.mark.parametrize("bad", BAD, ids=lambda one: one.__name__)
@pytest.mark.parametrize("name", ASKED)
def test_a_file_that_is_none_is_told_by_its_name(
    name: str, bad: Callable[[Path], None], good: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    suffix = re.search(r"\{bad(\.\w+)?\}", ASKED[name])
    assert suffix is not None
    file = tmp_path / f"meant{suffix[1] or ''}"
    bad(file)
    line = re.sub(r"\{bad(\.\w+)?\}", str(file), ASKED[name]).format_map(good)
    code = 0 if (bad.__name__, name) in SOUND else 2
    assert ends(line.split()) == code
    told = capsys.readouterr().err
    assert code == 0 or file.name in told.replace("\n", "")
    assert "Traceback" not in told
