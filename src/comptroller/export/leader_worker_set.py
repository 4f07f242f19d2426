"""LeaderWorkerSet for Kubernetes: replicas that span nodes, as one group of pods each (lws.sigs.k8s.io, v1).

llm-d and Dynamo run their workers in such groups. A replica inside a node needs none: export it to kubernetes.
"""

from __future__ import annotations

from typing import Any

from comptroller.errors import UnsupportedError
from comptroller.export import PORT, ServiceLaunch, _yaml, kubernetes, service_launches
from comptroller.planning.ground.plan_document import Plan

LABEL = "leaderworkerset.sigs.k8s.io"
"""Prefix of the labels that LeaderWorkerSet gives its pods: name, group-index, worker-index."""

LEADER, RANK = "LWS_LEADER_ADDRESS", "LWS_WORKER_INDEX"
"""Variables that LeaderWorkerSet puts into every container of a group."""


def files(plan: Plan) -> dict[str, str]:
    """One manifest for each service that spans nodes, and a plain one for the others.

    Raises:
        UnsupportedError: no service spans nodes.
    """
    runs = service_launches(plan)
    if all(run.nodes == 1 for run in runs):
        raise UnsupportedError(f"{plan.name}: no replica spans nodes; export it to kubernetes")
    plain = kubernetes.files(plan)
    wide = {f"{run.name}.yaml": _manifest(run) for run in runs if run.nodes > 1}
    return plain | wide


def _manifest(run: ServiceLaunch) -> str:
    leaders = {f"{LABEL}/name": _set_name(run), f"{LABEL}/worker-index": "0"}
    says = (f"{run.service.id}: needs LeaderWorkerSet, github.com/kubernetes-sigs/lws", *run.routing_says)
    one_by_one = [
        kubernetes.address_of(name, {**leaders, f"{LABEL}/group-index": str(number)})
        for number, name in enumerate(run.replica_names if run.routing else ())
    ]
    objects = (kubernetes.address_of(run.name, leaders), *one_by_one, _group(run))
    return "---\n".join(_yaml.document(item, () if number else says) for number, item in enumerate(objects))


def _set_name(run: ServiceLaunch) -> str:
    """Not the Service's: LeaderWorkerSet makes a headless one of the set's own name, by which leaders are found."""
    return f"{run.name}-group"


def _group(run: ServiceLaunch) -> dict[str, Any]:
    """The set: each replica a leader and its workers, from one template."""
    pod = kubernetes.pod_of(run, run.name)
    (container,) = pod["containers"]
    ranks = [{"name": "RANK", "value": f"$({RANK})"}, {"name": "LEADER", "value": f"$({LEADER})"}]
    container["env"] = [item for item in container["env"] if item["name"] not in {"RANK", "LEADER"}] + ranks
    return {
        "apiVersion": "leaderworkerset.x-k8s.io/v1", "kind": "LeaderWorkerSet",
        "metadata": {"name": _set_name(run), "annotations": kubernetes.about_of(run)},
        "spec": {
            "replicas": run.pool.replicas,
            "leaderWorkerTemplate": {
                "size": run.nodes, "restartPolicy": "RecreateGroupOnPodRestart",
                "workerTemplate": {"metadata": {"labels": {"app": run.name, "port": str(PORT)}}, "spec": pod},
            },
        },
    }  # fmt: skip
