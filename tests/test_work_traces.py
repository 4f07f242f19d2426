"""Public traces read as their publishers count them; damaged ones name the rows, and nothing is returned."""

import gzip
import json
import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comptroller.errors import ComptrollerError, FactError, RecordError
from comptroller.work.arrow import write_columns
from comptroller.work.rows import TraceReadOptions
from comptroller.work.tabular import CHUNK
from comptroller.work.trace import NO_SESSION, RequestTrace, TraceLatencies, summary
from comptroller.work.trace_columns import TraceColumnNames
from comptroller.work.traces import read_trace, readers
from comptroller.work.traces.plain import write

ROOT = Path(__file__).parents[1]
DATA = Path(os.environ.get("COMPTROLLER_DATA", ROOT.parent / "shared" / "data"))
SKIP = TraceReadOptions(skip_bad=True)

AZURE = """TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:15:46.6805900,374,44
2023-11-16 18:15:50.9951690,396,109
2023-11-16 18:15:51.2224670,879,55
"""
BURST = """Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type
100.0,a,43,GPT-4,906,446,1352,Conversation log
151.5,,2,ChatGPT,36,29,65,API log
151.5,a,8,GPT-4,1779,123,1902,Conversation log
"""
BURST_1 = """Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type
5,ChatGPT,472,18,490,Conversation log
45,ChatGPT,1087,230,1317,Conversation log
"""
MOONCAKE = "\n".join(
    json.dumps(row)
    for row in (
        {"timestamp": 0, "input_length": 1000, "output_length": 5, "hash_ids": [0, 1]},
        {"timestamp": 27, "input_length": 1100, "output_length": 7, "hash_ids": [0, 1, 2]},
        {"timestamp": 3027, "input_length": 400, "output_length": 9, "hash_ids": [0]},
    )
)
PLAIN = "arrival_s,prompt_tokens,output_tokens,first_token_s,last_token_s\n0.5,10,20,0.6,1.6\n2.0,11,21,2.2,3.0\n"


def bench(**changes: object) -> str:
    result = {
        "duration": 3.0,
        "completed": 3,
        "total_input_tokens": 60,
        "input_lens": [10, 20, 30],
        "output_lens": [2, 3, 4],
        "ttfts": [0.1, 0.2, 0.3],
        "itls": [[0.01], [0.01, 0.02], [0.01, 0.01, 0.01]],
        "start_times": [1002.0, 1000.0, 1001.0],
        "errors": ["", "", ""],
    }
    merged = {**result, **changes}
    return json.dumps({key: value for key, value in merged.items() if value is not None})


def put(folder: Path, name: str, text: str) -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def pool(folder: Path, clients: int = 1, rows: str | None = None) -> Path:
    for client in range(1, clients + 1):
        lines = rows or "0,2.0,1.5,Gamma,0.4444,1.125\n600,,,,,\n1200,1.0,2.0,Weibull,0.54,0.57\n"
        put(folder, f"chunk-{client}-trace.csv", lines)
        windows = {
            "0": {"input_tokens": "{100: 0.5, 300: 0.5}", "output_tokens": "{10: 1.0}"},
            "1200": {"input_tokens": "{7: 1.0}", "output_tokens": "{0: 1.0}"},
        }
        put(folder, f"chunk-{client}-dataset.json", json.dumps(windows))
    return folder


def test_azure_times_are_exact_and_start_at_zero(tmp_path: Path) -> None:
    trace = read_trace(put(tmp_path, "a.csv", AZURE))
    assert trace.arrival_s.tolist() == pytest.approx([0.0, 4.314579, 4.541877], abs=1e-9)
    assert trace.input_tokens.tolist() == [374, 396, 879]
    assert trace.output_tokens.tolist() == [44, 109, 55]


def test_packed_files_are_unpacked(tmp_path: Path) -> None:
    packed = tmp_path / "a.csv.gz"
    packed.write_bytes(gzip.compress(AZURE.encode()))
    assert read_trace(packed).input_tokens.tolist() == [374, 396, 879]
    packed.write_bytes(gzip.compress(AZURE.encode())[:40])
    with pytest.raises(FactError):
        read_trace(packed)


def test_azure_2024_writes_an_offset(tmp_path: Path) -> None:
    text = AZURE.replace("0,374", "0+00:00,374").replace("0,396", "0+00:00,396").replace("0,879", "0+00:00,879")
    assert read_trace(put(tmp_path, "a.csv", text)).arrival_s[-1] == pytest.approx(4.541877, abs=1e-9)


def test_burstgpt_keeps_sessions(tmp_path: Path) -> None:
    trace = read_trace(put(tmp_path, "b.csv", BURST))
    assert trace.session is not None
    assert trace.session.tolist() == [0, NO_SESSION, 0]
    assert trace.arrival_s.tolist() == [0.0, 51.5, 51.5]
    older = read_trace(put(tmp_path, "b1.csv", BURST_1))
    assert older.session is None
    assert older.output_tokens.tolist() == [18, 230]


def test_a_failed_burstgpt_request_is_a_bad_row(tmp_path: Path) -> None:
    path = put(tmp_path, "b.csv", BURST_1 + "50,ChatGPT,9,0,9,API log\n")
    with pytest.raises(RecordError, match=r"1 bad row: row 4: Response tokens is 0: the request failed"):
        read_trace(path)
    assert (len(read_trace(path, SKIP)), read_trace(path, SKIP).dropped) == (2, 1)


def test_mooncake_blocks_are_compressed_rows(tmp_path: Path) -> None:
    trace = read_trace(put(tmp_path, "m.jsonl", MOONCAKE))
    assert trace.blocks is not None
    assert trace.arrival_s.tolist() == [0.0, 0.027, 3.027]
    assert trace.blocks.offsets.tolist() == [0, 2, 5, 6]
    assert trace.blocks.ids.tolist() == [0, 1, 0, 1, 2, 0]
    assert trace.blocks.tokens == 512
    assert trace.blocks.reuse == pytest.approx(0.5)
    part = trace.take(np.array([2, 1]))
    assert part.blocks is not None
    assert part.blocks.ids.tolist() == [0, 0, 1, 2]
    assert part.blocks.offsets.tolist() == [0, 1, 4]


def test_vllm_results_are_sorted_by_arrival_with_what_was_measured(tmp_path: Path) -> None:
    trace = read_trace(put(tmp_path, "v.json", bench()))
    assert trace.arrival_s.tolist() == [0.0, 1.0, 2.0]
    assert trace.input_tokens.tolist() == [20, 30, 10]
    assert trace.measured is not None
    assert trace.measured.ttft_s.tolist() == [0.2, 0.3, 0.1]
    assert trace.measured.e2e_s.tolist() == pytest.approx([0.23, 0.33, 0.11])
    waited = read_trace(put(tmp_path, "q.json", bench(queue_times=[1.5, 0.0, 0.0])))
    assert waited.arrival_s.tolist() == [0.0, 0.5, 1.0]


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        ({"start_times": None}, FactError, "start_times: is missing"),
        ({"input_lens": None}, FactError, "--save-detailed"),
        ({"ttfts": [0.1]}, FactError, "has 1 entries"),
        ({"errors": ["", "timed out", ""]}, RecordError, "row 2: the request failed: timed out"),
        ({"output_lens": [2, -3, 4]}, RecordError, r"row 2: output_tokens is negative \(-3\)"),
        ({"start_times": [1.0, None, 2.0]}, RecordError, "row 2: arrival_s is missing"),
    ],
)
def test_damaged_vllm_results(tmp_path: Path, changes: dict[str, object], error: type, says: str) -> None:
    with pytest.raises(error, match=says):
        read_trace(put(tmp_path, "v.json", bench(**changes)))


def test_two_runs_in_one_vllm_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FactError, match="one run a file"):
        read_trace(put(tmp_path, "v.json", bench() + "\n" + bench()))


def test_servegen_pool_draws_the_rates_it_states(tmp_path: Path) -> None:
    trace = read_trace(pool(tmp_path, clients=20), rng=np.random.default_rng(3))
    first, silent, last = np.histogram(trace.arrival_s, [0, 600, 1200, 1800])[0]
    assert first == 20 * 1200
    assert silent == 0
    assert last == 20 * 600
    early = trace.between(0, 600)
    assert set(early.input_tokens.tolist()) == {100, 300}
    assert early.input_tokens.mean() == pytest.approx(200, rel=0.02)
    late = trace.between(1200, 1800)
    assert set(late.input_tokens.tolist()) == {7}
    assert set(late.output_tokens.tolist()) == {1}


def test_servegen_gaps_follow_their_family(tmp_path: Path) -> None:
    """Gamma gaps of shape k vary by 1/sqrt(k); Weibull ones of shape c by sqrt(G(1+2/c)/G(1+1/c)^2 - 1)."""
    for shape, family, cv in ((0.25, "Gamma", 2.0), (0.5, "Weibull", np.sqrt(5.0))):
        folder = tmp_path / family
        folder.mkdir()
        trace = read_trace(pool(folder, rows=f"0,100.0,{cv},{family},{shape},1.0\n"))
        assert len(trace) == 60_000
        assert trace.cv == pytest.approx(cv, rel=0.05)


def test_servegen_is_the_same_for_the_same_seed_and_reads_one_client(tmp_path: Path) -> None:
    folder = pool(tmp_path, clients=2)
    one, two = (read_trace(folder, rng=np.random.default_rng(5)) for _ in range(2))
    assert one.arrival_s.tobytes() == two.arrival_s.tobytes()
    alone = read_trace(folder / "chunk-1-trace.csv", rng=np.random.default_rng(5))
    assert 2 * len(alone) == len(one)
    part = read_trace(folder, TraceReadOptions(start_s=1200, end_s=1500), np.random.default_rng(5))
    assert 0 <= part.arrival_s.min() <= part.arrival_s.max() < 300


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ("0,2.0,1.5,Pareto,1,1\n", "line 1: family: unknown 'Pareto'.*Gamma, Weibull"),
        ("0,x,1.5,Gamma,1,1\n", "line 1: cell 2 is not a number"),
        ("0,2.0,1.5,Gamma\n", "has 4 cells"),
        ("600,2.0,1.5,Gamma,1,1\n0,2.0,1.5,Gamma,1,1\n", "does not increase"),
        ("0,1e9,1.5,Gamma,1,1\n", "describes 6e.11 requests"),
        ("0,2.0,1.5,Gamma,-1,1\n", "shape > 0"),
        ("0,,,,,\n", "describes no request"),
    ],
)
def test_damaged_servegen_pools(tmp_path: Path, rows: str, says: str) -> None:
    with pytest.raises(FactError, match=says):
        read_trace(pool(tmp_path, rows=rows))


@pytest.mark.parametrize(
    ("dataset", "says"),
    [
        ('{"0": {"text_tokens": "{1: 1.0}"}}', "0.input_tokens: is missing among text_tokens"),
        ('{"0": {"input_tokens": "{1: }", "output_tokens": "{1: 1.0}"}}', "not a table of token counts"),
        ('{"0": {"input_tokens": "{1: -1.0}", "output_tokens": "{1: 1.0}"}}', "negative or no weights"),
        ('{"0": {"input_tokens": "{}", "output_tokens": "{}"}}', "gives no lengths"),
        ("{", "not readable as JSON"),
    ],
)
def test_damaged_servegen_lengths(tmp_path: Path, dataset: str, says: str) -> None:
    folder = pool(tmp_path)
    put(folder, "chunk-1-dataset.json", dataset)
    with pytest.raises(FactError, match=says):
        read_trace(folder)


SAMPLES = Path(__file__).parent / "traces"
TABLES = SAMPLES / "servegen_tables"


def test_tables_of_clients_give_the_requests_of_their_pool() -> None:
    """The same statistics in the two forms: the same draws."""
    pooled, tabled = read_trace(SAMPLES / "servegen"), read_trace(TABLES)
    for name in ("arrival_s", "input_tokens", "output_tokens", "tenant"):
        assert getattr(pooled, name).tolist() == getattr(tabled, name).tolist()
    assert tabled.tenants == ("small client 1", "small client 2")
    for file in ("pool_arrivals.csv", "pool_lengths.csv"):
        assert read_trace(TABLES / file).arrival_s.tolist() == tabled.arrival_s.tolist()


def test_tables_in_parquet_are_those_in_csv(tmp_path: Path) -> None:
    for part in ("arrivals", "lengths"):
        names, *rows = [line.split(",") for line in (TABLES / f"pool_{part}.csv").read_text().split()]
        columns: dict[str, list[object]] = {
            name: [_number(cell) for cell in cells] for name, cells in zip(names, zip(*rows, strict=True), strict=True)
        }
        write_columns(tmp_path / f"pool_{part}.parquet", columns, {})
    assert read_trace(tmp_path).arrival_s.tolist() == read_trace(TABLES).arrival_s.tolist()


CELLS = {"customer": ["a", "b", None], "input_tokens": [10, 20, 30], "output_tokens": [1, 2, 3]}


@pytest.mark.parametrize(
    ("arrival", "columns"),
    [
        ({"arrival_s": [0.5, 1.0, 2.25]}, {"tenant": "customer"}),
        ({"sent": [datetime(2024, 5, 10, 2, 0, second) for second in (0, 1, 5)]}, {}),
        ({"sent": [datetime(2024, 5, 10, 2, 0, second, tzinfo=UTC) for second in (0, 1, 5)]}, {}),
        ({"sent": [{"ms": 500}, {"ms": 1000}, {"ms": 2250}]}, {"arrival": "sent.ms", "unit": "ms"}),
    ],
)
def test_a_table_is_read_from_parquet_as_from_text(
    tmp_path: Path, arrival: dict[str, list[Any]], columns: dict[str, Any]
) -> None:
    """Known by its columns or named; times as such, values inside of others, empty cells."""
    cells = {**arrival, **CELLS}
    write_columns(tmp_path / "requests.parquet", cells, {})
    rows = [dict(zip(cells, row, strict=True)) for row in zip(*cells.values(), strict=True)]
    text = put(
        tmp_path, "requests.jsonl", "\n".join(json.dumps(row, default=lambda at: at.isoformat()) for row in rows)
    )
    given = {"arrival": "sent", "input": "input_tokens", "output": "output_tokens", "tenant": "customer"}
    named = TraceColumnNames(**(columns if "arrival_s" in cells else given | columns))
    stored, told = (read_trace(file, TraceReadOptions(columns=named)) for file in (tmp_path / "requests.parquet", text))
    assert stored.arrival_s.tolist() == told.arrival_s.tolist() and stored.arrival_s[-1] in (1.75, 2.25, 5.0)
    assert stored.input_tokens.tolist() == [10, 20, 30] and stored.output_tokens.tolist() == [1, 2, 3]
    assert stored.tenant is not None and told.tenant is not None
    assert stored.tenant.tolist() == told.tenant.tolist() and stored.tenants == told.tenants


@pytest.mark.parametrize("name", ["requests.csv", "requests.parquet", "requests.csv.gz"])
def test_a_file_that_is_none_of_these_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(bytes(range(128, 256)) * 4)
    named = TraceColumnNames(arrival="when", input="prompt", output="reply")
    for reading in (TraceReadOptions(columns=named), TraceReadOptions()):
        with pytest.raises(FactError, match=r"requests\.[a-z.]*: file"):
            read_trace(tmp_path / name, reading)


def _number(cell: str) -> object:
    try:
        return float(cell) if "." in cell else int(cell)
    except ValueError:
        return cell or None


def test_tenants_of_a_trace_may_be_chosen(tmp_path: Path) -> None:
    whole = read_trace(TABLES)
    alone = read_trace(TABLES, TraceReadOptions(tenants=("small client 2",)))
    assert len(alone) == int((whole.tenant == 1).sum()) and alone.tenants == ("small client 2",)
    rows = "arrival_s,input_tokens,output_tokens,tenant\n0,1,1,a\n1,2,2,b\n2,3,3,a\n"
    plain = put(tmp_path, "plain.csv", rows)
    assert read_trace(plain, TraceReadOptions(tenants=("a",))).input_tokens.tolist() == [1, 3]
    for file in (TABLES, plain):
        with pytest.raises(FactError, match=r"no tenant 'c'.*(client 2|a, b)"):
            read_trace(file, TraceReadOptions(tenants=("c",)))


@pytest.mark.parametrize(
    ("part", "old", "new", "says"),
    [
        ("arrivals", "small,2,0,", "large,2,0,", "ask 2 models, large, small.*large client 2"),
        ("arrivals", "Weibull", "Pareto", "family: unknown 'Pareto'.*Gamma, Weibull"),
        ("arrivals", "small,1,0,2.0", "small,1,0,-2.0", "rate >= 0, shape > 0"),
        ("arrivals", "small,1,0,", "small,1,now,", "window_s: is not a number"),
        ("arrivals", "small,1,600", "small,1,0", "does not increase"),
        ("lengths", "100,0.5", "100,-0.5", "row 1: has a cell that is no number from 0"),
        ("lengths", "output_tokens", "text_tokens", "gives no lengths"),
        ("lengths", "quantity", "what", "quantity: no such column"),
    ],
)
def test_damaged_tables_of_clients(tmp_path: Path, part: str, old: str, new: str, says: str) -> None:
    for name in ("arrivals", "lengths"):
        text = (TABLES / f"pool_{name}.csv").read_text()
        assert name != part or old in text
        put(tmp_path, f"pool_{name}.csv", text.replace(old, new) if name == part else text)
    with pytest.raises(FactError, match=says):
        read_trace(tmp_path)


def test_a_table_of_clients_alone_names_what_is_missing(tmp_path: Path) -> None:
    file = put(tmp_path, "pool_arrivals.csv", (TABLES / "pool_arrivals.csv").read_text())
    with pytest.raises(FactError, match=r"missing is pool_lengths\.csv"):
        read_trace(file)


BAD_ROWS = [
    ("2023-11-16 18:15:51.3,,5", "input_tokens is missing or not a number"),
    ("2023-11-16 18:15:51.3,7", "output_tokens is missing or not a number"),
    ("2023-11-16 18:15:51.3,nan,5", "input_tokens is missing or not a number"),
    ("2023-11-16 18:15:51.3,-7,5", r"input_tokens is negative \(-7\)"),
    ("2023-11-16 18:15:51.3,7,0", r"output_tokens is zero \(0\)"),
    ("2023-11-16 18:15:51.3,7,2e7", r"output_tokens is absurd \(20000000\)"),
    ("2023-11-16 18:15:51.3,7,inf", "output_tokens is absurd"),
    ("2023-11-16 18:15:51.3,7.5,1", "input_tokens is not a whole number"),
    ("yesterday evening at six,7,1", "arrival_s is missing or not a time"),
    ("9023-11-16 18:15:51.3,7,1", "arrival_s is missing or not a time"),
    ("2053-11-16 18:15:51.3,7,1", "arrival_s is absurd"),
]


@pytest.mark.parametrize(("row", "says"), BAD_ROWS)
def test_a_bad_row_is_named_and_nothing_returned(tmp_path: Path, row: str, says: str) -> None:
    path = put(tmp_path, "a.csv", AZURE + row + "\n2023-11-16 18:15:59.0000000,1,1\n")
    with pytest.raises(RecordError, match=f"a.csv: 1 bad row: row 5: {says}"):
        read_trace(path)
    kept = read_trace(path, SKIP)
    assert (len(kept), kept.dropped) == (4, 1)
    assert kept.arrival_s[-1] == pytest.approx(12.31941)


def test_the_first_five_bad_rows_are_named_and_all_counted(tmp_path: Path) -> None:
    path = put(tmp_path, "a.csv", AZURE + "x,1,1\n" * 9)
    with pytest.raises(RecordError) as caught:
        read_trace(path)
    assert [row for row, _ in caught.value.rows] == [5, 6, 7, 8, 9]
    assert caught.value.total == 9


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "row 4: is not a JSON object"),
        ("[1]", "row 4: is not a JSON object"),
        ('{"timestamp": 4000, "input_length": 9}', "row 4: output_tokens is missing"),
        ('{"timestamp": "soon", "input_length": 9, "output_length": 1}', "row 4: arrival_s is missing"),
        ('{"timestamp": 4000, "input_length": NaN, "output_length": 1}', "row 4: input_tokens is missing"),
        ('{"timestamp": 4000, "input_length": 9, "output_length": 1, "hash_ids": [0.5]}', "hash_ids is not a list"),
        ('{"timestamp": 4000, "input_length": 9, "output_length": 1, "hash_ids": [1, 2, 3]}', "covers 1536 tokens"),
    ],
)
def test_damaged_mooncake_rows(tmp_path: Path, line: str, says: str) -> None:
    path = put(tmp_path, "m.jsonl", MOONCAKE + "\n" + line + "\n")
    with pytest.raises(RecordError, match=says):
        read_trace(path)
    kept = read_trace(path, SKIP)
    assert kept.blocks is not None
    assert (len(kept), kept.dropped, len(kept.blocks.ids)) == (3, 1, 6)


@pytest.mark.parametrize(
    "text", ["", "hello\n", "a,b,c\n1,2,3\n", '{"x": 1}\n', AZURE.replace("ContextTokens", "Tokens")]
)
def test_an_unknown_format_lists_the_accepted_ones(tmp_path: Path, text: str) -> None:
    with pytest.raises(FactError, match="not a trace format that is known") as caught:
        read_trace(put(tmp_path, "x.csv", text))
    assert all(reader.name in str(caught.value) for reader in readers())


def test_no_file_no_text_no_rows(tmp_path: Path) -> None:
    with pytest.raises(FactError, match=r"No such file"):
        read_trace(tmp_path / "absent.csv")
    (tmp_path / "binary.csv").write_bytes(bytes(range(256)))
    with pytest.raises(FactError, match="UTF-8"):
        read_trace(tmp_path / "binary.csv")
    with pytest.raises(FactError, match="has no usable request"):
        read_trace(put(tmp_path, "a.csv", "TIMESTAMP,ContextTokens,GeneratedTokens\n"))
    with pytest.raises(FactError, match=r"no request in \[100, inf\) s"):
        read_trace(put(tmp_path, "b.csv", AZURE), TraceReadOptions(start_s=100))


@settings(max_examples=150, deadline=None)
@given(
    start=st.sampled_from([AZURE, BURST, MOONCAKE, PLAIN, bench(), ""]),
    cut=st.integers(0, 400),
    junk=st.text(max_size=60),
    skip=st.booleans(),
)
def test_damage_anywhere_never_gives_a_traceback(
    tmp_path_factory: pytest.TempPathFactory, start: str, cut: int, junk: str, skip: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.csv"
    path.write_text(start[:cut] + junk + start[cut:], encoding="utf-8", errors="surrogatepass", newline="")
    try:
        trace = read_trace(path, TraceReadOptions(skip_bad=skip))
    except ComptrollerError:
        return
    assert len(trace) > 0
    assert (np.diff(trace.arrival_s) >= 0).all()
    assert min(trace.input_tokens.min(), trace.output_tokens.min()) >= 1
    assert trace.dropped == 0 or skip


@settings(max_examples=50, deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.floats(0, 1e6), st.integers(1, 10**7), st.integers(1, 10**7), st.floats(0, 100)),
        min_size=1,
        max_size=40,
    )
)
def test_a_written_trace_reads_back_the_same(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[float, int, int, float]]
) -> None:
    arrival, inputs, outputs, took = (np.array(column) for column in zip(*sorted(rows), strict=True))
    trace = RequestTrace(arrival - arrival[0], inputs, outputs, measured=TraceLatencies(took, 2 * took))
    path = tmp_path_factory.getbasetemp() / "round.csv"
    write(trace, path)
    back = read_trace(path)
    assert back.arrival_s.tobytes() == trace.arrival_s.tobytes()
    assert back.input_tokens.tolist() == inputs.tolist()
    assert back.output_tokens.tolist() == outputs.tolist()
    assert back.measured is not None
    assert back.measured.ttft_s == pytest.approx(took, abs=1e-9)


def test_blank_lines_count_in_the_middle_and_not_at_the_end(tmp_path: Path) -> None:
    for rows in (2, CHUNK - 1, CHUNK):
        text = "arrival_s,input_tokens,output_tokens\n" + "1,1,1\n" * rows
        assert len(read_trace(put(tmp_path, "p.csv", text + "\n\n"))) == rows
        with pytest.raises(RecordError, match=rf"1 bad row: row {rows + 2}: input_tokens is missing"):
            read_trace(put(tmp_path, "p.csv", text + "\n1,1,1\n"))


def test_large_files_are_read_in_chunks(tmp_path: Path) -> None:
    rows = 10 * CHUNK + 7
    text = "arrival_s,input_tokens,output_tokens\n" + "".join(f"{i},{i % 7 + 1},2\n" for i in range(rows))
    path = put(tmp_path, "p.csv", text)
    trace = read_trace(path)
    assert (len(trace), trace.arrival_s[-1], int(trace.input_tokens[-1])) == (rows, rows - 1, (rows - 1) % 7 + 1)
    with path.open("a") as file:
        file.write("5,-1,1\n")
    with pytest.raises(RecordError, match=f"row {rows + 2}: input_tokens is negative"):
        read_trace(path)


def calls(work: Callable[[], object]) -> int:
    """Calls of functions, in Python and in C, that a piece of work makes: the same on every machine."""
    count = 0

    def seen(frame: object, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(seen)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


MOONCAKE_ROW = '{{"timestamp": {i}, "input_length": 500, "output_length": 2, "hash_ids": [{i}]}}\n'


@pytest.mark.parametrize(
    ("name", "head", "row", "most"),
    [
        ("plain.csv", "arrival_s,input_tokens,output_tokens\n", "{i},{n},2\n", 6),
        (
            "mooncake.jsonl",
            "",
            '{{"timestamp": {i}, "input_length": 500, "output_length": 2, "hash_ids": [{i}]}}\n',
            60,
        ),
    ],
    ids=["columns", "objects"],
)
def test_a_row_is_read_and_summed_up_in_few_calls(tmp_path: Path, name: str, head: str, row: str, most: int) -> None:
    """A loop over all earlier rows, or over the tokens of a row, would pass the bound at once."""
    rows = 2 * CHUNK
    put(tmp_path, name, head + "".join(row.format(i=i, n=i % 2000 + 1) for i in range(rows)))
    assert calls(lambda: summary(read_trace(tmp_path / name))) < most * rows


# What the publishers' own counts and the notes beside the data state.
PUBLISHED = [
    ("azure_2023_conv.csv", 19366, 3501.7, 5.53, 1154.7, 211.1, None),
    ("azure_2023_code.csv", 8819, 3435.9, 2.57, 2047.8, 27.9, None),
    ("mooncake_conversation.jsonl", 12031, 3537.0, 3.40, 12035, 342.6, 0.366),
    ("mooncake_synthetic.jsonl", 3993, 1022.0, 3.91, 15325, 149.1, 0.640),
]


@pytest.mark.parametrize("published", PUBLISHED, ids=lambda row: row[0])
def test_public_traces_have_their_published_shape(published: tuple[Any, ...]) -> None:
    name, rows, span_s, rate, inputs, outputs, reuse = published
    path = DATA / "traces" / name
    if not path.exists():
        pytest.skip(f"{path} is not there")
    seen = summary(read_trace(path))
    assert seen.requests == rows
    assert seen.span_s == pytest.approx(span_s, abs=0.06)
    assert seen.rate_per_s == pytest.approx(rate, abs=0.006)
    assert seen.mean_input_tokens == pytest.approx(inputs, abs=0.6)
    assert seen.mean_output_tokens == pytest.approx(outputs, abs=0.06)
    assert seen.block_reuse is None if reuse is None else seen.block_reuse == pytest.approx(reuse, abs=5e-4)


def table(folder: Path, cells: list[str], **columns: str | int) -> RequestTrace:
    """A trace of requests of one size with such arrivals, in a table of unknown format."""
    text = "when;in;out\n" + "".join(f"{cell};10;2\n" for cell in cells)
    named = TraceColumnNames.model_validate({"arrival": "when", "input": "in", "output": "out"} | columns)
    return read_trace(put(folder, "own.csv", text), TraceReadOptions(columns=named))


TIMES = {
    "offset": (["2024-05-10 02:00:00.5+02:00", "2024-05-10T00:00:01Z", "2024-05-09 19:00:02.5-05:00"], {}),
    "short offsets": (["2024-05-10 02:00:00.5+02", "2024-05-10 05:30:01 +0530", "2024-05-10T00:00:02.5 UTC"], {}),
    "no offset": (["2024-05-10 00:00:00.5", "2024-05-10T00:00:01.0", "2024-05-10 00:00:02.500"], {}),
    "epoch s": (["1715299200.5", "1715299201", "1715299202.5"], {}),
    "epoch ms": (["1715299200500", "1715299201000", "1715299202500"], {}),
    "epoch us": (["1715299200500000", "1715299201000000", "1715299202500000"], {}),
    "epoch ns": (["1715299200500000000", "1715299201000000000", "1715299202500000000"], {}),
    "unit": (["1500", "2000", "3500"], {"unit": "ms"}),
}


@pytest.mark.parametrize("name", TIMES)
def test_times_in_every_form(name: str, tmp_path: Path) -> None:
    """02:00:00.5 two hours ahead of UTC is 00:00:00.5 UTC, which is second 0."""
    cells, columns = TIMES[name]
    trace = table(tmp_path, cells, **columns)
    assert trace.arrival_s.tolist() == pytest.approx([0.0, 0.5, 2.0], abs=1e-6)
    said = " ".join(trace.notes)
    assert ("second 0 is 2024-05-10 00:00:00.500 UTC" in said) == (name != "unit")
    assert ("read as UTC" in said) == (name == "no offset")
    assert (f"read as {name[6:]} since 1970" in said) == name.startswith("epoch")


def test_the_name_of_a_column_states_its_unit(tmp_path: Path) -> None:
    text = "sent_ms,in,out\n100,1,1\n350,1,1\n"
    named = TraceColumnNames(arrival="sent_ms", input="in", output="out")
    trace = read_trace(put(tmp_path, "own.csv", text), TraceReadOptions(columns=named))
    assert trace.arrival_s.tolist() == pytest.approx([0.0, 0.25])


@pytest.mark.parametrize(
    ("cells", "columns", "says"),
    [
        (["5", "7", "9"], {}, "own.csv: when: numbers about 7 are no .*columns.unit: s, ms, us, ns; --column unit=s"),
        (["1e11", "1e11"], {}, "nothing says their unit"),
        (["1715299200500", "1715299201000"], {"unit": "s"}, "is after the year 2286; ms since 1970"),
        (["2024-05-10 00:00:00+02:00", "2024-05-10 00:00:01"], {}, "when: some time stamps have an offset from UTC"),
        (["5", "7"], {"session": "talk"}, "own.csv: columns.session: no column 'talk' .*when, in, out"),
        (["5", "7"], {"unit": "s", "blocks": "in"}, "columns.block_tokens: is missing"),
    ],
)
def test_times_and_columns_that_are_not_understood(
    cells: list[str], columns: dict[str, str | int], says: str, tmp_path: Path
) -> None:
    with pytest.raises(FactError, match=says):
        table(tmp_path, cells, **columns)


OWN = """at,prompt,reply,customer,urgency,talk,region
1715299202,30,3,shop,1,b,eu
1715299200,10,1,shop,0.5,a,eu
1715299201,20,2,,2,a,us
"""
OWN_NAMES = {"arrival": "at", "input": "prompt", "output": "reply"}


def test_columns_named_by_what_they_hold(tmp_path: Path) -> None:
    named = TraceColumnNames(**OWN_NAMES, tenant="customer", priority="urgency", session="talk")
    trace = read_trace(put(tmp_path, "own.csv", OWN), TraceReadOptions(columns=named))
    assert trace.input_tokens.tolist() == [10, 20, 30]
    assert trace.tenant is not None and trace.priority is not None and trace.session is not None
    assert [trace.tenants[number] for number in trace.tenant] == ["shop", "", "shop"]
    assert trace.priority.tolist() == [0.5, 2.0, 1.0]
    assert trace.session.tolist() == [1, 1, 0]
    assert trace.notes[-1] == "rows that arrive before a row above them: 2; sorted by arrival"
    part = trace.take(np.array([2, 0]))
    assert part.tenant is not None and part.priority is not None
    assert (part.tenant.tolist(), part.priority.tolist()) == ([0, 0], [1.0, 0.5])


def test_a_column_that_may_matter_and_is_not_used_is_said_once(tmp_path: Path) -> None:
    trace = read_trace(put(tmp_path, "own.csv", OWN), TraceReadOptions(columns=TraceColumnNames(**OWN_NAMES)))
    assert [note for note in trace.notes if "customer" in note] == [
        "not used of own.csv, though it may matter: customer, urgency"
    ]


def test_a_priority_that_is_no_number_is_a_bad_row(tmp_path: Path) -> None:
    named = TraceColumnNames(**OWN_NAMES, priority="region")
    with pytest.raises(RecordError, match="3 bad rows: row 2: priority is missing or not a number"):
        read_trace(put(tmp_path, "own.csv", OWN), TraceReadOptions(columns=named))


def test_one_column_of_a_known_format_may_be_named_alone(tmp_path: Path) -> None:
    text = AZURE.replace("Tokens\n", "Tokens,who\n").replace("44\n", "44,a\n").replace("109\n", "109,b\n")
    path = put(tmp_path, "a.csv", text.replace("55\n", "55,a\n"))
    trace = read_trace(path, TraceReadOptions(columns=TraceColumnNames(tenant="who")))
    assert trace.tenants == ("a", "b") and trace.arrival_s[-1] == pytest.approx(4.541877, abs=1e-9)
    with pytest.raises(FactError, match=r"columns\.tenant: a trace of vllm_bench has no columns to name"):
        read_trace(put(tmp_path, "v.json", bench()), TraceReadOptions(columns=TraceColumnNames(tenant="who")))


def test_json_lines_are_read_by_dotted_names(tmp_path: Path) -> None:
    rows = [{"req": {"t": 1715299200000 + 500 * i, "n": 7 + i}, "got": {"n": 3}, "user": "ab"[i]} for i in range(2)]
    named = TraceColumnNames(arrival="req.t", input="req.n", output="got.n", tenant="user")
    text = "\n".join(map(json.dumps, rows))
    trace = read_trace(put(tmp_path, "own.jsonl", text), TraceReadOptions(columns=named))
    assert (trace.arrival_s.tolist(), trace.input_tokens.tolist(), trace.tenants) == ([0.0, 0.5], [7, 8], ("a", "b"))


def test_prefix_blocks_of_another_size(tmp_path: Path) -> None:
    row = {"timestamp": 0, "input_length": 40, "output_length": 5, "hash_ids": [3, 4, 5]}
    text = "\n".join(json.dumps(row | {"timestamp": at}) for at in (0, 9))
    path = put(tmp_path, "m.jsonl", text)
    with pytest.raises(RecordError, match=r"covers 1536 tokens, input_length is 40 \(columns.block_tokens is 512\)"):
        read_trace(path)
    trace = read_trace(path, TraceReadOptions(columns=TraceColumnNames(block_tokens=16)))
    assert trace.blocks is not None and (trace.blocks.tokens, trace.blocks.reuse) == (16, 0.5)


def test_turns_of_aiperf_hold_what_was_said_before() -> None:
    """42,277 + 335 + 1,855 tokens: the first prompt, its reply, and the second turn's own."""
    trace = read_trace(SAMPLES / "aiperf.jsonl")
    assert trace.session is not None and trace.blocks is not None
    first = np.flatnonzero(trace.session == 0)
    assert trace.input_tokens[first].tolist() == [42277, 44467, 47657]
    assert trace.arrival_s[first].tolist() == pytest.approx([0.0, 12.2193, 19.7823])
    ids = [trace.blocks.ids[trace.blocks.offsets[i] : trace.blocks.offsets[i + 1]].tolist() for i in first]
    whole = 42277 // 512
    assert ids[0][:whole] == ids[1][:whole] == [*range(63), *range(9263, 9282)]
    assert ids[2][: 44467 // 512] == ids[1][: 44467 // 512]
    other = trace.blocks.ids[trace.blocks.offsets[1] : trace.blocks.offsets[2]].tolist()
    assert other[:63] == ids[0][:63] and not set(other[63:]) & set(ids[2][63:])


def test_texts_are_estimated_and_said_to_be(tmp_path: Path) -> None:
    trace = read_trace(SAMPLES / "sharegpt.json", TraceReadOptions(rate_per_s=1.0))
    assert trace.session is not None
    talk = trace.session == trace.session[trace.input_tokens == 32]
    assert trace.input_tokens[talk].tolist() == [3, 32], "12 bytes; 3 + 25 for the reply of 99 bytes + 4 for 16 bytes"
    assert any("bytes of text over 4" in note for note in trace.notes)
    turns = {"session_id": "s", "turns": [{"text": "What?"}, {"text": "Why?"}]}
    with pytest.raises(FactError, match="output_length: no turn has one"):
        read_trace(put(tmp_path, "a.jsonl", json.dumps(turns)), TraceReadOptions(rate_per_s=1.0))


def test_sums_of_the_usage_api_are_no_requests(tmp_path: Path) -> None:
    page = {"object": "page", "data": [{"object": "bucket", "results": [{"num_model_requests": 5}]}]}
    with pytest.raises(FactError, match="num_model_requests: sums of requests, not requests"):
        read_trace(put(tmp_path, "u.json", json.dumps(page)))


def test_token_ids_of_llmservingsim_give_prefix_blocks() -> None:
    trace = read_trace(SAMPLES / "llmservingsim.jsonl", TraceReadOptions(columns=TraceColumnNames(block_tokens=5)))
    assert trace.blocks is not None
    ids = np.split(trace.blocks.ids, trace.blocks.offsets[1:-1])
    assert [part[:2].tolist() for part in ids] == [[0, 1]] * 3, "the first ten tokens are the same"
    assert len({int(part[2]) for part in ids if len(part) > 2}) == 2


def test_clients_of_servegen_are_tenants(tmp_path: Path) -> None:
    trace = read_trace(pool(tmp_path, clients=2))
    assert trace.tenant is not None and trace.tenants == ("client 1", "client 2")
    assert np.bincount(trace.tenant).tolist() == [len(trace) / 2] * 2


def test_a_key_of_a_conversation_that_is_not_used_is_said_once(tmp_path: Path) -> None:
    lines = (SAMPLES / "aiperf.jsonl").read_text().splitlines()
    rows = [json.loads(line) | {"extra": {"nvext": {"priority": 9}}} for line in lines]
    trace = read_trace(put(tmp_path, "a.jsonl", "\n".join(map(json.dumps, rows))))
    assert "not used of a.jsonl, though it may matter: extra.nvext.priority" in trace.notes
