"""Launch commands: one suite over every engine's file and table; what is launched is what was planned, or refused."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from itertools import product

import pytest

from comptroller.costs.deployment import EngineSettings, ModelReplica, ParallelLayout, PrecisionRecipe
from comptroller.errors import FactError, UnknownIdError, UnsupportedError
from comptroller.facts.accelerator import Accelerator, accelerator
from comptroller.facts.config import listed_checkpoints, model
from comptroller.facts.converter import converter
from comptroller.facts.engine import engine_facts
from comptroller.facts.engine_formats import EngineFormats, engine_formats, in_range
from comptroller.facts.format import format_
from comptroller.facts.model import Model
from comptroller.facts.reader import FactEntry, fact_of, folder, ids, parse_toml, real_ids
from comptroller.launch import WHAT_IF, checkpoint, command, engines, launchable, line
from comptroller.measure.host import FAMILIES as HOST_FAMILIES
from comptroller.planning.offer.deployments import RejectionTally, recipes

SIXTEEN = {"bf16", "fp16", "fp32"}
WIDE = ModelReplica(
    model("deepseek_r1"),
    accelerator("h200_sxm"),
    PrecisionRecipe("fp8_block", "fp8_block", "fp8_block", "fp8_e4m3"),
    ParallelLayout(tp=4, pp=2, dp=2, ep=8),
    EngineSettings.default(engine_facts("vllm")),
)
PLAIN = replace(WIDE, model=model("llama_3_1_70b"), recipe=PrecisionRecipe(), layout=ParallelLayout(4))


def on(engine: str, replica: ModelReplica = WIDE) -> list[str]:
    chosen = replace(replica, engine=replace(EngineSettings.default(engine_facts(engine)), max_batch=96))
    return shlex.split(command(chosen, 9000))


def asked(name: str, device: str, weights: str, activations: str, experts: str = "") -> ModelReplica:
    recipe = PrecisionRecipe(weights, experts or weights, activations, "bf16")
    return replace(PLAIN, model=model(name), device=accelerator(device), recipe=recipe)


@pytest.mark.parametrize("engine", engines())
def test_every_engine_has_facts_and_a_command_with_the_plan_in_it(engine: str) -> None:
    words = on(engine, PLAIN)
    assert "96" in words
    assert any("9000" in word or str(9000 * 96) in word for word in words)
    assert any("Llama-3.1-70B" in word or "llama_3_1_70b" in word for word in words)


def test_vllm_names_every_degree() -> None:
    line = " ".join(on("vllm"))
    assert "--tensor-parallel-size 4 --pipeline-parallel-size 2 --data-parallel-size 2" in line
    assert "--enable-expert-parallel" in line and "--kv-cache-dtype fp8" in line


def test_sglang_counts_attention_ranks_inside_tensor_parallelism() -> None:
    line = " ".join(on("sglang"))
    assert "--tp-size 8 --pp-size 2 --dp-size 2 --enable-dp-attention --ep-size 8" in line


def test_a_checkpoint_in_its_own_format_needs_no_flag() -> None:
    own = replace(WIDE, recipe=replace(WIDE.recipe, weights=WIDE.model.weights, experts=WIDE.model.experts))
    assert "--quantization" not in on("vllm", own)
    plain = replace(PLAIN, recipe=PrecisionRecipe("fp8_e4m3", "fp8_e4m3", "fp8_e4m3"))
    assert "--quantization fp8" in " ".join(on("vllm", plain))


def test_an_engine_without_a_file_lists_the_known_ones() -> None:
    with pytest.raises(UnknownIdError, match="vllm"):
        command(replace(WIDE, engine=replace(WIDE.engine, id="vlm")), 9000)


# what is launched is what was planned

MADE = {"--quantization fp8": "fp8_e4m3", "--quantization bitsandbytes": "nf4_dq"}
"""What engines make of a 16-bit checkpoint, by the argument that asks for it."""


def families() -> dict[str, Accelerator]:
    """A device of each family, the first by id."""
    found: dict[str, Accelerator] = {}
    for device in map(accelerator, real_ids("accelerators")):
        found.setdefault(device.family, device)
    return found


@lru_cache(maxsize=64)
def known_models(name: str) -> dict[str, Model]:
    listed = {one.repository: one for one in listed_checkpoints(name)}
    return listed | {model(name).repository: model(name)}


def served_formats(replica: ModelReplica) -> tuple[str, str]:
    """Formats of the weights and experts that a command serves, read off its words alone: its files and its flags."""
    text = command(replica, 9000)
    words, dtype = shlex.split(text), replica.recipe.activations
    made = [format for flag, format in MADE.items() if flag in text]
    here = known_models(replica.model.id)
    loaded = next((here[word] for word in words[:6] if word in here), None)
    if loaded is None:
        written = checkpoint(replica).conversion
        assert written is not None and written.path in words, text
        return (replica.recipe.weights, replica.recipe.experts)
    own = tuple(dtype if x in SIXTEEN and dtype in SIXTEEN else x for x in (loaded.weights, loaded.experts))
    assert not made or set(own) <= SIXTEEN, text
    weights, experts = (made[0], made[0]) if made else own
    return weights, experts if loaded.is_moe else replica.recipe.experts


def every_recipe(engine: str, name: str) -> Iterator[ModelReplica]:
    who, settings = model(name), EngineSettings.default(engine_facts(engine))
    for device in families().values():
        for recipe in recipes(who, device, ids("formats"), RejectionTally()):
            yield ModelReplica(who, device, recipe, ParallelLayout(1), settings)


@pytest.mark.parametrize(
    ("engine", "name"),
    [*product(engines(), ("llama_3_1_8b", "gpt_oss_120b", "deepseek_r1", "qwen3_32b", "qwen3_30b_a3b", "pythia_1b"))],
)
def test_what_is_launched_is_what_was_planned_or_refused(engine: str, name: str) -> None:
    """Every format of the catalogue on every family: the words of the line hold these formats, or there is no line."""
    launched, refused = 0, 0
    for planned in every_recipe(engine, name):
        try:
            recipe = launchable(planned.engine, planned.model, planned.device, planned.recipe)
        except UnsupportedError as error:
            assert str(error) and line(planned, 9000).startswith(WHAT_IF)
            refused += 1
            continue
        assert replace(recipe, activations=planned.recipe.activations) == planned.recipe
        replica = replace(planned, recipe=recipe)
        assert served_formats(replica) == (recipe.weights, recipe.experts), line(replica, 9000)
        wants_cache = format_(recipe.kv).bits_per_element < 16
        assert not wants_cache or any("cache" in word for word in shlex.split(command(replica, 9000)))
        launched += 1
    assert refused > 0 and (launched > 0 or name in {"gpt_oss_120b", "deepseek_r1"}), (engine, launched, refused)


@pytest.mark.parametrize(
    ("engine", "replica", "says"),
    [
        ("vllm", asked("llama_3_1_8b", "h100_sxm", "int3_g128", "bf16"), "Marlin takes 4 and 8 bits"),
        ("sglang", asked("llama_3_1_8b", "h100_sxm", "int5", "bf16"), "known there: bf16, fp16"),
        ("vllm", asked("gpt_oss_120b", "mi300x", "fp8_e4m3", "fp8_e4m3"), "published in bf16 and mxfp4"),
        ("vllm", asked("deepseek_r1", "b200_sxm", "nvfp4", "nvfp4"), "published in fp8_block"),
        ("vllm", asked("llama_3_1_8b", "h100_sxm", "fp8_e4m3", "bf16"), "takes activations in fp8_e4m3"),
        ("trtllm", replace(PLAIN, recipe=PrecisionRecipe(kv="fp8_e4m3")), "before 1.3 is not known to keep its cache"),
        ("llama_cpp", asked("llama_3_1_8b", "gaudi3", "bf16", "bf16"), "on gaudi: known there: nothing"),
    ],
)
def test_what_cannot_be_launched_says_why(engine: str, replica: ModelReplica, says: str) -> None:
    chosen = replace(replica, engine=EngineSettings.default(engine_facts(engine)))
    with pytest.raises(UnsupportedError, match=says):
        command(chosen, 9000)
    assert line(chosen, 9000).startswith(WHAT_IF) and "\n" not in line(chosen, 9000)


def test_gpt_oss_is_launched_in_its_own_format_on_amd() -> None:
    words = on("vllm", asked("gpt_oss_120b", "mi300x", "bf16", "bf16", "mxfp4"))
    assert "openai/gpt-oss-120b" in words and "--quantization" not in words


def test_a_version_that_the_table_was_not_read_for_is_refused() -> None:
    old = replace(PLAIN, engine=replace(PLAIN.engine, version="0.9.2"))
    with pytest.raises(UnsupportedError, match=r"vllm 0\.9\.2 .* versions 0\.11 to below 0\.16"):
        command(old, 9000)
    assert not in_range("nightly", "0.11", "0.16") and not in_range("0.16", "0.11", "0.16")


def test_a_listed_repository_is_taken_before_anything_is_made() -> None:
    found = checkpoint(asked("qwen3_32b", "h100_sxm", "fp8_block", "fp8_block"))
    assert (found.path, found.listed, found.conversion) == ("Qwen/Qwen3-32B-FP8", True, None)


def test_another_release_of_a_model_does_not_get_the_weights_of_a_listed_one() -> None:
    release = model("Qwen/Qwen3-235B-A22B-Thinking-2507")
    replica = replace(asked("qwen3_235b_a22b", "h100_sxm", "fp8_block", "fp8_block"), model=release)
    assert checkpoint(replica).path != "Qwen/Qwen3-235B-A22B-FP8"


def test_a_conversion_has_its_command_time_and_disk() -> None:
    made = checkpoint(asked("llama_3_1_70b", "h100_sxm", "int4_g128", "bf16")).conversion
    assert made is not None and made.time_s is not None
    assert f'"{model("llama_3_1_70b").repository}"' in made.command and "bits=4, group_size=128" in made.command
    assert shlex.split(made.command)[:2] == ["python", "-c"]
    compile(shlex.split(made.command)[2], "conversion", "exec")
    assert made.disk_bytes == pytest.approx(70.55e9 * (2 + 4.125 / 8), rel=0.02)
    assert made.time_s == pytest.approx(1800 * 70.55 / 8.03, rel=0.01)


# the tables


def timed() -> set[tuple[str, str, str, str]]:
    """(engine, format, family, op) of the kernels that were timed on a device of their own."""
    kernels = parse_toml(folder("calibration") / "kernels.toml")["kernels"]
    own = [row for row in kernels if row["level"] == "system" and row["op"] in {"gemm", "moe"}]
    known = set(ids("accelerators"))
    return {(x["engine"], x["format"], accelerator(x["where"]).family, x["op"]) for x in own if x["where"] in known}


def test_every_engine_that_can_be_launched_has_a_table_and_no_other() -> None:
    assert set(ids("engine_formats")) == set(engines()) == set(ids("engines"))


@pytest.mark.parametrize("engine", engines())
def test_a_table_speaks_of_the_catalogue_and_has_sources(engine: str) -> None:
    table, names = engine_formats(engine), {device.family for device in map(accelerator, ids("accelerators"))}
    names |= set(HOST_FAMILIES.values())
    assert in_range(engine_facts(engine).version, table.since, table.before)
    for row in table.rows:
        assert set(row.families) <= names and set(row.formats) <= set(ids("formats"))
        assert {*row.timed, *row.published} <= set(row.families) and not set(row.timed) & set(row.published)
        assert all("weights" in format_(name).roles for name in row.formats)
        assert (
            row.checkpoint == "16-bit"
            or row.converter
            or row.while_loading
            or row.parts == ("experts",)
            or ("fp8_block" in row.formats)
        )
    for gap in table.cannot:
        assert set(gap.families) <= names and set(gap.formats) <= set(ids("formats")) and gap.why
    for cache in table.caches:
        assert set(cache.families) <= names and all("kv" in format_(name).roles for name in cache.formats)
    assert all(source.url.startswith("https://") and source.date for source in table.sources.values())
    used = {row.source for row in (*table.rows, *table.cannot, *table.caches)}
    assert used <= set(table.sources)


@pytest.mark.parametrize("engine", engines())
def test_no_format_is_both_held_and_known_not_to_be(engine: str) -> None:
    table = engine_formats(engine)
    held = {(name, family) for row in table.rows for name, family in product(row.formats, row.families)}
    assert not held & {(name, family) for gap in table.cannot for name, family in product(gap.formats, gap.families)}


@pytest.mark.parametrize("engine", engines())
def test_timed_is_what_the_calibration_has_timings_of(engine: str) -> None:
    measured, ops = timed(), {"weights": "gemm", "experts": "moe"}
    for row in engine_formats(engine).rows:
        for name in row.formats:
            found = {f for f in row.families for part in row.parts if (engine, name, f, ops[part]) in measured}
            assert set(row.timed) == found, (name, row.kernel)


@pytest.mark.parametrize("engine", engines())
def test_every_converter_of_a_table_writes_its_formats(engine: str) -> None:
    for row in (row for row in engine_formats(engine).rows if row.converter):
        for name in row.formats:
            text = converter(row.converter).command(name, "org/name", "./made")
            assert "org/name" in text and "./made" in text and "{" not in text.replace('{"', "")
            for words in (shlex.split(step) for step in text.split(" && ")):
                if words[:2] == ["python", "-c"]:
                    compile(words[2], "conversion", "exec")


def test_a_misspelt_key_of_a_row_is_refused_by_name() -> None:
    row = {
        "formats": ["bf16"],
        "families": ["hopper"],
        "kernel": "x",
        "checkpoint": "16-bit",
        "source": "a",
        "flgas": [],
    }
    with pytest.raises(FactError, match=r"mine\.toml:?\d*: rows\.0\.flgas"):
        fact_of(EngineFormats, FactEntry.of("engine_formats", "mine", "mine.toml", {"rows": [row]}))
