"""An engine that the gateway starts on this machine by its own command, and ends with itself."""

from __future__ import annotations

import asyncio
import socket
import time

import aiohttp

from comptroller.errors import InputError
from comptroller.gateway.backends.openai import OpenaiBackend
from comptroller.gateway.config import ServiceConfig
from comptroller.launch import listening

LOADING_S = 3600.0
"""Longest until the engine is ready: it may fetch its weights first, 140 GB over 1 Gbit/s in twenty minutes."""
ASK_S = 0.5
"""Between two looks whether it is ready; against loads of seconds to minutes."""
STOP_S = 30.0
"""How long the engine may take to end when asked to, before it is made to."""


class CommandBackend(OpenaiBackend):
    """settings: `words`, the command without its address, and `engine`, which says by which flags it takes one (--host
    and --port without). It is well at /health."""

    def __init__(self, name: str, config: ServiceConfig, url: str) -> None:
        if unknown := sorted(config.settings.keys() - {"words", "engine"}):
            raise InputError(f"service {name}: no setting {unknown[0]!r}; there are words, engine")
        super().__init__(name, config, "http://127.0.0.1")
        self.words: list[str] = [str(word) for word in config.settings.get("words", ())]
        self.engine = str(config.settings.get("engine", "vllm"))
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Starts the command and waits until it is ready.

        Raises:
            InputError: it cannot be run, ended, or was not ready in time; says which.
        """
        await super().start()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self.words, *listening(self.engine, "127.0.0.1", int(port)), start_new_session=True
            )
        except OSError as error:
            raise InputError(f"service {self.name}: {' '.join(self.words[:3])}: {error.strerror}") from error
        self.url = f"http://127.0.0.1:{port}/v1/"
        latest = time.monotonic() + LOADING_S
        while not await self._well(f"http://127.0.0.1:{port}/health"):
            if self._process.returncode is not None:
                raise InputError(f"service {self.name}: its engine ended with exit code {self._process.returncode}")
            if time.monotonic() > latest:
                raise InputError(f"service {self.name}: its engine was not ready within {LOADING_S:g} s")
            await asyncio.sleep(ASK_S)

    async def _well(self, url: str) -> bool:
        assert self._session is not None
        try:
            async with self._session.get(url) as response:
                return response.status < 400
        except aiohttp.ClientError:
            return False

    async def stop(self) -> None:
        """Ends it."""
        await super().stop()
        if self._process is None or self._process.returncode is not None:
            return
        self._process.terminate()
        try:
            async with asyncio.timeout(STOP_S):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
