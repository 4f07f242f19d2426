"""The whole circle on this machine's CPU: plan, start, measure, calibrate, plan again, measure again.

`python benchmarks/circle.py` prints every command, writes out/circle and benchmarks/results/circle.md with its
picture. The second measurement has other prompts and lengths than the one that was calibrated to. Then the same of
llama.cpp's own server.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import record
from comptroller.costs.fitted_calibration import FittedCalibration
from comptroller.costs.own_calibration import OwnCalibration
from comptroller.gateway import weights
from comptroller.gateway.backends.embedded import CHILD
from comptroller.gateway.planned_engines import planned_config
from comptroller.measure.run_observations import FactLookup, ServerStatement, read_runs
from comptroller.measure.serving_comparison import LoadComparison, compare, median_errors
from comptroller.planning.ground.plan_document import load_plan
from comptroller.report import serving_circle

ROOT = Path(__file__).parents[1]
OUT = ROOT / "out" / "circle"
START_S = 120.0
ADDRESS = "http://127.0.0.1:8791"
LOADS = ("--load", "1", "--load", "2", "--load", "3", "--load", "4")
SECOND = ("--requests", "40", "--prompt-seed", "1", "--input-tokens", "56", "--output-tokens", "28")


def comptroller(*words: object) -> list[str]:
    line = ["comptroller", *map(str, words)]
    print(f"$ {shlex.join(line)}", flush=True)
    return [sys.executable, "-m", *line]


def run(*words: object) -> None:
    subprocess.run(comptroller(*words), cwd=OUT, check=True)


class ServedPlan:
    """`comptroller serve PLAN`, from when it listens."""

    def __init__(self, plan: str) -> None:
        words = comptroller("serve", plan, "--port", ADDRESS.rpartition(":")[2], "--books", "books.sqlite")
        self._process = subprocess.Popen(words, cwd=OUT, stderr=subprocess.PIPE, text=True)

    def __enter__(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            print(line, end="", flush=True)
            if line.startswith("serving"):
                return
        raise SystemExit("the plan was not served")

    def __exit__(self, *error: object) -> None:
        self._process.send_signal(signal.SIGINT)
        self._process.wait(START_S)


class PlainServer:
    """llama.cpp's own server as the plan has it, with no gateway before it. url: from when it listens."""

    def __init__(self, plan: str) -> None:
        (service,) = planned_config(OUT / plan).services.values()
        settings = {**service.settings, "model": service.settings["file"], "name": "plain"}
        os.environ["MODEL_KEY"] = "circle"
        words = [sys.executable, "-I", str(CHILD), json.dumps(settings)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self._process = subprocess.Popen(words, text=True, env=os.environ | {"OMP_WAIT_POLICY": "passive"}, **pipes)

    def __enter__(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.wait(START_S)


def measured(plan: str, folder: str, *more: str) -> None:
    """Serve a plan and measure it."""
    with ServedPlan(plan):
        run("measure", "serving", ADDRESS, "--plan", plan, "--out", folder, "--png", f"{folder}.png", *LOADS, *more)


def measured_plain(plan: str, folder: str, *more: str) -> None:
    """The same of llama.cpp's own server."""
    with PlainServer(plan) as url:
        run("measure", "serving", url, "--key-env", "MODEL_KEY", "--plan", plan, "--out", folder, *LOADS, *more)


def beside(folder: str, calibration: str) -> tuple[LoadComparison, ...]:
    """A measurement beside what the shipped calibration and an own one predict of it."""
    plan = load_plan(OUT / "first.json")
    library, deployment = plan.library, plan.services[0].deployment
    stated = {
        **{"model": deployment.model, "accelerator": deployment.pools[0].accelerator, "engine": deployment.engine.id},
        **{"weights": deployment.recipe.weights, "activations": deployment.recipe.activations},
        **{"max_batch": str(deployment.engine.max_batch)},
    }
    lookup = FactLookup.of(library)
    runs = read_runs([OUT / folder / "runs.csv"], ServerStatement(stated), lookup).observations
    return compare(runs, FittedCalibration.shipped(), OwnCalibration.of_folder(OUT / calibration))


def report(seconds: float) -> None:
    """The results as a page of figures and a picture."""
    first, second = beside("calibration", "calibration"), beside("again", "calibration")
    plain = beside("plain_again", "plain")
    (record.RESULTS / "circle.png").write_bytes(
        serving_circle.picture(second, "SmolLM2 135M, llama.cpp, one core").png()
    )
    text = [
        "# The circle on a CPU",
        "SmolLM2 135M in Q8_0 on one core, llama.cpp: planned, started by `comptroller serve PLAN`, measured by "
        "`comptroller measure serving`, calibrated, planned and measured again (`make demo-circle`). Latencies in ms, "
        f"errors are predicted over measured less 1, in %. It took {seconds:.0f} s.",
        "## The runs that were calibrated to",
        serving_circle.sheet(first, "first").markdown(),
        f"In sample: {serving_circle.verdict(first)}.",
        "## The plan made again, measured with other prompts and lengths",
        serving_circle.sheet(second, "second").markdown(),
        f"Held out: {serving_circle.verdict(second)}.",
        "![predicted and measured](circle.png)",
        "## llama.cpp's own server, with no gateway before it",
        serving_circle.sheet(plain, "plain").markdown(),
        f"Calibrated to itself on the first prompts, held out on the second: {serving_circle.verdict(plain)}.",
    ]
    names = ("tpot_before", "tpot_after", "ttft_before", "ttft_after")
    figures = {
        "seconds": round(seconds, 1),
        "in_sample": dict(zip(names, median_errors(first), strict=True)),
        "held_out": dict(zip(names, median_errors(second), strict=True)),
        "plain_server_held_out": dict(zip(names, median_errors(plain), strict=True)),
    }
    print(record.write("circle", figures, "\n\n".join(text), (*record.PACKAGES, "xllamacpp")))
    print(f"held out: {serving_circle.verdict(second)}")


def main() -> None:
    begun = time.monotonic()
    shutil.rmtree(OUT, ignore_errors=True)
    shutil.copytree(ROOT / "examples" / "circle", OUT)
    weights.main("q8_0")
    run("measure", "host", "cpu", "--out", "host.toml")
    run("plan", "circle.toml", "--out", "first.json")
    measured("first.json", "calibration")
    run("plan", "circle.toml", "--calibration", "calibration", "--out", "second.json")
    measured("second.json", "again", *SECOND)
    measured_plain("first.json", "plain")
    measured_plain("first.json", "plain_again", *SECOND)
    report(time.monotonic() - begun)


if __name__ == "__main__":
    main()
