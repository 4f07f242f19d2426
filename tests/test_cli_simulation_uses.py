"""Every option of `comptroller simulate` is used by the simulation that was asked for, or refused by name."""

from __future__ import annotations

import inspect

import pytest

from comptroller.cli import main
from comptroller.cli import simulate as command
from comptroller.cli._simulation_uses import EVERY_SIMULATION, USES

ASKED = {
    "": [],
    "spot": ["--spot", "on_demand"],
    "faults": ["--faults", "100"],
    "hedge": ["--hedge", "0.5"],
    "shared_phases": ["--shared-phases", "0.5", "--bandwidth-full-at", "0.4"],
    "tool_gaps": ["--tool-gaps"],
    "power": ["--power", "uncapped", "--row-budget", "1e6"],
    "scaling": ["--scaling", "fixed"],
    "pools": ["--pools", "none"],
}
GIVEN = {
    "calls": ["--calls", "calls.csv"],
    "perfetto_": ["--perfetto", "calls.json"],
    "routing": ["--routing", "round_robin"],
    "scheduling": ["--scheduling", "fcfs"],
    "fill": ["--fill", "0.8"],
    "most_replicas": ["--most-replicas", "9"],
    "tp": ["--tp", "4"],
    "most_devices": ["--most-devices", "16"],
    "start_up_s": ["--start-up", "60"],
}


def test_each_option_is_said_to_be_used_by_some_simulation() -> None:
    assert EVERY_SIMULATION.union(*USES.values()) == set(inspect.signature(command.run).parameters) - {"context"}
    assert set(ASKED) == set(USES)


@pytest.mark.parametrize(
    ("asked", "given"), [(asked, given) for asked in ASKED for given in GIVEN if given not in USES[asked]]
)
def test_an_option_that_a_simulation_does_not_use_is_refused(
    asked: str, given: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["simulate", "plan.json", "--trace", "trace.csv", *ASKED[asked], *GIVEN[given]])
    said = " ".join(capsys.readouterr().err.split())
    assert ended.value.code == 2 and f"{GIVEN[given][0]} is not used with" in said
