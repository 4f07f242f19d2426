"""`--on` and `--resume`: where a search is worked on, and where its finished parts are kept."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from comptroller import __version__
from comptroller.errors import InputError
from comptroller.facts.digests import facts_digest
from comptroller.planning.ground.executor import (
    AdaptiveExecutor,
    CachingExecutor,
    ProcessExecutor,
    SearchExecutor,
    executor,
)
from comptroller.work.workload import Workload


@contextmanager
def executor_of(asked: Workload, on: str, resume: bool) -> Iterator[SearchExecutor]:
    """The executor of a name, or one that fits the work; parts are kept until a plan is found.

    Raises:
        UnknownIdError: there is no such executor.
        InputError: the cache folder cannot be written.
    """
    chosen = executor(on) if on else AdaptiveExecutor(ProcessExecutor())
    if not resume:
        yield chosen
        return
    folder = kept_in(asked)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--resume: {folder}: {error.strerror or error}") from error
    yield CachingExecutor(chosen, folder)
    shutil.rmtree(folder)


def kept_in(asked: Workload) -> Path:
    """The folder of a search's finished parts, named by the digest of the workload, the facts and the version."""
    sha = hashlib.sha256("".join((__version__, asked.digest, *facts_digest())).encode())
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "comptroller" / "plan" / sha.hexdigest()[:32]
