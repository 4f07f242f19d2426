"""From Kubernetes manifests to the lines that their containers start; what starts no engine is named."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from comptroller.errors import InputError

KINDS = ("Deployment", "StatefulSet", "LeaderWorkerSet")
"""Objects whose containers are read."""

NO_ENGINE = ("Service", "ConfigMap", "Secret", "PersistentVolumeClaim", "Namespace", "ServiceAccount", "Ingress")
"""Objects that start nothing and are passed over."""

LABEL = "comptroller/accelerator"
"""Label of nodes by which our own manifests choose an accelerator."""

_SPANS = re.compile(r"--nnodes[ =]")


@dataclass(frozen=True, slots=True)
class ManifestReading:
    """lines: name, replicas, the accelerator's label where there is one, the line.  remarks: what was not read."""

    lines: tuple[tuple[str, int, str, str], ...]
    remarks: tuple[str, ...]


def lines_of_manifest(documents: Sequence[Any], starts: Callable[[str], bool]) -> ManifestReading:
    """The launch lines of Deployments, StatefulSets and LeaderWorkerSets.

    starts: whether a line starts an engine that is known.

    Raises:
        InputError: none of them starts one, or a number of replicas is no number.
    """
    lines, remarks = [], []
    for document in _objects(documents):
        kind, name = str(document.get("kind")), str((document.get("metadata") or {}).get("name", ""))
        if kind not in KINDS:
            remarks += [] if kind in NO_ENGINE else [f"not read: {kind} {name}; read are {', '.join(KINDS)}"]
            continue
        pod = _pod(document)
        label = str((pod.get("nodeSelector") or {}).get(LABEL, ""))
        for container in pod.get("containers") or ():
            line = _container_line(container)
            if starts(line):
                lines.append((name, _replicas(document, line), label, line))
            else:
                remarks.append(f"not read: container {container.get('name', '')} of {kind} {name}: {line[:60]!r}")
    if not lines:
        said = "; ".join(remarks)
        raise InputError(f"no {', '.join(KINDS)} of the manifest has a container that starts a known engine. {said}")
    return ManifestReading(tuple(lines), tuple(remarks))


def _objects(documents: Sequence[Any]) -> Iterator[Mapping[str, Any]]:
    """Objects, those inside a list of `kubectl get -o json` among them."""
    for document in documents:
        if isinstance(document, dict):
            yield from _objects(document["items"]) if isinstance(document.get("items"), list) else (document,)


def _pod(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """The pod of a replica, or of its first node."""
    spec = document.get("spec") or {}
    group = spec.get("leaderWorkerTemplate") or {}
    template = group.get("leaderTemplate") or group.get("workerTemplate") or spec.get("template") or {}
    return template.get("spec") or {}


def _replicas(document: Mapping[str, Any], line: str) -> int:
    """Replicas of an object: pods of a StatefulSet whose line spans nodes are one.

    Raises:
        InputError: it is no whole number.
    """
    count = (document.get("spec") or {}).get("replicas")
    if count is not None and (not isinstance(count, int) or isinstance(count, bool) or count < 0):
        name = (document.get("metadata") or {}).get("name", "")
        raise InputError(f"{document.get('kind')} {name}: spec.replicas is {count!r}; a whole number is allowed")
    return 1 if count is None or (document["kind"] == "StatefulSet" and _SPANS.search(line)) else count


def _container_line(container: Mapping[str, Any]) -> str:
    """The line that a container starts, its variables before it; an image's own start where it has no command."""
    command, words = ([str(word) for word in container.get(key) or ()] for key in ("command", "args"))
    whole = [*command, *words]
    stated = [x for x in container.get("env") or () if isinstance(x, dict) and "value" in x]
    variables = " ".join(f"{x.get('name')}={shlex.quote(str(x['value']))}" for x in stated)
    if len(whole) == 3 and whole[0].rpartition("/")[2] in {"sh", "bash"} and whole[1].startswith("-"):
        return f"export {variables}\n{whole[2]}" if variables else whole[2]
    start = [] if command else ["docker", "run", str(container.get("image", ""))]
    return f"{variables} {shlex.join([*start, *whole])}".strip()
