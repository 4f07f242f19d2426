"""C4's claim by the fault model of training: 30 to 45 % efficiency from faster detection, isolation and restart.

Published (arXiv 2406.04594): of the time of a large job 31.19 % was lost to faults before, 1.16 % after; communication
costs 15 % less; efficiency rose from 30 to 45 %. The model (`costs/training_faults.py`: exponential faults, Daly's
interval between checkpoints) gives what is lost from the devices, the checkpoint and the time from a fault to training.
The same run is then simulated on its cluster (`comptroller cluster jobs --faults published --detect S`): faults drawn
by node, the job hanging until they are seen, broken nodes taken out for a day beside spares.
"""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass

import numpy as np

from comptroller.cluster.job_faults import JobFaults
from comptroller.cluster.job_simulation import JobCluster, JobSettings
from comptroller.cluster.job_table import WHOLE, JobTable
from comptroller.costs.fault_causes import C4D_S, WATCHDOG_S
from comptroller.costs.training_faults import (
    CHECKPOINT_BYTES,
    FAULT_DEVICE_S,
    RESTART_S,
    STORE_BYTES_PER_S,
    checkpoint_schedule,
)
from record import table, write

BEFORE, LOST_BEFORE, LOST_AFTER, AFTER = 0.30, 0.3119, 0.0116, 0.45
COMMUNICATION, SPARED = 0.30, 0.15
"""Share of a step that waits for the network where flows collide (a 22 B model on 512 devices lost 30 % of its
throughput to them), and how much less of it there is after."""
PARAMETERS, NODE_DEVICES = 175e9, 8
DEVICES = (1024, 2048, 4096)
WEEKS, SPARES = 8, 8
DETECT_S = (C4D_S, WATCHDOG_S, 14_400.0)
RESTARTS_H = (RESTART_S / 3600, 1.0, 4.0, 8.0)


@dataclass(frozen=True)
class FaultRow:
    """What the model says is lost. restart_h: from a fault to training.  efficiency: of 30 % before at 31.19 % lost."""

    devices: int
    restart_h: float
    faults_h: float
    lost: float
    efficiency: float


def row(devices: int, restart_h: float) -> FaultRow:
    """A run of 175 B parameters on so many devices at the fault rate of Llama 3's run."""
    write_s = PARAMETERS * CHECKPOINT_BYTES / (devices / NODE_DEVICES * STORE_BYTES_PER_S)
    faults_s = FAULT_DEVICE_S / devices
    lost = 1 - checkpoint_schedule(write_s, faults_s, restart_h * 3600).goodput
    return FaultRow(devices, restart_h, faults_s / 3600, lost, BEFORE * (1 - lost) / (1 - LOST_BEFORE))


@dataclass(frozen=True)
class SimulatedRow:
    """What the simulator says is lost of a run of some weeks. detect_s: from a fault until the node is known."""

    devices: int
    detect_s: float
    faults: int
    lost: float
    hung: float


def simulated(devices: int, detect_s: float) -> SimulatedRow:
    """The same run as a job on its nodes and spares, at Daly's interval, restarts of a quarter of an hour."""
    write_s = PARAMETERS * CHECKPOINT_BYTES / (devices / NODE_DEVICES * STORE_BYTES_PER_S)
    step_s = checkpoint_schedule(write_s, FAULT_DEVICE_S / devices, RESTART_S).interval_s
    none = np.zeros(1, np.int64)
    job = JobTable(np.zeros(1), np.array([WEEKS * 604_800.0]), np.array([devices * WHOLE]), none, ("run",), none)
    faults = JobFaults(FAULT_DEVICE_S, detect_s)
    nodes = (NODE_DEVICES,) * (devices // NODE_DEVICES + SPARES)
    found = JobCluster(job, JobSettings(nodes, "fcfs", RESTART_S, step_s, faults=faults)).run()
    held = float(found.held_gpu_s[0])
    # Writing checkpoints is not in the simulation; its share is the formula's.
    kept = float(job.work_gpu_s[0]) / (float(found.turnaround_s[0]) * devices) * step_s / (step_s + write_s)
    return SimulatedRow(devices, detect_s, int(found.faults[0]), 1 - kept, float(found.hung_gpu_s[0]) / held)


def main() -> int:
    """Run, print and write."""
    rows = [row(devices, hours) for devices in DEVICES for hours in RESTARTS_H]
    by_faults = BEFORE * (1 - LOST_AFTER) / (1 - LOST_BEFORE)
    with_network = by_faults / (1 - COMMUNICATION * SPARED)
    cells = [
        [f"{x.devices:,}", f"{x.restart_h:g} h", f"{x.faults_h:.1f} h", f"{x.lost:.1%}", f"{x.efficiency:.1%}"]
        for x in rows
    ]
    heads = ("devices", "fault to training", "between faults", "lost", "efficiency")
    usual = [x.lost for x in rows if x.restart_h == RESTARTS_H[0]]
    text = (
        f"# C4 by the fault model\n\nFrom the published shares lost alone {BEFORE:.0%} becomes {by_faults:.1%}; with "
        f"{SPARED:.0%} less of a communication share of {COMMUNICATION:.0%}, {with_network:.1%}; published: "
        f"{AFTER:.0%}, {with_network / AFTER - 1:+.1%} off. What the model loses, on devices that fail as those of "
        f"Llama 3's run did, 175 B parameters:\n\n{table(heads, cells)}\n\nAt the product's default of "
        f"{RESTART_S / 60:.0f} minutes "
        f"from a fault to training it loses {min(usual):.1%} to {max(usual):.1%}, published {LOST_AFTER:.2%}; the "
        f"{LOST_BEFORE:.0%} before take some 4 h at 4,096 devices and 8 h at 2,048. C4's own rate of faults is not "
        "public as a table, so that the model is held against it by order, not by value; slow nodes that do not stop a "
        "run are not modelled."
    )
    runs = [simulated(devices, detect_s) for devices in DEVICES for detect_s in DETECT_S]
    largest = {x.detect_s: x.lost for x in runs if x.devices == DEVICES[-1]}
    modelled = BEFORE * (1 - largest[C4D_S]) / (1 - largest[DETECT_S[-1]]) / (1 - COMMUNICATION * SPARED)
    shown = [
        [f"{x.devices:,}", f"{x.detect_s:,.0f} s", str(x.faults), f"{x.hung:.1%}", f"{x.lost:.1%}"] for x in runs
    ]  # fmt: skip
    text += (
        f"\n\nSimulated, {WEEKS} weeks of work, {SPARES} spare nodes, {RESTART_S / 60:.0f} minutes from detection to "
        f"training:\n\n{table(('devices', 'seen after', 'faults', 'hung', 'lost'), shown)}\n\n{C4D_S:.0f} s is C4D, "
        f"{WATCHDOG_S:.0f} s the usual time-out of collectives, "
        f"{DETECT_S[-1] / 3600:.0f} h a node that people look for."
        f"\n\nWith both losses by the simulated faults at {DEVICES[-1]:,} devices, people looking before "
        f"({largest[DETECT_S[-1]]:.1%}) and C4D after ({largest[C4D_S]:.1%}), and the network as published, "
        f"{BEFORE:.0%} becomes {modelled:.1%}: {modelled / AFTER - 1:+.0%} off.\n\nRecorded: C4's shares lost and its "
        "15 % of communication, the 30 % that collisions took of a run on 512 devices, the faults of Llama 3's run. "
        "Modelled: faults by node (exponential), intervals between checkpoints (Daly), restarts, how long people look."
    )
    print(text)
    figures = {
        "simulated": [asdict(x) for x in runs],
        "rows": [asdict(x) for x in rows],
        "by_faults": by_faults,
        "with_network": with_network,
        "modelled": modelled,
    }
    write("fleet_faults", figures, text, ("numpy",))
    return 0


if __name__ == "__main__":
    sys.exit(main())
