"""The options of a fleet that is read from what starts it, for `comptroller plan --from-launch`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer


@dataclass(frozen=True, slots=True)
class LaunchOptions:
    """The options of a fleet that is read from what starts it."""

    lines: str
    on: str
    at: str
    term: str
    replicas: int


def launch_options(
    from_launch: Annotated[
        str,
        typer.Option(
            help="Compare with what this starts: a launch line, a file of one, or Kubernetes manifests.",
            show_default=False,
        ),
    ] = "",
    launch_on: Annotated[
        str, typer.Option(help="With --from-launch: the accelerator, where nothing says it.", show_default=False)
    ] = "",
    launch_at: Annotated[
        str, typer.Option(help="With --from-launch: the site.", show_default="the workload's first")
    ] = "",
    launch_term: Annotated[str, typer.Option(help="With --from-launch: how it is paid.")] = "on_demand",
    launch_replicas: Annotated[int, typer.Option(help="With --from-launch: replicas of a line.", min=1)] = 1,
) -> LaunchOptions:
    """A fleet to be read from launch lines."""
    return LaunchOptions(from_launch, launch_on, launch_at, launch_term, launch_replicas)
