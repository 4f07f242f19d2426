"""Which version of an engine is installed on this machine, and whether a plan was made for it."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence

from comptroller.errors import InputError

ASKING_S = 120.0
"""Longest that a program may take to say its version: vLLM imports torch first, tens of seconds from a cold disk."""

_VERSION = re.compile(r"\d+(?:\.\d+)*")


def program_version(words: Sequence[str]) -> str:
    """The first dotted number that a program prints; empty where it is not installed, or says none.

    >>> program_version(["no-such-program", "--version"])
    ''
    """
    if shutil.which(words[0]) is None:
        return ""
    try:
        ran = subprocess.run(list(words), capture_output=True, text=True, timeout=ASKING_S, check=False)
    except subprocess.TimeoutExpired:
        return ""
    found = _VERSION.search(ran.stdout + ran.stderr) if ran.returncode == 0 else None
    return found[0] if found else ""


def require_planned(engine: str, planned: str, installed: str) -> None:
    """Refuse an engine that is not there, or of another version than the plan's flags and times are of.

    planned: as the engine's facts have it; a word such as "unstable" is any.

    Raises:
        InputError: says what is installed and what the plan was made for.

    >>> require_planned("vllm", "0.12", "0.12.1")
    """
    if not installed:
        raise InputError(
            f"the plan is for {engine} {planned}, which is not installed here; install it, or export the plan to where "
            "it is: comptroller show plan PLAN --export commands=FOLDER"
        )
    wanted = planned.removeprefix("v").split(".")
    if wanted[0].isdigit() and installed.split(".")[: len(wanted)] != wanted:
        raise InputError(
            f"the plan is for {engine} {planned}, and {installed} is installed here: its flags and times are of "
            f"another version; install {engine} {planned}, or plan with an engine file of version {installed}"
        )


def stands_for(image: str, planned: str, first: bool) -> bool:
    """Whether an image is of a planned version. first: there is none before it, so that it stands in for older ones.

    >>> stands_for("vllm/vllm-openai:v0.12.0", "0.12", False), stands_for("vllm/vllm-openai:v0.12.0", "0.13", False)
    (True, False)
    >>> stands_for("vllm/vllm-openai-rocm:v0.14.0", "0.12", True)
    True
    """
    found = _VERSION.search(image.rpartition(":")[2])
    if found is None:
        return False
    there, wanted = (tuple(map(int, text.split("."))) for text in (found[0], (_VERSION.search(planned) or found)[0]))
    return there[: len(wanted)] == wanted or (first and wanted < there)
