"""One core of this machine as an accelerator: what it reads from memory and multiplies in a second, measured.

A device is a core, for an engine on the CPU is planned with one thread: on a machine that others use, two threads wait
for each other. Cores share the memory's bandwidth, which is measured with one of them at work.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from comptroller import __version__
from comptroller.costs.carbon import CORE_W
from comptroller.errors import InputError
from comptroller.quantities import to_si

FAMILIES: Mapping[str, str] = {"x86_64": "x86", "amd64": "x86", "aarch64": "arm", "arm64": "arm"}
"""Family of a core by the machine's own name of its architecture."""

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
"""Variables that the libraries of linear algebra under numpy read once, when they are loaded."""

GB = to_si(1.0, "GB")[0]

CHILD_S = 120.0
"""Longest that the measurement may take: it works for two seconds, and twenty times as long on a busy machine."""

_PROBE = """
import json, time
import numpy as np
rng = np.random.default_rng(0)
weights = rng.random(2**27 // 4, dtype=np.float32)
one = rng.random((1536, 1536), dtype=np.float32)
def least(work):
    seconds = []
    for _ in range(7):
        begun = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - begun)
    return min(seconds)
vector = rng.random(2048, dtype=np.float32)
matrix = weights.reshape(-1, 2048)
print(json.dumps({"read_s": least(lambda: matrix @ vector), "bytes": weights.nbytes,
                  "product_s": least(lambda: one @ one), "flops": 2 * 1536**3}))
"""
"""A matrix of 128 MiB, which no cache holds, times a vector; a product that stays in cache. The least of seven: what
disturbs only ever makes it longer."""


@dataclass(frozen=True, slots=True)
class HostMeasurement:
    """One core of a machine. name: as the system tells it.  memory_bytes: of the machine, divided by its cores."""

    name: str
    vendor: str
    family: str
    cores: int
    memory_bytes: float
    bytes_per_s: float
    flops_per_s: float

    def as_toml(self, command: str, today: date) -> str:
        """The fact of an accelerator, to be named by its path in a workload."""
        said = 'source = "measured"'
        rate = f'{{ value = {self.flops_per_s / 1e9:.4g}, unit = "Gflop/s", {said}'
        lines = [
            f"name = {json.dumps(f'one core of {self.name}')}",
            f"vendor = {json.dumps(self.vendor)}",
            f'family = "{self.family}"',
            'kind = "cpu"',
            f"released = {today}",
            f"node_devices = {self.cores}",
            f'memory_bytes = {{ value = {self.memory_bytes / GB:.4g}, unit = "GB", {said}, '
            f'note = "of the machine, for each of its {self.cores} cores" }}',
            f'memory_bytes_per_s = {{ value = {self.bytes_per_s / GB:.4g}, unit = "GB/s", {said}, '
            'note = "read by one core while the others rest" }',
            f'tdp_w = {{ value = {CORE_W[1]:g}, unit = "W", source = "green", note = "any core; not measured" }}',
            f'note = "A core of a machine, measured on {today}: the date of release is that day"',
            "",
            "[peak_flops_per_s]",
            f"fp32 = {rate} }}",
            f'bf16 = {rate}, note = "computed in fp32, to which 16 bits are widened" }}',
            "",
            "[sources.measured]",
            f"title = {json.dumps(f'{command}, comptroller {__version__}')}",
            'url = ""',
            f"date = {today}",
            'licence = ""',
            "",
            "[sources.green]",
            'title = "Green Algorithms, data/latest/TDP_cpu.csv: thermal design power by core, \\"Any\\""',
            'url = "https://github.com/GreenAlgorithms/green-algorithms-tool"',
            "date = 2026-11-21",
            'licence = "CC-BY-4.0"',
            "",
        ]
        return "\n".join(lines)


def measure() -> HostMeasurement:
    """Measure a core in a process of its own, whose linear algebra has one thread.

    Raises:
        InputError: the architecture is none of `FAMILIES`, or the measurement did not end.
    """
    machine = platform.machine().lower()
    if machine not in FAMILIES:
        raise InputError(f"measure host: architecture {machine!r} is not known; known: {', '.join(FAMILIES)}")
    try:
        ran = subprocess.run(
            [sys.executable, "-c", _PROBE], env=os.environ | dict.fromkeys(THREADS, "1"), capture_output=True,
            timeout=CHILD_S, check=True,
        )  # fmt: skip
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        raise InputError(f"measure host: {error}") from error
    found = json.loads(ran.stdout)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    name = _line_of("model name") or platform.processor() or machine
    return HostMeasurement(
        name=name,
        vendor=_vendor(name),
        family=FAMILIES[machine],
        cores=cores,
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / cores,
        bytes_per_s=found["bytes"] / found["read_s"],
        flops_per_s=found["flops"] / found["product_s"],
    )


def _vendor(name: str) -> str:
    """Who made it, as far as its name tells."""
    return next((vendor for vendor in ("Intel", "AMD", "Apple", "Ampere") if vendor in name), "unknown")


def _line_of(key: str) -> str:
    """A line of /proc/cpuinfo; empty where there is none."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "")
