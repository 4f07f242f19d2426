"""The same question to two other planners: `vllm-sr-sim optimize` and `aiconfigurator cli recommend`.

    python benchmarks/peers.py [--envs DIR] [--only TEXT]

Writes results/peers.{json,md}. Three common services on H100 SXM with vLLM, Poisson arrivals and the lengths of
examples/chat.toml: which fleet serves them with TTFT within 1 s and TPOT within 50 ms, both at p95? Each peer is
installed from the package index into an environment of its own, in a temporary folder or in DIR, where it is kept; one
that cannot be installed is said to be missing, with what was tried. vllm-sr-sim gets the distribution of prompt and
answer together, the rate and the limit of TTFT (it holds the p99), and knows one calibration, of a 70B model;
aiconfigurator gets mean lengths, the rate and both limits. All fleets are priced at the price that our plan pays for a
device. A peer's fleet is simulated here on draws of the arrivals that no planner has seen: as the layout and format
that it names, where it names any, else in the best way that its devices can be run here; a fleet holds if every
objective does in at least 95 % of the draws. Our fleet is judged there where that can be asked: vllm-sr-sim simulates
it for the 70B model; aiconfigurator has it among the points of its sweep. Seconds are processor seconds of each.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import re
import resource
import subprocess
import tempfile
import time
import venv
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from comptroller.facts.reader import parse_toml
from comptroller.planning.ground.plan_document import Plan
from comptroller.planning.offer.requests import traffic_of
from comptroller.planning.planner import plan, shipped_calibration
from comptroller.planning.prove.arrivals import RehearsalSettings
from comptroller.planning.prove.request_draws import RequestDraws
from comptroller.planning.solve.problem import pose_problem
from comptroller.work.workload import Workload, parse
from every_fleet import EveryFleet
from record import table, write

CHAT = Path(__file__).parents[1] / "examples" / "chat.toml"
DEVICE, TTFT_MS, TPOT_MS = "h100_sxm", 1000.0, 50.0

UNSEEN, UNSEEN_SEED, CONFIDENCE = 20, 20_260_202, 0.95
"""Draws of a fleet and their seed; planners have seen others.  Share of the draws that have to hold."""

SHORT, LONG = 4096, 16384
"""Tokens of a request up to which it goes to the short pool of vllm-sr-sim, its own default; context of the long."""


@dataclass(frozen=True)
class CommonService:
    """A model and a rate. aic: what aiconfigurator calls the model."""

    model: str
    rate_per_s: float
    aic: str

    @property
    def name(self) -> str:
        """Model and rate."""
        return f"{self.model}, {self.rate_per_s:g}/s"

    @cached_property
    def workload(self) -> Workload:
        """It as a workload."""
        limits = {"ttft": TTFT_MS, "tpot": TPOT_MS}
        chat = parse_toml(CHAT)
        fields = {
            "name": self.name,
            "models": [self.model],
            "rate_per_s": self.rate_per_s,
            "objectives": {name: {"p": 95, "max": most, "unit": "ms"} for name, most in limits.items()},
            "allow": {"accelerators": [DEVICE], "sites": ["us_neocloud"], "engines": ["vllm"]},
        }
        return parse({**chat, **fields}, CHAT)


SERVICES = (
    CommonService("llama_3_1_8b", 20.0, "meta-llama/Meta-Llama-3.1-8B"),
    CommonService("qwen3_32b", 12.0, "Qwen/Qwen3-32B"),
    CommonService("llama_3_1_70b", 8.0, "meta-llama/Meta-Llama-3.1-70B"),
)


@dataclass(frozen=True)
class PeerAnswer:
    """A fleet that a planner names. tp, weights: of a replica, where it names them.  seconds: of processor."""

    planner: str
    devices: int
    tp: int | None
    weights: str | None
    seconds: float
    says: str


@dataclass(frozen=True)
class PeerRow:
    """A planner's fleet for a service. held: share of the unseen draws here, `None` where it cannot run here.

    excess: the worst mean ratio of a percentile to its limit.  there: what the peers say of our fleet.
    """

    service: str
    answer: PeerAnswer
    usd_per_h: float
    run_as: str
    held: float | None
    excess: float | None
    there: str = ""


class PeerEnvironment:
    """A package in an environment of its own."""

    def __init__(self, folder: Path, package: str) -> None:
        self.folder, self.package = folder / package, package
        self.failure = ""
        self.seconds = 0.0
        if not (self.folder / "bin" / "python").exists():
            venv.create(self.folder, with_pip=True)
        done = subprocess.run(
            [str(self.folder / "bin" / "python"), "-m", "pip", "install", "--quiet", package],
            check=False, capture_output=True, text=True,
        )  # fmt: skip
        if done.returncode:
            self.failure = f"pip install {package}: {done.stderr.strip().splitlines()[-1]}"

    @cached_property
    def version(self) -> str:
        """What is installed."""
        code = f"from importlib.metadata import version; print(version({self.package!r}))"
        return subprocess.run(
            [str(self.folder / "bin" / "python"), "-c", code], check=False, capture_output=True, text=True
        ).stdout.strip()

    def run(self, *command: str) -> str:
        """What a script of the environment prints; `seconds` are those of the processor.

        Raises:
            RuntimeError: it fails; with the end of what it says.
        """
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        script = str(self.folder / "bin" / command[0])
        done = subprocess.run([script, *command[1:]], check=False, capture_output=True, text=True, cwd=self.folder)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        self.seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        if done.returncode:
            raise RuntimeError(" ".join((done.stdout + done.stderr).split())[-300:])
        return done.stdout + done.stderr


def totals_of(service: CommonService) -> list[tuple[int, float]]:
    """Tokens of prompt and answer together, with the share of the requests that have no more."""
    sizes, rates = traffic_of(service.workload).sizes, traffic_of(service.workload).rates_per_s
    total = sizes.input_tokens + sizes.output_tokens
    order = np.argsort(total)
    share = np.cumsum(rates[order]) / rates.sum()
    return [(math.ceil(tokens), float(part)) for tokens, part in zip(total[order], share, strict=True)]


def asked_of_sr_sim(peer: PeerEnvironment, service: CommonService) -> PeerAnswer:
    """The cheapest fleet of vllm-sr-sim that meets its limit after its simulation."""
    cdf, out = peer.folder / "cdf.json", peer.folder / "answer.json"
    cdf.write_text(json.dumps({"cdf": totals_of(service)}))
    peer.run(
        "vllm-sr-sim", "optimize", "--cdf", str(cdf), "--lam", f"{service.rate_per_s:g}", "--slo", f"{TTFT_MS:g}",
        "--gpu-short", "h100", "--gpu-long", "h100", "--b-short", str(SHORT), "--long-max-ctx", str(LONG),
        "--out", str(out),
    )  # fmt: skip
    rows = json.loads(out.read_text())
    met = [row for row in rows if row["slo_met"] and row["source"] != "analytical"] or [r for r in rows if r["slo_met"]]
    best = min(met, key=lambda row: row["total_gpus"])
    worst = max(best["p99_ttft_short_ms"], best["p99_ttft_long_ms"])
    says = f"{best['n_s']} short + {best['n_l']} long, p99 TTFT {worst:g} ms"
    return PeerAnswer("vllm-sr-sim", best["total_gpus"], None, None, peer.seconds, says)


def ours_at_sr_sim(peer: PeerEnvironment, service: CommonService, devices: int) -> str:
    """What vllm-sr-sim's simulation says of our devices."""
    if service.model != "llama_3_1_70b":
        return "no calibration of this model"
    told = peer.run(
        "vllm-sr-sim", "simulate", "--cdf", str(peer.folder / "cdf.json"), "--lam", f"{service.rate_per_s:g}",
        "--slo", f"{TTFT_MS:g}", "--gpu-short", "h100", "--gpu-long", "h100", "--b-short", str(LONG),
        "--long-max-ctx", str(LONG), "--n-s", str(devices), "--n-l", "1",
    )  # fmt: skip
    lines = dict(
        re.findall(r"^ *(Fleet P99 TTFT|SLO compliance|Mean utilisation) *: *(\S+)", told.partition("Pool ")[0], re.M)
    )
    return ", ".join(f"{name} {value}" for name, value in lines) or "simulated"


def asked_of_aic(peer: PeerEnvironment, service: CommonService) -> PeerAnswer:
    """The fewest devices that aiconfigurator names for aggregated serving."""
    mean = traffic_of(service.workload)
    lengths = [
        float(mean.rates_per_s @ sizes / mean.rates_per_s.sum())
        for sizes in (mean.sizes.input_tokens, mean.sizes.output_tokens)
    ]
    with tempfile.TemporaryDirectory(dir=peer.folder) as out:
        peer.run(
            "aiconfigurator", "cli", "recommend", "--model", service.aic, "--system", "h100_sxm", "--backend", "vllm",
            "--target-request-rate", f"{service.rate_per_s:g}", "--isl", f"{lengths[0]:.0f}",
            "--osl", f"{lengths[1]:.0f}", "--ttft", f"{TTFT_MS:g}", "--tpot", f"{TPOT_MS:g}", "--strict-sla",
            "--no-color", "--save-dir", out,
        )  # fmt: skip
        best = _csv(next(Path(out).rglob("agg/best_config_topn.csv")))[0]
        sweep = _csv(next(Path(out).rglob("agg/pareto.csv")))
    (peer.folder / "sweep.json").write_text(json.dumps(sweep))
    weights = {"bfloat16": "bf16"}.get(best["gemm"], "fp8_e4m3" if "fp8" in best["gemm"] else best["gemm"])
    says = f"{best['replicas_needed']} x tp{best['tp']}, batch {best['bs']}, TTFT {float(best['ttft']):.0f} ms"
    return PeerAnswer("aiconfigurator", int(best["total_gpus_needed"]), int(best["tp"]), weights, peer.seconds, says)


def _csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def ours_at_aic(peer: PeerEnvironment, service: CommonService, made: Plan) -> str:
    """Whether aiconfigurator's sweep has a point of our layout that carries our rate within the limits."""
    if len(made.services) != 1:
        return "a mix: it knows one kind"
    (pool,), recipe = made.services[0].deployment.pools, made.services[0].deployment.recipe
    alike = {"bf16": "bfloat16"}.get(recipe.weights, "fp8")
    points = [
        row
        for row in json.loads((peer.folder / "sweep.json").read_text())
        if int(row["tp"]) == pool.tp and alike in row["gemm"]
    ]
    within = [float(row["seq/s"]) for row in points if float(row["ttft"]) <= TTFT_MS and float(row["tpot"]) <= TPOT_MS]
    if not within:
        return f"no point of tp{pool.tp} in {recipe.weights}: it plans the checkpoint's format"
    return f"{pool.replicas} x {max(within):.1f}/s at most of {service.rate_per_s:g}/s"


class FleetJudge:
    """Fleets of a service on unseen draws here."""

    def __init__(self, service: CommonService) -> None:
        calibration = shipped_calibration()
        problem = pose_problem(service.workload, calibration)
        self.every = EveryFleet(problem)
        self.every.draws = RequestDraws(problem, calibration, RehearsalSettings(draws=UNSEEN, seed=UNSEEN_SEED))

    def judged(self, answer: PeerAnswer) -> tuple[str, float | None, float | None]:
        """How an answer's devices run best here, the share of the draws that hold, and the worst mean ratio."""
        found = [one for row in self._rows(answer) for one in self._tried(row, answer.devices)]
        return max(found, key=lambda one: (one[1], -one[2]), default=("cannot run here", None, None))

    def _rows(self, answer: PeerAnswer) -> list[int]:
        return [
            row
            for row, item in enumerate(self.every.offers.deployments)
            if item.offer.devices == 1
            and answer.devices % item.replica.layout.devices == 0
            and answer.tp in (None, item.replica.layout.tp)
            and answer.weights in (None, item.replica.recipe.weights)
        ]

    def _tried(self, row: int, devices: int) -> list[tuple[str, float, float]]:
        item, found = self.every.offers.deployments[row], []
        for goal in self.every.goals:
            draws = self.every.draws_of({row: devices // item.replica.layout.devices}, goal)
            if draws is not None:
                values = np.stack(list(islice(draws, UNSEEN))) / self.every.most_s
                found.append((item.label, float((values <= 1).all(axis=1).mean()), float(values.mean(axis=0).max())))
        return found


def ours(service: CommonService) -> tuple[Plan, PeerAnswer]:
    """Our plan, with the seconds that it took."""
    start = time.process_time()
    made = plan(service.workload)
    pool, recipe = made.services[0].deployment.pools[0], made.services[0].deployment.recipe
    says = " + ".join(
        f"{s.deployment.pools[0].replicas} x tp{s.deployment.pools[0].tp} {s.deployment.recipe.weights}"
        for s in made.services
    )
    one = len(made.services) == 1
    answer = PeerAnswer(
        "Comptroller", made.totals.devices, pool.tp if one else None, recipe.weights if one else None,
        time.process_time() - start, says,
    )  # fmt: skip
    return made, answer


def rows_of(service: CommonService, peers: Mapping[str, PeerEnvironment]) -> list[PeerRow]:
    """Every planner's answer to one service."""
    judge = FleetJudge(service)
    made, mine = ours(service)
    price = made.services[0].price.usd_per_device_h
    answers, there = [mine], []
    asked = {"vllm-sr-sim": asked_of_sr_sim, "aiconfigurator": asked_of_aic}
    for name, ask in asked.items():
        peer = peers[name]
        if peer.failure:
            continue
        try:
            answers.append(ask(peer, service))
            back = (
                ours_at_sr_sim(peer, service, mine.devices)
                if name == "vllm-sr-sim"
                else ours_at_aic(peer, service, made)
            )
        except RuntimeError as error:
            back = f"failed: {error}"
        there.append(f"{name}: {back}")
    return [
        PeerRow(
            service.name,
            answer,
            price * answer.devices,
            *judge.judged(answer),
            "; ".join(there) if answer is mine else "",
        )
        for answer in answers
    ]


UNANSWERED = (
    ("vllm-sr-sim", "which model, number format, layout and engine; TPOT; prices and sites; why not another"),
    ("aiconfigurator", "bursts and the spread of lengths, so tails; prices, sites and mixes; why not another"),
    ("Comptroller", "prefill and decode on pools of their own, unless allow.pools asks for them; tables by operator"),
)


def text(rows: Sequence[PeerRow], peers: Mapping[str, PeerEnvironment]) -> str:
    """The results as Markdown."""
    about = " ".join((__doc__ or "").partition("Writes results/peers.{json,md}.")[2].split())
    cells = [
        [row.service, row.answer.planner, row.answer.says, str(row.answer.devices), f"${row.usd_per_h:.2f}",
         "–" if row.held is None else f"{row.held:.0%}", "–" if row.excess is None else f"{row.excess:.2f}",
         f"{row.answer.seconds:.0f}"]
        for row in rows
    ]  # fmt: skip
    heads = ["service", "planner", "answer", "devices", "$/h", "draws held here", "worst mean / limit", "CPU s"]
    run_for = len({row.service for row in rows})
    partial = [] if run_for == len(SERVICES) else [f"**Partial: {run_for} of {len(SERVICES)} services were run.**"]
    missing = [f"{name} could not be installed: {peer.failure}" for name, peer in peers.items() if peer.failure]
    run = table(["fleet", "run here as"], [[f"{r.service}, {r.answer.planner}", r.run_as] for r in rows])
    there = [f"- {row.service}, ours there: {row.there}" for row in rows if row.there]
    left = table(["planner", "leaves unanswered"], [list(pair) for pair in UNANSWERED])
    return "\n\n".join(
        ("# The same question to other planners", about, *partial, table(heads, cells), *missing, "\n".join(there), run,
         left, ", ".join(f"{name} {peer.version}" for name, peer in peers.items() if not peer.failure))
    )  # fmt: skip


def main() -> None:
    """The table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--envs", type=Path, default=None, help="where the peers' environments are kept")
    parser.add_argument("--only", default="", help="services whose name holds this")
    given = parser.parse_args()
    services = [service for service in SERVICES if given.only in service.name]
    with tempfile.TemporaryDirectory() as temporary:
        folder = (given.envs or Path(temporary)).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        peers = {name: PeerEnvironment(folder, name) for name in ("vllm-sr-sim", "aiconfigurator")}
        rows = [row for service in services for row in rows_of(service, peers)]
        figures: dict[str, Any] = {
            "rows": [asdict(row) for row in rows],
            "peers": {name: peer.failure or peer.version for name, peer in peers.items()},
        }
        print(write("peers", figures, text(rows, peers)).read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
