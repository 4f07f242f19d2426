"""The workload document: what it accepts, what it refuses and in which words, and where it finds traces."""

import copy
import os
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comptroller.errors import FactError
from comptroller.work.demand import demand, recorded_trace, requests
from comptroller.work.objectives import CostObjective
from comptroller.work.sizes import LengthHistogram
from comptroller.work.trace import RequestTrace
from comptroller.work.traces import read_trace
from comptroller.work.traces.plain import write
from comptroller.work.workload import load, parse

ROOT = Path(__file__).parents[1]
DATA = Path(os.environ.get("COMPTROLLER_DATA", ROOT.parent / "shared" / "data"))
CHAT = ROOT / "examples" / "chat.toml"
DOCUMENT = tomllib.loads(CHAT.read_text(encoding="utf-8"))
GONE = object()


def changed(**changes: object) -> dict[str, Any]:
    """The chat example with fields replaced (`a__b` is field b of table a) or gone."""
    document = copy.deepcopy(DOCUMENT)
    for path, value in changes.items():
        *tables, last = path.split("__")
        table = document
        for name in tables:
            table = table.setdefault(name, {})
        table.pop(last, None)
        if value is not GONE:
            table[last] = value
    return document


def test_the_chat_example() -> None:
    chat = load(CHAT)
    assert (chat.name, chat.models, chat.rate_per_s, chat.objective) == (
        "chat",
        ("llama_3_1_70b",),
        20.0,
        CostObjective.USD,
    )
    assert chat.objectives.ttft is not None
    assert chat.objectives.tpot is not None
    assert chat.objectives.e2e is None
    assert (chat.objectives.ttft.max_s, chat.objectives.ttft.p) == (1.0, 95)
    assert chat.objectives.tpot.max_s == pytest.approx(0.05)
    assert chat.allow.terms == ("on_demand",)
    asked = demand(chat)
    assert asked.rates_per_s.sum() == pytest.approx(20.0, rel=1e-12)
    assert asked.mean_input_tokens == pytest.approx(1154.7, abs=0.05)
    assert asked.mean_output_tokens == pytest.approx(211.1, abs=0.05)
    assert len(asked) <= 64


def test_the_chat_histogram_is_that_of_the_azure_trace() -> None:
    path = DATA / "traces" / "azure_2023_conv.csv"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    trace, table = read_trace(path), load(CHAT).lengths
    assert isinstance(table, LengthHistogram)
    bins = (np.array(table.input_edges), np.array(table.output_edges))
    counts = np.histogram2d(trace.input_tokens, trace.output_tokens, bins)[0]
    assert counts.tolist() == [list(row) for row in table.weights]
    assert counts.sum() == 19366


@pytest.mark.parametrize("name", ["azure", "code"])
def test_the_trace_examples(name: str) -> None:
    if not (DATA / "traces").exists():
        pytest.skip(f"{DATA / 'traces'} is not there")
    asked = demand(load(ROOT / "examples" / f"{name}.toml"))
    assert asked.mean_rate_per_s < asked.rate_per_s < asked.busiest_rate_per_s
    expected = {"azure": (5.53, 7.78, 8.45), "code": (2.57, 7.55, 10.53)}[name]
    rates = (asked.mean_rate_per_s, asked.rate_per_s, asked.busiest_rate_per_s)
    assert rates == pytest.approx(expected, abs=0.006)
    assert asked.window_cv < asked.cv


REFUSED = [
    ({"rate_per_s": -1}, "rate_per_s", "greater than or equal to 0.000001"),
    ({"rate_per_s": "20"}, "rate_per_s", "a number"),
    ({"rate_per_s": True}, "rate_per_s", "a number"),
    ({"rate_per_s": float("inf")}, "rate_per_s", "less than or equal to"),
    ({"objectives__ttft": {"max": float("inf"), "unit": "s"}}, "objectives.ttft.max", "a finite number"),
    ({"rate_per_s": GONE}, "rate_per_s", "rate_per_s, or trace"),
    ({"rps": 3}, "rps", "rate_per_s"),
    ({"name": ""}, "name", "not empty"),
    ({"name": GONE}, "name", ""),
    ({"models": "llama_3_1_70b"}, "models", "a list"),
    ({"models": []}, "models", "not empty"),
    ({"cv": -0.5}, "cv", "greater than or equal to 0"),
    ({"seed": 1.5}, "seed", "whole number"),
    ({"objective": "eur"}, "objective", "'usd', 'j' or 'gco2e'"),
    ({"objectives": 5}, "objectives", "a table"),
    ({"objectives__ttft": 500}, "objectives.ttft", "a table"),
    ({"objectives__ttfx": {}}, "objectives.ttfx", "ttft, tpot, e2e"),
    ({"objectives__ttft": {"p": 95, "max": 1, "unit": "GB"}}, "objectives.ttft.unit", "s, ms, us"),
    ({"objectives__ttft": {"p": 100, "max": 1, "unit": "s"}}, "objectives.ttft.p", "less than 100"),
    ({"objectives__ttft": {"p": 0.95, "max": 1, "unit": "s"}}, "objectives.ttft.p", "1 to below 100"),
    ({"objectives__ttft": {"p": 95, "unit": "s"}}, "objectives.ttft.max", ""),
    ({"budget": {"max": 3, "unit": "USD"}}, "budget.unit", "USD/h"),
    ({"allow__terms": ["cheap"]}, "allow.terms.0", "'on_demand', 'spot', 'reserved' or 'owned'"),
    ({"allow__site": ["x"]}, "allow.site", "sites"),
    ({"caps": {"h100_sxm": -1}}, "caps.h100_sxm", "greater than or equal to 0"),
    ({"peak": {"quantile": 0.5}}, "peak", "trace"),
    ({"lengths": GONE}, "lengths", "a histogram, distributions, or a trace"),
    ({"lengths": 5}, "lengths", "a table"),
    ({"lengths": {"input": {"fixed": 3}}}, "lengths.output", ""),
    (
        {"lengths": {"input": {"median": 600, "mean": 900, "most": 700}, "output": {"fixed": 3}}},
        "lengths.input.most",
        "at least 900",
    ),
    ({"columns": {"tenant": "customer"}}, "columns", "trace"),
    ({"columns": {"owner": "customer"}}, "columns.owner", "arrival, input, output, session, tenant, adapter, priority"),
    ({"columns": {"unit": "h"}}, "columns.unit", "'s', 'ms', 'us' or 'ns'"),
    ({"columns": {"block_tokens": 0}}, "columns.block_tokens", "greater than or equal to 1"),
    ({"policies": {"scheduler": "fcfs"}}, "policies.scheduler", "routing, batching, scheduling"),
    ({"lengths": {"input": {"fixed": -3}, "output": {"fixed": 3}}}, "lengths.input.fixed", "greater than"),
    ({"lengths": {"input": {"fixed": 3, "x": 1}, "output": {"fixed": 3}}}, "lengths.input.x", "fixed"),
    ({"lengths": {"input": {"fixed": 3}, "output": {"median": 9, "most": 40}}}, "lengths.output.mean", "mean or p99"),
    ({"lengths": {"input": {"fixed": 3}, "output": {"median": 9, "mean": 8, "most": 40}}}, "lengths.output.median", ""),
    ({"lengths": {"input": {"fixed": 3}, "output": {"median": 9, "mean": 10, "most": 4}}}, "lengths.output.most", ""),
    ({"lengths__weights": [[1.0]]}, "lengths.weights", "8 rows (input bins) of 8 (output bins)"),
    ({"lengths__weights": [[0] * 8] * 8}, "lengths.weights", ""),
    ({"lengths__input_edges": [1, 5, 5]}, "lengths.input_edges", ""),
    ({"lengths__input_means": [1.0]}, "lengths.input_means", "one for each of 8 bins"),
    ({"lengths__output_means": [99.0] * 8}, "lengths.output_means", "1 to 31"),
    ({"trace": "x.csv"}, "cv", "trace or cv"),
    ({"trace": "x.csv", "cv": GONE}, "lengths", "trace or lengths"),
    ({"trace": "x.csv", "cv": GONE, "lengths": GONE, "scale": 2}, "scale", "scale or rate_per_s"),
    ({"part": {"start": 9, "end": 3, "unit": "s"}}, "part.end", ""),
    ({"spare_replicas": -1}, "spare_replicas", "greater than or equal to 0"),
]


@pytest.mark.parametrize(("changes", "field", "allowed"), REFUSED, ids=[str(row[1]) for row in REFUSED])
def test_a_bad_value_names_file_field_and_what_is_allowed(changes: dict[str, Any], field: str, allowed: str) -> None:
    with pytest.raises(FactError) as caught:
        parse(changed(**changes), CHAT)
    assert (caught.value.file, caught.value.field) == ("chat.toml", field)
    assert allowed in caught.value.allowed


@pytest.mark.parametrize(
    ("changes", "field", "near"),
    [
        ({"models": ["llama_3_1_70c"]}, "models", "llama_3_1_70b"),
        ({"allow__accelerators": ["h100"]}, "allow.accelerators", "h100_sxm"),
        ({"allow__formats": ["fp8"]}, "allow.formats", "fp8_"),
        ({"allow__engines": ["vlm"]}, "allow.engines", "vllm"),
        ({"allow__sites": ["us_neo"]}, "allow.sites", "us_neocloud"),
        ({"caps": {"h100": 4}}, "caps", "h100_sxm"),
    ],
)
def test_an_unknown_id_lists_the_nearest(changes: dict[str, Any], field: str, near: str) -> None:
    with pytest.raises(FactError, match="nearest: ") as caught:
        parse(changed(**changes), CHAT)
    assert caught.value.field == field
    assert near in str(caught.value)


def test_own_files_and_traces_are_looked_for_beside_the_workload(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.json").write_text('{"hidden_size": 64}')
    trace = RequestTrace(np.arange(100.0), np.full(100, 7), np.full(100, 3))
    write(trace, tmp_path / "t.csv")
    workload = tmp_path / "w.toml"
    workload.write_text('name = "w"\nmodels = ["mine.json"]\ntrace = "t.csv"\n')
    loaded = load(workload)
    assert loaded.models == ("mine",)
    (entry,) = loaded.library.entries
    assert (entry.origin, entry.content["config"]) == ("mine.json", {"hidden_size": 64})
    assert loaded.trace == str(tmp_path / "t.csv")

    elsewhere = tmp_path / "data"
    (elsewhere / "traces").mkdir(parents=True)
    (tmp_path / "t.csv").rename(elsewhere / "traces" / "t.csv")
    with pytest.raises(FactError, match=rf"'t.csv' is not there; looked in {tmp_path}, ") as caught:
        load(workload)
    assert "COMPTROLLER_DATA" in caught.value.allowed
    monkeypatch.setenv("COMPTROLLER_DATA", str(elsewhere))
    moved = load(workload)
    assert moved.trace == str(elsewhere / "traces" / "t.csv")
    assert demand(moved).mean_input_tokens == pytest.approx(7)


def test_the_digest_follows_content_and_not_place(tmp_path: Path) -> None:
    text = 'name = "w"\nmodels = ["llama_3_1_8b"]\ntrace = "t.csv"\n'
    digests = []
    for folder, rows in (("a", 100), ("b", 100), ("c", 101)):
        (tmp_path / folder).mkdir()
        write(RequestTrace(np.arange(float(rows)), np.full(rows, 7), np.full(rows, 3)), tmp_path / folder / "t.csv")
        (tmp_path / folder / "w.toml").write_text(text)
        digests.append(load(tmp_path / folder / "w.toml").digest)
    assert digests[0] == digests[1] != digests[2]
    assert parse(changed(), CHAT).digest != parse(changed(rate_per_s=21.0), CHAT).digest


def test_a_file_that_is_not_toml(tmp_path: Path) -> None:
    (tmp_path / "w.toml").write_text("name = \n")
    with pytest.raises(FactError, match="not valid TOML"):
        load(tmp_path / "w.toml")
    with pytest.raises(FactError, match="No such file"):
        load(tmp_path / "absent.toml")


FIELDS = [*DOCUMENT, "trace", "scale", "peak", "part", "caps", "budget", "power", "carbon"]
FIELDS += ["spare_replicas", "seed", "skip_bad"]
INNER = [f"{table}__{field}" for table in ("objectives", "allow", "lengths") for field in DOCUMENT[table]]
JUNK = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.sampled_from(["s", "", "ms"])
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["max", "unit", "p"]), inner),
    max_leaves=4,
)


@settings(max_examples=300, deadline=None)
@given(field=st.sampled_from([*FIELDS, *INNER]), junk=JUNK)
def test_junk_in_any_field_is_refused_or_serves(field: str, junk: Any) -> None:
    """Whatever stands in a field, the document is refused in one way or asks for finite, positive work."""
    try:
        workload = parse(changed(**{field: junk}), CHAT)
        asked = demand(workload)
    except FactError as error:
        assert error.file
        assert error.field
        return
    assert 0 < asked.rate_per_s < np.inf
    assert len(requests(workload, np.random.default_rng(0), 3)) == 3


def test_a_percentile_below_one_says_what_was_meant() -> None:
    with pytest.raises(FactError, match=r"fastest 0\.95 per cent of the requests; did you mean 95\?"):
        parse(changed(objectives__ttft={"p": 0.95, "max": 1, "unit": "s"}), CHAT)


def test_lengths_cut_below_their_mean_are_refused_and_below_their_p99_kept() -> None:
    """A lognormal of median 600 and mean 900 has its p99 at 600 exp(2.326 sqrt(2 ln 1.5)) = 4,880."""
    output = {"fixed": 3}
    with pytest.raises(FactError, match="most: 700 is below the mean 900 of the lengths"):
        parse(changed(lengths={"input": {"median": 600, "mean": 900, "most": 700}, "output": output}), CHAT)
    kept = parse(changed(lengths={"input": {"median": 600, "mean": 900, "most": 901}, "output": output}), CHAT)
    assert demand(kept).longest_tokens == 904


OWN_TABLE = """when,prompt,reply,customer,urgency
2024-05-10 02:00:02.5+02:00,12,3,shop,1
2024-05-10 02:00:00.5+02:00,10,3,shop,0
2024-05-10 02:00:01.5+02:00,11,3,help,0
"""


def test_the_columns_of_a_trace_are_named_in_the_workload(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text(OWN_TABLE)
    columns = """
columns = {arrival = "when", input = "prompt", output = "reply", tenant = "customer", priority = "urgency"}
"""
    workload = tmp_path / "w.toml"
    workload.write_text('name = "w"\nmodels = ["llama_3_1_70b"]\ntrace = "log.csv"' + columns)
    loaded = load(workload)
    trace = recorded_trace(loaded)
    assert trace.arrival_s.tolist() == [0.0, 1.0, 2.0] and trace.input_tokens.tolist() == [10, 11, 12]
    assert trace.tenants == ("shop", "help") and trace.priority is not None and trace.priority.tolist() == [0, 0, 1]
    assert trace.notes[0] == "second 0 is 2024-05-10 00:00:00.500 UTC"
    drawn = requests(loaded, np.random.default_rng(0), 7)
    assert drawn.tenant is not None and drawn.tenant.tolist() == [0, 1, 0, 0, 1, 0, 0]


def test_a_trace_without_times_is_read_at_the_rate_of_the_workload(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("num_prefill_tokens,num_decode_tokens\n" + "30,2\n60,4\n" * 50)
    named = {"name": "w", "models": ["llama_3_1_70b"], "trace": "t.csv"}
    with pytest.raises(FactError, match=r"arrival: the file has no arrival times .*rate_per_s of the workload"):
        recorded_trace(parse(named, tmp_path / "w.toml"))
    trace = recorded_trace(parse(named | {"rate_per_s": 5.0}, tmp_path / "w.toml"))
    assert trace.rate_per_s == pytest.approx(5.0) and trace.input_tokens.sum() == 50 * 90


def test_own_policies_are_looked_for_beside_the_workload(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def rank(call):\n    return 0.0\n")
    chosen = parse(changed(policies={"scheduling": "mine.py", "routing": "round_robin"}), tmp_path / "w.toml").policies
    assert chosen.by_decision == {"routing": "round_robin", "scheduling": str(tmp_path / "mine.py")}


def test_unknown_names_are_told_with_the_faults_of_the_schema() -> None:
    document = {
        "name": "x",
        "models": ["llama_3_1_8bb"],
        "rate_per_s": -1.0,
        "caps": {"h1": 3},
        "allow": {"sites": ["uss"], "kv_formats": ["fp7"]},
    }
    with pytest.raises(FactError) as told:
        parse(document)
    fields = [fault.field for fault in told.value.faults]
    assert {"models", "rate_per_s", "caps", "allow.sites", "allow.kv_formats"} <= set(fields)
