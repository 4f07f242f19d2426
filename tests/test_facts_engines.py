"""Every engine file states the defaults that its own documentation states."""

import re
from datetime import date

import pytest

from comptroller.costs.deployment import EngineSettings
from comptroller.errors import FactError, UnknownIdError
from comptroller.facts.accelerator import accelerator
from comptroller.facts.engine import engine_facts
from comptroller.facts.reader import ids

every = pytest.mark.parametrize("name", ids("engines"))


def test_the_folder_holds_every_expected_engine() -> None:
    assert set(ids("engines")) >= {"vllm", "sglang", "trtllm", "llama_cpp"}


@every
def test_every_quantity_has_a_dated_public_source(name: str) -> None:
    engine = engine_facts(name)
    assert set(engine.provenance) - {"logit_bytes"} == {"fraction", "graph_bytes"}
    assert set(engine.provenance.values()) <= set(engine.sources)
    for source in engine.sources.values():
        assert re.match(r"https://[\w.-]+/\S+$", source.url)
        assert date(2023, 1, 1) <= source.date <= date(2026, 12, 31)


@every
def test_an_engine_is_plausible(name: str) -> None:
    engine = engine_facts(name)
    assert 0.5 <= engine.fraction <= 1
    assert engine.graph_bytes == 0 or 1e8 <= engine.graph_bytes <= 1e10, "none are captured, or they take this"
    assert engine.kv_block_tokens & (engine.kv_block_tokens - 1) == 0, "blocks are powers of two"
    assert 256 <= engine.chunk_tokens <= 65536
    assert 1 <= engine.max_batch <= 8192
    assert engine.version


@every
def test_an_engine_runs_on_accelerators_that_are_known(name: str) -> None:
    makers = {accelerator(device).vendor for device in ids("accelerators")}
    assert set(engine_facts(name).vendors) & makers
    assert set(engine_facts(name).vendors) <= makers | {"Intel"}


@pytest.mark.parametrize(
    ("name", "block", "chunk", "batch", "fraction"),
    [
        ("vllm", 16, 8192, 1024, 0.9),
        ("sglang", 1, 8192, 4096, 0.88),
        ("trtllm", 32, 8192, 2048, 0.9),
        ("llama_cpp", 1, 2048, 4, 1.0),
    ],
)
def test_defaults_are_the_documented_ones(name: str, block: int, chunk: int, batch: int, fraction: float) -> None:
    engine = engine_facts(name)
    assert (engine.kv_block_tokens, engine.chunk_tokens, engine.max_batch) == (block, chunk, batch)
    assert engine.fraction == fraction


def test_an_engine_at_a_version_is_of_its_generation_and_its_program() -> None:
    old, own = engine_facts("vllm@0.6.3"), EngineSettings.default(engine_facts("vllm@0.6.3"))
    assert (own.id, own.version, own.launched_as, own.generation) == ("vllm@0.6.3", "0.6.3", "vllm", "v0")
    assert old.kv_block_tokens == engine_facts("vllm").kv_block_tokens
    assert EngineSettings.default(engine_facts("vllm@0.13")).generation == ""
    with pytest.raises(FactError, match="starts with no number"):
        engine_facts("vllm@new")
    with pytest.raises(UnknownIdError, match="vllm"):
        engine_facts("vlm@0.6")
