"""Checkers against hostile programs: what a check can reach, how long it lives, what it may say, for whom it runs."""

from __future__ import annotations

import asyncio
import json
import os
import platform
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openai
import pytest

import comptroller
from comptroller.errors import InputError, UnsupportedError
from comptroller.gateway.checker_pool import AT_ONCE, CHILD, COMPLAINT_BYTES, CheckerPool
from comptroller.gateway.checking import score, valid_checker
from comptroller.gateway.config import CheckerConfig, config_from_document
from comptroller.gateway.formats import CheckerOptions
from comptroller.gateway.problems import GatewayError
from gateway_houses import GUARD_S, running, until

SECRET = "sk-upstream-secret"


def walls() -> str:
    """Why this system cannot keep foreign code apart; empty where it can."""
    try:
        asyncio.run(CheckerPool({"a": CheckerConfig(f"{__file__}:walls")}).require_walls())
    except InputError as error:
        return str(error)
    return ""


foreign = pytest.mark.skipif(bool(walls()), reason=walls() or "-")


def judged(folder: Path, program: str, **limits: Any) -> float:
    """The score that a function `check` gives in a pool of its own."""
    file = folder / "hostile.py"
    file.write_text(program, encoding="utf-8")
    pool = CheckerPool({"hostile": CheckerConfig(f"{file}:check", **({"seconds": GUARD_S} | limits))})
    return asyncio.run(score(CheckerOptions(python="hostile"), "x", pool))


@contextmanager
def listening() -> Iterator[tuple[int, list[object]]]:
    """A port of loopback, and who came."""
    came: list[object] = []
    with socket.create_server(("127.0.0.1", 0)) as door:

        def accept() -> None:
            try:
                while True:
                    came.append(door.accept())
            except OSError:
                return

        threading.Thread(target=accept, daemon=True).start()
        yield door.getsockname()[1], came
        door.shutdown(socket.SHUT_RDWR)


def alive(marker: str) -> bool:
    """Whether a process runs whose command line has a word."""
    for at in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if marker.encode() in at.read_bytes().split(b"\0"):
                return True
        except OSError:
            continue
    return False


@pytest.mark.parametrize(
    ("checker", "good", "bad"),
    [
        (CheckerOptions(exact="a  b"), " a b ", "ab"),
        (CheckerOptions(number=0.5, tolerance=0.01), "about 0.499", "none"),
        (CheckerOptions(regex=r"^\d+$"), "42", "x42"),
        (CheckerOptions(json_schema={"type": "object", "required": ["a"]}), '{"a": 1}', "a"),
        (CheckerOptions(json_schema={"$defs": {"n": {"type": "integer"}}, "$ref": "#/$defs/n"}), "3", '"3"'),
    ],
)
def test_checkers(checker: CheckerOptions, good: str, bad: str) -> None:
    async def work() -> tuple[float, float]:
        pool = CheckerPool()
        return await score(checker, good, pool), await score(checker, bad, pool)

    assert asyncio.run(work()) == (1.0, 0.0)


@foreign
def test_a_function_judges_with_its_arguments_and_may_use_its_folder(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "import pathlib, subprocess, sys, tempfile\n"
        "def check(text, want):\n"
        "    print('noise')\n"
        "    pathlib.Path('answer.py').write_text(f'print({text})')\n"
        "    ran = subprocess.run([sys.executable, 'answer.py'], capture_output=True, text=True)\n"
        "    return ran.stdout.strip() == want\n",
        encoding="utf-8",
    )
    pool = CheckerPool({"mine": CheckerConfig(f"{file}:check", seconds=GUARD_S)})
    asked = CheckerOptions(python="mine", arguments={"want": "42"})
    assert asyncio.run(score(asked, "6 * 7", pool)) == 1.0
    assert asyncio.run(score(asked, "6 * 8", pool)) == 0.0


@foreign
def test_no_network(tmp_path: Path) -> None:
    with listening() as (port, came):
        program = (
            "import socket\ndef check(text):\n"
            f"    try: socket.create_connection(('127.0.0.1', {port}), 5)\n"
            "    except OSError: pass\n    else: return 0\n"
            "    return not [name for _, name in socket.if_nameindex() if name != 'lo']\n"
        )
        assert judged(tmp_path, program) == 1.0
        assert not came


@foreign
def test_no_file_but_the_interpreters_and_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    mine = tmp_path / "books.sqlite"
    mine.write_text("spent", encoding="utf-8")
    program = (
        "import os, pathlib\ndef check(text):\n"
        f"    for path in ('/etc/passwd', '/proc/self/environ', '/proc/1/environ', {str(mine)!r}, '/sys', '/run'):\n"
        "        if os.path.exists(path): return 0\n"
        "    if os.listdir('.') or any('KEY' in name for name in os.environ): return 0\n"
        "    pathlib.Path('scratch').write_text(text)\n"
        "    for path in (os.__file__, '/new', '/usr/new', '/dev/new'):\n"
        "        try: open(path, 'a')\n"
        "        except OSError: continue\n"
        "        return 0\n"
        f"    for path in ({str(mine)!r}, os.__file__):\n"
        "        try: os.remove(path)\n"
        "        except OSError: continue\n"
        "        return 0\n"
        "    return 1\n"
    )
    assert judged(tmp_path, program) == 1.0
    assert mine.read_text(encoding="utf-8") == "spent"


@foreign
def test_no_other_process_is_seen_or_signalled(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "600"]) as bystander:
        program = (
            "import os, signal\ndef check(text):\n"
            f"    for process in ({os.getpid()}, {bystander.pid}, os.getppid() or {os.getpid()}):\n"
            "        try: os.kill(process, signal.SIGKILL)\n"
            "        except OSError: continue\n        return 0\n"
            "    try: os.kill(-1, signal.SIGKILL)\n    except OSError: pass\n"
            "    return 1\n"
        )
        assert judged(tmp_path, program) == 1.0
        assert bystander.poll() is None
        bystander.kill()


@foreign
def test_rights_cannot_be_had_again(tmp_path: Path) -> None:
    program = (
        "import ctypes, os\ndef check(text):\n"
        "    libc = ctypes.CDLL(None)\n"
        "    tried = [libc.mount(b'none', b'/usr', b'tmpfs', 0, None), libc.chroot(b'.'), libc.sethostname(b'x', 1)]\n"
        "    return os.getuid() != 0 and all(result == -1 for result in tried)\n"
    )
    assert judged(tmp_path, program) == 1.0


@foreign
@pytest.mark.parametrize("ends", [True, False])
def test_what_it_started_ends_with_it(tmp_path: Path, ends: bool) -> None:
    """A daemon of a check lives no longer than its verdict, or the limit, although it left its session."""
    marker = f"outlives-{tmp_path.name}-{ends}"
    program = (
        "import subprocess, sys\ndef check(text):\n"
        f"    subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)', {marker!r}],"
        " start_new_session=True)\n"
        f"    while not {ends}: pass\n    return 1\n"
    )
    if ends:
        assert judged(tmp_path, program) == 1.0
    else:
        with pytest.raises(UnsupportedError, match=r"more than|failed"):
            judged(tmp_path, program, seconds=1.0)
    asyncio.run(until(lambda: not alive(marker)))


@foreign
def test_processes_memory_and_files_are_bounded(tmp_path: Path) -> None:
    forks = (
        "import os, time\ndef check(text):\n    made = 0\n    try:\n"
        "        while made < 500:\n            if os.fork() == 0: time.sleep(600)\n            made += 1\n"
        "    except OSError: pass\n    return made < 10\n"
    )
    assert judged(tmp_path, forks, processes=10) == 1.0
    with pytest.raises(UnsupportedError, match="Memory"):
        judged(tmp_path, "def check(text):\n    return len(bytearray(2**33)) > 0\n")
    with pytest.raises(UnsupportedError, match=r"No space|File too large"):
        judged(tmp_path, "def check(text):\n    open('big', 'wb').write(bytes(2**26))\n    return 1\n")


@foreign
def test_outputs_are_capped_and_scores_are_scores(tmp_path: Path) -> None:
    flood = (
        "import sys\ndef check(text):\n    for _ in range(400): sys.stderr.write('x' * 2**16)\n    raise ValueError\n"
    )
    with pytest.raises(UnsupportedError, match="ValueError"):
        judged(tmp_path, flood)
    answer = "import os\ndef check(text):\n    for _ in range(400): os.write(3, b'[' * 2**16)\n    return 1\n"
    with pytest.raises(UnsupportedError) as told:
        judged(tmp_path, answer)
    assert len(str(told.value)) < COMPLAINT_BYTES
    with pytest.raises(UnsupportedError, match="lie in"):
        judged(tmp_path, "def check(text):\n    return 7\n")


def test_a_pattern_is_compiled_in_the_process_of_the_check() -> None:
    """Classes of many letters without case take seconds to compile; the gateway only reads the pattern."""
    slow = CheckerOptions(regex="(?i)" + "[ -\U0001ffff]" * 1900)
    assert valid_checker(slow, {}) is slow
    with pytest.raises(UnsupportedError, match=r"failed|more than"):
        asyncio.run(score(slow, "x", CheckerPool()))


def test_patterns_that_take_for_ever_end() -> None:
    with pytest.raises(UnsupportedError, match=r"failed|more than"):
        asyncio.run(score(CheckerOptions(regex=r"(a+)+$"), "a" * 60 + "b", CheckerPool()))


@pytest.mark.parametrize(
    ("checker", "where", "words"),
    [
        ({"regex": "("}, "comptroller.checker.regex", "no regular expression"),
        ({"regex": "(?<=a+)b"}, "comptroller.checker.regex", "look-behind"),
        ({"regex": "a" * 20_000}, "comptroller.checker.regex", "more than 10000"),
        ({"json_schema": {"$ref": "http://127.0.0.1:PORT/latest"}}, "comptroller.checker.json_schema", "refers to"),
        ({"json_schema": {"allOf": [{"$ref": "file:///etc/passwd"}]}}, "comptroller.checker.json_schema", "refers to"),
        ({"json_schema": {"type": 5}}, "comptroller.checker.json_schema", "no schema"),
        ({"json_schema": {"$ref": "#/nowhere"}}, "comptroller.checker.json_schema", "does not hold"),
        ({"json_schema": {"$ref": "#"}}, "comptroller.checker.json_schema", "without end"),
    ],
)
def test_a_request_s_own_mistake_is_a_400_and_nothing_is_fetched(
    checker: dict[str, Any], where: str, words: str, tmp_path: Path
) -> None:
    service = {"backend": "echo", "settings": {"answers": ["1"]}, "price": {"input": "1", "output": "2"}}
    document = {"services": {"dice": service | {"max_output_tokens": 9}}, "port": 0, "books": str(tmp_path / "books")}

    async def work(asked: dict[str, Any]) -> None:
        async with running(document) as house:
            with pytest.raises(openai.BadRequestError, match=words) as told:
                await house.client().chat.completions.create(
                    model="comptroller/stop_on_success:cap=1", messages=[{"role": "user", "content": "1"}],
                    extra_body={"comptroller": {"checker": asked}},
                )  # fmt: skip
            assert told.value.param == where

    with listening() as (port, came):
        asyncio.run(work({kind: _with_port(value, port) for kind, value in checker.items()}))
        assert not came


def _with_port(value: Any, port: int) -> Any:
    if isinstance(value, dict):
        return {name: _with_port(item, port) for name, item in value.items()}
    return value.replace("PORT", str(port)) if isinstance(value, str) else value


def test_a_schema_of_the_child_is_not_fetched_either() -> None:
    """What the door lets pass, the child looks up in the schema alone."""
    with listening() as (port, came):
        schema = {"$id": f"http://127.0.0.1:{port}/a", "$ref": f"http://127.0.0.1:{port}/a#/$defs/none"}
        with pytest.raises(GatewayError, match=r"does not hold"):
            asyncio.run(score(CheckerOptions(json_schema=schema), "1", CheckerPool()))
        assert not came


@foreign
def test_one_key_does_not_hold_all_places(tmp_path: Path) -> None:
    """With ten slow checks of one key under way, another key's check is over before them."""
    file = tmp_path / "slow.py"
    file.write_text("import time\ndef check(text):\n    time.sleep(3 if text == 'slow' else 0)\n    return 1\n")
    pool = CheckerPool({"slow": CheckerConfig(f"{file}:check", seconds=GUARD_S)})
    ended: list[str] = []

    async def check(key: str, text: str) -> None:
        await score(CheckerOptions(python="slow"), text, pool, key)
        ended.append(key)

    async def work() -> None:
        many = [asyncio.create_task(check("greedy", "slow")) for _ in range(2 * AT_ONCE + 2)]
        await until(lambda: pool.busy("greedy") > 0)
        await check("modest", "quick")
        assert ended.count("greedy") < len(many) - 1, "the greedy key's checks did not all come first"
        for task in many:
            task.cancel()
        await asyncio.gather(*many, return_exceptions=True)

    asyncio.run(work())
    assert pool.busy("greedy") == 0


def test_a_checker_that_is_no_function_is_refused_at_the_start() -> None:
    with pytest.raises(InputError, match=r"write file.py:function"):
        comptroller.solve("x", "once", config_from_document({
            "services": {"e": {"backend": "echo"}}, "checkers": {"bad": {"python": "nowhere.py:f"}}}))  # fmt: skip


def test_where_the_system_offers_nothing_foreign_code_is_refused() -> None:
    """The child says what is missing and runs nothing of the function, here on a system that it does not know."""
    task = {"content": "", "source": "def f(text): return 1", "function": "f", "arguments": {}}
    task |= {"seconds": 5, "memory_bytes": 2**29, "processes": 8}
    elsewhere = "import runpy, sys; sys.platform = 'plan9'; runpy.run_path(sys.argv[1], run_name='__main__')"
    command = [sys.executable, "-c", elsewhere, str(CHILD)]
    ran = subprocess.run(command, input=json.dumps(task), capture_output=True, text=True, check=True)
    assert json.loads(ran.stdout) == {"unfit": f"no namespaces are known on plan9 {platform.machine()}"}
