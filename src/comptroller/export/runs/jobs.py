"""Slurm, SkyPilot and Kubernetes: a job around the command of the plan's program."""

from __future__ import annotations

from comptroller.export import _yaml, slug
from comptroller.export.runs.axolotl import axolotl_files
from comptroller.export.runs.ds_config import deepspeed_files
from comptroller.export.runs.llm_foundry import llm_foundry_files
from comptroller.export.runs.megatron import NODE_DEVICES, megatron_files
from comptroller.export.runs.torchtitan import torchtitan_files
from comptroller.export.skypilot import ACCELERATORS
from comptroller.quantities import DAY_S, HOUR_S
from comptroller.training.plan_document import TrainingPlan

SLACK = 1.25
"""Time limit over the upper end of the predicted time: a queue ends what runs longer; at twice the slack it fits fewer
gaps of the queue."""


def program_files(plan: TrainingPlan) -> dict[str, str]:
    """The files of the plan's own program, with a script `train.sh`; adapters are trained by axolotl.

    Raises:
        UnsupportedError: as the program's own target.
    """
    if plan.adapter:
        return axolotl_files(plan)
    if plan.program == "torchtitan":
        return torchtitan_files(plan)
    if plan.program == "llm_foundry":
        return {**llm_foundry_files(plan), "train.sh": _composer_script(plan)}
    if plan.program.startswith("megatron_deepspeed"):
        return {**deepspeed_files(plan), **megatron_files(plan)}
    return megatron_files(plan)


def _composer_script(plan: TrainingPlan) -> str:
    """A script that starts one node of llm-foundry by Composer's launcher, which is told its ranks."""
    _, each = node_counts(plan)
    launch = (
        f'composer --nproc {each} --world_size {plan.run.devices} --node_rank "$NODE_RANK" '
        f"--base_rank $(({each} * NODE_RANK)) "
        '--master_addr "${MASTER_ADDR:-localhost}" --master_port 29500'
    )
    script = "llm-foundry/scripts/train/train.py train.yaml"
    return f"#!/usr/bin/env bash\nset -euo pipefail\nNODE_RANK=${{NODE_RANK:-0}}\n{launch} {script}\n"


def node_counts(plan: TrainingPlan) -> tuple[int, int]:
    """Nodes of the run, and devices of each."""
    each = min(plan.run.devices, NODE_DEVICES)
    return -(-plan.run.devices // each), each


def limit_s(plan: TrainingPlan) -> float:
    """Seconds after which the job may be ended."""
    return SLACK * (plan.run.wall_s.high or plan.run.wall_s.value)


def slurm_files(plan: TrainingPlan) -> dict[str, str]:
    """A batch script beside the program's files; raises as `program_files`."""
    nodes, each = node_counts(plan)
    days, rest = divmod(limit_s(plan), DAY_S)
    lines = [
        "#!/usr/bin/env bash",
        f"#SBATCH --job-name={slug(plan.name)}",
        f"#SBATCH --nodes={nodes}",
        "#SBATCH --ntasks-per-node=1",
        f"#SBATCH --gpus-per-node={each}",
        "#SBATCH --exclusive",
        "#SBATCH --requeue",
        f"#SBATCH --time={int(days)}-{int(rest // HOUR_S):02d}:00:00",
        "set -euo pipefail",
        'export MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n1)',
        "srun bash -c 'NODE_RANK=$SLURM_NODEID bash train.sh'",
    ]
    return {**program_files(plan), "job.sbatch": "\n".join(lines) + "\n"}


def skypilot_files(plan: TrainingPlan) -> dict[str, str]:
    """A task, `sky jobs launch job.yaml`, beside the program's files; raises as `program_files`."""
    nodes, each = node_counts(plan)
    names = ACCELERATORS.get(plan.run.accelerator, (plan.run.accelerator.upper(),))
    run = 'export NODE_RANK=$SKYPILOT_NODE_RANK MASTER_ADDR=$(echo "$SKYPILOT_NODE_IPS" | head -n1)\nbash train.sh\n'
    task = {
        "name": slug(plan.name),
        "num_nodes": nodes,
        "workdir": ".",
        "resources": {"accelerators": dict.fromkeys(names, each), "use_spot": plan.run.term == "spot"},
        "run": run,
    }
    return {**program_files(plan), "job.yaml": _yaml.document(task, ["sky jobs launch job.yaml"])}


def kubernetes_files(plan: TrainingPlan) -> dict[str, str]:
    """A PyTorchJob of the Kubeflow training operator beside the program's files; raises as `program_files`.

    The operator numbers pods over master and workers in $RANK; a config map is not writable, so its files are copied.
    """
    nodes, each = node_counts(plan)
    files = program_files(plan)
    resource = "amd.com/gpu" if plan.run.accelerator.startswith("mi") else "nvidia.com/gpu"

    def replicas(count: int) -> dict[str, object]:
        container = {
            "name": "pytorch",
            "image": "IMAGE",
            "command": ["bash", "-c", "cp /run/* . && NODE_RANK=$RANK bash train.sh"],
            "resources": {"limits": {resource: each}},
            "volumeMounts": [{"name": "run", "mountPath": "/run"}],
        }
        spec = {"containers": [container], "volumes": [{"name": "run", "configMap": {"name": slug(plan.name)}}]}
        return {"replicas": count, "restartPolicy": "OnFailure", "template": {"spec": spec}}

    groups = {"Master": replicas(1), **({"Worker": replicas(nodes - 1)} if nodes > 1 else {})}
    job = {
        "apiVersion": "kubeflow.org/v1",
        "kind": "PyTorchJob",
        "metadata": {"name": slug(plan.name)},
        "spec": {"runPolicy": {"activeDeadlineSeconds": round(limit_s(plan))}, "pytorchReplicaSpecs": groups},
    }
    named = " ".join(f"--from-file={name}" for name in files)
    says = [f"kubectl create configmap {slug(plan.name)} {named}; set IMAGE; kubectl apply -f job.yaml"]
    return {**files, "job.yaml": _yaml.document(job, says)}
