"""Runs one check in a process of its own: a task as JSON on stdin, a score in [0, 1] as JSON on stdout.

Nothing of the package is imported: it runs by its path, without the environment.
"""

from __future__ import annotations

import json
import os
import re
import resource
import runpy
import sys
from typing import Any


def main() -> None:
    """Limits first, then the check."""
    task = json.load(sys.stdin)
    limits = {
        resource.RLIMIT_CPU: int(task["seconds"]) + 1,
        resource.RLIMIT_AS: task["memory_bytes"],
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
    }
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the check prints is no answer
    for kind, most in limits.items():
        resource.setrlimit(kind, (most, most))
    out.write(json.dumps(float(verdict(task))))
    out.flush()


def verdict(task: dict[str, Any]) -> float:
    """The score of a task."""
    content = task["content"]
    if "regex" in task:
        return float(re.search(task["regex"], content) is not None)
    if "json_schema" in task:
        return _holds(content, task["json_schema"])
    file, _, name = task["python"].rpartition(":")
    return float(runpy.run_path(file)[name](content, **task["arguments"]))


def _holds(content: str, schema: Any) -> float:
    from jsonschema import ValidationError, validate

    try:
        validate(json.loads(content), schema)
    except (ValidationError, ValueError):
        return 0.0
    return 1.0


if __name__ == "__main__":
    main()
