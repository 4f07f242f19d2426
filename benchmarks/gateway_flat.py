"""Whether memory stays flat: 100,000 requests, JSON and streams in turn, under 10,000 keys with a budget each.

`python benchmarks/gateway_flat.py` (`make flat`) writes results/gateway_flat.{json,md}; `wrk` must be on the path.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import secrets
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from sqlalchemy import select

from comptroller.books import schema
from comptroller.books.ledger import CallLedger
from gateway_overhead import HERE, rss_mb, started
from record import table, write

LUA = """local keys = {}
for line in io.lines("%s") do keys[#keys + 1] = line end
local plain = '{"model":"fake","max_tokens":50,"messages":[{"role":"user","content":"Say something."}]}'
local stream = '{"model":"fake","stream":true,"max_tokens":50,"messages":[{"role":"user","content":"Say something."}]}'
local headers = {["content-type"] = "application/json"}
local n = tonumber(os.getenv("START"))
request = function()
  n = n + 1
  headers["authorization"] = "Bearer " .. keys[n %% #keys + 1]
  return wrk.format("POST", nil, headers, n %% 2 == 0 and plain or stream)
end
"""


def keyed(books: Path, count: int) -> list[str]:
    """Keys with a budget each, written at once."""
    found = ["ck-" + secrets.token_urlsafe(32) for _ in range(count)]
    now = time.time_ns() // 1000
    rows = [
        {
            "digest": hashlib.sha256(secret.encode()).hexdigest(),
            "name": f"k{n}",
            "project": f"p{n % 100}",
            "created_us": now,
        }
        for n, secret in enumerate(found)
    ]
    budgets = [
        {"scope": "key", "name": f"k{n}", "period": "day", "limit_pusd": 10**12, "at_us": now} for n in range(count)
    ]
    with CallLedger.open(str(books)) as ledger, schema.writing(ledger.engine) as connection:
        connection.execute(schema.key.insert(), rows)
        connection.execute(schema.budget.insert(), budgets)
    return found


def entries(books: Path) -> tuple[int, int]:
    """Rows, and open holds."""
    with CallLedger.open(str(books)) as ledger, ledger.engine.connect() as connection:
        return tuple(len(connection.execute(select(t.c.id)).all()) for t in (schema.entry, schema.hold))  # type: ignore[return-value]


def main() -> None:
    """Measures and writes."""
    words = argparse.ArgumentParser()
    words.add_argument("--requests", type=int, default=100_000)
    words.add_argument("--keys", type=int, default=10_000)
    given = words.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        books = folder / "books.sqlite"
        (folder / "keys").write_text("\n".join(keyed(books, given.keys)), encoding="utf-8")
        (folder / "post.lua").write_text(LUA % (folder / "keys"), encoding="utf-8")
        toml = folder / "gateway.toml"
        toml.write_text(
            f'port = 9004\nbooks = "{books}"\nrequire_key = true\n[services.fake]\nurl = "http://127.0.0.1:9001/v1"\n'
            'context_tokens = 8192\nprice = {input = "0.15", output = "0.60"}\n[limits]\nrequests = 100000\n',
            encoding="utf-8",
        )
        backend = [sys.executable, str(HERE / "gateway_backend.py"), "9001"]
        gateway = [sys.executable, "-m", "comptroller", "serve", str(toml)]
        with started(backend, "http://127.0.0.1:9001/"), started(gateway, "http://127.0.0.1:9004/health") as pid:
            points = loaded(pid, folder, given.requests)
        rows, held = entries(books)
    warm = [rss for count, rss in points if count >= 2 * given.keys]
    grown = (warm[-1] - warm[0]) / (points[-1][0] - 2 * given.keys) * 1e5
    text = (
        f"# Memory of the gateway over {points[-1][0]:,} requests\n\n{(__doc__ or '').partition(chr(10))[0]}\n\n"
        f"{table(['requests', 'RSS MB'], [[f'{count:,}', f'{rss:.1f}'] for count, rss in points])}\n\n"
        f"{rows:,} rows in the books, {held} open holds at the end. Once every key was seen twice, memory grew by "
        f"{grown:.2f} MB per 100,000 requests."
    )
    write(
        "gateway_flat", {"points": points, "rows": rows, "held": held, "grown_mb": grown}, text, ("uvicorn", "aiohttp")
    )
    print(text)


def loaded(pid: int, folder: Path, requests: int) -> list[tuple[int, float]]:
    """Requests answered and resident memory, while wrk runs."""
    url = "http://127.0.0.1:9004/v1/chat/completions"
    points, done = [(0, rss_mb(pid))], 0
    while done < requests:
        wrk = ["wrk", "-t1", "-c16", "-d10s", "--timeout", "30s", "-s", str(folder / "post.lua"), url]
        out = subprocess.run(
            wrk, check=True, capture_output=True, text=True, env=os.environ | {"START": str(done)}
        ).stdout
        if "Non-2xx" in out:
            raise SystemExit(out)
        done += int(next(line for line in out.splitlines() if "requests in" in line).split()[0])
        points.append((done, rss_mb(pid)))
        print(points[-1], flush=True)
    return points


if __name__ == "__main__":
    main()
