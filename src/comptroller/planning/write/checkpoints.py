"""What a plan says of the files that its services load."""

from __future__ import annotations

from collections.abc import Iterator

from comptroller.launch import WHAT_IF, checkpoint
from comptroller.planning.prove.services import ModelServices
from comptroller.quantities import HOUR_S


def checkpoint_notes(own: ModelServices) -> Iterator[str]:
    """Services that are what-ifs, and those whose weights have to be made or come from a listed repository."""
    for service, deployment in zip(own.services, own.deployments, strict=True):
        if reasons := [x.removeprefix(WHAT_IF) for x in service.launch.splitlines() if x.startswith(WHAT_IF)]:
            yield f"{service.id} is a what-if, not a plan to run: {reasons[0]}"
            continue
        files = checkpoint(deployment.replica)
        if files.listed:
            yield f"{service.id}: the weights are those of {files.path}"
        if made := files.conversion:
            time = "its time is not documented" if made.time_s is None else f"about {_duration(made.time_s)}"
            time += f" ({made.timed})" if made.timed else ""
            yield (
                f"{service.id}: no repository with these weights is listed; {made.tool} makes them, {time} and "
                f"{made.disk_bytes / 1e9:,.0f} GB of disk: {made.command}"
            )


def _duration(time_s: float) -> str:
    """A time in minutes, or in hours from two on.

    >>> _duration(61.0), _duration(1800.0), _duration(9000.0)
    ('1 min', '30 min', '2.5 h')
    """
    return f"{time_s / HOUR_S:.1f} h" if time_s >= 2 * HOUR_S else f"{max(1, round(time_s / 60.0))} min"
