"""Cache tiers of a plan: as facts, in its document, by `simulate --cache-tier`, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from command_ends import ends as exit_of
from comptroller.cli import main
from comptroller.errors import InputError, UnknownIdError
from comptroller.facts.cache_tier import CACHE_TIERS, cache_tier
from comptroller.facts.library import SHIPPED
from comptroller.facts.reader import ids
from comptroller.planning.ground.plan_document import Plan, load_plan
from comptroller.planning.ground.service_document import CacheTierDocument
from comptroller.planning.prove.cache_stores import GB, stores_of_tiers, tier_bytes_per_s
from comptroller.planning.simulation import PlanSimulation, TraceReplaySettings, simulate_plan
from comptroller.report.simulation_figures import record, tier_records
from comptroller.serving.ticks import linear
from simulate_worlds import GOLDEN, chat, stream, with_blocks

ONE_SERVICE = Path(__file__).parent / "golden" / "chat.json"


def tier(name: str, gigabytes: float) -> CacheTierDocument:
    return CacheTierDocument(tier=name, gb=gigabytes)


@pytest.mark.parametrize("name", ids(CACHE_TIERS))
def test_every_tier_has_a_link_and_gives_a_store(name: str) -> None:
    """Bandwidth never above the host's link where it is passed; capacity in tokens of the table."""
    found, device, table = cache_tier(name), SHIPPED.accelerator("h100_sxm"), linear()
    assert device.host is not None
    rate = tier_bytes_per_s(found, device, table)
    assert rate > 0
    assert not found.passes_host or rate <= device.host.one_way_bytes_per_s
    own, shared = stores_of_tiers([tier(name, 10.0)], device, table, 1)
    store = shared if found.shared else own[0]
    assert store is not None and store.tokens == int(10 * GB / table.kv_bytes_per_token)
    assert (shared is not None) == found.shared


def test_ranks_of_a_replica_share_its_gigabytes() -> None:
    device = SHIPPED.accelerator("h100_sxm")
    one, four = (stores_of_tiers([tier("host_memory", 100.0)], device, linear(), ranks)[0][0] for ranks in (1, 4))
    assert one.tokens // 4 == four.tokens


def simulated(plan: Plan, *tiers: CacheTierDocument) -> PlanSimulation:
    trace = with_blocks(stream(150, 4.0), 64, 20)
    return simulate_plan(plan, trace, TraceReplaySettings(cache_tiers=tiers or None))


def test_a_plan_s_own_tiers_are_those_of_the_option() -> None:
    """The document, written and read again, simulates as the option does; a tier of no size as none."""
    plan, stated = load_plan(ONE_SERVICE), (tier("host_memory", 50.0), tier("rdma_pool", 500.0))
    service = plan.services[0]
    deployment = service.deployment.model_copy(update={"cache_tiers": stated})
    own = plan.model_copy(update={"services": (service.model_copy(update={"deployment": deployment}),)})
    again = Plan.model_validate_json(own.model_dump_json())
    by_option, by_plan = simulated(plan, *stated), simulated(again)
    assert by_plan.outcome.requests.tobytes() == by_option.outcome.requests.tobytes()
    assert [one["tier"] for one in tier_records(by_plan)] == ["host_memory", "rdma_pool"]
    bare, hollow = simulated(plan), simulated(plan, tier("host_memory", 0.0))
    assert bare.outcome.requests.tobytes() == hollow.outcome.requests.tobytes()
    assert tier_records(bare) == [] and record(bare)["cache_tiers"] == []


def test_what_cannot_be_meant_is_refused_by_name() -> None:
    with pytest.raises(InputError, match="rdma_pool is shared by all replicas, but the plan has 2 services"):
        simulated(chat(), tier("rdma_pool", 10.0))
    with pytest.raises(InputError, match="it has to be the last of 2"):
        simulated(load_plan(ONE_SERVICE), tier("cxl_pool", 10.0), tier("host_memory", 10.0))
    with pytest.raises(UnknownIdError, match="host_memory"):
        simulated(load_plan(ONE_SERVICE), tier("host_memry", 10.0))
    with pytest.raises(InputError, match="cache tiers keep prefix blocks, which the trace does not name"):
        simulate_plan(load_plan(ONE_SERVICE), stream(20), TraceReplaySettings(cache_tiers=(tier("host_memory", 1.0),)))


def ends(*words: object) -> int:
    return exit_of(["simulate", str(GOLDEN), *words])


@pytest.fixture(scope="module")
def blocks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = []
    for number in range(120):
        ids_ = [*range(4), *(1000 + 10 * (number % 30) + place for place in range(4))]
        rows.append({"timestamp": 700 * number, "input_length": 4000, "output_length": 20, "hash_ids": ids_})
    path = tmp_path_factory.mktemp("tiers") / "mooncake.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")
    return path


def test_the_command_takes_tiers_and_tells_what_they_did(blocks: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ends("--trace", blocks, "--cache-tier", "host_memory=64", "--cache-tier", "nvme_pcie5=1000") == 0
    assert "Cache tiers, in blocks" in capsys.readouterr().out
    assert ends("--trace", blocks, "--cache-tier", "host_memory=64", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert [one["tier"] for one in document["cache_tiers"]] == ["host_memory"]
    assert set(document["cache_tiers"][0]) == {"tier", "blocks", "loaded", "written", "forgotten", "load_s"}


@pytest.mark.parametrize("text", ["host_memory", "host_memory=", "=3", "host_memory=-1", "host_memory=many"])
def test_the_command_refuses_what_is_no_tier(text: str, blocks: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ends("--trace", blocks, "--cache-tier", text) == 2
    assert "is not TIER=GB" in " ".join(capsys.readouterr().err.split())


def test_tiers_are_shown_with_their_sources(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["show", "cache_tiers"], ["show", "cache_tiers", "nvme_pcie5"]):
        with pytest.raises(SystemExit) as ended:
            main(words)
        assert not ended.value.code
    said = capsys.readouterr().out
    assert "rdma_pool" in said and "13" in said
