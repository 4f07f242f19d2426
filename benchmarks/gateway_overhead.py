"""What a gateway costs per request: ours, the LiteLLM proxy, and no gateway at all, in turn in one run.

`python benchmarks/gateway_overhead.py --litellm VENV/bin/litellm` writes results/gateway_overhead.{json,md} and the
table of docs/gateway.md. VENV is an environment of its own with `pip install 'litellm[proxy]'`; `wrk` must be on the
path. One worker each; ours checks a key and writes a durable ledger (a hold before each call, a settlement after);
LiteLLM checks its master key, writes nothing, and its access log goes nowhere. The load, the gateway and the service
behind it share one machine.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from comptroller.books.keys import ApiKeyStore
from comptroller.books.ledger import CallLedger
from record import table, write

CONNECTIONS = (1, 16, 64)
MODES = ("json", "stream")
HERE = Path(__file__).parent
BEGIN, END = "<!-- overhead:begin -->", "<!-- overhead:end -->"
MASTER = "sk-" + "7f3a" * 8
LUA = """wrk.method = "POST"
wrk.body = '{"model":"fake","messages":[{"role":"user","content":"Say something short, please."}]%s}'
wrk.headers["content-type"] = "application/json"
wrk.headers["authorization"] = "Bearer %s"
"""


@dataclass(frozen=True, slots=True)
class Served:
    """A server under load: its process, its port and the key it wants."""

    name: str
    pid: int
    port: int
    key: str


@dataclass(frozen=True, slots=True)
class Point:
    """One run of the load. cpu_ms: of the server under test, per request."""

    name: str
    mode: str
    connections: int
    per_s: float
    p50_ms: float
    p99_ms: float
    cpu_ms: float
    rss_mb: float
    errors: int


def ticks(pid: int) -> float:
    """CPU seconds of a process, all threads."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss_mb(pid: int) -> float:
    """Resident memory."""
    text = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return int(re.findall(r"VmRSS:\s+(\d+)", text)[0]) / 1024


def load(served: Served, mode: str, connections: int, seconds: int, folder: Path) -> Point:
    """Warm-up, then wrk for some seconds."""
    script = folder / "post.lua"
    script.write_text(LUA % (',"stream":true' if mode == "stream" else "", served.key), encoding="utf-8")
    url = f"http://127.0.0.1:{served.port}/v1/chat/completions"
    wrk = ["wrk", "-t1", f"-c{connections}", "--latency", "--timeout", "30s", "-s", str(script), url]
    subprocess.run([*wrk, "-d1s"], check=True, capture_output=True)
    before = ticks(served.pid)
    out = subprocess.run([*wrk, f"-d{seconds}s"], check=True, capture_output=True, text=True).stdout
    used = ticks(served.pid) - before
    count = int(re.findall(r"(\d+) requests in", out)[0])
    bad = sum(map(int, re.findall(r"Non-2xx or 3xx responses: (\d+)", out)))
    bad += sum(map(int, re.findall(r"(?:connect|read|write|timeout) (\d+)", out)))
    rate = float(re.findall(r"Requests/sec:\s+([\d.]+)", out)[0])
    p50, p99 = (_ms(re.findall(rf"{share}%\s+([\d.]+)(\w+)", out)[0]) for share in (50, 99))
    each = used / count * 1e3 if count else float("nan")
    return Point(served.name, mode, connections, rate, p50, p99, each, rss_mb(served.pid), bad)


def _ms(found: tuple[str, str]) -> float:
    return float(found[0]) * {"us": 1e-3, "ms": 1.0, "s": 1e3}[found[1]]


@contextmanager
def started(command: list[str], health: str, key: str = "") -> Iterator[int]:
    """A server that answers."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(1200):
            if process.poll() is not None:
                raise SystemExit(f"{command[0]} ended with {process.returncode}")
            try:
                urllib.request.urlopen(health, timeout=5).close()
                break
            except urllib.error.HTTPError:
                break
            except OSError:
                time.sleep(0.1)
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(40)
        except subprocess.TimeoutExpired:
            process.kill()


@contextmanager
def servers(folder: Path, litellm: Path) -> Iterator[list[Served]]:
    """The service behind, ours, and LiteLLM."""
    books = folder / "books.sqlite"
    with CallLedger.open(str(books)) as ledger:
        key = ApiKeyStore(ledger).create("bench")
    ours = folder / "gateway.toml"
    ours.write_text(
        f'port = 9004\nbooks = "{books}"\nrequire_key = true\n[services.fake]\nurl = "http://127.0.0.1:9001/v1"\n'
        'context_tokens = 8192\nprice = {input = "0.15", output = "0.60"}\n', encoding="utf-8",
    )  # fmt: skip
    theirs = folder / "litellm.yaml"
    theirs.write_text(
        "model_list:\n  - model_name: fake\n    litellm_params:\n      model: openai/fake\n"
        "      api_base: http://127.0.0.1:9001/v1\n      api_key: none\n      num_retries: 0\n"
        f"general_settings:\n  master_key: {MASTER}\n", encoding="utf-8",
    )  # fmt: skip
    backend = [sys.executable, str(HERE / "gateway_backend.py"), "9001"]
    gateway = [sys.executable, "-m", "comptroller", "serve", str(ours)]
    proxy = [str(litellm), "--config", str(theirs), "--host", "127.0.0.1", "--port", "9005", "--num_workers", "1"]
    with (
        started(backend, "http://127.0.0.1:9001/") as first,
        started(gateway, "http://127.0.0.1:9004/health") as second,
        started(proxy, "http://127.0.0.1:9005/health/liveliness") as third,
    ):
        yield [
            Served("direct", first, 9001, "none"),
            Served("Comptroller", second, 9004, key),
            Served("LiteLLM", third, 9005, MASTER),
        ]


def middle(points: list[Point], name: str, mode: str, connections: int, what: str) -> float:
    """The median over repeats."""
    mine = [getattr(p, what) for p in points if (p.name, p.mode, p.connections) == (name, mode, connections)]
    return median(mine)


def row(points: list[Point], name: str, mode: str, connections: int) -> list[str]:
    """A line of the table."""
    values = [
        middle(points, name, mode, connections, what) for what in ("per_s", "p50_ms", "p99_ms", "cpu_ms", "rss_mb")
    ]
    repeats = [p.cpu_ms for p in points if (p.name, p.mode, p.connections) == (name, mode, connections)]
    spread = f"{min(repeats):.2f} to {max(repeats):.2f}"
    errors = sum(p.errors for p in points if (p.name, p.mode, p.connections) == (name, mode, connections))
    rate, p50, p99, cpu, rss = values
    return [
        f"{name}, {mode}, {connections}",
        f"{rate:.0f}",
        f"{p50:.2f}",
        f"{p99:.1f}",
        f"{cpu:.2f}",
        spread,
        f"{rss:.0f}",
        str(errors),
    ]


def ratios(points: list[Point]) -> list[tuple[str, float, float, bool]]:
    """What was aimed at: name, target, reached, whether it was."""
    found, added = [], []
    for mode, most in (("json", 20.0), ("stream", 40.0)):
        for c in CONNECTIONS:
            ours, theirs = (middle(points, name, mode, c, "cpu_ms") for name in ("Comptroller", "LiteLLM"))
            found.append((f"CPU per request, {mode}, {c} connections: LiteLLM's over ours", most, theirs / ours))
        direct, ours, theirs = (middle(points, n, mode, 1, "p50_ms") for n in ("direct", "Comptroller", "LiteLLM"))
        found.append((f"added median latency, {mode}: LiteLLM's over ours", 10.0, (theirs - direct) / (ours - direct)))
        added.append((f"added median latency, {mode}, ms at most", 1.0, ours - direct))
        ours, theirs = (middle(points, name, mode, 16, "per_s") for name in ("Comptroller", "LiteLLM"))
        found.append((f"requests/s at 16 connections, {mode}: ours over LiteLLM's", 10.0, ours / theirs))
    ours, theirs = (max(p.rss_mb for p in points if p.name == name) for name in ("Comptroller", "LiteLLM"))
    found.append(("resident memory at its largest: LiteLLM's over ours", 2.0, theirs / ours))
    most = [(name, target, reached, reached <= target) for name, target, reached in added]
    return [*((name, target, reached, reached >= target) for name, target, reached in found), *most]


def docs_table(points: list[Point]) -> str:
    """What the page on the gateway tells: ours, LiteLLM's and the ratio, at 1, 16 and 64 connections."""
    pair = ("Comptroller", "LiteLLM")
    rows = []
    for mode, name in (("json", "JSON"), ("stream", "stream")):
        ours, theirs = ([middle(points, who, mode, c, "cpu_ms") for c in CONNECTIONS] for who in pair)
        cells = [" / ".join(f"{value:.2f}" for value in ours), " / ".join(f"{value:.1f}" for value in theirs)]
        ratio = " / ".join(f"{their / our:.1f}" for our, their in zip(ours, theirs, strict=True))
        rows.append([f"CPU ms per request, {name}, 1 / 16 / 64 connections", *cells, ratio])
    for mode, name in (("json", "JSON"), ("stream", "stream")):
        ours_s, theirs_s = (middle(points, who, mode, 16, "per_s") for who in pair)
        rows.append(
            [f"requests/s at 16 connections, {name}", f"{ours_s:.0f}", f"{theirs_s:.0f}", f"{ours_s / theirs_s:.1f}"]
        )
        direct = middle(points, "direct", mode, 1, "p50_ms")
        ours_ms, theirs_ms = (middle(points, who, mode, 1, "p50_ms") - direct for who in pair)
        ratio = f"{theirs_ms / ours_ms:.1f}"
        rows.append([f"median latency added at 1 connection, {name}, ms", f"{ours_ms:.2f}", f"{theirs_ms:.1f}", ratio])
    ours_mb, theirs_mb = (max(p.rss_mb for p in points if p.name == who) for who in pair)
    rows.append(["resident memory, MB", f"{ours_mb:.0f}", f"{theirs_mb:.0f}", f"{theirs_mb / ours_mb:.1f}"])
    return table(["", "ours", "LiteLLM", "ratio"], rows)


def put_into_docs(version: str, points: list[Point]) -> None:
    """Writes the table into docs/gateway.md, between its marks."""
    page = HERE.parent / "docs" / "gateway.md"
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    told = f"Beside LiteLLM {version}:\n\n{docs_table(points)}"
    page.write_text(f"{before}{BEGIN}\n{told}\n{END}{after}", encoding="utf-8")


def size_mb(folder: Path) -> float:
    """Installed size of an environment."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file() and not file.is_symlink()) / 1e6


def version_of(python: Path, package: str) -> str:
    """The version of a package in another environment."""
    code = f"from importlib.metadata import version; print(version({package!r}))"
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def main() -> None:
    """Measures and writes."""
    words = argparse.ArgumentParser()
    words.add_argument("--litellm", type=Path, required=True)
    words.add_argument("--seconds", type=int, default=4)
    words.add_argument("--repeats", type=int, default=3)
    given = words.parse_args()
    points: list[Point] = []
    with (
        tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as folder,
        servers(Path(folder), given.litellm) as all_served,
    ):
        for repeat in range(given.repeats):
            for mode in MODES:
                for connections in CONNECTIONS:
                    for served in all_served:
                        points.append(load(served, mode, connections, given.seconds, Path(folder)))
                        print(repeat, points[-1], f"load {os.getloadavg()[0]:.1f}", flush=True)
    heads = [
        "gateway, mode, connections",
        "requests/s",
        "p50 ms",
        "p99 ms",
        "CPU ms/request",
        "over repeats",
        "RSS MB",
        "errors",
    ]
    lines = [row(points, n, m, c) for m in MODES for c in CONNECTIONS for n in ("direct", "Comptroller", "LiteLLM")]
    goals = ratios(points)
    told = [[name, f"{target:g}", f"{reached:.2f}", "met" if met else "missed"] for name, target, reached, met in goals]
    theirs = given.litellm.parents[1]
    version = version_of(given.litellm.with_name("python"), "litellm")
    text = (
        f"# Overhead of the gateway beside LiteLLM {version}\n\n{__doc__.partition(chr(10))[0]}\n\n"
        f"{table(heads, lines)}\n\nMedians of {given.repeats} repeats of {given.seconds} s, "
        "taken in turn; wrk, one thread.\n\n"
        f"{table(['what', 'target', 'reached', ''], told)}\n\n"
        f"Installed: LiteLLM's environment {size_mb(theirs):.0f} MB."
    )
    figures = {
        "points": [asdict(p) for p in points],
        "ratios": [dict(zip(("name", "target", "reached", "met"), g, strict=True)) for g in goals],
    }
    write(
        "gateway_overhead",
        figures | {"litellm": version},
        text,
        ("starlette", "uvicorn", "aiohttp", "msgspec", "sqlalchemy"),
    )
    put_into_docs(version, points)


if __name__ == "__main__":
    main()
