"""Machines that nobody can rent: planned where a workload asks what if, never otherwise, and marked at every door."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from comptroller.cli import main
from comptroller.costs.deployment import EngineSettings, ModelReplica, ParallelLayout, PrecisionRecipe, arithmetic
from comptroller.errors import FactError, InputError, UnsupportedError
from comptroller.export import export, targets
from comptroller.facts.accelerator import Accelerator, accelerator
from comptroller.facts.config import model
from comptroller.facts.engine import engine_facts
from comptroller.facts.format import format_
from comptroller.facts.reader import WHAT_IF, folder, ids, real_ids
from comptroller.launch import line
from comptroller.planning.ground.plan_document import Plan
from comptroller.planning.offer.deployments import RejectionTally, enumerate_deployments
from comptroller.planning.offer.space import space_of
from comptroller.planning.reasons.current_fleet import load_current
from comptroller.report.plan_page import page
from comptroller.work.workload import Workload, parse

MACHINES = [name for name in ids("accelerators") if name.startswith(WHAT_IF)]
every = pytest.mark.parametrize("name", MACHINES)
LEAST = {
    "name": "least",
    "models": ["llama_3_2_1b"],
    "rate_per_s": 1.0,
    "lengths": {"input": {"fixed": 100}, "output": {"fixed": 20}},
}
OWN_SITE = """
name = "A bench"
electricity_usd_per_j = { value = 0.1, unit = "USD/kWh", source = "bill" }
grid_gco2e_per_j = { value = 300, unit = "gCO2e/kWh", source = "bill" }
pue = { value = 1, unit = "1", source = "bill" }
[[offers]]
accelerator = "NAME"
term = "on_demand"
usd_per_s = { value = 1, unit = "USD/h", source = "bill" }
since = 2026-01-01
provider = "me"
[sources.bill]
title = "a bill"
url = "https://example.org/bill"
date = 2026-01-01
"""


def asked(folder_of: Path, name: str, **more: object) -> Workload:
    """A workload on one machine, priced by a site of its own."""
    (folder_of / "bench.toml").write_text(OWN_SITE.replace("NAME", name), encoding="utf-8")
    engine = (machine(name).what_if or pytest.fail("no what-if")).engine or "vllm"
    allow = {"accelerators": [name], "sites": ["bench.toml"], "engines": [engine]}
    return parse({**LEAST, "allow": allow, **more}, folder_of / "workload.toml")


def machine(name: str) -> Accelerator:
    return accelerator(name)


def test_there_is_one_for_every_kind_of_paper() -> None:
    kinds = {machine(name).kind for name in MACHINES}
    assert kinds == {"gpu", "tpu", "cpu", "soc", "mcu", "qpu"} and len(MACHINES) >= 6


@every
def test_its_figures_have_sources_and_a_reason(name: str) -> None:
    device = machine(name)
    assert device.what_if is not None and device.what_if.why and "what-if" in device.name
    assert set(device.provenance.values()) == set(device.sources)
    assert device.family not in {machine(other).family for other in real_ids("accelerators")}, "timed as another"
    assert (device.what_if.engine in ids("engines")) or device.what_if.never


RATIO = re.compile(r"ratio (?P<ratio>[\d.]+) of (?P<rate>\w+) on (?P<device>\w+)")


def ratios() -> Iterator[tuple[str, str, str]]:
    """(machine, rate, note) of every rate that is a ratio to one of the catalogue."""
    for name in MACHINES:
        text = (folder("accelerators") / f"{name}.toml").read_text(encoding="utf-8")
        for row in re.finditer(r'^(\w+) = \{ value .* note = "(ratio [^"]* on [^"]*)"', text, re.MULTILINE):
            yield name, row[1], row[2]


def test_a_ratio_is_of_what_its_note_says() -> None:
    found = list(ratios())
    assert {name for name, _, _ in found} == {"what_if_lut_a100", "what_if_bit_weight_tpu"}
    for name, rate, note in found:
        told = RATIO.fullmatch(note)
        assert told is not None, note
        wanted = float(told["ratio"]) * machine(told["device"]).peak(told["rate"])
        assert machine(name).peak(rate) == pytest.approx(wanted, rel=1e-3)


def test_an_own_file_with_a_what_if_has_to_be_named_as_one(tmp_path: Path) -> None:
    text = (folder("accelerators") / "what_if_phone.toml").read_text(encoding="utf-8")
    (tmp_path / "my_phone.toml").write_text(f"{text}# mine\n", encoding="utf-8")
    with pytest.raises(FactError, match="begin with 'what_if'"):
        accelerator(str(tmp_path / "my_phone.toml"))


# never without being asked for


def test_it_is_nothing_that_a_workload_allows_by_default() -> None:
    plain, open_ = space_of(parse(LEAST)), space_of(parse({**LEAST, "what_if": True}))
    assert not [device.id for device in plain.accelerators if device.what_if]
    assert WHAT_IF not in {place.id for place in plain.sites}
    assert {device.id for device in open_.accelerators if device.what_if} == set(MACHINES)


@every
def test_it_is_refused_by_name_unless_asked_what_if(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"{name} is a what-if: .*--what-if"):
        space_of(asked(tmp_path, name))


def test_no_fleet_of_today_runs_on_one(tmp_path: Path) -> None:
    service = 'model = "llama_3_2_1b"\naccelerator = "what_if_phone"\nsite = "own_us"\nreplicas = 1\n'
    (tmp_path / "today.toml").write_text(f"[[services]]\n{service}", encoding="utf-8")
    with pytest.raises(InputError, match="a fleet of today does not run on what_if_phone: a phone is no server"):
        load_current(tmp_path / "today.toml")


# asked for: planned or refused with a reason, marked


@every
def test_asked_for_it_is_offered_and_its_line_is_a_comment_or_it_is_refused(name: str, tmp_path: Path) -> None:
    tally = RejectionTally()
    offered = list(enumerate_deployments(space_of(asked(tmp_path, name, what_if=True)), tally))
    what_if = machine(name).what_if
    assert what_if is not None
    if what_if.never:
        assert not offered and what_if.never in str(tally)
    elif name == "what_if_microcontroller":
        assert not offered and "does not fit" in str(tally)
    else:
        assert offered
    for deployment in offered:
        assert name in deployment.id and name in deployment.label
        assert line(deployment.replica, 2000) == f"# what-if: {name}: {what_if.why}"


def test_its_engine_has_to_be_allowed(tmp_path: Path) -> None:
    other = asked(tmp_path, "what_if_sail", what_if=True)
    other = other.model_copy(update={"allow": other.allow.model_copy(update={"engines": ("vllm",)})})
    tally = RejectionTally()
    assert not list(enumerate_deployments(space_of(other), tally))
    assert "what_if_sail is given the costs of llama_cpp: allow.engines" in str(tally)


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plan]:
    """A plan on the look-up machine from the command line, as a document."""
    place = tmp_path_factory.mktemp("plan")
    words = ["plan", "llama_3_2_1b", "--rate", "2", "--in", "200", "--out", "40", "--on", "what_if_lut_a100"]
    with pytest.raises(SystemExit) as ended:
        main([*words, "--what-if", "--quick", "--out", str(place / "plan.json")])
    assert not ended.value.code
    yield Plan.model_validate(json.loads((place / "plan.json").read_text(encoding="utf-8")))


def test_a_plan_says_so_in_its_document_and_on_its_page(planned: Plan) -> None:
    (service,) = planned.services
    assert "what_if_lut_a100" in service.id and service.launch.startswith("# what-if: what_if_lut_a100: no such chip")
    assert any(note.startswith(f"{service.id} is a what-if, not a plan to run") for note in planned.notes)
    shown = page(planned)
    assert "what_if_lut_a100" in shown and "is a what-if, not a plan to run" in shown


@pytest.mark.parametrize("target", targets())
def test_no_export_takes_it(planned: Plan, target: str) -> None:
    with pytest.raises(UnsupportedError, match="what-if: what_if_lut_a100: no such chip is made"):
        export(target, planned)


def test_whether_it_fits_is_answered_with_the_same_comment(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["fits", "llama_3_2_1b", "what_if_phone"])
    assert "# what-if: what_if_phone: a phone is no server" in capsys.readouterr().out


def test_a_quantum_processor_is_refused_with_what_is_known(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["fits", "llama_3_2_1b", "what_if_quantum"])
    assert "105 qubits" in capsys.readouterr().err


# what a table of products is worth


@pytest.mark.parametrize(("weights", "rate"), [("int1", "lut1"), ("int2_g128", "lut2"), ("ternary", "lut2"),
                                               ("int3_g128", "lut4"), ("int4_g128", "lut4")])  # fmt: skip
def test_units_that_look_products_up_take_few_bits_at_their_own_rate(weights: str, rate: str) -> None:
    device = machine("what_if_lut_a100")
    assert arithmetic(format_(weights), format_("bf16"), device) == rate
    assert arithmetic(format_("bf16"), format_("bf16"), device) == "bf16"
    assert device.peak("lut1") == 2 * device.peak("lut2") == 4 * device.peak("lut4")


def test_a_real_device_looks_nothing_up() -> None:
    for name in real_ids("accelerators"):
        assert not [rate for rate in machine(name).peak_flops_per_s if str(rate).startswith("lut")]


def test_the_same_replica_has_a_line_on_the_real_device() -> None:
    recipe, settings = PrecisionRecipe(), EngineSettings.default(engine_facts("vllm"))
    on = [ModelReplica(model("llama_3_2_1b"), machine(name), recipe, ParallelLayout(), settings)
          for name in ("a100_80_sxm", "what_if_lut_a100")]  # fmt: skip
    assert line(on[0], 2000).startswith("vllm serve") and line(on[1], 2000).startswith("# what-if: ")
