"""A real small model on this machine's CPU: SmolLM2-135M-Instruct in llama.cpp, in a process of its own.

Its process may be killed or starve without harm to the gateway: it is started again at the next call. One thread by
default: on a busy machine two spin on each other's barriers and come to a tenth of the speed of one.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import sys
import time
from collections.abc import AsyncIterator, Callable
from importlib.util import find_spec
from math import isnan
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from comptroller.costs.carbon import CORE_W, CallEnergy
from comptroller.errors import InputError
from comptroller.gateway.backends import CallEnergyMeter
from comptroller.gateway.backends.openai import OpenaiBackend
from comptroller.gateway.config import ServiceConfig
from comptroller.gateway.problems import UpstreamError
from comptroller.gateway.weights import weights_in_format

Json = dict[str, Any]

CHILD = Path(__file__).parents[1] / "model_child.py"
START_S = 60.0
"""Longest until its process listens: a start takes one to two seconds (docs/gateway.md), on a starved machine far more.
At twice it a start that hangs is reported a minute later."""
CONTEXT_TOKENS = 2048
"""Of each slot; the cache of all slots is allocated at the start, so that twice it takes twice the memory."""
SETTINGS = {"format", "threads", "slots", "file", "context_tokens", "chunk_tokens", "cache"}


class EmbeddedBackend(OpenaiBackend):
    """settings: `format`, q8_0 if it was made (`python -m comptroller.gateway.weights`) or q4_1 as shipped; `threads`;
    `slots`, generations side by side; `file`, other weights in GGUF; `context_tokens` of a slot; `chunk_tokens` of a
    step; `cache`, its type in llama.cpp's words."""

    reuses_streams = False  # its server hangs up after a stream without a word, and the next call would break off

    def __init__(self, name: str, config: ServiceConfig, url: str) -> None:
        unknown = sorted(config.settings.keys() - SETTINGS)
        if unknown:
            raise InputError(f"service {name}: no setting {unknown[0]!r}; there are {', '.join(sorted(SETTINGS))}")
        super().__init__(name, config, "http://127.0.0.1")
        self.threads, self.slots = (int(config.settings.get(key, most)) for key, most in (("threads", 1), ("slots", 8)))
        self.worst_j = config.total_s * self.threads * CORE_W[2]
        self._secret = secrets.token_urlsafe(24)
        self._process: asyncio.subprocess.Process | None = None
        self._starting = asyncio.Lock()
        self._cpu = SharedCpuCounter(self._cpu_s)

    @staticmethod
    def filled(config: ServiceConfig) -> ServiceConfig:
        """What holds of this engine whatever the configuration says."""
        context_tokens = int(config.settings.get("context_tokens", CONTEXT_TOKENS))
        settled = {"single_choice": True, "running_usage": True, "prefill": True, "context_tokens": context_tokens}
        return replace(config, **settled, endpoints=("chat", "completions"), dialect="llamacpp")

    def secret(self) -> str:
        """Made for this process: nobody else may use its port."""
        return self._secret

    async def start(self) -> None:
        """Starts the model's process.

        Raises:
            InputError: the engine or the weights are not installed; says how to install them.
        """
        await super().start()
        await self._launch()

    async def stop(self) -> None:
        """Ends it."""
        await super().stop()
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    async def _launch(self) -> None:
        if find_spec("xllamacpp") is None:
            raise InputError(f"service {self.name}: pip install 'comptroller[local]'")
        settings = {
            "model": str(self._weights()),
            "name": self.name,
            "threads": self.threads,
            "slots": self.slots,
            "context_tokens": self.config.context_tokens,
            "chunk_tokens": self.config.settings.get("chunk_tokens"),
            "cache": self.config.settings.get("cache"),
        }
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-I", str(CHILD), json.dumps(settings),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
            env={"MODEL_KEY": self._secret, "OMP_WAIT_POLICY": "passive", "PATH": os.environ.get("PATH", "")},
            start_new_session=True,
        )  # fmt: skip
        self._cpu.restart()
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(START_S):
                line = await self._process.stdout.readline()
        except TimeoutError:
            self._process.kill()
            line = b""
        if not line.startswith(b"http"):
            raise InputError(f"service {self.name}: the model did not start from {settings['model']}")
        self.url = line.decode().strip() + "/v1/"

    def _weights(self) -> Path:
        if file := self.config.settings.get("file"):
            weights = Path(str(file)).expanduser()
            if not weights.is_file():
                raise InputError(f"service {self.name}: settings.file: there is no {weights}")
            return weights
        return weights_in_format(str(self.config.settings.get("format", "")))

    async def _alive(self) -> None:
        """Starts the process again if it died."""
        async with self._starting:
            if self._process is None or self._process.returncode is not None:
                try:
                    await self._launch()
                except InputError as error:
                    raise UpstreamError(503, str(error)) from error

    async def send(self, path: str, body: Json) -> Json:
        """A whole reply."""
        await self._alive()
        return await super().send(path, body)

    async def stream(self, path: str, body: Json) -> AsyncIterator[list[bytes]]:
        """A reply's events."""
        await self._alive()
        async for data in super().stream(path, body):
            yield data

    def meter(self) -> CallEnergyMeter:
        """CPU seconds of the model's process, shared evenly by the calls it has at the time."""
        return CallCpuShare(self._cpu)

    def _cpu_s(self) -> float:
        """CPU seconds of the model's process so far; NaN where the system does not tell."""
        process = self._process
        if process is None or process.returncode is not None or not sys.platform.startswith("linux"):
            return float("nan")
        try:
            return time.clock_gettime((~process.pid) << 3 | 2)  # clock_getcpuclockid(3) of another process
        except OSError:
            return float("nan")


class SharedCpuCounter:
    """A counter of CPU seconds that is shared by those at work: all that is used while somebody works is somebody's.

    >>> seconds = iter([0.0, 2.0, 6.0, 7.0])
    >>> cpu = SharedCpuCounter(lambda: next(seconds))
    >>> first = CallCpuShare(cpu); second = CallCpuShare(cpu); _ = first.end(None); _ = second.end(None)
    >>> first.cpu_s, second.cpu_s
    (4.0, 3.0)
    """

    def __init__(self, read: Callable[[], float]) -> None:
        self._read = read
        self._last_s = float("nan")
        self.there = False
        self.working: list[CallCpuShare] = []

    def restart(self) -> None:
        """The counter begins at 0 again: its process is another one."""
        self._last_s = 0.0

    def turn(self) -> None:
        """Shares out what was used since the last turn."""
        now = self._read()
        self.there = not isnan(now)
        for share in self.working:
            if self.there or share.counted:  # what a process took that died since is not known
                share.cpu_s += (now - self._last_s) / len(self.working)
            share.counted = share.counted or self.there
        self._last_s = now


class CallCpuShare:
    """One call's share."""

    def __init__(self, cpu: SharedCpuCounter) -> None:
        cpu.turn()
        self._cpu, self.cpu_s, self.counted = cpu, 0.0, cpu.there
        cpu.working.append(self)

    def end(self, timings: Json | None) -> CallEnergy:
        """Joules of the share; prefill and decode by the engine's own clock, all decode where it does not tell."""
        self._cpu.turn()
        self._cpu.working.remove(self)
        clock = timings or {}
        prompt, decode = float(clock.get("prompt_ms", 0.0)), float(clock.get("predicted_ms", 1.0))
        part = prompt / (prompt + decode) if prompt + decode > 0 else 0.0
        low, value, high = (self.cpu_s * watts for watts in CORE_W)
        return CallEnergy(value * part, value * (1 - part), low, high, source="predicted")
