"""What is installed: versions, extras, facts."""

from __future__ import annotations

import platform
import re
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec

from comptroller import __version__
from comptroller.facts.digests import facts_digest
from comptroller.facts.reader import ids
from comptroller.report.facts import LISTS
from comptroller.report.sheet import ReportSheet, left

DEVELOPMENT = ("test", "docs", "notebooks")
"""Extras that no command needs."""


def installation() -> ReportSheet:
    """Version of Comptroller, Python and every dependency, with the extra it belongs to; counts of facts."""
    rows = [
        ("comptroller", __version__, ""),
        ("python", platform.python_version(), ""),
        ("machine", f"{platform.system()} {platform.machine()}", ""),
        *((name, _version(name), extra) for name, extra in dependencies()),
        *((kind, str(len(ids(kind))), "facts") for kind in LISTS),
        ("digest of the facts", facts_digest()[0][:16], "facts"),
        ("digest of the calibration", facts_digest()[1][:16], "facts"),
    ]
    columns = (left("what"), left("version", "version or count"), left("belongs_to", "belongs to"))
    return ReportSheet("Installation", columns, tuple(rows))


def dependencies() -> list[tuple[str, str]]:
    """Declared dependencies and the extra each belongs to (`core` for none); those of tests are left out."""
    declared = []
    for line in requires("comptroller") or []:
        requirement, _, condition = line.partition(";")
        extra = condition.partition("extra ==")[2].strip(" '\"") or "core"
        name = re.split(r"[^\w.-]", requirement.strip(), maxsplit=1)[0]
        if extra not in DEVELOPMENT:
            declared.append((name, extra))
    return declared


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed" if find_spec(package) is None else "unknown"
