"""Where the parts of a large search are worked on: here, in processes of this machine, or on a Ray cluster."""

from __future__ import annotations

import hashlib
import os
import pickle
import signal
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from pathlib import Path
from threading import Thread
from typing import Any, Protocol, TypeVar

from comptroller.errors import UnknownIdError, UnsupportedError

P = TypeVar("P")
R = TypeVar("R")
Work = Callable[[P], R]
"""Done to each part alone, the same wherever it is done: a picklable callable with all that the parts share."""


Progress = Callable[[int, int], None]
"""Told how much is done of how much."""


def no_progress(done: int, total: int) -> None:
    """Say nothing."""


class PlanProgress(Protocol):
    """Told how a plan comes along: how much of a count is done, and what is being done since."""

    def __call__(self, done: int, total: int) -> None:
        """So much is done of so much."""
        ...

    def phase(self, what: str) -> None:
        """Something else is being done now, or more of the same is."""
        ...


class SilentProgress:
    """Says nothing."""

    def __call__(self, done: int, total: int) -> None:
        """See `PlanProgress`."""

    def phase(self, what: str) -> None:
        """See `PlanProgress`."""


SILENT = SilentProgress()


class SearchExecutor(Protocol):
    """Does a work to parts."""

    def map(self, work: Work[P, R], parts: Sequence[P]) -> Generated[R]:
        """Place and result of each part, as they are finished; closing the generator calls the rest off."""
        ...


Generated = Generator[tuple[int, R], None, None]


def gather(executor: SearchExecutor, work: Work[P, R], parts: Sequence[P], progress: Progress) -> list[R]:
    """Results in the order of the parts, which is the same for every executor; progress is told (done, total)."""
    results: dict[int, R] = {}
    with closing(executor.map(work, parts)) as finished:
        for place, result in finished:
            results[place] = result
            progress(len(results) - 1, len(parts))
    return [results[place] for place in range(len(parts))]


def side_by_side(tasks: Iterable[Callable[[], R]]) -> list[R]:
    """What tasks return, in their order, each in a thread, one per core: for programs, which HiGHS solves outside the
    interpreter's lock."""
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        return list(pool.map(_call_it, tasks))


def _call_it(task: Callable[[], R]) -> R:
    return task()


@dataclass(frozen=True)
class LocalExecutor:
    """One part after the other, in this process."""

    def map(self, work: Work[P, R], parts: Sequence[P]) -> Generated[R]:
        """See `SearchExecutor`."""
        for place, part in enumerate(parts):
            yield place, work(part)


HERE = LocalExecutor()


@dataclass(frozen=True)
class ProcessExecutor:
    """Processes of this machine, one per core where `workers` is 0; none outlives the work, nor this process."""

    workers: int = 0

    def map(self, work: Work[P, R], parts: Sequence[P]) -> Generated[R]:
        """See `SearchExecutor`. What is called off ends with the parts at work: a worker that is killed while it
        sends a result would leave its reader waiting for the rest.

        Raises:
            UnsupportedError: a process ended abruptly.
        """
        count = min(self.workers or os.cpu_count() or 1, max(len(parts), 1))
        pool = ProcessPoolExecutor(count, get_context("spawn"), _receive, (pickle.dumps(work),))
        try:
            places = {pool.submit(_do, part): place for place, part in enumerate(parts)}
            for done in as_completed(places):
                yield places[done], done.result()
        except BrokenProcessPool as error:
            raise UnsupportedError(
                "a worker process ended abruptly, perhaps for want of memory; try --executor here"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


_work: Work[Any, Any] | None = None


def _receive(work: bytes) -> None:
    """Make a worker ready: Ctrl-C is the parent's to handle, and nobody works on for a parent that is gone."""
    global _work  # noqa: PLW0603
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_follow, daemon=True).start()
    _work = pickle.loads(work)


def _follow() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _do(part: Any) -> Any:
    assert _work is not None
    return _work(part)


@dataclass(frozen=True)
class RayExecutor:
    """Tasks of a Ray cluster: that of $RAY_ADDRESS, one that runs on this machine, or a new one while the work lasts.

    The package travels with the work, so that facts and code are the same everywhere.
    """

    def map(self, work: Work[P, R], parts: Sequence[P]) -> Generated[R]:
        """See `SearchExecutor`.

        Raises:
            UnsupportedError: Ray is not installed.
        """
        try:
            import ray
        except ImportError as error:
            raise UnsupportedError("--executor ray needs the package ray: pip install 'comptroller[ray]'") from error
        started = not ray.is_initialized()
        if started:
            package = {"py_modules": [str(Path(__file__).parents[2])]}
            ray.init(log_to_driver=False, include_dashboard=False, logging_level="error", runtime_env=package)
        waiting: dict[Any, int] = {}
        try:
            shared, task = ray.put(work), ray.remote(_call)
            waiting = {task.remote(shared, part): place for place, part in enumerate(parts)}
            while waiting:
                (done, *_), _ = ray.wait(list(waiting))
                yield waiting.pop(done), ray.get(done)
        finally:
            for task in waiting:
                ray.cancel(task, force=True)
            if started:
                ray.shutdown()


def _call(work: Work[P, R], part: P) -> R:
    return work(part)


EXECUTORS: Mapping[str, Callable[[], SearchExecutor]] = {
    "here": LocalExecutor,
    "processes": ProcessExecutor,
    "ray": RayExecutor,
}


def executor(name: str) -> SearchExecutor:
    """The executor of a name.

    Raises:
        UnknownIdError: there is none; lists those there are.
    """
    if name not in EXECUTORS:
        raise UnknownIdError("executor", name, EXECUTORS)
    return EXECUTORS[name]()


ENOUGH = 32
"""Parts from which on starting processes is worth it: a part takes about a tenth of a second, a process a second."""


@dataclass(frozen=True)
class AdaptiveExecutor:
    """Little work here, much work by another executor."""

    large: SearchExecutor

    def map(self, work: Work[P, R], parts: Sequence[P]) -> Generated[R]:
        """See `SearchExecutor`."""
        return (self.large if len(parts) >= ENOUGH else LocalExecutor()).map(work, parts)


@dataclass(frozen=True)
class CachingExecutor:
    """Finished parts are kept in a folder, and taken from there the next time; a file is named by what was done."""

    executor: SearchExecutor
    folder: Path

    def map(self, work: Work[P, R], parts: Sequence[P]) -> Generated[R]:
        """See `SearchExecutor`."""
        self.folder.mkdir(parents=True, exist_ok=True)
        shared = hashlib.sha256(pickle.dumps(work)).digest()
        files = [self.folder / f"{hashlib.sha256(shared + pickle.dumps(part)).hexdigest()}.part" for part in parts]
        open_ = [place for place, file in enumerate(files) if not file.exists()]
        for place in sorted(set(range(len(parts))) - set(open_)):
            yield place, pickle.loads(files[place].read_bytes())
        with closing(self.executor.map(work, [parts[place] for place in open_])) as finished:
            for number, result in finished:
                _write_whole(files[open_[number]], pickle.dumps(result))
                yield open_[number], result


def _write_whole(file: Path, data: bytes) -> None:
    """Write a file so that nobody finds half of it."""
    part = file.with_suffix(f".{os.getpid()}")
    part.write_bytes(data)
    part.replace(file)
