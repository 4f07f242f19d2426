"""LeaderWorkerSet for Kubernetes: replicas that span nodes, as one group of pods each (lws.sigs.k8s.io, v1).

llm-d and Dynamo run their workers in such groups. A replica inside a node needs none: export it to kubernetes.
"""

from __future__ import annotations

from typing import Any

from comptroller.errors import UnsupportedError
from comptroller.export import PORT, ServiceLaunch, _yaml, kubernetes, service_launches
from comptroller.planning.ground.plan_document import Plan

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
    group = {"leaderworkerset.sigs.k8s.io/name": run.name, "leaderworkerset.sigs.k8s.io/worker-index": "0"}
    says = (f"{run.service.id}: needs LeaderWorkerSet, github.com/kubernetes-sigs/lws",)
    return "---\n".join((_yaml.document(kubernetes.address_of(run.name, group), says), _yaml.document(_group(run))))


def _group(run: ServiceLaunch) -> dict[str, Any]:
    """The set: each replica a leader and its workers, from one template."""
    pod = kubernetes.pod_of(run, run.name)
    (container,) = pod["containers"]
    ranks = [{"name": "RANK", "value": f"$({RANK})"}, {"name": "LEADER", "value": f"$({LEADER})"}]
    container["env"] = [item for item in container["env"] if item["name"] not in {"RANK", "LEADER"}] + ranks
    about = {"comptroller/service": run.service.id, "comptroller/price": run.price}
    return {
        "apiVersion": "leaderworkerset.x-k8s.io/v1", "kind": "LeaderWorkerSet",
        "metadata": {"name": run.name, "annotations": about},
        "spec": {
            "replicas": run.pool.replicas,
            "leaderWorkerTemplate": {
                "size": run.nodes, "restartPolicy": "RecreateGroupOnPodRestart",
                "workerTemplate": {"metadata": {"labels": {"app": run.name, "port": str(PORT)}}, "spec": pod},
            },
        },
    }  # fmt: skip
