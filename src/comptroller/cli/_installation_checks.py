"""What `comptroller doctor` looks at: one function per thing, a row of what it is, how it stands and what mends it."""

from __future__ import annotations

import os
import platform
import socket
import sys
from collections.abc import Iterator
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from comptroller import __version__
from comptroller.errors import InputError
from comptroller.facts.reader import ids
from comptroller.report.facts import LISTS
from comptroller.report.installation import dependencies
from comptroller.report.sheet import ReportSheet, left

OK, MISSING, WRONG = "ok", "missing", "wrong"

NEEDED_FOR = {
    "sim": "plan, simulate: the compiled event engine, some 60 times as fast",
    "tables": "Parquet and Zstandard: evidence, traces, --table x.parquet",
    "plot": "--png",
    "forecast": "fit forecasts: boosted trees, and the blend with them",
    "serve": "serve, books, fit calibration from a ledger",
    "postgres": "books in PostgreSQL",
    "prices": "what APIs ask, in plan, replay and books",
    "local": "serve --backend embedded, measure on a core of this machine",
    "quality": "measure quality",
    "kernels": "measure kernels",
    "sign": "books digest --sign",
    "ray": "plan --executor ray",
}
"""Extra -> the commands that need it."""

PYTHON = (3, 11)
"""The oldest Python that the package runs on."""

PORT = 8080
"""The port that `comptroller serve` takes unless it is told another."""


class InstallationCheck(NamedTuple):
    """One thing that was looked at. state: `OK`, `MISSING` (an extra that some commands need) or `WRONG`.

    says: what was found.  mend: what to do where it is not ok.
    """

    what: str
    state: str
    says: str
    mend: str = ""


def checks() -> Iterator[InstallationCheck]:
    """Everything that is looked at, in order."""
    yield python_check()
    yield from extra_checks()
    yield engine_check()
    yield weights_check()
    yield data_check()
    yield cache_check()
    yield port_check(PORT)
    facts = ", ".join(f"{len(ids(kind))} {kind}" for kind in LISTS if kind != "calibration")
    yield InstallationCheck("facts", OK, facts)


def checks_sheet(found: list[InstallationCheck]) -> ReportSheet:
    """The checks as a table."""
    columns = (left("what"), left("state"), left("says", "found"), left("mend", "to mend it"))
    return ReportSheet("Installation", columns, tuple(map(tuple, found)))


def python_check() -> InstallationCheck:
    """Python, the package and the machine."""
    says = f"comptroller {__version__}, Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    old = sys.version_info < PYTHON
    return InstallationCheck("versions", WRONG if old else OK, says, "Python 3.11 or newer" if old else "")


def extra_checks() -> Iterator[InstallationCheck]:
    """Each extra: whether its packages are there, and for which commands they are needed."""
    packages: dict[str, list[str]] = {}
    for name, extra in dependencies():
        packages.setdefault(extra, []).append(name)
    for extra, names in packages.items():
        absent = [name for name in names if not _is_there(name)]
        if extra == "core":
            mend = f"pip install {' '.join(absent)}" if absent else ""
            yield InstallationCheck("core", WRONG if absent else OK, ", ".join(absent or names), mend)
        elif extra in NEEDED_FOR:
            says = f"{NEEDED_FOR[extra]}" + (f" (not installed: {', '.join(absent)})" if absent else "")
            mend = f"pip install 'comptroller[{extra}]'" if absent else ""
            yield InstallationCheck(f"extra {extra}", MISSING if absent else OK, says, mend)


def _is_there(package: str) -> bool:
    return find_spec(package.replace("-", "_")) is not None


def engine_check() -> InstallationCheck:
    """Whether numba is there and compiles, and whether the event engine is compiled already."""
    from comptroller.serving.jit import COMPILED, cache_folder, entry

    if not COMPILED:
        slow = "plain Python: the event engine runs some 60 times slower, with equal results"
        return InstallationCheck("event engine", MISSING, slow, "pip install 'comptroller[sim]'")
    from numba.core.errors import NumbaError

    from comptroller.serving.kernel.loop import SOURCES

    try:
        entry(_one_more, [Path(__file__)])(1)
    except (NumbaError, RuntimeError, OSError, ImportError) as error:  # of numba, of LLVM, of the cache on disk
        return InstallationCheck("event engine", WRONG, f"numba does not compile: {error}", "NUMBA_DISABLE_JIT=1")
    kept = any(cache_folder(SOURCES).rglob("*.nbi"))
    says = "compiled" if kept else "numba compiles; the engine is compiled at the first plan, in about half a minute"
    return InstallationCheck("event engine", OK, says)


def _one_more(value: int) -> int:
    return value + 1


def weights_check() -> InstallationCheck:
    """The weights of the embedded model."""
    from comptroller.gateway.weights import INSTALL, shipped_weights

    try:
        return InstallationCheck("embedded model", OK, shipped_weights().name)
    except InputError:
        return InstallationCheck("embedded model", MISSING, "serve --backend embedded has no weights", INSTALL)


def data_check() -> InstallationCheck:
    """The folder of traces and evidence, where the environment names one."""
    root = os.environ.get("COMPTROLLER_DATA", "")
    if not root:
        return InstallationCheck("data", OK, "COMPTROLLER_DATA is not set: traces lie beside their workload")
    if not Path(root).is_dir():
        return InstallationCheck("data", WRONG, f"COMPTROLLER_DATA: {root} is no folder", "name a folder, or unset it")
    inner = ", ".join(name for name in ("traces", "evidence") if (Path(root) / name).is_dir())
    return InstallationCheck("data", OK, f"{root}: {inner or 'neither traces nor evidence'}")


def cache_check() -> InstallationCheck:
    """Whether the cache can be written."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    place = next(path for path in (home, *home.parents) if path.exists())
    if os.access(place, os.W_OK):
        return InstallationCheck("cache", OK, str(home / "comptroller"))
    return InstallationCheck("cache", WRONG, f"{place} cannot be written", "XDG_CACHE_HOME=FOLDER")


def port_check(port: int) -> InstallationCheck:
    """Whether a port of this machine is free."""
    with closing(socket.socket()) as trial:
        try:
            trial.bind(("127.0.0.1", port))
        except OSError:
            return InstallationCheck(f"port {port}", MISSING, "is taken", "comptroller serve --port 0")
    return InstallationCheck(f"port {port}", OK, "is free")
