"""CPU time of prompts of a few tokens in llama.cpp on one core: what one vector costs, what two to eight cost.

`python benchmarks/cpu_tiles.py` starts the model that comes with the extra `local` and asks for one token after prompts
of drawn token ids. Seconds are those of its process, so that what else the machine does hardly shows; the least of
several is kept, for what disturbs only adds. The width of a tile in `facts/engines/llama_cpp.toml` is read off them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

import record
from comptroller.costs.tiles import tile_vectors
from comptroller.facts.engine import engine_facts
from comptroller.gateway import model_child
from comptroller.gateway.weights import weights_in_format

TOKENS = (1, 2, 3, 4, 5, 6, 8, 12, 16, 24, 32, 48, 64)
ROUNDS = 8
KEY = "local"
VOCABULARY = (1000, 20000)
"""Ids that are drawn: words, none of them a mark of the chat template."""


class CountedServer:
    """The model's process, asked by HTTP and timed by its own clock."""

    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        self._url, self._clock = url, (~process.pid) << 3 | 2  # clock_getcpuclockid(3) of another process

    def cpu_s(self, prompt: list[int]) -> float:
        """CPU seconds of a prompt and one token."""
        body = {"prompt": prompt, "n_predict": 1, "cache_prompt": False, "temperature": 0}
        headers = {"content-type": "application/json", "authorization": f"Bearer {KEY}"}
        request = urllib.request.Request(f"{self._url}/completion", json.dumps(body).encode(), headers)
        begun = time.clock_gettime(self._clock)
        with urllib.request.urlopen(request, timeout=60) as reply:
            reply.read()
        return time.clock_gettime(self._clock) - begun


@contextmanager
def server() -> Iterator[CountedServer]:
    settings = {
        "model": str(weights_in_format("q8_0")), "name": "m", "threads": 1, "slots": 1, "context_tokens": 512,
        "chunk_tokens": 512, "cache": "f16",
    }  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-I", model_child.__file__, json.dumps(settings)], stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        env={"MODEL_KEY": KEY, "OMP_WAIT_POLICY": "passive", "PATH": os.environ.get("PATH", "")},
    )  # fmt: skip
    assert process.stdout is not None
    try:
        yield CountedServer(process, process.stdout.readline().strip())
    finally:
        process.kill()
        process.wait()


def main() -> None:
    rng, least = np.random.default_rng(0), dict.fromkeys(TOKENS, np.inf)
    with server() as engine:
        engine.cpu_s([VOCABULARY[0]] * 4)
        for _ in range(ROUNDS):
            for count in TOKENS:
                least[count] = min(least[count], engine.cpu_s(rng.integers(*VOCABULARY, count).tolist()))
    width = engine_facts("llama_cpp").tile_vectors
    long = [count for count in TOKENS if count >= 2 * width]
    each_s = np.polyfit(long, [least[count] for count in long], 1)[0]
    rows = [
        [str(count), f"{1e3 * least[count]:.1f}", f"{1e3 * least[count] / count:.1f}",
         f"{1e3 * each_s * float(tile_vectors(count, width)):.1f}" if count > 1 else "–"]
        for count in TOKENS
    ]  # fmt: skip
    text = [
        "# What a few vectors cost on a CPU",
        "SmolLM2 135M in Q8_0, llama.cpp, one core: CPU time of a prompt and one token, ms, least of "
        f"{ROUNDS}; beside it the slope of prompts of {long[0]} tokens and more, {1e3 * each_s:.2f} ms a token, times "
        f"n + {width - 1} (`costs.tiles`; `python benchmarks/cpu_tiles.py`).",
        record.table(("tokens", "ms", "ms a token", "by tiles"), rows),
        "One token is multiplied by dot products, two or more by tiles (llamafile/sgemm.cpp), which unpack a matrix "
        f"once however many columns there are: as much as {width - 1} more of them.",
    ]
    figures = {"ms": {str(count): round(1e3 * found, 2) for count, found in least.items()}, "ms_a_token": each_s * 1e3}
    print(record.write("cpu_tiles", figures, "\n\n".join(text), (*record.PACKAGES, "xllamacpp")))


if __name__ == "__main__":
    main()
