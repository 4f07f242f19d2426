"""The model's own process: llama.cpp's server on a free port of loopback. Ends when its stdin does.

Nothing of the package is imported: it runs by its path.
"""

from __future__ import annotations

import json
import os
import sys

import xllamacpp


def main() -> None:
    """Loads, says where it listens, waits."""
    settings = json.loads(sys.argv[1])
    params = xllamacpp.CommonParams()
    params.model.path, params.model_alias = settings["model"], [settings["name"]]
    params.n_ctx = settings["context_tokens"] * settings["slots"]
    params.n_parallel = settings["slots"]
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = settings["threads"]
    if settings["chunk_tokens"]:
        params.n_batch = settings["chunk_tokens"]
    if settings["cache"]:
        params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type[f"GGML_TYPE_{settings['cache'].upper()}"]
    params.api_keys = [os.environ["MODEL_KEY"]]
    params.port = 0
    params.warmup = params.fit_params = params.ui = False
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    sys.stdin.read()
    os._exit(0)  # nobody waits for what still runs


if __name__ == "__main__":
    main()
